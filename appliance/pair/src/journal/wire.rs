//! The journal's messages, before sealing. All numbers big-endian.
//!
//! ```text
//!  Ask     1 │ format │ stream 8 │ token 4                               sender: report, please
//!  Offer   2 │ format │ stream 8 │ incarnation 8 │ invitation 4          sender: take this stream up
//!  Data    3 │ format │ stream 8 │ sequence 8 │ urgent 1 │ record …      sender
//!  Report  4 │ format │ incarnation 8 │ invitation 4 │ stream 8 │ written 8 │ entries 8 │ window 2 │ flags 1
//!            │ verdict: 0 or 1 equal ‖ token 4 or 2 differs ‖ token 4 ‖ buckets 512
//!            │ asked 4 │ length 1 ‖ received: a bit for each sequence number from written + 1 on   receiver
//!
//!  records   1 put     │ key 16 │ length 2 │ bytes      2 replace (the same, for another entry with the same key)
//!            3 remove  │ key 16 │ length 2 │ bytes      none: whoever sent it knows no more than the key
//!            4 summary │ token 4 │ summary 8 │ entries 8
//!            5 digests │ token 4 │ first 2 │ count 2 │ digest 8 …
//!            6 open    │ token 4 │ buckets 512          what follows is everything that these buckets hold
//!            7 close   │ token 4
//! ```

use super::table::Buckets;
use super::{BUCKETS, Key, MAX_ENTRY, MAX_PLAINTEXT};

/// The version of these messages.
pub const FORMAT: u8 = 2;
/// Datagrams that may be under way: at 12 entries each and 1 ms there and back, ten million in a second; 1.4 MB.
pub const WINDOW: usize = 1024;
/// What a Data message has before its records, in bytes.
pub(super) const DATA_HEADER: usize = 19;
/// What a put, replace or remove has before its bytes.
pub(super) const CHANGE_HEADER: usize = 19;
/// Digests in one record, so that it fits a datagram of its own.
pub(super) const DIGESTS_PER_RECORD: usize = 160;

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message<'a> {
    /// Sender: report, please.
    Ask {
        /// The stream that it sends, 0 for none.
        stream: u64,
        /// To be repeated in the report: whatever was sent before this and is not in the report is lost.
        token: u32,
    },
    /// Sender: take this stream up.
    Offer {
        /// The stream.
        stream: u64,
        /// Whom it is offered to.
        incarnation: u64,
        /// To which invitation.
        invitation: u32,
    },
    /// Sender: changes.
    Data(Data<'a>),
    /// Receiver: how far it is.
    Report(Report<'a>),
}

/// Changes, and what else must keep its place between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data<'a> {
    /// The stream.
    pub stream: u64,
    /// The number of this datagram in it, from 1.
    pub sequence: u64,
    /// To be acknowledged at once.
    pub urgent: bool,
    records: &'a [u8],
}

/// What a receiver tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report<'a> {
    /// Random at its start.
    pub incarnation: u64,
    /// Counts up with each stream taken up.
    pub invitation: u32,
    /// The stream that it takes, 0 for none.
    pub stream: u64,
    /// Everything up to this sequence number is in the kernel.
    pub written: u64,
    /// Entries in its table.
    pub entries: u64,
    /// How many datagrams beyond `written` it takes.
    pub window: u16,
    /// It has read what its kernel holds.
    pub ready: bool,
    /// It has reason to think that the tables differ.
    pub doubtful: bool,
    /// What came of the last comparison.
    pub verdict: Verdict,
    /// The token of the last question in this stream, 0 for none.
    pub asked: u32,
    /// A bit for each sequence number from `written + 1` on, the lowest first.
    pub received: &'a [u8],
}

/// What came of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Verdict {
    /// None was made, or a repair has followed.
    #[default]
    None,
    /// The tables were equal.
    Equal {
        /// Which comparison.
        token: u32,
    },
    /// They were not. After a summary no bucket is named.
    Differ {
        /// Which comparison.
        token: u32,
        /// Where.
        buckets: Box<Buckets>,
    },
}

/// One record of a Data message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// An entry is new or has changed.
    Put {
        /// Which.
        key: &'a Key,
        /// Another one had the same key before.
        replace: bool,
        /// The entry.
        bytes: &'a [u8],
    },
    /// An entry is gone.
    Remove {
        /// Which.
        key: &'a Key,
        /// By what the kernel knows it; empty when the sender knows only the key.
        bytes: &'a [u8],
    },
    /// What one number the sender's digests give at this place.
    Summary {
        /// Which comparison.
        token: u32,
        /// The number.
        summary: u64,
        /// Entries in its table.
        entries: u64,
    },
    /// Some of the sender's digests at this place. All of them follow each other, with nothing between them.
    Digests {
        /// Which comparison.
        token: u32,
        /// The bucket of the first.
        first: u16,
        /// Eight bytes each.
        digests: &'a [[u8; 8]],
    },
    /// Everything follows that these buckets hold.
    Open {
        /// Which repair.
        token: u32,
        /// Where.
        buckets: &'a [u8; Buckets::BYTES],
    },
    /// That was it.
    Close {
        /// Which repair.
        token: u32,
    },
}

