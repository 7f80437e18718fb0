//! Control packets, before wrapping and after it. All numbers big-endian.
//!
//! ```text
//!  outside  opcode 5 bits, key id 3 bits │ sender's session id 8 │ wrapping … │ body
//!  body     count 1 │ acknowledged id 4 … │ peer's session id 8, if count > 0 │ message id 4, not in ACK │ TLS bytes
//!  on TCP   length 2 │ packet
//! ```
//!
//! Owns the layout and its bounds. What the bytes mean is for `wrap`, `cookie` and `session`.

use std::fmt;

/// The longest packet of any kind that is looked at, in bytes: a tunnel MTU of 1500 with all headers, and room for a WKc.
pub const MAX_PACKET: usize = 2048;
/// Acknowledgements in one packet (draft "Acknowledgements").
pub const MAX_ACKS: usize = 8;
/// Acknowledgements that travel with a message (draft "Acknowledgements").
pub const MAX_ACKS_WITH_MESSAGE: usize = 4;
/// What stands before the wrapping, in bytes.
pub const HEADER: usize = 9;

/// What is wrong with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// It ends within a field.
    #[error("the packet is too short")]
    Short,
    /// It is longer than any packet of ours.
    #[error("the packet is too long")]
    Long,
    /// The opcode is none of the control channel.
    #[error("opcode {0} is not one of the control channel")]
    Opcode(u8),
    /// More acknowledgements than a packet may hold.
    #[error("{0} acknowledgements in one packet")]
    Acks(u8),
}

/// A session's name, chosen by one side for itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 8]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// Which of the keys of a session: 0 for the first, then 1 to 7 and 1 again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(u8);

impl KeyId {
    /// The key that a session begins with.
    pub const FIRST: Self = Self(0);

    /// From 0 to 7; `None` for anything else.
    pub const fn new(id: u8) -> Option<Self> {
        if id < 8 { Some(Self(id)) } else { None }
    }

    /// From the lower three bits of a packet's first byte.
    pub const fn of_first_byte(byte: u8) -> Self {
        Self(byte & 7)
    }

    /// From 0 to 7.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The one after it: 0 is only for the first key.
    pub const fn next(self) -> Self {
        if self.0 == 7 { Self(1) } else { Self(self.0 + 1) }
    }
}

/// The packets of the control channel (draft "Overview of OPCODEs"). 1 and 2 are dead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Opcode {
    /// 3: new keys for a living session.
    SoftReset,
    /// 4: TLS bytes.
    Control,
    /// 5: acknowledgements only.
    Ack,
    /// 7: a client begins.
    HardResetClientV2,
    /// 8: the server's answer to it.
    HardResetServerV2,
    /// 10: a client begins, and brings its wrapped key.
    HardResetClientV3,
    /// 11: TLS bytes, and the wrapped key again.
    ControlWkc,
}

impl Opcode {
    /// From the upper five bits of a packet's first byte.
    pub const fn new(value: u8) -> Option<Self> {
        match value {
            3 => Some(Self::SoftReset),
            4 => Some(Self::Control),
            5 => Some(Self::Ack),
            7 => Some(Self::HardResetClientV2),
            8 => Some(Self::HardResetServerV2),
            10 => Some(Self::HardResetClientV3),
            11 => Some(Self::ControlWkc),
            0..=2 | 6 | 9 | 12..=u8::MAX => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u8 {
        match self {
            Self::SoftReset => 3,
            Self::Control => 4,
            Self::Ack => 5,
            Self::HardResetClientV2 => 7,
            Self::HardResetServerV2 => 8,
            Self::HardResetClientV3 => 10,
            Self::ControlWkc => 11,
        }
    }

    /// A client's wrapped key follows the packet.
    pub const fn brings_key(self) -> bool {
        matches!(self, Self::HardResetClientV3 | Self::ControlWkc)
    }
}

/// Which part of the server a packet is for, by its first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The control channel.
    Control,
    /// The data channel: DATA_V2, the only form we take.
    Data,
    /// Nobody.
    Unknown,
}

/// Which part of the server a packet is for.
pub fn classify(packet: &[u8]) -> Class {
    match packet.first().map(|byte| byte >> 3) {
        Some(9) => Class::Data,
        Some(value) if Opcode::new(value).is_some() => Class::Control,
        Some(_) | None => Class::Unknown,
    }
}

/// What stands before the wrapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What kind.
    pub opcode: Opcode,
    /// For which key.
    pub key_id: KeyId,
    /// Of the sender.
    pub session: SessionId,
}

impl Header {
    /// Reads it; the rest of the packet comes with it.
    pub fn parse(packet: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        if packet.len() > MAX_PACKET {
            return Err(Malformed::Long);
        }
        let (header, rest) = packet.split_first_chunk::<HEADER>().ok_or(Malformed::Short)?;
        let [first, session @ ..] = *header;
        let opcode = Opcode::new(first >> 3).ok_or(Malformed::Opcode(first >> 3))?;
        Ok((Self { opcode, key_id: KeyId::of_first_byte(first), session: SessionId(session) }, rest))
    }

