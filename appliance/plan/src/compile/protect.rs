//! What protects before any flow is asked: spoofed sources, addresses that nobody can have, block lists,
//! SYN floods.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use rempart_config::Model;
use rempart_config::model::{Device, Zone, ZoneName};
use rempart_config::space::{AddressSet, Family};

use super::{LOG_GROUP, any_of, device_set};
use crate::nft::{Chain, Content, Map, Origin, Ruleset};
use crate::world::Leg;
use crate::{Facts, World};

/// Most source addresses that one limit follows at once. When the set is full, further sources pass
/// unlimited rather than being refused.
pub const MAX_SOURCES: u32 = 65_535;

/// Least time between log entries of one protection, as a rate.
const LOG_LIMIT: &str = "limit rate 20/second burst 50 packets";

/// Networks for private use: RFC 1918, RFC 6598 (shared), RFC 4193 (ULA).
const PRIVATE: &[&str] = &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// Networks that no packet can come from (RFC 6890 and its registry). The documentation prefixes of RFC 5737
/// and RFC 3849 are left out: nobody announces them, and laboratories, ours too, are built with them.
const BOGONS: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "224.0.0.0/3",
    "::/96",
    "::ffff:0:0/96",
    "100::/64",
    "2001:2::/48",
    "2001:10::/28",
    "fec0::/10",
    "ff00::/8",
];

/// The sources that `zone` does not let in, its interfaces' own networks excepted.
pub fn impossible_sources(zone: &Zone, own: &[IpNet]) -> AddressSet {
    let listed = |list: &[&str]| {
        let nets: Vec<_> =
            list.iter().filter_map(|n| n.parse().ok()).map(|n: IpNet| AddressSet::network(n)).collect();
        AddressSet::union_of(&nets)
    };
    let mut set = AddressSet::default();
    if zone.block_private {
        set = set.union(&listed(PRIVATE));
    }
    if zone.block_bogons {
        set = set.union(&listed(BOGONS));
    }
    let own: Vec<_> = own.iter().map(|n| AddressSet::network(*n)).collect();
    set.subtract(&AddressSet::union_of(&own))
}

pub fn write(rs: &mut Ruleset, model: &Model, world: &World, facts: &Facts) {
    write_arrival(rs, model, world);
    let mut shields = BTreeMap::new();
    let mut shields_out = BTreeMap::new();
    for (name, zone) in model.zones.iter().filter(|(n, _)| !n.is_firewall()) {
        let devices: Vec<&str> =
            world.legs_in(name).flat_map(|(_, l)| l.devices().map(Device::as_str)).collect();
        for (map, chain) in [
            (&mut shields, write_shield(rs, model, world, facts, name, zone)),
            (&mut shields_out, write_shield_out(rs, model, facts, name)),
        ] {
            let Some(chain) = chain else { continue };
            let jump = (format!("jump {chain}"), Origin::Frame);
            map.extend(devices.iter().map(|d| (format!("\"{d}\""), jump.clone())));
        }
    }
    for (name, elements) in [("shields", shields), ("shields.out", shields_out)] {
        if elements.is_empty() {
            continue;
        }
        let content = Content::Index(elements);
        rs.maps.insert(name.into(), Map { kind: "ifname : verdict".into(), options: String::new(), content });
    }
    for (name, list) in &model.blocklists {
        let addresses = facts.blocklists.get(name).cloned().unwrap_or_default();
        for (family, kind) in [(Family::V4, "ipv4_addr"), (Family::V6, "ipv6_addr")] {
            let content = Content::Addresses(Arc::clone(&addresses), family);
            let map = Map { kind: kind.into(), options: "flags interval;".into(), content };
            rs.maps.insert(block_set(name.as_str(), family), map);
        }
        let log = list.log.then(|| format!("block {name} drop"));
        write_drop(rs, &format!("blocked.{name}"), &format!("b.{name}"), log.as_deref());
    }
}

/// Refuses sources that are not routed back through the interface they came by (RFC 3704 §2.2, strict).
fn write_arrival(rs: &mut Ruleset, model: &Model, world: &World) {
    let guarded = world.legs.iter().filter(|l| {
        let zone = l.zone.as_ref().and_then(|z| model.zones.get(z));
        zone.is_some_and(|z| z.anti_spoof)
    });
    let (double, guarded): (Vec<&Leg>, Vec<&Leg>) = guarded.partition(|l| l.beside.is_some());
    if let Some(devices) = device_set(guarded.iter().map(|l| l.device.as_str())) {
        let chain = rs.chains.entry("arrival".into()).or_default();
        chain.base = Some("type filter hook prerouting priority -300; policy accept;".into());
        // A host without an address yet asks for one from 0.0.0.0 (RFC 2131 §4.1) or :: (RFC 4861 §7.2.2).
        chain.rule("ip saddr 0.0.0.0 udp dport 67 accept");
        chain.rule("ip6 saddr :: meta l4proto icmpv6 accept");
        // A server answers before the address that it gives, and with it the way back, is there.
        let dhcp = world.legs.iter().filter(|l| model.interfaces.get(&l.interface).is_some_and(|i| i.dhcp));
        if let Some(devices) = device_set(dhcp.map(|l| l.device.as_str())) {
            chain.rule(format!("iifname {devices} udp sport 67 udp dport 68 accept"));
        }
        chain.rule(format!("iifname {devices} fib saddr . iif oif 0 goto spoofed"));
    }
    // The way back may lead to either.
    for leg in double {
        let devices = any_of(leg.ways_out());
        let chain = rs.chains.entry("arrival".into()).or_default();
        chain.rule(format!("iifname {devices} fib saddr oifname != {devices} goto spoofed"));
    }
    write_virtual_arrival(rs, model, world);
    write_drop(rs, "spoofed", "p.spoof", Some("anti-spoof drop"));
}

