//! The history range: an RFC 6962 tree over all ancestors of a block, of which only complete subtrees are stored.
//!
//! Leaf `i` is the main-chain block at height `i`: its hash and the chain's work up to and including it. The state after
//! the block at height `h` commits to the `h` leaves before it. Appending touches only the right edge, so nodes are
//! written once, and going back deletes the ones that an append wrote.

use serde::{Deserialize, Serialize};

use super::StateView;
use crate::encode::Encodable;
use crate::hash::{BlockHash, HistoryRoot};
use crate::merkle::{HISTORY, split};
use crate::pow::Work;

/// The subtree over the `2^level` leaves from `index * 2^level`, all of them present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryNode {
    /// Height above the leaves, at most 63.
    pub level: u8,
    /// Place among the subtrees of its level, from the left.
    pub index: u64,
}

impl HistoryNode {
    /// The key in a store: the level, then the index big-endian, so that bytes sort as values do.
    pub fn to_bytes(&self) -> [u8; 9] {
        let mut bytes = [self.level; 9];
        bytes[1..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// Reads [`HistoryNode::to_bytes`] back.
    pub fn from_bytes(bytes: &[u8; 9]) -> HistoryNode {
        let [level, index @ ..] = *bytes;
        HistoryNode { level, index: u64::from_be_bytes(index) }
    }

    /// The nodes that a leaf completes when it follows `count` others, from the leaf upward: what going back deletes.
    pub fn completed_by(count: u64) -> impl Iterator<Item = HistoryNode> {
        (0..=count.trailing_ones() as u8).map(move |level| HistoryNode { level, index: count >> level })
    }
}

/// The leaf hash of an ancestor: its block hash (32 bytes), then the cumulative work through it (32 bytes, little-endian).
pub fn history_leaf(hash: &BlockHash, work: &Work) -> [u8; 32] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&hash.0);
    bytes[32..].copy_from_slice(&work.0.to_le_bytes::<32>());
    HISTORY.leaf(&bytes)
}

/// Nodes of the history range with their hashes.
pub type HistoryNodes = Vec<(HistoryNode, [u8; 32])>;

/// The root over `count` leaves and `leaf` after them, and the nodes that it completes: those of [`HistoryNode::completed_by`].
pub fn append<V: StateView>(view: &V, count: u64, leaf: [u8; 32]) -> Result<(HistoryRoot, HistoryNodes), V::Error> {
    let mut completed = HistoryNode::completed_by(count);
    let mut nodes: HistoryNodes = completed.next().map(|node| (node, leaf)).into_iter().collect();
    let mut hash = leaf;
    // Each set bit of `count` is a complete subtree on the left, the lowest bit the nearest.
    for level in (0..u64::BITS as u8).filter(|level| count >> level & 1 == 1) {
        let left = stored(view, HistoryNode { level, index: (count >> level) - 1 })?;
        hash = HISTORY.node(&left, &hash);
        nodes.extend(completed.next().map(|node| (node, hash)));
    }
    Ok((HistoryRoot(hash), nodes))
}

/// The root over the first `count` leaves; 32 zero bytes for none.
pub fn history_root<V: StateView>(view: &V, count: u64) -> Result<HistoryRoot, V::Error> {
    range_root(view, 0, count).map(HistoryRoot)
}

/// The proof that leaf `index` is among the first `count`. For an index beyond them it verifies as nothing.
pub fn prove_ancestor<V: StateView>(view: &V, count: u64, index: u64) -> Result<HistoryProof, V::Error> {
    let mut path = Vec::new();
    let (mut first, mut size) = (0, count);
    while size > 1 {
        let left = split(size);
        if index - first < left {
            path.push(range_root(view, first + left, size - left)?);
            size = left;
        } else {
            path.push(range_root(view, first, left)?);
            first += left;
            size -= left;
        }
    }
    path.reverse();
    Ok(HistoryProof { path })
}

/// The root over `count` leaves from `first`, which is a multiple of the largest power of two not above `count`.
fn range_root<V: StateView>(view: &V, first: u64, count: u64) -> Result<[u8; 32], V::Error> {
    if count == 0 {
        return Ok([0; 32]);
    }
    if count.is_power_of_two() {
        let level = count.trailing_zeros() as u8;
        return stored(view, HistoryNode { level, index: first >> level });
    }
    let left = split(count);
    Ok(HISTORY.node(&range_root(view, first, left)?, &range_root(view, first + left, count - left)?))
}

