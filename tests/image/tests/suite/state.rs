//! The state partition: full, damaged, lost.

use std::time::Duration;

use rempart_image_tests::{BOOT, Disk, Firmware, Machine, SOON, Scratch, Spec, Stick};

use crate::{DOCUMENT, cables, image};

/// Where LUKS2 keeps the data: behind its two headers (the default of cryptsetup).
const LUKS_HEADER_BYTES: u64 = 16 << 20;

#[test]
#[ignore = "long: make test-image"]
fn a_box_whose_state_is_full_damaged_or_lost_starts_and_says_so() {
    // The same disk in four conditions; each time the console comes, and each time with the right words.
    let Some(image) = image() else { return };
    let scratch = Scratch::new();
    let disk = Disk::flashed(&image, &scratch);
    let stick = Stick::new(&scratch, "fw", DOCUMENT);
    let cables = cables(&scratch);
    let spec = Spec { firmware: Firmware::Direct, disk: &disk, stick: Some(&stick), cables: &cables };
    let mut machine = Machine::start(&image, &scratch, "fw", &spec);
    machine.console.expect("revision 1", BOOT);
    let options = machine.shell().run("grep ' /var ' /proc/mounts");
    for option in ["/dev/mapper/rempart-state", "nosuid", "nodev", "noexec"] {
        assert!(options.contains(option), "/var is mounted without {option}: {options}");
    }
    // Full to the last block.
    let filled =
        machine.shell().try_run("dd if=/dev/zero of=/var/full bs=1M; sync", Duration::from_secs(300));
    assert!(filled.is_ok_and(|(_, said)| said.contains("No space left")));
    machine.cut_power();

    let spec = Spec { firmware: Firmware::Direct, disk: &disk, stick: None, cables: &cables };
    let mut machine = Machine::start(&image, &scratch, "fw", &spec);
    machine.console.expect("The state partition is full", BOOT);
    machine.console.send("\r");
    machine.console.expect("revision 1", SOON);
    machine.shell().run("rm /var/full && sync");
    machine.cut_power();

    let (begin, length) = disk.partition("rempart-state");
    // The file system's head is gone, as when a disk loses what it had in its cache.
    disk.change(begin + LUKS_HEADER_BYTES, 8192, |bytes| bytes.fill(0x5a));
    let machine = Machine::start(&image, &scratch, "fw", &spec);
    machine.console.expect("damaged and has been repaired", BOOT);
    machine.console.send("\r");
    machine.console.expect("revision 1", SOON);
    machine.cut_power();

    // Nothing of it is left but its name.
    let head = usize::try_from(length.min(64 << 20)).expect("64 MiB");
    disk.change(begin, head, |bytes| bytes.fill(0x5a));
    let machine = Machine::start(&image, &scratch, "fw", &spec);
    machine.console.expect("The state of this box cannot be read", BOOT);
    machine.console.send("\r");
    machine.console.expect("Nothing was ever committed", SOON);
}
