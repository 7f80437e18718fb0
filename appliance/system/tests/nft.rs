//! The program `nft` and the real kernel.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use common::{in_namespace, sh};
use rempart_system::nft::{Counter, Nft, NftError};

const TABLE: &str = "rempart";

fn nft() -> Nft {
    Nft::new("nft", Duration::from_secs(120))
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

const SCRIPT: &str = r#"
table inet rempart {
    comment "revision 12"
    counter c1 { packets 7 bytes 6000000000
    }
    counter c2 {
    }
    ct helper ftp1 {
        type "ftp" protocol tcp
    }
    limit l1 {
        rate 5/second
    }
    quota q1 {
        over 5 mbytes
    }
    set s1 {
        type ipv4_addr
        flags interval
        elements = { 10.0.0.0/8, 192.168.0.0-192.168.0.7 }
    }
    map m1 {
        type ipv4_addr : verdict
        elements = { 10.0.0.1 : jump ch1 }
    }
    chain ch1 {
        counter name "c1" accept
    }
    chain out {
        type filter hook output priority 0
        ip daddr 127.0.0.1 counter name "c2"
    }
}
"#;

/// A table with an object of every kind in; the same names out, the counters beyond 32 bits whole.
#[test]
fn what_was_applied_is_read_back() {
    in_namespace(|| async {
        let nft = nft();
        assert_eq!(nft.objects(TABLE).await.expect("no table"), None);
        assert!(matches!(nft.counters(TABLE).await, Err(NftError::Refused { .. })));
        nft.check(SCRIPT).await.expect("checked");
        assert_eq!(nft.objects(TABLE).await.expect("still no table"), None);
        nft.apply(SCRIPT).await.expect("applied");
        let objects = nft.objects(TABLE).await.expect("read").expect("a table");
        assert_eq!(objects.comment.as_deref(), Some("revision 12"));
        assert_eq!(objects.chains, names(&["ch1", "out"]));
        assert_eq!(objects.sets, names(&["s1"]));
        assert_eq!(objects.maps, names(&["m1"]));
        assert_eq!(objects.counters, names(&["c1", "c2"]));
        assert_eq!(objects.helpers, names(&["ftp1"]));
        assert_eq!(objects.limits, names(&["l1"]));
        sh("ping -c 2 -i 0.01 127.0.0.1");
        let counters = nft.counters(TABLE).await.expect("counters");
        assert_eq!(counters["c1"], Counter { packets: 7, bytes: 6_000_000_000 });
        // Two questions and two answers leave by lo.
        assert_eq!(counters["c2"].packets, 4);
        sh("nft add table ip foreign; nft add table netdev other");
        let tables = nft.tables().await.expect("tables");
        assert_eq!(tables.fallback, None);
        let pair = |f: &str, n: &str| (f.to_owned(), n.to_owned());
        assert_eq!(tables.tables, [pair("inet", TABLE), pair("ip", "foreign"), pair("netdev", "other")]);
        nft.apply("add table inet plain\n").await.expect("applied");
        assert_eq!(nft.comment("plain").await.expect("read"), Some(None));
    });
}

/// Scripts with faults in; the line of each out, and nothing changed.
#[test]
fn faults_name_their_line() {
    in_namespace(|| async {
        let nft = nft();
        nft.apply(SCRIPT).await.expect("applied");
        let bad = "add chain inet rempart new\nadd rule inet rempart new jump nowhere\nadd rule inet rempart new2 accept\n";
        let error = nft.apply(bad).await.expect_err("refused");
        let NftError::Refused { faults, stderr, .. } = &error else { panic!("{error}") };
        let lines: Vec<_> = faults.iter().map(|f| f.line).collect();
        assert_eq!(lines, [Some(2), Some(3)], "{stderr}");
        assert!(faults[0].message.contains("No such file or directory"));
        let text = error.to_string();
        assert!(text.contains("nothing was changed: line 2: Could not process rule"), "{text}");
        assert!(!nft.objects(TABLE).await.expect("read").expect("a table").chains.contains("new"));
        let error = nft
            .check("add rule inet rempart ch1 tcp dport nosuch\n\ntable inet { }\n")
            .await
            .expect_err("refused");
        let NftError::Refused { faults, .. } = error else { panic!("{error}") };
        assert_eq!(faults.iter().filter_map(|f| f.line).collect::<BTreeSet<_>>(), BTreeSet::from([1, 3]));
    });
}

#[test]
fn a_missing_program_and_a_slow_one_are_told() {
    in_namespace(|| async {
        let missing = Nft::new("/no/such/nft", Duration::from_secs(1)).apply("").await.expect_err("missing");
        assert!(missing.to_string().contains("cannot run /no/such/nft"), "{missing}");
        let begin = Instant::now();
        let slow = Nft::new("yes", Duration::from_millis(300)).apply("").await.expect_err("endless");
        assert!(matches!(slow, NftError::Timeout(_) | NftError::Refused { .. }), "{slow}");
        assert!(begin.elapsed() < Duration::from_secs(3));
    });
}

/// 20 MB with a fault at the end, and a fault in each of many lines: neither side waits for the other for ever.
#[test]
fn large_scripts_do_not_block() {
    in_namespace(|| async {
        let nft = nft();
        let mut script = String::from("add table inet rempart\n");
        while script.len() < 20_000_000 {
            script.push_str(
                "# the quick brown fox jumps over the lazy dog, again and again and again and again\n",
            );
        }
        nft.apply(&script).await.expect("applied");
        script.push_str("nonsense\n");
        let lines = script.lines().count();
        let error = nft.apply(&script).await.expect_err("refused");
        let NftError::Refused { faults, .. } = error else { panic!("{error}") };
        assert_eq!(faults[0].line, u32::try_from(lines).ok());
        let many: String =
            (0..20_000).map(|i| format!("add rule inet rempart nowhere{i} accept\n")).collect();
        let error = nft.apply(&many).await.expect_err("refused");
        let NftError::Refused { faults, .. } = error else { panic!("{error}") };
        assert!(!faults.is_empty() && faults.len() <= 256);
    });
}

/// How long 10,000 elements of a concatenated verdict map take. A figure, not a limit.
#[test]
fn ten_thousand_elements() {
    in_namespace(|| async {
        let nft = nft();
        let mut script = String::from(
            "table inet rempart {\n chain c {\n }\n map m {\n  type ipv4_addr . ipv4_addr . inet_proto . inet_service : verdict\n  elements = {\n",
        );
        for i in 0..10_000 {
            let _ =
                writeln!(script, "   10.{}.{}.1 . 10.0.0.1 . tcp . {} : jump c,", i / 250, i % 250, 1 + i);
        }
        script.push_str("  }\n }\n}\n");
        let begin = Instant::now();
        nft.apply(&script).await.expect("applied");
        println!("10,000 map elements ({} bytes): {:?}", script.len(), begin.elapsed());
        let begin = Instant::now();
        let objects = nft.objects(TABLE).await.expect("read").expect("a table");
        println!("objects() beside them: {:?}", begin.elapsed());
        assert_eq!(objects.maps, names(&["m"]));
    });
}
