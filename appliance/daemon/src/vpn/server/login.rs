//! Who comes in: what people are asked, what follows from their verdict, addresses and limits.

use std::time::Duration;

use rempart_identity::demand::Admission;
use rempart_openvpn::message::{Advance, Refusal};
use rempart_openvpn::session::{Accept, Login, PendingError};
use rempart_openvpn::token::Claims;
use rempart_plan::vpn::GroupPlan;

use super::entry::Ending;
use super::grant::Inner;
use super::*;
use crate::vpn::seam::Verdict;

/// How long a person has for a code, in seconds: to find the telephone, and for one code to give way to the next.
const QUESTION_S: u16 = 120;
/// A verdict that takes longer than this is announced. A client has patience of its own, from when TLS begins: a minute, and
/// 20 s with our profiles.
const SLOW: Duration = Duration::from_secs(2);
/// How long a verdict that was announced may take, in seconds: a directory's servers one after the other, and the logins
/// that wait before it.
const VERDICT_S: u16 = 120;
/// After how long a client tries again that found no room, in seconds.
const FULL_BACKOFF_S: u16 = 60;
/// The longest version of a client that is kept.
const MAX_CLIENT: usize = 96;

/// Why somebody whom people let in stays out all the same.
struct NotGranted {
    refusal: Refusal,
    /// For the log.
    why: String,
}

impl NotGranted {
    fn full(why: &str) -> Self {
        let text = "The gateway has no room for another connection. Try again later.".to_owned();
        let refusal = Refusal::Temporary { backoff_s: FULL_BACKOFF_S, advance: Advance::No, text };
        Self { refusal, why: why.to_owned() }
    }

    fn failed(text: &str) -> Self {
        Self { refusal: Refusal::Failed(text.to_owned()), why: text.to_owned() }
    }

    fn again(text: &str) -> Self {
        Self { refusal: Refusal::Session(text.to_owned()), why: text.to_owned() }
    }
}

/// What an accepted client gets.
struct Granted {
    grant: Grant,
    accept: Accept,
    limit: Option<Instant>,
}

impl Machine {
    pub(super) fn ask(&mut self, now: Now, handle: Handle, login: Box<Login>) {
        self.next_login += 1;
        let ticket = LoginTicket(self.next_login);
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        entry.claimed = login.user.clone();
        let words = ["IV_VER", "IV_PLAT", "IV_GUI_VER"].iter().filter_map(|name| login.peer_info.get(name));
        // What peer info takes is printable ASCII.
        entry.client = words.collect::<Vec<_>>().join(" ").chars().take(MAX_CLIENT).collect();
        self.logins.insert(ticket, (handle, login.key_id));
        // At a renewal the client goes on with the key that it has, and must not hear of the new one before the other node.
        if login.features.pending_keywords && !login.renewal {
            self.slow.push_back((now.instant + SLOW, ticket));
        }
        self.people.begin(ticket, entry.path.remote, login);
    }

    /// Clients whose verdict has not come yet are told to wait (`AUTH_PENDING`), those that know what that means.
    pub(super) fn announce_slow(&mut self, now: Now) {
        while let Some((at, ticket)) = self.slow.front().copied()
            && at <= now.instant
        {
            self.slow.pop_front();
            let Some((handle, key_id)) = self.logins.get(&ticket).copied() else { continue };
            let Some(entry) = self.entries.get_mut(&handle) else { continue };
            if entry.session.pending(now, key_id, VERDICT_S, None).is_ok() {
                self.counters.pending += 1;
            }
            self.drain(now, handle);
        }
    }

    pub(super) fn judge(&mut self, now: Now, ticket: LoginTicket, verdict: Verdict) {
        let Some((handle, key_id)) = self.logins.remove(&ticket) else { return };
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        match verdict {
            Verdict::Accepted { admission, carried_on } => {
                self.accept(now, handle, key_id, &admission, carried_on);
            }
            Verdict::Question { text, refusal } => {
                match entry.session.pending(now, key_id, QUESTION_S, Some((&text, false))) {
                    Ok(()) => {
                        self.logins.insert(ticket, (handle, key_id));
                        // It has been told to wait, for as long as a person may take.
                        self.slow.retain(|(_, slow)| *slow != ticket);
                    }
                    Err(PendingError::NoQuestions) => {
                        entry.refusal = Some("a code is asked for, with another login".to_owned());
                        entry.session.reject(now, key_id, *refusal);
                    }
                    Err(PendingError::NotAsked) => self.people.forget(ticket),
                }
            }
            Verdict::Refused(refusal) => {
                entry.refusal = Some(words(&refusal).to_owned());
                entry.session.reject(now, key_id, *refusal);
            }
        }
        self.drain(now, handle);
    }

