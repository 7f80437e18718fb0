//! Owns the verbs about remote access: what a person types, what is asked for, where a profile goes.
//!
//! Passwords are read from the terminal without showing them, or from the standard input; never from the command line, which
//! every program of the machine can read.

mod print;
pub(super) mod secret;
#[cfg(test)]
mod tests;
mod wireguard;

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use rempart_bus::codes::{ReasonWord, RefusalCode};
use rempart_bus::vpn::{
    DisconnectRequest, ExportRequest, ImportClient, Profile, TestRequest, UserChange, UserFields,
    UserRequest, VpnStatus,
};

use super::run::{Console, Stop, connect};
use super::who;
use crate::bus::{Bus, Failure, Refusal, Reply, Request};
use crate::tr;
use crate::vpn::{Answer, Ask};

/// Largest file that is handed over, in bytes: a list of revoked certificates.
const MAX_FILE: u64 = 5 << 20;

/// A verb about remote access.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum VpnVerb {
    /// How it is.
    Status,
    /// Who is on.
    List,
    /// Ends sessions.
    Disconnect(DisconnectArgs),
    /// A profile for a device.
    Export(ExportArgs),
    /// Every device.
    Devices,
    /// A device may no longer come in.
    Revoke {
        /// The device.
        device: String,
        /// Why.
        #[arg(long, value_enum, hide_possible_values = true, default_value = "lost", value_name = "WHY")]
        reason: ReasonArg,
    },
    /// Another label for a device.
    Rename {
        /// The device.
        device: String,
        /// The label.
        label: String,
    },
    /// A device from a certificate that another authority made.
    Import(ImportArgs),
    /// People.
    User {
        /// What about them.
        #[command(subcommand)]
        verb: UserVerb,
    },
    /// A person's local password.
    Password {
        /// The person.
        user: String,
        /// Takes it away.
        #[arg(long)]
        remove: bool,
    },
    /// A person's authenticator application.
    Code {
        /// What about it.
        #[command(subcommand)]
        verb: CodeVerb,
    },
    /// The authority that certifies devices.
    Authority {
        /// What about it.
        #[command(subcommand)]
        verb: AuthorityVerb,
    },
    /// Tries something out.
    Test {
        /// What.
        #[command(subcommand)]
        verb: TestVerb,
    },
    /// WireGuard, which is outside AES-256.
    Wireguard {
        /// What about it.
        #[command(subcommand)]
        verb: Option<wireguard::WireguardVerb>,
    },
}

/// Whose sessions end.
#[derive(Args, PartialEq, Eq, Debug)]
#[group(required = true, multiple = false)]
pub struct DisconnectArgs {
    /// All of a person.
    pub user: Option<String>,
    /// One.
    #[arg(long, value_name = "ID")]
    pub session: Option<u32>,
    /// All.
    #[arg(long)]
    pub all: bool,
}

/// For whom a profile is, and where it goes.
#[derive(Args, PartialEq, Eq, Debug)]
pub struct ExportArgs {
    /// The person.
    #[arg(required_unless_present = "device", conflicts_with = "device")]
    pub user: Option<String>,
    /// What the device is called.
    #[arg(long, conflicts_with = "device")]
    pub label: Option<String>,
    /// A device that is to have a new key.
    #[arg(long, value_name = "ID")]
    pub device: Option<String>,
    /// A file, a folder, or `-`.
    #[arg(long, short, value_name = "PATH")]
    pub out: Option<PathBuf>,
}

/// Whose certificate it is, and in which file.
#[derive(Args, PartialEq, Eq, Debug)]
pub struct ImportArgs {
    /// The file.
    pub path: PathBuf,
    /// The person.
    #[arg(long)]
    pub user: Option<String>,
    /// What the device is called.
    #[arg(long)]
    pub label: Option<String>,
    /// The file is locked with a password.
    #[arg(long)]
    pub locked: bool,
}

/// A verb about people.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum UserVerb {
    /// Everybody.
    List,
    /// A new person.
    Add(UserArgs),
    /// Other data for a person.
    Set(UserArgs),
    /// A person and all devices go.
    Remove {
        /// The person.
        user: String,
    },
}

