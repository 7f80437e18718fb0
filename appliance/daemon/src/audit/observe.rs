//! Looks at the box: at each fact that the table asks for, and at nothing else.
//!
//! What cannot be read is left out, and the judge says so; what is not there is noted as such. The daemon looks from inside its
//! own sandbox: mounts are those of process 1, and folders of other services that even root may not enter without
//! `CAP_DAC_READ_SEARCH` are not walked.
//!
//! Tasks: one that reads files, on a thread of its own, because a walk through the root takes a second; the bus meanwhile.

mod files;
pub(super) mod parse;
mod services;
mod walk;

use std::collections::BTreeSet;

use zbus::Connection;

use super::facts::{Fact, Facts};
use super::policy::Policy;
use super::rules::RULES;

/// All that the table asks for.
fn asked() -> BTreeSet<Fact> {
    let of = |rule: &'static super::rules::Rule| {
        rule.applies.iter().chain(rule.wants).map(|(fact, _)| *fact).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(of).collect()
}

/// Looks.
pub async fn observe(policy: Policy, bus: &Connection) -> Facts {
    let asked = asked();
    let mut facts = policy.facts.clone();
    let reading = tokio::task::spawn_blocking({
        let asked = asked.clone();
        move || files::read(&asked, &policy)
    });
    facts.extend(services::ask(&asked, bus).await);
    match reading.await {
        Ok(read) => facts.extend(read),
        Err(error) => tracing::warn!(%error, "the audit could not read the files of the box"),
    }
    facts
}
