//! What `rempartd` and `rempart-ha` have in common, and the journal, which the bench and the tests run without either.

/// The version of the grammar of documents that this product reads. It grows whenever a document may hold what the product
/// before would not understand, so that a node knows a document from a newer product for what it is.
pub const GRAMMAR: u32 = 2;

pub mod caller;
pub mod disk;
pub mod logging;
pub mod notify;
pub mod relay;
pub mod systemd;
pub mod tasks;

/// Of `rempart-ha`.
pub mod ha {
    pub mod journal;
}

/// Of `rempart-vpn`.
pub mod vpn {
    pub mod gate;
    pub mod people;
    pub mod replica;
    pub mod seam;
    pub mod server;
    pub mod service;
    pub mod wireguard;
}
