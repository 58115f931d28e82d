//! Links: what a connection does to what is sent through it.
//!
//! A link carries bytes in order, one message after the other at the rate of the slower end, after a latency that the
//! regions of both ends give. A lost packet delays like TCP: by a retransmission. A direction that is blocked holds what is
//! sent; if that lasts, the connection breaks.

use std::sync::Arc;

use drystone_node::engine::message::RequestId;

use super::gossip::Frame;
use super::{MS, SECOND};
use crate::random::Random;

/// One-way latencies between regions in milliseconds: within a region, and between North America, Europe, East Asia, South
/// America and Oceania; half of the round trips that cloud providers publish between their regions, rounded.
pub const LATENCY_MS: [[u64; 5]; 5] = [
    [15, 45, 75, 65, 80],
    [45, 10, 115, 100, 135],
    [75, 115, 20, 150, 55],
    [65, 100, 150, 15, 155],
    [80, 135, 55, 155, 10],
];

/// How long a blocked connection lives: keep-alive probes every 15 s with a patience of 5 s.
pub const BREAK_AFTER: u64 = 20 * SECOND;

/// How long a dial into silence takes to fail.
pub const DIAL_TIMEOUT: u64 = 10 * SECOND;

/// Payload bytes of a packet.
const PACKET: u64 = 1_400;

/// Bytes that frame a message: stream, length, encryption.
const OVERHEAD: u64 = 60;

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    /// A request, named by its sender.
    Request(RequestId, Arc<[u8]>),
    /// A response to the request of this name.
    Response(RequestId, Arc<[u8]>),
    /// Gossip.
    Gossip(Frame),
}

impl Packet {
    /// Its length on the wire.
    pub fn wire_bytes(&self) -> u64 {
        OVERHEAD
            + match self {
                Packet::Request(_, bytes) | Packet::Response(_, bytes) => bytes.len() as u64,
                Packet::Gossip(frame) => frame.wire_bytes() as u64,
            }
    }
}

/// What a host's access to the network is like.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Its region.
    pub region: usize,
    /// Bytes a second in each direction.
    pub rate: u64,
    /// Lost packets of 10,000.
    pub loss: u64,
}

/// What lies between two accesses.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// One-way latency in microseconds, without jitter.
    pub latency: u64,
    /// Bytes a second.
    pub rate: u64,
    /// Lost packets of 10,000.
    pub loss: u64,
}

impl Path {
    /// The path between two accesses: the latency of their regions, the rate of the slower one.
    pub fn between(a: &Access, b: &Access) -> Path {
        Path { latency: LATENCY_MS[a.region][b.region] * MS, rate: a.rate.min(b.rate), loss: a.loss + b.loss }
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Pipe {
    /// When the last byte of what was sent leaves.
    busy_until: u64,
    /// When the last message arrives: none overtakes another.
    last_arrival: u64,
    /// What was sent while blocked.
    pub held: Vec<Packet>,
}

impl Pipe {
    /// When a message that is sent at `now` arrives.
    pub fn arrival(&mut self, now: u64, packet: &Packet, path: &Path, random: &mut Random) -> u64 {
        let bytes = packet.wire_bytes();
        self.busy_until = self.busy_until.max(now) + bytes * SECOND / path.rate;
        let base = path.latency;
        let jitter = random.below(base / 10 + 1);
        let packets = bytes.div_ceil(PACKET);
        let loss = path.loss * packets;
        let retransmission = if loss > 0 && random.below(10_000) < loss { 200 * MS + 2 * base } else { 0 };
        self.last_arrival = self.last_arrival.max(self.busy_until + base + jitter + retransmission);
        self.last_arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_takes_latency_and_its_bytes_and_none_overtakes() {
        let access = Access { region: 1, rate: 1_000_000, loss: 0 };
        let path = Path::between(&access, &access);
        let mut random = Random::new(1);
        let mut pipe = Pipe::default();
        let large = Packet::Request(RequestId(1), vec![0; 1_000_000].into());
        let small = Packet::Request(RequestId(2), vec![0; 10].into());
        let first = pipe.arrival(0, &large, &path, &mut random);
        assert!((1_010_000..1_012_000).contains(&first), "{first}");
        assert!(pipe.arrival(0, &small, &path, &mut random) >= first);
    }
}
