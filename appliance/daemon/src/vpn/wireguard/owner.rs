//! The owner: the role of this node, what both nodes hold of each peer, and the backend that does the rest.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use rempart_config::model::Device;
use rempart_plan::wireguard::WireguardPlan;
use rempart_system::links::Links;
use rempart_wireguard::{Backend, Known, PublicKey};
use zeroize::Zeroizing;

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
    plan: Option<Box<WireguardPlan>>,
    backend: Option<Box<dyn Backend>>,
}

impl Owner {
    pub fn new(secrets: PathBuf, replica: Arc<dyn Replica>, inbox: SyncSender<Input>) -> Self {
        Self { secrets, replica, inbox, active: false, held: HashMap::new(), plan: None, backend: None }
    }

    /// Until it is told to stop.
    pub fn run(mut self, inputs: Receiver<Input>) {
        while let Ok(input) = inputs.recv() {
            match input {
                Input::Configure(plan) => self.configure(plan),
                Input::Active => {
                    if !std::mem::replace(&mut self.active, true) {
                        self.carry();
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
                Input::Known(key, known) => self.know(key, known),
                Input::Status(answer) => {
                    let status = self.backend.as_ref().map(|backend| backend.status());
                    // Who asked may have gone.
                    let _ = answer.try_send(status.unwrap_or_default());
                }
                Input::Stop => return,
            }
        }
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
        let Some(plan) = plan else {
            if self.plan.take().is_some() {
                tracing::info!("WireGuard is switched off");
            }
            self.backend = None;
            return;
        };
        if self.plan.as_ref().is_some_and(|old| old.device != plan.device) {
            self.backend = None;
        }
        if let Err(error) = self.apply(&plan) {
            tracing::error!(%error, "WireGuard is not as the document asks; what could be kept is");
            return;
        }
        if self.active {
            self.forget_strangers(&plan);
        }
        self.plan = Some(plan);
    }

    fn apply(&mut self, plan: &WireguardPlan) -> anyhow::Result<()> {
        let settings = keys::settings(plan, &self.secrets)?;
        let device = Device::new(plan.device.clone());
        if let Some(backend) = &mut self.backend {
            backend.configure(settings)?;
            return self.set_up(&device, plan);
        }
        let mut backend = Box::new(Userspace::open(&device, self.inbox.clone())?);
        backend.configure(settings)?;
        self.set_up(&device, plan)?;
        self.backend = Some(backend);
        tracing::warn!(%device, "WireGuard is switched on: ChaCha20-Poly1305, outside the AES-256 policy");
        if self.active {
            self.carry();
        }
        Ok(())
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
}

fn key_of(bytes: &[u8]) -> Option<PublicKey> {
    bytes.try_into().ok().map(PublicKey)
}
