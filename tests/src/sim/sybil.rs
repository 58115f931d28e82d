//! Peers without an engine that are many, or that say too much: an eclipse, headers without end, payments without end.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;

use drystone_core::amount::Amount;
use drystone_core::block::{Body, Header};
use drystone_core::hash::TxRoot;
use drystone_core::key::SecretKey;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::transaction::{Memo, TransactionBody};
use drystone_node::engine::limits::{HEADERS_PER_RESPONSE, KEPT_TIP_WORKS};
use drystone_node::engine::mempool::Limits;
use drystone_node::engine::message::RequestId;
use drystone_node::engine::wire::{Gossip, PROTOCOL_VERSION, Request, Response, Status};

use super::archive::{Archive, Manner};
use super::script::{Act, Script, any_address};
use super::{MINUTE, MS, SECOND};
use crate::chain::cheap_fork;
use crate::random::Random;

/// One of many hosts that belong to one will: they fill every place that a victim has for peers, and keep everything from it.
///
/// They are in four network groups, as whoever rents machines has addresses: many, and close to each other.
pub struct Eclipse {
    victim: usize,
    address: SocketAddr,
    until: u64,
    connected: bool,
    /// How often it was connected to its victim.
    connections: u64,
    /// What the victim said of itself: it is told the same, so that it believes to be in step. At first that there is nothing
    /// but genesis.
    status: Status,
}

impl Eclipse {
    /// Number `index` of the hosts that have a victim among themselves until a time.
    pub fn new(params: &ChainParams, index: usize, victim: usize, until: u64) -> Eclipse {
        let ip = Ipv4Addr::new(200, (index % 4) as u8, (index / 4) as u8, 9);
        let address = SocketAddr::new(IpAddr::V4(ip), 8646);
        Eclipse { victim, address, until, connected: false, connections: 0, status: genesis_status(params) }
    }
}

impl Script for Eclipse {
    fn deeds(&self) -> Option<(&'static str, u64)> {
        Some(("eclipse", self.connections))
    }

    fn wake(&mut self, now: u64) -> Vec<Act> {
        if now >= self.until {
            return vec![Act::Hang(self.victim)];
        }
        let mut acts = vec![Act::Move(self.address), Act::Wait(5 * SECOND)];
        if !self.connected {
            acts.push(Act::Dial(self.victim));
        }
        acts
    }

    fn connected(&mut self, _now: u64, peer: usize, dialled: bool) -> Vec<Act> {
        self.connected |= peer == self.victim;
        self.connections += u64::from(peer == self.victim);
        // Whoever dials says first what it has, or is hung up on.
        if dialled { vec![Act::Ask(peer, Request::Status(self.status.clone()))] } else { Vec::new() }
    }

    fn closed(&mut self, peer: usize) {
        self.connected &= peer != self.victim;
    }

    fn request(&mut self, _now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act> {
        if let Request::Status(status) = &request {
            self.status = status.clone();
        }
        vec![Act::Answer(peer, id, nothing(request))]
    }

    fn response(&mut self, _now: u64, _peer: usize, response: Response) -> Vec<Act> {
        if let Response::Status(status) = response {
            self.status = status;
        }
        Vec::new()
    }
}

/// How often it goes to somebody else.
const VISIT: u64 = 10 * SECOND;
/// How often it has another chain, and another address, at which nobody has banned it yet.
const ANEW: u64 = 10 * MINUTE;
/// The most headers of a chain: more than a page.
const LONGEST: u64 = 3 * HEADERS_PER_RESPONSE as u64 / 2;

/// A peer that claims at every visit that its chain is the heaviest, and has one of headers alone, with too little work to be
/// kept: three quarters of what hosts keep, or less. Until hosts refuse anything, it has nothing but genesis.
pub struct HeaderSpam {
    random: Random,
    params: ChainParams,
    age_ms: u64,
    chain: Archive,
    /// The height and the work of the best chain that it was told of.
    best: (u64, Work),
    anew_at: u64,
    /// Chains that it made up.
    chains: u64,
    victims: usize,
    until: u64,
}

impl HeaderSpam {
    /// A peer that visits the hosts below `victims` until a time; at its start genesis is `age_ms` old.
    pub fn new(params: &ChainParams, age_ms: u64, victims: usize, until: u64, random: Random) -> HeaderSpam {
        let chain = HeaderSpam::chain(params, cheap_fork(params, 0, TxRoot([0; 32])), Work::ZERO);
        let best = (0, Work::ZERO);
        HeaderSpam { random, params: params.clone(), age_ms, chain, best, anew_at: 0, chains: 0, victims, until }
    }