/// The same for what is sent to a virtual MAC: it arrives by the device of the virtual router, and the way back is by
/// the device below. What is sent to everybody arrives by both, and once is enough; but neighbour discovery and
/// multicast membership speak of the addresses of the device by which they arrive.
fn write_virtual_arrival(rs: &mut Ruleset, model: &Model, world: &World) {
    let mut devices = BTreeMap::new();
    for leg in world.legs.iter().filter(|l| !l.virtual_devices.is_empty()) {
        let name = format!("arrival.{}", leg.interface);
        let mut chain = Chain::default();
        chain.rule("meta pkttype { broadcast, multicast } meta l4proto != icmpv6 drop");
        if leg.zone.as_ref().and_then(|z| model.zones.get(z)).is_some_and(|z| z.anti_spoof) {
            // The link tells where these are, and no route.
            chain.rule("ip6 saddr fe80::/10 return");
            chain.rule(format!("fib saddr oifname != \"{}\" goto spoofed", leg.device));
        }
        rs.chains.insert(name.clone(), chain);
        let jump = (format!("jump {name}"), Origin::Frame);
        devices.extend(leg.virtual_devices.iter().map(|d| (format!("\"{d}\""), jump.clone())));
    }
    if devices.is_empty() {
        return;
    }
    let content = Content::Index(devices);
    let map = Map { kind: "ifname : verdict".into(), options: String::new(), content };
    rs.maps.insert("arrival.virtual".into(), map);
    rs.chains.entry("arrival".into()).or_default().rule("iifname vmap @arrival.virtual");
}

fn write_shield(
    rs: &mut Ruleset,
    model: &Model,
    world: &World,
    facts: &Facts,
    name: &ZoneName,
    zone: &Zone,
) -> Option<String> {
    let own: Vec<IpNet> = world.legs_in(name).flat_map(|(_, l)| l.addresses.iter().copied()).collect();
    let impossible = Arc::new(impossible_sources(zone, &own));
    let mut chain = Chain::default();
    for (family, kind, source) in
        [(Family::V4, "ipv4_addr", "ip saddr"), (Family::V6, "ipv6_addr", "ip6 saddr")]
    {
        let digit = digit(family);
        if impossible.has(family) {
            let set = format!("bogons.{name}.{digit}");
            let content = Content::Addresses(Arc::clone(&impossible), family);
            let map = Map { kind: kind.into(), options: "flags interval;".into(), content };
            rs.maps.insert(set.clone(), map);
            chain.rule(format!("{source} @{set} goto bogon"));
        }
        for list in model.blocklists.iter().filter(|(_, l)| l.zones.contains(name)).map(|(n, _)| n) {
            if facts.blocklists.contains_key(list) {
                chain.rule(format!("{source} @{} goto blocked.{list}", block_set(list.as_str(), family)));
            }
        }
        if let Some(rate) = &zone.syn_limit {
            // The limit stands in the set's name: an element keeps the limit that it was made with.
            let set = format!("syn.{name}.{}.{}.{}.{digit}", rate.count, rate.unit.as_str(), rate.burst);
            let options = format!("flags dynamic,timeout; timeout 1m; size {MAX_SOURCES};");
            rs.maps.insert(set.clone(), Map { kind: kind.into(), options, content: Content::Dynamic });
            chain.rule(format!(
                "tcp flags & (fin|syn|rst|ack) == syn update @{set} {{ {source} limit rate over {rate} burst {} \
                 packets }} goto flood",
                rate.burst
            ));
        }
    }
    write_drop(rs, "bogon", "p.bogon", Some("bogon drop"));
    write_drop(rs, "flood", "p.syn", Some("syn-flood drop"));
    insert(rs, format!("shield.{name}"), chain)
}

fn write_shield_out(rs: &mut Ruleset, model: &Model, facts: &Facts, name: &ZoneName) -> Option<String> {
    let mut chain = Chain::default();
    for list in model.blocklists.iter().filter(|(_, l)| l.zones.contains(name)).map(|(n, _)| n) {
        if facts.blocklists.contains_key(list) {
            for (family, destination) in [(Family::V4, "ip daddr"), (Family::V6, "ip6 daddr")] {
                chain
                    .rule(format!("{destination} @{} goto blocked.{list}", block_set(list.as_str(), family)));
            }
        }
    }
    insert(rs, format!("shield.out.{name}"), chain)
}

/// Keeps a chain that has rules, under this name.
fn insert(rs: &mut Ruleset, name: String, chain: Chain) -> Option<String> {
    (!chain.rules.is_empty()).then(|| {
        rs.chains.insert(name.clone(), chain);
        name
    })
}

/// A chain that counts, logs if told so, and drops.
fn write_drop(rs: &mut Ruleset, name: &str, counter: &str, log: Option<&str>) {
    if rs.chains.contains_key(name) {
        return;
    }
    rs.counters.insert(counter.to_owned());
    let mut chain = Chain::default();
    chain.rule(format!("counter name \"{counter}\""));
    if let Some(prefix) = log {
        chain.rule(format!("{LOG_LIMIT} log group {LOG_GROUP} prefix \"{prefix}\""));
    }
    chain.rule("drop");
    rs.chains.insert(name.to_owned(), chain);
}

fn block_set(name: &str, family: Family) -> String {
    format!("block.{name}.{}", digit(family))
}

fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}
