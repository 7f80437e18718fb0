//! A service as written: `tcp/80`, `icmp/echo-request`, `proto/50`, or a name.

use super::{Malformed, Syntax, check_name, from_string};
use crate::faults::shown;
use crate::model::{ICMP, ICMP6, ServiceAtom};
use crate::space::{Interval, Scalar, Set};

/// An element of `[service]` or of `allow` before its name is resolved.
#[derive(Clone, Debug)]
pub(crate) struct ServiceText {
    pub text: String,
    pub meaning: Meaning,
}

/// A service of its own, or the name of one.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    Atom(ServiceAtom),
    Name(String),
}

/// The protocols with ports, and their IANA numbers.
const PROTOCOLS: [(&str, u8); 5] = [("tcp", 6), ("udp", 17), ("dccp", 33), ("sctp", 132), ("udplite", 136)];

/// Words that a service cannot be called by, because they are services or begin one.
pub(crate) const RESERVED: [&str; 9] =
    ["any", "tcp", "udp", "dccp", "sctp", "udplite", "icmp", "icmp6", "proto"];

impl Syntax for ServiceText {
    const WANTED: &'static str = "a service such as `https`, `tcp/443` or `icmp/echo-request`";
    const EXAMPLES: &'static [&'static str] =
        &["https", "tcp/443", "udp/10000-20000", "icmp/echo-request", "icmp6/128", "proto/50", "any"];

    fn parse(text: &str) -> Result<Self, Malformed> {
        Meaning::parse(text).map(|meaning| Self { text: text.into(), meaning })
    }
}

impl Meaning {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let (word, rest) = match text.split_once('/') {
            Some((word, rest)) => (word, Some(rest)),
            None => (text, None),
        };
        if let Some((_, protocol)) = PROTOCOLS.iter().find(|(name, _)| *name == word) {
            let ports = rest.map_or(Ok(Set::all()), |r| numbers::<u16>(r, text, "port", |_| None))?;
            return Ok(Self::Atom(ServiceAtom::Ports { protocol: *protocol, ports }));
        }
        let types = |names: &'static [(&'static str, u8)]| {
            let by_name = move |n: &str| names.iter().find(|(name, _)| *name == n).map(|(_, t)| *t);
            rest.map_or(Ok(Set::all()), |r| numbers::<u8>(r, text, "message type", by_name))
        };
        match (word, rest) {
            ("any", None) => Ok(Self::Atom(ServiceAtom::Any)),
            ("icmp", _) => types(&ICMP_TYPES).map(|t| Self::Atom(ServiceAtom::Icmp(t))),
            ("icmp6", _) => types(&ICMP6_TYPES).map(|t| Self::Atom(ServiceAtom::Icmp6(t))),
            ("proto", Some(number)) => protocol(number, text).map(Self::Atom),
            (_, None) => check_name(text).map(|()| Self::Name(text.into())),
            _ => Err(Malformed::new(format!("`{}` is not a service", shown(text)))
                .hint("tcp/80, udp/5000-5100, sctp/…, icmp/echo-request, icmp6/…, proto/50, or a name")),
        }
    }
}

/// `proto/6` is all of TCP: a protocol is always the same atom, however it is written.
fn protocol(number: &str, text: &str) -> Result<ServiceAtom, Malformed> {
    let number: u8 = number.parse().map_err(|_| {
        Malformed::new(format!("`{}` is not a protocol", shown(text))).hint("a number from 0 to 255")
    })?;
    Ok(match number {
        ICMP => ServiceAtom::Icmp(Set::all()),
        ICMP6 => ServiceAtom::Icmp6(Set::all()),
        _ if crate::model::PORT_PROTOCOLS.contains(&number) => {
            ServiceAtom::Ports { protocol: number, ports: Set::all() }
        }
        _ => ServiceAtom::Protocol(number),
    })
}

/// `80`, `1000-2000`, or what `by_name` knows.
fn numbers<T: Scalar + std::str::FromStr>(
    text: &str,
    whole: &str,
    what: &str,
    by_name: impl Fn(&str) -> Option<T>,
) -> Result<Set<T>, Malformed> {
    if let Some(value) = by_name(text) {
        return Ok(Set::one(value));
    }
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse().ok()).flatten();
    let fault = || Malformed::new(format!("`{}` has no valid {what}", shown(whole)));
    let (lo, hi) = text.split_once('-').unwrap_or((text, text));
    let (Some(lo), Some(hi)) = (digits(lo), digits(hi)) else {
        return Err(fault().hint(format!("a number from {:?} to {:?}, or a range", T::MIN, T::MAX)));
    };
    match Interval::new(lo, hi) {
        Some(interval) => Ok([interval].into_iter().collect()),
        None => Err(fault().hint(format!("the lower end comes first: {hi:?}-{lo:?}"))),
    }
}

/// ICMP message types by the names that nft and iptables use (IANA `icmp-parameters`).
const ICMP_TYPES: [(&str, u8); 13] = [
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

/// ICMPv6 message types (IANA `icmpv6-parameters`).
const ICMP6_TYPES: [(&str, u8); 14] = [
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("router-solicitation", 133),
    ("router-advertisement", 134),
    ("neighbour-solicitation", 135),
    ("neighbour-advertisement", 136),
    ("redirect", 137),
];

from_string!(ServiceText);
