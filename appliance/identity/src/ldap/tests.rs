//! The conversation with a server that is a list of answers: right ones, wrong ones, in any pieces, and noise.

use proptest::prelude::*;

use super::message::{self, MAX_MESSAGE};
use super::*;
use crate::asn1::{self, tag};
use crate::names::UserName;

const SID: &[u8] = b"\x01\x05user";
const GROUP_SID: &[u8] = b"\x01\x05group";

fn config() -> Config {
    let groups = [("CN=VPN Agents,DC=corp,DC=example".to_owned(), ["agents".parse().unwrap()].into())].into();
    Config {
        controllers: vec![],
        authorities: vec![],
        domain: "corp.example".to_owned(),
        base: "DC=corp,DC=example".to_owned(),
        groups,
        patience: Duration::from_secs(5),
    }
}

fn conversation(protection: Protection, password: &str) -> Conversation {
    Conversation::new(&config(), protection, "alice", Secret::from(password))
}

fn octets(bytes: &[u8]) -> Vec<u8> {
    asn1::write(tag::OCTET_STRING, &[bytes])
}

fn answer(id: u64, operation: &[u8]) -> Vec<u8> {
    asn1::sequence(&[&asn1::write_number(tag::INTEGER, id), operation])
}

fn outcome(id: u64, kind: u8, code: u64, diagnostic: &str) -> Vec<u8> {
    let code = asn1::write_number(tag::ENUMERATED, code);
    answer(id, &asn1::write(kind, &[&code, &octets(b""), &octets(diagnostic.as_bytes())]))
}

fn entry(id: u64, name: &str, attributes: &[(&str, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, value)| {
            asn1::sequence(&[&octets(name.as_bytes()), &asn1::write(tag::SET, &[&octets(value)])])
        })
        .collect();
    answer(id, &asn1::write(0x64, &[&octets(name.as_bytes()), &asn1::sequence(&[&list])]))
}

/// The answers of a whole login, by the number of the question: bind, token, entry, groups.
fn good(token: &[u8], own: &[u8]) -> Vec<Vec<u8>> {
    let groups = entry(4, "cn=vpn agents,dc=corp,dc=example", &[("objectSid", GROUP_SID)]);
    vec![
        outcome(1, 0x61, 0, ""),
        [entry(2, "", &[("tokenGroups", token), ("tokenGroups", GROUP_SID)]), outcome(2, 0x65, 0, "")]
            .concat(),
        [
            entry(3, "CN=Alice,DC=corp", &[("objectSid", own), ("sAMAccountName", b"Alice")]),
            answer(3, &asn1::write(0x73, &[&octets(b"ldap://elsewhere")])),
            outcome(3, 0x65, 0, ""),
        ]
        .concat(),
        [groups, outcome(4, 0x65, 0, "")].concat(),
    ]
}

/// Plays the answers, cut into pieces of this size; the last step.
fn play(answers: &[Vec<u8>], piece: usize) -> Result<Progress, Fault> {
    let mut conversation = conversation(Protection::Ldaps, "geheim");
    assert_eq!(conversation.start(), Progress::StartTls);
    let mut last = conversation.secured();
    for bytes in answers {
        for piece in bytes.chunks(piece) {
            last = conversation.handle(piece)?;
        }
    }
    Ok(last)
}

#[test]
fn a_login_in_any_pieces() {
    let expected = DirectoryAnswer::Right {
        account: "alice".parse::<UserName>().unwrap(),
        groups: ["agents".parse().unwrap()].into(),
    };
    // A token has several values of one attribute; here they come as two attributes, which is read the same.
    for piece in [1, 2, 7, 10_000] {
        let token = asn1::write(tag::SET, &[&octets(SID), &octets(GROUP_SID)]);
        let mut answers = good(SID, SID);
        let list = asn1::sequence(&[&asn1::sequence(&[&octets(b"tokenGroups"), &token])]);
        let both = answer(2, &asn1::write(0x64, &[&octets(b""), &list]));
        answers[1] = [both, outcome(2, 0x65, 0, "")].concat();
        assert_eq!(play(&answers, piece), Ok(Progress::Finished(expected.clone())));
    }
}

#[test]
fn the_same_name_in_a_trusted_domain_is_somebody_else() {
    // In: the token of a login whose SIDs do not hold that of the entry that has the name. Out: not that account.
    let end = play(&good(b"\x01\x05other", SID), 10_000).unwrap_err();
    assert_eq!(end, Fault::OutOfOrder, "it is over after the third answer");
    let end = play(&good(b"\x01\x05other", SID)[..3], 10_000).unwrap();
    assert!(matches!(end, Progress::Finished(DirectoryAnswer::Account(_))), "{end:?}");
}

