//! The program `rempart-vpn` as it is shipped, on a state that the bench has written: a single box with an authority and people
//! who come in by certificate alone, as the stock server's do.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rempart_bus::vpn::{ExportRequest, UserFields, UserRequest};
use rempart_daemon::vpn::people::Settings;
use rempart_identity::demand::Language;
use rempart_kernel_tests::node::Failure;
use rempart_plan::remote::RemotePlan;
use rempart_plan::vpn::{CertificatePlan, GroupPlan, Remote, VpnPlan};

// The same as in the daemon's tests.
#[path = "../../../../appliance/daemon/tests/people/alone.rs"]
mod alone;

use super::client::Credentials;
use super::common::Namespace;
use super::weigh::Weighed;

/// Our address inside.
pub const INNER: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
/// Devices of a person.
pub const DEVICES_EACH: usize = 16;
/// The ruleset's sets of those who are connected, without the ruleset.
const SETS: &str = "table inet rempart { set vpn_live4 { type ipv4_addr; flags interval; }; \
                    set vpn_live6 { type ipv6_addr; flags interval; }; }";
const START: Duration = Duration::from_secs(10);

/// The running program. Dropping it ends it.
pub struct Gateway {
    child: Child,
    /// Of all devices.
    pub profiles: Vec<String>,
}

impl Gateway {
    /// Makes so many devices and starts the program; it listens at `local`.
    pub fn up(server: &Namespace, folder: &Path, local: SocketAddr, devices: usize) -> Result<Self, Failure> {
        let state = folder.join("rempart-vpn");
        let _ = fs::remove_dir_all(&state);
        fs::create_dir_all(state.join("vpn"))?;
        let plan = plan(local);
        let profiles = people(&state, &plan, devices)?;
        let remote = RemotePlan { index: 0, paired: false, vpn: Some(plan), wireguard: None };
        fs::write(state.join("vpn/plan.json"), serde_json::to_vec(&remote)?)?;
        server.shell(&format!("echo '{SETS}' | nft -f -"));
        let program: PathBuf = rempart_lab::program("rempart-vpn")?;
        let log = fs::File::create(folder.join("rempart-vpn.log"))?;
        let mut command = Command::new(program);
        command.args(["--node", "bench", "--state"]).arg(&state).arg("--run").arg(state.join("run"));
        // There is no bus, and the machine's own is not asked.
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent");
        command.stdout(log.try_clone()?).stderr(log);
        fs::create_dir_all(state.join("run"))?;
        let child = server.run(move || command.spawn())?;
        let gateway = Self { child, profiles };
        let end = Instant::now() + START;
        while !server.shell("ip -o address").contains(&format!("{INNER}/")) {
            if Instant::now() > end {
                return Err("rempart-vpn does not come up".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(gateway)
    }

    /// What each device has.
    pub fn credentials(&self) -> Result<Vec<Arc<Credentials>>, Failure> {
        self.profiles.iter().map(|profile| Ok(Arc::new(Credentials::of_profile(profile)?))).collect()
    }

    /// What it costs.
    pub fn weighed(&self) -> Weighed {
        Weighed(self.child.id())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plan(local: SocketAddr) -> VpnPlan {
    VpnPlan {
        node: "bench".to_owned(),
        index: 0,
        peer: None,
        device: "vpn0".to_owned(),
        kernel_device: None,
        udp: vec![local],
        tcp: Vec::new(),
        remotes: vec![Remote { host: local.ip().to_string(), port: local.port(), tcp: false }],
        mtu: 1500,
        max_sessions: 16_000,
        rekey_s: 3600,
        idle_s: 120,
        tls12: true,
        groups: vec![GroupPlan {
            name: "agents".to_owned(),
            pool4: Some(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(10, 8, 0, 0), 16)),
            pool6: None,
            certificate: true,
            password: false,
            code: false,
            full_tunnel: false,
            routes: Vec::new(),
            dns: Vec::new(),
            domain: None,
            search: Vec::new(),
            max_sessions: None,
            sessions_each: 16_000,
            session_limit_s: None,
            directory_groups: Vec::new(),
        }],
        strangers: None,
        directory: None,
        radius: None,
        certificates: CertificatePlan { organisation: "Bench".to_owned(), device_days: 30, warn_days: 10 },
    }
}

/// The authority, people, and a profile for each of their devices: two clients with one profile are one device, whose new session
/// ends the one before.
fn people(state: &Path, plan: &VpnPlan, devices: usize) -> Result<Vec<String>, Failure> {
    let settings = Settings { state: state.to_owned(), node: plan.node.clone(), language: Language::English };
    let registry = alone::open(settings, Arc::new(|_| {}));
    let office = registry.office();
    let failed = |error| Failure::from(format!("{error:?}"));
    office.configure(Some(plan.clone()), 1);
    office.make_authority("", "bench").map_err(failed)?;
    for number in 0..devices.div_ceil(DEVICES_EACH) {
        let fields = UserFields { groups: Some(vec!["agents".to_owned()]), ..UserFields::default() };
        office.add_user(&UserRequest { name: user(number), fields }, "bench").map_err(failed)?;
    }
    (0..devices)
        .map(|number| {
            let (user, label) = (user(number / DEVICES_EACH), format!("device{}", number % DEVICES_EACH));
            let request = ExportRequest { user: Some(user), label: Some(label), device: None };
            Ok(office.export(&request, "bench").map_err(failed)?.text)
        })
        .collect()
}

/// The name of a person.
pub fn user(number: usize) -> String {
    format!("user{number}")
}
