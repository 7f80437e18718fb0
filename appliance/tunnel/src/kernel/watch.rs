//! What the kernel tells, what its counters say, and what time brings.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use rempart_openvpn::data::inbound::Received;
use rempart_openvpn::data::outbound::Sent;
use rempart_openvpn::data::{Path, PeerId};
use rempart_system::ovpn::{Counters, Happened};

use super::Offload;
use super::member::{Carried, END};
use crate::path::DataPath;
use crate::shard::{Event, Half};

impl<P: DataPath> Offload<P> {
    /// What has to be known of what the kernel says by itself: to be called when [`AsFd`] is readable, and once a second.
    pub fn tick(&mut self, now: Instant) {
        let (mut heard, device) = (Vec::new(), self.device);
        // What is lost is found by the next report.
        let _ = self.notices.read(|notice| heard.push(notice));
        for notice in heard.into_iter().filter(|notice| notice.device == device) {
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
    pub(super) fn take_stock(&mut self) {
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
            // On the line anybody can name a session; what came through the tunnel was authentic.
            let first = found.inner.received.packets > 0 && !std::mem::replace(&mut carried.heard, true);
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

    /// Takes note of a session's counters.
    pub(super) fn look(&mut self, peer: PeerId) {
        let Ok(found) = self.ovpn.peer(self.device, peer.get()) else { return };
        if let Some(carried) = self.carried(peer) {
            carried.counters = (found.inner, found.outer);
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
}

fn add_sent(sent: &mut Sent, counted: &Counters) {
    sent.packets = sent.packets.saturating_add(counted.sent.packets);
    sent.bytes = sent.bytes.saturating_add(counted.sent.bytes);
}

fn add_received(received: &mut Received, counted: &Counters) {
    received.packets = received.packets.saturating_add(counted.received.packets);
    received.bytes = received.bytes.saturating_add(counted.received.bytes);
}
