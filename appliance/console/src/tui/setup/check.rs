//! Owns whether what was typed can be, field by field: a word for the person before a daemon is asked.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Field, Role, Setup, Way};
use crate::lang::Lang;
use crate::tr;

/// Longest name of a box in the document.
const NAME_MAX: usize = 63;

/// What is wrong with a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing stands there.
    Empty,
    /// The two passwords differ.
    Differs,
    /// It is no name.
    NotName,
    /// Both boxes have it.
    SameName,
    /// It is neither 1 nor 2.
    NotPlace,
    /// It is no address with its prefix length.
    NotAddress,
    /// It is no address.
    NotGateway,
    /// It is the address of a network, or its broadcast.
    NotHost,
    /// It is in another network than this box's own address.
    OtherNetwork,
    /// It stands somewhere else, too.
    Twice,
    /// Its network is that of another port, or a part of it.
    Overlaps,
    /// No port is for the Internet.
    NoWan,
    /// No port is for the LAN.
    NoLan,
    /// No port is for the cable between the boxes.
    NoSync,
    /// A port is for the cable to the other box, and there is none.
    IdleSync,
    /// What a daemon said.
    Said(String),
}

impl Fault {
    /// For the person.
    pub fn text(&self, lang: Lang) -> String {
        match self {
            Self::Empty => tr!(lang, "setup-fault-empty"),
            Self::Differs => tr!(lang, "setup-fault-differs"),
            Self::NotName => tr!(lang, "setup-fault-name"),
            Self::SameName => tr!(lang, "setup-fault-same-name"),
            Self::NotPlace => tr!(lang, "setup-fault-place"),
            Self::NotAddress => tr!(lang, "setup-fault-address"),
            Self::NotGateway => tr!(lang, "setup-fault-gateway"),
            Self::NotHost => tr!(lang, "setup-fault-host"),
            Self::OtherNetwork => tr!(lang, "setup-fault-network"),
            Self::Twice => tr!(lang, "setup-fault-twice"),
            Self::Overlaps => tr!(lang, "setup-fault-overlaps"),
            Self::NoWan => tr!(lang, "setup-fault-no-wan"),
            Self::NoLan => tr!(lang, "setup-fault-no-lan"),
            Self::NoSync => tr!(lang, "setup-fault-no-sync"),
            Self::IdleSync => tr!(lang, "setup-fault-idle-sync"),
            Self::Said(text) => tr!(lang, "setup-fault-said", text = text.as_str()),
        }
    }
}

/// What is wrong with the ports.
pub fn ports(setup: &Setup) -> Option<Fault> {
    let has = |role| setup.device(role).is_some();
    match setup.way {
        Way::Join => (!has(Role::Sync)).then_some(Fault::NoSync),
        Way::New if !has(Role::Wan) => Some(Fault::NoWan),
        Way::New if !has(Role::Lan) => Some(Fault::NoLan),
        Way::New if setup.is_pair() && !has(Role::Sync) => Some(Fault::NoSync),
        Way::New if !setup.is_pair() && has(Role::Sync) => Some(Fault::IdleSync),
        Way::New => None,
    }
}

/// What is wrong with a field of the page.
pub fn field(setup: &Setup, field: Field) -> Option<Fault> {
    let text = setup.text(field);
    match field {
        Field::Password if setup.inputs.get(&field).is_none_or(|input| input.text.is_empty()) => {
            Some(Fault::Empty)
        }
        Field::Password | Field::Ports => None,
        Field::Again => {
            (setup.inputs.get(&field) != setup.inputs.get(&Field::Password)).then_some(Fault::Differs)
        }
        Field::Name if !is_name(text) => Some(Fault::NotName),
        Field::Other if text.is_empty() => None,
        Field::Other if !is_name(text) => Some(Fault::NotName),
        Field::Other if text.eq_ignore_ascii_case(setup.text(Field::Name)) => Some(Fault::SameName),
        Field::Name | Field::Other => None,
        Field::Place => (!matches!(text, "1" | "2")).then_some(Fault::NotPlace),
        Field::Code => text.is_empty().then_some(Fault::Empty),
        Field::Wan if text.eq_ignore_ascii_case("dhcp") => None,
        Field::Gateway => gateway(setup, text),
        Field::Wan
        | Field::WanOther
        | Field::WanShared
        | Field::Lan
        | Field::LanOther
        | Field::LanShared
        | Field::Dmz
        | Field::DmzOther
        | Field::DmzShared => address(setup, field, text),
    }
}

fn is_name(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    first && text.len() <= NAME_MAX && text.bytes().all(inside)
}

/// The field of the box's own address on the same port.
fn own(field: Field) -> Field {
    match field {
        Field::WanOther | Field::WanShared | Field::Gateway => Field::Wan,
        Field::LanOther | Field::LanShared => Field::Lan,
        Field::DmzOther | Field::DmzShared => Field::Dmz,
        other => other,
    }
}

fn net(setup: &Setup, field: Field) -> Option<IpNet> {
    // A prefix length left out would be one of /32: nobody's neighbour.
    setup.text(field).parse().ok()
}

fn address(setup: &Setup, field: Field, text: &str) -> Option<Fault> {
    let Ok(address) = text.parse::<IpNet>() else { return Some(Fault::NotAddress) };
    let (first, last) = (address.network(), address.broadcast());
    // Both ends of a /31 are hosts (RFC 3021).
    let wide = address.max_prefix_len() - address.prefix_len() > 1;
    if wide && (address.addr() == first || (address.addr() == last && first.is_ipv4())) {
        return Some(Fault::NotHost);
    }
    let own_field = own(field);
    if own_field != field && net(setup, own_field).is_some_and(|own| own.trunc() != address.trunc()) {
        return Some(Fault::OtherNetwork);
    }
    let shown = setup.fields();
    for other in shown.into_iter().filter(|other| *other != field && *other != Field::Gateway) {
        let Some(there) = net(setup, other) else { continue };
        if there.addr() == address.addr() {
            return Some(Fault::Twice);
        }
        let overlaps = there.contains(&address.trunc()) || address.contains(&there.trunc());
        if own(other) != own_field && overlaps {
            return Some(Fault::Overlaps);
        }
    }
    None
}

fn gateway(setup: &Setup, text: &str) -> Option<Fault> {
    let Ok(address) = text.parse::<IpAddr>() else { return Some(Fault::NotGateway) };
    let own = net(setup, Field::Wan)?;
    if !own.contains(&address) {
        return Some(Fault::OtherNetwork);
    }
    let taken = [Field::Wan, Field::WanOther, Field::WanShared];
    let shown = setup.fields();
    let is =
        |field: &&Field| shown.contains(field) && net(setup, **field).is_some_and(|n| n.addr() == address);
    taken.iter().find(is).map(|_| Fault::Twice)
}
