//! Every (state, event) pair, then the arms that depend on more than the pair.

use super::*;
use crate::types::{Addresses, Centiseconds};
use crate::wire::ChecksumForm;

const CS: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

fn config(priority: u8) -> Config {
    Config {
        vrid: Vrid::new(7).unwrap(),
        protocol: Protocol::Vrrp(Vrrp {
            version: Version::V3 {
                interval: Centiseconds::DEFAULT,
                checksum: ChecksumPolicy::Always(ChecksumForm::MessageOnly),
            },
            priority: Priority::new(priority).unwrap(),
            source: "192.0.2.2".parse().unwrap(),
            addresses: Addresses::new(&["192.0.2.1".parse().unwrap()]).unwrap(),
        }),
        preempt: Preempt::Always,
        accept: true,
        reach: Reach::Multicast,
        announce: Announcing::usual(Family::V4),
    }
}

/// An elector in `state` at `now`, its outputs fetched.
fn in_state(config: Config, state: State, now: Instant) -> Elector {
    let mut elector = Elector::new(config).unwrap();
    match state {
        State::Initialize => {}
        State::Backup => elector.startup(now),
        State::Active => {
            elector.startup(now);
            elector.claim(now);
        }
    }
    assert_eq!(elector.state(), state);
    outputs(&mut elector);
    elector
}

/// The outputs in short; a regular packet is `advert`, priority 0 is `farewell`.
fn outputs(elector: &mut Elector) -> String {
    let short = |output: Output| match output {
        Output::Transmit(packet) if packet.payload[2] == 0 => "farewell".to_owned(),
        Output::Transmit(_) => "advert".to_owned(),
        Output::Role(change) => format!("{:?}({:?})", change.to, change.cause),
        Output::Announce(which) => format!("announce({which:?})"),
        Output::Drain => "drain".to_owned(),
        Output::Overdue => "overdue".to_owned(),
    };
    std::iter::from_fn(|| elector.poll_output()).map(short).collect::<Vec<_>>().join(" ")
}

/// Running timers in whole centiseconds from `now`.
fn timers(elector: &Elector, now: Instant) -> String {
    let name = |timer: Timer| match timer {
        Timer::ActiveDown => "down",
        Timer::Adver => "adver",
        Timer::Announce => "announce",
        Timer::PreemptDelay => "delay",
    };
    [Timer::ActiveDown, Timer::Adver, Timer::Announce, Timer::PreemptDelay]
        .into_iter()
        .filter_map(|timer| Some((timer, elector.deadline(timer)?)))
        .map(|(timer, at)| format!("{}={}", name(timer), at.duration_since(now).as_millis() / 10))
        .collect::<Vec<_>>()
        .join(" ")
}

fn heard(verdict: Verdict) -> Event {
    let interval = Some(Centiseconds::new(50).unwrap());
    Event::Heard(Heard { verdict, source: "192.0.2.3".parse().unwrap(), interval })
}

fn expired(timer: Timer) -> Event {
    Event::Expired { timer, late: Duration::ZERO }
}

