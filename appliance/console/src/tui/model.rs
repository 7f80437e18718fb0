//! Owns what the screens know: the last answers of the daemon, where the cursor stands, what is open on top.
//!
//! Pure data. [`super::update`] changes it, [`super::view`] draws it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crossterm::event::KeyEvent;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rempart_bus::documents::{
    CheckReport, CommitReport, Connection, Diagnosis, Explanation, FlowStatus, LogEntry, Revision, Session,
    Status,
};
use rempart_bus::ha::HaStatus;
use rempart_bus::vpn::{SessionView, WireguardStatus};

use super::editor::Editor;
pub use super::gate::Gate;
use super::prompt::{Output, Prompt};
use crate::bus::{Choice, Failure, Reply, Request};
use crate::cli::line::Order as VerbOrder;
use crate::filter::{Filter, Order, Subject};
use crate::lab::{Order as LabOrder, Traffic};
use crate::lang::Lang;
use crate::words::Tone;

/// Log entries kept on the screen; older ones are forgotten first.
pub const LOG_MAX: usize = 5000;
/// Connections asked for at a time: what a person may scroll through, and about 1 MB a second on the bus.
pub const CONNECTIONS_MAX: u32 = 2000;
/// Dialogs on top of each other: list, details, explain.
pub const DIALOGS_MAX: usize = 4;
/// Samples of each interface's rates, one every [`RATE_PERIOD_S`].
pub const RATES_MAX: usize = 10;
/// Seconds for each sample, which is their mean: a minute in all, and few bytes on a serial line.
pub const RATE_PERIOD_S: u32 = 6;
/// Longest text in an input field, in characters.
pub const INPUT_MAX: usize = 200;

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Message {
    /// A key.
    Key(KeyEvent),
    /// The terminal has this size now.
    Resize(u16, u16),
    /// A second has passed.
    Tick(Timestamp),
    /// The daemon has answered a request, or has not.
    Answer(Request, Result<Reply, Failure>),
    /// How the streams of the lab fare.
    Traffic(Traffic),
    /// The lab has done what it was told, or has not.
    LabDone(LabOrder, Result<(), String>),
    /// A verb of the prompt has said a line.
    Said(String),
    /// It has ended, with this exit code if it has one.
    Ended(Option<i32>),
    /// Someone wants the program to end.
    Terminate,
}

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Ask the daemon.
    Call(Request),
    /// Tell the lab.
    Lab(LabOrder),
    /// Run a verb; [`VerbOrder::asks`] says where.
    Run(VerbOrder),
    /// End the verb that runs.
    Interrupt,
    /// Draw everything again, and ask a serial terminal for its size.
    Repaint,
    /// Leave.
    Quit,
}

/// The screens, in the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Screen {
    /// How the node is.
    Dashboard,
    /// The flow matrix.
    Matrix,
    /// Tracked connections.
    Connections,
    /// The firewall log.
    Log,
    /// Revisions and the candidate.
    Configuration,
    /// The pair of nodes.
    Pair,
    /// Remote access.
    Vpn,
}

impl Screen {
    /// All of them.
    pub const ALL: [Screen; 7] = [
        Self::Dashboard,
        Self::Matrix,
        Self::Connections,
        Self::Log,
        Self::Configuration,
        Self::Pair,
        Self::Vpn,
    ];
}

/// Whether the daemon answers.
#[derive(Clone, PartialEq, Debug)]
pub enum Link {
    /// It was asked for the first time.
    Connecting,
    /// It does.
    Up,
    /// It does not.
    Down {
        /// Since when.
        since: Timestamp,
        /// Why, as far as the last try knows.
        failure: Failure,
    },
}

/// What is asked again and again; one request of each is under way at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Poll {
    /// [`Request::Status`].
    Status,
    /// [`Request::Flows`].
    Flows,
    /// [`Request::Connections`].
    Connections,
    /// [`Request::Log`].
    Log,
    /// [`Request::History`].
    History,
    /// [`Request::HaStatus`].
    Pair,
    /// Who is on.
    Vpn,
    /// The same of WireGuard.
    Wireguard,
    /// How far the box has been set up.
    Setup,
    /// The disks of a box that was started from a stick, or how far the copy is.
    Live,
}

/// A line of text that a person types.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Input {
    /// The text.
    pub text: String,
}

/// A list that changes while it is looked at.
#[derive(Clone, PartialEq, Debug)]
pub struct Live<T> {
    /// What there is.
    pub items: Vec<T>,
    /// The selected one, as a position among those that the filter lets through.
    pub cursor: usize,
    /// What is typed.
    pub input: Input,
    /// What it means.
    pub filter: Filter,
    /// The word that means nothing.
    pub bad: Option<String>,
    /// Whether keys go to the filter line.
    pub editing: bool,
    /// Whether the list stands still.
    pub frozen: bool,
}

impl<T> Default for Live<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            cursor: 0,
            input: Input::default(),
            filter: Filter::default(),
            bad: None,
            editing: false,
            frozen: false,
        }
    }
}

