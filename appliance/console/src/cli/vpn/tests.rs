//! What the verbs about remote access read and print, in both languages.

use clap::FromArgMatches as _;
use jiff::tz::TimeZone;
use rempart_bus::vpn::{
    AuthorityView, DeviceView, Enrolment, Imported, LoginCounts, Profile, SessionView, TestReport, UserView,
    VpnStatus, Warning, WireguardKey, WireguardStatus,
};

use super::*;
use crate::cli::table::Paint;
use crate::cli::{Cli, Verb, command};
use crate::golden::assert_golden;
use crate::lang::Lang;

fn console(lang: Lang) -> Console {
    Console { lang, tz: TimeZone::UTC, paint: Paint { colour: false }, json: false }
}

fn authority() -> AuthorityView {
    AuthorityView {
        name: "SDIS 99 VPN".into(),
        fingerprint: "3fa1".repeat(16),
        until: "2036-11-22T00:00:00Z".into(),
        issues: true,
        issued: 1_214,
        revoked: 3,
        list_number: Some(17),
        list_until: Some("2026-12-22T00:00:00Z".into()),
        certificate: String::new(),
        earlier_until: None,
    }
}

fn status() -> VpnStatus {
    let warning = |code: &str, about: &str, until: Option<&str>| Warning {
        code: code.into(),
        about: about.into(),
        until: until.map(str::to_owned),
    };
    VpnStatus {
        version: 1,
        node: "rte01".into(),
        configured: true,
        revision: 12,
        active: true,
        active_node: Some("rte01".into()),
        listen: vec!["udp 192.0.2.1:1194".into(), "tcp 192.0.2.1:443".into()],
        sessions: 41,
        in_kernel: Some(39),
        users: 230,
        devices: 214,
        store_revision: 977,
        authority: Some(authority()),
        warnings: vec![
            warning("no-server-certificate", "", None),
            warning("directory-unusable", "the secret `ad-ca`: entity not found", None),
            warning("server-ends", "", Some("2026-12-01T08:00:00Z")),
            warning("device-ends", "alice, laptop (0102030405060708)", Some("2026-12-01T08:00:00Z")),
            warning("no-offload", "this kernel has no driver", None),
            warning("something-new", "", None),
        ],
        logins: LoginCounts { accepted: 310, refused: 12, slowed: 4, busy: 0, renewed: 2_044 },
    }
}

fn sessions() -> Vec<SessionView> {
    let session = |id, user: &str, label: Option<&str>, from: &str| SessionView {
        id,
        user: user.into(),
        device: label.map(|_| "0102030405060708".into()),
        label: label.map(str::to_owned),
        group: "agents".into(),
        from: from.into(),
        transport: "udp".into(),
        addresses: vec!["10.90.0.2".into()],
        networks: Vec::new(),
        since: "2026-11-22T07:58:12Z".into(),
        renewed: None,
        bytes_in: 1_204_551,
        bytes_out: 88_213_402,
        cipher: "AES-256-GCM".into(),
        client: "2.6.14 linux".into(),
        carried_on: false,
        in_kernel: id == 7,
    };
    vec![
        session(0, "alice", Some("portable"), "198.51.100.7:40112"),
        session(7, "bob", None, "[2001:db8::7]:1194"),
    ]
}

fn users() -> Vec<UserView> {
    let alice = UserView {
        name: "alice".into(),
        full_name: "Alice Martin".into(),
        source: "local".into(),
        groups: vec!["agents".into()],
        password_set: Some("2026-10-01T12:00:00Z".into()),
        code: "confirmed".into(),
        devices: 2,
        created: "2026-09-01T12:00:00Z".into(),
        demands: vec!["certificate".into(), "password".into(), "code".into()],
        ..UserView::default()
    };
    let of = |name: &str, source: &str| UserView {
        name: name.into(),
        source: source.into(),
        ..UserView::default()
    };
    vec![
        alice.clone(),
        UserView {
            disabled: true,
            code: "enrolled".into(),
            ..UserView { name: "bob".into(), ..alice.clone() }
        },
        UserView {
            expires: Some("2020-01-01T00:00:00Z".into()),
            ..UserView { name: "carl".into(), ..alice }
        },
        of("dora", "directory"),
        of("erin", "radius"),
        of("gina", "local"),
    ]
}

fn devices() -> Vec<DeviceView> {
    let device = |id: &str, state: &str| DeviceView {
        id: id.into(),
        user: "alice".into(),
        label: "portable".into(),
        created: "2026-09-01T12:00:00Z".into(),
        until: "2027-09-01T12:00:00Z".into(),
        state: state.into(),
        ..DeviceView::default()
    };
    ["valid", "expiring", "expired", "revoked", "new-state"]
        .map(|state| device("0102030405060708", state))
        .into()
}

