//! Two pretended nodes that do what they are told, late, or not at all.

use proptest::prelude::*;

use super::*;

fn version(text: &str) -> Version {
    Version::new(text).expect("a version")
}

/// How the new version fares on a node.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Stays,
    Returns,
    /// The node never comes back.
    Dies,
}

#[derive(Clone, Debug)]
struct Node {
    view: View,
    fate: Fate,
    /// Seconds until it is there again.
    away: u64,
    trial: u64,
    fetching: Option<u64>,
    restarts: u32,
}

impl Node {
    fn new(active: bool, staged: bool, fate: Fate) -> Self {
        let view = View {
            running: version("1"),
            on_trial: false,
            staged: staged.then(|| version("2")),
            returned_from: None,
            active,
            synced: true,
            failure: None,
        };
        Self { view, fate, away: 0, trial: 0, fetching: None, restarts: 0 }
    }

    fn restart(&mut self) {
        (self.restarts, self.view.staged, self.view.synced) = (self.restarts + 1, None, false);
        match self.fate {
            Fate::Stays => {
                (self.away, self.trial, self.view.on_trial) = (40, 60, true);
                self.view.running = version("2");
            }
            Fate::Returns => (self.away, self.view.returned_from) = (300, Some(version("2"))),
            Fate::Dies => self.away = u64::MAX,
        }
    }

    fn second(&mut self) {
        self.away = self.away.saturating_sub(u64::from(self.away != u64::MAX));
        if self.away > 0 {
            return;
        }
        self.fetching = self.fetching.map(|left| left.saturating_sub(1));
        if self.fetching == Some(0) {
            (self.fetching, self.view.staged) = (None, Some(version("2")));
        }
        self.trial = self.trial.saturating_sub(1);
        self.view.on_trial &= self.trial > 0;
        self.view.synced |= self.trial < 30;
    }
}

struct World {
    here: Node,
    there: Node,
    plan: Plan,
    now: u64,
    orders: Vec<Order>,
}

impl World {
    /// `first` is the standby.
    fn new(first: Who, here: Fate, there: Fate) -> Self {
        Self {
            here: Node::new(first == Who::There, true, here),
            there: Node::new(first == Who::Here, false, there),
            plan: Plan::new(version("2"), first, 1000),
            now: 1000,
            orders: Vec::new(),
        }
    }

    fn second(&mut self) {
        self.now += 1;
        self.here.second();
        self.there.second();
        if self.here.away > 0 {
            return;
        }
        let there = (self.there.away == 0).then(|| self.there.view.clone());
        if let Some(order) = self.plan.advance(self.now, &self.here.view, there.as_ref()) {
            self.orders.push(order);
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Fetch(who) => {
                assert_eq!(who, Who::There, "this node has the file from the beginning");
                self.there.fetching.get_or_insert(20);
            }
            Order::HandOver(who) => {
                let (from, to) = self.both(who);
                assert!(to.away == 0 && to.view.synced, "the role is handed to nobody");
                (from.view.active, to.view.active) = (false, true);
            }
            Order::Restart(who) => {
                let (own, other) = self.both(who);
                assert!(!own.view.active, "the active node is restarted");
                assert!(other.away == 0 && !other.view.on_trial, "both nodes are away at once");
                assert!(own.view.staged.is_some(), "there is nothing to start");
                own.restart();
            }
        }
    }

    fn both(&mut self, who: Who) -> (&mut Node, &mut Node) {
        match who {
            Who::Here => (&mut self.here, &mut self.there),
            Who::There => (&mut self.there, &mut self.here),
        }
    }

    fn run(&mut self) {
        for _ in 0..20_000 {
            self.second();
        }
    }
}

#[test]
fn both_nodes_get_it_the_standby_first() {
    // Whichever node is the standby, and wherever the command was given.
    let (fetch, hand, restart) = (Order::Fetch, Order::HandOver, Order::Restart);
    let mut world = World::new(Who::There, Fate::Stays, Fate::Stays);
    world.run();
    assert_eq!(world.plan.end(), Some(&End::Done));
    assert_eq!(world.orders, [fetch(Who::There), restart(Who::There), hand(Who::Here), restart(Who::Here)]);
    let mut world = World::new(Who::Here, Fate::Stays, Fate::Stays);
    world.run();
    assert_eq!(world.plan.end(), Some(&End::Done));
    assert_eq!(world.orders, [restart(Who::Here), fetch(Who::There), hand(Who::There), restart(Who::There)]);
}

