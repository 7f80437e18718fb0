//! Secure Boot: the firmware starts what the right key has signed, and nothing else.

use std::time::Duration;

use rempart_image_tests::{BOOT, Disk, Enrolled, Firmware, Machine, SOON, Scratch, Spec, Stick};

use crate::{DOCUMENT, image};

/// How long a refused machine is watched; the firmware of one that starts has the kernel running by then.
const REFUSED: Duration = Duration::from_secs(180);

#[test]
#[ignore = "long: make test-image"]
fn under_secure_boot_the_signed_image_starts_where_its_key_is_enrolled_and_nowhere_else() {
    // The image for tests is signed with ovmf's test key. Firmware that knows it starts the box, which says so in its audit; firmware
    // that knows another's, or meets a kernel with one byte changed, does not.
    let Some(image) = image() else { return };
    let scratch = Scratch::new();
    let disk = Disk::flashed(&image, &scratch);
    let stick = Stick::new(&scratch, "fw", DOCUMENT);
    let spec = Spec::new(Firmware::Secure(Enrolled::Foreign), &disk);
    let machine = Machine::start(&image, &scratch, "fw", &spec);
    machine.console.expect_said("Access Denied", REFUSED);
    machine.cut_power();

    let spec = Spec::new(Firmware::Secure(Enrolled::Ours), &disk).stick(&stick);
    let machine = Machine::start(&image, &scratch, "fw", &spec);
    machine.console.expect("revision 1", BOOT);
    machine.console.expect("No faults", SOON);
}
