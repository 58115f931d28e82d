//! Power cuts: whatever a cut in any write or sync leaves on the disk, the store opens with the last durable tip or a newer
//! one, everything verifies, and the work goes on without a byte from the network.
//!
//! One run of a workload is recorded, operation by operation; what a cut in operation `n` leaves follows from the first `n`
//! alone, so every cut can be tried without running the workload again. `cargo test` tries a sample of them;
//! `DRYSTONE_ALL_CUTS=1 cargo test -p drystone-tests --test crash` tries all.

use std::sync::Arc;

use drystone_core::genesis::dev_params;
use drystone_core::hash::BlockHash;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::state::{Overlay, revert};
use drystone_core::transaction::Transaction;
use drystone_core::validation::{BlockContext, CheckedBlock, ConnectedBlock, check_block, check_header};
use drystone_node::engine::message::{Input, Origin};
use drystone_node::engine::{Config, Engine};
use drystone_node::store::{Snapshot, Store, StoreError, StoreOptions, replay, verify};
use drystone_tests::chain::TestChain;
use drystone_tests::fault::{FaultyDisk, Unsynced};

/// One commit: blocks back, blocks forward, and the mempool that is saved with them.
struct Step {
    disconnect: Vec<BlockHash>,
    connect: Vec<ConnectedBlock>,
    mempool: Vec<Transaction>,
}

/// The steps, and the tip before the first and after each.
struct Workload {
    params: Arc<ChainParams>,
    steps: Vec<Step>,
    tips: Vec<BlockHash>,
}

/// Payments between old and new accounts, single blocks and batches, reorganisations one to five blocks deep.
fn workload(rounds: u32) -> Workload {
    let params = Arc::new(dev_params());
    let mut chain = TestChain::new(&params);
    let mut tips = vec![chain.tip().hash];
    let mut steps = Vec::new();
    for round in 0..rounds {
        let depth = if round % 3 == 2 { 1 + (round as usize / 3) % 5 } else { 0 };
        let mut branch = chain.clone();
        let connect = |chain: &mut TestChain, blocks: u32, branch: u8| -> Vec<ConnectedBlock> {
            (0..blocks).map(|number| next_block(chain, round, number, branch)).collect()
        };
        // The branch that loses is connected block by block, the one that wins at once.
        let mut disconnect = Vec::new();
        for number in 0..depth as u32 {
            let block = next_block(&mut chain, round, number, 0);
            tips.push(block.hash());
            disconnect.insert(0, block.hash());
            steps.push(Step { disconnect: vec![], connect: vec![block], mempool: vec![] });
        }
        let blocks = connect(&mut branch, depth as u32 + 1, 1);
        chain = branch;
        tips.push(chain.tip().hash);
        let mempool = vec![chain.pay(round as u8 % 10, &AccountId([round as u8; 32]), 1 << 20, 0)];
        steps.push(Step { disconnect, connect: blocks, mempool });
    }
    Workload { params, steps, tips }
}

/// A block with payments to accounts old and new, different on each branch.
fn next_block(chain: &mut TestChain, round: u32, number: u32, branch: u8) -> ConnectedBlock {
    let (payer, other) = ((round % 10) as u8, ((round + 1 + number) % 10) as u8);
    let stranger = AccountId([0x80 | branch | (number as u8) << 1 | (round as u8 & 7) << 4; 32]);
    let mut payments = vec![chain.pay(payer, &stranger, 1_000_000 + u64::from(round), 0)];
    if other != payer {
        payments.push(chain.pay(other, &SecretKey::dev(payer).account(), 500, 0));
    }
    payments.push(chain.pay(payer, &SecretKey::dev(payer).account(), 77, 1));
    chain.extend(&AccountId([branch + 1; 32]), payments)
}

fn open(disk: &FaultyDisk, params: &ChainParams) -> Result<Store, StoreError> {
    // A cache smaller than the workload makes reads reach the disk.
    let options = StoreOptions { cache_bytes: 256 << 10, ..StoreOptions::default() };
    Store::open_backend(disk.clone(), params, &options)
}

fn commit(store: &Store, step: &Step) -> Result<(), StoreError> {
    let snapshot = store.snapshot()?;
    let mut update = store.begin()?;
    for hash in &step.disconnect {
        let record = update.header(hash)?.expect("the tip has a header");
        let undo = update.undo(hash)?.expect("the tip has an undo");
        let parent = update.header(&record.header.prev_hash)?.expect("the parent has a header");
        let view = Overlay { base: &snapshot, changes: update.changes() };
        let (root, changes) = revert(&view, &undo, record.height)?;
        assert_eq!(root, parent.header.state_root, "taking a block back gives its parent's state");
        update.disconnect(hash, changes)?;
    }
    for block in &step.connect {
        update.connect(block)?;
    }
    update.put_mempool(&step.mempool)?;
    update.commit()
}

