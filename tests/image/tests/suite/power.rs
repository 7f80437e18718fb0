//! The power fails in the middle of commits (I8): the box comes back with the last committed revision.

use std::time::{Duration, SystemTime};

use rempart_image_tests::{BOOT, Firmware, Image, Machine, SOON};

use crate::{Site, image};

/// How often the power fails; `REMPART_CUTS` says otherwise. With the cuts of `update` there are twenty.
const CUTS: u32 = 16;
/// How many machines take their turns at the same time.
const MACHINES: u32 = 2;
/// The longest time from the first commit of a run to the cut.
const CUT_MS_MAX: u64 = 6000;
/// A start after a cut needs what brings the revision back, and no more.
const REVISION: &str = "systemd.unit=rempartd.service systemd.mask=systemd-modules-load.service";

#[test]
#[ignore = "long: make test-image"]
fn a_box_that_loses_power_during_commits_returns_with_the_last_committed_revision() {
    // Commits without a pause, SIGKILL to the machine at a random moment; after the start the committed revision is the last one
    // that was acknowledged, or the one that was being committed, it is in force, and the ruleset is its own.
    let Some(image) = image() else { return };
    let cuts: u32 = std::env::var("REMPART_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(CUTS);
    let mut random = Random::new();
    // The start of a machine keeps more than one processor busy for a part of its time only.
    std::thread::scope(|scope| {
        for machine in 0..MACHINES {
            let (image, own) = (&image, Random::from(random.below(u64::MAX) | 1));
            scope.spawn(move || {
                cut_and_look(image, cuts / MACHINES + u32::from(machine < cuts % MACHINES), own)
            });
        }
    });
}

/// One machine, whose power fails so many times.
fn cut_and_look(image: &Image, cuts: u32, mut random: Random) {
    let site = Site::new(image);
    let mut machine = site.first();
    for cut in 1..=cuts {
        let first = committed(&mut machine);
        let shell = machine.shell();
        // Two documents in turn, so that every commit changes the ruleset.
        shell.run(&format!("rempart show {first} > /tmp/now.toml"));
        shell.run("sed 's/udp.700[02]/udp\\/7000/' /tmp/now.toml > /tmp/a.toml; sed 's/udp.700[02]/udp\\/7002/' /tmp/now.toml > /tmp/b.toml");
        shell.start("while :; do for d in b a; do rempart --json commit /tmp/$d.toml --message x | sed -n 's/.*\"revision\": *\\([0-9]*\\).*/DONE-\\1./p'; done; done");
        std::thread::sleep(Duration::from_millis(random.below(CUT_MS_MAX)));
        let said = shell.said();
        let acknowledged = last_done(&said).unwrap_or(first);
        machine.cut_power();

        machine = site.start(&site.spec(Firmware::Direct).words(REVISION));
        machine.shell().ready(BOOT);
        let now = committed(&mut machine);
        eprintln!("cut {cut}: acknowledged {acknowledged}, returned with {now} (seed {})", random.seed);
        // Between the look at what was said and the cut one more may have been acknowledged.
        assert!(
            (acknowledged..=acknowledged + 2).contains(&now),
            "cut {cut}: {acknowledged} was acknowledged, {now} returned"
        );
        let port = if machine.shell().run(&format!("rempart show {now}")).contains("7002") {
            "7002"
        } else {
            "7000"
        };
        let rules = machine.shell().run("nft list table inet rempart");
        assert!(rules.contains(port), "cut {cut}: the ruleset is not that of revision {now}");
        assert!(
            !rules.contains(if port == "7000" { "7002" } else { "7000" }),
            "cut {cut}: and another's: {rules}"
        );
    }
}

/// The revision that is committed and in force, once the daemon answers.
fn committed(machine: &mut Machine) -> u32 {
    let command = "until rempart --json status >/run/status 2>/dev/null && grep -q '\"number\"\\|\"revision\"' /run/status; do sleep 1; done; cat /var/lib/rempart/current; tr -d '\\n ' </run/status";
    let (_, said) = machine.shell().try_run(command, BOOT).expect("the daemon answers");
    let (current, status) = said.trim().split_once('\n').expect("two lines");
    let current: u32 = current.trim().parse().unwrap_or_else(|e| panic!("current holds {current:?}: {e}"));
    let in_force = format!("\"revision\":{{\"number\":{current},");
    assert!(status.contains(&in_force), "revision {current} is committed and another is in force: {status}");
    machine.shell().try_run("true", SOON).expect("the shell goes on");
    current
}

/// The last revision that a commit acknowledged.
fn last_done(said: &str) -> Option<u32> {
    said.rsplit("DONE-").find_map(|rest| rest.split_once('.')?.0.parse().ok())
}

/// Numbers without a pattern; the seed is printed with every use.
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
        let seed = std::env::var("REMPART_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(now | 1);
        Self::from(seed)
    }

    fn from(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// xorshift64.
    fn below(&mut self, limit: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % limit
    }
}
