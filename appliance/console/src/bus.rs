//! Owns the connection to `rempartd` and `rempart-ha`: what can be asked, what comes back, what can go wrong.
//!
//! The answers stay the JSON texts that the daemon sent until [`Reply::parse`] is asked to read them, so that
//! `--json` prints exactly what came.

use std::time::Duration;

use rempart_bus::audit::AuditReport;
use rempart_bus::documents::{
    CheckReport, CommitReport, CommitRequest, Connection, ExplainRequest, Explanation, FlowStatus, LogPage,
    Revision, Status,
};
use rempart_bus::ha::{HaStatus, PairingOffer, PairingStatus};
use rempart_bus::setup::{SetupStatus, SshStatus};
use rempart_bus::{Control1Proxy, Error, Ha1Proxy, Update1Proxy, Vpn1Proxy};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::{updates, vpn};

/// Longest wait for an answer that only reads.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for an answer that changes the kernel: a large policy is loaded and read back.
const WRITE_LIMIT: Duration = Duration::from_secs(120);

/// A call to the daemon. `Check` and `Plan` take the candidate for the empty text.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// How the node is.
    Status,
    /// The flows with their counters.
    Flows,
    /// The newest connections, at most so many.
    Connections(u32),
    /// Ends the connections with these ids.
    Kill(Vec<u32>),
    /// The log after this entry.
    Log(u64),
    /// Whether a document is good.
    Check(String),
    /// What a document would become.
    Plan(String),
    /// What becomes of a packet.
    Explain(ExplainRequest),
    /// The candidate's text.
    Candidate,
    /// Replaces the candidate; drops it if empty.
    Load(String),
    /// Commits.
    Commit(CommitRequest),
    /// Keeps the commit on trial.
    Confirm,
    /// Goes back from the commit on trial.
    Revert,
    /// Commits an older revision again.
    Rollback(u32, CommitRequest),
    /// The revisions.
    History,
    /// The document of a revision.
    Show(u32),
    /// A unified diff of two sides.
    Diff(String, String),
    /// What the guides of ANSSI recommend, compared with this box.
    Audit,
    /// The two nodes have diverged, and a person has chosen.
    Resolve(Choice),
    /// How the pair is.
    HaStatus,
    /// Hands the role to the other node.
    Switch,
    /// Takes this node out of service, or back in.
    Maintenance(bool),
    /// Shows a pairing code and waits for the other node.
    PairOffer,
    /// Joins the node that shows a code, on a device or, where that is empty, on any.
    PairJoin(String, String),
    /// How the pairing stands.
    Pairing,
    /// Ends an offer that nobody has taken up.
    PairCancel,
    /// Forgets the other node and its keys.
    Unpair,
    /// How far the box has been set up.
    Setup,
    /// Names this box.
    Name(String),
    /// Whether this is the administrator's password.
    Login(Secret),
    /// The administrator's password: the current one, the new one.
    SetPassword(Secret, Secret),
    /// How SSH is.
    Ssh,
    /// Switches it on or off.
    SshSwitch(bool),
    /// Lets a key in.
    SshAdd(String),
    /// Lets a key in no more.
    SshRemove(String),
    /// Something of remote access.
    Vpn(Box<vpn::Ask>),
    /// Something about updates.
    Update(Box<updates::Ask>),
}

/// A password, which is not shown.
#[derive(Clone, PartialEq, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes it over.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The name of the other node's document in a [`Request::Diff`].
pub const PEER: &str = "peer";

/// Which of two diverged documents both nodes are to have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Choice {
    /// That of this node.
    Mine,
    /// That of the other.
    Theirs,
}

impl Choice {
    /// What the choice will change on the node that gives way.
    pub fn diff(self) -> Request {
        let (own, other) = ("running".to_owned(), PEER.to_owned());
        match self {
            Self::Mine => Request::Diff(other, own),
            Self::Theirs => Request::Diff(own, other),
        }
    }

