//! Paying twice: how likely a payment with some confirmations is taken back by whoever has a part of the hash rate.
//!
//! The payer mines in secret from the block before the payment's, with some blocks in hand, and shows its branch when that has
//! more work (Rosenfeld, "Analysis of hashrate-based double-spending", 2014, arXiv:1402.2009). His formula counts blocks; here
//! blocks have the difficulty that core's rule gives each branch, and the branch with more work wins. The last block in hand took an
//! interval, in which others found none: their first block is late by it, so their next ones have a little less work, and a
//! branch that is level with theirs mostly wins. That is the payee's worse case.

use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::genesis::main_params;
use drystone_core::params::ChainParams;

use super::network::in_parallel;
use super::plot::{Axis, Plot, Scale, Series, Style, short};
use super::{START, difficulty_of, unit, wait};
use crate::random::Random;

/// Attacks for each point: enough for the second digit.
const ATTACKS: u64 = 4_000;
/// More confirmations are asked of nobody.
pub const MOST_CONFIRMATIONS: u32 = 1_000;

/// The probability that a payment with `confirmations` is taken back by `share` of the hash rate, where the branch must have
/// `ahead` blocks more than the others': Rosenfeld's formula with 1, and with 0 for one that wins when it is level.
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

/// How somebody goes about it.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// The payer's part of the hash rate.
    pub share: f64,
    /// Blocks in hand when the payment is made, one or more. Whoever mines in secret all the time and pays when it has so many
    /// picks the moment: with k of them the part (q / p)^k of all time.
    pub lead: u32,
    /// What it writes into its blocks.
    pub times: Times,
    /// How slowly the difficulty follows, in intervals.
    pub response: u64,
}

impl Attack {
    /// With one block in hand and false times, on the main chain.
    pub fn new(share: f64) -> Attack {
        let main = main_params();
        Attack { share, lead: 1, times: Times::Early, response: main.response / main.interval }
    }
}

/// One branch: its last block, its work and the difficulty of its next block, both in blocks of the start.
#[derive(Clone, Copy)]
struct Branch {
    parent: ParentTimes,
    work: f64,
    difficulty: f64,
}

impl Branch {
    fn extend(&mut self, params: &ChainParams, time: u64) {
        self.work += self.difficulty;
        let ParentTimes { bits, height, time: before, .. } = self.parent;
        let time = time.max(before + 1);
        self.parent = ParentTimes { bits, height: height + 1, time, grandparent_time: before };
        self.parent.bits = next_bits(params, &self.parent);
        self.difficulty = difficulty_of(self.parent.bits);
    }
}

/// The probability that an attack succeeds on a payment with so many confirmations, and its standard error, from `count` of them.
///
/// Few would succeed, so the payer finds more blocks here than its hash rate gives it; every attack succeeds, and counts by its
/// likelihood ratio: importance sampling, tilted as for random walks (Asmussen and Glynn, "Stochastic Simulation", 2007, chapter
/// VI). With false times the difficulty of the secret branch rises without end, so that who never gives up succeeds at last with
/// any share (Bahack 2013, arXiv:1312.7013). So late a success is hardly ever drawn and not counted; from 43 % of the hash rate on
/// it begins to matter, and the result is too low.
///
/// # Panics
/// If the payer has half of the hash rate.
pub fn attacks(attack: Attack, confirmations: u32, seed: u64, count: u64) -> (f64, f64) {
    let Attack { share, lead, times, response } = attack;
    assert!(share < 0.5, "{share} of the hash rate");
    let main = main_params();
    let params = ChainParams { response: response * main.interval, ..main };
    let mut random = Random::new(seed).part("spend", u64::from(confirmations) << 32 | (share * 1000.0) as u64);
    let (time, interval) = (params.time + params.interval, params.interval);
    let parent = ParentTimes { bits: START, height: 100, time, grandparent_time: time - interval };
    let start = Branch { parent, work: 0.0, difficulty: 1.0 };
    let weigh = |_| {
        let (mut honest, mut secret) = (start, start);
        let mut now = (time + interval) as f64;
        let date = |branch: &Branch, now: f64| match times {
            Times::True => now as u64,
            Times::Early => branch.parent.time + 1,
        };
        for _ in 0..lead {
            secret.extend(&params, date(&secret, now));
        }
        let (mut confirmed, mut weight) = (0, 1.0);
        loop {
            if confirmed >= confirmations && secret.work > honest.work {
                return weight;
            }
            // Both search at their own difficulty.
            let (theirs, own) = (honest.difficulty, secret.difficulty);
            now += wait(&mut random, interval as f64 / ((1.0 - share) / theirs + share / own));
            let wins = |share: f64| share / own / (share / own + (1.0 - share) / theirs);
            // As if the two had the same hash rate until the payment is confirmed, and as if they had changed places then.
            let tilted = wins(if confirmed < confirmations { 0.5 } else { 1.0 - share });
            if unit(&mut random) < tilted {
                weight *= wins(share) / tilted;
                let time = date(&secret, now);
                secret.extend(&params, time);
            } else {
                weight *= (1.0 - wins(share)) / (1.0 - tilted);
                honest.extend(&params, now as u64);
                confirmed += 1;
            }
        }
    };
    let (sum, squares) =
        (0..count).map(weigh).fold((0.0, 0.0), |(sum, squares), weight: f64| (sum + weight, squares + weight * weight));
    let mean = sum / count as f64;
    (mean, ((squares / count as f64 - mean * mean) / count as f64).sqrt())
}

