//! Messages of the family (`linux/ovpn.h`, Documentation/netlink/specs/ovpn.yaml), in bytes. Numbers are in native order,
//! addresses and ports as on the line.
//!
//! ```text
//! genlmsghdr  command:u8 version:u8 0:u16
//!   IFINDEX
//!   PEER    { ID REMOTE_IPV4|6 [SCOPE_ID] REMOTE_PORT LOCAL_IPV4|6 SOCKET VPN_IPV4 VPN_IPV6 KEEPALIVE_* counters }
//!   KEYCONF { PEER_ID SLOT KEY_ID CIPHER_ALG ENCRYPT_DIR { CIPHER_KEY NONCE_TAIL } DECRYPT_DIR { … } }
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::libc;

use super::{Counters, Direction, Happened, Keepalive, Key, NewPeer, Notice, Peer, Reason, Slot, Traffic};
use crate::netlink::{
    Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, attributes, u16_be, u16_ne, u32_ne,
};

/// Length of `genlmsghdr`.
const HEADER: usize = 4;
const NAME: &str = "ovpn";
const VERSION: u8 = 1;
const GROUP: &[u8] = b"peers";

// linux/genetlink.h
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_VERSION: u8 = 2;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;

// linux/if_link.h
const IFLA_OVPN_MODE: u16 = 1;
const OVPN_MODE_MP: u8 = 1;

// linux/ovpn.h
const OVPN_CMD_PEER_NEW: u8 = 1;
const OVPN_CMD_PEER_SET: u8 = 2;
const OVPN_CMD_PEER_GET: u8 = 3;
const OVPN_CMD_PEER_DEL: u8 = 4;
const OVPN_CMD_PEER_DEL_NTF: u8 = 5;
const OVPN_CMD_KEY_NEW: u8 = 6;
const OVPN_CMD_KEY_GET: u8 = 7;
const OVPN_CMD_KEY_SWAP: u8 = 8;
const OVPN_CMD_KEY_SWAP_NTF: u8 = 9;
const OVPN_CMD_KEY_DEL: u8 = 10;
const OVPN_CMD_PEER_FLOAT_NTF: u8 = 11;

const OVPN_A_IFINDEX: u16 = 1;
const OVPN_A_PEER: u16 = 2;
const OVPN_A_KEYCONF: u16 = 3;

const OVPN_A_PEER_ID: u16 = 1;
const OVPN_A_PEER_REMOTE_IPV4: u16 = 2;
const OVPN_A_PEER_REMOTE_IPV6: u16 = 3;
const OVPN_A_PEER_REMOTE_IPV6_SCOPE_ID: u16 = 4;
const OVPN_A_PEER_REMOTE_PORT: u16 = 5;
const OVPN_A_PEER_SOCKET: u16 = 6;
const OVPN_A_PEER_VPN_IPV4: u16 = 8;
const OVPN_A_PEER_VPN_IPV6: u16 = 9;
const OVPN_A_PEER_LOCAL_IPV4: u16 = 10;
const OVPN_A_PEER_LOCAL_IPV6: u16 = 11;
const OVPN_A_PEER_KEEPALIVE_INTERVAL: u16 = 13;
const OVPN_A_PEER_KEEPALIVE_TIMEOUT: u16 = 14;
const OVPN_A_PEER_DEL_REASON: u16 = 15;
const OVPN_A_PEER_VPN_RX_BYTES: u16 = 16;
const OVPN_A_PEER_VPN_TX_BYTES: u16 = 17;
const OVPN_A_PEER_VPN_RX_PACKETS: u16 = 18;
const OVPN_A_PEER_VPN_TX_PACKETS: u16 = 19;
const OVPN_A_PEER_LINK_RX_BYTES: u16 = 20;
const OVPN_A_PEER_LINK_TX_BYTES: u16 = 21;
const OVPN_A_PEER_LINK_RX_PACKETS: u16 = 22;
const OVPN_A_PEER_LINK_TX_PACKETS: u16 = 23;

const OVPN_A_KEYCONF_PEER_ID: u16 = 1;
const OVPN_A_KEYCONF_SLOT: u16 = 2;
const OVPN_A_KEYCONF_KEY_ID: u16 = 3;
const OVPN_A_KEYCONF_CIPHER_ALG: u16 = 4;
const OVPN_A_KEYCONF_ENCRYPT_DIR: u16 = 5;
const OVPN_A_KEYCONF_DECRYPT_DIR: u16 = 6;

const OVPN_A_KEYDIR_CIPHER_KEY: u16 = 1;
const OVPN_A_KEYDIR_NONCE_TAIL: u16 = 2;

