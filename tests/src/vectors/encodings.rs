//! Cases of bytes and text: encodings, hashes, list trees, addresses, amounts.

use drystone_core::address::encode_address;
use drystone_core::amount::{Amount, CHIPS_PER_STONE, MAX_SUPPLY};
use drystone_core::block::{Block, Body, EMPTY_BLOCK_BYTES, HEADER_BYTES, Header, MAX_BLOCK_BYTES};
use drystone_core::encode::encode;
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::hash::{BlockHash, HistoryRoot, StateRoot, TAGS, TxRoot, sha256d};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::light::AncestorProof;
use drystone_core::merkle::{HISTORY, MerkleTree, TRANSACTIONS};
use drystone_core::pow::CompactTarget;
use drystone_core::state::{Account, HistoryProof, Leaf, Reward, StateKey, StateProof};
use drystone_core::transaction::{MAX_MEMO, MIN_TRANSACTION_BYTES, Memo, Transaction, TransactionBody};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::proofs::{LeafValue, ProofValue};
use super::{Hex, VectorFile, genesis_value, params};

/// Bytes and the value they stand for, or why they stand for none.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EncodingCase {
    /// What the case is about.
    pub comment: String,
    /// The type: header, body, block, transaction, params, account, reward, state-proof, history-proof,
    /// ancestor-proof.
    pub kind: String,
    /// The bytes in hex; text that may not be hex at all.
    pub hex: String,
    /// Zero bytes to append, where a case is too long to write down.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub zeros: u64,
    /// The value, nothing where the bytes are refused.
    pub value: Option<Value>,
    /// The name of the `DecodeError`.
    pub error: Option<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Cases in the making.
#[derive(Default)]
struct Encodings(Vec<EncodingCase>);

impl Encodings {
    fn accepted(&mut self, comment: &str, kind: &str, bytes: &[u8], value: Value) {
        let (comment, kind, hex) = (comment.into(), kind.into(), hex::encode(bytes));
        self.0.push(EncodingCase { comment, kind, hex, zeros: 0, value: Some(value), error: None });
    }

    fn refused(&mut self, comment: &str, kind: &str, bytes: &[u8], zeros: usize, error: &str) {
        let (comment, kind, hex) = (comment.into(), kind.into(), hex::encode(bytes));
        self.0.push(EncodingCase { comment, kind, hex, zeros: zeros as u64, value: None, error: Some(error.into()) });
    }

    /// What every kind refuses: nothing, one byte less, one byte more, one byte over the cap, text that is not hex.
    fn refused_lengths(&mut self, kind: &str, bytes: &[u8], max: usize) {
        self.refused("empty", kind, &[], 0, "Malformed");
        self.refused("the last byte is missing", kind, &bytes[..bytes.len() - 1], 0, "Malformed");
        if bytes.len() < max {
            self.refused("one byte follows", kind, &[bytes, &[0]].concat(), 0, "Trailing");
        }
        self.refused("one byte over the cap", kind, bytes, max + 1 - bytes.len(), "TooLong");
        for (comment, text) in [("an odd number of digits", "abc"), ("not hex digits", "0g")] {
            let (comment, kind, error) = (comment.into(), kind.into(), Some("NotHex".into()));
            self.0.push(EncodingCase { comment, kind, hex: text.into(), zeros: 0, value: None, error });
        }
    }
}

fn value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data serialises")
}

fn header() -> Header {
    Header {
        version: 1,
        prev_hash: BlockHash(counting(0x00)),
        state_root: StateRoot(counting(0x20)),
        tx_root: TxRoot(counting(0x40)),
        time: 0x0102_0304_0506_0708,
        bits: CompactTarget(0x1e00_ffff),
        nonce: 0x1122_3344,
    }
}

/// 32 bytes that count up, so that a reversed or shifted field shows.
fn counting(first: u8) -> [u8; 32] {
    std::array::from_fn(|i| first + i as u8)
}

