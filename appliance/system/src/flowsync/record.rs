//! What is replicated: a connection or an expectation, with everything that the other kernel must know to go on.
//! Fixed size, no heap: a record may be kept in arrays and copied.

use std::hash::Hasher;
use std::net::IpAddr;

use rempart_config::space::Family;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::conntrack::{Layer4, Status, Tcp, TcpState, Tuple};

/// By what the two nodes know an entry: [`Identity::key`].
pub type Key = [u8; 16];

/// The key of the hash that makes a [`Key`]. Both nodes of a pair must use the same; who does not know it cannot
/// make two connections collide.
#[derive(Clone, Copy)]
pub struct HashKey(pub [u8; 16]);

/// An entry of the connection table, or of the table of expectations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant, reason = "both are of the same order and neither is boxed, on purpose")]
pub enum Record {
    /// A connection.
    Flow(Flow),
    /// A connection that a helper has announced.
    Expectation(Expectation),
}

/// What tells an entry apart from all others of the same kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Identity {
    /// A connection.
    Flow {
        /// IANA protocol number.
        protocol: u8,
        /// The original direction, before translation.
        original: Tuple,
        /// The zone.
        zone: Zone,
    },
    /// An expectation.
    Expectation {
        /// IANA protocol number of the expected connection.
        protocol: u8,
        /// The expected connection.
        tuple: Tuple,
        /// Which bits of it count.
        mask: Tuple,
        /// The zone.
        zone: Zone,
    },
}

/// A connection as it is replicated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flow {
    /// IANA protocol number.
    pub protocol: u8,
    /// As the first packet was before translation.
    pub original: Tuple,
    /// As the answers arrive: the translation is what distinguishes it from the inverse of `original`.
    pub reply: Tuple,
    /// The zone.
    pub zone: Zone,
    /// What the kernel knows about it. Only [`Flow::REPLICATED_STATUS`] travels.
    pub status: Status,
    /// Seconds until the kernel forgets it.
    pub timeout_s: u32,
    /// What the protocol adds.
    pub state: ProtocolState,
    /// The mark.
    pub mark: u32,
    /// The 128 connection labels, as they lie in the kernel's memory.
    pub labels: [u8; 16],
    /// The helper that follows it.
    pub helper: Option<Name>,
    /// How a helper that changed lengths corrects TCP sequence numbers, opener first.
    pub adjustments: Option<[SequenceAdjustment; 2]>,
    /// What a SYN proxy must know to translate sequence numbers and time stamps.
    pub synproxy: Option<Synproxy>,
    /// Protocol and original tuple of the connection that announced this one.
    pub master: Option<(u8, Tuple)>,
}

/// A connection that a helper expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expectation {
    /// IANA protocol number of the expected connection.
    pub protocol: u8,
    /// The expected connection.
    pub tuple: Tuple,
    /// Which bits of it count.
    pub mask: Tuple,
    /// Protocol and original tuple of the connection that announced it.
    pub master: (u8, Tuple),
    /// The zone. The kernel takes one and tells none (`ctnetlink_exp_dump_expect`): what is read has the default.
    pub zone: Zone,
    /// Seconds until the kernel forgets it.
    pub timeout_s: u32,
    /// `NF_CT_EXPECT_*`.
    pub flags: u32,
    /// The helper's class.
    pub class: u32,
    /// The helper.
    pub helper: Option<Name>,
    /// What the kernel calls when it comes: `nat-follow-master`, …
    pub function: Option<Name>,
    /// How it is translated: direction, protocol, and a tuple whose source is the address and port before translation.
    pub nat: Option<(u32, u8, Tuple)>,
}

/// What a protocol adds to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProtocolState {
    /// Nothing, or not told.
    #[default]
    None,
    /// TCP.
    Tcp(Tcp),
    /// SCTP.
    Sctp(Sctp),
}

/// What the kernel knows about an SCTP association.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sctp {
    /// `enum sctp_conntrack` (`linux/netfilter/nf_conntrack_sctp.h`).
    pub state: u8,
    /// Verification tags of the opener and of the answerer.
    pub tags: [u32; 2],
}

