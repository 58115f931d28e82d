//! A peer that does what it likes: it listens, mixes what it heard with what it makes up, and says it to whoever lets it in.
//!
//! It knows the protocol well enough to get past the first checks: its headers have work, its bodies fit their headers, its
//! statuses decode. It owns no key of anybody, and of the hash rate what [`MINING_MEAN`] takes: a header of full present
//! difficulty every two minutes, for blocks whose state is wrong. What it cannot do, if the engine is right, is have honest
//! hosts ban each other, hold their memory, or keep them from agreeing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drystone_core::block::{Block, Body, Header};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::transaction::Transaction;
use drystone_core::validation::check_header;
use drystone_node::engine::limits::{BODIES_PER_REQUEST, RECONCILIATION_BUCKETS};
use drystone_node::engine::message::RequestId;
use drystone_node::engine::wire::{Announcement, Gossip, PROTOCOL_VERSION, Request, Response, Status, Topic, announce};

use super::gossip::Frame;
use super::link::Packet;
use super::script::{Act, Script, any_address};
use super::{MINUTE, SECOND};
use crate::random::Random;

/// The mean time between two of its acts.
const ACT_MEAN: u64 = SECOND;
/// The mean time between two headers that it works for.
pub const MINING_MEAN: u64 = 2 * MINUTE;
/// How long it stays at one address, on average; at a new one nobody has banned it yet.
const MOVE_MEAN: u64 = 5 * MINUTE;
/// Connections that it wants.
const CONNECTIONS: usize = 6;
/// What it remembers of each kind of thing.
const MEMORY: usize = 256;

/// A peer without manners.
pub struct Hostile {
    random: Random,
    params: Arc<ChainParams>,
    chain_id: BlockHash,
    /// The hosts that it knows of are those below this number.
    victims: usize,
    /// When it falls silent.
    until: u64,
    mines_at: u64,
    /// Blocks that it worked for.
    mined: u64,
    moves_at: u64,
    peers: BTreeSet<usize>,
    status: Option<Status>,
    headers: Vec<Header>,
    bodies: BTreeMap<BlockHash, Body>,
    transactions: Vec<Transaction>,
}

impl Hostile {
    /// A peer that bothers the hosts below `victims` until a time.
    pub fn new(params: &Arc<ChainParams>, victims: usize, until: u64, random: Random) -> Hostile {
        let genesis = params.genesis_block();
        Hostile {
            random,
            params: Arc::clone(params),
            chain_id: params.chain_id(),
            victims,
            until,
            mines_at: 0,
            mined: 0,
            moves_at: 0,
            peers: BTreeSet::new(),
            status: None,
            headers: vec![genesis.header],
            bodies: BTreeMap::from([(genesis.header.hash(), genesis.body)]),
            transactions: Vec::new(),
        }
    }

    // What it knows.

    fn learn_header(&mut self, header: Header) {
        if !self.headers.contains(&header) {
            remember(&mut self.headers, header);
        }
    }

    fn learn_bodies(&mut self, bodies: Vec<Option<Body>>) {
        for body in bodies.into_iter().flatten() {
            let root = body.tx_root();
            if let Some(header) = self.headers.iter().rev().find(|header| header.tx_root == root) {
                self.bodies.insert(header.hash(), body);
            }
        }
        while self.bodies.len() > MEMORY {
            self.bodies.pop_first();
        }
    }

    /// A header that it heard of, a late one rather than an early one.
    fn header(&mut self) -> Header {
        let back = self.random.exponential(4).min(self.headers.len() as u64 - 1) as usize;
        self.headers[self.headers.len() - 1 - back]
    }

    fn hash(&mut self) -> BlockHash {
        if self.random.one_in(4) { BlockHash(self.random.bytes()) } else { self.header().hash() }
    }

    fn few(&mut self) -> usize {
        self.random.exponential(3) as usize
    }

    // What it makes up.

