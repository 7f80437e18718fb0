//! Owns the verbs about WireGuard: its key, and where a client's configuration goes.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use rempart_bus::vpn::{WireguardClient, WireguardClientRequest, WireguardKey, WireguardStatus};

use super::{said, writable, write};
use crate::bus::{Failure, Request};
use crate::cli::print::{dim, heads, plain};
use crate::cli::run::{Console, Stop, connect};
use crate::cli::table::{Align, Table};
use crate::format::{bytes, date_time};
use crate::vpn::{Answer, Ask};
use crate::words::Tone;
use crate::{id, tr};

/// A verb about WireGuard.
#[derive(Subcommand, PartialEq, Eq, Debug)]
pub enum WireguardVerb {
    /// How it is.
    Status,
    /// The gateway's key.
    Key {
        /// Another one.
        #[arg(long)]
        anew: bool,
    },
    /// A client's configuration.
    Client(ClientArgs),
}

/// For whom a configuration is, what stands in it, and where it goes.
#[derive(Args, PartialEq, Eq, Debug)]
pub struct ClientArgs {
    /// The peer.
    pub peer: String,
    /// Its addresses.
    #[arg(long, value_name = "ADDRESS,ADDRESS", value_delimiter = ',')]
    pub address: Vec<String>,
    /// What goes into the tunnel.
    #[arg(long, value_name = "NET,NET", value_delimiter = ',')]
    pub routes: Vec<String>,
    /// Resolvers.
    #[arg(long, value_name = "ADDRESS,ADDRESS", value_delimiter = ',')]
    pub dns: Vec<String>,
    /// Where the gateway is.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub endpoint: Option<String>,
    /// With a preshared key.
    #[arg(long)]
    pub preshared: bool,
    /// A file, a folder, or `-`.
    #[arg(long, short, value_name = "PATH")]
    pub out: Option<PathBuf>,
    /// A QR code.
    #[arg(long, conflicts_with = "out")]
    pub qr: bool,
}

/// `rempart vpn wireguard client`: the key is made for this answer and nowhere else, so where it goes is tried first.
pub async fn client(console: &Console, args: ClientArgs, by: String) -> Result<(), Stop> {
    let ClientArgs { peer, address, routes, dns, endpoint, preshared, out, qr } = args;
    let lang = console.lang;
    let to = out.unwrap_or_else(|| if console.json || qr { "-".into() } else { ".".into() });
    let printed = to.as_os_str() == "-";
    let folder = to.is_dir();
    if !printed && !folder && to.exists() {
        return Err(Stop::Usage(tr!(lang, "vpn-export-exists", file = to.display().to_string())));
    }
    if folder {
        writable(&to).map_err(|error| Stop::file(lang, &to.display().to_string(), &error))?;
    }
    let request = WireguardClientRequest { peer, addresses: address, routes, dns, endpoint, preshared };
    let ask = Ask::WireguardClient(request, by);
    let request = Request::Vpn(Box::new(ask.clone()));
    let answer = said(console, &connect().await?, &request).await?;
    if console.json {
        console.line(&answer);
        return Ok(());
    }
    let Answer::WireguardClient(client) = ask.read(&answer).map_err(Failure::Garbled)? else {
        return Ok(());
    };
    if qr {
        if client.qr.is_empty() {
            return Err(Stop::Usage(tr!(lang, "wireguard-no-code")));
        }
        let plain = std::env::var("TERM").is_ok_and(|term| term == "linux");
        console.line(&if plain { client.qr.join("\n") } else { halved(&client.qr).join("\n") });
        console.line(&tr!(lang, "wireguard-shown", peer = client.peer.as_str()));
    } else if printed {
        // What follows is a comment to whoever reads the file.
        let entry = client.entry.lines().map(|line| format!("# {line}\n")).collect::<String>();
        console.line(&format!("{}{entry}", client.text));
        return Ok(());
    } else {
        let path = if folder { to.join(&client.file) } else { to };
        let file = path.display().to_string();
        write(&path, &client.text).map_err(|error| {
            Stop::Usage(tr!(lang, "wireguard-lost", file = file.as_str(), error = error.to_string()))
        })?;
        console.line(&tr!(lang, "wireguard-exported", file = file, peer = client.peer.as_str()));
    }
    console.line(&console.entry(&client));
    Ok(())
}

