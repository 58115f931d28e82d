//! The engine as a function: blocks and times in, chain out. Every store is in memory, every clock a number.

mod dialling;
mod download;
mod penalties;
mod reconciliation;
mod relay;
mod serving;

use std::sync::Arc;

use drystone_core::amount::Amount;
use drystone_core::block::Block;
use drystone_core::genesis::dev_params;
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::state::{Leaf, StateKey, StateView};
use drystone_core::transaction::Transaction;
use drystone_core::validation::{
    BlockContext, CheckedBlock, CheckedTransaction, check_block, check_header, check_transaction,
};
use drystone_node::engine::message::{Accepted, ChainEvent, Input, Origin, Output, Token};
use drystone_node::engine::mining::MiningRefusal;
use drystone_node::engine::verdict::Refusal;
use drystone_node::engine::{Config, Engine, Ties};
use drystone_node::store::{Damage, Store, StoreOptions, Validity, verify};
use drystone_tests::chain::TestChain;
use redb::backends::InMemoryBackend;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

const MINER: AccountId = AccountId([0x11; 32]);
const OTHER_MINER: AccountId = AccountId([0x22; 32]);

/// An engine under test with the time it is told.
struct Bench {
    engine: Engine,
    store: Arc<Store>,
    params: Arc<ChainParams>,
    now: u64,
    token: u64,
}

/// What feeding one block led to.
struct Fed {
    result: Result<Accepted, Refusal>,
    outputs: Vec<Output>,
    calls: usize,
}

impl Bench {
    fn over(store: Store, params: &ChainParams, config: Config) -> Bench {
        let (store, params) = (Arc::new(store), Arc::new(params.clone()));
        let now = params.time + 1_000_000_000;
        let engine = Engine::new(Arc::clone(&store), Arc::clone(&params), config, now).expect("opens");
        Bench { engine, store, params, now, token: 0 }
    }

    fn with(config: Config) -> Bench {
        Bench::on(&dev_params(), config)
    }

    fn on(params: &ChainParams, config: Config) -> Bench {
        let store = Store::open_backend(InMemoryBackend::new(), params, &StoreOptions::default());
        Bench::over(store.expect("opens"), params, config)
    }

    fn new() -> Bench {
        Bench::with(config())
    }

    /// Hands in a block and runs every deadline that is due, counting the calls.
    fn feed(&mut self, block: &Block) -> Fed {
        let block = Box::new(checked(&self.params, block));
        self.ask(|origin| Input::Block { origin, block })
    }

    /// Hands in what has one verdict and runs every deadline that is due, counting the calls.
    fn ask(&mut self, input: impl FnOnce(Origin) -> Input) -> Fed {
        self.token += 1;
        let origin = Origin::Rpc(Token(self.token));
        let mut outputs = self.engine.handle(self.now, input(origin)).expect("store works");
        let mut calls = 1;
        while self.engine.next_deadline(self.now).is_some_and(|due| due <= self.now) {
            outputs.extend(self.engine.handle(self.now, Input::Tick).expect("store works"));
            calls += 1;
        }
        let mut verdicts = outputs.iter().filter_map(|output| match output {
            Output::Verdict { origin: of, result } if *of == origin => Some(result.clone()),
            _ => None,
        });
        let result = verdicts.next().expect("every submission has a verdict");
        assert!(verdicts.next().is_none(), "one submission has one verdict");
        Fed { result, outputs, calls }
    }

    /// Runs every deadline that is due and collects what comes out.
    fn settle(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        for _ in 0..10_000 {
            if self.engine.next_deadline(self.now).is_none_or(|due| due > self.now) {
                return outputs;
            }
            outputs.extend(self.engine.handle(self.now, Input::Tick).expect("store works"));
        }
        panic!("the engine never rests");
    }

    fn submit(&mut self, transaction: Transaction) -> Result<Accepted, Refusal> {
        let transactions = vec![self.check(transaction)];
        let input = Input::Transactions { origin: Origin::Own, transactions };
        let outputs = self.engine.handle(self.now, input).expect("store works");
        let verdict = outputs.into_iter().find_map(|output| match output {
            Output::Verdict { result, .. } => Some(result),
            _ => None,
        });
        verdict.expect("every submission has a verdict")
    }

    fn check(&self, transaction: Transaction) -> CheckedTransaction {
        check_transaction(transaction, self.params.rules_at(1), &self.params.chain_id()).expect("well signed")
    }

    fn tip(&self) -> BlockHash {
        self.engine.tip().hash
    }

    /// The store holds exactly the state that `chain` has, leaf by leaf, and everything on disk agrees with itself.
    fn assert_at(&self, chain: &TestChain) {
        assert_eq!(self.tip(), chain.tip().hash);
        let snapshot = self.store.snapshot().expect("reads");
        let leaves = snapshot.leaves(&StateKey::MIN, &StateKey::MAX, usize::MAX).expect("reads");
        assert!(leaves.into_iter().eq(chain.state().leaves.iter().map(|(key, leaf)| (*key, *leaf))));
        verify(&snapshot, &self.params, |_| {}).expect("everything on disk agrees");
    }
}

fn config() -> Config {
    Config::new([3; 32])
}

fn checked(params: &ChainParams, block: &Block) -> CheckedBlock {
    let header = check_header(block.header, params).expect("enough work");
    let context = BlockContext { params, chain_id: &params.chain_id(), height: 1, batch_secret: &[3; 32] };
    check_block(header, block.body.clone(), &context).expect("well formed")
}

