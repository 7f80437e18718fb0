//! Sessions that the kernel carries, with the stock client. Needs the kernel's driver besides; `make test-ovpn` runs this on the
//! image's kernel, where `REMPART_OVPN` says that skipping is failing.

use std::time::{Duration, Instant};

use rempart_daemon::vpn::seam::{CutOff, FromPeople};
use rempart_plan::vpn::VpnPlan;
use rempart_system::ovpn::Ovpn;

use crate::audit::Capture;
use crate::stage::{Stage, can, plan};
use crate::takeover::take_over;

/// Short, where the product waits 65 s. The client has the new key by then, and packets under both are opened.
const SWITCH: Duration = Duration::from_secs(3);
const DEVICE: &str = "vpn0k";

fn wanted() -> VpnPlan {
    VpnPlan { kernel_device: Some(DEVICE.to_owned()), ..plan() }
}

/// So many gateways whose kernels carry sessions; `None` where they cannot.
fn stage(gateways: usize, plan: &VpnPlan) -> Option<Stage> {
    if !can() {
        return None;
    }
    if Ovpn::open().expect("generic netlink").is_none() {
        assert!(std::env::var_os("REMPART_OVPN").is_none(), "the kernel has no driver for OpenVPN");
        eprintln!("SKIPPED: the kernel has no driver for OpenVPN (Linux 6.16)");
        return None;
    }
    Some(Stage::with(|gate| gate.with_switch(SWITCH), gateways, plan))
}

/// Packets that have left and come by the kernel's device.
fn passed(stage: &Stage, node: usize) -> (u64, u64) {
    let read = |what: &str| {
        let path = format!("/sys/class/net/{DEVICE}/statistics/{what}_packets");
        // The files of another namespace are seen by who mounts them there.
        let said =
            stage.nodes[node].place.sh(&format!("unshare -m sh -c \"mount -t sysfs sys /sys; cat {path}\""));
        said.trim().parse::<u64>().unwrap()
    };
    (read("tx"), read("rx"))
}

fn led(stage: &Stage, node: usize) -> String {
    let route =
        |family: &str| stage.nodes[node].place.sh(&format!("ip {family} route show dev {DEVICE} proto 83"));
    route("-4") + &route("-6")
}

/// How many sessions the kernel knows.
fn peers(stage: &Stage, node: usize) -> usize {
    let place = &stage.nodes[node].place;
    let said = place.sh(&format!("ip -o link show {DEVICE}"));
    let index = said.split(':').next().unwrap().trim().parse().unwrap();
    place.enter(|| Ovpn::open().unwrap().unwrap().peers(index).unwrap().len())
}

fn in_kernel(stage: &Stage, node: usize) -> bool {
    stage.nodes[node].status().sessions.iter().any(|session| session.in_kernel)
}

/// In: a client, both families outside. Out: its packets go by the kernel's device, both ways and in both families inside, large ones too; it
/// is counted and shown; it says that it leaves and everything is gone.
#[test]
fn the_kernel_carries_the_stock_client() {
    let Some(stage) = stage(1, &wanted()) else { return };
    assert_eq!(stage.nodes[0].status().offload_fault, None);
    for remote in ["remote 192.0.2.1 1194 udp4", "remote 2001:db8::1 1194 udp6"] {
        let mut client = stage.client("alice", remote);
        client.up();
        stage.wait("the kernel carries it", |stage| in_kernel(stage, 0));
        let session = stage.nodes[0].session();
        let inner = session.addresses[0].to_string();
        stage.wait("it is led there", |stage| led(stage, 0).contains(&inner));
        let before = passed(&stage, 0);
        stage.ping("10.8.0.1", "");
        stage.ping("10.8.0.1", "-s 1472");
        stage.ping("fd00:8::1", "");
        stage.ping("10.20.0.9", "");
        stage.download(2_000_000);
        let after = passed(&stage, 0);
        assert!(after.0 >= before.0 + 12 && after.1 >= before.1 + 12, "{before:?} {after:?}");
        stage.wait("it is counted", |stage| {
            let session = stage.nodes[0].session();
            session.bytes_out > 2_000_000 && session.bytes_in > 10_000
        });
        client.assert_undisturbed();
        client.signal("-INT");
        stage.wait("the session is over", |stage| stage.nodes[0].status().sessions.is_empty());
        stage.wait("it is led nowhere", |stage| led(stage, 0).is_empty());
        stage.wait("the client has ended", |_| client.has_ended());
        assert_eq!(stage.pair.held(), 0);
    }
}

