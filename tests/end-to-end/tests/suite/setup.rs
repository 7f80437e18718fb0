//! A box that has just been unpacked: its set-up on a real terminal, and what stands there afterwards.

use std::path::Path;
use std::process::Command;

use rempart_end_to_end::{Console, PairStage, SOON, Stage, pair, small};
use rempart_lab::{Process, Transport, output_within, skip_unless_root, wait_until};

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
    open.keys(&format!("{PASSWORD}\n"));
    open.sees("Once more");
    open.keys(&format!("{PASSWORD}\n"));
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
    console.loses("! not run");
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

/// In: a node with the document of a pair, whose console shows a code, and an empty one, on whose console it is typed. Out: a pair.
#[test]
fn an_empty_box_joins_a_pair_on_its_console() {
    skip_unless_root!();
    let stage = PairStage::single(&pair());
    let mut first = Console::open(&stage.nodes[0]);
    first.sees("1 Dashboard");
    first.keys(":pair\r");
    let is_code =
        |word: &&str| word.len() == 9 && word.chars().nth(4) == Some('-') && *word == word.to_uppercase();
    let mut code = None;
    assert!(wait_until(SOON, || {
        code = first.text().split_whitespace().find(is_code).map(str::to_owned);
        code.is_some()
    }));
    let mut second = Console::open(&stage.nodes[1]);
    second.sees("THIS BOX HAS NO DOCUMENT YET");
    second.keys("j");
    second.sees("PASSWORD (1 of 5)");
    second.keys(&format!("{PASSWORD}\r{PASSWORD}\r"));
    second.sees("NAMES (1 of 4)");
    second.keys("\r");
    second.sees("THE CABLE TO THE OTHER BOX");
    second.sees("enp4s0");
    second.keys("\x1b[F");
    second.keys("s\r");
    second.sees("CODE (3 of 4)");
    second.keys("0000-0000\r");
    second.sees("✗");
    second.keys(&format!("\x15{}\r", code.expect("a code")));
    second.sees("1 Dashboard");
    second.sees("revision 1");
    first.sees("● done");
    stage.lab.wait_for_sync(&stage.nodes[0], &stage.nodes[1]).expect("a pair");
}

/// sshd with the box's own settings, where the account and the places are the lab's.
fn sshd(stage: &Stage) -> Process {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rootfs-overlay/etc/ssh/sshd_config");
    let mut text = std::fs::read_to_string(shipped).expect("the settings");
    let folder = stage.node.state_dir().with_file_name("rempart-ssh");
    let rempart = stage.node.rempart().expect("the console is built");
    let program =
        rempart.get_args().last().expect("the console in its namespace").to_string_lossy().into_owned();
    for (shipped, here) in [
        ("/var/lib/rempart-ssh/keys/%u", format!("{}/keys/admin", folder.display())),
        ("/var/lib/rempart-ssh", folder.display().to_string()),
        ("AllowGroups rempart-admin", "AllowGroups root".to_owned()),
        ("PermitRootLogin no", "PermitRootLogin prohibit-password".to_owned()),
        ("UsePAM yes", "UsePAM no".to_owned()),
        ("ForceCommand /usr/bin/rempart", format!("ForceCommand {program}")),
    ] {
        assert!(text.contains(shipped), "{shipped}");
        text = text.replace(shipped, &here);
    }
    text += &format!("PidFile none\nSetEnv DBUS_SYSTEM_BUS_ADDRESS={}\n", stage.node.bus_address());
    let config = stage.file("sshd_config", &text);
    std::fs::create_dir_all("/run/sshd").expect("where sshd hides");
    let mut command = stage.node.host().command("/usr/sbin/sshd");
    command.args(["-D", "-e", "-f"]).arg(config);
    stage.node.host().spawn("sshd", command).expect("sshd")
}

fn key(stage: &Stage, name: &str) -> String {
    let file = stage.lab.run_dir().join(name);
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&file);
    assert!(output_within(keygen, SOON).expect("a key").status.success());
    std::fs::read_to_string(file.with_extension("pub")).expect("a public key").trim().to_owned()
}

/// In: SSH switched on, one key let in and another not; a flow for one host. Out: that key from that host lands in the console, without a
/// shell; the other key, another host and a command of its own come to nothing.
#[test]
fn an_administrator_with_a_key_lands_in_the_console() {
    skip_unless_root!();
    let stage = Stage::up(&small().flow("admin", "lan:desk", "firewall", "allow = [\"ssh\"]"));
    let must = |words: &[&str]| stage.node.must(words).expect("a verb");
    let folder = stage.node.state_dir().with_file_name("rempart-ssh");
    assert!(must(&["ssh"]).contains("SSH is off"));
    let on = must(&["ssh", "on"]);
    assert!(on.contains("SSH is on") && on.contains("Let in by: admin") && on.contains("No key"), "{on}");
    assert!(folder.join("enabled").exists());
    let (alice, mallory) = (key(&stage, "alice"), key(&stage, "mallory"));
    let words: Vec<&str> = alice.split(' ').collect();
    let added = must(&[&["ssh", "key", "add"], words.as_slice()].concat());
    assert!(added.contains("SHA256:"), "{added}");
    assert!(must(&["ssh", "key", "list"]).contains("alice"));
    let refused = stage.node.verb(&["ssh", "key", "add", "ssh-dss", "AAAAB3NzaC1kc3M="]).expect("a verb");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");

    // What its unit does.
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"]).arg(folder.join("host_ed25519"));
    assert!(output_within(keygen, SOON).expect("a key").status.success());
    assert!(must(&["ssh"]).contains("Key of this box: SHA256:"));
    let _sshd = sshd(&stage);
    let ssh = |from: &str, name: &str, words: &[&str]| {
        let mut command = stage.host(from).command("ssh");
        command.args([
            "-F",
            "/dev/null",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        command.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=3", "-o", "LogLevel=ERROR", "-i"]);
        command.arg(stage.lab.run_dir().join(name)).args(words);
        command
    };
    let door = "root@192.168.10.254";
    assert!(wait_until(SOON, || stage.tcp("cli-lan", "192.168.10.254:22").passes()));
    let mut console = Console::of(&ssh("cli-lan", "alice", &["-tt", door]));
    console.sees("1 Dashboard");
    console.keys(":status\r");
    console.sees("● done");
    drop(console);
    // A command is not run; the console says that it needs a terminal.
    let other = output_within(ssh("cli-lan", "alice", &["-T", door, "id"]), SOON).expect("ssh ends");
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success() && other.stdout.is_empty() && said.contains("terminal"), "{other:?}");
    let wrong = output_within(ssh("cli-lan", "mallory", &["-T", door]), SOON).expect("ssh ends");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("Permission denied"), "{wrong:?} {mallory}");
    assert!(!stage.tcp("srv-voip", "192.168.10.254:22").passes());
    must(&["ssh", "off"]);
    assert!(!folder.join("enabled").exists());
    let fingerprint = added.split("SHA256:").nth(1).expect("a fingerprint").trim().to_owned();
    must(&["ssh", "key", "remove", &fingerprint[..12]]);
    assert!(!must(&["ssh", "key", "list"]).contains("alice"));
}
