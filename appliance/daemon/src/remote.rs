//! The way to `rempart-vpn` on the bus: it is handed the plan of remote access, and never reads the document.
//!
//! One task follows `rempart-vpn`: whether it is there; and hands it the plan whenever that changes, it is started anew, or
//! the table of the policy was made anew, in which the live sets are empty then and it has to fill them again.

use std::time::Duration;

use futures_util::StreamExt as _;
use rempart_bus::{VPN_NAME, Vpn1Proxy};
use rempart_daemon::tasks::until;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

/// How long `rempart-vpn` may take to take what it is told.
const TELL: Duration = Duration::from_secs(5);
/// When it is told again if it did not.
const AGAIN: Duration = Duration::from_secs(1);

/// What `rempart-vpn` must know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Told {
    /// A `RemotePlan` as JSON, or the empty text.
    pub plan: String,
    /// Its revision.
    pub revision: u32,
    /// How often the table of the policy was made anew.
    pub tables: u64,
}

/// The way there.
#[derive(Debug)]
pub struct Remote {
    wanted: watch::Sender<Option<Told>>,
}

impl Default for Remote {
    fn default() -> Self {
        Self { wanted: watch::Sender::new(None) }
    }
}

impl Remote {
    /// Follows `rempart-vpn` on this bus.
    pub fn connect(&self, connection: zbus::Connection) {
        let wanted = self.wanted.subscribe();
        tokio::spawn(async move {
            if let Err(error) = follow(connection, wanted).await {
                warn!(%error, "rempart-vpn cannot be followed on the bus: it keeps the plan that it has");
            }
        });
    }

    /// Has `rempart-vpn` told, now and whenever it is started anew.
    pub fn tell(&self, told: Told) {
        self.wanted.send_if_modified(|wanted| {
            let changed = wanted.as_ref() != Some(&told);
            *wanted = Some(told);
            changed
        });
    }
}

async fn follow(connection: zbus::Connection, mut wanted: watch::Receiver<Option<Told>>) -> zbus::Result<()> {
    let bus = zbus::fdo::DBusProxy::new(&connection).await?;
    let mut owners = bus.receive_name_owner_changed_with_args(&[(0, VPN_NAME)]).await?;
    let vpn =
        Vpn1Proxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?;
    let mut here = bus.name_has_owner(VPN_NAME.try_into()?).await?;
    let mut told: Option<Told> = None;
    let mut again = None;
    loop {
        let now = wanted.borrow_and_update().clone();
        if let Some(now) = now.filter(|now| here && again.is_none() && told.as_ref() != Some(now)) {
            match timeout(TELL, vpn.configure(&now.plan, now.revision)).await {
                Ok(Ok(())) => told = Some(now),
                Ok(Err(error)) => {
                    debug!(%error, "rempart-vpn does not take what it is told");
                    again = Some(Instant::now() + AGAIN);
                }
                Err(_) => again = Some(Instant::now() + AGAIN),
            }
        }
        tokio::select! {
            Some(change) = owners.next() => {
                here = change.args()?.new_owner().is_some();
                (told, again) = (None, None);
            }
            Ok(()) = wanted.changed() => {}
            () = until(again) => again = None,
            else => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
