//! The machine of the side on which the code is typed.

use std::collections::VecDeque;
use std::time::Instant;

use super::code::Code;
use super::exchange::{Exchange, Keys, Sealed, Seed, Side};
use super::machine::{Agreed, Event, Failure, Output, Person, introduction, open, push_sealed};
use super::message::{Grant, Inner, Introduction, Malformed, Message, Reason};
use super::{EXCHANGE, VERSION};

/// The side on which the code is typed. Its connection is open from the beginning.
#[derive(Debug)]
pub struct Join {
    own: Person,
    deadline: Instant,
    state: Joining,
    out: VecDeque<Output>,
}

#[allow(clippy::large_enum_variant, reason = "there is one of them at a time")]
pub(super) enum Joining {
    /// Our element is sent.
    Greeting(Exchange),
    /// Our proof is sent.
    Confirming(Keys),
    /// Our introduction is sent.
    Introducing(Sealed),
    /// Our disk is at it.
    Storing(Sealed, Box<Agreed>),
    /// Ours are stored; the other side's are not known to be.
    Finishing(Sealed, Box<Agreed>),
    /// Over, one way or the other.
    Over,
}

impl std::fmt::Debug for Joining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Greeting(_) => "Greeting",
            Self::Confirming(_) => "Confirming",
            Self::Introducing(_) => "Introducing",
            Self::Storing(..) => "Storing",
            Self::Finishing(..) => "Finishing",
            Self::Over => "Over",
        })
    }
}

impl Join {
    /// Joins over a connection that is open; the first message is at once to be sent.
    pub fn new(now: Instant, code: &Code, own: Person, seed: &Seed) -> Self {
        let exchange = Exchange::start(Side::Joining, code, seed);
        let hello = Output::Send(Message::Hello(exchange.element).encode());
        Self { own, deadline: now + EXCHANGE, state: Joining::Greeting(exchange), out: [hello].into() }
    }

    /// One whole message came, header included.
    pub fn received(&mut self, now: Instant, message: &[u8]) {
        self.handle(now, Event::Received(Message::decode(message)));
    }

    /// The connection has ended.
    pub fn closed(&mut self, now: Instant) {
        self.handle(now, Event::Closed);
    }

    /// What [`Output::Store`] asked for was done, or was not.
    pub fn stored(&mut self, now: Instant, done: bool) {
        self.handle(now, Event::Stored(done));
    }

