//! WireGuard of the program beside stock wireguard-go, in network namespaces: handshake, packets, roaming, flood, take-over.
//! Needs root, wireguard-go and wg.

// Not every helper of the data path's tests is used.
#[allow(dead_code)]
#[path = "../../tunnel/tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::Namespace;
use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::WireguardClientRequest;
use rempart_daemon::vpn::seam::{FromReplica, Kind, Replica, ReplicaTicket};
use rempart_daemon::vpn::wireguard::Wireguard;
use rempart_plan::wireguard::{WireguardPeerPlan, WireguardPlan};
use rempart_wireguard::{Engine, PeerSettings, Secret, Settings};
use zeroize::Zeroizing;

/// Keys that `wg genkey` made: of the box, of the client, and one that both have.
const BOX_KEY: &str = "OLZEYnTi5wmvNxlAOnp0IM8f79Ytm+s1cL7TXIBqrXU=";
const CLIENT_KEY: &str = "kAGkSLmcsaHZ5rCbGvyIIvNbFn9pcqbrV3tGG2jv1Eo=";
const SHARED_KEY: &str = "8HrGlCe0JN9gsAtI2mX7NlB4W9T3Xb7Ld2gYfR0mNjs=";

fn ready() -> bool {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let ready = nix::unistd::geteuid().is_root() && there("wireguard-go") && there("wg");
    if !ready {
        eprintln!("SKIPPED: this needs root, for network namespaces, and wireguard-go and wg");
    }
    ready
}

/// A folder that goes when this is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rempart-wg-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        for (name, key) in [("box", BOX_KEY), ("client", CLIENT_KEY), ("shared", SHARED_KEY)] {
            std::fs::write(path.join(name), format!("{key}\n")).unwrap();
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn public(key: &str) -> [u8; 32] {
    Secret::from_base64(key.as_bytes()).unwrap().public().0
}

fn base64(key: &str) -> String {
    let mut child =
        Command::new("wg").arg("pubkey").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
}

fn plan() -> WireguardPlan {
    WireguardPlan {
        device: "wg0".into(),
        listen: vec!["192.0.2.1:51820".parse().unwrap(), "[2001:db8::1]:51820".parse().unwrap()],
        addresses: vec!["10.99.0.1/24".parse().unwrap(), "fd99::1/64".parse().unwrap()],
        routes: vec!["192.168.44.0/24".parse().unwrap()],
        mtu: 1420,
        private_key: "box".into(),
        peers: vec![WireguardPeerPlan {
            name: "client".into(),
            public_key: public(CLIENT_KEY),
            preshared_key: Some("shared".into()),
            allowed: ["10.99.0.10/32", "fd99::10/128", "192.168.44.0/24"].map(|n| n.parse().unwrap()).into(),
            endpoint: None,
            keepalive_s: None,
        }],
    }
}

/// Stock wireguard-go. Dropping it ends it.
struct Stock(Child, String);

