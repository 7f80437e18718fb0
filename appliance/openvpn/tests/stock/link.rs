//! The driver's transport: a UDP socket, or one TCP connection.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rempart_openvpn::packet::{Deframer, frame_length};

pub enum Link {
    Udp(UdpSocket),
    Tcp {
        listener: TcpListener,
        stream: Option<TcpStream>,
        deframer: Deframer,
        packets: VecDeque<Vec<u8>>,
        ended: bool,
    },
}

impl Link {
    pub fn udp() -> Self {
        Self::Udp(UdpSocket::bind("127.0.0.1:0").unwrap())
    }

    pub fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::Tcp {
            listener,
            stream: None,
            deframer: Deframer::default(),
            packets: VecDeque::new(),
            ended: false,
        }
    }

    pub fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }

    /// The client has closed its connection.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Tcp { ended: true, .. })
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Udp(socket) => socket.local_addr().unwrap().port(),
            Self::Tcp { listener, .. } => listener.local_addr().unwrap().port(),
        }
    }

    pub fn send(&mut self, to: SocketAddr, packet: &[u8]) {
        match self {
            Self::Udp(socket) => {
                // A client that has gone answers by ICMP, and that comes back here.
                let _ = socket.send_to(packet, to);
            }
            Self::Tcp { stream, .. } => {
                let Some(stream) = stream else { return };
                let _ = stream.write_all(&[&frame_length(packet).unwrap()[..], packet].concat());
            }
        }
    }

    pub fn receive(&mut self, wait: Duration) -> Option<(SocketAddr, Vec<u8>)> {
        let mut buffer = [0; 4096];
        match self {
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(wait)).unwrap();
                let (length, from) = socket.recv_from(&mut buffer).ok()?;
                Some((from, buffer[..length].to_vec()))
            }
            Self::Tcp { listener, stream, deframer, packets, ended } => {
                let Some(stream) = stream else {
                    std::thread::sleep(wait);
                    *stream = listener.accept().ok().map(|(stream, _)| stream);
                    stream.as_ref()?.set_nonblocking(false).unwrap();
                    return None;
                };
                if packets.is_empty() {
                    stream.set_read_timeout(Some(wait)).unwrap();
                    let length = stream.read(&mut buffer).ok()?;
                    *ended = length == 0;
                    let mut rest = &buffer[..length];
                    while let Some(packet) = deframer.next(&mut rest).unwrap() {
                        packets.push_back(packet.to_vec());
                    }
                }
                Some((stream.peer_addr().ok()?, packets.pop_front()?))
            }
        }
    }
}
