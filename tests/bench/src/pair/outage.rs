//! A fault of the active node while everything flows through it, and the repair after it.

use std::thread;
use std::time::Duration;

use rempart_kernel_tests::node::Failure;
use rempart_lab::traffic::{Outage, Streams};

use super::side::{Fault, LAN, Pair, ROUTERS, WAN};

/// How long everything flows before the fault.
const BEFORE: Duration = Duration::from_millis(700);

/// Makes the fault happen to the active node while everything runs, and says what it cost after `after` of it. The pair is as
/// good as new then.
pub fn measure(pair: &mut Pair, fault: Fault, after: Duration) -> Result<Outage, Failure> {
    let active = pair.active()?;
    let streams = Streams::start(&pair.lab, LAN.into(), WAN.into())?;
    thread::sleep(BEFORE);
    match fault {
        Fault::PowerCut => pair.power_off(active)?,
        Fault::Cable => pair.lab.cut(ROUTERS[active], "lan")?,
        Fault::Kill => pair.kill_elector(active)?,
        Fault::Planned => pair.hand_over()?,
    }
    thread::sleep(after);
    let outage = streams.stop()?;
    pair.recover(active, fault)?;
    Ok(outage)
}
