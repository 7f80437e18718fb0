//! Network namespaces for tests against the real kernel. Each test runs on a thread of its own in a fresh, nameless
//! namespace, which goes with the thread; nothing is left to clean, even after a panic.

#![allow(dead_code)]

use std::future::Future;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Uid;

/// Runs `test` in a fresh network namespace with `lo` up, on Tokio's current-thread runtime. Without root the test
/// is skipped, and says so.
pub fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    if !Uid::effective().is_root() {
        eprintln!("skipped: needs root, for network namespaces");
        return;
    }
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        sh("ip link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(test());
    };
    if let Err(panic) = std::thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a shell command in the namespace of this thread; it must succeed.
pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().expect("a shell");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command}: {err}{out}");
    out.into_owned()
}

/// A second network namespace: that of a sleeping process, which is ended on drop.
pub struct Neighbour(Child);

impl Neighbour {
    pub fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "--", "sleep", "3600"])
            .stdin(Stdio::null())
            .spawn()
            .expect("a process in a namespace");
        let neighbour = Self(child);
        // Until `unshare` has done its work the process is still in our namespace.
        let ours = sh("readlink /proc/thread-self/ns/net");
        let theirs = format!("readlink /proc/{}/ns/net", neighbour.pid());
        while sh(&theirs) == ours {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        neighbour.sh("ip link set lo up");
        neighbour
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs a shell command there; it must succeed.
    pub fn sh(&self, command: &str) -> String {
        sh(&format!("nsenter -t {} -n -- sh -ec '{command}'", self.pid()))
    }

    /// Runs `work` on a thread of its own there. What it opens belongs to that namespace wherever it is used.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).expect("a namespace");
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("to enter the namespace");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts a program there; it is ended on drop.
    pub fn start(&self, program: &str, arguments: &[&str]) -> Running {
        let pid = self.pid().to_string();
        let child = Command::new("nsenter")
            .args(["-t", &pid, "-n", "--", program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a program");
        Running(child)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that is ended on drop.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
