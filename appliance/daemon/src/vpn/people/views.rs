//! The store, as those who manage it see it. Pure.

use std::time::Duration;

use rempart_bus::codes::VpnWarning;
use rempart_bus::vpn::{AuthorityView, DeviceView, UserView, VpnStatus, Warning};
use rempart_identity::authority::{Authority, DAY, Owner, Stage, Subject, expiring};
use rempart_identity::demand::Policy;
use rempart_identity::moment::Moment;
use rempart_identity::names::{DeviceId, GroupName, UserName};
use rempart_identity::store::{Device, Fingerprint, Source, Store, User};
use rempart_plan::vpn::VpnPlan;

use super::office::{Office, State, today};

/// Warnings that are shown; the list of devices has all.
const MAX_WARNINGS: usize = 100;

/// RFC 3339 in UTC.
pub fn time(moment: Moment) -> String {
    jiff::Timestamp::from_second(moment.seconds()).map(|time| time.to_string()).unwrap_or_default()
}

/// How long before its end a device's certificate is warned about.
pub fn warn_time(plan: Option<&VpnPlan>) -> Duration {
    DAY * plan.map_or(30, |plan| plan.certificates.warn_days)
}

/// A person.
pub fn user(name: &UserName, user: &User, store: &Store, policy: &Policy) -> UserView {
    let devices = store.devices().values().filter(|d| d.user == *name && d.revoked.is_none()).count();
    let demand = policy.demand(&user.groups).map(|(demand, _)| demand);
    let demands = demand.map(|demand| {
        let parts =
            [(demand.certificate(), "certificate"), (demand.password(), "password"), (demand.code(), "code")];
        parts.iter().filter(|(wanted, _)| *wanted).map(|(_, word)| (*word).to_owned()).collect()
    });
    let code = match &user.totp {
        None => "none",
        Some(totp) if totp.confirmed => "confirmed",
        Some(_) => "enrolled",
    };
    UserView {
        name: name.to_string(),
        full_name: user.full_name.clone(),
        source: source(user.source).to_owned(),
        groups: user.groups.iter().map(|group: &GroupName| group.to_string()).collect(),
        disabled: user.disabled,
        expires: user.expires.map(time),
        password_set: user.password_set.map(time),
        code: code.to_owned(),
        ipv4: user.ipv4.map(|address| address.to_string()),
        ipv6: user.ipv6.map(|address| address.to_string()),
        networks: user.networks.iter().map(ToString::to_string).collect(),
        devices: devices as u64,
        created: time(user.created),
        demands: demands.unwrap_or_default(),
    }
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Local => "local",
        Source::Directory => "directory",
        Source::Radius => "radius",
    }
}

/// A device.
pub fn device(id: DeviceId, device: &Device, now: Moment, warn: Duration) -> DeviceView {
    let state = match () {
        () if device.revoked.is_some() => "revoked",
        () if device.until <= now => "expired",
        () if device.until.since(now) < warn => "expiring",
        () => "valid",
    };
    DeviceView {
        id: id.to_string(),
        user: device.user.to_string(),
        label: device.label.clone(),
        serial: device.serial.to_string(),
        fingerprint: String::from(device.fingerprint),
        created: time(device.created),
        until: time(device.until),
        state: state.to_owned(),
    }
}

/// An authority.
pub fn authority(authority: &Authority, now: Moment) -> AuthorityView {
    let facts = authority.facts().ok();
    let living = || authority.issued().values().filter(|issued| issued.until > now);
    AuthorityView {
        name: facts.as_ref().and_then(|facts| facts.common_name()).unwrap_or_default(),
        fingerprint: String::from(Fingerprint::of(authority.certificate())),
        until: facts.map(|facts| time(facts.not_after)).unwrap_or_default(),
        issues: authority.issues(),
        issued: living().count() as u64,
        revoked: living().filter(|issued| issued.revoked.is_some()).count() as u64,
        list_number: authority.list().map(|_| authority.list_number()),
        list_until: authority.list().map(|_| time(authority.list_until())),
        certificate: authority.certificate_pem(),
        earlier_until: None,
    }
}

