//! Penalty points of one peer, which fade with time.

use crate::engine::limits::SCORE_HALF_LIFE_MS;

/// Points keep this many bits after the point, so that small ones do not vanish in rounding.
const FRACTION_BITS: u32 = 16;

/// A half-life has 2^20 steps; at ten minutes each is 0.6 ms, less than the clock's own.
const STEP_BITS: u32 = 20;

/// One, with 63 bits after the point.
const ONE: u64 = 1 << 63;

/// 2^(-1/2), 2^(-1/4), ...: by how much points fall in a half, a quarter, ... of a half-life, 63 bits after the point. Each
/// is the root of the one before.
const ROOTS: [u64; STEP_BITS as usize] = {
    let mut roots = [0; STEP_BITS as usize];
    let (mut before, mut i) = (ONE / 2, 0);
    while i < roots.len() {
        before = ((before as u128) << 63).isqrt() as u64;
        roots[i] = before;
        i += 1;
    }
    roots
};

/// Points against a peer; at [`super::super::limits::BAN_SCORE`] it is banned. They fall by half every
/// [`SCORE_HALF_LIFE_MS`], smoothly, however often points are added: a rare offence that an honest node can commit as well
/// is forgotten, a habit is not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    /// Points at `since`, [`FRACTION_BITS`] after the point.
    points: u64,
    since: u64,
}

impl Score {
    /// Adds points and returns what there are now, never less than `points`.
    pub(crate) fn add(&mut self, now: u64, points: u32) -> u32 {
        if points > 0 {
            let points = self.decayed(now).saturating_add(u64::from(points) << FRACTION_BITS);
            *self = Score { points, since: now };
        }
        self.at(now)
    }

    /// The points at the Unix time `now` in milliseconds, rounded up, so that offences a moment apart count like offences
    /// at once. A clock that went back changes nothing.
    pub(crate) fn at(&self, now: u64) -> u32 {
        u32::try_from(self.decayed(now).div_ceil(1 << FRACTION_BITS)).unwrap_or(u32::MAX)
    }

    fn decayed(&self, now: u64) -> u64 {
        let elapsed = now.saturating_sub(self.since);
        let halvings = u32::try_from(elapsed / SCORE_HALF_LIFE_MS).unwrap_or(u32::MAX);
        let halved = self.points.checked_shr(halvings).unwrap_or(0);
        let steps = ((elapsed % SCORE_HALF_LIFE_MS) << STEP_BITS) / SCORE_HALF_LIFE_MS;
        // One factor first and one rounding after: later is then never more.
        let factor = (0..STEP_BITS)
            .filter(|i| steps >> (STEP_BITS - 1 - i) & 1 == 1)
            .fold(ONE, |factor, i| scale(factor, ROOTS[i as usize]));
        scale(halved, factor)
    }
}

/// `value * factor`, where `factor <= ONE`.
fn scale(value: u64, factor: u64) -> u64 {
    ((u128::from(value) * u128::from(factor)) >> 63) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::limits::BAN_SCORE;
    use proptest::prelude::*;

    const HALF: u64 = SCORE_HALF_LIFE_MS;

    #[test]
    fn points_fall_by_half_and_smoothly_between() {
        let mut score = Score::default();
        assert_eq!(score.at(7), 0);
        assert_eq!(score.add(1000, 80), 80);
        assert_eq!(score.at(1000 + HALF), 40);
        assert_eq!(score.at(1000 + HALF / 2), 57, "80 / sqrt 2 = 56.57");
        assert_eq!(score.at(1000 + 3 * HALF), 10);
        assert_eq!(score.at(u64::MAX), 0);
        assert_eq!(score.add(1000 + HALF, 10), 50);
    }

    #[test]
    fn adding_often_does_not_stop_the_decay() {
        let mut score = Score::default();
        score.add(0, 80);
        for minute in 1..=10 {
            score.add(minute * HALF / 10, 0);
        }
        assert_eq!(score.at(HALF), 40);
        // One point each second for two half-lives: at most 1 / (1 - 2^(-1/600)) = 866 together, not 1200.
        let mut score = Score::default();
        let last = (0..1200).map(|second| score.add(second * 1000, 1)).last();
        assert_eq!(last, Some(650), "866 * (1 - 1/4)");
    }

    #[test]
    fn one_proven_lie_is_enough_and_four_quarters_a_moment_apart_are_too() {
        for before in [0, 1, 99, u32::MAX] {
            let mut score = Score::default();
            score.add(5, before);
            assert!(score.add(HALF, BAN_SCORE) >= BAN_SCORE);
        }
        let mut score = Score::default();
        let last = (0..4).map(|i| score.add(i * 100, BAN_SCORE / 4)).last();
        assert_eq!(last, Some(BAN_SCORE));
    }

    #[test]
    fn a_clock_that_goes_back_keeps_points_and_heals() {
        let mut score = Score::default();
        score.add(HALF * 100, 80);
        assert_eq!(score.at(HALF), 80);
        assert_eq!(score.add(HALF, 10), 90);
        assert_eq!(score.at(2 * HALF), 45);
    }

    proptest! {
        #[test]
        fn scores_are_monotone_in_points_and_fade(
            offences in proptest::collection::vec((0..2 * HALF, 0..200u32, 0..200u32), 1..20),
            later in 0..HALF, latest in 0..HALF,
        ) {
            let (mut less, mut more, mut now) = (Score::default(), Score::default(), 0);
            for (wait, points, extra) in offences {
                now += wait;
                let (a, b) = (less.add(now, points), more.add(now, points + extra));
                prop_assert!(points <= a && a <= b);
                let (soon, late) = (now + later, now + later + latest);
                prop_assert!(less.at(soon) <= more.at(soon));
                prop_assert!(more.at(late) <= more.at(soon) && more.at(soon) <= b);
            }
        }
    }
}
