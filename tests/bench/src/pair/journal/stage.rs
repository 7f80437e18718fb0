//! Two namespaces and a cable, with one product or the other on it.

use std::collections::HashMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use rempart_kernel_tests::node::Failure;
use rempart_system::conntrack::{Conntrack, Tuple};
use rempart_system::flowsync::Events;

use super::node::Node;
use super::traffic::Traffic;

/// Addresses of the cable.
pub const CABLE: [Ipv4Addr; 2] = [Ipv4Addr::new(169, 254, 77, 1), Ipv4Addr::new(169, 254, 77, 2)];
/// How long a product may take to be ready.
const READY: Duration = Duration::from_secs(20);
const CONNTRACKD_BUFFER: u32 = 8 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Product {
    Ours,
    Peer,
}

/// Two nodes that replicate. Ends with this value.
pub struct Stage {
    // Programs end before their namespaces.
    programs: [Program; 2],
    places: [Place; 2],
}

enum Program {
    // Behind a lock because asking it a question changes it.
    Ours(Mutex<Node>),
    Peer(Conntrackd),
}

impl Stage {
    /// Both run, and agree.
    pub fn new(product: Product) -> Result<Self, Failure> {
        let places = cabled()?;
        let programs = [Program::start(product, &places, 0)?, Program::start(product, &places, 1)?];
        let stage = Self { programs, places };
        stage.wait_ready()?;
        Ok(stage)
    }

    /// The first holds `count` connections when the second starts.
    pub fn bulk(product: Product, count: u32, limit: Duration) -> Result<Copied, Failure> {
        let places = cabled()?;
        places[0].enter(|| Traffic { first: 0, count, rate: 200_000 }.run())??;
        let first = Program::start(product, &places, 0)?;
        // It reads what its kernel holds.
        thread::sleep(Duration::from_secs(3) + Duration::from_micros(u64::from(count) * 5));
        let (second, begin) = match product {
            Product::Ours => {
                let begin = Instant::now();
                (Program::start(product, &places, 1)?, begin)
            }
            Product::Peer => {
                let second = Program::start(product, &places, 1)?;
                thread::sleep(Duration::from_millis(500));
                let begin = Instant::now();
                second.control(&["-n"])?;
                (second, begin)
            }
        };
        let stage = Self { programs: [first, second], places };
        let there = stage.wait_for(count, limit);
        let took = begin.elapsed();
        // Whatever is done after the last connection counts too.
        thread::sleep(Duration::from_millis(500));
        let memory = [stage.programs[0].memory()?, stage.programs[1].memory()?];
        Ok(Copied { took, there, memory, words: stage.words() })
    }

    /// Seconds in which a kernel takes `count` connections as fast as one thread can write them: while nobody on this machine
    /// listens to connections, and while somebody does in another namespace.
    pub fn written(count: u32) -> Result<[f64; 2], Failure> {
        const AT_ONCE: u32 = 10_000_000;
        let write = |listen: bool| -> Result<f64, Failure> {
            let places = cabled()?;
            let _ears = if listen { Some(places[1].enter(|| Events::open(1 << 20))??) } else { None };
            let took = places[0].enter(move || Traffic { first: 0, count, rate: AT_ONCE }.run())??;
            Ok(took.as_secs_f64())
        };
        Ok([write(false)?, write(true)?])
    }

