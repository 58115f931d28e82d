//! Transactions: in batches by gossip, by comparison of mempools, and this node's own again until they are confirmed.
//!
//! A batch is rejected if one transaction breaks a rule by itself, and forwarded if at least half of it was new and taken in;
//! of any other batch what is new travels on in a batch of this node's own. Forwarding what is known would let anybody
//! flood the network for nothing, with ever new mixtures of waiting transactions; only what this node was about to publish
//! itself may be known, and then the batch goes on in place of its own.
//! Mempools are compared in [`RECONCILIATION_BUCKETS`] buckets by the first byte of the wire id: a digest of each bucket goes
//! out, the ids of those that differ come back, and what is not known is asked for, page by page. So a node that was away or cut
//! off catches up without anybody sending everything again. Whoever is asked and finds a difference asks back, and passes on what
//! it lacked: so payments that a reorganisation gave back on one side of a healed split reach the miners of the other.

use std::collections::BTreeSet;

use drystone_core::hash::{Txid, WireId};
use drystone_core::key::AccountId;
use drystone_core::transaction::Transaction;
use drystone_core::validation::{CheckedTransaction, TransactionError};
use rand_chacha::rand_core::Rng;

use crate::engine::limits::{
    BATCH_BYTES, BATCH_TRANSACTIONS, BATCH_WINDOW_MS, BATCHES_PER_PEER, OWN_TRANSACTIONS, REBROADCAST_MS,
    RECONCILE_BACK_MS, RECONCILED_IDS, RECONCILED_PAGES, RECONCILIATION_BUCKETS, REQUEST_MS, RETURNED_MS,
    RETURNED_PEERS, TRANSACTIONS_BYTES,
};
use crate::engine::mempool::Admitted;
use crate::engine::message::{MessageId, Output, PeerId};
use crate::engine::session::{Comparison, Purpose, Source, Task, Timer};
use crate::engine::verdict::{Disposition, Offence, Refusal, judge_offence};
use crate::engine::wire::{Gossip, IdPrefix, Request, id_prefix};
use crate::engine::work::Job;
use crate::engine::{Engine, Fault};

impl Engine {
    /// A gossip message came. Before the handshake nothing is looked at.
    pub(in crate::engine) fn take_gossip(
        &mut self,
        peer: PeerId,
        message: MessageId,
        gossip: Gossip,
    ) -> Result<(), Fault> {
        let ready = self.net.peers.get(&peer).is_some_and(|peer| peer.status.is_some());
        match gossip {
            _ if !ready => self.judge_gossip(peer, message, Disposition::Ignore),
            Gossip::Block(announcement) => {
                self.counters.announcements_received += 1;
                self.take_announcement(peer, Some(message), announcement)?;
            }
            Gossip::Transactions(transactions) => self.take_batch(peer, message, transactions),
        }
        Ok(())
    }

    fn take_batch(&mut self, peer: PeerId, message: MessageId, transactions: Vec<Transaction>) {
        if transactions.len() > BATCH_TRANSACTIONS {
            self.judge_gossip(peer, message, Disposition::Reject);
            self.penalise(peer, Offence::Greedy);
            return;
        }
        let all = transactions.len();
        self.counters.transactions_received += all as u64;
        let (known, unknown) = self.split(transactions);
        let source = Source::Gossip { message, known: all - unknown.len() };
        if unknown.is_empty() {
            let forward = known.len() == all && self.stands_for_ours(&known);
            self.judge_gossip(peer, message, if forward { Disposition::Accept } else { Disposition::Ignore });
        } else if !self.check_for(peer, source, unknown) {
            self.judge_gossip(peer, message, Disposition::Ignore);
        }
    }

    /// Those that wait here, to the byte, and the others: one under another signature has to show that it is one.
    fn split(&self, mut transactions: Vec<Transaction>) -> (BTreeSet<Txid>, Vec<Transaction>) {
        let mut known = BTreeSet::new();
        transactions.retain(|transaction| {
            let waiting = self.mempool.get_by_wire_id(&transaction.wire_id());
            waiting.map(|checked| known.insert(checked.txid())).is_none()
        });
        (known, transactions)
    }

