//! Proofs that a key has a leaf, or none, under a state root.
//!
//! A proof walks from the root along the bits of the key to where the tree ends: an empty subtree, or a subtree of one
//! leaf. It gives that leaf, if any, and the hash beside each step. The verifier hashes back up.
//!
//! Sound and unique: a root is either zeros, a leaf hash or a node hash, three kinds that no collision-free hash confuses. So
//! while the verifier's steps agree with the root, each is a step in the real tree, and where the proof ends the real
//! tree ends too. For one root and one key there is exactly one proof that verifies.

use serde::{Deserialize, Serialize};

use super::page::{Entry, PAGE_THRESHOLD, Page, PagePath, Subtree, bit, key_range, nibble, split_at_bit};
use super::tree::SMALL_READ;
use super::{Leaf, StateKey, StateView};
use crate::encode::Encodable;
use crate::hash::{STATE_NODE, StateRoot};

/// What a key's leaf is under a root: the end of the walk and the hashes beside it.
///
/// A verifier refuses a proof
/// 1. with more than 256 siblings;
/// 2. with a sibling of 32 zero bytes: an empty sibling is elided;
/// 3. whose lowest sibling is empty: beside nothing, a leaf or an empty subtree would stand one step higher;
/// 4. with a terminal leaf whose key does not share with the asked key as many first bits as there are siblings;
/// 5. that leads to another root. The walk starts at the terminal leaf's hash, or at 32 zero bytes without one; with `n`
///    siblings, sibling `i` stands to the left where bit `n - 1 - i` of the asked key is one, to the right where it is
///    zero; each step hashes `state-node(left || right)`.
///
/// Then the terminal leaf, if its key is the asked one, is the key's leaf; otherwise the key has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateProof {
    /// The hashes beside the walk, from its end upward to the root; nothing for an empty subtree.
    pub siblings: Vec<Option<[u8; 32]>>,
    /// The one leaf of the subtree where the walk ends, nothing if that is empty.
    pub terminal: Option<(StateKey, Leaf)>,
}

impl Encodable for StateProof {
    // A length and 256 siblings, each after a byte that tells if it is there; then such a byte, a key, and a reward after
    // the number of its kind.
    const MAX_BYTES: usize = 8 + 256 * (1 + 32) + 1 + 32 + 4 + 40;
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It has more siblings than a key has bits.
    #[error("{0} siblings, a key has 256 bits")]
    TooDeep(usize),
    /// An empty sibling is spelt out.
    #[error("an empty sibling is spelt out")]
    SpeltOutEmpty,
    /// The lowest sibling is empty, so the walk would have ended a step higher.
    #[error("the lowest sibling is empty")]
    NotCompressed,
    /// The terminal leaf does not belong where the walk ends.
    #[error("the terminal leaf stands elsewhere")]
    StrayLeaf,
    /// The hashes lead to another root.
    #[error("leads to root {0}")]
    WrongRoot(StateRoot),
}

impl StateProof {
    /// All that a store can prove that contradicts itself. Rule 3 refuses it under every root.
    fn of_nothing() -> StateProof {
        StateProof { siblings: vec![None], terminal: None }
    }

    /// The leaf of `key` under `root`, nothing if the root has none there.
    pub fn verify(&self, root: &StateRoot, key: &StateKey) -> Result<Option<Leaf>, ProofError> {
        self.check_shape(key)?;
        let end = self.terminal.as_ref().map_or(Subtree::EMPTY, |(key, leaf)| Subtree::leaf(key, leaf)).hash;
        let depths = (0..self.siblings.len()).rev();
        let found = StateRoot(self.siblings.iter().zip(depths).fold(end, |hash, (sibling, depth)| {
            let sibling = sibling.unwrap_or(Subtree::EMPTY.hash);
            STATE_NODE.hash(&if bit(key, depth) { [&sibling, &hash] } else { [&hash, &sibling] }.map(|hash| &hash[..]))
        }));
        if found != *root {
            return Err(ProofError::WrongRoot(found));
        }
        Ok(self.terminal.filter(|(terminal, _)| terminal == key).map(|(_, leaf)| leaf))
    }

    /// Refuses what no tree can have.
    fn check_shape(&self, key: &StateKey) -> Result<(), ProofError> {
        let depth = self.siblings.len();
        if depth > 256 {
            return Err(ProofError::TooDeep(depth));
        }
        if self.siblings.contains(&Some(Subtree::EMPTY.hash)) {
            return Err(ProofError::SpeltOutEmpty);
        }
        if self.siblings.first() == Some(&None) {
            return Err(ProofError::NotCompressed);
        }
        match &self.terminal {
            Some((terminal, _)) if key_range(terminal, depth) != key_range(key, depth) => Err(ProofError::StrayLeaf),
            _ => Ok(()),
        }
    }
}

