//! The state tree: its root over leaves in memory, over a view, and after changes, at a cost that follows the changes.
//!
//! The tree is a binary trie over 32-byte keys, bits taken from the most significant. The hash of a subtree is
//!
//! - 32 zero bytes where it holds no leaf;
//! - where it holds one leaf, at whatever depth, that leaf's hash: `state-leaf(key || bytes of the leaf)`;
//! - otherwise `state-node(left || right)`, also where one side is empty.
//!
//! A lone leaf stands as high as it can, so the tree is as deep as keys share prefixes, and no deeper. Keys are hashes, but
//! assume them ground: everything here recurses at most once a bit, reads no more than [`PAGE_THRESHOLD`] leaves and 64
//! pages for each changed key, and is bounded even over a rotten store, whose root then comes out wrong.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::page::{Entry, PAGE_THRESHOLD, Page, PagePath, Subtree, nibble};
use super::view::merge;
use super::{Leaf, StateKey, StateView};
use crate::hash::StateRoot;

/// How many leaves a read asks for where a page, or its absence, says that there are few: one more betrays a lost page.
pub(super) const SMALL_READ: usize = PAGE_THRESHOLD as usize + 1;

/// A page with fewer changed leaves than this below it is done by one thread, in about a millisecond.
const PARALLEL_MIN: usize = 256;

/// How many leaves [`rebuild`] holds at a time: 2^14 of 80 bytes are 1.3 MB.
const REBUILD_SLICE: usize = 1 << 14;

/// A leaf's new value, nothing where it goes away.
type Change = (StateKey, Option<Leaf>);

/// What changes do to the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeUpdate {
    /// The root afterwards.
    pub root: StateRoot,
    /// The pages that differ afterwards, nothing where one goes away.
    pub pages: BTreeMap<PagePath, Option<Page>>,
}

/// The root over leaves in memory, sorted by key, each key once.
pub fn root_of(leaves: &[(StateKey, Leaf)]) -> StateRoot {
    StateRoot(Subtree::of_leaves(leaves, 0).hash)
}

/// The root of a view's state, from its root page or, in a small state, from all leaves.
pub fn root<V: StateView>(view: &V) -> Result<StateRoot, V::Error> {
    match view.page(&PagePath::ROOT)? {
        Some(page) => Ok(StateRoot(page.subtree().hash)),
        None => Ok(root_of(&view.leaves(&StateKey::MIN, &StateKey::MAX, SMALL_READ)?)),
    }
}

/// The root and the changed pages after `changes` to the state that `view` shows. Reads at most 64 leaves
/// and the pages above them for each changed key, and spreads many changes over the threads of rayon.
pub fn update<V: StateView>(view: &V, changes: &BTreeMap<StateKey, Option<Leaf>>) -> Result<TreeUpdate, V::Error> {
    let changes: Vec<Change> = changes.iter().map(|(key, leaf)| (*key, *leaf)).collect();
    let mut pages = Vec::new();
    let subtree = change_subtree(view, PagePath::ROOT, true, &changes, &mut pages)?;
    Ok(TreeUpdate { root: StateRoot(subtree.hash), pages: pages.into_iter().collect() })
}

/// Recomputes root and pages from the leaves alone, page after page from the left, each after those below it; returns the
/// root and the number of leaves. Holds 16,384 leaves at a time, however keys are spread.
pub fn rebuild<V: StateView>(view: &V, mut emit: impl FnMut(PagePath, Page)) -> Result<(StateRoot, u64), V::Error> {
    let subtree = rebuild_subtree(view, PagePath::ROOT, &mut emit)?;
    Ok((StateRoot(subtree.hash), subtree.count))
}