/// What is amiss, or will be; the most pressing first.
pub fn warnings(state: &State, offload_fault: Option<String>, now: Moment) -> Vec<Warning> {
    let warning = |code: VpnWarning, about: String, until: Option<Moment>| Warning {
        code: code.name().to_owned(),
        about,
        until: until.map(time),
    };
    let plain = |(code, about): (VpnWarning, String)| warning(code, about, None);
    let mut found: Vec<Warning> =
        state.troubles.iter().map(|(code, about)| plain((*code, about.clone()))).collect();
    found.extend(state.complaints.iter().cloned().map(plain));
    found.extend(offload_fault.map(|why| plain((VpnWarning::NoOffload, why))));
    let Some(plan) = &state.plan else { return found };
    let store = &state.desk.store;
    match store.issuing() {
        None => found.push(warning(VpnWarning::NoAuthority, String::new(), None)),
        Some(_) if state.keys.server.is_none() => {
            found.push(warning(VpnWarning::NoServerCertificate, String::new(), None));
        }
        Some(_) => {}
    }
    if let Some(server) = &state.keys.server
        && server.until.since(now) < warn_time(Some(plan))
    {
        found.push(warning(VpnWarning::ServerEnds, String::new(), Some(server.until)));
    }
    for authority in store.authorities() {
        let name = authority.facts().ok().and_then(|facts| facts.common_name()).unwrap_or_default();
        for ending in expiring(authority, now).into_iter().filter(|ending| ending.stage > Stage::Notice) {
            match ending.subject {
                Subject::Authority => {
                    found.push(warning(VpnWarning::AuthorityEnds, name.clone(), Some(ending.until)));
                }
                Subject::List => found.push(warning(VpnWarning::ListEnds, name.clone(), Some(ending.until))),
                // The server's own is looked at above, devices below, with those that others certified.
                Subject::Certificate(_, Owner::Server(_) | Owner::Client { .. }) => {}
            }
        }
    }
    let warn = warn_time(Some(plan));
    let mut ending: Vec<(&DeviceId, &Device)> = store
        .devices()
        .iter()
        .filter(|(_, device)| device.revoked.is_none() && device.until.since(now) < warn)
        .collect();
    ending.sort_by_key(|(_, device)| device.until);
    found.extend(ending.into_iter().map(|(id, device)| {
        let about = format!("{}, {} ({id})", device.user, device.label);
        warning(VpnWarning::DeviceEnds, about, Some(device.until))
    }));
    found.truncate(MAX_WARNINGS);
    found
}

impl Office {
    /// How it is, at a glance.
    pub fn status(&self) -> VpnStatus {
        let server = self.server();
        let sessions = server.as_ref().map(|server| server.sessions()).unwrap_or_default();
        let fault = server.and_then(|server| server.offload_fault());
        let state = self.state();
        let (now, plan) = (today(), state.plan.as_deref());
        let node = self.settings.node.clone();
        let addresses = |kind: &str, list: &[std::net::SocketAddr]| -> Vec<String> {
            list.iter().map(|address| format!("{kind} {address}")).collect()
        };
        let store = &state.desk.store;
        VpnStatus {
            version: 1,
            configured: plan.is_some(),
            revision: state.revision,
            active: state.active,
            active_node: if state.active {
                Some(node.clone())
            } else {
                plan.and_then(|plan| plan.peer.clone())
            },
            node,
            listen: plan
                .map(|plan| [addresses("udp", &plan.udp), addresses("tcp", &plan.tcp)].concat())
                .unwrap_or_default(),
            sessions: sessions.len() as u64,
            in_kernel: plan
                .filter(|plan| plan.kernel_device.is_some() && fault.is_none())
                .map(|_| sessions.iter().filter(|session| session.in_kernel).count() as u64),
            users: store.users().len() as u64,
            devices: store.devices().values().filter(|device| device.revoked.is_none()).count() as u64,
            store_revision: store.revision(),
            authority: store.issuing().map(|issuing| authority(issuing, now)),
            warnings: warnings(&state, fault, now),
            logins: state.counts,
        }
    }
}
