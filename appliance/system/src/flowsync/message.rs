//! ctnetlink messages (`linux/netfilter/nfnetlink_conntrack.h`): bytes of the kernel to records and back, in buffers
//! that are used again. Tuples, translation and TCP are shared with [`crate::conntrack`].
//!
//! ```text
//! flow         TUPLE_ORIG TUPLE_REPLY STATUS TIMEOUT PROTOINFO MARK LABELS HELP ZONE SEQ_ADJ_* SYNPROXY TUPLE_MASTER
//! to create    the same, but TUPLE_REPLY is the inverse of TUPLE_ORIG, and NAT_SRC NAT_DST say what it becomes
//! to update    TUPLE_REPLY (which entry), then what may change
//! expectation  EXPECT_{ MASTER TUPLE MASK TIMEOUT FLAGS CLASS HELP_NAME ZONE FN NAT { DIR TUPLE } }
//! ```
//!
//! **Why the inverse.** The kernel translates packets by status bits which it sets while it changes the reply tuple
//! itself, as it is told by `CTA_NAT_*`; given the final reply tuple it finds nothing to change and forwards packets as
//! they are, although every listing looks right.
//!
//! **Why an update names the entry by its reply tuple.** The kernel looks at one tuple only and ignores the other. The
//! reply is what an update cannot change; so an entry with the same original tuple but another translation is not
//! found, and the writer replaces it, instead of going on with a translation that the other node does not have.

use nix::errno::Errno;
use nix::libc;
use rempart_config::space::Family;

use super::record::{
    Expectation, Flow, Identity, Name, ProtocolState, Record, Sctp, SequenceAdjustment, Synproxy, Zone,
    ZoneScope,
};
use crate::conntrack::codec::{
    CTA_HELP, CTA_HELP_NAME, CTA_MARK, CTA_PROTOINFO, CTA_STATUS, CTA_TIMEOUT, CTA_TUPLE_ORIG,
    CTA_TUPLE_REPLY, CTA_TUPLE_ZONE, CTA_ZONE, IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_NEW,
    NFNL_SUBSYS_CTNETLINK, SETTABLE_TCP_FLAGS, find, invert, put_tcp, put_translation, put_tuple, tcp, tuple,
};
use crate::conntrack::{Status, Tcp, TcpState, Tuple};
use crate::netlink::{Message, NFGEN, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, Raw, attributes, u16_be, u32_be};

const NFNL_SUBSYS_CTNETLINK_EXP: u8 = 2;

const CTA_TUPLE_MASTER: u16 = 14;
const CTA_SEQ_ADJ_ORIG: u16 = 15;
const CTA_SEQ_ADJ_REPLY: u16 = 16;
const CTA_LABELS: u16 = 22;
const CTA_SYNPROXY: u16 = 24;

const CTA_PROTOINFO_SCTP: u16 = 3;
const CTA_PROTOINFO_SCTP_STATE: u16 = 1;
const CTA_PROTOINFO_SCTP_VTAG_ORIGINAL: u16 = 2;
const CTA_PROTOINFO_SCTP_VTAG_REPLY: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;

const CTA_SEQADJ_CORRECTION_POS: u16 = 1;
const CTA_SEQADJ_OFFSET_BEFORE: u16 = 2;
const CTA_SEQADJ_OFFSET_AFTER: u16 = 3;

const CTA_SYNPROXY_ISN: u16 = 1;
const CTA_SYNPROXY_ITS: u16 = 2;
const CTA_SYNPROXY_TSOFF: u16 = 3;

const CTA_EXPECT_MASTER: u16 = 1;
const CTA_EXPECT_TUPLE: u16 = 2;
const CTA_EXPECT_MASK: u16 = 3;
const CTA_EXPECT_TIMEOUT: u16 = 4;
const CTA_EXPECT_HELP_NAME: u16 = 6;
const CTA_EXPECT_ZONE: u16 = 7;
const CTA_EXPECT_FLAGS: u16 = 8;
const CTA_EXPECT_CLASS: u16 = 9;
const CTA_EXPECT_NAT: u16 = 10;
const CTA_EXPECT_FN: u16 = 11;
const CTA_EXPECT_NAT_DIR: u16 = 1;
const CTA_EXPECT_NAT_TUPLE: u16 = 2;

