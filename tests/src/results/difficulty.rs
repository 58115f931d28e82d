//! How the difficulty follows the hash rate: after steps, after a sleep, and against miners who come while it is low.
//!
//! Blocks are found by a Poisson process at the rate that the hash rate and the present target give; the target is core's own,
//! block by block. Beside it stands the rule of Bitcoin, a new target every 2016 blocks, on the same chain.

use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::genesis::main_params;
use drystone_core::params::ChainParams;

use super::plot::{Axis, Plot, Scale, Series, Style};
use super::{START, difficulty_of, unit, wait};
use crate::random::Random;

/// A course in time is the median of so many.
const RUNS: u64 = 201;
/// The blocks of one of Bitcoin's periods.
const PERIOD: u64 = 2016;
/// Blocks over which a gain is measured, and those before it, until the chain is in balance.
const BLOCKS: u64 = 200_000;
const SETTLING: u64 = 10_000;
/// A gain is the mean of so many.
const SEEDS: u64 = 5;
const MINUTE: f64 = 60_000.0;
const HOUR: f64 = 60.0 * MINUTE;

/// What sets the next target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Drystone's: after each block, by how long it took, with a response of so many intervals.
    Wtema(u64),
    /// Bitcoin's: after each 2016 blocks, by how long they took, at most fourfold.
    Bitcoin,
}

/// The rule of the main chain.
const OURS: Rule = Rule::Wtema(120);

/// A chain that is nothing but times and targets.
pub struct Course {
    rule: Rule,
    params: ChainParams,
    parent: ParentTimes,
    /// The next block's, where 1 is what one hash rate's worth of miners needs an interval for.
    difficulty: f64,
    /// When Bitcoin's rule last set it, in milliseconds since the start.
    since: f64,
    random: Random,
    /// Milliseconds since the start, finer than blocks tell.
    now: f64,
}

impl Course {
    /// A chain in balance: with one hash rate's worth of miners, a block comes once an interval.
    pub fn new(rule: Rule, random: Random) -> Course {
        let main = main_params();
        let response = if let Rule::Wtema(intervals) = rule { intervals * main.interval } else { main.response };
        let params = ChainParams { response, ..main };
        let time = params.time;
        let parent = ParentTimes { bits: START, height: PERIOD, time, grandparent_time: time - params.interval };
        Course { rule, params, parent, difficulty: 1.0, since: 0.0, random, now: 0.0 }
    }

