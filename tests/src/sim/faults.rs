//! Faults: what goes wrong when, drawn from the seed, and how it is done to the network.

use super::setup::Setup;
use super::trace::Kind;
use super::world::{Event, World};
use super::{MINUTE, MS, SECOND};
use crate::random::Random;

/// Something that goes wrong, or right again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power of a host goes during one of its next writes, and comes back.
    Crash(usize),
    /// A host is shut down in order.
    Stop(usize),
    /// A host starts if it is off, and keeps its power if it is on.
    Start(usize),
    /// These hosts cannot reach the others any more, nor be reached.
    Split(Vec<usize>),
    /// What these hosts send to the others is held; the others are heard.
    Mute(Vec<usize>),
    /// Everybody reaches everybody.
    Heal,
    /// Adversaries are none any more.
    Reform,
    /// Lost packets of 10,000 on a host's access.
    Loss(usize, u64),
    /// A host's clock is ahead by this many milliseconds.
    Skew(usize, i64),
    /// Bytes a second of a host's access.
    Rate(usize, u64),
}

impl Fault {
    /// The hosts that it names.
    pub fn hosts(&self) -> &[usize] {
        match self {
            Fault::Crash(host)
            | Fault::Stop(host)
            | Fault::Start(host)
            | Fault::Loss(host, _)
            | Fault::Skew(host, _)
            | Fault::Rate(host, _) => std::slice::from_ref(host),
            Fault::Split(side) | Fault::Mute(side) => side,
            Fault::Heal | Fault::Reform => &[],
        }
    }
}

