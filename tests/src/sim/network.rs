//! The network between hosts: dials, connections, what travels over them, and directions that carry nothing.

use core::net::SocketAddr;

use drystone_node::engine::message::{Direction, DisconnectReason, Input, MessageId, PeerEvent, RequestId};
use drystone_node::engine::verdict::{Disposition, Offence};
use drystone_node::engine::wire::{Gossip, Request, Response};

use super::checkers::Report;
use super::gossip::Effect;
use super::host::{Program, number_of};
use super::link::{BREAK_AFTER, DIAL_TIMEOUT, Packet, Path, Pipe};
use super::trace::Kind;
use super::world::{Event, World};
use super::{MS, SECOND};

/// A connection between two hosts, the lower number first.
pub(super) struct Connection {
    /// Counts connections: what an earlier one carried is void.
    number: u64,
    /// From the lower to the higher number, and back.
    pipes: [Pipe; 2],
    /// Since when a direction is blocked.
    blocked_since: Option<u64>,
}

impl World {
    pub(super) fn dial(&mut self, number: usize, address: SocketAddr, time: u64) {
        let start = self.hosts[number].starts;
        let target = self.hosts.iter().position(|host| host.address == address);
        let delay = match target {
            Some(target) if self.can_talk(number, target) => 3 * self.path(number, target).latency,
            _ => DIAL_TIMEOUT,
        };
        self.at(time + delay, Event::Dialled { host: number, start, address });
    }

    /// What lies from one host to another.
    fn path(&self, a: usize, b: usize) -> Path {
        let path = self.setup.regions.path(&self.hosts[a].access, &self.hosts[b].access);
        match self.latencies.get(&(a.min(b), a.max(b))) {
            Some(latency) => Path { latency: *latency, ..path },
            None => path,
        }
    }

    pub(super) fn can_talk(&self, a: usize, b: usize) -> bool {
        a != b
            && self.hosts[b].is_on()
            && self.hosts[a].is_on()
            && !self.blocked.contains(&(a, b))
            && !self.blocked.contains(&(b, a))
    }

    pub(super) fn dialled(&mut self, number: usize, address: SocketAddr) {
        let target = self.hosts.iter().position(|host| host.address == address);
        match target {
            Some(target) if self.can_talk(number, target) => self.connect(number, target),
            _ => self.give(number, Input::DialFailed(address)),
        }
    }

    /// Connects two hosts, the first of which dialled.
    pub fn connect(&mut self, dialler: usize, listener: usize) {
        let key = (dialler.min(listener), dialler.max(listener));
        let fresh = !self.connections.contains_key(&key);
        if fresh {
            self.sequence += 1;
            let connection = Connection { number: self.sequence, pipes: Default::default(), blocked_since: None };
            self.connections.insert(key, connection);
            self.hosts[dialler].neighbours.insert(listener);
            self.hosts[listener].neighbours.insert(dialler);
            self.trace.note(self.now, dialler, Kind::Opened, &(listener as u64).to_le_bytes());
        }
        let (address, from) = (self.hosts[listener].address, self.hosts[dialler].address.ip());
        self.tell(dialler, listener, PeerEvent::Connected { address, direction: Direction::Outbound });
        if fresh {
            let port = 1024 + (self.sequence % 60_000) as u16;
            let address = SocketAddr::new(from, port);
            self.tell(listener, dialler, PeerEvent::Connected { address, direction: Direction::Inbound });
            let listens = self.hosts[dialler].address;
            self.tell(listener, dialler, PeerEvent::Listens(listens));
            self.hosts[dialler].router.joined(self.now / MS, listener, Direction::Outbound);
            self.hosts[listener].router.joined(self.now / MS, dialler, Direction::Inbound);
            self.with_script(dialler, |script, now| script.connected(now, listener, true));
            self.with_script(listener, |script, now| script.connected(now, dialler, false));
        }
    }

    pub(super) fn tell(&mut self, number: usize, peer: usize, event: PeerEvent) {
        let peer = self.hosts[peer].id;
        self.give(number, Input::Peer { peer, event });
    }

