//! Control messages: text, one to a TLS record, each with a NUL at its end (draft "Control channel messages").
//!
//! | file | owns |
//! | --- | --- |
//! | here | what clients say, what the server says |
//! | `push` | the options that a client is given |
//! | `password` | what people type into the field for the password |

mod password;
mod push;
#[cfg(test)]
mod tests;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

pub use password::{Submitted, TOKEN_PREFIX};
pub use push::{
    Address4, Address6, Domain, Grant, InvalidDomain, MAX_ROUTES, PushError, PushOptions, Redirect, Route4,
    Route6,
};

/// The longest message, in bytes with its NUL: what a client's buffer holds (study §2.5).
pub const MAX_MESSAGE: usize = 1024;
/// The longest answer to a question, in bytes.
const MAX_RESPONSE: usize = 512;

/// What a client says.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    /// Where is my PUSH_REPLY?
    Push,
    /// The answer to a question.
    Response(Zeroizing<String>),
    /// It goes.
    Exit,
    /// Something that a server does not need to understand.
    Other,
}

impl Request {
    /// From a message without its NUL.
    pub fn parse(message: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(message) else { return Self::Other };
        // Clients end a line where a person might have.
        let text = text.trim_end_matches(['\r', '\n']);
        match text.split_once(',').map_or((text, None), |(verb, rest)| (verb, Some(rest))) {
            ("PUSH_REQUEST", None) => Self::Push,
            ("EXIT", None) => Self::Exit,
            ("CR_RESPONSE", Some(answer)) => decode(answer).map_or(Self::Other, Self::Response),
            _ => Self::Other,
        }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Push => "Push",
            Self::Response(_) => "Response(..)",
            Self::Exit => "Exit",
            Self::Other => "Other",
        })
    }
}

fn decode(text: &str) -> Option<Zeroizing<String>> {
    if text.len() > MAX_RESPONSE * 2 {
        return None;
    }
    let bytes = Zeroizing::new(Base64::decode_vec(text).ok()?);
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= MAX_RESPONSE)?;
    Some(Zeroizing::new(text.to_owned()))
}

/// Where a client goes after a temporary failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advance {
    /// The same address again.
    No,
    /// The next address of the same name.
    Address,
    /// The next `remote` of its profile.
    Remote,
}

/// Why a login fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Wrong. The text is shown where the client shows such things.
    Failed(String),
    /// The token is worth nothing any more; the client drops it and asks the person.
    Session(String),
    /// Not now. Clients that do not know this take it for a failure.
    Temporary {
        /// How long it waits before it tries again, in seconds.
        backoff_s: u16,
        /// Where.
        advance: Advance,
        /// What it shows.
        text: String,
    },
    /// It shall ask the person this and come back with the answer (dynamic challenge).
    Challenge {
        /// What the answer is found by; it comes back with it.
        state: String,
        /// Whose login it is.
        user: String,
        /// The question.
        question: String,
        /// The answer may be seen while it is typed.
        echo: bool,
    },
}

/// What the server says, besides PUSH_REPLY.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A login fails.
    Refused(Refusal),
    /// A login takes a while, because someone is asked.
    Pending {
        /// How long it may take, in seconds; left out for clients that know no keywords.
        timeout_s: Option<u16>,
    },
    /// The question to the person, after `Pending`.
    Question {
        /// What is asked.
        text: String,
        /// The answer may be seen while it is typed.
        echo: bool,
    },
    /// Come back.
    Restart {
        /// To this same server.
        same_server: bool,
        /// Why.
        text: String,
    },
    /// Do not come back.
    Halt(String),
    /// For the person.
    Info(String),
}

impl Notice {
    /// Its bytes, with the NUL. Texts are cut so that it fits.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let text = match self {
            Self::Refused(Refusal::Failed(text)) if text.is_empty() => "AUTH_FAILED".to_owned(),
            Self::Refused(Refusal::Failed(text)) => format!("AUTH_FAILED,{}", plain(text)),
            Self::Refused(Refusal::Session(text)) => format!("AUTH_FAILED,SESSION:{}", plain(text)),
            Self::Refused(Refusal::Temporary { backoff_s, advance, text }) => {
                let advance = match advance {
                    Advance::No => "no",
                    Advance::Address => "addr",
                    Advance::Remote => "remote",
                };
                format!("AUTH_FAILED,TEMP[backoff {backoff_s},advance {advance}]:{}", plain(text))
            }
            // doc "management-notes": R a response is wanted, E it may be echoed.
            Self::Refused(Refusal::Challenge { state, user, question, echo }) => {
                let flags = if *echo { "R,E" } else { "R" };
                let user = Base64::encode_string(user.as_bytes());
                format!(
                    "AUTH_FAILED,CRV1:{flags}:{}:{user}:{}",
                    plain(state).replace(':', " "),
                    plain(question)
                )
            }
            Self::Pending { timeout_s: Some(timeout_s) } => format!("AUTH_PENDING,timeout {timeout_s}"),
            Self::Pending { timeout_s: None } => "AUTH_PENDING".to_owned(),
            Self::Question { text, echo } => {
                let flags = if *echo { "R,E" } else { "R" };
                format!("INFO_PRE,CR_TEXT:{flags}:{}", plain(text))
            }
            Self::Restart { same_server, text } => {
                let flags = if *same_server { "[N]" } else { "" };
                format!("RESTART,{flags}{}", plain(text))
            }
            Self::Halt(text) => format!("HALT,{}", plain(text)),
            Self::Info(text) => format!("INFO,{}", plain(text)),
        };
        terminate(text)
    }
}

/// What a person reads must not end the message, nor begin another.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn terminate(mut text: String) -> Zeroizing<Vec<u8>> {
    let mut end = text.len().min(MAX_MESSAGE - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    let mut bytes = Zeroizing::new(text.into_bytes());
    bytes.push(0);
    bytes
}
