//! The power of the active router fails under a tunnel: a pair of ours, and stock openvpn on both routers behind keepalived, which
//! both have the same keys and the virtual address.
//!
//! | name | what is measured |
//! | --- | --- |
//! | `vpn.failover.lost` | longest silence of echoes through the tunnel of a stock client, in milliseconds; the peer with `keepalive 1 3` |
//! | `vpn.failover.lost.defaults` | the same beside the peer with `keepalive 10 60`, as its example configuration has it |
//! | `vpn.failover.over_pair` | of ours, what it is more than the silence of echoes beside the tunnel, in the same power cut |
//! | `vpn.failover.1000` | from the power cut until the last of 1,000 sessions has an echo through the other node, in milliseconds |

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use rempart_kernel_tests::node::Failure;
use rempart_lab::{Host, Process, Stock, wait_until};

use super::client::Credentials;
use super::crowd::{Crowd, Inside, Seat};
use super::gateway::{DEVICES_EACH, user};
use super::openvpn;
use crate::median;
use crate::pair::DEFAULT_PEER;
use crate::pair::side::{Fault, Pair, Product, ROUTERS, WAN};
use crate::report::{Better, Report};

/// What our document has beside that of the pair.
pub const DOCUMENT: &str = "
[[flow]]
from = \"vpn:agents\"
to = \"dmz:192.168.20.11\"
allow = [\"ping\"]

[[flow]]
from = \"lan\"
to = \"dmz:192.168.20.11\"
allow = [\"ping\"]

[vpn]
listen = \"wan\"
sessions = 2000

[vpn.group.agents]
pool = \"10.77.0.0/20\"
demand = [\"certificate\"]
tunnel = \"split\"
routes = [\"192.168.20.0/24\"]
why = \"a bench that keeps its own way out\"
sessions_each = 100
";
/// What is reached through our tunnel, and through the peer's: its own address inside.
const DESK: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 11);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The peer's settings: how long a client waits for a sign of life, and how long one is watched.
const TIGHT: (&str, Duration) = ("1 3", Duration::from_secs(12));
const DEFAULTS: (&str, Duration) = ("10 60", Duration::from_secs(80));
const PEER: &str = "openvpn 2.6 and keepalived, keepalive 1 3";
const PEER_DEFAULTS: &str = "openvpn 2.6 and keepalived, keepalive 10 60";
/// Sessions of the last measurement.
const SESSIONS: usize = 1000;
/// Clients of one address that are judged at once.
const AT_ONCE: usize = 32;
const BEFORE: Duration = Duration::from_millis(700);
const AFTER: Duration = Duration::from_secs(3);
const SOON: Duration = Duration::from_secs(30);
/// How often each session asks for an echo, and when it is given up that all are answered.
const TURN: Duration = Duration::from_millis(100);
const LOST: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_millis(1);

/// Measures what is wanted.
pub fn run(
    report: &mut Report,
    quick: bool,
    folder: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    let runs = if quick { 2 } else { 5 };
    let [tight, defaults, over] =
        ["vpn.failover.lost", "vpn.failover.lost.defaults", "vpn.failover.over_pair"].map(wanted);
    if tight || defaults || over {
        eprintln!("vpn.failover.lost …");
        let (tunnel, pair) = ours(runs, folder)?;
        let more = tunnel.iter().zip(&pair).map(|(tunnel, pair)| tunnel - pair).collect();
        report.add("vpn.failover.over_pair", median(more), None, "ms", Better::Lower);
        let ours = median(tunnel);
        for (wanted, name, setting, who, runs) in [
            (tight, "vpn.failover.lost", TIGHT, PEER, runs),
            (defaults, "vpn.failover.lost.defaults", DEFAULTS, PEER_DEFAULTS, 1),
        ] {
            if wanted {
                let gaps = (0..runs).map(|_| stock(setting, folder)).collect::<Result<Vec<_>, _>>()?;
                eprintln!("  {who}: {gaps:?}");
                report.add(name, ours, Some((median(gaps), who)), "ms", Better::Lower);
            }
        }
    }
    if wanted("vpn.failover.1000") {
        eprintln!("vpn.failover.1000 …");
        let took = (0..if quick { 1 } else { 3 }).map(|_| thousand(folder)).collect::<Result<Vec<_>, _>>()?;
        eprintln!("  {took:.0?}");
        report.add("vpn.failover.1000", median(took), None, "ms", Better::Lower);
    }
    Ok(())
}

/// A pair of ours with remote access, and profiles of so many devices.
fn pair(folder: &Path, devices: usize) -> Result<(Pair, Vec<PathBuf>), Failure> {
    let pair = Pair::with(Product::Ours, folder, DOCUMENT)?;
    let node = pair.node(pair.active()?)?;
    if !wait_until(SOON, || {
        node.must(&["vpn", "status", "--json"]).is_ok_and(|s| s.contains("\"active\":true"))
    }) {
        return Err(format!("no remote access: {}", node.must(&["vpn", "status", "--json"])?).into());
    }
    node.must(&["vpn", "authority", "make"])?;
    for number in 0..devices.div_ceil(DEVICES_EACH) {
        node.must(&["vpn", "user", "add", &user(number), "--groups", "agents"])?;
    }
    let profile = |number| {
        let label = format!("device{}", number % DEVICES_EACH);
        node.vpn_export(&user(number / DEVICES_EACH), &label)
    };
    let profiles = (0..devices).map(profile).collect::<Result<Vec<_>, _>>()?;
    Ok((pair, profiles))
}

/// Longest silences in the tunnel and beside it.
fn ours(runs: usize, folder: &Path) -> Result<(Vec<f64>, Vec<f64>), Failure> {
    let (mut pair, profiles) = pair(folder, 1)?;
    let outside = pair.lab.host("cli-wan").clone();
    let mut tunnel = outside.start_openvpn(Stock::Own, profiles.first().ok_or("a profile")?, &[])?;
    tunnel.wait_up()?;
    let (mut inner, mut beside) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let active = pair.active()?;
        let echoes = outside.ping(IpAddr::from(DESK), EVERY)?;
        // From the LAN to the same host, by the same router, without the tunnel.
        let plain = pair.lab.host("cli-lan").ping(IpAddr::from(DESK), EVERY)?;
        sleep(BEFORE);
        pair.power_off(active)?;
        sleep(AFTER);
        let (echoes, plain) = (echoes.stop()?, plain.stop()?);
        eprintln!("  ours {run}: {echoes:?}, beside the tunnel {plain:?}");
        tunnel.undisturbed()?;
        inner.push(echoes.longest_gap as f64);
        beside.push(plain.longest_gap as f64);
        pair.recover(active, Fault::PowerCut)?;
        // The standby takes the sessions, too.
        sleep(AFTER);
    }
    Ok((inner, beside))
}

/// The longest silence in the peer's tunnel.
fn stock((keepalive, after): (&str, Duration), folder: &Path) -> Result<f64, Failure> {
    openvpn::certificates(folder)?;
    let pair = Pair::up(DEFAULT_PEER, folder)?;
    let _servers = [0, 1].map(|number| server(&pair, number, keepalive, folder));
    let _servers = _servers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let outside = pair.lab.host("cli-wan");
    let remote = format!("dev tun\nremote {WAN} 1194\nconnect-retry 1 2\n");
    let _client = start(outside, folder, "failover-client", &openvpn::client_text(&remote))?;
    let to = INSIDE.to_string();
    let up = || outside.run(&["ping", "-q", "-c", "1", "-W", "1", &to]).is_ok_and(|o| o.status.success());
    if !wait_until(SOON, up) {
        return Err("stock openvpn does not come up".into());
    }
    let echoes = outside.ping(IpAddr::from(INSIDE), EVERY)?;
    sleep(BEFORE);
    pair.power_off(pair.active()?)?;
    sleep(after);
    Ok(echoes.stop()?.longest_gap as f64)
}

/// The stock server on a router: on the virtual address, also while that is at the other one.
fn server(pair: &Pair, number: usize, keepalive: &str, folder: &Path) -> Result<Process, Failure> {
    let host = pair.lab.host(ROUTERS[number]);
    host.sysctl(&["net.ipv4.ip_nonlocal_bind=1"])?;
    host.nft("add rule ip rules input udp dport 1194 accept\n")?;
    let own =
        format!("dev tun\nlocal {WAN}\nport 1194\nserver 10.9.0.0 255.255.0.0\nkeepalive {keepalive}\n");
    start(host, folder, &format!("failover-server-{number}"), &openvpn::server_text(&own))
}

fn start(host: &Host, folder: &Path, name: &str, text: &str) -> Result<Process, Failure> {
    let folder = folder.canonicalize()?;
    let file = folder.join(format!("{name}.conf"));
    std::fs::write(&file, text)?;
    let mut command = host.command("openvpn");
    command.arg("--cd").arg(folder).arg("--config").arg(file);
    Ok(host.spawn(name, command)?)
}

/// From the power cut until the last of a thousand sessions has an echo through the other node.
fn thousand(folder: &Path) -> Result<f64, Failure> {
    let (pair, profiles) = pair(folder, SESSIONS)?;
    let credentials = profiles
        .iter()
        .map(|file| Ok(Arc::new(Credentials::of_profile(&std::fs::read_to_string(file)?)?)))
        .collect::<Result<Vec<_>, Failure>>()?;
    let crowd = Crowd {
        credentials,
        from: |_| SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        to: SocketAddr::from((WAN, 1194)),
        at_once: AT_ONCE,
    };
    let outside = PathBuf::from("/run/netns").join(pair.lab.host("cli-wan").namespace());
    // Sockets stay in the namespace where they were made.
    let made = std::thread::spawn(move || -> Result<_, Failure> {
        setns(File::open(outside)?, CloneFlags::CLONE_NEWNET)?;
        crowd.come(SESSIONS)
    });
    let seats = made.join().map_err(|_| "making sessions has panicked")??;
    let mut sessions = seats.into_iter().map(Seat::inside).collect::<Result<Vec<_>, _>>()?;
    // What is under way comes to rest; then each of them works.
    sleep(AFTER);
    let took = until_answered(&mut sessions)?;
    eprintln!("  all are served within {} ms", took.as_millis());
    pair.power_off(pair.active()?)?;
    Ok(until_answered(&mut sessions)?.as_secs_f64() * 1e3)
}

/// How long it takes until each of them has had an echo.
fn until_answered(sessions: &mut [Inside]) -> Result<Duration, Failure> {
    let began = Instant::now();
    // What had come before.
    for session in &*sessions {
        session.is_answered();
    }
    let mut waiting: Vec<&mut Inside> = sessions.iter_mut().collect();
    let mut turn = Instant::now();
    while !waiting.is_empty() {
        if began.elapsed() > LOST {
            return Err(format!("{} of {SESSIONS} sessions were not carried over", waiting.len()).into());
        }
        if turn <= Instant::now() {
            turn += TURN;
            waiting.iter_mut().try_for_each(|session| session.ask(DESK))?;
        }
        waiting.retain(|session| !session.is_answered());
    }
    Ok(began.elapsed())
}
