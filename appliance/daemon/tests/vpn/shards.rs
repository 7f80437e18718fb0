//! Several shards on each gateway: the stock client notices nothing of that.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::stage::{PATIENCE, Stage, can, plan};

/// Flows that begin at the host behind the gateways: the kernel has nothing to guess their shard from.
const FLOWS: u32 = 24;

/// A question to each client in flows of their own, and its answer.
fn asked(stage: &Stage, inner: &[IpAddr]) {
    for ip in inner {
        let at = SocketAddr::new(*ip, 7);
        let client = stage.client.enter(move || UdpSocket::bind(at).unwrap());
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        for number in 0..FLOWS {
            let host = stage.host.enter(|| UdpSocket::bind("10.20.0.9:0").unwrap());
            host.set_read_timeout(Some(PATIENCE)).unwrap();
            host.send_to(&number.to_be_bytes(), at).unwrap();
            let mut came = [0; 4];
            let (_, from) =
                client.recv_from(&mut came).unwrap_or_else(|e| panic!("flow {number} to {ip}: {e}"));
            assert_eq!(came, number.to_be_bytes());
            client.send_to(&came, from).unwrap();
            host.recv_from(&mut came).unwrap_or_else(|e| panic!("answer {number} of {ip}: {e}"));
        }
    }
}

/// In: four stock clients on two gateways with two shards each, flows that begin on either side, a take-over, a client that leaves.
/// Out: all of them arrive, before and after, and no client notices anything.
#[test]
fn stock_clients_are_shared_out() {
    if !can() {
        return;
    }
    let stage = Stage::with_shards(2, 2, &plan());
    let names = ["alice", "bob", "carol", "dave"];
    let mut clients = names.map(|name| stage.client(name, "")).into_iter().collect::<Vec<_>>();
    clients.iter().for_each(|client| client.up());
    let status = stage.nodes[0].status();
    let inner = |name: &str| {
        let session = status.sessions.iter().find(|session| session.user == name).expect("a session");
        session.addresses[0]
    };
    let inner: Vec<IpAddr> = names.iter().map(|name| inner(name)).collect();
    // Peer ids follow each other, so both shards have some.
    let shards: std::collections::BTreeSet<u32> = status.sessions.iter().map(|s| s.id % 2).collect();
    assert_eq!(shards.len(), 2);
    for (ip, table) in inner.iter().zip(100..) {
        // All clients are in one place: each address goes out by the device that has it.
        stage.client.sh(&format!(
            "set -- $(ip -o address show to {ip}/32); \
             ip route add default dev $2 table {table}; ip rule add from {ip} lookup {table}"
        ));
        stage.ping("10.20.0.9", &format!("-I {ip}"));
    }
    asked(&stage, &inner);
    stage.move_addresses(1);
    stage.pair.activate(1);
    stage.wait("the other one serves", |stage| stage.nodes[1].status().sessions.len() == names.len());
    asked(&stage, &inner);
    clients.iter().for_each(|client| client.assert_undisturbed());
    // Before it has new keys nobody would hear it say goodbye.
    stage.wait("new keys", |stage| stage.nodes[1].status().counters.renewed >= names.len() as u64);
    let left = clients.remove(0);
    left.signal("-INT");
    stage.wait("one has left", |stage| stage.nodes[1].status().sessions.len() == names.len() - 1);
    asked(&stage, &inner[1..]);
}
