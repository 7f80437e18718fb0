use rempart_config::model::gateway4;

use super::*;
use crate::vpn::server::tests::plan;

fn group(pool4: &str, pool6: Option<&str>) -> GroupPlan {
    let mut group = plan().groups.remove(0);
    group.pool4 = Some(pool4.parse().unwrap());
    group.pool6 = pool6.map(|pool| pool.parse().unwrap());
    group
}

#[test]
fn a_device_gets_its_address_again() {
    let (mut addresses, group) = (Addresses::default(), group("10.8.0.0/24", Some("fd00:8::/64")));
    let none = Inner::default();
    let first = addresses.take(Handle(1), &group, "one", none).unwrap();
    let other = addresses.take(Handle(2), &group, "two", none).unwrap();
    assert!(first.v4 != other.v4 && first.v6 != other.v6);
    // While it is in use the device has another one; afterwards the same.
    let second = addresses.take(Handle(3), &group, "one", none).unwrap();
    assert_ne!(second.v4, first.v4);
    addresses.release(Handle(3), second);
    addresses.hold(Handle(1), "one", first);
    addresses.release(Handle(1), first);
    assert_eq!(addresses.take(Handle(4), &group, "one", none), Ok(first));
    // A server that remembers nothing gives the same.
    assert_eq!(Addresses::default().take(Handle(1), &group, "one", none), Ok(first));
    // What is another's is not given back.
    addresses.release(Handle(9), first);
    assert_eq!(addresses.owner(first.v4.unwrap().into()), Some(Handle(4)));
}

/// Every host address but the gateway's once, and then no more.
#[test]
fn a_pool_is_used_up_and_no_further() {
    for (pool, hosts) in [("10.8.0.0/29", 5), ("10.8.0.0/30", 1), ("10.8.0.0/31", 0), ("10.8.0.0/32", 0)] {
        let (mut addresses, group) = (Addresses::default(), group(pool, None));
        let mut given = std::collections::BTreeSet::new();
        for number in 0..hosts {
            let inner = addresses.take(Handle(number), &group, &format!("device {number}"), Inner::default());
            assert!(given.insert(inner.unwrap().v4.unwrap()), "{pool}");
        }
        let pool = group.pool4.unwrap();
        assert!(given.iter().all(|ip| pool.contains(ip) && *ip != gateway4(pool) && *ip != pool.network()));
        assert!(addresses.take(Handle(99), &group, "one more", Inner::default()).is_err(), "{pool}");
    }
}

#[test]
fn a_fixed_address_is_taken_as_it_is() {
    let (mut addresses, group) = (Addresses::default(), group("10.8.0.0/24", Some("fd00:8::/120")));
    let fixed = Inner { v4: Some([10, 8, 0, 77].into()), v6: None };
    let inner = addresses.take(Handle(1), &group, "one", fixed).unwrap();
    assert_eq!(inner.v4, fixed.v4);
    assert!(group.pool6.unwrap().contains(&inner.v6.unwrap()));
}

/// More devices than are remembered: the oldest are forgotten.
#[test]
fn what_is_remembered_has_an_end() {
    let (mut addresses, group) = (Addresses::default(), group("10.8.0.0/16", None));
    for number in 0..MAX_REMEMBERED as u64 + 10 {
        let inner = addresses.take(Handle(number), &group, &format!("{number}"), Inner::default()).unwrap();
        addresses.release(Handle(number), inner);
    }
    assert_eq!(addresses.remembered.len(), MAX_REMEMBERED);
    assert!(!addresses.remembered.contains_key("0"));
}
