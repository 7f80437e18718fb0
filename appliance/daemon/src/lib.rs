//! The part of the programs that others run too: the journal, for the bench and the tests, which have neither a bus
//! nor an elector.

/// Of `rempart-ha`.
pub mod ha {
    pub mod journal;
}
