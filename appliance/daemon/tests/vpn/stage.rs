//! The stage: a client's namespace, one or two gateways, a host behind them; and the stock client.
//!
//! ```text
//!   client ── wan 192.0.2.0/24, 2001:db8::/64 ──┬── gateway 0 ──┬── lan 10.20.0.0/24 ── host .9
//!     .2, .3                    address .1 moves └── gateway 1 ──┘ address .1 moves
//! ```

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rempart_daemon::vpn::gate::{Broken, Gate, Handle, NftTable};
use rempart_daemon::vpn::seam::{FromPeople, Server};
use rempart_daemon::vpn::server::Surroundings;
use rempart_daemon::vpn::server::status::{SessionStatus, Status};
pub use rempart_lab::Stock;
use rempart_plan::vpn::{CertificatePlan, GroupPlan, VpnPlan};

use crate::common::Neighbour;
use crate::parts::{Authority, Crowd, Fixed, PASSWORD, Pair, random};

/// For what takes a second at most, also in an emulated machine with busy neighbours.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Whether the tests can run; says so if not.
pub fn can() -> bool {
    static LOG: std::sync::Once = std::sync::Once::new();
    LOG.call_once(rempart_daemon::logging::start);
    let root = nix::unistd::geteuid().is_root();
    let there =
        |program: &str| ["/usr/sbin", "/usr/bin"].iter().any(|dir| PathBuf::from(dir).join(program).exists());
    let can = root && there("openvpn") && there("nft") && PathBuf::from("/dev/net/tun").exists();
    if !can {
        eprintln!("SKIPPED: this needs root, openvpn, nft and /dev/net/tun");
    }
    can
}

pub fn plan() -> VpnPlan {
    VpnPlan {
        node: "rte01".to_owned(),
        index: 0,
        peer: None,
        device: "vpn0".to_owned(),
        kernel_device: None,
        udp: vec!["192.0.2.1:1194".parse().unwrap(), "[2001:db8::1]:1194".parse().unwrap()],
        tcp: vec!["192.0.2.1:443".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap()],
        remotes: Vec::new(),
        mtu: 1500,
        max_sessions: 2000,
        rekey_s: 3600,
        idle_s: 120,
        tls12: true,
        groups: vec![GroupPlan {
            name: "agents".to_owned(),
            pool4: Some("10.8.0.0/20".parse().unwrap()),
            pool6: Some("fd00:8::/64".parse().unwrap()),
            certificate: true,
            password: true,
            code: false,
            full_tunnel: false,
            routes: vec!["10.20.0.0/24".parse().unwrap()],
            dns: vec!["10.20.0.9".parse().unwrap()],
            domain: Some("datatel.example".to_owned()),
            search: Vec::new(),
            max_sessions: None,
            sessions_each: 2,
            session_limit_s: None,
            directory_groups: Vec::new(),
        }],
        strangers: None,
        directory: None,
        radius: None,
        certificates: CertificatePlan { organisation: "Datatel".to_owned(), device_days: 365, warn_days: 30 },
    }
}

/// A gateway with its server.
pub struct Node {
    pub place: Neighbour,
    pub handle: Handle,
    thread: Option<JoinHandle<Result<(), Broken>>>,
}

impl Node {
    pub fn status(&self) -> Status {
        self.handle.status().blocking_recv().unwrap()
    }

    pub fn session(&self) -> SessionStatus {
        let sessions = self.status().sessions;
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        sessions.into_iter().next().unwrap()
    }

    /// The elements of a set of the ruleset.
    pub fn live(&self, set: &str) -> String {
        self.place.sh(&format!("nft list set inet rempart {set}"))
    }

    pub fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.stop();
        self.thread.take().map(JoinHandle::join);
    }
}

pub struct Stage {
    pub client: Neighbour,
    pub host: Neighbour,
    pub nodes: Vec<Node>,
    pub authority: Authority,
    pub crowd: Arc<Mutex<Crowd>>,
    pub pair: Arc<Pair>,
}

const SETS: &str = "table inet rempart {
  set vpn_live4 { type ipv4_addr; flags interval; }
  set vpn_live6 { type ipv6_addr; flags interval; }
}";

impl Stage {
    /// With so many gateways, the first of which is active.
    pub fn new(gateways: usize, plan: &VpnPlan) -> Self {
        Self::with(|gate| gate.with_shards(1), gateways, plan)
    }

    /// The same with so many shards on each, where the kernel lets us have several.
    pub fn with_shards(shards: usize, gateways: usize, plan: &VpnPlan) -> Self {
        Self::with(|gate| gate.with_shards(shards), gateways, plan)
    }

