//! Sessions of the other node in the data path and in the ruleset, before they are the server's: what a take-over does first,
//! and a planned move before it happens.

use rempart_openvpn::data::epoch::{NoRange, PacketIdRange, Preparation};
use rempart_openvpn::data::keys::{DataKeys, KeyPrint};
use rempart_tunnel::STREAM;
use ring::digest::{SHA256, digest};

use super::keys::Held;
use super::value::Value;
use super::*;
use crate::vpn::seam::{Kind, Sessions};

/// Under its newest key nothing can be sent: nearer to the end than any.
pub(super) const MUTE: u64 = u64::MAX;

/// Who holds the addresses of a session that has no handle yet.
const NOBODY: Handle = Handle(u64::MAX);

/// A session that the data path carries on.
pub(super) struct Laid {
    pub value: Value,
    /// SHA-256 of the value as it came.
    print: [u8; 32],
    pub peer: PeerId,
    pub path: Path,
    pub keys: Vec<(Held, KeyPrint)>,
    /// How near its newest key is to the end of its packet ids.
    pub nearness: u64,
}

/// One that can be carried on.
struct Found {
    value: Value,
    print: [u8; 32],
    peer: PeerId,
    path: Path,
    keys: Vec<(Held, DataKeys)>,
}

impl Machine {
    /// Has what is held carried on by the data path and let through by the ruleset.
    pub(super) fn lay(
        &mut self,
        preparation: &mut Preparation,
        sessions: Sessions,
    ) -> BTreeMap<Vec<u8>, Laid> {
        let mut found: Vec<(Vec<u8>, Found)> = Vec::with_capacity(sessions.len());
        for (key, value) in sessions {
            found.extend(self.find(&key, &value).map(|found| (key, found)));
        }
        let keys = found.iter().flat_map(|(_, found)| &found.keys);
        let list: Vec<_> = keys.map(|(held, keys)| keys::imported(held.origin, keys)).collect();
        let mut ranges = preparation.import(&list).into_iter();
        let networks: Vec<IpNet> = found.iter().flat_map(|(_, found)| found.value.grant.own()).collect();
        if !networks.is_empty() {
            self.actions.push_back(Action::Reachable(networks));
        }
        let epoch = preparation.epoch().get();
        found.into_iter().map(|(key, found)| (key, self.lay_one(epoch, found, &mut ranges))).collect()
    }

    /// What was laid becomes what is held now.
    pub(super) fn bring_up_to_date(
        &mut self,
        preparation: &mut Preparation,
        laid: &mut BTreeMap<Vec<u8>, Laid>,
        sessions: Sessions,
    ) {
        let held: BTreeSet<&Vec<u8>> = sessions.iter().map(|(key, _)| key).collect();
        let gone: Vec<_> = laid.keys().filter(|key| !held.contains(key)).cloned().collect();
        let gone: Vec<_> = gone.iter().filter_map(|key| laid.remove(key)).collect();
        self.lift(gone.into_iter());
        let mut new = Vec::new();
        for (key, value) in sessions {
            let known = laid.get_mut(&key).is_some_and(|laid| self.refresh(preparation, laid, &value));
            if !known {
                let old = laid.remove(&key);
                self.lift(old.into_iter());
                new.push((key, value));
            }
        }
        laid.extend(self.lay(preparation, new));
    }

    /// Takes sessions out of the data path again.
    pub(super) fn lift(&mut self, laid: impl Iterator<Item = Laid>) {
        let mut networks = Vec::new();
        for Laid { peer, value, .. } in laid {
            self.actions.push_back(Action::Data(Data::Remove(peer)));
            self.addresses.release(NOBODY, value.grant.inner);
            networks.extend(value.grant.own());
        }
        if !networks.is_empty() {
            self.actions.push_back(Action::Unreachable { networks, forget: false });
        }
    }

    /// What has changed of a session since it was laid; whether it can be carried on like that.
    fn refresh(&mut self, preparation: &mut Preparation, laid: &mut Laid, bytes: &[u8]) -> bool {
        let print = print_of(bytes);
        if print == laid.print {
            return true;
        }
        let Ok(value) = Value::decode(bytes) else { return false };
        let same = value.grant == laid.value.grant
            && value.snapshot.client_session == laid.value.snapshot.client_session
            && value.snapshot.peer_id == laid.value.snapshot.peer_id;
        let Some(path) = self.path_of(&value).filter(|_| same && !value.snapshot.tcp) else { return false };
        if path != laid.path {
            self.actions.push_back(Action::Data(Data::Move(laid.peer, path)));
        }
        let mut before = std::mem::take(&mut laid.keys);
        let found = self.keys_of(&value);
        let is_new = |key: &&(Held, DataKeys)| !before.iter().any(|(_, print)| *print == key.1.print());
        let list: Vec<_> =
            found.iter().filter(is_new).map(|(held, keys)| keys::imported(held.origin, keys)).collect();
        let mut ranges = preparation.import(&list).into_iter();
        let epoch = preparation.epoch().get();
        for (held, data) in found {
            let print = data.print();
            match before.iter().position(|(_, known)| *known == print) {
                Some(place) => {
                    let (known, _) = before.swap_remove(place);
                    laid.keys.push((Held { serial: known.serial, ..held }, print));
                }
                None => {
                    let Some(range) = ranges.next() else { break };
                    laid.nearness = self.lay_key(laid.peer, epoch, (held, &data), range);
                    laid.keys.push((held, print));
                }
            }
        }
        let retired = before.into_iter().map(|(held, _)| Data::RemoveKey(laid.peer, held.serial));
        self.actions.extend(retired.map(Action::Data));
        (laid.value, laid.path, laid.print) = (value, path, print);
        true
    }

