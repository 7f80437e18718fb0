//! Links, addresses and routes: what the node has, one step of change, and the news.
//!
//! The crates `rtnetlink` and `netlink-packet-route`, which break their interface about monthly, are used in this
//! module and nowhere else. What is wanted is not decided here: see `rempart_plan::net`.
//!
//! Tasks: the `rtnetlink` connection of [`Links`]; one reader per [`Monitor`].

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use ipnet::IpNet;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope, CacheInfo,
};
use netlink_packet_route::link::{
    BondMode as KernelBondMode, BridgeStpState, InfoBond, InfoBridge, InfoData, InfoKind, InfoMacVlan,
    InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags, RouteProtocol,
    RouteType,
};
use nix::errno::Errno;
use rempart_config::model::{BondMode, Device};
use rempart_plan::net::{
    ALIAS, Address, LinkKind, Mac, Network, NextHop, Observed, ObservedLink, ROUTE_PROTOCOL, RouteKey, Step,
};
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkBond, LinkBridge, LinkMacVlan, LinkUnspec, LinkVlan,
    RouteMessageBuilder, new_connection,
};

use crate::sysctl::{self, SysctlError};

mod inner;
mod monitor;

pub use inner::InnerError;
pub use monitor::{Change, Monitor, monitor};

/// How often a bond looks at the carrier of its members, in milliseconds (`miimon`). The kernel's default of 0
/// would never notice a pulled cable.
const BOND_MIIMON_MS: u32 = 100;

/// Why the network could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// No netlink socket.
    #[error("cannot open a netlink socket: {0}; the daemon needs CAP_NET_ADMIN")]
    Open(#[source] io::Error),
    /// A listing failed.
    #[error("cannot list {what}: {source}")]
    List {
        /// `links`, `addresses`, `routes`.
        what: &'static str,
        /// What the kernel said.
        source: rtnetlink::Error,
    },
    /// A step needs a device that is not there.
    #[error("cannot {step}: there is no device {device}; look again and plan again")]
    NoDevice {
        /// The step.
        step: Box<Step>,
        /// The device.
        device: Device,
    },
    /// The kernel refused a step.
    #[error("cannot {step}: {source}{}", hint(*.errno))]
    Step {
        /// The step.
        step: Box<Step>,
        /// The error number, where the kernel gave one.
        errno: Option<i32>,
        /// What the kernel said.
        source: io::Error,
    },
    /// A kernel setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
}

fn hint(errno: Option<i32>) -> &'static str {
    match errno.map(Errno::from_raw) {
        Some(Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) => "; the kernel has no driver for it",
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH) => "; the gateway is on no network of the device",
        Some(Errno::EEXIST) => "; another program made one that collides with it",
        Some(Errno::EPERM | Errno::EACCES) => "; the daemon needs CAP_NET_ADMIN",
        _ => "",
    }
}

/// Counters and state of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkStatistics {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Packets received with an error.
    pub rx_errors: u64,
    /// Packets not sent for an error.
    pub tx_errors: u64,
    /// Packets received and dropped before any filter, for want of buffers mostly.
    pub rx_dropped: u64,
    /// Packets dropped on the way out.
    pub tx_dropped: u64,
    /// Administratively up.
    pub up: bool,
    /// The cable is plugged and the other side answers.
    pub carrier: bool,
    /// Speed in Mbit/s, where the driver knows.
    pub speed_mbps: Option<u32>,
}

/// The hand on the network.
#[derive(Debug)]
pub struct Links {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Links {
    /// Opens a socket in the network namespace of this thread. Needs a Tokio runtime.
    pub fn new() -> Result<Self, LinksError> {
        let (connection, handle, _unsolicited) = new_connection().map_err(LinksError::Open)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Everything that the difference with `network` needs to know.
    pub async fn observe(&self, network: &Network) -> Result<Observed, LinksError> {
        let messages = self.link_messages().await?;
        let names: BTreeMap<u32, Device> =
            messages.iter().filter_map(|m| Some((m.header.index, name_of(m)?))).collect();
        let links = messages.iter().filter_map(|m| Some((name_of(m)?, observed_link(m, &names)))).collect();
        let mut observed = Observed { links, ..Observed::default() };
        let addresses: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|source| LinksError::List { what: "addresses", source })?;
        observed.addresses = addresses
            .iter()
            .filter_map(|m| Some((names.get(&m.header.index)?.clone(), address_of(m)?)))
            .collect();
        for ours in self.route_messages().await? {
            observed.routes.extend(route_of(&ours, &names));
        }
        observed.sysctls = sysctl::observe(network.sysctls.keys())?;
        Ok(observed)
    }

