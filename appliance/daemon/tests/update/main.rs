//! The program `rempart-update` on disks in files, with pretended daemons around it on a bus of its own: one box, and a pair.
//!
//! ```text
//!  test ──Update1──▶ rempart-update serve ──▶ disk.raw (sfdisk), esp/
//!    ▲ Control1, Ha1, Vpn1, systemd1: pretended; Ha1 carries requests to the other box's bus
//!    └ a restart: which kernel systemd-boot takes, counted down in its name; then serve and health again
//! ```

mod around;
mod machine;

use std::time::Duration;

use machine::{Machine, Release, Works};
use rempart_bus::Error;
use rempart_bus::update::{FoundFile, InstallRequest, UpdateStatus};

/// How long anything may take on a busy machine; a probation takes 20 s at least.
const PATIENCE: Duration = Duration::from_secs(180);

fn may_run() -> bool {
    let sfdisk = std::path::Path::new("/sbin/sfdisk").exists();
    let root = nix::unistd::geteuid().is_root();
    if !(sfdisk && root) {
        eprintln!("SKIPPED: this wants root and sfdisk (make setup)");
    }
    sfdisk && root
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(3 * PATIENCE, test).await.expect("the test has no end") });
}

async fn install(machine: &Machine, source: &str) -> Result<(), Error> {
    let request = InstallRequest { source: source.into(), ..InstallRequest::default() };
    machine.update().await.install(&serde_json::to_string(&request).expect("JSON"), "test").await
}

/// In: an update on the stick, a forged one, one of a stranger's, an older one. Out: only the first goes in; the box starts it, it
/// proves itself, and stays; `back` brings the version before, on trial again.
#[test]
fn an_update_goes_in_proves_itself_and_stays() {
    if !may_run() {
        return;
    }
    run(async {
        let works = Works::new();
        let one = works.release("1", 10);
        let mut machine = Machine::flashed(&works, &one, "a", true).await;
        let (two, older) = (works.release("2", 20), works.release("0.9", 30));
        let stranger = Works::new().release("3", 40);
        let mut forged = two.file();
        *forged.last_mut().expect("bytes") ^= 1;
        machine.stick(&[
            ("two.update", &two.file()),
            ("forged.update", &forged),
            ("older.update", &older.file()),
            ("stranger.update", &stranger.file()),
        ]);

        let found: Vec<FoundFile> =
            serde_json::from_str(&machine.update().await.files().await.expect("files")).expect("JSON");
        let versions: Vec<_> = found.iter().map(|file| file.version.as_deref()).collect();
        assert_eq!(versions, [Some("2"), Some("0.9"), None, Some("2")], "{found:?}");

        for (source, why) in [
            ("stranger.update", "none of this box's keys"),
            ("forged.update", "not what its manifest says"),
            ("older.update", "older than 1"),
        ] {
            install(&machine, source).await.expect("it begins");
            let status = machine.ended(PATIENCE).await;
            let failure = status.job.clone().and_then(|job| job.failure).unwrap_or_default();
            assert!(failure.contains(why), "{source}: {failure:?}");
            assert_eq!(machine.next_start(), "1", "{source}");
        }
        assert!(matches!(install(&machine, "/etc/passwd").await, Err(Error::Refused(_))));
        assert!(matches!(machine.update().await.confirm("test").await, Err(Error::Refused(_))));

        machine.update().await.check("two.update", "test").await.expect("it begins");
        assert_eq!(machine.ended(PATIENCE).await.job.map(|job| job.state).as_deref(), Some("done"));
        install(&machine, "two.update").await.expect("it begins");
        let status = machine.ended(PATIENCE).await;
        assert_eq!(status.other.map(|other| other.state).as_deref(), Some("ready"), "{:?}", status.job);
        assert_eq!(machine.next_start(), "1", "nothing starts it unasked");

        machine.update().await.restart("test").await.expect("there is one");
        machine.restarted().await;
        let status = machine.status().await;
        assert_eq!((status.running.as_str(), status.on_trial), ("2", true));
        assert!(
            matches!(install(&machine, "two.update").await, Err(Error::Refused(_))),
            "on trial nothing is written"
        );
        let status = machine.proved(PATIENCE).await;
        assert_eq!(status.last.map(|last| (last.version, last.outcome)), Some(("2".into(), "good".into())));
        assert_eq!(machine.next_start(), "2");

        machine.update().await.back("test").await.expect("there is one");
        machine.restarted().await;
        let status = machine.status().await;
        assert_eq!((status.running.as_str(), status.on_trial), ("1", true));
        machine.update().await.confirm("test").await.expect("on trial");
        assert_eq!(machine.next_start(), "1");
    });
}

