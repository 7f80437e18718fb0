//! What tasks of Tokio wait for, and how they end.

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Waits until a moment; for ever where there is none.
pub async fn until(at: Option<impl Into<Instant>>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Ends its task when it goes.
#[derive(Debug)]
pub struct Task(JoinHandle<()>);

impl Task {
    /// A task of its own.
    pub fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        !self.0.is_finished()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) {
        // One that has panicked has said so.
        drop((&mut self.0).await);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
