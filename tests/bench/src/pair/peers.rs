//! The stock peer: two plain Linux routers with keepalived and conntrackd from Debian, at the addresses of our document.
//!
//! ```text
//!   keepalived ──notify──▶ role.sh ──▶ conntrackd -c -f -R -B (now active), -t -n (now standby)
//!   conntrackd ◀──FTFW over UDP, on the sync cable──▶ conntrackd
//! ```
//!
//! One script for address translation and filter stands for the policy: what it lets through is what our document lets
//! through, and what is unknown to the virtual address is dropped, without which replies die at a take-over
//! whatever replicates them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use rempart_kernel_tests::node::Failure;
use rempart_lab::{Host, Lab, Process, wait_until};

use super::side::{LAN, ROUTERS, WAN};

/// How long conntrackd may take to answer, keepalived to have a role, and both to agree on who has it.
const READY: Duration = Duration::from_secs(20);
/// conntrackd's own limits: 260,000 connections and their events.
const HASH_LIMIT: u32 = 1 << 20;
const BUFFER_BYTES: u32 = 8 << 20;

/// How the peer is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// Interval of adverts, in milliseconds; a multiple of ten.
    pub advert_ms: u32,
    /// Whether connections wait in user space for the take-over, as conntrackd does unless told otherwise, or go into the
    /// standby's kernel as they come.
    pub external_cache: bool,
    /// Whether the preferred router takes the role back by itself, as keepalived does unless told otherwise.
    pub preempt: bool,
}

/// The peer on one router. Dropping it ends its programs.
#[derive(Debug)]
pub struct Peer {
    // In the order in which they end.
    keepalived: Option<Process>,
    conntrackd: Option<Process>,
    host: Host,
    setting: Setting,
    /// 0 or 1.
    index: usize,
}

impl Peer {
    /// Sets up the router and starts both programs.
    pub fn start(lab: &Lab, index: usize, setting: Setting) -> Result<Self, Failure> {
        let host = lab.host(ROUTERS[index]).clone();
        let mut peer = Self { keepalived: None, conntrackd: None, host, setting, index };
        peer.boot()?;
        Ok(peer)
    }

    /// Sets up the router and starts both programs: on a kernel that knows nothing.
    pub fn boot(&mut self) -> Result<(), Failure> {
        for program in [&mut self.keepalived, &mut self.conntrackd].into_iter().filter_map(Option::as_mut) {
            program.kill();
        }
        (self.keepalived, self.conntrackd) = (None, None);
        self.set_up()?;
        self.start_conntrackd()?;
        self.start_keepalived()
    }

    /// Whether it has the virtual address of the LAN.
    pub fn is_active(&self) -> bool {
        self.host.must(&["ip", "-o", "address"]).is_ok_and(|a| a.contains(&format!("{LAN}/32")))
    }

    /// The planned way out: keepalived is asked to end, says so to its neighbour, and is started again as the standby.
    pub fn hand_over(&mut self) -> Result<(), Failure> {
        let keepalived = self.keepalived.as_mut().ok_or("keepalived does not run")?;
        keepalived.signal(Signal::SIGTERM)?;
        keepalived.wait(READY).ok_or("keepalived does not end")?;
        Ok(())
    }

    /// Starts keepalived again after [`hand_over`](Self::hand_over) or after it was killed.
    pub fn start_keepalived(&mut self) -> Result<(), Failure> {
        // Of a killed one the children may live on, and its addresses certainly do.
        self.keepalived = None;
        let file = self.write("keepalived.conf", &self.keepalived_conf())?;
        let mut command = self.host.command("keepalived");
        command.args(["--dont-fork", "--log-console", "--log-detail", "--vrrp", "--use-file"]).arg(file);
        for (option, name) in [("--pid", "keepalived.pid"), ("--vrrp_pid", "vrrp.pid")] {
            command.arg(option).arg(self.path(name));
        }
        self.keepalived = Some(self.host.spawn("keepalived", command)?);
        Ok(())
    }

    /// How many times it became active so far, since its keepalived was started last.
    pub fn take_overs(&self) -> usize {
        let log = self.keepalived.as_ref().map(Process::log).unwrap_or_default();
        log.lines().filter(|l| l.contains("(LAN) Entering MASTER STATE")).count()
    }

    /// How many connections of the other router it holds, in user space or in its kernel.
    pub fn holds(&self) -> Result<u64, Failure> {
        if !self.setting.external_cache {
            return Ok(self.host.tracked()?);
        }
        let text = self.control(&["-s"])?;
        // "cache external:" and below it "current active connections: N".
        let external = text.split("cache external:").nth(1).unwrap_or_default();
        let number = external.lines().find_map(|l| l.trim().strip_prefix("current active connections:"));
        Ok(number.and_then(|n| n.trim().parse().ok()).unwrap_or(0))
    }

    /// What conntrackd did with a word of its own.
    pub fn control(&self, words: &[&str]) -> Result<String, Failure> {
        let mut all =
            vec!["conntrackd".to_owned(), "-C".into(), self.path("conntrackd.conf").display().to_string()];
        all.extend(words.iter().map(|w| (*w).to_owned()));
        Ok(self.host.must(&all)?)
    }

    fn set_up(&self) -> Result<(), Failure> {
        let n = self.index + 1;
        let legs = [
            ("enp1s0", format!("203.0.113.{}/24", n + 1)),
            ("enp2s0", format!("192.168.10.{n}/24")),
            ("enp3s0", format!("192.168.20.{n}/24")),
            ("enp4s0", format!("169.254.77.{n}/30")),
        ];
        let mut lines = String::new();
        for (device, address) in legs {
            writeln!(lines, "link set {device} up\naddress add {address} dev {device}")?;
        }
        lines += "route add default via 203.0.113.1\n";
        self.host.ip(&lines)?;
        self.host.sysctl(&["net.ipv4.ip_forward=1", "net.ipv4.conf.all.send_redirects=0"])?;
        self.host.nft(&rules())?;
        Ok(())
    }

