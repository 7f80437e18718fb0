//! Plans as the control daemon would hand them over.

use std::net::IpAddr;

use rempart_plan::ha::{ChecksumForm, Failback, HaPlan, PathPlan, RouterPlan, VirtualProtocol};

use crate::VRID;

/// A plan for the first (0) or second (1) node: `routers` on `eth0`, paths over `sync` and `eth0`.
pub fn plan(index: u8, routers: Vec<RouterPlan>) -> HaPlan {
    let names = ["one", "two"];
    let place = usize::from(index);
    let path = |interface: &str, addresses: [&str; 2], sync| PathPlan {
        interface: interface.into(),
        device: interface.into(),
        local: addresses[place].parse().expect("an address"),
        remote: addresses[1 - place].parse().expect("an address"),
        sync,
    };
    HaPlan {
        node: names[place].into(),
        index,
        peer: Some(names[1 - place].into()),
        paths: vec![
            path("sync", ["169.254.77.1", "169.254.77.2"], true),
            path("eth0", ["192.0.2.2", "192.0.2.3"], false),
        ],
        routers,
        monitors: Vec::new(),
        failback: Failback::Stay,
        // Ten times the default: other tests load the machine, and what is tested here is not how fast a death is noticed.
        heartbeat_ms: 100,
    }
}

/// A virtual router with these addresses and this priority; adverts every 100 ms.
pub fn router(addresses: &[&str], priority: u8) -> RouterPlan {
    let addresses: Vec<ipnet::IpNet> = addresses.iter().map(|a| a.parse().expect("a network")).collect();
    let v6 = addresses.iter().any(|net| net.addr().is_ipv6());
    RouterPlan {
        interface: "lan".into(),
        parent: "eth0".into(),
        device: format!("vr{VRID}{}", if v6 { "v6" } else { "" }),
        vrid: VRID,
        protocol: VirtualProtocol::Vrrp3,
        local: None::<IpAddr>,
        addresses,
        unadvertised: Vec::new(),
        interval_cs: 10,
        priority,
        preempt: true,
        preempt_delay_s: 0,
        accept: true,
        unicast: Vec::new(),
        checksum: ChecksumForm::LikePeer,
        carp: None,
        auth: None,
    }
}
