//! One virtual router: its machine, its virtual link, and what it tells the neighbours.
//!
//! Owns the translation between the plan, the kernel's numbers and [`vrrp_rs`]. Does nothing by itself: the driver asks for
//! outputs and hands over frames.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use rempart_plan::ha::{CarpPlan, ChecksumForm, RouterPlan, VirtualProtocol};
use rempart_system::linkwatch::{Link, LinkWatch};
use rempart_system::virtual_link::{Batch, VirtualLink};
use vrrp_rs::elector::{
    Announcing, Carp, ChecksumPolicy, DemotionStyle, Preempt, Protocol, Reach, State, Tie, Version, Vrrp,
};
use vrrp_rs::wire::carp::{LinkLocal, Pace, Secret};
use vrrp_rs::wire::frame::{ArpForm, gratuitous_arp, unsolicited_advertisement};
use vrrp_rs::wire::v2::{Auth, AuthText};
use vrrp_rs::{
    Addresses, Centiseconds, Claims, Config, Dialect, Elector, Family, Mac, Priority, Replay, Seconds,
    TtlRule, Vrid, wire,
};

use crate::secrets::Secrets;

#[cfg(test)]
mod tests;

/// Why a virtual router does not take part. It is tried again whenever a link changes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Obstacle {
    /// The interface does not exist.
    NoParent,
    /// The interface has no carrier.
    ParentDown,
    /// The interface has no address that adverts could come from.
    NoSource,
    /// The virtual link does not exist (yet).
    NoLink,
    /// There is a device of that name which is something else.
    OtherLink,
    /// The plan asks for something that the protocol does not have, or names a secret that is not there.
    Plan(String),
}

impl Obstacle {
    /// The stable short name.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoParent | Self::ParentDown => "link-down",
            Self::NoSource => "no-source",
            Self::NoLink | Self::OtherLink => "no-virtual-link",
            Self::Plan(_) => "not-possible",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoParent => f.write_str("the interface does not exist"),
            Self::ParentDown => f.write_str("the interface has no carrier"),
            Self::NoSource => f.write_str("the interface has no address of its own to send adverts from"),
            Self::NoLink => f.write_str("the virtual link does not exist yet"),
            Self::OtherLink => f.write_str("a device of the virtual link's name exists and is not ours"),
            Self::Plan(why) => f.write_str(why),
        }
    }
}

/// What the kernel has to have before a router can take part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Facts {
    parent: u32,
    link: u32,
    source: IpAddr,
}

/// A machine, and what follows from its facts, made beforehand.
#[derive(Debug)]
pub struct Machine {
    facts: Facts,
    /// The state machine.
    pub elector: Elector,
    /// The virtual link.
    pub link: VirtualLink,
    /// Brings it up.
    pub up: Batch,
    /// Brings it down.
    pub down: Batch,
    /// Whether we have brought it up.
    pub is_up: bool,
}

/// A virtual router of the plan.
#[derive(Debug)]
pub struct Router {
    /// What the document asks for.
    pub plan: RouterPlan,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Its machine, once it could be made.
    pub machine: Option<Machine>,
    /// Why it does not take part.
    pub obstacle: Option<Obstacle>,
    /// Frames that tell the neighbours where its addresses are.
    pub announcement: Vec<Vec<u8>>,
    dialect: Dialect,
    mac: Mac,
}

/// Who decides about the role, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Each router for itself, as its protocol says.
    Free,
    /// The node, which is active.
    Active,
    /// The node, which is not.
    Standby,
}

impl Standing {
    fn claims(self) -> Claims {
        match self {
            Self::Free => Claims::Free,
            Self::Active | Self::Standby => Claims::Held,
        }
    }
}

/// What has come of [`Router::adapt`]. Outputs may wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Adapted {
    /// Nothing has changed.
    Same,
    /// It takes part from now on.
    Started,
    /// It has ceased to take part; outputs wait.
    Stopped,
}

impl Router {
    /// A router that does not take part yet.
    pub fn new(plan: RouterPlan) -> Result<Self, Obstacle> {
        let vrid = Vrid::new(plan.vrid).map_err(refused)?;
        let first = plan.addresses.first().ok_or_else(|| Obstacle::Plan("it has no address".into()))?;
        let family = Family::of(first.addr());
        let dialect = match plan.protocol {
            VirtualProtocol::Vrrp3 => Dialect::Vrrp3,
            VirtualProtocol::Vrrp2 => Dialect::Vrrp2,
            VirtualProtocol::Carp => Dialect::Carp,
        };
        let mac = Mac::of_virtual_router(dialect, family, vrid);
        let announcement = on_device(&plan).flat_map(|net| announce(mac, net.addr())).collect();
        Ok(Self { plan, family, machine: None, obstacle: None, announcement, dialect, mac })
    }

    /// Its Ethernet address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Which protocol it speaks.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The state of its machine.
    pub fn state(&self) -> State {
        self.machine.as_ref().map_or(State::Initialize, |machine| machine.elector.state())
    }

    /// Whether it is this router that an advert seen on `device` is for.
    pub fn is_addressed(&self, device: &str, family: Family, vrid: Vrid) -> bool {
        self.plan.parent == device && self.family == family && self.plan.vrid == vrid.get()
    }

