//! What both nodes must hold of a peer: where it is, and how far the clock of our handshakes has come.
//!
//! ```text
//! version 1 │ stamp: s, 8, ns, 4 │ last handshake: s, 8 │ socket, 1 │ 0, 4 or 6 │ address, 4 or 16 │ port, 2
//! ```
//!
//! Keys are not among it: a new handshake takes one round trip.
//!
//! A peer refuses an initiation that is not newer than the last one that it took (WireGuard §5.1), by the clock of who
//! sent it. The clocks of two nodes differ; so the stamp goes along, and whoever takes over goes on from there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::Path;

const VERSION: u8 = 1;
/// The other node knows of a stamp when this is over at the latest, and boringtun's reading of the time of day is never
/// further from ours.
const MARGIN: Duration = Duration::from_secs(1);

/// What both nodes must hold of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    /// Where it was last.
    pub path: Option<Path>,
    /// When the last handshake was, in time since 1970, as the clock of the node has it; zero is never.
    pub handshake: Duration,
    /// The newest stamp of an initiation of ours, in time since 1970; zero is none.
    pub stamp: Duration,
}

/// The other node's value is none of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a WireGuard peer as this version writes it")]
pub struct Malformed;

impl Known {
    /// By how much the clock of our stamps has to be ahead of `wall`, so that each is newer than those before.
    pub fn lead(&self, wall: Duration) -> Duration {
        match self.stamp {
            Duration::ZERO => Duration::ZERO,
            stamp => (stamp + MARGIN).saturating_sub(wall),
        }
    }

    /// As it goes to the other node.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.stamp.as_secs().to_be_bytes());
        out.extend(self.stamp.subsec_nanos().to_be_bytes());
        out.extend(self.handshake.as_secs().to_be_bytes());
        match self.path {
            None => out.extend([0, 0]),
            Some(Path { local, remote }) => {
                match remote.ip() {
                    IpAddr::V4(address) => {
                        out.extend([local, 4]);
                        out.extend(address.octets());
                    }
                    IpAddr::V6(address) => {
                        out.extend([local, 6]);
                        out.extend(address.octets());
                    }
                }
                out.extend(remote.port().to_be_bytes());
            }
        }
        out
    }

    /// What the other node wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader(bytes);
        if reader.take::<1>()? != [VERSION] {
            return Err(Malformed);
        }
        let (seconds, nanos) = (u64::from_be_bytes(reader.take()?), u32::from_be_bytes(reader.take()?));
        // More is no time of day, and sums of it must not overflow.
        const LATEST: u64 = 1 << 40;
        let handshake = u64::from_be_bytes(reader.take()?);
        if seconds > LATEST || handshake > LATEST || nanos >= 1_000_000_000 {
            return Err(Malformed);
        }
        let [local, family] = reader.take()?;
        let ip = match family {
            0 => None,
            4 => Some(IpAddr::V4(Ipv4Addr::from(reader.take::<4>()?))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(reader.take::<16>()?))),
            _ => return Err(Malformed),
        };
        let path = match ip {
            None => None,
            Some(ip) => {
                let remote = SocketAddr::new(ip, u16::from_be_bytes(reader.take()?));
                Some(Path { local, remote })
            }
        };
        if !reader.0.is_empty() {
            return Err(Malformed);
        }
        Ok(Self { path, handshake: Duration::from_secs(handshake), stamp: Duration::new(seconds, nanos) })
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*head)
    }
}
