//! Fork choice and chain updates: which chain is best, and the steps from the tip to it, one block at a time.
//!
//! A reorganisation is data, a [`ChainUpdate`]: blocks to disconnect, blocks to connect, one store transaction. It goes
//! forward by one block for each call of the engine; until it commits, readers see the old tip, and a crash leaves the old
//! tip or the new one. Only where what it gathers exceeds [`UPDATE_BYTES`](super::limits::UPDATE_BYTES) does it commit in
//! between, on a valid tip; start-up goes on from there, because it looks for the best chain again.

use std::collections::VecDeque;

use drystone_core::block::Body;
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::state::{Overlay, revert};
use drystone_core::transaction::Transaction;
use drystone_core::validation::{
    BlockContext, BlockError, CheckedBlock, CheckedTransaction, ConnectFailure, ConnectedBlock, Parent, check_block,
    check_header, check_transactions, connect_block, is_state_sound,
};

use super::limits::{UPDATE_BLOCKS, UPDATE_OPEN_MS};
use super::message::{Accepted, ChainEvent, Origin, Output};
use super::sync::is_usable;
use super::verdict::Refusal;
use super::{Engine, Fault, Waiting};
use crate::store::{HeaderRecord, Record, StoreError, Update, Validity};

/// One step of a chain update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Take the tip back.
    Disconnect,
    /// Put this block on the tip.
    Connect(BlockHash),
}

/// A chain update under way.
pub(super) struct ChainUpdate {
    store: Update,
    steps: VecDeque<Step>,
    /// The tip that readers see.
    from: HeaderRecord,
    /// The tip as far as the update has come.
    tip: HeaderRecord,
    disconnected: Vec<HeaderRecord>,
    connected: Vec<Joined>,
    /// Transactions of disconnected blocks, checked again, oldest block first.
    returned: Vec<CheckedTransaction>,
    /// The encoded length of all transactions in the two fields above.
    transaction_bytes: usize,
    /// A block that was handed in and needs no reading: the one of the next step.
    in_hand: Option<Box<CheckedBlock>>,
    /// Until when it stays open for blocks that are being downloaded.
    open_until: u64,
}

impl ChainUpdate {
    fn new(
        now: u64,
        store: Update,
        steps: VecDeque<Step>,
        tip: HeaderRecord,
        in_hand: Option<Box<CheckedBlock>>,
    ) -> ChainUpdate {
        ChainUpdate {
            store,
            steps,
            from: tip,
            tip,
            disconnected: Vec::new(),
            connected: Vec::new(),
            returned: Vec::new(),
            transaction_bytes: 0,
            in_hand,
            open_until: now + UPDATE_OPEN_MS,
        }
    }

    /// What the update has gathered in memory, by [`UPDATE_BYTES`](super::limits::UPDATE_BYTES)' count.
    fn bytes(&self) -> usize {
        let changes = self.store.changes();
        let state = 128 * changes.leaves.len() + 640 * changes.pages.len() + 64 * changes.history.len();
        state + self.transaction_bytes
    }
}

/// A block that was handed in and waits for its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Submission {
    pub(super) origin: Origin,
    pub(super) hash: BlockHash,
    pub(super) height: u64,
}

/// What is told of a block that joined the main chain.
struct Joined {
    record: HeaderRecord,
    txids: Vec<Txid>,
    transactions: Vec<Transaction>,
}

/// How one step ended.
enum Stepped {
    Done,
    /// The block broke a rule in a state that was found sound.
    Invalid(HeaderRecord, Refusal),
    /// The block's body on disk is not the one that was written.
    Lost(HeaderRecord),
}

