//! A directory that takes its time.

use std::time::Duration;

use rempart_daemon::vpn::seam::Server as _;

use crate::stage::{Stage, can, plan};

/// In: a client that gives up after 8 s (it asks every five, and that may come a second late), and a verdict that comes after 14 s. Out: it is told to wait, once, and comes in with its first
/// try; one whose verdict is quick is told nothing.
#[test]
fn a_slow_verdict_is_waited_for() {
    if !can() {
        return;
    }
    let stage = Stage::new(1, &plan());
    stage.crowd.lock().unwrap().slow = Some(Duration::from_secs(14));
    let client = stage.client("alice", "hand-window 8");
    client.wait("AUTH_PENDING");
    client.up();
    client.assert_undisturbed();
    assert_eq!(client.said("AUTH_PENDING received"), 1, "{}", client.log());
    assert_eq!(stage.crowd.lock().unwrap().logins.len(), 1);
    stage.ping("10.8.0.1", "");
    stage.crowd.lock().unwrap().slow = None;
    let other = stage.client("bob", "dev tun7\nroute-nopull");
    other.up();
    assert_eq!(other.said("AUTH_PENDING"), 0, "{}", other.log());
    let counters = stage.nodes[0].handle.status().blocking_recv().unwrap().counters;
    assert_eq!((counters.pending, counters.connected), (1, 2));
}
