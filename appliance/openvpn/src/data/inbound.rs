//! From the clients to the kernel: whose datagram it is, whether it is authentic and new, and whether what is in it is
//! the client's to send.
//!
//! Owns the receiving half of every session of one thread. Decides nothing about where a client may be: a new address is
//! reported once its packet has proved authentic, and the control channel says what follows.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use ipnet::IpNet;

use super::inner::{clamp_mss, is_own, longest_tcp};
use super::keys::KeyId;
use super::opener::{Opener, Refused};
use super::outbound::Full;
use super::slots::Slots;
use super::{DATA_V2, EXIT, Echo, KeySerial, OVERHEAD, PING, Path, PeerId};

/// Longest datagram that is tried with more than one key. Longer ones come only from joined reads, which are split before.
const MAX_TRIED: usize = 2048;

/// What came in a datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A packet for the kernel, at this place in the datagram.
    Packet(Range<usize>),
    /// A sign of life.
    Ping,
    /// The client leaves.
    Exit,
    /// A packet whose source is not the client's. It goes nowhere, and is counted.
    Spoofed,
}

/// An authentic datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrived {
    /// Whose it is.
    pub peer: PeerId,
    /// What was in it.
    pub content: Content,
    /// It did not come from the address that the session has, and of this one nothing was said yet.
    pub floated: bool,
    /// The client sends on another key than before.
    pub switched: Option<KeySerial>,
}

/// Why a datagram is dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, thiserror::Error)]
pub enum Dropped {
    /// Too short.
    #[error("too short")]
    Short,
    /// Of no session of this thread.
    #[error("of no session")]
    UnknownPeer,
    /// Its key is not known, or no longer.
    #[error("of no key of its session")]
    UnknownKey,
    /// It came before.
    #[error("came before")]
    Replayed,
    /// Not sealed with the session's key.
    #[error("not authentic")]
    Forged,
}

/// Datagrams of this thread that were dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs)] // As in `Dropped` and `Content`.
pub struct Drops {
    pub short: u64,
    pub unknown_peer: u64,
    pub unknown_key: u64,
    pub replayed: u64,
    pub forged: u64,
    pub spoofed: u64,
}

impl Drops {
    fn count(&mut self, why: Dropped) {
        let counter = match why {
            Dropped::Short => &mut self.short,
            Dropped::UnknownPeer => &mut self.unknown_peer,
            Dropped::UnknownKey => &mut self.unknown_key,
            Dropped::Replayed => &mut self.replayed,
            Dropped::Forged => &mut self.forged,
        };
        *counter += 1;
    }
}

/// What a session has received.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// Authentic datagrams, keep-alives included.
    pub packets: u64,
    /// Bytes of what was inside.
    pub bytes: u64,
}

/// The receiving half of a session.
#[derive(Debug)]
pub struct Receiver {
    openers: Slots<Opener>,
    own: Vec<IpNet>,
    from: Path,
    /// The last address that was reported.
    told: Path,
    longest: u16,
    echo: Echo,
    received: Received,
}

impl Receiver {
    /// Adds a key.
    pub fn add_key(&mut self, now: Instant, serial: KeySerial, opener: Opener) {
        self.openers.insert(now, serial, opener);
    }

    /// Drops a key.
    pub fn remove_key(&mut self, serial: KeySerial) {
        self.openers.remove(serial);
    }

    /// Drops keys whose time is over.
    pub fn expire(&mut self, now: Instant) {
        self.openers.expire(now, None);
    }

    /// The session is at this address from now on.
    pub fn move_to(&mut self, from: Path) {
        (self.from, self.told, self.longest) = (from, from, longest_tcp(&from.remote));
    }

    /// That the client is elsewhere was not heard: it is reported again.
    pub fn repeat_float(&mut self) {
        self.told = self.from;
    }

    /// What was received.
    pub fn received(&self) -> Received {
        self.received
    }

    /// The highest packet id of each key: for the other node.
    pub fn highest(&self) -> impl Iterator<Item = (KeySerial, u32)> {
        self.openers.iter().map(|(serial, opener)| (serial, opener.highest()))
    }

