//! Units and names of the protocols. What exists is valid; nothing here needs checking again.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU8, NonZeroU16};
use std::time::Duration;

/// What a value offered by the operator lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ValueError {
    /// A virtual router identifier is 1 to 255 (RFC 9568 §5.2.3).
    #[error("a virtual router identifier is 1 to 255, not 0")]
    Vrid,
    /// A configured priority is 1 to 255; 0 only says "I stop" (RFC 9568 §5.2.4).
    #[error("a priority is 1 to 255, not 0")]
    Priority,
    /// A VRRPv3 interval is 1 to 4095 centiseconds (RFC 9568 §5.2.7).
    #[error("an advertisement interval is 1 to 4095 centiseconds, not {0}")]
    Centiseconds(u16),
    /// A VRRPv2 interval is 1 to 255 seconds (RFC 3768 §5.3.7).
    #[error("an advertisement interval is 1 to 255 seconds, not 0")]
    Seconds,
    /// An advertisement carries 1 to 255 addresses (RFC 9568 §5.2.5).
    #[error("a virtual router has 1 to 255 addresses, not {0}")]
    AddressCount(usize),
    /// All addresses of a VRRP router are of one family (RFC 9568 §5.2.9).
    #[error("{0} is not of the family of the other addresses")]
    MixedFamilies(IpAddr),
    /// A VRRPv2 authentication text has 1 to 8 bytes (RFC 2338 §5.3.6).
    #[error("an authentication text has 1 to 8 bytes, not {0}")]
    AuthTextLength(usize),
    /// A CARP password has 1 to 20 bytes.
    #[error("a CARP password has 1 to 20 bytes, not {0}")]
    SecretLength(usize),
}

/// Virtual router identifier (VRRP) or virtual host identifier (CARP), 1 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vrid(NonZeroU8);

impl Vrid {
    /// Refuses 0.
    pub const fn new(id: u8) -> Result<Self, ValueError> {
        match NonZeroU8::new(id) {
            Some(id) => Ok(Self(id)),
            None => Err(ValueError::Vrid),
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0.get()
    }
}

impl fmt::Debug for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vrid({})", self.0)
    }
}

impl fmt::Display for Vrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The priority a router is given: 1 to 254, or 255 for the owner of the addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Priority(NonZeroU8);

impl Priority {
    /// The router whose own interface carries the virtual addresses (RFC 9568 §5.2.4).
    pub const OWNER: Self = Self(NonZeroU8::MAX);
    /// What RFC 9568 §5.2.4 recommends for a router that backs another up.
    pub const DEFAULT: Self = Self(NonZeroU8::new(100).expect("not zero"));

    /// Refuses 0.
    pub const fn new(priority: u8) -> Result<Self, ValueError> {
        match NonZeroU8::new(priority) {
            Some(priority) => Ok(Self(priority)),
            None => Err(ValueError::Priority),
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// Whether this is the owner's.
    pub fn is_owner(self) -> bool {
        self == Self::OWNER
    }

    /// (256 − priority) / 256 of `interval` (RFC 9568 §6.1).
    ///
    /// The RFC counts in centiseconds and says nothing of rounding; nothing is rounded here, so that short intervals
    /// still tell the routers apart.
    pub fn skew(self, interval: Duration) -> Duration {
        interval * (256 - u32::from(self.get())) / 256
    }
}

/// The priority field of an advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Standing {
    /// 0: the active router stops taking part.
    Resigning,
    /// 1 to 255.
    At(Priority),
}

impl Standing {
    /// Reads the field; every value means something.
    pub const fn from_wire(priority: u8) -> Self {
        match NonZeroU8::new(priority) {
            None => Self::Resigning,
            Some(priority) => Self::At(Priority(priority)),
        }
    }

    /// The field.
    pub const fn to_wire(self) -> u8 {
        match self {
            Self::Resigning => 0,
            Self::At(priority) => priority.get(),
        }
    }
}

/// Advertisement interval of VRRPv3: 1 to 4095 hundredths of a second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Centiseconds(NonZeroU16);

impl Centiseconds {
    /// The largest the 12-bit field holds.
    pub const MAX: u16 = 0x0fff;
    /// One second, the default of RFC 9568 §6.1.
    pub const DEFAULT: Self = Self(NonZeroU16::new(100).expect("not zero"));

    /// Refuses 0 and what does not fit 12 bits.
    pub const fn new(centiseconds: u16) -> Result<Self, ValueError> {
        match NonZeroU16::new(centiseconds) {
            Some(some) if centiseconds <= Self::MAX => Ok(Self(some)),
            Some(_) | None => Err(ValueError::Centiseconds(centiseconds)),
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// As a length of time.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.get() as u64 * 10)
    }
}

/// Advertisement interval of VRRPv2: 1 to 255 seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Seconds(NonZeroU8);

impl Seconds {
    /// One second, the default of RFC 3768 §6.1.
    pub const DEFAULT: Self = Self(NonZeroU8::MIN);