/// The fewest confirmations after which an attack takes a payment back with a probability below `risk`, with two standard errors to
/// spare; nothing where a thousand are too few, or for half of the hash rate.
pub fn enough(attack: Attack, risk: f64) -> Option<u32> {
    let safe = |confirmations: u32| {
        let (mean, error) = attacks(attack, confirmations, 1, ATTACKS);
        mean + 2.0 * error < risk
    };
    if attack.share >= 0.5 {
        return None;
    }
    // Twice as many each time, because many take long to try.
    let (mut few, mut many) = (0, 1);
    while !safe(many) {
        if many == MOST_CONFIRMATIONS {
            return None;
        }
        (few, many) = (many, (2 * many).min(MOST_CONFIRMATIONS));
    }
    while many - few > 1 {
        let middle = few.midpoint(many);
        if safe(middle) { many = middle } else { few = middle }
    }
    Some(many)
}

/// The figures: the probability by the number of confirmations, and the number by the hash rate.
pub fn plots() -> Vec<Plot> {
    let shares = [0.1, 0.2, 0.3, 0.4];
    let confirmations: Vec<u32> = (1..=40).collect();
    let mut series = Vec::new();
    for (times, name) in [(Times::Early, "with false times"), (Times::True, "with true times")] {
        for (place, share) in shares.into_iter().enumerate() {
            let attack = Attack { times, ..Attack::new(share) };
            let points = in_parallel(&confirmations, |n| (f64::from(*n), attacks(attack, *n, 1, ATTACKS).0));
            let style = if times == Times::Early { Style::Line } else { Style::Dots };
            series
                .push(Series::new(format!("{} % of the hash rate, {name}", share * 100.0), style, points).like(place));
        }
    }
    for (place, share) in shares.into_iter().enumerate() {
        let formula = confirmations.iter().map(|n| (f64::from(*n), rosenfeld(share, *n, 1))).collect();
        let name = format!("{} %, by Rosenfeld's formula", share * 100.0);
        series.push(Series::new(name, Style::Dashed, formula).like(place));
    }
    let percents = [1.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0];
    let asked = [(0.01, 1), (0.001, 1), (0.0001, 1), (0.001, 5)].map(|(risk, lead)| {
        let attack = |percent: f64| Attack { lead, ..Attack::new(percent / 100.0) };
        let counts = in_parallel(&percents, |percent| (*percent, enough(attack(*percent), risk)));
        let points = counts.into_iter().filter_map(|(percent, count)| Some((percent, f64::from(count?)))).collect();
        let name = format!("for a risk below {} %", short(risk * 100.0));
        match lead {
            1 => Series::new(name, Style::Line, points),
            _ => Series::new(format!("{name}, of a payer with {lead} blocks in hand"), Style::Dashed, points),
        }
    });
    // Far below the axis.
    series.iter_mut().for_each(|series| series.points.retain(|(_, probability)| *probability > 1e-6));
    vec![
        Plot {
            file: "double-spend",
            title: "A payment is taken back",
            x: Axis::new("confirmations", Scale::Linear, &[0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]),
            y: Axis::new("probability", Scale::Log, &[0.0001, 0.001, 0.01, 0.1, 1.0]),
            series,
        },
        Plot {
            file: "confirmations",
            title: "Confirmations that are enough",
            x: Axis::new("the payer's part of the hash rate, %", Scale::Linear, &[0.0, 10.0, 20.0, 30.0, 40.0]),
            y: Axis::new("confirmations", Scale::Log, &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0]),
            series: asked.into(),
        },
    ]
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
            let of = |attack| attacks(attack, confirmations, 7, 1_000).0;
            let [honest, early] = [Times::True, Times::Early].map(|times| of(Attack { times, ..Attack::new(share) }));
            assert!(bound(1) < honest && honest < early && early < 1.05 * bound(0), "{honest} {early}");
            // Who picks the moment does better.
            let ahead = of(Attack { lead: 3, ..Attack::new(share) });
            assert!(ahead > 1.3 * early, "{ahead} {early}");
        }
    }

    /// A long branch whose times are false has blocks of ever more work, of which one may be enough.
    #[test]
    fn false_times_are_worth_more_the_longer_the_branch() {
        let ratio = |confirmations, response| {
            let [honest, early] = [Times::True, Times::Early]
                .map(|times| attacks(Attack { times, response, ..Attack::new(0.3) }, confirmations, 7, 500).0);
            early / honest
        };
        let [few, many, quick] = [ratio(6, 120), ratio(40, 120), ratio(40, 60)];
        assert!((1.0..1.3).contains(&few) && many > 2.0 && quick > 1.5 * many, "{few} {many} {quick}");
    }
}
