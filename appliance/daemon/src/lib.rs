//! What `rempartd` and `rempart-ha` have in common, and the journal, which the bench and the tests run without either.

pub mod caller;
pub mod disk;
pub mod logging;
pub mod notify;
pub mod relay;
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