fn transaction(memo: usize) -> Transaction {
    let (key, memo) = (SecretKey::dev(0), Memo((0..memo).map(|i| i as u8).collect()));
    let (amount, fee) = (Amount(0x0102_0304), Amount(1_000));
    TransactionBody { from: key.account(), to: AccountId(counting(0x60)), amount, fee, nonce: 7, memo }
        .sign(&main_params().chain_id(), &key)
}

fn body(transactions: Vec<Transaction>) -> Body {
    Body { reward_to: AccountId(counting(0x80)), transactions }
}

/// `encodings.json`.
pub fn encodings() -> VectorFile<EncodingCase> {
    let mut cases = Encodings::default();
    header_encodings(&mut cases);
    transaction_encodings(&mut cases);
    block_encodings(&mut cases);
    params_encodings(&mut cases);
    leaf_encodings(&mut cases);
    proof_encodings(&mut cases);
    let about = "The hex (with that many zero bytes after it) decodes as the kind to the value, whose encoding is the same \
                 bytes; or it is refused, for the named DecodeError.";
    VectorFile { about: about.into(), genesis: None, cases: cases.0 }
}

fn header_encodings(cases: &mut Encodings) {
    let bytes = header().to_bytes();
    cases.accepted("each field in its place", "header", &bytes, value(&header()));
    let extreme = Header { version: u32::MAX, time: u64::MAX, bits: CompactTarget(u32::MAX), nonce: 0, ..header() };
    cases.accepted("extreme values: encoding judges no rule", "header", &extreme.to_bytes(), value(&extreme));
    cases.refused_lengths("header", &bytes, HEADER_BYTES);
}

fn transaction_encodings(cases: &mut Encodings) {
    let max = MIN_TRANSACTION_BYTES + MAX_MEMO;
    for memo in [0, 1, MAX_MEMO] {
        let transaction = transaction(memo);
        cases.accepted(&format!("memo of {memo} bytes"), "transaction", &encode(&transaction), value(&transaction));
    }
    cases.refused_lengths("transaction", &encode(&transaction(0)), max);
    cases.refused("memo of 257 bytes: over the cap", "transaction", &encode(&transaction(257)), 0, "TooLong");
    let bytes = encode(&transaction(0));
    for (comment, length) in [("one byte", 1), ("2^32 bytes", 1 << 32), ("2^64 - 1 bytes", u64::MAX)] {
        let mut bytes = bytes.clone();
        bytes[88..96].copy_from_slice(&length.to_le_bytes());
        cases.refused(&format!("an empty memo that claims {comment}"), "transaction", &bytes, 0, "Malformed");
    }
    let mut shorter = encode(&transaction(1));
    shorter[88] = 0;
    cases.refused("a memo of one byte that claims none", "transaction", &shorter, 0, "Trailing");
}

fn block_encodings(cases: &mut Encodings) {
    let empty = Block { header: header(), body: body(vec![]) };
    let two = Block { header: header(), body: body(vec![transaction(0), transaction(3)]) };
    for (comment, block) in [("without transactions", &empty), ("with two transactions", &two)] {
        cases.accepted(comment, "block", &encode(block), value(block));
        cases.accepted(comment, "body", &encode(&block.body), value(&block.body));
    }
    cases.refused_lengths("block", &encode(&two), MAX_BLOCK_BYTES);
    cases.refused_lengths("body", &encode(&two.body), MAX_BLOCK_BYTES - HEADER_BYTES);
    let count = EMPTY_BLOCK_BYTES - 8;
    for (comment, claim) in [("one", 1), ("2^32", 1 << 32), ("2^64 - 1", u64::MAX)] {
        let mut bytes = encode(&empty);
        bytes[count..].copy_from_slice(&claim.to_le_bytes());
        cases.refused(&format!("no transactions, a count of {comment}"), "block", &bytes, 0, "Malformed");
    }
    let mut bytes = encode(&two);
    bytes[count] = 1;
    cases.refused("two transactions, a count of one", "block", &bytes, 0, "Trailing");
}

