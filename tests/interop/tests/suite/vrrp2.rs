//! VRRP version 2 beside keepalived, plain and with a text password. Its interval is a second at least.

use std::fs;
use std::time::Duration;

use rempart_interop::{Keepalived, Machine, Stage, keepalived, plan, router, until};
use rempart_plan::ha::{RouterPlan, VirtualProtocol};

const SOON: Duration = Duration::from_secs(20);
const V4: &str = "192.0.2.1";
const MAC: &str = "00:00:5e:00:01:0a";

fn v2(priority: u8, password: bool) -> RouterPlan {
    let auth = password.then(|| "text".to_owned());
    let router = router(&["192.0.2.1/32"], priority);
    RouterPlan { protocol: VirtualProtocol::Vrrp2, interval_cs: 100, auth, ..router }
}

fn keep_secret(machine: &Machine, text: &str) {
    let folder = machine.folder().join("secrets");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("text"), text).expect("written");
}

fn both_roles(password: Option<&str>) {
    let stage = Stage::new();
    keep_secret(&stage.ours, &format!("{}\n", password.unwrap_or_default()));
    let wanted = Keepalived { version: 2, interval: "1", password, ..Keepalived::default() };
    let above = stage.elector(&stage.ours, &plan(0, vec![v2(200, password.is_some())]));
    until("ours is active", SOON, || stage.found_at(V4) == MAC && Stage::holds(&stage.ours, V4));
    let peer = keepalived(&stage.theirs, &wanted);
    std::thread::sleep(Duration::from_secs(5));
    assert!(!Stage::holds(&stage.theirs, V4), "keepalived does not hear us: {}", peer.log());
    above.end();
    until("theirs takes over", SOON, || Stage::holds(&stage.theirs, V4) && stage.found_at(V4) == MAC);
    // keepalived stays with the higher rank, now that ours is below, and ours takes over from it.
    let _below = {
        let plan = plan(0, vec![v2(50, password.is_some())]);
        stage.ours.sh("ip link del vr10");
        stage.elector(&stage.ours, &plan)
    };
    std::thread::sleep(Duration::from_secs(5));
    assert!(Stage::holds(&stage.theirs, V4) && !Stage::holds(&stage.ours, V4));
    peer.end();
    until("ours takes over", SOON, || Stage::holds(&stage.ours, V4) && stage.found_at(V4) == MAC);
}

/// In: no authentication. Out: either one takes over from the other.
pub fn plain() {
    both_roles(None);
}

/// In: the same text on both. Out: the same.
pub fn with_a_password() {
    both_roles(Some("opensez8"));
}

/// In: different texts, ours above. Out: ours hears nothing that it believes, and refuses out loud.
pub fn with_different_passwords() {
    let stage = Stage::new();
    keep_secret(&stage.ours, "right");
    let wanted = Keepalived {
        version: 2,
        interval: "1",
        password: Some("wrong"),
        priority: 200,
        ..Keepalived::default()
    };
    let _peer = keepalived(&stage.theirs, &wanted);
    until("theirs is active", SOON, || Stage::holds(&stage.theirs, V4));
    let _ours = stage.elector(&stage.ours, &plan(0, vec![v2(100, true)]));
    until("ours does not obey a stranger", SOON, || Stage::holds(&stage.ours, V4));
}
