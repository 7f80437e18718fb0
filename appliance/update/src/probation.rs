//! What a version on trial has to prove: that everything is as good as it was before the restart.
//!
//! The comparison is with a [`Snapshot`] that the version before took of itself when the new one was about to start. A cable
//! that was unplugged then proves nothing now; a card that has lost its driver does. Where no snapshot has survived, what
//! every box must be able to do still counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a new version may take until it is as good as the one before: a port of a switch with spanning tree listens and
/// learns for 30 to 50 s, a lease may be asked for four times (RFC 2131 §4.1), and the box may be small.
pub const LIMIT: Duration = Duration::from_secs(300);
/// How long all must be well without a break.
pub const STEADY: Duration = Duration::from_secs(20);

/// Complaints of the control daemon that speak against a version. Others (a name that is not resolved, a block list) are
/// about the world.
pub const DECISIVE_FAULTS: [&str; 3] = ["apply-failed", "state-damaged", "device-missing"];

/// How a box is, as far as a version is judged by it. Fields are only ever added: it is written by one version and read by
/// another.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// `rempartd` answers on the bus.
    pub control: bool,
    /// The revision in force.
    pub revision: Option<u32>,
    /// Complaints of [`DECISIVE_FAULTS`].
    pub faults: BTreeSet<String>,
    /// Whether each interface of the document has a link.
    pub links: BTreeMap<String, bool>,
    /// `rempart-ha` answers on the bus.
    pub elector: bool,
    /// `active`, `standby`, or `none` where the document has no virtual address.
    pub role: String,
    /// What makes the node unfit for the role, by code and what it is about.
    pub ailments: BTreeSet<String>,
    /// The other node is heard.
    pub other: bool,
    /// `rempart-vpn` answers on the bus.
    pub vpn: bool,
    /// The document asks for a VPN, and `rempart-vpn` knows.
    pub vpn_configured: bool,
}

/// Something that a new version lacks.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(tag = "code", content = "about", rename_all = "kebab-case")]
pub enum Lack {
    /// `rempartd` does not answer.
    Control,
    /// Another revision is in force than before, or none.
    Revision,
    /// The control daemon complains, as it did not before.
    Fault(String),
    /// This interface had a link.
    Link(String),
    /// `rempart-ha` does not answer.
    Elector,
    /// The node had a role.
    Role,
    /// Something makes the node unfit, and did not before.
    Ailment(String),
    /// The other node was heard.
    Other,
    /// `rempart-vpn` does not answer, or does not know what the document asks for.
    Vpn,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control => f.write_str("rempartd does not answer"),
            Self::Revision => f.write_str("the committed revision is not in force"),
            Self::Fault(code) => write!(f, "rempartd complains: {code}"),
            Self::Link(interface) => write!(f, "{interface} has no link"),
            Self::Elector => f.write_str("rempart-ha does not answer"),
            Self::Role => f.write_str("the node has no role"),
            Self::Ailment(about) => write!(f, "the node is unfit: {about}"),
            Self::Other => f.write_str("the other node is not heard"),
            Self::Vpn => f.write_str("rempart-vpn does not answer or does not serve"),
        }
    }
}

/// What `now` lacks of what was before.
pub fn lacks(before: &Snapshot, now: &Snapshot) -> Vec<Lack> {
    let mut lacks = Vec::new();
    let mut unless = |good: bool, lack: Lack| {
        if !good {
            lacks.push(lack)
        }
    };
    // These run on every box, whatever was before.
    unless(now.control, Lack::Control);
    unless(now.elector, Lack::Elector);
    // This one is on the bus once a document has asked for it.
    unless((now.vpn || !before.vpn) && (now.vpn_configured || !before.vpn_configured), Lack::Vpn);
    // A pair may have agreed on a newer one meanwhile.
    unless(now.revision >= before.revision, Lack::Revision);
    for fault in now.faults.difference(&before.faults) {
        unless(false, Lack::Fault(fault.clone()));
    }
    for (interface, _) in before.links.iter().filter(|(_, up)| **up) {
        unless(now.links.get(interface) == Some(&true), Lack::Link(interface.clone()));
    }
    let has_role = |snapshot: &Snapshot| matches!(snapshot.role.as_str(), "active" | "standby");
    unless(has_role(now) || !has_role(before), Lack::Role);
    for ailment in now.ailments.difference(&before.ailments) {
        unless(false, Lack::Ailment(ailment.clone()));
    }
    unless(now.other || !before.other, Lack::Other);
    lacks
}

/// How a trial stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Look again.
    Wait,
    /// The version stays.
    Good,
    /// It goes: this was still lacking at the end.
    Bad(Vec<Lack>),
}

