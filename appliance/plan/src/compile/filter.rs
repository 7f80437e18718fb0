//! The six sections: which new connections are let through.

use std::collections::BTreeMap;

use rempart_config::Model;
use rempart_config::model::{Action, Device, Flow, ServiceAtom, ZoneName};
use rempart_config::space::Family;

use super::tables::{self, Line, Use};
use super::{
    CompileError, LOG_GROUP, MARK_ALLOW, MARK_DENY, MARK_DOOMED, MAX_CELLS, device_set, peer, quoted_devices,
    remote,
};
use crate::expand::slices;
use crate::nft::{Chain, Content, Map, Origin, Ruleset};
use crate::{Facts, Ids, World};

/// Most log entries a second from one rule: a flood must not become a flood of log.
const LOG_LIMIT: &str = "limit rate 100/second burst 200 packets";

/// ICMPv6 that a host needs to be reached at all (RFC 4890 §4.4.1), from the own link only (hop limit 255).
const NEIGHBOUR_DISCOVERY: &str = "nd-neighbor-solicit, nd-neighbor-advert";

pub fn write(
    rs: &mut Ruleset,
    model: &Model,
    world: &World,
    facts: &Facts,
    ids: &Ids,
) -> Result<(), CompileError> {
    write_frame(rs, model, world);
    write_flows(rs, model, ids);
    let pairs = write_pairs(rs, model, facts, ids)?;
    write_dispatch(rs, world, &pairs);
    Ok(())
}

type Pair = (ZoneName, ZoneName);

/// Writes the chain of each zone pair that has flows in force, and returns the pairs.
fn write_pairs(rs: &mut Ruleset, model: &Model, facts: &Facts, ids: &Ids) -> Result<Vec<Pair>, CompileError> {
    let mut lines: BTreeMap<Pair, BTreeMap<Family, Vec<Line>>> = BTreeMap::new();
    let mut cells = 0;
    for (index, flow) in model.flows.iter().enumerate() {
        if facts.inactive.contains(&flow.key) {
            continue;
        }
        let outcome = (format!("{:#010x}", mark(flow, ids)), Origin::Flow(index));
        for slice in slices(model, facts, flow) {
            cells += slice.cells.len();
            if cells > MAX_CELLS {
                return Err(CompileError::TooLarge { label: flow.label.clone(), line: flow.line });
            }
            let pair = lines.entry((slice.from, slice.to)).or_default();
            let list = pair.entry(slice.family).or_default();
            list.extend(slice.cells.into_iter().map(|cell| (slice.lane, cell, outcome.clone())));
        }
    }
    for ((from, to), lines) in &lines {
        let miss = if to.is_firewall() {
            "goto final.input"
        } else if from.is_firewall() {
            "goto final.output"
        } else {
            "goto final.forward"
        };
        tables::write(rs, &pair_chain(from, to), lines, Use::Mark, miss);
    }
    Ok(lines.into_keys().collect())
}

/// The chain of a zone pair. Zone names have no dot, so no two pairs share a name.
fn pair_chain(from: &ZoneName, to: &ZoneName) -> String {
    format!("pair.{from}.{to}")
}

/// The connection mark of what a flow decides about.
pub fn mark(flow: &Flow, ids: &Ids) -> u32 {
    let verdict = if flow.action == Action::Allow { MARK_ALLOW } else { MARK_DENY };
    verdict | ids.of(&flow.key)
}

/// The maps that send a new connection to the chain of its pair.
fn write_dispatch(rs: &mut Ruleset, world: &World, pairs: &[Pair]) {
    let mut input = BTreeMap::new();
    let mut output = BTreeMap::new();
    let mut forward = BTreeMap::new();
    let verdict = |from: &ZoneName, to: &ZoneName| (format!("goto {}", pair_chain(from, to)), Origin::Frame);
    for (from, to) in pairs {
        if to.is_firewall() {
            for device in world.legs_in(from).flat_map(|(_, leg)| quoted_devices(leg)) {
                input.insert(device, verdict(from, to));
            }
        } else if from.is_firewall() {
            for device in world.legs_in(to).flat_map(|(_, leg)| quoted_devices(leg)) {
                output.insert(device, verdict(from, to));
            }
        } else {
            for a in world.legs_in(from).flat_map(|(_, leg)| quoted_devices(leg)) {
                for b in world.legs_in(to).flat_map(|(_, leg)| quoted_devices(leg)) {
                    forward.insert(format!("{a} . {b}"), verdict(from, to));
                }
            }
        }
    }
    let map = |kind: &str, elements| Map {
        kind: kind.into(),
        options: String::new(),
        content: Content::Index(elements),
    };
    rs.maps.insert("pairs.input".into(), map("ifname : verdict", input));
    rs.maps.insert("pairs.output".into(), map("ifname : verdict", output));
    rs.maps.insert("pairs.forward".into(), map("ifname . ifname : verdict", forward));
}

