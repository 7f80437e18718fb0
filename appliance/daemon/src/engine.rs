//! Acting: brings the kernel to what a plan asks for, or back.
//!
//! ```text
//! observe ─diff─▶ steps ─journal─▶ step by step ─▶ doom forbidden connections ─▶ ruleset (one transaction)
//!                                       │ refused                                    │ refused
//!                                       └──────────────── undo, backwards ◀──────────┘
//!                                                                   ─▶ observe again ─▶ cut what is forbidden
//! ```
//!
//! The ruleset comes last because it is the one step that is atomic: before it the old policy holds, after it
//! the new one. Only a node that has no policy at all gets it first, so that it never forwards without one.

use std::collections::{BTreeMap, BTreeSet};

use rempart_config::Model;
use rempart_plan::net::{Missing, Step, diff, missing};
use rempart_plan::nft::{Base, Names, Origin, Ruleset, Script, Scripts, TABLE};
use rempart_plan::{Facts, Ids, Plan, compile};
use rempart_system::conntrack::{Connection, Conntrack, ConntrackError};
use rempart_system::links::{Links, LinksError};
use rempart_system::nft::{Nft, NftError, NftFault, Objects};
use tracing::{info, warn};

use crate::judge::{Judge, Judgement};
use crate::store::{Journal, Store, StoreError};

/// Why an apply failed. The kernel is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The network could not be read.
    #[error("cannot read the network: {0}")]
    Observe(#[source] LinksError),
    /// A step was refused.
    #[error("{0}; everything done before it was taken back")]
    Step(#[source] LinksError),
    /// The kernel refused the ruleset.
    #[error("the kernel refused the policy{of}: {source}; the old policy is in force")]
    Ruleset {
        /// Which part of the document, where it can be told.
        of: String,
        /// What nft said.
        source: NftError,
    },
    /// What was read back is not what was written.
    #[error("the network is not as it was set: {0} is still to be done; everything was taken back")]
    Verify(String),
    /// The journal could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an apply did.
#[derive(Debug, Default)]
pub struct Applied {
    /// What was changed, a line each.
    pub steps: Vec<String>,
    /// What the node lacks.
    pub missing: Vec<Missing>,
    /// Connections that were ended because the policy forbids them now.
    pub cut: u32,
}

/// Everything that a plan was made from, for judging connections and naming faults.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its model.
    pub model: &'a Model,
    /// Its facts.
    pub facts: &'a Facts,
    /// The flow numbers.
    pub ids: &'a Ids,
}

/// Whether an apply may go on without its undo journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Journalling {
    /// A new revision: what cannot be noted is not begun.
    Required,
    /// Back to a revision, or on with it: a full disk is no reason to stay in the wrong place.
    IfPossible,
}

/// The hands of the daemon.
#[derive(Debug)]
pub struct Engine {
    links: Links,
    nft: Nft,
    conntrack: Conntrack,
    /// The ruleset that the kernel holds, as far as this process knows.
    applied: Option<Ruleset>,
    /// How often this process has made the table anew, with what others put into it gone.
    tables: u64,
    /// Connections that a person has ended, and how many packets they had when last looked at.
    killed: BTreeMap<u32, u64>,
}

impl Engine {
    /// Takes hold of the kernel.
    pub fn new(links: Links, nft: Nft, conntrack: Conntrack) -> Self {
        Self { links, nft, conntrack, applied: None, tables: 0, killed: BTreeMap::new() }
    }

    /// Takes back what a crash left half done.
    pub async fn recover(&mut self, store: &Store) -> Result<(), StoreError> {
        if let Err(error) = self.nft.settle().await {
            warn!(%error, "an nft of before is still at work");
        }
        if let Some(journal) = store.journal()? {
            info!(steps = journal.steps.len(), "an apply was interrupted: taking it back");
            self.undo(&journal.steps).await;
            store.set_journal(None)?;
        }
        Ok(())
    }

