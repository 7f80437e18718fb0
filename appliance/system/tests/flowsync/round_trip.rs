//! What is written is what is read.

use rempart_system::conntrack::{Layer4, Status, TcpState};
use rempart_system::flowsync::{
    Expect, Flow, ProtocolState, Record, Sctp, SequenceAdjustment, Synproxy, Table, TimeoutRule, Timeouts,
    Zone, ZoneScope,
};

use crate::common::{in_namespace, sh};
use crate::samples::*;

/// Connections of every protocol in both families, each untranslated, with source, destination and both translated.
/// With each, the status bits that the kernel must set of itself.
fn every_kind() -> Vec<(Flow, u32)> {
    let mut all = Vec::new();
    for family in [4, 6] {
        let at = |last: u8| if family == 4 { v4(last) } else { v6(last.into()) };
        let (icmp, ping, pong) = if family == 4 { (1, 8, 0) } else { (58, 128, 129) };
        let echo = |kind, id| Layer4::Icmp { kind, code: 0, id };
        // Protocol; above the addresses: original, plain reply, reply with source, with destination, with both translated.
        for (protocol, original, [plain, source, destination, both]) in [
            (6, ports(4000, 80), [ports(80, 4000), ports(80, 5000), ports(88, 4000), ports(88, 5000)]),
            (17, ports(4000, 53), [ports(53, 4000), ports(53, 5000), ports(35, 4000), ports(35, 5000)]),
            (136, ports(4000, 53), [ports(53, 4000), ports(53, 5000), ports(35, 4000), ports(35, 5000)]),
            (132, ports(4000, 53), [ports(53, 4000), ports(53, 5000), ports(35, 4000), ports(35, 5000)]),
            (icmp, echo(ping, 7), [echo(pong, 7), echo(pong, 8), echo(pong, 7), echo(pong, 8)]),
            (47, ports(0, 0), [ports(0, 0); 4]),
            (50, Layer4::Other, [Layer4::Other; 4]),
            (89, Layer4::Other, [Layer4::Other; 4]),
        ] {
            for (host, reply, bits) in [
                (10, plain, 0),
                (11, source, Status::SOURCE_NAT),
                (12, destination, Status::DESTINATION_NAT),
                (13, both, Status::SOURCE_NAT | Status::DESTINATION_NAT),
            ] {
                let mut flow = flow(protocol, at(host), at(20), original, reply);
                match protocol {
                    6 => flow.state = tcp_state(TcpState::Established),
                    132 => {
                        flow.state = ProtocolState::Sctp(Sctp { state: 4, tags: [0x0102_0304, 0xfffe_fdfc] })
                    }
                    _ => {}
                }
                if bits & Status::SOURCE_NAT != 0 {
                    flow.reply.destination = at(host + 100);
                }
                if bits & Status::DESTINATION_NAT != 0 {
                    flow.reply.source = at(host + 50);
                }
                all.push((flow, bits));
            }
        }
    }
    // The address stays, the port changes.
    let mut moved = tcp(999);
    moved.reply.layer4 = ports(8080, 1999);
    all.push((moved, Status::SOURCE_NAT | Status::DESTINATION_NAT));
    all
}

/// Every kind in; the same out, and the kernel says itself which of them it translates.
#[test]
fn every_protocol_and_translation() {
    in_namespace(|| async {
        track(false);
        let all = every_kind();
        let mut writer = writer();
        for (flow, _) in &all {
            writer.put(&Record::Flow(*flow), TimeoutRule::AsTold, Expect::New).expect("queued");
        }
        writer.flush().expect("flushed");
        assert_eq!(writer.take_refusals(), []);
        assert_eq!(writer.tally().created as usize, all.len());
        for (wanted, bits) in &all {
            let found = find(wanted.identity()).unwrap_or_else(|| panic!("not there: {wanted:?}"));
            assert_eq!(settled(found), settled(*wanted));
            // GRE lives a day, see `message`.
            let timeout_s = if wanted.protocol == 47 { 86_400 } else { wanted.timeout_s };
            assert!((timeout_s - 10..=timeout_s).contains(&found.timeout_s), "{found:?}");
            assert_eq!(found.status.0 & (Status::SOURCE_NAT | Status::DESTINATION_NAT), *bits, "{found:?}");
        }
        assert_eq!(flows().len(), all.len());
        for (flow, _) in &all {
            writer.remove(&flow.identity()).expect("queued");
        }
        writer.flush().expect("flushed");
        assert_eq!(writer.tally().removed as usize, all.len());
        assert_eq!(flows(), []);
    });
}

