//! `[zone.NAME]`: the zones that interfaces name, with their defaults.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use crate::draft::{Document, ZoneDraft};
use crate::faults::Faults;
use crate::model::{FIREWALL, Interface, InterfaceName, Rate, RateUnit, VPN, WIREGUARD, Zone, ZoneName};
use crate::text::time::SynLimit;

/// New TCP connections per second and source address that an external zone gets by default: an office behind
/// one address stays far below, a flood far above.
const SYN_LIMIT: NonZeroU32 = NonZeroU32::new(500).unwrap();

pub(super) fn resolve(
    document: &Document,
    interfaces: &BTreeMap<InterfaceName, Interface>,
    remote_access: bool,
    faults: &mut Faults,
) -> BTreeMap<ZoneName, Zone> {
    let mut zones: BTreeMap<ZoneName, Zone> = interfaces
        .values()
        .filter_map(|i| i.zone.clone())
        .map(|name| {
            let zone = by_default(is_outside(name.as_str()));
            (name, zone)
        })
        .collect();
    zones.insert(ZoneName::new(FIREWALL), Zone { anti_spoof: false, ..by_default(false) });
    if remote_access {
        zones.insert(ZoneName::new(VPN), by_default(false));
    }
    if document.wireguard.is_some() {
        zones.insert(ZoneName::new(WIREGUARD), by_default(false));
    }
    for (name, draft) in document.zone.iter().flat_map(|z| z.iter()) {
        if name.value == FIREWALL {
            faults
                .error("reserved-name", &name.span, "the zone `firewall` has no settings")
                .hint("it is the box itself; what it may do stands in flows");
            continue;
        }
        match zones.get_mut(name.value.as_str()) {
            Some(zone) => *zone = set(draft, is_outside(&name.value)),
            None => {
                let known: Vec<_> = zones.keys().map(ZoneName::as_str).filter(|z| *z != FIREWALL).collect();
                faults
                    .warning("unused-zone", &name.span, format!("no interface is in zone `{}`", name.value))
                    .suggest(&name.value, known.into_iter());
            }
        }
    }
    zones
}

/// `wan`, `wan2`, `wan3`, …
fn is_outside(name: &str) -> bool {
    name.strip_prefix("wan").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
}

fn by_default(external: bool) -> Zone {
    let syn_limit = external.then_some(Rate { count: SYN_LIMIT, unit: RateUnit::Second, burst: SYN_LIMIT });
    Zone { external, block_private: external, block_bogons: external, anti_spoof: true, syn_limit }
}

fn set(draft: &ZoneDraft, outside: bool) -> Zone {
    let value = |key: &Option<crate::decode::At<bool>>, default| key.as_ref().map_or(default, |v| v.value);
    let default = by_default(value(&draft.external, outside));
    Zone {
        external: default.external,
        block_private: value(&draft.block_private, default.block_private),
        block_bogons: value(&draft.block_bogons, default.block_bogons),
        anti_spoof: value(&draft.anti_spoof, default.anti_spoof),
        syn_limit: match draft.syn_limit.as_ref().map(|s| s.value) {
            None => default.syn_limit,
            Some(SynLimit::Off) => None,
            Some(SynLimit::Rate(rate)) => Some(rate),
        },
    }
}