/// In: a client by TCP, one with a network behind it, and one that the kernel carries, on one gateway. Out: all of them work.
#[test]
fn what_the_kernel_cannot_carry_stays_with_the_program() {
    let Some(stage) = stage(1, &wanted()) else { return };
    let by_tcp = stage.client("alice", "remote 192.0.2.1 443 tcp4-client");
    by_tcp.up();
    stage.ping("10.20.0.9", "");
    assert!(!in_kernel(&stage, 0));
    drop(by_tcp);
    stage.wait("it has gone", |stage| stage.nodes[0].status().sessions.is_empty());
    let client = stage.client("alice", "");
    client.up();
    stage.wait("the kernel carries one", |stage| in_kernel(stage, 0));
    stage.crowd.lock().unwrap().networks.insert("10.99.0.0/24".parse().unwrap());
    let router = stage.client("bob", "dev tun7\nroute-nopull");
    router.up();
    stage.ping("10.8.0.1", "-I tun7");
    stage.ping("10.20.0.9", "");
    stage.download(500_000);
    let sessions = stage.nodes[0].status().sessions;
    let carried: Vec<(&str, bool)> = sessions.iter().map(|s| (s.user.as_str(), s.in_kernel)).collect();
    assert!(carried.contains(&("alice", true)) && carried.contains(&("bob", false)), "{carried:?}");
    assert!(!led(&stage, 0).contains("10.99."));
    router.signal("-INT");
    stage.wait("one has left", |stage| stage.nodes[0].status().sessions.len() == 1);
    stage.ping("10.20.0.9", "");
    client.assert_undisturbed();
}

/// In: new keys every few seconds under traffic. Out: no person is asked, nothing is lost but what a change of keys may cost, no nonce is used
/// twice, and the session is in the kernel all the time.
#[test]
fn keys_are_renewed_in_the_kernel() {
    let Some(stage) = stage(1, &wanted()) else { return };
    let client = stage.client("alice", "reneg-sec 8");
    client.up();
    stage.wait("the kernel carries it", |stage| in_kernel(stage, 0));
    stage.ping("10.20.0.9", "");
    let capture = Capture::begin(&stage);
    let probe = stage.probe("10.20.0.9", 50, 600);
    while stage.nodes[0].status().counters.renewed < 3 {
        assert!(in_kernel(&stage, 0));
        std::thread::sleep(Duration::from_millis(200));
    }
    let (received, gap) = probe.report();
    eprintln!("renewals: {received} of 600 pings, longest gap {gap} ms");
    assert!(received >= 590, "{received}");
    let (packets, keys) = capture.audit(&stage);
    assert!(packets >= 590 && keys >= 3, "{packets} packets under {keys} keys");
    client.assert_undisturbed();
    let logins = stage.crowd.lock().unwrap().logins.clone();
    assert!(logins.iter().skip(1).all(|login| login.1 == "token"), "{logins:?}");
}

