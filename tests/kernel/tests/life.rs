//! What happens over time: the log, a change of the policy under load, and connections that a policy ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rempart_kernel_tests::fixture::{Fixture, policy};
use rempart_kernel_tests::node::{BATCH, Failure, in_namespace};
use rempart_plan::compile::{LOG_GROUP, MARK_DOOMED};
use rempart_plan::eval::Packet;
use rempart_system::nflog::Nflog;

/// One packet for each kind of log entry in, and noise: each entry out once under its prefix, noise under none.
#[test]
fn the_log_says_what_decided() {
    let rules = "[zone.wan]\nanti_spoof = true\n\
        [[flow]]\nfrom = \"lan\"\nto = \"dmz\"\nallow = [\"udp/5000\"]\nlog = true\n\
        [[flow]]\nfrom = \"lan\"\nto = \"dmz\"\ndrop = [\"udp/5001\"]\nlog = true\n\
        [[flow]]\nfrom = \"lan\"\nto = \"dmz\"\nallow = [\"udp/5002\"]\nrate = \"1/hour burst 1\"\n\
        [[flow]]\nfrom = \"lan\"\nto = \"dmz\"\ndeny = [\"udp/5003\"]\n";
    let ran = in_namespace(move || async move {
        let mut f = Fixture::new(rules).await?;
        let mut log = Nflog::bind(LOG_GROUP).await?;
        let lan = |port| f.udp("int0", ("192.168.10.10", port), ("192.168.20.11", port));
        let packets = [
            lan(5000)?,
            lan(5001)?,
            lan(5002)?,
            f.udp("int0", ("192.168.10.11", 5002), ("192.168.20.11", 5002))?,
            lan(5003)?,
            lan(6000)?,
            lan(137)?,
            f.udp("int0", ("192.168.10.10", 1900), ("192.168.10.255", 1900))?,
            f.udp("ext0", ("192.168.10.10", 1), ("203.0.113.2", 1))?,
            f.udp("ext0", ("10.9.9.9", 1), ("203.0.113.2", 1))?,
        ];
        f.pass(&packets).await?;
        let mut prefixes: BTreeMap<String, usize> = BTreeMap::new();
        while let Ok(Some(entry)) = tokio::time::timeout(Duration::from_millis(500), log.next()).await {
            *prefixes.entry(entry.prefix).or_default() += 1;
        }
        let wanted =
            ["anti-spoof drop", "bogon drop", "default deny", "flow 1 allow", "flow 2 drop", "flow 3 limit"];
        let wanted: BTreeMap<String, usize> = wanted.into_iter().map(|p| (p.to_owned(), 1)).collect();
        assert_eq!(prefixes, wanted);
        assert_eq!(f.counted("p.noise").await?, 2);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}

/// How long the policy is changed under load.
const UNDER_LOAD: Duration = Duration::from_secs(3);

/// Allowed and denied packets of new connections without pause while the policy goes to and fro between two that
/// agree about them: none of the allowed is lost, none of the denied gets through (I1), and the counter of the flow
/// has counted every one.
#[test]
fn nothing_leaks_and_nothing_is_lost_while_the_policy_changes() {
    let common =
        "[[flow]]\nid = \"yes\"\nfrom = \"lan\"\nto = \"dmz:192.168.20.11\"\nallow = [\"udp/5000\"]\n";
    let many: String = (0..300u16)
        .map(|n| {
            format!(
                "[[flow]]\nid = \"m{n}\"\nfrom = \"lan\"\nto = \"dmz:192.168.20.{}\"\nallow = [\"tcp/{}\"]\n",
                n % 200 + 20,
                1000 + n
            )
        })
        .collect();
    let a = format!("{common}{many}");
    // Flows that overlap push each other from map to map.
    let guest = "[[flow]]\nid = \"guest\"\nfrom = \"lan:192.168.10.99\"\nto = \"dmz\"\ndrop = [\"any\"]\n";
    let no = "[[flow]]\nid = \"no\"\nfrom = \"lan\"\nto = \"dmz:192.168.20.8/29\"\ndrop = [\"any\"]\n";
    let b = format!("{guest}{common}{no}{}", many.replace("tcp/1", "tcp/2"));
    let ran = in_namespace(move || async move {
        let mut f = Fixture::new(&a).await?;
        let a = f.policy.clone();
        let b = policy(&b, a.ids.clone())?;
        let a = policy(&a.text[a.text.find("[[flow]]").unwrap_or(0)..], b.ids.clone())?;
        f.replace(a.clone()).await?;
        let scripts = [&b, &a].map(|to| {
            let from = if std::ptr::eq(to, &b) { &a } else { &b };
            to.plan.ruleset.scripts(rempart_plan::nft::Base::Ruleset(&from.plan.ruleset)).list
        });
        let several = scripts.iter().all(|s| s.len() > 1);
        let nft = f.node.nft().clone();
        let end = Instant::now() + UNDER_LOAD;
        let changer = tokio::spawn(async move {
            let mut changes = 0;
            while Instant::now() < end {
                for steps in &scripts {
                    for script in steps {
                        nft.apply(&script.text).await.expect("the change is applied");
                    }
                    changes += 1;
                }
            }
            changes
        });
        let (mut sent, mut lost, mut leaked) = (0u64, 0, 0);
        let mut port = 1000;
        while !changer.is_finished() {
            let mut packets: Vec<Packet> = Vec::with_capacity(BATCH);
            for _ in 0..BATCH / 2 {
                port = if port == 30_000 { 1000 } else { port + 1 };
                packets.push(f.udp("int0", ("192.168.10.10", port), ("192.168.20.11", 5000))?);
                packets.push(f.udp("int0", ("192.168.10.10", port), ("192.168.20.12", 5000))?);
            }
            let passed = f.pass(&packets).await?;
            for pair in passed.chunks(2) {
                sent += 1;
                lost += usize::from(!pair[0]);
                leaked += usize::from(pair[1]);
            }
        }
        let changes = changer.await?;
        println!(
            "{sent} allowed and {sent} denied packets during {changes} changes: {lost} lost, {leaked} leaked"
        );
        assert_eq!((lost, leaked), (0, 0));
        assert!(changes >= 4, "only {changes} changes");
        assert!(several, "these changes were meant to need several transactions");
        assert_eq!(f.counted("f1").await?, sent);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}

/// An established connection that is marked as doomed: from then on its packets are dropped both ways and counted;
/// another connection of the same flow goes on.
#[test]
fn a_doomed_connection_is_dropped_both_ways() {
    let rules = "[[flow]]\nid = \"yes\"\nfrom = \"lan\"\nto = \"dmz\"\nallow = [\"udp/5000\"]\n";
    let ran = in_namespace(move || async move {
        let mut f = Fixture::new(rules).await?;
        let both = |f: &Fixture, port| -> Result<[Packet; 2], Failure> {
            Ok([
                f.udp("int0", ("192.168.10.10", port), ("192.168.20.11", 5000))?,
                f.udp("dmz0", ("192.168.20.11", 5000), ("192.168.10.10", port))?,
            ])
        };
        let (doomed, other) = (both(&f, 1000)?, both(&f, 2000)?);
        for packets in [&doomed, &other] {
            assert_eq!(f.pass(packets).await?, [true, true]);
        }
        let connections = f.node.conntrack().list().await?;
        let of_port = |c: &&rempart_system::conntrack::Connection| {
            matches!(c.original.layer4, rempart_system::conntrack::Layer4::Ports { source: 1000, .. })
        };
        let connection = connections.iter().find(of_port).ok_or("not tracked")?;
        assert!(f.node.conntrack().set_mark(connection, MARK_DOOMED, MARK_DOOMED).await?);
        assert_eq!(f.pass(&doomed).await?, [false, false]);
        assert_eq!(f.pass(&other).await?, [true, true]);
        assert_eq!(f.counted("p.doomed").await?, 2);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}
