//! Whether the gateways answer. Asked once a second, by a frame of our own; three questions without an answer are silence.
//!
//! The node asks from an address of its own. Where it has none in that family the active node asks from a virtual one, and
//! the standby, which must not speak for it, cannot know and does not complain.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rempart_plan::ha::MonitorPlan;
use rempart_system::linkwatch::LinkWatch;
use rempart_system::neighbour;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(1);
/// Questions without an answer that make a gateway silent: one lost frame is common, three in a row are not.
const SILENT_AFTER: u8 = 3;

/// A monitored interface.
#[derive(Debug)]
pub struct Monitor {
    /// What the document says.
    pub plan: MonitorPlan,
    /// Questions since the last answer.
    unanswered: u8,
    /// What was told last.
    pub answers: bool,
}

impl Monitor {
    /// Nothing is held against a gateway that was not asked yet.
    pub fn new(plan: MonitorPlan) -> Self {
        Self { plan, unanswered: 0, answers: true }
    }

    /// Counts the question that is about to be asked. Gives whether the gateway answers, if that has changed.
    fn ask(&mut self, can_ask: bool) -> Option<bool> {
        self.unanswered = if can_ask { self.unanswered.saturating_add(1) } else { 0 };
        self.tell(self.unanswered <= SILENT_AFTER)
    }

    fn tell(&mut self, answers: bool) -> Option<bool> {
        let changed = std::mem::replace(&mut self.answers, answers) != answers;
        changed.then_some(answers)
    }
}

/// All monitored interfaces.
#[derive(Debug)]
pub struct Monitors {
    /// In the order of the plan.
    pub list: Vec<Monitor>,
    next: Instant,
}

/// A question to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    /// Out of which device.
    pub device: String,
    /// The frame.
    pub frame: Vec<u8>,
}

/// A virtual address that may be asked from: the router is active.
#[derive(Clone, Copy, Debug)]
pub struct Borrowed<'a> {
    /// The device that it lies on.
    pub device: &'a str,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// The address.
    pub address: IpAddr,
}

impl Monitors {
    /// None asked yet.
    pub fn new(now: Instant, plans: Vec<MonitorPlan>) -> Self {
        Self { list: plans.into_iter().map(Monitor::new).collect(), next: now + EVERY }
    }

    /// When [`Self::ask`] wants to be called; never without a gateway.
    pub fn deadline(&self) -> Option<Instant> {
        self.list.iter().any(|monitor| monitor.plan.gateway.is_some()).then_some(self.next)
    }

    /// The questions of this second. `changed` is told the place of a monitor and whether its gateway answers.
    pub fn ask(
        &mut self,
        now: Instant,
        watch: &LinkWatch,
        borrowed: &[Borrowed<'_>],
        mut changed: impl FnMut(usize, bool),
    ) -> Vec<Question> {
        self.next = if self.next + EVERY > now { self.next + EVERY } else { now + EVERY };
        let mut questions = Vec::new();
        for (place, monitor) in self.list.iter_mut().enumerate() {
            let frame = frame(&monitor.plan, watch, borrowed);
            if let Some(answers) = monitor.ask(frame.is_some()) {
                changed(place, answers);
            }
            questions.extend(frame.map(|frame| Question { device: monitor.plan.device.clone(), frame }));
        }
        questions
    }

    /// A frame from `device`. `changed` is told the place of a monitor whose gateway answers again.
    pub fn hear(&mut self, device: &str, frame: &[u8], mut changed: impl FnMut(usize)) {
        let Some(from) = neighbour::answer(frame) else { return };
        for (place, monitor) in self.list.iter_mut().enumerate() {
            if monitor.plan.device == device && monitor.plan.gateway == Some(from) {
                monitor.unanswered = 0;
                if monitor.tell(true).is_some() {
                    changed(place);
                }
            }
        }
    }
}

/// The question to the gateway of `plan`; `None` where there is none to ask, no carrier to ask by, or nobody to ask as.
fn frame(plan: &MonitorPlan, watch: &LinkWatch, borrowed: &[Borrowed<'_>]) -> Option<Vec<u8>> {
    let gateway = plan.gateway?;
    let link = watch.named(&plan.device).filter(|link| link.running)?;
    let near = |address: IpAddr| match (gateway, address) {
        (IpAddr::V4(_), IpAddr::V4(_)) => true,
        // A link-local gateway may not answer others.
        (IpAddr::V6(gateway), IpAddr::V6(address)) => {
            gateway.is_unicast_link_local() == address.is_unicast_link_local()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    };
    let containing = link.addresses.iter().find(|net| net.contains(&gateway));
    let any = || link.addresses.iter().find(|net| near(net.addr()));
    let own = containing.or_else(any).and_then(|net| Some((link.mac?, net.addr())));
    let virtual_one = || {
        let fits = |b: &&Borrowed<'_>| b.device == plan.device && near(b.address);
        borrowed.iter().find(fits).map(|b| (b.mac, b.address))
    };
    let (mac, source) = own.or_else(virtual_one)?;
    neighbour::question(mac, source, gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor() -> Monitor {
        let gateway = "192.0.2.254".parse().ok();
        Monitor::new(MonitorPlan { interface: "wan".into(), device: "eth0".into(), gateway })
    }

    /// In: four questions without an answer. Out: silent with the fourth, told once.
    #[test]
    fn three_questions_without_an_answer_are_silence() {
        let mut monitor = monitor();
        let told: Vec<_> = (0..6).map(|_| monitor.ask(true)).collect();
        assert_eq!(told, [None, None, None, Some(false), None, None]);
    }

    /// In: nobody to ask as, after silence. Out: no complaint any more.
    #[test]
    fn who_cannot_ask_does_not_complain() {
        let mut monitor = monitor();
        for _ in 0..4 {
            monitor.ask(true);
        }
        assert_eq!(monitor.ask(false), Some(true));
    }
}
