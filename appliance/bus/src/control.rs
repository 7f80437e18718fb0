//! `org.rempart.Control1`: the control daemon.

/// The bus name that `rempartd` owns.
pub const CONTROL_NAME: &str = "org.rempart.Control1";
/// The object that carries the interface.
pub const CONTROL_PATH: &str = "/org/rempart/Control1";

/// What a call may fail with. Each text is for the person who made the call.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.rempart.Control1.Error")]
pub enum Error {
    /// The bus itself.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// The document has errors; the text is a [`crate::documents::CheckReport`] as JSON. Nothing was changed.
    Invalid(String),
    /// An assertion of the document does not hold; the text is a [`crate::documents::CheckReport`] as JSON.
    Assertion(String),
    /// The change would cut the session that asks for it. Nothing was changed.
    LockOut(String),
    /// Something else has to end first: an unconfirmed commit, say. Nothing was changed.
    Busy(String),
    /// There is no such revision or pending commit.
    NotFound(String),
    /// It is not possible now, or not at all. Nothing was changed. The text may begin with a
    /// [`RefusalCode`](crate::codes::RefusalCode).
    Refused(String),
    /// The kernel refused. The last committed revision is in force again.
    Apply(String),
    /// The machine failed: a disk, a program.
    Failed(String),
}

/// The control daemon as the console sees it.
///
/// Arguments named `request` and all answers are JSON texts of the types in [`crate::documents`].
#[zbus::proxy(
    interface = "org.rempart.Control1",
    default_service = "org.rempart.Control1",
    default_path = "/org/rempart/Control1"
)]
pub trait Control1 {
    /// A [`crate::documents::Status`].
    fn status(&self) -> Result<String, Error>;
    /// A list of [`crate::documents::FlowStatus`], in the order of evaluation.
    fn flows(&self) -> Result<String, Error>;
    /// A list of [`crate::documents::Connection`], at most `limit` of them, newest first.
    fn connections(&self, limit: u32) -> Result<String, Error>;
    /// Ends the connections with these ids; returns how many there were.
    fn kill(&self, ids: &[u32]) -> Result<u32, Error>;
    /// A [`crate::documents::LogPage`] of what came after entry number `after`.
    fn log(&self, after: u64) -> Result<String, Error>;

    /// A [`crate::documents::CheckReport`] on a document; the empty text is the candidate.
    fn check(&self, document: &str) -> Result<String, Error>;
    /// The plan for a document as text; the empty text is the candidate.
    fn plan(&self, document: &str) -> Result<String, Error>;
    /// Takes a [`crate::documents::ExplainRequest`]; gives a [`crate::documents::Explanation`].
    fn explain(&self, request: &str) -> Result<String, Error>;

    /// The candidate: what was loaded and not committed yet, or else the running document.
    fn candidate(&self) -> Result<String, Error>;
    /// Replaces the candidate; the empty text drops it.
    fn load(&self, document: &str) -> Result<(), Error>;
    /// Takes a [`crate::documents::CommitRequest`]; gives a [`crate::documents::CommitReport`].
    fn commit(&self, request: &str) -> Result<String, Error>;
    /// Keeps the commit that waits for it; returns its revision.
    fn confirm(&self) -> Result<u32, Error>;
    /// Goes back from the commit that waits for confirmation; returns the revision in force.
    fn revert(&self) -> Result<u32, Error>;
    /// Commits the document of an older revision again. Takes `revision` and a
    /// [`crate::documents::CommitRequest`] whose document is ignored; gives a [`crate::documents::CommitReport`].
    fn rollback(&self, revision: u32, request: &str) -> Result<String, Error>;
    /// A list of [`crate::documents::Revision`], the newest first.
    fn history(&self) -> Result<String, Error>;
    /// The document of a revision.
    fn show(&self, revision: u32) -> Result<String, Error>;
    /// A unified diff. Each side is a revision number, `running`, `candidate`, or `peer`: what is committed on the other
    /// node, which must be connected.
    fn diff(&self, from: &str, to: &str) -> Result<String, Error>;

    /// A [`crate::ha::ConfigurationStatus`]: which revision each node of the pair has.
    fn agreement(&self) -> Result<String, Error>;
    /// An [`crate::audit::AuditReport`]: what the guides of ANSSI recommend, compared with this box. Takes some seconds.
    fn audit(&self) -> Result<String, Error>;
    /// The two nodes have diverged and a person has chosen: `ours`, the revision of this node, or `theirs`. Returns the
    /// number of the revision that is committed here afterwards. What gives way stays in the history of its node.
    fn resolve(&self, choice: &str) -> Result<u32, Error>;

    /// A [`crate::setup::SetupStatus`]. While nothing was ever committed the ports are set up, without addresses, so that their
    /// lamps show which cable is plugged in.
    fn setup(&self) -> Result<String, Error>;
    /// The name of this box in the document. Only while nothing was ever committed.
    fn name(&self, name: &str) -> Result<(), Error>;
    /// Whether this is the administrator's password: nothing, or a refusal.
    fn login(&self, password: &str) -> Result<(), Error>;
    /// The administrator's password is `new`. `current` is looked at once there is one.
    fn set_password(&self, current: &str, new: &str) -> Result<(), Error>;

    /// A [`crate::setup::SshStatus`].
    fn ssh(&self) -> Result<String, Error>;
    /// Switches SSH on or off. Off ends the sessions that are open.
    fn ssh_switch(&self, on: bool) -> Result<(), Error>;
    /// Lets a public key in, as a line of a file has it; returns its fingerprint.
    fn ssh_add(&self, key: &str) -> Result<String, Error>;
    /// Lets the key with this fingerprint, or with the only one that begins so, in no more.
    fn ssh_remove(&self, fingerprint: &str) -> Result<(), Error>;

    /// A request of the other node's control daemon, brought by `rempart-ha`. Only root may call it.
    fn peer_request(&self, topic: &str, body: &[u8]) -> Result<crate::ByteBuf, Error>;
}
