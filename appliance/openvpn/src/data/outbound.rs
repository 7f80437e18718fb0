//! From the kernel to the clients: whose packet it is, cut, sealed, and laid side by side for one system call.
//!
//! Owns the sending half of every session of one thread. Which key to send on is told by the receiving half: the one on
//! which the client last sent (the echo rule, study §1.5).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;

use super::inner::{addresses, clamp_mss, longest_tcp};
use super::sealer::{NotSealed, Sealer};
use super::segment::cut::Cutter;
use super::segment::row::Row;
use super::slots::Slots;
use super::{Echo, KeySerial, OVERHEAD, PING, Path, PeerId};

/// Networks behind one client that are looked up one by one.
pub const MAX_NETWORKS: usize = 32;

/// Whether a packet went into a row as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// The row has to be sent first; then the rest goes into an empty one.
    Full,
    /// It did, or is given up. The row may take more.
    Done,
}

/// What a session has sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Datagrams.
    pub packets: u64,
    /// Bytes of what was inside.
    pub bytes: u64,
    /// Packets for which there was no key, or no packet id under it.
    pub unsealed: u64,
}

/// The sending half of a session.
#[derive(Debug)]
pub struct Transmitter {
    to: Path,
    longest: u16,
    sealers: Slots<Sealer>,
    echo: Echo,
    /// The key that is sent on.
    current: Option<KeySerial>,
    /// The key of which it was said that it is due.
    due: Option<KeySerial>,
    sent: Sent,
}

impl Transmitter {
    fn new(to: Path, echo: Echo) -> Self {
        let longest = longest_tcp(&to.remote);
        Self { to, longest, sealers: Slots::new(), echo, current: None, due: None, sent: Sent::default() }
    }

    /// Sends to this address from now on. The control channel says so, after it has looked whose address it is.
    pub fn move_to(&mut self, to: Path) {
        (self.to, self.longest) = (to, longest_tcp(&to.remote));
    }

    /// Adds a key. It is sent on once the client has, or at once if it is the first one.
    pub fn add_key(&mut self, now: Instant, serial: KeySerial, sealer: Sealer) {
        self.sealers.insert(now, serial, sealer);
        let lives = self.current.is_some_and(|current| self.sealers.get_mut(current).is_some());
        if !lives {
            self.current = Some(serial);
        }
    }

    /// Changes to the key on which the client has sent. One that we may not send on, or no longer have, changes nothing.
    fn follow(&mut self) {
        let echo = self.echo.get().filter(|echo| Some(*echo) != self.current);
        if echo.is_some_and(|echo| self.sealers.get_mut(echo).is_some()) {
            self.current = echo;
        }
    }

    /// Drops a key.
    pub fn remove_key(&mut self, serial: KeySerial) {
        self.sealers.remove(serial);
    }

    /// Drops keys whose time is over.
    pub fn expire(&mut self, now: Instant) {
        self.sealers.expire(now, self.current);
    }

    /// Seals as many packets of `cutter` as there is room for in `row`, which lies in `arena`.
    pub fn fill(&mut self, cutter: &mut Cutter<'_>, arena: &mut [u8], row: &mut Row<Path>) -> Filled {
        self.follow();
        while let Some(length) = cutter.next_len().map(|inner| inner + OVERHEAD) {
            if !row.takes(self.to, length, arena.len()) {
                // What an empty row does not take is longer than any packet of ours.
                return if row.content().is_some() { Filled::Full } else { Filled::Done };
            }
            let Some(datagram) = arena.get_mut(row.bytes()..row.bytes() + length) else {
                return Filled::Done;
            };
            let (_, inner) = datagram.split_at_mut(OVERHEAD);
            cutter.write(inner);
            clamp_mss(inner, self.longest);
            if self.seal(datagram).is_err() {
                return Filled::Done;
            }
            row.add(self.to, length);
        }
        Filled::Done
    }

