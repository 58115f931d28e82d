//! Peers without an engine that are many, or that say too much: an eclipse, headers without end, payments without end.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeMap;

use drystone_core::amount::Amount;
use drystone_core::hash::{BlockHash, TxRoot};
use drystone_core::key::SecretKey;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::transaction::{Memo, TransactionBody};
use drystone_node::engine::message::RequestId;
use drystone_node::engine::wire::{Gossip, Request, Response, Status};

use super::archive::{Archive, Manner};
use super::script::{Act, Script};
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
    /// What the victim said of itself: it is told the same, so that it believes to be in step.
    status: Option<Status>,
}

impl Eclipse {
    /// Number `index` of the hosts that have a victim among themselves until a time.
    pub fn new(index: usize, victim: usize, until: u64) -> Eclipse {
        let ip = Ipv4Addr::new(200, (index % 4) as u8, (index / 4) as u8, 9);
        let address = SocketAddr::new(IpAddr::V4(ip), 8646);
        Eclipse { victim, address, until, connected: false, status: None }
    }
}

impl Script for Eclipse {
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

    fn connected(&mut self, _now: u64, peer: usize, _dialled: bool) -> Vec<Act> {
        self.connected |= peer == self.victim;
        Vec::new()
    }

    fn closed(&mut self, peer: usize) {
        self.connected &= peer != self.victim;
    }

    fn request(&mut self, _now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act> {
        if let Request::Status(status) = &request {
            self.status = Some(status.clone());
        }
        let mut acts = vec![Act::Answer(peer, id, nothing(request))];
        // Whoever was dialled says what it has, too.
        acts.extend(self.status.take().map(|status| Act::Ask(peer, Request::Status(status))));
        acts
    }
}

/// How often it goes to somebody else.
const VISIT: u64 = 20 * SECOND;
/// How often it has another chain.
const ANEW: u64 = 10 * MINUTE;

/// A peer that claims at every visit that its chain is the heaviest, and has one of headers alone, with a quarter of the work.
pub struct HeaderSpam {
    random: Random,
    params: ChainParams,
    chain: Archive,
    anew_at: u64,
    victims: usize,
    until: u64,
}

impl HeaderSpam {
    /// A peer that visits the hosts below `victims` until a time.
    pub fn new(params: &ChainParams, victims: usize, until: u64, random: Random) -> HeaderSpam {
        let chain = HeaderSpam::chain(params, 1, TxRoot([0; 32]));
        HeaderSpam { random, params: params.clone(), chain, anew_at: 0, victims, until }
    }

    fn chain(params: &ChainParams, count: usize, tx_root: TxRoot) -> Archive {
        let headers = cheap_fork(params, count, tx_root);
        Archive::new(params, headers, BTreeMap::new(), Work::from_hashes(u64::MAX), Manner::Empty)
    }
}

impl Script for HeaderSpam {
    fn wake(&mut self, now: u64) -> Vec<Act> {
        if now >= self.until {
            return (0..self.victims).map(Act::Hang).collect();
        }
        if now >= self.anew_at {
            self.anew_at = now + ANEW;
            let count = 1 + now / (4 * self.params.interval * MS);
            self.chain = HeaderSpam::chain(&self.params, count as usize, TxRoot(self.random.bytes()));
        }
        let to = self.random.below(self.victims as u64) as usize;
        vec![Act::Hang(to), Act::Dial(to), Act::Wait(VISIT)]
    }

    fn connected(&mut self, now: u64, peer: usize, _dialled: bool) -> Vec<Act> {
        self.chain.connected(now, peer, true)
    }

    fn request(&mut self, now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act> {
        self.chain.request(now, peer, id, request)
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

/// Payments that it sends at a time.
const BATCH: u64 = 20;
/// How often.
const EVERY: u64 = 10 * SECOND;

/// A peer with an account of its own that pays itself next to nothing for next to no fee, again and again: some payments in
/// place of others, some with nonces too far ahead, some that nobody can pay.
pub struct PaymentSpam {
    key: SecretKey,
    chain_id: BlockHash,
    random: Random,
    nonce: u64,
    victims: usize,
    peers: Vec<usize>,
    status: Option<Status>,
    until: u64,
}

impl PaymentSpam {
    /// A peer with this key that bothers the hosts below `victims` until a time.
    pub fn new(params: &ChainParams, key: SecretKey, victims: usize, until: u64, random: Random) -> PaymentSpam {
        let chain_id = params.chain_id();
        PaymentSpam { key, chain_id, random, nonce: 0, victims, peers: Vec::new(), status: None, until }
    }

    fn payments(&mut self) -> Gossip {
        let own = self.key.account();
        let transactions = (0..BATCH).map(|_| {
            let (nonce, fee) = match self.random.below(8) {
                0 => (self.nonce.saturating_sub(self.random.below(20)), 1_000 + self.random.below(1_000)),
                1 => (self.nonce + self.random.below(100), 200),
                _ => {
                    self.nonce += 1;
                    (self.nonce - 1, 200)
                }
            };
            let amount = Amount(if self.random.one_in(16) { u64::MAX / 2 } else { 1 });
            let body = TransactionBody { from: own, to: own, amount, fee: Amount(fee), nonce, memo: Memo::default() };
            body.sign(&self.chain_id, &self.key)
        });
        Gossip::Transactions(transactions.collect())
    }
}

impl Script for PaymentSpam {
    fn wake(&mut self, now: u64) -> Vec<Act> {
        if now >= self.until {
            return self.peers.iter().map(|peer| Act::Hang(*peer)).collect();
        }
        let mut acts = vec![Act::Wait(EVERY)];
        if self.peers.len() < 4 {
            acts.push(Act::Dial(self.random.below(self.victims as u64) as usize));
        }
        if let Some(peer) = self.peers.first().copied() {
            // One hears it; what it takes, it passes on.
            self.peers.rotate_left(1);
            acts.push(Act::Gossip(peer, self.payments()));
        }
        // What was refused is a gap: it begins again where the account may stand.
        if self.random.one_in(30) {
            self.nonce = self.nonce.saturating_sub(self.random.below(2 * BATCH));
        }
        acts
    }

    fn connected(&mut self, _now: u64, peer: usize, _dialled: bool) -> Vec<Act> {
        self.peers.push(peer);
        let status = self.status.clone();
        status.map(|status| Act::Ask(peer, Request::Status(status))).into_iter().collect()
    }

    fn closed(&mut self, peer: usize) {
        self.peers.retain(|other| *other != peer);
    }

    fn request(&mut self, _now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act> {
        if let Request::Status(status) = &request {
            self.status = Some(status.clone());
        }
        vec![Act::Answer(peer, id, nothing(request))]
    }
}
