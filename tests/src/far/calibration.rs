//! The same blocks on the same network, once by real processes on the relay and once in the simulator: do they spread alike?

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use drystone_core::block::Block;
use drystone_core::params::ChainParams;
use drystone_core::transaction::Transaction;
use drystone_core::validation::{BlockContext, check_block, check_header, check_transactions};
use drystone_node::engine::message::{Input, Origin, Token};

use super::figures::{ms, percentile};
use super::network::{Network, links};
use super::propagation::extend;
use super::{PATIENCE, Payers, Topology, params};
use crate::chain::TestChain;
use crate::random::Random;
use crate::sim::link::Access;
use crate::sim::{Faults, MS, SECOND, Setup, World};
use crate::wan::Wan;

/// How far the two may be apart, in percent of the relay's figure.
const TOLERANCE: u64 = 20;

/// When the first block comes, in microseconds after all are connected: the meshes have formed.
const FIRST: u64 = 8 * SECOND;

/// How long payments have to spread before the block that holds them, in microseconds.
const AHEAD: u64 = SECOND;

/// What both play.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who is linked with whom.
    pub topology: Topology,
    /// The one-way latency of each link in microseconds.
    pub latencies: BTreeMap<(usize, usize), u64>,
    /// How many blocks.
    pub blocks: usize,
    /// Payments in each.
    pub payments: usize,
    /// Microseconds between two blocks.
    pub interval: u64,
}

impl Plan {
    /// Sixteen hosts on a ring with eight chords, links of 10 to 80 ms, a block of eight payments every 2 s from host to host.
    pub fn of(blocks: usize) -> Plan {
        let chords = [(0, 8), (1, 6), (2, 12), (3, 9), (4, 14), (5, 11), (7, 13), (10, 15)];
        let topology = Topology::ring(16, &chords);
        let mut random = Random::new(16);
        let latencies = topology.edges.iter().map(|edge| (*edge, random.between(10, 80) * MS)).collect();
        Plan { topology, latencies, blocks, payments: 8, interval: 2 * SECOND }
    }

    /// The host that mines a block; another one takes its payments.
    fn miner(&self, block: usize) -> usize {
        (5 * block + block / self.topology.hosts) % self.topology.hosts
    }
}

/// A block, and the payments in it, as both hand them in.
struct Round {
    payments: Vec<Transaction>,
    block: Block,
}

/// How long blocks took to each node that had not mined them, in microseconds.
pub struct Outcome {
    plan: Plan,
    /// On the relay.
    pub real: Vec<u64>,
    /// In the simulator.
    pub simulated: Vec<u64>,
}

/// Plays a plan twice.
///
/// # Panics
/// If a block does not come everywhere.
pub fn run(plan: &Plan, program: &Path, root: &Path) -> Outcome {
    let params = params(64);
    let (mut chain, mut payers) = (TestChain::new(&params), Payers::new(&params));
    let mut round = || {
        let payments = payers.payments(plan.payments);
        Round { block: extend(&mut chain, payments.clone()), payments }
    };
    let rounds: Vec<Round> = (0..plan.blocks).map(|_| round()).collect();
    let simulated = simulate(plan, &params, &rounds);
    let real = play(plan, &params, &rounds, program, root);
    Outcome { plan: plan.clone(), real, simulated }
}

/// Real processes.
fn play(plan: &Plan, params: &ChainParams, rounds: &[Round], program: &Path, root: &Path) -> Vec<u64> {
    let latency = |a: usize, b: usize| plan.latencies.get(&(a, b)).copied().unwrap_or(0);
    let wan = Wan::new(plan.topology.hosts, links(&plan.topology, latency)).expect("a network");
    let mut network = Network::start(&wan, &plan.topology, params, program, root);
    let started = Instant::now();
    let mut times = Vec::new();
    for (number, round) in rounds.iter().enumerate() {
        let due = Duration::from_micros(FIRST + number as u64 * plan.interval);
        let miner = plan.miner(number);
        sleep(due.saturating_sub(Duration::from_micros(AHEAD)).saturating_sub(started.elapsed()));
        network.nodes[(miner + 1) % plan.topology.hosts].pay(&round.payments);
        sleep(due.saturating_sub(started.elapsed()));
        network.nodes[miner].give(&round.block);
        let connected = network.await_block(PATIENCE, &round.block.header.hash().to_string());
        let others = connected.iter().enumerate().filter(|(host, _)| *host != miner);
        times.extend(others.map(|(_, seen)| seen.at.saturating_sub(connected[miner].at)));
    }
    times
}

