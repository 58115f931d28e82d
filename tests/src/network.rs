//! Real nodes that are connected to each other, a chain that they are given block by block, and what is known of their health.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use drystone_core::block::Block;
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::transaction::Transaction;
use drystone_node::engine::wire::{PROTOCOL_VERSION, Status};
use libp2p::PeerId;
use serde_json::{Value, json};

use crate::chain::TestChain;
use crate::program::{Node, eventually};

/// Whom the chain's blocks reward.
const MINER: AccountId = AccountId([0x11; 32]);

/// A chain of the tests' own: every rule is the development chain's, half of all hashes meet its target, and it began an hour
/// ago, so that no block of a test is from the future.
///
/// # Panics
/// If the clock is before 1970.
pub fn params(name: &str) -> ChainParams {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    ChainParams { name: name.into(), time: now.as_millis() as u64 - 60 * 60 * 1000, ..dev_params() }
}

/// Starts a node on `root/genesis.json` that dials `peers`, with the settings of `config` besides.
///
/// # Panics
/// If it does not start.
pub fn start(root: &Path, params: &ChainParams, config: &str, peers: &[SocketAddr]) -> Node {
    fs::create_dir_all(root).expect("a writable directory");
    let (genesis, settings) = (root.join("genesis.json"), root.join("node.toml"));
    fs::write(&genesis, params.to_json()).expect("a writable directory");
    fs::write(&settings, config).expect("a writable directory");
    let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let mut arguments: Vec<String> = ["run", "--listen", "127.0.0.1:0", "--genesis"].map(Into::into).to_vec();
    arguments.extend([path(&genesis), "--config".into(), path(&settings)]);
    peers.iter().for_each(|peer| arguments.extend(["--peer".into(), peer.to_string()]));
    Node::start(root, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What lets more than a few nodes and peers of one machine talk to each other.
pub const CROWDED: &str = "[net]\nmax_per_ip = 64\ngroup_limits = false\n";

/// A node, as its log and the system tell of it.
impl Node {
    /// A field of `node.json`.
    ///
    /// # Panics
    /// If it is not there: a running node has it.
    fn noted(&self, field: &str) -> String {
        let note = fs::read_to_string(self.data_dir.join("node.json")).expect("a running node has a note");
        let note: Value = serde_json::from_str(&note).expect("it is JSON");
        note[field].as_str().expect("it names this").to_owned()
    }

    /// Where peers reach it.
    ///
    /// # Panics
    /// If its note is gone.
    pub fn p2p(&self) -> SocketAddr {
        self.noted("p2p").parse().expect("an address")
    }

    /// Its name among peers.
    ///
    /// # Panics
    /// If its note is gone.
    pub fn peer_id(&self) -> PeerId {
        self.noted("peer_id").parse().expect("a name")
    }

    /// Its log so far.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn log(&self) -> String {
        let root = self.data_dir.parent().expect("the data lie in a directory");
        fs::read_to_string(root.join("log")).expect("a started node has a log")
    }

    /// The lines of its log that hold all of these.
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        lines.map(str::to_owned).collect()
    }

    /// What it counted against a peer, a line for each offence.
    pub fn penalties(&self, peer: &PeerId) -> Vec<String> {
        self.lines(&["penalty:", &peer.to_string()])
    }

    /// Whether it has banned a peer.
    pub fn has_banned(&self, peer: &PeerId) -> bool {
        !self.lines(&["banned:", &peer.to_string()]).is_empty()
    }

    /// The memory that it holds now, and the most that it ever held, in MiB.
    ///
    /// # Panics
    /// If the system does not tell.
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the system tells");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// The hash of its tip.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn tip(&self) -> String {
        self.call("chain_head", json!([])).expect("it has a tip")["hash"].as_str().expect("a hash").to_owned()
    }
}

/// Honest nodes, each connected to the first, and the chain that they follow.
pub struct Network {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The chain up to the tip of all.
    pub chain: TestChain,
    /// Its rules.
    pub params: ChainParams,
    before: Vec<u64>,
}

