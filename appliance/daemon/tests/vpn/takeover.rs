//! Two gateways: the client notices nothing.

use std::time::{Duration, Instant};

use crate::stage::{Stage, can, plan};

/// The active gateway is gone, the other takes its addresses: one ping lost at most beside the time without an address,
/// one "Initialization Sequence Completed", new keys afterwards, a download that goes on. And back again.
#[test]
fn a_take_over_is_not_noticed() {
    if !can() {
        return;
    }
    let stage = Stage::new(2, &plan());
    let client = stage.client("alice", "");
    client.up();
    stage.ping("10.20.0.9", "");
    let before = stage.nodes[0].session();
    for (turn, to) in [1, 0, 1].into_iter().enumerate() {
        let pid = stage.client.pid().to_string();
        let probe = std::thread::spawn(move || {
            let words = [
                "-t",
                &pid,
                "-n",
                "--",
                "ping",
                "-n",
                "-q",
                "-i",
                "0.02",
                "-c",
                "200",
                "-W",
                "1",
                "10.20.0.9",
            ];
            let output = std::process::Command::new("nsenter").args(words).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        std::thread::sleep(Duration::from_secs(1));
        stage.move_addresses(to);
        let begin = Instant::now();
        stage.pair.activate(to);
        stage.wait("the other one serves", |stage| stage.nodes[to].status().sessions.len() == 1);
        let took = begin.elapsed();
        let said = probe.join().unwrap();
        let received: u32 =
            said.split("transmitted, ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        eprintln!("take-over {turn}: {took:?} to the status, {received} of 200 pings at 20 ms");
        // The move of the addresses by shell commands is most of it.
        assert!(received >= 170, "{said}");
        assert!(!stage.nodes[1 - to].status().serving);
        stage.wait("keys are renewed", |stage| stage.nodes[to].status().counters.renewed as usize > turn / 2);
        stage.ping("10.20.0.9", "");
        stage.download(2_000_000);
    }
    let after = stage.nodes[1].session();
    assert_eq!(
        (after.id, &after.addresses, after.since_unix_s),
        (before.id, &before.addresses, before.since_unix_s)
    );
    assert!(after.carried_on && after.bytes_in > 0);
    assert!(stage.nodes[1].live("vpn_live4").contains(&after.addresses[0].to_string()));
    assert!(!stage.nodes[0].live("vpn_live4").contains("elements"));
    client.assert_undisturbed();
}