/// Proves what `view` holds at `key`. Every hash comes from the stored pages and leaves as they are. Where the store is
/// rotten, on the key's path or beside it in a page on that path, the proof verifies under no honest root: [`super::update`]
/// at this key then had no sound tree to start from.
pub fn prove<V: StateView>(view: &V, key: &StateKey) -> Result<StateProof, V::Error> {
    let mut siblings = Vec::new();
    let mut path = PagePath::ROOT;
    // What the page above says of the subtree that the walk has come to.
    let mut claimed: Option<Subtree> = None;
    while claimed.is_none_or(|claimed| claimed.count > PAGE_THRESHOLD) {
        let Some(page) = view.page(&path)? else { break };
        if claimed.is_some_and(|claimed| claimed != page.subtree()) {
            return Ok(StateProof::of_nothing());
        }
        claimed = Some(walk_page(&page, key, &mut siblings));
        path = path.child(nibble(key, path.nibbles()));
    }

    let (first, last) = key_range(key, siblings.len());
    let leaves = view.leaves(&first, &last, SMALL_READ)?;
    if claimed.is_some_and(|claimed| claimed != Subtree::of_leaves(&leaves, siblings.len())) {
        return Ok(StateProof::of_nothing());
    }
    let terminal = walk_leaves(&leaves, key, &mut siblings);
    let elide = |hash| (hash != Subtree::EMPTY.hash).then_some(hash);
    Ok(StateProof { siblings: siblings.into_iter().rev().map(elide).collect(), terminal })
}

/// Walks down a page until one child or at most one leaf is left; returns the subtree that the page has there.
fn walk_page(page: &Page, key: &StateKey, siblings: &mut Vec<[u8; 32]>) -> Subtree {
    let mut own = &page.children[..];
    loop {
        let subtree = Subtree::join_all(own);
        if own.len() == 1 || subtree.count <= 1 {
            return subtree;
        }
        let (left, right) = own.split_at(own.len() / 2);
        let (near, beside) = if bit(key, siblings.len()) { (right, left) } else { (left, right) };
        siblings.push(Subtree::join_all(beside).hash);
        own = near;
    }
}

