//! Profiles: one file for one device, with all that it needs. Pure.
//!
//! ```text
//!   who the server must be   <ca>, remote-cert-tls, verify-x509-name     only this gateway's certificate
//!   who the device is        <cert>, <key>                               the key is made here and kept nowhere
//!   that it may speak at all <tls-crypt-v2>                              a key of its own, its identifier inside
//! ```
//!
//! Written for stock clients from 2.5 on and OpenVPN 3. What old ones do not know stands behind `setenv opt`, which those
//! that do not understand pass over.

use std::fmt::Write as _;

use rempart_identity::demand::{Demand, Language};
use rempart_identity::names::{DeviceId, UserName};
use rempart_openvpn::wrap::{ClientKey, Metadata, ServerKey, StaticKey, WrapError};
use rempart_plan::vpn::{Remote, VpnPlan};
use zeroize::Zeroizing;

use super::material::SERVER_NAME;

/// A client that was in the middle of its first login when a node died tries again after this, and after as long on TCP; the
/// default is a minute (study §1.6).
const HAND_WINDOW_S: u8 = 20;

/// For whom a profile is.
#[derive(Debug)]
pub struct Owner<'a> {
    /// The person.
    pub user: &'a UserName,
    /// The device.
    pub device: DeviceId,
    /// As its owner calls it.
    pub label: &'a str,
    /// What the person's groups demand.
    pub demand: Demand,
}

/// What stands in it. All PEM.
pub struct Inline<'a> {
    /// The authority that the server is of.
    pub authority: &'a str,
    /// The device's certificate.
    pub certificate: &'a str,
    /// Its key.
    pub key: &'a str,
    /// The wrapping key, wrapped.
    pub wrapping: &'a str,
}

/// A wrapping key for a device, as the file that goes into a profile: the device's identifier is in it, so that a revoked one
/// can be turned away before TLS begins.
pub fn wrapping(
    server: &ServerKey,
    key: StaticKey,
    device: DeviceId,
) -> Result<Zeroizing<String>, WrapError> {
    server.client_file(&ClientKey { key, metadata: Metadata::User(device.bytes().to_vec()) })
}

/// The device that a wrapped key names, if it names one of ours.
pub fn device_of(metadata: &Metadata) -> Option<DeviceId> {
    match metadata {
        Metadata::User(bytes) => bytes.as_slice().try_into().ok().map(DeviceId::new),
        Metadata::Made(_) | Metadata::Other(_) => None,
    }
}

/// What to call the file: letters that every system takes.
pub fn file_name(user: &UserName, label: &str) -> String {
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' }).collect()
    };
    format!("{}-{}.ovpn", plain(user.as_str()), plain(label))
}

/// The profile.
pub fn write(
    plan: &VpnPlan,
    owner: &Owner<'_>,
    inline: &Inline<'_>,
    language: Language,
) -> Zeroizing<String> {
    let size = [inline.authority, inline.certificate, inline.key, inline.wrapping].map(str::len);
    // Room for all of it, so that no copy of the key is left behind by a text that grows.
    let mut text = Zeroizing::new(String::with_capacity(2048 + size.iter().sum::<usize>()));
    let Owner { user, device, label, demand } = owner;
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line(&format!("# Rempart VPN, {user}, {} ({device})", label.replace(char::is_control, " ")));
    for words in ["client", "dev tun", "nobind", "persist-tun"] {
        line(words);
    }
    // The fast way first; TCP is for networks that let nothing else out.
    let (tcp, udp): (Vec<&Remote>, Vec<&Remote>) = plan.remotes.iter().partition(|remote| remote.tcp);
    for Remote { host, port, tcp } in udp.into_iter().chain(tcp) {
        line(&format!("remote {host} {port} {}", if *tcp { "tcp-client" } else { "udp" }));
    }
    for words in [
        "resolv-retry infinite",
        "connect-retry 1 10",
        "remote-cert-tls server",
        "data-ciphers AES-256-GCM",
        "auth-retry interact",
        "mute-replay-warnings",
        "verb 3",
        // AES-256 on the control channel too; only 2.5 and later know the first.
        "setenv opt tls-ciphersuites TLS_AES_256_GCM_SHA384",
        // Nothing compressed comes from here, and nothing is taken.
        "setenv opt allow-compression no",
        // Windows: names are asked for through the tunnel only.
        "setenv opt block-outside-dns",
    ] {
        line(words);
    }
    line(&format!("verify-x509-name {SERVER_NAME} name"));
    line(if plan.tls12 { "tls-version-min 1.2" } else { "tls-version-min 1.3" });
    line(&format!("hand-window {HAND_WINDOW_S}"));
    if demand.password() || demand.code() {
        line("auth-user-pass");
    }
    if demand.code() {
        let question = match language {
            Language::English => "Code (6 digits)",
            Language::French => "Code (6 chiffres)",
        };
        line(&format!("static-challenge \"{question}\" 1"));
    }
    let parts = [
        ("ca", inline.authority),
        ("cert", inline.certificate),
        ("key", inline.key),
        ("tls-crypt-v2", inline.wrapping),
    ];
    for (name, body) in parts {
        // Writing to a string does not fail.
        let _ = write!(text, "<{name}>\n{}\n</{name}>\n", body.trim_end());
    }
    text
}
