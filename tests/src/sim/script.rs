//! Hosts without an engine: peers that say what a test has them say.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use drystone_node::engine::message::RequestId;
use drystone_node::engine::wire::{Gossip, Request, Response};

use super::gossip::Frame;
use super::host::Program;
use super::link::Packet;
use super::world::{Event, World};
use crate::random::Random;

/// What a scripted host may do.
#[derive(Debug)]
pub enum Act {
    /// Dial a host.
    Dial(usize),
    /// Ask a host.
    Ask(usize, Request),
    /// Answer a host's request.
    Answer(usize, RequestId, Response),
    /// Send gossip to one host, as one more of its mesh.
    Gossip(usize, Gossip),
    /// Send a host bytes as they are.
    Send(usize, Packet),
    /// Go to another address, from which it dials from now on.
    Move(SocketAddr),
    /// Be called again after this many microseconds.
    Wait(u64),
    /// Close the connection to a host.
    Hang(usize),
}

/// A peer's behaviour. Peers are the numbers of hosts; times are virtual microseconds.
pub trait Script {
    /// It starts, or a wait is over.
    fn wake(&mut self, _now: u64) -> Vec<Act> {
        Vec::new()
    }

    /// A connection stands; `dialled` says that it opened it.
    fn connected(&mut self, _now: u64, _peer: usize, _dialled: bool) -> Vec<Act> {
        Vec::new()
    }

    /// A connection is closed.
    fn closed(&mut self, _peer: usize) {}

    /// It hears gossip for the first time, which it does not pass on by itself.
    fn gossip(&mut self, _now: u64, _peer: usize, _gossip: Gossip) -> Vec<Act> {
        Vec::new()
    }

    /// It is asked.
    fn request(&mut self, now: u64, peer: usize, id: RequestId, request: Request) -> Vec<Act>;

    /// It is answered.
    fn response(&mut self, _now: u64, _peer: usize, _response: Response) -> Vec<Act> {
        Vec::new()
    }

    /// The name of what it is, if it is an adversary, and how often it was that.
    fn deeds(&self) -> Option<(&'static str, u64)> {
        None
    }
}

/// One of many addresses that nobody else has.
pub(super) fn any_address(random: &mut Random) -> SocketAddr {
    let [a, b, c] = [0; 3].map(|_: u8| random.next() as u8);
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(128 + a % 64, b, c, 7)), 8646)
}

impl World {
    pub(super) fn with_script(&mut self, number: usize, call: impl FnOnce(&mut dyn Script, u64) -> Vec<Act>) {
        let now = self.now;
        let Program::Script(slot) = &mut self.hosts[number].program else { return };
        let Some(mut script) = slot.take() else { return };
        let acts = call(&mut *script, now);
        self.hosts[number].program = Program::Script(Some(script));
        for act in acts {
            self.act(number, act);
        }
    }

    pub(super) fn act(&mut self, number: usize, act: Act) {
        let now = self.now;
        match act {
            Act::Dial(other) => {
                if self.can_talk(number, other) {
                    self.connect(number, other);
                }
            }
            Act::Ask(other, request) => {
                self.sequence += 1;
                self.send(number, other, Packet::Request(RequestId(self.sequence), request.to_bytes().into()), now);
            }
            Act::Answer(other, id, response) => {
                let bytes = response.to_bytes();
                if matches!(response, Response::Bodies(_)) {
                    *self.served.entry((number, other)).or_default() += bytes.len() as u64;
                }
                self.send(number, other, Packet::Response(id, bytes.into()), now);
            }
            Act::Gossip(other, gossip) => self.gossip_to(number, other, &gossip, now),
            Act::Send(other, packet) => drop(self.send(number, other, packet, now)),
            Act::Move(address) => self.hosts[number].address = address,
            Act::Wait(time) => {
                let start = self.hosts[number].starts;
                self.at(now + time, Event::Wake { host: number, start });
            }
            Act::Hang(other) => self.close(number, other),
        }
    }

    /// Sends gossip to one host at a time, as one of its mesh does.
    pub(super) fn gossip_to(&mut self, number: usize, other: usize, gossip: &Gossip, time: u64) {
        let frame = Frame::publish(gossip.topic(), gossip.to_bytes().into());
        self.send(number, other, Packet::Gossip(frame), time);
    }
}
