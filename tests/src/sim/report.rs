//! What a run leads to.

use std::collections::BTreeMap;

use serde::Serialize;

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The checker that found it.
    pub checker: &'static str,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// At which host.
    pub host: usize,
    /// What was found.
    pub what: String,
}

/// What a run counted.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Blocks found.
    pub mined: u64,
    /// The height that all agree on at the end.
    pub height: u64,
    /// Reorganisations, at all hosts together.
    pub reorganisations: u64,
    /// The most blocks that one took back.
    pub deepest: u64,
    /// Payments that a host took.
    pub payments: u64,
    /// What became of those; nothing of a run that ended before all agreed for good.
    #[serde(flatten)]
    pub fates: Option<Fates>,
    /// Blocks that hosts found invalid when they met the state.
    pub invalidated: u64,
    /// Bans of adversaries.
    pub bans: u64,
    /// Power cuts.
    pub crashes: u64,
    /// Hosts shut down in order.
    pub stops: u64,
    /// Partitions of all kinds.
    pub partitions: u64,
    /// Messages that arrived.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Penalties against honest hosts, below a ban.
    pub penalties: u64,
    /// The most memory that one peer held at one host, in bytes.
    pub peer_bytes: u64,
    /// The time from the end of faults to agreement, in virtual milliseconds, if all agreed.
    pub agreed_after_ms: Option<u64>,
    /// What adversaries did, by the fault that names them: blocks that hostile peers worked for, blocks kept back, bodies and
    /// transactions not given, blocks made twice, old blocks told of as new, blocks misdated, minutes not mined, connections of
    /// sybils to their victim, chains of cheap headers, and spam payments.
    pub deeds: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Payments on the chain at the end, of a run that was whole.
    pub fn confirmed(&self) -> u64 {
        self.fates.map_or(0, |fates| fates.confirmed)
    }
}

/// What became of the payments that hosts took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Fates {
    /// On the chain at the end.
    pub confirmed: u64,
    /// Still waiting.
    pub waiting: u64,
    /// Made impossible by others of the same account, on purpose.
    pub superseded: u64,
    /// Made impossible by others of the same account, because a host that was behind named a nonce that was taken.
    pub overtaken: u64,
    /// Gone with the power of the one host that had them, or waiting for one that is.
    pub perished: u64,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Its seed, in hex.
    pub seed: String,
    /// How many hosts it had.
    pub hosts: usize,
    /// How long it lasted, in virtual milliseconds.
    pub virtual_ms: u64,
    /// How many events it had.
    pub events: u64,
    /// The hash of its trace.
    pub trace: String,
    /// What it counted.
    pub counts: Counts,
    /// What did not hold; the first ends a run.
    pub violation: Option<Violation>,
}
