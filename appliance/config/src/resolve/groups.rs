//! `[vpn.group.NAME]`: pools and demands, and what is pushed to the members.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

use super::names::{Book, unknown_host};
use crate::decode::{At, Many};
use crate::draft::{Document, VpnGroupDraft};
use crate::faults::{Faults, Span};
use crate::model::{Fqdn, HostSet, Name, VpnDemand, VpnGroup, VpnTunnel};
use crate::space::{AddressSet, Family};
use crate::text::address::HostElement;
use crate::text::remote::{DemandWord, TunnelWord};
use crate::text::time::Lapse;

/// Groups: each one's options are pushed by itself, and everybody's groups are gone through at each login.
const MAX_GROUPS: usize = 64;
/// Resolvers of a group: more than a client's system asks.
const MAX_RESOLVERS: usize = 8;
/// Domains that are searched: as many as Windows takes.
const MAX_SEARCH: usize = 16;
/// Routes of a group: all of them are pushed to each client, in messages of at most a kilobyte.
const MAX_ROUTES: usize = 128;
/// Groups of the directory that make one group here.
const MAX_DIRECTORY_GROUPS: usize = 64;
/// Sessions of one person, where the document does not say: a computer, a telephone, and one that was left behind.
const SESSIONS_EACH: u32 = 3;
/// The longest IPv4 prefix of a pool: the network, the box, one client and the broadcast address.
const LONGEST_V4: u8 = 30;
/// The longest IPv6 prefix that clients take for the tunnel's (`ifconfig-ipv6` of openvpn(8): 64 to 124).
const LONGEST_V6: u8 = 124;
/// The shortest IPv6 prefix that they take.
const WIDEST_V6: u8 = 64;

/// A pool and where it stands.
pub(super) struct Pool {
    pub group: Name,
    pub net: IpNet,
    pub span: Span,
}

/// The groups by name, their names in the order of the document, and their pools.
pub(super) struct Groups {
    pub all: BTreeMap<Name, VpnGroup>,
    pub order: Vec<Name>,
    pub pools: Vec<Pool>,
}

/// What is known of the groups before names can be resolved: the rest is added by [`options`].
pub(super) fn groups(document: &Document, faults: &mut Faults) -> Groups {
    let mut out = Groups { all: BTreeMap::new(), order: Vec::new(), pools: Vec::new() };
    let drafts = document.vpn.iter().filter_map(|v| v.group.as_ref()).flat_map(|g| g.iter());
    let mut seen: BTreeMap<String, &Span> = BTreeMap::new();
    for (at, (name, draft)) in drafts.enumerate() {
        if at == MAX_GROUPS {
            faults.error("too-large", &name.span, format!("more than {MAX_GROUPS} groups of remote users"));
            break;
        }
        // Directories do not tell `Agents` from `agents`, so neither may the document.
        if let Some(other) = seen.insert(name.value.to_lowercase(), &name.span) {
            faults
                .error("duplicate-name", &name.span, "two groups differ by capital letters alone")
                .related(other, "the other one");
        }
        let mut group = VpnGroup {
            pool4: None,
            pool6: None,
            demand: demand(draft, faults),
            tunnel: VpnTunnel::Full,
            dns: Vec::new(),
            domain: draft.domain.as_ref().map(|d| Fqdn::new(&d.value.0)),
            search: Vec::new(),
            max_sessions: draft.sessions.as_ref().map(|s| s.value.0),
            sessions_each: draft.sessions_each.as_ref().map_or(SESSIONS_EACH, |s| s.value.0),
            session_limit_s: draft.limit.as_ref().and_then(|l| limit(l, faults)),
            directory_groups: Vec::new(),
        };
        let Some(pools) = &draft.pool else { continue };
        for item in &pools.items {
            if pool(item.value.0, &item.span, &mut group, faults) {
                let (group, net) = (Name::new(&name.value), item.value.0);
                out.pools.push(Pool { group, net, span: item.span.clone() });
            }
        }
        // One without a usable pool is there all the same: flows that name it are right.
        out.order.push(Name::new(&name.value));
        out.all.insert(Name::new(&name.value), group);
    }
    out
}

