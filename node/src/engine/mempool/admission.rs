//! Admission: the rules that a transaction must meet to wait here, and what its coming changes.

use drystone_core::amount::Amount;
use drystone_core::hash::Txid;
use drystone_core::key::AccountId;
use drystone_core::state::Account;
use drystone_core::transaction::{Transaction, TransactionBody};
use drystone_core::validation::CheckedTransaction;

use super::fee::{FeeRate, fee_at, saturate};
use super::replay::Replay;
use super::{AccountReader, Key, Mempool};

/// What the mempool did with a transaction that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The transaction.
    pub txid: Txid,
    /// The transaction of the same sender and nonce whose place it took.
    pub replaced: Option<Txid>,
    /// Transactions of the same sender that cannot be paid any more.
    pub dropped: Vec<Txid>,
    /// Transactions that made room.
    pub evicted: Vec<Txid>,
    /// Whether it waits for a lower nonce: it is not to be relayed.
    pub gapped: bool,
    /// Transactions that waited for this one and are queued now: they are to be relayed.
    pub promoted: Vec<Txid>,
}

impl Admitted {
    fn new(txid: Txid) -> Admitted {
        Admitted { txid, replaced: None, dropped: Vec::new(), evicted: Vec::new(), gapped: false, promoted: Vec::new() }
    }
}

/// Why the mempool does not take a transaction. One rule, one variant; the text names the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// It waits here.
    #[error("transaction {txid} is already in the mempool; it only has to confirm")]
    AlreadyKnown {
        /// The transaction.
        txid: Txid,
    },
    /// It waits here under another signature, which is as good.
    #[error("transaction {txid} is already in the mempool under another signature; it only has to confirm")]
    OtherSignature {
        /// The transaction.
        txid: Txid,
    },
    /// The fee rate is below the floor.
    #[error("the fee of {found} chips is too low; pay at least {required}")]
    FeeTooLow {
        /// The least fee for its length.
        required: Amount,
        /// Its fee.
        found: Amount,
    },
    /// A confirmed transaction of the sender has the nonce.
    #[error("nonce {found} is already used; sign again with nonce {next}")]
    NonceUsed {
        /// Its nonce.
        found: u64,
        /// The nonce that follows the sender's pending transactions.
        next: u64,
    },
    /// The sender has as many transactions pending as it may.
    #[error(
        "nonce {found} is too far ahead: one account may have {limit} transactions pending; wait until nonce {confirmed} is confirmed"
    )]
    TooManyPending {
        /// Its nonce.
        found: u64,
        /// The sender's first nonce that is not confirmed.
        confirmed: u64,
        /// How many may be pending.
        limit: u64,
    },
    /// The sender has as many gapped transactions as it may.
    #[error("{limit} transactions of the account already wait for nonce {next}; send that one first")]
    GappedAccountFull {
        /// The nonce that is missing.
        next: u64,
        /// How many may wait for it.
        limit: usize,
    },
    /// The pool for gapped transactions is full.
    #[error("nonce {next} has to come first and the mempool has no room for transactions that wait; send nonce {next}")]
    GappedPoolFull {
        /// The nonce that is missing.
        next: u64,
    },
    /// The sender's confirmed balance does not cover everything that it has pending.
    #[error(
        "amount and fee are {required} chips, but only {available} are confirmed and not pending; send less or wait for funds to confirm"
    )]
    Overspend {
        /// What the sender's pending transactions leave of its confirmed balance.
        available: Amount,
        /// Amount and fee.
        required: Amount,
    },
    /// The sender would keep less than the account reserve.
    #[error("the sender would keep {left} chips and must keep at least {reserve}; send less")]
    SenderBelowReserve {
        /// What the sender would keep.
        left: Amount,
        /// The account reserve.
        reserve: Amount,
    },
    /// The recipient would have less than the account reserve.
    #[error("the recipient would have {left} chips and must have at least {reserve}; send more")]
    RecipientBelowReserve {
        /// What the recipient would have.
        left: Amount,
        /// The account reserve.
        reserve: Amount,
    },
    /// It has the nonce of a pending transaction and does not pay enough to take its place.
    #[error(
        "nonce {nonce} is pending as {pending}; to replace it pay a fee of at least {required} chips instead of {found}"
    )]
    ReplacementTooCheap {
        /// The nonce of both.
        nonce: u64,
        /// The transaction that stays.
        pending: Txid,
        /// The least fee that replaces it.
        required: Amount,
        /// Its fee.
        found: Amount,
    },
    /// The mempool is full of transactions that pay as much or more.
    #[error("the mempool is full; pay a fee of at least {required} chips instead of {found}")]
    PoolFull {
        /// The least fee that would find room now.
        required: Amount,
        /// Its fee.
        found: Amount,
    },
    /// The mempool is full of transactions that pay as much as one that has to be mined before this one, or more.
    #[error(
        "the mempool is full and nonce {nonce}, which comes first, pays too little; replace that with a higher fee"
    )]
    QueueTooCheap {
        /// The first pending nonce that pays too little.
        nonce: u64,
    },
}

