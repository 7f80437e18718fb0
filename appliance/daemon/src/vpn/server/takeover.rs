//! Active and standby: the sessions of the other node are carried on, or everything is dropped.
//!
//! Traffic first: what is reachable, then every session with its keys to the data path. New keys later, one by one, those
//! first that are nearest to the end of their packet ids.

use std::time::Duration;

use rempart_openvpn::data::epoch::NoRange;
use rempart_openvpn::data::keys::DataKeys;
use rempart_openvpn::session::{Seed, Session};
use rempart_tunnel::STREAM;

use super::entry::Traffic;
use super::keys::Held;
use super::value::Value;
use super::*;
use crate::vpn::seam::Kind;

/// From the take-over to the first new key: what is urgent is done by then.
const FIRST_RENEWAL: Duration = Duration::from_secs(1);
/// From one session to the next: 50 a second, a tenth of what one processor can do.
const RENEWAL_PACE: Duration = Duration::from_millis(20);

/// Sessions that are to get new keys.
#[derive(Debug, Default)]
pub(super) struct Renewals {
    waiting: VecDeque<Handle>,
    at: Option<Instant>,
}

impl Renewals {
    pub fn next(&self) -> Option<Instant> {
        self.at
    }

    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// A session of the other node that can be carried on.
struct Found {
    value: Value,
    peer: PeerId,
    path: Path,
    keys: Vec<(Held, DataKeys)>,
}

impl Machine {
    /// This node is active from now on.
    pub(super) fn claim(&mut self, now: Now, claimed: Claimed) {
        if self.reign.is_some() {
            self.stand_by(now);
        }
        self.claimed = Some(claimed);
        self.begin(now);
    }

    /// Begins to serve, if all that is needed is there.
    pub(super) fn begin(&mut self, now: Now) {
        if self.start.is_none() {
            return;
        }
        let Some(Claimed { right, sessions }) = self.claimed.take() else { return };
        self.report_at = Some(now.instant + REPORT);
        let found: Vec<Found> = sessions.iter().filter_map(|(key, value)| self.find(key, value)).collect();
        let list: Vec<_> = found
            .iter()
            .flat_map(|found| &found.keys)
            .map(|(held, keys)| keys::imported(held.origin, keys))
            .collect();
        let epoch = right.epoch().get();
        let (reign, ranges) = right.take_over(&list);
        self.reign = Some(reign);
        let count = found.len();
        let networks: Vec<IpNet> = found.iter().flat_map(|found| found.value.grant.own()).collect();
        if !networks.is_empty() {
            self.actions.push_back(Action::Reachable(networks));
        }
        let mut ranges = ranges.into_iter();
        let mut order = Vec::with_capacity(count);
        for found in found {
            order.push(self.carry_on(now, epoch, found, &mut ranges));
        }
        // The end of the ranges first; whoever cannot be sent to before there is a new key does not wait for it.
        order.sort_by_key(|(nearness, _)| std::cmp::Reverse(*nearness));
        let mute = order.first().is_some_and(|(nearness, _)| *nearness == u64::MAX);
        self.renewals.waiting = order.into_iter().map(|(_, handle)| handle).collect();
        let first = if mute { now.instant } else { now.instant + FIRST_RENEWAL };
        self.renewals.at = (count > 0).then_some(first);
        self.counters.carried_on += count as u64;
        tracing::info!(
            epoch,
            sessions = count,
            lost = sessions.len() - count,
            "the VPN is served from this node"
        );
    }

    /// Which store the other node has. A key names those that may send under it when it is made: one that was made before this
    /// was known would be of no use to the other node.
    pub(super) fn meet(&mut self, now: Now, store: Option<StoreId>) {
        if store.is_some() && store != self.other && self.reign.is_some() && !self.carried.is_empty() {
            self.renewals.waiting = self.carried.values().copied().collect();
            self.renewals.at = Some(now.instant + FIRST_RENEWAL);
        }
        self.other = store;
    }

