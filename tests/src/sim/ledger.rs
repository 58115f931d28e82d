//! A verification of its own: every block that any host connected, checked once more from genesis, without engine or store.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use drystone_core::block::{Body, Header};
use drystone_core::difficulty::ParentTimes;
use drystone_core::hash::BlockHash;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::state::{MemoryState, Undo, revert};
use drystone_core::subsidy::subsidies_through;
use drystone_core::validation::{
    BlockContext, ConnectFailure, HeaderContext, Parent, check_block, check_header, check_header_in_context,
    connect_block,
};

use crate::chain::TestChain;

/// A state that was replayed from genesis.
pub(super) struct Replayed<'a> {
    /// The height of its block.
    pub(super) height: u64,
    /// The state.
    pub(super) state: &'a MemoryState,
    /// The chips that were allocated and issued up to it.
    pub(super) issued: u128,
}

/// A block that was verified.
struct Known {
    height: u64,
    header: Header,
    body: Body,
    work: Work,
}

/// All blocks that any host connected, and the state at one of them, which moves along the tree.
pub(super) struct Ledger {
    params: Arc<ChainParams>,
    chain_id: BlockHash,
    blocks: BTreeMap<BlockHash, Known>,
    state: MemoryState,
    /// From genesis to where the state is, with what takes each block back.
    path: Vec<(BlockHash, Undo)>,
}

impl Ledger {
    pub(super) fn new(params: &Arc<ChainParams>) -> Ledger {
        let chain = TestChain::new(params);
        let genesis = params.genesis_block();
        let chain_id = params.chain_id();
        let known = Known { height: 0, header: genesis.header, body: genesis.body, work: chain.tip().work };
        Ledger {
            params: Arc::clone(params),
            chain_id,
            blocks: BTreeMap::from([(chain_id, known)]),
            state: chain.state().clone(),
            path: vec![(chain_id, Undo::default())],
        }
    }

    /// Verifies a block, unless it was verified before.
    pub(super) fn add(&mut self, height: u64, header: Header, body: Body) -> Result<(), String> {
        let hash = header.hash();
        if let Some(known) = self.blocks.get(&hash) {
            let same = known.body == body && known.height == height;
            return if same { Ok(()) } else { Err(format!("block {hash} is not the one that others connected")) };
        }
        self.go_to(&header.prev_hash)?;
        let known = Known { height, header, body, work: Work::ZERO };
        let work = self.connect(&hash, &known)?;
        self.blocks.insert(hash, Known { work, ..known });
        Ok(())
    }

    /// Connects a block to where the state is, under every rule but the local clock's.
    fn connect(&mut self, hash: &BlockHash, block: &Known) -> Result<Work, String> {
        let parent_hash = block.header.prev_hash;
        let (parent, context) = self.context(&parent_hash);
        if block.height != parent.height + 1 {
            return Err(format!("block {hash} stands at height {} on one of {}", block.height, parent.height));
        }
        let params = &*self.params;
        let broken = |error: &dyn Display| format!("block {hash} is invalid: {error}");
        let header = check_header(block.header, params).map_err(|error| broken(&error))?;
        check_header_in_context(&header, &context, params, u64::MAX).map_err(|error| broken(&error))?;
        let body = block.body.clone();
        let context = BlockContext { params, chain_id: &self.chain_id, height: block.height, batch_secret: &[1; 32] };
        let checked = check_block(header, body, &context).map_err(|error| broken(&error))?;
        let connected = connect_block(checked, &parent, params, &self.state).map_err(|failure| match failure {
            ConnectFailure::Invalid(error) => broken(&error),
            ConnectFailure::Ours(never) => match never {},
        })?;
        self.state.apply(connected.changes());
        self.path.push((*hash, connected.undo().clone()));
        Ok(connected.work())
    }

    /// What a child of a known block needs to know of it.
    fn context(&self, hash: &BlockHash) -> (Parent, HeaderContext) {
        let known = &self.blocks[hash];
        let grandparent = self.blocks.get(&known.header.prev_hash).unwrap_or(known);
        let times = ParentTimes {
            bits: known.header.bits,
            height: known.height,
            time: known.header.time,
            grandparent_time: grandparent.header.time,
        };
        let parent = Parent { height: known.height, hash: *hash, work: known.work };
        (parent, HeaderContext { parent_hash: *hash, parent: times })
    }

    /// Moves the state to a block, along the tree.
    fn go_to(&mut self, hash: &BlockHash) -> Result<(), String> {
        let mut ahead = Vec::new();
        let mut next = *hash;
        loop {
            let known = self.blocks.get(&next).ok_or_else(|| format!("block {next} was never connected by anybody"))?;
            if self.path.get(known.height as usize).is_some_and(|(on_path, _)| *on_path == next) {
                break;
            }
            ahead.push(next);
            next = known.header.prev_hash;
        }
        let fork = self.blocks[&next].height as usize;
        while self.path.len() > fork + 1 {
            let height = self.path.len() as u64 - 1;
            let (_, undo) = self.path.pop().expect("it is longer than the fork");
            let Ok((_, changes)) = revert(&self.state, &undo, height);
            self.state.apply(&changes);
        }
        for hash in ahead.into_iter().rev() {
            let block = self.blocks.remove(&hash).expect("it was found a moment ago");
            let connected = self.connect(&hash, &block);
            self.blocks.insert(hash, block);
            connected?;
        }
        Ok(())
    }

    /// Whether a block was verified.
    pub(super) fn knows(&self, hash: &BlockHash) -> bool {
        self.blocks.contains_key(hash)
    }

    /// The cumulative work of the chain that ends with a block, if that was verified.
    pub(super) fn work(&self, hash: &BlockHash) -> Option<Work> {
        self.blocks.get(hash).map(|known| known.work)
    }

    /// The state after a block.
    pub(super) fn state_at(&mut self, hash: &BlockHash) -> Result<Replayed<'_>, String> {
        self.go_to(hash)?;
        let height = self.blocks[hash].height;
        let allocated: u128 = self.params.allocations.iter().map(|allocation| u128::from(allocation.amount.0)).sum();
        let issued = allocated + u128::from(subsidies_through(&self.params, height).0);
        Ok(Replayed { height, state: &self.state, issued })
    }
}

#[cfg(test)]
mod tests {
    use drystone_core::key::AccountId;
    use drystone_core::pow::CompactTarget;

    use super::*;
    use crate::sim::setup::params;

    #[test]
    fn a_block_with_bits_of_its_own_choice_is_invalid() {
        let params = Arc::new(params());
        let block = TestChain::new(&params).extend(&AccountId([1; 32]), Vec::new());
        let (mut header, body) = (block.block().header, block.block().body.clone());
        let mut ledger = Ledger::new(&params);
        assert_eq!(ledger.add(1, header, body.clone()), Ok(()));
        header.bits = CompactTarget(header.bits.0 - 1);
        while check_header(header, &params).is_err() {
            header.nonce += 1;
        }
        assert!(ledger.add(1, header, body).is_err_and(|what| what.contains("difficulty")));
    }
}