/// Why a transaction was not admitted: a rule, or confirmed state that could not be read.
#[derive(Debug)]
pub(super) enum Refusal<E> {
    /// The transaction's fault.
    Rule(AdmissionError),
    /// Ours.
    Reader(E),
}

impl<E> From<AdmissionError> for Refusal<E> {
    fn from(error: AdmissionError) -> Self {
        Refusal::Rule(error)
    }
}

impl Mempool {
    /// Takes in a transaction at the Unix time `now` in milliseconds, or says which rule it breaks; a refused one leaves no
    /// trace. Amounts count against the confirmed balance alone, never against what others have pending.
    ///
    /// # Errors
    /// The outer error is the reader's and says nothing about the transaction; the mempool stays consistent.
    pub fn admit<R: AccountReader>(
        &mut self,
        now: u64,
        transaction: CheckedTransaction,
        accounts: &R,
    ) -> Result<Result<Admitted, AdmissionError>, R::Error> {
        match self.try_admit(now, transaction, accounts) {
            Ok(admitted) => Ok(Ok(admitted)),
            Err(Refusal::Rule(error)) => Ok(Err(error)),
            Err(Refusal::Reader(error)) => Err(error),
        }
    }

    fn try_admit<R: AccountReader>(
        &mut self,
        now: u64,
        transaction: CheckedTransaction,
        accounts: &R,
    ) -> Result<Admitted, Refusal<R::Error>> {
        let body = &transaction.transaction().body;
        self.check_unknown(&transaction)?;
        self.check_floor(now, transaction.transaction())?;
        let account = accounts.account(&body.from).map_err(Refusal::Reader)?;
        self.check_nonce(body, account.nonce)?;
        let next = self.pending_nonce(&body.from, account.nonce);
        if self.entries.contains_key(&(body.from, body.nonce)) {
            self.replace(transaction, account, accounts)
        } else if body.nonce == next {
            self.append(now, transaction, account, accounts)
        } else {
            self.set_aside(transaction, next, account, accounts)
        }
    }

    fn check_unknown(&self, transaction: &CheckedTransaction) -> Result<(), AdmissionError> {
        let txid = transaction.txid();
        if self.by_wire_id.contains_key(&transaction.wire_id()) {
            return Err(AdmissionError::AlreadyKnown { txid });
        }
        if self.by_txid.contains_key(&txid) { Err(AdmissionError::OtherSignature { txid }) } else { Ok(()) }
    }

    fn check_floor(&self, now: u64, transaction: &Transaction) -> Result<(), AdmissionError> {
        let required = fee_at(self.floor.at(now, &self.limits), transaction.encoded_len() as u64);
        let found = transaction.body.fee;
        if found < required { Err(AdmissionError::FeeTooLow { required, found }) } else { Ok(()) }
    }

    fn check_nonce(&self, body: &TransactionBody, confirmed: u64) -> Result<(), AdmissionError> {
        let (found, limit) = (body.nonce, self.limits.per_account);
        match found.checked_sub(confirmed) {
            None => Err(AdmissionError::NonceUsed { found, next: self.pending_nonce(&body.from, confirmed) }),
            Some(ahead) if ahead >= limit => Err(AdmissionError::TooManyPending { found, confirmed, limit }),
            Some(_) => Ok(()),
        }
    }

