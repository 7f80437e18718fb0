//! What the document holds, and how it is read and written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    MAX_AUTHORITIES, MAX_DEVICES_EACH, MAX_DOCUMENT, MAX_GROUPS_EACH, MAX_LABEL, MAX_NETWORKS_EACH, MAX_USERS,
};
use crate::authority::{Authority, MAX_ISSUED, Serial};
use crate::moment::Moment;
use crate::names::{DeviceId, GroupName, UserName};
use crate::password::Hash;
use crate::totp::{Seed, Step};

/// The one version that there is.
const VERSION: u32 = 1;

/// Who says whether the password is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The hash that stands here.
    #[default]
    Local,
    /// Active Directory.
    Directory,
    /// RADIUS.
    Radius,
}

/// A person's authenticator application.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totp {
    /// The shared secret.
    pub seed: Seed,
    /// Whether a first code has shown that the application has it.
    pub confirmed: bool,
    /// The step of the last code that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Step>,
}

/// A person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// As people know them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub full_name: String,
    /// Who says whether the password is right.
    pub source: Source,
    /// The hash of a local password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hash>,
    /// When it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_set: Option<Moment>,
    /// The authenticator application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub totp: Option<Totp>,
    /// The groups that stand here; a directory may add some.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<GroupName>,
    /// Shut out until further notice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Shut out from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Moment>,
    /// The addresses that this person always gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// The same for IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Networks behind this person's client, `192.0.2.0/24`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<ipnet::IpNet>,
    /// When the account was made.
    pub created: Moment,
}

impl User {
    /// Whether this person may come in at all.
    pub fn is_shut_out(&self, now: Moment) -> bool {
        self.disabled || self.expires.is_some_and(|until| now >= until)
    }

    /// The authenticator application, once its first code was right.
    pub fn confirmed_totp(&self) -> Option<&Totp> {
        self.totp.as_ref().filter(|totp| totp.confirmed)
    }
}

/// A device: the certificate that it has now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Whose.
    pub user: UserName,
    /// As its owner calls it.
    pub label: String,
    /// The serial number of its certificate.
    pub serial: Serial,
    /// SHA-256 over its certificate, in hexadecimal: what tells an imported one.
    pub fingerprint: Fingerprint,
    /// Until when the certificate is valid.
    pub until: Moment,
    /// When the device was added.
    pub created: Moment,
    /// When it was revoked, if it was. It stays for the log until its certificate has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Moment>,
}

/// SHA-256 over a certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Self {
        Self(crate::authority::fingerprint(certificate))
    }

    /// From its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> [u8; 32] {
        self.0
    }
}

/// A text is no fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a fingerprint is 64 hexadecimal digits")]
pub struct BadFingerprint;

impl TryFrom<String> for Fingerprint {
    type Error = BadFingerprint;

    fn try_from(text: String) -> Result<Self, BadFingerprint> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.bytes().all(|letter| letter.is_ascii_hexdigit()) {
            return Err(BadFingerprint);
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(2 * place..2 * place + 2).ok_or(BadFingerprint)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadFingerprint)?;
        }
        Ok(Self(bytes))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        crate::authority::hex(&fingerprint.0)
    }
}

/// The document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    version: u32,
    /// Counts changes, so that two nodes can tell whose is newer.
    pub(super) revision: u64,
    pub(super) users: BTreeMap<UserName, User>,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    /// The first that can issue is the one in use.
    pub(super) authorities: Vec<Authority>,
}

/// Why a document was not read.
#[derive(Debug, Error)]
pub enum NotRead {
    /// Larger than any that we write.
    #[error("the store of identities is larger than {MAX_DOCUMENT} bytes")]
    Large,
    /// No document of this form.
    #[error("the store of identities does not read: {0}")]
    Form(#[from] serde_json::Error),
    /// From a newer version of this program.
    #[error(
        "the store of identities has version {0}; this program knows version {VERSION}. Update this node"
    )]
    Version(u32),
    /// Contradicts itself, or holds more than is allowed.
    #[error("the store of identities is inconsistent: {0}")]
    Inconsistent(String),
}

impl Default for Store {
    fn default() -> Self {
        Self {
            version: VERSION,
            revision: 0,
            users: BTreeMap::new(),
            devices: BTreeMap::new(),
            authorities: Vec::new(),
        }
    }
}

/// Only the version, to tell a newer document from a damaged one.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Store {
    /// Reads a document. What it cannot be is refused whole.
    pub fn read(bytes: &[u8]) -> Result<Self, NotRead> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(NotRead::Large);
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(NotRead::Version(version));
        }
        let store: Self = serde_json::from_slice(bytes)?;
        store.check().map_err(NotRead::Inconsistent)?;
        Ok(store)
    }

    /// Writes the document. The bytes are wiped when dropped, and are as secret as what they hold.
    pub fn write(&self) -> Zeroizing<Vec<u8>> {
        // Only maps with keys that are no text, or a failing writer, can fail here.
        Zeroizing::new(serde_json::to_vec(self).unwrap_or_default())
    }

    fn check(&self) -> Result<(), String> {
        let within = self.users.len() <= MAX_USERS
            && self.devices.len() <= MAX_USERS * MAX_DEVICES_EACH
            && self.authorities.len() <= MAX_AUTHORITIES;
        if !within {
            return Err(format!("more than {MAX_USERS} people or {MAX_AUTHORITIES} authorities"));
        }
        let mut addresses = BTreeSet::new();
        for (name, user) in &self.users {
            let fits = user.groups.len() <= MAX_GROUPS_EACH
                && user.networks.len() <= MAX_NETWORKS_EACH
                && user.full_name.chars().count() <= MAX_LABEL;
            if !fits {
                return Err(format!("{name} has more groups or networks than allowed, or too long a name"));
            }
            let own = user.ipv4.map(std::net::IpAddr::from).into_iter().chain(user.ipv6.map(Into::into));
            for address in own {
                if !addresses.insert(address) {
                    return Err(format!("{address} is the fixed address of two people, one of them {name}"));
                }
            }
        }
        for (id, device) in &self.devices {
            if !self.users.contains_key(&device.user) {
                return Err(format!("the device {id} belongs to {}, who does not exist", device.user));
            }
            if device.label.chars().count() > MAX_LABEL {
                return Err(format!("the label of the device {id} is too long"));
            }
        }
        for authority in &self.authorities {
            if authority.facts().is_err() || authority.issued().len() > MAX_ISSUED {
                return Err("an authority's certificate does not read, or it issued too many".to_owned());
            }
        }
        Ok(())
    }

    /// Counts changes.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Everybody.
    pub fn users(&self) -> &BTreeMap<UserName, User> {
        &self.users
    }

    /// Every device.
    pub fn devices(&self) -> &BTreeMap<DeviceId, Device> {
        &self.devices
    }

    /// Every authority that clients may come from.
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// The authority that issues.
    pub fn issuing(&self) -> Option<&Authority> {
        self.authorities.iter().find(|authority| authority.issues())
    }

    /// The device that has this certificate.
    pub fn device_with(&self, certificate: &Fingerprint) -> Option<(&DeviceId, &Device)> {
        self.devices.iter().find(|(_, device)| device.fingerprint == *certificate)
    }
}