fn params_encodings(cases: &mut Encodings) {
    for params in [main_params(), dev_params(), params()] {
        cases.accepted(&params.name, "params", &encode(&params), genesis_value(&params));
    }
    let bytes = encode(&main_params());
    cases.refused_lengths("params", &bytes, 16 << 20);
    let mut kind = bytes.clone();
    kind[8 + 8] = 3;
    cases.refused("a fourth kind", "params", &kind, 0, "Malformed");
    let mut name = bytes.clone();
    name[8] = 0xff;
    cases.refused("a name that is not UTF-8", "params", &name, 0, "Malformed");
    let mut length = bytes;
    length[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    cases.refused("a name that claims 2^64 - 1 bytes", "params", &length, 0, "Malformed");
}

fn leaf_encodings(cases: &mut Encodings) {
    let account = Account { balance: Amount(0x0102_0304_0506_0708), nonce: 9 };
    cases.accepted("balance, nonce", "account", &encode(&account), value(&account));
    cases.refused_lengths("account", &encode(&account), 16);
    let reward = Reward { to: AccountId(counting(0)), amount: Amount(2_000_000_000) };
    cases.accepted("to, amount", "reward", &encode(&reward), value(&reward));
    cases.refused_lengths("reward", &encode(&reward), 40);
}

fn proof_encodings(cases: &mut Encodings) {
    let leaves = [
        Leaf::Account(Account { balance: Amount(5), nonce: 6 }),
        Leaf::Reward(Reward { to: AccountId(counting(1)), amount: Amount(7) }),
        Leaf::History(HistoryRoot(counting(2))),
    ];
    let proof = |leaf| StateProof {
        siblings: vec![Some(counting(3)), None, Some(counting(4))],
        terminal: Some((StateKey(counting(5)), leaf)),
    };
    let empty = StateProof { siblings: vec![], terminal: None };
    cases.accepted("an empty tree", "state-proof", &encode(&empty), value(&ProofValue::from(&empty)));
    for leaf in leaves {
        let (proof, kind) = (proof(leaf), LeafValue::from(leaf));
        let comment = format!("three siblings, the middle one empty, and the leaf {}", value(&kind));
        cases.accepted(&comment, "state-proof", &encode(&proof), value(&ProofValue::from(&proof)));
    }
    let deepest = StateProof { siblings: vec![Some([7; 32]); 256], terminal: proof(leaves[1]).terminal };
    let bytes = encode(&deepest);
    cases.accepted("as long as can be", "state-proof", &bytes, value(&ProofValue::from(&deepest)));
    let bytes = encode(&proof(leaves[0]));
    cases.refused_lengths("state-proof", &bytes, encode(&deepest).len());
    let mut presence = bytes.clone();
    presence[8] = 2;
    cases.refused("a presence byte of 2", "state-proof", &presence, 0, "Malformed");
    let mut kind = bytes.clone();
    kind[8 + 33 + 1 + 33 + 1 + 32] = 3;
    cases.refused("a fourth kind of leaf", "state-proof", &kind, 0, "Malformed");
    let mut count = bytes;
    count[..8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    cases.refused("a count of 2^60 siblings", "state-proof", &count, 0, "Malformed");

    for path in [vec![], vec![counting(6), counting(7)], vec![[7; 32]; 64]] {
        let proof = HistoryProof { path };
        let hashes: Vec<Hex> = proof.path.iter().map(|hash| Hex::from(*hash)).collect();
        let comment = format!("{} hashes", hashes.len());
        cases.accepted(&comment, "history-proof", &encode(&proof), value(&hashes));
    }
    cases.refused_lengths("history-proof", &encode(&HistoryProof { path: vec![counting(6)] }), 8 + 64 * 32);

    let ancestor = AncestorProof { history: proof(leaves[2]), path: HistoryProof { path: vec![counting(6)] } };
    let bytes = encode(&ancestor);
    cases.accepted("a state proof, a history proof", "ancestor-proof", &bytes, ancestor_value(&ancestor));
    cases.refused_lengths("ancestor-proof", &bytes, encode(&deepest).len() + 8 + 64 * 32);
}

/// An ancestor proof in JSON: a state proof and a list of hashes.
pub fn ancestor_value(proof: &AncestorProof) -> Value {
    let path: Vec<Hex> = proof.path.path.iter().map(|hash| Hex::from(*hash)).collect();
    json!({"history": ProofValue::from(&proof.history), "path": path})
}

/// A hash of some bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HashCase {
    /// What the input is.
    pub comment: String,
    /// A tag's name, or `sha256d`.
    pub function: String,
    /// What is hashed.
    pub input: Hex,
    /// The 32 bytes of the hash.
    pub output: Hex,
}

/// `hashes.json`.
pub fn hashes() -> VectorFile<HashCase> {
    let mut cases = Vec::new();
    let mut add = |comment: &str, function: &str, input: &[u8]| {
        let output = match TAGS.iter().find(|tag| tag.name() == function) {
            Some(tag) => tag.hash(&[input]),
            None => sha256d(input),
        };
        let (comment, function) = (comment.into(), function.into());
        cases.push(HashCase { comment, function, input: input.to_vec().into(), output: output.into() });
    };
    let message: Vec<u8> = (0..=255).collect();
    // Around the ends of SHA-256's blocks of 64 bytes and of its padding.
    for length in [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 256] {
        add(&format!("{length} bytes"), TAGS[0].name(), &message[..length]);
    }
    for tag in TAGS {
        add("the bytes 00 to 1f", tag.name(), &message[..32]);
    }
    let transaction = transaction(3);
    add("a header: the block hash", "sha256d", &header().to_bytes());
    add("a transaction's body: its txid", "drystone/txid", &encode(&transaction.body));
    add("a whole transaction: its wire id", "drystone/wire-id", &encode(&transaction));
    add("an account id: its state key", "drystone/account-key", &transaction.body.from.0);
    add("a height, 8 bytes little-endian: the state key of its reward", "drystone/reward-key", &513u64.to_le_bytes());
    add("nothing: the state key of the history root", "drystone/history-key", &[]);
    add("the main chain's parameters: prev_hash of its genesis", "drystone/params", &encode(&main_params()));
    add("the development chain's parameters", "drystone/params", &encode(&dev_params()));
    for index in [0, 9] {
        add("an index: the seed of a development key", "drystone/dev-key", &[index]);
    }
    let about = "output = function(input), where a tagged function is SHA256(SHA256(tag) || SHA256(tag) || input).";
    VectorFile { about: about.into(), genesis: None, cases }
}

/// A tree over a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TreeCase {
    /// `transactions` or `history`: which two tags.
    pub tree: String,
    /// The leaves before they are hashed.
    pub leaves: Vec<Hex>,
    /// The root.
    pub root: Hex,
    /// The path of each leaf, from its sibling upward.
    pub paths: Vec<Vec<Hex>>,
}

