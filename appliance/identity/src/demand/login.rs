//! One login, from its first packet of names and passwords to yes or no.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Admission, Demand, Policy, Reason, Told};
use crate::authority::ClientIdentity;
use crate::moment::Moment;
use crate::names::{DeviceId, GroupName, UserName};
use crate::password::{Hash, MAX_PASSWORD};
use crate::secret::Secret;
use crate::store::{Fingerprint, Source, Store, User};
use crate::totp::{Code, Step};

/// Lines of a trace: a login with every challenge has about a dozen.
const MAX_TRACE: usize = 32;
/// Challenges of a RADIUS server in one login: a new PIN and its confirmation take three.
const MAX_CHALLENGES: usize = 5;
/// Bytes of what a user types as their name.
const MAX_TYPED: usize = 256;

/// What the client sent in place of a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The field as it came: a password, or a password with six digits after it.
    Field(Secret),
    /// Password and code apart, from a static challenge (`SCRV1:`).
    Split {
        /// The password.
        password: Secret,
        /// What stood in the other field.
        code: Secret,
    },
}

/// What is known at the start.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The name as typed; may be empty.
    pub name: &'a str,
    /// The certificate that TLS let through.
    pub certificate: Option<ClientIdentity>,
    /// Password and code.
    pub answer: Answer,
    /// Whether this client can be asked a question and answer it.
    pub can_be_asked: bool,
}

/// A local check: all candidates, each in full, whatever comes out, so that the time tells nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalCheck {
    hash: Option<Hash>,
    candidates: Vec<Secret>,
}

impl LocalCheck {
    /// Does the work, a tenth of a second for each candidate: the place of the one that is right.
    pub fn run(&self) -> Option<usize> {
        let right = |candidate: &Secret| match &self.hash {
            Some(hash) => hash.verify(candidate),
            None => crate::password::verify_nobody(candidate),
        };
        let answers: Vec<bool> = self.candidates.iter().map(right).collect();
        answers.iter().position(|right| *right)
    }
}

/// What a directory said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DirectoryAnswer {
    /// The password is right.
    Right {
        /// The account's name there.
        account: UserName,
        /// The groups of the VPN that its groups stand for.
        groups: BTreeSet<GroupName>,
    },
    /// It is wrong, or there is nobody of that name.
    Wrong(String),
    /// It may be right, but the account may not log in.
    Account(String),
    /// It is right and must be changed.
    MustChange(String),
    /// Nobody answered.
    Unavailable(String),
}

/// What a RADIUS server said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RadiusAnswer {
    /// Yes.
    Accept(BTreeSet<GroupName>),
    /// No.
    Reject(String),
    /// Not yet: ask this and come again with the state.
    Challenge {
        /// The question.
        text: String,
        /// To be sent back unchanged.
        state: Vec<u8>,
    },
    /// Nobody answered.
    Unavailable(String),
}

/// Whom somebody else has vouched for at a login, and the groups that they gave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vouched {
    /// The account's name there.
    pub account: UserName,
    /// Groups of the VPN.
    pub groups: BTreeSet<GroupName>,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Run this off the packet threads; then [`Login::handle_local`].
    CheckLocal(LocalCheck),
    /// Bind as this user; then [`Login::handle_directory`].
    AskDirectory {
        /// The name as typed.
        name: String,
        /// Never empty.
        password: Secret,
    },
    /// Send an Access-Request; then [`Login::handle_radius`].
    AskRadius {
        /// The name as typed.
        name: String,
        /// The password, or the answer to the last challenge.
        password: Secret,
        /// What came with that challenge.
        state: Option<Vec<u8>>,
    },
    /// Ask the user; then [`Login::handle_answer`]. `None` asks for the six digits, in the client's language.
    Challenge(Option<String>),
    /// Yes.
    Accepted(Box<Admission>),
    /// No.
    Refused {
        /// For the log.
        log: Reason,
        /// For the user.
        user: Told,
    },
}

