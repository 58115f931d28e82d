//! What commits and starts cost, for docs/STORAGE.md. Not run by default:
//! `cargo test --release -p drystone-node --lib store::measure -- --ignored --nocapture --test-threads 1`.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use drystone_core::amount::Amount;
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::hash::{BlockHash, WIRE_ID};
use drystone_core::state::{self, Account, Leaf, StateChanges, StateKey, Undo};

use super::tables::{BODIES, HEADERS, HeaderRecord, MAIN, TIPS, UNDO, Validity, block_key, height_key, tip_key};
use super::update::write_state;
use super::{Store, StoreOptions, begin_write};

const ACCOUNTS: u64 = 1_000_000;
const CHANGES: u64 = 20_000;

fn open(path: &Path) -> Store {
    Store::open_file(path, &dev_params(), &StoreOptions::default(), |_| {}).expect("opens")
}

/// New balances for `count` of the accounts, spread over all of them.
fn changes(store: &Store, count: u64, round: u64) -> StateChanges {
    let account = |i: u64| (i * (ACCOUNTS / count) + round) % ACCOUNTS;
    let key = |i: u64| StateKey(WIRE_ID.hash(&[&account(i).to_le_bytes()]));
    let leaf = Some(Leaf::Account(Account { balance: Amount(round + 1), nonce: round }));
    let leaves = (0..count).map(|i| (key(i), leaf)).collect();
    let tree = state::update(&store.snapshot().expect("reads"), &leaves).expect("reads");
    StateChanges { leaves, pages: tree.pages, ..StateChanges::default() }
}

/// Writes and commits, with quick repair or without. Returns the time in the commit and that before it.
fn commit(store: &Store, changes: &StateChanges, quick_repair: bool) -> (Duration, Duration) {
    let mut transaction = begin_write(&store.database).expect("begins");
    transaction.set_quick_repair(quick_repair);
    let start = Instant::now();
    write_state(&transaction, changes).expect("writes");
    let written = start.elapsed();
    transaction.commit().expect("commits");
    (start.elapsed() - written, written)
}

/// The best time of five to open what a kill would leave now: the file, copied while the store holds it open.
fn open_killed(path: &Path) -> Duration {
    let killed = path.with_extension("killed");
    let once = |_| {
        fs::copy(path, &killed).expect("copies");
        // Or the first sync of the opening would write the copy.
        fs::File::open(&killed).expect("opens").sync_all().expect("syncs");
        time_to_tip(&killed)
    };
    (0..5).map(once).min().expect("five")
}

/// The time until the tip is known; closing is not part of it.
fn time_to_tip(path: &Path) -> Duration {
    let start = Instant::now();
    let store = open(path);
    store.snapshot().expect("reads").tip().expect("has a tip");
    start.elapsed()
}

#[test]
#[ignore = "a measurement"]
fn quick_repair() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    let store = open(&path);
    for round in 0..20 {
        commit(&store, &changes(&store, ACCOUNTS / 20, round), true);
    }
    let size = fs::metadata(&path).expect("is there").len();
    println!("{ACCOUNTS} accounts, file {} MB", size >> 20);
    for count in [1, 2_000, CHANGES] {
        for quick in [true, false] {
            let (mut committed, mut written) = (Duration::MAX, Duration::MAX);
            let mut pages = 0;
            for repeat in 0..5 {
                let changes = changes(&store, count, 30 + 2 * repeat + u64::from(quick));
                let (in_commit, before) = commit(&store, &changes, quick);
                (committed, written) = (committed.min(in_commit), written.min(before));
                pages = changes.pages.len();
            }
            println!(
                "{count} leaves, {pages} pages, quick repair {quick}: written {written:?}, committed {committed:?}"
            );
        }
    }
    for quick in [true, false] {
        commit(&store, &changes(&store, 100, 40), quick);
        println!("start after a kill, last commit with quick repair {quick}: {:?}", open_killed(&path));
    }
}

#[test]
#[ignore = "a measurement"]
fn starts_by_chain_length() {
    for blocks in [1_000u64, 100_000] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("store.redb");
        let store = open(&path);
        lengthen(&store, blocks);
        println!("{blocks} blocks: start after a kill {:?}", open_killed(&path));
        drop(store);
        let clean = (0..5).map(|_| time_to_tip(&path)).min().expect("five");
        println!("{blocks} blocks: start after a clean end {clean:?}");
    }
}

/// Writes the records of a long chain without the work of making one.
fn lengthen(store: &Store, blocks: u64) {
    let tip = store.snapshot().expect("reads").tip().expect("has a tip");
    let (body, undo) = (encode(&dev_params().genesis_block().body), encode(&Undo::default()));
    let transaction = begin_write(&store.database).expect("begins");
    let mut headers = transaction.open_table(HEADERS).expect("opens");
    let mut main = transaction.open_table(MAIN).expect("opens");
    let mut bodies = transaction.open_table(BODIES).expect("opens");
    let mut undos = transaction.open_table(UNDO).expect("opens");
    let (mut parent, mut work) = (tip.hash, tip.work);
    for height in 1..=blocks {
        let header = drystone_core::block::Header { prev_hash: parent, time: tip.header.time + height, ..tip.header };
        let hash: BlockHash = header.hash();
        work = work + tip.work;
        let record = HeaderRecord { hash, header, height, work, validity: Validity::Connected };
        headers.insert(&hash.0, &record.to_bytes()).expect("inserts");
        main.insert(&height_key(height), &hash.0).expect("inserts");
        bodies.insert(&block_key(height, &hash), body.as_slice()).expect("inserts");
        undos.insert(&block_key(height, &hash), undo.as_slice()).expect("inserts");
        parent = hash;
    }
    let mut tips = transaction.open_table(TIPS).expect("opens");
    tips.remove(&tip_key(tip.work, &tip.hash)).expect("removes");
    tips.insert(&tip_key(work, &parent), ()).expect("inserts");
    drop((headers, main, bodies, undos, tips));
    transaction.commit().expect("commits");
}
