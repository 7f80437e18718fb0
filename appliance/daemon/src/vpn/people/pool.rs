//! Threads that take turns at one queue, and no more work than they can do in the time that clients give.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

struct Queue<T> {
    waiting: VecDeque<T>,
    closed: bool,
}

/// A bounded queue with threads that empty it.
pub struct Pool<T> {
    queue: Mutex<Queue<T>>,
    more: Condvar,
    most: usize,
}

impl<T: Send + 'static> Pool<T> {
    /// A queue of at most so many; nobody works on it yet.
    pub fn new(most: usize) -> Self {
        let queue = Queue { waiting: VecDeque::with_capacity(most), closed: false };
        Self { queue: Mutex::new(queue), more: Condvar::new(), most }
    }

    /// Puts work at the end; gives it back when there is too much already.
    pub fn push(&self, work: T) -> Result<(), T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closed || queue.waiting.len() >= self.most {
            return Err(work);
        }
        queue.waiting.push_back(work);
        self.more.notify_one();
        Ok(())
    }

    /// The next piece of work; waits for it. `None` when there shall be no more.
    fn pull(&self) -> Option<T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.closed {
                return None;
            }
            match queue.waiting.pop_front() {
                Some(work) => return Some(work),
                None => queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The threads end when they have done what they are at.
    pub fn close(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.waiting.clear();
        self.more.notify_all();
    }
}

/// Starts threads that do this with whatever comes into the queue.
pub fn work<C: Send + Sync + 'static, T: Send + 'static>(
    name: &str,
    threads: usize,
    context: &Arc<C>,
    queue: fn(&C) -> &Pool<T>,
    with: fn(&Arc<C>, T),
) -> std::io::Result<()> {
    for _ in 0..threads {
        let context = context.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(work) = queue(&context).pull() {
                with(&context, work);
            }
        })?;
    }
    Ok(())
}
