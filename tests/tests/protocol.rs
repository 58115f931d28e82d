//! The worked examples of `docs/PROTOCOL.md`, computed again from their inputs.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::Path;
use std::str::FromStr;

use drystone_core::address::encode_address;
use drystone_core::amount::Amount;
use drystone_core::block::{Body, EMPTY_BLOCK_BYTES, HEADER_BYTES, Header, MAX_BLOCK_BYTES};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::encode::{Encodable, decode_hex, encode};
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::hash::{BlockHash, DEV_KEY, TAGS};
use drystone_core::key::{AccountId, SecretKey, Signature, SignatureError, SignedMessage};
use drystone_core::light::{AncestorProof, verify_account};
use drystone_core::merkle::{HISTORY, TRANSACTIONS};
use drystone_core::params::ChainParams;
use drystone_core::pow::{CompactTarget, Work};
use drystone_core::state::{Account, HistoryProof, Leaf, Reward, StateKey, StateProof, history_leaf, prove, root_of};
use drystone_core::subsidy::{subsidies_through, subsidy_at};
use drystone_core::transaction::{MAX_MEMO, MIN_TRANSACTION_BYTES, Memo, Transaction, TransactionBody};
use drystone_tests::vectors::proofs::state_of;

const WIDTH: usize = 118;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    fs::read_to_string(path).expect("the document is there")
}

/// An example: its name, and its lines `field: value`, where a line that starts with two spaces goes on with the value
/// before it.
struct Example {
    name: String,
    fields: Vec<(String, String)>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("```example ") {
            inside = true;
            examples.push(Example { name: name.to_owned(), fields: Vec::new() });
        } else if line.starts_with("```") {
            inside = false;
        } else if inside {
            let fields = &mut examples.last_mut().expect("inside one").fields;
            match (line.strip_prefix("  "), line.split_once(": ")) {
                (Some(rest), _) => fields.last_mut().expect("a value goes on").1.push_str(rest.trim()),
                (None, Some((field, value))) => fields.push((field.to_owned(), value.to_owned())),
                (None, None) => panic!("not a field: {line}"),
            }
        }
    }
    examples
}

/// What an example says of its inputs, and what the code makes of them.
struct Working<'a> {
    example: &'a Example,
    inputs: Vec<String>,
    outputs: Vec<(String, String)>,
}

impl Working<'_> {
    fn text(&mut self, field: &str) -> &str {
        self.inputs.push(field.to_owned());
        let found = self.example.fields.iter().find(|(name, _)| name == field);
        &found.unwrap_or_else(|| panic!("{} lacks {field}", self.example.name)).1
    }

    fn input<T: FromStr>(&mut self, field: &str) -> T {
        let text = self.text(field).to_owned();
        text.parse().unwrap_or_else(|_| panic!("{} has a bad {field}: {text}", self.example.name))
    }

    fn bits(&mut self, field: &str) -> CompactTarget {
        CompactTarget(u32::from_str_radix(self.text(field), 16).expect("eight hex digits"))
    }

    fn bytes(&mut self, field: &str) -> Vec<u8> {
        hex::decode(self.text(field)).expect("hex")
    }

    fn is(&mut self, field: impl Display, value: impl Display) {
        self.outputs.push((field.to_string(), value.to_string()));
    }

    fn is_hex(&mut self, field: impl Display, bytes: impl AsRef<[u8]>) {
        self.is(field, hex::encode(bytes));
    }

    /// The example as it must stand: inputs first, then outputs, long values folded.
    fn expected(&self) -> String {
        let mut text = String::new();
        let stated = |field: &String| self.example.fields.iter().find(|(name, _)| name == field).cloned();
        let inputs = self.inputs.iter().filter_map(stated);
        for (field, value) in inputs.chain(self.outputs.iter().cloned()) {
            let mut line = format!("{field}: {value}");
            while line.len() > WIDTH {
                let rest = line.split_off(WIDTH);
                writeln!(text, "{line}").expect("to memory");
                line = format!("  {rest}");
            }
            writeln!(text, "{line}").expect("to memory");
        }
        text
    }
}

