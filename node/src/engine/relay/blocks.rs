//! Compact blocks: from an announcement to a whole block, with what the mempool has and what a peer must still give.
//!
//! *Specification.* Work first, then the place. A block with at least the tip's work is put together once for each header:
//! from the mempool by short ids; what is missing is fetched from the sender, and after a round trip from a second peer as
//! well. If the transaction root matches, the announcement that the body gives is held against the one that came: equal, it is
//! forwarded; else its sender forged it. Up to [`ALTERNATIVES`] other announcements of the header wait: the first that is
//! the right one is forwarded, and if a sender fails, the next takes its place. When all fail, the header goes to the
//! index and its body is downloaded like any other.
//!
//! *Attack.* The header vouches for the body but not for the ids. Whoever forges ids on somebody's header makes peers ask
//! for transactions in vain, so the forger pays, the header is never marked, and at most one announcement of a header is
//! ever forwarded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use drystone_core::block::{Block, Body};
use drystone_core::hash::BlockHash;
use drystone_core::transaction::{MIN_TRANSACTION_BYTES, Transaction};
use drystone_core::validation::{
    BlockError, CheckedBlock, CheckedHeader, ContextFailure, check_header, check_header_in_context,
};

use super::{Sender, short_id_key};
use crate::engine::limits::{
    ALTERNATIVES, FETCH_MS, FUTURE_ANNOUNCEMENTS, RACE_MS, RACE_RATE, RECONSTRUCTIONS, SYNCING_BLOCKS, TOLD_MS,
    WAITING_INPUTS,
};
use crate::engine::message::{MessageId, Origin, Output, PeerId};
use crate::engine::session::{Peer, Purpose, Task, Timer};
use crate::engine::sync::{child_record, is_usable};
use crate::engine::verdict::{Disposition, Offence, Refusal, judge_offence};
use crate::engine::wire::{Announcement, Gossip, Request, ShortId, announce};
use crate::engine::work::{Job, Part};
use crate::engine::{Engine, Fault, Waiting};
use crate::store::HeaderRecord;

/// A block that is being put together.
pub(super) struct Building {
    /// Tells it from an earlier attempt at the same block, whose answers and jobs are void.
    number: u64,
    header: CheckedHeader,
    record: HeaderRecord,
    announcement: Announcement,
    sender: Sender,
    alternatives: VecDeque<(Sender, Announcement)>,
    stage: Stage,
}

/// How far it has come.
enum Stage {
    /// Transactions are missing: asked of the sender and perhaps a second peer.
    Fetching { parts: Vec<Option<Part>>, asked: Vec<PeerId> },
    /// All are here by the sender's word; whether they are the block's is being checked.
    Assembling,
    /// They are not: the sender's whole body is awaited, or being checked.
    Whole,
    /// They are: signatures are being checked. The announcement is out.
    Completing,
}

impl Building {
    /// Who announced it, as far as it is kept.
    fn senders(&self) -> impl Iterator<Item = &Sender> {
        std::iter::once(&self.sender).chain(self.alternatives.iter().map(|(sender, _)| sender))
    }

    /// The announcements of a peer that wait here.
    pub(super) fn alternatives(&self, id: &PeerId) -> impl Iterator<Item = &Announcement> {
        let waiting = self.alternatives.iter().filter(move |(sender, _)| sender.peer == *id);
        waiting.map(|(_, announcement)| announcement)
    }
}

/// What an announcement's header says of it.
enum Place {
    /// It is to be put together.
    Wanted(Box<(CheckedHeader, HeaderRecord)>),
    /// It is of no interest, or not yet; nobody is to blame.
    Unwanted,
    /// Its sender is to blame.
    Bad(Offence),
}

