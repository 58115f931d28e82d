//! What whoever runs a node sees of its network and says to it: peers, bans, and how far synchronisation has come.

use core::net::{IpAddr, SocketAddr};

use super::Engine;
use super::message::{Direction, DisconnectReason, PeerId};
pub use super::peers::{Banned, Host, dialable};

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// The peer.
    pub peer: PeerId,
    /// Its address; of an inbound connection with a port that it does not listen on.
    pub address: SocketAddr,
    /// Who opened the connection.
    pub direction: Direction,
    /// Since when it is connected, in Unix milliseconds.
    pub since: u64,
    /// Whether it has shaken hands.
    pub ready: bool,
    /// The height of the best block that it has said or shown to have.
    pub height: u64,
    /// Points against it; at 100 it is banned.
    pub score: u32,
    /// Blocks that it gave for the download.
    pub blocks: u64,
    /// The bytes of those blocks.
    pub block_bytes: u64,
    /// When it last gave something new, a block or a transaction, in Unix milliseconds; 0 if never.
    pub last_useful: u64,
}

/// How far synchronisation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The tip's height.
    pub height: u64,
    /// The height up to which the best chain of headers is known.
    pub headers: u64,
    /// The height that half of the peers say they have or more; nothing without peers.
    pub claimed: Option<u64>,
    /// Blocks of the best chain of headers that are missing.
    pub missing: u64,
    /// Whether a long chain update or a repair is under way, or so much is missing that the tip is not to be built on.
    pub syncing: bool,
}

impl Progress {
    /// The height that the chain has as far as is known, or nothing where nobody says how long it is.
    pub fn target(&self) -> Option<u64> {
        (self.claimed.is_some() || self.headers > self.height).then(|| self.headers.max(self.claimed.unwrap_or(0)))
    }

    /// How much of the chain is connected, in thousandths, rounded down; nothing where nobody says how long it is.
    pub fn per_mille(&self) -> Option<u64> {
        let part = |target: u64| u128::from(self.height.min(target)) * 1000 / u128::from(target.max(1));
        // At height 0 of 0 nothing is missing.
        self.target().map(|target| if target == 0 { 1000 } else { part(target) as u64 })
    }
}

impl Engine {
    /// The connected peers, in the order of their names.
    pub fn peer_views(&self) -> Vec<PeerView> {
        let view = |(id, peer): (&PeerId, &super::session::Peer)| PeerView {
            peer: *id,
            address: peer.address,
            direction: peer.direction,
            since: peer.since,
            ready: peer.status.is_some(),
            height: peer.status.as_ref().map_or(0, |status| status.height.max(peer.shown.0)),
            score: peer.score.at(self.now),
            blocks: peer.given.0,
            block_bytes: peer.given.1,
            last_useful: peer.last_useful,
        };
        self.net.peers.iter().map(view).collect()
    }

    /// How far synchronisation has come.
    pub fn progress(&self) -> Progress {
        let mut claims: Vec<u64> =
            self.net.ready().filter_map(|(_, peer)| peer.status.as_ref()).map(|status| status.height).collect();
        claims.sort_unstable();
        Progress {
            height: self.tip.height,
            headers: self.tip.height.max(self.net.window.head_height()),
            // A liar alone moves nothing.
            claimed: claims.get(claims.len().saturating_sub(1) / 2).copied(),
            missing: self.net.window.missing() as u64,
            syncing: self.is_updating() || self.is_syncing(),
        }
    }

    /// Refuses and disconnects whom this names until the Unix time `until` in milliseconds.
    pub fn ban(&mut self, whom: Banned, until: u64) {
        self.net.bans.ban(whom, until);
        self.save_later();
        let now = self.now;
        let refused = self.net.peers.iter().filter(|(id, peer)| self.net.refuses(now, **id, peer.address.ip()));
        let refused: Vec<PeerId> = refused.map(|(id, _)| *id).collect();
        refused.into_iter().for_each(|id| self.drop_peer(id, DisconnectReason::AddressBanned));
    }

    /// Takes a ban back; says whether there was one. A wanted peer that rested for it rests no more.
    pub fn unban(&mut self, now: u64, whom: Banned) -> bool {
        self.save_later();
        self.net.wanted.iter_mut().for_each(|(_, due)| *due = now);
        self.net.bans.unban(now, whom)
    }

    /// The bans in force at `now`, and until when.
    pub fn bans(&self, now: u64) -> Vec<(Banned, u64)> {
        self.net.bans.list(now)
    }

    /// Whether an address is banned at `now`.
    pub fn is_banned(&self, now: u64, address: IpAddr) -> bool {
        self.net.bans.is_banned(now, Banned::Host(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_part_of_what_is_known_and_unknown_where_nothing_is() {
        let at =
            |height, headers, claimed| Progress { height, headers, claimed, missing: 0, syncing: true }.per_mille();
        assert_eq!((at(0, 0, None), at(7, 7, None)), (None, None), "nobody to compare with");
        assert_eq!((at(0, 0, Some(0)), at(0, 0, Some(9))), (Some(1000), Some(0)));
        assert_eq!((at(5, 10, None), at(5, 10, Some(20))), (Some(500), Some(250)));
        assert_eq!((at(999_999, 1_000_000, None), at(9, 9, Some(3))), (Some(999), Some(1000)));
        assert_eq!(at(u64::MAX, u64::MAX, Some(1)), Some(1000));
    }
}
