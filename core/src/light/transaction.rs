//! The proof that a transaction is in a chain, whole in itself: what a receipt holds.

use serde::{Deserialize, Serialize};

use super::{AncestorProof, ProofRefusal, VerifiedHeader, verify_history, verify_transaction};
use crate::block::{HEADER_BYTES, Header};
use crate::encode::Encodable;
use crate::hash::BlockHash;
use crate::pow::Work;
use crate::state::history_leaf;
use crate::transaction::Transaction;

/// A transaction, the header of its block, and the way from there to the header of a later one, the tip.
///
/// Whoever knows the tip to be on a chain knows the transaction to be on it. Heights, places, and the work where the block is
/// the tip, only describe: they are facts for whoever knows the tip's height and work, but for the place among the transactions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionProof {
    /// All of it, with its signature.
    pub transaction: Transaction,
    /// The header of its block.
    pub header: Header,
    /// The height of its block.
    pub height: u64,
    /// The work of the chain up to and including its block.
    pub work: Work,
    /// Its place among the block's transactions, from 0.
    pub index: u64,
    /// How many transactions the block has.
    pub count: u64,
    /// The path from its leaf to the block's transaction root.
    pub path: Vec<[u8; 32]>,
    /// The header of the tip.
    pub tip: Header,
    /// The height of the tip.
    pub tip_height: u64,
    /// The way from the block to the tip; nothing where the block is the tip.
    pub ancestor: Option<AncestorProof>,
}

impl Encodable for TransactionProof {
    // Two headers, five numbers, the work, a path of a level for each bit of a count, and what may be absent.
    const MAX_BYTES: usize =
        Transaction::MAX_BYTES + 2 * HEADER_BYTES + 5 * 8 + 32 + 8 + 64 * 32 + 1 + AncestorProof::MAX_BYTES;
}

impl TransactionProof {
    /// Checks that the transaction is in the block, and the block at or below the tip.
    ///
    /// # Errors
    /// Which of the paths leads elsewhere.
    pub fn verify(&self) -> Result<(), ProofRefusal> {
        let hash = self.header.hash();
        verify_transaction(&self.header.tx_root, &self.transaction, self.index, self.count, &self.path)?;
        let shown = match &self.ancestor {
            None => self.header == self.tip && self.height == self.tip_height,
            Some(proof) => {
                let root = verify_history(&self.tip.state_root, &proof.history)?;
                let leaf = history_leaf(&hash, &self.work);
                self.height < self.tip_height && proof.path.verify(&root, self.tip_height, self.height, &leaf)
            }
        };
        if shown { Ok(()) } else { Err(ProofRefusal::History) }
    }

    /// Checks the same under a tip whose whole ancestry was verified, which makes heights facts, too.
    ///
    /// # Errors
    /// Which of the paths leads elsewhere, or that the tip is another.
    pub fn verify_under(&self, tip: &VerifiedHeader) -> Result<(), ProofRefusal> {
        let same = *tip.header() == self.tip && tip.height() == self.tip_height;
        let work = self.ancestor.is_some() || tip.work() == self.work;
        if same && work { self.verify() } else { Err(ProofRefusal::History) }
    }

    /// The hash of the transaction's block.
    pub fn block_hash(&self) -> BlockHash {
        self.header.hash()
    }
}
