//! The address book and the bans as bytes, for the time between two runs.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use drystone_core::encode::{DecodeError, decode_capped, encode};
use serde::{Deserialize, Serialize};

use super::bans::{Banned, Bans};
use super::book::{AddressBook, Entry};
use crate::engine::limits::{ANCHORS, BANS, BOOK_ADDRESSES};

/// An address, IPv4 ones mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Endpoint {
    ip: [u8; 16],
    port: u16,
}

/// What is saved, in core's canonical encoding.
///
/// Nothing in it is believed more than hearsay is: all of it goes through the checks and bounds of the book, so that a
/// damaged or forged record costs addresses and not the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BookRecord {
    /// Those that were reached first, the latest foremost: what is cut off is worth least.
    addresses: Vec<(Endpoint, Entry)>,
    anchors: Vec<Endpoint>,
    /// Bans and when they end.
    bans: Vec<(Banned, u64)>,
}

impl BookRecord {
    /// The most bytes of a record: three lengths; addresses of 18 bytes with 8 for when it was heard of, 9 for when it was
    /// reached, 9 for when it was dialled and 13 for its failures; anchors; bans of a number, 32 bytes
    /// and a time. 304 KB.
    pub(crate) const MAX_BYTES: usize =
        3 * 8 + BOOK_ADDRESSES * (18 + 8 + 9 + 9 + 13) + ANCHORS * 18 + BANS * (4 + 32 + 8);

    /// What is worth saving at `now`.
    pub(crate) fn of(now: u64, book: &AddressBook, bans: &Bans) -> BookRecord {
        let mut addresses: Vec<_> = book.entries().map(|(address, entry)| (endpoint(address), *entry)).collect();
        addresses.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.reached));
        let anchors = book.anchors().iter().map(|address| endpoint(*address)).collect();
        BookRecord { addresses, anchors, bans: bans.list(now) }
    }

    /// The book and the bans that were saved.
    pub(crate) fn restore(&self) -> (AddressBook, Bans) {
        let anchors: Vec<_> = self.anchors.iter().map(Endpoint::address).collect();
        let addresses = self.addresses.iter().map(|(endpoint, entry)| (endpoint.address(), *entry));
        let mut bans = Bans::new();
        for (whom, until) in &self.bans {
            bans.ban(*whom, *until);
        }
        (AddressBook::restore(addresses, &anchors), bans)
    }

    /// Its bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a record. Whoever wants to start anyway takes `unwrap_or_default`, an empty one.
    ///
    /// # Errors
    /// The bytes are not the encoding of a record, or more than [`BookRecord::MAX_BYTES`].
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<BookRecord, DecodeError> {
        decode_capped(bytes, BookRecord::MAX_BYTES)
    }
}

