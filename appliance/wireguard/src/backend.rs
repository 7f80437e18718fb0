//! What carries the tunnels: the engine of this crate in a thread of the VPN program, or a kernel that has the protocol.

use crate::{Known, PeerStatus, PublicKey, Settings, SettingsError};

/// Why a backend does not do what the document asks for.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// It makes no sense.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What it said.
        source: std::io::Error,
    },
}

/// What carries the tunnels of one interface. None of the calls waits for the network.
pub trait Backend: Send {
    /// What it is called where it is shown: `userspace`.
    fn name(&self) -> &'static str;
    /// Takes other settings. Peers that stay keep their sessions.
    fn configure(&mut self, settings: Settings) -> Result<(), BackendError>;
    /// This node carries the tunnels from now on: every peer whose whereabouts are known is asked for a handshake at once,
    /// so that it need not find out that its keys are gone.
    fn carry(&mut self, known: Vec<(PublicKey, Known)>);
    /// This node does not carry them any more: nothing leaves, all keys are forgotten.
    fn rest(&mut self);
    /// How the peers are.
    fn status(&self) -> Vec<PeerStatus>;
}
