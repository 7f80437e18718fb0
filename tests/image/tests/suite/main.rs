//! The image in an emulated machine. `start` runs with every test run where an image was built (`make test-image` builds one); the
//! others are for `make test-image`, which wants half an hour.

mod figures;
mod flash;
mod kernel;
mod pair;
mod power;
mod secure;
mod setup;
mod start;
mod state;
mod update;
mod watchdog;
mod whole;

use std::net::Ipv4Addr;

use rempart_image_tests::{Cable, Image, Scratch};

/// One box between two networks: the LAN reaches UDP port 7000 outside, and nothing else is allowed.
pub const DOCUMENT: &str = r#"version = 1
node = "fw"

[interface.wan]
device  = "enp0s16"
zone    = "wan"
address = "203.0.113.1/24"

[interface.lan]
device  = "enp0s17"
zone    = "lan"
address = "192.168.10.254/24"

[zone.wan]
block_private = false

[[flow]]
id    = "game"
from  = "lan"
to    = "wan"
allow = ["udp/7000"]
"#;
/// The box inside.
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 254);
/// The box outside.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// A desk.
pub const DESK: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 21);
/// A server somewhere.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// The image, or a word on why nothing is tested. Whoever asks for these tests by `REMPART_IMAGE` gets a failure instead.
pub fn image() -> Option<Image> {
    let found = Image::find();
    if found.is_none() {
        assert!(std::env::var_os("REMPART_IMAGE").is_none(), "there is no image in REMPART_IMAGE");
        eprintln!("skipped: no image was built (make image)");
    }
    found
}

/// The cables of the document's two interfaces, in their order.
pub fn cables(scratch: &Scratch) -> [Cable; 2] {
    [Cable::new(scratch, "wan"), Cable::new(scratch, "lan")]
}
