//! The blocks beside the main chain that fork choice may choose from: those whose bodies, down to the main chain, are held.
//!
//! The header tree has heads whose bodies nobody may ever give. Walking down from each of them for every block that
//! connects would cost the square of a long synchronisation, so what is complete is noted when its body comes, and a
//! choice looks at nothing else. It is a cache: what leaves it for want of room is found again by walking.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use drystone_core::hash::{BlockHash, sha256d};
use drystone_core::pow::Work;

use super::limits::INDEX_WINDOW;
use crate::store::{HeaderRecord, Validity};

/// What decides between two blocks: more work, then whether it was connected before, then which came first.
type Rank = (Work, bool, Reverse<u64>, BlockHash);

/// What decides between the tip and a block with as much work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ties {
    /// The tip stays, which was seen first.
    #[default]
    FirstSeen,
    /// A lot of each node's own, drawn with this secret: what Eyal and Sirer propose against selfish mining ("Majority is not
    /// Enough", 2014). For experiments.
    Lot([u8; 32]),
}

impl Ties {
    fn prefers(&self, block: &BlockHash, tip: &BlockHash) -> bool {
        let lot = |secret: &[u8; 32], block: &BlockHash| sha256d(&[&secret[..], &block.0].concat());
        match self {
            Ties::FirstSeen => false,
            Ties::Lot(secret) => lot(secret, block) < lot(secret, tip),
        }
    }
}

/// Complete branches, block by block.
#[derive(Debug, Default)]
pub(super) struct Branches {
    ties: Ties,
    ranks: BTreeMap<BlockHash, Rank>,
    order: BTreeSet<Rank>,
    arrivals: u64,
}

impl Branches {
    /// No branch.
    pub(super) fn new(ties: Ties) -> Branches {
        Branches { ties, ..Branches::default() }
    }

    /// Notes a block whose body is held and whose parent is on the main chain or noted here.
    pub(super) fn insert(&mut self, record: &HeaderRecord) {
        if self.ranks.contains_key(&record.hash) {
            return;
        }
        self.arrivals += 1;
        let connected = record.validity == Validity::Connected;
        let rank = (record.work, connected, Reverse(self.arrivals), record.hash);
        self.ranks.insert(record.hash, rank);
        self.order.insert(rank);
        if self.ranks.len() > INDEX_WINDOW
            && let Some((.., least)) = self.order.first().copied()
        {
            self.remove(&least);
        }
    }

    /// Forgets a block: it joined the main chain, or can never.
    pub(super) fn remove(&mut self, hash: &BlockHash) {
        if let Some(rank) = self.ranks.remove(hash) {
            self.order.remove(&rank);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Branches::new(self.ties);
    }

    pub(super) fn contains(&self, hash: &BlockHash) -> bool {
        self.ranks.contains_key(hash)
    }

    /// The best block, if it is better than the tip.
    pub(super) fn best_over(&self, tip: &HeaderRecord) -> Option<BlockHash> {
        let (work, .., best) = self.order.last()?;
        if *work != tip.work {
            return (*work > tip.work).then_some(*best);
        }
        let mut level = self.order.iter().rev().take_while(|(theirs, ..)| theirs == work).map(|(.., hash)| *hash);
        level.find(|hash| self.ties.prefers(hash, &tip.hash))
    }
}
