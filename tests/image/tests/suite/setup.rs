//! A box out of its carton: set up on its serial line, by nobody but a person.

use std::time::Duration;

use rempart_image_tests::{BOOT, Firmware, Machine, SOON, Stick};

use crate::start::hosts;
use crate::whole::refusals;
use crate::{DESK, INSIDE, OUTSIDE, SERVER, Site, image};

const PASSWORD: &str = "correct horse battery";
/// How long a packet may take through an emulated box, and how long one that is refused is waited for.
const PACKET: Duration = Duration::from_secs(30);
const NOTHING: Duration = Duration::from_secs(3);

/// The word about the missing document is read, and the page behind it is there.
#[track_caller]
pub fn first_page(machine: &Machine, title: &str) {
    machine.console.expect("no document yet", BOOT);
    machine.console.send("\r");
    machine.console.expect(title, SOON);
}

/// Past the first page of the set-up and the password, to the names: `n` for a new firewall, `j` for the second one of a pair.
#[track_caller]
pub fn begin(machine: &Machine, way: &str) {
    machine.console.send(way);
    machine.console.expect("PASSWORD (1 of 5)", SOON);
    machine.console.send(&format!("{PASSWORD}\r{PASSWORD}\r"));
    machine.console.expect("NAMES (1 of 4)", SOON);
}

#[test]
#[ignore = "long: make test-image-more"]
fn a_new_box_is_set_up_on_its_console_and_asks_for_its_password_from_then_on() {
    // A new disk, and a stick without a document: both languages on the console, and no answer on any network. Then the questions of the
    // console answered. What is inside gets out and nothing gets in; the programs
    // have the box's name; the console is shut when it is started again; SSH is a matter of two verbs; no cage refuses anything.
    let Some(image) = image() else { return };
    let site = Site::new(&image);
    let (server, desk) = hosts(&site);
    let stick = Stick::bare(&site.scratch, "box");
    let mut machine = site.start(&site.spec(Firmware::Direct).stick(&stick));
    let says = |machine: &Machine, text: &str| machine.console.expect(text, SOON);
    machine.console.expect("pas encore de document", BOOT);
    first_page(&machine, "NOTHING IS FORWARDED");
    assert!(!desk.send(INSIDE, (SERVER, 7000), 5000, b"early", NOTHING));
    begin(&machine, "n");
    // The stick has called it something else.
    machine.console.send("\x15fw\r\r\r");
    says(&machine, "WHICH PORT IS WHICH");
    says(&machine, "enp0s17");
    machine.console.send("w");
    machine.console.send("\x1b[B");
    machine.console.send("l");
    machine.console.send("\r");
    says(&machine, "ADDRESSES");
    machine.console.send("\x15203.0.113.1/24\r203.0.113.9\r\x15192.168.10.254/24\r");
    says(&machine, "valid: y puts it into force");
    machine.console.send("y");
    says(&machine, "COMMITTED");
    machine.console.send("\r");
    says(&machine, "revision 1");

    assert!(desk.send(INSIDE, (SERVER, 7000), 5000, b"allowed", SOON), "the box does not answer inside");
    let arrived = server.receive(b"allowed", PACKET).expect("what goes out arrives");
    assert_eq!(arrived.source.0, OUTSIDE, "it leaves with the box's address");
    assert!(server.send(OUTSIDE, (DESK, 7001), 5000, b"refused", SOON));
    assert_eq!(desk.receive(b"refused", NOTHING), None, "what nobody asked for came in");

    let shell = machine.shell();
    assert_eq!(shell.run("cat /var/lib/rempart/node").trim(), "NODE=fw");
    let named = "tr '\\0' ' ' </proc/$(pidof -s $p)/cmdline | grep -q -- '--node fw '";
    for program in ["rempart-ha", "rempart-vpn"] {
        let wait = format!("p={program}; until {named}; do sleep 1; done");
        shell.try_run(&wait, SOON).expect("the program has the name of the box");
    }
    shell.run("rempart ssh on");
    // systemd has the job; the key of the box is made first.
    shell.run("until systemctl -q is-active ssh; do sleep 1; done");
    shell.run("test -s /var/lib/rempart-ssh/host_ed25519 && rempart ssh | grep -q 'SHA256:'");
    shell.run("rempart ssh off");
    shell.run("while systemctl -q is-active ssh; do sleep 1; done");
    shell.run("systemctl restart rempart-console@ttyS0");
    machine.console.expect("LOCKED", SOON);
    machine.console.send(&format!("{PASSWORD}\r"));
    machine.console.expect("1 Dashboard", SOON);
    // The stick is there for whoever sits at the console.
    machine.console.send(":load /run/media/rempart/node\r");
    machine.console.expect("● done", SOON);
    machine.console.send("\x1b");
    std::thread::sleep(Duration::from_secs(1));
    machine.console.send(":ports\r");
    machine.console.expect("● done", SOON);
    machine.console.expect("virtio_net", SOON);
    machine.console.send("\x1b");
    let refusals = refusals(machine.shell());
    assert!(refusals.trim().is_empty(), "AppArmor refused: {refusals}");
}
