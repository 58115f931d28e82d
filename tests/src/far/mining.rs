//! Does a node that mines on all cores answer, and connect blocks, as soon as one that does not? The same blocks for both: those
//! that the one mined are handed to the other, with the same payments waiting for them.

use std::path::Path;
use std::thread::{available_parallelism, scope, sleep};
use std::time::{Duration, Instant};

use clap::Args;
use drystone_core::params::{ChainKind, ChainParams};
use drystone_core::pow::CompactTarget;
use serde_json::{Value, json};

use super::chain::{Payers, address, params};
use super::figures::{ms, percentile, spread};
use super::network::write_genesis;
use super::node::{Machine, Node, Start};
use super::session::Session;

/// Accounts that pay in turn.
const ACCOUNTS: usize = 1_000;
/// How long the client waits from a reply to its next question.
const PAUSE: Duration = Duration::from_millis(5);

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// How many blocks.
    #[arg(long, default_value_t = 60)]
    pub blocks: u64,
    /// Payments that wait for each.
    #[arg(long, default_value_t = 1_000)]
    pub payments: usize,
}

/// What was seen of one node.
#[derive(Debug)]
pub struct Seen {
    /// Microseconds of each `node_info`.
    pub answers: Vec<u64>,
    /// Milliseconds of each block's connection and commit, by the node's own log.
    pub blocks: Vec<u64>,
}

impl Seen {
    fn print(&self, name: &str) {
        let blocks: Vec<u64> = self.blocks.iter().map(|ms| 1_000 * ms).collect();
        let p99 = percentile(&self.answers, 99).map_or("-".into(), ms);
        println!("{name}: {} calls of node_info, {}, p99 {p99} ms", self.answers.len(), spread(&self.answers));
        println!("  {} blocks connected, {}", blocks.len(), spread(&blocks));
    }
}

/// Runs a plan and prints what came of it: first the node that mines, then the one that does not.
///
/// # Panics
/// If a node does not start, or does not take a block.
pub fn run(plan: &Plan, program: &Path, root: &Path) -> [Seen; 2] {
    // Sixteen million hashes a block, so that hardly any time goes by without hashing; it does not get harder within the run.
    let bits = CompactTarget(0x1e00_ffff);
    let interval = 60_000;
    let response = 1_000 * interval;
    let params = ChainParams { kind: ChainKind::Test, interval, response, bits, ..params(ACCOUNTS) };
    let genesis = write_genesis(root, &params);
    let mut payers = Payers::new(&params);
    let rounds: Vec<_> = (0..plan.blocks).map(|_| payers.payments(plan.payments)).collect();
    let start = |name: &str, threads: usize| {
        let arguments = ["--threads", &threads.to_string(), "--mine", &address(&params, 0)].map(str::to_owned).to_vec();
        let (program, genesis, root) = (program.to_owned(), genesis.clone(), root.join(name));
        Node::start(Machine::Here, &Start { program, root, genesis, arguments, ..Start::default() })
    };

    let mut mining = start("mining", available_parallelism().map_or(1, usize::from));
    let (mut answers, mut blocks) = (Vec::new(), Vec::new());
    for (height, payments) in (1..).zip(&rounds) {
        mining.pay(payments);
        watch(&mining, height, &mut answers);
    }
    let mut session = mining.session();
    for height in 1..=plan.blocks {
        blocks.push(session.call("chain_block", &json!([height, true])).expect("it has its blocks"));
    }
    let miner = Seen { answers, blocks: connected(&mut mining, plan.blocks) };
    drop((session, mining));

    let mut resting = start("resting", 0);
    let mut answers = Vec::new();
    for ((height, block), payments) in (1..).zip(&blocks).zip(&rounds) {
        resting.pay(payments);
        // As many questions as between two blocks of the other, or the few that come before a block would weigh most.
        let until = Instant::now() + Duration::from_millis(300);
        let mut session = resting.session();
        while Instant::now() < until {
            ask(&mut session, &mut answers);
        }
        // Asked meanwhile, too: a block that the miner finds is connected between two questions as well.
        scope(|scope| {
            scope.spawn(|| resting.call("mining_submit", &json!([block])).expect("it is valid"));
            watch(&resting, height, &mut answers);
        });
    }
    let seen = [miner, Seen { answers, blocks: connected(&mut resting, plan.blocks) }];
    seen[0].print("mining");
    seen[1].print("resting");
    seen
}

/// Asks until the node is at a height.
fn watch(node: &Node<'_>, height: u64, answers: &mut Vec<u64>) {
    let mut session = node.session();
    while ask(&mut session, answers)["height"].as_u64().expect("a height") < height {}
}

fn ask(session: &mut Session, answers: &mut Vec<u64>) -> Value {
    let asked = Instant::now();
    let info = session.call("node_info", &json!([])).expect("it answers");
    answers.push(asked.elapsed().as_micros() as u64);
    sleep(PAUSE);
    info
}

fn connected(node: &mut Node<'_>, up_to: u64) -> Vec<u64> {
    let connected = node.log.connected();
    connected.iter().filter(|block| block.height <= up_to).map(|block| block.took_ms).collect()
}
