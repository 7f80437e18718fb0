//! The questions in their order, and what the answers mean. No socket.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use zeroize::Zeroizing;

use super::message::{self, Entry, Filter, Outcome, Response, Scope};
use super::{Config, Protection};
use crate::asn1::Malformed;
use crate::demand::DirectoryAnswer;
use crate::names::{GroupName, UserName};
use crate::secret::Secret;

/// Entries and references of one search: one for each group that is asked about, and a few references.
const MAX_FOUND: usize = 128;

/// RFC 4511 §4.1.9.
const SUCCESS: u64 = 0;
const SIZE_LIMIT: u64 = 4;
const INVALID_CREDENTIALS: u64 = 49;

/// Why a controller gave no answer. Another one may.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Fault {
    /// Nobody is there.
    #[error("no connection: {0}")]
    Connect(String),
    /// The certificate is of an unknown authority or another name, or TLS failed otherwise.
    #[error("TLS: {0}")]
    Tls(String),
    /// Too slow.
    #[error("no answer in time")]
    Timeout,
    /// Closed, reset.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// Not LDAP, or not in the right order.
    #[error("not LDAP: {0}")]
    Malformed(#[from] Malformed),
    /// An answer to nothing that was asked.
    #[error("an answer that does not fit the question")]
    OutOfOrder,
    /// The server refuses an operation.
    #[error("{what} was refused with code {code}: {diagnostic}")]
    Refused {
        /// Which.
        what: &'static str,
        /// The code of RFC 4511 §4.1.9.
        code: u64,
        /// In the server's words.
        diagnostic: String,
    },
    /// Not Active Directory.
    #[error(
        "the server does not tell the groups of a login (tokenGroups of the rootDSE): is it Active Directory?"
    )]
    NoToken,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Read more.
    Wait,
    /// Send this, then read.
    Send(Zeroizing<Vec<u8>>),
    /// Begin TLS, then ask [`Conversation::secured`] for what to send. Nothing that came before it counts.
    StartTls,
    /// Over; close.
    Finished(DirectoryAnswer),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    StartTls,
    /// TLS is being set up; nothing may come.
    Securing,
    Bind,
    Token,
    Entry,
    Groups,
    Done,
}

/// One user's questions to one controller.
pub struct Conversation {
    protection: Protection,
    domain: String,
    base: String,
    groups: BTreeMap<String, BTreeSet<GroupName>>,
    name: String,
    password: Secret,
    phase: Phase,
    id: u64,
    incoming: Vec<u8>,
    found: Vec<Entry>,
    references: usize,
    token: BTreeSet<Vec<u8>>,
    account: Option<UserName>,
}

impl Conversation {
    /// For a user under the name that was typed: `account`, `account@domain` or `DOMAIN\account`.
    pub fn new(config: &Config, protection: Protection, name: &str, password: Secret) -> Self {
        Self {
            protection,
            domain: config.domain.clone(),
            base: config.base.clone(),
            groups: config.groups.clone(),
            name: name.to_owned(),
            password,
            phase: Phase::Securing,
            id: 0,
            incoming: Vec::new(),
            found: Vec::new(),
            references: 0,
            token: BTreeSet::new(),
            account: None,
        }
    }

    /// The first step.
    pub fn start(&mut self) -> Progress {
        match self.protection {
            Protection::Ldaps => Progress::StartTls,
            Protection::StartTls => {
                self.phase = Phase::StartTls;
                Progress::Send(message::start_tls(self.next_id()))
            }
        }
    }

    /// TLS stands and the certificate was right: what to send first.
    pub fn secured(&mut self) -> Progress {
        // What came in the clear before TLS must not be read as an answer within it.
        self.incoming.clear();
        // An empty password makes the bind anonymous, which succeeds and proves nothing (RFC 4513 §5.1.2). The login machine
        // does not let one through; this is the last door.
        if self.password.is_empty() {
            self.phase = Phase::Done;
            return Progress::Finished(DirectoryAnswer::Wrong("an empty password is never sent".to_owned()));
        }
        self.phase = Phase::Bind;
        let bare = !self.name.contains(['@', '\\']);
        let name = if bare { format!("{}@{}", self.name, self.domain) } else { self.name.clone() };
        Progress::Send(message::bind(self.next_id(), &name, &self.password))
    }

    /// The last words, after the answer.
    pub fn goodbye(&mut self) -> Zeroizing<Vec<u8>> {
        message::unbind(self.next_id())
    }