/// `IP_CT_TCP_FLAG_WINDOW_SCALE`: the side has offered a window scale.
const TCP_WINDOW_SCALE: u8 = 0x01;
/// `IP_CT_TCP_FLAG_CLOSE_INIT`: one side has closed, so that a new SYN may open the tuple again.
const TCP_CLOSE_INIT: u8 = 0x04;
/// `IPS_SEQ_ADJUST`.
const STATUS_SEQUENCE_ADJUSTED: u32 = 1 << 6;

/// `NF_CT_EXPECT_USERSPACE`, which the kernel takes from nobody.
const EXPECT_USERSPACE: u32 = 4;
/// `IPS_FIXED_TIMEOUT`: packets do not change when the entry is forgotten.
pub(super) const STATUS_FIXED_TIMEOUT: u32 = 1 << 10;
/// How long a GRE entry that we made lives, in seconds, however much it is used: a day.
///
/// The kernel keeps the timeouts of GRE in the entry and sets them at its first packet (`gre_packet`). An entry from
/// outside never has a first packet, so its next one would set the timeout to zero and end the connection. A fixed timeout
/// prevents that, at the price that the entry ends a day after it was last written; then the next packet makes a new one
/// if the policy admits it. It is a day on a standby too, because nothing shortens it after a take-over; the standby
/// misses it when it reads its kernel the next time, and is sent it again.
const GRE_TIMEOUT_S: u32 = 86_400;

/// What a message says.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::large_enum_variant, reason = "made for each message and used at once")]
pub(super) enum Said {
    /// An entry is there; `whole` unless the kernel left out something that it has.
    Put { record: Record, new: bool, left_out: LeftOut },
    /// An entry is gone.
    Gone(Identity),
}

/// What an event did not say. The kernel puts into an update only what has changed (`ctnetlink_conntrack_event`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct LeftOut {
    /// Something that the entry certainly has.
    pub(super) needed: bool,
    /// The labels, which it may have.
    pub(super) labels: bool,
    /// The data of the SYN proxy, which it may have.
    pub(super) synproxy: bool,
}

/// Reads a message of either subsystem. `None`: not one of ours, or damaged.
pub(super) fn read(raw: &Raw<'_>) -> Option<Said> {
    let [subsystem, kind] = raw.kind.to_be_bytes();
    let new = raw.flags & NLM_F_CREATE != 0;
    match (subsystem, kind) {
        (NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW) => {
            let (flow, left_out) = flow(raw.payload)?;
            Some(Said::Put { record: Record::Flow(flow), new, left_out })
        }
        (NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE) => Some(Said::Gone(flow_identity(raw.payload)?)),
        (NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_CT_NEW) => {
            let record = Record::Expectation(expectation(raw.payload)?);
            Some(Said::Put { record, new, left_out: LeftOut::default() })
        }
        (NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_CT_DELETE) => {
            Some(Said::Gone(expectation(raw.payload)?.identity()))
        }
        _ => None,
    }
}

fn family(payload: &[u8]) -> Option<Family> {
    match i32::from(*payload.first()?) {
        libc::AF_INET => Some(Family::V4),
        libc::AF_INET6 => Some(Family::V6),
        _ => None,
    }
}

fn is_of(family: Family, tuple: &Tuple) -> bool {
    Family::of(tuple.source) == family && Family::of(tuple.destination) == family
}

