//! A Samba domain controller.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{Server, must};

/// Everybody's.
pub const PASSWORD: &str = "Intervention-83!";
/// What has to be installed.
pub const NEEDED: [&str; 3] =
    ["/usr/sbin/samba", "/usr/bin/samba-tool", "/usr/share/samba/setup/provision.ldif"];

/// A domain in a directory.
pub struct Domain<'a> {
    pub path: &'a Path,
}

impl Domain<'_> {
    fn tool(&self, words: &[&str]) -> String {
        let configuration = self.path.join("etc/smb.conf");
        must(Command::new("samba-tool").args(words).arg("-s").arg(configuration))
    }

    fn user(&self, name: &str, more: &[&str]) {
        self.tool(&[&["user", "create", name, PASSWORD], more].concat());
    }

    /// People and groups, once.
    pub fn provision(&self) {
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
    pub fn serve(&self, certificate: &str, key: &str, authority: &str) -> Server {
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
