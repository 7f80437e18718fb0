//! The options that a client is given, from types to text. Whoever fills the types in cannot write an option of his own.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use zeroize::Zeroizing;

use super::MAX_MESSAGE;
use crate::key_exchange::{Derivation, Features};

/// Routes of each family: 2.x takes more, but each is a call to the client's system.
pub const MAX_ROUTES: usize = 200;
const MAX_DOMAINS: usize = 32;
const MAX_SERVERS: usize = 8;
const BEGIN: &str = "PUSH_REPLY";
/// More is to come, and: this was the last (draft "PUSH_REPLY"; study §2.5).
const CONTINUED: &str = ",push-continuation 2";
const LAST: &str = ",push-continuation 1";

/// A DNS domain that can stand in an option.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Domain(String);

/// What is no domain.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no DNS domain")]
pub struct InvalidDomain(String);

impl Domain {
    /// Letters, digits, hyphens and underscores between dots (RFC 1035 §2.3.1, and what Active Directory adds).
    pub fn new(name: &str) -> Result<Self, InvalidDomain> {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() <= 253 && name.split('.').all(label) {
            return Ok(Self(name.to_owned()));
        }
        Err(InvalidDomain(name.chars().take(64).collect()))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The client's IPv4 address in the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address4 {
    /// Its own.
    pub address: Ipv4Addr,
    /// Of the tunnel's network.
    pub prefix: u8,
    /// Ours in the tunnel.
    pub gateway: Ipv4Addr,
}

/// The client's IPv6 address in the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address6 {
    /// Its own.
    pub address: Ipv6Addr,
    /// Of the tunnel's network.
    pub prefix: u8,
    /// Ours in the tunnel.
    pub gateway: Ipv6Addr,
}

/// A network behind the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route4(
    /// Its address.
    pub Ipv4Addr,
    /// The length of its prefix.
    pub u8,
);

/// A network behind the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Route6(
    /// Its address.
    pub Ipv6Addr,
    /// The length of its prefix.
    pub u8,
);

/// What of the client's own traffic goes into the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Redirect {
    /// Only what routes say: split tunnel.
    #[default]
    Routes,
    /// Everything, IPv6 too.
    Everything,
}

/// What the driver decides for a client. What follows from the protocol is in [`Grant`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PushOptions {
    /// Its IPv4 address.
    pub address4: Option<Address4>,
    /// Its IPv6 address.
    pub address6: Option<Address6>,
    /// Networks behind the tunnel.
    pub routes4: Vec<Route4>,
    /// Networks behind the tunnel.
    pub routes6: Vec<Route6>,
    /// Whether everything goes into the tunnel.
    pub redirect: Redirect,
    /// Resolvers.
    pub dns4: Vec<Ipv4Addr>,
    /// Resolvers.
    pub dns6: Vec<Ipv6Addr>,
    /// The domain of the connection.
    pub domain: Option<Domain>,
    /// Domains that are searched.
    pub search: Vec<Domain>,
    /// Windows must ask no other resolver.
    pub block_outside_dns: bool,
    /// The client pings after so many seconds without a packet of its own.
    pub ping_s: u16,
    /// It starts over after so many seconds without a packet of ours.
    pub ping_restart_s: u16,
    /// Only for clients that can change it.
    pub tun_mtu: Option<u16>,
    /// It ends after so many seconds without traffic.
    pub inactive_s: Option<u32>,
    /// It ends after so many seconds.
    pub session_timeout_s: Option<u32>,
}

/// What the session adds.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant<'a> {
    /// Which of the server's data channels is the client's.
    pub peer_id: u32,
    /// What the client understands.
    pub features: Features,
    /// Renegotiations get a wrapping key of their own.
    pub dynamic_wrapping: bool,
    /// It came by TCP.
    pub tcp: bool,
    /// What it shows instead of a password from now on.
    pub token: Option<&'a str>,
}

/// Why options cannot be sent.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// Too many of one kind.
    #[error("{count} {what} are too many: {most} at most")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A prefix longer than an address.
    #[error("/{0} is no prefix of an address")]
    Prefix(u8),
}

impl PushOptions {
    /// The messages, each with its NUL and at most [`MAX_MESSAGE`] long.
    pub fn messages(&self, grant: &Grant<'_>) -> Result<Vec<Zeroizing<Vec<u8>>>, PushError> {
        self.check()?;
        let mut options: Vec<Zeroizing<String>> = self.options().into_iter().map(Zeroizing::new).collect();
        options.extend(grant.options().into_iter().map(Zeroizing::new));
        if let (Some(mtu), Some(most)) = (self.tun_mtu, grant.features.mtu) {
            options.push(Zeroizing::new(format!("tun-mtu {}", mtu.min(most))));
        }
        Ok(pack(&options))
    }

