//! A consistent read view: one committed state of the store, unaffected by later commits.

use drystone_core::block::Body;
use drystone_core::encode::decode;
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::key::AccountId;
use drystone_core::pow::Work;
use drystone_core::state::{HistoryNode, Leaf, Page, PagePath, StateKey, StateView, Undo};
use drystone_core::transaction::Transaction;
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::error::{Record, StoreError};
use super::index::Indexes;
use super::tables::{
    self, HEADER_RECORD_BYTES, HeaderRecord, HistoryEntry, HistoryPlace, TransactionPlace, account_key, block_key,
    height_key, tip_from_key,
};

/// What the store held at one commit. Cheap to make, to share and to read from many threads at once.
///
/// A snapshot pins the pages that it shows: space that later commits free is reused only once it is dropped, so hold one
/// for a request or a block, not for the life of the program.
pub struct Snapshot {
    pub(super) headers: ReadOnlyTable<&'static [u8; 32], &'static [u8; HEADER_RECORD_BYTES]>,
    pub(super) tips: ReadOnlyTable<&'static [u8; 64], ()>,
    pub(super) main: ReadOnlyTable<&'static [u8; 8], &'static [u8; 32]>,
    pub(super) bodies: ReadOnlyTable<&'static [u8; 40], &'static [u8]>,
    pub(super) undo: ReadOnlyTable<&'static [u8; 40], &'static [u8]>,
    pub(super) leaves: ReadOnlyTable<&'static [u8; 32], &'static [u8]>,
    pub(super) pages: ReadOnlyTable<&'static [u8], &'static [u8]>,
    pub(super) history: ReadOnlyTable<&'static [u8; 9], &'static [u8; 32]>,
    pub(super) transactions: ReadOnlyTable<&'static [u8; 32], &'static [u8; 12]>,
    pub(super) accounts: ReadOnlyTable<&'static [u8; 44], &'static [u8; 1]>,
    pub(super) mempool: ReadOnlyTable<&'static [u8; 8], &'static [u8]>,
    meta: ReadOnlyTable<&'static str, &'static [u8]>,
    indexes: Indexes,
}

impl Snapshot {
    pub(super) fn new(transaction: &ReadTransaction, indexes: Indexes) -> Result<Snapshot, StoreError> {
        Ok(Snapshot {
            headers: transaction.open_table(tables::HEADERS)?,
            tips: transaction.open_table(tables::TIPS)?,
            main: transaction.open_table(tables::MAIN)?,
            bodies: transaction.open_table(tables::BODIES)?,
            undo: transaction.open_table(tables::UNDO)?,
            leaves: transaction.open_table(tables::LEAVES)?,
            pages: transaction.open_table(tables::PAGES)?,
            history: transaction.open_table(tables::HISTORY)?,
            transactions: transaction.open_table(tables::TRANSACTIONS)?,
            accounts: transaction.open_table(tables::ACCOUNTS)?,
            mempool: transaction.open_table(tables::MEMPOOL)?,
            meta: transaction.open_table(tables::META)?,
            indexes,
        })
    }

    /// Which indexes are kept.
    pub fn indexes(&self) -> Indexes {
        self.indexes
    }

    /// The block that the state belongs to.
    pub fn tip(&self) -> Result<HeaderRecord, StoreError> {
        let (height, hash) = read_tip(&self.main)?;
        read_header(&self.headers, &hash)?
            .filter(|record| record.height == height)
            .ok_or(StoreError::Rotten(Record::Header(hash)))
    }

    /// The height of that block, also where its header rotted.
    pub fn height(&self) -> Result<u64, StoreError> {
        Ok(read_tip(&self.main)?.0)
    }

    /// A known header, of any branch.
    pub fn header(&self, hash: &BlockHash) -> Result<Option<HeaderRecord>, StoreError> {
        read_header(&self.headers, hash)
    }

    /// The main chain's block at `height`; nothing above the tip.
    pub fn main_hash(&self, height: u64) -> Result<Option<BlockHash>, StoreError> {
        read_main(&self.main, height)
    }

