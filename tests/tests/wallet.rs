//! The wallet against the real node: what a newcomer types first, exact to the chip.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use drystone_core::address::encode_address;
use drystone_core::key::SecretKey;
use drystone_tests::program::{Ended, Node, binary, eventually, program, run};
use serde_json::Value;

/// What each account of the development chain has at first, in chips.
const ALLOCATION: u64 = 1_000_000_000_000;

/// A mining development node that rewards the last funded account, so that the others' balances stay what was paid.
fn node(root: &Path) -> Node {
    Node::start(root, &["dev", "--mine", &address(9)])
}

fn address(index: u8) -> String {
    encode_address("tdry", &SecretKey::dev(index).account())
}

/// The one JSON object that a command printed.
fn json_of(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

fn chips(value: &Value) -> u64 {
    value.as_str().expect("chips are strings").parse().expect("chips are decimal")
}

fn balance(node: &Node, who: &[&str]) -> u64 {
    chips(&json_of(&node.wallet(&[who, &["--json", "balance"]].concat()))["balance"])
}

/// Stops the node and adds up its ledger.
fn assert_supply_is_exact(root: &Path, node: Node) {
    let (status, _) = node.stop();
    assert!(status.success(), "{status}");
    let verified = run(program("drystone-node", root).args(["verify", "--data-dir"]).arg(root.join("data")));
    assert_eq!(verified.code, Some(0), "{verified:?}");
    let supply = verified.stdout.lines().find(|line| line.starts_with("supply ")).expect("the sum is printed");
    assert!(supply.ends_with(", exactly"), "{supply}");
}

#[test]
fn a_payment_is_exact_to_the_chip() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path());
    let paid = json_of(&node.wallet(&["--dev", "0", "send", &address(1), "12.5", "--wait", "--json"]));
    assert_eq!((chips(&paid["amount"]), paid["nonce"].as_u64()), (1_250_000_000, Some(0)));
    assert!(
        paid["block"]["height"].as_u64() >= Some(1) && paid["block"]["confirmations"].as_u64() >= Some(1),
        "{paid}"
    );
    let fee = chips(&paid["fee"]);
    assert!(fee > 0);
    assert_eq!(balance(&node, &["--dev", "0"]), ALLOCATION - 1_250_000_000 - fee);
    assert_eq!(balance(&node, &["--dev", "1"]), ALLOCATION + 1_250_000_000);

    // Without --wait the payment is only handed in, and the next one knows of it.
    let memo =
        json_of(&node.wallet(&["--json", "--dev", "1", "send", &address(0), "1", "--fee", "0.5", "--memo", "rent"]));
    let next = json_of(&node.wallet(&["--json", "--dev", "1", "send", &address(0), "0.00000001", "--wait"]));
    assert_eq!((memo["block"].is_null(), memo["nonce"].as_u64(), next["nonce"].as_u64()), (true, Some(0), Some(1)));
    let spent = 100_000_001 + 50_000_000 + chips(&next["fee"]);
    assert_eq!(balance(&node, &["--dev", "1"]), ALLOCATION + 1_250_000_000 - spent);
    assert_eq!(balance(&node, &["--dev", "0"]), ALLOCATION - 1_250_000_000 - fee + 100_000_001);
    assert_supply_is_exact(root.path(), node);
}

/// The command that the node prints for a newcomer is typed as it is printed.
#[test]
fn the_printed_next_command_pays() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path());
    let printed = eventually("the next command is printed", || {
        let text = fs::read_to_string(root.path().join("out")).ok()?;
        let line = text.lines().skip_while(|line| !line.starts_with("Next")).find(|line| line.contains("--dev 0"))?;
        Some(line.trim().to_owned())
    });
    let (wallet, arguments) = printed.split_once(' ').expect("a program and its arguments");
    // By its bare name only where the shell would find it.
    let path = if wallet.contains('/') { wallet.into() } else { binary(wallet) };
    let typed = run(Command::new(path).args(arguments.split(' ')).env("HOME", root.path()));
    assert_eq!(typed.code, Some(0), "{typed:?}");
    assert!(typed.stdout.starts_with("sent 12.5 stones to tdry1"), "{typed:?}");
    assert!(typed.stdout.contains("proved from genesis"), "{typed:?}");
    assert_eq!(balance(&node, &["--dev", "1"]), ALLOCATION + 1_250_000_000);
}

/// A keystore's password comes from a file or from an open descriptor, and both open the same account.
#[test]
fn a_keystore_receives_and_pays() {
    let root = tempfile::tempdir().unwrap();
    let node = node(root.path());
    let password = root.path().join("password");
    fs::write(&password, "correct horse\n").unwrap();
    let from_file = ["--password-file", password.to_str().unwrap()];
    let made = json_of(&node.wallet(&[&from_file, &["--json", "new"][..]].concat()));
    let own = made["accounts"][0]["address"].as_str().unwrap();
    assert_eq!(made["mnemonic"].as_str().unwrap().split(' ').count(), 24);
    json_of(&node.wallet(&["--dev", "0", "--json", "send", own, "3", "--wait"]));

    let node_at = node.address.to_string();
    let mut from_descriptor = program("drystone-wallet", root.path());
    from_descriptor.args(["--rpc", &node_at, "--password-fd", "0", "--json", "send", &address(1), "1", "--wait"]);
    let paid = json_of(&run(from_descriptor.stdin(File::open(&password).unwrap())));
    assert_eq!(paid["from"], own);
    assert_eq!(balance(&node, &from_file), 200_000_000 - chips(&paid["fee"]));
    assert_eq!(balance(&node, &["--dev", "1"]), ALLOCATION + 100_000_000);
}

