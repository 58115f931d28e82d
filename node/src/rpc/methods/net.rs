//! `net_peers`, `net_add_peer`, `net_ban`, `net_unban` and `net_bans`.

use std::net::{IpAddr, SocketAddr};

use drystone_core::api::{BanInfo, ErrorCode, PeerDirection, PeerInfo};

use crate::engine::message::{Direction, PeerId};
use crate::engine::operator::{Banned, PeerView, dialable};
use crate::net::parse_address;
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::rpc::limits::{DEFAULT_BAN_SECONDS, MAX_BAN_SECONDS};

pub(super) fn peers(call: &mut Call) -> Result<Vec<PeerInfo>, RpcError> {
    Ok(call.engine(|engine, _| engine.peer_views())?.into_iter().map(describe).collect())
}

fn describe(view: PeerView) -> PeerInfo {
    PeerInfo {
        peer_id: view.peer.to_string(),
        address: view.address,
        direction: match view.direction {
            Direction::Inbound => PeerDirection::Inbound,
            Direction::Outbound => PeerDirection::Outbound,
        },
        connected_since: view.since,
        ready: view.ready,
        height: view.height,
        score: view.score,
        blocks_received: view.blocks,
        block_bytes_received: view.block_bytes,
        last_useful: (view.last_useful > 0).then_some(view.last_useful),
    }
}

/// Gives the address as it will be dialled.
pub(super) fn add_peer(call: &mut Call) -> Result<SocketAddr, RpcError> {
    let text: String = call.next()?;
    let address = read_address(&text).map_err(|what| call.refuse(format_args!("{text:?} {what}")))?;
    let banned = call.engine(move |engine, now| {
        let banned = engine.is_banned(now, address.ip());
        if !banned {
            engine.add_peer(address);
        }
        banned
    })?;
    if banned {
        let (what, next) = (format!("{} is banned", address.ip()), format!("call net_unban with {}", address.ip()));
        return Err(RpcError::new(ErrorCode::InvalidParams, what, next));
    }
    Ok(address)
}

pub(super) fn ban(call: &mut Call) -> Result<BanInfo, RpcError> {
    let whom = next_target(call)?;
    let seconds = call.optional()?.unwrap_or(DEFAULT_BAN_SECONDS);
    if !(1..=MAX_BAN_SECONDS).contains(&seconds) {
        return Err(call.refuse(format_args!("between 1 and {MAX_BAN_SECONDS} seconds, {seconds} were asked for")));
    }
    let until = call.engine(move |engine, now| {
        let until = now + 1000 * seconds;
        engine.ban(whom, until);
        // An earlier ban that ends later stands.
        let standing = engine.bans(now).into_iter().find(|(banned, _)| *banned == whom);
        standing.map_or(until, |(_, until)| until)
    })?;
    Ok(ban_info((whom, until)))
}

/// Says whether there was a ban.
pub(super) fn unban(call: &mut Call) -> Result<bool, RpcError> {
    let whom = next_target(call)?;
    call.engine(move |engine, now| engine.unban(now, whom))
}

pub(super) fn bans(call: &mut Call) -> Result<Vec<BanInfo>, RpcError> {
    Ok(call.engine(|engine, now| engine.bans(now))?.into_iter().map(ban_info).collect())
}

fn ban_info((whom, until): (Banned, u64)) -> BanInfo {
    let target = match whom {
        Banned::Host(ip) => ip.to_string(),
        Banned::Peer(peer) => peer.to_string(),
    };
    BanInfo { target, until }
}

fn next_target(call: &mut Call) -> Result<Banned, RpcError> {
    let text: String = call.next()?;
    parse_target(&text).ok_or_else(|| {
        call.refuse(format_args!("{text:?} is neither an IP address nor a peer's name, as net_peers lists them"))
    })
}

/// Whom a ban is on, in the form in which it is listed.
fn parse_target(text: &str) -> Option<Banned> {
    let host = || text.parse::<IpAddr>().ok().map(Banned::Host);
    let peer = || text.parse::<PeerId>().ok().map(Banned::Peer);
    host().or_else(peer).map(Banned::canonical)
}

/// Nothing here asks a name server: that takes as long as it likes, and whoever answers it would choose this node's peers.
fn read_address(text: &str) -> Result<SocketAddr, &'static str> {
    let address = parse_address(text).ok_or("is not IP:PORT or /ip4/IP/tcp/PORT, and names are not looked up here")?;
    if dialable(address) { Ok(address) } else { Err("is no address that a node can be at") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::limits::BAN_MS;

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        assert_eq!(read_address("/ip4/10.0.0.1/tcp/1"), Ok(SocketAddr::from(([10, 0, 0, 1], 1))));
        for (text, reason) in [
            ("node.example:8646", "names are not looked up"),
            ("10.0.0.1", "is not IP:PORT"),
            ("10.0.0.1:0", "no address that a node can be at"),
            ("0.0.0.0:1", "no address that a node can be at"),
            ("224.0.0.1:1", "no address that a node can be at"),
        ] {
            let error = read_address(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_target_is_an_address_or_a_peer_in_one_form() {
        let listed = |text: &str| parse_target(text).map(|whom| ban_info((whom, 1)).target);
        assert_eq!(listed("10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(listed("::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(listed("2001:db8::9").as_deref(), Some("2001:db8::"));
        let peer = PeerId([7; 32]).to_string();
        assert_eq!(listed(&peer), Some(peer.clone()));
        for wrong in ["", "10.0.0.1:8646", "node.example", "10.0.0.0/8", &peer[1..]] {
            assert_eq!(listed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_ban_by_hand_lasts_as_long_as_one_for_an_offence() {
        assert_eq!(1000 * DEFAULT_BAN_SECONDS, BAN_MS);
    }
}
