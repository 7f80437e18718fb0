//! The command `lab` with stand-ins for the product on the stage.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use rempart_lab::{Lab, Record, output_within};

const LONG: Duration = Duration::from_secs(60);

/// The command `lab` with stand-ins for the product: a program that only takes the bus name, and a script.
pub struct Stage {
    pub name: String,
    dir: PathBuf,
}

impl Stage {
    pub fn new(name: &str, console: &str) -> Self {
        let name = format!("t-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(format!("rempart-lab-{name}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("hello"), take_name("org.rempart.Control1")).unwrap();
        let hello = dir.join("hello");
        let daemon = format!(
            "(cat {}; exec sleep 1000) | socat -u - UNIX-CONNECT:${{DBUS_SYSTEM_BUS_ADDRESS#unix:path=}}",
            hello.display()
        );
        for (program, script) in [
            ("rempartd", daemon.as_str()),
            ("rempart-ha", "exec sleep 1000"),
            ("rempart", console),
            ("failing", "echo no licence to route >&2; exit 3"),
        ] {
            let file = dir.join(program);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
        fs::write(dir.join("document.toml"), DOCUMENT).unwrap();
        Self { name, dir }
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn lab(&self, words: &[&str]) -> Output {
        output_within(self.command(words), LONG).unwrap()
    }

    pub fn plain(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(words);
        output_within(command, LONG).unwrap()
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.env("REMPART_BIN_DIR", &self.dir).arg(words[0]).args(["--name", &self.name]);
        if words[0] == "up" {
            command.arg("--document").arg(self.dir.join("document.toml"));
        }
        command.args(&words[1..]);
        command
    }

    /// Whether the router runs the stand-in for the console.
    pub fn console_runs(&self) -> bool {
        let Ok(record) = Record::find(&self.name) else { return false };
        let router = record.namespace_of("rte01");
        let output = Command::new("ip").args(["netns", "pids", &router]).output().unwrap();
        text(&output.stdout).lines().any(|pid| {
            // The other stand-ins sleep, too, for 1000 seconds.
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == "sleep\0999\0")
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = Lab::remove(&self.name);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a client says to take a name on a bus: it authenticates as root, says hello, asks (D-Bus Specification,
/// "Authentication Protocol" and "Message Protocol").
fn take_name(name: &str) -> Vec<u8> {
    // The user id 0, as the hexadecimal of its decimal digits.
    let mut bytes = b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n".to_vec();
    bytes.extend(call(1, "Hello", "", &[]));
    let mut body = string(name);
    pad(&mut body, 4);
    body.extend(0u32.to_le_bytes());
    bytes.extend(call(2, "RequestName", "su", &body));
    bytes
}

fn call(serial: u32, member: &str, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut fields = Vec::new();
    let bus = "org.freedesktop.DBus";
    for (code, kind, value) in
        [(1, b'o', "/org/freedesktop/DBus"), (2, b's', bus), (3, b's', member), (6, b's', bus)]
    {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        fields.extend(string(value));
    }
    if !signature.is_empty() {
        pad(&mut fields, 8);
        fields.extend([8, 1, b'g', 0, signature.len() as u8]);
        fields.extend(signature.as_bytes());
        fields.push(0);
    }
    // Little-endian, method call, no flags, version 1.
    let mut message = vec![b'l', 1, 0, 1];
    for number in [body.len() as u32, serial, fields.len() as u32] {
        message.extend(number.to_le_bytes());
    }
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(body);
    message
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

const DOCUMENT: &str = r#"version = 1
node = "rte01"

[interface.wan]
device = "enp1s0"
zone = "wan"
address = "dhcp"

[interface.lan]
device = "enp2s0"
zone = "lan"
address = "192.168.10.1/24"

[interface.dmz]
device = "enp3s0"
zone = "dmz"
address = "192.168.20.1/24"
"#;