impl TreeCase {
    /// The tree that the case names.
    pub fn tree(&self) -> &'static MerkleTree {
        if self.tree == "history" { &HISTORY } else { &TRANSACTIONS }
    }
}

/// `merkle.json`.
pub fn trees() -> VectorFile<TreeCase> {
    let mut cases = Vec::new();
    for name in ["transactions", "history"] {
        for size in (0..=9u8).chain([16, 17]) {
            let leaves: Vec<Hex> = (0..size).map(|i| vec![i; i.into()].into()).collect();
            let mut case = TreeCase { tree: name.into(), leaves, root: Hex::default(), paths: vec![] };
            let hashes: Vec<[u8; 32]> = case.leaves.iter().map(|leaf| case.tree().leaf(&leaf.0)).collect();
            case.root = case.tree().root(&hashes).into();
            let path = |i| case.tree().path(&hashes, i).into_iter().map(Hex::from).collect();
            case.paths = (0..hashes.len()).map(path).collect();
            cases.push(case);
        }
    }
    VectorFile { about: "The root over the leaves, and the path of each.".into(), genesis: None, cases }
}

/// An address under a chain's prefix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AddressCase {
    /// What the case is about.
    pub comment: String,
    /// The chain's prefix.
    pub prefix: String,
    /// The text.
    pub address: String,
    /// The account, nothing where the text is refused.
    pub account: Option<AccountId>,
    /// The name of the `AddressError`.
    pub error: Option<String>,
}

