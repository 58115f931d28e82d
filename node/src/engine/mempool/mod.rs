//! The mempool: transactions that wait for a block, queued by account and ordered by what they pay.
//!
//! Each sender has a queue, contiguous from its confirmed nonce, of transactions that its confirmed balance pays for. All
//! queued transactions stand in one order (see `order::Place`) that serves templates from the front and eviction from
//! the back. Beside the queues a small pool holds *gapped* transactions, which wait for a lower nonce: they are not
//! relayed, not mined and evict nobody.
//!
//! [`Mempool::admit`] takes a transaction in or says why not; [`Mempool::update`] follows the chain. Both read confirmed
//! accounts through [`AccountReader`], which must show the state that the last update led to.

mod admission;
mod fee;
mod limits;
mod order;
mod replay;
#[cfg(test)]
mod tests;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};

use drystone_core::amount::Amount;
use drystone_core::hash::{Txid, WireId};
use drystone_core::key::AccountId;
use drystone_core::state::Account;
use drystone_core::transaction::{MIN_TRANSACTION_BYTES, Transaction};
use drystone_core::validation::CheckedTransaction;

pub use admission::{AdmissionError, Admitted};
use fee::Floor;
pub use fee::{FeeRate, fee_at};
pub use limits::{ENTRY_MEMORY, Limits};
use order::Place;
pub use update::Updated;

/// Confirmed accounts.
pub trait AccountReader {
    /// Why an account cannot be read; never the fault of a transaction.
    type Error;

    /// The account `id` after the tip; an empty one where the state has none.
    fn account(&self, id: &AccountId) -> Result<Account, Self::Error>;
}

/// Sender and nonce: what at most one waiting transaction has.
type Key = (AccountId, u64);

/// A waiting transaction.
struct Entry {
    transaction: Box<CheckedTransaction>,
    /// Its number among all arrivals.
    sequence: u64,
    /// Where it stands; nothing while it is gapped.
    place: Option<Place>,
}

/// A line of [`Mempool::list`].
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// The transaction.
    pub transaction: &'a CheckedTransaction,
    /// The minimum fee rate of its queue up to it; nothing where it is gapped.
    pub score: Option<FeeRate>,
}

/// The transactions that wait for a block.
pub struct Mempool {
    limits: Limits,
    reserve: Amount,
    /// All transactions; an account's gapped ones follow its queue.
    entries: BTreeMap<Key, Entry>,
    by_txid: BTreeMap<Txid, Key>,
    by_wire_id: BTreeMap<WireId, Key>,
    /// The senders of all queued transactions, best first.
    order: BTreeMap<Place, AccountId>,
    /// The encoded length of all queued transactions.
    bytes: u64,
    /// For each first byte of a wire id, the sum of the queued ids' first eight bytes: what mempools are compared by.
    digests: Box<[u64; 256]>,
    next_sequence: u64,
    floor: Floor,
}

impl Mempool {
    /// An empty mempool for a chain with the given account reserve.
    pub fn new(limits: Limits, account_reserve: Amount) -> Mempool {
        Mempool {
            limits,
            reserve: account_reserve,
            entries: BTreeMap::new(),
            by_txid: BTreeMap::new(),
            by_wire_id: BTreeMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            digests: Box::new([0; 256]),
            next_sequence: 0,
            floor: Floor::default(),
        }
    }

    /// Forgets all that waits.
    pub fn clear(&mut self) {
        *self = Mempool {
            floor: self.floor,
            next_sequence: self.next_sequence,
            ..Mempool::new(self.limits.clone(), self.reserve)
        };
    }

    /// The clock was set back by so many milliseconds.
    pub fn set_back(&mut self, by: u64) {
        self.floor.set_back(by);
    }

    /// A waiting transaction, gapped or not.
    pub fn get(&self, txid: &Txid) -> Option<&CheckedTransaction> {
        self.by_txid.get(txid).map(|key| &*self.entries[key].transaction)
    }

    /// A waiting transaction, gapped or not, by the hash of all its bytes.
    pub fn get_by_wire_id(&self, wire_id: &WireId) -> Option<&CheckedTransaction> {
        self.by_wire_id.get(wire_id).map(|key| &*self.entries[key].transaction)
    }

