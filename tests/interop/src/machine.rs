//! A network namespace and the processes in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process may take to end by itself. A hand-over ends after 2.5 s.
const GRACE: Duration = Duration::from_secs(5);

/// Waits until `condition` holds; panics with `what` when it does not in `limit`.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

/// A namespace, kept by a process that sleeps.
#[derive(Debug)]
pub struct Machine {
    name: String,
    keeper: Child,
    folder: PathBuf,
}

impl Machine {
    /// A new namespace with its loopback up. Files of its processes are in `folder`.
    pub fn new(name: &str, folder: &Path) -> Self {
        let keeper = Command::new("unshare")
            .args(["--net", "--", "sleep", "3600"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare is there");
        let machine = Self { name: name.into(), keeper, folder: folder.join(name) };
        fs::create_dir_all(&machine.folder).expect("a folder");
        let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
        // Until `unshare` has done its work the process is still in our namespace.
        until("a namespace", GRACE, || namespace(&machine.pid().to_string()) != namespace("self"));
        machine.sh("ip link set lo up");
        machine
    }

    /// The process that keeps the namespace.
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address of its bus.
    pub fn bus(&self) -> String {
        format!("unix:path={}", self.folder.join("bus").display())
    }

    /// Starts a bus.
    pub fn start_bus(&self) -> Running {
        let address = format!("--address={}", self.bus());
        let bus =
            self.start("dbus-daemon", "dbus-daemon", &["--session", "--nofork", "--nopidfile", &address]);
        until("a bus", GRACE, || self.folder.join("bus").exists());
        bus
    }

    /// Calls a method of the elector on its bus; arguments as dbus-send(1) has them. Gives what was answered.
    pub fn call(&self, method: &str, arguments: &[&str]) -> String {
        let member = format!("org.rempart.Ha1.{method}");
        let bus = format!("--bus={}", self.bus());
        let mut command = self.command("dbus-send");
        command.args([&bus, "--print-reply=literal", "--dest=org.rempart.Ha1", "/org/rempart/Ha1", &member]);
        let output = command.args(arguments).output().expect("dbus-send");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{method}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a shell command; it must succeed. Gives what it wrote.
    pub fn sh(&self, command: &str) -> String {
        let output = self.try_sh(command);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}: {command}: {err}{out}", self.name);
        out.into_owned()
    }

    /// Runs a shell command.
    pub fn try_sh(&self, command: &str) -> Output {
        self.command("sh").args(["-ec", command]).stdin(Stdio::null()).output().expect("a shell")
    }

    /// Whether a ping is answered within a second.
    pub fn reaches(&self, address: &str) -> bool {
        self.try_sh(&format!("ping -c1 -W1 {address}")).status.success()
    }

    /// A program to be run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid().to_string(), "-n", "--"]).arg(program);
        command
    }

    /// Starts a program whose output goes to a file `NAME.log` in the folder.
    pub fn start(&self, name: &str, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Running {
        let path = self.folder.join(format!("{name}.log"));
        let log = File::options().create(true).append(true).open(&path).expect("a log");
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log).env("REMPART_LOG", "debug");
        // There is none, unless a test starts one.
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus());
        let child = command.spawn().expect("a program");
        Running { name: format!("{} {name}", self.name), child, log: path }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// A program that runs; ended on drop, and its log shown if the test fails.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Processes that it has started.
    pub fn children(&self) -> Vec<i32> {
        let pid = self.pid();
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("it runs");
    }

    /// Kills it and what it has started, all at once.
    pub fn kill(mut self) {
        self.kill_family();
    }

    /// Asks it to end, and waits.
    pub fn end(mut self) {
        self.ask_to_end();
    }

    fn kill_family(&mut self) {
        let children = self.children();
        let _ = self.child.kill();
        for child in children {
            let _ = kill(Pid::from_raw(child), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }

    fn ask_to_end(&mut self) {
        if let Ok(Some(_)) = self.child.try_wait() {
            return;
        }
        self.signal(Signal::SIGTERM);
        let end = Instant::now() + GRACE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > end {
                self.kill_family();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- {}\n{}", self.name, self.log());
        }
        self.ask_to_end();
    }
}