#[test]
fn a_version_that_fails_on_the_first_node_does_not_reach_the_second() {
    // The standby goes back, or never returns: the other one keeps its version and its role.
    for (fate, why) in [(Fate::Returns, Why::Returned), (Fate::Dies, Why::Late)] {
        let mut world = World::new(Who::There, Fate::Stays, fate);
        world.run();
        assert_eq!(world.plan.end(), Some(&End::Stopped(why)));
        assert_eq!(world.plan.at(), (Who::There, Phase::Restart));
        assert_eq!((world.here.restarts, world.here.view.active), (0, true));
    }
    let mut world = World::new(Who::There, Fate::Returns, Fate::Stays);
    world.run();
    assert_eq!(world.plan.end(), Some(&End::Stopped(Why::Returned)));
    assert_eq!(world.plan.at(), (Who::Here, Phase::Restart));
    assert!(world.there.view.active && world.there.view.running == version("2"));
}

#[test]
fn a_node_that_cannot_take_the_file_ends_it() {
    let mut world = World::new(Who::There, Fate::Stays, Fate::Stays);
    world.there.view.failure = Some("from before".into());
    world.second();
    assert_eq!((world.plan.end(), &world.orders[..]), (None, &[Order::Fetch(Who::There)][..]));
    world.there.view.failure = Some("no room".into());
    world.second();
    assert_eq!(world.plan.end(), Some(&End::Stopped(Why::Refused("no room".into()))));
}

#[test]
fn a_node_is_restarted_only_while_the_other_one_carries_the_calls() {
    // The second node's turn, and it has given the role away; the other one is away, on trial, or has not got the role.
    let mut world = World::new(Who::There, Fate::Stays, Fate::Stays);
    while world.plan.at() != (Who::Here, Phase::HandOver) {
        world.second();
    }
    let here = View { active: false, ..world.here.view.clone() };
    let good = View { active: true, ..world.there.view.clone() };
    let bad =
        [None, Some(View { on_trial: true, ..good.clone() }), Some(View { active: false, ..good.clone() })];
    for there in bad {
        assert_eq!(world.plan.clone().advance(world.now, &here, there.as_ref()), None, "{there:?}");
    }
    assert_eq!(world.plan.advance(world.now, &here, Some(&good)), Some(Order::Restart(Who::Here)));
}

proptest! {
    /// Fates, moves of the role, silences and restarts of the plan's own program, all at random: what [`World::obey`] asserts
    /// holds, the plan ends, and when it is done both run the version.
    #[test]
    fn nothing_that_carries_calls_is_restarted(
        standby_here in any::<bool>(),
        fates in proptest::sample::select(vec![(Fate::Stays, Fate::Stays), (Fate::Returns, Fate::Stays), (Fate::Stays, Fate::Returns), (Fate::Stays, Fate::Dies)]),
        moves in proptest::collection::vec(1u64..600, 0..6),
        silences in proptest::collection::vec((1u64..600, 1u64..50), 0..4),
    ) {
        let first = if standby_here { Who::Here } else { Who::There };
        let mut world = World::new(first, fates.0, fates.1);
        for second in 0..10_000u64 {
            let both = world.here.away == 0 && world.there.away == 0;
            if moves.contains(&second) && both && world.here.view.synced && world.there.view.synced {
                std::mem::swap(&mut world.here.view.active, &mut world.there.view.active);
            }
            for (_, length) in silences.iter().filter(|(at, _)| *at == second) {
                world.there.away = world.there.away.max(*length);
            }
            world.second();
        }
        prop_assert!(world.plan.end().is_some());
        if world.plan.end() == Some(&End::Done) {
            for node in [&world.here, &world.there] {
                prop_assert!(node.view.running == version("2") && !node.view.on_trial);
            }
        }
    }
}