    /// The same with servers that are made differently.
    pub fn with(how: impl Fn(Gate) -> Gate + Send + Sync, gateways: usize, plan: &VpnPlan) -> Self {
        let (client, host) = (Neighbour::new(), Neighbour::new());
        client.sh("ip link add wan type bridge; ip link set wan up; ip addr add 192.0.2.2/24 dev wan; \
                   ip addr add 192.0.2.3/24 dev wan; ip addr add 2001:db8::2/64 dev wan nodad");
        host.sh("ip link add lan type bridge; ip link set lan up; ip addr add 10.20.0.9/24 dev lan; \
                 ip route add default via 10.20.0.1");
        let (authority, crowd, pair) = (Authority::new(), Arc::default(), Pair::new());
        let mut stage = Self { client, host, nodes: Vec::new(), authority, crowd, pair };
        for number in 0..gateways {
            let node = stage.gateway(&how, number, plan);
            stage.nodes.push(node);
        }
        stage.move_addresses(0);
        stage.pair.activate(0);
        stage.wait("the server serves", |stage| stage.nodes[0].status().serving);
        stage
    }

    fn gateway(&self, how: &(impl Fn(Gate) -> Gate + Send + Sync), number: usize, plan: &VpnPlan) -> Node {
        let place = Neighbour::new();
        for (outside, device) in [(&self.client, "wan"), (&self.host, "lan")] {
            place.sh(&format!("ip link add {device} type veth peer name p{number} netns {}", outside.pid()));
            outside.sh(&format!("ip link set p{number} master {device} up"));
            place.sh(&format!("ip link set {device} up"));
        }
        place.sh("sysctl -qw net.ipv4.ip_forward=1");
        place.sh(&format!("echo \"{SETS}\" | nft -f -"));
        let (crowd, pair) = (self.crowd.clone(), self.pair.clone());
        let (thread, handle) = place.enter(move || {
            let assemble = |handle: &Handle| {
                Ok(Surroundings {
                    people: Arc::new(Fixed { crowd, tell: handle.people() }),
                    replica: pair.half(number, handle.replica()),
                    random: Box::new(random),
                })
            };
            let (gate, handle) = Gate::new(NftTable::default(), Box::new(assemble)).unwrap();
            (how(gate).spawn().unwrap(), handle)
        });
        handle.people()(FromPeople::Material(self.authority.material()));
        handle.configure(Some(Box::new(plan.clone())));
        Node { place, handle, thread: Some(thread) }
    }

    /// The addresses that move are at this gateway from now on, and the neighbours know.
    pub fn move_addresses(&self, to: usize) {
        for (number, node) in self.nodes.iter().enumerate() {
            for (device, net) in [("wan", "192.0.2.1/24"), ("wan", "2001:db8::1/64"), ("lan", "10.20.0.1/24")]
            {
                let nodad = if net.contains(':') { "nodad" } else { "" };
                node.place.sh(&match number == to {
                    true => format!("ip addr add {net} dev {device} {nodad}"),
                    false => format!("ip addr del {net} dev {device} 2>/dev/null || true"),
                });
            }
        }
        self.client.sh("ip neigh flush dev wan");
        self.host.sh("ip neigh flush dev lan");
    }

    pub fn client(&self, user: &str, extra: &str) -> Client {
        self.client_of(Stock::Own, user, extra)
    }

    /// Another version of the stock client.
    pub fn client_of(&self, stock: Stock, user: &str, extra: &str) -> Client {
        Client::start(&self.client, stock, user, &self.authority.device(user), extra)
    }

    /// With a device's certificate and key that there are already.
    pub fn client_with(&self, user: &str, device: &str, extra: &str) -> Client {
        Client::start(&self.client, Stock::Own, user, device, extra)
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "not yet: {what}; {:?}", self.nodes[0].status());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Pings an address from the client, which must answer.
    pub fn ping(&self, to: &str, more: &str) -> String {
        self.client.sh(&format!("ping -n -q -i 0.1 -c 3 -W 2 {more} {to}"))
    }

    /// Pings an address from the client in the background.
    pub fn probe(&self, to: &str, every_ms: u32, count: u32) -> Probe {
        let (pid, every) = (self.client.pid().to_string(), format!("0.{every_ms:03}"));
        let count = count.to_string();
        let words = ["-t", &pid, "-n", "--", "ping", "-n", "-D", "-i", &every, "-c", &count, "-W", "1", to];
        let child = Command::new("nsenter").args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        Probe(child.unwrap())
    }

    /// `bytes` bytes by TCP from the host behind the gateways to the client, all of them as they were sent.
    pub fn download(&self, bytes: usize) {
        self.download_in(bytes, Duration::ZERO);
    }

