//! People of a node that is active and has no other one beside it: everything is committed at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use rempart_daemon::vpn::people::{Registry, Settings};
use rempart_daemon::vpn::seam::{FromPeople, FromReplica, Kind, Replica, ReplicaTicket, Tell};
use rempart_openvpn::data::epoch::{Epoch, EpochBook, Parity, Record, StoreId};
use zeroize::Zeroizing;

/// There is no other node.
#[derive(Default)]
pub struct Alone {
    own: OnceLock<Weak<Registry>>,
    tickets: AtomicU64,
}

impl Replica for Alone {
    fn put(&self, _: Kind, _: &[u8], _: Zeroizing<Vec<u8>>) -> ReplicaTicket {
        let ticket = ReplicaTicket(self.tickets.fetch_add(1, Ordering::SeqCst) + 1);
        if let Some(own) = self.own.get().and_then(Weak::upgrade) {
            own.handle(&FromReplica::Committed(ticket));
        }
        ticket
    }

    fn remove(&self, _: Kind, _: &[u8]) {}
}

/// Opens what `settings` name, in its first reign. Panics where the state cannot be read.
pub fn open(settings: Settings, tell: Tell<FromPeople>) -> Arc<Registry> {
    let replica = Arc::new(Alone::default());
    let registry = Arc::new(Registry::open(settings, replica.clone(), tell).expect("a state"));
    let _ = replica.own.set(Arc::downgrade(&registry));
    let record = Record { store: StoreId::new([1; 16]), highest: Epoch::new(0) };
    let claim = EpochBook::new(Parity::Even, record).claim().expect("an epoch");
    let reign = Box::new(claim.persist(|_| Ok::<(), ()>(())).expect("written"));
    registry.handle(&FromReplica::Active { reign, peer: None, sessions: Vec::new() });
    registry
}