    fn wait_ready(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        while begin.elapsed() < READY {
            let mut ready = true;
            for program in &self.programs {
                ready &= program.is_ready()?;
            }
            if ready {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("not ready: {}", self.words()).into())
    }

    /// Makes connections at the active node.
    pub fn generate(&self, traffic: Traffic) -> Result<Duration, Failure> {
        self.places[0].enter(move || traffic.run())?
    }

    /// Waits until the standby's kernel has `count` connections; how many it has then, or at the end of `limit`.
    pub fn wait_for(&self, count: u32, limit: Duration) -> u32 {
        let begin = Instant::now();
        loop {
            let there = self.places[1].count();
            if there >= count || begin.elapsed() >= limit {
                return there.min(count);
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// From now on both kernels remember when each connection was made.
    pub fn keep_time(&self) -> Result<(), Failure> {
        for place in &self.places {
            place.sh("echo 1 > /proc/sys/net/netfilter/nf_conntrack_timestamp")?;
        }
        Ok(())
    }

    /// Pulls the cable, or plugs it in.
    pub fn cut(&self, cut: bool) -> Result<(), Failure> {
        // A filter, so that neither side notices: what is worst.
        let rule =
            "table netdev cut { chain in { type filter hook ingress device sync priority 0; drop; }; }";
        for place in &self.places {
            match cut {
                true => place.sh(&format!("nft '{rule}'"))?,
                false => place.sh("nft delete table netdev cut")?,
            };
        }
        Ok(())
    }

    /// Milliseconds from the creation of each connection here to its creation there, since [`Stage::keep_time`].
    pub fn delays(&self) -> Result<Vec<f64>, Failure> {
        let [here, there] = [self.places[0].births()?, self.places[1].births()?];
        let delay = |(tuple, born): (&Tuple, &u64)| here.get(tuple).map(|first| *born as f64 - *first as f64);
        Ok(there.iter().filter_map(delay).map(|ns| ns / 1e6).collect())
    }

    /// Processor seconds of both programs so far.
    pub fn processor_seconds(&self) -> Result<[f64; 2], Failure> {
        Ok([processor_seconds(self.programs[0].pid())?, processor_seconds(self.programs[1].pid())?])
    }

    /// How often the active's kernel could not deliver events, if the product can be asked.
    pub fn overruns(&self) -> Result<Option<f64>, Failure> {
        match &self.programs[0] {
            Program::Ours(_) => Ok(Some(self.programs[0].ask("overruns")?.parse()?)),
            Program::Peer(_) => Ok(None),
        }
    }

    /// What both say about themselves.
    pub fn words(&self) -> String {
        self.programs.each_ref().map(Program::words).join("\n    ")
    }
}

impl Program {
    fn start(product: Product, places: &[Place; 2], index: usize) -> Result<Self, Failure> {
        Ok(match product {
            Product::Ours => Self::Ours(Mutex::new(Node::start(&places[index].name, index)?)),
            Product::Peer => Self::Peer(Conntrackd::start(&places[index], index)?),
        })
    }

    fn ask(&self, question: &str) -> Result<String, Failure> {
        match self {
            Self::Ours(node) => node.lock().map_err(|_| "poisoned")?.ask(question),
            Self::Peer(_) => Ok(String::new()),
        }
    }

    fn is_ready(&self) -> Result<bool, Failure> {
        match self {
            Self::Ours(_) => Ok(self.ask("live")? == "true"),
            Self::Peer(conntrackd) => Ok(conntrackd.control(&["-s"]).is_ok()),
        }
    }

    fn control(&self, words: &[&str]) -> Result<String, Failure> {
        match self {
            Self::Ours(_) => Ok(String::new()),
            Self::Peer(conntrackd) => conntrackd.control(words),
        }
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Ours(node) => node.lock().map_or(0, |node| node.pid()),
            Self::Peer(conntrackd) => conntrackd.child.id(),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Ours(_) => self.ask("words").unwrap_or_default(),
            Self::Peer(_) => String::new(),
        }
    }

    fn memory(&self) -> Result<Memory, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let mib = |name: &str| -> Result<f64, Failure> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
            let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
            Ok(kib / 1024.0)
        };
        Ok(Memory { now_mib: mib("VmRSS:")?, peak_mib: mib("VmHWM:")? })
    }
}

/// What came of a bulk copy.
pub struct Copied {
    pub took: Duration,
    /// Connections in the standby's kernel.
    pub there: u32,
    /// Of the active and of the standby.
    pub memory: [Memory; 2],
    words: String,
}

/// Resident memory of a process.
#[derive(Clone, Copy)]
pub struct Memory {
    pub now_mib: f64,
    pub peak_mib: f64,
}

impl std::fmt::Display for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b] = self.memory;
        write!(
            f,
            "{:.3} s, {} there, memory {:.1} and {:.1} MiB, at its peak {:.1} and {:.1}; {}",
            self.took.as_secs_f64(),
            self.there,
            a.now_mib,
            b.now_mib,
            a.peak_mib,
            b.peak_mib,
            self.words
        )
    }
}