    fn chain(params: &ChainParams, headers: Vec<Header>, claim: Work) -> Archive {
        Archive::new(params, headers, BTreeMap::new(), claim, Manner::Empty)
    }

    fn hear(&mut self, status: &Status) {
        if status.work > self.best.1 {
            self.best = (status.height, status.work);
        }
    }

    /// The most headers that are worth three quarters of what hosts keep.
    fn most(&self) -> u64 {
        let hashes = |work: Work| work.value().saturating_to::<u128>();
        let (height, least) = (self.best.0, self.params.pow_limit.to_target().expect("checked").work());
        // All blocks are about as hard.
        let kept = hashes(self.best.1) / u128::from(height.max(1)) * u128::from(height.saturating_sub(KEPT_TIP_WORKS));
        (kept / hashes(least) * 3 / 4).min(u128::from(LONGEST)) as u64
    }

    /// Another chain, none of it from the future.
    fn anew(&mut self, now: u64) {
        let most = self.most();
        if most == 0 {
            return;
        }
        let count = if self.random.bit() { most } else { self.random.between(1, most) };
        let mut headers = cheap_fork(&self.params, count as usize, TxRoot(self.random.bytes()));
        let clock = self.params.time + self.age_ms + now / MS;
        headers.retain(|header| header.time <= clock);
        self.chains += 1;
        self.chain = HeaderSpam::chain(&self.params, headers, Work::from_hashes(u64::MAX));
    }
}

impl Script for HeaderSpam {
    fn deeds(&self) -> Option<(&'static str, u64)> {
        Some(("headers", self.chains))
    }

    fn wake(&mut self, now: u64) -> Vec<Act> {
        let mut acts: Vec<Act> = Vec::new();
        if now >= self.anew_at || now >= self.until {
            acts.extend((0..self.victims).map(Act::Hang));
        }
        if now >= self.until {
            return acts;
        }
        if now >= self.anew_at {
            self.anew_at = now + ANEW;
            self.anew(now);
            acts.push(Act::Move(any_address(&mut self.random)));
        }
        let to = self.random.below(self.victims as u64) as usize;
        acts.extend([Act::Hang(to), Act::Dial(to), Act::Wait(VISIT)]);
        acts
    }

    fn connected(&mut self, now: u64, peer: usize, _dialled: bool) -> Vec<Act> {
        self.chain.connected(now, peer, true)
    }

    fn request(&mut self, now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act> {
        if let Request::Status(status) = &request {
            self.hear(status);
        }
        self.chain.request(now, peer, id, request)
    }

    fn response(&mut self, _now: u64, _peer: usize, response: Response) -> Vec<Act> {
        if let Response::Status(status) = &response {
            self.hear(status);
        }
        Vec::new()
    }
}

/// What whoever has nothing but genesis says of itself.
fn genesis_status(params: &ChainParams) -> Status {
    let genesis = params.genesis_block().header;
    Status {
        version: PROTOCOL_VERSION,
        chain_id: params.chain_id(),
        height: 0,
        hash: genesis.hash(),
        work: params.bits.to_target().expect("checked").work(),
        state_root: genesis.state_root,
        held: Vec::new(),
    }
}

/// What whoever has nothing answers, in the words of whoever asks.
fn nothing(request: Request) -> Response {
    match request {
        Request::Status(status) => Response::Status(status),
        Request::Headers(_) => Response::Headers(Vec::new()),
        Request::Bodies(hashes) => Response::Bodies(vec![None; hashes.len()]),
        Request::BlockTransactions(..) => Response::BlockTransactions(None),
        Request::Reconcile(_) => Response::Reconcile(Vec::new()),
        Request::Transactions(_) => Response::Transactions(Vec::new()),
    }
}

/// Payments that it sends at a time: more than may wait of one account.
const BATCH: u64 = 80;
/// How often.
const EVERY: u64 = 5 * MINUTE;
/// How often it looks at its connections, and how many it wants.
const LOOK: u64 = 10 * SECOND;
/// See [`LOOK`].
const CONNECTIONS: usize = 4;
/// Blocks without those of its payments that wait, after which it begins again before where its account seems to stand; and by
/// how much.
const STUCK: u32 = 4;
/// See [`STUCK`].
const BACK: u64 = 20;

/// A peer with an account of its own that pays itself next to nothing for next to no fee, as often at a time as mempools let it:
/// some payments in place of others, some with nonces too far ahead, some that nobody can pay.
///
/// It reads in every new block how far its account has come, as anybody does who wants to.
pub struct PaymentSpam {
    key: SecretKey,
    params: ChainParams,
    random: Random,
    /// The nonce after the last that it saw in a block.
    confirmed: u64,
    /// The next that it uses.
    nonce: u64,
    /// Blocks since its account last went on, while payments wait.
    idle: u32,
    /// When it sends the next ones.
    pays_at: u64,
    /// Payments that it sent.
    paid: u64,
    victims: usize,
    /// Peers that answered its status: before that they look at nothing.
    ready: Vec<usize>,
    until: u64,
}

impl PaymentSpam {
    /// A peer with this key that bothers the hosts below `victims` until a time.
    pub fn new(params: &ChainParams, key: SecretKey, victims: usize, until: u64, random: Random) -> PaymentSpam {
        let (params, ready) = (params.clone(), Vec::new());
        PaymentSpam { key, params, random, confirmed: 0, nonce: 0, idle: 0, pays_at: 0, paid: 0, victims, ready, until }
    }

