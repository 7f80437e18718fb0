//! Remote access as its users see it: a person at the console of a node, and the stock openvpn outside.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use rempart_bus::vpn::{DeviceView, SessionView, VpnStatus};
use rempart_end_to_end::{Document, PairStage, SOON, pair};
use rempart_lab::capture::{Capture, Wire};
use rempart_lab::traffic::{Direction, Ping, PingReport, Stream, StreamReport};
use rempart_lab::{Quiet, Stock, Transport, Tunnel, skip_unless_root, wait_until};

pub const PASSWORD: &str = "correct horse battery staple";
/// What agents may reach, and by what.
pub const DESK: [u8; 4] = [192, 168, 20, 11];
pub const VOICE: [u8; 4] = [192, 168, 10, 13];
pub const VOICE_PORT: u16 = 7100;
/// How long everything flows before a fault and after it.
const BEFORE: Duration = Duration::from_millis(500);
const AFTER: Duration = Duration::from_secs(3);
/// How soon a session that an administrator ended is gone.
pub const AT_ONCE: Duration = Duration::from_secs(2);

/// The pair with remote access: agents come in with certificate and password, and reach a page, an echo and one port.
pub fn document() -> Document {
    pair()
        .and(
            "[vpn]\nlisten = \"wan\"\n\n[vpn.group.agents]\npool = \"10.77.10.0/24\"\n\
             demand = [\"certificate\", \"password\"]\ntunnel = \"split\"\n\
             routes = [\"192.168.10.0/24\", \"192.168.20.0/24\"]\nwhy = \"a test that keeps its own way out\"\n",
        )
        .flow("agents-desk", "vpn:agents", "dmz:192.168.20.11", "allow = [\"http\", \"ping\"]")
        .flow("agents-voice", "vpn:agents", "lan:192.168.10.13", "allow = [\"tcp/7100\"]")
}

/// A pair with an authority and one person, all made at the console of the active node.
pub struct Remote {
    pub stage: PairStage,
    pub profile: PathBuf,
}

impl Remote {
    pub fn up() -> Self {
        Self::of(&document())
    }

    pub fn of(document: &Document) -> Self {
        let stage = PairStage::up(document);
        let active = stage.active();
        says(&stage, active, "serves", |status| status.active);
        says(&stage, 1 - active, "waits", |status| !status.active);
        let node = &stage.nodes[active];
        node.must(&["vpn", "authority", "make"]).expect("an authority");
        let profile = node.vpn_profile("alice", "agents", PASSWORD).expect("a profile");
        Self { stage, profile }
    }

    pub fn connect(&self) -> Tunnel {
        let mut tunnel = self.try_connect();
        tunnel.wait_up().expect("a connection");
        tunnel
    }

    fn try_connect(&self) -> Tunnel {
        self.stage.host("cli-wan").openvpn(&self.profile, "alice", PASSWORD).expect("openvpn")
    }

    pub fn sessions(&self, node: usize) -> Vec<SessionView> {
        self.stage.json(node, &["vpn", "list"])
    }

    /// The one session of a node, which is alice's.
    pub fn session(&self, node: usize) -> SessionView {
        let sessions = self.sessions(node);
        let [session] = sessions.as_slice() else { panic!("{sessions:#?}") };
        assert_eq!((session.user.as_str(), session.group.as_str()), ("alice", "agents"), "{session:#?}");
        session.clone()
    }

    /// Who is connected, as the kernel of a node has it.
    pub fn live(&self, node: usize) -> String {
        let host = self.stage.host(self.stage.name(node));
        host.must(&["nft", "list", "set", "inet", "rempart", "vpn_live4"]).expect("the set")
    }

    /// What the routers send to cli-wan for its tunnel, as the wire has it.
    pub fn capture(&self) -> Capture {
        self.stage.lab.capture("cli-wan", "eth0", "udp src port 1194").expect("a capture")
    }