/// Bech32 by its definition (BIP-173, BIP-350), also for what no address holds: any 5-bit values, any checksum constant.
fn bech32(prefix: &str, values: &[u8], constant: u32) -> String {
    const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let polymod = |values: &[u8]| {
        values.iter().fold(1u32, |checksum, value| {
            let generators = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3u32];
            let shifted = (checksum & 0x01ff_ffff) << 5 ^ u32::from(*value);
            let top = checksum >> 25;
            generators.iter().enumerate().filter(|(i, _)| top >> i & 1 == 1).fold(shifted, |sum, (_, term)| sum ^ term)
        })
    };
    let (high, low) = (prefix.bytes().map(|byte| byte >> 5), prefix.bytes().map(|byte| byte & 31));
    let mut all: Vec<u8> = high.chain([0]).chain(low).chain(values.iter().copied()).collect();
    all.extend([0; 6]);
    let checksum = polymod(&all) ^ constant;
    let checksum = (0..6).map(|i| (checksum >> (5 * (5 - i)) & 31) as u8);
    let characters = values.iter().copied().chain(checksum).map(|value| char::from(CHARSET[value as usize]));
    format!("{prefix}1{}", characters.collect::<String>())
}

/// Bytes as 5-bit values, the spare bits of the last one zero.
fn five_bits(bytes: &[u8]) -> Vec<u8> {
    let bit = |i: usize| bytes.get(i / 8).map_or(0, |byte| byte >> (7 - i % 8) & 1);
    (0..(bytes.len() * 8).div_ceil(5)).map(|i| (0..5).fold(0, |value, j| value << 1 | bit(5 * i + j))).collect()
}

const BECH32: u32 = 1;
const BECH32M: u32 = 0x2bc8_30a3;

/// Bech32m over any number of bytes.
pub(super) fn bech32m(prefix: &str, bytes: &[u8]) -> String {
    bech32(prefix, &five_bits(bytes), BECH32M)
}

/// `addresses.json`.
pub fn addresses() -> VectorFile<AddressCase> {
    let mut cases = Vec::new();
    let id = AccountId(counting(0xc0));
    let address = encode_address("dry", &id);
    let mut add = |comment: &str, prefix: &str, address: String, verdict: Result<AccountId, &str>| {
        let (account, error) = (verdict.ok(), verdict.err().map(str::to_owned));
        cases.push(AddressCase { comment: comment.into(), prefix: prefix.into(), address, account, error });
    };
    add("an account", "dry", address.clone(), Ok(id));
    add("all zeros", "dry", encode_address("dry", &AccountId([0; 32])), Ok(AccountId([0; 32])));
    add("all ones", "dry", encode_address("dry", &AccountId([0xff; 32])), Ok(AccountId([0xff; 32])));
    add("a development account", "tdry", encode_address("tdry", &super::account(0)), Ok(super::account(0)));
    let longest = "abcdefghijklmnop";
    add("the longest prefix", longest, encode_address(longest, &id), Ok(id));
    add("upper case", "dry", address.to_uppercase(), Ok(id));
    add("mixed case", "dry", address.replacen('d', "D", 1), Err("Malformed"));
    add("of another chain", "dry", encode_address("tdry", &id), Err("WrongPrefix"));
    add("its prefix starts with ours", "dry", encode_address("dryx", &id), Err("WrongPrefix"));
    add("31 bytes", "dry", bech32m("dry", &id.0[..31]), Err("WrongLength"));
    add("33 bytes", "dry", bech32m("dry", &[&id.0[..], &[0]].concat()), Err("WrongLength"));
    add("no bytes", "dry", bech32m("dry", &[]), Err("WrongLength"));
    add("a bech32 checksum", "dry", bech32("dry", &five_bits(&id.0), BECH32), Err("Malformed"));
    let mut padded = five_bits(&id.0);
    let last = padded.len() - 1;
    padded[last] |= 1;
    add("a spare bit is set", "dry", bech32("dry", &padded, BECH32M), Err("Malformed"));
    padded[last] &= !1;
    padded.push(0);
    padded.push(0);
    add("more than four spare bits", "dry", bech32("dry", &padded[..last + 2], BECH32M), Err("WrongLength"));
    add("two values too many", "dry", bech32("dry", &padded, BECH32M), Err("Malformed"));
    add("the last character is missing", "dry", address[..address.len() - 1].into(), Err("Malformed"));
    add("a character is doubled", "dry", format!("{address}q"), Err("Malformed"));
    add("a character outside the set", "dry", address.replacen('q', "b", 1), Err("Malformed"));
    add("a space before it", "dry", format!(" {address}"), Err("Malformed"));
    add("no separator", "dry", address.replacen('1', "", 1), Err("Malformed"));
    add("empty", "dry", String::new(), Err("Malformed"));
    let about = "The address is the account's under the prefix, or is refused for the named AddressError.";
    VectorFile { about: about.into(), genesis: None, cases }
}

