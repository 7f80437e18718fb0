//! Who may connect: the other node, by the key that pairing has left, and nobody else.
//!
//! TLS 1.3 with raw public keys both ways (RFC 7250): there are no names, dates or authorities to get wrong, only two keys.
//! ECDSA over P-384, key agreement over P-384, and `TLS_AES_256_GCM_SHA384` as the only suite: one strength throughout.
//! No tickets and no early data, so each connection shows both keys anew.
//!
//! QUIC protects its first packets with AES-128-GCM under keys that anybody can compute (RFC 9001 §5.2): that hides
//! nothing from anybody and is no choice of ours. The library takes that suite apart from those it may negotiate, so
//! the provider given to TLS has AES-256 alone.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{IdleTimeout, TransportConfig, VarInt};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme, version,
};

use super::MAX_REQUESTS;
use crate::keystore::Identity;

/// The name in the handshake. Nobody looks at it; QUIC wants one.
pub(super) const NAME: &str = "peer.rempart.invalid";
/// The protocol in the handshake: another version of the frames is another name.
const PROTOCOL: &[u8] = b"rempart/1";

/// One-way streams that the other node may have open: that of its `rempart-vpn`, and of those before it that are not closed
/// yet.
const STREAMS: u32 = 4;

/// The two halves of the channel's configuration.
pub(super) fn configurations(
    identity: &Identity,
    peer: &[u8],
    idle: Duration,
    keep_alive: Duration,
) -> Result<(quinn::ClientConfig, quinn::ServerConfig), Error> {
    let provider = Arc::new(provider());
    let pin = Arc::new(Pin { peer: peer.to_vec(), algorithms: provider.signature_verification_algorithms });
    let own = Arc::new(CertifiedKey::new(
        vec![CertificateDer::from(identity.public.clone())],
        Arc::clone(&identity.signer),
    ));
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&pin) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&own))));
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.resumption = rustls::client::Resumption::disabled();
    client.enable_early_data = false;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(pin)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)));
    server.alpn_protocols = vec![PROTOCOL.to_vec()];
    server.send_tls13_tickets = 0;
    server.max_early_data_size = 0;

    let initial = initial()?;
    let wrong = |_| Error::General("the first packets of QUIC need AES-128-GCM".into());
    let client = QuicClientConfig::with_initial(Arc::new(client), initial).map_err(wrong)?;
    let server = QuicServerConfig::with_initial(Arc::new(server), initial).map_err(wrong)?;
    let transport = Arc::new(transport(idle, keep_alive));
    let mut client = quinn::ClientConfig::new(Arc::new(client));
    client.transport_config(Arc::clone(&transport));
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
    // The other node's address changes by a new connection, never under an old one.
    server.transport_config(transport).migration(false);
    Ok((client, server))
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![kx_group::SECP384R1],
        ..default_provider()
    }
}

/// What the first packets are protected with, by protocol.
fn initial() -> Result<rustls::quic::Suite, Error> {
    let suite = cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite());
    suite.ok_or_else(|| Error::General("the library has no AES-128-GCM for QUIC".into()))
}

fn transport(idle: Duration, keep_alive: Duration) -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX);
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
        .keep_alive_interval(Some(keep_alive))
        // A cable, not the Internet: what is lost is sent again at once, so that a node that comes up is found at once.
        .initial_rtt(Duration::from_millis(20))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_REQUESTS as u32))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS))
        .datagram_receive_buffer_size(None);
    transport
}

/// Takes one key and no other.
#[derive(Debug)]
struct Pin {
    /// `SubjectPublicKeyInfo` of the other node.
    peer: Vec<u8>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Pin {
    fn check(&self, shown: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        // A public key is no secret, so how long the comparison takes tells nothing.
        if more.is_empty() && shown.as_ref() == self.peer {
            return Ok(());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn signed(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(shown, more).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP384_SHA384]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pin {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(shown, more).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _key: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signed(message, key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP384_SHA384]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// A client that is not quite ours: another suite, or no key.
#[cfg(test)]
pub(super) fn test_client(
    identity: &Identity,
    peer: &[u8],
    suite: rustls::SupportedCipherSuite,
    key: bool,
) -> quinn::ClientConfig {
    let provider = Arc::new(CryptoProvider { cipher_suites: vec![suite], ..provider() });
    let pin = Arc::new(Pin { peer: peer.to_vec(), algorithms: provider.signature_verification_algorithms });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(pin);
    let own = CertifiedKey::new(vec![identity.public.clone().into()], Arc::clone(&identity.signer));
    let mut client = match key {
        true => {
            builder.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(own))))
        }
        false => builder.with_no_client_auth(),
    };
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    let client =
        QuicClientConfig::with_initial(Arc::new(client), initial().expect("a suite")).expect("initial");
    quinn::ClientConfig::new(Arc::new(client))
}
