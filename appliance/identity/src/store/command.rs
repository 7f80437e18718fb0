//! Changes. Each is checked against the whole document before anything of it is kept.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::document::{Device, Fingerprint, Source, Store, Totp, User};
use super::{MAX_AUTHORITIES, MAX_DEVICES_EACH, MAX_GROUPS_EACH, MAX_LABEL, MAX_NETWORKS_EACH, MAX_USERS};
use crate::authority::{Authority, NotIssued, Reason, Serial};
use crate::moment::Moment;
use crate::names::{DeviceId, GroupName, UserName};
use crate::password::Hash;
use crate::totp::{Code, Seed, Step};

/// What is set for a person beside secrets and devices; replaced whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// As people know them.
    pub full_name: String,
    /// Who says whether the password is right.
    pub source: Source,
    /// Groups.
    pub groups: BTreeSet<GroupName>,
    /// Shut out from then on.
    pub expires: Option<Moment>,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address.
    pub ipv6: Option<Ipv6Addr>,
    /// Networks behind the client.
    pub networks: BTreeSet<ipnet::IpNet>,
}

/// A change.
#[derive(Clone, Debug)]
pub enum Command {
    /// A new person.
    AddUser(UserName, Account),
    /// Other data for a person.
    SetAccount(UserName, Account),
    /// A person and all devices go; their certificates are revoked.
    RemoveUser(UserName),
    /// Shuts a person out, or lets them in again.
    SetDisabled(UserName, bool),
    /// A new local password, or none.
    SetPassword(UserName, Option<Hash>),
    /// A new secret for an authenticator application; it counts once confirmed.
    EnrolTotp(UserName, Seed),
    /// The first code of the new application.
    ConfirmTotp(UserName, Code),
    /// No application any more.
    RemoveTotp(UserName),
    /// A code was used at a login.
    UseTotp(UserName, Step),
    /// A device with its certificate.
    AddDevice {
        /// Its identifier.
        device: DeviceId,
        /// Whose.
        user: UserName,
        /// As its owner calls it.
        label: String,
        /// Its certificate's number.
        serial: Serial,
        /// What tells its certificate.
        fingerprint: Fingerprint,
        /// Until when that is valid.
        until: Moment,
    },
    /// The device has a new certificate; the old one is revoked as superseded, if we issued it.
    RenewDevice {
        /// Its identifier.
        device: DeviceId,
        /// The new certificate's number.
        serial: Serial,
        /// What tells it.
        fingerprint: Fingerprint,
        /// Until when it is valid.
        until: Moment,
    },
    /// Another label.
    RenameDevice(DeviceId, String),
    /// The device may no longer come in; its certificate is revoked if we issued it.
    RevokeDevice(DeviceId, Reason),
    /// One more authority. The issuing one is the first that has its key.
    AddAuthority(Box<Authority>),
    /// An authority as it stands after it issued, renewed its list, or took one over. Known by its certificate's key.
    PutAuthority(Box<Authority>),
    /// An authority goes; clients that it certified stay out.
    RemoveAuthority(Fingerprint),
}

/// What happened, for the log. No secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// Who did it: an administrator's name, or a program's.
    pub by: String,
    /// What, a word that machines know.
    pub what: &'static str,
    /// To whom or what.
    pub subject: String,
    /// The document's revision after it.
    pub revision: u64,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, by, what, subject, revision } = self;
        write!(f, "{at} {by} {what} {subject} (revision {revision})")
    }
}

/// Why nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refusal {
    /// The name is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// Nobody and nothing has this name.
    #[error("there is no {0}")]
    Unknown(String),
    /// The table is full.
    #[error("there is no room: {0}")]
    Full(&'static str),
    /// A label that cannot be shown.
    #[error("a label has 1 to {MAX_LABEL} characters, none of them a control character")]
    Label,
    /// Somebody else has it.
    #[error("{address} is the fixed address of {owner}")]
    Address {
        /// The address.
        address: IpAddr,
        /// Who has it.
        owner: UserName,
    },
    /// Two clients cannot both be the way to it.
    #[error("the network {network} overlaps one behind the client of {owner}")]
    Network {
        /// The network.
        network: ipnet::IpNet,
        /// Who has one like it.
        owner: UserName,
    },
    /// A directory's user has no password here.
    #[error("the password of {0} is kept by another server")]
    NotLocal(UserName),
    /// The first code is wrong.
    #[error(
        "the code is not the one that the application should show now; check the clock of the phone and of the box"
    )]
    WrongCode,
    /// The code was used before.
    #[error("this code was used already")]
    UsedCode,
    /// It is revoked.
    #[error("the device {0} is revoked; add a new one")]
    Revoked(DeviceId),
    /// Another device has it.
    #[error("the device {0} has this certificate already")]
    SameCertificate(DeviceId),
    /// The authority did not sign.
    #[error("{0}")]
    Authority(#[from] NotIssued),
}

