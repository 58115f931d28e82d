//! What selfish mining brings, beside Eyal and Sirer's formula ("Majority is not Enough: Bitcoin Mining is Vulnerable", 2014,
//! arXiv:1311.0243): for ties that go to the first block seen, and for ties by lot.
//!
//! Real engines mine, and one of them is [`Selfish`]. What decides a race is γ, the part of the others' hash rate that goes on
//! with the selfish miner's block: how well it is connected says how large that is where the first block seen wins; by lot it
//! is a half.

use std::fmt;

use super::network::in_parallel;
use super::plot::{Axis, Plot, Scale, Series, Style};
use crate::sim::deviant::{Races, Selfish};
use crate::sim::host::reward_account;
use crate::sim::setup::network_params;
use crate::sim::{Faults, MINUTE, MS, Setup, World};

/// Honest hosts, of which half mine.
const HOSTS: usize = 16;
/// The virtual hours of a run: 120 blocks each.
const HOURS: u64 = 12;
/// Runs for each point.
const SEEDS: u64 = 4;

/// Equation 8 of the paper: the part of the rewards that a selfish miner gets with the part `share` of the hash rate.
pub fn revenue(share: f64, gamma: f64) -> f64 {
    let (a, b) = (share, 1.0 - share);
    (a * b * b * (4.0 * a + gamma * (1.0 - 2.0 * a)) - a * a * a) / (1.0 - a * (1.0 + (2.0 - a) * a))
}

/// The share from which on selfish mining pays, by the paper's equation 9.
pub fn threshold(gamma: f64) -> f64 {
    (1.0 - gamma) / (3.0 - 2.0 * gamma)
}

/// How the selfish miner is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connected {
    /// Like everybody.
    Usually,
    /// To every host, over a millisecond: it has a machine beside each.
    Everywhere,
}

/// How ties end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Whoever was seen first stays.
    FirstSeen,
    /// By each host's own lot.
    Lot,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gain {
    /// Its blocks on the main chain, and all blocks there.
    pub own: u64,
    /// All blocks on the main chain.
    pub all: u64,
    /// Its races.
    pub races: Races,
}

impl Gain {
    /// Its part of the rewards.
    pub fn revenue(&self) -> f64 {
        self.own as f64 / self.all as f64
    }

    /// The part of the others' hash rate that was on its side in races; nothing where there was none.
    pub fn gamma(&self) -> Option<f64> {
        let Races { lost, helped, .. } = self.races;
        let others = helped + lost;
        (others > 0).then(|| helped as f64 / others as f64)
    }
}

/// Mines selfishly with the part `permille` of 1,000 of the hash rate.
///
/// # Panics
/// If a checker of the simulator finds something wrong.
pub fn mine(permille: u64, connected: Connected, tie: Tie, hours: u64, seed: u64) -> Gain {
    let setup = Setup {
        payment_every: 0,
        ties_by_lot: tie == Tie::Lot,
        ..Setup::new(seed, HOSTS, hours * 60 * MINUTE, Faults::NONE)
    };
    let mut world = World::new(setup);
    let mut races = None;
    let own = world.add_deviant_miner(permille, |own| {
        let selfish = Selfish::new(own, network_params());
        races = Some(selfish.races());
        Box::new(selfish)
    });
    if connected == Connected::Everywhere {
        for host in 0..HOSTS {
            world.latencies.insert((host, own), MS);
            world.connect(own, host);
        }
    }
    world.run_until(world.setup.duration);
    assert_eq!(world.checkers.violation, None);
    let rewards = world.rewards(0);
    let races = races.expect("it was made").get();
    Gain { own: rewards.get(&reward_account(own)).copied().unwrap_or(0), all: rewards.values().sum(), races }
}

/// The standard error of the mean of some runs' parts of the rewards.
fn standard_error(gains: &[Gain]) -> f64 {
    let count = gains.len() as f64;
    let mean = gains.iter().map(Gain::revenue).sum::<f64>() / count;
    let squares = gains.iter().map(|gain| (gain.revenue() - mean).powi(2)).sum::<f64>();
    (squares / (count - 1.0) / count).sqrt()
}

