//! One thread for what is due and for what the other node has sent: it writes to the disk, which nobody else should wait for.
//!
//! What comes from the replica is put down and seen to later. Of each thing only the newest counts, so nothing piles up.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rempart_bus::codes::VpnWarning;
use rempart_identity::authority::{Authority, NotIssued};
use rempart_identity::names::UserName;
use rempart_identity::secret::Secret;
use rempart_identity::store::{Command, Store};
use rempart_identity::totp::Step;
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::desk::Remembered;
use super::files::{Keys, forget_old};
use super::material;
use super::office::{Edit, Office, Turned, lock, today};
use super::views;
use crate::vpn::seam::{FromReplica, Kind};

/// Between two looks at what is due: a person whose account ends at midnight is cut half a minute later.
const PERIOD: Duration = Duration::from_secs(30);
/// Between two warnings in the log about the same certificates.
const WARN_AGAIN: Duration = Duration::from_secs(86_400);
/// Who makes the changes that nobody asked for.
const OURSELVES: &str = "rempart-vpn";

/// What waits to be seen to.
#[derive(Default)]
pub struct Inbox {
    news: Mutex<News>,
    more: Condvar,
    /// Held while used codes are written.
    pub codes: Mutex<()>,
    woken: AtomicBool,
}

#[derive(Default)]
struct News {
    /// The other node's store.
    store: Option<Zeroizing<Vec<u8>>>,
    /// The other node's secrets; the names are few.
    keys: BTreeMap<KeyName, Zeroizing<Vec<u8>>>,
    /// This node has become active.
    active: bool,
    /// Codes came from the other node.
    codes: bool,
}

impl Inbox {
    /// The thread looks at once.
    pub fn wake(&self) {
        self.woken.store(true, Ordering::Relaxed);
        let _news = lock(&self.news);
        self.more.notify_all();
    }

    fn put(&self, change: impl FnOnce(&mut News)) {
        change(&mut lock(&self.news));
        self.wake();
    }

    fn wait(&self) -> News {
        let news = lock(&self.news);
        let idle = |_: &mut News| !self.woken.load(Ordering::Relaxed);
        let (mut news, _) =
            self.more.wait_timeout_while(news, PERIOD, idle).unwrap_or_else(PoisonError::into_inner);
        self.woken.store(false, Ordering::Relaxed);
        std::mem::take(&mut *news)
    }
}

/// The secrets by the names under which they are replicated.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum KeyName {
    Wrapping,
    Token,
    Shared,
    Server,
}

impl KeyName {
    const ALL: [Self; 4] = [Self::Wrapping, Self::Token, Self::Shared, Self::Server];

    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Wrapping => b"wrapping",
            Self::Token => b"token",
            Self::Shared => b"shared",
            Self::Server => b"server",
        }
    }

    fn named(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.bytes() == bytes)
    }

    fn of(self, keys: &Keys) -> Option<Zeroizing<Vec<u8>>> {
        let plain =
            |secret: &Option<Secret>| secret.as_ref().map(|key| Zeroizing::new(key.expose().to_vec()));
        match self {
            Self::Wrapping => plain(&keys.wrapping),
            Self::Token => plain(&keys.token),
            Self::Shared => plain(&keys.shared),
            Self::Server => {
                keys.server.as_ref().and_then(|server| serde_json::to_vec(server).ok()).map(Zeroizing::new)
            }
        }
    }

    fn set(self, keys: &mut Keys, value: &[u8]) {
        let key = |length: usize| (value.len() == length).then(|| Secret::new(value.to_vec()));
        match self {
            Self::Wrapping => keys.wrapping = key(128).or(keys.wrapping.take()),
            Self::Token => keys.token = key(32).or(keys.token.take()),
            Self::Shared => keys.shared = key(256).or(keys.shared.take()),
            Self::Server => keys.server = serde_json::from_slice(value).ok().or(keys.server.take()),
        }
    }
}

/// Starts the thread.
pub fn start(office: &Arc<Office>) -> std::io::Result<()> {
    let office = office.clone();
    let run = move || {
        let mut warned = None;
        while !office.is_closed() {
            let news = office.inbox.wait();
            if !office.is_closed() {
                office.see_to(news, &mut warned);
            }
        }
    };
    thread::Builder::new().name("people-upkeep".to_owned()).spawn(run).map(drop)
}