/// A line of the trace of `test login`. No secrets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line(String);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// A local check runs; the code that belongs to each candidate.
    Local(Vec<Option<Code>>),
    /// The directory was asked; the code that was split off.
    Directory(Option<Code>),
    /// RADIUS was asked; the code that was split off, and how many challenges there were.
    Radius(Option<Code>, usize),
    /// The user was asked for the answer to RADIUS's question.
    RadiusChallenge(Option<Code>, usize, Vec<u8>),
    /// The user was asked for a code.
    Code,
    /// It is over.
    Done,
}

/// See the head of the file.
#[derive(Clone, Debug)]
pub struct Login {
    policy: Policy,
    state: State,
    name: String,
    user: Option<(UserName, User)>,
    certificate: Option<ClientIdentity>,
    device: Option<(DeviceId, UserName)>,
    can_be_asked: bool,
    /// Known from the start, told at the end.
    doom: Option<Reason>,
    granted: Option<(UserName, BTreeSet<GroupName>)>,
    vouched: Option<Vouched>,
    trace: Vec<Line>,
}

impl Login {
    fn new(policy: &Policy, certificate: Option<ClientIdentity>, can_be_asked: bool) -> Self {
        Self {
            policy: policy.clone(),
            state: State::Done,
            name: String::new(),
            user: None,
            certificate,
            device: None,
            can_be_asked,
            doom: None,
            granted: None,
            vouched: None,
            trace: Vec::new(),
        }
    }

    /// Begins: the machine and its first step.
    pub fn start(now: Moment, store: &Store, policy: &Policy, attempt: Attempt<'_>) -> (Self, Next) {
        let Attempt { name, certificate, answer, can_be_asked } = attempt;
        let mut login = Self::new(policy, certificate, can_be_asked);
        login.find_device(store);
        login.find_user(store, name, now);
        let next = login.first(answer, now);
        (login, next)
    }

    /// Carries on a login that was proved before (its token is shown): whether this person and this device may still come in.
    /// Nobody is asked, and nothing but the store and the policy is looked at.
    pub fn carry_on(
        now: Moment,
        store: &Store,
        policy: &Policy,
        name: &str,
        certificate: Option<ClientIdentity>,
        vouched: Option<&Vouched>,
    ) -> (Self, Next) {
        let mut login = Self::new(policy, certificate, false);
        login.find_device(store);
        login.find_user(store, name, now);
        let next = login.still(vouched);
        (login, next)
    }

    /// The rest of [`Login::carry_on`].
    fn still(&mut self, vouched: Option<&Vouched>) -> Next {
        let stored = self.user.clone();
        let (account, mut groups) = match (self.source(), vouched) {
            (Source::Local, _) => match &stored {
                Some((name, _)) => (name.clone(), BTreeSet::new()),
                None => return self.refuse(self.doom.clone().unwrap_or(Reason::Unknown)),
            },
            (Source::Directory | Source::Radius, Some(vouched)) => {
                (vouched.account.clone(), vouched.groups.clone())
            }
            (Source::Directory | Source::Radius, None) => {
                return self.refuse(Reason::Unavailable(
                    "the groups of this login are not known any more".to_owned(),
                ));
            }
        };
        match &stored {
            Some((name, _)) if *name != account => return self.refuse(Reason::BadName),
            Some((_, user)) => groups.extend(user.groups.iter().cloned()),
            None => {}
        }
        if let Some(reason) = self.doom.clone() {
            return self.refuse(reason);
        }
        let Some((demand, groups)) = self.policy.demand(&groups) else { return self.refuse(Reason::NoGroup) };
        self.granted = Some((account, groups));
        self.check_owner();
        if let Some(reason) = self.doom.clone() {
            return self.refuse(reason);
        }
        if demand.certificate && self.device.is_none() {
            return self.refuse(Reason::NoCertificate);
        }
        self.accept(None)
    }

    /// The groups that a directory or a RADIUS server gave at this login, if one was asked: what [`Login::carry_on`] needs.
    pub fn vouched(&self) -> Option<&Vouched> {
        self.vouched.as_ref()
    }