    /// What is held under a key, if it can be carried on; else it is taken away.
    fn find(&mut self, key: &[u8], bytes: &[u8]) -> Option<Found> {
        let found = self.examine(key, bytes);
        if let Err(why) = &found {
            tracing::warn!(why, "a session of the other node is not carried on");
            self.counters.lost += 1;
            self.replica.remove(Kind::Session, key);
        }
        found.ok()
    }

    fn examine(&mut self, key: &[u8], bytes: &[u8]) -> Result<Found, String> {
        let plan = self.plan.clone().ok_or("there is no configuration")?;
        let value = Value::decode(bytes).map_err(|error| error.to_string())?;
        let snapshot = &value.snapshot;
        let peer = PeerId::new(snapshot.peer_id).ok_or("its peer id is impossible")?;
        if *key != peer.get().to_be_bytes() {
            return Err("it is another session than its key says".to_owned());
        }
        if snapshot.tcp {
            return Err("it came by TCP".to_owned());
        }
        if !plan.groups.iter().any(|group| group.name == value.grant.group) {
            return Err(format!("the group {} is gone", value.grant.group));
        }
        // Both nodes listen on the virtual addresses; where there is none, on their own.
        let same = plan.udp.iter().position(|local| *local == value.local);
        let alike = || plan.udp.iter().position(|local| local.is_ipv4() == snapshot.client.is_ipv4());
        let place =
            same.or_else(alike).and_then(|place| u8::try_from(place).ok()).filter(|place| *place < STREAM);
        let path = Path { local: place.ok_or("nothing listens for it")?, remote: snapshot.client };
        if self.peers.contains_key(&peer) {
            return Err("its peer id is in use".to_owned());
        }
        let handle = Handle(u64::MAX);
        if value.grant.inner.addresses().any(|ip| self.addresses.owner(ip).is_some()) {
            return Err("its address is in use".to_owned());
        }
        // Until it has a handle of its own.
        self.addresses.hold(handle, &value.grant.who(), value.grant.inner);
        let mut keys = Vec::with_capacity(snapshot.keys.len());
        for key in &snapshot.keys {
            let Some(known) = value.keys.iter().find(|known| known.id == key.keys.key_id) else { continue };
            let serial = self.serials.draw();
            let held = Held { id: known.id, serial, origin: known.origin, highest: known.highest };
            keys.push((held, keys::foreign(&key.keys)));
        }
        Ok(Found { peer, path, keys, value })
    }

