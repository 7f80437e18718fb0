//! The box before its document: what it is called, and which cable is in which port.

use std::fs;
use std::path::Path;

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::setup::{PortStatus, SetupStatus};
use rempart_daemon::disk;
use rempart_system::linkwatch::{Link, LinkWatch};
use rempart_system::virtual_link::{Batch, VirtualLink, VirtualLinks};
use tracing::{info, warn};

use crate::administrator::has_password;
use crate::audit::policy::administers;
use crate::control::{Control, failed};

/// The units that are started with the name of the box. This daemon takes the new one as it runs.
pub const NAMED_UNITS: [&str; 2] = ["rempart-ha.service", "rempart-vpn.service"];
/// The file that the units read it from.
const FILE: &str = "node";
/// Names the stick that the box was started from, where it keeps nothing.
const LIVE: &str = "/run/rempart/live";
/// Ports that are shown: more than a chassis has.
const PORTS_MAX: usize = 64;
/// What a cable of a lab is, to the kernel. Hardware has no kind.
const KINDS: [&str; 2] = ["", "veth"];

impl Control {
    /// How far the box has been set up.
    pub(crate) fn setup(&self) -> Result<SetupStatus, Error> {
        let committed = self.store.current().map_err(failed)?.is_some();
        let watch = LinkWatch::open().map_err(failed)?;
        let links: Vec<&Link> = watch.links().filter(|link| is_port(link)).take(PORTS_MAX).collect();
        if !committed {
            light(&links);
        }
        let mut ports: Vec<PortStatus> = links.into_iter().map(port).collect();
        ports.sort_by(|a, b| a.device.cmp(&b.device));
        let password = has_password(self.store.root());
        // The start of the box has left it there (usr/lib/rempart/state).
        let live = fs::read_to_string(LIVE).ok().map(|stick| stick.trim().to_owned());
        Ok(SetupStatus { node: self.node.clone(), committed, password, ports, live })
    }

    /// The flows that let somebody reach the box by SSH, and from where.
    pub(crate) fn administration(&self) -> Vec<String> {
        let flows = self.running.iter().flat_map(|running| &running.model.flows);
        flows.filter(|flow| administers(flow)).map(|flow| flow.label.clone()).collect()
    }

    /// Takes a name for this box.
    pub(crate) fn rename(&mut self, name: &str) -> Result<(), Error> {
        if self.store.current().map_err(failed)?.is_some() || self.running.is_some() {
            return Err(
                RefusalCode::Named.error(format!("this box is {}, in a committed document", self.node))
            );
        }
        let document = format!("version = 1\nnode = \"{}\"\n", name.escape_default());
        let faults = rempart_config::read(&document).diagnostics;
        if let Some(fault) = faults.iter().find(|d| d.severity == rempart_config::Severity::Error) {
            return Err(RefusalCode::BadField.error(&fault.message));
        }
        let file = self.store.root().join(FILE);
        disk::write(&file, format!("NODE={name}\n").as_bytes()).map_err(failed)?;
        info!(before = self.node, name, "this box has a name");
        name.clone_into(&mut self.node);
        Ok(())
    }
}

/// Whether a cable can be plugged into it.
fn is_port(link: &Link) -> bool {
    link.mac.is_some_and(|mac| mac != [0; 6]) && KINDS.contains(&link.kind.as_str()) && link.name != "lo"
}

/// Sets ports up that are not, so that their lamps work. They get no address but the one that IPv6 makes of the port by itself,
/// by which the other box of a pair is found; nothing listens there yet, and nothing is forwarded.
fn light(links: &[&Link]) {
    let down = links.iter().filter(|link| !link.up);
    let up: Vec<VirtualLink> =
        down.map(|link| VirtualLink { index: link.index, addresses: Vec::new() }).collect();
    let done = Batch::up(&up).map_err(std::io::Error::other).and_then(|batch| {
        let refused = |act, errno| warn!(?act, %errno, "a port cannot be set up: its lamp stays dark");
        VirtualLinks::open()?.perform(&batch, refused)
    });
    if let Err(error) = done {
        warn!(%error, "the ports cannot be set up");
    }
}

fn port(link: &Link) -> PortStatus {
    let folder = Path::new("/sys/class/net").join(&link.name);
    let driver = fs::read_link(folder.join("device/driver")).ok();
    let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let speed =
        fs::read_to_string(folder.join("speed")).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let mac = link.mac.unwrap_or_default().map(|byte| format!("{byte:02x}")).join(":");
    PortStatus {
        device: link.name.clone(),
        mac,
        driver: driver.unwrap_or_else(|| link.kind.clone()),
        // Without a link it is -1.
        speed_mbps: speed.and_then(|mbps| u32::try_from(mbps).ok()).filter(|mbps| *mbps > 0 && link.running),
        link: link.running,
    }
}
