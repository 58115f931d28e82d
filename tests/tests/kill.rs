//! `kill -9` again and again while the node mines and people pay: nothing that it ever reported is taken back.
//!
//! `DRYSTONE_KILL_ROUNDS=50 cargo test -p drystone-tests --test kill` is the long form; `DRYSTONE_KILL_SEED` repeats the
//! moments of a run that failed, though not what the system made of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use drystone_core::address::encode_address;
use drystone_core::amount::Amount;
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::transaction::{Memo, TransactionBody};
use drystone_tests::program::{Node, program, run};
use serde_json::{Value, from_value, json};

/// Rounds where `DRYSTONE_KILL_ROUNDS` says nothing.
const ROUNDS: u64 = 5;
/// The longest life of a node in milliseconds: about thirty blocks.
const LONGEST_LIFE: u64 = 1_500;
/// The longest life of a node that is killed before it is up.
const SHORTEST_LIFE: u64 = 60;
/// Accounts that pay over the RPC; the wallet pays from the next one.
const PAYERS: u8 = 4;

/// A block that was reported, and one in which a payment was reported.
type Place = (u64, BlockHash);

/// Everything that the node ever reported as done.
#[derive(Default)]
struct Reported {
    tip: Option<Place>,
    payments: BTreeMap<Txid, Place>,
}

impl Reported {
    fn add(&mut self, other: Reported) {
        self.tip = self.tip.max(other.tip);
        self.payments.extend(other.payments);
    }
}

/// The development chain with twenty blocks a second.
fn params() -> ChainParams {
    ChainParams { name: "kill".into(), interval: 50, response: 6_000, max_future: 600, ..dev_params() }
}

/// The next number of a sequence that its seed decides (splitmix64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

fn address(index: u8) -> String {
    encode_address("tdry", &SecretKey::dev(index).account())
}

fn place(value: &Value, hash: &str) -> Place {
    (value["height"].as_u64().expect("a height"), from_value(value[hash].clone()).expect("a hash"))
}

/// Pays from several accounts and asks what became of it, until the node is gone.
fn pay(node: &Node, params: &ChainParams, round: u64) -> Reported {
    let mut reported = Reported::default();
    let mut waiting = BTreeSet::new();
    let mut nonces: Vec<Option<u64>> = vec![None; usize::from(PAYERS)];
    let mut turn = || -> std::io::Result<()> {
        for from in 0..PAYERS {
            let nonce = &mut nonces[usize::from(from)];
            if nonce.is_none() {
                let account = node.try_call("account_get", json!([address(from)]))?.expect("an account");
                *nonce = account["pending_nonce"].as_u64();
            }
            let next = nonce.expect("just asked for");
            // Old accounts and ever new ones.
            let to = if next.is_multiple_of(2) {
                SecretKey::dev(8).account()
            } else {
                AccountId([next as u8 ^ round as u8; 32])
            };
            let key = SecretKey::dev(from);
            let (amount, fee, memo) = (Amount(100_000), Amount(1_000), Memo::default());
            let body = TransactionBody { from: key.account(), to, amount, fee, nonce: next, memo };
            let transaction = body.sign(&params.chain_id(), &key);
            match node.try_call("tx_submit", json!([hex::encode(encode(&transaction))]))? {
                Ok(_) => {
                    waiting.insert(transaction.txid());
                    *nonce = Some(next + 1);
                }
                // As many wait as may, or the node is stopping or busy.
                Err(_) => *nonce = None,
            }
        }
        for txid in waiting.clone() {
            let known =
                node.try_call("tx_get", json!([txid]))?.expect("a payment is not forgotten while the node lives");
            if known["status"] == "confirmed" {
                reported.payments.insert(txid, place(&known, "block_hash"));
                waiting.remove(&txid);
            }
        }
        let head = node.try_call("chain_head", json!([]))?.expect("there is a tip");
        reported.tip = reported.tip.max(Some(place(&head, "hash")));
        Ok(())
    };
    while turn().is_ok() {}
    reported
}

