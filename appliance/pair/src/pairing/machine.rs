//! What the two machines of pairing have in common. The driver hands over what comes from the other side, the disk and the clock, and
//! drains [`Output`]s; there is one connection at a time.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::exchange::{Sealed, Seed};
use super::message::{Grant, Inner, Introduction, Malformed, Message};
use super::{MAX_CONNECTIONS, MAX_TRIES, OFFER, VERSION};

/// What one side tells of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// The name of the node, in the document and on its command line.
    pub node: String,
    /// Version of the product.
    pub product: String,
    /// The public key of its peer channel, as `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) in DER.
    pub key: Vec<u8>,
}

/// What the two have agreed on.
#[derive(Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The other side.
    pub peer: Person,
    /// The place of this node among the two: 0 or 1.
    pub place: u8,
    /// The secret of the pair, the same on both sides.
    pub secret: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Agreed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agreed").field("peer", &self.peer.node).finish_non_exhaustive()
    }
}

/// Why there is no pair.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// The other side does not have this code.
    #[error("the code is wrong: read it again on the other console")]
    WrongCode,
    /// Three wrong codes.
    #[error(
        "{MAX_TRIES} wrong codes were tried, so the offer is over; if it was not you who typed them, somebody else is on this cable"
    )]
    TooManyTries,
    /// Connections that came to nothing.
    #[error(
        "{MAX_CONNECTIONS} connections came to nothing, so the offer is over; somebody else may be on this cable"
    )]
    TooManyConnections,
    /// Nobody took the offer up in time.
    #[error("nobody typed the code within {} minutes; offer again", OFFER.as_secs() / 60)]
    Expired,
    /// A person ended it.
    #[error("it was cancelled")]
    Cancelled,
    /// The offer on the other side is not there any more.
    #[error("the other node's offer is over; offer again there")]
    Over,
    /// The other product speaks another version of pairing.
    #[error("the other node's product has another version of pairing; update the older one first")]
    Version,
    /// The joining box is called otherwise than the document of the offering one says.
    #[error(
        "the joining node is called {found}, but the document of the offering one calls its peer {expected}; change one of the two"
    )]
    Name {
        /// In the document.
        expected: String,
        /// On the command line of the joining node.
        found: String,
    },
    /// What came cannot be read, or was changed on the way.
    #[error("the other side sent what no Rempart sends")]
    Malformed,
    /// The connection ended, or time did.
    #[error("the connection to the other node broke off; offer and join again")]
    Interrupted,
    /// Our disk.
    #[error("the keys could not be stored here; see the log")]
    Storage,
    /// Their disk.
    #[error("the keys could not be stored on the other node; see its log")]
    PeerStorage,
}

/// What the driver is to do.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are two or three of them at a time")]
pub enum Output {
    /// Send this on the connection.
    Send(Vec<u8>),
    /// End the connection, after what was sent has left.
    Close,
    /// Somebody tried a wrong code; so many tries are left.
    Wrong {
        /// Left of [`MAX_TRIES`].
        left: u8,
    },
    /// Store this, with fsync, and say whether it worked ([`Offer::stored`], [`Join::stored`]).
    Store(Box<Agreed>),
    /// Both sides have stored. The connection stays open: what else the joining box needs may travel on it.
    Paired(Box<Agreed>, Sealed),
    /// It is over without a pair.
    Failed(Failure),
}

/// What happens to a machine.
pub(super) enum Event {
    /// A connection was opened.
    Opened(Seed),
    /// A message came.
    Received(Result<Message, Malformed>),
    /// The connection has ended.
    Closed,
    /// What was to be stored is, or is not.
    Stored(bool),
    /// Time has passed.
    Timeout,
    /// A person ends it.
    Cancel,
}

pub(super) fn open(sealed: &mut Sealed, record: Vec<u8>) -> Option<Inner> {
    sealed.open(record).ok().and_then(|plain| Inner::decode(&plain).ok())
}

pub(super) fn push_sealed(out: &mut VecDeque<Output>, sealed: &mut Sealed, inner: &Inner) {
    // A record of ours is short and the counter is at its beginning: sealing cannot fail. Were it to, the other side
    // waits in vain and the exchange ends by its time limit.
    if let Ok(record) = sealed.seal(&inner.encode()) {
        out.push_back(Output::Send(Message::Sealed(record).encode()));
    }
}

pub(super) fn introduction(own: &Person, grant: Option<Grant>) -> Inner {
    let Person { node, product, key } = own.clone();
    Inner::Introduction(Introduction { protocol: u16::from(VERSION), product, node, key, grant })
}
