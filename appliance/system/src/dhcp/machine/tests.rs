use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::dhcp::codec::tests::{MAC, answer};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
const SERVER: [u8; 4] = [10, 0, 0, 1];
const OTHER: [u8; 4] = [10, 0, 0, 2];

/// A client, and the time that its test has come to.
struct Scene {
    client: Client,
    now: Instant,
}

impl Scene {
    fn new(previous: Option<Ipv4Addr>) -> Self {
        let now = Instant::now();
        Self { client: Client::new(now, MAC, None, previous, 1), now }
    }

    /// Lets time run to the next deadline, and returns the message types that were sent.
    fn wait(&mut self) -> Vec<u8> {
        if let Some(at) = self.client.poll_timeout() {
            self.now = self.now.max(at);
        }
        self.client.handle_timeout(self.now);
        self.sent()
    }

    fn sent(&mut self) -> Vec<u8> {
        // 14 + 20 + 8 + 236 + 4 is the first option, which is the message type.
        std::iter::from_fn(|| self.client.poll_transmit()).map(|f| f[284]).collect()
    }

    fn hear(&mut self, kind: u8, server: [u8; 4]) {
        let options: &[(u8, &[u8])] =
            &[(53, &[kind]), (54, &server), (51, &[0, 0, 0, 120]), (1, &[255, 255, 255, 0]), (3, &server)];
        let frame = answer(self.client.xid, ADDRESS, options);
        self.client.handle_frame(self.now, &frame);
    }

    fn events(&mut self) -> Vec<bool> {
        std::iter::from_fn(|| self.client.poll_event()).map(|e| matches!(e, Event::Bound(_))).collect()
    }

    fn bound() -> Self {
        let mut scene = Self::new(None);
        assert_eq!(scene.wait(), [1]);
        scene.hear(2, SERVER);
        assert_eq!(scene.sent(), [3]);
        scene.hear(5, SERVER);
        assert_eq!(scene.events(), [true]);
        scene
    }
}

/// No server for ten minutes, then one: the waits double up to a minute, and then there is a lease.
#[test]
fn a_server_that_comes_late_is_found() {
    let mut scene = Scene::new(None);
    let began = scene.now;
    let mut sent = 0;
    while scene.now - began < Duration::from_secs(600) {
        sent += scene.wait().len();
    }
    assert!((9..20).contains(&sent), "{sent} questions in ten minutes");
    scene.hear(2, SERVER);
    scene.sent();
    scene.hear(5, SERVER);
    assert_eq!(scene.events(), [true]);
}

/// A refusal of the request: a new discovery after a pause, whoever refused before the choice is ignored.
#[test]
fn a_refused_request_starts_anew() {
    let mut scene = Scene::new(None);
    scene.wait();
    scene.hear(2, SERVER);
    scene.sent();
    scene.hear(6, OTHER);
    assert!(matches!(scene.client.state, State::Requesting { .. }));
    scene.hear(6, SERVER);
    let before = scene.now;
    assert_eq!(scene.wait(), [1]);
    assert!(scene.now - before >= AFTER_NAK);
}

/// The server of the offer dies: after four requests everyone is asked again.
#[test]
fn a_server_that_dies_after_its_offer_is_given_up() {
    let mut scene = Scene::new(None);
    scene.wait();
    scene.hear(2, SERVER);
    let mut sent = scene.sent();
    while sent.last() != Some(&1) {
        sent.extend(scene.wait());
    }
    assert_eq!(sent, [3, 3, 3, 3, 1]);
}

/// At T1 the server is asked; its answer renews the lease.
#[test]
fn a_lease_is_renewed_at_half_time() {
    let mut scene = Scene::bound();
    let before = scene.now;
    assert_eq!(scene.wait(), [3]);
    assert_eq!((scene.now - before).as_secs(), 60);
    assert!(matches!(scene.client.state, State::Renewing { .. }));
    scene.hear(5, SERVER);
    assert_eq!(scene.events(), [true]);
}