    fn payments(&mut self) -> Gossip {
        let (own, chain_id) = (self.key.account(), self.params.chain_id());
        let transactions = (0..BATCH).map(|_| {
            let (amount, nonce, fee) = match self.random.below(16) {
                0 | 1 => (1, self.nonce.saturating_sub(self.random.below(20)), 1_000 + self.random.below(1_000)),
                2 => (1, self.nonce + 1 + self.random.below(100), 200),
                3 => (u64::MAX / 2, self.nonce, 200),
                _ => {
                    // Further ahead than one account may be, it is refused, and no nonce is used up.
                    let nonce = self.nonce;
                    self.nonce = (self.nonce + 1).min(self.confirmed + Limits::default().per_account);
                    (1, nonce, 200)
                }
            };
            let (amount, fee) = (Amount(amount), Amount(fee));
            let body = TransactionBody { from: own, to: own, amount, fee, nonce, memo: Memo::default() };
            body.sign(&chain_id, &self.key)
        });
        Gossip::Transactions(transactions.collect())
    }

    /// Reads a new block.
    fn read(&mut self, body: &Body) {
        let own = self.key.account();
        let last = body.transactions.iter().map(|transaction| &transaction.body).rfind(|body| body.from == own);
        match last {
            Some(last) => {
                (self.confirmed, self.idle) = (last.nonce + 1, 0);
                self.nonce = self.nonce.max(self.confirmed);
            }
            None => self.idle += u32::from(self.nonce > self.confirmed),
        }
        if self.idle >= STUCK {
            // Something got lost, or the block that it read last: what is confirmed is refused and does no harm.
            (self.confirmed, self.idle) = (self.confirmed.saturating_sub(BACK), 0);
            self.nonce = self.confirmed;
        }
    }
}

impl Script for PaymentSpam {
    fn deeds(&self) -> Option<(&'static str, u64)> {
        Some(("spam", self.paid))
    }

    fn wake(&mut self, now: u64) -> Vec<Act> {
        if now >= self.until {
            return (0..self.victims).map(Act::Hang).collect();
        }
        let mut acts = vec![Act::Wait(LOOK)];
        if self.ready.len() < CONNECTIONS {
            acts.push(Act::Dial(self.random.below(self.victims as u64) as usize));
        }
        if let Some(peer) = self.ready.first().copied().filter(|_| now >= self.pays_at) {
            // One hears it; what it takes, it passes on.
            self.ready.rotate_left(1);
            self.pays_at = now + EVERY;
            self.paid += BATCH;
            acts.push(Act::Gossip(peer, self.payments()));
        }
        acts
    }

    fn connected(&mut self, _now: u64, peer: usize, dialled: bool) -> Vec<Act> {
        if dialled { vec![Act::Ask(peer, Request::Status(genesis_status(&self.params)))] } else { Vec::new() }
    }

    fn closed(&mut self, peer: usize) {
        self.ready.retain(|other| *other != peer);
    }

    fn gossip(&mut self, _now: u64, peer: usize, gossip: Gossip) -> Vec<Act> {
        let Gossip::Block(block) = gossip else { return Vec::new() };
        vec![Act::Ask(peer, Request::Bodies(vec![block.header.hash()]))]
    }

    fn request(&mut self, _now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act> {
        let answer = match request {
            Request::Status(_) => Response::Status(genesis_status(&self.params)),
            request => nothing(request),
        };
        vec![Act::Answer(peer, id, answer)]
    }

    fn response(&mut self, _now: u64, peer: usize, response: Response) -> Vec<Act> {
        match response {
            Response::Status(_) if !self.ready.contains(&peer) => self.ready.push(peer),
            Response::Bodies(bodies) => bodies.iter().flatten().for_each(|body| self.read(body)),
            _ => {}
        }
        Vec::new()
    }
}
