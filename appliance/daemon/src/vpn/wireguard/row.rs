//! Datagrams that leave with one system call: side by side, to one place, of one length but the last.

use rempart_wireguard::{Path, Sealed};

/// Datagrams that one call takes (`UDP_MAX_SEGMENTS` in `linux/udp.h`).
const MAX_SEGMENTS: usize = 64;
/// Bytes that one call takes.
pub const MAX_BYTES: usize = 65_000;

/// A row of datagrams at the beginning of a buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Row {
    to: Option<Path>,
    bytes: usize,
    segment: usize,
    count: usize,
    closed: bool,
}

impl Row {
    /// Its bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it goes, how long it is, and how long each datagram; `None` if it is empty.
    pub fn content(&self) -> Option<(Path, usize, usize)> {
        self.to.map(|to| (to, self.bytes, self.segment))
    }

    /// Adds a datagram that lies behind it; whether it fits in.
    pub fn add(&mut self, sealed: Sealed) -> bool {
        let Sealed { to, length } = sealed;
        match self.to {
            None => *self = Self { to: Some(to), segment: length, ..Self::default() },
            Some(other) => {
                let fits = other == to && !self.closed && length <= self.segment;
                if !fits || self.count >= MAX_SEGMENTS || self.bytes + length > MAX_BYTES {
                    return false;
                }
            }
        }
        self.bytes += length;
        self.count += 1;
        self.closed = length < self.segment;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_place_and_one_length() {
        let to = |port| Path { local: 0, remote: ([192, 0, 2, 1], port).into() };
        let sealed = |port, length| Sealed { to: to(port), length };
        let mut row = Row::default();
        assert!(row.content().is_none() && row.add(sealed(1, 100)) && row.add(sealed(1, 100)));
        assert!(!row.add(sealed(2, 100)), "another place");
        assert!(!row.add(sealed(1, 101)), "a longer one");
        assert!(row.add(sealed(1, 50)) && !row.add(sealed(1, 50)), "a shorter one is the last");
        assert_eq!(row.content(), Some((to(1), 250, 100)));
        let mut row = Row::default();
        assert_eq!((0..100).filter(|_| row.add(sealed(1, 10))).count(), MAX_SEGMENTS);
        let mut row = Row::default();
        assert_eq!((0..100).filter(|_| row.add(sealed(1, 1452))).count(), MAX_BYTES / 1452);
    }
}
