//! Who may come in: what each group demands of its members, and the machine that asks for it.
//!
//! ```text
//!              start ──▶ who is it, may they at all, what do their groups demand?
//!                             │
//!        ┌────────────────────┼──────────────────────┐
//!   CheckLocal           AskDirectory            AskRadius ◀─┐
//!        │ hash, slow         │ LDAPS                │       │ challenge
//!        └────────────────────┼──────────────────────┴───────┘
//!                             ▼ password right (or none demanded); groups known
//!                        code at hand? ──no──▶ Challenge ──answer──┐
//!                             │ yes                                │
//!                             ▼                                    ▼
//!                          Accepted / Refused ◀────────────────────┘
//! ```
//!
//! The machine knows no clock and asks nobody: each step says what to do, and the driver brings the answer. What a user who
//! does not exist, is shut out, or belongs to no group can observe is what a wrong password shows: the same words after the
//! same work.
//!
//! Of several groups the demands add up: whoever is in one that wants a code gives a code.

mod login;
mod throttle;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

pub use login::{Answer, Attempt, DirectoryAnswer, LocalCheck, Login, Next, RadiusAnswer, Vouched};
pub use throttle::{Origin, Throttle};

use crate::names::{DeviceId, GroupName, UserName};
use crate::store::Source;
use crate::totp::Step;

/// What a member of a group must show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Demand {
    certificate: bool,
    password: bool,
    code: bool,
}

/// A code alone, or nothing at all, would let in whoever has the phone in hand, or anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a group must demand a certificate or a password; a code alone is half a proof")]
pub struct TooLittle;

impl Demand {
    /// Any combination that holds a certificate or a password.
    pub fn new(certificate: bool, password: bool, code: bool) -> Result<Self, TooLittle> {
        if certificate || password { Ok(Self { certificate, password, code }) } else { Err(TooLittle) }
    }

    /// Device and person both proven, the person by two factors (ANSSI, nomadism guide p. 50): what a group demands by habit.
    pub const fn all() -> Self {
        Self { certificate: true, password: true, code: true }
    }

    /// A certificate of a registered device.
    pub fn certificate(self) -> bool {
        self.certificate
    }

    /// A password.
    pub fn password(self) -> bool {
        self.password
    }

    /// A code of an authenticator application.
    pub fn code(self) -> bool {
        self.code
    }

    fn and(self, other: Self) -> Self {
        Self {
            certificate: self.certificate || other.certificate,
            password: self.password || other.password,
            code: self.code || other.code,
        }
    }
}

/// What the document says about logins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// The groups and what each demands. Others are no groups of the VPN.
    pub groups: BTreeMap<GroupName, Demand>,
    /// Who is asked about people who are not in the store; nobody by habit.
    pub strangers: Option<Source>,
}

impl Policy {
    /// What these groups demand together, and which of them count.
    pub fn demand(&self, groups: &BTreeSet<GroupName>) -> Option<(Demand, BTreeSet<GroupName>)> {
        let known: BTreeSet<GroupName> =
            groups.iter().filter(|group| self.groups.contains_key(*group)).cloned().collect();
        let demand = known.iter().filter_map(|group| self.groups.get(group)).copied().reduce(Demand::and)?;
        Some((demand, known))
    }

    fn wants_codes(&self) -> bool {
        self.groups.values().any(|demand| demand.code)
    }
}

/// Somebody who may come in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admission {
    /// Who.
    pub user: UserName,
    /// On which device, if a certificate was shown.
    pub device: Option<DeviceId>,
    /// The groups that count.
    pub groups: BTreeSet<GroupName>,
    /// A fixed address.
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address.
    pub ipv6: Option<Ipv6Addr>,
    /// Networks behind this client.
    pub networks: BTreeSet<ipnet::IpNet>,
    /// The code's step. It must be stored (`Command::UseTotp`) and replicated before the session begins; if the store refuses
    /// it as used, the login has failed.
    pub code_used: Option<Step>,
    /// Whether the local password's hash is of an older kind and should be made anew.
    pub rehash: bool,
}

