//! Two gateways: the client notices nothing.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use rempart_daemon::vpn::server::value::Value;
use rempart_openvpn::packet::SessionId;

use crate::parts::random;
use crate::stage::{PATIENCE, Stage, can, plan};

/// The active gateway is gone, the other takes its addresses: one ping lost at most beside the time without an address,
/// one "Initialization Sequence Completed", new keys afterwards, a download that goes on. And back again.
#[test]
fn a_take_over_is_not_noticed() {
    if !can() {
        return;
    }
    let stage = Stage::new(2, &plan());
    let client = stage.client("alice", "");
    client.up();
    stage.ping("10.20.0.9", "");
    let before = stage.nodes[0].session();
    for (turn, to) in [1, 0, 1].into_iter().enumerate() {
        let pid = stage.client.pid().to_string();
        let probe = std::thread::spawn(move || {
            let words = [
                "-t",
                &pid,
                "-n",
                "--",
                "ping",
                "-n",
                "-q",
                "-i",
                "0.02",
                "-c",
                "200",
                "-W",
                "1",
                "10.20.0.9",
            ];
            let output = std::process::Command::new("nsenter").args(words).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        std::thread::sleep(Duration::from_secs(1));
        stage.move_addresses(to);
        let begin = Instant::now();
        stage.pair.activate(to);
        stage.wait("the other one serves", |stage| stage.nodes[to].status().sessions.len() == 1);
        let took = begin.elapsed();
        let said = probe.join().unwrap();
        let received: u32 =
            said.split("transmitted, ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        eprintln!("take-over {turn}: {took:?} to the status, {received} of 200 pings at 20 ms");
        // The move of the addresses by shell commands is most of it.
        assert!(received >= 170, "{said}");
        assert!(!stage.nodes[1 - to].status().serving);
        stage.wait("keys are renewed", |stage| stage.nodes[to].status().counters.renewed as usize > turn / 2);
        stage.ping("10.20.0.9", "");
        stage.download(2_000_000);
    }
    // Counters are read every five seconds.
    stage.wait("what passed is counted", |stage| stage.nodes[1].session().bytes_in > 0);
    let after = stage.nodes[1].session();
    assert_eq!(
        (after.id, &after.addresses, after.since_unix_s),
        (before.id, &before.addresses, before.since_unix_s)
    );
    assert!(after.carried_on);
    assert!(stage.nodes[1].live("vpn_live4").contains(&after.addresses[0].to_string()));
    assert!(!stage.nodes[0].live("vpn_live4").contains("elements"));
    client.assert_undisturbed();
}

/// 1000 sessions, of which one is a stock client: from the news to the ping of the last one, with all keys in the data path.
#[test]
fn a_thousand_sessions_are_carried_on_at_once() {
    if !can() {
        return;
    }
    const COUNT: u32 = 1000;
    let stage = Stage::new(2, &plan());
    let client = stage.client("alice", "");
    client.up();
    stage.ping("10.8.0.1", "");
    let (_, value) = stage.pair.sessions().remove(0);
    let value = Value::decode(&value).unwrap();
    let port = |number: u32| 20_000 + number as u16;
    for number in 1..COUNT {
        let mut value = value.clone();
        let peer = (value.snapshot.peer_id + number) % 0x00ff_fff0;
        value.snapshot.peer_id = peer;
        value.snapshot.client = SocketAddr::from(([192, 0, 2, 3], port(number)));
        value.snapshot.client_session = SessionId(random());
        let inner = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 8, 0, 1)) + number);
        (value.grant.inner.v4, value.grant.inner.v6) = (Some(inner), None);
        value.grant.user = format!("user{number}").parse().unwrap();
        for key in &mut value.snapshot.keys {
            (key.keys.seal.key, key.keys.open.key) = (random(), random());
        }
        stage.pair.put_session(peer.to_be_bytes().to_vec(), value.encode());
    }
    // The one whose address the stock client has may be among them.
    let held = stage.pair.sessions();
    let last = Value::decode(&held.last().unwrap().1).unwrap().snapshot.client;
    let socket = stage.client.enter(|| UdpSocket::bind(last).unwrap());
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    stage.move_addresses(1);
    // The neighbours know the way already.
    stage.nodes[1].place.sh("ping -n -q -c 1 192.0.2.3");
    let begin = Instant::now();
    stage.pair.activate(1);
    let mut ping = [0; 100];
    let length = socket.recv(&mut ping).unwrap();
    let took = begin.elapsed();
    assert_eq!((length, ping[0] >> 3), (40, 9));
    let carried = stage.nodes[1].status().sessions.len();
    eprintln!("{carried} sessions carried on in {took:?}");
    assert!(carried >= COUNT as usize - 1, "{carried}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    stage.wait("the set holds them", |stage| stage.nodes[1].live("vpn_live4").matches("10.8.").count() >= 1);
    eprintln!("in the ruleset after {:?}", begin.elapsed());
    stage.ping("10.8.0.1", "");
    client.assert_undisturbed();
    stage.wait("the stock client has a new key", |stage| stage.nodes[1].status().counters.renewed >= 1);
    stage.nodes[0].status();
}