    /// Starts, stops or makes the machine anew, as the links now allow. `paired`: all other routers are ours too.
    ///
    /// A router whose virtual link is up was active before, and nothing but our own program or plan has changed: it goes on.
    pub fn adapt(
        &mut self,
        now: Instant,
        watch: &LinkWatch,
        secrets: &Secrets,
        standing: Standing,
        paired: bool,
    ) -> Adapted {
        let made = self.facts(watch).and_then(|facts| match self.machine.take_if(|m| m.facts == facts) {
            Some(machine) => Ok(machine),
            None => self.make(facts, secrets, paired, watch),
        });
        match made {
            Ok(mut machine) => {
                self.obstacle = None;
                let started = machine.elector.state() == State::Initialize;
                if started {
                    machine.elector.set_claims(now, standing.claims());
                    machine.elector.startup(now);
                    match standing {
                        Standing::Free if !machine.is_up => {}
                        Standing::Free | Standing::Active => machine.elector.claim(now),
                        Standing::Standby => {}
                    }
                }
                self.machine = Some(machine);
                if started { Adapted::Started } else { Adapted::Same }
            }
            Err(obstacle) => {
                let news = self.obstacle.as_ref() != Some(&obstacle);
                self.obstacle = Some(obstacle);
                if let Some(machine) = &mut self.machine {
                    machine.elector.shutdown(now);
                }
                if news { Adapted::Stopped } else { Adapted::Same }
            }
        }
    }

    /// Who decides about the role has changed.
    pub fn set_standing(&mut self, now: Instant, standing: Standing) {
        if let Some(machine) = &mut self.machine {
            machine.elector.set_claims(now, standing.claims());
        }
    }

    /// The next thing that its machine wants done.
    pub fn poll_output(&mut self) -> Option<vrrp_rs::Output> {
        self.machine.as_mut()?.elector.poll_output()
    }

    /// Its virtual link, while it takes part.
    pub fn link(&self) -> Option<&VirtualLink> {
        self.machine.as_ref().filter(|machine| machine.elector.state() != State::Initialize).map(|m| &m.link)
    }

