//! A token bucket: so much at once, so much each second after it.

/// What a bucket allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// How many at once.
    pub(crate) burst: u64,
    /// How many each second.
    pub(crate) per_second: u64,
}

impl Rate {
    /// This rate, several times over.
    pub(crate) fn times(self, factor: u64) -> Rate {
        Rate { burst: self.burst.saturating_mul(factor), per_second: self.per_second.saturating_mul(factor) }
    }
}

/// Over any time of `t` seconds at most `burst + t * per_second` tokens are taken. Tokens are counted in thousandths: a
/// millisecond then brings exactly `per_second` of them and no fraction is ever lost, however often it is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    /// Thousandths of tokens at `updated`.
    level: u64,
    updated: u64,
}

impl Bucket {
    /// A bucket that holds its whole burst.
    pub(crate) fn full(rate: Rate) -> Bucket {
        Bucket { rate, level: rate.burst.saturating_mul(1000), updated: 0 }
    }

    /// Follows a clock that went back, so that refilling goes on at once.
    pub(crate) fn follow(&mut self, now: u64) {
        self.updated = self.updated.min(now);
    }

    /// Takes `amount` tokens, or none and says no. More than the burst is never there.
    pub(crate) fn take(&mut self, now: u64, amount: u64) -> bool {
        self.follow(now);
        let enough = self.holds(now, amount);
        if enough {
            *self = Bucket { level: self.level_at(now) - amount.saturating_mul(1000), updated: now, ..*self };
        }
        enough
    }

    /// Whether `amount` tokens are there.
    pub(crate) fn holds(&self, now: u64, amount: u64) -> bool {
        self.level_at(now) >= amount.saturating_mul(1000)
    }

    /// Whether it holds its whole burst: nothing is remembered in it then.
    pub(crate) fn is_full(&self, now: u64) -> bool {
        self.missing(now) == 0
    }

    /// The thousandths of tokens that are missing to the whole burst.
    pub(crate) fn missing(&self, now: u64) -> u64 {
        self.rate.burst.saturating_mul(1000) - self.level_at(now)
    }

    fn level_at(&self, now: u64) -> u64 {
        let refilled = now.saturating_sub(self.updated).saturating_mul(self.rate.per_second);
        self.level.saturating_add(refilled).min(self.rate.burst.saturating_mul(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { burst: 10, per_second: 3 };

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::full(RATE);
        assert!(!bucket.take(5000, 11), "more than the burst is never there");
        assert!(bucket.take(5000, 10));
        assert!(!bucket.take(5000, 1));
        assert!(!bucket.take(5333, 1));
        assert!(bucket.take(5334, 1));
        assert!(!bucket.take(5666, 1));
        assert!(bucket.take(5667, 1), "asking in between lost no fraction");
        assert!(!bucket.is_full(5667));
        assert!(bucket.is_full(u64::MAX));
        assert!(bucket.take(u64::MAX, 10) && !bucket.take(u64::MAX, 1));
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let mut bucket = Bucket::full(RATE);
        assert!(bucket.take(100_000, 9));
        assert!(bucket.take(1000, 1) && !bucket.take(1000, 1));
        assert!(bucket.take(1334, 1) && !bucket.take(1334, 1), "and refilling goes on");
        assert!(!bucket.take(500, 1));
        assert!(bucket.take(834, 1) && !bucket.take(834, 1), "also where there was nothing to take");
    }

    #[test]
    fn extreme_rates_do_not_overflow() {
        let mut bucket = Bucket::full(Rate { burst: u64::MAX, per_second: u64::MAX }.times(2));
        assert!(bucket.take(u64::MAX, u64::MAX));
        let mut bucket = Bucket::full(Rate { burst: 0, per_second: 9 });
        assert!(bucket.take(1, 0) && !bucket.take(u64::MAX, 1));
    }

    proptest! {
        #[test]
        fn no_window_exceeds_the_rate(
            burst in 0..50u64, per_second in 0..50u64,
            asked in proptest::collection::vec((0..2000u64, 0..20u64), 1..40),
        ) {
            let mut bucket = Bucket::full(Rate { burst, per_second });
            let mut now = 0;
            let mut taken = Vec::new();
            for (wait, amount) in asked {
                now += wait;
                if bucket.take(now, amount) {
                    taken.push((now, amount));
                }
            }
            for (i, &(start, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for &(end, amount) in &taken[i..] {
                    sum += amount;
                    prop_assert!(sum * 1000 <= burst * 1000 + (end - start) * per_second);
                }
            }
        }
    }
}
