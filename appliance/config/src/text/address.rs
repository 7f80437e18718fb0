//! Addresses, networks and ranges, and the elements of `[host]`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Malformed, Syntax, check_name, from_string};
use crate::faults::shown;
use crate::space::AddressSet;

/// One address without a prefix length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address(pub IpAddr);

impl Syntax for Address {
    const WANTED: &'static str = "an address";
    const EXAMPLES: &'static [&'static str] = &["192.168.10.253", "fd00:10::fe"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        text.parse().map(Self).map_err(|_| not_an_address(text))
    }
}

/// One address with its prefix length: `192.168.10.1/24`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AddressInNet(pub IpNet);

impl Syntax for AddressInNet {
    const WANTED: &'static str = "an address with its prefix length";
    const EXAMPLES: &'static [&'static str] = &["192.168.10.1/24", "fd00:10::1/64"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        if let Ok(address) = text.parse::<IpAddr>() {
            let example = if address.is_ipv4() { 24 } else { 64 };
            return Err(Malformed::new(format!("`{text}` lacks its prefix length"))
                .hint(format!("write `{text}/{example}`")));
        }
        text.parse().map(Self).map_err(|_| not_an_address(text))
    }
}

/// A network without host bits, or one address: `10.20.0.0/16`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Network(pub IpNet);

impl Syntax for Network {
    const WANTED: &'static str = "a network";
    const EXAMPLES: &'static [&'static str] = &["10.20.0.0/16", "fd00:20::/64"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(address.into()));
        }
        let net: IpNet = text.parse().map_err(|_| not_an_address(text))?;
        if net.trunc() != net {
            return Err(Malformed::new(format!("`{text}` has bits set outside its prefix"))
                .hint(format!("the network is `{}`", net.trunc())));
        }
        Ok(Self(net))
    }
}

/// `address` of an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) enum InterfaceAddress {
    Dhcp,
    Slaac,
    Static(IpNet),
}

impl Syntax for InterfaceAddress {
    const WANTED: &'static str = "`dhcp`, `slaac` or an address with its prefix length";
    const EXAMPLES: &'static [&'static str] = &["dhcp", "slaac", "192.168.10.1/24"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        match text {
            "dhcp" => Ok(Self::Dhcp),
            "slaac" => Ok(Self::Slaac),
            _ => AddressInNet::parse(text).map(|a| Self::Static(a.0)),
        }
    }
}

/// An address, a network or a range: what stands for hosts without any name.
pub(crate) fn literal(text: &str) -> Result<AddressSet, Malformed> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (Address::parse(first.trim())?.0, Address::parse(last.trim())?.0);
        return AddressSet::range(first, last).ok_or_else(|| {
            let fault = Malformed::new(format!("`{text}` is not a range"));
            match first.is_ipv4() == last.is_ipv4() {
                true => fault.hint(format!("the lower end comes first: `{last}-{first}`")),
                false => fault.hint("both ends must be of the same IP version"),
            }
        });
    }
    Network::parse(text).map(|n| AddressSet::network(n.0))
}

/// An element of `[host]`.
#[derive(Clone, Debug)]
pub(crate) enum HostElement {
    Fixed(AddressSet),
    Fqdn(String),
    Name(String),
}

impl Syntax for HostElement {
    const WANTED: &'static str = "an address, network, range, DNS name or a name in [host]";
    const EXAMPLES: &'static [&'static str] =
        &["192.168.10.11", "10.20.0.0/16", "192.168.10.100-192.168.10.120", "gw.partner.example", "ad"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        match shape(text) {
            Shape::Literal => literal(text).map(Self::Fixed),
            Shape::Fqdn => fqdn(text).map(Self::Fqdn),
            Shape::Name => check_name(text).map(|()| Self::Name(text.into())),
        }
    }
}

/// What a text could only be, judged by its characters. Names have neither dot nor colon, so these never mix.
pub(crate) enum Shape {
    Literal,
    Fqdn,
    Name,
}

pub(crate) fn shape(text: &str) -> Shape {
    let has = |c: char| text.contains(c);
    if has(':') || has('/') || text.parse::<IpAddr>().is_ok() {
        Shape::Literal
    } else if has('.') && text.contains(|c: char| c.is_ascii_alphabetic()) {
        Shape::Fqdn
    } else if has('.') {
        Shape::Literal
    } else {
        Shape::Name
    }
}

/// A DNS name in lower case without its final dot. RFC 1035 §2.3.4 bounds it; underscores are in use.
pub(crate) fn fqdn(text: &str) -> Result<String, Malformed> {
    const MAX_BYTES: usize = 253;
    const MAX_LABEL_BYTES: usize = 63;
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |l: &str| {
        (1..=MAX_LABEL_BYTES).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if name.len() <= MAX_BYTES && name.split('.').all(label) {
        return Ok(name.to_ascii_lowercase());
    }
    Err(Malformed::new(format!("`{}` is not a DNS name", shown(text))))
}

fn not_an_address(text: &str) -> Malformed {
    let fault = Malformed::new(format!("`{}` is not an address", shown(text)));
    let zeros = |part: &str| part.len() > 1 && part.starts_with('0') && part.parse::<u8>().is_ok();
    if text.split(['.', '/']).any(zeros) && text.contains('.') {
        return fault.hint("write the numbers without leading zeros");
    }
    if text.starts_with('[') {
        return fault.hint("IPv6 addresses stand without brackets");
    }
    fault
}

from_string!(Address, AddressInNet, Network, InterfaceAddress, HostElement);
