//! Two boxes become one firewall: paired by the code that one shows and a person types on the other; one loses its power.

use std::fs;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use rempart_image_tests::{
    BOOT, Cable, Disk, Firmware, Host, Image, Machine, SOON, Scratch, Segment, Shell, Spec, Stick,
};

use crate::update::{await_updated, images, update};
use crate::{DESK, image};

/// The names of the two, as the document has them.
const NODES: [&str; 2] = ["rte01", "rte02"];

/// The document of `make qemu-pair`.
const PAIR: &str = include_str!("../../../../image/pair.toml");
/// The addresses that both boxes share.
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 254);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
/// The provider's router, which stands for the Internet.
const PROVIDER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// How long the two may take to be in step, emulated on two busy cores.
const STEP: Duration = Duration::from_secs(600);
/// How long until a box has the update and starts it: it goes over the sync cable, and into the slot.
const UPDATE: Duration = Duration::from_secs(1800);
/// How long a packet may take, with the take-over.
const PACKET: Duration = Duration::from_secs(120);

/// Two boxes as flashed, their cables, and somebody at each end. The first one's stick has the document, the second one's only
/// the name of its node.
struct Pair {
    image: Image,
    scratch: Scratch,
    disks: [Disk; 2],
    sticks: [Stick; 2],
    ports: [[Cable; 3]; 2],
    provider: Host,
    desk: Host,
    _segments: [Segment; 2],
}

impl Pair {
    fn new(image: &Image) -> Self {
        let scratch = Scratch::new();
        let cable = |name: &str| Cable::new(&scratch, name);
        let sync = cable("sync");
        let wan = [cable("wan1"), cable("wan2"), cable("provider")];
        let lan = [cable("lan1"), cable("lan2"), cable("desk")];
        let ports =
            [[wan[0].clone(), lan[0].clone(), sync.clone()], [wan[1].clone(), lan[1].clone(), sync.turned()]];
        let disks = NODES.map(|name| Disk::named(image, &scratch, &format!("{name}.raw")));
        let sticks = [Stick::new(&scratch, NODES[0], PAIR), Stick::bare(&scratch, NODES[1])];
        let _segments = [Segment::join(&wan), Segment::join(&lan)];
        let provider = Host::attach(&wan[2].turned(), PROVIDER);
        let desk = Host::attach(&lan[2].turned(), DESK);
        Self { image: image.clone(), scratch, disks, sticks, ports, provider, desk, _segments }
    }

    fn start(&self, n: usize, firmware: Firmware, with_stick: bool) -> Machine {
        let spec = Spec::new(firmware, &self.disks[n]).cables(&self.ports[n]);
        let spec = if with_stick { spec.stick(&self.sticks[n]) } else { spec };
        Machine::start(&self.image, &self.scratch, NODES[n], &spec)
    }

    /// Both started for the first time; the code that one shows is typed on the other.
    #[track_caller]
    fn paired(&self) -> [Machine; 2] {
        let [mut one, mut two] = [0, 1].map(|n| self.start(n, Firmware::Direct, true));
        one.console.expect("revision 1", BOOT);
        // It goes on by itself when nobody reads it.
        two.console.expect_said("no document yet", BOOT);
        two.console.send("\r");
        let offer = one.shell();
        let serves =
            "until rempart --json ha 2>/dev/null | grep -q '\"role\": *\"active\"'; do sleep 1; done";
        offer.try_run(serves, STEP).expect("the first one serves");
        offer.start("rempart --json pair");
        let code = code_shown(offer);
        let (done, said) =
            two.shell().try_run(&format!("rempart pair {code} --on enp0s18"), STEP).expect("an answer");
        assert_eq!(done, 0, "{said}");
        in_step(two.shell(), "standby");
        two.console.expect("revision 1", STEP);
        [one, two]
    }

    /// What the desk sends arrives outside; the port that the pair has given the connection.
    #[track_caller]
    fn out(&self, said: &[u8]) -> u16 {
        assert!(
            self.desk.send(INSIDE, (PROVIDER, 7000), 5000, said, PACKET),
            "no answer from the pair's address inside"
        );
        let arrived = self.provider.receive(said, PACKET).expect("what a flow allows arrives");
        assert_eq!(arrived.source.0, OUTSIDE, "it leaves with the pair's address");
        arrived.source.1
    }

