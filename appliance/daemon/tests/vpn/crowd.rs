//! Many stock clients at once.

use std::fs;
use std::time::{Duration, Instant};

use crate::audit::Capture;
use crate::stage::{Client, Stage, Stock, can, plan};

const COUNT: usize = 200;
/// Let in at once: both ends of their TLS sessions share the machine.
const AT_ONCE: usize = 20;
/// Everybody has new keys by then: one second, and fifty clients in each after it; twice that for a machine that also runs them.
const RENEWED: Duration = Duration::from_secs(10);

/// In: 200 stock clients, of which one has a device and is pinged through, and a take-over. Out: nobody has noticed, each has new
/// keys, no person was asked twice, no nonce was used twice.
#[test]
#[ignore = "200 processes: `make test-vpn`"]
fn two_hundred_clients_are_carried_on() {
    if !can() {
        return;
    }
    let stage = Stage::new(2, &plan());
    let walker = stage.client("walker", "");
    walker.up();
    let devices: Vec<(String, String)> = (1..COUNT)
        .map(|n| format!("user{n}"))
        .map(|user| (user.clone(), stage.authority.device(&user)))
        .collect();
    let begin = Instant::now();
    let mut clients = Vec::new();
    for group in devices.chunks(AT_ONCE) {
        // A client without a device: its control channel and its keep-alives are all that it does.
        let start = |(user, device): &(String, String)| {
            Client::start(
                &stage.client,
                Stock::Own,
                user,
                device,
                "dev null\nverb 3\nifconfig-noexec\nroute-noexec",
            )
        };
        let started: Vec<Client> = group.iter().map(start).collect();
        started.iter().for_each(Client::up);
        clients.extend(started);
    }
    let memory: usize = clients.iter().map(Client::memory_kib).sum();
    eprintln!("{COUNT} clients are up after {:?}, with {} KiB each", begin.elapsed(), memory / clients.len());
    assert_eq!(stage.nodes[0].status().sessions.len(), COUNT);
    stage.wait("all are on both nodes", |stage| stage.pair.held() == COUNT);

    let capture = Capture::begin(&stage);
    let probe = stage.probe("10.20.0.9", 10, 600);
    std::thread::sleep(Duration::from_secs(1));
    stage.move_addresses(1);
    let begin = Instant::now();
    stage.pair.activate(1);
    stage.wait("the other one serves", |stage| stage.nodes[1].status().sessions.len() == COUNT);
    let serving = begin.elapsed();
    stage.wait("all have new keys", |stage| stage.nodes[1].status().counters.renewed as usize >= COUNT);
    let renewed = begin.elapsed();
    let (received, gap) = probe.report();
    eprintln!(
        "{COUNT} clients: served after {serving:?}, new keys after {renewed:?}; {received} of 600 pings, longest gap {gap} ms"
    );
    assert!(renewed < RENEWED, "{renewed:?}");
    let (packets, keys) = capture.audit(&stage);
    // A ping of the take-over for each, under the key from before.
    assert!(packets >= COUNT && keys >= COUNT, "{packets} packets under {keys} keys");
    let sessions = stage.nodes[1].status().sessions;
    assert!(sessions.iter().all(|session| session.carried_on));
    walker.assert_undisturbed();
    clients.iter().for_each(Client::assert_undisturbed);
    let logins = stage.crowd.lock().unwrap().logins.clone();
    assert_eq!(logins.iter().filter(|login| login.1 == "password").count(), COUNT);
    assert!(logins.iter().skip(COUNT).all(|login| login.1 == "token"), "{logins:?}");
}

impl Client {
    /// What it holds of the machine's memory for itself.
    fn memory_kib(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}
