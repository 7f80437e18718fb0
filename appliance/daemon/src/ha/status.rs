//! The status document: what the elector knows, in words for people and with the time of the clock.

use std::collections::VecDeque;
use std::time::Instant;

use jiff::Timestamp;
use rempart_bus::codes::{AilmentCode, RefusalCode};
use rempart_bus::ha::{
    Ailment, ConfigurationStatus, HaEvent, HaStatus, JournalStatus, OtherNode, PathStatus, RouterStatus,
};
use rempart_pair::heartbeat::Heartbeat;
use rempart_pair::role::{Daemon, Failure, Health, Notice, Role};
use rempart_plan::ha::HaPlan;
use vrrp_rs::Dialect;
use vrrp_rs::elector::State;

use crate::elector::news::{Happening, News, RouterPicture, Snapshot};
use crate::worker::Shared;

/// Events that are kept.
const EVENTS: usize = 64;

/// What has happened, the newest last; and since when what is wrong has been so.
#[derive(Debug, Default)]
pub struct History {
    events: VecDeque<HaEvent>,
    ailments: Vec<Ailment>,
}

impl History {
    /// Keeps what is worth it.
    pub fn note(&mut self, news: &News) {
        let Some(code) = news.what.code() else { return };
        if self.events.len() >= EVENTS {
            self.events.pop_front();
        }
        let time = Clock::now().at(news.at);
        let about = match &news.what {
            Happening::Node(Notice::HandOverFailed { failure: why, .. }, _) => failure(*why).to_string(),
            what => what.about(),
        };
        self.events.push_back(HaEvent { time, code: code.into(), about });
    }

    /// The same ailments with the time since when each has been seen.
    fn dated(&mut self, now: &str, found: Vec<(String, String)>) -> Vec<Ailment> {
        let known = std::mem::take(&mut self.ailments);
        let since = |code: &str, about: &str| {
            known
                .iter()
                .find(|a| a.code == code && a.about == about)
                .map_or(now.to_owned(), |a| a.since.clone())
        };
        let dated = |(code, about): (String, String)| Ailment { since: since(&code, &about), code, about };
        self.ailments = found.into_iter().map(dated).collect();
        self.ailments.clone()
    }
}

/// The same moment on both clocks.
#[derive(Clone, Copy)]
struct Clock {
    running: Instant,
    wall: Timestamp,
}

impl Clock {
    fn now() -> Self {
        Self { running: Instant::now(), wall: Timestamp::now() }
    }

    /// RFC 3339, in UTC, to the millisecond.
    fn at(&self, moment: Instant) -> String {
        let wall = match moment.checked_duration_since(self.running) {
            Some(ahead) => self.wall.checked_add(ahead),
            None => self.wall.checked_sub(self.running.duration_since(moment)),
        };
        let wall = wall.unwrap_or(self.wall);
        format!("{wall:.3}")
    }
}

/// Why a hand-over failed, as a stable short name.
pub fn failure(failure: Failure) -> RefusalCode {
    match failure {
        Failure::Flush => RefusalCode::NotFlushed,
        Failure::NotReady => RefusalCode::NotReady,
        Failure::NotTaken => RefusalCode::NotTaken,
        Failure::PeerLost => RefusalCode::PeerLost,
        Failure::PeerUnfit => RefusalCode::PeerUnfit,
        Failure::Cancelled => RefusalCode::Cancelled,
    }
}

/// The document for what the elector says.
pub fn of(shared: &Shared, snapshot: &Snapshot) -> HaStatus {
    let clock = Clock::now();
    let node = &snapshot.node;
    let plan = snapshot.plan.as_ref();
    let mut found = health(&node.health, plan);
    if node.maintenance {
        found.push((AilmentCode::Maintenance.name().into(), String::new()));
    }
    if shared.control_absent.load(std::sync::atomic::Ordering::Relaxed) {
        found.push((AilmentCode::DaemonDown.name().into(), Daemon::Control.name().into()));
    }
    for router in &snapshot.routers {
        let ailment = router.obstacle.map(|code| (code.to_owned(), router.interface.clone()));
        found.extend(ailment.filter(|ailment| !found.contains(ailment)));
    }
    let mut history = shared.history.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    HaStatus {
        version: 1,
        node: shared.node.clone(),
        peer: plan.and_then(|plan| plan.peer.clone()),
        paired: snapshot.paired,
        role: role(snapshot),
        since: clock.at(node.since),
        why: node.why.name().into(),
        epoch: node.epoch,
        maintenance: node.maintenance,
        damped_until: node.damped_until.map(|until| clock.at(until)),
        failback_at: node.failback_at.map(|at| clock.at(at)),
        ailments: history.dated(&clock.at(clock.running), found),
        other: node.peer.as_ref().map(|peer| OtherNode {
            node: plan.and_then(|plan| plan.peer.clone()).unwrap_or_default(),
            alive: peer.alive,
            role: peer.said.role.name().into(),
            epoch: peer.said.epoch,
            heard: clock.at(peer.heard),
            maintenance: peer.said.maintenance,
            ailments: others(&peer.said, plan),
            product_version: peer.said.product.to_string(),
        }),
        paths: paths(snapshot, clock),
        routers: snapshot.routers.iter().map(router).collect(),
        journal: journal(shared),
        configuration: configuration(shared, snapshot),
        events: history.events.iter().cloned().collect(),
    }
}

fn journal(shared: &Shared) -> JournalStatus {
    let journal = shared.journal.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match &*journal {
        Some(journal) => journal.handle().snapshot().document(),
        None => JournalStatus { state: "off".into(), ..JournalStatus::default() },
    }
}

