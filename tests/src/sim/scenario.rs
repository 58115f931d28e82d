//! Scenarios as text: what a run is made of and what happens when, a line each, to be read, edited, run and shrunk.
//!
//! ```text
//! # Anything after a # is a remark.
//! seed 5eed
//! nodes 10
//! minutes 60
//! faults hostile,selfish
//! payments 30
//! at 120000 crash 3
//! at 180000 split 0,1,2
//! at 240000 heal
//! ```
//!
//! Times are virtual milliseconds. With any `at` line, nothing else of what [`faults::schedule`](super::faults) draws happens;
//! of the faults only those are left that are adversaries.

use std::fmt::{self, Write};
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::faults::{Fault, schedule};
use super::report::Violation;
use super::setup::{Faults, Setup};
use super::{MINUTE, MS, SECOND};
use crate::random::Random;

/// Above every number of a scenario that means something: in milliseconds, thirty years.
const MAX_NUMBER: u64 = 1_000_000_000_000;
/// Bytes a second of an access: with less than what is drawn at the least, messages still stand in line when all faults are over.
const RATES: RangeInclusive<i64> = 10_000..=1_000_000_000;
/// Milliseconds by which a clock may be wrong, as much as is drawn at the most: the blocks of one that is years ahead are never true.
const MAX_SKEW: i64 = 1_200_000;
/// So many characters of what is wrong are shown.
const SHOWN: usize = 80;

impl Setup {
    /// The same run with its schedule written out.
    #[must_use]
    pub fn spelt_out(self) -> Setup {
        let events = schedule(&self, &Random::new(self.seed));
        Setup { schedule: Some(events), faults: self.faults.adversaries(), ..self }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {:x}\nnodes {}\nminutes {}", self.seed, self.hosts, self.duration / MINUTE)?;
        writeln!(f, "faults {}\npayments {}", self.faults, self.payment_every / SECOND)?;
        self.schedule.iter().flatten().try_for_each(|(at, fault)| writeln!(f, "at {} {fault}", at / MS))
    }
}

impl FromStr for Setup {
    type Err = String;

    fn from_str(text: &str) -> Result<Setup, String> {
        let mut setup = Setup::new(0x5eed, 20, 60 * MINUTE, Faults::NONE);
        let mut events: Vec<(usize, u64, Fault)> = Vec::new();
        let mut given: Vec<&str> = Vec::new();
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let bad = |what: &str| format!("line {number}: {}: {:?}", start(what), start(line));
            let pair = line.split_once(char::is_whitespace).map(|(name, value)| (name, value.trim()));
            let (name, value) = pair.ok_or_else(|| bad("a name and a value are missing"))?;
            if given.contains(&name) {
                return Err(bad("given twice"));
            }
            if name != "at" {
                given.push(name);
            }
            let whole = || value.parse::<u64>().ok().filter(|n| *n < MAX_NUMBER).ok_or_else(|| bad("not a number"));
            match name {
                "seed" => setup.seed = seed(value).map_err(|what| bad(&what))?,
                "nodes" => {
                    setup.hosts = whole()? as usize;
                    setup.miners = setup.hosts.div_ceil(2);
                }
                "minutes" => setup.duration = whole()?.saturating_mul(MINUTE),
                "faults" => setup.faults = value.parse().map_err(|what: String| bad(&what))?,
                "payments" => setup.payment_every = whole()? * SECOND,
                "at" => {
                    let pair = value.split_once(char::is_whitespace);
                    let (at, fault) = pair.ok_or_else(|| bad("a time and a fault are missing"))?;
                    let at = at.parse::<u64>().ok().filter(|at| *at < MAX_NUMBER);
                    let at = at.ok_or_else(|| bad("not a time in milliseconds"))?;
                    events.push((number, at * MS, fault.parse().map_err(|what: String| bad(&what))?));
                }
                _ => return Err(bad("not one of seed, nodes, minutes, faults, payments, at")),
            }
        }
        if given.is_empty() && events.is_empty() {
            return Err("there is nothing in it".into());
        }
        setup.check()?;
        if let Some((number, at, _)) = events.iter().find(|(_, at, _)| *at > setup.duration) {
            let minutes = setup.duration / MINUTE;
            return Err(format!("line {number}: {} ms is after the {minutes} minutes of faults", at / MS));
        }
        let unknown = |fault: &Fault| fault.hosts().iter().copied().find(|host| *host >= setup.hosts);
        if let Some((number, host)) = events.iter().find_map(|(number, _, fault)| Some((number, unknown(fault)?))) {
            return Err(format!("line {number}: there are {} nodes, numbered from 0, and no {host}", setup.hosts));
        }
        events.sort_by_key(|(_, at, _)| *at);
        let events: Vec<(u64, Fault)> = events.into_iter().map(|(_, at, fault)| (at, fault)).collect();
        setup.schedule = (!events.is_empty()).then_some(events);
        Ok(setup)
    }
}

