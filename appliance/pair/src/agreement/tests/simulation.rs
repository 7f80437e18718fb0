//! Two machines with disks in virtual time: messages are lost, late and out of order, links break, nodes die at any
//! point and come back, actions fail. Whatever happens, once it stops both stand at one revision or say that they do not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::*;
use super::bundle;

/// A small generator of our own, so that a seed means the same for ever (xorshift64*).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n
    }
    fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// What goes wrong, in percent.
#[derive(Clone, Copy, Default)]
struct Faults {
    loss: u64,
    action: u64,
    crash: u64,
    cut: u64,
}

struct Node {
    machine: Option<Agreement>,
    // What the disk holds.
    kept: BTreeMap<RevisionId, Bundle>,
    head: Option<RevisionId>,
    note: Option<(RevisionId, Trial, Duration)>,
    // What the kernel holds.
    in_force: Option<RevisionId>,
    /// What was checked, or is to be committed.
    ready: BTreeMap<RevisionId, Bundle>,
    wish: Option<(Wish, Duration)>,
    outcomes: Vec<(Wish, Outcome)>,
}

enum Event {
    Request { to: usize, life: u32, token: Token, request: Request },
    Answer { to: usize, life: u32, token: Token, response: Response },
    Lost { to: usize, life: u32, token: Token },
    Wish(usize, u64),
    Crash(usize, bool),
    Restart(usize),
    Link(bool),
}

struct World {
    seed: u64,
    dice: Dice,
    faults: Faults,
    base: Instant,
    now: Duration,
    nodes: [Node; 2],
    /// How often a node was started: what was under way for an earlier life is lost.
    lives: [u32; 2],
    link: bool,
    events: BTreeMap<(Duration, u64), Event>,
    serial: u64,
    typed: u32,
    /// Someone confirmed on a node that could not ask the other.
    alone: bool,
    log: Vec<String>,
    /// One chosen seed is looked at: every output goes to the log.
    chatty: bool,
}

const FAULTY: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(900);