    /// A waiting transaction by the first bytes of its wire id; of several the first.
    pub fn get_by_prefix(&self, prefix: &[u8; 8]) -> Option<&CheckedTransaction> {
        let mut first = [0; 32];
        first[..8].copy_from_slice(prefix);
        let (id, key) = self.by_wire_id.range(WireId(first)..).next()?;
        id.0.starts_with(prefix).then(|| &*self.entries[key].transaction)
    }

    /// All waiting transactions, gapped or not.
    pub fn all(&self) -> impl Iterator<Item = &CheckedTransaction> {
        self.entries.values().map(|entry| &*entry.transaction)
    }

    /// For each first byte of a wire id, the wrapping sum of the first eight bytes, little-endian, of those queued.
    pub fn digests(&self) -> &[u64; 256] {
        &self.digests
    }

    /// The wire ids of the queued transactions that begin with a byte.
    pub fn ids_in_bucket(&self, byte: u8) -> impl Iterator<Item = &WireId> {
        let (mut first, mut last) = ([0; 32], [0xff; 32]);
        (first[0], last[0]) = (byte, byte);
        let bucket = self.by_wire_id.range(WireId(first)..=WireId(last));
        bucket.filter(|(_, key)| self.entries[key].place.is_some()).map(|(id, _)| id)
    }

    /// The senders and wire ids of all queued transactions, by account, from `first` on and around, and by nonce.
    pub fn ids_by_account(&self, first: AccountId) -> impl Iterator<Item = (AccountId, WireId)> {
        let around = self.entries.range((first, 0)..).chain(self.entries.range(..(first, 0)));
        let queued = around.filter(|(_, entry)| entry.place.is_some());
        queued.map(|((account, _), entry)| (*account, entry.transaction.wire_id()))
    }

    /// Whether a transaction waits here, gapped or not, under whatever signature.
    pub fn contains(&self, txid: &Txid) -> bool {
        self.by_txid.contains_key(txid)
    }

    /// How many transactions are queued.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no transaction is queued.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many transactions wait for a lower nonce.
    pub fn gapped_len(&self) -> usize {
        self.entries.len() - self.order.len()
    }

    /// The encoded length of all queued transactions.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The memory that queued transactions are charged, out of [`Limits::memory`].
    pub fn memory(&self) -> usize {
        self.len() * ENTRY_MEMORY
    }

    /// The bounds.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The nonce that the account's next transaction must carry, given its confirmed nonce.
    pub fn pending_nonce(&self, account: &AccountId, confirmed: u64) -> u64 {
        let tail = self.queue(account).rev().find(|(_, entry)| entry.place.is_some());
        tail.map_or(confirmed, |((_, nonce), _)| confirmed.max(nonce + 1))
    }

    /// The fee that a further transaction must pay at the Unix time `now` in milliseconds, in chips for each 1,000 bytes: the
    /// floor, and more than what it would evict.
    pub fn min_fee_rate(&self, now: u64) -> Amount {
        let floor = self.floor.at(now, &self.limits);
        match self.order.last_key_value() {
            Some((worst, _)) if self.len() >= self.limits.capacity() => {
                floor.max(Amount(worst.score().per_1000_bytes().0.saturating_add(1)))
            }
            _ => floor,
        }
    }

    /// All queued transactions with their scores, best first.
    pub fn by_score(&self) -> impl DoubleEndedIterator<Item = (FeeRate, &CheckedTransaction)> {
        self.order.iter().map(|(place, sender)| {
            let entry = &self.entries[&(*sender, place.nonce())];
            (place.score(), &*entry.transaction)
        })
    }