    /// Mines one block at a hash rate, of 1 at the start, after nobody mined for some milliseconds; returns how long it took.
    fn mine(&mut self, rate: f64, asleep: f64) -> f64 {
        let took = asleep + wait(&mut self.random, self.params.interval as f64 * self.difficulty / rate);
        self.now += took;
        let time = (self.params.time + self.now as u64).max(self.parent.time + 1);
        let (bits, height) = (self.parent.bits, self.parent.height + 1);
        self.parent = ParentTimes { bits, height, time, grandparent_time: self.parent.time };
        match self.rule {
            Rule::Wtema(_) => {
                self.parent.bits = next_bits(&self.params, &self.parent);
                self.difficulty = difficulty_of(self.parent.bits);
            }
            Rule::Bitcoin if height.is_multiple_of(PERIOD) => {
                let expected = (PERIOD * self.params.interval) as f64;
                self.difficulty *= (expected / (self.now - self.since)).clamp(0.25, 4.0);
                self.since = self.now;
            }
            Rule::Bitcoin => {}
        }
        took
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Minutes per block, the median of many runs, at times after the hash rate went to `rate`.
pub fn after_a_step(rule: Rule, rate: f64, seed: u64, times: &[f64]) -> Vec<(f64, f64)> {
    let mut at: Vec<Vec<f64>> = vec![Vec::new(); times.len()];
    for run in 0..RUNS {
        let mut course = Course::new(rule, Random::new(seed).part("step", run));
        for (values, hours) in at.iter_mut().zip(times) {
            while course.now < hours * HOUR {
                course.mine(rate, 0.0);
            }
            values.push(course.difficulty / rate * course.params.interval as f64 / MINUTE);
        }
    }
    times.iter().copied().zip(at.into_iter().map(median)).collect()
}

/// What a sleep leaves: how many blocks come at less than half of the interval, and how many hours pass from waking until the
/// expected time of a block is within a tenth of it; medians.
pub fn after_a_sleep(hours: f64, seed: u64) -> (f64, f64) {
    let (mut fast, mut until) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let mut course = Course::new(OURS, Random::new(seed).part("sleep", run));
        course.mine(1.0, hours * HOUR);
        let mut blocks = 0.0;
        while (course.difficulty - 1.0).abs() > 0.1 {
            blocks += f64::from(course.difficulty < 0.5);
            course.mine(1.0, 0.0);
        }
        fast.push(blocks);
        until.push(course.now / HOUR - hours);
    }
    (median(fast), median(until))
}

/// What a miner gains who comes only while the difficulty is below `below`: its blocks per hash over those of the miners who stay,
/// less 1. `size` is its hash rate, of 1 for all others together.
pub fn hopping(rule: Rule, size: f64, below: f64, seed: u64) -> f64 {
    let mut course = Course::new(rule, Random::new(seed).part("hop", (size * 1000.0) as u64));
    let (mut own_hashes, mut own_blocks, mut others_hashes, mut others_blocks) = (0.0, 0.0, 0.0, 0.0);
    for block in 0..SETTLING + BLOCKS {
        let on = if course.difficulty < below { size } else { 0.0 };
        let took = course.mine(1.0 + on, 0.0);
        let own = f64::from(unit(&mut course.random) * (1.0 + on) < on);
        if block >= SETTLING {
            own_hashes += took * on;
            own_blocks += own;
            others_hashes += took;
            others_blocks += 1.0 - own;
        }
    }
    (own_blocks / own_hashes) / (others_blocks / others_hashes) - 1.0
}

/// The mean of what it gains over some courses.
fn mean_hopping(rule: Rule, size: f64, below: f64) -> f64 {
    (1..=SEEDS).map(|seed| hopping(rule, size, below, seed)).sum::<f64>() / SEEDS as f64
}

/// What it gains with the best of some bounds between the difficulty without it and that with it.
fn best_hopping(rule: Rule, size: f64) -> f64 {
    let bounds = (1..=4).map(|step| (1.0 + size).powf(f64::from(step) / 4.0));
    bounds.map(|below| mean_hopping(rule, size, below)).fold(f64::NEG_INFINITY, f64::max)
}

/// The figures.
pub fn plots() -> Vec<Plot> {
    let times: Vec<f64> = (0..=96).map(|quarter| f64::from(quarter) / 4.0).collect();
    let step = |rule, rate, name: &str, style| Series::new(name, style, after_a_step(rule, rate, 1, &times));
    let sizes = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
    let gains = |gain: &dyn Fn(f64) -> f64| sizes.iter().map(|size| (*size, 100.0 * gain(*size))).collect();
    let sleeps = [2.0, 3.0, 6.0, 12.0, 24.0, 72.0, 168.0, 720.0];
    let (fast, until) = sleeps
        .iter()
        .map(|hours| (*hours, after_a_sleep(*hours, 1)))
        .map(|(hours, (fast, until))| ((hours, fast), (hours, until)))
        .unzip();
    vec![
        Plot {
            file: "difficulty-steps",
            title: "After the hash rate grew or shrank tenfold",
            x: Axis::new("hours since", Scale::Linear, &[0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0]),
            y: Axis::new("minutes per block", Scale::Log, &[0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]),
            series: vec![
                step(OURS, 10.0, "ten times as much", Style::Line),
                step(OURS, 0.1, "a tenth of it", Style::Line),
                step(Rule::Bitcoin, 10.0, "ten times as much, by Bitcoin's rule", Style::Dashed),
                step(Rule::Bitcoin, 0.1, "a tenth of it, by Bitcoin's rule", Style::Dashed),
            ],
        },
        Plot {
            file: "difficulty-sleep",
            title: "After nobody mined for a while",
            x: Axis::new("hours of sleep", Scale::Log, &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]),
            y: Axis::new("a number of blocks; hours", Scale::Log, &[0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0]),
            series: vec![
                Series::new("blocks at less than half the interval", Style::Line, fast),
                Series::new("hours until the interval is right within a tenth", Style::Line, until),
            ],
        },
        Plot {
            file: "difficulty-hopping",
            title: "What a miner gains who comes only while the difficulty is low",
            x: Axis::new("its hash rate, of 1 for all others together", Scale::Log, &sizes),
            y: Axis::new("blocks per hash, % above those who stay", Scale::Log, &[1.0, 3.0, 10.0, 30.0, 100.0, 300.0]),
            series: vec![
                Series::new("Drystone", Style::Line, gains(&|size| best_hopping(OURS, size))),
                Series::new(
                    "Drystone, only while 10 % below the balance",
                    Style::Line,
                    gains(&|size| mean_hopping(OURS, size, 0.9)),
                ),
                Series::new(
                    "Drystone, response of 60 intervals",
                    Style::Line,
                    gains(&|size| best_hopping(Rule::Wtema(60), size)),
                ),
                Series::new("Bitcoin's rule", Style::Dashed, gains(&|size| best_hopping(Rule::Bitcoin, size))),
            ],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_comes_back_after_a_step() {
        for rate in [10.0, 0.1] {
            let course = after_a_step(OURS, rate, 7, &[0.0, 24.0]);
            let (first, last) = (course[0].1, course[1].1);
            assert!((first - 0.5 / rate).abs() < 0.01, "{course:?}");
            assert!((last / 0.5 - 1.0).abs() < 0.2, "{course:?}");
        }
        // Bitcoin's rule takes 2016 blocks, at 5 minutes each a week.
        let slow = after_a_step(Rule::Bitcoin, 0.1, 7, &[24.0]);
        assert!(slow[0].1 > 4.9, "{slow:?}");
    }

    #[test]
    fn a_sleep_is_followed_by_few_easy_blocks() {
        let (day, month) = (after_a_sleep(24.0, 7), after_a_sleep(720.0, 7));
        assert_eq!(day.0, month.0, "a long block counts for four response times at most: {day:?}, {month:?}");
        assert!(day.0 > 50.0 && day.0 < 400.0 && day.1 < 3.0, "{day:?}");
    }

    #[test]
    fn hopping_pays_next_to_nothing_where_each_block_sets_the_difficulty() {
        let [ours, bitcoins] = [OURS, Rule::Bitcoin].map(|rule| hopping(rule, 10.0, 11.0, 7));
        assert!(ours.abs() < 0.05 && bitcoins > 0.3, "{ours} {bitcoins}");
    }
}