    /// The last status that it heard, as if it were its own; or one that it makes up.
    fn status(&mut self) -> Status {
        let mut status = match &self.status {
            Some(heard) if !self.random.one_in(8) => heard.clone(),
            _ => self.false_status(),
        };
        if self.random.one_in(16) {
            status.state_root = StateRoot(self.random.bytes());
        }
        status
    }

    fn false_status(&mut self) -> Status {
        let header = self.header();
        let any = |random: &mut Random| random.next() >> random.below(64);
        let (height, work) = (any(&mut self.random), Work::from_hashes(any(&mut self.random)));
        let held = (0..self.few().min(16)).map(|_| (any(&mut self.random), any(&mut self.random))).collect();
        let version = PROTOCOL_VERSION + u32::from(self.random.one_in(8));
        let (chain_id, hash, state_root) = (self.chain_id, header.hash(), header.state_root);
        Status { version, chain_id, height, hash, work, state_root, held }
    }

    /// A child of a header that it heard of, with work, right in its place but for what is drawn wrong.
    fn mine(&mut self) -> Block {
        let parent = self.header();
        let grandparent = self.headers.iter().find(|header| header.hash() == parent.prev_hash).copied();
        let times = ParentTimes {
            bits: parent.bits,
            height: 100,
            time: parent.time,
            grandparent_time: grandparent
                .map_or(parent.time.saturating_sub(self.params.interval), |header| header.time),
        };
        let mut transactions = Vec::new();
        for _ in 0..self.few() {
            transactions.extend(self.transaction());
        }
        let body = Body { reward_to: AccountId(self.random.bytes()), transactions };
        let time = match self.random.below(20) {
            0 => parent.time.saturating_sub(self.random.below(2)),
            1 => self.random.next() >> self.random.below(64),
            _ => parent.time + 1 + self.random.below(2 * self.params.interval),
        };
        let bits = if self.random.one_in(20) { self.params.pow_limit } else { next_bits(&self.params, &times) };
        let state_root = if self.random.bit() { parent.state_root } else { StateRoot(self.random.bytes()) };
        let (prev_hash, tx_root) = (parent.hash(), body.tx_root());
        let mut header = Header { version: parent.version, prev_hash, state_root, tx_root, time, bits, nonce: 0 };
        while check_header(header, &self.params).is_err() {
            header.nonce += 1;
        }
        self.learn_header(header);
        self.bodies.insert(header.hash(), body.clone());
        Block { header, body }
    }

    /// A transaction that it heard of, some of them spoilt.
    fn transaction(&mut self) -> Option<Transaction> {
        let heard = self.random.below(self.transactions.len().max(1) as u64) as usize;
        let mut transaction = self.transactions.get(heard)?.clone();
        match self.random.below(40) {
            0 => transaction.signature.0[self.random.below(64) as usize] ^= 1,
            1 => transaction.body.nonce = self.random.next(),
            2 => transaction.body.amount.0 = self.random.next(),
            3 => transaction.body.memo.0 = vec![0; self.random.below(257) as usize],
            _ => {}
        }
        Some(transaction)
    }

    fn announcement(&mut self) -> Option<Announcement> {
        let header = self.header();
        let body = self.bodies.get(&header.hash())?.clone();
        let mut announcement = announce(&Block { header, body });
        match self.random.below(16) {
            0 => announcement.reward_to.0[0] ^= 1,
            1 => announcement.ids.push([0; 6]),
            2 => drop(announcement.ids.pop()),
            3 => announcement.ids.reverse(),
            4 => announcement.ids.extend_from_within(..),
            _ => {}
        }
        Some(announcement)
    }