impl Engine {
    /// Hears of a block.
    pub(in crate::engine) fn take_announcement(
        &mut self,
        peer: PeerId,
        message: Option<MessageId>,
        announcement: Announcement,
    ) -> Result<(), Fault> {
        let sender = Sender { peer, message };
        match self.place_announcement(peer, &announcement)? {
            Place::Bad(offence) => self.reject(sender, offence),
            Place::Unwanted => self.ignore(sender),
            Place::Wanted(place) => {
                let (header, record) = *place;
                if self.net.relay.building.contains_key(&record.hash) {
                    self.wait_as_alternative(&record.hash, sender, announcement);
                } else if self.net.relay.building.len() >= RECONSTRUCTIONS {
                    self.ignore(sender);
                } else {
                    self.build(header, record, announcement, sender, VecDeque::new());
                }
            }
        }
        Ok(())
    }

    /// Keeps another announcement of a block that is being put together: of one address one, or an attacker's names take all
    /// places.
    fn wait_as_alternative(&mut self, hash: &BlockHash, sender: Sender, announcement: Announcement) {
        let Some(building) = self.net.relay.building.get(hash) else { return };
        let whose = self.net.whose(&sender.peer);
        let known = building.senders().any(|other| self.net.whose(&other.peer) == whose);
        let full = building.alternatives.len() >= ALTERNATIVES;
        if known || full || matches!(building.stage, Stage::Completing) {
            return self.ignore(sender);
        }
        if let Some(building) = self.net.relay.building.get_mut(hash) {
            building.alternatives.push_back((sender, announcement));
        }
    }

    fn place_announcement(&mut self, peer: PeerId, announcement: &Announcement) -> Result<Place, Fault> {
        let header = match check_header(announcement.header, &self.params) {
            Ok(header) => header,
            Err(error) => return Ok(Place::Bad(Refusal::from(error).into())),
        };
        let hash = header.hash();
        if let Some(right) = self.net.relay.announced(&hash) {
            return Ok(if right == announcement { Place::Unwanted } else { Place::Bad(Offence::ForgedAnnouncement) });
        }
        let known = self.index.get(&self.snapshot, &hash)?;
        if let Some(known) = known {
            self.peer_has(&peer, known.height, known.work);
        }
        let invalid = known.is_some_and(|known| !is_usable(&known));
        if invalid || self.snapshot.has_body(&hash)? || self.net.relay.has_failed(&hash, &peer) {
            return Ok(Place::Unwanted);
        }
        let Some(parent) = self.index.get(&self.snapshot, &header.header().prev_hash)? else {
            if let Some(peer) = self.net.peers.get_mut(&peer) {
                peer.headers.has_unknown();
            }
            self.consider_headers(peer)?;
            return Ok(Place::Unwanted);
        };
        if !is_usable(&parent) {
            return Ok(Place::Unwanted);
        }
        let context = self.index.context(&self.snapshot, &parent)?;
        let in_context = check_header_in_context(&header, &context, &self.params, self.now);
        if let Err(ContextFailure::Invalid(error)) = in_context {
            return Ok(Place::Bad(Refusal::from(error).into()));
        }
        let record = child_record(&header, &parent);
        if record.work < self.tip.work.max(self.minimum_work) {
            return Ok(Place::Unwanted);
        }
        if let Err(ContextFailure::NotYet { acceptable_at }) = in_context {
            self.keep_announcement(acceptable_at, hash, peer, announcement);
            return Ok(Place::Unwanted);
        }
        self.peer_has(&peer, record.height, record.work);
        let complete =
            self.branches.contains(&parent.hash) || self.snapshot.main_hash(parent.height)? == Some(parent.hash);
        if !complete {
            // Bodies below it are missing: it will be downloaded in its turn.
            if known.is_none() {
                self.keep_header(peer, record);
            }
            return Ok(Place::Unwanted);
        }
        Ok(Place::Wanted(Box::new((header, record))))
    }

    /// Keeps an announcement until its time; where too many wait, the one furthest ahead goes.
    fn keep_announcement(&mut self, due: u64, hash: BlockHash, peer: PeerId, announcement: &Announcement) {
        let future = &mut self.net.relay.future;
        if future.contains_key(&hash) {
            return;
        }
        future.insert(hash, (due, peer, announcement.clone()));
        self.net.at(due, Timer::Announcement(hash));
        let future = &mut self.net.relay.future;
        if future.len() > FUTURE_ANNOUNCEMENTS
            && let Some((due, hash)) = future.iter().map(|(hash, (due, ..))| (*due, *hash)).max()
        {
            future.remove(&hash);
            // Its time may be years ahead.
            self.net.not_at(due, Timer::Announcement(hash));
        }
    }

