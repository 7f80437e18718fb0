//! `org.rempart.Ha1`: the elector of a pair, and the documents that it hands out.
//!
//! Fields of the documents are only ever added. Units are last in the name; times are RFC 3339 in UTC.

use serde::{Deserialize, Serialize};

use crate::{ByteBuf, Error};

/// The bus name that `rempart-ha` owns.
pub const HA_NAME: &str = "org.rempart.Ha1";
/// The object that carries the interface.
pub const HA_PATH: &str = "/org/rempart/Ha1";

/// The elector as the console and the control daemon see it. Texts are JSON of the types in this module.
#[zbus::proxy(
    interface = "org.rempart.Ha1",
    default_service = "org.rempart.Ha1",
    default_path = "/org/rempart/Ha1"
)]
pub trait Ha1 {
    /// A [`HaStatus`].
    fn status(&self) -> Result<String, Error>;
    /// Takes a `rempart_plan::ha::HaPlan` and the revision that it belongs to; the empty text when the document asks for none.
    fn configure(&self, plan: &str, revision: u32) -> Result<(), Error>;
    /// Hands the role to the other node, in order; returns once it is there.
    fn switch(&self) -> Result<(), Error>;
    /// Takes this node out of service, or back in. In service it is standby until something else moves the role.
    fn maintenance(&self, on: bool) -> Result<(), Error>;
    /// Shows a pairing code and waits for the other node; gives a [`PairingOffer`].
    fn pair_offer(&self) -> Result<String, Error>;
    /// Joins the node that shows `code`, found on `device` or, where that is empty, on any.
    fn pair_join(&self, code: &str, device: &str) -> Result<String, Error>;
    /// A [`PairingStatus`].
    fn pairing(&self) -> Result<String, Error>;
    /// Ends an offer that nobody has taken up.
    fn pair_cancel(&self) -> Result<(), Error>;
    /// Forgets the other node and its keys.
    fn unpair(&self) -> Result<(), Error>;
    /// Hands `body` to the other node's control daemon and returns its answer. Only root may call it.
    fn request(&self, topic: &str, body: &[u8]) -> Result<ByteBuf, Error>;
    /// Whether the node is paired, and whether the other one is connected.
    fn link(&self) -> Result<(bool, bool), Error>;
    /// The same, whenever it changes.
    #[zbus(signal)]
    fn link_changed(&self, paired: bool, connected: bool) -> zbus::Result<()>;
    /// Takes a [`ConfigurationStatus`] from the control daemon, whenever it changes.
    fn agreement(&self, status: &str) -> Result<(), Error>;
}

/// What `rempart ha status` tells at a glance.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct HaStatus {
    /// Of this document: 1.
    pub version: u32,
    /// This node.
    pub node: String,
    /// The other node, where the document names one.
    pub peer: Option<String>,
    /// Whether the two have exchanged keys.
    pub paired: bool,
    /// `active`, `standby`, or `none` when the document has no virtual address.
    pub role: String,
    /// Since when.
    pub since: String,
    /// Why, as a stable short name: a [`WhyCode`](crate::codes::WhyCode).
    pub why: String,
    /// The epoch of the role (a take-over counts one more).
    pub epoch: u64,
    /// Out of service by the operator.
    pub maintenance: bool,
    /// Until when automatic moves are held back because there were too many, if they are.
    pub damped_until: Option<String>,
    /// The preferred node waits for this moment to take the role back, if it does.
    pub failback_at: Option<String>,
    /// What makes this node unfit for the role. Empty means well.
    pub ailments: Vec<Ailment>,
    /// What is known of the other node; `None` before it was ever heard.
    pub other: Option<OtherNode>,
    /// The ways between the nodes, the sync cable first.
    pub paths: Vec<PathStatus>,
    /// The virtual routers.
    pub routers: Vec<RouterStatus>,
    /// The replication of connections.
    pub journal: JournalStatus,
    /// Which revision each node has.
    pub configuration: ConfigurationStatus,
    /// What happened last, the newest last; 64 at most.
    pub events: Vec<HaEvent>,
}

/// A reason not to be active.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ailment {
    /// An [`AilmentCode`](crate::codes::AilmentCode).
    pub code: String,
    /// The interface, or the [`PartCode`](crate::codes::PartCode).
    pub about: String,
    /// Since when.
    pub since: String,
}

