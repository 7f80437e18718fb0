//! Where VRRPv2, VRRPv3 and CARP differ: who outranks whom, how long silence may last, what is sent.
//!
//! The machine in the parent module knows only the four [`Verdict`]s.

mod carp;
mod vrrp;

use std::net::IpAddr;
use std::time::Duration;

use super::config::is_unicast;
use super::output::{Refusal, Transmit};
use super::{Config, Protocol, Reach};
use crate::stats::Statistics;
use crate::types::{Centiseconds, Family, IpHeader, Priority, TtlRule, Vrid};
use crate::wire::{DecodeError, frame};
use carp::CarpRules;
use vrrp::VrrpRules;

/// What an advertisement means to the one who hears it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Verdict {
    /// Its sender stops: priority 0, or a CARP pace that cannot keep us waiting.
    Resigned,
    /// To be obeyed.
    Superior,
    /// From a lower rank.
    Inferior,
    /// From one that calls itself unwell, more so than we are: to be relieved even without preemption (CARP).
    Unwell,
}

/// An advertisement that passed every check.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) verdict: Verdict,
    pub(super) source: IpAddr,
    /// VRRPv3: the sender's interval, for a backup to adopt.
    pub(super) interval: Option<Centiseconds>,
}

/// Who listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Listener {
    /// Backup or Initialize.
    Waiting,
    /// Active.
    Defending,
}

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Message {
    /// "I am active."
    Regular,
    /// "I stop."
    Resignation,
}

/// The rules of one virtual router.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    vrid: Vrid,
    reach: Reach,
    sources: Vec<IpAddr>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Vrrp(Box<VrrpRules>),
    Carp(Box<CarpRules>),
}

impl Rules {
    pub(super) fn new(config: &Config) -> Self {
        let kind = match &config.protocol {
            Protocol::Vrrp(vrrp) => Kind::Vrrp(Box::new(VrrpRules::new(vrrp))),
            Protocol::Carp(carp) => Kind::Carp(Box::new(CarpRules::new(config.vrid, carp))),
        };
        Self { vrid: config.vrid, reach: config.reach.clone(), sources: config.sources(), kind }
    }

    /// Whether startup leads to Active at once (RFC 9568 §6.4.1).
    pub(super) fn is_owner(&self) -> bool {
        match &self.kind {
            Kind::Vrrp(rules) => rules.is_owner(),
            Kind::Carp(_) => false,
        }
    }

    /// Our own address, the IPv4 one if there are two.
    pub(super) fn first_source(&self) -> Option<IpAddr> {
        self.sources.first().copied()
    }

    /// From one of our advertisements to the next: `Advertisement_Interval`.
    pub(super) fn interval(&self) -> Duration {
        match &self.kind {
            Kind::Vrrp(rules) => rules.interval(),
            Kind::Carp(rules) => rules.effective().0.interval(),
        }
    }

    /// From one advertisement of the active router to the next, as far as a backup knows.
    pub(super) fn active_interval(&self) -> Duration {
        match &self.kind {
            Kind::Vrrp(rules) => rules.active_interval(),
            Kind::Carp(rules) => rules.effective().0.interval(),
        }
    }

    /// `Active_Down_Interval` (RFC 9568 §6.1; RFC 3768 §6.1); CARP's own.
    pub(super) fn down_interval(&self) -> Duration {
        match &self.kind {
            Kind::Vrrp(rules) => 3 * rules.active_interval() + rules.skew(),
            Kind::Carp(rules) => rules.effective().0.dead(),
        }
    }

    /// What the active router gets once more after a stall of our own: time for one advertisement, and the skew that
    /// keeps several backups apart.
    pub(super) fn grace(&self) -> Duration {
        self.active_interval() + self.resignation_delay()
    }

    /// How long a backup waits after a resignation: `Skew_Time`, so that the best one comes first. CARP does not wait.
    pub(super) fn resignation_delay(&self) -> Duration {
        match &self.kind {
            Kind::Vrrp(rules) => rules.skew(),
            Kind::Carp(_) => Duration::ZERO,
        }
    }

    /// When a backup that may preempt takes over: CARP at once. VRRP discards the advertisement, and the timer that is
    /// already running decides (RFC 9568 §6.4.2 (470)).
    pub(super) fn preempts_at_once(&self) -> bool {
        match &self.kind {
            Kind::Vrrp(_) => false,
            Kind::Carp(_) => true,
        }
    }

