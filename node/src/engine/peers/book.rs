//! The address book: addresses that were heard of, and how it went with each.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::address::{Group, canonical, dialable, group_of};
use crate::engine::limits::{
    ANCHORS, BOOK_ADDRESSES, BOOK_PER_GROUP, BOOK_TOLD, FORGET_MS, FORGET_REACHED_MS, REDIAL_MAX_MS, REDIAL_MS,
};

/// How it went with one address. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// When it was first heard of.
    pub(super) heard: u64,
    /// When it was last reached.
    pub(super) reached: Option<u64>,
    /// When it was last dialled.
    pub(super) attempted: Option<u64>,
    /// Since when it fails, if its last dial did.
    pub(super) failing: Option<Failing>,
}

/// Dials that failed one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failing {
    /// When the first one did.
    pub(super) since: u64,
    /// How many did.
    pub(super) times: u32,
}

impl Entry {
    /// Whether it may be dialled: [`REDIAL_MS`] after the last time, twice that after one failure and so on up to
    /// [`REDIAL_MAX_MS`]. An attempt in the future tells of a clock that went back, and binds nobody.
    pub(super) fn is_due(&self, now: u64) -> bool {
        let failures = self.failing.map_or(0, |failing| failing.times);
        let wait = REDIAL_MS.saturating_mul(1 << failures.min(32)).min(REDIAL_MAX_MS);
        let waited = self.attempted.and_then(|attempted| now.checked_sub(attempted));
        waited.is_none_or(|waited| waited >= wait)
    }

    fn is_hopeless(&self, now: u64) -> bool {
        let patience = if self.reached.is_some() { FORGET_REACHED_MS } else { FORGET_MS };
        self.failing.is_some_and(|failing| now.saturating_sub(failing.since) >= patience)
    }
}

/// Addresses by network group, at most [`BOOK_PER_GROUP`] each and [`BOOK_ADDRESSES`] in all.
///
/// Anybody can make up addresses and tell them, at no cost. The attack is to tell so many that the book forgets all others,
/// and the node, after its next restart, dials only those who told (an eclipse: Heilman et al., USENIX Security 2015). So
/// hearsay displaces only hearsay: an address that was ever reached makes room for no address that was not. A new address
/// displaces, where its group is full, one of that group that was never reached and fails; where the book is full, a never
/// reached one of the group that has the most of them and at least two more than its own, so that a flood in few groups
/// displaces itself; or else the one that fails longest. Otherwise it is not taken. An address that was
/// reached displaces hearsay in any case, and after that only one that worked once and fails now. So to fill the places of
/// reached ones an attacker must run nodes in `BOOK_ADDRESSES / BOOK_PER_GROUP` groups, and then only gets the places that
/// are free or whose nodes are gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressBook {
    pub(super) groups: BTreeMap<Group, BTreeMap<SocketAddr, Entry>>,
    /// Outbound peers to dial first after the next start; never displaced or forgotten.
    anchors: Vec<SocketAddr>,
    /// Anchors of the last run that were not dialled yet.
    pub(super) untried_anchors: Vec<SocketAddr>,
}

impl AddressBook {
    /// An empty book.
    pub(crate) fn new() -> AddressBook {
        AddressBook::default()
    }

    /// How many addresses it holds.
    pub(crate) fn len(&self) -> usize {
        self.groups.values().map(BTreeMap::len).sum()
    }