    /// Whether we have brought its virtual link up.
    pub fn is_up(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.is_up)
    }

    /// Whether another secret would make it another router.
    pub fn needs_secret(&self) -> bool {
        self.plan.auth.is_some() || self.plan.carp.is_some()
    }

    /// What this router does not carry any more of what `old`, which it replaces, did. Nobody is told of the change but by
    /// the next advert: neither farewell nor silence.
    pub fn given_up(&self, old: &Self) -> Option<Batch> {
        let machine = old.machine.as_ref().filter(|machine| machine.is_up)?;
        let keep: Vec<IpNet> = on_device(&self.plan).copied().collect();
        let gone: Vec<IpNet> =
            machine.link.addresses.iter().filter(|net| !keep.contains(net)).copied().collect();
        Batch::strip(machine.link.index, &gone).ok()
    }

    fn facts(&self, watch: &LinkWatch) -> Result<Facts, Obstacle> {
        let parent = watch.named(&self.plan.parent).ok_or(Obstacle::NoParent)?;
        let link = watch.named(&self.plan.device).ok_or(Obstacle::NoLink)?;
        let ours = link.kind == "macvlan" && link.below == Some(parent.index) && link.mac == Some(self.mac.0);
        if !ours {
            return Err(Obstacle::OtherLink);
        }
        if !parent.running {
            return Err(Obstacle::ParentDown);
        }
        let source = self.source(parent).ok_or(Obstacle::NoSource)?;
        Ok(Facts { parent: parent.index, link: link.index, source })
    }

    /// Where adverts come from: what the document says, or the first fitting address of the interface.
    fn source(&self, parent: &Link) -> Option<IpAddr> {
        let fits = |address: &IpAddr| match (self.family, address) {
            (Family::V4, IpAddr::V4(_)) => true,
            // RFC 9568 §7.2: from the link-local address, which must not be one of the virtual router's.
            (Family::V6, IpAddr::V6(address)) => {
                address.is_unicast_link_local() || !self.plan.unicast.is_empty()
            }
            (Family::V4, IpAddr::V6(_)) | (Family::V6, IpAddr::V4(_)) => false,
        };
        let own = || parent.addresses.iter().map(IpNet::addr);
        let virtual_ones: Vec<IpAddr> = on_device(&self.plan).map(IpNet::addr).collect();
        match self.plan.local {
            Some(local) => own().find(|address| *address == local),
            None => own().find(|address| fits(address) && !virtual_ones.contains(address)),
        }
    }

    fn make(
        &self,
        facts: Facts,
        secrets: &Secrets,
        paired: bool,
        watch: &LinkWatch,
    ) -> Result<Machine, Obstacle> {
        let config = self.config(facts.source, secrets, paired)?;
        let link = VirtualLink { index: facts.link, addresses: on_device(&self.plan).copied().collect() };
        let batch = |made: Result<Batch, _>| made.map_err(refused);
        let up = batch(Batch::up(std::slice::from_ref(&link)))?;
        let down = batch(Batch::down(std::slice::from_ref(&link)))?;
        let is_up = watch.named(&self.plan.device).is_some_and(|link| link.up);
        Ok(Machine { facts, elector: Elector::new(config).map_err(refused)?, link, up, down, is_up })
    }

    fn config(&self, source: IpAddr, secrets: &Secrets, paired: bool) -> Result<Config, Obstacle> {
        let plan = &self.plan;
        let protocol = match plan.protocol {
            VirtualProtocol::Vrrp3 => {
                let checksum = match plan.checksum {
                    ChecksumForm::Rfc9568 => ChecksumPolicy::Always(wire::ChecksumForm::MessageOnly),
                    ChecksumForm::PseudoHeader => ChecksumPolicy::Always(wire::ChecksumForm::PseudoHeader),
                    ChecksumForm::LikePeer => ChecksumPolicy::LikePeer,
                };
                let interval = Centiseconds::new(plan.interval_cs).map_err(refused)?;
                Protocol::Vrrp(self.vrrp(source, Version::V3 { interval, checksum })?)
            }
            VirtualProtocol::Vrrp2 => {
                // Whole seconds (RFC 3768 §5.3.7), and never shorter than asked for.
                let seconds = u8::try_from(plan.interval_cs.div_ceil(100)).unwrap_or(u8::MAX);
                let auth = match &plan.auth {
                    None => Auth::None,
                    Some(name) => Auth::Text(AuthText::new(secret(secrets, name)?).map_err(refused)?),
                };
                let interval = Seconds::new(seconds).map_err(refused)?;
                Protocol::Vrrp(self.vrrp(source, Version::V2 { interval, auth })?)
            }
            VirtualProtocol::Carp => {
                let carp = plan.carp.as_ref().ok_or_else(|| Obstacle::Plan("CARP has no password".into()))?;
                Protocol::Carp(self.carp(source, carp, secrets, paired)?)
            }
        };
        let reach = if plan.unicast.is_empty() {
            Reach::Multicast
        } else {
            Reach::Unicast { peers: plan.unicast.iter().copied().collect(), ttl: TtlRule::OnLink }
        };
        Ok(Config {
            vrid: Vrid::new(plan.vrid).map_err(refused)?,
            protocol,
            preempt: match (plan.preempt, plan.preempt_delay_s) {
                (false, _) => Preempt::Never,
                (true, 0) => Preempt::Always,
                (true, delay_s) => Preempt::After(Duration::from_secs(delay_s.into())),
            },
            accept: plan.accept,
            reach,
            announce: Announcing::usual(self.family),
        })
    }

    fn vrrp(&self, source: IpAddr, version: Version) -> Result<Vrrp, Obstacle> {
        let addresses: Vec<IpAddr> = self.plan.addresses.iter().map(IpNet::addr).collect();
        Ok(Vrrp {
            version,
            priority: Priority::new(self.plan.priority).map_err(refused)?,
            source,
            addresses: Addresses::new(&addresses).map_err(refused)?,
        })
    }

    fn carp(
        &self,
        source: IpAddr,
        plan: &CarpPlan,
        secrets: &Secrets,
        paired: bool,
    ) -> Result<Carp, Obstacle> {
        let v4 = |address: IpAddr| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let v6 = |address: IpAddr| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        };
        let addresses = || self.plan.addresses.iter().map(IpNet::addr);
        // Beside another of ours counters rise, across restarts too; beside a BSD only a constant one is understood.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Carp {
            secret: Secret::new(secret(secrets, &plan.password)?).map_err(refused)?,
            pace: Pace { base: plan.advbase, skew: plan.advskew },
            demotion: DemotionStyle::Skew,
            replay: if paired { Replay::Increasing } else { Replay::Constant },
            first_counter: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            tie: Tie::LowerAddress,
            link_local: LinkLocal::Signed,
            source_v4: v4(source),
            source_v6: v6(source),
            v4: addresses().filter_map(v4).collect(),
            v6: addresses().filter_map(v6).collect(),
        })
    }
}

/// Everything that the virtual link carries.
fn on_device(plan: &RouterPlan) -> impl Iterator<Item = &IpNet> {
    plan.addresses.iter().chain(&plan.unadvertised)
}

fn announce(mac: Mac, address: IpAddr) -> Vec<Vec<u8>> {
    let arp = |address: Ipv4Addr, form| gratuitous_arp(mac, address, form);
    let advertisement = |address: Ipv6Addr| unsolicited_advertisement(mac, address);
    match address {
        // Some neighbours hear only one of the two forms (RFC 5227 §3).
        IpAddr::V4(address) => vec![arp(address, ArpForm::Request), arp(address, ArpForm::Reply)],
        IpAddr::V6(address) => vec![advertisement(address)],
    }
}

fn secret<'a>(secrets: &'a Secrets, name: &str) -> Result<&'a [u8], Obstacle> {
    secrets.get(name).ok_or_else(|| Obstacle::Plan(format!("the secret {name} is not in the store")))
}

fn refused(error: impl fmt::Display) -> Obstacle {
    Obstacle::Plan(error.to_string())
}
