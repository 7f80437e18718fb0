//! `org.rempart.Vpn1`: remote access, and the documents that it hands out and takes.
//!
//! Fields of the documents are only ever added. Units are last in the name; times are RFC 3339 in UTC. Who changes something
//! says who it is (`by`): it stands in the log. What changes people is refused on a standby node
//! ([`RefusalCode::VpnStandby`](crate::codes::RefusalCode::VpnStandby)).

use serde::{Deserialize, Serialize};

use crate::Error;

/// The bus name that `rempart-vpn` owns.
pub const VPN_NAME: &str = "org.rempart.Vpn1";
/// The object that carries the interface.
pub const VPN_PATH: &str = "/org/rempart/Vpn1";

/// Remote access as the console and the control daemon see it. Texts are JSON of the types in this module.
#[zbus::proxy(
    interface = "org.rempart.Vpn1",
    default_service = "org.rempart.Vpn1",
    default_path = "/org/rempart/Vpn1"
)]
pub trait Vpn1 {
    /// A [`VpnStatus`].
    fn status(&self) -> Result<String, Error>;
    /// Takes a `rempart_plan::remote::RemotePlan` and the revision that it belongs to; the empty text when the document asks for
    /// no VPN. Only root may call it.
    fn configure(&self, plan: &str, revision: u32) -> Result<(), Error>;
    /// A list of [`SessionView`].
    fn sessions(&self) -> Result<String, Error>;
    /// Ends sessions: takes a [`DisconnectRequest`], gives their number.
    fn disconnect(&self, request: &str, by: &str) -> Result<u32, Error>;

    /// A list of [`UserView`].
    fn users(&self) -> Result<String, Error>;
    /// A new person: takes a [`UserRequest`].
    fn add_user(&self, user: &str, by: &str) -> Result<(), Error>;
    /// Other data for a person: takes a [`UserChange`].
    fn set_user(&self, change: &str, by: &str) -> Result<(), Error>;
    /// A person and all devices go.
    fn remove_user(&self, name: &str, by: &str) -> Result<(), Error>;
    /// A new local password; the empty one takes it away.
    fn set_password(&self, name: &str, password: &str, by: &str) -> Result<(), Error>;
    /// A new secret for an authenticator application: an [`Enrolment`]. It counts once confirmed.
    fn enrol_code(&self, name: &str, by: &str) -> Result<String, Error>;
    /// The first code of the new application.
    fn confirm_code(&self, name: &str, code: &str, by: &str) -> Result<(), Error>;
    /// No application any more.
    fn remove_code(&self, name: &str, by: &str) -> Result<(), Error>;

    /// A list of [`DeviceView`].
    fn devices(&self) -> Result<String, Error>;
    /// A profile for a device: takes an [`ExportRequest`], gives a [`Profile`]. Its key is not kept.
    fn export(&self, request: &str, by: &str) -> Result<String, Error>;
    /// A device may no longer come in; `reason` is a [`ReasonWord`](crate::codes::ReasonWord).
    fn revoke(&self, device: &str, reason: &str, by: &str) -> Result<(), Error>;
    /// Another label for a device.
    fn rename(&self, device: &str, label: &str, by: &str) -> Result<(), Error>;
    /// A device from a certificate that another authority made: takes an [`ImportClient`] and the file (PEM, DER, PKCS #12),
    /// gives an [`Imported`].
    fn import_client(&self, request: &str, file: &[u8], by: &str) -> Result<String, Error>;

    /// A list of [`AuthorityView`].
    fn authorities(&self) -> Result<String, Error>;
    /// A new authority; the empty name is made of the organisation's. Gives an [`AuthorityView`].
    fn make_authority(&self, name: &str, by: &str) -> Result<String, Error>;
    /// A new certificate for the authority that issues, of the same name and key, and one for the server: profiles that were
    /// exported before go on working until the authority's certificate in them ends. Gives an [`AuthorityView`].
    fn renew_authority(&self, by: &str) -> Result<String, Error>;
    /// Takes over an authority from a file (PEM, DER, PKCS #12) and what opens it, or the empty text. With its key it issues,
    /// without it vouches for its clients. Gives an [`Imported`].
    fn import_authority(&self, file: &[u8], password: &str, by: &str) -> Result<String, Error>;
    /// A list of revoked certificates that an imported authority has published, PEM or DER.
    fn import_list(&self, authority: &str, file: &[u8], by: &str) -> Result<(), Error>;
    /// An authority goes, by its fingerprint; clients that it certified stay out.
    fn remove_authority(&self, fingerprint: &str, by: &str) -> Result<(), Error>;

    /// A login that lets nobody in: takes a [`TestRequest`], gives a [`TestReport`].
    fn test_login(&self, request: &str) -> Result<String, Error>;

    /// WireGuard: a [`WireguardStatus`].
    fn wireguard(&self) -> Result<String, Error>;
    /// The gateway's key of WireGuard, made where there is none, or `anew` in any case: a [`WireguardKey`].
    fn make_wireguard_key(&self, anew: bool, by: &str) -> Result<String, Error>;
    /// A key and a configuration for a client of WireGuard: takes a [`WireguardClientRequest`], gives a [`WireguardClient`]. The
    /// client's key is not kept.
    fn wireguard_client(&self, request: &str, by: &str) -> Result<String, Error>;
}

