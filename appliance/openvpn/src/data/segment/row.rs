//! Datagrams that leave with one system call (`UDP_SEGMENT` in `linux/udp.h`).

/// Datagrams that one system call takes (`UDP_MAX_SEGMENTS` of older kernels).
pub const MAX_SEGMENTS: usize = 64;
/// Bytes that one system call takes: what fits a datagram over IPv4 with options and over IPv6.
pub const MAX_BATCH: usize = 65_000;

/// Datagrams to one place that lie side by side at the beginning of an arena, for one system call: all of one length but
/// the last, which may be shorter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row<P> {
    to: Option<P>,
    bytes: usize,
    segment: usize,
    count: usize,
    closed: bool,
}

impl<P> Default for Row<P> {
    fn default() -> Self {
        Self { to: None, bytes: 0, segment: 0, count: 0, closed: false }
    }
}

impl<P: Copy + PartialEq> Row<P> {
    /// Bytes of all of them: where the next one begins.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where they go, bytes of all of them, and of each but the last; `None` if there are none.
    pub fn content(&self) -> Option<(P, usize, usize)> {
        self.to.map(|to| (to, self.bytes, self.segment))
    }

    /// Whether one more of this length to this place goes with them, in an arena of `room` bytes.
    pub fn takes(&self, to: P, length: usize, room: usize) -> bool {
        let fits = self.bytes + length <= room.min(MAX_BATCH);
        let joins =
            self.to == Some(to) && !self.closed && length <= self.segment && self.count < MAX_SEGMENTS;
        fits && (self.to.is_none() || joins)
    }

    /// Adds one that it takes, and that lies behind them.
    pub fn add(&mut self, to: P, length: usize) {
        if self.to.is_none() {
            *self = Self { to: Some(to), segment: length, ..Self::default() };
        }
        self.bytes += length;
        self.count += 1;
        self.closed = length < self.segment;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_one_place_and_one_length() {
        let add = |row: &mut Row<u16>, to, length| {
            let taken = row.takes(to, length, usize::MAX);
            if taken {
                row.add(to, length);
            }
            taken
        };
        let mut row = Row::default();
        assert!(row.content().is_none() && add(&mut row, 1, 100) && add(&mut row, 1, 100));
        assert!(!add(&mut row, 2, 100), "another place");
        assert!(!add(&mut row, 1, 101), "a longer one");
        assert!(add(&mut row, 1, 50) && !add(&mut row, 1, 50), "a shorter one is the last");
        assert_eq!(row.content(), Some((1, 250, 100)));
        let mut row = Row::default();
        assert_eq!((0..100).filter(|_| add(&mut row, 1, 10)).count(), MAX_SEGMENTS);
        let mut row = Row::default();
        assert_eq!((0..100).filter(|_| add(&mut row, 1, 1452)).count(), MAX_BATCH / 1452);
    }
}
