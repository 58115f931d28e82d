//! What relay did since the start, in numbers that no output tells. They decide nothing.

use super::Engine;
use super::verdict::Disposition;

/// Counts since the start of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Announcements of blocks that came by gossip from peers that had shaken hands.
    pub announcements_received: u64,
    /// Those of them that were passed on.
    pub announcements_forwarded: u64,
    /// Those that were of no interest, or came too late.
    pub announcements_ignored: u64,
    /// Those whose sender was to blame.
    pub announcements_rejected: u64,
    /// Announced blocks whose transactions all waited here.
    pub blocks_rebuilt: u64,
    /// Announced blocks some of whose transactions had to be asked for.
    pub blocks_with_missing: u64,
    /// Announced blocks whose whole body had to be asked for, because the ids gave another one.
    pub blocks_fetched_whole: u64,
    /// Transactions of announced blocks that were asked for and came.
    pub missing_transactions_fetched: u64,
    /// Transactions that peers gave, by gossip or because they were asked.
    pub transactions_received: u64,
    /// Those of them that were taken into the mempool.
    pub transactions_admitted: u64,
    /// Commits of the store since it was opened.
    pub commits: u64,
}

impl Counters {
    /// Counts what became of an announcement.
    pub(super) fn judged_announcement(&mut self, disposition: Disposition) {
        let counter = match disposition {
            Disposition::Accept => &mut self.announcements_forwarded,
            Disposition::Ignore => &mut self.announcements_ignored,
            Disposition::Reject => &mut self.announcements_rejected,
        };
        *counter += 1;
    }
}

impl Engine {
    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        Counters { commits: self.store.commits(), ..self.counters }
    }
}
