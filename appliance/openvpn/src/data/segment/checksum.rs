//! The Internet checksum (RFC 1071), fast enough for every byte of a tunnel.

/// A sum in progress, in the byte order of the machine: the order does not matter until the end (RFC 1071 §2B).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes. Only the last piece may be of odd length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        // No overflow: 2³² words of 32 bits fit, and packets are shorter. Written so that it is done many at a time.
        let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        let mut last = [0; 4];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Self(self.0 + sum + u64::from(u32::from_ne_bytes(last)))
    }

    /// Adds a 16-bit number.
    #[must_use]
    pub fn number(self, number: u16) -> Self {
        self.bytes(&number.to_be_bytes())
    }

    /// Adds a pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1): the bytes of both addresses, the protocol, the length.
    #[must_use]
    pub fn pseudo(self, addresses: &[u8], protocol: u8, length: usize) -> Self {
        // Both forms add up to the same where the length fits 16 bits, and it does.
        self.bytes(addresses).number(u16::from(protocol)).bytes(&(length as u32).to_be_bytes())
    }

    /// The sum, folded, as it lies in memory: what stands in the field until the kernel or a device completes it.
    pub fn partial(self) -> [u8; 2] {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum as u16).to_ne_bytes()
    }

    /// The checksum.
    pub fn complete(self) -> [u8; 2] {
        self.partial().map(|byte| !byte)
    }

    /// Whether what was added, the checksum included, is sound.
    pub fn is_sound(self) -> bool {
        self.partial() == [0xff; 2]
    }
}

/// `checksum` after 16 bits of what it covers changed from `old` to `new` (RFC 1624 eqn. 3).
pub fn updated(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let not = |bytes: [u8; 2]| bytes.map(|byte| !byte);
    Sum::default().bytes(&not(checksum)).bytes(&not(old)).bytes(&new).complete()
}
