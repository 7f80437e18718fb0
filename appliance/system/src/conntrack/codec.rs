//! ctnetlink messages (`linux/netfilter/nfnetlink_conntrack.h`): bytes to [`Connection`] and back. Numbers are
//! big-endian, except in structures.
//!
//! ```text
//! CTA_TUPLE_ORIG { CTA_TUPLE_IP { SRC DST }  CTA_TUPLE_PROTO { NUM  SRC_PORT DST_PORT | ICMP_* } }
//! CTA_TUPLE_REPLY { … }  CTA_STATUS  CTA_TIMEOUT  CTA_MARK  CTA_ID  CTA_ZONE
//! CTA_PROTOINFO { CTA_PROTOINFO_TCP { STATE WSCALE_* FLAGS_* } }
//! CTA_COUNTERS_* { PACKETS BYTES }  CTA_TIMESTAMP { START }  CTA_HELP { NAME }
//! CTA_NAT_SRC, CTA_NAT_DST { MINIP PROTO { PORT_MIN } }    only when creating
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use rempart_config::space::Family;

use super::{Connection, Layer4, Status, Tcp, TcpState, Traffic, Tuple, Usage};
use crate::netlink::{
    Message, NFGEN, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, attributes, u16_be, u32_be, u64_be,
};

pub(crate) const NFNL_SUBSYS_CTNETLINK: u8 = 1;
pub(crate) const IPCTNL_MSG_CT_NEW: u8 = 0;
pub(crate) const IPCTNL_MSG_CT_GET: u8 = 1;
pub(crate) const IPCTNL_MSG_CT_DELETE: u8 = 2;
const IPCTNL_MSG_CT_GET_STATS: u8 = 5;

pub(crate) const CTA_TUPLE_ORIG: u16 = 1;
pub(crate) const CTA_TUPLE_REPLY: u16 = 2;
pub(crate) const CTA_STATUS: u16 = 3;
pub(crate) const CTA_PROTOINFO: u16 = 4;
pub(crate) const CTA_HELP: u16 = 5;
const CTA_NAT_SRC: u16 = 6;
pub(crate) const CTA_TIMEOUT: u16 = 7;
pub(crate) const CTA_MARK: u16 = 8;
const CTA_COUNTERS_ORIG: u16 = 9;
const CTA_COUNTERS_REPLY: u16 = 10;
pub(crate) const CTA_ID: u16 = 12;
const CTA_NAT_DST: u16 = 13;
pub(crate) const CTA_ZONE: u16 = 18;
const CTA_TIMESTAMP: u16 = 20;
const CTA_MARK_MASK: u16 = 21;

const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
pub(crate) const CTA_TUPLE_ZONE: u16 = 3;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMP_CODE: u16 = 6;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTO_ICMPV6_CODE: u16 = 9;

const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_PROTOINFO_TCP_WSCALE_ORIGINAL: u16 = 2;
const CTA_PROTOINFO_TCP_WSCALE_REPLY: u16 = 3;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;

const CTA_COUNTERS_PACKETS: u16 = 1;
const CTA_COUNTERS_BYTES: u16 = 2;
pub(crate) const CTA_HELP_NAME: u16 = 1;
const CTA_TIMESTAMP_START: u16 = 1;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_STATS_GLOBAL_MAX_ENTRIES: u16 = 2;

const CTA_NAT_V4_MINIP: u16 = 1;
const CTA_NAT_PROTO: u16 = 3;
const CTA_NAT_V6_MINIP: u16 = 4;
const CTA_PROTONAT_PORT_MIN: u16 = 1;

/// Status bits that a creator may set; the kernel works out the others.
pub(crate) const SETTABLE_STATUS: u32 = Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED;

/// `IP_CT_TCP_FLAG_{WINDOW_SCALE, SACK_PERM, CLOSE_INIT, BE_LIBERAL}`: what holds for the whole connection. The other
/// flags belong to a packet or a window that the kernel does not tell.
pub(crate) const SETTABLE_TCP_FLAGS: u8 = 0x0f;

