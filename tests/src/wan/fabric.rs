//! The fabric: every pipe of a network and the packets on their way, ordered by arrival. Pure: it is told the time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::mem;

use super::link::{Counters, Fate, Link, Pipe};
use crate::random::Random;

/// The bytes that may be on their way in a whole network. A link without a rate bounds nothing, so this does: 16 hosts with 8
/// connections each, at the 4 MB that Linux by default lets a sender have under way.
const FLIGHT_BYTES: u64 = 512 << 20;

/// What the caller does with the packet it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// Deliver it at once.
    Now,
    /// Nothing: the fabric has a copy. `first` says that it is due before all others.
    Later { first: bool },
    /// Nothing: it never arrives.
    Dropped,
}

/// A packet on its way.
#[derive(Debug)]
pub(super) struct Flight {
    due: u64,
    /// Packets due at one time arrive as they were sent.
    number: u64,
    direction: usize,
    era: u64,
    /// The host that it goes to.
    pub(super) to: usize,
    /// The IP packet.
    pub(super) packet: Box<[u8]>,
}

impl Flight {
    fn key(&self) -> (u64, u64) {
        (self.due, self.number)
    }
}

impl Ord for Flight {
    fn cmp(&self, other: &Flight) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Flight {
    fn partial_cmp(&self, other: &Flight) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Flight {
    fn eq(&self, other: &Flight) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Flight {}

#[derive(Debug)]
struct Direction {
    pipe: Pipe,
    counters: Counters,
    /// Grows with each cut: a flight of an earlier era is lost.
    era: u64,
    /// Flights of this era that are not due yet.
    flying: u64,
    /// Flights that are being delivered.
    landing: u64,
}

/// All directions between `hosts` hosts.
#[derive(Debug)]
pub(super) struct Fabric {
    hosts: usize,
    directions: Vec<Direction>,
    flights: BinaryHeap<Reverse<Flight>>,
    flight_bytes: u64,
    sent: u64,
}

impl Fabric {
    /// A fabric whose every ordered pair of different hosts has the link that `links` gives.
    pub(super) fn new(hosts: usize, seed: u64, mut links: impl FnMut(usize, usize) -> Option<Link>) -> Fabric {
        let random = Random::new(seed);
        let direction = |number: usize| {
            let (from, to) = (number / hosts, number % hosts);
            let link = if from == to { None } else { links(from, to) };
            let pipe = Pipe::new(link, random.part("wan", number as u64));
            Direction { pipe, counters: Counters::default(), era: 0, flying: 0, landing: 0 }
        };
        let directions = (0..hosts * hosts).map(direction).collect();
        Fabric { hosts, directions, flights: BinaryHeap::new(), flight_bytes: 0, sent: 0 }
    }

    fn direction(&self, from: usize, to: usize) -> usize {
        assert!(from < self.hosts && to < self.hosts, "there are {} hosts", self.hosts);
        from * self.hosts + to
    }

    /// The present link; nothing if it is cut.
    pub(super) fn link(&self, from: usize, to: usize) -> Option<Link> {
        self.directions[self.direction(from, to)].pipe.link()
    }

    /// What the direction did so far.
    pub(super) fn counters(&self, from: usize, to: usize) -> Counters {
        self.directions[self.direction(from, to)].counters
    }

    /// Changes a link as [`Pipe::set_link`] says.
    pub(super) fn set_link(&mut self, from: usize, to: usize, link: Option<Link>) {
        let number = self.direction(from, to);
        let direction = &mut self.directions[number];
        direction.pipe.set_link(link);
        if link.is_none() {
            direction.era += 1;
            direction.counters.cut += mem::take(&mut direction.flying);
        }
    }

    /// Takes a packet that `from` sends to `to` at `now`.
    pub(super) fn send(&mut self, now: u64, from: usize, to: usize, packet: &[u8]) -> Sent {
        let number = self.direction(from, to);
        let direction = &mut self.directions[number];
        let bytes = packet.len() as u64;
        let due = match direction.pipe.send(now, bytes) {
            Fate::Arrives(due) => due,
            Fate::Lost => return drop_as(&mut direction.counters.lost),
            Fate::Overflows => return drop_as(&mut direction.counters.overflowed),
            Fate::Cut => return drop_as(&mut direction.counters.cut),
        };
        // Beside packets on their way it would overtake.
        if due <= now && direction.flying + direction.landing == 0 {
            direction.counters.packets += 1;
            direction.counters.bytes += bytes;
            return Sent::Now;
        }
        if self.flight_bytes + bytes > FLIGHT_BYTES {
            return drop_as(&mut direction.counters.overflowed);
        }
        let first = self.next_due().is_none_or(|next| due < next);
        let direction = &mut self.directions[number];
        direction.flying += 1;
        self.flight_bytes += bytes;
        self.sent += 1;
        let flight =
            Flight { due, number: self.sent, direction: number, era: direction.era, to, packet: packet.into() };
        self.flights.push(Reverse(flight));
        Sent::Later { first }
    }

    /// When the next packet is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.flights.peek().map(|Reverse(flight)| flight.due)
    }

    /// Moves what is due at `now` to `landing`, for the caller to deliver and then to call [`Fabric::landed`].
    pub(super) fn land(&mut self, now: u64, landing: &mut Vec<Flight>) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse(flight)) = self.flights.pop() else { return };
            let direction = &mut self.directions[flight.direction];
            self.flight_bytes -= flight.packet.len() as u64;
            if flight.era == direction.era {
                direction.flying -= 1;
                direction.landing += 1;
                direction.counters.packets += 1;
                direction.counters.bytes += flight.packet.len() as u64;
                landing.push(flight);
            }
        }
    }

    /// Says that these were delivered.
    pub(super) fn landed(&mut self, landing: &mut Vec<Flight>) {
        for flight in landing.drain(..) {
            self.directions[flight.direction].landing -= 1;
        }
    }
}