/// When what happens: what the setup says, or what its faults are drawn to.
pub fn schedule(setup: &Setup, random: &Random) -> Vec<(u64, Fault)> {
    if let Some(events) = &setup.schedule {
        return events.clone();
    }
    let mut faults = Vec::new();
    let mut random = random.part("faults", 0);
    let end = setup.duration;
    let host = |random: &mut Random| random.below(setup.hosts as u64) as usize;
    let span = |random: &mut Random| end / 20 + random.below((end * 9 / 10).max(1));
    // An hour's dose, for each hour.
    let doses = (end / (60 * MINUTE)).max(1);
    if setup.faults.crash {
        for _ in 0..doses * (setup.hosts as u64).div_ceil(4) {
            faults.push((span(&mut random), Fault::Crash(host(&mut random))));
        }
    }
    if setup.faults.churn {
        for _ in 0..doses * (setup.hosts as u64).div_ceil(10) {
            let (at, who) = (span(&mut random), host(&mut random));
            faults.push((at, Fault::Stop(who)));
            faults.push(((at + random.between(MINUTE, 40 * MINUTE)).min(end), Fault::Start(who)));
        }
    }
    // Splits follow each other and never overlap: each begins after the one before has healed.
    let kinds: Vec<u8> = [(setup.faults.partition, 0), (setup.faults.oneway, 1), (setup.faults.flap, 2)]
        .into_iter()
        .filter_map(|(on, kind)| on.then_some(kind))
        .collect();
    let mut at = end / 20 + random.below(end / 10 + 1);
    while at < end && !kinds.is_empty() {
        let side = side(setup.hosts, &mut random);
        let until = match random.pick(&kinds) {
            0 => {
                faults.push((at, Fault::Split(side)));
                // One in six lasts until both sides have long filled their places among themselves.
                let longest = if random.one_in(6) { 150 * MINUTE } else { 30 * MINUTE };
                at + random.between(MINUTE, longest)
            }
            1 => {
                faults.push((at, Fault::Mute(side)));
                at + random.between(10 * SECOND, 10 * MINUTE)
            }
            _ => {
                let mut flap = at;
                for _ in 0..random.between(3, 12) {
                    faults.push((flap.min(end), Fault::Split(side.clone())));
                    flap += random.between(2 * SECOND, 60 * SECOND);
                    faults.push((flap.min(end), Fault::Heal));
                    flap += random.between(2 * SECOND, 60 * SECOND);
                }
                flap
            }
        };
        faults.push((until.min(end), Fault::Heal));
        at = until + random.between(5 * MINUTE, 60 * MINUTE);
    }
    if setup.faults.loss {
        for _ in 0..doses * 2 {
            let (at, who) = (span(&mut random), host(&mut random));
            faults.push((at, Fault::Loss(who, random.between(10, 1_000))));
        }
    }
    if setup.faults.slow {
        for _ in 0..doses {
            let (at, who) = (span(&mut random), host(&mut random));
            faults.push((at, Fault::Rate(who, random.between(10_000, 100_000))));
            faults.push(((at + random.between(MINUTE, 60 * MINUTE)).min(end), Fault::Rate(who, 2_500_000)));
        }
    }
    if setup.faults.skew {
        // Within max_future clocks differ all the time; beyond it, some for a while.
        for who in 0..setup.hosts {
            let bound = setup.params.max_future / 4;
            faults.push((0, Fault::Skew(who, random.between(0, 2 * bound) as i64 - bound as i64)));
        }
        for _ in 0..doses {
            let (at, who) = (span(&mut random), host(&mut random));
            let wrong = random.between(setup.params.max_future, 20 * setup.params.max_future) as i64;
            faults.push((at, Fault::Skew(who, if random.bit() { wrong } else { -wrong })));
            faults.push(((at + random.between(MINUTE, 20 * MINUTE)).min(end), Fault::Skew(who, 0)));
        }
    }
    faults.retain(|(at, _)| *at <= end);
    // Whole milliseconds, as scenario files have them.
    faults.iter_mut().for_each(|(at, _)| *at -= *at % MS);
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// What ends everything with the run's duration, after these faults.
pub fn closing(setup: &Setup, faults: &[(u64, Fault)], random: &Random) -> Vec<(u64, Fault)> {
    let (mut random, end) = (random.part("closing", 0), setup.duration);
    let any = |is: fn(&Fault) -> bool| faults.iter().any(|(_, fault)| is(fault));
    let lossy = any(|fault| matches!(fault, Fault::Loss(..)));
    let slowed = any(|fault| matches!(fault, Fault::Rate(..)));
    let skewed = any(|fault| matches!(fault, Fault::Skew(..)));
    let mut faults = vec![(end, Fault::Reform)];
    faults.push((end, Fault::Heal));
    for who in 0..setup.hosts {
        faults.push((end, Fault::Start(who)));
        if lossy {
            faults.push((end, Fault::Loss(who, 0)));
        }
        if slowed {
            faults.push((end, Fault::Rate(who, 2_500_000)));
        }
        if skewed {
            faults.push((end, Fault::Skew(who, random.below(2_000) as i64 - 1_000)));
        }
    }
    faults
}

/// Some of the hosts, at least one and not all.
fn side(hosts: usize, random: &mut Random) -> Vec<usize> {
    let mut all: Vec<usize> = (0..hosts).collect();
    random.shuffle(&mut all);
    all.truncate(random.between(1, (hosts as u64 - 1).max(1)) as usize);
    all.sort_unstable();
    all
}

impl World {
    /// Does a fault to the network.
    pub fn apply_fault(&mut self, fault: Fault) {
        self.trace.note(self.now, 0, Kind::Fault, format!("{fault:?}").as_bytes());
        let divides = matches!(fault, Fault::Split(_) | Fault::Mute(_));
        if divides || fault == Fault::Heal {
            self.split = divides;
        }
        let eclipsed = self.eclipsed.as_ref().map(|(victim, _)| *victim);
        if divides || fault == Fault::Heal || eclipsed.is_some_and(|victim| fault.hosts().contains(&victim)) {
            self.disturbed_at = self.now;
        }
        match fault {
            Fault::Crash(host) if self.now < self.setup.duration => self.cut_soon(host),
            Fault::Crash(_) => {}
            Fault::Stop(host) => self.stop_host(host),
            Fault::Start(host) => {
                // A cut that was still to come is one no more.
                self.hosts[host].cut_by = None;
                self.hosts[host].disk.spare();
                if !self.hosts[host].is_on() {
                    self.start_host(host);
                }
            }
            Fault::Split(side) => {
                self.counts.partitions += 1;
                self.block_between(&side, true);
            }
            Fault::Mute(side) => {
                self.counts.partitions += 1;
                self.block_between(&side, false);
            }
            Fault::Heal => {
                let blocked: Vec<(usize, usize)> = self.blocked.iter().copied().collect();
                for (from, to) in blocked {
                    self.set_blocked(from, to, false);
                }
            }
            Fault::Reform => {
                for host in 0..self.hosts.len() {
                    self.deviate(host, self.now, |deviant, node| deviant.end(node));
                    if self.hosts[host].deviant.is_some() {
                        self.count_deeds(host);
                        self.hosts[host].deviant = None;
                    }
                }
            }
            Fault::Loss(host, loss) => self.hosts[host].access.loss = loss,
            Fault::Skew(host, skew_ms) => {
                self.hosts[host].skew_ms = skew_ms;
                self.hosts[host].most_skew_ms = self.hosts[host].most_skew_ms.max(skew_ms);
                let start = self.hosts[host].starts;
                // Its deadlines are elsewhere now.
                if let Some(node) = self.hosts[host].node_mut() {
                    node.wake_at = self.now;
                    self.at(self.now, Event::Wake { host, start });
                }
            }
            Fault::Rate(host, rate) => self.hosts[host].access.rate = rate,
        }
    }

    fn block_between(&mut self, side: &[usize], both_ways: bool) {
        for from in side {
            for to in (0..self.hosts.len()).filter(|to| !side.contains(to)) {
                self.set_blocked(*from, to, true);
                if both_ways {
                    self.set_blocked(to, *from, true);
                }
            }
        }
    }
}
