//! What can go wrong on purpose: cables, segments, packets, programs, power.
//!
//! What concerns frames happens in the switch's namespace. Filters are in one nftables table there, so that each takes
//! effect at one instant, for all ports that it names:
//!
//! ```text
//!   port ──▶ prerouting: dark ports ──▶ forward: filters and splits ──▶ postrouting: dark ports ──▶ port
//! ```

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::SWITCH;
use crate::record::Cable;
use crate::{Lab, namespace};

const TABLE: &str = "bridge lab";

/// The table as it is made with the switch. The chains' names say what they hold. At priority 0 the kernel's own
/// bridge-nf-call-iptables would take packets past the chain.
pub(crate) const SWITCH_RULES: &str = "table bridge lab {
  set dark { type ifname; }
  chain enter { type filter hook prerouting priority -300; iifname @dark drop; }
  chain pass { type filter hook forward priority -200; }
  chain leave { type filter hook postrouting priority 300; oifname @dark drop; }
}
";

impl Lab {
    /// Pulls the cable of a host to a segment, at the switch: the host's device loses its carrier, and the switch forgets what it
    /// learned on that port.
    pub fn cut(&self, host: &str, segment: &str) -> Result<()> {
        self.set_ports(&self.cables_between(host, segment)?, "down")
    }

    /// Puts a cable back in.
    pub fn mend(&self, host: &str, segment: &str) -> Result<()> {
        self.set_ports(&self.cables_between(host, segment)?, "up")
    }

    /// From now on no frame passes directly between two hosts on a segment; each reaches all others there.
    pub fn split(&self, segment: &str, one: &str, other: &str) -> Result<()> {
        self.deafen(segment, one, other)?;
        self.deafen(segment, other, one)
    }

    /// From now on no frame passes from one host to another on a segment; the way back stays.
    pub fn deafen(&self, segment: &str, from: &str, to: &str) -> Result<()> {
        let (from, to) = (self.cables_between(from, segment)?, self.cables_between(to, segment)?);
        self.add_filter(&format!("iifname {} oifname {}", ports(&from), ports(&to)))
    }

    /// From now on the frames of a segment that match an nftables expression of the bridge family are dropped:
    /// `meta l4proto 112`, `udp dport 47800`.
    pub fn filter(&self, segment: &str, expression: &str) -> Result<()> {
        let cables: Vec<_> = self.record().cables.iter().filter(|c| c.segment == segment).collect();
        if cables.is_empty() {
            bail!("no segment {segment:?}");
        }
        self.add_filter(&format!("iifname {} {expression}", ports(&cables)))
    }

    /// Ends all [`split`](Self::split), [`deafen`](Self::deafen) and [`filter`](Self::filter).
    pub fn heal(&self) -> Result<()> {
        self.switch_rules(&format!("flush chain {TABLE} pass\n"))
    }

    /// The power of a host fails: at one instant no frame of it leaves or arrives any more, then its processes are killed and its
    /// cables go down. Its kernel goes with [`power_on`](Self::power_on).
    pub fn power_off(&self, host: &str) -> Result<()> {
        self.darken(host, true)?;
        namespace::signal(&self.record().namespace_of(host), Signal::SIGKILL)?;
        self.set_ports(&self.cables_of(host), "down")
    }

    /// The power of a router returns: a kernel that knows nothing, the cables, and the files of its run folder. Nothing runs on it
    /// until [`Node::boot`](crate::Node::boot).
    pub fn power_on(&self, router: &str) -> Result<()> {
        if !self.host(router).is_router() {
            bail!("{router} is no router: only those set themselves up again");
        }
        let (name, cables) = (self.record().namespace_of(router), self.cables_of(router));
        namespace::signal(&name, Signal::SIGKILL)?;
        let switch = self.record().namespace_of(SWITCH);
        let gone: String = cables.iter().map(|c| format!("link del {}\n", c.port)).collect();
        namespace::batch(&switch, &gone)?;
        namespace::renew(&name)?;
        namespace::batch(&switch, &self.cabling(&cables)?)?;
        self.darken(router, false)
    }

    /// A host stands still, as a machine does whose hypervisor stops it: no frame passes, no process runs, no cable is out.
    pub fn freeze(&self, host: &str) -> Result<()> {
        self.darken(host, true)?;
        namespace::signal(&self.record().namespace_of(host), Signal::SIGSTOP)?;
        Ok(())
    }

