//! How a full block spreads over a sparse network: what it costs each link, and how long it takes to each node.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use drystone_core::block::Block;
use drystone_core::encode::encode;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::transaction::Transaction;
use drystone_node::engine::limits::TRANSACTION_RATE;
use drystone_node::engine::wire::{Gossip, announce};

use super::figures::{ms, percentile, spread};
use super::network::{Network, links, write_genesis};
use super::node::{Machine, Node, Start};
use super::{PATIENCE, Payers, Topology, eventually, params};
use crate::chain::TestChain;
use crate::wan::{MS, Wan};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who is linked with whom.
    pub topology: Topology,
    /// The one-way latency of each link in milliseconds.
    pub latency_ms: u64,
    /// Payments in a block, of 160 bytes each.
    pub payments: usize,
    /// Accounts that make them.
    pub accounts: usize,
    /// Blocks whose payments wait at every node.
    pub warm: usize,
    /// Blocks whose payments no node has heard of.
    pub cold: usize,
}

/// What one block did.
#[derive(Clone, Debug)]
pub struct Spread {
    /// Bytes of the block.
    pub block_bytes: usize,
    /// Bytes of its announcement.
    pub announcement_bytes: usize,
    /// Who mined it.
    pub miner: usize,
    /// When each node had connected it, in microseconds after the miner.
    pub arrivals: Vec<u64>,
    /// How long each node's engine took to connect and commit it, in milliseconds.
    pub took_ms: Vec<u64>,
    /// Bytes that each link carried in both directions from the block's appearance until all was quiet.
    pub link_bytes: Vec<u64>,
    /// Directions of links that carried the announcement.
    pub copies: usize,
    /// Processor time of all nodes together, in milliseconds.
    pub cpu_ms: u64,
}

/// What was measured.
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// Blocks whose payments waited everywhere.
    pub warm: Vec<Spread>,
    /// Blocks whose payments nobody had heard of.
    pub cold: Vec<Spread>,
    /// What an idle node alone takes for such a block: connection and commit, and from its receipt by RPC to the reply.
    pub alone_ms: (u64, u64),
}

/// Runs a plan with nodes of this program, which keep their data in `root`.
///
/// # Panics
/// If something does not happen that must.
pub fn run(plan: &Plan, program: &Path, root: &Path) -> Outcome {
    let params = params(plan.accounts);
    let (mut chain, mut payers) = (TestChain::new(&params), Payers::new(&params));
    let wan = Wan::new(plan.topology.hosts, links(&plan.topology, |_, _| plan.latency_ms * MS)).expect("a network");
    let mut network = Network::start(&wan, &plan.topology, &params, program, root);
    warm_up(&mut network, &mut chain);
    let mut blocks = Vec::new();
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..plan.warm + plan.cold {
        let (payments, miner) = (payers.payments(plan.payments), (3 * round) % plan.topology.hosts);
        if round < plan.warm {
            fill(&network, (miner + 1) % plan.topology.hosts, &payments);
        }
        let block = extend(&mut chain, payments);
        settle(&wan, &plan.topology);
        rounds[usize::from(round >= plan.warm)].push(spread_block(&wan, &mut network, &block, miner));
        network.await_waiting(0);
        blocks.push(block);
    }
    drop(network);
    let alone_ms = alone(&params, &blocks, program, &root.join("alone"));
    let [warm, cold] = rounds;
    Outcome { plan: plan.clone(), warm, cold, alone_ms }
}

/// Hands in payments at one node and waits until they are everywhere; not faster than a node takes them from one peer, or
/// gossip would be ignored.
fn fill(network: &Network<'_>, payee: usize, payments: &[Transaction]) {
    let started = Instant::now();
    let mut handed_in = 0;
    for chunk in payments.chunks(TRANSACTION_RATE as usize / 2) {
        network.nodes[payee].pay(chunk);
        handed_in += chunk.len() as u64;
        sleep(Duration::from_millis(handed_in * 1_200 / TRANSACTION_RATE).saturating_sub(started.elapsed()));
    }
    network.await_waiting(payments.len() as u64);
}

