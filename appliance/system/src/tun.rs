//! TUN devices: IP packets in and out of a program.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;
use rempart_config::model::Device;

use crate::fd::Ready;

// linux/if_tun.h: TUNSETIFF takes a pointer to struct ifreq, in which the kernel writes the name that it chose;
// the number of the call says int.
nix::ioctl_readwrite_bad!(
    /// Gives the device its name and kind.
    tun_set_iff,
    libc::TUNSETIFF,
    libc::ifreq
);

/// Why a TUN device was not made.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// The name does not fit the kernel's 15 bytes, or is empty.
    #[error("{0:?} is no name for a device: 1 to 15 bytes")]
    Name(String),
    /// No `/dev/net/tun`.
    #[error("cannot open /dev/net/tun: {0}; the kernel needs the module tun")]
    Open(#[source] io::Error),
    /// The kernel refused.
    #[error("cannot create the TUN device {device}: {source}")]
    Create {
        /// Its name.
        device: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A TUN device, without packet information header; it goes when this is dropped.
#[derive(Debug)]
pub struct Tun {
    device: Device,
    fd: Ready,
}

impl Tun {
    /// Creates the device `device` in the network namespace of this thread. It is down and has no address yet:
    /// that is for [`crate::links`].
    pub fn create(device: &Device) -> Result<Self, TunError> {
        let file = open(device, libc::IFF_TUN | libc::IFF_NO_PI)?;
        let refused = |source| TunError::Create { device: device.as_str().to_owned(), source };
        let fd = Ready::new(OwnedFd::from(file)).map_err(refused)?;
        Ok(Self { device: device.clone(), fd })
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Waits for a packet that the kernel sends into the device, and returns its length. What does not fit
    /// `buffer` is cut off.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fd.read_with(|fd| nix::unistd::read(fd, buffer)).await
    }

    /// Hands the kernel a packet as if it had come in by the device.
    pub async fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.fd.write_with(|fd| nix::unistd::write(fd, packet)).await.map(drop)
    }
}

/// Opens the device `device` in the network namespace of this thread, with `flags` of `linux/if_tun.h`; without it, makes
/// it. Reading and writing do not wait.
pub(crate) fn open(device: &Device, flags: libc::c_int) -> Result<File, TunError> {
    let name = device.as_str();
    if name.is_empty() || name.len() >= libc::IFNAMSIZ {
        return Err(TunError::Name(name.to_owned()));
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(TunError::Open)?;
    let mut ifr_name = [0; libc::IFNAMSIZ];
    for (place, byte) in ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    let flags = flags as libc::c_short;
    let mut request = libc::ifreq { ifr_name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_flags: flags } };
    // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq`, which lives across the
    // call; the name in it ends with NUL because it is shorter than the array.
    #[allow(unsafe_code)]
    let done = unsafe { tun_set_iff(file.as_raw_fd(), &raw mut request) };
    match done {
        Ok(_) => Ok(file),
        Err(e) => Err(TunError::Create { device: name.to_owned(), source: e.into() }),
    }
}
