//! The bus: the interface as the console calls it, under the policy of the image.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{
    AuthorityView, DeviceView, Profile, TestReport, UserView, VpnStatus, WireguardStatus,
};
use rempart_bus::{Error, VPN_NAME, VPN_PATH, Vpn1Proxy};
use rempart_daemon::vpn::service::{Configure, Service};
use rempart_daemon::vpn::wireguard::Wireguard;
use rempart_lab::dbus::PrivateBus;
use rempart_plan::remote::RemotePlan;
use serde_json::json;

use crate::alone::Alone;
use crate::{Node, PASSWORD, group, plan};

/// A bus with the image's policy for this name.
fn start(folder: &Path) -> PrivateBus {
    let policy = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../rootfs-overlay/usr/share/dbus-1/system.d/org.rempart.Vpn1.conf");
    let everybody = r#"  <policy context="default">
    <allow user="*"/>
    <allow send_type="method_return"/>
    <allow send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>"#;
    let whole = format!("{everybody}\n  <include>{}</include>", policy.display());
    PrivateBus::start(folder, &whole).expect("a bus")
}

/// A call as somebody else than root: what comes back.
fn as_nobody(bus: &PrivateBus, method: &str) -> String {
    let mut send = Command::new("dbus-send");
    send.arg(format!("--bus={}", bus.address)).args(["--print-reply=literal", "--reply-timeout=5000"]);
    send.arg(format!("--dest={VPN_NAME}")).arg(VPN_PATH).arg(format!("{VPN_NAME}.{method}"));
    let output = send.uid(65_534).output().expect("dbus-send");
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// In: a person's life over the bus: authority, account, password, code, profile, a tried login, revocation, removal. Out: each answer
/// is the document that the interface promises, and refusals are errors of ours. Whoever is not of the administrators cannot ask.
#[test]
fn a_persons_life_over_the_bus() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: the policy of the bus wants root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // Somebody else must reach the socket.
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bus = start(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(life(&bus, folder.path()));
}

async fn life(bus: &PrivateBus, folder: &Path) {
    let node = Node::open(folder);
    let (office, other) = (node.registry.office(), Arc::new(Alone::default()));
    let wireguard = Arc::new(Wireguard::start(None, &folder.join("secrets"), other).unwrap());
    let people = office.clone();
    let configure: Configure =
        Arc::new(move |plan, revision| people.configure(plan.and_then(|plan| plan.vpn), revision));
    let service = Service { office, wireguard, node: "rte01".to_owned(), configure };
    let connection = zbus::connection::Builder::address(bus.address.as_str())
        .serve_at(VPN_PATH, service)
        .name(VPN_NAME)
        .build()
        .await
        .expect("the name may be owned");
    let caller = zbus::connection::Builder::address(bus.address.as_str()).build().await.unwrap();
    let vpn = Vpn1Proxy::new(&caller).await.unwrap();

    let plan = plan("192.0.2.1:1194".parse().unwrap(), vec![group("agents", "certificate password", &[])]);
    // A plan without the rest is none, so that nobody takes it for an empty one.
    let Err(Error::Refused(_)) = vpn.configure(&serde_json::to_string(&plan).unwrap(), 7).await else {
        panic!("half a plan is refused")
    };
    let plan = RemotePlan { index: 0, paired: false, vpn: Some(plan), wireguard: None };
    vpn.configure(&serde_json::to_string(&plan).unwrap(), 7).await.unwrap();
    let wireguard: WireguardStatus = read(&vpn.wireguard().await.unwrap());
    assert_eq!((wireguard.node.as_str(), wireguard.enabled), ("rte01", false));
    let Err(Error::Refused(text)) = vpn.make_wireguard_key(false, "carol").await else { panic!("it is off") };
    assert_eq!(RefusalCode::of(&text), Some(RefusalCode::WireguardOff));
    let status: VpnStatus = read(&vpn.status().await.unwrap());
    assert_eq!((status.configured, status.revision, status.active), (true, 7, true));
    assert_eq!(status.listen, ["udp 192.0.2.1:1194"]);
    assert!(status.warnings.iter().any(|warning| warning.code == "no-authority"));
    let made: AuthorityView = read(&vpn.make_authority("", "carol").await.unwrap());
    assert_eq!(made.name, "SDIS 99 VPN");
    let known: Vec<AuthorityView> = read(&vpn.authorities().await.unwrap());
    // The server's certificate is the first thing that it issued.
    assert_eq!((known[0].fingerprint.as_str(), known[0].issued), (made.fingerprint.as_str(), 1));

    vpn.add_user(&json!({ "name": "Alice", "groups": ["agents"] }).to_string(), "carol").await.unwrap();
    vpn.set_password("alice", PASSWORD, "carol").await.unwrap();
    vpn.set_user(&json!({ "name": "alice", "full_name": "Alice Martin" }).to_string(), "carol")
        .await
        .unwrap();
    let users: Vec<UserView> = read(&vpn.users().await.unwrap());
    assert_eq!((users[0].name.as_str(), users[0].full_name.as_str()), ("alice", "Alice Martin"));
    assert_eq!(users[0].demands, ["certificate", "password"]);
    let enrolled: rempart_bus::vpn::Enrolment = read(&vpn.enrol_code("alice", "carol").await.unwrap());
    assert!(enrolled.uri.starts_with("otpauth://totp/SDIS%2099:alice?secret="), "{}", enrolled.uri);
    assert!(enrolled.qr.len() > 30);

    let export = json!({ "user": "alice", "label": "laptop" }).to_string();
    let profile: Profile = read(&vpn.export(&export, "carol").await.unwrap());
    assert_eq!(profile.file, "alice-laptop.ovpn");
    vpn.rename(&profile.device, "desktop", "carol").await.unwrap();
    let devices: Vec<DeviceView> = read(&vpn.devices().await.unwrap());
    assert_eq!((devices[0].label.as_str(), devices[0].state.as_str()), ("desktop", "valid"));
    let test = json!({ "user": "alice", "password": PASSWORD, "device": profile.device }).to_string();
    let report: TestReport = read(&vpn.test_login(&test).await.unwrap());
    assert!(report.accepted, "{report:?}");

    vpn.revoke(&profile.device, "key-compromise", "carol").await.unwrap();
    assert_eq!(read::<Vec<DeviceView>>(&vpn.devices().await.unwrap())[0].state, "revoked");
    assert!(!read::<TestReport>(&vpn.test_login(&test).await.unwrap()).accepted);
    let again = vpn.revoke(&profile.device, "key-compromise", "carol").await.unwrap_err();
    assert!(matches!(&again, Error::Refused(text) if text.starts_with("revoked: ")), "{again}");
    vpn.remove_user("alice", "carol").await.unwrap();
    let gone = vpn.remove_user("alice", "carol").await.unwrap_err();
    assert!(matches!(gone, Error::NotFound(_)), "{gone}");
    assert_eq!(vpn.sessions().await.unwrap(), "[]");
    let nobody = vpn.disconnect(&json!({ "all": true }).to_string(), "carol").await.unwrap_err();
    assert!(matches!(nobody, Error::NotFound(_)), "{nobody}");

    // The policy: whoever is neither root nor an administrator does not even reach it.
    let denied = as_nobody(bus, "Status");
    assert!(denied.contains("AccessDenied") || denied.contains("rejected"), "{denied}");
    drop(connection);
}
