//! Against a real domain controller: Samba, provisioned once, in a network namespace of this test.
//!
//! In: people who are right, wrong, disabled, expired, locked, or must change their password; groups within groups. Out: what the
//! login machine is to be told about each. Then controllers that are dead, silent, or not who they say.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Server, can_run, certified, in_a_namespace, must};
use rempart_identity::demand::DirectoryAnswer;
use rempart_identity::ldap::{Config, Controller, Directory, Protection};
use rempart_identity::secret::Secret;

const PASSWORD: &str = "Intervention-83!";
const NEEDED: [&str; 3] = ["/usr/sbin/samba", "/usr/bin/samba-tool", "/usr/share/samba/setup/provision.ldif"];

/// A domain in a directory.
struct Domain<'a> {
    path: &'a Path,
}

impl Domain<'_> {
    fn tool(&self, words: &[&str]) -> String {
        let configuration = self.path.join("etc/smb.conf");
        must(Command::new("samba-tool").args(words).arg("-s").arg(configuration))
    }

    fn user(&self, name: &str, more: &[&str]) {
        self.tool(&[&["user", "create", name, PASSWORD], more].concat());
    }

    fn provision(&self) {
        let target = format!("--targetdir={}", self.path.display());
        must(Command::new("samba-tool").args([
            "domain",
            "provision",
            "--realm=CORP.EXAMPLE",
            "--domain=CORP",
            "--host-name=dc1",
            "--host-ip=127.0.0.1",
            "--server-role=dc",
            "--dns-backend=NONE",
            "--adminpass=Adm1n-Passw0rd!",
            &target,
        ]));
        self.tool(&["domain", "passwordsettings", "set", "--account-lockout-threshold=3"]);
        self.user("alice", &[]);
        self.user("bob", &[]);
        self.user("dora", &[]);
        self.tool(&["user", "disable", "dora"]);
        self.user("eve", &[]);
        self.user("mia", &["--must-change-at-next-login"]);
        self.user("lou", &[]);
        // alice is in Intervention, which is in Operations, which is in the VPN's group; bob is in none.
        for group in ["VPN Agents", "Operations", "Intervention", "VPN Admins"] {
            self.tool(&["group", "add", group]);
        }
        self.tool(&["group", "addmembers", "VPN Agents", "Operations"]);
        self.tool(&["group", "addmembers", "Operations", "Intervention"]);
        self.tool(&["group", "addmembers", "Intervention", "alice"]);
        self.tool(&["user", "setexpiry", "eve", "--days=-1"]);
        // alice's principal name differs from her account's.
        self.tool(&["user", "rename", "alice", "--upn=alice.martin@corp.example"]);
    }

    /// LDAP alone, on loopback alone, with this certificate.
    fn serve(&self, certificate: &str, key: &str, authority: &str) -> Server {
        let path = self.path.display();
        for (name, content) in [("cert.pem", certificate), ("key.pem", key), ("ca.pem", authority)] {
            let file = self.path.join(name);
            std::fs::write(&file, content).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        for folder in ["run", "ncalrpc", "lock"] {
            std::fs::create_dir_all(self.path.join(folder)).unwrap();
        }
        let file = self.path.join("etc/smb.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        let own = ["server services", "lock directory", "log", "max log size"];
        let kept = |line: &&str| !own.iter().any(|word| line.trim().starts_with(word));
        let text = text.lines().filter(kept).collect::<Vec<_>>().join("\n");
        let ours = format!(
            "[global]\nserver services = ldap\nbind interfaces only = yes\ninterfaces = 127.0.0.1/8\n\
             tls certfile = {path}/cert.pem\ntls keyfile = {path}/key.pem\ntls cafile = {path}/ca.pem\n\
             pid directory = {path}/run\nncalrpc dir = {path}/ncalrpc\nlock directory = {path}/lock\nlog level = 0\n"
        );
        std::fs::write(&file, text.replacen("[global]", &ours, 1)).unwrap();
        let mut command = Command::new("samba");
        command
            .args(["--foreground", "--no-process-group", "--model=single", "--debug-stdout", "-s"])
            .arg(&file);
        let mut server = Server::start(&mut command);
        server.wait_until("port 636", || TcpStream::connect("127.0.0.1:636").is_ok());
        server
    }
}

fn controller(name: &str, address: &str, protection: Protection) -> Controller {
    Controller { name: name.to_owned(), address: address.parse::<SocketAddr>().unwrap(), protection }
}

fn config(authority: &[u8], controllers: &[Controller]) -> Config {
    let groups = [
        ("CN=VPN Agents,CN=Users,DC=corp,DC=example", "agents"),
        ("VPN Admins", "admins"),
        ("domain users", "everybody"),
    ];
    Config {
        controllers: controllers.to_vec(),
        authorities: vec![authority.to_vec()],
        domain: "corp.example".to_owned(),
        base: "DC=corp,DC=example".to_owned(),
        groups: groups.map(|(name, group)| (name.to_owned(), [group.parse().unwrap()].into())).into(),
        patience: Duration::from_secs(8),
    }
}

fn right(account: &str, groups: &[&str]) -> DirectoryAnswer {
    let groups = groups.iter().map(|group| group.parse().unwrap()).collect();
    DirectoryAnswer::Right { account: account.parse().unwrap(), groups }
}

#[test]
fn a_real_domain_controller() {
    if can_run("Active Directory", &NEEDED) {
        in_a_namespace(run);
    }
}

fn run() {
    let directory = tempfile::tempdir().unwrap();
    let domain = Domain { path: directory.path() };
    domain.provision();
    let (authority, server) = certified(&["dc1.corp.example"]);
    let _samba = domain.serve(&server.certificate_pem(), &server.key_pem(), &authority.certificate_pem());
    let dc1 = controller("dc1.corp.example", "127.0.0.1:636", Protection::Ldaps);
    let asked = |controllers: &[Controller], name: &str, password: &str| {
        let directory = Directory::new(config(authority.certificate(), controllers)).unwrap();
        directory.ask(name, &Secret::from(password))
    };
    people(&|name, password| asked(std::slice::from_ref(&dc1), name, password));
    let start_tls = controller("dc1.corp.example", "127.0.0.1:389", Protection::StartTls);
    assert_eq!(asked(&[start_tls], "bob", PASSWORD), right("bob", &["everybody"]));
    fail_over(&dc1, &|controllers| asked(controllers, "bob", PASSWORD));

    // Another authority, and the right one with another name: the password is not sent.
    let (other, _) = certified(&["dc1.corp.example"]);
    let wrong = Directory::new(config(other.certificate(), std::slice::from_ref(&dc1))).unwrap();
    let unknown = |answer: &DirectoryAnswer, word: &str| matches!(answer, DirectoryAnswer::Unavailable(why) if why.contains(word));
    let answer = wrong.ask("bob", &Secret::from(PASSWORD));
    assert!(unknown(&answer, "TLS: invalid peer certificate"), "{answer:?}");
    let misnamed = controller("dc2.corp.example", "127.0.0.1:636", Protection::Ldaps);
    let answer = asked(&[misnamed], "bob", PASSWORD);
    assert!(unknown(&answer, "not valid for"), "{answer:?}");
}

fn people(ask: &dyn Fn(&str, &str) -> DirectoryAnswer) {
    // Every way to write the name; nested groups, and the primary group that stands in no list of members.
    for name in ["alice", "ALICE", "CORP\\alice", "alice@corp.example", "alice.martin@corp.example"] {
        assert_eq!(ask(name, PASSWORD), right("alice", &["agents", "everybody"]), "{name}");
    }
    assert_eq!(ask("bob", PASSWORD), right("bob", &["everybody"]));
    let wrong = |answer: DirectoryAnswer| assert!(matches!(answer, DirectoryAnswer::Wrong(_)), "{answer:?}");
    wrong(ask("bob", "wrong"));
    wrong(ask("bob", ""));
    wrong(ask("nobody", PASSWORD));
    wrong(ask("*", PASSWORD));
    wrong(ask("bob)(objectClass=*", PASSWORD));
    wrong(ask("dora", "wrong"));
    let account = |answer: DirectoryAnswer, word: &str| {
        assert!(matches!(&answer, DirectoryAnswer::Account(why) if why.contains(word)), "{answer:?}");
    };
    account(ask("dora", PASSWORD), "disabled");
    account(ask("eve", PASSWORD), "expired");
    let answer = ask("mia", PASSWORD);
    assert!(matches!(answer, DirectoryAnswer::MustChange(_)), "{answer:?}");
    for _ in 0..3 {
        wrong(ask("lou", "wrong"));
    }
    account(ask("lou", PASSWORD), "locked");
}

fn fail_over(alive: &Controller, ask: &dyn Fn(&[Controller]) -> DirectoryAnswer) {
    // Nobody listens on the first.
    let dead = controller("dc0.corp.example", "127.0.0.9:636", Protection::Ldaps);
    let start = Instant::now();
    assert_eq!(ask(&[dead.clone(), alive.clone()]), right("bob", &["everybody"]));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    // All dead: said so, with each one's reason.
    let answer = ask(&[dead.clone(), dead.clone()]);
    assert!(
        matches!(&answer, DirectoryAnswer::Unavailable(why) if why.matches("no connection").count() == 2),
        "{answer:?}"
    );
    // The first accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.8:636").unwrap();
    let mute = controller("dc0.corp.example", "127.0.0.8:636", Protection::Ldaps);
    let start = Instant::now();
    assert_eq!(ask(&[mute, alive.clone()]), right("bob", &["everybody"]));
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    drop(silent);
}
