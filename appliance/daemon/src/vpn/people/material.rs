//! What TLS and the wrapping of packets are made of: built from the store and the keys, anew whenever one of them changes.

use std::time::Duration;

use rempart_identity::authority::{
    Authority, Credential, DAY, ExpiredLists, NoVerifier, NotIssued, Presence, client_verifier,
};
use rempart_identity::moment::Moment;
use rempart_identity::secret::Secret;
use rempart_identity::store::{Fingerprint, Store};
use rempart_plan::vpn::VpnPlan;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::super::seam::Material;
use super::files::{Keys, ServerCredential};

/// The server's name in its certificate, which profiles check. It never changes, so a profile outlives other addresses; who may
/// have it is what the authority says, which signs for this gateway alone.
pub const SERVER_NAME: &str = "rempart-vpn";
/// The server's certificate is renewed so long before its end: clients notice nothing, as the authority stays.
const RENEW_SERVER: Duration = DAY.saturating_mul(60);
/// Bytes of the wrapping key, and of the token key.
const WRAPPING: usize = 128;
const TOKEN: usize = 32;

/// The names that the server's certificate should have: its own, and where clients connect to.
pub fn names(plan: &VpnPlan) -> Vec<String> {
    let mut names = vec![SERVER_NAME.to_owned()];
    for remote in &plan.remotes {
        if !names.contains(&remote.host) {
            names.push(remote.host.clone());
        }
    }
    names
}

/// Whether the server needs another certificate: none yet, of another authority, without a name, or near its end.
pub fn server_is_due(keys: &Keys, issuing: &Authority, names: &[String], now: Moment) -> bool {
    let good = |server: &ServerCredential| {
        server.authority == Fingerprint::of(issuing.certificate())
            && names.iter().all(|name| server.names.contains(name))
            && server.until.since(now) >= RENEW_SERVER.min(ends(issuing).since(now) / 2)
    };
    !keys.server.as_ref().is_some_and(good)
}

fn ends(authority: &Authority) -> Moment {
    authority.facts().map_or(Moment::new(0), |facts| facts.not_after)
}

/// A certificate for the server; the authority remembers it.
pub fn certify_server(
    authority: &mut Authority,
    names: &[String],
    now: Moment,
) -> Result<ServerCredential, NotIssued> {
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let Credential { certificate, key, until, .. } =
        authority.issue_server(&list, now, &SystemRandom::new())?;
    Ok(ServerCredential {
        authority: Fingerprint::of(authority.certificate()),
        names: names.to_vec(),
        until,
        certificate: Secret::new(certificate),
        key,
    })
}

/// Makes the keys that are not there yet. Whether there were any to make.
pub fn make_missing(keys: &mut Keys) -> Result<bool, NotIssued> {
    let mut made = false;
    for (place, length) in [(&mut keys.wrapping, WRAPPING), (&mut keys.token, TOKEN)] {
        if place.is_none() {
            let mut bytes = Zeroizing::new(vec![0; length]);
            SystemRandom::new().fill(&mut bytes).map_err(|_| NotIssued::NoRandomness)?;
            *place = Some(Secret::new(bytes.to_vec()));
            made = true;
        }
    }
    Ok(made)
}

/// All of it, once everything that it is made of is there.
pub fn build(store: &Store, keys: &Keys, optional: bool) -> Result<Option<Material>, NoVerifier> {
    let (Some(server), Some(wrapping), Some(token)) = (&keys.server, &keys.wrapping, &keys.token) else {
        return Ok(None);
    };
    if store.authorities().is_empty() {
        return Ok(None);
    }
    let presence = if optional { Presence::Optional } else { Presence::Demanded };
    let clients = client_verifier(store.authorities().iter(), ExpiredLists::Refuse, presence)?;
    let bytes = |secret: &Secret| Zeroizing::new(secret.expose().to_vec());
    Ok(Some(Material {
        chain: vec![CertificateDer::from(server.certificate.expose().to_vec())],
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server.key.expose().to_vec())),
        clients,
        wrapping: bytes(wrapping),
        shared: keys.shared.as_ref().map(bytes),
        token: bytes(token),
    }))
}

/// What tells one material from another.
pub fn digest(store: &Store, keys: &Keys, optional: bool) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    for authority in store.authorities() {
        add(authority.certificate());
        add(authority.list().unwrap_or(&[]));
    }
    let secrets = [&keys.wrapping, &keys.token, &keys.shared];
    secrets.iter().for_each(|secret| add(secret.as_ref().map_or(&[], Secret::expose)));
    add(keys.server.as_ref().map_or(&[], |server| server.certificate.expose()));
    add(&[u8::from(optional)]);
    digest.finalize().into()
}
