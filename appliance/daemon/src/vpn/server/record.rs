//! The log of sessions (ANSSI, nomadism guide: who, from where, since when, how long, how much, and what was refused). Fields
//! are stable; the target `session` is a log of its own.
//!
//! Addresses in the tunnel stand here, unlike in other lines at this level: the log of the policy has only those, and
//! without this line nobody could say whose they were.

use std::net::SocketAddr;

use rempart_openvpn::Now;
use rempart_openvpn::session::Closed;
use tracing::info;

use super::entry::Entry;
use super::grant::Grant;

/// Names that a stranger has chosen are cut.
const MAX_CLAIMED: usize = 64;

pub fn connected(entry: &Entry, grant: &Grant, in_place: bool) {
    info!(
        target: "session",
        event = "connect",
        session = entry.peer.get(),
        user = %grant.user,
        device = %device(grant),
        group = %grant.group,
        from = %entry.path.remote,
        tcp = entry.is_tcp(),
        inner = %inner(grant),
        client = %entry.client,
        in_place,
    );
}

pub fn refused(entry: &Entry, why: &Closed) {
    let claimed: String = entry.claimed.chars().filter(|c| !c.is_control()).take(MAX_CLAIMED).collect();
    info!(
        target: "session",
        event = "refuse",
        claimed = %claimed,
        from = %entry.path.remote,
        tcp = entry.is_tcp(),
        client = %entry.client,
        reason = %entry.refusal.clone().unwrap_or_else(|| reason(entry, why)),
    );
}

pub fn ended(now: Now, entry: &Entry, grant: &Grant, why: &Closed) {
    info!(
        target: "session",
        event = "disconnect",
        session = entry.peer.get(),
        user = %grant.user,
        device = %device(grant),
        group = %grant.group,
        from = %entry.path.remote,
        inner = %inner(grant),
        duration_s = entry.ended_unix_s.unwrap_or(now.unix_s).saturating_sub(grant.since_unix_s),
        bytes_in = entry.received.total(),
        bytes_out = entry.sent.total(),
        reason = %entry.refusal.clone().unwrap_or_else(|| reason(entry, why)),
    );
}

pub fn moved(entry: &Entry, from: SocketAddr) {
    let Some(grant) = &entry.grant else { return };
    info!(
        target: "session",
        event = "move",
        session = entry.peer.get(),
        user = %grant.user,
        device = %device(grant),
        from = %from,
        to = %entry.path.remote,
    );
}

pub fn renewed(entry: &Entry) {
    let Some(grant) = &entry.grant else { return };
    info!(
        target: "session",
        event = "renew",
        session = entry.peer.get(),
        user = %grant.user,
        device = %device(grant),
        from = %entry.path.remote,
    );
}

fn device(grant: &Grant) -> String {
    grant.device.map(String::from).unwrap_or_default()
}

fn inner(grant: &Grant) -> String {
    grant.inner.addresses().map(|ip| ip.to_string()).collect::<Vec<_>>().join(" ")
}

fn reason(entry: &Entry, why: &Closed) -> String {
    if let Some(ending) = entry.ending {
        return ending.word().to_owned();
    }
    match why {
        Closed::Left => "the client has left".to_owned(),
        Closed::Refused => "refused".to_owned(),
        Closed::Incompatible(text) => text.clone(),
        Closed::HandshakeTimeout => "not completed in time".to_owned(),
        Closed::Tls(error) => format!("TLS: {error}"),
        Closed::Protocol(what) => format!("protocol: {what}"),
        Closed::Idle => "nothing was heard".to_owned(),
        Closed::KeyTooOld => "the key could not be renewed".to_owned(),
        Closed::Ended => "ended".to_owned(),
    }
}
