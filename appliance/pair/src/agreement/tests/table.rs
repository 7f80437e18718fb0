//! Every task meets every event. The outcomes are the table that stands beside this file: what the machine asks, answers and
//! does, and what it is at afterwards.

use std::time::{Duration, Instant};

use super::super::*;
use super::{bundle, position};

const TASKS: [&str; 22] = [
    "Idle",
    "Preparing",
    "PeerApplying",
    "Applying",
    "OwnTrial",
    "Keeping",
    "TellingKeep",
    "GoingBack",
    "TellingAbort",
    "Checking",
    "Prepared",
    "Holding",
    "PeerWantsIt",
    "PeerTrial",
    "Watching",
    "Forwarding",
    "Accepting",
    "Withdrawing",
    "Fetching",
    "Choosing",
    "Adopting",
    "Overwriting",
];

/// A machine at a task, its revision on the way, and the token of what it has asked.
struct Stage {
    now: Instant,
    machine: Agreement,
    ours: Bundle,
    asked: Token,
}

impl Stage {
    /// The second node, with one revision behind it, linked to a first one that stands at the same.
    fn at(task: &str) -> Self {
        let now = Instant::now();
        let root = bundle(&[], 1, "ann", "root");
        let base = [root.record.id()];
        let ours = bundle(&base, 2, "ann", "ours");
        let mut s = Self {
            now,
            machine: Agreement::new(now, false, position(&base), None),
            ours,
            asked: Token(u64::MAX),
        };
        s.machine.handle_link(now, true, true);
        s.drain();
        s.answer(Response::Position(position(&base)));
        let id = s.ours.record.id();
        let elsewhere = bundle(&[], 1, "eve", "elsewhere").record.id();
        let ahead = [bundle(&base, 2, "bob", "theirs").record.id(), base[0]];
        let trial = (task == "OwnTrial" || task == "GoingBack" || task == "TellingAbort").then_some(60);
        let commit = Wish::Commit { bundle: s.ours.clone(), confirm_s: trial };
        let prepare = Request::Prepare { bundle: s.ours.clone(), confirm_s: Some(60) };
        let applied = || Done::Applied(Ok(()));
        match task {
            "Idle" => {}
            "Preparing" | "PeerApplying" | "Applying" | "OwnTrial" | "Keeping" | "TellingKeep"
            | "GoingBack" | "TellingAbort" => {
                s.machine.wish(now, commit);
                if task != "Preparing" {
                    s.answer(Response::Prepared);
                }
                if !["Preparing", "PeerApplying"].contains(&task) {
                    s.answer(Response::Applied);
                }
                if ["OwnTrial", "Keeping", "TellingKeep", "GoingBack", "TellingAbort"].contains(&task) {
                    s.done(applied());
                }
                if task == "TellingKeep" {
                    s.done(Done::Kept(Ok(position(&[id, base[0]]))));
                }
                if task == "GoingBack" || task == "TellingAbort" {
                    s.machine.wish(now, Wish::Revert);
                }
                if task == "TellingAbort" {
                    s.done(Done::Back);
                }
            }
            "Checking" | "Prepared" | "Holding" | "PeerWantsIt" | "PeerTrial" | "Watching" | "Forwarding"
            | "Accepting" | "Withdrawing" => {
                s.machine.handle_request(now, Token(1), prepare);
                if task != "Checking" {
                    s.done(Done::Checked(Ok(())));
                }
                if !["Checking", "Prepared", "Holding"].contains(&task) {
                    s.machine.handle_request(now, Token(2), Request::Apply(id));
                }
                if ["PeerTrial", "Watching", "Forwarding", "Accepting", "Withdrawing"].contains(&task) {
                    s.done(applied());
                }
                match task {
                    // The same with a question about where the other node stands on its way.
                    "Holding" | "Watching" => s.machine.handle_timeout(now + WATCH),
                    "Forwarding" => s.machine.wish(now, Wish::Confirm),
                    "Accepting" => s.machine.handle_request(now, Token(3), Request::Keep(id)),
                    "Withdrawing" => s.machine.handle_request(now, Token(3), Request::Abort(id)),
                    _ => {}
                }
            }
            "Fetching" | "Adopting" => {
                s.machine.handle_request(now, Token(4), Request::Position(position(&ahead)));
                s.drain();
                if task == "Adopting" {
                    s.answer(Response::Bundle(bundle(&base, 2, "bob", "theirs")));
                }
            }
            "Choosing" | "Overwriting" => {
                s.machine.handle_request(now, Token(4), Request::Position(position(&[elsewhere])));
                s.machine.wish(now, Wish::Resolve { ours: task == "Overwriting" });
            }
            other => panic!("no task {other}"),
        }
        s.drain();
        s
    }