    /// Brings the kernel to the plan. On an error it is as before.
    pub async fn apply(
        &mut self,
        subject: Subject<'_>,
        store: &Store,
        journalling: Journalling,
    ) -> Result<Applied, ApplyError> {
        let network = &subject.plan.network;
        let observed = self.links.observe(network).await.map_err(ApplyError::Observe)?;
        let steps = diff(network, &observed);
        let mut out = Applied { missing: missing(network, &observed), ..Applied::default() };

        let objects = match self.applied {
            Some(_) => None,
            None => self.nft.objects(TABLE).await.map_err(|e| ruleset_error(subject, None, e))?,
        };
        let names = objects.map(names_of);
        if let Some(names) = names.as_ref().filter(|n| n.chains.contains(&subject.plan.ruleset.stamp())) {
            // A restart of the daemon: the kernel holds this very ruleset. Leave it alone, but for what a change
            // that was cut short may have left beside it.
            self.applied = Some(subject.plan.ruleset.clone());
            if let Some(script) = subject.plan.ruleset.clear_up(names)
                && let Err(error) = self.nft.apply(&script.text).await
            {
                warn!(%error, "what an earlier change left in the table cannot be removed");
            }
        }
        let first = self.applied.is_none() && names.is_none();
        let begun = self.applied.is_some();
        if first {
            self.write_ruleset(subject, Base::Nothing).await?;
            out.steps.push("install the policy".into());
        }
        if let Err(error) = self.take_steps(&steps, store, journalling, &mut out).await {
            if first {
                self.remove_table().await;
            }
            return Err(error);
        }
        if !first && self.applied.as_ref() != Some(&subject.plan.ruleset) {
            let doomed = self.doom(subject).await;
            let old = self.applied.take();
            let base = match (&old, &names) {
                (Some(old), _) => Base::Ruleset(old),
                (None, Some(names)) => Base::Names(names),
                (None, None) => Base::Nothing,
            };
            if let Err(error) = self.write_ruleset(subject, base).await {
                // What was prepared for the change may be left: the next apply looks first.
                self.pardon(&doomed).await;
                self.undo(&steps).await;
                close_journal(store);
                return Err(error);
            }
            out.steps.push("replace the policy".into());
        }
        self.verify(subject, &steps, store).await?;
        close_journal(store);
        // A look at the network that found nothing to do leaves the connections alone: there may be many.
        if !out.steps.is_empty() || !begun {
            out.cut = self.settle(subject).await;
        }
        Ok(out)
    }

    /// How often this process has made the table anew: whoever fills sets of it has to fill them again.
    pub fn tables(&self) -> u64 {
        self.tables
    }

    /// Whether the table that this process wrote is gone. The next apply then writes all of it.
    pub async fn notices_loss(&mut self) -> bool {
        let gone = self.applied.is_some() && matches!(self.nft.comment(TABLE).await, Ok(None));
        if gone {
            self.applied = None;
        }
        gone
    }

    /// Whether the kernel has the table of the policy.
    pub async fn holds_policy(&self) -> bool {
        matches!(self.nft.comment(TABLE).await, Ok(Some(_)))
    }

    /// Does the steps, each in the journal before it is begun.
    async fn take_steps(
        &mut self,
        steps: &[Step],
        store: &Store,
        journalling: Journalling,
        out: &mut Applied,
    ) -> Result<(), ApplyError> {
        if steps.is_empty() {
            return Ok(());
        }
        // The whole list goes to disk at once: taking back a step that was never done changes nothing.
        match (store.set_journal(Some(&Journal { steps: steps.to_vec() })), journalling) {
            (Ok(()), _) => {}
            (Err(error), Journalling::Required) => return Err(error.into()),
            (Err(error), Journalling::IfPossible) => warn!(%error, "going on without a journal"),
        }
        for (position, step) in steps.iter().enumerate() {
            if let Err(source) = self.links.apply(step).await {
                self.undo(&steps[..position]).await;
                close_journal(store);
                return Err(ApplyError::Step(source));
            }
            out.steps.push(step.to_string());
        }
        Ok(())
    }

    async fn undo(&mut self, steps: &[Step]) {
        for undo in steps.iter().rev().filter_map(Step::undo) {
            if let Err(error) = self.links.apply(&undo).await {
                warn!(step = %undo, %error, "cannot take a step back");
            }
        }
    }

    async fn verify(
        &mut self,
        subject: Subject<'_>,
        steps: &[Step],
        store: &Store,
    ) -> Result<(), ApplyError> {
        let network = &subject.plan.network;
        let observed = self.links.observe(network).await.map_err(ApplyError::Observe)?;
        let Some(left) = diff(network, &observed).into_iter().next() else { return Ok(()) };
        // Devices come and go by themselves; only what this apply set itself must be there.
        if steps.contains(&left) {
            self.undo(steps).await;
            close_journal(store);
            return Err(ApplyError::Verify(left.to_string()));
        }
        info!(step = %left, "the network has changed meanwhile; it is looked at again");
        Ok(())
    }

