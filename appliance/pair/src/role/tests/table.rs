//! Every pair of state and event: where it leads, and what is done.

use super::solo::{MS, Solo, said};
use crate::heartbeat::Intention;
use crate::role::machine::{Event, State};
use crate::role::{Link, Node, Output, Purpose, Role, Start, Why};

const STATES: [&str; 7] = ["Free", "Listening", "Standby", "Active", "Offering", "Granting", "Gone"];

/// A node in that state. The peer is a healthy standby, or active under epoch 5 where the node is none.
fn node_in(state: &str) -> Solo {
    let mut solo = match state {
        "Free" => Solo::new(Start::default()),
        "Listening" => Solo::paired(),
        "Standby" => Solo::standby(),
        "Active" | "Offering" | "Granting" | "Gone" => Solo::active(),
        other => panic!("{other}"),
    };
    match state {
        "Offering" => solo.node.switch(solo.now).unwrap(),
        "Granting" => {
            solo.node.switch(solo.now).unwrap();
            let token = solo.node.tokens;
            solo.node.handle_flushed(solo.now, token);
            solo.settle();
            solo.hear_as(Role::Standby, 5, Intention::Ready { epoch: 7 });
        }
        "Gone" => {
            let now = solo.now;
            solo.node.step(now, Event::Silent);
            if let Some(peer) = &mut solo.node.peer {
                peer.alive = false;
            }
            solo.node.shutdown(now);
        }
        _ => {}
    }
    solo.settle();
    assert_eq!(name(&solo.node), state);
    solo.take();
    solo
}

fn name(node: &Node) -> &'static str {
    match node.state {
        State::Free => STATES[0],
        State::Listening => STATES[1],
        State::Standby => STATES[2],
        State::Active => STATES[3],
        State::Offering { .. } => STATES[4],
        State::Granting { .. } => STATES[5],
        State::Gone => STATES[6],
    }
}

/// Makes the event happen. Words of the peer come as heartbeats, all else directly.
fn happen(solo: &mut Solo, event: &str) {
    let now = solo.now;
    let grant = Intention::Grant { epoch: 9, purpose: Purpose::Command };
    let offer = Intention::Offer { epoch: 9, purpose: Purpose::Command };
    solo.says.intention = Intention::None;
    match event {
        "hear standby" => solo.hear_as(Role::Standby, 4, Intention::None),
        "hear active, lower" => solo.hear_as(Role::Active, 4, Intention::None),
        "hear active, higher" => solo.hear_as(Role::Active, 9, Intention::None),
        "hear offer" => solo.hear_as(Role::Active, 8, offer),
        "hear grant" => solo.hear_as(Role::Active, 8, grant),
        "hear ready" => solo.hear_as(Role::Standby, 4, Intention::Ready { epoch: 7 }),
        "hear going" => {
            solo.says.going = true;
            solo.hear_as(Role::Standby, 4, Intention::None);
        }
        "silence" => {
            solo.node.listen_until = now;
            if let Some(peer) = &mut solo.node.peer {
                peer.alive = false;
            }
            solo.node.step(now, Event::Silent);
        }
        "changed" => solo.node.step(now, Event::Changed),
        "isolated" => {
            for index in 0..2 {
                solo.node.handle_link(now, Link::Path(index), false);
                solo.node.handle_link(now, Link::Monitor(index), false);
            }
        }
        "listened" => {
            solo.node.listen_until = now;
            solo.node.step(now, Event::Listened);
        }
        "limit" => solo.node.step(now, Event::Limit),
        "undecided" => solo.node.step(now, Event::Undecided),
        "fail-back due" => solo.node.step(now, Event::FailBackDue),
        "flushed" => {
            let token = solo.node.tokens;
            solo.node.step(now, Event::Flushed { token });
        }
        "flushed, another" => solo.node.step(now, Event::Flushed { token: 99 }),
        "persisted" => solo.node.step(now, Event::Persisted),
        "switch" => solo.node.step(now, Event::Switch),
        "maintenance on" => solo.node.step(now, Event::Maintain { on: true }),
        "maintenance off" => solo.node.step(now, Event::Maintain { on: false }),
        "shutdown" => solo.node.step(now, Event::Shutdown),
        "pair" => solo.node.step(now, Event::Pair { active: false }),
        "pair, active" => solo.node.step(now, Event::Pair { active: true }),
        "unpair" => solo.node.step(now, Event::Unpair),
        other => panic!("{other}"),
    }
    solo.settle();
}

fn show(output: &Output) -> Option<String> {
    match output {
        Output::HoldElectors { held: true } => Some("hold".into()),
        Output::HoldElectors { held: false } => Some("free".into()),
        Output::BecomeActive { why, epoch } => Some(format!("active({}, {epoch})", why.name())),
        Output::BecomeStandby { why } => Some(format!("standby({})", why.name())),
        Output::Announce => Some("announce".into()),
        Output::Drain => Some("drain".into()),
        Output::FlushJournal { .. } => Some("flush".into()),
        Output::Persist(record) => Some(format!(
            "persist({}{})",
            record.epoch,
            if record.maintenance { ", maintenance" } else { "" }
        )),
        Output::Finished => Some("finished".into()),
        Output::Send { .. } | Output::Notice(_) => None,
    }
}

