//! One read of a TUN device, cut into packets that are whole: lengths, sequence numbers and checksums of their own.

use super::checksum::Sum;
use super::virtio::{self, Header};
use super::{address_bytes, get16, get32, ip4, ip6, put, tcp, udp};

/// What the kernel said of a packet does not fit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Neither IPv4 nor IPv6, or too short to tell.
    #[error("no IP packet")]
    Ip,
    /// A kind of super-packet that was not asked for.
    #[error("a super-packet of the kind {0}")]
    Kind(u8),
    /// The headers are not where they should be.
    #[error("the headers do not fit the packet")]
    Headers,
    /// Packets without payload.
    #[error("packets of 0 bytes")]
    Size,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// One packet. Where its checksum begins and stands, if that has to be completed.
    Whole(Option<(usize, usize)>),
    /// A super-packet of TCP whose transport header begins here.
    Tcp(usize),
    /// Of UDP.
    Udp(usize),
}

/// A read of a TUN device that is being cut.
#[derive(Debug)]
pub struct Cutter<'p> {
    packet: &'p [u8],
    kind: Kind,
    /// Bytes of all headers; for a whole packet its length.
    headers: usize,
    /// Payload bytes of each packet but the last.
    size: usize,
    /// Payload bytes that were written.
    done: usize,
    /// Packets that were written.
    index: u16,
    over: bool,
}

impl<'p> Cutter<'p> {
    /// Looks at a packet and what the kernel says of it.
    pub fn new(header: &Header, packet: &'p [u8]) -> Result<Self, Malformed> {
        let (_, version) = address_bytes(packet).ok_or(Malformed::Ip)?;
        let start = usize::from(header.csum_start);
        let needs_csum = header.flags & virtio::NEEDS_CSUM != 0;
        let (kind, headers) = match (header.gso_type & !virtio::GSO_ECN, version) {
            (virtio::GSO_NONE, _) if !needs_csum => (Kind::Whole(None), packet.len()),
            (virtio::GSO_NONE, _) => {
                let field = start + usize::from(header.csum_offset);
                if field + 2 > packet.len() {
                    return Err(Malformed::Headers);
                }
                (Kind::Whole(Some((start, field))), packet.len())
            }
            (virtio::GSO_TCPV4, 4) | (virtio::GSO_TCPV6, 6) => {
                let offset = packet.get(start + tcp::OFFSET).ok_or(Malformed::Headers)?;
                let headers = start + usize::from(offset >> 4) * 4;
                if headers < start + tcp::HEADER {
                    return Err(Malformed::Headers);
                }
                (Kind::Tcp(start), headers)
            }
            (virtio::GSO_UDP_L4, _) => (Kind::Udp(start), start + udp::HEADER),
            (kind, _) => return Err(Malformed::Kind(kind)),
        };
        let size = usize::from(header.gso_size);
        if let Kind::Tcp(_) | Kind::Udp(_) = kind {
            let protocol = if matches!(kind, Kind::Tcp(_)) { tcp::PROTOCOL } else { udp::PROTOCOL };
            if !needs_csum || headers > packet.len() || !transport_at(packet, version, start, protocol) {
                return Err(Malformed::Headers);
            }
            if size == 0 {
                return Err(Malformed::Size);
            }
        }
        Ok(Self { packet, kind, headers, size, done: 0, index: 0, over: false })
    }

    /// Length of the next packet; `None` when there is none.
    pub fn next_len(&self) -> Option<usize> {
        let left = self.packet.len() - self.headers - self.done;
        (!self.over).then(|| self.headers + left.min(self.size))
    }

