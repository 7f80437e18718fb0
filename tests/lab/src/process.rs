//! Processes of the lab: each in a process group of its own, ended by its own id, its output in a log file.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How often something is looked at that cannot be waited for.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds. Returns whether it did before the deadline.
pub fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + deadline;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Runs a command to its end and returns what it wrote; after `timeout` it is killed with its children, and
/// that is an error.
pub fn output_within(mut command: Command, timeout: Duration) -> Result<Output> {
    output_of(&mut command, Stdio::null(), None, timeout)
}

/// As [`output_within`], with `input` on the standard input.
pub(crate) fn output_with_input(mut command: Command, input: &str, timeout: Duration) -> Result<Output> {
    output_of(&mut command, Stdio::piped(), Some(input.to_owned()), timeout)
}

fn output_of(
    command: &mut Command,
    stdin: Stdio,
    input: Option<String>,
    timeout: Duration,
) -> Result<Output> {
    let end = Instant::now() + timeout;
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // A child that does not read its input to the end says what it thinks of it by its exit status.
        thread::spawn(move || std::io::Write::write_all(&mut pipe, input.as_bytes()));
    }
    let stdout = collect(child.stdout.take().expect("is piped"));
    let stderr = collect(child.stderr.take().expect("is piped"));
    let mut status = None;
    let ended = wait_until(timeout, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    let Some(status) = status.filter(|_| ended) else {
        let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
        let _ = child.wait();
        bail!("still running after {timeout:?}: {command:?}");
    };
    // A grandchild that keeps the pipe open must not hold us longer than the deadline.
    let rest = || end.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
    let (stdout, stderr) = (stdout.recv_timeout(rest()), stderr.recv_timeout(rest()));
    Ok(Output { status, stdout: stdout.unwrap_or_default(), stderr: stderr.unwrap_or_default() })
}

fn collect(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<Vec<u8>> {
    let (to, from) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = to.send(bytes);
    });
    from
}

/// Fails with what the command wrote unless it succeeded.
pub(crate) fn succeeded(output: Output, what: &str) -> Result<Output> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{what}: {}: {}", output.status, said.trim());
    }
    Ok(output)
}

/// A process that runs beside the caller. Ended when dropped: SIGTERM to its group, SIGKILL after two seconds.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Set when the process outlives this value.
    detached: bool,
}

impl Process {
    /// Starts `command` with its standard error, and its standard output unless that is taken over by `pipes`,
    /// in `log`.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path, pipes: bool) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stderr(file.try_clone()?).process_group(0);
        if pipes {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(file);
        }
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { name: name.into(), child, log: log.into(), detached: false })
    }

    /// The process id, which is also the id of its process group.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that its output goes to.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; `None` if it still runs after `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(timeout, || {
            status = self.child.try_wait().ok().flatten();
            status.is_some()
        });
        status
    }

    /// Sends a signal to the process alone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if !self.is_running() {
            bail!("{} has ended", self.name);
        }
        Ok(kill(Pid::from_raw(self.pid() as i32), signal)?)
    }

    /// Ends the process group at once and waits for the process: SIGKILL.
    pub fn kill(&mut self) {
        self.end_group(Signal::SIGKILL);
        let _ = self.child.wait();
    }

    /// Asks the process group to end and waits; kills it after two seconds.
    pub fn terminate(&mut self) {
        self.end_group(Signal::SIGTERM);
        if self.wait(GRACE).is_none() {
            self.kill();
        }
    }

    /// Lets the process outlive this value.
    pub fn detach(mut self) {
        self.detached = true;
    }

    /// Fails with the end of the log if the process has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}); it said:\n{}", self.name, tail(&self.log(), 20)),
        }
    }

    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Nothing is sent once the process has been waited for: its id may by then be another's.
    fn end_group(&mut self, signal: Signal) {
        if self.is_running() {
            let _ = killpg(Pid::from_raw(self.pid() as i32), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.detached {
            self.terminate();
        }
    }
}

/// The last `count` lines of a text.
pub(crate) fn tail(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
