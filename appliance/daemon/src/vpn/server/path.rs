//! What passes between a session and the data path: keys, moves, counters; and what the other node is to know of it.

use rempart_openvpn::key_exchange::DataKeys;
use rempart_openvpn::session::Identity;
use rempart_tunnel::{Half, STREAM};

use super::entry::Traffic;
use super::*;
use crate::vpn::seam::Kind;

impl Machine {
    /// A login was accepted, or a key renewed: the other node has to know before the client does.
    pub(super) fn commit(&mut self, now: Now, handle: Handle, ticket: u64) {
        let (Some(entry), Some(reign)) = (self.entries.get_mut(&handle), &self.reign) else { return };
        let Some(key) = entry.session.snapshot().and_then(|mut snapshot| snapshot.keys.pop()) else { return };
        // One under the same id came to nothing.
        entry.ready.retain(|ready| ready.held.id != key.keys.key_id);
        let serial = self.serials.draw();
        match keys::fresh(reign, self.other, &key.keys, serial, entry.peer) {
            Some(ready) => entry.ready.push(ready),
            None => {
                tracing::error!(peer = entry.peer.get(), "a key of another epoch; it will not be sent on")
            }
        }
        // A TCP connection ends with its node.
        if entry.is_tcp() {
            return entry.session.committed(now, ticket);
        }
        let Some(value) = entry.value() else { return };
        let done = self.replica.put(Kind::Session, &entry.peer.get().to_be_bytes(), value.encode());
        entry.replicated = true;
        self.waiting.push_back((done, handle, ticket));
        if let Some(before) = entry.before.and_then(|before| self.entries.get_mut(&before)) {
            before.succeeded = true;
        }
    }

    /// The other node has everything up to this ticket.
    pub(super) fn committed(&mut self, now: Now, done: ReplicaTicket) {
        while let Some((ticket, handle, commit)) = self.waiting.front().copied()
            && ticket <= done
        {
            self.waiting.pop_front();
            if let Some(entry) = self.entries.get_mut(&handle) {
                entry.session.committed(now, commit);
                self.drain(now, handle);
            }
        }
    }

    /// The other node is to know, and nobody waits for it.
    pub(super) fn note_change(&mut self, now: Now, handle: Handle) {
        self.changed.insert(handle);
        self.put_at.get_or_insert(now.instant + GATHER);
    }

    pub(super) fn put_changed(&mut self) {
        self.put_at = None;
        for handle in std::mem::take(&mut self.changed) {
            self.put(handle);
        }
    }

    fn put(&mut self, handle: Handle) {
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        if !entry.carried || entry.succeeded || entry.is_tcp() {
            return;
        }
        if let Some(value) = entry.value() {
            self.replica.put(Kind::Session, &entry.peer.get().to_be_bytes(), value.encode());
            entry.replicated = true;
        }
    }

    /// A key is in use from now on; with the first one the session is up.
    pub(super) fn install(&mut self, now: Now, handle: Handle, derived: &DataKeys) {
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        let found = entry.ready.iter().position(|ready| ready.held.id == derived.key_id);
        let Some(ready) = found.map(|place| entry.ready.swap_remove(place)) else { return };
        let peer = entry.peer;
        let says_exit = entry.session.identity().is_some_and(Identity::says_exit);
        let first = !entry.carried;
        entry.keys.push(ready.held);
        if first {
            self.come_up(now, handle);
        } else {
            entry.renewed_unix_s = Some(now.unix_s);
            self.counters.renewed += 1;
            record::renewed(entry);
        }
        self.actions.extend(ready.data(peer, says_exit).map(Action::Data));
    }

    fn come_up(&mut self, now: Now, handle: Handle) {
        let before = self.entries.get_mut(&handle).and_then(|entry| entry.before.take());
        // Started over in place: the data path goes on with the keys of both.
        let old = before.and_then(|before| self.remove(before)).filter(|old| old.carried);
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        let Some(grant) = &entry.grant else { return };
        entry.carried = true;
        entry.heard = now.instant;
        if !std::mem::replace(&mut entry.up, true) {
            self.starting = self.starting.saturating_sub(1);
        }
        self.carried.insert(entry.peer, handle);
        self.counters.connected += 1;
        record::connected(entry, grant, old.is_some());
        match old {
            Some(old) => {
                (entry.received, entry.sent, entry.echo) = (old.received, old.sent, old.echo);
            }
            None => {
                let (peer, path, own) = (entry.peer, entry.path, grant.own());
                self.actions.push_back(Action::Reachable(own.clone()));
                self.actions.push_back(Action::Data(Data::Add { peer, path, own, echo: None }));
            }
        }
    }