    /// Writes the next packet to `out`, which is as long as [`Self::next_len`] says; what is shorter gets nothing.
    pub fn write(&mut self, out: &mut [u8]) {
        let Some(length) = self.next_len() else { return };
        let payload = self.headers + self.done..self.done + length;
        let (Some(out), Some(headers), Some(payload)) =
            (out.get_mut(..length), self.packet.get(..self.headers), self.packet.get(payload))
        else {
            return;
        };
        let (head, body) = out.split_at_mut(self.headers);
        head.copy_from_slice(headers);
        body.copy_from_slice(payload);
        let last = self.done + payload.len() == self.packet.len() - self.headers;
        match self.kind {
            Kind::Whole(None) => {}
            Kind::Whole(Some((start, field))) => {
                // The sum of the pseudo-header stands in the field and is summed up with the rest. For UDP a checksum
                // of 0 would say that there is none (RFC 768); for TCP both zeros are the same.
                let sum = Sum::default().bytes(out.get(start..).unwrap_or_default());
                put(out, field, not_zero(sum.complete()));
            }
            Kind::Tcp(start) => self.finish_tcp(out, start, last),
            Kind::Udp(start) => self.finish_udp(out, start),
        }
        self.done += payload.len();
        self.index = self.index.wrapping_add(1);
        self.over = last;
    }

    fn finish_tcp(&self, out: &mut [u8], start: usize, last: bool) {
        self.finish_ip(out);
        let sequence = get32(out, start + tcp::SEQUENCE).unwrap_or_default().wrapping_add(self.done as u32);
        put(out, start + tcp::SEQUENCE, sequence.to_be_bytes());
        if let Some(flags) = out.get_mut(start + tcp::FLAGS) {
            if !last {
                *flags &= !(tcp::FIN | tcp::PSH);
            }
            // RFC 3168 §6.1.2: CWR is on the first packet after the window was reduced.
            if self.index > 0 {
                *flags &= !tcp::CWR;
            }
        }
        put(out, start + tcp::CHECKSUM, [0, 0]);
        // As for a whole packet, so that the same packet has the same bytes either way.
        put(out, start + tcp::CHECKSUM, not_zero(transport_checksum(out, start, tcp::PROTOCOL)));
    }

    fn finish_udp(&self, out: &mut [u8], start: usize) {
        self.finish_ip(out);
        put(out, start + udp::LENGTH, ((out.len() - start) as u16).to_be_bytes());
        put(out, start + udp::CHECKSUM, [0, 0]);
        put(out, start + udp::CHECKSUM, not_zero(transport_checksum(out, start, udp::PROTOCOL)));
    }

    /// Length, identification and checksum of the IP header.
    fn finish_ip(&self, out: &mut [u8]) {
        let length = out.len();
        match out.first().map(|first| (first >> 4, usize::from(first & 15) * 4)) {
            Some((4, header)) => {
                put(out, ip4::LENGTH, (length as u16).to_be_bytes());
                let id = get16(out, ip4::ID).unwrap_or_default().wrapping_add(self.index);
                put(out, ip4::ID, id.to_be_bytes());
                put(out, ip4::CHECKSUM, [0, 0]);
                let sum = Sum::default().bytes(out.get(..header).unwrap_or_default());
                put(out, ip4::CHECKSUM, sum.complete());
            }
            Some(_) | None => {
                put(out, ip6::LENGTH, (length.saturating_sub(ip6::HEADER) as u16).to_be_bytes())
            }
        }
    }
}

/// Whether a header of `protocol` may begin at `start`. Behind extension headers of IPv6 the kernel is believed.
fn transport_at(packet: &[u8], version: u8, start: usize, protocol: u8) -> bool {
    let first = packet.first().copied().unwrap_or_default();
    match version {
        4 => start == usize::from(first & 15) * 4 && packet.get(ip4::PROTOCOL) == Some(&protocol),
        _ => start > ip6::HEADER || start == ip6::HEADER && packet.get(ip6::NEXT) == Some(&protocol),
    }
}

/// The checksum of a whole packet's TCP or UDP part, which begins at `start` and has zeros where the checksum goes.
fn transport_checksum(packet: &[u8], start: usize, protocol: u8) -> [u8; 2] {
    let (addresses, part) =
        (address_bytes(packet).map_or(&[][..], |(bytes, _)| bytes), packet.get(start..).unwrap_or_default());
    Sum::default().pseudo(addresses, protocol, part.len()).bytes(part).complete()
}

fn not_zero(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] { [0xff; 2] } else { checksum }
}