type Named = (&'static str, fn() -> Event);

const EVENTS: [Named; 14] = [
    ("startup", || Event::Startup),
    ("shutdown", || Event::Shutdown),
    ("claim", || Event::Claim),
    ("resign", || Event::Resign),
    ("released", || Event::Released),
    ("drained", || Event::Drained),
    ("hears resigned", || heard(Verdict::Resigned)),
    ("hears superior", || heard(Verdict::Superior)),
    ("hears inferior", || heard(Verdict::Inferior)),
    ("hears unwell", || heard(Verdict::Unwell)),
    ("active-down expires", || expired(Timer::ActiveDown)),
    ("adver expires", || expired(Timer::Adver)),
    ("announce expires", || expired(Timer::Announce)),
    ("delay expires", || expired(Timer::PreemptDelay)),
];

/// State, event; then state, outputs, timers. Priority 100, interval 1 s, the peer's 0.5 s, one second after entering.
///
/// 100 means Skew_Time = 156/256 s = 60.9 cs and Active_Down_Interval = 360.9 cs, of which 260.9 are left; with the
/// peer's interval 30.4 and 180.4.
type Row = (State, &'static str, State, &'static str, &'static str);

#[rustfmt::skip]
const TABLE: [Row; 42] = {
    use State::{Active, Backup, Initialize};
    [
        (Initialize, "startup",             Backup,     "Backup(Startup)", "down=360"),
        (Initialize, "shutdown",            Initialize, "", ""),
        (Initialize, "claim",               Initialize, "", ""),
        (Initialize, "resign",              Initialize, "", ""),
        (Initialize, "released",            Initialize, "", ""),
        (Initialize, "drained",             Initialize, "", ""),
        (Initialize, "hears resigned",      Initialize, "", ""),
        (Initialize, "hears superior",      Initialize, "", ""),
        (Initialize, "hears inferior",      Initialize, "", ""),
        (Initialize, "hears unwell",        Initialize, "", ""),
        (Initialize, "active-down expires", Initialize, "", ""),
        (Initialize, "adver expires",       Initialize, "", ""),
        (Initialize, "announce expires",    Initialize, "", ""),
        (Initialize, "delay expires",       Initialize, "", ""),

        (Backup,     "startup",             Backup,     "", "down=260"),
        (Backup,     "shutdown",            Initialize, "Initialize(Shutdown)", ""),
        (Backup,     "claim",               Active,     "advert Active(Commanded) announce(First)", "adver=100 announce=10"),
        (Backup,     "resign",              Backup,     "", "down=260"),
        (Backup,     "released",            Backup,     "", "down=260"),
        (Backup,     "drained",             Backup,     "", "down=260"),
        (Backup,     "hears resigned",      Backup,     "", "down=60"),
        (Backup,     "hears superior",      Backup,     "", "down=180"),
        (Backup,     "hears inferior",      Backup,     "", "down=260"),
        (Backup,     "hears unwell",        Backup,     "", "down=0"),
        (Backup,     "active-down expires", Backup,     "drain", "down=260"),
        (Backup,     "adver expires",       Backup,     "", "down=260"),
        (Backup,     "announce expires",    Backup,     "", "down=260"),
        (Backup,     "delay expires",       Backup,     "", "down=260"),

        (Active,     "startup",             Active,     "", "adver=0 announce=0"),
        (Active,     "shutdown",            Initialize, "farewell Initialize(Shutdown)", ""),
        (Active,     "claim",               Active,     "", "adver=0 announce=0"),
        (Active,     "resign",              Backup,     "farewell Backup(Commanded)", "down=360"),
        (Active,     "released",            Active,     "", "adver=0 announce=0"),
        (Active,     "drained",             Active,     "", "adver=0 announce=0"),
        (Active,     "hears resigned",      Active,     "advert", "adver=100 announce=0"),
        (Active,     "hears superior",      Backup,     "Backup(Outranked)", "down=180"),
        (Active,     "hears inferior",      Active,     "advert", "adver=0 announce=0"),
        (Active,     "hears unwell",        Active,     "advert", "adver=0 announce=0"),
        (Active,     "active-down expires", Active,     "", "adver=0 announce=0"),
        (Active,     "adver expires",       Active,     "advert", "adver=100 announce=0"),
        (Active,     "announce expires",    Active,     "announce(Repeat)", "adver=0 announce=400"),
        (Active,     "delay expires",       Active,     "", "adver=0 announce=0"),
    ]
};

/// In: each event in each state. Out: the state, the outputs and the timers that the RFC (or CARP) wants.
#[test]
fn every_state_and_event() {
    let start = Instant::now();
    let mut row = TABLE.iter();
    for state in [State::Initialize, State::Backup, State::Active] {
        for (name, event) in EVENTS {
            let &(from, expected_event, to, sent, running) = row.next().unwrap();
            assert_eq!((state, name), (from, expected_event), "the table misses a pair");
            let mut elector = in_state(config(100), state, start);
            let now = start + SECOND;
            elector.step(now, event());
            let found = (elector.state(), outputs(&mut elector), timers(&elector, now));
            assert_eq!(found, (to, sent.to_owned(), running.to_owned()), "{state:?} {name}");
        }
    }
    assert!(row.next().is_none());
}

/// In: startup of the owner (RFC 9568 §6.4.1). Out: active without waiting, accepting whatever Accept_Mode says.
#[test]
fn the_owner_starts_active() {
    let now = Instant::now();
    let mut elector = Elector::new(Config { accept: false, ..config(255) }).unwrap();
    elector.startup(now);
    assert_eq!(outputs(&mut elector), "advert Active(Owner) announce(First)");
    assert!(elector.accepts());
    assert_eq!(elector.statistics().new_master_reason, crate::NewMasterReason::Priority);
}

/// In: Accept_Mode False. Out: the role change says so.
#[test]
fn accept_mode_is_reported() {
    for accept in [false, true] {
        let elector = in_state(Config { accept, ..config(100) }, State::Active, Instant::now());
        assert_eq!(elector.accepts(), accept);
    }
}

/// In: silence. Out: first the queue is read, then the role is taken.
#[test]
fn silence_is_believed_after_the_queue_is_empty() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    let now = elector.poll_timeout().unwrap();
    elector.handle_timeout(now);
    assert_eq!(outputs(&mut elector), "drain");
    elector.handle_drained(now);
    assert_eq!(outputs(&mut elector), "advert Active(PeerSilent) announce(First)");
    assert_eq!(elector.statistics().new_master_reason, crate::NewMasterReason::MasterNoResponse);
}

/// In: the timer expires, and an advertisement was waiting in the queue. Out: still backup.
#[test]
fn an_unread_advertisement_saves_the_active_router() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    let now = elector.poll_timeout().unwrap();
    elector.handle_timeout(now);
    elector.step(now, heard(Verdict::Superior));
    elector.handle_drained(now);
    assert_eq!(outputs(&mut elector), "drain");
    assert_eq!(elector.state(), State::Backup);
    assert_eq!(timers(&elector, now), "down=180");
}

