//! Plans of the network against the real kernel.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{in_namespace, sh};
use ipnet::IpNet;
use rempart_config::model::Device;
use rempart_plan::net::{
    Address, Link, LinkKind, Missing, Need, Network, NextHop, Observed, RouteKey, Step, Sysctl, diff, missing,
};
use rempart_system::links::{Change, Links, monitor};

fn device(name: &str) -> Device {
    Device::new(name)
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn physical() -> Link {
    Link { kind: LinkKind::Physical, mtu: None, master: None }
}

fn address(on: &str, text: &str, shared: bool) -> Address {
    Address { device: device(on), net: net(text), shared }
}

fn gateway(on: &str, via: &str, onlink: bool) -> NextHop {
    NextHop::Gateway { address: via.parse().expect("an address"), device: device(on), onlink }
}

/// eth0 outside, br0 with eth1 and eth2 inside, and a device that is not plugged in.
fn network() -> Network {
    let mut n = Network::default();
    n.links.insert(device("eth0"), Link { mtu: Some(1400), ..physical() });
    n.links.insert(device("br0"), Link { kind: LinkKind::Bridge { stp: false }, mtu: None, master: None });
    for member in ["eth1", "eth2"] {
        n.links.insert(device(member), Link { master: Some(device("br0")), ..physical() });
    }
    n.links.insert(device("eth9"), physical());
    n.addresses.extend([
        address("eth0", "192.0.2.2/24", false),
        address("eth0", "192.0.2.254/32", true),
        address("eth0", "2001:db8::2/64", false),
        address("eth0", "2001:db8::fe/128", true),
        address("br0", "192.168.10.1/24", false),
        address("eth9", "192.168.99.1/24", false),
    ]);
    n.routes.insert(RouteKey::new(net("0.0.0.0/0"), 100), gateway("eth0", "192.0.2.1", false));
    n.routes.insert(RouteKey::new(net("::/0"), 100), gateway("eth0", "2001:db8::1", false));
    n.routes.insert(RouteKey::new(net("10.0.0.0/8"), 0), NextHop::Blackhole);
    n.routes.insert(RouteKey::new(net("fd00::/8"), 0), NextHop::Blackhole);
    n.routes.insert(RouteKey::new(net("10.1.0.0/16"), 5), gateway("br0", "192.168.10.9", false));
    n.routes.insert(RouteKey::new(net("10.2.0.0/16"), 0), gateway("eth0", "198.51.100.1", true));
    let sysctl = |value: &str, on: Option<&str>| Sysctl {
        value: value.into(),
        need: Need::Required,
        device: on.map(device),
    };
    n.sysctls = BTreeMap::from([
        ("net/ipv4/ip_forward".into(), sysctl("1", None)),
        // Without it the kernel removes the other addresses of a network with the first one.
        ("net/ipv4/conf/all/promote_secondaries".into(), sysctl("1", None)),
        ("net/ipv4/no_such_setting".into(), sysctl("1", None)),
        ("net/ipv4/conf/eth0/rp_filter".into(), sysctl("1", Some("eth0"))),
        ("net/ipv4/conf/br0/send_redirects".into(), sysctl("0", Some("br0"))),
        ("net/ipv4/conf/br0/no_such_setting".into(), sysctl("0", Some("br0"))),
    ]);
    n
}

fn cables() {
    for name in ["eth0", "eth1", "eth2"] {
        sh(&format!("ip link add {name} type veth peer name {name}p && ip link set {name}p up"));
    }
}

async fn apply_all(links: &Links, steps: &[Step]) {
    for step in steps {
        links.apply(step).await.unwrap_or_else(|e| panic!("{e}"));
    }
}

/// An empty node and a plan in; after its steps nothing is left to do, and after their undoing the node is as before.
#[test]
fn a_plan_is_reached_and_taken_back() {
    in_namespace(|| async {
        cables();
        sh("ip addr add 172.16.0.1/24 dev eth0; ip addr add 172.16.1.1/24 dev eth1; ip link set eth1 up");
        sh("ip route add 172.17.0.0/16 via 172.16.1.9");
        let links = Links::new().expect("links");
        let network = network();
        let before = links.observe(&network).await.expect("observed");
        assert_eq!(
            missing(&network, &before),
            [
                Missing::Device { device: device("eth9") },
                Missing::Sysctl { key: "net/ipv4/no_such_setting".into() }
            ]
        );
        let steps = diff(&network, &before);
        apply_all(&links, &steps).await;
        let after = links.observe(&network).await.expect("observed");
        let rest = diff(&network, &after);
        assert!(
            rest.is_empty(),
            "left to do: {}",
            rest.iter().map(|s| format!("\n  {s}")).collect::<String>()
        );
        let ip = sh("ip addr show dev eth0; ip route; ip -6 route; ip -d link show br0");
        for expected in [
            "mtu 1400",
            "inet 192.0.2.2/24",
            "inet 192.0.2.254/32",
            "2001:db8::fe/128",
            "deprecated",
            "default via 192.0.2.1 dev eth0 proto 82 metric 100",
            "blackhole 10.0.0.0/8 proto 82",
            "10.2.0.0/16 via 198.51.100.1 dev eth0 proto 82 onlink",
            "alias rempart",
        ] {
            assert!(ip.contains(expected), "{expected} is not in\n{ip}");
        }
        for step in steps.iter().rev().filter_map(Step::undo) {
            links.apply(&step).await.unwrap_or_else(|e| panic!("{e}"));
        }
        let undone = links.observe(&network).await.expect("observed");
        assert_eq!(settled(undone), settled(before));
        links
            .apply(&Step::DeleteLink { device: device("br0"), kind: LinkKind::Physical, mtu: None })
            .await
            .expect("done already");
    });
}

/// Without what the kernel makes by itself as links go up and down.
fn settled(mut observed: Observed) -> Observed {
    observed.addresses.retain(|(_, net)| !matches!(net, IpNet::V6(n) if n.addr().is_unicast_link_local()));
    observed
}

/// The plan changes under way (gateway, address, members, role): again nothing is left to do after the steps.
#[test]
fn a_changed_plan_is_reached() {
    in_namespace(|| async {
        cables();
        let links = Links::new().expect("links");
        let first = network();
        apply_all(&links, &diff(&first, &links.observe(&first).await.expect("observed"))).await;
        let mut second = network();
        second.routes.insert(RouteKey::new(net("0.0.0.0/0"), 100), gateway("eth0", "192.0.2.9", false));
        second.routes.insert(RouteKey::new(net("::/0"), 100), gateway("eth0", "2001:db8::9", false));
        second.routes.insert(RouteKey::new(net("fd00::/8"), 0), gateway("eth0", "2001:db8::7", false));
        second.routes.remove(&RouteKey::new(net("10.0.0.0/8"), 0));
        second.addresses.remove(&address("eth0", "192.0.2.254/32", true));
        second.addresses.remove(&address("eth0", "192.0.2.2/24", false));
        second.addresses.insert(address("eth0", "192.0.2.3/24", false));
        second.addresses.remove(&address("eth0", "2001:db8::2/64", false));
        second.addresses.insert(address("eth0", "2001:db8::2/96", false));
        second.links.insert(device("eth2"), physical());
        second.addresses.insert(address("eth2", "192.168.20.1/24", false));
        for (from, to) in [(&first, &second), (&second, &first)] {
            let steps = diff(to, &links.observe(to).await.expect("observed"));
            assert!(!steps.is_empty());
            apply_all(&links, &steps).await;
            let rest = diff(to, &links.observe(to).await.expect("observed"));
            assert!(
                rest.is_empty(),
                "left to do: {}",
                rest.iter().map(|s| format!("\n  {s}")).collect::<String>()
            );
            let _ = from;
        }
        // The bridge goes when nothing names it any more; a foreign bridge stays.
        sh("ip link add br7 type bridge");
        let mut third = second.clone();
        third.links.remove(&device("br0"));
        third.links.insert(device("eth1"), physical());
        third.addresses.retain(|a| a.device != device("br0"));
        third.routes.retain(|_, hop| hop.device() != Some(&device("br0")));
        let steps = diff(&third, &links.observe(&third).await.expect("observed"));
        apply_all(&links, &steps).await;
        assert!(diff(&third, &links.observe(&third).await.expect("observed")).is_empty());
        let left = sh("ip -br link");
        assert!(left.contains("br7") && !left.contains("br0"), "{left}");
    });
}

/// What the kernel refuses is said with the step, the reason and what to do.
#[test]
fn a_refused_step_says_why() {
    in_namespace(|| async {
        cables();
        sh("ip link set eth0 up");
        let links = Links::new().expect("links");
        let key = RouteKey::new(net("0.0.0.0/0"), 100);
        let error = links
            .apply(&Step::AddRoute { key, hop: gateway("eth0", "192.0.2.1", false) })
            .await
            .expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("add route 0.0.0.0/0 metric 100 via 192.0.2.1 on eth0"), "{text}");
        assert!(text.contains("the gateway is on no network of the device"), "{text}");
        let vlan = Step::CreateLink {
            device: device("eth0.40"),
            kind: LinkKind::Vlan { parent: device("eth0"), id: 40 },
            mtu: None,
        };
        if let Err(error) = links.apply(&vlan).await {
            assert!(error.to_string().contains("no driver"), "{error}");
        }
        let gone =
            links.apply(&Step::SetUp { device: device("eth9"), up: true }).await.expect_err("no device");
        assert!(gone.to_string().contains("there is no device eth9"), "{gone}");
    });
}

