//! What the authority makes, by two other readers: the command line of OpenSSL and rustls-webpki. What it takes over, from
//! files that OpenSSL made.

mod imports;
mod openssl;

use std::time::Duration;

use ring::rand::SystemRandom;
use rustls::pki_types::{CertificateDer, UnixTime};

use self::openssl::Openssl;
use super::*;
use crate::names::{DeviceId, UserName};

/// The real clock: OpenSSL and webpki are asked about today.
pub(super) fn now() -> Moment {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Moment::new(since.as_secs() as i64)
}

pub(super) fn alice() -> UserName {
    "alice".parse().unwrap()
}

const LAPTOP: DeviceId = DeviceId::new([1, 2, 3, 4, 5, 6, 7, 8]);

fn authority() -> Authority {
    Authority::create("Rempart VPN", now(), &SystemRandom::new()).unwrap()
}

fn client(authority: &mut Authority) -> Credential {
    authority.issue_client(&alice(), LAPTOP, CLIENT_LIFE, now(), &SystemRandom::new()).unwrap()
}

/// What the verifier of the server says.
pub(super) fn verified(authority: &Authority, certificate: &[u8], at: Moment) -> Result<(), rustls::Error> {
    let verifier =
        client_verifier([authority].into_iter(), ExpiredLists::Refuse, Presence::Demanded).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.seconds() as u64));
    verifier.verify_client_cert(&CertificateDer::from(certificate), &[], at).map(|_| ())
}

#[test]
fn openssl_accepts_what_is_made() {
    // In: an authority, a server, a client. Out: OpenSSL verifies both for their purpose, strictly, with the list, and
    // refuses each for the other's purpose.
    let mut authority = authority();
    let client = client(&mut authority);
    let server =
        authority.issue_server(&["vpn.example.fr", "192.0.2.1", "2001:db8::1"], now(), &SystemRandom::new());
    let server = server.unwrap();
    let openssl = Openssl::new();
    openssl.write("ca.pem", authority.certificate_pem());
    openssl.write("crl.pem", crate::pem::write("X509 CRL", authority.list().unwrap()));
    openssl.write("client.pem", client.certificate_pem());
    openssl.write("server.pem", server.certificate_pem());
    let strict = "verify -x509_strict -policy_check -crl_check -CAfile ca.pem -CRLfile crl.pem";
    openssl.accepts(&format!("{strict} -purpose sslclient client.pem"));
    openssl.accepts(&format!("{strict} -purpose sslserver -verify_hostname vpn.example.fr server.pem"));
    openssl.accepts(&format!("{strict} -purpose sslserver -verify_ip 2001:db8::1 server.pem"));
    openssl.refuses(&format!("{strict} -purpose sslserver client.pem"));
    openssl.refuses(&format!("{strict} -purpose sslclient server.pem"));
    openssl.refuses(&format!("{strict} -purpose sslserver -verify_hostname other.example.fr server.pem"));

    // The profile, line by line.
    let text = openssl.accepts("x509 -in client.pem -noout -text");
    for wanted in [
        "Version: 3",
        "Signature Algorithm: ecdsa-with-SHA384",
        "Issuer: CN = Rempart VPN",
        "Subject: CN = alice",
        "ASN1 OID: secp384r1",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "X509v3 Extended Key Usage: \n                TLS Web Client Authentication\n",
        "X509v3 Basic Constraints: critical\n                CA:FALSE",
        "URI:urn:rempart:device:0102030405060708",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(text.contains(wanted), "{wanted}\nis missing in\n{text}");
    }
    let text = openssl.accepts("x509 -in ca.pem -noout -text");
    for wanted in [
        "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign",
        "CA:TRUE, pathlen:0",
        "Subject Key Identifier",
    ] {
        assert!(text.contains(wanted), "{wanted}\nis missing in\n{text}");
    }
    let serial = openssl.accepts("x509 -in client.pem -noout -serial");
    assert_eq!(serial.trim().to_lowercase(), format!("serial={}", client.serial));
    assert_eq!(client.serial.bytes().len(), 20);
    openssl.write("client.key", client.key_pem().as_str());
    let of_key = openssl.accepts("pkey -in client.key -pubout");
    assert_eq!(of_key, openssl.accepts("x509 -in client.pem -noout -pubkey"));
}

