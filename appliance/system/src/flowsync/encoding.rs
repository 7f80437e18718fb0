//! The bytes in which an entry travels between the nodes of a pair. Version 1; numbers are big-endian; one form only
//! for each record, so that equal bytes and equal records are the same thing.
//!
//! ```text
//! record       kind:u8 timeout:u32 flow | expectation                     kind 0x11 | 0x12
//! flow         parts:u16 protocol:u8 zone original [reply] [state] [mark:u32] [labels:16] [helper] [adjust:24]
//!              [synproxy:12] [master: protocol:u8 tuple]
//! parts        0 IPv6  1 seen reply  2 assured  3 confirmed  4 translated: reply follows, else it is the inverse
//!              5 TCP  6 SCTP  7 mark  8 labels  9 helper  10 adjustments  11 SYN proxy  12 master  13 zone
//! expectation  parts:u8 protocol:u8 zone tuple mask master:(protocol:u8 tuple) flags:u32 class:u32 [helper] [function]
//!              [nat: direction:u32 protocol:u8 tuple]
//! parts        0 IPv6  1 helper  2 function  3 translated  4 zone
//! tuple        layer4:u8 source destination [4 bytes]      layer4 1 ports  2 ICMP kind code id  3 nothing
//! zone         id:u16 scope:u8, if there is one            name   length:u8 bytes
//! identity     kind:u8 IPv6:u8 protocol:u8 zone tuple [mask]              kind 0x21 flow | 0x22 expectation
//! ```
//!
//! The timeout stands at a fixed place because it alone differs between two kernels by nature: see [`fingerprint`].

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rempart_config::space::Family;
use siphasher::sip::SipHasher13;

use super::record::{
    Expectation, Flow, HashKey, Identity, Name, ProtocolState, Record, Sctp, SequenceAdjustment, Synproxy,
    Zone, ZoneScope,
};
use crate::conntrack::codec::invert;
use crate::conntrack::{Layer4, Status, Tcp, TcpState, Tuple};

/// Longest encoded record or identity, in bytes. The longest connection has 212.
pub const MAX_ENCODED: usize = 512;

const RECORD_FLOW: u8 = 0x11;
const RECORD_EXPECTATION: u8 = 0x12;
const IDENTITY_FLOW: u8 = 0x21;
const IDENTITY_EXPECTATION: u8 = 0x22;

/// Where the timeout stands in an encoded record.
const TIMEOUT: std::ops::Range<usize> = 1..5;

mod part {
    pub const V6: u16 = 1;
    pub const SEEN_REPLY: u16 = 1 << 1;
    pub const ASSURED: u16 = 1 << 2;
    pub const CONFIRMED: u16 = 1 << 3;
    pub const TRANSLATED: u16 = 1 << 4;
    pub const TCP: u16 = 1 << 5;
    pub const SCTP: u16 = 1 << 6;
    pub const MARK: u16 = 1 << 7;
    pub const LABELS: u16 = 1 << 8;
    pub const HELPER: u16 = 1 << 9;
    pub const ADJUSTMENTS: u16 = 1 << 10;
    pub const SYNPROXY: u16 = 1 << 11;
    pub const MASTER: u16 = 1 << 12;
    pub const ZONE: u16 = 1 << 13;
    pub const ALL: u16 = (1 << 14) - 1;
}

mod expected {
    pub const V6: u8 = 1;
    pub const HELPER: u8 = 1 << 1;
    pub const FUNCTION: u8 = 1 << 2;
    pub const TRANSLATED: u8 = 1 << 3;
    pub const ZONE: u8 = 1 << 4;
    pub const ALL: u8 = (1 << 5) - 1;
}

/// Which bit of the status travels as which part.
const STATUS: [(u32, u16); 3] = [
    (Status::SEEN_REPLY, part::SEEN_REPLY),
    (Status::ASSURED, part::ASSURED),
    (Status::CONFIRMED, part::CONFIRMED),
];