    /// The certificate that TLS let through.
    pub fn certificate(&self) -> Option<&ClientIdentity> {
        self.certificate.as_ref()
    }

    /// The steps so far, for `test login`.
    pub fn trace(&self) -> &[Line] {
        &self.trace
    }

    /// Who it claims to be, for the log and the throttle.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the certificate is of a registered device of the one who logs in: such a client is not slowed by others' tries.
    pub fn has_own_device(&self) -> bool {
        match (&self.device, &self.user) {
            (Some((_, owner)), Some((user, _))) => owner == user,
            (Some(_) | None, _) => false,
        }
    }

    fn note(&mut self, line: impl Into<String>) {
        if self.trace.len() < MAX_TRACE {
            self.trace.push(Line(line.into()));
        }
    }

    fn doom(&mut self, reason: Reason) {
        self.note(reason.to_string());
        self.doom.get_or_insert(reason);
    }

    /// What the certificate tells: a device of ours by its own name, an imported one by its fingerprint.
    fn find_device(&mut self, store: &Store) {
        let Some(identity) = &self.certificate else {
            self.note("certificate: none");
            return;
        };
        let print = Fingerprint::new(identity.fingerprint);
        // The fingerprint decides: a device that was renewed has one certificate, the new one.
        let found = store.device_with(&print).map(|(id, device)| (*id, device.clone()));
        match found {
            None => self.doom(Reason::UnknownDevice),
            Some((id, device)) => {
                self.note(format!("certificate: device {id} ({}) of {}", device.label, device.user));
                if device.revoked.is_some() {
                    self.doom(Reason::RevokedDevice(id));
                }
                self.device = Some((id, device.user));
            }
        }
    }

    fn find_user(&mut self, store: &Store, typed: &str, now: Moment) {
        let typed = typed.trim();
        let owner = self.device.as_ref().map(|(_, owner)| owner.to_string());
        let name = if typed.is_empty() { owner } else { Some(typed.to_owned()) };
        let Some(name) = name else { return self.doom(Reason::NoName) };
        // `DOMAIN\account` and `account@domain` name the account; the whole is what a directory gets.
        let account = name.rsplit_once('\\').map_or(name.as_str(), |(_, account)| account);
        let short = account.split_once('@').map_or(account, |(account, _)| account);
        let lookup = |text: &str| {
            let name: UserName = text.parse().ok()?;
            store.users().get(&name).map(|user| (name, user.clone()))
        };
        let found =
            lookup(account).or_else(|| lookup(short).filter(|(_, user)| user.source != Source::Local));
        let valid = name.len() <= MAX_TYPED && account.parse::<UserName>().is_ok();
        self.name = name.chars().filter(|letter| !letter.is_control()).take(MAX_TYPED).collect();
        if !valid {
            return self.doom(Reason::BadName);
        }
        match &found {
            None => self.note(format!("user {}: not in the store", self.name)),
            Some((name, user)) => {
                let line = format!("user {name}: in the store, password kept {}", place(user.source));
                let shut_out = user.is_shut_out(now);
                self.note(line);
                if shut_out {
                    self.doom(Reason::ShutOut);
                }
            }
        }
        if found.is_none() && self.policy.strangers.is_none_or(|source| source == Source::Local) {
            self.doom(Reason::Unknown);
        }
        self.user = found;
        self.check_owner();
    }

    /// The device must be the user's own, under whatever name it turns out to be.
    fn check_owner(&mut self) {
        let name = self.granted.as_ref().map(|(name, _)| name).or(self.user.as_ref().map(|(name, _)| name));
        let other = match (&self.device, name) {
            (Some((id, owner)), Some(name)) => (owner != name).then_some(*id),
            (Some(_) | None, _) => None,
        };
        if let Some(device) = other {
            self.doom(Reason::OthersDevice(device));
        }
    }

    fn source(&self) -> Source {
        let stored = self.user.as_ref().map(|(_, user)| user.source);
        stored.or(self.policy.strangers).unwrap_or(Source::Local)
    }