const OVPN_CIPHER_ALG_AES_GCM: u32 = 1;

/// What the kernel calls the family, and its group of notices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Family {
    /// The type of its messages.
    pub id: u16,
    /// The number of the group.
    pub group: u32,
}

pub fn ask_for_family() -> Message {
    let header = [CTRL_CMD_GETFAMILY, CTRL_VERSION, 0, 0];
    let mut message = Message::with_header(GENL_ID_CTRL, NLM_F_ACK, &header);
    message.attr(CTRL_ATTR_FAMILY_NAME, &terminated(NAME));
    message
}

/// Reads the answer to [`ask_for_family`], from `genlmsghdr` on. `None` when it is none.
pub fn family_of(payload: &[u8]) -> Option<Family> {
    let (mut id, mut group) = (None, None);
    for (kind, value) in attributes(payload.get(HEADER..)?) {
        match kind {
            CTRL_ATTR_FAMILY_ID => id = u16_ne(value),
            CTRL_ATTR_MCAST_GROUPS => group = attributes(value).find_map(|(_, one)| group_of(one)),
            _ => {}
        }
    }
    Some(Family { id: id?, group: group? })
}

fn group_of(payload: &[u8]) -> Option<u32> {
    let named = find(payload, CTRL_ATTR_MCAST_GRP_NAME)?;
    let name = named.strip_suffix(b"\0").unwrap_or(named);
    (name == GROUP).then(|| u32_ne(find(payload, CTRL_ATTR_MCAST_GRP_ID)?)).flatten()
}

/// `RTM_NEWLINK`: a device of the kind, for many peers.
pub fn create(device: &str) -> Message {
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let mut message = Message::with_header(libc::RTM_NEWLINK, flags, &[0; 16]);
    message.attr(libc::IFLA_IFNAME, &terminated(device));
    let info = message.open(libc::IFLA_LINKINFO);
    message.attr(libc::IFLA_INFO_KIND, NAME.as_bytes());
    let data = message.open(libc::IFLA_INFO_DATA);
    message.attr(IFLA_OVPN_MODE, &[OVPN_MODE_MP]);
    message.close(data);
    message.close(info);
    message
}

/// `RTM_DELLINK`.
pub fn remove(device: u32) -> Message {
    let mut header = [0; 16];
    header.iter_mut().skip(4).zip(device.to_ne_bytes()).for_each(|(to, from)| *to = from);
    Message::with_header(libc::RTM_DELLINK, NLM_F_ACK, &header)
}

pub fn add_peer(family: u16, device: u32, peer: &NewPeer, socket: u32) -> Message {
    about_peer(family, OVPN_CMD_PEER_NEW, device, peer.id, |message| {
        message.attr(OVPN_A_PEER_SOCKET, &socket.to_ne_bytes());
        put_place(message, peer.remote, peer.local);
        if let Some(inner) = peer.inner4 {
            message.attr(OVPN_A_PEER_VPN_IPV4, &inner.octets());
        }
        if let Some(inner) = peer.inner6 {
            message.attr(OVPN_A_PEER_VPN_IPV6, &inner.octets());
        }
        let Keepalive { interval_s, timeout_s } = peer.keepalive;
        message.attr(OVPN_A_PEER_KEEPALIVE_INTERVAL, &interval_s.to_ne_bytes());
        message.attr(OVPN_A_PEER_KEEPALIVE_TIMEOUT, &timeout_s.to_ne_bytes());
    })
}

pub fn move_peer(family: u16, device: u32, peer: u32, remote: SocketAddr, local: IpAddr) -> Message {
    about_peer(family, OVPN_CMD_PEER_SET, device, peer, |message| put_place(message, remote, local))
}

pub fn delete_peer(family: u16, device: u32, peer: u32) -> Message {
    about_peer(family, OVPN_CMD_PEER_DEL, device, peer, |_| ())
}

pub fn get_peer(family: u16, device: u32, peer: u32) -> Message {
    about_peer(family, OVPN_CMD_PEER_GET, device, peer, |_| ())
}

pub fn list_peers(family: u16, device: u32) -> Message {
    let header = [OVPN_CMD_PEER_GET, VERSION, 0, 0];
    let mut message = Message::with_header(family, NLM_F_DUMP, &header);
    message.attr(OVPN_A_IFINDEX, &device.to_ne_bytes());
    message
}

