//! Who gets as far as a handshake of keys, and who is dialled: libp2p's hooks for connections that are about to open.
//!
//! The engine judges connections once they prove a key, which costs both sides a handshake. What can be told before is
//! told here: a host that has its share of connections is refused when it knocks. And nobody but the engine dials: the
//! discovery table would connect to whomever it hears of, past all rules about whom a node is connected to. Its wish
//! to dial is taken as what it is, addresses that somebody told.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::address::from_multiaddr;
use super::identity::to_engine;
use crate::engine::operator::Host;

/// Told addresses that wait to be handed on; more are dropped.
const HEARD: usize = 1024;

/// Counts incoming connections by host, from the first packet on.
pub(super) struct Gate {
    per_host: usize,
    hosts: BTreeMap<ConnectionId, Host>,
}

impl Gate {
    /// Lets `per_host` connections of one host in at a time.
    pub(super) fn new(per_host: usize) -> Gate {
        Gate { per_host, hosts: BTreeMap::new() }
    }
}

/// Why a connection is refused before or at its handshake of keys.
#[derive(Debug)]
pub(super) enum Denied {
    Host,
    Key,
    Dial,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Denied::Host => "its host has all the connections that one may have",
            Denied::Key => "its key is not ed25519",
            Denied::Dial => "only the engine dials",
        })
    }
}

impl std::error::Error for Denied {}

fn check_key(peer: &PeerId) -> Result<(), ConnectionDenied> {
    to_engine(peer).map(|_| ()).ok_or_else(|| ConnectionDenied::new(Denied::Key))
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let Some(host) = from_multiaddr(remote).map(|remote| Host::of(remote.ip())) else {
            return Err(ConnectionDenied::new(Denied::Host));
        };
        if self.hosts.values().filter(|other| **other == host).count() >= self.per_host {
            return Err(ConnectionDenied::new(Denied::Host));
        }
        self.hosts.insert(id, host);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        check_key(&peer).map(|()| dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        check_key(&peer).map(|()| dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
        | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) = event
        {
            self.hosts.remove(&connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// The table of a distributed hash table (Kademlia: Maymounkov and Mazières, 2002), which finds peers of peers but dials
/// none of them.
pub(super) struct Discovery {
    pub(super) table: kad::Behaviour<MemoryStore>,
    /// What the engine dials.
    dials: BTreeMap<ConnectionId, SocketAddr>,
    /// Addresses that the table wanted to dial.
    heard: VecDeque<SocketAddr>,
}

impl Discovery {
    /// A gate around a table.
    pub(super) fn new(table: kad::Behaviour<MemoryStore>) -> Discovery {
        Discovery { table, dials: BTreeMap::new(), heard: VecDeque::new() }
    }

    /// Lets a dial of the engine's pass.
    pub(super) fn allow(&mut self, id: ConnectionId, address: SocketAddr) {
        self.dials.insert(id, address);
    }

    /// What the engine dialled with this connection; its outcome is known now.
    pub(super) fn dialled(&mut self, id: ConnectionId) -> Option<SocketAddr> {
        self.dials.remove(&id)
    }

    /// What was heard of since the last time.
    pub(super) fn take_heard(&mut self) -> Vec<SocketAddr> {
        self.heard.drain(..).collect()
    }
}

impl NetworkBehaviour for Discovery {
    type ConnectionHandler = <kad::Behaviour<MemoryStore> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = kad::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.table.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.dials.contains_key(&id) {
            return Ok(Vec::new());
        }
        let told = self.table.handle_pending_outbound_connection(id, peer, addresses, role)?;
        let room = HEARD.saturating_sub(self.heard.len());
        self.heard.extend(told.iter().filter_map(from_multiaddr).take(room));
        Err(ConnectionDenied::new(Denied::Dial))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.table.handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        self.table.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.table.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.table.poll(context)
    }
}
