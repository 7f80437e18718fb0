//! The policy for TLS: 1.3 and 1.2, AES-256-GCM only, no resumption, and a certificate where the driver wants one.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::{CipherSuite, SupportedProtocolVersion, version};

/// What the server shows and whom it believes.
pub struct TlsPolicy {
    /// The server's certificate, and those between it and the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// From `WebPkiClientVerifier`: authorities and revocation lists.
    pub clients: Arc<dyn ClientCertVerifier>,
}

/// A configuration for [`super::Settings`].
pub fn tls_config(policy: TlsPolicy) -> Result<Arc<ServerConfig>, rustls::Error> {
    tls_config_from(policy, &[&version::TLS13, &version::TLS12])
}

/// The same for TLS 1.3 only.
pub fn tls13_config(policy: TlsPolicy) -> Result<Arc<ServerConfig>, rustls::Error> {
    tls_config_from(policy, &[&version::TLS13])
}

fn tls_config_from(
    policy: TlsPolicy,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut provider: CryptoProvider = ring::default_provider();
    // "AES-256 for everything that comes from outside" (design §6).
    provider.cipher_suites.retain(|suite| {
        matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_256_GCM_SHA384
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        )
    });
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(policy.clients)
        .with_single_cert(policy.chain, policy.key)?;
    // Each key has a handshake of its own, so that a revoked certificate cannot come back by a ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