/// What is set for a person.
#[derive(Args, PartialEq, Eq, Debug)]
pub struct UserArgs {
    /// The person.
    pub user: String,
    /// As people know them.
    #[arg(long)]
    pub name: Option<String>,
    /// Who keeps the password.
    #[arg(long, value_enum, hide_possible_values = true, value_name = "local|directory|radius")]
    pub source: Option<SourceArg>,
    /// All groups.
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 0..)]
    pub groups: Option<Vec<String>>,
    /// Shut out, or let in again.
    #[arg(long, value_name = "yes|no", value_parser = yes_or_no)]
    pub disabled: Option<bool>,
    /// The first day outside.
    #[arg(long, value_name = "DATE")]
    pub expires: Option<String>,
    /// A fixed address.
    #[arg(long, value_name = "ADDRESS")]
    pub ipv4: Option<String>,
    /// A fixed address.
    #[arg(long, value_name = "ADDRESS")]
    pub ipv6: Option<String>,
    /// All networks behind the client.
    #[arg(long, value_name = "NET,NET", value_delimiter = ',', num_args = 0..)]
    pub networks: Option<Vec<String>>,
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "oui" => Ok(true),
        "no" | "non" => Ok(false),
        _ => Err("yes, no".to_owned()),
    }
}

/// Who keeps a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum SourceArg {
    /// This gateway.
    Local,
    /// Active Directory.
    Directory,
    /// RADIUS.
    Radius,
}

/// Why a device is revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ReasonArg {
    /// Lost or stolen.
    Lost,
    /// Its owner works elsewhere.
    Moved,
    /// Another one took its place.
    Replaced,
    /// No longer used.
    Retired,
    /// Its owner may no longer.
    Withdrawn,
}

impl ReasonArg {
    fn word(self) -> ReasonWord {
        match self {
            Self::Lost => ReasonWord::KeyCompromise,
            Self::Moved => ReasonWord::AffiliationChanged,
            Self::Replaced => ReasonWord::Superseded,
            Self::Retired => ReasonWord::CessationOfOperation,
            Self::Withdrawn => ReasonWord::PrivilegeWithdrawn,
        }
    }
}

/// A verb about an authenticator application.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum CodeVerb {
    /// A new secret.
    Enrol {
        /// The person.
        user: String,
    },
    /// Its first code.
    Confirm {
        /// The person.
        user: String,
        /// What the application shows.
        code: String,
    },
    /// No application any more.
    Remove {
        /// The person.
        user: String,
    },
}

/// A verb about the authority.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum AuthorityVerb {
    /// All of them.
    Show {
        /// Their certificates.
        #[arg(long)]
        pem: bool,
    },
    /// A new one.
    Make {
        /// Its name.
        name: Option<String>,
    },
    /// A new certificate for the one that issues.
    Renew,
    /// Takes one over.
    Import {
        /// The file.
        path: PathBuf,
        /// The file is locked with a password.
        #[arg(long)]
        locked: bool,
    },
    /// Takes over a list of revoked certificates.
    Crl {
        /// Of which authority.
        fingerprint: String,
        /// The file.
        path: PathBuf,
    },
    /// One goes.
    Remove {
        /// Which.
        fingerprint: String,
    },
}

/// What is tried.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum TestVerb {
    /// A login that lets nobody in.
    Login {
        /// The person.
        user: String,
        /// As if from this device.
        #[arg(long, value_name = "ID")]
        device: Option<String>,
        /// With a code.
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
    },
}

