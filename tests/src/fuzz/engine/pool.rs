//! The blocks and payments of one script, right and wrong ones: all that its peers can tell of.

use drystone_core::block::{Block, Body, Header};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::transaction::Transaction;
use drystone_node::engine::limits::HEADERS_PER_RESPONSE;
use drystone_node::engine::wire::{PROTOCOL_VERSION, Request, Response, Status, id_prefix};

use crate::chain::TestChain;
use crate::fuzz::bytes::Bytes;
use crate::fuzz::chain::{FIXTURE, work_on};

/// Blocks in one script, genesis included.
const BLOCKS: usize = 40;
/// Payments in one script that are in no block when they are made.
const PAYMENTS: usize = 64;

/// A block that somebody made.
pub(super) struct Made {
    pub(super) block: Block,
    pub(super) hash: BlockHash,
    pub(super) height: u64,
    pub(super) work: Work,
    /// The chain that it ends, if it is valid.
    pub(super) chain: Option<TestChain>,
}

/// All that was made.
pub(super) struct Pool {
    params: &'static ChainParams,
    /// Genesis, then parents before their children.
    pub(super) blocks: Vec<Made>,
    pub(super) payments: Vec<Transaction>,
}

impl Pool {
    pub(super) fn new(params: &'static ChainParams) -> Pool {
        let (block, chain) = (params.genesis_block(), TestChain::new(params));
        let (hash, work) = (block.header.hash(), chain.tip().work);
        let genesis = Made { block, hash, height: 0, work, chain: Some(chain) };
        Pool { params, blocks: vec![genesis], payments: Vec::new() }
    }

    /// One of the blocks, a late one for a low byte.
    pub(super) fn pick(&self, script: &mut Bytes<'_>) -> &Made {
        &self.blocks[self.blocks.len() - 1 - script.below(self.blocks.len())]
    }

    pub(super) fn get(&self, hash: &BlockHash) -> Option<&Made> {
        self.blocks.iter().find(|made| made.hash == *hash)
    }

    /// The most work of a valid block.
    pub(super) fn best(&self) -> Work {
        self.blocks.iter().filter(|made| made.chain.is_some()).map(|made| made.work).max().expect("genesis is valid")
    }

    /// Makes a block on another one, and says which it is.
    pub(super) fn mine(&mut self, script: &mut Bytes<'_>) -> usize {
        if self.blocks.len() >= BLOCKS {
            return self.blocks.len() - 1;
        }
        let parent = self.blocks.len() - 1 - script.below(self.blocks.len());
        let wait = match script.below(8) {
            0 => u64::from(script.u32()),
            1 => 1,
            _ => self.params.interval / 2 + 256 * u64::from(script.byte()),
        };
        let (count, payer, defect) = (script.below(4), script.byte() % 8, script.below(32));
        let miner = AccountId([script.byte(); 32]);
        let made = match self.blocks[parent].chain.clone() {
            Some(chain) => Pool::extend(chain, wait, &miner, payer, count as u64),
            None => return self.extend_invalid(parent, wait, &miner),
        };
        let made = if defect < 8 { self.spoil(made, defect) } else { made };
        self.blocks.push(made);
        self.blocks.len() - 1
    }

    fn extend(mut chain: TestChain, wait: u64, miner: &AccountId, payer: u8, count: u64) -> Made {
        let to = FIXTURE.keys[usize::from(payer) + 1].1;
        let payments = (0..count).map(|before| chain.pay(payer, &to, 1_000_000_000, before)).collect();
        let connected = chain.extend_after(wait.max(1), miner, payments);
        let (block, hash, work) = (connected.block().clone(), connected.hash(), connected.work());
        Made { block, hash, height: connected.height(), work, chain: Some(chain) }
    }

    /// A block with enough work on one that is not valid.
    fn extend_invalid(&mut self, parent: usize, wait: u64, miner: &AccountId) -> usize {
        let below = &self.blocks[parent];
        let header = below.block.header;
        let times = ParentTimes {
            bits: header.bits,
            height: below.height,
            time: header.time,
            grandparent_time: self.get(&header.prev_hash).map_or(0, |made| made.block.header.time),
        };
        // Its bits may be of its own choice.
        if header.bits.to_target().is_err() {
            return parent;
        }
        let body = Body { reward_to: *miner, transactions: Vec::new() };
        let header = Header {
            prev_hash: below.hash,
            tx_root: body.tx_root(),
            time: header.time.saturating_add(wait.max(1)),
            bits: next_bits(self.params, &times),
            ..header
        };
        let (height, work) = (below.height + 1, below.work);
        self.add(header, body, height, work);
        self.blocks.len() - 1
    }