/// How a helper that changed lengths corrects sequence numbers of one direction (`struct nf_ct_seqadj`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SequenceAdjustment {
    /// The sequence number at which the correction changed.
    pub position: u32,
    /// What is added before it, modulo 2³².
    pub before: u32,
    /// What is added from it on, modulo 2³².
    pub after: u32,
}

/// `struct nf_conn_synproxy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Synproxy {
    /// Initial sequence number towards the client.
    pub sequence: u32,
    /// Initial time stamp.
    pub timestamp: u32,
    /// Offset of time stamps.
    pub offset: u32,
}

/// A conntrack zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Zone {
    /// The number; 0 is the default.
    pub id: u16,
    /// Which tuples are in the zone. The other is in zone 0.
    pub scope: ZoneScope,
}

/// Which tuples of a connection are in its zone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ZoneScope {
    /// Both.
    #[default]
    Both,
    /// The original tuple only.
    Original,
    /// The reply tuple only.
    Reply,
}

/// A short name of the kernel: of a helper (`NF_CT_HELPER_NAME_LEN` is 16) or of an expectation's function.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name {
    bytes: [u8; Self::MAX],
    len: u8,
}

impl Record {
    /// What tells it apart.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Flow(flow) => flow.identity(),
            Self::Expectation(expectation) => expectation.identity(),
        }
    }

    /// By what the two nodes know it.
    pub fn key(&self, hash: &HashKey) -> Key {
        self.identity().key(hash)
    }

    /// How deep it stands: 0 for a connection of its own, 1 for one that another announced, 2 for an expectation.
    /// The kernel takes none before its master, so whoever writes many writes the lower ones first.
    pub fn depth(&self) -> u8 {
        match self {
            Self::Flow(Flow { master: None, .. }) => 0,
            Self::Flow(Flow { master: Some(_), .. }) => 1,
            Self::Expectation(_) => 2,
        }
    }

    /// Seconds until the kernel forgets it.
    pub fn timeout_s(&self) -> u32 {
        match self {
            Self::Flow(flow) => flow.timeout_s,
            Self::Expectation(expectation) => expectation.timeout_s,
        }
    }
}

impl Identity {
    /// By what the two nodes know the entry: SipHash-1-3-128 of everything in the identity.
    pub fn key(&self, hash: &HashKey) -> Key {
        let mut bytes = Gathered { bytes: [0; Gathered::MAX], len: 0 };
        match self {
            Self::Flow { protocol, original, zone } => {
                bytes.add(&[0, *protocol]);
                bytes.add_zone(zone);
                bytes.add_tuple(original);
            }
            Self::Expectation { protocol, tuple, mask, zone } => {
                bytes.add(&[1, *protocol]);
                bytes.add_zone(zone);
                bytes.add_tuple(tuple);
                bytes.add_tuple(mask);
            }
        }
        let mut hasher = SipHasher13::new_with_key(&hash.0);
        hasher.write(bytes.bytes.get(..bytes.len).unwrap_or(&bytes.bytes));
        hasher.finish128().as_bytes()
    }

    /// The IP version.
    pub fn family(&self) -> Family {
        match self {
            Self::Flow { original: tuple, .. } | Self::Expectation { tuple, .. } => Family::of(tuple.source),
        }
    }
}

/// What is hashed, gathered first: many small pieces cost more than the hash.
struct Gathered {
    bytes: [u8; Self::MAX],
    len: usize,
}

impl Gathered {
    /// An expectation over IPv6: 5 bytes, and twice two addresses and ports with their tags.
    const MAX: usize = 5 + 2 * (2 * 17 + 5);

    fn add(&mut self, piece: &[u8]) {
        if let Some(place) = self.bytes.get_mut(self.len..self.len + piece.len()) {
            place.copy_from_slice(piece);
            self.len += piece.len();
        }
    }