    /// Puts a transaction at the end of its sender's queue, then those that waited for it.
    fn append<R: AccountReader>(
        &mut self,
        now: u64,
        transaction: CheckedTransaction,
        account: Account,
        accounts: &R,
    ) -> Result<Admitted, Refusal<R::Error>> {
        self.check_append(&transaction, account, accounts)?;
        let (sender, nonce) = key_of(&transaction);
        let mut admitted = Admitted::new(transaction.txid());
        admitted.evicted.extend(self.make_room(now));
        self.insert(transaction);
        self.enqueue(sender, nonce..nonce + 1);
        self.promote(now, sender, account, accounts, &mut admitted).map_err(Refusal::Reader)?;
        Ok(admitted)
    }

    fn check_append<R: AccountReader>(
        &self,
        transaction: &CheckedTransaction,
        account: Account,
        accounts: &R,
    ) -> Result<(), Refusal<R::Error>> {
        self.replay(key_of(transaction), account, accounts).apply(&transaction.transaction().body)?;
        Ok(self.check_room(transaction.transaction())?)
    }

    /// Queues the sender's gapped transactions while they follow its queue. What does not meet the rules now is dropped.
    fn promote<R: AccountReader>(
        &mut self,
        now: u64,
        sender: AccountId,
        account: Account,
        accounts: &R,
        admitted: &mut Admitted,
    ) -> Result<(), R::Error> {
        loop {
            let nonce = self.pending_nonce(&sender, account.nonce);
            let Some(entry) = self.entries.get(&(sender, nonce)) else { return Ok(()) };
            let txid = entry.transaction.txid();
            let floor = self.check_floor(now, entry.transaction.transaction()).map_err(Refusal::Rule);
            match floor.and_then(|()| self.check_append(&entry.transaction, account, accounts)) {
                Ok(()) => {
                    admitted.evicted.extend(self.make_room(now));
                    self.enqueue(sender, nonce..nonce + 1);
                    admitted.promoted.push(txid);
                }
                Err(Refusal::Rule(_)) => admitted.dropped.push(self.remove((sender, nonce))),
                Err(Refusal::Reader(error)) => return Err(error),
            }
        }
    }

    /// Room is free, or the last in the order scores less than the transaction would: less than what it pays, and than
    /// what everything before it in its queue pays.
    fn check_room(&self, transaction: &Transaction) -> Result<(), AdmissionError> {
        let Some((worst, _)) = self.order.last_key_value() else { return Ok(()) };
        if self.len() < self.limits.capacity() {
            return Ok(());
        }
        let (worst, body) = (worst.score(), &transaction.body);
        if FeeRate::of(transaction) <= worst {
            let required = worst.fee_above(transaction.encoded_len() as u64);
            return Err(AdmissionError::PoolFull { required, found: body.fee });
        }
        let before = self.entries.range((body.from, 0)..(body.from, body.nonce));
        let mut cheap = before.filter(|(_, entry)| FeeRate::of(entry.transaction.transaction()) <= worst);
        match cheap.next() {
            Some(((_, nonce), _)) => Err(AdmissionError::QueueTooCheap { nonce: *nonce }),
            None => Ok(()),
        }
    }

    /// Evicts the last in the order if the mempool is full: one always suffices, as each is charged the same.
    fn make_room(&mut self, now: u64) -> Option<Txid> {
        if self.len() < self.limits.capacity() { None } else { self.evict(now) }
    }