    /// Whether this node was about to publish all of these itself; then it need not.
    ///
    /// Two nodes that pulled the same send the same bytes, which gossip carries once: if each ignored the other's, nobody would
    /// forward either.
    fn stands_for_ours(&mut self, txids: &BTreeSet<Txid>) -> bool {
        let ours = &mut self.net.relay.batch;
        let stands = !txids.is_empty() && txids.is_subset(&ours.iter().copied().collect());
        if stands {
            ours.retain(|txid| !txids.contains(txid));
        }
        stands
    }

    /// Has a peer's transactions checked, if the node has a use for them and the peer an allowance left.
    fn check_for(&mut self, peer: PeerId, source: Source, transactions: Vec<Transaction>) -> bool {
        let busy = self.net.batches(&peer) >= BATCHES_PER_PEER;
        let useful = self.mempool_loaded && self.repairing.is_none() && !self.is_syncing() && !busy;
        if !useful || !self.net.buckets.take_transactions(self.now, &peer, transactions.len() as u64) {
            return false;
        }
        let height = self.tip.height + 1;
        self.give_out(Job::CheckTransactions { height, transactions }, Task::Transactions(peer, source));
        true
    }

    fn judge_gossip(&mut self, peer: PeerId, message: MessageId, disposition: Disposition) {
        self.outputs.push(Output::Judge { peer, message, disposition });
    }

    /// A peer's transactions were checked; those that hold are tried.
    pub(in crate::engine) fn transactions_checked(
        &mut self,
        peer: PeerId,
        source: Source,
        result: Result<Vec<CheckedTransaction>, (usize, TransactionError)>,
    ) -> Result<(), Fault> {
        let transactions = match result {
            Ok(transactions) => transactions,
            Err((_, error)) => {
                let offence = Offence::from(Refusal::from(error));
                let blamed = judge_offence(&offence) > 0;
                if let Source::Gossip { message, .. } = source {
                    self.judge_gossip(peer, message, if blamed { Disposition::Reject } else { Disposition::Ignore });
                }
                self.penalise(peer, offence);
                return Ok(());
            }
        };
        let mut admitted = Vec::new();
        let sent = transactions.len();
        if self.mempool_loaded && self.repairing.is_none() {
            for transaction in transactions {
                if let Ok(done) = self.mempool.admit(self.now, transaction, &*self.snapshot)? {
                    self.counters.transactions_admitted += 1;
                    self.mempool_changed();
                    self.publish_promoted(&done);
                    admitted.extend((!done.gapped).then_some(done.txid));
                }
            }
        }
        if !admitted.is_empty() {
            self.was_useful(&peer);
        }
        let pass_on = match source {
            Source::Gossip { message, known } if 2 * admitted.len() >= known + sent => {
                self.judge_gossip(peer, message, Disposition::Accept);
                false
            }
            Source::Gossip { message, .. } => {
                self.judge_gossip(peer, message, Disposition::Ignore);
                true
            }
            Source::Reconcile(comparison) => {
                self.next_page(peer, comparison);
                comparison.pass_on
            }
        };
        if pass_on {
            admitted.iter().for_each(|txid| self.put_in_batch(txid));
        }
        Ok(())
    }

    /// Transactions that waited for a lower nonce were not relayed; now they are.
    fn publish_promoted(&mut self, admitted: &Admitted) {
        for txid in &admitted.promoted {
            self.put_in_batch(txid);
        }
    }

    /// A transaction of this node's own was taken in: it is published, and again until it is confirmed.
    pub(in crate::engine) fn publish_own(&mut self, admitted: &Admitted) {
        if !admitted.gapped {
            self.put_in_batch(&admitted.txid);
        }
        self.publish_promoted(admitted);
        if self.net.relay.own.len() < OWN_TRANSACTIONS {
            let due = self.rebroadcast_time();
            self.net.relay.own.insert(admitted.txid, due);
            self.net.at(due, Timer::Rebroadcast);
        }
    }

    fn rebroadcast_time(&mut self) -> u64 {
        self.now + REBROADCAST_MS + self.net.rng.next_u64() % REBROADCAST_MS
    }