    /// Whether it holds an address.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        let address = canonical(address);
        self.groups.get(&group_of(address.ip())).is_some_and(|members| members.contains_key(&address))
    }

    /// Takes in addresses that somebody told, the first [`BOOK_TOLD`] of them; those at which nobody can be and those for
    /// which there is no room are left out.
    pub(crate) fn discovered(&mut self, now: u64, addresses: &[SocketAddr]) {
        for address in addresses.iter().take(BOOK_TOLD) {
            self.entry(now, *address, false);
        }
    }

    /// An address is being dialled.
    pub(crate) fn attempted(&mut self, now: u64, address: SocketAddr) {
        if let Some(entry) = self.known(address) {
            entry.attempted = Some(now);
        }
    }

    /// A node of this chain was found at an address, which is taken in if it was not known.
    pub(crate) fn reached(&mut self, now: u64, address: SocketAddr) {
        if let Some(entry) = self.entry(now, address, true) {
            (entry.reached, entry.failing) = (Some(now), None);
        }
    }

    /// A dial failed, or whoever answered is not a node of this chain.
    pub(crate) fn failed(&mut self, now: u64, address: SocketAddr) {
        if let Some(entry) = self.known(address) {
            let failing = entry.failing.get_or_insert(Failing { since: now, times: 0 });
            failing.times = failing.times.saturating_add(1);
        }
    }

    /// Forgets addresses that have failed for too long: [`FORGET_MS`] if they were never reached, [`FORGET_REACHED_MS`] if
    /// they were, because a book full of what once was has no room for what is. Anchors stay.
    pub(crate) fn forget(&mut self, now: u64) {
        let anchors = &self.anchors;
        for members in self.groups.values_mut() {
            members.retain(|address, entry| anchors.contains(address) || !entry.is_hopeless(now));
        }
        self.groups.retain(|_, members| !members.is_empty());
    }

    /// Outbound peers to dial first after the next start: the first [`ANCHORS`] of these.
    pub(crate) fn set_anchors(&mut self, addresses: &[SocketAddr]) {
        let addresses = addresses.iter().filter(|address| dialable(**address));
        self.anchors = addresses.take(ANCHORS).map(|address| canonical(*address)).collect();
    }

    /// What [`AddressBook::set_anchors`] has set, here or in the run before.
    pub(crate) fn anchors(&self) -> &[SocketAddr] {
        &self.anchors
    }

    /// All addresses.
    pub(super) fn entries(&self) -> impl Iterator<Item = (SocketAddr, &Entry)> {
        self.groups.values().flatten().map(|(address, entry)| (*address, entry))
    }

    /// The book that a run before this has saved; what is over the bounds is left out.
    pub(super) fn restore(saved: impl IntoIterator<Item = (SocketAddr, Entry)>, anchors: &[SocketAddr]) -> AddressBook {
        let mut book = AddressBook::new();
        book.set_anchors(anchors);
        book.untried_anchors.clone_from(&book.anchors);
        for (address, entry) in saved {
            if let Some(place) = book.entry(entry.heard, address, false) {
                *place = entry;
            }
        }
        book
    }

    fn known(&mut self, address: SocketAddr) -> Option<&mut Entry> {
        let address = canonical(address);
        self.groups.get_mut(&group_of(address.ip()))?.get_mut(&address)
    }

    /// The entry of an address, which is made if there is room for it or room can be made.
    fn entry(&mut self, now: u64, address: SocketAddr, reached: bool) -> Option<&mut Entry> {
        let address = canonical(address);
        let group = group_of(address.ip());
        let has_place = self.contains(address) || dialable(address) && self.make_room(group, reached);
        if !has_place {
            return None;
        }
        let new = Entry { heard: now, ..Entry::default() };
        Some(self.groups.entry(group).or_default().entry(address).or_insert(new))
    }

    /// Whether there is room for one more address of `group`; if need be it is made, by the rules above [`AddressBook`].
    fn make_room(&mut self, group: Group, reached: bool) -> bool {
        let never_reached = |entry: &Entry| entry.reached.is_none();
        let fails = |entry: &Entry| entry.failing.is_some() && (reached || entry.reached.is_none());
        let victim = if self.groups.get(&group).map_or(0, BTreeMap::len) >= BOOK_PER_GROUP {
            let hearsay = || self.worst(Some(group), never_reached).filter(|_| reached);
            self.worst(Some(group), fails).or_else(hearsay)
        } else if self.len() >= BOOK_ADDRESSES {
            let crowded = || self.worst(Some(self.crowded_group(group, reached)?), never_reached);
            crowded().or_else(|| self.worst(None, fails))
        } else {
            return true;
        };
        victim.is_some_and(|victim| self.remove(victim))
    }

    /// The group with the most never reached addresses; for hearsay only if it has at least two more than `own`.
    fn crowded_group(&self, own: Group, reached: bool) -> Option<Group> {
        let hearsay = |members: &BTreeMap<_, Entry>| members.values().filter(|entry| entry.reached.is_none()).count();
        let (count, group) = self.groups.iter().map(|(group, members)| (hearsay(members), *group)).max()?;
        let own = self.groups.get(&own).map_or(0, hearsay);
        (reached || count >= own + 2).then_some(group)
    }

    /// Of the addresses that may go, in one group or in all: never reached before reached, failing longest before others,
    /// heard of longest ago before later ones.
    fn worst(&self, group: Option<Group>, may_go: impl Fn(&Entry) -> bool) -> Option<SocketAddr> {
        let groups = self.groups.iter().filter(|(other, _)| group.is_none_or(|group| group == **other));
        let entries = groups.flat_map(|(_, members)| members);
        let candidates = entries.filter(|(address, entry)| may_go(entry) && !self.anchors.contains(address));
        let worth = |entry: &Entry| {
            let failing_since = entry.failing.map_or(u64::MAX, |failing| failing.since);
            (entry.reached.is_some(), failing_since, entry.heard)
        };
        candidates.min_by_key(|(_, entry)| worth(entry)).map(|(address, _)| *address)
    }

    fn remove(&mut self, address: SocketAddr) -> bool {
        let group = group_of(address.ip());
        let Some(members) = self.groups.get_mut(&group) else { return false };
        let removed = members.remove(&address).is_some();
        if members.is_empty() {
            self.groups.remove(&group);
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 60 * 60 * 1000;

    /// Number `host` in group number `group`.
    fn address(group: u16, host: u16) -> SocketAddr {
        let [a, b] = (0x0b00 + group).to_be_bytes();
        let [c, d] = host.to_be_bytes();
        SocketAddr::from(([a, b, c, d], 9000))
    }

    fn addresses(groups: std::ops::Range<u16>, hosts: std::ops::Range<u16>) -> Vec<SocketAddr> {
        groups.flat_map(|group| hosts.clone().map(move |host| address(group, host))).collect()
    }

    /// Tells all of them, a few at a time.
    fn tell(book: &mut AddressBook, now: u64, addresses: &[SocketAddr]) {
        addresses.chunks(BOOK_TOLD).for_each(|some| book.discovered(now, some));
    }

    /// A full book, all hearsay: 32 groups of 64.
    fn full() -> AddressBook {
        let mut book = AddressBook::new();
        tell(&mut book, 0, &addresses(0..32, 0..64));
        assert_eq!(book.len(), BOOK_ADDRESSES);
        book
    }

    #[test]
    fn one_address_has_one_form() {
        let mut book = AddressBook::new();
        let refused = ["1.2.3.4:0", "0.0.0.0:1", "[ff02::1]:1"].map(|text| text.parse().unwrap());
        book.discovered(0, &refused);
        book.reached(0, refused[0]);
        assert_eq!(book.len(), 0);
        book.discovered(0, &["[::ffff:1.2.3.4]:5".parse().unwrap(), "1.2.3.4:5".parse().unwrap()]);
        assert_eq!(book.len(), 1);
        assert!(book.contains("[::ffff:1.2.3.4]:5".parse().unwrap()));
    }

    #[test]
    fn one_telling_is_heard_for_so_long() {
        let mut book = AddressBook::new();
        book.discovered(0, &addresses(0..100, 0..10));
        assert_eq!(book.len(), BOOK_TOLD);
    }

    #[test]
    fn the_wait_doubles_with_each_failure_up_to_a_bound_and_ends_with_success() {
        let mut book = AddressBook::new();
        let address = address(0, 0);
        book.discovered(0, &[address]);
        let due = |book: &AddressBook, now| book.entries().next().unwrap().1.is_due(now);
        assert!(due(&book, 0));
        let now = 100 * HOUR;
        book.attempted(now, address);
        let mut wait = REDIAL_MS;
        for _ in 0..100 {
            assert!(!due(&book, now + wait - 1) && due(&book, now + wait));
            book.failed(now, address);
            wait = (wait * 2).min(REDIAL_MAX_MS);
        }
        assert_eq!(wait, REDIAL_MAX_MS);
        assert!(due(&book, now - 1), "a clock that went back does not wait for itself");
        book.reached(now, address);
        assert!(!due(&book, now + REDIAL_MS - 1) && due(&book, now + REDIAL_MS));
    }

    #[test]
    fn a_flood_of_made_up_addresses_displaces_nothing_that_worked() {
        let mut book = AddressBook::new();
        let good = addresses(0..100, 0..5);
        good.iter().for_each(|address| book.reached(1, *address));
        // Even while none of them can be reached.
        good.iter().for_each(|address| book.failed(2, *address));
        for round in 0..3 {
            let made_up = addresses(round * 500..round * 500 + 500, 100..105);
            tell(&mut book, 3, &made_up);
            made_up.iter().for_each(|address| book.failed(4, *address));
        }
        assert!(good.iter().all(|address| book.contains(*address)));
        assert_eq!(book.len(), BOOK_ADDRESSES);
    }

    #[test]
    fn a_flood_in_one_group_displaces_nothing_beside() {
        let mut book = AddressBook::new();
        let honest = addresses(0..500, 0..1);
        tell(&mut book, 0, &honest);
        tell(&mut book, 0, &addresses(600..640, 0..100));
        assert_eq!(book.len(), BOOK_ADDRESSES);
        assert!(honest.iter().all(|address| book.contains(*address)));
        let late = address(700, 0);
        book.discovered(1, &[late]);
        assert!(book.contains(late), "a crowd makes room for a newcomer");
    }

    #[test]
    fn a_full_group_takes_hearsay_only_for_what_fails() {
        let mut book = AddressBook::new();
        tell(&mut book, 0, &addresses(0..1, 0..64));
        let (first, second) = (address(0, 100), address(0, 101));
        book.discovered(1, &[first]);
        assert!(!book.contains(first));
        book.failed(2, address(0, 7));
        book.failed(1, address(0, 8));
        book.discovered(3, &[first]);
        assert!(book.contains(first) && !book.contains(address(0, 8)), "the one that fails longest goes");
        book.discovered(3, &[second]);
        assert!(book.contains(second) && !book.contains(address(0, 7)));
        assert_eq!(book.len(), 64);
    }

    #[test]
    fn what_works_displaces_hearsay_and_then_what_fails() {
        let mut book = full();
        let one = address(900, 0);
        book.reached(1, one);
        assert!(book.contains(one));
        let in_full_group = address(0, 1000);
        book.reached(1, in_full_group);
        assert!(book.contains(in_full_group));
        assert_eq!(book.len(), BOOK_ADDRESSES);

        let mut book = AddressBook::new();
        addresses(0..32, 0..64).iter().for_each(|address| book.reached(0, *address));
        book.reached(1, one);
        assert!(!book.contains(one), "those who were first and work keep their places");
        book.failed(1, address(5, 5));
        book.discovered(2, &[one]);
        assert!(!book.contains(one));
        book.reached(2, one);
        assert!(book.contains(one) && !book.contains(address(5, 5)));
    }

    #[test]
    fn anchors_are_few_and_stay() {
        let mut book = full();
        let anchors = addresses(3..4, 0..5);
        book.set_anchors(&anchors);
        assert_eq!(book.anchors(), &anchors[..ANCHORS]);
        anchors.iter().for_each(|address| book.failed(1, *address));
        book.forget(u64::MAX);
        tell(&mut book, 2, &addresses(3..4, 100..200));
        assert!(anchors[..ANCHORS].iter().all(|address| book.contains(*address)));
        assert!(!anchors[ANCHORS..].iter().any(|address| book.contains(*address)));
    }

    #[test]
    fn what_fails_too_long_is_forgotten() {
        let mut book = AddressBook::new();
        let (never, once, quiet) = (address(0, 0), address(0, 1), address(0, 2));
        book.discovered(0, &[never, quiet]);
        book.reached(0, once);
        for now in [1000, 2000, FORGET_MS] {
            book.failed(now, never);
            book.failed(now, once);
        }
        book.forget(1000 + FORGET_MS - 1);
        assert_eq!(book.len(), 3);
        book.forget(1000 + FORGET_MS);
        assert!(!book.contains(never) && book.contains(once) && book.contains(quiet));
        book.forget(1000 + FORGET_REACHED_MS);
        assert!(!book.contains(once) && book.contains(quiet));
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Discovered(u16, u16, u16),
        Attempted(u16, u16),
        Reached(u16, u16),
        Failed(u16, u16),
        Anchors(u16, u16),
        Forget,
    }

    fn operations() -> impl Strategy<Value = Vec<(u64, Operation)>> {
        let one = || (0..60u16, 0..80u16);
        let operation = prop_oneof![
            4 => (0..60u16, 0..20u16, 1..80u16).prop_map(|(first, groups, hosts)| Operation::Discovered(first, groups, hosts)),
            4 => one().prop_map(|(group, host)| Operation::Attempted(group, host)),
            8 => one().prop_map(|(group, host)| Operation::Reached(group, host)),
            8 => one().prop_map(|(group, host)| Operation::Failed(group, host)),
            1 => one().prop_map(|(group, host)| Operation::Anchors(group, host)),
            1 => Just(Operation::Forget),
        ];
        // The clock may jump, back as well.
        proptest::collection::vec((0..2 * FORGET_MS, operation), 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_bounds_hold_and_what_works_stays(operations in operations()) {
            let mut book = AddressBook::new();
            let mut works = std::collections::BTreeSet::new();
            tell(&mut book, 0, &addresses(0..30, 0..62));
            for (now, operation) in operations {
                match operation {
                    Operation::Discovered(first, groups, hosts) => {
                        tell(&mut book, now, &addresses(first..first + groups, 0..hosts));
                    }
                    Operation::Attempted(group, host) => book.attempted(now, address(group, host)),
                    Operation::Reached(group, host) => {
                        book.reached(now, address(group, host));
                        if book.contains(address(group, host)) {
                            works.insert(address(group, host));
                        }
                    }
                    Operation::Failed(group, host) => {
                        book.failed(now, address(group, host));
                        works.remove(&address(group, host));
                    }
                    Operation::Anchors(group, host) => book.set_anchors(&addresses(group..group + 1, host..host + 4)),
                    Operation::Forget => book.forget(now),
                }
                prop_assert!(book.len() <= BOOK_ADDRESSES);
                prop_assert!(book.groups.values().all(|members| (1..=BOOK_PER_GROUP).contains(&members.len())));
                prop_assert!(works.iter().all(|address| book.contains(*address)));
            }
        }
    }
}