/// Reads a connection.
pub(super) fn flow(payload: &[u8]) -> Option<(Flow, LeftOut)> {
    let family = family(payload)?;
    let (mut original, mut reply) = (None, None);
    let (mut zone, mut status, mut timeout_s, mut mark) = (Zone::default(), 0, 0, 0);
    let (mut state, mut labels, mut helper, mut synproxy, mut master) = (None, None, None, None, None);
    let mut adjustments = [None; 2];
    for (kind, data) in attributes(payload.get(NFGEN..)?) {
        match kind {
            CTA_TUPLE_ORIG => {
                original = Some(tuple(data)?);
                zone_of_tuple(data, ZoneScope::Original, &mut zone);
            }
            CTA_TUPLE_REPLY => {
                reply = Some(tuple(data)?);
                zone_of_tuple(data, ZoneScope::Reply, &mut zone);
            }
            CTA_STATUS => status = u32_be(data)?,
            CTA_PROTOINFO => state = protocol_state(data),
            CTA_HELP => helper = find(data, CTA_HELP_NAME).and_then(name),
            CTA_TIMEOUT => timeout_s = u32_be(data)?,
            CTA_MARK => mark = u32_be(data)?,
            CTA_ZONE => zone = Zone { id: u16_be(data)?, scope: ZoneScope::Both },
            CTA_TUPLE_MASTER => master = Some(tuple(data)?),
            CTA_SEQ_ADJ_ORIG => adjustments[0] = Some(adjustment(data)?),
            CTA_SEQ_ADJ_REPLY => adjustments[1] = Some(adjustment(data)?),
            CTA_LABELS => labels = Some(read_labels(data)),
            CTA_SYNPROXY => synproxy = Some(read_synproxy(data)?),
            _ => {}
        }
    }
    let (protocol, original) = original?;
    let (_, reply) = reply?;
    if !(is_of(family, &original) && is_of(family, &reply)) {
        return None;
    }
    let has_state = [libc::IPPROTO_TCP, libc::IPPROTO_SCTP].contains(&i32::from(protocol));
    let adjusted = status & STATUS_SEQUENCE_ADJUSTED != 0;
    let left_out = LeftOut {
        needed: has_state && state.is_none()
            || status & Status::EXPECTED != 0 && master.is_none()
            || adjusted && adjustments[0].is_none(),
        labels: labels.is_none(),
        synproxy: synproxy.is_none() && i32::from(protocol) == libc::IPPROTO_TCP,
    };
    let flow = Flow {
        protocol,
        original,
        reply,
        zone,
        status: Status(status),
        timeout_s,
        state: state.unwrap_or_default(),
        mark,
        labels: labels.unwrap_or_default(),
        helper,
        adjustments: adjustments[0].zip(adjustments[1]).map(|(a, b)| [a, b]),
        // An entry that ctnetlink made always has room for a SYN proxy, filled with zeros.
        synproxy: synproxy.filter(|s| *s != Synproxy::default()),
        master: master.filter(|(_, tuple)| is_of(family, tuple)),
    };
    Some((flow, left_out))
}

fn flow_identity(payload: &[u8]) -> Option<Identity> {
    let family = family(payload)?;
    let mut zone = Zone::default();
    let mut original = None;
    for (kind, data) in attributes(payload.get(NFGEN..)?) {
        match kind {
            CTA_TUPLE_ORIG => {
                original = Some(tuple(data)?);
                zone_of_tuple(data, ZoneScope::Original, &mut zone);
            }
            CTA_TUPLE_REPLY => zone_of_tuple(data, ZoneScope::Reply, &mut zone),
            CTA_ZONE => zone = Zone { id: u16_be(data)?, scope: ZoneScope::Both },
            _ => {}
        }
    }
    let (protocol, original) = original.filter(|(_, tuple)| is_of(family, tuple))?;
    Some(Identity::Flow { protocol, original, zone })
}

fn zone_of_tuple(data: &[u8], scope: ZoneScope, zone: &mut Zone) {
    if let Some(id) = find(data, CTA_TUPLE_ZONE).and_then(u16_be) {
        *zone = Zone { id, scope };
    }
}

fn protocol_state(data: &[u8]) -> Option<ProtocolState> {
    let (kind, inner) = attributes(data).next()?;
    match kind {
        CTA_PROTOINFO_TCP => tcp(data).map(|tcp| ProtocolState::Tcp(canonical(tcp))),
        CTA_PROTOINFO_SCTP => {
            let state = *find(inner, CTA_PROTOINFO_SCTP_STATE)?.first()?;
            let tag = |kind| find(inner, kind).and_then(u32_be);
            let tags = [tag(CTA_PROTOINFO_SCTP_VTAG_ORIGINAL)?, tag(CTA_PROTOINFO_SCTP_VTAG_REPLY)?];
            Some(ProtocolState::Sctp(Sctp { state, tags }))
        }
        _ => None,
    }
}