    pub(super) fn retire(&mut self, handle: Handle, key_id: KeyId) {
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        if let Some(place) = entry.keys.iter().position(|held| held.id == key_id) {
            let held = entry.keys.remove(place);
            self.actions.push_back(Action::Data(Data::RemoveKey(entry.peer, held.serial)));
        }
    }

    fn of(&mut self, peer: PeerId) -> Option<(Handle, &mut Entry)> {
        let handle = self.carried.get(&peer).copied()?;
        self.entries.get_mut(&handle).map(|entry| (handle, entry))
    }

    /// An authentic packet came from elsewhere (study §1.3).
    pub(super) fn moved(&mut self, now: Now, peer: PeerId, path: Path) {
        let Some(local) = self.local(path) else { return };
        let Some((handle, entry)) = self.of(peer) else { return };
        if entry.is_tcp() || path.local == STREAM || entry.path == path {
            return;
        }
        let own = entry.session.identity().map(|identity| (identity.certificate, identity.user.clone()));
        let here: Vec<Handle> = self.at(path).collect();
        let mut others = here.iter().filter_map(|other| self.entries.get(other)?.session.identity());
        // An address that is somebody else's is not taken from them.
        if others.any(|other| own.as_ref() != Some(&(other.certificate, other.user.clone()))) {
            tracing::warn!(peer = peer.get(), to = %path.remote, "a client has moved to where another one is");
            return;
        }
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        let (from, session) = (entry.path, entry.session.client_session());
        self.names.remove(&(from, session));
        self.names.insert((path, session), handle);
        (entry.path, entry.local) = (path, local);
        entry.session.floated(path.remote);
        self.counters.moved += 1;
        record::moved(entry, from.remote);
        self.actions.push_back(Action::Data(Data::Move(peer, path)));
        self.drain(now, handle);
        // Study §1.9: at once.
        self.put(handle);
    }

    pub(super) fn switched(&mut self, now: Now, peer: PeerId, serial: KeySerial) {
        let Some((handle, entry)) = self.of(peer) else { return };
        entry.echo = Some(serial);
        self.note_change(now, handle);
    }

    pub(super) fn due(&mut self, now: Now, peer: PeerId) {
        let Some((handle, entry)) = self.of(peer) else { return };
        entry.session.rekey(now);
        self.drain(now, handle);
    }

    pub(super) fn left(&mut self, now: Now, peer: PeerId) {
        let Some((handle, entry)) = self.of(peer) else { return };
        entry.session.left();
        self.drain(now, handle);
    }

    /// The counters of half a shard. A client that was sent nothing since the last ones is pinged: it has to hear
    /// something every ten seconds, and these come every five.
    pub(super) fn count(&mut self, now: Now, half: Half) {
        match half {
            Half::Out(counted) => {
                for (peer, sent) in counted {
                    let Some((_, entry)) = self.of(peer) else { continue };
                    let quiet = entry.sent.packets == sent.packets;
                    entry.sent = Traffic { packets: sent.packets, bytes: sent.bytes, ..entry.sent };
                    if quiet {
                        self.actions.push_back(Action::Data(Data::Ping(peer)));
                    }
                }
            }
            Half::In(counted, _) => {
                for (peer, received, highest) in counted {
                    let Some((handle, entry)) = self.of(peer) else { continue };
                    if entry.received.packets == received.packets {
                        continue;
                    }
                    let traffic =
                        Traffic { packets: received.packets, bytes: received.bytes, ..entry.received };
                    (entry.received, entry.heard) = (traffic, now.instant);
                    for held in &mut entry.keys {
                        let found = highest.iter().find(|(serial, _)| *serial == held.serial);
                        held.highest = found.map_or(held.highest, |(_, id)| *id);
                    }
                    entry.session.heard(now);
                    self.note_change(now, handle);
                    self.drain(now, handle);
                }
            }
        }
    }
}
