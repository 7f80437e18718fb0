//! The DHCP client against dnsmasq.

mod common;

use std::time::Duration;

use common::{Neighbour, Running, in_namespace, sh};
use rempart_config::model::Device;
use rempart_plan::Lease;
use rempart_plan::net::{Address, Step};
use rempart_system::dhcp::{Dhcp, Options};
use rempart_system::links::Links;

/// `wan0` here, `isp0` with 10.0.0.1/24 and 10.0.1.1/24 at the neighbour's.
fn cable() -> Neighbour {
    let provider = Neighbour::new();
    plug(&provider);
    provider
}

fn plug(provider: &Neighbour) {
    let pid = provider.pid();
    sh(&format!("ip link add wan0 type veth peer name isp0 netns {pid} && ip link set wan0 up"));
    provider.sh("ip addr add 10.0.0.1/24 dev isp0; ip addr add 10.0.1.1/24 dev isp0; ip link set isp0 up");
}

/// A server for 10.0.`net`.0/24 that refuses addresses of other networks.
fn server(provider: &Neighbour, net: u8) -> Running {
    let range = format!("--dhcp-range=10.0.{net}.50,10.0.{net}.59,255.255.255.0,2m");
    let router = format!("--dhcp-option=3,10.0.{net}.1");
    let running = provider.start(
        "dnsmasq",
        &[
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--interface=isp0",
            "--bind-dynamic",
            "--leasefile-ro",
            "--dhcp-authoritative",
            "--no-ping",
            "--user=root",
            "--pid-file=",
            &range,
            &router,
            "--dhcp-option=6,9.9.9.9,149.112.112.112",
            "--dhcp-option=58,15",
        ],
    );
    while !provider.sh("ss -lun").contains(":67 ") {
        std::thread::sleep(Duration::from_millis(10));
    }
    running
}

fn wan() -> Device {
    Device::new("wan0")
}

fn client() -> Dhcp {
    Dhcp::start(wan(), Options { host_name: Some("rte01".into()), previous: None })
}

async fn news(client: &mut Dhcp, seconds: u64) -> Option<Lease> {
    tokio::time::timeout(Duration::from_secs(seconds), client.next()).await.expect("news in time")
}

/// The processor time of this thread, in milliseconds.
fn busy_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
    text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("nanoseconds") / 1_000_000
}

/// A server in; its lease out, renewed at T1, and given up when another network is behind the cable.
#[test]
fn bound_renewed_and_moved() {
    in_namespace(|| async {
        let provider = cable();
        let first = server(&provider, 0);
        let mut client = client();
        let lease = news(&mut client, 10).await.expect("a lease");
        assert!(lease.address.to_string().starts_with("10.0.0.5"), "{lease:?}");
        assert_eq!(lease.address.prefix_len(), 24);
        assert_eq!(lease.gateway.map(|g| g.to_string()), Some("10.0.0.1".into()));
        assert_eq!(lease.dns.len(), 2);
        // The server answers a renewal to the address, so somebody must have it.
        let links = Links::new().expect("links");
        let address = Address { device: wan(), net: lease.address, shared: false };
        links.apply(&Step::AddAddress(address)).await.expect("added");
        let again = news(&mut client, 20).await;
        assert_eq!(again, Some(lease.clone()), "renewed at T1");
        // Another network behind the same cable.
        drop(first);
        let _second = server(&provider, 1);
        provider.sh("ip link set isp0 down");
        tokio::time::sleep(Duration::from_millis(300)).await;
        provider.sh("ip link set isp0 up");
        assert_eq!(news(&mut client, 20).await, None, "the old address is given up");
        let moved = news(&mut client, 20).await.expect("a lease");
        assert!(moved.address.to_string().starts_with("10.0.1.5"), "{moved:?}");
    });
}

/// No device, no link, no server, and the device torn out in the middle: the client waits, idle, and has a lease as
/// soon as there can be one.
#[test]
fn everything_comes_late() {
    in_namespace(|| async {
        let mut client = client();
        let begin = busy_ms();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let provider = cable();
        provider.sh("ip link set isp0 down");
        tokio::time::sleep(Duration::from_secs(1)).await;
        provider.sh("ip link set isp0 up");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let _server = server(&provider, 0);
        let lease = news(&mut client, 20).await.expect("a lease");
        sh("ip link del wan0");
        tokio::time::sleep(Duration::from_secs(3)).await;
        plug(&provider);
        // Another card with another address: the old lease is over.
        assert_eq!(news(&mut client, 20).await, None);
        let second = news(&mut client, 20).await.expect("a lease");
        assert_eq!(second.gateway, lease.gateway);
        let busy = busy_ms() - begin;
        println!("processor time in all of it: {busy} ms");
        assert!(busy < 1500, "busy for {busy} ms");
    });
}

/// Restarted with the address of before: the same one is granted, without a discovery.
#[test]
fn the_previous_address_is_kept() {
    in_namespace(|| async {
        let provider = cable();
        let _server = server(&provider, 0);
        let mut first = client();
        let lease = news(&mut first, 10).await.expect("a lease");
        drop(first);
        let std::net::IpAddr::V4(previous) = lease.address.addr() else { panic!("{lease:?}") };
        let mut second = Dhcp::start(wan(), Options { host_name: None, previous: Some(previous) });
        assert_eq!(news(&mut second, 10).await, Some(lease));
    });
}
