//! From event to the other kernel, and everything that may go wrong between.

use std::time::Duration;

use rempart_daemon::ha::journal::{Command, Report};
use rempart_pair::journal::Notice;
use rempart_system::conntrack::{Layer4, Status, TcpState};
use rempart_system::flowsync::{Flow, ProtocolState, Record, Sctp, Zone, ZoneScope};

use crate::common::in_namespace;
use crate::samples::{flow, ftp, ports, tcp_state, v4, v6};
use crate::stage::*;

/// One of each kind: protocols, families, translation of source and destination, marks, labels, zones, a helper with
/// what it expects, a connection that belongs to another, and one that nobody has answered.
fn assortment() -> Vec<Record> {
    let udp = flow(17, v4(1), v4(2), ports(5000, 53), ports(53, 5000));
    let mut sctp = flow(132, v4(1), v4(2), ports(5001, 2905), ports(2905, 5001));
    sctp.state = ProtocolState::Sctp(Sctp { state: 4, tags: [0x1111, 0x2222] });
    let gre = flow(47, v4(1), v4(2), ports(0, 7), ports(0, 7));
    let esp = flow(50, v4(1), v4(2), Layer4::Other, Layer4::Other);
    let echo = |kind| Layer4::Icmp { kind, code: 0, id: 99 };
    let icmp = flow(1, v4(1), v4(2), echo(8), echo(0));
    let icmp6 = flow(58, v6(1), v6(2), echo(128), echo(129));
    let mut tcp6 = flow(6, v6(1), v6(2), ports(6000, 443), ports(443, 6000));
    tcp6.state = tcp_state(TcpState::Established);
    let mut snat6 = flow(17, v6(1), v6(2), ports(6001, 443), ports(443, 7001));
    snat6.reply.destination = v6(0x99);
    let mut dnat = flow(6, v4(3), v4(9), ports(6002, 80), ports(8080, 6002));
    dnat.state = tcp_state(TcpState::Established);
    dnat.reply.source = v4(20);
    let mut marked = flow(17, v4(1), v4(2), ports(6003, 53), ports(53, 6003));
    marked.mark = 0x8000_0042;
    marked.labels = [0; 16].map(|_: u8| 0);
    marked.labels[0] = 0x81;
    let zone = |id, port| {
        let mut zoned = flow(17, v4(1), v4(2), ports(port, 53), ports(53, port));
        zoned.zone = Zone { id, scope: ZoneScope::Both };
        zoned
    };
    let mut closing = flow(6, v4(1), v4(2), ports(6004, 22), ports(22, 6004));
    closing.state = tcp_state(TcpState::Established);
    if let ProtocolState::Tcp(tcp) = &mut closing.state {
        tcp.state = TcpState::TimeWait;
    }
    let mut silent = flow(17, v4(1), v4(2), ports(6005, 514), ports(514, 6005));
    silent.status = Status(Status::CONFIRMED);
    let (master, expectation) = ftp();
    let mut child = flow(6, v4(2), v4(1), ports(20, 2021), ports(2021, 20));
    child.state = tcp_state(TcpState::Established);
    child.master = Some((6, master.original));
    // The same five numbers in two zones are two connections.
    let flows = [
        nth(1),
        udp,
        sctp,
        gre,
        esp,
        icmp,
        icmp6,
        tcp6,
        snat6,
        dnat,
        marked,
        zone(1, 7000),
        zone(2, 7000),
        closing,
        silent,
        master,
        child,
    ];
    flows.into_iter().map(Record::Flow).chain([Record::Expectation(expectation)]).collect()
}

fn many(numbers: std::ops::Range<u32>) -> Vec<Record> {
    numbers.map(|n| Record::Flow(nth(n))).collect()
}

