//! What stands in the way of an entry, and what becomes of it.

use rempart_system::flowsync::{Expect, Flow, Name, Record, TimeoutRule, Verb, Zone};

use crate::common::in_namespace;
use crate::samples::*;

fn translated(port: u16, to: u8) -> Flow {
    let mut flow = tcp(port);
    flow.reply.destination = v4(to);
    flow
}

/// Put as new although it is there: the same entry is brought up to date, one with another translation is replaced.
#[test]
fn what_is_there_is_updated_or_replaced() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        put(&mut writer, translated(1, 90), Expect::New);
        let mut marked = translated(1, 90);
        marked.mark = 5;
        put(&mut writer, marked, Expect::New);
        assert_eq!((writer.tally().created, writer.tally().updated, writer.tally().replaced), (1, 1, 0));
        assert_eq!(settled(find(marked.identity()).expect("there")), settled(marked));
        for (expect, to) in [(Expect::New, 91), (Expect::Known, 92)] {
            put(&mut writer, translated(1, to), expect);
            assert_eq!(flows().into_iter().map(settled).collect::<Vec<_>>(), [settled(translated(1, to))]);
        }
        assert_eq!(writer.tally().replaced, 2);
    });
}

/// Put as known although it is not there: it is made.
#[test]
fn what_is_not_there_is_made() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        put(&mut writer, translated(1, 90), Expect::Known);
        assert_eq!(settled(find(tcp(1).identity()).expect("there")), settled(translated(1, 90)));
        assert_eq!((writer.tally().created, writer.tally().updated), (1, 0));
    });
}

/// A connection whose translated port another one has: the other is stale, as the active node cannot have both. With
/// source, destination and both translated; the kernel must not choose another port by itself.
#[test]
fn a_stale_owner_of_the_reply_gives_way() {
    in_namespace(|| async {
        track(false);
        for change in [
            (|f: &mut Flow| f.reply.destination = v4(90)) as fn(&mut Flow),
            |f| f.reply.source = v4(91),
            |f| (f.reply.destination, f.reply.source) = (v4(90), v4(91)),
        ] {
            let mut writer = writer();
            let (mut old, mut new) = (tcp(1), tcp(1));
            change(&mut old);
            change(&mut new);
            if old.reply.destination == v4(1) {
                // Only the destination is translated: another original destination comes to the same host.
                new.original.destination = v4(3);
            } else {
                new.original.source = v4(4);
            }
            new.reply = old.reply;
            put(&mut writer, old, Expect::New);
            put(&mut writer, new, Expect::New);
            assert_eq!(flows().into_iter().map(settled).collect::<Vec<_>>(), [settled(new)]);
            assert_eq!(writer.tally().replaced, 1);
            writer.remove(&new.identity()).expect("queued");
            writer.flush().expect("flushed");
        }
    });
}

/// Status bits cannot be taken from an entry: it is made anew.
#[test]
fn a_status_that_shrinks_is_made_anew() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        put(&mut writer, translated(1, 90), Expect::New);
        let mut unreplied = translated(1, 90);
        (unreplied.status, unreplied.state) = (syn(1).status, syn(1).state);
        put(&mut writer, unreplied, Expect::Known);
        assert_eq!(flows().into_iter().map(settled).collect::<Vec<_>>(), [settled(unreplied)]);
        assert_eq!(writer.tally().replaced, 1);
    });
}

/// A connection with a helper that this kernel lacks, or a master that it does not have: made without, and said so.
#[test]
fn a_connection_is_worth_more_than_its_parts() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        let mut strange = tcp(1);
        strange.helper = Name::new(b"no-such-helper");
        put(&mut writer, strange, Expect::New);
        let mut orphan = tcp(2);
        orphan.master = Some((6, tcp(3).original));
        put(&mut writer, orphan, Expect::New);
        assert_eq!((writer.tally().without_helper, writer.tally().without_master), (1, 1));
        assert_eq!(flows().len(), 2);
        // Updates of both go on.
        for flow in [strange, orphan] {
            put(&mut writer, Flow { mark: 6, ..flow }, Expect::Known);
        }
        assert_eq!(flows().iter().map(|flow| flow.mark).collect::<Vec<_>>(), [6, 6]);
        // The master comes later: the next copy finds it.
        put(&mut writer, tcp(3), Expect::New);
        put(&mut writer, orphan, Expect::New);
        assert_eq!(find(orphan.identity()).expect("there").master, orphan.master);
    });
}

