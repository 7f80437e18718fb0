//! Asking a neighbour whether it is there, by frames that are written here and sent through a packet socket: an ARP
//! request (RFC 826), or a neighbour solicitation (RFC 4861 §4.3). No answer goes into the kernel's table, and no rule of
//! the policy is in the way.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OPTION_SOURCE_LINK_LAYER: u8 = 1;
/// A message that came through a router has a lower one (RFC 4861 §7.1.2).
const HOP_LIMIT: u8 = 255;
const ETHERNET: usize = 14;
const IPV6: usize = 40;
const ARP: usize = 28;

/// The frame by which the holder of `mac` and `source` asks who has `target`; `None` if the two addresses are of different
/// families.
pub fn question(mac: [u8; 6], source: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Some(arp_request(mac, source, target)),
        (IpAddr::V6(source), IpAddr::V6(target)) => Some(solicitation(mac, source, target)),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// Whose answer a frame is: the sender of an ARP reply, the target of a neighbour advertisement. Checksums are not looked
/// at; the answer only says that somebody is there.
pub fn answer(frame: &[u8]) -> Option<IpAddr> {
    let packet = frame.get(ETHERNET..)?;
    match u16_at(frame, 12)? {
        ETHERTYPE_ARP => {
            let ours = u16_at(packet, 2)? == ETHERTYPE_IPV4 && u16_at(packet, 6)? == ARP_REPLY;
            let sender: [u8; 4] = packet.get(14..18)?.try_into().ok()?;
            ours.then(|| Ipv4Addr::from(sender).into())
        }
        ETHERTYPE_IPV6 => {
            let near = *packet.get(6)? == ICMPV6 && *packet.get(7)? == HOP_LIMIT;
            let message = packet.get(IPV6..)?;
            let ours = near && *message.first()? == ADVERTISEMENT;
            let target: [u8; 16] = message.get(8..24)?.try_into().ok()?;
            ours.then(|| Ipv6Addr::from(target).into())
        }
        _ => None,
    }
}

fn arp_request(mac: [u8; 6], source: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], mac, ETHERTYPE_ARP, ARP);
    frame.extend([0, 1]);
    frame.extend(ETHERTYPE_IPV4.to_be_bytes());
    frame.extend([6, 4]);
    frame.extend(ARP_REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(source.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

fn solicitation(mac: [u8; 6], source: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    // RFC 4291 §2.7.1: the solicited-node group.
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    let mut message = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([OPTION_SOURCE_LINK_LAYER, 1]);
    message.extend(mac);
    let sum = checksum(source, group, &message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);

    let mut frame = ethernet([0x33, 0x33, 0xff, a, b, c], mac, ETHERTYPE_IPV6, IPV6 + message.len());
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, ICMPV6, HOP_LIMIT]);
    frame.extend(source.octets());
    frame.extend(group.octets());
    frame.extend(message);
    frame
}

fn ethernet(to: [u8; 6], from: [u8; 6], kind: u16, payload: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(ETHERNET + payload);
    frame.extend(to);
    frame.extend(from);
    frame.extend(kind.to_be_bytes());
    frame
}

/// RFC 4443 §2.3, of a message of even length.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) -> u16 {
    let addresses = source.octets().into_iter().chain(destination.octets());
    let rest = [0, 0, 0, message.len() as u8, 0, 0, 0, ICMPV6].into_iter().chain(message.iter().copied());
    let bytes: Vec<u8> = addresses.chain(rest).collect();
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// In: an ARP reply and requests. Out: the sender of the reply only.
    #[test]
    fn only_a_reply_is_an_answer() {
        let (us, them): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.9".parse().unwrap());
        let mut frame = question(MAC, us, them).unwrap();
        assert_eq!(answer(&frame), None);
        frame[21] = 2;
        assert_eq!(answer(&frame), Some(us));
        assert_eq!(question(MAC, us, "::1".parse().unwrap()), None);
    }

    /// In: a solicitation, made into an advertisement; one that came through a router. Out: its target; nothing.
    #[test]
    fn only_a_near_advertisement_is_an_answer() {
        let (us, them): (IpAddr, IpAddr) = ("fe80::1".parse().unwrap(), "fe80::9".parse().unwrap());
        let mut frame = question(MAC, us, them).unwrap();
        assert_eq!(answer(&frame), None);
        frame[ETHERNET + IPV6] = ADVERTISEMENT;
        assert_eq!(answer(&frame), Some(them));
        frame[ETHERNET + 7] = 254;
        assert_eq!(answer(&frame), None);
    }

    proptest! {
        /// In: any bytes. Out: no panic.
        #[test]
        fn any_frame_can_be_read(frame in proptest::collection::vec(any::<u8>(), 0..128)) {
            answer(&frame);
        }
    }
}
