//! The worked examples of `docs/PROTOCOL.md`, computed again from their inputs.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use drystone_core::address::encode_address;
use drystone_core::amount::Amount;
use drystone_core::block::{Body, EMPTY_BLOCK_BYTES, HEADER_BYTES, Header, MAX_BLOCK_BYTES};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::encode::{Encodable, decode_hex, encode};
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::hash::{BlockHash, DEV_KEY, TAGS, WireId, sha256d};
use drystone_core::key::{AccountId, SecretKey, Signature, SignatureError, SignedMessage};
use drystone_core::light::{AncestorProof, TransactionProof, verify_account};
use drystone_core::merkle::{HISTORY, TRANSACTIONS};
use drystone_core::params::ChainParams;
use drystone_core::pow::{CompactTarget, Work};
use drystone_core::state::{Account, HistoryProof, Leaf, Reward, StateKey, StateProof, history_leaf, prove, root_of};
use drystone_core::subsidy::{subsidies_through, subsidy_at};
use drystone_core::transaction::{MAX_MEMO, MIN_TRANSACTION_BYTES, Memo, Transaction, TransactionBody};
use drystone_core::validation::{BlockError, HeaderError, TransactionError, check_transaction};
use drystone_node::engine::limits::{
    BAN_MS, BAN_SCORE, BATCH_BYTES, BATCH_TRANSACTIONS, BODIES_BYTES, BODIES_PER_REQUEST, BODIES_RATE,
    HEADERS_PER_RESPONSE, HELD_RANGES, KEPT_TIP_WORKS, LOCATOR_HASHES, RECONCILED_IDS, RECONCILIATION_BUCKETS,
    REQUEST_BURST, REQUEST_RATE, SCORE_HALF_LIFE_MS, SERVING_PER_PEER, TRANSACTION_BURST, TRANSACTION_RATE,
    TRANSACTIONS_BYTES,
};
use drystone_node::engine::message::{Direction, Input, Origin, Output, PeerEvent, PeerId};
use drystone_node::engine::verdict::{Offence, Refusal, judge_offence};
use drystone_node::engine::wire::{Gossip, PROTOCOL_VERSION, Request, Response, Status, Topic, announce, id_prefix};
use drystone_node::engine::{Config, Engine};
use drystone_node::net::frame;
use drystone_node::store::{Store, StoreOptions};
use drystone_tests::chain::TestChain;
use drystone_tests::vectors::proofs::state_of;
use redb::backends::InMemoryBackend;

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
        "peer-name",
        "frame",
        "announcement",
        "status",
        "request",
        "reconciliation",
    ];
    for name in names {
        assert!(seen.contains_key(name), "no example {name}");
    }
    assert_eq!(seen["request"], 4, "one for each short kind of request");
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
        "peer-name" => peer_name(working),
        "frame" => frame_of(working),
        "announcement" => announcement(working),
        "status" => status(working),
        "request" => request(working),
        "reconciliation" => reconciliation(working),
        name => panic!("unknown example {name}"),
    }
}

fn peer_name(working: &mut Working) {
    let key = working.bytes("key").try_into().expect("32 bytes");
    working.is("name", PeerId(key));
}

fn frame_of(working: &mut Working) {
    let message = working.bytes("message");
    working.is_hex("encoding", frame(&message));
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
    [0, 1].map(|nonce| payment(Amount(150_000_000), nonce))
}

