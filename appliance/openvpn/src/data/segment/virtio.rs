//! The header before each packet of a TUN device with offloads (`linux/virtio_net.h`, struct virtio_net_hdr).

/// Bytes of it.
pub const LEN: usize = 10;
/// The checksum is only begun: it has to be completed from `csum_start` to the end.
pub const NEEDS_CSUM: u8 = 1;
/// What kind of super-packet it is: none.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// UDP datagrams of one flow, over either.
pub const GSO_UDP_L4: u8 = 5;
/// Added to a TCP kind: the first packet alone has CWR.
pub const GSO_ECN: u8 = 0x80;

/// The header. In the byte order of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// [`NEEDS_CSUM`] or not; other flags say nothing that matters here.
    pub flags: u8,
    /// `GSO_…`.
    pub gso_type: u8,
    /// Bytes of the headers, a hint.
    pub hdr_len: u16,
    /// Payload bytes of each packet but the last.
    pub gso_size: u16,
    /// Where the checksum begins.
    pub csum_start: u16,
    /// Where it stands, from there.
    pub csum_offset: u16,
}

impl Header {
    /// The header and the packet behind it; `None` if there is no room for a header.
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, packet) = bytes.split_first_chunk::<LEN>()?;
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *head;
        let [hdr_len, gso_size, csum_start, csum_offset] =
            [[a, b], [c, d], [e, f], [g, h]].map(u16::from_ne_bytes);
        Some((Self { flags, gso_type, hdr_len, gso_size, csum_start, csum_offset }, packet))
    }

    /// As it goes before the packet.
    pub fn encode(self) -> [u8; LEN] {
        let [a, b] = self.hdr_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }
}