    /// Fails if the wire had a nonce twice (invariant I4).
    pub fn audited(&self, capture: Capture) -> Wire {
        let wire = Wire::audit(&capture.stop().expect("a capture"));
        eprintln!("audit: {} packets under {} keys", wire.packets, wire.keys);
        assert!(wire.packets > 0 && wire.repeated.is_empty(), "{wire:?}");
        wire
    }

    /// Does something while echoes and a stream by TCP go through the tunnel.
    pub fn during<T>(&mut self, fault: impl FnOnce(&mut Self) -> T) -> (PingReport, StreamReport, T) {
        let flowing = Flowing::begin(&self.stage, [(VOICE_PORT, Direction::Down)]);
        let done = fault(self);
        let (echo, [stream]) = flowing.end(AFTER);
        (echo, stream, done)
    }
}

/// Echoes every millisecond to the desk, and streams to the voice server, from cli-wan.
pub struct Flowing<const N: usize> {
    _quiet: Quiet,
    ping: Ping,
    streams: [Stream; N],
}

impl<const N: usize> Flowing<N> {
    /// Waits until everything flows evenly.
    pub fn begin(stage: &PairStage, streams: [(u16, Direction); N]) -> Self {
        let quiet = Quiet::begin().expect("quiet");
        let (client, voice) = (stage.host("cli-wan"), stage.host("srv-voip"));
        let streams = streams.map(|(port, direction)| {
            client.stream(voice, SocketAddr::from((VOICE, port)), direction).expect("a stream")
        });
        let ping = client.ping(IpAddr::from(DESK), Duration::from_millis(1)).expect("echoes");
        sleep(BEFORE);
        Self { _quiet: quiet, ping, streams }
    }

    /// After so long.
    pub fn end(self, after: Duration) -> (PingReport, [StreamReport; N]) {
        sleep(after);
        let echo = self.ping.stop().expect("a report");
        (echo, self.streams.map(|stream| stream.stop().expect("a report")))
    }
}

/// From cli-wan by TCP: whether it is let through.
pub fn reaches(stage: &PairStage, to: [u8; 4], port: u16) -> bool {
    let probe = stage.host("cli-wan").probe(Transport::Tcp, SocketAddr::from((to, port)));
    probe.run().expect("a probe").passes()
}

/// cli-wan reaches a page, an echo and a port; and no other server, port or service, nor the box itself, which is `inside`.
pub fn reaches_what_it_may(stage: &PairStage, inside: [u8; 4]) {
    let client = stage.host("cli-wan");
    let page = client.http_get("http://192.168.20.11/", SOON).expect("the desk");
    assert_eq!(page.body, "srv-ebrigade\n");
    client.must(&["ping", "-n", "-c", "3", "-i", "0.1", "-W", "2", "192.168.20.11"]).expect("an echo");
    let _servers = ["srv-voip", "srv-ad1"]
        .map(|name| stage.host(name).echo(Transport::Tcp, ([0u16; 8], VOICE_PORT).into()).expect("a server"));
    assert!(reaches(stage, VOICE, VOICE_PORT));
    for (to, port) in [([192, 168, 10, 11], VOICE_PORT), (VOICE, 22), (DESK, 22), (inside, 22)] {
        assert!(!reaches(stage, to, port), "{to:?}:{port}");
    }
}

/// Waits until a node has remote access, and says of it what `condition` wants.
pub fn says(stage: &PairStage, node: usize, what: &str, condition: impl Fn(&VpnStatus) -> bool) {
    let mut last = String::new();
    let said = wait_until(SOON, || {
        let said = stage.nodes[node].verb(&["vpn", "status", "--json"]).expect("an answer");
        last = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
        serde_json::from_str::<VpnStatus>(&last).is_ok_and(|s| s.configured && condition(&s))
    });
    assert!(said, "{} never {what}: {last}", stage.name(node));
}