    fn request(&mut self) -> Request {
        match self.random.below(6) {
            0 => Request::Status(self.status()),
            1 => Request::Headers((0..self.few().min(64)).map(|_| self.hash()).collect()),
            2 => Request::Bodies((0..self.few().min(BODIES_PER_REQUEST + 1)).map(|_| self.hash()).collect()),
            3 => {
                let hash = self.hash();
                Request::BlockTransactions(hash, (0..self.few()).map(|_| self.random.below(5) as u32).collect())
            }
            4 => {
                let buckets = if self.random.bit() { RECONCILIATION_BUCKETS } else { self.few() };
                Request::Reconcile((0..buckets).map(|_| self.random.next()).collect())
            }
            _ => Request::Transactions((0..self.few()).map(|_| self.random.next().to_le_bytes()).collect()),
        }
    }

    fn response(&mut self) -> Response {
        match self.random.below(7) {
            0 => Response::Refused,
            1 => Response::Status(self.status()),
            2 => Response::Headers((0..self.few()).map(|_| self.header()).collect()),
            3 => Response::Bodies((0..self.few()).map(|_| self.body()).collect()),
            4 => Response::BlockTransactions(Some((0..self.few()).filter_map(|_| self.transaction()).collect())),
            5 => Response::Reconcile((0..self.few()).map(|_| self.random.next().to_le_bytes()).collect()),
            _ => Response::Transactions((0..self.few()).filter_map(|_| self.transaction()).collect()),
        }
    }

    fn body(&mut self) -> Option<Body> {
        let hash = self.hash();
        self.bodies.get(&hash).cloned()
    }

    /// What an honest peer would answer, as far as it can.
    fn truth(&mut self, request: &Request) -> Response {
        match request {
            Request::Status(_) => Response::Status(self.status()),
            Request::Headers(locator) => {
                // Those that follow each other from the locator on, in the order in which it heard of them.
                let mut last = locator.first().copied().unwrap_or(self.chain_id);
                let mut headers = Vec::new();
                for header in self.headers.iter().filter(|header| header.prev_hash != BlockHash::ZERO) {
                    if header.prev_hash == last {
                        last = header.hash();
                        headers.push(*header);
                    }
                }
                Response::Headers(headers)
            }
            Request::Bodies(hashes) => {
                Response::Bodies(hashes.iter().map(|hash| self.bodies.get(hash).cloned()).collect())
            }
            Request::BlockTransactions(hash, indexes) => {
                let body = self.bodies.get(hash);
                let given = body.map(|body| {
                    let found = indexes.iter().filter_map(|index| body.transactions.get(*index as usize));
                    found.cloned().collect()
                });
                Response::BlockTransactions(given)
            }
            Request::Reconcile(_) => Response::Reconcile(Vec::new()),
            Request::Transactions(_) => Response::Transactions(Vec::new()),
        }
    }

    /// Something to say to a peer, or to do to it. What ends a connection at once is rare, or little else would be tried.
    fn mischief(&mut self, peer: usize) -> Vec<Act> {
        match self.random.below(100) {
            0..25 => vec![Act::Ask(peer, self.request())],
            25..50 => vec![Act::Ask(peer, Request::Bodies((0..4).map(|_| self.header().hash()).collect()))],
            50..70 => {
                self.announcement().map(Gossip::Block).map(|gossip| Act::Gossip(peer, gossip)).into_iter().collect()
            }
            70..92 => {
                let transactions: Vec<_> = (0..=self.few()).filter_map(|_| self.transaction()).collect();
                vec![Act::Gossip(peer, Gossip::Transactions(transactions))]
            }
            92..94 => {
                let burst = self.random.below(300);
                let request = self.request();
                (0..burst).map(|_| Act::Ask(peer, request.clone())).collect()
            }
            94..96 => vec![Act::Send(peer, self.noise())],
            96..98 => vec![Act::Answer(peer, RequestId(self.random.below(1000)), self.response())],
            _ => vec![Act::Hang(peer)],
        }
    }