    /// Bytes that came, in any pieces.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        self.incoming.extend_from_slice(bytes);
        while let Some(length) = message::length(&self.incoming)? {
            if self.incoming.len() < length {
                return Ok(Progress::Wait);
            }
            let rest = self.incoming.split_off(length);
            let whole = std::mem::replace(&mut self.incoming, rest);
            match self.message(&whole)? {
                Progress::Wait => {}
                // One question at a time: more than one answer to it is a fault.
                step if self.incoming.is_empty() => return Ok(step),
                _ => return Err(Fault::OutOfOrder),
            }
        }
        Ok(Progress::Wait)
    }

    fn message(&mut self, bytes: &[u8]) -> Result<Progress, Fault> {
        let (id, response) = message::read(bytes)?;
        if id != self.id {
            // Number 0 is the server's own: it is about to close (RFC 4511 §4.4.1).
            return Err(Fault::OutOfOrder);
        }
        match (self.phase, response) {
            (Phase::StartTls, Response::Extended(outcome)) => {
                accepted("StartTLS", outcome)?;
                self.phase = Phase::Securing;
                Ok(Progress::StartTls)
            }
            (Phase::Bind, Response::Bound(outcome)) => self.bound(outcome),
            (Phase::Token | Phase::Entry | Phase::Groups, Response::Found(entry)) => {
                self.found.push(entry);
                if self.found.len() > MAX_FOUND { Err(Fault::OutOfOrder) } else { Ok(Progress::Wait) }
            }
            (Phase::Token | Phase::Entry | Phase::Groups, Response::Reference) => {
                self.references += 1;
                if self.references > MAX_FOUND { Err(Fault::OutOfOrder) } else { Ok(Progress::Wait) }
            }
            (Phase::Token, Response::Searched(outcome)) => self.token_came(outcome),
            (Phase::Entry, Response::Searched(outcome)) => self.entry_came(outcome),
            (Phase::Groups, Response::Searched(outcome)) => self.groups_came(outcome),
            (
                Phase::StartTls
                | Phase::Securing
                | Phase::Bind
                | Phase::Token
                | Phase::Entry
                | Phase::Groups
                | Phase::Done,
                Response::Extended(_)
                | Response::Bound(_)
                | Response::Found(_)
                | Response::Reference
                | Response::Searched(_),
            ) => Err(Fault::OutOfOrder),
        }
    }

    fn bound(&mut self, outcome: Outcome) -> Result<Progress, Fault> {
        match outcome.code {
            SUCCESS => {
                self.phase = Phase::Token;
                let filter = Filter::Present("objectClass");
                let question = message::search(self.next_id(), "", Scope::Base, 1, &filter, &["tokenGroups"]);
                Ok(Progress::Send(question))
            }
            INVALID_CREDENTIALS => {
                self.phase = Phase::Done;
                Ok(Progress::Finished(explain(&outcome.diagnostic)))
            }
            _ => Err(refused("the bind", outcome)),
        }
    }

    fn token_came(&mut self, outcome: Outcome) -> Result<Progress, Fault> {
        accepted("the search for the login's groups", outcome)?;
        let found = std::mem::take(&mut self.found);
        self.token = found.iter().flat_map(|entry| entry.values("tokengroups").iter().cloned()).collect();
        if self.token.is_empty() {
            return Err(Fault::NoToken);
        }
        self.phase = Phase::Entry;
        let account = self.name.rsplit_once('\\').map_or(self.name.as_str(), |(_, account)| account);
        let local = account.split_once('@').filter(|(_, domain)| domain.eq_ignore_ascii_case(&self.domain));
        let mut names =
            vec![Filter::Equal("sAMAccountName", local.map_or(account, |(local, _)| local).as_bytes())];
        if account.contains('@') {
            names.push(Filter::Equal("userPrincipalName", account.as_bytes()));
        }
        let filter = Filter::And(vec![Filter::Equal("objectClass", b"user"), Filter::Or(names)]);
        // A principal name may be another's account name; the SID then tells which of the two it is.
        let (limit, attributes) = (4, ["objectSid", "sAMAccountName"]);
        let question = message::search(self.id + 1, &self.base, Scope::Subtree, limit, &filter, &attributes);
        self.id += 1;
        Ok(Progress::Send(question))
    }

    fn entry_came(&mut self, outcome: Outcome) -> Result<Progress, Fault> {
        if outcome.code != SIZE_LIMIT {
            accepted("the search for the user", outcome)?;
        }
        let found = std::mem::take(&mut self.found);
        // The name alone would do for somebody of a trusted domain who has the same one.
        let own = |entry: &&Entry| entry.values("objectsid").iter().any(|sid| self.token.contains(sid));
        let account = found.iter().find(own).and_then(|entry| entry.values("samaccountname").first());
        let account = account.and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse::<UserName>().ok());
        let Some(account) = account else {
            self.phase = Phase::Done;
            let why = format!("the password is right, but there is no such user below {}", self.base);
            return Ok(Progress::Finished(DirectoryAnswer::Account(why)));
        };
        self.account = Some(account);
        if self.groups.is_empty() {
            return Ok(self.right(BTreeSet::new()));
        }
        self.phase = Phase::Groups;
        let names = self.groups.keys().map(|name| Filter::Equal(attribute(name), name.as_bytes())).collect();
        let filter = Filter::And(vec![Filter::Equal("objectClass", b"group"), Filter::Or(names)]);
        let limit = self.groups.len() as u64;
        let wanted = ["objectSid", "sAMAccountName"];
        let question = message::search(self.id + 1, &self.base, Scope::Subtree, limit, &filter, &wanted);
        self.id += 1;
        Ok(Progress::Send(question))
    }

    fn groups_came(&mut self, outcome: Outcome) -> Result<Progress, Fault> {
        accepted("the search for the groups", outcome)?;
        let found = std::mem::take(&mut self.found);
        let mine =
            found.iter().filter(|entry| entry.values("objectsid").iter().any(|sid| self.token.contains(sid)));
        let named = |entry: &Entry| -> BTreeSet<GroupName> {
            let account = entry.values("samaccountname").first().map(|name| String::from_utf8_lossy(name));
            let known_as = [Some(entry.name.to_lowercase()), account.map(|name| name.to_lowercase())];
            let same = |(name, _): &(&String, _)| known_as.contains(&Some(name.to_lowercase()));
            self.groups.iter().filter(same).flat_map(|(_, groups)| groups.iter().cloned()).collect()
        };
        let groups = mine.flat_map(named).collect();
        Ok(self.right(groups))
    }

    fn right(&mut self, groups: BTreeSet<GroupName>) -> Progress {
        self.phase = Phase::Done;
        Progress::Finished(match self.account.take() {
            Some(account) => DirectoryAnswer::Right { account, groups },
            None => DirectoryAnswer::Unavailable("the account was not found".to_owned()),
        })
    }

    fn next_id(&mut self) -> u64 {
        self.id += 1;
        self.id
    }
}

