//! Commits, over both nodes where there are two: the hands of [`rempart_pair::agreement`].
//!
//! The control loop turns what a person wants into a wish, does the actions that the machine asks for, and answers the
//! person when the machine says how it ended. While the other node is waited for the loop goes on turning.

mod hands;
mod outcome;
mod past;
mod propose;
mod standing;

use std::collections::BTreeMap;
use std::time::Instant;

use rempart_bus::Error;
use rempart_bus::documents::{Diagnosis, Revision};
use rempart_pair::agreement::{
    Agreement, Output, Position, Relation, Resume, RevisionId, Token, Trial, Wish, compare,
};
use tokio::sync::mpsc;
use tracing::info;

use self::outcome::answer;
use self::past::Past;
use crate::control::{Control, Ready, failed};
use crate::engine::Applied;
use crate::peer::{self, Peer, PeerNews};
use crate::service::Reply;
use crate::store::{self, Lineage, Pending};

/// Longest comment and author that a revision keeps, in characters.
const MAX_WORDS: usize = 1_000;
/// Requests of the other node that wait for an answer: it has one under way, and may have sent it again.
const MAX_ANSWERS: usize = 16;
/// Longest text about a fault that travels to the other node, in characters.
const MAX_REASON: usize = 4_000;

/// A revision that may be brought into force.
#[derive(Debug)]
struct Held {
    id: RevisionId,
    document: String,
    about: Revision,
    lineage: Lineage,
    ready: Ready,
}

/// A person who waits for the end of a wish.
#[derive(Debug)]
enum Waiting {
    Commit { reply: Reply<String>, started: Instant, warnings: Vec<Diagnosis>, confirm_s: Option<u32> },
    Confirm(Reply<u32>),
    Revert(Reply<u32>),
    Resolve(Reply<u32>),
}

/// What the control loop holds for the agreement of the two nodes.
#[derive(Debug)]
pub struct Accord {
    machine: Agreement,
    peer: Peer,
    /// News of `rempart-ha` and the other node.
    pub(crate) news: mpsc::Receiver<PeerNews>,
    held: Option<Held>,
    waiting: Option<Waiting>,
    answers: BTreeMap<Token, Reply<Vec<u8>>>,
    next: u64,
    /// What the last apply did, for the report.
    applied: Applied,
    /// Why the last action failed, for the person.
    failure: Option<Error>,
    /// Going back has failed and is tried again.
    retreating: bool,
    /// The plan of the elector, as it was last told, with its revision.
    plan: (String, u32),
    /// The number that the other node's head has here, which takes reading the history to find.
    known: std::cell::Cell<Option<(RevisionId, RevisionId, Option<u32>)>>,
    /// How the history of before this node was there is got.
    past: Past,
    /// Joined by a person on this node: what is committed here gives way to what the other node has.
    joined: bool,
}

impl Accord {
    /// What goes on from `position`, perhaps with a commit on trial.
    pub fn new(position: Position, pending: Option<&(RevisionId, Pending)>) -> Self {
        let resume = pending.map(|(id, pending)| {
            let left = pending.deadline_unix_s.saturating_sub(store::unix_now() + pending.held_s());
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let confirm_s = pending.confirm.then_some(left);
            Resume { id: *id, trial: Trial { confirm_s, of_peer: pending.of_peer } }
        });
        let (peer, news) = Peer::new();
        Self {
            machine: Agreement::new(Instant::now(), true, position, resume),
            peer,
            news,
            held: None,
            waiting: None,
            answers: BTreeMap::new(),
            next: 0,
            applied: Applied::default(),
            failure: None,
            retreating: false,
            plan: (String::new(), 0),
            known: std::cell::Cell::new(None),
            past: Past::default(),
            joined: false,
        }
    }

    /// Follows `rempart-ha` on this bus.
    pub fn connect(&mut self, connection: zbus::Connection) {
        self.peer.connect(connection);
    }

    /// When [`Control::agree`] is to be called at the latest.
    pub fn wake(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }
}

impl Control {
    /// Keeps the commit on trial.
    pub(crate) fn confirm(&mut self, reply: Reply<u32>) {
        self.wish(Wish::Confirm, Waiting::Confirm(reply));
    }

    /// Takes the commit on trial back.
    pub(crate) fn revert(&mut self, reply: Reply<u32>) {
        self.wish(Wish::Revert, Waiting::Revert(reply));
    }

    /// The two have diverged, and a person has chosen.
    pub(crate) fn resolve(&mut self, choice: &str, reply: Reply<u32>) {
        let ours = match choice {
            "ours" => true,
            "theirs" => false,
            other => {
                let message = format!("`{other}` is neither `ours` nor `theirs`");
                return drop(reply.send(Err(Error::Refused(message))));
            }
        };
        self.wish(Wish::Resolve { ours }, Waiting::Resolve(reply));
    }

