//! The messages. All numbers big-endian.
//!
//! ```text
//!  Hello  1 │ format │ from 8 │ serial 8 │ knows 8 │ store 16 │ highest 8 │ role 1 │ invitation 4 │ moving 8 │ prepared 8 │
//!         0, or 1 ‖ held 33
//!  Data   2 │ format │ from 8 │ to 8 │ invitation 4 │ number 8 │ highest 8 │ position 8 │ record …
//!  Ack    3 │ format │ from 8 │ to 8 │ invitation 4 │ number 8 │ gap 1
//!
//!  records   1 begin  │ held 33                         fence and position of what follows, and whether it is whole
//!            2 put    │ flags 1 │ key │ length 4 │ bytes
//!            3 remove │ key
//!            4 part   │ flags 1 │ key │ total 4 │ offset 4 │ length 4 │ bytes
//!            5 end
//!  key       kind 1 │ length 1 │ bytes          flags   1: no part of the reign's map so far, from an older one
//!  held      role 8 │ term 8 │ owner 8 │ position 8 │ complete 1
//! ```
//!
//! `from` and `to` are the starts of the two programs, `highest` the highest take-over epoch that the sender has had or heard
//! of, which so comes before any key that was made under it.

use zeroize::Zeroizing;

use super::{Fence, Held, Key, MAX_NAME, Role};

/// The version of these messages.
const FORMAT: u8 = 2;
/// The longest message, in bytes.
pub const MESSAGE: usize = 32 << 10;
/// What a put or a part has beside its bytes, at most.
pub(super) const AROUND: usize = 1 + 1 + 2 + MAX_NAME + 12;
const OLD: u8 = 1;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Message<'a> {
    Hello(Hello),
    Data(Data<'a>),
    Ack(Ack),
}

/// An introduction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hello {
    pub from: u64,
    /// Rises with each introduction of one start of a program: an older one that comes late tells nothing.
    pub serial: u64,
    /// The start of the other program that this one knows of, 0 for none.
    pub knows: u64,
    pub store: [u8; 16],
    pub highest: u64,
    pub role: Role,
    /// The stream that is wanted, 0 for none.
    pub invitation: u32,
    /// The owner's move that is under way, or was; 0 for none.
    pub moving: u64,
    /// The move that the follower is prepared for; 0 for none.
    pub prepared: u64,
    pub held: Option<Held>,
}

/// Which stream a message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stream {
    pub from: u64,
    pub to: u64,
    pub invitation: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Data<'a> {
    pub stream: Stream,
    /// From 1.
    pub number: u64,
    pub highest: u64,
    /// With this message everything up to this change is there.
    pub position: u64,
    records: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ack {
    /// As its sender sees it: `from` acknowledges.
    pub stream: Stream,
    /// Everything up to this message is in the map.
    pub number: u64,
    /// Something later has come.
    pub gap: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record<'a> {
    Begin(Held),
    Put { old: bool, key: Key, bytes: &'a [u8] },
    Remove(Key),
    Part { old: bool, key: Key, total: usize, offset: usize, bytes: &'a [u8] },
    End,
}

impl<'a> Message<'a> {
    /// Reads a message; `None` for whatever is not one, to the last byte.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > MESSAGE {
            return None;
        }
        let mut reader = Reader(bytes);
        let (kind, format) = (reader.u8()?, reader.u8()?);
        if format != FORMAT {
            return None;
        }
        let message = match kind {
            1 => Self::Hello(Hello {
                from: reader.u64()?,
                serial: reader.u64()?,
                knows: reader.u64()?,
                store: reader.array()?,
                highest: reader.u64()?,
                role: Role::from_code(reader.u8()?)?,
                invitation: reader.u32()?,
                moving: reader.u64()?,
                prepared: reader.u64()?,
                held: if reader.flag()? { Some(reader.held()?) } else { None },
            }),
            2 => {
                let stream = reader.stream()?;
                let (number, highest, position) = (reader.u64()?, reader.u64()?, reader.u64()?);
                let data = Data { stream, number, highest, position, records: std::mem::take(&mut reader.0) };
                // Whoever acts on the first record must be sure of the last.
                let mut check = Reader(data.records);
                while !check.0.is_empty() {
                    check.record()?;
                }
                Self::Data(data)
            }
            3 => Self::Ack(Ack { stream: reader.stream()?, number: reader.u64()?, gap: reader.flag()? }),
            _ => return None,
        };
        reader.0.is_empty().then_some(message)
    }
}

impl<'a> Data<'a> {
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let mut reader = Reader(self.records);
        std::iter::from_fn(move || reader.record())
    }
}