/// By which attribute a group is looked for: a distinguished name has an `=`, an account name cannot have one.
fn attribute(name: &str) -> &'static str {
    if name.contains('=') { "distinguishedName" } else { "sAMAccountName" }
}

fn accepted(what: &'static str, outcome: Outcome) -> Result<(), Fault> {
    if outcome.code == SUCCESS { Ok(()) } else { Err(refused(what, outcome)) }
}

fn refused(what: &'static str, outcome: Outcome) -> Fault {
    let Outcome { code, diagnostic } = outcome;
    Fault::Refused { what, code, diagnostic }
}

/// What Active Directory means by error 49: `… comment: AcceptSecurityContext error, data 52e, …`, a Windows error in
/// hexadecimal. The ones beyond 52e are told only after the right password, says Microsoft; the user hears of none but a
/// password that must be changed.
fn explain(diagnostic: &str) -> DirectoryAnswer {
    let data = diagnostic.split_once("data ").map(|(_, rest)| rest);
    let code = data.and_then(|rest| rest.split(|letter: char| !letter.is_ascii_hexdigit()).next());
    let account = |why: &str| DirectoryAnswer::Account(format!("{why} (data {})", code.unwrap_or("?")));
    match code.map(str::to_lowercase).as_deref() {
        Some("525") => DirectoryAnswer::Wrong("the directory has no such user (data 525)".to_owned()),
        Some("52e") => DirectoryAnswer::Wrong("the directory says so (data 52e)".to_owned()),
        Some("530") => account("not at this hour"),
        Some("531") => account("not from this computer"),
        Some("533") => account("disabled in the directory"),
        Some("701") => account("expired in the directory"),
        Some("775") => account("locked in the directory after wrong tries"),
        Some("532") => DirectoryAnswer::MustChange("expired in the directory (data 532)".to_owned()),
        Some("773") => DirectoryAnswer::MustChange("the directory wants a new one (data 773)".to_owned()),
        Some(_) | None => DirectoryAnswer::Wrong(format!("the directory says: {diagnostic}")),
    }
}
