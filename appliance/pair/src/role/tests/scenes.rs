//! Scenes with one node.

use super::solo::{MS, Solo, config, said};
use crate::NodeIndex;
use crate::heartbeat::{Heartbeat, Intention, Paths};
use crate::role::{
    CommandRefused, Daemon, FailBack, Failure, Health, LISTEN, Link, Notice, Output, PathState, Purpose,
    Record, Role, Start, Why,
};

fn active(why: Why, epoch: u64) -> Output {
    Output::BecomeActive { why, epoch }
}

fn is_move(output: &Output) -> bool {
    matches!(output, Output::BecomeActive { .. } | Output::BecomeStandby { .. })
}

// ---- beginning

/// In: a node alone. Out: active after 300 ms, no earlier; the epoch follows that on disk.
#[test]
fn alone() {
    let record = Record { epoch: 41, maintenance: false };
    let mut solo = Solo::new(Start { record, paired: true, active: false });
    assert!(solo.take().contains(&Output::BecomeStandby { why: Why::Start }));
    solo.pass(LISTEN - MS);
    assert_eq!(solo.node.role(), Some(Role::Starting));
    solo.pass(2 * MS);
    assert!(solo.take().contains(&active(Why::PeerSilent, 42)));
}

/// In: cables that come up one after the other while a node starts. Out: it listens for 300 ms after each; 5 s at most.
#[test]
fn cables_come_up_slowly() {
    let mut solo = Solo::paired();
    solo.link(Link::Path(0), false);
    for _ in 0..30 {
        solo.pass(200 * MS);
        assert_eq!(
            solo.node.role(),
            Some(if solo.now < solo.node.started + crate::role::LISTEN_MAX {
                Role::Starting
            } else {
                Role::Active
            })
        );
        solo.link(Link::Path(0), true);
        solo.link(Link::Path(0), false);
    }
    assert_eq!(solo.node.role(), Some(Role::Active));
}

/// In: a program restarted while the kernel had the role. Out: active at once under the epoch on disk.
#[test]
fn resumes() {
    let record = Record { epoch: 7, maintenance: false };
    let mut solo = Solo::new(Start { record, paired: true, active: true });
    let outputs = solo.take();
    assert_eq!(outputs[..2], [Output::HoldElectors { held: true }, active(Why::Resumed, 7)]);
    // Meanwhile the other one has taken over: the neighbours are not told anything else.
    solo.hear_as(Role::Active, 8, Intention::None);
    let outputs = solo.take();
    assert!(outputs.contains(&Output::BecomeStandby { why: Why::Outranked }));
    assert!(!outputs.contains(&Output::Announce));
    solo.hear_as(Role::Active, 8, Intention::None);
    solo.pass(100 * MS);
    assert!(!solo.take().contains(&Output::Announce));
}

/// In: a program restarted while the kernel had the role; the other node stands by, or is out of hearing. Out: the neighbours are
/// told once that is clear, after three intervals at the latest, and once only.
#[test]
fn resumes_without_a_rival() {
    let record = Record { epoch: 7, maintenance: false };
    let start = || Solo::new(Start { record, paired: true, active: true });
    let mut solo = start();
    assert!(!solo.take().contains(&Output::Announce));
    solo.hear_as(Role::Standby, 7, Intention::None);
    assert!(solo.take().contains(&Output::Announce));
    solo.hear_as(Role::Standby, 7, Intention::None);
    solo.pass(100 * MS);
    assert!(!solo.take().contains(&Output::Announce));
    let mut solo = start();
    solo.pass(29 * MS);
    assert!(!solo.take().contains(&Output::Announce));
    solo.pass(2 * MS);
    assert!(solo.take().contains(&Output::Announce));
    solo.pass(100 * MS);
    assert!(!solo.take().contains(&Output::Announce));
}