impl Hello {
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = vec![1, FORMAT];
        out.extend_from_slice(&self.from.to_be_bytes());
        out.extend_from_slice(&self.serial.to_be_bytes());
        out.extend_from_slice(&self.knows.to_be_bytes());
        out.extend_from_slice(&self.store);
        out.extend_from_slice(&self.highest.to_be_bytes());
        out.push(self.role.code());
        out.extend_from_slice(&self.invitation.to_be_bytes());
        for number in [self.moving, self.prepared] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.push(u8::from(self.held.is_some()));
        if let Some(held) = &self.held {
            put_held(&mut out, held);
        }
        Zeroizing::new(out)
    }
}

impl Ack {
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = vec![3, FORMAT];
        put_stream(&mut out, &self.stream);
        out.extend_from_slice(&self.number.to_be_bytes());
        out.push(u8::from(self.gap));
        Zeroizing::new(out)
    }
}

/// A Data message that is being written. Never grows beyond [`MESSAGE`], so nothing is left behind by a reallocation.
pub(super) struct Writer(Zeroizing<Vec<u8>>);

impl Writer {
    /// Where the position stands, which is known last.
    const POSITION: usize = 2 + 20 + 16;

    pub fn new(stream: &Stream, number: u64, highest: u64) -> Self {
        let mut out = Vec::with_capacity(MESSAGE);
        out.extend_from_slice(&[2, FORMAT]);
        put_stream(&mut out, stream);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&highest.to_be_bytes());
        out.extend_from_slice(&0u64.to_be_bytes());
        Self(Zeroizing::new(out))
    }

    pub fn room(&self) -> usize {
        MESSAGE - self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.len() == Self::POSITION + 8
    }

    pub fn begin(&mut self, held: &Held) {
        self.0.push(1);
        put_held(&mut self.0, held);
    }

    /// Its caller has looked at [`room`](Self::room).
    pub fn put(&mut self, old: bool, key: &Key, bytes: &[u8]) {
        self.0.extend_from_slice(&[2, u8::from(old)]);
        put_key(&mut self.0, key);
        put_length(&mut self.0, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    pub fn remove(&mut self, key: &Key) {
        self.0.push(3);
        put_key(&mut self.0, key);
    }

    pub fn part(&mut self, old: bool, key: &Key, total: usize, offset: usize, bytes: &[u8]) {
        self.0.extend_from_slice(&[4, u8::from(old)]);
        put_key(&mut self.0, key);
        for number in [total, offset, bytes.len()] {
            put_length(&mut self.0, number);
        }
        self.0.extend_from_slice(bytes);
    }

    pub fn end(&mut self) {
        self.0.push(5);
    }

    pub fn finish(mut self, position: u64) -> Zeroizing<Vec<u8>> {
        if let Some(place) = self.0.get_mut(Self::POSITION..Self::POSITION + 8) {
            place.copy_from_slice(&position.to_be_bytes());
        }
        self.0
    }
}

fn put_stream(out: &mut Vec<u8>, stream: &Stream) {
    out.extend_from_slice(&stream.from.to_be_bytes());
    out.extend_from_slice(&stream.to.to_be_bytes());
    out.extend_from_slice(&stream.invitation.to_be_bytes());
}

fn put_held(out: &mut Vec<u8>, held: &Held) {
    let Held { fence: Fence { role, term, owner }, position, complete } = *held;
    for number in [role, term, owner, position] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.push(u8::from(complete));
}

/// The map takes no longer names than fit.
fn put_key(out: &mut Vec<u8>, key: &Key) {
    out.push(key.kind);
    out.push(key.name.len().min(MAX_NAME) as u8);
    out.extend_from_slice(key.name.get(..MAX_NAME).unwrap_or(&key.name));
}

/// The map takes no longer values than fit.
fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn stream(&mut self) -> Option<Stream> {
        Some(Stream { from: self.u64()?, to: self.u64()?, invitation: self.u32()? })
    }

    fn held(&mut self) -> Option<Held> {
        let fence = Fence { role: self.u64()?, term: self.u64()?, owner: self.u64()? };
        Some(Held { fence, position: self.u64()?, complete: self.flag()? })
    }

    fn key(&mut self) -> Option<Key> {
        let (kind, len) = (self.u8()?, self.u8()?);
        Some(Key { kind, name: self.take(len.into())?.to_vec() })
    }

    fn old(&mut self) -> Option<bool> {
        let flags = self.u8()?;
        (flags & !OLD == 0).then_some(flags & OLD != 0)
    }

    fn record(&mut self) -> Option<Record<'a>> {
        Some(match self.u8()? {
            1 => Record::Begin(self.held()?),
            2 => {
                let (old, key, len) = (self.old()?, self.key()?, self.length()?);
                Record::Put { old, key, bytes: self.take(len)? }
            }
            3 => Record::Remove(self.key()?),
            4 => {
                let (old, key) = (self.old()?, self.key()?);
                let (total, offset, len) = (self.length()?, self.length()?, self.length()?);
                Record::Part { old, key, total, offset, bytes: self.take(len)? }
            }
            5 => Record::End,
            _ => return None,
        })
    }
}
