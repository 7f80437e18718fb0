//! Packets of the control channel, and what sessions want: the beginning and the end of a session.

use std::net::{IpAddr, SocketAddr};

use rempart_openvpn::cookie::{Admission, Outcome};
use rempart_openvpn::packet::Header;
use rempart_openvpn::session::{Closed, Output, Place, Seed, Session};
use rempart_tunnel::STREAM;

use super::entry::{Ending, Traffic};
use super::*;
use crate::vpn::seam::Kind;

impl Machine {
    /// A packet of the control channel.
    pub fn handle_control(&mut self, now: Now, path: Path, packet: &[u8]) {
        if !self.serves() {
            if path.local == STREAM {
                self.actions.push_back(Action::HangUp(path.remote));
            }
            return;
        }
        let Ok((header, _)) = Header::parse(packet) else { return self.stray(path) };
        if let Some(handle) = self.names.get(&(path, header.session)).copied() {
            if let Some(entry) = self.entries.get_mut(&handle)
                && entry.session.handle_datagram(now, packet).is_err()
            {
                self.counters.dropped += 1;
            }
            return self.drain(now, handle);
        }
        let Some(start) = &mut self.start else { return };
        match start.handle(now, path.remote, packet) {
            Outcome::Nothing(why) => {
                tracing::trace!(from = %path.remote, ?why, "control packet of no session");
                self.stray(path);
            }
            Outcome::Reply(reply) => self.actions.push_back(Action::Send(path, reply)),
            Outcome::Admit(admission) => self.admit(now, path, &admission, packet),
        }
    }

    /// Something that is none of ours. On a stream whose beginning it is, nothing else is waited for.
    fn stray(&mut self, path: Path) {
        self.counters.strays += 1;
        if path.local == STREAM && self.at(path).next().is_none() {
            self.actions.push_back(Action::HangUp(path.remote));
        }
    }

    /// A TCP connection has ended.
    pub fn handle_hang_up(&mut self, now: Now, remote: SocketAddr) {
        let sessions: Vec<Handle> = self.at(Path { local: STREAM, remote }).collect();
        for handle in sessions {
            if let Some(entry) = self.entries.get_mut(&handle) {
                entry.session.left();
                self.drain(now, handle);
            }
        }
    }