    /// Its bytes.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (first, session) = bytes.split_at_mut(1);
        first.fill(self.opcode.get() << 3 | self.key_id.get());
        session.copy_from_slice(&self.session.0);
        bytes
    }
}

/// A few message ids.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Acks {
    count: usize,
    ids: [u32; MAX_ACKS],
}

impl Acks {
    /// Adds one; false when there is no room.
    pub fn push(&mut self, id: u32) -> bool {
        let Some(place) = self.ids.get_mut(self.count) else { return false };
        *place = id;
        self.count += 1;
        true
    }

    /// In their order.
    pub fn as_slice(&self) -> &[u32] {
        self.ids.get(..self.count).unwrap_or(&[])
    }
}

impl fmt::Debug for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(f)
    }
}

impl FromIterator<u32> for Acks {
    /// The first [`MAX_ACKS`]; the rest is left.
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut acks = Self::default();
        for id in ids {
            if !acks.push(id) {
                break;
            }
        }
        acks
    }
}

/// What the wrapping protects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body<'a> {
    /// What the sender has received.
    pub acks: Acks,
    /// Whose messages these are; there when there are acknowledgements.
    pub peer: Option<SessionId>,
    /// The number of this message; none in an ACK.
    pub message: Option<u32>,
    /// TLS bytes.
    pub payload: &'a [u8],
}

impl<'a> Body<'a> {
    /// Reads the body of a packet with this opcode.
    pub fn parse(opcode: Opcode, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (&count, mut rest) = bytes.split_first().ok_or(Malformed::Short)?;
        if usize::from(count) > MAX_ACKS {
            return Err(Malformed::Acks(count));
        }
        let mut acks = Acks::default();
        for _ in 0..count {
            acks.push(take_u32(&mut rest)?);
        }
        let peer = match count {
            0 => None,
            1..=u8::MAX => {
                let (peer, after) = rest.split_first_chunk::<8>().ok_or(Malformed::Short)?;
                rest = after;
                Some(SessionId(*peer))
            }
        };
        let message = if opcode == Opcode::Ack { None } else { Some(take_u32(&mut rest)?) };
        Ok(Self { acks, peer, message, payload: rest })
    }

    /// Its bytes. Acknowledgements without a peer are left out, since nobody could tell whose they are.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + 4 * MAX_ACKS + 8 + 4 + self.payload.len());
        match self.peer {
            Some(peer) if !self.acks.as_slice().is_empty() => {
                bytes.push(u8::try_from(self.acks.as_slice().len()).unwrap_or(0));
                for id in self.acks.as_slice() {
                    bytes.extend_from_slice(&id.to_be_bytes());
                }
                bytes.extend_from_slice(&peer.0);
            }
            Some(_) | None => bytes.push(0),
        }
        if let Some(message) = self.message {
            bytes.extend_from_slice(&message.to_be_bytes());
        }
        bytes.extend_from_slice(self.payload);
        bytes
    }
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, Malformed> {
    let (bytes, after) = rest.split_first_chunk::<4>().ok_or(Malformed::Short)?;
    *rest = after;
    Ok(u32::from_be_bytes(*bytes))
}

/// Cuts a TCP stream into packets. Holds one packet at most.
#[derive(Debug, Default)]
pub struct Deframer {
    held: Vec<u8>,
    done: bool,
}

/// A length on a TCP stream that no packet of ours has: the stream cannot be read any further.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a packet of {0} bytes is announced on the stream")]
pub struct BadLength(pub u16);

impl Deframer {
    /// Takes bytes off `input` until a packet is whole. `None`: all of `input` is taken, and more is needed. After an
    /// error the connection must be closed.
    pub fn next<'a>(&'a mut self, input: &mut &[u8]) -> Result<Option<&'a [u8]>, BadLength> {
        if self.done {
            self.held.clear();
            self.done = false;
        }
        loop {
            let wanted = match self.held.split_first_chunk::<2>() {
                None => 2,
                Some((length, _)) => {
                    let length = u16::from_be_bytes(*length);
                    if length == 0 || usize::from(length) > MAX_PACKET {
                        return Err(BadLength(length));
                    }
                    2 + usize::from(length)
                }
            };
            let missing = wanted - self.held.len();
            if missing == 0 {
                break;
            }
            let (taken, rest) = input.split_at(missing.min(input.len()));
            self.held.extend_from_slice(taken);
            *input = rest;
            if taken.len() < missing {
                return Ok(None);
            }
        }
        self.done = true;
        Ok(self.held.get(2..))
    }
}

/// The length that precedes a packet on TCP; `None` if the packet is empty or too long for a stream.
pub fn frame_length(packet: &[u8]) -> Option<[u8; 2]> {
    let length = u16::try_from(packet.len()).ok()?;
    (length != 0 && packet.len() <= MAX_PACKET).then(|| length.to_be_bytes())
}

#[cfg(test)]
#[path = "packet/tests.rs"]
mod tests;