/// Each example of the document is what the code computes from its inputs; what differs is printed as it should stand.
#[test]
fn every_example_is_true() {
    let mut wrong = String::new();
    let mut seen = BTreeMap::new();
    for example in examples(&document()) {
        *seen.entry(example.name.clone()).or_insert(0) += 1;
        let mut working = Working { example: &example, inputs: Vec::new(), outputs: Vec::new() };
        compute(&mut working);
        let inputs = example.fields.iter().filter(|(field, _)| working.inputs.contains(field));
        let expected: Vec<(String, String)> = inputs.cloned().chain(working.outputs.iter().cloned()).collect();
        if expected != example.fields {
            writeln!(wrong, "```example {}\n{}```", example.name, working.expected()).expect("to memory");
        }
    }
    assert!(wrong.is_empty(), "examples that should read:\n{wrong}");
    let names = [
        "tagged-hash",
        "compact-target",
        "header",
        "transaction",
        "small-order",
        "tx-root",
        "state-root",
        "history-root",
        "next-bits",
        "subsidy",
        "genesis",
        "dev-key",
        "account-proof",
        "address",
    ];
    for name in names {
        assert!(seen.contains_key(name), "no example {name}");
    }
}

fn compute(working: &mut Working) {
    match working.example.name.as_str() {
        "tagged-hash" => tagged_hash(working),
        "compact-target" => compact_target(working),
        "header" => header(working),
        "transaction" => transaction(working),
        "small-order" => small_order(working),
        "tx-root" => tx_root(working),
        "state-root" => state_root(working),
        "history-root" => history_root(working),
        "next-bits" => difficulty(working),
        "subsidy" => subsidy(working),
        "genesis" => genesis(working),
        "dev-key" => dev_key(working),
        "account-proof" => account_proof(working),
        "address" => address(working),
        name => panic!("unknown example {name}"),
    }
}

fn tagged_hash(working: &mut Working) {
    let name = working.text("tag").to_owned();
    let tag = TAGS.iter().find(|tag| tag.name() == name).expect("a tag of the table");
    let message = working.bytes("message");
    working.is_hex("hash", tag.hash(&[&message]));
}

fn compact_target(working: &mut Working) {
    let target = working.bits("bits").to_target().expect("a target");
    working.is("target", BlockHash(target.value().to_le_bytes()));
    working.is("compact", target.to_compact());
    working.is("work", target.work());
}

fn header(working: &mut Working) {
    let header = Header {
        version: working.input("version"),
        prev_hash: working.input("prev_hash"),
        state_root: working.input("state_root"),
        tx_root: working.input("tx_root"),
        time: working.input("time"),
        bits: working.bits("bits"),
        nonce: working.input("nonce"),
    };
    working.is_hex("encoding", header.to_bytes());
    working.is("hash", header.hash());
}

fn transaction(working: &mut Working) {
    let key = SecretKey::dev(working.input("key"));
    let body = TransactionBody {
        from: key.account(),
        to: working.input("to"),
        amount: working.input("amount"),
        fee: working.input("fee"),
        nonce: working.input("nonce"),
        memo: Memo(working.bytes("memo")),
    };
    let chain_id = dev_params().chain_id();
    let transaction = body.clone().sign(&chain_id, &key);
    assert_eq!(transaction.signed_message(&chain_id).verify(), Ok(()));
    working.is("chain_id", chain_id);
    working.is("from", body.from);
    working.is_hex("body", encode(&body));
    working.is_hex("signing_message", body.signing_message(&chain_id));
    working.is("signature", transaction.signature);
    working.is_hex("encoding", encode(&transaction));
    working.is("txid", transaction.txid());
    working.is("wire_id", transaction.wire_id());
}

