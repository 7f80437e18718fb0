//! What becomes of a plan, without a kernel.

use super::*;
use rempart_plan::ha::RouterPlan;

fn plan(addresses: &[&str]) -> RouterPlan {
    RouterPlan {
        interface: "lan".into(),
        parent: "eth0".into(),
        device: "vr10".into(),
        vrid: 10,
        protocol: VirtualProtocol::Vrrp3,
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
        unadvertised: Vec::new(),
        local: None,
        interval_cs: 10,
        priority: 100,
        preempt: true,
        preempt_delay_s: 0,
        accept: true,
        unicast: Vec::new(),
        checksum: ChecksumForm::LikePeer,
        carp: None,
        auth: None,
    }
}

fn config(plan: RouterPlan) -> Result<Config, Obstacle> {
    let source = if plan.addresses[0].addr().is_ipv6() { "fe80::2" } else { "192.0.2.2" };
    Router::new(plan)?.config(source.parse().unwrap(), &Secrets::default(), false)
}

/// In: addresses of both kinds. Out: each is announced in the two forms of ARP, or by an advertisement; those that are not
/// in the adverts as well.
#[test]
fn every_address_is_announced() {
    let v4 = RouterPlan { unadvertised: vec!["198.51.100.7/32".parse().unwrap()], ..plan(&["192.0.2.1/32"]) };
    assert_eq!(Router::new(v4).unwrap().announcement.len(), 4);
    let v6 = Router::new(plan(&["fe80::1/64", "2001:db8::1/128"])).unwrap();
    assert_eq!(v6.announcement.len(), 2);
    assert!(v6.announcement.iter().all(|frame| frame[6..12] == [0, 0, 0x5e, 0, 2, 10]));
}

/// In: plans that the protocols do not allow. Out: an obstacle in words, and no panic.
#[test]
fn impossible_plans_are_obstacles() {
    let carp = VirtualProtocol::Carp;
    let wrong = [
        RouterPlan { vrid: 0, ..plan(&["192.0.2.1/32"]) },
        plan(&[]),
        RouterPlan { interval_cs: 0, ..plan(&["192.0.2.1/32"]) },
        RouterPlan { protocol: VirtualProtocol::Vrrp2, ..plan(&["fe80::1/64"]) },
        RouterPlan { protocol: carp, carp: None, ..plan(&["192.0.2.1/32"]) },
        RouterPlan { protocol: VirtualProtocol::Vrrp2, auth: Some("gone".into()), ..plan(&["192.0.2.1/32"]) },
    ];
    for plan in wrong {
        let tried = if plan.addresses.is_empty() {
            Router::new(plan).map(drop)
        } else {
            config(plan).and_then(|config| Elector::new(config).map(drop).map_err(refused))
        };
        assert!(matches!(tried, Err(Obstacle::Plan(why)) if !why.is_empty()));
    }
}

/// In: intervals in hundredths. Out: as they are in version 3; whole seconds, never fewer, in version 2.
#[test]
fn intervals_are_translated() {
    for (interval_cs, seconds) in [(1, 1), (100, 1), (101, 2), (25_500, 255), (65_535, 255)] {
        let plan = RouterPlan { protocol: VirtualProtocol::Vrrp2, interval_cs, ..plan(&["192.0.2.1/32"]) };
        match config(plan).unwrap().protocol {
            Protocol::Vrrp(Vrrp { version: Version::V2 { interval, .. }, .. }) => {
                assert_eq!(interval.get(), seconds);
            }
            other => panic!("{other:?}"),
        }
    }
    match config(plan(&["192.0.2.1/32"])).unwrap().protocol {
        Protocol::Vrrp(Vrrp { version: Version::V3 { interval, .. }, .. }) => assert_eq!(interval.get(), 10),
        other => panic!("{other:?}"),
    }
}

/// In: preemption off, at once, later. Out: the same in the words of the machine.
#[test]
fn preemption_is_translated() {
    let preempt = |preempt, preempt_delay_s| {
        config(RouterPlan { preempt, preempt_delay_s, ..plan(&["192.0.2.1/32"]) }).unwrap().preempt
    };
    assert_eq!(preempt(false, 0), Preempt::Never);
    assert_eq!(preempt(false, 5), Preempt::Never);
    assert_eq!(preempt(true, 0), Preempt::Always);
    assert_eq!(preempt(true, 5), Preempt::After(Duration::from_secs(5)));
}
