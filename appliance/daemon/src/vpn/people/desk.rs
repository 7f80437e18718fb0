//! Where logins are judged: no clock, thread, socket or file.
//!
//! ```text
//!            begin ──▶ slowed? too many at once? ──▶ Step::Tell (refused unseen)
//!                          │
//!                          ▼
//!         Step::Hash ◀─ the login machine ─▶ Step::Directory, Step::Radius        (to whoever may block)
//!              │              │  ▲                    │
//!              └── local ─────┼──┴──── directory, radius
//!                             ├─▶ Step::Tell(Question) ── answer, or the next login (CRV1) ──▶ the machine
//!                             └─▶ Step::Keep ── kept on both nodes ──▶ Tell(Accepted)
//! ```
//!
//! A token never asks anybody: it proves that the login was made, and what is looked at again is whether person and device
//! may still come in.

mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rempart_identity::authority::ClientIdentity;
use rempart_identity::demand::{
    Admission, Answer, Attempt, DirectoryAnswer, Language, LocalCheck, Login as Machine, Next, Origin,
    Policy, RadiusAnswer, Throttle, Told, Vouched,
};
use rempart_identity::moment::Moment;
use rempart_identity::names::{GroupName, UserName};
use rempart_identity::secret::Secret;
use rempart_identity::store::Store;
use rempart_identity::totp;
use rempart_openvpn::message::{Advance, Refusal, Submitted};
use rempart_openvpn::session::{Credential, Login};

use super::super::seam::{LoginTicket, Verdict};
use super::seats::{Seat, Seats};
use tokens::who;

/// How long a person may take to type a code. Clients give a login 60 s while they ask, and longer when they come again.
const PATIENCE: Duration = Duration::from_secs(120);
/// Questions that wait for an answer: ten times the logins of a bad morning.
const MAX_QUESTIONS: usize = 1024;
/// When to come again after nobody could be asked.
const BACKOFF_S: u16 = 15;
/// When to come again where too many are judged.
const BUSY_S: u16 = 5;

/// What the desk does not make itself: the clocks, and bytes that nobody can guess.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// For intervals.
    pub instant: Instant,
    /// The date.
    pub moment: Moment,
    /// Sixteen random bytes, each time others.
    pub chance: [u8; 16],
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Run this, a tenth of a second; then [`Desk::local`].
    Hash(Box<Running>, LocalCheck),
    /// Ask the directory; then [`Desk::directory`].
    Directory(Box<Running>, String, Secret),
    /// Ask RADIUS; then [`Desk::radius`].
    Radius(Box<Running>, String, Secret, Option<Vec<u8>>),
    /// Keep this on both nodes; then tell [`Keep::answer`], or [`Desk::not_kept`].
    Keep(Box<Keep>),
    /// Tell the server.
    Tell(Box<Judged>),
}

/// A verdict and what to log of it.
#[derive(Debug)]
pub struct Judged {
    /// Whose.
    pub ticket: LoginTicket,
    /// For the server.
    pub verdict: Verdict,
    /// For the log.
    pub note: Note,
}

/// What is logged of a login. No secret.
#[derive(Clone, Debug)]
pub struct Note {
    /// Who it claims to be.
    pub user: String,
    /// From where.
    pub from: SocketAddr,
    /// The serial number of its certificate.
    pub certificate: Option<String>,
    /// What came out.
    pub outcome: Outcome,
}

/// What came out of a login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Came in.
    Accepted,
    /// Carried on with a token.
    Renewed,
    /// Was asked for a code.
    Asked,
    /// Stays out, and why.
    Refused(String),
    /// Not looked at, because of wrong tries before.
    Slowed(Duration),
    /// Not looked at, because too many were.
    Busy,
}

/// What must be there on both nodes before the verdict.
#[derive(Debug)]
pub struct Keep {
    /// A code that was used.
    pub code: Option<(UserName, totp::Step)>,
    /// Somebody who was vouched for elsewhere.
    pub vouched: Option<([u8; 32], Remembered)>,
    /// Forgotten for it.
    pub forgotten: Option<[u8; 32]>,
    /// What to tell then.
    pub answer: Judged,
}

/// Somebody who was vouched for elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// Who, and in which groups.
    pub vouched: Vouched,
    /// When.
    pub at: Moment,
}

/// A login that is being judged.
#[derive(Debug)]
pub struct Running {
    ticket: LoginTicket,
    typed: String,
    from: SocketAddr,
    machine: Machine,
    /// Kept while somebody works on it.
    seat: Option<Seat>,
}

impl Running {
    fn origin(&self) -> Origin<'_> {
        Origin {
            user: account(&self.typed),
            address: self.from.ip(),
            own_device: self.machine.has_own_device(),
        }
    }

    fn note(&self, outcome: Outcome) -> Note {
        let certificate = self.machine.certificate().map(|identity| identity.serial.to_string());
        Note { user: self.typed.clone(), from: self.from, certificate, outcome }
    }

    /// From where.
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// For whom.
    pub fn ticket(&self) -> LoginTicket {
        self.ticket
    }
}