impl Record {
    /// Appends the record to `out`: at most [`MAX_ENCODED`] bytes, the same bytes for the same record. Of the status
    /// only [`Flow::REPLICATED_STATUS`] is kept.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Flow(flow) => {
                out.push(RECORD_FLOW);
                out.extend_from_slice(&flow.timeout_s.to_be_bytes());
                put_flow(flow, out);
            }
            Self::Expectation(expectation) => {
                out.push(RECORD_EXPECTATION);
                out.extend_from_slice(&expectation.timeout_s.to_be_bytes());
                put_expectation(expectation, out);
            }
        }
    }

    /// Reads what [`Record::encode`] wrote; `None` for anything else, also for bytes too many.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.get(..MAX_ENCODED.min(bytes.len()))?);
        let kind = reader.u8()?;
        let timeout_s = reader.u32()?;
        let record = match kind {
            RECORD_FLOW => Self::Flow(take_flow(&mut reader, timeout_s)?),
            RECORD_EXPECTATION => Self::Expectation(take_expectation(&mut reader, timeout_s)?),
            _ => return None,
        };
        (reader.0.is_empty() && bytes.len() <= MAX_ENCODED).then_some(record)
    }
}

impl Identity {
    /// Appends the identity to `out`: at most 80 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, protocol, zone, tuple, mask) = match self {
            Self::Flow { protocol, original, zone } => (IDENTITY_FLOW, protocol, zone, original, None),
            Self::Expectation { protocol, tuple, mask, zone } => {
                (IDENTITY_EXPECTATION, protocol, zone, tuple, Some(mask))
            }
        };
        out.extend_from_slice(&[kind, u8::from(self.family() == Family::V6), *protocol]);
        put_zone(*zone, out);
        put_tuple(tuple, out);
        if let Some(mask) = mask {
            put_tuple(mask, out);
        }
    }

    /// Reads what [`Identity::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let kind = reader.u8()?;
        let family = match reader.u8()? {
            0 => Family::V4,
            1 => Family::V6,
            _ => return None,
        };
        let protocol = reader.u8()?;
        let zone = reader.zone()?;
        let tuple = reader.tuple(family)?;
        let identity = match kind {
            IDENTITY_FLOW => Self::Flow { protocol, original: tuple, zone },
            IDENTITY_EXPECTATION => Self::Expectation { protocol, tuple, mask: reader.tuple(family)?, zone },
            _ => return None,
        };
        reader.0.is_empty().then_some(identity)
    }
}

/// A hash of an encoded record without its timeout, which differs between two kernels by nature: equal fingerprints
/// mean that the other node has nothing to learn. For digests over buckets.
pub fn fingerprint(encoded: &[u8], hash: &HashKey) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&hash.0);
    hasher.write(encoded.get(..TIMEOUT.start).unwrap_or(&[]));
    hasher.write(encoded.get(TIMEOUT.end..).unwrap_or(&[]));
    hasher.finish()
}

fn put_flow(flow: &Flow, out: &mut Vec<u8>) {
    let translated = flow.reply != invert(&flow.original);
    let has = |given: bool, bit: u16| if given { bit } else { 0 };
    let (tcp, sctp) = match flow.state {
        ProtocolState::None => (None, None),
        ProtocolState::Tcp(tcp) => (Some(tcp), None),
        ProtocolState::Sctp(sctp) => (None, Some(sctp)),
    };
    let mut parts = has(flow.family() == Family::V6, part::V6)
        | has(translated, part::TRANSLATED)
        | has(tcp.is_some(), part::TCP)
        | has(sctp.is_some(), part::SCTP)
        | has(flow.mark != 0, part::MARK)
        | has(flow.labels != [0; 16], part::LABELS)
        | has(flow.helper.is_some(), part::HELPER)
        | has(flow.adjustments.is_some(), part::ADJUSTMENTS)
        | has(flow.synproxy.is_some(), part::SYNPROXY)
        | has(flow.master.is_some(), part::MASTER)
        | has(flow.zone != Zone::default(), part::ZONE);
    for (status, bit) in STATUS {
        parts |= has(flow.status.has(status), bit);
    }
    out.extend_from_slice(&parts.to_be_bytes());
    out.push(flow.protocol);
    if flow.zone != Zone::default() {
        put_zone(flow.zone, out);
    }
    put_tuple(&flow.original, out);
    if translated {
        put_tuple(&flow.reply, out);
    }
    if let Some(tcp) = tcp {
        out.push(tcp.state.number());
        out.extend_from_slice(&tcp.window_scale);
        out.extend_from_slice(&tcp.flags);
    }
    if let Some(sctp) = sctp {
        out.push(sctp.state);
        put_numbers(&sctp.tags, out);
    }
    if flow.mark != 0 {
        out.extend_from_slice(&flow.mark.to_be_bytes());
    }
    if flow.labels != [0; 16] {
        out.extend_from_slice(&flow.labels);
    }
    if let Some(helper) = &flow.helper {
        put_name(helper, out);
    }
    for SequenceAdjustment { position, before, after } in flow.adjustments.iter().flatten() {
        put_numbers(&[*position, *before, *after], out);
    }
    if let Some(Synproxy { sequence, timestamp, offset }) = flow.synproxy {
        put_numbers(&[sequence, timestamp, offset], out);
    }
    if let Some((protocol, master)) = &flow.master {
        out.push(*protocol);
        put_tuple(master, out);
    }
}

