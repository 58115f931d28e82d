//! A write transaction: everything in it becomes durable at once, or nothing does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drystone_core::block::Body;
use drystone_core::encode::encode;
use drystone_core::hash::BlockHash;
use drystone_core::state::{StateChanges, Undo};
use drystone_core::transaction::Transaction;
use drystone_core::validation::ConnectedBlock;
use redb::{ReadableTable, WriteTransaction};

use super::error::{Record, StoreError};
use super::index::{self, Indexes};
use super::snapshot::{read_body, read_header, read_main, read_tip, read_undo};
use super::tables::{self, HeaderRecord, Validity, block_key, height_key, tip_key};

/// Changes to the store that are committed together. Dropped without [`Update::commit`], it leaves no trace.
///
/// State changes gather in memory and are written at the commit, each key once and in order: copied pages are what a
/// commit costs, so many blocks in one update cost little more than the last. To connect a block on top of an
/// uncommitted one, lay [`Update::changes`] over the snapshot that the update began from. All else is written at once
/// and read back by the methods here.
pub struct Update {
    transaction: WriteTransaction,
    indexes: Indexes,
    changes: StateChanges,
    commits: Arc<AtomicU64>,
}

impl Update {
    pub(super) fn new(transaction: WriteTransaction, indexes: Indexes, commits: Arc<AtomicU64>) -> Update {
        Update { transaction, indexes, changes: StateChanges::default(), commits }
    }

    /// What the blocks of this update did to the state so far.
    pub fn changes(&self) -> &StateChanges {
        &self.changes
    }

    /// The height and hash of the main chain's last block, as this update has it.
    pub fn tip(&self) -> Result<(u64, BlockHash), StoreError> {
        read_tip(&self.transaction.open_table(tables::MAIN)?)
    }

    /// A known header, as this update has it.
    pub fn header(&self, hash: &BlockHash) -> Result<Option<HeaderRecord>, StoreError> {
        read_header(&self.transaction.open_table(tables::HEADERS)?, hash)
    }

    /// The main chain's block at `height`, as this update has it.
    pub fn main_hash(&self, height: u64) -> Result<Option<BlockHash>, StoreError> {
        read_main(&self.transaction.open_table(tables::MAIN)?, height)
    }

    /// The body of a block, checked against the header's transaction root.
    pub fn body(&self, hash: &BlockHash) -> Result<Option<Body>, StoreError> {
        let Some(record) = self.header(hash)? else { return Ok(None) };
        read_body(&self.transaction.open_table(tables::BODIES)?, &record)
    }

    /// How to take a main-chain block back.
    pub fn undo(&self, hash: &BlockHash) -> Result<Option<Undo>, StoreError> {
        let Some(record) = self.header(hash)? else { return Ok(None) };
        read_undo(&self.transaction.open_table(tables::UNDO)?, record.height, hash)
    }

    /// Records a checked header and moves the head of its branch to it. Returns whether it is new; a known header keeps
    /// its record. The parent comes first.
    pub fn insert_header(&mut self, record: &HeaderRecord) -> Result<bool, StoreError> {
        let mut headers = self.transaction.open_table(tables::HEADERS)?;
        if headers.get(&record.hash.0)?.is_some() {
            return Ok(false);
        }
        headers.insert(&record.hash.0, &record.to_bytes())?;
        let mut tips = self.transaction.open_table(tables::TIPS)?;
        if let Some(parent) = read_header(&headers, &record.header.prev_hash)? {
            tips.remove(&tip_key(parent.work, &parent.hash))?;
        }
        tips.insert(&tip_key(record.work, &record.hash), ())?;
        Ok(true)
    }

    /// Lists a block as a head of the header tree, because what stands on it is invalid.
    pub fn add_head(&mut self, record: &HeaderRecord) -> Result<(), StoreError> {
        self.transaction.open_table(tables::TIPS)?.insert(&tip_key(record.work, &record.hash), ())?;
        Ok(())
    }

    /// Lists a block as a head no more, because what stands on it is not held to be invalid any more.
    pub fn remove_head(&mut self, record: &HeaderRecord) -> Result<(), StoreError> {
        self.transaction.open_table(tables::TIPS)?.remove(&tip_key(record.work, &record.hash))?;
        Ok(())
    }

    /// Notes what is known of a block. A block without a record is left alone.
    pub fn set_validity(&mut self, hash: &BlockHash, validity: Validity) -> Result<(), StoreError> {
        let mut headers = self.transaction.open_table(tables::HEADERS)?;
        let Some(record) = read_header(&headers, hash)? else { return Ok(()) };
        if record.validity != validity {
            headers.insert(&hash.0, &HeaderRecord { validity, ..record }.to_bytes())?;
        }
        Ok(())
    }

