//! The cost of a block's changes to the state tree, over a state in memory.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use drystone_core::amount::Amount;
use drystone_core::key::AccountId;
use drystone_core::state::{Account, Leaf, MemoryState, StateChanges, StateKey, TreeUpdate, prove, rebuild, update};

const ACCOUNTS: u64 = 1_000_000;
const CHANGED: usize = 20_000;

fn key(n: u64) -> StateKey {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_le_bytes());
    StateKey::account(&AccountId(id))
}

fn account(balance: u64) -> Option<Leaf> {
    Some(Leaf::Account(Account { balance: Amount(balance), nonce: 1 }))
}

/// Prints how many pages an update writes, and their bytes with their keys.
fn print_pages(what: &str, tree: &TreeUpdate) {
    let pages = || tree.pages.iter().filter_map(|(path, page)| Some((path, page.as_ref()?)));
    let bytes: usize = pages().map(|(path, page)| path.to_bytes().len() + page.to_bytes().len()).sum();
    println!("{what}: {} pages, {bytes} bytes", pages().count());
}

fn state_tree(c: &mut Criterion) {
    let mut state = MemoryState::default();
    let leaves: BTreeMap<_, _> = (0..ACCOUNTS).map(|n| (key(n), account(n))).collect();
    let Ok(tree) = update(&state, &leaves);
    print_pages("all accounts", &tree);
    state.apply(&StateChanges { leaves, pages: tree.pages, ..StateChanges::default() });

    let step = ACCOUNTS as usize / CHANGED;
    let changes: BTreeMap<_, _> = (0..ACCOUNTS).step_by(step).map(|n| (key(n), account(n + 1))).collect();
    let Ok(tree) = update(&state, &changes);
    print_pages("changed accounts", &tree);

    let mut group = c.benchmark_group("state_tree");
    group.sample_size(20);
    group.bench_function("update_20000_of_1000000", |b| b.iter(|| update(&state, black_box(&changes))));
    let one = changes.iter().take(1).map(|(key, leaf)| (*key, *leaf)).collect();
    group.bench_function("update_1_of_1000000", |b| b.iter(|| update(&state, black_box(&one))));
    group.bench_function("prove_1_of_1000000", |b| b.iter(|| prove(&state, black_box(&key(7)))));
    group.bench_function("rebuild_1000000", |b| b.iter(|| rebuild(&state, |path, page| _ = black_box((path, page)))));
    group.finish();
}

criterion_group!(benches, state_tree);
criterion_main!(benches);