/// Small blocks, until one spreads as gossip does: the meshes have formed.
fn warm_up(network: &mut Network<'_>, chain: &mut TestChain) {
    let mut miner = 0;
    eventually("gossip carries blocks", || {
        let block = extend(chain, Vec::new());
        let hash = block.header.hash().to_string();
        network.nodes[miner % network.nodes.len()].give(&block);
        miner += 1;
        let connected = network.await_block(PATIENCE, &hash);
        let first = connected.iter().map(|seen| seen.at).min()?;
        // A node that gossip does not reach learns of a block when it next asks a peer for its status.
        connected.iter().all(|seen| seen.at < first + 2_000 * MS).then_some(())
    });
}

/// The next block, with these payments.
pub(super) fn extend(chain: &mut TestChain, payments: Vec<Transaction>) -> Block {
    chain.extend(&AccountId([0x11; 32]), payments).block().clone()
}

/// Waits until links carry no more than heartbeats.
fn settle(wan: &Wan, topology: &Topology) {
    eventually("the links are quiet", || {
        let before: u64 = carried(wan, topology).iter().sum();
        sleep(Duration::from_millis(500));
        let after: u64 = carried(wan, topology).iter().sum();
        (after - before < 2_000 * topology.edges.len() as u64).then_some(())
    });
}

/// Bytes that each direction of each link carried so far: of every link there and back.
fn carried(wan: &Wan, topology: &Topology) -> Vec<u64> {
    let both = |(a, b): &(usize, usize)| [wan.counters(*a, *b).bytes, wan.counters(*b, *a).bytes];
    topology.edges.iter().flat_map(both).collect()
}

/// Hands a block to its miner, and sees it arrive everywhere.
fn spread_block(wan: &Wan, network: &mut Network<'_>, block: &Block, miner: usize) -> Spread {
    let topology = network.topology.clone();
    let announcement_bytes = Gossip::Block(announce(block)).to_bytes().len();
    let hash = block.header.hash().to_string();
    let (before, cpu_before) = (carried(wan, &topology), network.cpu_ms());
    network.nodes[miner].give(block);
    let connected = network.await_block(PATIENCE, &hash);
    settle(wan, &topology);
    let directions: Vec<u64> =
        carried(wan, &topology).iter().zip(&before).map(|(after, before)| after - before).collect();
    let mined_at = connected[miner].at;
    Spread {
        block_bytes: encode(block).len(),
        announcement_bytes,
        miner,
        arrivals: connected.iter().map(|seen| seen.at.saturating_sub(mined_at)).collect(),
        took_ms: connected.iter().map(|seen| seen.took_ms).collect(),
        link_bytes: directions.chunks(2).map(|both| both.iter().sum()).collect(),
        copies: directions.iter().filter(|bytes| **bytes >= announcement_bytes as u64).count(),
        cpu_ms: network.cpu_ms() - cpu_before,
    }
}

/// What a node without peers takes for the last of these blocks.
fn alone(params: &ChainParams, blocks: &[Block], program: &Path, root: &Path) -> (u64, u64) {
    let genesis = write_genesis(root, params);
    let start = Start { program: program.to_owned(), root: root.to_owned(), genesis, ..Start::default() };
    let mut node = Node::start(Machine::Here, &start);
    // The small blocks that came first are not among these; what it takes is measured on a chain of its own.
    let mut chain = TestChain::new(params);
    let mut total = Vec::new();
    for block in blocks {
        let own = extend(&mut chain, block.body.transactions.clone());
        let started = Instant::now();
        node.give(&own);
        total.push(started.elapsed().as_millis() as u64);
    }
    let took: Vec<u64> = node.log.connected().iter().map(|seen| seen.took_ms).collect();
    drop(node);
    // Leaves room on the disk for the next measurement.
    let _ = fs::remove_dir_all(root);
    (percentile(&took, 50).unwrap_or(0), percentile(&total, 50).unwrap_or(0))
}