    /// Brings a ruleset into force. On an error the old one is, and what the kernel holds beside it is looked up
    /// before the next change.
    async fn write_ruleset(&mut self, subject: Subject<'_>, base: Base<'_>) -> Result<(), ApplyError> {
        let ruleset = &subject.plan.ruleset;
        let mut result = self.change_over(ruleset.scripts(base)).await;
        let mut anew = matches!(base, Base::Nothing);
        match base {
            // Somebody else may have changed our table: then the difference does not fit, but the whole does.
            Base::Ruleset(_) if result.is_err() => {
                if let Ok(Some(o)) = self.nft.objects(TABLE).await {
                    result = self.change_over(ruleset.scripts(Base::Names(&names_of(o)))).await;
                }
            }
            // Another version of the product may have made it otherwise: at the price of the counters, all anew.
            Base::Names(_) if result.is_err() => {
                result = self.change_over(ruleset.replacement()).await;
                anew = true;
            }
            Base::Ruleset(_) | Base::Names(_) | Base::Nothing => {}
        }
        if let Err((script, error)) = result {
            // One that was stopped may have done its work: the stamp came with it.
            let done = self.nft.objects(TABLE).await;
            if !done.is_ok_and(|o| o.is_some_and(|o| o.chains.contains(&ruleset.stamp()))) {
                return Err(ruleset_error(subject, Some(&script), error));
            }
            warn!(%error, "nft did not say so, but the policy is in force");
        }
        self.applied = Some(ruleset.clone());
        self.tables += u64::from(anew);
        Ok(())
    }

    /// Applies the transactions of a change, up to the first that fails.
    async fn change_over(&mut self, scripts: Scripts) -> Result<(), (Script, NftError)> {
        for (position, script) in scripts.list.into_iter().enumerate() {
            match self.nft.apply(&script.text).await {
                Ok(()) => {}
                Err(error) if position > scripts.change => {
                    warn!(%error, "the policy is in force, but what it replaced cannot be removed");
                }
                Err(error) => return Err((script, error)),
            }
        }
        Ok(())
    }

    async fn remove_table(&mut self) {
        self.applied = None;
        if let Err(error) = self.nft.apply(&format!("delete table inet {TABLE}\n")).await {
            warn!(%error, "cannot remove the table again");
        }
    }

    /// Marks the connections that the new policy forbids, so that it drops them from its first packet on.
    async fn doom(&mut self, subject: Subject<'_>) -> Vec<Connection> {
        let mut doomed = Vec::new();
        let judge = Judge::new(subject);
        for connection in self.list().await {
            if judge.judge(&connection) == Judgement::Forbidden {
                let marked =
                    self.conntrack.set_mark(&connection, compile::MARK_DOOMED, compile::MARK_DOOMED).await;
                match marked {
                    Ok(true) => doomed.push(connection),
                    Ok(false) => {}
                    Err(error) => warn!(%error, "cannot mark a connection"),
                }
            }
        }
        doomed
    }

    async fn pardon(&mut self, doomed: &[Connection]) {
        for connection in doomed {
            if let Err(error) = self.conntrack.set_mark(connection, 0, compile::MARK_DOOMED).await {
                warn!(%error, "cannot unmark a connection");
            }
        }
    }

    /// Ends the connections that the policy in force forbids, and gives the others the number of the flow that
    /// admits them now.
    async fn settle(&mut self, subject: Subject<'_>) -> u32 {
        let mut forbidden = Vec::new();
        let judge = Judge::new(subject);
        for connection in self.list().await {
            match judge.judge(&connection) {
                Judgement::Forbidden => forbidden.push(connection),
                Judgement::Admitted(_) if is_killed(&connection) => {
                    self.killed.entry(connection.id).or_insert_with(|| packets(&connection));
                }
                Judgement::Admitted(mark) if mark != connection.mark => {
                    if let Err(error) = self.conntrack.set_mark(&connection, mark, u32::MAX).await {
                        warn!(%error, "cannot renumber a connection");
                    }
                }
                Judgement::Admitted(_) | Judgement::Untouched => {}
            }
        }
        match self.conntrack.delete_all(&forbidden).await {
            Ok(cut) => cut as u32,
            Err(error) => {
                warn!(%error, "cannot end the connections that the policy forbids; it drops their packets");
                0
            }
        }
    }