    /// Counters and state of every device.
    pub async fn statistics(&self) -> Result<BTreeMap<Device, LinkStatistics>, LinksError> {
        let messages = self.link_messages().await?;
        Ok(messages.iter().filter_map(|m| Some((name_of(m)?, statistics_of(m)))).collect())
    }

    /// Does one step. A step that turns out to be done already succeeds.
    pub async fn apply(&self, step: &Step) -> Result<(), LinksError> {
        tracing::debug!(%step, reason = step.reason(), "network step");
        match step {
            Step::CreateLink { device, kind, mtu } => self.create(step, device, kind, *mtu).await,
            Step::DeleteLink { device, .. } => match self.index(device).await? {
                Some(index) => {
                    let done = self.handle.link().del(index).execute().await;
                    finish(step, done, &[Errno::ENODEV])
                }
                None => Ok(()),
            },
            Step::SetMaster { device, to, .. } => {
                let master = match to {
                    Some(master) => self.need(step, master).await?,
                    None => 0,
                };
                let index = self.need(step, device).await?;
                let message = LinkUnspec::new_with_index(index).controller(master).build();
                finish(step, self.handle.link().change(message).execute().await, &[])
            }
            Step::SetMtu { device, to, .. } => {
                let message = LinkUnspec::new_with_index(self.need(step, device).await?).mtu(*to).build();
                finish(step, self.handle.link().change(message).execute().await, &[])
            }
            Step::SetUp { device, up } => {
                let link = LinkUnspec::new_with_index(self.need(step, device).await?);
                let message = if *up { link.up() } else { link.down() }.build();
                finish(step, self.handle.link().change(message).execute().await, &[])
            }
            Step::AddAddress(address) => {
                let index = self.need(step, &address.device).await?;
                let mut request =
                    self.handle.address().add(index, address.net.addr(), address.net.prefix_len());
                decorate(request.message_mut(), address);
                finish(step, request.execute().await, &[Errno::EEXIST])
            }
            Step::RemoveAddress(address) => {
                let message = address_message(self.need(step, &address.device).await?, address.net);
                finish(step, self.handle.address().del(message).execute().await, &[Errno::EADDRNOTAVAIL])
            }
            Step::AddRoute { key, hop } => {
                let message = self.route_message(step, key, hop).await?;
                finish(step, self.handle.route().add(message).execute().await, &[])
            }
            Step::ReplaceRoute { key, to, .. } => {
                let message = self.route_message(step, key, to).await?;
                finish(step, self.handle.route().add(message).replace().execute().await, &[])
            }
            Step::DeleteRoute { key, hop } => {
                if let Some(device) = hop.device()
                    && self.index(device).await?.is_none()
                {
                    return Ok(());
                }
                let message = self.route_message(step, key, hop).await?;
                finish(step, self.handle.route().del(message).execute().await, &[Errno::ESRCH])
            }
            Step::SetSysctl { key, from, to } => match sysctl::write(key, to) {
                // Of a device that was just made: whether the kernel has the setting could not be known before.
                Err(SysctlError::Io { source, .. })
                    if from.is_none() && source.kind() == io::ErrorKind::NotFound =>
                {
                    Ok(())
                }
                done => Ok(done?),
            },
        }
    }