/// The same code at half the width and height, for terminals whose font has half blocks: the console's own has none.
pub(super) fn halved(lines: &[String]) -> Vec<String> {
    let light = |line: Option<&String>| -> Vec<bool> {
        line.map(|line| line.chars().step_by(2).map(|c| c == '█').collect()).unwrap_or_default()
    };
    let pairs = lines.chunks(2).map(|pair| (light(pair.first()), light(pair.get(1))));
    let row = |(upper, lower): (Vec<bool>, Vec<bool>)| {
        let lower = lower.into_iter().chain(std::iter::repeat(false));
        let block = |(upper, lower)| match (upper, lower) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        upper.into_iter().zip(lower).map(block).collect()
    };
    pairs.map(row).collect()
}

impl Console {
    /// What the document must have of a client.
    fn entry(&self, client: &WireguardClient) -> String {
        format!("{}\n\n{}", tr!(self.lang, "wireguard-entry"), client.entry)
    }

    /// The gateway's key.
    pub fn wireguard_key(&self, key: &WireguardKey) -> String {
        let id = if key.made { id!("wireguard-key-made") } else { id!("wireguard-key-there") };
        tr!(self.lang, id, key = key.public_key.as_str())
    }

    /// How WireGuard is.
    pub fn wireguard(&self, s: &WireguardStatus) -> String {
        let lang = self.lang;
        let node = s.node.as_str();
        if !s.enabled {
            return self.paint.tone(Tone::Dim, &tr!(lang, "wireguard-off", node = node)) + "\n";
        }
        let peers = s.peers.len();
        let first = if s.active {
            let text = tr!(lang, "wireguard-carries", node = node, peers = peers, device = s.device.as_str());
            self.paint.tone(Tone::Good, &text)
        } else {
            tr!(lang, "wireguard-waits", node = node, peers = peers)
        };
        let mut lines = vec![first, self.paint.tone(Tone::Warn, &tr!(lang, "wireguard-outside"))];
        if !s.listen.is_empty() {
            lines.push(tr!(lang, "vpn-listens", addresses = s.listen.join(", ")));
        }
        lines.push(match s.backend.as_str() {
            "userspace" => tr!(lang, "wireguard-backend-userspace"),
            _ => tr!(lang, "wireguard-backend-none"),
        });
        lines.push(match &s.public_key {
            Some(key) => tr!(lang, "wireguard-public-key", key = key.as_str()),
            None => self.paint.tone(Tone::Warn, &tr!(lang, "wireguard-no-key")),
        });
        // Without the key nothing is as it should be, and that has been said.
        if let Some(why) = s.trouble.as_ref().filter(|_| s.public_key.is_some()) {
            lines.push(self.paint.tone(Tone::Bad, &tr!(lang, "wireguard-trouble", why = why.as_str())));
        }
        let mut out = lines.join("\n") + "\n";
        if peers > 0 {
            out.push_str(&self.wireguard_peers(s));
        }
        out
    }

    fn wireguard_peers(&self, s: &WireguardStatus) -> String {
        let lang = self.lang;
        let mut table = heads!(lang;
            "head-peer" Left, "head-address" Left, "head-endpoint" Left, "head-handshake" Left,
            "head-received" Right, "head-sent" Right);
        for p in &s.peers {
            table.row([
                (p.name.clone(), Tone::Accent),
                plain(p.allowed.join(" ")),
                plain(p.endpoint.as_deref().unwrap_or("-")),
                plain(p.handshake.as_ref().map_or("-".to_owned(), |time| date_time(&self.tz, time))),
                plain(bytes(lang, p.bytes_in)),
                dim(bytes(lang, p.bytes_out)),
            ]);
        }
        table.print(self.paint)
    }
}