impl Endpoint {
    fn address(&self) -> SocketAddr {
        SocketAddr::new(Ipv6Addr::from(self.ip).into(), self.port)
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { ip: octets(address.ip()), port: address.port() }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::Failing;
    use super::*;
    use crate::engine::limits::BOOK_PER_GROUP;
    use crate::engine::message::PeerId;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = SocketAddr> {
        // Few groups, so that bounds are met.
        let v4 = (0..4u8, any::<[u8; 2]>()).prop_map(|(group, [c, d])| IpAddr::from([10, group, c, d]));
        let v6 =
            any::<[u8; 2]>().prop_map(|[a, b]| IpAddr::from([0x20, 1, 0xd, 0xb8, a, b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]));
        (prop_oneof![v4, v6], 0..3u16).prop_map(|(ip, port)| SocketAddr::new(ip, port))
    }

    fn book_and_bans() -> impl Strategy<Value = (AddressBook, Bans)> {
        let operations = proptest::collection::vec((address(), 0..1000u64, 0..4u8), 0..300);
        let bans = proptest::collection::vec((address(), 500..1000u64), 0..20);
        (operations, bans, proptest::collection::vec(address(), 0..4)).prop_map(|(operations, banned, anchors)| {
            let (mut book, mut bans) = (AddressBook::new(), Bans::new());
            for (address, now, kind) in operations {
                book.discovered(now, &[address]);
                match kind {
                    1 => book.reached(now, address),
                    2 => book.failed(now, address),
                    3 => book.attempted(now, address),
                    _ => {}
                }
            }
            book.set_anchors(&anchors);
            banned.iter().for_each(|(address, until)| bans.ban(Banned::Host(address.ip()), *until));
            (book, bans)
        })
    }

    #[test]
    fn the_reached_come_first_and_ended_bans_are_dropped() {
        let (mut book, mut bans) = (AddressBook::new(), Bans::new());
        let addresses: Vec<SocketAddr> = (0..5u8).map(|n| ([10, 0, 0, n], 1).into()).collect();
        book.discovered(0, &addresses);
        book.reached(10, addresses[2]);
        book.reached(20, addresses[4]);
        bans.ban(Banned::Host(addresses[0].ip()), 100);
        bans.ban(Banned::Peer(PeerId([1; 32])), 200);
        let record = BookRecord::of(100, &book, &bans);
        let order: Vec<_> = record.addresses.iter().map(|(endpoint, _)| endpoint.ip[15]).collect();
        assert_eq!(order, [4, 2, 0, 1, 3]);
        assert_eq!(record.bans.len(), 1);
    }

    #[test]
    fn the_largest_record_is_as_long_as_its_cap() {
        let failing = Some(Failing { since: 1, times: 1 });
        let entry = Entry { heard: 1, reached: Some(1), attempted: Some(1), failing };
        let endpoint = |n: usize| Endpoint { ip: octets(IpAddr::from(((n as u32) << 8).to_be_bytes())), port: 1 };
        let record = BookRecord {
            addresses: (0..BOOK_ADDRESSES).map(|n| (endpoint(n), entry)).collect(),
            anchors: (0..ANCHORS).map(endpoint).collect(),
            bans: (0..BANS).map(|n| (Banned::Peer(PeerId(std::array::from_fn(|i| (n >> i) as u8))), 1)).collect(),
        };
        let bytes = record.to_bytes();
        assert_eq!(bytes.len(), BookRecord::MAX_BYTES);
        assert_eq!(BookRecord::from_bytes(&bytes), Ok(record.clone()));
        let (book, bans) = record.restore();
        assert_eq!(book.len(), (BOOK_ADDRESSES / 256) * BOOK_PER_GROUP, "a record does not escape the book's bounds");
        assert_eq!(bans.list(0).len(), BANS);
    }

    #[test]
    fn what_no_book_would_take_is_left_out() {
        let record = BookRecord {
            addresses: vec![(Endpoint { ip: [0; 16], port: 1 }, Entry::default())],
            anchors: vec![Endpoint { ip: [0xff; 16], port: 1 }],
            bans: Vec::new(),
        };
        let (book, _) = record.restore();
        assert_eq!(book, AddressBook::new());
    }

    proptest! {
        #[test]
        fn a_record_carries_everything_over((book, bans) in book_and_bans()) {
            let bytes = BookRecord::of(0, &book, &bans).to_bytes();
            let (restored, restored_bans) = BookRecord::from_bytes(&bytes).unwrap().restore();
            prop_assert_eq!(restored.entries().collect::<Vec<_>>(), book.entries().collect::<Vec<_>>());
            prop_assert_eq!(restored.anchors(), book.anchors());
            prop_assert_eq!(&restored.untried_anchors[..], book.anchors());
            prop_assert_eq!(restored_bans, bans);
        }

        #[test]
        fn damage_never_panics(
            (book, bans) in book_and_bans(),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = BookRecord::of(0, &book, &bans).to_bytes();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let (book, _) = BookRecord::from_bytes(&bytes).unwrap_or_default().restore();
            prop_assert!(book.len() <= BOOK_ADDRESSES);
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(BookRecord::from_bytes(&bytes).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (book, _) = BookRecord::from_bytes(&bytes).unwrap_or_default().restore();
            prop_assert!(book.len() <= 400 / 57);
        }
    }
}
