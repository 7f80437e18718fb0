//! Two journals in two network namespaces, joined by a cable: what happens in one kernel happens in the other.

#[path = "../../../system/tests/common/mod.rs"]
mod common;
#[path = "../../../system/tests/flowsync/samples.rs"]
mod samples;

mod stage;
mod whole;
