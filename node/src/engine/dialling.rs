//! Whom this node is connected to: dials, trials of addresses, and who may stay.

use core::net::{IpAddr, SocketAddr};

use super::limits::{
    DIAL_INTERVAL_MS, DIAL_TIMEOUT_MS, FEELER_INTERVAL_MS, OUTBOUND_PEERS, REDIAL_MAX_MS, WANTED_PEERS,
    WANTED_REDIAL_MS,
};
use super::message::{Direction, DisconnectReason, Output, PeerId};
use super::peers::{Banned, Connection, canonical, place_inbound};
use super::session::{Net, Peer, Timer};
use super::{Engine, Fault};

impl Engine {
    /// Whoever runs this node wants a connection to this address: it is dialled first of all, and again while there is
    /// none, whatever its network group. Of too many the one named first is let go.
    pub fn add_peer(&mut self, address: SocketAddr) {
        let (wanted, now) = (&mut self.net.wanted, self.now);
        wanted.retain(|(known, _)| *known != address);
        wanted.push((address, now));
        if wanted.len() > WANTED_PEERS {
            wanted.remove(0);
        }
        self.net.hasten(now, Timer::Dial);
    }

    /// The wanted address without a connection that has waited the longest.
    fn next_wanted(&mut self) -> Option<SocketAddr> {
        let (now, outbound, listening) = (self.now, self.outbound(), self.listening());
        let Net { wanted, bans, .. } = &mut self.net;
        let free = |address: &SocketAddr| {
            let connected = outbound.contains(address) || listening.contains(address);
            !connected && !bans.is_banned(now, Banned::Host(address.ip()))
        };
        let due = wanted.iter_mut().filter(|(address, due)| *due <= now && free(address));
        let (address, due) = due.min_by_key(|(_, due)| *due)?;
        *due = now + WANTED_REDIAL_MS;
        Some(*address)
    }

    /// An address of the book for a free outbound place.
    fn next_of_book(&mut self) -> Option<SocketAddr> {
        let (now, outbound, listening) = (self.now, self.outbound(), self.listening());
        let Net { book, bans, rng, dialling, wanted, .. } = &mut self.net;
        // Dials of wanted peers may be many and in vain.
        let extra = dialling.keys().filter(|address| wanted.iter().any(|(wanted, _)| wanted == *address)).count();
        if outbound.len() - extra >= OUTBOUND_PEERS {
            return None;
        }
        let refused = |address| listening.contains(&address) || bans.is_banned(now, Banned::Host(address.ip()));
        book.next_outbound(now, rng, &outbound, self.outbound_per_group, refused)
    }

    /// Who is at an address is not to be talked to: a wanted one rests as long as one that often failed.
    pub(super) fn dialled_in_vain(&mut self, address: SocketAddr) {
        self.net.book.failed(self.now, address);
        let due = self.now + REDIAL_MAX_MS;
        self.net.wanted.iter_mut().filter(|(wanted, _)| *wanted == address).for_each(|(_, wanted)| *wanted = due);
    }

    /// Whether a connection may stay; makes room for it where another matters less.
    pub(super) fn place(&mut self, id: PeerId, ip: IpAddr, direction: Direction) -> Result<(), DisconnectReason> {
        if id == self.identity {
            return Err(DisconnectReason::Itself);
        }
        let banned = self.net.refuses(self.now, id, ip);
        if direction == Direction::Outbound {
            return if banned { Err(DisconnectReason::AddressBanned) } else { Ok(()) };
        }
        let connection = |(id, peer): (&PeerId, &Peer)| Connection {
            peer: *id,
            ip: peer.address.ip(),
            direction: peer.direction,
            since: peer.since,
            last_useful: peer.last_useful,
        };
        let connections: Vec<Connection> = self.net.peers.iter().map(connection).collect();
        if let Some(evicted) = place_inbound(&connections, ip, self.peers_per_address, banned)? {
            self.drop_peer(evicted, DisconnectReason::Full);
        }
        Ok(())
    }

