//! What each peer, and all peers of one host together, may ask of this node.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::address::Host;
use super::bucket::{Bucket, Rate};
use crate::engine::limits::{
    ADDRESS_SHARE, COMPARISON_BURST, COMPARISON_RATE, LEFT_ADDRESSES, REQUEST_BURST, REQUEST_RATE, TRANSACTION_BURST,
    TRANSACTION_RATE,
};
use crate::engine::message::PeerId;

const REQUESTS: Rate = Rate { burst: REQUEST_BURST, per_second: REQUEST_RATE };
const COMPARISONS: Rate = Rate { burst: COMPARISON_BURST, per_second: COMPARISON_RATE };
const TRANSACTIONS: Rate = Rate { burst: TRANSACTION_BURST, per_second: TRANSACTION_RATE };

/// One bucket for each thing that is rationed.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    requests: Bucket,
    comparisons: Bucket,
    transactions: Bucket,
}

impl Allowance {
    /// What so many peers may.
    fn of(peers: u64) -> Allowance {
        Allowance {
            requests: Bucket::full(REQUESTS.times(peers)),
            comparisons: Bucket::full(COMPARISONS.times(peers)),
            transactions: Bucket::full(TRANSACTIONS.times(peers)),
        }
    }

    fn is_full(&self, now: u64) -> bool {
        self.requests.is_full(now) && self.comparisons.is_full(now) && self.transactions.is_full(now)
    }

    /// How much is missing, in the time in milliseconds until it is full.
    fn until_full(&self, now: u64) -> u64 {
        let wait = |bucket: &Bucket, rate: Rate| bucket.missing(now) / rate.times(ADDRESS_SHARE).per_second;
        let (requests, comparisons) = (wait(&self.requests, REQUESTS), wait(&self.comparisons, COMPARISONS));
        requests.max(comparisons).max(wait(&self.transactions, TRANSACTIONS))
    }
}

/// A host, and how many of the connected peers are there.
#[derive(Debug)]
struct Shared {
    peers: usize,
    allowance: Allowance,
}

/// The buckets of all connected peers and of their hosts. What a peer takes is taken from its own and from its host's
/// bucket, or not at all.
///
/// A name costs a peer nothing, an address does. So peers of one host share [`ADDRESS_SHARE`] times what one may, and a
/// host's bucket outlives its last connection until it would be full again: the attack is to spend a burst, hang up, and
/// come back under a new name for the next burst. Hosts are connected ones, or among [`LEFT_ADDRESSES`] others; past that
/// the fullest is forgotten, which gives least away. Whoever has enough hosts to force that has their bursts anyway.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    peers: BTreeMap<PeerId, (Host, Allowance)>,
    hosts: BTreeMap<Host, Shared>,
}

impl Buckets {
    /// No peer.
    pub(crate) fn new() -> Buckets {
        Buckets::default()
    }

    /// A peer is connected from `ip`. Its host's bucket is what it left.
    pub(crate) fn connected(&mut self, now: u64, peer: PeerId, ip: IpAddr) {
        self.disconnected(now, &peer);
        let host = Host::of(ip);
        self.peers.insert(peer, (host, Allowance::of(1)));
        let fresh = || Shared { peers: 0, allowance: Allowance::of(ADDRESS_SHARE) };
        self.hosts.entry(host).or_insert_with(fresh).peers += 1;
    }

    /// A peer is gone.
    pub(crate) fn disconnected(&mut self, now: u64, peer: &PeerId) {
        let Some((host, _)) = self.peers.remove(peer) else { return };
        if let Some(shared) = self.hosts.get_mut(&host) {
            shared.peers -= 1;
        }
        self.hosts.retain(|_, shared| shared.peers > 0 || !shared.allowance.is_full(now));
        let left = self.hosts.iter().filter(|(_, shared)| shared.peers == 0);
        if left.clone().count() > LEFT_ADDRESSES {
            let fullest = left.min_by_key(|(_, shared)| shared.allowance.until_full(now)).map(|(host, _)| *host);
            fullest.and_then(|host| self.hosts.remove(&host));
        }
    }

    /// Whether a peer may make so many more requests; if so, they are counted.
    pub(crate) fn take_requests(&mut self, now: u64, peer: &PeerId, count: u64) -> bool {
        self.take(now, peer, count, |allowance| &mut allowance.requests)
    }

    /// Whether a peer may compare mempools once more; if so, it is counted.
    pub(crate) fn take_comparison(&mut self, now: u64, peer: &PeerId) -> bool {
        self.take(now, peer, 1, |allowance| &mut allowance.comparisons)
    }

