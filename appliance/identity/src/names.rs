//! Names of people, groups and devices, in the one form in which they are kept and compared.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Characters of a name: Active Directory takes 20 for an account and 104 for a principal, and a common name holds 64.
pub const MAX_NAME: usize = 64;

/// Why a name is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum BadName {
    /// Nothing.
    #[error("the name is empty")]
    Empty,
    /// Longer than a certificate can hold.
    #[error("the name is longer than {MAX_NAME} characters")]
    Long,
    /// Something other than letters, digits and a few marks.
    #[error("the name may hold letters, digits and . _ - @, and begins with a letter or digit")]
    Character,
}

fn parse(text: &str) -> Result<String, BadName> {
    if text.is_empty() {
        return Err(BadName::Empty);
    }
    if text.chars().count() > MAX_NAME {
        return Err(BadName::Long);
    }
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-' | '@');
    if !text.chars().all(plain) || !text.starts_with(char::is_alphanumeric) {
        return Err(BadName::Character);
    }
    // Directories do not tell Alice from alice; neither do we. A few capitals grow when they are lowered.
    let lowered = text.to_lowercase();
    if lowered.chars().count() > MAX_NAME || !lowered.chars().all(plain) {
        return Err(BadName::Character);
    }
    Ok(lowered)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                parse(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                parse(&text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A person, in lower case.
    UserName
}
name! {
    /// A group of the document, `agents` in `vpn:agents`.
    GroupName
}

/// A device: one certificate and one tls-crypt-v2 key at a time. Random, so that it tells nothing; it stands in the certificate
/// and in the metadata of the wrapped key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceId([u8; 8]);

/// What stands before the identifier in a certificate.
const URN: &str = "urn:rempart:device:";

impl DeviceId {
    /// From eight random bytes.
    pub const fn new(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> [u8; 8] {
        self.0
    }

    /// As it stands in a certificate.
    pub fn urn(&self) -> String {
        format!("{URN}{self}")
    }

    /// From what stands in a certificate.
    pub fn from_urn(text: &str) -> Option<Self> {
        text.strip_prefix(URN)?.parse().ok()
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A device's identifier is 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("a device is named by 16 hexadecimal digits")]
pub struct BadDevice;

impl FromStr for DeviceId {
    type Err = BadDevice;

    fn from_str(text: &str) -> Result<Self, BadDevice> {
        let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u64::from_str_radix(text, 16).map_err(|_| BadDevice)?;
        if plain { Ok(Self(value.to_be_bytes())) } else { Err(BadDevice) }
    }
}

impl TryFrom<String> for DeviceId {
    type Error = BadDevice;

    fn try_from(text: String) -> Result<Self, BadDevice> {
        text.parse()
    }
}

impl From<DeviceId> for String {
    fn from(device: DeviceId) -> Self {
        device.to_string()
    }
}
