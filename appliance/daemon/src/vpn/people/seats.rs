//! How many logins are judged at once: wrong tries are counted when they have been judged, so what is under way must be few.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Of one name: a person on two devices.
const OF_NAME: u32 = 2;
/// From one address: a barracks behind one router, after its line was cut.
const OF_ADDRESS: u32 = 32;

#[derive(Default, Debug)]
struct Taken {
    names: BTreeMap<String, u32>,
    addresses: BTreeMap<IpAddr, u32>,
}

/// Those that are taken. There are never more entries than logins under way.
#[derive(Clone, Default, Debug)]
pub struct Seats(Arc<Mutex<Taken>>);

/// One login that is judged; dropped, it makes room.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    name: String,
    address: IpAddr,
}

impl Seats {
    /// A seat, if there is one.
    pub fn take(&self, name: &str, address: IpAddr) -> Option<Seat> {
        let name = name.to_lowercase();
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_name = taken.names.get(&name).copied().unwrap_or(0);
        let of_address = taken.addresses.get(&address).copied().unwrap_or(0);
        if of_name >= OF_NAME || of_address >= OF_ADDRESS {
            return None;
        }
        *taken.names.entry(name.clone()).or_default() += 1;
        *taken.addresses.entry(address).or_default() += 1;
        drop(taken);
        Some(Seat { seats: self.clone(), name, address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        leave(&mut taken.names, &self.name);
        leave(&mut taken.addresses, &self.address);
    }
}

fn leave<K: Ord + Clone>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: logins of one name, and from one address. Out: seats up to the limits, again once one was left, and nothing is kept.
    #[test]
    fn seats_are_few_and_given_back() {
        let (seats, home) = (Seats::default(), IpAddr::from([192, 0, 2, 1]));
        let mut taken: Vec<_> = (0..OF_NAME).filter_map(|_| seats.take("Alice", home)).collect();
        assert_eq!(taken.len(), OF_NAME as usize);
        assert!(seats.take("alice", home).is_none());
        taken.pop();
        assert!(seats.take("ALICE", home).is_some());
        let others: Vec<_> = (0..OF_ADDRESS + 5).filter_map(|n| seats.take(&format!("u{n}"), home)).collect();
        assert_eq!(others.len() + taken.len(), OF_ADDRESS as usize);
        assert!(seats.take("bob", IpAddr::from([192, 0, 2, 2])).is_some());
        drop((taken, others));
        let rest = seats.0.lock().unwrap();
        assert!(rest.names.is_empty() && rest.addresses.is_empty());
    }
}
