//! Exported profiles, as they are, in the stock openvpn; what a person would type comes through its management interface.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rempart_daemon::vpn::seam::CutOff;
use rempart_identity::secret::Secret;
use ring::hmac;

use crate::gateway::Gateway;
use crate::servers::{can_run, in_a_namespace};
use crate::{Node, PASSWORD, group, plan};

/// The stock program on a profile.
struct Client {
    process: Child,
    log: std::path::PathBuf,
}

impl Client {
    fn start(folder: &Path, profile: &str, name: &str, password: String) -> Self {
        let file = folder.join("exported.ovpn");
        std::fs::write(&file, profile).unwrap();
        let (log, socket) = (folder.join("log"), folder.join("management"));
        // What a client before it has said is not this one's.
        [&socket, &log].into_iter().for_each(|left| drop(std::fs::remove_file(left)));
        let process = Command::new("openvpn")
            .arg("--config")
            .arg(&file)
            .arg("--log")
            .arg(&log)
            .arg("--management")
            .arg(&socket)
            .args(["unix", "--management-query-passwords"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let name = name.to_owned();
        // The person: answers once, and is not there any more.
        std::thread::spawn(move || answer(&socket, &name, &password));
        Self { process, log }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn said(&self, what: &str) -> bool {
        self.log().contains(what)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the client's log:\n{}", self.log());
        }
    }
}

fn answer(socket: &Path, name: &str, password: &str) {
    let end = Instant::now() + Duration::from_secs(10);
    let stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Err(_) => return,
        }
    };
    let mut out = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if line.starts_with(">PASSWORD:Need 'Auth'") {
            let _ = writeln!(out, "username \"Auth\" {name}\npassword \"Auth\" \"{password}\"");
            return std::thread::sleep(Duration::from_secs(60));
        }
    }
}

/// What the application shows (RFC 4226 §5.3), from the letters of the enrolment.
fn code(base32: &str, ahead_s: u64) -> String {
    let (mut bits, mut count, mut key) = (0_u64, 0, Vec::new());
    for letter in base32.bytes() {
        let value = if letter.is_ascii_uppercase() { letter - b'A' } else { letter - b'2' + 26 };
        (bits, count) = (bits << 5 | u64::from(value), count + 5);
        if count >= 8 {
            count -= 8;
            key.push((bits >> count) as u8);
        }
    }
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let step = (since.as_secs() + ahead_s) / 30;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key), &step.to_be_bytes());
    let place = usize::from(tag.as_ref()[19] & 15);
    let word = u32::from_be_bytes(tag.as_ref()[place..place + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

fn base64(text: &str) -> String {
    serde_json::to_value(Secret::from(text)).unwrap().as_str().unwrap().to_owned()
}

/// In: an exported profile of a group that demands all three, in openvpn 2.6. Out: in with certificate, password and code; the key
/// renewed without a question; out with a wrong password; cut and turned away once revoked.
#[test]
fn an_exported_profile_in_the_stock_client() {
    if can_run("the stock client", &["/usr/sbin/openvpn", "/dev/net/tun"]) {
        in_a_namespace(run);
    }
}

/// In: a profile, then a new certificate of the authority, as `rempart vpn authority renew` makes it. Out: the server shows another
/// certificate, and the old profile and a new one come in; the device is the same.
#[test]
fn a_profile_outlives_the_renewal_of_its_authority() {
    if can_run("the stock client", &["/usr/sbin/openvpn", "/dev/net/tun"]) {
        in_a_namespace(renewed);
    }
}

fn renewed() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path());
    let office = node.registry.office();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let groups = vec![group("agents", "certificate password", &[])];
    office.configure(Some(plan(socket.local_addr().unwrap(), groups)), 1);
    let made = office.make_authority("", "test").unwrap();
    node.add("alice", &["agents"]);
    let old = node.export("alice");
    let before = node.material();
    let renewed = office.renew_authority("test").unwrap();
    assert_eq!(
        (&renewed.name, renewed.issued, renewed.earlier_until.as_ref()),
        (&made.name, 2, Some(&made.until))
    );
    assert_ne!(renewed.fingerprint, made.fingerprint);
    assert_eq!(office.authorities().len(), 1, "it takes the place of the one before");
    // The authority first, then the server's certificate of it.
    let mut after = node.material();
    while after.chain == before.chain {
        after = node.material();
    }
    let new = node.export("alice");
    assert!(new.text.contains(renewed.certificate.trim()) && old.text.contains(made.certificate.trim()));
    let mut gateway = Gateway::new(&node, socket, after);
    for profile in [&old, &new] {
        let client = Client::start(folder.path(), &profile.text, "alice", PASSWORD.to_owned());
        gateway.run_until("the client is connected", |_| client.said("Initialization Sequence Completed"));
        assert!(client.log().contains("VERIFY X509NAME OK: CN=rempart-vpn"), "{}", client.log());
        drop(client);
        gateway.drop_sessions();
    }
    assert_eq!(gateway.verdicts, ["yes", "yes"]);
    // Revoked by the renewed one, under the old certificate.
    office.revoke(&old.device, "key-compromise", "test").unwrap();
    gateway.believe(node.material());
    let again = Client::start(folder.path(), &old.text, "alice", PASSWORD.to_owned());
    gateway.run_until("it is turned away before TLS", |gateway| gateway.turned_away > 0);
    assert!(!again.said("Initialization Sequence Completed"));
}

