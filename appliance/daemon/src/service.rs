//! The bus side of the control daemon: turns calls into commands for the control loop and waits for answers.

use std::path::Path;

use rempart_bus::documents::{CommitRequest, ExplainRequest};
use rempart_bus::{ByteBuf, Error};
use rempart_daemon::caller::only_root;
use rempart_daemon::systemd;
use rempart_identity::secret::Secret;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, mpsc, oneshot};
use zbus::Connection;
use zbus::message::Header;

use crate::administrator::Administrator;
use crate::audit::policy::Policy;
use crate::ssh::Ssh;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A call, as the control loop sees it.
#[derive(Debug)]
pub enum Command {
    /// See [`rempart_bus::control::Control1`] for each of them.
    Status(Reply<String>),
    Flows(Reply<String>),
    Connections(u32, Reply<String>),
    Kill(Vec<u32>, Reply<u32>),
    Log(u64, Reply<String>),
    Check(String, Reply<String>),
    Plan(String, Reply<String>),
    Explain(ExplainRequest, Reply<String>),
    Candidate(Reply<String>),
    Load(String, Reply<()>),
    Commit(CommitRequest, Reply<String>),
    Confirm(Reply<u32>),
    Revert(Reply<u32>),
    Rollback(u32, CommitRequest, Reply<String>),
    History(Reply<String>),
    Show(u32, Reply<String>),
    Diff(String, String, Reply<String>),
    Agreement(Reply<String>),
    Audit(Reply<(String, Policy)>),
    Resolve(String, Reply<u32>),
    Setup(Reply<String>),
    Name(String, Reply<()>),
    /// The flows that let somebody administer the box.
    Administration(Reply<Vec<String>>),
    PeerRequest(String, Vec<u8>, Reply<Vec<u8>>),
}

/// The object on the bus.
#[derive(Debug)]
pub struct Service {
    commands: mpsc::Sender<Command>,
    /// Held by an audit: each looks at every file of the box.
    auditing: Mutex<()>,
    /// Held while a password is looked at: one at a time, however many ask.
    administrator: Mutex<Administrator>,
    /// Held while its files are changed.
    ssh: Mutex<Ssh>,
}

impl Service {
    /// An object that hands its calls to `commands`.
    pub fn new(commands: mpsc::Sender<Command>, state: &Path) -> Self {
        let administrator = Mutex::new(Administrator::of(state));
        Self { commands, auditing: Mutex::new(()), administrator, ssh: Mutex::new(Ssh::beside(state)) }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let ending = || Error::Failed("the daemon is ending".into());
        self.commands.send(command(reply)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| Error::Failed(format!("the request cannot be read: {e}")))
}

#[zbus::interface(name = "org.rempart.Control1")]
impl Service {
    async fn status(&self) -> Result<String, Error> {
        self.ask(Command::Status).await
    }
    async fn flows(&self) -> Result<String, Error> {
        self.ask(Command::Flows).await
    }
    async fn connections(&self, limit: u32) -> Result<String, Error> {
        self.ask(|r| Command::Connections(limit, r)).await
    }
    async fn kill(&self, ids: Vec<u32>) -> Result<u32, Error> {
        self.ask(|r| Command::Kill(ids, r)).await
    }
    async fn log(&self, after: u64) -> Result<String, Error> {
        self.ask(|r| Command::Log(after, r)).await
    }
    async fn check(&self, document: String) -> Result<String, Error> {
        self.ask(|r| Command::Check(document, r)).await
    }
    async fn plan(&self, document: String) -> Result<String, Error> {
        self.ask(|r| Command::Plan(document, r)).await
    }
    async fn explain(&self, request: &str) -> Result<String, Error> {
        let request = parse(request)?;
        self.ask(|r| Command::Explain(request, r)).await
    }
    async fn candidate(&self) -> Result<String, Error> {
        self.ask(Command::Candidate).await
    }
    async fn load(&self, document: String) -> Result<(), Error> {
        self.ask(|r| Command::Load(document, r)).await
    }
    async fn commit(&self, request: &str) -> Result<String, Error> {
        let request = parse(request)?;
        self.ask(|r| Command::Commit(request, r)).await
    }
    async fn confirm(&self) -> Result<u32, Error> {
        self.ask(Command::Confirm).await
    }
    async fn revert(&self) -> Result<u32, Error> {
        self.ask(Command::Revert).await
    }
    async fn rollback(&self, revision: u32, request: &str) -> Result<String, Error> {
        let request = parse(request)?;
        self.ask(|r| Command::Rollback(revision, request, r)).await
    }
    async fn history(&self) -> Result<String, Error> {
        self.ask(Command::History).await
    }
    async fn show(&self, revision: u32) -> Result<String, Error> {
        self.ask(|r| Command::Show(revision, r)).await
    }
    async fn diff(&self, from: String, to: String) -> Result<String, Error> {
        self.ask(|r| Command::Diff(from, to, r)).await
    }
    async fn agreement(&self) -> Result<String, Error> {
        self.ask(Command::Agreement).await
    }
    async fn audit(&self, #[zbus(connection)] connection: &Connection) -> Result<String, Error> {
        let Ok(_turn) = self.auditing.try_lock() else {
            return Err(Error::Busy("another audit is under way".into()));
        };
        let (node, policy) = self.ask(Command::Audit).await?;
        // Here and not in the control loop, which must not wait for disks.
        crate::control::json(&crate::audit::audit(&node, policy, connection).await)
    }
    async fn resolve(&self, choice: String) -> Result<u32, Error> {
        self.ask(|r| Command::Resolve(choice, r)).await
    }
    async fn setup(&self) -> Result<String, Error> {
        self.ask(Command::Setup).await
    }
    async fn name(&self, name: String, #[zbus(connection)] connection: &Connection) -> Result<(), Error> {
        self.ask(|r| Command::Name(name, r)).await?;
        // The other programs were started with the name of before.
        for unit in crate::setup::NAMED_UNITS {
            systemd::ask(connection, "RestartUnit", unit).await?;
        }
        Ok(())
    }
    async fn login(&self, password: String) -> Result<(), Error> {
        let password = Secret::new(password.into_bytes());
        self.administrator.lock().await.login(password).await
    }
    async fn set_password(&self, current: String, new: String) -> Result<(), Error> {
        let (current, new) = (Secret::new(current.into_bytes()), Secret::new(new.into_bytes()));
        self.administrator.lock().await.set(current, new).await
    }
    async fn ssh(&self) -> Result<String, Error> {
        let flows = self.ask(Command::Administration).await?;
        crate::control::json(&self.ssh.lock().await.status(flows)?)
    }
    async fn ssh_switch(&self, on: bool, #[zbus(connection)] connection: &Connection) -> Result<(), Error> {
        self.ssh.lock().await.switch(on, connection).await
    }
    async fn ssh_add(&self, key: &str) -> Result<String, Error> {
        self.ssh.lock().await.add(key)
    }
    async fn ssh_remove(&self, fingerprint: &str) -> Result<(), Error> {
        self.ssh.lock().await.remove(fingerprint)
    }
    async fn peer_request(
        &self,
        topic: &str,
        body: &[u8],
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<ByteBuf, Error> {
        // Administrators may use the console; the other node speaks with root's voice, and only `rempart-ha` knows that it is
        // the other node.
        only_root(&header, connection).await?;
        self.ask(|r| Command::PeerRequest(topic.into(), body.into(), r)).await.map(ByteBuf::from)
    }
}
