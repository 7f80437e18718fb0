//! TFTP, whose answers come from another port than the one that was asked.

use std::fs;

use rempart_end_to_end::{SOON, Stage, small};
use rempart_lab::{skip_unless_root, wait_until};

/// In: TFTP with the helper, inside and published, and the same document without it. Out: a file comes with it and only with it.
#[test]
fn the_tftp_helper_lets_the_answers_in() {
    skip_unless_root!();
    let rest = "allow = [\"tftp\"]\nhelper = \"tftp\"";
    let document = small()
        .replace("server = [\"192.168.20.11\", \"fd00:20::11\"]", "server = \"192.168.20.11\"")
        .flow("tftp", "lan", "dmz:server", rest)
        .flow("tftp-out", "wan", "dmz:server", &format!("{rest}\npublish = true"));
    let stage = Stage::up(&document);
    let wan = stage.wan().to_string();
    let server = stage.host("srv-ebrigade");
    let root = server.run_dir().join("tftp");
    fs::create_dir_all(&root).expect("a folder");
    // More than one block of 512 bytes, so that the transfer goes back and forth.
    let content = "0123456789abcdef".repeat(500);
    fs::write(root.join("boot"), &content).expect("a file");
    let mut command = server.command("dnsmasq");
    command.args([
        "--conf-file=/dev/null",
        "--keep-in-foreground",
        "--port=0",
        "--enable-tftp",
        "--user=root",
    ]);
    command.arg(format!("--tftp-root={}", root.display())).arg("--pid-file=");
    let _server = server.spawn("tftp", command).expect("a server");
    let fetch = |host: &str, address: &str| {
        let url = format!("tftp://{address}/boot");
        let curl = ["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "4", &url];
        stage.host(host).run(&curl).expect("curl runs").stdout == content.as_bytes()
    };
    assert!(wait_until(SOON, || fetch("cli-lan", "192.168.20.11")), "inside");
    assert!(wait_until(SOON, || fetch("cli-wan", &wan)), "published");

    let without = document.replace("helper = \"tftp\"", "").replace("helper = \"tftp\"", "");
    stage.commit(&without);
    assert!(!fetch("cli-lan", "192.168.20.11"), "without its helper");
    assert!(!fetch("cli-wan", &wan), "without its helper, from outside");
    stage.commit(&document);
    assert!(fetch("cli-lan", "192.168.20.11"), "again with it");
}
