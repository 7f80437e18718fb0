//! What `rempart audit anssi` says: the document that travels, and the names of the recommendations in it.
//!
//! The daemon judges and sends names; the console has a title for each name and, for each name in [`DEVIATIONS`], the reason.

use serde::{Deserialize, Serialize};

/// The recommendations that the daemon looks at, in the order in which it tells them. The first word is the guide, the
/// rest its number or, where the guide's numbers could not be read, its subject.
///
/// | word | guide |
/// | --- | --- |
/// | `linux` | ANSSI-BP-028 v2.0, configuration of a GNU/Linux system |
/// | `firewall` | ANSSI-BP-031, a firewall's configuration and administration (the edition for Stormshield SNS 4.3) |
/// | `ssh` | ANSSI NT-007, OpenSSH |
/// | `filtering` | ANSSI DAT-NT-006, definition of a filtering policy |
/// | `interconnection` | ANSSI-PA-066 v3, interconnection with the Internet |
pub const RECOMMENDATIONS: &[&str] = &[
    "linux-r1",
    "linux-r3",
    "linux-r5",
    "linux-r6",
    "linux-r7",
    "linux-r8",
    "linux-r9",
    "linux-r10",
    "linux-r11",
    "linux-r12",
    "linux-r13",
    "linux-r14",
    "linux-r15",
    "linux-r16",
    "linux-r17",
    "linux-r18",
    "linux-r19",
    "linux-r20",
    "linux-r21",
    "linux-r22",
    "linux-r23",
    "linux-r25",
    "linux-r28",
    "linux-r29",
    "linux-r30",
    "linux-r32",
    "linux-r33",
    "linux-r34",
    "linux-r35",
    "linux-r36",
    "linux-r37",
    "linux-r38",
    "linux-r45",
    "linux-r50",
    "linux-r53",
    "linux-r54",
    "linux-r55",
    "linux-r56",
    "linux-r58",
    "linux-r59",
    "linux-r62",
    "linux-r64",
    "linux-r65",
    "linux-r66",
    "linux-r67",
    "linux-r68",
    "linux-r69",
    "linux-r71",
    "linux-r73",
    "linux-r74",
    "linux-r76",
    "linux-r79",
    "linux-r80",
    "firewall-r11",
    "firewall-r13",
    "firewall-r20",
    "firewall-r23",
    "firewall-r27",
    "firewall-r29",
    "firewall-r30",
    "ssh-r17",
    "ssh-r21",
    "ssh-r27",
    "filtering-needs",
    "filtering-owners",
    "filtering-any-any",
    "filtering-any-service",
    "filtering-order",
    "filtering-expired",
    "filtering-to-firewall",
    "filtering-from-firewall",
    "filtering-log",
    "interconnection-r20",
    "interconnection-r21",
];

/// Those that Rempart departs from, knowingly, in some setting or on some machine.
pub const DEVIATIONS: &[&str] = &[
    "linux-r3",
    "linux-r5",
    "linux-r6",
    "linux-r8",
    "linux-r12",
    "linux-r13",
    "linux-r15",
    "linux-r16",
    "linux-r17",
    "linux-r18",
    "linux-r19",
    "linux-r21",
    "linux-r23",
    "linux-r25",
    "linux-r28",
    "linux-r35",
    "linux-r73",
];

/// The answer to `Audit`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuditReport {
    /// Of this document: 1.
    pub version: u32,
    /// The node.
    pub node: String,
    /// Of the product.
    pub product_version: String,
    /// When it was looked at.
    pub time: String,
    /// How many of each result.
    pub counts: Counts,
    /// Each recommendation, in the order of [`RECOMMENDATIONS`].
    pub lines: Vec<AuditLine>,
}

/// How many of each result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// As recommended.
    pub pass: u32,
    /// Not as recommended, and nobody has said why.
    pub fail: u32,
    /// Not as recommended, for a reason that is written down.
    pub deviation: u32,
    /// About something that this box does not have.
    pub not_applicable: u32,
    /// What had to be looked at could not be read: counts against the box.
    pub unseen: u32,
}

impl Counts {
    /// Whether nothing speaks against the box.
    pub fn are_good(&self) -> bool {
        self.fail == 0 && self.unseen == 0
    }
}

/// A recommendation.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its name: one of [`RECOMMENDATIONS`].
    pub code: String,
    /// The guide: `ANSSI-BP-028`.
    pub guide: String,
    /// Its number there, `R9`; empty where it is not known.
    pub number: String,
    /// `minimal`, `intermediate`, `enhanced`, `high`; empty where the guide has no levels.
    pub level: String,
    /// `pass`, `fail`, `deviation`, `not-applicable` or `unseen`.
    pub result: String,
    /// What speaks against it, each with what was seen.
    pub evidence: Vec<Evidence>,
    /// Its title, for people. The console fills it in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// Why a deviation is one, for people. The console fills it in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Something that is not as recommended.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Evidence {
    /// What was looked at: `sysctl kernel/kptr_restrict`.
    pub about: String,
    /// What was seen. Empty: it could not be read. `-`: it is not there.
    pub seen: String,
    /// What should have been seen.
    pub wanted: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_deviation_is_a_recommendation_once() {
        let mut all = RECOMMENDATIONS.to_vec();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), RECOMMENDATIONS.len());
        assert!(DEVIATIONS.iter().all(|d| RECOMMENDATIONS.contains(d)));
    }
}