    /// Empties the outputs and keeps the token of what was asked.
    fn drain(&mut self) -> Vec<Output> {
        let outputs: Vec<_> = std::iter::from_fn(|| self.machine.poll_output()).collect();
        for output in &outputs {
            if let Output::Ask(token, _) = output {
                self.asked = *token;
            }
        }
        outputs
    }

    fn answer(&mut self, response: Response) {
        self.drain();
        self.machine.handle_answer(self.now, self.asked, response);
        self.drain();
    }

    fn done(&mut self, done: Done) {
        self.drain();
        self.machine.done(self.now, done);
        self.drain();
    }
}

type Event = (&'static str, Box<dyn Fn(&mut Stage)>);

fn events() -> Vec<Event> {
    let mut all: Vec<Event> = Vec::new();
    let mut add = |name, act: Box<dyn Fn(&mut Stage)>| all.push((name, act));
    let id = |s: &Stage| s.ours.record.id();
    let base = |s: &Stage| s.ours.ancestors.clone();
    let request = |request: Box<dyn Fn(&Stage) -> Request>| -> Box<dyn Fn(&mut Stage)> {
        Box::new(move |s| {
            let request = request(s);
            s.machine.handle_request(s.now, Token(99), request);
        })
    };
    let respond = |response: Box<dyn Fn(&Stage) -> Response>| -> Box<dyn Fn(&mut Stage)> {
        Box::new(move |s| {
            let response = response(s);
            s.machine.handle_answer(s.now, s.asked, response);
        })
    };
    let done = |done: Box<dyn Fn(&Stage) -> Done>| -> Box<dyn Fn(&mut Stage)> {
        Box::new(move |s| {
            let done = done(s);
            s.machine.done(s.now, done);
        })
    };
    let wish = |wish: Box<dyn Fn(&Stage) -> Wish>| -> Box<dyn Fn(&mut Stage)> {
        Box::new(move |s| {
            let wish = wish(s);
            s.machine.wish(s.now, wish);
        })
    };
    add("asked Position, same", request(Box::new(move |s| Request::Position(position(&base(s))))));
    add(
        "asked Position, ahead",
        request(Box::new(move |s| {
            Request::Position(position(&[bundle(&base(s), 2, "bob", "theirs").record.id(), base(s)[0]]))
        })),
    );
    add(
        "asked Prepare",
        request(Box::new(move |s| Request::Prepare { bundle: s.ours.clone(), confirm_s: None })),
    );
    add(
        "asked Prepare, another",
        request(Box::new(move |s| Request::Prepare {
            bundle: bundle(&base(s), 2, "bob", "theirs"),
            confirm_s: None,
        })),
    );
    add(
        "asked Prepare, stray",
        request(Box::new(move |_| Request::Prepare {
            bundle: bundle(&[], 2, "bob", "stray"),
            confirm_s: None,
        })),
    );
    add(
        "asked Prepare, newer grammar",
        request(Box::new(move |s| Request::Prepare {
            bundle: Bundle { grammar: 2, ..s.ours.clone() },
            confirm_s: None,
        })),
    );
    add(
        "asked Prepare, damaged",
        request(Box::new(move |s| Request::Prepare {
            bundle: Bundle { document: String::new(), ..s.ours.clone() },
            confirm_s: None,
        })),
    );
    add("asked Apply", request(Box::new(move |s| Request::Apply(id(s)))));
    add("asked Keep", request(Box::new(move |s| Request::Keep(id(s)))));
    add("asked Keep, the head", request(Box::new(move |s| Request::Keep(base(s)[0]))));
    add("asked Abort", request(Box::new(move |s| Request::Abort(id(s)))));
    add("asked Fetch", request(Box::new(move |s| Request::Fetch(base(s)[0]))));
    add("asked Confirm", request(Box::new(move |s| Request::Confirm(id(s)))));
    add("asked Revert", request(Box::new(move |s| Request::Revert(id(s)))));
    add("asked Overwrite", request(Box::new(move |s| Request::Overwrite { over: base(s)[0], head: id(s) })));
    add(
        "asked Overwrite, stray",
        request(Box::new(move |s| Request::Overwrite { over: id(s), head: id(s) })),
    );

    add("told Position, same", respond(Box::new(move |s| Response::Position(position(&base(s))))));
    add(
        "told Position, proposing",
        respond(Box::new(move |s| {
            Response::Position(Position { proposing: Some(id(s)), ..position(&base(s)) })
        })),
    );
    add(
        "told Position, has it",
        respond(Box::new(move |s| Response::Position(position(&[id(s), base(s)[0]])))),
    );
    add("told Prepared", respond(Box::new(|_| Response::Prepared)));
    add("told Applied", respond(Box::new(|_| Response::Applied)));
    add("told Kept", respond(Box::new(|_| Response::Kept)));
    add("told Aborted", respond(Box::new(|_| Response::Aborted)));
    add("told Accepted", respond(Box::new(|_| Response::Accepted)));
    add(
        "told Bundle, theirs",
        respond(Box::new(move |s| Response::Bundle(bundle(&base(s), 2, "bob", "theirs")))),
    );
    add("told Bundle, chosen", respond(Box::new(|_| Response::Bundle(bundle(&[], 1, "eve", "elsewhere")))));
    add("told Refused Busy", respond(Box::new(|_| Response::Refused(Refusal::Busy))));
    add(
        "told Refused Elsewhere, behind",
        respond(Box::new(|_| Response::Refused(Refusal::Elsewhere(Position::default())))),
    );
    add(
        "told Refused Elsewhere, ahead",
        respond(Box::new(move |s| Response::Refused(Refusal::Elsewhere(position(&[id(s), base(s)[0]]))))),
    );
    add("told Refused Unknown", respond(Box::new(|_| Response::Refused(Refusal::Unknown))));
    add("told Refused Invalid", respond(Box::new(|_| Response::Refused(Refusal::Invalid("no".into())))));
    add(
        "told what was not asked",
        Box::new(|s| s.machine.handle_answer(s.now, Token(u64::MAX), Response::Kept)),
    );
    add("lost", Box::new(|s| s.machine.handle_lost(s.now, s.asked)));
    add("link down", Box::new(|s| s.machine.handle_link(s.now, true, false)));
    add("unpaired", Box::new(|s| s.machine.handle_link(s.now, false, false)));
    add("time, a second", Box::new(|s| s.machine.handle_timeout(s.now + Duration::from_secs(1))));
    add("time, an hour", Box::new(|s| s.machine.handle_timeout(s.now + Duration::from_secs(3600))));

    add(
        "wish Commit",
        wish(Box::new(move |s| Wish::Commit {
            bundle: bundle(&base(s), 2, "eve", "another"),
            confirm_s: None,
        })),
    );
    add("wish Confirm", wish(Box::new(|_| Wish::Confirm)));
    add("wish Revert", wish(Box::new(|_| Wish::Revert)));
    add("wish Resolve", wish(Box::new(|_| Wish::Resolve { ours: false })));

    add("done Checked", done(Box::new(|_| Done::Checked(Ok(())))));
    add("done Checked, no", done(Box::new(|_| Done::Checked(Err(Refusal::Invalid("no".into()))))));
    add("done Applied", done(Box::new(|_| Done::Applied(Ok(())))));
    add("done Applied, no", done(Box::new(|_| Done::Applied(Err("no".into())))));
    add("done Kept", done(Box::new(move |s| Done::Kept(Ok(position(&[id(s), base(s)[0]]))))));
    add("done Kept, no", done(Box::new(|_| Done::Kept(Err("no".into())))));
    add("done Back", done(Box::new(|_| Done::Back)));
    add("done Adopted", done(Box::new(move |s| Done::Adopted(Ok(position(&[id(s), base(s)[0]]))))));
    add("done Adopted, no", done(Box::new(|_| Done::Adopted(Err(Refusal::Grammar(1))))));
    all
}

fn short(output: &Output) -> String {
    let response = |r: &Response| match r {
        Response::Position(_) => "Position".to_owned(),
        Response::Bundle(_) => "Bundle".into(),
        Response::Refused(Refusal::Elsewhere(_)) => "Refused(Elsewhere)".into(),
        other => format!("{other:?}"),
    };
    let request = |r: &Request| match r {
        Request::Position(_) => "Position",
        Request::Prepare { .. } => "Prepare",
        Request::Apply(_) => "Apply",
        Request::Keep(_) => "Keep",
        Request::Abort(_) => "Abort",
        Request::Fetch(_) => "Fetch",
        Request::Confirm(_) => "Confirm",
        Request::Revert(_) => "Revert",
        Request::Overwrite { .. } => "Overwrite",
    };
    match output {
        Output::Ask(_, r) => format!("ask {}", request(r)),
        Output::Answer(_, r) => format!("answer {}", response(r)),
        Output::Act(Action::Check(_)) => "check".into(),
        Output::Act(Action::Apply { .. }) => "apply".into(),
        Output::Act(Action::Keep(_)) => "keep".into(),
        Output::Act(Action::Back) => "back".into(),
        Output::Act(Action::Adopt { over, .. }) => if *over { "adopt over" } else { "adopt" }.into(),
        Output::Act(Action::Give(..)) => "give".into(),
        Output::Act(Action::Forget) => "forget".into(),
        Output::Finish(outcome) => format!("finish {outcome:?}"),
    }
}

fn table() -> String {
    let mut table = String::new();
    for task in TASKS {
        for (name, event) in events() {
            let mut stage = Stage::at(task);
            event(&mut stage);
            let said: Vec<_> = stage.drain().iter().map(short).collect();
            let after = stage.machine.task_name();
            let line = format!("{task} + {name} = {after}: {}", said.join(", "));
            table.push_str(line.trim_end_matches([':', ' ']));
            table.push('\n');
        }
    }
    table
}

/// In: each of the tasks and each of the events. Out: what the table says, no more and no less.
#[test]
fn every_task_meets_every_event() {
    let path = format!("{}/src/agreement/tests/machine.table", env!("CARGO_MANIFEST_DIR"));
    let table = table();
    if std::env::var_os("REMPART_BLESS").is_some() {
        std::fs::write(&path, &table).expect("writes");
    }
    let expected = std::fs::read_to_string(&path).expect("the table is there");
    for (number, (is, should)) in table.lines().zip(expected.lines()).enumerate() {
        assert_eq!(is, should, "machine.table, line {}", number + 1);
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}

/// Each task of the table is really the one that its name says.
#[test]
fn the_stages_are_what_they_are_called() {
    for task in TASKS {
        let expected = match task {
            "Choosing" => "Fetching",
            "Holding" => "Prepared",
            "Watching" => "PeerTrial",
            other => other,
        };
        assert_eq!(Stage::at(task).machine.task_name(), expected);
    }
}