/// What of a TCP state means the same in another kernel, so that an entry and its copy read alike.
pub(super) fn canonical(mut tcp: Tcp) -> Tcp {
    tcp.flags = tcp.flags.map(|flags| flags & SETTABLE_TCP_FLAGS);
    match tcp.state {
        // The answer, which has not come yet, says these.
        TcpState::SynSent => (tcp.flags[1], tcp.window_scale[1]) = (0, 0),
        TcpState::TimeWait | TcpState::Close if (tcp.flags[0] | tcp.flags[1]) & TCP_CLOSE_INIT == 0 => {
            tcp.flags[0] |= TCP_CLOSE_INIT;
        }
        TcpState::TimeWait
        | TcpState::Close
        | TcpState::None
        | TcpState::SynReceived
        | TcpState::Established
        | TcpState::FinWait
        | TcpState::CloseWait
        | TcpState::LastAck
        | TcpState::SynSent2
        | TcpState::Other(_) => {}
    }
    tcp
}

fn adjustment(data: &[u8]) -> Option<SequenceAdjustment> {
    let number = |kind| find(data, kind).and_then(u32_be);
    Some(SequenceAdjustment {
        position: number(CTA_SEQADJ_CORRECTION_POS)?,
        before: number(CTA_SEQADJ_OFFSET_BEFORE)?,
        after: number(CTA_SEQADJ_OFFSET_AFTER)?,
    })
}

fn read_synproxy(data: &[u8]) -> Option<Synproxy> {
    let number = |kind| find(data, kind).and_then(u32_be);
    Some(Synproxy {
        sequence: number(CTA_SYNPROXY_ISN)?,
        timestamp: number(CTA_SYNPROXY_ITS)?,
        offset: number(CTA_SYNPROXY_TSOFF)?,
    })
}

fn read_labels(data: &[u8]) -> [u8; 16] {
    let mut labels = [0; 16];
    for (to, from) in labels.iter_mut().zip(data) {
        *to = *from;
    }
    labels
}

fn name(data: &[u8]) -> Option<Name> {
    Name::new(data.split(|b| *b == 0).next()?)
}

fn expectation(payload: &[u8]) -> Option<Expectation> {
    let family = family(payload)?;
    let (mut expected, mut mask, mut master) = (None, None, None);
    let (mut zone, mut timeout_s, mut flags, mut class) = (Zone::default(), 0, 0, 0);
    let (mut helper, mut function, mut nat) = (None, None, None);
    for (kind, data) in attributes(payload.get(NFGEN..)?) {
        match kind {
            CTA_EXPECT_MASTER => master = Some(tuple(data)?),
            CTA_EXPECT_TUPLE => expected = Some(tuple(data)?),
            CTA_EXPECT_MASK => mask = Some(tuple(data)?),
            CTA_EXPECT_TIMEOUT => timeout_s = u32_be(data)?,
            CTA_EXPECT_HELP_NAME => helper = name(data),
            CTA_EXPECT_ZONE => zone = Zone { id: u16_be(data)?, scope: ZoneScope::Both },
            CTA_EXPECT_FLAGS => flags = u32_be(data)? & !EXPECT_USERSPACE,
            CTA_EXPECT_CLASS => class = u32_be(data)?,
            CTA_EXPECT_FN => function = name(data),
            CTA_EXPECT_NAT => {
                let direction = find(data, CTA_EXPECT_NAT_DIR).and_then(u32_be)?;
                let (protocol, tuple) = tuple(find(data, CTA_EXPECT_NAT_TUPLE)?)?;
                nat = Some((direction, protocol, tuple));
            }
            _ => {}
        }
    }
    let (protocol, tuple) = expected.filter(|(_, t)| is_of(family, t))?;
    let (_, mask) = mask.filter(|(_, t)| is_of(family, t))?;
    let master = master.filter(|(_, t)| is_of(family, t))?;
    let nat = nat.filter(|(_, _, t)| is_of(family, t));
    Some(Expectation { protocol, tuple, mask, master, zone, timeout_s, flags, class, helper, function, nat })
}

