//! Subtrees of the state tree by hash and size, and the pages that a store keeps of them.
//!
//! A page stands for a subtree whose prefix is a whole number of nibbles and that holds more than [`PAGE_THRESHOLD`]
//! leaves: it keeps the hashes and the sizes of the sixteen subtrees one nibble below. Which pages there are is a
//! function of the map alone. What has no page is small, and is hashed again from its leaves when it is needed.
//!
//! Pages go by size and not by depth because depth can be ground: whoever makes many keys that share a long prefix gets
//! pages of his own down there, and a change next to him still rehashes no more than the threshold.

use super::{Leaf, StateKey};
use crate::hash::{STATE_LEAF, STATE_NODE};

/// The most leaves of a subtree without a page. Local: it shows in stored pages, never in a root; a store written with
/// another threshold has to be rebuilt.
///
/// Measured with 20,000 of 1,000,000 accounts changed: 16 takes a tenth less time than 64, but writes 5.8 MB of pages where
/// 64 writes 2.6 MB, and a commit costs more than the hashes. 32 is the same as 64 at this size.
pub(super) const PAGE_THRESHOLD: u64 = 64;

/// The largest count that a page stores, 40 bits. Sums stop there, so that rotten pages cannot overflow them.
const MAX_COUNT: u64 = (1 << 40) - 1;

/// A key and its leaf.
pub(super) type Entry = (StateKey, Leaf);

/// A subtree: its hash in the tree, and how many leaves it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subtree {
    pub(super) hash: [u8; 32],
    pub(super) count: u64,
}

impl Subtree {
    /// No leaves: 32 zero bytes.
    pub(super) const EMPTY: Subtree = Subtree { hash: [0; 32], count: 0 };

    /// One leaf, at any depth: the tagged hash of the key and the leaf's bytes.
    pub(super) fn leaf(key: &StateKey, leaf: &Leaf) -> Subtree {
        // The same bytes as `leaf.to_bytes()`, without the allocation.
        let hash = match leaf {
            Leaf::Account(account) => {
                STATE_LEAF.hash(&[&key.0, &account.balance.0.to_le_bytes(), &account.nonce.to_le_bytes()])
            }
            Leaf::Reward(reward) => STATE_LEAF.hash(&[&key.0, &reward.to.0, &reward.amount.0.to_le_bytes()]),
            Leaf::History(root) => STATE_LEAF.hash(&[&key.0, &root.0]),
        };
        Subtree { hash, count: 1 }
    }

    /// The subtree over two neighbours one bit below. With one leaf in all it is that leaf still.
    pub(super) fn join(left: Subtree, right: Subtree) -> Subtree {
        match (left.count, right.count) {
            (0, 0) => Subtree::EMPTY,
            (1, 0) => left,
            (0, 1) => right,
            (left_count, right_count) => Subtree {
                hash: STATE_NODE.hash(&[&left.hash, &right.hash]),
                count: left_count.saturating_add(right_count).min(MAX_COUNT),
            },
        }
    }

    /// The subtree over a power of two of neighbours at one depth.
    pub(super) fn join_all(subtrees: &[Subtree]) -> Subtree {
        match subtrees {
            [subtree] => *subtree,
            _ => {
                let (left, right) = subtrees.split_at(subtrees.len() / 2);
                Subtree::join(Subtree::join_all(left), Subtree::join_all(right))
            }
        }
    }

    /// The subtree over leaves that share their first `depth` bits, sorted, each key once. It recurses once a bit.
    pub(super) fn of_leaves(leaves: &[Entry], depth: usize) -> Subtree {
        match leaves {
            [] => Subtree::EMPTY,
            [(key, leaf)] => Subtree::leaf(key, leaf),
            _ => {
                let (left, right) = split_at_bit(leaves, depth);
                Subtree::join(Subtree::of_leaves(left, depth + 1), Subtree::of_leaves(right, depth + 1))
            }
        }
    }
}

/// Bit `depth` of a key, counted from the most significant.
pub(super) fn bit(key: &StateKey, depth: usize) -> bool {
    key.0[depth / 8] >> (7 - depth % 8) & 1 == 1
}