/// Everything that a kernel can hold appears in the other one, equal to the last bit, and goes there when it goes here.
#[test]
fn everything_travels_and_is_removed() {
    in_namespace(|| async {
        let nodes = pair();
        wait_live(&nodes);
        let all = assortment();
        nodes[0].create(&all);
        wait_equal(&nodes);
        assert_eq!(nodes[1].records().len(), all.len());
        let identities: Vec<_> = all.iter().rev().map(Record::identity).collect();
        nodes[0].remove(&identities);
        wait_equal(&nodes);
        assert_eq!(nodes[1].records(), []);
        assert_eq!(nodes[1].snapshot().tally.refused, 0);
    });
}

/// The same when it was there before the other node came: by bulk copy, masters before what belongs to them.
#[test]
fn everything_is_copied_to_a_node_that_joins() {
    in_namespace(|| async {
        let mut nodes = cabled();
        let all = assortment();
        nodes[0].create(&all);
        nodes[0].start(true);
        nodes[1].start(false);
        wait_live(&nodes);
        wait_equal(&nodes);
        assert_eq!(nodes[1].records().len(), all.len());
        assert_eq!(nodes[1].snapshot().tally.refused, 0);
        // Nothing was lost on the way, so it was sent once.
        assert_eq!(nodes[0].snapshot().status.position, all.len() as u64);
    });
}

/// A change of mark and of state follows.
#[test]
fn changes_follow() {
    in_namespace(|| async {
        let nodes = pair();
        wait_live(&nodes);
        let mut changed = nth(1);
        nodes[0].create(&[Record::Flow(changed)]);
        wait_equal(&nodes);
        changed.mark = 7;
        if let ProtocolState::Tcp(tcp) = &mut changed.state {
            tcp.state = TcpState::FinWait;
        }
        nodes[0].update(&[Record::Flow(changed)]);
        wait_equal(&nodes);
        match nodes[1].find(&changed.identity()) {
            Some(Record::Flow(there)) => assert_eq!((there.mark, there.state), (7, changed.state)),
            other => panic!("{other:?}"),
        }
    });
}

/// The standby's program is killed, the table changes, it comes back; and the same with the active's. What both have is
/// not sent again.
#[test]
fn a_killed_program_is_brought_up_to_date() {
    in_namespace(|| async {
        let mut nodes = pair();
        nodes[0].create(&many(0..2_000));
        wait_live(&nodes);
        wait_equal(&nodes);
        for (killed, active) in [(1, false), (0, true)] {
            let before = nodes[0].journal_position();
            nodes[killed].kill();
            let base = 10_000 + 100 * killed as u32;
            nodes[0].create(&many(base..base + 50));
            nodes[0].remove(&many(0..20).iter().map(Record::identity).collect::<Vec<_>>());
            nodes[killed].start(active);
            wait_live(&nodes);
            wait_equal(&nodes);
            let sent = nodes[0].snapshot().status.position - if killed == 1 { before } else { 0 };
            // 4,096 buckets, 2,000 entries: few buckets have more than one.
            assert!(sent < 300, "{sent} sent for 70 differences");
        }
    });
}

/// The socket of events is far too small for what happens: noticed, and repaired within a second of quiet.
#[test]
fn an_overrun_is_repaired() {
    in_namespace(|| async {
        let mut nodes = cabled();
        nodes[0].event_bytes = Some(32 << 10);
        nodes[0].start(true);
        nodes[1].start(false);
        wait_live(&nodes);
        nodes[0].create(&many(0..20_000));
        nodes[0].remove(&many(0..5_000).iter().map(Record::identity).collect::<Vec<_>>());
        wait_equal(&nodes);
        assert_eq!(nodes[1].records().len(), 15_000);
        let status = nodes[0].snapshot().status;
        assert!(status.overruns > 0 && status.repaired > 0, "{status:?}");
    });
}

/// A cable that is cut for a while, with changes on both sides of the cut.
#[test]
fn a_cut_is_made_up_for() {
    in_namespace(|| async {
        let nodes = pair();
        nodes[0].create(&many(0..500));
        wait_live(&nodes);
        wait_equal(&nodes);
        let before = nodes[0].snapshot().status.repairs;
        nodes[0].place.sh("ip link set sync down");
        nodes[0].create(&many(1_000..1_500));
        nodes[0].remove(&many(0..100).iter().map(Record::identity).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(1_200));
        nodes[0].place.sh("ip link set sync up");
        wait_equal(&nodes);
        assert_eq!(nodes[1].records().len(), 900);
        assert_eq!(nodes[0].snapshot().status.repairs, before, "sent again, not compared");
    });
}

