//! Who may come in, and who has to leave for it.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::address::{Group, Host, group_of};
use crate::engine::limits::{OUTBOUND_PEERS, PEERS, PROTECTED_PEERS};
use crate::engine::message::{Direction, DisconnectReason, PeerId};

/// What the decision looks at in a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// The peer.
    pub(crate) peer: PeerId,
    /// Its address.
    pub(crate) ip: IpAddr,
    /// Who opened the connection.
    pub(crate) direction: Direction,
    /// Since when it is connected, in Unix milliseconds.
    pub(crate) since: u64,
    /// When it last gave something that this node had not yet, a block or a transaction; 0 if never.
    pub(crate) last_useful: u64,
}

/// Whether a connection that comes in from `ip` may stay, and who is disconnected for it.
///
/// The rules in order: its host is not banned; its host has less than `per_host` connections; there is a place, or one
/// is made by [`evict`]. Outbound connections have [`OUTBOUND_PEERS`] of the [`PEERS`] places for themselves and are never
/// evicted for inbound ones: those this node has chosen, these have chosen it.
///
/// # Errors
/// Why it may not stay.
pub(crate) fn place_inbound(
    connections: &[Connection],
    ip: IpAddr,
    per_host: usize,
    banned: bool,
) -> Result<Option<PeerId>, DisconnectReason> {
    if banned {
        return Err(DisconnectReason::AddressBanned);
    }
    let host = Host::of(ip);
    if connections.iter().filter(|connection| Host::of(connection.ip) == host).count() >= per_host {
        return Err(DisconnectReason::Full);
    }
    let inbound: Vec<Connection> =
        connections.iter().filter(|connection| connection.direction == Direction::Inbound).copied().collect();
    let outbound = connections.len() - inbound.len();
    if inbound.len() + outbound.max(OUTBOUND_PEERS) < PEERS {
        return Ok(None);
    }
    evict(inbound).map(Some).ok_or(DisconnectReason::Full)
}