    /// Keeps a body whose transaction root was checked against the header of the block `hash` at `height`.
    pub fn put_body(&mut self, height: u64, hash: &BlockHash, body: &Body) -> Result<(), StoreError> {
        let (key, bytes) = (block_key(height, hash), encode(body));
        let mut bodies = self.transaction.open_table(tables::BODIES)?;
        // Comparing is cheaper than copying pages: a body that waited for its turn is already here.
        let held = bodies.get(&key)?.is_some_and(|held| held.value() == bytes);
        if !held {
            bodies.insert(&key, bytes.as_slice())?;
        }
        Ok(())
    }

    /// Forgets a body, so that it counts as not held.
    pub fn remove_body(&mut self, height: u64, hash: &BlockHash) -> Result<(), StoreError> {
        self.transaction.open_table(tables::BODIES)?.remove(&block_key(height, hash))?;
        Ok(())
    }

    /// Writes the entries of the main chain's block at `height` into the indexes that are kept, where they may be missing.
    pub fn restore_index(&mut self, height: u64, body: &Body) -> Result<(), StoreError> {
        index::add_block(&self.transaction, self.indexes, height, body)
    }

    /// Makes `block` the tip: header, body, undo, main chain, indexes, and its changes to the state.
    ///
    /// # Panics
    /// If its parent is not the tip.
    pub fn connect(&mut self, block: &ConnectedBlock) -> Result<(), StoreError> {
        let (height, hash, header) = (block.height(), block.hash(), block.block().header);
        let tip = self.tip()?;
        assert_eq!(tip, (height - 1, header.prev_hash), "a block connects to the tip");

        let validity = Validity::Connected;
        if !self.insert_header(&HeaderRecord { hash, header, height, work: block.work(), validity })? {
            self.set_validity(&hash, validity)?;
        }
        self.put_body(height, &hash, &block.block().body)?;
        let undo = encode(block.undo());
        self.transaction.open_table(tables::UNDO)?.insert(&block_key(height, &hash), undo.as_slice())?;
        self.transaction.open_table(tables::MAIN)?.insert(&height_key(height), &hash.0)?;
        index::add_block(&self.transaction, self.indexes, height, &block.block().body)?;
        self.changes.extend(block.changes().clone());
        Ok(())
    }

    /// Takes the tip back. `changes` is what [`drystone_core::state::revert`] made of its undo. The header and the body
    /// stay; a rotten body stops it, because the indexes cannot be taken back without it.
    ///
    /// # Panics
    /// If `hash` is not the tip, or is genesis.
    pub fn disconnect(&mut self, hash: &BlockHash, changes: StateChanges) -> Result<(), StoreError> {
        let (height, tip) = self.tip()?;
        assert_eq!(tip, *hash, "only the tip is taken back");
        assert!(height > 0, "genesis is never taken back");

        if self.indexes.transactions || self.indexes.accounts {
            let body = self.body(hash)?.ok_or(StoreError::Rotten(Record::Body(*hash)))?;
            index::remove_block(&self.transaction, self.indexes, height, &body)?;
        }
        self.transaction.open_table(tables::UNDO)?.remove(&block_key(height, hash))?;
        self.transaction.open_table(tables::MAIN)?.remove(&height_key(height))?;
        self.changes.extend(changes);
        Ok(())
    }

    /// Saves the mempool in place of what was saved before.
    pub fn put_mempool(&mut self, transactions: &[Transaction]) -> Result<(), StoreError> {
        self.transaction.delete_table(tables::MEMPOOL)?;
        let mut mempool = self.transaction.open_table(tables::MEMPOOL)?;
        for (number, transaction) in (0u64..).zip(transactions) {
            mempool.insert(&number.to_be_bytes(), encode(transaction).as_slice())?;
        }
        Ok(())
    }

    /// Saves what is known of other nodes in place of what was saved before.
    pub fn put_peers(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.transaction.open_table(tables::META)?.insert(tables::META_PEERS, bytes)?;
        Ok(())
    }

    /// Makes everything durable. After an error other than [`StoreError::Stopped`] it may or may not have become so:
    /// the store refuses further updates, and opening it again shows which.
    pub fn commit(self) -> Result<(), StoreError> {
        write_state(&self.transaction, &self.changes)?;
        self.transaction.commit()?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Writes changes of the state, table by table, in the order of their keys.
pub(super) fn write_state(transaction: &WriteTransaction, changes: &StateChanges) -> Result<(), StoreError> {
    let mut leaves = transaction.open_table(tables::LEAVES)?;
    for (key, leaf) in &changes.leaves {
        match leaf {
            Some(leaf) => leaves.insert(&key.0, leaf.to_bytes().as_slice())?,
            None => leaves.remove(&key.0)?,
        };
    }
    let mut pages = transaction.open_table(tables::PAGES)?;
    for (path, page) in &changes.pages {
        match page {
            Some(page) => pages.insert(path.to_bytes().as_slice(), page.to_bytes().as_slice())?,
            None => pages.remove(path.to_bytes().as_slice())?,
        };
    }
    let mut history = transaction.open_table(tables::HISTORY)?;
    for (node, hash) in &changes.history {
        match hash {
            Some(hash) => history.insert(&node.to_bytes(), hash)?,
            None => history.remove(&node.to_bytes())?,
        };
    }
    Ok(())
}
