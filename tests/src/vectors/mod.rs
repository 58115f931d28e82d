//! Consensus cases as data: what `tests/vectors/` holds, for any implementation to run. Made from fixed keys.
//!
//! Every expected verdict is written down by hand where its case is built; every expected hash, root and target is
//! computed by the core once and pinned by the committed file. `cargo run -p drystone-tests --bin vectors` writes the files.

pub mod chains;
pub mod difficulty;
pub mod encodings;
pub mod parameters;
pub mod proofs;
pub mod rules;
pub mod stages;

use drystone_core::amount::Amount;
use drystone_core::block::Header;
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::genesis::dev_params;
use drystone_core::hash::BlockHash;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::{Allocation, ChainKind, ChainParams};
use drystone_core::pow::CompactTarget;
use drystone_core::transaction::{Memo, Transaction, TransactionBody};
use drystone_core::validation::check_header;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A file of cases.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VectorFile<C> {
    /// How to run a case.
    pub about: String,
    /// The chain that the cases live on, as a genesis file; nothing where they need none.
    pub genesis: Option<Value>,
    /// The cases.
    pub cases: Vec<C>,
}

impl<C: Serialize> VectorFile<C> {
    /// The file's text, one case a line.
    fn to_text(&self) -> String {
        let json = |value: &Value| serde_json::to_string(value).expect("plain data serialises");
        let about = json(&Value::from(self.about.as_str()));
        let genesis = json(self.genesis.as_ref().unwrap_or(&Value::Null));
        let line = |case| serde_json::to_string(case).expect("plain data serialises");
        let cases: Vec<String> = self.cases.iter().map(line).collect();
        format!("{{\n\"about\":{about},\n\"genesis\":{genesis},\n\"cases\":[\n{}\n]\n}}\n", cases.join(",\n"))
    }
}

/// Every file with its text, as it must be committed.
pub fn files() -> Vec<(&'static str, String)> {
    vec![
        ("encodings.json", encodings::encodings().to_text()),
        ("hashes.json", encodings::hashes().to_text()),
        ("merkle.json", encodings::trees().to_text()),
        ("addresses.json", encodings::addresses().to_text()),
        ("amounts.json", encodings::amounts().to_text()),
        ("targets.json", difficulty::targets().to_text()),
        ("wtema.json", difficulty::steps().to_text()),
        ("wtema_sequences.json", difficulty::sequences().to_text()),
        ("subsidy.json", difficulty::subsidies().to_text()),
        ("genesis.json", parameters::cases().to_text()),
        ("state_tree.json", proofs::state_tree().to_text()),
        ("proofs.json", proofs::refusals().to_text()),
        ("headers.json", stages::headers().to_text()),
        ("contexts.json", stages::contexts().to_text()),
        ("transactions.json", stages::transactions().to_text()),
        ("blocks.json", stages::blocks().to_text()),
        ("connect.json", stages::connections().to_text()),
        ("chains.json", chains::cases().to_text()),
    ]
}

/// Bytes, in JSON as hex.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::decode(String::deserialize(deserializer)?).map(Hex).map_err(serde::de::Error::custom)
    }
}

impl<const N: usize> From<[u8; N]> for Hex {
    fn from(bytes: [u8; N]) -> Hex {
        Hex(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Hex {
    fn from(bytes: Vec<u8>) -> Hex {
        Hex(bytes)
    }
}

/// The chain that most cases live on: small blocks, short maturity, a hash in 256 meets the easiest target.
pub fn params() -> ChainParams {
    let fund = |index, amount| Allocation { account: account(index), amount: Amount(amount) };
    let mut allocations = vec![fund(0, 1_000_000), fund(1, 500_000), fund(2, 1_000)];
    allocations.sort_unstable();
    ChainParams {
        name: "drystone-vectors".into(),
        kind: ChainKind::Test,
        time: 1_700_000_000_000,
        interval: 1_000,
        response: 60_000,
        max_future: 6_000,
        pow_limit: CompactTarget(0x2000_ffff),
        bits: CompactTarget(0x2000_ffff),
        subsidy: Amount(1_000),
        halving_interval: 6,
        maturity: 3,
        max_block_bytes: 1_000,
        account_reserve: Amount(100),
        address_prefix: "vec".into(),
        allocations,
    }
}

/// The genesis file of `params`, as a JSON value.
pub fn genesis_value(params: &ChainParams) -> Value {
    serde_json::from_str(&params.to_json()).expect("a genesis file is JSON")
}

/// The account of a development key.
pub fn account(index: u8) -> AccountId {
    SecretKey::dev(index).account()
}

/// A signed transfer from the account of a development key.
fn transfer(chain_id: &BlockHash, from: u8, to: AccountId, amount: u64, fee: u64, nonce: u64) -> Transaction {
    with_memo(chain_id, from, to, amount, fee, nonce, 0)
}

/// A signed transfer with a memo of this many bytes.
fn with_memo(
    chain_id: &BlockHash,
    from: u8,
    to: AccountId,
    amount: u64,
    fee: u64,
    nonce: u64,
    memo: usize,
) -> Transaction {
    let memo = Memo((0..memo).map(|i| i as u8).collect());
    TransactionBody { from: account(from), to, amount: Amount(amount), fee: Amount(fee), nonce, memo }
        .sign(chain_id, &SecretKey::dev(from))
}

/// The first nonce from the header's own on with which it meets its target.
fn mined(header: Header, params: &ChainParams) -> Header {
    let with = |nonce| Header { nonce, ..header };
    (header.nonce..=u32::MAX)
        .map(with)
        .find(|header| check_header(*header, params).is_ok())
        .expect("the target is easy")
}

/// The first nonce from the header's own on with which it misses its target.
fn missed(header: Header, params: &ChainParams) -> Header {
    let with = |nonce| Header { nonce, ..header };
    (header.nonce..=u32::MAX).map(with).find(|header| check_header(*header, params).is_err()).expect("most do")
}

/// The bits of the block after these headers of a chain, genesis first.
fn bits_after(params: &ChainParams, headers: &[Header]) -> CompactTarget {
    let parent = headers[headers.len() - 1];
    let grandparent_time = headers[headers.len().saturating_sub(2)].time;
    let height = headers.len() as u64 - 1;
    next_bits(params, &ParentTimes { bits: parent.bits, height, time: parent.time, grandparent_time })
}

/// The development chain with its time and targets replaced: what the difficulty rule reads.
fn timed(interval: u64, response: u64, pow_limit: u32, bits: u32) -> ChainParams {
    let (pow_limit, bits) = (CompactTarget(pow_limit), CompactTarget(bits));
    ChainParams { interval, response, max_future: response / 10, pow_limit, bits, ..dev_params() }
}