    /// Makes a keep-alive packet.
    pub fn ping(&mut self, out: &mut [u8; OVERHEAD + PING.len()]) -> Option<Path> {
        self.follow();
        out.iter_mut().skip(OVERHEAD).zip(PING).for_each(|(to, from)| *to = from);
        self.seal(out).ok().map(|()| self.to)
    }

    fn seal(&mut self, datagram: &mut [u8]) -> Result<(), NotSealed> {
        let inner = (datagram.len() - OVERHEAD) as u64;
        let sealer = self.current.and_then(|current| self.sealers.get_mut(current));
        let done = match sealer {
            Some(sealer) => sealer.seal(datagram),
            None => Err(NotSealed::Exhausted(super::epoch::Exhausted)),
        };
        match done {
            Ok(()) => {
                self.sent.packets += 1;
                self.sent.bytes += inner;
            }
            Err(_) => self.sent.unsealed += 1,
        }
        done
    }

    /// The key that is sent on, if it has become due for renewal; each key is named once.
    pub fn take_due(&mut self) -> Option<KeySerial> {
        let current = self.current.filter(|current| self.due != Some(*current))?;
        let due = self.sealers.get_mut(current)?.is_due();
        if due {
            self.due = Some(current);
        }
        due.then_some(current)
    }

    /// What [`Self::take_due`] said was not heard.
    pub fn repeat_due(&mut self) {
        self.due = None;
    }

    /// What was sent.
    pub fn sent(&self) -> Sent {
        self.sent
    }
}

/// The sending halves of the sessions of one thread, and whose the inner addresses are.
#[derive(Debug)]
pub struct Outbound {
    sessions: BTreeMap<PeerId, Transmitter>,
    hosts: BTreeMap<IpAddr, PeerId>,
    /// Networks behind clients, the longest prefix first.
    networks: Vec<(IpNet, PeerId)>,
    capacity: usize,
}

/// There is no room for a session, or for a network behind it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no room for another session")]
pub struct Full;

impl Outbound {
    /// Without sessions; `capacity` is the most there can be.
    pub fn new(capacity: usize) -> Self {
        Self { sessions: BTreeMap::new(), hosts: BTreeMap::new(), networks: Vec::new(), capacity }
    }

    /// Adds a session whose inner addresses are `own`, or replaces it. An address that another session has changes hands.
    /// `echo` is the one that its receiving half has.
    pub fn add(&mut self, peer: PeerId, to: Path, own: &[IpNet], echo: Echo) -> Result<(), Full> {
        self.remove(peer);
        let networks = own.iter().filter(|net| net.prefix_len() < net.max_prefix_len());
        if self.sessions.len() >= self.capacity || networks.clone().count() > MAX_NETWORKS {
            return Err(Full);
        }
        self.networks.extend(networks.map(|net| (net.trunc(), peer)));
        self.networks.sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        let hosts = own.iter().filter(|net| net.prefix_len() == net.max_prefix_len());
        self.hosts.extend(hosts.map(|net| (net.addr(), peer)));
        self.sessions.insert(peer, Transmitter::new(to, echo));
        Ok(())
    }

    /// Ends a session.
    pub fn remove(&mut self, peer: PeerId) {
        if self.sessions.remove(&peer).is_some() {
            self.hosts.retain(|_, whose| *whose != peer);
            self.networks.retain(|(_, whose)| *whose != peer);
        }
    }

    /// A session.
    pub fn session(&mut self, peer: PeerId) -> Option<&mut Transmitter> {
        self.sessions.get_mut(&peer)
    }

    /// All sessions.
    pub fn sessions(&mut self) -> impl Iterator<Item = (PeerId, &mut Transmitter)> {
        self.sessions.iter_mut().map(|(peer, session)| (*peer, session))
    }

    /// Whose a packet is.
    pub fn owner(&mut self, packet: &[u8]) -> Option<(PeerId, &mut Transmitter)> {
        let (_, to) = addresses(packet)?;
        let network = || self.networks.iter().find(|(net, _)| net.contains(&to)).map(|(_, peer)| *peer);
        let peer = self.hosts.get(&to).copied().or_else(network)?;
        self.sessions.get_mut(&peer).map(|session| (peer, session))
    }
}
