//! The machine of the side that shows the code.

use std::collections::VecDeque;
use std::time::Instant;

use zeroize::Zeroizing;

use super::code::Code;
use super::exchange::{Exchange, Keys, Sealed, Seed, Side};
use super::machine::{Agreed, Event, Failure, Output, Person, introduction, open, push_sealed};
use super::message::{Grant, Inner, Introduction, Malformed, Message, Reason};
use super::{EXCHANGE, MAX_CONNECTIONS, MAX_TRIES, OFFER, VERSION};

/// The side that shows the code.
#[derive(Debug)]
pub struct Offer {
    code: Code,
    own: Person,
    expected: String,
    place: u8,
    secret: Zeroizing<[u8; 32]>,
    expires: Instant,
    wrong: u8,
    connections: u16,
    /// When the exchange under way is given up.
    deadline: Option<Instant>,
    state: Offering,
    out: VecDeque<Output>,
}

#[allow(clippy::large_enum_variant, reason = "there is one of them at a time")]
pub(super) enum Offering {
    /// No connection.
    Waiting,
    /// Connected; the other side speaks first.
    Opened(Seed),
    /// Our element is sent.
    Confirming(Keys),
    /// The code was right.
    Confirmed(Sealed),
    /// The secret is given.
    Granted(Sealed, Box<Agreed>),
    /// The other side has stored; our disk is at it.
    Storing(Sealed, Box<Agreed>),
    /// Over, one way or the other.
    Over,
}

impl std::fmt::Debug for Offering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting => "Waiting",
            Self::Opened(_) => "Opened",
            Self::Confirming(_) => "Confirming",
            Self::Confirmed(_) => "Confirmed",
            Self::Granted(..) => "Granted",
            Self::Storing(..) => "Storing",
            Self::Over => "Over",
        })
    }
}

impl Offer {
    /// Offers to pair with the node called `expected`. `place` is that of this node among the two, 0 or 1; `secret` is
    /// fresh from the random source.
    pub fn new(
        now: Instant,
        code: Code,
        own: Person,
        expected: String,
        place: u8,
        secret: Zeroizing<[u8; 32]>,
    ) -> Self {
        let (state, out) = (Offering::Waiting, VecDeque::new());
        let expires = now + OFFER;
        Self {
            code,
            own,
            expected,
            place,
            secret,
            expires,
            wrong: 0,
            connections: 0,
            deadline: None,
            state,
            out,
        }
    }

