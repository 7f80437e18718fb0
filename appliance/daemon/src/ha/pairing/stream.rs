//! A TCP connection cut into messages.

use std::io;

use rempart_pair::pairing::{HEADER, Malformed, body_length};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::CLOSE;

/// Longest that is read at once.
const PIECE: usize = 4_096;

/// A connection, and what has come and is not a whole message yet.
pub struct Stream {
    tcp: TcpStream,
    buffer: Vec<u8>,
}

impl Stream {
    /// A fresh connection.
    pub fn new(tcp: TcpStream) -> Self {
        // Messages are short and each waits for the one before.
        let _ = tcp.set_nodelay(true);
        Self { tcp, buffer: Vec::new() }
    }

    /// The next message, header included; `None` at the end of the connection. May be cancelled: nothing is lost.
    pub async fn message(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(header) = self.buffer.first_chunk::<HEADER>() {
                match body_length(*header) {
                    Ok(length) if self.buffer.len() >= HEADER + length => {
                        return Ok(Some(self.buffer.drain(..HEADER + length).collect()));
                    }
                    Ok(_) => {}
                    // The machine says what is wrong with it.
                    Err(Malformed::Version(_) | Malformed::TooLong(_) | Malformed::Shape) => {
                        return Ok(Some(std::mem::take(&mut self.buffer)));
                    }
                }
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next record: its length in four bytes, then so many; `None` at the end of the connection.
    pub async fn record(&mut self, most: usize) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(length) = self.buffer.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > most {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                if self.buffer.len() >= 4 + length {
                    let record = self.buffer.drain(..4 + length).skip(4).collect();
                    return Ok(Some(record));
                }
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    async fn fill(&mut self) -> io::Result<bool> {
        let mut piece = [0; PIECE];
        let count = self.tcp.read(&mut piece).await?;
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tcp.write_all(bytes).await
    }

    /// Sends a record.
    pub async fn send_record(&mut self, record: &[u8]) -> io::Result<()> {
        let length = u32::try_from(record.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.tcp.write_all(&length.to_be_bytes()).await?;
        self.tcp.write_all(record).await
    }

    /// Ends the connection so that what was sent arrives: the other side is heard until it ends, too.
    pub async fn close(mut self) {
        let _ = self.tcp.shutdown().await;
        let mut piece = [0; PIECE];
        let rest = async { while matches!(self.tcp.read(&mut piece).await, Ok(1..)) {} };
        let _ = timeout(CLOSE, rest).await;
    }
}