impl Network {
    /// Starts `count` nodes on a chain of this many empty blocks, with the settings of `config`.
    ///
    /// # Panics
    /// If they do not start, or do not find each other.
    pub fn start(root: &Path, params: &ChainParams, config: &str, count: usize, blocks: usize) -> Network {
        let mut nodes: Vec<Node> = Vec::new();
        for number in 0..count {
            let first: Vec<SocketAddr> = nodes.first().map(Node::p2p).into_iter().collect();
            nodes.push(start(&root.join(format!("node{number}")), params, config, &first));
        }
        let mut network = Network { chain: TestChain::new(params), params: params.clone(), nodes, before: Vec::new() };
        for node in &network.nodes[1..] {
            let name = network.nodes[0].peer_id().to_string();
            eventually("the nodes find each other", || node.lines(&["peer connected", &name]).pop());
            let name = node.peer_id().to_string();
            eventually("the nodes find each other", || network.nodes[0].lines(&["peer connected", &name]).pop());
        }
        for _ in 0..blocks {
            let block = network.extend(Vec::new());
            network.submit(0, &block);
        }
        network.agree();
        network.before = network.nodes.iter().map(|node| node.memory().0).collect();
        network
    }

    /// The next block of the chain, which no node has yet.
    pub fn extend(&mut self, transactions: Vec<Transaction>) -> Block {
        self.chain.extend(&MINER, transactions).block().clone()
    }

    /// Hands a block to a node as its miner would.
    ///
    /// # Panics
    /// If the node does not take it.
    pub fn submit(&self, node: usize, block: &Block) {
        let hex = hex::encode(encode(block));
        self.nodes[node].call("mining_submit", json!([hex])).expect("the block is valid");
    }

    /// Waits until every node is at the chain's tip.
    ///
    /// # Panics
    /// If one never is.
    pub fn agree(&self) {
        let tip = self.chain.tip().hash.to_string();
        for (number, node) in self.nodes.iter().enumerate() {
            eventually(&format!("node {number} comes to the tip"), || (node.tip() == tip).then_some(()));
        }
    }

    /// What an honest peer at the chain's tip says of itself.
    pub fn status(&self) -> Status {
        let tip = self.chain.tip();
        Status {
            version: PROTOCOL_VERSION,
            chain_id: self.chain_id(),
            height: tip.height,
            hash: tip.hash,
            work: tip.work,
            state_root: self.chain.headers().last().expect("genesis at least").state_root,
            held: if tip.height > 0 { vec![(1, tip.height)] } else { Vec::new() },
        }
    }

    /// The genesis hash.
    pub fn chain_id(&self) -> BlockHash {
        self.params.chain_id()
    }

    /// After an attack: a block given to one node, then one to another, reach all; no node blames another for anything; and
    /// what `attack` cost in memory is printed and is less than `most` MiB above what the nodes held before it.
    ///
    /// # Panics
    /// If it is otherwise.
    pub fn is_well(&mut self, attack: &str, most: u64) {
        for node in [0, self.nodes.len() - 1] {
            let block = self.extend(Vec::new());
            self.submit(node, &block);
            self.agree();
        }
        let names: BTreeSet<PeerId> = self.nodes.iter().map(Node::peer_id).collect();
        for (number, node) in self.nodes.iter().enumerate() {
            let (now, peak) = node.memory();
            let before = self.before[number];
            println!("{attack}: node {number} held {before} MiB before, {now} after, {peak} at most");
            assert!(peak < before + most, "node {number} holds too much");
            for name in &names {
                assert_eq!(node.penalties(name), Vec::<String>::new(), "an honest node is blamed");
                assert!(node.lines(&["peer disconnected", &name.to_string()]).is_empty(), "an honest node is left");
            }
            assert!(node.lines(&["ERROR"]).is_empty(), "{:?}", node.lines(&["ERROR"]));
        }
    }
}