    pub(in crate::engine) fn take_due_announcement(&mut self, hash: BlockHash) -> Result<(), Fault> {
        match self.net.relay.future.remove(&hash) {
            Some((_, peer, announcement)) => self.take_announcement(peer, None, announcement),
            None => Ok(()),
        }
    }

    /// Starts to put a block together from what waits here.
    fn build(
        &mut self,
        header: CheckedHeader,
        record: HeaderRecord,
        announcement: Announcement,
        sender: Sender,
        alternatives: VecDeque<(Sender, Announcement)>,
    ) {
        let parts = self.parts_by_short_id(&record.hash, &announcement.ids);
        let (hash, stage, number) = (record.hash, Stage::Assembling, self.next_id());
        let building = Building { number, header, record, announcement, sender, alternatives, stage };
        self.net.relay.building.insert(hash, building);
        if parts.iter().all(Option::is_some) {
            self.counters.blocks_rebuilt += 1;
            self.assemble(hash, parts);
            return;
        }
        self.counters.blocks_with_missing += 1;
        self.fetch_missing(hash, parts, sender.peer);
    }

    /// What waits here by its short id. Where two share one, neither is taken.
    fn parts_by_short_id(&self, hash: &BlockHash, ids: &[ShortId]) -> Vec<Option<Part>> {
        let key = short_id_key(hash);
        let mut places: BTreeMap<ShortId, usize> = BTreeMap::new();
        for (place, id) in ids.iter().enumerate() {
            places.insert(*id, place);
        }
        let mut parts: Vec<Option<Part>> = vec![None; ids.len()];
        let mut taken = vec![false; ids.len()];
        for checked in self.mempool.all() {
            let Some(place) = places.get(&key.short_id(&checked.wire_id())) else { continue };
            let first = !std::mem::replace(&mut taken[*place], true);
            parts[*place] = first.then(|| Part::Checked(Box::new(checked.clone())));
        }
        parts
    }

    fn fetch_missing(&mut self, hash: BlockHash, parts: Vec<Option<Part>>, peer: PeerId) {
        let indexes = missing(&parts);
        if let Some(building) = self.net.relay.building.get_mut(&hash) {
            building.stage = Stage::Fetching { parts, asked: vec![peer] };
        }
        let bytes = indexes.len() as u64 * MIN_TRANSACTION_BYTES as u64;
        self.net.at(self.now + RACE_MS + bytes * 1_000 / RACE_RATE, Timer::Race(hash));
        self.ask_missing(peer, hash, indexes);
    }

    fn ask_missing(&mut self, peer: PeerId, hash: BlockHash, indexes: Vec<u32>) {
        let Some(number) = self.net.relay.building.get(&hash).map(|building| building.number) else { return };
        self.ask(peer, Request::BlockTransactions(hash, indexes), Purpose::Missing(hash, number), FETCH_MS);
    }

    /// The attempt at a block that this number names, if it is still under way.
    fn building(&mut self, hash: &BlockHash, number: u64) -> Option<&mut Building> {
        self.net.relay.building.get_mut(hash).filter(|building| building.number == number)
    }

    /// The sender takes longer than a round trip: somebody else is asked as well.
    pub(in crate::engine) fn race(&mut self, hash: BlockHash) {
        let Some(building) = self.net.relay.building.get(&hash) else { return };
        let Stage::Fetching { parts, asked } = &building.stage else { return };
        if asked.len() > 1 {
            return;
        }
        let (indexes, first, height) = (missing(parts), asked[0], building.record.height);
        // Best one that is known to hold it, and has another address; but who has just heard of it as well has had no time to say
        // so.
        let whose = self.net.whose(&first);
        let holds = |id: &PeerId, peer: &Peer| *id != first && peer.holds(height);
        let other = self.net.draw(|id, peer| holds(id, peer) && Some(peer.whose(id)) != whose);
        let holder = other.or_else(|| self.net.draw(holds));
        let Some(second) = holder.or_else(|| self.net.draw(|id, _| *id != first)) else { return };
        if let Some(Building { stage: Stage::Fetching { asked, .. }, .. }) = self.net.relay.building.get_mut(&hash) {
            asked.push(second);
        }
        self.ask_missing(second, hash, indexes);
    }

