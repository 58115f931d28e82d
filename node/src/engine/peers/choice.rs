//! Whom to dial next out of the address book.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use super::address::{Group, canonical, group_of};
use super::book::{AddressBook, Entry};

/// Addresses among which one is drawn.
type Candidates = BTreeMap<Group, Vec<SocketAddr>>;

impl AddressBook {
    /// The next address for an outbound slot. `taken` are the addresses of outbound connections and dials under way; of one
    /// network group there are to be at most `per_group` of them. What is `refused` is passed over.
    ///
    /// The anchors of the last run come first, once each. Then three times in four an address that was reached before is
    /// drawn, where there is one: hearsay must get its chance, but whoever floods the book with it gets no more than that.
    pub(crate) fn next_outbound(
        &mut self,
        now: u64,
        rng: &mut ChaCha8Rng,
        taken: &[SocketAddr],
        per_group: usize,
        refused: impl Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let taken: Vec<SocketAddr> = taken.iter().map(|address| canonical(*address)).collect();
        let mut in_group = BTreeMap::<Group, usize>::new();
        for address in &taken {
            *in_group.entry(group_of(address.ip())).or_default() += 1;
        }
        let has_room = |group: Group| in_group.get(&group).copied().unwrap_or(0) < per_group;
        let free = |address: SocketAddr| !taken.contains(&address) && !refused(address);

        while !self.untried_anchors.is_empty() {
            let anchor = self.untried_anchors.remove(0);
            if has_room(group_of(anchor.ip())) && free(anchor) {
                return Some(anchor);
            }
        }
        let candidates = |was_reached: bool| {
            self.candidates(has_room, |address, entry| {
                entry.reached.is_some() == was_reached && entry.is_due(now) && free(address)
            })
        };
        let prefer_reached = below(rng, 4) > 0;
        draw(rng, &candidates(prefer_reached)).or_else(|| draw(rng, &candidates(!prefer_reached)))
    }