/// In: a node without keys; keys; none again. Out: free electors, held ones, free ones; no heartbeat without keys.
#[test]
fn unpaired() {
    let mut solo = Solo::new(Start::default());
    assert_eq!(solo.take(), [Output::HoldElectors { held: false }]);
    solo.pass(1_000 * MS);
    assert!(solo.sent.is_empty() && solo.node.role().is_none());
    assert_eq!(solo.node.switch(solo.now), Err(CommandRefused::NotPaired));
    solo.node.pair(solo.now, true);
    solo.settle();
    assert_eq!(solo.take()[..2], [Output::HoldElectors { held: true }, active(Why::Resumed, 1)]);
    solo.node.unpair(solo.now);
    solo.settle();
    // No stand-down: the electors keep what they have.
    assert_eq!(solo.take(), [Output::HoldElectors { held: false }]);
}

// ---- silence

/// In: silence of 25 ms, and a heartbeat that waits in the socket. Out: no take-over; 25 ms later one.
#[test]
fn what_has_arrived_is_read_first() {
    let mut solo = Solo::standby();
    let round = solo.round();
    solo.waiting.push((1, round));
    solo.pass(26 * MS);
    let outputs = solo.take();
    assert!(outputs.contains(&Output::Drain) && !outputs.iter().any(is_move), "{outputs:?}");
    solo.pass(25 * MS);
    assert!(solo.take().contains(&active(Why::PeerSilent, 6)));
}

/// In: silence on one path while the other is heard. Out: nothing.
#[test]
fn one_path_is_enough() {
    let mut solo = Solo::standby();
    for turn in 0..100 {
        solo.pass(10 * MS);
        let round = solo.round();
        solo.node.handle_heartbeat(solo.now, turn / 50, &round);
        solo.settle();
    }
    assert!(!solo.take().iter().any(is_move));
}

/// In: a program that is woken 12, 30 or 500 ms late, with nothing in its sockets: a frozen machine receives nothing.
/// Out: the peer gets the detection time anew; if it stays silent, the node takes over.
#[test]
fn own_sleep_is_not_the_peers_silence() {
    for late in [21, 30, 500] {
        let mut solo = Solo::standby();
        solo.now += late * MS;
        solo.node.handle_timeout(solo.now);
        solo.settle();
        assert!(!solo.take().iter().any(is_move), "{late}");
        solo.pass(24 * MS);
        assert!(!solo.take().iter().any(is_move), "{late}");
        solo.pass(3 * MS);
        assert!(solo.take().contains(&active(Why::PeerSilent, 6)), "{late}");
    }
}

/// In: a program that is always woken 15 ms late, and a dead peer. Out: it takes over in the end, within a second.
#[test]
fn a_slow_machine_takes_over_too() {
    let mut solo = Solo::standby();
    let began = solo.now;
    let mut told = 0;
    while solo.node.role() != Some(Role::Active) {
        let due = solo.node.poll_timeout().unwrap();
        solo.now = solo.now.max(due) + 15 * MS;
        solo.node.handle_timeout(solo.now);
        solo.settle();
        assert!(solo.now < began + 1_000 * MS);
        told += solo
            .take()
            .iter()
            .filter(|output| matches!(output, Output::Notice(Notice::Stalled { .. })))
            .count();
    }
    assert_eq!(told, 1, "said once, not each time");
}

/// In: an active node that slept while the other took over. Out: it reads before it speaks, and never says that it is
/// active.
#[test]
fn who_wakes_listens_first() {
    let mut solo = Solo::active();
    (solo.says.role, solo.says.epoch) = (Role::Active, 9);
    solo.says.heard = solo.node.beat;
    let round = solo.round();
    solo.waiting.push((0, round));
    solo.now += 200 * MS;
    solo.node.handle_timeout(solo.now);
    solo.settle();
    assert!(solo.outputs.iter().any(|output| matches!(output, Output::Notice(Notice::Stalled { .. }))));
    assert!(solo.sent.iter().all(|(_, heartbeat)| heartbeat.role == Role::Standby));
    assert!(!solo.sent.is_empty());
    assert!(solo.take().contains(&Output::BecomeStandby { why: Why::Outranked }));
}

