//! A block of 10,000 transfers between distinct accounts over a state of 1,000,000, stage by stage, beside the floor: the
//! signature library's batch verifier alone on all cores. Prints medians over interleaved rounds and their ratio to the
//! floor, so that a noisy machine disturbs all rows alike.
//!
//! `cargo bench -p drystone-node --bench block [-- ROUNDS]`

#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone_core::amount::Amount;
use drystone_core::block::{Block, Body, Header};
use drystone_core::encode::{decode, encode};
use drystone_core::genesis::dev_params;
use drystone_core::hash::BlockHash;
use drystone_core::key::{AccountId, BATCH_SIZE, SecretKey, SignedMessage, verify_batch};
use drystone_core::params::{Allocation, ChainParams};
use drystone_core::state::{Undo, revert, update};
use drystone_core::transaction::{Memo, Transaction, TransactionBody};
use drystone_core::validation::{
    BlockContext, CheckedBlock, ConnectedBlock, Executor, Parent, check_block, check_header, check_transaction,
    connect_block,
};
use drystone_node::engine::mempool::{Limits, Mempool};
use drystone_node::store::{Snapshot, Store, StoreOptions};
use ed25519_zebra::batch;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

const ACCOUNTS: u32 = 1_000_000;
const TRANSFERS: u32 = 10_000;
const SECRET: [u8; 32] = [5; 32];

/// The secret key of one of the funded accounts that pay.
fn payer(index: u32) -> SecretKey {
    let mut seed = [1; 32];
    seed[..4].copy_from_slice(&index.to_le_bytes());
    SecretKey::from_seed(&seed)
}

/// A development chain that funds `ACCOUNTS` accounts, of which the first `TRANSFERS` have known keys.
fn params(rng: &mut ChaCha20Rng) -> ChainParams {
    let amount = Amount(100_000_000);
    let payers = (0..TRANSFERS).into_par_iter().map(|index| payer(index).account()).collect::<Vec<_>>();
    let others = (TRANSFERS..ACCOUNTS).map(|_| {
        let mut id = [0; 32];
        rng.fill_bytes(&mut id);
        AccountId(id)
    });
    let mut allocations: Vec<Allocation> =
        payers.into_iter().chain(others).map(|account| Allocation { account, amount }).collect();
    allocations.sort_unstable();
    ChainParams { allocations, ..dev_params() }
}

fn transfers(params: &ChainParams, chain_id: &BlockHash, rng: &mut ChaCha20Rng) -> Vec<Transaction> {
    let targets: Vec<AccountId> =
        (0..TRANSFERS).map(|_| params.allocations[(rng.next_u64() % u64::from(ACCOUNTS)) as usize].account).collect();
    let sign = |(index, to): (usize, &AccountId)| {
        let key = payer(index as u32);
        let (from, memo) = (key.account(), Memo::default());
        let body = TransactionBody { from, to: *to, amount: Amount(1000), fee: Amount(200), nonce: 0, memo };
        body.sign(chain_id, &key)
    };
    targets.par_iter().enumerate().map(sign).collect()
}

fn make_block(params: &ChainParams, parent: &Parent, genesis: &Header, snapshot: &Snapshot, body: Body) -> Block {
    let mut executor = Executor::new(snapshot, parent, params);
    for transaction in &body.transactions {
        executor.apply(transaction).expect("reads").expect("valid");
    }
    let executed = executor.finish(&body.reward_to).expect("reads");
    let mut header = Header {
        version: 1,
        prev_hash: parent.hash,
        state_root: executed.state_root,
        tx_root: body.tx_root(),
        time: genesis.time + 1000,
        bits: params.bits,
        nonce: 0,
    };
    while check_header(header, params).is_err() {
        header.nonce += 1;
    }
    Block { header, body }
}

/// The floor: nothing but the library's verifier, its items queued in chunks, on all cores.
fn floor(messages: &[SignedMessage]) {
    messages.par_chunks(BATCH_SIZE).for_each(|chunk| {
        let mut verifier = batch::Verifier::new();
        for signed in chunk {
            let signature = ed25519_zebra::Signature::from_bytes(&signed.signature.0);
            verifier.queue((signed.signer.0.into(), signature, &signed.message));
        }
        verifier.verify(ChaCha20Rng::from_seed(SECRET)).expect("valid");
    });
}

