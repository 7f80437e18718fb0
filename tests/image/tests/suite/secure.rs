//! Secure Boot: the firmware starts what the right key has signed, and nothing else.

use std::time::Duration;

use rempart_image_tests::{BOOT, Enrolled, Firmware, Tpm};

use crate::{Site, image};

/// How long a refused machine is watched; the firmware of one that starts has the kernel running by then.
const REFUSED: Duration = Duration::from_secs(180);
/// How long a file system may keep to itself what it has said is written (the commit interval of ext4 is 5 s).
const WRITTEN: Duration = Duration::from_secs(6);

#[test]
#[ignore = "long: make test-image-more"]
fn under_secure_boot_the_signed_image_starts_where_its_key_is_enrolled_and_nowhere_else() {
    // The image for tests is signed with ovmf's test key. Firmware that knows another's refuses it; firmware that knows it starts
    // the box, whose state opens only under that firmware.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let machine = site.start(&site.spec(Firmware::Secure(Enrolled::Foreign)));
    machine.console.expect_said("Access Denied", REFUSED);
    machine.cut_power();

    // With a TPM the state is bound to Secure Boot as well: the same box with it switched off starts, and knows nothing.
    for (firmware, shown) in [
        (Firmware::Secure(Enrolled::Ours), "revision 1"),
        (Firmware::Uefi, "The state of this box cannot be read"),
        (Firmware::Secure(Enrolled::Ours), "revision 1"),
    ] {
        let Some(tpm) = Tpm::start(&site.scratch) else {
            eprintln!("skipped: swtpm is not installed (make image-setup)");
            return;
        };
        let machine = site.start(&site.spec(firmware).stick(&site.stick).tpm(&tpm));
        machine.console.expect(shown, BOOT);
        std::thread::sleep(WRITTEN);
    }
}
