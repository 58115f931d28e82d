//! Addresses as the engine knows them, of a host and a TCP port, and as libp2p writes them.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// `/ip4/…/tcp/…` or `/ip6/…/tcp/…`.
pub(super) fn to_multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

/// The address that libp2p's form begins with; nothing where it is no plain TCP address. Who is there is left out.
pub(super) fn from_multiaddr(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Tcp(port) = parts.next()? else { return None };
    matches!(parts.next(), None | Some(Protocol::P2p(_))).then(|| SocketAddr::new(ip.to_canonical(), port))
}

/// Reads `address:port` or libp2p's form of it.
pub fn parse_address(text: &str) -> Option<SocketAddr> {
    let address = SocketAddr::from_str(text).ok().or_else(|| from_multiaddr(&Multiaddr::from_str(text).ok()?))?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_others_are_not() {
        for (text, expected) in [
            ("127.0.0.1:8646", "127.0.0.1:8646"),
            ("[2001:db8::1]:1", "[2001:db8::1]:1"),
            ("/ip4/10.0.0.1/tcp/8646", "10.0.0.1:8646"),
            ("/ip6/::1/tcp/2", "[::1]:2"),
            ("/ip6/::ffff:10.0.0.1/tcp/3", "10.0.0.1:3"),
            ("/ip4/10.0.0.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", "10.0.0.1:1"),
        ] {
            assert_eq!(parse_address(text), Some(expected.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "/ip4/10.0.0.1", "/ip4/10.0.0.1/udp/1", "/dns4/x/tcp/1", "/ip4/10.0.0.1/tcp/1/ws", ""]
        {
            assert_eq!(parse_address(text), None, "{text}");
        }
        let address = "10.0.0.1:1".parse().unwrap();
        assert_eq!(from_multiaddr(&to_multiaddr(address)), Some(address));
    }
}
