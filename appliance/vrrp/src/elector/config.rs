//! What the operator decides about one virtual router, and what is wrong with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::replay::Replay;
use crate::types::{
    Addresses, Centiseconds, Dialect, Family, Priority, Seconds, TtlRule, Vrid, is_link_local_v6,
};
use crate::wire::ChecksumForm;
use crate::wire::carp::{LinkLocal, Pace, Secret};
use crate::wire::v2::Auth;

/// Unicast peers of one virtual router. A segment with more routers than this should use multicast.
pub const MAX_PEERS: usize = 16;
/// Repeated announcements after taking over. More would only shout.
pub const MAX_REPEATS: usize = 8;
/// The shortest time between two refreshing announcements.
pub const MIN_REFRESH: Duration = Duration::from_secs(1);

/// One virtual router of this machine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which one.
    pub vrid: Vrid,
    /// Which protocol, and what only that protocol asks.
    pub protocol: Protocol,
    /// Whether a lower-ranked active router is taken over from.
    pub preempt: Preempt,
    /// Whether packets *to* the virtual addresses are accepted by an active router that does not own them
    /// (RFC 9568 §6.1, `Accept_Mode`). The elector only reports it, in [`super::RoleChange`].
    pub accept: bool,
    /// Whom advertisements are for.
    pub reach: Reach,
    /// When the addresses are announced.
    pub announce: Announcing,
}

/// What the three protocols have of their own.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// VRRP version 2 or 3; one family.
    Vrrp(Vrrp),
    /// CARP version 2; one virtual host carries both families.
    Carp(Carp),
}

/// A VRRP router.
#[derive(Clone, Debug)]
pub struct Vrrp {
    /// Version and what differs with it.
    pub version: Version,
    /// Rank; [`Priority::OWNER`] only where the interface itself has the addresses.
    pub priority: Priority,
    /// The primary address of the interface: the source of advertisements and the tie-break. In IPv6 its link-local
    /// address, which must not be derived from the virtual MAC: the other router's would be the same.
    pub source: IpAddr,
    /// The virtual addresses. In IPv6 the first one is link-local (RFC 9568 §5.2.9).
    pub addresses: Addresses,
}

/// Which VRRP.
#[derive(Clone, Debug)]
pub enum Version {
    /// RFC 3768, IPv4 only.
    V2 {
        /// Must be the same on all routers.
        interval: Seconds,
        /// Must be the same on all routers.
        auth: Auth,
    },
    /// RFC 9568.
    V3 {
        /// Used while active; a backup uses what the active router advertises.
        interval: Centiseconds,
        /// How the IPv4 checksum is sent. Both forms are received.
        checksum: ChecksumPolicy,
    },
}

/// Which form of the VRRPv3/IPv4 checksum is sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChecksumPolicy {
    /// Always this one.
    Always(ChecksumForm),
    /// The one last received; the RFC's until something has been.
    LikePeer,
}

/// A CARP virtual host.
#[derive(Clone, Debug)]
pub struct Carp {
    /// Shared by all.
    pub secret: Secret,
    /// How often, and how preferred: the faster is active.
    pub pace: Pace,
    /// How this machine says that it is unwell.
    pub demotion: DemotionStyle,
    /// What the peers' counters do.
    pub replay: Replay,
    /// Where our own counter starts. Random for BSD and ucarp peers; for [`Replay::Increasing`] something that has grown
    /// since the last start, such as the time of day in nanoseconds.
    pub first_counter: u64,
    /// What an active router does about another of its own pace.
    pub tie: Tie,
    /// Whether our HMAC covers link-local addresses.
    pub link_local: LinkLocal,
    /// The interface's own IPv4 address; needed with virtual IPv4 addresses.
    pub source_v4: Option<Ipv4Addr>,
    /// The interface's own link-local address; needed with virtual IPv6 addresses.
    pub source_v6: Option<Ipv6Addr>,
    /// Virtual IPv4 addresses.
    pub v4: BTreeSet<Ipv4Addr>,
    /// Virtual IPv6 addresses.
    pub v6: BTreeSet<Ipv6Addr>,
}

/// Where CARP carries the demotion counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DemotionStyle {
    /// OpenBSD: in its own byte, compared before the pace. FreeBSD and ucarp do not read it.
    Byte,
    /// FreeBSD and pfSense: added to advskew, up to 240. Every implementation understands it.
    Skew,
}

