use proptest::prelude::*;

use super::*;

fn key() -> TokenKey {
    TokenKey::new(&[7; 32])
}

fn claims() -> Claims {
    Claims { login: LoginId([1; 12]), issued_unix_s: 1_800_000_000, renewed_unix_s: 1_800_003_600 }
}

/// In: a token. Out: what it says for its user, nothing for another user or key. It fits the 128 bytes of a 2.x client.
#[test]
fn a_token_is_good_for_its_user_and_key() {
    let token = key().make(claims(), "alice");
    assert!(token.len() < 128, "{}", token.len());
    let verified = key().verify(&token, "alice").unwrap();
    assert_eq!((verified.claims(), verified.user()), (claims(), "alice"));
    assert_eq!(key().verify(&token, "bob"), None);
    assert_eq!(key().verify(&token, ""), None);
    assert_eq!(TokenKey::new(&[8; 32]).verify(&token, "alice"), None);
}

/// In: a token, changed in any character or cut anywhere. Out: refused.
#[test]
fn a_token_holds_in_every_character() {
    let token = key().make(claims(), "alice");
    for place in 0..token.len() {
        assert_eq!(key().verify(&token[..place], "alice"), None);
        let mut changed = token.as_bytes().to_vec();
        changed[place] = if changed[place] == b'B' { b'C' } else { b'B' };
        assert_eq!(key().verify(std::str::from_utf8(&changed).unwrap(), "alice"), None, "{place}");
    }
    assert_eq!(key().verify(&format!("{}AAAA", *token), "alice"), None);
}

proptest! {
    /// In: any claims and user. Out: the same back.
    #[test]
    fn claims_come_back(login: [u8; 12], issued: u64, renewed: u64, user in ".{0,40}") {
        let claims = Claims { login: LoginId(login), issued_unix_s: issued, renewed_unix_s: renewed };
        let token = key().make(claims, &user);
        prop_assert_eq!(key().verify(&token, &user).map(|verified| verified.claims()), Some(claims));
    }

    /// In: noise. Out: no panic, and never a token.
    #[test]
    fn noise_is_no_token(noise in ".{0,200}") {
        prop_assert_eq!(key().verify(&format!("SESS_ID_AT_{noise}"), "alice"), None);
    }
}
