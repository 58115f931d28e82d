//! A faucet pays whoever asks, an address once, so many in a minute, as long as it holds something; and never money.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use drystone_core::address::encode_address;
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::{ChainKind, ChainParams};
use drystone_tests::program::{Node, eventually, program, run};
use serde_json::{Value, json};

fn address(number: u8) -> String {
    encode_address("tdry", &AccountId([number; 32]))
}

/// Asks without the cookie.
fn pay(node: &Node, to: &str) -> Result<Value, Value> {
    node.try_call("faucet_pay", json!([to])).unwrap()
}

fn name_of(error: &Value) -> &str {
    error["data"]["name"].as_str().unwrap()
}

#[test]
fn the_development_chains_faucet_pays_within_its_bounds() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--faucet", "1.5"]);
    let faucet = encode_address("tdry", &SecretKey::dev(9).account());
    let paid = pay(&node, &address(1)).unwrap();
    assert_eq!((&paid["from"], &paid["amount"]), (&json!(faucet), &json!("150000000")));
    let again = pay(&node, &address(1)).unwrap_err();
    assert_eq!(name_of(&again), "too_soon");
    assert!(again["data"]["next"].as_str().unwrap().starts_with("ask again in 3"), "{again}");
    for number in 2..=30 {
        pay(&node, &address(number)).unwrap();
    }
    assert_eq!(name_of(&pay(&node, &address(31)).unwrap_err()), "too_soon", "so many in a minute");
    assert_eq!(name_of(&pay(&node, "tdry1x").unwrap_err()), "invalid_address");
    assert_eq!(name_of(&pay(&node, &faucet).unwrap_err()), "invalid_params");

    // One after the other, with the nonces that follow.
    node.call("mining_generate", json!([1, address(99)])).unwrap();
    for number in [1, 30] {
        assert_eq!(node.call("account_get", json!([address(number)])).unwrap()["balance"], "150000000");
    }
    assert_eq!(node.call("account_get", json!([faucet])).unwrap()["nonce"], 30);
}

#[test]
fn a_faucet_of_another_chain_has_a_key_of_its_own_and_says_when_it_is_empty() {
    let root = tempfile::tempdir().unwrap();
    let params = ChainParams { kind: ChainKind::Test, maturity: 1, name: "ours".into(), ..dev_params() };
    let genesis = root.path().join("ours.json");
    fs::write(&genesis, params.to_json()).unwrap();
    let start = |more: &[&str]| {
        let arguments = ["run", "--genesis", genesis.to_str().unwrap(), "--faucet", "5"];
        Node::start(root.path(), &[&arguments, more].concat())
    };
    let node = start(&["--threads", "0"]);
    let key = node.data_dir.join("faucet");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let empty = pay(&node, &address(1)).unwrap_err();
    assert_eq!(name_of(&empty), "insufficient_balance");
    let next = empty["data"]["next"].as_str().unwrap();
    let faucet = next.strip_prefix("pay or mine to ").unwrap();
    assert!(fs::read_to_string(root.path().join("log")).unwrap().contains(faucet), "the log names it");

    let faucet = faucet.to_owned();
    node.stop();

    // The key is kept, and what is mined to it is paid out.
    let node = start(&["--threads", "1", "--mine", &faucet]);
    let paid = eventually("a reward has matured", || pay(&node, &address(1)).ok());
    assert_eq!((&paid["from"], &paid["amount"]), (&json!(faucet), &json!("500000000")));
    eventually("it is confirmed", || {
        let account = node.call("account_get", json!([address(1)])).unwrap();
        (account["balance"] == "500000000").then_some(())
    });
}

#[test]
fn a_faucet_of_money_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let ended = run(program("drystone-node", root.path()).args(["run", "--faucet", "10"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no faucet on") && ended.stderr.contains("\nnext: "), "{ended:?}");
    assert!(!root.path().join(".drystone").join(main_params().name).exists(), "nothing was made");
}

#[test]
fn a_node_without_one_says_how_to_have_one() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let off = pay(&node, &address(1)).unwrap_err();
    assert_eq!(name_of(&off), "faucet_off");
    assert!(off["data"]["next"].as_str().unwrap().contains("--faucet STONES"), "{off}");
}
