//! Flows with a last day.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan};
use rempart_end_to_end::{SOON, Stage, small};
use rempart_lab::{Transport, skip_unless_root, wait_until};

const SERVER: &str = "192.168.20.11";
/// From the making of the time zone to its midnight: the time that the stage and the session need to be there, on a busy
/// machine.
const UNTIL_MIDNIGHT: Duration = Duration::from_secs(40);

/// In: sessions of flows whose last day was yesterday, is today and is tomorrow, in a time zone where it is nearly midnight. Out: the
/// first never begins, the second is cut at midnight and not before, the third goes on, also over a restart.
#[test]
fn a_flow_ends_with_its_last_day() {
    skip_unless_root!();
    // Offsets are whole seconds.
    let midnight = Timestamp::from_second(Timestamp::now().as_second()).expect("a time") + UNTIL_MIDNIGHT;
    let offset = offset_of(midnight);
    let after = midnight.to_zoned(TimeZone::fixed(offset));
    assert_eq!(after.time(), Time::midnight(), "{offset}");
    let [yesterday, today, tomorrow] = [-2, -1, 0].map(|days| after.date() + days.days());
    let document = small()
        .and("[system]\ntimezone = \"Test\"")
        .flow("past", "lan", "dmz:server", &format!("allow = [\"tcp/7000\"]\nexpires = {yesterday}"))
        .flow("last", "lan", "dmz:server", &format!("allow = [\"tcp/7001\"]\nexpires = {today}"))
        .flow("next", "lan", "dmz:server", &format!("allow = [\"tcp/7002\"]\nexpires = {tomorrow}"));
    let mut stage = with_zone(Stage::bare(&document.replace("timezone = \"Test\"", "")), offset);
    stage.commit(&document);
    let server = stage.host("srv-ebrigade");
    let _echoes = [7000, 7001, 7002]
        .map(|p| server.echo(Transport::Tcp, format!("[::]:{p}").parse().unwrap()).expect("an echo"));
    let to = |port: u16| format!("{SERVER}:{port}");
    let hold = |port: u16| {
        stage
            .host("cli-lan")
            .hold(to(port).parse().unwrap(), Duration::from_millis(50))
            .expect("a connection")
    };
    assert!(!stage.tcp("cli-lan", &to(7000)).passes(), "its last day was yesterday");
    let (mut last, mut next) = (hold(7001), hold(7002));
    assert_eq!(["past", "last", "next"].map(|f| stage.flow(f).active), [false, true, true]);
    assert_eq!(stage.status().flows_inactive, 1);

    let left = |before: Duration| {
        (midnight - before).duration_since(Timestamp::now()).try_into().unwrap_or_default()
    };
    thread::sleep(left(Duration::from_secs(3)));
    assert!(last.is_up() && stage.flow("last").active, "the last day is part of it");
    assert!(Timestamp::now() < midnight, "the machine is too slow for this test");

    let over = || !stage.flow("last").active && stage.connections_to(7001).is_empty();
    assert!(wait_until(left(Duration::ZERO) + SOON, over), "{:?}", stage.flow("last"));
    let report = last.stop().expect("a report");
    assert!(report.echoed < report.sent || report.broken.is_some(), "{report:?}");
    assert!(!stage.tcp("cli-lan", &to(7001)).passes());
    assert!(next.is_up() && stage.tcp("cli-lan", &to(7002)).passes(), "the other one has a day left");
    assert_eq!(stage.status().flows_inactive, 2);

    stage.stop();
    stage.start();
    assert!(wait_until(SOON, || stage.status().flows_inactive == 2));
    assert!(!stage.tcp("cli-lan", &to(7001)).passes() && stage.tcp("cli-lan", &to(7002)).passes());
    assert!(next.is_up(), "a restart changes nothing");
}

/// The offset from UTC with which it is midnight at `moment`.
fn offset_of(moment: Timestamp) -> Offset {
    const DAY: i64 = 24 * 60 * 60;
    let of_day = moment.as_second().rem_euclid(DAY);
    let offset = if of_day < DAY / 2 { -of_day } else { DAY - of_day };
    Offset::from_seconds(offset as i32).expect("within half a day")
}

/// The same stage with a daemon whose database of time zones has one, `Test`, at this offset. So the clock itself need
/// not be changed, which no namespace can.
fn with_zone(stage: Stage, offset: Offset) -> Stage {
    let zones = stage.lab.run_dir().join("zoneinfo");
    fs::create_dir_all(&zones).expect("a folder");
    fs::write(zones.join("Test"), zone_file(offset)).expect("a time zone");
    let daemon = stage.file("rempartd", "");
    let real = rempart_lab::program("rempartd").expect("it is built");
    let script = format!("#!/bin/sh\nTZDIR={} exec {} \"$@\"\n", zones.display(), real.display());
    replace(&daemon, &script);
    let Stage { node, lab } = stage;
    drop(node);
    let _ = fs::remove_file(lab.host("fw").run_dir().join("bus"));
    let node = lab.start_node_with("fw", &daemon).expect("a node");
    Stage { node, lab }
}

fn replace(program: &Path, script: &str) {
    fs::write(program, script).expect("a wrapper");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it runs");
}

/// A time zone of one offset as a file (RFC 9636 §3): the header twice, the offset, an abbreviation, and the same as a
/// rule for all time to come.
fn zone_file(offset: Offset) -> Vec<u8> {
    let mut block = Vec::from(*b"TZif2");
    block.extend([0; 15]);
    // UT indicators, standard indicators, leap seconds, transitions, types, bytes of abbreviations.
    for count in [0_u32, 0, 0, 0, 1, 4] {
        block.extend(count.to_be_bytes());
    }
    block.extend(offset.seconds().to_be_bytes());
    // Not summer time; the abbreviation at 0.
    block.extend(*b"\0\0TST\0");
    // POSIX counts westwards.
    let west = -offset.seconds();
    let (sign, west) = (if west < 0 { "-" } else { "" }, west.unsigned_abs());
    let rule = format!("\nTST{sign}{}:{:02}:{:02}\n", west / 3600, west / 60 % 60, west % 60);
    [block.repeat(2), rule.into_bytes()].concat()
}
