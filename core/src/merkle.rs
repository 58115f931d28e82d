//! The one tree over lists: RFC 6962's, for a block's transactions and for the history of ancestors.
//!
//! `root` of one leaf is its hash; of `n > 1` leaves `node(root(first k), root(rest))` with `k` the largest power of two
//! below `n`. Leaves and nodes have tags of their own, so neither passes for the other (RFC 6962, 2.1).

use crate::hash::{HISTORY_LEAF, HISTORY_NODE, TX_LEAF, TX_NODE, Tag};

/// A tree of fewer leaves than this is hashed by one thread: about 0.1 ms.
const PARALLEL_MIN: usize = 1024;

/// A tree's two tags.
pub struct MerkleTree {
    leaf: &'static Tag,
    node: &'static Tag,
}

/// The tree over a block's `reward_to` and transactions.
pub static TRANSACTIONS: MerkleTree = MerkleTree { leaf: &TX_LEAF, node: &TX_NODE };

/// The tree over a block's ancestors, genesis first.
pub static HISTORY: MerkleTree = MerkleTree { leaf: &HISTORY_LEAF, node: &HISTORY_NODE };

impl MerkleTree {
    /// The hash of a leaf with these bytes.
    pub fn leaf(&self, bytes: &[u8]) -> [u8; 32] {
        self.leaf.hash(&[bytes])
    }

    /// The hash of an inner node.
    pub fn node(&self, left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
        self.node.hash(&[left, right])
    }

    /// The root over leaf hashes; 32 zero bytes for none.
    pub fn root(&self, leaves: &[[u8; 32]]) -> [u8; 32] {
        match leaves {
            [] => [0; 32],
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                let (left, right) = if leaves.len() >= PARALLEL_MIN {
                    rayon::join(|| self.root(left), || self.root(right))
                } else {
                    (self.root(left), self.root(right))
                };
                self.node(&left, &right)
            }
        }
    }

    /// The inclusion path of leaf `index`, from the leaf's sibling upward (RFC 6962, 2.1.1).
    ///
    /// # Panics
    /// If `index` is not below the number of leaves.
    pub fn path(&self, leaves: &[[u8; 32]], index: usize) -> Vec<[u8; 32]> {
        assert!(index < leaves.len(), "leaf {index} of {}", leaves.len());
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
        let (mut path, sibling) = if index < left.len() {
            (self.path(left, index), self.root(right))
        } else {
            (self.path(right, index - left.len()), self.root(left))
        };
        path.push(sibling);
        path
    }

    /// The root that `path` leads to from the leaf hash at `index` of `size`; nothing where the path's length is wrong.
    pub fn root_from_path(&self, leaf: [u8; 32], index: u64, size: u64, path: &[[u8; 32]]) -> Option<[u8; 32]> {
        if index >= size {
            return None;
        }
        if size == 1 {
            return path.is_empty().then_some(leaf);
        }
        let (sibling, below) = path.split_last()?;
        let k = split(size);
        Some(if index < k {
            self.node(&self.root_from_path(leaf, index, k, below)?, sibling)
        } else {
            self.node(sibling, &self.root_from_path(leaf, index - k, size - k, below)?)
        })
    }
}

/// The largest power of two below `n`, for `n > 1`: how many leaves go left.
pub fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_the_root_and_no_changed_path_does() {
        for size in 1..=40u64 {
            let leaves: Vec<[u8; 32]> = (0..size).map(|i| TRANSACTIONS.leaf(&i.to_le_bytes())).collect();
            let root = TRANSACTIONS.root(&leaves);
            for index in 0..size {
                let leaf = leaves[index as usize];
                let mut path = TRANSACTIONS.path(&leaves, index as usize);
                assert_eq!(TRANSACTIONS.root_from_path(leaf, index, size, &path), Some(root));
                for wrong in (0..size).filter(|wrong| *wrong != index) {
                    assert_ne!(TRANSACTIONS.root_from_path(leaf, wrong, size, &path), Some(root));
                }
                for i in 0..path.len() {
                    path[i][31] ^= 1;
                    assert_ne!(TRANSACTIONS.root_from_path(leaf, index, size, &path), Some(root));
                    path[i][31] ^= 1;
                }
                path.push([0; 32]);
                assert_eq!(TRANSACTIONS.root_from_path(leaf, index, size, &path), None);
            }
        }
    }

    #[test]
    fn leaf_and_node_never_agree() {
        let (a, b) = ([1; 32], [2; 32]);
        assert_ne!(TRANSACTIONS.leaf(&[a, b].concat()), TRANSACTIONS.node(&a, &b));
        assert_ne!(TRANSACTIONS.node(&a, &b), HISTORY.node(&a, &b));
    }
}