    /// A frozen host goes on.
    pub fn thaw(&self, host: &str) -> Result<()> {
        self.darken(host, false)?;
        namespace::signal(&self.record().namespace_of(host), Signal::SIGCONT)?;
        Ok(())
    }

    /// Sends a signal to every process of a program on a host; with a word, to those that have it among their arguments.
    /// Returns how many there were; none is an error.
    pub fn signal(&self, host: &str, program: &str, word: Option<&str>, signal: Signal) -> Result<usize> {
        let inhabitants = namespace::inhabitants(&self.record().namespace_of(host))?;
        let meant: Vec<_> = inhabitants
            .iter()
            .filter(|i| i.runs(program) && word.is_none_or(|w| i.arguments.iter().any(|a| a == w)))
            .collect();
        if meant.is_empty() {
            let names = |i: &namespace::Inhabitant| i.arguments.first().cloned();
            let all: Vec<_> = inhabitants.iter().filter_map(names).collect();
            bail!("no {program} runs on {host}; there are {}", all.join(", "));
        }
        for inhabitant in &meant {
            kill(Pid::from_raw(inhabitant.pid), signal)
                .with_context(|| format!("{program} on {host}, process {}", inhabitant.pid))?;
        }
        Ok(meant.len())
    }

    /// Kills every process of a program on a host: SIGKILL.
    pub fn kill9(&self, host: &str, program: &str) -> Result<usize> {
        self.signal(host, program, None, Signal::SIGKILL)
    }

    /// The segments that a host has a cable to, in the order of its legs.
    pub fn segments_of(&self, host: &str) -> Vec<&str> {
        self.cables_of(host).into_iter().map(|c| c.segment.as_str()).collect()
    }

    /// The device by which a host is on a segment.
    pub fn device_on(&self, host: &str, segment: &str) -> Result<&str> {
        Ok(&self.cables_between(host, segment)?[0].device)
    }

    /// The device in the switch at the other end of a host's cable, to listen there.
    pub fn port_of(&self, host: &str, segment: &str) -> Result<&str> {
        Ok(&self.cables_between(host, segment)?[0].port)
    }

    /// A command in the switch, where all segments can be listened to.
    pub fn switch_command(&self, program: impl AsRef<Path>) -> std::process::Command {
        namespace::command(&self.record().namespace_of(SWITCH), program.as_ref())
    }

    fn darken(&self, host: &str, dark: bool) -> Result<()> {
        let verb = if dark { "add" } else { "delete" };
        let cables = self.cables_of(host);
        // In one transaction. Adding twice is no error, deleting what is not there is: so all are added before.
        let mut script = format!("add element {TABLE} dark {}\n", ports(&cables));
        writeln!(script, "{verb} element {TABLE} dark {}", ports(&cables))?;
        self.switch_rules(&script)
    }

    fn add_filter(&self, expression: &str) -> Result<()> {
        self.switch_rules(&format!("add rule {TABLE} pass {expression} counter drop\n"))
    }

    fn switch_rules(&self, script: &str) -> Result<()> {
        namespace::nft(&self.record().namespace_of(SWITCH), script)
    }

    fn cables_of(&self, host: &str) -> Vec<&Cable> {
        self.record().cables.iter().filter(|c| c.host == host).collect()
    }

    fn cables_between(&self, host: &str, segment: &str) -> Result<Vec<&Cable>> {
        let cables: Vec<_> = self.cables_of(host).into_iter().filter(|c| c.segment == segment).collect();
        if cables.is_empty() {
            bail!("{host} has no cable to {segment}; it has {}", self.segments_of(host).join(", "));
        }
        Ok(cables)
    }

    fn set_ports(&self, cables: &[&Cable], state: &str) -> Result<()> {
        let lines: String = cables.iter().map(|c| format!("link set {} {state}\n", c.port)).collect();
        namespace::batch(&self.record().namespace_of(SWITCH), &lines)
    }
}

/// The ports of cables as nftables writes a set.
fn ports(cables: &[&Cable]) -> String {
    let names: Vec<_> = cables.iter().map(|c| format!("\"{}\"", c.port)).collect();
    format!("{{ {} }}", names.join(", "))
}