    /// The sessions of one place.
    pub(super) fn at(&self, path: Path) -> impl Iterator<Item = Handle> + use<'_> {
        let (first, last) = (SessionId([0; 8]), SessionId([u8::MAX; 8]));
        self.names.range((path, first)..=(path, last)).map(|(_, handle)| *handle)
    }

    fn admit(&mut self, now: Now, path: Path, admission: &Admission, packet: &[u8]) {
        let (Some(settings), Some(reign), Some(local)) =
            (self.settings.clone(), &self.reign, self.local(path))
        else {
            return;
        };
        let epoch = reign.epoch().get();
        if !self.people.may_begin(admission.metadata.as_ref()) {
            tracing::info!(target: "session", event = "refuse", from = %path.remote, reason = "the device is revoked or unknown");
            self.counters.refused += 1;
            return self.stray(path);
        }
        let here: Vec<Handle> = self.at(path).collect();
        // Study §1.6: the same client instance, which goes on under its peer id. Another beginning of it is given up.
        let before = here.iter().copied().find(|handle| self.is_carried(*handle));
        for other in here.into_iter().filter(|handle| Some(*handle) != before) {
            self.abandon(now, other);
        }
        if self.starting >= MAX_STARTING || self.starting_at(path.remote.ip()) >= MAX_STARTING_EACH {
            tracing::debug!(from = %path.remote, "too many sessions are beginning");
            self.counters.strays += 1;
            return;
        }
        let peer = before.and_then(|before| Some(self.entries.get(&before)?.peer));
        let Some(peer) = peer.or_else(|| self.draw_peer()) else { return };
        let (tcp, seed) = (path.local == STREAM, Seed::new(&self.seed()));
        let place = Place { peer_id: peer.get(), tcp, epoch };
        let session = match Session::new(now, settings, admission, place, seed) {
            Ok(session) => session,
            Err(error) => {
                tracing::warn!(%error, "TLS cannot begin: the server's certificate or key is unfit");
                return;
            }
        };
        let handle = self.draw_handle();
        let entry = Entry {
            session,
            path,
            local,
            peer,
            grant: None,
            claimed: String::new(),
            client: String::new(),
            carried: false,
            up: false,
            replicated: false,
            before,
            succeeded: false,
            keys: Vec::new(),
            ready: Vec::new(),
            echo: None,
            received: Traffic::default(),
            sent: Traffic::default(),
            heard: now.instant,
            renewed_unix_s: None,
            carried_on: false,
            limit: None,
            wake: None,
            ending: None,
            refusal: None,
            last_missing: [false; 2],
            ended_unix_s: None,
        };
        self.names.insert((path, admission.client_session), handle);
        *self.peers.entry(peer).or_default() += 1;
        self.entries.insert(handle, entry);
        self.starting += 1;
        if tcp {
            self.actions.push_back(Action::Trust(path.remote));
        }
        if let Some(entry) = self.entries.get_mut(&handle)
            && entry.session.handle_datagram(now, packet).is_err()
        {
            self.counters.dropped += 1;
        }
        self.drain(now, handle);
    }

    fn starting_at(&self, ip: IpAddr) -> usize {
        self.entries.values().filter(|entry| entry.grant.is_none() && entry.path.remote.ip() == ip).count()
    }

    fn is_carried(&self, handle: Handle) -> bool {
        self.entries.get(&handle).is_some_and(|entry| entry.carried)
    }

    /// Our address at a place.
    pub(super) fn local(&self, path: Path) -> Option<SocketAddr> {
        let plan = self.plan.as_ref()?;
        match path.local {
            STREAM => plan.tcp.first().copied(),
            number => plan.udp.get(usize::from(number)).copied(),
        }
    }

    pub(super) fn draw_handle(&mut self) -> Handle {
        self.next_handle += 1;
        Handle(self.next_handle)
    }

    /// A peer id that nobody has, and that nobody had for as long as possible: they go round, 2²⁴ of them.
    pub(super) fn draw_peer(&mut self) -> Option<PeerId> {
        // More are in use than sessions only while some start over in place.
        for _ in 0..=self.peers.len() + 1 {
            self.next_peer = (self.next_peer + 1) & 0x00ff_ffff;
            match PeerId::new(self.next_peer) {
                Some(peer) if !self.peers.contains_key(&peer) => return Some(peer),
                Some(_) | None => {}
            }
        }
        None
    }

    /// Does what a session wants, sends what it has to say, and sets its timer.
    pub(super) fn drain(&mut self, now: Now, handle: Handle) {
        let mut closed = None;
        while let Some(entry) = self.entries.get_mut(&handle) {
            let Some(output) = entry.session.poll_output() else { break };
            match output {
                Output::Authenticate(login) => self.ask(now, handle, login),
                Output::Answer { key_id, text } => {
                    let asked = self.logins.iter().find(|(_, login)| **login == (handle, key_id));
                    if let Some((ticket, _)) = asked {
                        self.people.answer(*ticket, text);
                    }
                }
                Output::Commit { ticket } => self.commit(now, handle, ticket),
                Output::Changed => self.note_change(now, handle),
                Output::Install(keys) => self.install(now, handle, &keys),
                Output::Retire(key_id) => self.retire(handle, key_id),
                Output::Cut => self.cut_data(now, handle),
                Output::Closed(why) => closed = Some(why),
            }
        }
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        while let Some(packet) = entry.session.poll_transmit(now) {
            self.actions.push_back(Action::Send(entry.path, packet));
        }
        match closed {
            Some(why) => self.finish(now, handle, &why),
            None => self.set_timer(now, handle),
        }
    }

    fn set_timer(&mut self, now: Now, handle: Handle) {
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        // A session that is closing has deadlines that it does not look at any more: they must not make us spin.
        let soonest = now.instant + SOONEST;
        let wake = [entry.session.poll_timeout(now), entry.limit].into_iter().flatten().min();
        let wake = wake.map(|at| at.max(soonest));
        if entry.wake != wake {
            if let Some(at) = entry.wake {
                self.timers.remove(&(at, handle));
            }
            entry.wake = wake;
            self.timers.extend(wake.map(|at| (at, handle)));
        }
    }

    /// Ends a session; its client is told.
    pub(super) fn end(&mut self, now: Now, handle: Handle, ending: Ending) {
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        entry.ending.get_or_insert(ending);
        entry.session.disconnect(now, &ending.notice());
        self.drain(now, handle);
    }

    /// Ends a session that never came up, or that has given way; nobody is told.
    pub(super) fn abandon(&mut self, now: Now, handle: Handle) {
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        entry.session.left();
        self.drain(now, handle);
    }

    /// No packet of the session passes any more.
    pub(super) fn cut_data(&mut self, now: Now, handle: Handle) {
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        entry.keys.clear();
        entry.ready.clear();
        if !std::mem::take(&mut entry.carried) {
            return;
        }
        let peer = entry.peer;
        entry.last_missing = [true; 2];
        entry.ended_unix_s = Some(now.unix_s);
        self.carried.remove(&peer);
        self.actions.push_back(Action::Data(Data::Remove(peer)));
        if let Some(grant) = &entry.grant {
            self.actions.push_back(Action::Unreachable { networks: grant.own(), forget: true });
            self.addresses.release(handle, grant.inner);
        }
        if std::mem::take(&mut entry.replicated) && !entry.succeeded {
            self.replica.remove(Kind::Session, &peer.get().to_be_bytes());
        }
    }

    /// Everything of a session goes.
    fn finish(&mut self, now: Now, handle: Handle, why: &Closed) {
        let Some(entry) = self.remove(handle) else { return };
        match entry.before.and_then(|before| Some((before, self.entries.get_mut(&before)?))) {
            // The one in whose place it would have been goes on, and is what the other node has to hold.
            Some((before, old)) => {
                old.succeeded = false;
                self.note_change(now, before);
            }
            None if entry.replicated && !entry.succeeded => {
                self.replica.remove(Kind::Session, &entry.peer.get().to_be_bytes());
            }
            None => {}
        }
        if entry.is_tcp() {
            self.actions.push_back(Action::HangUp(entry.path.remote));
        }
        match &entry.grant {
            Some(_) if entry.up => {
                self.counters.ended += 1;
                self.take_leave(now, entry, why);
            }
            Some(_) | None => {
                self.counters.refused += 1;
                record::refused(&entry, why);
            }
        }
    }

    /// Takes a session off all maps.
    pub(super) fn remove(&mut self, handle: Handle) -> Option<Entry> {
        let entry = self.entries.remove(&handle)?;
        let name = (entry.path, entry.session.client_session());
        if self.names.get(&name) == Some(&handle) {
            self.names.remove(&name);
        }
        if let Some(at) = entry.wake {
            self.timers.remove(&(at, handle));
        }
        self.changed.remove(&handle);
        if !entry.up {
            self.starting = self.starting.saturating_sub(1);
        }
        if let Some(count) = self.peers.get_mut(&entry.peer) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&entry.peer);
            }
        }
        if let Some(grant) = &entry.grant {
            self.addresses.release(handle, grant.inner);
        }
        let over: Vec<LoginTicket> =
            self.logins.iter().filter(|(_, (of, _))| *of == handle).map(|(ticket, _)| *ticket).collect();
        for ticket in over {
            self.logins.remove(&ticket);
            self.people.forget(ticket);
        }
        self.waiting.retain(|(_, of, _)| *of != handle);
        Some(entry)
    }
}
