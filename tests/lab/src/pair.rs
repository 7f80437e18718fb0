//! Two routers that become one firewall: paired by the code that one shows and the other types.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{Lab, Node, wait_until};

/// How long the two may take to exchange keys, and to have the same connections and the same document afterwards.
const PAIRING_TIMEOUT: Duration = Duration::from_secs(20);
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

impl Lab {
    /// Pairs two nodes, of which the first has the document, and waits until the second is its synchronised standby.
    pub fn pair(&self, first: &Node, second: &Node) -> Result<()> {
        // A box without a document has its cables in and its links up.
        let legs = self.record().cables.iter().filter(|c| c.host == second.name());
        let lines: String = legs.map(|c| format!("link set {} up\n", c.device)).collect();
        second.host().ip(&lines)?;
        let offer = first.pair_offer()?;
        second.pair_join(&offer.code, "").context("joining")?;
        for node in [first, second] {
            let paired = || node.pairing().is_ok_and(|p| p.state == "paired");
            if !wait_until(PAIRING_TIMEOUT, paired) {
                bail!("{} is not paired: {:?}", node.name(), node.pairing());
            }
        }
        self.wait_for_sync(first, second)
    }

    /// Waits until one of two nodes is active, the other its standby, and both have the same document and the same connections.
    pub fn wait_for_sync(&self, first: &Node, second: &Node) -> Result<()> {
        for (node, other) in [(first, second), (second, first)] {
            node.wait_for_ha("in step with the other node", SYNC_TIMEOUT, |status| {
                let roles = [status.role.as_str(), status.other.as_ref().map_or("", |o| o.role.as_str())];
                let both = roles == ["active", "standby"] || roles == ["standby", "active"];
                let journal = status.journal.state == "live" && status.journal.synced.is_some();
                both && journal && status.configuration.state == "same"
            })
            .with_context(|| format!("{} beside {}", node.name(), other.name()))?;
        }
        Ok(())
    }
}