/// The document's list must be refused as small, and its length is that of the points of small order up to sign.
fn small_order(working: &mut Working) {
    for (field, value) in &working.example.fields {
        let point: [u8; 32] = hex::decode(value).expect("hex").try_into().expect("32 bytes");
        let message = SignedMessage { signer: AccountId(point), signature: Signature([0; 64]), message: vec![] };
        assert_eq!(message.check_encoding(), Err(SignatureError::SmallOrderKey), "{field}");
        working.inputs.push(field.clone());
    }
    assert_eq!(working.inputs.len(), 5);
}

/// Two transactions of development key 0 on the development chain.
fn two_transactions() -> [Transaction; 2] {
    let key = SecretKey::dev(0);
    [0, 1].map(|nonce| {
        let (amount, fee, memo) = (Amount(150_000_000), Amount(1_000), Memo::default());
        let to = AccountId([0x22; 32]);
        TransactionBody { from: key.account(), to, amount, fee, nonce, memo }.sign(&dev_params().chain_id(), &key)
    })
}

fn tx_root(working: &mut Working) {
    let body = Body { reward_to: working.input("reward_to"), transactions: two_transactions().to_vec() };
    for (i, transaction) in body.transactions.iter().enumerate() {
        working.is_hex(format!("transaction_{i}"), encode(transaction));
    }
    let leaves = body.leaves();
    for (i, leaf) in leaves.iter().enumerate() {
        working.is_hex(format!("leaf_{i}"), leaf);
    }
    working.is("root", body.tx_root());
    working.is_hex("path_of_transaction_0", TRANSACTIONS.path(&leaves, 1).concat());
}

fn example_accounts() -> [(AccountId, Account); 3] {
    let holds = |last, balance, nonce| {
        let id = AccountId(std::array::from_fn(|i| if i == 31 { last } else { 0 }));
        (id, Account { balance: Amount(balance), nonce })
    };
    [holds(1, 1_000_000, 0), holds(2, 500_000, 3), holds(3, 1, 0)]
}

fn account_leaf((id, account): (AccountId, Account)) -> (StateKey, Leaf) {
    (StateKey::account(&id), Leaf::Account(account))
}

fn state_root(working: &mut Working) {
    let mut leaves = Vec::new();
    for (i, example) in example_accounts().iter().enumerate() {
        let balance = working.input(&format!("balance_{i}"));
        let nonce = working.input(&format!("nonce_{i}"));
        let given = (working.input(&format!("account_{i}")), Account { balance, nonce });
        assert_eq!(given, *example);
        leaves.push(account_leaf(given));
    }
    leaves.iter().enumerate().for_each(|(i, (key, _))| working.is(format!("key_{i}"), key));
    // A leaf alone is the root of its tree.
    leaves.iter().enumerate().for_each(|(i, leaf)| working.is(format!("leaf_{i}"), root_of(&[*leaf])));
    leaves.sort_unstable_by_key(|(key, _)| *key);
    working.is("root", root_of(&leaves));
}

fn account_proof(working: &mut Working) {
    let (state, root) = state_of(example_accounts().map(account_leaf));
    let id: AccountId = working.input("account");
    let Ok(proof) = prove(&state, &StateKey::account(&id));
    working.is("root", root);
    working.is_hex("proof", encode(&proof));
    let shown = verify_account(&root, &id, &proof).expect("the proof holds");
    let stated: StateProof = decode_hex(&hex::encode(encode(&proof))).expect("reads back");
    assert_eq!(verify_account(&root, &id, &stated), Ok(shown));
    working.is("balance", shown.balance);
    working.is("nonce", shown.nonce);
}

fn history_root(working: &mut Working) {
    let mut leaves = Vec::new();
    for i in 0..3 {
        let hash: BlockHash = working.input(&format!("hash_{i}"));
        let mut work: [u8; 32] = working.bytes(&format!("work_{i}")).try_into().expect("32 bytes");
        work.reverse();
        leaves.push(history_leaf(&hash, &Work::from_le_bytes(work)));
    }
    leaves.iter().enumerate().for_each(|(i, leaf)| working.is_hex(format!("leaf_{i}"), leaf));
    working.is_hex("root", HISTORY.root(&leaves));
    working.is_hex("path_of_1", HISTORY.path(&leaves, 1).concat());
}

