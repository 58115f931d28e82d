//! A chain in memory that makes valid blocks: the miner, the payers and the other branch of every test.

use drystone_core::amount::Amount;
use drystone_core::block::{Body, Header};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::hash::{BlockHash, StateRoot, TxRoot};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::state::{Account, Leaf, MemoryState, StateChanges, StateKey, update};
use drystone_core::transaction::{Memo, Transaction, TransactionBody};
use drystone_core::validation::{
    BlockContext, CheckedHeader, ConnectedBlock, Executor, Parent, check_block, check_header, connect_block,
};

use drystone_node::store::{Store, StoreOptions};

use crate::fault::{FaultyDisk, Unsynced};

/// A branch that grows by valid blocks. A clone is a fork.
#[derive(Clone, Debug)]
pub struct TestChain {
    params: ChainParams,
    chain_id: BlockHash,
    state: MemoryState,
    headers: Vec<Header>,
    parent: Parent,
}

impl TestChain {
    /// A chain of nothing but genesis.
    pub fn new(params: &ChainParams) -> TestChain {
        let leaves = params.genesis_leaves().into_iter().map(|(key, leaf)| (key, Some(leaf))).collect();
        let Ok(tree) = update(&MemoryState::default(), &leaves);
        let mut state = MemoryState::default();
        state.apply(&StateChanges { leaves, pages: tree.pages, ..StateChanges::default() });
        let header = params.genesis_block().header;
        let work = params.bits.to_target().expect("parameters were checked").work();
        let parent = Parent { height: 0, hash: header.hash(), work };
        TestChain { params: params.clone(), chain_id: header.hash(), state, headers: vec![header], parent }
    }

    /// The tip.
    pub fn tip(&self) -> &Parent {
        &self.parent
    }

    /// The headers from genesis to the tip.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The state at the tip.
    pub fn state(&self) -> &MemoryState {
        &self.state
    }

    /// An account at the tip.
    pub fn account(&self, id: &AccountId) -> Account {
        match self.state.leaves.get(&StateKey::account(id)) {
            Some(Leaf::Account(account)) => *account,
            _ => Account::default(),
        }
    }

    /// The disk of a node that has connected `blocks`, which start after genesis.
    pub fn image(params: &ChainParams, blocks: &[ConnectedBlock]) -> Vec<u8> {
        let disk = FaultyDisk::folding(Vec::new());
        let store = Store::open_backend(disk.clone(), params, &StoreOptions::default()).expect("opens");
        for batch in blocks.chunks(1000) {
            let mut update = store.begin().expect("begins");
            batch.iter().for_each(|block| update.connect(block).expect("connects"));
            update.commit().expect("commits");
        }
        drop(store);
        disk.image(Unsynced::Kept)
    }

    /// A payment of one of the development chain's funded accounts, valid in the next block after `before` others of it.
    pub fn pay(&self, from: u8, to: &AccountId, amount: u64, before: u64) -> Transaction {
        let key = SecretKey::dev(from);
        let nonce = self.account(&key.account()).nonce + before;
        let (from, fee) = (key.account(), Amount(1000));
        let body = TransactionBody { from, to: *to, amount: Amount(amount), fee, nonce, memo: Memo::default() };
        body.sign(&self.chain_id, &key)
    }

    /// Makes, checks and connects the next block, one interval after the last.
    pub fn extend(&mut self, reward_to: &AccountId, transactions: Vec<Transaction>) -> ConnectedBlock {
        self.extend_after(self.params.interval, reward_to, transactions)
    }

    /// Makes, checks and connects the next block, this many milliseconds after the last.
    pub fn extend_after(&mut self, wait: u64, reward_to: &AccountId, transactions: Vec<Transaction>) -> ConnectedBlock {
        let body = Body { reward_to: *reward_to, transactions };
        let mut executor = Executor::new(&self.state, &self.parent, &self.params);
        for transaction in &body.transactions {
            let Ok(applied) = executor.apply(transaction);
            applied.expect("the test gives valid transactions");
        }
        let Ok(executed) = executor.finish(reward_to);
        let header = self.mine(wait, &body, executed.state_root);
        let height = self.parent.height + 1;
        let (params, chain_id) = (&self.params, &self.chain_id);
        let context = BlockContext { params, chain_id, height, batch_secret: &[7; 32] };
        let block = check_block(header, body, &context).expect("the block was made to be valid");
        let connected = connect_block(block, &self.parent, params, &self.state).expect("the block was made to connect");
        self.state.apply(connected.changes());
        self.headers.push(*header.header());
        self.parent = Parent { height, hash: connected.hash(), work: connected.work() };
        connected
    }

    fn mine(&self, wait: u64, body: &Body, state_root: StateRoot) -> CheckedHeader {
        let parent = self.headers[self.headers.len() - 1];
        let grandparent = self.headers[self.headers.len().saturating_sub(2)];
        let height = self.parent.height;
        let times = ParentTimes { bits: parent.bits, height, time: parent.time, grandparent_time: grandparent.time };
        let mut header = Header {
            version: self.params.rules_at(height + 1).header_version,
            prev_hash: self.parent.hash,
            state_root,
            tx_root: body.tx_root(),
            time: parent.time + wait,
            bits: next_bits(&self.params, &times),
            nonce: 0,
        };
        loop {
            match check_header(header, &self.params) {
                Ok(checked) => return checked,
                Err(_) => header.nonce += 1,
            }
        }
    }
}

/// Headers on genesis at the lowest difficulty that the rules allow, with this many in all.
///
/// # Panics
/// If the parameters make no chain.
pub fn cheap_headers(params: &ChainParams, count: usize) -> Vec<Header> {
    let genesis = params.genesis_block().header;
    cheap_fork(params, count, genesis.tx_root)
}

/// As [`cheap_headers`], told apart from others by their `tx_root`.
///
/// # Panics
/// If the parameters make no chain.
pub fn cheap_fork(params: &ChainParams, count: usize, tx_root: TxRoot) -> Vec<Header> {
    let mut headers = vec![params.genesis_block().header];
    while headers.len() <= count {
        let parent = headers[headers.len() - 1];
        let grandparent = headers[headers.len().saturating_sub(2)];
        let height = headers.len() as u64 - 1;
        let times = ParentTimes { bits: parent.bits, height, time: parent.time, grandparent_time: grandparent.time };
        let bits = next_bits(params, &times);
        // As slowly as helps until the limit is reached, then at the interval.
        let wait = if bits == params.pow_limit { params.interval } else { 4 * params.response };
        let time = parent.time + wait;
        let mut header = Header { prev_hash: parent.hash(), tx_root, time, bits, nonce: 0, ..parent };
        while check_header(header, params).is_err() {
            header.nonce += 1;
        }
        headers.push(header);
    }
    headers
}
