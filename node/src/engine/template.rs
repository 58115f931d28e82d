//! Block templates: the best block that the mempool allows on a given tip.

use std::sync::Arc;

use drystone_core::amount::Amount;
use drystone_core::block::{Body, EMPTY_BLOCK_BYTES, Header};
use drystone_core::difficulty::next_bits;
use drystone_core::hash::StateRoot;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::state::{self, PagePath, StateKey, Undo};
use drystone_core::validation::{CheckedTransaction, Executor, HeaderContext, Parent};

use super::repair::is_history_whole;
use crate::store::{Record, Snapshot, StoreError};

/// Everything that a template is made of, taken at one moment; building is work for any thread.
pub struct TemplateParts {
    /// The tip.
    pub parent: Parent,
    /// The state root that its header carries.
    pub state_root: StateRoot,
    /// What the header rules say of its child.
    pub context: HeaderContext,
    /// The state after the tip.
    pub snapshot: Arc<Snapshot>,
    /// Transactions, best score first; each account's in order of nonce.
    pub candidates: Vec<CheckedTransaction>,
}

/// A block that lacks nothing but work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// The header, with a nonce of zero.
    pub header: Header,
    /// The block's height.
    pub height: u64,
    /// Who is rewarded.
    pub reward_to: AccountId,
    /// The transactions.
    pub transactions: Vec<CheckedTransaction>,
    /// What they pay.
    pub fees: Amount,
}

impl TemplateParts {
    /// Executes the candidates in order, leaves out what the state refuses or the block has no room for, and commits to
    /// the rest. `now` is the Unix time in milliseconds; the header's time is later than its parent's in any case.
    pub fn build(&self, params: &ChainParams, reward_to: AccountId, now: u64) -> Result<Template, StoreError> {
        let room = params.max_block_bytes as usize - EMPTY_BLOCK_BYTES;
        let mut executor = Executor::new(&*self.snapshot, &self.parent, params);
        let mut used = 0;
        let mut transactions = Vec::new();
        for candidate in &self.candidates {
            let bytes = candidate.transaction().encoded_len();
            if used + bytes <= room && executor.apply(candidate.transaction())?.is_ok() {
                used += bytes;
                transactions.push(candidate.clone());
            }
        }
        let executed = executor.finish(&reward_to)?;
        self.check_state(&executed.undo)?;
        let plain = transactions.iter().map(|checked| checked.transaction().clone()).collect();
        let height = self.parent.height + 1;
        let header = Header {
            version: params.rules_at(height).header_version,
            prev_hash: self.parent.hash,
            state_root: executed.state_root,
            tx_root: Body { reward_to, transactions: plain }.tx_root(),
            time: now.max(self.context.parent.time + 1),
            bits: next_bits(params, &self.context.parent),
            nonce: 0,
        };
        Ok(Template { header, height, reward_to, transactions, fees: executed.fees })
    }

    /// The old values of all that the block changes give the tip's own state root, and its history is whole. Somebody else's
    /// block shows rot by its root; one of our own would take the rot over, and nobody else would accept it.
    fn check_state(&self, undo: &Undo) -> Result<(), StoreError> {
        let before = state::update(&*self.snapshot, &undo.leaves.iter().copied().collect())?.root;
        if before != self.state_root {
            return Err(StoreError::Rotten(Record::Page(PagePath::ROOT)));
        }
        if !is_history_whole(&self.snapshot, self.parent.height)? {
            return Err(StoreError::Rotten(Record::Leaf(StateKey::history())));
        }
        Ok(())
    }
}
