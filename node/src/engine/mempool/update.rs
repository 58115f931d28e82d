//! Following the chain: what it confirmed leaves, what it gave back returns, and the queues that it touched are built anew.

use std::collections::{BTreeMap, BTreeSet};

use drystone_core::hash::Txid;
use drystone_core::key::AccountId;
use drystone_core::transaction::Transaction;
use drystone_core::validation::CheckedTransaction;

use super::fee::FeeRate;
use super::replay::Replay;
use super::{AccountReader, Mempool};

/// What a chain update did to the mempool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Transactions whose nonce is used: they, or others with their nonce, were confirmed.
    pub used: Vec<Txid>,
    /// Transactions that cannot be paid any more, or wait for a lower nonce with no room to wait.
    pub dropped: Vec<Txid>,
    /// Transactions that are queued and were not before: from disconnected blocks, or because a gap closed.
    pub queued: Vec<Txid>,
    /// Transactions that made room for those.
    pub evicted: Vec<Txid>,
}

impl Mempool {
    /// Follows a chain update at the Unix time `now` in milliseconds. `confirmed` are the transactions of the connected
    /// blocks, `returned` those of the disconnected ones; `accounts` shows the new tip.
    ///
    /// Only the queues of accounts that the update touched are built anew. What returns is not asked for a fee and not
    /// counted against its account, because a block had room for it once; it yields to a transaction with its nonce that
    /// pays as much, and where the mempool is full the lowest scores go. An account that lost only a matured reward in a
    /// reorganisation keeps its queue: templates leave out what it cannot pay.
    ///
    /// # Errors
    /// The reader's. The mempool stays consistent, but has followed only a part of the update.
    pub fn update<R: AccountReader>(
        &mut self,
        now: u64,
        confirmed: &[Transaction],
        returned: Vec<CheckedTransaction>,
        accounts: &R,
    ) -> Result<Updated, R::Error> {
        let mut touched: BTreeSet<AccountId> = confirmed.iter().map(|transaction| transaction.body.from).collect();
        touched.extend(self.touched_by_return(&returned));
        let mut returned_by_sender: BTreeMap<AccountId, Vec<CheckedTransaction>> = BTreeMap::new();
        for transaction in returned {
            returned_by_sender.entry(transaction.transaction().body.from).or_default().push(transaction);
        }
        let mut updated = Updated::default();
        for sender in touched {
            let returned = returned_by_sender.remove(&sender).unwrap_or_default();
            self.rebuild(sender, returned, accounts, &mut updated)?;
            while self.len() > self.limits.capacity() {
                updated.evicted.extend(self.evict(now));
            }
        }
        Ok(updated)
    }

    /// The accounts whose queues may not hold any more after blocks with these transactions are gone: both sides of each,
    /// and whoever pays a recipient, which may have fallen below the reserve. For the last all that waits is looked
    /// through; nothing else can lower a balance below the reserve, so a growing chain never pays for this.
    fn touched_by_return(&self, returned: &[CheckedTransaction]) -> BTreeSet<AccountId> {
        let mut touched = BTreeSet::new();
        if returned.is_empty() {
            return touched;
        }
        for transaction in returned {
            let body = &transaction.transaction().body;
            touched.extend([body.from, body.to]);
        }
        let recipient_touched = |transaction: &CheckedTransaction| touched.contains(&transaction.transaction().body.to);
        let payers = self.entries.iter().filter(|(_, entry)| recipient_touched(&entry.transaction));
        let payers: Vec<AccountId> = payers.map(|((sender, _), _)| *sender).collect();
        touched.extend(payers);
        touched
    }

    /// Builds a sender's queue anew from what waits and what returns: the longest run from the confirmed nonce that the
    /// account can pay. What comes after it is gapped.
    fn rebuild<R: AccountReader>(
        &mut self,
        sender: AccountId,
        returned: Vec<CheckedTransaction>,
        accounts: &R,
        updated: &mut Updated,
    ) -> Result<(), R::Error> {
        if returned.is_empty() && self.queue(&sender).next().is_none() {
            return Ok(());
        }
        let account = accounts.account(&sender)?;
        let start = account.nonce;
        let returned = self.without_outbid(returned, start);

        let mut replay = Replay::new(account, self.reserve, accounts);
        let mut end = start;
        let mut unpayable = false;
        while !unpayable && let Some(next) = returned.get(&end).or_else(|| self.waiting(sender, end)) {
            unpayable = !replay.try_apply(&next.transaction().body)?;
            end += u64::from(!unpayable);
        }

        // From here on nothing fails.
        let used: Vec<u64> = self.nonces(sender, |nonce, _| nonce < start);
        updated.used.extend(used.into_iter().map(|nonce| self.remove((sender, nonce))));
        for (nonce, transaction) in returned {
            if self.waiting(sender, nonce).is_some() {
                updated.dropped.push(self.remove((sender, nonce)));
            }
            self.insert(transaction);
        }
        if unpayable {
            updated.dropped.push(self.remove((sender, end)));
        }
        let promoted = self.nonces(sender, |nonce, queued| nonce < end && !queued);
        updated.queued.extend(promoted.iter().map(|nonce| self.entries[&(sender, *nonce)].transaction.txid()));
        self.enqueue(sender, start..end);
        for nonce in self.nonces(sender, |nonce, queued| nonce >= end && queued) {
            self.set_place((sender, nonce), None);
        }
        self.trim_gapped(sender, start, updated);
        Ok(())
    }

    /// What returns, by nonce, without what is confirmed again and what a waiting transaction outbids.
    fn without_outbid(&self, returned: Vec<CheckedTransaction>, start: u64) -> BTreeMap<u64, CheckedTransaction> {
        let rate = |checked: &CheckedTransaction| FeeRate::of(checked.transaction());
        let wins = |checked: &CheckedTransaction| {
            let body = &checked.transaction().body;
            body.nonce >= start && self.waiting(body.from, body.nonce).is_none_or(|other| rate(other) < rate(checked))
        };
        let winners = returned.into_iter().filter(wins);
        winners.map(|checked| (checked.transaction().body.nonce, checked)).collect()
    }

    /// Drops gapped transactions of a sender that are too many or too far ahead, the highest nonces first.
    fn trim_gapped(&mut self, sender: AccountId, confirmed: u64, updated: &mut Updated) {
        let gapped = self.nonces(sender, |_, queued| !queued);
        for (held, nonce) in gapped.into_iter().enumerate().rev() {
            let near = nonce - confirmed < self.limits.per_account;
            if !near || held >= self.limits.gapped_per_account || self.gapped_len() > self.limits.gapped {
                updated.dropped.push(self.remove((sender, nonce)));
            }
        }
    }

    fn waiting(&self, sender: AccountId, nonce: u64) -> Option<&CheckedTransaction> {
        self.entries.get(&(sender, nonce)).map(|entry| &*entry.transaction)
    }

    /// The nonces of a sender's transactions that `which` picks by nonce and by whether they are queued, ascending.
    fn nonces(&self, sender: AccountId, which: impl Fn(u64, bool) -> bool) -> Vec<u64> {
        let queue = self.queue(&sender).map(|((_, nonce), entry)| (*nonce, entry.place.is_some()));
        queue.filter(|(nonce, queued)| which(*nonce, *queued)).map(|(nonce, _)| nonce).collect()
    }
}
