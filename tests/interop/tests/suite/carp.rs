//! CARP beside ucarp.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use rempart_interop::{Carp, Stage, carp_peer, plan, router, until};
use rempart_plan::ha::{CarpPlan, RouterPlan, VirtualProtocol};

const SOON: Duration = Duration::from_secs(20);
const V4: &str = "192.0.2.1";
const PEER: Carp<'_> =
    Carp { advskew: 100, preempt: true, password: "secret", source: "192.0.2.3", address: V4 };

fn ours(stage: &Stage, advskew: u8, password: &str) -> RouterPlan {
    let folder = stage.ours.folder().join("secrets");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("carp"), password).expect("written");
    let carp = CarpPlan { advbase: 1, advskew, password: "carp".into() };
    RouterPlan { protocol: VirtualProtocol::Carp, carp: Some(carp), ..router(&["192.0.2.1/32"], 100) }
}

/// In: ours faster than ucarp; ours ends. Out: ours is active and ucarp obeys; then ucarp takes over.
pub fn ours_above_ucarp() {
    let stage = Stage::new();
    let elector = stage.elector(&stage.ours, &plan(0, vec![ours(&stage, 0, "secret")]));
    until("ours is active", SOON, || Stage::holds(&stage.ours, V4) && stage.client.reaches(V4));
    assert_eq!(stage.found_at(V4), "00:00:5e:00:01:0a");
    let _peer = carp_peer(&stage.theirs, &PEER);
    std::thread::sleep(Duration::from_secs(5));
    assert!(Stage::holds(&stage.ours, V4) && !Stage::holds(&stage.theirs, V4));
    elector.end();
    until("ucarp takes over", SOON, || Stage::holds(&stage.theirs, V4) && stage.client.reaches(V4));
}

/// In: ucarp faster than ours; ucarp ends; ucarp again. Out: ours is active only meanwhile.
pub fn ours_below_ucarp() {
    let stage = Stage::new();
    let wanted = Carp { advskew: 0, ..PEER };
    let peer = carp_peer(&stage.theirs, &wanted);
    until("ucarp is active", SOON, || Stage::holds(&stage.theirs, V4));
    let _elector = stage.elector(&stage.ours, &plan(0, vec![ours(&stage, 100, "secret")]));
    std::thread::sleep(Duration::from_secs(5));
    assert!(!Stage::holds(&stage.ours, V4));
    peer.signal(Signal::SIGTERM);
    until("ours takes over", SOON, || Stage::holds(&stage.ours, V4) && stage.client.reaches(V4));
    let _peer = carp_peer(&stage.theirs, &wanted);
    until("ucarp is active again", SOON, || {
        Stage::holds(&stage.theirs, V4) && !Stage::holds(&stage.ours, V4)
    });
}

/// In: another password. Out: ours does not obey.
pub fn another_password() {
    let stage = Stage::new();
    let _peer = carp_peer(&stage.theirs, &Carp { advskew: 0, password: "wrong", ..PEER });
    until("ucarp is active", SOON, || Stage::holds(&stage.theirs, V4));
    let _elector = stage.elector(&stage.ours, &plan(0, vec![ours(&stage, 100, "secret")]));
    until("ours does not obey a stranger", SOON, || Stage::holds(&stage.ours, V4));
}
