//! Limits count what they should, and go on counting across a change of the policy.

use rempart_kernel_tests::fixture::Fixture;
use rempart_kernel_tests::node::{Failure, in_namespace};
use rempart_plan::eval::Packet;

const OPEN: &str = r#"
[[flow]]
id = "other"
from = "dmz"
to = "lan"
allow = ["tcp/1"]
"#;

fn udp(f: &Fixture, source: &str, ports: std::ops::Range<u16>) -> Result<Vec<Packet>, Failure> {
    ports.map(|port| f.udp("int0", (source, port), ("192.168.20.11", 5000))).collect()
}

/// Ten new connections at once where five a minute are allowed: five pass, and after a change of another flow none.
#[test]
fn a_rate_is_kept_across_a_change() {
    let rules = "[[flow]]\nid = \"slow\"\nfrom = \"lan\"\nto = \"dmz\"\nallow = [\"udp/5000\"]\nrate = \"5/minute burst 5\"\n";
    let ran = in_namespace(move || async move {
        let mut f = Fixture::new(rules).await?;
        let ten = udp(&f, "192.168.10.10", 1000..1010)?;
        assert_eq!(f.passed(&ten).await?, 5);
        f.change(&format!("{rules}{OPEN}")).await?;
        let more = udp(&f, "192.168.10.11", 2000..2010)?;
        assert_eq!(f.passed(&more).await?, 0, "the limit began anew");
        assert_eq!(f.counted("f1").await?, 20);
        // Another rate is another limit.
        f.change(&rules.replace("5/minute burst 5", "5/minute burst 7")).await?;
        let more = udp(&f, "192.168.10.12", 3000..3010)?;
        assert_eq!(f.passed(&more).await?, 7);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}

/// Five connections where three may be at once: three pass, also after a change; when they are gone, others may.
#[test]
fn connections_at_once_are_counted() {
    let rules =
        "[[flow]]\nid = \"few\"\nfrom = \"lan\"\nto = \"dmz\"\nallow = [\"udp/5000\"]\nconnections = 3\n";
    let ran = in_namespace(move || async move {
        let mut f = Fixture::new(rules).await?;
        let five = udp(&f, "192.168.10.10", 1000..1005)?;
        assert_eq!(f.pass(&five).await?, [true, true, true, false, false]);
        f.change(&format!("{rules}{OPEN}")).await?;
        let other = udp(&f, "192.168.10.11", 1000..1002)?;
        assert_eq!(f.passed(&other).await?, 0);
        f.node.take_connections().await?;
        let other = udp(&f, "192.168.10.12", 1000..1005)?;
        assert_eq!(f.passed(&other).await?, 3);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}

/// Four connections of each of two sources where each may have two, in both families: two of each pass, also after
/// a change.
#[test]
fn connections_are_counted_by_source() {
    let rules = "[[flow]]\nid = \"few\"\nfrom = \"lan\"\nto = \"dmz\"\nallow = [\"tcp/80\"]\n\
                 connections = { max = 2, per = \"source\" }\n";
    let ran = in_namespace(move || async move {
        let mut f = Fixture::new(rules).await?;
        for (sources, target) in [
            (["192.168.10.10", "192.168.10.11"], "192.168.20.11"),
            (["fd00:10::10", "fd00:10::11"], "fd00:20::11"),
        ] {
            for source in sources {
                let four: Result<Vec<_>, _> =
                    (1000..1004).map(|port| f.syn("int0", (source, port), (target, 80))).collect();
                assert_eq!(f.pass(&four?).await?, [true, true, false, false], "{source}");
            }
        }
        f.change(&format!("{rules}{OPEN}")).await?;
        let again = f.syn("int0", ("192.168.10.10", 1010), ("192.168.20.11", 80))?;
        assert_eq!(f.passed(&[again]).await?, 0);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}

/// A flood of SYNs of one source from a zone with a limit: a few pass; another source is not held up by it.
#[test]
fn syn_floods_are_limited_by_source() {
    let rules = "[zone.lan]\nsyn_limit = \"4/minute burst 4\"\n\
                 [[flow]]\nid = \"web\"\nfrom = \"lan\"\nto = \"dmz\"\nallow = [\"tcp/80\", \"udp/5000\"]\n";
    let ran = in_namespace(move || async move {
        let mut f = Fixture::new(rules).await?;
        let flood: Result<Vec<_>, _> =
            (1000..1020).map(|port| f.syn("int0", ("192.168.10.10", port), ("192.168.20.11", 80))).collect();
        assert_eq!(f.passed(&flood?).await?, 4);
        assert_eq!(f.counted("p.syn").await?, 16);
        f.change(&format!("{rules}{OPEN}")).await?;
        let more = f.syn("int0", ("192.168.10.10", 2000), ("192.168.20.11", 80))?;
        let other = f.syn("int0", ("192.168.10.11", 2000), ("192.168.20.11", 80))?;
        let six = f.syn("int0", ("fd00:10::10", 2000), ("fd00:20::11", 80))?;
        assert_eq!(f.pass(&[more, other, six]).await?, [false, true, true]);
        // Not TCP, not limited.
        let udp = udp(&f, "192.168.10.10", 1000..1010)?;
        assert_eq!(f.passed(&udp).await?, 10);
        Ok::<_, Failure>(())
    });
    ran.transpose().expect("the harness works");
}