/// A kill may cost the node its mempool, but never the account its next payment.
#[test]
fn payments_go_on_after_a_kill() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    json_of(&node.wallet(&["--dev", "0", "--json", "send", &address(1), "1"]));
    node.kill();
    let node = self::node(root.path());
    let next = json_of(&node.wallet(&["--dev", "0", "--json", "send", &address(1), "1", "--wait"]));
    // The nonce says whether the first one was still there; both are in the chain then.
    let payments = 1 + next["nonce"].as_u64().unwrap();
    assert_eq!(balance(&node, &["--dev", "1"]), ALLOCATION + 100_000_000 * payments);
    assert_supply_is_exact(root.path(), node);
}

/// Signed without a node, bumped, taken back, listed and proved: each step by the command that the one before names.
#[test]
fn a_payment_can_be_signed_elsewhere_hastened_taken_back_listed_and_proved() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let mine = |count: u64| {
        node.call("mining_generate", serde_json::json!([count, address(9)])).expect("a development chain");
    };
    mine(2);
    let at = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (signed, receipt) = (at("signed.json"), at("receipt.json"));
    let nobody = ["--rpc", "127.0.0.1:1", "--chain", "dev"];
    let mut alone = program("drystone-wallet", root.path());
    alone.args(nobody).args(["--dev", "0", "sign", &address(1), "2.5", "--fee", "0.001", "--nonce", "0"]);
    let made = run(alone.args(["--out", &signed]));
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("drystone-wallet broadcast"), "{made:?}");
    let sent = json_of(&node.wallet(&["--json", "broadcast", &signed]));

    let second = json_of(&node.wallet(&["--dev", "0", "--json", "send", &address(1), "1"]));
    let bumped = json_of(&node.wallet(&["--dev", "0", "--json", "bump", second["txid"].as_str().unwrap()]));
    assert_eq!((&bumped["nonce"], &bumped["amount"]), (&second["nonce"], &second["amount"]));
    assert!(chips(&bumped["fee"]) > chips(&second["fee"]));
    let gone = node.wallet(&["--dev", "0", "bump", second["txid"].as_str().unwrap()]);
    assert_eq!(gone.code, Some(7), "{gone:?}");
    let listed = json_of(&node.wallet(&["--dev", "0", "--json", "history"]));
    assert_eq!(listed["waiting"].as_array().map(Vec::len), Some(2), "{listed}");
    assert_eq!(listed["waiting"][1]["txid"], bumped["txid"]);
    let cancelled = json_of(&node.wallet(&["--dev", "0", "--json", "cancel", bumped["txid"].as_str().unwrap()]));
    assert_eq!((chips(&cancelled["amount"]), &cancelled["to"]), (0, &cancelled["from"]));
    mine(3);

    let listed = json_of(&node.wallet(&["--dev", "0", "--json", "history"]));
    let roles: Vec<&str> =
        listed["entries"].as_array().unwrap().iter().map(|entry| entry["role"].as_str().unwrap()).collect();
    assert_eq!(
        (roles, chips(&listed["balance"])),
        (vec!["paid_itself", "paid"], ALLOCATION - 250_000_000 - 100_000 - chips(&cancelled["fee"]))
    );
    let made = json_of(&node.wallet(&["--json", "receipt", sent["txid"].as_str().unwrap(), "--out", &receipt]));
    assert_eq!(made["block_height"], 3);
    let mut alone = program("drystone-wallet", root.path());
    let checked = json_of(&run(alone.args(nobody).args(["--json", "verify-receipt", &receipt])));
    assert_eq!((&checked["txid"], &checked["confirmations"]), (&sent["txid"], &serde_json::json!(3)));
    // Whoever has checked no headers is not told that it is paid.
    let mut stranger = program("drystone-wallet", root.path());
    let unproved =
        run(stranger.args(nobody).args(["--keystore", &at("other/wallet.json"), "verify-receipt", &receipt]));
    assert_eq!(unproved.code, Some(6), "{unproved:?}");
}

/// Whoever waits for a payment that is taken back meanwhile learns which one counts, and that it is proved.
#[test]
fn waiting_ends_when_the_payment_was_taken_back() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0"]);
    let (waited, cancelled) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.wallet(&["--dev", "0", "send", &address(1), "1", "--wait"]));
        let txid = eventually("the payment waits", || {
            let listed = node.call("mempool_list", serde_json::json!([])).ok()?;
            Some(listed["transactions"][0]["txid"].as_str()?.to_owned())
        });
        let cancelled = json_of(&node.wallet(&["--dev", "0", "--json", "cancel", &txid]));
        node.call("mining_generate", serde_json::json!([1, address(9)])).expect("a development chain");
        (waiting.join().expect("the wallet ends"), cancelled)
    });
    let made = cancelled["txid"].as_str().unwrap();
    assert_eq!(waited.code, Some(7), "{waited:?}");
    assert!(waited.stderr.contains(&format!("nonce 0 is used by payment {made}")), "{waited:?}");
    // The command that it names resolves it.
    let receipt = node.wallet(&["receipt", made]);
    assert_eq!(receipt.code, Some(0), "{receipt:?}");
    let again = node.wallet(&["--dev", "0", "bump", made]);
    assert_eq!(again.code, Some(7), "{again:?}");
    assert!(again.stderr.contains("is in a block already, at height 1"), "{again:?}");
}
