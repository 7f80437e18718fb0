//! VRRP version 3 beside keepalived, which sends the IPv4 checksum with pseudo-header.

use std::time::Duration;

use nix::sys::signal::Signal;
use rempart_interop::{Keepalived, Stage, keepalived, plan, router, until};
use rempart_plan::ha::{ChecksumForm, RouterPlan};

const SOON: Duration = Duration::from_secs(15);
const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";
const LINK_LOCAL: &str = "fe80::1";
const V4_MAC: &str = "00:00:5e:00:01:0a";
const V6_MAC: &str = "00:00:5e:00:02:0a";

fn v4(priority: u8) -> RouterPlan {
    router(&["192.0.2.1/32"], priority)
}

fn v6(priority: u8) -> RouterPlan {
    router(&["fe80::1/64", "2001:db8::1/128"], priority)
}

fn active(stage: &Stage, who: &str, address: &str, mac: &str) {
    let (holder, other) = match who {
        "ours" => (&stage.ours, &stage.theirs),
        _ => (&stage.theirs, &stage.ours),
    };
    until(&format!("{who} takes {address}"), SOON, || {
        Stage::holds(holder, address) && !Stage::holds(other, address)
    });
    until("the neighbour finds it", SOON, || stage.found_at(address) == mac);
}

/// In: ours above keepalived; ours ends; ours again; ours loses its cable, and has it back. Out: ours is active whenever it
/// can be, keepalived whenever it cannot; the end is noticed by priority 0, sooner than silence.
pub fn ours_above_keepalived_over_ipv4() {
    let stage = Stage::new();
    let plan = plan(0, vec![RouterPlan { checksum: ChecksumForm::PseudoHeader, ..v4(200) }]);
    let peer = keepalived(&stage.theirs, &Keepalived::default());
    active(&stage, "theirs", V4, V4_MAC);
    let ours = stage.elector(&stage.ours, &plan);
    active(&stage, "ours", V4, V4_MAC);
    ours.end();
    active(&stage, "theirs", V4, V4_MAC);
    assert!(!Stage::holds(&stage.ours, V4));

    let _ours = stage.elector_again(&stage.ours, &plan);
    active(&stage, "ours", V4, V4_MAC);
    stage.unplug("ours");
    active(&stage, "theirs", V4, V4_MAC);
    stage.plug("ours");
    active(&stage, "ours", V4, V4_MAC);
    assert!(!peer.log().contains("checksum"), "{}", peer.log());
}

/// In: keepalived above ours; it ends, starts again, is cut off. Out: ours is active exactly while it is away, and its virtual
/// link is down otherwise.
pub fn ours_below_keepalived_over_ipv4() {
    let stage = Stage::new();
    let plan = plan(0, vec![v4(100)]);
    let wanted = Keepalived { priority: 200, ..Keepalived::default() };
    let peer = keepalived(&stage.theirs, &wanted);
    active(&stage, "theirs", V4, V4_MAC);
    let _ours = stage.elector(&stage.ours, &plan);
    std::thread::sleep(Duration::from_secs(1));
    assert!(!Stage::holds(&stage.ours, V4));
    peer.end();
    active(&stage, "ours", V4, V4_MAC);
    let _peer = keepalived(&stage.theirs, &wanted);
    active(&stage, "theirs", V4, V4_MAC);
    assert!(stage.ours.sh("ip -o link show vr10 up").trim().is_empty());
    stage.unplug("theirs");
    until("ours takes over", SOON, || Stage::holds(&stage.ours, V4));
    until("the neighbour finds it", SOON, || stage.found_at(V4) == V4_MAC);
}

/// In: ours above keepalived but not to preempt, started second; then keepalived is killed and cut off. Out: ours waits, then
/// takes over.
pub fn ours_does_not_preempt_unless_told() {
    let stage = Stage::new();
    let peer = keepalived(&stage.theirs, &Keepalived::default());
    active(&stage, "theirs", V4, V4_MAC);
    let _ours = stage.elector(&stage.ours, &plan(0, vec![RouterPlan { preempt: false, ..v4(200) }]));
    std::thread::sleep(Duration::from_secs(2));
    assert!(Stage::holds(&stage.theirs, V4) && !Stage::holds(&stage.ours, V4));
    peer.kill();
    stage.unplug("theirs");
    until("ours takes over", SOON, || Stage::holds(&stage.ours, V4));
    until("the neighbour finds it", SOON, || stage.found_at(V4) == V4_MAC);
}