    /// Its keys and itself to the data path. How near its newest key is to the end of its packet ids.
    fn carry_on(
        &mut self,
        now: Now,
        epoch: u64,
        found: Found,
        ranges: &mut impl Iterator<Item = Result<rempart_openvpn::data::epoch::PacketIdRange, NoRange>>,
    ) -> (u64, Handle) {
        let Found { value, peer, path, keys } = found;
        let handle = self.draw_handle();
        let Value { snapshot, local, grant, renewed_unix_s, bytes_in, bytes_out, echo, keys: _ } = value;
        let echo = keys.iter().find(|(held, _)| Some(held.id) == echo).map(|(held, _)| held.serial);
        let own = grant.own();
        self.actions.push_back(Action::Data(Data::Add { peer, path, own, echo }));
        let (mut nearness, mut held) = (u64::MAX, Vec::with_capacity(keys.len()));
        for ((key, data), range) in keys.into_iter().zip(ranges) {
            let distance = epoch.saturating_sub(key.origin.made.get());
            let (ready, refused) = keys::carried(key, &data, range, peer);
            nearness = if refused.is_none() { distance } else { u64::MAX };
            if let Some(why) = refused {
                tracing::warn!(peer = peer.get(), %why, "nothing is sent under a key until it is renewed");
            }
            held.push(ready.held);
            let (opener, sealer) = (Box::new(ready.opener), ready.sealer.map(Box::new));
            let key = Data::Key { peer, serial: ready.held.serial, opener, sealer };
            self.actions.push_back(Action::Data(key));
        }
        // The client's translators learn the way to this node.
        self.actions.push_back(Action::Data(Data::Ping(peer)));
        self.addresses.hold(handle, &grant.who(), grant.inner);
        let seed = Seed::new(&self.seed());
        let Some(settings) = self.settings.clone() else { return (nearness, handle) };
        let mut session = Session::import(now, settings, &snapshot, epoch, seed);
        // It asks for the keys to be installed, which they are.
        while session.poll_output().is_some() {}
        let limit = self.limit_of(now, &grant, snapshot.identity.issued_unix_s);
        let traffic = |before| Traffic { before, ..Traffic::default() };
        self.names.insert((path, snapshot.client_session), handle);
        *self.peers.entry(peer).or_default() += 1;
        self.carried.insert(peer, handle);
        let entry = Entry {
            session,
            path,
            local,
            peer,
            grant: Some(grant),
            claimed: String::new(),
            client: String::new(),
            carried: true,
            up: true,
            replicated: true,
            before: None,
            succeeded: false,
            keys: held,
            ready: Vec::new(),
            echo,
            received: traffic(bytes_in),
            sent: traffic(bytes_out),
            heard: now.instant,
            renewed_unix_s,
            carried_on: true,
            limit,
            wake: None,
            ending: None,
            refusal: None,
            last_missing: [false; 2],
            ended_unix_s: None,
        };
        self.entries.insert(handle, entry);
        self.drain(now, handle);
        (nearness, handle)
    }

    fn limit_of(&self, now: Now, grant: &Grant, issued_unix_s: u64) -> Option<Instant> {
        let plan = self.plan.as_ref()?;
        let group = plan.groups.iter().find(|group| group.name == grant.group)?;
        let end = issued_unix_s.saturating_add(group.session_limit_s?.into());
        Some(now.instant + Duration::from_secs(end.saturating_sub(now.unix_s)))
    }

    /// The next session gets a new key. Not the ones behind time: a late call does not make a burst.
    pub(super) fn renew_next(&mut self, now: Now) {
        if self.renewals.at.is_none_or(|at| at > now.instant) {
            return;
        }
        let next = self.renewals.waiting.pop_front();
        self.renewals.at = next.map(|_| now.instant + RENEWAL_PACE);
        let Some(handle) = next else { return };
        if let Some(entry) = self.entries.get_mut(&handle) {
            entry.session.rekey(now);
            self.drain(now, handle);
        }
    }

    /// This node is on standby from now on: no packet leaves any more. What the other node holds is not touched.
    pub(super) fn stand_by(&mut self, now: Now) {
        let count = self.carried.len();
        let peers = std::mem::take(&mut self.carried).into_keys();
        self.actions.extend(peers.map(|peer| Action::Data(Data::Remove(peer))));
        let carried = self.entries.values().filter(|entry| entry.carried);
        let networks: Vec<IpNet> =
            carried.filter_map(|entry| entry.grant.as_ref()).flat_map(Grant::own).collect();
        if !networks.is_empty() {
            self.actions.push_back(Action::Unreachable { networks, forget: false });
        }
        self.actions.push_back(Action::HangUpAll);
        for ticket in std::mem::take(&mut self.logins).into_keys() {
            self.people.forget(ticket);
        }
        self.entries.clear();
        self.names.clear();
        self.peers.clear();
        self.addresses.clear();
        self.waiting.clear();
        self.starting = 0;
        self.timers.clear();
        self.changed.clear();
        (self.put_at, self.report_at) = (None, None);
        self.renewals = Renewals::default();
        (self.reign, self.claimed) = (None, None);
        tracing::info!(
            sessions = count,
            at_unix_s = now.unix_s,
            "the VPN is not served from this node any more"
        );
    }
}
