//! The parameters of a chain: one readable value that says everything in which networks differ.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::address::is_valid_prefix;
use crate::amount::{Amount, MAX_SUPPLY};
use crate::block::{EMPTY_BLOCK_BYTES, MAX_BLOCK_BYTES};
use crate::encode::{Encodable, encode};
use crate::hash::{BlockHash, PARAMS};
use crate::key::AccountId;
use crate::pow::CompactTarget;
use crate::subsidy;
use crate::transaction::{MAX_MEMO, MIN_TRANSACTION_BYTES};

/// What a network is for. It decides nothing in validation; nodes and wallets are more permissive away from `Main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainKind {
    /// Money: mines only with peers.
    Main,
    /// A public or private test network: mines alone.
    Test,
    /// A developer's own chain: mines alone, waits out the block interval, generates blocks on request.
    Dev,
}

/// An amount that exists from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Allocation {
    /// Who holds it.
    pub account: AccountId,
    /// How much.
    pub amount: Amount,
}

/// Everything that a genesis file fixes. Encoded in the order of the fields; times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainParams {
    /// What people call the chain; at most 32 printable ASCII characters.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// What it is for.
    pub kind: ChainKind,
    /// The genesis block's Unix time.
    pub time: u64,
    /// T: the time between blocks that difficulty steers toward.
    pub interval: u64,
    /// H: the response time of difficulty.
    pub response: u64,
    /// How far ahead of the local clock a block may be before it waits.
    pub max_future: u64,
    /// The easiest target.
    pub pow_limit: CompactTarget,
    /// The target of block 1.
    pub bits: CompactTarget,
    /// The reward of block 1 before fees.
    pub subsidy: Amount,
    /// Blocks between halvings of the subsidy.
    pub halving_interval: u64,
    /// Blocks before a reward can be spent.
    pub maturity: u64,
    /// The largest encoded block in bytes.
    pub max_block_bytes: u64,
    /// The least balance that a transfer may leave with its sender or recipient.
    pub account_reserve: Amount,
    /// The prefix of addresses.
    #[serde(deserialize_with = "text")]
    pub address_prefix: String,
    /// The balances of the genesis state, sorted by account, each account once.
    pub allocations: Vec<Allocation>,
}

/// Reads text byte by byte, as bincode reads no `String`: that it would allocate by its claimed length.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    if deserializer.is_human_readable() {
        return String::deserialize(deserializer);
    }
    String::from_utf8(Vec::deserialize(deserializer)?).map_err(D::Error::custom)
}

impl Encodable for ChainParams {
    const MAX_BYTES: usize = 16 << 20;
}

/// The rules that a range of heights obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The version that every header of the range carries.
    pub header_version: u32,
    /// The longest memo in bytes.
    pub max_memo: usize,
}

/// Every rule set with the first height that it governs, ascending. An upgrade is a line here.
const RULES: [(u64, Rules); 1] = [(0, Rules { header_version: 1, max_memo: MAX_MEMO })];

/// Why parameters cannot make a chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// `name` is empty, too long or not printable.
    #[error("name must be 1 to 32 printable ASCII characters")]
    Name,
    /// `interval` is zero or over a year.
    #[error("interval must be between 1 ms and one year")]
    Interval,
    /// `response` is below 60 intervals, or over a century.
    #[error("response must be at least 60 times interval and at most a century")]
    Response,
    /// `max_future` is over a tenth of `response`.
    #[error("max_future must be at most a tenth of response")]
    MaxFuture,
    /// `time` is after the first moment of the year 2200.
    #[error("time must be a Unix time in milliseconds before the year 2200")]
    Time,
    /// `pow_limit` does not round-trip through compact form.
    #[error("pow_limit {0} is not a canonical compact target")]
    PowLimit(CompactTarget),
    /// `bits` does not round-trip through compact form.
    #[error("bits {0} is not a canonical compact target")]
    Bits(CompactTarget),
    /// `bits` is easier than `pow_limit`.
    #[error("bits is easier than pow_limit")]
    BitsOverLimit,
    /// `halving_interval` is zero.
    #[error("halving_interval must be at least 1")]
    HalvingInterval,
    /// `maturity` is zero or absurd.
    #[error("maturity must be between 1 and 1,000,000 blocks")]
    Maturity,
    /// `max_block_bytes` holds not even one transaction, or more than any node decodes.
    #[error("max_block_bytes must be between {min} and {max}", min = MIN_MAX_BLOCK_BYTES, max = MAX_BLOCK_BYTES)]
    MaxBlockBytes,
    /// `account_reserve` is more than can ever exist, so that nobody could pay.
    #[error("account_reserve must be at most 2^53 - 1 chips")]
    AccountReserve,
    /// `address_prefix` is not 1 to 16 lower-case letters.
    #[error("address_prefix must be 1 to 16 lower-case ASCII letters")]
    AddressPrefix,
    /// Allocations out of order.
    #[error("allocations must be sorted by account id: number {0} is out of order")]
    AllocationOrder(usize),
    /// An account is allocated twice.
    #[error("allocations must name each account once: number {0} is a repetition")]
    AllocationTwice(usize),
    /// An allocation of nothing, which would leave no trace in the state.
    #[error("allocation number {0} is zero")]
    AllocationZero(usize),
    /// Allocations and all subsidies together exceed 2^53 - 1 chips.
    #[error("allocations and all subsidies together exceed 2^53 - 1 chips")]
    Supply,
}

