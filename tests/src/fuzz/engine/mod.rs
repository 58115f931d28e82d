//! `engine`: a script of everything that can happen to a node's engine, and what must hold after each step and at the end.

mod node;
mod pool;

use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::BTreeSet;

use drystone_core::block::{Block, Body};
use drystone_core::encode::encode;
use drystone_core::hash::BlockHash;
use drystone_core::params::ChainParams;
use drystone_core::validation::{BlockContext, check_block, check_header, check_transaction};
use drystone_node::engine::message::{Direction, Input, PeerEvent, PeerId};
use drystone_node::engine::verdict::{Offence, Refusal};
use drystone_node::engine::wire::{Gossip, Request, Response, Topic, announce, id_prefix};

use super::bytes::{Bytes, bend};
use super::chain::FIXTURE;
use crate::fault::Unsynced;

use node::Node;
use pool::Pool;

/// Steps of one script.
const STEPS: usize = 200;
const PEERS: usize = 4;
/// Blocks that its own miner finds: with as many as a head may lie behind, old blocks would rightly be refused in the end.
const SOLVED: usize = 100;

/// What a step does; the low bits of its first byte name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    Mine,
    Submit,
    Connect,
    Status,
    Announce,
    Answer,
    Pay,
    Batch,
    Clock,
    Lie,
    Ask,
    HangUp,
    Work,
    Restart,
    Solve,
    Reconsider,
    Raw,
    Dial,
    Discover,
    Withhold,
}

const KINDS: [Step; 20] = [
    Step::Mine,
    Step::Submit,
    Step::Connect,
    Step::Status,
    Step::Announce,
    Step::Answer,
    Step::Pay,
    Step::Batch,
    Step::Clock,
    Step::Lie,
    Step::Ask,
    Step::HangUp,
    Step::Work,
    Step::Restart,
    Step::Solve,
    Step::Reconsider,
    Step::Raw,
    Step::Dial,
    Step::Discover,
    Step::Withhold,
];

/// After this step deadlines are left to pass and jobs undone.
pub(super) const UNSETTLED: u8 = 0x80;
/// After this step deadlines are kept and jobs left undone.
pub(super) const JOBS_WAIT: u8 = 0x40;

/// Whatever happens, a call takes at most one block, no peer holds more memory than its bound, the tip never loses work, every
/// block that is connected is valid and every one that is refused is not, and each submission has one verdict. In the end the
/// state is that of a replay from genesis; and given all blocks there are, the engine has the best valid one.
pub(super) fn engine(input: &[u8]) -> bool {
    run(input);
    !input.is_empty()
}

/// Runs a script; what the engine said.
fn run(input: &[u8]) -> BTreeSet<&'static str> {
    let mut script = Bytes::new(input);
    let params = &FIXTURE.params;
    let mut scene =
        Scene { pool: Pool::new(params), node: Node::new(params), heads: [BlockHash::ZERO; PEERS], solved: 0, params };
    let mut steps = 0;
    while !script.is_empty() && steps < STEPS {
        let first = script.byte();
        scene.step(KINDS[usize::from(first & 0x3f) % KINDS.len()], &mut script);
        if first & UNSETTLED == 0 {
            scene.node.settle(first & JOBS_WAIT == 0);
        }
        steps += 1;
    }
    scene.end();
    scene.node.said
}

/// A script's engine and its surroundings.
struct Scene {
    params: &'static ChainParams,
    node: Node,
    pool: Pool,
    /// The tip that each peer says it has.
    heads: [BlockHash; PEERS],
    /// Blocks that its own miner found.
    solved: usize,
}

fn peer(number: usize) -> PeerId {
    PeerId([number as u8 + 1; 32])
}