    /// When the offer ends by itself.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// A connection came in.
    pub fn opened(&mut self, now: Instant, seed: Seed) {
        self.handle(now, Event::Opened(seed));
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

    /// A person ends the offer.
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
            Offering::Over => None,
            Offering::Waiting => Some(self.expires),
            // Who has not shown the code by the end of the offer comes too late.
            Offering::Opened(_) | Offering::Confirming(_) => {
                Some(self.deadline.map_or(self.expires, |d| d.min(self.expires)))
            }
            Offering::Confirmed(_) | Offering::Granted(..) | Offering::Storing(..) => self.deadline,
        }
    }

    pub(super) fn handle(&mut self, now: Instant, event: Event) {
        use Event::{Cancel, Closed, Opened, Received, Stored, Timeout};
        use Message::{Confirm, Hello, Refuse, Sealed};
        let state = std::mem::replace(&mut self.state, Offering::Over);
        self.state = match (state, event) {
            (Offering::Over, Opened(_)) => {
                self.refuse(Reason::Over);
                Offering::Over
            }
            (Offering::Over, Received(_) | Closed | Stored(_) | Timeout | Cancel) => Offering::Over,

            (Offering::Waiting, Opened(_)) if now >= self.expires => {
                self.refuse(Reason::Over);
                self.fail(Failure::Expired)
            }
            (Offering::Waiting, Opened(_)) if self.connections >= MAX_CONNECTIONS => {
                self.refuse(Reason::Over);
                self.fail(Failure::TooManyConnections)
            }
            (Offering::Waiting, Opened(seed)) => {
                self.connections += 1;
                self.deadline = Some(now + EXCHANGE);
                Offering::Opened(seed)
            }
            (Offering::Waiting, Timeout) if now >= self.expires => self.fail(Failure::Expired),
            // Late news of a connection that is over already.
            (Offering::Waiting, Received(_) | Closed | Stored(_) | Timeout) => Offering::Waiting,
            (Offering::Waiting, Cancel) => self.fail(Failure::Cancelled),

            (Offering::Opened(seed), Received(Ok(Hello(element)))) => {
                let exchange = Exchange::start(Side::Offering, &self.code, &seed);
                let own = exchange.element;
                match exchange.finish(&element) {
                    Some(keys) => {
                        self.send(&Hello(own));
                        Offering::Confirming(keys)
                    }
                    None => self.drop_connection(Reason::Malformed),
                }
            }
            (Offering::Confirming(keys), Received(Ok(Confirm(proof)))) => {
                let own = keys.proof();
                match keys.proves(&proof) {
                    Some(sealed) => {
                        self.send(&Confirm(own));
                        Offering::Confirmed(sealed)
                    }
                    None => self.wrong_code(),
                }
            }
            (Offering::Confirmed(mut sealed), Received(Ok(Sealed(record)))) => {
                match open(&mut sealed, record) {
                    Some(Inner::Introduction(Introduction { protocol, product, node, key, grant: None })) => {
                        if protocol != u16::from(VERSION) {
                            self.refuse_sealed(sealed, Reason::Version);
                            self.fail(Failure::Version)
                        } else if node != self.expected || key == self.own.key {
                            self.refuse_sealed(sealed, Reason::Name);
                            self.fail(Failure::Name { expected: self.expected.clone(), found: node })
                        } else {
                            let grant = Grant {
                                expected: self.expected.clone(),
                                place: 1 - self.place.min(1),
                                secret: self.secret.clone(),
                            };
                            self.send_sealed(&mut sealed, &introduction(&self.own, Some(grant)));
                            let peer = Person { node, product, key };
                            Offering::Granted(
                                sealed,
                                Box::new(Agreed {
                                    peer,
                                    place: self.place.min(1),
                                    secret: self.secret.clone(),
                                }),
                            )
                        }
                    }
                    Some(Inner::Introduction(_) | Inner::Stored | Inner::Refuse(_)) | None => {
                        self.out.push_back(Output::Close);
                        self.fail(Failure::Malformed)
                    }
                }
            }
            (Offering::Granted(mut sealed, agreed), Received(Ok(Sealed(record)))) => {
                match open(&mut sealed, record) {
                    Some(Inner::Stored) => {
                        self.out.push_back(Output::Store(agreed.clone()));
                        Offering::Storing(sealed, agreed)
                    }
                    Some(Inner::Refuse(reason)) => {
                        self.out.push_back(Output::Close);
                        self.fail(self.told(reason))
                    }
                    Some(Inner::Introduction(_)) | None => {
                        self.out.push_back(Output::Close);
                        self.fail(Failure::Malformed)
                    }
                }
            }
            (Offering::Storing(mut sealed, agreed), Stored(true)) => {
                self.send_sealed(&mut sealed, &Inner::Stored);
                self.out.push_back(Output::Paired(agreed, sealed));
                Offering::Over
            }
            (Offering::Storing(sealed, _), Stored(false)) => {
                self.refuse_sealed(sealed, Reason::Storage);
                self.fail(Failure::Storage)
            }
            // Both have the keys as soon as our disk is done, whatever becomes of the connection.
            (Offering::Storing(sealed, agreed), Opened(_) | Received(_) | Closed | Timeout | Cancel) => {
                Offering::Storing(sealed, agreed)
            }

            // Without the code nothing was learnt: the offer stands, and the next connection may come.
            (Offering::Opened(_), Received(Err(Malformed::Version(_)))) => {
                self.drop_connection(Reason::Version)
            }
            (Offering::Opened(_), Received(Ok(Confirm(_) | Sealed(_)) | Err(_)))
            | (Offering::Confirming(_), Received(Ok(Hello(_) | Sealed(_)) | Err(_))) => {
                self.drop_connection(Reason::Malformed)
            }
            (Offering::Opened(_) | Offering::Confirming(_), Received(Ok(Refuse(_))) | Closed) => {
                self.out.push_back(Output::Close);
                Offering::Waiting
            }
            (Offering::Opened(_) | Offering::Confirming(_), Timeout) if now >= self.expires => {
                self.refuse(Reason::Over);
                self.fail(Failure::Expired)
            }
            (state @ (Offering::Opened(_) | Offering::Confirming(_)), Timeout) => {
                if self.deadline.is_some_and(|d| now >= d) {
                    self.drop_connection(Reason::Over)
                } else {
                    state
                }
            }
            (Offering::Opened(_) | Offering::Confirming(_), Cancel) => {
                self.refuse(Reason::Over);
                self.fail(Failure::Cancelled)
            }
            // One connection at a time; the driver accepts the next when this one is over.
            (state @ (Offering::Opened(_) | Offering::Confirming(_)), Opened(_) | Stored(_)) => state,

            // The code is used, and the secret perhaps given: a new try needs a new offer.
            (Offering::Confirmed(_) | Offering::Granted(..), Received(Ok(Refuse(reason)))) => {
                self.out.push_back(Output::Close);
                self.fail(self.told(reason))
            }
            (
                Offering::Confirmed(_) | Offering::Granted(..),
                Received(Ok(Hello(_) | Confirm(_)) | Err(_)),
            ) => {
                self.out.push_back(Output::Close);
                self.fail(Failure::Malformed)
            }
            (Offering::Confirmed(_) | Offering::Granted(..), Closed) => self.fail(Failure::Interrupted),
            (state @ (Offering::Confirmed(_) | Offering::Granted(..)), Timeout) => {
                if self.deadline.is_some_and(|d| now >= d) {
                    self.out.push_back(Output::Close);
                    self.fail(Failure::Interrupted)
                } else {
                    state
                }
            }
            (Offering::Confirmed(_) | Offering::Granted(..), Cancel) => {
                self.out.push_back(Output::Close);
                self.fail(Failure::Cancelled)
            }
            (state @ (Offering::Confirmed(_) | Offering::Granted(..)), Opened(_) | Stored(_)) => state,
        };
    }

    fn wrong_code(&mut self) -> Offering {
        self.wrong += 1;
        let left = MAX_TRIES.saturating_sub(self.wrong);
        self.refuse(Reason::WrongCode);
        if left == 0 {
            return self.fail(Failure::TooManyTries);
        }
        self.out.push_back(Output::Wrong { left });
        self.deadline = None;
        Offering::Waiting
    }

    fn drop_connection(&mut self, reason: Reason) -> Offering {
        self.refuse(reason);
        self.deadline = None;
        Offering::Waiting
    }

    fn told(&self, reason: Reason) -> Failure {
        match reason {
            Reason::Storage => Failure::PeerStorage,
            Reason::Version => Failure::Version,
            Reason::WrongCode | Reason::Over | Reason::Name | Reason::Malformed => Failure::Interrupted,
        }
    }

    fn send(&mut self, message: &Message) {
        self.out.push_back(Output::Send(message.encode()));
    }

    fn send_sealed(&mut self, sealed: &mut Sealed, inner: &Inner) {
        push_sealed(&mut self.out, sealed, inner);
    }

    fn refuse(&mut self, reason: Reason) {
        self.send(&Message::Refuse(reason));
        self.out.push_back(Output::Close);
    }

    fn refuse_sealed(&mut self, mut sealed: Sealed, reason: Reason) {
        self.send_sealed(&mut sealed, &Inner::Refuse(reason));
        self.out.push_back(Output::Close);
    }

    fn fail(&mut self, failure: Failure) -> Offering {
        self.out.push_back(Output::Failed(failure));
        Offering::Over
    }

    #[cfg(test)]
    pub(super) fn set_state(&mut self, state: Offering, deadline: Instant) {
        (self.state, self.deadline) = (state, Some(deadline));
    }

    #[cfg(test)]
    pub(super) fn state(&self) -> &Offering {
        &self.state
    }
}