/// Two active CARP routers of the same pace.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tie {
    /// The lower source address stays active. As ucarp, which however compares the bytes as a little-endian number on
    /// most machines: the same thing while the addresses differ in their last byte only.
    LowerAddress,
    /// Whoever hears the other steps down, as in the BSDs; both may.
    StepDown,
}

/// Whether and when a lower-ranked active router is taken over from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Preempt {
    /// `Preempt_Mode` False.
    Never,
    /// `Preempt_Mode` True.
    Always,
    /// True once a lower-ranked active router has been heard for so long without a better one. Not in the RFC; until
    /// then the router behaves as with `Preempt_Mode` False.
    After(Duration),
}

/// Whom advertisements are for, and from whom they are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// The group of the protocol.
    Multicast,
    /// Only these, one packet each; and only from these. Not in the RFC.
    Unicast {
        /// 1 to [`MAX_PEERS`].
        peers: BTreeSet<IpAddr>,
        /// [`TtlRule::OnLink`] unless a peer is behind a router.
        ttl: TtlRule,
    },
}

/// When the virtual addresses are announced by gratuitous ARP or unsolicited neighbour advertisements.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Announcing {
    /// After the first one at take-over, counted from it, ascending; at most [`MAX_REPEATS`].
    pub repeats: Vec<Duration>,
    /// Once the repeats are over; at least [`MIN_REFRESH`].
    pub refresh: Option<Duration>,
}

impl Announcing {
    /// IPv4: at 0, 0.1, 1 and 5 s, then every minute, because some gateways never ask again. The RFC has the first only.
    ///
    /// IPv6: at 0, 1 and 2 s: RFC 4861 §7.2.6 allows three, a second apart (§10, `MAX_NEIGHBOR_ADVERTISEMENT`,
    /// `RETRANS_TIMER`).
    pub fn usual(family: Family) -> Self {
        let ms = Duration::from_millis;
        match family {
            Family::V4 => {
                Self { repeats: vec![ms(100), ms(1000), ms(5000)], refresh: Some(Duration::from_secs(60)) }
            }
            Family::V6 => Self { repeats: vec![ms(1000), ms(2000)], refresh: None },
        }
    }
}

/// What is wrong with a configuration. The operator is to change it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// VRRPv2 knows IPv4 only.
    #[error("VRRP version 2 cannot carry IPv6 addresses: use version 3")]
    V2NeedsIpv4,
    /// RFC 9568 §5.2.9.
    #[error("the first virtual IPv6 address must be link-local, {0} is not")]
    FirstNotLinkLocal(IpAddr),
    /// RFC 9568 §7.2.
    #[error("multicast advertisements over IPv6 come from a link-local address, {0} is not one")]
    SourceNotLinkLocal(IpAddr),
    /// A source or peer nobody can have.
    #[error("{0} cannot be the address of a router")]
    NotUnicast(IpAddr),
    /// Source, virtual addresses and peers must agree.
    #[error("{0} is of the wrong family")]
    Family(IpAddr),
    /// CARP without addresses.
    #[error("a virtual host needs at least one address")]
    NoAddress,
    /// More than [`Addresses::MAX`] in one family.
    #[error("{0} virtual addresses of one family, at most 255 are possible")]
    TooManyAddresses(usize),
    /// CARP addresses of a family for which the interface has none.
    #[error("virtual {0:?} addresses need an address of the interface in that family")]
    NoSource(Family),
    /// CARP's 255/255 means "I stop".
    #[error("advbase 255 with advskew 255 is the farewell and cannot be configured")]
    PaceIsFarewell,
    /// See [`MAX_PEERS`].
    #[error("{0} unicast peers, 1 to 16 are possible")]
    PeerCount(usize),
    /// Our own address among the peers.
    #[error("{0} is this router and cannot be its own peer")]
    PeerIsSelf(IpAddr),
    /// See [`Announcing`].
    #[error("announcements: at most 8 repeats in ascending order, and a refresh of a second or more")]
    Announcing,
}