    fn first(&mut self, answer: Answer, now: Moment) -> Next {
        let stored = self.user.as_ref().and_then(|(_, user)| self.policy.demand(&user.groups));
        let source = self.source();
        // A local account's groups are all here; what a directory adds is known later.
        if source == Source::Local && self.doom.is_none() {
            match &stored {
                None => self.doom(Reason::NoGroup),
                Some((demand, groups)) => self.note(format!("groups {}: {}", list(groups), words(*demand))),
            }
        }
        if let Some((demand, groups)) =
            stored.filter(|(demand, _)| source == Source::Local && !demand.password && self.doom.is_none())
        {
            return self.without_password(answer, demand, groups, now);
        }
        if self.doom.is_some() {
            return self.check_local(answer);
        }
        match source {
            Source::Local => self.check_local(answer),
            Source::Directory | Source::Radius => self.ask_elsewhere(source, answer),
        }
    }

    /// A certificate says who it is; a code may still be demanded.
    fn without_password(
        &mut self,
        answer: Answer,
        demand: Demand,
        groups: BTreeSet<GroupName>,
        now: Moment,
    ) -> Next {
        let code = match answer {
            Answer::Field(field) => field.expose_str().and_then(Code::parse),
            Answer::Split { code, .. } => code.expose_str().and_then(Code::parse),
        };
        let Some((name, _)) = self.user.clone() else { return self.refuse(Reason::Unknown) };
        self.granted = Some((name, groups));
        self.note("password: not demanded");
        self.finish(demand, code, now)
    }

    fn check_local(&mut self, answer: Answer) -> Next {
        let hash = match (&self.doom, &self.user) {
            (None, Some((_, user))) => user.password.clone(),
            (Some(_), _) | (None, None) => None,
        };
        if self.doom.is_none() && hash.is_none() {
            self.doom(Reason::NoPassword);
        }
        // Which candidates there are depends on what was typed and on the policy, not on who it is: so the time does not
        // tell whether somebody exists or has an application.
        let (candidates, codes) = match answer {
            Answer::Split { password, code } => {
                (vec![password], vec![code.expose_str().and_then(Code::parse)])
            }
            Answer::Field(field) => match Code::split(&field).filter(|_| self.policy.wants_codes()) {
                Some((password, code)) => (vec![password, field], vec![Some(code), None]),
                None => (vec![field], vec![None]),
            },
        };
        self.state = State::Local(codes);
        Next::CheckLocal(LocalCheck { hash, candidates })
    }

    fn ask_elsewhere(&mut self, source: Source, answer: Answer) -> Next {
        let enrolled = self.user.as_ref().is_some_and(|(_, user)| user.confirmed_totp().is_some());
        // One try only: each wrong one counts towards a lock at the directory. Whoever has an application there and a password
        // that ends in six digits gives the code in the field for it, or after the password.
        let (password, code) = match answer {
            Answer::Split { password, code } => (password, code.expose_str().and_then(Code::parse)),
            Answer::Field(field) => {
                match Code::split(&field).filter(|_| enrolled && self.policy.wants_codes()) {
                    Some((password, code)) => (password, Some(code)),
                    None => (field, None),
                }
            }
        };
        // An empty password makes an LDAP bind anonymous, which succeeds (RFC 4513 §5.1.2).
        if password.is_empty() || password.expose().len() > MAX_PASSWORD {
            return self.refuse(Reason::NoPassword);
        }
        let name = self.name.clone();
        match source {
            Source::Directory => {
                self.note("password: asking the directory");
                self.state = State::Directory(code);
                Next::AskDirectory { name, password }
            }
            Source::Radius | Source::Local => {
                self.note("password: asking RADIUS");
                self.state = State::Radius(code, 0);
                Next::AskRadius { name, password, state: None }
            }
        }
    }

