//! The update of the pair: looks at both nodes, asks the plan what is to be done, and does that.

use std::time::Duration;

use rempart_bus::codes::RefusalCode;
use rempart_bus::{Error, Ha1Proxy};
use rempart_update::Version;
use rempart_update::pair::{Order, Plan, Who};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, info};
use zbus::Connection;
use zbus::proxy::CacheProperties;

use crate::partner::{self, Ask};
use crate::service::{Office, unix_now};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(2);

/// Whether both nodes are there, so that one can be updated while the other one serves.
pub async fn possible(office: &Office) -> Result<(), Error> {
    if !office.view().await?.synced {
        return Err(RefusalCode::PeerAway
            .error("the other node is not there, or does not have all that this one has"));
    }
    partner::view(&office.bus()?).await.map_err(|why| RefusalCode::PeerAway.error(why))?;
    Ok(())
}

/// This node has the version in its other slot: from here on it is the plan's.
pub async fn begin(office: &Office, version: Version) {
    // The standby first.
    let first = match office.view().await {
        Ok(view) if view.active => Who::There,
        Ok(_) => Who::Here,
        Err(error) => return error!(%error, "the pair is not updated: this node does not know its role"),
    };
    info!(%version, ?first, "the pair is updated, one node after the other");
    office.keep(Plan::new(version, first, unix_now()));
}

/// Goes on with whatever plan there is; never returns.
pub async fn run(office: Office) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let plan = office.plan().clone().filter(|plan| plan.end().is_none());
        if let Some(plan) = plan
            && let Err(error) = turn(&office, plan).await
        {
            debug!(%error, "the update of the pair");
        }
    }
}

async fn turn(office: &Office, before: Plan) -> Result<(), Error> {
    let bus = office.bus()?;
    let here = office.view().await?;
    let there =
        partner::view(&bus).await.inspect_err(|why| debug!(why, "the other node cannot be asked")).ok();
    let mut plan = before.clone();
    let order = plan.advance(unix_now(), &here, there.as_ref());
    if plan.at() != before.at() || plan.end() != before.end() {
        info!(at = ?plan.at(), end = ?plan.end(), "the update of the pair");
    }
    // A person may have stopped it while the nodes were asked.
    if office.plan().as_ref() != Some(&before) {
        return Ok(());
    }
    // On disk before anything is done: this node may be what restarts.
    if plan != before {
        office.keep(plan.clone());
    }
    let Some(order) = order else { return Ok(()) };
    info!(?order, "the update of the pair");
    if let Err(why) = obey(office, &bus, order, plan.version()).await {
        info!(why, ?order, "not yet");
        plan.handle_refusal(unix_now(), why);
        if plan.end().is_some() {
            office.keep(plan);
        }
    }
    Ok(())
}

async fn obey(office: &Office, bus: &Connection, order: Order, version: &Version) -> Result<(), String> {
    let done = |_: Vec<u8>| ();
    match order {
        // This node had it before the plan began.
        Order::Fetch(Who::Here) => {
            Err("the other slot of this node does not hold the version any more".into())
        }
        Order::Fetch(Who::There) => {
            partner::ask(bus, &Ask::Fetch { version: version.clone() }).await.map(done)
        }
        Order::HandOver(Who::Here) => hand_over(bus).await,
        Order::HandOver(Who::There) => partner::ask(bus, &Ask::HandOver).await.map(done),
        Order::Restart(Who::Here) => office.restart().await.map_err(|e| e.to_string()),
        Order::Restart(Who::There) => partner::ask(bus, &Ask::Restart).await.map(done),
    }
}

/// Gives the role away; nothing of an established connection is lost.
pub async fn hand_over(bus: &Connection) -> Result<(), String> {
    let proxy = Ha1Proxy::builder(bus).cache_properties(CacheProperties::No).build().await;
    proxy.map_err(|e| e.to_string())?.switch().await.map_err(|e| e.to_string())
}