/// A pulled cable is told at once, and a device that goes.
#[test]
fn changes_are_told() {
    in_namespace(|| async {
        cables();
        sh("ip link set eth0 up");
        let mut news = monitor().expect("a monitor");
        sh("ip link set eth0p down");
        let pulled = Change::Link { device: device("eth0"), up: true, carrier: false };
        wait_for(&mut news, pulled).await;
        sh("ip link set eth0p up");
        wait_for(&mut news, Change::Link { device: device("eth0"), up: true, carrier: true }).await;
        sh("ip addr add 192.0.2.2/24 dev eth0");
        wait_for(&mut news, Change::Address).await;
        sh("ip route add 10.0.0.0/8 via 192.0.2.1");
        wait_for(&mut news, Change::Route).await;
        sh("ip link del eth0");
        wait_for(&mut news, Change::LinkGone { device: device("eth0") }).await;
    });
}

async fn wait_for(news: &mut rempart_system::links::Monitor, wanted: Change) {
    let found = async {
        while let Some(change) = news.next().await {
            if change == wanted {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), found).await.unwrap_or_else(|_| panic!("no {wanted:?}"));
}

/// A flood of changes that nobody reads: at the end one `Missed` tells that something is missing.
#[test]
fn missed_changes_are_told() {
    in_namespace(|| async {
        let mut news = monitor().expect("a monitor");
        sh("ip link add d0 type dummy && ip link set d0 up || ip link add d0 type veth peer name d1");
        sh(
            "i=0; while [ $i -lt 20000 ]; do echo addr add 10.$((i/250%250)).$((i%250)).1/32 dev d0; i=$((i+1)); done \
            | ip -force -batch - >/dev/null 2>&1 || true",
        );
        let found = async {
            let mut all = 0;
            while let Some(change) = news.next().await {
                all += 1;
                if change == Change::Missed {
                    return all;
                }
            }
            all
        };
        let all =
            tokio::time::timeout(Duration::from_secs(10), found).await.expect("a sign of what was missed");
        println!("changes read before the gap was told: {all}");
    });
}

/// Bytes that were sent are counted.
#[test]
fn traffic_is_counted() {
    in_namespace(|| async {
        cables();
        sh("ip addr add 192.0.2.2/24 dev eth0 && ip link set eth0 up");
        sh("ping -c 3 -i 0.01 -w 1 192.0.2.1 || true");
        let links = Links::new().expect("links");
        let all = links.statistics().await.expect("statistics");
        let eth0 = all[&device("eth0")];
        assert!(eth0.up && eth0.carrier && eth0.tx_packets > 0 && eth0.tx_bytes > 0, "{eth0:?}");
    });
}

const DOCUMENT: &str = r#"
version = 1
node = "fw"

[system]
max_connections = 300000

[interface.wan]
device = "eth0"
zone = "wan"
address = ["198.51.100.11/24", "2001:db8::11/64"]
gateway = ["198.51.100.1", "2001:db8::1"]

[interface.lan]
device = "br0"
zone = "lan"
bridge = { members = ["eth1", "eth2"] }
address = ["192.168.10.1/24", "fd00:10::1/64"]

[[nat.one_to_one]]
outside = "198.51.100.32/30"
inside = "192.168.10.32/30"
interface = "wan"
"#;

/// A whole document in, with all its kernel settings; after one round nothing is left to do.
#[test]
fn a_document_is_reached() {
    in_namespace(|| async {
        cables();
        let reading = rempart_config::read(DOCUMENT);
        let report = rempart_config::render(&reading.diagnostics, "document.toml", DOCUMENT, false);
        let model = reading.model.unwrap_or_else(|| panic!("{report}"));
        let node = model.node(model.nodes[0].as_str()).expect("the node");
        let network = Network::of(&model, node, &rempart_plan::Facts::default());
        let links = Links::new().expect("links");
        let before = links.observe(&network).await.expect("observed");
        assert_eq!(missing(&network, &before), []);
        let steps = diff(&network, &before);
        apply_all(&links, &steps).await;
        // What the kernel does by itself once the links are up comes a little later.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let after = links.observe(&network).await.expect("observed");
        let rest = diff(&network, &after);
        assert!(
            rest.is_empty(),
            "left to do: {}",
            rest.iter().map(|s| format!("\n  {s}")).collect::<String>()
        );
        for step in steps.iter().rev().filter_map(Step::undo) {
            links.apply(&step).await.unwrap_or_else(|e| panic!("{e}"));
        }
        let undone = links.observe(&network).await.expect("observed");
        assert_eq!(settled(undone), settled(before));
    });
}