/// In: an authority, a person and a profile, made at the console of the active node; openvpn outside. Out: connected, with what the
/// group may and nothing else; the standby manages nobody; disconnected, nothing is left, and what was allowed is not.
#[test]
fn a_person_comes_in_and_reaches_what_the_group_may() {
    skip_unless_root!();
    let remote = Remote::up();
    let (active, standby) = (remote.stage.active(), 1 - remote.stage.active());
    let refused = remote.stage.nodes[standby].verb(&["vpn", "user", "add", "bob"]).expect("an answer");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains(remote.stage.name(active)), "{said}");
    assert!(!reaches(&remote.stage, DESK, 80), "outside, and not connected");

    let mut tunnel = remote.connect();
    let session = remote.session(active);
    assert_eq!((session.transport.as_str(), session.cipher.as_str()), ("udp", "AES-256-GCM"), "{session:#?}");
    let [address] = session.addresses.as_slice() else { panic!("{session:#?}") };
    assert!(address.starts_with("10.77.10."), "{session:#?}");
    assert!(remote.live(active).contains(address), "{}", remote.live(active));
    assert!(!remote.live(standby).contains(address), "{}", remote.live(standby));

    reaches_what_it_may(&remote.stage, [10, 77, 10, 1]);
    tunnel.undisturbed().expect("an even connection");

    remote.stage.nodes[active].must(&["vpn", "disconnect", "alice"]).expect("disconnected");
    assert!(wait_until(AT_ONCE, || remote.sessions(active).is_empty()), "{:#?}", remote.sessions(active));
    assert!(!remote.live(active).contains(address), "{}", remote.live(active));
    assert!(wait_until(SOON, || !tunnel.is_running() || tunnel.said("Restart") > 0), "{}", tunnel.log());
}

/// In: a device revoked while it is connected. Out: cut at once; turned away by the active node, and after a planned move by the
/// other one; another device of the same person comes in.
#[test]
fn a_revoked_device_is_cut_on_both_nodes() {
    skip_unless_root!();
    let mut remote = Remote::up();
    let active = remote.stage.active();
    let tunnel = remote.connect();
    let address = remote.session(active).addresses.concat();
    let devices: Vec<DeviceView> = remote.stage.json(active, &["vpn", "devices"]);
    let [device] = devices.as_slice() else { panic!("{devices:#?}") };
    remote.stage.nodes[active].must(&["vpn", "revoke", &device.id]).expect("revoked");
    assert!(wait_until(AT_ONCE, || remote.sessions(active).is_empty()), "{:#?}", remote.sessions(active));
    assert!(!remote.live(active).contains(&address), "{}", remote.live(active));
    drop(tunnel);

    let revoked = remote.profile.clone();
    for moved in [false, true] {
        let mut serving = active;
        if moved {
            remote.stage.nodes[active].switch().expect("a switch");
            remote.stage.settle();
            serving = remote.stage.active();
            assert_ne!(serving, active);
            says(&remote.stage, serving, "serves", |status| status.active);
        }
        remote.profile = revoked.clone();
        let out = remote.try_connect();
        sleep(Duration::from_secs(5));
        assert_eq!(out.said(rempart_lab::tunnel::UP), 0, "{}", out.log());
        assert!(remote.sessions(serving).is_empty(), "{:#?}", remote.sessions(serving));
        drop(out);
        let label = if moved { "second" } else { "first" };
        remote.profile = remote.stage.nodes[serving].vpn_export("alice", label).expect("a profile");
        drop(remote.connect());
    }
}