/// Reads a connection from the payload of a message, from `nfgenmsg` on. `None` when it is not one.
pub fn decode(payload: &[u8]) -> Option<Connection> {
    let family = match i32::from(*payload.first()?) {
        libc::AF_INET => Family::V4,
        libc::AF_INET6 => Family::V6,
        _ => return None,
    };
    let (mut original, mut reply) = (None, None);
    let mut connection = Connection {
        id: 0,
        family,
        protocol: 0,
        original: nowhere(family),
        reply: nowhere(family),
        status: Status::default(),
        mark: 0,
        zone: 0,
        timeout_s: 0,
        tcp: None,
        sent: None,
        received: None,
        started_ns: None,
        helper: None,
    };
    for (kind, data) in attributes(payload.get(NFGEN..)?) {
        match kind {
            CTA_TUPLE_ORIG => original = tuple(data),
            CTA_TUPLE_REPLY => reply = tuple(data),
            CTA_STATUS => connection.status = Status(u32_be(data)?),
            CTA_PROTOINFO => connection.tcp = tcp(data),
            CTA_HELP => connection.helper = helper(data),
            CTA_TIMEOUT => connection.timeout_s = u32_be(data)?,
            CTA_MARK => connection.mark = u32_be(data)?,
            CTA_COUNTERS_ORIG => connection.sent = traffic(data),
            CTA_COUNTERS_REPLY => connection.received = traffic(data),
            CTA_ID => connection.id = u32_be(data)?,
            CTA_ZONE => connection.zone = u16_be(data)?,
            CTA_TIMESTAMP => connection.started_ns = find(data, CTA_TIMESTAMP_START).and_then(u64_be),
            _ => {}
        }
    }
    (connection.protocol, connection.original) = original?;
    (_, connection.reply) = reply?;
    let right = |t: &Tuple| Family::of(t.source) == family && Family::of(t.destination) == family;
    (right(&connection.original) && right(&connection.reply)).then_some(connection)
}

/// Reads how full the table is; what is not said is zero.
pub(crate) fn decode_usage(payload: &[u8]) -> Usage {
    let attrs = payload.get(NFGEN..).unwrap_or(&[]);
    let number = |kind| find(attrs, kind).and_then(u32_be).unwrap_or(0);
    Usage { count: number(CTA_STATS_GLOBAL_ENTRIES), max: number(CTA_STATS_GLOBAL_MAX_ENTRIES) }
}

/// Asks for every connection of both families.
pub(crate) fn list() -> Message {
    Message::netfilter(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_DUMP, libc::AF_UNSPEC as u8, 0)
}

/// Asks how full the table is.
pub(crate) fn usage() -> Message {
    Message::netfilter(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET_STATS, NLM_F_ACK, libc::AF_UNSPEC as u8, 0)
}

/// Puts a connection into the table, unless it is there.
///
/// Translation is given as the kernel wants it: the reply as if there were none, and what is to be translated
/// beside it (as conntrackd does); the kernel takes no translation bits from outside (`ctnetlink_change_status`).
pub(crate) fn create(connection: &Connection) -> Message {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut message = head(IPCTNL_MSG_CT_NEW, flags, connection);
    let plain = invert(&connection.original);
    put_tuple(&mut message, CTA_TUPLE_REPLY, connection.protocol, &plain, None);
    let status = connection.status.0 & SETTABLE_STATUS | Status::CONFIRMED;
    message.attr(CTA_STATUS, &status.to_be_bytes());
    message.attr(CTA_TIMEOUT, &connection.timeout_s.to_be_bytes());
    message.attr(CTA_MARK, &connection.mark.to_be_bytes());
    put_translation(&mut message, &plain, &connection.reply);
    if let Some(tcp) = &connection.tcp {
        put_tcp(&mut message, tcp);
    }
    if let Some(name) = &connection.helper {
        let nest = message.open(CTA_HELP);
        message.attr(CTA_HELP_NAME, &[name.as_bytes(), b"\0"].concat());
        message.close(nest);
    }
    message
}

/// Changes the bits in `mask` of the mark.
pub(crate) fn set_mark(connection: &Connection, value: u32, mask: u32) -> Message {
    let mut message = head(IPCTNL_MSG_CT_NEW, NLM_F_ACK, connection);
    message.attr(CTA_MARK, &(value & mask).to_be_bytes());
    message.attr(CTA_MARK_MASK, &mask.to_be_bytes());
    message
}