fn grow(chain: &mut TestChain, miner: AccountId, transactions: Vec<Transaction>) -> Block {
    chain.extend(&miner, transactions).block().clone()
}

/// Gives a block another header with enough work.
fn rework(params: &ChainParams, block: &mut Block) {
    while check_header(block.header, params).is_err() {
        block.header.nonce += 1;
    }
}

const LEAVES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("leaves");
const PAGES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("pages");
const UNDO: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("undo");
const HEADERS: TableDefinition<&[u8; 32], &[u8; 157]> = TableDefinition::new("headers");
const BODIES: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("bodies");
const MEMPOOL: TableDefinition<&[u8; 8], &[u8]> = TableDefinition::new("mempool");

/// A node on a file that can be closed, spoiled and opened again.
struct Disk {
    directory: tempfile::TempDir,
    params: ChainParams,
}

impl Disk {
    fn new() -> Disk {
        Disk { directory: tempfile::tempdir().expect("temporary directory"), params: dev_params() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("chain.redb")
    }

    fn open(&self) -> Bench {
        self.open_with(config())
    }

    fn open_with(&self, config: Config) -> Bench {
        let store = Store::open_file(&self.path(), &self.params, &StoreOptions::default(), |_| {}).expect("opens");
        Bench::over(store, &self.params, config)
    }

    /// Does something to the closed file behind the store's back.
    fn spoil(&self, spoil: impl FnOnce(&redb::WriteTransaction)) {
        let database = Database::open(self.path()).expect("opens");
        let write = database.begin_write().expect("writes");
        spoil(&write);
        write.commit().expect("commits");
    }
}

/// Spoils a leaf so that it cannot be read, which the next payment of that account finds.
fn rot_account(disk: &Disk, payer: u8) {
    disk.spoil(|write| {
        let mut leaves = write.open_table(LEAVES).expect("the table of leaves");
        let key = StateKey::account(&SecretKey::dev(payer).account());
        leaves.insert(&key.0, [1, 2, 3].as_slice()).expect("writes");
    });
}

fn block_key(height: u64, hash: &BlockHash) -> [u8; 40] {
    let mut key = [0; 40];
    key[..8].copy_from_slice(&height.to_be_bytes());
    key[8..].copy_from_slice(&hash.0);
    key
}

fn repairs(outputs: &[Output]) -> usize {
    let started = |output: &&Output| matches!(output, Output::Event(ChainEvent::RepairStarted { .. }));
    outputs.iter().filter(started).count()
}

/// Two branches of `ours` and `theirs` blocks, fed one after the other.
fn fork(bench: &mut Bench, ours: usize, theirs: usize) -> (TestChain, TestChain) {
    let mut chains = (TestChain::new(&bench.params), TestChain::new(&bench.params));
    for _ in 0..ours {
        bench.feed(&grow(&mut chains.0, MINER, vec![]));
    }
    for _ in 0..theirs {
        bench.feed(&grow(&mut chains.1, OTHER_MINER, vec![]));
    }
    chains
}

#[test]
fn blocks_extend_the_chain_and_repetitions_are_known() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    for height in 1..=12 {
        let payment = chain.pay(0, &SecretKey::dev(1).account(), 1000, 0);
        let block = grow(&mut chain, MINER, vec![payment]);
        assert_eq!(bench.feed(&block).result, Ok(Accepted::Connected { height }));
        assert_eq!(bench.feed(&block).result, Err(Refusal::KnownBlock));
    }
    bench.assert_at(&chain);
}

#[test]
fn a_tie_goes_to_the_first_seen_and_more_work_wins() {
    let mut bench = Bench::new();
    let mut ours = TestChain::new(&bench.params);
    let mut theirs = ours.clone();
    let first = grow(&mut ours, MINER, vec![]);
    let second = grow(&mut theirs, OTHER_MINER, vec![]);
    bench.feed(&first);
    assert_eq!(bench.feed(&second).result, Ok(Accepted::Beside { height: 1 }));
    bench.assert_at(&ours);
    let third = grow(&mut theirs, OTHER_MINER, vec![]);
    let fed = bench.feed(&third);
    assert_eq!(fed.result, Ok(Accepted::Connected { height: 2 }));
    let reorganised =
        Output::Event(ChainEvent::Reorganised { from: first.header.hash(), to: third.header.hash(), depth: 1 });
    assert!(fed.outputs.iter().any(|output| format!("{output:?}") == format!("{reorganised:?}")));
    bench.assert_at(&theirs);
}

/// In whatever order two blocks come, each node holds to the same one, and not all to the same.
#[test]
fn a_tie_by_lot_is_each_nodes_own_and_lasts() {
    let mut held = Vec::new();
    for secret in 0..16 {
        let tips = [false, true].map(|swapped| {
            let mut bench = Bench::with(Config { ties: Ties::Lot([secret; 32]), ..config() });
            let mut ours = TestChain::new(&bench.params);
            let mut theirs = ours.clone();
            let mut blocks = [grow(&mut ours, MINER, vec![]), grow(&mut theirs, OTHER_MINER, vec![])];
            if swapped {
                blocks.reverse();
            }
            for block in blocks.iter().chain(&blocks) {
                bench.feed(block);
            }
            let chain = if bench.tip() == ours.tip().hash { ours } else { theirs };
            bench.assert_at(&chain);
            bench.tip()
        });
        assert_eq!(tips[0], tips[1]);
        held.push(tips[0]);
    }
    assert!(held.iter().any(|tip| *tip != held[0]), "each has the same");
}