    /// What the local check found.
    pub fn handle_local(&mut self, now: Moment, right: Option<usize>) -> Next {
        let State::Local(codes) = std::mem::replace(&mut self.state, State::Done) else {
            return self.refuse(Reason::OutOfOrder);
        };
        if let Some(reason) = self.doom.clone() {
            return self.refuse(reason);
        }
        let demand = self.user.as_ref().and_then(|(_, user)| self.policy.demand(&user.groups));
        let (Some((name, _)), Some((demand, groups))) = (self.user.clone(), demand) else {
            return self.refuse(Reason::NoGroup);
        };
        let Some(code) = right.and_then(|place| codes.get(place)) else {
            return self.refuse(Reason::WrongPassword("local".to_owned()));
        };
        // The digits after the password are a code only for whom one is demanded.
        if code.is_some() && !demand.code && codes.len() > 1 {
            return self.refuse(Reason::WrongPassword("local".to_owned()));
        }
        self.note("password: right");
        self.granted = Some((name, groups));
        self.finish(demand, code.clone(), now)
    }

    /// What the directory said.
    pub fn handle_directory(&mut self, now: Moment, answer: DirectoryAnswer) -> Next {
        let State::Directory(code) = std::mem::replace(&mut self.state, State::Done) else {
            return self.refuse(Reason::OutOfOrder);
        };
        match answer {
            DirectoryAnswer::Right { account, groups } => self.vouched_for(account, groups, code, now),
            DirectoryAnswer::Wrong(why) => self.refuse(Reason::WrongPassword(why)),
            DirectoryAnswer::Account(why) => self.refuse(Reason::Account(why)),
            DirectoryAnswer::MustChange(why) => self.refuse(Reason::MustChange(why)),
            DirectoryAnswer::Unavailable(why) => self.refuse(Reason::Unavailable(why)),
        }
    }

    /// What the RADIUS server said.
    pub fn handle_radius(&mut self, now: Moment, answer: RadiusAnswer) -> Next {
        let State::Radius(code, challenges) = std::mem::replace(&mut self.state, State::Done) else {
            return self.refuse(Reason::OutOfOrder);
        };
        match answer {
            RadiusAnswer::Accept(groups) => {
                let short = self.name.rsplit_once('\\').map_or(self.name.as_str(), |(_, account)| account);
                match self.user.as_ref().map(|(name, _)| name.clone()).or_else(|| short.parse().ok()) {
                    Some(account) => self.vouched_for(account, groups, code, now),
                    None => self.refuse(Reason::BadName),
                }
            }
            RadiusAnswer::Reject(why) => self.refuse(Reason::WrongPassword(why)),
            RadiusAnswer::Unavailable(why) => self.refuse(Reason::Unavailable(why)),
            RadiusAnswer::Challenge { .. } if !self.can_be_asked => self.refuse(Reason::CannotAsk),
            RadiusAnswer::Challenge { .. } if challenges >= MAX_CHALLENGES => {
                self.refuse(Reason::WrongPassword("RADIUS asks without end".to_owned()))
            }
            RadiusAnswer::Challenge { text, state } => {
                self.note("RADIUS asks a question");
                self.state = State::RadiusChallenge(code, challenges + 1, state);
                Next::Challenge(Some(text))
            }
        }
    }

    /// Somebody else says that the password is right, and which groups the account has there.
    fn vouched_for(
        &mut self,
        account: UserName,
        mut groups: BTreeSet<GroupName>,
        code: Option<Code>,
        now: Moment,
    ) -> Next {
        self.note(format!("password: right, account {account}"));
        self.vouched = Some(Vouched { account: account.clone(), groups: groups.clone() });
        match &self.user {
            // Another spelling of a name must not be a way around what stands in the store under the account's own.
            Some((name, _)) if *name != account => {
                let line = format!("the directory knows {name} as {account}");
                self.note(line);
                return self.refuse(Reason::BadName);
            }
            Some((_, user)) => groups.extend(user.groups.iter().cloned()),
            None => {}
        }
        let Some((demand, groups)) = self.policy.demand(&groups) else {
            return self.refuse(Reason::NoGroup);
        };
        self.note(format!("groups {}: {}", list(&groups), words(demand)));
        self.granted = Some((account, groups));
        self.check_owner();
        self.finish(demand, code, now)
    }