/// In: a person who may not come in any more. Out: at once nothing passes, in either direction, and nothing is left in the kernel.
#[test]
fn who_is_cut_off_is_out_of_the_kernel_at_once() {
    let Some(stage) = stage(1, &wanted()) else { return };
    let client = stage.client("alice", "");
    client.up();
    stage.wait("the kernel carries it", |stage| in_kernel(stage, 0));
    stage.ping("10.20.0.9", "");
    let (_, before) = passed(&stage, 0);
    assert_eq!(peers(&stage, 0), 1);
    // It does not hear that it is cut off, and goes on.
    stage
        .client
        .sh("nft add table inet cut; nft \"add chain inet cut in { type filter hook input priority 0; }\"; \
                     nft add rule inet cut in udp sport 1194 drop");
    stage.nodes[0].handle.people()(FromPeople::Cut(CutOff::User("alice".parse().unwrap())));
    stage.wait("nobody is on", |stage| stage.nodes[0].status().sessions.is_empty());
    assert!(before > 0);
    assert_eq!(peers(&stage, 0), 0);
    let (_, at_once) = passed(&stage, 0);
    stage.client.sh("ping -n -q -c 5 -i 0.1 -W 1 10.20.0.9 || true");
    let (_, after) = passed(&stage, 0);
    assert_eq!(after, at_once, "the kernel opens nothing of it any more");
    stage.wait("it is led nowhere", |stage| led(stage, 0).is_empty());
    assert_eq!(stage.pair.held(), 0);
    client.assert_undisturbed();
}

/// In: a client in the kernel of one gateway; the other one takes over, and the first one again. Out: the client goes on, at first by the
/// program with the keys that both hold; a minute later, when it speaks under its next key, by the kernel of the gateway that has it; no
/// nonce is used twice.
#[test]
fn a_session_that_is_taken_over_comes_to_the_kernel_with_its_next_key() {
    let Some(stage) = stage(2, &wanted()) else { return };
    let client = stage.client("alice", "");
    client.up();
    stage.wait("the kernel carries it", |stage| in_kernel(stage, 0));
    stage.ping("10.20.0.9", "");
    let capture = Capture::begin(&stage);
    for to in [1, 0] {
        take_over(&stage, to);
        // Its key is one that the other kernel has counted under.
        assert!(!in_kernel(&stage, to) && !in_kernel(&stage, 1 - to));
        assert!(led(&stage, to).is_empty());
        stage.ping("10.20.0.9", "");
        stage.wait("a key is renewed", |stage| stage.nodes[to].status().counters.renewed > 0);
        stage.wait("the other one has nothing of it", |stage| led(stage, 1 - to).is_empty());
        if to == 1 {
            come_to_the_kernel(&stage, to);
        }
    }
    let (packets, keys) = capture.audit(&stage);
    assert!(packets > 100 && keys >= 2, "{packets} packets under {keys} keys");
    client.assert_undisturbed();
}

/// Stock clients speak under the key from before for a minute.
fn come_to_the_kernel(stage: &Stage, node: usize) {
    let begin = Instant::now();
    while !in_kernel(stage, node) {
        assert!(begin.elapsed() < Duration::from_secs(100), "{:?}", stage.nodes[node].status());
        stage.ping("10.20.0.9", "");
        std::thread::sleep(Duration::from_millis(500));
    }
    eprintln!("in the kernel after {:?}", begin.elapsed());
    let before = passed(stage, node);
    stage.ping("10.20.0.9", "");
    stage.download(500_000);
    let after = passed(stage, node);
    assert!(after.0 > before.0 + 3 && after.1 > before.1 + 3, "{before:?} {after:?}");
}

/// In: a kernel without the driver. Out: the program carries the session as it always did, and says why.
#[test]
fn without_the_driver_the_program_carries_all() {
    if !can() || Ovpn::open().expect("generic netlink").is_some() {
        return eprintln!("SKIPPED: this needs a kernel without the driver");
    }
    let stage = Stage::new(1, &wanted());
    let client = stage.client("alice", "");
    client.up();
    stage.ping("10.20.0.9", "");
    let status = stage.nodes[0].status();
    assert!(status.offload_fault.is_some_and(|why| why.contains("no driver")));
    assert!(!status.sessions[0].in_kernel);
}
