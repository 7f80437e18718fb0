//! A device on which adverts are sent and heard: one packet socket for all virtual routers and both families there.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use rempart_system::advert::{AdvertSocket, UnicastSocket};
use vrrp_rs::wire::frame;
use vrrp_rs::{Dialect, Mac, elector::Transmit};

/// Larger than any advert: 8 + 255 × 16 bytes behind the headers; a longer frame is none.
pub const MAX_FRAME: usize = 4608;

/// A device and its socket.
#[derive(Debug)]
pub struct Segment {
    /// Its name.
    pub device: String,
    /// The kernel's number, by which the socket is bound.
    pub index: u32,
    socket: AdvertSocket,
    /// Sends to unicast peers, by the address that it sends from: the kernel knows their Ethernet addresses, we do not.
    unicast: Vec<(IpAddr, UnicastSocket)>,
    /// Frames that could not be sent.
    pub failures: u64,
}

impl Segment {
    /// Opens the socket.
    pub fn open(device: &str, index: u32) -> io::Result<Self> {
        let socket = AdvertSocket::open(index)?;
        Ok(Self { device: device.to_owned(), index, socket, unicast: Vec::new(), failures: 0 })
    }

    /// The next frame, and its length; `None` when there are no more. That the device went down is no frame.
    pub fn receive(&self, buffer: &mut [u8]) -> Option<usize> {
        // An error is reported once and cleared; the link watch tells what is wrong with the device.
        self.socket.receive(buffer).ok().flatten()
    }

    /// Sends an advert from the virtual router's Ethernet address.
    pub fn advertise(&mut self, from: Mac, dialect: Dialect, packet: &Transmit) {
        let header = &packet.header;
        let sent = match frame::group_mac(header.destination) {
            Some(to) => match frame::advertisement(from, to, dialect, header, &packet.payload) {
                Some(frame) => self.socket.send(&frame),
                None => Err(io::ErrorKind::InvalidInput.into()),
            },
            None => self.send_to_peer(header.source, header.destination, &packet.payload),
        };
        self.failures += u64::from(sent.is_err());
    }

    /// Sends whole frames.
    pub fn send(&mut self, frames: &[Vec<u8>]) {
        for frame in frames {
            self.failures += u64::from(self.socket.send(frame).is_err());
        }
    }

    fn send_to_peer(&mut self, from: IpAddr, to: IpAddr, payload: &[u8]) -> io::Result<()> {
        let place = match self.unicast.iter().position(|(address, _)| *address == from) {
            Some(place) => place,
            None => {
                self.unicast.push((from, UnicastSocket::open(&self.device, self.index, from)?));
                self.unicast.len() - 1
            }
        };
        match self.unicast.get(place) {
            Some((_, socket)) => socket.send(to, payload),
            None => Ok(()),
        }
    }
}

impl AsFd for Segment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
