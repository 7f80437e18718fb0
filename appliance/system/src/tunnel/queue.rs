//! One queue of a TUN device with offloads.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::libc;
use rempart_config::model::Device;

use crate::tun::{TunError, open};

/// Pieces that one write gathers behind the head.
pub const MAX_PARTS: usize = 64;

// linux/if_tun.h: what the reader of the device can finish by itself.
const TUN_F_CSUM: libc::c_int = 0x01;
const TUN_F_TSO4: libc::c_int = 0x02;
const TUN_F_TSO6: libc::c_int = 0x04;
const TUN_F_TSO_ECN: libc::c_int = 0x08;
const TUN_F_USO4: libc::c_int = 0x20;
const TUN_F_USO6: libc::c_int = 0x40;

nix::ioctl_write_int_bad!(
    /// Says what the reader of the device can finish by itself.
    tun_set_offload,
    libc::TUNSETOFFLOAD
);

/// What the kernel may leave to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offloads {
    /// Checksums, and cutting of TCP and UDP (Linux 6.2).
    TcpAndUdp,
    /// Checksums, and cutting of TCP.
    Tcp,
    /// Nothing: every packet is read whole.
    None,
}

/// A queue of a TUN device. Before each packet goes a `virtio_net_hdr` of 10 bytes.
#[derive(Debug)]
pub struct Queue {
    file: File,
    offloads: Offloads,
}

impl Queue {
    /// Opens a queue of `device` in the network namespace of this thread, and makes the device with the first one: down
    /// and without addresses. It goes with its last queue. Packets of one flow keep to one queue.
    pub fn open(device: &Device) -> Result<Self, TunError> {
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR | libc::IFF_MULTI_QUEUE;
        let file = open(device, flags)?;
        let tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
        let wishes =
            [(tcp | TUN_F_USO4 | TUN_F_USO6, Offloads::TcpAndUdp), (tcp, Offloads::Tcp), (0, Offloads::None)];
        let mut refused = io::Error::from(ErrorKind::Unsupported);
        for (bits, offloads) in wishes {
            // SAFETY: the descriptor is a TUN device, and the call takes a number.
            #[allow(unsafe_code)]
            let done = unsafe { tun_set_offload(file.as_raw_fd(), bits) };
            match done {
                Ok(_) => return Ok(Self { file, offloads }),
                Err(e) => refused = e.into(),
            }
        }
        Err(TunError::Create { device: device.as_str().to_owned(), source: refused })
    }

    /// What the kernel leaves to us.
    pub fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// Reads a packet with its header and returns their length; `None` if there is none now.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.file).read(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes one packet: `head`, which begins with the device's header, and behind it the `parts` of `arena`,
    /// [`MAX_PARTS`] at most.
    pub fn write(&self, head: &[u8], arena: &[u8], parts: &[Range<usize>]) -> io::Result<()> {
        if parts.len() > MAX_PARTS {
            return Err(ErrorKind::InvalidInput.into());
        }
        let mut pieces = [IoSlice::new(&[]); MAX_PARTS + 1];
        let bytes = parts.iter().map(|part| arena.get(part.clone()).unwrap_or_default());
        for (place, piece) in pieces.iter_mut().zip(std::iter::once(head).chain(bytes)) {
            *place = IoSlice::new(piece);
        }
        loop {
            match (&self.file).write_vectored(pieces.get(..=parts.len()).unwrap_or_default()) {
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