impl Stock {
    fn start(namespace: &Namespace, folder: &Path, endpoint: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let device = format!("wgt{}x{number}", std::process::id() % 100_000);
        let mut command = Command::new("wireguard-go");
        command.args(["-f", &device]).env("LOG_LEVEL", "error").stdout(Stdio::null()).stderr(Stdio::null());
        let child = namespace.run(move || command.spawn().unwrap());
        let stock = Self(child, device.clone());
        let socket = PathBuf::from(format!("/var/run/wireguard/{device}.sock"));
        until("wireguard-go's socket", || socket.exists());
        let (folder, server) = (folder.display(), base64(BOX_KEY));
        namespace.shell(&format!(
            "wg set {device} private-key {folder}/client peer {server} preshared-key {folder}/shared \
             endpoint {endpoint} allowed-ips 10.99.0.0/24,fd99::/64"
        ));
        namespace.set_up(&device, &["10.99.0.10/24", "fd99::10/64"]);
        // It takes the MTU for 1420 by itself.
        stock
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_file(format!("/var/run/wireguard/{}.sock", self.1));
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a node has put, for the other one to hear.
#[derive(Default)]
struct Held(Mutex<Vec<Put>>);

type Put = (Kind, Vec<u8>, Vec<u8>);

impl Replica for Held {
    fn put(&self, kind: Kind, key: &[u8], value: Zeroizing<Vec<u8>>) -> ReplicaTicket {
        self.0.lock().unwrap().push((kind, key.to_vec(), value.to_vec()));
        ReplicaTicket(0)
    }
    fn remove(&self, _: Kind, _: &[u8]) {}
}

impl Held {
    fn tell(&self, other: &Wireguard) {
        for (kind, key, value) in self.0.lock().unwrap().drain(..) {
            other.hear(&FromReplica::Put(kind, key, Zeroizing::new(value)));
        }
    }

    fn of(&self, kind: Kind) -> usize {
        self.0.lock().unwrap().iter().filter(|(held, ..)| *held == kind).count()
    }
}

fn start(namespace: &Namespace, folder: &Path) -> (Wireguard, Arc<Held>) {
    let (folder, held) = (folder.to_owned(), Arc::new(Held::default()));
    let replica: Arc<Held> = held.clone();
    let wireguard = namespace.run(move || Wireguard::start(Some(plan()), &folder, replica).unwrap());
    until("the device", || {
        namespace.shell("ip -o address show dev wg0 2>/dev/null || true").contains("10.99.0.1/24")
    });
    (wireguard, held)
}

/// The box at 192.0.2.1 and the client at 192.0.2.2, with a cable.
struct Two {
    server: Namespace,
    client: Namespace,
    wireguard: Wireguard,
    held: Arc<Held>,
    folder: Folder,
}

impl Two {
    fn new() -> Self {
        let (server, client, folder) = (Namespace::new(), Namespace::new(), Folder::new());
        server.cable(
            ("wan", &["192.0.2.1/24", "2001:db8::1/64"]),
            &client,
            ("eth", &["192.0.2.2/24", "2001:db8::2/64"]),
        );
        let (wireguard, held) = start(&server, &folder.0);
        wireguard.set_active(true);
        Self { server, client, wireguard, held, folder }
    }

    fn ping(&self, to: &str) {
        self.client.shell(&format!("ping -q -c 3 -i 0.2 -W 5 {to}"));
    }
}

/// `bytes` bytes by TCP from one namespace to `to` in another, all of them as they were sent; Mbit/s.
fn transfer(from: &Namespace, to: &Namespace, address: &str, bytes: usize) -> f64 {
    let address: SocketAddr = address.parse().unwrap();
    let listener = to.run(move || TcpListener::bind(address).unwrap());
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut got).unwrap();
        got
    });
    let content: Vec<u8> = (0..bytes).map(|i| (i ^ i >> 9) as u8).collect();
    let sent = content.clone();
    let begin = Instant::now();
    from.run(move || TcpStream::connect(address).unwrap().write_all(&sent).unwrap());
    assert!(reader.join().unwrap() == content, "what arrived is not what was sent");
    bytes as f64 * 8.0 / 1e6 / begin.elapsed().as_secs_f64()
}

/// Stock wireguard-go against ours, over both IP versions outside and inside: pings, TCP both ways.
#[test]
fn a_stock_peer_talks_through_us() {
    if !ready() {
        return;
    }
    for endpoint in ["192.0.2.1:51820", "[2001:db8::1]:51820"] {
        let two = Two::new();
        let _stock = Stock::start(&two.client, &two.folder.0, endpoint);
        two.ping("10.99.0.1");
        two.ping("fd99::1");
        let up = transfer(&two.client, &two.server, "10.99.0.1:5001", 20 << 20);
        let down = transfer(&two.server, &two.client, "[fd99::10]:5001", 20 << 20);
        eprintln!("{endpoint}: {up:.0} Mbit/s up, {down:.0} down, beside wireguard-go");
        let [status] = &two.wireguard.status()[..] else { panic!("one peer") };
        assert!(status.handshake.unwrap() < Duration::from_secs(60));
        assert!(status.received > 20 << 20 && status.sent > 20 << 20);
        assert_eq!(status.endpoint.unwrap().is_ipv4(), endpoint.starts_with('1'));
        // What lies behind the peer is routed to it.
        assert!(two.server.shell("ip route get 192.168.44.9").contains("dev wg0"));
    }
}

