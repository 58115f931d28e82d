//! How fast blocks spread, and how many come to nothing because others were found meanwhile.
//!
//! Both are looked at on networks without faults, with blocks that are always full. A block has few payments and each stands
//! for many, see [`Setup::weight`], and payments are handed to hosts directly, so that links carry blocks alone. The
//! difficulty stays where it is, as in [`GERVAIS`]: so many blocks are mined in a time, whatever becomes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use drystone_core::amount::Amount;
use drystone_core::block::EMPTY_BLOCK_BYTES;
use drystone_core::hash::BlockHash;
use drystone_core::key::SecretKey;
use drystone_core::params::ChainParams;
use drystone_core::transaction::{MIN_TRANSACTION_BYTES, Memo, TransactionBody};
use drystone_core::validation::{CheckedTransaction, check_transaction};
use drystone_node::engine::message::{Input, Origin, Token};

use crate::random::Random;
use crate::sim::cost::TRANSACTION;
use crate::sim::link::{Regions, SIMBLOCK};
use crate::sim::setup::{ACCOUNTS, params};
use crate::sim::{Faults, MS, SECOND, Setup, World};

/// Miners, as in [`GERVAIS`].
const MINERS: usize = 16;

/// Connections that a host opens.
const OUTBOUND: usize = 8;

/// Connections that a host takes in.
const INBOUND: usize = 56;

/// The most simulated payments in a block.
const PAYMENTS: u64 = 5;

/// How many blocks' payments wait in mempools.
const BACKLOG: u64 = 5;

/// When blocks begin to count, in microseconds: the meshes have formed.
const FIRST: u64 = 20 * SECOND;

/// How many blocks are mined after the last that counts: they say which of several stays.
const LAST: usize = 6;

/// Block intervals of a curve, in milliseconds: from Bitcoin's to what latencies allow.
pub const INTERVALS_MS: [u64; 9] = [600_000, 150_000, 60_000, 30_000, 15_000, 10_000, 5_000, 2_000, 1_000];

/// A century, in milliseconds: in it the difficulty would change by a factor of e.
const NEVER: u64 = 100 * 365 * 24 * 3_600_000;

/// How blocks travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relay {
    /// Payments wait at every host: a block is its header and short ids.
    Compact,
    /// Payments of a block are known to its miner alone: each host hears of the block, asks for all of it and passes on that
    /// it has it, as with `inv`, `getdata` and `block`.
    Full,
}

/// A network and its chain.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many hosts. The first 16 mine, with unequal shares.
    pub hosts: usize,
    /// The mean time between two blocks, of all miners together.
    pub interval_ms: u64,
    /// The transactions of a block in bytes.
    pub block_bytes: u64,
    /// How blocks travel.
    pub relay: Relay,
    /// Where hosts are.
    pub regions: &'static Regions,
    /// How long it takes to connect a transaction, in microseconds.
    pub transaction_us: u64,
    /// The miners' parts of the hash rate, of 1,000 that find a block each interval; where none are given they are drawn.
    pub shares: &'static [u64],
}

impl Plan {
    /// Blocks of 1 MB every minute, relayed as this ledger does, on the links of [`SIMBLOCK`], in a ledger of a million accounts.
    pub fn new(hosts: usize) -> Plan {
        Plan {
            hosts,
            interval_ms: 60_000,
            block_bytes: 1_000_000,
            relay: Relay::Compact,
            regions: &SIMBLOCK,
            transaction_us: TRANSACTION,
            shares: &[],
        }
    }

    fn miners(&self) -> usize {
        MINERS.min(self.hosts)
    }

    /// Simulated payments of a block.
    fn payments(&self) -> u64 {
        (self.block_bytes / MIN_TRANSACTION_BYTES as u64).clamp(1, PAYMENTS)
    }

    fn setup(&self, seed: u64) -> Setup {
        let payments = self.payments();
        let params = ChainParams {
            interval: self.interval_ms,
            response: NEVER,
            max_future: 2 * self.interval_ms.max(5_000),
            max_block_bytes: EMPTY_BLOCK_BYTES as u64 + payments * MIN_TRANSACTION_BYTES as u64,
            ..params()
        };
        Setup {
            params,
            payment_every: 0,
            miners: self.miners(),
            weight: (self.block_bytes / (payments * MIN_TRANSACTION_BYTES as u64)).max(1),
            regions: self.regions,
            transaction_us: self.transaction_us,
            relays_payments: false,
            ..Setup::new(seed, self.hosts, 0, Faults::NONE)
        }
    }
}