    pub(in crate::engine) fn take_missing(
        &mut self,
        peer: PeerId,
        hash: BlockHash,
        number: u64,
        transactions: Option<Vec<Transaction>>,
    ) -> Result<(), Fault> {
        let Some(building) = self.building(&hash, number) else { return Ok(()) };
        let Stage::Fetching { parts, .. } = &mut building.stage else { return Ok(()) };
        let Some(transactions) = transactions else {
            self.fetch_failed(peer, hash, number);
            return Ok(());
        };
        if transactions.len() != missing(parts).len() {
            self.penalise(peer, Offence::WrongBody);
            self.fetch_failed(peer, hash, number);
            return Ok(());
        }
        let count = transactions.len() as u64;
        let mut fetched = transactions.into_iter();
        let mut parts = std::mem::take(parts);
        for part in parts.iter_mut().filter(|part| part.is_none()) {
            *part = fetched.next().map(Part::Fetched);
        }
        self.counters.missing_transactions_fetched += count;
        self.was_useful(&peer);
        self.assemble(hash, parts);
        Ok(())
    }

    fn assemble(&mut self, hash: BlockHash, parts: Vec<Option<Part>>) {
        let Some(building) = self.net.relay.building.get_mut(&hash) else { return };
        building.stage = Stage::Assembling;
        let (header, reward_to, number) = (building.header, building.announcement.reward_to, building.number);
        let parts = parts.into_iter().flatten().collect();
        self.give_out(Job::Assemble { header, reward_to, parts }, Task::Assemble(hash, number));
    }

    /// The whole body came, because the announced ids gave another one.
    pub(in crate::engine) fn take_whole(
        &mut self,
        peer: PeerId,
        hash: BlockHash,
        number: u64,
        body: Option<Body>,
    ) -> Result<(), Fault> {
        let Some(building) = self.building(&hash, number) else { return Ok(()) };
        let Some(body) = body else {
            // Who announces a block has it.
            self.fetch_failed(peer, hash, number);
            return Ok(());
        };
        let (header, reward_to) = (building.header, body.reward_to);
        let parts = body.transactions.into_iter().map(|transaction| self.known_part(transaction)).collect();
        self.give_out(Job::Assemble { header, reward_to, parts }, Task::Assemble(hash, number));
        Ok(())
    }

    fn known_part(&self, transaction: Transaction) -> Part {
        match self.mempool.get_by_wire_id(&transaction.wire_id()) {
            Some(checked) => Part::Checked(Box::new(checked.clone())),
            None => Part::Fetched(transaction),
        }
    }

