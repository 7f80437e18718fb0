//! WireGuard as a person has it: a configuration that the console has written, and the stock `wg-quick` with wireguard-go.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rempart_bus::vpn::WireguardClient;

use crate::process::{output_within, succeeded};
use crate::{Host, Node};

/// How long `wg-quick` may take: it starts a program and makes a device.
const QUICK: Duration = Duration::from_secs(20);

/// Devices have names of their own on the whole machine: wireguard-go's sockets are in one folder for all namespaces.
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A stock client that is up. Dropping it takes it down.
#[derive(Debug)]
pub struct Wireguard {
    host: Host,
    config: PathBuf,
}

impl Host {
    /// Has `wg-quick` bring up what a configuration says.
    pub fn wg_quick(&self, config: &Path) -> Result<Wireguard> {
        let client = Wireguard { host: self.clone(), config: config.to_path_buf() };
        let output = output_within(client.quick("up"), QUICK)?;
        succeeded(output, &format!("wg-quick up on {}", self.name()))?;
        Ok(client)
    }
}

impl Wireguard {
    fn quick(&self, verb: &str) -> Command {
        let mut command = self.host.command("wg-quick");
        command.arg(verb).arg(&self.config).env("WG_QUICK_USERSPACE_IMPLEMENTATION", "wireguard-go");
        command
    }

    /// The name of its device.
    pub fn device(&self) -> String {
        self.config.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// When its last handshake was, in seconds since 1970; `None` before the first.
    pub fn last_handshake(&self) -> Result<Option<u64>> {
        let said = self.host.must(&["wg", "show", &self.device(), "latest-handshakes"])?;
        let time = said.split_whitespace().nth(1).context("one peer")?.parse()?;
        Ok(Some(time).filter(|time| *time > 0))
    }

    /// Where it believes the gateway to be.
    pub fn endpoint(&self) -> Result<String> {
        let said = self.host.must(&["wg", "show", &self.device(), "endpoints"])?;
        Ok(said.split_whitespace().nth(1).context("one peer")?.to_owned())
    }
}

impl Drop for Wireguard {
    fn drop(&mut self) {
        // The lab may be gone, and the device with it.
        let _ = output_within(self.quick("down"), QUICK);
    }
}

impl Node {
    /// A configuration for a client, made by the console's verb: the file that it is in, and what the document has to say of it.
    pub fn wireguard_client(&self, peer: &str, words: &[&str]) -> Result<(PathBuf, String)> {
        let verb = [&["vpn", "wireguard", "client", peer, "--json"], words].concat();
        let made: WireguardClient = serde_json::from_str(&self.must(&verb)?)?;
        if made.qr.is_empty() {
            bail!("it fits no QR code");
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = self.host().run_dir().join(format!("wg{}x{number}.conf", std::process::id()));
        fs::write(&file, &made.text)?;
        Ok((file, made.entry))
    }
}
