//! Remote access, beside stock openvpn in the same run: the program `rempart-vpn` as it is shipped, on a network namespace that is
//! a server, with clients in others on the same machine.
//!
//! | name | what is measured |
//! | --- | --- |
//! | `vpn.tcp.1` | Mbit/s of one TCP connection through the tunnel, to the server |
//! | `vpn.tcp.4` | the same of four |
//! | `vpn.small.pps` | datagrams of 64 bytes that arrive in a second while more are sent |
//! | `….cpu` | seconds of a processor that the server's process takes for a Gbit |
//! | `….stock` | the same with the stock client on both sides |
//! | `….wireguard-stock` | ours beside a stock WireGuard in user space, at both ends |
//! | `vpn.wireguard.…` | our WireGuard, as the program runs it, beside the same |
//! | `vpn.handshakes` | clients that come up and leave in a second, 48 at once; `….cpu`: milliseconds of the server for each |
//! | `vpn.memory.1000` | what 1,000 sessions add to the server's memory, in MiB |
//! | `vpn.flood.tcp` | Mbit/s of one TCP connection under a flood of first packets from forged addresses, beside none |
//! | `vpn.flood.memory` | what that flood adds to the server's memory, in MiB |
//! | `vpn.failover.…` | see `failover` |
//!
//! The client is ours where nothing else is said: the stock one on the same two processors is slower than either server, so that both
//! servers would look alike. It talks to both servers. The stock server has AES-256-GCM and its defaults.

mod client;
// The same ends as in the tests, which look at more of them.
#[allow(dead_code)]
#[path = "../../../appliance/tunnel/tests/common/mod.rs"]
mod common;
mod crowd;
pub mod failover;
mod flood;
mod gateway;
mod generator;
mod openvpn;
mod packet;
mod sessions;
mod weigh;
mod wireguard;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use rempart_daemon::vpn::wireguard::Wireguard;
use rempart_kernel_tests::node::Failure;

use crate::report::{Better, Report, bar};
use client::Credentials;
use common::Namespace;
use gateway::Gateway;
use generator::Generator;
use openvpn::Openvpn;
use weigh::Weighed;
use wireguard::Userspace;

const PEER: &str = "openvpn 2.6 server, our client";
const STOCK: &str = "openvpn 2.6 server and client";
/// Where both servers are, and what stock says of where the crowd is.
const OURS: &str = "192.0.2.1:1194";
const THEIRS: &str = "192.0.2.1:1195";
/// Both servers inside.
const OURS_INSIDE: &str = "10.8.0.1";
const THEIRS_INSIDE: &str = "10.9.0.1";
/// How often a tunnel is tried before it counts as broken, and how long between: 20 s at least.
const START_TRIES: u32 = 100;
const TRY: Duration = Duration::from_millis(200);

/// What iperf3 is told, and what is read from its answer.
struct Case {
    name: &'static str,
    wireguard: &'static str,
    arguments: &'static [&'static str],
    unit: &'static str,
    figure: fn(&serde_json::Value) -> Option<f64>,
}

/// The first second of TCP is not counted: it has to find its window. With datagrams iperf3 counts wrongly then.
const CASES: [Case; 3] = [
    Case {
        name: "vpn.tcp.1",
        wireguard: "vpn.wireguard.tcp.1",
        arguments: &["-O", "1", "-P", "1"],
        unit: "Mbit/s",
        figure: mbit,
    },
    Case {
        name: "vpn.tcp.4",
        wireguard: "vpn.wireguard.tcp.4",
        arguments: &["-O", "1", "-P", "4"],
        unit: "Mbit/s",
        figure: mbit,
    },
    Case {
        name: "vpn.small.pps",
        wireguard: "vpn.wireguard.small.pps",
        arguments: &["-u", "-l", "64", "-b", "0"],
        unit: "packets/s",
        figure: arrived,
    },
];

fn mbit(end: &serde_json::Value) -> Option<f64> {
    Some(end["sum_received"]["bits_per_second"].as_f64()? / 1e6)
}

fn arrived(end: &serde_json::Value) -> Option<f64> {
    let sum = &end["sum"];
    Some((sum["packets"].as_f64()? - sum["lost_packets"].as_f64()?) / sum["seconds"].as_f64()?)
}

/// Both servers, and two places for clients.
///
/// ```text
///   client ── 192.0.2.0/24 ──┐
///     (and 198.18.0.0/16)    ├── server  192.0.2.1, 1194 ours, 1195 stock
///   other ── 198.51.100.0/24 ┘
/// ```
struct Ground {
    ours: Gateway,
    stock: Openvpn,
    /// What our client needs for each of them.
    credentials: [Vec<Arc<Credentials>>; 2],
    client: Namespace,
    other: Namespace,
    server: Namespace,
}