    /// Whether an active router answers a lower-ranked one with an advertisement (RFC 9568 §6.4.3). RFC 3768 §6.4.3
    /// only discards; CARP is silent too.
    pub(super) fn answers_inferior(&self) -> bool {
        match &self.kind {
            Kind::Vrrp(rules) => rules.answers_inferior(),
            Kind::Carp(_) => false,
        }
    }

    /// Forgets what was learnt from active routers (RFC 9568 §6.4.1: `Active_Adver_Interval` is ours again).
    pub(super) fn forget(&mut self) {
        match &mut self.kind {
            Kind::Vrrp(rules) => rules.forget(),
            Kind::Carp(_) => {}
        }
    }

    /// Adopts the active router's interval (RFC 9568 §6.4.2 (450), (455)).
    pub(super) fn adopt(&mut self, heard: &Heard) {
        match (&mut self.kind, heard.interval) {
            (Kind::Vrrp(rules), Some(interval)) => rules.adopt(interval),
            (Kind::Vrrp(_), None) | (Kind::Carp(_), Some(_) | None) => {}
        }
    }

    /// Sets the rank of a VRRP router; CARP has none.
    pub(super) fn set_priority(&mut self, priority: Priority) {
        match &mut self.kind {
            Kind::Vrrp(rules) => rules.set_priority(priority),
            Kind::Carp(_) => {}
        }
    }

    /// Sets how unwell a CARP host is; VRRP has no such thing.
    pub(super) fn set_demotion(&mut self, demotion: u8) {
        match &mut self.kind {
            Kind::Vrrp(_) => {}
            Kind::Carp(rules) => rules.set_demotion(demotion),
        }
    }

    /// The packets that carry `message`: one per family and peer.
    pub(super) fn transmissions(&mut self, message: Message) -> Vec<Transmit> {
        let mut packets = Vec::new();
        for source in &self.sources {
            let family = Family::of(*source);
            let destinations: Vec<IpAddr> = match &self.reach {
                Reach::Multicast => vec![family.group()],
                Reach::Unicast { peers, ttl: _ } => {
                    peers.iter().copied().filter(|peer| Family::of(*peer) == family).collect()
                }
            };
            for destination in destinations {
                let payload = match &mut self.kind {
                    Kind::Vrrp(rules) => rules.encode(self.vrid, message, *source, destination),
                    // Each with a counter of its own, or a listener of both families would take the second for a replay.
                    Kind::Carp(rules) => rules.encode(self.vrid, message),
                };
                packets.push(Transmit {
                    header: IpHeader { source: *source, destination, ttl: frame::TTL },
                    payload,
                });
            }
        }
        packets
    }

    /// Checks and judges a packet (RFC 9568 §7.1).
    pub(super) fn receive(
        &mut self,
        listener: Listener,
        header: &IpHeader,
        bytes: &[u8],
        stats: &mut Statistics,
    ) -> Result<Heard, Refusal> {
        let ttl = self.check_header(header)?;
        match &mut self.kind {
            Kind::Vrrp(rules) => rules.receive(self.vrid, listener, header, ttl, bytes, stats),
            Kind::Carp(rules) => {
                let ours = self.sources.iter().find(|ours| Family::of(**ours) == Family::of(header.source));
                rules.receive(self.vrid, listener, header, ours.copied(), ttl, bytes)
            }
        }
    }

    fn check_header(&self, header: &IpHeader) -> Result<TtlRule, Refusal> {
        let family = Family::of(header.source);
        if family != Family::of(header.destination)
            || !self.sources.iter().any(|source| Family::of(*source) == family)
        {
            return Err(DecodeError::Family.into());
        }
        if self.sources.contains(&header.source) {
            return Err(Refusal::Echo(header.source));
        }
        if !is_unicast(header.source) {
            return Err(Refusal::Source(header.source));
        }
        match &self.reach {
            Reach::Multicast if header.destination == family.group() => Ok(TtlRule::OnLink),
            Reach::Unicast { peers, ttl: _ } if !peers.contains(&header.source) => {
                Err(Refusal::Stranger(header.source))
            }
            Reach::Unicast { peers: _, ttl } if self.sources.contains(&header.destination) => Ok(*ttl),
            Reach::Multicast | Reach::Unicast { .. } => Err(Refusal::Destination(header.destination)),
        }
    }
}

fn check_vrid(found: Vrid, ours: Vrid) -> Result<(), Refusal> {
    if found == ours { Ok(()) } else { Err(Refusal::Vrid(found.get())) }
}
