//! The one order of all queued transactions: templates read it from the front, eviction from the back.

use std::cmp::Reverse;

use super::fee::FeeRate;

/// Where a queued transaction stands; smaller is better.
///
/// The score is the minimum fee rate over the queue's prefix up to the transaction, because nothing in a queue can be
/// mined before what precedes it; the rank, which settles ties, is the latest arrival in the same prefix. Along a queue
/// the score never rises and the rank never falls, so with the nonce last every transaction stands behind its
/// predecessors: the front of the order is always a valid choice for a block, and its back always the tail of a queue.
/// A high fee at the end of a queue protects nothing before it, and a low one at its head pays for nothing behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    score: Reverse<FeeRate>,
    rank: u64,
    nonce: u64,
}

impl Place {
    /// The place of a transaction that pays `rate` and arrived as number `sequence`, behind its predecessor's.
    pub(super) fn behind(previous: Option<Place>, rate: FeeRate, sequence: u64, nonce: u64) -> Place {
        let score = previous.map_or(rate, |previous| rate.min(previous.score()));
        let rank = previous.map_or(sequence, |previous| sequence.max(previous.rank));
        Place { score: Reverse(score), rank, nonce }
    }

    /// The minimum fee rate over the prefix.
    pub(super) fn score(&self) -> FeeRate {
        self.score.0
    }

    /// The transaction's nonce.
    pub(super) fn nonce(&self) -> u64 {
        self.nonce
    }
}
