//! Cases of genesis files: what each says, and each rule with its neighbour at the bound.

use drystone_core::address::encode_address;
use drystone_core::block::{EMPTY_BLOCK_BYTES, MAX_BLOCK_BYTES};
use drystone_core::encode::encode;
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::transaction::{MAX_MEMO, MIN_TRANSACTION_BYTES};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::encodings::bech32m;
use super::{Hex, VectorFile, account, genesis_value, params};

/// A genesis file and what follows from it, or why it makes no chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GenesisCase {
    /// What the case is about.
    pub comment: String,
    /// The file.
    pub file: Value,
    /// The encoded parameters, nothing where the file is refused.
    pub encoded: Option<Hex>,
    /// The root of the genesis state.
    pub state_root: Option<StateRoot>,
    /// The 116 bytes of the genesis header.
    pub header: Option<Hex>,
    /// The chain id.
    pub chain_id: Option<BlockHash>,
    /// The name of the `GenesisError`.
    pub error: Option<String>,
}

/// Cases in the making: changes to one good file.
struct Files {
    base: Value,
    cases: Vec<GenesisCase>,
}

impl Files {
    fn accepted(&mut self, comment: &str, file: Value) {
        let params = ChainParams::from_json(&file.to_string()).expect(comment);
        let genesis = params.genesis_block();
        self.cases.push(GenesisCase {
            comment: comment.into(),
            file,
            encoded: Some(encode(&params).into()),
            state_root: Some(genesis.header.state_root),
            header: Some(genesis.header.to_bytes().into()),
            chain_id: Some(params.chain_id()),
            error: None,
        });
    }

    fn refused(&mut self, comment: &str, file: Value, error: &str) {
        let (comment, error) = (comment.into(), Some(error.into()));
        let (encoded, state_root, header, chain_id) = (None, None, None, None);
        self.cases.push(GenesisCase { comment, file, encoded, state_root, header, chain_id, error });
    }

    fn with(&self, changes: &[(&str, Value)]) -> Value {
        let mut file = self.base.clone();
        for (field, value) in changes {
            file[*field] = value.clone();
        }
        file
    }

    /// A bound: the last value that passes and the first that does not.
    fn bound(&mut self, field: &str, passes: Value, fails: Value, error: &str) {
        let file = self.with(&[(field, passes.clone())]);
        self.accepted(&format!("{field} {passes}"), file);
        let file = self.with(&[(field, fails.clone())]);
        self.refused(&format!("{field} {fails}"), file, error);
    }
}

/// `genesis.json` of the vectors.
pub fn cases() -> VectorFile<GenesisCase> {
    let mut files = Files { base: genesis_value(&params()), cases: Vec::new() };
    files.accepted("the main chain", genesis_value(&main_params()));
    files.accepted("the development chain", genesis_value(&dev_params()));
    files.accepted("the chain of the vectors", genesis_value(&params()));
    shapes(&mut files);
    text_bounds(&mut files);
    time_bounds(&mut files);
    target_bounds(&mut files);
    money_bounds(&mut files);
    allocation_rules(&mut files);
    let about = "The file makes a chain with these encoded parameters, this genesis state root, header and chain id; or it \
                 is refused for the named GenesisError.";
    VectorFile { about: about.into(), genesis: None, cases: files.cases }
}

fn shapes(files: &mut Files) {
    for field in ["name", "time", "pow_limit", "allocations"] {
        let mut file = files.base.clone();
        file.as_object_mut().expect("an object").remove(field);
        files.refused(&format!("{field} is missing"), file, "Json");
    }
    for (comment, field, value) in [
        ("an unknown field", "colour", json!("grey")),
        ("an unknown kind", "kind", json!("regtest")),
        ("an amount that is a number", "subsidy", json!(1_000)),
        ("a negative amount", "subsidy", json!("-1")),
        ("an amount with a leading zero", "subsidy", json!("01")),
        ("a negative time", "time", json!(-1)),
        ("a fraction", "interval", json!(1_000.5)),
        ("a time as text", "time", json!("1700000000000")),
        ("bits of seven digits", "bits", json!("1e00fff")),
        ("bits as a number", "bits", json!(0x1e00_ffff)),
        ("no list", "allocations", json!({})),
        ("an unknown field of an allocation", "allocations", json!([{"address": "x", "amount": "1", "memo": ""}])),
    ] {
        let file = files.with(&[(field, value)]);
        files.refused(comment, file, "Json");
    }
    files.refused("not an object", json!([]), "Json");
    let file = files.with(&[("bits", json!("0x2000ffff"))]);
    files.accepted("bits may start with 0x", file);
}

fn text_bounds(files: &mut Files) {
    let of = |length| json!("n".repeat(length));
    files.bound("name", of(1), of(0), "Params.Name");
    files.bound("name", of(32), of(33), "Params.Name");
    files.bound("name", json!(" ~"), json!("\u{7f}"), "Params.Name");
    files.bound("name", json!("a b"), json!("a\tb"), "Params.Name");
    files.bound("name", json!("e"), json!("é"), "Params.Name");
    // Allocations carry the prefix, so these have none.
    files.base["allocations"] = json!([]);
    files.bound("address_prefix", of(1), of(0), "Params.AddressPrefix");
    files.bound("address_prefix", of(16), of(17), "Params.AddressPrefix");
    files.bound("address_prefix", json!("az"), json!("a1"), "Params.AddressPrefix");
    files.bound("address_prefix", json!("az"), json!("aZ"), "Params.AddressPrefix");
    files.base = genesis_value(&params());
}