#[test]
fn a_reorganisation_of_a_hundred_blocks_goes_block_by_block_and_keeps_the_payments() {
    let mut bench = Bench::new();
    let fork = TestChain::new(&bench.params);
    let (mut ours, mut theirs) = (fork.clone(), fork);
    let mut payments = Vec::new();
    for _ in 0..100 {
        let payment = ours.pay(0, &AccountId([0x33; 32]), 5_000_000, 0);
        payments.push(payment.clone());
        let block = grow(&mut ours, MINER, vec![payment]);
        bench.feed(&block);
    }
    bench.assert_at(&ours);
    // The other branch holds the first ten of the same payments and others of its own.
    let mut last = None;
    for height in 1..=101usize {
        let mut transactions = vec![theirs.pay(1, &AccountId([0x44; 32]), 5_000_000, 0)];
        transactions.extend(payments.get(height - 1).filter(|_| height <= 10).cloned());
        let block = grow(&mut theirs, OTHER_MINER, transactions);
        let fed = bench.feed(&block);
        if height < 101 {
            assert_eq!(fed.result, Ok(Accepted::Beside { height: height as u64 }));
        } else {
            last = Some(fed);
        }
    }
    let fed = last.expect("the last block was fed");
    assert_eq!(fed.result, Ok(Accepted::Connected { height: 101 }));
    assert!(fed.calls >= 201, "201 steps in {} calls: one call did more than one block's work", fed.calls);
    bench.assert_at(&theirs);
    for payment in &payments[10..] {
        assert!(bench.engine.mempool().contains(&payment.txid()), "nonce {}", payment.body.nonce);
    }
    for payment in &payments[..10] {
        assert!(!bench.engine.mempool().contains(&payment.txid()));
    }
}

#[test]
fn an_invalid_block_is_remembered_and_the_valid_part_of_its_branch_wins() {
    let mut bench = Bench::new();
    let fork = TestChain::new(&bench.params);
    let (mut ours, mut theirs) = (fork.clone(), fork);
    bench.feed(&grow(&mut ours, MINER, vec![]));
    let second = grow(&mut theirs, OTHER_MINER, vec![]);
    let third = grow(&mut theirs, OTHER_MINER, vec![]);
    let valid_tip = theirs.clone();
    let mut fourth = grow(&mut theirs, OTHER_MINER, vec![]);
    fourth.header.state_root = StateRoot([9; 32]);
    rework(&bench.params.clone(), &mut fourth);
    bench.feed(&second);
    // The third block makes their branch the heavier one; the fourth is wrong.
    bench.feed(&third);
    bench.assert_at(&valid_tip);
    assert!(matches!(bench.feed(&fourth).result, Err(Refusal::Connect(_))));
    assert_eq!(bench.feed(&fourth).result, Err(Refusal::KnownInvalid));
    bench.assert_at(&valid_tip);

    // Now the whole wrong branch arrives beside a longer chain of ours, and only its valid part may win.
    let mut bench = Bench::new();
    let mut ours = TestChain::new(&bench.params);
    bench.feed(&grow(&mut ours, MINER, vec![]));
    bench.feed(&second);
    let mut child = fourth.clone();
    child.header.prev_hash = fourth.header.hash();
    child.header.time += 1000;
    rework(&bench.params.clone(), &mut child);
    bench.feed(&third);
    assert!(bench.feed(&fourth).result.is_err());
    assert_eq!(bench.feed(&child).result, Err(Refusal::InvalidAncestor(fourth.header.hash())));
    bench.assert_at(&valid_tip);
}

#[test]
fn blocks_wait_for_their_parent_elsewhere_and_for_the_clock_here() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let first = grow(&mut chain, MINER, vec![]);
    let second = grow(&mut chain, MINER, vec![]);
    assert_eq!(bench.feed(&second).result, Err(Refusal::MissingParent(first.header.hash())));

    bench.now = first.header.time - bench.params.max_future - 1;
    let acceptable_at = first.header.time - bench.params.max_future;
    assert_eq!(bench.feed(&first).result, Err(Refusal::FromFuture { acceptable_at }));
    assert_eq!(bench.engine.next_deadline(bench.now), Some(acceptable_at));
    bench.now = acceptable_at;
    bench.engine.handle(bench.now, Input::Tick).expect("store works");
    assert_eq!(bench.tip(), first.header.hash());
}

#[test]
fn a_start_resumes_toward_the_best_chain() {
    let disk = Disk::new();
    let params = &disk.params;
    let fork = TestChain::new(params);
    let (mut ours, mut theirs) = (fork.clone(), fork);
    let mut bench = disk.open();
    for _ in 0..5 {
        bench.feed(&grow(&mut ours, MINER, vec![]));
    }
    for _ in 0..5 {
        bench.feed(&grow(&mut theirs, OTHER_MINER, vec![]));
    }
    // The block that tips the balance is handed in, and the program ends after the first step.
    let last = grow(&mut theirs, OTHER_MINER, vec![]);
    let block = Box::new(checked(params, &last));
    bench.engine.handle(bench.now, Input::Block { origin: Origin::Own, block }).expect("store works");
    assert_eq!(bench.tip(), ours.tip().hash);
    drop(bench);
    let mut bench = disk.open();
    assert_eq!(bench.tip(), ours.tip().hash);
    while bench.engine.is_updating() {
        bench.engine.handle(bench.now, Input::Tick).expect("store works");
    }
    bench.assert_at(&theirs);
}