/// What is left out of a message because this kernel cannot have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Parts {
    pub(super) helper: bool,
    pub(super) master: bool,
}

impl Parts {
    pub(super) const ALL: Self = Self { helper: true, master: true };

    /// What is left for another attempt after the kernel has refused `flow`: it lacks the master, or the helper. `None`
    /// when nothing could be given up for that.
    pub(super) fn given_up(self, flow: &Flow, why: Errno) -> Option<Self> {
        match why {
            Errno::ENOENT if flow.master.is_some() && self.master => Some(Self { master: false, ..self }),
            Errno::EOPNOTSUPP if flow.helper.is_some() && self.helper => Some(Self { helper: false, ..self }),
            _ => None,
        }
    }
}

/// What an update may say beyond what every entry has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scope {
    /// Whether the entry has a master here: the kernel takes a status without this bit for an attempt to clear it.
    pub(super) expected: bool,
    /// Whether labels of zero are written too. The kernel has no room for them unless a rule sets labels.
    pub(super) labels: bool,
}

/// Appends a message that makes `flow`, which must not be there.
pub(super) fn create(bytes: Vec<u8>, flow: &Flow, timeout_s: u32, parts: Parts, sequence: u32) -> Vec<u8> {
    let mut message =
        head(bytes, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL, flow.family());
    put_flow_tuple(&mut message, CTA_TUPLE_ORIG, flow.protocol, &flow.original, flow.zone);
    let plain = invert(&flow.original);
    put_flow_tuple(&mut message, CTA_TUPLE_REPLY, flow.protocol, &plain, flow.zone);
    put_zone(&mut message, CTA_ZONE, flow.zone);
    put_translation(&mut message, &plain, &flow.reply);
    put_content(&mut message, flow, timeout_s, false);
    if let (Some(name), true) = (&flow.helper, parts.helper) {
        let nest = message.open(CTA_HELP);
        put_name(&mut message, CTA_HELP_NAME, name);
        message.close(nest);
    }
    if flow.labels != [0; 16] {
        message.attr(CTA_LABELS, &flow.labels);
    }
    if let (Some((protocol, master)), true) = (&flow.master, parts.master) {
        put_tuple(&mut message, CTA_TUPLE_MASTER, *protocol, master, None);
    }
    message.finish(sequence)
}

/// Appends a message that brings an entry with the tuples of `flow` up to date.
pub(super) fn update(bytes: Vec<u8>, flow: &Flow, timeout_s: u32, scope: Scope, sequence: u32) -> Vec<u8> {
    let mut message = head(bytes, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW, 0, flow.family());
    put_flow_tuple(&mut message, CTA_TUPLE_REPLY, flow.protocol, &flow.reply, flow.zone);
    put_zone(&mut message, CTA_ZONE, flow.zone);
    put_content(&mut message, flow, timeout_s, scope.expected);
    // Last, because the kernel does what comes first even if it has no room for labels.
    if scope.labels || flow.labels != [0; 16] {
        message.attr(CTA_LABELS, &flow.labels);
    }
    message.finish(sequence)
}

