//! A node of ours in a process of its own: this program again, with the journal's thread in it and nothing else.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rempart_daemon::ha::journal::{self, Config, Direction, Journal, Surroundings, Way};
use rempart_kernel_tests::node::Failure;
use rempart_pair::NodeIndex;
use rempart_pair::journal::Phase;
use rempart_pair::keys::PairSecret;

use super::stage::CABLE;

/// The program's argument is a part of the names of what is to be measured. Nothing has this name, so a process that is
/// started with it measures nothing.
const FLAG: &str = "a node of the journal: ";

/// A node in a namespace. Ends with this value.
pub struct Node {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Node {
    /// Starts node `index` in `namespace`, in its role: the first one is active.
    pub fn start(namespace: &str, index: usize) -> Result<Self, Failure> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", namespace])
            .arg(std::env::current_exe()?)
            .arg(format!("{FLAG}{index}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().ok_or("no pipe")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let mut node = Self { child, orders, answers };
        node.ask("ready")?;
        Ok(node)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One line there, one line back.
    pub fn ask(&mut self, order: &str) -> Result<String, Failure> {
        writeln!(self.orders, "{order}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.trim_end() {
            "" => Err("the node has ended".into()),
            answer => Ok(answer.to_owned()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which node this process was started as.
pub fn index() -> Option<usize> {
    std::env::args().nth(1)?.strip_prefix(FLAG)?.parse().ok()
}

/// The other side: does what is asked on the standard input until that ends.
pub fn serve(index: usize) -> Result<(), Failure> {
    let (own, other) = (CABLE[index % 2], CABLE[(index + 1) % 2]);
    let way = Way { device: "sync".to_owned(), local: own.into(), remote: other.into() };
    let config = Config {
        secret: PairSecret::new([7; 32].into()),
        index: NodeIndex::new(index as u8).ok_or("a node is 0 or 1")?,
        surroundings: Surroundings { paths: vec![way], own: CABLE.map(IpAddr::from).to_vec() },
        report: Box::new(|report| {
            if let journal::Report::Trouble(trouble) = report {
                eprintln!("journal: {trouble}");
            }
        }),
    };
    let journal = Journal::start(config)?;
    let handle = journal.handle();
    handle.tell(journal::Command::Role { active: index == 0 });
    for line in std::io::stdin().lines() {
        let snapshot = handle.snapshot();
        match line?.as_str() {
            "ready" => println!("ready"),
            "live" => println!("{}", snapshot.status.phase == Phase::Live),
            "waiting" => {
                println!(
                    "{}",
                    snapshot.direction != Direction::Neither && snapshot.status.phase == Phase::Waiting
                );
            }
            "overruns" => println!("{}", snapshot.status.overruns),
            "words" => println!("{:?} {:?}", snapshot.status, snapshot.tally),
            _ => println!("what?"),
        }
    }
    Ok(())
}