impl World {
    fn new(seed: u64, faults: Faults) -> Self {
        let base = Instant::now();
        let node = |first| Node {
            machine: Some(Agreement::new(base, first, Position { grammar: 1, ..Position::default() }, None)),
            kept: BTreeMap::new(),
            head: None,
            note: None,
            in_force: None,
            ready: BTreeMap::new(),
            wish: None,
            outcomes: Vec::new(),
        };
        let mut world = Self {
            seed,
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            faults,
            base,
            now: Duration::ZERO,
            nodes: [node(true), node(false)],
            lives: [0; 2],
            link: false,
            events: BTreeMap::new(),
            serial: 0,
            typed: 0,
            alone: false,
            log: Vec::new(),
            chatty: std::env::var_os("REMPART_SEED").is_some(),
        };
        world.after(Duration::from_millis(10), Event::Link(true));
        let mut at = Duration::from_secs(1);
        while at < FAULTY {
            at += Duration::from_millis(100 + world.dice.below(9_000));
            let node = world.dice.below(2) as usize;
            let what = world.dice.below(100);
            world.at(at, Event::Wish(node, what));
            if world.dice.percent(10) {
                // Both at one moment.
                world.at(at, Event::Wish(1 - node, what));
            }
            let soon = at + Duration::from_millis(world.dice.below(300));
            if world.dice.percent(world.faults.crash) {
                let (node, power) = (world.dice.below(2) as usize, world.dice.percent(30));
                world.at(soon, Event::Crash(node, power));
                let later = world.dice.below(20_000);
                world.at(soon + Duration::from_millis(later), Event::Restart(node));
            }
            if world.dice.percent(world.faults.cut) {
                world.at(soon, Event::Link(false));
                let later = world.dice.below(30_000);
                world.at(soon + Duration::from_millis(later), Event::Link(true));
            }
        }
        for node in 0..2 {
            world.at(FAULTY + Duration::from_secs(1), Event::Restart(node));
        }
        world.at(FAULTY + Duration::from_secs(2), Event::Link(true));
        world
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.serial += 1;
        self.events.insert((at, self.serial), event);
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    fn instant(&self) -> Instant {
        self.base + self.now
    }

    fn chain(&self, node: usize, from: Option<RevisionId>) -> Vec<RevisionId> {
        let Some(head) = from else { return Vec::new() };
        let mut chain = vec![head];
        chain.extend(self.nodes[node].kept[&head].ancestors.iter().copied());
        chain
    }

    fn position(&self, node: usize) -> Position {
        super::position(&self.chain(node, self.nodes[node].head))
    }

    fn faulty(&mut self, percent: u64) -> bool {
        self.now < FAULTY && self.dice.percent(percent)
    }

    fn run(&mut self, until: Duration) {
        loop {
            self.drain();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let timers = self.nodes.iter().filter_map(|n| n.machine.as_ref()?.poll_timeout());
            let timer = timers.min().map(|t| t.duration_since(self.base));
            let Some(next) = [event, timer].into_iter().flatten().min().filter(|n| *n <= until) else {
                break;
            };
            self.now = self.now.max(next);
            if event == Some(next) {
                let (_, event) = self.events.pop_first().expect("is there");
                self.happen(event);
            } else {
                let now = self.instant();
                for node in &mut self.nodes {
                    if let Some(m) = &mut node.machine
                        && m.poll_timeout().is_some_and(|t| t <= now)
                    {
                        m.handle_timeout(now);
                    }
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.instant();
        match event {
            Event::Request { to, life, token, request } => {
                let alive = life == self.lives[to] && self.link;
                match self.nodes[to].machine.as_mut().filter(|_| alive) {
                    Some(machine) => machine.handle_request(now, token, request),
                    None => self.lose(1 - to, (token.0 & 0xff) as u32, Token(token.0 >> 8)),
                }
            }
            Event::Answer { to, life, token, response } => {
                let alive = life == self.lives[to] && self.link;
                if !alive {
                    self.lose(to, life, token);
                } else if let Some(machine) = &mut self.nodes[to].machine {
                    machine.handle_answer(now, token, response);
                }
            }
            Event::Lost { to, life, token } => {
                if let Some(machine) = self.nodes[to].machine.as_mut().filter(|_| life == self.lives[to]) {
                    machine.handle_lost(now, token);
                }
            }
            Event::Wish(node, what) => self.wish(node, what),
            Event::Crash(node, power) => {
                if self.nodes[node].machine.take().is_some() {
                    self.note(format!("node {node} dies, power {power}"));
                    let n = &mut self.nodes[node];
                    (n.wish, n.ready) = (None, BTreeMap::new());
                    if power {
                        (n.note, n.in_force) = (None, None);
                    }
                }
            }
            Event::Restart(node) => self.restart(node),
            Event::Link(up) => {
                self.note(format!("link {up}"));
                self.link = up;
                for node in &mut self.nodes {
                    if let Some(machine) = &mut node.machine {
                        machine.handle_link(now, true, up);
                    }
                }
            }
        }
    }

    fn restart(&mut self, node: usize) {
        if self.nodes[node].machine.is_some() {
            return;
        }
        self.note(format!("node {node} is back"));
        let (now, own) = (self.instant(), self.position(node));
        let n = &mut self.nodes[node];
        n.note = n.note.filter(|(_, _, until)| *until > self.now);
        let resume = n.note.map(|(id, trial, until)| {
            let left = (until - self.now).as_secs() as u32;
            Resume { id, trial: Trial { confirm_s: trial.confirm_s.map(|_| left), ..trial } }
        });
        n.in_force = n.note.map_or(n.head, |(id, ..)| Some(id));
        let mut machine = Agreement::new(now, node == 0, own, resume);
        machine.handle_link(now, true, self.link);
        n.machine = Some(machine);
        self.lives[node] += 1;
    }

    fn wish(&mut self, node: usize, what: u64) {
        if self.nodes[node].machine.is_none() || self.nodes[node].wish.is_some() {
            return;
        }
        let now = self.instant();
        let wish = match what {
            0..50 => {
                self.typed += 1;
                let chain = self.chain(node, self.nodes[node].head);
                let text = format!("{} of node {node}", self.typed);
                let bundle = bundle(&chain, self.typed, &node.to_string(), &text);
                let confirm_s = (what < 20).then_some(5 + what as u32);
                self.nodes[node].ready.insert(bundle.record.id(), bundle.clone());
                Wish::Commit { bundle, confirm_s }
            }
            50..75 => Wish::Confirm,
            75..95 => Wish::Revert,
            _ => Wish::Resolve { ours: what.is_multiple_of(2) },
        };
        self.note(format!("node {node} wishes {}", short(&wish)));
        self.nodes[node].wish = Some((wish.clone(), self.now));
        self.nodes[node].machine.as_mut().expect("is there").wish(now, wish);
    }

    fn lose(&mut self, to: usize, life: u32, token: Token) {
        let delay = Duration::from_millis(self.dice.below(2_000));
        self.after(delay, Event::Lost { to, life, token });
    }

    fn delay(&mut self) -> Duration {
        let most = if self.dice.percent(5) { 800 } else { 20 };
        Duration::from_millis(1 + self.dice.below(most))
    }

    fn drain(&mut self) {
        for node in [0, 1, 0, 1] {
            while let Some(output) = self.nodes[node].machine.as_mut().and_then(Agreement::poll_output) {
                self.output(node, output);
            }
        }
        if self.nodes.iter_mut().any(|n| n.machine.as_mut().is_some_and(|m| !m.out_is_empty())) {
            self.drain();
        }
    }

    fn output(&mut self, node: usize, output: Output) {
        if self.chatty {
            let text: String = format!("{output:?}").chars().take(200).collect();
            self.note(format!("node {node}: {text}"));
        }
        match output {
            Output::Ask(token, request) => {
                if !self.link || self.faulty(self.faults.loss) {
                    let life = self.lives[node];
                    self.lose(node, life, token);
                    return;
                }
                let (delay, life) = (self.delay(), self.lives[1 - node]);
                let to = 1 - node;
                // The answer must come back to the life that asked.
                let token = Token(token.0 << 8 | u64::from(self.lives[node]));
                self.after(delay, Event::Request { to, life, token, request });
            }
            Output::Answer(token, response) => {
                let (to, asked_in) = (1 - node, (token.0 & 0xff) as u32);
                let token = Token(token.0 >> 8);
                if asked_in != self.lives[to] {
                    return;
                }
                if !self.link || self.faulty(self.faults.loss) {
                    self.lose(to, asked_in, token);
                    return;
                }
                let delay = self.delay();
                self.after(delay, Event::Answer { to, life: asked_in, token, response });
            }
            Output::Act(action) => self.act(node, action),
            Output::Finish(outcome) => self.finish(node, outcome),
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        // Death in the middle of an action: before it has done anything, or right after.
        let dies = self.faulty(self.faults.crash / 4).then(|| self.dice.percent(50));
        if dies == Some(true) {
            return self.die(node);
        }
        let fails = self.faulty(self.faults.action);
        let now = self.instant();
        let done = match action {
            Action::Check(bundle) => {
                let n = &mut self.nodes[node];
                n.ready.insert(bundle.record.id(), bundle);
                Done::Checked(if fails { Err(Refusal::Invalid("no".into())) } else { Ok(()) })
            }
            Action::Apply { id, trial } => {
                if fails {
                    Done::Applied(Err("no".into()))
                } else {
                    let until = trial.confirm_s.map_or(HOLD, |s| Duration::from_secs(s.into()));
                    let until = self.now + until + if trial.of_peer { HOLD } else { Duration::ZERO };
                    let n = &mut self.nodes[node];
                    assert!(n.ready.contains_key(&id), "seed {}: applies what it has not", self.seed);
                    if trial.confirm_s.is_some() || trial.of_peer {
                        n.note = Some((id, trial, until));
                    }
                    let bundle = n.ready[&id].clone();
                    n.kept.insert(id, bundle);
                    n.in_force = Some(id);
                    Done::Applied(Ok(()))
                }
            }
            Action::Keep(id) => {
                // A person decides on the node where it was not typed, and the other one has not.
                let wished = matches!(self.nodes[node].wish, Some((Wish::Confirm, _)));
                self.alone |= wished && self.nodes[1 - node].head != Some(id);
                let n = &mut self.nodes[node];
                assert_eq!(n.in_force, Some(id), "seed {}: keeps what is not in force", self.seed);
                n.note = None;
                if fails {
                    n.in_force = n.head;
                    Done::Kept(Err("no".into()))
                } else {
                    assert_eq!(n.kept[&id].record.parent, n.head, "seed {}: keeps a stranger", self.seed);
                    n.head = Some(id);
                    Done::Kept(Ok(self.position(node)))
                }
            }
            Action::Back => {
                let n = &mut self.nodes[node];
                (n.note, n.in_force) = (None, n.head);
                Done::Back
            }
            Action::Adopt { bundle, over } => {
                let id = bundle.record.id();
                let n = &self.nodes[node];
                let follows = n.head.is_none_or(|h| bundle.ancestors.contains(&h));
                assert!(over || follows, "seed {}: node {node} adopts what it must not", self.seed);
                assert!(n.note.is_none());
                if fails {
                    Done::Adopted(Err(Refusal::Invalid("no".into())))
                } else {
                    let n = &mut self.nodes[node];
                    n.kept.insert(id, bundle);
                    (n.head, n.in_force) = (Some(id), Some(id));
                    Done::Adopted(Ok(self.position(node)))
                }
            }
            Action::Give(token, id) => {
                let bundle = self.nodes[node].kept.get(&id).cloned();
                self.nodes[node].machine.as_mut().expect("acts").given(token, bundle);
                return;
            }
            Action::Forget => return,
        };
        if dies.is_some() {
            return self.die(node);
        }
        self.nodes[node].machine.as_mut().expect("acts").done(now, done);
    }

    fn die(&mut self, node: usize) {
        self.happen(Event::Crash(node, false));
        let later = Duration::from_millis(self.dice.below(8_000));
        self.after(later, Event::Restart(node));
    }

    fn finish(&mut self, node: usize, outcome: Outcome) {
        let Some((wish, since)) = self.nodes[node].wish.take() else {
            panic!("seed {}: node {node} finishes nothing: {outcome:?}", self.seed)
        };
        self.note(format!("node {node}: {} ends as {outcome:?}", short(&wish)));
        let took = self.now - since;
        assert!(took < PREPARE + APPLY + SETTLE + FETCH, "seed {}: {took:?}", self.seed);
        if let (Wish::Commit { bundle, confirm_s: None }, Outcome::Kept(state)) = (&wish, &outcome) {
            let id = Some(bundle.record.id());
            assert_eq!(self.nodes[node].head, id, "seed {}", self.seed);
            if *state == PeerState::Same {
                assert_eq!(self.nodes[1 - node].head, id, "seed {}: {}", self.seed, self.log.join("\n"));
            }
        }
        if let (Wish::Confirm, Outcome::Kept(PeerState::Away | PeerState::Behind)) = (&wish, &outcome) {
            self.alone = true;
        }
        self.nodes[node].outcomes.push((wish, outcome));
    }

    fn note(&mut self, text: String) {
        self.log.push(format!("{:>9.3} {text}", self.now.as_secs_f64()));
    }

    fn told(&self) -> String {
        format!("seed {}\n{}", self.seed, self.log.join("\n"))
    }

    /// What must hold once nothing goes wrong any more.
    fn check(&mut self) -> Relation {
        let (a, b) = (self.position(0), self.position(1));
        let relation = compare(&a, &b);
        let states = self.nodes.each_ref().map(|n| n.machine.as_ref().expect("lives").state());
        for node in &self.nodes {
            assert!(node.machine.as_ref().is_some_and(Agreement::idle), "{}", self.told());
            assert_eq!(node.in_force, node.head, "{}", self.told());
            assert!(node.wish.is_none(), "a wish is never answered: {}", self.told());
        }
        match relation {
            Relation::Same => assert_eq!(states, [State::Same, State::Same], "{}", self.told()),
            // They say that they are not the same (I5), and two people have caused it.
            Relation::Diverged => {
                assert_eq!(states, [State::Diverged, State::Diverged], "{}", self.told());
                let common = |n: usize, m: usize| {
                    let other = self.chain(m, self.nodes[m].head);
                    let own = self.chain(n, self.nodes[n].head);
                    let branch = own.iter().rev().find(|id| !other.contains(id)).copied();
                    branch.map(|id| self.author(id))
                };
                assert!(self.alone || common(0, 1) != common(1, 0), "{}", self.told());
            }
            Relation::Deliver | Relation::Fetch => panic!("never delivered: {}", self.told()),
        }
        let chains: Vec<_> = (0..2).flat_map(|n| self.chain(n, self.nodes[n].head)).collect();
        for (wish, outcome) in self.nodes.iter().flat_map(|n| &n.outcomes) {
            let Wish::Commit { bundle, confirm_s } = wish else { continue };
            let id = bundle.record.id();
            match outcome {
                Outcome::Busy
                | Outcome::Overtaken
                | Outcome::Behind
                | Outcome::Away
                | Outcome::Peer(_)
                | Outcome::Own(_) => {
                    let may = self.alone && confirm_s.is_some();
                    assert!(may || !chains.contains(&id), "refused, and in force: {}", self.told());
                }
                Outcome::OnTrial(_) | Outcome::Kept(_) => {}
                Outcome::Back(_) | Outcome::Chosen | Outcome::Nothing => panic!("{}", self.told()),
            }
        }
        relation
    }

    fn author(&self, id: RevisionId) -> String {
        let kept = self.nodes.iter().find_map(|n| n.kept.get(&id));
        kept.map(|b| b.record.author.clone()).unwrap_or_default()
    }
}

fn short(wish: &Wish) -> String {
    match wish {
        Wish::Commit { bundle, confirm_s } => format!("commit {:?} {confirm_s:?}", bundle.record.id()),
        Wish::Confirm => "confirm".into(),
        Wish::Revert => "revert".into(),
        Wish::Resolve { ours } => format!("resolve ours={ours}"),
    }
}

fn schedules() -> u64 {
    if std::env::var_os("REMPART_FULL").is_some() { 50_000 } else { 1_000 }
}

fn seeds() -> impl Iterator<Item = u64> {
    let chosen = std::env::var("REMPART_SEED").ok().and_then(|s| s.parse().ok());
    let (from, to) = chosen.map_or((1, schedules()), |s| (s, s));
    from..=to
}

/// Nothing goes wrong: the two never diverge, and every commit that is not refused is on both when it ends.
#[test]
fn without_faults_both_are_always_the_same() {
    for seed in seeds() {
        let mut world = World::new(seed, Faults::default());
        world.run(END);
        assert_eq!(world.check(), Relation::Same, "{}", world.told());
        for (wish, outcome) in world.nodes.iter().flat_map(|n| &n.outcomes) {
            let fine = matches!(
                outcome,
                Outcome::Kept(PeerState::Same)
                    | Outcome::OnTrial(PeerState::Same)
                    | Outcome::Back(PeerState::Same)
                    | Outcome::Busy
                    | Outcome::Overtaken
                    | Outcome::Behind
                    | Outcome::Nothing
            );
            assert!(fine, "{} {outcome:?}\n{}", short(wish), world.told());
        }
    }
}

/// Everything goes wrong; what must hold at the end holds, and a diverged pair becomes one again when a person chooses.
#[test]
fn whatever_goes_wrong_both_agree_or_say_so() {
    let (mut same, mut diverged, mut kept, mut alone) = (0, 0, 0, 0);
    for seed in seeds() {
        let faults = match seed % 4 {
            0 => Faults { loss: 20, ..Faults::default() },
            1 => Faults { crash: 25, action: 4, ..Faults::default() },
            2 => Faults { cut: 30, loss: 5, ..Faults::default() },
            _ => Faults { loss: 10, action: 4, crash: 15, cut: 15 },
        };
        let mut world = World::new(seed, faults);
        world.run(END);
        for (_, outcome) in world.nodes.iter().flat_map(|n| &n.outcomes) {
            kept += u32::from(*outcome == Outcome::Kept(PeerState::Same));
            alone += u32::from(*outcome == Outcome::Kept(PeerState::Away));
        }
        match world.check() {
            Relation::Same => same += 1,
            Relation::Diverged => {
                diverged += 1;
                let (chooser, ours) = ((seed / 4 % 2) as usize, seed % 8 < 4);
                let right = world.nodes[if ours { chooser } else { 1 - chooser }].head;
                let now = world.instant();
                world.nodes[chooser].wish = Some((Wish::Resolve { ours }, world.now));
                world.nodes[chooser].machine.as_mut().expect("lives").wish(now, Wish::Resolve { ours });
                world.run(END + Duration::from_secs(60));
                assert_eq!(world.check(), Relation::Same, "{}", world.told());
                assert_eq!(world.nodes[0].head, right, "{}", world.told());
            }
            Relation::Deliver | Relation::Fetch => unreachable!("checked"),
        }
    }
    // The simulation has seen what it is for.
    if seeds().count() > 100 {
        assert!(same > 0 && diverged > 0 && kept > 0 && alone > 0, "{same} {diverged} {kept} {alone}");
    }
}
