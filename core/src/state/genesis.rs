//! The genesis state and block: what follows from a chain's parameters alone.

use super::{Account, Leaf, StateKey, root_of};
use crate::block::{Block, Body, Header};
use crate::hash::BlockHash;
use crate::key::AccountId;
use crate::params::{Allocation, ChainParams};

impl ChainParams {
    /// The state that genesis starts with: one account leaf for each allocation, by state key.
    pub fn genesis_leaves(&self) -> Vec<(StateKey, Leaf)> {
        let leaf = |allocation: &Allocation| {
            (StateKey::account(&allocation.account), Leaf::Account(Account { balance: allocation.amount, nonce: 0 }))
        };
        let mut leaves: Vec<_> = self.allocations.iter().map(leaf).collect();
        leaves.sort_unstable_by_key(|(key, _)| *key);
        leaves
    }

    /// The genesis block. It is exempt from work; its parent is the parameter hash, so that its own hash binds them all.
    pub fn genesis_block(&self) -> Block {
        let body = Body { reward_to: AccountId([0; 32]), transactions: Vec::new() };
        let header = Header {
            version: self.rules_at(0).header_version,
            prev_hash: self.hash(),
            state_root: root_of(&self.genesis_leaves()),
            tx_root: body.tx_root(),
            time: self.time,
            bits: self.bits,
            nonce: 0,
        };
        Block { header, body }
    }

    /// The chain id: the genesis hash.
    pub fn chain_id(&self) -> BlockHash {
        self.genesis_block().header.hash()
    }
}
