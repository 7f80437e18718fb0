//! People, as administrators manage them. Everything that changes is refused on a standby node.

use std::collections::BTreeSet;

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{Enrolment, UserChange, UserFields, UserRequest, UserView};
use rempart_identity::authority::NotIssued;
use rempart_identity::moment::Moment;
use rempart_identity::names::UserName;
use rempart_identity::password::Hash;
use rempart_identity::secret::Secret;
use rempart_identity::store::{Account, Command, Refusal, Source, Store, User};
use rempart_identity::totp::{self, Code, Seed};
use ring::rand::SystemRandom;

use super::office::{Edit, Office};
use super::views;

/// The text of a refusal of the store, with its code.
pub fn refusal(error: Refusal) -> Error {
    let code = match &error {
        Refusal::Unknown(_) => return Error::NotFound(error.to_string()),
        Refusal::Exists(_)
        | Refusal::Address { .. }
        | Refusal::Network { .. }
        | Refusal::SameCertificate(_) => RefusalCode::Taken,
        Refusal::Full(_) | Refusal::Authority(NotIssued::Full) => RefusalCode::Full,
        Refusal::Label => RefusalCode::BadField,
        Refusal::NotLocal(_) => RefusalCode::NotLocal,
        Refusal::WrongCode | Refusal::UsedCode => RefusalCode::WrongCode,
        Refusal::Revoked(_) => RefusalCode::Revoked,
        Refusal::Authority(error) => return not_issued(error.clone()),
    };
    code.error(error)
}

/// The text of an authority's refusal.
pub fn not_issued(error: NotIssued) -> Error {
    match error {
        NotIssued::NoKey => RefusalCode::NoAuthority.error(error),
        NotIssued::Full => RefusalCode::Full.error(error),
        NotIssued::Name(_) | NotIssued::Long(_) => RefusalCode::BadField.error(error),
        NotIssued::Unknown(_) => Error::NotFound(error.to_string()),
        NotIssued::Revoked(_) => RefusalCode::Revoked.error(error),
        NotIssued::AuthorityEnds(_) | NotIssued::AuthorityName | NotIssued::Malformed(_) => {
            Error::Refused(error.to_string())
        }
        NotIssued::Signing(_) | NotIssued::NoRandomness => Error::Failed(error.to_string()),
    }
}

/// What was given is not of the right form.
pub fn bad(error: impl std::fmt::Display) -> Error {
    RefusalCode::BadField.error(error)
}

/// A person's name.
pub fn user_name(text: &str) -> Result<UserName, Error> {
    text.trim().parse().map_err(|error| bad(format!("`{text}`: {error}")))
}

impl Office {
    /// Changes something, where it may be changed.
    pub(super) fn change<T>(
        &self,
        by: &str,
        make: impl FnOnce(&mut Edit<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let turned = self.take_turn();
        self.must_be_active()?;
        let mut edit = self.edit(&turned, by);
        let made = make(&mut edit)?;
        let unwritten = |error| Error::Failed(format!("nothing was changed, for it cannot be kept: {error}"));
        self.commit(&turned, edit).map_err(unwritten)?;
        Ok(made)
    }

    fn must_be_active(&self) -> Result<(), Error> {
        let state = self.state();
        if state.active {
            return Ok(());
        }
        let peer = state.plan.as_ref().and_then(|plan| plan.peer.clone());
        Err(match peer {
            Some(peer) => {
                RefusalCode::VpnStandby.error(format!("this node is on standby; ask {peer}, which is active"))
            }
            None => RefusalCode::VpnStandby.error("this node does not serve the VPN yet"),
        })
    }

    /// Everybody.
    pub fn users(&self) -> Vec<UserView> {
        let state = self.state();
        let (store, policy) = (&state.desk.store, &state.desk.policy);
        store.users().iter().map(|(name, user)| views::user(name, user, store, policy)).collect()
    }

    /// A new person.
    pub fn add_user(&self, request: &UserRequest, by: &str) -> Result<(), Error> {
        let name = user_name(&request.name)?;
        let account = account(&request.fields, Account::default(), self)?;
        self.change(by, |edit| {
            edit.apply(Command::AddUser(name.clone(), account)).map_err(refusal)?;
            if request.fields.disabled == Some(true) {
                edit.apply(Command::SetDisabled(name, true)).map_err(refusal)?;
            }
            Ok(())
        })
    }

    /// Other data for a person.
    pub fn set_user(&self, change: &UserChange, by: &str) -> Result<(), Error> {
        let name = user_name(&change.name)?;
        self.change(by, |edit| {
            let old = edit.store.users().get(&name).ok_or_else(|| unknown(&name))?.clone();
            let same = account_of(&old);
            let account = account(&change.fields, same.clone(), self)?;
            if account != same {
                edit.apply(Command::SetAccount(name.clone(), account)).map_err(refusal)?;
            }
            if let Some(disabled) = change.fields.disabled.filter(|disabled| *disabled != old.disabled) {
                edit.apply(Command::SetDisabled(name, disabled)).map_err(refusal)?;
            }
            Ok(())
        })
    }

    /// A person goes, with all devices.
    pub fn remove_user(&self, name: &str, by: &str) -> Result<(), Error> {
        let name = user_name(name)?;
        self.change(by, |edit| edit.apply(Command::RemoveUser(name)).map_err(refusal))
    }

    /// A new password; the empty one takes it away.
    pub fn set_password(&self, name: &str, password: &Secret, by: &str) -> Result<(), Error> {
        let name = user_name(name)?;
        // A tenth of a second, which nobody should wait for in line.
        let hash = if password.is_empty() {
            None
        } else {
            let hash = Hash::new(password, name.as_str(), &SystemRandom::new());
            Some(hash.map_err(|error| RefusalCode::WeakPassword.error(error))?)
        };
        self.change(by, |edit| edit.apply(Command::SetPassword(name, hash)).map_err(refusal))
    }

    /// A new secret for an authenticator application.
    pub fn enrol_code(&self, name: &str, by: &str) -> Result<Enrolment, Error> {
        let name = user_name(name)?;
        let seed = Seed::new(&SystemRandom::new()).map_err(|error| Error::Failed(error.to_string()))?;
        let text = |secret: &Secret| secret.expose_str().unwrap_or_default().to_owned();
        let uri = seed.uri(&self.issuer(), name.as_str());
        let qr = totp::qr(&uri).map_err(|error| Error::Failed(error.to_string()))?;
        let made = Enrolment { user: name.to_string(), uri: text(&uri), secret: text(&seed.base32()), qr };
        self.change(by, |edit| edit.apply(Command::EnrolTotp(name, seed)).map_err(refusal))?;
        Ok(made)
    }

    /// What the application shows above the code.
    fn issuer(&self) -> String {
        let plan = self.state().plan.clone();
        let organisation = plan.map(|plan| plan.certificates.organisation.clone());
        // A colon ends the issuer in the address; the application would show the rest as the account.
        organisation.filter(|name| !name.is_empty()).unwrap_or_else(|| "Rempart".to_owned()).replace(':', " ")
    }

    /// The first code of the new application.
    pub fn confirm_code(&self, name: &str, code: &str, by: &str) -> Result<(), Error> {
        let name = user_name(name)?;
        let code = Code::parse(code).ok_or_else(|| RefusalCode::WrongCode.error("a code has six digits"))?;
        self.change(by, |edit| edit.apply(Command::ConfirmTotp(name, code)).map_err(refusal))
    }

    /// No application any more.
    pub fn remove_code(&self, name: &str, by: &str) -> Result<(), Error> {
        let name = user_name(name)?;
        self.change(by, |edit| edit.apply(Command::RemoveTotp(name)).map_err(refusal))
    }
}

/// Nobody has this name.
pub fn unknown(name: &UserName) -> Error {
    Error::NotFound(format!("there is no user {name}"))
}

/// The person that a store has under this name.
pub fn known<'a>(store: &'a Store, name: &UserName) -> Result<&'a User, Error> {
    store.users().get(name).ok_or_else(|| unknown(name))
}

