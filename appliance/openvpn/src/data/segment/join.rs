//! Opened packets, joined: consecutive segments of a TCP connection, or datagrams of a UDP flow, become one super-packet.
//!
//! Joined is only what the kernel can cut again to the very same packets: the same headers but for length, identification,
//! sequence and checksum; sequence numbers and identifications in a row; one size, and only the last one shorter; PSH on
//! the last one at most. Checksums are verified first, because a super-packet carries none. Everything else passes as it
//! is. Packets of one flow keep their order.

use std::ops::Range;

use super::checksum::Sum;
use super::virtio::{self, Header};
use super::{address_bytes, get16, get32, ip4, ip6, put, tcp, udp};

/// Flows that are joined at a time: as many as the kernel's own receive offload keeps in a bucket.
pub const FLOWS: usize = 8;
/// Pieces of one super-packet. 44 of the usual size are 64 KiB.
pub const PARTS: usize = 64;
/// Longest super-packet, in bytes.
const MAX: usize = 65_535;
/// Longest head: what goes before the packet, IPv6, and TCP with all options.
const HEAD: usize = virtio::LEN + ip6::HEADER + 60;

/// What can be joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn number(self) -> u8 {
        match self {
            Self::Tcp => tcp::PROTOCOL,
            Self::Udp => udp::PROTOCOL,
        }
    }

    fn checksum(self) -> usize {
        match self {
            Self::Tcp => tcp::CHECKSUM,
            Self::Udp => udp::CHECKSUM,
        }
    }
}

/// A packet that may be joined.
struct Segment<'a> {
    packet: &'a [u8],
    protocol: Protocol,
    /// Where the transport header begins, and where the payload does.
    start: usize,
    headers: usize,
    /// Of TCP; otherwise 0.
    sequence: u32,
    push: u8,
}

impl<'a> Segment<'a> {
    /// `None` if it is none that could be joined to others.
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let (start, protocol) = transport(packet)?;
        let (ip, part) = packet.split_at_checked(start)?;
        let (headers, sequence, push) = match protocol {
            Protocol::Tcp => {
                let headers = start + usize::from(part.get(tcp::OFFSET)? >> 4) * 4;
                let flags = *part.get(tcp::FLAGS)?;
                let plain = flags & !tcp::PSH == tcp::ACK && headers >= start + tcp::HEADER;
                plain.then_some((headers, get32(part, tcp::SEQUENCE)?, flags & tcp::PSH))?
            }
            Protocol::Udp => {
                let fits = usize::from(get16(part, udp::LENGTH)?) == part.len();
                let summed = get16(part, udp::CHECKSUM)? != 0;
                (fits && summed).then_some((start + udp::HEADER, 0, 0))?
            }
        };
        let (addresses, version) = address_bytes(packet)?;
        let sum = Sum::default().pseudo(addresses, protocol.number(), part.len()).bytes(part);
        let sound = sum.is_sound() && (version == 6 || Sum::default().bytes(ip).is_sound());
        (sound && packet.len() > headers).then_some(Self { packet, protocol, start, headers, sequence, push })
    }

    fn payload(&self) -> usize {
        self.packet.len() - self.headers
    }
}

/// Where the transport header begins in a packet without options, extension headers and fragments whose length is what it
/// says, and which it is.
fn transport(packet: &[u8]) -> Option<(usize, Protocol)> {
    let length = packet.len();
    let (start, protocol, fits) = match packet.first()? {
        0x45 => {
            // All but "don't fragment" must be zero.
            let whole = get16(packet, ip4::FRAGMENT)? & !0x4000 == 0;
            let fits = usize::from(get16(packet, ip4::LENGTH)?) == length;
            (ip4::HEADER, packet.get(ip4::PROTOCOL)?, whole && fits)
        }
        first if first >> 4 == 6 => {
            let fits = usize::from(get16(packet, ip6::LENGTH)?) + ip6::HEADER == length;
            (ip6::HEADER, packet.get(ip6::NEXT)?, fits)
        }
        _ => return None,
    };
    match *protocol {
        tcp::PROTOCOL if fits => Some((start, Protocol::Tcp)),
        udp::PROTOCOL if fits => Some((start, Protocol::Udp)),
        _ => None,
    }
}