fn put_content(message: &mut Message, flow: &Flow, timeout_s: u32, expected: bool) {
    let expected = if expected { Status::EXPECTED } else { 0 };
    let (fixed, timeout_s) = match i32::from(flow.protocol) {
        libc::IPPROTO_GRE => (STATUS_FIXED_TIMEOUT, GRE_TIMEOUT_S),
        _ => (0, timeout_s),
    };
    let status = flow.status.0 & Flow::REPLICATED_STATUS | Status::CONFIRMED | expected | fixed;
    message.attr(CTA_STATUS, &status.to_be_bytes());
    message.attr(CTA_TIMEOUT, &timeout_s.to_be_bytes());
    message.attr(CTA_MARK, &flow.mark.to_be_bytes());
    match flow.state {
        ProtocolState::None => {}
        ProtocolState::Tcp(tcp) => {
            let mut tcp = canonical(tcp);
            if tcp.state == TcpState::SynSent && tcp.flags[0] & TCP_WINDOW_SCALE != 0 {
                // The kernel takes a window scale only when both sides have one; the answer will set the flag right.
                // (It takes an answer without a repeated SYN for invalid in half of the cases, as it knows no sequence
                // number; the client repeats its SYN after a second. Only `BE_LIBERAL` would save that second, at the price
                // of the window checks for as long as the connection lives.)
                tcp.flags[1] |= TCP_WINDOW_SCALE;
            }
            put_tcp(message, &tcp);
        }
        ProtocolState::Sctp(sctp) => {
            let outer = message.open(CTA_PROTOINFO);
            let inner = message.open(CTA_PROTOINFO_SCTP);
            message.attr(CTA_PROTOINFO_SCTP_STATE, &[sctp.state]);
            message.attr(CTA_PROTOINFO_SCTP_VTAG_ORIGINAL, &sctp.tags[0].to_be_bytes());
            message.attr(CTA_PROTOINFO_SCTP_VTAG_REPLY, &sctp.tags[1].to_be_bytes());
            message.close(inner).close(outer);
        }
    }
    if let Some(adjustments) = &flow.adjustments {
        for (kind, adjustment) in [CTA_SEQ_ADJ_ORIG, CTA_SEQ_ADJ_REPLY].into_iter().zip(adjustments) {
            let nest = message.open(kind);
            message.attr(CTA_SEQADJ_CORRECTION_POS, &adjustment.position.to_be_bytes());
            message.attr(CTA_SEQADJ_OFFSET_BEFORE, &adjustment.before.to_be_bytes());
            message.attr(CTA_SEQADJ_OFFSET_AFTER, &adjustment.after.to_be_bytes());
            message.close(nest);
        }
    }
    if let Some(synproxy) = &flow.synproxy {
        let nest = message.open(CTA_SYNPROXY);
        message.attr(CTA_SYNPROXY_ISN, &synproxy.sequence.to_be_bytes());
        message.attr(CTA_SYNPROXY_ITS, &synproxy.timestamp.to_be_bytes());
        message.attr(CTA_SYNPROXY_TSOFF, &synproxy.offset.to_be_bytes());
        message.close(nest);
    }
}

/// Appends a message that makes an expectation, or changes the timeout of one that is there.
///
/// The kernel gives a new one the timeout of its helper's policy, whatever it is told, so the timeout takes a
/// [`update_expectation`] after it.
pub(super) fn create_expectation(bytes: Vec<u8>, e: &Expectation, timeout_s: u32, sequence: u32) -> Vec<u8> {
    put_expectation(bytes, e, timeout_s, NLM_F_CREATE, sequence)
}

/// Appends a message that changes the timeout of an expectation.
pub(super) fn update_expectation(bytes: Vec<u8>, e: &Expectation, timeout_s: u32, sequence: u32) -> Vec<u8> {
    put_expectation(bytes, e, timeout_s, 0, sequence)
}

fn put_expectation(bytes: Vec<u8>, e: &Expectation, timeout_s: u32, flags: u16, sequence: u32) -> Vec<u8> {
    let family = Family::of(e.tuple.source);
    let mut message = head(bytes, NFNL_SUBSYS_CTNETLINK_EXP, IPCTNL_MSG_CT_NEW, flags, family);
    put_tuple(&mut message, CTA_EXPECT_MASTER, e.master.0, &e.master.1, None);
    put_tuple(&mut message, CTA_EXPECT_TUPLE, e.protocol, &e.tuple, None);
    put_tuple(&mut message, CTA_EXPECT_MASK, e.protocol, &e.mask, None);
    put_zone(&mut message, CTA_EXPECT_ZONE, e.zone);
    message.attr(CTA_EXPECT_TIMEOUT, &timeout_s.to_be_bytes());
    message.attr(CTA_EXPECT_FLAGS, &e.flags.to_be_bytes());
    message.attr(CTA_EXPECT_CLASS, &e.class.to_be_bytes());
    if let Some(helper) = &e.helper {
        put_name(&mut message, CTA_EXPECT_HELP_NAME, helper);
    }
    if let Some(function) = &e.function {
        put_name(&mut message, CTA_EXPECT_FN, function);
    }
    if let Some((direction, protocol, tuple)) = &e.nat {
        let nest = message.open(CTA_EXPECT_NAT);
        message.attr(CTA_EXPECT_NAT_DIR, &direction.to_be_bytes());
        put_tuple(&mut message, CTA_EXPECT_NAT_TUPLE, *protocol, tuple, None);
        message.close(nest);
    }
    message.finish(sequence)
}

