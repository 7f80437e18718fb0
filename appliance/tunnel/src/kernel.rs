//! Sessions that the kernel carries by itself (`rempart_system::ovpn`), above a data path that carries the others.
//!
//! ```text
//!   commands ──▶ Offload ── which key whose? ──┬──▶ below: a shard       TUN ◀▶ first socket of each address
//!   told     ◀──                               └──▶ the kernel's device      ◀▶ second socket, by the first four bytes
//! ```
//!
//! The kernel begins with packet id 1 under each key and cannot be told otherwise (study §1.7). So the rule is: **a key has one
//! owner for its life**, who alone seals with it and alone knows what came under it.
//!
//! * The kernel gets keys that this process made and nobody has used ([`FreshKey`]): the maker's range of packet ids, all of it.
//!   Keys of another process never: not after a take-over, not after a restart.
//! * It does not give back what it may have used. A key whose fate is unknown is lost, and the session is to be renewed.
//! * Its primary key follows the newer one and never comes back.
//! * Which packets are whose is decided by operation, key and peer id, before anything is opened: no window has two keepers.
//!
//! A new client is carried by the kernel from its first key on. A session that has keys below (it was taken over) gives its next
//! fresh key to the kernel; what comes under that is opened there, and what is for the client goes on under the old key until the
//! client has spoken under the new one and [`SWITCH`] is over. A key that follows another waits as long before it is sent
//! under: clients receive under both, and the kernel cannot tell under which they send. Two renewals within that time leave
//! the older key out, as stock clients do.
//!
//! What the kernel has no room or no way for stays below: TCP, networks behind a client, more than [`MAX_WORDS`] keys.
//!
//! The kernel sends keep-alive packets itself, follows a client to another address, and tells that ([`Told`]). It does not say
//! what came in a packet that is no IP packet: a client that takes its leave in the data channel is missed by its silence.

mod member;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rempart_config::model::Device;
use rempart_openvpn::data::fresh::{FreshKey, Offered, Parts};
use rempart_openvpn::data::inbound::Received;
use rempart_openvpn::data::keys::KeyId;
use rempart_openvpn::data::opener::Opener;
use rempart_openvpn::data::outbound::Sent;
use rempart_openvpn::data::sealer::Sealer;
use rempart_openvpn::data::{KeySerial, Path, PeerId};
use rempart_system::ovpn::{
    Counters, Direction, Happened, Keepalive, Key, MAX_KEEPALIVE_S, NewPeer, Notices, Ovpn, OvpnError, Slot,
};
use rempart_system::tunnel::{MAX_WORDS, Socket};

use crate::path::DataPath;
use crate::shard::{Event, Gone, Half};
use member::{Carried, Course, END, Given, Inner, Member, word};

/// How long a new key waits: stock clients send under the old one for 60 s (study §1.5).
pub const SWITCH: Duration = Duration::from_secs(65);
/// How often the kernel says something to a client that is sent nothing; pushed clients expect it every ten seconds.
const INTERVAL_S: u32 = 10;
/// Sessions that are over and whose last counters have not come: of one that is forgotten the last seconds are not counted.
const MAX_LEAVING: usize = 1024;
/// Silent clients are the server's to judge. The kernel sends nothing without a time of its own, so it gets the longest.
const KEEPALIVE: Keepalive = Keepalive { interval_s: INTERVAL_S, timeout_s: MAX_KEEPALIVE_S };

/// Two sockets of one address: what the kernel owns comes to the second one.
#[derive(Clone, Debug)]
pub struct Twin {
    /// Where they listen.
    pub local: SocketAddr,
    /// The one that is read here.
    pub first: Arc<Socket>,
    /// The one that the kernel reads.
    pub second: Arc<Socket>,
}

impl Twin {
    /// Binds a second socket beside one that was bound as shared.
    pub fn of(local: SocketAddr, first: Arc<Socket>) -> std::io::Result<Self> {
        // Before there is a second one, so that none is drawn by lot.
        first.steer_data(&BTreeSet::new())?;
        let second = Arc::new(Socket::bind_for_kernel(local)?);
        Ok(Self { local, first, second })
    }
}

/// What the kernel's half tells.
#[derive(Debug)]
pub enum Told {
    /// The same as a shard tells.
    Event(Event),
    /// What is for these networks goes to the kernel's device from now on, or again to the one below.
    Lead {
        /// Which.
        networks: Vec<IpNet>,
        /// To the kernel's.
        kernel: bool,
    },
    /// Something went wrong that a person should see; sessions are carried below or come back by themselves.
    Trouble(OvpnError),
}

