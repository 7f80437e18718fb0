//! Opened packets, joined: consecutive segments of a TCP connection become one super-packet.
//!
//! Joined is only what the kernel can cut again to the very same packets: the same headers but for length, identification,
//! sequence and checksum; sequence numbers and identifications in a row; one size, and only the last one shorter; PSH on
//! the last one at most. Checksums are verified first, because a super-packet carries none. Everything else passes as it
//! is. Packets of one connection keep their order.

use std::ops::Range;

use super::checksum::Sum;
use super::virtio::{self, Header};
use super::{address_bytes, get16, get32, ip4, ip6, put, tcp};

/// Connections that are joined at a time: as many as the kernel's own receive offload keeps in a bucket.
pub const FLOWS: usize = 8;
/// Pieces of one super-packet. 44 of the usual size are 64 KiB.
pub const PARTS: usize = 64;
/// Longest super-packet, in bytes.
const MAX: usize = 65_535;
/// Longest head: what goes before the packet, IPv6, and TCP with all options.
const HEAD: usize = virtio::LEN + ip6::HEADER + 60;

/// The segment of a packet that may be joined.
struct Segment<'a> {
    packet: &'a [u8],
    /// Where TCP begins, and where the payload does.
    start: usize,
    headers: usize,
    sequence: u32,
    flags: u8,
}

impl<'a> Segment<'a> {
    /// `None` if it is no segment that could be joined to others.
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let start = tcp_start(packet)?;
        let headers = start + usize::from(packet.get(start + tcp::OFFSET)? >> 4) * 4;
        let flags = *packet.get(start + tcp::FLAGS)?;
        let plain = flags & !tcp::PSH == tcp::ACK;
        let sequence = get32(packet, start + tcp::SEQUENCE)?;
        let (ip, part) = packet.split_at_checked(start)?;
        let whole = plain && headers >= start + tcp::HEADER && packet.len() > headers;
        let (addresses, version) = address_bytes(packet)?;
        let sum = Sum::default().pseudo(addresses, tcp::PROTOCOL, part.len()).bytes(part);
        let sound = whole && sum.is_sound() && (version == 6 || Sum::default().bytes(ip).is_sound());
        sound.then_some(Self { packet, start, headers, sequence, flags })
    }

    fn payload(&self) -> usize {
        self.packet.len() - self.headers
    }
}

/// Where TCP begins in a packet without options, extension headers and fragments whose length is what it says.
fn tcp_start(packet: &[u8]) -> Option<usize> {
    let length = packet.len();
    match packet.first()? {
        0x45 => {
            // All but "don't fragment" must be zero.
            let whole = get16(packet, ip4::FRAGMENT)? & !0x4000 == 0;
            let fits = usize::from(get16(packet, ip4::LENGTH)?) == length;
            (whole && fits && packet.get(ip4::PROTOCOL) == Some(&tcp::PROTOCOL)).then_some(ip4::HEADER)
        }
        first if first >> 4 == 6 => {
            let fits = usize::from(get16(packet, ip6::LENGTH)?) + ip6::HEADER == length;
            (fits && packet.get(ip6::NEXT) == Some(&tcp::PROTOCOL)).then_some(ip6::HEADER)
        }
        _ => None,
    }
}

/// Segments that were joined.
#[derive(Clone, Debug)]
struct Group {
    /// Room for the header of the device, then the headers of the first packet.
    head: [u8; HEAD],
    /// Where TCP begins in the packets, and where the payload does.
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
        (self.start, self.headers) = (segment.start, segment.headers);
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
        let push = segment.flags & tcp::PSH;
        self.closed = push != 0 || segment.payload() < self.size || self.count == PARTS;
        if let Some(flags) = self.head.get_mut(virtio::LEN + self.start + tcp::FLAGS) {
            *flags |= push;
        }
    }

    /// Whether both are of the same connection.
    fn same_flow(&self, packet: &[u8]) -> bool {
        let own = self.packet_head();
        let ports = |p: &[u8], start: usize| get32(p, start);
        self.count > 0
            && address_bytes(own) == address_bytes(packet)
            && tcp_ports(packet).is_none_or(|other| Some(other) == ports(own, self.start))
    }

    /// Whether `segment`, of the same connection, is the next one in all respects.
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
        let first = get32(own, start + tcp::SEQUENCE).unwrap_or_default();
        // Ports, acknowledgement, data offset, window, urgent pointer and options; flags are ACK and perhaps PSH.
        let fixed = same(start..start + 4)
            && same(start + 8..start + 13)
            && same(start + 14..start + 16)
            && same(start + 18..self.headers);
        !self.closed
            && (segment.start, segment.headers) == (start, self.headers)
            && ip
            && fixed
            && segment.sequence == first.wrapping_add(self.payload as u32)
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
        let (start, tcp_length) = (self.start, length - self.start);
        let header = Header {
            flags: virtio::NEEDS_CSUM,
            gso_type: if v4 { virtio::GSO_TCPV4 } else { virtio::GSO_TCPV6 },
            hdr_len: self.headers as u16,
            gso_size: self.size as u16,
            csum_start: start as u16,
            csum_offset: tcp::CHECKSUM as u16,
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
        let addresses = address_bytes(packet).map_or(&[][..], |(bytes, _)| bytes);
        let partial = Sum::default().pseudo(addresses, tcp::PROTOCOL, tcp_length).partial();
        put(packet, start + tcp::CHECKSUM, partial);
    }
}

/// The ports of a TCP packet that has no options in front; `None` where they cannot be told.
fn tcp_ports(packet: &[u8]) -> Option<u32> {
    get32(packet, tcp_start(packet)?)
}

/// Joins what is offered.
#[derive(Debug)]
pub struct Joiner {
    groups: Box<[Group; FLOWS]>,
    /// Which group makes room for the next connection.
    oldest: usize,
}

impl Joiner {
    /// With nothing in it.
    pub fn new() -> Self {
        Self { groups: Box::new([Group::EMPTY; FLOWS]), oldest: 0 }
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
        let tcp = is_tcp(packet);
        let segment = if tcp { Segment::parse(packet) } else { None };
        let known = if tcp { self.groups.iter().position(|group| group.same_flow(packet)) } else { None };
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
                // Whatever it is, it does not overtake segments of its connection; without ports that may be several.
                let same = self.groups.iter_mut().filter(|group| tcp && group.same_flow(packet));
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

impl Default for Joiner {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether it is TCP or might be, behind options or in fragments.
fn is_tcp(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(ip4::PROTOCOL) == Some(&tcp::PROTOCOL),
        // With extension headers it might be.
        Some(6) => packet.get(ip6::NEXT) != Some(&super::udp::PROTOCOL),
        Some(_) | None => false,
    }
}