    /// The tracked connections; none when they cannot be read, which is logged.
    pub async fn list(&mut self) -> Vec<Connection> {
        match self.conntrack.list().await {
            Ok(list) => list,
            Err(error) => {
                warn!(%error, "the connections cannot be read");
                Vec::new()
            }
        }
    }

    /// Ends connections; returns how many there were. They stay in the table, marked, until both ends have fallen
    /// silent: forgotten at once, a TCP connection would be taken up again in its middle by its next packet, which
    /// the policy still allows (`nf_conntrack_tcp_loose`).
    pub async fn kill(&mut self, ids: &BTreeSet<u32>) -> Result<u32, ConntrackError> {
        let all = self.conntrack.list().await?;
        let mut count = 0;
        for connection in all.iter().filter(|c| ids.contains(&c.id) && !is_killed(c)) {
            let mark = compile::MARK_DOOMED | compile::MARK_KILLED;
            if self.conntrack.set_mark(connection, mark, mark).await? {
                self.killed.insert(connection.id, packets(connection));
                count += 1;
            }
        }
        Ok(count)
    }

    /// Forgets the killed connections that had no packet since the last call.
    pub async fn bury(&mut self) {
        if self.killed.is_empty() {
            return;
        }
        let all = self.list().await;
        let (silent, speaking): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(is_killed)
            .partition(|c| self.killed.get(&c.id).is_some_and(|before| *before == packets(c)));
        self.killed = speaking.iter().map(|c| (c.id, packets(c))).collect();
        if let Err(error) = self.conntrack.delete_all(&silent).await {
            warn!(%error, "killed connections cannot be forgotten; their packets are dropped");
        }
    }

    /// The connection table.
    pub fn conntrack(&mut self) -> &mut Conntrack {
        &mut self.conntrack
    }

    /// The program nft.
    pub fn nft(&self) -> &Nft {
        &self.nft
    }

    /// The links.
    pub fn links(&self) -> &Links {
        &self.links
    }
}

/// Whether a person has ended this connection.
pub fn is_killed(connection: &Connection) -> bool {
    connection.mark & compile::MARK_KILLED != 0
}

fn packets(connection: &Connection) -> u64 {
    [connection.sent, connection.received].into_iter().flatten().map(|t| t.packets).sum()
}

/// Forgets the journal of an apply that has ended. One that stays is undone at the next start, after which the
/// revision in force is brought about again: nothing is lost but time.
fn close_journal(store: &Store) {
    if let Err(error) = store.set_journal(None) {
        warn!(%error, "the journal of an apply that has ended cannot be removed");
    }
}

fn names_of(objects: Objects) -> Names {
    let Objects { chains, maps, sets, counters, helpers, comment: _, limits: _, flowtables: _ } = objects;
    Names { chains, maps, sets, counters, helpers }
}

fn ruleset_error(subject: Subject<'_>, script: Option<&Script>, source: NftError) -> ApplyError {
    let origin = script.and_then(|s| faults_of(&source).iter().find_map(|f| s.origin(f.line? as usize)));
    let model = subject.model;
    let of = match origin {
        Some(Origin::Flow(index)) => {
            let flow = &model.flows[index];
            format!(" because of {} (line {})", flow.label, flow.line)
        }
        Some(Origin::SourceNat(index)) => {
            let rule = &model.nat.source[index];
            format!(" because of {} (line {})", rule.label, rule.line)
        }
        Some(Origin::OneToOne(index)) => {
            format!(" because of the one-to-one translation at line {}", model.nat.one_to_one[index].line)
        }
        Some(Origin::Frame) | None => String::new(),
    };
    ApplyError::Ruleset { of, source }
}

fn faults_of(error: &NftError) -> &[NftFault] {
    match error {
        NftError::Refused { faults, .. } => faults,
        NftError::Start { .. }
        | NftError::Pipe(_)
        | NftError::Timeout(_)
        | NftError::TooLong(_)
        | NftError::Json(_)
        | NftError::Table { .. } => &[],
    }
}
