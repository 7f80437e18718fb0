//! The vectors of RFC 2865 §7.1, answers right and forged, and noise.

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use proptest::prelude::*;

use super::packet::NotAsked;
use super::*;

const SECRET: &str = "xyzzy5461";
const AUTHENTICATOR: [u8; 16] =
    [0x0f, 0x40, 0x3f, 0x94, 0x73, 0x97, 0x80, 0x57, 0xbd, 0x83, 0xd5, 0xcb, 0x98, 0xf4, 0x22, 0x7a];

fn exchange() -> Exchange {
    let password = Secret::from("arctangent");
    let question = Question { name: "nemo", password: &password, state: None, client: None };
    Exchange::new(0, AUTHENTICATOR, &Secret::from(SECRET), "rempart", &question).unwrap()
}

/// An answer with these attributes; with a Message-Authenticator or not.
fn answer(code: u8, id: u8, secret: &str, authenticated: bool, attributes: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    if authenticated {
        body.extend([80, 18]);
        body.extend([0; 16]);
    }
    for (kind, value) in attributes {
        body.extend([*kind, value.len() as u8 + 2]);
        body.extend_from_slice(value);
    }
    let length = (20 + body.len()) as u16;
    let head = [&[code, id][..], &length.to_be_bytes(), &AUTHENTICATOR].concat();
    if authenticated {
        let mut mac = Hmac::<Md5>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(&[head.clone(), body.clone()].concat());
        body[2..18].copy_from_slice(&mac.finalize().into_bytes());
    }
    let digest = Md5::digest([&head, &body, secret.as_bytes()].concat());
    [&head[..4], &digest[..], &body].concat()
}

#[test]
fn the_hidden_password_of_the_standard() {
    // In: user nemo, password arctangent. Out: the bytes that RFC 2865 §7.1 shows.
    let hidden =
        [0x0d, 0xbe, 0x70, 0x8d, 0x93, 0xd4, 0x13, 0xce, 0x31, 0x96, 0xe4, 0x3f, 0x78, 0x2a, 0x0a, 0xee];
    let exchange = exchange();
    let request = exchange.request();
    assert!(request.windows(18).any(|window| window == [&[2, 18][..], &hidden].concat()));
    assert_eq!((request[0], request[20], request[21]), (1, 80, 18), "Message-Authenticator stands first");
    assert!(!request.windows(10).any(|window| window == b"arctangent"));
    // Over two blocks, undone with the same rule.
    let long = Secret::from("a password of more than sixteen bytes");
    let question = Question { name: "nemo", password: &long, state: None, client: None };
    let exchange = Exchange::new(0, AUTHENTICATOR, &Secret::from(SECRET), "rempart", &question).unwrap();
    let place = exchange.request().windows(2).position(|window| window == [2, 50]).unwrap();
    let hidden = &exchange.request()[place + 2..place + 50];
    let mut before = AUTHENTICATOR.to_vec();
    let mut plain = Vec::new();
    for block in hidden.chunks(16) {
        let cover = Md5::digest([SECRET.as_bytes(), &before].concat());
        plain.extend(block.iter().zip(cover).map(|(one, other)| one ^ other));
        before = block.to_vec();
    }
    assert_eq!(plain.split(|byte| *byte == 0).next().unwrap(), long.expose());
}

#[test]
fn the_answer_of_the_standard_lacks_what_we_demand() {
    // In: the Access-Accept of RFC 2865 §7.1, right in its own time. Out: its authenticator is right, and it is refused for
    // what it lacks; with one wrong bit its authenticator is wrong.
    let mut packet = vec![
        0x02, 0x00, 0x00, 0x26, 0x86, 0xfe, 0x22, 0x0e, 0x76, 0x24, 0xba, 0x2a, 0x10, 0x05, 0xf6, 0xbf, 0x9b,
        0x55, 0xe0, 0xb2, 0x06, 0x06, 0x00, 0x00, 0x00, 0x01, 0x0f, 0x06, 0x00, 0x00, 0x00, 0x00, 0x0e, 0x06,
        0xc0, 0xa8, 0x01, 0x03,
    ];
    assert_eq!(exchange().read(&packet), Err(NotAnAnswer::MessageAuthenticator));
    packet[37] ^= 1;
    assert_eq!(exchange().read(&packet), Err(NotAnAnswer::Authenticator));
}

