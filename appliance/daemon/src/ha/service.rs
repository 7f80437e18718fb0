//! The bus side of the elector: turns calls into commands for the elector and waits for answers.

use std::sync::Arc;
use std::time::Duration;

use rempart_bus::Error;
use rempart_plan::ha::HaPlan;
use tokio::sync::oneshot;
use tracing::warn;

use crate::elector::{Command, Refusal};
use crate::files::StoredPlan;
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
        self.ask(command).await?.map_err(|refusal| Error::Failed(refusal.to_string()))
    }
}

#[zbus::interface(name = "org.rempart.Ha1")]
impl Service {
    async fn status(&self) -> Result<String, Error> {
        let snapshot = self.ask(Command::Observe).await?;
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
}
