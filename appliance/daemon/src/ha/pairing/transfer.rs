//! What the joining box asks over the connection of the pairing, before there is a channel: its document, above all.
//!
//! Messages are cut into sealed records of at most 64 KiB, the first byte of each plain text saying whether more follow
//! (`1`) or this is the last (`0`). A request is the length of its topic in one byte, the topic and the body; an answer is
//! `1` and its body, or `0`.

use std::io;
use std::time::Duration;

use rempart_pair::pairing::{MAX_RECORD, Sealed};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::debug;
use zeroize::Zeroizing;

use super::stream::Stream;
use crate::channel::{ChannelError, MAX_BODY, MAX_TOPIC};
use crate::peer::ask_control;

/// How long a connection may rest before it ends. The joining box asks within seconds; its operator may have to look at
/// something first.
const REST: Duration = Duration::from_secs(120);
/// Room for the tag of a record.
const TAG: usize = 16;
/// Requests that wait for the connection.
const WAITING: usize = 4;

/// The joining side's way to ask.
#[derive(Clone)]
pub struct Transfer {
    requests: mpsc::Sender<(Vec<u8>, oneshot::Sender<Vec<u8>>)>,
}

impl Transfer {
    /// Takes the connection over.
    pub fn start(stream: Stream, sealed: Sealed) -> Self {
        let (requests, waiting) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            if let Err(error) = ask(stream, sealed, waiting).await {
                debug!(%error, "the connection of the pairing");
            }
        });
        Self { requests }
    }

    /// Asks the other node and waits `limit` for the answer.
    pub async fn request(&self, topic: &str, body: &[u8], limit: Duration) -> Result<Vec<u8>, ChannelError> {
        let length = u8::try_from(topic.len()).map_err(|_| ChannelError::Refused("its topic is too long"))?;
        let message = [&[length], topic.as_bytes(), body].concat();
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.try_send((message, reply));
        sent.map_err(|_| ChannelError::Away)?;
        let mut answer = timeout(limit, answer)
            .await
            .map_err(|_| ChannelError::Late(limit))?
            .map_err(|_| ChannelError::Broken("the connection of the pairing has ended".into()))?;
        match answer.first() {
            Some(1) => {
                answer.remove(0);
                Ok(answer)
            }
            Some(_) | None => Err(ChannelError::Unanswered),
        }
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) {
        self.requests.closed().await;
    }
}

async fn ask(
    mut stream: Stream,
    mut sealed: Sealed,
    mut waiting: mpsc::Receiver<(Vec<u8>, oneshot::Sender<Vec<u8>>)>,
) -> io::Result<()> {
    // Ends when nobody can ask any more, and after a long rest.
    while let Ok(Some((message, reply))) = timeout(REST, waiting.recv()).await {
        send(&mut stream, &mut sealed, &message).await?;
        let Some(answer) = receive(&mut stream, &mut sealed).await? else { return Ok(()) };
        let _ = reply.send(answer);
    }
    stream.close().await;
    Ok(())
}

/// The offering side: answers until the connection ends or rests.
pub async fn serve(
    mut stream: Stream,
    mut sealed: Sealed,
    bus: watch::Receiver<Option<zbus::Connection>>,
) -> io::Result<()> {
    while let Ok(message) = timeout(REST, receive(&mut stream, &mut sealed)).await {
        let Some(message) = message? else { break };
        let answer = match split(&message) {
            Some((topic, body)) => {
                let bus = bus.borrow().clone();
                ask_control(&bus, topic, body).await
            }
            None => None,
        };
        let answer = answer.map_or_else(|| vec![0], |body| [&[1], &body[..]].concat());
        send(&mut stream, &mut sealed, &answer).await?;
    }
    stream.close().await;
    Ok(())
}

fn split(message: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = message.split_first()?;
    let (topic, body) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(topic).ok()?, body))
}

async fn send(stream: &mut Stream, sealed: &mut Sealed, message: &[u8]) -> io::Result<()> {
    let mut chunks = message.chunks(MAX_RECORD - 1).peekable();
    while let Some(chunk) = chunks.next() {
        let plain = Zeroizing::new([&[u8::from(chunks.peek().is_some())], chunk].concat());
        let record = sealed.seal(&plain).map_err(io::Error::other)?;
        stream.send_record(&record).await?;
    }
    Ok(())
}

async fn receive(stream: &mut Stream, sealed: &mut Sealed) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    loop {
        let Some(record) = stream.record(MAX_RECORD + TAG).await? else { return Ok(None) };
        let plain = sealed.open(record).map_err(io::Error::other)?;
        let (more, chunk) = plain.split_first().ok_or(io::ErrorKind::InvalidData)?;
        if message.len() + chunk.len() > 1 + MAX_TOPIC + MAX_BODY {
            return Err(io::ErrorKind::InvalidData.into());
        }
        message.extend_from_slice(chunk);
        if *more == 0 {
            return Ok(Some(message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Topics and bodies are taken apart as they were put together; anything else is refused.
    #[test]
    fn requests_are_split() {
        assert_eq!(split(b"\x03abcbody"), Some(("abc", &b"body"[..])));
        assert_eq!(split(b"\x00"), Some(("", &b""[..])));
        for bad in [&b""[..], b"\x04abc", b"\x01\xff"] {
            assert_eq!(split(bad), None);
        }
    }
}
