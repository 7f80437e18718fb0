//! What a program tells the systemd that started it (sd_notify(3)). Elsewhere, as in the lab, nobody is told.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// How often to say so: a few times within the `WatchdogSec=` of each unit.
pub const PERIOD: Duration = Duration::from_secs(10);

/// It turns: the watchdog of its unit (`WatchdogSec=`) waits anew. Should it not be heard for once, it is the next time.
pub fn alive() {
    if let Some(socket) = std::env::var("NOTIFY_SOCKET").ok().filter(|_| is_asked())
        && let Err(error) = tell(&socket, b"WATCHDOG=1")
    {
        tracing::warn!(%error, "systemd cannot be told that this program is alive");
    }
}

/// Whether anybody waits for that.
pub fn is_asked() -> bool {
    std::env::var_os("WATCHDOG_USEC").is_some()
}

fn tell(socket: &str, message: &[u8]) -> io::Result<()> {
    let address = match socket.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_socket_are_told() {
        // A message in, by path and by abstract name; the same out.
        let path = std::env::temp_dir().join(format!("rempart-notify-{}", std::process::id()));
        let name = format!("rempart-notify-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        let cases = [
            (UnixDatagram::bind(&path).unwrap(), path.to_string_lossy().into_owned()),
            (UnixDatagram::bind_addr(&abstract_name).unwrap(), format!("@{name}")),
        ];
        for (listener, socket) in cases {
            tell(&socket, b"WATCHDOG=1").unwrap();
            let mut heard = [0; 32];
            let len = listener.recv(&mut heard).unwrap();
            assert_eq!(&heard[..len], b"WATCHDOG=1");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(tell(&path.to_string_lossy(), b"WATCHDOG=1").is_err());
    }
}