#[test]
fn the_mempool_is_saved_and_revalidated() {
    let disk = Disk::new();
    let params = &disk.params;
    let mut chain = TestChain::new(params);
    let mut bench = disk.open();
    let payments: Vec<Transaction> = (0..3).map(|n| chain.pay(2, &SecretKey::dev(3).account(), 1_000_000, n)).collect();
    for payment in &payments {
        assert!(matches!(bench.submit(payment.clone()), Ok(Accepted::Admitted(_))));
    }
    bench.engine.handle(bench.now, Input::Shutdown).expect("saves");
    drop(bench);
    let mut bench = disk.open();
    assert_eq!(bench.engine.mempool().len(), 3);
    bench.feed(&grow(&mut chain, MINER, payments[..2].to_vec()));
    assert_eq!(bench.engine.mempool().len(), 1);
    assert!(bench.engine.mempool().contains(&payments[2].txid()));
}

fn fresh_account(height: u8, index: u8) -> AccountId {
    let mut id = [0x77; 32];
    (id[0], id[1]) = (height, index);
    AccountId(id)
}

/// Lets a bit of the state rot on disk, then feeds a block that touches it: the block must not be blamed, and the state
/// must be whole afterwards.
fn rot_then_repair(rot: impl Fn(&Database, &StateKey), accounts: u8) {
    let disk = Disk::new();
    let params = &disk.params;
    let mut chain = TestChain::new(params);
    let mut bench = disk.open();
    for height in 0..20u8 {
        let fresh: Vec<Transaction> =
            (0..accounts).map(|i| chain.pay(0, &fresh_account(height, i), 1_000_000, i.into())).collect();
        bench.feed(&grow(&mut chain, MINER, fresh));
    }
    bench.assert_at(&chain);
    drop(bench);
    let victim = SecretKey::dev(4).account();
    let database = Database::open(disk.path()).expect("opens");
    rot(&database, &StateKey::account(&victim));
    drop(database);

    let mut bench = disk.open();
    let payment = chain.pay(4, &SecretKey::dev(5).account(), 1_000_000, 0);
    let block = grow(&mut chain, MINER, vec![payment]);
    let fed = bench.feed(&block);
    let repaired = fed.outputs.iter().filter(|output| {
        matches!(output, Output::Event(ChainEvent::RepairStarted { .. } | ChainEvent::RepairEnded { .. }))
    });
    assert_eq!(repaired.count(), 2, "{:?}", fed.outputs);
    assert!(matches!(fed.result, Err(Refusal::Ours(_))), "{:?}", fed.result);
    assert_eq!(bench.feed(&block).result, Ok(Accepted::Connected { height: 21 }));
    bench.assert_at(&chain);
}

#[test]
fn a_rotten_leaf_is_ours_and_is_repaired_from_the_blocks() {
    rot_then_repair(
        |database, key| {
            let write = database.begin_write().expect("writes");
            {
                let mut leaves = write.open_table(LEAVES).expect("the table of leaves");
                let poor = Leaf::Account(drystone_core::state::Account { balance: Amount(1), nonce: 0 });
                let old = leaves.insert(&key.0, poor.to_bytes().as_slice()).expect("writes");
                assert!(old.is_some(), "the victim has a leaf");
            }
            write.commit().expect("commits");
        },
        3,
    );
}

#[test]
fn a_rotten_page_is_ours_and_is_repaired_from_the_leaves() {
    rot_then_repair(
        |database, _| {
            let read = database.begin_read().expect("reads");
            let pages = read.open_table(PAGES).expect("the table of pages");
            let all: Vec<(Vec<u8>, Vec<u8>)> = pages
                .iter()
                .expect("reads")
                .map(|entry| entry.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).expect("reads"))
                .collect();
            assert!(!all.is_empty(), "the state is large enough for pages");
            drop((pages, read));
            let write = database.begin_write().expect("writes");
            {
                let mut pages = write.open_table(PAGES).expect("the table of pages");
                for (key, mut value) in all {
                    for byte in &mut value[4..12] {
                        *byte ^= 0x55;
                    }
                    pages.insert(key.as_slice(), value.as_slice()).expect("writes");
                }
            }
            write.commit().expect("commits");
        },
        5,
    );
}

#[test]
fn a_rotten_undo_is_made_anew_from_the_blocks() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let (ours, mut theirs) = fork(&mut bench, 3, 3);
    drop(bench);
    disk.spoil(|write| {
        // It reads as an undo, of nothing.
        let mut undo = write.open_table(UNDO).expect("the table of undos");
        undo.insert(&block_key(3, &ours.tip().hash), [0; 8].as_slice()).expect("writes");
    });
    let mut bench = disk.open();
    bench.feed(&grow(&mut theirs, OTHER_MINER, vec![]));
    bench.assert_at(&theirs);
    assert!(!bench.engine.is_updating());
}

#[test]
fn a_start_repairs_a_leaf_that_the_saved_mempool_needs() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let mut chain = TestChain::new(&disk.params);
    bench.feed(&grow(&mut chain, MINER, vec![]));
    for payer in [2, 3] {
        let payment = chain.pay(payer, &SecretKey::dev(4).account(), 1_000_000, 0);
        assert!(bench.submit(payment).is_ok());
    }
    bench.engine.handle(bench.now, Input::Shutdown).expect("saves");
    drop(bench);
    rot_account(&disk, 2);
    rot_account(&disk, 3);
    // A start that waits for its own write transaction never ends.
    let (done, started) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bench = disk.open();
        let outputs = bench.settle();
        done.send((bench, outputs, disk)).expect("somebody waits");
    });
    let (bench, outputs, _disk) = started.recv_timeout(std::time::Duration::from_secs(60)).expect("starts");
    assert_eq!(repairs(&outputs), 1, "{outputs:?}");
    bench.assert_at(&chain);
    assert_eq!(bench.engine.mempool().len(), 2);
}

