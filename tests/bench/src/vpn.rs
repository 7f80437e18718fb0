//! The data path of the VPN, beside stock openvpn in the same run: both ends of a tunnel on one machine, in two network
//! namespaces with a cable between them, iperf3 from the client's end to the server's.
//!
//! | name | what is measured |
//! | --- | --- |
//! | `vpn.tcp.1` | Mbit/s of one TCP connection through the tunnel |
//! | `vpn.tcp.4` | the same of four |
//! | `vpn.small.pps` | datagrams of 64 bytes that arrive in a second while more are sent |
//! | `….boringtun` | the same of ours, beside boringtun's own program where it is installed |
//! | `vpn.wireguard.…` | the same of our WireGuard, as the program runs it, beside boringtun's own |
//!
//! Ours are two ends of our data path whose keys were given by hand. A stock client against our data path cannot be
//! measured here, because it takes its keys from a control channel and from nowhere else. The peer is openvpn with
//! AES-256-GCM at both ends, as Debian has it and with its defaults.

// The same ends as in the tests, which look at more of them.
#[allow(dead_code)]
#[path = "../../../appliance/tunnel/tests/common/mod.rs"]
mod common;
mod openvpn;
mod wireguard;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use rempart_kernel_tests::node::Failure;
use rempart_openvpn::data::PeerId;
use rempart_openvpn::data::keys::End;

use crate::report::{Better, Report, bar};
use common::{Namespace, TunnelEnd, Wanted, tunnel_end};
use openvpn::Openvpn;
use rempart_daemon::vpn::wireguard::Wireguard;
use wireguard::Boringtun;

const PEER: &str = "openvpn 2.6 AES-256-GCM";
const OURS: &str = "10.8.0.1";
const THEIRS: &str = "10.9.0.1";
/// How often a tunnel is tried before it counts as broken: 20 s at least.
const START_TRIES: u32 = 100;

/// What iperf3 is told, and what is read from its answer.
struct Case {
    name: &'static str,
    wireguard: &'static str,
    beside: &'static str,
    arguments: &'static [&'static str],
    unit: &'static str,
    figure: fn(&serde_json::Value) -> Option<f64>,
}