impl Office {
    /// What the replica says.
    pub(super) fn hear(&self, news: &FromReplica) {
        match news {
            FromReplica::Committed(ticket) => self.committed(*ticket),
            FromReplica::Active { .. } | FromReplica::TakeUp { .. } => {
                self.state().active = true;
                self.inbox.put(|inbox| inbox.active = true);
            }
            FromReplica::Standby => self.state().active = false,
            FromReplica::Put(kind, key, value) => self.hear_value(*kind, key, value),
            FromReplica::Removed(Kind::Admission, key) => {
                if let Ok(key) = key.as_slice().try_into() {
                    self.state().desk.forget_vouched(key);
                }
            }
            // What is old is forgotten on both nodes by itself, and the rest is never taken away.
            FromReplica::Removed(
                Kind::Session
                | Kind::Store
                | Kind::UsedCode
                | Kind::Secret
                | Kind::Wireguard
                | Kind::WireguardKey,
                _,
            ) => {}
            FromReplica::Peer(_) | FromReplica::MakeReady { .. } | FromReplica::GiveUp => {}
        }
    }

    fn hear_value(&self, kind: Kind, key: &[u8], value: &Zeroizing<Vec<u8>>) {
        match kind {
            Kind::Session | Kind::Wireguard | Kind::WireguardKey => {}
            Kind::Store => self.inbox.put(|inbox| inbox.store = Some(value.clone())),
            Kind::Secret => match KeyName::named(key) {
                Some(name) => self.inbox.put(|inbox| drop(inbox.keys.insert(name, value.clone()))),
                None => {
                    warn!("the other node has a secret of a kind that is not known here: update this node")
                }
            },
            Kind::UsedCode => {
                let name = std::str::from_utf8(key).ok().and_then(|name| name.parse::<UserName>().ok());
                let step = value.as_slice().try_into().ok().map(u64::from_be_bytes).map(Step::new);
                let (Some(name), Some(step)) = (name, step) else { return };
                let mut state = self.state();
                // It may stand there already.
                let _ = state.desk.store.use_code(&name, step);
                let known = state.codes.entry(name).or_insert(step);
                *known = step.max(*known);
                drop(state);
                self.inbox.put(|inbox| inbox.codes = true);
            }
            Kind::Admission => {
                let remembered = serde_json::from_slice::<Remembered>(value);
                if let (Ok(key), Ok(remembered)) = (key.try_into(), remembered) {
                    self.state().desk.remember(key, remembered);
                }
            }
        }
    }

