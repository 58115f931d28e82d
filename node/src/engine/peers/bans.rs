//! Hosts and peers that may not connect for a while.

use core::net::IpAddr;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::address::Host;
use crate::engine::limits::BANS;
use crate::engine::message::PeerId;

/// Whom a ban is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Banned {
    /// Whoever connects from this address or, of IPv6, from its /64.
    Host(IpAddr),
    /// Whoever proves this identity, from wherever.
    Peer(PeerId),
}

impl Banned {
    /// The one form under which it is remembered: of an IPv6 address the first of its /64.
    pub fn canonical(self) -> Banned {
        match self {
            Banned::Host(ip) => Banned::Host(Host::of(ip).address()),
            peer => peer,
        }
    }
}

/// Bans, each with the Unix time in milliseconds at which it ends.
///
/// A ban saves this node from paying again for what it has seen through; safety never rests on one, because addresses can
/// be had and identities made. At most [`BANS`] are remembered and the one that ends first makes room: by then those that
/// have ended. The attack is to have many hosts banned in order to be forgiven oneself, and it needs thousands of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bans {
    until: BTreeMap<Banned, u64>,
}

impl Bans {
    /// No ban.
    pub(crate) fn new() -> Bans {
        Bans::default()
    }

    /// Bans until the Unix time `until` in milliseconds. An earlier ban that ends later stands.
    pub(crate) fn ban(&mut self, whom: Banned, until: u64) {
        let end = self.until.entry(whom.canonical()).or_default();
        *end = until.max(*end);
        if self.until.len() > BANS {
            let first = self.until.iter().min_by_key(|(_, until)| **until).map(|(whom, _)| *whom);
            first.and_then(|whom| self.until.remove(&whom));
        }
    }

    /// Ends a ban; says whether there was one.
    pub(crate) fn unban(&mut self, now: u64, whom: Banned) -> bool {
        self.until.remove(&whom.canonical()).is_some_and(|until| now < until)
    }

    /// Whether a ban on just this is in force at `now`.
    pub(crate) fn is_banned(&self, now: u64, whom: Banned) -> bool {
        self.until.get(&whom.canonical()).is_some_and(|until| now < *until)
    }

    /// The bans in force at `now`, of an IPv6 /64 its first address, and until when.
    pub(crate) fn list(&self, now: u64) -> Vec<(Banned, u64)> {
        let lasting = self.until.iter().filter(|(_, until)| now < **until);
        lasting.map(|(whom, until)| (*whom, *until)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Banned {
        Banned::Host(text.parse().unwrap())
    }

    #[test]
    fn a_ban_holds_until_its_end_for_the_whole_host() {
        let mut bans = Bans::new();
        bans.ban(ip("10.0.0.1"), 1000);
        bans.ban(ip("2001:db8::1"), 2000);
        assert!(bans.is_banned(999, ip("10.0.0.1")) && bans.is_banned(0, ip("::ffff:10.0.0.1")));
        assert!(!bans.is_banned(1000, ip("10.0.0.1")) && !bans.is_banned(0, ip("10.0.0.2")));
        assert!(bans.is_banned(1999, ip("2001:db8::ffff:1")) && !bans.is_banned(0, ip("2001:db8:0:1::1")));
        assert_eq!(bans.list(0), [(ip("10.0.0.1"), 1000), (ip("2001:db8::"), 2000)]);
        assert_eq!(bans.list(1000), [(ip("2001:db8::"), 2000)]);
    }

    #[test]
    fn a_shorter_ban_does_not_end_a_longer_one() {
        let mut bans = Bans::new();
        bans.ban(ip("10.0.0.1"), 1000);
        bans.ban(ip("10.0.0.1"), 500);
        assert!(bans.is_banned(999, ip("10.0.0.1")));
    }

    #[test]
    fn a_ban_can_be_on_a_peer_and_be_taken_back() {
        let mut bans = Bans::new();
        let peer = Banned::Peer(PeerId([1; 32]));
        bans.ban(peer, 1000);
        assert!(bans.is_banned(999, peer) && !bans.is_banned(999, Banned::Peer(PeerId([2; 32]))));
        assert!(bans.unban(999, peer) && !bans.unban(999, peer) && !bans.is_banned(0, peer));
        bans.ban(ip("2001:db8::1"), 1000);
        assert!(bans.unban(0, ip("2001:db8::2")) && bans.list(0).is_empty());
        bans.ban(peer, 1000);
        assert!(!bans.unban(1000, peer), "it had ended by itself");
    }

    #[test]
    fn the_ban_that_ends_first_makes_room() {
        let mut bans = Bans::new();
        for n in 0..BANS as u64 + 5 {
            bans.ban(Banned::Host((n as u32).to_be_bytes().into()), 10_000 - n);
        }
        assert_eq!(bans.list(0).len(), BANS);
        assert!(bans.is_banned(0, ip("0.0.0.0")));
        assert!(!bans.is_banned(0, Banned::Host((BANS as u32).to_be_bytes().into())));
    }
}
