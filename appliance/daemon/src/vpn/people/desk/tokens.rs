//! Logins that are carried on: tokens, whom others vouched for, and what ends both.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rempart_identity::authority::ClientIdentity;
use rempart_identity::demand::{Admission, Login as Machine, Next, Reason, Told};
use rempart_identity::moment::Moment;
use rempart_identity::names::UserName;
use rempart_identity::store::Source;
use rempart_openvpn::message::Refusal;
use rempart_openvpn::token::{Claims, Verified};
use sha2::{Digest as _, Sha256};

use super::{Desk, Outcome, Remembered, Running, Step, Turn};
use crate::vpn::seam::{LoginTicket, Verdict};

/// A login is carried on by tokens for so long, where no group says otherwise: a day's duty.
const LOGIN_LIFE: Duration = Duration::from_secs(86_400);
/// A client that was away for longer than a key's life and this comes with a password again.
const AWAY: Duration = Duration::from_secs(600);
/// People who were vouched for elsewhere and are remembered: eight times the sessions of a gateway.
const MAX_VOUCHED: usize = 8_192;

impl Desk {
    #[expect(clippy::too_many_arguments, reason = "all that a token is judged by")]
    pub(super) fn token(
        &mut self,
        turn: Turn,
        ticket: LoginTicket,
        from: SocketAddr,
        user: &str,
        certificate: Option<ClientIdentity>,
        verified: &Verified,
        renewal: bool,
    ) -> Step {
        let claims = verified.claims();
        let vouched = self.vouched.get(&who(user, certificate.as_ref())).map(|known| known.vouched.clone());
        let (machine, next) =
            Machine::carry_on(turn.moment, &self.store, &self.policy, user, certificate, vouched.as_ref());
        let running = Running { ticket, typed: user.to_owned(), from, machine, seat: None };
        let session = |desk: &Self, why: &str| {
            let refusal = Refusal::Session(desk.told(Told::Wrong).to_owned());
            (Outcome::Refused(why.to_owned()), Verdict::Refused(Box::new(refusal)))
        };
        let (outcome, verdict) = match next {
            Next::Accepted(admission) => match self.worn_out(turn.moment, claims, &admission, renewal) {
                None => (Outcome::Renewed, Verdict::Accepted { admission, carried_on: Some(claims) }),
                Some(why) => session(self, why),
            },
            Next::Refused { log: Reason::Unavailable(why), .. } => session(self, &why),
            Next::Refused { log, user } => {
                (Outcome::Refused(log.to_string()), Verdict::Refused(Box::new(self.text(user))))
            }
            Next::CheckLocal(_) | Next::AskDirectory { .. } | Next::AskRadius { .. } | Next::Challenge(_) => {
                session(self, "a token asks nobody")
            }
        };
        self.tell(&running, outcome, verdict)
    }

    /// Why a token is worth nothing any more. The two nodes' clocks may differ: what was made in the future is new.
    fn worn_out(
        &self,
        now: Moment,
        claims: Claims,
        admission: &Admission,
        renewal: bool,
    ) -> Option<&'static str> {
        let moment = |unix_s: u64| Moment::new(i64::try_from(unix_s).unwrap_or(i64::MAX));
        let issued = moment(claims.issued_unix_s);
        let life = admission.groups.iter().filter_map(|group| self.limits.sessions.get(group)).min();
        if now.since(issued) > life.copied().unwrap_or(LOGIN_LIFE) {
            return Some("the login is too old to be carried on");
        }
        if !renewal && now.since(moment(claims.renewed_unix_s)) > self.limits.rekey + AWAY {
            return Some("the client was away for too long");
        }
        let user = self.store.users().get(&admission.user);
        let newer = |moment: Option<Moment>| moment.is_some_and(|moment| moment > issued);
        if newer(user.and_then(|user| user.password_set)) || newer(user.map(|user| user.created)) {
            return Some("the account or its password is newer than the login");
        }
        let changed = newer(self.changed.get(&admission.user).copied());
        changed.then_some("what counts for this person has changed since the login")
    }

    /// What counts for these people has changed: whoever logged in before does so again.
    pub fn ask_again(&mut self, people: impl Iterator<Item = UserName>, now: Moment) {
        // No token is older than the longest that a login is carried on.
        let longest = self.limits.sessions.values().copied().max().unwrap_or_default().max(LOGIN_LIFE);
        self.changed.retain(|_, at| now.since(*at) <= longest);
        self.changed.extend(people.map(|name| (name, now)));
    }

    /// Whether somebody who was admitted a moment ago still is: a revocation may have come in between, and what it cuts are
    /// sessions, of which this is none yet.
    pub fn still_admits(&self, now: Moment, admission: &Admission) -> bool {
        let user = self.store.users().get(&admission.user);
        let device = admission.device.map(|id| self.store.devices().get(&id));
        let device_is_good = device.is_none_or(|device| {
            device.is_some_and(|device| device.revoked.is_none() && device.user == admission.user)
        });
        let groups_are_good = admission.groups.iter().all(|group| self.policy.groups.contains_key(group))
            && user.is_none_or(|user| {
                user.source != Source::Local
                    || admission.groups.iter().all(|group| user.groups.contains(group))
            });
        let user_is_good = match user {
            Some(user) => !user.is_shut_out(now),
            None => self.policy.strangers.is_some(),
        };
        user_is_good && device_is_good && groups_are_good
    }

    /// Remembers whom somebody else vouched for; gives the one who is forgotten for it.
    pub fn remember(&mut self, key: [u8; 32], remembered: Remembered) -> Option<[u8; 32]> {
        let full = self.vouched.len() >= MAX_VOUCHED && !self.vouched.contains_key(&key);
        let oldest = self.vouched.iter().min_by_key(|(_, known)| known.at).map(|(key, _)| *key);
        let gone = oldest.filter(|_| full);
        gone.map(|gone| self.vouched.remove(&gone));
        self.vouched.insert(key, remembered);
        gone
    }

    /// Forgets somebody whom another vouched for.
    pub fn forget_vouched(&mut self, key: &[u8; 32]) {
        self.vouched.remove(key);
    }

    /// Forgets all that others said of these people: they log in anew.
    pub fn forget_people(&mut self, people: &BTreeSet<UserName>) -> Vec<[u8; 32]> {
        let gone = self.vouched.extract_if(.., |_, known| people.contains(&known.vouched.account));
        gone.map(|(key, _)| key).collect()
    }

    /// All whom others vouched for.
    pub fn vouched(&self) -> &BTreeMap<[u8; 32], Remembered> {
        &self.vouched
    }
}

/// Names a person on a device over renewals: the name as it was typed stands in the token.
pub(super) fn who(typed: &str, certificate: Option<&ClientIdentity>) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(typed.as_bytes());
    digest.update([0]);
    digest.update(certificate.map(|identity| identity.fingerprint).unwrap_or_default());
    digest.finalize().into()
}
