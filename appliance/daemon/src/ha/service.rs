//! The bus side of the elector: turns calls into commands for the elector and waits for answers.

use std::sync::Arc;
use std::time::Duration;

use rempart_bus::codes::RefusalCode;
use rempart_bus::ha::ConfigurationStatus;
use rempart_bus::{ByteBuf, Error, HA_PATH};
use rempart_daemon::caller::only_root;
use rempart_pair::role::CommandRefused;
use rempart_plan::ha::HaPlan;
use tokio::sync::oneshot;
use tracing::{info, warn};
use zbus::Connection;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;

use crate::elector::{Command, Refusal};
use crate::files::StoredPlan;
use crate::pairing;
use crate::secrets::Secrets;
use crate::status;
use crate::worker::Shared;

/// The elector answers within a turn of its loop; a hand-over ends after 2.5 s at the latest.
const PATIENCE: Duration = Duration::from_secs(10);

/// The object on the bus.
pub struct Service {
    shared: Arc<Shared>,
}

impl Service {
    /// An object that speaks for the elector of `shared`.
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let busy = || Error::Failed("the elector does not answer".into());
        self.shared.elector.send(command(reply)).map_err(|_| busy())?;
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| busy())?.map_err(|_| busy())
    }

    async fn order(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), Refusal>>) -> Command,
    ) -> Result<(), Error> {
        self.ask(command).await?.map_err(|refusal| code(refusal).error(refusal))
    }
}

#[zbus::interface(name = "org.rempart.Ha1")]
impl Service {
    async fn status(&self) -> Result<String, Error> {
        let snapshot = self.ask(Command::Observe).await?;
        self.shared.peer.refresh().await;
        let status = status::of(&self.shared, &snapshot);
        serde_json::to_string(&status).map_err(|e| Error::Failed(e.to_string()))
    }

    async fn configure(&self, plan: &str, revision: u32) -> Result<(), Error> {
        let unreadable = |e| Error::Failed(format!("the plan cannot be read: {e}"));
        let plan: Option<HaPlan> =
            if plan.is_empty() { None } else { Some(serde_json::from_str(plan).map_err(unreadable)?) };
        let files = self.shared.files.clone();
        let stored = StoredPlan { revision, plan: plan.clone() };
        // The disk may take its time, and the elector need not wait for it.
        let kept = tokio::task::spawn_blocking(move || files.keep_plan(&stored));
        let secrets =
            plan.as_ref().map(|plan| Secrets::load(&self.shared.files.secrets(), plan)).unwrap_or_default();
        let busy = |_| Error::Failed("the elector is too busy".into());
        self.shared.plan.send_replace(plan.clone());
        self.shared.peer.replan(plan.as_ref());
        self.shared.elector.send(Command::Configure(plan.map(Box::new), secrets)).map_err(busy)?;
        match kept.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                warn!(%error, "the plan cannot be written to disk; after a restart the one before it counts");
                Ok(())
            }
            Err(error) => Err(Error::Failed(error.to_string())),
        }
    }

    async fn switch(&self) -> Result<(), Error> {
        self.order(Command::Switch).await
    }

    async fn maintenance(&self, on: bool) -> Result<(), Error> {
        self.order(|reply| Command::Maintenance(on, reply)).await
    }

    async fn pair_offer(&self) -> Result<String, Error> {
        json(&pairing::offer(&self.shared).await?)
    }

    async fn pair_join(&self, code: &str, device: &str) -> Result<String, Error> {
        json(&pairing::join(&self.shared, code, device).await?)
    }

    async fn pairing(&self) -> Result<String, Error> {
        json(&self.shared.peer.pairing.status(self.shared.keystore.keys().as_ref()))
    }

    async fn pair_cancel(&self) -> Result<(), Error> {
        self.shared.peer.pairing.cancel();
        Ok(())
    }

    async fn unpair(&self) -> Result<(), Error> {
        self.shared.peer.pairing.cancel();
        self.shared
            .keystore
            .unpair()
            .map_err(|e| Error::Failed(format!("the keys cannot be removed: {e}")))?;
        info!("unpaired");
        Ok(())
    }

    async fn request(
        &self,
        topic: &str,
        body: &[u8],
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<ByteBuf, Error> {
        // What goes to the other node in this node's name comes from `rempartd` alone.
        only_root(&header, connection).await?;
        self.shared.peer.request(topic, body).await.map(ByteBuf::from)
    }

    async fn link(&self) -> (bool, bool) {
        self.shared.peer.reach()
    }

    #[zbus(signal)]
    async fn link_changed(emitter: &SignalEmitter<'_>, paired: bool, connected: bool) -> zbus::Result<()>;

    async fn agreement(&self, status: &str) -> Result<(), Error> {
        let status: ConfigurationStatus = serde_json::from_str(status)
            .map_err(|e| Error::Failed(format!("the status cannot be read: {e}")))?;
        let id = status.id.as_deref().and_then(|id| u64::from_str_radix(id.get(..16)?, 16).ok());
        let revision = status.own.unwrap_or(0);
        self.shared.peer.set_configuration(status);
        let command = Command::Revision(revision, id.unwrap_or(0).to_be_bytes());
        self.shared.elector.send(command).map_err(|_| Error::Failed("the elector is too busy".into()))
    }
}

/// The stable short name of a refusal.
fn code(refusal: Refusal) -> RefusalCode {
    match refusal {
        Refusal::Refused(refused) => match refused {
            CommandRefused::NotPaired => RefusalCode::NotPaired,
            CommandRefused::Starting => RefusalCode::Starting,
            CommandRefused::Leaving => RefusalCode::Leaving,
            CommandRefused::PeerAbsent => RefusalCode::PeerAbsent,
            CommandRefused::PeerUnfit => RefusalCode::PeerUnfit,
            CommandRefused::Unfit => RefusalCode::Unfit,
            CommandRefused::Busy => RefusalCode::HandingOver,
        },
        Refusal::Failed(failure) => status::failure(failure),
    }
}

/// Tells the bus whenever the other node comes or goes; never returns.
pub async fn signal_link(shared: Arc<Shared>, connection: Connection) {
    let Ok(emitter) = SignalEmitter::new(&connection, HA_PATH) else { return };
    let emitter = &emitter;
    let told = |paired, connected| async move {
        if let Err(error) = Service::link_changed(emitter, paired, connected).await {
            warn!(%error, "the bus cannot be told of the other node");
        }
    };
    shared.peer.follow(told).await;
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Failed(e.to_string()))
}
