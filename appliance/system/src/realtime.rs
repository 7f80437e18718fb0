//! What a thread needs so that it is run when its time has come, and what it waits with: real-time priority, locked
//! memory, an end that follows the parent's, a wake-up call between threads, and `ppoll`.
//!
//! Nothing here needs a runtime. Priorities belong to the calling *thread*, locked memory to the whole process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::time::TimeSpec;

use crate::fd::Ready;

/// Lock what is paged in from now on when it is first touched, not at once (`asm-generic/mman.h`).
const MCL_ONFAULT: libc::c_int = 4;

/// Runs the calling thread, and threads and processes that it makes, before all ordinary ones: `SCHED_FIFO` with
/// `priority`, 1 to 99. Needs `CAP_SYS_NICE` or `RLIMIT_RTPRIO`.
pub fn run_first(priority: u8) -> io::Result<()> {
    schedule(libc::SCHED_FIFO, priority)
}

/// Runs the calling thread like any other again: `SCHED_OTHER`.
pub fn run_in_turn() -> io::Result<()> {
    schedule(libc::SCHED_OTHER, 0)
}

fn schedule(policy: libc::c_int, priority: u8) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: the kernel reads one `sched_param`, which lives across the call; 0 is the calling thread.
    #[allow(unsafe_code)]
    let done = unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) };
    Ok(Errno::result(done).map(drop)?)
}

/// Sets the niceness of the calling thread: −20, most favoured, to 19. Below the present one it needs `CAP_SYS_NICE`.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: three numbers; 0 is the calling thread (setpriority(2), "C library/kernel differences").
    #[allow(unsafe_code)]
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    Ok(Errno::result(done).map(drop)?)
}

/// Keeps every page of the process in memory once it has been touched. Needs `CAP_IPC_LOCK` or `RLIMIT_MEMLOCK`.
pub fn lock_memory() -> io::Result<()> {
    let on_fault = MlockAllFlags::from_bits_retain(MCL_ONFAULT);
    Ok(mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)?)
}

/// Has the kernel send SIGTERM to this process when its parent `parent` ends. If it has ended already, that is an error.
pub fn end_with(parent: u32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    let now = nix::unistd::getppid().as_raw();
    if u32::try_from(now) == Ok(parent) {
        Ok(())
    } else {
        Err(io::Error::other("the parent process has ended"))
    }
}

/// Wakes a thread that waits in [`wait`]. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// A new one, asleep.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Has the other thread come back from its wait, now or when it waits next.
    pub fn wake(&self) {
        // The counter is full after 2⁶⁴ − 2 calls without a wait; the thread is woken then anyway.
        let _ = self.0.write(1);
    }

    /// The waiting thread has taken notice.
    pub fn rest(&self) {
        // An error means that nobody has called.
        let _ = self.0.read();
    }
}

/// The same call, waited for by a task of Tokio's.
#[derive(Debug)]
pub struct Call(Ready);

impl Waker {
    /// To be waited for in a task of the runtime that this is called in, and nowhere else.
    pub fn call(&self) -> io::Result<Call> {
        Ok(Call(Ready::new(self.0.as_fd().try_clone_to_owned()?)?))
    }
}

impl Call {
    /// Somebody has called since the last time.
    pub async fn come(&self) -> io::Result<()> {
        let mut counter = [0; size_of::<u64>()];
        self.0.read_with(|fd| nix::unistd::read(fd, &mut counter)).await.map(drop)
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of `sources` can be read or has failed, or `timeout` is over; forever without one. `ready` is filled
/// with an answer for each source, in their order. A signal ends the wait early.
pub fn wait<'a>(
    sources: impl IntoIterator<Item = BorrowedFd<'a>>,
    timeout: Option<Duration>,
    ready: &mut Vec<bool>,
) -> io::Result<()> {
    let mut fds: Vec<_> = sources.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    ready.clear();
    match ppoll(&mut fds, timeout.map(TimeSpec::from_duration), None) {
        Ok(_) => ready.extend(fds.iter().map(|fd| fd.any().unwrap_or(true))),
        Err(Errno::EINTR) => ready.resize(fds.len(), false),
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wake_up_call_ends_the_wait_once() {
        let (waker, mut ready) = (Waker::new().unwrap(), Vec::new());
        waker.wake();
        waker.wake();
        wait([waker.as_fd()], None, &mut ready).unwrap();
        assert_eq!(ready, [true]);
        waker.rest();
        wait([waker.as_fd()], Some(Duration::ZERO), &mut ready).unwrap();
        assert_eq!(ready, [false]);
    }

    #[test]
    fn a_wait_ends_with_its_time() {
        let (waker, mut ready) = (Waker::new().unwrap(), Vec::new());
        let start = Instant::now();
        wait([waker.as_fd()], Some(Duration::from_micros(300)), &mut ready).unwrap();
        assert!(start.elapsed() >= Duration::from_micros(300));
        assert_eq!(ready, [false]);
    }

    #[test]
    fn a_stranger_as_parent_is_noticed() {
        assert!(end_with(0).is_err());
        // The test itself must not end with its parent's thread.
        prctl::set_pdeathsig(None).unwrap();
    }
}