/// A question that waits for its answer.
#[derive(Debug)]
struct Waiting {
    running: Box<Running>,
    until: Instant,
}

/// How long tokens carry a login on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// The life of a key.
    pub rekey: Duration,
    /// Groups that say how long a session may last.
    pub sessions: BTreeMap<GroupName, Duration>,
}

/// See the head of the file.
#[derive(Debug)]
pub struct Desk {
    /// People and devices.
    pub store: Store,
    /// What logins must show.
    pub policy: Policy,
    /// How long tokens are good.
    pub limits: Limits,
    language: Language,
    throttle: Throttle,
    seats: Seats,
    /// Logins that the server waits for.
    live: BTreeSet<LoginTicket>,
    /// Questions, by what a dynamic challenge brings back.
    waiting: BTreeMap<String, Waiting>,
    asked: BTreeMap<LoginTicket, String>,
    vouched: BTreeMap<[u8; 32], Remembered>,
    /// When what counts for somebody last changed: a login before that has not proved what is demanded now.
    changed: BTreeMap<UserName, Moment>,
}

impl Desk {
    /// With people, and a policy that lets nobody in until there is a plan.
    pub fn new(store: Store, language: Language) -> Self {
        Self {
            store,
            policy: Policy::default(),
            limits: Limits::default(),
            language,
            throttle: Throttle::new(),
            seats: Seats::default(),
            live: BTreeSet::new(),
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            vouched: BTreeMap::new(),
            changed: BTreeMap::new(),
        }
    }

    /// The verdict for somebody who is not admitted any more.
    pub fn too_late(&self) -> Verdict {
        Verdict::Refused(Box::new(self.text(Told::Wrong)))
    }

    /// The server waits for this login.
    pub fn expect(&mut self, ticket: LoginTicket) {
        self.live.insert(ticket);
    }

    /// Whether anybody still waits for it.
    pub fn is_live(&self, ticket: LoginTicket) -> bool {
        self.live.contains(&ticket)
    }

    /// Nobody waits any more. A question that the person may answer by coming again stays.
    pub fn forget(&mut self, ticket: LoginTicket) {
        self.live.remove(&ticket);
        self.asked.remove(&ticket);
    }

    /// A login begins.
    pub fn begin(&mut self, turn: Turn, ticket: LoginTicket, from: SocketAddr, login: Login) -> Step {
        let Login { renewal, user, credential, certificates, .. } = login;
        self.live.insert(ticket);
        let identity = certificates.first().map(|der| ClientIdentity::of(der)).transpose();
        let Ok(certificate) = identity else {
            let why = "the certificate does not read".to_owned();
            return self.refuse_unseen(ticket, user, from, why, self.text(Told::Wrong));
        };
        match credential {
            Credential::Token(verified) => {
                self.token(turn, ticket, from, &user, certificate, &verified, renewal)
            }
            Credential::Submitted(submitted) => match submitted {
                Submitted::Nothing => {
                    self.judge(turn, ticket, from, user, certificate, Answer::Field(Secret::from("")))
                }
                Submitted::Password(password) => {
                    let answer = Answer::Field(Secret::from(password.as_str()));
                    self.judge(turn, ticket, from, user, certificate, answer)
                }
                Submitted::WithCode { password, code } => {
                    let answer = Answer::Split {
                        password: Secret::from(password.as_str()),
                        code: Secret::from(code.as_str()),
                    };
                    self.judge(turn, ticket, from, user, certificate, answer)
                }
                Submitted::Answer { state, answer } => {
                    self.come_again(turn, ticket, from, &user, certificate, &state, &answer)
                }
                // Tokens that verified came as such; the session refuses the others itself.
                Submitted::Token(_) => {
                    let refusal = Refusal::Session(self.told(Told::Wrong).to_owned());
                    self.refuse_unseen(ticket, user, from, "an unverified token".to_owned(), refusal)
                }
            },
        }
    }

    fn judge(
        &mut self,
        turn: Turn,
        ticket: LoginTicket,
        from: SocketAddr,
        typed: String,
        certificate: Option<ClientIdentity>,
        answer: Answer,
    ) -> Step {
        // Every client can be asked: while it connects, or by coming again.
        let attempt = Attempt { name: &typed, certificate, answer, can_be_asked: true };
        let (machine, next) = Machine::start(turn.moment, &self.store, &self.policy, attempt);
        // Whoever types no name is counted under their device's owner.
        let typed = if typed.is_empty() { machine.name().to_owned() } else { typed };
        let mut running = Box::new(Running { ticket, typed, from, machine, seat: None });
        match self.admit(turn, &mut running) {
            Ok(()) => self.go_on(turn, running, next),
            Err(refused) => refused,
        }
    }

