//! What is asked of any bytes: by the fuzz targets in `tests/fuzz`, and by the ordinary tests with a few of them.

use std::net::SocketAddr;
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};
use rempart_identity::authority::{Authority, Facts, Purpose, check, import_client, read};
use rempart_identity::ldap::{Config, Controller, Conversation, Progress, Protection};
use rempart_identity::moment::Moment;
use rempart_identity::radius::{Exchange, Question, Reply};
use rempart_identity::secret::Secret;
use rempart_identity::store::Store;

fn now() -> Moment {
    Moment::new(1_800_000_000)
}

/// Answers of a controller. The first byte is the size of the pieces in which they come and the kind of connection.
pub fn ldap(data: &[u8]) {
    let Some((first, answers)) = data.split_first() else { return };
    let protection = if first & 0x80 == 0 { Protection::Ldaps } else { Protection::StartTls };
    let address = SocketAddr::from(([127, 0, 0, 1], 636));
    let config = Config {
        controllers: vec![Controller { name: "dc1".to_owned(), address, protection }],
        authorities: Vec::new(),
        domain: "corp.example".to_owned(),
        base: "DC=corp,DC=example".to_owned(),
        groups: [("CN=vpn".to_owned(), ["agents".parse().expect("a name")].into())].into(),
        patience: Duration::from_secs(1),
    };
    let mut conversation = Conversation::new(&config, protection, "alice", Secret::from("geheim"));
    let mut step = conversation.start();
    let mut pieces = answers.chunks(usize::from(first & 0x7f) + 1);
    loop {
        step = match step {
            Progress::StartTls => conversation.secured(),
            Progress::Finished(_) => return,
            Progress::Wait | Progress::Send(_) => {
                let Some(piece) = pieces.next() else { return };
                match conversation.handle(piece) {
                    Ok(step) => step,
                    Err(_) => return,
                }
            }
        };
    }
}

/// An answer of a RADIUS server. What was not made with the secret is never an answer; and the same bytes, a code and attributes, as
/// a server sends them that has the secret and means no good.
pub fn radius(data: &[u8]) {
    let password = Secret::from("geheim");
    let question = Question { name: "alice", password: &password, state: None, client: None };
    let secret = Secret::from(SHARED_SECRET);
    let exchange = Exchange::new(7, AUTHENTICATOR, &secret, "rempart", &question).expect("a question");
    assert!(exchange.read(data).is_err(), "a forged answer was taken");
    let Some((code, attributes)) = data.split_first() else { return };
    match exchange.read(&signed(*code, attributes)) {
        Ok(Reply::Accept { marks }) => assert!(*code == 2 && marks.len() <= 64),
        Ok(Reply::Reject { text }) => assert!(*code == 3 && text.chars().count() <= 200),
        Ok(Reply::Challenge { text, state }) => {
            assert!(*code == 11 && text.chars().count() <= 200 && !state.is_empty());
        }
        Err(_) => {}
    }
}

const SHARED_SECRET: &str = "a shared secret of the lab";
const AUTHENTICATOR: [u8; 16] = [9; 16];

/// With a right Message-Authenticator before the attributes, and a right Response Authenticator (RFC 3579 §3.2, RFC 2865 §3).
fn signed(code: u8, attributes: &[u8]) -> Vec<u8> {
    let mut body = [&[80, 18][..], &[0; 16], attributes].concat();
    let length = u16::try_from(20 + body.len()).unwrap_or(u16::MAX).to_be_bytes();
    let head = [&[code, 7][..], &length, &AUTHENTICATOR].concat();
    let mut mac = Hmac::<Md5>::new_from_slice(SHARED_SECRET.as_bytes()).expect("any length");
    mac.update(&[&head[..], &body].concat());
    body[2..18].copy_from_slice(&mac.finalize().into_bytes());
    let digest = Md5::digest([&head[..], &body, SHARED_SECRET.as_bytes()].concat());
    [&head[..4], &digest[..], &body].concat()
}

/// A store. What is read is written and read again.
pub fn store(data: &[u8]) {
    if let Ok(store) = Store::read(data) {
        let again = Store::read(&store.write()).expect("what was written is read");
        assert_eq!(again, store);
    }
}

/// A file with certificates and keys, under the password `geheim`.
pub fn certificate(data: &[u8]) {
    if let Ok(facts) = Facts::read(data) {
        for purpose in [Purpose::Authority, Purpose::Server, Purpose::Client] {
            let findings = check(&facts, purpose, now());
            let _ = findings.faults.iter().map(ToString::to_string).count();
        }
    }
    if let Ok(contents) = read(data, Some(&Secret::from("geheim"))) {
        let _ = Authority::import(&contents, now());
        let _ = import_client(&contents, [].into_iter(), now());
    }
}