/// What `rempart vpn status` tells at a glance.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct VpnStatus {
    /// Of this document: 1.
    pub version: u32,
    /// This node.
    pub node: String,
    /// Whether the document asks for a VPN.
    pub configured: bool,
    /// The document's revision that it follows.
    pub revision: u32,
    /// Whether this node serves clients and manages people.
    pub active: bool,
    /// The node that does, if it is known.
    pub active_node: Option<String>,
    /// Where it listens, `udp 192.0.2.1:1194`.
    pub listen: Vec<String>,
    /// Sessions now.
    pub sessions: u64,
    /// Of these, carried by the kernel; absent where the document does not ask for that, or the kernel cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_kernel: Option<u64>,
    /// People in the store.
    pub users: u64,
    /// Devices that may come in.
    pub devices: u64,
    /// Counts changes of the store; the same on both nodes.
    pub store_revision: u64,
    /// The authority that issues, if there is one.
    pub authority: Option<AuthorityView>,
    /// What is amiss, or will be.
    pub warnings: Vec<Warning>,
    /// Logins since the program was started.
    pub logins: LoginCounts,
}

/// Logins since the program was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LoginCounts {
    /// Came in.
    pub accepted: u64,
    /// Stayed out.
    pub refused: u64,
    /// Of these, refused unseen because of wrong tries before.
    pub slowed: u64,
    /// Of these, refused unseen because too many were being judged.
    pub busy: u64,
    /// Carried on with a token.
    pub renewed: u64,
}

/// Something to look after.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Warning {
    /// A [`VpnWarning`](crate::codes::VpnWarning).
    pub code: String,
    /// The device, the name, the server.
    pub about: String,
    /// Until when, where it is about time.
    pub until: Option<String>,
}

/// A session.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SessionView {
    /// Its number (peer id).
    pub id: u32,
    /// Whose.
    pub user: String,
    /// The device's identifier, if it has a certificate.
    pub device: Option<String>,
    /// As its owner calls it.
    pub label: Option<String>,
    /// The group whose addresses and options it has.
    pub group: String,
    /// Where it comes from, with the port.
    pub from: String,
    /// `udp` or `tcp`.
    pub transport: String,
    /// Its addresses in the tunnel.
    pub addresses: Vec<String>,
    /// Networks behind it.
    pub networks: Vec<String>,
    /// When it began. A take-over changes nothing about it.
    pub since: String,
    /// When its key was last renewed.
    pub renewed: Option<String>,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// The data channel's cipher.
    pub cipher: String,
    /// What the client says that it is.
    pub client: String,
    /// It was carried on from the other node.
    pub carried_on: bool,
    /// The kernel carries its packets in both directions; else the program does.
    #[serde(default)]
    pub in_kernel: bool,
}

/// Whose sessions end. Exactly one is given.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DisconnectRequest {
    /// All of a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// One.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u32>,
    /// All.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// A person.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UserView {
    /// The name.
    pub name: String,
    /// As people know them.
    pub full_name: String,
    /// Who says whether the password is right: `local`, `directory`, `radius`.
    pub source: String,
    /// Groups that stand in the store.
    pub groups: Vec<String>,
    /// Shut out until further notice.
    pub disabled: bool,
    /// Shut out from then on.
    pub expires: Option<String>,
    /// Whether there is a local password, and since when.
    pub password_set: Option<String>,
    /// `none`, `enrolled` (not confirmed yet), `confirmed`.
    pub code: String,
    /// A fixed address.
    pub ipv4: Option<String>,
    /// A fixed address.
    pub ipv6: Option<String>,
    /// Networks behind this person's client.
    pub networks: Vec<String>,
    /// Devices that may come in.
    pub devices: u64,
    /// When the account was made.
    pub created: String,
    /// What the groups demand: `certificate`, `password`, `code`. Empty: in no group of the document.
    pub demands: Vec<String>,
}

/// A new person.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UserRequest {
    /// The name.
    pub name: String,
    /// What is set at once.
    #[serde(flatten)]
    pub fields: UserFields,
}

/// Other data for a person: what is left out stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UserChange {
    /// The name.
    pub name: String,
    /// What changes.
    #[serde(flatten)]
    pub fields: UserFields,
}

/// What is set for a person. An empty text takes away what can be absent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UserFields {
    /// As people know them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// `local`, `directory`, `radius`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// All groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// Shut out until further notice, or let in again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// Shut out from then on: a date (that day is the first one outside) or a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// A fixed address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// A fixed address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    /// All networks behind the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<String>>,
}

/// What an authenticator application is to be given. Secret.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Enrolment {
    /// The person.
    pub user: String,
    /// The address in the QR code.
    pub uri: String,
    /// To be typed in where no camera is.
    pub secret: String,
    /// The QR code for a terminal, line by line: two columns to a point, light on dark.
    pub qr: Vec<String>,
}

