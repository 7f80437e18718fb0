//! Two replicas, each a program of its own, behind the two `rempart-ha` of a real pair: what was committed survives whatever is
//! killed.

mod agent;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rempart_end_to_end::{PairStage, pair};
use rempart_lab::{skip_unless_root, wait_until};

const SOON: Duration = Duration::from_secs(10);

/// Not a test: what the others start.
#[test]
#[ignore = "started by the other tests"]
fn agent_program() {
    if std::env::var_os("AGENT_STATE").is_some() {
        agent::run();
    }
}

/// What an agent has said.
#[derive(Default)]
struct Said {
    /// In the order in which they came.
    actives: Vec<(u64, BTreeMap<u32, u64>)>,
    active: bool,
    state: String,
    committed: BTreeMap<u32, u64>,
    took: Option<Vec<u64>>,
}

struct Agent {
    child: Child,
    input: ChildStdin,
    said: Arc<Mutex<Said>>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Agent {
    fn start(stage: &PairStage, node: usize) -> Self {
        let exe = std::env::current_exe().expect("this program");
        let mut command = stage.nodes[node].command(exe);
        command.args(["agent_program", "--exact", "--ignored", "--nocapture"]);
        command.env("AGENT_STATE", stage.nodes[node].state_dir()).env("AGENT_RUN", run_dir(stage, node));
        if node == 0 {
            command.env("AGENT_FIRST", "1");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let said = Arc::new(Mutex::new(Said::default()));
        let heard = Arc::clone(&said);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, news)) = line.split_once('@') {
                    heard.lock().unwrap().hear(news);
                }
            }
        });
        Self { child, input, said }
    }

    fn order(&mut self, line: &str) {
        let _ = writeln!(self.input, "{line}");
    }

    fn wait(&self, what: &str, condition: impl Fn(&Said) -> bool) {
        assert!(wait_until(SOON, || condition(&self.said.lock().unwrap())), "not {what}: {}", {
            let said = self.said.lock().unwrap();
            format!("active {}, state {}, {} times", said.active, said.state, said.actives.len())
        });
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// How long it took, in microseconds.
    fn timed(&mut self, order: &str) -> Vec<u64> {
        self.said.lock().unwrap().took = None;
        self.order(order);
        self.wait("done", |said| said.took.is_some());
        self.said.lock().unwrap().took.take().expect("it is there")
    }
}

impl Said {
    fn hear(&mut self, news: &str) {
        let words: Vec<&str> = news.split(' ').collect();
        let number = |text: &str| text.parse::<u64>().expect("a number");
        match words.as_slice() {
            ["active", epoch, held @ ..] => {
                let entry = |text: &&str| {
                    let (key, stamp) = text.split_once('=').expect("a pair");
                    (number(key) as u32, number(stamp))
                };
                self.actives.push((number(epoch), held.iter().map(entry).collect()));
                self.active = true;
            }
            ["standby"] => self.active = false,
            ["state", name] => self.state = (*name).to_owned(),
            ["committed", key, stamp] => drop(self.committed.insert(number(key) as u32, number(stamp))),
            ["took", times @ ..] => self.took = Some(times.iter().map(|t| number(t)).collect()),
            other => panic!("{other:?}"),
        }
    }
}

/// On tmpfs where the machine has one.
fn run_dir(stage: &PairStage, node: usize) -> PathBuf {
    stage.nodes[node].state_dir().join("run-vpn")
}

struct Two {
    agents: [Option<Agent>; 2],
    stage: PairStage,
    /// All that was ever said to be committed.
    committed: BTreeMap<u32, u64>,
    epochs: Vec<u64>,
}

impl Two {
    fn up() -> Self {
        let stage = PairStage::up(&pair());
        let agents = [0, 1].map(|node| Some(Agent::start(&stage, node)));
        let two = Self { agents, stage, committed: BTreeMap::new(), epochs: Vec::new() };
        two.settle();
        two
    }

    fn agent(&self, node: usize) -> &Agent {
        self.agents[node].as_ref().expect("it runs")
    }

    fn settle(&self) {
        for node in 0..2 {
            self.agent(node).wait("in step", |said| said.state == "in-step");
        }
    }

    fn active(&self) -> usize {
        let mut one = None;
        let is = |node: usize| self.agents[node].as_ref().is_some_and(|a| a.said.lock().unwrap().active);
        assert!(wait_until(SOON, || {
            one = (0..2).find(|node| is(*node) && !is(1 - node));
            one.is_some()
        }));
        one.expect("one")
    }

    /// Takes note of what an agent has said to be committed, before it goes.
    fn collect(&mut self, node: usize) {
        let committed = self.agent(node).said.lock().unwrap().committed.clone();
        for (key, stamp) in committed {
            let known = self.committed.entry(key).or_default();
            *known = stamp.max(*known);
        }
    }