/// Takes a pool into its group; whether it could.
fn pool(net: IpNet, span: &Span, group: &mut VpnGroup, faults: &mut Faults) -> bool {
    if group.has(Family::of(net.addr())) {
        faults
            .error("vpn-pool", span, "a second pool of the same IP version")
            .hint("one of IPv4 and one of IPv6; make it one wider network");
        return false;
    }
    let host = match net {
        IpNet::V4(net) => unusable4(net),
        IpNet::V6(net) => {
            net.addr().is_multicast() || net.addr().is_unicast_link_local() || net.addr().is_loopback()
        }
    };
    if host {
        faults.error("vpn-pool", span, format!("no host can have an address of {net}")).hint(
            "a private network that is used nowhere else, such as `10.77.10.0/24` or `fd00:77:10::/64`",
        );
        return false;
    }
    match net {
        IpNet::V4(v4) if v4.prefix_len() > LONGEST_V4 => {
            faults
                .error("vpn-pool", span, format!("{v4} has no address for a client"))
                .label("the network, the box and the broadcast address take three")
                .hint(format!("a prefix of /{LONGEST_V4} at most, such as `10.77.10.0/24`"));
            false
        }
        IpNet::V6(v6) if v6.prefix_len() > LONGEST_V6 => {
            faults
                .error("vpn-pool", span, format!("{v6} is too narrow for clients"))
                .hint(format!("they take a network from /{WIDEST_V6} to /{LONGEST_V6}"));
            false
        }
        IpNet::V4(v4) => {
            group.pool4 = Some(v4);
            true
        }
        IpNet::V6(v6) => {
            if v6.prefix_len() < WIDEST_V6 {
                faults
                    .warning("vpn-pool", span, format!("{v6} is wider than the network of a tunnel can be"))
                    .hint(format!("addresses are given from its first /{WIDEST_V6} alone; write that"));
            }
            group.pool6 = Some(v6);
            true
        }
    }
}

fn unusable4(net: Ipv4Net) -> bool {
    let first = net.addr();
    first.octets()[0] == 0 || first.is_loopback() || first.is_link_local() || first.octets()[0] >= 224
}

fn demand(draft: &VpnGroupDraft, faults: &mut Faults) -> VpnDemand {
    // Device and person both proven, the person by two factors (ANSSI, PA-054 v2, p. 50).
    let Some(list) = &draft.demand else {
        return VpnDemand { certificate: true, password: true, code: true };
    };
    let has = |word| list.items.iter().any(|item| item.value == word);
    let demand = VpnDemand {
        certificate: has(DemandWord::Certificate),
        password: has(DemandWord::Password),
        code: has(DemandWord::Code),
    };
    if list.whole && !demand.certificate && !demand.password {
        faults
            .error("vpn-demand", &list.span, "a code alone lets in whoever has the telephone in hand")
            .hint("demand a certificate or a password with it: `demand = [\"password\", \"code\"]`");
    }
    demand
}

fn limit(lapse: &At<Lapse>, faults: &mut Faults) -> Option<u32> {
    seconds(lapse, 300, 86_400, "5min", "24h", faults)
}

/// A length of time between two bounds, in seconds.
pub(super) fn seconds(
    lapse: &At<Lapse>,
    least: u32,
    most: u32,
    shortest: &str,
    longest: &str,
    faults: &mut Faults,
) -> Option<u32> {
    let ms = lapse.value.milliseconds;
    if ms.is_multiple_of(1_000) && (least..=most).contains(&(ms / 1_000)) {
        return Some(ms / 1_000);
    }
    faults
        .error("out-of-range", &lapse.span, format!("{} is out of range", lapse.value))
        .label(format!("expected {shortest} to {longest}, in whole seconds"));
    None
}

/// Completes the groups with what refers to names.
pub(super) fn options(
    document: &Document,
    groups: &mut BTreeMap<Name, VpnGroup>,
    hosts: &Book<HostSet>,
    faults: &mut Faults,
) {
    let directory = document.vpn.as_ref().is_some_and(|v| v.directory.is_some());
    let drafts = document.vpn.iter().filter_map(|v| v.group.as_ref()).flat_map(|g| g.iter());
    for (name, draft) in drafts {
        let Some(group) = groups.get_mut(name.value.as_str()) else { continue };
        if let Some(tunnel) = tunnel(draft, hosts, faults) {
            group.tunnel = tunnel;
        }
        if let Some(list) = &draft.dns {
            group.dns = list.items.iter().flat_map(|item| resolver(item, hosts, faults)).collect();
            too_many(group.dns.len(), MAX_RESOLVERS, "resolvers", &list.span, faults);
        }
        if let Some(list) = &draft.search {
            group.search = list.items.iter().map(|d| Fqdn::new(&d.value.0)).collect();
            too_many(group.search.len(), MAX_SEARCH, "domains to search", &list.span, faults);
        }
        if let Some(list) = &draft.directory_groups {
            group.directory_groups = list.items.iter().map(|g| g.value.0.clone()).collect();
            too_many(group.directory_groups.len(), MAX_DIRECTORY_GROUPS, "groups", &list.span, faults);
            if !directory {
                faults
                    .warning("no-effect", &list.span, "there is no directory whose groups these could be")
                    .hint("describe it in [vpn.directory]");
            }
        }
    }
}

pub(super) fn too_many(count: usize, most: usize, what: &str, span: &Span, faults: &mut Faults) {
    if count > most {
        faults.error("too-large", span, format!("{count} {what}")).label(format!("at most {most}"));
    }
}