/// In: our own loop comes late by more than an interval, again and again. Out: the peer gets three more chances, not four.
#[test]
fn a_stall_of_ours_is_excused_three_times() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    for grace in 1..=u64::from(MAX_GRACES) {
        let now = elector.poll_timeout().unwrap() + SECOND + CS;
        elector.handle_timeout(now);
        elector.handle_drained(now);
        assert_eq!(elector.state(), State::Backup);
        assert_eq!(elector.statistics().own_stalls, grace);
        // One interval and the skew.
        assert_eq!(timers(&elector, now), "down=160");
    }
    let now = elector.poll_timeout().unwrap() + SECOND + CS;
    elector.handle_timeout(now);
    elector.handle_drained(now);
    assert_eq!(elector.state(), State::Active);
}

/// In: a stall before the timer and none after the grace. Out: taken over after one grace.
#[test]
fn after_one_stall_silence_counts_again() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    for late in [2 * SECOND, Duration::ZERO] {
        let now = elector.poll_timeout().unwrap() + late;
        elector.handle_timeout(now);
        elector.handle_drained(now);
    }
    assert_eq!(elector.state(), State::Active);
}

/// In: an active router wakes long after its advertisement was due. Out: it listens first; silent, it goes on; outranked, it
/// says nothing more.
#[test]
fn a_late_active_router_listens_first() {
    let start = Instant::now();
    for outranked in [false, true] {
        let mut elector = in_state(Config { announce: quiet(), ..config(100) }, State::Active, start);
        let now = start + 3 * SECOND;
        elector.handle_timeout(now);
        assert_eq!(outputs(&mut elector), "drain");
        if outranked {
            elector.step(now, heard(Verdict::Superior));
        }
        elector.handle_drained(now);
        assert_eq!(outputs(&mut elector), if outranked { "Backup(Outranked)" } else { "advert" });
    }
}

