//! Links: when a packet that enters a link leaves it, if ever. Pure: no clock, no socket.
//!
//! A packet waits in a queue of bounded bytes until the line is free, takes its bytes' time on the line, may be lost, and
//! arrives after the latency and a jitter of its own. One direction keeps its order whatever the jitter, as the one path of a
//! real connection does.

use std::num::NonZero;

use crate::random::Random;

/// A millisecond; all times are in microseconds.
pub const MS: u64 = 1_000;
/// A second.
pub const SECOND: u64 = 1_000 * MS;

/// What one direction between two hosts is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// One-way latency in microseconds.
    pub latency: u64,
    /// The most that a packet may take beyond the latency, in microseconds; each draws its share evenly from 0 to this.
    pub jitter: u64,
    /// Lost packets of 10,000.
    pub loss: u64,
    /// Bytes of IP packets a second; 0 is without limit.
    pub rate: u64,
    /// The bytes that may wait for the line. A packet that finds no room is dropped; one that finds the line free always goes.
    pub queue: u64,
}

impl Link {
    /// No latency, no loss, no limit. Whoever sets a rate has 256 KiB of queue: a quarter of a second at 1 MB/s.
    pub const INSTANT: Link = Link { latency: 0, jitter: 0, loss: 0, rate: 0, queue: 256 << 10 };

    /// A perfect link of this one-way latency in microseconds.
    pub const fn after(latency: u64) -> Link {
        Link { latency, ..Link::INSTANT }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives at this time.
    Arrives(u64),
    /// It was lost on the line, whose time it took.
    Lost,
    /// The queue had no room.
    Overflows,
    /// There is no link.
    Cut,
}

/// What one direction did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that arrived.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
    /// Packets that the link lost.
    pub lost: u64,
    /// Packets that found the queue full.
    pub overflowed: u64,
    /// Packets sent into a cut, or under way when it came.
    pub cut: u64,
}

impl Counters {
    /// Packets that never arrived.
    pub fn dropped(&self) -> u64 {
        self.lost + self.overflowed + self.cut
    }
}

/// One direction between two hosts, over time.
#[derive(Clone, Debug)]
pub struct Pipe {
    link: Option<Link>,
    /// When the last byte of what was taken leaves the line.
    busy_until: u64,
    /// What `busy_until` leaves out, in bytes times microseconds below the rate: rounding never adds up.
    remainder: u64,
    /// When the last packet arrives: none overtakes another.
    last_arrival: u64,
    random: Random,
}

impl Pipe {
    /// An idle pipe, whose losses and jitter come from `random`.
    pub fn new(link: Option<Link>, random: Random) -> Pipe {
        Pipe { link, busy_until: 0, remainder: 0, last_arrival: 0, random }
    }

    /// The present link; nothing if it is cut.
    pub fn link(&self) -> Option<Link> {
        self.link
    }

    /// Changes the link. What is under way on a link that changes arrives when it would have, and nothing sent later overtakes
    /// it; what is under way on a link that is cut is lost, and a healed link begins idle.
    pub fn set_link(&mut self, link: Option<Link>) {
        if link.is_none() {
            (self.busy_until, self.last_arrival) = (0, 0);
        }
        self.remainder = 0;
        self.link = link;
    }

    /// What becomes of a packet of `bytes` that is sent at `now`, which never goes back.
    pub fn send(&mut self, now: u64, bytes: u64) -> Fate {
        let Some(link) = self.link else { return Fate::Cut };
        // Both drawn for every packet, so that a change of one setting does not shift the draws of the other.
        let lost = self.random.below(10_000) < link.loss;
        let jitter = self.random.below(link.jitter + 1);
        if !self.has_room(now, bytes, &link) {
            return Fate::Overflows;
        }
        self.occupy(now, bytes, link.rate);
        if lost {
            return Fate::Lost;
        }
        self.last_arrival = self.last_arrival.max(self.busy_until + link.latency + jitter);
        Fate::Arrives(self.last_arrival)
    }

    /// The line is free, or the queue behind it holds these bytes too.
    fn has_room(&self, now: u64, bytes: u64, link: &Link) -> bool {
        let wait = self.busy_until.saturating_sub(now);
        // In 128 bits: a line that was slow may be busy for long at a rate that is now high.
        let waiting = u128::from(wait) * u128::from(link.rate) / u128::from(SECOND);
        waiting == 0 || waiting + u128::from(bytes) <= u128::from(link.queue)
    }