fn outcome(state: &str, event: &str) -> String {
    let mut solo = node_in(state);
    happen(&mut solo, event);
    let end = name(&solo.node);
    let outputs: Vec<String> = solo.take().iter().filter_map(show).collect();
    let end = if end == state { "-" } else { end };
    if outputs.is_empty() { end.into() } else { format!("{end}: {}", outputs.join(", ")) }
}

/// Columns: the states in the order of [`STATES`]. `-`: it stays.
#[rustfmt::skip]
const TABLE: &[(&str, [&str; 7])] = &[
    ("hear standby", ["-", "-: persist(5)", "-", "-", "-", "-", "-"]),
    ("hear active, lower", ["-", "Standby: standby(start), persist(5)", "-", "-: announce", "Active: announce", "Active: announce", "-"]),
    ("hear active, higher", ["-", "Standby: standby(start), persist(10)", "-: persist(10)", "Standby: standby(outranked), persist(10)", "Standby: standby(outranked), persist(10)", "Standby: standby(command), persist(10)", "-"]),
    ("hear offer", ["-", "Standby: standby(start), persist(9)", "-: persist(9)", "Standby: standby(outranked), persist(9)", "Standby: standby(outranked), persist(9)", "Standby: standby(command), persist(9)", "-"]),
    ("hear grant", ["-", "Active: standby(start), persist(9), active(command, 9)", "Active: active(command, 9), persist(9)", "Standby: standby(outranked), persist(9)", "Standby: standby(outranked), persist(9)", "Standby: standby(command), persist(9)", "-"]),
    ("hear ready", ["-", "-: persist(5)", "-", "-", "-", "-", "-"]),
    ("hear going", ["-", "-", "Active: active(peer-yielded, 6)", "-", "Active", "Active", "-"]),
    ("silence", ["-", "Active: active(peer-silent, 1)", "Active: active(peer-silent, 6)", "-", "Active", "Active", "-"]),
    ("changed", ["-", "-", "-", "-", "-", "-", "-"]),
    ("isolated", ["-", "-", "-", "Standby: standby(isolated), persist(7)", "Standby: standby(isolated), persist(7)", "Standby: standby(isolated), persist(7)", "-"]),
    ("listened", ["-", "Active: drain, active(peer-silent, 1)", "-", "-", "-", "-", "-"]),
    ("limit", ["-", "-", "-", "-", "Active", "Active", "-"]),
    ("undecided", ["-", "-", "-", "-", "-", "-", "-"]),
    ("fail-back due", ["-", "-", "-", "-", "-", "-", "-"]),
    ("flushed", ["-", "-", "-", "-", "-", "-", "-"]),
    ("flushed, another", ["-", "-", "-", "-", "-", "-", "-"]),
    ("persisted", ["-", "-", "-", "-", "-", "-", "-"]),
    ("switch", ["-", "-", "-", "Offering: flush", "-", "-", "-"]),
    ("maintenance on", ["-", "-: persist(1, maintenance)", "-: persist(6, maintenance)", "Offering: flush", "-", "-", "-"]),
    ("maintenance off", ["-", "-: persist(1)", "-: persist(6)", "-: persist(6)", "-", "-", "-"]),
    ("shutdown", ["Gone: finished", "Gone: finished", "Gone: finished", "Offering: flush", "-", "-", "-: finished"]),
    ("pair", ["Listening: hold, standby(start), persist(1)", "-", "-", "-", "Active", "Active", "-"]),
    ("pair, active", ["Active: hold, active(resumed, 1), persist(1)", "-", "-", "-", "Active", "Active", "-"]),
    ("unpair", ["-", "Free: free", "Free: free", "Free: free", "Free: free", "Free: free", "-"]),
];

/// In: each event in each state. Out: what the table says.
#[test]
fn every_pair() {
    let mut wrong = Vec::new();
    for (event, row) in TABLE {
        for (state, expected) in STATES.iter().zip(row) {
            let found = outcome(state, event);
            if found != *expected {
                wrong.push(format!("{state}, {event}: {found:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(TABLE.len(), EVENTS.len());
}

const EVENTS: [&str; 24] = [
    "hear standby",
    "hear active, lower",
    "hear active, higher",
    "hear offer",
    "hear grant",
    "hear ready",
    "hear going",
    "silence",
    "changed",
    "isolated",
    "listened",
    "limit",
    "undecided",
    "fail-back due",
    "flushed",
    "flushed, another",
    "persisted",
    "switch",
    "maintenance on",
    "maintenance off",
    "shutdown",
    "pair",
    "pair, active",
    "unpair",
];

/// In: nothing. Out: every output of a shut down node but the last word is nothing.
#[test]
fn who_is_gone_stays_silent() {
    let mut solo = node_in("Gone");
    assert_eq!(solo.node.poll_timeout(), None);
    solo.pass(1_000 * MS);
    solo.says = said(solo.says.index);
    solo.hear();
    assert!(solo.sent.is_empty() && solo.take().is_empty());
    assert_eq!(solo.node.status(solo.now).why, Why::Shutdown);
}