impl Spread {
    /// The announcement's part of the block, in thousandths.
    pub fn announced_per_mille(&self) -> u64 {
        1_000 * self.announcement_bytes as u64 / self.block_bytes as u64
    }

    /// From the nearest neighbour that had it to each node that is no miner, in microseconds.
    pub fn hops(&self, topology: &Topology) -> Vec<u64> {
        let hop = |host: usize| {
            let nearest = topology.neighbours(host).into_iter().map(|other| self.arrivals[other]).min().unwrap_or(0);
            self.arrivals[host].saturating_sub(nearest)
        };
        (0..topology.hosts).filter(|host| *host != self.miner).map(hop).collect()
    }

    /// How long it took to each node that is no miner, in microseconds.
    pub fn others(&self) -> Vec<u64> {
        (0..self.arrivals.len()).filter(|host| *host != self.miner).map(|host| self.arrivals[host]).collect()
    }
}

impl Outcome {
    /// Prints everything.
    pub fn print(&self) {
        let Plan { topology, latency_ms, payments, accounts, .. } = &self.plan;
        println!(
            "{} nodes, links {:?}, diameter {}, {latency_ms} ms a link; {payments} payments of {accounts} accounts",
            topology.hosts,
            topology.edges,
            topology.diameter()
        );
        let (took, total) = self.alone_ms;
        println!("an idle node alone: connection and commit {took} ms, from receipt by RPC to the reply {total} ms");
        for (name, spreads) in [("payments in all mempools", &self.warm), ("payments in no mempool", &self.cold)] {
            if !spreads.is_empty() {
                println!("\n{name}:");
                self.print_some(spreads);
            }
        }
    }

    fn print_some(&self, spreads: &[Spread]) {
        let topology = &self.plan.topology;
        for spread in spreads {
            let Spread { block_bytes, announcement_bytes, miner, copies, cpu_ms, .. } = spread;
            let share = 100.0 * *announcement_bytes as f64 / *block_bytes as f64;
            let (all, needed) = (spread.link_bytes.iter().sum::<u64>(), topology.hosts - 1);
            let least = spread.link_bytes.iter().min().unwrap_or(&0);
            let most = spread.link_bytes.iter().max().unwrap_or(&0);
            println!(
                "block of {block_bytes} bytes from node {miner}: announcement {announcement_bytes} bytes, {share:.2} % of it; \
                 links carried {all} bytes, {least} to {most} each; {copies} copies of the announcement, {} of them duplicates; \
                 {cpu_ms} ms of processors",
                copies.saturating_sub(needed)
            );
            println!("  bytes on each link {:?}", spread.link_bytes);
            let hops = topology.hops(*miner);
            let arrival = |host: usize| format!("{host} ({} hops) {}", hops[host], ms(spread.arrivals[host]));
            let arrivals: Vec<String> = (0..topology.hosts).filter(|host| host != miner).map(arrival).collect();
            println!("  ms to each node: {}", arrivals.join(", "));
        }
        let hops: Vec<u64> = spreads.iter().flat_map(|spread| spread.hops(topology)).collect();
        let others: Vec<u64> = spreads.iter().flat_map(Spread::others).collect();
        let took: Vec<u64> = spreads.iter().flat_map(|spread| spread.took_ms.clone()).map(|took| took * MS).collect();
        let least = self.plan.latency_ms * MS + self.alone_ms.0 * MS;
        println!(
            "a hop: {}; at least {} ms: the latency, and an idle node's connection",
            super::figures::spread(&hops),
            ms(least)
        );
        println!("to a node: {}", super::figures::spread(&others));
        println!("connection and commit at the nodes: {}", spread(&took));
    }
}
