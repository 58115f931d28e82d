//! The store: everything a node keeps on disk, in one file, one table for each kind of record.
//!
//! [`Snapshot`] reads one committed state and can serve as core's state view; [`Update`] gathers the changes of a chain
//! update and commits them at once. Commits are durable and survive a cut at any point: two-phase, so that no crash can
//! pass attacker-chosen block bytes off as committed pages, and with the allocator saved in each, so that a start after a
//! kill does not walk the file. `tables.rs` is the whole on-disk vocabulary; docs/STORAGE.md explains it.
//!
//! There is one seam, redb's `StorageBackend`: a file in production, memory in simulation, and in crash tests one that
//! fails on purpose.

mod backup;
mod error;
mod index;
#[cfg(test)]
mod measure;
mod migrate;
mod open;
mod scrub;
mod snapshot;
mod tables;
mod update;
mod verify;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::params::ChainParams;
use drystone_core::state::{self, MemoryState};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, WriteTransaction};

pub use backup::BackupError;
pub use error::{Record, StoreError};
pub use index::Indexes;
pub use open::StoreOptions;
pub use scrub::{Damage, Scrub, Scrubbed};
pub use snapshot::Snapshot;
pub use tables::{FORMAT, HeaderRecord, HistoryEntry, HistoryPlace, Role, TransactionPlace, Validity};
pub use update::Update;
pub use verify::{VerifyFailure, VerifyReport, replay, verify};

/// An open store. Snapshots and updates may move to any thread. Dropping the store closes the file: snapshots that are left
/// then answer [`StoreError::Stopped`].
pub struct Store {
    database: Database,
    indexes: Indexes,
    /// Commits since the store was opened.
    commits: Arc<AtomicU64>,
}

impl Store {
    /// What the store holds now.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::new(&self.database.begin_read()?, self.indexes)
    }

    /// Begins an update. There is one at a time: a second call waits until the first is committed or dropped.
    pub fn begin(&self) -> Result<Update, StoreError> {
        Ok(Update::new(begin_write(&self.database)?, self.indexes, Arc::clone(&self.commits)))
    }

    /// How many commits there were since the store was opened.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn commit(&self, transaction: WriteTransaction) -> Result<(), StoreError> {
        transaction.commit()?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the state, the main chain and the indexes back to genesis in a commit of its own. Headers that hash to their
    /// keys and all bodies stay, so that the blocks can be connected again from disk: the repair of a state that is rotten.
    pub fn reset_state(&self, params: &ChainParams) -> Result<(), StoreError> {
        let transaction = begin_write(&self.database)?;
        reset_headers(&transaction, params)?;
        transaction.delete_table(tables::LEAVES)?;
        transaction.delete_table(tables::PAGES)?;
        transaction.delete_table(tables::HISTORY)?;
        update::write_state(&transaction, &open::genesis_changes(params))?;
        transaction.delete_table(tables::UNDO)?;
        transaction.open_table(tables::UNDO)?;
        transaction.delete_table(tables::MAIN)?;
        transaction.open_table(tables::MAIN)?.insert(&tables::height_key(0), &params.chain_id().0)?;
        index::clear_transactions(&transaction)?;
        index::clear_accounts(&transaction)?;
        self.commit(transaction)
    }

    /// Forgets the bodies of the main chain that rotted, in a commit of its own, and returns how many there were. Genesis' is
    /// written anew.
    pub fn drop_rotten_bodies(&self, params: &ChainParams) -> Result<u64, StoreError> {
        let snapshot = self.snapshot()?;
        let mut rotten = Vec::new();
        for height in 0..=snapshot.tip()?.height {
            let hash = snapshot.main_hash(height)?.ok_or(StoreError::Rotten(Record::Main(height)))?;
            match snapshot.body(&hash) {
                Err(StoreError::Rotten(Record::Body(_))) => rotten.push((height, hash)),
                body => drop(body?),
            }
        }
        let mut update = self.begin()?;
        for (height, hash) in &rotten {
            match height {
                0 => update.put_body(0, hash, &params.genesis_block().body)?,
                _ => update.remove_body(*height, hash)?,
            }
        }
        update.commit()?;
        Ok(rotten.iter().filter(|(height, _)| *height > 0).count() as u64)
    }

    /// Makes the indexes that are kept anew from the bodies of the main chain, in a commit of its own. Where a body is not
    /// held, the entries of its block stay as they are.
    pub fn rebuild_indexes(&self) -> Result<(), StoreError> {
        let transaction = begin_write(&self.database)?;
        index::rebuild(&transaction, self.indexes)?;
        self.commit(transaction)
    }

    /// Computes the nodes of the history range anew from the headers, in a commit of its own.
    pub fn rebuild_history(&self) -> Result<(), StoreError> {
        const BATCH: usize = 1024;
        let snapshot = self.snapshot()?;
        let tip = snapshot.tip()?.height;
        let transaction = begin_write(&self.database)?;
        transaction.delete_table(tables::HISTORY)?;
        let mut history = transaction.open_table(tables::HISTORY)?;
        // An append reads the complete subtrees so far, of which there are at most 64, and nothing else.
        let mut peaks = MemoryState::default();
        for first in (0..tip).step_by(BATCH) {
            let records = snapshot.headers_from(first, BATCH.min((tip - first) as usize))?;
            for (record, height) in records.into_iter().zip(first..) {
                if record.height != height {
                    return Err(StoreError::Rotten(Record::Header(record.hash)));
                }
                let leaf = state::history_leaf(&record.hash, &record.work);
                let Ok((_, nodes)) = state::append(&peaks, record.height, leaf);
                for (node, hash) in nodes {
                    history.insert(&node.to_bytes(), &hash)?;
                    peaks.history.insert(node, hash);
                }
                let count = record.height + 1;
                peaks.history.retain(|node, _| {
                    let complete = count.checked_shr(node.level.into()).unwrap_or(0);
                    complete & 1 == 1 && node.index == complete - 1
                });
            }
        }
        drop(history);
        self.commit(transaction)
    }

    /// Computes the pages of the state tree anew from the leaves, and returns the root: the repair of rotten pages, if the
    /// leaves are sound. Commits only where they lead to the root that is `required`: pages that were whole are not made
    /// to agree with a leaf that rotted.
    pub fn rebuild_pages(&self, required: &StateRoot) -> Result<StateRoot, StoreError> {
        let snapshot = self.snapshot()?;
        let transaction = begin_write(&self.database)?;
        transaction.delete_table(tables::PAGES)?;
        let mut pages = transaction.open_table(tables::PAGES)?;
        let mut written = Ok(());
        let (root, _) = state::rebuild(&snapshot, |path, page| {
            if written.is_ok() {
                written = pages.insert(path.to_bytes().as_slice(), page.to_bytes().as_slice()).map(drop);
            }
        })?;
        written?;
        drop(pages);
        if root == *required {
            self.commit(transaction)?;
        }
        Ok(root)
    }
}

