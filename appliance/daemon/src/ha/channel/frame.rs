//! A request and its answer on a stream of their own.
//!
//! ```text
//!   request:  length of the topic, 1 byte ‖ topic ‖ body ‖ end of the stream
//!   answer:   1 ‖ body ‖ end of the stream      or      0 ‖ end of the stream: there is none
//! ```

use quinn::{Connection, RecvStream, SendStream};

use super::ChannelError;

/// Longest topic, in bytes.
pub const MAX_TOPIC: usize = 64;
/// Longest body, in bytes: a document of 16 MiB as JSON, with a line break of two bytes where it had one, and the numbers of
/// its flows.
pub const MAX_BODY: usize = 24 << 20;

/// Asks, and reads the answer.
pub(super) async fn ask(connection: &Connection, topic: &str, body: &[u8]) -> Result<Vec<u8>, ChannelError> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(broken)?;
    // The topic has been found short enough.
    let length = u8::try_from(topic.len()).map_err(|_| ChannelError::Refused("its topic is too long"))?;
    send.write_all(&[length]).await.map_err(broken)?;
    send.write_all(topic.as_bytes()).await.map_err(broken)?;
    send.write_all(body).await.map_err(broken)?;
    send.finish().map_err(broken)?;
    let mut answer = receive.read_to_end(1 + MAX_BODY).await.map_err(broken)?;
    match answer.first() {
        Some(1) => {
            answer.remove(0);
            Ok(answer)
        }
        Some(_) | None => Err(ChannelError::Unanswered),
    }
}

/// Reads a request.
pub(super) async fn read(mut receive: RecvStream) -> Result<(String, Vec<u8>), ChannelError> {
    let whole = receive.read_to_end(1 + MAX_TOPIC + MAX_BODY).await.map_err(broken)?;
    let malformed = || ChannelError::Broken("the request cannot be read".into());
    let (length, rest) = whole.split_first().ok_or_else(malformed)?;
    let length = usize::from(*length);
    let topic = rest.get(..length).filter(|_| length <= MAX_TOPIC).ok_or_else(malformed)?;
    let topic = std::str::from_utf8(topic).map_err(|_| malformed())?.to_owned();
    Ok((topic, rest[length..].to_vec()))
}

/// Answers a request; `None`: there is no answer.
pub(super) async fn answer(mut send: SendStream, body: Option<&[u8]>) -> Result<(), ChannelError> {
    match body.filter(|b| b.len() <= MAX_BODY) {
        Some(body) => {
            send.write_all(&[1]).await.map_err(broken)?;
            send.write_all(body).await.map_err(broken)?;
        }
        None => send.write_all(&[0]).await.map_err(broken)?,
    }
    send.finish().map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> ChannelError {
    ChannelError::Broken(error.to_string())
}