/// Removes a connection, if it is still the one with this id.
pub(crate) fn delete(connection: &Connection) -> Message {
    let mut message = head(IPCTNL_MSG_CT_DELETE, NLM_F_ACK, connection);
    message.attr(CTA_ID, &connection.id.to_be_bytes());
    message
}

fn head(kind: u8, flags: u16, connection: &Connection) -> Message {
    let family = match connection.family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let mut message = Message::netfilter(NFNL_SUBSYS_CTNETLINK, kind, flags, family as u8, 0);
    put_tuple(&mut message, CTA_TUPLE_ORIG, connection.protocol, &connection.original, None);
    if connection.zone != 0 {
        message.attr(CTA_ZONE, &connection.zone.to_be_bytes());
    }
    message
}

/// Writes a tuple, with the zone that it alone is in, if any.
pub(crate) fn put_tuple(message: &mut Message, kind: u16, protocol: u8, tuple: &Tuple, zone: Option<u16>) {
    let outer = message.open(kind);
    let ip = message.open(CTA_TUPLE_IP);
    for (address, v4, v6) in
        [(tuple.source, CTA_IP_V4_SRC, CTA_IP_V6_SRC), (tuple.destination, CTA_IP_V4_DST, CTA_IP_V6_DST)]
    {
        match address {
            IpAddr::V4(a) => message.attr(v4, &a.octets()),
            IpAddr::V6(a) => message.attr(v6, &a.octets()),
        };
    }
    message.close(ip);
    let proto = message.open(CTA_TUPLE_PROTO);
    message.attr(CTA_PROTO_NUM, &[protocol]);
    match tuple.layer4 {
        Layer4::Ports { source, destination } => {
            message.attr(CTA_PROTO_SRC_PORT, &source.to_be_bytes());
            message.attr(CTA_PROTO_DST_PORT, &destination.to_be_bytes());
        }
        Layer4::Icmp { kind, code, id } => {
            let [k, c, i] = match tuple.source {
                IpAddr::V4(_) => [CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMP_CODE, CTA_PROTO_ICMP_ID],
                IpAddr::V6(_) => [CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_ICMPV6_CODE, CTA_PROTO_ICMPV6_ID],
            };
            message.attr(k, &[kind]).attr(c, &[code]).attr(i, &id.to_be_bytes());
        }
        Layer4::Other => {}
    }
    message.close(proto);
    if let Some(zone) = zone {
        message.attr(CTA_TUPLE_ZONE, &zone.to_be_bytes());
    }
    message.close(outer);
}

/// Writes what is to be translated, so that the kernel makes `reply` out of `plain`; nothing when they are equal.
///
/// Both ends are written with their ports even if one stays as it is: what is not written the kernel chooses, and when
/// the reply belongs to another connection already it would choose another port and say nothing.
pub(crate) fn put_translation(message: &mut Message, plain: &Tuple, reply: &Tuple) {
    if plain != reply {
        put_nat(message, CTA_NAT_SRC, end(reply.destination, reply.layer4, false));
        put_nat(message, CTA_NAT_DST, end(reply.source, reply.layer4, true));
    }
}

/// Writes the state of a TCP connection.
pub(crate) fn put_tcp(message: &mut Message, tcp: &Tcp) {
    let outer = message.open(CTA_PROTOINFO);
    let inner = message.open(CTA_PROTOINFO_TCP);
    message.attr(CTA_PROTOINFO_TCP_STATE, &[tcp.state.number()]);
    message.attr(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL, &[tcp.window_scale[0]]);
    message.attr(CTA_PROTOINFO_TCP_WSCALE_REPLY, &[tcp.window_scale[1]]);
    // struct nf_ct_tcp_flags { flags, mask }
    message.attr(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, &[tcp.flags[0], SETTABLE_TCP_FLAGS]);
    message.attr(CTA_PROTOINFO_TCP_FLAGS_REPLY, &[tcp.flags[1], SETTABLE_TCP_FLAGS]);
    message.close(inner).close(outer);
}

/// One end of a reply: address and port. ICMP keeps its identifier at both ends.
type End = (IpAddr, Option<u16>);

fn end(address: IpAddr, layer4: Layer4, is_source: bool) -> End {
    let port = match layer4 {
        Layer4::Ports { source, destination } => Some(if is_source { source } else { destination }),
        Layer4::Icmp { id, .. } => (!is_source).then_some(id),
        Layer4::Other => None,
    };
    (address, port)
}

