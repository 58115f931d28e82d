//! Genesis: the file that starts a chain, and the two embedded chains. The block and the state that follow from it are made
//! in `state/genesis.rs`, because the genesis header commits to a state.

use serde::{Deserialize, Serialize};

use crate::address::{AddressError, decode_address, encode_address};
use crate::amount::Amount;
use crate::key::SecretKey;
use crate::params::{Allocation, ChainKind, ChainParams, ParamsError};
use crate::pow::CompactTarget;

/// How many accounts the development chain funds.
pub const DEV_ACCOUNTS: u8 = 10;

/// A genesis file: [`ChainParams`] as people write them. Times in milliseconds, amounts decimal strings of chips, bits hex.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenesisFile {
    name: String,
    kind: ChainKind,
    time: u64,
    interval: u64,
    response: u64,
    max_future: u64,
    pow_limit: CompactTarget,
    bits: CompactTarget,
    subsidy: Amount,
    halving_interval: u64,
    maturity: u64,
    max_block_bytes: u64,
    account_reserve: Amount,
    address_prefix: String,
    allocations: Vec<FileAllocation>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAllocation {
    address: String,
    amount: Amount,
}

/// Why a file is not a genesis file.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// Not JSON, a field missing, unknown or of the wrong type.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// An allocation's address is wrong.
    #[error("allocation number {index}: {error}")]
    Address {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        error: AddressError,
    },
    /// The values cannot make a chain.
    #[error("{0}")]
    Params(#[from] ParamsError),
}

impl ChainParams {
    /// Reads and checks a genesis file.
    pub fn from_json(text: &str) -> Result<ChainParams, GenesisError> {
        let file: GenesisFile = serde_json::from_str(text)?;
        let mut params = ChainParams {
            name: file.name,
            kind: file.kind,
            time: file.time,
            interval: file.interval,
            response: file.response,
            max_future: file.max_future,
            pow_limit: file.pow_limit,
            bits: file.bits,
            subsidy: file.subsidy,
            halving_interval: file.halving_interval,
            maturity: file.maturity,
            max_block_bytes: file.max_block_bytes,
            account_reserve: file.account_reserve,
            address_prefix: file.address_prefix,
            allocations: Vec::new(),
        };
        params.check()?;
        for (index, allocation) in file.allocations.iter().enumerate() {
            let account = decode_address(&params.address_prefix, &allocation.address)
                .map_err(|error| GenesisError::Address { index, error })?;
            params.allocations.push(Allocation { account, amount: allocation.amount });
        }
        params.check()?;
        Ok(params)
    }

    /// Writes a genesis file that [`ChainParams::from_json`] reads back to the same parameters.
    pub fn to_json(&self) -> String {
        let allocations = self.allocations.iter().map(|allocation| FileAllocation {
            address: encode_address(&self.address_prefix, &allocation.account),
            amount: allocation.amount,
        });
        let file = GenesisFile {
            name: self.name.clone(),
            kind: self.kind,
            time: self.time,
            interval: self.interval,
            response: self.response,
            max_future: self.max_future,
            pow_limit: self.pow_limit,
            bits: self.bits,
            subsidy: self.subsidy,
            halving_interval: self.halving_interval,
            maturity: self.maturity,
            max_block_bytes: self.max_block_bytes,
            account_reserve: self.account_reserve,
            address_prefix: self.address_prefix.clone(),
            allocations: allocations.collect(),
        };
        serde_json::to_string_pretty(&file).expect("plain data serialises") + "\n"
    }
}

/// The parameters of the main chain, embedded; `genesis.json` at the root of the repository is the same in text.
pub fn main_params() -> ChainParams {
    ChainParams {
        name: "drystone".into(),
        kind: ChainKind::Main,
        time: 1_795_392_000_000,
        interval: 30_000,
        response: 3_600_000,
        max_future: 60_000,
        pow_limit: CompactTarget(0x1e00_ffff),
        bits: CompactTarget(0x1e00_ffff),
        subsidy: Amount(20 * crate::amount::CHIPS_PER_STONE),
        halving_interval: 2_102_400,
        maturity: 100,
        max_block_bytes: 2 << 20,
        account_reserve: Amount(crate::amount::CHIPS_PER_STONE / 1000),
        address_prefix: "dry".into(),
        allocations: Vec::new(),
    }
}

/// The parameters of the development chain, embedded: almost no work, one block a second, ten funded accounts.
pub fn dev_params() -> ChainParams {
    let fund = |index| Allocation {
        account: SecretKey::dev(index).account(),
        amount: Amount(10_000 * crate::amount::CHIPS_PER_STONE),
    };
    let mut allocations: Vec<_> = (0..DEV_ACCOUNTS).map(fund).collect();
    allocations.sort_unstable();
    ChainParams {
        name: "drystone-dev".into(),
        kind: ChainKind::Dev,
        interval: 1_000,
        response: 120_000,
        max_future: 2_000,
        pow_limit: CompactTarget(0x207f_ffff),
        bits: CompactTarget(0x207f_ffff),
        maturity: 10,
        address_prefix: "tdry".into(),
        allocations,
        ..main_params()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_round_trip() {
        for params in [main_params(), dev_params()] {
            assert_eq!(params.check(), Ok(()));
            assert_eq!(ChainParams::from_json(&params.to_json()).expect("reads back"), params);
        }
    }

    #[test]
    fn the_repository_file_is_the_main_chain() {
        assert_eq!(include_str!("../../genesis.json"), main_params().to_json());
    }

    #[test]
    fn every_parameter_changes_the_chain_id() {
        let main = main_params();
        let text = main.to_json();
        let original: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let changes = [
            ("name", serde_json::json!("other")),
            ("kind", serde_json::json!("test")),
            ("time", serde_json::json!(1)),
            ("interval", serde_json::json!(20_000)),
            ("response", serde_json::json!(4_000_000)),
            ("max_future", serde_json::json!(1)),
            ("pow_limit", serde_json::json!("1f00ffff")),
            ("bits", serde_json::json!("1d00ffff")),
            ("subsidy", serde_json::json!("1")),
            ("halving_interval", serde_json::json!(1)),
            ("maturity", serde_json::json!(1)),
            ("max_block_bytes", serde_json::json!(1 << 20)),
            ("account_reserve", serde_json::json!("0")),
            ("address_prefix", serde_json::json!("x")),
        ];
        for (field, value) in changes {
            let mut changed = original.clone();
            changed[field] = value;
            let params = ChainParams::from_json(&changed.to_string()).expect(field);
            assert_ne!(params.chain_id(), main.chain_id(), "{field}");
            changed.as_object_mut().expect("object").remove(field);
            assert!(ChainParams::from_json(&changed.to_string()).is_err(), "missing {field}");
        }
        let mut unknown = original;
        unknown["colour"] = serde_json::json!("grey");
        assert!(ChainParams::from_json(&unknown.to_string()).is_err());
    }
}
