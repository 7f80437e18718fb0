//! From the document to the plan of remote access.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use rempart_config::Model;
use rempart_config::limits::MAX_VPN_LISTEN;
use rempart_config::model::{
    HostSet, NodeIndex, Vpn, VpnDirectory, VpnGroup, VpnPlace, VpnPort, VpnRadius, VpnStrangers, VpnTunnel,
    ZoneName,
};
use rempart_config::space::Family;

use super::{CertificatePlan, Controller, DirectoryPlan, GroupPlan, RadiusPlan, Remote, Strangers, VpnPlan};
use crate::Facts;
use crate::world::{VPN_DEVICE, VPN_KERNEL_DEVICE};

/// Addresses that one name may stand for: who logs in waits for each that is silent.
const MAX_ADDRESSES: usize = 8;

/// Where remote access listens on a node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Listening {
    /// By UDP.
    pub udp: Vec<SocketAddr>,
    /// By TCP.
    pub tcp: Vec<SocketAddr>,
    /// The zones that clients come from: those of the interfaces.
    pub zones: BTreeSet<ZoneName>,
}

impl Listening {
    /// What `model` asks of `node`; `None` without a group. An address by lease is there once there is a lease.
    pub fn of(model: &Model, node: NodeIndex, facts: &Facts) -> Option<Self> {
        let vpn = model.vpn.as_ref()?;
        let mut out = Self::default();
        let mut places: Vec<VpnPlace> = Vec::new();
        for one in &vpn.listen {
            let Some(interface) = model.interfaces.get(&one.interface) else { continue };
            out.zones.extend(interface.zone.clone());
            for place in one.places(interface, interface.addresses.get(node)) {
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        places.truncate(MAX_VPN_LISTEN);
        out.udp = sockets(&vpn.udp, &places, facts);
        out.tcp = vpn.tcp.as_ref().map(|port| sockets(port, &places, facts)).unwrap_or_default();
        Some(out)
    }
}

/// The places where `port` is listened on, as far as their addresses are known.
fn sockets(port: &VpnPort, places: &[VpnPlace], facts: &Facts) -> Vec<SocketAddr> {
    let free = places.iter().filter(|place| !port.taken.contains(*place));
    let address = |(name, address): &VpnPlace| {
        address.or_else(|| facts.leases.get(name).map(|lease| lease.address.addr()))
    };
    free.filter_map(address).map(|address| SocketAddr::new(address, port.port)).collect()
}

impl VpnPlan {
    /// What `model` asks of `node`; `None` without a group.
    pub fn of(model: &Model, node: NodeIndex, facts: &Facts) -> Option<Self> {
        let vpn = model.vpn.as_ref()?;
        let listening = Listening::of(model, node, facts)?;
        let remotes = remotes(vpn, &listening);
        let groups = vpn.order.iter().filter_map(|name| Some((name, model.vpn_groups.get(name)?)));
        Some(Self {
            node: model.nodes[node.get()].to_string(),
            // There are two at most.
            index: u8::from(node.get() > 0),
            peer: crate::remote::other_node(model, node),
            device: VPN_DEVICE.into(),
            kernel_device: vpn.offload.then(|| VPN_KERNEL_DEVICE.into()),
            udp: listening.udp,
            tcp: listening.tcp,
            remotes,
            mtu: vpn.mtu,
            max_sessions: vpn.max_sessions,
            rekey_s: vpn.rekey_s,
            idle_s: vpn.idle_s,
            tls12: vpn.tls12,
            groups: groups.map(|(name, group)| plan_of(name.to_string(), group)).collect(),
            strangers: vpn.strangers.map(|strangers| match strangers {
                VpnStrangers::Directory => Strangers::Directory,
                VpnStrangers::Radius => Strangers::Radius,
            }),
            directory: vpn.directory.as_ref().map(|d| directory(model, facts, d)),
            radius: vpn.radius.as_ref().map(|r| radius(model, facts, r)),
            certificates: CertificatePlan {
                organisation: vpn.certificates.organisation.clone(),
                device_days: vpn.certificates.device_days,
                warn_days: vpn.certificates.warn_days,
            },
        })
    }
}

/// What profiles say, by UDP first: TCP is for where nothing else goes through.
fn remotes(vpn: &Vpn, listening: &Listening) -> Vec<Remote> {
    let mut out = Vec::new();
    for (list, port, tcp) in
        [(&listening.udp, Some(&vpn.udp), false), (&listening.tcp, vpn.tcp.as_ref(), true)]
    {
        let Some(port) = port.map(|p| p.port).filter(|_| !list.is_empty()) else { continue };
        let own = || list.iter().map(|place| place.ip().to_string());
        let hosts = if vpn.remotes.is_empty() { own().collect() } else { vpn.remotes.clone() };
        out.extend(hosts.into_iter().map(|host| Remote { host, port, tcp }));
    }
    out
}

fn plan_of(name: String, group: &VpnGroup) -> GroupPlan {
    GroupPlan {
        name,
        pool4: group.pool4,
        pool6: group.network6(),
        certificate: group.demand.certificate,
        password: group.demand.password,
        code: group.demand.code,
        full_tunnel: group.tunnel == VpnTunnel::Full,
        routes: match &group.tunnel {
            VpnTunnel::Full => Vec::new(),
            VpnTunnel::Split { routes, .. } => routes.clone(),
        },
        dns: group.dns.clone(),
        domain: group.domain.as_ref().map(ToString::to_string),
        search: group.search.iter().map(ToString::to_string).collect(),
        max_sessions: group.max_sessions,
        sessions_each: group.sessions_each,
        session_limit_s: group.session_limit_s,
        directory_groups: group.directory_groups.clone(),
    }
}

fn directory(model: &Model, facts: &Facts, directory: &VpnDirectory) -> DirectoryPlan {
    let controllers = directory.controllers.iter().map(|(name, hosts)| Controller {
        name: name.to_string(),
        addresses: addresses(model, facts, hosts),
        port: directory.port,
    });
    DirectoryPlan {
        domain: directory.domain.to_string(),
        controllers: controllers.collect(),
        authority: directory.authority.to_string(),
    }
}

fn radius(model: &Model, facts: &Facts, radius: &VpnRadius) -> RadiusPlan {
    let servers = radius.servers.iter().flat_map(|hosts| addresses(model, facts, hosts));
    RadiusPlan {
        servers: servers.map(|address| SocketAddr::new(address, radius.port)).collect(),
        secret: radius.secret.to_string(),
        source: radius.source,
        group: radius.group.as_ref().map(ToString::to_string),
    }
}

/// The addresses that `hosts` stand for now, IPv4 first. A name that was never found has none.
fn addresses(model: &Model, facts: &Facts, hosts: &HostSet) -> Vec<IpAddr> {
    let set = facts.resolve(model, hosts);
    let of = |family: Family| {
        set.wide(family).into_iter().flat_map(|i| (i.lo..=i.hi).take(MAX_ADDRESSES)).map(
            move |n| match family {
                Family::V4 => IpAddr::V4((n as u32).into()),
                Family::V6 => IpAddr::V6(n.into()),
            },
        )
    };
    of(Family::V4).chain(of(Family::V6)).take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests;
