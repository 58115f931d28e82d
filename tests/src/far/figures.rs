//! Percentiles, and numbers as people read them.

/// The value that `percent` of all values do not exceed, by the nearest rank; nothing of nothing.
pub fn percentile(values: &[u64], percent: usize) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (percent * sorted.len()).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Microseconds as milliseconds with one digit behind the point.
pub fn ms(microseconds: u64) -> String {
    format!("{:.1}", microseconds as f64 / 1_000.0)
}

/// `50 %`, `95 %` and the largest of some times in microseconds, in milliseconds.
pub fn spread(values: &[u64]) -> String {
    let of = |percent| percentile(values, percent).map_or("-".into(), ms);
    format!("p50 {} ms, p95 {} ms, max {} ms", of(50), of(95), of(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let values: Vec<u64> = (1..=20).rev().collect();
        assert_eq!([50, 95, 100].map(|percent| percentile(&values, percent)), [Some(10), Some(19), Some(20)]);
        assert_eq!(percentile(&[7], 50), Some(7));
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(spread(&[1_500, 100]), "p50 0.1 ms, p95 1.5 ms, max 1.5 ms");
    }
}
