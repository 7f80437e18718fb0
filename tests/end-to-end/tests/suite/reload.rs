//! A change of policy under load: nothing that stays allowed loses a packet, nothing that is denied gets one through.

use std::thread;
use std::time::Duration;

use jiff::Zoned;
use rempart_end_to_end::{Document, SOON, Stage, is_full, small};
use rempart_lab::traffic::{Flood, FloodReport};
use rempart_lab::{Transport, skip_unless_root, wait_until};

const SERVER: &str = "192.168.20.11";
/// Packets a second of each flood: on two cores with debug programs the sender still keeps up.
const RATE: u32 = 2_000;

/// UDP to 9000 is always allowed, to 9100 never; `n` changes the rest of the policy.
fn variant(n: u32) -> Document {
    let other = format!("allow = [\"tcp/{}\"]", 10_000 + n);
    let document = small().flow("always", "lan", "dmz:server", "allow = [\"udp/9000\", \"tcp/7000\"]");
    let document = match n % 3 {
        0 => document.flow("first", "lan", "dmz:server", &other),
        1 => document.flow("first", "lan", "dmz:192.168.20.0/24", &other).flow(
            "second",
            "dmz",
            "lan",
            "allow = [\"dns\"]",
        ),
        _ => document.flow("log", "lan:desk", "dmz:server", "reject = [\"tcp/1-1023\"]\nlog = true"),
    };
    if n.is_multiple_of(2) {
        document
    } else {
        document.replace("[host]", "[policy]\nnoise = [\"ssdp\"]\n\n[host]\nmore = \"10.0.0.0/8\"")
    }
}

fn flood(stage: &Stage, from: &str, port: u16) -> Flood {
    let to = format!("{SERVER}:{port}").parse().unwrap();
    stage.host(from).flood(stage.host("srv-ebrigade"), to, RATE).start().expect("a flood")
}

fn assert_whole(report: &FloodReport) {
    assert!(report.sent > 0 && report.overrun == 0, "{report:?}");
    assert_eq!((report.lost, report.duplicates), (0, 0), "{report:?}");
}

/// In: an allowed and a denied sender, a held connection, and twenty commits. Out: no packet lost, none leaked, the connection unharmed.
#[test]
fn reload_under_load_loses_and_leaks_nothing() {
    skip_unless_root!();
    let stage = Stage::up(&variant(0));
    let _echo =
        stage.host("srv-ebrigade").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    let held =
        stage.host("cli-lan").hold(format!("{SERVER}:7000").parse().unwrap(), Duration::from_millis(10));
    let mut held = held.expect("a connection");
    let allowed = flood(&stage, "cli-lan", 9000);
    let denied = flood(&stage, "srv-voip", 9100);
    thread::sleep(Duration::from_millis(300));
    let commits = if is_full() { 200 } else { 20 };
    for n in 1..=commits {
        let report = stage.commit(&variant(n));
        assert_eq!(report.connections_cut, 0, "commit {n}");
    }
    assert!(held.is_up());
    assert_whole(&allowed.stop().expect("a report"));
    let denied = denied.stop().expect("a report");
    assert!(denied.sent > 0);
    assert_eq!(denied.received, 0, "{denied:?}");
    let held = held.stop().expect("a report");
    assert!(held.broken.is_none() && held.sent == held.echoed, "{held:?}");
    assert_eq!(stage.revision(), commits + 1);
}

