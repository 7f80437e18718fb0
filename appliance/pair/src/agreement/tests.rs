mod simulation;
mod table;

use super::lineage::hex_digest;
use super::*;

/// A revision that follows `parent`, with its ancestors.
fn bundle(parent: &[RevisionId], number: u32, author: &str, text: &str) -> Bundle {
    let (document, ids) = (format!("version = 1\n# {text}\n"), format!("{{\"next\":{number}}}"));
    let record = Record {
        parent: parent.first().copied(),
        number,
        digest: hex_digest(&document),
        numbers: hex_digest(&ids),
        author: author.into(),
        time: "2026-11-22T05:00:00Z".into(),
        comment: text.into(),
        rollback_of: None,
    };
    Bundle { record, document, ids, ancestors: parent.to_vec(), grammar: 1 }
}

fn position(chain: &[RevisionId]) -> Position {
    let ancestors = chain.iter().skip(1).copied().collect();
    Position { head: chain.first().copied(), ancestors, grammar: 1, ..Position::default() }
}

/// The id depends on every field but the number and the remark of a roll-back, and not on where one field ends and the next begins.
#[test]
fn ids_name_content_and_past() {
    let one = bundle(&[], 1, "ann", "one").record;
    let id = one.id();
    assert_eq!(Record { number: 9, ..one.clone() }.id(), id);
    assert_eq!(Record { rollback_of: Some(id), ..one.clone() }.id(), id);
    let changed = [
        Record { parent: Some(id), ..one.clone() },
        Record { digest: "0".into(), ..one.clone() },
        Record { numbers: "0".into(), ..one.clone() },
        Record { author: "annone".into(), comment: String::new(), ..one.clone() },
        Record { time: "2026-11-22T05:00:01Z".into(), ..one.clone() },
        Record { comment: "One".into(), ..one.clone() },
    ];
    for (place, record) in changed.iter().enumerate() {
        assert_ne!(record.id(), id, "field {place}");
    }
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("00".parse::<RevisionId>().is_err() && "é".repeat(32).parse::<RevisionId>().is_err());
}

/// A bundle whose document, numbers or parent were changed on the way is not what its record says.
#[test]
fn a_changed_bundle_is_noticed() {
    let one = bundle(&[], 1, "ann", "one");
    assert_eq!(one.verified(), Some(one.record.id()));
    assert_eq!(Bundle { document: "version = 1\n".into(), ..one.clone() }.verified(), None);
    assert_eq!(Bundle { ids: "{}".into(), ..one.clone() }.verified(), None);
    assert_eq!(Bundle { ancestors: vec![one.record.id()], ..one }.verified(), None);
}

/// Heads and ancestors of two nodes, and how they are related; seen from the other side, the other way round.
#[test]
fn positions_compare() {
    let id = |n: u8| RevisionId::new([n; 32]);
    let cases: [(&[u8], &[u8], Relation); 8] = [
        (&[], &[], Relation::Same),
        (&[1], &[], Relation::Deliver),
        (&[2, 1], &[2], Relation::Same),
        (&[2, 1], &[1], Relation::Deliver),
        (&[5, 4, 3, 2, 1], &[1], Relation::Deliver),
        (&[3, 1], &[2, 1], Relation::Diverged),
        (&[3, 2], &[1], Relation::Diverged),
        (&[4, 3, 1], &[2, 1], Relation::Diverged),
    ];
    for (ours, theirs, expected) in cases {
        let chain = |c: &[u8]| position(&c.iter().map(|n| id(*n)).collect::<Vec<_>>());
        assert_eq!(compare(&chain(ours), &chain(theirs)), expected, "{ours:?} {theirs:?}");
        let mirrored = match expected {
            Relation::Deliver => Relation::Fetch,
            Relation::Fetch => Relation::Deliver,
            same @ (Relation::Same | Relation::Diverged) => same,
        };
        assert_eq!(compare(&chain(theirs), &chain(ours)), mirrored, "{theirs:?} {ours:?}");
    }
}
