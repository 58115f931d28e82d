//! The two optional indexes: which entries a block has in them, and how they are built and dropped.

use drystone_core::block::Body;
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::key::AccountId;
use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::error::{Record, StoreError};
use super::snapshot::{read_body, read_header};
use super::tables::{
    ACCOUNTS, BODIES, HEADERS, HistoryPlace, MAIN, META, META_INDEXES, Role, TRANSACTIONS, TransactionPlace,
    account_key, block_key, height_key,
};

/// Which indexes a store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexes {
    /// Transaction id -> place.
    pub transactions: bool,
    /// Account -> what moved it.
    pub accounts: bool,
}

impl Indexes {
    pub(super) fn to_byte(self) -> u8 {
        u8::from(self.transactions) | u8::from(self.accounts) << 1
    }

    pub(super) fn from_byte(byte: u8) -> Option<Indexes> {
        (byte < 4).then_some(Indexes { transactions: byte & 1 != 0, accounts: byte & 2 != 0 })
    }
}

/// A block's entries in the transaction index.
pub(super) fn transaction_entries(height: u64, body: &Body) -> Vec<(Txid, TransactionPlace)> {
    let entry = |(index, txid)| (txid, TransactionPlace { height, index });
    let mut entries: Vec<_> =
        (0..).zip(body.transactions.iter().map(|transaction| transaction.txid())).map(entry).collect();
    entries.sort_unstable_by_key(|(txid, _)| *txid);
    entries
}

/// A block's entries in the account history.
pub(super) fn account_entries(height: u64, body: &Body) -> Vec<([u8; 44], Role)> {
    let key = |account: &AccountId, leaf| account_key(account, HistoryPlace { height, leaf });
    let mut entries = vec![(key(&body.reward_to, 0), Role::Earned)];
    for (leaf, transaction) in (1..).zip(&body.transactions) {
        let (from, to) = (&transaction.body.from, &transaction.body.to);
        if from == to {
            entries.push((key(from, leaf), Role::PaidItself));
        } else {
            entries.extend([(key(from, leaf), Role::Paid), (key(to, leaf), Role::Received)]);
        }
    }
    entries.sort_unstable_by_key(|(key, _)| *key);
    entries
}

/// Adds a main-chain block to the indexes.
pub(super) fn add_block(
    transaction: &WriteTransaction,
    indexes: Indexes,
    height: u64,
    body: &Body,
) -> Result<(), StoreError> {
    if indexes.transactions {
        let mut table = transaction.open_table(TRANSACTIONS)?;
        for (txid, place) in transaction_entries(height, body) {
            table.insert(&txid.0, &place.to_bytes())?;
        }
    }
    if indexes.accounts {
        let mut table = transaction.open_table(ACCOUNTS)?;
        for (key, role) in account_entries(height, body) {
            table.insert(&key, &[role.to_byte()])?;
        }
    }
    Ok(())
}

/// Takes a main-chain block out of the indexes.
pub(super) fn remove_block(
    transaction: &WriteTransaction,
    indexes: Indexes,
    height: u64,
    body: &Body,
) -> Result<(), StoreError> {
    if indexes.transactions {
        let mut table = transaction.open_table(TRANSACTIONS)?;
        for (txid, _) in transaction_entries(height, body) {
            table.remove(&txid.0)?;
        }
    }
    if indexes.accounts {
        let mut table = transaction.open_table(ACCOUNTS)?;
        for (key, _) in account_entries(height, body) {
            table.remove(&key)?;
        }
    }
    Ok(())
}

/// Makes the indexes on disk the ones that are `wanted`: builds what is missing from the bodies, drops what is not wanted.
/// Costs nothing where they already are, and is part of the caller's transaction, so that a crash leaves the old choice.
pub(super) fn switch(
    transaction: &WriteTransaction,
    wanted: Indexes,
    progress: &impl Fn(f64),
) -> Result<(), StoreError> {
    let found = read(transaction)?;
    if !wanted.transactions {
        clear_transactions(transaction)?;
    }
    if !wanted.accounts {
        clear_accounts(transaction)?;
    }
    let missing = Indexes {
        transactions: wanted.transactions && !found.transactions,
        accounts: wanted.accounts && !found.accounts,
    };
    if missing.transactions || missing.accounts {
        build(transaction, missing, Lacking::Rotten, progress)?;
    }
    if wanted != found {
        transaction.open_table(META)?.insert(META_INDEXES, [wanted.to_byte()].as_slice())?;
    }
    Ok(())
}

fn read(transaction: &WriteTransaction) -> Result<Indexes, StoreError> {
    let meta = transaction.open_table(META)?;
    let rotten = || StoreError::Rotten(Record::Meta(META_INDEXES));
    let bytes = meta.get(META_INDEXES)?.ok_or_else(rotten)?;
    let &[byte] = bytes.value() else { return Err(rotten()) };
    Indexes::from_byte(byte).ok_or_else(rotten)
}

/// Empties the transaction index.
pub(super) fn clear_transactions(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.delete_table(TRANSACTIONS)?;
    transaction.open_table(TRANSACTIONS)?;
    Ok(())
}

/// Empties the account history.
pub(super) fn clear_accounts(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.delete_table(ACCOUNTS)?;
    transaction.open_table(ACCOUNTS)?;
    Ok(())
}

/// What a body of the main chain that is not held is to [`build`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacking {
    /// A fault: the indexes are to be whole.
    Rotten,
    /// Left out: its entries, where they are, stay as they are.
    Skipped,
}

/// Adds every block of the main chain above genesis, which moves nothing.
pub(super) fn build(
    transaction: &WriteTransaction,
    missing: Indexes,
    lacking: Lacking,
    progress: &impl Fn(f64),
) -> Result<(), StoreError> {
    let (main, headers) = (transaction.open_table(MAIN)?, transaction.open_table(HEADERS)?);
    let bodies = transaction.open_table(BODIES)?;
    let blocks = main.len()?;
    for (entry, height) in main.range::<&[u8; 8]>(&height_key(1)..)?.zip(1..) {
        let hash = BlockHash(*entry?.1.value());
        let record = read_header(&headers, &hash)?.ok_or(StoreError::Rotten(Record::Header(hash)))?;
        match read_body(&bodies, &record)? {
            Some(body) => add_block(transaction, missing, height, &body)?,
            None if lacking == Lacking::Skipped => {}
            None => return Err(StoreError::Rotten(Record::Body(hash))),
        }
        progress(height as f64 / blocks as f64);
    }
    Ok(())
}

/// Makes the indexes that are kept anew from the bodies of the main chain. Where some are not held, nothing else gives the
/// entries of theirs, so the entries of the others are written again and all else stays as it is.
pub(super) fn rebuild(transaction: &WriteTransaction, kept: Indexes) -> Result<(), StoreError> {
    if !kept.transactions && !kept.accounts {
        return Ok(());
    }
    let mut all_held = true;
    {
        let (main, bodies) = (transaction.open_table(MAIN)?, transaction.open_table(BODIES)?);
        for (entry, height) in main.iter()?.zip(0..) {
            let hash = BlockHash(*entry?.1.value());
            all_held = all_held && bodies.get(&block_key(height, &hash))?.is_some();
        }
    }
    if all_held {
        clear_transactions(transaction)?;
        clear_accounts(transaction)?;
    }
    build(transaction, kept, Lacking::Skipped, &|_| {})
}