#[test]
fn a_rotten_saved_transaction_keeps_nobody_from_starting() {
    let disk = Disk::new();
    let bench = disk.open();
    drop(bench);
    disk.spoil(|write| {
        let mut mempool = write.open_table(MEMPOOL).expect("the table of the mempool");
        mempool.insert(&[0; 8], [1, 2, 3].as_slice()).expect("writes");
    });
    assert_eq!(disk.open().engine.mempool().len(), 0);
}

#[test]
fn a_repair_ends_also_where_the_block_that_asked_for_it_is_invalid() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let (ours, mut theirs) = fork(&mut bench, 3, 3);
    let mut wrong = grow(&mut theirs, OTHER_MINER, vec![]);
    wrong.header.state_root = StateRoot([9; 32]);
    rework(&disk.params, &mut wrong);
    drop(bench);
    disk.spoil(|write| {
        let mut undo = write.open_table(UNDO).expect("the table of undos");
        undo.remove(&block_key(3, &ours.tip().hash)).expect("writes");
    });
    let mut bench = disk.open();
    let fed = bench.feed(&wrong);
    assert_eq!(repairs(&fed.outputs), 1);
    assert!(!bench.engine.is_updating(), "the repair has ended");
    bench.assert_at(&ours);
}

#[test]
fn after_a_repair_the_first_seen_still_wins_a_tie() {
    for (first, second) in [(MINER, OTHER_MINER), (OTHER_MINER, MINER)] {
        let disk = Disk::new();
        let mut bench = disk.open();
        let (mut ours, mut theirs) = (TestChain::new(&disk.params), TestChain::new(&disk.params));
        for _ in 0..3 {
            bench.feed(&grow(&mut ours, first, vec![]));
            bench.feed(&grow(&mut theirs, second, vec![]));
        }
        bench.assert_at(&ours);
        drop(bench);
        rot_account(&disk, 2);
        let mut bench = disk.open();
        let payment = ours.pay(2, &SecretKey::dev(4).account(), 1_000_000, 0);
        assert!(matches!(bench.submit(payment), Err(Refusal::Ours(_))));
        bench.settle();
        bench.assert_at(&ours);
    }
}

#[test]
fn a_rotten_body_ends_the_chain_until_it_is_had_again() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let mut chain = TestChain::new(&disk.params);
    let mut blocks: Vec<Block> = (0..2).map(|_| grow(&mut chain, MINER, vec![])).collect();
    let below = chain.clone();
    let pay = |chain: &TestChain, nonce| chain.pay(1, &SecretKey::dev(4).account(), 1_000_000, nonce);
    blocks.extend((0..4).map(|_| {
        let payment = pay(&chain, 0);
        grow(&mut chain, MINER, vec![payment])
    }));
    blocks.iter().for_each(|block| drop(bench.feed(block)));
    drop(bench);
    disk.spoil(|write| {
        let mut bodies = write.open_table(BODIES).expect("the table of bodies");
        bodies.insert(&block_key(3, &blocks[2].header.hash()), [7; 7].as_slice()).expect("writes");
    });
    rot_account(&disk, 2);
    let mut bench = disk.open();
    let waiting: Vec<Transaction> = (0..6).map(|nonce| pay(&chain, nonce)).collect();
    waiting.iter().for_each(|payment| assert!(bench.submit(payment.clone()).is_ok()));
    let payment = chain.pay(2, &SecretKey::dev(4).account(), 1_000_000, 0);
    assert!(matches!(bench.submit(payment.clone()), Err(Refusal::Ours(_))));
    let outputs = bench.settle();
    assert!(outputs.iter().any(|output| matches!(output, Output::Event(ChainEvent::BodyLost { height: 3, .. }))));
    bench.assert_at(&below);
    assert_eq!(bench.feed(&blocks[2]).result, Ok(Accepted::Connected { height: 3 }));
    bench.assert_at(&chain);
    assert!(waiting.iter().all(|payment| bench.engine.mempool().contains(&payment.txid())));
    assert!(bench.submit(payment).is_ok());
}

#[test]
fn a_repair_that_forgets_a_header_goes_on_from_what_is_left() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let mut chain = TestChain::new(&disk.params);
    let mut blocks: Vec<Block> = (0..3).map(|_| grow(&mut chain, MINER, vec![])).collect();
    let below = chain.clone();
    blocks.extend((0..3).map(|_| grow(&mut chain, MINER, vec![])));
    blocks.iter().for_each(|block| drop(bench.feed(block)));
    drop(bench);
    disk.spoil(|write| {
        let hash = blocks[3].header.hash().0;
        let mut headers = write.open_table(HEADERS).expect("the table of headers");
        let mut record = *headers.get(&hash).expect("reads").expect("is there").value();
        record[40] ^= 1;
        headers.insert(&hash, &record).expect("writes");
    });
    rot_account(&disk, 2);
    let mut bench = disk.open();
    let payment = chain.pay(2, &SecretKey::dev(4).account(), 1_000_000, 0);
    assert!(matches!(bench.submit(payment), Err(Refusal::Ours(_))));
    bench.settle();
    bench.assert_at(&below);
    blocks[3..].iter().for_each(|block| drop(bench.feed(block)));
    bench.assert_at(&chain);
}

