//! What the tests of state share: keys that crowd together, leaves, and a view that counts what is read from it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::page::key_range;
use super::{
    Account, HistoryNode, Leaf, MemoryState, Page, PagePath, Reward, StateChanges, StateKey, StateView, update,
};
use crate::amount::Amount;
use crate::hash::{ACCOUNT_KEY, HistoryRoot, StateRoot};
use crate::key::AccountId;

/// Keys that share anything from no bit to all bits with one of a few.
pub(super) fn any_key() -> impl Strategy<Value = StateKey> {
    let base = prop_oneof![Just([0; 32]), Just([0xff; 32]), Just([0xa5; 32])];
    (base, any::<[u8; 32]>(), 0..=256usize).prop_map(|(base, random, shared)| crowd(base, random, shared))
}

/// Half of them share at least 240 bits, so that some hundreds grow pages at every depth.
pub(super) fn crowded_key() -> impl Strategy<Value = StateKey> {
    let shared = prop_oneof![0..16usize, 240..=256usize];
    (any::<[u8; 32]>(), shared).prop_map(|(random, shared)| crowd([0xa5; 32], random, shared))
}

/// `random` with the first `shared` bits of `base`.
pub(super) fn crowd(base: [u8; 32], random: [u8; 32], shared: usize) -> StateKey {
    let (first, last) = key_range(&StateKey([0; 32]), shared);
    let free: [u8; 32] = std::array::from_fn(|i| first.0[i] ^ last.0[i]);
    StateKey(std::array::from_fn(|i| base[i] & !free[i] | random[i] & free[i]))
}

pub(super) fn any_leaf() -> impl Strategy<Value = Leaf> {
    prop_oneof![
        any::<(u64, u64)>().prop_map(|(balance, nonce)| Leaf::Account(Account { balance: Amount(balance), nonce })),
        any::<([u8; 32], u64)>()
            .prop_map(|(to, amount)| { Leaf::Reward(Reward { to: AccountId(to), amount: Amount(amount) }) }),
        any::<[u8; 32]>().prop_map(|root| Leaf::History(HistoryRoot(root))),
    ]
}

/// Changes to some of a few hundred keys, half of them deep in one corner, a third of them removals.
pub(super) fn any_changes() -> impl Strategy<Value = BTreeMap<StateKey, Option<Leaf>>> {
    prop::collection::btree_map(crowded_key(), prop::option::weighted(0.7, any_leaf()), 0..400)
}

/// An account leaf that tells `n` apart.
pub(super) fn account(n: u64) -> Leaf {
    Leaf::Account(Account { balance: Amount(n), nonce: 1 })
}

/// `count` accounts under spread keys, then `count` under keys that share `shared` bits.
pub(super) fn state_with_corner(count: u64, shared: usize) -> (MemoryState, Vec<StateKey>, Vec<StateKey>) {
    let hash = |n: u64| ACCOUNT_KEY.hash(&[&n.to_le_bytes()]);
    let spread: Vec<StateKey> = (0..count).map(|n| StateKey(hash(n))).collect();
    let mut corner: Vec<StateKey> = (0..count).map(|n| crowd([0xa5; 32], hash(n), shared)).collect();
    corner.sort_unstable();
    corner.dedup();
    let mut state = MemoryState::default();
    let leaves = spread.iter().chain(&corner).zip(0..).map(|(key, n)| (*key, Some(account(n)))).collect();
    apply(&mut state, leaves);
    (state, spread, corner)
}

/// Lays changes over a state, with their pages; returns the root.
pub(super) fn apply(state: &mut MemoryState, leaves: BTreeMap<StateKey, Option<Leaf>>) -> StateRoot {
    let Ok(tree) = update(state, &leaves);
    state.apply(&StateChanges { leaves, pages: tree.pages, ..StateChanges::default() });
    tree.root
}

/// A view that counts the leaves and the pages that it hands out.
pub(super) struct Counting<'a> {
    pub(super) state: &'a MemoryState,
    pub(super) leaves: AtomicUsize,
    pub(super) pages: AtomicUsize,
}

impl<'a> Counting<'a> {
    pub(super) fn new(state: &'a MemoryState) -> Self {
        Counting { state, leaves: AtomicUsize::new(0), pages: AtomicUsize::new(0) }
    }
}

impl StateView for Counting<'_> {
    type Error = Infallible;

    fn leaf(&self, key: &StateKey) -> Result<Option<Leaf>, Infallible> {
        self.leaves.fetch_add(1, Ordering::Relaxed);
        self.state.leaf(key)
    }

    fn leaves(&self, first: &StateKey, last: &StateKey, limit: usize) -> Result<Vec<(StateKey, Leaf)>, Infallible> {
        let leaves = self.state.leaves(first, last, limit)?;
        self.leaves.fetch_add(leaves.len(), Ordering::Relaxed);
        Ok(leaves)
    }

    fn page(&self, path: &PagePath) -> Result<Option<Page>, Infallible> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.state.page(path)
    }

    fn history_node(&self, node: HistoryNode) -> Result<Option<[u8; 32]>, Infallible> {
        self.state.history_node(node)
    }
}
