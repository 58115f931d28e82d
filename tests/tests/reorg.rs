//! A hundred blocks undone over the RPC: what the node then holds is what a replay of the winning branch gives.

use std::collections::BTreeSet;

use drystone_core::address::encode_address;
use drystone_core::api::{AccountInfo, HeaderInfo, TransactionInfo, TransactionStatus};
use drystone_core::block::Block;
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::hash::Txid;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::transaction::Transaction;
use drystone_tests::chain::TestChain;
use drystone_tests::program::{Node, program, run};
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};

/// Blocks before the branches part.
const COMMON: u64 = 5;
/// Blocks that are undone.
const DEPTH: u64 = 100;

fn get<T: DeserializeOwned>(node: &Node, method: &str, params: Value) -> T {
    let result = node.call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"));
    from_value(result).unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// Hands in a block and returns what became of it.
fn submit(node: &Node, block: &Block) -> String {
    get::<Value>(node, "mining_submit", json!([hex::encode(encode(block))]))["status"].as_str().unwrap().to_owned()
}

/// An account that only `branch` pays, a new one every few blocks.
fn stranger(branch: u8, height: u64) -> AccountId {
    AccountId([branch, height as u8 / 4, 1, 2].repeat(8).try_into().expect("eight times four bytes"))
}

/// The payments of block `height` on branch A. Account 0 pays in each block, which is more than it could have waiting at
/// once, the others in every fourth.
fn payments_a(chain: &TestChain, height: u64) -> Vec<Transaction> {
    let payers = match height % 4 {
        0 => vec![0, 4],
        1 => vec![0, 1, 5],
        2 => vec![0, 2, 6],
        _ => vec![0, 3, 7],
    };
    payers.iter().map(|from| chain.pay(*from, &stranger(0xa, height), 150_000 + height, 0)).collect()
}

/// Where a payment of the losing branch must be found.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The winning branch has it too.
    Confirmed,
    /// Its account did not pay on the winning branch.
    Pending,
    /// Its account spent the nonce otherwise.
    Gone,
}

fn fate_of(node: &Node, txid: Txid) -> Fate {
    match node.call("tx_get", json!([txid])) {
        Err(_) => Fate::Gone,
        Ok(value) => match from_value::<TransactionInfo>(value).unwrap().status {
            TransactionStatus::Pending => Fate::Pending,
            TransactionStatus::Confirmed { .. } => Fate::Confirmed,
        },
    }
}

/// The node's tip, its state root and every account are those of `chain`, which was never anywhere else.
fn assert_is(node: &Node, chain: &TestChain, accounts: &BTreeSet<AccountId>) {
    let head: HeaderInfo = get(node, "chain_head", json!([]));
    let tip = chain.headers().last().expect("genesis");
    assert_eq!((head.height, head.hash, head.raw.0.state_root), (chain.tip().height, tip.hash(), tip.state_root));
    for id in accounts {
        let account: AccountInfo = get(node, "account_get", json!([encode_address("tdry", id)]));
        let expected = chain.account(id);
        assert_eq!((account.balance, account.nonce), (expected.balance, expected.nonce), "{}", account.address);
    }
}

#[test]
fn a_hundred_blocks_are_undone_and_done_again() {
    let root = tempfile::tempdir().unwrap();
    let arguments = ["dev", "--threads", "0"];
    let node = Node::start(root.path(), &arguments);
    let (miner_a, miner_b) = (AccountId([0xaa; 32]), AccountId([0xbb; 32]));
    let mut accounts: BTreeSet<AccountId> = (0..10).map(|index| SecretKey::dev(index).account()).collect();
    accounts.extend([miner_a, miner_b, AccountId([9; 32])]);

    let mut a = TestChain::new(&dev_params());
    for _ in 0..COMMON {
        let payment = a.pay(8, &AccountId([9; 32]), 1_000_000, 0);
        assert_eq!(submit(&node, a.extend(&miner_a, vec![payment]).block()), "connected");
    }
    let mut b = a.clone();

    let mut abandoned = Vec::new();
    for height in COMMON + 1..=COMMON + DEPTH {
        let payments = payments_a(&a, height);
        accounts.extend(payments.iter().map(|payment| payment.body.to));
        abandoned.extend(payments.clone());
        assert_eq!(submit(&node, a.extend(&miner_a, payments).block()), "connected");
    }
    assert_is(&node, &a, &accounts);

    // Branch B has the same payments of accounts 4 and 5, others of 6 and 7, and none of 0 to 3.
    let own = |from: u8| abandoned.iter().filter(move |payment| payment.body.from == SecretKey::dev(from).account());
    let mut repeated: Vec<&Transaction> = own(4).chain(own(5)).collect();
    for number in 0..=DEPTH {
        let mut payments: Vec<Transaction> = repeated.drain(..repeated.len().min(1)).cloned().collect();
        payments.push(b.pay(6 + (number % 2) as u8, &stranger(0xb, number), 200_000, 0));
        accounts.extend(payments.iter().map(|payment| payment.body.to));
        let expected = if number < DEPTH { "beside" } else { "connected" };
        assert_eq!(submit(&node, b.extend(&miner_b, payments).block()), expected, "block {number} of branch B");
    }
    assert!(repeated.is_empty());
    assert_is(&node, &b, &accounts);

    let expected_fate = |payment: &Transaction| match (0..8).find(|i| SecretKey::dev(*i).account() == payment.body.from)
    {
        Some(0..4) => Fate::Pending,
        Some(4 | 5) => Fate::Confirmed,
        _ => Fate::Gone,
    };
    for payment in &abandoned {
        assert_eq!(fate_of(&node, payment.txid()), expected_fate(payment), "{:?}", payment.body);
    }

    // The same again after a restart, and from the bytes on disk alone.
    assert!(node.stop().0.success());
    let data = root.path().join("data");
    let verified = run(program("drystone-node", root.path()).args(["verify", "--data-dir"]).arg(&data));
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.contains("every block executed again from genesis"), "{verified:?}");
    assert!(verified.stdout.ends_with(&format!(" at height {}\n", b.tip().height)), "{verified:?}");
    let node = Node::start(root.path(), &arguments);
    assert_is(&node, &b, &accounts);
    for payment in &abandoned {
        assert_eq!(fate_of(&node, payment.txid()), expected_fate(payment), "{:?}", payment.body);
    }

    // Two more blocks, and the first branch has the most work again.
    assert_eq!(submit(&node, a.extend(&miner_a, vec![]).block()), "beside");
    assert_eq!(submit(&node, a.extend(&miner_a, vec![]).block()), "connected");
    assert_is(&node, &a, &accounts);
    for payment in &abandoned {
        assert_eq!(fate_of(&node, payment.txid()), Fate::Confirmed);
    }
}