    /// One page of all waiting transactions, ordered by account and nonce: what follows the sender and nonce `after`, at
    /// most `limit`.
    pub fn list(&self, after: Option<(AccountId, u64)>, limit: usize) -> Vec<Listed<'_>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let entries = self.entries.range((start, Bound::Unbounded)).take(limit);
        entries
            .map(|(_, entry)| Listed { transaction: &entry.transaction, score: entry.place.map(|place| place.score()) })
            .collect()
    }

    /// The best transactions that fit in `max_bytes` together, best score first, each account's in order of nonce. Where
    /// one does not fit, its account's later ones are left out with it.
    pub fn candidates(&self, max_bytes: usize) -> Vec<CheckedTransaction> {
        let mut room = max_bytes;
        let mut left_out = BTreeSet::new();
        let mut candidates = Vec::new();
        for (_, checked) in self.by_score() {
            if room < MIN_TRANSACTION_BYTES {
                break;
            }
            let transaction = checked.transaction();
            let (sender, bytes) = (transaction.body.from, transaction.encoded_len());
            if bytes > room || left_out.contains(&sender) {
                left_out.insert(sender);
                continue;
            }
            room -= bytes;
            candidates.push(checked.clone());
        }
        candidates
    }

    /// All waiting transactions, in an order in which [`Mempool::admit`] takes them again.
    pub fn transactions_for_saving(&self) -> Vec<Transaction> {
        self.entries.values().map(|entry| entry.transaction.transaction().clone()).collect()
    }

    /// An account's queue, then its gapped transactions, by nonce.
    fn queue(&self, account: &AccountId) -> impl DoubleEndedIterator<Item = (&Key, &Entry)> {
        self.entries.range((*account, 0)..=(*account, u64::MAX))
    }

    /// Takes a transaction into the maps, gapped. Its key is free.
    fn insert(&mut self, transaction: CheckedTransaction) {
        let body = &transaction.transaction().body;
        let key = (body.from, body.nonce);
        self.by_txid.insert(transaction.txid(), key);
        self.by_wire_id.insert(transaction.wire_id(), key);
        let entry = Entry { transaction: Box::new(transaction), sequence: self.next_sequence, place: None };
        self.entries.insert(key, entry);
        self.next_sequence += 1;
    }

    /// Takes a transaction out of everything.
    fn remove(&mut self, key: Key) -> Txid {
        self.set_place(key, None);
        let entry = self.entries.remove(&key).expect("only what is held is removed");
        self.by_txid.remove(&entry.transaction.txid());
        self.by_wire_id.remove(&entry.transaction.wire_id());
        entry.transaction.txid()
    }

    /// Queues the sender's transactions with these nonces, each behind its predecessor; all of them are held.
    fn enqueue(&mut self, sender: AccountId, nonces: Range<u64>) {
        let before = nonces.start.checked_sub(1).and_then(|nonce| self.entries.get(&(sender, nonce)));
        let mut previous = before.and_then(|entry| entry.place);
        for nonce in nonces {
            let entry = &self.entries[&(sender, nonce)];
            let rate = FeeRate::of(entry.transaction.transaction());
            let place = Place::behind(previous, rate, entry.sequence, nonce);
            self.set_place((sender, nonce), Some(place));
            previous = Some(place);
        }
    }

    /// Moves a transaction in the order, into it or out of it.
    fn set_place(&mut self, key: Key, place: Option<Place>) {
        let entry = self.entries.get_mut(&key).expect("only what is held has a place");
        let bytes = entry.transaction.transaction().encoded_len() as u64;
        let id = entry.transaction.wire_id().0;
        let prefix = u64::from_le_bytes(*id.first_chunk().expect("a wire id has 32 bytes"));
        let digest = &mut self.digests[usize::from(id[0])];
        if let Some(old) = std::mem::replace(&mut entry.place, place) {
            self.order.remove(&old);
            self.bytes -= bytes;
            *digest = digest.wrapping_sub(prefix);
        }
        if let Some(new) = place {
            self.order.insert(new, key.0);
            self.bytes += bytes;
            *digest = digest.wrapping_add(prefix);
        }
    }

    /// Evicts the last in the order, and raises the floor above it.
    fn evict(&mut self, now: u64) -> Option<Txid> {
        let (place, sender) = self.order.last_key_value()?;
        let (score, key) = (place.score(), (*sender, place.nonce()));
        self.floor.rise_above(score, now, &self.limits);
        Some(self.remove(key))
    }
}