/// In: a standby that slept, with words of the peer in its socket from before that one became active. Out: only the
/// last word counts.
#[test]
fn old_words_decide_nothing() {
    let mut solo = Solo::standby();
    solo.hear_as(Role::Active, 5, Intention::None);
    solo.says.role = Role::Standby;
    let old = solo.round();
    solo.says.role = Role::Active;
    let new = solo.round();
    solo.waiting.extend([(0, old), (0, new)]);
    solo.take();
    solo.now += 300 * MS;
    solo.node.handle_timeout(solo.now);
    solo.settle();
    assert!(!solo.take().iter().any(is_move));
    assert_eq!(solo.node.role(), Some(Role::Standby));
}

/// In: a peer that has died, and one of its words that was held back on the way. Out: it changes nothing; a word that
/// answers us does.
#[test]
fn a_word_held_back_is_no_life() {
    let mut solo = Solo::active();
    (solo.says.role, solo.says.epoch) = (Role::Active, 9);
    solo.says.heard = solo.node.beat;
    let held_back = solo.round();
    solo.pass(100 * MS);
    assert!(solo.take().contains(&Output::Notice(Notice::PeerLost)));
    solo.node.handle_heartbeat(solo.now, 0, &held_back);
    solo.pass(MS);
    assert!(!solo.sent.is_empty(), "answered at once");
    assert!(!solo.take().iter().any(is_move));
    solo.hear();
    assert!(solo.take().contains(&Output::BecomeStandby { why: Why::Outranked }));
}

/// In: an active peer of which nothing is heard for 15 ms. Out: questions on all paths, every 2.5 ms until it is dead;
/// whoever is asked answers at once, but not more often than once in a millisecond.
#[test]
fn questions() {
    let mut solo = Solo::standby();
    solo.pass(15 * MS);
    assert!(solo.sent.iter().filter(|(_, heartbeat)| heartbeat.probe).count() >= 2);
    solo.pass(9 * MS);
    let asked = solo.sent.iter().filter(|(path, heartbeat)| heartbeat.probe && *path == 0).count();
    assert!((4..=6).contains(&asked), "{asked}");

    let mut solo = Solo::active();
    solo.says.probe = true;
    solo.pass(3 * MS);
    solo.sent.clear();
    solo.hear();
    assert_eq!(solo.sent.len(), 2);
    for _ in 0..9 {
        solo.pass(MS / 10);
        solo.hear();
    }
    assert_eq!(solo.sent.len(), 2);
    solo.pass(MS);
    assert_eq!(solo.sent.len(), 4);
}

/// In: a datagram of a session that has to prove itself. Out: an answer at once, which carries the echo.
#[test]
fn a_fresh_session_is_answered() {
    let mut solo = Solo::active();
    solo.pass(3 * MS);
    solo.take();
    let unproven = crate::heartbeat::Refusal::Envelope(crate::keys::Refused::Unproven);
    solo.node.handle_refused(solo.now, 0, &unproven);
    solo.settle();
    assert_eq!(solo.sent.len(), 2);
    assert_eq!(solo.node.status(solo.now).paths[0].refused, 0);
    let forged = crate::heartbeat::Refusal::Envelope(crate::keys::Refused::Forged);
    solo.node.handle_refused(solo.now, 0, &forged);
    assert_eq!(solo.node.status(solo.now).paths[0].refused, 1);
}

// ---- health