    /// Whether the messages can be made at all.
    pub fn check(&self) -> Result<(), PushError> {
        for (what, count, most) in [
            ("IPv4 routes", self.routes4.len(), MAX_ROUTES),
            ("IPv6 routes", self.routes6.len(), MAX_ROUTES),
            ("search domains", self.search.len(), MAX_DOMAINS),
            ("resolvers", self.dns4.len() + self.dns6.len(), MAX_SERVERS),
        ] {
            if count > most {
                return Err(PushError::TooMany { what, count, most });
            }
        }
        let four =
            self.routes4.iter().map(|route| route.1).chain(self.address4.map(|address| address.prefix));
        let six = self.routes6.iter().map(|route| route.1).chain(self.address6.map(|address| address.prefix));
        let wrong = four.filter(|prefix| *prefix > 32).chain(six.filter(|prefix| *prefix > 128)).next();
        wrong.map_or(Ok(()), |prefix| Err(PushError::Prefix(prefix)))
    }

    fn options(&self) -> Vec<String> {
        let mut options = vec!["topology subnet".to_owned()];
        if let Some(Address4 { address, prefix, gateway }) = self.address4 {
            options.push(format!("ifconfig {address} {}", netmask(prefix)));
            options.push(format!("route-gateway {gateway}"));
        }
        if let Some(Address6 { address, prefix, gateway }) = self.address6 {
            options.push(format!("ifconfig-ipv6 {address}/{prefix} {gateway}"));
        }
        match (self.redirect, self.address6) {
            (Redirect::Everything, Some(_)) => options.push("redirect-gateway def1 ipv6".to_owned()),
            // Without an address of the tunnel IPv6 would go around it.
            (Redirect::Everything, None) => {
                options.extend(["redirect-gateway def1", "block-ipv6"].map(str::to_owned))
            }
            (Redirect::Routes, _) => {}
        }
        options.extend(
            self.routes4
                .iter()
                .map(|Route4(network, prefix)| format!("route {network} {}", netmask(*prefix))),
        );
        options.extend(
            self.routes6.iter().map(|Route6(network, prefix)| format!("route-ipv6 {network}/{prefix}")),
        );
        options.extend(self.dns4.iter().map(|server| format!("dhcp-option DNS {server}")));
        options.extend(self.dns6.iter().map(|server| format!("dhcp-option DNS6 {server}")));
        options.extend(self.domain.iter().map(|domain| format!("dhcp-option DOMAIN {domain}")));
        options.extend(self.search.iter().map(|domain| format!("dhcp-option DOMAIN-SEARCH {domain}")));
        if self.block_outside_dns {
            options.push("block-outside-dns".to_owned());
        }
        if self.ping_s != 0 {
            options.push(format!("ping {}", self.ping_s));
        }
        if self.ping_restart_s != 0 {
            options.push(format!("ping-restart {}", self.ping_restart_s));
        }
        options.extend(self.inactive_s.map(|seconds| format!("inactive {seconds}")));
        options.extend(self.session_timeout_s.map(|seconds| format!("session-timeout {seconds}")));
        options
    }
}

impl Grant<'_> {
    fn options(&self) -> Vec<String> {
        let mut options = vec![format!("peer-id {}", self.peer_id), "cipher AES-256-GCM".to_owned()];
        let exporter = self.features.derivation == Derivation::Exporter;
        if self.features.exit_message {
            let mut flags = "protocol-flags cc-exit".to_owned();
            if exporter {
                flags.push_str(" tls-ekm");
            }
            if self.dynamic_wrapping {
                flags.push_str(" dyn-tls-crypt");
            }
            options.push(flags);
        } else if exporter {
            options.push("key-derivation tls-ekm".to_owned());
        }
        // Through the control channel where the client can, in the data channel where it cannot. On TCP the end of the
        // connection says it, and 2.6 refuses the option.
        if !self.tcp {
            options.push("explicit-exit-notify 1".to_owned());
        }
        options.extend(self.token.map(|token| format!("auth-token {token}")));
        options
    }
}

fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0))
}

/// Fills messages in order. No option is longer than a message by far.
fn pack(options: &[Zeroizing<String>]) -> Vec<Zeroizing<Vec<u8>>> {
    let room = MAX_MESSAGE - 1 - CONTINUED.len();
    let mut messages = vec![Zeroizing::new(BEGIN.to_owned())];
    for option in options {
        let full = messages.last().is_some_and(|message| message.len() + 1 + option.len() > room);
        if full {
            messages.push(Zeroizing::new(BEGIN.to_owned()));
        }
        if let Some(message) = messages.last_mut() {
            message.push(',');
            message.push_str(option);
        }
    }
    let last = messages.len() - 1;
    let ends = (0..).map(|place| match (last, place) {
        (0, _) => "",
        (last, place) if place == last => LAST,
        (_, _) => CONTINUED,
    });
    messages
        .into_iter()
        .zip(ends)
        .map(|(message, end)| Zeroizing::new([message.as_bytes(), end.as_bytes(), &[0]].concat()))
        .collect()
}
