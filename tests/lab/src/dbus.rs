//! A system bus of a node's own: a `dbus-daemon` with a configuration that lets root do everything and nobody
//! else in.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::output_within;
use crate::requirements::search_path;

/// How long one question to the bus may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Root does everything, nobody else comes in.
const OWN: &str = r#"  <policy context="default">
    <deny user="*"/>
    <allow user="root"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow send_type="method_call"/>
    <allow receive_sender="*"/>
  </policy>"#;

/// Writes the configuration of a bus that listens on `socket`.
pub(crate) fn configure(file: &Path, socket: &Path) -> Result<()> {
    write(file, socket, OWN)
}

fn write(file: &Path, socket: &Path, policy: &str) -> Result<()> {
    let text = format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
{policy}
</busconfig>
"#,
        socket.display()
    );
    Ok(fs::write(file, text)?)
}

/// A bus beside the labs, with policies as a box has them. Dropping it ends it.
#[derive(Debug)]
pub struct PrivateBus {
    daemon: Child,
    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    pub address: String,
}

impl PrivateBus {
    /// Starts one in `folder`, with these elements of `busconfig`(5): `<policy>`, `<include>`.
    pub fn start(folder: &Path, policy: &str) -> Result<Self> {
        let file = folder.join("bus.conf");
        write(&file, &folder.join("bus"), policy)?;
        let mut daemon = Command::new("dbus-daemon")
            .env("PATH", search_path())
            .arg(format!("--config-file={}", file.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .context("dbus-daemon")?;
        let said = daemon.stdout.take();
        let mut bus = Self { daemon, address: String::new() };
        BufReader::new(said.context("a pipe")?).read_line(&mut bus.address)?;
        bus.address.truncate(bus.address.trim_end().len());
        Ok(bus)
    }
}

impl Drop for PrivateBus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// Whether a program on the bus at `address` owns `name`. A bus that does not answer knows no name.
pub(crate) fn has_owner(address: &str, name: &str) -> bool {
    let mut ask = Command::new("dbus-send");
    ask.env("PATH", search_path()).arg(format!("--bus={address}"));
    ask.args(["--print-reply=literal", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"]);
    ask.args(["org.freedesktop.DBus.NameHasOwner", &format!("string:{name}")]);
    output_within(ask, ASK_TIMEOUT)
        .is_ok_and(|o| o.status.success() && String::from_utf8_lossy(&o.stdout).contains("true"))
}
