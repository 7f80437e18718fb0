//! Network cards: how many queues they have, how long their rings are, and which processors take their packets. What to set is
//! decided by `rempart_plan::tuning`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use rempart_plan::tuning::{Card, CardTuning, Machine, Size};

/// `SIOCETHTOOL` in `linux/sockios.h`.
const ETHTOOL: libc::c_ulong = 0x8946;
/// Commands in `linux/ethtool.h`.
const GET_RINGS: u32 = 0x10;
const SET_RINGS: u32 = 0x11;
const GET_CHANNELS: u32 = 0x3c;
const SET_CHANNELS: u32 = 0x3d;

/// `struct ethtool_ringparam`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Rings {
    cmd: u32,
    rx_max_pending: u32,
    rx_mini_max_pending: u32,
    rx_jumbo_max_pending: u32,
    tx_max_pending: u32,
    rx_pending: u32,
    rx_mini_pending: u32,
    rx_jumbo_pending: u32,
    tx_pending: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Channels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx_count: u32,
    tx_count: u32,
    other_count: u32,
    combined_count: u32,
}

/// What can be asked of and said to a driver.
trait Request: Copy {}
impl Request for Rings {}
impl Request for Channels {}

/// The machine with those of `devices` that are cards of this network namespace.
pub fn machine(devices: &BTreeSet<String>) -> io::Result<Machine> {
    let socket = control_socket()?;
    let cards = devices.iter().filter(|device| is_card(device)).map(|device| card(&socket, device)).collect();
    let cpus = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX));
    Ok(Machine { cpus, memory_bytes: memory()?, cards })
}

/// Sets a card, where it is not so already, and says what it has set. Some drivers take the link down for a moment while rings
/// and queues change.
pub fn set(card: &CardTuning) -> io::Result<Vec<String>> {
    let socket = control_socket()?;
    let device = card.device.as_str();
    let mut done = Vec::new();
    if let Some(count) = card.channels {
        let mut channels = Channels { cmd: GET_CHANNELS, ..Channels::default() };
        ask(&socket, device, &mut channels)?;
        channels = Channels { cmd: SET_CHANNELS, combined_count: count, ..channels };
        ask(&socket, device, &mut channels)?;
        done.push(format!("{device}: {count} queues"));
    }
    if let Some((rx, tx)) = card.rings {
        let mut rings = Rings { cmd: GET_RINGS, ..Rings::default() };
        ask(&socket, device, &mut rings)?;
        rings = Rings { cmd: SET_RINGS, rx_pending: rx, tx_pending: tx, ..rings };
        ask(&socket, device, &mut rings)?;
        done.push(format!("{device}: rings of {rx} and {tx} places"));
    }
    for queue in rx_queues(device) {
        let file = queue.join("rps_cpus");
        let now = fs::read_to_string(&file)?;
        if !same_set(&now, &card.spread) {
            fs::write(&file, &card.spread)?;
            let queue = queue.file_name().unwrap_or_default().to_string_lossy();
            done.push(format!("{device}: packets of {queue} to processors {}", card.spread));
        }
    }
    Ok(done)
}

/// The kernel pads its sets with zeros and writes all of its words.
fn same_set(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let digits: String = text.trim().split(',').map(|word| format!("{word:0>8}")).collect();
        digits.trim_start_matches('0').to_owned()
    };
    plain(one) == plain(other)
}

/// Whether it is a card, and of this network namespace: `/sys` may show another one's devices.
fn is_card(device: &str) -> bool {
    let folder = folder(device);
    let index = fs::read_to_string(folder.join("ifindex")).ok().and_then(|t| t.trim().parse().ok());
    folder.join("device").exists() && index.is_some() && nix::net::if_::if_nametoindex(device).ok() == index
}

fn folder(device: &str) -> PathBuf {
    Path::new("/sys/class/net").join(device)
}

fn rx_queues(device: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(device).join("queues")).into_iter().flatten().flatten();
    let mut queues: Vec<PathBuf> =
        entries.filter(|e| e.file_name().to_string_lossy().starts_with("rx-")).map(|e| e.path()).collect();
    queues.sort();
    queues
}

/// A driver that knows nothing of rings or queues is left alone.
fn card(socket: &OwnedFd, device: &str) -> Card {
    let mut rings = Rings { cmd: GET_RINGS, ..Rings::default() };
    let rings = ask(socket, device, &mut rings).is_ok().then_some(rings);
    let mut channels = Channels { cmd: GET_CHANNELS, ..Channels::default() };
    let channels = ask(socket, device, &mut channels).is_ok().then_some(channels);
    let speed = fs::read_to_string(folder(device).join("speed")).ok();
    let size = |now, max| Some(Size { now, max }).filter(|size| size.max > 0);
    Card {
        device: device.into(),
        // Without a link it is -1, or cannot be read.
        speed_mbps: speed.and_then(|t| t.trim().parse().ok()),
        rx_queues: u32::try_from(rx_queues(device).len()).unwrap_or(u32::MAX),
        channels: channels.and_then(|c| size(c.combined_count, c.max_combined)),
        rx_ring: rings.and_then(|r| size(r.rx_pending, r.rx_max_pending)),
        tx_ring: rings.and_then(|r| size(r.tx_pending, r.tx_max_pending)),
    }
}

/// All memory, in bytes.
fn memory() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let total =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    total.map(|kib: u64| kib * 1024).ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))
}

fn control_socket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Hands a request to the driver of `device`, which answers in its place.
#[allow(unsafe_code)]
fn ask<R: Request>(socket: &OwnedFd, device: &str, request: &mut R) -> io::Result<()> {
    if device.is_empty() || device.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: `ifreq` is plain memory, for which zeros are a value.
    let mut message: libc::ifreq = unsafe { mem::zeroed() };
    for (place, byte) in message.ifr_name.iter_mut().zip(device.bytes()) {
        *place = libc::c_char::from_ne_bytes([byte]);
    }
    message.ifr_ifru.ifru_data = std::ptr::from_mut(request).cast();
    // SAFETY: the kernel reads `message`, and reads and writes as many bytes behind its pointer as the command in them has:
    // each `Request` has the layout of its commands' structure in linux/ethtool.h, and outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), ETHTOOL as _, &raw mut message) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_compared_as_sets() {
        assert!(same_set("0000000f\n", "f"));
        assert!(same_set("00000001,ffffffff\n", "1,ffffffff"));
        assert!(same_set("00,00000000\n", "0"));
        assert!(!same_set("3", "f"));
    }

    #[test]
    fn what_is_no_card_is_left_alone() {
        // The loopback and a name that nobody has in; a machine without cards out.
        let machine =
            machine(&BTreeSet::from(["lo".into(), "nobody".into(), "far-too-long-a-name".into()])).unwrap();
        assert_eq!(machine.cards, []);
        assert!(machine.cpus >= 1 && machine.memory_bytes > 1 << 20);
    }

    #[test]
    fn drivers_without_rings_say_so() {
        let mut rings = Rings { cmd: GET_RINGS, ..Rings::default() };
        assert!(ask(&control_socket().unwrap(), "lo", &mut rings).is_err());
        assert!(ask(&control_socket().unwrap(), "", &mut rings).is_err());
    }
}