/// A block that counts, and what became of it.
struct Outcome {
    /// Whether it is on the main chain.
    stays: bool,
    /// How long after it was found the hosts that did connected it, in microseconds.
    delays: Vec<u64>,
    /// If it stays, how many blocks are found at its height after the first of them, in the mean: by those that have none of
    /// them yet. In millionths.
    beside_ppm: u64,
}

/// A run of a plan.
struct Network {
    plan: Plan,
    world: World,
    chain_id: BlockHash,
    keys: Vec<SecretKey>,
    /// Payments that were handed out: of all hosts together, or by miner.
    given: Vec<u64>,
}

impl Network {
    fn new(plan: &Plan, seed: u64) -> Network {
        let setup = plan.setup(seed);
        let chain_id = setup.params.chain_id();
        let mut world = World::new(setup);
        world.hosts.iter_mut().zip(plan.shares).for_each(|(host, share)| host.share = *share);
        world.discovery = false;
        (world.found, world.connected) = (Some(Vec::new()), Some(Vec::new()));
        connect_at_random(&mut world, &mut Random::new(seed).part("topology", 0));
        let keys = (0..ACCOUNTS).map(SecretKey::dev).collect();
        Network { plan: *plan, world, chain_id, keys, given: vec![0; plan.miners()] }
    }

    /// Runs until so many blocks that count were found, and what became of them is settled.
    fn run(mut self, blocks: usize) -> Vec<Outcome> {
        let step = (self.plan.interval_ms * MS / 4).clamp(MS, 60 * SECOND);
        loop {
            self.hand_out();
            self.world.run_until(self.world.now + step);
            assert_eq!(self.world.checkers.violation, None);
            let counted = self.found().iter().filter(|(at, ..)| *at >= FIRST).count();
            if counted >= blocks + LAST {
                return self.outcomes(blocks);
            }
        }
    }

    fn found(&self) -> &[(u64, usize, BlockHash)] {
        self.world.found.as_deref().expect("it is kept")
    }

    /// Sees to it that mempools have enough for the next blocks.
    fn hand_out(&mut self) {
        let payments = self.plan.payments();
        let height = |world: &World, host: usize| world.hosts[host].node().map_or(0, |node| node.engine.tip().height);
        match self.plan.relay {
            Relay::Compact => {
                let highest = (0..self.plan.miners()).map(|miner| height(&self.world, miner)).max().unwrap_or(0);
                while self.given[0] < (highest + BACKLOG) * payments {
                    let (payer, nonce) = (self.given[0] % u64::from(ACCOUNTS), self.given[0] / u64::from(ACCOUNTS));
                    let payment = self.payment(payer as usize, nonce);
                    self.given[0] += 1;
                    (0..self.plan.hosts).for_each(|host| give(&mut self.world, host, payment.clone()));
                }
            }
            Relay::Full => {
                for miner in 0..self.plan.miners() {
                    let Some(node) = self.world.hosts[miner].node() else { continue };
                    let waiting = node.engine.mempool().len() as u64;
                    for _ in waiting..2 * payments {
                        let payment = self.payment(miner, self.given[miner]);
                        self.given[miner] += 1;
                        give(&mut self.world, miner, payment);
                    }
                }
            }
        }
    }

    fn payment(&self, payer: usize, nonce: u64) -> CheckedTransaction {
        let key = &self.keys[payer];
        let to = self.keys[(payer + 1) % self.keys.len()].account();
        let (amount, fee) = (Amount(200_000), Amount(1_000));
        let body = TransactionBody { from: key.account(), to, amount, fee, nonce, memo: Memo::default() };
        let rules = self.world.setup.params.rules_at(1);
        check_transaction(body.sign(&self.chain_id, key), rules, &self.chain_id).expect("it was signed just now")
    }