impl Engine {
    /// Starts the update that the best known chain asks for, or ends what led here if the tip is best.
    pub(super) fn choose_chain(&mut self) -> Result<(), Fault> {
        let Some(branch) = self.best_branch()? else { return self.settle() };
        let fork = branch.first().map_or(self.tip.height, |first| first.height - 1);
        let back = (fork..self.tip.height).map(|_| Step::Disconnect);
        let forward = branch.iter().map(|record| Step::Connect(record.hash));
        let steps = back.chain(forward).collect();
        self.update = Some(ChainUpdate::new(self.now, self.store.begin()?, steps, self.tip, None));
        Ok(())
    }

    /// The tip is best: repair has ended, the saved mempool has its chain, and the submission that waits its answer.
    fn settle(&mut self) -> Result<(), Fault> {
        if !self.mempool_loaded && self.tip.work >= self.mempool_work {
            self.load_mempool()?;
        }
        self.end_repair();
        self.answer();
        self.tip_settled()
    }

    /// Starts the update that puts a block on the tip; header, body and state reach the disk in one transaction.
    pub(super) fn extend_chain(&mut self, record: HeaderRecord, block: Box<CheckedBlock>) -> Result<(), Fault> {
        let mut store = self.store.begin()?;
        store.insert_header(&record)?;
        let steps = VecDeque::from([Step::Connect(record.hash)]);
        self.update = Some(ChainUpdate::new(self.now, store, steps, self.tip, Some(block)));
        Ok(())
    }

    /// The blocks from the main chain up to the best block whose branch is held and not invalid, or nothing where the tip is
    /// best. First seen wins, unless [`Ties`](super::Ties) says otherwise: a branch needs strictly more work than the tip, and
    /// of equal branches, which repair meets on its way up, the one that was connected before is the one that was seen first.
    fn best_branch(&mut self) -> Result<Option<Vec<HeaderRecord>>, Fault> {
        while let Some(head) = self.branches.best_over(&self.tip) {
            let branch = self.usable_branch(&head)?;
            if branch.last().is_some_and(|top| top.hash == head) {
                return Ok(Some(branch));
            }
            self.branches.remove(&head);
        }
        Ok(None)
    }

    /// Looks anew for complete branches among all heads that have more work than the tip: at the start, and when what was
    /// known of bodies on disk is not true any more.
    pub(super) fn find_branches(&mut self) -> Result<(), Fault> {
        self.branches.clear();
        for head in self.index.heads_above(self.tip.work) {
            let mut complete = Vec::new();
            let mut record = self.record(&head)?;
            // What an earlier head led to is not walked again.
            while !self.branches.contains(&record.hash) && self.snapshot.main_hash(record.height)? != Some(record.hash)
            {
                if is_usable(&record) && self.snapshot.has_body(&record.hash)? {
                    complete.push(record);
                } else {
                    complete.clear();
                }
                record = self.record(&record.header.prev_hash)?;
            }
            complete.iter().rev().for_each(|record| self.branches.insert(record));
        }
        Ok(())
    }

    /// Notes a block beside the main chain whose body has come, if all below it is complete.
    pub(super) fn link(&mut self, record: &HeaderRecord) -> Result<bool, Fault> {
        let mut linked = Vec::new();
        let mut next = *record;
        while !self.branches.contains(&next.hash) && self.snapshot.main_hash(next.height)? != Some(next.hash) {
            if !is_usable(&next) || !self.snapshot.has_body(&next.hash)? {
                return Ok(false);
            }
            linked.push(next);
            next = self.record(&next.header.prev_hash)?;
        }
        linked.iter().rev().for_each(|record| self.branches.insert(record));
        Ok(true)
    }

    /// The blocks from the main chain toward a head, lowest first, as far as they are held and not invalid.
    fn usable_branch(&mut self, head: &BlockHash) -> Result<Vec<HeaderRecord>, Fault> {
        let mut branch = Vec::new();
        let Some(mut record) = self.index.get(&self.snapshot, head)? else { return Ok(branch) };
        while self.snapshot.main_hash(record.height)? != Some(record.hash) {
            if is_usable(&record) && self.snapshot.has_body(&record.hash)? {
                branch.push(record);
            } else {
                // Nothing above an unusable block can connect.
                branch.clear();
            }
            record = self.record(&record.header.prev_hash)?;
        }
        branch.reverse();
        Ok(branch)
    }

