//! What the kernel tells while it happens.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};

use rempart_system::conntrack::{Conntrack, TcpState};
use rempart_system::flowsync::{
    Event, Events, Expect, Flow, Hint, Identity, ProtocolState, Read, Record, Table, TimeoutRule,
};

use crate::common::{in_namespace, sh};
use crate::pair::Pair;
use crate::samples::*;

#[derive(Debug)]
enum Told {
    Put(Record, Hint),
    Gone(Identity),
    Overrun,
}

fn drain(events: &mut Events) -> Vec<Told> {
    let mut all = Vec::new();
    loop {
        let read = events.read_batch(&mut |event| {
            all.push(match event {
                Event::Put(record, hint) => Told::Put(*record, hint),
                Event::Gone(identity) => Told::Gone(identity),
                Event::Overrun => Told::Overrun,
            });
        });
        if read.expect("read") == Read::Drained {
            return all;
        }
    }
}

/// The hints of the events about connections of this protocol, in order, and how many of them ended.
fn story(told: &[Told], protocol: u8) -> (Vec<Hint>, usize) {
    let mut hints = Vec::new();
    let mut gone = 0;
    for event in told {
        match event {
            Told::Put(Record::Flow(flow), hint) if flow.protocol == protocol => hints.push(*hint),
            Told::Gone(Identity::Flow { protocol: p, .. }) if *p == protocol => gone += 1,
            Told::Put(..) | Told::Gone(_) => {}
            Told::Overrun => panic!("an overrun"),
        }
    }
    (hints, gone)
}

/// A TCP connection opened and closed in; out: new, answered, established, closing, gone.
#[test]
fn the_life_of_a_tcp_connection() {
    in_namespace(|| async {
        track(false);
        let mut events = Events::open(1 << 20).expect("events");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let server = listener.accept().expect("accepted").0;
        let told = drain(&mut events);
        let (hints, _) = story(&told, 6);
        let hint = |new, reply, assured| Hint { new, reply, assured, closing: false };
        assert_eq!(hints, [hint(true, false, false), hint(false, true, false), hint(false, true, true)]);
        drop((client, server));
        std::thread::sleep(std::time::Duration::from_millis(20));
        sh("conntrack -F");
        let (hints, gone) = story(&drain(&mut events), 6);
        assert!(!hints.is_empty() && hints.iter().all(|hint| hint.closing), "{hints:?}");
        assert_eq!(gone, 1);
        assert_eq!(events.counts().overruns + events.counts().unread, 0);
    });
}

/// UDP and ping in; new and answered out.
#[test]
fn udp_and_icmp() {
    in_namespace(|| async {
        track(false);
        let mut events = Events::open(1 << 20).expect("events");
        let [a, b] = std::array::from_fn(|_| UdpSocket::bind("[::1]:0").expect("a socket"));
        a.send_to(b"x", b.local_addr().expect("an address")).expect("sent");
        b.send_to(b"y", a.local_addr().expect("an address")).expect("sent");
        sh("ping -c 1 127.0.0.1");
        let told = drain(&mut events);
        for protocol in [17, 1] {
            let (hints, _) = story(&told, protocol);
            assert!(hints[0].new && !hints[0].reply, "{protocol}: {hints:?}");
            assert!(hints[1].reply && !hints[1].new, "{protocol}: {hints:?}");
        }
    });
}

/// A rule that changes the mark of an established connection in, of which the kernel tells the mark and no more; a whole
/// record out: TCP state and labels.
#[test]
fn partial_events_are_completed() {
    in_namespace(|| async {
        let rules = "table inet t {
            chain c {
              type filter hook output priority 0
              ct state new ct label set 100
              meta length > 500 ct mark set 77
            }
          }";
        sh(&format!("printf '{rules}' | nft -f -"));
        let mut events = Events::open(1 << 20).expect("events");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let _server = listener.accept().expect("accepted").0;
        let established = drain(&mut events);
        assert_eq!(events.counts().completed, 2, "labels were seen, and two updates leave them out");
        client.write_all(&[0; 600]).expect("written");
        let told = drain(&mut events);
        assert_eq!(events.counts().completed, 3);
        let (Some(Told::Put(Record::Flow(before), _)), [Told::Put(Record::Flow(flow), _)]) =
            (established.last(), told.as_slice())
        else {
            panic!("{established:?} {told:?}")
        };
        assert!(matches!(flow.state, ProtocolState::Tcp(tcp) if tcp.state == TcpState::Established));
        assert_eq!(flow.labels.iter().map(|byte| byte.count_ones()).sum::<u32>(), 1);
        assert_eq!(settled(*flow), settled(Flow { mark: 77, ..*before }));
    });
}

