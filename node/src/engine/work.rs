//! Heavy work that stands alone: pure functions that the shell runs on a pool, in any order, while the engine goes on.

use std::fmt;
use std::sync::Arc;

use drystone_core::block::{Block, Body, Header};
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::transaction::Transaction;
use drystone_core::validation::{
    BlockContext, BlockError, CheckedBlock, CheckedHeader, CheckedTransaction, TransactionError, check_block,
    check_transactions,
};

use super::limits::{BODIES_BYTES, HEADERS_PER_RESPONSE};
use super::wire::{Announcement, Request, Response, announce};
use crate::store::{Snapshot, StoreError};

/// A transaction of a block that is being put together.
#[derive(Clone, Debug)]
pub enum Part {
    /// Its signature was verified before.
    Checked(Box<CheckedTransaction>),
    /// It came from a peer just now.
    Fetched(Transaction),
}

impl Part {
    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        match self {
            Part::Checked(checked) => checked.transaction(),
            Part::Fetched(transaction) => transaction,
        }
    }
}

/// Work for a pool.
pub enum Job {
    /// Whether these transactions are the block's, and what its announcement must be.
    Assemble {
        /// The header.
        header: CheckedHeader,
        /// Who is rewarded.
        reward_to: AccountId,
        /// The transactions.
        parts: Vec<Part>,
    },
    /// The rest of a block's rules but its connection, given that its transactions are its own.
    Complete {
        /// The header.
        header: CheckedHeader,
        /// Its height.
        height: u64,
        /// Who is rewarded.
        reward_to: AccountId,
        /// The transactions.
        parts: Vec<Part>,
    },
    /// All rules of a block but its connection.
    CheckBlock {
        /// The header.
        header: CheckedHeader,
        /// Its height.
        height: u64,
        /// The body.
        body: Body,
    },
    /// The rules of transactions but their admission. They are one peer's: batches never mix peers.
    CheckTransactions {
        /// The height of the next block.
        height: u64,
        /// The transactions.
        transactions: Vec<Transaction>,
    },
    /// Reads for a peer: [`Request::Headers`], [`Request::Bodies`] or [`Request::BlockTransactions`].
    Serve {
        /// What the store holds.
        snapshot: Arc<Snapshot>,
        /// Blocks that were forwarded and may not be in the store yet.
        recent: Vec<(BlockHash, Arc<Body>)>,
        /// What the peer asks.
        request: Request,
    },
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Job::Assemble { .. } => "Assemble",
            Job::Complete { .. } => "Complete",
            Job::CheckBlock { .. } => "CheckBlock",
            Job::CheckTransactions { .. } => "CheckTransactions",
            Job::Serve { .. } => "Serve",
        })
    }
}

/// What work led to.
#[derive(Debug)]
pub enum Done {
    /// Of [`Job::Assemble`]: the parts with the announcement that they give, or nothing where the root is another.
    Assembled(Option<(Announcement, Vec<Part>)>),
    /// Of [`Job::Complete`] and [`Job::CheckBlock`].
    Block(Result<Box<CheckedBlock>, BlockError>),
    /// Of [`Job::CheckTransactions`]: all of them, or the first that breaks a rule.
    Transactions(Result<Vec<CheckedTransaction>, (usize, TransactionError)>),
    /// Of [`Job::Serve`].
    Served(Result<Response, StoreError>),
}

/// What jobs need to know of the chain and the node.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The chain's parameters.
    pub params: Arc<ChainParams>,
    /// The genesis hash.
    pub chain_id: BlockHash,
    /// 32 secret random bytes that seed signature batches.
    pub batch_secret: [u8; 32],
}

impl Workshop {
    /// Does the work.
    pub fn run(&self, job: Job) -> Done {
        match job {
            Job::Assemble { header, reward_to, parts } => Done::Assembled(assemble(&header, reward_to, parts)),
            Job::Complete { header, height, reward_to, parts } => {
                Done::Block(self.complete(header, height, reward_to, parts).map(Box::new))
            }
            Job::CheckBlock { header, height, body } => {
                Done::Block(self.check_block(header, height, body).map(Box::new))
            }
            Job::CheckTransactions { height, transactions } => {
                let rules = self.params.rules_at(height);
                Done::Transactions(check_transactions(transactions, rules, &self.chain_id, &self.batch_secret))
            }
            Job::Serve { snapshot, recent, request } => {
                Done::Served(Shelf { snapshot: &snapshot, recent: &recent }.serve(&request))
            }
        }
    }

