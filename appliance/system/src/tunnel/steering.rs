//! Which queue of a TUN device a packet comes to, by where it goes: a map that the kernel looks into for each packet. Left to
//! itself the kernel keeps a flow where its answers came from, and guesses for flows that begin on this side.
//!
//! ```text
//!   packet ── destination, as IPv6 ──▶ longest prefix in the map ──▶ number of the queue; 0 where there is none
//! ```
//!
//! Making one takes the right to load such programs (CAP_BPF, or CAP_SYS_ADMIN); changing the map takes none.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use ipnet::IpNet;
use nix::errno::Errno;
use nix::libc;

use super::Queue;

// linux/bpf.h
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROG_LOAD: libc::c_int = 5;
const LPM_TRIE: u32 = 11;
const NO_PREALLOC: u32 = 1;
const SOCKET_FILTER: u32 = 1;
const LOOKUP: i32 = 1;
const LOAD_BYTES: i32 = 26;
/// That the number in an instruction is a map's descriptor.
const PSEUDO_MAP: u8 = 1;

// linux/if_tun.h
nix::ioctl_write_ptr_bad!(
    /// Gives the device the program that picks queues.
    tun_set_steering,
    nix::request_code_read!(b'T', 224, size_of::<libc::c_int>()),
    libc::c_int
);

/// The key of the map: a prefix of an IPv6 address, where IPv4 is `::ffff:0:0/96`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
struct Key {
    prefix: u32,
    address: [u8; 16],
}

impl From<IpNet> for Key {
    fn from(net: IpNet) -> Self {
        let prefix = u32::from(net.prefix_len());
        match net.trunc().addr() {
            IpAddr::V4(ip) => Self { prefix: 96 + prefix, address: ip.to_ipv6_mapped().octets() },
            IpAddr::V6(ip) => Self { prefix, address: ip.octets() },
        }
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    number: i32,
}

/// The program. Registers: 6 keeps the packet, 10 is the end of the stack, 0 what calls return; 1 to 4 are arguments.
fn program(map: &OwnedFd) -> [Instruction; 30] {
    let at = |code: u8, to: u8, from: u8, offset: i16, number: i32| Instruction {
        code,
        registers: to | from << 4,
        offset,
        number,
    };
    let copy = |to, from| at(0xbf, to, from, 0, 0);
    let set = |to, number| at(0xb7, to, 0, 0, number);
    let add = |to, number| at(0x07, to, 0, 0, number);
    let call = |number| at(0x85, 0, 0, 0, number);
    let store4 = |offset, number| at(0x62, 10, 0, offset, number);
    let end = at(0x95, 0, 0, 0, 0);
    [
        copy(6, 1),
        // The version, in the first half of the first byte.
        at(0x30, 0, 0, 0, 0),
        at(0x77, 0, 0, 0, 4),
        // The key lies in the last 20 bytes of the stack: all bits of the address count.
        store4(-20, 128),
        at(0x15, 0, 0, 8, 6),
        at(0x55, 0, 0, 22, 4),
        // IPv4: ::ffff:0:0, and 4 bytes from place 16 of the packet.
        at(0x7a, 10, 0, -16, 0),
        store4(-8, i32::from_ne_bytes([0, 0, 0xff, 0xff])),
        copy(3, 10),
        add(3, -4),
        set(2, 16),
        set(4, 4),
        at(0x05, 0, 0, 4, 0),
        // IPv6: 16 bytes from place 24.
        copy(3, 10),
        add(3, -16),
        set(2, 24),
        set(4, 16),
        copy(1, 6),
        call(LOAD_BYTES),
        at(0x55, 0, 0, 8, 0),
        copy(2, 10),
        add(2, -20),
        at(0x18, 1, PSEUDO_MAP, 0, map.as_raw_fd()),
        at(0, 0, 0, 0, 0),
        call(LOOKUP),
        at(0x15, 0, 0, 2, 0),
        at(0x61, 0, 0, 0, 0),
        end,
        set(0, 0),
        end,
    ]
}

/// A map and its program.
#[derive(Debug)]
pub struct Steering {
    map: OwnedFd,
    program: OwnedFd,
}

impl Steering {
    /// With room for so many networks. An error where this process may not, or the kernel cannot.
    pub fn new(capacity: u32) -> io::Result<Self> {
        #[repr(C)]
        struct Create {
            kind: u32,
            key: u32,
            value: u32,
            most: u32,
            flags: u32,
        }
        #[repr(C)]
        struct Load {
            kind: u32,
            count: u32,
            instructions: u64,
            license: u64,
        }
        let (key, value) = (size_of::<Key>() as u32, size_of::<u32>() as u32);
        let create = Create { kind: LPM_TRIE, key, value, most: capacity, flags: NO_PREALLOC };
        let map = opened(bpf(MAP_CREATE, &create)?);
        let instructions = program(&map);
        let load = Load {
            kind: SOCKET_FILTER,
            count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: c"Apache-2.0".as_ptr() as u64,
        };
        let program = opened(bpf(PROG_LOAD, &load)?);
        Ok(Self { map, program })
    }