fn time_bounds(files: &mut Files) {
    const YEAR: u64 = 366 * 86_400_000;
    files.bound("time", json!(7_258_118_400_000u64), json!(7_258_118_400_001u64), "Params.Time");
    files.bound("interval", json!(1), json!(0), "Params.Interval");
    let year = |interval: u64| [("interval", json!(interval)), ("response", json!(60 * YEAR))];
    let (passes, fails) = (files.with(&year(YEAR)), files.with(&year(YEAR + 1)));
    files.accepted("interval of a year", passes);
    files.refused("interval over a year", fails, "Params.Interval");
    files.bound("response", json!(60_000), json!(59_999), "Params.Response");
    files.bound("response", json!(100 * YEAR), json!(100 * YEAR + 1), "Params.Response");
    files.bound("max_future", json!(0), json!(6_001), "Params.MaxFuture");
    files.bound("max_future", json!(6_000), json!(u64::MAX), "Params.MaxFuture");
}

fn target_bounds(files: &mut Files) {
    for bits in ["00000000", "1d80ffff", "22000100", "1e0000ff", "03000001"] {
        let file = files.with(&[("pow_limit", json!(bits))]);
        files.refused(&format!("pow_limit {bits}"), file, "Params.PowLimit");
        let file = files.with(&[("bits", json!(bits))]);
        files.refused(&format!("bits {bits}"), file, "Params.Bits");
    }
    files.bound("pow_limit", json!("2100ffff"), json!("21010000"), "Params.PowLimit");
    files.bound("bits", json!("01010000"), json!("01000000"), "Params.Bits");
    files.bound("bits", json!("2000ffff"), json!("20010000"), "Params.BitsOverLimit");
}

fn money_bounds(files: &mut Files) {
    const LEAST: usize = EMPTY_BLOCK_BYTES + MIN_TRANSACTION_BYTES + MAX_MEMO;
    files.bound("halving_interval", json!(1), json!(0), "Params.HalvingInterval");
    files.bound("maturity", json!(1), json!(0), "Params.Maturity");
    files.bound("maturity", json!(1_000_000), json!(1_000_001), "Params.Maturity");
    files.bound("max_block_bytes", json!(LEAST), json!(LEAST - 1), "Params.MaxBlockBytes");
    files.bound("max_block_bytes", json!(MAX_BLOCK_BYTES), json!(MAX_BLOCK_BYTES + 1), "Params.MaxBlockBytes");
    files.bound("account_reserve", json!("0"), json!("18446744073709551615"), "Params.AccountReserve");
    files.bound("account_reserve", json!("9007199254740991"), json!("9007199254740992"), "Params.AccountReserve");

    // 2^53 - 1 chips in all, by subsidies alone and with one allocation.
    files.base["allocations"] = json!([]);
    files.base["halving_interval"] = json!(1);
    // The subsidy 2^52 halves to a sum of 2^53 - 1.
    files.bound("subsidy", json!("4503599627370496"), json!("4503599627370497"), "Params.Supply");
    files.base["subsidy"] = json!("1");
    files.bound("halving_interval", json!((1u64 << 53) - 1), json!(1u64 << 53), "Params.Supply");
    let allocate = |amount: &str| json!([allocation(&account(0), amount)]);
    files.bound("allocations", allocate("9007199254740990"), allocate("9007199254740991"), "Params.Supply");
    files.base["subsidy"] = json!("0");
    files.bound("allocations", allocate("9007199254740991"), allocate("9007199254740992"), "Params.Supply");
    let mut two = [account(0), account(1)];
    two.sort_unstable();
    let overflow = json!(two.map(|id| allocation(&id, "18446744073709551615")));
    let file = files.with(&[("allocations", overflow)]);
    files.refused("allocations over 64 bits in all", file, "Params.Supply");
    files.base = genesis_value(&params());
    let file = files.with(&[("subsidy", json!("18446744073709551615")), ("halving_interval", json!(u64::MAX))]);
    files.refused("subsidies over 128 bits in all", file, "Params.Supply");
}

fn allocation(id: &AccountId, amount: &str) -> Value {
    json!({"address": encode_address("vec", id), "amount": amount})
}

fn allocation_rules(files: &mut Files) {
    let mut ids = [account(0), account(1), account(2)];
    ids.sort_unstable();
    let of = |indices: [usize; 2]| json!(indices.map(|i| allocation(&ids[i], "1")));
    files.bound("allocations", of([0, 1]), of([1, 0]), "Params.AllocationOrder");
    files.bound("allocations", of([1, 2]), of([1, 1]), "Params.AllocationTwice");
    let amount = |amount| json!([allocation(&ids[0], amount)]);
    files.bound("allocations", amount("1"), amount("0"), "Params.AllocationZero");
    let addressed = |address: String| json!([{"address": address, "amount": "1"}]);
    let good = encode_address("vec", &ids[0]);
    let mistyped = format!("{}{}", &good[..good.len() - 1], if good.ends_with('q') { 'p' } else { 'q' });
    files.bound("allocations", addressed(good), addressed(mistyped), "Address.Malformed");
    let other = files.with(&[("allocations", addressed(encode_address("dry", &ids[0])))]);
    files.refused("an address of another chain", other, "Address.WrongPrefix");
    let short = files.with(&[("allocations", addressed(bech32m("vec", &[0; 20])))]);
    files.refused("an address of 20 bytes", short, "Address.WrongLength");
}
