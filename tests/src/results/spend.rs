//! Paying twice: how likely a payment with some confirmations is taken back by whoever has a part of the hash rate.
//!
//! The payer mines in secret from the block before the payment's, with one block in hand, and shows its branch when that has more
//! work (Rosenfeld, "Analysis of hashrate-based double-spending", 2014, arXiv:1402.2009). His formula counts blocks; here blocks have
//! the difficulty that core's rule gives each branch, and the branch with more work wins. The block in hand took an interval, in
//! which others found none: their first block is late by it, so their next ones have a little less work, and a branch that is level
//! with theirs mostly wins. That is the payee's worse case.

use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::genesis::main_params;
use drystone_core::params::ChainParams;

use super::network::in_parallel;
use super::plot::{Axis, Plot, Scale, Series, Style};
use super::{START, difficulty_of, unit, wait};
use crate::random::Random;

/// Attacks for each point.
const ATTACKS: u64 = 40_000;
/// Blocks by which whoever is behind gives up.
const HOPELESS: f64 = 40.0;

/// The probability that a payment with `confirmations` is taken back by `share` of the hash rate, where the branch must have `ahead`
/// blocks more than the others': Rosenfeld's formula with 1, and with 0 for one that wins when it is level.
pub fn rosenfeld(share: f64, confirmations: u32, ahead: u32) -> f64 {
    let (p, q) = (1.0 - share, share);
    if q >= p {
        return 1.0;
    }
    // The payer has found m blocks, and one before, when the payment is confirmed.
    let mut found = p.powi(confirmations as i32);
    let mut fails = 0.0;
    for m in 0..confirmations + ahead - 1 {
        let missing = confirmations + ahead - 1 - m;
        fails += found * (1.0 - (q / p).powi(missing as i32));
        found *= q * f64::from(m + confirmations) / f64::from(m + 1);
    }
    1.0 - fails
}

/// Which times the attacker writes into its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// When it found them.
    True,
    /// As early as the rules allow, so that each has a little more work than the one before.
    Early,
}

/// One branch: its last block, its work in blocks of the start.
#[derive(Clone, Copy)]
struct Branch {
    parent: ParentTimes,
    work: f64,
}

impl Branch {
    fn extend(&mut self, params: &ChainParams, time: u64) {
        self.work += difficulty_of(self.parent.bits);
        let ParentTimes { bits, height, time: before, .. } = self.parent;
        let time = time.max(before + 1);
        self.parent = ParentTimes { bits, height: height + 1, time, grandparent_time: before };
        self.parent.bits = next_bits(params, &self.parent);
    }
}

/// Of many attacks with `share` of the hash rate those that succeed, as a part of 1.
pub fn attacks(share: f64, confirmations: u32, times: Times, seed: u64, count: u64) -> f64 {
    let params = main_params();
    let mut random = Random::new(seed).part("spend", u64::from(confirmations) << 32 | (share * 1000.0) as u64);
    let (time, interval) = (params.time + params.interval, params.interval);
    let start =
        Branch { parent: ParentTimes { bits: START, height: 100, time, grandparent_time: time - interval }, work: 0.0 };
    let succeeded = (0..count).filter(|_| {
        let (mut honest, mut secret) = (start, start);
        let mut now = (time + interval) as f64;
        let date = |branch: &Branch, now: f64| match times {
            Times::True => now as u64,
            Times::Early => branch.parent.time + 1,
        };
        secret.extend(&params, date(&secret, now));
        let mut confirmed = 0;
        loop {
            if confirmed >= confirmations && secret.work > honest.work {
                return true;
            }
            if honest.work - secret.work > HOPELESS {
                return false;
            }
            // Both search at their own difficulty.
            let (theirs, own) =
                ((1.0 - share) / difficulty_of(honest.parent.bits), share / difficulty_of(secret.parent.bits));
            now += wait(&mut random, interval as f64 / (theirs + own));
            if unit(&mut random) * (theirs + own) < own {
                let time = date(&secret, now);
                secret.extend(&params, time);
            } else {
                honest.extend(&params, now as u64);
                confirmed += 1;
            }
        }
    });
    succeeded.count() as f64 / count as f64
}

/// The figure.
pub fn plots() -> Vec<Plot> {
    let shares = [0.1, 0.2, 0.3, 0.4];
    let confirmations: Vec<u32> = (1..=20).collect();
    let mut series = Vec::new();
    for share in shares {
        let formula = |ahead| confirmations.iter().map(|n| (f64::from(*n), rosenfeld(share, *n, ahead))).collect();
        let name = format!("{} % of the hash rate, by Rosenfeld's formula", share * 100.0);
        series.push(Series::new(name, Style::Line, formula(1)));
        if share == 0.3 {
            series.push(Series::new("30 %, if being level were enough", Style::Dashed, formula(0)));
        }
    }
    let places: Vec<(f64, u32)> =
        shares.iter().flat_map(|share| confirmations.iter().map(move |n| (*share, *n))).collect();
    for (times, name) in [(Times::True, "by Drystone's rules"), (Times::Early, "and with false times")] {
        let mut points = in_parallel(&places, |(share, n)| (f64::from(*n), attacks(*share, *n, times, 1, ATTACKS)));
        // Fewer are too few to count.
        points.retain(|(_, measured)| measured * ATTACKS as f64 >= 10.0);
        series.push(Series::new(name, Style::Dots, points));
    }
    vec![Plot {
        file: "double-spend",
        title: "A payment is taken back",
        x: Axis::new("confirmations", Scale::Linear, &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0]),
        y: Axis::new("probability", Scale::Log, &[0.0001, 0.001, 0.01, 0.1, 1.0]),
        series,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From his table 1.
    #[test]
    fn the_formula_gives_the_published_values() {
        for (share, confirmations, percent) in
            [(0.02, 1, 4.0), (0.1, 1, 20.0), (0.1, 2, 5.6), (0.1, 6, 0.059), (0.3, 6, 15.645), (0.4, 10, 37.218)]
        {
            let found = 100.0 * rosenfeld(share, confirmations, 1);
            assert!((found - percent).abs() < 0.001, "{share} {confirmations}: {found}");
        }
        assert_eq!(rosenfeld(0.5, 6, 1), 1.0);
    }

    /// Branches with as many blocks have not the same work, so that being level is enough now and then.
    #[test]
    fn attacks_succeed_as_often_as_if_being_level_were_sometimes_enough() {
        for (share, confirmations) in [(0.1, 2), (0.2, 4), (0.3, 6)] {
            let bound = |ahead| rosenfeld(share, confirmations, ahead);
            let [honest, early] =
                [Times::True, Times::Early].map(|times| attacks(share, confirmations, times, 7, 5_000));
            assert!(bound(1) < honest && honest < early && early < 1.05 * bound(0), "{honest} {early}");
        }
    }
}
