//! The desk in virtual time, the cuts in tables, and the office with a disk and a replica that commits at once.

mod cuts;
mod desk;
mod office;

use std::time::{Duration, Instant};

use rempart_identity::authority::{Authority, CLIENT_LIFE};
use rempart_identity::moment::Moment;
use rempart_identity::names::{DeviceId, UserName};
use rempart_identity::password::Hash;
use rempart_identity::secret::Secret;
use rempart_identity::store::{Account, Command, Fingerprint, Source, Store};
use rempart_identity::totp::{Code, Seed};
use rempart_openvpn::key_exchange::PeerInfo;
use rempart_openvpn::message::Submitted;
use rempart_openvpn::packet::KeyId;
use rempart_openvpn::session::{Credential, Login};
use rempart_openvpn::token::{Claims, LoginId, TokenKey};
use rempart_plan::vpn::{CertificatePlan, GroupPlan, Remote, Strangers, VpnPlan};
use ring::hmac;
use ring::rand::SystemRandom;
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::desk::Turn;

const PASSWORD: &str = "correct horse battery";
const NOW: i64 = 1_800_000_000;

fn now() -> Moment {
    Moment::new(NOW)
}

fn at(seconds: u64, begin: Instant) -> Turn {
    let chance = [u8::try_from(seconds % 251).unwrap(); 16];
    Turn {
        instant: begin + Duration::from_secs(seconds),
        moment: now().plus(Duration::from_secs(seconds)),
        chance,
    }
}

fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

/// A group that demands some of certificate, password, code.
fn group(name: &str, demands: &str) -> GroupPlan {
    GroupPlan {
        name: name.to_owned(),
        pool4: Some("10.90.0.0/24".parse().unwrap()),
        pool6: None,
        certificate: demands.contains("certificate"),
        password: demands.contains("password"),
        code: demands.contains("code"),
        full_tunnel: true,
        routes: Vec::new(),
        dns: Vec::new(),
        domain: None,
        search: Vec::new(),
        max_sessions: None,
        sessions_each: 2,
        session_limit_s: None,
        directory_groups: vec![format!("VPN {name}")],
    }
}

fn plan() -> VpnPlan {
    let remote = |host: &str, port, tcp| Remote { host: host.to_owned(), port, tcp };
    VpnPlan {
        node: "rte01".to_owned(),
        index: 0,
        peer: Some("rte02".to_owned()),
        device: "vpn0".to_owned(),
        kernel_device: None,
        udp: vec!["192.0.2.1:1194".parse().unwrap()],
        tcp: vec!["192.0.2.1:443".parse().unwrap()],
        // The wrong way round, so that a profile must put it right.
        remotes: vec![remote("vpn.example", 443, true), remote("vpn.example", 1194, false)],
        mtu: 1500,
        max_sessions: 100,
        rekey_s: 3600,
        idle_s: 120,
        tls12: true,
        groups: vec![
            group("agents", "certificate password code"),
            group("simple", "password"),
            GroupPlan { session_limit_s: Some(600), ..group("short", "certificate password") },
        ],
        strangers: Some(Strangers::Directory),
        directory: None,
        radius: None,
        certificates: CertificatePlan { organisation: "SDIS 99".to_owned(), device_days: 365, warn_days: 30 },
    }
}

fn seed() -> Seed {
    serde_json::from_str("\"MTIzNDU2Nzg5MDEyMzQ1Njc4OTA=\"").unwrap()
}

/// What the application shows (RFC 6238 §4, RFC 4226 §5.3), computed here once more.
fn code(moment: Moment) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"12345678901234567890");
    let step = u64::try_from(moment.seconds()).unwrap() / 30;
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let place = usize::from(tag.as_ref()[19] & 15);
    let word = u32::from_be_bytes(tag.as_ref()[place..place + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

/// People: alice (agents, device 1), bob (simple), sue (short, device 2), dora (directory, simple).
struct World {
    store: Store,
    devices: Vec<(DeviceId, CertificateDer<'static>)>,
}

fn apply(store: &mut Store, command: Command) {
    *store = store.apply(now(), "test", command).unwrap().0;
}

fn account(groups: &[&str], source: Source) -> Account {
    let groups = groups.iter().map(|name| name.parse().unwrap()).collect();
    Account { groups, source, ..Account::default() }
}

fn world() -> World {
    static HASH: std::sync::LazyLock<Hash> =
        std::sync::LazyLock::new(|| Hash::new(&Secret::from(PASSWORD), "x", &SystemRandom::new()).unwrap());
    let mut store = Store::default();
    let mut authority = Authority::create("test", now(), &SystemRandom::new()).unwrap();
    apply(&mut store, Command::AddAuthority(Box::new(authority.clone())));
    let people = [
        ("alice", "agents", Source::Local),
        ("bob", "simple", Source::Local),
        ("sue", "short", Source::Local),
    ];
    for (name, group, source) in people {
        apply(&mut store, Command::AddUser(user(name), account(&[group], source)));
        apply(&mut store, Command::SetPassword(user(name), Some(HASH.clone())));
    }
    apply(&mut store, Command::AddUser(user("dora"), account(&[], Source::Directory)));
    apply(&mut store, Command::EnrolTotp(user("alice"), seed()));
    let first = Code::parse(&code(now())).unwrap();
    apply(&mut store, Command::ConfirmTotp(user("alice"), first));
    let mut devices = Vec::new();
    for (number, name) in [(1, "alice"), (2, "sue"), (3, "dora")] {
        let id = DeviceId::new([number; 8]);
        let made = authority.issue_client(&user(name), id, CLIENT_LIFE, now(), &SystemRandom::new()).unwrap();
        apply(&mut store, Command::PutAuthority(Box::new(authority.clone())));
        apply(
            &mut store,
            Command::AddDevice {
                device: id,
                user: user(name),
                label: "laptop".to_owned(),
                serial: made.serial.clone(),
                fingerprint: Fingerprint::of(&made.certificate),
                until: made.until,
            },
        );
        devices.push((id, CertificateDer::from(made.certificate)));
    }
    World { store, devices }
}

/// A login as the session hands it over.
fn login(name: &str, credential: Credential, certificate: Option<&CertificateDer<'static>>) -> Login {
    let peer_info = PeerInfo::parse("IV_PROTO=990\nIV_CIPHERS=AES-256-GCM\n");
    let features = peer_info.features().unwrap();
    Login {
        key_id: KeyId::FIRST,
        renewal: false,
        user: name.to_owned(),
        credential,
        certificates: certificate.cloned().into_iter().collect(),
        peer_info,
        features,
    }
}

fn text(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn password(password: &str) -> Credential {
    Credential::Submitted(Submitted::Password(text(password)))
}

fn with_code(password: &str, code: &str) -> Credential {
    Credential::Submitted(Submitted::WithCode { password: text(password), code: text(code) })
}

/// A token of a login so many seconds after [`now`], renewed so many after.
fn token(name: &str, issued: u64, renewed: u64) -> Credential {
    let key = TokenKey::new(&[7; 32]);
    let base = u64::try_from(NOW).unwrap();
    let claims =
        Claims { login: LoginId([1; 12]), issued_unix_s: base + issued, renewed_unix_s: base + renewed };
    Credential::Token(key.verify(&key.make(claims, name), name).unwrap())
}