/// Pays with the wallet and waits for the block each time, until the node is gone.
fn pay_by_wallet(node: &Node, genesis: &str, gone: &AtomicBool) -> Reported {
    let mut reported = Reported::default();
    let payer = PAYERS.to_string();
    while !gone.load(Ordering::Relaxed) {
        let to = address(8);
        let ended = node.wallet(&["--genesis", genesis, "--dev", &payer, "send", &to, "0.01", "--wait", "--json"]);
        let said: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        match ended.code {
            Some(0) => {
                let txid = from_value(said["txid"].clone()).expect("a payment has an id");
                reported.payments.insert(txid, place(&said["block"], "hash"));
            }
            // Nobody answers: the node is gone.
            Some(5) => assert!(said["error"]["next"].is_string(), "{ended:?}"),
            _ => panic!("{ended:?}"),
        }
    }
    reported
}

/// Whether a node that has just started knows everything that was reported by those before it.
fn assert_kept(node: &Node, tip: Option<Place>, payments: &BTreeMap<Txid, Place>) {
    if let Some((height, hash)) = tip {
        let header = node.call("chain_header", json!([height])).expect("the chain is no shorter than it was");
        assert_eq!(place(&header, "hash"), (height, hash), "another block stands at the height of the last known tip");
        assert!(header["confirmations"].is_u64());
    }
    for (txid, expected) in payments {
        let known = node.call("tx_get", json!([txid])).unwrap_or_else(|error| panic!("{txid}: {error}"));
        assert_eq!(known["status"], "confirmed", "{txid}");
        assert_eq!(place(&known, "block_hash"), *expected, "{txid}");
    }
}

/// Starts the node and kills it before anybody could have asked it anything.
fn kill_early(root: &Path, arguments: &[&str], life: Duration) {
    let mut command = program("drystone-node", root);
    command.args(arguments).args(["--rpc", "127.0.0.1:0", "--data-dir"]).arg(root.join("data"));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a program that was just built");
    thread::sleep(life);
    child.kill().expect("it runs until it is killed");
    child.wait().expect("a child can be waited for");
}

#[test]
fn what_was_reported_survives_every_kill() {
    let rounds = number("DRYSTONE_KILL_ROUNDS", ROUNDS);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is set");
    let seed = number("DRYSTONE_KILL_SEED", now.as_nanos() as u64);
    println!("DRYSTONE_KILL_SEED={seed} DRYSTONE_KILL_ROUNDS={rounds}");
    let mut random = seed;

    let root = tempfile::tempdir().unwrap();
    let params = params();
    let file = root.path().join("kill.json");
    fs::write(&file, params.to_json()).unwrap();
    let genesis = file.to_str().unwrap();
    let miner = address(9);
    let arguments = ["run", "--genesis", genesis, "--mine", &miner, "--threads", "1"];

    let mut all = Reported::default();
    let mut latest = BTreeMap::new();
    for round in 0..rounds {
        if next(&mut random).is_multiple_of(4) {
            kill_early(root.path(), &arguments, Duration::from_millis(next(&mut random) % SHORTEST_LIFE));
        }
        let node = Node::start(root.path(), &arguments);
        assert_kept(&node, all.tip, &latest);
        let life = Duration::from_millis(next(&mut random) % LONGEST_LIFE);
        let gone = AtomicBool::new(false);
        let found = thread::scope(|scope| {
            let people = scope.spawn(|| pay(&node, &params, round));
            let wallet = scope.spawn(|| pay_by_wallet(&node, genesis, &gone));
            thread::sleep(life);
            node.signal("KILL");
            gone.store(true, Ordering::Relaxed);
            let mut found = people.join().expect("whoever pays sees nothing that must not be");
            found.add(wallet.join().expect("the wallet says what happened"));
            found
        });
        drop(node);
        println!("round {round}: {life:?}, tip {:?}, {} payments", found.tip.map(|tip| tip.0), found.payments.len());
        latest = found.payments.clone();
        all.add(found);
    }

    let node = Node::start(root.path(), &arguments);
    assert_kept(&node, all.tip, &all.payments);
    assert!(!all.payments.is_empty(), "nothing was paid, so nothing was tested");
    let (status, _) = node.stop();
    assert!(status.success(), "{status}");
    let verified =
        run(program("drystone-node", root.path()).args(["verify", "--data-dir"]).arg(root.path().join("data")));
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(
        verified.stdout.lines().any(|line| line.starts_with("supply ") && line.ends_with(", exactly")),
        "{verified:?}"
    );
    print!("{} payments reported\n{}", all.payments.len(), verified.stdout);
}
