//! The lab: the networks of the examples in namespaces on one machine.
