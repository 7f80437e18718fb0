//! A network of its own for one test, and servers in it.

#![allow(dead_code, reason = "each test uses its part")]

pub mod domain;
pub mod freeradius;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use rempart_identity::authority::{Authority, Credential};
use rempart_identity::moment::Moment;
use ring::rand::SystemRandom;

/// Whether what the test needs is there; says what it skips if not.
pub fn can_run(what: &str, files: &[&str]) -> bool {
    let missing: Vec<&&str> = files.iter().filter(|file| !Path::new(file).exists()).collect();
    if !geteuid().is_root() {
        eprintln!(
            "SKIPPED, nothing of it was tested: {what}. It needs root, for a network namespace of its own."
        );
        return false;
    }
    if !missing.is_empty() {
        eprintln!(
            "SKIPPED, nothing of it was tested: {what}. Missing: {missing:?}; `make setup` installs them."
        );
        return false;
    }
    true
}

/// Runs this on a thread in a new network namespace that has nothing but a loopback.
pub fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        must(Command::new("ip").args(["link", "set", "lo", "up"]));
        test();
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command that must succeed.
pub fn must(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}:\n{text}");
    text
}

/// A server that ends with the test, by its own process number.
pub struct Server(Child);

impl Server {
    pub fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits until this holds; the server must live on meanwhile.
    pub fn wait_until(&mut self, what: &str, ready: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !ready() {
            assert!(self.0.try_wait().unwrap().is_none(), "the server ended before {what}");
            assert!(Instant::now() < end, "{what} did not come within 30 s");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Politely first: it may have children of its own to end.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        for _ in 0..60 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn now() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Moment::new(since.as_secs() as i64)
}

/// An authority, and a server that it certified.
pub fn certified(names: &[&str]) -> (Authority, Credential) {
    let mut authority = Authority::create("lab", now(), &SystemRandom::new()).unwrap();
    let server = authority.issue_server(names, now(), &SystemRandom::new()).unwrap();
    (authority, server)
}