    /// The device of `queue` asks from now on. Its queues are numbered in the order in which they were opened.
    pub fn attach(&self, queue: &Queue) -> io::Result<()> {
        use std::os::fd::AsFd as _;
        let program = self.program.as_raw_fd();
        // SAFETY: the descriptor is a TUN device, and the call reads one int, which lives across it.
        #[allow(unsafe_code)]
        let done = unsafe { tun_set_steering(queue.as_fd().as_raw_fd(), &raw const program) };
        Ok(done.map(drop)?)
    }

    /// What goes to `net` comes to this queue from now on.
    pub fn insert(&self, net: IpNet, queue: u32) -> io::Result<()> {
        self.change(MAP_UPDATE, net, queue)
    }

    /// What goes to `net` comes where a shorter prefix says, or to queue 0. That it was not there is no error.
    pub fn remove(&self, net: IpNet) -> io::Result<()> {
        match self.change(MAP_DELETE, net, 0) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            done => done,
        }
    }

    fn change(&self, command: libc::c_int, net: IpNet, queue: u32) -> io::Result<()> {
        #[repr(C)]
        struct Change {
            map: u32,
            reserved: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let key = Key::from(net);
        // To delete takes no value, and nothing behind the key may be anything but zero.
        let value = if command == MAP_UPDATE { &raw const queue as u64 } else { 0 };
        let map = self.map.as_raw_fd() as u32;
        let change = Change { map, reserved: 0, key: &raw const key as u64, value, flags: 0 };
        bpf(command, &change).map(drop)
    }
}

/// One call. What `attributes` points to must live across it, and be as long as the kernel takes it to be: which the two callers
/// in this file see to.
fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes, takes what is beyond for zero, and follows the pointers in them, all of
    // which are to values of the caller that live across this call and have the sizes that the map was made with.
    #[allow(unsafe_code)]
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    Ok(Errno::result(done as libc::c_int)?)
}

fn opened(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just made it, for us alone.
    #[allow(unsafe_code)]
    unsafe {
        OwnedFd::from_raw_fd(descriptor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In: networks of both families, with bits beyond their prefix. Out: the keys that the program makes for what is in them.
    #[test]
    fn keys_are_prefixes_of_ipv6() {
        let key = |net: &str| Key::from(net.parse::<IpNet>().unwrap());
        let v4 = key("10.8.0.7/24");
        assert_eq!((v4.prefix, &v4.address[8..]), (120, &[0, 0, 0xff, 0xff, 10, 8, 0, 0][..]));
        let v6 = key("fd00:8::7/128");
        assert_eq!((v6.prefix, v6.address[0], v6.address[15]), (128, 0xfd, 7));
    }
}