    fn add(&mut self, header: Header, body: Body, height: u64, below: Work) {
        let header = work_on(header, self.params);
        let work = below + header.bits.to_target().expect("it was worked on").work();
        self.blocks.push(Made { block: Block { header, body }, hash: header.hash(), height, work, chain: None });
    }

    /// Breaks one rule of a valid block, and works on its header again.
    fn spoil(&self, made: Made, defect: usize) -> Made {
        let Made { mut block, height, work, .. } = made;
        let parent_time = self.get(&block.header.prev_hash).map_or(0, |parent| parent.block.header.time);
        match defect {
            0 => block.header.state_root.0[0] ^= 1,
            1 => block.header.version += 1,
            2 => block.header.time = parent_time,
            3 => block.header.bits.0 -= 1,
            4 => match block.body.transactions.first_mut() {
                Some(transaction) => transaction.signature.0[40] ^= 1,
                None => block.header.state_root.0[1] ^= 1,
            },
            5 => match block.body.transactions.first().cloned() {
                Some(transaction) => block.body.transactions.push(transaction),
                None => block.header.state_root.0[2] ^= 1,
            },
            6 => block.header.state_root.0 = [0; 32],
            _ => block.body.reward_to.0[5] ^= 1,
        }
        block.header.tx_root = block.body.tx_root();
        block.header = work_on(block.header, self.params);
        Made { hash: block.header.hash(), block, height, work, chain: None }
    }

    /// Makes a payment, which the tip of one of the valid chains may take.
    pub(super) fn pay(&mut self, script: &mut Bytes<'_>) -> &Transaction {
        let chain = self.pick(script).chain.clone();
        let chain = chain.or_else(|| self.blocks[0].chain.clone()).expect("genesis is valid");
        let (payer, before) = (script.byte() % 8, u64::from(script.byte() % 8));
        let to = FIXTURE.keys[script.below(FIXTURE.keys.len())].1;
        let mut payment = chain.pay(payer, &to, 100_000_000 + u64::from(script.u32()), before);
        let wrong = script.below(16);
        if wrong > 0 {
            // Replacements pay another fee than what they replace.
            payment.body.fee.0 = 200 + 16 * u64::from(script.u16());
            payment = payment.body.sign(&FIXTURE.chain_id, &FIXTURE.keys[usize::from(payer)].0);
            if wrong == 1 {
                payment.signature.0[33] ^= 4;
            }
        }
        if self.payments.len() >= PAYMENTS {
            self.payments.remove(0);
        }
        self.payments.push(payment);
        self.payments.last().expect("pushed a moment ago")
    }

    /// What an honest node whose tip is `head` says of itself.
    pub(super) fn status(&self, head: &Made) -> Status {
        Status {
            version: PROTOCOL_VERSION,
            chain_id: FIXTURE.chain_id,
            height: head.height,
            hash: head.hash,
            work: head.work,
            state_root: head.block.header.state_root,
            held: vec![(0, head.height)],
        }
    }

    /// The blocks from genesis to one of them.
    fn branch(&self, head: &BlockHash) -> Vec<&Made> {
        let mut branch = Vec::new();
        let mut next = self.get(head);
        while let Some(made) = next {
            branch.push(made);
            next = self.get(&made.block.header.prev_hash);
        }
        branch.reverse();
        branch
    }

    /// What a node whose tip is `head`, and that has heard of everything, answers.
    pub(super) fn answer(&self, head: &BlockHash, request: &Request) -> Response {
        let body = |hash: &BlockHash| self.get(hash).map(|made| made.block.body.clone());
        match request {
            Request::Status(_) => Response::Status(self.status(self.get(head).unwrap_or(&self.blocks[0]))),
            Request::Headers(locator) => {
                let branch = self.branch(head);
                let known = |hash: &BlockHash| branch.iter().position(|made| made.hash == *hash);
                let from = locator.iter().find_map(known).unwrap_or(0);
                let headers = branch.iter().skip(from + 1).map(|made| made.block.header);
                Response::Headers(headers.take(HEADERS_PER_RESPONSE).collect())
            }
            Request::Bodies(hashes) => Response::Bodies(hashes.iter().map(body).collect()),
            Request::BlockTransactions(hash, indexes) => Response::BlockTransactions(body(hash).and_then(|body| {
                indexes.iter().map(|index| body.transactions.get(*index as usize).cloned()).collect()
            })),
            Request::Reconcile(_) => {
                Response::Reconcile(self.payments.iter().map(|payment| id_prefix(&payment.wire_id())).collect())
            }
            Request::Transactions(ids) => Response::Transactions(
                self.payments.iter().filter(|payment| ids.contains(&id_prefix(&payment.wire_id()))).cloned().collect(),
            ),
        }
    }
}
