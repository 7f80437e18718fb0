//! What systemd is asked to do, over the bus. Root may, whatever else was taken from it.

use rempart_bus::Error;
use tracing::{info, warn};
use zbus::Connection;
use zbus::fdo;

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A job for a unit: `StartUnit`, `StopUnit`, `RestartUnit` (org.freedesktop.systemd1(5)).
pub async fn order(bus: &Connection, what: &str, unit: &str, mode: &str) -> zbus::Result<()> {
    bus.call_method(Some(NAME), PATH, Some(MANAGER), what, &(unit, mode)).await?;
    Ok(())
}

/// The same, where systemd may be away: in a lab the programs are started by whoever made it.
pub async fn ask(bus: &Connection, what: &str, unit: &str) -> Result<(), Error> {
    match order(bus, what, unit, "replace").await {
        Ok(()) => {
            info!(what, unit, "systemd");
            Ok(())
        }
        Err(error) if is_absent(&error) => {
            warn!(what, unit, "there is no systemd on the bus");
            Ok(())
        }
        Err(error) => Err(Error::Failed(format!("systemd, {what} {unit}: {error}"))),
    }
}

fn is_absent(error: &zbus::Error) -> bool {
    match error {
        zbus::Error::MethodError(name, ..) => {
            ["org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"]
                .contains(&name.as_str())
        }
        zbus::Error::FDO(error) => matches!(**error, fdo::Error::ServiceUnknown(_)),
        _ => false,
    }
}