impl<T: Subject> Live<T> {
    /// Those that the filter lets through.
    pub fn kept(&self) -> Vec<&T> {
        self.items.iter().filter(|i| self.filter.matches(*i)).collect()
    }
}

/// Which way the matrix is turned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pivot {
    /// Zones by zones.
    #[default]
    Zones,
    /// Services by pairs of zones.
    Services,
}

/// The matrix screen.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MatrixScreen {
    /// Which way it is turned.
    pub pivot: Pivot,
    /// Cursor.
    pub row: usize,
    /// Cursor.
    pub column: usize,
}

/// Rates of an interface over the last minute.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rates {
    /// Means in bits per second, both directions together, the newest last.
    pub samples: VecDeque<u64>,
    /// Sum of the sample in the making.
    pub sum: u64,
    /// How many values are in it.
    pub count: u32,
}

/// A field of the explain form, from the top.
pub const EXPLAIN_FIELDS: usize = 4;

/// The explain form.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ExplainForm {
    /// Zone, source, destination, service.
    pub fields: [Input; EXPLAIN_FIELDS],
    /// Which of them the keys go to.
    pub focus: usize,
    /// Whether the daemon is being asked.
    pub waiting: bool,
    /// What it said.
    pub result: Option<Result<Explanation, Failure>>,
    /// Lines scrolled off the top of the result.
    pub scroll: usize,
}

/// What is committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The candidate.
    Candidate,
    /// An older revision, again.
    Revision(u32),
}

/// The form in front of a commit: what will change comes first.
#[derive(Clone, PartialEq, Debug)]
pub struct CommitForm {
    /// What is committed.
    pub target: Target,
    /// What will change.
    pub diff: Option<String>,
    /// Whether it is good; an older revision was, and is checked by the daemon all the same.
    pub check: Option<CheckReport>,
    /// Why.
    pub comment: Input,
    /// How long to wait for the confirmation; nothing is for ever.
    pub confirm: Input,
    /// Which field the keys go to: 0 comment, 1 time.
    pub focus: usize,
    /// Lines scrolled off the top of the diff.
    pub scroll: usize,
    /// Whether the daemon is at it.
    pub sending: bool,
    /// Why it was refused.
    pub failure: Option<Failure>,
    /// Whether the time cannot be read.
    pub bad_time: bool,
}

/// Something on top of a screen.
#[derive(Clone, PartialEq, Debug)]
pub enum Dialog {
    /// The keys.
    Help {
        /// Lines scrolled off the top.
        scroll: usize,
    },
    /// The flows of a cell of the matrix.
    Flows {
        /// The flows' numbers.
        ids: Vec<u32>,
        /// The selected one.
        cursor: usize,
    },
    /// A flow in full.
    Flow(Box<FlowStatus>),
    /// A connection in full.
    Connection(Box<Connection>),
    /// A log entry in full.
    Entry(Box<LogEntry>),
    /// A document or a diff.
    Text {
        /// What was asked for; its answer is the text.
        request: Request,
        /// The text, once it is here.
        text: Option<String>,
        /// Lines scrolled off the top.
        scroll: usize,
    },
    /// Connections about to be ended.
    Kill {
        /// Exactly these.
        victims: Vec<Connection>,
        /// Lines scrolled off the top.
        scroll: usize,
        /// Whether the daemon is at it.
        sending: bool,
    },
    /// A commit or roll-back about to be made.
    Commit(Box<CommitForm>),
    /// Going back from the commit on trial.
    Revert {
        /// What will change.
        request: Request,
        /// The same, once it is here.
        diff: Option<String>,
        /// Lines scrolled off the top.
        scroll: usize,
        /// Whether the daemon is at it.
        sending: bool,
    },
    /// The role about to be moved, or a node about to go out of service.
    Move {
        /// [`Request::Switch`] or [`Request::Maintenance`].
        order: Request,
        /// Whether the daemon is at it.
        sending: bool,
    },
    /// A choice between two documents that have diverged.
    Resolve {
        /// The choice, once it is made; `y` does it.
        choice: Option<Choice>,
        /// What it will change, once that is here.
        diff: Option<String>,
        /// Lines scrolled off the top.
        scroll: usize,
        /// Whether the daemon is at it.
        sending: bool,
    },
    /// What a commit did.
    Report {
        /// What.
        report: Box<CommitReport>,
        /// Lines scrolled off the top.
        scroll: usize,
    },
    /// What becomes of a packet.
    Explain(Box<ExplainForm>),
    /// What the lab can do.
    Lab,
    /// The candidate, to be written.
    Editor(Box<Editor>),
    /// A verb that is typed.
    Prompt(Prompt),
    /// What a verb says.
    Output(Output),
    /// A refusal in full.
    Failure {
        /// Why.
        failure: Failure,
        /// Lines scrolled off the top.
        scroll: usize,
    },
}

