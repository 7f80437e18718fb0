//! The server side of the OpenVPN protocol.

pub mod data;
