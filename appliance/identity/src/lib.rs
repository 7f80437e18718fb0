//! People and machines.
