//! Payments: made at random hosts, some twice, some in vain, and each accounted for at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drystone_core::amount::Amount;
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::state::Account;
use drystone_core::transaction::{Memo, Transaction, TransactionBody};
use drystone_core::validation::check_transaction;
use drystone_node::engine::mempool::AccountReader;
use drystone_node::engine::message::{Accepted, Input, Origin, Token};
use drystone_node::engine::verdict::Refusal;

use super::SECOND;
use super::host::{Host, Node};
use super::setup::ACCOUNTS;
use super::world::{Event, World};
use crate::random::Random;

/// A payment that a host took.
#[derive(Clone, Debug)]
pub struct Payment {
    /// What was signed.
    pub body: TransactionBody,
    /// Who took it first, and when in virtual microseconds.
    pub taken: Option<(usize, u64)>,
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is on the chain.
    Confirmed,
    /// It waits in a mempool for a payment before it, which nobody has.
    Waiting,
    /// It waits in a mempool, and nothing is in its way.
    Stuck,
    /// Another with its nonce took its place, as was meant; or its account cannot pay it any more.
    Impossible,
    /// Another with its nonce took its place, and was not meant to: some host said of a nonce that was taken that it is next.
    Overtaken,
    /// It was taken by a host that lost power before it could pass it on or save it.
    Perished,
    /// It should be somewhere and is not.
    Lost,
}

/// Who pays whom.
pub struct Workload {
    random: Random,
    params: Arc<ChainParams>,
    chain_id: BlockHash,
    keys: Vec<SecretKey>,
    tokens: BTreeMap<u64, Txid>,
    /// Accounts and nonces for which more than one payment may be.
    conflicts: BTreeSet<(AccountId, u64)>,
    /// By account, when it paid last, so far.
    paid_at: BTreeMap<AccountId, u64>,
    /// All payments that were made.
    pub payments: BTreeMap<Txid, Payment>,
}

impl Workload {
    /// Payments between the accounts that genesis funds.
    pub fn new(params: &Arc<ChainParams>, random: Random) -> Workload {
        let keys = (0..ACCOUNTS).map(SecretKey::dev).collect();
        let (params, chain_id) = (Arc::clone(params), params.chain_id());
        let (tokens, conflicts, paid_at) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Workload { random, params, chain_id, keys, tokens, conflicts, paid_at, payments: BTreeMap::new() }
    }

    /// Notes a host's verdict on a payment that was handed to it.
    pub fn verdict(&mut self, host: usize, time: u64, origin: Origin, result: &Result<Accepted, Refusal>) {
        let Origin::Rpc(Token(token)) = origin else { return };
        let Some(txid) = self.tokens.remove(&token) else { return };
        if let (Ok(_), Some(payment)) = (result, self.payments.get_mut(&txid)) {
            payment.taken.get_or_insert((host, time));
        }
    }
}

/// How long after a payment of an account another host may not have heard of it yet.
const HEARD: u64 = 20 * SECOND;

impl World {
    /// Makes a payment at a random host, and plans the next.
    pub fn pay(&mut self) {
        let next = self.workload.random.exponential(self.setup.payment_every);
        if self.now < self.setup.duration {
            self.at(self.now + next, Event::Pay);
        }
        let running = self.honest();
        if running.is_empty() {
            return;
        }
        let host = *self.workload.random.pick(&running);
        let payer = self.workload.random.below(u64::from(ACCOUNTS)) as usize;
        let account = self.workload.keys[payer].account();
        let Some((confirmed, pending)) = self.nonces(host, &account) else { return };
        let draw = self.workload.random.below(10);
        let last = self.workload.paid_at.insert(account, self.now);
        let meant = match draw {
            0 if pending > confirmed => Some(pending - 1),
            1 => Some(pending),
            // Others may come to this nonce before who waits with it hears of the one before.
            2 => Some(pending + 1),
            _ => last.filter(|last| self.now < last + HEARD).map(|_| pending),
        };
        self.workload.conflicts.extend(meant.map(|nonce| (account, nonce)));
        match draw {
            // In place of the last that waits, for more.
            0 if pending > confirmed => self.pay_with(host, payer, pending - 1, 10_000_000),
            // The same nonce at two hosts, to different recipients.
            1 => {
                self.pay_with(host, payer, pending, 1_000);
                let other = *self.workload.random.pick(&running);
                self.pay_with(other, payer, pending, 1_000);
            }
            // A nonce too far.
            2 => self.pay_with(host, payer, pending + 1, 1_000),
            // A nonce that is used.
            3 if confirmed > 0 => self.pay_with(host, payer, confirmed - 1, 1_000),
            _ => self.pay_with(host, payer, pending, 1_000),
        }
    }

