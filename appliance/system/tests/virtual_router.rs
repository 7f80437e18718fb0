//! Virtual routers against the real kernel: their links, who answers ARP and neighbour discovery for their addresses,
//! and the policy for what arrives by them. The elector is played by `ip`.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Neighbour, in_namespace, sh};
use rempart_config::Model;
use rempart_plan::ha::{HaPlan, RouterPlan};
use rempart_plan::net::{Step, diff, missing};
use rempart_plan::nft::TABLE;
use rempart_plan::{Facts, Ids, Plan, Role};
use rempart_system::links::Links;
use rempart_system::nft::Nft;

const DOCUMENT: &str = r#"
version = 1

[pair]
nodes = ["a", "b"]
sync = "sync"

[interface.sync]
device = "eth2"
address = { a = "169.254.77.1/30", b = "169.254.77.2/30" }

[interface.wan]
device = "eth0"
zone = "wan"
address = { a = "203.0.113.101/24", b = "203.0.113.102/24" }
virtual = { address = "203.0.113.100/24", vrid = 1 }
gateway = "203.0.113.1"

[interface.lan]
device = "eth1"
zone = "lan"
address = { a = ["192.168.10.1/24", "fd00:10::1/64"], b = ["192.168.10.2/24", "fd00:10::2/64"] }
virtual = [{ address = "192.168.10.254/24", vrid = 10 }, { address = "fd00:10::fe/64", vrid = 10 }]
mtu = 1400

[host]
web = "192.168.10.50"

[[flow]]
from = "lan"
to = ["firewall", "wan"]
allow = ["ping"]

[[flow]]
from = "wan"
to = "lan:web"
allow = ["tcp/80"]
publish = { address = "203.0.113.9" }
"#;

fn model(document: &str) -> Model {
    let reading = rempart_config::read(document);
    let report = rempart_config::render(&reading.diagnostics, "document.toml", document, false);
    reading.model.unwrap_or_else(|| panic!("{report}"))
}

fn plan(document: &str) -> (Plan, Vec<RouterPlan>) {
    let model = model(document);
    let node = model.node("a").expect("the node");
    let ids = Ids::default().assign(&model);
    let plan = Plan::of(&model, node, Role::Active, &Facts::default(), &ids).expect("it compiles");
    (plan, HaPlan::of(&model, node).map_or_else(Vec::new, |ha| ha.routers))
}

/// Brings the namespace to `plan`: the network first, then the ruleset.
async fn apply(links: &Links, plan: &Plan) -> Vec<Step> {
    let observed = links.observe(&plan.network).await.expect("observed");
    assert_eq!(missing(&plan.network, &observed), []);
    let steps = diff(&plan.network, &observed);
    for step in &steps {
        links.apply(step).await.unwrap_or_else(|e| panic!("{e}"));
    }
    steps
}

async fn left(links: &Links, plan: &Plan) -> Vec<String> {
    let observed = links.observe(&plan.network).await.expect("observed");
    diff(&plan.network, &observed).iter().map(ToString::to_string).collect()
}

/// What the elector does at take-over.
fn take(routers: &[RouterPlan]) {
    for router in routers {
        sh(&format!("ip link set {} up", router.device));
        for net in router.addresses.iter().chain(&router.unadvertised) {
            let nodad = if net.addr().is_ipv6() { "nodad" } else { "" };
            sh(&format!("ip addr add {net} dev {} {nodad}", router.device));
        }
    }
}

/// A document in: the links are there, silent and down. What the elector then does to them is nobody else's business;
/// when the document no longer has them they go, and taking that back makes them again.
#[test]
fn the_links_are_made_and_the_elector_has_them() {
    in_namespace(|| async {
        for name in ["eth0", "eth1", "eth2"] {
            sh(&format!("ip link add {name} type veth peer name {name}p && ip link set {name}p up"));
        }
        let links = Links::new().expect("links");
        let (plan, routers) = plan(DOCUMENT);
        apply(&links, &plan).await;
        let show = sh("ip -d link show vr10-lan; ip -d link show vr10v6-lan");
        for expected in
            ["00:00:5e:00:01:0a", "00:00:5e:00:02:0a", "macvlan mode bridge", "alias rempart", "mtu 1400"]
        {
            assert!(show.contains(expected), "{expected} is not in\n{show}");
        }
        assert!(!show.contains("state UP") && !show.contains(",UP"), "{show}");
        let read = |key: &str| sh(&format!("cat /proc/sys/{key}")).trim().to_owned();
        assert_eq!(read("net/ipv6/conf/vr10-lan/disable_ipv6"), "1");
        assert_eq!(read("net/ipv6/conf/vr10v6-lan/addr_gen_mode"), "1");
        assert_eq!(read("net/ipv4/conf/vr10-lan/rp_filter"), "0");
        assert_eq!(left(&links, &plan).await, [""; 0]);

        take(&routers);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(left(&links, &plan).await, [""; 0], "what the elector did is left alone");
        let addresses = sh("ip -6 addr show dev vr10v6-lan");
        assert_eq!(addresses.matches("inet6").count(), 2, "none of the kernel's own making: {addresses}");

        let without = DOCUMENT.replace(
            "virtual = [{ address = \"192.168.10.254/24\", vrid = 10 }, { address = \"fd00:10::fe/64\", vrid = 10 }]",
            "",
        );
        let (smaller, _) = self::plan(&without);
        let steps = apply(&links, &smaller).await;
        assert_eq!(left(&links, &smaller).await, [""; 0]);
        assert!(!sh("ip link").contains("vr10"));
        assert!(sh("ip addr show dev vr1-wan").contains("203.0.113.100/32"), "the other one stays as it was");
        for step in steps.iter().rev().filter_map(Step::undo) {
            links.apply(&step).await.unwrap_or_else(|e| panic!("{e}"));
        }
        assert!(sh("ip -d link show vr10-lan").contains("00:00:5e:00:01:0a"));
    });
}