    /// Closes a connection; both ends notice.
    pub fn close(&mut self, a: usize, b: usize) {
        let key = (a.min(b), a.max(b));
        if self.connections.remove(&key).is_none() {
            return;
        }
        self.trace.note(self.now, key.0, Kind::Closed, &(key.1 as u64).to_le_bytes());
        let now_ms = self.now / MS;
        for (end, other) in [key, (key.1, key.0)] {
            self.hosts[end].neighbours.remove(&other);
            self.hosts[end].router.left(now_ms, other);
            if let Some(node) = self.hosts[end].node_mut() {
                node.incoming.retain(|_, (peer, _)| *peer != other);
            }
            self.tell(end, other, PeerEvent::Disconnected);
            self.with_script(end, |script, _| {
                script.closed(other);
                Vec::new()
            });
        }
    }

    pub(super) fn hang_up(&mut self, number: usize, peer: [u8; 32], reason: &DisconnectReason) {
        let other = number_of(&peer);
        if let DisconnectReason::Banned(offence) = reason {
            if self.hosts[other].honest {
                self.report(Report::Banned { host: number, other, offence: offence.clone() });
            } else {
                self.counts.bans += 1;
            }
        }
        self.close(number, other);
    }

    /// Blocks or opens one direction between two hosts.
    pub fn set_blocked(&mut self, from: usize, to: usize, block: bool) {
        let changed = if block { self.blocked.insert((from, to)) } else { self.blocked.remove(&(from, to)) };
        let key = (from.min(to), from.max(to));
        let open = !self.blocked.contains(&(from, to)) && !self.blocked.contains(&(to, from));
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&key).filter(|_| changed) else { return };
        let number = connection.number;
        let begins = block && connection.blocked_since.is_none();
        if begins {
            connection.blocked_since = Some(now);
        } else if open {
            connection.blocked_since = None;
        }
        let pipe = &mut connection.pipes[usize::from(from > to)];
        let held = if block { Vec::new() } else { std::mem::take(&mut pipe.held) };
        if begins {
            self.at(now + BREAK_AFTER, Event::Break { a: key.0, b: key.1, connection: number });
        }
        for packet in held {
            self.send(from, to, packet, now);
        }
    }

    pub(super) fn break_if_blocked(&mut self, a: usize, b: usize, number: u64) {
        let Some(connection) = self.connections.get(&(a, b)).filter(|connection| connection.number == number) else {
            return;
        };
        match connection.blocked_since {
            Some(since) if since + BREAK_AFTER <= self.now => self.close(a, b),
            Some(since) => self.at(since + BREAK_AFTER, Event::Break { a, b, connection: number }),
            None => {}
        }
    }

    /// Sends a packet and returns when it arrives, unless it is held or there is no connection.
    pub(super) fn send(&mut self, from: usize, to: usize, packet: Packet, time: u64) -> Option<u64> {
        let key = (from.min(to), from.max(to));
        let blocked = self.blocked.contains(&(from, to));
        let path = self.path(from, to);
        let connection = self.connections.get_mut(&key)?;
        let pipe = &mut connection.pipes[usize::from(from > to)];
        if blocked {
            pipe.held.push(packet);
            return None;
        }
        let bytes = packet.weighted_bytes(self.setup.weight, &self.params);
        let arrival = pipe.arrival(time, bytes, &path, &mut self.hosts[from].uplink, &mut self.links);
        let connection = connection.number;
        self.at(arrival, Event::Arrive { from, to, connection, packet, bytes });
        Some(arrival)
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, connection: u64, packet: Packet, bytes: u64) {
        let key = (from.min(to), from.max(to));
        if self.connections.get(&key).is_none_or(|known| known.number != connection) {
            return;
        }
        let detail = [(from as u64).to_le_bytes(), bytes.to_le_bytes()].concat();
        self.trace.note(self.now, to, Kind::Arrived, &detail);
        if let Some(arrived) = &mut self.arrived {
            arrived.push(packet.clone());
        }
        self.counts.messages += 1;
        self.counts.bytes += bytes;
        match packet {
            Packet::Request(id, bytes) => match Request::from_bytes(&bytes, &self.params) {
                Ok(request) => self.requested(from, to, id, request),
                Err(error) => self.tell(to, from, PeerEvent::Offence(Offence::Undecodable(error))),
            },
            Packet::Response(id, bytes) => match Response::from_bytes(&bytes, &self.params) {
                Ok(response) if self.hosts[to].is_scripted() => {
                    self.with_script(to, |script, now| script.response(now, from, response));
                }
                Ok(response) => self.tell(to, from, PeerEvent::Response { id, response }),
                Err(error) => {
                    self.tell(to, from, PeerEvent::NoResponse { id });
                    self.tell(to, from, PeerEvent::Offence(Offence::Undecodable(error)));
                }
            },
            Packet::Gossip(frame) => {
                let effects = self.hosts[to].router.receive(self.now / MS, from, frame, &mut self.links);
                self.effects(to, effects, self.now);
            }
        }
    }

    pub(super) fn requested(&mut self, from: usize, to: usize, id: RequestId, request: Request) {
        if self.hosts[to].is_scripted() {
            return self.with_script(to, |script, now| script.request(now, from, id, request));
        }
        let Some(node) = self.hosts[to].node_mut() else { return };
        let name = RequestId(node.name());
        node.incoming.insert(name, (from, id));
        self.tell(to, from, PeerEvent::Request { id: name, request });
    }

    pub(super) fn effects(&mut self, number: usize, effects: Vec<Effect>, time: u64) {
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => drop(self.send(number, to, Packet::Gossip(frame), time)),
                Effect::Deliver { from, topic, bytes, .. } if self.hosts[number].is_scripted() => {
                    if let Ok(gossip) = Gossip::from_bytes(topic, &bytes, &self.params) {
                        self.with_script(number, |script, now| script.gossip(now, from, gossip));
                    }
                }
                Effect::Deliver { from, topic, id, bytes } => {
                    let Some(node) = self.hosts[number].node_mut() else { continue };
                    let message = MessageId(node.name());
                    node.gossip.insert(message, (from, id));
                    match Gossip::from_bytes(topic, &bytes, &self.params) {
                        Ok(gossip) => self.tell(number, from, PeerEvent::Gossip { message, gossip }),
                        Err(error) => {
                            self.judge(number, message, Disposition::Reject, time);
                            self.tell(number, from, PeerEvent::Offence(Offence::Undecodable(error)));
                        }
                    }
                }
            }
        }
    }

    pub(super) fn judge(&mut self, number: usize, message: MessageId, disposition: Disposition, time: u64) {
        let host = &mut self.hosts[number];
        let Program::Node(node) = &mut host.program else { return };
        let Some((from, id)) = node.gossip.remove(&message) else { return };
        let effects = host.router.judge(from, id, disposition);
        self.effects(number, effects, time);
    }

    /// Whom a host without peers finds: everybody knows two hosts, and in large networks one more for every 32.
    fn bootstrap_hosts(&mut self, number: usize) -> Vec<usize> {
        let count = self.hosts.len().min(2.max(self.hosts.len() / 32));
        let mut known: Vec<usize> = (0..count).filter(|other| *other != number).collect();
        self.random.shuffle(&mut known);
        known.truncate(4);
        known
    }

    /// Tells a host of some that its peers know, or of bootstrap hosts.
    pub(super) fn discover(&mut self, number: usize) {
        let start = self.hosts[number].starts;
        let again = self.now + self.random.between(30 * SECOND, 60 * SECOND);
        self.at(again, Event::Discover { host: number, start });
        if !self.discovery {
            return;
        }
        let theirs = |peer: &usize| self.hosts[*peer].neighbours.iter().copied();
        let mut known: Vec<usize> = self.hosts[number].neighbours.iter().flat_map(theirs).collect();
        known.retain(|other| *other != number && !self.hosts[*other].is_scripted());
        known.sort_unstable();
        known.dedup();
        self.random.shuffle(&mut known);
        known.truncate(4);
        if known.is_empty() {
            known = self.bootstrap_hosts(number);
        }
        if let Some((victim, others)) = &self.eclipsed
            && *victim == number
            && self.now < self.setup.duration
        {
            // One honest host gets through among seven of the others.
            known.truncate(1);
            known.extend((0..7).map(|_| self.random.between(others.start as u64, others.end as u64 - 1) as usize));
        }
        let addresses = known.iter().map(|other| self.hosts[*other].address).collect();
        self.give(number, Input::Discovered(addresses));
    }
}
