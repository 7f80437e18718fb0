//! Files that OpenSSL made: what is taken, and what is refused with which words.

use ring::rand::SystemRandom;

use super::super::*;
use super::openssl::Openssl;
use super::{alice, now, verified};
use crate::secret::Secret;

fn secret(text: &str) -> Option<Secret> {
    Some(Secret::from(text))
}

/// An authority of OpenSSL in `ca.pem` and `ca.key`.
fn foreign(openssl: &Openssl, key: &str, subject: &str) {
    openssl.accepts(&format!(
        "req -x509 -newkey {key} -nodes -keyout ca.key -out ca.pem -days 3000 -subj {subject} \
         -addext keyUsage=critical,keyCertSign,cRLSign"
    ));
}

/// A client of that authority in `client.pem` and `client.key`, with these lines of extensions.
fn certify(openssl: &Openssl, key: &str, more: &str, extensions: &str) {
    openssl.accepts(&format!("req -newkey {key} -nodes -keyout client.key -out client.csr -subj /CN=bob"));
    openssl.write("ext.cnf", extensions);
    openssl.accepts(&format!(
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out client.pem {more}"
    ));
}

const CLIENT: &str = "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth\n\
    subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:bob@corp.example\n";

#[test]
fn an_authority_with_its_key_issues_on() {
    // In: RSA 3072 and both curves, in every kind of file. Out: what we sign then is accepted by OpenSSL.
    let subject = "/C=FR/ST=Var/O=SDIS␣83/CN=SDIS␣VPN/emailAddress=ssi@sdis.example";
    for (key, sealing) in [
        ("rsa:3072", "-aes256"),
        ("ec␣-pkeyopt␣ec_paramgen_curve:P-384", "-aes128"),
        ("ec␣-pkeyopt␣ec_paramgen_curve:P-256", ""),
    ] {
        let openssl = Openssl::new();
        foreign(&openssl, &key.replace('␣', " "), subject);
        let plain = [openssl.read("ca.pem"), openssl.read("ca.key")].concat();
        openssl.accepts(&format!(
            "pkcs8 -topk8 -in ca.key -out ca.enc -passout pass:geheim -v2 {}",
            if sealing == "-aes128" { "aes-128-cbc" } else { "aes-256-cbc" }
        ));
        let encrypted = [openssl.read("ca.pem"), openssl.read("ca.enc")].concat();
        openssl.accepts("pkcs12 -export -in ca.pem -inkey ca.key -out ca.p12 -passout pass:geheim");
        openssl.accepts("pkey -in ca.key -traditional -out ca.old");
        let old = [openssl.read("ca.pem"), openssl.read("ca.old")].concat();
        let password = secret("geheim");
        let files =
            [(plain, None), (encrypted, password.clone()), (openssl.read("ca.p12"), password), (old, None)];
        for (file, password) in files {
            let contents = read(&file, password.as_ref()).unwrap();
            let (mut authority, findings) = Authority::import(&contents, now()).unwrap();
            assert!(findings.usable() && authority.issues(), "{findings:?}");
            let device = crate::names::DeviceId::new([7; 8]);
            let client =
                authority.issue_client(&alice(), device, CLIENT_LIFE, now(), &SystemRandom::new()).unwrap();
            assert_eq!(verified(&authority, &client.certificate, now()), Ok(()));
            openssl.write("client.pem", client.certificate_pem());
            openssl.write("crl.pem", crate::pem::write("X509 CRL", authority.list().unwrap()));
            openssl
                .accepts("verify -crl_check -CAfile ca.pem -CRLfile crl.pem -purpose sslclient client.pem");
        }
    }
}

#[test]
fn a_name_that_cannot_be_repeated_is_said_so() {
    // In: an authority of Active Directory, with DC= twice. Out: taken without its key, refused with it, with the reason.
    let openssl = Openssl::new();
    foreign(&openssl, "rsa:3072", "/DC=example/DC=corp/CN=corp-CA");
    let certificate = read(&openssl.read("ca.pem"), None).unwrap();
    let (authority, _) = Authority::import(&certificate, now()).unwrap();
    assert!(!authority.issues());
    let both = read(&[openssl.read("ca.pem"), openssl.read("ca.key")].concat(), None).unwrap();
    let error = Authority::import(&both, now()).unwrap_err();
    assert_eq!(error, NotImported::NotIssued(NotIssued::AuthorityName));
    assert!(error.to_string().contains("without the key"));
}