    /// The moment of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn timeout(&mut self, now: Instant) {
        self.handle(now, Event::Timeout);
    }

    /// A person ends it.
    pub fn cancel(&mut self, now: Instant) {
        self.handle(now, Event::Cancel);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`timeout`](Self::timeout) is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            Joining::Over => None,
            Joining::Greeting(_)
            | Joining::Confirming(_)
            | Joining::Introducing(_)
            | Joining::Storing(..)
            | Joining::Finishing(..) => Some(self.deadline),
        }
    }

    pub(super) fn handle(&mut self, now: Instant, event: Event) {
        use Event::{Cancel, Closed, Opened, Received, Stored, Timeout};
        use Message::{Confirm, Hello, Refuse, Sealed};
        let state = std::mem::replace(&mut self.state, Joining::Over);
        self.state = match (state, event) {
            (Joining::Over, Opened(_) | Received(_) | Closed | Stored(_) | Timeout | Cancel) => Joining::Over,

            (Joining::Greeting(exchange), Received(Ok(Hello(element)))) => match exchange.finish(&element) {
                Some(keys) => {
                    self.out.push_back(Output::Send(Confirm(keys.proof()).encode()));
                    Joining::Confirming(keys)
                }
                None => self.fail(Failure::Malformed),
            },
            (Joining::Confirming(keys), Received(Ok(Confirm(proof)))) => match keys.proves(&proof) {
                Some(mut sealed) => {
                    push_sealed(&mut self.out, &mut sealed, &introduction(&self.own, None));
                    Joining::Introducing(sealed)
                }
                // An offering side that knows the code would have refused ours first: this one does not know it.
                None => self.fail(Failure::WrongCode),
            },
            (Joining::Introducing(mut sealed), Received(Ok(Sealed(record)))) => {
                match open(&mut sealed, record) {
                    Some(Inner::Introduction(introduction)) => self.introduced(sealed, introduction),
                    Some(Inner::Refuse(reason)) => self.fail_told(reason),
                    Some(Inner::Stored) | None => self.fail(Failure::Malformed),
                }
            }
            (Joining::Storing(mut sealed, agreed), Stored(true)) => {
                push_sealed(&mut self.out, &mut sealed, &Inner::Stored);
                Joining::Finishing(sealed, agreed)
            }
            (Joining::Storing(mut sealed, _), Stored(false)) => {
                push_sealed(&mut self.out, &mut sealed, &Inner::Refuse(Reason::Storage));
                self.fail(Failure::Storage)
            }
            (Joining::Finishing(mut sealed, agreed), Received(Ok(Sealed(record)))) => {
                match open(&mut sealed, record) {
                    Some(Inner::Stored) => {
                        self.out.push_back(Output::Paired(agreed, sealed));
                        Joining::Over
                    }
                    Some(Inner::Refuse(reason)) => self.fail_told(reason),
                    Some(Inner::Introduction(_)) | None => self.fail(Failure::Malformed),
                }
            }

            (
                Joining::Greeting(_)
                | Joining::Confirming(_)
                | Joining::Introducing(_)
                | Joining::Storing(..)
                | Joining::Finishing(..),
                Received(Ok(Refuse(reason))),
            ) => self.fail_told(reason),
            (
                Joining::Greeting(_)
                | Joining::Confirming(_)
                | Joining::Introducing(_)
                | Joining::Storing(..)
                | Joining::Finishing(..),
                Received(Err(Malformed::Version(_))),
            ) => self.fail(Failure::Version),
            (Joining::Greeting(_), Received(Ok(Confirm(_) | Sealed(_)) | Err(_)))
            | (Joining::Confirming(_), Received(Ok(Hello(_) | Sealed(_)) | Err(_)))
            | (Joining::Introducing(_), Received(Ok(Hello(_) | Confirm(_)) | Err(_)))
            | (Joining::Storing(..), Received(Ok(Hello(_) | Confirm(_) | Sealed(_)) | Err(_)))
            | (Joining::Finishing(..), Received(Ok(Hello(_) | Confirm(_)) | Err(_))) => {
                self.fail(Failure::Malformed)
            }
            (
                Joining::Greeting(_)
                | Joining::Confirming(_)
                | Joining::Introducing(_)
                | Joining::Storing(..)
                | Joining::Finishing(..),
                Closed,
            ) => self.fail(Failure::Interrupted),
            (
                state @ (Joining::Greeting(_)
                | Joining::Confirming(_)
                | Joining::Introducing(_)
                | Joining::Storing(..)
                | Joining::Finishing(..)),
                Timeout,
            ) => {
                if now >= self.deadline {
                    self.fail(Failure::Interrupted)
                } else {
                    state
                }
            }
            (
                Joining::Greeting(_)
                | Joining::Confirming(_)
                | Joining::Introducing(_)
                | Joining::Storing(..)
                | Joining::Finishing(..),
                Cancel,
            ) => self.fail(Failure::Cancelled),
            // Not asked for.
            (
                state @ (Joining::Greeting(_)
                | Joining::Confirming(_)
                | Joining::Introducing(_)
                | Joining::Finishing(..)),
                Opened(_) | Stored(_),
            )
            | (state @ Joining::Storing(..), Opened(_)) => state,
        };
    }

    fn introduced(&mut self, sealed: Sealed, introduction: Introduction) -> Joining {
        let Introduction { protocol, product, node, key, grant } = introduction;
        let Some(Grant { expected, place, secret }) = grant else { return self.fail(Failure::Malformed) };
        if protocol != u16::from(VERSION) {
            return self.fail(Failure::Version);
        }
        if expected != self.own.node || node == self.own.node || key == self.own.key {
            return self.fail(Failure::Name { expected, found: self.own.node.clone() });
        }
        let agreed = Box::new(Agreed { peer: Person { node, product, key }, place, secret });
        self.out.push_back(Output::Store(agreed.clone()));
        Joining::Storing(sealed, agreed)
    }

    fn fail_told(&mut self, reason: Reason) -> Joining {
        self.fail(match reason {
            Reason::WrongCode => Failure::WrongCode,
            Reason::Over => Failure::Over,
            Reason::Version => Failure::Version,
            Reason::Name => Failure::Name { expected: "otherwise".into(), found: self.own.node.clone() },
            Reason::Malformed => Failure::Malformed,
            Reason::Storage => Failure::PeerStorage,
        })
    }

    fn fail(&mut self, failure: Failure) -> Joining {
        self.out.push_back(Output::Close);
        self.out.push_back(Output::Failed(failure));
        Joining::Over
    }

    #[cfg(test)]
    pub(super) fn set_state(&mut self, state: Joining) {
        self.state = state;
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> &Joining {
        &self.state
    }
}
