//! What a run is made of: how many hosts, for how long, from which seed, with which faults, on which chain.

use std::fmt;
use std::str::FromStr;

use drystone_core::amount::Amount;
use drystone_core::genesis::dev_params;
use drystone_core::key::SecretKey;
use drystone_core::params::{Allocation, ChainKind, ChainParams};
use drystone_core::pow::{CompactTarget, Work};

use super::cost::TRANSACTION;
use super::faults::Fault;
use super::link::{CLOUDS, Regions};
use super::{MINUTE, MS, SECOND};

/// Accounts that genesis funds and that pay each other.
pub const ACCOUNTS: u8 = 24;
/// Who pays only to fill mempools.
pub const SPAMMER: u8 = 200;
/// Who pays only in blocks that nobody is shown.
pub const WITHHOLDER: u8 = 201;
/// What genesis gives each of them, in chips.
pub const ENDOWMENT: u64 = 1_000_000_000_000;
/// The most hosts of a network: each has a network group of its own.
const MAX_HOSTS: usize = 10_000;
/// The most hours of faults, a year.
const MAX_HOURS: u64 = 366 * 24;
/// The most hours of all hosts together: every fault is drawn before a run begins.
const MAX_HOST_HOURS: u64 = 1_000_000;

/// Defines [`Faults`] with the names of its fields.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Which faults happen, and which adversaries are about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Faults {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Faults {
            /// The names of all, as the command line has them.
            pub const NAMES: &[&str] = &[$(stringify!($name)),*];

            const fn each(on: bool) -> Faults {
                Faults { $($name: on),* }
            }

            fn get(&self) -> impl Iterator<Item = (bool, &'static str)> {
                [$((self.$name, stringify!($name))),*].into_iter()
            }

            fn named(&mut self, name: &str) -> Option<&mut bool> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

faults! {
    /// The power goes, writes that were not synced are lost, kept or torn, and comes back.
    crash,
    /// The network falls into two.
    partition,
    /// Links carry data in one direction only.
    oneway,
    /// A partition comes and goes.
    flap,
    /// Packets are lost.
    loss,
    /// Clocks are wrong.
    skew,
    /// Hosts leave for long and come back.
    churn,
    /// Links become slow.
    slow,
    /// Some more hosts do what they like, see [`Hostile`](super::hostile::Hostile).
    hostile,
    /// A miner keeps its blocks back, see [`Selfish`](super::deviant::Selfish).
    selfish,
    /// A miner hands out no bodies, see [`Withholding`](super::deviant::Withholding).
    withhold,
    /// A miner tells some of one block and others of its twin, see [`Equivocating`](super::deviant::Equivocating).
    equivocate,
    /// A node lies about its state and its tip, see [`Lying`](super::deviant::Lying).
    lie,
    /// A miner dates its blocks as late or as early as rules allow, see [`Misdating`](super::deviant::Misdating).
    misdate,
    /// A miner mines while that is easy, see [`Hopping`](super::deviant::Hopping).
    hop,
    /// Many hosts keep one to themselves, see [`Eclipse`](super::sybil::Eclipse).
    eclipse,
    /// A peer has headers without end, see [`HeaderSpam`](super::sybil::HeaderSpam).
    headers,
    /// A peer pays itself as often as it can, see [`PaymentSpam`](super::sybil::PaymentSpam).
    spam,
}

impl Faults {
    /// Every one.
    pub const ALL: Faults = Faults::each(true);
    /// No fault.
    pub const NONE: Faults = Faults::each(false);
}

impl Faults {
    /// The adversaries alone, which are there all the time.
    #[must_use]
    pub fn adversaries(self) -> Faults {
        let (crash, partition, oneway, flap) = (false, false, false, false);
        let (loss, skew, churn, slow) = (false, false, false, false);
        Faults { crash, partition, oneway, flap, loss, skew, churn, slow, ..self }
    }

    /// All but this one; nothing if it is not among them.
    pub fn without(mut self, name: &str) -> Option<Faults> {
        let fault = self.named(name).filter(|on| **on)?;
        *fault = false;
        Some(self)
    }
}

impl fmt::Display for Faults {
    /// As [`Faults::from_str`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Faults::ALL => return f.write_str("all"),
            Faults::NONE => return f.write_str("none"),
            _ => {}
        }
        let names: Vec<&str> = self.get().filter_map(|(on, name)| on.then_some(name)).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Faults, String> {
        let mut faults = match text {
            "all" => return Ok(Faults::ALL),
            "none" => return Ok(Faults::NONE),
            _ => Faults::NONE,
        };
        for name in text.split(',') {
            let fault = faults
                .named(name)
                .ok_or_else(|| format!("no fault {name:?}; give all, none, or some of {}", Faults::NAMES.join(",")))?;
            *fault = true;
        }
        Ok(faults)
    }
}