    /// Goes one block forward in the update under way, and commits at its end.
    pub(super) fn step_update(&mut self) -> Result<(), Fault> {
        let Some(mut update) = self.update.take() else { return Ok(()) };
        let stepped = match update.steps.pop_front() {
            Some(Step::Disconnect) => self.disconnect_tip(&mut update)?,
            Some(Step::Connect(hash)) => self.connect_next(&mut update, hash)?,
            None => Stepped::Done,
        };
        match stepped {
            Stepped::Done => {}
            Stepped::Invalid(record, refusal) => {
                // What the update has connected below it is good, and may be held nowhere else. A repair goes over blocks on
                // disk, and chooses anew, so that ties end as they did before.
                if self.repairing.is_none() && update.disconnected.is_empty() && !update.connected.is_empty() {
                    self.conclude(update)?;
                } else {
                    drop(update);
                }
                return self.invalidate(record, refusal);
            }
            Stepped::Lost(record) => {
                drop(update);
                return self.lose_body(&record);
            }
        }
        self.steps += 1;
        if update.steps.is_empty() && !self.lengthen(&mut update) && !self.stays_open(&update) {
            return self.finish_update(update);
        }
        if update.bytes() > self.update_bytes {
            update = self.commit_between(update)?;
        }
        self.update = Some(update);
        Ok(())
    }

    /// Whether an update only extends the chain and has room for another block.
    fn has_room(&self, update: &ChainUpdate) -> bool {
        let full = update.connected.len() >= UPDATE_BLOCKS || update.bytes() > self.update_bytes;
        !full && update.disconnected.is_empty()
    }

    /// Whether an update that has nothing to do waits for the next block of a long download in place of a commit of its own
    /// for every few. Whoever else wants the store, or a verdict, is not kept waiting.
    fn stays_open(&self, update: &ChainUpdate) -> bool {
        let save = self.save_at.is_some_and(|due| due <= self.now);
        let wanted = save || !self.waiting.is_empty() || self.is_future_due() || self.is_verdict_awaited();
        // Later than a whole wait from now is never due: the clock was set back.
        let open = (1..=UPDATE_OPEN_MS).contains(&update.open_until.saturating_sub(self.now));
        self.has_room(update) && self.is_syncing() && !self.net.window.has_next() && !wanted && open
    }

    /// Until when the update under way has nothing to do.
    pub(super) fn rests_until(&self) -> Option<u64> {
        let update = self.update.as_ref().filter(|update| update.steps.is_empty())?;
        self.stays_open(update).then_some(update.open_until)
    }

    /// Whether somebody waits for a verdict that comes after the update under way.
    fn is_verdict_awaited(&self) -> bool {
        let waiting = self.waiting.iter().filter_map(|waiting| match waiting {
            Waiting::Block(origin, _) | Waiting::Reconsider(origin, _) => Some(*origin),
            _ => None,
        });
        let submission = self.submission.map(|submission| submission.origin);
        waiting.chain(submission).any(|origin| origin.hears_verdict())
    }

    /// Puts the next downloaded block into an update that only extends the chain, so that one commit pays for many.
    fn lengthen(&mut self, update: &mut ChainUpdate) -> bool {
        if !self.has_room(update) || self.is_verdict_awaited() {
            return false;
        }
        let Some(block) = self.net.window.take_ready(&update.tip.hash) else { return false };
        update.steps.push_back(Step::Connect(block.hash()));
        update.in_hand = Some(block);
        true
    }