    /// As the bus says it.
    fn word(self) -> &'static str {
        match self {
            Self::Mine => "ours",
            Self::Theirs => "theirs",
        }
    }
}

/// The daemon that answers a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Daemon {
    /// `rempartd`.
    Control,
    /// `rempart-ha`.
    Ha,
    /// `rempart-vpn`.
    Vpn,
    /// `rempart-update`.
    Update,
}

impl Daemon {
    /// The name of its program and of its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "rempartd",
            Self::Ha => "rempart-ha",
            Self::Vpn => "rempart-vpn",
            Self::Update => "rempart-update",
        }
    }
}

/// What came back, read.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// To `Status`.
    Status(Box<Status>),
    /// To `Flows`.
    Flows(Vec<FlowStatus>),
    /// To `Connections`.
    Connections(Vec<Connection>),
    /// To `Log`.
    Log(LogPage),
    /// To `Check`.
    Check(CheckReport),
    /// To `Explain`.
    Explain(Explanation),
    /// To `Commit` and `Rollback`.
    Commit(CommitReport),
    /// To `History`.
    History(Vec<Revision>),
    /// To `Plan`, `Candidate`, `Show` and `Diff`: plain text.
    Text(String),
    /// To `Kill`: how many. To `Confirm`, `Revert` and `Resolve`: the revision in force.
    Number(u32),
    /// To `Audit`.
    Audit(Box<AuditReport>),
    /// To `HaStatus`.
    HaStatus(Box<HaStatus>),
    /// To `PairOffer`.
    PairingOffer(PairingOffer),
    /// To `Pairing` and `PairJoin`.
    Pairing(PairingStatus),
    /// To `Vpn`.
    Vpn(Box<vpn::Answer>),
    /// To `Update`.
    Update(Box<updates::Answer>),
    /// To `Setup`.
    Setup(Box<SetupStatus>),
    /// To `Ssh`.
    Ssh(Box<SshStatus>),
    /// To `Load`, `Switch`, `Maintenance`, `PairCancel` and `Unpair`.
    Done,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody is there to ask. Nothing is known about what the daemon did.
    #[error("{1}")]
    Unreachable(Daemon, String),
    /// The bus will not let this user ask.
    #[error("{0}")]
    Denied(String),
    /// The daemon did not answer in time. It may still be working.
    #[error("no answer within {0} s")]
    TimedOut(u64),
    /// The daemon refused.
    #[error("{text}")]
    Refused {
        /// In what way.
        kind: Refusal,
        /// What the daemon says.
        text: String,
        /// What is wrong with the document, for `Invalid` and `Assertion`.
        report: Option<Box<CheckReport>>,
    },
    /// The answer is not what the interface promises.
    #[error("{0}")]
    Garbled(String),
}

/// The ways in which the daemon refuses, as in [`rempart_bus::Error`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The document has errors.
    Invalid,
    /// An assertion does not hold.
    Assertion,
    /// The change would cut the session that asks.
    LockOut,
    /// Something else has to end first.
    Busy,
    /// No such revision, connection or pending commit.
    NotFound,
    /// Not possible now, or not at all.
    Refused,
    /// The kernel refused.
    Apply,
    /// The machine failed.
    Failed,
}

/// A connection to the bus with the daemon's proxy on it.
#[derive(Clone, Debug)]
pub struct Bus {
    proxy: Control1Proxy<'static>,
    ha: Ha1Proxy<'static>,
    vpn: Vpn1Proxy<'static>,
    update: Update1Proxy<'static>,
}

