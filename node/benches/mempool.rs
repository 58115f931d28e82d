//! Admission of transactions whose signatures were checked, and what follows a block.

use std::collections::BTreeMap;
use std::convert::Infallible;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use drystone_core::amount::Amount;
use drystone_core::genesis::main_params;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::state::Account;
use drystone_core::transaction::{Memo, TransactionBody};
use drystone_core::validation::{CheckedTransaction, check_transactions};
use drystone_node::engine::mempool::{AccountReader, Limits, Mempool};

const ACCOUNTS: u64 = 1_000;
const EACH: u64 = 10;

/// Confirmed accounts in memory.
struct Accounts(BTreeMap<AccountId, Account>);

impl AccountReader for Accounts {
    type Error = Infallible;

    fn account(&self, id: &AccountId) -> Result<Account, Infallible> {
        Ok(self.0.get(id).copied().unwrap_or_default())
    }
}

/// Ten transfers from each of 1,000 accounts, round after round, at fees that differ.
fn transactions() -> (Vec<CheckedTransaction>, Accounts) {
    let params = main_params();
    let chain_id = params.chain_id();
    let key = |i: u64| {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&i.to_le_bytes());
        SecretKey::from_seed(&seed)
    };
    let keys: Vec<SecretKey> = (0..ACCOUNTS).map(key).collect();
    let transfer = |(nonce, i): (u64, u64)| {
        let key = &keys[i as usize];
        let fee = Amount(160 + (nonce * 7919 + i * 104_729) % 10_000);
        let to = keys[(i as usize + 1) % keys.len()].account();
        let memo = Memo::default();
        TransactionBody { from: key.account(), to, amount: params.account_reserve, fee, nonce, memo }
            .sign(&chain_id, key)
    };
    let signed = (0..EACH).flat_map(|nonce| (0..ACCOUNTS).map(move |i| (nonce, i))).map(transfer).collect();
    let checked = check_transactions(signed, params.rules_at(1), &chain_id, &[1; 32]).expect("they are truly signed");
    let account = Account { balance: Amount(100 * params.account_reserve.0), nonce: 0 };
    (checked, Accounts(keys.iter().map(|key| (key.account(), account)).collect()))
}

fn filled(limits: Limits, transactions: Vec<CheckedTransaction>, accounts: &Accounts) -> Mempool {
    let mut pool = Mempool::new(limits, main_params().account_reserve);
    for transaction in transactions {
        let Ok(admitted) = pool.admit(0, transaction, accounts);
        admitted.expect("it is valid and there is room");
    }
    pool
}

fn mempool(criterion: &mut Criterion) {
    let (transactions, accounts) = transactions();
    let mut group = criterion.benchmark_group("mempool");
    group.throughput(Throughput::Elements(ACCOUNTS * EACH));
    group.sample_size(20);
    group.bench_function("admit", |bencher| {
        bencher.iter_batched(
            || transactions.clone(),
            |transactions| filled(Limits::default(), transactions, &accounts),
            BatchSize::LargeInput,
        );
    });
    let pool = filled(Limits::default(), transactions.clone(), &accounts);
    group.bench_function("candidates", |bencher| bencher.iter(|| pool.candidates(2 << 20)));

    // A block confirms each account's first two transactions.
    let confirmed: Vec<_> = transactions[..2 * ACCOUNTS as usize].iter().map(|c| c.transaction().clone()).collect();
    let after = accounts.0.iter().map(|(id, account)| (*id, Account { nonce: 2, ..*account })).collect();
    let after = Accounts(after);
    group.bench_function("update", |bencher| {
        bencher.iter_batched_ref(
            || filled(Limits::default(), transactions.clone(), &accounts),
            |pool| pool.update(0, &confirmed, Vec::new(), &after),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, mempool);
criterion_main!(benches);