#[test]
fn error_49_in_words() {
    let text = |data: &str| {
        format!(
            "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data {data}, v4563\0"
        )
    };
    let says = |data: &str| match play(&[outcome(1, 0x61, 49, &text(data))], 10_000) {
        Ok(Progress::Finished(answer)) => answer,
        other => panic!("{other:?}"),
    };
    for data in ["525", "52e", "52E", "9999", ""] {
        assert!(matches!(says(data), DirectoryAnswer::Wrong(_)), "{data}");
    }
    for (data, word) in
        [("530", "hour"), ("531", "computer"), ("533", "disabled"), ("701", "expired"), ("775", "locked")]
    {
        assert!(matches!(says(data), DirectoryAnswer::Account(why) if why.contains(word)), "{data}");
    }
    for data in ["532", "773"] {
        assert!(matches!(says(data), DirectoryAnswer::MustChange(_)), "{data}");
    }
    let busy = play(&[outcome(1, 0x61, 51, "busy")], 10_000).unwrap_err();
    assert!(matches!(busy, Fault::Refused { code: 51, .. }));
}

#[test]
fn an_empty_password_is_never_sent() {
    let mut empty = conversation(Protection::Ldaps, "");
    assert_eq!(empty.start(), Progress::StartTls);
    assert!(matches!(empty.secured(), Progress::Finished(DirectoryAnswer::Wrong(_))));
}

#[test]
fn nothing_said_before_tls_counts() {
    // In: a man in the middle who answers StartTLS and, in the same breath, the bind that is to come. Out: a fault.
    let mut early = conversation(Protection::StartTls, "geheim");
    assert!(matches!(early.start(), Progress::Send(_)));
    let both = [outcome(1, 0x78, 0, ""), outcome(2, 0x61, 0, "")].concat();
    assert_eq!(early.handle(&both), Err(Fault::OutOfOrder));
    // Half of it before, half of it within.
    let mut split = conversation(Protection::StartTls, "geheim");
    split.start();
    assert_eq!(split.handle(&outcome(1, 0x78, 0, "")), Ok(Progress::StartTls));
    let bind = outcome(2, 0x61, 0, "");
    assert!(split.handle(&bind).is_err(), "nothing is expected while TLS is set up");
    // A server that will not.
    let mut refused = conversation(Protection::StartTls, "geheim");
    refused.start();
    assert!(matches!(refused.handle(&outcome(1, 0x78, 52, "")), Err(Fault::Refused { .. })));
}

#[test]
fn what_is_typed_stays_a_value() {
    // In: a name that would be a filter of its own. Out: it stands in the question as plain bytes, once.
    let typed = "*)(objectClass=*";
    let question = message::search(
        1,
        "",
        message::Scope::Base,
        1,
        &message::Filter::Equal("sAMAccountName", typed.as_bytes()),
        &[],
    );
    let expected = asn1::write(0xa3, &[&octets(b"sAMAccountName"), &octets(typed.as_bytes())]);
    assert!(question.windows(expected.len()).any(|window| window == expected));
}

#[test]
fn answers_that_do_not_fit_are_faults() {
    assert_eq!(play(&[outcome(2, 0x61, 0, "")], 100), Err(Fault::OutOfOrder), "another question's number");
    assert_eq!(play(&[outcome(1, 0x65, 0, "")], 100), Err(Fault::OutOfOrder), "another kind");
    assert!(matches!(play(&[b"HTTP/1.1 400".to_vec()], 100), Err(Fault::Malformed(_))));
    let huge = [&[0x30, 0x84][..], &(MAX_MESSAGE as u32 + 1).to_be_bytes()].concat();
    assert!(matches!(play(&[huge], 100), Err(Fault::Malformed(_))), "refused at its head");
    let many: Vec<u8> = (0..300).flat_map(|_| entry(2, "", &[])).collect();
    assert_eq!(play(&[outcome(1, 0x61, 0, ""), many], 10_000), Err(Fault::OutOfOrder));
    let none = [outcome(1, 0x61, 0, ""), outcome(2, 0x65, 0, "")];
    assert_eq!(play(&none, 100), Err(Fault::NoToken));
}

proptest! {
    #[test]
    fn noise_is_refused_calmly(answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..5)) {
        let _ = play(&answers, 100);
    }

    #[test]
    fn damaged_answers_are_refused_calmly(place in 0..200_usize, bit in 0..8_u8, which in 0..4_usize) {
        let mut answers = good(SID, SID);
        if let Some(byte) = answers[which].get_mut(place) {
            *byte ^= 1 << bit;
        }
        let _ = play(&answers, 50);
    }
}