    /// The same, sent evenly over a time.
    pub fn download_in(&self, bytes: usize, time: Duration) {
        const PIECES: usize = 200;
        use std::io::Read as _;
        let listener = self.host.enter(|| std::net::TcpListener::bind("10.20.0.9:5001").unwrap());
        let sent: Vec<u8> = (0..bytes).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect();
        let expected = sent.clone();
        let sender = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            for piece in sent.chunks(bytes.div_ceil(PIECES)) {
                stream.write_all(piece).unwrap();
                std::thread::sleep(time / PIECES as u32);
            }
        });
        let mut stream = self.client.enter(|| std::net::TcpStream::connect("10.20.0.9:5001").unwrap());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        sender.join().unwrap();
        assert!(got == expected, "what arrives is what was sent");
    }
}

/// A ping in the background.
pub struct Probe(Child);

impl Probe {
    /// Once it has ended: how many answers came, and the longest time without one in milliseconds.
    pub fn report(self) -> (u32, u64) {
        let said = self.0.wait_with_output().unwrap().stdout;
        let said = String::from_utf8_lossy(&said);
        // [1700000000.123456] 64 bytes from …
        let came = |line: &str| line.strip_prefix('[')?.split_once("] 64 bytes")?.0.parse::<f64>().ok();
        let times: Vec<f64> = said.lines().filter_map(came).collect();
        let gaps = times.windows(2).map(|pair| ((pair[1] - pair[0]) * 1000.0) as u64);
        (times.len() as u32, gaps.max().unwrap_or(u64::MAX))
    }
}

/// The stock client.
pub struct Client {
    process: Child,
    folder: PathBuf,
}

impl Client {
    pub fn start(place: &Neighbour, stock: Stock, user: &str, device: &str, extra: &str) -> Self {
        let folder = std::env::temp_dir().join(format!(
            "rempart-vpn-{}-{:x}",
            std::process::id(),
            u64::from_be_bytes(random())
        ));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("login"), format!("{user}\n{PASSWORD}\n")).unwrap();
        // Whoever has a way to be asked is asked.
        let login = if extra.contains("management ") { "" } else { "login" };
        let unless =
            |word: &str, line: &str| if extra.contains(word) { String::new() } else { line.to_owned() };
        let (remote, bind) =
            (unless("remote ", "remote 192.0.2.1 1194 udp4\n"), unless("lport ", "nobind\n"));
        let (device_line, verb) = (unless("dev ", "dev tun\n"), unless("verb ", "verb 4\n"));
        let profile = format!(
            "client\n{device_line}{remote}{bind}remote-cert-tls server\nauth-user-pass {login}\nconnect-retry 1 2\n\
             hand-window 20\n{verb}auth-nocache\n{extra}\n{device}"
        );
        fs::write(folder.join("client.ovpn"), profile).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let process = Command::new("nsenter")
            .args(["-t", &place.pid().to_string(), "-n", "--"])
            .args(stock.words(&folder))
            .args(["--config", "client.ovpn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    /// Its management interface, if it was started with `management m unix`.
    pub fn management(&self) -> Management {
        let end = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(self.folder.join("m")) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return Management(BufReader::new(stream));
                }
                Err(error) => assert!(Instant::now() < end, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    pub fn said(&self, what: &str) -> usize {
        self.log().matches(what).count()
    }

    pub fn wait(&self, what: &str) {
        self.wait_times(what, 1);
    }

    pub fn wait_times(&self, what: &str, times: usize) {
        let end = Instant::now() + PATIENCE;
        while self.said(what) < times {
            assert!(Instant::now() < end, "the client has not said {what:?} {times} times");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn up(&self) {
        self.wait("Initialization Sequence Completed");
    }

    /// It came up once, and nothing happened that a person would have noticed.
    pub fn assert_undisturbed(&self) {
        let log = self.log();
        assert_eq!(self.said("Initialization Sequence Completed"), 1, "{log}");
        for trouble in
            ["SIGUSR1", "AUTH_FAILED", "Restart pause", "decrypt packet error", "Enter Auth", "Inactivity"]
        {
            assert!(!log.contains(trouble), "{trouble} in the client's log");
        }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }
}

/// What a graphical client would be: asked for names, passwords and codes.
pub struct Management(BufReader<UnixStream>);

impl Management {
    /// Waits for a line that begins like this; its rest.
    pub fn wait(&mut self, beginning: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the client has gone");
            if let Some(rest) = line.trim_end().strip_prefix(beginning) {
                return rest.to_owned();
            }
        }
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.0.get_mut(), "{line}").unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the client's log:\n{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