impl Scene {
    fn step(&mut self, step: Step, script: &mut Bytes<'_>) {
        match step {
            Step::Mine => {
                self.pool.mine(script);
            }
            Step::Submit => {
                let block = self.pool.pick(script).block.clone();
                self.submit(&block);
            }
            Step::Connect => self.connect(script),
            Step::Status => {
                let number = script.below(PEERS);
                let head = self.pool.pick(script);
                self.heads[number] = head.hash;
                let mut status = self.pool.status(head);
                if script.below(16) == 1 {
                    status.height = script.u64();
                    status.work = drystone_core::pow::Work::from_hashes(script.u64());
                }
                self.request(number, Request::Status(status));
            }
            Step::Announce => {
                let number = script.below(PEERS);
                let mut announcement = announce(&self.pool.pick(script).block);
                match script.below(16) {
                    1 => announcement.reward_to.0[0] ^= 1,
                    2 => announcement.ids.push([script.byte(); 6]),
                    3 => announcement.ids.reverse(),
                    4 => announcement.ids.clear(),
                    5 => announcement.ids.extend_from_within(..),
                    _ => {}
                }
                self.gossip(number, Gossip::Block(announcement));
            }
            Step::Answer => self.answer(script, false),
            Step::Lie => self.answer(script, true),
            Step::Pay => {
                let payment = self.pool.pay(script).clone();
                let rules = self.params.rules_at(1);
                if let Ok(payment) = check_transaction(payment, rules, &FIXTURE.chain_id) {
                    self.node.submit(|origin| Input::Transactions { origin, transactions: vec![payment] });
                }
            }
            Step::Batch => {
                let number = script.below(PEERS);
                let payments: Vec<_> = (0..1 + script.below(4)).map(|_| self.pool.pay(script).clone()).collect();
                self.gossip(number, Gossip::Transactions(payments));
            }
            Step::Clock => {
                let amount = u64::from(script.byte());
                let now = self.node.now;
                self.node.now = match script.below(8) {
                    0 => now + 60_000 * amount,
                    1 => now + 3_600_000 * amount,
                    2 => now.saturating_sub(100 * amount).max(self.params.time),
                    3 => now + amount,
                    4 => now + 2_000 * amount,
                    _ => now + 100 * amount,
                };
            }
            Step::Ask => self.ask(script),
            Step::HangUp => self.node.hang_up(peer(script.below(PEERS))),
            Step::Work => {
                if !self.node.jobs.is_empty() {
                    let place = script.below(self.node.jobs.len().min(256));
                    self.node.work(place);
                }
            }
            Step::Restart => {
                let cut = [None, Some(Unsynced::Lost), Some(Unsynced::Kept), Some(Unsynced::Torn(script.u64()))];
                self.node.restart(cut[script.below(4)]);
            }
            Step::Solve => self.solve(script),
            Step::Reconsider => {
                let hash = self.pool.pick(script).hash;
                self.node.submit(|origin| Input::Reconsider { origin, hash });
            }
            Step::Raw => self.raw(script),
            Step::Dial => {
                if let Some(address) = self.node.dials.pop() {
                    match script.below(4) {
                        0 => self.node.call(Input::DialFailed(address)),
                        number => self.meet(number, address, Direction::Outbound),
                    }
                }
            }
            Step::Discover => {
                let addresses = (0..script.below(8)).map(|_| address(script.byte(), script.byte())).collect();
                self.node.call(Input::Discovered(addresses));
            }
            Step::Withhold => {
                if !self.node.asked.is_empty() {
                    let (peer, id, _) = self.node.asked.remove(script.below(self.node.asked.len().min(256)));
                    self.node.tell(peer, PeerEvent::NoResponse { id });
                }
            }
        }
    }

    /// Hands a block in as a miner does: what breaks a rule by itself the shell refuses.
    fn submit(&mut self, block: &Block) {
        let (params, chain_id) = (self.params, FIXTURE.chain_id);
        let context = BlockContext { params, chain_id: &chain_id, height: 1, batch_secret: &[3; 32] };
        let checked = check_header(block.header, params).expect("all blocks are worked on");
        if let Ok(checked) = check_block(checked, block.body.clone(), &context) {
            self.node.submit(|origin| Input::Block { origin, block: Box::new(checked) });
        }
    }

    fn connect(&mut self, script: &mut Bytes<'_>) {
        let (number, host) = (script.below(PEERS), script.byte());
        self.meet(number, address(number as u8, host), Direction::Inbound);
        if script.below(2) == 1 {
            let listens = address(number as u8, host);
            self.told(number, PeerEvent::Listens(listens));
        }
    }

