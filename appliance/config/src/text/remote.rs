//! What only `[vpn]` speaks of: where it listens, where clients connect to, domains, and its choices between a few words.

use std::net::IpAddr;

use super::address::{self, Shape, fqdn, shape};
use super::word::words;
use super::{Malformed, Syntax, check_name, from_string};
use crate::faults::shown;
use crate::model::VpnStrangers;

/// A zone, an interface, or an address of one.
#[derive(Clone, Debug)]
pub(crate) enum ListenText {
    Name(String),
    Address(IpAddr),
}

impl Syntax for ListenText {
    const WANTED: &'static str = "a zone, an interface or an address of one";
    const EXAMPLES: &'static [&'static str] = &["wan", "203.0.113.100"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        match shape(text) {
            Shape::Literal | Shape::Fqdn => address::Address::parse(text).map(|a| Self::Address(a.0)),
            Shape::Name => check_name(text).map(|()| Self::Name(text.into())),
        }
    }
}

/// What a client connects to: a DNS name or an address.
#[derive(Clone, Debug)]
pub(crate) struct RemoteText(pub String);

impl Syntax for RemoteText {
    const WANTED: &'static str = "a DNS name or an address";
    const EXAMPLES: &'static [&'static str] = &["vpn.datatel.example", "203.0.113.100"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        match shape(text) {
            Shape::Literal => address::Address::parse(text).map(|a| Self(a.0.to_string())),
            Shape::Fqdn => fqdn(text).map(Self),
            Shape::Name => Err(Malformed::new(format!("`{}` is not a whole DNS name", shown(text)))
                .hint("clients know no domain yet: write all of it, such as `vpn.datatel.example`")),
        }
    }
}

/// A DNS domain.
#[derive(Clone, Debug)]
pub(crate) struct DomainText(pub String);

impl Syntax for DomainText {
    const WANTED: &'static str = "a DNS domain";
    const EXAMPLES: &'static [&'static str] = &["datatel.example"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        match text.parse::<IpAddr>() {
            Ok(_) => Err(Malformed::new(format!("`{}` is an address, not a domain", shown(text)))),
            Err(_) => fqdn(text).map(Self),
        }
    }
}

from_string!(ListenText, RemoteText, DomainText);

/// What a login may demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum DemandWord {
    Certificate,
    Password,
    Code,
}

/// What goes into the tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TunnelWord {
    Full,
    Split,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TlsWord {
    V12,
    V13,
}

/// Who carries the packets of sessions, beside the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum OffloadWord {
    None,
    Kernel,
}

words! {
    DemandWord, "a proof":
        "certificate" => DemandWord::Certificate, "password" => DemandWord::Password, "code" => DemandWord::Code;
    TunnelWord, "a kind of tunnel":
        "full" => TunnelWord::Full, "split" => TunnelWord::Split;
    TlsWord, "a version of TLS":
        "1.2" => TlsWord::V12, "1.3" => TlsWord::V13;
    OffloadWord, "an offload":
        "none" => OffloadWord::None, "kernel" => OffloadWord::Kernel;
    VpnStrangers, "somebody to ask":
        "directory" => VpnStrangers::Directory, "radius" => VpnStrangers::Radius;
}
