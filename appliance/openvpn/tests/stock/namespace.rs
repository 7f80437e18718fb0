//! A test runs itself again inside a network namespace, so that the client's tun device and routes touch nothing.

use std::path::Path;
use std::process::Command;

const INSIDE: &str = "REMPART_VPN_INSIDE";

/// Runs `test` in a namespace of its own. `name` is the full name of the test that calls.
pub fn inside(name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    if let Some(missing) = missing() {
        eprintln!("skipped: {name}: {missing}");
        return;
    }
    let namespace = Namespace::new(name);
    let program = std::env::current_exe().unwrap();
    let status = Command::new("ip")
        .args(["netns", "exec", &namespace.0])
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{name} failed in its namespace; its output is above");
}

fn missing() -> Option<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    let there = |program: &str| {
        ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(program).exists())
    };
    match () {
        () if !root => Some("it needs root for a network namespace"),
        () if !there("ip") => Some("there is no ip (package iproute2)"),
        () if !there("openvpn") => Some("there is no openvpn (package openvpn)"),
        () if !Path::new("/dev/net/tun").exists() => Some("there is no /dev/net/tun"),
        () => None,
    }
}

struct Namespace(String);

impl Namespace {
    fn new(test: &str) -> Self {
        let short: String = test.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
        let name = format!("rvpn-{}-{short}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self(name);
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"]);
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {}", arguments.join(" "));
}