    fn nonces(&self, host: usize, account: &AccountId) -> Option<(u64, u64)> {
        let engine = &self.hosts[host].node()?.engine;
        let confirmed = AccountReader::account(&**engine.snapshot(), account).ok()?.nonce;
        Some((confirmed, engine.mempool().pending_nonce(account, confirmed)))
    }

    /// Hands a payment with this nonce and about this fee to a host.
    pub fn pay_with(&mut self, host: usize, payer: usize, nonce: u64, fee: u64) {
        let work = &mut self.workload;
        let random = &mut work.random;
        let key = &work.keys[payer];
        let to = match random.below(4) {
            0 => AccountId(random.bytes()),
            _ => work.keys[random.below(u64::from(ACCOUNTS)) as usize].account(),
        };
        // One in twenty is more than anybody has.
        let amount = if random.one_in(20) { u64::MAX / 4 } else { random.between(200_000, 1_000_000_000) };
        let fee = Amount(fee + random.below(fee));
        let body =
            TransactionBody { from: key.account(), to, amount: Amount(amount), fee, nonce, memo: Memo::default() };
        let transaction = body.clone().sign(&work.chain_id, key);
        self.submit(host, transaction);
    }

    /// Hands a transaction to a host as its RPC would.
    pub fn submit(&mut self, host: usize, transaction: Transaction) {
        let work = &mut self.workload;
        let rules = work.params.rules_at(1);
        let checked = check_transaction(transaction, rules, &work.chain_id).expect("it was signed just now");
        let (txid, body) = (checked.txid(), checked.transaction().body.clone());
        let token = work.tokens.last_key_value().map_or(0, |(last, _)| last + 1);
        work.tokens.insert(token, txid);
        work.payments.entry(txid).or_insert(Payment { body, taken: None });
        let origin = Origin::Rpc(Token(token));
        self.give(host, Input::Transactions { origin, transactions: vec![checked] });
    }

    /// What became of each payment that a host took, by what all hosts together hold; they are to agree on the tip.
    pub fn fates(&self) -> Vec<(Txid, Fate)> {
        let taken = self.workload.payments.iter().filter_map(|(txid, payment)| Some((txid, payment, payment.taken?)));
        taken.map(|(txid, payment, taken)| (*txid, self.fate(txid, payment, taken))).collect()
    }

    fn fate(&self, txid: &Txid, payment: &Payment, (host, time): (usize, u64)) -> Fate {
        let nodes = || self.hosts.iter().filter_map(Host::honest_node);
        let Some(first) = nodes().next() else { return Fate::Lost };
        let snapshot = first.engine.snapshot();
        if matches!(snapshot.transaction_place(txid), Ok(Some(_))) {
            return Fate::Confirmed;
        }
        let body = &payment.body;
        let account = AccountReader::account(&**snapshot, &body.from).unwrap_or(Account::default());
        let held_by = |node: &Node| -> Vec<u64> {
            let held = node.engine.mempool().all().map(|held| &held.transaction().body);
            held.filter(|held| held.from == body.from).map(|held| held.nonce).collect()
        };
        let held: BTreeSet<u64> = nodes().flat_map(held_by).collect();
        if nodes().any(|node| node.engine.mempool().contains(txid)) {
            // Minutes after everything was told to everybody, whoever has it has those before it too, or they are confirmed.
            let payable = (account.nonce..body.nonce).all(|nonce| held.contains(&nonce));
            return if payable { Fate::Stuck } else { Fate::Waiting };
        }
        if body.nonce < account.nonce || held.contains(&body.nonce) {
            let meant = self.workload.conflicts.contains(&(body.from, body.nonce));
            return if meant { Fate::Impossible } else { Fate::Overtaken };
        }
        if body.amount.0.saturating_add(body.fee.0) > account.balance.0 {
            return Fate::Impossible;
        }
        // A nonce whose predecessor is gone for good waits nowhere: gapped transactions are not passed on.
        let crashed = |host: usize| self.hosts[host].crashed_at.iter().any(|at| (time..time + 5 * SECOND).contains(at));
        let gapped = nodes().all(|node| node.engine.mempool().pending_nonce(&body.from, account.nonce) < body.nonce);
        if crashed(host) || gapped { Fate::Perished } else { Fate::Lost }
    }
}
