//! A non-blocking descriptor that Tokio wakes us for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An owned, non-blocking descriptor.
#[derive(Debug)]
pub(crate) struct Ready(AsyncFd<OwnedFd>);

impl Ready {
    /// Registers `fd`, which must be non-blocking, with the current runtime.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` is open for as long as it lives, and the `AsyncFd` that owns it hands it out only
        // by shared reference, so it can be neither closed nor replaced while it is registered.
        #[allow(unsafe_code)]
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Self(registered.map_err(io::Error::from)?))
    }

    /// Waits until `f` does something else than block. `f` reads.
    pub(crate) async fn read_with<R>(
        &self,
        mut f: impl FnMut(BorrowedFd<'_>) -> nix::Result<R>,
    ) -> io::Result<R> {
        self.0.async_io(Interest::READABLE, |fd| Ok(f(fd.as_fd())?)).await
    }

    /// Waits until `f` does something else than block. `f` writes.
    pub(crate) async fn write_with<R>(
        &self,
        mut f: impl FnMut(BorrowedFd<'_>) -> nix::Result<R>,
    ) -> io::Result<R> {
        self.0.async_io(Interest::WRITABLE, |fd| Ok(f(fd.as_fd())?)).await
    }
}

impl AsFd for Ready {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