/// Nobody renews: everyone is asked after T2, and at its end the lease is lost and a new one is looked for.
#[test]
fn a_lease_that_nobody_renews_ends_in_time() {
    let mut scene = Scene::bound();
    let before = scene.now;
    let mut events = Vec::new();
    let mut sent = Vec::new();
    while events.is_empty() {
        sent.extend(scene.wait());
        events = scene.events();
    }
    assert_eq!(events, [false]);
    assert_eq!((scene.now - before).as_secs(), 120);
    assert_eq!(sent.last(), Some(&1));
    assert!(sent.len() >= 4, "{sent:?}");
}

/// A refusal while renewing: the lease is lost at once.
#[test]
fn a_refused_renewal_ends_the_lease() {
    let mut scene = Scene::bound();
    scene.wait();
    scene.hear(6, SERVER);
    assert_eq!(scene.events(), [false]);
}

/// Another server answers when everyone is asked: the lease goes on with it.
#[test]
fn another_server_may_renew_after_t2() {
    let mut scene = Scene::bound();
    while !matches!(scene.client.state, State::Rebinding { .. }) {
        scene.wait();
    }
    scene.hear(5, OTHER);
    assert_eq!(scene.events(), [true]);
    assert_eq!(scene.client.held().map(|h| h.server.octets()), Some(OTHER));
}

/// The link goes and comes back: the same address is asked for at once, and refused it is given up.
#[test]
fn a_link_that_comes_back_is_asked_about() {
    let mut scene = Scene::bound();
    scene.client.handle_link(scene.now, false);
    assert!(scene.events().is_empty());
    scene.client.handle_link(scene.now, true);
    assert_eq!(scene.wait(), [3]);
    assert!(scene.events().is_empty());
    scene.hear(6, OTHER);
    assert_eq!(scene.events(), [false]);
}

/// No link until the lease is over: it is lost then, not later.
#[test]
fn a_lease_ends_without_link() {
    let mut scene = Scene::bound();
    scene.client.handle_link(scene.now, false);
    assert!(scene.wait().is_empty());
    assert_eq!(scene.events(), [false]);
    assert_eq!(scene.client.poll_timeout(), None);
}

/// Started with an address: it is asked for, four times, before any is.
#[test]
fn the_previous_address_is_asked_for_first() {
    let mut scene = Scene::new(Some(ADDRESS));
    scene.client.handle_link(scene.now, false);
    scene.client.handle_link(scene.now, true);
    let mut sent = Vec::new();
    while sent.last() != Some(&1) {
        sent.extend(scene.wait());
    }
    assert_eq!(sent, [3, 3, 3, 3, 1]);
    let mut scene = Scene::new(Some(ADDRESS));
    scene.wait();
    scene.hear(5, SERVER);
    assert_eq!(scene.events(), [true]);
}

proptest! {
    /// Whatever happens in whatever order: no panic, at most one question every second on average, and bound and
    /// lost only in turn.
    #[test]
    fn anything_may_happen(inputs in proptest::collection::vec((0u8..8, any::<bool>(), 0u64..200), 1..200)) {
        let mut scene = Scene::new(None);
        let began = scene.now;
        let mut sent = 0;
        let mut heard = 0;
        let mut bound = false;
        for (what, other, seconds) in inputs {
            let server = if other { OTHER } else { SERVER };
            match what {
                0 => scene.client.handle_link(scene.now, other),
                1 | 2 => { scene.hear(2, server); heard += 1; }
                3 => { scene.hear(5, server); heard += 1; }
                4 => { scene.hear(6, server); heard += 1; }
                5 => {
                    scene.now += Duration::from_secs(seconds);
                    scene.client.handle_timeout(scene.now);
                }
                _ => sent += scene.wait().len(),
            }
            sent += scene.sent().len();
            for event in scene.events() {
                prop_assert!(event || bound, "lost without a lease");
                bound = event;
            }
            prop_assert_eq!(bound, scene.client.has_lease());
        }
        let elapsed = (scene.now - began).as_secs() as usize;
        prop_assert!(sent <= elapsed + heard + 200, "{} questions in {} s", sent, elapsed);
    }
}
