//! A system bus of a node's own: a `dbus-daemon` with a configuration that lets root do everything and nobody
//! else in.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::output_within;
use crate::requirements::search_path;

/// How long one question to the bus may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Writes the configuration of a bus that listens on `socket`.
pub(crate) fn configure(file: &Path, socket: &Path) -> Result<()> {
    let text = format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <deny user="*"/>
    <allow user="root"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow send_type="method_call"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#,
        socket.display()
    );
    Ok(fs::write(file, text)?)
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
