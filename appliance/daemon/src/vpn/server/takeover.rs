//! Active and standby: the sessions of the other node are carried on, or everything is dropped.
//!
//! Traffic first: what is reachable, then every session with its keys to the data path (`lay`). New keys later, one by one,
//! those first that are nearest to the end of their packet ids.
//!
//! A planned move is prepared: the data path has everything while the other node still serves, and when the role comes only
//! what has changed since is done. Who gives the role away leaves the data path as it is for a moment ([`LINGER`]), for what
//! has arrived and what still arrives until the links are down. Each node sends from ranges of packet ids of its own, so
//! both may hold the keys.

use std::time::Duration;

use rempart_openvpn::data::epoch::{Persisted, Preparation};
use rempart_openvpn::session::{Seed, Session};

use super::entry::Traffic;
use super::lay::{self, Laid};
use super::value::Value;
use super::*;
use crate::vpn::seam::Sessions;

/// From the take-over to the first new key: what is urgent is done by then.
const FIRST_RENEWAL: Duration = Duration::from_secs(1);
/// From one session to the next: 50 a second, a tenth of what one processor can do.
const RENEWAL_PACE: Duration = Duration::from_millis(20);

/// How long the data path goes on after the role was given away: the links are down within a few milliseconds, and what is
/// queued by then is sent within as many.
const LINGER: Duration = Duration::from_millis(250);

/// The role is ours, or about to be: the data path has `laid` of the sessions.
pub(super) struct Claimed {
    preparation: Preparation,
    laid: BTreeMap<Vec<u8>, Laid>,
    /// What is held; empty while the role is not ours.
    sessions: Sessions,
    /// The other node has given the role in order. Its last packets are under way to the clients, which drop them once they
    /// have a later one of ours: so nothing is sent without need.
    in_order: bool,
}

/// The role is gone, and the data path goes on for a moment.
pub(super) struct Lingering {
    pub until: Instant,
    peers: Vec<PeerId>,
    networks: Vec<IpNet>,
}

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

impl Machine {
    /// This node is active from now on.
    pub(super) fn claim(&mut self, now: Now, right: Persisted<TakeOverEpoch>, sessions: Sessions) {
        if self.reign.is_some() {
            self.stand_by(now);
        }
        self.end_lingering();
        self.give_up();
        let preparation = right.prepare();
        self.claimed = Some(Claimed { preparation, laid: BTreeMap::new(), sessions, in_order: false });
        self.begin(now);
    }

    /// This node is about to be active: all that can be done before is done now, and said to be done once it is in force.
    pub(super) fn make_ready(&mut self, number: u64, right: Persisted<TakeOverEpoch>, sessions: Sessions) {
        self.end_lingering();
        self.give_up();
        let mut preparation = right.prepare();
        let laid = match (&self.start, &self.reign) {
            (Some(_), None) => self.lay(&mut preparation, sessions),
            (None, _) | (_, Some(_)) => BTreeMap::new(),
        };
        tracing::info!(epoch = preparation.epoch().get(), sessions = laid.len(), "ready to serve the VPN");
        self.prepared = Some(Claimed { preparation, laid, sessions: Vec::new(), in_order: true });
        self.actions.push_back(Action::Settle(number));
    }

    /// Everything up to [`Action::Settle`] is in force.
    pub fn handle_settled(&mut self, number: u64) {
        self.replica.prepared(number);
    }

    /// Active, with what was made ready.
    pub(super) fn take_up(&mut self, now: Now, sessions: Sessions) {
        let Some(prepared) = self.prepared.take() else {
            // It was said to make ready before.
            return tracing::error!("nothing was made ready: the VPN is not served");
        };
        self.claimed = Some(Claimed { sessions, ..prepared });
        self.begin(now);
    }

    /// What was made ready is not wanted any more.
    pub(super) fn give_up(&mut self) {
        for Claimed { laid, .. } in [self.prepared.take(), self.claimed.take()].into_iter().flatten() {
            self.lift(laid.into_values());
        }
    }

    /// What was made ready is out of date; its epoch stays, and who had a range in it gets new keys at once.
    pub(super) fn unsettle(&mut self) {
        let known = [&mut self.prepared, &mut self.claimed].into_iter().flatten();
        let laid: Vec<Laid> =
            known.flat_map(|claimed| std::mem::take(&mut claimed.laid).into_values()).collect();
        self.lift(laid.into_iter());
    }