fn account_of(user: &User) -> Account {
    Account {
        full_name: user.full_name.clone(),
        source: user.source,
        groups: user.groups.clone(),
        expires: user.expires,
        ipv4: user.ipv4,
        ipv6: user.ipv6,
        networks: user.networks.clone(),
    }
}

/// What stays, with what was given in its place.
fn account(fields: &UserFields, old: Account, office: &Office) -> Result<Account, Error> {
    fn address<T: std::str::FromStr>(given: &Option<String>, old: Option<T>) -> Result<Option<T>, Error> {
        match given.as_deref().map(str::trim) {
            None => Ok(old),
            Some("") => Ok(None),
            Some(text) => {
                text.parse().map(Some).map_err(|_| bad(format!("`{text}` is no address of this kind")))
            }
        }
    }
    let source = match fields.source.as_deref() {
        None => old.source,
        Some("local") => Source::Local,
        Some("directory") => Source::Directory,
        Some("radius") => Source::Radius,
        Some(other) => return Err(bad(format!("`{other}` is none of local, directory, radius"))),
    };
    let groups = match &fields.groups {
        None => old.groups,
        Some(names) => {
            let plan = office.state().plan.clone();
            let known = |name: &str| plan.as_ref().is_none_or(|p| p.groups.iter().any(|g| g.name == name));
            let mut groups = BTreeSet::new();
            for name in names {
                if !known(name) {
                    return Err(bad(format!("the document has no group `{name}`")));
                }
                groups.insert(name.parse().map_err(|error| bad(format!("`{name}`: {error}")))?);
            }
            groups
        }
    };
    let network = |text: &String| {
        text.parse::<ipnet::IpNet>()
            .map(|net| net.trunc())
            .map_err(|_| bad(format!("`{text}` is no network")))
    };
    Ok(Account {
        full_name: fields.full_name.clone().unwrap_or(old.full_name),
        source,
        groups,
        expires: match fields.expires.as_deref().map(str::trim) {
            None => old.expires,
            Some("") => None,
            Some(text) => Some(date(text)?),
        },
        ipv4: address(&fields.ipv4, old.ipv4)?,
        ipv6: address(&fields.ipv6, old.ipv6)?,
        networks: match &fields.networks {
            None => old.networks,
            Some(list) => list.iter().map(network).collect::<Result<_, _>>()?,
        },
    })
}

/// A time (RFC 3339), or a date: its first second in UTC.
fn date(text: &str) -> Result<Moment, Error> {
    let time = text.parse::<jiff::Timestamp>().ok();
    let midnight = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let time = time.or_else(midnight);
    time.map(|time| Moment::new(time.as_second())).ok_or_else(|| bad(format!("`{text}` is no date")))
}