impl Bus {
    /// Connects to `DBUS_SYSTEM_BUS_ADDRESS` or the system bus. Says nothing yet about the daemon.
    pub async fn connect() -> Result<Bus, Failure> {
        let connect = async {
            let connection = zbus::Connection::system().await?;
            let none = zbus::proxy::CacheProperties::No;
            let proxy = Control1Proxy::builder(&connection).cache_properties(none).build().await?;
            let ha = Ha1Proxy::builder(&connection).cache_properties(none).build().await?;
            let none = zbus::proxy::CacheProperties::No;
            let vpn = Vpn1Proxy::builder(&connection).cache_properties(none).build().await?;
            let update = Update1Proxy::builder(&connection);
            let update = update.cache_properties(zbus::proxy::CacheProperties::No).build().await?;
            zbus::Result::Ok(Bus { proxy, ha, vpn, update })
        };
        match tokio::time::timeout(READ_LIMIT, connect).await {
            Ok(Ok(bus)) => Ok(bus),
            Ok(Err(e)) => Err(Failure::Unreachable(Daemon::Control, e.to_string())),
            Err(_) => Err(Failure::TimedOut(READ_LIMIT.as_secs())),
        }
    }

    /// Asks, and gives the answer as it came; a number or nothing becomes a small JSON object.
    pub async fn ask(&self, request: &Request) -> Result<String, Failure> {
        let limit = match request {
            Request::Commit(_) | Request::Rollback(..) | Request::Confirm | Request::Revert => WRITE_LIMIT,
            Request::Plan(_) | Request::Check(_) | Request::Kill(_) | Request::Load(_) => WRITE_LIMIT,
            Request::Status | Request::Flows | Request::Connections(_) | Request::Log(_) => READ_LIMIT,
            Request::Explain(_) | Request::Candidate | Request::History => READ_LIMIT,
            // The other node has to be asked for its document, or has to take ours.
            Request::Diff(from, to) if from == PEER || to == PEER => WRITE_LIMIT,
            // Every file of the box is looked at.
            Request::Resolve(_) | Request::Audit => WRITE_LIMIT,
            Request::Show(_) | Request::Diff(..) => READ_LIMIT,
            Request::HaStatus | Request::Pairing | Request::PairOffer | Request::PairCancel => READ_LIMIT,
            // The other node has to flush, take over and say so; a joining node has to find the other one first.
            Request::Switch | Request::Maintenance(_) | Request::PairJoin(..) | Request::Unpair => {
                WRITE_LIMIT
            }
            Request::Setup => READ_LIMIT,
            // A password is hashed, which is meant to take its time: seconds where the processor is slow.
            Request::Login(_) | Request::SetPassword(..) => WRITE_LIMIT,
            // systemd is asked to start others.
            Request::Name(_) | Request::SshSwitch(_) => WRITE_LIMIT,
            Request::Ssh | Request::SshAdd(_) | Request::SshRemove(_) => READ_LIMIT,
            Request::Vpn(ask) if ask.only_reads() => READ_LIMIT,
            Request::Vpn(_) => WRITE_LIMIT,
            // All programs are asked how they are; a stick takes its time to be mounted.
            Request::Update(_) => WRITE_LIMIT,
        };
        match tokio::time::timeout(limit, self.call(request)).await {
            Ok(answer) => answer.map_err(|e| Failure::of(request.daemon(), e)),
            Err(_) => Err(Failure::TimedOut(limit.as_secs())),
        }
    }