/// In: as above over IPv6, with a link-local and a global virtual address. Out: both move together.
pub fn ours_above_keepalived_over_ipv6() {
    let stage = Stage::new();
    let addresses = ["fe80::1/64", "2001:db8::1/128"];
    let peer = keepalived(&stage.theirs, &Keepalived { addresses: &addresses, ..Keepalived::default() });
    active(&stage, "theirs", V6, V6_MAC);
    let plan = plan(0, vec![v6(200)]);
    let ours = stage.elector(&stage.ours, &plan);
    active(&stage, "ours", V6, V6_MAC);
    assert!(stage.client.reaches(&format!("{LINK_LOCAL}%eth0")));
    assert_eq!(stage.found_at(&format!("{LINK_LOCAL}%eth0")), V6_MAC);
    ours.end();
    active(&stage, "theirs", V6, V6_MAC);
    assert!(!Stage::holds(&stage.ours, V6) && !Stage::holds(&stage.ours, LINK_LOCAL));
    assert!(!peer.log().contains("checksum"), "{}", peer.log());
}

/// In: keepalived above ours over IPv6; it ends. Out: ours takes over, link-local address included.
pub fn ours_below_keepalived_over_ipv6() {
    let stage = Stage::new();
    let addresses = ["fe80::1/64", "2001:db8::1/128"];
    let wanted = Keepalived { priority: 200, addresses: &addresses, ..Keepalived::default() };
    let peer = keepalived(&stage.theirs, &wanted);
    active(&stage, "theirs", V6, V6_MAC);
    let _ours = stage.elector(&stage.ours, &plan(0, vec![v6(100)]));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!Stage::holds(&stage.ours, V6));
    peer.end();
    active(&stage, "ours", V6, V6_MAC);
    assert_eq!(stage.found_at(&format!("{LINK_LOCAL}%eth0")), V6_MAC);
}

/// In: both address each other alone (unicast), each above the other in turn. Out: the higher one is active; the lower one
/// takes over when it ends.
pub fn unicast_peers() {
    let stage = Stage::new();
    let more = "unicast_peer {\n192.0.2.2\n}";
    let wanted = Keepalived { more, virtual_mac: false, ..Keepalived::default() };
    let peer = keepalived(&stage.theirs, &wanted);
    until("theirs takes it", SOON, || Stage::holds(&stage.theirs, V4));
    let unicast = vec!["192.0.2.3".parse().expect("an address")];
    let checksum = ChecksumForm::PseudoHeader;
    let plan = plan(0, vec![RouterPlan { unicast, checksum, ..v4(200) }]);
    let ours = stage.elector(&stage.ours, &plan);
    active(&stage, "ours", V4, V4_MAC);
    ours.signal(Signal::SIGTERM);
    until("theirs takes it", SOON, || Stage::holds(&stage.theirs, V4) && !Stage::holds(&stage.ours, V4));
    assert!(!peer.log().contains("checksum"), "{}", peer.log());
}

/// In: no virtual link, then one; it is removed under an active router, and comes again; somebody sets it down; somebody sets up
/// that of a backup. Out: the router takes part exactly while there is one, and its state is put into force again.
pub fn a_virtual_link_comes_and_goes() {
    let stage = Stage::new();
    let plan = plan(0, vec![v4(200)]);
    let ours = stage.elector_without_links(&stage.ours, &plan);
    until("it says what is missing", SOON, || ours.log().contains("the virtual link does not exist yet"));
    for round in 0..2 {
        Stage::make_links(&stage.ours, &plan);
        until(&format!("active, round {round}"), SOON, || {
            Stage::holds(&stage.ours, V4) && stage.found_at(V4) == V4_MAC
        });
        stage.ours.sh("ip link set vr10 down");
        until("up again", SOON, || Stage::holds(&stage.ours, V4) && stage.client.reaches(V4));
        if round == 0 {
            stage.ours.sh("ip link del vr10");
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    let _peer = keepalived(&stage.theirs, &Keepalived { priority: 250, ..Keepalived::default() });
    until("theirs takes it", SOON, || Stage::holds(&stage.theirs, V4) && !Stage::holds(&stage.ours, V4));
    stage.ours.sh("ip address add 192.0.2.1/32 dev vr10; ip link set vr10 up");
    until("down again", SOON, || stage.ours.sh("ip -o address show dev vr10").trim().is_empty());
    assert!(stage.ours.sh("ip -o link show vr10 up").trim().is_empty());
}