#[test]
fn right_answers_are_read() {
    let accept =
        answer(2, 0, SECRET, true, &[(25, b"agents"), (11, b"admins"), (25, &[0xff]), (18, b"hello")]);
    let marks = vec!["agents".to_owned(), "admins".to_owned()];
    assert_eq!(exchange().read(&accept), Ok(Reply::Accept { marks }));
    // Padding after the length is ignored.
    assert!(exchange().read(&[accept, vec![0; 7]].concat()).is_ok());
    let reject = answer(3, 0, SECRET, true, &[(18, b"no\n"), (18, b"way")]);
    assert_eq!(exchange().read(&reject), Ok(Reply::Reject { text: "no way".to_owned() }));
    let challenge = answer(11, 0, SECRET, true, &[(18, b"PIN?"), (24, &[1, 2, 3])]);
    assert_eq!(
        exchange().read(&challenge),
        Ok(Reply::Challenge { text: "PIN?".to_owned(), state: vec![1, 2, 3] })
    );
}

#[test]
fn forged_answers_are_none() {
    // In: what an attacker between us and the server can send. Out: none of it is an answer.
    let read = |bytes: &[u8]| exchange().read(bytes);
    assert_eq!(read(&answer(2, 0, SECRET, false, &[])), Err(NotAnAnswer::MessageAuthenticator));
    assert_eq!(read(&answer(2, 0, "another secret", true, &[])), Err(NotAnAnswer::Authenticator));
    assert_eq!(read(&answer(2, 1, SECRET, true, &[])), Err(NotAnAnswer::OtherQuestion));
    assert_eq!(read(&answer(5, 0, SECRET, true, &[])), Err(NotAnAnswer::Code(5)));
    assert_eq!(read(&answer(11, 0, SECRET, true, &[(18, b"no state")])), Err(NotAnAnswer::Malformed));
    assert_eq!(read(&answer(2, 0, SECRET, true, &[(80, &[0; 16])])), Err(NotAnAnswer::MessageAuthenticator));
    // A reject turned into an accept, with the outer digest mended as BlastRADIUS does: the inner one shows it.
    let mut turned = answer(3, 0, SECRET, true, &[]);
    turned[0] = 2;
    let head = [&turned[..4], &AUTHENTICATOR[..]].concat();
    let digest = Md5::digest([&head, &turned[20..], SECRET.as_bytes()].concat());
    turned[4..20].copy_from_slice(&digest);
    assert_eq!(read(&turned), Err(NotAnAnswer::MessageAuthenticator));
    // Its own request reflected.
    assert!(read(exchange().request()).is_err());
}

#[test]
fn what_does_not_fit_is_not_asked() {
    let ask = |name: &str, password: &str| {
        let password = Secret::from(password);
        let question = Question { name, password: &password, state: None, client: None };
        Exchange::new(0, AUTHENTICATOR, &Secret::from(SECRET), "rempart", &question).err()
    };
    assert_eq!(ask("nemo", ""), Some(NotAsked::Password));
    assert_eq!(ask("nemo", &"x".repeat(129)), Some(NotAsked::Password));
    assert_eq!(ask("nemo", &"x".repeat(128)), None);
    assert_eq!(ask("", "x"), Some(NotAsked::Attribute));
    assert_eq!(ask(&"x".repeat(254), "x"), Some(NotAsked::Attribute));
    let server = RadiusServer { address: ([127, 0, 0, 1], 1812).into(), secret: "fifteen letters".into() };
    let config = RadiusConfig {
        servers: vec![server],
        identifier: "rempart".to_owned(),
        groups: BTreeMap::new(),
        source: None,
        patience: Duration::from_secs(1),
    };
    assert_eq!(Radius::new(config.clone()).err(), Some(BadRadius::ShortSecret));
    assert_eq!(Radius::new(RadiusConfig { servers: vec![], ..config }).err(), Some(BadRadius::Count));
}

proptest! {
    #[test]
    fn noise_is_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(exchange().read(&bytes).is_err());
    }

    #[test]
    fn any_change_is_seen(place in 0..60_usize, bit in 0..8_u8) {
        let mut bytes = answer(2, 0, SECRET, true, &[(25, b"agents"), (18, b"hello")]);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1 << bit;
            prop_assert!(exchange().read(&bytes).is_err());
        }
    }
}