/// Runs all steps on a disk that works; returns it with the number of operations after the opening and each commit.
fn record(work: &Workload) -> (FaultyDisk, Vec<u64>) {
    let disk = FaultyDisk::default();
    let store = open(&disk, &work.params).expect("a fresh disk opens");
    let mut acknowledged = vec![disk.operations()];
    for step in &work.steps {
        commit(&store, step).expect("the disk works");
        acknowledged.push(disk.operations());
    }
    drop(store);
    (disk, acknowledged)
}

/// The number of steps that a tip belongs to, which must be those that were durable before the cut, or one more.
fn steps_at(tip: &BlockHash, tips: &[BlockHash], durable_steps: usize, what: &str) -> usize {
    let steps = tips.iter().position(|known| known == tip).expect("the tip is one of the workload's");
    assert!(
        steps == durable_steps || steps == durable_steps + 1,
        "{what}: {steps} steps, {durable_steps} were durable"
    );
    steps
}

fn check(snapshot: &Snapshot, params: &ChainParams, what: &str) {
    verify(snapshot, params, |_| {}).unwrap_or_else(|failure| panic!("{what}: {failure}"));
}

/// Opens what a cut left and holds it against what was acknowledged before. Returns the number of steps that it holds.
fn check_image(image: Vec<u8>, work: &Workload, durable_steps: usize, what: &str) -> usize {
    let store = open(&FaultyDisk::new(image), &work.params).unwrap_or_else(|error| panic!("{what}: {error}"));
    let snapshot = store.snapshot().expect("reads");
    check(&snapshot, &work.params, what);
    steps_at(&snapshot.tip().expect("has a tip").hash, &work.tips, durable_steps, what)
}

/// One in how many cuts is tried.
fn stride(sampled: u64) -> u64 {
    if std::env::var_os("DRYSTONE_ALL_CUTS").is_some() { 1 } else { sampled }
}

/// Tries the cuts of a recorded run: `try_image` gets the image, the number of steps that were durable, and what to call
/// the case. Before the opening is acknowledged a file does not have its name yet, so there is nothing to open.
fn try_cuts(disk: &FaultyDisk, acknowledged: &[u64], stride: u64, mut try_image: impl FnMut(Vec<u8>, usize, &str)) {
    let mut cuts = disk.cuts();
    while let Some(operation) = cuts.advance() {
        let commits = acknowledged.iter().filter(|count| **count <= operation).count();
        if commits == 0 || operation % stride != 0 {
            continue;
        }
        for unsynced in [Unsynced::Lost, Unsynced::Kept, Unsynced::Torn(operation), Unsynced::Torn(!operation)] {
            let what = format!("cut in operation {operation}, unsynced writes {unsynced:?}");
            try_image(cuts.image(unsynced), commits - 1, &what);
        }
    }
}

#[test]
fn every_cut_leaves_the_last_durable_tip_or_a_newer_one() {
    let work = workload(60);
    let (disk, acknowledged) = record(&work);
    let (mut tried, mut newer) = (0, 0);
    try_cuts(&disk, &acknowledged, stride(13), |image, durable_steps, what| {
        newer += check_image(image, &work, durable_steps, what) - durable_steps;
        tried += 1;
    });
    println!("{tried} images of {} operations, {newer} hold the commit that was cut", disk.operations());
    assert!(newer > 0, "some cuts fall after the commit became durable");
}

#[test]
fn a_cut_while_a_crash_is_recovered_from_costs_nothing_either() {
    let work = workload(12);
    let (disk, acknowledged) = record(&work);
    let mut first_cuts = Vec::new();
    // All cuts of all cuts would be millions; the first ones are a sample always.
    try_cuts(&disk, &acknowledged, 97, |image, _, what| first_cuts.push((image, what.to_owned())));
    for (image, what) in first_cuts {
        let disk = FaultyDisk::new(image);
        let store = open(&disk, &work.params).unwrap_or_else(|error| panic!("{what}: {error}"));
        let tip = store.snapshot().expect("reads").tip().expect("has a tip").hash;
        let steps = work.tips.iter().position(|known| *known == tip).expect("the tip is one of the workload's");
        // The opening changes nothing that counts, so it is acknowledged from the start.
        let mut acknowledged = vec![0; steps + 1];
        if let Some(step) = work.steps.get(steps) {
            commit(&store, step).expect("the disk works");
            acknowledged.push(disk.operations());
        }
        drop(store);
        try_cuts(&disk, &acknowledged, stride(3), |image, durable_steps, then| {
            check_image(image, &work, durable_steps, &format!("{what}, then {then}"));
        });
    }
}

