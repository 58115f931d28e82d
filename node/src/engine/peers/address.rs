//! What of an address counts: the host that answers for it, the group that bounds it, and whether it can be dialled.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Who answers for an address: the IPv4 address itself, or the /64 of an IPv6 one, because whoever has one address of a
/// /64 has all 2^64 and would shed a ban or a rate limit with each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host(IpAddr);

impl Host {
    /// The host of an address.
    pub fn of(ip: IpAddr) -> Host {
        Host(match ip.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
            v4 => v4,
        })
    }

    /// Its address, the first one of a /64.
    pub fn address(self) -> IpAddr {
        self.0
    }
}

/// Addresses that are likely in one hand: a /16 of IPv4, a /32 of IPv6, which is what one provider is given. Many
/// addresses are cheap, many groups are not, so diversity is counted in groups. Loopback and private addresses are
/// grouped like all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// A /16.
    V4([u8; 2]),
    /// A /32.
    V6([u8; 4]),
}

/// The group of an address.
pub(crate) fn group_of(ip: IpAddr) -> Group {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            Group::V4([a, b])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.octets();
            Group::V6([a, b, c, d])
        }
    }
}

/// The one form of an address under which it is known: IPv4 never as mapped IPv6, no flow and no scope.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether a node can be at an address at all: it has a port and is neither unspecified, multicast nor broadcast.
pub fn dialable(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_host_is_an_ipv4_address_or_a_64() {
        assert_eq!(Host::of(ip("10.1.2.3")), Host::of(ip("::ffff:10.1.2.3")));
        assert_ne!(Host::of(ip("10.1.2.3")), Host::of(ip("10.1.2.4")));
        assert_eq!(Host::of(ip("2001:db8:1:2::1")), Host::of(ip("2001:db8:1:2:ffff::")));
        assert_ne!(Host::of(ip("2001:db8:1:2::")), Host::of(ip("2001:db8:1:3::")));
        assert_eq!(Host::of(ip("2001:db8:1:2::9")).address(), ip("2001:db8:1:2::"));
    }

    #[test]
    fn a_group_is_a_16_of_ipv4_or_a_32_of_ipv6() {
        assert_eq!(group_of(ip("127.0.0.1")), group_of(ip("127.0.9.9")));
        assert_eq!(group_of(ip("10.1.2.3")), group_of(ip("::ffff:10.1.9.9")));
        assert_ne!(group_of(ip("192.168.0.1")), group_of(ip("192.169.0.1")));
        assert_eq!(group_of(ip("2001:db8::1")), group_of(ip("2001:db8:ffff::1")));
        assert_ne!(group_of(ip("2001:db8::1")), group_of(ip("2001:db9::1")));
    }

    #[test]
    fn nobody_is_at_unspecified_multicast_or_portless_addresses() {
        let refused = [
            "1.2.3.4:0",
            "0.0.0.0:1",
            "255.255.255.255:1",
            "224.0.0.1:1",
            "[::]:1",
            "[ff02::1]:1",
            "[::ffff:0.0.0.0]:1",
            "[::ffff:224.0.0.1]:1",
        ];
        for text in refused {
            assert!(!dialable(text.parse().unwrap()), "{text}");
        }
        for text in ["1.2.3.4:1", "127.0.0.1:1", "[::1]:1", "[2001:db8::1]:9"] {
            assert!(dialable(text.parse().unwrap()), "{text}");
        }
    }
}
