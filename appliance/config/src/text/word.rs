//! Names, free text, and choices between a few words.

use std::net::IpAddr;

use super::address::Address;
use super::{Malformed, Syntax, check_name, from_string};
use crate::faults::shown;
use crate::model::{
    BondMode, ChecksumForm, Helper, MAX_DEVICE_BYTES, Outbound, SourceAddress, VirtualProtocol,
};

/// Free text for people.
#[derive(Clone, Debug)]
pub(crate) struct Prose(pub String);

impl Syntax for Prose {
    const WANTED: &'static str = "a string";
    const EXAMPLES: &'static [&'static str] = &["the agents' intervention desk"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        // It is shown in one line of the console and of a report.
        const MAX_BYTES: usize = 500;
        if text.len() > MAX_BYTES {
            return Err(Malformed::new(format!("the text has {} bytes", text.len()))
                .hint(format!("at most {MAX_BYTES}")));
        }
        match text.chars().any(char::is_control) {
            true => Err(Malformed::new("the text has control characters").hint("one line of plain text")),
            false => Ok(Self(text.into())),
        }
    }
}

/// A name that is defined elsewhere, or defines itself.
#[derive(Clone, Debug)]
pub(crate) struct NameText(pub String);

impl Syntax for NameText {
    const WANTED: &'static str = "a name";
    const EXAMPLES: &'static [&'static str] = &["lan", "branch-router"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        check_name(text).map(|()| Self(text.into()))
    }
}

/// A kernel network device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceText(pub String);

impl Syntax for DeviceText {
    const WANTED: &'static str = "a network device";
    const EXAMPLES: &'static [&'static str] = &["enp1s0", "bond0"];
    /// As `dev_valid_name` in `net/core/dev.c`, and without characters that nft would have to escape.
    fn parse(text: &str) -> Result<Self, Malformed> {
        let fault = |hint: &str| {
            Err(Malformed::new(format!("`{}` is not a device name", shown(text))).hint(hint.to_owned()))
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'@');
        match text {
            "" | "." | ".." | "all" | "default" => fault("a name as `ip link` shows it"),
            "lo" => fault("the loopback device is the box's own"),
            _ if text.len() > MAX_DEVICE_BYTES => fault("the kernel's device names have at most 15 bytes"),
            _ if !text.bytes().all(plain) => fault("letters, digits, `-`, `_` and `.`"),
            _ => Ok(Self(text.into())),
        }
    }
}

/// The path of a file on the box.
#[derive(Clone, Debug)]
pub(crate) struct AbsolutePath(pub String);

impl Syntax for AbsolutePath {
    const WANTED: &'static str = "an absolute path";
    const EXAMPLES: &'static [&'static str] = &["/var/lib/rempart/lists/scanners.txt"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        const PATH_MAX: usize = 4096;
        let right = text.starts_with('/')
            && text.len() < PATH_MAX
            && !text.chars().any(char::is_control)
            && !text.split('/').any(|part| part == "..");
        match right {
            true => Ok(Self(text.into())),
            false => Err(Malformed::new(format!("`{}` is not an absolute path", shown(text)))
                .hint("it starts with `/` and has no `..`")),
        }
    }
}

/// The time zone of schedules and expiry dates.
#[derive(Clone, Debug)]
pub(crate) struct TimeZone(pub String);

impl Syntax for TimeZone {
    const WANTED: &'static str = "an IANA time zone";
    const EXAMPLES: &'static [&'static str] = &["Europe/Paris", "UTC"];
    /// Where no time-zone database is installed only the form is checked.
    fn parse(text: &str) -> Result<Self, Malformed> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+');
        let formed = (1..=64).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with('/');
        let installed = jiff::tz::TimeZone::get("Europe/Paris").is_ok();
        let known = text == "UTC" || !installed || jiff::tz::TimeZone::get(text).is_ok();
        match formed && known {
            true => Ok(Self(text.into())),
            false => Err(Malformed::new(format!("unknown time zone `{}`", shown(text)))
                .hint("a name of the IANA database, such as `Europe/Paris`; `timedatectl list-timezones`")),
        }
    }
}

