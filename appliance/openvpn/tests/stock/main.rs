//! The stock program as the client: Debian's openvpn, unmodified, over loopback in a network namespace of its own for each
//! test. Needs root, `ip`, `openvpn` and /dev/net/tun; without them each test says so and passes.
//!
//! `REMPART_GOLDEN=1` writes what the client sends into `tests/golden/`.

mod cases;
mod client;
mod link;
mod namespace;
mod server;
