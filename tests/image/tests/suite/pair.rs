//! Two boxes become one firewall: paired by the code that one shows and a person types on the other; one loses its power.

use std::net::Ipv4Addr;
use std::time::Duration;

use rempart_image_tests::{
    BOOT, Cable, Disk, Firmware, Host, Machine, SOON, Scratch, Segment, Shell, Spec, Stick,
};

use crate::{DESK, image};

/// The document of `make qemu-pair`.
const PAIR: &str = include_str!("../../../../image/pair.toml");
/// The addresses that both boxes share.
const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 254);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
/// The provider's router, which stands for the Internet.
const PROVIDER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// How long the two may take to be in step, emulated on two busy cores.
const STEP: Duration = Duration::from_secs(600);
/// How long a packet may take, with the take-over.
const PACKET: Duration = Duration::from_secs(120);

#[test]
#[ignore = "long: make test-image"]
fn two_boxes_are_paired_on_their_consoles_and_one_carries_on_when_the_other_loses_power() {
    // The first box has the document, the second only its name; the code typed; a connection through the pair; the power of
    // the active one fails; the same connection through the other; the first one comes back as its standby.
    let Some(image) = image() else { return };
    let scratch = Scratch::new();
    let cable = |name: &str| Cable::new(&scratch, name);
    let sync = cable("sync");
    let (wan, lan) =
        ([cable("wan1"), cable("wan2"), cable("provider")], [cable("lan1"), cable("lan2"), cable("desk")]);
    let ports =
        [[wan[0].clone(), lan[0].clone(), sync.clone()], [wan[1].clone(), lan[1].clone(), sync.turned()]];
    let _segments = [Segment::join(&wan), Segment::join(&lan)];
    let provider = Host::attach(&wan[2].turned(), PROVIDER);
    let desk = Host::attach(&lan[2].turned(), DESK);

    let disks = ["rte01.raw", "rte02.raw"].map(|name| Disk::named(&image, &scratch, name));
    let sticks = [Stick::new(&scratch, "rte01", PAIR), Stick::bare(&scratch, "rte02")];
    let start = |n: usize, first: bool| {
        let spec = Spec::new(Firmware::Direct, &disks[n]).cables(&ports[n]);
        let spec = if first { spec.stick(&sticks[n]) } else { spec };
        Machine::start(&image, &scratch, ["rte01", "rte02"][n], &spec)
    };
    let [mut one, mut two] = [0, 1].map(|n| start(n, true));
    one.console.expect("revision 1", BOOT);
    two.console.expect("no document yet", BOOT);
    two.console.send("\r");

    let offer = one.shell();
    offer.run("until rempart --json ha 2>/dev/null | grep -q '\"role\": *\"active\"'; do sleep 1; done");
    offer.start("rempart --json pair");
    let code = code_shown(offer);
    two.shell().run(&format!("rempart pair {code} --on enp0s18"));
    in_step(two.shell(), "standby");
    two.console.expect("revision 1", STEP);
    two.console.send("6");
    two.console.expect("standby", SOON);

    let out = |n: u8| {
        let said = [b'n', n];
        assert!(
            desk.send(INSIDE, (PROVIDER, 7000), 5000, &said, PACKET),
            "no answer from the pair's address inside"
        );
        let arrived = provider.receive(&said, PACKET).expect("what a flow allows arrives");
        assert_eq!(arrived.source.0, OUTSIDE, "it leaves with the pair's address");
        arrived.source.1
    };
    let port = out(1);
    back(&provider, &desk, port, b"before");
    one.cut_power();
    // An answer to a connection that only the dead box has seen: the other one has it, too.
    back(&provider, &desk, port, b"after");
    assert_eq!(out(2), port, "the connection is the same one");
    two.console.expect("active", SOON);

    let mut one = start(0, false);
    one.shell().ready(BOOT);
    in_step(one.shell(), "standby");
    back(&provider, &desk, port, b"whole");
}

/// An answer from outside reaches the desk.
#[track_caller]
fn back(provider: &Host, desk: &Host, port: u16, payload: &[u8]) {
    let until = std::time::Instant::now() + PACKET;
    while std::time::Instant::now() < until {
        if provider.send(OUTSIDE, (OUTSIDE, port), 7000, payload, Duration::from_secs(2))
            && desk.receive(payload, Duration::from_secs(1)).is_some()
        {
            return;
        }
    }
    panic!("the answer {:?} does not arrive", String::from_utf8_lossy(payload));
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
