//! How long the kernel keeps an entry by itself.
//!
//! A standby keeps entries longer than the kernel would. When it becomes active, a connection that has a packet gets its
//! true timeout from the kernel; those that stay silent are given it with the numbers read here.

use nix::libc;

use super::message::STATUS_FIXED_TIMEOUT;
use super::record::{Flow, ProtocolState};
use crate::conntrack::TcpState;
use crate::sysctl::{self, SysctlError};

/// The kernel's timeouts by protocol and state, in seconds (`/proc/sys/net/netfilter`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    generic: u32,
    icmp: u32,
    icmpv6: u32,
    /// Before and after the first answer.
    udp: [u32; 2],
    gre: [u32; 2],
    /// By [`TcpState::number`].
    tcp: [u32; 10],
    /// By the number of `enum sctp_conntrack`.
    sctp: [u32; 9],
}

impl Timeouts {
    /// The kernel's defaults, for what it does not tell (a protocol it was built without, a state that has none).
    pub const DEFAULT: Self = Self {
        generic: 600,
        icmp: 30,
        icmpv6: 30,
        udp: [30, 120],
        gre: [30, 180],
        tcp: [120, 120, 60, 432_000, 120, 60, 30, 120, 10, 120],
        sctp: [10, 10, 3, 3, 210, 3, 3, 3, 30],
    };

    /// Reads them in the network namespace of this thread.
    pub fn read() -> Result<Self, SysctlError> {
        let mut all = Self::DEFAULT;
        read("generic_timeout", &mut all.generic)?;
        read("icmp_timeout", &mut all.icmp)?;
        read("icmpv6_timeout", &mut all.icmpv6)?;
        for (key, number) in ["udp_timeout", "udp_timeout_stream"].into_iter().zip(&mut all.udp) {
            read(key, number)?;
        }
        for (key, number) in ["gre_timeout", "gre_timeout_stream"].into_iter().zip(&mut all.gre) {
            read(key, number)?;
        }
        // The first state is "none", which the kernel treats as SYN_SENT; the last is a simultaneous open.
        let states = [
            "syn_sent",
            "syn_sent",
            "syn_recv",
            "established",
            "fin_wait",
            "close_wait",
            "last_ack",
            "time_wait",
            "close",
            "syn_sent",
        ];
        for (state, number) in states.into_iter().zip(&mut all.tcp) {
            read(&format!("tcp_timeout_{state}"), number)?;
        }
        let states = [
            "closed",
            "closed",
            "cookie_wait",
            "cookie_echoed",
            "established",
            "shutdown_sent",
            "shutdown_recd",
            "shutdown_ack_sent",
            "heartbeat_sent",
        ];
        for (state, number) in states.into_iter().zip(&mut all.sctp) {
            read(&format!("sctp_timeout_{state}"), number)?;
        }
        Ok(all)
    }

    /// The time, in seconds, that the kernel would give this connection at a packet of its present state. What it has, if
    /// the kernel leaves that alone.
    pub fn of(&self, flow: &Flow) -> u32 {
        if flow.status.has(STATUS_FIXED_TIMEOUT) {
            return flow.timeout_s;
        }
        match flow.state {
            ProtocolState::Tcp(tcp) => {
                let state = match tcp.state {
                    TcpState::Other(_) => TcpState::None,
                    known => known,
                };
                self.tcp.get(usize::from(state.number())).copied().unwrap_or(self.generic)
            }
            ProtocolState::Sctp(sctp) => {
                self.sctp.get(usize::from(sctp.state)).copied().unwrap_or(self.generic)
            }
            ProtocolState::None => {
                let by_answer = |[before, after]: [u32; 2]| if flow.has_reply() { after } else { before };
                match i32::from(flow.protocol) {
                    libc::IPPROTO_UDP | libc::IPPROTO_UDPLITE => by_answer(self.udp),
                    libc::IPPROTO_GRE => by_answer(self.gre),
                    libc::IPPROTO_ICMP => self.icmp,
                    libc::IPPROTO_ICMPV6 => self.icmpv6,
                    _ => self.generic,
                }
            }
        }
    }
}

/// Leaves `number` alone when the kernel has no such setting.
fn read(key: &str, number: &mut u32) -> Result<(), SysctlError> {
    if let Some(value) = sysctl::read(&format!("net/netfilter/nf_conntrack_{key}"))? {
        *number = value.parse().unwrap_or(*number);
    }
    Ok(())
}