    /// Whether a block is on the main chain.
    pub fn is_main(&self, hash: &BlockHash) -> Result<bool, StoreError> {
        let Some(record) = self.header(hash)? else { return Ok(false) };
        Ok(self.main_hash(record.height)? == Some(*hash))
    }

    /// At most `count` headers of the main chain, ascending from `height`.
    pub fn headers_from(&self, height: u64, count: usize) -> Result<Vec<HeaderRecord>, StoreError> {
        let mut records = Vec::with_capacity(count.min(4096));
        for (entry, height) in self.main.range::<&[u8; 8]>(&height_key(height)..)?.take(count).zip(height..) {
            let (key, hash) = entry?;
            let hash = BlockHash(*hash.value());
            if *key.value() != height_key(height) {
                return Err(StoreError::Rotten(Record::Main(height)));
            }
            records.push(self.header(&hash)?.ok_or(StoreError::Rotten(Record::Header(hash)))?);
        }
        Ok(records)
    }

    /// The heads of the header tree by descending cumulative work, valid or not; equal work in no meaningful order.
    pub fn tips(&self) -> impl Iterator<Item = Result<(Work, BlockHash), StoreError>> {
        let (range, failure) = match self.tips.range::<&[u8; 64]>(..) {
            Ok(range) => (Some(range), None),
            Err(error) => (None, Some(Err(error.into()))),
        };
        let heads = range.into_iter().flat_map(Iterator::rev).map(|entry| Ok(tip_from_key(entry?.0.value())));
        failure.into_iter().chain(heads)
    }

    /// The body of a block, checked against the header's transaction root; nothing where it is not held.
    pub fn body(&self, hash: &BlockHash) -> Result<Option<Body>, StoreError> {
        let Some(record) = self.header(hash)? else { return Ok(None) };
        read_body(&self.bodies, &record)
    }

    /// The encoded body of a block as it is on disk, unchecked: for peers, who check it themselves.
    pub fn body_bytes(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(record) = self.header(hash)? else { return Ok(None) };
        Ok(self.bodies.get(&block_key(record.height, hash))?.map(|bytes| bytes.value().to_vec()))
    }

    /// Whether the body of a block is held.
    pub fn has_body(&self, hash: &BlockHash) -> Result<bool, StoreError> {
        let Some(record) = self.header(hash)? else { return Ok(false) };
        Ok(self.bodies.get(&block_key(record.height, hash))?.is_some())
    }

    /// How to take a main-chain block back; nothing for genesis and other branches.
    pub fn undo(&self, hash: &BlockHash) -> Result<Option<Undo>, StoreError> {
        let Some(record) = self.header(hash)? else { return Ok(None) };
        read_undo(&self.undo, record.height, hash)
    }

    /// Where a transaction is on the main chain. Nothing also where the index is switched off.
    pub fn transaction_place(&self, txid: &Txid) -> Result<Option<TransactionPlace>, StoreError> {
        Ok(self.transactions.get(&txid.0)?.map(|place| TransactionPlace::from_bytes(place.value())))
    }

    /// At most `limit` entries of an account's history on the main chain, newest first, from below `before` (the place
    /// of the last entry of the page before). Empty also where the index is switched off.
    pub fn account_history(
        &self,
        account: &AccountId,
        before: Option<HistoryPlace>,
        limit: usize,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let first = account_key(account, HistoryPlace { height: 0, leaf: 0 });
        // No leaf has the last number, so a range that excludes its end misses nothing.
        let end = account_key(account, before.unwrap_or(HistoryPlace { height: u64::MAX, leaf: u32::MAX }));
        let newest_first = self.accounts.range::<&[u8; 44]>(&first..&end)?.rev().take(limit);
        newest_first
            .map(|entry| {
                let (key, role) = entry?;
                HistoryEntry::from_bytes(key.value(), role.value())
            })
            .collect()
    }

