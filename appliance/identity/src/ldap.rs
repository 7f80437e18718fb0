//! Active Directory: is this password right, and in which groups is its owner?
//!
//! ```text
//!   controller                    us
//!      │ ◀── TLS at once, or StartTLS ── │   certificate: the configured authority, the controller's name
//!      │ ◀── bind as the user ────────── │   simple bind, RFC 4513 §5.1.3
//!      │ ◀── rootDSE: tokenGroups ────── │   the SIDs of this very login: nested groups, primary group, all of them
//!      │ ◀── the user's entry ────────── │   its SID must be among them
//!      │ ◀── SIDs of the VPN's groups ── │   which of them are among them?
//! ```
//!
//! There is no service account: the user's own bind answers everything. Filters are built as BER, never as text, so nothing
//! that a user types can change their meaning (RFC 4515 §3 has nothing to escape here). Written for what is needed instead of
//! taking `ldap3`, whose tree is a hundred packages and whose reader has no bounds.
//!
//! [`Conversation`] is pure; [`Directory`] is the thin layer with sockets. It blocks, for [`Config::patience`] at most: the
//! driver gives it a thread.

mod connection;
mod conversation;
mod message;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

pub use conversation::{Conversation, Fault, Progress};

use crate::demand::DirectoryAnswer;
use crate::names::GroupName;
use crate::secret::Secret;

/// Controllers of one domain.
const MAX_CONTROLLERS: usize = 8;
/// Groups that are asked about.
const MAX_GROUPS: usize = 64;
/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_secs(2);

/// How the connection is protected. There is no third way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// TLS from the first byte, port 636.
    Ldaps,
    /// TLS after one message, port 389 (RFC 4511 §4.14).
    StartTls,
}

/// A domain controller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Controller {
    /// The name that its certificate must have.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub protection: Protection,
}

/// A domain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Asked in this order; the one that answered last is asked first.
    pub controllers: Vec<Controller>,
    /// The authorities that a controller's certificate may come from, in DER.
    pub authorities: Vec<Vec<u8>>,
    /// The domain's DNS name, `corp.example`: what is put behind a bare account name.
    pub domain: String,
    /// Below which people are looked for, `DC=corp,DC=example`.
    pub base: String,
    /// Which group of the directory, by its distinguished name or by its account name (`sAMAccountName`, which is unique in a
    /// domain as a common name is not), stands for which groups of the VPN.
    pub groups: BTreeMap<String, BTreeSet<GroupName>>,
    /// How long one question may take, all controllers together.
    pub patience: Duration,
}

/// Why a domain cannot be asked at all.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum BadConfig {
    /// None, or too many.
    #[error("a domain has 1 to {MAX_CONTROLLERS} controllers and {MAX_GROUPS} groups at most")]
    Count,
    /// A controller's name is none.
    #[error("`{0}` is no host name or address")]
    Name(String),
    /// No authority, or one that does not read.
    #[error("the authority of the controllers' certificates is missing or does not read: {0}")]
    Authority(String),
}

/// A domain that can be asked.
pub struct Directory {
    config: Config,
    names: Vec<ServerName<'static>>,
    tls: Arc<ClientConfig>,
    first: AtomicUsize,
}

impl Directory {
    /// From its configuration.
    pub fn new(config: Config) -> Result<Self, BadConfig> {
        let count = config.controllers.len();
        if count == 0 || count > MAX_CONTROLLERS || config.groups.len() > MAX_GROUPS {
            return Err(BadConfig::Count);
        }
        let name = |controller: &Controller| {
            ServerName::try_from(controller.name.clone())
                .map_err(|_| BadConfig::Name(controller.name.clone()))
        };
        let names = config.controllers.iter().map(name).collect::<Result<_, _>>()?;
        let mut roots = RootCertStore::empty();
        for authority in &config.authorities {
            let authority = CertificateDer::from(authority.clone());
            roots.add(authority).map_err(|error| BadConfig::Authority(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(BadConfig::Authority("none is configured".to_owned()));
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| BadConfig::Authority(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config, names, tls: Arc::new(tls), first: AtomicUsize::new(0) })
    }

    /// Asks one controller after the other until one answers. Blocks.
    pub fn ask(&self, name: &str, password: &Secret) -> DirectoryAnswer {
        let end = Instant::now() + self.config.patience;
        let count = self.config.controllers.len();
        let first = self.first.load(Ordering::Relaxed);
        let mut silent = Vec::new();
        for (step, place) in (0..count).map(|step| (step, (first + step) % count)) {
            let (Some(controller), Some(server)) =
                (self.config.controllers.get(place), self.names.get(place))
            else {
                continue;
            };
            let conversation = Conversation::new(&self.config, controller.protection, name, password.clone());
            // One that accepts and says nothing leaves its share of the time to each that follows.
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(count - step).unwrap_or(1);
            let (connect, until) = (CONNECT.min(share), Instant::now() + share);
            match connection::talk(
                conversation,
                controller.address,
                server.clone(),
                &self.tls,
                connect,
                until,
            ) {
                Ok(answer) => {
                    self.first.store(place, Ordering::Relaxed);
                    return answer;
                }
                Err(fault) => silent.push(format!("{}: {fault}", controller.name)),
            }
        }
        DirectoryAnswer::Unavailable(silent.join("; "))
    }
}
