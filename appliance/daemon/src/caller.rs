//! Who calls on the bus.

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use zbus::Connection;
use zbus::message::Header;

/// Refuses whoever is not root. Who may call at all is said by the bus's policy; this is for what one daemon says to another.
pub async fn only_root(header: &Header<'_>, connection: &Connection) -> Result<(), Error> {
    let refused = || RefusalCode::RootOnly.error("only root may call this");
    let sender = header.sender().ok_or_else(refused)?.to_owned();
    let bus = zbus::fdo::DBusProxy::new(connection).await?;
    match bus.get_connection_unix_user(sender.into()).await {
        Ok(0) => Ok(()),
        Ok(_) | Err(_) => Err(refused()),
    }
}
