//! Owns what a console in the lab (`make lab`) can do beside: start traffic, take a router's power away and give it back.
//!
//! The lab's own program does it; the console knows it from its environment, and outside of the lab there is none of this.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

/// The lab that this console is in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lab {
    name: String,
    program: PathBuf,
    dir: PathBuf,
}

/// What the lab is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Start the download, or end it.
    Download(bool),
    /// Start the SSH session, or end it.
    Ssh(bool),
    /// Take the power from the active router.
    PowerOff,
    /// Give it back to the one that is off.
    PowerOn,
}

/// How a stream of the lab fares.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
pub struct Stream {
    /// Received in the last second.
    pub bytes_per_s: u64,
    /// How long nothing has arrived by now.
    pub pause_ms: u64,
    /// The longest time in which nothing arrived.
    pub longest_pause_ms: u64,
    /// Why it has ended, if it has.
    pub ended: Option<String>,
}

/// The streams that were started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// The download.
    pub download: Option<Stream>,
    /// The SSH session.
    pub ssh: Option<Stream>,
}

impl Lab {
    /// From the environment; `None` outside of a lab.
    pub fn of(env: impl Fn(&str) -> Option<String>) -> Option<Lab> {
        Some(Lab {
            name: env("REMPART_LAB")?,
            program: env("REMPART_LAB_PROGRAM")?.into(),
            dir: env("REMPART_LAB_DIR")?.into(),
        })
    }

    /// How the streams fare.
    pub fn traffic(&self) -> Traffic {
        let read = |name: &str| {
            let text = std::fs::read(self.dir.join(name)).ok()?;
            serde_json::from_slice(&text).ok()
        };
        Traffic { download: read("download.json"), ssh: read("ssh.json") }
    }

    /// Has it done, and waits; the error is what the lab's program says.
    pub fn run(&self, order: Order) -> Result<(), String> {
        let words: &[&str] = match order {
            Order::Download(true) => &["traffic", "start", "download"],
            Order::Download(false) => &["traffic", "stop", "download"],
            Order::Ssh(true) => &["traffic", "start", "ssh"],
            Order::Ssh(false) => &["traffic", "stop", "ssh"],
            Order::PowerOff => &["power-off"],
            Order::PowerOn => &["power-on"],
        };
        let mut command = Command::new(&self.program);
        command.arg(words[0]).args(["--name", &self.name]).args(&words[1..]);
        let output = command.stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(said.trim().to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: the environment of a lab with a program that fails, and one stream's figures. Out: its words; the stream.
    #[test]
    fn the_lab_is_found_and_speaks() {
        assert_eq!(Lab::of(|_| None), None);
        let dir = std::env::temp_dir().join(format!("rempart-console-lab-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(
            dir.join("ssh.json"),
            r#"{"bytes":9,"bytes_per_s":1,"pause_ms":2,"longest_pause_ms":3,"ended":null}"#,
        )
        .expect("figures");
        let lab = Lab::of(|name| match name {
            "REMPART_LAB_PROGRAM" => Some("/bin/ls".into()),
            "REMPART_LAB" => Some("x".into()),
            _ => Some(dir.display().to_string()),
        });
        let lab = lab.expect("a lab");
        let traffic = lab.traffic();
        assert_eq!((traffic.download, traffic.ssh.map(|s| s.longest_pause_ms)), (None, Some(3)));
        assert!(
            lab.run(Order::PowerOff).is_err_and(|said| said.contains("--name") || said.contains("option"))
        );
        std::fs::remove_dir_all(dir).expect("clean");
    }
}
