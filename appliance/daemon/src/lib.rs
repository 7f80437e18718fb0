//! What `rempartd` and `rempart-ha` have in common, and the journal, which the bench and the tests run without either.

pub mod disk;
pub mod logging;

/// Of `rempart-ha`.
pub mod ha {
    pub mod journal;
}

/// Of `rempart-vpn`.
pub mod vpn {
    pub mod seam;
    pub mod wireguard;
}
