//! What a process costs, from proc(5).

use std::fs;

use rempart_kernel_tests::node::Failure;

/// A process.
#[derive(Clone, Copy, Debug)]
pub struct Weighed(pub u32);

impl Weighed {
    /// Seconds of a processor so far, its own and the kernel's for it.
    pub fn cpu_s(self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        let (_, fields) = stat.rsplit_once(") ").ok_or("a name")?;
        let ticks: Vec<f64> = fields.split(' ').skip(11).take(2).filter_map(|n| n.parse().ok()).collect();
        // A hundred a second, whatever the kernel's own clock does (time(7)).
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }

    /// Memory that is there, in MiB.
    pub fn rss_mib(self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("VmRSS")?;
        let kib: f64 = line.split_whitespace().next().ok_or("a number")?.parse()?;
        Ok(kib / 1024.0)
    }
}
