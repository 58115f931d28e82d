//! Fee rates as exact fractions, and the floor that rises after eviction and decays.

use std::cmp::Ordering;

use drystone_core::amount::Amount;
use drystone_core::transaction::Transaction;

use super::Limits;

/// A fee over the bytes that it pays for. Ordered and equal as fractions, without rounding.
#[derive(Clone, Copy, Debug)]
pub struct FeeRate {
    fee: Amount,
    bytes: u64,
}

impl FeeRate {
    /// What a transaction pays for each of its encoded bytes.
    pub fn of(transaction: &Transaction) -> FeeRate {
        FeeRate { fee: transaction.body.fee, bytes: transaction.encoded_len() as u64 }
    }

    /// Chips for each 1,000 bytes, rounded up, for display and floors.
    pub fn per_1000_bytes(self) -> Amount {
        saturate((u128::from(self.fee.0) * 1000).div_ceil(u128::from(self.bytes)))
    }

    /// The least fee by which `bytes` pay a strictly higher rate.
    pub fn fee_above(self, bytes: u64) -> Amount {
        saturate(u128::from(self.fee.0) * u128::from(bytes) / u128::from(self.bytes) + 1)
    }
}

impl Ord for FeeRate {
    fn cmp(&self, other: &FeeRate) -> Ordering {
        let cross = |a: &FeeRate, b: &FeeRate| u128::from(a.fee.0) * u128::from(b.bytes);
        cross(self, other).cmp(&cross(other, self))
    }
}

impl PartialOrd for FeeRate {
    fn partial_cmp(&self, other: &FeeRate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FeeRate {
    fn eq(&self, other: &FeeRate) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for FeeRate {}

/// The least fee for `bytes` at `rate` chips for each 1,000 bytes.
pub fn fee_at(rate: Amount, bytes: u64) -> Amount {
    saturate((u128::from(rate.0) * u128::from(bytes)).div_ceil(1000))
}

/// Amounts past 64 bits exceed every supply; the largest amount says the same.
pub(super) fn saturate(chips: u128) -> Amount {
    Amount(u64::try_from(chips).unwrap_or(u64::MAX))
}

/// The fee rate below which nothing is taken. What was evicted must not come back at the same price at once, so the floor
/// rises above it, then falls by half every [`Limits::floor_half_life`] until the relay minimum.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    raised: Amount,
    since: u64,
}

impl Floor {
    /// The floor at the Unix time `now` in milliseconds, in chips for each 1,000 bytes.
    pub(super) fn at(&self, now: u64, limits: &Limits) -> Amount {
        let elapsed = now.saturating_sub(self.since);
        let half_life = limits.floor_half_life.max(1);
        let halved = u32::try_from(elapsed / half_life).ok().and_then(|halvings| self.raised.0.checked_shr(halvings));
        let from = u128::from(halved.unwrap_or(0));
        // Between two halvings it falls in a straight line.
        let fallen = from / 2 * u128::from(elapsed % half_life) / u128::from(half_life);
        saturate(from - fallen).max(limits.relay_fee_rate)
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, by: u64) {
        self.since = self.since.saturating_sub(by);
    }

    /// Rises one step above `evicted`, if that is higher than where the floor stands.
    pub(super) fn rise_above(&mut self, evicted: FeeRate, now: u64, limits: &Limits) {
        let raised = Amount(evicted.per_1000_bytes().0.saturating_add(limits.relay_fee_rate.0));
        if raised > self.at(now, limits) {
            *self = Floor { raised, since: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(fee: u64, bytes: u64) -> FeeRate {
        FeeRate { fee: Amount(fee), bytes }
    }

    #[test]
    fn rates_compare_as_fractions() {
        assert_eq!(rate(1, 2), rate(2, 4));
        assert!(rate(1, 3) < rate(334, 1000));
        assert!(rate(u64::MAX, 416) > rate(u64::MAX - 1, 416));
        assert!(rate(u64::MAX - 1, 415) > rate(u64::MAX, 416));
    }

    #[test]
    fn the_fee_above_a_rate_is_the_least() {
        for (fee, bytes, mine) in [(0, 160, 160), (160, 160, 416), (1000, 161, 416), (7, 416, 160)] {
            let above = rate(fee, bytes).fee_above(mine);
            assert!(rate(above.0, mine) > rate(fee, bytes));
            assert!(rate(above.0 - 1, mine) <= rate(fee, bytes));
        }
        assert_eq!(rate(u64::MAX, 1).fee_above(416), Amount(u64::MAX));
    }

    #[test]
    fn the_floor_rises_and_decays() {
        let limits = Limits { relay_fee_rate: Amount(100), floor_half_life: 1000, ..Limits::default() };
        let mut floor = Floor::default();
        assert_eq!(floor.at(5, &limits), Amount(100));
        floor.rise_above(rate(900, 1000), 10_000, &limits);
        let at = |floor: &Floor, now| floor.at(now, &limits).0;
        assert_eq!(at(&floor, 10_000), 1000);
        assert_eq!(at(&floor, 9_000), 1000, "a clock that goes back makes it no higher");
        let mut back = floor;
        back.set_back(1_000);
        assert_eq!(at(&back, 9_500), 750, "it falls on from there");
        assert_eq!(at(&floor, 10_500), 750);
        assert_eq!(at(&floor, 11_000), 500);
        assert_eq!(at(&floor, 12_000), 250);
        assert_eq!(at(&floor, 14_000), 100);
        assert_eq!(at(&floor, u64::MAX), 100);
        floor.rise_above(rate(300, 1000), 11_000, &limits);
        assert_eq!(at(&floor, 11_000), 500, "a lower eviction leaves it");
        floor.rise_above(rate(401, 1000), 11_000, &limits);
        assert_eq!(at(&floor, 11_000), 501);
        floor.rise_above(rate(u64::MAX, 1), 11_000, &limits);
        assert_eq!(at(&floor, 11_000), u64::MAX);
    }
}