    pub(in crate::engine) fn put_in_batch(&mut self, txid: &Txid) {
        self.net.relay.batch.push(*txid);
        if !std::mem::replace(&mut self.net.relay.batch_due, true) {
            self.net.at(self.now + BATCH_WINDOW_MS, Timer::Batch);
        }
    }

    /// Publishes what was collected, in as many batches as it takes.
    pub(in crate::engine) fn publish_batch(&mut self) {
        self.net.relay.batch_due = false;
        let mut batch = Vec::new();
        let mut bytes = 8;
        for txid in std::mem::take(&mut self.net.relay.batch) {
            let Some(transaction) = self.mempool.get(&txid).map(|checked| checked.transaction().clone()) else {
                continue;
            };
            let length = transaction.encoded_len();
            if batch.len() == BATCH_TRANSACTIONS || bytes + length > BATCH_BYTES {
                self.outputs.push(Output::Publish(Gossip::Transactions(std::mem::take(&mut batch))));
                bytes = 8;
            }
            bytes += length;
            batch.push(transaction);
        }
        if !batch.is_empty() {
            self.outputs.push(Output::Publish(Gossip::Transactions(batch)));
        }
    }

    /// Publishes own transactions again whose time has come, and forgets those that wait no more.
    pub(in crate::engine) fn rebroadcast(&mut self) {
        let now = self.now;
        let due: Vec<Txid> = self.net.relay.own.iter().filter(|(_, due)| **due <= now).map(|(txid, _)| *txid).collect();
        for txid in due {
            self.net.relay.own.remove(&txid);
            if self.mempool.contains(&txid) || !self.mempool_loaded {
                self.put_in_batch(&txid);
                let due = self.rebroadcast_time();
                self.net.relay.own.insert(txid, due);
                self.net.at(due, Timer::Rebroadcast);
            }
        }
    }

    /// Compares mempools with a peer.
    pub(in crate::engine) fn reconcile_with(&mut self, peer: PeerId) {
        self.compare(peer, Comparison { pass_on: false, page: 0, full: false });
    }

    fn compare(&mut self, peer: PeerId, comparison: Comparison) {
        let ready = self.net.peers.get(&peer).is_some_and(|peer| peer.status.is_some());
        if ready && self.mempool_loaded && !self.is_syncing() {
            let digests = self.mempool.digests().to_vec();
            self.ask(peer, Request::Reconcile(digests), Purpose::Reconcile(comparison), REQUEST_MS);
        }
    }

    /// After a full page another may follow, whatever this one brought: peers page on where they ended.
    fn next_page(&mut self, peer: PeerId, comparison: Comparison) {
        let page = comparison.page + 1;
        if comparison.full && page < RECONCILED_PAGES {
            self.compare(peer, Comparison { page, full: false, ..comparison });
        }
    }

    /// A peer compared mempools, and they differ: what it has and this node has not is asked for in turn, and passed on. Not
    /// often, and so not without end between the two.
    pub(in crate::engine) fn reconcile_back(&mut self, id: PeerId, theirs: &[u64]) {
        let now = self.now;
        // After a handshake both compare, and each has what it needs by its own asking.
        let asked = self.net.is_comparing(&id);
        if asked || *self.mempool.digests() == *theirs || !self.mempool_loaded || self.is_syncing() {
            return;
        }
        let Some(peer) = self.net.peers.get_mut(&id) else { return };
        if peer.compared_back.is_none_or(|at| now >= at + RECONCILE_BACK_MS) {
            peer.compared_back = Some(now);
            self.compare(id, Comparison { pass_on: true, page: 0, full: false });
        }
    }

    /// A reorganisation gave back transactions that others may never have heard of. More of it may follow at once.
    pub(in crate::engine) fn offer_returned_soon(&mut self) {
        self.net.relay.offering.clear();
        self.offer_next();
    }

    /// All who lost the same blocks are about to do the same: each waits a time of its own.
    fn offer_next(&mut self) {
        let due = self.now + RETURNED_MS + self.net.rng.next_u64() % RETURNED_MS;
        self.net.hasten(due, Timer::Returned);
    }