    /// The one that is active now has everything that was committed before, and an epoch of its own.
    fn check(&mut self, node: usize, reigns: usize) {
        self.agent(node).wait("active", |said| said.actives.len() > reigns);
        let (epoch, held) =
            self.agent(node).said.lock().unwrap().actives.last().cloned().expect("it is active");
        assert!(self.epochs.last().is_none_or(|last| *last < epoch), "{epoch} after {:?}", self.epochs);
        assert_eq!(epoch % 2, node as u64, "of the node's own");
        self.epochs.push(epoch);
        for (key, stamp) in &self.committed {
            let found = held.get(key);
            assert!(
                found.is_some_and(|found| found >= stamp),
                "{key}: {stamp} was committed, and there is {found:?}"
            );
        }
    }
}

/// In: values at two thousand a second; either program is killed with SIGKILL again and again, the elector's worker too, the role
/// moves, and the active machine loses power. Out: whoever is active next has all that was committed, under a new epoch.
#[test]
fn what_is_committed_survives_kills() {
    skip_unless_root!();
    let mut two = Two::up();
    let seed = std::env::var("REMPART_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    println!("seed {seed}");
    let mut dice: u64 = seed;
    let mut below = |n: u64| {
        dice = dice.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (dice >> 33) % n
    };
    for round in 0..14 {
        let active = two.active();
        let victim = below(2) as usize;
        two.agents[active].as_mut().unwrap().order("go");
        thread::sleep(Duration::from_millis(100 + below(300)));
        two.agents[victim].as_mut().unwrap().kill();
        // Its last words are in the pipe.
        thread::sleep(Duration::from_millis(20));
        two.collect(victim);
        println!("round {round}: {victim} killed, {active} active, {} committed", two.committed.len());
        two.agents[victim] = None;
        thread::sleep(Duration::from_millis(below(100)));
        two.agents[victim] = Some(Agent::start(&two.stage, victim));
        if victim == active {
            two.check(active, 0);
        } else {
            two.agents[active].as_mut().unwrap().order("halt");
        }
        two.settle();
        two.collect(active);
        if round == 5 {
            // The relay is gone for a moment; nobody's role moves.
            let name = two.stage.name(active);
            let killed = two.stage.lab.signal(name, "rempart-ha", Some("--worker"), Signal::SIGKILL);
            assert_eq!(killed.expect("a worker"), 1);
            thread::sleep(Duration::from_millis(300));
            two.settle();
        }
    }

    // In order.
    let active = two.active();
    two.agents[active].as_mut().unwrap().order("go");
    thread::sleep(Duration::from_millis(200));
    two.agents[active].as_mut().unwrap().order("halt");
    thread::sleep(Duration::from_millis(100));
    two.collect(active);
    let reigns = two.agent(1 - active).said.lock().unwrap().actives.len();
    two.stage.nodes[active].switch().expect("a switch");
    two.check(1 - active, reigns);
    assert_eq!(two.active(), 1 - active);
    two.settle();

    // The power.
    let active = two.active();
    two.agents[active].as_mut().unwrap().order("go");
    thread::sleep(Duration::from_millis(300));
    let reigns = two.agent(1 - active).said.lock().unwrap().actives.len();
    // First: without its elector it would go on alone, and say so.
    two.agents[active].as_mut().unwrap().kill();
    two.stage.lab.power_off(two.stage.name(active)).expect("a power cut");
    thread::sleep(Duration::from_millis(20));
    two.collect(active);
    two.check(1 - active, reigns);
    assert!(two.committed.len() >= 50, "the test tests something: {:?}", two.committed.len());
}

/// In: one value after the other, then a thousand at once. Out: how long it took until they were on both nodes.
#[test]
#[ignore = "measures: `make test-vpn` gives it the machine for itself"]
fn commits_are_quick() {
    skip_unless_root!();
    let mut two = Two::up();
    let active = two.active();
    let agent = two.agents[active].as_mut().unwrap();
    agent.timed("one 200");
    let mut one = agent.timed("one 2000");
    one.sort_unstable();
    let burst: Vec<u64> = (0..5).map(|_| agent.timed("burst 1000")[0]).collect();
    println!(
        "commit: p50 {} µs, p99 {} µs, longest {} µs; a thousand at once: {burst:?} µs",
        one[one.len() / 2],
        one[one.len() * 99 / 100],
        one[one.len() - 1],
    );
    assert!(one[one.len() / 2] < 20_000 && burst.iter().all(|us| *us < 1_000_000), "{burst:?}");
    let begun = Instant::now();
    two.stage.nodes[active].switch().expect("a switch");
    two.agents[1 - active].as_ref().unwrap().wait("active", |said| said.active);
    println!("from the order to switch until the program is active: {:?}", begun.elapsed());
}