#[test]
fn on_a_scrubs_word_the_state_is_made_anew_once_and_only_where_all_bodies_are_whole() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let (ours, _) = fork(&mut bench, 6, 0);
    let hash = bench.store.snapshot().expect("reads").main_hash(3).expect("reads").expect("is there");
    drop(bench);
    disk.spoil(|write| {
        let mut undo = write.open_table(UNDO).expect("the table of undos");
        undo.insert(&block_key(3, &hash), [1, 2, 3].as_slice()).expect("writes");
    });
    rot_account(&disk, 2);
    let mut bench = disk.open();
    let damages = || [Damage::Undo { height: 3, hash }, Damage::State("leaf".into()), Damage::State("page".into())];
    let tell = |bench: &mut Bench, all_bodies: bool| {
        let mut outputs = Vec::new();
        for damage in damages() {
            outputs.extend(bench.engine.handle(bench.now, Input::Damaged { damage, all_bodies }).expect("store works"));
        }
        outputs.extend(bench.settle());
        outputs
    };
    assert_eq!(repairs(&tell(&mut bench, false)), 0);
    assert_eq!(bench.tip(), ours.tip().hash);
    assert_eq!(repairs(&tell(&mut bench, true)), 1);
    bench.assert_at(&ours);
}

#[test]
fn what_stands_on_an_invalid_block_is_invalid_too_and_stays_so() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let (ours, mut theirs) = fork(&mut bench, 4, 1);
    let valid_tip = theirs.tip().hash;
    let mut wrong = grow(&mut theirs, OTHER_MINER, vec![]);
    wrong.header.state_root = StateRoot([9; 32]);
    let mut branch = vec![wrong];
    let child = |branch: &mut Vec<Block>| {
        let mut block = branch[branch.len() - 1].clone();
        block.header.prev_hash = block.header.hash();
        block.header.time += disk.params.interval;
        branch.push(block.clone());
        rework(&disk.params, branch.last_mut().expect("just pushed"));
    };
    rework(&disk.params, &mut branch[0]);
    (0..4).for_each(|_| child(&mut branch));
    let hashes: Vec<BlockHash> = branch.iter().map(|block| block.header.hash()).collect();
    for block in &branch[..3] {
        assert!(matches!(bench.feed(block).result, Ok(Accepted::Beside { .. })));
    }
    // The fourth makes the branch heavier, and the first is tried.
    assert_eq!(bench.feed(&branch[3]).result, Err(Refusal::InvalidAncestor(hashes[0])));
    for restarted in [false, true] {
        if restarted {
            drop(bench);
            bench = disk.open();
        }
        assert_eq!(bench.feed(&branch[0]).result, Err(Refusal::KnownInvalid));
        assert_eq!(bench.feed(&branch[2]).result, Err(Refusal::KnownInvalid));
        assert_eq!(bench.feed(&branch[4]).result, Err(Refusal::InvalidAncestor(hashes[3])));
        bench.assert_at(&ours);
        let validity = bench.store.snapshot().unwrap().header(&valid_tip).unwrap().unwrap().validity;
        assert_ne!(validity, Validity::InvalidAncestor);
    }
}

#[test]
fn what_was_found_invalid_is_judged_again_when_the_operator_says_so() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let (ours, mut theirs) = fork(&mut bench, 3, 1);
    let good = theirs.tip().hash;
    let mut wrong = vec![grow(&mut theirs, OTHER_MINER, vec![])];
    wrong[0].header.state_root = StateRoot([9; 32]);
    rework(&disk.params, &mut wrong[0]);
    for i in 0..2 {
        let mut next = wrong[i].clone();
        next.header.prev_hash = next.header.hash();
        next.header.time += disk.params.interval;
        rework(&disk.params, &mut next);
        wrong.push(next);
    }
    let [first, _, third] = [0, 1, 2].map(|i: usize| wrong[i].header.hash());
    wrong[..2].iter().for_each(|block| drop(bench.feed(block).result));
    assert_eq!(bench.feed(&wrong[2]).result, Err(Refusal::InvalidAncestor(first)));
    let heads = |bench: &Bench| bench.store.snapshot().unwrap().tips().map(|head| head.unwrap().1).collect::<Vec<_>>();
    assert!(heads(&bench).contains(&good), "nothing good stands on it");

    // Named by any of them: all are tried again, and break the same rule.
    let again = bench.ask(|origin| Input::Reconsider { origin, hash: third });
    assert_eq!(again.result, Ok(Accepted::Reconsidered { blocks: 3 }));
    let invalidated = again
        .outputs
        .iter()
        .any(|output| matches!(output, Output::Event(ChainEvent::Invalidated { hash, .. }) if *hash == first));
    assert!(invalidated, "the lowest was judged again");
    assert_eq!(bench.feed(&wrong[2]).result, Err(Refusal::KnownInvalid));
    bench.assert_at(&ours);
    let nothing = bench.ask(|origin| Input::Reconsider { origin, hash: ours.tip().hash });
    assert_eq!(nothing.result, Ok(Accepted::Reconsidered { blocks: 0 }));
    let unknown = bench.ask(|origin| Input::Reconsider { origin, hash: BlockHash([1; 32]) });
    assert_eq!(unknown.result, Err(Refusal::UnknownBlock(BlockHash([1; 32]))));
}