    /// An answer from outside reaches the desk.
    #[track_caller]
    fn back(&self, port: u16, payload: &[u8]) {
        let until = Instant::now() + PACKET;
        while Instant::now() < until {
            if self.provider.send(OUTSIDE, (OUTSIDE, port), 7000, payload, Duration::from_secs(2))
                && self.desk.receive(payload, Duration::from_secs(1)).is_some()
            {
                return;
            }
        }
        panic!("the answer {:?} does not arrive", String::from_utf8_lossy(payload));
    }
}

#[test]
#[ignore = "long: make test-image"]
fn two_boxes_are_paired_on_their_consoles_and_one_carries_on_when_the_other_loses_power() {
    // The first box has the document, the second only its name; the code typed; a connection through the pair; the power of
    // the active one fails; the same connection through the other; the first one comes back as its standby.
    let Some(image) = image() else { return };
    let pair = Pair::new(&image);
    let [one, two] = pair.paired();
    two.console.send("6");
    two.console.expect("standby", SOON);

    let port = pair.out(b"first");
    pair.back(port, b"before");
    one.cut_power();
    // An answer to a connection that only the dead box has seen: the other one has it, too.
    pair.back(port, b"after");
    assert_eq!(pair.out(b"second"), port, "the connection is the same one");
    two.console.expect("active", SOON);

    let mut one = pair.start(0, Firmware::Direct, false);
    one.shell().ready(BOOT);
    in_step(one.shell(), "standby");
    pair.back(port, b"whole");
}

#[test]
#[ignore = "long: make test-image"]
fn a_pair_is_updated_by_one_command_and_keeps_its_connections() {
    // An update on the active box's stick, and one command; the standby takes it and restarts, gets the role, and the other one
    // does the same. A connection that was there before is there after each of these, through whichever box.
    let Some((image, next)) = images() else { return };
    let pair = Pair::new(&image);
    fs::copy(next.file("update"), pair.sticks[0].folder.join("next.update")).expect("a file of our own");
    let [mut one, two] = pair.paired();
    let port = pair.out(b"first");
    update(one.shell(), "pair next.update");

    assert!(two.wait_for_end(UPDATE), "the standby does not restart: {}", update(one.shell(), "status"));
    let two = pair.start(1, Firmware::Uefi, false);
    await_updated(&pair.disks[1]);
    pair.back(port, b"the standby is new");

    assert!(one.wait_for_end(UPDATE), "the role does not move to the new version");
    pair.back(port, b"by the new one");
    let one = pair.start(0, Firmware::Uefi, false);
    await_updated(&pair.disks[0]);
    pair.back(port, b"both are new");
    assert_eq!(pair.out(b"second"), port, "the connection is the same one");
    drop([one, two]);
}

/// The code that a box shows.
fn code_shown(shell: &Shell) -> String {
    shell.expect_said("\"code\"", SOON);
    shell.expect_said("\"expires_s\"", SOON);
    let said = shell.said();
    let rest = said.rsplit("\"code\"").next().unwrap_or_default();
    rest.split('"').nth(1).unwrap_or_else(|| panic!("no code in {rest}")).to_owned()
}

/// Waits until this box has that role, and the same document and connections as the other.
#[track_caller]
fn in_step(shell: &mut Shell, role: &str) {
    let wanted = format!(
        "until rempart --json ha 2>/dev/null | tr -d ' \\n' >/tmp/ha; grep -q '\"role\":\"{role}\"' /tmp/ha && grep -q '\"state\":\"same\"' /tmp/ha && grep -q '\"state\":\"live\"' /tmp/ha; do sleep 1; done"
    );
    if shell.try_run(&wanted, STEP).is_err() {
        panic!(
            "not in step as {role}: the box says: {}",
            shell.said().chars().rev().take(4000).collect::<Vec<_>>().into_iter().rev().collect::<String>()
        );
    }
}
