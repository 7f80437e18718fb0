//! Cryptokey routing (WireGuard §2): which peer an address belongs to, by the longest prefix.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

/// Networks and whose they are. One look-up for each length of prefix that there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    v4: Table,
    v6: Table,
}

/// Longest prefixes first.
#[derive(Clone, Debug, Default)]
struct Table(Vec<(u32, HashMap<u128, usize>)>);

impl Routes {
    /// Of two peers with the same network the later one has it, as with every implementation.
    pub fn of<'a>(peers: impl IntoIterator<Item = (usize, &'a [IpNet])>) -> Self {
        let (mut v4, mut v6) = (BTreeMap::new(), BTreeMap::new());
        for (peer, nets) in peers {
            for net in nets {
                let (table, bits, shift): (&mut BTreeMap<u32, HashMap<u128, usize>>, u128, u8) = match net {
                    IpNet::V4(net) => (&mut v4, u32::from(net.network()).into(), 32 - net.prefix_len()),
                    IpNet::V6(net) => (&mut v6, net.network().into(), 128 - net.prefix_len()),
                };
                table.entry(shift.into()).or_default().insert(cut(bits, shift.into()), peer);
            }
        }
        // What is shifted out least is the longest prefix.
        Self { v4: Table(v4.into_iter().collect()), v6: Table(v6.into_iter().collect()) }
    }

    /// Whose `address` is.
    pub fn owner(&self, address: IpAddr) -> Option<usize> {
        let (table, bits) = match address {
            IpAddr::V4(address) => (&self.v4, u32::from(address).into()),
            IpAddr::V6(address) => (&self.v6, address.into()),
        };
        table.0.iter().find_map(|(shift, nets)| nets.get(&cut(bits, *shift)).copied())
    }
}

/// Without the bits of the host.
fn cut(bits: u128, shift: u32) -> u128 {
    bits.checked_shr(shift).unwrap_or(0)
}

/// Source and destination of a packet; `None` if it is no IP packet.
pub(crate) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let from: [u8; 4] = *packet.get(12..)?.first_chunk()?;
            let to: [u8; 4] = *packet.get(16..)?.first_chunk()?;
            Some((from.into(), to.into()))
        }
        6 => {
            let from: [u8; 16] = *packet.get(8..)?.first_chunk()?;
            let to: [u8; 16] = *packet.get(24..)?.first_chunk()?;
            Some((from.into(), to.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Random networks and an address: the owner is the one whom a search through all of them finds.
        #[test]
        fn the_longest_prefix_owns(nets in proptest::collection::vec((any::<bool>(), any::<u32>(), 0u8..=32), 1..40), address: u32, v6: bool) {
            let net = |(v6, bits, length): &(bool, u32, u8)| -> IpNet {
                let bits = bits & 0x0f0f_0fff;
                match v6 {
                    false => IpNet::new(IpAddr::V4(bits.into()), *length).unwrap().trunc(),
                    true => IpNet::new(IpAddr::V6((u128::from(bits) << 96).into()), *length).unwrap().trunc(),
                }
            };
            let nets: Vec<IpNet> = nets.iter().map(net).collect();
            let lists: Vec<Vec<IpNet>> = nets.iter().map(|n| vec![*n]).collect();
            let routes = Routes::of(lists.iter().enumerate().map(|(peer, nets)| (peer, nets.as_slice())));
            let bits = address & 0x0f0f_0fff;
            let address = if v6 { IpAddr::V6((u128::from(bits) << 96).into()) } else { IpAddr::V4(bits.into()) };
            let expected = nets.iter().enumerate().filter(|(_, n)| n.contains(&address)).max_by_key(|(at, n)| (n.prefix_len(), *at));
            prop_assert_eq!(routes.owner(address), expected.map(|(at, _)| at));
        }
    }

    #[test]
    fn what_is_no_packet_has_no_addresses() {
        for bytes in [&[][..], &[0x45; 19], &[0x60; 39], &[0x75; 60]] {
            assert_eq!(addresses(bytes), None);
        }
        assert_eq!(addresses(&[0x45; 20]).unwrap().0, "69.69.69.69".parse::<IpAddr>().unwrap());
    }
}
