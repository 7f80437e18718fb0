//! `rempart audit anssi`: what the guides of ANSSI recommend, compared with this box.
//!
//! ```text
//!  document, plan ──policy──┐
//!  /proc, /sys, files ──────┼──▶ Facts ──judge(RULES)──▶ AuditReport ──bus──▶ console
//!  systemd, by the bus ─────┘
//! ```
//!
//! [`rules`] says what is wanted, [`judge`] compares, [`policy`] reads the document: all pure. [`observe`] looks at the box, at
//! what the table asks for and nothing else, so that nothing is looked at in vain and nothing is judged unseen.

pub mod facts;
pub mod judge;
pub mod observe;
pub mod policy;
pub mod rules;

use std::time::SystemTime;

use rempart_bus::audit::AuditReport;
use zbus::Connection;

use crate::log::timestamp;
use policy::Policy;

/// Looks and judges.
pub async fn audit(node: &str, policy: Policy, bus: &Connection) -> AuditReport {
    let facts = observe::observe(policy, bus).await;
    let (lines, counts) = judge::judge(&facts);
    AuditReport {
        version: 1,
        node: node.into(),
        product_version: env!("CARGO_PKG_VERSION").into(),
        time: timestamp(SystemTime::now()),
        counts,
        lines,
    }
}
