//! The line to `rempart-ha`: frames in and out, without waiting for either.

use std::io;
use std::path::Path;

use tokio::io::Interest;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::relay::{Frame, MAX_FRAME};

/// What is read at once.
const TURN: usize = 64 << 10;
/// What waits to be written; more is not asked for.
const OUT: usize = 256 << 10;

/// A connection to the relay. Its buffers never grow, so nothing of them is left behind.
pub struct Line {
    stream: UnixStream,
    input: Zeroizing<Vec<u8>>,
    output: Zeroizing<Vec<u8>>,
    written: usize,
}

impl Line {
    /// Connects; the relay takes it at once or is not there.
    pub async fn connect(socket: &Path) -> io::Result<Self> {
        Ok(Self {
            stream: UnixStream::connect(socket).await?,
            input: Zeroizing::new(Vec::with_capacity(MAX_FRAME + TURN)),
            output: Zeroizing::new(Vec::with_capacity(OUT)),
            written: 0,
        })
    }

    /// Waits until there is something to read, or room for what waits to be written.
    pub async fn ready(&self) -> io::Result<()> {
        let interest =
            if self.output.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        self.stream.ready(interest).await.map(drop)
    }

    /// Whether another message may be sent.
    pub fn has_room(&self) -> bool {
        self.output.capacity() - self.output.len() >= MAX_FRAME
    }

    /// Sends a message, now or when there is room.
    pub fn send(&mut self, message: &[u8]) {
        self.say(Frame::Message(message));
    }

    /// The same for any frame. For short ones there is room at all times: they are few, and what is read is bounded.
    pub fn say(&mut self, frame: Frame<'_>) {
        frame.write(&mut self.output);
    }

    /// Writes what can be written now.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.try_write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads what there is, and gives each frame to `hear`.
    pub fn read(&mut self, mut hear: impl FnMut(Frame<'_>)) -> io::Result<()> {
        loop {
            // What is left of a frame is shorter than one, so there is room for a turn.
            let kept = self.input.len();
            self.input.resize(kept + TURN, 0);
            let came = self.stream.try_read(self.input.get_mut(kept..).unwrap_or_default());
            self.input.truncate(kept + came.as_ref().copied().unwrap_or(0));
            match came {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            let mut used = 0;
            while let Some((frame, length)) =
                Frame::read(self.input.get(used..).unwrap_or_default()).map_err(io::Error::other)?
            {
                hear(frame);
                used += length;
            }
            self.input.drain(..used);
        }
    }
}
