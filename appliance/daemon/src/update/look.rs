//! How the box is, as far as a version is judged by it: asked over the bus.

use std::time::Duration;

use rempart_bus::documents::Status;
use rempart_bus::ha::HaStatus;
use rempart_bus::vpn::VpnStatus;
use rempart_bus::{Control1Proxy, Error, Ha1Proxy, Vpn1Proxy};
use rempart_update::probation::{DECISIVE_FAULTS, Snapshot};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use zbus::Connection;
use zbus::proxy::CacheProperties;

/// How long a program may take to answer before it counts as one that does not.
const ANSWER: Duration = Duration::from_secs(10);

/// What the three programs say; what does not answer is missing.
pub async fn snapshot(bus: &Connection) -> Snapshot {
    let (control, ha, vpn) = tokio::join!(control(bus), ha(bus), vpn(bus));
    let mut snapshot = Snapshot { control: control.is_some(), vpn: vpn.is_some(), ..Snapshot::default() };
    if let Some(status) = control {
        snapshot.revision = status.revision.map(|revision| revision.number);
        let decisive = status.faults.into_iter().map(|fault| fault.code);
        snapshot.faults = decisive.filter(|code| DECISIVE_FAULTS.contains(&code.as_str())).collect();
        snapshot.links = status.interfaces.into_iter().map(|i| (i.name, i.present && i.carrier)).collect();
    }
    snapshot.elector = ha.is_some();
    if let Some(status) = ha {
        snapshot.role = status.role;
        snapshot.ailments = status.ailments.iter().map(|a| format!("{} {}", a.code, a.about)).collect();
        snapshot.other = status.other.is_some_and(|other| other.alive);
    }
    snapshot.vpn_configured = vpn.is_some_and(|status| status.configured);
    snapshot
}

async fn control(bus: &Connection) -> Option<Status> {
    let proxy = Control1Proxy::builder(bus).cache_properties(CacheProperties::No).build().await.ok()?;
    read(proxy.status()).await
}

/// What the elector says.
pub async fn ha(bus: &Connection) -> Option<HaStatus> {
    let proxy = Ha1Proxy::builder(bus).cache_properties(CacheProperties::No).build().await.ok()?;
    read(proxy.status()).await
}

async fn vpn(bus: &Connection) -> Option<VpnStatus> {
    let proxy = Vpn1Proxy::builder(bus).cache_properties(CacheProperties::No).build().await.ok()?;
    read(proxy.status()).await
}

async fn read<T: DeserializeOwned>(asked: impl Future<Output = Result<String, Error>>) -> Option<T> {
    serde_json::from_str(&timeout(ANSWER, asked).await.ok()?.ok()?).ok()
}
