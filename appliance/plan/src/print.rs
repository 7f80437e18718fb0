//! The plan as text, for `rempart plan` and the golden files: the network, the policy in ANSSI's six
//! sections, then the ruleset as nft reads it.

use std::fmt::{self, Write as _};

use ipnet::IpNet;
use rempart_config::Model;
use rempart_config::model::{Flow, NodeName};

use crate::ha::{Failback, HaPlan, VirtualProtocol};
use crate::net::{LinkKind, NextHop};
use crate::vpn::VpnPlan;
use crate::wireguard::WireguardPlan;
use crate::{Facts, Ids, Plan, Role, explain};

/// Prints a plan with the flows that it was made from.
pub fn plan(plan: &Plan, model: &Model, node: &NodeName, facts: &Facts, ids: &Ids) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_plan(&mut out, plan, model, node, facts, ids);
    out
}

fn write_plan(
    out: &mut String,
    plan: &Plan,
    model: &Model,
    node: &NodeName,
    facts: &Facts,
    ids: &Ids,
) -> fmt::Result {
    let role = match plan.role {
        Role::Active => "active",
        Role::Standby => "standby",
    };
    writeln!(out, "# node {node}, {role}\n")?;
    write_network(out, plan)?;
    write_policy(out, model, facts, ids)?;
    writeln!(out, "\n## ruleset\n")?;
    out.push_str(&plan.ruleset.script().text);
    Ok(())
}

fn write_network(out: &mut String, plan: &Plan) -> fmt::Result {
    writeln!(out, "## network\n")?;
    for (device, link) in &plan.network.links {
        write!(out, "link {device}")?;
        match &link.kind {
            LinkKind::Physical => {}
            LinkKind::Vlan { parent, id } => write!(out, " vlan {id} on {parent}")?,
            LinkKind::Bond { mode } => write!(out, " bond {mode:?}")?,
            LinkKind::Bridge { stp } => {
                write!(out, " bridge, spanning tree {}", if *stp { "on" } else { "off" })?
            }
            LinkKind::MacVlan { parent, mac } => write!(out, " virtual router {mac} on {parent}")?,
        }
        if let Some(master) = &link.master {
            write!(out, " in {master}")?;
        }
        if let Some(mtu) = link.mtu {
            write!(out, " mtu {mtu}")?;
        }
        writeln!(out)?;
    }
    for (interface, device) in &plan.network.dhcp {
        writeln!(out, "dhcp {interface} on {device}")?;
    }
    for address in &plan.network.addresses {
        let shared = if address.shared { " shared" } else { "" };
        writeln!(out, "address {} on {}{shared}", address.net, address.device)?;
    }
    for (key, hop) in &plan.network.routes {
        match hop {
            NextHop::Gateway { address, device, .. } => {
                writeln!(out, "route {} via {address} by {device} metric {}", key.to, key.metric)?;
            }
            NextHop::Blackhole => writeln!(out, "route {} blackhole metric {}", key.to, key.metric)?,
        }
    }
    for (key, sysctl) in &plan.network.sysctls {
        writeln!(out, "sysctl {key} = {}", sysctl.value)?;
    }
    plan.world.ha.as_ref().map_or(Ok(()), |ha| write_ha(out, ha))?;
    let Some(remote) = &plan.remote else { return Ok(()) };
    remote.vpn.as_ref().map_or(Ok(()), |vpn| write_vpn(out, vpn))?;
    remote.wireguard.as_ref().map_or(Ok(()), |wireguard| write_wireguard(out, wireguard))
}

