//! `drystone-node verify`: recomputes everything on disk from what it follows from, and says what was checked.

use std::fmt;
use std::io::{IsTerminal, Write, stderr};
use std::path::Path;
use std::sync::Arc;

use drystone_core::amount::Amount;
use drystone_core::params::ChainParams;
use drystone_core::subsidy::subsidies_through;
use drystone_node::engine::message::Input;
use drystone_node::engine::{self, Engine};
use drystone_node::store::{
    Record, Snapshot, Store, StoreError, StoreOptions, VerifyFailure, VerifyReport, replay, verify,
};

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
        // What names the file's chain and format is gone, and nothing can be read without.
        Err(error @ StoreError::Rotten(_)) => return Err(beyond_repair(&file, error)),
        Err(error) => return Err(error.into()),
    };
    if !options.repair {
        return Err(Failure::new(
            format_args!("{}: {failure}", file.display()),
            format_args!("drystone-node verify --repair --data-dir {}", data.path().display()),
        ));
    }
    let (how, text) = repair(&store, &params).map_err(|failure| beyond_repair(&file, failure))?;
    Ok(format!("found      {failure}\nrepaired   {how}\n{text}"))
}

/// There is nothing left to make the rest from.
fn beyond_repair(file: &Path, failure: impl fmt::Display) -> Failure {
    // What the store says to do about it was just done.
    let failure = failure.to_string();
    let failure = failure.split(": stop the node").next().unwrap_or_default();
    Failure::new(
        format_args!("{} is beyond repair: {failure}", file.display()),
        "restore a copy, or move the file away: the node then downloads the chain again",
    )
}

/// Makes anew what is damaged, the cheap way first; how it was done, and what to print now that all agrees.
fn repair(store: &Arc<Store>, params: &ChainParams) -> Result<(String, String), VerifyFailure> {
    match derive(store, params).and_then(|lost| Ok((lost, check(store, params)?))) {
        Ok((lost, text)) => {
            let bodies = match lost {
                0 => String::new(),
                _ => format!("; damaged bodies dropped: {lost}, which the node asks of peers"),
            };
            return Ok((format!("from the state's leaves, the headers and the bodies{bodies}"), text));
        }
        Err(failure) if !is_mended_by_replay(&failure) => return Err(failure),
        Err(_) => {}
    }
    let height = |store: &Store| store.snapshot().and_then(|snapshot| snapshot.tip()).map(|tip| tip.height);
    let from = height(store);
    replay_state(store, params)?;
    let text = check(store, params)?;
    let to = height(store)?;
    let shorter = match &from {
        Ok(from) if to < *from => ": a block above is damaged, and the node asks peers for it and goes on",
        _ => "",
    };
    let from = from.map_or_else(|_| "unknown".to_owned(), |from| from.to_string());
    Ok((format!("from the blocks on disk, height {from} to {to}{shorter}"), text))
}

/// Makes anew what follows from the state's leaves, the headers and the bodies, and drops bodies that rotted; how many.
fn derive(store: &Store, params: &ChainParams) -> Result<u64, VerifyFailure> {
    let lost = store.drop_rotten_bodies(params)?;
    store.rebuild_history()?;
    let required = store.snapshot()?.tip()?.header.state_root;
    let found = store.rebuild_pages(&required)?;
    if found != required {
        return Err(VerifyFailure::StateRoot { required, found });
    }
    store.rebuild_indexes()?;
    Ok(lost)
}

