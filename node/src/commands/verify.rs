//! `drystone-node verify`: recomputes everything on disk from what it follows from, and says what was checked.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;

use drystone_core::amount::Amount;
use drystone_core::params::ChainParams;
use drystone_core::subsidy::subsidies_through;
use drystone_node::engine::message::Input;
use drystone_node::engine::{self, Engine};
use drystone_node::store::{Snapshot, Store, StoreError, StoreOptions, VerifyFailure, VerifyReport, replay, verify};

use crate::cli::VerifyOptions;
use crate::clock::now;
use crate::config::read_genesis;
use crate::data::DataDir;
use crate::failure::Failure;

/// Verifies, repairs where that is asked for and needed, and returns what to print.
pub(crate) fn execute(options: &VerifyOptions) -> Result<String, Failure> {
    let data = match &options.data_dir {
        Some(path) => DataDir::at(path.clone()),
        None => DataDir::only("data directory", |data| data.store().exists())?,
    };
    let file = data.store();
    if !file.exists() {
        return Err(Failure::new(
            format_args!("there is no ledger in {}", data.path().display()),
            "name a node's data directory with --data-dir",
        ));
    }
    // A ledger that was copied here alone does not say which chain it holds.
    if options.genesis.is_none() && !data.genesis().exists() {
        return Err(Failure::new(
            format_args!("there is no genesis file in {}", data.path().display()),
            "copy genesis.json from where the ledger comes from, or name the chain's genesis file with --genesis",
        ));
    }
    let params = read_genesis(options.genesis.as_deref().unwrap_or(&data.genesis()))?;
    let (store, failure) = match open(&data, &params, true).map(Arc::new) {
        Ok(store) => match check(&store, &params) {
            Ok(text) => return Ok(text),
            Err(failure) => (store, failure),
        },
        // Pages that rotted fail the check of the file. What they held can be made anew all the same, if the rest can
        // be read.
        Err(StoreError::Damaged(what)) if options.repair => {
            (Arc::new(open(&data, &params, false)?), StoreError::Damaged(what).into())
        }
        Err(StoreError::InUse) => {
            return Err(Failure::new(
                format_args!("{} is in use by a running node", file.display()),
                "stop the node first; drystone-node status shows which it is",
            ));
        }
        Err(error) => return Err(error.into()),
    };
    if !options.repair {
        return Err(Failure::new(
            format_args!("{}: {failure}", file.display()),
            format_args!("drystone-node verify --repair --data-dir {}", data.path().display()),
        ));
    }
    let from = store.snapshot()?.tip().map_or_else(|_| "unknown".to_owned(), |tip| tip.height.to_string());
    repair(&store, &params)?;
    let text = check(&store, &params).map_err(|failure| {
        Failure::new(
            format_args!("{} is beyond repair: {failure}", file.display()),
            "restore a copy, or move the file away and start anew",
        )
    })?;
    let to = store.snapshot()?.tip()?.height;
    let shorter = if from.parse().is_ok_and(|from: u64| to < from) {
        ": the block above is damaged, and the chain goes on once it is submitted again"
    } else {
        ""
    };
    Ok(format!("found      {failure}\nrepaired   from the blocks on disk, height {from} to {to}{shorter}\n{text}"))
}

fn open(data: &DataDir, params: &ChainParams, check_file: bool) -> Result<Store, StoreError> {
    let options = StoreOptions { check_file, ..StoreOptions::default() };
    data.open_store(params, &options, progress("checking the file"))
}

/// Everything once; what to print if all of it agrees.
fn check(store: &Store, params: &ChainParams) -> Result<String, VerifyFailure> {
    let snapshot = store.snapshot()?;
    let report = verify(&snapshot, params, progress("recomputing"))?;
    let replayed = replay_blocks(&snapshot, params)?;
    Ok(describe(params, &report, replayed))
}