    fn meet(&mut self, number: usize, address: SocketAddr, direction: Direction) {
        self.node.peers.insert(peer(number));
        self.node.tell(peer(number), PeerEvent::Connected { address, direction });
    }

    /// What a peer does that is connected.
    fn told(&mut self, number: usize, event: PeerEvent) {
        if self.node.peers.contains(&peer(number)) {
            self.node.tell(peer(number), event);
        }
    }

    fn gossip(&mut self, number: usize, gossip: Gossip) {
        if self.node.peers.contains(&peer(number)) {
            self.node.gossip(peer(number), gossip);
        }
    }

    fn request(&mut self, number: usize, request: Request) {
        if self.node.peers.contains(&peer(number)) {
            self.node.request(peer(number), request);
        }
    }

    /// Answers what the engine asked, as an honest peer or a lying one.
    fn answer(&mut self, script: &mut Bytes<'_>, lie: bool) {
        if self.node.asked.is_empty() {
            return;
        }
        let place = script.below(self.node.asked.len().min(256));
        let (peer, id, request) = self.node.asked.remove(place);
        let head = self.heads[usize::from(peer.0[0]).saturating_sub(1) % PEERS];
        let truth = self.pool.answer(&head, &request);
        if !lie {
            return self.node.tell(peer, PeerEvent::Response { id, response: truth });
        }
        let response = match script.below(7) {
            0 => Ok(Response::Refused),
            1 => Ok(match truth {
                Response::Headers(mut headers) => {
                    headers.push(self.pool.pick(script).block.header);
                    Response::Headers(headers)
                }
                Response::Bodies(mut bodies) => {
                    bodies.push(Some(self.pool.pick(script).block.body.clone()));
                    bodies.rotate_right(1);
                    Response::Bodies(bodies)
                }
                other => other,
            }),
            2 => Ok(match truth {
                Response::Bodies(bodies) => Response::Bodies(bodies.into_iter().map(|_| None).collect()),
                Response::BlockTransactions(_) => Response::BlockTransactions(None),
                Response::Headers(_) => Response::Headers(Vec::new()),
                other => other,
            }),
            3 => {
                let other = self.pool.pick(script).hash;
                Ok(self.pool.answer(&other, &Request::Headers(vec![BlockHash::ZERO])))
            }
            4 => Ok(Response::Bodies(vec![Some(Body {
                reward_to: drystone_core::key::AccountId([script.byte(); 32]),
                transactions: self.pool.payments.clone(),
            })])),
            5 => {
                self.node.tell(peer, PeerEvent::Response { id, response: truth.clone() });
                Ok(truth)
            }
            _ => {
                let mut bytes = truth.to_bytes();
                bend(&mut bytes, script);
                Response::from_bytes(&bytes, self.params)
            }
        };
        if !self.node.peers.contains(&peer) {
            return;
        }
        match response {
            Ok(response) => self.node.tell(peer, PeerEvent::Response { id, response }),
            Err(error) => {
                self.node.tell(peer, PeerEvent::NoResponse { id });
                self.undecodable(peer, error);
            }
        }
    }

    fn undecodable(&mut self, peer: PeerId, error: drystone_core::encode::DecodeError) {
        if self.node.peers.contains(&peer) {
            self.node.tell(peer, PeerEvent::Offence(Offence::Undecodable(error)));
        }
    }

    fn ask(&mut self, script: &mut Bytes<'_>) {
        let number = script.below(PEERS);
        let kind = script.below(5);
        let hashes = (0..script.below(8)).map(|_| self.pool.pick(script).hash).collect();
        let ids = self.pool.payments.iter().map(|payment| id_prefix(&payment.wire_id())).collect();
        let request = match kind {
            0 => Request::Headers(hashes),
            1 => Request::Bodies(hashes),
            2 => {
                let indexes = (0..script.below(6)).map(|_| u32::from(script.byte() % 8)).collect();
                Request::BlockTransactions(self.pool.pick(script).hash, indexes)
            }
            3 => Request::Reconcile((0..256).map(|_| u64::from(script.byte())).collect()),
            _ => Request::Transactions(ids),
        };
        self.request(number, request);
    }