/// A child that stands before its master in the queue finds it; one that is removed while it waits is not made.
#[test]
fn children_wait_for_their_masters() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        let child = |port| {
            let mut flow = tcp(port);
            flow.master = Some((6, tcp(3).original));
            Record::Flow(flow)
        };
        let new = |writer: &mut rempart_system::flowsync::Writer, record: &Record| {
            writer.put(record, TimeoutRule::AsTold, Expect::New).expect("queued");
        };
        new(&mut writer, &child(1));
        new(&mut writer, &child(2));
        // Enough for several batches, so that the children are refused before their master is there.
        for port in 1000..1200 {
            new(&mut writer, &Record::Flow(tcp(port)));
        }
        writer.remove(&child(2).identity()).expect("queued");
        new(&mut writer, &Record::Flow(tcp(3)));
        writer.flush().expect("flushed");
        assert_eq!(writer.take_refusals(), []);
        assert_eq!(find(child(1).identity()).and_then(|f| f.master), Some((6, tcp(3).original)));
        assert_eq!(find(child(2).identity()), None);
        assert_eq!(writer.tally().without_master, 0);
    });
}

/// Requests for one entry in one batch are done in order, also when an earlier one needs repair.
#[test]
fn a_repair_does_not_undo_what_came_later() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        put(&mut writer, translated(1, 90), Expect::New);
        writer.put(&Record::Flow(translated(1, 91)), TimeoutRule::AsTold, Expect::New).expect("queued");
        writer.remove(&tcp(1).identity()).expect("queued");
        writer.flush().expect("flushed");
        assert_eq!(flows(), []);
        writer.remove(&tcp(1).identity()).expect("queued");
        writer.put(&Record::Flow(translated(1, 92)), TimeoutRule::AsTold, Expect::Known).expect("queued");
        writer.flush().expect("flushed");
        assert_eq!(settled(find(tcp(1).identity()).expect("there")), settled(translated(1, 92)));
        assert_eq!(writer.take_refusals(), []);
    });
}

/// What the kernel will not have is refused with its reason, and nothing else suffers.
#[test]
fn refusals_are_told() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        let mut wrong = tcp(2);
        wrong.protocol = 1;
        let (_, lonely) = crate::samples::ftp();
        for record in
            [Record::Flow(tcp(1)), Record::Flow(wrong), Record::Expectation(lonely), Record::Flow(tcp(3))]
        {
            writer.put(&record, TimeoutRule::AsTold, Expect::New).expect("queued");
        }
        writer.remove(&tcp(9).identity()).expect("queued");
        writer.set_timeout(&tcp(9).identity(), 5).expect("queued");
        writer.flush().expect("flushed");
        let refusals = writer.take_refusals();
        let told: Vec<_> = refusals.iter().map(|r| (r.verb, r.errno, r.identity)).collect();
        assert_eq!(
            told,
            [
                (Verb::PutFlow, nix::errno::Errno::EINVAL, wrong.identity()),
                (Verb::PutExpectation, nix::errno::Errno::ENOENT, lonely.identity()),
            ]
        );
        assert_eq!((writer.tally().created, writer.tally().refused, writer.tally().absent), (2, 2, 2));
        assert_eq!(flows().len(), 2);
    });
}

/// The same tuples in two zones are two connections.
#[test]
fn zones_do_not_meet() {
    in_namespace(|| async {
        track(false);
        let mut writer = writer();
        let other = Flow { zone: Zone { id: 5, ..Zone::default() }, mark: 9, ..tcp(1) };
        put(&mut writer, tcp(1), Expect::New);
        put(&mut writer, other, Expect::New);
        assert_eq!(flows().len(), 2);
        writer.remove(&tcp(1).identity()).expect("queued");
        writer.flush().expect("flushed");
        assert_eq!(flows().into_iter().map(settled).collect::<Vec<_>>(), [settled(other)]);
    });
}