#[test]
fn a_good_branch_that_was_found_invalid_by_mistake_is_taken_when_it_is_judged_again() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let (ours, theirs) = fork(&mut bench, 3, 3);
    // As a version with a defect would have marked them.
    let mut update = bench.store.begin().unwrap();
    for (i, header) in theirs.headers().iter().enumerate().skip(1) {
        let validity = if i == 1 { Validity::Invalid } else { Validity::InvalidAncestor };
        update.set_validity(&header.hash(), validity).unwrap();
    }
    update.commit().unwrap();
    drop(bench);
    let mut bench = disk.open();
    let mut longer = theirs.clone();
    let next = grow(&mut longer, OTHER_MINER, vec![]);
    assert_eq!(bench.feed(&next).result, Err(Refusal::InvalidAncestor(theirs.tip().hash)));
    bench.assert_at(&ours);
    let hash = theirs.headers()[1].hash();
    let judged = bench.ask(|origin| Input::Reconsider { origin, hash });
    assert_eq!(judged.result, Ok(Accepted::Reconsidered { blocks: 3 }));
    bench.assert_at(&ours);
    assert_eq!(bench.feed(&next).result, Ok(Accepted::Connected { height: 4 }));
    bench.assert_at(&longer);
}

#[test]
fn an_operator_waits_for_an_update_like_everybody_else() {
    let mut bench = Bench::new();
    let (_, theirs) = fork(&mut bench, 3, 3);
    let mut longer = theirs.clone();
    let block = Box::new(checked(&bench.params, &grow(&mut longer, OTHER_MINER, vec![])));
    let hash = longer.tip().hash;
    // The reorganisation takes several calls and holds the store meanwhile.
    bench.engine.handle(bench.now, Input::Block { origin: Origin::Rpc(Token(0)), block }).expect("store works");
    assert!(bench.engine.is_updating());
    let asked = bench.ask(|origin| Input::Reconsider { origin, hash });
    assert_eq!(asked.result, Ok(Accepted::Reconsidered { blocks: 0 }));
    assert_eq!(bench.tip(), hash);
}

#[test]
fn a_lost_header_is_ours_and_blames_no_block() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let (mut ours, mut theirs) = fork(&mut bench, 3, 3);
    let lost = theirs.headers()[2].hash();
    drop(bench);
    disk.spoil(|write| {
        let mut headers = write.open_table(HEADERS).expect("the table of headers");
        assert!(headers.remove(&lost.0).expect("writes").is_some());
    });
    let mut bench = disk.open();
    let next = grow(&mut theirs, OTHER_MINER, vec![]);
    assert!(matches!(bench.feed(&next).result, Err(Refusal::Ours(_))));
    assert_eq!(bench.feed(&grow(&mut ours, MINER, vec![])).result, Ok(Accepted::Connected { height: 4 }));
    assert_eq!(bench.tip(), ours.tip().hash);
}

#[test]
fn nothing_is_admitted_on_a_state_that_is_being_made_anew() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let mut chain = TestChain::new(&disk.params);
    for _ in 0..10 {
        let payment = chain.pay(1, &SecretKey::dev(4).account(), 1_000_000, 0);
        bench.feed(&grow(&mut chain, MINER, vec![payment]));
    }
    drop(bench);
    rot_account(&disk, 2);
    let mut bench = disk.open();
    let payment = chain.pay(2, &SecretKey::dev(4).account(), 1_000_000, 0);
    assert!(matches!(bench.submit(payment), Err(Refusal::Ours(_))));
    assert!(bench.engine.is_updating());
    let payment = chain.pay(1, &SecretKey::dev(4).account(), 1_000_000, 0);
    assert_eq!(bench.submit(payment.clone()), Err(Refusal::Busy));
    bench.settle();
    assert!(bench.submit(payment).is_ok());
}

/// On the way up again payments have nonces that no account has reached: they wait elsewhere.
#[test]
fn payments_that_wait_are_there_after_the_state_was_made_anew() {
    for ended in [false, true] {
        let disk = Disk::new();
        let small_updates = || Config { update_bytes: 3_000, ..config() };
        let mut bench = disk.open_with(small_updates());
        let mut chain = TestChain::new(&disk.params);
        let pay = |chain: &TestChain, nonce| chain.pay(1, &SecretKey::dev(4).account(), 1_000_000, nonce);
        for _ in 0..80 {
            let payment = pay(&chain, 0);
            bench.feed(&grow(&mut chain, MINER, vec![payment]));
        }
        drop(bench);
        rot_account(&disk, 2);
        let mut bench = disk.open_with(small_updates());
        let payments: Vec<Transaction> = (0..6).map(|nonce| pay(&chain, nonce)).collect();
        payments.iter().for_each(|payment| assert!(bench.submit(payment.clone()).is_ok()));
        let payment = chain.pay(2, &SecretKey::dev(4).account(), 1_000_000, 0);
        assert!(matches!(bench.submit(payment), Err(Refusal::Ours(_))));
        assert!(bench.engine.is_repairing());
        if ended {
            bench.engine.handle(bench.now, Input::Shutdown).expect("store works");
            drop(bench);
            bench = disk.open_with(small_updates());
        }
        bench.settle();
        bench.assert_at(&chain);
        assert!(payments.iter().all(|payment| bench.engine.mempool().contains(&payment.txid())), "{ended}");
    }
}

