//! Repair: what to do when the fault is our own disk's.
//!
//! The state is a function of the blocks, and its tree a function of its leaves, so both can be made anew: first the tree
//! from the leaves, which is quick and suffices where only pages rotted; else everything from the genesis state, by
//! connecting the blocks on disk again. A block whose body rotted ends that chain until the body is had again.

use drystone_core::state::{Leaf, StateKey, StateView, history_root};

use super::chain::Submission;
use super::message::{ChainEvent, Output};
use super::verdict::Refusal;
use super::{Engine, Fault, Remedy};
use crate::store::{Snapshot, StoreError};

/// Whether the history range gives the root that the state after block `height` carries.
pub(super) fn is_history_whole(snapshot: &Snapshot, height: u64) -> Result<bool, StoreError> {
    let committed = snapshot.leaf(&StateKey::history())?;
    let computed = Leaf::History(history_root(snapshot, height)?);
    Ok(committed == (height > 0).then_some(computed))
}

impl Engine {
    /// Starts to make anew what rotted. A fault that a new tree did not mend asks for the whole state anew; one during that
    /// is fatal: this disk cannot be trusted to hold anything.
    pub(super) fn repair(&mut self, reason: String, remedy: Remedy) -> Result<(), StoreError> {
        let remedy = match self.repairing {
            None => remedy,
            Some(Remedy::Tree) => Remedy::Replay,
            Some(Remedy::Replay) => return Err(StoreError::Damaged(format!("found during repair: {reason}"))),
        };
        self.repairing = Some(remedy);
        self.update = None;
        if let Some(Submission { origin, .. }) = self.submission.take() {
            self.refuse(origin, Refusal::Ours(reason.clone()));
        }
        self.outputs.push(Output::Event(ChainEvent::RepairStarted { reason }));
        self.guard(|engine| engine.make_anew(remedy))
    }

    fn make_anew(&mut self, remedy: Remedy) -> Result<(), Fault> {
        if remedy == Remedy::Replay || !self.rebuild_tree()? {
            self.repairing = Some(Remedy::Replay);
            self.return_to_genesis()?;
        }
        self.net.window.forget_path();
        self.find_branches()?;
        self.choose_chain()
    }

    /// Writes the tree's pages anew from the leaves; false where that does not make the state whole.
    fn rebuild_tree(&mut self) -> Result<bool, Fault> {
        let root = match self.store.rebuild_pages() {
            Err(StoreError::Rotten(_)) => return Ok(false),
            root => root?,
        };
        self.refresh_snapshot()?;
        Ok(root == self.tip.header.state_root && is_history_whole(&self.snapshot, self.tip.height)?)
    }

    /// Goes back to the genesis state, from which fork choice walks up again.
    fn return_to_genesis(&mut self) -> Result<(), Fault> {
        self.store.reset_state(&self.params)?;
        self.refresh_snapshot()?;
        self.tip = self.snapshot.tip()?;
        Ok(())
    }

    /// Tells that a repair, if one was under way, has ended.
    pub(super) fn end_repair(&mut self) {
        if self.repairing.take().is_some() {
            let event = ChainEvent::RepairEnded { height: self.tip.height, work: self.tip.work };
            self.outputs.push(Output::Event(event));
        }
    }
}
