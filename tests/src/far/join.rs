//! A newcomer that fetches a long chain: from servers behind unequal links, and without any distance, against a replay.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_node::store::{Store, StoreError, StoreOptions};

use super::network::write_genesis;
use super::node::{Machine, Node, Start};
use super::{Payers, params, within};
use crate::chain::TestChain;
use crate::wan::{Link, MS, Wan};

/// How long a newcomer may take for everything.
const SYNC_PATIENCE: Duration = Duration::from_secs(1_800);

/// A long chain on disk, from which servers start.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its parameters.
    pub params: ChainParams,
    /// The genesis file.
    pub genesis: PathBuf,
    /// The ledger's file.
    pub ledger: PathBuf,
    /// Its height.
    pub height: u64,
    /// Bytes of its bodies.
    pub bytes: u64,
}

impl Archive {
    /// A chain of `blocks` blocks with `payments` payments each, between a thousand accounts, made in `directory` unless it
    /// is there already.
    ///
    /// # Errors
    /// The store's.
    pub fn make(directory: &Path, blocks: u64, payments: usize) -> Result<Archive, StoreError> {
        const ACCOUNTS: usize = 1_000;
        const PER_COMMIT: u64 = 500;
        let params = params(ACCOUNTS);
        let genesis = write_genesis(directory, &params);
        let ledger = directory.join(format!("{blocks}-{payments}.redb"));
        let unfinished = ledger.with_extension("unfinished");
        if !ledger.exists() {
            // What an interrupted run left.
            let _ = fs::remove_file(&unfinished);
            let store = Store::open_file(&unfinished, &params, &StoreOptions::default(), |_| {})?;
            let (mut chain, mut payers) = (TestChain::new(&params), Payers::new(&params));
            let mut update = store.begin()?;
            for height in 1..=blocks {
                update.connect(&chain.extend(&AccountId([0x22; 32]), payers.payments(payments)))?;
                if height % PER_COMMIT == 0 {
                    update.commit()?;
                    update = store.begin()?;
                }
            }
            update.commit()?;
            drop(store);
            fs::rename(&unfinished, &ledger)?;
        }
        // 8 bytes of a list's length and 32 of the reward's account.
        let bytes = blocks * (40 + 160 * payments as u64);
        Ok(Archive { params, genesis, ledger, height: blocks, bytes })
    }

    /// A node that has the chain.
    ///
    /// # Panics
    /// If it does not start.
    pub fn serve<'a>(&self, machine: Machine<'a>, program: &Path, root: &Path, core: Option<usize>) -> Node<'a> {
        let data = root.join("data");
        fs::create_dir_all(&data).expect("a writable directory");
        fs::copy(&self.ledger, data.join("ledger.redb")).expect("room for a copy");
        let (program, genesis) = (program.to_owned(), self.genesis.clone());
        let start = Start { program, root: root.to_owned(), genesis, core, ..Start::default() };
        let mut node = Node::spawn(machine, &start);
        node.ready();
        node
    }

    fn join<'a>(
        &self,
        machine: Machine<'a>,
        program: &Path,
        root: &Path,
        peers: Vec<SocketAddr>,
        core: Option<usize>,
    ) -> Node<'a> {
        let (program, genesis) = (program.to_owned(), self.genesis.clone());
        Node::start(machine, &Start { program, root: root.to_owned(), genesis, peers, core, ..Start::default() })
    }
}

/// How a newcomer fared.
#[derive(Clone, Debug)]
pub struct Joined {
    /// From its start to the last block.
    pub took: Duration,
    /// What came of each server: blocks, bytes of their bodies, and all bytes that its link carried.
    pub shares: Vec<Share>,
    /// The server that was killed half-way.
    pub killed: Option<usize>,
}

/// What having a whole chain costs.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// From the first block to the last.
    pub took: Duration,
    /// Processor time of the process.
    pub cpu: Duration,
}

/// What a newcomer had of one server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// Blocks, by the newcomer's own count.
    pub blocks: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
    /// Bytes that the link carried toward it.
    pub link_bytes: u64,
}

