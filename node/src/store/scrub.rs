//! The scrub: everything that the store keeps of the main chain and its state, read again in steps of bounded work.
//!
//! A disk rots where nobody looks. [`super::verify()`] looks everywhere at once and wants the node stopped; a [`Scrub`] walks
//! the same ground beside a running node, each step in a snapshot of its own, so that no old one keeps the file from
//! reusing its pages. It begins at a block of the caller's choice and goes round, so that nodes that are often restarted
//! get everywhere too. What is damaged is told as [`Damage`], by what mends it.

use std::fmt;
use std::ops::Bound;

use drystone_core::hash::BlockHash;
use drystone_core::state::{self, PagePath, StateView};
use redb::ReadableTableMetadata;

use super::error::{Record, StoreError};
use super::snapshot::Snapshot;
use super::verify::{VerifyFailure, VerifyReport, verify_history_leaf, verify_index_entries};

/// Something damaged on disk, by what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A body of the main chain is gone or is another: peers have it.
    Body {
        /// The block's height.
        height: u64,
        /// The block.
        hash: BlockHash,
    },
    /// The indexes lack entries of a block of the main chain, which its body gives.
    Index {
        /// The block's height.
        height: u64,
        /// The block.
        hash: BlockHash,
    },
    /// The state, its tree or the history range contradict each other: leaves and headers give the rest, or the blocks do.
    State(String),
    /// A block of the main chain cannot be taken back: connecting all blocks again gives its undo.
    Undo {
        /// The block's height.
        height: u64,
        /// The block.
        hash: BlockHash,
    },
    /// What all else follows from; nothing here makes it anew.
    Foundation(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Body { height, hash } => write!(f, "body of block {hash} at height {height}"),
            Damage::Index { height, hash } => write!(f, "index entries of block {hash} at height {height}"),
            Damage::Undo { height, hash } => write!(f, "undo of block {hash} at height {height}"),
            Damage::State(what) | Damage::Foundation(what) => f.write_str(what),
        }
    }
}

/// What a step led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scrubbed {
    /// This much was found damaged; mostly nothing.
    Step(Vec<Damage>),
    /// Everything has been read once since the last pass ended.
    PassEnded,
}

/// What is read next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A block from the pass's first one up to the tip.
    Upper(u64),
    /// The page after this one; without one the first.
    Page(Option<PagePath>),
    /// A block below the pass's first one.
    Lower(u64),
}

/// A walk over the store, again and again.
#[derive(Clone, Debug)]
pub struct Scrub {
    first: u64,
    next: Next,
    done: u64,
}

impl Scrub {
    /// A walk that begins at the block at height `first`, or at the state if there is none.
    pub fn new(first: u64) -> Scrub {
        Scrub { first, next: Next::Upper(first), done: 0 }
    }

    /// How many steps a pass has, as the store is now.
    pub fn steps(snapshot: &Snapshot) -> Result<u64, StoreError> {
        // One more for the root.
        Ok(snapshot.height()? + 1 + snapshot.pages.len()? + 1)
    }

    /// Bodies of the main chain that are not held, at most `limit`. It looks only where there are fewer bodies than blocks; what
    /// hides behind bodies of other branches a pass finds.
    pub fn missing_bodies(snapshot: &Snapshot, limit: usize) -> Result<Vec<(u64, BlockHash)>, StoreError> {
        let (tip, mut missing) = (snapshot.height()?, Vec::new());
        if snapshot.bodies.len()? > tip {
            return Ok(missing);
        }
        for height in 0..=tip {
            let hash = snapshot.main_hash(height)?.ok_or(StoreError::Rotten(Record::Main(height)))?;
            if missing.len() < limit && !snapshot.has_body(&hash)? {
                missing.push((height, hash));
            }
        }
        Ok(missing)
    }

    /// Bodies of the main chain that are not held or not whole, at most `limit`, by reading every one of them.
    pub fn damaged_bodies(snapshot: &Snapshot, limit: usize) -> Result<Vec<(u64, BlockHash)>, StoreError> {
        let mut damaged = Vec::new();
        for height in 0..=snapshot.height()? {
            let hash = snapshot.main_hash(height)?.ok_or(StoreError::Rotten(Record::Main(height)))?;
            match snapshot.body(&hash) {
                Ok(Some(_)) => {}
                Ok(None) | Err(StoreError::Rotten(Record::Body(_))) => damaged.push((height, hash)),
                Err(error) => return Err(error),
            }
            if damaged.len() == limit {
                break;
            }
        }
        Ok(damaged)
    }