    /// Compares mempools with a few peers, one after the other, so that they see what a reorganisation gave back: what the first
    /// one lacks it fetches, and passes on before the next is asked.
    pub(in crate::engine) fn offer_returned(&mut self) {
        if self.is_syncing() || !self.mempool_loaded {
            return self.offer_next();
        }
        if self.net.relay.offering.is_empty() {
            let mut told = Vec::new();
            while told.len() < RETURNED_PEERS
                && let Some(peer) = self.net.draw(|peer, _| !told.contains(peer))
            {
                told.push(peer);
            }
            self.net.relay.offering = told;
        }
        if let Some(peer) = self.net.relay.offering.pop() {
            self.reconcile_with(peer);
        }
        if !self.net.relay.offering.is_empty() {
            self.offer_next();
        }
    }

    /// The ids of waiting transactions in the buckets that differ; nothing if the question is not one. Of more than fit, by account
    /// and nonce, or the asker could not take them, from where its last such page ended; of an account no more than it may hand in,
    /// or what a reorganisation gave back of one would hide all others.
    pub(in crate::engine) fn waiting_ids(&mut self, id: &PeerId, theirs: &[u64]) -> Option<Vec<IdPrefix>> {
        if theirs.len() != RECONCILIATION_BUCKETS {
            return None;
        }
        let ours = self.mempool.digests();
        let differs = |byte: u8| ours[usize::from(byte)] != theirs[usize::from(byte)];
        let all = (0..=u8::MAX).filter(|byte| differs(*byte)).flat_map(|byte| self.mempool.ids_in_bucket(byte));
        let ids: Vec<IdPrefix> = all.map(id_prefix).take(RECONCILED_IDS + 1).collect();
        let paged = self.net.peers.get_mut(id).filter(|_| ids.len() > RECONCILED_IDS);
        let Some(peer) = paged else { return Some(ids) };
        let by_account = self.mempool.ids_by_account(peer.listed).filter(|(_, id)| differs(id.0[0]));
        let most = self.mempool.limits().per_account;
        let mut run = (AccountId([0; 32]), 0);
        let in_bounds = by_account.filter(|(account, _)| {
            run = (*account, if run.0 == *account { run.1 + 1 } else { 1 });
            run.1 <= most
        });
        let page: Vec<(AccountId, WireId)> = in_bounds.take(RECONCILED_IDS).collect();
        peer.listed = page.last().map_or(peer.listed, |(account, _)| *account);
        Some(page.iter().map(|(_, id)| id_prefix(id)).collect())
    }

    /// The waiting transactions that these prefixes name.
    pub(in crate::engine) fn waiting_transactions(&self, ids: &[IdPrefix]) -> Vec<Transaction> {
        let mut bytes = 0;
        let mut found = Vec::new();
        for id in ids {
            let Some(checked) = self.mempool.get_by_prefix(id) else { continue };
            bytes += checked.transaction().encoded_len();
            if bytes > TRANSACTIONS_BYTES {
                break;
            }
            found.push(checked.transaction().clone());
        }
        found
    }

    /// A peer told ids: what is not here is asked for.
    pub(in crate::engine) fn take_ids(&mut self, peer: PeerId, ids: Vec<IdPrefix>, comparison: Comparison) {
        let comparison = Comparison { full: ids.len() >= RECONCILED_IDS, ..comparison };
        let unknown: Vec<IdPrefix> =
            ids.into_iter().filter(|id| self.mempool.get_by_prefix(id).is_none()).take(RECONCILED_IDS).collect();
        if unknown.is_empty() {
            self.next_page(peer, comparison);
        } else {
            self.ask(peer, Request::Transactions(unknown), Purpose::Transactions(comparison), REQUEST_MS);
        }
    }

    /// A peer gave what was asked of it.
    pub(in crate::engine) fn take_pulled(
        &mut self,
        peer: PeerId,
        transactions: Vec<Transaction>,
        comparison: Comparison,
    ) {
        self.counters.transactions_received += transactions.len() as u64;
        let (_, mut unknown) = self.split(transactions);
        // Out of order, an account's would be gapped, of which only a few may wait.
        unknown.sort_by_key(|transaction| (transaction.body.from, transaction.body.nonce));
        if unknown.is_empty() {
            self.next_page(peer, comparison);
        } else {
            self.check_for(peer, Source::Reconcile(comparison), unknown);
        }
    }
}
