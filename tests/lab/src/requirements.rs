//! What the lab needs of the machine, and where it finds the programs it runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Result, bail};

use crate::process::output_within;

const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The system programs that a lab runs. Which package each comes from is `tests/setup/packages`' business.
const PROGRAMS: [&str; 11] =
    ["ip", "nft", "sh", "curl", "dnsmasq", "nginx", "vsftpd", "openssl", "sshd", "ssh-keygen", "dbus-daemon"];

/// Where administrators' programs are when the caller's `PATH` leaves them out, as a plain `su` does.
const SYSTEM_PATHS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Why this process cannot have a lab at all, if it cannot: it is not root.
pub fn obstacle() -> Option<String> {
    (!nix::unistd::geteuid().is_root()).then(|| {
        "the lab needs root: it makes network namespaces, bridges and nftables rules, all of them inside \
         namespaces of its own (run it with sudo)"
            .into()
    })
}

/// The programs of the system that a lab needs and that are not installed.
pub fn missing_programs() -> Vec<&'static str> {
    PROGRAMS.into_iter().filter(|p| in_path(p).is_none()).collect()
}

/// Where a program of this workspace is (`rempartd`, `rempart`, `lab`): in `REMPART_BIN_DIR`, beside the
/// running program, one folder above it (a test runs from `target/debug/deps`), or in `PATH`.
pub fn program(name: &str) -> Result<PathBuf> {
    let exe = env::current_exe()?;
    let beside = exe.ancestors().skip(1).take(2).map(Path::to_path_buf);
    let found = env::var_os("REMPART_BIN_DIR").map(PathBuf::from).into_iter().chain(beside);
    if let Some(path) = found.map(|dir| dir.join(name)).find(|p| p.is_file()) {
        return Ok(path);
    }
    match in_path(name) {
        Some(path) => Ok(path),
        None => bail!("the program {name} is not built: run `make build` (or set REMPART_BIN_DIR)"),
    }
}

/// Whether processes of ours may have real-time priority (CAP_SYS_NICE; a container may withhold it).
pub(crate) fn may_be_urgent() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mut chrt = Command::new("chrt");
        chrt.env("PATH", search_path()).args(["--fifo", "1", "true"]);
        output_within(chrt, ASK_TIMEOUT).is_ok_and(|o| o.status.success())
    })
}

/// Fails with everything that is missing at once.
pub(crate) fn check() -> Result<()> {
    if let Some(why) = obstacle() {
        bail!(why);
    }
    let missing = missing_programs();
    if !missing.is_empty() {
        bail!("not installed: {}; run `make setup`", missing.join(", "));
    }
    Ok(())
}

/// `PATH` with the administrators' folders, for children.
pub(crate) fn search_path() -> std::ffi::OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = env::split_paths(&path).chain(SYSTEM_PATHS.map(PathBuf::from));
    env::join_paths(dirs).unwrap_or(path)
}

pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&search_path())
        .map(|dir| dir.join(name))
        .find(|p| fs::metadata(p).is_ok_and(|m| m.is_file()))
}