    async fn call(&self, request: &Request) -> Result<String, Error> {
        let p = &self.proxy;
        match request {
            Request::Status => p.status().await,
            Request::Flows => p.flows().await,
            Request::Connections(limit) => p.connections(*limit).await,
            Request::Kill(ids) => p.kill(ids).await.map(|n| serde_json::json!({ "killed": n }).to_string()),
            Request::Log(after) => p.log(*after).await,
            Request::Check(document) => p.check(document).await,
            Request::Plan(document) => p.plan(document).await,
            Request::Explain(request) => p.explain(&json(request)).await,
            Request::Candidate => p.candidate().await,
            Request::Load(document) => p.load(document).await.map(nothing),
            Request::Commit(request) => p.commit(&json(request)).await,
            Request::Confirm => p.confirm().await.map(in_force),
            Request::Revert => p.revert().await.map(in_force),
            Request::Rollback(revision, request) => p.rollback(*revision, &json(request)).await,
            Request::History => p.history().await,
            Request::Show(revision) => p.show(*revision).await,
            Request::Diff(from, to) => p.diff(from, to).await,
            Request::Audit => p.audit().await,
            Request::Resolve(choice) => p.resolve(choice.word()).await.map(in_force),
            Request::HaStatus => self.ha.status().await,
            Request::Switch => self.ha.switch().await.map(nothing),
            Request::Maintenance(on) => self.ha.maintenance(*on).await.map(nothing),
            Request::PairOffer => self.ha.pair_offer().await,
            Request::PairJoin(code, device) => self.ha.pair_join(code, device).await,
            Request::Pairing => self.ha.pairing().await,
            Request::PairCancel => self.ha.pair_cancel().await.map(nothing),
            Request::Unpair => self.ha.unpair().await.map(nothing),
            Request::Setup => p.setup().await,
            Request::Name(name) => p.name(name).await.map(nothing),
            Request::Login(password) => p.login(&password.0).await.map(nothing),
            Request::SetPassword(current, new) => p.set_password(&current.0, &new.0).await.map(nothing),
            Request::Ssh => p.ssh().await,
            Request::SshSwitch(on) => p.ssh_switch(*on).await.map(nothing),
            Request::SshAdd(key) => p.ssh_add(key).await,
            Request::SshRemove(fingerprint) => p.ssh_remove(fingerprint).await.map(nothing),
            Request::Vpn(ask) => ask.call(&self.vpn).await,
            Request::Update(ask) => ask.call(&self.update).await,
        }
    }
}

fn nothing(_: ()) -> String {
    "{}".to_owned()
}

fn in_force(revision: u32) -> String {
    serde_json::json!({ "revision": revision }).to_string()
}

fn json(document: &impl serde::Serialize) -> String {
    serde_json::to_string(document).expect("bus documents have string keys and finite numbers")
}

impl Request {
    /// Who answers it.
    pub fn daemon(&self) -> Daemon {
        match self {
            Self::Status | Self::Flows | Self::Connections(_) | Self::Kill(_) | Self::Log(_) => {
                Daemon::Control
            }
            Self::Check(_) | Self::Plan(_) | Self::Explain(_) | Self::Candidate | Self::Load(_) => {
                Daemon::Control
            }
            Self::Ssh | Self::SshSwitch(_) | Self::SshAdd(_) | Self::SshRemove(_) => Daemon::Control,
            Self::Audit | Self::Setup | Self::Name(_) | Self::Login(_) | Self::SetPassword(..) => {
                Daemon::Control
            }
            Self::Commit(_) | Self::Confirm | Self::Revert | Self::Rollback(..) => Daemon::Control,
            Self::History | Self::Show(_) | Self::Diff(..) | Self::Resolve(_) => Daemon::Control,
            Self::HaStatus | Self::Switch | Self::Maintenance(_) => Daemon::Ha,
            Self::PairOffer | Self::PairJoin(..) | Self::Pairing | Self::PairCancel | Self::Unpair => {
                Daemon::Ha
            }
            Self::Vpn(_) => Daemon::Vpn,
            Self::Update(_) => Daemon::Update,
        }
    }

    /// Whether the answer is plain text and not JSON.
    pub fn answers_text(&self) -> bool {
        matches!(self, Self::Plan(_) | Self::Candidate | Self::Show(_) | Self::Diff(..) | Self::SshAdd(_))
    }
}