#[test]
fn a_failing_disk_is_an_error_and_never_a_panic() {
    let work = workload(12);
    let (disk, _) = record(&work);
    for cut in (0..disk.operations()).step_by(stride(5) as usize) {
        let disk = FaultyDisk::with_cut(Vec::new(), cut);
        let run = open(&disk, &work.params).and_then(|store| {
            work.steps.iter().try_for_each(|step| commit(&store, step))?;
            Ok(store)
        });
        match run {
            // The cut falls into the closing of the file.
            Ok(store) => drop(store),
            Err(error) => assert!(matches!(error, StoreError::Io(_) | StoreError::Stopped), "cut {cut}: {error}"),
        }
    }
}

/// An engine over a disk, fed blocks one by one as a node is.
struct Node {
    engine: Engine,
    params: Arc<ChainParams>,
    now: u64,
}

impl Node {
    fn start(disk: &FaultyDisk, params: &Arc<ChainParams>) -> Result<Node, StoreError> {
        let now = params.time + 1_000_000_000;
        let engine = Engine::new(Arc::new(open(disk, params)?), Arc::clone(params), Config::new([9; 32]), now)?;
        let mut node = Node { engine, params: Arc::clone(params), now };
        node.run()?;
        Ok(node)
    }

    /// Runs every deadline that is due.
    fn run(&mut self) -> Result<(), StoreError> {
        while self.engine.next_deadline(self.now).is_some_and(|due| due <= self.now) {
            self.engine.handle(self.now, Input::Tick)?;
        }
        Ok(())
    }

    fn feed(&mut self, block: &ConnectedBlock) -> Result<(), StoreError> {
        let input = Input::Block { origin: Origin::Own, block: Box::new(self.checked(block)) };
        self.engine.handle(self.now, input)?;
        self.run()
    }

    fn checked(&self, block: &ConnectedBlock) -> CheckedBlock {
        let header = check_header(block.block().header, &self.params).expect("valid");
        let (chain_id, height) = (self.params.chain_id(), block.height());
        let context = BlockContext { params: &self.params, chain_id: &chain_id, height, batch_secret: &[9; 32] };
        check_block(header, block.block().body.clone(), &context).expect("valid")
    }
}

#[test]
fn an_engine_resumes_after_every_cut_and_reaches_the_same_end() {
    let work = workload(30);
    let blocks: Vec<&ConnectedBlock> = work.steps.iter().flat_map(|step| &step.connect).collect();

    let disk = FaultyDisk::default();
    let mut node = Node::start(&disk, &work.params).expect("a fresh disk opens");
    let mut acknowledged = vec![disk.operations()];
    let mut tips = vec![node.engine.tip().hash];
    for block in &blocks {
        node.feed(block).expect("the disk works");
        acknowledged.push(disk.operations());
        tips.push(node.engine.tip().hash);
    }
    let end = *node.engine.tip();
    drop(node);
    assert_eq!(Some(&end.hash), work.tips.last(), "the engine follows the heavier branches");

    let mut tried = 0u64;
    try_cuts(&disk, &acknowledged, stride(13), |image, durable_blocks, what| {
        let disk = FaultyDisk::new(image);
        let mut node = Node::start(&disk, &work.params).unwrap_or_else(|error| panic!("{what}: {error}"));
        check(node.engine.snapshot(), &work.params, what);
        let fits = |blocks: usize| tips.get(blocks) == Some(&node.engine.tip().hash);
        assert!(fits(durable_blocks) || fits(durable_blocks + 1), "{what}: neither the durable tip nor the next");
        // Going on from what was durable needs no block from before it.
        tried += 1;
        if tried.is_multiple_of(8) {
            for block in &blocks[durable_blocks..] {
                node.feed(block).expect("the disk works");
            }
            assert_eq!(*node.engine.tip(), end, "{what}");
            check(node.engine.snapshot(), &work.params, what);
        }
    });
    println!("{tried} images of {} operations", disk.operations());
}

#[test]
fn what_survives_replays_from_genesis() {
    let work = workload(30);
    let (disk, acknowledged) = record(&work);
    try_cuts(&disk, &acknowledged, stride(211), |image, _, what| {
        let store = open(&FaultyDisk::new(image), &work.params).unwrap_or_else(|error| panic!("{what}: {error}"));
        let snapshot = store.snapshot().expect("reads");
        replay(&snapshot, &work.params, |_| {}).unwrap_or_else(|failure| panic!("{what}: {failure}"));
    });
}
