//! The JSON documents that travel over the bus and that `--json` prints.
//!
//! Fields are only ever added. Units are last in the name; times are RFC 3339 in UTC.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One screen's worth of how the node is.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Of this document: 1.
    pub version: u32,
    /// The node.
    pub node: String,
    /// `active` or `standby`.
    pub role: String,
    /// Of the product.
    pub product_version: String,
    /// Now.
    pub time: String,
    /// Since the machine started.
    pub uptime_s: u64,
    /// The revision in force, if anything was ever committed.
    pub revision: Option<Revision>,
    /// The commit that waits for confirmation.
    pub pending: Option<Pending>,
    /// Whether a candidate differs from the running document.
    pub candidate: bool,
    /// The zones, by name.
    pub zones: Vec<ZoneStatus>,
    /// The interfaces, by name.
    pub interfaces: Vec<InterfaceStatus>,
    /// Tracked connections now.
    pub connections: u32,
    /// Most connections that the kernel will track.
    pub connections_max: u32,
    /// Flows in the document.
    pub flows: u32,
    /// Flows that the calendar has switched off.
    pub flows_inactive: u32,
    /// What is not as it should be. Empty means well.
    pub faults: Vec<Fault>,
}

/// Something that is not as it should be, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// A stable short name: `device-missing`.
    pub code: String,
    /// What, where, and what goes on regardless.
    pub message: String,
}

/// A zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneStatus {
    /// Its name.
    pub name: String,
    /// Whether it is outside.
    pub external: bool,
    /// Its interfaces.
    pub interfaces: Vec<String>,
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name in the document.
    pub name: String,
    /// The kernel's device.
    pub device: String,
    /// Its zone, if it is in one.
    pub zone: Option<String>,
    /// Whether the device exists.
    pub present: bool,
    /// Whether there is a link.
    pub carrier: bool,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
    /// Whether its IPv4 address comes by DHCP.
    pub dhcp: bool,
    /// Since the device was made.
    pub rx_bytes: u64,
    /// Since the device was made.
    pub tx_bytes: u64,
    /// Since the device was made.
    pub rx_packets: u64,
    /// Since the device was made.
    pub tx_packets: u64,
    /// Received now, averaged over the last seconds.
    pub rx_bits_per_s: u64,
    /// Sent now, averaged over the last seconds.
    pub tx_bits_per_s: u64,
}

/// One entry of the history.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Revision {
    /// Its number, from 1.
    pub number: u32,
    /// When it was committed.
    pub time: String,
    /// Who committed it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// SHA-256 of the document, in hex.
    pub digest: String,
    /// The revision whose document this is again, for a roll-back.
    pub rollback_of: Option<u32>,
    /// What names it on both nodes of a pair, in hexadecimal.
    #[serde(default)]
    pub id: String,
    /// Whether it is in force.
    pub current: bool,
}

/// A commit that goes back by itself unless it is confirmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// The revision on trial.
    pub revision: u32,
    /// The revision that comes back.
    pub previous: Option<u32>,
    /// How long it still waits.
    pub left_s: u64,
    /// Who committed it.
    pub author: String,
}

/// A flow and how it fares.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Its number in connection marks, the log and counters.
    pub id: u32,
    /// Its `id` in the document, or `flow at line N`.
    pub label: String,
    /// Its line in the document.
    pub line: u32,
    /// The zones that it comes from.
    pub from_zones: Vec<String>,
    /// The zones that it goes to.
    pub to_zones: Vec<String>,
    /// `from`, as written.
    pub from: String,
    /// `to`, as written.
    pub to: String,
    /// The services, as written.
    pub services: String,
    /// `allow`, `deny`, `reject` or `drop`.
    pub action: String,
    /// Whether it publishes its target.
    pub publish: bool,
    /// Why it exists.
    pub why: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The last day on which it is in force.
    pub expires: Option<String>,
    /// Its schedule.
    pub schedule: Option<String>,
    /// Whether it is in force now.
    pub active: bool,
    /// Whether new connections are logged.
    pub log: bool,
    /// New connections (packets, for what is refused) that it decided about.
    pub hits: u64,
    /// Bytes of those first packets.
    pub bytes: u64,
}

/// A tracked connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Connection {
    /// The kernel's id.
    pub id: u32,
    /// `tcp`, `udp`, `icmp`, … or the number.
    pub protocol: String,
    /// Who began it.
    pub source: IpAddr,
    /// Its source port; 0 where there is none.
    pub source_port: u16,
    /// The address that was asked for.
    pub destination: IpAddr,
    /// The port that was asked for, or the ICMP type.
    pub destination_port: u16,
    /// Where it really goes, if destination NAT changed it.
    pub translated_destination: Option<(IpAddr, u16)>,
    /// What it leaves as, if source NAT changed it.
    pub translated_source: Option<(IpAddr, u16)>,
    /// The zone that it comes from.
    pub from_zone: Option<String>,
    /// The zone that it goes to.
    pub to_zone: Option<String>,
    /// The number of the flow that admitted it; 0 when none did.
    pub flow: u32,
    /// What a person calls that flow.
    pub flow_label: String,
    /// `ESTABLISHED`, `SYN_SENT`, … for TCP; `ASSURED`, `UNREPLIED` or `SEEN_REPLY` for the others.
    pub state: String,
    /// Left before it is forgotten.
    pub timeout_s: u32,
    /// Since it began, where the kernel tells.
    pub age_s: Option<u64>,
    /// From the one who began it.
    pub bytes_out: u64,
    /// To the one who began it.
    pub bytes_in: u64,
    /// From the one who began it.
    pub packets_out: u64,
    /// To the one who began it.
    pub packets_in: u64,
}

