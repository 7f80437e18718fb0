//! How a node spreads packets over its processors and how many connections it has room for: decided from what the machine
//! is, applied by `rempart_system::cards`. The reasons stand in docs/throughput.md.

use std::num::NonZeroU32;

/// What a machine is, as far as it matters here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Processors that are on.
    pub cpus: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The network cards that the document names.
    pub cards: Vec<Card>,
}

/// A network card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Card {
    /// The kernel's device.
    pub device: String,
    /// Its speed in Mbit/s, where there is a link.
    pub speed_mbps: Option<u32>,
    /// Its receive queues.
    pub rx_queues: u32,
    /// Pairs of queues now and at most, where the driver lets them be chosen.
    pub channels: Option<Size>,
    /// Places in a receive ring now and at most, where the driver lets them be chosen.
    pub rx_ring: Option<Size>,
    /// The same for sending.
    pub tx_ring: Option<Size>,
}

/// So many now, and at most so many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Now.
    pub now: u32,
    /// At most.
    pub max: u32,
}

/// What to set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tuning {
    /// Room in the table of connections, where the document does not say.
    pub connections: NonZeroU32,
    /// Packets that may wait for a processor that another one has given them to.
    pub backlog: u32,
    /// The cards, in their order.
    pub cards: Vec<CardTuning>,
}

/// What to set on a card.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CardTuning {
    /// The kernel's device.
    pub device: String,
    /// Pairs of queues, where they are to change.
    pub channels: Option<u32>,
    /// Places in the rings for receiving and sending, where one of them is to change.
    pub rings: Option<(u32, u32)>,
    /// The processors that take packets of a queue in turn, as the kernel writes a set of them; `0` is the one that the card
    /// interrupts.
    pub spread: String,
}

/// What one connection costs, in bytes: `struct nf_conn` with counters, times, translation and helper, its place in the hash,
/// and what the journal keeps of it here and for the other node.
const CONNECTION_BYTES: u64 = 640;
/// The share of the memory that the table may take when it is full: the rest is for packets, daemons, and what a standby copies.
const CONNECTIONS_SHARE: u64 = 8;
/// A branch office with a few machines; also what the smallest box has room for.
const MIN_CONNECTIONS: u64 = 65_536;
/// The largest number that was measured (`make bench-large`).
const MAX_CONNECTIONS: u64 = 1_048_576;
/// Numbers of connections are multiples of this.
const CONNECTIONS_STEP: u64 = 8_192;
/// More processors than this gain nothing for one card: its packets meet at the same locks.
const MAX_QUEUES: u32 = 16;
/// The processors that the kernel's set is written in words of.
const WORD_BITS: u32 = 32;

/// Decides.
pub fn tuning(machine: &Machine) -> Tuning {
    let room = machine.memory_bytes / CONNECTIONS_SHARE / CONNECTION_BYTES;
    let room = room.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS) / CONNECTIONS_STEP * CONNECTIONS_STEP;
    let cards: Vec<CardTuning> = machine.cards.iter().map(|card| card_tuning(card, machine.cpus)).collect();
    let spread = cards.iter().any(|card| card.spread != "0");
    Tuning {
        connections: u32::try_from(room).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
        // 1000 is the kernel's own; a burst that one processor hands to another would overrun it.
        backlog: if spread { 4_096 } else { 1_000 },
        cards,
    }
}

fn card_tuning(card: &Card, cpus: u32) -> CardTuning {
    let wanted = card.channels.map(|size| cpus.min(MAX_QUEUES).min(size.max).max(1));
    let queues = wanted.unwrap_or(card.rx_queues).max(1);
    let channels = wanted.filter(|wanted| card.channels.is_some_and(|size| size.now != *wanted));
    CardTuning {
        device: card.device.clone(),
        channels,
        rings: rings(card),
        // Where each processor has a queue the card has spread the packets already.
        spread: if queues < cpus.min(MAX_QUEUES) { all(cpus.min(MAX_QUEUES)) } else { "0".into() },
    }
}

