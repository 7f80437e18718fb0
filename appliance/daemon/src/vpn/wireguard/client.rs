//! What a client of WireGuard is given: one small file, as `wg-quick` and the applications read it, and what the document has
//! to say of it. Pure.
//!
//! The gateway makes the client's key for this one answer and keeps nothing of it, as with the profiles of OpenVPN. Who would
//! rather make it on the device writes its public key into the document instead.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{WireguardClient, WireguardClientRequest};
use rempart_identity::secret::Secret as Text;
use rempart_identity::totp;
use rempart_plan::wireguard::{WireguardPeerPlan, WireguardPlan};
use rempart_wireguard::{PublicKey, Secret};
use zeroize::Zeroizing;

/// Most addresses, networks and resolvers of each sort: more is a slip of the hand, and fits no QR code.
const MAX_LIST: usize = 64;
/// Addresses that are looked at for a free one: all of a /16, and each peer may have some.
const MAX_TRIES: usize = 1 << 16;
/// Longest name of a host (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
/// What `wg-quick` takes for the MTU by itself.
const USUAL_MTU: u16 = 1_420;
/// A client is behind a translator more often than not: it must not forget it, or the node that takes over asks in vain.
const KEEPALIVE_S: u16 = 25;

/// What a client is made of.
pub struct Parts<'a> {
    /// What the document asks for.
    pub plan: &'a WireguardPlan,
    /// The gateway's key.
    pub gateway: PublicKey,
    /// The client's key.
    pub key: &'a Secret,
    /// The key that both have beside theirs, and the name of its secret.
    pub preshared: Option<(&'a str, &'a Secret)>,
}

/// A name that the document may give a peer.
pub fn peer_name(request: &WireguardClientRequest) -> Result<&str, Error> {
    let name = request.peer.as_str();
    if !rempart_config::is_name(name) {
        return Err(bad(format!("`{name}` is no name for a peer")));
    }
    Ok(name)
}

/// The configuration.
pub fn make(parts: &Parts<'_>, request: &WireguardClientRequest) -> Result<WireguardClient, Error> {
    let Parts { plan, gateway, key, preshared } = parts;
    let name = peer_name(request)?;
    let known = plan.peers.iter().find(|peer| peer.name == name);
    let addresses = addresses(plan, known, request)?;
    let routes = networks(&request.routes)?;
    let dns = list::<IpAddr>(&request.dns, "an address")?;
    let endpoint = endpoint(plan, request.endpoint.as_deref())?;
    let public_key = key.public();

    let mut text = Zeroizing::new(String::new());
    let _ = writeln!(text, "[Interface]\nPrivateKey = {}", *key.to_base64());
    let _ = writeln!(text, "Address = {}", joined(&addresses));
    if !dns.is_empty() {
        let _ = writeln!(text, "DNS = {}", joined(&dns));
    }
    if plan.mtu != USUAL_MTU {
        let _ = writeln!(text, "MTU = {}", plan.mtu);
    }
    let _ = writeln!(text, "\n[Peer]\nPublicKey = {gateway}");
    if let Some((_, secret)) = preshared {
        let _ = writeln!(text, "PresharedKey = {}", *secret.to_base64());
    }
    let everything = || vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    let routes = if routes.is_empty() { everything() } else { strings(&routes) };
    let _ = writeln!(text, "AllowedIPs = {}\nEndpoint = {endpoint}", routes.join(", "));
    let _ = writeln!(text, "PersistentKeepalive = {KEEPALIVE_S}");

    // One too long for a code still fits into a file.
    let qr = totp::qr(&Text::from(text.as_str())).unwrap_or_default();
    Ok(WireguardClient {
        peer: name.to_owned(),
        public_key: public_key.to_string(),
        file: file(name),
        text: text.to_string(),
        entry: entry(name, public_key, &addresses, known, preshared.map(|(name, _)| name)),
        qr,
    })
}

/// `wg-quick` names the device after the file, and a device's name has 15 letters at most.
fn file(name: &str) -> String {
    let short: String = name.chars().take(15).collect();
    format!("{short}.conf")
}

/// What the document has to say. Networks behind the peer stay as they are there.
fn entry(
    name: &str,
    key: PublicKey,
    addresses: &[IpNet],
    known: Option<&WireguardPeerPlan>,
    preshared: Option<&str>,
) -> String {
    let behind = known.map_or(&[][..], |peer| peer.allowed.as_slice());
    let behind = behind.iter().filter(|net| !addresses.contains(net));
    let nets: Vec<String> = addresses.iter().chain(behind).map(|net| format!("\"{net}\"")).collect();
    let mut out =
        format!("[wireguard.peer.{name}]\npublic_key = \"{key}\"\naddress = [{}]\n", nets.join(", "));
    if let Some(secret) = preshared {
        let _ = writeln!(out, "preshared_key = \"{secret}\"");
    }
    out
}