/// Flushed means: in the other kernel, at the moment of the answer.
#[test]
fn flushed_is_written() {
    in_namespace(|| async {
        let nodes = pair();
        wait_live(&nodes);
        for round in 0..20 {
            let mut silent = nth(round);
            // Of a kind that is held back: a handshake.
            silent.status = Status(Status::CONFIRMED);
            nodes[0].create(&[Record::Flow(silent)]);
            nodes[0].tell(Command::Flush(round.into()));
            let answer = nodes[0].reports.iter().find(|report| matches!(report, Report::Flushed { .. }));
            assert_eq!(answer, Some(Report::Flushed { token: round.into(), complete: true }));
            assert!(nodes[1].find(&silent.identity()).is_some(), "round {round}");
        }
        nodes[1].tell(Command::Flush(99));
        let answer = nodes[1].reports.iter().find(|report| matches!(report, Report::Flushed { .. }));
        assert_eq!(answer, Some(Report::Flushed { token: 99, complete: false }));
    });
}

/// The roles change, and change back: both tables stay equal, nothing is copied, and changes go the other way.
#[test]
fn roles_change_without_a_copy() {
    in_namespace(|| async {
        let nodes = pair();
        nodes[0].create(&many(0..1_000));
        wait_live(&nodes);
        wait_equal(&nodes);
        for round in 0..4 {
            let (old, new) = (round % 2, (round + 1) % 2);
            nodes[old].tell(Command::Role { active: false });
            nodes[new].tell(Command::Role { active: true });
            wait("the other node live", || nodes[new].journal_is_live() && nodes[old].journal_is_live());
            nodes[new].create(&many(5_000 + round as u32..5_001 + round as u32));
            wait("the change there", || nodes[old].records().len() == 1_001 + round);
            assert_eq!(nodes[0].holds(), nodes[1].holds());
            // A copy of the table would have been a thousand changes.
            wait("one change in the figures", || nodes[new].snapshot().status.position == 1);
        }
    });
}

/// A standby keeps what it is told for weeks; once active, the kernel's own timeouts are back.
#[test]
fn timeouts_are_long_on_the_standby_and_true_after() {
    in_namespace(|| async {
        let nodes = pair();
        wait_live(&nodes);
        let udp = flow(17, v4(1), v4(2), ports(5000, 53), ports(53, 5000));
        nodes[0].create(&[Record::Flow(udp), Record::Flow(nth(1))]);
        wait_equal(&nodes);
        let timeout = |flow: &Flow| nodes[1].find(&flow.identity()).map_or(0, |record| record.timeout_s());
        assert!(timeout(&udp) > 1_000_000 && timeout(&nth(1)) > 1_000_000);
        nodes[0].tell(Command::Role { active: false });
        nodes[1].tell(Command::Role { active: true });
        wait("true timeouts", || timeout(&udp) <= 180 && timeout(&nth(1)) <= 432_000);
        assert!(timeout(&udp) > 60 && timeout(&nth(1)) > 1_000);
    });
}

