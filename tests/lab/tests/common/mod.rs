//! A plain Linux router in the product's place: addresses, forwarding, nothing else.

use rempart_lab::{Host, Lab, Topology};

/// The standard network with `rte01` as a plain router.
pub fn plain_lab() -> Lab {
    let lab = Lab::builder().topology(Topology::standard()).up().expect("a lab");
    route_plainly(lab.host("rte01"));
    // Without address translation, the provider must know the way back.
    let back = "route add 192.168.10.0/24 via 203.0.113.10\nroute add 192.168.20.0/24 via 203.0.113.10\n";
    lab.host("inet").ip(back).expect("routes");
    lab.host("cli-wan").ip(back).expect("routes");
    lab
}

/// Makes a bare router one that forwards between the standard networks.
pub fn route_plainly(router: &Host) {
    router.sysctl(&["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]).expect("forwarding");
    let addresses = [
        ("enp1s0", "203.0.113.10/24", "2001:db8:113::10/64"),
        ("enp2s0", "192.168.10.254/24", "fd00:10::fe/64"),
        ("enp3s0", "192.168.20.254/24", "fd00:20::fe/64"),
    ];
    for (device, v4, v6) in addresses {
        let lines = format!(
            "link set {device} up\naddress add {v4} dev {device}\naddress add {v6} dev {device} nodad\n"
        );
        router.ip(&lines).expect("addresses");
    }
    router.ip("route add 0.0.0.0/0 via 203.0.113.1\nroute add ::/0 via 2001:db8:113::1\n").expect("routes");
}
