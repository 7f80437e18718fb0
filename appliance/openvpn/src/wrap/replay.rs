//! Counter and time of wrapped packets. All clients take a packet whose time is later than any before it, whatever its
//! counter, and none whose time is earlier. So a node that takes over needs the time of its predecessor, not its counter.

/// Counter and time, as every wrapped packet carries them (draft "OpenVPN mixed timestamp/packet counter format").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PacketId {
    /// Seconds since 1970 when its sender began to count.
    pub time: u32,
    /// From 1 on.
    pub counter: u32,
}

impl PacketId {
    pub(super) fn encode(self) -> [u8; 8] {
        (u64::from(self.counter) << 32 | u64::from(self.time)).to_be_bytes()
    }

    pub(super) fn decode(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { counter: u32::from_be_bytes([a, b, c, d]), time: u32::from_be_bytes([e, f, g, h]) }
    }
}

/// What a session sends its packets with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sending {
    last: PacketId,
}

impl Sending {
    /// Of a new session. The stateless answer that led to it carried a time up to `unix_s`, and a new time begins with
    /// counter 1 even where a client is strict, as on TCP; so it begins a second ahead.
    pub fn new(unix_s: u64) -> Self {
        Self::after(unix_s, clamp(unix_s))
    }

    /// Of a session that is taken over from a node that sent with `time`.
    pub fn after(unix_s: u64, time: u32) -> Self {
        Self { last: PacketId { time: clamp(unix_s).max(time.saturating_add(1)), counter: 0 } }
    }

    /// The time of its packets.
    pub fn time(&self) -> u32 {
        self.last.time
    }

    /// For the next packet; `None` when the counter is used up.
    pub fn next_id(&mut self) -> Option<PacketId> {
        self.last.counter = self.last.counter.checked_add(1)?;
        Some(self.last)
    }
}

/// The 32 bits of time on the wire last until 2106.
fn clamp(unix_s: u64) -> u32 {
    u32::try_from(unix_s).unwrap_or(u32::MAX)
}

/// What a session has received: the newest packet, and which of the 64 up to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Received {
    newest: PacketId,
    /// Bit n: the packet n before the newest was taken.
    taken: u64,
}

impl Received {
    /// Takes nothing up to `newest`: of a session that is taken over.
    pub fn beyond(newest: PacketId) -> Self {
        Self { newest, taken: u64::MAX }
    }

    /// The newest packet that was taken.
    pub fn newest(&self) -> PacketId {
        self.newest
    }

    /// Takes a packet, once. Only what has authenticated may be asked.
    pub fn take(&mut self, id: PacketId) -> bool {
        if id.counter == 0 || id.time < self.newest.time {
            return false;
        }
        if id.time > self.newest.time {
            *self = Self { newest: id, taken: 1 };
            return true;
        }
        if let Some(ahead) = id.counter.checked_sub(self.newest.counter).filter(|ahead| *ahead > 0) {
            self.taken = self.taken.checked_shl(ahead).unwrap_or(0) | 1;
            self.newest = id;
            return true;
        }
        let bit = 1u64.checked_shl(self.newest.counter - id.counter).unwrap_or(0);
        if bit == 0 || self.taken & bit != 0 {
            return false;
        }
        self.taken |= bit;
        true
    }
}
