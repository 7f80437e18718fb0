//! What `rempart-vpn` and `rempart-ha` say to each other over the relay's socket.
//!
//! ```text
//!   length 4, big-endian │ kind 1 │ body          the length counts kind and body
//!
//!   rempart-ha  ─▶ 1 role     │ 0: standby, or 1: active ‖ epoch of the role 8
//!               ─▶ 2 link     │ 1: the other node's rempart-vpn can be reached, 0: it cannot
//!              ◀─▶ 3 message  │ for the other node's rempart-vpn, or from it; rempart-ha does not look into it
//!               ─▶ 4 hand over│ number 8: the role is about to be given to the other node, in order
//!              ◀─  5 ready    │ number 8: it may go
//! ```
//!
//! Between the two `rempart-ha` the messages go over a one-way QUIC stream each way: one byte that says what the stream is
//! for ([`TOPIC`]), then each message after its length. A stream lives as long as the `rempart-vpn` behind it is connected, so
//! its end is the news that the program is gone.

/// The longest message.
pub const MAX_MESSAGE: usize = rempart_pair::shared::MESSAGE;
/// What a frame has before its body.
pub const HEADER: usize = 5;
/// The longest frame.
pub const MAX_FRAME: usize = HEADER + MAX_MESSAGE;
/// What the one-way stream of `rempart-vpn` begins with.
pub const TOPIC: u8 = 1;

const ROLE: u8 = 1;
const LINK: u8 = 2;
const MESSAGE: u8 = 3;
const HAND_OVER: u8 = 4;
const READY: u8 = 5;

/// A frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// Active under this epoch of the role, or standby.
    Role(Option<u64>),
    /// Whether the other node's program can be reached.
    Link(bool),
    /// For the other node's program, or from it.
    Message(&'a [u8]),
    /// The role is about to be given to the other node.
    HandOver(u64),
    /// It may go.
    Ready(u64),
}

/// Whatever came is no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("what came over the relay's socket cannot be read; the two programs may be of different versions")]
pub struct Unreadable;

impl<'a> Frame<'a> {
    /// The first frame of `bytes` and its length with its header; `None` while it is not whole.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, Unreadable> {
        let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Unreadable)?;
        if !(1..=1 + MAX_MESSAGE).contains(&length) {
            return Err(Unreadable);
        }
        let Some(frame) = rest.get(..length) else { return Ok(None) };
        let (kind, body) = frame.split_first().ok_or(Unreadable)?;
        let frame = match (*kind, body) {
            (ROLE, [0]) => Self::Role(None),
            (ROLE, [1, epoch @ ..]) => Self::Role(Some(number(epoch)?)),
            (LINK, [up @ (0 | 1)]) => Self::Link(*up == 1),
            (MESSAGE, body) => Self::Message(body),
            (HAND_OVER, body) => Self::HandOver(number(body)?),
            (READY, body) => Self::Ready(number(body)?),
            _ => return Err(Unreadable),
        };
        Ok(Some((frame, 4 + length)))
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let number;
        let (kind, first, rest): (u8, &[u8], &[u8]) = match self {
            Self::Role(None) => (ROLE, &[0], &[]),
            Self::Role(Some(epoch)) => {
                number = epoch.to_be_bytes();
                (ROLE, &[1], &number)
            }
            Self::HandOver(token) => {
                number = token.to_be_bytes();
                (HAND_OVER, &number, &[])
            }
            Self::Ready(token) => {
                number = token.to_be_bytes();
                (READY, &number, &[])
            }
            Self::Link(up) => (LINK, if *up { &[1] } else { &[0] }, &[]),
            Self::Message(body) => (MESSAGE, body, &[]),
        };
        let length = u32::try_from(1 + first.len() + rest.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.push(kind);
        out.extend_from_slice(first);
        out.extend_from_slice(rest);
    }
}

fn number(bytes: &[u8]) -> Result<u64, Unreadable> {
    Ok(u64::from_be_bytes(bytes.try_into().map_err(|_| Unreadable)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: each kind of frame, whole, cut short, and changed. Out: itself; nothing yet; no frame.
    #[test]
    fn frames_are_read_as_they_were_written() {
        let long = vec![7; MAX_MESSAGE];
        for frame in [
            Frame::Role(None),
            Frame::Role(Some(u64::MAX)),
            Frame::Link(true),
            Frame::Link(false),
            Frame::Message(b""),
            Frame::HandOver(7),
            Frame::Ready(u64::MAX),
            Frame::Message(&long),
        ] {
            let mut bytes = Vec::new();
            frame.write(&mut bytes);
            assert!(bytes.len() <= MAX_FRAME);
            for cut in [0, 3, bytes.len() - 1] {
                assert_eq!(Frame::read(&bytes[..cut]), Ok(None));
            }
            let length = bytes.len();
            bytes.push(9);
            assert_eq!(Frame::read(&bytes), Ok(Some((frame, length))));
        }
        for wrong in
            [&[0, 0, 0, 0][..], &[0, 0, 128, 2, 3], &[0, 0, 0, 1, 1], &[0, 0, 0, 2, 2, 2], &[0, 0, 0, 1, 9]]
        {
            assert_eq!(Frame::read(wrong), Err(Unreadable), "{wrong:?}");
        }
    }
}