    /// Refuses 0.
    pub const fn new(seconds: u8) -> Result<Self, ValueError> {
        match NonZeroU8::new(seconds) {
            Some(seconds) => Ok(Self(seconds)),
            None => Err(ValueError::Seconds),
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0.get()
    }

    /// As a length of time.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.get() as u64)
    }
}

/// Which of the two internet protocols.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `address`.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The group that VRRP and CARP advertise to (RFC 9568 §5.1.1.2, §5.1.2.2).
    pub const fn group(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12)),
        }
    }
}

/// The three protocols that share IP protocol 112.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Dialect {
    /// VRRP version 2, RFC 3768 (and its forerunner RFC 2338).
    Vrrp2,
    /// VRRP version 3, RFC 9568.
    Vrrp3,
    /// CARP version 2, as OpenBSD, FreeBSD and ucarp speak it.
    Carp,
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that moves with the virtual router (RFC 9568 §7.3; CARP has one for both families).
    pub const fn of_virtual_router(dialect: Dialect, family: Family, vrid: Vrid) -> Self {
        let block = match (dialect, family) {
            (Dialect::Vrrp2 | Dialect::Vrrp3, Family::V6) => 2,
            (Dialect::Vrrp2 | Dialect::Vrrp3, Family::V4) | (Dialect::Carp, Family::V4 | Family::V6) => 1,
        };
        Self([0x00, 0x00, 0x5e, 0x00, block, vrid.get()])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// The addresses of a VRRP router: 1 to 255, of one family, in the order of the advertisement.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Addresses(Inner);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Inner {
    V4(Vec<Ipv4Addr>),
    V6(Vec<Ipv6Addr>),
}

impl Addresses {
    /// The count field has eight bits.
    pub const MAX: usize = 255;

    /// Refuses none, more than 255, and a mixture of families.
    pub fn new(addresses: &[IpAddr]) -> Result<Self, ValueError> {
        let Some(first) = addresses.first() else { return Err(ValueError::AddressCount(0)) };
        if addresses.len() > Self::MAX {
            return Err(ValueError::AddressCount(addresses.len()));
        }
        let mut list = match first {
            IpAddr::V4(_) => Inner::V4(Vec::with_capacity(addresses.len())),
            IpAddr::V6(_) => Inner::V6(Vec::with_capacity(addresses.len())),
        };
        for address in addresses {
            match (&mut list, address) {
                (Inner::V4(list), IpAddr::V4(address)) => list.push(*address),
                (Inner::V6(list), IpAddr::V6(address)) => list.push(*address),
                (Inner::V4(_), IpAddr::V6(_)) | (Inner::V6(_), IpAddr::V4(_)) => {
                    return Err(ValueError::MixedFamilies(*address));
                }
            }
        }
        Ok(Self(list))
    }

    /// Which family they are of.
    pub const fn family(&self) -> Family {
        match self.0 {
            Inner::V4(_) => Family::V4,
            Inner::V6(_) => Family::V6,
        }
    }

    /// How many; 1 to 255.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        match &self.0 {
            Inner::V4(list) => list.len(),
            Inner::V6(list) => list.len(),
        }
    }

    /// The first one. In IPv6 it is the link-local one (RFC 9568 §5.2.9).
    pub fn first(&self) -> IpAddr {
        self.iter().next().expect("at least one, by construction")
    }

    /// In the order of the advertisement.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let (v4, v6): (&[Ipv4Addr], &[Ipv6Addr]) = match &self.0 {
            Inner::V4(list) => (list, &[]),
            Inner::V6(list) => (&[], list),
        };
        v4.iter().copied().map(IpAddr::V4).chain(v6.iter().copied().map(IpAddr::V6))
    }

    /// Whether both hold the same addresses, whatever their order.
    pub fn same_set(&self, other: &Self) -> bool {
        let sorted = |list: &Self| list.iter().collect::<std::collections::BTreeSet<_>>();
        sorted(self) == sorted(other)
    }
}

/// What the IP header of a packet says, as far as the protocols ask.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IpHeader {
    /// Who sent it.
    pub source: IpAddr,
    /// Whom it is for: the group, or one of us.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
}

/// Which time to live a received packet must have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TtlRule {
    /// 255: the sender is on this link (RFC 9568 §5.1.1.3, §5.1.2.3).
    OnLink,
    /// At least so much. For unicast peers behind routers; not in the RFC.
    AtLeast(u8),
}

impl TtlRule {
    /// The smallest that passes.
    pub const fn least(self) -> u8 {
        match self {
            Self::OnLink => 255,
            Self::AtLeast(least) => least,
        }
    }
}

pub(crate) const fn is_link_local_v6(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}