/// Walks the header tree up from genesis, forgets headers that rotted with all that stands on them, and lists its heads
/// anew. What follows from a header's place is written again where it rotted: height and work from its parent, and of the
/// main chain's blocks that they were connected once.
fn reset_headers(transaction: &WriteTransaction, params: &ChainParams) -> Result<(), StoreError> {
    let main = transaction.open_table(tables::MAIN)?;
    let mut headers = transaction.open_table(tables::HEADERS)?;
    let genesis = open::genesis_record(params);
    headers.insert(&genesis.hash.0, &genesis.to_bytes())?;
    let (mut children, mut rotten) = (BTreeSet::new(), BTreeSet::new());
    for entry in headers.iter()? {
        let (hash, bytes) = entry?;
        let hash = BlockHash(*hash.value());
        // What the walk does not come by stands on nothing.
        rotten.insert(hash);
        if let Some(header) = HeaderRecord::sound_header(&hash, bytes.value()) {
            children.insert((header.prev_hash, hash));
        }
    }
    rotten.remove(&genesis.hash);
    let (mut heads, mut reached) = (Vec::new(), VecDeque::from([genesis]));
    while let Some(parent) = reached.pop_front() {
        // What only invalid blocks stand on is a head as well.
        let mut is_head = true;
        let first = (parent.hash, BlockHash([0; 32]));
        for (_, hash) in children.range(first..).take_while(|(below, _)| *below == parent.hash) {
            let Some(bytes) = headers.get(&hash.0)?.map(|bytes| *bytes.value()) else { continue };
            let Some(header) = HeaderRecord::sound_header(hash, &bytes) else { continue };
            let Ok(own) = header.bits.to_target().map(|target| target.work()) else { continue };
            let (height, work) = (parent.height + 1, parent.work + own);
            let is_main = snapshot::read_main(&main, height)? == Some(*hash);
            let validity = match HeaderRecord::from_bytes(hash, &bytes) {
                _ if is_main => Validity::Connected,
                Ok(record) => record.validity,
                Err(_) => Validity::Header,
            };
            let record = HeaderRecord { hash: *hash, header, height, work, validity };
            if record.to_bytes() != bytes {
                headers.insert(&hash.0, &record.to_bytes())?;
            }
            is_head &= !matches!(validity, Validity::Header | Validity::Connected);
            rotten.remove(hash);
            reached.push_back(record);
        }
        if is_head {
            heads.push((parent.work, parent.hash));
        }
    }
    for hash in rotten {
        headers.remove(&hash.0)?;
    }
    transaction.delete_table(tables::TIPS)?;
    let mut tips = transaction.open_table(tables::TIPS)?;
    for (work, hash) in heads {
        tips.insert(&tables::tip_key(work, &hash), ())?;
    }
    Ok(())
}

/// Every write goes through here, so that every commit has the same guarantees.
fn begin_write(database: &Database) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate).expect("no savepoint was made");
    // Without it a start after a kill walks the whole file.
    transaction.set_quick_repair(true);
    // Part of quick repair, named because block bytes are attacker-chosen and page checksums are not cryptographic.
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}
