//! The threads that judge logins, and what they tell.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use rempart_bus::vpn::LoginCounts;
use rempart_identity::secret::Secret;
use rempart_openvpn::session::Login;
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::desk::{Judged, Keep, Note, Outcome, Running, Step};
use super::office::{Office, today, turn};
use super::pool;
use crate::vpn::seam::{FromPeople, Kind, LoginTicket, Verdict};

/// Logins that wait for a hash: at ten a second and core they wait half a minute on a small box, half of what clients give.
pub const MAX_THINKING: usize = 512;
/// Logins that wait for somebody else: when the directory is away, sixteen fail every ten seconds.
pub const MAX_ASKING: usize = 256;
/// More cores have better things to do.
const MOST_THINKERS: usize = 4;
/// They block for seconds when a controller is away, and for a millisecond when it is not.
const ASKERS: usize = 16;

/// What the server wants.
pub enum Job {
    /// A login.
    Begin(LoginTicket, SocketAddr, Box<Login>),
    /// What the person typed.
    Answer(LoginTicket, Zeroizing<String>),
    /// Nobody waits any more.
    Forget(LoginTicket),
}

/// Somebody else is to be asked.
pub struct Asking {
    running: Box<Running>,
    question: Question,
}

enum Question {
    Directory(String, Secret),
    Radius(String, Secret, Option<Vec<u8>>),
}

/// Starts the threads.
pub fn start(office: &Arc<Office>) -> std::io::Result<()> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    pool::work("people-think", cores.clamp(1, MOST_THINKERS), office, |office| &office.thinking, think)?;
    pool::work("people-ask", ASKERS, office, |office| &office.asking, ask)
}

impl Office {
    /// Takes a wish of the server; does not wait.
    pub(super) fn submit(&self, job: Job) {
        match job {
            Job::Forget(ticket) => self.state().desk.forget(ticket),
            Job::Begin(ticket, from, login) => {
                self.state().desk.expect(ticket);
                if let Err(Job::Begin(_, _, login)) = self.thinking.push(Job::Begin(ticket, from, login)) {
                    let judged = self.state().desk.busy(ticket, from, login.user);
                    self.tell_verdict(judged);
                }
            }
            // A person who has typed a code is not sent away for a full queue: the answer waits at the desk's door.
            Job::Answer(ticket, text) => {
                if self.thinking.push(Job::Answer(ticket, text)).is_err() {
                    warn!("too many logins: an answer was dropped");
                }
            }
        }
    }

    /// Said while the state is held: whatever changes it says what it cuts after this, so that a session that begins and a
    /// revocation at the same instant never miss each other.
    fn tell_verdict(&self, judged: Judged) {
        let Judged { ticket, mut verdict, mut note } = judged;
        let mut state = self.state();
        if let Verdict::Accepted { admission, .. } = &verdict
            && !state.desk.still_admits(today(), admission)
        {
            verdict = state.desk.too_late();
            note.outcome = Outcome::Refused("shut out or revoked while the login was judged".to_owned());
        }
        note.record(&mut state.counts);
        self.say(FromPeople::Verdict(ticket, verdict));
        drop(state);
    }

    /// Does what a login needs until somebody else has it. `may_block` on the threads that are there for it.
    fn carry_out(&self, mut step: Step, may_block: bool) {
        loop {
            step = match step {
                Step::Tell(judged) => return self.tell_verdict(*judged),
                Step::Keep(keep) => return self.keep_login(*keep),
                Step::Hash(running, check) => {
                    let right = check.run();
                    self.state().desk.local(turn(), running, right)
                }
                Step::Directory(running, name, password) => {
                    let asking = Asking { running, question: Question::Directory(name, password) };
                    match self.hand_on(asking, may_block) {
                        Some(step) => step,
                        None => return,
                    }
                }
                Step::Radius(running, name, password, state) => {
                    let asking = Asking { running, question: Question::Radius(name, password, state) };
                    match self.hand_on(asking, may_block) {
                        Some(step) => step,
                        None => return,
                    }
                }
            }
        }
    }

    fn hand_on(&self, asking: Asking, may_block: bool) -> Option<Step> {
        if may_block {
            return self.ask(asking);
        }
        let Err(Asking { running, .. }) = self.asking.push(asking) else { return None };
        Some(self.state().desk.too_many(&running))
    }

    /// Asks; `None` when nobody waits for the answer any more, for each wrong try counts towards a lock at the directory.
    fn ask(&self, asking: Asking) -> Option<Step> {
        let Asking { running, question } = asking;
        let state = self.state();
        let (live, back) = (state.desk.is_live(running.ticket()), state.back.clone());
        drop(state);
        if !live {
            return None;
        }
        Some(match question {
            Question::Directory(name, password) => {
                let answer = back.ask_directory(&name, &password);
                self.state().desk.directory(turn(), running, answer)
            }
            Question::Radius(name, password, challenge) => {
                let from = Some(running.from().ip());
                let answer = back.ask_radius(&name, &password, challenge.as_deref(), from);
                self.state().desk.radius(turn(), running, answer)
            }
        })
    }

    /// What must be on both nodes before the verdict.
    fn keep_login(&self, keep: Keep) {
        let Keep { code, vouched, forgotten, answer } = keep;
        if let Some(key) = forgotten {
            self.replica.remove(Kind::Admission, &key);
        }
        if let Some((key, remembered)) = vouched {
            let value = serde_json::to_vec(&remembered).unwrap_or_default();
            self.replica.put(Kind::Admission, &key, Zeroizing::new(value));
        }
        let kept = code.is_none_or(|(name, step)| self.keep_code(&name, step));
        let answer = if kept { answer } else { self.state().desk.not_kept(answer) };
        self.tell_verdict(answer);
    }
}

fn think(office: &Arc<Office>, job: Job) {
    let step = match job {
        Job::Begin(ticket, from, login) => {
            let mut state = office.state();
            // The client has gone while it waited.
            if !state.desk.is_live(ticket) {
                return;
            }
            Some(state.desk.begin(turn(), ticket, from, *login))
        }
        Job::Answer(ticket, text) => office.state().desk.answer(turn(), ticket, &text),
        Job::Forget(_) => None,
    };
    if let Some(step) = step {
        office.carry_out(step, false);
    }
}

fn ask(office: &Arc<Office>, asking: Asking) {
    if let Some(step) = office.ask(asking) {
        office.carry_out(step, true);
    }
}

impl Note {
    /// Into the log and the counters. ANSSI, nomadism guide p. 79: each opening of a session with its result.
    fn record(&self, counts: &mut LoginCounts) {
        let Self { user, from, certificate, outcome } = self;
        let certificate = certificate.as_deref().unwrap_or("-");
        match outcome {
            Outcome::Accepted => {
                counts.accepted += 1;
                info!(user, %from, certificate, "login accepted");
            }
            Outcome::Renewed => {
                counts.renewed += 1;
                info!(user, %from, certificate, "login carried on");
            }
            Outcome::Asked => info!(user, %from, certificate, "login asks for a code"),
            Outcome::Refused(why) => {
                counts.refused += 1;
                warn!(user, %from, certificate, why, "login refused");
            }
            Outcome::Slowed(wait) => {
                (counts.refused, counts.slowed) = (counts.refused + 1, counts.slowed + 1);
                warn!(user, %from, certificate, wait_s = wait.as_secs(), "login slowed after wrong tries");
            }
            Outcome::Busy => {
                (counts.refused, counts.busy) = (counts.refused + 1, counts.busy + 1);
                warn!(user, %from, certificate, "login put off: too many at once");
            }
        }
    }
}
