//! A session as the kernel's half knows it, and what may be done with its next key. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rempart_openvpn::data::epoch::{DUE, RANGE};
use rempart_openvpn::data::{DATA_V2, KeySerial, Path, PeerId};
use rempart_system::ovpn::Counters;

/// Packet ids of a key after which the kernel may not go on under it: a sixteenth before the end of the maker's range, 10⁷
/// packets, which nobody sends between two looks.
pub const END: u64 = RANGE as u64 / 16 * 15;

/// The addresses of a session that the kernel can carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inner {
    /// IPv4.
    pub v4: Option<Ipv4Addr>,
    /// IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Inner {
    /// Of a session's own networks: one address of each family, and nothing else. The kernel leads networks behind a client
    /// by routes that name it, which the other data path does not need.
    pub fn of(own: &[IpNet]) -> Option<Self> {
        let mut inner = Self { v4: None, v6: None };
        for net in own {
            let before = match net {
                IpNet::V4(net) if net.prefix_len() == 32 => inner.v4.replace(net.addr()).is_some(),
                IpNet::V6(net) if net.prefix_len() == 128 => inner.v6.replace(net.addr()).is_some(),
                IpNet::V4(_) | IpNet::V6(_) => return None,
            };
            if before {
                return None;
            }
        }
        (!own.is_empty()).then_some(inner)
    }
}

/// A key that the kernel has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Given {
    /// Its number here.
    pub serial: KeySerial,
    /// Its number in packets.
    pub id: u8,
    /// Since when it has it.
    pub since: Instant,
}

/// What the kernel has of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// It sends under this one, and nobody else ever does.
    pub primary: Given,
    /// It opens with this one, too.
    pub secondary: Option<Given>,
    /// The secondary key is the newer one, and the primary one has it to follow.
    pub waits: bool,
    /// What is for the client is led to the kernel's device.
    pub led: bool,
    /// Something has come from the client.
    pub heard: bool,
    /// That the primary key is due was said.
    pub due_said: bool,
    /// What was sent and received when the primary key became that.
    pub base: (u64, u64),
    /// What was received when the secondary key came, since when packets may be of either.
    pub mixed: Option<u64>,
    /// As of the last look.
    pub counters: (Counters, Counters),
}

impl Carried {
    /// With its first key.
    pub fn new(primary: Given, led: bool) -> Self {
        Self {
            primary,
            secondary: None,
            waits: false,
            led,
            heard: false,
            due_said: false,
            base: (0, 0),
            mixed: None,
            counters: Default::default(),
        }
    }

    /// Its keys.
    pub fn keys(&self) -> impl Iterator<Item = Given> {
        [Some(self.primary), self.secondary].into_iter().flatten()
    }

    /// Packets that were sealed under the primary key: no fewer than there were.
    pub fn used(&self) -> u64 {
        self.counters.1.sent.packets.saturating_sub(self.base.0)
    }

    /// Whether the primary key is to be renewed.
    pub fn is_due(&self) -> bool {
        self.used() >= u64::from(DUE)
    }

    /// A packet id under the primary key that has been received, or one below: each authentic packet has one of its own.
    pub fn highest(&self) -> u32 {
        let received = self.mixed.unwrap_or(self.counters.0.received.packets);
        u32::try_from(received.saturating_sub(self.base.1)).unwrap_or(u32::MAX)
    }

    /// Whether the primary key is to give way to the one that waits: the client takes the new one by then.
    pub fn may_switch(&self, now: Instant, after: Duration) -> bool {
        let old = |key: &Given| now.saturating_duration_since(key.since) >= after;
        self.waits && (self.secondary.as_ref().is_some_and(old) || self.used() >= END)
    }

    /// The keys have changed places. They never do again.
    pub fn switched(&mut self) {
        let Some(next) = self.secondary.replace(self.primary) else { return };
        self.primary = next;
        (self.waits, self.due_said, self.mixed) = (false, false, None);
        self.base = (self.counters.1.sent.packets, self.counters.0.received.packets);
    }

    /// Whether what is for the client may be led to the kernel from now on: it has spoken under the kernel's key, and its time
    /// between two keys is over (study §1.7).
    pub fn may_lead(&self, now: Instant, after: Duration) -> bool {
        !self.led && self.heard && now.saturating_duration_since(self.primary.since) >= after
    }
}

/// A session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Where it is.
    pub path: Path,
    /// Its addresses, if the kernel can carry it.
    pub inner: Option<Inner>,
    /// Keys that the data path below has.
    pub below: Vec<(KeySerial, u8)>,
    /// What the kernel has of it.
    pub carried: Option<Carried>,
    /// What the kernel had counted of it before.
    pub gone: Counters,
}

/// Where a fresh key goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Course {
    /// To the data path below.
    Below,
    /// To the kernel, which has none of the session yet.
    Join,
    /// To the kernel, beside the one that it has.
    Follow,
    /// To the kernel, which forgets what it had: the client has begun anew in place, and a key of the same number is another.
    Anew,
}

impl Member {
    /// Without keys.
    pub fn new(path: Path, own: &[IpNet]) -> Self {
        Self { path, inner: Inner::of(own), below: Vec::new(), carried: None, gone: Counters::default() }
    }

