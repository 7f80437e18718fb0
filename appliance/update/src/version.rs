//! The name of a version, and which of two is the newer one.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest: with `rempart_` and `_verity` it fits the 36 characters of a partition's label.
pub const VERSION_BYTES_MAX: usize = 20;

/// A version's name: digits, letters, dots and hyphens, so that it can stand in labels and in names of files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// A text that names no version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a version has 1 to {VERSION_BYTES_MAX} letters, digits, dots and hyphens, and begins with a letter or a digit"
)]
pub struct NoVersion;

impl Version {
    /// Takes a name that is one.
    pub fn new(text: &str) -> Option<Self> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
        let fits = (1..=VERSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(good);
        (fits && !text.starts_with(['.', '-'])).then(|| Self(text.to_owned()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which of two is the newer one: number by number, and `1.0-rc1` comes before `1.0` (as Semantic Versioning 2.0 §11 has
    /// it). Two that are written differently may be equally new.
    pub fn compare(&self, other: &Self) -> Ordering {
        let (own, own_rest) = split(&self.0);
        let (their, their_rest) = split(&other.0);
        by_words(own, their).then_with(|| match (own_rest, their_rest) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
            (Some(own), Some(their)) => by_words(own, their),
        })
    }
}

/// What stands before the first hyphen, and what stands behind it.
fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once('-').map_or((text, None), |(before, behind)| (before, Some(behind)))
}

fn by_words(own: &str, their: &str) -> Ordering {
    let (mut own, mut their) = (own.split(['.', '-']), their.split(['.', '-']));
    loop {
        let order = match (own.next(), their.next()) {
            (None, None) => return Ordering::Equal,
            // `1.0` and `1.0.0` are the same.
            (Some(word), None) => word_order(word, "0"),
            (None, Some(word)) => word_order("0", word),
            (Some(a), Some(b)) => word_order(a, b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Numbers by their value, before words.
fn word_order(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Version {
    type Error = NoVersion;

    fn try_from(text: String) -> Result<Self, NoVersion> {
        Self::new(&text).ok_or(NoVersion)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        Version::new(text).expect("a version")
    }

    /// In: versions from the oldest to the newest. Out: each is older than all that follow.
    #[test]
    fn versions_have_an_order() {
        let order = [
            "0.1.0-alpha",
            "0.1.0-rc1",
            "0.1.0",
            "0.1.1",
            "0.2",
            "0.10.0",
            "1.0.0-2",
            "1.0.0-10",
            "1",
            "1.0.1",
        ];
        for (n, older) in order.iter().enumerate() {
            for newer in &order[n + 1..] {
                assert_eq!(version(older).compare(&version(newer)), Ordering::Less, "{older} {newer}");
                assert_eq!(version(newer).compare(&version(older)), Ordering::Greater, "{older} {newer}");
            }
        }
        assert_eq!(version("1.0").compare(&version("1.0.0")), Ordering::Equal);
    }

    #[test]
    fn only_names_that_can_stand_in_labels_are_versions() {
        for wrong in ["", ".1", "-1", "1/2", "1 2", "1+3", "1_2", "123456789012345678901", "é"] {
            assert_eq!(Version::new(wrong), None, "{wrong}");
        }
    }

    proptest! {
        /// The order contradicts itself nowhere.
        #[test]
        fn the_order_is_one(a in "[a-c0-2][a-c0-2.-]{0,6}", b in "[a-c0-2][a-c0-2.-]{0,6}", c in "[a-c0-2][a-c0-2.-]{0,6}") {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.compare(&b), b.compare(&a).reverse());
            if a.compare(&b) != Ordering::Greater && b.compare(&c) != Ordering::Greater {
                prop_assert_ne!(a.compare(&c), Ordering::Greater);
            }
        }
    }
}