    /// What became of the first blocks that count.
    fn outcomes(mut self, blocks: usize) -> Vec<Outcome> {
        let main = self.main_chain();
        let connected = self.world.connected.take().expect("it is kept");
        let mut arrivals: BTreeMap<BlockHash, BTreeMap<usize, u64>> = BTreeMap::new();
        for (at, host, hash) in &connected {
            arrivals.entry(*hash).or_default().entry(*host).or_insert(*at);
        }
        let heights: BTreeMap<BlockHash, u64> =
            self.found().iter().map(|block| (block.2, self.height(block))).collect();
        // By height: when the first block was found, and when each host had one.
        let mut first: BTreeMap<u64, u64> = BTreeMap::new();
        for (at, _, hash) in self.found() {
            first.entry(heights[hash]).or_insert(*at);
        }
        let mut reached: BTreeMap<u64, BTreeMap<usize, u64>> = BTreeMap::new();
        for (at, host, hash) in &connected {
            reached.entry(heights[hash]).or_default().entry(*host).or_insert(*at);
        }
        let share = |host: &usize| self.world.hosts[*host].share;
        let all: u64 = self.world.hosts.iter().map(|host| host.share).sum();
        let beside_ppm = |height: u64| {
            let without = reached.get(&height).into_iter().flatten();
            // As long as a host has not even the height before, it finds blocks of that one.
            let before = |host: &usize| reached.get(&(height - 1))?.get(host).copied();
            let since = |host: &usize| before(host).unwrap_or(0).max(first[&height]);
            let hashed: u64 = without.map(|(host, at)| share(host) * at.saturating_sub(since(host))).sum();
            (u128::from(hashed) * 1_000_000 / u128::from(all * self.plan.interval_ms * MS)) as u64
        };
        let counted = self.found().iter().filter(|(at, ..)| *at >= FIRST).take(blocks);
        let outcome = |(found, _, hash): &(u64, usize, BlockHash)| Outcome {
            stays: main.contains(hash),
            delays: arrivals.get(hash).into_iter().flatten().map(|(_, at)| at - found).collect(),
            beside_ppm: beside_ppm(heights[hash]),
        };
        counted.map(outcome).collect()
    }

    /// The height of a block, which the host that found it has.
    fn height(&self, (_, host, hash): &(u64, usize, BlockHash)) -> u64 {
        let node = self.world.hosts[*host].node().expect("there are no faults");
        let record = node.engine.snapshot().header(hash);
        // It may not be in the store: not yet, or never, because another came while it waited for the engine.
        record.ok().flatten().map_or(u64::MAX, |record| record.height)
    }

    /// The blocks on the chain with the most work.
    fn main_chain(&self) -> BTreeSet<BlockHash> {
        let nodes = self.world.hosts.iter().filter_map(|host| host.node());
        let best = nodes.max_by_key(|node| node.engine.tip().work).expect("there are hosts");
        let snapshot = Arc::clone(best.engine.snapshot());
        let (mut next, mut main) = (best.engine.tip().hash, BTreeSet::new());
        while let Ok(Some(record)) = snapshot.header(&next) {
            main.insert(next);
            next = record.header.prev_hash;
        }
        main
    }
}

fn give(world: &mut World, host: usize, payment: CheckedTransaction) {
    let origin = Origin::Rpc(Token(u64::MAX));
    world.give(host, Input::Transactions { origin, transactions: vec![payment] });
}

/// Has each host open connections to random others.
fn connect_at_random(world: &mut World, random: &mut Random) {
    let hosts = world.hosts.len();
    let mut inbound = vec![0; hosts];
    for host in 0..hosts {
        let mut others: Vec<usize> = (0..hosts).filter(|other| *other != host).collect();
        random.shuffle(&mut others);
        others.retain(|other| inbound[*other] < INBOUND && !world.hosts[host].neighbours.contains(other));
        for other in others.into_iter().take(OUTBOUND) {
            inbound[other] += 1;
            world.connect(host, other);
        }
    }
}

/// How long blocks took to spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// How many hosts there were.
    pub hosts: usize,
    /// The blocks that all hosts connected; those that others overtook are not among them.
    pub blocks: usize,
    /// From when a block was found until half of the hosts had connected it, in microseconds: the median over blocks.
    pub p50: u64,
    /// The same of 90 % of the hosts.
    pub p90: u64,
    /// The same of 99 % of the hosts.
    pub p99: u64,
}

/// Lets so many blocks spread through a network of each seed, for each plan; in their order.
///
/// # Panics
/// If a checker of the simulator finds something wrong.
pub fn propagation(plans: &[Plan], blocks: usize, seeds: &[u64]) -> Vec<Propagation> {
    let runs: Vec<(&Plan, u64)> = plans.iter().flat_map(|plan| seeds.iter().map(move |seed| (plan, *seed))).collect();
    let mut outcomes = in_parallel(&runs, |(plan, seed)| Network::new(plan, *seed).run(blocks)).into_iter();
    let mut of = |plan| spread(plan, &outcomes.by_ref().take(seeds.len()).flatten().collect::<Vec<_>>());
    plans.iter().map(&mut of).collect()
}

