//! A reader for classic pcap files of Ethernet, as much of it as the captures here need.

use std::path::Path;
use std::time::Duration;

use vrrp_rs::IpHeader;
use vrrp_rs::wire::frame;

/// A packet of IP protocol 112 from a capture.
pub struct Captured {
    /// Since the first frame of the capture.
    pub at: Duration,
    pub header: IpHeader,
    pub payload: Vec<u8>,
}

/// The VRRP and CARP packets of `tests/captures/<name>`, in order.
pub fn capture(name: &str) -> Vec<Captured> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(bytes[..4], [0xd4, 0xc3, 0xb2, 0xa1], "little-endian pcap with microseconds");
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (mut at, mut first, mut packets) = (24, None, Vec::new());
    while at < bytes.len() {
        let time = Duration::from_secs(word(at).into()) + Duration::from_micros(word(at + 4).into());
        let frame = &bytes[at + 16..][..usize::try_from(word(at + 8)).unwrap()];
        at += 16 + frame.len();
        let first = *first.get_or_insert(time);
        if let Some((header, payload)) = frame::parse(frame) {
            packets.push(Captured { at: time - first, header, payload: payload.to_vec() });
        }
    }
    packets
}
