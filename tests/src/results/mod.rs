//! Published results: what the rules and the simulator say about a network that somebody might run, as figures.

pub mod advice;
pub mod blocks;
pub mod difficulty;
pub mod network;
pub mod plot;
pub mod selfish;
pub mod spend;

use drystone_core::pow::{CompactTarget, Work};

use crate::random::Random;

/// The bits at which chains of times and targets start: far from the limit of targets.
const START: CompactTarget = CompactTarget(0x1b00_ffff);

/// The expected hashes for a block, as a multiple of those at [`START`].
fn difficulty_of(bits: CompactTarget) -> f64 {
    hashes(bits) / hashes(START)
}

fn hashes(bits: CompactTarget) -> f64 {
    as_float(bits.to_target().expect("set by the rule").work())
}

fn as_float(work: Work) -> f64 {
    work.to_le_bytes().iter().rev().fold(0.0, |sum, byte| 256.0 * sum + f64::from(*byte))
}

/// A number from 0 to 1, 1 not included.
fn unit(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// A waiting time without memory.
fn wait(random: &mut Random, mean: f64) -> f64 {
    -mean * (1.0 - unit(random)).ln()
}

/// Draws a result's figures.
pub type Draw = fn() -> Vec<plot::Plot>;

/// Each result's name, and what draws it.
pub const RESULTS: [(&str, Draw); 4] = [
    ("difficulty", difficulty::plots),
    ("spend", spend::plots),
    ("selfish", selfish::plots),
    ("blocks", blocks::plots),
];
