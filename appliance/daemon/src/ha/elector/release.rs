//! Taking virtual links down, in a thread of its own.
//!
//! A macvlan that goes down is out of the way at once, but the kernel then waits until no processor can still be using
//! it: 10 to 30 ms for each link (`macvlan_hash_del` calls `synchronize_rcu`). So long the elector must not be silent: the
//! other node has just become active and would think this one dead.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use rempart_system::virtual_link::{Act, Batch, VirtualLinks};

/// Releases on their way: one for the whole node, or one for each router where they have roles of their own.
const QUEUE: usize = 64;

/// What the kernel did not do.
pub type Refused = Box<dyn Fn(String) + Send>;

/// The way to the thread.
pub struct Releaser {
    queue: SyncSender<Batch>,
    open: Arc<(Mutex<usize>, Condvar)>,
}

impl Releaser {
    /// Starts the thread, in the network namespace of the caller. It inherits the caller's priority.
    pub fn start(refused: Refused) -> io::Result<Self> {
        let (queue, batches) = sync_channel(QUEUE);
        let hands = VirtualLinks::open()?;
        let open = Arc::new((Mutex::new(0), Condvar::new()));
        let done = Arc::clone(&open);
        thread::Builder::new().name("release".into()).spawn(move || run(hands, &batches, &done, &refused))?;
        Ok(Self { queue, open })
    }

    /// Has `batch` done, soon. When too many wait, waits for them.
    pub fn release(&self, batch: Batch) {
        let (open, _) = &*self.open;
        *open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        // It fails only if the thread has panicked, which was reported where it happened.
        let _ = self.queue.send(batch);
    }

    /// Whether something is still being taken down.
    pub fn is_busy(&self) -> bool {
        *self.open.0.lock().unwrap_or_else(PoisonError::into_inner) > 0
    }

    /// Waits until everything is down: what is brought up next must not be overtaken. The kernel's own lock would have
    /// us wait as long.
    pub fn finish(&self) {
        let (open, changed) = &*self.open;
        let mut guard = open.lock().unwrap_or_else(PoisonError::into_inner);
        while *guard > 0 {
            guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn run(
    mut hands: VirtualLinks,
    batches: &Receiver<Batch>,
    done: &(Mutex<usize>, Condvar),
    refused: &Refused,
) {
    while let Ok(batch) = batches.recv() {
        perform(&mut hands, &batch, refused);
        let (open, changed) = done;
        *open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        changed.notify_all();
    }
}

/// Does `batch`, and tells what the kernel refused in words for people.
pub fn perform(hands: &mut VirtualLinks, batch: &Batch, refused: &dyn Fn(String)) {
    let done = hands.perform(batch, |act: Act, error: Errno| {
        refused(match act {
            Act::Up(index) => format!("link {index} cannot be set up: {error}"),
            Act::Down(index) => format!("link {index} cannot be set down: {error}"),
            Act::Add(index, net) => format!("link {index} cannot be given {net}: {error}"),
            Act::Remove(index, net) => format!("{net} cannot be taken from link {index}: {error}"),
        });
    });
    if let Err(error) = done {
        refused(format!("the virtual links cannot be reached: {error}"));
    }
}