    fn wish(&mut self, wish: Wish, waiting: Waiting) {
        if self.accord.waiting.is_some() || self.accord.retreating {
            let error = self.busy();
            return answer(waiting, Err(error));
        }
        self.accord.waiting = Some(waiting);
        self.accord.machine.wish(Instant::now(), wish);
    }

    fn busy(&self) -> Error {
        let other = self.other_node();
        Error::Busy(format!("a commit or a change of {other} is under way; try again in a moment"))
    }

    /// The other node's name, for a person.
    pub(crate) fn other_node(&self) -> String {
        let other =
            self.running.as_ref().and_then(|r| r.model.nodes.iter().find(|n| n.as_str() != self.node));
        other.map_or_else(|| "the other node".into(), ToString::to_string)
    }

    /// News of the other node.
    pub(crate) fn hear(&mut self, news: PeerNews) {
        let now = Instant::now();
        match news {
            PeerNews::Link { paired, connected } => {
                if connected != self.accord.machine.linked() {
                    info!(connected, "the other node");
                }
                self.accord.machine.handle_link(now, paired, connected);
            }
            PeerNews::Answer(token, Some(response)) => {
                self.accord.machine.handle_answer(now, token, *response)
            }
            PeerNews::Answer(token, None) => self.accord.machine.handle_lost(now, token),
            PeerNews::Past(id, bundle) => self.take_past(id, bundle.map(|b| *b)),
            PeerNews::PastEnd(whole) => self.end_past(whole),
        }
    }

    /// A request of the other node, or a word of our own `rempart-ha`.
    pub(crate) fn peer_request(&mut self, topic: &str, body: &[u8], reply: Reply<Vec<u8>>) {
        if topic == "joined" {
            self.accord.joined = true;
            return drop(reply.send(Ok(Vec::new())));
        }
        if topic != peer::TOPIC {
            return drop(reply.send(Err(Error::Failed(format!("nothing is known about `{topic}`")))));
        }
        let request = match serde_json::from_slice(body) {
            Ok(request) => request,
            Err(error) => {
                let message = format!("the request of the other node cannot be read: {error}");
                return drop(reply.send(Err(Error::Failed(message))));
            }
        };
        if self.accord.answers.len() >= MAX_ANSWERS {
            return drop(reply.send(Err(Error::Busy("too many requests of the other node".into()))));
        }
        let token = Token(self.accord.next);
        self.accord.next += 1;
        self.accord.answers.insert(token, reply);
        self.accord.machine.handle_request(Instant::now(), token, request);
    }

    /// Does what the machine asks for, until it asks for nothing more.
    pub(crate) async fn agree(&mut self) {
        let now = Instant::now();
        if self.accord.machine.poll_timeout().is_some_and(|at| now >= at) {
            self.accord.machine.handle_timeout(now);
        }
        while let Some(output) = self.accord.machine.poll_output() {
            match output {
                Output::Ask(token, request) => self.accord.peer.ask(token, &request),
                Output::Answer(token, response) => {
                    if let Some(reply) = self.accord.answers.remove(&token) {
                        let answer = serde_json::to_vec(&response).map_err(failed);
                        let _ = reply.send(answer);
                    }
                }
                Output::Act(action) => {
                    if let Some(done) = self.act(action).await {
                        self.accord.machine.done(Instant::now(), done);
                    }
                }
                Output::Finish(outcome) => self.finish(outcome),
            }
        }
        // The other side asks again what we have forgotten.
        self.accord.answers.retain(|_, reply| !reply.is_closed());
        if self.accord.machine.idle() {
            self.join_in();
            self.ask_past();
        }
        self.tell();
    }

    /// A box that was joined by a person takes what the other one has, although its own revisions have another origin.
    fn join_in(&mut self) {
        if !self.accord.joined || self.accord.waiting.is_some() {
            return;
        }
        let own = self.accord.machine.position();
        let Some(peer) = self.accord.machine.peer().filter(|_| self.accord.machine.linked()) else { return };
        self.accord.joined = false;
        let related = own.ancestors.iter().chain(&own.head).any(|id| peer.ancestors.contains(id))
            || peer.head.is_some_and(|head| own.ancestors.contains(&head));
        if compare(&own, peer) == Relation::Diverged && !related {
            info!("joining: the other node's revision takes the place of ours, which stays in the history");
            self.accord.machine.wish(Instant::now(), Wish::Resolve { ours: false });
        }
    }
}