/// What WireGuard is told.
fn write_wireguard(out: &mut String, wireguard: &WireguardPlan) -> fmt::Result {
    for place in &wireguard.listen {
        writeln!(out, "wireguard listens on udp {place}")?;
    }
    for peer in &wireguard.peers {
        write!(out, "wireguard peer {} on {}:", peer.name, wireguard.device)?;
        for net in &peer.allowed {
            write!(out, " {net}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// What remote access is told.
fn write_vpn(out: &mut String, vpn: &VpnPlan) -> fmt::Result {
    for (protocol, list) in [("udp", &vpn.udp), ("tcp", &vpn.tcp)] {
        for place in list {
            writeln!(out, "vpn listens on {protocol} {place}")?;
        }
    }
    for group in &vpn.groups {
        write!(out, "vpn group {} on {}:", group.name, vpn.device)?;
        let pools = group.pool4.map(IpNet::V4).into_iter().chain(group.pool6.map(IpNet::V6));
        for pool in pools {
            write!(out, " {pool}")?;
        }
        let demands =
            [(group.certificate, "certificate"), (group.password, "password"), (group.code, "code")];
        let demands: Vec<&str> = demands.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        let tunnel = if group.full_tunnel { "full" } else { "split" };
        writeln!(out, ", {tunnel} tunnel, for {}", demands.join(" and "))?;
    }
    Ok(())
}

/// What the elector is told.
fn write_ha(out: &mut String, ha: &HaPlan) -> fmt::Result {
    if let Some(peer) = &ha.peer {
        let failback = match ha.failback {
            Failback::Stay => "the role stays where it is".to_owned(),
            Failback::Preferred { delay_s } => {
                format!("the first node takes the role back after {delay_s} s")
            }
        };
        writeln!(out, "peer {peer}, heartbeat {} ms, {failback}", ha.heartbeat_ms)?;
    }
    for path in &ha.paths {
        let sync = if path.sync { " sync" } else { "" };
        writeln!(out, "path {} by {} {} to {}{sync}", path.interface, path.device, path.local, path.remote)?;
    }
    for router in &ha.routers {
        let protocol = match router.protocol {
            VirtualProtocol::Vrrp3 => "vrrp3",
            VirtualProtocol::Vrrp2 => "vrrp2",
            VirtualProtocol::Carp => "carp",
        };
        write!(out, "router {} {protocol} {} on {}:", router.device, router.vrid, router.interface)?;
        for address in &router.addresses {
            write!(out, " {address}")?;
        }
        for address in &router.unadvertised {
            write!(out, " ({address})")?;
        }
        match &router.carp {
            Some(carp) => writeln!(out, ", advbase {} advskew {}", carp.advbase, carp.advskew)?,
            None => writeln!(out, ", priority {} every {} cs", router.priority, router.interval_cs)?,
        }
    }
    for monitor in &ha.monitors {
        write!(out, "monitor {} by {}", monitor.interface, monitor.device)?;
        match monitor.gateway {
            Some(gateway) => writeln!(out, ", gateway {gateway}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

fn write_policy(out: &mut String, model: &Model, facts: &Facts, ids: &Ids) -> fmt::Result {
    type Section = (&'static str, fn(&Flow) -> bool);
    let to_firewall = |f: &Flow| f.to.iter().any(|e| e.zone.as_ref().is_some_and(|z| z.is_firewall()));
    let from_firewall = |f: &Flow| f.from.iter().any(|e| e.zone.as_ref().is_some_and(|z| z.is_firewall()));
    let business = |f: &Flow| {
        f.to.iter().any(|e| e.zone.as_ref().is_none_or(|z| !z.is_firewall()))
            && f.from.iter().any(|e| e.zone.as_ref().is_none_or(|z| !z.is_firewall()))
    };
    let sections: [Section; 4] = [
        ("1. to the firewall", to_firewall),
        ("2. from the firewall", from_firewall),
        ("3. protection of the firewall: all else to it is refused and logged", |_| false),
        ("4. business flows", business),
    ];
    writeln!(out, "\n## policy")?;
    for (title, belongs) in sections {
        writeln!(out, "\n{title}")?;
        for flow in model.flows.iter().filter(|f| belongs(f)) {
            let off = if facts.inactive.contains(&flow.key) { " [not in force]" } else { "" };
            writeln!(out, "  {:>5}  {}{off}", ids.of(&flow.key), explain::flow_text(flow))?;
        }
    }
    writeln!(out, "\n5. noise: {} services refused without being logged", model.noise.len())?;
    writeln!(out, "6. all else is refused and logged")
}
