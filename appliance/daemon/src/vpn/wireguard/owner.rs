//! The owner: the role of this node, what both nodes hold of each peer, and the backend that does the rest.

mod secrets;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{SystemTime, UNIX_EPOCH};

use rempart_config::model::Device;
use rempart_plan::wireguard::WireguardPlan;
use rempart_system::links::Links;
use rempart_wireguard::{Backend, Known, PeerStatus, PublicKey};
use zeroize::Zeroizing;

use super::keys::NoKey;
use super::report::Report;
use super::userspace::Userspace;
use super::{Input, keys};
use crate::vpn::seam::{Kind, Replica};

pub(super) struct Owner {
    secrets: PathBuf,
    replica: Arc<dyn Replica>,
    inbox: SyncSender<Input>,
    active: bool,
    /// What both nodes hold.
    held: HashMap<PublicKey, Known>,
    /// What the document asks for.
    wanted: Option<Box<WireguardPlan>>,
    /// What is in force of it.
    plan: Option<Box<WireguardPlan>>,
    backend: Option<Box<dyn Backend>>,
    public_key: Option<PublicKey>,
    /// Why it is not as the document asks.
    trouble: Option<String>,
    /// Keys have come: what the document asks for is to be looked at again.
    stale: bool,
}

impl Owner {
    pub fn new(secrets: PathBuf, replica: Arc<dyn Replica>, inbox: SyncSender<Input>) -> Self {
        Self {
            secrets,
            replica,
            inbox,
            active: false,
            held: HashMap::new(),
            wanted: None,
            plan: None,
            backend: None,
            public_key: None,
            trouble: None,
            stale: false,
        }
    }

    /// Until it is told to stop. Keys come many at a time, and are looked at when no more wait.
    pub fn run(mut self, inputs: Receiver<Input>) {
        loop {
            let input = match inputs.try_recv() {
                Ok(input) => input,
                Err(TryRecvError::Empty) => {
                    if std::mem::take(&mut self.stale) {
                        self.configure(self.wanted.clone());
                    }
                    let Ok(input) = inputs.recv() else { return };
                    input
                }
                Err(TryRecvError::Disconnected) => return,
            };
            if !self.handle(input) {
                return;
            }
        }
    }

    /// Whether it goes on. Who asked something may have gone meanwhile.
    fn handle(&mut self, input: Input) -> bool {
        match input {
            Input::Configure(plan) => self.configure(plan),
            Input::Active => {
                if !std::mem::replace(&mut self.active, true) {
                    self.carry();
                    self.put_keys();
                }
            }
            Input::Standby => {
                self.active = false;
                self.backend.iter_mut().for_each(|backend| backend.rest());
            }
            Input::Put(key, value) => self.put(&key, &value),
            Input::Removed(key) => {
                if let Some(key) = key_of(&key) {
                    self.held.remove(&key);
                }
            }
            Input::Key(name, value) => self.take_key(&name, &value),
            Input::Known(key, known) => self.know(key, known),
            Input::Report(answer) => drop(answer.try_send(self.report())),
            Input::MakeKey(anew, answer) => drop(answer.try_send(self.make_key(anew))),
            Input::Client(request, answer) => drop(answer.try_send(self.client(&request))),
            Input::Stop => return false,
        }
        true
    }

    /// The other node has found something out.
    fn put(&mut self, key: &[u8], value: &[u8]) {
        match (key_of(key), Known::decode(value)) {
            (Some(key), Ok(known)) if !self.active => drop(self.held.insert(key, known)),
            // What it found out before it knew that it is no longer the active one.
            (Some(_), Ok(_)) => {}
            (_, Err(_)) | (None, Ok(_)) => {
                tracing::warn!(
                    "the other node holds a WireGuard peer in a way that this version cannot read"
                );
            }
        }
    }

    /// This node has found something out.
    fn know(&mut self, key: PublicKey, known: Known) {
        // It may have waited while the role moved.
        if self.active && self.held.insert(key, known) != Some(known) {
            self.replica.put(Kind::Wireguard, &key.0, Zeroizing::new(known.encode()));
        }
    }

    fn carry(&mut self) {
        let held: Vec<_> = self.held.iter().map(|(key, known)| (*key, *known)).collect();
        if let Some(backend) = &mut self.backend {
            tracing::info!(
                peers = held.iter().filter(|(_, known)| known.path.is_some()).count(),
                "WireGuard: asking peers for handshakes"
            );
            backend.carry(held);
        }
    }

