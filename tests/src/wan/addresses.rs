//! Addresses: which host has which, and whose one is.

use std::net::Ipv4Addr;

/// The most hosts of a network: the second bytes from 100 to 255 of addresses in 10.0.0.0/8.
pub const HOSTS_MAX: usize = 156;

/// Which addresses hosts have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Host `i` is 10.(100 + i).0.1: every host in a /16 of its own, as hosts of different operators are. The node limits its
    /// connections by /16.
    Groups,
    /// Host `i` is 10.77.0.(1 + i): all in one /16, as hosts of one operator are.
    OneGroup,
}

impl Addresses {
    /// The address of a host below [`HOSTS_MAX`].
    pub(super) fn address(self, host: usize) -> Ipv4Addr {
        let number = host as u8;
        match self {
            Addresses::Groups => Ipv4Addr::new(10, 100 + number, 0, 1),
            Addresses::OneGroup => Ipv4Addr::new(10, 77, 0, 1 + number),
        }
    }

    /// Whose address it is, of `hosts` hosts.
    pub(super) fn host(self, address: Ipv4Addr, hosts: usize) -> Option<usize> {
        let host = match (self, address.octets()) {
            (Addresses::Groups, [10, number @ 100..=255, 0, 1]) => usize::from(number - 100),
            (Addresses::OneGroup, [10, 77, 0, number @ 1..=255]) => usize::from(number - 1),
            _ => return None,
        };
        (host < hosts).then_some(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_leads_back_to_its_host() {
        for addresses in [Addresses::Groups, Addresses::OneGroup] {
            for host in 0..HOSTS_MAX {
                assert_eq!(addresses.host(addresses.address(host), HOSTS_MAX), Some(host));
                assert_eq!(addresses.host(addresses.address(host), host), None);
            }
            for other in [[10, 99, 0, 1], [10, 100, 0, 2], [10, 77, 0, 0], [10, 77, 1, 1], [192, 168, 0, 1]] {
                assert_eq!(addresses.host(other.into(), HOSTS_MAX), None, "{other:?}");
            }
        }
        assert_eq!(Addresses::Groups.address(HOSTS_MAX - 1).octets(), [10, 255, 0, 1]);
    }
}
