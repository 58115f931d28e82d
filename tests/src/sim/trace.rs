//! The trace: one running hash over everything that happens, which two runs share if and only if they are the same run.

use sha2::{Digest, Sha256};

/// What happened. Its number goes into the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A host started; the work of its tip.
    Start = 1,
    /// A host lost power.
    Cut,
    /// A host was shut down.
    Stop,
    /// An engine was called; with what.
    Call,
    /// A host connected a block; its hash.
    Connected,
    /// A host disconnected a block; its hash.
    Disconnected,
    /// A connection was opened; the other end.
    Opened,
    /// A connection was closed; the other end.
    Closed,
    /// A message arrived; from whom, and its length.
    Arrived,
    /// A fault of the schedule began or ended; which.
    Fault,
}

/// A running SHA-256 over events.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    hasher: Sha256,
    events: u64,
}

impl Trace {
    /// Notes that something of this kind happened to a host at a time, with what tells it from others.
    pub fn note(&mut self, time: u64, host: usize, kind: Kind, detail: &[u8]) {
        self.events += 1;
        self.hasher.update(time.to_le_bytes());
        self.hasher.update((host as u64).to_le_bytes());
        self.hasher.update([kind as u8]);
        self.hasher.update((detail.len() as u64).to_le_bytes());
        self.hasher.update(detail);
    }

    /// How many events were noted.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The hash so far, in hex.
    pub fn hash(&self) -> String {
        hex::encode(self.hasher.clone().finalize())
    }
}