/// Packets that were joined.
#[derive(Clone, Debug)]
struct Group {
    /// Room for the header of the device, then the headers of the first packet.
    head: [u8; HEAD],
    protocol: Protocol,
    /// Where the transport header begins in the packets, and where the payload does.
    start: usize,
    headers: usize,
    /// The first packet as a whole; then the payloads of all.
    first: Range<usize>,
    parts: [Range<usize>; PARTS],
    count: usize,
    /// Payload of the first.
    size: usize,
    payload: usize,
    closed: bool,
}

impl Group {
    const EMPTY: Self = Self {
        head: [0; HEAD],
        protocol: Protocol::Tcp,
        start: 0,
        headers: 0,
        first: 0..0,
        parts: [const { 0..0 }; PARTS],
        count: 0,
        size: 0,
        payload: 0,
        closed: false,
    };

    fn packet_head(&self) -> &[u8] {
        self.head.get(virtio::LEN..virtio::LEN + self.headers).unwrap_or_default()
    }

    fn begin(&mut self, segment: &Segment<'_>, place: Range<usize>) {
        let head = self.head.iter_mut().skip(virtio::LEN);
        head.zip(segment.packet.iter().take(segment.headers)).for_each(|(to, from)| *to = *from);
        (self.protocol, self.start, self.headers) = (segment.protocol, segment.start, segment.headers);
        (self.count, self.size, self.payload) = (0, segment.payload(), 0);
        self.first = place.clone();
        self.take(segment, place);
    }

    fn take(&mut self, segment: &Segment<'_>, place: Range<usize>) {
        if let Some(part) = self.parts.get_mut(self.count) {
            *part = place.start + segment.headers..place.end;
        }
        self.count += 1;
        self.payload += segment.payload();
        self.closed = segment.push != 0 || segment.payload() < self.size || self.count == PARTS;
        if segment.push != 0
            && let Some(flags) = self.head.get_mut(virtio::LEN + self.start + tcp::FLAGS)
        {
            *flags |= segment.push;
        }
    }

    /// Whether both are of the same flow, or might be where its ports cannot be told.
    fn same_flow(&self, packet: &[u8], other: Option<(usize, Protocol)>) -> bool {
        let own = self.packet_head();
        self.count > 0
            && address_bytes(own) == address_bytes(packet)
            && other.is_none_or(|(start, protocol)| {
                protocol == self.protocol && get32(packet, start) == get32(own, self.start)
            })
    }

    /// Whether `segment`, of the same flow, is the next one in all respects.
    fn continues(&self, segment: &Segment<'_>) -> bool {
        let (own, other) = (self.packet_head(), segment.packet);
        let same = |range: Range<usize>| {
            let (own, other) = (own.get(range.clone()), other.get(range));
            own.is_some() && own == other
        };
        let start = self.start;
        let ip = match start {
            ip4::HEADER => {
                let next = get16(own, ip4::ID).map(|id| id.wrapping_add(self.count as u16));
                same(0..2) && next == get16(other, ip4::ID) && same(6..10) && same(12..20)
            }
            _ => same(0..4) && same(6..40),
        };
        let transport = match self.protocol {
            // Ports, acknowledgement, data offset, window, urgent pointer and options; flags are ACK and perhaps PSH.
            Protocol::Tcp => {
                let first = get32(own, start + tcp::SEQUENCE).unwrap_or_default();
                same(start..start + 4)
                    && same(start + 8..start + 13)
                    && same(start + 14..start + 16)
                    && same(start + 18..self.headers)
                    && segment.sequence == first.wrapping_add(self.payload as u32)
            }
            Protocol::Udp => same(start..start + 4),
        };
        !self.closed
            && (segment.protocol, segment.start, segment.headers) == (self.protocol, start, self.headers)
            && ip
            && transport
            && segment.payload() <= self.size
            && self.headers + self.payload + segment.payload() <= MAX
    }

    /// Hands out what there is and becomes empty.
    fn flush(&mut self, sink: &mut impl FnMut(&[u8], &[Range<usize>])) {
        let count = std::mem::take(&mut self.count);
        if count == 1 {
            sink(&Header::default().encode(), std::slice::from_ref(&self.first));
        } else if count > 1 {
            self.finish_head();
            let head = self.head.get(..virtio::LEN + self.headers).unwrap_or_default();
            sink(head, self.parts.get(..count).unwrap_or_default());
        }
    }

