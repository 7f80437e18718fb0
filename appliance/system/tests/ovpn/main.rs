//! The kernel's OpenVPN as it is: devices, peers, keys and notices. Where the kernel has no such driver the tests are skipped,
//! unless `REMPART_OVPN` says that it has to be there (`make test-ovpn`: the image's kernel in an emulated machine).

#[path = "../common/mod.rs"]
mod common;
mod corpus;
mod fuzz;

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use common::{in_namespace, sh};
use rempart_config::model::Device;
use rempart_system::ovpn::{
    Direction, Happened, Keepalive, Key, MAX_PEER, NewPeer, Notice, Notices, Ovpn, Reason, Slot,
};

/// Runs a test with the driver and a device in a namespace of its own, in which 192.0.2.1 and 2001:db8::1 are ours.
fn with_driver(test: impl FnOnce(Ovpn, u32) + Send + 'static) {
    in_namespace(move || async move {
        let Some(mut ovpn) = Ovpn::open().expect("generic netlink") else {
            assert!(std::env::var_os("REMPART_OVPN").is_none(), "the kernel has no driver for OpenVPN");
            return eprintln!("skipped: the kernel has no driver for OpenVPN (Linux 6.16)");
        };
        sh("ip link add wan type dummy; ip link set wan up; ip addr add 192.0.2.1/24 dev wan; \
            ip addr add 2001:db8::1/64 dev wan nodad");
        let device = ovpn.create(&Device::new("vpn0k")).expect("a device");
        test(ovpn, device);
    });
}

fn peer(id: u32) -> NewPeer {
    NewPeer {
        id,
        remote: format!("192.0.2.{}:40000", id + 1).parse().unwrap(),
        local: "192.0.2.1".parse().unwrap(),
        inner4: Some(format!("10.8.0.{}", id + 1).parse().unwrap()),
        inner6: Some(format!("fd00::{}", id + 1).parse().unwrap()),
        keepalive: Keepalive { interval_s: 0, timeout_s: 0 },
    }
}

fn key(id: u8) -> Key<'static> {
    let direction = Direction { key: &[7; 32], nonce_tail: &[8; 8] };
    Key { id, encrypt: direction, decrypt: Direction { key: &[9; 32], ..direction } }
}

fn socket() -> UdpSocket {
    UdpSocket::bind("192.0.2.1:1194").unwrap()
}