    /// Opens in place with whichever key it is. More than one key may have the id that the packet names: after a client
    /// has begun anew in place, both its sessions have a key 0 (study §1.6).
    fn open(&mut self, datagram: &mut [u8], spare: &mut [u8; MAX_TRIED]) -> Result<KeySerial, Dropped> {
        let id = KeyId::of(*datagram.first().ok_or(Dropped::Short)?);
        let known = self.openers.iter().any(|(_, opener)| opener.key_id() == id);
        let new = |opener: &Opener| opener.key_id() == id && opener.may_be_new(datagram);
        let mut left = self.openers.iter().filter(|(_, opener)| new(opener)).count();
        if left == 0 {
            return Err(if known { Dropped::Replayed } else { Dropped::UnknownKey });
        }
        let several = left > 1;
        if several {
            spare.get_mut(..datagram.len()).ok_or(Dropped::Forged)?.copy_from_slice(datagram);
        }
        for (serial, opener) in self.openers.iter_mut() {
            if opener.key_id() != id || !opener.may_be_new(datagram) {
                continue;
            }
            match opener.open(datagram) {
                Ok(_) => return Ok(serial),
                Err(Refused::Forged) => {}
                Err(Refused::Short) => return Err(Dropped::Short),
                Err(Refused::Replayed(_)) => return Err(Dropped::Replayed),
            }
            left -= 1;
            // What a failure leaves is destroyed.
            if let (true, Some(copy)) = (left > 0, spare.get(..datagram.len())) {
                datagram.copy_from_slice(copy);
            }
        }
        Err(Dropped::Forged)
    }

    fn arrived(&mut self, peer: PeerId, from: &Path, key: KeySerial, datagram: &mut [u8]) -> Arrived {
        let length = datagram.len();
        let inner = datagram.get_mut(OVERHEAD..).unwrap_or_default();
        self.received.packets += 1;
        self.received.bytes += inner.len() as u64;
        let content = match inner {
            inner if *inner == PING => Content::Ping,
            inner if *inner == EXIT => Content::Exit,
            inner if !is_own(inner, &self.own) => Content::Spoofed,
            inner => {
                clamp_mss(inner, self.longest);
                Content::Packet(OVERHEAD..length)
            }
        };
        let floated = *from != self.from && *from != self.told;
        self.told = *from;
        let switched = (self.echo.get() != Some(key)).then_some(key);
        switched.iter().for_each(|key| self.echo.set(*key));
        Arrived { peer, content, floated, switched }
    }
}

/// The receiving halves of the sessions of one thread.
#[derive(Debug)]
pub struct Inbound {
    sessions: BTreeMap<PeerId, Receiver>,
    capacity: usize,
    drops: Drops,
    spare: Box<[u8; MAX_TRIED]>,
}

impl Inbound {
    /// Without sessions; `capacity` is the most there can be.
    pub fn new(capacity: usize) -> Self {
        let spare = Box::new([0; MAX_TRIED]);
        Self { sessions: BTreeMap::new(), capacity, drops: Drops::default(), spare }
    }

    /// Adds a session of a client at `from` whose inner addresses are `own`, or replaces it.
    /// `echo` is the one that its sending half has.
    pub fn add(&mut self, peer: PeerId, from: Path, own: Vec<IpNet>, echo: Echo) -> Result<(), Full> {
        if self.sessions.len() >= self.capacity && !self.sessions.contains_key(&peer) {
            return Err(Full);
        }
        let session = Receiver {
            openers: Slots::new(),
            own,
            from,
            told: from,
            longest: longest_tcp(&from.remote),
            echo,
            received: Received::default(),
        };
        self.sessions.insert(peer, session);
        Ok(())
    }

    /// Ends a session.
    pub fn remove(&mut self, peer: PeerId) {
        self.sessions.remove(&peer);
    }

    /// A session.
    pub fn session(&mut self, peer: PeerId) -> Option<&mut Receiver> {
        self.sessions.get_mut(&peer)
    }

    /// All sessions.
    pub fn sessions(&mut self) -> impl Iterator<Item = (PeerId, &mut Receiver)> {
        self.sessions.iter_mut().map(|(peer, session)| (*peer, session))
    }

    /// What was dropped.
    pub fn drops(&self) -> Drops {
        self.drops
    }

    /// Whether a datagram is for the data channel; the rest is the control channel's.
    pub fn is_data(datagram: &[u8]) -> bool {
        datagram.first().is_some_and(|first| first >> 3 == DATA_V2)
    }

    /// Takes a data packet that came from `from`, and opens it in place.
    pub fn datagram(&mut self, from: &Path, datagram: &mut [u8]) -> Result<Arrived, Dropped> {
        let arrived = self.judge(from, datagram);
        if let Err(why) = &arrived {
            self.drops.count(*why);
        }
        arrived
    }

    fn judge(&mut self, from: &Path, datagram: &mut [u8]) -> Result<Arrived, Dropped> {
        let [_, a, b, c] = *datagram.first_chunk().ok_or(Dropped::Short)?;
        let peer = PeerId::new(u32::from_be_bytes([0, a, b, c])).ok_or(Dropped::UnknownPeer)?;
        let session = self.sessions.get_mut(&peer).ok_or(Dropped::UnknownPeer)?;
        let key = session.open(datagram, &mut self.spare)?;
        let arrived = session.arrived(peer, from, key, datagram);
        self.drops.spoofed += u64::from(arrived.content == Content::Spoofed);
        Ok(arrived)
    }
}

#[cfg(test)]
mod tests;