/// A writer opened where nobody ever listened; what it writes will give events once somebody does. The setting is looked at,
/// because another listener anywhere on this machine would hide that it is missing.
#[test]
fn what_a_standby_writes_can_be_heard_later() {
    in_namespace(|| async {
        track(false);
        let setting = "cat /proc/sys/net/netfilter/nf_conntrack_events";
        let mut writer = writer();
        assert_eq!(sh(setting).trim(), "1");
        put(&mut writer, tcp(1), Expect::New);
        let mut events = Events::open(1 << 20).expect("events");
        sh("conntrack -F");
        let told = drain(&mut events);
        assert!(matches!(told[..], [Told::Gone(identity)] if identity == tcp(1).identity()), "{told:?}");
    });
}

/// A change of a connection that another announced in; out: the other is still named, although the kernel does not.
#[test]
fn a_child_keeps_its_master() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        put(&mut writer, tcp(5), Expect::New);
        let child = Flow { master: Some((6, tcp(5).original)), ..tcp(1) };
        put(&mut writer, child, Expect::New);
        let mut events = Events::open(1 << 20).expect("events");
        let mut table = Conntrack::new().expect("a table");
        for connection in table.list().await.expect("listed") {
            assert!(table.set_mark(&connection, 77, u32::MAX).await.expect("marked"));
        }
        let told = drain(&mut events);
        let marked = |wanted: Flow| {
            let is_it = |t: &Told| matches!(t, Told::Put(Record::Flow(f), _) if settled(*f) == settled(Flow { mark: 77, ..wanted }));
            told.iter().any(is_it)
        };
        assert!(marked(child) && marked(tcp(5)), "{told:?}");
        assert_eq!(events.counts().completed, 1);
    });
}

/// What our own writer does is not told back; what others do is.
#[test]
fn no_echo() {
    in_namespace(|| async {
        track(false);
        let (mut ours, mut other) = (writer(), writer());
        let mut events = Events::open(1 << 20).expect("events");
        events.ignore(ours.port());
        put(&mut ours, tcp(1), Expect::New);
        put(&mut other, tcp(2), Expect::New);
        put(&mut ours, tcp(2), Expect::Known);
        ours.remove(&tcp(1).identity()).expect("queued");
        ours.flush().expect("flushed");
        let told = drain(&mut events);
        assert!(
            matches!(told.as_slice(), [Told::Put(Record::Flow(flow), _)] if flow.identity() == tcp(2).identity()),
            "{told:?}"
        );
    });
}

/// Far more events than the queue holds in; out: told so, and a dump afterwards has everything.
#[test]
fn an_overrun_is_told_and_a_dump_repairs_it() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        let mut events = Events::open(16 << 10).expect("events");
        let all: Vec<Record> = (1000..3000).map(|port| Record::Flow(tcp(port))).collect();
        for record in &all {
            writer.put(record, TimeoutRule::AsTold, Expect::New).expect("queued");
        }
        writer.flush().expect("flushed");
        let told = drain(&mut events);
        let overruns = told.iter().filter(|t| matches!(t, Told::Overrun)).count();
        assert!(overruns > 0 && told.len() < all.len(), "{}", told.len());
        assert_eq!(events.counts().overruns as usize, overruns);
        let held = dump(Table::Flows);
        assert!(all.iter().all(|record| held.iter().any(|h| h.identity() == record.identity())));
        // After that it hears again.
        put(&mut writer, tcp(1), Expect::New);
        let told = drain(&mut events);
        assert!(matches!(told.as_slice(), [Told::Put(..)]), "{told:?}");
    });
}

/// An announced connection in: the expectation comes, is consumed, and the connection names its master.
#[test]
fn expectations_are_told() {
    in_namespace(|| async {
        let mut pair = Pair::new();
        let address = "192.0.2.2:21".parse().expect("an address");
        let (mut client, mut server) = pair.connect(address, address);
        // The helper reads a direction from its second line on.
        crate::pair::say(&mut client, &mut server, b"USER me\r\n");
        crate::pair::say(&mut server, &mut client, b"220 ready\r\n");
        let listener = pair.client.enter(|| TcpListener::bind("10.0.0.2:3001")).expect("a listener");
        client.write_all(b"PORT 10,0,0,2,11,185\r\n").expect("written");
        let mut line = [0; 23];
        server.read_exact(&mut line).expect("read");
        let text = String::from_utf8_lossy(&line).into_owned();
        assert_eq!(text, "PORT 192,0,2,1,11,185\r\n");
        pair.replicate();
        let expected =
            pair.put.iter().find(|r| matches!(r, Record::Expectation(_))).copied().expect("expected");
        pair.server.enter(|| TcpStream::connect("192.0.2.1:3001")).expect("connected");
        let _ = listener.accept();
        pair.replicate();
        assert!(pair.gone.contains(&expected.identity()));
        let Record::Flow(child) = pair.put.last().expect("events") else { panic!("{:?}", pair.put) };
        assert_eq!(
            child.master.map(|(_, t)| t.layer4),
            Some(match &pair.put[0] {
                Record::Flow(control) => control.original.layer4,
                Record::Expectation(_) => panic!("{:?}", pair.put),
            })
        );
    });
}
