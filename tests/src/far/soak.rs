//! Many nodes on one machine for a while, with blocks at random and constant payments: do they agree, and do they grow?

use std::path::Path;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use clap::Args;
use drystone_core::params::ChainParams;
use serde_json::{Value, json};

use super::figures::percentile;
use super::network::{Network, write_genesis};
use super::node::{Machine, Node, Start};
use super::{PATIENCE, Payers, Topology, address, eventually, params};
use crate::random::Random;

/// How often memory and descriptors are looked at.
const SAMPLE: Duration = Duration::from_secs(10);

/// How far the loop's steps are apart.
const STEP: Duration = Duration::from_millis(20);

/// What memory may grow by in the second half of a run, in bytes, beside a tenth of what it was.
const GROWTH_BYTES: u64 = 8 << 20;

/// What open descriptors may grow by in the second half of a run.
const GROWTH_DESCRIPTORS: usize = 8;

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// How many nodes.
    #[arg(long, default_value_t = 24)]
    pub nodes: usize,
    /// For how many seconds.
    #[arg(long, default_value_t = 900)]
    pub seconds: u64,
    /// Milliseconds between two blocks, on average.
    #[arg(long, default_value_t = 2_000)]
    pub interval: u64,
    /// Payments a second.
    #[arg(long, default_value_t = 20)]
    pub payments: usize,
    /// What chance comes from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What all nodes held at a time.
struct Sample {
    seconds: u64,
    resident: Vec<u64>,
    descriptors: Vec<usize>,
}

/// Runs a plan and prints what came of it: whether all held.
///
/// # Panics
/// If the nodes do not come to agree.
pub fn run(plan: &Plan, program: &Path, root: &Path) -> bool {
    let params = ChainParams { interval: plan.interval, response: 120 * plan.interval, ..params(1_000) };
    let params = ChainParams { max_future: 2 * plan.interval, ..params };
    let network = start(plan.nodes, &params, program, root);
    let (nodes, mut random) = (&network.nodes, Random::new(plan.seed));
    let (mut payers, mut mined, mut paid) = (Payers::new(&params), 0_u64, 0);
    let mut samples = vec![sample(nodes, 0)];
    let (started, lasts) = (Instant::now(), Duration::from_secs(plan.seconds));
    let mut next_block = Duration::from_micros(random.exponential(plan.interval * 1_000));
    let (mut next_sample, mut next_payment) = (SAMPLE, Duration::from_secs(1));
    println!("seconds  memory of a node in MB: least, median, most  descriptors: least, most  height");
    scope(|scope| {
        while started.elapsed() < lasts {
            let now = started.elapsed();
            if now >= next_block {
                // On a thread of its own, so that blocks may cross as they do on a network.
                let (node, to) = (random.pick(nodes), address(&params, 0));
                scope.spawn(move || node.generate(1, &to));
                mined += 1;
                next_block += Duration::from_micros(random.exponential(plan.interval * 1_000));
            }
            if now >= next_payment {
                let node = random.pick(nodes);
                node.pay(&payers.payments(plan.payments));
                paid += plan.payments;
                next_payment += Duration::from_secs(1);
            }
            if now >= next_sample {
                samples.push(sample(nodes, now.as_secs()));
                if samples.len() % 6 == 1 {
                    print_sample(&samples[samples.len() - 1], nodes[0].tip().0);
                }
                next_sample += SAMPLE;
            }
            sleep(STEP);
        }
    });
    let (height, hash) = agree(&network, &address(&params, 0), &mut mined);
    check_accounts(nodes, &params, &payers);
    println!(
        "{mined} blocks mined, height {height}, {} stale: {:.2} %; {paid} payments, all confirmed; one tip: {hash}",
        mined - height,
        100.0 * (mined - height) as f64 / mined as f64
    );
    is_flat(&samples)
}

/// Nodes on loopback, each of which is told of the first two.
fn start(count: usize, params: &ChainParams, program: &Path, root: &Path) -> Network<'static> {
    let genesis = write_genesis(root, params);
    let mut nodes: Vec<Node<'static>> = Vec::new();
    for number in 0..count {
        let peers = nodes.iter().take(2).map(|node| node.p2p).collect();
        let (program, genesis) = (program.to_owned(), genesis.clone());
        let start = Start { program, root: root.join(number.to_string()), genesis, peers, ..Start::default() };
        let mut node = Node::spawn(Machine::Here, &start);
        if number < 2 {
            node.ready();
        }
        nodes.push(node);
    }
    nodes.iter_mut().for_each(Node::ready);
    Network { nodes, topology: Topology::full(count) }
}

fn sample(nodes: &[Node<'_>], seconds: u64) -> Sample {
    let (resident, descriptors) = nodes.iter().map(Node::resources).unzip();
    Sample { seconds, resident, descriptors }
}

fn print_sample(sample: &Sample, height: u64) {
    let mb = |percent| percentile(&sample.resident, percent).unwrap_or(0) as f64 / 1e6;
    let (least, most) = (sample.descriptors.iter().min(), sample.descriptors.iter().max());
    println!(
        "{:>7}  {:.1}, {:.1}, {:.1}  {}, {}  {height}",
        sample.seconds,
        mb(1),
        mb(50),
        mb(100),
        least.unwrap_or(&0),
        most.unwrap_or(&0)
    );
}

/// Mines on until nothing waits anywhere and all have one tip: its height and its hash.
fn agree(network: &Network<'_>, to: &str, mined: &mut u64) -> (u64, String) {
    eventually("all payments are confirmed everywhere", || {
        let hash = network.nodes[0].generate(1, to).pop()?;
        *mined += 1;
        network.await_tip(PATIENCE, &hash);
        network.nodes.iter().all(|node| node.waiting() == 0).then_some(())
    });
    network.nodes[0].tip()
}

/// Every node says of every account what the payments made of it; account 0 also has rewards.
fn check_accounts(nodes: &[Node<'_>], params: &ChainParams, payers: &Payers) {
    let asked: Vec<Value> = (1..payers.len()).map(|number| json!([address(params, number)])).collect();
    for node in nodes {
        for (number, outcome) in (1..).zip(node.session().calls("account_get", &asked)) {
            let account = outcome.expect("an account");
            let (balance, nonce) = payers.expected(number);
            assert_eq!(account["balance"], balance.to_string(), "account {number}: {account}");
            assert_eq!(account["nonce"], nonce, "account {number}: {account}");
        }
    }
}

/// Whether memory and descriptors at the end are about what they were half-way.
fn is_flat(samples: &[Sample]) -> bool {
    let (Some(half), Some(end)) = (samples.get(samples.len() / 2), samples.last()) else { return true };
    let median = |sample: &Sample| percentile(&sample.resident, 50).unwrap_or(0);
    let most = |sample: &Sample| sample.descriptors.iter().copied().max().unwrap_or(0);
    println!(
        "from second {} to second {}: median memory {:.1} to {:.1} MB, most descriptors {} to {}",
        half.seconds,
        end.seconds,
        median(half) as f64 / 1e6,
        median(end) as f64 / 1e6,
        most(half),
        most(end)
    );
    let memory = median(end) <= median(half) + median(half) / 10 + GROWTH_BYTES;
    let descriptors = most(end) <= most(half) + GROWTH_DESCRIPTORS;
    if !memory || !descriptors {
        println!("error: memory or descriptors grow");
    }
    memory && descriptors
}
