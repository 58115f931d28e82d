//! Blocks: the 116-byte header that is worked on, and the body that its roots commit to.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::encode::{Encodable, encode};
use crate::hash::{BlockHash, StateRoot, TxRoot, sha256d};
use crate::key::AccountId;
use crate::merkle;
use crate::pow::CompactTarget;
use crate::transaction::Transaction;

/// The encoded length of a header in bytes.
pub const HEADER_BYTES: usize = 116;

/// The largest `max_block_bytes` that a chain's parameters may ask for, in bytes.
pub const MAX_BLOCK_BYTES: usize = 16 << 20;

/// Leaves of the transaction tree that one thread hashes at a time: about 0.1 ms.
const LEAVES_PER_TASK: usize = 256;

/// The encoded length in bytes of a block without transactions: header, `reward_to`, the transaction count.
pub const EMPTY_BLOCK_BYTES: usize = HEADER_BYTES + 32 + 8;

/// What is worked on. The nonce stands last, at word 12 of the second SHA-256 block; all of `tx_root` stands in that
/// block before it, so that two headers with equal second blocks have equal transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The rule set's number.
    pub version: u32,
    /// The parent's hash; in the genesis header the hash of the chain's parameters.
    pub prev_hash: BlockHash,
    /// The root of the state after this block.
    pub state_root: StateRoot,
    /// The root over `reward_to` and the transactions.
    pub tx_root: TxRoot,
    /// Unix time in milliseconds.
    pub time: u64,
    /// The target that the hash must meet.
    pub bits: CompactTarget,
    /// What miners vary.
    pub nonce: u32,
}

impl Encodable for Header {
    const MAX_BYTES: usize = HEADER_BYTES;
}

impl Header {
    /// The 116 bytes that are hashed and sent.
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        encode(self).try_into().expect("every field has a fixed width")
    }

    /// The block hash: SHA-256d of the 116 bytes.
    pub fn hash(&self) -> BlockHash {
        BlockHash(sha256d(&self.to_bytes()))
    }
}

/// What a header's `tx_root` commits to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Who receives the subsidy and the fees, once matured: any 32 bytes.
    pub reward_to: AccountId,
    /// The transfers, in the order in which they apply.
    pub transactions: Vec<Transaction>,
}

impl Encodable for Body {
    const MAX_BYTES: usize = MAX_BLOCK_BYTES - HEADER_BYTES;
}

impl Body {
    /// The root of the transaction tree: leaf 0 is `reward_to`, then each whole encoded transaction.
    pub fn tx_root(&self) -> TxRoot {
        TxRoot(merkle::TRANSACTIONS.root(&self.leaves()))
    }

    /// The leaf hashes of the transaction tree, `1 + transactions` of them.
    pub fn leaves(&self) -> Vec<[u8; 32]> {
        let leaf = |transaction: &Transaction| merkle::TRANSACTIONS.leaf(&encode(transaction));
        let transactions = self.transactions.par_iter().with_min_len(LEAVES_PER_TASK).map(leaf);
        let mut leaves = vec![merkle::TRANSACTIONS.leaf(&self.reward_to.0)];
        leaves.par_extend(transactions);
        leaves
    }

    /// The encoded length in bytes of the block that holds this body.
    pub fn block_bytes(&self) -> usize {
        EMPTY_BLOCK_BYTES + self.transactions.iter().map(Transaction::encoded_len).sum::<usize>()
    }
}

/// A header with its body; encoded one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What is worked on.
    pub header: Header,
    /// What it commits to.
    pub body: Body,
}

impl Encodable for Block {
    const MAX_BYTES: usize = MAX_BLOCK_BYTES;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::encoded_len;

    #[test]
    fn header_layout() {
        let header = Header {
            version: 1,
            prev_hash: BlockHash([2; 32]),
            state_root: StateRoot([3; 32]),
            tx_root: TxRoot([4; 32]),
            time: 5,
            bits: CompactTarget(6),
            nonce: 7,
        };
        let bytes = header.to_bytes();
        assert_eq!(bytes[0..4], [1, 0, 0, 0]);
        assert_eq!(bytes[4..36], [2; 32]);
        assert_eq!(bytes[36..68], [3; 32]);
        assert_eq!(bytes[68..100], [4; 32]);
        assert_eq!(bytes[100..108], [5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[108..112], [6, 0, 0, 0]);
        assert_eq!(bytes[112..116], [7, 0, 0, 0]);
        let body = Body { reward_to: AccountId([0; 32]), transactions: vec![] };
        assert_eq!(body.block_bytes(), encoded_len(&Block { header, body: body.clone() }));
    }
}