/// Of a node without a partner the routers' roles are told as one.
fn role(snapshot: &Snapshot) -> String {
    let active = snapshot.routers.iter().any(|router| router.state == State::Active);
    match snapshot.node.role {
        _ if snapshot.routers.is_empty() => "none".into(),
        Some(Role::Starting) => Role::Standby.name().into(),
        Some(role) => role.name().into(),
        None => if active { Role::Active } else { Role::Standby }.name().into(),
    }
}

fn paths(snapshot: &Snapshot, clock: Clock) -> Vec<PathStatus> {
    let plans = snapshot.plan.iter().flat_map(|plan| &plan.paths);
    let path = |(plan, status): (&rempart_plan::ha::PathPlan, &rempart_pair::role::PathStatus)| PathStatus {
        interface: plan.interface.clone(),
        device: plan.device.clone(),
        sync: plan.sync,
        state: status.state.name().into(),
        since: clock.at(status.since),
        rtt_us: status.rtt.map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
        heard: status.heard,
        lost: status.lost,
        refused: status.refused,
    };
    plans.zip(&snapshot.node.paths).map(path).collect()
}

fn router(router: &RouterPicture) -> RouterStatus {
    let counted = &router.statistics;
    RouterStatus {
        interface: router.interface.clone(),
        vrid: router.vrid,
        protocol: match router.dialect {
            Dialect::Vrrp3 => "vrrp3",
            Dialect::Vrrp2 => "vrrp2",
            Dialect::Carp => "carp",
        }
        .into(),
        addresses: router.addresses.clone(),
        state: match router.state {
            State::Initialize => "initialize",
            State::Backup => "backup",
            State::Active => "active",
        }
        .into(),
        active_router: router.active_router.map(|address| address.to_string()),
        sent: counted.sent,
        received: counted.received,
        refused: counted.checksum_errors
            + counted.version_errors
            + counted.vrid_errors
            + counted.interval_errors
            + counted.ttl_errors
            + counted.type_errors
            + counted.length_errors
            + counted.auth_type_errors
            + counted.auth_mismatches
            + counted.auth_failures
            + counted.replays
            + counted.strangers,
    }
}

/// What the control daemon says; what it does not know of the other node, the heartbeats may.
fn configuration(shared: &Shared, snapshot: &Snapshot) -> ConfigurationStatus {
    let said = shared.peer.configuration();
    let heard = snapshot.node.peer.as_ref().map(|peer| peer.said.revision);
    let state = if said.state.is_empty() { "unknown".into() } else { said.state };
    ConfigurationStatus { other: said.other.or(heard), state, ..said }
}

/// The other node's ailments. Both nodes have the same document, so its interfaces have the same places.
fn others(said: &Heartbeat, plan: Option<&HaPlan>) -> Vec<Ailment> {
    let dateless = |(code, about)| Ailment { code, about, since: String::new() };
    health(&said.health, plan).into_iter().map(dateless).collect()
}

/// Short name and what it is about.
fn health(health: &Health, plan: Option<&HaPlan>) -> Vec<(String, String)> {
    let interfaces = || plan.into_iter().flat_map(|plan| &plan.monitors).enumerate();
    let of = |bits: u32, code: AilmentCode| {
        let set = move |place: usize| {
            u32::try_from(place).is_ok_and(|place| bits.checked_shr(place).unwrap_or(0) & 1 == 1)
        };
        interfaces()
            .filter(move |(place, _)| set(*place))
            .map(move |(_, m)| (code.name().into(), m.interface.clone()))
    };
    let daemon_down = |daemon: &Daemon| health.daemons_down & (1 << (*daemon as u16)) != 0;
    let daemons = Daemon::ALL.into_iter().filter(daemon_down);
    let mut found: Vec<(String, String)> = of(health.links_down, AilmentCode::LinkDown).collect();
    found.extend(of(health.gateways_silent, AilmentCode::GatewaySilent));
    found.extend(daemons.map(|daemon| (AilmentCode::DaemonDown.name().into(), daemon.name().into())));
    found
}

#[cfg(test)]
mod tests {
    use rempart_bus::codes::{EventCode, PartCode, WhyCode};

    use super::*;

    /// The short names in the body of a function of a source: its literals of lower-case letters and hyphens.
    fn names(source: &'static str, of: &str, function: &str) -> Vec<&'static str> {
        let from = source.find(of).unwrap_or_else(|| panic!("there is no {of}"));
        let from = from + source[from..].find(function).unwrap_or_else(|| panic!("{of} has no {function}"));
        let body = source[from..].split("\n    }\n").next().unwrap_or_default();
        let body = body.split("\n}\n").next().unwrap_or_default();
        let quoted = body.split('"').skip(1).step_by(2);
        let found: Vec<_> =
            quoted.filter(|q| q.chars().all(|c| c.is_ascii_lowercase() || c == '-')).collect();
        assert!(!found.is_empty(), "{of} {function} names nothing");
        found
    }

    /// In: every short name that the elector gives to what ails it, to what happens and to why. Out: the bus knows it,
    /// so the console has words for it.
    #[test]
    fn every_short_name_is_known() {
        let (news, router) = (include_str!("elector/news.rs"), include_str!("elector/router.rs"));
        let role = include_str!("../../../pair/src/role/types.rs");
        for name in
            [names(news, "impl Happening", "fn code"), names(news, "fn notice_code", "fn notice_code")]
                .concat()
        {
            assert!(EventCode::named(name).is_some(), "event {name}");
        }
        for name in names(router, "impl Obstacle", "fn code") {
            assert!(AilmentCode::named(name).is_some(), "ailment {name}");
        }
        for name in names(role, "impl Why", "fn name") {
            assert!(WhyCode::named(name).is_some(), "why {name}");
        }
        for daemon in Daemon::ALL {
            assert!(PartCode::named(daemon.name()).is_some(), "{daemon:?}");
        }
    }
}