fn spread(plan: &Plan, outcomes: &[Outcome]) -> Propagation {
    let mut whole: Vec<Vec<u64>> = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.delays.len() == plan.hosts) {
        let mut delays = outcome.delays.clone();
        delays.sort_unstable();
        whole.push(delays);
    }
    let median = |percent: usize| {
        let mut times: Vec<u64> = whole.iter().map(|delays| delays[rank(percent, delays.len())]).collect();
        times.sort_unstable();
        if times.is_empty() { 0 } else { times[rank(50, times.len())] }
    };
    Propagation { hosts: plan.hosts, blocks: whole.len(), p50: median(50), p90: median(90), p99: median(99) }
}

/// Which of so many sorted values is this percentile.
fn rank(percent: usize, count: usize) -> usize {
    (percent * count).div_ceil(100).max(1) - 1
}

/// How many blocks came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// The mean time between two blocks in milliseconds, if miners never paused.
    pub interval_ms: u64,
    /// The transactions of a block in bytes.
    pub block_bytes: u64,
    /// Blocks found.
    pub found: u64,
    /// Of these, not on the main chain in the end.
    pub stale: u64,
    /// What share of blocks is stale by how long miners are without a block that others have, of a million: if miner i, with
    /// the part s_i of the hash rate, has a block of some height t_i after the first was found, E = Σ s_i t_i / interval more
    /// are found at this height (Decker and Wattenhofer 2013, "Information Propagation in the Bitcoin Network", has this
    /// integral), and E of 1 + E blocks are stale. Where few are, this is less rough than the count, and a bit high: a host
    /// that connects a block, for 0.26 s if it has 1 MB, finds none meanwhile.
    pub expected_ppm: u64,
    /// How the blocks spread.
    pub propagation: Propagation,
}

impl Stale {
    /// The share of blocks that are stale, of a million.
    pub fn ppm(&self) -> u64 {
        self.stale * 1_000_000 / self.found.max(1)
    }
}

/// Mines so many blocks with each of some seeds.
///
/// # Panics
/// If a checker of the simulator finds something wrong.
pub fn stale_rate(plan: &Plan, blocks: usize, seeds: &[u64]) -> Stale {
    let runs = in_parallel(seeds, |seed| Network::new(plan, *seed).run(blocks));
    let outcomes: Vec<Outcome> = runs.into_iter().flatten().collect();
    let staying: Vec<u64> = outcomes.iter().filter(|outcome| outcome.stays).map(|outcome| outcome.beside_ppm).collect();
    let beside = staying.iter().sum::<u64>() / (staying.len() as u64).max(1);
    Stale {
        interval_ms: plan.interval_ms,
        block_bytes: plan.block_bytes,
        found: outcomes.len() as u64,
        stale: outcomes.iter().filter(|outcome| !outcome.stays).count() as u64,
        expected_ppm: beside * 1_000_000 / (1_000_000 + beside),
        propagation: spread(plan, &outcomes),
    }
}

/// How large blocks are along a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The same at all intervals, in bytes: what more blocks carry, more of them can.
    Fixed(u64),
    /// So many bytes for each second of the interval: the same throughput at all intervals, as in [`GERVAIS`].
    PerSecond(u64),
}

impl Size {
    fn of(self, interval_ms: u64) -> u64 {
        match self {
            Size::Fixed(bytes) => bytes,
            Size::PerSecond(bytes) => (bytes * interval_ms / 1_000).max(MIN_TRANSACTION_BYTES as u64),
        }
    }
}

/// [`stale_rate`] at each of some intervals in milliseconds; so many blocks with each seed.
pub fn stale_curve(plan: &Plan, intervals_ms: &[u64], size: Size, blocks: usize, seeds: &[u64]) -> Vec<Stale> {
    let at = |interval_ms: &u64| Plan { interval_ms: *interval_ms, block_bytes: size.of(*interval_ms), ..*plan };
    intervals_ms.iter().map(|interval_ms| stale_rate(&at(interval_ms), blocks, seeds)).collect()
}

/// Does the same with each of some things, on all cores; the results are in the order of the things.
pub fn in_parallel<T: Sync, R: Send>(things: &[T], each: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let number = next.fetch_add(1, Ordering::Relaxed)
            && let Some(thing) = things.get(number)
        {
            done.push((number, each(thing)));
        }
        done
    };
    let workers = thread::available_parallelism().map_or(1, usize::from).min(things.len());
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// What Gervais et al. found at a block interval, of a million.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The interval in milliseconds.
    pub interval_ms: u64,
    /// Stale blocks with the standard propagation of 2016: `inv`, `getdata`, `block`. The counterpart of [`Relay::Full`].
    pub standard_ppm: u64,
    /// Stale blocks where miners push blocks to each other unasked.
    pub unsolicited_ppm: u64,
    /// Stale blocks with a relay network between miners.
    pub relay_network_ppm: u64,
    /// The same, where others announce by headers.
    pub headers_and_relay_network_ppm: u64,
    /// The median time for a block to reach a node with the standard propagation, in microseconds.
    pub standard_p50: u64,
}