    fn accept(
        &mut self,
        now: Now,
        handle: Handle,
        key_id: KeyId,
        admission: &Admission,
        carried_on: Option<Claims>,
    ) {
        let renewal = self.entries.get(&handle).is_some_and(|entry| entry.grant.is_some());
        let granted = match renewal {
            true => self.renew(handle, admission),
            false => self.grant(now, handle, admission, carried_on),
        };
        let Some(entry) = self.entries.get_mut(&handle) else { return };
        let done = granted.and_then(|Granted { grant, accept, limit }| {
            entry.grant = Some(grant);
            entry.limit = limit;
            let done = entry.session.accept(now, key_id, accept);
            done.map_err(|error| NotGranted::failed(&error.to_string()))
        });
        if let Err(NotGranted { refusal, why }) = done {
            entry.refusal = Some(why);
            entry.session.reject(now, key_id, refusal);
        }
    }

    /// A new key for somebody who is in. Groups that have changed in between are for a new session.
    fn renew(&self, handle: Handle, admission: &Admission) -> Result<Granted, NotGranted> {
        let entry = self.entries.get(&handle).and_then(|entry| Some((entry, entry.grant.as_ref()?)));
        let Some((entry, grant)) = entry else { return Err(NotGranted::failed("the session is gone")) };
        if admission.user != grant.user || admission.device != grant.device {
            return Err(NotGranted::again("the login is of somebody else"));
        }
        if admission.groups != grant.groups {
            return Err(NotGranted::again("the groups have changed"));
        }
        Ok(Granted { grant: grant.clone(), accept: Accept::default(), limit: entry.limit })
    }

    fn grant(
        &mut self,
        now: Now,
        handle: Handle,
        admission: &Admission,
        carried_on: Option<Claims>,
    ) -> Result<Granted, NotGranted> {
        let plan = self.plan.clone().ok_or_else(|| NotGranted::failed("there is no configuration"))?;
        let is_in = |group: &&GroupPlan| admission.groups.iter().any(|name| name.as_str() == group.name);
        let group =
            plan.groups.iter().find(is_in).ok_or_else(|| NotGranted::failed("in no group of the VPN"))?;
        let issued = carried_on.map_or(now.unix_s, |claims| claims.issued_unix_s);
        let limit = match group.session_limit_s {
            None => None,
            Some(limit_s) => {
                let left =
                    issued.saturating_add(limit_s.into()).checked_sub(now.unix_s).filter(|left| *left > 0);
                let left = left.ok_or_else(|| NotGranted::again("The session is over. Log in again."))?;
                Some(now.instant + Duration::from_secs(left))
            }
        };
        let mut grant = Grant {
            group: group.name.clone(),
            user: admission.user.clone(),
            groups: admission.groups.clone(),
            device: admission.device,
            inner: Inner::default(),
            networks: Vec::new(),
            since_unix_s: now.unix_s,
        };
        let same = self.make_way(now, handle, &grant);
        self.check_limits(now, handle, &plan, group, &grant)?;
        grant.inner = match same {
            Some(inner) => {
                self.addresses.hold(handle, &grant.who(), inner);
                inner
            }
            None => {
                let fixed = self.fixed(now, handle, admission);
                let taken = self.addresses.take(handle, group, &grant.who(), fixed);
                taken.map_err(|error| NotGranted::full(&error.to_string()))?
            }
        };
        grant.networks = self.free_networks(handle, admission);
        let options = options::options(&plan, group, grant.inner);
        Ok(Granted { grant, accept: Accept { options, attached: Vec::new(), carried_on }, limit })
    }