pub fn put_key(family: u16, device: u32, peer: u32, slot: Slot, key: &Key<'_>) -> Message {
    about_key(family, OVPN_CMD_KEY_NEW, device, peer, |message| {
        message.attr(OVPN_A_KEYCONF_SLOT, &number(slot).to_ne_bytes());
        message.attr(OVPN_A_KEYCONF_KEY_ID, &u32::from(key.id).to_ne_bytes());
        message.attr(OVPN_A_KEYCONF_CIPHER_ALG, &OVPN_CIPHER_ALG_AES_GCM.to_ne_bytes());
        put_direction(message, OVPN_A_KEYCONF_ENCRYPT_DIR, key.encrypt);
        put_direction(message, OVPN_A_KEYCONF_DECRYPT_DIR, key.decrypt);
    })
}

pub fn swap_keys(family: u16, device: u32, peer: u32) -> Message {
    about_key(family, OVPN_CMD_KEY_SWAP, device, peer, |_| ())
}

pub fn delete_key(family: u16, device: u32, peer: u32, slot: Slot) -> Message {
    about_key(family, OVPN_CMD_KEY_DEL, device, peer, |message| {
        message.attr(OVPN_A_KEYCONF_SLOT, &number(slot).to_ne_bytes());
    })
}

pub fn get_key(family: u16, device: u32, peer: u32, slot: Slot) -> Message {
    about_key(family, OVPN_CMD_KEY_GET, device, peer, |message| {
        message.attr(OVPN_A_KEYCONF_SLOT, &number(slot).to_ne_bytes());
    })
}

fn about_peer(family: u16, command: u8, device: u32, peer: u32, more: impl FnOnce(&mut Message)) -> Message {
    about(family, command, device, OVPN_A_PEER, |message| {
        message.attr(OVPN_A_PEER_ID, &peer.to_ne_bytes());
        more(message);
    })
}

fn about_key(family: u16, command: u8, device: u32, peer: u32, more: impl FnOnce(&mut Message)) -> Message {
    about(family, command, device, OVPN_A_KEYCONF, |message| {
        message.attr(OVPN_A_KEYCONF_PEER_ID, &peer.to_ne_bytes());
        more(message);
    })
}

fn about(family: u16, command: u8, device: u32, nest: u16, more: impl FnOnce(&mut Message)) -> Message {
    let mut message = Message::with_header(family, NLM_F_ACK, &[command, VERSION, 0, 0]);
    message.attr(OVPN_A_IFINDEX, &device.to_ne_bytes());
    let nest = message.open(nest);
    more(&mut message);
    message.close(nest);
    message
}

/// The kernel takes one family for both ends.
fn put_place(message: &mut Message, remote: SocketAddr, local: IpAddr) {
    match remote {
        SocketAddr::V4(remote) => {
            message.attr(OVPN_A_PEER_REMOTE_IPV4, &remote.ip().octets());
        }
        SocketAddr::V6(remote) => {
            message.attr(OVPN_A_PEER_REMOTE_IPV6, &remote.ip().octets());
            if remote.scope_id() != 0 {
                message.attr(OVPN_A_PEER_REMOTE_IPV6_SCOPE_ID, &remote.scope_id().to_ne_bytes());
            }
        }
    }
    message.attr(OVPN_A_PEER_REMOTE_PORT, &remote.port().to_be_bytes());
    match local {
        IpAddr::V4(local) => message.attr(OVPN_A_PEER_LOCAL_IPV4, &local.octets()),
        IpAddr::V6(local) => message.attr(OVPN_A_PEER_LOCAL_IPV6, &local.octets()),
    };
}

fn put_direction(message: &mut Message, kind: u16, direction: Direction<'_>) {
    let nest = message.open(kind);
    message.attr(OVPN_A_KEYDIR_CIPHER_KEY, direction.key);
    message.attr(OVPN_A_KEYDIR_NONCE_TAIL, direction.nonce_tail);
    message.close(nest);
}