impl Syntax for SourceAddress {
    const WANTED: &'static str = "an address, `interface` or `none`";
    const EXAMPLES: &'static [&'static str] = &["203.0.113.5", "interface", "none"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        match text {
            "interface" => Ok(Self::Interface),
            "none" => Ok(Self::Keep),
            _ => Address::parse(text).map(|a| Self::Address(a.0)),
        }
    }
}

/// `via` of a route.
#[derive(Clone, Debug)]
pub(crate) enum Via {
    Blackhole,
    Address(IpAddr),
    Name(String),
}

impl Syntax for Via {
    const WANTED: &'static str = "an address, a name in [gateway], or `blackhole`";
    const EXAMPLES: &'static [&'static str] = &["192.168.10.253", "branch-router", "blackhole"];
    fn parse(text: &str) -> Result<Self, Malformed> {
        match text {
            "blackhole" => Ok(Self::Blackhole),
            _ if text.contains(['.', ':']) => Address::parse(text).map(|a| Self::Address(a.0)),
            _ => check_name(text).map(|()| Self::Name(text.into())),
        }
    }
}

from_string!(Prose, NameText, DeviceText, AbsolutePath, TimeZone, SourceAddress, Via);

/// Makes a type readable from one of a few words.
macro_rules! words {
    ($($t:ty, $what:literal: $($word:literal => $value:expr),+;)*) => {$(
        impl crate::decode::Decode for $t {
            fn wanted() -> String {
                $what.into()
            }
            fn takes(kind: crate::decode::Kind) -> bool {
                kind == crate::decode::Kind::Text
            }
            fn decode(
                value: &crate::tree::Value<'_>,
                faults: &mut crate::faults::Faults,
            ) -> Option<Self> {
                let toml::de::DeValue::String(text) = value.get_ref() else {
                    crate::decode::wrong_type::<Self>(value, faults);
                    return None;
                };
                match text.as_ref() {
                    $($word => Some($value),)+
                    other => {
                        faults
                            .error("bad-value", &value.span(), format!("`{}` is not {}", shown(other), $what))
                            .suggest(other, [$($word),+].into_iter());
                        None
                    }
                }
            }
            fn schema(_: &mut crate::decode::Defs) -> serde_json::Value {
                serde_json::json!({ "type": "string", "enum": [$($word),+] })
            }
        }
    )*};
}
pub(crate) use words;

/// What a connection limit counts by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Per {
    Flow,
    Source,
}

/// Whether the preferred node takes the role back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FailbackWord {
    Stay,
    Preferred,
}

words! {
    FailbackWord, "a fail-back policy":
        "stay" => FailbackWord::Stay, "preferred" => FailbackWord::Preferred;
    VirtualProtocol, "a protocol of virtual routers":
        "vrrp3" => VirtualProtocol::Vrrp3, "vrrp2" => VirtualProtocol::Vrrp2, "carp" => VirtualProtocol::Carp;
    ChecksumForm, "a form of checksum":
        "rfc9568" => ChecksumForm::Rfc9568, "pseudo-header" => ChecksumForm::PseudoHeader,
        "like-peer" => ChecksumForm::LikePeer;
    BondMode, "a bonding mode":
        "active-backup" => BondMode::ActiveBackup, "802.3ad" => BondMode::Lacp,
        "balance-rr" => BondMode::BalanceRr, "balance-xor" => BondMode::BalanceXor;
    Outbound, "an outbound mode":
        "automatic" => Outbound::Automatic, "hybrid" => Outbound::Hybrid, "manual" => Outbound::Manual;
    Helper, "a helper":
        "ftp" => Helper::Ftp, "sip" => Helper::Sip, "tftp" => Helper::Tftp;
    Per, "what is counted by":
        "flow" => Per::Flow, "source" => Per::Source;
}
