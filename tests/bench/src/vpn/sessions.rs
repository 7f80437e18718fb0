//! How fast clients come up, and what they cost while they stay: our client, many times, against both servers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rempart_kernel_tests::node::Failure;

use super::Ground;
use super::client::Credentials;
use super::crowd::{Crowd, scattered};
use crate::median;
use crate::report::{Better, Report};

const PEER: &str = "openvpn 2.6 server, our clients";
/// Clients that begin at once, and sessions that are weighed.
const AT_ONCE: usize = 48;
const COUNT: usize = 1000;

/// Measures what is wanted.
pub fn run(
    report: &mut Report,
    quick: bool,
    folder: &Path,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), Failure> {
    let (rounds, seconds) = if quick { (3, 4) } else { (5, 8) };
    if wanted("vpn.memory.1000") {
        eprintln!("vpn.memory.1000 …");
        let mut sides = [Vec::new(), Vec::new()];
        // A program that has had a thousand sessions does not give all of it back: a new one each time.
        for _ in 0..if quick { 1 } else { 3 } {
            let ground = Ground::up(folder, COUNT)?;
            for ((server, out), number) in ground.servers().into_iter().zip(&mut sides).zip(0..) {
                out.push(memory(&ground, number, server)?);
            }
            eprintln!("  {:.1?}", sides);
        }
        let [ours, peer] = sides.map(median);
        report.add("vpn.memory.1000", ours, Some((peer, PEER)), "MiB", Better::Lower);
    }
    if wanted("vpn.handshakes") {
        eprintln!("vpn.handshakes …");
        // A device comes back when its session before is over.
        let ground = Ground::up(folder, 4 * AT_ONCE)?;
        let mut sides = [const { (Vec::new(), Vec::new()) }; 2];
        for _ in 0..rounds {
            for ((server, (speed, cost)), number) in ground.servers().into_iter().zip(&mut sides).zip(0..) {
                let before = server.0.cpu_s()?;
                let crowd = crowd(&ground.credentials[number], server.1);
                let time = Duration::from_secs(seconds);
                let done = ground.client.run(move || crowd.come_and_go(time))?;
                if done.failed > 0 {
                    eprintln!("  {done:?}");
                }
                let up = done.up as f64;
                speed.push(up / done.seconds);
                cost.push((server.0.cpu_s()? - before) * 1e3 / up);
            }
            eprintln!("  {:.1?}", sides);
        }
        let [ours, peer] = sides.map(|(speed, cost)| (median(speed), median(cost)));
        report.add("vpn.handshakes", ours.0, Some((peer.0, PEER)), "clients/s", Better::Higher);
        report.add("vpn.handshakes.cpu", ours.1, Some((peer.1, PEER)), "ms/client", Better::Lower);
    }
    Ok(())
}

fn crowd(credentials: &[Arc<Credentials>], to: std::net::SocketAddr) -> Crowd {
    Crowd { credentials: credentials.to_vec(), from: scattered, to, at_once: AT_ONCE }
}

/// What a thousand sessions add to a server.
fn memory(
    ground: &Ground,
    number: usize,
    (server, to): (super::Weighed, std::net::SocketAddr),
) -> Result<f64, Failure> {
    let crowd = crowd(&ground.credentials[number], to);
    // The first ones bring what is made once.
    let warm = Crowd { credentials: crowd.credentials.clone(), ..crowd };
    let (_, before) = (ground.client.run(move || warm.come(10).map(drop))?, server.rss_mib()?);
    let crowd = self::crowd(&ground.credentials[number], to);
    let held = ground.client.run(move || crowd.come(COUNT))?;
    let after = server.rss_mib()?;
    drop(held);
    Ok(after - before)
}