    /// Bytes that are no message, or hardly one.
    fn noise(&mut self) -> Packet {
        let mut bytes = match self.random.below(4) {
            0 => self.request().to_bytes(),
            1 => self.response().to_bytes(),
            _ => self.random.bytes()[..self.random.below(33) as usize].to_vec(),
        };
        let end = bytes.len();
        if let Some(byte) = bytes.get_mut(self.random.below(end.max(1) as u64) as usize) {
            *byte ^= 1 << self.random.below(8);
        }
        let bytes: Arc<[u8]> = bytes.into();
        match self.random.below(3) {
            0 => Packet::Request(RequestId(self.random.next()), bytes),
            1 => Packet::Response(RequestId(self.random.below(1000)), bytes),
            _ => Packet::Gossip(Frame::publish(
                if self.random.bit() { Topic::Blocks } else { Topic::Transactions },
                bytes,
            )),
        }
    }

    fn hang_all(&self) -> Vec<Act> {
        self.peers.iter().map(|peer| Act::Hang(*peer)).collect()
    }
}

impl Script for Hostile {
    fn deeds(&self) -> Option<(&'static str, u64)> {
        Some(("hostile", self.mined))
    }

    fn wake(&mut self, now: u64) -> Vec<Act> {
        if now >= self.until {
            return self.hang_all();
        }
        let mut acts = Vec::new();
        if now >= self.moves_at {
            self.moves_at = now + self.random.exponential(MOVE_MEAN);
            acts.extend(self.hang_all());
            acts.push(Act::Move(any_address(&mut self.random)));
        }
        if self.peers.len() < CONNECTIONS {
            acts.push(Act::Dial(self.random.below(self.victims as u64) as usize));
        }
        let peers: Vec<usize> = self.peers.iter().copied().collect();
        if !peers.is_empty() {
            let peer = *self.random.pick(&peers);
            acts.extend(self.mischief(peer));
            if now >= self.mines_at {
                self.mines_at = now + self.random.exponential(MINING_MEAN);
                self.mined += 1;
                let gossip = Gossip::Block(announce(&self.mine()));
                acts.extend(peers.iter().map(|peer| Act::Gossip(*peer, gossip.clone())));
            }
        }
        acts.push(Act::Wait(self.random.exponential(ACT_MEAN)));
        acts
    }

    fn connected(&mut self, _now: u64, peer: usize, dialled: bool) -> Vec<Act> {
        self.peers.insert(peer);
        if dialled && !self.random.one_in(20) {
            vec![Act::Ask(peer, Request::Status(self.status()))]
        } else {
            Vec::new()
        }
    }

    fn closed(&mut self, peer: usize) {
        self.peers.remove(&peer);
    }

    fn request(&mut self, _now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act> {
        if let Request::Status(status) = &request {
            self.status = Some(status.clone());
        }
        let truth = self.truth(&request);
        let answers = match self.random.below(40) {
            0..4 => Vec::new(),
            4 => vec![self.response()],
            5 => vec![truth.clone(), truth],
            6..10 => vec![Response::Refused],
            _ => vec![truth],
        };
        answers.into_iter().map(|answer| Act::Answer(peer, id, answer)).collect()
    }

    fn response(&mut self, _now: u64, _peer: usize, response: Response) -> Vec<Act> {
        match response {
            Response::Status(status) => self.status = Some(status),
            Response::Headers(headers) => headers.into_iter().for_each(|header| self.learn_header(header)),
            Response::Bodies(bodies) => self.learn_bodies(bodies),
            Response::Transactions(transactions) => {
                transactions.into_iter().for_each(|transaction| remember(&mut self.transactions, transaction));
            }
            _ => {}
        }
        Vec::new()
    }

    fn gossip(&mut self, _now: u64, _peer: usize, gossip: Gossip) -> Vec<Act> {
        match gossip {
            Gossip::Block(announcement) => self.learn_header(announcement.header),
            Gossip::Transactions(transactions) => {
                transactions.into_iter().for_each(|transaction| remember(&mut self.transactions, transaction));
            }
        }
        Vec::new()
    }
}

/// Adds something; where there is too much, the oldest goes.
fn remember<T>(known: &mut Vec<T>, new: T) {
    if known.len() >= MEMORY {
        known.remove(0);
    }
    known.push(new);
}