impl Reply {
    /// Reads the answer to a request.
    pub fn parse(request: &Request, answer: String) -> Result<Reply, Failure> {
        fn read<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
            serde_json::from_str(text).map_err(|e| Failure::Garbled(e.to_string()))
        }
        fn field(text: &str, name: &str) -> Result<u32, Failure> {
            let value: serde_json::Value = read(text)?;
            let number = value.get(name).and_then(serde_json::Value::as_u64);
            number.and_then(|n| n.try_into().ok()).ok_or_else(|| Failure::Garbled(text.to_owned()))
        }
        Ok(match request {
            Request::Status => Reply::Status(read(&answer)?),
            Request::Flows => Reply::Flows(read(&answer)?),
            Request::Connections(_) => Reply::Connections(read(&answer)?),
            Request::Log(_) => Reply::Log(read(&answer)?),
            Request::Check(_) => Reply::Check(read(&answer)?),
            Request::Explain(_) => Reply::Explain(read(&answer)?),
            Request::Commit(_) | Request::Rollback(..) => Reply::Commit(read(&answer)?),
            Request::History => Reply::History(read(&answer)?),
            Request::Plan(_) | Request::Candidate | Request::Show(_) | Request::Diff(..) => {
                Reply::Text(answer)
            }
            Request::Kill(_) => Reply::Number(field(&answer, "killed")?),
            Request::Confirm | Request::Revert | Request::Resolve(_) => {
                Reply::Number(field(&answer, "revision")?)
            }
            Request::Audit => Reply::Audit(read(&answer)?),
            Request::HaStatus => Reply::HaStatus(read(&answer)?),
            Request::PairOffer => Reply::PairingOffer(read(&answer)?),
            Request::Pairing | Request::PairJoin(..) => Reply::Pairing(read(&answer)?),
            Request::Vpn(ask) => Reply::Vpn(Box::new(ask.read(&answer).map_err(Failure::Garbled)?)),
            Request::Update(ask) => Reply::Update(Box::new(ask.read(&answer).map_err(Failure::Garbled)?)),
            Request::Ssh => Reply::Ssh(Box::new(read(&answer)?)),
            Request::SshAdd(_) => Reply::Text(answer),
            Request::SshSwitch(_) | Request::SshRemove(_) => Reply::Done,
            Request::Setup => Reply::Setup(Box::new(read(&answer)?)),
            Request::Load(_) | Request::Name(_) | Request::Login(_) | Request::SetPassword(..) => Reply::Done,
            Request::Switch | Request::Maintenance(_) | Request::PairCancel | Request::Unpair => Reply::Done,
        })
    }
}

impl Failure {
    /// What a daemon's error means.
    fn of(daemon: Daemon, error: Error) -> Failure {
        let refused = |kind, text| Failure::Refused { kind, text, report: None };
        let reported = |kind, text: String| match serde_json::from_str(&text) {
            Ok(report) => Failure::Refused { kind, text: String::new(), report: Some(report) },
            Err(_) => Failure::Refused { kind, text, report: None },
        };
        match error {
            Error::ZBus(e) => unreachable_or_denied(daemon, e),
            Error::Invalid(text) => reported(Refusal::Invalid, text),
            Error::Assertion(text) => reported(Refusal::Assertion, text),
            Error::LockOut(text) => refused(Refusal::LockOut, text),
            Error::Busy(text) => refused(Refusal::Busy, text),
            Error::NotFound(text) => refused(Refusal::NotFound, text),
            Error::Refused(text) => refused(Refusal::Refused, text),
            Error::Apply(text) => refused(Refusal::Apply, text),
            Error::Failed(text) => refused(Refusal::Failed, text),
        }
    }
}

fn unreachable_or_denied(daemon: Daemon, error: zbus::Error) -> Failure {
    use zbus::fdo;
    let zbus::Error::FDO(fault) = &error else { return Failure::Unreachable(daemon, error.to_string()) };
    match fault.as_ref() {
        fdo::Error::AccessDenied(text) | fdo::Error::AuthFailed(text) => Failure::Denied(text.clone()),
        fdo::Error::UnknownMethod(text)
        | fdo::Error::UnknownInterface(text)
        | fdo::Error::UnknownObject(text)
        | fdo::Error::InvalidArgs(text) => Failure::Garbled(text.clone()),
        other => Failure::Unreachable(daemon, other.to_string()),
    }
}
