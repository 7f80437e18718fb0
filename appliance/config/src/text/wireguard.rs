//! Keys and endpoints of WireGuard.

use std::net::SocketAddr;

use base64ct::{Base64, Encoding};

use super::{Malformed, Syntax, from_string};
use crate::faults::shown;

/// A public key, in base64 as `wg` prints it.
#[derive(Clone, Debug)]
pub(crate) struct PublicKeyText(pub [u8; 32]);

impl Syntax for PublicKeyText {
    const WANTED: &'static str = "a public key of WireGuard";
    const EXAMPLES: &'static [&'static str] = &["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="];
    fn parse(text: &str) -> Result<Self, Malformed> {
        let fault = |hint: &str| {
            Err(Malformed::new(format!("`{}` is not a key of WireGuard", shown(text))).hint(hint.to_owned()))
        };
        match decode(text) {
            None => fault("44 characters of base64, as `wg pubkey` prints it"),
            // Whatever is multiplied with it comes to zero, which everybody knows (RFC 7748 §6.1).
            Some(key) if key == [0; 32] => fault("a key of zeros is none"),
            Some(key) => Ok(Self(key)),
        }
    }
}

/// 32 bytes in base64 (RFC 4648 §4): 43 characters and a padding.
fn decode(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let length = Base64::decode(text, &mut key).ok()?.len();
    (length == key.len()).then_some(key)
}

/// An address with a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketText(pub SocketAddr);

impl Syntax for SocketText {
    const WANTED: &'static str = "an address with a port";
    const EXAMPLES: &'static [&'static str] = &["198.51.100.7:51820", "[2001:db8::7]:51820"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        match text.parse::<SocketAddr>() {
            Ok(socket) if socket.port() != 0 && !socket.ip().is_unspecified() => Ok(Self(socket)),
            Ok(_) | Err(_) => Err(Malformed::new(format!("`{}` is not an endpoint", shown(text)))
                .hint("an address and a port: `198.51.100.7:51820`, `[2001:db8::7]:51820`")),
        }
    }
}

from_string!(PublicKeyText, SocketText);

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys of RFC 7748 §6.1 as `base64` prints them.
    #[test]
    fn a_key_has_one_spelling() {
        let alice = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let key = PublicKeyText::parse(alice).unwrap().0;
        assert_eq!(key[..4], [0x85, 0x20, 0xf0, 0x09]);
        assert_eq!(key[31], 0x6a);
        for wrong in [
            "",
            "=",
            &alice[..43],
            &alice[1..],
            "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmp=",
            "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo=",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbT==",
            "é SDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTm=",
        ] {
            assert!(PublicKeyText::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_has_a_port() {
        assert!(
            SocketText::parse("198.51.100.7:51820").is_ok() && SocketText::parse("[2001:db8::7]:1").is_ok()
        );
        for wrong in ["198.51.100.7", "198.51.100.7:0", "0.0.0.0:5", "2001:db8::7:1", "host:51820"] {
            assert!(SocketText::parse(wrong).is_err(), "{wrong}");
        }
    }
}
