//! The flow numbers of a revision, as they travel between the nodes: connection marks mean the same on both.
//!
//! A node numbers the flows that are new to it. A revision carries the numbers of *its* flows; the node that takes it
//! takes them over, and a flow of the past that had one of them here gets another should it ever come back.

use std::collections::{BTreeMap, BTreeSet};

use rempart_config::Model;
use rempart_plan::Ids;
use serde::{Deserialize, Serialize};

/// The numbers of a document's flows, by their keys.
pub type Numbers = BTreeMap<String, u32>;

/// What [`Ids`] is on disk.
#[derive(Serialize, Deserialize)]
struct Stored {
    next: u32,
    by_key: Numbers,
}

/// The numbers of the flows of `model`.
pub fn of(model: &Model, ids: &Ids) -> Numbers {
    model.flows.iter().map(|f| (f.key.clone(), ids.of(&f.key))).collect()
}

/// The same as a text that is equal for equal numbers.
pub fn text(numbers: &Numbers) -> String {
    // Texts and numbers cannot fail to be JSON.
    serde_json::to_string(numbers).unwrap_or_default()
}

/// Reads such a text; `None` if it is none, or gives a number twice.
pub fn parse(text: &str) -> Option<Numbers> {
    let numbers: Numbers = serde_json::from_str(text).ok()?;
    let distinct: BTreeSet<u32> = numbers.values().copied().collect();
    let valid = distinct.len() == numbers.len()
        && distinct.iter().all(|n| (1..=rempart_plan::ids::MAX_ID).contains(n));
    valid.then_some(numbers)
}

/// These ids with `numbers` in force.
pub fn adopt(ids: &Ids, numbers: &Numbers) -> Ids {
    if numbers.iter().all(|(key, number)| ids.of(key) == *number) {
        return ids.clone();
    }
    let stored = serde_json::to_value(ids).and_then(serde_json::from_value::<Stored>);
    let Stored { next, mut by_key } = stored.unwrap_or_else(|_| Stored { next: 1, by_key: Numbers::new() });
    let taken: BTreeSet<u32> = numbers.values().copied().collect();
    by_key.retain(|_, number| !taken.contains(number));
    by_key.extend(numbers.iter().map(|(key, number)| (key.clone(), *number)));
    let highest = taken.last().copied().unwrap_or(0);
    let adopted = Stored { next: next.max(highest.saturating_add(1)), by_key };
    serde_json::to_value(adopted).and_then(serde_json::from_value).unwrap_or_else(|_| ids.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[(&str, u32)], next: u32) -> Ids {
        let by_key = numbers.iter().map(|(k, n)| ((*k).to_owned(), *n)).collect();
        let value = serde_json::to_value(Stored { next, by_key }).expect("JSON");
        serde_json::from_value(value).expect("is what Ids is on disk")
    }

    /// Another node's numbers take the place of ours; who had one of them here has none; new ones start above.
    #[test]
    fn numbers_are_taken_over() {
        let own = ids(&[("a", 1), ("b", 2), ("c", 3)], 4);
        let theirs: Numbers = [("a".to_owned(), 3), ("d".to_owned(), 9)].into();
        let both = adopt(&own, &theirs);
        assert_eq!(["a", "b", "c", "d"].map(|k| both.of(k)), [3, 2, 0, 9]);
        assert_eq!(both, ids(&[("a", 3), ("b", 2), ("d", 9)], 10));
        assert_eq!(adopt(&both, &theirs), both);
    }

    /// Numbers that are given twice, are zero or too large are refused; a text comes back as it was.
    #[test]
    fn odd_numbers_are_refused() {
        let good: Numbers = [("a".to_owned(), 1), ("b".to_owned(), 2)].into();
        assert_eq!(parse(&text(&good)), Some(good));
        for bad in [r#"{"a":1,"b":1}"#, r#"{"a":0}"#, r#"{"a":16777216}"#, "[]", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
