//! A document that changes while the elector runs, over the bus.

use std::time::Duration;

use nix::sys::signal::Signal;
use rempart_interop::{Keepalived, Stage, keepalived, plan, router, until};
use rempart_plan::ha::{ChecksumForm, RouterPlan};

const SOON: Duration = Duration::from_secs(15);
const V4: &str = "192.0.2.1";
const V6: &str = "2001:db8::1";

/// In: ours is active for both families beside keepalived; then the document gives the IPv4 router another address and a
/// lower priority and asks for no IPv6 router any more; then for nothing. Out: the first change is made without a farewell and
/// without a lost ping, and keepalived never takes over; the second is a farewell, and it does.
pub fn a_change_disturbs_nothing_else() {
    let stage = Stage::new();
    let _bus = stage.ours.start_bus();
    // The new address is not in the adverts: keepalived, whose document does not change, would refuse them.
    let v4 = |more: &[&str], priority| RouterPlan {
        checksum: ChecksumForm::PseudoHeader,
        unadvertised: more.iter().map(|net| net.parse().expect("a network")).collect(),
        ..router(&["192.0.2.1/32"], priority)
    };
    let v6 = router(&["fe80::1/64", "2001:db8::1/128"], 200);
    let before = plan(0, vec![v4(&[], 200), v6]);
    let ours = stage.elector(&stage.ours, &before);
    until("ours is active", SOON, || Stage::holds(&stage.ours, V4) && Stage::holds(&stage.ours, V6));
    until("it is on the bus", SOON, || ours.log().contains("on the bus"));
    let peer = keepalived(&stage.theirs, &Keepalived::default());
    until("theirs listens", SOON, || peer.log().contains("BACKUP"));

    let ping = stage.client.start("ping", "ping", &["-q", "-i", "0.002", V4]);
    let after = plan(0, vec![v4(&["192.0.2.7/32"], 150)]);
    let text = format!("string:{}", serde_json::to_string(&after).expect("JSON"));
    stage.ours.call("Configure", &[&text, "uint32:2"]);
    until("the new address", SOON, || stage.client.reaches("192.0.2.7"));
    until("IPv6 is gone", SOON, || !Stage::holds(&stage.ours, V6));
    std::thread::sleep(Duration::from_secs(1));
    ping.signal(Signal::SIGINT);
    until("ping counts", SOON, || ping.log().contains("received"));
    assert!(ping.log().contains(" 0% packet loss"), "{}", ping.log());
    assert!(!peer.log().contains("MASTER STATE"), "{}", peer.log());
    let status = stage.ours.call("Status", &[]);
    assert!(status.contains(r#""role":"active""#) && !status.contains("2001:db8::1"), "{status}");

    stage.ours.call("Configure", &["string:", "uint32:3"]);
    until("theirs takes over", SOON, || Stage::holds(&stage.theirs, V4) && !Stage::holds(&stage.ours, V4));
    assert!(stage.ours.call("Status", &[]).contains(r#""role":"none""#));
}
