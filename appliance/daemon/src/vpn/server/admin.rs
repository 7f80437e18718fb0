//! What comes from outside of the sessions: the plan, certificates, cut-offs, an administrator; and what is shown.

use rempart_identity::store::Fingerprint;
use rempart_openvpn::cookie::{CookieKey, Keys};
use rempart_openvpn::session::{Timing, TlsPolicy, tls_config, tls13_config};
use rempart_openvpn::token::TokenKey;
use rempart_openvpn::wrap::{Mode, ServerKey, StaticKey, Wrapping};
use rempart_tunnel::STREAM;
use ring::hmac;

use super::entry::Ending;
use super::status::{SessionStatus, Status};
use super::*;
use crate::vpn::seam::{CutOff, Whom};

/// What the key of the cookies is derived by: both nodes have the same key of tokens.
const COOKIES: &[u8] = b"rempart-vpn cookies";
/// The only one there is.
const CIPHER: &str = "AES-256-GCM";

/// Why nobody can be served with a certificate.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("the key of {0} has the wrong length")]
    Key(&'static str),
    #[error("TLS refuses the server's certificate or key: {0}")]
    Tls(#[from] rustls::Error),
}

impl Machine {
    /// What the document asks for from now on.
    pub fn configure(&mut self, now: Now, plan: VpnPlan) {
        let plan = Arc::new(plan);
        let before = self.plan.replace(plan.clone());
        if before.as_ref() == Some(&plan) {
            return;
        }
        self.unsettle();
        self.prepare(now);
        if let Some(before) = before {
            self.relocate(now, &before, &plan);
            let misfits: Vec<Handle> = self
                .entries
                .iter()
                .filter(|(_, entry)| !fits(entry, &before, &plan))
                .map(|(h, _)| *h)
                .collect();
            misfits.into_iter().for_each(|handle| self.end(now, handle, Ending::Reconfigured));
        }
        self.begin(now);
    }

    /// The document asks for no remote access: everybody is sent away, and nobody comes in before there is a plan again.
    pub fn dismiss(&mut self, now: Now) {
        self.end_all(now, |_| true, Ending::Reconfigured);
        let left: Vec<Handle> = self.entries.keys().copied().collect();
        left.into_iter().for_each(|handle| self.abandon(now, handle));
        self.end_lingering();
        self.unsettle();
        (self.plan, self.settings, self.start) = (None, None, None);
    }

    /// Another certificate, list of revoked ones, or keys.
    pub(super) fn renew_material(&mut self, now: Now, material: Box<Material>) {
        self.material = Some(material);
        self.prepare(now);
        self.begin(now);
    }

    /// Makes what sessions share anew: from the plan, and from certificates and keys.
    fn prepare(&mut self, now: Now) {
        let seed = self.seed();
        let (Some(plan), Some(material)) = (&self.plan, &self.material) else { return };
        let hash = seed.first_chunk::<16>().copied().unwrap_or_default();
        match make(now, plan, material, hash) {
            Ok((settings, start)) => {
                let settings = Arc::new(settings);
                self.entries.values_mut().for_each(|entry| entry.session.set_settings(settings.clone()));
                (self.settings, self.start) = (Some(settings), Some(start));
            }
            Err(error) => tracing::error!(%error, "the VPN goes on with what it had before"),
        }
    }

    /// The numbers of our sockets may be others.
    fn relocate(&mut self, now: Now, before: &VpnPlan, plan: &VpnPlan) {
        if before.udp == plan.udp {
            return;
        }
        let handles: Vec<Handle> = self.entries.keys().copied().collect();
        for handle in handles {
            let Some(entry) = self.entries.get_mut(&handle).filter(|entry| entry.path.local != STREAM) else {
                continue;
            };
            let place = plan.udp.iter().position(|local| *local == entry.local);
            let Some(place) = place.and_then(|place| u8::try_from(place).ok()) else {
                // Its client speaks to an address that is not ours any more.
                self.abandon(now, handle);
                continue;
            };
            let (from, session) = (entry.path, entry.session.client_session());
            entry.path.local = place;
            let (path, peer, carried) = (entry.path, entry.peer, entry.carried);
            if self.names.get(&(from, session)) == Some(&handle) {
                self.names.remove(&(from, session));
            }
            self.names.insert((path, session), handle);
            if carried {
                self.actions.push_back(Action::Data(Data::Move(peer, path)));
            }
        }
    }

    /// Sessions that may no longer be.
    pub(super) fn cut(&mut self, now: Now, cut: &CutOff) {
        let (of, ending) = match cut {
            CutOff::User(_) | CutOff::Certificate(_) => (cut, Ending::Barred),
            CutOff::Groups(..) => (cut, Ending::OtherGroups),
        };
        let matches = |entry: &Entry| match of {
            CutOff::User(user) => entry.grant.as_ref().is_some_and(|grant| grant.user == *user),
            CutOff::Certificate(print) => {
                let own = entry.session.identity().and_then(|identity| identity.certificate);
                own.is_some_and(|own| Fingerprint::new(own) == *print)
            }
            CutOff::Groups(user, groups) => entry.grant.as_ref().is_some_and(|grant| {
                grant.user == *user && !grant.groups.iter().map(|name| name.as_str()).eq(groups.iter())
            }),
        };
        // Whoever it is may be among those whose packets still pass here.
        self.end_lingering();
        self.end_all(now, matches, ending);
    }

    /// An administrator ends sessions; how many there were.
    pub fn disconnect(&mut self, now: Now, whom: &Whom) -> usize {
        let matches = |entry: &Entry| match (whom, &entry.grant) {
            (Whom::Everybody, _) => true,
            (Whom::Session(id), _) => entry.peer.get() == *id,
            (Whom::User(user), Some(grant)) => grant.user == *user,
            (Whom::Device(device), Some(grant)) => grant.device == Some(*device),
            (Whom::User(_) | Whom::Device(_), None) => false,
        };
        self.end_all(now, matches, Ending::Administrator)
    }

    fn end_all(&mut self, now: Now, matches: impl Fn(&Entry) -> bool, ending: Ending) -> usize {
        let found: Vec<Handle> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.ending.is_none() && matches(entry))
            .map(|(h, _)| *h)
            .collect();
        found.iter().for_each(|handle| self.end(now, *handle, ending));
        found.len()
    }

    /// Who is on, and the counters.
    pub fn status(&self) -> Status {
        let sessions = self.carried.values().filter_map(|handle| self.entries.get(handle)).filter_map(shown);
        Status {
            serving: self.serves(),
            sessions: sessions.collect(),
            offload_fault: None,
            counters: self.counters,
        }
    }
}