/// The client has another port from one moment to the next, as behind a translator that forgot: its packets move it, and what
/// goes to it follows.
#[test]
fn a_stock_peer_roams() {
    if !ready() {
        return;
    }
    let two = Two::new();
    let stock = Stock::start(&two.client, &two.folder.0, "192.0.2.1:51820");
    two.ping("10.99.0.1");
    two.client.shell(&format!("wg set {} listen-port 7777", stock.1));
    two.ping("10.99.0.1");
    let [status] = &two.wireguard.status()[..] else { panic!("one peer") };
    assert_eq!(status.endpoint, Some("192.0.2.2:7777".parse().unwrap()));
    two.server.shell("ping -q -c 2 -i 0.2 -W 5 10.99.0.10");
    assert!(two.held.of(Kind::Wireguard) >= 2, "the other node is told");
}

/// Another plan: an address more, the network behind the peer gone; then switched off, and on again.
#[test]
fn another_plan_changes_what_it_changes() {
    if !ready() {
        return;
    }
    let two = Two::new();
    let _stock = Stock::start(&two.client, &two.folder.0, "192.0.2.1:51820");
    two.ping("10.99.0.1");
    let mut changed = plan();
    changed.addresses.push("10.98.0.1/24".parse().unwrap());
    changed.routes.clear();
    two.wireguard.configure(Some(changed));
    until("the address", || two.server.shell("ip -o address show dev wg0").contains("10.98.0.1/24"));
    until("the route", || !two.server.shell("ip route").contains("192.168.44.0"));
    let before = two.wireguard.status();
    two.ping("10.99.0.1");
    assert_eq!(before[0].endpoint, two.wireguard.status()[0].endpoint);
    assert!(before[0].sent > 0, "the session was kept");
    // A secret that is not there leaves all as it was.
    let mut wrong = plan();
    wrong.private_key = "nothing".into();
    two.wireguard.configure(Some(wrong));
    two.ping("10.99.0.1");
    two.wireguard.configure(None);
    until("the device to go", || two.server.shell("ip link").find("wg0").is_none());
    assert!(two.wireguard.status().is_empty());
    two.wireguard.configure(Some(plan()));
    // It asks by itself, because it knows where the client is.
    until("a handshake", || {
        two.wireguard.status().iter().any(|peer| {
            peer.received + peer.sent > 0 || {
                peer.handshake.is_some_and(|age| age < Duration::from_secs(2))
            }
        })
    });
    two.ping("10.99.0.1");
}

