//! Stock openvpn, a server and a client, that know each other by the fingerprints of their certificates.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rempart_kernel_tests::node::Failure;

use super::common::Namespace;

/// The two processes. Dropping it ends them.
#[derive(Debug)]
pub struct Openvpn(Vec<Child>);

impl Openvpn {
    /// Starts a server at 192.0.2.1 port 1195 and a client; the server is 10.9.0.1 inside.
    pub fn up(server: &Namespace, client: &Namespace, folder: &Path) -> Result<Self, Failure> {
        let server_print = certificate(folder, "server")?;
        let client_print = certificate(folder, "client")?;
        let common = "dev-type tun\ndev theirs\nproto udp\ndata-ciphers AES-256-GCM\nverb 1\n";
        let to_server = format!(
            "{common}local 192.0.2.1\nport 1195\nserver 10.9.0.0 255.255.255.0\ntopology subnet\ndh none\nkeepalive 10 60\n\
             cert server.crt\nkey server.key\npeer-fingerprint {client_print}\n"
        );
        let to_client = format!(
            "{common}client\nremote 192.0.2.1 1195\nnobind\nremote-cert-tls server\ncert client.crt\nkey client.key\n\
             peer-fingerprint {server_print}\n"
        );
        let mut running = Self(Vec::new());
        for (namespace, name, text) in [(server, "server", to_server), (client, "client", to_client)] {
            fs::write(folder.join(format!("{name}.conf")), text)?;
            let mut command = Command::new("openvpn");
            command.current_dir(folder).args(["--config", &format!("{name}.conf")]);
            command.stdout(fs::File::create(folder.join(format!("{name}.log")))?).stderr(Stdio::inherit());
            running.0.push(namespace.run(move || command.spawn())?);
        }
        Ok(running)
    }
}

impl Drop for Openvpn {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Makes a key and a certificate for it, and returns its fingerprint.
fn certificate(folder: &Path, name: &str) -> Result<String, Failure> {
    let usage = if name == "server" { "serverAuth" } else { "clientAuth" };
    let make = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} \
         -addext extendedKeyUsage={usage} -addext keyUsage=digitalSignature -keyout {name}.key -out {name}.crt"
    );
    let show = format!("openssl x509 -in {name}.crt -noout -fingerprint -sha256");
    let mut said = String::new();
    for line in [make, show] {
        let output = Command::new("sh").current_dir(folder).args(["-c", &line]).output()?;
        if !output.status.success() {
            return Err(format!("{line}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        said = String::from_utf8(output.stdout)?;
    }
    Ok(said.trim().rsplit('=').next().unwrap_or_default().to_owned())
}