    fn add_zone(&mut self, zone: &Zone) {
        let [high, low] = zone.id.to_be_bytes();
        self.add(&[high, low, zone.scope.number()]);
    }

    /// Without lengths: the tag of the address family says how many bytes follow, so no two tuples give the same.
    fn add_tuple(&mut self, tuple: &Tuple) {
        for address in [tuple.source, tuple.destination] {
            match address {
                IpAddr::V4(a) => {
                    self.add(&[4]);
                    self.add(&a.octets());
                }
                IpAddr::V6(a) => {
                    self.add(&[6]);
                    self.add(&a.octets());
                }
            }
        }
        let last = match tuple.layer4 {
            Layer4::Ports { source, destination } => {
                let ([s0, s1], [d0, d1]) = (source.to_be_bytes(), destination.to_be_bytes());
                [1, s0, s1, d0, d1]
            }
            Layer4::Icmp { kind, code, id } => {
                let [i0, i1] = id.to_be_bytes();
                [2, kind, code, i0, i1]
            }
            Layer4::Other => [3, 0, 0, 0, 0],
        };
        self.add(&last);
    }
}

impl Flow {
    /// The bits of the status that mean the same in another kernel and may be set there; those of translation
    /// follow from the tuples, those of a flowtable or of dying belong to the kernel they come from.
    pub const REPLICATED_STATUS: u32 = Status::SEEN_REPLY | Status::ASSURED | Status::CONFIRMED;

    /// What tells it apart.
    pub fn identity(&self) -> Identity {
        Identity::Flow { protocol: self.protocol, original: self.original, zone: self.zone }
    }

    /// The IP version.
    pub fn family(&self) -> Family {
        Family::of(self.original.source)
    }

    /// Who speaks to whom, for filters: the opener, whom it addressed, who answers really, and to whom.
    pub fn addresses(&self) -> [IpAddr; 4] {
        [self.original.source, self.original.destination, self.reply.source, self.reply.destination]
    }

    /// Whether a packet has come back.
    pub fn has_reply(&self) -> bool {
        self.status.has(Status::SEEN_REPLY)
    }

    /// Whether the kernel takes it for established, and does not drop it early.
    pub fn is_assured(&self) -> bool {
        self.status.has(Status::ASSURED)
    }

    /// Whether it is on its way out: a FIN, RST or SHUTDOWN was seen.
    pub fn is_closing(&self) -> bool {
        /// `SCTP_CONNTRACK_SHUTDOWN_SENT` to `SCTP_CONNTRACK_SHUTDOWN_ACK_SENT`.
        const SHUTDOWN: std::ops::RangeInclusive<u8> = 5..=7;
        match self.state {
            ProtocolState::None => false,
            ProtocolState::Tcp(tcp) => match tcp.state {
                TcpState::FinWait
                | TcpState::CloseWait
                | TcpState::LastAck
                | TcpState::TimeWait
                | TcpState::Close => true,
                TcpState::None
                | TcpState::SynSent
                | TcpState::SynReceived
                | TcpState::Established
                | TcpState::SynSent2
                | TcpState::Other(_) => false,
            },
            ProtocolState::Sctp(sctp) => SHUTDOWN.contains(&sctp.state),
        }
    }
}

impl Expectation {
    /// What tells it apart.
    pub fn identity(&self) -> Identity {
        Identity::Expectation { protocol: self.protocol, tuple: self.tuple, mask: self.mask, zone: self.zone }
    }
}

impl ZoneScope {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Both => 0,
            Self::Original => 1,
            Self::Reply => 2,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Both, Self::Original, Self::Reply].into_iter().find(|scope| scope.number() == number)
    }
}

impl Name {
    /// Longest name, in bytes: the kernel's are at most 17 ("nat-follow-master").
    pub const MAX: usize = 23;

    /// A name of printable ASCII, 1 to [`Name::MAX`] bytes.
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        let right = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        bytes.get_mut(..name.len()).filter(|_| right)?.copy_from_slice(name);
        Some(Self { bytes, len: u8::try_from(name.len()).ok()? })
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl std::fmt::Debug for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}