/// A run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What everything random comes from.
    pub seed: u64,
    /// How many hosts.
    pub hosts: usize,
    /// How long faults happen, in virtual microseconds; the liveness phase comes after it.
    pub duration: u64,
    /// Which faults happen.
    pub faults: Faults,
    /// What happens when, in place of what is drawn for these faults.
    pub schedule: Option<Vec<(u64, Fault)>>,
    /// The chain.
    pub params: ChainParams,
    /// One payment in this time, on average; none where it is 0.
    pub payment_every: u64,
    /// How many of the hosts, the first ones, mine.
    pub miners: usize,
    /// The least work that hosts keep a chain for.
    pub minimum_work: Work,
    /// How long after genesis the run begins, in milliseconds: late enough that no clock is before genesis, and that a cheap chain
    /// from genesis can be long.
    pub age_ms: u64,
    /// How many real transactions each simulated one stands for, on links and in the cost of work: so blocks are as large as
    /// real ones and are not built. The engine does not know: where its patience depends on sizes, it goes by the small ones.
    pub weight: u64,
    /// How long it takes to connect a transaction, in microseconds: [`TRANSACTION`], or less among few accounts.
    pub transaction_us: u64,
    /// Where hosts are.
    pub regions: &'static Regions,
    /// Whether ties between tips are decided by lot, in place of by which was seen first.
    pub ties_by_lot: bool,
    /// Whether hosts tell each other of payments. Where not, each has those that it is given, and those of blocks.
    pub relays_payments: bool,
}

impl Setup {
    /// A run on the simulator's own chain: a block every 30 s, a payment every 30 s.
    pub fn new(seed: u64, hosts: usize, duration: u64, faults: Faults) -> Setup {
        let miners = hosts.div_ceil(2);
        let (params, minimum_work, payment_every) = (network_params(), Work::ZERO, 30 * SECOND);
        let (schedule, age_ms, weight, regions, relays_payments) = (None, 48 * 3_600_000, 1, &CLOUDS, true);
        Setup {
            seed,
            hosts,
            duration,
            faults,
            schedule,
            params,
            payment_every,
            miners,
            minimum_work,
            age_ms,
            weight,
            transaction_us: TRANSACTION,
            regions,
            ties_by_lot: false,
            relays_payments,
        }
    }

    /// Says what is wrong with a run that is too large, or nothing.
    pub fn check(&self) -> Result<(), String> {
        let (hosts, hours) = (self.hosts as u64, self.duration.div_ceil(60 * MINUTE));
        if !(2..=MAX_HOSTS).contains(&self.hosts) {
            return Err(format!("a network has 2 to {MAX_HOSTS} nodes"));
        }
        if !(1..=MAX_HOURS).contains(&hours) {
            return Err("faults last a minute to a year".into());
        }
        if hosts * hours > MAX_HOST_HOURS {
            return Err(format!(
                "{hosts} nodes for {hours} hours are more than {MAX_HOST_HOURS} hours of all nodes together"
            ));
        }
        Ok(())
    }

    /// How long everything may take to agree once faults have stopped: connections are dialled anew within seconds, statuses
    /// go round in 30 s, a withheld head is left after a minute, addresses that failed rest for up to 8 minutes; and
    /// then blocks must come that break ties.
    pub fn liveness(&self) -> u64 {
        10 * MINUTE + 10 * self.params.interval * MS
    }

    /// How long after that every payment may take to be in a block. Each host compares its mempool with one peer a minute, so
    /// those that have a payment almost double: in six minutes some fifty hosts; and of ten blocks then, one comes from a
    /// miner that has it.
    pub fn drain(&self) -> u64 {
        6 * MINUTE + 10 * self.params.interval * MS
    }
}

/// The chain of scenes: rules like the main chain's, work so small that a nonce is found in a few tries, and funded accounts.
pub fn params() -> ChainParams {
    let interval = 30_000;
    ChainParams {
        name: "drystone-sim".into(),
        kind: ChainKind::Test,
        interval,
        response: 120 * interval,
        max_future: 2 * interval,
        maturity: 10,
        subsidy: Amount(2_000_000_000),
        halving_interval: 2_000,
        allocations: allocations((0..ACCOUNTS).chain([SPAMMER])),
        ..dev_params()
    }
}

/// The chain of networks that mine: it begins at 16 times the least difficulty, at which the hash rate keeps it, so that the
/// difficulty rule sets it and not the limit.
pub fn network_params() -> ChainParams {
    let allocations = allocations((0..ACCOUNTS).chain([SPAMMER, WITHHOLDER]));
    ChainParams { bits: CompactTarget(0x2007_ffff), allocations, ..params() }
}

fn allocations(indexes: impl Iterator<Item = u8>) -> Vec<Allocation> {
    let fund = |index| Allocation { account: SecretKey::dev(index).account(), amount: Amount(ENDOWMENT) };
    let mut allocations: Vec<Allocation> = indexes.map(fund).collect();
    allocations.sort();
    allocations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_one_and_faults_have_names() {
        assert_eq!(params().check(), Ok(()));
        assert_eq!(network_params().check(), Ok(()));
        assert_eq!("all".parse(), Ok(Faults::ALL));
        assert_eq!("none".parse(), Ok(Faults::NONE));
        assert_eq!("crash,skew".parse(), Ok(Faults { crash: true, skew: true, ..Faults::NONE }));
        for text in ["all", "none", "crash,skew"] {
            assert_eq!(text.parse::<Faults>().unwrap().to_string(), text);
        }
        assert!("crash,fire".parse::<Faults>().is_err());
    }
}
