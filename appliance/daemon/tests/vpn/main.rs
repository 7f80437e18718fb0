//! The server of remote access in a network namespace, with the stock client in another. Needs root, openvpn and nft.

#[path = "../../../system/tests/common/mod.rs"]
mod common;

mod audit;
mod cases;
mod crowd;
mod kernel;
mod parts;
mod shards;
mod slow;
mod stage;
mod streams;
mod takeover;
mod versions;
