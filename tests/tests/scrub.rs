//! A node reads its disk over while it runs, and mends what rotted: from its own data, or with a peer's help.

use std::path::Path;

use drystone_core::key::SecretKey;
use drystone_core::state::StateKey;
use drystone_tests::program::{Node, eventually, program, run};
use redb::{Database, ReadableTable, TableDefinition, WriteTransaction};
use serde_json::{Value, json};

const BODIES: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("bodies");
const UNDO: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("undo");
const LEAVES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("leaves");
const HISTORY: TableDefinition<&[u8; 9], &[u8; 32]> = TableDefinition::new("history");
const ACCOUNTS: TableDefinition<&[u8; 44], &[u8; 1]> = TableDefinition::new("accounts");

const HEIGHT: u64 = 12;
/// A pass every four seconds or so.
const QUICK: [&str; 2] = ["--scrub-days", "0.00005"];

/// What the log says where a state is made anew.
const REPAIR: &str = "state on disk is damaged, making it anew";

fn info(node: &Node) -> Value {
    node.call("node_info", json!([])).unwrap()
}

/// Two nodes of the development chain with some blocks, the second of which has all from the first.
fn two_nodes(roots: [&Path; 2]) -> [Node; 2] {
    let first = Node::start(roots[0], &["dev", "--threads", "0"]);
    let address = SecretKey::dev(1);
    let to = drystone_core::address::encode_address("tdry", &address.account());
    first.call("mining_generate", json!([HEIGHT, to])).unwrap();
    let second = second_node(roots[1], &first, &[]);
    eventually("the second has the blocks", || (info(&second)["height"] == json!(HEIGHT)).then_some(()));
    [first, second]
}

fn second_node(root: &Path, first: &Node, more: &[&str]) -> Node {
    let note: Value = serde_json::from_slice(&std::fs::read(first.data_dir.join("node.json")).unwrap()).unwrap();
    let peer = note["p2p"].as_str().unwrap().to_owned();
    Node::start(root, &[&["dev", "--threads", "0", "--peer", &peer], more].concat())
}

/// Changes a stopped node's ledger behind its back.
fn rot(root: &Path, change: impl FnOnce(&WriteTransaction)) {
    let transaction = Database::open(root.join("data/ledger.redb")).unwrap().begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

fn rot_body(file: &WriteTransaction, height: u64) {
    rot_of_block(file, BODIES, height);
}

fn rot_of_block(file: &WriteTransaction, table: TableDefinition<&[u8; 40], &[u8]>, height: u64) {
    let mut records = file.open_table(table).unwrap();
    let of_height = |key: &[u8; 40]| key[..8] == height.to_be_bytes();
    let key = records.iter().unwrap().map(|entry| *entry.unwrap().0.value()).find(of_height).unwrap();
    records.insert(&key, [7; 9].as_slice()).unwrap();
}

/// Changes what an account has; nothing reads it before the scrub does.
fn rot_leaf(file: &WriteTransaction) {
    let key = StateKey::account(&SecretKey::dev(4).account());
    file.open_table(LEAVES).unwrap().insert(&key.0, [1; 16].as_slice()).unwrap();
}

fn log(root: &Path) -> String {
    std::fs::read_to_string(root.join("log")).unwrap()
}

fn assert_verified(root: &Path) {
    let verified = run(program("drystone-node", root).args(["verify", "--data-dir"]).arg(root.join("data")));
    assert_eq!(verified.code, Some(0), "{verified:?}\n{}", log(root));
}

#[test]
fn what_rotted_is_found_and_mended_while_the_node_runs() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = two_nodes([roots[0].path(), roots[1].path()]);
    let root = roots[1].path();
    second.stop();
    rot(root, |file| {
        rot_body(file, 3);
        file.open_table(ACCOUNTS).unwrap().pop_first().unwrap().unwrap();
    });
    let second = second_node(root, &first, &QUICK);
    let scrub = eventually("both are found and mended", || {
        let scrub = info(&second)["scrub"].take();
        let mended = scrub["missing_bodies"] == json!(0) && scrub["last_pass"].is_u64();
        (mended && scrub["damaged"].as_u64() >= Some(2)).then_some(scrub)
    });
    assert_eq!(scrub["damaged"], json!(2), "once each: {}", log(root));
    let status = run(program("drystone-node", root).args(["status", "--data-dir"]).arg(&second.data_dir));
    assert!(status.stdout.contains("2 records found damaged"), "{status:?}");
    let page = second.request("GET", "/metrics", &[], &[]).unwrap().body;
    assert!(page.contains("\ndrystone_scrub_damaged_total 2\n"), "{page}");
    second.stop();
    for words in ["body of block", "a block's body that was damaged is whole again", "index entries of block"] {
        assert!(log(root).contains(words), "{words}:\n{}", log(root));
    }
    assert!(!log(root).contains("block disconnected"), "the chain goes on above it:\n{}", log(root));
    assert_verified(root);

    rot(root, |file| {
        let node = *file.open_table(HISTORY).unwrap().first().unwrap().unwrap().0.value();
        file.open_table(HISTORY).unwrap().insert(&node, &[7; 32]).unwrap();
        rot_leaf(file);
    });
    let second = second_node(root, &first, &QUICK);
    eventually("the state is made anew", || {
        let info = info(&second);
        let whole = info["repairing"] == json!(false) && info["height"] == json!(HEIGHT);
        (whole && log(root).contains("state is whole again") && info["scrub"]["last_pass"].is_u64()).then_some(())
    });
    second.stop();
    assert_verified(root);
}