/// `rempart vpn …`
pub async fn vpn(console: &Console, verb: Option<VpnVerb>) -> Result<(), Stop> {
    let by = who::author(|name| std::env::var(name).ok());
    let ask = match verb {
        None | Some(VpnVerb::Status) => Ask::Status,
        Some(VpnVerb::List) => Ask::Sessions,
        Some(VpnVerb::Disconnect(DisconnectArgs { user, session, all })) => {
            Ask::Disconnect(DisconnectRequest { user, session, all }, by)
        }
        Some(VpnVerb::Export(args)) => return export(console, args, by).await,
        Some(VpnVerb::Devices) => Ask::Devices,
        Some(VpnVerb::Revoke { device, reason }) => Ask::Revoke(device, reason.word().name().to_owned(), by),
        Some(VpnVerb::Rename { device, label }) => Ask::Rename(device, label, by),
        Some(VpnVerb::Import(ImportArgs { path, user, label, locked })) => {
            let password = opener(console, locked)?;
            Ask::ImportClient(ImportClient { user, label, password }, file(console, &path)?, by)
        }
        Some(VpnVerb::User { verb }) => match verb {
            UserVerb::List => Ask::Users,
            UserVerb::Add(args) => {
                Ask::AddUser(UserRequest { name: args.user.clone(), fields: args.fields() }, by)
            }
            UserVerb::Set(args) => {
                Ask::SetUser(UserChange { name: args.user.clone(), fields: args.fields() }, by)
            }
            UserVerb::Remove { user } => Ask::RemoveUser(user, by),
        },
        Some(VpnVerb::Password { user, remove: true }) => Ask::Password(user, String::new(), by),
        Some(VpnVerb::Password { user, remove: false }) => {
            let password =
                secret::new(console.lang, &tr!(console.lang, "vpn-ask-new-password", user = user.as_str()))?;
            Ask::Password(user, password, by)
        }
        Some(VpnVerb::Code { verb }) => match verb {
            CodeVerb::Enrol { user } => Ask::EnrolCode(user, by),
            CodeVerb::Confirm { user, code } => Ask::ConfirmCode(user, code, by),
            CodeVerb::Remove { user } => Ask::RemoveCode(user, by),
        },
        Some(VpnVerb::Authority { verb }) => match verb {
            AuthorityVerb::Show { pem: false } => Ask::Authorities,
            AuthorityVerb::Show { pem: true } => return certificates(console).await,
            AuthorityVerb::Make { name } => Ask::MakeAuthority(name.unwrap_or_default(), by),
            AuthorityVerb::Renew => Ask::RenewAuthority(by),
            AuthorityVerb::Import { path, locked } => {
                let password = opener(console, locked)?.unwrap_or_default();
                Ask::ImportAuthority(file(console, &path)?, password, by)
            }
            AuthorityVerb::Crl { fingerprint, path } => {
                Ask::ImportList(fingerprint, file(console, &path)?, by)
            }
            AuthorityVerb::Remove { fingerprint } => Ask::RemoveAuthority(fingerprint, by),
        },
        Some(VpnVerb::Test { verb: TestVerb::Login { user, device, code } }) => {
            return test(console, user, device, code).await;
        }
        Some(VpnVerb::Wireguard { verb }) => match verb {
            None | Some(wireguard::WireguardVerb::Status) => Ask::Wireguard,
            Some(wireguard::WireguardVerb::Key { anew }) => Ask::WireguardKey(anew, by),
            Some(wireguard::WireguardVerb::Client(args)) => {
                return wireguard::client(console, args, by).await;
            }
        },
    };
    let request = Request::Vpn(Box::new(ask));
    let answer = said(console, &connect().await?, &request).await?;
    match Reply::parse(&request, answer.clone())? {
        Reply::Vpn(read) if *read == Answer::Done => console.say(&tr!(console.lang, "vpn-done")),
        _ => console.answer(&request, answer)?,
    }
    Ok(())
}

impl UserArgs {
    fn fields(&self) -> UserFields {
        let source = self.source.map(|source| match source {
            SourceArg::Local => "local",
            SourceArg::Directory => "directory",
            SourceArg::Radius => "radius",
        });
        let list = |list: &Option<Vec<String>>| {
            list.as_ref().map(|list| list.iter().filter(|word| !word.is_empty()).cloned().collect())
        };
        UserFields {
            full_name: self.name.clone(),
            source: source.map(str::to_owned),
            groups: list(&self.groups),
            disabled: self.disabled,
            expires: self.expires.clone(),
            ipv4: self.ipv4.clone(),
            ipv6: self.ipv6.clone(),
            networks: list(&self.networks),
        }
    }
}

/// Asks; a node on standby says which one to ask instead.
async fn said(console: &Console, bus: &Bus, request: &Request) -> Result<String, Stop> {
    let failure = match bus.ask(request).await {
        Ok(answer) => return Ok(answer),
        Err(failure) => failure,
    };
    let standby = |text: &str| RefusalCode::of(text) == Some(RefusalCode::VpnStandby);
    let Failure::Refused { kind: Refusal::Refused, text, .. } = &failure else { return Err(failure.into()) };
    if !standby(text) {
        return Err(failure.into());
    }
    let status = bus.ask(&Request::Vpn(Box::new(Ask::Status))).await.unwrap_or_default();
    let active = serde_json::from_str::<VpnStatus>(&status).ok().and_then(|status| status.active_node);
    Err(match active {
        Some(node) => {
            let text = tr!(console.lang, "vpn-standby", node = node.as_str());
            Stop::Failure(Failure::Refused { kind: Refusal::Refused, text, report: None })
        }
        None => failure.into(),
    })
}