/// In: a resignation. Out: Skew_Time later active, because of it.
#[test]
fn a_resignation_is_followed_after_the_skew() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    elector.step(start, heard(Verdict::Resigned));
    let now = elector.poll_timeout().unwrap();
    assert_eq!(now - start, SECOND * 156 / 256);
    elector.handle_timeout(now);
    elector.handle_drained(now);
    assert_eq!(outputs(&mut elector), "drain advert Active(PeerResigned) announce(First)");
}

/// In: priority 0 repeated without end, also between expiry and drain. Out: the take-over is not put off.
#[test]
fn repeated_resignations_do_not_postpone() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    let mut now = start;
    while elector.state() == State::Backup {
        now += 10 * CS;
        assert!(now - start < SECOND, "still waiting");
        elector.step(now, heard(Verdict::Resigned));
        elector.handle_timeout(now);
        elector.step(now, heard(Verdict::Resigned));
        elector.handle_drained(now);
    }
}

/// In: a lower-ranked active router, preempt after 10 s. Out: obeyed until then, then its own timer is left to run.
#[test]
fn preemption_waits_for_its_delay() {
    let start = Instant::now();
    let preempt = Preempt::After(10 * SECOND);
    let mut elector = in_state(Config { preempt, ..config(100) }, State::Backup, start);
    let mut now = start;
    while elector.state() == State::Backup {
        now += 50 * CS;
        elector.step(now, heard(Verdict::Inferior));
        elector.handle_timeout(now);
        elector.handle_drained(now);
    }
    // Ready at 0.5 + 10 s; the last one obeyed was then or before, and 1.8 s after it the timer runs out.
    let taken = now - start;
    assert!(taken > 11 * SECOND && taken <= Duration::from_millis(12_500), "{taken:?}");
    assert_eq!(elector.statistics().new_master_reason, crate::NewMasterReason::Preempted);
}

/// In: a better router appears before the delay is over. Out: the delay starts anew with the next worse one.
#[test]
fn a_better_router_resets_the_preempt_delay() {
    let start = Instant::now();
    let preempt = Preempt::After(10 * SECOND);
    let mut elector = in_state(Config { preempt, ..config(100) }, State::Backup, start);
    elector.step(start, heard(Verdict::Inferior));
    assert!(elector.deadline(Timer::PreemptDelay).is_some());
    elector.step(start, heard(Verdict::Superior));
    assert!(elector.deadline(Timer::PreemptDelay).is_none());
}

/// In: preemption off, or claims restricted to it. Out: a worse active router is obeyed, its interval adopted.
#[test]
fn without_preemption_a_worse_router_is_obeyed() {
    let start = Instant::now();
    for (preempt, claims) in [(Preempt::Never, Claims::Free), (Preempt::Always, Claims::NoPreempt)] {
        let mut elector = in_state(Config { preempt, ..config(100) }, State::Backup, start);
        elector.set_claims(start, claims);
        elector.step(start + SECOND, heard(Verdict::Inferior));
        assert_eq!(timers(&elector, start + SECOND), "down=180");
    }
}

/// In: silence while claims are held, then freed. Out: said once, taken when freed; or not, if somebody spoke meanwhile.
#[test]
fn a_held_claim_waits() {
    let start = Instant::now();
    for spoken in [false, true] {
        let mut elector = in_state(config(100), State::Backup, start);
        elector.set_claims(start, Claims::Held);
        let now = elector.poll_timeout().unwrap();
        elector.handle_timeout(now);
        elector.handle_drained(now);
        assert_eq!(outputs(&mut elector), "drain overdue");
        assert_eq!(elector.poll_timeout(), None);
        if spoken {
            elector.step(now, heard(Verdict::Superior));
        }
        elector.set_claims(now, Claims::Free);
        elector.handle_drained(now);
        let expected = if spoken { "" } else { "drain advert Active(PeerSilent) announce(First)" };
        assert_eq!(outputs(&mut elector), expected);
    }
}