/// Parts sorted leaves that share their first `depth` bits by the next one.
pub(super) fn split_at_bit(leaves: &[Entry], depth: usize) -> (&[Entry], &[Entry]) {
    leaves.split_at(leaves.partition_point(|(key, _)| !bit(key, depth)))
}

/// The lowest and the highest key that share their first `depth` bits with `key`.
pub(super) fn key_range(key: &StateKey, depth: usize) -> (StateKey, StateKey) {
    let (mut first, mut last) = (*key, *key);
    for (i, (low, high)) in first.0.iter_mut().zip(&mut last.0).enumerate() {
        let free = 0xff_u8.checked_shr(depth.saturating_sub(8 * i) as u32).unwrap_or(0);
        *low &= !free;
        *high |= free;
    }
    (first, last)
}

/// Where a page stands: the 0 to 63 nibbles that its keys share. A subtree's pages follow its own page in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PagePath {
    /// The shared nibbles, then zeros.
    prefix: StateKey,
    /// How many nibbles are shared. At 64 it is a single key, which has no page.
    nibbles: u8,
}

impl PagePath {
    /// The whole tree.
    pub const ROOT: PagePath = PagePath { prefix: StateKey::MIN, nibbles: 0 };

    /// The key in a store: one byte a nibble, so that bytes sort as paths do and common paths have four or five.
    pub fn to_bytes(&self) -> Vec<u8> {
        (0..self.nibbles as usize).map(|depth| nibble(&self.prefix, depth) as u8).collect()
    }

    /// Reads [`PagePath::to_bytes`] back; nothing for more than 63 bytes or a byte above 15.
    pub fn from_bytes(bytes: &[u8]) -> Option<PagePath> {
        if bytes.len() > 63 || bytes.iter().any(|nibble| *nibble > 15) {
            return None;
        }
        Some(bytes.iter().fold(PagePath::ROOT, |path, nibble| path.child(*nibble as usize)))
    }

    /// The path one nibble further.
    pub(super) fn child(mut self, nibble: usize) -> PagePath {
        let shift = if self.nibbles.is_multiple_of(2) { 4 } else { 0 };
        self.prefix.0[self.nibbles as usize / 2] |= (nibble as u8) << shift;
        self.nibbles += 1;
        self
    }

    /// The path one nibble shorter, and which child of it this one is; nothing for the root.
    pub(super) fn parent(mut self) -> Option<(PagePath, usize)> {
        self.nibbles = self.nibbles.checked_sub(1)?;
        let last = nibble(&self.prefix, self.nibbles());
        // An even number of nibbles before it: it is the high half of its byte.
        let kept = if self.nibbles.is_multiple_of(2) { 0x0f } else { 0xf0 };
        self.prefix.0[self.nibbles() / 2] &= kept;
        Some((self, last))
    }

    /// How many bits are shared.
    pub(super) fn bits(&self) -> usize {
        4 * self.nibbles as usize
    }

    /// How many nibbles are shared.
    pub(super) fn nibbles(&self) -> usize {
        self.nibbles as usize
    }

    /// The lowest and the highest key below.
    pub(super) fn range(&self) -> (StateKey, StateKey) {
        key_range(&self.prefix, self.bits())
    }
}

/// Nibble `depth` of a key, counted from the most significant.
pub(super) fn nibble(key: &StateKey, depth: usize) -> usize {
    let byte = key.0[depth / 2];
    (if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 }) as usize
}

/// The hashes and sizes of the sixteen subtrees one nibble below a [`PagePath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub(super) children: [Subtree; 16],
}

/// The bytes of a stored child: its hash and the 40 bits of its count.
const CHILD_BYTES: usize = 32 + 5;

impl Page {
    /// No leaves.
    pub(super) const EMPTY: Page = Page { children: [Subtree::EMPTY; 16] };

    /// The subtree that the page stands for.
    pub(super) fn subtree(&self) -> Subtree {
        Subtree::join_all(&self.children)
    }

