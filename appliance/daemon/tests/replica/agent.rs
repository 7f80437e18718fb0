//! A program with a replica in it and nothing else: one `rempart-vpn` of a pair, as far as the replica can tell.
//!
//! It is this test binary once more, so that it can be killed. Lines on its standard input are orders, on its standard output
//! news:
//!
//! ```text
//!   go            puts a value every 500 µs from now on        halt       no more
//!   one N         puts N values, each when the last is there   burst N    puts N values at once
//!
//!   active EPOCH KEY=STAMP …      standby      state NAME      put KEY STAMP      committed KEY STAMP
//!   took US US …  how long each of them took, or all
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rempart_daemon::vpn::replica::{self, Config, Handle, ReplicaState};
use rempart_daemon::vpn::seam::{FromReplica, Kind, Replica as _, ReplicaTicket, Sessions};
use rempart_openvpn::data::epoch::Parity;
use zeroize::Zeroizing;

/// As long as a session's snapshot.
const VALUE: usize = 1200;
/// Values that are put again and again.
const KEYS: u32 = 50;
/// Between two of them.
const PAUSE: Duration = Duration::from_micros(500);

enum Order {
    Go,
    Halt,
    One(u32),
    Burst(u32),
}

struct Agent {
    replica: Arc<Handle>,
    news: mpsc::Receiver<FromReplica>,
    active: bool,
    /// The epoch that was made ready.
    ready: u64,
    waiting: BTreeMap<u64, (u32, u64)>,
    stamp: u64,
}

/// Does what it is told until its standard input ends.
pub fn run() {
    let variable = |name: &str| PathBuf::from(std::env::var_os(name).expect("it is said"));
    let (out, news) = mpsc::channel();
    let out = Mutex::new(out);
    let config = Config {
        folder: variable("AGENT_STATE").join("vpn"),
        run: variable("AGENT_RUN"),
        relay: Some(variable("AGENT_STATE").join("ha/relay.sock")),
        parity: if std::env::var_os("AGENT_FIRST").is_some() { Parity::Even } else { Parity::Odd },
        tell: Arc::new(move |news| drop(out.lock().unwrap().send(news))),
    };
    rempart_daemon::logging::start();
    let replica = replica::start(config).expect("it starts");
    let watched = Arc::clone(&replica);
    thread::spawn(move || {
        let mut last = None;
        loop {
            let state = watched.status().state;
            if last.replace(state) != Some(state) {
                say(&format!("state {}", name(state)));
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let (orders, wanted) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let line = line.expect("a line");
            let mut words = line.split(' ');
            let verb = words.next().expect("a word");
            let number = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
            let order = match verb {
                "go" => Order::Go,
                "halt" => Order::Halt,
                "one" => Order::One(number),
                "burst" => Order::Burst(number),
                other => panic!("{other}"),
            };
            drop(orders.send(order));
        }
        std::process::exit(0);
    });
    Agent { replica, news, active: false, ready: 0, waiting: BTreeMap::new(), stamp: clock() }.obey(&wanted);
}

/// Microseconds since 1970: stamps rise over all starts of both programs.
fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    now.as_micros() as u64
}

impl Agent {
    fn obey(mut self, wanted: &mpsc::Receiver<Order>) {
        let mut going = false;
        loop {
            match wanted.recv_timeout(if going { PAUSE } else { Duration::from_millis(5) }) {
                Ok(Order::Go) => going = true,
                Ok(Order::Halt) => going = false,
                Ok(Order::One(count)) => self.one(count),
                Ok(Order::Burst(count)) => self.burst(count),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Ok(news) = self.news.try_recv() {
                self.hear(news);
            }
            if going && self.active {
                let key = (self.stamp % u64::from(KEYS)) as u32;
                let (ticket, stamp) = self.put(key);
                self.waiting.insert(ticket.0, (key, stamp));
            }
        }
    }

    fn put(&mut self, key: u32) -> (ReplicaTicket, u64) {
        self.stamp = clock().max(self.stamp + 1);
        let mut value = Zeroizing::new(vec![key as u8; VALUE]);
        value[..8].copy_from_slice(&self.stamp.to_be_bytes());
        (self.replica.put(Kind::Session, &key.to_be_bytes(), value), self.stamp)
    }

    fn hear(&mut self, news: FromReplica) {
        match news {
            FromReplica::Committed(ReplicaTicket(ticket)) => {
                let later = self.waiting.split_off(&(ticket + 1));
                for (key, stamp) in std::mem::replace(&mut self.waiting, later).into_values() {
                    say(&format!("committed {key} {stamp}"));
                }
            }
            FromReplica::Active { reign, sessions, .. } => self.serve(reign.epoch().get(), &sessions),
            FromReplica::MakeReady { number, reign, .. } => {
                self.ready = reign.epoch().get();
                self.replica.prepared(number);
            }
            FromReplica::TakeUp { sessions, .. } => self.serve(self.ready, &sessions),
            FromReplica::Standby => {
                self.active = false;
                self.waiting.clear();
                say("standby");
            }
            FromReplica::Peer(_) | FromReplica::Put(..) | FromReplica::Removed(..) | FromReplica::GiveUp => {}
        }
    }

    fn serve(&mut self, epoch: u64, sessions: &Sessions) {
        self.active = true;
        self.waiting.clear();
        let number = |key: &[u8]| u32::from_be_bytes(key.try_into().expect("a key"));
        let stamp = |value: &[u8]| u64::from_be_bytes(value[..8].try_into().expect("a stamp"));
        let held = sessions.iter().map(|(key, value)| format!(" {}={}", number(key), stamp(value)));
        say(&format!("active {epoch}{}", held.collect::<String>()));
    }

    fn one(&mut self, count: u32) {
        let mut took = Vec::new();
        for key in 0..count {
            let begun = Instant::now();
            let (ticket, _) = self.put(1000 + key % 1000);
            self.wait_for(ticket);
            took.push(begun.elapsed().as_micros().to_string());
        }
        say(&format!("took {}", took.join(" ")));
    }

    fn burst(&mut self, count: u32) {
        let begun = Instant::now();
        let last = (0..count).map(|key| self.put(1000 + key).0).last().expect("at least one");
        self.wait_for(last);
        say(&format!("took {}", begun.elapsed().as_micros()));
    }

    fn wait_for(&mut self, ticket: ReplicaTicket) {
        while let Ok(news) = self.news.recv_timeout(Duration::from_secs(5)) {
            match news {
                FromReplica::Committed(done) if done >= ticket => return,
                news => self.hear(news),
            }
        }
        panic!("not committed within five seconds");
    }
}

fn name(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Alone => "alone",
        ReplicaState::PeerAway => "peer-away",
        ReplicaState::Copying => "copying",
        ReplicaState::InStep => "in-step",
        ReplicaState::PeerSilent => "peer-silent",
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever listens may be gone.
    let _ = writeln!(out, "@{line}").and_then(|()| out.flush());
}
