//! A scripted peer that has a chain of blocks and serves it well or badly.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use drystone_core::block::{Body, Header};
use drystone_core::hash::BlockHash;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_node::engine::limits::HEADERS_PER_RESPONSE;
use drystone_node::engine::message::RequestId;
use drystone_node::engine::wire::{Gossip, PROTOCOL_VERSION, Request, Response, Status};

use super::script::{Act, Script};

/// How it answers requests for bodies and transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    Honest,
    /// Never.
    Silent,
    /// With other bodies than those that were asked for.
    Lying,
    /// It has none.
    Empty,
    /// It gives whole bodies as it should, but other transactions than those that are missing.
    Junk,
}

/// What it was asked, and how often.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// Pages of headers.
    pub headers: u64,
    /// Bodies.
    pub bodies: u64,
    /// Missing transactions.
    pub transactions: u64,
    /// Connections that it had.
    pub connections: u64,
}

/// A peer with an archive.
pub struct Archive {
    headers: Vec<Header>,
    heights: BTreeMap<BlockHash, usize>,
    bodies: BTreeMap<BlockHash, Body>,
    work: Work,
    chain_id: BlockHash,
    manner: Manner,
    /// Gossip for whoever connects, after its handshake.
    gossip: Vec<Gossip>,
    /// Whom it dials.
    victims: Vec<usize>,
    /// What it says of itself in place of the truth.
    claim: Option<Status>,
    asked: Rc<RefCell<Asked>>,
}

impl Archive {
    /// A peer with these headers, genesis first, and these bodies, which claims this work.
    pub fn new(
        params: &ChainParams,
        headers: Vec<Header>,
        bodies: BTreeMap<BlockHash, Body>,
        work: Work,
        manner: Manner,
    ) -> Archive {
        let heights = headers.iter().map(Header::hash).zip(0..).collect();
        let (chain_id, asked) = (params.chain_id(), Rc::default());
        let (gossip, victims, claim) = (Vec::new(), Vec::new(), None);
        Archive { headers, heights, bodies, work, chain_id, manner, gossip, victims, claim, asked }
    }

    /// Has it gossip this to whoever shakes hands with it.
    pub fn gossiping(self, gossip: Vec<Gossip>) -> Archive {
        Archive { gossip, ..self }
    }

    /// Has it say this of itself.
    pub fn claiming(self, claim: Status) -> Archive {
        Archive { claim: Some(claim), ..self }
    }

    /// Has it dial these hosts.
    pub fn dialling(self, victims: Vec<usize>) -> Archive {
        Archive { victims, ..self }
    }

    /// What it is asked, for a test to look at.
    pub fn asked(&self) -> Rc<RefCell<Asked>> {
        Rc::clone(&self.asked)
    }

    fn status(&self) -> Status {
        if let Some(claim) = &self.claim {
            return claim.clone();
        }
        let tip = self.headers.last().expect("genesis at least");
        let height = self.headers.len() as u64 - 1;
        Status {
            version: PROTOCOL_VERSION,
            chain_id: self.chain_id,
            height,
            hash: tip.hash(),
            work: self.work,
            state_root: tip.state_root,
            held: vec![(1, height)],
        }
    }

    fn page(&self, locator: &[BlockHash]) -> Vec<Header> {
        let from = locator.iter().find_map(|hash| self.heights.get(hash)).map_or(1, |height| height + 1);
        self.headers.iter().skip(from).take(HEADERS_PER_RESPONSE).copied().collect()
    }

    fn bodies(&self, hashes: &[BlockHash]) -> Option<Response> {
        let body = |hash: &BlockHash| {
            let mut body = self.bodies.get(hash)?.clone();
            if self.manner == Manner::Lying {
                body.reward_to.0[0] ^= 1;
            }
            Some(body)
        };
        match self.manner {
            Manner::Silent => None,
            Manner::Empty => Some(Response::Bodies(vec![None; hashes.len()])),
            _ => Some(Response::Bodies(hashes.iter().map(body).collect())),
        }
    }

    fn transactions(&self, hash: &BlockHash, indexes: &[u32]) -> Option<Response> {
        let body = self.bodies.get(hash)?;
        let mut given: Vec<_> =
            indexes.iter().filter_map(|index| body.transactions.get(*index as usize).cloned()).collect();
        match self.manner {
            Manner::Silent => return None,
            Manner::Lying => drop(given.pop()),
            Manner::Junk => given.iter_mut().for_each(|transaction| transaction.body.amount.0 ^= 1),
            Manner::Honest | Manner::Empty => {}
        }
        Some(Response::BlockTransactions((self.manner != Manner::Empty).then_some(given)))
    }
}

impl Script for Archive {
    fn wake(&mut self, _now: u64) -> Vec<Act> {
        std::mem::take(&mut self.victims).into_iter().map(Act::Dial).collect()
    }

    fn connected(&mut self, _now: u64, peer: usize, dialled: bool) -> Vec<Act> {
        self.asked.borrow_mut().connections += 1;
        if dialled { vec![Act::Ask(peer, Request::Status(self.status()))] } else { Vec::new() }
    }

    fn request(&mut self, _now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act> {
        let mut asked = self.asked.borrow_mut();
        let answer = match &request {
            Request::Status(_) => Some(Response::Status(self.status())),
            Request::Headers(locator) => {
                asked.headers += 1;
                Some(Response::Headers(self.page(locator)))
            }
            Request::Bodies(hashes) => {
                asked.bodies += hashes.len() as u64;
                self.bodies(hashes)
            }
            Request::BlockTransactions(hash, indexes) => {
                asked.transactions += indexes.len() as u64;
                self.transactions(hash, indexes)
            }
            Request::Reconcile(_) => Some(Response::Reconcile(Vec::new())),
            Request::Transactions(_) => Some(Response::Transactions(Vec::new())),
        };
        let answer = answer.map(|answer| Act::Answer(peer, id, answer));
        let first = matches!(request, Request::Status(_));
        let gossip = if first { std::mem::take(&mut self.gossip) } else { Vec::new() };
        answer.into_iter().chain(gossip.into_iter().map(|gossip| Act::Gossip(peer, gossip))).collect()
    }

    fn response(&mut self, _now: u64, peer: usize, response: Response) -> Vec<Act> {
        if !matches!(response, Response::Status(_)) {
            return Vec::new();
        }
        std::mem::take(&mut self.gossip).into_iter().map(|gossip| Act::Gossip(peer, gossip)).collect()
    }
}