/// A newcomer behind one link for each server, of which the busiest dies half-way.
///
/// # Panics
/// If it does not come to have everything.
pub fn over_links(archive: &Archive, links: &[(u64, u64)], program: &Path, root: &Path) -> Joined {
    let newcomer = links.len();
    let link = |server: usize| {
        let (rate, latency) = links[server];
        Link { rate, ..Link::after(latency * MS) }
    };
    let linked = |a: usize, b: usize| (a == newcomer || b == newcomer).then(|| link(a.min(b)));
    let wan = Wan::new(newcomer + 1, linked).expect("a network");
    let serve = |host: usize| {
        let root = root.join(host.to_string());
        Some(archive.serve(Machine::Host(&wan, host), program, &root, None))
    };
    let mut servers: Vec<Option<Node<'_>>> = (0..newcomer).map(serve).collect();
    let peers = servers.iter().flatten().map(|server| server.p2p).collect();
    let machine = Machine::Host(&wan, newcomer);
    let mut node = archive.join(machine, program, &root.join("newcomer"), peers, None);
    let names: Vec<String> = servers.iter().flatten().map(|server| server.name.clone()).collect();
    let mut shares = vec![Share::default(); newcomer];
    let mut killed = None;
    within(SYNC_PATIENCE, "the newcomer has the whole chain", || {
        // Of a peer that is gone, and may come back to another count, what was seen last stays.
        for peer in node.peers() {
            let server = names.iter().position(|name| *name == peer.peer_id).expect("it is linked with servers alone");
            shares[server].blocks = shares[server].blocks.max(peer.blocks_received);
            shares[server].body_bytes = shares[server].body_bytes.max(peer.block_bytes_received);
        }
        let height = node.tip().0;
        if killed.is_none() && 2 * height >= archive.height {
            let busiest = (0..newcomer).max_by_key(|server| shares[*server].blocks).expect("there are servers");
            servers[busiest].take().expect("it runs").kill();
            killed = Some(busiest);
        }
        (height == archive.height).then_some(())
    });
    for (server, share) in shares.iter_mut().enumerate() {
        share.link_bytes = wan.counters(server, newcomer).bytes;
    }
    Joined { took: took(&mut node), shares, killed }
}

/// A newcomer on one core, with `servers` servers on another, all on loopback.
///
/// # Panics
/// If it does not come to have everything.
pub fn nearby(archive: &Archive, servers: usize, program: &Path, root: &Path) -> Effort {
    let serve = |number: usize| archive.serve(Machine::Here, program, &root.join(number.to_string()), Some(1));
    let servers: Vec<Node<'_>> = (0..servers).map(serve).collect();
    let peers = servers.iter().map(|server| server.p2p).collect();
    let mut node = archive.join(Machine::Here, program, &root.join("newcomer"), peers, Some(0));
    within(SYNC_PATIENCE, "the newcomer has the whole chain", || {
        std::thread::sleep(Duration::from_millis(200));
        (node.log.connected().last()?.height == archive.height).then_some(())
    });
    let cpu = Duration::from_millis(node.cpu_ms());
    Effort { took: took(&mut node), cpu }
}

/// From when its ledger was opened to the last block that it connected.
fn took(node: &mut Node<'_>) -> Duration {
    let opened = node.log.lines().iter().find(|line| line.message == "ledger opened").expect("it opened one").at;
    let last = node.log.connected().last().expect("it connected blocks").at;
    Duration::from_micros(last - opened)
}

/// A replay of the same blocks from disk, by this very program on the newcomer's core.
///
/// # Panics
/// If it fails.
pub fn replayed(archive: &Archive, root: &Path) -> Effort {
    fs::create_dir_all(root).expect("a writable directory");
    let own = std::env::current_exe().expect("a running program has a path");
    let mut command = Command::new("taskset");
    command
        .args(["-c", "0"])
        .arg(own)
        .arg("replay")
        .arg(&archive.genesis)
        .arg(&archive.ledger)
        .arg(root.join("replayed.redb"));
    let output = command.output().expect("taskset is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let _ = fs::remove_file(root.join("replayed.redb"));
    let mut microseconds = text.split_whitespace().map(|word| Duration::from_micros(word.parse().expect("a number")));
    let mut next = || microseconds.next().expect("it prints both its times");
    Effort { took: next(), cpu: next() }
}