/// Everything that the screens know.
#[derive(Clone, PartialEq, Debug)]
pub struct Model {
    /// The language.
    pub lang: Lang,
    /// Without colours.
    pub mono: bool,
    /// The person's time zone.
    pub tz: TimeZone,
    /// Columns of the terminal.
    pub width: u16,
    /// Rows of the terminal.
    pub height: u16,
    /// Now.
    pub now: Timestamp,
    /// Seconds since the start.
    pub ticks: u64,
    /// Who commits.
    pub author: String,
    /// Where they sit, if it is far.
    pub session: Option<Session>,
    /// The screen.
    pub screen: Screen,
    /// What is on top of it, the uppermost last.
    pub dialogs: Vec<Dialog>,
    /// One line about what was just done, until the next key.
    pub notice: Option<(String, Tone)>,
    /// Whether the daemon answers.
    pub link: Link,
    /// What was asked and not answered yet.
    pub waiting: BTreeSet<Poll>,
    /// The last status.
    pub status: Option<Status>,
    /// When it came.
    pub status_at: Timestamp,
    /// Lines scrolled off the top of the dashboard.
    pub dashboard_scroll: usize,
    /// By interface.
    pub rates: BTreeMap<String, Rates>,
    /// The flows.
    pub flows: Vec<FlowStatus>,
    /// Warnings about the running document.
    pub warnings: Vec<Diagnosis>,
    /// The revision that they are about or were asked for.
    pub warnings_of: Option<u32>,
    /// The matrix screen.
    pub matrix: MatrixScreen,
    /// The connections.
    pub connections: Live<Connection>,
    /// Their order.
    pub order: Order,
    /// The log.
    pub log: Live<LogEntry>,
    /// The entry to ask for next.
    pub log_next: u64,
    /// Entries that were lost before they could be read.
    pub log_lost: u64,
    /// Whether the cursor stays on the newest entry.
    pub log_follow: bool,
    /// The revisions.
    pub revisions: Vec<Revision>,
    /// The selected one.
    pub revision_cursor: usize,
    /// How the pair is, or why that is not known.
    pub pair: Option<Result<Box<HaStatus>, Failure>>,
    /// Lines scrolled off the top of the pair's screen.
    pub pair_scroll: usize,
    /// The sessions of remote access, or why they are not known.
    pub vpn: Option<Result<Vec<SessionView>, Failure>>,
    /// The selected one.
    pub vpn_cursor: usize,
    /// WireGuard, once that was said.
    pub wireguard: Option<Box<WireguardStatus>>,
    /// In the lab, its streams.
    pub lab: Option<Traffic>,
    /// The lines typed at the prompt, the newest last.
    pub typed: Vec<String>,
    /// What stands before the screens.
    pub gate: Gate,
    /// Whether the administrator has a password, as far as is known.
    pub password: bool,
    /// Whether a document was ever committed, as far as is known.
    pub committed: bool,
    /// The stick that the box was started from, where nothing is kept.
    pub live: Option<String>,
    /// Seconds since the last key.
    pub idle_s: u32,
}

impl Model {
    /// At the start, with a terminal of 80×24 until told otherwise.
    pub fn new(lang: Lang, mono: bool, tz: TimeZone, now: Timestamp) -> Model {
        Model {
            lang,
            mono,
            tz,
            width: 80,
            height: 24,
            now,
            ticks: 0,
            author: String::new(),
            session: None,
            screen: Screen::Dashboard,
            dialogs: Vec::new(),
            notice: None,
            link: Link::Connecting,
            waiting: BTreeSet::new(),
            status: None,
            status_at: now,
            dashboard_scroll: 0,
            rates: BTreeMap::new(),
            flows: Vec::new(),
            warnings: Vec::new(),
            warnings_of: None,
            matrix: MatrixScreen::default(),
            connections: Live::default(),
            order: Order::Newest,
            log: Live::default(),
            log_next: 0,
            log_lost: 0,
            log_follow: true,
            revisions: Vec::new(),
            revision_cursor: 0,
            pair: None,
            pair_scroll: 0,
            vpn: None,
            vpn_cursor: 0,
            wireguard: None,
            lab: None,
            typed: Vec::new(),
            gate: Gate::Open,
            password: false,
            committed: false,
            live: None,
            idle_s: 0,
        }
    }

    /// Seconds left to confirm the commit on trial, counted on since the last status.
    pub fn confirm_left_s(&self) -> Option<u64> {
        let pending = self.status.as_ref()?.pending.as_ref()?;
        let since = self.now.duration_since(self.status_at).as_secs().try_into().unwrap_or(0);
        Some(pending.left_s.saturating_sub(since))
    }

    /// Whether what is shown is old.
    pub fn is_stale(&self) -> bool {
        matches!(self.link, Link::Down { .. })
    }

    /// The connections that the filter lets through, in their order.
    pub fn shown_connections(&self) -> Vec<&Connection> {
        let mut kept = self.connections.kept();
        self.order.sort(&mut kept);
        kept
    }

    /// Rows between header and key line.
    pub fn body_height(&self) -> usize {
        let banners = usize::from(self.is_stale())
            + usize::from(self.live.is_some())
            + usize::from(self.lab.is_some())
            + usize::from(self.confirm_left_s().is_some());
        usize::from(self.height).saturating_sub(3 + banners)
    }
}