/// Walks down the leaves of a subtree until at most one is left, and returns that.
fn walk_leaves(leaves: &[Entry], key: &StateKey, siblings: &mut Vec<[u8; 32]>) -> Option<Entry> {
    let mut own = leaves;
    while own.len() > 1 {
        let depth = siblings.len();
        let (left, right) = split_at_bit(own, depth);
        let (near, beside) = if bit(key, depth) { (right, left) } else { (left, right) };
        siblings.push(Subtree::of_leaves(beside, depth + 1).hash);
        own = near;
    }
    own.first().copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::encode::{decode, encode};
    use crate::state::testing::{account, any_changes, any_key, apply, crowd, crowded_key, state_with_corner};
    use crate::state::{MemoryState, root};

    fn proven(state: &MemoryState, key: &StateKey) -> StateProof {
        let Ok(proof) = prove(state, key);
        proof
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn every_key_has_its_proof_and_no_bit_of_it_may_change(
            changes in any_changes(),
            absent in prop_oneof![any_key(), crowded_key()],
        ) {
            let mut state = MemoryState::default();
            let present: Vec<StateKey> = changes.keys().copied().step_by(50).collect();
            let root = apply(&mut state, changes);
            for key in present.into_iter().chain([absent]) {
                let proof = proven(&state, &key);
                prop_assert_eq!(proof.verify(&root, &key), Ok(state.leaves.get(&key).copied()));
                let mut bytes = encode(&proof);
                prop_assert!(bytes.len() <= StateProof::MAX_BYTES);
                prop_assert_eq!(decode(&bytes), Ok(proof));
                // All bits of the length and of the terminal, and one in seven between.
                let ends = 8 * 8..8 * bytes.len().saturating_sub(80);
                for i in (0..8 * bytes.len()).filter(|i| !ends.contains(i) || i % 7 == 0) {
                    bytes[i / 8] ^= 1 << (i % 8);
                    if let Ok(forged) = decode::<StateProof>(&bytes) {
                        prop_assert!(forged.verify(&root, &key).is_err(), "bit {i}");
                    }
                    bytes[i / 8] ^= 1 << (i % 8);
                }
            }
        }
    }

    #[test]
    fn every_single_bit_of_a_proof_counts() {
        let (state, spread, corner) = state_with_corner(1_000, 200);
        let Ok(root) = root(&state);
        for key in [spread[0], corner[0], StateKey([0xa5; 32]), StateKey([0; 32])] {
            let mut bytes = encode(&proven(&state, &key));
            for i in 0..8 * bytes.len() {
                bytes[i / 8] ^= 1 << (i % 8);
                let forged = decode::<StateProof>(&bytes);
                assert!(forged.is_err() || forged.is_ok_and(|forged| forged.verify(&root, &key).is_err()), "bit {i}");
                bytes[i / 8] ^= 1 << (i % 8);
            }
        }
    }

    #[test]
    fn proofs_are_small_and_the_deepest_fits_the_cap() {
        let (state, spread, corner) = state_with_corner(20_000, 200);
        // log2(20,000) is about 14.
        assert!(encode(&proven(&state, &spread[0])).len() < 8 + 22 * 33 + 53);
        // As many again for the corner, and a byte for each of the empty siblings between.
        assert!(encode(&proven(&state, &corner[0])).len() < 8 + 256 + 2 * 22 * 32 + 53);
        let full = StateProof {
            siblings: vec![Some([1; 32]); 256],
            terminal: Some((
                StateKey::MIN,
                Leaf::Reward(crate::state::Reward {
                    to: crate::key::AccountId([0; 32]),
                    amount: crate::amount::Amount(1),
                }),
            )),
        };
        assert_eq!(encode(&full).len(), StateProof::MAX_BYTES);
    }

    #[test]
    fn shapes_that_no_tree_has_are_refused() {
        let [left, right] = [crowd([0; 32], [0; 32], 255), crowd([0; 32], [0xff; 32], 255)];
        let mut state = MemoryState::default();
        let root = apply(&mut state, [(left, Some(account(1))), (right, Some(account(2)))].into());
        let proof = proven(&state, &left);
        assert_eq!(proof.verify(&root, &left), Ok(Some(account(1))));
        let refused = |change: &dyn Fn(&mut StateProof), key: &StateKey| {
            let mut proof = proof.clone();
            change(&mut proof);
            proof.verify(&root, key)
        };
        assert_eq!(refused(&|proof| proof.siblings.push(None), &left), Err(ProofError::TooDeep(257)));
        assert_eq!(refused(&|proof| proof.siblings[9] = Some([0; 32]), &left), Err(ProofError::SpeltOutEmpty));
        assert_eq!(refused(&|proof| proof.siblings[0] = None, &left), Err(ProofError::NotCompressed));
        assert_eq!(refused(&|proof| proof.siblings = vec![None], &left), Err(ProofError::NotCompressed));
        assert_eq!(refused(&|_| (), &right), Err(ProofError::StrayLeaf));
        assert!(matches!(refused(&|proof| proof.terminal = None, &left), Err(ProofError::WrongRoot(_))));
        assert!(matches!(refused(&|proof| proof.siblings.truncate(9), &left), Err(ProofError::WrongRoot(_))));
    }

    #[test]
    fn a_proof_from_a_rotten_store_verifies_under_no_honest_root() {
        let (sound, spread, corner) = state_with_corner(1_000, 200);
        let Ok(root) = root(&sound);
        for key in [spread[3], corner[3]] {
            let rotten = |rot: &dyn Fn(&mut MemoryState)| {
                let mut state = sound.clone();
                rot(&mut state);
                proven(&state, &key).verify(&root, &key)
            };
            assert!(rotten(&|_| ()).is_ok());
            assert!(rotten(&|state| _ = state.leaves.remove(&key)).is_err());
            assert!(rotten(&|state| _ = state.leaves.insert(key, account(9))).is_err());
            // Every page on the way: lost, or with a rotten child on the way or beside it.
            for nibbles in 0..=63 {
                let path = (0..nibbles).fold(PagePath::ROOT, |path, depth| path.child(nibble(&key, depth)));
                let Some(page) = sound.pages.get(&path) else { break };
                assert!(rotten(&|state| _ = state.pages.remove(&path)).is_err());
                for child in (0..16).filter(|child| page.children[*child].count > 0) {
                    let mut page = page.clone();
                    page.children[child].hash[5] ^= 1;
                    assert!(rotten(&|state| _ = state.pages.insert(path, page.clone())).is_err());
                }
            }
        }
    }
}
