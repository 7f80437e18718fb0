//! The process that decides about a version on trial.
//!
//! It is started at every start of the box and has nothing to do on most. It needs no other program: where the bus does not
//! come up, that is an answer as well.

use std::io;
use std::time::Duration;

use rempart_update::probation::{Probation, Snapshot, Verdict};
use tokio::time::{Instant, interval, timeout};
use tracing::{error, info, warn};
use zbus::Connection;

use crate::Place;
use crate::look;
use crate::own::Own;
use crate::records::Records;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(5);
/// How long the bus may take.
const BUS: Duration = Duration::from_secs(5);

/// Decides; `false` where the box is to start again, with the version of before.
pub async fn decide(place: &Place) -> anyhow::Result<bool> {
    let own = Own::read(place)?;
    if !own.is_on_trial()? {
        return Ok(true);
    }
    let records = Records(place.state.clone());
    let version = &own.running.version;
    let begun = records.begun().filter(|begun| begun.version == *version);
    let before = begun.map(|begun| begun.before).unwrap_or_else(|| {
        warn!("how the box was before is not known: only what every box does can be asked for");
        Snapshot::default()
    });
    info!(%version, "a new version is on trial");
    let lacking = match probation(&own, before).await? {
        Verdict::Wait => {
            info!(%version, "somebody has confirmed it");
            return Ok(true);
        }
        Verdict::Good => {
            own.esp().bless(version)?;
            records.decide(version, "good", Vec::new());
            info!(%version, "the new version is good and stays");
            return Ok(true);
        }
        Verdict::Bad(lacking) => lacking.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    match own.esp().give_up(version) {
        Ok(other) => {
            error!(%version, %other, ?lacking, "the new version is not good; going back");
            records.decide(version, "failed", lacking);
            Ok(false)
        }
        // Starting the same again and again helps nobody.
        Err(problem) if own.esp().other(version)?.is_none() => {
            error!(%version, ?lacking, %problem, "the version is not good, and there is no other to go back to");
            records.decide(version, "kept", lacking);
            Ok(true)
        }
        Err(problem) => {
            error!(%version, ?lacking, %problem, "the new version is not good; the boot loader counts its tries");
            Ok(false)
        }
    }
}

/// Looks until it is decided; `Wait` where somebody else has decided.
async fn probation(own: &Own, before: Snapshot) -> io::Result<Verdict> {
    // A box that took long to get here has had its time.
    let begun = Instant::now();
    let mut probation = Probation::new(before, Duration::ZERO);
    let mut ticks = interval(PERIOD);
    let mut bus = None;
    let mut said = Vec::new();
    loop {
        ticks.tick().await;
        if !own.is_on_trial()? {
            return Ok(Verdict::Wait);
        }
        if bus.is_none() {
            bus = timeout(BUS, Connection::system()).await.ok().and_then(Result::ok);
        }
        let snapshot = match &bus {
            Some(bus) => look::snapshot(bus).await,
            None => Snapshot::default(),
        };
        // A bus that was started again is another one.
        if !snapshot.control {
            bus = None;
        }
        let verdict = probation.handle_snapshot(&snapshot, begun.elapsed());
        if probation.lacking() != said {
            said = probation.lacking().to_vec();
            let lacking: Vec<_> = said.iter().map(ToString::to_string).collect();
            info!(?lacking, "the version on trial");
        }
        match verdict {
            Verdict::Wait => {}
            Verdict::Good | Verdict::Bad(_) => return Ok(verdict),
        }
    }
}