    /// Takes the line for as long as the bytes need.
    fn occupy(&mut self, now: u64, bytes: u64, rate: u64) {
        if self.busy_until < now {
            (self.busy_until, self.remainder) = (now, 0);
        }
        if let Some(rate) = NonZero::new(rate) {
            let work = bytes * SECOND + self.remainder;
            self.busy_until += work / rate;
            self.remainder = work % rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pipe(link: Link) -> Pipe {
        Pipe::new(Some(link), Random::new(7))
    }

    #[test]
    fn a_packet_takes_its_bytes_and_the_latency() {
        let mut pipe = pipe(Link { latency: 50 * MS, rate: 1_000_000, ..Link::INSTANT });
        assert_eq!(pipe.send(10, 1_500), Fate::Arrives(10 + 1_500 + 50 * MS));
        assert_eq!(pipe.send(10, 500), Fate::Arrives(10 + 2_000 + 50 * MS), "the second waits for the line");
        assert_eq!(pipe.send(SECOND, 1_000), Fate::Arrives(SECOND + MS + 50 * MS), "and the line is free again");
    }

    #[test]
    fn a_full_queue_drops_the_tail_and_drains() {
        let mut pipe = pipe(Link { rate: 1_000_000, queue: 3_000, ..Link::INSTANT });
        assert!((0..2).all(|_| matches!(pipe.send(0, 1_500), Fate::Arrives(_))));
        assert_eq!(pipe.send(0, 1_500), Fate::Overflows);
        assert_eq!(pipe.send(1_500, 1_500), Fate::Arrives(4_500), "what was dropped took no time");
        let mut narrow = Pipe::new(Some(Link { rate: 1_000, queue: 0, ..Link::INSTANT }), Random::new(7));
        assert_eq!(narrow.send(0, 1_500), Fate::Arrives(1_500 * MS), "a free line takes what no queue would");
        assert_eq!(narrow.send(1, 1), Fate::Overflows);
    }

    #[test]
    fn a_cut_link_carries_nothing_and_a_healed_one_begins_idle() {
        let slow = Link { rate: 1_000, ..Link::INSTANT };
        let mut pipe = pipe(slow);
        assert_eq!(pipe.send(0, 10_000), Fate::Arrives(10 * SECOND));
        pipe.set_link(None);
        assert_eq!(pipe.send(1, 1_000), Fate::Cut);
        pipe.set_link(Some(slow));
        assert_eq!(pipe.send(2, 1_000), Fate::Arrives(SECOND + 2));
    }

    #[test]
    fn a_link_that_becomes_fast_lets_nothing_overtake() {
        let mut pipe = pipe(Link { latency: SECOND, ..Link::INSTANT });
        assert_eq!(pipe.send(0, 1), Fate::Arrives(SECOND));
        pipe.set_link(Some(Link::INSTANT));
        assert_eq!(pipe.send(1, 1), Fate::Arrives(SECOND));
        assert_eq!(pipe.send(2 * SECOND, 1), Fate::Arrives(2 * SECOND));
    }

    #[test]
    fn loss_takes_its_share() {
        let mut pipe = pipe(Link { loss: 250, ..Link::INSTANT });
        let lost = (0..100_000).filter(|now| pipe.send(*now, 100) == Fate::Lost).count();
        assert!((2_300..2_700).contains(&lost), "{lost}");
        pipe.set_link(Some(Link { loss: 10_000, ..Link::INSTANT }));
        assert!((0..1_000).all(|now| pipe.send(100_000 + now, 100) == Fate::Lost));
    }

    proptest! {
        #[test]
        fn order_holds_latency_is_kept_and_the_rate_is_exact(
            (latency, jitter, rate, queue) in (0u64..200_000, 0u64..50_000, 1u64..2_000_000_000, 0u64..100_000),
            packets in prop::collection::vec((0u64..3_000, 1u64..1_500), 1..200),
        ) {
            let link = Link { latency, jitter, rate, queue, loss: 0 };
            let mut pipe = pipe(link);
            let (mut now, mut last, mut idle_at, mut carried) = (0, 0, 0, 0);
            for (pause, bytes) in packets {
                now += pause;
                if pipe.busy_until < now {
                    (idle_at, carried) = (now, 0);
                }
                let Fate::Arrives(at) = pipe.send(now, bytes) else {
                    prop_assert!((pipe.busy_until - now) * rate / SECOND + bytes > queue);
                    continue;
                };
                carried += bytes;
                prop_assert_eq!(pipe.busy_until, idle_at + carried * SECOND / rate, "no rounding adds up");
                prop_assert!(at >= last && at >= pipe.busy_until + latency);
                prop_assert!(at <= last.max(pipe.busy_until + latency + jitter));
                last = at;
                // The queue is looked at in whole microseconds, of which a fast line carries many bytes.
                prop_assert!((pipe.busy_until - now) * rate / SECOND <= queue.max(bytes) + rate.div_ceil(SECOND));
            }
        }
    }
}