fn write_frame(rs: &mut Ruleset, model: &Model, world: &World) {
    let external: Vec<&str> = world
        .legs
        .iter()
        .filter(|l| l.zone.as_ref().and_then(|z| model.zones.get(z)).is_some_and(|z| z.external))
        .flat_map(|l| l.devices().map(Device::as_str))
        .collect();
    let dhcp: Vec<&str> = world
        .legs
        .iter()
        .filter(|l| model.interfaces.get(&l.interface).is_some_and(|i| i.dhcp))
        .map(|l| l.device.as_str())
        .collect();
    let slaac: Vec<&str> = world
        .legs
        .iter()
        .filter(|l| model.interfaces.get(&l.interface).is_some_and(|i| i.slaac))
        .map(|l| l.device.as_str())
        .collect();

    // Where nothing is shielded no packet looks.
    let by_map = |map: &str, rule: &str| rs.maps.contains_key(map).then(|| (rule.to_owned(), Origin::Frame));
    let shields = by_map("shields", "iifname vmap @shields");
    let shields_out = by_map("shields.out", "oifname vmap @shields.out");
    for counter in ["p.default", "p.noise", "p.invalid", "p.doomed"] {
        rs.counters.insert(counter.into());
    }
    for hook in ["input", "output", "forward"] {
        let chain = rs.chains.entry(hook.into()).or_default();
        chain.base = Some(format!("type filter hook {hook} priority 0; policy drop;"));
        chain.rule(format!("ct mark & {MARK_DOOMED:#010x} != 0 counter name \"p.doomed\" drop"));
        if let Some(jump) = remote::way_out(world, hook) {
            chain.rule(jump);
        }
        if hook == "output" {
            // IPv6 has no setting that forbids redirects, as IPv4 does; tracking would call them invalid.
            chain.rule("icmpv6 type nd-redirect drop");
        }
        chain.rule("ct state established,related accept");
        chain.rule("ct state invalid goto invalid");
        if let Some(jump) = peer::jump(world, hook) {
            chain.rule(jump);
        }
        if hook != "forward" {
            let lo = if hook == "input" { "iifname" } else { "oifname" };
            chain.rule(format!("{lo} \"lo\" accept"));
        }
        // A connection that is tracked but not yet answered comes by again: its mark is decided anew.
        chain.rule("ct mark set 0");
    }
    let input = rs.chains.entry("input".into()).or_default();
    input.rule(format!("icmpv6 type {{ {NEIGHBOUR_DISCOVERY} }} ip6 hoplimit 255 accept"));
    // Unanswered, a switch that listens to memberships stops forwarding the solicitations for our addresses, the virtual
    // ones above all (RFC 4890 §4.4.1, RFC 4541 §3).
    input.rule("icmpv6 type mld-listener-query ip6 saddr fe80::/10 accept");
    if let Some(devices) = device_set(slaac.iter().copied()) {
        input.rule(format!("iifname {devices} icmpv6 type nd-router-advert ip6 hoplimit 255 accept"));
    }
    if let Some(devices) = device_set(dhcp.iter().copied()) {
        input.rule(format!("iifname {devices} udp sport 67 udp dport 68 accept"));
    }
    for text in peer::silent_addresses(world) {
        input.rule(format!("{text} drop"));
    }
    input.rules.extend(shields.clone());
    if let Some(jump) = remote::listened_to(world) {
        input.rule(jump);
    }
    // Whoever knows the key comes from anywhere, but for what the shields keep out; after a take-over the node begins.
    let outside = wireguard_outside(model, world);
    if let Some((devices, port)) = &outside {
        input.rule(format!("iifname {devices} udp dport {port} accept"));
    }
    input.rule("iifname vmap @pairs.input");
    input.rule("goto final.input");
    let output = rs.chains.entry("output".into()).or_default();
    output.rule(format!(
        "icmpv6 type {{ {NEIGHBOUR_DISCOVERY}, nd-router-solicit, mld-listener-report, mld2-listener-report }} accept"
    ));
    if let Some(devices) = device_set(dhcp.iter().copied()) {
        output.rule(format!("oifname {devices} udp sport 68 udp dport 67 accept"));
    }
    output.rules.extend(shields_out.clone());
    if let Some(jump) = remote::spoken_by(world) {
        output.rule(jump);
    }
    if let Some((devices, port)) = &outside {
        output.rule(format!("oifname {devices} udp sport {port} accept"));
    }
    output.rule("oifname vmap @pairs.output");
    output.rule("goto final.output");
    let forward = rs.chains.entry("forward".into()).or_default();
    forward.rules.extend(shields.into_iter().chain(shields_out));
    forward.rule("iifname . oifname vmap @pairs.forward");
    forward.rule("goto final.forward");

    write_finals(rs, model);
    let refuse = rs.chains.entry("refuse".into()).or_default();
    if let Some(devices) = device_set(external) {
        refuse.rule(format!("iifname {devices} drop"));
    }
    refuse.rule("goto answer");
    let answer = rs.chains.entry("answer".into()).or_default();
    answer.rule("meta l4proto tcp reject with tcp reset");
    answer.rule("reject with icmpx admin-prohibited");
    let invalid = rs.chains.entry("invalid".into()).or_default();
    invalid.rule("counter name \"p.invalid\"");
    invalid.rule(format!("{LOG_LIMIT} log group {LOG_GROUP} prefix \"invalid drop\""));
    invalid.rule("drop");
}