/// Appends a message that removes an entry.
pub(super) fn delete(bytes: Vec<u8>, identity: &Identity, sequence: u32) -> Vec<u8> {
    by_identity(bytes, IPCTNL_MSG_CT_DELETE, identity).finish(sequence)
}

/// Appends a message that asks for an entry.
pub(super) fn get(bytes: Vec<u8>, identity: &Identity, sequence: u32) -> Vec<u8> {
    by_identity(bytes, IPCTNL_MSG_CT_GET, identity).finish(sequence)
}

/// Appends a message that asks for the connection that has the reply tuple of `flow`.
pub(super) fn get_by_reply(bytes: Vec<u8>, flow: &Flow, sequence: u32) -> Vec<u8> {
    let mut message = head(bytes, NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, 0, flow.family());
    put_flow_tuple(&mut message, CTA_TUPLE_REPLY, flow.protocol, &flow.reply, flow.zone);
    put_zone(&mut message, CTA_ZONE, flow.zone);
    message.finish(sequence)
}

/// Appends a message that changes the timeout of a connection.
pub(super) fn set_timeout(bytes: Vec<u8>, identity: &Identity, seconds: u32, sequence: u32) -> Vec<u8> {
    let mut message = by_identity(bytes, IPCTNL_MSG_CT_NEW, identity);
    message.attr(CTA_TIMEOUT, &seconds.to_be_bytes());
    message.finish(sequence)
}

/// A message that asks for all connections, or all expectations, of both families.
pub(super) fn dump(expectations: bool, sequence: u32) -> Vec<u8> {
    let subsystem = if expectations { NFNL_SUBSYS_CTNETLINK_EXP } else { NFNL_SUBSYS_CTNETLINK };
    let family = libc::AF_UNSPEC as u8;
    Message::netfilter(subsystem, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family, 0).finish(sequence)
}

fn by_identity(bytes: Vec<u8>, kind: u8, identity: &Identity) -> Message {
    match identity {
        Identity::Flow { protocol, original, zone } => {
            let mut message = head(bytes, NFNL_SUBSYS_CTNETLINK, kind, 0, identity.family());
            put_flow_tuple(&mut message, CTA_TUPLE_ORIG, *protocol, original, *zone);
            put_zone(&mut message, CTA_ZONE, *zone);
            message
        }
        Identity::Expectation { protocol, tuple, zone, mask: _ } => {
            let mut message = head(bytes, NFNL_SUBSYS_CTNETLINK_EXP, kind, 0, identity.family());
            put_tuple(&mut message, CTA_EXPECT_TUPLE, *protocol, tuple, None);
            put_zone(&mut message, CTA_EXPECT_ZONE, *zone);
            message
        }
    }
}

fn head(bytes: Vec<u8>, subsystem: u8, kind: u8, flags: u16, family: Family) -> Message {
    let family = match family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    Message::netfilter_after(bytes, subsystem, kind, flags, family as u8, 0)
}

/// A tuple of a connection, with the zone if it is that of this tuple alone.
fn put_flow_tuple(message: &mut Message, kind: u16, protocol: u8, tuple: &Tuple, zone: Zone) {
    let own = match zone.scope {
        ZoneScope::Both => false,
        ZoneScope::Original => kind == CTA_TUPLE_ORIG,
        ZoneScope::Reply => kind == CTA_TUPLE_REPLY,
    };
    put_tuple(message, kind, protocol, tuple, own.then_some(zone.id));
}

fn put_zone(message: &mut Message, kind: u16, zone: Zone) {
    if zone.scope == ZoneScope::Both && zone.id != 0 {
        message.attr(kind, &zone.id.to_be_bytes());
    }
}

fn put_name(message: &mut Message, kind: u16, name: &Name) {
    let mut bytes = [0; Name::MAX + 1];
    let text = name.as_bytes();
    bytes[..text.len()].copy_from_slice(text);
    message.attr(kind, &bytes[..=text.len()]);
}
