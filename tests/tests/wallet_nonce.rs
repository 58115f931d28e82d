//! Nonce trouble never sticks: gaps, replacements, drops and reorganisations end as docs/WALLET.md says, by the commands that are named.

use std::fs;
use std::path::Path;

use drystone_core::address::encode_address;
use drystone_core::amount::Amount;
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::Allocation;
use drystone_tests::chain::TestChain;
use drystone_tests::far;
use drystone_tests::far::session::Session;
use drystone_tests::program::{Ended, Node};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Accounts that fill a mempool of 59,000 payments, 64 each at most.
const ACCOUNTS: usize = 1_000;

fn address(index: u8) -> String {
    encode_address("tdry", &SecretKey::dev(index).account())
}

/// A node that mines when told, and a home for it and its wallet.
fn start() -> (TempDir, Node) {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    (root, node)
}

fn mine(node: &Node, count: u64) {
    node.call("mining_generate", json!([count, address(9)])).expect("a development chain");
}

fn wallet(node: &Node, arguments: &[&str]) -> Ended {
    node.wallet(&[&["--dev", "0"], arguments].concat())
}

/// The one JSON object that a command of account 0 printed.
fn json_of(node: &Node, arguments: &[&str]) -> Value {
    let ended = wallet(node, &[&["--json"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// The code of a command of account 0 that fails, what it says and what it names next.
fn refused(node: &Node, arguments: &[&str]) -> (i32, String, String) {
    let ended = wallet(node, &[&["--json"], arguments].concat());
    let value: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let text = |field: &str| value["error"][field].as_str().unwrap().to_owned();
    (ended.code.unwrap(), text("message"), text("next"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Signs a payment to account 1 and returns its file.
fn sign(node: &Node, root: &Path, name: &str, amount: &str, nonce: u64) -> String {
    let (file, nonce) = (root.join(name).to_str().unwrap().to_owned(), nonce.to_string());
    let fixed = ["--chain", "dev", "sign", &address(1), amount, "--fee", "0.001", "--nonce", &nonce, "--out", &file];
    let signed = wallet(node, &fixed);
    assert_eq!(signed.code, Some(0), "{signed:?}");
    file
}

/// The nonces of what is in blocks and of what waits, and the next one by the proof.
fn nonces(node: &Node) -> (Vec<u64>, Vec<u64>, u64) {
    let (history, balance) = (json_of(node, &["history"]), json_of(node, &["balance"]));
    let nonce = |value: &Value| value["nonce"].as_u64().unwrap();
    let made = history["entries"].as_array().unwrap().iter().rev().map(|entry| nonce(&entry["transaction"]));
    let waiting = history["waiting"].as_array().unwrap().iter().map(nonce);
    (made.collect(), waiting.collect(), nonce(&balance))
}

/// Gives `to` the blocks of `from` that it lacks.
fn feed(from: &Node, to: &Node) {
    let height = |node: &Node| node.call("chain_head", json!([])).unwrap()["height"].as_u64().unwrap();
    for height in height(to) + 1..=height(from) {
        let block = from.call("chain_block", json!([height, true])).unwrap();
        to.call("mining_submit", json!([block])).unwrap();
    }
}

#[test]
fn a_gap_is_closed_by_the_next_payment() {
    let (root, node) = start();
    let late = sign(&node, root.path(), "late.json", "2", 1);
    json_of(&node, &["broadcast", &late]);
    mine(&node, 1);
    assert_eq!(nonces(&node), (vec![], vec![1], 0));
    let listed = wallet(&node, &["history"]);
    assert!(listed.stdout.contains("waits, for one with a lower nonce: pays 2 "), "{listed:?}");
    assert!(listed.stdout.contains("goes on once that is sent: drystone-wallet send"), "{listed:?}");

    let sent = json_of(&node, &["send", &address(1), "1"]);
    assert_eq!(sent["nonce"], 0, "the nonce that is missing");
    mine(&node, 1);
    assert_eq!(nonces(&node), (vec![0, 1], vec![], 2));
    assert_eq!(json_of(&node, &["send", &address(1), "1"])["nonce"], 2);
}

#[test]
fn what_replaced_a_payment_counts_and_the_next_goes_on() {
    let (root, node) = start();
    let first = sign(&node, root.path(), "first.json", "1", 0);
    let txid = json_of(&node, &["broadcast", &first])["txid"].clone();
    let bumped = json_of(&node, &["bump", text(&txid)]);
    assert_eq!(nonces(&node), (vec![], vec![0], 0));
    let (code, message, next) = refused(&node, &["bump", text(&txid)]);
    assert_eq!(code, 7, "{message}");
    assert!(next.contains("drystone-wallet history"), "{next}");
    assert_eq!(json_of(&node, &["history"])["waiting"][0]["txid"], bumped["txid"]);
    mine(&node, 1);
    assert_eq!(nonces(&node), (vec![0], vec![], 1));

    // The first one cannot be made any more; the payment that counts is named, and so is the nonce to go on with.
    let (code, message, next) = refused(&node, &["broadcast", &first]);
    let counts = text(&bumped["txid"]);
    assert_eq!(code, 7, "{message}");
    assert!(message.contains(&format!("nonce 0 is used by payment {counts}")), "{message}");
    assert!(next.contains(&format!("drystone-wallet receipt {counts}")) && next.ends_with("--nonce 1"), "{next}");
    assert_eq!(json_of(&node, &["receipt", counts])["block_height"], 1);
    let second = sign(&node, root.path(), "second.json", "3", 1);
    let second = json_of(&node, &["broadcast", &second]);

    // Taken back, it gives its nonce to a payment of nothing.
    let cancelled = json_of(&node, &["cancel", text(&second["txid"])]);
    assert_eq!((&cancelled["amount"], &cancelled["nonce"]), (&json!("0"), &json!(1)));
    mine(&node, 1);
    assert_eq!(nonces(&node), (vec![0, 1], vec![], 2));
    assert_eq!(json_of(&node, &["history"])["entries"][0]["role"], "paid_itself");
    assert_eq!(json_of(&node, &["send", &address(1), "1"])["nonce"], 2);
}

/// One node forgets a payment and another one does not: the same nonce again makes one of both, wherever it is made.
#[test]
fn a_dropped_payment_is_made_again_under_its_nonce() {
    let ((root, node), (other_root, other)) = (start(), start());
    mine(&node, 2);
    feed(&node, &other);
    let kept = sign(&node, root.path(), "kept.json", "1", 0);
    let kept = json_of(&node, &["broadcast", &kept]);
    assert_eq!(nonces(&other), (vec![], vec![], 0), "there it is nowhere, and the nonce has not moved");
    let (code, message, next) = refused(&other, &["bump", text(&kept["txid"])]);
    assert_eq!(code, 7, "{message}");
    assert!(next.contains("drystone-wallet history"), "{next}");

    let again = sign(&other, other_root.path(), "again.json", "2", 0);
    let again = json_of(&other, &["broadcast", &again]);
    mine(&other, 1);
    assert_eq!(nonces(&other), (vec![0], vec![], 1));
    feed(&other, &node);
    assert_eq!(nonces(&node), (vec![0], vec![], 1), "what was kept cannot be made any more");
    assert_eq!(json_of(&node, &["history"])["entries"][0]["transaction"]["txid"], again["txid"]);
    assert_eq!(json_of(&node, &["send", &address(1), "1"])["nonce"], 1);
}

/// Far more payments than a mempool holds, each at a higher fee, push out the one that pays least.
#[test]
fn an_evicted_payment_is_made_again_at_the_fee_that_is_asked() {
    let root = tempfile::tempdir().unwrap();
    let mut params = far::params(ACCOUNTS);
    let payers = far::Payers::new(&params);
    let own = Allocation { account: SecretKey::dev(0).account(), amount: Amount(1_000_000_000) };
    params.allocations.push(own);
    params.allocations.sort_unstable();
    let payers = payers.on(&params);
    let genesis = far::network::write_genesis(root.path(), &params);
    let genesis = genesis.to_str().unwrap();
    let node = Node::start(root.path(), &["run", "--genesis", genesis, "--threads", "0"]);
    let wallet = |arguments: &[&str]| json_of(&node, &[&["--genesis", genesis], arguments].concat());
    let sign = |name: &str, fee: &str| {
        let file = root.path().join(name).to_str().unwrap().to_owned();
        wallet(&["sign", &address(1), "1", "--fee", fee, "--nonce", "0", "--out", &file]);
        file
    };
    let cheap = sign("cheap.json", "0.0000016");
    let txid = wallet(&["broadcast", &cheap])["txid"].clone();

    let mut session = Session::new(node.connect().unwrap(), node.cookie());
    let mut numbers = (0..ACCOUNTS * 64).map(|number| (number % ACCOUNTS, (number / ACCOUNTS) as u64));
    while node.call("tx_get", json!([txid])).is_ok() {
        let next = numbers.by_ref().take(1_000).map(|(from, nonce)| payers.sign(from, (from + 1) % ACCOUNTS, 1, nonce));
        let params: Vec<Value> = next.map(|payment| json!([hex::encode(encode(&payment))])).collect();
        assert!(!params.is_empty(), "the mempool never fills");
        session.calls("tx_submit", &params);
    }

    assert_eq!(wallet(&["history"])["waiting"], json!([]), "it is nowhere");
    assert_eq!(wallet(&["balance"])["nonce"], 0, "and the nonce has not moved");
    let (code, message, next) = refused(&node, &["--genesis", genesis, "broadcast", &cheap]);
    assert_eq!(code, 7, "{message}");
    assert!(message.contains("the fee of 160 chips is too low") && next.ends_with("or sign again with more"), "{next}");
    // By itself the wallet pays what has room, however full the mempool is, and the nonce is the same.
    let asked = wallet(&["send", &address(1), "1"]);
    assert_eq!(asked["nonce"], 0);
    mine(&node, 1);
    assert_eq!(wallet(&["history"])["entries"][0]["transaction"]["txid"], asked["txid"]);
    assert_eq!(wallet(&["balance"])["nonce"], 1);
}

/// One payment is in another block of the longer branch, one waits again, and at a node that never saw it, it is gone.
#[test]
fn what_a_reorganisation_took_away_is_marked_and_made_after_all() {
    let (root, node) = start();
    let submit = |node: &Node, chain: &mut TestChain, payments| {
        let block = chain.extend(&AccountId([7; 32]), payments);
        node.call("mining_submit", json!([hex::encode(encode(block.block()))])).unwrap()["status"].clone()
    };
    let mut theirs = TestChain::new(&dev_params());
    assert_eq!(submit(&node, &mut theirs, vec![]), "connected");
    let both = theirs.pay(0, &SecretKey::dev(1).account(), 5_000_000, 0);
    node.call("tx_submit", json!([hex::encode(encode(&both))])).unwrap();
    let ours = sign(&node, root.path(), "ours.json", "2", 1);
    let ours = json_of(&node, &["broadcast", &ours])["txid"].clone();
    mine(&node, 1);
    assert_eq!(json_of(&node, &["history"])["reorganised"], json!([]));
    assert_eq!(nonces(&node), (vec![0, 1], vec![], 2));

    assert_eq!(submit(&node, &mut theirs, vec![]), "beside");
    submit(&node, &mut theirs, vec![both.clone()]);
    assert_eq!(node.call("chain_head", json!([])).unwrap()["hash"], json!(theirs.tip().hash));
    let other_root = tempfile::tempdir().unwrap();
    let other = Node::start(other_root.path(), &["dev", "--threads", "0"]);
    feed(&node, &other);
    // The same home, so that this node is asked by who saw the payments confirmed.
    let memory = |root: &Path| root.join(".drystone");
    fs::create_dir_all(memory(other_root.path())).unwrap();
    for entry in fs::read_dir(memory(root.path())).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), memory(other_root.path()).join(entry.file_name())).unwrap();
    }

    let listed = wallet(&node, &["history"]);
    let lines = [
        format!("txid {}, was in block 2 and has moved to another block, 3", both.txid()),
        format!("txid {}, was in block 2 and waits again", text(&ours)),
    ];
    for line in &lines {
        assert!(listed.stdout.contains(line), "{line}: {listed:?}");
    }
    let marks = json_of(&node, &["history"])["reorganised"].clone();
    assert_eq!((marks.as_array().unwrap().len(), &marks[0]["now"]), (1, &json!("waits")), "{marks}");
    assert_eq!(nonces(&node), (vec![0], vec![1], 1));

    let marks = json_of(&other, &["history"])["reorganised"].clone();
    assert_eq!((&marks[0]["transaction"]["txid"], &marks[0]["now"]), (&ours, &json!("gone")), "{marks}");
    assert_eq!((&marks[1]["now"], &marks[1]["block"]["height"]), (&json!("moved"), &json!(3)), "{marks}");
    assert!(text(&marks[0]["next"]).contains("drystone-wallet sign --nonce 1,"), "{marks}");
    assert_eq!(nonces(&other), (vec![0], vec![], 1));
    // The command that is named makes the very same payment, which the chain has once, whoever mines it.
    let again = sign(&other, other_root.path(), "again.json", "2", 1);
    assert_eq!(json_of(&other, &["broadcast", &again])["txid"], ours);
    mine(&other, 1);
    feed(&other, &node);
    for node in [&node, &other] {
        let marks = json_of(node, &["history"])["reorganised"].clone();
        assert_eq!((&marks[0]["now"], &marks[0]["block"]["height"]), (&json!("moved"), &json!(4)), "{marks}");
        assert_eq!(json_of(node, &["history"])["reorganised"], json!([]), "it is told once");
        assert_eq!(nonces(node), (vec![0, 1], vec![], 2));
    }
}