    fn context(&self, height: u64) -> BlockContext<'_> {
        BlockContext { params: &self.params, chain_id: &self.chain_id, height, batch_secret: &self.batch_secret }
    }

    /// A body that is too long says something of the block only if it is the block's.
    fn check_block(&self, header: CheckedHeader, height: u64, body: Body) -> Result<CheckedBlock, BlockError> {
        if body.block_bytes() as u64 > self.params.max_block_bytes {
            let (required, found) = (header.header().tx_root, body.tx_root());
            if required != found {
                return Err(BlockError::TxRoot { required, found });
            }
        }
        check_block(header, body, &self.context(height))
    }

    /// Verifies the signatures that were not verified before, each in the place that it has in the block.
    fn complete(
        &self,
        header: CheckedHeader,
        height: u64,
        reward_to: AccountId,
        parts: Vec<Part>,
    ) -> Result<CheckedBlock, BlockError> {
        let (mut places, mut fetched) = (Vec::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            if let Part::Fetched(transaction) = part {
                places.push(index);
                fetched.push(transaction.clone());
            }
        }
        let rules = self.params.rules_at(height);
        let mut fetched = check_transactions(fetched, rules, &self.chain_id, &self.batch_secret)
            .map_err(|(index, error)| BlockError::Transaction { index: places[index], error })?
            .into_iter();
        let transactions: Vec<CheckedTransaction> = parts
            .into_iter()
            .map(|part| match part {
                Part::Checked(checked) => *checked,
                Part::Fetched(_) => fetched.next().expect("one was checked for each that was fetched"),
            })
            .collect();
        CheckedBlock::assemble(header, reward_to, &transactions, &self.context(height))
    }
}

fn assemble(header: &CheckedHeader, reward_to: AccountId, parts: Vec<Part>) -> Option<(Announcement, Vec<Part>)> {
    let transactions = parts.iter().map(|part| part.transaction().clone()).collect();
    let block = Block { header: *header.header(), body: Body { reward_to, transactions } };
    (block.body.tx_root() == block.header.tx_root).then(|| (announce(&block), parts))
}

/// What a peer can be given.
struct Shelf<'a> {
    snapshot: &'a Snapshot,
    recent: &'a [(BlockHash, Arc<Body>)],
}

impl Shelf<'_> {
    /// Answers from one consistent view. What is not held is an ordinary answer.
    fn serve(&self, request: &Request) -> Result<Response, StoreError> {
        Ok(match request {
            Request::Headers(locator) => Response::Headers(self.headers(locator)?),
            Request::Bodies(hashes) => Response::Bodies(self.bodies(hashes)?),
            Request::BlockTransactions(hash, indexes) => {
                Response::BlockTransactions(self.block_transactions(hash, indexes)?)
            }
            Request::Status(_) | Request::Reconcile(_) | Request::Transactions(_) => Response::Refused,
        })
    }

    fn headers(&self, locator: &[BlockHash]) -> Result<Vec<Header>, StoreError> {
        let mut from = 0;
        for hash in locator {
            if let Some(record) = self.snapshot.header(hash)?
                && self.snapshot.main_hash(record.height)? == Some(*hash)
            {
                from = record.height;
                break;
            }
        }
        let records = self.snapshot.headers_from(from + 1, HEADERS_PER_RESPONSE)?;
        Ok(records.into_iter().map(|record| record.header).collect())
    }

    fn bodies(&self, hashes: &[BlockHash]) -> Result<Vec<Option<Body>>, StoreError> {
        let mut bodies = Vec::with_capacity(hashes.len());
        let mut bytes = 0;
        for hash in hashes {
            let body = self.body(hash)?;
            bytes += body.as_ref().map_or(0, Body::block_bytes);
            // What was read is sent: whoever has this node read much hears much.
            bodies.push(body);
            if bytes > BODIES_BYTES {
                break;
            }
        }
        Ok(bodies)
    }

    fn body(&self, hash: &BlockHash) -> Result<Option<Body>, StoreError> {
        match self.recent.iter().find(|(recent, _)| recent == hash) {
            Some((_, body)) => Ok(Some(Body::clone(body))),
            None => self.snapshot.body(hash),
        }
    }

    fn block_transactions(&self, hash: &BlockHash, indexes: &[u32]) -> Result<Option<Vec<Transaction>>, StoreError> {
        // Ascending, so that no transaction is sent twice and the answer is never longer than the block.
        if !indexes.is_sorted_by(|a, b| a < b) {
            return Ok(None);
        }
        let Some(body) = self.body(hash)? else { return Ok(None) };
        Ok(indexes.iter().map(|index| body.transactions.get(*index as usize).cloned()).collect())
    }
}