    async fn create(
        &self,
        step: &Step,
        device: &Device,
        kind: &LinkKind,
        mtu: Option<u32>,
    ) -> Result<(), LinksError> {
        let name = device.as_str();
        let mut message = match kind {
            LinkKind::Physical => {
                let source =
                    io::Error::new(io::ErrorKind::InvalidInput, "a physical device cannot be created");
                return Err(LinksError::Step { step: Box::new(step.clone()), errno: None, source });
            }
            LinkKind::Vlan { parent, id } => LinkVlan::new(name, self.need(step, parent).await?, *id).build(),
            LinkKind::Bond { mode } => {
                LinkBond::new(name).mode(kernel_mode(*mode)).miimon(BOND_MIIMON_MS).build()
            }
            LinkKind::Bridge { stp } => {
                let state = if *stp { BridgeStpState::KernelStp } else { BridgeStpState::Disabled };
                LinkBridge::new(name).stp_state(state).build()
            }
            LinkKind::MacVlan { parent, mac } => {
                let index = self.need(step, parent).await?;
                LinkMacVlan::new(name, index, MacVlanMode::Bridge).address(mac.0.to_vec()).build()
            }
        };
        message.attributes.extend(mtu.map(LinkAttribute::Mtu));
        finish(step, self.handle.link().add(message).execute().await, &[])?;
        // The kernel ignores an alias while it creates a device.
        let alias = LinkUnspec::new_with_name(name).alias(ALIAS).build();
        finish(step, self.handle.link().change(alias).execute().await, &[])
    }

    async fn route_message(
        &self,
        step: &Step,
        key: &RouteKey,
        hop: &NextHop,
    ) -> Result<RouteMessage, LinksError> {
        let invalid = |e: &dyn std::fmt::Display| LinksError::Step {
            step: Box::new(step.clone()),
            errno: None,
            source: io::Error::new(io::ErrorKind::InvalidInput, e.to_string()),
        };
        let mut route = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(key.to.addr(), key.to.prefix_len())
            .map_err(|e| invalid(&e))?
            .priority(key.metric)
            .protocol(RouteProtocol::from(ROUTE_PROTOCOL));
        match hop {
            NextHop::Blackhole => route = route.kind(RouteType::BlackHole),
            NextHop::Gateway { address, device, onlink } => {
                route = route.output_interface(self.need(step, device).await?);
                route = route.gateway(*address).map_err(|e| invalid(&e))?;
                if *onlink {
                    route = route.onlink();
                }
            }
        }
        Ok(route.build())
    }

    async fn link_messages(&self) -> Result<Vec<LinkMessage>, LinksError> {
        let listing = self.handle.link().get().execute().try_collect().await;
        listing.map_err(|source| LinksError::List { what: "links", source })
    }

    async fn route_messages(&self) -> Result<Vec<RouteMessage>, LinksError> {
        let mut out = Vec::new();
        let families = [
            RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
            RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
        ];
        for question in families {
            let mut listing = std::pin::pin!(self.handle.route().get(question).execute());
            loop {
                match listing.try_next().await {
                    // Only ours are kept: a full routing table is never held in memory.
                    Ok(Some(route)) if is_ours(&route) => out.push(route),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    // A kernel without IPv6.
                    Err(rtnetlink::Error::NetlinkError(e))
                        if e.raw_code() == -(Errno::EAFNOSUPPORT as i32) =>
                    {
                        break;
                    }
                    Err(source) => return Err(LinksError::List { what: "routes", source }),
                }
            }
        }
        Ok(out)
    }

    async fn need(&self, step: &Step, device: &Device) -> Result<u32, LinksError> {
        let missing = || LinksError::NoDevice { step: Box::new(step.clone()), device: device.clone() };
        self.index(device).await?.ok_or_else(missing)
    }

