//! Documents: those of the examples, and a small one that tests add flows to.

use std::fmt;
use std::path::{Path, PathBuf};

/// A document's text, to be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document(String);

/// The path of an example.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// The example of the crisis centre.
pub fn datatel() -> Document {
    let path = example("datatel.toml");
    Document(std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// One box between the standard network's three segments, by DHCP outside, and no flow at all.
pub fn small() -> Document {
    Document(
        r#"version = 1
node = "fw"

[interface.wan]
device  = "enp1s0"
zone    = "wan"
address = "dhcp"

[interface.lan]
device  = "enp2s0"
zone    = "lan"
address = ["192.168.10.254/24", "fd00:10::fe/64"]

[interface.dmz]
device  = "enp3s0"
zone    = "dmz"
address = ["192.168.20.254/24", "fd00:20::fe/64"]

[zone.wan]
block_private = false

[host]
desk   = ["192.168.10.21", "fd00:10::21"]
voip   = "192.168.10.13"
server = ["192.168.20.11", "fd00:20::11"]
"#
        .into(),
    )
}

/// Two boxes between the standard network's segments, with virtual addresses of both IP versions, and what the streams of the
/// laboratory need: the LAN reaches the Internet, which reaches one port of one server.
pub fn pair() -> Document {
    let mut text = String::from("version = 1\n\n[pair]\nnodes = [\"rte01\", \"rte02\"]\nsync  = \"sync\"\n");
    let legs = [
        ("wan", "enp1s0", "203.0.113.", "2001:db8:113::", [2, 3], ["203.0.113.100", "2001:db8:113::100"], 1),
        ("lan", "enp2s0", "192.168.10.", "fd00:10::", [1, 2], ["192.168.10.254", "fd00:10::fe"], 10),
        ("dmz", "enp3s0", "192.168.20.", "fd00:20::", [1, 2], ["192.168.20.254", "fd00:20::fe"], 20),
    ];
    for (name, device, v4, v6, [one, two], [virtual4, virtual6], vrid) in legs {
        let own = |n: i32| format!("[\"{v4}{n}/24\", \"{v6}{n}/64\"]");
        text += &format!(
            "\n[interface.{name}]\ndevice  = \"{device}\"\nzone    = \"{name}\"\n\
             address = {{ rte01 = {}, rte02 = {} }}\n\
             virtual = [{{ address = \"{virtual4}/24\", vrid = {vrid} }}, {{ address = \"{virtual6}/64\", vrid = {vrid} }}]\n",
            own(one),
            own(two),
        );
        if name == "wan" {
            text += "gateway = [\"203.0.113.1\", \"2001:db8:113::1\"]\n";
        }
    }
    text += r#"
[interface.sync]
device  = "enp4s0"
address = { rte01 = "169.254.77.1/30", rte02 = "169.254.77.2/30" }

[zone.wan]
block_private = false

[host]
server = ["192.168.20.11", "fd00:20::11"]

[[flow]]
id    = "out"
from  = "lan"
to    = "wan"
allow = ["any"]

[[flow]]
id    = "echo"
from  = "lan"
to    = "firewall"
allow = ["ping"]

[[flow]]
id      = "published"
from    = "wan"
to      = "dmz:192.168.20.11"
allow   = ["tcp/7000"]
publish = true

[[flow]]
id     = "files"
from   = "lan"
to     = "dmz:server"
allow  = ["ftp"]
helper = "ftp"
"#;
    Document(text)
}

impl Document {
    /// A document of this text.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// With `old` replaced by `new`, once. Panics if `old` is not there: the test would prove nothing.
    pub fn replace(&self, old: &str, new: &str) -> Self {
        assert!(self.0.contains(old), "the document has no {old:?}");
        Self(self.0.replacen(old, new, 1))
    }

    /// With `text` at its end.
    pub fn and(&self, text: &str) -> Self {
        Self(format!("{}\n{text}\n", self.0))
    }

    /// With one more flow: the zones and hosts as in a document, and further lines.
    pub fn flow(&self, id: &str, from: &str, to: &str, rest: &str) -> Self {
        self.and(&format!("[[flow]]\nid = \"{id}\"\nfrom = \"{from}\"\nto = \"{to}\"\n{rest}"))
    }

    /// Without its assertions, which in the examples stand at the end.
    pub fn without_checks(&self) -> Self {
        Self(self.0.split("[[check]]").next().unwrap_or_default().to_owned())
    }

    /// Whether it has addresses that go with the role.
    pub fn has_virtual_routers(&self) -> bool {
        self.0.lines().any(|l| l.trim_start().starts_with("virtual"))
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
