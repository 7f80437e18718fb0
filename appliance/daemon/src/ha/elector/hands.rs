//! Virtual links up and down, in a thread of its own.
//!
//! The kernel changes links under one lock. Whoever holds it, the control daemon at a commit or ourselves while a macvlan
//! goes down, may hold it for tens of milliseconds. So long the elector must not be silent: the other node would think this
//! one dead. Orders are carried out one after the other, so one number tells how far the thread has come.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use rempart_system::grace::GracePeriods;
use rempart_system::realtime::{self, Waker};
use rempart_system::virtual_link::{Act, Batch, VirtualLinks};

use super::PRIORITY;

/// Orders on their way: one for the whole node, or one for each router where they have roles of their own.
const QUEUE: usize = 64;

/// What the kernel did not do.
pub type Refused = Box<dyn Fn(String) + Send>;

/// The place of an order among all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Ticket(u64);

/// The way to the thread.
pub struct Hands {
    queue: SyncSender<Batch>,
    ordered: u64,
    done: Arc<Done>,
}

struct Done {
    count: AtomicU64,
    changed: (Mutex<()>, Condvar),
}

impl Hands {
    /// Starts the thread, in the network namespace of the caller, and after each order wakes it.
    pub fn start(waker: Waker, refused: Refused) -> io::Result<Self> {
        let (queue, batches) = sync_channel(QUEUE);
        let links = VirtualLinks::open()?;
        let grace = GracePeriods::open().unwrap_or_else(|error| {
            refused(format!("links will go down slowly, for grace periods cannot be expedited: {error}"));
            GracePeriods::untouched()
        });
        let done = Arc::new(Done { count: AtomicU64::new(0), changed: Default::default() });
        let shared = Arc::clone(&done);
        let run = move || {
            // Waiting for the kernel's lock it may spin, and must not keep the elector from the processor then. Without
            // real-time priority it has the elector's, like everything else.
            let _ = realtime::run_first(PRIORITY - 1);
            run(links, grace, &batches, &shared, &waker, &refused);
        };
        thread::Builder::new().name("hands".into()).spawn(run)?;
        Ok(Self { queue, ordered: 0, done })
    }

    /// Has `batch` done, soon. When too many wait, waits for them.
    pub fn order(&mut self, batch: Batch) -> Ticket {
        self.ordered += 1;
        // It fails only if the thread has panicked, which was reported where it happened.
        let _ = self.queue.send(batch);
        Ticket(self.ordered)
    }

    /// Whether this order has been carried out.
    pub fn is_done(&self, ticket: Ticket) -> bool {
        self.done.count.load(Ordering::Acquire) >= ticket.0
    }

    /// Whether something is still to be done.
    pub fn is_busy(&self) -> bool {
        !self.is_done(Ticket(self.ordered))
    }

    /// Waits until everything is done.
    pub fn finish(&self) {
        let (lock, changed) = &self.done.changed;
        let mut guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.is_busy() {
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(
    mut links: VirtualLinks,
    mut grace: GracePeriods,
    batches: &Receiver<Batch>,
    done: &Done,
    waker: &Waker,
    refused: &dyn Fn(String),
) {
    while let Ok(batch) = batches.recv() {
        let hurry = batch.takes_down().then(|| grace.expedite());
        perform(&mut links, &batch, refused);
        drop(hurry);
        let (lock, changed) = &done.changed;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        done.count.fetch_add(1, Ordering::Release);
        drop(guard);
        changed.notify_all();
        waker.wake();
    }
}

/// Does `batch`, and tells what the kernel refused in words for people.
fn perform(links: &mut VirtualLinks, batch: &Batch, refused: &dyn Fn(String)) {
    let done = links.perform(batch, |act: Act, error: Errno| {
        refused(match act {
            Act::Up(index) => format!("link {index} cannot be set up: {error}"),
            Act::Down(index) => format!("link {index} cannot be set down: {error}"),
            Act::Add(index, net) => format!("link {index} cannot be given {net}: {error}"),
            Act::Remove(index, net) => format!("{net} cannot be taken from link {index}: {error}"),
            Act::Accept(index, address) => format!("there is no route to {address} on link {index}: {error}"),
        });
    });
    if let Err(error) = done {
        refused(format!("the virtual links cannot be reached: {error}"));
    }
}
