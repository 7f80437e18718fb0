//! A box that has just been unpacked: its set-up on a real terminal, and what stands there afterwards.

use rempart_end_to_end::{Console, SOON, Stage, small};
use rempart_lab::{Transport, skip_unless_root, wait_until};

const PASSWORD: &str = "correct horse battery";

/// In: a box without a document; somebody answers the questions of its console, wrongly at first. Out: the lamps show the cables,
/// what is wrong is said, and what is committed lets the LAN out, and nothing in.
#[test]
fn an_empty_box_is_set_up_on_its_console() {
    skip_unless_root!();
    let stage = Stage::bare(&small());
    stage.lab.unplug("fw", "enp3s0").expect("no cable");
    let mut console = Console::open(&stage.node);
    console.sees("THIS BOX HAS NO DOCUMENT YET");
    console.keys("n");
    console.sees("PASSWORD (1 of 5)");
    console.keys("short\rshort\r");
    console.sees("fewer than 12");
    console.keys(&format!("{PASSWORD}\r{PASSWORD}\r"));

    // It is called fw already: the lab has named it.
    console.sees("NAMES (1 of 4)");
    console.keys("\r\r\r");
    let ports = console.sees("WHICH PORT IS WHICH");
    assert!(!ports.contains("correct horse"), "{ports}");
    let lamp = |text: &str, device: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(device));
        line.map(|line| (line.contains("lit"), line.contains("now")))
    };
    assert!(wait_until(SOON, || {
        let text = console.text();
        lamp(&text, "enp1s0") == Some((true, false)) && lamp(&text, "enp3s0").is_some_and(|l| !l.0)
    }));
    stage.lab.plug("fw", "enp3s0").expect("a cable");
    assert!(wait_until(SOON, || lamp(&console.text(), "enp3s0") == Some((true, true))), "{}", console.text());
    console.keys("\r");
    console.sees("No port is for the WAN yet");
    console.keys("w");
    console.keys("\x1b[Bl\r");

    console.sees("ADDRESSES (3 of 4)");
    console.keys("\r\x15192.168.10.254\r");
    console.sees("An address with its prefix length");
    console.keys("/24\r");
    let review = console.sees("valid: y puts it into force");
    assert!(review.contains("node = \"fw\"") && review.contains("enp2s0"), "{review}");
    assert!(stage.status().revision.is_none());
    console.keys("y");
    console.sees("COMMITTED");
    console.keys("\r");
    console.sees("1 Dashboard");

    let inet = stage.host("inet").echo(Transport::Tcp, "[::]:7001".parse().unwrap()).expect("an echo");
    stage.wan();
    assert!(wait_until(SOON, || stage.tcp("cli-lan", "198.51.100.1:7001").passes()), "{:?}", stage.faults());
    let _lan = stage.host("cli-lan").echo(Transport::Tcp, "[::]:7000".parse().unwrap()).expect("an echo");
    assert!(!stage.tcp("inet", "192.168.10.21:7000").passes());
    drop(inet);
    assert_eq!(stage.revision(), 1);
    let late = stage.node.verb(&["ports"]).expect("a verb");
    assert!(String::from_utf8_lossy(&late.stdout).contains("enp3s0"), "{late:?}");
}

/// In: a box with a document and a password; a wrong password, the right one, verbs at the prompt, Ctrl-C. Out: nothing before the
/// right one; a pane for what asks nothing, the terminal for what asks; the console outlives each verb.
#[test]
fn the_console_asks_for_the_password_and_runs_any_verb() {
    skip_unless_root!();
    let stage = Stage::up(&small());
    let mut open = Console::open(&stage.node);
    open.sees("The screens have no password");
    open.keys(":password\r");
    open.sees("The new password");
    assert!(open.is_cooked());
    open.keys(&format!("{PASSWORD}\n{PASSWORD}\n"));
    open.sees("has a new password");
    open.keys("\n");
    open.sees("1 Dashboard");
    assert!(!open.is_cooked() && !open.text().contains("horse"));
    drop(open);

    let mut console = Console::open(&stage.node);
    let shut = console.sees("LOCKED");
    assert!(!shut.contains("1 Dashboard"), "{shut}");
    console.keys("2:status\r");
    console.sees("not the administrator");
    console.keys(&format!("{PASSWORD}\r"));
    console.sees("1 Dashboard");

    console.keys(":hist\t\r");
    let history = console.sees("● done");
    assert!(
        history.contains("history")
            && history.lines().any(|line| line.contains("CHANGE") || line.contains('1'))
    );
    console.keys("\x1b");
    console.loses("● done");
    // Until Ctrl-C; the console stays.
    console.keys(":log --follow\r");
    console.sees("● runs");
    console.keys("\x03");
    console.sees("! ended before it was done");
    console.keys("\x1b");
    console.loses("! ended");
    console.keys(":!sh\r");
    console.sees("! not run");
    console.keys("\x1b");
    // On the terminal, and ended there while nothing that is typed is shown.
    console.keys(":password\r");
    console.sees("The password of now");
    console.keys("\x03");
    console.sees("Enter: back to the screens");
    console.keys("\n");
    console.sees("1 Dashboard");
    assert!(console.is_running() && !console.is_cooked());
    console.keys("q");
    assert!(wait_until(SOON, || !console.is_running()));
    assert!(console.is_cooked());
}