fn next(notices: &mut Notices) -> Notice {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let mut found = None;
        notices.read(|notice| found = found.or(Some(notice))).expect("notices");
        match found {
            Some(found) => return found,
            None => assert!(Instant::now() < end, "no notice"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A peer is as it was told to be, is moved, and goes; a second one of its number is refused, and nothing of it is there.
#[test]
fn peers_come_move_and_go() {
    with_driver(|mut ovpn, device| {
        let mut notices = ovpn.notices().unwrap();
        let socket = socket();
        assert_eq!(ovpn.peers(device).unwrap(), []);
        ovpn.add_peer(device, &peer(3), socket.as_fd()).unwrap();
        ovpn.add_peer(device, &peer(4), socket.as_fd()).unwrap();
        assert!(ovpn.add_peer(device, &peer(3), socket.as_fd()).unwrap_err().is_refusal());
        let found = ovpn.peer(device, 3).unwrap();
        assert_eq!((found.remote, found.local), (Some(peer(3).remote), Some(peer(3).local)));
        assert_eq!((found.inner4, found.inner6), (peer(3).inner4, peer(3).inner6));
        assert_eq!((found.inner, found.outer), Default::default());
        ovpn.move_peer(device, 3, "192.0.2.99:5".parse().unwrap(), peer(3).local).unwrap();
        assert_eq!(ovpn.peer(device, 3).unwrap().remote, Some("192.0.2.99:5".parse().unwrap()));
        let mut ids: Vec<u32> = ovpn.peers(device).unwrap().iter().map(|peer| peer.id).collect();
        ids.sort_unstable();
        assert_eq!(ids, [3, 4]);
        ovpn.delete_peer(device, 3).unwrap();
        assert!(ovpn.peer(device, 3).unwrap_err().is_absence());
        assert!(ovpn.delete_peer(device, 3).unwrap_err().is_absence());
        assert_eq!(next(&mut notices), Notice { device, peer: 3, what: Happened::Deleted(Reason::Asked) });
        // A program that dies takes its peers along: nobody seals with their keys any more.
        drop(socket);
        let what = Happened::Deleted(Reason::Disconnected);
        assert_eq!(next(&mut notices), Notice { device, peer: 4, what });
        assert_eq!(ovpn.peers(device).unwrap(), []);
    });
}

#[test]
fn a_peer_over_ipv6_and_refusals() {
    with_driver(|mut ovpn, device| {
        let socket = UdpSocket::bind("[2001:db8::1]:1194").unwrap();
        let (remote, local) = ("[2001:db8::2]:40000".parse().unwrap(), "2001:db8::1".parse().unwrap());
        ovpn.add_peer(device, &NewPeer { remote, local, ..peer(3) }, socket.as_fd()).unwrap();
        let found = ovpn.peer(device, 3).unwrap();
        assert_eq!((found.remote, found.local), (Some(remote), Some(local)));
        let too_large = NewPeer { id: MAX_PEER + 1, ..peer(3) };
        assert!(ovpn.add_peer(device, &too_large, socket.as_fd()).unwrap_err().is_refusal());
        let nowhere = NewPeer { inner4: None, inner6: None, ..peer(4) };
        assert!(ovpn.add_peer(device, &nowhere, socket.as_fd()).unwrap_err().is_refusal());
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert!(ovpn.add_peer(device, &peer(4), file.as_fd()).unwrap_err().is_refusal());
        assert!(ovpn.put_key(device, 3, Slot::Primary, &key(8)).unwrap_err().is_refusal());
        let lo = 1;
        assert!(ovpn.peers(lo).unwrap_err().is_refusal());
    });
}

#[test]
fn keys_lie_where_they_were_put_and_change_places() {
    with_driver(|mut ovpn, device| {
        let socket = socket();
        ovpn.add_peer(device, &peer(3), socket.as_fd()).unwrap();
        assert_eq!(ovpn.key(device, 3, Slot::Primary).unwrap(), None);
        ovpn.put_key(device, 3, Slot::Primary, &key(0)).unwrap();
        ovpn.put_key(device, 3, Slot::Secondary, &key(1)).unwrap();
        let keys =
            |ovpn: &mut Ovpn| [Slot::Primary, Slot::Secondary].map(|slot| ovpn.key(device, 3, slot).unwrap());
        assert_eq!(keys(&mut ovpn), [Some(0), Some(1)]);
        ovpn.swap_keys(device, 3).unwrap();
        assert_eq!(keys(&mut ovpn), [Some(1), Some(0)]);
        ovpn.put_key(device, 3, Slot::Secondary, &key(2)).unwrap();
        assert_eq!(keys(&mut ovpn), [Some(1), Some(2)]);
        ovpn.delete_key(device, 3, Slot::Primary).unwrap();
        assert_eq!(keys(&mut ovpn), [None, Some(2)]);
        assert!(ovpn.put_key(device, 9, Slot::Primary, &key(0)).unwrap_err().is_absence());
    });
}

/// A peer that says nothing for a second is deleted, and that is told.
#[test]
fn silence_is_told() {
    with_driver(|mut ovpn, device| {
        let (mut notices, socket) = (ovpn.notices().unwrap(), socket());
        let keepalive = Keepalive { interval_s: 1, timeout_s: 1 };
        ovpn.add_peer(device, &NewPeer { keepalive, ..peer(3) }, socket.as_fd()).unwrap();
        assert_eq!(next(&mut notices), Notice { device, peer: 3, what: Happened::Deleted(Reason::Expired) });
    });
}

/// What an earlier program has left behind is made anew; a device of another kind is left alone.
#[test]
fn a_device_is_made_anew_and_goes() {
    with_driver(|mut ovpn, device| {
        let socket = socket();
        ovpn.add_peer(device, &peer(3), socket.as_fd()).unwrap();
        let again = ovpn.create(&Device::new("vpn0k")).unwrap();
        assert_eq!(ovpn.peers(again).unwrap(), []);
        assert!(ovpn.create(&Device::new("wan")).unwrap_err().is_refusal());
        sh("ip link show wan");
        ovpn.remove(again).unwrap();
        assert!(ovpn.peers(again).unwrap_err().is_absence());
    });
}
