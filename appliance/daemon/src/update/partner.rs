//! The other node: what the two `rempart-update` ask each other, over the peer channel of `rempart-ha`.
//!
//! ```text
//!   request: an [`Ask`] as JSON          answer: 1 ‖ what was asked for, or 0 ‖ why not, for a person
//! ```
//!
//! A node gives away the version that it runs, or that it has ready, out of its slots: the signed head, and behind it the
//! parts, piece by piece. So no update file has to be kept, and what comes is verified like any other.

use std::io::{self, Read};

use rempart_bus::Ha1Proxy;
use rempart_bus::update::{PEER_TOPIC, PIECE_BYTES_MAX};
use rempart_system::slots::RootHash;
use rempart_update::pair::View;
use rempart_update::{Head, Part, Version};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use zbus::Connection;
use zbus::proxy::CacheProperties;

use crate::own::Own;

/// The longest request.
pub const ASK_BYTES_MAX: usize = 1024;
const REFUSED: u8 = 0;
const GRANTED: u8 = 1;

/// What one node asks the other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// A [`View`] as JSON.
    View,
    /// Take this version from the one who asks.
    Fetch {
        /// Which.
        version: Version,
    },
    /// Give the role away.
    HandOver,
    /// Start the version in the other slot.
    Restart,
    /// Bytes of a version, as its update file has them: some, or none at the end.
    Piece {
        /// Which.
        version: Version,
        /// From where.
        at: u64,
    },
}

/// The answer as it travels.
pub fn answer(result: Result<Vec<u8>, String>) -> Vec<u8> {
    let (first, mut body) = match result {
        Ok(body) => (GRANTED, body),
        Err(why) => (REFUSED, why.into_bytes()),
    };
    body.insert(0, first);
    body
}

/// Asks the other node.
pub async fn ask(bus: &Connection, ask: &Ask) -> Result<Vec<u8>, String> {
    let body = serde_json::to_vec(ask).map_err(|e| e.to_string())?;
    let proxy = Ha1Proxy::builder(bus).cache_properties(CacheProperties::No).build().await;
    let proxy = proxy.map_err(|e| e.to_string())?;
    let answer = proxy.request(PEER_TOPIC, &body).await.map_err(|e| e.to_string())?;
    match answer.split_first() {
        Some((&GRANTED, body)) if body.len() <= PIECE_BYTES_MAX => Ok(body.to_vec()),
        Some((&REFUSED, why)) => {
            Err(String::from_utf8_lossy(why.get(..why.len().min(1024)).unwrap_or_default()).into())
        }
        Some(_) | None => Err("the other node's answer cannot be read".into()),
    }
}

/// How the other node is.
pub async fn view(bus: &Connection) -> Result<View, String> {
    serde_json::from_slice(&ask(bus, &Ask::View).await?).map_err(|e| e.to_string())
}

/// A version that the other node has, from the beginning of its head to the end of its parts. For a thread that may wait.
pub struct Remote {
    bus: Connection,
    runtime: Handle,
    version: Version,
    at: u64,
    piece: io::Cursor<Vec<u8>>,
}

impl Remote {
    /// Nothing is asked yet.
    pub fn new(bus: Connection, runtime: Handle, version: Version) -> Self {
        Self { bus, runtime, version, at: 0, piece: io::Cursor::default() }
    }
}

impl Read for Remote {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.read(bytes)?;
        if count > 0 || bytes.is_empty() {
            return Ok(count);
        }
        let asked = Ask::Piece { version: self.version.clone(), at: self.at };
        let piece = self.runtime.block_on(ask(&self.bus, &asked)).map_err(io::Error::other)?;
        self.at += piece.len() as u64;
        self.piece = io::Cursor::new(piece);
        self.piece.read(bytes)
    }
}

/// A piece of a version that this node has.
pub fn piece(own: &Own, version: &Version, at: u64) -> Result<Vec<u8>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let esp = own.esp();
    let head =
        esp.head(version).map_err(|e| said(&e))?.ok_or_else(|| format!("version {version} is not here"))?;
    let head = Head::read(&head).map_err(|e| said(&e))?.ok_or("the head of the version is cut short")?;
    let manifest = head.verify(&own.keys).map_err(|e| said(&e))?;
    let head = manifest.head();
    let mut begin = head.len() as u64;
    if let Some(rest) = usize::try_from(at).ok().and_then(|at| head.get(at..)).filter(|rest| !rest.is_empty())
    {
        return Ok(rest.to_vec());
    }
    for part in Part::ALL {
        let end = begin + manifest.description().part(part).bytes;
        if at < end {
            let from = at.saturating_sub(begin);
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_BYTES_MAX);
            let mut bytes = vec![0; length];
            match part {
                Part::Root | Part::Tree => {
                    let mut slots = own.slots().map_err(|e| said(&e))?;
                    let hash = RootHash::new(manifest.description().root_hash);
                    let slot = slots.find(hash).ok_or_else(|| format!("version {version} is in no slot"))?;
                    slots.read(slot, part == Part::Tree, from, &mut bytes).map_err(|e| said(&e))?;
                }
                Part::Kernel | Part::Entry => {
                    esp.read(version, part == Part::Entry, from, &mut bytes).map_err(|e| said(&e))?;
                }
            }
            return Ok(bytes);
        }
        begin = end;
    }
    Ok(Vec::new())
}