fn difficulty(working: &mut Working) {
    let params = ChainParams {
        interval: working.input("interval"),
        response: working.input("response"),
        pow_limit: working.bits("pow_limit"),
        ..main_params()
    };
    let parent = ParentTimes {
        height: working.input("parent_height"),
        bits: working.bits("parent_bits"),
        grandparent_time: working.input("grandparent_time"),
        time: working.input("parent_time"),
    };
    working.is("bits", next_bits(&params, &parent));
}

fn subsidy(working: &mut Working) {
    let (subsidy, halving_interval) = (working.input("subsidy"), working.input("halving_interval"));
    let params = ChainParams { subsidy, halving_interval, ..main_params() };
    let height = working.input("height");
    working.is("reward", subsidy_at(&params, height));
    working.is("all_until_then", subsidies_through(&params, height));
}

fn genesis(working: &mut Working) {
    let params = match working.text("chain") {
        "main" => main_params(),
        "dev" => dev_params(),
        chain => panic!("no chain {chain}"),
    };
    working.is_hex("encoding", encode(&params));
    working.is_hex("params_hash", params.hash().0);
    working.is_hex("header", params.genesis_block().header.to_bytes());
    working.is("chain_id", params.chain_id());
}

fn dev_key(working: &mut Working) {
    let index: u8 = working.input("index");
    let account = SecretKey::dev(index).account();
    let seed = DEV_KEY.hash(&[&[index]]);
    assert_eq!(SecretKey::from_seed(&seed).account(), account);
    working.is_hex("seed", seed);
    working.is("account", account);
    working.is("address", encode_address(&dev_params().address_prefix, &account));
}

fn address(working: &mut Working) {
    let account = working.input("account");
    let address = encode_address(working.text("prefix"), &account);
    working.is("address", address);
}

/// The rows of the document's tables that repeat the code.
#[test]
fn the_tables_say_what_the_code_says() {
    let text = document();
    let tags: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `drystone/")?.split('`').next()).collect();
    let names: Vec<String> = TAGS.iter().map(|tag| tag.name().replacen("drystone/", "", 1)).collect();
    assert_eq!(tags, names);

    let grouped = |n: usize| {
        let digits = n.to_string();
        let first = (digits.len() + 2) % 3 + 1;
        let groups = digits.as_bytes()[first..].chunks(3).map(|group| std::str::from_utf8(group).expect("digits"));
        std::iter::once(&digits[..first]).chain(groups).collect::<Vec<_>>().join(",")
    };
    let caps = [
        ("header", Header::MAX_BYTES),
        ("transaction", Transaction::MAX_BYTES),
        ("block", drystone_core::block::Block::MAX_BYTES),
        ("body", Body::MAX_BYTES),
        ("chain parameters", ChainParams::MAX_BYTES),
        ("account", Account::MAX_BYTES),
        ("reward", Reward::MAX_BYTES),
        ("`StateProof`", StateProof::MAX_BYTES),
        ("`HistoryProof`", HistoryProof::MAX_BYTES),
        ("`AncestorProof`", AncestorProof::MAX_BYTES),
    ];
    for (kind, cap) in caps {
        let row = format!("\n| {kind} | {} |", grouped(cap));
        assert!(text.contains(&row), "no row{row}");
    }
    let least = EMPTY_BLOCK_BYTES + MIN_TRANSACTION_BYTES + MAX_MEMO;
    assert!(text.contains(&format!("| {least} to {} (`MaxBlockBytes`)", grouped(MAX_BLOCK_BYTES))));
    assert_eq!((HEADER_BYTES, EMPTY_BLOCK_BYTES, MIN_TRANSACTION_BYTES, MAX_MEMO), (116, 156, 160, 256));
}
