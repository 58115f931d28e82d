//! Node processes connected as a topology says.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drystone_core::params::ChainParams;

use super::log::Connected;
use super::node::{Machine, Node, Start};
use super::topology::Topology;
use super::{eventually, within};
use crate::wan::{Link, Wan};

/// Running nodes and how they are connected.
pub struct Network<'a> {
    /// The nodes, by their hosts' numbers.
    pub nodes: Vec<Node<'a>>,
    /// Their connections.
    pub topology: Topology,
}

impl<'a> Network<'a> {
    /// Starts a node on each host of a network whose links are those of `topology`, and waits until all are connected.
    ///
    /// # Panics
    /// If they do not start or never are.
    pub fn start(wan: &'a Wan, topology: &Topology, params: &ChainParams, program: &Path, root: &Path) -> Network<'a> {
        let genesis = write_genesis(root, params);
        let spawn = |host: usize| {
            let lower = topology.neighbours(host).into_iter().filter(|other| *other < host);
            let peers = lower.map(|other| SocketAddr::new(wan.address(other).into(), 8646)).collect();
            let (program, genesis) = (program.to_owned(), genesis.clone());
            let start = Start { program, root: root.join(host.to_string()), genesis, peers, ..Start::default() };
            Node::spawn(Machine::Host(wan, host), &start)
        };
        let nodes = (0..topology.hosts).map(spawn).collect();
        let mut network = Network { nodes, topology: topology.clone() };
        network.nodes.iter_mut().for_each(Node::ready);
        network.await_links();
        network
    }

    /// Waits until every link carries a connection.
    fn await_links(&self) {
        eventually("all links are connected", || {
            let connected = |(a, b): &(usize, usize)| self.nodes[*a].is_connected_to(&self.nodes[*b].name);
            self.topology.edges.iter().all(connected).then_some(())
        });
    }

    /// Waits until every node has this tip.
    ///
    /// # Panics
    /// If one never does.
    pub fn await_tip(&self, patience: Duration, hash: &str) {
        within(patience, "all nodes have the tip", || self.nodes.iter().all(|node| node.tip().1 == hash).then_some(()));
    }

    /// Waits until every node has logged a block, and gives what each logged.
    ///
    /// # Panics
    /// If one never does.
    pub fn await_block(&mut self, patience: Duration, hash: &str) -> Vec<Connected> {
        within(patience, "all nodes connect the block", || {
            self.nodes.iter_mut().map(|node| node.log.connected_at(hash)).collect()
        })
    }

    /// Waits until as many transactions as this wait at every node.
    ///
    /// # Panics
    /// If they never do.
    pub fn await_waiting(&self, count: u64) {
        eventually("all mempools hold the payments", || {
            self.nodes.iter().all(|node| node.waiting() == count).then_some(())
        });
    }

    /// Processor time that all nodes have used, in milliseconds.
    pub fn cpu_ms(&self) -> u64 {
        self.nodes.iter().map(Node::cpu_ms).sum()
    }
}

/// Writes the genesis file of a chain into a directory.
///
/// # Panics
/// If it cannot be written.
pub fn write_genesis(root: &Path, params: &ChainParams) -> PathBuf {
    fs::create_dir_all(root).expect("a writable directory");
    let path = root.join("genesis.json");
    fs::write(&path, params.to_json()).expect("a writable directory");
    path
}

/// Links where a topology has them, with the latency of each in microseconds and a tenth of it as jitter.
pub fn links(topology: &Topology, latency: impl Fn(usize, usize) -> u64) -> impl FnMut(usize, usize) -> Option<Link> {
    move |a, b| {
        let latency = latency(a.min(b), a.max(b));
        topology.has(a, b).then_some(Link { jitter: latency / 10, ..Link::after(latency) })
    }
}
