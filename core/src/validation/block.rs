//! The rules that a block obeys by itself: its size, what its header commits to, its transactions' form and signatures.

use super::header::CheckedHeader;
use super::transaction::{CheckedTransaction, TransactionError, verify_transactions};
use crate::block::{Block, Body, Header};
use crate::hash::{BlockHash, TxRoot};
use crate::key::AccountId;
use crate::params::ChainParams;

/// A block that is right in everything but the state it meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBlock {
    block: Block,
    header: CheckedHeader,
}

impl CheckedBlock {
    /// The block.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Its header, whose work was checked.
    pub fn header(&self) -> &CheckedHeader {
        &self.header
    }

    /// Its hash.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    /// A block over transactions that were checked one by one: a miner's own, or one rebuilt from the mempool.
    pub fn assemble(
        header: CheckedHeader,
        reward_to: AccountId,
        transactions: &[CheckedTransaction],
        context: &BlockContext<'_>,
    ) -> Result<CheckedBlock, BlockError> {
        let transactions = transactions.iter().map(|checked| checked.transaction().clone()).collect();
        let body = Body { reward_to, transactions };
        check_size(&body, context.params)?;
        check_tx_root(header.header(), &body)?;
        Ok(CheckedBlock { block: Block { header: *header.header(), body }, header })
    }
}

/// What the block rules read beside the block.
#[derive(Clone, Copy, Debug)]
pub struct BlockContext<'a> {
    /// The chain's parameters.
    pub params: &'a ChainParams,
    /// The chain's id, to which signatures are bound.
    pub chain_id: &'a BlockHash,
    /// The block's height.
    pub height: u64,
    /// 32 bytes that no peer knows, for the signature batch.
    pub batch_secret: &'a [u8; 32],
}

/// The rules that a block breaks by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The encoded block is too large.
    #[error("{found} bytes, at most {max} are allowed")]
    TooLarge {
        /// The chain's `max_block_bytes`.
        max: u64,
        /// The block's encoded bytes.
        found: u64,
    },
    /// The header does not commit to this body.
    #[error("the body's transaction root is {found}, the header's {required}")]
    TxRoot {
        /// What the header carries.
        required: TxRoot,
        /// What the body gives.
        found: TxRoot,
    },
    /// A transaction is wrong by itself.
    #[error("transaction {index}: {error}")]
    Transaction {
        /// Its place in the block, from 0; the first that is wrong.
        index: usize,
        /// The rule.
        error: TransactionError,
    },
}

/// Checks a body for a header whose work was checked. A body that does not belong to the header says nothing about the
/// header: [`BlockError::TxRoot`] must never mark it bad, nor [`BlockError::TooLarge`], which is found before it.
pub fn check_block(header: CheckedHeader, body: Body, context: &BlockContext<'_>) -> Result<CheckedBlock, BlockError> {
    check_size(&body, context.params)?;
    check_tx_root(header.header(), &body)?;
    check_transactions(&body, context)?;
    Ok(CheckedBlock { block: Block { header: *header.header(), body }, header })
}

fn check_size(body: &Body, params: &ChainParams) -> Result<(), BlockError> {
    let (found, max) = (body.block_bytes() as u64, params.max_block_bytes);
    if found <= max { Ok(()) } else { Err(BlockError::TooLarge { max, found }) }
}

fn check_tx_root(header: &Header, body: &Body) -> Result<(), BlockError> {
    let (required, found) = (header.tx_root, body.tx_root());
    if found == required { Ok(()) } else { Err(BlockError::TxRoot { required, found }) }
}

fn check_transactions(body: &Body, context: &BlockContext<'_>) -> Result<(), BlockError> {
    let rules = context.params.rules_at(context.height);
    verify_transactions(&body.transactions, rules, context.chain_id, context.batch_secret)
        .map_err(|(index, error)| BlockError::Transaction { index, error })
}
