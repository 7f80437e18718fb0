//! The product as its users see it. One lab for each test; without root all of them are skipped, and say so.

mod atomic;
mod audit;
mod commits;
mod connections;
mod damage;
mod dates;
mod dhcp;
mod examples;
mod explain;
mod nat;
mod pair;
mod pair_commits;
mod pair_moves;
mod policy;
mod protect;
mod refusals;
mod reload;
mod setup;
mod tftp;
mod vpn;
mod vpn_moves;
mod vpn_stock;
mod vpn_wireguard;