    fn see_to(&self, news: News, warned: &mut Option<Instant>) {
        let News { store, keys, active, codes } = news;
        let turned = self.take_turn();
        if !keys.is_empty() {
            self.take_keys(&turned, &keys);
        }
        if let Some(bytes) = store {
            self.take_store(&turned, &bytes);
        }
        if active {
            self.put_everything();
        }
        self.provide(&turned);
        drop(turned);
        self.tidy_codes(codes);
        self.look_at_dates();
        self.publish();
        if warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) && self.state().active {
            for warning in views::warnings(&self.state(), None, today()) {
                warn!(
                    code = warning.code,
                    about = warning.about,
                    until = warning.until,
                    "to be looked after"
                );
            }
            *warned = Some(Instant::now());
        }
    }

    /// The other node's store takes the place of ours if it is newer. Of two that count the same the active node's stands.
    fn take_store(&self, turned: &Turned<'_>, bytes: &[u8]) {
        let theirs = match Store::read(bytes) {
            Ok(theirs) => theirs,
            Err(error) => return error!(%error, "the other node's people cannot be taken over: ours stay"),
        };
        let state = self.state();
        let (ours, active) = (state.desk.store.revision(), state.active);
        let same = state.desk.store == theirs;
        drop(state);
        if theirs.revision() > ours || (theirs.revision() == ours && !active && !same) {
            let revision = theirs.revision();
            if self.put_in_force(turned, theirs).is_ok() {
                info!(revision, "the other node's people were taken over");
            }
        } else if active && !same {
            self.put_store();
        }
    }

    /// The other node's secrets: the active node's stand, for its clients hold what was made from them.
    fn take_keys(&self, _: &Turned<'_>, theirs: &BTreeMap<KeyName, Zeroizing<Vec<u8>>>) {
        let state = self.state();
        let (mut keys, active) = (state.keys.clone(), state.active);
        drop(state);
        for (name, value) in theirs {
            let missing = name.of(&keys).is_none();
            if !active || missing {
                name.set(&mut keys, value);
            } else if name.of(&keys).as_ref() != Some(value) {
                self.put_key(*name, &keys);
            }
        }
        self.hold_keys(keys);
    }

    fn put_key(&self, name: KeyName, keys: &Keys) {
        if let Some(value) = name.of(keys) {
            self.replica.put(Kind::Secret, name.bytes(), value);
        }
    }

    /// Secrets come into force once they are on the disk.
    fn hold_keys(&self, keys: Keys) -> bool {
        if self.state().keys == keys {
            return true;
        }
        let kept = self.keep("keys", self.files.keep_keys(&keys)).is_ok();
        if kept {
            self.state().keys = keys;
        }
        kept
    }

    /// This node has become active: the other one gets what stands here.
    fn put_everything(&self) {
        let state = self.state();
        let (keys, codes) = (state.keys.clone(), state.codes.clone());
        let vouched: Vec<_> = state.desk.vouched().iter().map(|(key, known)| (*key, known.clone())).collect();
        let written = state.desk.store.revision() > 0;
        drop(state);
        if written {
            self.put_store();
        }
        KeyName::ALL.into_iter().for_each(|name| self.put_key(name, &keys));
        for (name, step) in codes {
            let value = Zeroizing::new(step.number().to_be_bytes().to_vec());
            self.replica.put(Kind::UsedCode, name.as_str().as_bytes(), value);
        }
        for (key, known) in vouched {
            let value = Zeroizing::new(serde_json::to_vec(&known).unwrap_or_default());
            self.replica.put(Kind::Admission, &key, value);
        }
    }

    /// Makes what is missing or due: secrets, the server's certificate, lists of revoked ones. Only the active node does.
    pub(super) fn provide(&self, turned: &Turned<'_>) {
        let state = self.state();
        let (active, plan, old) = (state.active, state.plan.clone(), state.keys.clone());
        drop(state);
        let Some(plan) = plan.filter(|_| active) else { return };
        let mut keys = old.clone();
        let mut edit = self.edit(turned, OURSELVES);
        let made = material::make_missing(&mut keys)
            .and_then(|_| certify(&mut edit, &mut keys, &material::names(&plan)))
            .and_then(|()| renew_lists(&mut edit));
        let mut state = self.state();
        match &made {
            Ok(()) => drop(state.troubles.remove(&VpnWarning::NoServerCertificate)),
            Err(error) => {
                error!(%error, "the authority does not issue");
                state.troubles.insert(VpnWarning::NoServerCertificate, error.to_string());
            }
        }
        drop(state);
        // The record of what was issued first: a certificate that the authority does not know of cannot be revoked.
        if self.commit(turned, edit).is_err() || !self.hold_keys(keys.clone()) {
            return;
        }
        for name in KeyName::ALL.into_iter().filter(|name| name.of(&keys) != name.of(&old)) {
            self.put_key(name, &keys);
        }
    }

    /// Drops used codes that cannot be used any more, and keeps the rest.
    fn tidy_codes(&self, changed: bool) {
        let turned = lock(&self.inbox.codes);
        let mut state = self.state();
        let before: Vec<UserName> = state.codes.keys().cloned().collect();
        forget_old(&mut state.codes, today());
        let (codes, active) = (state.codes.clone(), state.active);
        drop(state);
        if changed || codes.len() != before.len() {
            let _ = self.keep("used codes", self.files.keep_codes(&codes));
        }
        drop(turned);
        for name in before.iter().filter(|name| active && !codes.contains_key(*name)) {
            self.replica.remove(Kind::UsedCode, name.as_str().as_bytes());
        }
    }
}

/// A certificate for the server, where there is an authority and it is due.
fn certify(edit: &mut Edit<'_>, keys: &mut Keys, names: &[String]) -> Result<(), NotIssued> {
    let Some(mut authority) = edit.store.issuing().cloned() else { return Ok(()) };
    if material::server_is_due(keys, &authority, names, edit.now) {
        keys.server = Some(material::certify_server(&mut authority, names, edit.now)?);
        put_authority(edit, authority)?;
    }
    Ok(())
}

fn renew_lists(edit: &mut Edit<'_>) -> Result<(), NotIssued> {
    let due = |authority: &&Authority| authority.list_is_due(edit.now);
    let due: Vec<Authority> = edit.store.authorities().iter().filter(due).cloned().collect();
    for mut authority in due {
        authority.sign_list(edit.now)?;
        put_authority(edit, authority)?;
    }
    Ok(())
}

/// An authority as it stands after it issued.
pub fn put_authority(edit: &mut Edit<'_>, authority: Authority) -> Result<(), NotIssued> {
    edit.apply(Command::PutAuthority(Box::new(authority)))
        .map_err(|error| NotIssued::Signing(error.to_string()))
}
