//! What a client tells of itself: lines of NAME=VALUE (draft "Peerinfo").

use std::collections::BTreeMap;

use super::Derivation;

/// Variables that are kept; stock clients send about fifteen.
pub const MAX_VARIABLES: usize = 64;
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 512;
const CIPHER: &str = "AES-256-GCM";

/// Bits of IV_PROTO (draft "Peerinfo").
mod bit {
    pub const DATA_V2: u32 = 1 << 1;
    pub const REQUEST_PUSH: u32 = 1 << 2;
    pub const TLS_KEY_EXPORT: u32 = 1 << 3;
    pub const AUTH_PENDING_KEYWORDS: u32 = 1 << 4;
    pub const CC_EXIT_NOTIFY: u32 = 1 << 7;
    pub const AUTH_FAIL_TEMP: u32 = 1 << 8;
    pub const DYN_TLS_CRYPT: u32 = 1 << 9;
    pub const DNS_OPTION_V2: u32 = 1 << 11;
}

/// Whether a client of which these bits of IV_PROTO are known says EXIT on the control channel.
pub fn says_exit(bits: u32) -> bool {
    bits & bit::CC_EXIT_NOTIFY != 0
}

/// What a client tells of itself. Whatever cannot be shown on a console is not kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerInfo {
    variables: BTreeMap<String, String>,
}

/// What a client understands, as far as the server asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    /// IV_PROTO as it came.
    pub bits: u32,
    /// How its keys are made.
    pub derivation: Derivation,
    /// A PUSH_REPLY may come unasked.
    pub unasked_push: bool,
    /// AUTH_PENDING may have keywords.
    pub pending_keywords: bool,
    /// It says EXIT on the control channel, and takes the option `protocol-flags`.
    pub exit_message: bool,
    /// AUTH_FAILED may be temporary.
    pub temporary_failure: bool,
    /// Renegotiations may have a wrapping key of their own.
    pub dynamic_wrapping: bool,
    /// The option `dns` of 2.7.
    pub dns_option: bool,
    /// It answers a question asked through the control channel (`crtext`).
    pub text_challenge: bool,
    /// The greatest `tun-mtu` that can be pushed; none can to older clients.
    pub mtu: Option<u16>,
}

/// Why a client cannot be served. The text goes to the person at the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Incompatible {
    /// It does not offer the only cipher there is.
    #[error("This server only speaks {CIPHER}; allow it in the client (data-ciphers {CIPHER})")]
    Cipher,
    /// It only knows the data packets of before 2.4.
    #[error("This client is too old: OpenVPN 2.5 or later is needed")]
    Data,
}

impl PeerInfo {
    /// From the text of the message. Lines without a form, too long or too many are left out.
    pub fn parse(text: &str) -> Self {
        let printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let lines = text.split('\n').filter_map(|line| line.trim_end_matches('\r').split_once('='));
        let variables = lines
            .filter(|(name, value)| !name.is_empty() && name.len() <= MAX_NAME && value.len() <= MAX_VALUE)
            .filter(|(name, value)| printable(name) && printable(value))
            .take(MAX_VARIABLES)
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { variables }
    }

    /// A variable, such as `IV_VER`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// All of them, for people to read.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What the client can do, if it can be served at all.
    pub fn features(&self) -> Result<Features, Incompatible> {
        let bits = self.get("IV_PROTO").and_then(|value| value.parse().ok()).unwrap_or(0);
        let has = |bit: u32| bits & bit != 0;
        if !has(bit::DATA_V2) {
            return Err(Incompatible::Data);
        }
        let offered = match self.get("IV_CIPHERS") {
            Some(ciphers) => ciphers.split(':').any(|cipher| cipher.eq_ignore_ascii_case(CIPHER)),
            // 2.4's way to say AES-128-GCM and AES-256-GCM.
            None => {
                self.get("IV_NCP").and_then(|value| value.parse::<u8>().ok()).is_some_and(|level| level >= 2)
            }
        };
        if !offered {
            return Err(Incompatible::Cipher);
        }
        Ok(Features {
            bits,
            derivation: if has(bit::TLS_KEY_EXPORT) { Derivation::Exporter } else { Derivation::Prf },
            unasked_push: has(bit::REQUEST_PUSH),
            pending_keywords: has(bit::AUTH_PENDING_KEYWORDS),
            exit_message: says_exit(bits),
            temporary_failure: has(bit::AUTH_FAIL_TEMP),
            // It is switched on by `protocol-flags`, which needs the other bit.
            dynamic_wrapping: has(bit::DYN_TLS_CRYPT) && has(bit::CC_EXIT_NOTIFY),
            dns_option: has(bit::DNS_OPTION_V2),
            text_challenge: self.get("IV_SSO").is_some_and(|ways| ways.split(',').any(|way| way == "crtext")),
            mtu: self.get("IV_MTU").and_then(|value| value.parse().ok()),
        })
    }
}
