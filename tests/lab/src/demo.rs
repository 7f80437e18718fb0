//! What a person watches while something breaks: a download from the Internet through the firewall's address translation,
//! and a session by SSH. Stock programs on the lab's hosts; beside each the program `lab` counts what arrives and how long
//! nothing did, and keeps the figures in a file of the lab's run folder, where the console reads them.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::{Host, Lab, Server, program, wait_until};

/// Where the two go: the standard network's desk, and its server beyond the provider.
const DESK: &str = "192.168.20.11";
const BEYOND: &str = "198.51.100.1";
/// What the download is held to, in bytes a second: enough to see a pause at once, little enough for one machine to be all
/// of a network.
const RATE: u64 = 4_000_000;
/// How often the figures are written.
const PERIOD: Duration = Duration::from_millis(250);
/// How long a stream may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the session says, over and over.
const TICKS: &str = "while echo tick; do sleep 0.1; done";

/// A stream that a person watches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demo {
    /// A download from beyond the provider to cli-lan, by HTTP over one connection.
    Download,
    /// A session by SSH from srv-voip to srv-ebrigade, which says something ten times a second.
    Ssh,
}

/// How a stream fares.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Figures {
    /// Received in all.
    pub bytes: u64,
    /// Received in the last second.
    pub bytes_per_s: u64,
    /// How long nothing has arrived by now.
    pub pause_ms: u64,
    /// The longest time in which nothing arrived. The session is silent for 100 ms at a time by itself.
    pub longest_pause_ms: u64,
    /// Why it has ended, if it has.
    pub ended: Option<String>,
}

impl Demo {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Download, Self::Ssh];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Ssh => "ssh",
        }
    }

    /// The host that receives.
    fn host(self) -> &'static str {
        match self {
            Self::Download => "cli-lan",
            Self::Ssh => "srv-voip",
        }
    }
}

impl Lab {
    /// What is run on srv-voip for a session by SSH on srv-ebrigade: ssh and its arguments, without a command.
    pub fn ssh_words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            ["ssh", "-q", "-F", "none", "-o", "StrictHostKeyChecking=no"].map(Into::into).into();
        words
            .extend(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-i"].map(Into::into));
        words.push(self.host("srv-ebrigade").run_dir().join(Server::SSH_KEY).into());
        words.push(format!("root@{DESK}").into());
        words
    }

    /// What is run on cli-lan for a download: the same file again and again, over one connection. Were that to break, it is the end.
    pub fn download_words(&self) -> Vec<OsString> {
        let url = format!("http://{BEYOND}/big.bin?[1-10000]");
        ["curl", "-q", "-s", "--fail-early", "--noproxy", "*", &url].map(Into::into).into()
    }

    /// The host that a stream is received on, if the lab has it.
    fn demo_host(&self, demo: Demo) -> Result<&Host> {
        let needs = ["cli-lan", "srv-voip", "srv-ebrigade"];
        match needs.iter().all(|n| self.find_host(n).is_some()) {
            true => Ok(self.host(demo.host())),
            false => bail!("this lab has not the hosts of the standard network: {}", needs.join(", ")),
        }
    }

    /// Where the figures of a stream are.
    pub fn demo_file(&self, demo: Demo) -> PathBuf {
        self.run_dir().join(format!("{}.json", demo.name()))
    }

    /// Starts a stream, anew if it ran already. It goes on until [`stop_demo`](Self::stop_demo) or the end of the lab.
    pub fn start_demo(&self, demo: Demo) -> Result<()> {
        let host = self.demo_host(demo)?;
        self.stop_demo(demo)?;
        let mut command = host.command(program("lab")?);
        command.args(["count", demo.name()]).arg(self.demo_file(demo)).arg("--");
        command.args(match demo {
            Demo::Download => self.download_words(),
            Demo::Ssh => {
                let mut words = self.ssh_words();
                words.push(TICKS.into());
                words
            }
        });
        let mut process = host.spawn(demo.name(), command)?;
        let begun = wait_until(PATIENCE, || {
            !process.is_running() || self.demo(demo).is_some_and(|f| f.bytes > 0 || f.ended.is_some())
        });
        match self.demo(demo) {
            Some(Figures { ended: None, bytes: 1.., .. }) if begun => {
                process.detach();
                Ok(())
            }
            found => {
                let why = found.and_then(|f| f.ended).unwrap_or_else(|| "nothing arrives".into());
                drop(process);
                self.stop_demo(demo)?;
                bail!("the {} does not begin: {why}", demo.name())
            }
        }
    }