/// Has the kernel carry what it can. `P` carries the rest.
#[derive(Debug)]
pub struct Offload<P> {
    below: P,
    ovpn: Ovpn,
    notices: Notices,
    device: u32,
    switch: Duration,
    twins: Vec<Option<Twin>>,
    members: BTreeMap<PeerId, Member>,
    /// What sessions have counted that are over, until the data path below has said its last, in both halves.
    leaving: BTreeMap<PeerId, (Counters, u8)>,
    told: Vec<Told>,
}

impl<P: DataPath> Offload<P> {
    /// Makes the kernel's device, down and without addresses. `switch` is [`SWITCH`] but in tests.
    pub fn new(mut ovpn: Ovpn, device: &Device, below: P, switch: Duration) -> Result<Self, OvpnError> {
        let lost = |source| OvpnError::Lost { what: "tell what happens", source };
        let notices = ovpn.notices().map_err(lost)?;
        let device = ovpn.create(device)?;
        let (twins, members, leaving) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { below, ovpn, notices, device, switch, twins, members, leaving, told: Vec::new() })
    }

    /// The data path below.
    pub fn below(&mut self) -> &mut P {
        &mut self.below
    }

    /// The sockets, in the order of [`Path::local`]; none where the kernel has none. Peers of those that are not there any more
    /// are gone with them.
    pub fn set_twins(&mut self, twins: Vec<Option<Twin>>) {
        self.twins = twins;
        self.steer();
    }

    /// What has to be known of what the kernel says by itself: to be called when [`AsFd`] is readable, and once a second.
    pub fn tick(&mut self, now: Instant) -> Vec<Told> {
        let mut heard = Vec::new();
        // What is lost is found by the next report.
        let _ = self.notices.read(|notice| heard.push(notice));
        for notice in heard.into_iter().filter(|notice| notice.device == self.device) {
            let Some(peer) = PeerId::new(notice.peer) else { continue };
            match notice.what {
                Happened::Deleted(_) => self.lost(peer),
                Happened::WornOut { .. } => self.worn_out(peer),
                Happened::Moved(remote) => self.has_moved(peer, remote),
            }
        }
        let peers: Vec<PeerId> = self.members.keys().copied().collect();
        for peer in peers {
            self.follow(now, peer);
        }
        std::mem::take(&mut self.told)
    }

    /// Adds what the kernel has counted to what the data path below has.
    pub fn amend(&mut self, event: &mut Event) {
        match event {
            Event::Report(Half::Out(list)) => list.iter_mut().for_each(|(peer, sent)| {
                self.members.get(peer).iter().for_each(|member| add_sent(sent, &member.counted()));
            }),
            Event::Report(Half::In(list, _)) => list.iter_mut().for_each(|(peer, received, highest)| {
                let Some(member) = self.members.get(peer) else { return };
                add_received(received, &member.counted());
                let of = |carried: &Carried| (carried.primary.serial, carried.highest());
                highest.extend(member.carried.as_ref().map(of));
            }),
            Event::Last(Half::Out(list)) => list.iter_mut().for_each(|(peer, sent)| {
                self.last(*peer).iter().for_each(|counted| add_sent(sent, counted));
            }),
            Event::Last(Half::In(list, _)) => list.iter_mut().for_each(|(peer, received, _)| {
                self.last(*peer).iter().for_each(|counted| add_received(received, counted));
            }),
            Event::Moved { .. } | Event::Switched { .. } | Event::Due { .. } | Event::Left { .. } => {}
        }
    }

    fn last(&mut self, peer: PeerId) -> Option<Counters> {
        let (counters, halves) = self.leaving.get_mut(&peer)?;
        let counters = *counters;
        *halves = halves.saturating_sub(1);
        if *halves == 0 {
            self.leaving.remove(&peer);
        }
        Some(counters)
    }

    fn carried(&mut self, peer: PeerId) -> Option<&mut Carried> {
        self.members.get_mut(&peer)?.carried.as_mut()
    }

    /// Which packets are the kernel's.
    fn words(&self) -> BTreeSet<u32> {
        let of = |(peer, member): (&PeerId, &Member)| {
            let carried = member.carried.as_ref();
            let words: Vec<u32> =
                carried.into_iter().flat_map(Carried::keys).map(|key| word(*peer, key.id)).collect();
            words
        };
        self.members.iter().flat_map(of).collect()
    }

    /// Whether it is in force everywhere.
    fn steer_to(&mut self, words: &BTreeSet<u32>) -> bool {
        let done = words.len() <= MAX_WORDS
            && self.twins.iter().flatten().all(|twin| twin.first.steer_data(words).is_ok());
        if !done {
            // Those before are, which is what the others have to be.
            let before = self.words();
            self.twins.iter().flatten().for_each(|twin| drop(twin.first.steer_data(&before)));
        }
        done
    }

    fn steer(&mut self) {
        let words = self.words();
        self.steer_to(&words);
    }

    fn trouble(&mut self, error: OvpnError) {
        self.told.push(Told::Trouble(error));
    }

    fn tell(&mut self, event: Event) {
        self.told.push(Told::Event(event));
    }

    fn lead(&mut self, inner: Option<Inner>, kernel: bool) {
        let Some(Inner { v4, v6 }) = inner else { return };
        let networks = v4.map(|ip| IpNet::from(std::net::IpAddr::V4(ip))).into_iter();
        let networks = networks.chain(v6.map(|ip| IpNet::from(std::net::IpAddr::V6(ip)))).collect();
        self.told.push(Told::Lead { networks, kernel });
    }

    /// A fresh key is put where it belongs. It comes back if it belongs below.
    fn place(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Option<FreshKey> {
        let id = key.key_id().get();
        let Some(member) = self.members.get(&peer) else { return Some(key) };
        let (course, path) = (member.course(id), member.path);
        let Some(Some(_)) = self.twins.get(usize::from(path.local)) else { return Some(key) };
        let mut words = self.words();
        words.insert(word(peer, id));
        match course {
            Course::Below => Some(key),
            Course::Anew => {
                self.leave(peer);
                self.join(peer, serial, key, &words)
            }
            Course::Join => self.join(peer, serial, key, &words),
            Course::Follow => self.put_beside(peer, serial, key, &words),
        }
    }

    /// The kernel gets a session with its first key.
    fn join(
        &mut self,
        peer: PeerId,
        serial: KeySerial,
        key: FreshKey,
        words: &BTreeSet<u32>,
    ) -> Option<FreshKey> {
        let member = self.members.get(&peer)?;
        let twin = self.twins.get(usize::from(member.path.local)).cloned().flatten();
        let (Some(twin), Some(inner)) = (twin, member.inner) else { return Some(key) };
        let (led, remote) = (member.below.is_empty(), member.path.remote);
        let new = NewPeer {
            id: peer.get(),
            remote,
            local: twin.local.ip(),
            inner4: inner.v4,
            inner6: inner.v6,
            keepalive: KEEPALIVE,
        };
        if let Err(error) = self.ovpn.add_peer(self.device, &new, twin.second.as_fd()) {
            self.trouble(error);
            return Some(key);
        }
        if !self.steer_to(words) {
            self.delete(peer);
            return Some(key);
        }
        let given = Given { serial, id: key.key_id().get(), since: Instant::now() };
        match self.give(peer, Slot::Primary, key) {
            Ok(Offered::Taken) => {}
            Ok(Offered::Unknown | Offered::Refused) => {
                self.delete(peer);
                self.steer();
                self.tell(Event::Due { peer, serial });
                return None;
            }
            Err(key) => {
                self.delete(peer);
                self.steer();
                return Some(key);
            }
        }
        if let Some(member) = self.members.get_mut(&peer) {
            member.carried = Some(Carried::new(given, led));
        }
        if led {
            self.lead(Some(inner), true);
        }
        None
    }

    /// The kernel gets another key of a session, which opens and waits.
    fn put_beside(
        &mut self,
        peer: PeerId,
        serial: KeySerial,
        key: FreshKey,
        words: &BTreeSet<u32>,
    ) -> Option<FreshKey> {
        if self.carried(peer).is_some_and(|carried| carried.waits) {
            // Stock clients have two keys, too: the older one is gone there.
            self.switch(peer);
        }
        if !self.steer_to(words) {
            return Some(key);
        }
        let given = Given { serial, id: key.key_id().get(), since: Instant::now() };
        self.look(peer);
        let answer = self.give(peer, Slot::Secondary, key);
        if let (Ok(Offered::Taken), Some(carried)) = (&answer, self.carried(peer)) {
            (carried.secondary, carried.waits) = (Some(given), true);
            carried.mixed = Some(carried.counters.0.received.packets);
        }
        // The one in whose place it came is the kernel's no more.
        self.steer();
        match answer {
            Ok(Offered::Taken) => None,
            Ok(Offered::Unknown | Offered::Refused) => {
                self.tell(Event::Due { peer, serial });
                None
            }
            Err(key) => Some(key),
        }
    }

    fn give(&mut self, peer: PeerId, slot: Slot, key: FreshKey) -> Result<Offered, FreshKey> {
        let Self { ovpn, device, told, .. } = self;
        key.offer(|id: KeyId, parts: Parts<'_>| {
            let ((seal, seal_tail), (open, open_tail)) = (parts.encrypt, parts.decrypt);
            let encrypt = Direction { key: seal, nonce_tail: &seal_tail };
            let key = Key { id: id.get(), encrypt, decrypt: Direction { key: open, nonce_tail: &open_tail } };
            match ovpn.put_key(*device, peer.get(), slot, &key) {
                Ok(()) => Offered::Taken,
                Err(error) => {
                    let answer = if error.is_refusal() { Offered::Refused } else { Offered::Unknown };
                    told.push(Told::Trouble(error));
                    answer
                }
            }
        })
    }

    /// The newer key is sent under from now on.
    fn switch(&mut self, peer: PeerId) {
        // Counted before: what is sent meanwhile counts for the new one, never for none.
        self.look(peer);
        if let Err(error) = self.ovpn.swap_keys(self.device, peer.get()) {
            return self.trouble(error);
        }
        let Some(carried) = self.carried(peer) else { return };
        carried.switched();
        let serial = carried.primary.serial;
        self.tell(Event::Switched { peer, serial });
    }

    /// Takes note of a session's counters.
    fn look(&mut self, peer: PeerId) {
        let Ok(found) = self.ovpn.peer(self.device, peer.get()) else { return };
        if let Some(carried) = self.carried(peer) {
            carried.counters = (found.inner, found.outer);
        }
    }

    /// What time and counters bring.
    fn follow(&mut self, now: Instant, peer: PeerId) {
        let (after, counts) = (self.switch, self.members.get(&peer).map(|member| member.below.is_empty()));
        let Some(carried) = self.carried(peer) else { return };
        if carried.may_switch(now, after) {
            return self.switch(peer);
        }
        if carried.used() >= END {
            return self.worn_out(peer);
        }
        let serial = carried.primary.serial;
        if carried.is_due() && !std::mem::replace(&mut carried.due_said, true) {
            self.tell(Event::Due { peer, serial });
        }
        let alone = counts == Some(true);
        let Some(carried) = self.carried(peer) else { return };
        if carried.may_lead(now, after) || (alone && !carried.led) {
            carried.led = true;
            let inner = self.members.get(&peer).and_then(|member| member.inner);
            self.lead(inner, true);
        }
    }

    /// The counters of all, and whatever was missed.
    fn take_stock(&mut self) {
        let peers = match self.ovpn.peers(self.device) {
            Ok(peers) => peers,
            Err(error) => return self.trouble(error),
        };
        let mut missing: BTreeSet<PeerId> = self.members.keys().copied().collect();
        for found in peers {
            let Some(peer) = PeerId::new(found.id) else { continue };
            missing.remove(&peer);
            let Some(carried) = self.carried(peer) else { continue };
            carried.counters = (found.inner, found.outer);
            let first = found.outer.received.packets > 0 && !std::mem::replace(&mut carried.heard, true);
            let serial = carried.primary.serial;
            if first {
                self.tell(Event::Switched { peer, serial });
            }
            if let Some(remote) = found.remote {
                self.has_moved(peer, remote);
            }
        }
        for peer in missing {
            self.lost(peer);
        }
    }

    /// The kernel answers a client elsewhere.
    fn has_moved(&mut self, peer: PeerId, remote: SocketAddr) {
        let Some(member) = self.members.get(&peer).filter(|member| member.carried.is_some()) else { return };
        if member.path.remote != remote {
            let path = Path { remote, ..member.path };
            self.tell(Event::Moved { peer, path });
        }
    }

    /// The kernel has no such session any more: its keys are gone, and nobody else has them.
    fn lost(&mut self, peer: PeerId) {
        // Of one that was made anew the end of the one before is told late.
        if self.carried(peer).is_none() || self.ovpn.peer(self.device, peer.get()).is_ok() {
            return;
        }
        self.leave(peer);
        self.tell(Event::Left { peer });
    }

    /// Nothing may be sent under its key any more.
    fn worn_out(&mut self, peer: PeerId) {
        match self.carried(peer) {
            None => {}
            Some(carried) if carried.waits => self.switch(peer),
            Some(_) => {
                self.leave(peer);
                self.tell(Event::Left { peer });
            }
        }
    }

    /// The kernel forgets a session.
    fn leave(&mut self, peer: PeerId) {
        if self.carried(peer).is_none() {
            return;
        }
        self.look(peer);
        self.delete(peer);
        let Some(member) = self.members.get_mut(&peer) else { return };
        let (counted, inner) = (member.counted(), member.inner);
        let Some(carried) = member.carried.take() else { return };
        member.gone = counted;
        if carried.led {
            self.lead(inner, false);
        }
        self.steer();
    }

    fn delete(&mut self, peer: PeerId) {
        match self.ovpn.delete_peer(self.device, peer.get()) {
            Err(error) if !error.is_absence() => self.trouble(error),
            Ok(()) | Err(_) => {}
        }
    }
}