/// In: every pair of ailments of the active and the standby node. Out: the role moves exactly when the standby is well
/// and the active one is not, or the standby is clearly better.
#[test]
fn the_healthier_one() {
    type Fall = fn(&mut Health);
    let falls: [(&str, Fall); 5] = [
        ("well", |_| ()),
        ("gateway", |health| _ = health.set_gateway(0, false)),
        ("daemon", |health| _ = health.set_daemon(Daemon::Vpn, false)),
        ("link", |health| _ = health.set_link(0, false)),
        ("two links", |health| _ = (health.set_link(0, false), health.set_link(1, false))),
    ];
    for (own, fall) in falls {
        for (other, fall_other) in falls {
            let mut solo = Solo::active();
            fall(&mut solo.node.health);
            fall_other(&mut solo.says.health);
            solo.hear();
            let granted = matches!(
                solo.sent.last().map(|(_, heartbeat)| heartbeat.intention),
                Some(Intention::Grant { purpose: Purpose::Unwell, .. })
            );
            let expected = match (own, other) {
                ("well", _) => false,
                (_, "well") => true,
                ("two links", _) => other != "two links",
                _ => false,
            };
            assert_eq!(granted, expected, "{own}, the other: {other}");
        }
    }
}

/// In: a grant because of health at a standby that has fallen ill itself; then it recovers. Out: not taken; taken.
#[test]
fn the_standby_knows_better() {
    let mut solo = Solo::standby();
    solo.says.health.set_link(0, false);
    solo.link(Link::Monitor(1), false);
    let grant = Intention::Grant { epoch: 9, purpose: Purpose::Unwell };
    solo.hear_as(Role::Active, 5, grant);
    assert!(!solo.take().iter().any(is_move));
    solo.link(Link::Monitor(1), true);
    solo.hear_as(Role::Active, 5, grant);
    assert!(solo.take().contains(&active(Why::PeerUnwell, 9)));
}

/// In: all own cables dead, at a standby and at an active node. Out: the one does not claim, the other stands down;
/// both wait for 300 ms of silence once a cable is back.
#[test]
fn isolated() {
    for mut solo in [Solo::standby(), Solo::active()] {
        for index in 0..2 {
            solo.link(Link::Path(index), false);
            solo.link(Link::Monitor(index), false);
        }
        assert!(solo.node.status(solo.now).isolated);
        solo.pass(2_000 * MS);
        assert_eq!(solo.node.role(), Some(Role::Standby));
        solo.link(Link::Path(0), true);
        solo.pass(299 * MS);
        assert_eq!(solo.node.role(), Some(Role::Standby));
        solo.pass(2 * MS);
        assert_eq!(solo.node.role(), Some(Role::Active));
    }
}

// ---- hand-over

fn failed(purpose: Purpose, failure: Failure) -> Output {
    Output::Notice(Notice::HandOverFailed { purpose, failure })
}

/// In: a switch that is not followed: no flush, no peer that is ready, a peer that does not take it, falls silent, or
/// falls ill. Out: the reason, and the node is active as before.
#[test]
fn not_followed() {
    let purpose = Purpose::Command;
    let scenes: [(&str, Failure); 5] = [
        ("no flush", Failure::Flush),
        ("not ready", Failure::NotReady),
        ("not taken", Failure::NotTaken),
        ("silent", Failure::PeerLost),
        ("ill", Failure::PeerUnfit),
    ];
    for (scene, failure) in scenes {
        let mut solo = Solo::active();
        solo.node.switch(solo.now).unwrap();
        solo.settle();
        assert_eq!(solo.node.switch(solo.now), Err(CommandRefused::Busy));
        let token = solo.node.tokens;
        if scene != "no flush" {
            solo.node.handle_flushed(solo.now, token);
        }
        if scene == "not taken" {
            solo.says.intention = Intention::Ready { epoch: 7 };
        }
        match scene {
            "silent" => solo.pass(100 * MS),
            "ill" => {
                solo.says.health.set_link(0, false);
                solo.hear();
            }
            _ => solo.pass_together(3_000 * MS),
        }
        assert!(solo.take().contains(&failed(purpose, failure)), "{scene}");
        assert_eq!(solo.node.role(), Some(Role::Active));
        assert_eq!(solo.node.intention(), Intention::None);
    }
}