    /// What was saved last of other nodes.
    pub fn peers(&self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.meta.get(tables::META_PEERS)?.map(|bytes| bytes.value().to_vec()))
    }

    /// The transactions that were saved last, in the order in which they were given. One that cannot be decoded any more
    /// is left out: it takes no other with it.
    pub fn mempool(&self) -> Result<Vec<Transaction>, StoreError> {
        let entries = self.mempool.range::<&[u8; 8]>(..)?;
        entries
            .filter_map(|entry| entry.map(|(_, bytes)| decode(bytes.value()).ok()).transpose())
            .collect::<Result<_, _>>()
            .map_err(StoreError::from)
    }
}

impl StateView for Snapshot {
    type Error = StoreError;

    fn leaf(&self, key: &StateKey) -> Result<Option<Leaf>, StoreError> {
        let Some(bytes) = self.leaves.get(&key.0)? else { return Ok(None) };
        decode_leaf(key, bytes.value()).map(Some)
    }

    fn leaves(&self, first: &StateKey, last: &StateKey, limit: usize) -> Result<Vec<(StateKey, Leaf)>, StoreError> {
        let entries = self.leaves.range::<&[u8; 32]>(&first.0..=&last.0)?.take(limit);
        entries
            .map(|entry| {
                let (key, bytes) = entry?;
                let key = StateKey(*key.value());
                Ok((key, decode_leaf(&key, bytes.value())?))
            })
            .collect()
    }

    fn page(&self, path: &PagePath) -> Result<Option<Page>, StoreError> {
        let Some(bytes) = self.pages.get(path.to_bytes().as_slice())? else { return Ok(None) };
        Page::from_bytes(bytes.value()).map(Some).ok_or(StoreError::Rotten(Record::Page(*path)))
    }

    fn history_node(&self, node: HistoryNode) -> Result<Option<[u8; 32]>, StoreError> {
        Ok(self.history.get(&node.to_bytes())?.map(|hash| *hash.value()))
    }
}

pub(super) fn decode_leaf(key: &StateKey, bytes: &[u8]) -> Result<Leaf, StoreError> {
    Leaf::from_bytes(bytes).ok_or(StoreError::Rotten(Record::Leaf(*key)))
}

// What follows reads a snapshot's tables and a write transaction's alike.

pub(super) fn read_header(
    headers: &impl ReadableTable<&'static [u8; 32], &'static [u8; HEADER_RECORD_BYTES]>,
    hash: &BlockHash,
) -> Result<Option<HeaderRecord>, StoreError> {
    headers.get(&hash.0)?.map(|bytes| HeaderRecord::from_bytes(hash, bytes.value())).transpose()
}

pub(super) fn read_main(
    main: &impl ReadableTable<&'static [u8; 8], &'static [u8; 32]>,
    height: u64,
) -> Result<Option<BlockHash>, StoreError> {
    Ok(main.get(&height_key(height))?.map(|hash| BlockHash(*hash.value())))
}

/// The last entry of the main chain, which is never empty.
pub(super) fn read_tip(
    main: &impl ReadableTable<&'static [u8; 8], &'static [u8; 32]>,
) -> Result<(u64, BlockHash), StoreError> {
    let (height, hash) = main.last()?.ok_or(StoreError::Rotten(Record::Main(0)))?;
    Ok((u64::from_be_bytes(*height.value()), BlockHash(*hash.value())))
}

pub(super) fn read_body(
    bodies: &impl ReadableTable<&'static [u8; 40], &'static [u8]>,
    record: &HeaderRecord,
) -> Result<Option<Body>, StoreError> {
    let Some(bytes) = bodies.get(&block_key(record.height, &record.hash))? else { return Ok(None) };
    let body: Option<Body> = decode(bytes.value()).ok();
    body.filter(|body| body.tx_root() == record.header.tx_root)
        .map(Some)
        .ok_or(StoreError::Rotten(Record::Body(record.hash)))
}

pub(super) fn read_undo(
    undo: &impl ReadableTable<&'static [u8; 40], &'static [u8]>,
    height: u64,
    hash: &BlockHash,
) -> Result<Option<Undo>, StoreError> {
    let Some(bytes) = undo.get(&block_key(height, hash))? else { return Ok(None) };
    decode(bytes.value()).map(Some).map_err(|_| StoreError::Rotten(Record::Undo(*hash)))
}
