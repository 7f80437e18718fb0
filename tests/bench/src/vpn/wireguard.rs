//! Our WireGuard at both ends, as the program runs it, and a stock one in user space at both ends: boringtun's own program, where it
//! is installed (`cargo install boringtun-cli`), or else wireguard-go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rempart_daemon::vpn::seam::{Kind, Replica, ReplicaTicket};
use rempart_daemon::vpn::wireguard::Wireguard;
use rempart_kernel_tests::node::Failure;
use rempart_plan::wireguard::{WireguardPeerPlan, WireguardPlan};

use super::common::Namespace;

/// The server's end of our tunnel, and of the stock one's.
pub const OURS: &str = "10.10.0.1";
pub const THEIRS: &str = "10.11.0.1";

/// Nobody else holds anything.
struct Alone;

impl Replica for Alone {
    fn put(&self, _: Kind, _: &[u8], _: zeroize::Zeroizing<Vec<u8>>) -> ReplicaTicket {
        ReplicaTicket(0)
    }
    fn remove(&self, _: Kind, _: &[u8]) {}
}

/// One end.
struct End {
    namespace: &'static str,
    number: u8,
}

const ENDS: [End; 2] = [End { namespace: "server", number: 1 }, End { namespace: "client", number: 2 }];

/// Makes the private keys of both ends; the public ones, in base64.
pub fn keys(folder: &Path) -> Result<[String; 2], Failure> {
    let mut public = [String::new(), String::new()];
    for (end, public) in ENDS.iter().zip(&mut public) {
        let file = folder.join(end.namespace);
        let line = format!("wg genkey > {0} && wg pubkey < {0}", file.display());
        let output = Command::new("sh").args(["-c", &line]).output()?;
        *public = String::from_utf8(output.stdout)?.trim().to_owned();
    }
    Ok(public)
}

/// Ours at both ends, between 192.0.2.1 and 192.0.2.2.
pub fn ours(
    server: &Namespace,
    client: &Namespace,
    folder: &Path,
    public: &[String; 2],
) -> Result<[Wireguard; 2], Failure> {
    let start = |namespace: &Namespace, end: &End, other: &End, key: &str| -> Result<Wireguard, Failure> {
        let plan = WireguardPlan {
            device: "wgours".into(),
            listen: vec![format!("192.0.2.{}:51820", end.number).parse()?],
            addresses: vec![format!("10.10.0.{}/24", end.number).parse()?],
            routes: Vec::new(),
            mtu: 1420,
            private_key: end.namespace.into(),
            peers: vec![WireguardPeerPlan {
                name: other.namespace.into(),
                public_key: decode(key)?,
                preshared_key: None,
                allowed: vec![format!("10.10.0.{}/32", other.number).parse()?],
                endpoint: Some(format!("192.0.2.{}:51820", other.number).parse()?),
                keepalive_s: None,
            }],
        };
        let folder = folder.to_owned();
        let wireguard = namespace.run(move || Wireguard::start(Some(plan), &folder, Arc::new(Alone)))?;
        wireguard.set_active(true);
        Ok(wireguard)
    };
    let [one, other] = &ENDS;
    Ok([start(server, one, other, &public[1])?, start(client, other, one, &public[0])?])
}

fn decode(key: &str) -> Result<[u8; 32], Failure> {
    let output = Command::new("sh").args(["-c", &format!("echo {key} | base64 -d")]).output()?;
    Ok(output.stdout.try_into().map_err(|_| format!("{key} is no key"))?)
}

/// A stock WireGuard in user space at both ends. Dropping it ends them.
pub struct Userspace {
    name: &'static str,
    running: Vec<(Child, PathBuf)>,
}

/// Programs that are looked for, and what they are called in the report: both are told and shown by the same socket.
const PROGRAMS: [(&str, &[&str], &str); 2] = [
    ("boringtun-cli", &["--foreground", "--disable-drop-privileges"], "boringtun-cli"),
    ("wireguard-go", &["--foreground"], "wireguard-go"),
];

impl Userspace {
    /// The first of the programs that is installed; `None` where there is none.
    pub fn up(
        server: &Namespace,
        client: &Namespace,
        folder: &Path,
        public: &[String; 2],
    ) -> Result<Option<Self>, Failure> {
        let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
        let Some((program, options, name)) = PROGRAMS.into_iter().find(|(program, ..)| there(program)) else {
            eprintln!(
                "  neither boringtun-cli nor wireguard-go is installed: nothing is measured beside them"
            );
            return Ok(None);
        };
        let mut userspace = Self { name, running: Vec::new() };
        let [one, other] = &ENDS;
        for (namespace, own, peer, key) in
            [(server, one, other, &public[1]), (client, other, one, &public[0])]
        {
            let device = format!("wg{}{}", std::process::id() % 1_000_000, own.number);
            let mut command = Command::new(program);
            command.args(options).arg(&device);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            // It asks for confirmation where the kernel could do it.
            command.env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1");
            let socket = PathBuf::from(format!("/var/run/wireguard/{device}.sock"));
            userspace.running.push((namespace.run(move || command.spawn())?, socket.clone()));
            for _ in 0..100 {
                if socket.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let (file, n, m) = (folder.join(own.namespace), own.number, peer.number);
            namespace.shell(&format!(
                "wg set {device} private-key {} listen-port 51821 peer {key} endpoint 192.0.2.{m}:51821 \
                 allowed-ips 10.11.0.{m}/32 && ip link set {device} mtu 1420",
                file.display()
            ));
            namespace.set_up(&device, &[&format!("10.11.0.{n}/24")]);
        }
        Ok(Some(userspace))
    }

    /// What it is called in the report.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl Drop for Userspace {
    fn drop(&mut self) {
        for (child, socket) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_file(socket);
        }
    }
}