    /// A peer that was only tried stays if it is on another chain than this node, ahead of it or on a fork: then one of both
    /// has something to learn. The outbound peer goes for it that stays for the same reason and has shown no such chain yet, or
    /// else, where no place is free, was of use the longest ago, but none that is wanted: so strangers who say such things have
    /// one place, however useful they make themselves. Its network group does not count: nobody's peer should go because a
    /// stranger next door says something.
    pub(super) fn keep_trial(&mut self, id: &PeerId) -> Result<bool, Fault> {
        let Some(status) = self.net.peers.get(id).and_then(|peer| peer.status.as_ref()) else { return Ok(false) };
        let (hash, ahead) = (status.hash, status.work > self.tip.work);
        if !ahead && self.index.get(&self.snapshot, &hash)?.is_some() {
            return Ok(false);
        }
        if let Some(peer) = self.net.peers.get_mut(id) {
            (peer.feeler, peer.kept) = (false, true);
        }
        let Net { peers, wanted, .. } = &self.net;
        let outbound = peers.iter().filter(|(_, peer)| peer.direction == Direction::Outbound && !peer.feeler);
        let full = outbound.clone().count() > OUTBOUND_PEERS;
        let is_wanted = |peer: &Peer| wanted.iter().any(|(address, _)| *address == peer.address);
        let others = outbound.filter(|(other, peer)| *other != id && !is_wanted(peer));
        let least = others.min_by_key(|(id, peer)| (!peer.kept, peer.last_useful, **id));
        if let Some(least) = least.filter(|(_, peer)| full || peer.kept).map(|(id, _)| *id) {
            self.drop_peer(least, DisconnectReason::Full);
        }
        Ok(true)
    }

    /// Addresses of connections that this node opened or is opening.
    fn outbound(&self) -> Vec<SocketAddr> {
        let outbound = self.net.peers.values().filter(|peer| peer.direction == Direction::Outbound);
        outbound.map(|peer| peer.address).chain(self.net.dialling.keys().copied()).collect()
    }

    /// Addresses at which peers say that they listen, in the book's form: a dial would bring nobody new. What they say takes no
    /// place of those that this node chooses.
    fn listening(&self) -> Vec<SocketAddr> {
        self.net.peers.values().filter_map(|peer| peer.listens.map(canonical)).collect()
    }

    /// Dials what is wanted, and fills the outbound places; of each one at a time.
    pub(super) fn dial(&mut self) {
        let mut dialled = false;
        for next in [Engine::next_wanted, Engine::next_of_book] {
            if let Some(address) = next(self) {
                self.start_dial(address, false);
                dialled = true;
            }
        }
        // The first few at once: a node that has just started has nobody.
        let hurry = dialled && self.outbound().len() < OUTBOUND_PEERS / 2;
        self.net.at(self.now + if hurry { DIAL_INTERVAL_MS / 8 } else { DIAL_INTERVAL_MS }, Timer::Dial);
    }

    /// Tries an address that was never reached, so that the book holds more than hearsay when it is needed.
    pub(super) fn try_address(&mut self) {
        let now = self.now;
        self.net.at(now + FEELER_INTERVAL_MS, Timer::Feeler);
        // What was heard and learnt since is worth a commit this often, and not with every address.
        self.save_later();
        let (outbound, listening) = (self.outbound(), self.listening());
        let Net { book, bans, rng, .. } = &mut self.net;
        let refused = |address| listening.contains(&address) || bans.is_banned(now, Banned::Host(address.ip()));
        if let Some(address) = book.next_feeler(now, rng, &outbound, refused) {
            self.start_dial(address, true);
        }
    }

    fn start_dial(&mut self, address: SocketAddr, feeler: bool) {
        self.net.book.attempted(self.now, address);
        self.net.dialling.insert(address, feeler);
        self.net.at(self.now + DIAL_TIMEOUT_MS, Timer::DialTimeout(address));
        self.outputs.push(Output::Dial(address));
    }

    pub(super) fn dial_failed(&mut self, address: SocketAddr) {
        // Connected to nobody, the fault is more likely this node's network than the address.
        if self.net.dialling.remove(&address).is_some() && !self.net.peers.is_empty() {
            self.net.book.failed(self.now, address);
        }
    }

    /// A peer that came in says where it can be dialled: worth keeping for when it has left, and not worth a second connection.
    pub(super) fn listens_at(&mut self, id: PeerId, address: SocketAddr) {
        let inbound = self.net.peers.get_mut(&id).filter(|peer| peer.direction == Direction::Inbound);
        if let Some(peer) = inbound {
            peer.listens.get_or_insert(address);
            self.discovered(&[address]);
        }
    }

    /// Takes in addresses that somebody heard of.
    pub(super) fn discovered(&mut self, addresses: &[SocketAddr]) {
        self.net.book.discovered(self.now, addresses);
    }
}
