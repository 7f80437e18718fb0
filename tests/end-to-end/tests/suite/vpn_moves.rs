//! Tunnels of the stock openvpn while the role moves in order, and while the certificates change.

use std::thread::sleep;
use std::time::Duration;

use rempart_bus::vpn::AuthorityView;
use rempart_end_to_end::SOON;
use rempart_lab::traffic::{Direction, StreamReport};
use rempart_lab::{skip_unless_root, wait_until};

use crate::vpn::{Flowing, Remote, VOICE_PORT, document, says};

/// A stream each way.
const PORTS: [u16; 2] = [VOICE_PORT, 7101];
/// How long everything flows after a move.
const AFTER: Duration = Duration::from_millis(2500);

impl Remote {
    /// The role moves; what was lost.
    fn moved(&self, what: &str) -> u64 {
        let from = self.stage.active();
        let before = self.session(from);
        let flowing = Flowing::begin(&self.stage, [(PORTS[0], Direction::Down), (PORTS[1], Direction::Up)]);
        self.stage.nodes[from].switch().expect("a switch");
        let (echo, streams) = flowing.end(AFTER);
        eprintln!("{what}: echoes {echo:?}; TCP {streams:?}");
        assert!(streams.iter().all(StreamReport::is_whole) && echo.duplicates == 0, "{echo:?} {streams:?}");
        self.stage.settle();
        let to = self.stage.active();
        assert_ne!(from, to);
        let after = self.session(to);
        assert_eq!((after.id, &after.since, &after.addresses), (before.id, &before.since, &before.addresses));
        let [address] = after.addresses.as_slice() else { panic!("{after:#?}") };
        assert!(self.live(to).contains(address), "{}", self.live(to));
        assert!(wait_until(SOON, || !self.live(from).contains(address)), "{}", self.live(from));
        // New keys, and not the old ones for ever.
        assert!(wait_until(SOON, || self.session(to).renewed.is_some_and(|at| Some(at) > before.renewed)));
        echo.lost()
    }
}

/// A client outside that knows the virtual addresses of one family alone; the role handed over and back three times.
fn loses_nothing(other_family: &str) {
    let second = "allow = [\"tcp/7101\"]";
    let remote = Remote::of(&document().flow("agents-second", "vpn:agents", "lan:192.168.10.13", second));
    let profile = std::fs::read_to_string(&remote.profile).expect("a profile");
    let wanted = |line: &&str| !line.starts_with(&format!("remote {other_family}"));
    let lines: Vec<&str> = profile.lines().filter(wanted).collect();
    std::fs::write(&remote.profile, lines.join("\n") + "\n").expect("a profile");
    let tunnel = remote.connect();
    let lost: Vec<u64> = ["there", "and back", "there again", "and back again", "once more", "and home"]
        .map(|what| remote.moved(what))
        .into();
    tunnel.undisturbed().expect("one connection");
    assert_eq!(lost, [0; 6]);
}

/// In: a stock client with echoes every millisecond and a stream each way; the role handed over in order, and back, three times. Out: one
/// connection, and not a packet lost.
#[test]
#[ignore = "measures: `make test-vpn` gives it the machine for itself"]
fn a_planned_move_loses_nothing_of_a_tunnel() {
    skip_unless_root!();
    loses_nothing("2001:");
}

/// The same by IPv6, whose addresses the kernel takes its time with.
#[test]
#[ignore = "measures: `make test-vpn` gives it the machine for itself"]
fn a_planned_move_loses_nothing_of_a_tunnel_by_ipv6() {
    skip_unless_root!();
    loses_nothing("203.");
}

/// In: a profile, and a new certificate of the authority and of the server while its client is connected. Out: the client stays
/// connected; a new connection with the old profile and one with a new profile come in, on both nodes.
#[test]
fn a_profile_outlives_the_renewal_of_the_authority() {
    skip_unless_root!();
    let mut remote = Remote::up();
    let tunnel = remote.connect();
    let active = remote.stage.active();
    let before: Vec<AuthorityView> = remote.stage.json(active, &["vpn", "authority", "show"]);
    let renewed: AuthorityView = remote.stage.json(active, &["vpn", "authority", "renew"]);
    assert_ne!(renewed.fingerprint, before[0].fingerprint);
    assert_eq!(renewed.earlier_until.as_ref(), Some(&before[0].until));
    let session = remote.session(active);
    sleep(Duration::from_secs(1));
    tunnel.undisturbed().expect("one connection");
    assert_eq!(remote.session(active).id, session.id);
    drop(tunnel);
    let old = remote.profile.clone();
    for _ in 0..2 {
        let serving = remote.stage.active();
        remote.profile = old.clone();
        drop(remote.connect());
        remote.profile = remote.stage.nodes[serving].vpn_export("alice", "again").expect("a profile");
        drop(remote.connect());
        remote.stage.nodes[serving].switch().expect("a switch");
        remote.stage.settle();
        says(&remote.stage, 1 - serving, "serves", |status| status.active);
    }
    let after: Vec<AuthorityView> = remote.stage.json(1 - active, &["vpn", "authority", "show"]);
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].fingerprint, renewed.fingerprint);
}