/// In: an offer at a standby whose disk is slow. Out: it says that it is ready when the epoch is on disk.
#[test]
fn ready_when_on_disk() {
    let mut solo = Solo::standby();
    let (now, offer) = (solo.now, Intention::Offer { epoch: 50, purpose: Purpose::Command });
    (solo.says.intention, solo.says.role) = (offer, Role::Active);
    let round = solo.round();
    solo.node.handle_heartbeat(now, 0, &round);
    assert_eq!(solo.node.intention(), Intention::None);
    while let Some(output) = solo.node.poll_output() {
        solo.outputs.push(output);
    }
    assert!(solo.take().contains(&Output::Persist(Record { epoch: 50, maintenance: false })));
    solo.node.handle_persisted(now, 50);
    solo.settle();
    assert_eq!(solo.sent.last().unwrap().1.intention, Intention::Ready { epoch: 50 });
}

/// In: commands when there is nobody to take the role. Out: refused, and nothing changes.
#[test]
fn refused() {
    let mut solo = Solo::active();
    solo.says.maintenance = true;
    solo.hear();
    assert_eq!(solo.node.switch(solo.now), Err(CommandRefused::PeerUnfit));
    solo.pass(100 * MS);
    assert_eq!(solo.node.switch(solo.now), Err(CommandRefused::PeerAbsent));
    assert_eq!(solo.node.maintenance(solo.now, true), Err(CommandRefused::PeerAbsent));
    assert!(!solo.node.is_in_maintenance());
    assert!(!solo.take().iter().any(is_move));

    let mut solo = Solo::standby();
    solo.node.maintenance(solo.now, true).unwrap();
    assert_eq!(solo.node.switch(solo.now), Err(CommandRefused::Unfit));
    assert_eq!(Solo::paired().node.switch(solo.now), Err(CommandRefused::Starting));
}

/// In: maintenance asked for and taken back before the journal is flushed. Out: cancelled.
#[test]
fn maintenance_taken_back() {
    let mut solo = Solo::active();
    solo.node.maintenance(solo.now, true).unwrap();
    solo.node.maintenance(solo.now, false).unwrap();
    solo.settle();
    assert!(solo.take().contains(&failed(Purpose::Maintenance, Failure::Cancelled)));
    assert!(!solo.node.is_in_maintenance());
}

/// In: shutdown with a journal that is never flushed. Out: the role is granted after two seconds nevertheless, and
/// when nobody takes it the node ends.
#[test]
fn shutdown_does_not_wait_for_ever() {
    let mut solo = Solo::active();
    solo.node.shutdown(solo.now);
    solo.pass_together(2_010 * MS);
    assert!(matches!(solo.node.intention(), Intention::Grant { purpose: Purpose::Shutdown, .. }));
    solo.pass_together(600 * MS);
    let outputs = solo.take();
    assert!(
        outputs.ends_with(&[Output::BecomeStandby { why: Why::Shutdown }, Output::Finished]),
        "{outputs:?}"
    );
}

/// In: a standby that asks for the role, by operator, and an active node that does not move. Out: it says so after
/// 5 s and asks no more.
#[test]
fn asked_in_vain() {
    let mut solo = Solo::standby();
    solo.node.switch(solo.now).unwrap();
    assert_eq!(solo.node.intention(), Intention::WantCommand);
    solo.pass_together(5_100 * MS);
    assert!(solo.take().contains(&failed(Purpose::Command, Failure::NotTaken)));
    assert_eq!(solo.node.intention(), Intention::None);
}

/// In: silence of the active node; a standby whose copy of the connections is not complete. Out: it waits for 250 ms more,
/// and takes over then.
#[test]
fn an_incomplete_copy_makes_patient() {
    let mut solo = Solo::standby();
    solo.node.set_synced(solo.now, false);
    solo.pass(250 * MS);
    assert_eq!(solo.node.role(), Some(Role::Standby));
    solo.pass(40 * MS);
    assert!(solo.take().contains(&active(Why::PeerSilent, 6)));

    // A word in between, and everything begins anew.
    let mut solo = Solo::standby();
    solo.node.set_synced(solo.now, false);
    solo.pass(100 * MS);
    solo.hear_as(Role::Active, 5, Intention::None);
    solo.hear_as(Role::Active, 5, Intention::None);
    solo.pass(250 * MS);
    assert_eq!(solo.node.role(), Some(Role::Standby));
}

