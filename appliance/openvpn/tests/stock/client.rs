//! The stock program, its profile and its log.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// A small authority, with a certificate for the server and one for the client.
pub struct Authority {
    pub root: CertificateDer<'static>,
    pub server: (CertificateDer<'static>, PrivateKeyDer<'static>),
    root_pem: String,
    client_pem: String,
    client_key_pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let mut params = named("Test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let leaf = |name, purpose| {
            let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
            let mut params = named(name);
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![purpose];
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let (server, server_key) = leaf("gateway", ExtendedKeyUsagePurpose::ServerAuth);
        let (client, client_key) = leaf("alice", ExtendedKeyUsagePurpose::ClientAuth);
        let server_key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        Self {
            root: root.der().clone(),
            server: (server.der().clone(), server_key),
            root_pem: root.pem(),
            client_pem: client.pem(),
            client_key_pem: client_key.serialize_pem(),
        }
    }
}

impl Authority {
    /// Believes this authority, but shows a certificate of the other one.
    pub fn with_client_of(&self, other: &Self) -> Self {
        Self {
            root: self.root.clone(),
            server: (self.server.0.clone(), self.server.1.clone_key()),
            root_pem: self.root_pem.clone(),
            client_pem: other.client_pem.clone(),
            client_key_pem: other.client_key_pem.clone(),
        }
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub const USER: &str = "alice";
pub const PASSWORD: &str = "correct horse";

/// A running client.
pub struct Client {
    process: Child,
    folder: PathBuf,
}

impl Client {
    /// `wrapping` is the inline part of the profile for the control channel, `extra` what a case wants besides.
    pub fn start(authority: &Authority, port: u16, wrapping: &str, extra: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("rempart-vpn-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let Authority { root_pem, client_pem, client_key_pem, .. } = authority;
        fs::write(folder.join("login"), format!("{USER}\n{PASSWORD}\n")).unwrap();
        let login = folder.join("login");
        let proto = if extra.contains("proto tcp-client") { "" } else { "proto udp\n" };
        let profile = format!(
            "client\ndev tun\n{proto}remote 127.0.0.1 {port}\nnobind\nremote-cert-tls server\nauth-user-pass {}\n\
             connect-retry 1 2\nhand-window 20\nverb 3\nmute-replay-warnings\n{extra}\n\
             <ca>\n{root_pem}</ca>\n<cert>\n{client_pem}</cert>\n<key>\n{client_key_pem}</key>\n{wrapping}\n",
            login.display()
        );
        fs::write(folder.join("client.ovpn"), profile).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let process = Command::new("openvpn")
            .arg("--config")
            .arg(folder.join("client.ovpn"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    pub fn said(&self, what: &str) -> usize {
        self.log().matches(what).count()
    }

    /// It came up once, and nothing happened that a person would have noticed.
    pub fn assert_undisturbed(&self) {
        let log = self.log();
        assert_eq!(self.said("Initialization Sequence Completed"), 1, "{log}");
        for trouble in
            ["SIGUSR1", "AUTH_FAILED", "Restart pause", "decrypt packet error", "Enter Auth", "Inactivity"]
        {
            assert!(!log.contains(trouble), "{trouble} in the client's log:\n{log}");
        }
    }

    /// As Ctrl-C does: it says that it goes.
    pub fn interrupt(&mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("the client's log:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}
