//! Hosts that may not connect for a while.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::address::Host;
use crate::engine::limits::BANS;

/// Bans by host, each with the Unix time in milliseconds at which it ends.
///
/// A ban saves this node from paying again for what it has seen through; safety never rests on one, because addresses can
/// be had. At most [`BANS`] are remembered and the one that ends first makes room: by then those that have ended. The
/// attack is to have many hosts banned in order to be forgiven oneself, and it needs thousands of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bans {
    until: BTreeMap<Host, u64>,
}

impl Bans {
    /// No ban.
    pub(crate) fn new() -> Bans {
        Bans::default()
    }

    /// Bans the host of `ip` until the Unix time `until` in milliseconds. An earlier ban that ends later stands.
    pub(crate) fn ban(&mut self, ip: IpAddr, until: u64) {
        let end = self.until.entry(Host::of(ip)).or_default();
        *end = until.max(*end);
        if self.until.len() > BANS {
            let first = self.until.iter().min_by_key(|(_, until)| **until).map(|(host, _)| *host);
            first.and_then(|host| self.until.remove(&host));
        }
    }

    /// Whether the host of `ip` is banned at `now`.
    pub(crate) fn is_banned(&self, now: u64, ip: IpAddr) -> bool {
        self.until.get(&Host::of(ip)).is_some_and(|until| now < *until)
    }

    /// The hosts that are banned at `now`, of an IPv6 /64 the first address, and until when.
    pub(crate) fn list(&self, now: u64) -> Vec<(IpAddr, u64)> {
        let lasting = self.until.iter().filter(|(_, until)| now < **until);
        lasting.map(|(host, until)| (host.address(), *until)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
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
    fn the_ban_that_ends_first_makes_room() {
        let mut bans = Bans::new();
        for n in 0..BANS as u64 + 5 {
            bans.ban(IpAddr::from((n as u32).to_be_bytes()), 10_000 - n);
        }
        assert_eq!(bans.list(0).len(), BANS);
        assert!(bans.is_banned(0, ip("0.0.0.0")));
        assert!(!bans.is_banned(0, IpAddr::from((BANS as u32).to_be_bytes())));
    }
}