/// The devices by which WireGuard is spoken to, where it is switched on, and its port.
fn wireguard_outside(model: &Model, world: &World) -> Option<(String, u16)> {
    let wireguard = crate::wireguard::switched_on(model)?;
    let legs = wireguard.zones.iter().flat_map(|zone| world.legs_in(zone));
    let devices = device_set(legs.flat_map(|(_, leg)| leg.devices().map(Device::as_str)))?;
    Some((devices, wireguard.port))
}

/// What comes after the flows: 3. protection of the firewall, 5. noise, 6. the final, logged refusal.
fn write_finals(rs: &mut Ruleset, model: &Model) {
    let noise = noise_matches(&model.noise);
    for hook in ["input", "forward", "output"] {
        let chain = rs.chains.entry(format!("final.{hook}")).or_default();
        chain.rule("fib daddr type { broadcast, multicast } goto noise");
        for matches in &noise {
            chain.rule(format!("{matches} goto noise"));
        }
        chain.rule("counter name \"p.default\"");
        chain.rule(format!("{LOG_LIMIT} log group {LOG_GROUP} prefix \"default deny\""));
        chain.rule("goto refuse");
    }
    let noise = rs.chains.entry("noise".into()).or_default();
    noise.rule("counter name \"p.noise\"");
    noise.rule("goto refuse");
}

fn noise_matches(noise: &[ServiceAtom]) -> Vec<String> {
    let mut ports = Vec::new();
    let mut out = Vec::new();
    for atom in noise {
        match atom {
            ServiceAtom::Any => return vec![String::new()],
            ServiceAtom::Ports { protocol, ports: set } => {
                ports.extend(set.intervals().iter().map(|i| format!("{protocol} . {}-{}", i.lo, i.hi)));
            }
            ServiceAtom::Icmp(types) => {
                out.extend(types.intervals().iter().map(|i| format!("icmp type {}-{}", i.lo, i.hi)));
            }
            ServiceAtom::Icmp6(types) => {
                out.extend(types.intervals().iter().map(|i| format!("icmpv6 type {}-{}", i.lo, i.hi)));
            }
            ServiceAtom::Protocol(p) => out.push(format!("meta l4proto {p}")),
        }
    }
    if !ports.is_empty() {
        out.push(format!("meta l4proto . th dport {{ {} }}", ports.join(", ")));
    }
    out
}