fn put_nat(message: &mut Message, kind: u16, (address, port): End) {
    let outer = message.open(kind);
    match address {
        // The kernel takes the least for the greatest where that is left out (`nf_nat_ipv4_nlattr_to_range`).
        IpAddr::V4(a) => message.attr(CTA_NAT_V4_MINIP, &a.octets()),
        IpAddr::V6(a) => message.attr(CTA_NAT_V6_MINIP, &a.octets()),
    };
    if let Some(port) = port {
        let inner = message.open(CTA_NAT_PROTO);
        message.attr(CTA_PROTONAT_PORT_MIN, &port.to_be_bytes());
        message.close(inner);
    }
    message.close(outer);
}

/// The reply that would come without translation.
pub(crate) fn invert(original: &Tuple) -> Tuple {
    let Tuple { source, destination, layer4 } = *original;
    let layer4 = match layer4 {
        Layer4::Ports { source, destination } => Layer4::Ports { source: destination, destination: source },
        Layer4::Icmp { kind, code, id } => {
            Layer4::Icmp { kind: answer(Family::of(original.source), kind), code, id }
        }
        Layer4::Other => Layer4::Other,
    };
    Tuple { source: destination, destination: source, layer4 }
}

/// The type of the ICMP message that answers (`nf_conntrack_proto_icmp.c`, `nf_conntrack_proto_icmpv6.c`).
fn answer(family: Family, kind: u8) -> u8 {
    let pairs: &[(u8, u8)] = match family {
        Family::V4 => &[(8, 0), (13, 14), (15, 16), (17, 18)],
        Family::V6 => &[(128, 129), (139, 140)],
    };
    let other = |(a, b): &(u8, u8)| if *a == kind { Some(*b) } else { (*b == kind).then_some(*a) };
    pairs.iter().find_map(other).unwrap_or(kind)
}

fn nowhere(family: Family) -> Tuple {
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Tuple { source: address, destination: address, layer4: Layer4::Other }
}

pub(crate) fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, data)| data)
}

/// Reads a tuple and its protocol.
pub(crate) fn tuple(bytes: &[u8]) -> Option<(u8, Tuple)> {
    let (mut source, mut destination) = (None, None);
    for (kind, data) in attributes(find(bytes, CTA_TUPLE_IP)?) {
        match kind {
            CTA_IP_V4_SRC | CTA_IP_V6_SRC => source = address(data),
            CTA_IP_V4_DST | CTA_IP_V6_DST => destination = address(data),
            _ => {}
        }
    }
    let mut protocol = None;
    let (mut from, mut to) = (None, None);
    let (mut id, mut icmp_kind, mut code) = (None, None, None);
    for (kind, data) in attributes(find(bytes, CTA_TUPLE_PROTO)?) {
        match kind {
            CTA_PROTO_NUM => protocol = data.first().copied(),
            CTA_PROTO_SRC_PORT => from = u16_be(data),
            CTA_PROTO_DST_PORT => to = u16_be(data),
            CTA_PROTO_ICMP_ID | CTA_PROTO_ICMPV6_ID => id = u16_be(data),
            CTA_PROTO_ICMP_TYPE | CTA_PROTO_ICMPV6_TYPE => icmp_kind = data.first().copied(),
            CTA_PROTO_ICMP_CODE | CTA_PROTO_ICMPV6_CODE => code = data.first().copied(),
            _ => {}
        }
    }
    let layer4 = match (from, to, icmp_kind, code) {
        (Some(source), Some(destination), _, _) => Layer4::Ports { source, destination },
        (_, _, Some(kind), Some(code)) => Layer4::Icmp { kind, code, id: id.unwrap_or(0) },
        _ => Layer4::Other,
    };
    Some((protocol?, Tuple { source: source?, destination: destination?, layer4 }))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => bytes.first_chunk::<4>().map(|b| Ipv4Addr::from(*b).into()),
        16 => bytes.first_chunk::<16>().map(|b| Ipv6Addr::from(*b).into()),
        _ => None,
    }
}