    /// What is held under a key, if it can be carried on; else it is taken away.
    fn find(&mut self, key: &[u8], bytes: &[u8]) -> Option<Found> {
        let found = self.examine(key, bytes);
        if let Err(why) = &found {
            tracing::warn!(why, "a session of the other node is not carried on");
            self.counters.lost += 1;
            self.replica.remove(Kind::Session, key);
        }
        found.ok()
    }

    fn examine(&mut self, key: &[u8], bytes: &[u8]) -> Result<Found, String> {
        let plan = self.plan.clone().ok_or("there is no configuration")?;
        let value = Value::decode(bytes).map_err(|error| error.to_string())?;
        let snapshot = &value.snapshot;
        let peer = PeerId::new(snapshot.peer_id).ok_or("its peer id is impossible")?;
        if *key != peer.get().to_be_bytes() {
            return Err("it is another session than its key says".to_owned());
        }
        if snapshot.tcp {
            return Err("it came by TCP".to_owned());
        }
        if !plan.groups.iter().any(|group| group.name == value.grant.group) {
            return Err(format!("the group {} is gone", value.grant.group));
        }
        let path = self.path_of(&value).ok_or("nothing listens for it")?;
        if self.peers.contains_key(&peer) {
            return Err("its peer id is in use".to_owned());
        }
        if value.grant.inner.addresses().any(|ip| self.addresses.owner(ip).is_some()) {
            return Err("its address is in use".to_owned());
        }
        // Until it has a handle of its own.
        self.addresses.hold(NOBODY, &value.grant.who(), value.grant.inner);
        let keys = self.keys_of(&value);
        Ok(Found { peer, path, keys, value, print: print_of(bytes) })
    }

    /// Where the client is, and the socket that it speaks to.
    fn path_of(&self, value: &Value) -> Option<Path> {
        let plan = self.plan.as_ref()?;
        let client = value.snapshot.client;
        // Both nodes listen on the virtual addresses; where there is none, on their own.
        let same = plan.udp.iter().position(|local| *local == value.local);
        let alike = || plan.udp.iter().position(|local| local.is_ipv4() == client.is_ipv4());
        let place = same.or_else(alike).and_then(|place| u8::try_from(place).ok());
        place.filter(|place| *place < STREAM).map(|local| Path { local, remote: client })
    }

    fn keys_of(&mut self, value: &Value) -> Vec<(Held, DataKeys)> {
        let mut keys = Vec::with_capacity(value.snapshot.keys.len());
        for key in &value.snapshot.keys {
            let Some(known) = value.keys.iter().find(|known| known.id == key.keys.key_id) else { continue };
            let serial = self.serials.draw();
            let held = Held { id: known.id, serial, origin: known.origin, highest: known.highest };
            keys.push((held, keys::foreign(&key.keys)));
        }
        keys
    }

    /// Its keys and itself to the data path.
    fn lay_one(
        &mut self,
        epoch: u64,
        found: Found,
        ranges: &mut impl Iterator<Item = Result<PacketIdRange, NoRange>>,
    ) -> Laid {
        let Found { value, print, peer, path, keys } = found;
        let echo = keys.iter().find(|(held, _)| Some(held.id) == value.echo).map(|(held, _)| held.serial);
        let own = value.grant.own();
        self.actions.push_back(Action::Data(Data::Add { peer, path, own, echo }));
        let mut laid =
            Laid { value, print, peer, path, keys: Vec::with_capacity(keys.len()), nearness: MUTE };
        for ((held, data), range) in keys.into_iter().zip(ranges) {
            laid.nearness = self.lay_key(peer, epoch, (held, &data), range);
            laid.keys.push((held, data.print()));
        }
        laid
    }

    /// A key to the data path. How near it is to the end of its packet ids.
    fn lay_key(
        &mut self,
        peer: PeerId,
        epoch: u64,
        (held, data): (Held, &DataKeys),
        range: Result<PacketIdRange, NoRange>,
    ) -> u64 {
        let (opener, sealer) = keys::carried(held, data, range, peer);
        if let Err(why) = &sealer {
            tracing::warn!(peer = peer.get(), %why, "nothing is sent under a key until it is renewed");
        }
        let mute = sealer.is_err();
        let (opener, sealer) = (Box::new(opener), sealer.ok().flatten().map(Box::new));
        self.actions.push_back(Action::Data(Data::KeptKey { peer, serial: held.serial, opener, sealer }));
        if mute { MUTE } else { epoch.saturating_sub(held.origin.made.get()) }
    }
}

fn print_of(bytes: &[u8]) -> [u8; 32] {
    let mut print = [0; 32];
    print.iter_mut().zip(digest(&SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
    print
}