/// In: the active loses power, twice in a row, with echoes and a stream by TCP in the tunnel. Out: the same tunnel goes on, once
/// connected and never again; a gap little longer than the pair's own; every block of the stream.
fn outlives_power_cuts(stock: Stock) {
    let mut remote = Remote::up();
    let client = remote.stage.host("cli-wan");
    let mut tunnel = client.stock_openvpn(stock, &remote.profile, "alice", PASSWORD, &[]).expect("openvpn");
    tunnel.wait_up().expect("a connection");
    let capture = remote.capture();
    let before = remote.session(remote.stage.active());
    for cut in 1..=2 {
        let (echo, stream, dead) = remote.during(|remote| {
            let dead = remote.stage.active();
            remote.stage.lab.power_off(remote.stage.name(dead)).expect("a power cut");
            dead
        });
        eprintln!("power cut {cut}: echoes {echo:?}; TCP {stream:?}");
        tunnel.undisturbed().expect("one connection");
        assert!(stream.is_whole(), "{stream:?}");
        // Detection takes 28 ms, and 60 at most are the pair's own on this machine; 50 more are remote access's.
        assert!(echo.longest_gap <= 110 && echo.duplicates == 0, "{echo:?}");
        let carried = remote.session(1 - dead);
        assert!(carried.carried_on, "{carried:#?}");
        assert_eq!(
            (carried.id, &carried.since, &carried.addresses),
            (before.id, &before.since, &before.addresses)
        );
        assert!(remote.live(1 - dead).contains(&carried.addresses[0]), "{}", remote.live(1 - dead));
        remote.stage.power_on(dead);
    }
    tunnel.undisturbed().expect("one connection");
    assert!(remote.audited(capture).keys >= 2, "a key from before, and one after each power cut");
}

#[test]
#[ignore = "measures: `make test-vpn` gives it the machine for itself"]
fn a_tunnel_outlives_power_cuts() {
    skip_unless_root!();
    outlives_power_cuts(Stock::Own);
}

#[test]
#[ignore = "measures: `make test-vpn` gives it the machine for itself"]
fn a_tunnel_of_every_other_version_outlives_power_cuts() {
    skip_unless_root!();
    Stock::all_here().filter(|stock| *stock != Stock::Own).for_each(outlives_power_cuts);
}

/// In: rempart-vpn of the active node killed and started again, as its service manager does; then that of the standby; then the role
/// handed over in order. Out: the same tunnel each time.
#[test]
#[ignore = "measures: `make test-vpn` gives it the machine for itself"]
fn a_tunnel_outlives_its_program() {
    skip_unless_root!();
    let mut remote = Remote::up();
    let tunnel = remote.connect();
    let active = remote.stage.active();
    let before = remote.session(active);
    let capture = remote.capture();
    for node in [active, 1 - active] {
        let (echo, stream, ()) = remote.during(|remote| {
            remote.stage.nodes[node].vpn().expect("remote access").kill();
            remote.stage.nodes[node].start_vpn().expect("a start");
        });
        eprintln!("rempart-vpn of {}: echoes {echo:?}; TCP {stream:?}", remote.stage.name(node));
        tunnel.undisturbed().expect("one connection");
        assert!(stream.is_whole(), "{stream:?}");
        let limit = if node == active { 1500 } else { 5 };
        assert!(echo.longest_gap <= limit && echo.duplicates == 0, "{echo:?}");
        assert_eq!(remote.stage.active(), active);
        assert_eq!(
            (remote.session(active).id, remote.session(active).since),
            (before.id, before.since.clone())
        );
        remote.stage.settle();
    }
    let (echo, stream, ()) = remote.during(|remote| remote.stage.nodes[active].switch().expect("a switch"));
    eprintln!("a planned move: echoes {echo:?}; TCP {stream:?}");
    tunnel.undisturbed().expect("one connection");
    assert!(stream.is_whole() && echo.longest_gap <= 50, "{echo:?} {stream:?}");
    assert_eq!(remote.session(1 - active).since, before.since);
    remote.audited(capture);
}

/// In: a pair whose document asks for no remote access. Out: both programs run, listen nowhere, make no device and say so.
#[test]
fn without_remote_access_nothing_listens() {
    skip_unless_root!();
    let stage = PairStage::up(&pair());
    for node in 0..2 {
        let host = stage.host(stage.name(node));
        let sockets = host.must(&["ss", "-Hlnptu"]).expect("sockets");
        assert!(!sockets.contains("rempart-vpn"), "{sockets}");
        assert!(!host.must(&["ip", "-o", "link"]).expect("links").contains("vpn"));
        let status: VpnStatus = stage.json(node, &["vpn", "status"]);
        assert!(!status.configured && status.listen.is_empty(), "{status:#?}");
    }
}