/// Two nodes without any key, and a document that names one for the gateway and one for a peer: the active node makes them, the
/// other one gets them, and makes none itself. Anew, both have the new one. What is no key is left alone.
#[test]
fn keys_are_the_same_on_both_nodes() {
    if !ready() {
        return;
    }
    let (spaces, folders) = ([Namespace::new(), Namespace::new()], [Folder::new(), Folder::new()]);
    for folder in &folders {
        std::fs::remove_file(folder.0.join("box")).unwrap();
        std::fs::remove_file(folder.0.join("shared")).unwrap();
        std::fs::write(folder.0.join("radius"), "a password of RADIUS\n").unwrap();
    }
    let mut document = plan();
    document.peers[0].preshared_key = None;
    let nodes = [0, 1].map(|n| {
        let held = Arc::new(Held::default());
        let (folder, replica): (_, Arc<Held>) = (folders[n].0.clone(), held.clone());
        let plan = document.clone();
        (spaces[n].run(move || Wireguard::start(Some(plan), &folder, replica).unwrap()), held)
    });
    let [(active, told), (standby, silent)] = &nodes;
    active.set_active(true);
    let status = active.report("rte01").unwrap();
    assert!(status.enabled && status.active && status.public_key.is_none(), "{status:?}");
    assert!(status.trouble.is_some_and(|why| why.contains("`box`")));
    let refusal = |error: Result<_, rempart_bus::Error>| match error {
        Err(rempart_bus::Error::Refused(text)) => RefusalCode::of(&text),
        Err(other) => panic!("{other}"),
        Ok(()) => None,
    };
    assert_eq!(refusal(standby.make_key(false).map(drop)), Some(RefusalCode::VpnStandby));
    let request = || WireguardClientRequest { peer: "phone".into(), preshared: true, ..Default::default() };
    assert_eq!(refusal(active.client(request()).map(drop)), Some(RefusalCode::NoWireguardKey));

    let made = active.make_key(false).unwrap();
    assert!(made.made && !active.make_key(false).unwrap().made);
    let mode = std::fs::metadata(folders[0].0.join("box")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    until("the device", || spaces[0].shell("ip -o address show dev wg0 || true").contains("10.99.0.1/24"));
    told.tell(standby);
    let key_of = |node: &Wireguard| node.report("n").unwrap().public_key;
    until("the other node's key", || key_of(standby).as_ref() == Some(&made.public_key));

    let client = active.client(request()).unwrap();
    assert!(
        client.text.contains("PresharedKey") && client.entry.contains("wireguard-phone"),
        "{}",
        client.entry
    );
    told.tell(standby);
    let shared = |n: usize| std::fs::read_to_string(folders[n].0.join("wireguard-phone")).ok();
    until("the peer's key", || shared(1).is_some() && shared(0) == shared(1));

    // A peer whose key is nowhere is left out, and said to be; the others come in.
    let mut lacking = document.clone();
    lacking.peers[0].preshared_key = Some("nowhere".into());
    active.configure(Some(lacking));
    until("the complaint", || active.report("n").unwrap().trouble.is_some_and(|why| why.contains("nowhere")));
    assert!(active.status().is_empty());
    active.configure(Some(document));
    until("its end", || active.report("n").unwrap().trouble.is_none());

    let anew = active.make_key(true).unwrap();
    assert_ne!(anew.public_key, made.public_key);
    told.tell(standby);
    until("the other node's new key", || key_of(standby).as_ref() == Some(&anew.public_key));
    for name in ["radius", "../radius", ".hidden"] {
        let value = Zeroizing::new(vec![1; 32]);
        standby.hear(&FromReplica::Put(Kind::WireguardKey, name.into(), value));
    }
    standby.hear(&FromReplica::Put(Kind::WireguardKey, b"short".to_vec(), Zeroizing::new(vec![1; 31])));
    assert_eq!(standby.report("n").unwrap().trouble, None);
    let left = std::fs::read_to_string(folders[1].0.join("radius")).unwrap();
    assert_eq!(left, "a password of RADIUS\n");
    assert!(!folders[1].0.join("short").exists() && !folders[1].0.join(".hidden").exists());
    assert_eq!(silent.of(Kind::WireguardKey), 0, "the standby node hands nothing over");
}

/// Initiations of a stranger as fast as they go, for some seconds: the tunnel goes on without a loss, memory stays as it was,
/// and a client that was not there before gets in.
#[test]
fn a_flood_of_initiations_stops_nobody() {
    if !ready() {
        return;
    }
    let two = Two::new();
    let _stock = Stock::start(&two.client, &two.folder.0, "192.0.2.1:51820");
    two.ping("10.99.0.1");
    let stranger = Settings {
        private_key: Secret::new([77; 32]),
        sockets: vec!["0.0.0.0:1".parse().unwrap()],
        mtu: 1420,
        peers: vec![PeerSettings {
            name: "box".into(),
            public_key: Secret::from_base64(BOX_KEY.as_bytes()).unwrap().public(),
            preshared: None,
            allowed: Vec::new(),
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            keepalive: Some(Duration::from_secs(1)),
        }],
    };
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let mut seed = 0u8;
    let random = Box::new(move |bytes: &mut [u8]| {
        bytes.fill_with(|| {
            seed = seed.wrapping_mul(5).wrapping_add(113);
            seed
        });
    });
    let mut engine = Engine::new(Instant::now(), wall, stranger, &Default::default(), random).unwrap();
    engine.handle_timeout(Instant::now());
    let (_, initiation) = engine.poll_transmit().expect("an initiation");
    let before = memory();
    let flood = std::thread::spawn({
        let sockets: Vec<UdpSocket> =
            two.client.run(|| (0..64).map(|_| UdpSocket::bind("192.0.2.2:0").unwrap()).collect());
        move || {
            let (begin, mut sent) = (Instant::now(), 0u64);
            while begin.elapsed() < Duration::from_secs(5) {
                for socket in &sockets {
                    sent += u64::from(socket.send_to(&initiation, "192.0.2.1:51820").is_ok());
                }
            }
            sent
        }
    });
    let answer = two.client.shell("ping -q -c 100 -i 0.02 -W 2 10.99.0.1");
    assert!(answer.contains(" 0% packet loss"), "{answer}");
    // The client begins anew, in the middle of it.
    drop(_stock);
    let _stock = Stock::start(&two.client, &two.folder.0, "192.0.2.1:51820");
    two.client.shell("ping -q -c 1 -W 12 10.99.0.1");
    let sent = flood.join().unwrap();
    let grown = memory().saturating_sub(before);
    eprintln!("{sent} initiations in 5 s; memory grew by {} KiB", grown >> 10);
    // The other tests of this process grow too. A kilobyte for each initiation would be many times as much.
    assert!(sent > 20_000 && grown < 128 << 20, "{sent}, {grown}");
}

/// Resident bytes of this process.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// The node dies under traffic; the other one has the virtual address an instant later and asks the client at once. The
/// client, stock and without keepalive, notices nothing but the gap.
#[test]
fn the_other_node_takes_over() {
    if !ready() {
        return;
    }
    let (middle, one, other, client) =
        (Namespace::new(), Namespace::new(), Namespace::new(), Namespace::new());
    middle.shell("ip link add name bridge0 type bridge && ip link set bridge0 up");
    for (n, (namespace, address)) in
        [(&one, "192.0.2.3/24"), (&other, "192.0.2.4/24"), (&client, "192.0.2.2/24")].into_iter().enumerate()
    {
        let port = format!("port{n}");
        middle.cable((&port, &[]), namespace, ("eth", &[address]));
        middle.shell(&format!("ip link set {port} master bridge0"));
    }
    let folder = Folder::new();
    one.shell("ip address add 192.0.2.1/24 dev eth");
    let ((first, held), (second, taken)) = (start(&one, &folder.0), start(&other, &folder.0));
    first.set_active(true);
    other.shell(
        "nft 'table inet watch { chain out { type filter hook output priority 0; udp sport 51820 counter; }; }'",
    );
    let _stock = Stock::start(&client, &folder.0, "192.0.2.1:51820");
    client.shell("ping -q -c 3 -i 0.2 -W 5 10.99.0.1");
    held.tell(&second);
    assert!(taken.0.lock().unwrap().is_empty(), "a node on standby finds nothing out");
    let sent = || other.shell("nft list chain inet watch out");
    assert!(sent().contains("packets 0"), "a node on standby sends nothing: {}", sent());
    let listens = other.shell("ss -lun");
    assert!(listens.contains("192.0.2.1:51820"), "it listens beforehand: {listens}");

    let pings = client.run(|| {
        let mut command = Command::new("ping");
        command.args(["-D", "-i", "0.01", "-c", "300", "10.99.0.1"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    });
    std::thread::sleep(Duration::from_secs(1));
    one.shell("ip link set eth down");
    let begin = Instant::now();
    other.shell("ip address add 192.0.2.1/24 dev eth");
    second.set_active(true);
    let took = begin.elapsed();
    first.set_active(false);
    until("a handshake", || {
        second.status().iter().any(|peer| peer.handshake.is_some_and(|age| age < Duration::from_secs(2)))
    });
    let output = String::from_utf8(pings.wait_with_output().unwrap().stdout).unwrap();
    let times: Vec<f64> = output
        .lines()
        .filter(|line| line.contains("bytes from"))
        .filter_map(|line| line.strip_prefix('[')?.split_once(']')?.0.parse().ok())
        .collect();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    eprintln!(
        "gap {:.0} ms, of which {:.0} to move the address; {} of 300 answered",
        gap * 1e3,
        took.as_secs_f64() * 1e3,
        times.len()
    );
    assert!(times.len() > 200, "{output}");
    assert!(gap < 1.0, "a gap of {gap} s");
    assert!(!sent().contains("packets 0"));
    assert!(!taken.0.lock().unwrap().is_empty(), "the new node tells what it finds out");
}