/// The simulator, with the same links and the same blocks at the same times.
fn simulate(plan: &Plan, params: &ChainParams, rounds: &[Round]) -> Vec<u64> {
    let hosts = plan.topology.hosts;
    let age_ms = params.interval * (rounds.len() as u64 + 4);
    let setup = Setup { params: params.clone(), payment_every: 0, age_ms, ..Setup::new(1, 0, 0, Faults::NONE) };
    let mut world = World::new(setup);
    world.discovery = false;
    world.connected = Some(Vec::new());
    world.latencies = plan.latencies.clone();
    for _ in 0..hosts {
        world.add_host(0, Access { region: 0, rate: 1_000_000_000, loss: 0 });
    }
    for (a, b) in (0..hosts).flat_map(|a| (0..hosts).map(move |b| (a, b))) {
        if a != b && !plan.topology.has(a, b) {
            world.set_blocked(a, b, true);
        }
    }
    for (a, b) in &plan.topology.edges {
        world.connect(*b, *a);
    }
    let chain_id = params.chain_id();
    for (number, round) in rounds.iter().enumerate() {
        let (due, height, miner) = (FIRST + number as u64 * plan.interval, number as u64 + 1, plan.miner(number));
        world.run_until(due - AHEAD);
        let transactions = check_transactions(round.payments.clone(), params.rules_at(height), &chain_id, &[7; 32]);
        let transactions = transactions.expect("valid payments");
        let origin = Origin::Rpc(Token(u64::MAX));
        world.give((miner + 1) % hosts, Input::Transactions { origin, transactions });
        world.run_until(due);
        let header = check_header(round.block.header, params).expect("a valid header");
        let context = BlockContext { params, chain_id: &chain_id, height, batch_secret: &[7; 32] };
        let block = check_block(header, round.block.body.clone(), &context).expect("a valid block");
        world.give(miner, Input::Block { origin, block: Box::new(block) });
    }
    world.run_until(FIRST + rounds.len() as u64 * plan.interval + 60 * SECOND);
    assert_eq!(world.checkers.violation, None);
    let connected = world.connected.take().unwrap_or_default();
    let mut times = Vec::new();
    for (number, round) in rounds.iter().enumerate() {
        let (hash, miner) = (round.block.header.hash(), plan.miner(number));
        let of =
            |host: usize| connected.iter().find(|(_, who, what)| (*who, *what) == (host, hash)).map(|(at, ..)| *at);
        let mined = of(miner).expect("its miner has it");
        let others = (0..hosts).filter(|host| *host != miner);
        times.extend(others.map(|host| of(host).expect("every host has every block").saturating_sub(mined)));
    }
    times
}

impl Outcome {
    /// A percentile on the relay and in the simulator, in microseconds.
    pub fn pair(&self, percent: usize) -> (u64, u64) {
        let of = |times: &[u64]| percentile(times, percent).unwrap_or(0);
        (of(&self.real), of(&self.simulated))
    }

    /// Whether they agree on a percentile.
    pub fn agrees(&self, percent: usize) -> bool {
        let (real, simulated) = self.pair(percent);
        real.abs_diff(simulated) * 100 <= TOLERANCE * real
    }

    /// Prints both, and gives whether they agree.
    pub fn print(&self) -> bool {
        let Plan { topology, blocks, payments, .. } = &self.plan;
        let (hosts, links, diameter) = (topology.hosts, topology.edges.len(), topology.diameter());
        println!(
            "{hosts} hosts, {links} links of 10 to 80 ms, diameter {diameter}; {blocks} blocks of {payments} payments"
        );
        println!("block propagation   relay      simulator  difference");
        for percent in [5, 25, 50, 75, 95, 100] {
            let (real, simulated) = self.pair(percent);
            let difference = 100.0 * (simulated as f64 - real as f64) / real as f64;
            println!("p{percent:<3}                {:>7} ms {:>7} ms  {difference:+.1} %", ms(real), ms(simulated));
        }
        let agree = self.agrees(50) && self.agrees(95);
        println!("p50 and p95 {} within {TOLERANCE} %", if agree { "agree" } else { "do not agree" });
        agree
    }
}