    /// The headers of the super-packet.
    fn finish_head(&mut self) {
        let v4 = self.start == ip4::HEADER;
        let length = self.headers + self.payload;
        let (start, part) = (self.start, length - self.start);
        let header = Header {
            flags: virtio::NEEDS_CSUM,
            gso_type: match self.protocol {
                Protocol::Tcp if v4 => virtio::GSO_TCPV4,
                Protocol::Tcp => virtio::GSO_TCPV6,
                Protocol::Udp => virtio::GSO_UDP_L4,
            },
            hdr_len: self.headers as u16,
            gso_size: self.size as u16,
            csum_start: start as u16,
            csum_offset: self.protocol.checksum() as u16,
        };
        put(&mut self.head, 0, header.encode());
        let Some(packet) = self.head.get_mut(virtio::LEN..) else { return };
        if v4 {
            put(packet, ip4::LENGTH, (length as u16).to_be_bytes());
            put(packet, ip4::CHECKSUM, [0, 0]);
            let sum = Sum::default().bytes(packet.get(..ip4::HEADER).unwrap_or_default());
            put(packet, ip4::CHECKSUM, sum.complete());
        } else {
            put(packet, ip6::LENGTH, ((length - ip6::HEADER) as u16).to_be_bytes());
        }
        if self.protocol == Protocol::Udp {
            put(packet, start + udp::LENGTH, (part as u16).to_be_bytes());
        }
        let addresses = address_bytes(packet).map_or(&[][..], |(bytes, _)| bytes);
        let partial = Sum::default().pseudo(addresses, self.protocol.number(), part).partial();
        put(packet, start + self.protocol.checksum(), partial);
    }
}

/// Joins what is offered.
#[derive(Debug)]
pub struct Joiner {
    groups: Box<[Group; FLOWS]>,
    /// Which group makes room for the next flow.
    oldest: usize,
    /// Whether the kernel takes super-packets of UDP.
    udp: bool,
}

impl Joiner {
    /// With nothing in it. `udp`: whether the kernel takes super-packets of UDP.
    pub fn new(udp: bool) -> Self {
        Self { groups: Box::new([Group::EMPTY; FLOWS]), oldest: 0, udp }
    }

    /// Takes the packet that lies at `place` in `arena`. What is ready goes to `sink`: the head, which is to be written
    /// first, and the places of what follows it.
    pub fn offer(
        &mut self,
        arena: &[u8],
        place: Range<usize>,
        sink: &mut impl FnMut(&[u8], &[Range<usize>]),
    ) {
        let Some(packet) = arena.get(place.clone()) else { return };
        let transport = transport(packet);
        let wanted = match transport {
            Some((_, Protocol::Tcp)) => true,
            Some((_, Protocol::Udp)) => self.udp,
            None => false,
        };
        let segment = if wanted { Segment::parse(packet) } else { None };
        let known = self.groups.iter().position(|group| group.same_flow(packet, transport));
        match (segment, known.and_then(|at| self.groups.get_mut(at))) {
            (Some(segment), Some(group)) if group.continues(&segment) => group.take(&segment, place),
            (Some(segment), Some(group)) => {
                group.flush(sink);
                group.begin(&segment, place);
            }
            (Some(segment), None) => {
                let free = self.groups.iter().position(|group| group.count == 0);
                let at = free.unwrap_or_else(|| {
                    self.oldest = (self.oldest + 1) % FLOWS;
                    self.oldest
                });
                if let Some(group) = self.groups.get_mut(at) {
                    group.flush(sink);
                    group.begin(&segment, place);
                }
            }
            (None, _) => {
                // Whatever it is, it does not overtake packets of its flow; without ports that may be several.
                let same = self.groups.iter_mut().filter(|group| group.same_flow(packet, transport));
                same.for_each(|group| group.flush(sink));
                sink(&Header::default().encode(), &[place]);
            }
        }
    }

    /// Hands out all there is. Before the places in the arena mean something else.
    pub fn flush(&mut self, sink: &mut impl FnMut(&[u8], &[Range<usize>])) {
        self.groups.iter_mut().for_each(|group| group.flush(sink));
    }
}