/// The first characters of a text.
fn start(text: &str) -> &str {
    text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end])
}

/// Reads a seed: up to 16 hex digits, with or without 0x before them.
pub fn seed(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let plain = digits.chars().all(|digit| digit.is_ascii_hexdigit());
    let number = u64::from_str_radix(digits, 16).ok().filter(|_| plain);
    number.ok_or_else(|| "a seed is up to 16 hex digits".into())
}

impl fmt::Display for Fault {
    /// As [`Fault::from_str`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |hosts: &[usize]| hosts.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        match self {
            Fault::Crash(host) => write!(f, "crash {host}"),
            Fault::Stop(host) => write!(f, "stop {host}"),
            Fault::Start(host) => write!(f, "start {host}"),
            Fault::Split(side) => write!(f, "split {}", list(side)),
            Fault::Mute(side) => write!(f, "mute {}", list(side)),
            Fault::Heal => f.write_str("heal"),
            Fault::Reform => f.write_str("reform"),
            Fault::Loss(host, loss) => write!(f, "loss {host} {loss}"),
            Fault::Skew(host, skew) => write!(f, "skew {host} {skew}"),
            Fault::Rate(host, rate) => write!(f, "rate {host} {rate}"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        const KINDS: &str = "crash, stop, start HOST; split, mute HOST,HOST…; heal; reform; loss HOST PER_10000; skew HOST MS; \
                             rate HOST BYTES_PER_SECOND";
        let bad = || format!("not a fault; give one of: {KINDS}");
        let words: Vec<&str> = text.split_whitespace().collect();
        let host = |text: &str| text.parse::<usize>().map_err(|_| bad());
        let hosts = |text: &str| text.split(',').map(host).collect::<Result<Vec<_>, _>>();
        let within = |text: &str, range: RangeInclusive<i64>| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("the last number is not from {} to {}", range.start(), range.end()))
        };
        Ok(match words[..] {
            ["crash", who] => Fault::Crash(host(who)?),
            ["stop", who] => Fault::Stop(host(who)?),
            ["start", who] => Fault::Start(host(who)?),
            ["split", side] => Fault::Split(hosts(side)?),
            ["mute", side] => Fault::Mute(hosts(side)?),
            ["heal"] => Fault::Heal,
            ["reform"] => Fault::Reform,
            ["loss", who, loss] => Fault::Loss(host(who)?, within(loss, 0..=10_000)?.unsigned_abs()),
            ["skew", who, skew] => Fault::Skew(host(who)?, within(skew, -MAX_SKEW..=MAX_SKEW)?),
            ["rate", who, rate] => Fault::Rate(host(who)?, within(rate, RATES)?.unsigned_abs()),
            _ => return Err(bad()),
        })
    }
}