/// Whether the blocks say it better than what is on disk. A replay ends below the first body that is not held, so it is not
/// tried for what it does not mend.
fn is_mended_by_replay(failure: &VerifyFailure) -> bool {
    use VerifyFailure as V;
    match failure {
        V::Store(StoreError::Rotten(record)) => {
            matches!(record, Record::Header(_) | Record::Main(_) | Record::Undo(_) | Record::Leaf(_) | Record::Tip(_))
        }
        V::Store(_) | V::NotHeld(_) | V::Index(_) | V::IndexCount { .. } => false,
        V::Page(_) | V::PageCount { .. } | V::HistoryNode(_) | V::HistoryCount { .. } => false,
        _ => true,
    }
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
fn replay_state(store: &Arc<Store>, params: &ChainParams) -> Result<(), StoreError> {
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
    use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};

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

    const HEADERS: TableDefinition<&[u8; 32], &[u8; 157]> = TableDefinition::new("headers");
    const TIPS: TableDefinition<&[u8; 64], ()> = TableDefinition::new("tips");
    const MAIN: TableDefinition<&[u8; 8], &[u8; 32]> = TableDefinition::new("main");
    const BODIES: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("bodies");
    const UNDO: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("undo");
    const LEAVES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("leaves");
    const PAGES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("pages");
    const HISTORY: TableDefinition<&[u8; 9], &[u8; 32]> = TableDefinition::new("history");
    const ACCOUNTS: TableDefinition<&[u8; 44], &[u8; 1]> = TableDefinition::new("accounts");
    const TRANSACTIONS: TableDefinition<&[u8; 32], &[u8; 12]> = TableDefinition::new("transactions");
    const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");

    /// Changes the file behind the back of everything that keeps it whole.
    fn rot(options: &VerifyOptions, change: impl FnOnce(&WriteTransaction)) {
        let data = DataDir::at(options.data_dir.clone().unwrap());
        let transaction = Database::open(data.store()).unwrap().begin_write().unwrap();
        change(&transaction);
        transaction.commit().unwrap();
    }

    /// Changes the first account leaf.
    fn forge_money(file: &WriteTransaction) {
        let mut leaves = file.open_table(LEAVES).unwrap();
        let account = leaves.iter().unwrap().map(Result::unwrap).find(|(_, leaf)| leaf.value().len() == 16).unwrap();
        let (key, mut leaf) = (*account.0.value(), account.1.value().to_vec());
        drop(account);
        leaf[0] ^= 1;
        leaves.insert(&key, leaf.as_slice()).unwrap();
    }

    /// Changes the body of the block at `height`.
    fn rot_body(file: &WriteTransaction, height: u64) {
        let mut bodies = file.open_table(BODIES).unwrap();
        let mut keys = bodies.iter().unwrap().map(|entry| *entry.unwrap().0.value());
        let key = keys.find(|key| key[..8] == height.to_be_bytes()).unwrap();
        drop(keys);
        bodies.insert(&key, [7; 9].as_slice()).unwrap();
    }

    /// Takes away the body of the block at `height`, as a scrub or an earlier repair does.
    fn drop_body(file: &WriteTransaction, height: u64) {
        let of_height = |key: &[u8; 40]| key[..8] == height.to_be_bytes();
        file.open_table(BODIES).unwrap().retain(|key, _| !of_height(key)).unwrap();
    }

    /// Adds a page that the tree does not have.
    fn rot_pages(file: &WriteTransaction) {
        file.open_table(PAGES).unwrap().insert([3; 2].as_slice(), [9; 5].as_slice()).unwrap();
    }

    /// Takes an account's entry for the block at height 1 away.
    fn rot_index(file: &WriteTransaction) {
        file.open_table(ACCOUNTS).unwrap().pop_first().unwrap().unwrap();
    }

    /// Changes one byte of the header record of the block at `height`.
    fn rot_header(file: &WriteTransaction, height: u64, place: usize) {
        let hash = *file.open_table(MAIN).unwrap().get(&height.to_be_bytes()).unwrap().unwrap().value();
        let mut headers = file.open_table(HEADERS).unwrap();
        let mut record = *headers.get(&hash).unwrap().unwrap().value();
        record[place] ^= 0x40;
        headers.insert(&hash, &record).unwrap();
    }

    #[test]
    fn each_kind_of_damage_is_repaired_and_told_how() {
        let cheap = "repaired   from the state's leaves, the headers and the bodies\n";
        let replay = "repaired   from the blocks on disk, height 15 to 15\n";
        let body = "repaired   from the state's leaves, the headers and the bodies; damaged bodies dropped: 1, which";
        let short = "repaired   from the blocks on disk, height 15 to 8: a block above is damaged";
        let unknown = "repaired   from the blocks on disk, height unknown to 14\n";
        type Change = fn(&WriteTransaction);
        let table: [(&str, Change, &str); 26] = [
            ("a leaf", forge_money, replay),
            ("no leaf", |file| drop(file.open_table(LEAVES).unwrap().pop_last().unwrap()), replay),
            ("a page", rot_pages, cheap),
            ("no history", |file| drop(file.open_table(HISTORY).unwrap().pop_first().unwrap()), cheap),
            ("history", |file| drop(file.open_table(HISTORY).unwrap().insert(&[9; 9], &[9; 32]).unwrap()), cheap),
            ("no entry", rot_index, cheap),
            ("an entry", |file| drop(file.open_table(ACCOUNTS).unwrap().insert(&[9; 44], &[77]).unwrap()), cheap),
            ("no undo", |file| drop(file.open_table(UNDO).unwrap().pop_first().unwrap()), replay),
            (
                "no tips",
                |file| {
                    file.delete_table(TIPS).unwrap();
                    drop(file.open_table(TIPS).unwrap())
                },
                replay,
            ),
            ("a body", |file| rot_body(file, 9), body),
            ("genesis' body", |file| rot_body(file, 0), cheap),
            (
                "a body and an entry",
                |file| {
                    rot_body(file, 9);
                    rot_index(file)
                },
                body,
            ),
            (
                "a page, a body missing",
                |file| {
                    drop_body(file, 9);
                    rot_pages(file)
                },
                cheap,
            ),
            (
                "history, a body missing",
                |file| {
                    drop_body(file, 9);
                    drop(file.open_table(HISTORY).unwrap().pop_first().unwrap())
                },
                cheap,
            ),
            (
                "no entry, a body missing",
                |file| {
                    drop_body(file, 9);
                    rot_index(file)
                },
                cheap,
            ),
            (
                "a page and a body, another missing, and no index",
                |file| {
                    file.open_table(META).unwrap().insert("indexes", [0].as_slice()).unwrap();
                    file.delete_table(TRANSACTIONS).unwrap();
                    file.open_table(TRANSACTIONS).unwrap();
                    file.delete_table(ACCOUNTS).unwrap();
                    file.open_table(ACCOUNTS).unwrap();
                    drop_body(file, 9);
                    rot_body(file, 4);
                    rot_pages(file)
                },
                body,
            ),
            (
                "a height, a body missing",
                |file| {
                    rot_header(file, 9, 116);
                    drop_body(file, 9);
                },
                short,
            ),
            (
                "a body and the state",
                |file| {
                    rot_body(file, 9);
                    forge_money(file)
                },
                short,
            ),
            ("a header", |file| rot_header(file, 9, 40), short),
            ("a height", |file| rot_header(file, 9, 116), replay),
            ("a work", |file| rot_header(file, 9, 130), replay),
            ("a mark", |file| rot_header(file, 9, 156), replay),
            ("the tip's height", |file| rot_header(file, 15, 116), "height unknown to 15\n"),
            ("genesis' header", |file| rot_header(file, 0, 40), replay),
            ("the tip's header", |file| rot_header(file, 15, 40), unknown),
            (
                "the main chain",
                |file| drop(file.open_table(MAIN).unwrap().remove(&9u64.to_be_bytes()).unwrap()),
                replay,
            ),
        ];
        for (name, change, how) in table {
            let (_directory, options) = directory();
            rot(&options, change);
            let found = execute(&options).unwrap_err().to_string();
            assert!(found.contains("\nnext: drystone-node verify --repair --data-dir"), "{name}: {found}");
            let options = VerifyOptions { repair: true, ..options };
            let text = execute(&options).unwrap_or_else(|failure| panic!("{name}: {failure}"));
            assert!(text.contains(how), "{name}: {text}");
            if how == cheap || how == body {
                assert!(text.contains(&format!("at height {HEIGHT}\n")), "{name}: {text}");
            }
            let whole = execute(&VerifyOptions { repair: false, ..options }).unwrap();
            assert!(whole.starts_with("headers "), "{name}: {whole}");
        }
    }

    #[test]
    fn what_cannot_be_repaired_is_not_sent_round_in_a_circle() {
        let (_directory, options) = directory();
        rot(&options, |file| drop(file.open_table(META).unwrap().insert("chain", [1; 3].as_slice()).unwrap()));
        for repair in [false, true] {
            let text =
                execute(&VerifyOptions { repair, data_dir: options.data_dir.clone(), genesis: None }).unwrap_err();
            let text = text.to_string();
            assert!(text.contains("beyond repair") && text.contains("\nnext: restore a copy"), "{text}");
        }
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
    fn a_directory_without_a_ledger_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let options = VerifyOptions { data_dir: Some(directory.path().to_owned()), genesis: None, repair: true };
        assert!(execute(&options).unwrap_err().to_string().contains("there is no ledger in"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