/// Those that were asked for, or that the document gives the peer, or the first free ones.
fn addresses(
    plan: &WireguardPlan,
    known: Option<&WireguardPeerPlan>,
    request: &WireguardClientRequest,
) -> Result<Vec<IpNet>, Error> {
    let inside = |net: &IpNet| plan.addresses.iter().any(|own| own.contains(net));
    let asked = list::<IpAddr>(&request.addresses, "an address")?;
    let asked: Vec<IpNet> = asked.into_iter().map(IpNet::from).collect();
    if let Some(outside) = asked.iter().find(|net| !inside(net)) {
        return Err(bad(format!("{} is in no network of the tunnel", outside.addr())));
    }
    let others = || plan.peers.iter().filter(|peer| known.is_none_or(|known| known.name != peer.name));
    let taken = |address: &IpAddr| {
        plan.addresses.iter().any(|own| own.addr() == *address)
            || others().any(|peer| peer.allowed.iter().any(|net| net.contains(address)))
    };
    if let Some(net) = asked.iter().find(|net| taken(&net.addr())) {
        return Err(RefusalCode::Taken.error(format!("{} is another peer's", net.addr())));
    }
    let is_host = |net: &&IpNet| net.prefix_len() == net.max_prefix_len() && inside(net);
    let given: Vec<IpNet> = known.iter().flat_map(|peer| &peer.allowed).filter(is_host).copied().collect();
    match (asked.is_empty(), given.is_empty()) {
        (false, _) => Ok(asked),
        (true, false) => Ok(given),
        (true, true) => plan
            .addresses
            .iter()
            .map(|own| {
                // Whoever counts from one below meets neither the network nor the router's anycast address.
                let free = own.hosts().skip(usize::from(own.addr().is_ipv6())).take(MAX_TRIES);
                let found = free.into_iter().find(|address| !taken(address)).map(IpNet::from);
                found.ok_or_else(|| RefusalCode::Full.error(format!("no address of {own} is free")))
            })
            .collect(),
    }
}

/// Where the client finds the gateway.
fn endpoint(plan: &WireguardPlan, asked: Option<&str>) -> Result<String, Error> {
    let port = plan.listen.first().map_or(51_820, SocketAddr::port);
    let Some(asked) = asked else {
        let first = plan.listen.first().map(ToString::to_string);
        return first.ok_or_else(|| bad("it listens nowhere yet: say how the client reaches the gateway"));
    };
    if let Ok(socket) = asked.parse::<SocketAddr>() {
        return Ok(socket.to_string());
    }
    if let Ok(address) = asked.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, port).to_string());
    }
    let (host, number) = match asked.rsplit_once(':') {
        Some((host, number)) => (host, number.parse::<u16>().ok().filter(|number| *number > 0)),
        None => (asked, Some(port)),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    match number {
        Some(number) if !host.is_empty() && host.len() <= MAX_HOST && host.bytes().all(plain) => {
            Ok(format!("{host}:{number}"))
        }
        Some(_) | None => Err(bad(format!("`{asked}` is no place: `vpn.example.org`, `192.0.2.1:51820`"))),
    }
}

fn networks(texts: &[String]) -> Result<Vec<IpNet>, Error> {
    few(texts)?;
    let read = |text: &String| {
        let net =
            text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
        net.map(|net| net.trunc()).map_err(|_| bad(format!("`{text}` is no network")))
    };
    texts.iter().map(read).collect()
}

fn list<T: std::str::FromStr>(texts: &[String], what: &str) -> Result<Vec<T>, Error> {
    few(texts)?;
    texts.iter().map(|text| text.parse().map_err(|_| bad(format!("`{text}` is not {what}")))).collect()
}

fn few(texts: &[String]) -> Result<(), Error> {
    if texts.len() > MAX_LIST {
        return Err(bad(format!("{MAX_LIST} at most of each sort")));
    }
    Ok(())
}

fn strings<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

fn joined<T: ToString>(items: &[T]) -> String {
    strings(items).join(", ")
}

fn bad(sentence: impl std::fmt::Display) -> Error {
    RefusalCode::BadField.error(sentence)
}

#[cfg(test)]
mod tests;
