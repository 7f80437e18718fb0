//! TLS over reliable messages, for one key. Messages of the server leave one at a time: the next one when everything before
//! was acknowledged, because OpenVPN 3 was seen to lose one of several that arrived together (study §2.5).

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::{ServerConfig, ServerConnection};
use zeroize::Zeroizing;

use crate::key_exchange::{ClientMessage, DataKeys, Features, Invalid, MAX_CLIENT_MESSAGE, Randoms};
use crate::packet::{KeyId, Opcode};
use crate::reliable::{Message, Reliable};
use crate::token::Claims;

/// TLS bytes in one packet: with all that goes around them it stays below 1250 bytes, stock clients' `max-packet-size`.
const MAX_PAYLOAD: usize = 1100;
/// TLS bytes that wait: the certificates of a handshake, or one message. More has no reason.
const MAX_TLS_OUT: usize = 128 * 1024;
/// Messages that wait: a long PUSH_REPLY.
const MAX_QUEUE: usize = 64;
/// What a client may have sent and not ended.
const MAX_PLAIN: usize = MAX_CLIENT_MESSAGE + 4096;

/// How far a key is.
pub(super) enum Stage {
    /// TLS and the client's message are awaited.
    Negotiating,
    /// The driver was asked.
    Deciding(Box<Asked>),
    /// Accepted; the other node must know before the client does.
    Replicating(Box<Asked>, u64),
    /// In use, or used before.
    Active,
    /// The login was refused.
    Refused,
}

/// What the driver's verdict is about.
pub(super) struct Asked {
    pub server: Randoms,
    pub keys: DataKeys,
    pub features: Features,
    pub user: String,
    pub certificate: Option<[u8; 32]>,
    pub token: Option<Claims>,
    /// The server's message has left.
    pub replied: bool,
    /// A question was asked.
    pub question: bool,
}

/// What a peer has done that ends its TLS session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("the client sends more than a message can be")]
    TooMuch,
}

pub(super) struct KeyState {
    pub id: KeyId,
    pub reliable: Reliable,
    pub tls: ServerConnection,
    pub stage: Stage,
    /// The client has sent something for this key.
    pub answered: bool,
    /// The client has asked for its PUSH_REPLY.
    pub push_wanted: bool,
    decide_by: Instant,
    tls_out: Vec<u8>,
    plain: Zeroizing<Vec<u8>>,
    queue: VecDeque<Zeroizing<Vec<u8>>>,
}

impl KeyState {
    /// `first` is the number of the first message in both directions.
    pub fn new(
        id: KeyId,
        first: u32,
        config: &Arc<ServerConfig>,
        decide_by: Instant,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            id,
            reliable: Reliable::new(first),
            tls: ServerConnection::new(config.clone())?,
            stage: Stage::Negotiating,
            answered: false,
            push_wanted: false,
            decide_by,
            tls_out: Vec::new(),
            plain: Zeroizing::new(Vec::new()),
            queue: VecDeque::new(),
        })
    }

    /// Until when it must be decided.
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Negotiating | Stage::Deciding(_) | Stage::Replicating(..) => Some(self.decide_by),
            Stage::Active | Stage::Refused => None,
        }
    }

    /// Someone is asked, and that takes its time.
    pub fn extend(&mut self, decide_by: Instant) {
        self.decide_by = self.decide_by.max(decide_by);
    }

    /// Nothing waits, and everything was acknowledged.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && self.is_quiet()
    }

    fn is_quiet(&self) -> bool {
        self.tls_out.is_empty() && !self.tls.wants_write() && self.reliable.is_idle()
    }

    /// From messages to TLS to plain bytes.
    pub fn pump(&mut self) -> Result<(), Broken> {
        while let Some(Message { opcode, payload }) = self.reliable.receive() {
            match opcode {
                Opcode::Control | Opcode::ControlWkc => self.feed(&payload)?,
                // They have no TLS bytes. By opcode, not by number: OpenVPN 3 begins a key with CONTROL as its message 0
                // (study §1.1).
                Opcode::SoftReset
                | Opcode::HardResetClientV2
                | Opcode::HardResetClientV3
                | Opcode::HardResetServerV2
                | Opcode::Ack => {}
            }
        }
        Ok(())
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while !bytes.is_empty() {
            if self.tls.read_tls(&mut bytes)? == 0 {
                return Err(Broken::TooMuch);
            }
            let available = self.tls.process_new_packets()?.plaintext_bytes_to_read();
            if self.plain.len() + available > MAX_PLAIN {
                return Err(Broken::TooMuch);
            }
            let start = self.plain.len();
            self.plain.resize(start + available, 0);
            self.tls.reader().read_exact(self.plain.get_mut(start..).unwrap_or(&mut []))?;
        }
        Ok(())
    }

    /// The client's key exchange, once it is whole.
    pub fn take_client_message(&mut self) -> Result<Option<ClientMessage>, Invalid> {
        if self.plain.is_empty() {
            return Ok(None);
        }
        let Some((message, length)) = ClientMessage::parse(&self.plain)? else { return Ok(None) };
        self.plain.drain(..length);
        Ok(Some(message))
    }

    /// The next text message, without its NUL.
    pub fn take_message(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let end = self.plain.iter().position(|byte| *byte == 0)?;
        let message = Zeroizing::new(self.plain.drain(..=end).take(end).collect::<Vec<u8>>());
        Some(message)
    }

    /// A message for the client, when those before it have arrived.
    pub fn say(&mut self, message: Zeroizing<Vec<u8>>) {
        if self.queue.len() < MAX_QUEUE {
            self.queue.push_back(message);
        }
    }

    /// From the queue to TLS to messages, as far as there is room.
    pub fn flush(&mut self) {
        if self.is_quiet()
            && !self.tls.is_handshaking()
            && let Some(message) = self.queue.pop_front()
        {
            // One record for each message (draft "Control message framing"). It goes to memory, which does not fail.
            let _ = self.tls.writer().write_all(&message);
        }
        while self.tls.wants_write() && self.tls_out.len() < MAX_TLS_OUT {
            if self.tls.write_tls(&mut self.tls_out).is_err() {
                break;
            }
        }
        while self.reliable.can_send() && !self.tls_out.is_empty() {
            let length = self.tls_out.len().min(MAX_PAYLOAD);
            let payload = self.tls_out.drain(..length).collect();
            if self.reliable.send(Message { opcode: Opcode::Control, payload }).is_err() {
                break;
            }
        }
    }
}