/// Reads the state of a TCP connection from `CTA_PROTOINFO`.
pub(crate) fn tcp(bytes: &[u8]) -> Option<Tcp> {
    let mut tcp = Tcp { state: TcpState::None, window_scale: [0; 2], flags: [0; 2] };
    for (kind, data) in attributes(find(bytes, CTA_PROTOINFO_TCP)?) {
        let value = *data.first()?;
        match kind {
            CTA_PROTOINFO_TCP_STATE => tcp.state = TcpState::from_number(value),
            CTA_PROTOINFO_TCP_WSCALE_ORIGINAL => tcp.window_scale[0] = value,
            CTA_PROTOINFO_TCP_WSCALE_REPLY => tcp.window_scale[1] = value,
            CTA_PROTOINFO_TCP_FLAGS_ORIGINAL => tcp.flags[0] = value,
            CTA_PROTOINFO_TCP_FLAGS_REPLY => tcp.flags[1] = value,
            _ => {}
        }
    }
    Some(tcp)
}

fn helper(bytes: &[u8]) -> Option<String> {
    let name = find(bytes, CTA_HELP_NAME)?;
    let name = name.split(|b| *b == 0).next().unwrap_or(name);
    Some(String::from_utf8_lossy(name).into_owned())
}

fn traffic(bytes: &[u8]) -> Option<Traffic> {
    let number = |kind| find(bytes, kind).and_then(u64_be);
    Some(Traffic { packets: number(CTA_COUNTERS_PACKETS)?, bytes: number(CTA_COUNTERS_BYTES)? })
}

impl TcpState {
    /// The kernel's number.
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::SynSent => 1,
            Self::SynReceived => 2,
            Self::Established => 3,
            Self::FinWait => 4,
            Self::CloseWait => 5,
            Self::LastAck => 6,
            Self::TimeWait => 7,
            Self::Close => 8,
            Self::SynSent2 => 9,
            Self::Other(number) => number,
        }
    }

    /// The state with the kernel's number.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::CloseWait,
            6 => Self::LastAck,
            7 => Self::TimeWait,
            8 => Self::Close,
            9 => Self::SynSent2,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::messages;

    fn addresses() -> impl Strategy<Value = (Family, IpAddr, IpAddr)> {
        prop_oneof![
            any::<[[u8; 4]; 2]>().prop_map(|[a, b]| (Family::V4, a.into(), b.into())),
            any::<[[u8; 16]; 2]>().prop_map(|[a, b]| (Family::V6, a.into(), b.into())),
        ]
    }

    fn connections() -> impl Strategy<Value = Connection> {
        let layer4 = prop_oneof![
            any::<(u16, u16)>().prop_map(|(source, destination)| Layer4::Ports { source, destination }),
            any::<(u8, u8, u16)>().prop_map(|(kind, code, id)| Layer4::Icmp { kind, code, id }),
            Just(Layer4::Other),
        ];
        let tcp =
            proptest::option::of(any::<(u8, [u8; 2], [u8; 2])>().prop_map(|(state, window_scale, flags)| {
                Tcp { state: TcpState::from_number(state), window_scale, flags }
            }));
        (addresses(), layer4, any::<(u8, u32, u16, u32)>(), tcp, proptest::option::of("[a-z]{1,15}"))
            .prop_map(
                |((family, source, destination), layer4, (protocol, mark, zone, timeout_s), tcp, helper)| {
                    let original = Tuple { source, destination, layer4 };
                    let mut c = Connection {
                        id: 0,
                        family,
                        protocol,
                        original,
                        reply: original,
                        status: Status(Status::CONFIRMED | Status::ASSURED),
                        mark,
                        zone,
                        timeout_s,
                        tcp,
                        sent: None,
                        received: None,
                        started_ns: None,
                        helper,
                    };
                    c.reply = invert(&c.original);
                    c
                },
            )
    }

    proptest! {
        /// A connection without translation in; the message that creates it, read back, must be the same.
        #[test]
        fn what_is_created_is_what_is_read(c in connections()) {
            let bytes = create(&c).finish(1);
            let raw = messages(&bytes).next().expect("a message");
            prop_assert_eq!(decode(raw.payload), Some(c));
        }

        /// Whatever bytes arrive, reading them never panics.
        #[test]
        fn any_bytes_can_be_read(mut bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            if let Some(first) = bytes.first_mut() { *first = 2; }
            let _ = decode(&bytes);
            let _ = decode_usage(&bytes);
        }
    }
}
