//! The box starts, by UEFI and by BIOS, and does what its document says.

use std::time::Duration;

use rempart_image_tests::{BOOT, Firmware, Host, SOON};

use crate::{DESK, INSIDE, OUTSIDE, SERVER, Site, image};

/// How long a packet may take through an emulated box.
const PACKET: Duration = Duration::from_secs(30);
/// How long one that is refused is waited for.
const NOTHING: Duration = Duration::from_secs(3);

#[test]
fn a_box_started_by_uefi_takes_the_document_of_a_stick_and_applies_it() {
    // A new disk and a stick with a document; the console, on both screens, with revision 1 in force, and packets judged by it.
    let Some(image) = image() else { return };
    starts_and_filters(&Site::new(&image), Firmware::Uefi);
}

#[test]
#[ignore = "long: make test-image"]
fn a_box_started_by_a_legacy_bios_does_the_same_and_again_without_the_stick() {
    // The same, and then a second start: the revision is the box's own.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    starts_and_filters(&site, Firmware::Bios);
    let (server, desk) = hosts(&site);
    let _machine = site.up(&site.spec(Firmware::Bios));
    judged(&server, &desk);
}

fn starts_and_filters(site: &Site, firmware: Firmware) {
    let (server, desk) = hosts(site);
    let machine = site.up(&site.spec(firmware).stick(&site.stick));
    machine.console.expect("No faults", SOON);
    // The console answers: the flow matrix has one flow, from the LAN outside.
    machine.console.send("2");
    machine.console.expect("lan       ·        ·        ▒ 1", SOON);
    assert!(is_lit(&machine.picture(&site.scratch.at("vga.ppm"))), "the VGA screen is dark");
    judged(&server, &desk);
    machine.cut_power();
}

/// Somebody outside, and somebody inside.
pub fn hosts(site: &Site) -> (Host, Host) {
    (Host::attach(&site.cables[0], SERVER), Host::attach(&site.cables[1], DESK))
}

/// What the flow allows passes and is translated; what no flow allows does not.
fn judged(server: &Host, desk: &Host) {
    assert!(desk.send(INSIDE, (SERVER, 7000), 5000, b"allowed", SOON), "the box does not answer inside");
    let arrived = server.receive(b"allowed", PACKET).expect("what the flow allows arrives");
    assert_eq!(arrived.source.0, OUTSIDE, "it leaves with the box's address");
    assert!(desk.send(INSIDE, (SERVER, 7001), 5000, b"refused", SOON));
    assert_eq!(server.receive(b"refused", NOTHING), None, "what no flow allows arrived");
}

#[test]
#[ignore = "long: make test-image"]
fn a_changed_bit_of_the_root_file_system_is_refused() {
    // One bit of the root, or of its tree of hashes, turned; the kernel refuses it, and the machine starts again.
    let Some(image) = image() else { return };
    for label in ["", "_verity"] {
        let site = Site::new(&image);
        let (begin, _) = site.disk.partition(&format!("rempart_{}{label}", env!("CARGO_PKG_VERSION")));
        // The first block of the root, which is read first; of the tree the block below its superblock, which is its top.
        let at = if label.is_empty() { begin + 1024 } else { begin + 4096 };
        site.disk.change(at, 1, |byte| byte[0] ^= 1);
        let machine = site.start(&site.spec(Firmware::Direct));
        let text = machine.console.text();
        assert!(machine.wait_for_end(BOOT), "{label}: the machine went on:\n{text}");
    }
}

/// Whether a picture shows anything.
fn is_lit(picture: &[u8]) -> bool {
    picture.iter().skip(32).filter(|byte| **byte > 0x60).count() > 1000
}
