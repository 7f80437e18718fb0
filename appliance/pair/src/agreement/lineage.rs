//! Revisions and where they come from.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::MAX_ANCESTORS;

/// What names a revision on both nodes: SHA-256 over what it is and the revision that it follows, so that equal ids mean
/// equal documents, equal flow numbers and an equal past.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct RevisionId([u8; 32]);

impl RevisionId {
    /// From its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl From<RevisionId> for String {
    fn from(id: RevisionId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for RevisionId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for RevisionId {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a revision id is 64 hexadecimal digits";
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        let mut bytes = [0; 32];
        for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[place..place + 2], 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

/// What is known of a revision beside its document.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// The revision that it follows.
    pub parent: Option<RevisionId>,
    /// Its number in the history; the same on both nodes unless they have diverged, so no part of its id.
    pub number: u32,
    /// SHA-256 of the document, in hex.
    pub digest: String,
    /// SHA-256 of the flow numbers, in hex.
    pub numbers: String,
    /// Who committed it.
    pub author: String,
    /// When, RFC 3339.
    pub time: String,
    /// Why.
    pub comment: String,
    /// The revision whose document this is again, for a roll-back. A remark, so no part of its id.
    #[serde(default)]
    pub rollback_of: Option<RevisionId>,
}

impl Record {
    /// The id, worked out.
    pub fn id(&self) -> RevisionId {
        let mut hash = Context::new(&SHA256);
        hash.update(b"rempart/1 revision");
        let parent = self.parent.map(|p| p.to_string()).unwrap_or_default();
        let Self { number: _, rollback_of: _, parent: _, digest, numbers, author, time, comment } = self;
        for field in [&parent, digest, numbers, author, time, comment] {
            // Each after its length: no two records make the same text.
            hash.update(&(field.len() as u64).to_be_bytes());
            hash.update(field.as_bytes());
        }
        let mut id = [0; 32];
        for (to, from) in id.iter_mut().zip(hash.finish().as_ref()) {
            *to = *from;
        }
        RevisionId(id)
    }
}

/// A revision on its way.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Bundle {
    /// What is known of it.
    pub record: Record,
    /// The document.
    pub document: String,
    /// The flow numbers, as the control daemon writes them: connection marks mean the same on both nodes.
    pub ids: String,
    /// What it follows, the nearest first, as [`Position::ancestors`]: the taker may lack what is between.
    pub ancestors: Vec<RevisionId>,
    /// The grammar that the document is written in, as [`Position::grammar`].
    pub grammar: u32,
}

impl Bundle {
    /// The id of the revision, if document, numbers and parent are those that the record speaks of.
    pub fn verified(&self) -> Option<RevisionId> {
        let fits = hex_digest(&self.document) == self.record.digest
            && hex_digest(&self.ids) == self.record.numbers
            && self.ancestors.first().copied() == self.record.parent
            && self.ancestors.len() <= MAX_ANCESTORS;
        fits.then(|| self.record.id())
    }
}

/// SHA-256 of a text, in hex.
pub(super) fn hex_digest(text: &str) -> String {
    ring::digest::digest(&SHA256, text.as_bytes()).as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

/// Where a node stands.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// The committed revision.
    pub head: Option<RevisionId>,
    /// Its number here.
    pub number: u32,
    /// The highest number given here.
    pub last: u32,
    /// What the head follows, the nearest first; [`MAX_ANCESTORS`] at most.
    pub ancestors: Vec<RevisionId>,
    /// What this node is about to commit, where the commit was typed here.
    pub proposing: Option<RevisionId>,
    /// Version of the grammar that this node can read.
    pub grammar: u32,
    /// Version of the product.
    pub product: String,
}

/// How two positions are related, seen from ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The same revision.
    Same,
    /// Theirs is an ancestor of ours: they need ours.
    Deliver,
    /// Ours is an ancestor of theirs: we need theirs.
    Fetch,
    /// Neither.
    Diverged,
}

/// How two positions are related.
pub fn compare(ours: &Position, theirs: &Position) -> Relation {
    let follows =
        |newer: &Position, older: RevisionId| newer.ancestors.iter().take(MAX_ANCESTORS).any(|a| *a == older);
    match (ours.head, theirs.head) {
        (None, None) => Relation::Same,
        (Some(_), None) => Relation::Deliver,
        (None, Some(_)) => Relation::Fetch,
        (Some(a), Some(b)) if a == b => Relation::Same,
        (Some(_), Some(b)) if follows(ours, b) => Relation::Deliver,
        (Some(a), Some(_)) if follows(theirs, a) => Relation::Fetch,
        (Some(_), Some(_)) => Relation::Diverged,
    }
}
