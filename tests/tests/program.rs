//! The node as a program: it ends when it is asked to, and what it knew it knows again.

use std::fs;
use std::net::TcpStream;
use std::time::Duration;

use drystone_core::address::encode_address;
use drystone_core::amount::Amount;
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::hash::Txid;
use drystone_core::key::SecretKey;
use drystone_core::transaction::{Memo, Transaction, TransactionBody};
use drystone_tests::program::{Node, eventually, program, run};
use serde_json::{Value, json};

/// Ten times what the program promises, for a machine that is busy with other tests.
const LONGEST_END: Duration = Duration::from_secs(20);

fn payment(from: u8, nonce: u64) -> Transaction {
    let key = SecretKey::dev(from);
    let to = SecretKey::dev(9).account();
    let (from, amount, fee, memo) = (key.account(), Amount(1_000_000), Amount(1000), Memo::default());
    TransactionBody { from, to, amount, fee, nonce, memo }.sign(&dev_params().chain_id(), &key)
}

fn submit(node: &Node, transaction: &Transaction) -> Txid {
    let txid = node.call("tx_submit", json!([hex::encode(encode(transaction))]));
    assert_eq!(txid, Ok(json!(transaction.txid())));
    transaction.txid()
}

fn status_of(node: &Node, txid: Txid) -> Value {
    node.call("tx_get", json!([txid])).unwrap()["status"].take()
}

#[test]
fn a_signal_ends_it_cleanly_while_it_mines_and_serves() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev"]);
    let height = |node: &Node| node.call("node_info", json!([])).unwrap()["height"].as_u64().unwrap();
    let reached = eventually("blocks are mined", || Some(height(&node)).filter(|height| *height >= 2));
    // Clients that say nothing must not hold it up.
    let idle: Vec<TcpStream> = (0..8).map(|_| node.connect().unwrap()).collect();
    let note = node.data_dir.join("node.json");
    assert!(note.exists());

    // Twice, as `timeout` does it: to the program and to its group.
    node.signal("TERM");
    let (status, took) = node.stop();
    assert!(status.success(), "{status}");
    assert!(took < LONGEST_END, "{took:?}");
    assert!(!note.exists(), "the note says that a node runs");
    drop(idle);

    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    assert!(height(&node) >= reached);
}

#[test]
fn the_mempool_survives_a_clean_end() {
    let root = tempfile::tempdir().unwrap();
    let start = || Node::start(root.path(), &["dev", "--threads", "0"]);
    let node = start();
    // The last waits for one with a lower nonce.
    let txids = [(0, 0), (0, 1), (1, 0), (2, 1)].map(|(from, nonce)| submit(&node, &payment(from, nonce)));
    let before = node.call("mempool_list", json!([])).unwrap();
    assert!(node.stop().0.success());

    let node = start();
    assert_eq!(node.call("mempool_list", json!([])), Ok(before));
    for txid in txids {
        assert_eq!(status_of(&node, txid), "pending");
    }
    let own = encode_address("tdry", &SecretKey::dev(3).account());
    node.call("mining_generate", json!([1, own])).unwrap();
    assert_eq!(txids.map(|txid| status_of(&node, txid)), ["confirmed", "confirmed", "confirmed", "pending"]);
    // Confirmed ones must not come back, the waiting one must.
    assert!(node.stop().0.success());
    let node = start();
    assert_eq!(txids.map(|txid| status_of(&node, txid)), ["confirmed", "confirmed", "confirmed", "pending"]);
}

/// Not only a clean end saves what waits: a second or two after it came it is on disk.
#[test]
fn a_waiting_payment_survives_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let payment = payment(0, 0);
    let known = |node: &Node| node.call("tx_get", json!([payment.txid()])).is_ok();
    eventually("the payment is there after a kill", || {
        let node = Node::start(root.path(), &["dev", "--threads", "0"]);
        if known(&node) {
            return Some(());
        }
        let ledger = node.data_dir.join("ledger.redb");
        let changed = || fs::metadata(&ledger).and_then(|file| file.modified()).expect("a running node has a ledger");
        let before = changed();
        submit(&node, &payment);
        // With no block to be mined, only saving the payment writes. A kill in the midst of that may lose it.
        eventually("the payment is saved", || Some(()).filter(|()| changed() != before));
        node.kill();
        None
    });
}

#[test]
fn status_tells_a_running_node_from_one_that_was_killed() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let data = node.data_dir.clone();
    let status = || run(program("drystone-node", root.path()).args(["status", "--data-dir"]).arg(&data));
    let (address, pid) = (node.address.to_string(), node.pid().to_string());
    let running = status();
    assert_eq!(running.code, Some(0), "{running:?}");
    assert!(running.stdout.contains(&address) && running.stdout.contains(&pid), "{running:?}");

    node.kill();
    assert!(data.join("node.json").exists(), "nobody could take the note away");
    let gone = status();
    assert_eq!((gone.code, gone.stdout.as_str()), (Some(1), ""), "{gone:?}");
    assert!(gone.stderr.contains("\nnext: "), "{gone:?}");

    // What a killed node left is replaced by what is true.
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let running = status();
    assert_eq!(running.code, Some(0), "{running:?}");
    assert!(running.stdout.contains(&node.pid().to_string()), "{running:?}");
}