    fn disconnect_tip(&mut self, update: &mut ChainUpdate) -> Result<Stepped, Fault> {
        let tip = update.tip;
        let undo = update.store.undo(&tip.hash)?.ok_or(StoreError::Rotten(Record::Undo(tip.hash)))?;
        let body = update.store.body(&tip.hash)?.ok_or(StoreError::Rotten(Record::Body(tip.hash)))?;
        let parent = self.record(&tip.header.prev_hash)?;
        let view = Overlay { base: &*self.snapshot, changes: update.store.changes() };
        let (root, changes) = revert(&view, &undo, tip.height)?;
        if root != parent.header.state_root {
            return Err(Fault::state(format!("undoing block {} does not give its parent's state", tip.hash)));
        }
        update.store.disconnect(&tip.hash, changes)?;
        self.return_transactions(update, body, tip.height);
        update.disconnected.push(tip);
        update.tip = parent;
        Ok(Stepped::Done)
    }

    /// Keeps an abandoned block's transactions for the mempool. They were valid in their block; a body that rotted since
    /// loses its place in the mempool, nothing else.
    fn return_transactions(&self, update: &mut ChainUpdate, body: Body, height: u64) {
        let rules = self.params.rules_at(height);
        update.transaction_bytes += body.block_bytes();
        if let Ok(mut checked) = check_transactions(body.transactions, rules, &self.chain_id, &self.batch_secret) {
            checked.append(&mut update.returned);
            update.returned = checked;
        }
    }

    fn connect_next(&mut self, update: &mut ChainUpdate, hash: BlockHash) -> Result<Stepped, Fault> {
        let in_hand = update.in_hand.take().filter(|block| block.hash() == hash);
        let record = match update.store.header(&hash)? {
            Some(record) => record,
            None => return Err(StoreError::Rotten(Record::Header(hash)).into()),
        };
        let block = match in_hand {
            Some(block) => *block,
            None => match self.read_block(update, &record) {
                Ok(Ok(block)) => block,
                Ok(Err(refusal)) => return Ok(Stepped::Invalid(record, refusal)),
                Err(StoreError::Rotten(Record::Body(_))) => return Ok(Stepped::Lost(record)),
                Err(error) => return Err(error.into()),
            },
        };
        let parent = Parent { height: update.tip.height, hash: update.tip.hash, work: update.tip.work };
        let view = Overlay { base: &*self.snapshot, changes: update.store.changes() };
        let body = block.block().body.clone();
        let connected = match connect_block(block, &parent, &self.params, &view) {
            Ok(connected) => connected,
            Err(ConnectFailure::Ours(error)) => return Err(error.into()),
            Err(ConnectFailure::Invalid(error)) => {
                if is_state_sound(&view, &update.tip.header.state_root, &parent, &self.params, &body)? {
                    return Ok(Stepped::Invalid(record, error.into()));
                }
                return Err(Fault::state(format!("the state below block {hash} contradicts its header")));
            }
        };
        self.join(update, record, &connected)
    }

    fn join(
        &mut self,
        update: &mut ChainUpdate,
        record: HeaderRecord,
        connected: &ConnectedBlock,
    ) -> Result<Stepped, Fault> {
        update.store.connect(connected)?;
        let record = HeaderRecord { validity: Validity::Connected, ..record };
        update.transaction_bytes += connected.block().body.block_bytes();
        let transactions = connected.block().body.transactions.clone();
        let txids = transactions.iter().map(Transaction::txid).collect();
        update.connected.push(Joined { record, txids, transactions });
        update.tip = record;
        Ok(Stepped::Done)
    }

    /// Reads a block back from disk and checks it again: types say what was verified, and a disk verifies nothing.
    fn read_block(
        &self,
        update: &ChainUpdate,
        record: &HeaderRecord,
    ) -> Result<Result<CheckedBlock, Refusal>, StoreError> {
        let body = update.store.body(&record.hash)?.ok_or(StoreError::Rotten(Record::Body(record.hash)))?;
        let rotten = || StoreError::Rotten(Record::Header(record.hash));
        let header = check_header(record.header, &self.params).map_err(|_| rotten())?;
        let context = BlockContext {
            params: &self.params,
            chain_id: &self.chain_id,
            height: record.height,
            batch_secret: &self.batch_secret,
        };
        match check_block(header, body, &context) {
            Err(BlockError::TooLarge { .. } | BlockError::TxRoot { .. }) => {
                Err(StoreError::Rotten(Record::Body(record.hash)))
            }
            checked => Ok(checked.map_err(Refusal::from)),
        }
    }

