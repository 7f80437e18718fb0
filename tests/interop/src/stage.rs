//! The switch, the cables and the addresses.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rempart_plan::ha::{HaPlan, RouterPlan};

use crate::machine::{Machine, Running};

/// Kernel settings of a router, as the control daemon makes them for every device.
const SETTINGS: [&str; 6] = [
    "net.ipv4.conf.all.arp_ignore=1",
    "net.ipv4.conf.all.arp_announce=2",
    "net.ipv4.ip_forward=1",
    "net.ipv6.conf.all.forwarding=1",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv6.conf.default.accept_dad=0",
];

/// A network with two routers and a neighbour.
///
/// | | `eth0` | `sync` |
/// | --- | --- | --- |
/// | ours | 192.0.2.2, fe80::2, 2001:db8::2 | 169.254.77.1 |
/// | theirs | 192.0.2.3, fe80::3, 2001:db8::3 | 169.254.77.2 |
/// | client | 192.0.2.9, fe80::9, 2001:db8::9 | |
#[derive(Debug)]
pub struct Stage {
    /// The first router.
    pub ours: Machine,
    /// The second one.
    pub theirs: Machine,
    /// A neighbour on the segment.
    pub client: Machine,
    /// What they are plugged into.
    pub switch: Machine,
    folder: PathBuf,
}

impl Stage {
    /// Builds it.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("rempart-interop-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let [ours, theirs, client, switch] =
            ["ours", "theirs", "client", "switch"].map(|name| Machine::new(name, &folder));
        switch.sh("ip link add br0 type bridge stp_state 0 forward_delay 0; ip link set br0 up");
        for (machine, name, host) in [(&ours, "ours", 2), (&theirs, "theirs", 3), (&client, "client", 9)] {
            switch.sh(&format!(
                "ip link add {name} type veth peer name eth0 netns {}; ip link set {name} master br0 up",
                machine.pid()
            ));
            for setting in SETTINGS {
                machine.sh(&format!("sysctl -qw {setting}"));
            }
            machine.sh(&format!(
                "ip address add 192.0.2.{host}/24 dev eth0; ip link set eth0 addrgenmode none up
                 ip address add fe80::{host}/64 dev eth0 nodad; ip address add 2001:db8::{host}/64 dev eth0 nodad"
            ));
        }
        ours.sh(&format!("ip link add sync type veth peer name sync netns {}", theirs.pid()));
        for (machine, host) in [(&ours, 1), (&theirs, 2)] {
            machine.sh(&format!("ip address add 169.254.77.{host}/30 dev sync; ip link set sync up"));
        }
        Self { ours, theirs, client, switch, folder }
    }

    /// Starts `rempart-ha` on `machine` with this plan, its virtual links made as the control daemon makes them.
    pub fn elector(&self, machine: &Machine, plan: &HaPlan) -> Running {
        Self::make_links(machine, plan);
        self.elector_without_links(machine, plan)
    }

    /// Starts `rempart-ha` on `machine` with this plan.
    pub fn elector_without_links(&self, machine: &Machine, plan: &HaPlan) -> Running {
        store(machine, plan);
        self.elector_again(machine, plan)
    }

    /// Makes the virtual links of a plan as the control daemon does.
    pub fn make_links(machine: &Machine, plan: &HaPlan) {
        plan.routers.iter().for_each(|router| make_link(machine, router));
    }

    /// Starts `rempart-ha` with what is there.
    pub fn elector_again(&self, machine: &Machine, plan: &HaPlan) -> Running {
        let program = rempart_lab::program("rempart-ha").expect("rempart-ha is built");
        let state = machine.folder().to_str().expect("UTF-8");
        machine.start("rempart-ha", program, &["--node", &plan.node, "--state", state])
    }

    /// Whether `machine` has the virtual address on a device that is up.
    pub fn holds(machine: &Machine, address: &str) -> bool {
        !machine.sh(&format!("ip -o address show up to {address}")).trim().is_empty()
    }

    /// Pulls the cable of `name` (`ours`, `theirs`) out of the switch.
    pub fn unplug(&self, name: &str) {
        self.switch.sh(&format!("ip link set {name} down"));
    }

    /// Puts it back.
    pub fn plug(&self, name: &str) {
        self.switch.sh(&format!("ip link set {name} up"));
    }

    /// The Ethernet address at which the neighbour finds `address`, asked anew; empty if nobody answers.
    pub fn found_at(&self, address: &str) -> String {
        self.client.sh("ip neigh flush all");
        if !self.client.reaches(address) {
            return String::new();
        }
        let line = self.client.sh(&format!("ip neigh show {} dev eth0", address.trim_end_matches("%eth0")));
        line.split_whitespace().skip_while(|word| *word != "lladdr").nth(1).unwrap_or_default().to_owned()
    }

    /// Keys for two nodes of ours.
    pub fn pair(&self) {
        for (place, machine, peer) in [(0, &self.ours, "two"), (1, &self.theirs, "one")] {
            let folder = machine.folder().join("ha");
            fs::create_dir_all(&folder).expect("a folder");
            let secret = "5a".repeat(32);
            let text = format!("rempart pair 1\npeer {peer}\nplace {place}\nkey 00\nsecret {secret}\n");
            fs::write(folder.join("pair"), text).expect("written");
        }
    }

    /// Starts tcpdump on the neighbour's port for what passes `filter`, and waits until it listens.
    pub fn capture(&self, machine: &Machine, filter: &str) -> (Running, PathBuf) {
        let file = self.folder.join("capture.pcap");
        let path = file.to_str().expect("UTF-8");
        let tcpdump = machine.start(
            "tcpdump",
            "tcpdump",
            &["--immediate-mode", "-U", "-n", "-i", "eth0", "-w", path, filter],
        );
        crate::until("tcpdump listens", std::time::Duration::from_secs(10), || {
            tcpdump.log().contains("listening")
        });
        (tcpdump, file)
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
            return;
        }
        for machine in [&self.ours, &self.theirs] {
            eprintln!("---- {machine}\n{}", String::from_utf8_lossy(&machine.try_sh("ip address").stdout));
        }
    }
}

fn store(machine: &Machine, plan: &HaPlan) {
    let folder = machine.folder().join("ha");
    fs::create_dir_all(&folder).expect("a folder");
    let plan = serde_json::to_value(plan).expect("JSON");
    let stored = serde_json::json!({ "revision": 1, "plan": plan });
    fs::write(folder.join("plan.json"), stored.to_string()).expect("written");
}

fn make_link(machine: &Machine, router: &RouterPlan) {
    let (device, parent, vrid) = (&router.device, &router.parent, router.vrid);
    let v6 = router.addresses.first().is_some_and(|net| net.addr().is_ipv6());
    let carp = router.carp.is_some();
    let block = if v6 && !carp { 2 } else { 1 };
    machine.sh(&format!(
        "ip link add {device} link {parent} address 00:00:5e:00:0{block}:{vrid:02x} type macvlan mode bridge
         ip link set {device} addrgenmode none alias rempart
         sysctl -qw net.ipv4.conf.{device}.rp_filter=0 net.ipv4.conf.{device}.arp_ignore=1
         sysctl -qw net.ipv6.conf.{device}.accept_ra=0 net.ipv6.conf.{device}.router_solicitations=0"
    ));
}