#[test]
fn a_body_that_repair_dropped_is_had_again_soon_after_the_start() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = two_nodes([roots[0].path(), roots[1].path()]);
    let root = roots[1].path();
    second.stop();
    rot(root, |file| rot_body(file, 3));
    let verify = |more: &[&str]| {
        run(program("drystone-node", root).args(["verify", "--data-dir"]).arg(root.join("data")).args(more))
    };
    let repaired = verify(&["--repair"]);
    assert_eq!(repaired.code, Some(0), "{repaired:?}");
    assert!(repaired.stdout.contains("damaged bodies dropped: 1, which the node asks of peers"), "{repaired:?}");
    assert!(repaired.stdout.contains(&format!("at height {HEIGHT}\n")), "{repaired:?}");

    // A pass takes a week; what is missing is asked for at once.
    let second = second_node(root, &first, &[]);
    eventually("it is had again", || {
        let log = log(root);
        let had = log.contains("bodies of the main chain are missing") && log.contains("is whole again");
        (had && info(&second)["scrub"]["missing_bodies"] == json!(0)).then_some(())
    });
    second.stop();
    let whole = verify(&[]);
    assert!(whole.stdout.contains("every block executed again"), "{whole:?}");
}

#[test]
fn a_body_that_nobody_has_stays_missing_and_the_chain_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let to = drystone_core::address::encode_address("tdry", &SecretKey::dev(1).account());
    node.call("mining_generate", json!([HEIGHT, to])).unwrap();
    node.stop();
    rot(root.path(), |file| rot_body(file, 3));
    let node = Node::start(root.path(), &[&["dev", "--threads", "0"], &QUICK[..]].concat());
    eventually("it is found", || (info(&node)["scrub"]["missing_bodies"] == json!(1)).then_some(()));
    node.call("mining_generate", json!([1, to])).unwrap();
    let after = info(&node);
    assert_eq!((&after["height"], &after["scrub"]["damaged"]), (&json!(HEIGHT + 1), &json!(1)));
}

/// Waits until the node says that its state was made anew, on its whole chain.
fn await_whole(node: &Node, root: &Path) {
    eventually("the state is made anew", || {
        let info = info(node);
        let whole = info["repairing"] == json!(false) && info["height"] == json!(HEIGHT);
        (whole && log(root).contains("state is whole again")).then_some(())
    });
}

#[test]
fn an_undo_is_made_anew_with_the_state_and_after_its_body() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = two_nodes([roots[0].path(), roots[1].path()]);
    let root = roots[1].path();
    second.stop();
    rot(root, |file| rot_of_block(file, UNDO, 5));
    let alone = Node::start(root, &[&["dev", "--threads", "0"], &QUICK[..]].concat());
    await_whole(&alone, root);
    alone.stop();
    assert_verified(root);

    // A body that is damaged further on, where the scrub may not have been yet, holds it up as well.
    rot(root, |file| {
        rot_of_block(file, UNDO, 5);
        rot_body(file, 5);
        rot_body(file, 9);
    });
    let _ = std::fs::remove_file(root.join("log"));
    let second = second_node(root, &first, &QUICK);
    await_whole(&second, root);
    second.stop();
    let log = log(root);
    let begun = log.find(REPAIR).expect("a repair");
    assert_eq!(log[..begun].matches("body that was damaged is whole again").count(), 2, "{log}");
    assert_eq!(log.matches(REPAIR).count(), 1, "{log}");
    assert_verified(root);
}

#[test]
fn a_state_that_rotted_waits_for_the_body_without_which_the_chain_would_end() {
    let roots = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = two_nodes([roots[0].path(), roots[1].path()]);
    let root = roots[1].path();
    second.stop();
    // It may remember where the first was.
    first.stop();
    rot(root, |file| {
        rot_leaf(file);
        rot_body(file, 3);
    });
    let alone = Node::start(root, &[&["dev", "--threads", "0"], &QUICK[..]].concat());
    eventually("all is read", || info(&alone)["scrub"]["last_pass"].is_u64().then_some(()));
    let found = info(&alone);
    assert_eq!((&found["height"], &found["repairing"]), (&json!(HEIGHT), &json!(false)), "{}", log(root));
    assert!(log(root).contains("no state is made anew from the blocks before these bodies are had again"));
    alone.stop();
    assert!(!log(root).contains(REPAIR), "{}", log(root));

    let first = Node::start(roots[0].path(), &["dev", "--threads", "0"]);
    let second = second_node(root, &first, &QUICK);
    await_whole(&second, root);
    second.stop();
    assert_verified(root);
}

#[test]
fn an_undo_that_nothing_needs_takes_no_working_node_back_to_genesis() {
    const FAR: u64 = 300;
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let to = drystone_core::address::encode_address("tdry", &SecretKey::dev(1).account());
    node.call("mining_generate", json!([FAR, to])).unwrap();
    node.stop();
    rot(root.path(), |file| rot_of_block(file, UNDO, 2));
    let node = Node::start(root.path(), &[&["dev", "--threads", "0"], &QUICK[..]].concat());
    eventually("all is read", || info(&node)["scrub"]["last_pass"].is_u64().then_some(()));
    let found = info(&node);
    assert_eq!((&found["height"], &found["repairing"]), (&json!(FAR), &json!(false)));
    assert!(found["scrub"]["damaged"].as_u64() >= Some(1), "{found}");
    node.stop();
    let log = log(root.path());
    assert!(log.contains("undo of block") && log.contains("run: drystone-node verify --repair"), "{log}");
    assert!(!log.contains(REPAIR), "{log}");
    let verify = ["verify", "--repair", "--data-dir"];
    let repaired = run(program("drystone-node", root.path()).args(verify).arg(root.path().join("data")));
    assert!(repaired.stdout.contains(&format!("height {FAR} to {FAR}\n")), "{repaired:?}");
    assert_verified(root.path());
}