/// In: connections of two flows, and a commit that takes one of the flows away. Out: its connections end, in both directions; the
/// others keep their ids and lose nothing.
#[test]
fn a_change_cuts_exactly_what_it_forbids() {
    skip_unless_root!();
    let kept = small().flow("kept", "lan", "dmz:server", "allow = [\"udp/9000\", \"tcp/7000\"]");
    let stage = Stage::up(&kept.flow("going", "lan", "dmz:server", "allow = [\"udp/9001\", \"tcp/7001\"]"));
    let server = stage.host("srv-ebrigade");
    let _echoes = [7000, 7001]
        .map(|p| server.echo(Transport::Tcp, format!("[::]:{p}").parse().unwrap()).expect("an echo"));
    let hold = |port: u16| {
        let to = format!("{SERVER}:{port}").parse().unwrap();
        stage.host("cli-lan").hold(to, Duration::from_millis(10)).expect("a connection")
    };
    let (mut staying, going) = (hold(7000), hold(7001));
    let (steady, cut) = (flood(&stage, "cli-lan", 9000), flood(&stage, "cli-lan", 9001));
    thread::sleep(Duration::from_millis(500));
    let ids = |port: u16| stage.connections_to(port).iter().map(|c| c.id).collect::<Vec<_>>();
    let before = (ids(9000), ids(7000));
    assert_eq!((before.0.len(), before.1.len(), ids(9001).len(), ids(7001).len()), (1, 1, 1, 1));

    let report = stage.commit(&kept);
    assert_eq!(report.connections_cut, 2, "{report:?}");
    assert_eq!((ids(9000), ids(7000)), before);
    assert!(ids(9001).is_empty() && ids(7001).is_empty());
    // After the commit has returned, nothing of the forbidden flow arrives: the rest of the flood is lost to its last packet.
    thread::sleep(Duration::from_millis(500));
    let cut = cut.stop().expect("a report");
    let tail = cut.gaps.last().expect("a gap");
    assert_eq!((cut.gaps.len(), tail.first + tail.length), (1, cut.sent), "{cut:?}");
    assert!(tail.length > u64::from(RATE) / 3, "{cut:?}");
    // Nor does an answer come back: the connection hangs, or is reset.
    let going = going.stop().expect("a report");
    assert!(going.echoed < going.sent || going.broken.is_some(), "{going:?}");
    assert!(staying.is_up());
    let staying = staying.stop().expect("a report");
    assert!(staying.broken.is_none() && staying.sent == staying.echoed, "{staying:?}");
    assert_whole(&steady.stop().expect("a report"));
}

/// In: a session under a schedule that ends within the next minute or so. Out: it works until then, is cut at its end, and the flow is shown as off.
#[test]
fn a_session_ends_with_its_schedule() {
    skip_unless_root!();
    // The boundary is a full minute at least ten seconds away.
    let now = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
    let end = now.saturating_add(jiff::Span::new().seconds(70));
    let (begin, end) = (now.saturating_add(jiff::Span::new().minutes(-5)), end.strftime("%H:%M").to_string());
    let hours = format!("{}-{end}", begin.strftime("%H:%M"));
    let schedule = format!(
        "[schedule.soon]\ndays = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]\nhours = [\"{hours}\"]"
    );
    let document = small()
        .and(&schedule)
        .flow("timed", "lan", "dmz:server", "allow = [\"tcp/7000\", \"udp/9000\"]\nschedule = \"soon\"")
        .flow("always", "lan", "dmz:server", "allow = [\"tcp/7001\"]");
    let stage = Stage::up(&document);
    let server = stage.host("srv-ebrigade");
    let _echoes = [7000, 7001]
        .map(|p| server.echo(Transport::Tcp, format!("[::]:{p}").parse().unwrap()).expect("an echo"));
    let hold = |port: u16| {
        let to = format!("{SERVER}:{port}").parse().unwrap();
        stage.host("cli-lan").hold(to, Duration::from_millis(50)).expect("a connection")
    };
    let (timed, mut always) = (hold(7000), hold(7001));
    assert!(stage.flow("timed").active, "{hours}");
    assert_eq!(stage.connections_to(7000).len(), 1);
    let over = || !stage.flow("timed").active && stage.connections_to(7000).is_empty();
    assert!(wait_until(Duration::from_secs(75), over), "{hours}: {:?}", stage.flow("timed"));
    // To the second: the window's end is a full minute.
    assert!(Zoned::now().second() < 10, "{}", Zoned::now());
    assert!(!stage.tcp("cli-lan", &format!("{SERVER}:7000")).passes());
    let timed = timed.stop().expect("a report");
    assert!(timed.echoed < timed.sent || timed.broken.is_some(), "{timed:?}");
    assert!(always.is_up() && wait_until(SOON, || stage.connections_to(7001).len() == 1));
    assert_eq!(stage.status().flows_inactive, 1);
}
