//! Stock openvpn, with its defaults and an authority of its own, whose keys are like ours (ECDSA P-384).

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rempart_kernel_tests::node::Failure;

use super::common::Namespace;
use super::weigh::Weighed;

/// Files that both sides need, in a folder.
const COMMON: &str = "dev-type tun\nproto udp\ndata-ciphers AES-256-GCM\nverb 1\n";

/// A running openvpn. Dropping it ends it.
#[derive(Debug)]
pub struct Openvpn(Child);

impl Openvpn {
    /// Starts the program with a configuration; what it says is in `NAME.log`.
    fn start(namespace: &Namespace, folder: &Path, name: &str, text: &str) -> Result<Self, Failure> {
        let file = folder.join(format!("{name}.conf"));
        fs::write(&file, text)?;
        let log = fs::File::create(folder.join(format!("{name}.log")))?;
        let mut command = Command::new("openvpn");
        command.current_dir(folder).arg("--config").arg(file);
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::inherit());
        Ok(Self(namespace.run(move || command.spawn())?))
    }

    /// The server at 192.0.2.1 port 1195, which is 10.9.0.1 inside, by the device `theirs`.
    pub fn server(namespace: &Namespace, folder: &Path) -> Result<Self, Failure> {
        let own = "dev theirs\nlocal 192.0.2.1\nport 1195\nkeepalive 10 60\nserver 10.9.0.0 255.255.0.0\n";
        Self::start(namespace, folder, "server", &server_text(own))
    }

    /// Its client, by the device `theirs`.
    pub fn client(namespace: &Namespace, folder: &Path) -> Result<Self, Failure> {
        Self::start(namespace, folder, "client", &client_text("dev theirs\nremote 192.0.2.1 1195\n"))
    }

    /// A client with a profile of ours, by the device `ours`.
    pub fn with_profile(namespace: &Namespace, folder: &Path, profile: &str) -> Result<Self, Failure> {
        let profile = profile.replace("\ndev tun\n", "\ndev-type tun\ndev ours\n");
        Self::start(namespace, folder, "profile", &profile)
    }

    /// What it costs.
    pub fn weighed(&self) -> Weighed {
        Weighed(self.0.id())
    }
}

impl Drop for Openvpn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server's configuration, in the folder of [`certificates`].
pub fn server_text(own: &str) -> String {
    format!(
        "{COMMON}{own}topology subnet\ndh none\nduplicate-cn\nmax-clients 16000\nca ca.crt\ncert server.crt\nkey server.key\n\
         tls-crypt shared.key\n"
    )
}

/// A client's.
pub fn client_text(own: &str) -> String {
    format!(
        "{COMMON}{own}client\nnobind\nremote-cert-tls server\nca ca.crt\ncert client.crt\nkey client.key\ntls-crypt shared.key\n"
    )
}

/// The parts of a client's profile inline, for our own client.
pub fn profile(folder: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    for (name, file) in [("cert", "client.crt"), ("key", "client.key"), ("tls-crypt", "shared.key")] {
        let inside = fs::read_to_string(folder.join(file))?;
        text += &format!("<{name}>\n{inside}</{name}>\n");
    }
    Ok(text)
}

/// Makes an authority, a certificate for each side and the key of the control channel.
pub fn certificates(folder: &Path) -> Result<(), Failure> {
    let new = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -days 2";
    let mut lines = vec![
        format!("{new} -x509 -subj /CN=authority -keyout ca.key -out ca.crt"),
        "openvpn --genkey secret shared.key".to_owned(),
    ];
    for (name, usage) in [("server", "serverAuth"), ("client", "clientAuth")] {
        lines.push(format!(
            "{new} -x509 -CA ca.crt -CAkey ca.key -subj /CN={name} -addext basicConstraints=CA:FALSE \
             -addext extendedKeyUsage={usage} -addext keyUsage=digitalSignature -keyout {name}.key -out {name}.crt"
        ));
    }
    for line in lines {
        let output = Command::new("sh").current_dir(folder).args(["-c", &line]).output()?;
        if !output.status.success() {
            return Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
    }
    Ok(())
}