    /// The password is right or not demanded: the rest.
    fn finish(&mut self, demand: Demand, code: Option<Code>, now: Moment) -> Next {
        if let Some(reason) = self.doom.clone() {
            return self.refuse(reason);
        }
        if demand.certificate && self.device.is_none() {
            return self.refuse(Reason::NoCertificate);
        }
        if !demand.code {
            return self.accept(None);
        }
        if self.user.as_ref().is_none_or(|(_, user)| user.confirmed_totp().is_none()) {
            return self.refuse(Reason::NotEnrolled);
        }
        match code {
            Some(code) => self.check_code(&code, now),
            None if !self.can_be_asked => self.refuse(Reason::CannotAsk),
            None => {
                self.note("code: asking for it");
                self.state = State::Code;
                Next::Challenge(None)
            }
        }
    }

    /// What the user answered. `certificate` is the one of the connection on which the answer came: with OpenVPN's dynamic
    /// challenge that is a new one.
    pub fn handle_answer(
        &mut self,
        now: Moment,
        answer: &Secret,
        certificate: Option<&ClientIdentity>,
    ) -> Next {
        let state = std::mem::replace(&mut self.state, State::Done);
        let print = |identity: &ClientIdentity| identity.fingerprint;
        if certificate.map(print) != self.certificate.as_ref().map(print) {
            return self.refuse(Reason::OtherCertificate);
        }
        match state {
            State::Code => match answer.expose_str().and_then(Code::parse) {
                Some(code) => self.check_code(&code, now),
                None => self.refuse(Reason::WrongCode),
            },
            State::RadiusChallenge(code, challenges, state) => {
                self.state = State::Radius(code, challenges);
                if answer.expose().len() > MAX_PASSWORD {
                    return self.refuse(Reason::NoPassword);
                }
                Next::AskRadius { name: self.name.clone(), password: answer.clone(), state: Some(state) }
            }
            State::Local(_) | State::Directory(_) | State::Radius(..) | State::Done => {
                self.refuse(Reason::OutOfOrder)
            }
        }
    }

    fn check_code(&mut self, code: &Code, now: Moment) -> Next {
        let totp = self.user.as_ref().and_then(|(_, user)| user.confirmed_totp());
        match totp.and_then(|totp| totp.seed.verify(code, now, totp.last)) {
            Some(step) => {
                self.note("code: right");
                self.accept(Some(step))
            }
            None => self.refuse(Reason::WrongCode),
        }
    }

    fn accept(&mut self, code_used: Option<Step>) -> Next {
        self.state = State::Done;
        let Some((user, groups)) = self.granted.clone() else { return self.refuse(Reason::OutOfOrder) };
        let stored = self.user.as_ref().map(|(_, user)| user);
        let admission = Admission {
            device: self.device.as_ref().map(|(id, _)| *id),
            ipv4: stored.and_then(|user| user.ipv4),
            ipv6: stored.and_then(|user| user.ipv6),
            networks: stored.map(|user| user.networks.clone()).unwrap_or_default(),
            rehash: stored.and_then(|user| user.password.as_ref()).is_some_and(Hash::is_dated),
            code_used,
            user,
            groups,
        };
        self.note(format!("accepted as {}", admission.user));
        Next::Accepted(Box::new(admission))
    }

    fn refuse(&mut self, log: Reason) -> Next {
        self.state = State::Done;
        self.note(format!("refused: {log}"));
        let user = log.told();
        Next::Refused { log, user }
    }
}

fn place(source: Source) -> &'static str {
    match source {
        Source::Local => "here",
        Source::Directory => "by the directory",
        Source::Radius => "by RADIUS",
    }
}

fn list(groups: &BTreeSet<GroupName>) -> String {
    groups.iter().map(GroupName::as_str).collect::<Vec<_>>().join(", ")
}

fn words(demand: Demand) -> String {
    let parts = [(demand.certificate, "certificate"), (demand.password, "password"), (demand.code, "code")];
    parts.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| *word).collect::<Vec<_>>().join(" + ")
}