/// A complete subtree's hash. One that the store lost counts as 32 zero bytes, which stand for no hash, so that what is
/// made of it verifies under no honest root: loss shows as any other damage does.
fn stored<V: StateView>(view: &V, node: HistoryNode) -> Result<[u8; 32], V::Error> {
    Ok(view.history_node(node)?.unwrap_or_default())
}

/// The inclusion path of one ancestor under a history root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryProof {
    /// From the leaf's sibling upward.
    pub path: Vec<[u8; 32]>,
}

impl Encodable for HistoryProof {
    // A length, and one hash for each level of at most 2^64 leaves.
    const MAX_BYTES: usize = 8 + 64 * 32;
}

impl HistoryProof {
    /// Whether `leaf`, a [`history_leaf`], is leaf `index` of the `count` leaves under `root`.
    pub fn verify(&self, root: &HistoryRoot, count: u64, index: u64, leaf: &[u8; 32]) -> bool {
        HISTORY.root_from_path(*leaf, index, count, &self.path) == Some(root.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::{decode, encode};
    use crate::state::{MemoryState, StateChanges};

    fn leaf(i: u64) -> [u8; 32] {
        history_leaf(&BlockHash([i as u8; 32]), &Work::from_hashes(i))
    }

    fn extend(state: &mut MemoryState, count: u64) -> HistoryRoot {
        let Ok((root, nodes)) = append(state, count, leaf(count));
        assert!(nodes.iter().map(|(node, _)| *node).eq(HistoryNode::completed_by(count)));
        let history = nodes.into_iter().map(|(node, hash)| (node, Some(hash))).collect();
        state.apply(&StateChanges { history, ..StateChanges::default() });
        root
    }

    #[test]
    fn every_length_has_the_root_of_the_list_and_proves_every_leaf() {
        let mut state = MemoryState::default();
        let mut leaves = Vec::new();
        assert_eq!(history_root(&state, 0), Ok(HistoryRoot([0; 32])));
        for count in 1..=70u64 {
            leaves.push(leaf(count - 1));
            let root = extend(&mut state, count - 1);
            assert_eq!(root.0, HISTORY.root(&leaves));
            assert_eq!(history_root(&state, count), Ok(root));
            for (index, leaf) in leaves.iter().enumerate() {
                let Ok(proof) = prove_ancestor(&state, count, index as u64);
                assert_eq!(proof.path, HISTORY.path(&leaves, index));
                assert!(proof.verify(&root, count, index as u64, leaf));
                assert!(!proof.verify(&root, count, index as u64 + 1, leaf));
                assert!(!proof.verify(&root, count, index as u64, &[7; 32]));
                assert_eq!(decode::<HistoryProof>(&encode(&proof)).as_ref(), Ok(&proof));
            }
            let Ok(beyond) = prove_ancestor(&state, count, count);
            assert!(!beyond.verify(&root, count, count, &leaf(count)));
        }
    }

    #[test]
    fn going_back_deletes_what_an_append_wrote() {
        let mut state = MemoryState::default();
        let mut before = Vec::new();
        for count in 0..40 {
            before.push(state.clone());
            extend(&mut state, count);
        }
        for (count, before) in before.iter().enumerate().rev() {
            let history = HistoryNode::completed_by(count as u64).map(|node| (node, None)).collect();
            state.apply(&StateChanges { history, ..StateChanges::default() });
            assert_eq!(state, *before);
        }
    }

    #[test]
    fn a_lost_node_shows_in_the_root_and_in_no_valid_proof() {
        let mut state = MemoryState::default();
        let root = (0..7).map(|count| extend(&mut state, count)).last().expect("seven");
        state.history.remove(&HistoryNode { level: 2, index: 0 });
        assert_ne!(history_root(&state, 7), Ok(root));
        let Ok(proof) = prove_ancestor(&state, 7, 6);
        assert!(!proof.verify(&root, 7, 6, &leaf(6)));
    }

    proptest! {
        #[test]
        fn nodes_come_back_from_their_bytes_in_their_order(a in (0..64u8, any::<u64>()), b in (0..64u8, any::<u64>())) {
            let [a, b] = [a, b].map(|(level, index)| HistoryNode { level, index });
            prop_assert_eq!(HistoryNode::from_bytes(&a.to_bytes()), a);
            prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), a.cmp(&b));
        }
    }
}