/// The inbound peer that leaves: the youngest of the group with the most connections, among those that nothing protects.
///
/// After Bitcoin Core's `SelectNodeToEvict` (src/node/eviction.cpp). Refusing newcomers instead would let an attacker who
/// came first keep everybody out; evicting by one measure would let him drive out all others by being good at that one. So
/// [`PROTECTED_PEERS`] are kept who lately gave something, which costs work or fees, and as many who are connected longest,
/// which costs time; and the rest pay by group, so that a flood out of one network evicts itself.
fn evict(mut inbound: Vec<Connection>) -> Option<PeerId> {
    inbound.sort_by_key(|connection| (connection.last_useful, connection.peer));
    let useful = inbound.iter().filter(|connection| connection.last_useful > 0).count();
    inbound.truncate(inbound.len() - useful.min(PROTECTED_PEERS));
    inbound.sort_by_key(|connection| (connection.since, connection.peer));
    inbound.drain(..inbound.len().min(PROTECTED_PEERS));

    // Oldest first, so each group's last is its youngest.
    let mut groups: BTreeMap<Group, Vec<Connection>> = BTreeMap::new();
    for connection in inbound {
        groups.entry(group_of(connection.ip)).or_default().push(connection);
    }
    let youngest = groups.values().filter_map(|members| members.last().map(|youngest| (members.len(), youngest)));
    youngest.max_by_key(|(size, youngest)| (*size, youngest.since, youngest.peer)).map(|(_, youngest)| youngest.peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INBOUND: usize = PEERS - OUTBOUND_PEERS;

    fn peer(n: usize) -> PeerId {
        PeerId([n as u8; 32])
    }

    /// Number `n`, in a group of its own, connected since `n`.
    fn connection(n: usize, direction: Direction) -> Connection {
        let ip = IpAddr::from([10, n as u8, 0, 1]);
        Connection { peer: peer(n), ip, direction, since: n as u64, last_useful: 0 }
    }

    fn full() -> Vec<Connection> {
        (0..INBOUND).map(|n| connection(n, Direction::Inbound)).collect()
    }

    fn newcomer() -> IpAddr {
        IpAddr::from([11, 0, 0, 1])
    }

    #[test]
    fn banned_and_crowded_hosts_stay_out() {
        let connections: Vec<_> = (0..3).map(|_| connection(1, Direction::Outbound)).collect();
        let same = connections[0].ip;
        assert_eq!(place_inbound(&[], same, 4, true), Err(DisconnectReason::AddressBanned));
        assert_eq!(place_inbound(&connections, same, 3, false), Err(DisconnectReason::Full));
        assert_eq!(place_inbound(&connections, same, 4, false), Ok(None));
        assert_eq!(place_inbound(&connections, newcomer(), 3, false), Ok(None));
    }

    #[test]
    fn places_for_outbound_connections_are_kept_free() {
        let mut connections = full();
        assert!(matches!(place_inbound(&connections, newcomer(), 4, false), Ok(Some(_))));
        connections.pop();
        assert_eq!(place_inbound(&connections, newcomer(), 4, false), Ok(None));
        connections.extend((0..=OUTBOUND_PEERS).map(|n| connection(100 + n, Direction::Outbound)));
        assert!(
            matches!(place_inbound(&connections, newcomer(), 4, false), Ok(Some(_))),
            "one more was opened by hand"
        );
    }

    #[test]
    fn the_youngest_of_the_most_crowded_group_leaves() {
        let mut connections = full();
        for n in [20, 30, 40] {
            connections[n].ip = IpAddr::from([99, 99, 0, n as u8]);
        }
        assert_eq!(place_inbound(&connections, newcomer(), 4, false), Ok(Some(peer(40))));
        // Without a crowd the youngest of all.
        assert_eq!(place_inbound(&full(), newcomer(), 4, false), Ok(Some(peer(INBOUND - 1))));
    }

    #[test]
    fn a_flood_from_one_network_evicts_itself_only() {
        let mut connections = full();
        // Six of one network came last.
        connections[INBOUND - 6..].iter_mut().for_each(|connection| connection.ip = IpAddr::from([66, 6, 0, 1]));
        for n in 0..200 {
            let ip = IpAddr::from([66, 6, 1, n as u8]);
            let Ok(Some(gone)) = place_inbound(&connections, ip, 4, false) else { panic!("a place is made") };
            let at = connections.iter().position(|connection| connection.peer == gone).unwrap();
            assert_eq!(group_of(connections[at].ip), group_of(ip));
            let mut peer = peer(255);
            peer.0[0] = n as u8;
            let since = 1000 + n;
            connections[at] = Connection { peer, ip, direction: Direction::Inbound, since, last_useful: 0 };
        }
    }

    proptest! {
        #[test]
        fn the_useful_the_old_and_the_outbound_stay(
            traits in proptest::collection::vec((0..3u8, 0..100u64, 0..100u64, any::<bool>()), PEERS + 10),
        ) {
            let connections: Vec<_> = traits.iter().enumerate().map(|(n, (group, since, last_useful, out))| Connection {
                ip: IpAddr::from([10, *group, 0, n as u8]),
                since: *since,
                last_useful: *last_useful,
                ..connection(n, if *out { Direction::Outbound } else { Direction::Inbound })
            }).collect();
            if let Ok(Some(gone)) = place_inbound(&connections, newcomer(), 4, false) {
                let gone = connections.iter().find(|connection| connection.peer == gone).unwrap();
                prop_assert_eq!(gone.direction, Direction::Inbound);
                let inbound = connections.iter().filter(|other| other.direction == Direction::Inbound);
                let useful = inbound.clone().filter(|other| other.last_useful > 0 && other.last_useful >= gone.last_useful);
                let older = inbound.clone().filter(|other| other.peer != gone.peer && other.since <= gone.since);
                prop_assert!(gone.last_useful == 0 || useful.count() > PROTECTED_PEERS);
                prop_assert!(older.count() >= PROTECTED_PEERS);
            }
        }
    }
}