    /// Whether the transactions are the block's is known now.
    pub(in crate::engine) fn assembled(
        &mut self,
        hash: BlockHash,
        number: u64,
        assembled: Option<(Announcement, Vec<Part>)>,
    ) -> Result<(), Fault> {
        let most = self.params.max_block_bytes as usize;
        let Some(building) = self.building(&hash, number) else { return Ok(()) };
        let sender = building.sender;
        let Some((right, parts)) = assembled else {
            if matches!(building.stage, Stage::Whole) {
                self.reject(sender, Offence::WrongBody);
                // A ban that follows from it may have moved on to the next sender already.
                if self.building(&hash, number).is_some() {
                    self.next_sender(hash);
                }
                return Ok(());
            }
            // Two transactions with one short id, or a forgery: the whole body tells.
            building.stage = Stage::Whole;
            self.counters.blocks_fetched_whole += 1;
            if self.net.peers.contains_key(&sender.peer) {
                self.ask(sender.peer, Request::Bodies(vec![hash]), Purpose::Whole(hash, number), FETCH_MS);
            } else {
                self.fetch_failed(sender.peer, hash, number);
            }
            return Ok(());
        };
        let transactions = parts.iter().map(|part| part.transaction().clone()).collect();
        let body = Body { reward_to: right.reward_to, transactions };
        let (found, max) = (body.block_bytes() as u64, most as u64);
        if found > max {
            // These are its transactions and they are too many: the block is bad, and is not passed on.
            self.ignore(sender);
            return self.mark_built(hash, BlockError::TooLarge { max, found });
        }
        building.stage = Stage::Completing;
        let (header, height) = (building.header, building.record.height);
        let own = (sender, std::mem::replace(&mut building.announcement, right.clone()));
        let senders: Vec<(Sender, Announcement)> =
            std::iter::once(own).chain(std::mem::take(&mut building.alternatives)).collect();
        let mut forwarded = false;
        for (sender, announcement) in senders {
            if announcement != right {
                self.reject(sender, Offence::ForgedAnnouncement);
            } else if !forwarded && sender.message.is_some() {
                self.judge_message(sender, Disposition::Accept);
                self.was_useful(&sender.peer);
                forwarded = true;
            } else {
                self.ignore(sender);
            }
        }
        let reward_to = right.reward_to;
        if forwarded {
            self.net.relay.note(hash, right, Arc::new(body));
        }
        self.give_out(Job::Complete { header, height, reward_to, parts }, Task::Complete(hash, number));
        Ok(())
    }

    /// The signatures are checked: the block goes to be connected, or is marked.
    pub(in crate::engine) fn completed(
        &mut self,
        hash: BlockHash,
        number: u64,
        result: Result<Box<CheckedBlock>, BlockError>,
    ) -> Result<(), Fault> {
        let Some(building) = self.building(&hash, number) else { return Ok(()) };
        match result {
            Ok(block) => {
                let peer = building.sender.peer;
                self.net.relay.building.remove(&hash);
                if self.waiting.len() >= WAITING_INPUTS {
                    self.ask_later(peer);
                }
                self.enqueue(Origin::Peer(peer), Waiting::Block(Origin::Peer(peer), block));
                Ok(())
            }
            Err(error) => self.mark_built(hash, error),
        }
    }

    /// Its transactions are its own and break a rule, so no other body can be right: the block is marked.
    fn mark_built(&mut self, hash: BlockHash, error: BlockError) -> Result<(), Fault> {
        if let Some(building) = self.net.relay.building.remove(&hash)
            && self.keep_header(building.sender.peer, building.record)
            && self.waiting.len() < WAITING_INPUTS
        {
            self.waiting.push_back(Waiting::Invalid(hash, error.into()));
        }
        Ok(())
    }

    /// Has a header stored whose body is not here, once however many announce it, unless too much waits for the store already.
    fn keep_header(&mut self, peer: PeerId, record: HeaderRecord) -> bool {
        let is_it = |waiting: &Waiting| matches!(waiting, Waiting::Headers { records, page: false, .. } if records[..] == [record]);
        if self.waiting.iter().any(is_it) {
            return true;
        }
        let room = self.waiting.len() < WAITING_INPUTS;
        if room {
            self.waiting.push_back(Waiting::Headers { peer, records: vec![record], page: false });
        } else {
            self.ask_later(peer);
        }
        room
    }

    /// A block of a peer found no room: when there is some, the peer is asked for headers, as nobody announces it again.
    fn ask_later(&mut self, peer: PeerId) {
        if let Some(peer) = self.net.peers.get_mut(&peer) {
            peer.headers.has_unknown();
        }
    }