/// An amount as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AmountCase {
    /// The text.
    pub text: String,
    /// `chips`, as JSON carries amounts, or `stones`, as people write them.
    pub unit: String,
    /// The amount, nothing where the text is refused.
    pub chips: Option<Amount>,
    /// The name of the `AmountError`.
    pub error: Option<String>,
}

/// `amounts.json`.
pub fn amounts() -> VectorFile<AmountCase> {
    let (stone, largest) = (CHIPS_PER_STONE, MAX_SUPPLY.0);
    let texts: &[(&str, &str, Result<u64, &str>)] = &[
        ("chips", "0", Ok(0)),
        ("chips", "1", Ok(1)),
        ("chips", "18446744073709551615", Ok(u64::MAX)),
        ("chips", "18446744073709551616", Err("TooLarge")),
        ("chips", "", Err("NotANumber")),
        ("chips", "01", Err("NotANumber")),
        ("chips", "00", Err("NotANumber")),
        ("chips", "+1", Err("NotANumber")),
        ("chips", "-1", Err("NotANumber")),
        ("chips", "1.0", Err("NotANumber")),
        ("chips", " 1", Err("NotANumber")),
        ("stones", "0", Ok(0)),
        ("stones", "1", Ok(stone)),
        ("stones", "12.5", Ok(12 * stone + stone / 2)),
        ("stones", "0.00000001", Ok(1)),
        ("stones", "0.000000001", Err("TooFine")),
        ("stones", "90071992.54740991", Ok(largest)),
        ("stones", "90071992.54740992", Err("TooLarge")),
        ("stones", "184467440738", Err("TooLarge")),
        ("stones", "99999999999999999999", Err("TooLarge")),
        ("stones", "", Err("NotANumber")),
        ("stones", ".5", Err("NotANumber")),
        ("stones", "1.", Err("NotANumber")),
        ("stones", "1.2.3", Err("NotANumber")),
        ("stones", "-1", Err("NotANumber")),
        ("stones", "1e3", Err("NotANumber")),
        ("stones", "1,5", Err("NotANumber")),
    ];
    let case = |(unit, text, verdict): &(&str, &str, Result<u64, &str>)| AmountCase {
        text: (*text).into(),
        unit: (*unit).into(),
        chips: verdict.ok().map(Amount),
        error: verdict.err().map(str::to_owned),
    };
    let about = "The text stands for the amount, or is refused for the named AmountError.";
    VectorFile { about: about.into(), genesis: None, cases: texts.iter().map(case).collect() }
}