/// In: the permission to preempt is withdrawn while the timer runs. Out: back to watching.
#[test]
fn withdrawn_preemption_is_not_carried_out() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    elector.step(start, heard(Verdict::Inferior));
    elector.set_claims(start, Claims::NoPreempt);
    let now = elector.poll_timeout().unwrap();
    elector.handle_timeout(now);
    elector.handle_drained(now);
    assert_eq!(elector.state(), State::Backup);
    assert_eq!(timers(&elector, now), "down=360");
}

/// In: many lower-ranked advertisements at once. Out: one answer, the rest withheld.
#[test]
fn answers_do_not_storm() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Active, start);
    let now = start + 50 * CS;
    for _ in 0..100 {
        elector.step(now, heard(Verdict::Inferior));
        elector.step(now, heard(Verdict::Resigned));
    }
    assert_eq!(outputs(&mut elector), "advert");
    assert_eq!(elector.statistics().answers_withheld, 199);
}

/// In: ten minutes as active. Out: announcements at 0, 0.1, 1, 5, 65, … s.
#[test]
fn announcements_keep_their_times() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    elector.claim(start);
    let mut at = Vec::new();
    let mut now = start;
    while now - start < 130 * SECOND {
        for output in std::iter::from_fn(|| elector.poll_output()) {
            if let Output::Announce(which) = output {
                at.push(((now - start).as_millis(), which));
            }
        }
        now = elector.poll_timeout().unwrap();
        elector.handle_timeout(now);
    }
    use Announcement::{First, Refresh, Repeat};
    assert_eq!(
        at,
        [(0, First), (100, Repeat), (1000, Repeat), (5000, Repeat), (65_000, Refresh), (125_000, Refresh)]
    );
}

/// In: a rival is heard a minute after take-over. Out: the series starts again, once.
#[test]
fn a_rival_makes_us_announce_again() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Active, start);
    let now = start + 30 * SECOND;
    elector.step(now, heard(Verdict::Inferior));
    elector.step(now, heard(Verdict::Inferior));
    assert_eq!(outputs(&mut elector), "advert announce(First)");
}

/// In: a driver that fetches nothing. Out: a bounded queue that keeps the role changes.
#[test]
fn unfetched_outputs_are_bounded() {
    let start = Instant::now();
    let mut elector = in_state(config(100), State::Backup, start);
    for _ in 0..MAX_OUTPUTS {
        elector.claim(start);
        elector.resign(start);
    }
    assert_eq!(elector.outputs.len(), MAX_OUTPUTS);
    assert!(elector.statistics().outputs_dropped > 0);
    let last = elector.outputs.iter().rev().find(|output| matches!(output, Output::Role(_)));
    assert!(matches!(last, Some(Output::Role(RoleChange { to: State::Backup, .. }))));
}

/// In: a change of priority. Out: an active router tells it at once; the timer starts anew.
#[test]
fn a_new_priority_is_told() {
    let start = Instant::now();
    let mut elector = in_state(Config { announce: quiet(), ..config(100) }, State::Active, start);
    elector.set_priority(start + 50 * CS, Priority::new(1).unwrap());
    let Some(Output::Transmit(packet)) = elector.poll_output() else { panic!("nothing told") };
    assert_eq!(packet.payload[2], 1);
    assert_eq!(timers(&elector, start + 50 * CS), "adver=100");
}

/// In: an advertisement served 0.3 s late. Out: the next one 0.7 s later, so that lateness does not add up.
#[test]
fn the_advertisement_clock_does_not_drift() {
    let start = Instant::now();
    let mut elector = in_state(Config { announce: quiet(), ..config(100) }, State::Active, start);
    elector.handle_timeout(start + 130 * CS);
    assert_eq!(outputs(&mut elector), "advert");
    assert_eq!(timers(&elector, start + 130 * CS), "adver=70");
}

fn quiet() -> Announcing {
    Announcing { repeats: Vec::new(), refresh: None }
}
