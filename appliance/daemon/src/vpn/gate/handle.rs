//! How other threads speak to the server: by a channel that never makes them wait.
//!
//! It has no bound of its own because what goes in has: verdicts are no more than logins, confirmations no more than
//! sessions, and the bus asks one thing at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rempart_plan::vpn::VpnPlan;
use rempart_system::realtime::Waker;
use tokio::sync::oneshot;

use crate::vpn::seam::{FromPeople, FromReplica, Server, Tell, Whom};
use crate::vpn::server::status::Status;

/// What others say to the server.
#[derive(Debug)]
pub enum Input {
    /// From those who know people.
    People(FromPeople),
    /// From what both nodes hold.
    Replica(FromReplica),
    /// A TCP connection has ended.
    HungUp(SocketAddr),
    /// What the machine wanted to be settled is.
    Settled(u64),
    /// Who is on?
    Status(oneshot::Sender<Status>),
    /// End sessions.
    Disconnect(Whom, oneshot::Sender<usize>),
    /// What the document asks for.
    Configure(Option<Box<VpnPlan>>),
    /// The program ends.
    Stop,
}

/// The way to the server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: Sender<Input>,
    waker: Waker,
}

impl Handle {
    pub(super) fn new(waker: Waker) -> (Self, Receiver<Input>) {
        let (inbox, receiver) = channel();
        (Self { inbox, waker }, receiver)
    }

    /// Says something. After the server's end nobody hears.
    pub fn tell(&self, input: Input) {
        if self.inbox.send(input).is_ok() {
            self.waker.wake();
        }
    }

    /// For those who know people.
    pub fn people(&self) -> Tell<FromPeople> {
        let handle = self.clone();
        Arc::new(move |news| handle.tell(Input::People(news)))
    }

    /// For what both nodes hold.
    pub fn replica(&self) -> Tell<FromReplica> {
        let handle = self.clone();
        Arc::new(move |news| handle.tell(Input::Replica(news)))
    }

    /// Ends the server's thread.
    pub fn stop(&self) {
        self.tell(Input::Stop);
    }
}

impl Server for Handle {
    fn status(&self) -> oneshot::Receiver<Status> {
        let (sender, answer) = oneshot::channel();
        self.tell(Input::Status(sender));
        answer
    }

    fn disconnect(&self, whom: Whom) -> oneshot::Receiver<usize> {
        let (sender, answer) = oneshot::channel();
        self.tell(Input::Disconnect(whom, sender));
        answer
    }

    fn configure(&self, plan: Option<Box<VpnPlan>>) {
        self.tell(Input::Configure(plan));
    }
}
