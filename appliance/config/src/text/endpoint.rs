//! One side of a flow as written: `ZONE`, `ZONE:HOST`, `ZONE:!HOST`.

use super::address::{Shape, literal, shape};
use super::{Malformed, Syntax, check_name, from_string};
use crate::faults::shown;
use crate::space::AddressSet;

/// An endpoint before its names are resolved.
#[derive(Clone, Debug)]
pub(crate) struct EndpointText {
    pub text: String,
    pub zone: String,
    pub negated: bool,
    pub host: HostText,
}

/// The part after the colon.
#[derive(Clone, Debug)]
pub(crate) enum HostText {
    Any,
    Fixed(AddressSet),
    Name(String),
}

impl Syntax for EndpointText {
    const WANTED: &'static str = "an endpoint such as `lan`, `dmz:web` or `wan:!192.0.2.0/24`";
    const EXAMPLES: &'static [&'static str] =
        &["lan", "any", "dmz:ebrigade", "wan:!partner", "lan:192.168.10.0/25", "dmz:fd00:20::11"];

    fn parse(text: &str) -> Result<Self, Malformed> {
        // `a:fd00::1` is an address in zone `a` before it is an address.
        Self::with_zone(text).map_err(|malformed| if is_bare(text) { without_zone(text) } else { malformed })
    }
}

impl EndpointText {
    /// The zone ends at the first colon: zone names have none, IPv6 addresses do.
    fn with_zone(text: &str) -> Result<Self, Malformed> {
        let (zone, host) = match text.split_once(':') {
            Some((zone, host)) => (zone, Some(host)),
            None => (text, None),
        };
        check_name(zone).map_err(|_| {
            Malformed::new(format!("`{}` is not an endpoint", shown(text))).hint(
                "ZONE, ZONE:HOST or ZONE:!HOST; HOST is a name in [host], an address, a network or a range",
            )
        })?;
        let negated = host.is_some_and(|h| h.starts_with('!'));
        let host = match host.map(|h| h.strip_prefix('!').unwrap_or(h)) {
            None => HostText::Any,
            Some("any") => HostText::Any,
            Some("") => {
                return Err(Malformed::new(format!("`{}` names no host", shown(text)))
                    .hint(format!("write `{zone}` for the whole zone")));
            }
            Some(host) => match shape(host) {
                Shape::Literal => HostText::Fixed(literal(host)?),
                Shape::Name => {
                    check_name(host)?;
                    HostText::Name(host.into())
                }
                Shape::Fqdn => {
                    return Err(Malformed::new(format!("`{}` is a DNS name", shown(host))).hint(format!(
                        "name it in [host], `partner = \"{}\"`, and use that name",
                        shown(host)
                    )));
                }
            },
        };
        if negated && matches!(host, HostText::Any) {
            return Err(Malformed::new(format!("`{text}` matches nothing")));
        }
        Ok(Self { text: text.into(), zone: zone.into(), negated, host })
    }
}

/// Whether the whole text is an address: the commonest slip is to leave the zone out.
pub(crate) fn is_bare(text: &str) -> bool {
    let bare = text.strip_prefix('!').unwrap_or(text);
    matches!(shape(bare), Shape::Literal) && literal(bare).is_ok()
}

fn without_zone(text: &str) -> Malformed {
    Malformed::new(format!("`{text}` has no zone")).hint(format!("write the zone first: `lan:{text}`"))
}

from_string!(EndpointText);