const MIN_MAX_BLOCK_BYTES: usize = EMPTY_BLOCK_BYTES + MIN_TRANSACTION_BYTES + MAX_MEMO;
const YEAR_MS: u64 = 366 * 86_400_000;
const YEAR_2200_MS: u64 = 7_258_118_400_000;

impl ChainParams {
    /// The parameter hash that the genesis header carries as its parent.
    pub fn hash(&self) -> BlockHash {
        BlockHash(PARAMS.hash(&[&encode(self)]))
    }

    /// The rules for blocks of `height`: the one place where they are chosen.
    pub fn rules_at(&self, height: u64) -> &'static Rules {
        let index = RULES.partition_point(|(from, _)| *from <= height);
        &RULES[index - 1].1
    }

    /// The sum of the allocations.
    pub fn allocated(&self) -> Amount {
        Amount(self.allocations.iter().map(|allocation| allocation.amount.0).sum())
    }

    /// Refuses parameters that no chain can run on.
    pub fn check(&self) -> Result<(), ParamsError> {
        let canonical = |bits: CompactTarget| bits.to_target().is_ok_and(|target| target.to_compact() == bits);
        let require = |holds: bool, error: ParamsError| if holds { Ok(()) } else { Err(error) };

        let printable = self.name.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        require((1..=32).contains(&self.name.len()) && printable, ParamsError::Name)?;
        require(self.time <= YEAR_2200_MS, ParamsError::Time)?;
        require((1..=YEAR_MS).contains(&self.interval), ParamsError::Interval)?;
        require((60 * self.interval..=100 * YEAR_MS).contains(&self.response), ParamsError::Response)?;
        require(self.max_future <= self.response / 10, ParamsError::MaxFuture)?;
        require(canonical(self.pow_limit), ParamsError::PowLimit(self.pow_limit))?;
        require(canonical(self.bits), ParamsError::Bits(self.bits))?;
        require(self.bits.to_target().ok() <= self.pow_limit.to_target().ok(), ParamsError::BitsOverLimit)?;
        require(self.halving_interval >= 1, ParamsError::HalvingInterval)?;
        require((1..=1_000_000).contains(&self.maturity), ParamsError::Maturity)?;
        let block_bytes = MIN_MAX_BLOCK_BYTES as u64..=MAX_BLOCK_BYTES as u64;
        require(block_bytes.contains(&self.max_block_bytes), ParamsError::MaxBlockBytes)?;
        require(self.account_reserve <= MAX_SUPPLY, ParamsError::AccountReserve)?;
        require(is_valid_prefix(&self.address_prefix), ParamsError::AddressPrefix)?;
        self.check_allocations()?;
        self.check_supply()
    }

    fn check_allocations(&self) -> Result<(), ParamsError> {
        for (i, allocation) in self.allocations.iter().enumerate() {
            if allocation.amount == Amount::ZERO {
                return Err(ParamsError::AllocationZero(i));
            }
            let Some(previous) = i.checked_sub(1).map(|i| &self.allocations[i]) else { continue };
            if previous.account == allocation.account {
                return Err(ParamsError::AllocationTwice(i));
            }
            if previous.account > allocation.account {
                return Err(ParamsError::AllocationOrder(i));
            }
        }
        Ok(())
    }

    fn check_supply(&self) -> Result<(), ParamsError> {
        let allocated = self.allocations.iter().map(|allocation| u128::from(allocation.amount.0)).sum::<u128>();
        let total = allocated.saturating_add(subsidy::total_subsidy(self.subsidy, self.halving_interval));
        if total <= u128::from(MAX_SUPPLY.0) { Ok(()) } else { Err(ParamsError::Supply) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{DecodeError, decode};
    use crate::genesis::{dev_params, main_params};

    #[test]
    fn absurd_supplies_are_refused_and_not_added_up() {
        let absurd = ChainParams { subsidy: Amount(u64::MAX), halving_interval: u64::MAX, ..dev_params() };
        assert_eq!(absurd.check(), Err(ParamsError::Supply));
        let most = Allocation { account: AccountId([1; 32]), amount: Amount(u64::MAX) };
        assert_eq!(ChainParams { allocations: vec![most], ..main_params() }.check(), Err(ParamsError::Supply));
    }

    #[test]
    fn absurd_times_are_refused_and_not_added_up() {
        let absurd = |change: fn(&mut ChainParams)| {
            let mut params = main_params();
            change(&mut params);
            params.check()
        };
        assert_eq!(absurd(|params| params.interval = u64::MAX), Err(ParamsError::Interval));
        assert_eq!(absurd(|params| params.response = u64::MAX), Err(ParamsError::Response));
        assert_eq!(absurd(|params| params.max_future = u64::MAX), Err(ParamsError::MaxFuture));
        assert_eq!(absurd(|params| params.time = u64::MAX), Err(ParamsError::Time));
    }

    #[test]
    fn text_allocates_nothing_by_its_claimed_length() {
        assert_eq!(decode(&encode(&dev_params())), Ok(dev_params()));
        // More than the decoder may claim: only one that claims nothing finds that the bytes end.
        let bytes = (1u64 << 40).to_le_bytes();
        let Err(DecodeError::Malformed(reason)) = decode::<ChainParams>(&bytes) else { panic!("nothing to decode") };
        assert_eq!(reason, "the bytes end early");
        let mut bytes = encode(&dev_params());
        bytes[8] = 0xff;
        assert!(matches!(decode::<ChainParams>(&bytes), Err(DecodeError::Malformed(_))), "not UTF-8");
    }
}
