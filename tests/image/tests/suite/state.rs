//! The state partition: full, damaged, lost.

use std::time::Duration;

use rempart_image_tests::{BOOT, Firmware, SOON, Tpm};

use crate::{Site, image};

/// Where LUKS2 keeps the data: behind its two headers (the default of cryptsetup).
const LUKS_HEADER_BYTES: u64 = 16 << 20;

#[test]
#[ignore = "long: make test-image-more"]
fn a_box_whose_state_is_full_damaged_or_lost_starts_and_says_so() {
    // The same disk in four conditions; each time the console comes, and each time with the right words.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let mut machine = site.first();
    let options = machine.shell().run("grep ' /var ' /proc/mounts");
    for option in ["/dev/mapper/rempart-state", "nosuid", "nodev", "noexec"] {
        assert!(options.contains(option), "/var is mounted without {option}: {options}");
    }
    // Full to the last block.
    let filled =
        machine.shell().try_run("dd if=/dev/zero of=/var/full bs=1M; sync", Duration::from_secs(300));
    assert!(filled.is_ok_and(|(_, said)| said.contains("No space left")));
    machine.cut_power();

    let spec = site.spec(Firmware::Direct);
    let mut machine = site.start(&spec);
    machine.console.expect("The state partition is full", BOOT);
    machine.console.send("\r");
    machine.console.expect("revision 1", SOON);
    machine.shell().run("rm /var/full && sync");
    machine.cut_power();

    let (begin, length) = site.disk.partition("rempart-state");
    // The file system's head is gone, as when a disk loses what it had in its cache.
    site.disk.change(begin + LUKS_HEADER_BYTES, 8192, |bytes| bytes.fill(0x5a));
    let machine = site.start(&spec);
    machine.console.expect("damaged and has been repaired", BOOT);
    machine.console.send("\r");
    machine.console.expect("revision 1", SOON);
    machine.cut_power();

    // Nothing of it is left but its name.
    let head = usize::try_from(length.min(64 << 20)).expect("64 MiB");
    site.disk.change(begin, head, |bytes| bytes.fill(0x5a));
    let machine = site.start(&spec);
    machine.console.expect("The state of this box cannot be read", BOOT);
    machine.console.send("\r");
    machine.console.expect("NOTHING IS FORWARDED", SOON);
}

#[test]
#[ignore = "long: make test-image-more"]
fn with_a_tpm_the_key_of_the_state_is_sealed_there_and_the_disk_alone_opens_nothing() {
    // The first start with a TPM, which alone has a key from then on; the second one without, and a state that cannot be read. (That
    // the same TPM opens it again is a part of `secure`.)
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let Some(tpm) = Tpm::start(&site.scratch) else {
        eprintln!("skipped: swtpm is not installed (make image-setup)");
        return;
    };
    let mut machine = site.up(&site.spec(Firmware::Direct).tpm(&tpm).stick(&site.stick));
    let header = machine.shell().run("cryptsetup luksDump /dev/vda7");
    assert!(header.contains("systemd-tpm2") && !header.contains("rempart-header-key"), "{header}");
    assert!(!header.contains("0: luks2"), "the key of the first start is still there: {header}");
    machine.shell().run("sync");
    machine.cut_power();
    let machine = site.start(&site.spec(Firmware::Direct));
    machine.console.expect("The state of this box cannot be read", BOOT);
}
