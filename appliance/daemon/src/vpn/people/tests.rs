//! People with a replica that commits at once.