/// The counters of the flows, and the chains of those that do more than let through or refuse.
fn write_flows(rs: &mut Ruleset, model: &Model, ids: &Ids) {
    let mut hits = BTreeMap::new();
    let mut special = BTreeMap::new();
    for (index, flow) in model.flows.iter().enumerate() {
        let id = ids.of(&flow.key);
        let key = format!("{:#010x}", mark(flow, ids));
        let counter = format!("f{id}");
        hits.insert(key.clone(), (format!("\"{counter}\""), Origin::Flow(index)));
        rs.counters.insert(counter);
        let chain = flow_chain(rs, flow, id, Origin::Flow(index));
        if let Some(name) = chain {
            special.insert(key, (format!("goto {name}"), Origin::Flow(index)));
        }
    }
    let map = |kind: &str, content| Map {
        kind: kind.into(),
        options: String::new(),
        content: Content::Index(content),
    };
    let verdict = rs.chains.entry("verdict".into()).or_default();
    verdict.rule("counter name ct mark map @hits");
    if !special.is_empty() {
        verdict.rule("ct mark vmap @special");
    }
    verdict.rule(format!("ct mark & {MARK_ALLOW:#010x} != 0 accept"));
    verdict.rule("goto refuse");
    rs.maps.insert("hits".into(), map("mark : counter", hits));
    rs.maps.insert("special".into(), map("mark : verdict", special));
}

/// The chain of a flow with limits, a log, a helper or a refusal of its own; `None` for a plain one.
fn flow_chain(rs: &mut Ruleset, flow: &Flow, id: u32, origin: Origin) -> Option<String> {
    let last = match flow.action {
        Action::Allow => "accept",
        Action::Deny => "goto refuse",
        Action::Reject => "goto answer",
        Action::Drop => "drop",
    };
    let mut chain = Chain::default();
    if let Some(limit) = &flow.connections {
        for (family, kind, address) in [(4, "ipv4_addr", "ip saddr"), (6, "ipv6_addr", "ip6 saddr")] {
            // The limit stands in the set's name: an element keeps the limit that it was made with.
            let (name, kind, key) = if limit.per_source {
                (format!("busy.{id}.{}.{family}", limit.max), kind, address)
            } else {
                (format!("busy.{id}.{}", limit.max), "mark", "ct mark")
            };
            let options = format!("flags dynamic; size {};", super::protect::MAX_SOURCES);
            rs.maps.insert(name.clone(), Map { kind: kind.into(), options, content: Content::Dynamic });
            chain.rule_of(
                origin,
                format!("add @{name} {{ {key} ct count over {} }} goto over.{id}", limit.max),
            );
            if !limit.per_source {
                break;
            }
        }
    }
    if let Some(rate) = &flow.rate {
        // In a set of one element, because a limit in a rule begins anew with each change of the policy.
        let name = format!("rate.{id}.{}.{}.{}", rate.count, rate.unit.as_str(), rate.burst);
        let map =
            Map { kind: "mark".into(), options: "flags dynamic; size 1;".into(), content: Content::Dynamic };
        rs.maps.insert(name.clone(), map);
        let limit = format!("limit rate over {rate} burst {} packets", rate.burst);
        chain.rule_of(origin, format!("add @{name} {{ ct mark {limit} }} goto over.{id}"));
    }
    if !chain.rules.is_empty() {
        let mut over = Chain::default();
        over.rule_of(origin, format!("{LOG_LIMIT} log group {LOG_GROUP} prefix \"flow {id} limit\""));
        over.rule_of(origin, "goto refuse");
        rs.chains.insert(format!("over.{id}"), over);
    }
    if flow.log {
        let action = match flow.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Reject => "reject",
            Action::Drop => "drop",
        };
        chain.rule_of(origin, format!("{LOG_LIMIT} log group {LOG_GROUP} prefix \"flow {id} {action}\""));
    }
    if let Some(helper) = flow.helper {
        for protocol in helper.protocols() {
            let name = format!("{}-{protocol}", helper.as_str());
            let word = if *protocol == rempart_config::model::TCP { "tcp" } else { "udp" };
            rs.helpers.insert(name.clone(), format!("type \"{}\" protocol {word};", helper.as_str()));
            chain.rule_of(origin, format!("meta l4proto {word} ct helper set \"{name}\""));
        }
    }
    if chain.rules.is_empty() {
        return match flow.action {
            Action::Allow | Action::Deny => None,
            Action::Reject => Some("answer".into()),
            Action::Drop => {
                rs.chains.entry("silent".into()).or_insert_with(|| {
                    let mut silent = Chain::default();
                    silent.rule("drop");
                    silent
                });
                Some("silent".into())
            }
        };
    }
    chain.rule_of(origin, last);
    let name = format!("flow.{id}");
    rs.chains.insert(name.clone(), chain);
    Some(name)
}