    /// How many steps of this pass were made.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Reads on. A step reads one block with what belongs to it, or one page of the tree and the leaves below.
    ///
    /// # Errors
    /// Only where reading fails altogether; what cannot be read, and records that contradict themselves or others, are
    /// [`Damage`].
    pub fn step(&mut self, snapshot: &Snapshot) -> Result<Scrubbed, StoreError> {
        let height = snapshot.height()?;
        let found = match self.next {
            Next::Upper(at) if at <= height => {
                self.next = Next::Upper(at + 1);
                block(snapshot, at, height)
            }
            Next::Upper(_) => {
                self.next = Next::Page(None);
                return self.step(snapshot);
            }
            Next::Page(after) => match page_after(snapshot, after) {
                Ok(path) => {
                    self.next = path.map_or(Next::Lower(0), |path| Next::Page(Some(path)));
                    path.map_or_else(|| root(snapshot), |path| page(snapshot, &path))
                }
                Err(error) => {
                    // A key that is no path: the rest of the table cannot be walked before it is made anew.
                    self.next = Next::Lower(0);
                    Err(error)
                }
            },
            Next::Lower(at) if at < self.first.min(height + 1) => {
                self.next = Next::Lower(at + 1);
                block(snapshot, at, height)
            }
            Next::Lower(_) => {
                *self = Scrub::new(self.first);
                return Ok(Scrubbed::PassEnded);
            }
        };
        self.done += 1;
        match found {
            Ok(found) => Ok(Scrubbed::Step(found)),
            Err(StoreError::Rotten(record)) => Ok(Scrubbed::Step(vec![damage_of(record)])),
            // The walk goes on behind it.
            Err(StoreError::Damaged(what)) => Ok(Scrubbed::Step(vec![Damage::Foundation(what)])),
            Err(error) => Err(error),
        }
    }
}

fn damage_of(record: Record) -> Damage {
    match record {
        Record::Leaf(_) | Record::Page(_) | Record::PageKey | Record::History(_) => Damage::State(record.to_string()),
        _ => Damage::Foundation(record.to_string()),
    }
}

/// A block of the main chain: its header's place, its body, the indexes, its undo, its nodes of the history range.
fn block(snapshot: &Snapshot, height: u64, tip: u64) -> Result<Vec<Damage>, StoreError> {
    let mut found = Vec::new();
    let hash = snapshot.main_hash(height)?.ok_or(StoreError::Rotten(Record::Main(height)))?;
    let record = snapshot.header(&hash)?.filter(|record| record.height == height);
    let record = record.ok_or(StoreError::Rotten(Record::Header(hash)))?;
    if height > 0 {
        let parent = snapshot.header(&record.header.prev_hash)?;
        let own = record.header.bits.to_target().map(|target| target.work());
        let stands = parent.zip(own.ok()).is_some_and(|(parent, own)| record.work == parent.work + own);
        if !stands || snapshot.main_hash(height - 1)? != Some(record.header.prev_hash) {
            return Err(StoreError::Rotten(Record::Header(hash)));
        }
    }
    // The body first: what makes an undo anew needs it.
    match snapshot.body(&hash) {
        Ok(Some(body)) => match verify_index_entries(snapshot, height, &body) {
            Ok(_) => {}
            Err(VerifyFailure::Index(_) | VerifyFailure::Store(StoreError::Rotten(_))) => {
                found.push(Damage::Index { height, hash });
            }
            Err(failure) => return Err(read_failure(failure, hash)),
        },
        Ok(None) | Err(StoreError::Rotten(_)) => found.push(Damage::Body { height, hash }),
        Err(error) => return Err(error),
    }
    if height > 0 {
        match snapshot.undo(&hash) {
            Ok(Some(_)) => {}
            Ok(None) | Err(StoreError::Rotten(_)) => found.push(Damage::Undo { height, hash }),
            Err(error) => return Err(error),
        }
    }
    if height < tip {
        match verify_history_leaf(snapshot, &record, &mut VerifyReport::default()) {
            Ok(()) => {}
            Err(failure @ VerifyFailure::HistoryNode(_)) => found.push(Damage::State(failure.to_string())),
            Err(VerifyFailure::Store(StoreError::Rotten(record))) => found.push(damage_of(record)),
            Err(failure) => return Err(read_failure(failure, hash)),
        }
    }
    Ok(found)
}

/// The store's own failure in one of a check.
fn read_failure(failure: VerifyFailure, hash: BlockHash) -> StoreError {
    match failure {
        VerifyFailure::Store(error) => error,
        _ => StoreError::Rotten(Record::Header(hash)),
    }
}

fn page_after(snapshot: &Snapshot, after: Option<PagePath>) -> Result<Option<PagePath>, StoreError> {
    let after = after.map(|path| path.to_bytes());
    let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let Some(entry) = snapshot.pages.range::<&[u8]>((from, Bound::Unbounded))?.next() else { return Ok(None) };
    let (key, _) = entry?;
    PagePath::from_bytes(key.value()).map(Some).ok_or(StoreError::Rotten(Record::PageKey))
}

fn page(snapshot: &Snapshot, path: &PagePath) -> Result<Vec<Damage>, StoreError> {
    if state::is_page_sound(snapshot, path)? {
        return Ok(Vec::new());
    }
    Ok(vec![Damage::State(format!("{} or what lies below it", Record::Page(*path)))])
}

/// The whole state's root is the one that the tip's header carries, and the history leaf is the range's.
fn root(snapshot: &Snapshot) -> Result<Vec<Damage>, StoreError> {
    let tip = snapshot.tip()?;
    let found = state::root(snapshot)?;
    if found != tip.header.state_root {
        let required = tip.header.state_root;
        return Ok(vec![Damage::State(format!("state root {found}, the tip's header carries {required}"))]);
    }
    let history = state::history_root(snapshot, tip.height)?;
    let committed = snapshot.leaf(&state::StateKey::history())?;
    if committed != (tip.height > 0).then_some(state::Leaf::History(history)) {
        return Ok(vec![Damage::State("the history root in the state does not follow from the headers".into())]);
    }
    Ok(Vec::new())
}