fn tunnel(draft: &VpnGroupDraft, hosts: &Book<HostSet>, faults: &mut Faults) -> Option<VpnTunnel> {
    let word = draft.tunnel.as_ref().map_or(TunnelWord::Full, |t| t.value);
    match (word, &draft.routes) {
        (TunnelWord::Full, None) => Some(VpnTunnel::Full),
        (TunnelWord::Full, Some(routes)) => {
            faults
                .error(
                    "vpn-split",
                    &routes.span,
                    "everything goes into the tunnel, so that routes have no meaning",
                )
                .hint("leave them out, or say `tunnel = \"split\"` and `why`");
            None
        }
        (TunnelWord::Split, routes) => {
            let span = draft.tunnel.as_ref().map_or(&draft.span, |t| &t.span);
            if draft.why.is_none() && !draft.broken {
                faults
                    .error("vpn-split", span, "a split tunnel needs a reason")
                    .label("the client is in two networks at once")
                    .hint("write down why, for whoever answers for it: why = \"…\" (ANSSI, nomadism guide)");
            }
            let Some(routes) = routes else {
                if !draft.broken {
                    faults
                        .error("vpn-split", span, "a split tunnel leads nowhere without `routes`")
                        .hint("for example routes = [\"192.168.10.0/24\"]");
                }
                return None;
            };
            let nets = routes_of(routes, hosts, faults)?;
            Some(VpnTunnel::Split { routes: nets, why: draft.why.as_ref()?.value.0.clone() })
        }
    }
}

/// The networks that a list of hosts and networks comes to.
fn routes_of(list: &Many<HostElement>, hosts: &Book<HostSet>, faults: &mut Faults) -> Option<Vec<IpNet>> {
    let mut sets = Vec::new();
    for item in &list.items {
        let hosts = host(item, hosts, faults)?;
        if !hosts.names.is_empty() {
            faults
                .error("vpn-route", &item.span, "a name that is looked up cannot be a route")
                .hint("clients are given the routes once, when they connect: write the network");
            return None;
        }
        sets.push(hosts.fixed);
    }
    let set = AddressSet::union_of(&sets);
    let v4 = set
        .v4
        .intervals()
        .iter()
        .flat_map(|i| Ipv4Subnets::new(Ipv4Addr::from(i.lo), Ipv4Addr::from(i.hi), 0).map(IpNet::V4));
    let v6 = set
        .v6
        .intervals()
        .iter()
        .flat_map(|i| Ipv6Subnets::new(Ipv6Addr::from(i.lo), Ipv6Addr::from(i.hi), 0).map(IpNet::V6));
    let nets: Vec<IpNet> = v4.chain(v6).take(MAX_ROUTES + 1).collect();
    if nets.len() > MAX_ROUTES {
        faults
            .error("too-large", &list.span, format!("more than {MAX_ROUTES} routes"))
            .hint("wider networks; a range is as many routes as it takes to cover it");
        return None;
    }
    if let Some(all) = nets.iter().find(|net| net.prefix_len() == 0) {
        faults
            .error("vpn-route", &list.span, format!("{all} is everything"))
            .hint("that is a full tunnel: leave `tunnel` and `routes` out");
        return None;
    }
    Some(nets)
}

/// What an element of a list of hosts stands for; reports a name that nobody defines.
pub(super) fn host(item: &At<HostElement>, hosts: &Book<HostSet>, faults: &mut Faults) -> Option<HostSet> {
    match &item.value {
        HostElement::Fixed(set) => Some(HostSet { fixed: set.clone(), ..HostSet::default() }),
        HostElement::Fqdn(name) => Some(HostSet { names: [Fqdn::new(name)].into(), ..HostSet::default() }),
        HostElement::Name(name) => match hosts.get(name) {
            Some(known) => known.clone(),
            None => {
                unknown_host(name, &item.span, hosts.names(), faults);
                None
            }
        },
    }
}

fn resolver(item: &At<HostElement>, hosts: &Book<HostSet>, faults: &mut Faults) -> Vec<IpAddr> {
    let Some(found) = host(item, hosts, faults) else { return Vec::new() };
    match singles(&found.fixed) {
        Some(list) if found.names.is_empty() && !list.is_empty() => list,
        Some(_) | None => {
            faults
                .error("vpn-dns", &item.span, "a resolver is known by its address")
                .hint("an address, or a name in [host] that stands for one or a few");
            Vec::new()
        }
    }
}

/// The addresses of a set that has no network or range in it.
fn singles(set: &AddressSet) -> Option<Vec<IpAddr>> {
    let v4 = set.v4.intervals().iter();
    let v4 = v4.flat_map(|i| (i.lo..=i.hi).take(MAX_RESOLVERS + 1)).map(|a| IpAddr::V4(a.into()));
    let v6 = set.v6.intervals().iter();
    let v6 = v6.flat_map(|i| (i.lo..=i.hi).take(MAX_RESOLVERS + 1)).map(|a| IpAddr::V6(a.into()));
    let all: Vec<IpAddr> = v4.chain(v6).take(MAX_RESOLVERS + 1).collect();
    (all.len() <= MAX_RESOLVERS).then_some(all)
}
