//! Records to write, and reading back what the kernel made of them. The tests of the journal use them too, not all of them.

#![allow(dead_code, reason = "each program of tests uses a part")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rempart_system::conntrack::{Layer4, Status, Tcp, TcpState, Tuple};
use rempart_system::flowsync::{
    Dump, Expect, Expectation, Flow, Identity, Name, Progress, ProtocolState, Record, Table, TimeoutRule,
    Writer, Zone,
};

use crate::common::sh;

pub const LIVE: Status = Status(Status::CONFIRMED | Status::SEEN_REPLY | Status::ASSURED);

pub fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, last).into()
}

pub fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}

pub fn ports(source: u16, destination: u16) -> Layer4 {
    Layer4::Ports { source, destination }
}

pub fn tuple(source: IpAddr, destination: IpAddr, layer4: Layer4) -> Tuple {
    Tuple { source, destination, layer4 }
}

/// A connection without anything special. `reply` is what the reply has above the addresses.
pub fn flow(protocol: u8, source: IpAddr, destination: IpAddr, layer4: Layer4, reply: Layer4) -> Flow {
    Flow {
        protocol,
        original: tuple(source, destination, layer4),
        reply: tuple(destination, source, reply),
        zone: Zone::default(),
        status: LIVE,
        timeout_s: 600,
        state: ProtocolState::None,
        mark: 0,
        labels: [0; 16],
        helper: None,
        adjustments: None,
        synproxy: None,
        master: None,
    }
}

/// A TCP connection of which only the SYN was seen.
pub fn syn(port: u16) -> Flow {
    let state = Tcp { state: TcpState::SynSent, window_scale: [7, 0], flags: [0x03, 0] };
    Flow { state: ProtocolState::Tcp(state), status: Status(Status::CONFIRMED), ..tcp(port) }
}

/// An established TCP connection from 192.0.2.1.
pub fn tcp(port: u16) -> Flow {
    let mut flow = flow(6, v4(1), v4(2), ports(port, 443), ports(443, port));
    flow.state = tcp_state(TcpState::Established);
    flow
}

pub fn tcp_state(state: TcpState) -> ProtocolState {
    ProtocolState::Tcp(Tcp { state, window_scale: [7, 9], flags: [0x03, 0x03] })
}

/// A control connection, and the data connection that it expects from the server.
pub fn ftp() -> (Flow, Expectation) {
    let mut master = tcp(2000);
    master.original.layer4 = ports(2000, 21);
    master.reply.layer4 = ports(21, 2000);
    master.helper = Name::new(b"ftp");
    let every: IpAddr = Ipv4Addr::BROADCAST.into();
    let expectation = Expectation {
        protocol: 6,
        tuple: tuple(v4(2), v4(1), ports(0, 2020)),
        mask: Tuple { source: every, destination: every, layer4: ports(0, 0xffff) },
        master: (6, master.original),
        zone: Zone::default(),
        timeout_s: 300,
        flags: 0,
        class: 0,
        helper: Name::new(b"ftp"),
        function: None,
        nat: None,
    };
    (master, expectation)
}

/// Makes the kernel track connections in this namespace. With `labels`, a rule sets one, so that there is room for them.
pub fn track(labels: bool) {
    let rule = if labels { "ct label set 1" } else { "counter" };
    sh(&format!(
        "printf 'table inet t {{\\n chain c {{\\n type filter hook output priority 0\\n ct state new oifname none {rule}\\n }}\\n}}\\n' | nft -f -"
    ));
}

pub fn writer() -> Writer {
    Writer::open().expect("a writer")
}

/// Writes one record into this namespace; nothing may be refused.
pub fn put(writer: &mut Writer, record: impl Into<Entry>, expect: Expect) {
    writer.put(&record.into().0, TimeoutRule::AsTold, expect).expect("queued");
    writer.flush().expect("flushed");
    assert_eq!(writer.take_refusals(), []);
}

pub struct Entry(pub Record);

impl From<Flow> for Entry {
    fn from(flow: Flow) -> Self {
        Self(Record::Flow(flow))
    }
}

impl From<Expectation> for Entry {
    fn from(expectation: Expectation) -> Self {
        Self(Record::Expectation(expectation))
    }
}

/// Everything that `table` of this namespace holds.
pub fn dump(table: Table) -> Vec<Record> {
    let mut dump = Dump::start(table).expect("a dump");
    let mut all = Vec::new();
    loop {
        match dump.step(10, &mut |record| all.push(*record)).expect("a step") {
            Progress::More => {}
            Progress::Restarted => all.clear(),
            Progress::Done => return all,
        }
    }
}

/// The connections that this namespace holds.
pub fn flows() -> Vec<Flow> {
    let flow = |record| match record {
        Record::Flow(flow) => Some(flow),
        Record::Expectation(_) => None,
    };
    dump(Table::Flows).into_iter().filter_map(flow).collect()
}

/// The connection with this identity.
pub fn find(identity: Identity) -> Option<Flow> {
    flows().into_iter().find(|flow| flow.identity() == identity)
}

/// Without what may differ between two kernels: seconds that have passed, bits that follow from the rest.
pub fn settled(mut flow: Flow) -> Flow {
    flow.timeout_s = 0;
    flow.status.0 &= Flow::REPLICATED_STATUS;
    flow
}