fn answers() -> Vec<(&'static str, Answer)> {
    let profile = Profile {
        device: "0102030405060708".into(),
        user: "alice".into(),
        label: "portable".into(),
        until: "2027-09-01T12:00:00Z".into(),
        file: "alice-portable.ovpn".into(),
        text: "client\n".into(),
    };
    let renewed = AuthorityView { earlier_until: Some("2031-11-22T00:00:00Z".into()), ..authority() };
    let vouches = AuthorityView { issues: false, list_number: None, list_until: None, ..authority() };
    let steps = vec!["user alice: in the store, password kept here".into(), "password: right".into()];
    let report =
        TestReport { accepted: true, steps, told: None, groups: vec!["agents".into()], took_ms: 104 };
    let refused = TestReport {
        accepted: false,
        told: Some("Wrong user name, password or code, or access not allowed.".into()),
        groups: Vec::new(),
        ..report.clone()
    };
    vec![
        ("status", Answer::Status(status())),
        (
            "status-standby",
            Answer::Status(VpnStatus {
                active: false,
                active_node: Some("rte02".into()),
                warnings: Vec::new(),
                sessions: 0,
                in_kernel: None,
                ..status()
            }),
        ),
        ("status-off", Answer::Status(VpnStatus { node: "rte01".into(), ..VpnStatus::default() })),
        ("list", Answer::Sessions(sessions())),
        ("list-empty", Answer::Sessions(Vec::new())),
        ("disconnect", Answer::Disconnected(1)),
        ("users", Answer::Users(users())),
        ("devices", Answer::Devices(devices())),
        ("authorities", Answer::Authorities(vec![authority(), vouches])),
        ("authority-renewed", Answer::Authority(renewed)),
        ("authorities-none", Answer::Authorities(Vec::new())),
        (
            "enrol",
            Answer::Enrolment(Enrolment {
                user: "alice".into(),
                uri: String::new(),
                secret: "GEZDGNBVGY3TQOJQ".into(),
                qr: vec!["████".into(), "█  █".into(), "████".into()],
            }),
        ),
        ("profile", Answer::Profile(profile)),
        ("import", Answer::Imported(Imported { what: "CA".into(), advice: vec!["RSA of 2048 bits".into()] })),
        ("test", Answer::Test(report)),
        ("test-refused", Answer::Test(refused)),
        ("wireguard", Answer::Wireguard(crate::fixtures::wireguard())),
        (
            "wireguard-standby",
            Answer::Wireguard(WireguardStatus {
                active: false,
                public_key: None,
                backend: String::new(),
                trouble: Some("the secret `wireguard` of WireGuard cannot be read".into()),
                ..crate::fixtures::wireguard()
            }),
        ),
        (
            "wireguard-off",
            Answer::Wireguard(WireguardStatus { node: "rte01".into(), ..WireguardStatus::default() }),
        ),
        (
            "wireguard-key",
            Answer::WireguardKey(WireguardKey {
                public_key: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=".into(),
                made: true,
            }),
        ),
    ]
}

/// In: a code of three lines. Out: two, with one character to a point.
#[test]
fn a_code_is_halved() {
    let code: Vec<String> = ["██  ██", "████  ", "    ██"].map(str::to_owned).into();
    assert_eq!(super::wireguard::halved(&code), ["█▄▀", "  ▀"]);
}

#[test]
fn answers_look_like_this() {
    for lang in [Lang::Fr, Lang::En] {
        let suffix = format!("{lang:?}").to_lowercase();
        for (name, answer) in answers() {
            assert_golden(&format!("cli/vpn-{name}.{suffix}"), &console(lang).vpn(&answer));
        }
        let Some((_, Answer::Profile(profile))) = answers().into_iter().find(|(name, _)| *name == "profile")
        else {
            panic!("a profile")
        };
        let text = console(lang).exported(&profile, "/media/usb/alice-portable.ovpn");
        assert_golden(&format!("cli/vpn-exported.{suffix}"), &text);
        let mut root = command(lang);
        root.build();
        let vpn = root.find_subcommand_mut("vpn").expect("the verb");
        let mut text = vpn.render_long_help().to_string();
        for name in ["export", "user", "revoke", "wireguard"] {
            text += &vpn.find_subcommand_mut(name).expect("a verb").render_long_help().to_string();
        }
        assert_golden(&format!("cli/vpn-help.{suffix}"), &text);
    }
}

fn read(words: &[&str]) -> Result<Option<VpnVerb>, clap::Error> {
    let words = ["rempart", "vpn"].iter().chain(words);
    let matches = command(Lang::En).try_get_matches_from(words)?;
    match Cli::from_arg_matches(&matches)?.verb {
        Some(Verb::Vpn { verb }) => Ok(verb),
        other => panic!("{other:?}"),
    }
}

/// In: what a person types. Out: what is meant; and no password can be typed there.
#[test]
fn verbs_are_read() {
    assert_eq!(read(&[]).unwrap(), None);
    let Ok(Some(VpnVerb::User { verb: UserVerb::Set(args) })) =
        read(&["user", "set", "alice", "--groups", "agents,chefs", "--disabled", "no", "--ipv4", ""])
    else {
        panic!("a person")
    };
    let fields = args.fields();
    assert_eq!(fields.groups, Some(vec!["agents".to_owned(), "chefs".to_owned()]));
    assert_eq!((fields.disabled, fields.ipv4.as_deref(), fields.full_name), (Some(false), Some(""), None));
    let Ok(Some(VpnVerb::User { verb: UserVerb::Set(none) })) =
        read(&["user", "set", "alice", "--groups", ""])
    else {
        panic!("a person")
    };
    assert_eq!(none.fields().groups, Some(Vec::new()));
    let Ok(Some(VpnVerb::Revoke { reason, .. })) = read(&["revoke", "0102030405060708"]) else {
        panic!("lost")
    };
    assert_eq!(reason.word().name(), "key-compromise");
    for wrong in [
        &["disconnect"][..],
        &["disconnect", "alice", "--all"],
        &["export"],
        &["export", "alice", "--device", "0102030405060708"],
        &["password", "alice", "secret"],
        &["test", "login", "alice", "secret"],
        &["user", "add", "alice", "--disabled", "perhaps"],
        &["wireguard", "client"],
        &["wireguard", "client", "alice", "--qr", "--out", "alice.conf"],
    ] {
        assert_eq!(read(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
}
