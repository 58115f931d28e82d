//! The difficulty rule: WTEMA, a moving average of targets weighted by block time.
//!
//! `target' = target * (H - T + t) / H` with T the block interval, H the response time and t the time between the
//! parent and the grandparent, at most 4H. Chosen over ASERT because it needs no height and because a network that slept
//! does not wake to a burst of blocks at minimum difficulty: a single gap, however long, at most multiplies the target
//! by `(5H - T) / H`, less than five. What remains is a burst of about H/T times ln 5 blocks more than the usual pace gives
//! (193 on the main chain) until the target has fallen back. Timestamps strictly increase, so t >= 1 and no block can make
//! time negative.

use ruint::aliases::{U256, U512};

use crate::params::ChainParams;
use crate::pow::{CompactTarget, Target};

/// The times that the rule reads, in milliseconds, and the target that it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentTimes {
    /// The parent's target.
    pub bits: CompactTarget,
    /// The parent's height.
    pub height: u64,
    /// The parent's time.
    pub time: u64,
    /// The grandparent's time; of no effect below height 2.
    pub grandparent_time: u64,
}

/// The bits that the child of `parent` must carry.
///
/// Block 1 takes the genesis bits. Block 2 uses t = T, because the genesis block was not mined.
pub fn next_bits(params: &ChainParams, parent: &ParentTimes) -> CompactTarget {
    let elapsed = match parent.height {
        0 => return params.bits,
        1 => params.interval,
        _ => parent.time.saturating_sub(parent.grandparent_time).min(4 * params.response),
    };
    let target = parent.bits.to_target().expect("the parent's bits were checked").value();
    let limit = params.pow_limit.to_target().expect("parameters were checked").value();
    let scaled =
        U512::from(target) * U512::from(params.response - params.interval + elapsed) / U512::from(params.response);
    let next = if scaled > U512::from(limit) { limit } else { scaled.to::<U256>() };
    Target::new(next).to_compact()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis;

    #[test]
    fn steady_blocks_keep_the_target_and_a_nap_moves_it_less_than_fivefold() {
        let params = genesis::main_params();
        let hard = CompactTarget(0x1b00_ffff);
        let next = |elapsed| {
            next_bits(&params, &ParentTimes { bits: hard, height: 9, time: 10 + elapsed, grandparent_time: 10 })
        };
        assert_eq!(next(params.interval), hard);
        assert!(next(params.interval + 1000) > hard);
        assert!(next(params.interval - 1000) < hard);
        assert_eq!(next(4 * params.response), next(u64::MAX - 10));
        let ratio = next(u64::MAX - 10).to_target().expect("valid").value() / hard.to_target().expect("valid").value();
        assert_eq!(ratio, U256::from(4u64));
    }

    #[test]
    fn the_first_blocks_and_the_limit() {
        let params = genesis::main_params();
        let times = |bits, height, time| ParentTimes { bits, height, time, grandparent_time: 0 };
        assert_eq!(next_bits(&params, &times(CompactTarget(0x1b00_ffff), 0, 0)), params.bits);
        let hard = CompactTarget(0x1b00_ffff);
        assert_eq!(next_bits(&params, &times(hard, 1, u64::MAX)), hard);
        assert_eq!(next_bits(&params, &times(params.pow_limit, 2, u64::MAX)), params.pow_limit);
        let hardest = CompactTarget(0x0101_0000);
        assert_eq!(next_bits(&params, &times(hardest, 2, 1)), hardest);
    }
}