impl Config {
    /// Everything that the types cannot rule out.
    pub fn check(&self) -> Result<(), ConfigError> {
        match &self.protocol {
            Protocol::Vrrp(vrrp) => self.check_vrrp(vrrp)?,
            Protocol::Carp(carp) => self.check_carp(carp)?,
        }
        let sources = self.sources();
        if let Some(address) = sources.iter().find(|address| !is_unicast(**address)) {
            return Err(ConfigError::NotUnicast(*address));
        }
        match &self.reach {
            Reach::Multicast => {}
            Reach::Unicast { peers, ttl: _ } => check_peers(peers, &sources)?,
        }
        let Announcing { repeats, refresh } = &self.announce;
        let ascending = repeats.is_sorted_by(|a, b| a < b);
        if repeats.len() > MAX_REPEATS || !ascending || refresh.is_some_and(|every| every < MIN_REFRESH) {
            return Err(ConfigError::Announcing);
        }
        Ok(())
    }

    fn check_vrrp(&self, vrrp: &Vrrp) -> Result<(), ConfigError> {
        let family = vrrp.addresses.family();
        if Family::of(vrrp.source) != family {
            return Err(ConfigError::Family(vrrp.source));
        }
        match (&vrrp.version, family) {
            (Version::V2 { .. }, Family::V6) => return Err(ConfigError::V2NeedsIpv4),
            (Version::V2 { .. } | Version::V3 { .. }, Family::V4) | (Version::V3 { .. }, Family::V6) => {}
        }
        let first = vrrp.addresses.first();
        if family == Family::V6 && !is_link_local(first) {
            return Err(ConfigError::FirstNotLinkLocal(first));
        }
        if family == Family::V6 && self.reach == Reach::Multicast && !is_link_local(vrrp.source) {
            return Err(ConfigError::SourceNotLinkLocal(vrrp.source));
        }
        Ok(())
    }

    fn check_carp(&self, carp: &Carp) -> Result<(), ConfigError> {
        let most = carp.v4.len().max(carp.v6.len());
        if most == 0 {
            return Err(ConfigError::NoAddress);
        }
        if most > Addresses::MAX {
            return Err(ConfigError::TooManyAddresses(most));
        }
        if !carp.v4.is_empty() && carp.source_v4.is_none() {
            return Err(ConfigError::NoSource(Family::V4));
        }
        if !carp.v6.is_empty() && carp.source_v6.is_none() {
            return Err(ConfigError::NoSource(Family::V6));
        }
        if carp.pace == Pace::BOW_OUT {
            return Err(ConfigError::PaceIsFarewell);
        }
        Ok(())
    }

    /// Our own addresses, one per family in use.
    pub(super) fn sources(&self) -> Vec<IpAddr> {
        match &self.protocol {
            Protocol::Vrrp(vrrp) => vec![vrrp.source],
            Protocol::Carp(carp) => {
                let v4 = carp.source_v4.filter(|_| !carp.v4.is_empty()).map(IpAddr::V4);
                let v6 = carp.source_v6.filter(|_| !carp.v6.is_empty()).map(IpAddr::V6);
                v4.into_iter().chain(v6).collect()
            }
        }
    }

    /// Which protocol the router speaks.
    pub fn dialect(&self) -> Dialect {
        match &self.protocol {
            Protocol::Vrrp(Vrrp { version: Version::V2 { .. }, .. }) => Dialect::Vrrp2,
            Protocol::Vrrp(Vrrp { version: Version::V3 { .. }, .. }) => Dialect::Vrrp3,
            Protocol::Carp(_) => Dialect::Carp,
        }
    }

    /// The virtual addresses.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match &self.protocol {
            Protocol::Vrrp(vrrp) => vrrp.addresses.iter().collect(),
            Protocol::Carp(carp) => {
                let v4 = carp.v4.iter().copied().map(IpAddr::V4);
                v4.chain(carp.v6.iter().copied().map(IpAddr::V6)).collect()
            }
        }
    }
}

fn check_peers(peers: &BTreeSet<IpAddr>, sources: &[IpAddr]) -> Result<(), ConfigError> {
    if peers.is_empty() || peers.len() > MAX_PEERS {
        return Err(ConfigError::PeerCount(peers.len()));
    }
    for peer in peers {
        if !is_unicast(*peer) {
            return Err(ConfigError::NotUnicast(*peer));
        }
        if sources.contains(peer) {
            return Err(ConfigError::PeerIsSelf(*peer));
        }
        if !sources.iter().any(|source| Family::of(*source) == Family::of(*peer)) {
            return Err(ConfigError::Family(*peer));
        }
    }
    Ok(())
}

pub(super) fn is_unicast(address: IpAddr) -> bool {
    let broadcast = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(_) => false,
    };
    !address.is_unspecified() && !address.is_multicast() && !broadcast
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => is_link_local_v6(address),
    }
}
