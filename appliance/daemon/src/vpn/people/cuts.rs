//! Whose sessions end when the store, the plan or the date changes. Pure.
//!
//! Every change goes through here, be it an administrator's, the other node's, or the calendar's: what is compared is what
//! counted before and what counts now, so no way to shut somebody out can forget their sessions.

use std::collections::{BTreeMap, BTreeSet};

use rempart_identity::demand::Policy;
use rempart_identity::moment::Moment;
use rempart_identity::names::{GroupName, UserName};
use rempart_identity::store::{Fingerprint, Source, Store, User};

use super::super::seam::CutOff;

/// What counts at a moment.
#[derive(Clone, Copy)]
pub struct Standing<'a> {
    /// People and devices.
    pub store: &'a Store,
    /// Groups and what they demand.
    pub policy: &'a Policy,
    /// When.
    pub now: Moment,
}

/// Whose sessions end between two standings.
pub fn cuts(before: Standing<'_>, after: Standing<'_>) -> Vec<CutOff> {
    let mut found = Vec::new();
    for (name, old) in before.store.users() {
        match after.store.users().get(name) {
            None => found.push(CutOff::User(name.clone())),
            Some(new) => found.extend(of_user(name, old, new, before, after)),
        }
    }
    // Somebody who was a stranger and is in the store now is held to what stands there from now on.
    let strange =
        |name: &&UserName| before.policy.strangers.is_some() && !before.store.users().contains_key(*name);
    found.extend(after.store.users().keys().filter(strange).map(|name| CutOff::User(name.clone())));
    let good = certificates(after);
    let gone = certificates(before).into_iter().filter(|print| !good.contains(print));
    found.extend(gone.map(CutOff::Certificate));
    found
}

fn of_user(
    name: &UserName,
    old: &User,
    new: &User,
    before: Standing<'_>,
    after: Standing<'_>,
) -> Option<CutOff> {
    let (was_out, is_out) = (old.is_shut_out(before.now), new.is_shut_out(after.now));
    // A person whose password is kept elsewhere now has proved nothing there.
    if (is_out && !was_out) || old.source != new.source {
        return Some(CutOff::User(name.clone()));
    }
    // The addresses and networks that a session has are those of its login.
    let place = |user: &User| (user.ipv4, user.ipv6, user.networks.clone());
    if place(old) != place(new) {
        return Some(CutOff::User(name.clone()));
    }
    let (had, has) = (counting(&old.groups, before.policy), counting(&new.groups, after.policy));
    if had == has {
        return None;
    }
    match new.source {
        Source::Local => {
            Some(CutOff::Groups(name.clone(), has.iter().map(|group| group.as_str().to_owned()).collect()))
        }
        // What the directory adds is known at a login only.
        Source::Directory | Source::Radius => Some(CutOff::User(name.clone())),
    }
}

fn counting(groups: &BTreeSet<GroupName>, policy: &Policy) -> BTreeSet<GroupName> {
    groups.iter().filter(|group| policy.groups.contains_key(*group)).cloned().collect()
}

/// The certificates of devices that may come in.
fn certificates(at: Standing<'_>) -> BTreeSet<Fingerprint> {
    let good = at.store.devices().values().filter(|device| device.revoked.is_none() && device.until > at.now);
    good.map(|device| device.fingerprint).collect()
}

/// People who were vouched for elsewhere, by what stands for them in memory: their sessions end where the document takes
/// groups away.
pub fn of_vouched<'a>(
    vouched: impl Iterator<Item = (&'a UserName, &'a BTreeSet<GroupName>)>,
    before: &Policy,
    after: &Policy,
) -> Vec<CutOff> {
    let mut found: BTreeMap<&UserName, bool> = BTreeMap::new();
    for (name, groups) in vouched {
        *found.entry(name).or_default() |= counting(groups, before) != counting(groups, after);
    }
    found.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| CutOff::User(name.clone())).collect()
}