    /// The miner finds a nonce, for the present job or one that is over.
    fn solve(&mut self, script: &mut Bytes<'_>) {
        let Some(job) = self.node.mining.take().filter(|_| self.solved < SOLVED) else { return };
        self.solved += 1;
        let mut header = job.header;
        header.time += u64::from(script.byte());
        while check_header(header, self.params).is_err() {
            header.nonce = header.nonce.wrapping_add(1);
        }
        let epoch = job.epoch - u64::from(script.below(8) == 1).min(job.epoch);
        let nonce = header.nonce.wrapping_add(u32::from(script.below(8) == 1));
        self.node.call(Input::Mined { epoch, time: header.time, nonce });
    }

    /// Bytes of a peer's own making.
    fn raw(&mut self, script: &mut Bytes<'_>) {
        let (number, kind, length) = (script.below(PEERS), script.below(6), usize::from(script.u16() % 1024));
        let bytes = match kind {
            0..3 => script.take(length).to_vec(),
            _ => {
                let mut bytes = match kind {
                    3 => encode(&announce(&self.pool.pick(script).block)),
                    4 => Request::Status(self.pool.status(self.pool.pick(script))).to_bytes(),
                    _ => encode(&self.pool.payments),
                };
                bend(&mut bytes, script);
                bytes
            }
        };
        let gossip = |topic| Gossip::from_bytes(topic, &bytes, self.params);
        let error = match kind {
            0 | 3 => gossip(Topic::Blocks).map(|gossip| self.gossip(number, gossip)).err(),
            1 | 5 => gossip(Topic::Transactions).map(|gossip| self.gossip(number, gossip)).err(),
            _ => Request::from_bytes(&bytes, self.params).map(|request| self.request(number, request)).err(),
        };
        if let Some(error) = error {
            self.undecodable(peer(number), error);
        }
    }

    /// The reckoning: at rest, then once more with every block that there is.
    fn end(&mut self) {
        self.node.settle(true);
        self.node.check();
        let last = self.pool.blocks.iter().map(|made| made.block.header.time).max().expect("genesis has one");
        self.node.now = self.node.now.max(last);
        self.node.settle(true);
        for place in 1..self.pool.blocks.len() {
            let made = &self.pool.blocks[place];
            let (block, valid) = (made.block.clone(), made.chain.is_some());
            self.submit(&block);
            self.node.settle(true);
            if valid {
                let verdict = self.node.verdict.clone().expect("each has one");
                assert!(matches!(verdict, Ok(()) | Err(Refusal::KnownBlock)), "a valid block: {verdict:?}");
            }
        }
        let (work, best) = (self.node.engine.tip().work, self.pool.best());
        assert!(work >= best, "the tip has work {work}, a valid block has {best}");
        self.node.check();
    }
}

fn address(number: u8, host: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(60 + number % 64, host, 0, 1)), 8646)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::seeds;

    #[test]
    fn the_seeds_have_the_engine_say_everything_it_can() {
        let said: BTreeSet<&str> = seeds::inputs("corpus", "engine").iter().flat_map(|(_, seed)| run(seed)).collect();
        let all = [
            "accepted",
            "refused",
            "mine",
            "connected its own",
            "connected",
            "disconnected",
            "reorganised",
            "invalidated",
            "reconsidered",
            "dial",
            "disconnect",
            "ask for status",
            "ask for headers",
            "ask for bodies",
            "ask for a block's transactions",
            "ask for ids",
            "ask for transactions",
            "refuse a peer",
            "give status",
            "give headers",
            "give bodies",
            "give a block's transactions",
            "give ids",
            "give transactions",
            "publish a block",
            "publish transactions",
            "judge",
            "work",
            "net",
        ];
        let missing: Vec<&str> = all.into_iter().filter(|kind| !said.contains(kind)).collect();
        assert!(missing.is_empty(), "no seed makes the engine {missing:?}");
    }
}
