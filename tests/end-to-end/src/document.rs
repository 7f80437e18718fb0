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