/// Roles change often, a connection stops being the pair's business meanwhile, and a program is killed: what is active in the
/// end keeps no timeout that a standby has written.
#[test]
fn no_timeout_of_a_standby_stays() {
    in_namespace(|| async {
        let mut nodes = pair();
        wait_live(&nodes);
        let udp = flow(17, v4(1), v4(2), ports(5000, 53), ports(53, 5000));
        let foreign = flow(17, v4(77), v4(2), ports(5000, 53), ports(53, 5000));
        nodes[0].create(&[Record::Flow(udp), Record::Flow(foreign), Record::Flow(nth(1))]);
        wait_equal(&nodes);
        let longest =
            |node: &Node| node.place.enter(everything).iter().map(Record::timeout_s).max().unwrap_or(0);
        for round in 0..5 {
            let (old, new) = (round % 2, (round + 1) % 2);
            nodes[old].tell(Command::Role { active: false });
            nodes[new].tell(Command::Role { active: true });
            wait("the other node live", || nodes[new].journal_is_live() && nodes[old].journal_is_live());
        }
        nodes[1].withdraw(v4(77));
        wait("true timeouts", || longest(&nodes[1]) <= 432_000);
        // Once more as a standby, then killed; its successor finds them at once.
        nodes[1].tell(Command::Role { active: false });
        nodes[0].tell(Command::Role { active: true });
        wait("long timeouts", || longest(&nodes[1]) > 1_000_000);
        nodes[1].kill();
        nodes[0].kill();
        nodes[1].start(true);
        nodes[1].withdraw(v4(77));
        wait("true timeouts again", || longest(&nodes[1]) <= 432_000);
    });
}

/// A UDP connection that is busy for ten timeouts makes no events, and is still there on the standby.
#[test]
fn a_busy_connection_outlives_its_timeouts() {
    in_namespace(|| async {
        let nodes = pair();
        wait_live(&nodes);
        nodes[0].place.sh(
            "ip link add busy type veth peer name far; ip link set busy up; ip link set far up; \
             ip address add 198.51.100.1/24 dev busy; \
             ip neighbour add 198.51.100.77 lladdr 02:00:00:00:00:77 dev busy",
        );
        let set = "echo 1 > /proc/sys/net/netfilter/nf_conntrack_udp_timeout; echo 1 > /proc/sys/net/netfilter/nf_conntrack_udp_timeout_stream";
        nodes.iter().for_each(|node| drop(node.place.sh(set)));
        let socket = nodes[0].place.enter(|| std::net::UdpSocket::bind("198.51.100.1:4000").unwrap());
        let begin = std::time::Instant::now();
        let busy = || {
            nodes[1].records().into_iter().any(|record| match record {
                Record::Flow(flow) => flow.original.layer4 == ports(4000, 4001),
                Record::Expectation(_) => false,
            })
        };
        while begin.elapsed() < Duration::from_secs(11) {
            socket.send_to(b"on and on", "198.51.100.77:4001").unwrap();
            std::thread::sleep(Duration::from_millis(100));
            assert!(busy() || begin.elapsed() < Duration::from_secs(1), "gone after {:?}", begin.elapsed());
        }
        // And when it falls silent, it goes there as it goes here.
        wait("the end of it", || !busy());
    });
}

/// What concerns the nodes themselves stays where it is.
#[test]
fn own_connections_stay() {
    in_namespace(|| async {
        let nodes = pair();
        wait_live(&nodes);
        let own = flow(17, CABLE[0].into(), v4(2), ports(5000, 53), ports(53, 5000));
        let local =
            flow(17, "127.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap(), ports(1, 2), ports(2, 1));
        nodes[0].create(&[Record::Flow(own), Record::Flow(local), Record::Flow(nth(1))]);
        wait("the third", || nodes[1].find(&nth(1).identity()).is_some());
        std::thread::sleep(Duration::from_millis(200));
        let there = nodes[1].place.enter(everything);
        for stays in [own, local] {
            assert!(there.iter().all(|record| record.identity() != stays.identity()), "{stays:?}");
        }
    });
}

/// Nothing is understood that the other secret has sealed.
#[test]
fn a_stranger_gets_nothing() {
    in_namespace(|| async {
        let mut nodes = cabled();
        nodes[1].secret = [8; 32];
        nodes[0].create(&many(0..10));
        nodes[0].start(true);
        nodes[1].start(false);
        wait("refusals", || nodes.iter().all(|node| node.snapshot().refused_datagrams > 5));
        assert_eq!(nodes[1].records(), []);
        assert!(nodes[0].reports.try_iter().all(|report| report != Report::Notice(Notice::Joined)));
    });
}
