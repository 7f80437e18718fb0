//! Connections written into a router's table through ctnetlink: TCP, established, with their source translated, as
//! many as a busy router has. No packet of theirs ever comes.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, setsockopt,
    socket, sockopt,
};

use crate::Host;
use crate::process::{output_within, succeeded};

/// Ports of one address that are used, from [`FIRST_PORT`].
const PORTS: u32 = 50_000;
const FIRST_PORT: u16 = 10_000;
/// What they lead to: addresses that nobody has (RFC 2544), one for each [`PORTS`] connections.
const FIRST_SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const SERVER_PORT: u16 = 443;
/// Seconds, so that none expires in a test.
const TIMEOUT_SECS: u32 = 100_000;
/// Messages of one system call.
const BATCH: u32 = 64;
/// The most that can be asked for: the kernel's own default limit for the whole table.
pub const MAX_STATES: u32 = 1 << 22;
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

// linux/netlink.h, linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h, nf_conntrack_common.h
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
const CT_NEW: u16 = 1 << 8;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_NAT_SRC: u16 = 6;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
/// IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED.
const STATUS: u32 = 2 | 4 | 8;
const TCP_ESTABLISHED: u8 = 3;
/// IP_CT_TCP_FLAG_BE_LIBERAL as value and mask: no window is known.
const LIBERAL: [u8; 2] = [8, 8];

/// The connections to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct States {
    /// How many.
    pub count: u32,
    /// How many there are already from an earlier call.
    pub skip: u32,
    /// The client.
    pub client: Ipv4Addr,
    /// The address that it is translated to.
    pub translated: Ipv4Addr,
    /// The connection mark.
    pub mark: u32,
}

pub(crate) fn add(host: &Host, states: &States) -> Result<()> {
    let mut tool = host.tool()?;
    tool.args(["states", "--count", &states.count.to_string(), "--skip", &states.skip.to_string()]);
    tool.args(["--client", &states.client.to_string(), "--translated", &states.translated.to_string()]);
    tool.args(["--mark", &states.mark.to_string()]);
    succeeded(output_within(tool, RUN_TIMEOUT)?, "writing connections")?;
    Ok(())
}

/// Writes them into the table of the namespace that this process is in.
pub fn write(states: States) -> Result<()> {
    if states.count.saturating_add(states.skip) > MAX_STATES {
        bail!("at most {MAX_STATES} connections");
    }
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        Some(SockProtocol::NetlinkNetFilter),
    )
    .context("a netlink socket")?;
    // The answers of one batch, each with the message that it is about.
    setsockopt(&netlink, sockopt::RcvBuf, &(1 << 20))?;
    connect(netlink.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let end = states.skip + states.count;
    let mut batch = Vec::with_capacity(1 << 15);
    for first in (states.skip..end).step_by(BATCH as usize) {
        batch.clear();
        let last = end.min(first + BATCH) - 1;
        for number in first..=last {
            message(&mut batch, &states, number, number == last);
        }
        send(netlink.as_raw_fd(), &batch, MsgFlags::empty()).context("ctnetlink")?;
        await_answer(&netlink, last)?;
    }
    Ok(())
}

/// Reads until the message with this number is acknowledged. The first refusal ends it.
fn await_answer(netlink: &OwnedFd, last: u32) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = recv(netlink.as_raw_fd(), &mut buffer, MsgFlags::empty()).context("ctnetlink")?;
        let mut rest = &buffer[..len];
        while rest.len() >= 20 {
            let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().expect("four bytes"));
            let (size, number, code) = (word(0) as usize, word(8), word(16) as i32);
            if u16::from_ne_bytes([rest[4], rest[5]]) == NLMSG_ERROR {
                if code != 0 {
                    bail!("connection {number}: {}", Errno::from_raw(-code));
                }
                if number == last {
                    return Ok(());
                }
            }
            rest = rest.get(size.next_multiple_of(4).max(16)..).unwrap_or_default();
        }
    }
}

fn message(out: &mut Vec<u8>, states: &States, number: u32, answer: bool) {
    let server = Ipv4Addr::from(u32::from(FIRST_SERVER) + number / PORTS);
    let port = FIRST_PORT + (number % PORTS) as u16;
    let flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | if answer { NLM_F_ACK } else { 0 };
    let start = out.len();
    out.extend([0; 4]);
    out.extend(CT_NEW.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(number.to_ne_bytes());
    out.extend([0; 4]);
    // struct nfgenmsg: family, version 0, resource 0.
    out.extend([AF_INET, 0, 0, 0]);
    // The plain inverse as the reply: the kernel translates it itself from CTA_NAT_SRC.
    tuple(out, CTA_TUPLE_ORIG, (states.client, port), (server, SERVER_PORT));
    tuple(out, CTA_TUPLE_REPLY, (server, SERVER_PORT), (states.client, port));
    attribute(out, CTA_STATUS, &STATUS.to_be_bytes());
    nested(out, CTA_PROTOINFO, |out| {
        nested(out, 1, |out| {
            attribute(out, 1, &[TCP_ESTABLISHED]);
            attribute(out, 4, &LIBERAL);
            attribute(out, 5, &LIBERAL);
        });
    });
    nested(out, CTA_NAT_SRC, |out| {
        attribute(out, 1, &states.translated.octets());
        attribute(out, 2, &states.translated.octets());
        nested(out, 3, |out| {
            attribute(out, 1, &port.to_be_bytes());
            attribute(out, 2, &port.to_be_bytes());
        });
    });
    attribute(out, CTA_TIMEOUT, &TIMEOUT_SECS.to_be_bytes());
    attribute(out, CTA_MARK, &states.mark.to_be_bytes());
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_ne_bytes());
}

fn tuple(out: &mut Vec<u8>, kind: u16, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) {
    nested(out, kind, |out| {
        nested(out, 1, |out| {
            attribute(out, 1, &from.0.octets());
            attribute(out, 2, &to.0.octets());
        });
        nested(out, 2, |out| {
            attribute(out, 1, &[IPPROTO_TCP]);
            attribute(out, 2, &from.1.to_be_bytes());
            attribute(out, 3, &to.1.to_be_bytes());
        });
    });
}

fn nested(out: &mut Vec<u8>, kind: u16, content: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    content(out);
    header(out, start, kind | NLA_F_NESTED);
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let start = out.len();
    out.extend([0; 4]);
    out.extend_from_slice(value);
    header(out, start, kind);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// struct nlattr: length with its header and without padding, type.
fn header(out: &mut [u8], start: usize, kind: u16) {
    let len = (out.len() - start) as u16;
    out[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    out[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
}