/// In: a version that cannot start. Out: three tries, the old one is back and says so, and takes the next update.
#[test]
fn a_version_that_cannot_start_leaves_the_old_one() {
    if !may_run() {
        return;
    }
    run(async {
        let works = Works::new();
        let one = works.release("1", 10);
        let mut machine = Machine::flashed(&works, &one, "a", true).await;
        let two = works.release("2", 20);
        machine.stick(&[("two.update", &two.file())]);
        machine.broken.insert("2".into());
        install(&machine, "two.update").await.expect("it begins");
        machine.ended(PATIENCE).await;
        machine.update().await.restart("test").await.expect("there is one");
        machine.restarted().await;
        let status = machine.status().await;
        assert_eq!((status.running.as_str(), status.on_trial), ("1", false));
        assert_eq!(status.last.map(|last| last.outcome).as_deref(), Some("not-started"));
        assert_eq!(status.other.map(|other| other.state).as_deref(), Some("failed"));
        install(&machine, "two.update").await.expect("it begins");
        assert_eq!(machine.ended(PATIENCE).await.job.map(|job| job.state).as_deref(), Some("done"));
    });
}

/// A pair, one of them active.
async fn pair(works: &Works, one: &Release, here_is_active: bool) -> [Machine; 2] {
    let here = Machine::flashed(works, one, "here", here_is_active).await;
    let there = Machine::flashed(works, one, "there", !here_is_active).await;
    around::join(&here.around, &there.around);
    [here, there]
}

/// Lets both machines restart as they want, until the plan has ended.
async fn until_the_end(here: &mut Machine, there: &mut Machine) -> UpdateStatus {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for machine in [&mut *here, &mut *there] {
            if machine.wants_restart() {
                assert!(!machine.around.is_active(), "the active node restarts");
                machine.restarted().await;
            }
        }
        let status = here.status().await;
        if status.pair.as_ref().is_some_and(|pair| pair.state != "going") {
            return status;
        }
    }
}

/// In: one command, on the active node, and on the standby. Out: both nodes run the version, the standby was first, neither was
/// restarted while active, and the file crossed over the peer channel out of a slot.
#[test]
fn a_pair_is_updated_by_one_command() {
    if !may_run() {
        return;
    }
    for here_is_active in [true, false] {
        run(async {
            let works = Works::new();
            let (one, two) = (works.release("1", 10), works.release("2", 20));
            let [mut here, mut there] = pair(&works, &one, here_is_active).await;
            here.stick(&[("two.update", &two.file())]);
            here.update().await.pair("two.update", "test").await.expect("it begins");
            let status = until_the_end(&mut here, &mut there).await;
            assert_eq!(status.pair.map(|pair| (pair.state, pair.why)), Some(("done".into(), None)));
            for machine in [&here, &there] {
                let status = machine.status().await;
                assert_eq!((status.running.as_str(), status.on_trial), ("2", false));
            }
            // Whoever was standby was first, so the role has moved to it.
            assert_eq!(here.around.is_active(), !here_is_active);
        });
    }
}

/// In: a version that cannot start, for a pair. Out: the plan stops with the first node, and the active one was never touched.
#[test]
fn a_pair_stops_where_the_first_node_comes_back() {
    if !may_run() {
        return;
    }
    run(async {
        let works = Works::new();
        let (one, two) = (works.release("1", 10), works.release("2", 20));
        let [mut here, mut there] = pair(&works, &one, true).await;
        there.broken.insert("2".into());
        here.stick(&[("two.update", &two.file())]);
        here.update().await.pair("two.update", "test").await.expect("it begins");
        let pair = until_the_end(&mut here, &mut there).await.pair.expect("a plan");
        assert_eq!(
            (pair.state.as_str(), pair.node.as_str(), pair.phase.as_str()),
            ("stopped", "there", "restart")
        );
        assert!(here.around.is_active() && here.restarts == 0);
        assert_eq!((here.status().await.running, there.status().await.running), ("1".into(), "1".into()));
    });
}
