//! Every bound of the mempool, with its arithmetic.

use std::mem::size_of;

use drystone_core::amount::Amount;
use drystone_core::hash::{Txid, WireId};
use drystone_core::key::AccountId;
use drystone_core::transaction::MAX_MEMO;
use drystone_core::validation::CheckedTransaction;

use super::order::Place;
use super::{Entry, Key};

/// The memory that one transaction is charged, whatever its memo: the boxed transaction, the longest memo, the
/// allocator's 16 bytes for each, and its four B-tree entries counted twice, because B-tree nodes are kept at least about
/// half full. 1.1 KiB.
///
/// One charge for all means that one eviction makes room for exactly one transaction, and that a replacement needs none,
/// so that the fees of what is evicted never come into the price of a replacement.
pub const ENTRY_MEMORY: usize = size_of::<CheckedTransaction>()
    + MAX_MEMO
    + 2 * 16
    + 2 * (size_of::<(Key, Entry)>()
        + size_of::<(Txid, Key)>()
        + size_of::<(WireId, Key)>()
        + size_of::<(Place, AccountId)>());

/// What the mempool holds at most, and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory for queued transactions in bytes, [`ENTRY_MEMORY`] each. Full, the lowest score makes room for a higher one.
    pub memory: usize,
    /// How far ahead of the confirmed nonce a transaction may be, and thereby how many one account has, gapped ones
    /// included. Past it a transaction is refused.
    pub per_account: u64,
    /// Gapped transactions in all, beside `memory`. Full, a further one is refused.
    pub gapped: usize,
    /// Gapped transactions of one account. Full, a further one is refused.
    pub gapped_per_account: usize,
    /// The least fee rate that is ever taken, and the step by which a floor rises, in chips for each 1,000 bytes.
    pub relay_fee_rate: Amount,
    /// The time in milliseconds in which a raised floor falls by half.
    pub floor_half_life: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // 64 MiB / 1.1 KiB = 59,000 transactions: over four full blocks of 2 MiB at the shortest 160 bytes each.
            memory: 64 << 20,
            // 64 replayed transfers bound the work of one admission.
            per_account: 64,
            // 1,000 * 1.1 KiB = 1.1 MiB.
            gapped: 1_000,
            // 250 accounts are needed to fill the pool.
            gapped_per_account: 4,
            // One chip a byte: a transfer of 160 bytes costs 0.0000016 stone.
            relay_fee_rate: Amount(1_000),
            // 20 blocks of 30 s: a full mempool of 5 blocks has drained well before its floor has halved.
            floor_half_life: 10 * 60 * 1_000,
        }
    }
}

impl Limits {
    /// How many transactions the queues hold in all.
    pub fn capacity(&self) -> usize {
        (self.memory / ENTRY_MEMORY).max(1)
    }
}