impl Ground {
    /// With so many devices that may come in.
    fn up(folder: &Path, devices: usize) -> Result<Self, Failure> {
        let [server, client, other] = [(); 3].map(|()| Namespace::new());
        server.cable(("wan", &["192.0.2.1/24"]), &client, ("eth", &["192.0.2.2/24"]));
        server.cable(("wan2", &["198.51.100.1/24"]), &other, ("eth", &["198.51.100.2/24"]));
        client.shell("ip route add local 198.18.0.0/16 dev lo");
        server.shell("ip route add 198.18.0.0/16 via 192.0.2.2; ip route add default via 198.51.100.2");
        other.shell("ip route add 192.0.2.0/24 via 198.51.100.1; ip route add blackhole default");
        for namespace in [&server, &client, &other] {
            namespace.shell("for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done");
        }
        openvpn::certificates(folder)?;
        let ours = Gateway::up(&server, folder, OURS.parse()?, devices)?;
        let stock = Openvpn::server(&server, folder)?;
        let theirs = Arc::new(Credentials::of_profile(&openvpn::profile(folder)?)?);
        let credentials = [ours.credentials()?, vec![theirs]];
        Ok(Self { ours, stock, credentials, client, other, server })
    }

    fn servers(&self) -> [(Weighed, SocketAddr); 2] {
        let at = |text: &str| text.parse().unwrap_or_else(|_| unreachable!("a constant"));
        [(self.ours.weighed(), at(OURS)), (self.stock.weighed(), at(THEIRS))]
    }
}

/// Everything that carries packets. Dropping it ends it.
struct Bench {
    iperf: Child,
    _generators: [Generator; 2],
    _clients: [Openvpn; 2],
    _wireguard: [Wireguard; 2],
    userspace: Option<Userspace>,
    ground: Ground,
}

/// One way through one of the tunnels.
struct Way<'a> {
    from: &'a Namespace,
    to: &'static str,
    server: Option<Weighed>,
}

impl Bench {
    fn up(folder: &Path) -> Result<Self, Failure> {
        // One for our client, one for the stock one.
        let ground = Ground::up(folder, 2)?;
        let Ground { ours, credentials, client, other, server, .. } = &ground;
        let first = |server: usize| credentials[server].first().ok_or("credentials");
        let generators = [
            Generator::up(client, first(0)?, ("192.0.2.2:40000".parse()?, OURS.parse()?), ("ours", 16))?,
            Generator::up(client, first(1)?, ("192.0.2.2:40001".parse()?, THEIRS.parse()?), ("theirs", 16))?,
        ];
        let profile = ours.profiles.get(1).ok_or("a profile")?;
        let clients = [Openvpn::with_profile(other, folder, profile)?, Openvpn::client(other, folder)?];
        let public = wireguard::keys(folder)?;
        let wireguard = wireguard::ours(server, client, folder, &public)?;
        let userspace = Userspace::up(server, client, folder, &public)?;
        let iperf = server
            .run(|| Command::new("iperf3").arg("-s").stdout(Stdio::null()).stderr(Stdio::null()).spawn())?;
        let bench = Self {
            iperf,
            _generators: generators,
            _clients: clients,
            _wireguard: wireguard,
            userspace,
            ground,
        };
        for way in bench.ways() {
            // There is no way there before the client has its address.
            let once = format!("ping -q -c 1 -W 1 {} > /dev/null 2>&1", way.to);
            way.from.shell(&format!(
                "for n in $(seq {START_TRIES}); do {once} && exit 0; sleep {}; done; exit 1",
                TRY.as_secs_f64()
            ));
        }
        Ok(bench)
    }

    /// Our client to our server and to the stock one, the stock client to both, our WireGuard, and the stock one where there is one.
    fn ways(&self) -> Vec<Way<'_>> {
        let Ground { client, other, ours, stock, .. } = &self.ground;
        let way = |from, to, server| Way { from, to, server };
        let mut ways = vec![
            way(client, OURS_INSIDE, Some(ours.weighed())),
            way(client, THEIRS_INSIDE, Some(stock.weighed())),
            way(other, OURS_INSIDE, Some(ours.weighed())),
            way(other, THEIRS_INSIDE, Some(stock.weighed())),
            way(client, wireguard::OURS, None),
        ];
        ways.extend(self.userspace.iter().map(|_| way(client, wireguard::THEIRS, None)));
        ways
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.iperf.kill();
        let _ = self.iperf.wait();
    }
}