/// The other node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OtherNode {
    /// Its name.
    pub node: String,
    /// Heard within the detection time.
    pub alive: bool,
    /// `active`, `standby` or `none`.
    pub role: String,
    /// Its epoch.
    pub epoch: u64,
    /// When it was last heard.
    pub heard: String,
    /// Out of service by the operator.
    pub maintenance: bool,
    /// What makes it unfit for the role.
    pub ailments: Vec<Ailment>,
    /// Version of the product there.
    pub product_version: String,
}

/// One way between the nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PathStatus {
    /// The interface in the document.
    pub interface: String,
    /// The kernel's device.
    pub device: String,
    /// The dedicated cable.
    pub sync: bool,
    /// `up`, `one-way` (the other node does not hear us), `silent`, `no-carrier`.
    pub state: String,
    /// Since when.
    pub since: String,
    /// Round trip of the last heartbeat, in microseconds.
    pub rtt_us: Option<u32>,
    /// Heartbeats heard.
    pub heard: u64,
    /// Heartbeats that were sent and never came.
    pub lost: u64,
    /// Datagrams refused: forged, replayed, of another version.
    pub refused: u64,
}

/// One virtual router (VRRP or CARP).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RouterStatus {
    /// The interface in the document.
    pub interface: String,
    /// Virtual router id.
    pub vrid: u8,
    /// `vrrp3`, `vrrp2` or `carp`.
    pub protocol: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `initialize`, `backup` or `active`.
    pub state: String,
    /// Who is active as far as adverts tell.
    pub active_router: Option<String>,
    /// Adverts sent.
    pub sent: u64,
    /// Adverts taken.
    pub received: u64,
    /// Adverts refused.
    pub refused: u64,
}

/// The replication of connections.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct JournalStatus {
    /// `live`, `bulk`, `repair`, `waiting` (no peer), `off` (not paired).
    pub state: String,
    /// `sending` or `receiving`.
    pub direction: String,
    /// Entries that the sender holds, or that the receiver has.
    pub entries: u64,
    /// Changes sent or taken since the journal began.
    pub position: u64,
    /// Changes that wait to be sent or acknowledged.
    pub backlog: u64,
    /// Age of the oldest of them, in microseconds.
    pub lag_us: u64,
    /// Events that the kernel could not deliver (`ENOBUFS`).
    pub overruns: u64,
    /// Datagrams that were sent again.
    pub resent: u64,
    /// Gaps that a comparison of digests has repaired.
    pub repairs: u64,
    /// Entries that the kernel refused on the standby.
    pub refused: u64,
    /// When both were last known to be equal.
    pub synced: Option<String>,
}

/// Which revision each node has.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// Here.
    pub own: Option<u32>,
    /// There, as its number here where it is known.
    pub other: Option<u32>,
    /// `same`, `delivering`, `behind` (the other has newer), `ahead` (the other lacks ours), `diverged`, `unknown`.
    pub state: String,
    /// What names our revision on both nodes, in hexadecimal.
    #[serde(default)]
    pub id: Option<String>,
    /// What names theirs.
    #[serde(default)]
    pub other_id: Option<String>,
    /// Why the revision of the other node could not be taken, where that is so, for a person.
    #[serde(default)]
    pub obstacle: Option<String>,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct HaEvent {
    /// When.
    pub time: String,
    /// An [`EventCode`](crate::codes::EventCode).
    pub code: String,
    /// What it is about: an interface, a [`WhyCode`](crate::codes::WhyCode), a [`RefusalCode`](crate::codes::RefusalCode).
    pub about: String,
}

/// A code that waits for the other node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PairingOffer {
    /// What is to be typed there.
    pub code: String,
    /// Seconds that it is good for.
    pub expires_s: u32,
    /// The name that the other node will have.
    pub peer: String,
}

/// How a pairing stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PairingStatus {
    /// `unpaired`, `offering`, `joining`, `paired`, `failed`.
    pub state: String,
    /// Why it failed, for a person.
    pub failure: Option<String>,
    /// The other node.
    pub peer: Option<String>,
    /// Fingerprint of its key: SHA-256, in hexadecimal, by pairs of bytes.
    pub fingerprint: Option<String>,
    /// Seconds until an offer expires.
    pub expires_s: Option<u32>,
}