/// Marks, labels, zones of both or one direction, sequence adjustments, SYN proxy, TCP states and unreplied entries in;
/// the same out.
#[test]
fn everything_that_an_entry_may_have() {
    in_namespace(|| async {
        track(true);
        let mut all = Vec::new();
        let mut with = |change: &dyn Fn(&mut Flow)| {
            let mut flow = tcp(1000 + all.len() as u16);
            change(&mut flow);
            all.push(flow);
        };
        with(&|f| f.mark = 0x8000_0042);
        with(&|f| f.labels = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        with(&|f| f.zone = Zone { id: 7, scope: ZoneScope::Both });
        with(&|f| f.zone = Zone { id: 8, scope: ZoneScope::Original });
        with(&|f| f.zone = Zone { id: 9, scope: ZoneScope::Reply });
        with(&|f| {
            f.zone = Zone { id: 8, scope: ZoneScope::Original };
            f.reply.destination = v4(99);
        });
        with(&|f| {
            let adjustment = SequenceAdjustment { position: 5, before: 0, after: u32::MAX - 2 };
            f.adjustments = Some([adjustment, SequenceAdjustment::default()]);
        });
        with(&|f| f.synproxy = Some(Synproxy { sequence: 1, timestamp: 2, offset: 3 }));
        with(&|f| f.status = Status(Status::CONFIRMED));
        with(&|f| f.status = Status(Status::CONFIRMED | Status::SEEN_REPLY));
        for state in [
            TcpState::SynReceived,
            TcpState::FinWait,
            TcpState::CloseWait,
            TcpState::LastAck,
            TcpState::SynSent2,
        ] {
            with(&|f| f.state = tcp_state(state));
        }
        with(&|f| *f = syn(77));
        let mut child = flow(17, v4(1), v4(9), ports(5, 6), ports(6, 5));
        child.master = Some((6, all[0].original));
        all.push(child);
        let mut writer = writer();
        for flow in &all {
            put(&mut writer, *flow, Expect::New);
            let found = find(flow.identity()).unwrap_or_else(|| panic!("not there: {flow:?}"));
            assert_eq!(settled(found), settled(*flow));
        }
        // Written again as known: all of it may be said in an update, and nothing is made anew.
        for flow in &all {
            put(&mut writer, *flow, Expect::Known);
        }
        assert_eq!(writer.tally().updated as usize, all.len(), "{:?}", writer.tally());
        assert_eq!(writer.tally().replaced, 0);
        // What was cleared is cleared.
        let mut bare = all[1];
        bare.labels = [0; 16];
        bare.timeout_s = 5000;
        put(&mut writer, bare, Expect::Known);
        let found = find(bare.identity()).expect("there");
        assert_eq!(settled(found), settled(bare));
        assert!((4990..=5000).contains(&found.timeout_s));
        writer.set_timeout(&bare.identity(), 100).expect("queued");
        writer.flush().expect("flushed");
        assert!((90..=100).contains(&find(bare.identity()).expect("there").timeout_s));
    });
}

/// An expectation in, made known to the kernel by a helper's connection; the same out, with its timeout.
#[test]
fn expectations() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        let (master, expectation) = crate::samples::ftp();
        // One to a master is the most that FTP takes.
        let mut other = master;
        other.original.layer4 = ports(2001, 21);
        other.reply.layer4 = ports(21, 2001);
        let mut translated = expectation;
        translated.master = (6, other.original);
        translated.tuple.layer4 = ports(0, 2121);
        translated.nat = Some((1, 6, tuple(v4(200), std::net::Ipv4Addr::UNSPECIFIED.into(), ports(2020, 0))));
        translated.function = rempart_system::flowsync::Name::new(b"nat-follow-master");
        // Before its master: it waits for it.
        let queue = [Entry::from(expectation), master.into(), translated.into(), other.into()];
        for entry in &queue {
            writer.put(&entry.0, TimeoutRule::AtLeast(1000), Expect::New).expect("queued");
        }
        writer.flush().expect("flushed");
        assert_eq!(writer.take_refusals(), []);
        let found = dump(Table::Expectations);
        assert_eq!(found.len(), 2, "{found:?}");
        for wanted in [expectation, translated] {
            let same = |record: &Record| match record {
                Record::Expectation(e) => {
                    assert!((990..=1000).contains(&e.timeout_s), "{e:?}");
                    rempart_system::flowsync::Expectation { timeout_s: wanted.timeout_s, ..*e } == wanted
                }
                Record::Flow(_) => false,
            };
            assert!(found.iter().any(same), "{wanted:?} is not in {found:?}");
        }
        writer.remove(&expectation.identity()).expect("queued");
        writer.flush().expect("flushed");
        assert_eq!(dump(Table::Expectations).len(), 1);
        put(&mut writer, translated, Expect::Known);
    });
}

