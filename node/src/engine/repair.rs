//! Repair: what to do when the fault is our own disk's.
//!
//! The state is a function of the blocks, and its tree a function of its leaves, so both can be made anew: first the tree
//! from the leaves, which is quick and suffices where only pages rotted; else everything from the genesis state, by
//! connecting the blocks on disk again. A block whose body rotted ends that chain until the body is had again.
//!
//! What a scrub finds before anything needs it is mended in place where it can be: a body of the main chain is asked of a
//! peer while the chain goes on above it, index entries are written again. On a scrub's word the state is made anew from the
//! blocks only if the scrub has read all of them: a node that works is not taken back to where a body is missing.

use drystone_core::block::Body;
use drystone_core::hash::BlockHash;
use drystone_core::state::{Leaf, StateKey, StateView, history_root};

use super::chain::Submission;
use super::index::Index;
use super::limits::{BODIES_MS, WAITING_INPUTS};
use super::message::{ChainEvent, Output, PeerId};
use super::session::Purpose;
use super::verdict::{Offence, Refusal};
use super::wire::Request;
use super::{Engine, Fault, Remedy, Waiting};
use crate::store::{Damage, Snapshot, StoreError};

/// Whether the history range gives the root that the state after block `height` carries.
pub(super) fn is_history_whole(snapshot: &Snapshot, height: u64) -> Result<bool, StoreError> {
    let committed = snapshot.leaf(&StateKey::history())?;
    let computed = Leaf::History(history_root(snapshot, height)?);
    Ok(committed == (height > 0).then_some(computed))
}

/// Whether it is what a repair of the state makes anew.
fn is_of_state(damage: &Damage) -> bool {
    matches!(damage, Damage::State(_) | Damage::Undo { .. })
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
        // This repair mends them as well.
        self.waiting.retain(|waiting| !matches!(waiting, Waiting::Damage { damage, .. } if is_of_state(damage)));
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

    /// Writes the tree's pages anew from the leaves, and the history range from the headers; false where that does not make
    /// the state whole.
    fn rebuild_tree(&mut self) -> Result<bool, Fault> {
        let required = self.tip.header.state_root;
        let rebuilt = self.store.rebuild_history().and_then(|()| self.store.rebuild_pages(&required));
        self.refresh_snapshot()?;
        let root = match rebuilt {
            Err(StoreError::Rotten(_)) => return Ok(false),
            root => root?,
        };
        Ok(root == required && is_history_whole(&self.snapshot, self.tip.height)?)
    }

    /// Goes back to the genesis state, from which fork choice walks up again.
    fn return_to_genesis(&mut self) -> Result<(), Fault> {
        // On the way up payments have nonces and amounts that no account has reached yet.
        self.put_mempool_away()?;
        self.store.reset_state(&self.params)?;
        self.refresh_snapshot()?;
        self.tip = self.snapshot.tip()?;
        // Headers that rotted were forgotten, with all that stood on them.
        self.index = Index::new(self.snapshot.tips().collect::<Result<Vec<_>, _>>()?);
        self.net.window.clear_path();
        Ok(())
    }

    /// Takes note of damage that was found on disk; it is mended once nothing else writes. What finds no room is found again.
    pub(super) fn note_damage(&mut self, damage: Damage, all_bodies: bool) {
        let is_being_mended = self.repairing.is_some() && is_of_state(&damage);
        if !is_being_mended && self.waiting.len() < WAITING_INPUTS {
            self.waiting.push_back(Waiting::Damage { damage, all_bodies });
        }
    }

    /// Mends damage, or starts the repair that does.
    pub(super) fn mend(&mut self, damage: Damage, all_bodies: bool) -> Result<(), Fault> {
        match damage {
            // What is being made anew is not worth a look.
            _ if self.repairing.is_some() => Ok(()),
            Damage::State(reason) if all_bodies => Err(Fault::state(reason)),
            // The leaves may be sound. If not, nothing has changed, and whoever found it tells again.
            Damage::State(_) => self.rebuild_tree().map(drop),
            // Another repair may have been there first.
            Damage::Undo { hash, .. } if all_bodies && !matches!(self.snapshot.undo(&hash), Ok(Some(_))) => {
                Err(Fault::Rotten { reason: damage.to_string(), remedy: Remedy::Replay })
            }
            Damage::Undo { .. } => Ok(()),
            Damage::Body { height, hash } => self.mend_body(height, hash),
            Damage::Index { height, hash } => self.mend_index(height, hash),
            // Whoever found it has told.
            Damage::Foundation(_) => Ok(()),
        }
    }

    /// Forgets a body of the main chain that rotted, and asks a peer for it. Who found it asks again if nothing comes.
    fn mend_body(&mut self, height: u64, hash: BlockHash) -> Result<(), Fault> {
        if self.snapshot.main_hash(height)? != Some(hash) {
            return Ok(());
        }
        match self.snapshot.body(&hash) {
            Ok(Some(_)) => return Ok(()),
            Ok(None) => {}
            Err(StoreError::Rotten(_)) => {
                let mut update = self.store.begin()?;
                update.remove_body(height, &hash)?;
                update.commit()?;
                self.refresh_snapshot()?;
                self.outputs.push(Output::Event(ChainEvent::BodyLost { height, hash }));
            }
            Err(error) => return Err(error.into()),
        }
        if height == 0 {
            return self.restore_body(hash, &self.params.genesis_block().body);
        }
        if let Some(peer) = self.net.draw(|_, peer| peer.holds(height)) {
            self.ask(peer, Request::Bodies(vec![hash]), Purpose::LostBody(hash), BODIES_MS);
        }
        Ok(())
    }

    /// A peer answered for a lost body.
    pub(super) fn take_lost_body(&mut self, peer: PeerId, hash: BlockHash, body: Option<Body>) -> Result<(), Fault> {
        let (Some(body), Some(record)) = (body, self.index.get(&self.snapshot, &hash)?) else { return Ok(()) };
        if body.tx_root() != record.header.tx_root {
            self.penalise(peer, Offence::WrongBody);
            return Ok(());
        }
        self.was_useful(&peer);
        if self.waiting.len() < WAITING_INPUTS {
            self.waiting.push_back(Waiting::LostBody(hash, Box::new(body)));
        }
        Ok(())
    }

    /// Puts a lost body back, whose root was checked. The block was connected with it, so there is nothing else to check.
    pub(super) fn restore_body(&mut self, hash: BlockHash, body: &Body) -> Result<(), Fault> {
        // A repair may have forgotten the header.
        let Some(record) = self.index.get(&self.snapshot, &hash)? else { return Ok(()) };
        // Two peers may have been asked.
        if self.snapshot.has_body(&hash)? {
            return Ok(());
        }
        let mut update = self.store.begin()?;
        update.put_body(record.height, &hash, body)?;
        update.commit()?;
        self.refresh_snapshot()?;
        self.outputs.push(Output::Event(ChainEvent::BodyRestored { height: record.height, hash }));
        Ok(())
    }

    /// Writes a block's index entries again.
    fn mend_index(&mut self, height: u64, hash: BlockHash) -> Result<(), Fault> {
        if self.snapshot.main_hash(height)? == Some(hash)
            && let Some(body) = self.snapshot.body(&hash)?
        {
            let mut update = self.store.begin()?;
            update.restore_index(height, &body)?;
            update.commit()?;
            self.refresh_snapshot()?;
        }
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
