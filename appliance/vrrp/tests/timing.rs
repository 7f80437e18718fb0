//! Intervals computed by hand from RFC 9568 §6.1, RFC 3768 §6.1 and the CARP implementations, in nanoseconds.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use vrrp_rs::elector::{Announcing, ChecksumPolicy, Preempt, Protocol, Reach, Version, Vrrp};
use vrrp_rs::wire::carp::Pace;
use vrrp_rs::wire::{ChecksumForm, v2};
use vrrp_rs::{Addresses, Centiseconds, Config, Elector, Family, Priority, Seconds, Vrid};

fn elector(version: Version, priority: u8) -> Elector {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let config = Config {
        vrid: Vrid::new(1).unwrap(),
        protocol: Protocol::Vrrp(Vrrp {
            version,
            priority: Priority::new(priority).unwrap(),
            source: address("192.0.2.2"),
            addresses: Addresses::new(&[address("192.0.2.1")]).unwrap(),
        }),
        preempt: Preempt::Always,
        accept: false,
        reach: Reach::Multicast,
        announce: Announcing::usual(Family::V4),
    };
    Elector::new(config).unwrap()
}

/// In: priority and interval in centiseconds. Out: 3 × interval + (256 − priority) × interval / 256, and the timer starts so.
#[test]
fn version_3() {
    for (priority, interval, nanoseconds) in [
        (100, 100, 3_609_375_000), // 3 + 156/256 s
        (255, 100, 3_003_906_250),
        (1, 100, 3_996_093_750),
        (254, 1, 30_078_125), // 36 ms at most, see the next
        (100, 1, 36_093_750),
        (100, 2, 72_187_500),
        (150, 50, 1_707_031_250),     // 1.5 + 53/256 s
        (100, 4095, 147_803_906_250), // 40.95 × (3 + 156/256)
        (200, 10, 321_875_000),       // 0.3 + 0.1 × 56/256
    ] {
        let form = ChecksumPolicy::Always(ChecksumForm::MessageOnly);
        let version = Version::V3 { interval: Centiseconds::new(interval).unwrap(), checksum: form };
        let mut elector = elector(version, priority);
        let expected = Duration::from_nanos(nanoseconds);
        assert_eq!(elector.active_down_interval(), expected, "priority {priority}, {interval} cs");
        let now = Instant::now();
        elector.startup(now);
        if priority != 255 {
            assert_eq!(elector.poll_timeout(), Some(now + expected));
        }
    }
}

/// In: priority and interval in seconds. Out: 3 × interval + (256 − priority) / 256 s.
#[test]
fn version_2() {
    for (priority, interval, nanoseconds) in [
        (100, 1, 3_609_375_000),
        (255, 1, 3_003_906_250),
        (100, 10, 30_609_375_000),
        (1, 255, 765_996_093_750),
    ] {
        let version = Version::V2 { interval: Seconds::new(interval).unwrap(), auth: v2::Auth::None };
        let found = elector(version, priority).active_down_interval();
        assert_eq!(found, Duration::from_nanos(nanoseconds), "priority {priority}, {interval} s");
    }
}

/// In: advbase and advskew. Out: the interval, and how long a listener of that pace waits.
#[test]
fn carp() {
    for (base, skew, interval, dead) in [
        (1, 0, 1_000_000_000, 3_000_000_000),
        (1, 100, 1_390_625_000, 3_390_625_000),
        (1, 240, 1_937_500_000, 3_937_500_000),
        (0, 0, 3_906_250, 11_718_750), // OpenBSD: 1/256 and 3/256 s
        (0, 128, 500_000_000, 1_500_000_000),
        (20, 1, 20_003_906_250, 60_003_906_250),
    ] {
        let pace = Pace { base, skew };
        assert_eq!(pace.interval(), Duration::from_nanos(interval), "{pace:?}");
        assert_eq!(pace.dead(), Duration::from_nanos(dead), "{pace:?}");
    }
}