    /// A request for a block's transactions, or its body, came to nothing.
    pub(in crate::engine) fn fetch_failed(&mut self, peer: PeerId, hash: BlockHash, number: u64) {
        let Some(building) = self.building(&hash, number) else { return };
        match &mut building.stage {
            Stage::Fetching { asked, .. } => {
                asked.retain(|other| *other != peer);
                if !asked.is_empty() {
                    return;
                }
            }
            Stage::Whole if building.sender.peer == peer => {}
            _ => return,
        }
        let sender = building.sender;
        self.ignore(sender);
        self.net.relay.note_failure(hash, sender.peer);
        self.next_sender(hash);
    }

    /// Tries the next announcement of the block, or leaves its body to be downloaded.
    fn next_sender(&mut self, hash: BlockHash) {
        let Some(mut building) = self.net.relay.building.remove(&hash) else { return };
        while let Some((sender, announcement)) = building.alternatives.pop_front() {
            if self.net.peers.contains_key(&sender.peer) {
                let Building { header, record, alternatives, .. } = building;
                return self.build(header, record, announcement, sender, alternatives);
            }
        }
        self.keep_header(building.sender.peer, building.record);
    }

    /// A peer is gone, and with it what it announced.
    pub(in crate::engine) fn forget_announcements(&mut self, id: &PeerId) {
        for building in self.net.relay.building.values_mut() {
            building.alternatives.retain(|(sender, _)| sender.peer != *id);
        }
        for (hash, (due, ..)) in self.net.relay.future.extract_if(.., |_, (_, peer, _)| peer == id).collect::<Vec<_>>()
        {
            self.net.not_at(due, Timer::Announcement(hash));
        }
    }

    fn judge_message(&mut self, Sender { peer, message }: Sender, disposition: Disposition) {
        if let Some(message) = message {
            self.counters.judged_announcement(disposition);
            self.outputs.push(Output::Judge { peer, message, disposition });
        }
    }

    fn ignore(&mut self, sender: Sender) {
        self.judge_message(sender, Disposition::Ignore);
    }

    /// The sender should have known.
    fn reject(&mut self, sender: Sender, offence: Offence) {
        let blamed = judge_offence(&offence) > 0;
        self.judge_message(sender, if blamed { Disposition::Reject } else { Disposition::Ignore });
        self.penalise(sender.peer, offence);
    }

    /// Tells everybody of a block of this node's own.
    pub(in crate::engine) fn publish_block(&mut self, block: &Block) {
        let hash = block.header.hash();
        if self.net.relay.announced(&hash).is_some() {
            return;
        }
        let announcement = announce(block);
        self.net.relay.note(hash, announcement.clone(), Arc::new(block.body.clone()));
        self.outputs.push(Output::Publish(Gossip::Block(announcement)));
    }

    /// The tip is where it stays for now. If it did not come by gossip, those behind hear of it: after a partition this is how
    /// one peer's news becomes everybody's. An announcement reaches nobody who heard it lately and could not use it yet, nor whom
    /// only he would pass it on to, so they are told by a status as well.
    pub(in crate::engine) fn tip_settled(&mut self) -> Result<(), Fault> {
        self.consider_all_headers()?;
        self.ask_for_bodies()?;
        let (tip, syncing) = (self.tip, self.net.window.missing() > 0);
        if tip.height == 0 || syncing || self.net.relay.announced(&tip.hash).is_some() {
            return Ok(());
        }
        let behind = self.net.ready().filter(|(_, peer)| peer.work() < tip.work);
        let behind: Vec<PeerId> = behind.map(|(id, _)| *id).collect();
        if behind.is_empty() {
            return Ok(());
        }
        behind.into_iter().for_each(|id| self.poll_by(id, self.now + TOLD_MS));
        if let Some(body) = self.snapshot.body(&tip.hash)? {
            self.publish_block(&Block { header: tip.header, body });
        }
        Ok(())
    }

    /// Whether so much of the best chain is missing that what others gossip cannot be judged yet.
    pub(in crate::engine) fn is_syncing(&self) -> bool {
        self.net.window.missing() > SYNCING_BLOCKS
    }
}

/// The places of parts that are not here.
fn missing(parts: &[Option<Part>]) -> Vec<u32> {
    (0..).zip(parts).filter(|(_, part)| part.is_none()).map(|(index, _)| index).collect()
}