fn run() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::open(folder.path());
    let office = node.registry.office();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let groups = vec![group("agents", "certificate password code", &[])];
    office.configure(Some(plan(socket.local_addr().unwrap(), groups)), 1);
    office.make_authority("", "test").unwrap();
    node.add("alice", &["agents"]);
    let secret = office.enrol_code("alice", "test").unwrap().secret;
    office.confirm_code("alice", &code(&secret, 0), "test").unwrap();
    let profile = node.export("alice");
    eprintln!("the profile has {} bytes", profile.text.len());
    assert!(profile.text.len() > 2_953, "more than a QR code holds");
    let mut gateway = Gateway::new(&node, socket, node.material());

    // The code of the next step: the present one has confirmed the application.
    let split = format!("SCRV1:{}:{}", base64(PASSWORD), base64(&code(&secret, 30)));
    let mut client = Client::start(folder.path(), &profile.text, "alice", split);
    let up = "Initialization Sequence Completed";
    gateway.run_until("the client is connected", |_| client.said(up));
    assert_eq!(gateway.verdicts, ["yes"]);
    let log = client.log();
    assert!(log.contains("VERIFY X509NAME OK: CN=rempart-vpn") && log.contains("VERIFY EKU OK"), "{log}");
    assert!(!log.to_lowercase().contains("deprecated") && !log.contains("Options error"), "{log}");
    gateway.rekey();
    gateway.run_until("the key is renewed", |gateway| gateway.verdicts.len() == 2);
    assert_eq!(gateway.verdicts, ["yes", "token"], "nobody was asked");
    assert_eq!(office.status().logins.renewed, 1);

    // Revoked: everything that is there ends at once, and nothing begins.
    office.revoke(&profile.device, "key-compromise", "test").unwrap();
    assert!(matches!(node.cut(), CutOff::Certificate(_)));
    gateway.believe(node.material());
    let _ = client.process.kill();
    gateway.drop_sessions();
    let again = Client::start(folder.path(), &profile.text, "alice", PASSWORD.to_owned());
    gateway.run_until("it is turned away before TLS", |gateway| gateway.turned_away > 0);
    assert!(!again.said(up));
    drop(again);

    // Another device, and a wrong password.
    let second = node.export("alice");
    let refused = Client::start(folder.path(), &second.text, "alice", "wrong".to_owned());
    gateway.run_until("it is told", |_| refused.said("AUTH_FAILED"));
    assert_eq!(gateway.verdicts.last(), Some(&"no"));
}
