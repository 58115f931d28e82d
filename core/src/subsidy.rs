//! The subsidy schedule: what a block creates, and how much exists.

use crate::amount::Amount;
use crate::params::ChainParams;

/// The subsidy of the block at `height`: halved every `halving_interval` blocks, counted from block 1; genesis earns nothing.
pub fn subsidy_at(params: &ChainParams, height: u64) -> Amount {
    if height == 0 {
        return Amount::ZERO;
    }
    let halvings = (height - 1) / params.halving_interval;
    Amount(if halvings < 64 { params.subsidy.0 >> halvings } else { 0 })
}

/// Every subsidy from block 1 to `height`, both included. Fees only move money, so allocations and this are all that exists.
pub fn subsidies_through(params: &ChainParams, height: u64) -> Amount {
    let mut total = 0;
    let mut left = height;
    for halvings in 0..64 {
        let blocks = left.min(params.halving_interval);
        total += (params.subsidy.0 >> halvings) * blocks;
        left -= blocks;
        if left == 0 || params.subsidy.0 >> halvings == 0 {
            break;
        }
    }
    Amount(total)
}

/// What an endless chain would create, in chips, without overflow for any parameters.
pub(crate) fn total_subsidy(subsidy: Amount, halving_interval: u64) -> u128 {
    (0..64).map(|halvings| u128::from(subsidy.0 >> halvings)).sum::<u128>().saturating_mul(u128::from(halving_interval))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis;

    #[test]
    fn the_schedule_halves_and_ends() {
        let params = genesis::main_params();
        let interval = params.halving_interval;
        assert_eq!(subsidy_at(&params, 0), Amount::ZERO);
        assert_eq!(subsidy_at(&params, 1), params.subsidy);
        assert_eq!(subsidy_at(&params, interval), params.subsidy);
        assert_eq!(subsidy_at(&params, interval + 1), Amount(params.subsidy.0 / 2));
        assert_eq!(subsidy_at(&params, 64 * interval + 1), Amount::ZERO);
        assert_eq!(subsidy_at(&params, u64::MAX), Amount::ZERO);
    }

    #[test]
    fn the_sum_is_the_sum() {
        let params = ChainParams { halving_interval: 7, subsidy: Amount(1000), ..genesis::main_params() };
        let mut sum = 0;
        for height in 0..200 {
            sum += subsidy_at(&params, height).0;
            assert_eq!(subsidies_through(&params, height), Amount(sum), "height {height}");
        }
        assert_eq!(u128::from(subsidies_through(&params, u64::MAX).0), total_subsidy(params.subsidy, 7));
    }
}
