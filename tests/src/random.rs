//! Random numbers for tests and simulation: one small integer generator, the same on every machine.

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). A clone repeats it.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A generator of its own for one part of a program, so that the draws of one part do not shift those of another.
    pub fn part(&self, label: &str, number: u64) -> Random {
        let mut part = Random(self.0 ^ number.wrapping_mul(0x2545_f491_4f6c_dd1d));
        for byte in label.bytes() {
            part.0 = part.next() ^ u64::from(byte);
        }
        part
    }

    /// 64 random bits.
    #[allow(clippy::should_implement_trait, reason = "an endless generator is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One random bit.
    pub fn bit(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// A number below `bound`, which is not 0. The bias is below bound / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of a slice that is not empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// 32 random bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|word| *word = self.next().to_le_bytes());
        bytes
    }

    /// Puts a slice in random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// A waiting time with the mean `mean` and no memory: `-mean * ln(u)` for a uniform `u`, in integers alone.
    ///
    /// `ln` comes from the binary logarithm in 32 fractional bits, found bit by bit by squaring.
    pub fn exponential(&mut self, mean: u64) -> u64 {
        // u = draw / 2^64, in (0, 1).
        let draw = self.next() | 1;
        let whole = draw.leading_zeros();
        let mut mantissa = draw << whole;
        let mut fraction = 0u64;
        for bit in (0..32).rev() {
            let square = (u128::from(mantissa) * u128::from(mantissa)) >> 63;
            if square >> 64 == 1 {
                fraction |= 1 << bit;
                mantissa = (square >> 1) as u64;
            } else {
                mantissa = square as u64;
            }
        }
        // -log2(u) with 32 fractional bits; ln 2 = 0xb17217f7 / 2^32.
        let log2 = ((u64::from(whole) + 1) << 32) - fraction;
        let ln = (u128::from(log2) * 0xb172_17f7) >> 32;
        ((u128::from(mean) * ln) >> 32) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_times_have_their_mean_and_no_memory() {
        let mut random = Random::new(7);
        let times: Vec<u64> = (0..20_000).map(|_| random.exponential(1_000_000)).collect();
        let mean = times.iter().sum::<u64>() / 20_000;
        assert!((980_000..1_020_000).contains(&mean), "{mean}");
        // A share of 1/e outlives the mean, and the square of that twice the mean.
        let outlive = |bound| times.iter().filter(|time| **time > bound).count();
        assert!((7_100..7_600).contains(&outlive(1_000_000)), "{}", outlive(1_000_000));
        assert!((2_550..2_870).contains(&outlive(2_000_000)), "{}", outlive(2_000_000));
    }

    #[test]
    fn parts_differ_and_repeat() {
        let random = Random::new(1);
        assert_eq!(random.part("links", 1).next(), random.part("links", 1).next());
        assert_ne!(random.part("links", 1).next(), random.part("links", 2).next());
        assert_ne!(random.part("links", 1).next(), random.part("disks", 1).next());
        assert!((0..1000).all(|_| random.clone().between(3, 5) <= 5));
    }
}