#[test]
fn the_revocation_list_holds_at_both_readers() {
    // In: a client that is revoked. Out: refused from then on, with number and reason in the list.
    let mut authority = authority();
    let client = client(&mut authority);
    assert_eq!(verified(&authority, &client.certificate, now()), Ok(()));
    let before = authority.list_number();
    authority.revoke(&client.serial, Reason::KeyCompromise, now()).unwrap();
    assert_eq!(authority.list_number(), before + 1);
    let revoked = rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked);
    assert_eq!(verified(&authority, &client.certificate, now()), Err(revoked));

    let openssl = Openssl::new();
    openssl.write("ca.pem", authority.certificate_pem());
    openssl.write("crl.pem", crate::pem::write("X509 CRL", authority.list().unwrap()));
    openssl.write("client.pem", client.certificate_pem());
    let complaint = openssl.refuses("verify -crl_check -CAfile ca.pem -CRLfile crl.pem client.pem");
    assert!(complaint.contains("certificate revoked"), "{complaint}");
    openssl.accepts("crl -in crl.pem -CAfile ca.pem -verify -noout");
    let text = openssl.accepts("crl -in crl.pem -noout -text");
    for wanted in ["Version 2", "X509v3 CRL Number: \n                2", "Key Compromise"] {
        assert!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    assert!(text.to_lowercase().contains(&format!("serial number: {}", client.serial)));
    assert_eq!(
        authority.revoke(&client.serial, Reason::Superseded, now()),
        Err(NotIssued::Revoked(client.serial.clone()))
    );
}

#[test]
fn the_verifier_knows_time_purpose_and_authority() {
    let mut authority = authority();
    let client = client(&mut authority);
    let server = authority.issue_server(&["vpn.example.fr"], now(), &SystemRandom::new()).unwrap();
    assert!(verified(&authority, &server.certificate, now()).is_err());
    // The list is kept fresh by the box; here the certificate itself ends.
    let later = now().plus(CLIENT_LIFE + DAY);
    let mut fresh = authority.clone();
    fresh.sign_list(later).unwrap();
    let error = verified(&fresh, &client.certificate, later).unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
    // A list that has ended shuts everyone out.
    let stale = now().plus(LIST_LIFE + DAY);
    assert!(verified(&authority, &client.certificate, stale).is_err());
    let other = Authority::create("Rempart VPN", now(), &SystemRandom::new()).unwrap();
    assert!(verified(&other, &client.certificate, now()).is_err());
    let identity = ClientIdentity::of(&client.certificate).unwrap();
    assert_eq!((identity.device, identity.user), (Some(LAPTOP), Some(alice())));
    assert_eq!(identity.serial, client.serial);
}

#[test]
fn renewal_keeps_the_key_and_rekeying_does_not() {
    let mut authority = authority();
    let client = client(&mut authority);
    let (again, serial, _) = authority.renew(&client.certificate, now(), &SystemRandom::new()).unwrap();
    let (old, new) = (Facts::read(&client.certificate).unwrap(), Facts::read(&again).unwrap());
    assert_eq!((&old.public_key, &old.names), (&new.public_key, &new.names));
    assert_ne!(old.serial, new.serial);
    assert_eq!(verified(&authority, &again, now()), Ok(()));
    authority.revoke(&serial, Reason::Superseded, now()).unwrap();
    assert!(authority.renew(&again, now(), &SystemRandom::new()).is_err(), "a revoked one is not renewed");
    assert_eq!(verified(&authority, &client.certificate, now()), Ok(()), "the old one still stands");

    // The authority's own: clients that hold the old certificate accept what the renewed authority signs.
    let mut renewed = authority.renewed(now(), &SystemRandom::new()).unwrap();
    assert!(renewed.list_number() > authority.list_number());
    let server = renewed.issue_server(&["vpn.example.fr"], now(), &SystemRandom::new()).unwrap();
    let openssl = Openssl::new();
    openssl.write("old-ca.pem", authority.certificate_pem());
    openssl.write("server.pem", server.certificate_pem());
    openssl.accepts("verify -CAfile old-ca.pem -purpose sslserver server.pem");
    assert!(authority.successor("Rempart VPN", now(), &SystemRandom::new()).is_err());
    let next = authority.successor("Rempart VPN 2", now(), &SystemRandom::new()).unwrap();
    assert_ne!(next.facts().unwrap().public_key, authority.facts().unwrap().public_key);
    // During the change both are accepted.
    let both =
        client_verifier([&authority, &next].into_iter(), ExpiredLists::Refuse, Presence::Demanded).unwrap();
    assert_eq!(both.root_hint_subjects().len(), 2);
}

