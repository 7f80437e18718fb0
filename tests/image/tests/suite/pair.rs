//! Two boxes become one firewall: paired by the code that one shows and a person types on the other; one loses its power.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::thread::Scope;
use std::time::{Duration, Instant};

use rempart_image_tests::{
    BOOT, Cable, Disk, Firmware, Host, Image, Machine, SOON, Scratch, Segment, Shell, Spec, Stick,
};

use crate::setup::begin;
use crate::update::{await_updated, images, update};
use crate::{DESK, image};

/// The names of the two, as the document has them.
const NODES: [&str; 2] = ["rte01", "rte02"];

/// Heartbeats of a pair of emulated machines, which stand still for a tenth of a second and more.
const HEARTBEAT: &str = "rempart show 1 | sed 's/^sync  = .*/&\\nheartbeat = \"1s\"/' >/tmp/slow.toml && rempart commit /tmp/slow.toml --message slow";
/// The addresses that both boxes share.
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 254);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
/// The provider's router, which stands for the Internet.
const PROVIDER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// How long the two may take to be in step, emulated on two busy cores.
const STEP: Duration = Duration::from_secs(600);
/// How long until a box has the update and starts it: it goes over the sync cable, and into the slot.
const UPDATE: Duration = Duration::from_secs(1800);
/// How often somebody says something who has nothing to say.
const TALK: Duration = Duration::from_secs(10);
/// How long a packet may take, with the take-over.
const PACKET: Duration = Duration::from_secs(120);

/// Two boxes as flashed, their cables, and somebody at each end. The sticks have no document.
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
        let sticks = NODES.map(|name| Stick::bare(&scratch, name));
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

    /// Both started for the first time and set up on their consoles: the first one asks everything, the second one only for its name,
    /// its cable and the code that the first one shows.
    #[track_caller]
    fn paired(&self) -> [Machine; 2] {
        let [mut one, mut two] = [0, 1].map(|n| self.start(n, Firmware::Direct, true));
        for machine in [&one, &two] {
            // It goes on by itself when nobody reads it.
            machine.console.expect_said("no document yet", BOOT);
            machine.console.send("\r");
        }
        set_up(&one);
        one.shell().run(HEARTBEAT);
        one.console.expect("revision 2", SOON);
        let serves =
            "until rempart --json ha 2>/dev/null | grep -q '\"role\": *\"active\"'; do sleep 1; done";
        one.shell().try_run(serves, STEP).expect("the first one serves");
        one.console.send(":pair\r");
        let code = code_shown(&one);
        join(&two, &code);
        in_step(two.shell(), "standby");
        two.console.expect("revision 2", STEP);
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

    /// The desk says something on its connection now and then: a silent one is forgotten after two minutes, and a start takes longer
    /// here.
    fn talk<'a>(&'a self, scope: &'a Scope<'a, '_>) -> mpsc::Sender<()> {
        let (talks, ended) = mpsc::channel();
        scope.spawn(move || {
            while ended.recv_timeout(TALK) == Err(mpsc::RecvTimeoutError::Timeout) {
                self.desk.send(INSIDE, (PROVIDER, 7000), 5000, b"still here", Duration::from_secs(1));
            }
        });
        talks
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
    // The first box set up on its console, the second one joined on its own by the code; a connection through the pair; the power of
    // the active one fails; the same connection through the other; the first one comes back as its standby.
    let Some(image) = image() else { return };
    let pair = Pair::new(&image);
    let [one, mut two] = pair.paired();
    two.console.send("6");
    two.console.expect("standby", SOON);

    let port = pair.out(b"first");
    pair.back(port, b"before");
    // A tenth of a millisecond on real boxes; an emulated one may be killed before it has run again.
    let has_it = "until rempart --json ha | tr -d ' \\n' | grep -q '\"entries\":[1-9]'; do sleep 1; done";
    two.shell().try_run(has_it, STEP).expect("the standby has the connection");
    one.cut_power();
    // An answer to a connection that only the dead box has seen: the other one has it, too.
    pair.back(port, b"after");
    assert_eq!(pair.out(b"second"), port, "the connection is the same one");
    two.console.expect("active", SOON);

    let mut one = pair.start(0, Firmware::Direct, false);
    one.shell().ready(BOOT);
    in_step(one.shell(), "standby");
    // The start has taken longer than a silent connection is remembered.
    let port = pair.out(b"third");
    pair.back(port, b"whole");
}

#[test]
#[ignore = "long: make test-image-more"]
fn a_pair_is_updated_by_one_command_and_keeps_its_connections() {
    // An update on the active box's stick, and one command; the standby takes it and restarts, gets the role, and the other one
    // does the same. A connection that was there before is there after each of these, through whichever box.
    let Some((image, next)) = images() else { return };
    let pair = Pair::new(&image);
    fs::copy(next.file("update"), pair.sticks[0].folder.join("next.update")).expect("a file of our own");
    let [mut one, two] = pair.paired();
    let port = pair.out(b"first");
    pair.back(port, b"before");
    std::thread::scope(|scope| {
        let _talk = pair.talk(scope);
        // It says what becomes of both, and this box itself is restarted meanwhile.
        one.shell().start("rempart update pair next.update >/run/pair 2>&1 &");

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
    });
}

/// The set-up of the first box of a pair, page by page.
#[track_caller]
fn set_up(machine: &Machine) {
    let console = &machine.console;
    console.expect("n new firewall", SOON);
    begin(machine, "n");
    console.send(&format!("\x15{}\r{}\r\r", NODES[0], NODES[1]));
    console.expect("WHICH PORT IS WHICH", SOON);
    console.expect("enp0s18", SOON);
    for role in ["w", "l", "s"] {
        console.send(role);
        console.send("\x1b[B");
    }
    console.send("\r");
    console.expect("ADDRESSES", SOON);
    console.send("\x15203.0.113.2/24\r203.0.113.3/24\r203.0.113.100/24\r203.0.113.1\r\r\r\r");
    console.expect("valid: y puts it into force", SOON);
    console.send("y");
    console.expect("COMMITTED", SOON);
    console.send("\r");
    console.expect("revision 1", SOON);
}

/// The set-up of the second one.
#[track_caller]
fn join(machine: &Machine, code: &str) {
    let console = &machine.console;
    console.expect("n new firewall", SOON);
    begin(machine, "j");
    console.send(&format!("\x15{}\r", NODES[1]));
    console.expect("THE CABLE TO THE OTHER BOX", SOON);
    console.expect("enp0s18", SOON);
    console.send("\x1b[F");
    console.send("s\r");
    console.expect("CODE (3 of 4)", SOON);
    console.send(&format!("{code}\r"));
    console.expect("1 Dashboard", STEP);
}

/// The code on the screen of a box: two times four letters and digits.
#[track_caller]
fn code_shown(machine: &Machine) -> String {
    let is_part =
        |part: &str| part.len() == 4 && part.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    let is_code = |word: &&str| word.split_once('-').is_some_and(|(a, b)| is_part(a) && is_part(b));
    let until = Instant::now() + SOON;
    while Instant::now() < until {
        if let Some(code) = machine.console.text().split_whitespace().find(is_code) {
            return code.to_owned();
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("no code on the screen:\n{}", machine.console.text());
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
