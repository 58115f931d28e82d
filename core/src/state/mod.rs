//! State: a map from 32-byte keys to leaves under a compressed binary Merkle tree, read through views.
//!
//! Three kinds of leaves live in it: accounts, rewards that have not matured, and the root over all ancestors. Keys are
//! tagged hashes, so their depth in the tree costs work to grind and no two kinds share a key. The root is a function of
//! the map alone: undoing a block is writing old values back.
//!
//! [`StateView`] is what rules read from; a store implements it over a snapshot, [`MemoryState`] over ordered maps, and
//! [`Overlay`] stacks uncommitted [`StateChanges`] on any other view.

mod genesis;
mod history;
mod page;
mod proof;
#[cfg(test)]
mod testing;
mod tree;
mod undo;
mod view;

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::Amount;
use crate::encode::{Encodable, encode};
use crate::hash::{
    ACCOUNT_KEY, HISTORY_KEY, HexError, HistoryRoot, REWARD_KEY, byte_type, deserialize_array, parse_hex,
    serialize_array,
};
use crate::key::AccountId;

pub use history::{HistoryNode, HistoryNodes, HistoryProof, append, history_leaf, history_root, prove_ancestor};
pub use page::{Page, PagePath};
pub use proof::{ProofError, StateProof, prove};
pub use tree::{TreeUpdate, is_page_sound, rebuild, root, root_of, update};
pub use undo::{Undo, revert};
pub use view::{MemoryState, Overlay, StateChanges, StateView};

byte_type!(
    /// Where a leaf stands in the state tree: a tagged hash of what it is.
    StateKey, 32, false
);

/// What an account holds. Encoded in 16 bytes. An account with neither is absent from the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Spendable chips.
    pub balance: Amount,
    /// How many transactions the account has sent.
    pub nonce: u64,
}

impl Encodable for Account {
    const MAX_BYTES: usize = 16;
}

/// A block's subsidy and fees until they mature. Encoded in 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reward {
    /// Who will be credited.
    pub to: AccountId,
    /// With how much.
    pub amount: Amount,
}

impl Encodable for Reward {
    const MAX_BYTES: usize = 40;
}

/// A leaf's value. Its encodings have 16, 40 and 32 bytes, and the length tells the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leaf {
    /// The account of some id.
    Account(Account),
    /// The reward of some height.
    Reward(Reward),
    /// The root over all ancestors of the block whose state this is.
    History(HistoryRoot),
}

impl Leaf {
    /// The canonical bytes: 16 for an account, 40 for a reward, 32 for the history root.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Leaf::Account(account) => encode(account),
            Leaf::Reward(reward) => encode(reward),
            Leaf::History(root) => root.0.to_vec(),
        }
    }

    /// Reads [`Leaf::to_bytes`] back; nothing for any other length. Every value of these widths is canonical, and a block
    /// reads hundreds of thousands of leaves, so this does not go through the decoder.
    pub fn from_bytes(bytes: &[u8]) -> Option<Leaf> {
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
        let array = |bytes: &[u8]| bytes.try_into().ok();
        Some(match bytes.len() {
            16 => Leaf::Account(Account { balance: Amount(number(&bytes[..8])?), nonce: number(&bytes[8..])? }),
            40 => Leaf::Reward(Reward { to: AccountId(array(&bytes[..32])?), amount: Amount(number(&bytes[32..])?) }),
            32 => Leaf::History(HistoryRoot(array(bytes)?)),
            _ => return None,
        })
    }
}

impl StateKey {
    /// The lowest key.
    pub const MIN: StateKey = StateKey([0; 32]);
    /// The highest key.
    pub const MAX: StateKey = StateKey([0xff; 32]);

    /// The key of an account: a tagged hash of its 32 bytes.
    pub fn account(id: &AccountId) -> StateKey {
        StateKey(ACCOUNT_KEY.hash(&[&id.0]))
    }

    /// The key of the reward of the block at `height`: a tagged hash of its 8 little-endian bytes.
    pub fn reward(height: u64) -> StateKey {
        StateKey(REWARD_KEY.hash(&[&height.to_le_bytes()]))
    }

    /// The key of the history root: a tagged hash of nothing.
    pub fn history() -> StateKey {
        StateKey(HISTORY_KEY.hash(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::decode;

    #[test]
    fn leaves_read_back_as_the_decoder_reads_them() {
        let bytes: Vec<u8> = (1..=64).collect();
        for length in 0..=64 {
            let leaf = Leaf::from_bytes(&bytes[..length]);
            let decoded = match length {
                16 => decode(&bytes[..16]).map(Leaf::Account).ok(),
                40 => decode(&bytes[..40]).map(Leaf::Reward).ok(),
                32 => bytes[..32].try_into().map(|root| Leaf::History(HistoryRoot(root))).ok(),
                _ => None,
            };
            assert_eq!(leaf, decoded, "{length} bytes");
            assert_eq!(leaf.map(|leaf| leaf.to_bytes()), leaf.map(|_| bytes[..length].to_vec()));
        }
    }
}
