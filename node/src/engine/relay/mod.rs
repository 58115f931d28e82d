//! Relay: what is passed on to everybody, and how blocks travel in brief.

mod blocks;
mod short_id;
mod transactions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use drystone_core::block::Body;
use drystone_core::hash::{BlockHash, Txid};

use super::limits::{ANNOUNCED_BLOCKS, FAILED_SENDERS, RECENT_BLOCKS};
use super::message::{MessageId, PeerId};
use super::wire::Announcement;
use blocks::Building;
pub(super) use short_id::short_id_key;

/// What relay remembers.
#[derive(Default)]
pub(super) struct Relay {
    /// Blocks that are being put together, by their hash.
    building: BTreeMap<BlockHash, Building>,
    /// Bodies that were announced and may not be in the store yet.
    recent: VecDeque<(BlockHash, Arc<Body>)>,
    /// The one right announcement of each block that was passed on lately.
    announced: VecDeque<(BlockHash, Announcement)>,
    /// Who announced which block and then gave nothing of it: not listened to about that block again.
    failed: VecDeque<(BlockHash, PeerId)>,
    /// Announcements from the future, until their time comes.
    future: BTreeMap<BlockHash, (u64, PeerId, Announcement)>,
    /// Transactions that the next batch publishes, in this order.
    batch: Vec<Txid>,
    batch_due: bool,
    /// With whom mempools are still to be compared since a reorganisation gave back transactions.
    offering: Vec<PeerId>,
    /// This node's own transactions, by when they are published again.
    own: BTreeMap<Txid, u64>,
}

impl Relay {
    /// Bodies that a peer may ask for before they are in the store.
    pub(super) fn recent(&self) -> impl Iterator<Item = &(BlockHash, Arc<Body>)> {
        self.recent.iter()
    }

    /// Whether a block's transactions are at hand, not on disk.
    pub(super) fn is_recent(&self, hash: &BlockHash) -> bool {
        self.recent.iter().any(|(recent, _)| recent == hash)
    }

    /// The clock was set back.
    pub(super) fn set_back(&mut self, by: u64) {
        self.own.values_mut().for_each(|due| *due = due.saturating_sub(by));
        self.future.values_mut().for_each(|(due, ..)| *due = due.saturating_sub(by));
    }

    fn announced(&self, hash: &BlockHash) -> Option<&Announcement> {
        self.announced.iter().find(|(announced, _)| announced == hash).map(|(_, announcement)| announcement)
    }

    fn note_failure(&mut self, hash: BlockHash, peer: PeerId) {
        self.failed.push_back((hash, peer));
        if self.failed.len() > FAILED_SENDERS {
            self.failed.pop_front();
        }
    }

    fn has_failed(&self, hash: &BlockHash, peer: &PeerId) -> bool {
        self.failed.iter().any(|(block, sender)| (block, sender) == (hash, peer))
    }

    /// Notes the right announcement of a block, and its body for those who will ask.
    fn note(&mut self, hash: BlockHash, announcement: Announcement, body: Arc<Body>) {
        self.announced.push_back((hash, announcement));
        if self.announced.len() > ANNOUNCED_BLOCKS {
            self.announced.pop_front();
        }
        self.recent.push_back((hash, body));
        if self.recent.len() > RECENT_BLOCKS {
            self.recent.pop_front();
        }
    }

    /// The memory that a peer's waiting announcements take, in bytes.
    pub(super) fn announcement_bytes(&self, id: &PeerId) -> usize {
        let waiting = self.building.values().flat_map(|building| building.alternatives(id));
        let future = self.future.values().filter(|(_, peer, _)| peer == id).map(|(.., announcement)| announcement);
        waiting.chain(future).map(|announcement| 160 + 6 * announcement.ids.len()).sum()
    }
}

/// A sender of an announcement, with the gossip message that waits for its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sender {
    peer: PeerId,
    message: Option<MessageId>,
}