fn number(slot: Slot) -> u32 {
    match slot {
        Slot::Primary => 0,
        Slot::Secondary => 1,
    }
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// Reads a peer from an answer, from `genlmsghdr` on. `None` when it is none.
pub fn peer_of(payload: &[u8]) -> Option<Peer> {
    let (command, attrs) = split(payload)?;
    if command != OVPN_CMD_PEER_GET {
        return None;
    }
    let attrs = find(attrs, OVPN_A_PEER)?;
    let count = |packets, bytes| Traffic { packets: counter(attrs, packets), bytes: counter(attrs, bytes) };
    let local = find(attrs, OVPN_A_PEER_LOCAL_IPV4).and_then(ip4).map(IpAddr::from);
    Some(Peer {
        id: u32_ne(find(attrs, OVPN_A_PEER_ID)?)?,
        remote: place(attrs),
        local: local.or_else(|| find(attrs, OVPN_A_PEER_LOCAL_IPV6).and_then(ip6).map(IpAddr::from)),
        inner4: find(attrs, OVPN_A_PEER_VPN_IPV4).and_then(ip4),
        inner6: find(attrs, OVPN_A_PEER_VPN_IPV6).and_then(ip6),
        inner: Counters {
            received: count(OVPN_A_PEER_VPN_RX_PACKETS, OVPN_A_PEER_VPN_RX_BYTES),
            sent: count(OVPN_A_PEER_VPN_TX_PACKETS, OVPN_A_PEER_VPN_TX_BYTES),
        },
        outer: Counters {
            received: count(OVPN_A_PEER_LINK_RX_PACKETS, OVPN_A_PEER_LINK_RX_BYTES),
            sent: count(OVPN_A_PEER_LINK_TX_PACKETS, OVPN_A_PEER_LINK_TX_BYTES),
        },
    })
}

/// Reads which key an answer speaks of.
pub fn key_of(payload: &[u8]) -> Option<u8> {
    let (command, attrs) = split(payload)?;
    let id = find(find(attrs, OVPN_A_KEYCONF)?, OVPN_A_KEYCONF_KEY_ID).and_then(uint)?;
    (command == OVPN_CMD_KEY_GET).then(|| key_id(id)).flatten()
}

/// Reads a notice, from `genlmsghdr` on. `None` when it is none that is known.
pub fn notice_of(payload: &[u8]) -> Option<Notice> {
    let (command, attrs) = split(payload)?;
    let device = u32_ne(find(attrs, OVPN_A_IFINDEX)?)?;
    if command == OVPN_CMD_KEY_SWAP_NTF {
        let attrs = find(attrs, OVPN_A_KEYCONF)?;
        let peer = u32_ne(find(attrs, OVPN_A_KEYCONF_PEER_ID)?)?;
        // Two bytes long here, four in answers.
        let key = key_id(uint(find(attrs, OVPN_A_KEYCONF_KEY_ID)?)?)?;
        return Some(Notice { device, peer, what: Happened::WornOut { key } });
    }
    let attrs = find(attrs, OVPN_A_PEER)?;
    let peer = u32_ne(find(attrs, OVPN_A_PEER_ID)?)?;
    let what = match command {
        OVPN_CMD_PEER_DEL_NTF => {
            Happened::Deleted(reason(find(attrs, OVPN_A_PEER_DEL_REASON).and_then(u32_ne)?))
        }
        OVPN_CMD_PEER_FLOAT_NTF => Happened::Moved(place(attrs)?),
        _ => return None,
    };
    Some(Notice { device, peer, what })
}

fn reason(number: u32) -> Reason {
    match number {
        0 => Reason::Teardown,
        1 => Reason::Asked,
        2 => Reason::Expired,
        3 => Reason::Transport,
        4 => Reason::Disconnected,
        other => Reason::Other(other),
    }
}

fn split(payload: &[u8]) -> Option<(u8, &[u8])> {
    Some((*payload.first()?, payload.get(HEADER..)?))
}

fn find(attrs: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(attrs).find_map(|(found, value)| (found == kind).then_some(value))
}

fn place(attrs: &[u8]) -> Option<SocketAddr> {
    let port = u16_be(find(attrs, OVPN_A_PEER_REMOTE_PORT)?)?;
    if let Some(ip) = find(attrs, OVPN_A_PEER_REMOTE_IPV4).and_then(ip4) {
        return Some((ip, port).into());
    }
    let ip = find(attrs, OVPN_A_PEER_REMOTE_IPV6).and_then(ip6)?;
    let scope = find(attrs, OVPN_A_PEER_REMOTE_IPV6_SCOPE_ID).and_then(u32_ne).unwrap_or(0);
    Some(SocketAddrV6::new(ip, port, 0, scope).into())
}

fn counter(attrs: &[u8], kind: u16) -> u64 {
    find(attrs, kind).and_then(uint).unwrap_or(0)
}

/// A number that takes as many bytes as it needs (`nla_put_uint`).
fn uint(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        2 => u16_ne(bytes).map(u64::from),
        4 => u32_ne(bytes).map(u64::from),
        8 => bytes.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes)),
        _ => None,
    }
}

fn key_id(number: u64) -> Option<u8> {
    u8::try_from(number).ok().filter(|id| *id < 8)
}

fn ip4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

fn ip6(bytes: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests;