/// What a command did, before it gets its date and revision.
type Done = Result<(&'static str, String), Refusal>;

impl Store {
    /// A new document with this change in it, and what to log; or no change.
    pub fn apply(&self, now: Moment, by: &str, command: Command) -> Result<(Self, Event), Refusal> {
        let mut next = self.clone();
        let (what, subject) = next.change(now, command)?;
        next.revision += 1;
        let event = Event { at: now, by: by.to_owned(), what, subject, revision: next.revision };
        Ok((next, event))
    }

    fn change(&mut self, now: Moment, command: Command) -> Done {
        match command {
            Command::AddUser(name, account) => self.add_user(now, name, account),
            Command::SetAccount(name, account) => self.set_account(name, account),
            Command::RemoveUser(name) => self.remove_user(now, name),
            Command::SetDisabled(name, disabled) => {
                self.user(&name)?.disabled = disabled;
                Ok((if disabled { "user-disabled" } else { "user-enabled" }, name.to_string()))
            }
            Command::SetPassword(name, hash) => self.set_password(now, name, hash),
            Command::EnrolTotp(name, seed) => {
                self.user(&name)?.totp = Some(Totp { seed, confirmed: false, last: None });
                Ok(("totp-enrolled", name.to_string()))
            }
            Command::ConfirmTotp(name, code) => self.confirm_totp(now, name, &code),
            Command::RemoveTotp(name) => match self.user(&name)?.totp.take() {
                Some(_) => Ok(("totp-removed", name.to_string())),
                None => Err(Refusal::Unknown(format!("authenticator application of {name}"))),
            },
            Command::UseTotp(name, step) => self.use_totp(name, step),
            Command::AddDevice { device, user, label, serial, fingerprint, until } => {
                let new = Device {
                    user,
                    label: plain(label)?,
                    serial,
                    fingerprint,
                    until,
                    created: now,
                    revoked: None,
                };
                self.add_device(now, device, new)
            }
            Command::RenewDevice { device, serial, fingerprint, until } => {
                self.renew_device(now, device, serial, fingerprint, until)
            }
            Command::RenameDevice(device, label) => {
                let label = plain(label)?;
                let subject = format!("{device} {label}");
                self.device(device)?.label = label;
                Ok(("device-renamed", subject))
            }
            Command::RevokeDevice(device, reason) => self.revoke_device(now, device, reason),
            Command::AddAuthority(authority) => self.add_authority(*authority),
            Command::PutAuthority(authority) => self.put_authority(*authority),
            Command::RemoveAuthority(fingerprint) => {
                let place = self
                    .authorities
                    .iter()
                    .position(|known| Fingerprint::of(known.certificate()) == fingerprint);
                let place =
                    place.ok_or_else(|| Refusal::Unknown("authority with this certificate".to_owned()))?;
                let gone = self.authorities.remove(place);
                Ok(("authority-removed", title(&gone)))
            }
        }
    }

    fn user(&mut self, name: &UserName) -> Result<&mut User, Refusal> {
        self.users.get_mut(name).ok_or_else(|| Refusal::Unknown(format!("user {name}")))
    }

    fn device(&mut self, device: DeviceId) -> Result<&mut Device, Refusal> {
        self.devices.get_mut(&device).ok_or_else(|| Refusal::Unknown(format!("device {device}")))
    }

    fn add_user(&mut self, now: Moment, name: UserName, account: Account) -> Done {
        if self.users.contains_key(&name) {
            return Err(Refusal::Exists(name.to_string()));
        }
        if self.users.len() >= MAX_USERS {
            return Err(Refusal::Full("the most people are stored already"));
        }
        let user = User {
            full_name: String::new(),
            source: Source::Local,
            password: None,
            password_set: None,
            totp: None,
            groups: BTreeSet::new(),
            disabled: false,
            expires: None,
            ipv4: None,
            ipv6: None,
            networks: BTreeSet::new(),
            created: now,
        };
        self.users.insert(name.clone(), user);
        self.set_account(name, account).map(|(_, subject)| ("user-added", subject))
    }

    fn set_account(&mut self, name: UserName, account: Account) -> Done {
        self.check_account(&name, &account)?;
        let user = self.user(&name)?;
        let Account { full_name, source, groups, expires, ipv4, ipv6, networks } = account;
        if source != Source::Local {
            // A local hash must not come back to life when somebody sets the source back.
            user.password = None;
            user.password_set = None;
        }
        *user = User { full_name, source, groups, expires, ipv4, ipv6, networks, ..user.clone() };
        Ok(("user-changed", name.to_string()))
    }

    fn check_account(&self, name: &UserName, account: &Account) -> Result<(), Refusal> {
        if !account.full_name.is_empty() {
            plain(account.full_name.clone())?;
        }
        if account.groups.len() > MAX_GROUPS_EACH || account.networks.len() > MAX_NETWORKS_EACH {
            return Err(Refusal::Full("a person has 32 groups and 16 networks at most"));
        }
        for (owner, other) in self.users.iter().filter(|(owner, _)| *owner != name) {
            let address = account.ipv4.filter(|own| other.ipv4 == Some(*own)).map(IpAddr::from);
            let address = address.or(account.ipv6.filter(|own| other.ipv6 == Some(*own)).map(IpAddr::from));
            if let Some(address) = address {
                return Err(Refusal::Address { address, owner: owner.clone() });
            }
            let overlaps = |network: &&ipnet::IpNet| {
                other.networks.iter().any(|theirs| theirs.contains(*network) || network.contains(theirs))
            };
            if let Some(network) = account.networks.iter().find(overlaps) {
                return Err(Refusal::Network { network: *network, owner: owner.clone() });
            }
        }
        Ok(())
    }

    fn remove_user(&mut self, now: Moment, name: UserName) -> Done {
        if self.users.remove(&name).is_none() {
            return Err(Refusal::Unknown(format!("user {name}")));
        }
        let devices: Vec<DeviceId> =
            self.devices.iter().filter(|(_, device)| device.user == name).map(|(id, _)| *id).collect();
        for device in devices {
            if let Some(gone) = self.devices.remove(&device)
                && gone.revoked.is_none()
            {
                self.revoke_certificate(&gone.serial, Reason::PrivilegeWithdrawn, now)?;
            }
        }
        Ok(("user-removed", name.to_string()))
    }

    fn set_password(&mut self, now: Moment, name: UserName, hash: Option<Hash>) -> Done {
        let user = self.user(&name)?;
        if user.source != Source::Local {
            return Err(Refusal::NotLocal(name));
        }
        let what = if hash.is_some() { "password-set" } else { "password-removed" };
        user.password_set = hash.is_some().then_some(now);
        user.password = hash;
        Ok((what, name.to_string()))
    }

    fn confirm_totp(&mut self, now: Moment, name: UserName, code: &Code) -> Done {
        let user = self.user(&name)?;
        let missing = || Refusal::Unknown(format!("authenticator application of {name}"));
        let totp = user.totp.as_mut().ok_or_else(missing)?;
        let step = totp.seed.verify(code, now, totp.last).ok_or(Refusal::WrongCode)?;
        totp.confirmed = true;
        totp.last = Some(step);
        Ok(("totp-confirmed", name.to_string()))
    }

    fn use_totp(&mut self, name: UserName, step: Step) -> Done {
        let user = self.user(&name)?;
        let missing = || Refusal::Unknown(format!("authenticator application of {name}"));
        let totp = user.totp.as_mut().filter(|totp| totp.confirmed).ok_or_else(missing)?;
        // Two logins at once with one code: the second finds it used.
        if totp.last.is_some_and(|last| step <= last) {
            return Err(Refusal::UsedCode);
        }
        totp.last = Some(step);
        Ok(("totp-used", name.to_string()))
    }

    /// Marks a code as used without counting a revision: used codes are kept and replicated one by one, so that a login does
    /// not make another document of the whole store. Refused if it was used before.
    pub fn use_code(&mut self, name: &UserName, step: Step) -> Result<(), Refusal> {
        self.use_totp(name.clone(), step).map(|_| ())
    }

    fn add_device(&mut self, now: Moment, id: DeviceId, device: Device) -> Done {
        self.user(&device.user)?;
        if self.devices.contains_key(&id) {
            return Err(Refusal::Exists(format!("device {id}")));
        }
        // Ended and revoked: nothing can come of it any more.
        self.devices.retain(|_, known| known.revoked.is_none() || known.until > now);
        self.check_certificate(id, &device.fingerprint)?;
        if self.devices.values().filter(|known| known.user == device.user).count() >= MAX_DEVICES_EACH {
            return Err(Refusal::Full("a person has 16 devices at most"));
        }
        let subject = format!("{id} {} of {}", device.label, device.user);
        self.devices.insert(id, device);
        Ok(("device-added", subject))
    }

    /// One certificate, one device.
    fn check_certificate(&self, id: DeviceId, fingerprint: &Fingerprint) -> Result<(), Refusal> {
        match self.device_with(fingerprint) {
            Some((other, _)) if *other != id => Err(Refusal::SameCertificate(*other)),
            Some(_) | None => Ok(()),
        }
    }

    fn renew_device(
        &mut self,
        now: Moment,
        id: DeviceId,
        serial: Serial,
        fingerprint: Fingerprint,
        until: Moment,
    ) -> Done {
        self.check_certificate(id, &fingerprint)?;
        let device = self.device(id)?;
        if device.revoked.is_some() {
            return Err(Refusal::Revoked(id));
        }
        let old = std::mem::replace(&mut device.serial, serial.clone());
        device.fingerprint = fingerprint;
        device.until = until;
        if old != serial {
            self.revoke_certificate(&old, Reason::Superseded, now)?;
        }
        Ok(("device-renewed", id.to_string()))
    }

    fn revoke_device(&mut self, now: Moment, id: DeviceId, reason: Reason) -> Done {
        let device = self.device(id)?;
        if device.revoked.is_some() {
            return Err(Refusal::Revoked(id));
        }
        device.revoked = Some(now);
        let serial = device.serial.clone();
        let subject = format!("{id} {} of {}", device.label, device.user);
        self.revoke_certificate(&serial, reason, now)?;
        Ok(("device-revoked", subject))
    }

    /// Puts a certificate on its authority's list, if that authority's key is here and it is not there yet. One that others
    /// issued is shut out by its device alone.
    fn revoke_certificate(&mut self, serial: &Serial, reason: Reason, now: Moment) -> Result<(), Refusal> {
        let known = |authority: &&mut Authority| {
            authority.issues()
                && authority.issued().get(serial).is_some_and(|issued| issued.revoked.is_none())
        };
        match self.authorities.iter_mut().find(known) {
            Some(authority) => Ok(authority.revoke(serial, reason, now)?),
            None => Ok(()),
        }
    }

    fn add_authority(&mut self, authority: Authority) -> Done {
        if self.authorities.len() >= MAX_AUTHORITIES {
            return Err(Refusal::Full("there are 4 authorities at most; remove one that is no longer used"));
        }
        if self.authorities.iter().any(|known| same_key(known, &authority)) {
            return Err(Refusal::Exists(title(&authority)));
        }
        let subject = title(&authority);
        self.authorities.push(authority);
        Ok(("authority-added", subject))
    }

    fn put_authority(&mut self, authority: Authority) -> Done {
        let place = self.authorities.iter_mut().find(|known| same_key(known, &authority));
        let place = place.ok_or_else(|| Refusal::Unknown(format!("authority {}", title(&authority))))?;
        let subject = format!("{} list {}", title(&authority), authority.list_number());
        *place = authority;
        Ok(("authority-changed", subject))
    }
}

fn same_key(one: &Authority, other: &Authority) -> bool {
    let key = |authority: &Authority| authority.facts().ok().map(|facts| facts.public_key);
    key(one) == key(other)
}

fn title(authority: &Authority) -> String {
    authority.facts().ok().and_then(|facts| facts.common_name()).unwrap_or_else(|| "?".to_owned())
}

fn plain(label: String) -> Result<String, Refusal> {
    let count = label.chars().count();
    let good = (1..=MAX_LABEL).contains(&count) && !label.chars().any(char::is_control);
    if good { Ok(label) } else { Err(Refusal::Label) }
}