    async fn index(&self, device: &Device) -> Result<Option<u32>, LinksError> {
        let mut answer = std::pin::pin!(self.handle.link().get().match_name(device.as_str()).execute());
        match answer.try_next().await {
            Ok(message) => Ok(message.map(|m| m.header.index)),
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -(Errno::ENODEV as i32) => Ok(None),
            Err(source) => Err(LinksError::List { what: "links", source }),
        }
    }
}

/// The result of a step; `benign` are the errors that say that it was done already.
fn finish(step: &Step, done: Result<(), rtnetlink::Error>, benign: &[Errno]) -> Result<(), LinksError> {
    let (errno, source) = match done {
        Ok(()) => return Ok(()),
        Err(rtnetlink::Error::NetlinkError(e)) => (Some(e.raw_code().saturating_neg()), e.to_io()),
        Err(other) => (None, io::Error::other(other.to_string())),
    };
    if errno.is_some_and(|e| benign.contains(&Errno::from_raw(e))) {
        return Ok(());
    }
    Err(LinksError::Step { step: Box::new(step.clone()), errno, source })
}

fn kernel_mode(mode: BondMode) -> KernelBondMode {
    match mode {
        BondMode::ActiveBackup => KernelBondMode::ActiveBackup,
        BondMode::Lacp => KernelBondMode::Ieee8023Ad,
        BondMode::BalanceRr => KernelBondMode::BalanceRr,
        BondMode::BalanceXor => KernelBondMode::BalanceXor,
    }
}

fn our_mode(mode: KernelBondMode) -> Option<BondMode> {
    match mode {
        KernelBondMode::ActiveBackup => Some(BondMode::ActiveBackup),
        KernelBondMode::Ieee8023Ad => Some(BondMode::Lacp),
        KernelBondMode::BalanceRr => Some(BondMode::BalanceRr),
        KernelBondMode::BalanceXor => Some(BondMode::BalanceXor),
        _ => None,
    }
}

fn address_message(index: u32, net: IpNet) -> AddressMessage {
    match net {
        IpNet::V4(v4) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(index)
            .address(v4.addr(), v4.prefix_len())
            .build(),
        IpNet::V6(v6) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(index)
            .address(v6.addr(), v6.prefix_len())
            .build(),
    }
}

/// An IPv6 address that moves between the nodes must serve at once, without duplicate address detection
/// (RFC 4862 §5.4), and must not be the source of what the node itself sends: preferred for zero seconds, valid
/// for ever.
fn decorate(message: &mut AddressMessage, address: &Address) {
    if address.shared && address.net.addr().is_ipv6() {
        let mut info = CacheInfo::default();
        info.ifa_valid = u32::MAX;
        message.attributes.push(AddressAttribute::CacheInfo(info));
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        message.header.flags = AddressHeaderFlags::Nodad;
    }
}

fn name_of(message: &LinkMessage) -> Option<Device> {
    message.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(Device::new(name.clone())),
        _ => None,
    })
}

fn observed_link(message: &LinkMessage, names: &BTreeMap<u32, Device>) -> ObservedLink {
    let mut link = ObservedLink {
        kind: LinkKind::Physical,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        master: None,
        ours: false,
    };
    let (mut parent, mut mac) = (None, None);
    let mut info: &[LinkInfo] = &[];
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = names.get(index).cloned(),
            LinkAttribute::Link(index) => parent = names.get(index).cloned(),
            LinkAttribute::IfAlias(alias) => link.ours = alias == ALIAS,
            LinkAttribute::Address(address) => mac = address.as_slice().try_into().ok().map(Mac),
            LinkAttribute::LinkInfo(found) => info = found,
            _ => {}
        }
    }
    link.kind = kind_of(info, parent, mac).unwrap_or(LinkKind::Physical);
    link
}

/// What a device is made of, if it is something that we make. A macvlan only with a virtual router's MAC: another one
/// may well be the interface that the document names.
fn kind_of(info: &[LinkInfo], parent: Option<Device>, mac: Option<Mac>) -> Option<LinkKind> {
    let kind = info.iter().find_map(|i| if let LinkInfo::Kind(kind) = i { Some(kind) } else { None })?;
    let data = info.iter().find_map(|i| if let LinkInfo::Data(data) = i { Some(data) } else { None });
    match (kind, data) {
        (InfoKind::Vlan, Some(InfoData::Vlan(data))) => {
            let id = data.iter().find_map(|i| if let InfoVlan::Id(id) = i { Some(*id) } else { None })?;
            Some(LinkKind::Vlan { parent: parent?, id })
        }
        (InfoKind::Bond, Some(InfoData::Bond(data))) => {
            let mode = data.iter().find_map(|i| if let InfoBond::Mode(m) = i { Some(*m) } else { None })?;
            Some(LinkKind::Bond { mode: our_mode(mode)? })
        }
        (InfoKind::Bridge, Some(InfoData::Bridge(data))) => {
            let state =
                data.iter().find_map(|i| if let InfoBridge::StpState(s) = i { Some(s) } else { None });
            Some(LinkKind::Bridge { stp: !matches!(state, None | Some(BridgeStpState::Disabled)) })
        }
        (InfoKind::MacVlan, Some(InfoData::MacVlan(data))) => {
            let bridge = data.contains(&InfoMacVlan::Mode(MacVlanMode::Bridge));
            let mac = mac.filter(|mac| bridge && mac.is_virtual_router())?;
            Some(LinkKind::MacVlan { parent: parent?, mac })
        }
        _ => None,
    }
}