    /// Ends a stream. One that does not run is no error.
    pub fn stop_demo(&self, demo: Demo) -> Result<()> {
        let host = self.demo_host(demo)?.name();
        let stop = |signal| self.signal(host, "lab", Some(demo.name()), signal).is_ok();
        if stop(Signal::SIGKILL) {
            // The program that it counts for ends with its pipe.
            wait_until(PATIENCE, || !stop(Signal::SIGKILL));
        }
        match fs::remove_file(self.demo_file(demo)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e).context("the figures"),
            _ => Ok(()),
        }
    }

    /// How a stream fares; `None` if it was not started.
    pub fn demo(&self, demo: Demo) -> Option<Figures> {
        serde_json::from_slice(&fs::read(self.demo_file(demo)).ok()?).ok()
    }
}

/// Runs a program and counts what it says until it ends: what runs on the host beside it.
pub fn count(name: &str, file: &Path, words: &[OsString]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no program given")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name}: {program:?}"))?;
    let mut pipe = child.stdout.take().context("is piped")?;
    let start = Instant::now();
    let counter = Counter::default();
    thread::scope(|scope| {
        let reader = scope.spawn(|| counter.read(&mut pipe, start, RATE));
        let mut before = 0;
        let mut pauses = 0;
        while !reader.is_finished() {
            thread::sleep(PERIOD);
            let figures = counter.figures(start, before, &mut pauses);
            before = figures.bytes;
            write(file, &figures)?;
        }
        let status = child.wait()?;
        let figures =
            Figures { ended: Some(status.to_string()), ..counter.figures(start, before, &mut pauses) };
        write(file, &figures)
    })
}

/// What has arrived. Times are in milliseconds from the start.
#[derive(Debug, Default)]
struct Counter {
    bytes: AtomicU64,
    /// When the reader began to wait; 0 while it does not.
    waits_since: AtomicU64,
    longest: AtomicU64,
}

impl Counter {
    fn read(&self, pipe: &mut impl Read, start: Instant, rate: u64) {
        let now = || start.elapsed().as_millis() as u64 + 1;
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let began = now();
            self.waits_since.store(began, Ordering::Relaxed);
            let got = match pipe.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(got) => got as u64,
            };
            self.waits_since.store(0, Ordering::Relaxed);
            // Until the first byte it has not begun.
            if self.bytes.fetch_add(got, Ordering::Relaxed) > 0 {
                self.longest.fetch_max(now() - began, Ordering::Relaxed);
            }
            thread::sleep(Duration::from_micros(got * 1_000_000 / rate));
        }
    }

    fn figures(&self, start: Instant, before: u64, pauses: &mut u64) -> Figures {
        let now = start.elapsed().as_millis() as u64 + 1;
        let bytes = self.bytes.load(Ordering::Relaxed);
        let pause_ms = match self.waits_since.load(Ordering::Relaxed) {
            0 => 0,
            since => now.saturating_sub(since),
        };
        if bytes > 0 {
            *pauses = (*pauses).max(pause_ms);
        }
        let longest_pause_ms = self.longest.load(Ordering::Relaxed).max(*pauses);
        let bytes_per_s = (bytes - before) * 1000 / PERIOD.as_millis() as u64;
        Figures { bytes, bytes_per_s, pause_ms, longest_pause_ms, ended: None }
    }
}

/// In one step, so that whoever reads finds it whole.
fn write(file: &Path, figures: &Figures) -> Result<()> {
    let half = file.with_extension("new");
    fs::write(&half, serde_json::to_vec(figures)?)?;
    Ok(fs::rename(half, file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: a program that says something, is silent for 300 ms and says something again. Out: both counted, and the pause.
    #[test]
    fn a_pause_is_seen() {
        let file = std::env::temp_dir().join(format!("rempart-lab-count-{}.json", std::process::id()));
        let words = ["sh", "-c", "echo one; sleep 0.3; echo two"].map(OsString::from);
        count("test", &file, &words).unwrap();
        let figures: Figures = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        fs::remove_file(file).unwrap();
        assert_eq!(figures.bytes, 8);
        assert!((250..3000).contains(&figures.longest_pause_ms), "{figures:?}");
        assert!(figures.ended.is_some_and(|e| e.contains('0')));
    }
}