    /// Takes another plan. What cannot be done leaves the old one in force.
    fn configure(&mut self, plan: Option<Box<WireguardPlan>>) {
        self.wanted = plan.clone();
        self.stale = false;
        let Some(plan) = plan else {
            if self.plan.take().is_some() {
                tracing::info!("WireGuard is switched off");
            }
            (self.backend, self.public_key, self.trouble) = (None, None, None);
            return;
        };
        if self.plan.as_ref().is_some_and(|old| old.device != plan.device) {
            self.backend = None;
        }
        match self.apply(&plan) {
            Ok(missing) => {
                self.trouble = missing.first().map(|first| match missing.len() {
                    1 => format!("{first}: this peer is left out"),
                    count => format!("{first}: {count} peers are left out, this one and others"),
                });
                if let Some(trouble) = &self.trouble {
                    tracing::error!(trouble, "not every peer of WireGuard is there");
                }
            }
            Err(error) => {
                tracing::error!(%error, "WireGuard is not as the document asks; what could be kept is");
                self.trouble = Some(error.to_string());
                return;
            }
        }
        if self.active {
            self.forget_strangers(&plan);
        }
        self.plan = Some(plan);
        if self.active {
            self.put_keys();
        }
    }

    fn apply(&mut self, plan: &WireguardPlan) -> anyhow::Result<Vec<NoKey>> {
        self.public_key = keys::read(&self.secrets, &plan.private_key).ok().map(|key| key.public());
        let (settings, missing) = keys::settings(plan, &self.secrets)?;
        let device = Device::new(plan.device.clone());
        if let Some(backend) = &mut self.backend {
            backend.configure(settings)?;
            self.set_up(&device, plan)?;
            return Ok(missing);
        }
        let mut backend = Box::new(Userspace::open(&device, self.inbox.clone())?);
        backend.configure(settings)?;
        self.set_up(&device, plan)?;
        self.backend = Some(backend);
        tracing::warn!(%device, "WireGuard is switched on: ChaCha20-Poly1305, outside the AES-256 policy");
        if self.active {
            self.carry();
        }
        Ok(missing)
    }

    /// The addresses of the device, and what else lies behind it.
    fn set_up(&self, device: &Device, plan: &WireguardPlan) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let before = self.plan.as_ref().filter(|old| old.device == plan.device);
        let before = before.filter(|_| self.backend.is_some()).map_or(&[][..], |old| &old.routes);
        runtime.block_on(async {
            let links = Links::new()?;
            links.set_up_inner(device, plan.mtu.into(), &plan.addresses).await?;
            for net in before.iter().filter(|net| !plan.routes.contains(net)) {
                links.route_inner(device, *net, false).await?;
            }
            for net in &plan.routes {
                links.route_inner(device, *net, true).await?;
            }
            Ok(())
        })
    }

    /// Of those who are no peers any more nothing is held.
    fn forget_strangers(&mut self, plan: &WireguardPlan) {
        let is_peer = |key: &PublicKey| plan.peers.iter().any(|peer| peer.public_key == key.0);
        let gone: Vec<PublicKey> = self.held.keys().filter(|key| !is_peer(key)).copied().collect();
        for key in gone {
            self.held.remove(&key);
            self.replica.remove(Kind::Wireguard, &key.0);
        }
    }

    fn report(&self) -> Report {
        let backend = self.backend.as_ref();
        let carried = backend.filter(|_| self.active).map(|backend| backend.status());
        Report {
            active: self.active,
            backend: backend.map(|backend| backend.name()),
            public_key: self.public_key,
            trouble: self.trouble.clone(),
            peers: carried.unwrap_or_else(|| self.told()),
            plan: self.wanted.clone(),
        }
    }

    /// The peers, by what the other node has told of them.
    fn told(&self) -> Vec<PeerStatus> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let peers = self.plan.iter().flat_map(|plan| &plan.peers);
        let status = peers.map(|peer| {
            let public_key = PublicKey(peer.public_key);
            let known = self.held.get(&public_key).copied().unwrap_or_default();
            PeerStatus {
                name: peer.name.clone(),
                public_key,
                endpoint: known.path.map(|path| path.remote).or(peer.endpoint),
                handshake: (!known.handshake.is_zero()).then(|| now.saturating_sub(known.handshake)),
                received: 0,
                sent: 0,
            }
        });
        status.collect()
    }
}

fn key_of(bytes: &[u8]) -> Option<PublicKey> {
    bytes.try_into().ok().map(PublicKey)
}