    /// Wrong tries cost time, and nobody is judged twice at once: else many tries at once would come before the first is counted.
    fn admit(&mut self, turn: Turn, running: &mut Running) -> Result<(), Step> {
        if let Err(wait) = self.throttle.admit(turn.instant, running.origin()) {
            let backoff_s = u16::try_from(wait.as_secs().saturating_add(1)).unwrap_or(u16::MAX);
            return Err(self.tell(running, Outcome::Slowed(wait), self.later(backoff_s)));
        }
        running.seat = self.seats.take(account(&running.typed), running.from.ip());
        match &running.seat {
            Some(_) => Ok(()),
            None => Err(self.tell(running, Outcome::Busy, self.later(BUSY_S))),
        }
    }

    /// What the local check found.
    pub fn local(&mut self, turn: Turn, mut running: Box<Running>, right: Option<usize>) -> Step {
        let next = running.machine.handle_local(turn.moment, right);
        self.go_on(turn, running, next)
    }

    /// What the directory said.
    pub fn directory(&mut self, turn: Turn, mut running: Box<Running>, answer: DirectoryAnswer) -> Step {
        let next = running.machine.handle_directory(turn.moment, answer);
        self.go_on(turn, running, next)
    }

    /// What RADIUS said.
    pub fn radius(&mut self, turn: Turn, mut running: Box<Running>, answer: RadiusAnswer) -> Step {
        let next = running.machine.handle_radius(turn.moment, answer);
        self.go_on(turn, running, next)
    }

    /// Nobody has the time for it.
    pub fn too_many(&mut self, running: &Running) -> Step {
        self.tell(running, Outcome::Busy, self.later(BUSY_S))
    }

    /// What the person typed after a question, on the same connection.
    pub fn answer(&mut self, turn: Turn, ticket: LoginTicket, text: &str) -> Option<Step> {
        let state = self.asked.remove(&ticket)?;
        let waiting = self.waiting.remove(&state)?;
        self.live.insert(ticket);
        let certificate = waiting.running.machine.certificate().cloned();
        Some(self.answered(turn, waiting.running, text, certificate.as_ref()))
    }

    /// The answer to a dynamic challenge: another connection, which must be of the same person and device.
    #[expect(clippy::too_many_arguments, reason = "all of a login that is no login yet")]
    fn come_again(
        &mut self,
        turn: Turn,
        ticket: LoginTicket,
        from: SocketAddr,
        user: &str,
        certificate: Option<ClientIdentity>,
        state: &str,
        answer: &str,
    ) -> Step {
        self.drop_late(turn.instant);
        let known = self.waiting.get(state).is_some_and(|waiting| waiting.running.typed == user);
        let Some(mut waiting) = self.waiting.remove(state).filter(|_| known) else {
            let why = "the answer to no question, or too late".to_owned();
            return self.refuse_unseen(ticket, user.to_owned(), from, why, self.text(Told::Wrong));
        };
        self.asked.remove(&waiting.running.ticket);
        (waiting.running.ticket, waiting.running.from) = (ticket, from);
        self.answered(turn, waiting.running, answer, certificate.as_ref())
    }

    fn answered(
        &mut self,
        turn: Turn,
        mut running: Box<Running>,
        text: &str,
        certificate: Option<&ClientIdentity>,
    ) -> Step {
        if let Err(refused) = self.admit(turn, &mut running) {
            return refused;
        }
        let next = running.machine.handle_answer(turn.moment, &Secret::from(text), certificate);
        self.go_on(turn, running, next)
    }

    fn go_on(&mut self, turn: Turn, running: Box<Running>, next: Next) -> Step {
        match next {
            Next::CheckLocal(check) => Step::Hash(running, check),
            Next::AskDirectory { name, password } => Step::Directory(running, name, password),
            Next::AskRadius { name, password, state } => Step::Radius(running, name, password, state),
            Next::Challenge(text) => self.ask(turn, running, text),
            Next::Accepted(admission) => self.accept(turn, &running, admission),
            Next::Refused { log, user } => {
                if log.counts() {
                    self.throttle.failed(turn.instant, running.origin());
                }
                let refusal = self.text(user);
                self.tell(&running, Outcome::Refused(log.to_string()), Verdict::Refused(Box::new(refusal)))
            }
        }
    }

