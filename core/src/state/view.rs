//! Views over state: what rules read, what a block changes, and layers of changes over any view.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::history::HistoryNode;
use super::page::{Page, PagePath};
use super::{Leaf, StateKey};

/// Read access to one state. Errors are the reader's own (a disk, a damaged file), never a verdict on a block.
pub trait StateView: Sync {
    /// What can go wrong while reading.
    type Error: Send;

    /// The leaf at `key`.
    fn leaf(&self, key: &StateKey) -> Result<Option<Leaf>, Self::Error>;

    /// The first `limit` leaves from `first` to `last`, both included, by ascending key.
    fn leaves(&self, first: &StateKey, last: &StateKey, limit: usize) -> Result<Vec<(StateKey, Leaf)>, Self::Error>;

    /// A stored page of the state tree.
    fn page(&self, path: &PagePath) -> Result<Option<Page>, Self::Error>;

    /// A stored node of the history range.
    fn history_node(&self, node: HistoryNode) -> Result<Option<[u8; 32]>, Self::Error>;
}

/// What a block does to the state: new values by key, nothing where a value goes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateChanges {
    /// Leaves of the map.
    pub leaves: BTreeMap<StateKey, Option<Leaf>>,
    /// Stored pages of the tree.
    pub pages: BTreeMap<PagePath, Option<Page>>,
    /// Stored nodes of the history range.
    pub history: BTreeMap<HistoryNode, Option<[u8; 32]>>,
}

impl StateChanges {
    /// Lays later changes over these.
    pub fn extend(&mut self, later: StateChanges) {
        self.leaves.extend(later.leaves);
        self.pages.extend(later.pages);
        self.history.extend(later.history);
    }
}

/// A view with uncommitted changes laid over it.
pub struct Overlay<'a, V> {
    /// The view below.
    pub base: &'a V,
    /// What hides it.
    pub changes: &'a StateChanges,
}

impl<V: StateView> StateView for Overlay<'_, V> {
    type Error = V::Error;

    fn leaf(&self, key: &StateKey) -> Result<Option<Leaf>, V::Error> {
        match self.changes.leaves.get(key) {
            Some(leaf) => Ok(*leaf),
            None => self.base.leaf(key),
        }
    }

    fn leaves(&self, first: &StateKey, last: &StateKey, limit: usize) -> Result<Vec<(StateKey, Leaf)>, V::Error> {
        let changed = self.changes.leaves.range(*first..=*last);
        let removed = changed.clone().filter(|(_, leaf)| leaf.is_none()).count();
        let below = self.base.leaves(first, last, limit.saturating_add(removed))?;
        let mut merged = merge(below, changed.map(|(key, leaf)| (*key, *leaf)));
        merged.truncate(limit);
        Ok(merged)
    }

    fn page(&self, path: &PagePath) -> Result<Option<Page>, V::Error> {
        match self.changes.pages.get(path) {
            Some(page) => Ok(page.clone()),
            None => self.base.page(path),
        }
    }

    fn history_node(&self, node: HistoryNode) -> Result<Option<[u8; 32]>, V::Error> {
        match self.changes.history.get(&node) {
            Some(hash) => Ok(*hash),
            None => self.base.history_node(node),
        }
    }
}

/// Lays changes over leaves; both are sorted by key and have each key once, and so does the result.
pub(super) fn merge(
    below: Vec<(StateKey, Leaf)>,
    changes: impl Iterator<Item = (StateKey, Option<Leaf>)>,
) -> Vec<(StateKey, Leaf)> {
    let mut merged = Vec::with_capacity(below.len() + changes.size_hint().0);
    let mut below = below.into_iter().peekable();
    for (key, leaf) in changes {
        while let Some(kept) = below.next_if(|(below, _)| *below < key) {
            merged.push(kept);
        }
        below.next_if(|(below, _)| *below == key);
        merged.extend(leaf.map(|leaf| (key, leaf)));
    }
    merged.extend(below);
    merged
}

/// A state in memory: genesis, tests, and anyone who verifies without a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    /// Leaves of the map.
    pub leaves: BTreeMap<StateKey, Leaf>,
    /// Stored pages of the tree.
    pub pages: BTreeMap<PagePath, Page>,
    /// Stored nodes of the history range.
    pub history: BTreeMap<HistoryNode, [u8; 32]>,
}

impl MemoryState {
    /// Applies changes.
    pub fn apply(&mut self, changes: &StateChanges) {
        fn lay<K: Copy + Ord, V: Clone>(map: &mut BTreeMap<K, V>, changes: &BTreeMap<K, Option<V>>) {
            for (key, value) in changes {
                match value {
                    Some(value) => map.insert(*key, value.clone()),
                    None => map.remove(key),
                };
            }
        }
        lay(&mut self.leaves, &changes.leaves);
        lay(&mut self.pages, &changes.pages);
        lay(&mut self.history, &changes.history);
    }
}

impl StateView for MemoryState {
    type Error = Infallible;

    fn leaf(&self, key: &StateKey) -> Result<Option<Leaf>, Infallible> {
        Ok(self.leaves.get(key).copied())
    }

    fn leaves(&self, first: &StateKey, last: &StateKey, limit: usize) -> Result<Vec<(StateKey, Leaf)>, Infallible> {
        Ok(self.leaves.range(*first..=*last).take(limit).map(|(key, leaf)| (*key, *leaf)).collect())
    }

    fn page(&self, path: &PagePath) -> Result<Option<Page>, Infallible> {
        Ok(self.pages.get(path).cloned())
    }

    fn history_node(&self, node: HistoryNode) -> Result<Option<[u8; 32]>, Infallible> {
        Ok(self.history.get(&node).copied())
    }
}