fn take_flow(reader: &mut Reader<'_>, timeout_s: u32) -> Option<Flow> {
    let parts = reader.u16()?;
    let has = |bit| parts & bit != 0;
    if parts & !part::ALL != 0 || has(part::TCP) && has(part::SCTP) {
        return None;
    }
    let family = if has(part::V6) { Family::V6 } else { Family::V4 };
    let protocol = reader.u8()?;
    let zone = if has(part::ZONE) { some(reader.zone()?)? } else { Zone::default() };
    let original = reader.tuple(family)?;
    let plain = invert(&original);
    let reply =
        if has(part::TRANSLATED) { Some(reader.tuple(family)?).filter(|t| *t != plain)? } else { plain };
    let state = match (has(part::TCP), has(part::SCTP)) {
        (true, _) => {
            let state = TcpState::from_number(reader.u8()?);
            ProtocolState::Tcp(Tcp { state, window_scale: reader.array()?, flags: reader.array()? })
        }
        (false, true) => {
            ProtocolState::Sctp(Sctp { state: reader.u8()?, tags: [reader.u32()?, reader.u32()?] })
        }
        (false, false) => ProtocolState::None,
    };
    let mark = if has(part::MARK) { some(reader.u32()?)? } else { 0 };
    let labels = if has(part::LABELS) { some(reader.array()?)? } else { [0; 16] };
    let helper = if has(part::HELPER) { Some(reader.name()?) } else { None };
    let adjustments =
        if has(part::ADJUSTMENTS) { Some([reader.adjustment()?, reader.adjustment()?]) } else { None };
    let synproxy = if has(part::SYNPROXY) { Some(reader.synproxy()?) } else { None };
    let master = if has(part::MASTER) { Some((reader.u8()?, reader.tuple(family)?)) } else { None };
    let status = STATUS.iter().filter(|(_, bit)| has(*bit)).fold(0, |status, (bit, _)| status | bit);
    Some(Flow {
        protocol,
        original,
        reply,
        zone,
        status: Status(status),
        timeout_s,
        state,
        mark,
        labels,
        helper,
        adjustments,
        synproxy,
        master,
    })
}

fn put_expectation(e: &Expectation, out: &mut Vec<u8>) {
    let has = |given: bool, bit: u8| if given { bit } else { 0 };
    out.push(
        has(Family::of(e.tuple.source) == Family::V6, expected::V6)
            | has(e.helper.is_some(), expected::HELPER)
            | has(e.function.is_some(), expected::FUNCTION)
            | has(e.nat.is_some(), expected::TRANSLATED)
            | has(e.zone != Zone::default(), expected::ZONE),
    );
    out.push(e.protocol);
    if e.zone != Zone::default() {
        put_zone(e.zone, out);
    }
    put_tuple(&e.tuple, out);
    put_tuple(&e.mask, out);
    out.push(e.master.0);
    put_tuple(&e.master.1, out);
    put_numbers(&[e.flags, e.class], out);
    for name in [&e.helper, &e.function].into_iter().flatten() {
        put_name(name, out);
    }
    if let Some((direction, protocol, tuple)) = &e.nat {
        out.extend_from_slice(&direction.to_be_bytes());
        out.push(*protocol);
        put_tuple(tuple, out);
    }
}