/// The address, if it is one that a plan may keep or remove: permanent, and not of the host itself. What router
/// advertisements or a foreign DHCP client brought has a lifetime.
fn address_of(message: &AddressMessage) -> Option<IpNet> {
    let mut address = None;
    let mut permanent = message.header.flags.contains(AddressHeaderFlags::Permanent);
    for attribute in &message.attributes {
        match attribute {
            // With a peer, `Address` is the other side.
            AddressAttribute::Local(local) => address = Some(*local),
            AddressAttribute::Address(other) if address.is_none() => address = Some(*other),
            AddressAttribute::Flags(flags) => permanent |= flags.contains(AddressFlags::Permanent),
            _ => {}
        }
    }
    let keep = permanent && !matches!(message.header.scope, AddressScope::Host | AddressScope::Nowhere);
    IpNet::new(address.filter(|_| keep)?, message.header.prefix_len).ok()
}

fn is_ours(message: &RouteMessage) -> bool {
    let table = message
        .attributes
        .iter()
        .find_map(|a| if let RouteAttribute::Table(t) = a { Some(*t) } else { None });
    let table = table.unwrap_or(message.header.table.into());
    u8::from(message.header.protocol) == ROUTE_PROTOCOL && table == u32::from(RouteHeader::RT_TABLE_MAIN)
}

/// The route, if it is of a shape that we make. Several next hops are none of ours.
fn route_of(message: &RouteMessage, names: &BTreeMap<u32, Device>) -> Option<(RouteKey, NextHop)> {
    let mut to = None;
    let mut gateway = None;
    let mut device = None;
    let mut metric = 0;
    let ip = |a: &RouteAddress| match a {
        RouteAddress::Inet(a) => Some(IpAddr::V4(*a)),
        RouteAddress::Inet6(a) => Some(IpAddr::V6(*a)),
        _ => None,
    };
    let mut onlink = message.header.flags.contains(RouteFlags::Onlink);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Oif(index) => device = names.get(index).cloned(),
            RouteAttribute::Priority(priority) => metric = *priority,
            // The kernel joins IPv6 routes with one key into one with several next hops.
            RouteAttribute::MultiPath(hops) => {
                let hop = hops.first()?;
                onlink |= hop.flags.contains(RouteNextHopFlags::Onlink);
                device = names.get(&hop.interface_index).cloned();
                gateway = hop.attributes.iter().find_map(|a| match a {
                    RouteAttribute::Gateway(address) => ip(address),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    let to = to.or_else(|| match message.header.address_family {
        netlink_packet_route::AddressFamily::Inet => Some(std::net::Ipv4Addr::UNSPECIFIED.into()),
        netlink_packet_route::AddressFamily::Inet6 => Some(std::net::Ipv6Addr::UNSPECIFIED.into()),
        _ => None,
    })?;
    let key = RouteKey::new(IpNet::new(to, message.header.destination_prefix_length).ok()?, metric);
    let hop = match message.header.kind {
        RouteType::BlackHole => NextHop::Blackhole,
        RouteType::Unicast => NextHop::Gateway { address: gateway?, device: device?, onlink },
        _ => return None,
    };
    Some((key, hop))
}

fn statistics_of(message: &LinkMessage) -> LinkStatistics {
    let mut out = LinkStatistics {
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        speed_mbps: name_of(message).and_then(|d| speed_of(&d)),
        ..LinkStatistics::default()
    };
    for attribute in &message.attributes {
        if let LinkAttribute::Stats64(stats) = attribute {
            out.rx_bytes = stats.rx_bytes;
            out.rx_packets = stats.rx_packets;
            out.tx_bytes = stats.tx_bytes;
            out.tx_packets = stats.tx_packets;
            out.rx_errors = stats.rx_errors;
            out.tx_errors = stats.tx_errors;
            out.rx_dropped = stats.rx_dropped;
            out.tx_dropped = stats.tx_dropped;
        }
    }
    out
}

/// Rtnetlink does not tell the speed. A device without one says -1 or refuses.
fn speed_of(device: &Device) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/sys/class/net/{device}/speed")).ok()?;
    text.trim().parse().ok().filter(|speed| *speed > 0)
}