fn shown(entry: &Entry) -> Option<SessionStatus> {
    let grant = entry.grant.as_ref()?;
    Some(SessionStatus {
        id: entry.peer.get(),
        user: grant.user.to_string(),
        device: grant.device.map(String::from),
        group: grant.group.clone(),
        since_unix_s: grant.since_unix_s,
        from: entry.path.remote,
        tcp: entry.is_tcp(),
        addresses: grant.inner.addresses().collect(),
        networks: grant.networks.clone(),
        bytes_in: entry.received.total(),
        bytes_out: entry.sent.total(),
        cipher: CIPHER,
        client: entry.client.clone(),
        renewed_unix_s: entry.renewed_unix_s,
        carried_on: entry.carried_on,
        // Whoever drives the data path knows.
        in_kernel: false,
    })
}

/// Whether a session can stay as it is: its group is there, and its addresses are not of a pool that is gone.
fn fits(entry: &Entry, before: &VpnPlan, plan: &VpnPlan) -> bool {
    let Some(grant) = &entry.grant else { return true };
    let group = |plan: &VpnPlan| plan.groups.iter().find(|group| group.name == grant.group).cloned();
    let (Some(old), Some(new)) = (group(before), group(plan)) else { return false };
    let stays4 = old.pool4 == new.pool4
        || grant.inner.v4.is_none_or(|ip| new.pool4.is_some_and(|pool| pool.contains(&ip)));
    let stays6 = old.pool6 == new.pool6
        || grant.inner.v6.is_none_or(|ip| new.pool6.is_some_and(|pool| pool.contains(&ip)));
    stays4 && stays6
}

fn make(now: Now, plan: &VpnPlan, material: &Material, hash: [u8; 16]) -> Result<(Settings, Start), Unfit> {
    let policy = TlsPolicy {
        chain: material.chain.clone(),
        key: material.key.clone_key(),
        clients: material.clients.clone(),
    };
    let tls = if plan.tls12 { tls_config(policy)? } else { tls13_config(policy)? };
    let token: &[u8; 32] = material.token.as_slice().try_into().map_err(|_| Unfit::Key("tokens"))?;
    let rekey = Duration::from_secs(plan.rekey_s.into());
    let timing = Timing { rekey, idle: Duration::from_secs(plan.idle_s.into()), ..Timing::default() };
    let token_key = TokenKey::new(token);
    let settings = Settings { tls, token_key, timing, dynamic_wrapping: true, exporter: true };
    let wrapping = material.wrapping.as_slice().try_into().map_err(|_| Unfit::Key("wrapping"))?;
    let shared = material.shared.as_ref().map(|shared| {
        let key = shared.as_slice().try_into().map_err(|_| Unfit::Key("tls-crypt"))?;
        Ok::<_, Unfit>(Wrapping { mode: Mode::Crypt, key: StaticKey::new(key) })
    });
    let keys = Keys { shared: shared.transpose()?, each: Some(ServerKey::new(wrapping)) };
    let cookie = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, token), COOKIES);
    let cookie = cookie.as_ref().try_into().map_err(|_| Unfit::Key("cookies"))?;
    Ok((settings, Start::new(now, CookieKey::new(cookie), keys, hash)))
}