    /// The next address for a trial: half of the time one that was never reached, in order to learn whether somebody is there,
    /// else one that was, in order to hear what is known elsewhere. `taken` are the addresses of outbound connections and
    /// dials under way.
    ///
    /// The second kind is what joins a network again that was split for long: by then every place is taken by peers of one's
    /// own side, and without a look beyond them nobody would ever notice that there is another.
    pub(crate) fn next_feeler(
        &self,
        now: u64,
        rng: &mut ChaCha8Rng,
        taken: &[SocketAddr],
        refused: impl Fn(SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        let taken: Vec<SocketAddr> = taken.iter().map(|address| canonical(*address)).collect();
        let candidates = |was_reached: bool| {
            self.candidates(
                |_| true,
                |address, entry| {
                    let free = !taken.contains(&address) && !refused(address);
                    entry.reached.is_some() == was_reached && entry.is_due(now) && free
                },
            )
        };
        let reached = below(rng, 2) > 0;
        draw(rng, &candidates(reached)).or_else(|| draw(rng, &candidates(!reached)))
    }

    fn candidates(
        &self,
        has_room: impl Fn(Group) -> bool,
        eligible: impl Fn(SocketAddr, &Entry) -> bool,
    ) -> Candidates {
        let members = |members: &BTreeMap<SocketAddr, Entry>| {
            let eligible = members.iter().filter(|(address, entry)| eligible(**address, entry));
            eligible.map(|(address, _)| *address).collect::<Vec<_>>()
        };
        let groups = self.groups.iter().filter(|(group, _)| has_room(**group));
        groups.map(|(group, all)| (*group, members(all))).filter(|(_, some)| !some.is_empty()).collect()
    }
}

/// Draws a group, then one of its addresses: many addresses in one group draw no more than one would.
fn draw(rng: &mut ChaCha8Rng, candidates: &Candidates) -> Option<SocketAddr> {
    let members = pick(rng, candidates.values())?;
    pick(rng, members.iter()).copied()
}

fn pick<T>(rng: &mut ChaCha8Rng, mut items: impl ExactSizeIterator<Item = T>) -> Option<T> {
    let index = below(rng, items.len());
    items.nth(index)
}

/// A number below `bound`, or 0. A bound of a book's size favours none by more than one in a million.
fn below(rng: &mut ChaCha8Rng, bound: usize) -> usize {
    ((u64::from(rng.next_u32()) * bound as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::limits::{ANCHORS, REDIAL_MS};
    use rand_chacha::rand_core::SeedableRng;

    const NOW: u64 = 1_000_000_000;

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::from_seed([7; 32])
    }

    fn address(group: u8, host: u8) -> SocketAddr {
        SocketAddr::from(([10, group, 0, host], 9000))
    }

    fn nobody(_: SocketAddr) -> bool {
        false
    }

    /// Ten reached groups of one, ten never reached of one.
    fn book() -> AddressBook {
        let mut book = AddressBook::new();
        (0..10).for_each(|group| book.reached(0, address(group, 1)));
        (10..20).for_each(|group| book.discovered(0, &[address(group, 1)]));
        book
    }

    /// Draws until nothing is left, each drawn address being dialled.
    fn draw_all(book: &mut AddressBook, per_group: usize, refused: impl Fn(SocketAddr) -> bool) -> Vec<SocketAddr> {
        let (mut rng, mut taken) = (rng(), Vec::new());
        while let Some(next) = book.next_outbound(NOW, &mut rng, &taken, per_group, &refused) {
            assert!(!taken.contains(&next));
            taken.push(next);
        }
        taken
    }

    #[test]
    fn an_empty_book_has_nobody() {
        let mut book = AddressBook::new();
        assert_eq!(book.next_outbound(NOW, &mut rng(), &[], 1, nobody), None);
        assert_eq!(book.next_feeler(NOW, &mut rng(), &[], nobody), None);
    }

    #[test]
    fn groups_are_not_filled_beyond_their_share() {
        let mut book = AddressBook::new();
        for group in 0..5 {
            (1..10).for_each(|host| book.reached(0, address(group, host)));
        }
        for per_group in [0, 1, 3] {
            let taken = draw_all(&mut book, per_group, nobody);
            assert_eq!(taken.len(), 5 * per_group);
        }
        assert_eq!(draw_all(&mut book, usize::MAX, nobody).len(), 45);
    }

    #[test]
    fn the_refused_and_those_not_due_are_left_out() {
        let mut book = book();
        let refused = |other| other == address(3, 1) || other == address(13, 1);
        book.attempted(NOW - 1, address(4, 1));
        book.attempted(NOW - REDIAL_MS, address(5, 1));
        let taken = draw_all(&mut book, 1, refused);
        assert_eq!(taken.len(), 17);
        assert!(!taken.contains(&address(4, 1)) && taken.contains(&address(5, 1)));
        // A connection is recognised in any form.
        let mapped = "[::ffff:10.6.0.1]:9000".parse().unwrap();
        let others: Vec<_> = taken.iter().copied().filter(|other| *other != address(6, 1)).chain([mapped]).collect();
        assert_eq!(book.next_outbound(NOW, &mut rng(), &others, 9, refused), None);
    }

    #[test]
    fn the_reached_are_drawn_three_times_in_four_whatever_the_flood() {
        let mut book = book();
        for group in 20..200 {
            (0..60).for_each(|host| book.discovered(0, &[address(group, host)]));
        }
        let mut rng = rng();
        let mut draws = || book.next_outbound(NOW, &mut rng, &[], 1, nobody).unwrap();
        let reached = (0..2000).filter(|_| (0..10).contains(&ip_group(draws()))).count();
        assert!((1400..1600).contains(&reached), "{reached}");
    }

    fn ip_group(address: SocketAddr) -> u8 {
        let Group::V4([_, group]) = group_of(address.ip()) else { panic!("all are IPv4") };
        group
    }

    #[test]
    fn many_addresses_of_one_group_draw_as_one() {
        let mut book = AddressBook::new();
        (1..60).for_each(|host| book.reached(0, address(0, host)));
        (1..10).for_each(|group| book.reached(0, address(group, 1)));
        let mut rng = rng();
        let crowd = (0..2000).filter(|_| {
            book.next_outbound(NOW, &mut rng, &[], 1, nobody).is_some_and(|address| ip_group(address) == 0)
        });
        let crowd = crowd.count();
        assert!((150..250).contains(&crowd), "{crowd}");
    }

    #[test]
    fn anchors_come_first_once_and_only_after_a_start() {
        let mut book = book();
        let anchors = [address(7, 1), address(50, 1)];
        book.set_anchors(&anchors);
        assert!(book.untried_anchors.is_empty());
        let entries: Vec<_> = book.entries().map(|(address, entry)| (address, *entry)).collect();
        let restarted = AddressBook::restore(entries, book.anchors());
        assert_eq!(ANCHORS, 2);
        let mut rng = rng();
        let mut next = restarted.clone();
        assert_eq!(next.next_outbound(NOW, &mut rng, &[], 1, nobody), Some(anchors[0]));
        assert_eq!(next.next_outbound(NOW, &mut rng, &anchors[..1], 1, nobody), Some(anchors[1]));
        let third = next.next_outbound(NOW, &mut rng, &anchors, 1, nobody).unwrap();
        assert!(!anchors.contains(&third));
        // A refused anchor and one that is connected already are passed over.
        let refused = |other| other == anchors[0];
        let first = restarted.clone().next_outbound(NOW, &mut rng, &anchors[1..], 1, refused).unwrap();
        assert!(!anchors.contains(&first));
    }

    #[test]
    fn trials_are_of_the_unknown_and_of_the_known_in_turn_and_of_nobody_twice() {
        let mut tried = book();
        let mut rng = rng();
        let mut groups = Vec::new();
        while let Some(next) = tried.next_feeler(NOW, &mut rng, &[address(10, 1)], |other| other == address(11, 1)) {
            tried.attempted(NOW, next);
            groups.push(ip_group(next));
        }
        let unknown = groups[..8].iter().filter(|group| (12..20).contains(*group)).count();
        assert!((2..=6).contains(&unknown), "{groups:?}");
        groups.sort_unstable();
        assert_eq!(groups, (0..10).chain(12..20).collect::<Vec<u8>>());
    }

    #[test]
    fn equal_seeds_draw_equally() {
        let draws = || draw_all(&mut book(), 1, nobody);
        assert_eq!(draws(), draws());
    }
}
