//! A host: the real engine on a disk that can be cut, or a script, with its access to the network.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_node::engine::message::{Input, MessageId, PeerId, RequestId};
use drystone_node::engine::mining::MiningJob;
use drystone_node::engine::work::Workshop;
use drystone_node::engine::{Config, Engine};
use drystone_node::store::{Store, StoreError, StoreOptions};

use super::deviant::Deviant;
use super::gossip::{GossipId, Router};
use super::link::{Access, Uplink};
use super::script::Script;
use crate::fault::FaultyDisk;

/// Workers of a host's pool.
pub const WORKERS: usize = 2;

/// Inputs that wait while the engine is busy; more are dropped like a full mailbox drops them, gossip and requests first.
pub const INBOX: usize = 4096;

/// What a store may cache, in bytes. Its disk is in memory already.
const CACHE_BYTES: usize = 256 << 10;

/// What runs on a host.
pub enum Program {
    /// The engine.
    Node(Box<Node>),
    /// A script.
    Script(Option<Box<dyn Script>>),
    /// Nothing: the power is off.
    Off,
}

/// A running engine and the shell around it.
pub struct Node {
    /// The engine.
    pub engine: Engine,
    /// Its store.
    pub store: Arc<Store>,
    /// Does its jobs.
    pub workshop: Workshop,
    /// What waits for the engine.
    pub inbox: VecDeque<Input>,
    /// Until when the engine is busy.
    pub busy_until: u64,
    /// When it is called next, so that of several wake-ups one counts.
    pub wake_at: u64,
    /// Until when each worker is busy.
    pub workers: [u64; WORKERS],
    /// What is being mined.
    pub job: Option<MiningJob>,
    /// Gossip that waits for its verdict.
    pub gossip: BTreeMap<MessageId, (usize, GossipId)>,
    /// Requests of others, by the name that the engine knows.
    pub incoming: BTreeMap<RequestId, (usize, RequestId)>,
    /// The last name given out.
    pub names: u64,
    /// Blocks connected and disconnected at the last call.
    pub steps: u64,
}

/// A machine on the network.
pub struct Host {
    /// What runs on it.
    pub program: Program,
    /// Counts its starts: what was meant for an earlier one is void.
    pub starts: u32,
    /// Its disk, as long as it is on.
    pub disk: FaultyDisk,
    /// What its disk held when the power went.
    pub image: Vec<u8>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its name among peers.
    pub id: PeerId,
    /// How far its clock is ahead, in milliseconds.
    pub skew_ms: i64,
    /// How far its clock has been ahead at most, in milliseconds.
    pub most_skew_ms: i64,
    /// Its part of the hash rate, of which 1,000 find a block in an interval at the difficulty that the chain begins with.
    pub share: u64,
    /// Its access to the network.
    pub access: Access,
    /// What it sends through.
    pub uplink: Uplink,
    /// Whom it is connected to.
    pub neighbours: BTreeSet<usize>,
    /// Its gossip router.
    pub router: Router,
    /// When its power goes at the latest, if it is about to go.
    pub cut_by: Option<u64>,
    /// When it lost power, in virtual microseconds.
    pub crashed_at: Vec<u64>,
    /// Where its engine is departed from.
    pub deviant: Option<Box<dyn Deviant>>,
    /// Whether it does as it should, from the beginning to the end: what is promised to hosts is promised to these.
    pub honest: bool,
}

/// The address of a host: each in a network group of its own.
pub fn address_of(number: usize) -> SocketAddr {
    let [high, low] = (number as u16 + 1).to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(60 + high, low, 0, 1)), 8646)
}

/// The name of a host among peers.
pub fn id_of(number: usize) -> PeerId {
    let mut id = [0x5a; 32];
    id[..4].copy_from_slice(&(number as u32).to_be_bytes());
    PeerId(id)
}

/// The number of the host with this name.
pub fn number_of(id: &[u8; 32]) -> usize {
    u32::from_be_bytes(*id.first_chunk().expect("a name has 32 bytes")) as usize
}

/// Who is paid for the blocks of a host.
pub fn reward_account(number: usize) -> AccountId {
    let mut id = [0xc3; 32];
    id[..8].copy_from_slice(&(number as u64).to_be_bytes());
    AccountId(id)
}

impl Node {
    /// Starts an engine on a disk.
    pub fn start(
        number: usize,
        disk: FaultyDisk,
        params: &Arc<ChainParams>,
        now_ms: u64,
        config: Config,
    ) -> Result<Node, StoreError> {
        let options = StoreOptions { cache_bytes: CACHE_BYTES, ..StoreOptions::default() };
        let store = Arc::new(Store::open_backend(disk, params, &options)?);
        let config = Config { identity: id_of(number), ..config };
        let engine = Engine::new(Arc::clone(&store), Arc::clone(params), config, now_ms)?;
        Ok(Node {
            workshop: engine.workshop(),
            engine,
            store,
            inbox: VecDeque::new(),
            busy_until: 0,
            wake_at: u64::MAX,
            workers: [0; WORKERS],
            job: None,
            gossip: BTreeMap::new(),
            incoming: BTreeMap::new(),
            names: 0,
            steps: 0,
        })
    }

    /// A name that was not given before.
    pub fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }
}

impl Host {
    /// Its engine, if one runs.
    pub fn node(&self) -> Option<&Node> {
        match &self.program {
            Program::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Its engine, if one runs.
    pub fn node_mut(&mut self) -> Option<&mut Node> {
        match &mut self.program {
            Program::Node(node) => Some(node),
            _ => None,
        }
    }

    /// Whether a script runs on it.
    pub fn is_scripted(&self) -> bool {
        matches!(self.program, Program::Script(_))
    }

    /// Whether it is to have what others have: it was always honest, or is an engine that nobody departs from any more.
    pub fn follows(&self) -> bool {
        self.honest || (self.node().is_some() && self.deviant.is_none())
    }

    /// Its engine, if one runs and nobody departs from it.
    pub fn honest_node(&self) -> Option<&Node> {
        self.node().filter(|_| self.honest)
    }

    /// Whether the power is on.
    pub fn is_on(&self) -> bool {
        !matches!(self.program, Program::Off)
    }
}