#[test]
fn nothing_outlives_its_authority_or_the_profile() {
    let mut authority = authority();
    let end = authority.facts().unwrap().not_after;
    let late = end.minus(10 * DAY);
    let short = authority.issue_client(&alice(), LAPTOP, CLIENT_LIFE, late, &SystemRandom::new()).unwrap();
    assert_eq!(short.until, end);
    let too_late = authority.issue_client(
        &alice(),
        LAPTOP,
        CLIENT_LIFE,
        end.minus(Duration::from_secs(60)),
        &SystemRandom::new(),
    );
    assert_eq!(too_late.unwrap_err(), NotIssued::AuthorityEnds(end));
    let long = authority.issue_client(&alice(), LAPTOP, 1096 * DAY, now(), &SystemRandom::new());
    assert_eq!(long.unwrap_err(), NotIssued::Long(1096));
    for name in ["", "two words", "*.", "a..b"] {
        assert!(authority.issue_server(&[name], now(), &SystemRandom::new()).is_err(), "{name:?}");
    }
}

#[test]
fn warnings_come_in_time() {
    // In: an authority with a device, at moments of its life. Out: what is about to end, and how urgent.
    let mut authority = authority();
    let start = now();
    let client = client(&mut authority);
    let laptop = |authority: &Authority, at: Moment| {
        let found = expiring(authority, at).into_iter();
        let mine = |warning: &Expiring| matches!(warning.subject, Subject::Certificate(..));
        found.filter(mine).map(|warning| warning.stage).collect::<Vec<_>>()
    };
    assert_eq!(expiring(&authority, start), []);
    for (day, stage) in
        [(310, Stage::Notice), (340, Stage::Soon), (360, Stage::Urgent), (366, Stage::Expired)]
    {
        assert_eq!(laptop(&authority, start.plus(day * DAY)), [stage], "day {day}");
    }
    // Its renewal or its revocation ends the matter.
    let at = start.plus(340 * DAY);
    let mut renewed = authority.clone();
    renewed.renew(&client.certificate, at, &SystemRandom::new()).unwrap();
    assert_eq!(laptop(&renewed, at), []);
    authority.revoke(&client.serial, Reason::Superseded, at).unwrap();
    assert_eq!(laptop(&authority, at), []);
    let end = authority.facts().unwrap().not_after;
    let last = expiring(&authority, end.minus(20 * DAY));
    assert!(last.iter().any(|found| found.subject == Subject::Authority && found.stage == Stage::Urgent));
    assert!(authority.list_is_due(at.plus(LIST_LIFE)));
    assert!(!authority.list_is_due(at.plus(DAY)));
}

#[test]
fn the_record_survives_and_shows_no_key() {
    let mut authority = authority();
    client(&mut authority);
    let text = serde_json::to_string(&authority).unwrap();
    assert_eq!(serde_json::from_str::<Authority>(&text).unwrap(), authority);
    let debug = format!("{authority:?}");
    let key = authority.key.as_ref().unwrap().expose().to_vec();
    assert!(!debug.contains(&format!("{key:?}")) && debug.contains("Secret(…)"), "{debug}");
}

#[test]
fn ended_certificates_are_forgotten_after_one_more_list() {
    let mut authority = authority();
    let client = client(&mut authority);
    authority.revoke(&client.serial, Reason::CessationOfOperation, now()).unwrap();
    authority.sign_list(client.until.plus(DAY)).unwrap();
    assert!(authority.issued().contains_key(&client.serial));
    authority.sign_list(client.until.plus(LIST_LIFE + DAY)).unwrap();
    assert!(!authority.issued().contains_key(&client.serial));
}