/// A transaction of development key 0 on the development chain.
fn payment(amount: Amount, nonce: u64) -> Transaction {
    let key = SecretKey::dev(0);
    let (to, fee, memo) = (AccountId([0x22; 32]), Amount(1_000), Memo::default());
    TransactionBody { from: key.account(), to, amount, fee, nonce, memo }.sign(&dev_params().chain_id(), &key)
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
        leaves.push(history_leaf(&hash, &work(&working.bytes(&format!("work_{i}")))));
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

/// Block 1 of the development chain, with the two transactions, and its announcement.
fn announcement(working: &mut Working) {
    let params = dev_params();
    let mut chain = TestChain::new(&params);
    let block = chain.extend(&working.input("reward_to"), two_transactions().to_vec()).block().clone();
    let announcement = announce(&block);
    let hash = block.header.hash();
    working.is("topic", Topic::Blocks.name(&params.chain_id()));
    working.is_hex("header", block.header.to_bytes());
    working.is("hash", hash);
    working.is_hex("key", &hash.0[..16]);
    for (i, transaction) in block.body.transactions.iter().enumerate() {
        assert_eq!(announcement.ids[i], short_id_as_specified(&hash, &transaction.wire_id()));
        working.is(format!("wire_id_{i}"), transaction.wire_id());
        working.is_hex(format!("short_id_{i}"), announcement.ids[i]);
    }
    let gossip = Gossip::Block(announcement);
    assert_eq!(Gossip::from_bytes(Topic::Blocks, &gossip.to_bytes(), &params), Ok(gossip.clone()));
    working.is_hex("encoding", gossip.to_bytes());
}

/// A short id by the document's words and the standard library's SipHash-2-4.
#[expect(deprecated, reason = "nothing else in the standard library is SipHash-2-4")]
fn short_id_as_specified(hash: &BlockHash, id: &WireId) -> [u8; 6] {
    use std::hash::{Hasher, SipHasher};
    let half = |at: usize| u64::from_le_bytes(hash.0[at..at + 8].try_into().expect("eight bytes"));
    let mut hasher = SipHasher::new_with_keys(half(0), half(8));
    hasher.write(&id.0);
    hasher.finish().to_le_bytes()[..6].try_into().expect("six bytes")
}

fn status(working: &mut Working) {
    let status = Status {
        version: working.input("version"),
        chain_id: working.input("chain_id"),
        height: working.input("height"),
        hash: working.input("hash"),
        work: work(&working.bytes("work")),
        state_root: working.input("state_root"),
        held: vec![(working.input("held_first"), working.input("held_last"))],
    };
    let request = Request::Status(status.clone());
    assert_eq!(Request::from_bytes(&request.to_bytes(), &dev_params()), Ok(request.clone()));
    working.is_hex("request", request.to_bytes());
    working.is_hex("response", Response::Status(status).to_bytes());
}

fn work(big_endian: &[u8]) -> Work {
    let mut bytes: [u8; 32] = big_endian.try_into().expect("32 bytes");
    bytes.reverse();
    Work::from_le_bytes(bytes)
}

fn request(working: &mut Working) {
    let kind: u32 = working.input("kind");
    let request = match kind {
        1 => Request::Headers(vec![working.input("hash_0"), working.input("hash_1")]),
        2 => Request::Bodies(vec![working.input("hash_0")]),
        3 => {
            Request::BlockTransactions(working.input("hash"), vec![working.input("place_0"), working.input("place_1")])
        }
        5 => {
            let [id, _] = two_transactions().map(|transaction| transaction.wire_id());
            working.is("wire_id_0", id);
            Request::Transactions(vec![id_prefix(&id)])
        }
        kind => panic!("no example of kind {kind}"),
    };
    let bytes = request.to_bytes();
    assert_eq!(bytes[..4], kind.to_le_bytes());
    assert_eq!(Request::from_bytes(&bytes, &dev_params()), Ok(request));
    working.is_hex("encoding", bytes);
}

/// What an engine asks whose mempool holds two transactions of one bucket.
fn reconciliation(working: &mut Working) {
    let transactions = [0, 1].map(|nonce| payment(working.input(&format!("amount_{nonce}")), nonce));
    let digests = digests_of(&transactions);
    let mut buckets = vec![0u64; 256];
    for (i, transaction) in transactions.iter().enumerate() {
        let id = transaction.wire_id();
        let prefix = id_prefix(&id);
        assert_eq!(prefix, id.0[..8]);
        let bucket = &mut buckets[usize::from(prefix[0])];
        let (sum, wrapped) = bucket.overflowing_add(u64::from_le_bytes(prefix));
        assert_eq!(wrapped, i == 1, "the example shows a sum that wraps");
        *bucket = sum;
        working.is(format!("wire_id_{i}"), id);
        working.is(format!("prefix_{i}"), u64::from_le_bytes(prefix));
    }
    assert_eq!(digests, buckets);
    let filled: Vec<usize> = (0..256).filter(|bucket| digests[*bucket] != 0).collect();
    let [bucket] = filled[..] else { panic!("the example has one bucket, not {filled:?}") };
    working.is("bucket", bucket);
    working.is("digest", digests[bucket]);
    let bytes = Request::Reconcile(digests).to_bytes();
    working.is("request_bytes", bytes.len());
    working.is_hex("request_sha256d", sha256d(&bytes));
}

/// The digests by which an engine with these transactions in its mempool reconciles with its first peer.
fn digests_of(transactions: &[Transaction]) -> Vec<u64> {
    let params = Arc::new(dev_params());
    let (chain_id, peer) = (params.chain_id(), PeerId([7; 32]));
    let store = Store::open_backend(InMemoryBackend::new(), &params, &StoreOptions::default()).expect("opens");
    let now = params.time + 1_000_000;
    let mut engine = Engine::new(Arc::new(store), Arc::clone(&params), Config::new([3; 32]), now).expect("opens");
    let check = |transaction: &Transaction| check_transaction(transaction.clone(), params.rules_at(1), &chain_id);
    let transactions = transactions.iter().map(|transaction| check(transaction).expect("well signed")).collect();
    let mut handle = |input| engine.handle(now, input).expect("the store works");
    let admitted = handle(Input::Transactions { origin: Origin::Own, transactions });
    assert!(!admitted.iter().any(|output| matches!(output, Output::Verdict { result: Err(_), .. })), "{admitted:?}");

    let (address, direction) = (([127, 0, 0, 1], 1).into(), Direction::Outbound);
    let outputs = handle(Input::Peer { peer, event: PeerEvent::Connected { address, direction } });
    let asked = outputs.into_iter().find_map(|output| match output {
        Output::Request { id, request: Request::Status(status), .. } => Some((id, status)),
        _ => None,
    });
    let (id, status) = asked.expect("the dialler tells its status first");
    let response = Response::Status(status);
    let outputs = handle(Input::Peer { peer, event: PeerEvent::Response { id, response } });
    let digests = outputs.into_iter().find_map(|output| match output {
        Output::Request { request: Request::Reconcile(digests), .. } => Some(digests),
        _ => None,
    });
    digests.expect("mempools are compared after the handshake")
}

/// A number as the document prints it.
fn grouped(n: usize) -> String {
    let digits = n.to_string();
    let first = (digits.len() + 2) % 3 + 1;
    let groups = digits.as_bytes()[first..].chunks(3).map(|group| std::str::from_utf8(group).expect("digits"));
    std::iter::once(&digits[..first]).chain(groups).collect::<Vec<_>>().join(",")
}

/// The rows of section 20 that repeat the code: caps of the main chain, bounds, points.
#[test]
fn the_section_on_messages_says_what_the_code_says() {
    let text = document();
    let section = text.split("\n## 20. ").nth(1).expect("the section is there");
    let has = |row: &str| assert!(section.contains(row), "no row {row}");
    let params = main_params();
    let requests = ["`Status`", "`Headers`", "`Bodies`", "`BlockTransactions`", "`Reconcile`", "`Transactions`"];
    let responses =
        ["`Refused`", "`Status`", "`Headers`", "`Bodies`", "`BlockTransactions`", "`Reconcile`", "`Transactions`"];
    let caps = |kinds: &[&str], of: fn(u32, &ChainParams) -> Option<usize>| {
        for (number, kind) in (0..).zip(kinds) {
            let cap = of(number, &params).expect("there is such a kind");
            let row = section.lines().find(|line| {
                line.starts_with(&format!("| {number} | {kind} |")) && line.ends_with(&format!("| {} |", grouped(cap)))
            });
            assert!(row.is_some(), "no row | {number} | {kind} | ... | {} |", grouped(cap));
        }
        assert_eq!(of(kinds.len() as u32, &params), None);
    };
    caps(&requests, Request::max_bytes);
    caps(&responses, Response::max_bytes);
    for (name, topic) in [("blocks", Topic::Blocks), ("transactions", Topic::Transactions)] {
        let row = format!("| `{}` |", topic.name(&BlockHash::ZERO).replace(&BlockHash::ZERO.to_string(), "ID"));
        assert!(row.contains(name));
        let cap = grouped(topic.max_bytes(&params));
        assert!(section.lines().any(|line| line.starts_with(&row) && line.ends_with(&format!("| {cap} |"))), "{row}");
    }

    let bounds = [
        ("version", PROTOCOL_VERSION as usize),
        ("transactions in a batch", BATCH_TRANSACTIONS),
        ("bytes of a batch", BATCH_BYTES),
        ("hashes in a locator", LOCATOR_HASHES),
        ("headers in a page", HEADERS_PER_RESPONSE),
        ("bodies in a request", BODIES_PER_REQUEST),
        ("bytes of bodies in a response", BODIES_BYTES),
        ("buckets", RECONCILIATION_BUCKETS),
        ("prefixes in a message", RECONCILED_IDS),
        ("bytes of transactions in a response", TRANSACTIONS_BYTES),
        ("ranges in a status", HELD_RANGES),
    ];
    for (name, bound) in bounds {
        has(&format!("| {name} | {} |", grouped(bound)));
    }

    let refused = |refusal: Refusal| judge_offence(&Offence::Refused(refusal));
    let points = [
        ("`Undecodable`", judge_offence(&Offence::Undecodable(drystone_core::encode::DecodeError::NotCanonical))),
        ("`Greedy`", judge_offence(&Offence::Greedy)),
        ("`BrokenHeaders`", judge_offence(&Offence::BrokenHeaders)),
        ("`ForgedAnnouncement`", judge_offence(&Offence::ForgedAnnouncement)),
        ("`WrongBody`", judge_offence(&Offence::WrongBody)),
        ("`HeaderError`, `ContextError`", refused(HeaderError::Work.into())),
        ("`TooLarge`, `TxRoot`", refused(BlockError::TooLarge { max: 1, found: 2 }.into())),
        ("`FalseClaim`", judge_offence(&Offence::FalseClaim)),
        ("`ChangedHeaders`", judge_offence(&Offence::ChangedHeaders)),
        ("`Unasked`", judge_offence(&Offence::Unasked)),
        ("`TransactionError`", refused(TransactionError::AmountOverflow.into())),
        ("`Slow`", judge_offence(&Offence::Slow)),
        ("`WrongState`", judge_offence(&Offence::WrongState)),
        ("every other refusal", refused(Refusal::KnownBlock)),
    ];
    for (name, points) in points {
        has(&format!("| {name} | {points} |"));
    }
    let said = [
        format!("{BAN_SCORE} points"),
        format!("{} minutes", SCORE_HALF_LIFE_MS / 60_000),
        format!("{} hours", BAN_MS / 3_600_000),
        format!("{KEPT_TIP_WORKS} times"),
        format!("{SERVING_PER_PEER} requests"),
        format!("{REQUEST_BURST} at once and {REQUEST_RATE} a second"),
        format!("{} at once and {} a second", grouped(TRANSACTION_BURST as usize), grouped(TRANSACTION_RATE as usize)),
        format!("{} bytes a second", grouped(BODIES_RATE as usize)),
    ];
    let prose = section.split_whitespace().collect::<Vec<_>>().join(" ");
    said.iter().for_each(|words| assert!(prose.contains(words), "nowhere {words}"));
}

/// The rows of the document's tables that repeat the code.
#[test]
fn the_tables_say_what_the_code_says() {
    let text = document();
    let tags: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("| `drystone/")?.split('`').next()).collect();
    let names: Vec<String> = TAGS.iter().map(|tag| tag.name().replacen("drystone/", "", 1)).collect();
    assert_eq!(tags, names);

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
        ("`TransactionProof`", TransactionProof::MAX_BYTES),
    ];
    for (kind, cap) in caps {
        let row = format!("\n| {kind} | {} |", grouped(cap));
        assert!(text.contains(&row), "no row{row}");
    }
    let least = EMPTY_BLOCK_BYTES + MIN_TRANSACTION_BYTES + MAX_MEMO;
    assert!(text.contains(&format!("| {least} to {} (`MaxBlockBytes`)", grouped(MAX_BLOCK_BYTES))));
    assert_eq!((HEADER_BYTES, EMPTY_BLOCK_BYTES, MIN_TRANSACTION_BYTES, MAX_MEMO), (116, 156, 160, 256));
}