    /// The bytes in a store: a u16 with bit `i` set where child `i` has leaves, then for each of those by ascending
    /// index its hash (32 bytes) and its number of leaves (5 bytes), integers little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 2];
        for (i, child) in self.children.iter().enumerate().filter(|(_, child)| child.count > 0) {
            bytes[i / 8] |= 1 << (i % 8);
            bytes.extend_from_slice(&child.hash);
            bytes.extend_from_slice(&child.count.to_le_bytes()[..5]);
        }
        bytes
    }

    /// Reads [`Page::to_bytes`] back; nothing for a wrong length, no child at all or a child that claims no leaf.
    pub fn from_bytes(bytes: &[u8]) -> Option<Page> {
        let (bitmap, children) = bytes.split_first_chunk()?;
        let bitmap = u16::from_le_bytes(*bitmap);
        if bitmap == 0 || children.len() != CHILD_BYTES * bitmap.count_ones() as usize {
            return None;
        }
        let mut page = Page::EMPTY;
        let present = (0..16).filter(|i| bitmap >> i & 1 == 1);
        for (i, child) in present.zip(children.chunks_exact(CHILD_BYTES)) {
            let (hash, low) = child.split_first_chunk()?;
            let mut count = [0; 8];
            count[..5].copy_from_slice(low);
            let count = u64::from_le_bytes(count);
            if count == 0 {
                return None;
            }
            page.children[i] = Subtree { hash: *hash, count };
        }
        Some(page)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::testing::{any_key, any_leaf};

    proptest! {
        #[test]
        fn a_leaf_hash_is_the_definition(key in any_key(), leaf in any_leaf()) {
            prop_assert_eq!(Subtree::leaf(&key, &leaf).hash, STATE_LEAF.hash(&[&key.0, &leaf.to_bytes()]));
        }

        #[test]
        fn a_key_range_holds_exactly_the_keys_of_its_prefix(key in any_key(), other in any_key(), depth in 0..=256usize) {
            let (first, last) = key_range(&key, depth);
            let shares = |other: &StateKey| (0..depth).all(|i| bit(other, i) == bit(&key, i));
            prop_assert!(shares(&first) && shares(&last));
            prop_assert!((depth..256).all(|i| !bit(&first, i) && bit(&last, i)));
            prop_assert_eq!((first..=last).contains(&other), shares(&other));
        }

        #[test]
        fn paths_come_back_from_their_bytes_in_their_order(
            a in prop::collection::vec(0..16u8, 0..64),
            b in prop::collection::vec(0..16u8, 0..64),
        ) {
            let path = |bytes: &[u8]| PagePath::from_bytes(bytes).expect("nibbles");
            prop_assert_eq!(&path(&a).to_bytes(), &a);
            prop_assert_eq!(path(&a).cmp(&path(&b)), a.cmp(&b));
            let parent = a.split_last().map(|(last, parent)| (path(parent), *last as usize));
            prop_assert_eq!(path(&a).parent(), parent);
        }

        #[test]
        fn pages_come_back_from_their_bytes(
            children in prop::collection::btree_map(0..16usize, (any::<[u8; 32]>(), 1..=MAX_COUNT), 1..=16),
        ) {
            let mut page = Page::EMPTY;
            for (i, (hash, count)) in children {
                page.children[i] = Subtree { hash, count };
            }
            prop_assert_eq!(Page::from_bytes(&page.to_bytes()), Some(page));
        }

        #[test]
        fn whatever_reads_as_a_page_writes_as_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(page) = Page::from_bytes(&bytes) {
                prop_assert_eq!(page.to_bytes(), bytes);
            }
        }
    }

    #[test]
    fn malformed_pages_and_paths_are_refused() {
        let mut page = Page::EMPTY;
        assert_eq!(Page::from_bytes(&page.to_bytes()), None);
        page.children[3] = Subtree { hash: [7; 32], count: 1 };
        let bytes = page.to_bytes();
        assert_eq!(bytes.len(), 2 + CHILD_BYTES);
        for length in 0..bytes.len() {
            assert_eq!(Page::from_bytes(&bytes[..length]), None);
        }
        assert_eq!(Page::from_bytes(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(Page::from_bytes(&[&bytes[..2 + 32], &[0; 5]].concat()), None);
        assert_eq!(PagePath::from_bytes(&[16]), None);
        assert_eq!(PagePath::from_bytes(&[0; 64]), None);
    }

    #[test]
    fn rotten_counts_do_not_overflow() {
        let huge = Subtree { hash: [7; 32], count: MAX_COUNT };
        assert_eq!(Page { children: [huge; 16] }.subtree().count, MAX_COUNT);
    }
}
