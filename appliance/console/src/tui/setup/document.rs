//! Owns the document that the answers make: as short as it can be, with a word about each flow, in the person's language.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Field, Input, Role, Setup};
use crate::lang::Lang;
use crate::tr;

/// Numbers of the virtual routers.
const VRID_WAN: u8 = 1;
const VRID_LAN: u8 = 10;
const VRID_DMZ: u8 = 20;

/// What stands in the fields before anything is typed. Who has other networks types over it.
pub fn proposals() -> BTreeMap<Field, Input> {
    let all = [
        (Field::Place, "1"),
        (Field::Wan, "dhcp"),
        (Field::Lan, "192.168.10.1/24"),
        (Field::LanOther, "192.168.10.2/24"),
        (Field::LanShared, "192.168.10.254/24"),
        (Field::Dmz, "192.168.20.1/24"),
        (Field::DmzOther, "192.168.20.2/24"),
        (Field::DmzShared, "192.168.20.254/24"),
    ];
    all.into_iter().map(|(field, text)| (field, Input { text: text.to_owned() })).collect()
}

/// The document.
pub fn document(lang: Lang, setup: &Setup) -> String {
    let mut out = String::new();
    let title = tr!(lang, "setup-document");
    let (own, other) = (setup.text(Field::Name), setup.text(Field::Other));
    let _ = writeln!(out, "# {title}\nversion = 1");
    if setup.is_pair() {
        let (first, second) = if setup.text(Field::Place) == "2" { (other, own) } else { (own, other) };
        let _ = writeln!(out, "\n[pair]\nnodes = [\"{first}\", \"{second}\"]\nsync  = \"sync\"");
    } else {
        let _ = writeln!(out, "node = \"{own}\"");
    }
    port(&mut out, setup, Role::Wan, "wan", [Field::Wan, Field::WanOther, Field::WanShared], VRID_WAN);
    port(&mut out, setup, Role::Lan, "lan", [Field::Lan, Field::LanOther, Field::LanShared], VRID_LAN);
    port(&mut out, setup, Role::Dmz, "dmz", [Field::Dmz, Field::DmzOther, Field::DmzShared], VRID_DMZ);
    if let (true, Some(device)) = (setup.is_pair(), setup.device(Role::Sync)) {
        let (one, two) = ("169.254.77.1/30", "169.254.77.2/30");
        let (mine, theirs) = if setup.text(Field::Place) == "2" { (two, one) } else { (one, two) };
        let _ = writeln!(out, "\n[interface.sync]\ndevice  = \"{device}\"");
        let _ = writeln!(out, "address = {{ {own} = \"{mine}\", {other} = \"{theirs}\" }}");
    }
    flow(&mut out, "out", "lan", "wan", "\"any\"", &tr!(lang, "setup-why-out"));
    flow(&mut out, "ping", "lan", "firewall", "\"ping\"", &tr!(lang, "setup-why-ping"));
    let own = "\"dns\", \"ntp\", \"https\", \"ping\"";
    flow(&mut out, "box", "firewall", "wan", own, &tr!(lang, "setup-why-box"));
    out
}

fn port(out: &mut String, setup: &Setup, role: Role, name: &str, fields: [Field; 3], vrid: u8) {
    let Some(device) = setup.device(role) else { return };
    let [own, other, shared] = fields.map(|field| setup.text(field));
    let (node, second) = (setup.text(Field::Name), setup.text(Field::Other));
    let dhcp = own.eq_ignore_ascii_case("dhcp");
    let _ = writeln!(out, "\n[interface.{name}]\ndevice  = \"{device}\"\nzone    = \"{name}\"");
    let _ = match (dhcp, setup.is_pair()) {
        (true, _) => writeln!(out, "address = \"dhcp\""),
        (false, false) => writeln!(out, "address = \"{own}\""),
        (false, true) => writeln!(
            out,
            "address = {{ {node} = \"{own}\", {second} = \"{other}\" }}\nvirtual = {{ address = \"{shared}\", vrid = {vrid} }}"
        ),
    };
    if role == Role::Wan && !dhcp {
        let _ = writeln!(out, "gateway = \"{}\"", setup.text(Field::Gateway));
    }
}

fn flow(out: &mut String, id: &str, from: &str, to: &str, allow: &str, why: &str) {
    let _ = writeln!(
        out,
        "\n[[flow]]\nid    = \"{id}\"\nfrom  = \"{from}\"\nto    = \"{to}\"\nallow = [{allow}]\nwhy   = \"{why}\""
    );
}
