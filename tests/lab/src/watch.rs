//! Who holds a virtual address, looked at every millisecond: the kernels' own tables of local addresses, not what a
//! program says of itself.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{Lab, namespace};

const EVERY: Duration = Duration::from_millis(1);
/// Most changes that are kept.
const MAX_CHANGES: usize = 10_000;

/// A look at the routers, for as long as this value lives.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Watched>>,
}

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Watched {
    /// The holders, each set of them with how long it lasted, in order.
    pub holders: Vec<(Vec<String>, Duration)>,
}

impl Watched {
    /// How long there was more than one holder, in all.
    pub fn doubled(&self) -> Duration {
        self.holders.iter().filter(|(who, _)| who.len() > 1).map(|(_, time)| *time).sum()
    }

    /// How long there was none, in all.
    pub fn vacant(&self) -> Duration {
        self.holders.iter().filter(|(who, _)| who.is_empty()).map(|(_, time)| *time).sum()
    }

    /// Whether it was the same one all the time.
    pub fn is_steady(&self) -> bool {
        matches!(self.holders.as_slice(), [(who, _)] if who.len() == 1)
    }
}

impl Watch {
    /// What was seen until now.
    pub fn stop(mut self) -> Watched {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(|t| t.join().expect("watching does not panic")).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Lab {
    /// Watches which routers hold `address`. A router whose processes are all gone, as after a power cut, holds nothing, and one
    /// that is started again is seen by the next watch.
    pub fn watch(&self, address: Ipv4Addr) -> Result<Watch> {
        let mut routers = Vec::new();
        for router in self.hosts().iter().filter(|h| h.is_router()) {
            // Any process shows its namespace's tables; the bus outlives the product's programs.
            let all = namespace::inhabitants(router.namespace())?;
            match all.iter().find(|i| i.runs("dbus-daemon")) {
                Some(bus) => routers.push((router.name().to_owned(), bus.pid)),
                None => bail!("no bus runs on {}", router.name()),
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread =
            thread::Builder::new().name("watch".into()).spawn(move || watch(&routers, address, &flag))?;
        Ok(Watch { stop, thread: Some(thread) })
    }
}

fn watch(routers: &[(String, i32)], address: Ipv4Addr, stop: &AtomicBool) -> Watched {
    let mut watched = Watched::default();
    let mut since = Instant::now();
    let mut before: Option<Vec<String>> = None;
    loop {
        let over = stop.load(Ordering::Relaxed) || watched.holders.len() >= MAX_CHANGES;
        let now: Vec<_> =
            routers.iter().filter(|(_, pid)| holds(*pid, address)).map(|(n, _)| n.clone()).collect();
        let at = Instant::now();
        if let Some(who) = before.take_if(|who| over || *who != now) {
            watched.holders.push((who, at - since));
            since = at;
        }
        if over {
            return watched;
        }
        before.get_or_insert(now);
        thread::sleep(EVERY);
    }
}

/// Whether the address is local in the namespace of a process: /proc/PID/net/fib_trie has a line with the address, and
/// below it `/32 host LOCAL`, while it is on a device that is up.
fn holds(pid: i32, address: Ipv4Addr) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/fib_trie")).unwrap_or_default();
    let wanted = format!("|-- {address}");
    let mut lines = table.lines();
    while let Some(line) = lines.next() {
        if line.ends_with(&wanted) && lines.next().is_some_and(|l| l.contains("/32 host LOCAL")) {
            return true;
        }
    }
    false
}