    /// Puts a transaction in the place of the one with its nonce; followers that cannot be paid any more leave.
    fn replace<R: AccountReader>(
        &mut self,
        transaction: CheckedTransaction,
        account: Account,
        accounts: &R,
    ) -> Result<Admitted, Refusal<R::Error>> {
        let key @ (sender, nonce) = key_of(&transaction);
        let gapped = self.entries[&key].place.is_none();
        let mut replay = self.replay(key, account, accounts);
        let lost = if gapped {
            replay.check_sender(&transaction.transaction().body)?;
            Vec::new()
        } else {
            replay.apply(&transaction.transaction().body)?;
            self.unpayable_after(key, replay).map_err(Refusal::Reader)?
        };
        self.check_price(&transaction, &lost)?;

        let next = self.pending_nonce(&sender, account.nonce);
        let end = lost.first().map_or(next, |(_, nonce)| *nonce);
        let mut admitted = Admitted { gapped, ..Admitted::new(transaction.txid()) };
        admitted.replaced = Some(self.remove(key));
        admitted.dropped = lost.into_iter().map(|key| self.remove(key)).collect();
        self.insert(transaction);
        if !gapped {
            self.enqueue(sender, nonce..end);
        }
        Ok(admitted)
    }

    /// What follows `key` in its queue and cannot be paid after `replay`, with everything behind it.
    fn unpayable_after<R: AccountReader>(&self, key: Key, mut replay: Replay<'_, R>) -> Result<Vec<Key>, R::Error> {
        let mut lost = Vec::new();
        for (follower, entry) in self.queue(&key.0).filter(|(other, entry)| **other > key && entry.place.is_some()) {
            if !lost.is_empty() || !replay.try_apply(&entry.transaction.transaction().body)? {
                lost.push(*follower);
            }
        }
        Ok(lost)
    }

    /// A replacement pays 1.1 times the old fee, the relay minimum for its own bytes, which are relayed again, and the fees
    /// of the followers that it costs. So the fees in the mempool rise with every replacement, and nobody can have the
    /// network relay transactions for nothing by replacing them over and over.
    fn check_price(&self, transaction: &CheckedTransaction, lost: &[Key]) -> Result<(), AdmissionError> {
        let fee = |key: &Key| u128::from(self.entries[key].transaction.transaction().body.fee.0);
        let key = key_of(transaction);
        let transaction = transaction.transaction();
        let relay = fee_at(self.limits.relay_fee_rate, transaction.encoded_len() as u64);
        let followers = lost.iter().map(fee).sum::<u128>();
        let required = saturate((fee(&key) * 11).div_ceil(10) + u128::from(relay.0) + followers);
        let found = transaction.body.fee;
        if found >= required {
            return Ok(());
        }
        let pending = self.entries[&key].transaction.txid();
        Err(AdmissionError::ReplacementTooCheap { nonce: key.1, pending, required, found })
    }

    /// Keeps a transaction until the nonces before it come. Its sender must be able to pay it; whether its recipient is
    /// funded may depend on what is missing and is asked when the gap closes.
    fn set_aside<R: AccountReader>(
        &mut self,
        transaction: CheckedTransaction,
        next: u64,
        account: Account,
        accounts: &R,
    ) -> Result<Admitted, Refusal<R::Error>> {
        let key = key_of(&transaction);
        self.replay(key, account, accounts).check_sender(&transaction.transaction().body)?;
        let limit = self.limits.gapped_per_account;
        if self.queue(&key.0).filter(|(_, entry)| entry.place.is_none()).count() >= limit {
            return Err(AdmissionError::GappedAccountFull { next, limit }.into());
        }
        if self.gapped_len() >= self.limits.gapped {
            return Err(AdmissionError::GappedPoolFull { next }.into());
        }
        let admitted = Admitted { gapped: true, ..Admitted::new(transaction.txid()) };
        self.insert(transaction);
        Ok(admitted)
    }

    /// The sender's account after everything that it has waiting before `key`.
    fn replay<'a, R: AccountReader>(&self, key: Key, account: Account, accounts: &'a R) -> Replay<'a, R> {
        let mut replay = Replay::new(account, self.reserve, accounts);
        for (_, entry) in self.entries.range((key.0, 0)..key) {
            replay.assume(&entry.transaction.transaction().body);
        }
        replay
    }
}

fn key_of(transaction: &CheckedTransaction) -> Key {
    let body = &transaction.transaction().body;
    (body.from, body.nonce)
}