/// A trial. Times are since the start of the box.
#[derive(Clone, Debug)]
pub struct Probation {
    before: Snapshot,
    begun: Duration,
    /// Since when nothing has been lacking.
    well: Option<Duration>,
    lacking: Vec<Lack>,
}

impl Probation {
    /// A trial that begins now.
    pub fn new(before: Snapshot, now: Duration) -> Self {
        Self { before, begun: now, well: None, lacking: Vec::new() }
    }

    /// What is lacking as of the last look.
    pub fn lacking(&self) -> &[Lack] {
        &self.lacking
    }

    /// Somebody has looked.
    pub fn handle_snapshot(&mut self, snapshot: &Snapshot, now: Duration) -> Verdict {
        self.lacking = lacks(&self.before, snapshot);
        if !self.lacking.is_empty() {
            self.well = None;
            let is_over = now.saturating_sub(self.begun) >= LIMIT;
            return if is_over { Verdict::Bad(self.lacking.clone()) } else { Verdict::Wait };
        }
        let since = *self.well.get_or_insert(now);
        if now.saturating_sub(since) >= STEADY { Verdict::Good } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Snapshot {
        Snapshot {
            control: true,
            revision: Some(7),
            links: BTreeMap::from([("wan".into(), true), ("lan".into(), true), ("spare".into(), false)]),
            elector: true,
            role: "active".into(),
            ailments: BTreeSet::from(["gateway-silent wan".into()]),
            other: true,
            vpn: true,
            vpn_configured: true,
            ..Snapshot::default()
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_loss_is_named() {
        // What became worse in; that, and nothing else, out.
        type Change = fn(&mut Snapshot);
        let cases: [(Change, Vec<Lack>); 12] = [
            (|_| {}, vec![]),
            (|s| s.control = false, vec![Lack::Control]),
            (|s| s.revision = Some(6), vec![Lack::Revision]),
            (|s| s.revision = None, vec![Lack::Revision]),
            (|s| s.revision = Some(8), vec![]),
            (|s| s.faults = ["apply-failed".into()].into(), vec![Lack::Fault("apply-failed".into())]),
            (|s| _ = s.links.insert("lan".into(), false), vec![Lack::Link("lan".into())]),
            (|s| _ = s.links.remove("wan"), vec![Lack::Link("wan".into())]),
            (|s| s.role = "none".into(), vec![Lack::Role]),
            (|s| s.role = "standby".into(), vec![]),
            (|s| s.other = false, vec![Lack::Other]),
            (|s| s.vpn_configured = false, vec![Lack::Vpn]),
        ];
        for (change, wanted) in cases {
            let mut now = well();
            change(&mut now);
            assert_eq!(lacks(&well(), &now), wanted);
        }
        let mut sick = well();
        sick.ailments.insert("link-down lan".into());
        assert_eq!(lacks(&well(), &sick), [Lack::Ailment("link-down lan".into())]);
        sick.ailments.clear();
        assert_eq!(lacks(&well(), &sick), []);
    }

    #[test]
    fn without_a_memory_the_programs_must_still_answer() {
        let nobody = lacks(&Snapshot::default(), &Snapshot::default());
        assert_eq!(nobody, [Lack::Control, Lack::Elector]);
        let bare = Snapshot { control: true, elector: true, ..Snapshot::default() };
        assert_eq!(lacks(&Snapshot::default(), &bare), []);
    }

    #[test]
    fn a_version_stays_once_all_was_well_for_a_while() {
        let mut trial = Probation::new(well(), at(5));
        let late = Snapshot { other: false, ..well() };
        assert_eq!(trial.handle_snapshot(&late, at(10)), Verdict::Wait);
        assert_eq!(trial.handle_snapshot(&well(), at(12)), Verdict::Wait);
        // A break: the time begins anew.
        assert_eq!(trial.handle_snapshot(&late, at(20)), Verdict::Wait);
        assert_eq!(trial.handle_snapshot(&well(), at(30)), Verdict::Wait);
        assert_eq!(trial.handle_snapshot(&well(), at(49)), Verdict::Wait);
        assert_eq!(trial.handle_snapshot(&well(), at(50)), Verdict::Good);
    }

    #[test]
    fn a_version_that_does_not_become_well_goes() {
        let mut trial = Probation::new(well(), at(5));
        let ill = Snapshot { vpn: false, ..well() };
        assert_eq!(trial.handle_snapshot(&ill, at(304)), Verdict::Wait);
        assert_eq!(trial.handle_snapshot(&ill, at(305)), Verdict::Bad(vec![Lack::Vpn]));
        // Well at the last moment is given its time.
        let mut trial = Probation::new(well(), at(5));
        assert_eq!(trial.handle_snapshot(&well(), at(304)), Verdict::Wait);
        assert_eq!(trial.handle_snapshot(&well(), at(324)), Verdict::Good);
    }
}