    /// All that the kernel has counted of it: datagrams as they were on the line, keep-alives included, and bytes of what
    /// was inside.
    pub fn counted(&self) -> Counters {
        let mut out = self.gone;
        let (inner, outer) = self.carried.as_ref().map(|carried| carried.counters).unwrap_or_default();
        for (to, inner, outer) in
            [(&mut out.received, inner.received, outer.received), (&mut out.sent, inner.sent, outer.sent)]
        {
            to.packets = to.packets.saturating_add(outer.packets);
            to.bytes = to.bytes.saturating_add(inner.bytes);
        }
        out
    }

    /// Where a fresh key of this number goes. A key has one owner for its life, and the number of a key in a packet leads to
    /// one owner.
    pub fn course(&self, id: u8) -> Course {
        if self.inner.is_none() || self.below.iter().any(|(_, below)| *below == id) {
            return Course::Below;
        }
        match &self.carried {
            None => Course::Join,
            Some(carried) if carried.keys().any(|key| key.id == id) => Course::Anew,
            Some(_) => Course::Follow,
        }
    }
}

/// The first four bytes of the packets of a key.
pub fn word(peer: PeerId, id: u8) -> u32 {
    u32::from(DATA_V2 << 3 | id & 7) << 24 | peer.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(65);

    fn given(serial: u32, id: u8, since: Instant) -> Given {
        Given { serial: KeySerial(serial), id, since }
    }

    fn nets(text: &str) -> Vec<IpNet> {
        text.split_whitespace().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn one_address_of_a_family_can_be_carried_and_networks_cannot() {
        let both = Inner::of(&nets("10.8.0.2/32 fd00::2/128")).unwrap();
        assert_eq!((both.v4, both.v6), (Some([10, 8, 0, 2].into()), Some("fd00::2".parse().unwrap())));
        assert!(Inner::of(&nets("fd00::2/128")).is_some());
        for other in ["", "10.8.0.2/32 192.168.7.0/24", "10.8.0.2/32 10.8.0.3/32", "10.8.0.0/31"] {
            assert_eq!(Inner::of(&nets(other)), None, "{other}");
        }
    }

    /// Every combination of what a session has and the number of the next key.
    #[test]
    fn a_key_has_one_owner() {
        let now = Instant::now();
        let path = Path { local: 0, remote: "192.0.2.2:5".parse().unwrap() };
        let carried = |second: bool| {
            let mut carried = Carried::new(given(1, 0, now), true);
            carried.secondary = second.then(|| given(2, 1, now));
            Some(carried)
        };
        let inner = Inner::of(&nets("10.8.0.2/32"));
        let member = |inner, below: &[u8], carried| Member {
            path,
            inner,
            below: below.iter().map(|id| (KeySerial(9), *id)).collect(),
            carried,
            gone: Counters::default(),
        };
        for (member, id, course) in [
            (member(None, &[], None), 0, Course::Below),
            (member(inner, &[], None), 0, Course::Join),
            (member(inner, &[0], None), 0, Course::Below),
            (member(inner, &[0], None), 1, Course::Join),
            (member(inner, &[], carried(false)), 0, Course::Anew),
            (member(inner, &[], carried(false)), 1, Course::Follow),
            (member(inner, &[], carried(true)), 1, Course::Anew),
            (member(inner, &[], carried(true)), 2, Course::Follow),
            (member(inner, &[3], carried(true)), 3, Course::Below),
        ] {
            assert_eq!(member.course(id), course, "{member:?} {id}");
        }
    }

    /// A key that waits takes over after its time, or when the other one's packet ids come to their end; the counts of the new
    /// one begin there, and it is not due again at once.
    #[test]
    fn the_newer_key_follows_in_time() {
        let now = Instant::now();
        let mut carried = Carried::new(given(1, 0, now), true);
        carried.counters.1.sent.packets = u64::from(DUE);
        carried.counters.0.received.packets = 500;
        assert!(carried.is_due() && !carried.may_switch(now + AFTER, AFTER));
        assert_eq!(carried.highest(), 500);
        (carried.secondary, carried.waits, carried.mixed) = (Some(given(2, 1, now)), true, Some(500));
        carried.counters.0.received.packets = 900;
        assert_eq!(carried.highest(), 500);
        assert!(!carried.may_switch(now + AFTER / 2, AFTER) && carried.may_switch(now + AFTER, AFTER));
        carried.counters.1.sent.packets = END;
        assert!(carried.may_switch(now, AFTER));
        carried.switched();
        assert_eq!((carried.primary.id, carried.secondary.map(|key| key.id)), (1, Some(0)));
        assert!(!carried.is_due() && !carried.may_switch(now + AFTER, AFTER));
        assert_eq!((carried.used(), carried.highest()), (0, 0));
    }

    #[test]
    fn what_is_for_a_client_is_led_when_it_has_spoken_and_its_time_is_over() {
        let now = Instant::now();
        let mut carried = Carried::new(given(1, 0, now), false);
        assert!(!carried.may_lead(now + AFTER, AFTER));
        carried.heard = true;
        assert!(!carried.may_lead(now + AFTER / 2, AFTER) && carried.may_lead(now + AFTER, AFTER));
    }

    #[test]
    fn a_word_is_the_beginning_of_a_packet() {
        assert_eq!(word(PeerId::new(0x01_02_03).unwrap(), 5), 0x4d01_0203);
    }
}