    /// Whether so many transactions of a peer may be verified; if so, they are counted.
    pub(crate) fn take_transactions(&mut self, now: u64, peer: &PeerId, count: u64) -> bool {
        self.take(now, peer, count, |allowance| &mut allowance.transactions)
    }

    fn take(&mut self, now: u64, peer: &PeerId, amount: u64, of: fn(&mut Allowance) -> &mut Bucket) -> bool {
        let Some((host, own)) = self.peers.get_mut(peer) else { return false };
        let Some(shared) = self.hosts.get_mut(host) else { return false };
        let (own, shared) = (of(own), of(&mut shared.allowance));
        own.follow(now);
        own.holds(now, amount) && shared.take(now, amount) && own.take(now, amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u32) -> PeerId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn spend(buckets: &mut Buckets, now: u64, peer: &PeerId) -> u64 {
        (0..).take_while(|_| buckets.take_requests(now, peer, 1)).count() as u64
    }

    #[test]
    fn peers_of_one_address_share() {
        let mut buckets = Buckets::new();
        for n in 0..3 {
            buckets.connected(1000, peer(n), ip("10.0.0.1"));
        }
        buckets.connected(1000, peer(3), ip("10.0.0.2"));
        assert_eq!(spend(&mut buckets, 1000, &peer(0)), REQUEST_BURST);
        assert_eq!(spend(&mut buckets, 1000, &peer(1)), REQUEST_BURST);
        assert_eq!(spend(&mut buckets, 1000, &peer(2)), 0, "the address has spent what it may");
        assert_eq!(spend(&mut buckets, 1000, &peer(3)), REQUEST_BURST);
        assert_eq!(spend(&mut buckets, 2000, &peer(0)), REQUEST_RATE);
        assert!(!buckets.take_requests(1000, &peer(9), 1), "a stranger may nothing");
        assert!(!buckets.take_transactions(1000, &peer(2), TRANSACTION_BURST + 1));
        assert!(buckets.take_transactions(1000, &peer(2), TRANSACTION_BURST));
    }

    #[test]
    fn what_one_bucket_lacks_is_taken_from_neither() {
        let mut buckets = Buckets::new();
        buckets.connected(0, peer(0), ip("10.0.0.1"));
        buckets.connected(0, peer(1), ip("10.0.0.1"));
        for _ in 0..10 {
            assert!(!buckets.take_transactions(0, &peer(0), TRANSACTION_BURST + 1));
        }
        assert!(buckets.take_transactions(0, &peer(0), TRANSACTION_BURST));
        assert!(buckets.take_transactions(0, &peer(1), TRANSACTION_BURST));
    }

    #[test]
    fn a_new_name_brings_no_fresh_burst() {
        let mut buckets = Buckets::new();
        let mut taken = 0;
        for n in 0..50 {
            // An address of its own each time, all of one /64.
            buckets.connected(1000, peer(n), ip(&format!("2001:db8::{n}")));
            taken += spend(&mut buckets, 1000, &peer(n));
            buckets.disconnected(1000, &peer(n));
        }
        assert_eq!(taken, REQUEST_BURST * ADDRESS_SHARE);
        assert_eq!(buckets.hosts.len(), 1);
    }

    #[test]
    fn hosts_are_forgotten_once_full_and_bounded_before() {
        let mut buckets = Buckets::new();
        let host = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        for n in 0..LEFT_ADDRESSES as u32 + 10 {
            buckets.connected(1000, peer(n), host(n));
            let count = if n < 10 { 1 } else { 100 };
            assert!(buckets.take_transactions(1000, &peer(n), count));
            buckets.disconnected(1000, &peer(n));
        }
        assert_eq!(buckets.hosts.len(), LEFT_ADDRESSES);
        assert!(buckets.hosts.keys().all(|host| host.address() >= ip("10.0.0.10")), "the fullest went");
        buckets.connected(30_000, peer(0), host(0));
        buckets.disconnected(30_000, &peer(0));
        assert!(buckets.hosts.is_empty() && buckets.peers.is_empty());
    }

    #[test]
    fn connecting_twice_counts_once() {
        let mut buckets = Buckets::new();
        buckets.connected(0, peer(0), ip("10.0.0.1"));
        buckets.connected(0, peer(0), ip("10.0.0.2"));
        buckets.disconnected(0, &peer(0));
        buckets.disconnected(0, &peer(0));
        assert!(buckets.hosts.is_empty());
    }
}