impl<'a> Message<'a> {
    /// Reads a message; `None` for whatever is not one, to the last byte.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (kind, format) = (reader.u8()?, reader.u8()?);
        if format != FORMAT {
            return None;
        }
        let message = match kind {
            1 => Self::Ask { stream: reader.u64()?, token: reader.u32()? },
            2 => Self::Offer { stream: reader.u64()?, incarnation: reader.u64()?, invitation: reader.u32()? },
            3 => {
                let (stream, sequence, urgent) = (reader.u64()?, reader.u64()?, reader.flag()?);
                let data = Data { stream, sequence, urgent, records: std::mem::take(&mut reader.0) };
                // Whoever acts on the first record must be sure of the last.
                let mut check = Reader(data.records);
                while !check.0.is_empty() {
                    check.record()?;
                }
                Self::Data(data)
            }
            4 => Self::Report(Report::decode(&mut reader)?),
            _ => return None,
        };
        (reader.0.is_empty() && bytes.len() <= MAX_PLAINTEXT).then_some(message)
    }

    /// Appends the message; what is left out of a Data message are its records, which [`Record::encode`] appends.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ask { stream, token } => {
                out.extend_from_slice(&[1, FORMAT]);
                out.extend_from_slice(&stream.to_be_bytes());
                out.extend_from_slice(&token.to_be_bytes());
            }
            Self::Offer { stream, incarnation, invitation } => {
                out.extend_from_slice(&[2, FORMAT]);
                out.extend_from_slice(&stream.to_be_bytes());
                out.extend_from_slice(&incarnation.to_be_bytes());
                out.extend_from_slice(&invitation.to_be_bytes());
            }
            Self::Data(data) => {
                out.extend_from_slice(&[3, FORMAT]);
                out.extend_from_slice(&data.stream.to_be_bytes());
                out.extend_from_slice(&data.sequence.to_be_bytes());
                out.push(u8::from(data.urgent));
            }
            Self::Report(report) => report.encode(out),
        }
    }
}

impl<'a> Data<'a> {
    pub(super) fn header(stream: u64, sequence: u64, urgent: bool) -> Self {
        Self { stream, sequence, urgent, records: &[] }
    }

    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> {
        let mut reader = Reader(self.records);
        std::iter::from_fn(move || reader.record())
    }
}

impl<'a> Report<'a> {
    /// Whether the datagram `sequence` has come, or everything up to it.
    pub fn has(&self, sequence: u64) -> bool {
        let Some(ahead) = sequence.checked_sub(self.written).and_then(|ahead| ahead.checked_sub(1)) else {
            return true;
        };
        let place = usize::try_from(ahead / 8).unwrap_or(usize::MAX);
        self.received.get(place).is_some_and(|byte| byte >> (ahead % 8) & 1 == 1)
    }

    /// The highest sequence number that has come.
    pub fn highest(&self) -> u64 {
        let last = self.received.iter().rposition(|byte| *byte != 0);
        last.and_then(|place| Some((place, self.received.get(place)?))).map_or(
            self.written,
            |(place, byte)| {
                let bit = u64::from(7 - byte.leading_zeros().min(7));
                self.written.saturating_add(place as u64 * 8 + bit + 1)
            },
        )
    }

    fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let (incarnation, invitation, stream) = (reader.u64()?, reader.u32()?, reader.u64()?);
        let (written, entries, window) = (reader.u64()?, reader.u64()?, reader.u16()?);
        let flags = reader.u8().filter(|flags| *flags < 4)?;
        let verdict = match reader.u8()? {
            0 => Verdict::None,
            1 => Verdict::Equal { token: reader.u32()? },
            2 => {
                let token = reader.u32()?;
                Verdict::Differ { token, buckets: Box::new(Buckets::from_bytes(reader.array()?)) }
            }
            _ => return None,
        };
        let asked = reader.u32()?;
        let length = usize::from(reader.u8()?);
        let received = reader.take(length).filter(|bits| bits.len() <= WINDOW / 8)?;
        let (ready, doubtful) = (flags & 1 != 0, flags & 2 != 0);
        Some(Self {
            incarnation,
            invitation,
            stream,
            written,
            entries,
            window,
            ready,
            doubtful,
            verdict,
            asked,
            received,
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[4, FORMAT]);
        out.extend_from_slice(&self.incarnation.to_be_bytes());
        out.extend_from_slice(&self.invitation.to_be_bytes());
        out.extend_from_slice(&self.stream.to_be_bytes());
        out.extend_from_slice(&self.written.to_be_bytes());
        out.extend_from_slice(&self.entries.to_be_bytes());
        out.extend_from_slice(&self.window.to_be_bytes());
        out.push(u8::from(self.ready) | u8::from(self.doubtful) << 1);
        match &self.verdict {
            Verdict::None => out.push(0),
            Verdict::Equal { token } => {
                out.push(1);
                out.extend_from_slice(&token.to_be_bytes());
            }
            Verdict::Differ { token, buckets } => {
                out.push(2);
                out.extend_from_slice(&token.to_be_bytes());
                out.extend_from_slice(&buckets.to_bytes());
            }
        }
        out.extend_from_slice(&self.asked.to_be_bytes());
        // At most WINDOW bits.
        let received = self.received.get(..WINDOW / 8).unwrap_or(self.received);
        out.push(received.len() as u8);
        out.extend_from_slice(received);
    }
}

impl Record<'_> {
    pub(super) const OPEN_LENGTH: usize = 5 + Buckets::BYTES;
    pub(super) const CLOSE_LENGTH: usize = 5;

    /// Its length on the wire, in bytes.
    pub fn wire_length(&self) -> usize {
        match self {
            Self::Put { bytes, .. } | Self::Remove { bytes, .. } => CHANGE_HEADER + bytes.len(),
            Self::Summary { .. } => 21,
            Self::Digests { digests, .. } => 9 + 8 * digests.len(),
            Self::Open { .. } => Self::OPEN_LENGTH,
            Self::Close { .. } => Self::CLOSE_LENGTH,
        }
    }

    /// Appends the record. Entries are at most [`MAX_ENTRY`] long; the caller has seen to it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Put { key, replace, bytes } => change(out, 1 + u8::from(*replace), key, bytes),
            Self::Remove { key, bytes } => change(out, 3, key, bytes),
            Self::Summary { token, summary, entries } => {
                out.push(4);
                out.extend_from_slice(&token.to_be_bytes());
                out.extend_from_slice(&summary.to_be_bytes());
                out.extend_from_slice(&entries.to_be_bytes());
            }
            Self::Digests { token, first, digests } => {
                out.push(5);
                out.extend_from_slice(&token.to_be_bytes());
                out.extend_from_slice(&first.to_be_bytes());
                out.extend_from_slice(&(digests.len() as u16).to_be_bytes());
                out.extend_from_slice(digests.as_flattened());
            }
            Self::Open { token, buckets } => {
                out.push(6);
                out.extend_from_slice(&token.to_be_bytes());
                out.extend_from_slice(*buckets);
            }
            Self::Close { token } => {
                out.push(7);
                out.extend_from_slice(&token.to_be_bytes());
            }
        }
    }
}

fn change(out: &mut Vec<u8>, tag: u8, key: &Key, bytes: &[u8]) {
    debug_assert!(bytes.len() <= MAX_ENTRY);
    out.push(tag);
    out.extend_from_slice(key);
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| *byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn entry(&mut self) -> Option<(&'a Key, &'a [u8])> {
        let key = self.array()?;
        let length = usize::from(self.u16()?);
        let bytes = self.take(length).filter(|_| length <= MAX_ENTRY)?;
        Some((key, bytes))
    }

    fn record(&mut self) -> Option<Record<'a>> {
        match self.u8()? {
            tag @ (1 | 2) => {
                let (key, bytes) = self.entry()?;
                Some(Record::Put { key, replace: tag == 2, bytes })
            }
            3 => {
                let (key, bytes) = self.entry()?;
                Some(Record::Remove { key, bytes })
            }
            4 => Some(Record::Summary { token: self.u32()?, summary: self.u64()?, entries: self.u64()? }),
            5 => {
                let (token, first, count) = (self.u32()?, self.u16()?, self.u16()?);
                let fits = usize::from(first) + usize::from(count) <= BUCKETS;
                let bytes = self.take(usize::from(count) * 8).filter(|_| fits)?;
                Some(Record::Digests { token, first, digests: bytes.as_chunks().0 })
            }
            6 => Some(Record::Open { token: self.u32()?, buckets: self.array()? }),
            7 => Some(Record::Close { token: self.u32()? }),
            _ => None,
        }
    }
}