#[test]
fn every_transaction_of_a_batch_has_a_verdict() {
    let disk = Disk::new();
    let bench = disk.open();
    let chain = TestChain::new(&disk.params);
    drop(bench);
    rot_account(&disk, 2);
    let mut bench = disk.open();
    let transactions =
        (1..=4).map(|payer| bench.check(chain.pay(payer, &SecretKey::dev(5).account(), 1_000_000, 0))).collect();
    let input = Input::Transactions { origin: Origin::Own, transactions };
    let outputs = bench.engine.handle(bench.now, input).expect("store works");
    let verdicts = outputs.iter().filter(|output| matches!(output, Output::Verdict { .. })).count();
    assert_eq!(verdicts, 4, "{outputs:?}");
}

#[test]
fn a_clock_behind_the_chain_mines_nothing() {
    let params = dev_params();
    let store = Store::open_backend(InMemoryBackend::new(), &params, &StoreOptions::default()).expect("opens");
    let (store, params) = (Arc::new(store), Arc::new(params));
    let config = Config { reward_to: Some(MINER), threads: 1, ..config() };
    // The clock of a machine without a battery.
    let mut engine = Engine::new(store, Arc::clone(&params), config, 0).expect("opens");
    let outputs = engine.handle(0, Input::Tick).expect("store works");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Mine(_))), "{outputs:?}");
    let Some(MiningRefusal::ClockBehind { until }) = engine.mining_refusal(0) else { panic!("the clock is behind") };
    assert!(engine.next_deadline(0).expect("wakes up") <= until);
    let outputs = engine.handle(until, Input::Tick).expect("store works");
    assert!(outputs.iter().any(|output| matches!(output, Output::Mine(_))), "{outputs:?}");
}

#[test]
fn a_clock_that_is_set_back_makes_a_new_template() {
    let mut bench = Bench::with(Config { reward_to: Some(MINER), threads: 1, ..config() });
    let mined = |bench: &mut Bench| {
        let outputs = bench.engine.handle(bench.now, Input::Tick).expect("store works");
        let time = |output: Output| if let Output::Mine(job) = output { Some(job.header.time) } else { None };
        outputs.into_iter().find_map(time)
    };
    bench.now += 120_000;
    assert_eq!(mined(&mut bench), Some(bench.now));
    assert_eq!(mined(&mut bench), None);
    bench.now -= 60_000;
    assert_eq!(mined(&mut bench), Some(bench.now));
}

#[test]
fn a_long_update_lets_the_miner_rest() {
    let mut bench = Bench::with(Config { reward_to: Some(MINER), threads: 1, ..config() });
    let (mut ours, mut theirs) = (TestChain::new(&bench.params), TestChain::new(&bench.params));
    for _ in 0..3 {
        bench.feed(&grow(&mut ours, MINER, vec![]));
        bench.feed(&grow(&mut theirs, OTHER_MINER, vec![]));
    }
    let last = grow(&mut theirs, OTHER_MINER, vec![]);
    let outputs = bench.feed(&last).outputs;
    let mining: Vec<&Output> =
        outputs.iter().filter(|output| matches!(output, Output::Mine(_) | Output::StopMining(_))).collect();
    assert!(matches!(mining[..], [Output::StopMining(_), Output::Mine(_)]), "{mining:?}");
    bench.assert_at(&theirs);
}

#[test]
fn a_long_update_commits_half_way_and_every_part_is_a_valid_chain() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let (mut ours, mut theirs) = (TestChain::new(&disk.params), TestChain::new(&disk.params));
    for _ in 0..8 {
        let payment = ours.pay(0, &AccountId([0x33; 32]), 5_000_000, 0);
        bench.feed(&grow(&mut ours, MINER, vec![payment]));
        let payment = theirs.pay(1, &AccountId([0x44; 32]), 5_000_000, 0);
        bench.feed(&grow(&mut theirs, OTHER_MINER, vec![payment]));
    }
    drop(bench);
    let open = || disk.open_with(Config { update_bytes: 3_000, ..config() });
    let mut bench = open();
    let last = grow(&mut theirs, OTHER_MINER, vec![]);
    let block = Box::new(checked(&disk.params, &last));
    bench.engine.handle(bench.now, Input::Block { origin: Origin::Own, block }).expect("store works");
    let mut tips = vec![];
    let mut steps = 1;
    while bench.engine.is_updating() {
        bench.engine.handle(bench.now, Input::Tick).expect("store works");
        steps += 1;
        if tips.last() != Some(&bench.tip()) {
            tips.push(bench.tip());
            verify(&bench.store.snapshot().expect("reads"), &disk.params, |_| {}).expect("everything on disk agrees");
            // Every part ends a run of the program.
            drop(bench);
            bench = open();
        }
        assert!(steps < 1_000, "it goes on and on");
    }
    assert!(tips.len() > 2, "{} parts", tips.len());
    bench.assert_at(&theirs);
}

#[test]
fn no_block_of_our_own_takes_rot_over() {
    let disk = Disk::new();
    let mut bench = disk.open();
    let mut chain = TestChain::new(&disk.params);
    bench.feed(&grow(&mut chain, MINER, vec![]));
    drop(bench);
    disk.spoil(|write| {
        let mut leaves = write.open_table(LEAVES).expect("the table of leaves");
        let poor = Leaf::Account(drystone_core::state::Account { balance: Amount(1), nonce: 0 });
        let key = StateKey::account(&SecretKey::dev(2).account());
        leaves.insert(&key.0, poor.to_bytes().as_slice()).expect("writes");
    });
    let mut bench = disk.open_with(Config { reward_to: Some(MINER), threads: 1, ..config() });
    let outputs = bench.settle();
    assert_eq!(repairs(&outputs), 1);
    bench.assert_at(&chain);
    assert!(matches!(outputs.last(), Some(Output::Mine(_))), "{outputs:?}");
}