/// The settings of the namespace in; timeouts by protocol and state out.
#[test]
fn timeouts_are_those_of_the_kernel() {
    in_namespace(|| async {
        track(false);
        let set =
            |key: &str, value: u32| sh(&format!("echo {value} > /proc/sys/net/netfilter/nf_conntrack_{key}"));
        set("tcp_timeout_established", 1234);
        set("udp_timeout", 11);
        set("udp_timeout_stream", 222);
        set("sctp_timeout_established", 77);
        let timeouts = Timeouts::read().expect("timeouts");
        assert_eq!(timeouts.of(&tcp(1)), 1234);
        let mut udp = flow(17, v4(1), v4(2), ports(1, 2), ports(2, 1));
        assert_eq!(timeouts.of(&udp), 222);
        udp.status = Status(Status::CONFIRMED);
        assert_eq!(timeouts.of(&udp), 11);
        let mut sctp = flow(132, v4(1), v4(2), ports(1, 2), ports(2, 1));
        sctp.state = ProtocolState::Sctp(Sctp { state: 4, tags: [1, 2] });
        assert_eq!(timeouts.of(&sctp), 77);
        sctp.state = ProtocolState::Sctp(Sctp { state: 200, tags: [1, 2] });
        assert_eq!(timeouts.of(&sctp), 600);
        let mut closing = tcp(1);
        closing.state = tcp_state(TcpState::TimeWait);
        assert_eq!(timeouts.of(&closing), 120);
        let mut writer = writer();
        let gre = flow(47, v4(1), v4(2), ports(0, 0), ports(0, 0));
        put(&mut writer, gre, Expect::New);
        let fixed = find(gre.identity()).expect("there");
        assert_eq!(timeouts.of(&fixed), fixed.timeout_s);
        writer.set_timeout(&gre.identity(), 5).expect("queued");
        writer.flush().expect("flushed");
        assert_eq!(writer.take_refusals(), []);
        put(&mut writer, Flow { mark: 3, ..gre }, Expect::Known);
        assert_eq!(find(gre.identity()).expect("there").mark, 3);
        assert_eq!(timeouts.of(&flow(1, v4(1), v4(2), Layer4::Other, Layer4::Other)), 30);
    });
}