/// Gervais, Karame, Wüst, Glykantzis, Ritzdorf and Capkun 2016, "On the Security and Performance of Proof of Work
/// Blockchains" (CCS 2016, <https://eprint.iacr.org/2016/555>), the four cases of its table on the block interval, with the
/// digits of the authors' page <https://arthurgervais.github.io/Bitcoin-Simulator/results.html>: 16 miners, some
/// 6,000 nodes, links of 2015. Their nodes' traffic is the same at all intervals (14.1 to 14.7 kbit/s from 25 minutes to one), so
/// their blocks shrink with the interval, from about 0.5 MB at ten minutes: as with [`BYTES_PER_SECOND`]. The real Bitcoin
/// of 2015 and 2016 had 0.41 %, Litecoin (2.5 minutes) 0.273 %, Dogecoin (one minute) 0.619 %: their table on real chains.
pub const GERVAIS: [Published; 9] = [
    published(600_000, [15_100, 1_300, 1_400, 1_300], 14_700_000),
    published(150_000, [18_200, 1_600, 1_600, 1_500], 4_180_000),
    published(60_000, [21_500, 3_500, 2_500, 2_900], 2_080_000),
    published(30_000, [25_400, 4_500, 5_100, 5_200], 1_430_000),
    published(20_000, [32_000, 8_600, 8_500, 8_200], 1_210_000),
    published(10_000, [47_700, 17_300, 14_100, 15_900], 1_000_000),
    published(5_000, [86_400, 29_400, 29_900, 30_500], 890_000),
    published(2_000, [166_500, 69_800, 72_800, 71_000], 840_000),
    published(1_000, [267_400, 124_400, 125_900, 125_200], 820_000),
];

/// The shares of the 16 miners of [`GERVAIS`], of 1,000, in their program's `scratch/bitcoin-test.cc`: those of Bitcoin's pools.
pub const GERVAIS_SHARES: [u64; 16] = [289, 196, 159, 133, 66, 54, 29, 16, 12, 12, 12, 9, 5, 5, 2, 2];

/// Transactions of blocks in bytes for each second of the interval, as in [`GERVAIS`]: half of 14.26 kbit/s, what a node
/// there sends and receives together.
pub const BYTES_PER_SECOND: u64 = 890;

const fn published(interval_ms: u64, [standard, unsolicited, relay, headers]: [u64; 4], p50: u64) -> Published {
    Published {
        interval_ms,
        standard_ppm: standard,
        unsolicited_ppm: unsolicited,
        relay_network_ppm: relay,
        headers_and_relay_network_ppm: headers,
        standard_p50: p50,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_reach_few_hosts_first_and_the_same_seed_tells_the_same() {
        let plan = Plan { interval_ms: 20_000, ..Plan::new(20) };
        let found = || propagation(&[plan], 10, &[1]).remove(0);
        let first = found();
        assert!(first.blocks >= 5, "{first:?}");
        // A hop is at least a latency and what connecting costs.
        assert!(first.p50 > 100 * MS && first.p50 <= first.p90 && first.p90 <= first.p99, "{first:?}");
        assert!(first.p99 < 10 * SECOND, "{first:?}");
        assert_eq!(found(), first);
    }

    #[test]
    fn whole_blocks_are_slower_than_compact_ones() {
        let compact = Plan { interval_ms: 30_000, ..Plan::new(20) };
        let whole = Plan { relay: Relay::Full, ..compact };
        let found = propagation(&[compact, whole], 10, &[2]);
        assert!(found[1].p50 > 3 * found[0].p50 / 2, "{found:?}");
    }

    #[test]
    fn more_blocks_are_stale_where_they_come_faster() {
        let rate = |interval_ms| {
            let plan = Plan { interval_ms, block_bytes: 100_000, ..Plan::new(16) };
            stale_rate(&plan, 150, &[1, 2])
        };
        let rates = [20_000, 2_000, 500].map(rate);
        for pair in rates.windows(2) {
            assert!(pair[0].ppm() < pair[1].ppm() && pair[0].expected_ppm < pair[1].expected_ppm, "{rates:?}");
        }
        assert!(rates[0].ppm() < 60_000 && rates[2].ppm() > 150_000, "{rates:?}");
        // What the delays let expect is what is counted, if connecting is short beside the interval.
        assert!(rates[..2].iter().all(|rate| rate.ppm().abs_diff(rate.expected_ppm) < 40_000), "{rates:?}");
    }
}