/// Makes a run that fails as small as it gets: without events, adversaries, payments, hosts and minutes that the failure does
/// not need. `fails` runs a setup and gives its violation; the same checker must find it again (delta debugging: Zeller and
/// Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).
///
/// What is left is no smaller cause in general, only one from which nothing single can be taken away.
pub fn shrink(setup: Setup, mut fails: impl FnMut(&Setup) -> Option<Violation>) -> Option<(Setup, Violation)> {
    let mut smallest = setup.spelt_out();
    let mut violation = fails(&smallest)?;
    let checker = violation.checker;
    let mut better = |candidate: Setup, smallest: &mut Setup| match fails(&candidate) {
        Some(found) if found.checker == checker => {
            (*smallest, violation) = (candidate, found);
            true
        }
        _ => false,
    };
    loop {
        let before = smallest.to_string();
        // Adversaries and payments.
        for name in Faults::NAMES {
            if let Some(faults) = smallest.faults.without(name) {
                better(Setup { faults, ..smallest.clone() }, &mut smallest);
            }
        }
        if smallest.payment_every > 0 {
            better(Setup { payment_every: 0, ..smallest.clone() }, &mut smallest);
        }
        // Events: large parts first, then single ones.
        let mut size = smallest.schedule.as_ref().map_or(0, Vec::len).div_ceil(2);
        while size > 0 {
            let mut from = 0;
            while let Some(events) = smallest.schedule.as_ref().filter(|events| from < events.len()) {
                let mut fewer = events.clone();
                fewer.drain(from..(from + size).min(fewer.len()));
                if !better(Setup { schedule: Some(fewer), ..smallest.clone() }, &mut smallest) {
                    from += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        // Hosts and minutes.
        for hosts in [smallest.hosts / 2, smallest.hosts - 1] {
            let fits = |(_, fault): &(u64, Fault)| fault.hosts().iter().all(|host| *host < hosts);
            if hosts >= 2 && hosts < smallest.hosts && smallest.schedule.iter().flatten().all(fits) {
                // As many as the file that is written leads to.
                let miners = hosts.div_ceil(2);
                better(Setup { hosts, miners, ..smallest.clone() }, &mut smallest);
            }
        }
        for duration in [smallest.duration / 2, smallest.duration - MINUTE.min(smallest.duration)] {
            let duration = duration / MINUTE * MINUTE;
            let last = smallest.schedule.iter().flatten().map(|(at, _)| *at).max().unwrap_or(0);
            if (1..smallest.duration).contains(&duration) && last <= duration {
                better(Setup { duration, ..smallest.clone() }, &mut smallest);
            }
        }
        if smallest.to_string() == before {
            return Some((smallest, violation));
        }
    }
}

/// A scenario file for a violation, with what it leads to.
pub fn explained(setup: &Setup, violation: &Violation) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "# {} at {} ms at node {}: {}\n{setup}",
        violation.checker, violation.at_ms, violation.host, violation.what
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::checkers::Report;
    use crate::sim::world::World;

    #[test]
    fn a_scenario_is_read_as_it_is_written() {
        let setup = Setup::new(0xfeed, 7, 90 * MINUTE, Faults::ALL).spelt_out();
        let text = setup.to_string();
        let read: Setup = text.parse().unwrap();
        assert_eq!(read.to_string(), text);
        assert_eq!(read.schedule, setup.schedule);
        let faults =
            ["split 0,1", "mute 2", "heal", "reform", "loss 1 5", "skew 0 -7", "rate 3 90000", "stop 1", "start 1"];
        for fault in faults {
            assert_eq!(fault.parse::<Fault>().unwrap().to_string(), fault);
        }
        let spaced: Setup = "\u{feff}seed  0x5\r\n\nnodes\t7 # some\r\nat  5   crash  6".parse().unwrap();
        assert_eq!(spaced.to_string(), "seed 5\nnodes 7\nminutes 60\nfaults none\npayments 30\nat 5 crash 6\n");
        for bad in [
            "",
            "# nothing",
            "seed",
            "seed xyz",
            "seed +5",
            "seed 0x0x5",
            "seed 10000000000000000",
            "seed 5\nseed 6",
            "nodes 1",
            "nodes 10001",
            "minutes 0",
            "minutes 999999999999",
            "nodes 10000\nminutes 6060",
            "at 1 rate 0 9999",
            "at 1 rate 0 1000000001",
            "at 1 loss 0 10001",
            "at 1 loss 0 -1",
            "at 1 skew 0 -1200001",
            "at 3600001 heal",
            "at 5",
            "at 5 burn 3",
            "nodes 3\nat 5 crash 3",
            "colour 3",
            "faults fire",
        ] {
            assert!(bad.parse::<Setup>().is_err(), "{bad}");
        }
        for long in ["faults x", "at 1 split 77", "at 1 rate 0 7", "colour 7"] {
            let long = long.to_owned() + &",7".repeat(10_000);
            assert!(long.parse::<Setup>().is_err_and(|error| error.len() < 400), "{long:.20}");
        }
    }

    #[test]
    fn a_written_out_run_is_the_same_run() {
        for faults in ["all", "none", "crash", "loss", "slow", "skew"] {
            let setup = Setup::new(0xabc, 5, 20 * MINUTE, faults.parse().unwrap());
            let written: Setup = setup.clone().spelt_out().to_string().parse().unwrap();
            assert_eq!(World::new(setup).run(None).trace, World::new(written).run(None).trace, "{faults}");
        }
    }

    /// Whoever starts for the second time is said to have lost work: two hosts, one crash.
    #[test]
    fn a_failure_shrinks_to_what_it_needs() {
        let fails = |setup: &Setup| {
            let mut world = World::new(setup.clone());
            world.checkers.plant = Some(Box::new(|report| {
                if let Report::Restarted { host: 1, height, work } = report
                    && *height > 0
                {
                    *work = Default::default();
                }
            }));
            world.run(None).violation
        };
        let faults = Faults { crash: true, loss: true, skew: true, lie: true, ..Faults::NONE };
        let setup = Setup::new(0xcafe, 4, 60 * MINUTE, faults);
        let (small, violation) = shrink(setup, fails).expect("it fails");
        println!("{}", explained(&small, &violation));
        assert_eq!(violation.checker, "durability");
        let events = small.schedule.as_ref().unwrap();
        assert!(matches!(events[..], [(_, Fault::Crash(1) | Fault::Stop(1))]), "{events:?}");
        assert_eq!((small.hosts, small.faults.lie), (2, false));
        // The file is the run.
        let read: Setup = explained(&small, &violation).parse().unwrap();
        assert_eq!(fails(&read), Some(violation));
    }
}