#[test]
fn clients_and_lists_of_a_foreign_authority() {
    let openssl = Openssl::new();
    foreign(&openssl, "rsa:3072", "/DC=example/DC=corp/CN=corp-CA");
    certify(&openssl, "rsa:3072", "-sha256 -days 300 -extfile ext.cnf", CLIENT);
    let contents = read(&openssl.read("ca.pem"), None).unwrap();
    let (mut authority, _) = Authority::import(&contents, now()).unwrap();
    openssl.accepts("pkcs12 -export -in client.pem -inkey client.key -out client.p12 -passout pass:é");
    let contents = read(&openssl.read("client.p12"), secret("é").as_ref()).unwrap();
    let client = import_client(&contents, [&authority].into_iter(), now()).unwrap();
    assert_eq!(client.identity.user.as_ref().unwrap().as_str(), "bob@corp.example");
    assert!(client.key.is_some() && client.findings.usable());
    assert_eq!(verified(&authority, &client.certificate, now()), Ok(()));
    assert_eq!(
        authority
            .issue_client(&alice(), crate::names::DeviceId::new([7; 8]), DAY, now(), &SystemRandom::new())
            .unwrap_err(),
        NotIssued::NoKey
    );

    // Its own list, made by OpenSSL, revokes the client here too.
    openssl.write("index.txt", "");
    openssl.write("number", "05\n");
    openssl.write("ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=number\ndefault_md=sha256\ndefault_crl_days=20\n");
    let command = "ca -config ca.cnf -cert ca.pem -keyfile ca.key";
    openssl.accepts(&format!("{command} -revoke client.pem"));
    openssl.accepts(&format!("{command} -gencrl -out crl.pem"));
    authority.import_list(&openssl.read("crl.pem")).unwrap();
    let error = verified(&authority, &client.certificate, now()).unwrap_err();
    assert_eq!(error, rustls::Error::InvalidCertificate(rustls::CertificateError::Revoked));
    // Somebody else's list is not taken, nor is a damaged one.
    let other = Authority::create("other", now(), &SystemRandom::new()).unwrap();
    assert_eq!(authority.import_list(other.list().unwrap()), Err(NotImported::UnknownIssuer));
    let stranger = import_client(&contents, [&other].into_iter(), now());
    assert_eq!(stranger.unwrap_err(), NotImported::UnknownIssuer);
}

#[test]
fn wrong_passwords_and_old_files() {
    let openssl = Openssl::new();
    foreign(&openssl, "rsa:2048", "/CN=old");
    openssl.accepts("pkcs12 -export -in ca.pem -inkey ca.key -out ca.p12 -passout pass:right");
    openssl.accepts("pkcs8 -topk8 -in ca.key -out ca.enc -passout pass:right");
    openssl.accepts("rsa -in ca.key -traditional -aes128 -out ca.dek -passout pass:right");
    openssl.accepts("pkcs12 -export -legacy -in ca.pem -inkey ca.key -out old.p12 -passout pass:right");
    for file in ["ca.p12", "ca.enc"] {
        let file = openssl.read(file);
        assert_eq!(read(&file, secret("wrong").as_ref()).unwrap_err(), Unreadable::Sealed(Sealed::Password));
        assert_eq!(read(&file, None).unwrap_err(), Unreadable::Sealed(Sealed::NoPassword));
    }
    let old = read(&openssl.read("old.p12"), secret("right").as_ref()).unwrap_err().to_string();
    assert!(old.contains("Write it anew"), "{old}");
    let dek = read(&openssl.read("ca.dek"), secret("right").as_ref()).unwrap_err().to_string();
    assert!(dek.contains("MD5"), "{dek}");
    // One flipped bit in what the check covers.
    let mut damaged = openssl.read("ca.p12");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert!(read(&damaged, secret("right").as_ref()).is_err());
    // A key that belongs to another certificate.
    let certificate = openssl.read("ca.pem");
    foreign(&openssl, "rsa:2048", "/CN=other");
    let mixed = read(&[certificate, openssl.read("ca.key")].concat(), None).unwrap();
    assert_eq!(Authority::import(&mixed, now()).unwrap_err(), NotImported::OtherKey);
}

