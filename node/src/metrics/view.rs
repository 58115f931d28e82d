//! What the engine is like at one moment.

use super::instruments::Page;
use super::labels;
use crate::engine::Engine;
use crate::engine::counters::Counters;
use crate::engine::message::Direction;
use crate::engine::operator::Progress;
use drystone_core::amount::Amount;
use drystone_core::pow::Work;

/// What the engine is like at one moment.
pub struct View {
    progress: Progress,
    tip_time: u64,
    work: Work,
    mempool_transactions: usize,
    mempool_gapped: usize,
    mempool_bytes: u64,
    min_fee_rate: Amount,
    inbound: usize,
    outbound: usize,
    bans: usize,
    mining_threads: usize,
    counters: Counters,
}

impl View {
    /// Looks at the engine at the Unix time `now` in milliseconds. It reads no disk and nothing that grows with the chain.
    pub fn of(engine: &Engine, now: u64) -> View {
        let (tip, mempool) = (engine.tip(), engine.mempool());
        let peers = engine.peer_views();
        let ready = |direction| peers.iter().filter(|peer| peer.ready && peer.direction == direction).count();
        View {
            progress: engine.progress(),
            tip_time: tip.header.time,
            work: tip.work,
            mempool_transactions: mempool.len(),
            mempool_gapped: mempool.gapped_len(),
            mempool_bytes: mempool.bytes(),
            min_fee_rate: mempool.min_fee_rate(now),
            inbound: ready(Direction::Inbound),
            outbound: ready(Direction::Outbound),
            bans: engine.bans(now).len(),
            mining_threads: engine.mining().0,
            counters: engine.counters(),
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        self.write_chain(page);
        self.write_mempool(page);
        self.write_relay(page);
        let peers = [Direction::Inbound, Direction::Outbound].map(labels::direction);
        let peers = [(peers[0], self.inbound as u64), (peers[1], self.outbound as u64)];
        let help = "Connected peers that have shaken hands, by who opened the connection.";
        page.labelled_gauge("drystone_peers", help, "direction", &peers);
        page.gauge("drystone_bans", "Bans in force.", self.bans);
        page.gauge("drystone_mining_threads", "Threads that are set to mine.", self.mining_threads);
        page.counter("drystone_store_commits_total", "Commits to disk.", self.counters.commits);
    }

    fn write_chain(&self, page: &mut Page) {
        let Progress { height, headers, claimed, missing, syncing } = self.progress;
        page.gauge("drystone_chain_height", "The height of the tip.", height);
        page.gauge(
            "drystone_chain_headers_height",
            "The height up to which the best chain of headers is known.",
            headers,
        );
        page.gauge("drystone_chain_work_hashes", "The work of the main chain in expected hashes.", float(self.work));
        page.gauge(
            "drystone_chain_tip_time_seconds",
            "When the tip was made, in Unix time, as its producer says.",
            self.tip_time as f64 / 1000.0,
        );
        let syncing = u64::from(syncing);
        page.gauge("drystone_syncing", "1 on the way to the heaviest known chain or in repair, else 0.", syncing);
        page.gauge(
            "drystone_sync_missing_blocks",
            "Blocks of the best chain of headers whose bodies are missing.",
            missing,
        );
        // Unknown numbers are left out: nought would be a lie.
        if let Some(claimed) = claimed {
            let help = "The height that half of the peers say they have or more.";
            page.gauge("drystone_sync_claimed_height", help, claimed);
        }
        if let Some(part) = self.progress.per_mille() {
            let help = "How much of the chain is connected, from 0 to 1.";
            page.gauge("drystone_sync_progress_ratio", help, part as f64 / 1000.0);
        }
    }

    fn write_mempool(&self, page: &mut Page) {
        page.gauge(
            "drystone_mempool_transactions",
            "Waiting transactions that could be in the next blocks.",
            self.mempool_transactions,
        );
        page.gauge("drystone_mempool_bytes", "Their encoded length.", self.mempool_bytes);
        page.gauge(
            "drystone_mempool_gapped_transactions",
            "Transactions that wait for one of the same account with a lower nonce.",
            self.mempool_gapped,
        );
        page.gauge(
            "drystone_mempool_min_fee_rate",
            "The fee that a new transaction must pay at least, in chips for each 1,000 bytes.",
            self.min_fee_rate.0,
        );
    }

    fn write_relay(&self, page: &mut Page) {
        let counters = &self.counters;
        page.counter(
            "drystone_announcements_received_total",
            "Announcements of blocks that came by gossip.",
            counters.announcements_received,
        );
        page.labelled_counter(
            "drystone_announcements_judged_total",
            "What became of announcements that came by gossip.",
            "outcome",
            &[
                ("forwarded", counters.announcements_forwarded),
                ("ignored", counters.announcements_ignored),
                ("rejected", counters.announcements_rejected),
            ],
        );
        page.labelled_counter(
            "drystone_compact_blocks_total",
            "Announced blocks that were put together: from the mempool alone, with transactions that had to be asked for, \
             or from a whole body because the ids gave another block.",
            "from",
            &[
                ("mempool", counters.blocks_rebuilt),
                ("missing", counters.blocks_with_missing),
                ("whole", counters.blocks_fetched_whole),
            ],
        );
        page.counter(
            "drystone_missing_transactions_fetched_total",
            "Transactions of announced blocks that were asked for and came.",
            counters.missing_transactions_fetched,
        );
        page.counter(
            "drystone_relay_transactions_received_total",
            "Transactions that peers gave, by gossip or on request.",
            counters.transactions_received,
        );
        page.counter(
            "drystone_relay_transactions_admitted_total",
            "Those of them that were taken into the mempool.",
            counters.transactions_admitted,
        );
    }
}

/// The nearest floating-point number.
fn float(work: Work) -> f64 {
    work.to_le_bytes().iter().rev().fold(0.0, |number, byte| number * 256.0 + f64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_a_number_of_hashes() {
        assert_eq!((float(Work::ZERO), float(Work::from_hashes(258))), (0.0, 258.0));
        let most = Work::from_le_bytes([0xff; 32]);
        assert!((float(most) / 2f64.powi(256) - 1.0).abs() < 1e-9);
    }
}
