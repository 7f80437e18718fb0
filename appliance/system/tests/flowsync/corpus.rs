//! The corpus of the fuzz target `flow`, replayed.

use std::path::PathBuf;

use rempart_system::conntrack::Layer4;
use rempart_system::flowsync::{
    Flow, ProtocolState, Record, Sctp, SequenceAdjustment, Synproxy, Zone, ZoneScope,
};

use crate::fuzz;
use crate::samples::*;

fn folder(kind: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz").join(kind).join("flow")
}

/// One record for each part that the encoding knows, and what identifies them.
fn seeds() -> Vec<(&'static str, Record)> {
    let everything = Flow {
        reply: tuple(v4(20), v4(99), ports(8443, 50_000)),
        zone: Zone { id: 7, scope: ZoneScope::Original },
        mark: 0x8000_0042,
        labels: [3; 16],
        helper: rempart_system::flowsync::Name::new(b"ftp"),
        adjustments: Some([SequenceAdjustment { position: 5, before: 0, after: 1 }; 2]),
        synproxy: Some(Synproxy { sequence: 1, timestamp: 2, offset: 3 }),
        master: Some((6, tcp(3).original)),
        ..tcp(1000)
    };
    let mut sctp = flow(132, v6(1), v6(2), ports(1, 2), ports(2, 1));
    sctp.state = ProtocolState::Sctp(Sctp { state: 4, tags: [1, 2] });
    let echo = |kind| Layer4::Icmp { kind, code: 0, id: 7 };
    let (_, expectation) = crate::samples::ftp();
    vec![
        ("tcp", Record::Flow(tcp(1000))),
        ("syn", Record::Flow(syn(1))),
        ("everything", Record::Flow(everything)),
        ("sctp6", Record::Flow(sctp)),
        ("ping", Record::Flow(flow(1, v4(1), v4(2), echo(8), echo(0)))),
        ("esp", Record::Flow(flow(50, v4(1), v4(2), Layer4::Other, Layer4::Other))),
        ("expectation", Record::Expectation(expectation)),
    ]
}

/// In: every file of the corpus. Out: no panic, and the seeds are there and are read. With `REMPART_BLESS` the seeds are
/// written.
#[test]
fn the_corpus_is_replayed() {
    for (name, record) in seeds() {
        let (mut whole, mut identity) = (Vec::new(), Vec::new());
        record.encode(&mut whole);
        record.identity().encode(&mut identity);
        for (name, bytes) in [(name.to_owned(), whole), (format!("{name}-identity"), identity)] {
            let path = folder("corpus").join(name);
            if std::env::var_os("REMPART_BLESS").is_some() {
                std::fs::create_dir_all(folder("corpus")).expect("a folder");
                std::fs::write(&path, &bytes).expect("written");
            }
            let file = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(fuzz::flow(&file), "{}", path.display());
        }
    }
    for kind in ["corpus", "regressions"] {
        for entry in std::fs::read_dir(folder(kind)).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            fuzz::flow(&std::fs::read(path).expect("a file"));
        }
    }
}