/// Rings grow, and never shrink: who has made one larger had a reason.
fn rings(card: &Card) -> Option<(u32, u32)> {
    let wanted = if card.speed_mbps.is_some_and(|speed| speed > 2_500) { 4_096 } else { 1_024 };
    let grown = |size: Size, wanted: u32| wanted.min(size.max).max(size.now);
    let (rx, tx) = (card.rx_ring?, card.tx_ring?);
    // What waits to be sent is bounded by its bytes, not by its places (BQL); half is enough.
    let new = (grown(rx, wanted), grown(tx, wanted / 2));
    (new != (rx.now, tx.now)).then_some(new)
}

/// The first `cpus` processors, as the kernel writes a set: words of 32 bits, the highest first.
fn all(cpus: u32) -> String {
    let words = (0..cpus.div_ceil(WORD_BITS)).rev().map(|word| {
        let bits = (cpus - word * WORD_BITS).min(WORD_BITS);
        format!("{:x}", u32::MAX >> (WORD_BITS - bits))
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn card(speed: Option<u32>, queues: u32, channels: Option<(u32, u32)>, ring: Option<(u32, u32)>) -> Card {
        let size = |(now, max)| Size { now, max };
        Card {
            device: "enp1s0".into(),
            speed_mbps: speed,
            rx_queues: queues,
            channels: channels.map(size),
            rx_ring: ring.map(size),
            tx_ring: ring.map(size),
        }
    }

    #[test]
    fn cards_are_set_by_processors_and_speed() {
        // Processors and a card in; pairs of queues, rings and the set of processors out.
        let table = [
            // An APU: four processors, igb with two pairs of queues at most for each card.
            (4, card(Some(1000), 2, Some((2, 2)), Some((256, 4096))), None, Some((1024, 512)), "f"),
            // A small machine whose card has one queue and cannot be asked anything (r8169).
            (2, card(Some(1000), 1, None, None), None, None, "3"),
            // 10G (ixgbe) on eight processors: a queue each.
            (8, card(Some(10_000), 63, Some((63, 63)), Some((512, 4096))), Some(8), Some((4096, 2048)), "0"),
            // The same with everything as it should be: nothing to do, so that no link goes down.
            (8, card(Some(10_000), 8, Some((8, 63)), Some((4096, 4096))), None, None, "0"),
            // A virtual machine of one processor: nothing to spread.
            (1, card(None, 1, Some((1, 1)), Some((256, 256))), None, None, "0"),
            // More processors than one card gains by.
            (64, card(Some(25_000), 32, Some((32, 64)), None), Some(16), None, "0"),
            // Somebody has made the ring larger than we would.
            (2, card(Some(1000), 2, Some((2, 8)), Some((2048, 4096))), None, None, "0"),
            // No link yet: as for a slow one.
            (4, card(None, 4, Some((4, 8)), Some((512, 4096))), None, Some((1024, 512)), "0"),
        ];
        for (cpus, card, channels, rings, spread) in table {
            let wanted = CardTuning { device: "enp1s0".into(), channels, rings, spread: spread.into() };
            let machine = Machine { cpus, memory_bytes: GIB, cards: vec![card] };
            assert_eq!(tuning(&machine).cards, [wanted], "{machine:?}");
        }
    }

    #[test]
    fn the_table_of_connections_follows_the_memory() {
        // Memory in; room out, never more than its share, but for the smallest boxes.
        for (memory_bytes, connections) in [
            (GIB / 4, 65_536),
            (GIB, 204_800),
            (2 * GIB, 417_792),
            (4 * GIB, 835_584),
            (16 * GIB, 1_048_576),
            (u64::MAX, 1_048_576),
        ] {
            let machine = Machine { cpus: 4, memory_bytes, cards: Vec::new() };
            assert_eq!(tuning(&machine).connections.get(), connections, "{memory_bytes}");
        }
    }

    #[test]
    fn a_processor_that_is_given_packets_has_room_for_them() {
        let machine = |cpus| Machine { cpus, memory_bytes: GIB, cards: vec![card(None, 1, None, None)] };
        assert_eq!(tuning(&machine(4)).backlog, 4_096);
        assert_eq!(tuning(&machine(1)).backlog, 1_000);
    }

    #[test]
    fn sets_of_processors_are_written_as_the_kernel_does() {
        for (cpus, text) in [(1, "1"), (4, "f"), (16, "ffff"), (32, "ffffffff"), (33, "1,ffffffff")] {
            assert_eq!(all(cpus), text);
        }
    }
}