/// The neighbour's idea of who has an address; empty when nobody answered.
fn answered(host: &Neighbour, address: &str) -> String {
    let device = if address.starts_with("203.") { "out0" } else { "in0" };
    host.sh(&format!(
        "ip neigh flush dev {device}; ping -n -c 1 -W 1 -I {device} {address} >/dev/null 2>&1 || true"
    ));
    let line = host.sh(&format!("ip neigh show {address} dev {device}"));
    let mut words = line.split_whitespace().skip_while(|w| *w != "lladdr");
    words.nth(1).unwrap_or_default().to_owned()
}

async fn counters(nft: &Nft) -> BTreeMap<String, u64> {
    let counters = nft.counters(TABLE).await.expect("counters");
    counters.into_iter().map(|(name, counter)| (name, counter.packets)).collect()
}

/// A node between a host in the LAN and one outside. While its virtual links are down nobody answers for the virtual
/// addresses; once they are up they answer with the virtual MAC, traffic goes through them under the policy, forged
/// sources do not, and what is sent to everybody counts once.
#[test]
fn the_active_node_alone_answers_and_the_policy_holds() {
    in_namespace(|| async {
        let (lan, wan) = (Neighbour::new(), Neighbour::new());
        sh(&format!("ip link add eth0 type veth peer name out0 netns {}", wan.pid()));
        sh(&format!("ip link add eth1 type veth peer name in0 netns {}", lan.pid()));
        sh("ip link add eth2 type veth peer name eth2p");
        wan.sh("ip link set out0 up; ip addr add 203.0.113.1/24 dev out0");
        lan.sh("sysctl -qw net.ipv6.conf.in0.accept_dad=0; ip link set in0 up; ip addr add 192.168.10.50/24 dev in0");
        lan.sh("ip addr add fd00:10::50/64 dev in0 nodad; ip addr add 10.99.0.1/32 dev lo");
        lan.sh("ip route add default via 192.168.10.254");
        let links = Links::new().expect("links");
        let (plan, routers) = plan(DOCUMENT);
        apply(&links, &plan).await;
        let nft = Nft::new("nft", Duration::from_secs(10));
        nft.apply(&plan.ruleset.script().text).await.expect("the ruleset");
        // Without duplicate address detection of the node's own addresses there is less to wait for.
        tokio::time::sleep(Duration::from_secs(2)).await;

        let show = sh("ip -o link show dev eth1");
        let own =
            show.split_whitespace().skip_while(|w| *w != "link/ether").nth(1).expect("a MAC").to_owned();
        assert_eq!(answered(&lan, "192.168.10.1"), own, "the node's own address");
        assert_eq!(answered(&lan, "fd00:10::1"), own);
        for silent in ["192.168.10.254", "fd00:10::fe", "fe80::200:5eff:fe00:20a"] {
            assert_eq!(answered(&lan, silent), "", "{silent}: the node is not active");
        }
        assert_eq!(answered(&wan, "203.0.113.9"), "");

        take(&routers);
        assert_eq!(answered(&lan, "192.168.10.254"), "00:00:5e:00:01:0a");
        assert_eq!(answered(&lan, "fd00:10::fe"), "00:00:5e:00:02:0a");
        assert_eq!(answered(&lan, "fe80::200:5eff:fe00:20a"), "00:00:5e:00:02:0a");
        assert_eq!(answered(&lan, "192.168.10.1"), own, "still by its own MAC");
        assert_eq!(answered(&wan, "203.0.113.100"), "00:00:5e:00:01:01");
        assert_eq!(answered(&wan, "203.0.113.9"), "00:00:5e:00:01:01", "what translation uses moves along");

        for reached in ["192.168.10.254", "fd00:10::fe", "fe80::200:5eff:fe00:20a%in0", "203.0.113.1"] {
            lan.sh(&format!("ping -n -c 2 -i 0.2 -W 2 {reached}"));
        }
        // Out under the virtual address, and a published service in, to an address that nobody has for its own.
        let listener = lan.enter(|| std::net::TcpListener::bind("192.168.10.50:80").expect("a port"));
        let outside = wan.enter(|| {
            let there = std::net::SocketAddr::from(([203, 0, 113, 9], 80));
            std::net::TcpStream::connect_timeout(&there, Duration::from_secs(3))
        });
        outside.expect("the published service is reached by the virtual MAC");
        drop(listener);
        let seen = wan.sh("ip neigh show dev out0");
        assert!(seen.contains("203.0.113.100 lladdr 00:00:5e:00:01:01"), "pings came from it: {seen}");

        let before = counters(&nft).await;
        lan.sh("ping -n -c 3 -i 0.2 -W 1 -I 10.99.0.1 203.0.113.1 >/dev/null 2>&1 || true");
        lan.sh("ping -n -c 3 -i 0.2 -W 1 -I 10.99.0.1 192.168.10.254 >/dev/null 2>&1 || true");
        let after = counters(&nft).await;
        assert_eq!(
            after["p.spoof"] - before["p.spoof"],
            6,
            "a forged source does not pass by the virtual MAC"
        );
        lan.sh("ping -n -b -c 3 -i 0.2 -W 1 192.168.10.255 >/dev/null 2>&1 || true");
        let last = counters(&nft).await;
        let asked =
            last.iter().filter(|(name, _)| name.starts_with('f')).map(|(n, c)| c - after[n]).sum::<u64>();
        assert_eq!(asked, 3, "each broadcast once: {last:?}");
    });
}