/// Why not, for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// No user name, and no certificate that has one.
    NoName,
    /// The name is none that could exist.
    BadName,
    /// Nobody of this name is in the store, and strangers are not asked for elsewhere.
    Unknown,
    /// Shut out in the store, or past the end of the account.
    ShutOut,
    /// In no group of the VPN.
    NoGroup,
    /// A certificate is demanded and was not shown.
    NoCertificate,
    /// The certificate is of no registered device.
    UnknownDevice,
    /// The device is revoked.
    RevokedDevice(DeviceId),
    /// The device is registered to somebody else.
    OthersDevice(DeviceId),
    /// The local account has no password, or an empty one was given.
    NoPassword,
    /// The password is wrong; the word of whoever said so.
    WrongPassword(String),
    /// A code is demanded, and no application is enrolled.
    NotEnrolled,
    /// The code is wrong, or used, or too old.
    WrongCode,
    /// The answer to a challenge came with another certificate than the question.
    OtherCertificate,
    /// The client cannot be asked for a code.
    CannotAsk,
    /// Right password, but the account may not: expired, disabled, locked.
    Account(String),
    /// The password is right and must be changed first.
    MustChange(String),
    /// No directory or RADIUS server answered.
    Unavailable(String),
    /// An answer came that was not asked for.
    OutOfOrder,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("no user name, and no certificate that has one"),
            Self::BadName => f.write_str("the user name has characters that no name has"),
            Self::Unknown => f.write_str("unknown user"),
            Self::ShutOut => f.write_str("the account is disabled or has expired here"),
            Self::NoGroup => f.write_str("in no group that may use the VPN"),
            Self::NoCertificate => f.write_str("no certificate, and the group demands one"),
            Self::UnknownDevice => f.write_str("the certificate is of no registered device"),
            Self::RevokedDevice(device) => write!(f, "the device {device} is revoked"),
            Self::OthersDevice(device) => write!(f, "the device {device} is registered to somebody else"),
            Self::NoPassword => f.write_str("no password was given, or none is set"),
            Self::WrongPassword(by) => write!(f, "wrong password ({by})"),
            Self::NotEnrolled => {
                f.write_str("a code is demanded, and no authenticator application is enrolled")
            }
            Self::WrongCode => f.write_str("the code is wrong, was used, or is too old"),
            Self::OtherCertificate => {
                f.write_str("the answer came with another certificate than the question")
            }
            Self::CannotAsk => f.write_str("the code is missing, and this client cannot be asked for one"),
            Self::Account(why) => write!(f, "the password is right, but the account may not log in: {why}"),
            Self::MustChange(why) => write!(f, "the password must be changed first: {why}"),
            Self::Unavailable(why) => write!(f, "nobody could be asked: {why}"),
            Self::OutOfOrder => f.write_str("an answer came that was not asked for"),
        }
    }
}

impl Reason {
    /// What the user is told.
    fn told(&self) -> Told {
        match self {
            Self::MustChange(_) => Told::ChangePassword,
            Self::Unavailable(_) => Told::Later,
            Self::CannotAsk => Told::AppendCode,
            Self::NotEnrolled => Told::Enrol,
            Self::NoName
            | Self::BadName
            | Self::Unknown
            | Self::ShutOut
            | Self::NoGroup
            | Self::NoCertificate
            | Self::UnknownDevice
            | Self::RevokedDevice(_)
            | Self::OthersDevice(_)
            | Self::NoPassword
            | Self::WrongPassword(_)
            | Self::WrongCode
            | Self::OtherCertificate
            | Self::Account(_)
            | Self::OutOfOrder => Told::Wrong,
        }
    }

    /// Whether this counts as a wrong try. A server of ours that does not answer is not the user's fault.
    pub fn counts(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::MustChange(_) | Self::CannotAsk | Self::NotEnrolled => false,
            Self::NoName
            | Self::BadName
            | Self::Unknown
            | Self::ShutOut
            | Self::NoGroup
            | Self::NoCertificate
            | Self::UnknownDevice
            | Self::RevokedDevice(_)
            | Self::OthersDevice(_)
            | Self::NoPassword
            | Self::WrongPassword(_)
            | Self::WrongCode
            | Self::OtherCertificate
            | Self::Account(_)
            | Self::OutOfOrder => true,
        }
    }
}

/// What the user is told: nothing that tells a guesser more than "no". The ones that say more follow a right password only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Anything that could be guessed at.
    Wrong,
    /// The password was right.
    ChangePassword,
    /// The password was right.
    Enrol,
    /// The password was right.
    AppendCode,
    /// Not the user's fault.
    Later,
}

/// The languages of what people see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// English.
    English,
    /// French.
    French,
}

impl Told {
    /// In words.
    pub fn text(self, language: Language) -> &'static str {
        match (self, language) {
            (Self::Wrong, Language::English) => "Wrong user name, password or code, or access not allowed.",
            (Self::Wrong, Language::French) => {
                "Identifiant, mot de passe ou code incorrect, ou accès non autorisé."
            }
            (Self::ChangePassword, Language::English) => {
                "Your password has expired. Change it, then try again."
            }
            (Self::ChangePassword, Language::French) => {
                "Votre mot de passe a expiré. Changez-le, puis réessayez."
            }
            (Self::Enrol, Language::English) => {
                "No authenticator application is enrolled. Ask your administrator."
            }
            (Self::Enrol, Language::French) => {
                "Aucune application d’authentification n’est enrôlée. Adressez-vous à votre administrateur."
            }
            (Self::AppendCode, Language::English) => {
                "Type the six digits of your code directly after your password."
            }
            (Self::AppendCode, Language::French) => {
                "Saisissez les six chiffres de votre code à la suite de votre mot de passe."
            }
            (Self::Later, Language::English) => "Login is not possible at the moment. Try again later.",
            (Self::Later, Language::French) => {
                "La connexion est momentanément impossible. Réessayez plus tard."
            }
        }
    }
}