    /// Begins to serve, if all that is needed is there.
    pub(super) fn begin(&mut self, now: Now) {
        if self.start.is_none() {
            return;
        }
        let Some(claimed) = self.claimed.take() else { return };
        let Claimed { mut preparation, mut laid, sessions, in_order } = claimed;
        self.report_at = Some(now.instant + REPORT);
        let given = sessions.len();
        self.bring_up_to_date(&mut preparation, &mut laid, sessions);
        let epoch = preparation.epoch().get();
        self.reign = Some(preparation.begin());
        let count = laid.len();
        let mut order = Vec::with_capacity(count);
        for laid in laid.into_values() {
            if !in_order {
                // The client's translators learn the way to this node.
                self.actions.push_back(Action::Data(Data::Ping(laid.peer)));
            }
            order.push(self.carry_on(now, epoch, laid));
        }
        // The end of the ranges first; whoever cannot be sent to before there is a new key does not wait for it.
        order.sort_by_key(|(nearness, _)| std::cmp::Reverse(*nearness));
        let mute = order.first().is_some_and(|(nearness, _)| *nearness == lay::MUTE);
        self.renewals.waiting = order.into_iter().map(|(_, handle)| handle).collect();
        let first = if mute { now.instant } else { now.instant + FIRST_RENEWAL };
        self.renewals.at = (count > 0).then_some(first);
        self.counters.carried_on += count as u64;
        tracing::info!(
            epoch,
            sessions = count,
            lost = given - count,
            in_order,
            "the VPN is served from this node"
        );
    }

    /// A session of the data path becomes one of the server. How near its newest key is to the end of its packet ids.
    fn carry_on(&mut self, now: Now, epoch: u64, laid: Laid) -> (u64, Handle) {
        let Laid { value, peer, path, keys, nearness, .. } = laid;
        let handle = self.draw_handle();
        let Value { snapshot, local, grant, renewed_unix_s, bytes_in, bytes_out, echo, keys: _ } = value;
        let held: Vec<_> = keys.into_iter().map(|(held, _)| held).collect();
        let echo = held.iter().find(|held| Some(held.id) == echo).map(|held| held.serial);
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

    /// Which store the other node has. A key names those that may send under it when it is made: one that was made before this
    /// was known would be of no use to the other node.
    pub(super) fn meet(&mut self, now: Now, store: Option<StoreId>) {
        if store.is_some() && store != self.other && self.reign.is_some() && !self.carried.is_empty() {
            self.renewals.waiting = self.carried.values().copied().collect();
            self.renewals.at = Some(now.instant + FIRST_RENEWAL);
        }
        self.other = store;
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

    /// This node is on standby from now on: after a moment no packet leaves any more. What the other node holds is not
    /// touched.
    pub(super) fn stand_by(&mut self, now: Now) {
        self.end_lingering();
        self.give_up();
        let peers: Vec<PeerId> = std::mem::take(&mut self.carried).into_keys().collect();
        let count = peers.len();
        let carried = self.entries.values().filter(|entry| entry.carried);
        let networks = carried.filter_map(|entry| entry.grant.as_ref()).flat_map(Grant::own).collect();
        self.lingering = Some(Lingering { until: now.instant + LINGER, peers, networks });
        self.actions.push_back(Action::HangUpAll);
        for ticket in std::mem::take(&mut self.logins).into_keys() {
            self.people.forget(ticket);
        }
        self.entries.clear();
        self.names.clear();
        self.peers.clear();
        self.addresses.clear();
        self.waiting.clear();
        self.slow.clear();
        self.starting = 0;
        self.timers.clear();
        self.changed.clear();
        (self.put_at, self.report_at) = (None, None);
        self.renewals = Renewals::default();
        self.reign = None;
        tracing::info!(
            sessions = count,
            at_unix_s = now.unix_s,
            "the VPN is not served from this node any more"
        );
    }

    /// The data path has nothing left to do.
    pub(super) fn end_lingering(&mut self) {
        let Some(Lingering { peers, networks, .. }) = self.lingering.take() else { return };
        self.actions.extend(peers.into_iter().map(|peer| Action::Data(Data::Remove(peer))));
        if !networks.is_empty() {
            self.actions.push_back(Action::Unreachable { networks, forget: false });
        }
    }
}
