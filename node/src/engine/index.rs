//! The block index: a window of recent header records over the store's whole table, and the heads of the header tree.

use std::collections::{BTreeMap, BTreeSet};

use drystone_core::hash::BlockHash;
use drystone_core::pow::Work;
use drystone_core::validation::HeaderContext;

use super::limits::INDEX_WINDOW;
use crate::store::{HeaderRecord, Record, Snapshot, StoreError};

/// Recent header records by hash. What is not here is read from the store; start-up reads nothing but the heads. A record is put in
/// only once the snapshot has it: where the window is full of higher blocks it is evicted at once.
#[derive(Debug, Default)]
pub(super) struct Index {
    records: BTreeMap<BlockHash, HeaderRecord>,
    by_height: BTreeSet<(u64, BlockHash)>,
    heads: BTreeSet<(Work, BlockHash)>,
}

impl Index {
    /// An index that knows the heads of the header tree and nothing else yet.
    pub(super) fn new(heads: impl IntoIterator<Item = (Work, BlockHash)>) -> Index {
        Index { heads: heads.into_iter().collect(), ..Index::default() }
    }

    /// The record of a block, from the window or the store.
    pub(super) fn get(&mut self, store: &Snapshot, hash: &BlockHash) -> Result<Option<HeaderRecord>, StoreError> {
        if let Some(record) = self.records.get(hash) {
            return Ok(Some(*record));
        }
        let record = store.header(hash)?;
        if let Some(record) = record {
            self.remember(record);
        }
        Ok(record)
    }

    /// The record of a block that must be known, because another stands on it.
    pub(super) fn known(&mut self, store: &Snapshot, hash: &BlockHash) -> Result<HeaderRecord, StoreError> {
        self.get(store, hash)?.ok_or(StoreError::Rotten(Record::Header(*hash)))
    }

    /// Keeps a record in the window, in place of an older version of it; the lowest block leaves when the window is full.
    pub(super) fn remember(&mut self, record: HeaderRecord) {
        self.records.insert(record.hash, record);
        self.by_height.insert((record.height, record.hash));
        if self.records.len() > INDEX_WINDOW
            && let Some((_, lowest)) = self.by_height.pop_first()
        {
            self.records.remove(&lowest);
        }
    }

    /// Takes in a new block on top of its parent: it becomes a head, its parent ceases to be one.
    pub(super) fn grow(&mut self, record: HeaderRecord, parent: &HeaderRecord) {
        self.heads.remove(&(parent.work, parent.hash));
        self.heads.insert((record.work, record.hash));
        self.remember(record);
    }

    /// Lists a block as a head: what stood on it is found invalid.
    pub(super) fn add_head(&mut self, record: &HeaderRecord) {
        self.heads.insert((record.work, record.hash));
    }

    /// Lists a block as a head no more: something stands on it again.
    pub(super) fn remove_head(&mut self, record: &HeaderRecord) {
        self.heads.remove(&(record.work, record.hash));
    }

    /// The heads with more than `work`, most work first.
    pub(super) fn heads_above(&self, work: Work) -> Vec<BlockHash> {
        self.heads.iter().rev().take_while(|(theirs, _)| *theirs > work).map(|(_, hash)| *hash).collect()
    }

    /// What the header rules read to judge a child of `parent`.
    pub(super) fn context(&mut self, store: &Snapshot, parent: &HeaderRecord) -> Result<HeaderContext, StoreError> {
        let grandparent = self.parent(store, parent)?;
        Ok(parent.child_context(grandparent.as_ref()))
    }

    /// The block below; genesis has none.
    pub(super) fn parent(
        &mut self,
        store: &Snapshot,
        record: &HeaderRecord,
    ) -> Result<Option<HeaderRecord>, StoreError> {
        match record.height {
            0 => Ok(None),
            _ => self.known(store, &record.header.prev_hash).map(Some),
        }
    }
}