fn drop_as(counter: &mut u64) -> Sent {
    *counter += 1;
    Sent::Dropped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::link::MS;
    use super::*;

    fn landed(fabric: &mut Fabric, now: u64) -> Vec<u8> {
        let mut landing = Vec::new();
        fabric.land(now, &mut landing);
        let packets = landing.iter().map(|flight| flight.packet[0]).collect();
        fabric.landed(&mut landing);
        packets
    }

    #[test]
    fn packets_arrive_when_due_and_in_order() {
        let mut fabric = Fabric::new(3, 1, |from, _| Some(Link::after(if from == 0 { 50 * MS } else { 20 * MS })));
        assert_eq!(fabric.send(0, 0, 2, &[1]), Sent::Later { first: true });
        assert_eq!(fabric.send(0, 0, 2, &[2]), Sent::Later { first: false });
        assert_eq!(fabric.send(10 * MS, 1, 2, &[3]), Sent::Later { first: true }, "a shorter way is due before");
        assert_eq!(fabric.next_due(), Some(30 * MS));
        assert!(landed(&mut fabric, 30 * MS - 1).is_empty());
        assert_eq!(landed(&mut fabric, 30 * MS), [3]);
        assert_eq!(landed(&mut fabric, 50 * MS), [1, 2]);
        assert_eq!(fabric.counters(0, 2), Counters { packets: 2, bytes: 2, ..Counters::default() });
        assert_eq!(fabric.flight_bytes, 0);
    }

    #[test]
    fn nothing_is_delivered_beside_what_is_on_its_way() {
        let mut fabric = Fabric::new(2, 1, |_, _| Some(Link::INSTANT));
        assert_eq!(fabric.send(0, 0, 1, &[1]), Sent::Now);
        fabric.set_link(0, 1, Some(Link::after(MS)));
        assert_eq!(fabric.send(0, 0, 1, &[2]), Sent::Later { first: true });
        fabric.set_link(0, 1, Some(Link::INSTANT));
        let mut landing = Vec::new();
        fabric.land(MS, &mut landing);
        assert_eq!(fabric.send(MS, 0, 1, &[3]), Sent::Later { first: true }, "the second is still being delivered");
        fabric.landed(&mut landing);
        assert_eq!(landed(&mut fabric, MS), [3]);
        assert_eq!(fabric.send(MS, 0, 1, &[4]), Sent::Now);
    }

    #[test]
    fn a_cut_loses_what_is_under_way_one_direction_at_a_time() {
        let mut fabric = Fabric::new(2, 1, |_, _| Some(Link::after(MS)));
        fabric.send(0, 0, 1, &[1]);
        fabric.send(0, 1, 0, &[2]);
        fabric.set_link(0, 1, None);
        assert_eq!(fabric.send(0, 0, 1, &[3]), Sent::Dropped);
        fabric.set_link(0, 1, Some(Link::after(MS)));
        fabric.send(0, 0, 1, &[4]);
        assert_eq!(landed(&mut fabric, MS), [2, 4]);
        assert_eq!(fabric.counters(0, 1), Counters { packets: 1, bytes: 1, cut: 2, ..Counters::default() });
        assert_eq!(fabric.counters(1, 0).dropped(), 0);
    }

    proptest! {
        #[test]
        fn every_packet_is_accounted_for_and_each_direction_keeps_its_order(
            steps in prop::collection::vec((0u64..2_000, 0usize..3, 0usize..3, 0u8..20), 1..300),
        ) {
            let rough = Link { latency: 5 * MS, jitter: 5 * MS, loss: 1_000, rate: 100_000, queue: 2_000 };
            let mut fabric = Fabric::new(3, 9, |_, _| Some(rough));
            let (mut now, mut sent, mut at_once, mut landing) = (0, 0, 0, Vec::new());
            let mut last = [[0; 3]; 3];
            for (pause, from, to, dice) in steps {
                now += pause;
                match dice {
                    0 => fabric.set_link(from, to, None),
                    1 => fabric.set_link(from, to, Some(rough)),
                    2 => fabric.set_link(from, to, Some(Link::INSTANT)),
                    _ => {
                        sent += 1;
                        let packet = [[from as u8; 1].as_slice(), &[0; 200]].concat();
                        at_once += u64::from(fabric.send(now, from, to, &packet) == Sent::Now);
                    }
                }
                fabric.land(now, &mut landing);
                for flight in &landing {
                    let from = usize::from(flight.packet[0]);
                    prop_assert!(flight.number > last[from][flight.to]);
                    last[from][flight.to] = flight.number;
                }
                fabric.landed(&mut landing);
            }
            fabric.land(u64::MAX, &mut landing);
            fabric.landed(&mut landing);
            let all = fabric.directions.iter().map(|direction| direction.counters);
            let (arrived, dropped) = all.fold((0, 0), |sum, one| (sum.0 + one.packets, sum.1 + one.dropped()));
            prop_assert_eq!(arrived + dropped, sent);
            prop_assert!(at_once <= arrived);
            prop_assert_eq!(fabric.flight_bytes, 0);
        }
    }
}
