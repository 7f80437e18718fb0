//! The hands: the only crate that touches the kernel and the only one in which `unsafe` may appear, each time
//! with its reason. It decides nothing: what to do comes from `rempart-plan`, and what was found goes back there.
//!
//! | module | owns |
//! | --- | --- |
//! | [`links`] | links, addresses, routes: reading them, doing one step, watching for changes, counters |
//! | [`cards`] | network cards: queues, rings, and the processors that take their packets |
//! | [`sysctl`] | kernel settings below `/proc/sys` |
//! | [`nft`] | the program `nft`: applying a script, reading counters and names of objects |
//! | [`conntrack`] | the connection table, over ctnetlink: list, create, mark, delete |
//! | [`flowsync`] | the connection table as it is replicated: events, incremental dumps, writing without waiting |
//! | [`nflog`] | packets that the ruleset logs |
//! | [`dhcp`] | a DHCPv4 client: leases of an interface |
//! | [`ovpn`] | the kernel's own data channel of OpenVPN: devices, peers, keys, what it tells |
//! | [`tun`] | TUN devices, one packet at a time |
//! | [`tunnel`] | TUN devices and UDP sockets for a tunnel: many packets with one system call |
//! | [`virtual_link`] | macvlans with virtual addresses: up and down in one request |
//! | [`advert`], [`neighbour`] | packet sockets of the election: adverts, and questions to neighbours |
//! | [`linkwatch`] | links, carriers and addresses as they are now |
//! | [`realtime`] | priorities, locked memory, waking and waiting |
//! | [`slots`] | the two slots of the disk: writing a version into the one that does not run |
//!
//! The modules for the elector's and the journal's threads are synchronous and never wait unless told to; everything
//! else is asynchronous and runs on Tokio's current-thread runtime. Sockets belong to the network namespace of the
//! thread that opens them.
//!
//! `unsafe` appears in `fd` (registering a descriptor with Tokio), `packet` (address and filter of a packet
//! socket), `advert` (options of one), `netlink` and `ovpn` (one option each), `flowsync::socket` (reading many datagrams at
//! once), `realtime` (scheduling), `cards` and `tun` (one ioctl each) and `tunnel` (one ioctl, options and messages of UDP
//! sockets).

pub mod advert;
pub mod cards;
pub mod conntrack;
pub mod datagram;
pub mod dhcp;
mod fd;
pub mod flowsync;
pub mod grace;
pub mod links;
pub mod linkwatch;
pub mod neighbour;
mod netlink;
pub mod nflog;
pub mod nft;
pub mod ovpn;
mod packet;
pub mod realtime;
pub mod slots;
pub mod sysctl;
pub mod tun;
pub mod tunnel;
pub mod virtual_link;