/// Whether the stored page at `path` agrees with what is stored around it: it stands for many enough leaves, the page
/// above counts on it, and each of its children is what the leaves, or the page, one nibble below give. Where that holds
/// of every page, and [`root`] is right, the whole tree is. Reads 18 pages or 1,040 leaves at most.
pub fn is_page_sound<V: StateView>(view: &V, path: &PagePath) -> Result<bool, V::Error> {
    let Some(page) = view.page(path)? else { return Ok(false) };
    let subtree = page.subtree();
    if subtree.count <= PAGE_THRESHOLD {
        return Ok(false);
    }
    if let Some((above, place)) = path.parent()
        && view.page(&above)?.is_none_or(|above| above.children[place] != subtree)
    {
        return Ok(false);
    }
    for (i, child) in page.children.iter().enumerate() {
        let path = path.child(i);
        let found = if child.count > PAGE_THRESHOLD {
            view.page(&path)?.map(|page| page.subtree())
        } else {
            let (first, last) = path.range();
            Some(Subtree::of_leaves(&view.leaves(&first, &last, SMALL_READ)?, path.bits()))
        };
        if found != Some(*child) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The subtree at `path` after `changes`, all of them below it. `paged` says whether a page may stand there.
fn change_subtree<V: StateView>(
    view: &V,
    path: PagePath,
    paged: bool,
    changes: &[Change],
    pages: &mut Vec<(PagePath, Option<Page>)>,
) -> Result<Subtree, V::Error> {
    let old = if paged { view.page(&path)? } else { None };
    let Some(old) = old else {
        let (first, last) = path.range();
        let leaves = merge(view.leaves(&first, &last, SMALL_READ)?, changes.iter().copied());
        let mut built = Vec::new();
        let subtree = build_subtree(path, &leaves, &mut built);
        pages.extend(built.into_iter().map(|(path, page)| (path, Some(page))));
        return Ok(subtree);
    };
    let parts = split_by_nibble(changes, path.nibbles(), |(key, _)| key);
    let mut new = old.clone();
    for_each_child(&mut new, &parts, pages, |i, pages| {
        let child = old.children[i];
        if parts[i].is_empty() {
            return Ok(child);
        }
        change_subtree(view, path.child(i), child.count > PAGE_THRESHOLD, parts[i], pages)
    })?;
    let subtree = new.subtree();
    if subtree.count <= PAGE_THRESHOLD {
        pages.push((path, None));
    } else if new != old {
        pages.push((path, Some(new)));
    }
    Ok(subtree)
}

/// The subtree at `path` over all leaves below it, with its pages.
fn build_subtree(path: PagePath, leaves: &[Entry], pages: &mut Vec<(PagePath, Page)>) -> Subtree {
    if leaves.len() as u64 <= PAGE_THRESHOLD {
        return Subtree::of_leaves(leaves, path.bits());
    }
    let parts = split_by_nibble(leaves, path.nibbles(), |(key, _)| key);
    let mut page = Page::EMPTY;
    let done: Result<(), std::convert::Infallible> =
        for_each_child(&mut page, &parts, pages, |i, pages| Ok(build_subtree(path.child(i), parts[i], pages)));
    let Ok(()) = done;
    let subtree = page.subtree();
    pages.push((path, page));
    subtree
}

/// The subtree at `path`, from leaves alone.
fn rebuild_subtree<V: StateView>(
    view: &V,
    path: PagePath,
    emit: &mut impl FnMut(PagePath, Page),
) -> Result<Subtree, V::Error> {
    let (first, last) = path.range();
    let leaves = view.leaves(&first, &last, REBUILD_SLICE)?;
    if leaves.len() < REBUILD_SLICE {
        let mut pages = Vec::new();
        let subtree = build_subtree(path, &leaves, &mut pages);
        pages.into_iter().for_each(|(path, page)| emit(path, page));
        return Ok(subtree);
    }
    drop(leaves);
    let mut page = Page::EMPTY;
    for (i, child) in page.children.iter_mut().enumerate() {
        *child = rebuild_subtree(view, path.child(i), emit)?;
    }
    let subtree = page.subtree();
    emit(path, page);
    Ok(subtree)
}

/// Parts items, sorted by key and sharing the first `depth` nibbles, by the next nibble.
fn split_by_nibble<T>(items: &[T], depth: usize, key: impl Fn(&T) -> &StateKey) -> [&[T]; 16] {
    let mut rest = items;
    std::array::from_fn(|i| {
        let (part, after) = rest.split_at(rest.partition_point(|item| nibble(key(item), depth) <= i));
        rest = after;
        part
    })
}

/// Computes every child of `page`, in parallel where the parts of the work are large, and gathers the pages from below.
fn for_each_child<T: Sync, P: Send, E: Send>(
    page: &mut Page,
    parts: &[&[T]; 16],
    pages: &mut Vec<P>,
    child: impl Fn(usize, &mut Vec<P>) -> Result<Subtree, E> + Sync,
) -> Result<(), E> {
    // A long shared prefix has all its work in one child: there is nothing to spread, and threads would cost stack.
    let spread = parts.iter().filter(|part| !part.is_empty()).count() > 1;
    if spread && parts.iter().map(|part| part.len()).sum::<usize>() >= PARALLEL_MIN {
        let below = page.children.par_iter_mut().enumerate().map(|(i, slot)| {
            let mut pages = Vec::new();
            *slot = child(i, &mut pages)?;
            Ok(pages)
        });
        for below in below.collect::<Result<Vec<_>, E>>()? {
            pages.extend(below);
        }
    } else {
        for (i, slot) in page.children.iter_mut().enumerate() {
            *slot = child(i, pages)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::hash::{STATE_LEAF, STATE_NODE};
    use crate::state::page::bit;
    use crate::state::testing::{Counting, account, any_changes, any_key, any_leaf, apply, crowd, state_with_corner};
    use crate::state::{MemoryState, Overlay, StateChanges};

    type Leaves = Vec<Entry>;

    /// The definition, word for word.
    fn definition(leaves: &[Entry], depth: usize) -> [u8; 32] {
        match leaves {
            [] => [0; 32],
            [(key, leaf)] => STATE_LEAF.hash(&[&key.0, &leaf.to_bytes()]),
            _ => {
                let (right, left): (Leaves, Leaves) = leaves.iter().partition(|(key, _)| bit(key, depth));
                STATE_NODE.hash(&[&definition(&left, depth + 1), &definition(&right, depth + 1)])
            }
        }
    }

    fn sorted(state: &MemoryState) -> Leaves {
        state.leaves.iter().map(|(key, leaf)| (*key, *leaf)).collect()
    }

    /// What is stored is what the leaves alone give.
    fn assert_consistent(state: &MemoryState, found: StateRoot) {
        let mut pages = BTreeMap::new();
        let rebuilt = rebuild(state, |path, page| assert!(pages.insert(path, page).is_none()));
        assert_eq!(found, root_of(&sorted(state)));
        assert_eq!(root(state), Ok(found));
        assert_eq!(rebuilt, Ok((found, state.leaves.len() as u64)));
        assert!(pages.values().all(|page| page.subtree().count > PAGE_THRESHOLD));
        assert_eq!(state.pages, pages);
    }

    proptest! {
        #[test]
        fn the_root_is_the_definition(leaves in prop::collection::btree_map(any_key(), any_leaf(), 0..100)) {
            let leaves: Leaves = leaves.into_iter().collect();
            prop_assert_eq!(root_of(&leaves).0, definition(&leaves, 0));
        }

        #[test]
        fn updates_keep_root_and_pages_what_the_leaves_alone_give(batches in prop::collection::vec(any_changes(), 1..5)) {
            let mut state = MemoryState::default();
            for changes in batches {
                let before = state.clone();
                let Ok(tree) = update(&state, &changes);
                for (path, page) in &tree.pages {
                    prop_assert_ne!(before.pages.get(path), page.as_ref(), "an unchanged page is returned");
                }
                let old = changes.keys().map(|key| (*key, before.leaves.get(key).copied())).collect();
                let root = apply(&mut state, changes);
                prop_assert_eq!(root, tree.root);
                assert_consistent(&state, root);

                let mut undone = state.clone();
                prop_assert_eq!(Ok(apply(&mut undone, old)), super::root(&before));
                prop_assert_eq!(undone, before);
            }
        }

        #[test]
        fn the_order_and_the_batches_do_not_matter(
            leaves in prop::collection::btree_map(crate::state::testing::crowded_key(), any_leaf(), 0..400),
            order in any::<u64>(),
            size in 1..200usize,
        ) {
            let mut shuffled: Leaves = leaves.clone().into_iter().collect();
            shuffled.sort_by_key(|(key, _)| STATE_LEAF.hash(&[&key.0, &order.to_le_bytes()]));
            let (mut one, mut many) = (MemoryState::default(), MemoryState::default());
            apply(&mut one, leaves.into_iter().map(|(key, leaf)| (key, Some(leaf))).collect());
            for batch in shuffled.chunks(size) {
                apply(&mut many, batch.iter().map(|(key, leaf)| (*key, Some(*leaf))).collect());
            }
            prop_assert_eq!(one, many);
        }

        #[test]
        fn an_overlay_reads_as_the_state_with_its_changes(
            leaves in any_changes(),
            over in any_changes(),
            limit in 0..300usize,
            after in any_changes(),
        ) {
            let mut base = MemoryState::default();
            apply(&mut base, leaves);
            let Ok(tree) = update(&base, &over);
            let changes = StateChanges { leaves: over, pages: tree.pages, ..StateChanges::default() };
            let overlay = Overlay { base: &base, changes: &changes };
            let mut applied = base.clone();
            applied.apply(&changes);
            prop_assert_eq!(
                overlay.leaves(&StateKey::MIN, &StateKey::MAX, limit),
                applied.leaves(&StateKey::MIN, &StateKey::MAX, limit)
            );
            prop_assert_eq!(update(&overlay, &after), update(&applied, &after));
        }
    }

    #[test]
    fn two_keys_that_share_255_bits_hang_under_255_one_sided_nodes() {
        let [left, right] = [crowd([0; 32], [0; 32], 255), crowd([0; 32], [0xff; 32], 255)];
        let leaves = [(left, account(1)), (right, account(2))];
        let [a, b] = leaves.map(|(key, leaf)| Subtree::leaf(&key, &leaf).hash);
        let expected = (0..255).fold(STATE_NODE.hash(&[&a, &b]), |hash, _| STATE_NODE.hash(&[&hash, &[0; 32]]));
        assert_eq!(root_of(&leaves).0, expected);
        assert_eq!(root_of(&leaves[..1]).0, a);
        assert_eq!(root_of(&[]).0, [0; 32]);
    }

    #[test]
    fn many_changes_in_parallel_and_a_rebuild_in_slices_agree_with_the_definition() {
        let (state, spread, corner) = state_with_corner(20_000, 200);
        assert!(spread.len() + corner.len() > 2 * REBUILD_SLICE && corner.len() > REBUILD_SLICE);
        assert_consistent(&state, root_of(&sorted(&state)));
        assert_eq!(root_of(&sorted(&state)).0, definition(&sorted(&state), 0));
    }

    #[test]
    fn a_change_reads_no_more_in_a_corner_of_shared_prefixes_than_elsewhere() {
        for shared in [200, 248] {
            let (state, spread, corner) = state_with_corner(10_000, shared);
            assert!(spread.len() == 10_000 && corner.len() == if shared == 200 { 10_000 } else { 256 });
            for keys in [&spread, &corner] {
                for k in [1, 10, 100] {
                    let changed = keys.iter().step_by(keys.len() / k).take(k);
                    let view = Counting::new(&state);
                    let Ok(tree) = update(&view, &changed.map(|key| (*key, Some(account(7)))).collect());
                    assert!(view.leaves.into_inner() <= PAGE_THRESHOLD as usize * k);
                    // The pages above the corner are shared by all changes in it.
                    assert!(view.pages.into_inner() <= 64 + 4 * k);
                    assert!(tree.pages.len() <= 64 + 4 * k);
                }
            }
        }
    }

    #[test]
    fn whatever_rots_in_the_tree_shows_at_a_page_or_at_the_root() {
        let (state, spread, corner) = state_with_corner(2_000, 200);
        let sound = root(&state);
        let finds = |state: &MemoryState| {
            root(state) != sound || state.pages.keys().any(|path| is_page_sound(state, path) != Ok(true))
        };
        assert!(!finds(&state));
        let check = |rot: &dyn Fn(&mut MemoryState)| {
            let mut rotten = state.clone();
            rot(&mut rotten);
            assert!(finds(&rotten));
        };
        for key in [&spread, &corner].map(|keys| keys[keys.len() / 3]) {
            check(&|state| assert!(state.leaves.remove(&key).is_some()));
            check(&|state| assert!(state.leaves.insert(key, account(9)).is_some()));
        }
        check(&|state| assert!(state.leaves.insert(StateKey([0x77; 32]), account(9)).is_none()));
        for path in state.pages.keys().step_by(state.pages.len() / 5) {
            check(&|state| assert!(state.pages.remove(path).is_some()));
            check(&|state| state.pages.get_mut(path).unwrap().children.iter_mut().for_each(|child| child.hash[0] ^= 1));
        }
        let page = &state.pages[&PagePath::ROOT];
        let orphan = PagePath::from_bytes(&[15; 20]).unwrap();
        check(&|state| assert!(state.pages.insert(orphan, page.clone()).is_none()));
    }

    #[test]
    fn reads_over_a_rotten_store_are_bounded_and_the_root_comes_out_wrong() {
        let (mut state, spread, _) = state_with_corner(10_000, 200);
        let sound = root(&state);
        let leaves = [(spread[0], Some(account(7)))].into();
        let after = update(&state, &leaves).map(|tree| tree.root);
        state.pages.remove(&PagePath::ROOT);
        let view = Counting::new(&state);
        assert_ne!(root(&view), sound);
        assert_ne!(update(&view, &leaves).map(|tree| tree.root), after);
        assert_eq!(view.leaves.load(Ordering::Relaxed), 2 * SMALL_READ);
    }
}