/// Some runs together.
fn sum(gains: &[Gain]) -> Gain {
    let total = |of: fn(&Gain) -> u64| gains.iter().map(of).sum();
    let races = Races {
        hidden: total(|gain| gain.races.hidden),
        begun: total(|gain| gain.races.begun),
        won: total(|gain| gain.races.won),
        lost: total(|gain| gain.races.lost),
        helped: total(|gain| gain.races.helped),
    };
    Gain { own: total(|gain| gain.own), all: total(|gain| gain.all), races }
}

impl fmt::Display for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tie::FirstSeen => "first seen",
            Tie::Lot => "by lot",
        })
    }
}

impl fmt::Display for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Connected::Usually => "connected like others",
            Connected::Everywhere => "1 ms from everybody",
        })
    }
}

/// The figure.
pub fn plots() -> Vec<Plot> {
    let shares: [u64; 7] = [100, 200, 250, 300, 333, 400, 450];
    let cases = [
        (Connected::Usually, Tie::FirstSeen),
        (Connected::Everywhere, Tie::FirstSeen),
        (Connected::Usually, Tie::Lot),
        (Connected::Everywhere, Tie::Lot),
    ];
    let of = |gamma: f64| (10..=45).map(f64::from).map(move |x| (x, 100.0 * revenue(x / 100.0, gamma)));
    let mut series = vec![
        Series::new("honest", Style::Line, vec![(10.0, 10.0), (45.0, 45.0)]),
        Series::new("Eyal and Sirer, γ = 0", Style::Dashed, of(0.0).collect()),
        Series::new("Eyal and Sirer, γ = 0.5", Style::Dashed, of(0.5).collect()),
    ];
    let runs: Vec<(usize, u64, u64)> = (0..cases.len())
        .flat_map(|case| shares.iter().flat_map(move |share| (1..=SEEDS).map(move |seed| (case, *share, seed))))
        .collect();
    let gains = in_parallel(&runs, |(case, share, seed)| mine(*share, cases[*case].0, cases[*case].1, HOURS, *seed));
    for (number, (connected, tie)) in cases.iter().enumerate() {
        let at = |share: u64| {
            let of_point = runs.iter().zip(&gains).filter(|((case, of, _), _)| *case == number && *of == share);
            of_point.map(|(_, gain)| *gain).collect::<Vec<_>>()
        };
        let all = shares.map(at);
        let gamma = sum(&all.concat()).gamma().unwrap_or(f64::NAN);
        let errors = all.iter().map(|gains| standard_error(gains).powi(2)).sum::<f64>();
        let error = 100.0 * (errors / shares.len() as f64).sqrt();
        let points = shares.iter().zip(&all).map(|(share, gains)| (*share as f64 / 10.0, 100.0 * sum(gains).revenue()));
        let name = format!("{tie}, {connected}: γ = {gamma:.2}, standard error {error:.1}");
        series.push(Series::new(name, Style::Dots, points.collect()));
    }
    vec![Plot {
        file: "selfish",
        title: "What a selfish miner gets",
        x: Axis::new("its part of the hash rate, %", Scale::Linear, &[10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0]),
        y: Axis::new(
            "its part of the blocks, %",
            Scale::Linear,
            &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0],
        ),
        series,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where it pays by their figure 2 and text: from a third on without help, from a quarter on with half of the others.
    #[test]
    fn the_formula_has_the_published_thresholds() {
        for (gamma, share) in [(0.0, 1.0 / 3.0), (0.5, 0.25), (1.0, 0.0)] {
            assert!((threshold(gamma) - share).abs() < 1e-12);
            assert!((revenue(share, gamma) - share).abs() < 1e-12);
            assert!(revenue(share + 0.05, gamma) > share + 0.05);
        }
    }

    #[test]
    fn who_is_beside_everybody_wins_ties_that_go_to_the_first_seen_and_not_those_by_lot() {
        // The formula's help over long runs is 0.65 and 0.5, and over one of four hours 0.1 more or less.
        let [first, lot] = [Tie::FirstSeen, Tie::Lot].map(|tie| {
            let gains = in_parallel(&[7, 8, 9, 10], |seed| mine(300, Connected::Everywhere, tie, 4, *seed));
            sum(&gains).gamma().expect("it raced")
        });
        assert!(first > 0.5 && (0.3..0.7).contains(&lot) && lot < first, "{first} {lot}");
    }
}
