//! The lab: the networks of the examples in network namespaces on one machine.
//!
//! ```text
//!  inet ── wan segment (DHCP) ──┬── rte01 ──┬── lan ── srv-ad1 .11, srv-voip .13, cli-lan .21
//!   │                           │     ║ sync│
//!  cli-wan                      └── rte02 ──┴── dmz ── srv-ebrigade .11
//! ```
//!
//! Owns the namespaces, the cables between them, the small real servers on the hosts, and the processes in
//! them; all of it goes when the [`Lab`] does. Refuses to own what the product does inside its namespace: the
//! legs of a router are bare devices, and addresses, routes and filters on them are `rempartd`'s business.
//!
//! A segment is a bridge in the lab's own `switch` namespace, so no frame ever leaves the lab. Several labs
//! stand side by side: the names of one lab's namespaces share a prefix that no other lab has.
//!
//! ```no_run
//! use rempart_lab::{Lab, Topology, Transport};
//!
//! fn main() -> anyhow::Result<()> {
//!     rempart_lab::skip_unless_root!(Ok(()));
//!     let lab = Lab::builder().topology(Topology::of_document("examples/datatel.toml")?).up()?;
//!     let node = lab.start_node("rte01")?;
//!     node.commit("examples/datatel.toml", "first")?;
//!     let page = lab.host("cli-lan").http_get("http://192.168.20.11/", std::time::Duration::from_secs(2))?;
//!     assert_eq!(page.body, "srv-ebrigade\n");
//!     let _echo = lab.host("srv-voip").echo(Transport::Udp, "[::]:5060".parse()?)?;
//!     let reach = lab.host("cli-wan").probe(Transport::Udp, "203.0.113.100:5060".parse()?).run()?;
//!     assert!(!reach.passes());
//!     Ok(())
//! }
//! ```

pub mod capture;
pub mod dbus;
pub mod demo;
mod document;
mod faults;
mod host;
mod lab;
mod namespace;
mod node;
mod pair;
mod process;
mod record;
mod requirements;
mod servers;
mod spec;
mod stock;
mod topology;
pub mod traffic;
pub mod tunnel;
mod watch;
pub mod wireguard;

pub use host::{Host, HttpReply};
pub use lab::{Lab, LabBuilder};
pub use node::Node;
pub use process::{Process, output_within, wait_until};
pub use record::{Quiet, Record, remove_abandoned};
pub use requirements::{missing_programs, obstacle, program};
pub use spec::{DhcpService, DnsService, HostSpec, LegSpec, Server};
pub use stock::Stock;
pub use topology::Topology;
pub use traffic::Transport;
pub use tunnel::Tunnel;
pub use watch::{Watch, Watched};
pub use wireguard::Wireguard;

/// Leaves a test early, with a line that says why, where the lab cannot be had: without root.
///
/// `skip_unless_root!()` returns `()`; `skip_unless_root!(Ok(()))` returns what is given.
#[macro_export]
macro_rules! skip_unless_root {
    ($($value:expr)?) => {
        if let Some(why) = $crate::obstacle() {
            eprintln!("skipped: {why}");
            return $($value)?;
        }
    };
}