    fn start_conntrackd(&mut self) -> Result<(), Failure> {
        let file = self.write("conntrackd.conf", &self.conntrackd_conf())?;
        let _ = fs::remove_file(self.path("conntrackd.lock"));
        let mut command = self.host.command("conntrackd");
        command.arg("-C").arg(file);
        let conntrackd = self.conntrackd.insert(self.host.spawn("conntrackd", command)?);
        let answers = {
            let socket = self.host.run_dir().join("conntrackd.ctl");
            wait_until(READY, || socket.exists() || !conntrackd.is_running())
        };
        if !answers || !conntrackd.is_running() {
            return Err(format!("conntrackd does not run: {}", conntrackd.log()).into());
        }
        Ok(())
    }

    fn keepalived_conf(&self) -> String {
        let script = self.path("role.sh");
        let priority = 200 - 100 * self.index;
        let role = |word: &str| format!("\"{} {word}\"", script.display());
        let seconds = f64::from(self.setting.advert_ms) / 1000.0;
        let mut text = format!(
            "global_defs {{\n  router_id {}\n  vrrp_version 3\n  script_user root\n  enable_script_security\n}}\n\
             vrrp_sync_group PAIR {{\n  group {{ WAN LAN DMZ }}\n  notify_master {}\n  notify_backup {}\n  notify_fault {}\n}}\n",
            self.host.name(),
            role("primary"),
            role("backup"),
            role("fault"),
        );
        let instances = [
            ("WAN", "enp1s0", 1, WAN.to_string()),
            ("LAN", "enp2s0", 10, LAN.to_string()),
            ("DMZ", "enp3s0", 20, "192.168.20.254".into()),
        ];
        let nopreempt = if self.setting.preempt { "" } else { "\n  nopreempt" };
        for (name, device, vrid, address) in instances {
            text += &format!(
                "vrrp_instance {name} {{\n  interface {device}\n  state BACKUP{nopreempt}\n  virtual_router_id {vrid}\n  \
                 priority {priority}\n  advert_int {seconds}\n  virtual_ipaddress {{ {address}/32 dev {device} }}\n}}\n"
            );
        }
        text
    }

    fn conntrackd_conf(&self) -> String {
        let (own, other) = (self.index + 1, 2 - self.index);
        let cache = if self.setting.external_cache { "off" } else { "on" };
        let path = |name: &str| self.path(name).display().to_string();
        format!(
            "Sync {{\n  Mode FTFW {{ DisableExternalCache {cache} }}\n  UDP {{\n    IPv4_address 169.254.77.{own}\n    \
             IPv4_Destination_Address 169.254.77.{other}\n    Port 3780\n    Interface enp4s0\n    \
             SndSocketBuffer {BUFFER_BYTES}\n    RcvSocketBuffer {BUFFER_BYTES}\n    Checksum on\n  }}\n}}\n\
             General {{\n  Systemd off\n  HashSize 131072\n  HashLimit {HASH_LIMIT}\n  LogFile {log}\n  LockFile {lock}\n  \
             UNIX {{ Path {socket} }}\n  NetlinkBufferSize {BUFFER_BYTES}\n  NetlinkBufferSizeMaxGrowth {BUFFER_BYTES}\n  \
             Filter From Userspace {{\n    Protocol Accept {{ TCP UDP ICMP }}\n    Address Ignore {{\n      \
             IPv4_address 127.0.0.1\n      IPv4_address 169.254.77.1\n      IPv4_address 169.254.77.2\n      \
             IPv4_address 203.0.113.2\n      IPv4_address 203.0.113.3\n    }}\n  }}\n}}\n",
            log = path("conntrackd.txt"),
            lock = path("conntrackd.lock"),
            socket = path("conntrackd.ctl"),
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.path(name);
        fs::write(&path, text)?;
        // What conntrackd's documentation says to do at each change of role.
        let script = self.path("role.sh");
        let tool = format!("/usr/sbin/conntrackd -C {}", self.path("conntrackd.conf").display());
        let text = format!(
            "#!/bin/sh\ncase $1 in\nprimary) {tool} -c; {tool} -f; {tool} -R; {tool} -B ;;\n\
             backup) {tool} -t; {tool} -n ;;\nfault) {tool} -t ;;\nesac\nexit 0\n"
        );
        fs::write(&script, text)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.host.run_dir().join(name)
    }
}

fn rules() -> String {
    format!(
        "table ip rules {{
  chain input {{ type filter hook input priority 0; policy drop;
    iifname \"lo\" accept
    ip protocol vrrp accept
    iifname \"enp4s0\" udp dport 3780 accept
    ct state established,related accept
    icmp type echo-request accept
  }}
  chain forward {{ type filter hook forward priority 0; policy drop;
    ct state established,related accept
    ct state invalid drop
    iifname \"enp2s0\" oifname \"enp1s0\" accept
    ct status dnat accept
  }}
  chain publish {{ type nat hook prerouting priority dstnat;
    iifname \"enp1s0\" ip daddr {WAN} tcp dport 7000 dnat to 192.168.20.11
  }}
  chain translate {{ type nat hook postrouting priority srcnat;
    oifname \"enp1s0\" snat to {WAN}
  }}
  chain sync {{ type filter hook prerouting priority raw; iifname \"enp4s0\" notrack; }}
  chain sync_out {{ type filter hook output priority raw; oifname \"enp4s0\" notrack; }}
}}
"
    )
}
