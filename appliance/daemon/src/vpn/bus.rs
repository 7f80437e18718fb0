//! The program on the bus, for as long as there is one.

use std::time::Duration;

use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{VpnStatus, WireguardStatus};
use rempart_bus::{VPN_NAME, VPN_PATH};
use rempart_daemon::caller::only_root;
use rempart_daemon::vpn::service::Service;
use rempart_plan::remote::RemotePlan;
use tokio::sync::watch;
use tracing::{info, trace, warn};
use zbus::message::Header;

/// Between two attempts to reach the bus.
const RETRY: Duration = Duration::from_secs(1);
/// Between two looks whether the bus is still there.
const LOOK: Duration = Duration::from_secs(5);

/// Serves the bus, and again whenever it comes back.
pub async fn serve(service: Service) {
    loop {
        match connect(service.clone()).await {
            Ok(connection) => {
                info!("on the bus");
                stay(&connection).await;
            }
            Err(error) => trace!(%error, "no bus"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What the document asks for, where nothing was ever kept: waits until `rempartd` says it.
pub async fn first_plan(node: &str) -> RemotePlan {
    let (plan, mut told) = watch::channel(None);
    loop {
        match connect(First { node: node.to_owned(), plan: plan.clone() }).await {
            Ok(connection) => tokio::select! {
                () = stay(&connection) => {}
                found = told.wait_for(Option::is_some) => {
                    if let Some(plan) = found.ok().and_then(|plan| plan.clone()) {
                        return plan;
                    }
                }
            },
            Err(error) => trace!(%error, "no bus"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn connect<I: zbus::object_server::Interface>(object: I) -> zbus::Result<zbus::Connection> {
    zbus::connection::Builder::system().serve_at(VPN_PATH, object).name(VPN_NAME).build().await
}

/// Until the bus is gone.
async fn stay(connection: &zbus::Connection) {
    let Ok(bus) = zbus::fdo::DBusProxy::new(connection).await else { return };
    while bus.get_id().await.is_ok() {
        tokio::time::sleep(LOOK).await;
    }
}

/// What is said of anything else than the plan.
const NOTHING: &str = "the document asks for no remote access";

/// Takes the first plan and says that there was none.
struct First {
    node: String,
    plan: watch::Sender<Option<RemotePlan>>,
}

#[zbus::interface(name = "org.rempart.Vpn1")]
impl First {
    async fn status(&self) -> Result<String, rempart_bus::Error> {
        let status = VpnStatus { version: 1, node: self.node.clone(), ..VpnStatus::default() };
        serde_json::to_string(&status).map_err(refused)
    }

    async fn wireguard(&self) -> Result<String, rempart_bus::Error> {
        let status = WireguardStatus { version: 1, node: self.node.clone(), ..WireguardStatus::default() };
        serde_json::to_string(&status).map_err(refused)
    }

    async fn make_wireguard_key(&self, _anew: bool, _by: &str) -> Result<String, rempart_bus::Error> {
        Err(RefusalCode::WireguardOff.error(NOTHING))
    }

    async fn wireguard_client(&self, _request: &str, _by: &str) -> Result<String, rempart_bus::Error> {
        Err(RefusalCode::WireguardOff.error(NOTHING))
    }

    async fn configure(
        &self,
        plan: &str,
        _revision: u32,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &zbus::Connection,
    ) -> Result<(), rempart_bus::Error> {
        let root = only_root(&header, connection).await;
        root.map_err(|_| refused("a configuration comes from root alone"))?;
        if plan.is_empty() {
            return Ok(());
        }
        let plan = serde_json::from_str(plan).map_err(|error| {
            warn!(%error, "the plan cannot be read");
            refused(error)
        })?;
        self.plan.send_replace(Some(plan));
        Ok(())
    }
}

fn refused(why: impl std::fmt::Display) -> rempart_bus::Error {
    rempart_bus::Error::Failed(why.to_string())
}
