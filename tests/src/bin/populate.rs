//! Fills a data directory with a valid development chain of many blocks or many accounts, to measure a node on it:
//! `populate DIR BLOCKS ACCOUNTS` writes `BLOCKS` blocks, the first of which create `ACCOUNTS` accounts between them.

use std::path::Path;
use std::process::ExitCode;

use drystone_core::genesis::dev_params;
use drystone_core::key::AccountId;
use drystone_core::transaction::Transaction;
use drystone_node::store::{Store, StoreError, StoreOptions};
use drystone_tests::chain::TestChain;

/// Payments in a block: 160 bytes each, 1.6 MB of the 2 MiB that a block may have.
const PER_BLOCK: u64 = 10_000;
/// Blocks in one commit.
const PER_COMMIT: u64 = 1000;
/// What each new account receives: the reserve.
const ENDOWMENT: u64 = 100_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, blocks, accounts] = arguments.as_slice() else {
        eprintln!("error: three arguments are needed; next: populate DIR BLOCKS ACCOUNTS");
        return ExitCode::from(2);
    };
    let (Ok(blocks), Ok(accounts)) = (blocks.parse(), accounts.parse()) else {
        eprintln!("error: BLOCKS and ACCOUNTS are whole numbers; next: populate DIR 1000 0");
        return ExitCode::from(2);
    };
    match populate(Path::new(directory), blocks, accounts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn populate(directory: &Path, blocks: u64, accounts: u64) -> Result<(), StoreError> {
    std::fs::create_dir_all(directory)?;
    let params = dev_params();
    let store = Store::open_file(&directory.join("ledger.redb"), &params, &StoreOptions::default(), |_| {})?;
    let mut chain = TestChain::new(&params);
    let mut made = 0;
    let mut update = store.begin()?;
    for height in 1..=blocks {
        let payments: Vec<Transaction> =
            (0..PER_BLOCK.min(accounts - made)).map(|i| chain.pay(0, &fresh(made + i), ENDOWMENT, i)).collect();
        made += payments.len() as u64;
        let heavy = !payments.is_empty();
        update.connect(&chain.extend(&AccountId([1; 32]), payments))?;
        if heavy || height % PER_COMMIT == 0 {
            update.commit()?;
            update = store.begin()?;
        }
    }
    update.commit()?;
    println!("{blocks} blocks, {made} accounts, tip {}", chain.tip().hash);
    Ok(())
}

/// An account that nobody has the key of.
fn fresh(number: u64) -> AccountId {
    let mut id = [0xee; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    AccountId(id)
}
