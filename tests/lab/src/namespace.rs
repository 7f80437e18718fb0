//! Network namespaces by name, as iproute2 keeps them: a bind mount in `/run/netns`, and in `/etc/netns/NAME`
//! the files that `ip netns exec` lays over those in `/etc`.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{output_with_input, output_within, succeeded, wait_until};
use crate::requirements::search_path;

const MOUNTS: &str = "/run/netns";
const FILES: &str = "/etc/netns";
/// A single `ip` call takes milliseconds; under load on two cores, seconds.
const IP_TIMEOUT: Duration = Duration::from_secs(20);
/// A machine's proxy cannot be reached from a namespace.
const PROXY_VARIABLES: [&str; 6] =
    ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// Makes a namespace with its loopback up.
pub(crate) fn add(name: &str) -> Result<()> {
    succeeded(output_within(ip(&["netns", "add", name]), IP_TIMEOUT)?, "ip netns add")
        .context("cannot make a network namespace (in a container this needs CAP_SYS_ADMIN)")?;
    batch(name, "link set lo up\n")
}

/// Runs lines of `ip` commands inside a namespace; the first that fails ends it.
pub(crate) fn batch(name: &str, lines: &str) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let output = output_with_input(ip(&["-n", name, "-batch", "-"]), lines, IP_TIMEOUT)?;
    succeeded(output, &format!("ip in {name}")).with_context(|| format!("the commands were:\n{lines}"))?;
    Ok(())
}

/// A command that runs `program` inside a namespace, found by the caller's `PATH` and the administrators' folders.
pub(crate) fn command(name: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = ip(&["netns", "exec", name]);
    command.arg(program);
    command
}

/// Loads an nft script inside a namespace.
pub(crate) fn nft(name: &str, script: &str) -> Result<()> {
    let mut nft = command(name, "nft");
    nft.args(["-f", "-"]);
    let output = output_with_input(nft, script, IP_TIMEOUT)?;
    succeeded(output, &format!("nft in {name}")).with_context(|| format!("the script was:\n{script}"))?;
    Ok(())
}

/// Removes a namespace, in which nothing runs any more, and makes a new one of its name.
pub(crate) fn renew(name: &str) -> Result<()> {
    succeeded(output_within(ip(&["netns", "del", name]), IP_TIMEOUT)?, "ip netns del")?;
    add(name)
}

/// Sets kernel parameters inside a namespace: `net.ipv4.ip_forward=1`.
pub(crate) fn sysctl(name: &str, settings: &[&str]) -> Result<()> {
    // Dots separate and slashes stand for themselves, so that a device name with a dot can be given as sysctl(8) does.
    const SCRIPT: &str =
        r#"for s; do echo "${s#*=}" > "/proc/sys/$(echo "${s%%=*}" | tr ./ /.)" || exit 1; done"#;
    let mut sh = command(name, "sh");
    sh.args(["-c", SCRIPT, "sh"]).args(settings);
    succeeded(output_within(sh, IP_TIMEOUT)?, "setting kernel parameters")?;
    Ok(())
}

/// Makes `address` the resolver of whatever runs inside a namespace.
pub(crate) fn set_resolver(name: &str, address: std::net::IpAddr) -> Result<()> {
    let dir = Path::new(FILES).join(name);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("resolv.conf"), format!("nameserver {address}\noptions timeout:2 attempts:2\n"))?;
    Ok(())
}

/// The inode that identifies a namespace to the kernel.
pub(crate) fn inode(name: &str) -> Result<u64> {
    Ok(fs::metadata(mount(name)).with_context(|| format!("there is no namespace {name}"))?.ino())
}

/// Whether a process runs in the namespace with this inode.
pub(crate) fn holds(inode: u64, pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|m| m.ino() == inode)
}

/// A process that runs in a namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Inhabitant {
    pub pid: i32,
    /// Its command line.
    pub arguments: Vec<String>,
}

impl Inhabitant {
    /// Whether it runs this program, whatever folder it is in.
    pub fn runs(&self, program: &str) -> bool {
        let name = self.arguments.first().and_then(|a| Path::new(a).file_name());
        name.is_some_and(|n| n == program)
    }
}

/// What runs in a namespace.
pub(crate) fn inhabitants(name: &str) -> Result<Vec<Inhabitant>> {
    let pids = processes(&[inode(name)?]).into_iter();
    Ok(pids
        .filter_map(|pid| {
            // proc_pid_cmdline(5): each argument ends with a zero byte; of a process that has ended there is nothing.
            let text = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok().filter(|t| !t.is_empty())?;
            let arguments = text.trim_end_matches('\0').split('\0').map(ToOwned::to_owned).collect();
            Some(Inhabitant { pid, arguments })
        })
        .collect())
}

/// Sends a signal to everything that runs in a namespace but ourselves, and to what that starts meanwhile. Returns how
/// many got it.
pub(crate) fn signal(name: &str, signal: Signal) -> Result<usize> {
    /// A process that is stopped or killed starts no other: the second look finds what the first one missed.
    const LOOKS: usize = 8;
    let inode = inode(name)?;
    let own = std::process::id() as i32;
    let mut reached = BTreeSet::new();
    for _ in 0..LOOKS {
        let news: Vec<i32> =
            processes(&[inode]).into_iter().filter(|pid| *pid != own && !reached.contains(pid)).collect();
        if news.is_empty() {
            break;
        }
        for pid in news {
            let _ = kill(Pid::from_raw(pid), signal);
            reached.insert(pid);
        }
    }
    Ok(reached.len())
}

/// The namespaces whose names begin so.
pub(crate) fn with_prefix(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(MOUNTS) else { return Vec::new() };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|n| n.starts_with(prefix)).collect();
    names.sort();
    names
}

/// Ends everything that runs in the namespaces, then removes them. What is gone already is no error.
pub(crate) fn remove(names: &[String]) -> Result<()> {
    let inodes: Vec<u64> = names.iter().filter_map(|n| inode(n).ok()).collect();
    let inhabitants = || processes(&inodes);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        for pid in inhabitants() {
            let _ = kill(Pid::from_raw(pid), signal);
        }
        if wait_until(Duration::from_secs(1), || inhabitants().is_empty()) {
            break;
        }
    }
    let mut failed = Vec::new();
    for name in names {
        let _ = fs::remove_dir_all(Path::new(FILES).join(name));
        let output = output_within(ip(&["netns", "del", name]), IP_TIMEOUT)?;
        // Another process may be removing the same abandoned lab.
        if !output.status.success() && mount(name).exists() {
            failed.push(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    match fs::remove_dir(FILES) {
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Err(e)?,
        _ => {}
    }
    if !failed.is_empty() {
        bail!("namespaces that could not be removed: {}", failed.join("; "));
    }
    Ok(())
}

/// The processes that run in any of these namespaces. A process that has ended and waits for its parent holds none.
fn processes(inodes: &[u64]) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| inodes.iter().any(|inode| holds(*inode, *pid as u32))).collect()
}

fn mount(name: &str) -> PathBuf {
    Path::new(MOUNTS).join(name)
}

fn ip(arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(arguments).env("PATH", search_path());
    for variable in PROXY_VARIABLES {
        command.env_remove(variable);
    }
    command
}