    fn ask(&mut self, turn: Turn, mut running: Box<Running>, text: Option<String>) -> Step {
        self.drop_late(turn.instant);
        if self.waiting.len() >= MAX_QUESTIONS {
            return self.too_many(&running);
        }
        let text = text.unwrap_or_else(|| question(self.language).to_owned());
        let state: String = turn.chance.iter().map(|byte| format!("{byte:02x}")).collect();
        let refusal = Refusal::Challenge {
            state: state.clone(),
            user: running.typed.clone(),
            question: text.clone(),
            echo: true,
        };
        running.seat = None;
        self.live.remove(&running.ticket);
        let judged = Judged {
            ticket: running.ticket,
            verdict: Verdict::Question { text, refusal: Box::new(refusal) },
            note: running.note(Outcome::Asked),
        };
        self.asked.insert(running.ticket, state.clone());
        self.waiting.insert(state, Waiting { running, until: turn.instant + PATIENCE });
        Step::Tell(Box::new(judged))
    }

    fn drop_late(&mut self, now: Instant) {
        self.waiting.retain(|_, waiting| waiting.until > now);
        self.asked.retain(|_, state| self.waiting.contains_key(state));
    }

    fn accept(&mut self, turn: Turn, running: &Running, admission: Box<Admission>) -> Step {
        let code = admission.code_used.map(|step| (admission.user.clone(), step));
        if let Some((name, step)) = &code
            && let Err(error) = self.store.use_code(name, *step)
        {
            // Two logins with one code at the same time: the second one fails.
            self.throttle.failed(turn.instant, running.origin());
            let refusal = Verdict::Refused(Box::new(self.text(Told::Wrong)));
            return self.tell(running, Outcome::Refused(error.to_string()), refusal);
        }
        self.throttle.succeeded(turn.instant, running.origin());
        self.live.remove(&running.ticket);
        let vouched = running.machine.vouched().map(|vouched| {
            let remembered = Remembered { vouched: vouched.clone(), at: turn.moment };
            (who(&running.typed, running.machine.certificate()), remembered)
        });
        let forgotten =
            vouched.as_ref().and_then(|(key, remembered)| self.remember(*key, remembered.clone()));
        let answer = Judged {
            ticket: running.ticket,
            verdict: Verdict::Accepted { admission, carried_on: None },
            note: running.note(Outcome::Accepted),
        };
        if code.is_none() && vouched.is_none() {
            return Step::Tell(Box::new(answer));
        }
        Step::Keep(Box::new(Keep { code, vouched, forgotten, answer }))
    }

    /// It could not be kept on both nodes in time: a code that only one of them knows to be used could be used again on the other.
    pub fn not_kept(&self, judged: Judged) -> Judged {
        let why = "the other node did not take notice of the code in time".to_owned();
        let note = Note { outcome: Outcome::Refused(why), ..judged.note };
        Judged { verdict: self.later(BUSY_S), note, ..judged }
    }

    fn refuse_unseen(
        &mut self,
        ticket: LoginTicket,
        user: String,
        from: SocketAddr,
        why: String,
        refusal: Refusal,
    ) -> Step {
        self.live.remove(&ticket);
        let note = Note { user, from, certificate: None, outcome: Outcome::Refused(why) };
        Step::Tell(Box::new(Judged { ticket, verdict: Verdict::Refused(Box::new(refusal)), note }))
    }

    fn tell(&mut self, running: &Running, outcome: Outcome, verdict: Verdict) -> Step {
        self.live.remove(&running.ticket);
        Step::Tell(Box::new(Judged { ticket: running.ticket, verdict, note: running.note(outcome) }))
    }

    /// Refused before the desk was reached.
    pub fn busy(&self, ticket: LoginTicket, from: SocketAddr, user: String) -> Judged {
        let note = Note { user, from, certificate: None, outcome: Outcome::Busy };
        Judged { ticket, verdict: self.later(BUSY_S), note }
    }

    fn told(&self, told: Told) -> &'static str {
        told.text(self.language)
    }

    fn text(&self, told: Told) -> Refusal {
        let text = self.told(told).to_owned();
        match told {
            Told::Wrong | Told::ChangePassword | Told::Enrol | Told::AppendCode => Refusal::Failed(text),
            Told::Later => Refusal::Temporary { backoff_s: BACKOFF_S, advance: Advance::No, text },
        }
    }

    fn later(&self, backoff_s: u16) -> Verdict {
        let text = self.told(Told::Later).to_owned();
        Verdict::Refused(Box::new(Refusal::Temporary { backoff_s, advance: Advance::No, text }))
    }
}

/// What wrong tries are counted under: `DOMAIN\account` and `account@domain` are spellings of one account, and a guesser who
/// varies them is one guesser.
fn account(typed: &str) -> &str {
    let account = typed.rsplit_once('\\').map_or(typed, |(_, account)| account).trim();
    account.split_once('@').map_or(account, |(account, _)| account)
}

/// What a person is asked.
fn question(language: Language) -> &'static str {
    match language {
        Language::English => "Code of your authenticator application (6 digits):",
        Language::French => "Code de votre application d’authentification (6 chiffres) :",
    }
}