    /// Ends what this login takes the place of. The addresses of a session that is started over in place.
    fn make_way(&mut self, now: Now, handle: Handle, grant: &Grant) -> Option<Inner> {
        let before = self.entries.get(&handle).and_then(|entry| entry.before);
        let old = before.and_then(|before| self.entries.get(&before)?.grant.clone());
        let same = old.filter(|old| old.is_of(grant) && old.group == grant.group).map(|old| old.inner);
        if let (Some(before), None) = (before, same) {
            // Somebody else has this address now: whoever had it is elsewhere, or gone.
            self.abandon(now, before);
            if let Some(entry) = self.entries.get_mut(&handle) {
                entry.before = None;
            }
        }
        let double = |(other, entry): (&Handle, &Entry)| {
            let twice = entry.grant.as_ref().is_some_and(|old| old.device.is_some() && old.is_of(grant));
            (twice && *other != handle && Some(*other) != before).then_some(*other)
        };
        let doubles: Vec<Handle> = self.entries.iter().filter_map(double).collect();
        doubles.into_iter().for_each(|double| self.end(now, double, Ending::Replaced));
        same
    }

    fn check_limits(
        &mut self,
        now: Now,
        handle: Handle,
        plan: &VpnPlan,
        group: &GroupPlan,
        grant: &Grant,
    ) -> Result<(), NotGranted> {
        let before = self.entries.get(&handle).and_then(|entry| entry.before);
        let others = || {
            let others =
                self.entries.iter().filter(|(other, _)| **other != handle && Some(**other) != before);
            let there = others.filter(|(_, entry)| entry.ending.is_none());
            there.filter_map(|(other, entry)| Some((*other, entry, entry.grant.as_ref()?)))
        };
        let count = |most: u32, found: usize| u32::try_from(found).is_ok_and(|found| found < most);
        if !count(plan.max_sessions, others().count()) {
            return Err(NotGranted::full("the most sessions at once are reached"));
        }
        let members = others().filter(|(_, _, other)| other.group == group.name).count();
        if group.max_sessions.is_some_and(|most| !count(most, members)) {
            return Err(NotGranted::full("the most sessions of the group at once are reached"));
        }
        let own: Vec<_> = others().filter(|(_, _, other)| other.user == grant.user).collect();
        if count(group.sessions_each, own.len()) {
            return Ok(());
        }
        // A connection that broke leaves a session behind; its person must not stay out until that is noticed.
        let silent = |entry: &Entry| now.instant.saturating_duration_since(entry.heard) >= STALE;
        let stale = own.iter().filter(|(_, entry, _)| silent(entry)).min_by_key(|(_, entry, _)| entry.heard);
        match stale.map(|(other, ..)| *other) {
            Some(other) => {
                self.end(now, other, Ending::Replaced);
                Ok(())
            }
            None => Err(NotGranted::failed("This user is connected as often as is allowed.")),
        }
    }

    /// Fixed addresses; whoever was lent one gets another. A person's second session gets one of the pool.
    fn fixed(&mut self, now: Now, handle: Handle, admission: &Admission) -> Inner {
        let mut free = |ip: std::net::IpAddr| {
            let Some(owner) = self.addresses.owner(ip).filter(|owner| *owner != handle) else { return true };
            let own = self.entries.get(&owner).and_then(|entry| entry.grant.as_ref());
            if own.is_some_and(|grant| grant.user == admission.user) {
                return false;
            }
            self.end(now, owner, Ending::Reconfigured);
            true
        };
        let v4 = admission.ipv4.filter(|ip| free((*ip).into()));
        let v6 = admission.ipv6.filter(|ip| free((*ip).into()));
        Inner { v4, v6 }
    }

    /// Networks behind the client that no other session has.
    fn free_networks(&self, handle: Handle, admission: &Admission) -> Vec<IpNet> {
        let taken = |net: &IpNet| {
            let mut others = self.entries.iter().filter(|(other, entry)| **other != handle && entry.carried);
            others.any(|(_, entry)| entry.grant.as_ref().is_some_and(|grant| grant.networks.contains(net)))
        };
        let (taken, free): (Vec<_>, Vec<_>) = admission.networks.iter().copied().partition(taken);
        for network in taken {
            tracing::warn!(user = %admission.user, %network, "another session has the network behind this client");
        }
        free
    }
}

fn words(refusal: &Refusal) -> &str {
    match refusal {
        Refusal::Failed(text) | Refusal::Session(text) | Refusal::Temporary { text, .. } => text,
        Refusal::Challenge { .. } => "a code is asked for, with another login",
    }
}