/// In: two active nodes, one of which claimed with an incomplete copy and so has the higher epoch. Out: the other one stays,
/// under a higher epoch still; after ten seconds epochs decide.
#[test]
fn an_incomplete_copy_does_not_outrank() {
    let mut solo = Solo::active();
    let epoch = solo.node.epoch;
    solo.says.synced = false;
    solo.hear_as(Role::Active, epoch + 3, Intention::None);
    assert_eq!(solo.node.role(), Some(Role::Active));
    assert!(solo.take().contains(&Output::Notice(Notice::TwoActives { stays: true })));
    assert!(solo.node.epoch > epoch + 3);

    let claimed = |synced| {
        let mut solo = Solo::standby();
        solo.node.set_synced(solo.now, synced);
        solo.pass(300 * MS);
        assert_eq!((solo.node.role(), solo.node.epoch), (Some(Role::Active), 6));
        // The journal of an active node has nothing to copy.
        solo.node.set_synced(solo.now, true);
        solo.says.synced = true;
        solo
    };
    for (synced, wait, stays) in [(false, 0, false), (true, 0, true), (false, 10_500, true)] {
        let mut solo = claimed(synced);
        solo.pass(MS * wait);
        solo.hear_as(Role::Active, 5, Intention::None);
        solo.hear_as(Role::Active, 5, Intention::None);
        let role = if stays { Role::Active } else { Role::Standby };
        assert_eq!(solo.node.role(), Some(role), "synced {synced}, after {wait} ms");
    }
}

/// In: fail-back in the document. Out: only the first node asks; not while ill, out of service or not synced.
#[test]
fn who_fails_back() {
    for (index, synced, ill, asks) in [
        (NodeIndex::First, true, false, true),
        (NodeIndex::First, false, false, false),
        (NodeIndex::First, true, true, false),
        (NodeIndex::Second, true, false, false),
    ] {
        let mut config = config(index);
        config.failback = FailBack::Preferred { delay: 100 * MS };
        let mut solo = Solo::standby_with(config);
        solo.node.set_synced(solo.now, synced);
        solo.link(Link::Monitor(0), !ill);
        solo.pass_together(300 * MS);
        let asked = solo.node.intention() == Intention::WantFailBack;
        assert_eq!(asked, asks, "{index:?}, synced {synced}, ill {ill}");
    }
}

// ---- elections

/// In: two nodes that hear each other, none active. Out: the first one decides; the second one waits for it, a second
/// at most.
#[test]
fn elections() {
    let of = |index| Solo::with(config(index), Start { paired: true, ..Start::default() });
    let mut first = of(NodeIndex::First);
    first.hear_as(Role::Starting, 0, Intention::None);
    assert!(first.take().contains(&active(Why::Elected, 1)));

    // The second one was active last: it has the connections.
    let mut first = of(NodeIndex::First);
    first.hear_as(Role::Standby, 3, Intention::None);
    assert_eq!(first.node.intention(), Intention::Grant { epoch: 4, purpose: Purpose::Election });
    assert_eq!(first.node.role(), Some(Role::Starting));

    // Whoever does not hear us will claim by himself.
    let mut first = of(NodeIndex::First);
    first.says.hears = Paths::EMPTY;
    first.hear_as(Role::Starting, 0, Intention::None);
    assert!(!first.take().contains(&active(Why::Elected, 1)));

    let mut second = of(NodeIndex::Second);
    second.hear_as(Role::Starting, 0, Intention::None);
    second.pass_together(900 * MS);
    assert_ne!(second.node.role(), Some(Role::Active));
    second.pass_together(200 * MS);
    assert!(second.take().contains(&active(Why::Elected, 1)));

    let mut second = of(NodeIndex::Second);
    second.hear_as(Role::Standby, 0, Intention::Grant { epoch: 4, purpose: Purpose::Election });
    assert!(second.take().contains(&active(Why::Elected, 4)));
}

