//! What the elector tells people: news as they happen, and a picture when somebody asks.

use std::fmt;
use std::time::{Duration, Instant};

use rempart_pair::role::{Notice, Status, Why};
use rempart_plan::ha::HaPlan;
use vrrp_rs::elector::{Cause, State};
use vrrp_rs::{Dialect, Statistics};

/// Something that happened, and when.
#[derive(Clone, Debug)]
pub struct News {
    /// When.
    pub at: Instant,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Happening {
    /// The node is active now.
    Active {
        /// Why.
        why: Why,
        /// Of the role.
        epoch: u64,
        /// From the decision until the virtual links were up with their addresses.
        took: Duration,
    },
    /// The node is standby now.
    Standby {
        /// Why.
        why: Why,
    },
    /// What the machine of the node has to say; the path by its name.
    Node(Notice, Option<String>),
    /// A virtual router has changed its state.
    Router {
        /// The interface.
        interface: String,
        /// Its number.
        vrid: u8,
        /// Its new state.
        state: State,
        /// Why.
        cause: Cause,
    },
    /// A virtual router cannot take part, or takes part again.
    Obstacle {
        /// The interface.
        interface: String,
        /// Its number.
        vrid: u8,
        /// Why not; `None`: it does again.
        why: Option<String>,
    },
    /// The kernel did not do what it was asked.
    Kernel {
        /// What it was asked, and what it said.
        what: String,
    },
    /// A gateway has fallen silent, or answers again.
    Gateway {
        /// The interface.
        interface: String,
        /// Whether it answers.
        answers: bool,
    },
    /// The thread could not be given real-time priority.
    NoPriority {
        /// What the kernel said.
        what: String,
    },
}

impl Happening {
    /// The stable short name, if it is for the list of events.
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Active { .. } => Some("role-active"),
            Self::Standby { .. } => Some("role-standby"),
            Self::Node(notice, _) => notice_code(notice),
            Self::Router { state, .. } => match state {
                State::Initialize => None,
                State::Backup => Some("router-backup"),
                State::Active => Some("router-active"),
            },
            Self::Obstacle { why: Some(_), .. } => Some("router-hindered"),
            Self::Obstacle { why: None, .. } => None,
            Self::Kernel { .. } => Some("kernel-refused"),
            Self::Gateway { answers: false, .. } => Some("gateway-silent"),
            Self::Gateway { answers: true, .. } => Some("gateway-back"),
            Self::NoPriority { .. } => Some("no-priority"),
        }
    }

    /// What it is about, for the list of events.
    pub fn about(&self) -> String {
        match self {
            Self::Active { why, .. } | Self::Standby { why } => why.name().into(),
            Self::Node(Notice::Path { state, .. }, Some(interface)) => {
                format!("{interface} {}", state.name())
            }
            Self::Node(notice, _) => notice_about(notice),
            Self::Router { interface, .. }
            | Self::Obstacle { interface, .. }
            | Self::Gateway { interface, .. } => interface.clone(),
            Self::Kernel { what } | Self::NoPriority { what } => what.clone(),
        }
    }
}

fn notice_code(notice: &Notice) -> Option<&'static str> {
    use rempart_pair::role::PathState;
    match notice {
        Notice::Path { state: PathState::Up, .. } => Some("path-up"),
        Notice::Path { state: PathState::OneWay | PathState::Silent | PathState::NoCarrier, .. } => {
            Some("path-down")
        }
        Notice::PeerLost => Some("peer-lost"),
        Notice::PeerBack => Some("peer-back"),
        Notice::PeerRestarted => Some("peer-restarted"),
        Notice::TwoActives { .. } => Some("two-actives"),
        Notice::Damped { .. } => Some("damped"),
        Notice::HandOverBegun { .. } => None,
        Notice::HandOverDone { .. } => Some("handed-over"),
        Notice::HandOverFailed { .. } => Some("hand-over-failed"),
        Notice::Stalled { .. } => Some("stalled"),
    }
}

fn notice_about(notice: &Notice) -> String {
    match notice {
        Notice::Path { path, state } => format!("{path} {}", state.name()),
        Notice::PeerLost | Notice::PeerBack | Notice::PeerRestarted | Notice::Damped { .. } => String::new(),
        Notice::TwoActives { stays } => if *stays { "stays" } else { "steps-down" }.into(),
        Notice::HandOverBegun { purpose } | Notice::HandOverDone { purpose } => format!("{purpose:?}"),
        Notice::HandOverFailed { failure, .. } => failure.to_string(),
        Notice::Stalled { late } => format!("{} ms", late.as_millis()),
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active { why, epoch, took } => {
                write!(
                    f,
                    "active ({}, epoch {epoch}); virtual links up after {} µs",
                    why.name(),
                    took.as_micros()
                )
            }
            Self::Standby { why } => write!(f, "standby ({})", why.name()),
            Self::Node(notice, Some(path)) => write!(f, "{notice:?}: {path}"),
            Self::Node(notice, None) => write!(f, "{notice:?}"),
            Self::Router { interface, vrid, state, cause } => {
                write!(f, "virtual router {vrid} on {interface}: {state:?} ({cause:?})")
            }
            Self::Obstacle { interface, vrid, why: Some(why) } => {
                write!(f, "virtual router {vrid} on {interface} does not take part: {why}")
            }
            Self::Obstacle { interface, vrid, why: None } => {
                write!(f, "virtual router {vrid} on {interface} takes part")
            }
            Self::Kernel { what } => f.write_str(what),
            Self::Gateway { interface, answers: false } => {
                write!(f, "the gateway on {interface} does not answer")
            }
            Self::Gateway { interface, answers: true } => write!(f, "the gateway on {interface} answers"),
            Self::NoPriority { what } => write!(f, "no real-time priority: {what}"),
        }
    }
}

/// Everything at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// What the document asks for.
    pub plan: Option<HaPlan>,
    /// Whether the two nodes have exchanged keys.
    pub paired: bool,
    /// The machine of the node.
    pub node: Status,
    /// The virtual routers, in the order of the plan.
    pub routers: Vec<RouterPicture>,
}

/// A virtual router at one moment.
#[derive(Clone, Debug)]
pub struct RouterPicture {
    /// The interface in the document.
    pub interface: String,
    /// Its number.
    pub vrid: u8,
    /// Its protocol.
    pub dialect: Dialect,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Its state.
    pub state: State,
    /// Who is active as far as adverts tell.
    pub active_router: Option<std::net::IpAddr>,
    /// Its counters.
    pub statistics: Statistics,
    /// Why it does not take part, as a stable short name.
    pub obstacle: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rempart_pair::role::PathState;

    /// In: a path's news. Out: the path is named as the document names it, for those who act on it; people are told its state, too.
    #[test]
    fn a_path_is_named_as_in_the_document() {
        let silent = Notice::Path { path: 1, state: PathState::Silent };
        let happening = Happening::Node(silent, Some("wan".into()));
        assert!(matches!(&happening, Happening::Node(_, Some(name)) if name == "wan"));
        assert_eq!((happening.code(), happening.about()), (Some("path-down"), "wan silent".into()));
    }
}
