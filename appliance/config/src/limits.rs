//! The largest document that is read, each bound with its reason.
//!
//! A document comes from a person or from a generator, never from a stranger; the bounds keep a mistake in a
//! generator from taking the memory of the box that refuses it.

/// Bytes of a document. The 20,000 flows of the largest policies come to about 4 MiB.
pub const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// Dots in one key. The deepest key of the grammar has three; the parser's tables are freed recursively, so a
/// key of a million dots would exhaust the stack.
pub const MAX_KEY_DOTS: usize = 16;

/// How deep names in `[host]` and `[service]` may nest. Resolving recurses this deep.
pub const MAX_NESTING: usize = 32;

/// Flows. Four times the largest policy in the study.
pub const MAX_FLOWS: usize = 40_000;

/// Names in each of `[host]`, `[service]` and the other tables of names.
pub const MAX_NAMES: usize = 50_000;

/// Interfaces. The kernel has no bound of its own; every pair of them is compared.
pub const MAX_INTERFACES: usize = 1_024;

/// Virtual routers, on all interfaces together. Each is a device of its own and sends adverts of its own.
pub const MAX_ROUTERS: usize = 256;

/// Peers of WireGuard (`rempart_wireguard::MAX_PEERS`).
pub const MAX_WIREGUARD_PEERS: usize = 2_000;

/// Addresses of one virtual router: an advert with as many IPv6 addresses fits the smallest packet that every link
/// carries (1280 bytes, RFC 8200 §5).
pub const MAX_ROUTER_ADDRESSES: usize = 64;

/// Routers that one virtual router sends its adverts to one by one (`vrrp_rs::MAX_PEERS`).
pub const MAX_UNICAST_PEERS: usize = 16;

/// Addresses that remote access listens on: each one is a socket of every shard of its data path.
pub const MAX_VPN_LISTEN: usize = 8;

/// Intervals of addresses and ports that all endpoints hold together, after names are replaced by what they
/// stand for: 64 MiB at most. A large host named by many flows would otherwise multiply.
pub const MAX_ELEMENTS: usize = 2_000_000;

/// Ports of one flow that are published under other numbers. Each one is a rule: nftables shifts no ranges.
pub const MAX_SHIFTED_PORTS: u32 = 1_024;

/// Errors, and warnings, that are kept; the rest is counted. Nobody reads more in one go.
pub const MAX_DIAGNOSTICS: usize = 500;

/// Names that "did you mean" chooses from; in larger tables the first so many.
pub const MAX_SUGGESTED_FROM: usize = 2_000;

/// Boxes of the packet space that one flow may fall into before its order is no longer analysed.
pub const MAX_FLOW_CELLS: usize = 65_536;

/// Boxes of the packet space that the analysis remembers, 128 bytes each. Flows beyond no longer cover others.
pub const MAX_CELLS: usize = 500_000;

/// Comparisons of boxes that the analysis of one flow may take: some milliseconds.
pub const MAX_STEPS_PER_FLOW: u64 = 1_000_000;

/// Comparisons of boxes that the analysis of the whole document may take: about a second.
pub const MAX_STEPS: u64 = 200_000_000;