/// Room for many connections in the kernel of this machine, which both nodes share; taken back at the end.
pub struct KernelRoom([(&'static str, String); 2]);

impl KernelRoom {
    /// The table's limit is that of the machine too, whatever a namespace says, and long chains would be measured
    /// instead of the journal.
    pub fn make(connections: u32) -> Result<Self, Failure> {
        const FILES: [&str; 2] =
            ["/proc/sys/net/netfilter/nf_conntrack_max", "/proc/sys/net/netfilter/nf_conntrack_buckets"];
        let read = |file| fs::read_to_string(file).map(|text| (file, text.trim().to_owned()));
        let room = Self([read(FILES[0])?, read(FILES[1])?]);
        for (file, value) in FILES.into_iter().zip([connections, connections.next_power_of_two() / 2]) {
            fs::write(file, value.to_string())?;
        }
        Ok(room)
    }
}

impl Drop for KernelRoom {
    fn drop(&mut self) {
        for (file, value) in &self.0 {
            let _ = fs::write(file, value);
        }
    }
}

/// In user space and in the kernel, all threads, to the nanosecond.
fn processor_seconds(pid: u32) -> Result<f64, Failure> {
    let mut sum = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().ok_or("no schedstat")?;
        sum += first.parse::<f64>()? / 1e9;
    }
    Ok(sum)
}

/// The stock peer.
struct Conntrackd {
    child: Child,
    folder: PathBuf,
}

impl Conntrackd {
    fn start(place: &Place, index: usize) -> Result<Self, Failure> {
        let folder = std::env::temp_dir().join(format!("{}-conntrackd", place.name));
        fs::create_dir_all(&folder)?;
        let path = |name: &str| folder.join(name).display().to_string();
        let (own, other) = (CABLE[index], CABLE[1 - index]);
        let text = format!(
            "Sync {{\n  Mode FTFW {{ DisableExternalCache On }}\n  UDP {{\n    IPv4_address {own}\n    \
             IPv4_Destination_Address {other}\n    Port 3780\n    Interface sync\n    \
             SndSocketBuffer {CONNTRACKD_BUFFER}\n    RcvSocketBuffer {CONNTRACKD_BUFFER}\n    Checksum on\n  }}\n}}\n\
             General {{\n  Systemd off\n  Nice -10\n  HashSize 131072\n  HashLimit 1048576\n  LogFile {log}\n  LockFile {lock}\n  \
             UNIX {{ Path {socket} }}\n  NetlinkBufferSize {CONNTRACKD_BUFFER}\n  \
             NetlinkBufferSizeMaxGrowth {CONNTRACKD_BUFFER}\n  Filter From Userspace {{\n    \
             Protocol Accept {{ TCP UDP ICMP }}\n    Address Ignore {{\n      IPv4_address 127.0.0.1\n      \
             IPv4_address {own}\n      IPv4_address {other}\n    }}\n  }}\n}}\n",
            log = path("log"),
            lock = path("lock"),
            socket = path("ctl"),
        );
        fs::write(folder.join("conf"), text)?;
        let child = Command::new("ip")
            .args(["netns", "exec", &place.name, "conntrackd", "-C", &path("conf")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let conntrackd = Self { child, folder };
        let begin = Instant::now();
        while conntrackd.control(&["-s"]).is_err() {
            if begin.elapsed() > READY {
                return Err("conntrackd does not answer".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(conntrackd)
    }

    fn control(&self, words: &[&str]) -> Result<String, Failure> {
        let output =
            Command::new("conntrackd").arg("-C").arg(self.folder.join("conf")).args(words).output()?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned().into()),
        }
    }
}

impl Drop for Conntrackd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A namespace.
struct Place {
    name: String,
}

/// Two namespaces with a cable, whose kernels track connections.
fn cabled() -> Result<[Place; 2], Failure> {
    let place = |letter: &str| -> Result<Place, Failure> {
        let name = format!("rb-journal-{}-{letter}", std::process::id());
        sh(&format!("ip netns add {name} && ip -n {name} link set lo up"))?;
        Ok(Place { name })
    };
    let places = [place("a")?, place("b")?];
    let [a, b] = places.each_ref().map(|place| place.name.as_str());
    sh(&format!("ip link add sync netns {a} type veth peer name sync netns {b}"))?;
    let rules = "table inet t { chain c { type filter hook output priority 0; ct state new oifname none counter; }; \
                 chain raw_in { type filter hook prerouting priority raw; iifname sync notrack; }; \
                 chain raw_out { type filter hook output priority raw; oifname sync notrack; }; }";
    for (place, address) in places.iter().zip(CABLE) {
        place.sh(&format!("ip address add {address}/30 dev sync && ip link set sync up && nft '{rules}'"))?;
    }
    // Neighbours resolved, as between two nodes that are at work.
    places[0].sh(&format!("ping -c 1 -W 2 {}", CABLE[1]))?;
    Ok(places)
}

impl Place {
    fn sh(&self, command: &str) -> Result<String, Failure> {
        // The file system's view of /proc/sys/net is that of the reader's namespace.
        let quoted = command.replace('\'', "'\\''");
        sh(&format!("ip netns exec {} sh -ec '{quoted}'", self.name))
    }

    /// Runs `work` on a thread of its own in there.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        let namespace = fs::File::open(format!("/run/netns/{}", self.name))?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || setns(namespace, CloneFlags::CLONE_NEWNET).map(|()| work()));
            Ok(inside.join().map_err(|_| "the thread has panicked")??)
        })
    }

    /// Connections in its kernel.
    fn count(&self) -> u32 {
        let read = || fs::read_to_string("/proc/thread-self/net/stat/nf_conntrack").unwrap_or_default();
        let text = self.enter(read).unwrap_or_default();
        let first = text.lines().nth(1).and_then(|line| line.split_whitespace().next());
        first.and_then(|number| u32::from_str_radix(number, 16).ok()).unwrap_or(0)
    }

    /// When each connection was made, in nanoseconds since 1970.
    fn births(&self) -> Result<HashMap<Tuple, u64>, Failure> {
        let list = self.enter(|| -> Result<_, Failure> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(async { Conntrack::new()?.list().await })?)
        })??;
        Ok(list.into_iter().filter_map(|c| Some((c.original, c.started_ns?))).collect())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = sh(&format!("ip netns del {}", self.name));
    }
}

fn sh(command: &str) -> Result<String, Failure> {
    let output = Command::new("sh").args(["-ec", command]).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{command}: {}{}", text(&output.stderr), text(&output.stdout)).into()),
    }
}
