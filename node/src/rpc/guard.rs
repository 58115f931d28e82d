//! Which requests come from whom they seem to: a check against web pages that reach for a node on the reader's machine.
//!
//! A page can send requests to any address. The browser names the page in `Origin`; where an attacker's own name is made
//! to resolve to this machine (DNS rebinding), origin and destination agree and only `Host` still tells the name that
//! was asked for. Programs send no `Origin`, and a `Host` that names this machine.

use std::fmt;
use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::{Authority, Uri};

/// Why a request is refused before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// There is no `Host`, more than one, or none that can be read.
    NoHost,
    /// Another name than this machine's.
    Host(String),
    /// A web page of another origin asks.
    Origin,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stranger::NoHost => f.write_str("the request has no usable Host header"),
            Stranger::Host(host) => write!(
                f,
                "the Host {host:?} is not a name of this node: use localhost, its IP address, or a name that is \
                 in rpc_hosts of its configuration file"
            ),
            Stranger::Origin => f.write_str("requests from web pages of other origins are refused"),
        }
    }
}

/// The names that this node goes by.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    bound: IpAddr,
    names: Vec<String>,
}

impl Guard {
    /// A guard of a server that listens on `bound` and also goes by `names`.
    pub(super) fn new(bound: IpAddr, names: &[String]) -> Guard {
        let usual =
            |name: &String| host_address(name).map_or_else(|| name.to_ascii_lowercase(), |address| address.to_string());
        Guard { bound, names: names.iter().map(usual).collect() }
    }

    /// Lets pass what names this node and comes from no other page.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Stranger> {
        let host = only(headers, HOST).ok_or(Stranger::NoHost)?;
        let authority: Authority = host.parse().map_err(|_| Stranger::NoHost)?;
        // An absolute URI in the request line overrides Host (RFC 9112, 3.2.2), so both must be ours.
        for authority in [Some(&authority), uri.authority()].into_iter().flatten() {
            if authority.as_str().contains('@') || !self.is_ours(authority.host()) {
                return Err(Stranger::Host(authority.to_string()));
            }
        }
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let same = only(headers, ORIGIN).and_then(|origin| origin.strip_prefix("http://")) == Some(host);
        if same { Ok(()) } else { Err(Stranger::Origin) }
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        match host_address(&host) {
            // Bound to every address, the node cannot list its own; a literal is no name that could be rebound.
            Some(address) if address.is_loopback() || address == self.bound || self.bound.is_unspecified() => true,
            // It may be that of whoever passes requests on.
            Some(address) => self.names.contains(&address.to_string()),
            None => host == "localhost" || self.names.contains(&host),
        }
    }
}

/// The address that a host is, an IPv6 one with or without its brackets.
pub fn host_address(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// The value of a field that must stand exactly once.
fn only(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(bound: &str) -> Guard {
        let names = ["Node.Example", "203.0.113.7", "[2001:DB8:0::7]"].map(String::from);
        Guard::new(bound.parse().unwrap(), &names)
    }

    fn check(guard: &Guard, host: &str, origin: Option<&str>) -> Result<(), Stranger> {
        let mut headers = HeaderMap::from_iter([(HOST, host.parse().unwrap())]);
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        guard.check(&Uri::from_static("/rpc"), &headers)
    }

    #[test]
    fn our_own_names_pass_with_any_port() {
        let guard = guard("192.168.1.5");
        for host in ["localhost", "LocalHost:1", "127.0.0.1:8645", "127.9.9.9", "[::1]:8645", "[::1]", "192.168.1.5:80"]
        {
            assert_eq!(check(&guard, host, None), Ok(()), "{host}");
        }
        for host in ["node.example:8645", "203.0.113.7", "[2001:db8::7]:8645"] {
            assert_eq!(check(&guard, host, None), Ok(()), "{host}");
        }
        assert_eq!(check(&self::guard("0.0.0.0"), "10.1.2.3", None), Ok(()));
    }

    #[test]
    fn other_names_do_not() {
        let guard = guard("127.0.0.1");
        for host in [
            "evil.example",
            "localhost.evil.example",
            "a@localhost",
            "192.168.1.5",
            "10.0.0.1",
            "[2001:db8::8]",
            "2130706433",
            "localhost.",
        ] {
            assert!(matches!(check(&guard, host, None), Err(Stranger::Host(_))), "{host}");
        }
        for host in ["", "a b", "[::1"] {
            assert!(check(&guard, host, None).is_err(), "{host}");
        }
        assert_eq!(guard.check(&Uri::from_static("/rpc"), &HeaderMap::new()), Err(Stranger::NoHost));
        let mut twice = HeaderMap::new();
        twice.append(HOST, "localhost".parse().unwrap());
        twice.append(HOST, "localhost".parse().unwrap());
        assert_eq!(guard.check(&Uri::from_static("/rpc"), &twice), Err(Stranger::NoHost));
        let one = HeaderMap::from_iter([(HOST, "localhost".parse().unwrap())]);
        assert!(guard.check(&Uri::from_static("http://evil.example/rpc"), &one).is_err());
    }

    #[test]
    fn only_our_own_pages_may_ask() {
        let guard = guard("127.0.0.1");
        assert_eq!(check(&guard, "127.0.0.1:8645", Some("http://127.0.0.1:8645")), Ok(()));
        for origin in
            ["null", "http://evil.example", "https://127.0.0.1:8645", "http://127.0.0.1:1", "http://localhost:8645"]
        {
            assert_eq!(check(&guard, "127.0.0.1:8645", Some(origin)), Err(Stranger::Origin), "{origin}");
        }
    }
}
