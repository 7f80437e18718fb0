//! Keys that are the same on both nodes: made here, handed over, taken; and what clients are given of them.

use std::io::ErrorKind;

use rempart_bus::Error;
use rempart_bus::codes::RefusalCode;
use rempart_bus::vpn::{WireguardClient, WireguardClientRequest, WireguardKey};
use rempart_plan::wireguard::WireguardPlan;
use rempart_wireguard::Secret;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::Owner;
use crate::vpn::seam::Kind;
use crate::vpn::wireguard::client;
use crate::vpn::wireguard::keys::{self, NoKey};

impl Owner {
    /// The other node gets the keys that are in force here.
    pub(super) fn put_keys(&self) {
        let Some(plan) = &self.plan else { return };
        for name in keys::names(plan) {
            if let Ok(key) = keys::read(&self.secrets, name) {
                self.hand_over(name, &key);
            }
        }
    }

    fn hand_over(&self, name: &str, key: &Secret) {
        let value = Zeroizing::new(key.bytes().to_vec());
        self.replica.put(Kind::WireguardKey, name.as_bytes(), value);
    }

    /// A key of the other node. The active node's stands; what it lacks it takes all the same.
    pub(super) fn take_key(&mut self, name: &[u8], value: &Zeroizing<Vec<u8>>) {
        let bytes = <[u8; 32]>::try_from(value.as_slice()).map(Zeroizing::new);
        let (Ok(name), Ok(bytes)) = (std::str::from_utf8(name), bytes) else {
            tracing::warn!("the other node holds a key of WireGuard in a way that this version cannot read");
            return;
        };
        let theirs = Secret::new(*bytes);
        match keys::read(&self.secrets, name) {
            Ok(ours) if ours == theirs => {}
            Ok(ours) if self.active => self.hand_over(name, &ours),
            // Something else has the name: a password of another server is not to be lost.
            Err(NoKey::Malformed(_)) => {
                tracing::error!(
                    name,
                    "the other node has a key of WireGuard where this node has something else"
                );
            }
            Ok(_) | Err(NoKey::Read { .. }) => match keys::write(&self.secrets, name, &theirs) {
                Ok(()) => {
                    tracing::info!(name, "a key of WireGuard came from the other node");
                    self.stale = true;
                }
                Err(error) => tracing::error!(name, %error, "a key of WireGuard cannot be kept"),
            },
        }
    }

    /// Makes a key, keeps it under this name and hands it to the other node.
    fn make(&mut self, name: &str, private: bool) -> Result<Secret, Error> {
        let random = random()?;
        let key = if private { Secret::private(random) } else { Secret::new(*random) };
        keys::write(&self.secrets, name, &key).map_err(|error| Error::Failed(error.to_string()))?;
        self.hand_over(name, &key);
        Ok(key)
    }

    /// What the document asks for, where this node may make anything of it.
    fn managed(&self) -> Result<Box<WireguardPlan>, Error> {
        let plan = self.wanted.clone();
        let plan =
            plan.ok_or_else(|| RefusalCode::WireguardOff.error("the document does not switch WireGuard on"))?;
        if !self.active {
            return Err(RefusalCode::VpnStandby.error("keys are made on the active node"));
        }
        Ok(plan)
    }

    /// The gateway's key: what is there, unless another one is asked for.
    pub(super) fn make_key(&mut self, anew: bool) -> Result<WireguardKey, Error> {
        let plan = self.managed()?;
        match keys::read(&self.secrets, &plan.private_key) {
            Ok(key) if !anew => {
                return Ok(WireguardKey { public_key: key.public().to_string(), made: false });
            }
            Err(error @ NoKey::Malformed(_)) if !anew => return Err(Error::Failed(error.to_string())),
            Ok(_) | Err(NoKey::Malformed(_) | NoKey::Read { .. }) => {}
        }
        let key = self.make(&plan.private_key, true)?;
        let public_key = key.public().to_string();
        tracing::info!(public_key, "a key of WireGuard was made");
        self.configure(Some(plan));
        Ok(WireguardKey { public_key, made: true })
    }

    /// A client's key and configuration. A key that both share is the gateway's too: it is kept.
    pub(super) fn client(&mut self, request: &WireguardClientRequest) -> Result<WireguardClient, Error> {
        let plan = self.managed()?;
        let gateway = keys::read(&self.secrets, &plan.private_key);
        let gateway = gateway.map_err(|error| RefusalCode::NoWireguardKey.error(error))?.public();
        let peer = client::peer_name(request)?;
        let known = plan.peers.iter().find(|known| known.name == peer);
        let named = known.and_then(|known| known.preshared_key.clone());
        let named = named.or_else(|| request.preshared.then(|| format!("wireguard-{peer}")));
        let key = Secret::private(random()?);
        let trial = client::Parts { plan: &plan, gateway, key: &key, preshared: None };
        let made = client::make(&trial, request)?;
        let Some(name) = named else { return Ok(made) };
        let shared = match keys::read(&self.secrets, &name) {
            Ok(shared) => shared,
            Err(NoKey::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
                self.stale = true;
                self.make(&name, false)?
            }
            Err(error) => return Err(Error::Failed(error.to_string())),
        };
        client::make(&client::Parts { preshared: Some((&name, &shared)), ..trial }, request)
    }
}

fn random() -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut random = Zeroizing::new([0; 32]);
    let filled = SystemRandom::new().fill(random.as_mut_slice());
    filled.map_err(|_| Error::Failed("the machine gives no random bytes".to_owned()))?;
    Ok(random)
}