/// Whether every block could be executed again; not held bodies are no fault.
fn replay_blocks(snapshot: &Snapshot, params: &ChainParams) -> Result<bool, VerifyFailure> {
    match replay(snapshot, params, progress("replaying")) {
        Ok(()) => Ok(true),
        Err(VerifyFailure::NotHeld(_)) => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// Makes the state anew: back to genesis, then up again through every block on disk.
fn repair(store: &Arc<Store>, params: &ChainParams) -> Result<(), Failure> {
    store.reset_state(params)?;
    // The secret guards against peers who craft signatures while they watch; nobody watches here.
    let config = engine::Config::new([0; 32]);
    let mut engine = Engine::new(Arc::clone(store), Arc::new(params.clone()), config, now())?;
    while engine.is_updating() {
        engine.handle(now(), Input::Tick)?;
    }
    Ok(())
}

/// One line for each check, then the money.
fn describe(params: &ChainParams, report: &VerifyReport, replayed: bool) -> String {
    let height = report.height;
    let (allocated, subsidies) = (params.allocated(), subsidies_through(params, height));
    let stones = Amount::to_stones;
    let replay = if replayed {
        "every block executed again from genesis gives the same undo and the same state"
    } else {
        "not done: some bodies are not held"
    };
    let lines = [
        (
            "headers",
            format!(
                "{} known; each in its place, and those of the main chain right by every rule, with their work",
                report.headers
            ),
        ),
        (
            "bodies",
            format!("{} held, with {} transactions; each under its header's root", report.bodies, report.transactions),
        ),
        ("history", format!("{} nodes lead to the root in the state", report.history_nodes)),
        ("state", format!("{} accounts and {} pages give the state root of the tip", report.accounts, report.pages)),
        ("indexes", format!("{} entries, as the bodies say", report.index_entries)),
        ("replay", replay.to_owned()),
        ("balances", format!("{} stones in {} accounts", stones(report.balances), report.accounts)),
        ("immature", format!("{} stones in {} rewards", stones(report.immature), report.immature_rewards)),
        (
            "supply",
            format!(
                "{} + {} = {} allocated + {} in subsidies of {height} blocks, exactly",
                stones(report.balances),
                stones(report.immature),
                stones(allocated),
                stones(subsidies)
            ),
        ),
        ("verified", format!("{} at height {height}", params.name)),
    ];
    lines.iter().map(|(name, value)| format!("{name:<11}{value}\n")).collect()
}

/// Shows the share done of something that takes long, on a terminal.
fn progress(what: &'static str) -> impl Fn(f64) + 'static {
    let shown = std::cell::Cell::new(u32::MAX);
    let terminal = stderr().is_terminal();
    move |done| {
        let percent = (100.0 * done) as u32;
        if terminal && shown.replace(percent) != percent {
            let end = if percent >= 100 { "\r\x1b[K" } else { "" };
            // Nothing depends on what is shown.
            let _ = write!(stderr(), "\r{what}: {percent} %{end}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use drystone_core::block::Header;
    use drystone_core::genesis::dev_params;
    use drystone_core::key::AccountId;
    use drystone_node::engine::message::Output;
    use redb::{Database, ReadableTable, TableDefinition};

    const HEIGHT: u64 = 15;

    /// A data directory of the development chain with [`HEIGHT`] blocks.
    fn directory() -> (tempfile::TempDir, VerifyOptions) {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::at(directory.path().to_owned());
        let params = dev_params();
        data.keep_genesis(&params).unwrap();
        let store = Arc::new(data.open_store(&params, &StoreOptions::default(), |_| {}).unwrap());
        let config = engine::Config { reward_to: Some(AccountId([7; 32])), threads: 1, ..engine::Config::new([1; 32]) };
        let mut now = params.time;
        let mut engine = Engine::new(store, Arc::new(params.clone()), config, now).unwrap();
        let mut input = Input::Tick;
        while engine.tip().height < HEIGHT {
            let outputs = engine.handle(now, std::mem::replace(&mut input, Input::Tick)).unwrap();
            now = now.max(engine.next_deadline(now).unwrap_or(now));
            for output in outputs {
                let Output::Mine(job) = output else { continue };
                let target = job.header.bits.to_target().unwrap();
                let meets = |nonce: &u32| target.is_met_by(&Header { nonce: *nonce, ..job.header }.hash());
                let nonce = (0..).find(meets).unwrap();
                input = Input::Mined { epoch: job.epoch, time: job.header.time, nonce };
            }
        }
        (directory, VerifyOptions { data_dir: Some(data.path().to_owned()), genesis: None, repair: false })
    }

    /// Changes the first account leaf, behind the back of everything that keeps the state whole.
    fn forge_money(options: &VerifyOptions) {
        const LEAVES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("leaves");
        let data = DataDir::at(options.data_dir.clone().unwrap());
        let transaction = Database::open(data.store()).unwrap().begin_write().unwrap();
        let mut leaves = transaction.open_table(LEAVES).unwrap();
        let account = leaves.iter().unwrap().map(Result::unwrap).find(|(_, leaf)| leaf.value().len() == 16).unwrap();
        let (key, mut leaf) = (*account.0.value(), account.1.value().to_vec());
        drop(account);
        leaf[0] ^= 1;
        leaves.insert(&key, leaf.as_slice()).unwrap();
        drop(leaves);
        transaction.commit().unwrap();
    }

    #[test]
    fn the_sums_are_the_schedule() {
        let (_directory, options) = directory();
        let text = execute(&options).unwrap();
        // Ten of the fifteen rewards have yet to mature.
        let sums = "100100 + 200 = 100000 allocated + 300 in subsidies of 15 blocks, exactly";
        assert!(text.contains(sums), "{text}");
        assert!(text.ends_with("verified   drystone-dev at height 15\n"), "{text}");
    }

    #[test]
    fn a_forged_state_is_found_and_made_anew() {
        let (_directory, options) = directory();
        forge_money(&options);
        let found = execute(&options).unwrap_err().to_string();
        assert!(found.contains("\nnext: drystone-node verify --repair --data-dir"), "{found}");

        let text = execute(&VerifyOptions { repair: true, ..options }).unwrap();
        assert!(text.contains("repaired   from the blocks on disk, height 15 to 15\n"), "{text}");
        assert!(text.ends_with("verified   drystone-dev at height 15\n"), "{text}");
    }

    #[test]
    fn a_directory_without_a_ledger_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let options = VerifyOptions { data_dir: Some(directory.path().to_owned()), genesis: None, repair: true };
        assert!(execute(&options).unwrap_err().to_string().contains("there is no ledger in"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