impl Way<'_> {
    /// The figure of a case, and seconds of the server for a Gbit.
    fn measure(&self, case: &Case, seconds: u32) -> Result<(f64, f64), Failure> {
        let cpu = || self.server.map_or(Ok(0.0), Weighed::cpu_s);
        let line = format!("iperf3 -J -c {} -t {seconds} {}", self.to, case.arguments.join(" "));
        let mut tries = 0;
        let (answer, took) = loop {
            let before = cpu()?;
            let answer: serde_json::Value = serde_json::from_str(&self.from.shell(&line))?;
            let took = cpu()? - before;
            // Its server has not seen yet that the test before this one is over.
            if tries == START_TRIES || !answer["error"].as_str().is_some_and(|said| said.contains("busy")) {
                break (answer, took);
            }
            tries += 1;
            sleep(TRY);
        };
        let end = &answer["end"];
        let figure = (case.figure)(end).ok_or_else(|| format!("{}: no figure in {answer}", case.name))?;
        // With the second that is not counted.
        let gbit = mbit(end).unwrap_or(f64::NAN) * f64::from(seconds + 1) / 1e3;
        Ok((figure, took / gbit))
    }
}

/// Measures everything whose name is wanted.
pub fn run(
    report: &mut Report,
    quick: bool,
    folder: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    throughput(report, quick, folder, wanted)?;
    sessions::run(report, quick, folder, wanted)?;
    flood::run(report, quick, folder, wanted)?;
    failover::run(report, quick, folder, wanted)
}

fn throughput(
    report: &mut Report,
    quick: bool,
    folder: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    let cases: Vec<&Case> = CASES.iter().filter(|case| wanted(case.name) || wanted(case.wireguard)).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let (rounds, seconds) = if quick { (3, 3) } else { (5, 5) };
    eprintln!("vpn …");
    let bench = Bench::up(folder)?;
    let ways = bench.ways();
    for case in cases {
        let mut figures = vec![(Vec::new(), Vec::new()); ways.len()];
        for round in 0..rounds {
            for (way, (speed, cpu)) in ways.iter().zip(&mut figures) {
                let (fast, cost) = way.measure(case, seconds)?;
                speed.push(fast);
                cpu.push(cost);
            }
            let last: Vec<String> =
                figures.iter().filter_map(|(f, _)| Some(format!("{:.0}", f.last()?))).collect();
            eprintln!("  {round} {}: {}", case.name, last.join(", "));
        }
        add(report, case, figures, bench.userspace.as_ref().map(Userspace::name));
    }
    Ok(())
}

/// All figures of a case: of each way in turn speeds and costs.
fn add(
    report: &mut Report,
    case: &Case,
    figures: Vec<(Vec<f64>, Vec<f64>)>,
    userspace: Option<&'static str>,
) {
    let medians = figures.into_iter().map(|(speed, cpu)| (crate::median(speed), crate::median(cpu)));
    let medians: Vec<(f64, f64)> = medians.collect();
    let [ours, theirs, stock_ours, stock_theirs, wireguard, ..] = medians[..] else { return };
    let name = |what: &str| format!("{}{what}", case.name);
    let tcp = case.unit == "Mbit/s";
    for (what, (ours, cost), (peer, peer_cost), who) in
        [("", ours, theirs, PEER), (".stock", stock_ours, stock_theirs, STOCK)]
    {
        report.add(&name(what), ours, Some((peer, who)), case.unit, Better::Higher);
        if tcp {
            report.add(&name(&format!("{what}.cpu")), cost, Some((peer_cost, who)), "s/Gbit", Better::Lower);
        }
    }
    let beside = medians.get(5).map(|(speed, _)| *speed).zip(userspace);
    if beside.is_some() {
        report.add(&name(".wireguard-stock"), ours.0, beside, case.unit, Better::Higher);
    }
    report.add(case.wireguard, wireguard.0, beside, case.unit, Better::Higher);
}

/// What the issue asks for, as far as it was measured.
pub fn bars(report: &Report) {
    for name in ["vpn.tcp.1", "vpn.tcp.4"] {
        if let Some(ratio) = report.ratio(name) {
            bar(&format!("{name}: as fast as openvpn 2.6, times"), ratio, ">=", 3.0, "");
        }
    }
    if let Some(ratio) = report.ratio("vpn.flood.tcp") {
        bar("vpn.flood.tcp: of what it is without a flood", ratio, ">=", 0.5, "");
    }
    for (name, most, unit) in [
        ("vpn.flood.memory", flood::MOST_MIB, " MiB"),
        ("vpn.failover.over_pair", 50.0, " ms"),
        ("vpn.failover.1000", 2000.0, " ms"),
    ] {
        if let Some(ours) = report.ours(name) {
            bar(name, ours, "<", most, unit);
        }
    }
}