struct Rows(BTreeMap<(usize, &'static str), Vec<Duration>>);

impl Rows {
    fn time<T>(&mut self, row: usize, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = black_box(work());
        self.0.entry((row, name)).or_default().push(start.elapsed());
        value
    }

    fn print(mut self) {
        let mut medians: BTreeMap<&str, Duration> = BTreeMap::new();
        for ((_, name), times) in &mut self.0 {
            times.sort_unstable();
            medians.insert(name, times[times.len() / 2]);
        }
        let floor = medians["floor"];
        println!("{:<44} {:>10} {:>8}", "stage", "median ms", "/ floor");
        for (_, name) in self.0.keys() {
            let median = medians[name].as_secs_f64();
            println!("{name:<44} {:>10.3} {:>8.3}", 1e3 * median, median / floor.as_secs_f64());
        }
        let whole = medians["decode"] + medians["check_block"] + medians["connect_block"];
        let ratio = whole.as_secs_f64() / floor.as_secs_f64();
        println!("{:<44} {:>10.3} {ratio:>8.3}", "decode + check_block + connect_block", 1e3 * whole.as_secs_f64());
    }
}

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let params = params(&mut rng);
    let genesis = params.genesis_block().header;
    let chain_id = genesis.hash();
    let directory = tempfile::tempdir().expect("temporary directory");
    let options = StoreOptions { cache_bytes: 256 << 20, ..StoreOptions::default() };
    let store = Store::open_file(&directory.path().join("ledger.redb"), &params, &options, |_| {}).expect("opens");
    let work = params.bits.to_target().expect("checked").work();
    let parent = Parent { height: 0, hash: chain_id, work };
    let transactions = transfers(&params, &chain_id, &mut rng);
    let messages: Vec<SignedMessage> = transactions.iter().map(|t| t.signed_message(&chain_id)).collect();
    let snapshot = Arc::new(store.snapshot().expect("reads"));
    let body = Body { reward_to: AccountId([7; 32]), transactions };
    let block = make_block(&params, &parent, &genesis, &snapshot, body);
    let bytes = encode(&block);
    let context = BlockContext { params: &params, chain_id: &chain_id, height: 1, batch_secret: &SECRET };
    let rules = params.rules_at(1);
    println!(
        "{} transfers, {} accounts, {} bytes, {} threads, {rounds} rounds",
        TRANSFERS,
        ACCOUNTS,
        bytes.len(),
        rayon::current_num_threads()
    );

    let mut rows = Rows(BTreeMap::new());
    for _ in 0..rounds {
        rows.time(0, "floor", || floor(&messages));
        rows.time(1, "  verify_batch (the rule, grouped by signer)", || {
            verify_batch(&messages, &SECRET).expect("valid")
        });
        rows.time(2, "  1,000 x check_header", || {
            (0..1000).for_each(|_| assert!(check_header(black_box(block.header), &params).is_ok()));
        });
        rows.time(3, "  1,000 x check_transaction, singly", || {
            for transaction in &block.body.transactions[..1000] {
                check_transaction(transaction.clone(), rules, &chain_id).expect("valid");
            }
        });
        let decoded: Block = rows.time(4, "decode", || decode(&bytes).expect("decodes"));
        rows.time(5, "  transaction root alone", || decoded.body.tx_root());
        let header = check_header(decoded.header, &params).expect("worked");
        let checked: CheckedBlock =
            rows.time(6, "check_block", || check_block(header, decoded.body, &context).expect("valid"));
        rows.time(7, "  state alone: read, debit, credit", || {
            let mut executor = Executor::new(&*snapshot, &parent, &params);
            executor.prefetch(&block.body).expect("reads");
            for transaction in &block.body.transactions {
                executor.apply(transaction).expect("reads").expect("valid");
            }
        });
        let connected: ConnectedBlock =
            rows.time(9, "connect_block", || connect_block(checked, &parent, &params, &*snapshot).expect("connects"));
        rows.time(8, "  state root alone", || update(&*snapshot, &connected.changes().leaves).expect("reads"));
        let undo: Undo = connected.undo().clone();
        rows.time(10, "durable commit", || {
            let mut update = store.begin().expect("begins");
            update.connect(&connected).expect("writes");
            update.commit().expect("commits");
        });
        let tip = store.snapshot().expect("reads");
        let mut back = store.begin().expect("begins");
        let (_, changes) = revert(&tip, &undo, 1).expect("reads");
        drop(tip);
        back.disconnect(&connected.hash(), changes).expect("writes");
        back.commit().expect("commits");

        let checked: Vec<_> = block
            .body
            .transactions
            .iter()
            .map(|transaction| check_transaction(transaction.clone(), rules, &chain_id).expect("valid"))
            .collect();
        let mut mempool = Mempool::new(Limits::default(), params.account_reserve);
        rows.time(11, "mempool admission of all, checked before", || {
            for transaction in checked {
                mempool.admit(genesis.time, transaction, &*snapshot).expect("reads").expect("admitted");
            }
        });
    }
    rows.print();
}