/// A page of the firewall log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogPage {
    /// What to ask for next.
    pub next: u64,
    /// Entries that were lost before they could be read, since the daemon started.
    pub lost: u64,
    /// The entries, oldest first.
    pub entries: Vec<LogEntry>,
}

/// One line of the firewall log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its number.
    pub sequence: u64,
    /// When.
    pub time: String,
    /// `allow`, `deny`, `reject` or `drop`.
    pub action: String,
    /// The number of the flow that decided; 0 when none did.
    pub flow: u32,
    /// What a person calls that flow, or the protection that decided: `default`, `anti-spoof`, `bogon`, …
    pub reason: String,
    /// The interface that it came in by.
    pub in_interface: Option<String>,
    /// The interface that it would have left by.
    pub out_interface: Option<String>,
    /// The zone that it came from.
    pub from_zone: Option<String>,
    /// The zone that it was for.
    pub to_zone: Option<String>,
    /// `tcp`, `udp`, `icmp`, … or the number.
    pub protocol: String,
    /// Source address.
    pub source: IpAddr,
    /// Source port; 0 where there is none.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port, or ICMP type.
    pub destination_port: u16,
    /// Of the whole packet.
    pub length_bytes: u32,
}

/// A fault in a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// `error` or `warning`.
    pub severity: String,
    /// A stable short name.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// What to do.
    pub hint: Option<String>,
}

/// How an assertion of the document fared.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AssertionResult {
    /// Its sentence.
    pub name: String,
    /// Its line in the document.
    pub line: u32,
    /// Whether it holds.
    pub holds: bool,
    /// A packet that proves the contrary and the flow that decides about it, or why it could not be decided.
    pub counterexample: Option<String>,
}

/// What `check` found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CheckReport {
    /// Whether the document may be committed.
    pub valid: bool,
    /// SHA-256 of the document, in hex; empty where it was not worked out.
    #[serde(default)]
    pub digest: String,
    /// Errors and warnings.
    pub diagnostics: Vec<Diagnosis>,
    /// The same, printed with the lines they speak of.
    pub rendered: String,
    /// The document's assertions; empty when it has errors.
    pub assertions: Vec<AssertionResult>,
}

/// What to commit and how.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CommitRequest {
    /// The document; `None` is the candidate.
    pub document: Option<String>,
    /// SHA-256 of the document that the person was shown: another one is not committed in its place.
    #[serde(default)]
    pub shown: Option<String>,
    /// Who.
    pub author: String,
    /// Why.
    pub comment: String,
    /// Goes back by itself after so many seconds unless confirmed.
    pub confirm_s: Option<u32>,
    /// Even if it cuts the session that asks.
    pub force: bool,
    /// The session that asks, where it came over the network.
    pub session: Option<Session>,
}

/// A TCP session to the firewall: what `SSH_CONNECTION` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The person's machine.
    pub client: IpAddr,
    /// Its port.
    pub client_port: u16,
    /// The address of the firewall.
    pub server: IpAddr,
    /// Its port.
    pub server_port: u16,
}

/// What a commit did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CommitReport {
    /// The new revision.
    pub revision: u32,
    /// What was changed, a line each.
    pub steps: Vec<String>,
    /// Connections that the new policy forbids and that were ended.
    pub connections_cut: u32,
    /// From request to verified.
    pub duration_ms: u64,
    /// Warnings about the document.
    pub warnings: Vec<Diagnosis>,
    /// Left to confirm it.
    pub confirm_s: Option<u32>,
    /// What became of it on the other node; `None` where the node is not paired.
    #[serde(default)]
    pub peer: Option<PeerReport>,
}

/// What became of a commit on the other node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PeerReport {
    /// The other node.
    pub node: String,
    /// `same`: in force there too; `away`: it cannot be reached and gets the revision when it is back; `behind`: it can be
    /// reached, has not taken it and will get it.
    pub state: String,
}

/// A packet to explain.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ExplainRequest {
    /// The document; `None` is the running one.
    pub document: Option<String>,
    /// The zone or interface that it arrives from; `None` is worked out from the source address.
    pub from: Option<String>,
    /// Source address.
    pub source: String,
    /// Destination address, as the sender writes it.
    pub destination: String,
    /// `tcp/443`, `udp/53`, `icmp/echo-request`, `proto/47`.
    pub service: String,
    /// Source port, where it matters.
    pub source_port: Option<u16>,
}

/// What becomes of a packet, and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Explanation {
    /// `allow`, `reject` or `drop`.
    pub verdict: String,
    /// One sentence.
    pub summary: String,
    /// The number of the flow that decides; 0 when none does.
    pub flow: u32,
    /// What a person calls it, or the protection that decides.
    pub decided_by: String,
    /// Its line in the document.
    pub line: Option<u32>,
    /// What happens to it, in order.
    pub stages: Vec<Stage>,
    /// The nearest flows that did not match, and why.
    pub near_misses: Vec<NearMiss>,
}

/// One stage on the way of a packet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stage {
    /// `arrival`, `protection`, `session`, `destination-nat`, `route`, `policy`, `source-nat`.
    pub stage: String,
    /// What happens there.
    pub text: String,
}

/// A flow that nearly matched.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NearMiss {
    /// What a person calls it.
    pub label: String,
    /// Its line in the document.
    pub line: u32,
    /// What about it did not match.
    pub why: String,
}
