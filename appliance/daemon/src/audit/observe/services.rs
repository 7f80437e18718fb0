//! What systemd says of its services, over the bus. Where there is no systemd nothing is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use zbus::{Connection, OwnedObjectPath, OwnedVariant, Variant};

use super::super::facts::{Fact, Facts, Known, Seen};

/// How long systemd may take to answer one question.
const PATIENCE: Duration = Duration::from_secs(5);

const NAME: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// As `ListUnits` tells a unit (org.freedesktop.systemd1(5)): name, description, load, active and sub state, whom it
/// follows, its object, and its job's number, type and object.
type ListedUnit =
    (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

type Properties = BTreeMap<String, OwnedVariant>;

/// Asks what is asked for.
pub async fn ask(asked: &BTreeSet<Fact>, bus: &Connection) -> Facts {
    let mut facts = Facts::default();
    let mut units: BTreeMap<&str, Option<Properties>> = BTreeMap::new();
    let manager = properties(bus, MANAGER_PATH, MANAGER).await;
    for fact in asked {
        let seen = match fact {
            Fact::Unit(unit, property) => {
                if !units.contains_key(unit) {
                    units.insert(unit, unit_properties(bus, unit).await);
                }
                let unit = units.get(unit).and_then(Option::as_ref);
                unit.and_then(|u| u.get(*property)).and_then(|value| shown(property, value))
            }
            Fact::Manager(property) => {
                manager.as_ref().and_then(|m| m.get(*property)).and_then(|value| shown(property, value))
            }
            Fact::Known(Known::Services) => running(bus).await,
            _ => None,
        };
        if let Some(seen) = seen {
            facts.note(*fact, seen);
        }
    }
    facts
}

async fn call<B, R>(bus: &Connection, path: &str, interface: &str, method: &str, body: &B) -> Option<R>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
    R: serde::de::DeserializeOwned + zbus::zvariant::Type,
{
    let call = bus.call_method(Some(NAME), path, Some(interface), method, body);
    let reply = tokio::time::timeout(PATIENCE, call).await.ok()?.ok()?;
    reply.body().deserialize().ok()
}

async fn properties(bus: &Connection, path: &str, interface: &str) -> Option<Properties> {
    call(bus, path, PROPERTIES, "GetAll", &(interface,)).await
}

/// Of a service, whether it runs or not.
async fn unit_properties(bus: &Connection, unit: &str) -> Option<Properties> {
    let path: OwnedObjectPath = call(bus, MANAGER_PATH, MANAGER, "LoadUnit", &(unit,)).await?;
    let mut all = properties(bus, path.as_str(), "org.freedesktop.systemd1.Unit").await?;
    all.extend(properties(bus, path.as_str(), "org.freedesktop.systemd1.Service").await?);
    Some(all)
}

/// The services that run. Those of one person are told by their kind.
async fn running(bus: &Connection) -> Option<Seen> {
    let units: Vec<ListedUnit> = call(bus, MANAGER_PATH, MANAGER, "ListUnits", &()).await?;
    let services = units.into_iter().filter(|unit| unit.0.ends_with(".service") && unit.4 == "running");
    Some(Seen::many(
        services.map(|unit| if unit.0.starts_with("user@") { "user@.service".to_owned() } else { unit.0 }),
    ))
}

/// A property in words.
fn shown(property: &str, value: &Variant<'_>) -> Option<Seen> {
    match (property, value) {
        ("CapabilityBoundingSet", Variant::U64(set)) => Some(Seen::many(capabilities(*set))),
        ("UMask", Variant::U32(mask)) => Some(Seen::text(format!("{mask:04o}"))),
        (_, Variant::Bool(is)) => Some(Seen::yes(*is)),
        (_, Variant::Str(text)) => Some(Seen::text(text.as_str())),
        (_, Variant::U64(number)) => Some(Seen::text(number.to_string())),
        (_, Variant::U32(number)) => Some(Seen::text(number.to_string())),
        // A list, and whether it is of what is allowed or of what is not.
        ("SystemCallFilter", Variant::Structure(whole)) => match whole.fields() {
            [Variant::Bool(_), Variant::Array(names)] => {
                Some(Seen::many(names.iter().filter_map(|name| match name {
                    Variant::Str(name) => Some(name.to_string()),
                    _ => None,
                })))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The names of the capabilities (include/uapi/linux/capability.h) by their numbers.
const CAPABILITIES: [&str; 41] = [
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
];

/// Which capabilities a set has. Bits that this kernel has no name for stand by their number.
fn capabilities(set: u64) -> impl Iterator<Item = String> {
    (0..u64::BITS).filter(move |bit| set >> bit & 1 == 1).map(|bit| {
        let name = usize::try_from(bit).ok().and_then(|bit| CAPABILITIES.get(bit));
        name.map_or_else(|| bit.to_string(), |name| (*name).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_become_words() {
        // Properties as systemd sends them in, the words of the table out.
        let seen = |property, value: Variant<'_>| shown(property, &value);
        assert_eq!(seen("PrivateTmp", Variant::from(true)), Some(Seen::text("yes")));
        assert_eq!(seen("UMask", Variant::from(0o77_u32)), Some(Seen::text("0077")));
        assert_eq!(seen("RestrictNamespaces", Variant::from(0_u64)), Some(Seen::text("0")));
        let set = Variant::from((1_u64 << 12) | (1 << 13));
        assert_eq!(seen("CapabilityBoundingSet", set), Some(Seen::many(["cap_net_admin", "cap_net_raw"])));
        let filter = Variant::from((true, vec!["read", "write"]));
        assert_eq!(seen("SystemCallFilter", filter), Some(Seen::many(["read", "write"])));
        assert_eq!(seen("Unknown", Variant::from(1.5_f64)), None);
    }
}