    /// Forgets a body that rotted on disk and looks for the best chain that is held without it.
    fn lose_body(&mut self, record: &HeaderRecord) -> Result<(), Fault> {
        let mut store = self.store.begin()?;
        store.remove_body(record.height, &record.hash)?;
        store.commit()?;
        self.refresh_snapshot()?;
        self.outputs.push(Output::Event(ChainEvent::BodyLost { height: record.height, hash: record.hash }));
        self.net.window.forget_path();
        self.find_branches()?;
        self.choose_chain()
    }

    /// Commits a long update half-way and goes on with the rest.
    fn commit_between(&mut self, mut update: ChainUpdate) -> Result<ChainUpdate, Fault> {
        let steps = std::mem::take(&mut update.steps);
        self.conclude(update)?;
        Ok(ChainUpdate::new(self.now, self.store.begin()?, steps, self.tip, None))
    }

    fn finish_update(&mut self, update: ChainUpdate) -> Result<(), Fault> {
        self.conclude(update)?;
        if std::mem::take(&mut self.look_for_branches) {
            self.find_branches()?;
        }
        self.choose_chain()
    }

    /// Commits, moves the tip, and tells everybody.
    fn conclude(&mut self, update: ChainUpdate) -> Result<(), Fault> {
        let ChainUpdate { store, from, tip, disconnected, connected, returned, .. } = update;
        store.commit()?;
        // What was known before this update, by the snapshot that does not see it yet.
        let mut known = Vec::with_capacity(connected.len());
        for Joined { record, .. } in &connected {
            known.push(self.index.get(&self.snapshot, &record.hash)?.is_some());
        }
        self.refresh_snapshot()?;
        for (Joined { record, .. }, known) in connected.iter().zip(known) {
            if known {
                self.index.remember(*record);
            } else {
                let parent = self.record(&record.header.prev_hash)?;
                self.index.grow(*record, &parent);
            }
        }
        self.tip = tip;
        for Joined { record, .. } in &connected {
            self.branches.remove(&record.hash);
        }
        for record in disconnected.iter().rev() {
            self.branches.insert(record);
        }
        self.tell(&from, &disconnected, &connected);
        let confirmed: Vec<Transaction> = connected.into_iter().flat_map(|joined| joined.transactions).collect();
        self.update_mempool(&confirmed, returned)
    }

    fn tell(&mut self, from: &HeaderRecord, disconnected: &[HeaderRecord], connected: &[Joined]) {
        for HeaderRecord { height, hash, .. } in disconnected {
            self.outputs.push(Output::Event(ChainEvent::Disconnected { height: *height, hash: *hash }));
        }
        for Joined { record: HeaderRecord { height, hash, .. }, txids, .. } in connected {
            let own = self.submission.is_some_and(|known| known.origin == Origin::Own && known.hash == *hash);
            let event = ChainEvent::Connected { height: *height, hash: *hash, txids: txids.clone(), own };
            self.outputs.push(Output::Event(event));
        }
        if !disconnected.is_empty() {
            let depth = disconnected.len() as u64;
            self.outputs.push(Output::Event(ChainEvent::Reorganised { from: from.hash, to: self.tip.hash, depth }));
        }
    }

    /// Gives the submission that waits its verdict, by where its block stands now.
    fn answer(&mut self) {
        let Some(Submission { origin, hash, height }) = self.submission.take() else { return };
        let connected = self.snapshot.main_hash(height).is_ok_and(|main| main == Some(hash));
        let accepted = if connected { Accepted::Connected { height } } else { Accepted::Beside { height } };
        self.accept(origin, accepted);
    }
}