/// A device.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeviceView {
    /// Its identifier.
    pub id: String,
    /// Whose.
    pub user: String,
    /// As its owner calls it.
    pub label: String,
    /// Its certificate's number.
    pub serial: String,
    /// SHA-256 over the certificate.
    pub fingerprint: String,
    /// When it was added.
    pub created: String,
    /// Until when the certificate is valid.
    pub until: String,
    /// `valid`, `expiring`, `expired`, `revoked`.
    pub state: String,
}

/// For whom and for what a profile is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The person, for a new device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its label; `device` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A device that is to have a new certificate and key; the old ones are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// A profile. Secret: it holds the device's key, which is nowhere else.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// The device.
    pub device: String,
    /// Whose.
    pub user: String,
    /// Its label.
    pub label: String,
    /// Until when its certificate is valid.
    pub until: String,
    /// What to call the file.
    pub file: String,
    /// The profile.
    pub text: String,
}

/// A certificate that another authority made.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportClient {
    /// Whose device it is; the name in the certificate if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What opens the file, where it is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// What was taken over.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Imported {
    /// The device's identifier, or the authority's name.
    pub what: String,
    /// Advice: what the profile of the house would have otherwise.
    pub advice: Vec<String>,
}

/// An authority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuthorityView {
    /// Its common name.
    pub name: String,
    /// SHA-256 over its certificate.
    pub fingerprint: String,
    /// Until when it is valid.
    pub until: String,
    /// Whether its key is here, and whether it is the one that issues.
    pub issues: bool,
    /// Certificates that it has issued and that are valid.
    pub issued: u64,
    /// Of these, revoked.
    pub revoked: u64,
    /// The number of its list of revoked certificates; `None` where it has none.
    pub list_number: Option<u64>,
    /// Until when that is good.
    pub list_until: Option<String>,
    /// Its certificate, PEM.
    pub certificate: String,
    /// When it has just been renewed: until when profiles with its certificate before that work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_until: Option<String>,
}

/// Who tries to come in.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The name.
    pub user: String,
    /// The password; with six digits after it, or not.
    #[serde(default)]
    pub password: String,
    /// The code of the authenticator application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The device that it comes from: as if its certificate had been shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// How it went.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TestReport {
    /// Would come in.
    pub accepted: bool,
    /// Each step.
    pub steps: Vec<String>,
    /// What the person would be told.
    pub told: Option<String>,
    /// The groups that count.
    pub groups: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What `rempart vpn wireguard` tells.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WireguardStatus {
    /// Of this document: 1.
    pub version: u32,
    /// This node.
    pub node: String,
    /// Whether the document switches it on.
    pub enabled: bool,
    /// Whether this node carries the tunnels.
    pub active: bool,
    /// What carries them: `userspace`. Empty where nothing does.
    pub backend: String,
    /// Its device.
    pub device: String,
    /// Where it listens, `192.0.2.1:51820`.
    pub listen: Vec<String>,
    /// Its addresses in the tunnel.
    pub addresses: Vec<String>,
    /// The gateway's public key, where it has a key.
    pub public_key: Option<String>,
    /// Why it is not as the document asks; what could be kept is in force.
    pub trouble: Option<String>,
    /// The peers. On a standby node where they are and when they were last heard is what the active one has told.
    pub peers: Vec<WireguardPeerView>,
}

/// A peer of WireGuard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WireguardPeerView {
    /// As the document calls it.
    pub name: String,
    /// Its public key.
    pub public_key: String,
    /// Its addresses and the networks behind it.
    pub allowed: Vec<String>,
    /// Where it is, with the port.
    pub endpoint: Option<String>,
    /// When the last handshake was.
    pub handshake: Option<String>,
    /// Bytes from it, since this node carries the tunnels.
    pub bytes_in: u64,
    /// Bytes to it.
    pub bytes_out: u64,
}

/// The gateway's key of WireGuard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WireguardKey {
    /// What clients know it by.
    pub public_key: String,
    /// Whether it was made just now.
    pub made: bool,
}

/// For whom a configuration of WireGuard is. What is left out comes from the document.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireguardClientRequest {
    /// The peer, as the document calls it or will.
    pub peer: String,
    /// Its addresses in the tunnel; those in the document, or the first free ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What it sends into the tunnel; everything if left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Resolvers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// The gateway as it sees it, `vpn.example.org` or `192.0.2.1:51820`; the first address that is listened on if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// With a preshared key too, a new secret that the document has to name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preshared: bool,
}

/// A client's configuration. Secret: it holds the client's key, which is nowhere else.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WireguardClient {
    /// The peer.
    pub peer: String,
    /// Its public key.
    pub public_key: String,
    /// What to call the file.
    pub file: String,
    /// The configuration, as `wg-quick` and the applications read it.
    pub text: String,
    /// What the document has to say of it.
    pub entry: String,
    /// The QR code for a terminal, line by line: two columns to a point, light on dark.
    pub qr: Vec<String>,
}
