//! The connection table of the real kernel.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use common::{in_namespace, sh};
use rempart_config::space::Family;
use rempart_system::conntrack::{Connection, Conntrack, Layer4, Status, Tcp, TcpState, Tuple};

fn ports(source: u16, destination: u16) -> Layer4 {
    Layer4::Ports { source, destination }
}

fn plain(
    family: Family,
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
    layer4: Layer4,
    reply: Layer4,
) -> Connection {
    Connection {
        id: 0,
        family,
        protocol,
        original: Tuple { source, destination, layer4 },
        reply: Tuple { source: destination, destination: source, layer4: reply },
        status: Status(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED),
        mark: 0x12,
        zone: 0,
        timeout_s: 600,
        tcp: None,
        sent: None,
        received: None,
        started_ns: None,
        helper: None,
    }
}

fn tcp(n: u32) -> Connection {
    let source = Ipv4Addr::from(0x0a00_0000 + n / 50_000);
    let port = u16::try_from(1024 + n % 50_000).expect("a port");
    let mut c = plain(
        Family::V4,
        6,
        source.into(),
        Ipv4Addr::new(192, 0, 2, 1).into(),
        ports(port, 443),
        ports(443, port),
    );
    c.tcp = Some(Tcp { state: TcpState::Established, window_scale: [7, 7], flags: [0x0a, 0x0a] });
    c
}

/// The rule that makes this namespace track connections at all.
fn track() {
    sh(
        "printf 'table inet t {\n chain c {\n type filter hook output priority 0\n ct state new counter\n }\n}\n' | nft -f -",
    );
}

/// Connections of every kind in; the same out, as the program conntrack also sees them.
#[test]
fn what_was_created_is_listed() {
    in_namespace(|| async {
        track();
        let mut table = Conntrack::new().expect("a table");
        let v6 = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        let v4 = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        let echo = |kind| Layer4::Icmp { kind, code: 0, id: 77 };
        let mut source_nat = tcp(1);
        source_nat.reply.destination = v4(99);
        source_nat.reply.layer4 = ports(443, 40_000);
        let mut target_nat = plain(Family::V4, 17, v4(5), v4(6), ports(1000, 53), ports(5353, 1000));
        target_nat.reply.source = v4(7);
        target_nat.zone = 3;
        let all = [
            tcp(0),
            source_nat,
            target_nat,
            plain(Family::V6, 17, v6(1), v6(2), ports(1000, 53), ports(53, 1000)),
            plain(Family::V4, 1, v4(1), v4(2), echo(8), echo(0)),
            plain(Family::V6, 58, v6(1), v6(2), echo(128), echo(129)),
            plain(Family::V4, 47, v4(1), v4(2), ports(0, 0), ports(0, 0)),
            plain(Family::V4, 50, v4(1), v4(2), Layer4::Other, Layer4::Other),
        ];
        let done = table.create(&all).await.expect("created");
        assert_eq!((done.created, done.refused.as_slice()), (all.len(), &[][..]), "{done:?}");
        let again = table.create(&all).await.expect("created");
        assert_eq!((again.created, again.existing), (0, all.len()));
        let list = table.list().await.expect("listed");
        println!("{}", sh("conntrack -L 2>/dev/null; conntrack -L -f ipv6 2>/dev/null"));
        assert_eq!(list.len(), all.len());
        for wanted in &all {
            let found = list.iter().find(|c| c.original == wanted.original && c.protocol == wanted.protocol);
            let found = found.unwrap_or_else(|| panic!("not listed: {wanted:?}"));
            assert_eq!(found.reply, wanted.reply);
            assert_eq!((found.mark, found.zone), (wanted.mark, wanted.zone));
            assert!(found.status.has(Status::ASSURED) && found.id != 0);
            assert!((590..=600).contains(&found.timeout_s), "{found:?}");
            assert_eq!(found.tcp.map(|t| t.state), wanted.tcp.map(|t| t.state));
        }
        let nat = list.iter().filter(|c| c.status.has(Status::SOURCE_NAT | Status::DESTINATION_NAT)).count();
        assert_eq!(nat, 2);
        assert_eq!(table.count().await.expect("counted") as usize, all.len());
        assert!(table.max().await.expect("a maximum") > 0);

        let first = list.iter().find(|c| c.original == all[0].original).expect("the first");
        assert!(table.set_mark(first, 0xff, 0x0f).await.expect("marked"));
        let marked = table.list().await.expect("listed");
        assert!(marked.iter().any(|c| c.original == all[0].original && c.mark == 0x1f));
        let other = Connection { id: first.id ^ 1, ..first.clone() };
        assert!(!table.delete(&other).await.expect("another id"), "a connection with another id was deleted");
        assert!(table.delete(first).await.expect("deleted"));
        assert!(!table.delete(first).await.expect("gone"));
        assert!(!table.set_mark(first, 1, 1).await.expect("gone"));
        assert_eq!(table.delete_all(&list).await.expect("deleted"), all.len() - 1);
        assert_eq!(table.count().await.expect("counted"), 0);
    });
}

/// Real traffic in; counters, times and both directions out.
#[test]
fn real_traffic_is_seen() {
    in_namespace(|| async {
        track();
        sh(
            "echo 1 > /proc/sys/net/netfilter/nf_conntrack_acct; echo 1 > /proc/sys/net/netfilter/nf_conntrack_timestamp",
        );
        sh("ping -c 3 -i 0.01 127.0.0.1; ping -c 1 ::1");
        let list = Conntrack::new().expect("a table").list().await.expect("listed");
        let ping = list.iter().find(|c| c.protocol == 1).expect("the ping");
        assert!(matches!(ping.original.layer4, Layer4::Icmp { kind: 8, .. }));
        assert_eq!(ping.sent.map(|t| (t.packets, t.bytes)), Some((3, 252)));
        assert_eq!(ping.received.map(|t| t.packets), Some(3));
        assert!(ping.started_ns.is_some_and(|t| t > 1_000_000_000_000_000_000));
        assert!(list.iter().any(|c| c.protocol == 58 && c.family == Family::V6));
    });
}

/// How long 100,000 connections take to create, list and delete. Figures, not limits.
#[test]
fn a_hundred_thousand_connections() {
    in_namespace(|| async {
        track();
        let mut table = Conntrack::new().expect("a table");
        let all: Vec<_> = (0..100_000).map(tcp).collect();
        let begin = Instant::now();
        let done = table.create(&all).await.expect("created");
        println!(
            "create: {:?}, {} of {} ({:?})",
            begin.elapsed(),
            done.created,
            all.len(),
            done.refused.first()
        );
        let count = table.count().await.expect("counted") as usize;
        let begin = Instant::now();
        let list = table.list().await.expect("listed");
        println!("list of {}: {:?}", list.len(), begin.elapsed());
        assert_eq!(list.len(), count);
        assert_eq!(count, done.created);
        let begin = Instant::now();
        let gone = table.delete_all(&list).await.expect("deleted");
        println!("delete: {:?}, {gone}", begin.elapsed());
        assert_eq!(table.count().await.expect("counted"), 0);
        assert_eq!(done.created, all.len());
    });
}
