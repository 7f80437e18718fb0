//! Whose a key is, and what becomes of it.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Instant;

use rempart_openvpn::data::fresh::{FreshKey, Offered, Parts};
use rempart_openvpn::data::keys::KeyId;
use rempart_openvpn::data::{KeySerial, PeerId};
use rempart_system::ovpn::{Direction, Key, NewPeer, Slot};
use rempart_system::tunnel::MAX_WORDS;

use super::member::{Carried, Course, Given, Member, word};
use super::{KEEPALIVE, Offload, Told};
use crate::path::DataPath;
use crate::shard::Event;

impl<P: DataPath> Offload<P> {
    /// A fresh key is put where it belongs. It comes back if it belongs below.
    pub(super) fn place(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Option<FreshKey> {
        let id = key.key_id().get();
        let Some(member) = self.members.get(&peer) else { return Some(key) };
        let (course, path) = (member.course(id), member.path);
        let Some(Some(_)) = self.twins.get(usize::from(path.local)) else { return Some(key) };
        match course {
            Course::Below => Some(key),
            Course::Anew => {
                self.leave(peer);
                self.join(peer, serial, key)
            }
            Course::Join => self.join(peer, serial, key),
            Course::Follow => self.put_beside(peer, serial, key),
        }
    }

    /// The kernel gets a session with its first key.
    fn join(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Option<FreshKey> {
        let Some(member) = self.members.get(&peer) else { return Some(key) };
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
        if !self.steer_beside(word(peer, key.key_id().get())) {
            self.delete(peer);
            return Some(key);
        }
        let given = Given { serial, id: key.key_id().get(), since: Instant::now() };
        let (answer, back) = self.give(peer, Slot::Primary, key);
        if answer != Offered::Taken {
            self.delete(peer);
            self.steer();
            if answer == Offered::Unknown {
                self.tell(Event::Due { peer, serial });
            }
            return back;
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
    fn put_beside(&mut self, peer: PeerId, serial: KeySerial, key: FreshKey) -> Option<FreshKey> {
        if self.carried(peer).is_some_and(|carried| carried.waits) {
            // Stock clients have two keys, too: the older one is gone there.
            self.switch(peer);
        }
        if !self.steer_beside(word(peer, key.key_id().get())) {
            return Some(key);
        }
        let given = Given { serial, id: key.key_id().get(), since: Instant::now() };
        self.look(peer);
        let (answer, back) = self.give(peer, Slot::Secondary, key);
        if let (Offered::Taken, Some(carried)) = (answer, self.carried(peer)) {
            (carried.secondary, carried.waits) = (Some(given), true);
            carried.mixed = Some(carried.counters.0.received.packets);
        }
        // The one in whose place it came is the kernel's no more.
        self.steer();
        if answer == Offered::Unknown {
            self.tell(Event::Due { peer, serial });
        }
        back
    }

    fn give(&mut self, peer: PeerId, slot: Slot, key: FreshKey) -> (Offered, Option<FreshKey>) {
        let Self { ovpn, device, told, .. } = self;
        key.offer(|id: KeyId, parts: Parts<'_>| {
            let ((seal, seal_tail), (open, open_tail)) = (parts.encrypt, parts.decrypt);
            let encrypt = Direction { key: seal, nonce_tail: &seal_tail };
            let key = Key { id: id.get(), encrypt, decrypt: Direction { key: open, nonce_tail: &open_tail } };
            match ovpn.put_key(*device, peer.get(), slot, &key) {
                Ok(()) => Offered::Taken,
                Err(error) => {
                    let answer = if error.is_refusal() { Offered::Refused } else { Offered::Unknown };
                    told.push_back(Told::Trouble(error));
                    answer
                }
            }
        })
    }

    /// The newer key is sent under from now on.
    pub(super) fn switch(&mut self, peer: PeerId) {
        // Counted before: what is sent meanwhile counts for the new one, never for none.
        self.look(peer);
        if let Err(error) = self.ovpn.swap_keys(self.device, peer.get()) {
            self.trouble(error);
            let there = self.ovpn.key(self.device, peer.get(), Slot::Primary).ok().flatten();
            let newer = self.carried(peer).and_then(|carried| carried.secondary).map(|key| key.id);
            // If it was done all the same, it is not undone by being done again.
            if there.is_none() || there != newer {
                return;
            }
        }
        let Some(carried) = self.carried(peer) else { return };
        carried.switched();
        let serial = carried.primary.serial;
        self.tell(Event::Switched { peer, serial });
    }

    /// The kernel forgets a session.
    pub(super) fn leave(&mut self, peer: PeerId) {
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

    /// These packets are the kernel's, too. Whether that is so everywhere.
    fn steer_beside(&mut self, word: u32) -> bool {
        let mut words = self.words();
        words.insert(word);
        self.steer_to(&words)
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

    pub(super) fn steer(&mut self) {
        let words = self.words();
        self.steer_to(&words);
    }
}