/// What opens a locked file.
fn opener(console: &Console, locked: bool) -> Result<Option<String>, Stop> {
    let prompt = || tr!(console.lang, "vpn-ask-opener");
    locked.then(|| secret::ask(console.lang, &prompt())).transpose()
}

fn file(console: &Console, path: &Path) -> Result<Vec<u8>, Stop> {
    let name = path.display().to_string();
    let fault = |error| Stop::file(console.lang, &name, &error);
    let length = std::fs::metadata(path).map_err(fault)?.len();
    if length > MAX_FILE {
        return Err(Stop::Usage(tr!(console.lang, "vpn-file-too-large", file = name.as_str())));
    }
    std::fs::read(path).map_err(fault)
}

async fn certificates(console: &Console) -> Result<(), Stop> {
    let request = Request::Vpn(Box::new(Ask::Authorities));
    let answer = said(console, &connect().await?, &request).await?;
    if console.json {
        console.line(&answer);
        return Ok(());
    }
    if let Answer::Authorities(all) = Ask::Authorities.read(&answer).map_err(Failure::Garbled)? {
        all.iter().for_each(|authority| console.line(&authority.certificate));
    }
    Ok(())
}

async fn test(
    console: &Console,
    user: String,
    device: Option<String>,
    code: Option<String>,
) -> Result<(), Stop> {
    let password = secret::ask(console.lang, &tr!(console.lang, "vpn-ask-password", user = user.as_str()))?;
    let ask = Ask::Test(TestRequest { user, password, code, device });
    let request = Request::Vpn(Box::new(ask.clone()));
    let answer = said(console, &connect().await?, &request).await?;
    let accepted = match ask.read(&answer).map_err(Failure::Garbled)? {
        Answer::Test(report) => report.accepted,
        other => return Err(Failure::Garbled(format!("{other:?}")).into()),
    };
    console.answer(&request, answer)?;
    if accepted { Ok(()) } else { Err(Stop::Refused) }
}

/// `rempart vpn export`: the key is made for this answer and nowhere else, so where it goes is tried first.
async fn export(console: &Console, args: ExportArgs, by: String) -> Result<(), Stop> {
    let ExportArgs { user, label, device, out } = args;
    let lang = console.lang;
    let to = out.unwrap_or_else(|| if console.json { "-".into() } else { ".".into() });
    let printed = to.as_os_str() == "-";
    let folder = to.is_dir();
    if !printed && !folder && to.exists() {
        return Err(Stop::Usage(tr!(lang, "vpn-export-exists", file = to.display().to_string())));
    }
    if folder {
        writable(&to).map_err(|error| Stop::file(lang, &to.display().to_string(), &error))?;
    }
    let ask = Ask::Export(ExportRequest { user, label, device }, by);
    let request = Request::Vpn(Box::new(ask.clone()));
    let answer = said(console, &connect().await?, &request).await?;
    if console.json {
        console.line(&answer);
        return Ok(());
    }
    let Answer::Profile(profile) = ask.read(&answer).map_err(Failure::Garbled)? else { return Ok(()) };
    if printed {
        console.line(&profile.text);
        return Ok(());
    }
    let path = if folder { to.join(&profile.file) } else { to };
    write(&path, &profile.text).map_err(|error| lost(console, &path, &profile, &error))?;
    console.line(&console.exported(&profile, &path.display().to_string()));
    Ok(())
}

/// The device is there and its key is not: the way out is a new one.
fn lost(console: &Console, path: &Path, profile: &Profile, error: &std::io::Error) -> Stop {
    let (file, device) = (path.display().to_string(), profile.device.as_str());
    Stop::Usage(tr!(console.lang, "vpn-export-lost", file = file, error = error.to_string(), device = device))
}

/// Whether a file can be made in a folder.
fn writable(folder: &Path) -> std::io::Result<()> {
    let trial = folder.join(format!(".rempart-{}", std::process::id()));
    std::fs::File::create_new(&trial)?;
    std::fs::remove_file(trial)
}

/// For its owner alone, and on the medium before the person pulls it out.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
