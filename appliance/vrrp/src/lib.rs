#![doc = include_str!("../README.md")]

mod replay;
mod stats;
mod types;

pub mod elector;
pub mod wire;

pub use elector::{Claims, Config, Elector, Output};
pub use replay::Replay;
pub use stats::{Counter, GlobalStatistics, NewMasterReason, ProtocolError, Statistics};
pub use types::{
    Addresses, Centiseconds, Dialect, Family, IpHeader, Mac, Priority, Seconds, Standing, TtlRule,
    ValueError, Vrid,
};