/// The first second of TCP is not counted: it has to find its window. With datagrams iperf3 counts wrongly then.
const CASES: [Case; 3] = [
    Case {
        name: "vpn.tcp.1",
        wireguard: "vpn.wireguard.tcp.1",
        beside: "vpn.tcp.1.boringtun",
        arguments: &["-O", "1", "-P", "1"],
        unit: "Mbit/s",
        figure: mbit,
    },
    Case {
        name: "vpn.tcp.4",
        wireguard: "vpn.wireguard.tcp.4",
        beside: "vpn.tcp.4.boringtun",
        arguments: &["-O", "1", "-P", "4"],
        unit: "Mbit/s",
        figure: mbit,
    },
    Case {
        name: "vpn.small.pps",
        wireguard: "vpn.wireguard.small.pps",
        beside: "vpn.small.pps.boringtun",
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

/// Both tunnels between the same two namespaces. Dropping it ends them.
struct Bench {
    client: Namespace,
    server: Namespace,
    iperf: Child,
    _ours: [TunnelEnd; 2],
    _peer: Openvpn,
    _wireguard: [Wireguard; 2],
    boringtun: Option<Boringtun>,
}

impl Bench {
    fn up(folder: &Path) -> Result<Self, Failure> {
        let (server, client) = (Namespace::new(), Namespace::new());
        server.cable(("wan", &["192.0.2.1/24"]), &client, ("eth", &["192.0.2.2/24"]));
        let (local, remote) = ("192.0.2.1:1194".parse()?, "192.0.2.2:40000".parse()?);
        let peer = PeerId::new(0).ok_or("a peer id")?;
        let one = Wanted {
            end: End::Server,
            device: ("ours", &["10.8.0.1/24"]),
            local,
            remote,
            own: &["10.8.0.2/32"],
        };
        let other = Wanted {
            end: End::Client,
            device: ("ours", &["10.8.0.2/24"]),
            local: remote,
            remote: local,
            own: &["10.8.0.1/32"],
        };
        let ours = [tunnel_end(&server, peer, one), tunnel_end(&client, peer, other)];
        let peer = Openvpn::up(&server, &client, folder)?;
        let public = wireguard::keys(folder)?;
        let wireguard = wireguard::ours(&server, &client, folder, &public)?;
        let boringtun = Boringtun::up(&server, &client, folder, &public)?;
        let iperf = server
            .run(|| Command::new("iperf3").arg("-s").stdout(Stdio::null()).stderr(Stdio::null()).spawn())?;
        let beside = boringtun.iter().map(|_| wireguard::THEIRS);
        for to in [OURS, THEIRS, wireguard::OURS].into_iter().chain(beside) {
            // There is no way there before the client has its address.
            let once = format!("ping -q -c 1 -W 1 {to} > /dev/null 2>&1");
            client.shell(&format!(
                "for n in $(seq {START_TRIES}); do {once} && exit 0; sleep 0.2; done; exit 1"
            ));
        }
        Ok(Self { client, server, iperf, _ours: ours, _peer: peer, _wireguard: wireguard, boringtun })
    }

    fn measure(&self, case: &Case, to: &'static str, seconds: u32) -> Result<f64, Failure> {
        let fixed = format!("iperf3 -J -c {to} -t {seconds} {}", case.arguments.join(" "));
        let answer: serde_json::Value = serde_json::from_str(&self.client.shell(&fixed))?;
        (case.figure)(&answer["end"]).ok_or_else(|| format!("{}: no figure in {answer}", case.name).into())
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.iperf.kill();
        let _ = self.iperf.wait();
        // The namespaces last until everything in them has ended.
        let _ = &self.server;
    }
}

/// Measures everything whose name is wanted.
pub fn run(
    report: &mut Report,
    quick: bool,
    folder: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    let any = |case: &&Case| [case.name, case.wireguard, case.beside].into_iter().any(wanted);
    let cases: Vec<&Case> = CASES.iter().filter(any).collect();
    if cases.is_empty() {
        return Ok(());
    }
    let (rounds, seconds) = if quick { (3, 3) } else { (5, 5) };
    eprintln!("vpn …");
    let bench = Bench::up(folder)?;
    let mut figures = vec![[const { Vec::new() }; 4]; cases.len()];
    let tunnels = [OURS, THEIRS, wireguard::OURS];
    let tunnels = tunnels.into_iter().chain(bench.boringtun.iter().map(|_| wireguard::THEIRS));
    for round in 0..rounds {
        for (case, figures) in cases.iter().zip(&mut figures) {
            for (to, figures) in tunnels.clone().zip(figures.iter_mut()) {
                figures.push(bench.measure(case, to, seconds)?);
            }
            let last: Vec<String> =
                figures.iter().filter_map(|f| Some(format!("{:.0}", f.last()?))).collect();
            eprintln!("  {round} {}: {}", case.name, last.join(", "));
        }
    }
    for (case, [ours, peer, wireguard, beside]) in cases.into_iter().zip(figures) {
        let (ours, peer) = (crate::median(ours), Some((crate::median(peer), PEER)));
        let beside = (!beside.is_empty()).then(|| (crate::median(beside), wireguard::PEER));
        report.add(case.name, ours, peer, case.unit, Better::Higher);
        if beside.is_some() {
            report.add(case.beside, ours, beside, case.unit, Better::Higher);
        }
        report.add(case.wireguard, crate::median(wireguard), beside, case.unit, Better::Higher);
    }
    Ok(())
}

/// What the issue asks for, as far as it was measured.
pub fn bars(report: &Report) {
    for name in ["vpn.tcp.1", "vpn.tcp.4"] {
        if let Some(ratio) = report.ratio(name) {
            bar(&format!("{name}: as fast as openvpn 2.6, times"), ratio, ">=", 3.0, "");
        }
    }
}