#[test]
fn each_fault_is_named() {
    // In: certificates that rustls-webpki would refuse at each connection. Out: refused at the import, with the reason.
    let openssl = Openssl::new();
    foreign(&openssl, "rsa:3072", "/CN=faults");
    let ca = read(&openssl.read("ca.pem"), None).unwrap();
    let (authority, _) = Authority::import(&ca, now()).unwrap();
    let good = "-sha256 -days 300 -extfile ext.cnf";
    let server = CLIENT.replace("clientAuth", "serverAuth");
    let usage = CLIENT.replace("digitalSignature", "keyEncipherment");
    let is_authority = CLIENT.replace("CA:FALSE", "CA:TRUE");
    let critical = format!("{CLIENT}1.2.3.4=critical,ASN1:NULL\n");
    /// Kind of key, how it is signed, extensions, and the fault.
    type Case<'a> = (&'a str, &'a str, &'a str, fn(&Fault) -> bool);
    let cases: [Case<'_>; 9] = [
        ("rsa:3072", "-sha256 -days 300", "", |fault| *fault == Fault::Version(1)),
        ("rsa:3072", "-sha1 -days 300 -extfile ext.cnf", CLIENT, |fault| *fault == Fault::Signature("SHA-1")),
        ("rsa:1024", good, CLIENT, |fault| *fault == Fault::ShortKey(1024)),
        ("rsa:3072", good, &server, |fault| *fault == Fault::WrongPurpose(Purpose::Client)),
        ("rsa:3072", good, &usage, |fault| matches!(fault, Fault::KeyUsage(_))),
        ("rsa:3072", good, &is_authority, |fault| *fault == Fault::IsAuthority),
        ("rsa:3072", good, &critical, |fault| *fault == Fault::UnknownCritical("1.2.3.4".to_owned())),
        ("ec -pkeyopt ec_paramgen_curve:secp521r1", good, CLIENT, |fault| {
            matches!(fault, Fault::UnknownKey(_))
        }),
        ("dsa:dsa.pem", good, CLIENT, |fault| matches!(fault, Fault::UnknownKey(_))),
    ];
    openssl.accepts("dsaparam -out dsa.pem 2048");
    for (key, more, extensions, expected) in cases {
        certify(&openssl, key, more, extensions);
        let contents = read(&openssl.read("client.pem"), None).unwrap();
        let error = import_client(&contents, [&authority].into_iter(), now()).unwrap_err();
        let NotImported::Faults(findings) = &error else { panic!("{key} {more}: {error}") };
        assert!(findings.faults.iter().any(expected), "{key} {more}: {findings:?}");
        // The verifier looks at a client's key and its usage only when they sign: these two would fail later, in TLS.
        let later =
            matches!(findings.faults[..], [Fault::ShortKey(_) | Fault::UnknownKey(_) | Fault::KeyUsage(_)]);
        assert_eq!(verified(&authority, &contents.certificates[0], now()).is_ok(), later, "{error}");
    }
    // Ended, and not begun.
    certify(&openssl, "rsa:2048", good, CLIENT);
    let contents = read(&openssl.read("client.pem"), None).unwrap();
    let at = |moment| import_client(&contents, [&authority].into_iter(), moment);
    let found = at(now()).unwrap().findings;
    assert_eq!(found.advice, [Advice::ShortKey(2048)]);
    assert!(at(now().plus(301 * DAY)).unwrap_err().to_string().contains("expired on"));
    assert!(at(now().minus(DAY)).unwrap_err().to_string().contains("valid only from"));
    // An authority whose key may not sign lists, and a client in place of an authority.
    openssl.accepts(
        "req -x509 -newkey rsa:2048 -nodes -keyout k -out c.pem -subj /CN=x -addext keyUsage=keyCertSign",
    );
    let contents = read(&openssl.read("c.pem"), None).unwrap();
    assert!(Authority::import(&contents, now()).unwrap_err().to_string().contains("cRLSign"));
    let contents = read(&openssl.read("client.pem"), None).unwrap();
    assert!(Authority::import(&contents, now()).unwrap_err().to_string().contains("CA:FALSE"));
}

#[test]
fn openssl_reads_our_pkcs12() {
    let mut authority = Authority::create("Rempart", now(), &SystemRandom::new()).unwrap();
    let device = crate::names::DeviceId::new([7; 8]);
    let client = authority.issue_client(&alice(), device, CLIENT_LIFE, now(), &SystemRandom::new()).unwrap();
    let chain = [client.certificate.as_slice(), authority.certificate()];
    let password = Secret::from("mot de passe é");
    let file = write_pkcs12("alice, portable", &client.key, &chain, &password).unwrap();
    let openssl = Openssl::new();
    openssl.write("alice.p12", &file);
    let text = openssl.accepts("pkcs12 -in alice.p12 -nodes -passin pass:mot␣de␣passe␣é");
    assert!(text.contains("friendlyName: alice, portable"), "{text}");
    let contents = read(text.as_bytes(), None).unwrap();
    assert_eq!(contents.certificates, chain);
    openssl.refuses("pkcs12 -in alice.p12 -nodes -passin pass:other");
    let back = read(&file, Some(&password)).unwrap();
    assert_eq!((back.certificates, back.key), (chain.map(<[u8]>::to_vec).to_vec(), Some(client.key)));
}
