//! What a group gives its members: from the plan to the options of a PUSH_REPLY.

use std::net::IpAddr;

use ipnet::IpNet;
use rempart_config::model::{gateway4, gateway6};
use rempart_openvpn::message::{Address4, Address6, Domain, PushOptions, Redirect, Route4, Route6};
use rempart_plan::vpn::{GroupPlan, VpnPlan};

use super::grant::Inner;

/// A client without traffic says that it is there, and so do we: often enough for address translators on the way, which
/// forget after 30 s, and seldom enough for telephones.
pub const PING_S: u16 = 10;
/// A client that has heard nothing for so long looks for another server. A take-over is over after a second, even of many
/// sessions; a dead pair is noticed within the minute.
pub const PING_RESTART_S: u16 = 60;

/// For a client of `group` with these addresses.
pub fn options(plan: &VpnPlan, group: &GroupPlan, inner: Inner) -> PushOptions {
    // A fixed address may lie outside of the pool: then it is alone in its network, and the gateway is still the pool's.
    let address4 = inner.v4.zip(group.pool4).map(|(address, pool)| {
        let prefix = if pool.contains(&address) { pool.prefix_len() } else { 32 };
        Address4 { address, prefix, gateway: gateway4(pool) }
    });
    let address6 = inner.v6.zip(group.pool6).map(|(address, pool)| {
        let prefix = if pool.contains(&address) { pool.prefix_len() } else { 128 };
        Address6 { address, prefix, gateway: gateway6(pool) }
    });
    let (mut routes4, mut routes6) = (Vec::new(), Vec::new());
    for route in group.routes.iter().filter(|_| !group.full_tunnel) {
        match route {
            IpNet::V4(net) => routes4.push(Route4(net.network(), net.prefix_len())),
            IpNet::V6(net) => routes6.push(Route6(net.network(), net.prefix_len())),
        }
    }
    let (mut dns4, mut dns6) = (Vec::new(), Vec::new());
    for server in &group.dns {
        match server {
            IpAddr::V4(ip) => dns4.push(*ip),
            IpAddr::V6(ip) => dns6.push(*ip),
        }
    }
    // The document's reader has looked at them.
    let domain = |name: &String| Domain::new(name).ok();
    PushOptions {
        address4,
        address6,
        routes4,
        routes6,
        redirect: if group.full_tunnel { Redirect::Everything } else { Redirect::Routes },
        // With a full tunnel the names are nobody else's business.
        block_outside_dns: group.full_tunnel && !group.dns.is_empty(),
        dns4,
        dns6,
        domain: group.domain.as_ref().and_then(domain),
        search: group.search.iter().filter_map(domain).collect(),
        ping_s: PING_S,
        ping_restart_s: PING_RESTART_S,
        tun_mtu: Some(plan.mtu),
        inactive_s: None,
        session_timeout_s: None,
    }
}