// ---- paths

/// In: rounds that are lost, a peer that does not hear us, silence, no carrier. Out: the path says so, and counts.
#[test]
fn paths() {
    let mut solo = Solo::standby();
    solo.pass_together(100 * MS);
    let path = |solo: &Solo, index: usize| solo.node.status(solo.now).paths[index];
    assert_eq!(path(&solo, 0).state, PathState::Up);
    assert_eq!(path(&solo, 1).state, PathState::Silent);
    assert_eq!((path(&solo, 0).heard, path(&solo, 0).lost), (11, 0));
    solo.says.beat += 3;
    solo.hear();
    assert_eq!(path(&solo, 0).lost, 3);

    solo.says.hears = Paths::EMPTY;
    solo.pass_together(100 * MS);
    assert_eq!(path(&solo, 0).state, PathState::OneWay);
    solo.says.hears = Paths::first(1);
    solo.pass_together(20 * MS);
    assert_eq!(path(&solo, 0).state, PathState::Up);
    solo.pass(80 * MS);
    assert_eq!(path(&solo, 0).state, PathState::Silent);
    solo.link(Link::Path(0), false);
    assert_eq!(path(&solo, 0).state, PathState::NoCarrier);
    let shown = |output: &Output| matches!(output, Output::Notice(Notice::Path { path: 0, .. }));
    assert_eq!(solo.take().iter().filter(|output| shown(output)).count(), 5);
}

/// In: a peer that is started anew and counts its rounds from 1. Out: believed, and said so; the role stays.
#[test]
fn restarted_peer() {
    let mut solo = Solo::standby();
    solo.pass_together(100 * MS);
    solo.restart_peer(3);
    solo.hear();
    let outputs = solo.take();
    assert!(outputs.contains(&Output::Notice(Notice::PeerRestarted)));
    solo.pass_together(100 * MS);
    assert!(!solo.take().iter().any(is_move));
}

/// In: heartbeats in the order 1, 3, 2, the second of which says something older. Out: the newest word counts.
#[test]
fn overtaken() {
    let mut solo = Solo::active();
    (solo.says.role, solo.says.epoch) = (Role::Active, 99);
    let late = solo.round();
    solo.hear_as(Role::Standby, 99, Intention::None);
    solo.node.handle_heartbeat(solo.now, 1, &late);
    solo.settle();
    assert_eq!(solo.node.role(), Some(Role::Active));
}

/// In: a heartbeat that carries our own index: two nodes set up as the same one. Out: not listened to.
#[test]
fn namesake() {
    let mut solo = Solo::active();
    let own = solo.says.index.other();
    solo.says = Heartbeat { index: own, role: Role::Active, epoch: 99, beat: solo.says.beat, ..said(own) };
    solo.hear();
    assert_eq!(solo.node.role(), Some(Role::Active));
}

/// In: paths and interfaces that come and go with the document. Out: the role stays; what is left is known.
#[test]
fn reconfigured() {
    let mut solo = Solo::active();
    solo.link(Link::Monitor(1), false);
    solo.says.health.set_link(1, false);
    solo.hear();
    let mut smaller = config(NodeIndex::First);
    (smaller.paths, smaller.monitors) = (1, 1);
    solo.node.reconfigure(solo.now, smaller);
    solo.settle();
    assert!(solo.node.health().is_well());
    assert_eq!(solo.node.status(solo.now).paths.len(), 1);
    let mut larger = config(NodeIndex::First);
    (larger.paths, larger.monitors) = (99, 99);
    solo.node.reconfigure(solo.now, larger);
    solo.take();
    solo.pass(20 * MS);
    assert_eq!(solo.sent.iter().map(|(path, _)| *path).max(), Some(crate::heartbeat::MAX_PATHS - 1));
    assert_eq!(solo.node.role(), Some(Role::Active));
}