fn take_expectation(reader: &mut Reader<'_>, timeout_s: u32) -> Option<Expectation> {
    let parts = reader.u8()?;
    let has = |bit| parts & bit != 0;
    if parts & !expected::ALL != 0 {
        return None;
    }
    let family = if has(expected::V6) { Family::V6 } else { Family::V4 };
    let protocol = reader.u8()?;
    let zone = if has(expected::ZONE) { some(reader.zone()?)? } else { Zone::default() };
    let (tuple, mask) = (reader.tuple(family)?, reader.tuple(family)?);
    let master = (reader.u8()?, reader.tuple(family)?);
    let (flags, class) = (reader.u32()?, reader.u32()?);
    let helper = if has(expected::HELPER) { Some(reader.name()?) } else { None };
    let function = if has(expected::FUNCTION) { Some(reader.name()?) } else { None };
    let nat = if has(expected::TRANSLATED) {
        Some((reader.u32()?, reader.u8()?, reader.tuple(family)?))
    } else {
        None
    };
    Some(Expectation { protocol, tuple, mask, master, zone, timeout_s, flags, class, helper, function, nat })
}

/// What is present must not be what is meant by its absence.
fn some<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

fn put_tuple(tuple: &Tuple, out: &mut Vec<u8>) {
    let (kind, rest) = match tuple.layer4 {
        Layer4::Ports { source, destination } => {
            let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
            (1, Some([a, b, c, d]))
        }
        Layer4::Icmp { kind, code, id } => {
            let [a, b] = id.to_be_bytes();
            (2, Some([kind, code, a, b]))
        }
        Layer4::Other => (3, None),
    };
    out.push(kind);
    for address in [tuple.source, tuple.destination] {
        match address {
            IpAddr::V4(a) => out.extend_from_slice(&a.octets()),
            IpAddr::V6(a) => out.extend_from_slice(&a.octets()),
        }
    }
    out.extend_from_slice(rest.as_ref().map_or(&[], |rest| rest));
}

fn put_zone(zone: Zone, out: &mut Vec<u8>) {
    out.extend_from_slice(&zone.id.to_be_bytes());
    out.push(zone.scope.number());
}

fn put_name(name: &Name, out: &mut Vec<u8>) {
    let bytes = name.as_bytes();
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn put_numbers(numbers: &[u32], out: &mut Vec<u8>) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn tuple(&mut self, family: Family) -> Option<Tuple> {
        let kind = self.u8()?;
        let (source, destination) = (self.address(family)?, self.address(family)?);
        let layer4 = match kind {
            1 => Layer4::Ports { source: self.u16()?, destination: self.u16()? },
            2 => Layer4::Icmp { kind: self.u8()?, code: self.u8()?, id: self.u16()? },
            3 => Layer4::Other,
            _ => return None,
        };
        Some(Tuple { source, destination, layer4 })
    }

    fn address(&mut self, family: Family) -> Option<IpAddr> {
        Some(match family {
            Family::V4 => Ipv4Addr::from(self.array::<4>()?).into(),
            Family::V6 => Ipv6Addr::from(self.array::<16>()?).into(),
        })
    }

    /// The kernel knows no zone 0 of one direction only.
    fn zone(&mut self) -> Option<Zone> {
        let zone = Zone { id: self.u16()?, scope: ZoneScope::from_number(self.u8()?)? };
        (zone.id != 0 || zone.scope == ZoneScope::Both).then_some(zone)
    }

    fn name(&mut self) -> Option<Name> {
        let len = usize::from(self.u8()?);
        let (name, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Name::new(name)
    }

    fn adjustment(&mut self) -> Option<SequenceAdjustment> {
        Some(SequenceAdjustment { position: self.u32()?, before: self.u32()?, after: self.u32()? })
    }

    fn synproxy(&mut self) -> Option<Synproxy> {
        Some(Synproxy { sequence: self.u32()?, timestamp: self.u32()?, offset: self.u32()? })
    }
}
