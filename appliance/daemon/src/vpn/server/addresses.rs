//! Who has which address in the tunnel.
//!
//! A device gets the address that it had before while that is free; one that is new gets one that follows from its name, or
//! the next free one after it, so that a restarted server gives the same address in most cases without having kept
//! anything. The first host address of a pool is the gateway's.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rempart_plan::vpn::GroupPlan;
use ring::digest::{SHA256, digest};

use super::Handle;
use super::grant::Inner;

/// Devices whose address is remembered: more than there can be sessions, some 100 bytes each.
const MAX_REMEMBERED: usize = 8192;
/// Addresses that are tried at most: as many as a pool of /16 has. Sessions are fewer.
const MAX_TRIES: u128 = 1 << 16;

/// All addresses of a pool are in use.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no address is free in the pool {0}; make it larger")]
pub struct Exhausted(pub IpNet);

/// Who has which address.
#[derive(Debug, Default)]
pub struct Addresses {
    used: BTreeMap<IpAddr, Handle>,
    remembered: BTreeMap<String, (Inner, u64)>,
    clock: u64,
}

impl Addresses {
    /// Addresses of `group` for `who`, a device or else a person. `fixed` ones are taken as they are: whoever has them now
    /// must have been ended before.
    pub fn take(
        &mut self,
        owner: Handle,
        group: &GroupPlan,
        who: &str,
        fixed: Inner,
    ) -> Result<Inner, Exhausted> {
        let before = self.remembered.get(who).map(|(inner, _)| *inner).unwrap_or_default();
        let v4 = match (fixed.v4, group.pool4) {
            (Some(fixed), _) => Some(fixed),
            (None, Some(pool)) => Some(self.free4(pool, before.v4, who).ok_or(Exhausted(pool.into()))?),
            (None, None) => None,
        };
        let v6 = match (fixed.v6, group.pool6) {
            (Some(fixed), _) => Some(fixed),
            (None, Some(pool)) => Some(self.free6(pool, before.v6, who).ok_or(Exhausted(pool.into()))?),
            (None, None) => None,
        };
        let inner = Inner { v4, v6 };
        self.hold(owner, who, inner);
        Ok(inner)
    }

    /// These addresses are `owner`'s: of a session that was carried on, or that begins anew in place.
    pub fn hold(&mut self, owner: Handle, who: &str, inner: Inner) {
        self.used.extend(inner.addresses().map(|ip| (ip, owner)));
        self.clock += 1;
        self.remembered.insert(who.to_owned(), (inner, self.clock));
        if self.remembered.len() > MAX_REMEMBERED {
            let oldest = self.remembered.iter().min_by_key(|(_, (_, at))| *at).map(|(who, _)| who.clone());
            oldest.iter().for_each(|who| {
                self.remembered.remove(who);
            });
        }
    }

    /// Who has an address.
    pub fn owner(&self, ip: IpAddr) -> Option<Handle> {
        self.used.get(&ip).copied()
    }

    /// Gives back what is `owner`'s.
    pub fn release(&mut self, owner: Handle, inner: Inner) {
        for ip in inner.addresses() {
            if self.used.get(&ip) == Some(&owner) {
                self.used.remove(&ip);
            }
        }
    }

    /// Nobody has any.
    pub fn clear(&mut self) {
        self.used.clear();
    }

    fn free4(&self, pool: Ipv4Net, before: Option<Ipv4Addr>, who: &str) -> Option<Ipv4Addr> {
        let network = u32::from(pool.network());
        let size = 1_u128 << (32 - u32::from(pool.prefix_len()));
        // Network, gateway and broadcast are nobody's.
        let places = 2..size.saturating_sub(1);
        let fits = |ip: &Ipv4Addr| places.contains(&u128::from(u32::from(*ip).wrapping_sub(network)));
        let address = |place: u128| {
            let place = u32::try_from(place).ok()?;
            network.checked_add(place).map(|ip| IpAddr::from(Ipv4Addr::from(ip)))
        };
        match before.filter(|ip| fits(ip) && self.is_free((*ip).into())) {
            Some(ip) => Some(ip),
            None => match self.search(places.clone(), who, address)? {
                IpAddr::V4(ip) => Some(ip),
                IpAddr::V6(_) => None,
            },
        }
    }

    fn free6(&self, pool: Ipv6Net, before: Option<Ipv6Addr>, who: &str) -> Option<Ipv6Addr> {
        let network = u128::from(pool.network());
        let size = 1_u128.checked_shl(128 - u32::from(pool.prefix_len())).unwrap_or(u128::MAX);
        let places = 2..size;
        let fits = |ip: &Ipv6Addr| places.contains(&u128::from(*ip).wrapping_sub(network));
        let address = |place: u128| network.checked_add(place).map(|ip| IpAddr::from(Ipv6Addr::from(ip)));
        match before.filter(|ip| fits(ip) && self.is_free((*ip).into())) {
            Some(ip) => Some(ip),
            None => match self.search(places.clone(), who, address)? {
                IpAddr::V6(ip) => Some(ip),
                IpAddr::V4(_) => None,
            },
        }
    }

    fn is_free(&self, ip: IpAddr) -> bool {
        !self.used.contains_key(&ip)
    }

    /// The first free one from where `who` belongs, once around.
    fn search(
        &self,
        places: std::ops::Range<u128>,
        who: &str,
        address: impl Fn(u128) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        let count = places.end.checked_sub(places.start).filter(|count| *count > 0)?;
        let hash = digest(&SHA256, who.as_bytes());
        let hash = hash.as_ref().first_chunk::<16>().map_or(0, |bytes| u128::from_be_bytes(*bytes));
        let first = hash % count;
        (0..count.min(MAX_TRIES))
            .filter_map(|step| {
                // Below `count` twice, which is below 2¹²⁸ for every pool but one of all addresses.
                let place = first.checked_add(step)? % count;
                address(places.start + place)
            })
            .find(|ip| self.is_free(*ip))
    }
}

#[cfg(test)]
mod tests;