impl<P: DataPath> DataPath for Offload<P> {
    fn add(
        &mut self,
        peer: PeerId,
        path: Path,
        own: Vec<IpNet>,
        echo: Option<KeySerial>,
    ) -> Result<(), Gone> {
        self.leave(peer);
        self.members.insert(peer, Member::new(path, &own));
        self.below.add(peer, path, own, echo)
    }

    fn remove(&mut self, peer: PeerId) -> Result<(), Gone> {
        self.leave(peer);
        if let Some(member) = self.members.remove(&peer) {
            if self.leaving.len() >= MAX_LEAVING {
                self.leaving.pop_first();
            }
            self.leaving.insert(peer, (member.gone, 2));
        }
        self.below.remove(peer)
    }

    fn fresh_key(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Result<(), Gone> {
        let Some(key) = self.place(peer, serial, key) else { return Ok(()) };
        if let Some(member) = self.members.get_mut(&peer) {
            member.below.push((serial, key.key_id().get()));
        }
        self.below.fresh_key(peer, serial, key)
    }

    fn carried_key(
        &mut self,
        peer: PeerId,
        serial: KeySerial,
        opener: Opener,
        sealer: Option<Sealer>,
    ) -> Result<(), Gone> {
        if let Some(member) = self.members.get_mut(&peer) {
            member.below.push((serial, opener.key_id().get()));
        }
        self.below.carried_key(peer, serial, opener, sealer)
    }

    fn remove_key(&mut self, peer: PeerId, serial: KeySerial) -> Result<(), Gone> {
        if let Some(member) = self.members.get_mut(&peer) {
            member.below.retain(|(below, _)| *below != serial);
        }
        let Some(carried) = self.carried(peer) else { return self.below.remove_key(peer, serial) };
        if carried.primary.serial == serial {
            match carried.waits {
                true => self.switch(peer),
                // There is no newer one here: whoever has it sends.
                false => self.leave(peer),
            }
        }
        if self.carried(peer).and_then(|carried| carried.secondary).is_some_and(|key| key.serial == serial) {
            if let Err(error) = self.ovpn.delete_key(self.device, peer.get(), Slot::Secondary) {
                self.trouble(error);
            }
            if let Some(carried) = self.carried(peer) {
                (carried.secondary, carried.waits, carried.mixed) = (None, false, None);
            }
            self.steer();
        }
        self.below.remove_key(peer, serial)
    }

    fn move_to(&mut self, peer: PeerId, path: Path) -> Result<(), Gone> {
        let local =
            self.twins.get(usize::from(path.local)).and_then(Option::as_ref).map(|twin| twin.local.ip());
        if let Some(member) = self.members.get_mut(&peer) {
            member.path = path;
        }
        if let (Some(_), Some(local)) = (self.carried(peer), local)
            && let Err(error) = self.ovpn.move_peer(self.device, peer.get(), path.remote, local)
        {
            self.trouble(error);
        }
        self.below.move_to(peer, path)
    }

    fn ping(&mut self, peer: PeerId) -> Result<(), Gone> {
        // The kernel does that by itself.
        if self.carried(peer).is_some_and(|carried| carried.led) { Ok(()) } else { self.below.ping(peer) }
    }

    fn report(&mut self) -> Result<(), Gone> {
        if self.members.values().any(|member| member.carried.is_some()) {
            self.take_stock();
        }
        self.below.report()
    }
}

impl<P> AsFd for Offload<P> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notices.as_fd()
    }
}

impl<P> Drop for Offload<P> {
    fn drop(&mut self) {
        // With its peers and their keys. If it cannot be removed, the end of the sockets ends the peers.
        let _ = self.ovpn.remove(self.device);
    }
}

fn add_sent(sent: &mut Sent, counted: &Counters) {
    sent.packets = sent.packets.saturating_add(counted.sent.packets);
    sent.bytes = sent.bytes.saturating_add(counted.sent.bytes);
}

fn add_received(received: &mut Received, counted: &Counters) {
    received.packets = received.packets.saturating_add(counted.received.packets);
    received.bytes = received.bytes.saturating_add(counted.received.bytes);
}
