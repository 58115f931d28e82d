//! Undo: the old values that take a block's changes back.

use serde::{Deserialize, Serialize};

use super::view::{StateChanges, StateView};
use super::{HistoryNode, Leaf, StateKey, update};
use crate::encode::Encodable;
use crate::hash::StateRoot;

/// The old values of the leaves that a block changed. Pages and history nodes follow from them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Each changed key, ascending, with its value before the block.
    pub leaves: Vec<(StateKey, Option<Leaf>)>,
}

impl Encodable for Undo {
    // A block of the largest size has at most 16 MiB / 160 B transactions of two accounts each, 53 bytes an entry: 11 MB,
    // and four leaves more.
    const MAX_BYTES: usize = 32 << 20;
}

/// The changes that take the state after the block at `height` (which `view` shows) back to its parent's, and the
/// parent's root, which the caller holds against the parent's header.
pub fn revert<V: StateView>(view: &V, undo: &Undo, height: u64) -> Result<(StateRoot, StateChanges), V::Error> {
    let leaves = undo.leaves.iter().copied().collect();
    let tree = update(view, &leaves)?;
    let history = HistoryNode::completed_by(height - 1).map(|node| (node, None)).collect();
    Ok((tree.root, StateChanges { leaves, pages: tree.pages, history }))
}
