//! The download window: which bodies are missing on the best chain of headers, and who is asked for which.
//!
//! *Specification.* The path leads from the first block after what is held to the best head. Within [`BODY_WINDOW`] blocks of
//! its start and [`BODY_WINDOW_BYTES`] of memory, missing bodies are asked of peers that say they hold them, each with
//! a share of [`BODIES_IN_FLIGHT`] that follows its measured speed. A request has a deadline; past it its blocks go to
//! others. The first missing body, for which all others wait, is asked of a second peer after [`STALL_MS`]. Where every peer
//! has failed to give it, the head counts as unavailable for a while and the next best is followed.
//!
//! *Reason.* A peer can delay by nothing more than its deadline: silence, slowness, junk and a header whose body is
//! withheld each cost one turn and leave the rest of the window running.

use std::collections::{BTreeMap, VecDeque};

use drystone_core::block::Body;
use drystone_core::hash::BlockHash;
use drystone_core::validation::{BlockError, CheckedBlock, check_header};

use crate::engine::limits::{
    BODIES_BYTES, BODIES_IN_FLIGHT, BODIES_MS, BODIES_PER_REQUEST, BODIES_RATE, BODY_REQUESTS, BODY_WINDOW,
    BODY_WINDOW_BYTES, LEAST_BODY, REFUSALS, REFUSED_REST_MS, STALL_MS, UNAVAILABLE_MS,
};
use crate::engine::message::{NetEvent, Origin, Output, PeerId, Reassignment};
use crate::engine::session::{Peer, Purpose, Task, Timer};
use crate::engine::sync::is_usable;
use crate::engine::verdict::{Offence, Refusal};
use crate::engine::wire::Request;
use crate::engine::work::Job;
use crate::engine::{Engine, Fault, Waiting};
use crate::store::HeaderRecord;

/// How fast a peer gives bodies.
#[derive(Debug)]
pub(in crate::engine) struct Pace {
    /// Bodies that were asked of it.
    in_flight: usize,
    /// Requests for them.
    requests: usize,
    /// How many may be: what it gives in about a second. It grows with every quick response and halves with every slow one,
    /// so a link that is long but wide gets as much as one that is short, and a narrow one little.
    share: usize,
    /// Bytes a second, a moving average: who is fast is asked first.
    rate: u64,
    /// Deadlines missed, one after the other, and until when it is not asked therefore.
    missed: u32,
    rests_until: u64,
    /// Requests refused, one after the other.
    refused: u32,
}

/// A block whose body is awaited.
#[derive(Debug)]
struct Slot {
    hash: BlockHash,
    height: u64,
    state: SlotState,
    /// Who has it not, or did not give it in time.
    failed: Vec<PeerId>,
}

#[derive(Debug)]
enum SlotState {
    Missing,
    /// Asked of these, the first at this time.
    Asked(u64, Vec<PeerId>),
    /// It is being checked; its bytes.
    Checking(usize),
    /// It waits for its predecessors.
    Ready(Box<CheckedBlock>, usize),
    /// It was on disk before.
    Held,
}

/// The missing part of the best chain of headers.
#[derive(Debug, Default)]
pub(in crate::engine) struct Window {
    path: VecDeque<Slot>,
    head: Option<HeaderRecord>,
    /// The path may not be the best any more.
    stale: bool,
    /// Heads whose bodies nobody gives.
    unavailable: BTreeMap<BlockHash, Unavailable>,
    /// The length of the longest body of late.
    longest: usize,
}

/// A head whose path nobody gives.
#[derive(Debug)]
struct Unavailable {
    /// Until when it is left alone.
    until: u64,
    /// The height of the body that is missing, and who was asked for it in vain.
    missing: u64,
    asked: Vec<PeerId>,
}

impl Window {
    /// A window whose path is still to be found.
    pub(in crate::engine) fn new() -> Window {
        Window { stale: true, ..Window::default() }
    }

    /// The path has to be found anew: a block of it is invalid or lost, or another head may be better.
    pub(in crate::engine) fn forget_path(&mut self) {
        self.stale = true;
    }

    /// The path has to be found anew, and what it led through may not be known any more. Bodies on their way find no place.
    pub(in crate::engine) fn clear_path(&mut self) {
        self.path.clear();
        self.head = None;
        self.stale = true;
    }

    /// The clock was set back.
    pub(in crate::engine) fn set_back(&mut self, by: u64) {
        self.unavailable.values_mut().for_each(|left| left.until = left.until.saturating_sub(by));
        for slot in &mut self.path {
            if let SlotState::Asked(since, _) = &mut slot.state {
                *since = since.saturating_sub(by);
            }
        }
    }

    /// The height of the head that the path leads to; 0 without one.
    pub(in crate::engine) fn head_height(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.height)
    }

    /// A peer says that its tip is `hash`: where that was left alone, it may give what others did not.
    pub(in crate::engine) fn reconsider(&mut self, hash: &BlockHash, id: &PeerId, peer: &Peer) {
        if self.unavailable.get(hash).is_some_and(|left| !left.asked.contains(id) && peer.holds(left.missing)) {
            self.unavailable.remove(hash);
            self.stale = true;
        }
    }

    /// How many blocks are known to be missing.
    pub(in crate::engine) fn missing(&self) -> usize {
        self.path.len()
    }

    /// Follows new headers: as a continuation of the path where they are one.
    pub(in crate::engine) fn extend(&mut self, fresh: &[HeaderRecord]) {
        let (Some(first), Some(last)) = (fresh.first(), fresh.last()) else { return };
        match self.head.filter(|_| !self.path.is_empty()) {
            Some(head) if head.hash == first.header.prev_hash => {
                self.path.extend(fresh.iter().map(|record| Slot::new(record.hash, record.height, SlotState::Missing)));
                self.head = Some(*last);
            }
            // A branch with less work is none to follow, and looking for the best costs a walk.
            Some(head) if head.work >= last.work => {}
            _ => self.stale = true,
        }
    }

    /// The next block, if it stands on `parent` and is ready.
    pub(in crate::engine) fn take_ready(&mut self, parent: &BlockHash) -> Option<Box<CheckedBlock>> {
        let front = self.path.front()?;
        let SlotState::Ready(block, _) = &front.state else { return None };
        if block.block().header.prev_hash != *parent {
            return None;
        }
        match self.path.pop_front()?.state {
            SlotState::Ready(block, _) => Some(block),
            _ => None,
        }
    }

    /// Whether the first block of the path is here.
    pub(in crate::engine) fn has_next(&self) -> bool {
        self.path.front().is_some_and(|slot| matches!(slot.state, SlotState::Ready(..) | SlotState::Held))
    }

    fn slot(&mut self, hash: &BlockHash) -> Option<&mut Slot> {
        self.path.iter_mut().find(|slot| slot.hash == *hash)
    }

    /// What bodies are expected to have, at most: for deadlines and for the room that they will take.
    fn expected_bytes(&self, max_block_bytes: u64) -> usize {
        self.longest.max((max_block_bytes / LEAST_BODY) as usize)
    }

    /// Memory that is taken or spoken for.
    fn bytes(&self, expected: usize) -> usize {
        let bytes = |slot: &Slot| match slot.state {
            SlotState::Asked(..) => expected,
            SlotState::Checking(bytes) | SlotState::Ready(_, bytes) => bytes,
            SlotState::Missing | SlotState::Held => 0,
        };
        self.path.iter().take(BODY_WINDOW).map(bytes).sum()
    }
}

impl Slot {
    fn new(hash: BlockHash, height: u64, state: SlotState) -> Slot {
        Slot { hash, height, state, failed: Vec::new() }
    }

    /// A peer will not give it. It is missing again unless others were asked as well.
    fn lose(&mut self, peer: PeerId, failed: bool) -> bool {
        let SlotState::Asked(_, peers) = &mut self.state else { return false };
        let before = peers.len();
        peers.retain(|other| *other != peer);
        let lost = peers.len() < before;
        if peers.is_empty() {
            self.state = SlotState::Missing;
        }
        if lost && failed && !self.failed.contains(&peer) {
            self.failed.push(peer);
        }
        lost
    }
}

impl Default for Pace {
    fn default() -> Pace {
        const UNKNOWN: usize = 2;
        Pace { in_flight: 0, requests: 0, share: UNKNOWN, rate: 0, missed: 0, rests_until: 0, refused: 0 }
    }
}

impl Pace {
    /// The clock was set back.
    pub(in crate::engine) fn set_back(&mut self, by: u64) {
        self.rests_until = self.rests_until.saturating_sub(by);
    }

    fn rests(&self, now: u64) -> bool {
        self.rests_until > now
    }

    fn measured(&mut self, bodies: usize, bytes: usize, took_ms: u64) {
        const QUICK_MS: u64 = 1_000;
        const SLOW_MS: u64 = 2_000;
        if took_ms <= QUICK_MS {
            self.share = (self.share + bodies).min(BODIES_IN_FLIGHT);
        } else if took_ms > SLOW_MS {
            self.share = (self.share / 2).max(1);
        }
        self.rate = (3 * self.rate + bytes as u64 * 1000 / took_ms.max(1)) / 4;
        (self.missed, self.refused) = (0, 0);
    }

    /// A deadline passed: it rests, for longer each time.
    fn missed(&mut self, now: u64) {
        const REST_MS: u64 = 10_000;
        self.missed += 1;
        self.rests_until = now + (REST_MS << self.missed.min(5));
        self.share = (self.share / 2).max(1);
        self.rate /= 2;
    }
}

impl Engine {
    /// Finds the path anew where it is stale. Only between updates: what an update holds is on no path.
    fn find_path(&mut self) -> Result<(), Fault> {
        let now = self.now;
        let left_alone = self.net.window.unavailable.len();
        self.net.window.unavailable.retain(|_, left| left.until > now);
        let head = self.net.window.head;
        self.net.window.stale |= self.net.window.unavailable.len() < left_alone;
        // A path that leads to less than the tip has is none.
        self.net.window.stale |= head.is_some_and(|head| head.work <= self.tip.work);
        if !self.net.window.stale || self.update.is_some() {
            return Ok(());
        }
        self.net.window.stale = false;
        let mut old: BTreeMap<BlockHash, Slot> =
            std::mem::take(&mut self.net.window.path).into_iter().map(|slot| (slot.hash, slot)).collect();
        self.net.window.head = None;
        for head in self.index.heads_above(self.tip.work) {
            if self.net.window.unavailable.contains_key(&head) {
                continue;
            }
            let Some(path) = self.path_to(&head, &mut old)? else { continue };
            if !path.is_empty() {
                self.net.window.head = Some(self.record(&head)?);
                self.net.window.path = path;
                break;
            }
        }
        Ok(())
    }

    /// The blocks from the main chain, or from a complete branch, up to a head, or nothing where one of them is invalid.
    fn path_to(
        &mut self,
        head: &BlockHash,
        old: &mut BTreeMap<BlockHash, Slot>,
    ) -> Result<Option<VecDeque<Slot>>, Fault> {
        let mut path = VecDeque::new();
        let mut record = self.record(head)?;
        while !self.branches.contains(&record.hash) && self.snapshot.main_hash(record.height)? != Some(record.hash) {
            if !is_usable(&record) {
                return Ok(None);
            }
            let slot = match old.remove(&record.hash) {
                Some(slot) => slot,
                None if self.snapshot.has_body(&record.hash)? => Slot::new(record.hash, record.height, SlotState::Held),
                None => Slot::new(record.hash, record.height, SlotState::Missing),
            };
            path.push_front(slot);
            record = self.record(&record.header.prev_hash)?;
        }
        Ok(Some(path))
    }

    /// Takes up the first block of the path, if it is here.
    pub(in crate::engine) fn take_next(&mut self) -> Result<(), Fault> {
        self.find_path()?;
        let Some(slot) = self.net.window.path.pop_front() else { return Ok(()) };
        match slot.state {
            SlotState::Ready(block, _) => self.take_block(Origin::Download, block),
            SlotState::Held => {
                let record = self.record(&slot.hash)?;
                self.link(&record)?;
                self.choose_chain()
            }
            state => {
                self.net.window.path.push_front(Slot { state, ..slot });
                Ok(())
            }
        }
    }

    /// Hands out requests for missing bodies to whoever has a share left.
    pub(in crate::engine) fn ask_for_bodies(&mut self) -> Result<(), Fault> {
        self.find_path()?;
        // What came another way, announced or handed in, is not missing any more.
        while let Some(slot) = self.net.window.path.front()
            && (self.branches.contains(&slot.hash) || self.snapshot.main_hash(slot.height)? == Some(slot.hash))
        {
            self.net.window.path.pop_front();
        }
        if self.net.window.path.is_empty() {
            return Ok(());
        }
        let now = self.now;
        self.race_for_first();
        // On a narrow link a page of headers takes long, and bodies behind it would miss their deadlines.
        let all_busy = self.net.ready().all(|(_, peer)| peer.headers.is_busy());
        // The fastest first: they get the blocks that are needed first.
        let mut peers: Vec<(u64, PeerId, usize)> = self
            .net
            .ready()
            .filter(|(_, peer)| !peer.pace.rests(now) && peer.pace.requests < BODY_REQUESTS)
            .filter(|(_, peer)| all_busy || !peer.headers.is_busy())
            .map(|(id, peer)| (peer.pace.rate, *id, peer.pace.share.saturating_sub(peer.pace.in_flight)))
            .filter(|(.., room)| *room > 0)
            .collect();
        peers.sort_by(|a, b| b.cmp(a));
        for (_, id, room) in peers {
            self.ask_peer_for_bodies(id, room);
        }
        self.notice_unavailable();
        Ok(())
    }

    fn ask_peer_for_bodies(&mut self, id: PeerId, room: usize) {
        let now = self.now;
        let window = &mut self.net.window;
        let expected = window.expected_bytes(self.params.max_block_bytes);
        let mut budget = BODY_WINDOW_BYTES.saturating_sub(window.bytes(expected));
        let most = room.min(BODIES_PER_REQUEST).min((BODIES_BYTES / expected.max(1)).max(1));
        let Some(peer) = self.net.peers.get(&id) else { return };
        let mut hashes = Vec::new();
        for (place, slot) in window.path.iter_mut().take(BODY_WINDOW).enumerate() {
            if hashes.len() >= most || (budget < expected && place > 0) {
                break;
            }
            let wanted = matches!(slot.state, SlotState::Missing);
            if wanted && peer.holds(slot.height) && !slot.failed.contains(&id) {
                slot.state = SlotState::Asked(now, vec![id]);
                hashes.push(slot.hash);
                budget = budget.saturating_sub(expected);
            }
        }
        self.send_for_bodies(id, hashes);
    }

    fn send_for_bodies(&mut self, id: PeerId, hashes: Vec<BlockHash>) {
        if hashes.is_empty() {
            return;
        }
        let expected = self.net.window.expected_bytes(self.params.max_block_bytes);
        if let Some(peer) = self.net.peers.get_mut(&id) {
            peer.pace.in_flight += hashes.len();
            peer.pace.requests += 1;
        }
        let patience = BODIES_MS + (hashes.len() * expected) as u64 * 1000 / BODIES_RATE;
        self.net.at(self.now + STALL_MS, Timer::Bodies);
        self.ask(id, Request::Bodies(hashes.clone()), Purpose::Bodies(hashes), patience);
    }

    /// Asks a second peer for the body that all others wait for.
    fn race_for_first(&mut self) {
        let now = self.now;
        let Some(slot) = self.net.window.path.front() else { return };
        let SlotState::Asked(since, asked) = &slot.state else { return };
        if now < since + STALL_MS || asked.len() > 1 {
            return;
        }
        let (hash, height, first, failed) = (slot.hash, slot.height, asked[0], slot.failed.clone());
        let second = self
            .net
            .draw(|id, peer| *id != first && peer.holds(height) && !failed.contains(id) && !peer.pace.rests(now));
        let Some(second) = second else { return };
        if let Some(Slot { state: SlotState::Asked(_, asked), .. }) = self.net.window.path.front_mut() {
            asked.push(second);
        }
        self.reassigned(first, hash, Reassignment::Stalled);
        self.send_for_bodies(second, vec![hash]);
    }

    /// Leaves the head alone for a while, if every peer has failed to give the first missing body.
    fn notice_unavailable(&mut self) {
        let (now, window) = (self.now, &mut self.net.window);
        let (Some(head), Some(slot)) = (window.head.map(|head| head.hash), window.path.front_mut()) else { return };
        // During an update the path is what it was, and its head may be left alone already.
        if window.stale || !matches!(slot.state, SlotState::Missing) {
            return;
        }
        let could = |(id, peer): (&PeerId, &Peer)| peer.holds(slot.height) && !slot.failed.contains(id);
        if self.net.peers.values().all(|peer| peer.status.is_none()) || self.net.peers.iter().any(could) {
            return;
        }
        let missing = slot.hash;
        let asked = std::mem::take(&mut slot.failed);
        for id in &asked {
            // Next time each may be busy for a while again.
            self.net.peers.get_mut(id).into_iter().for_each(|peer| peer.pace.refused = 0);
        }
        window.unavailable.insert(head, Unavailable { until: now + UNAVAILABLE_MS, missing: slot.height, asked });
        window.stale = true;
        self.net.at(now, Timer::Bodies);
        self.net.at(now + UNAVAILABLE_MS, Timer::Bodies);
        self.outputs.push(Output::Net(NetEvent::Unavailable { head, missing }));
    }

    pub(in crate::engine) fn take_bodies(
        &mut self,
        id: PeerId,
        asked_at: u64,
        hashes: &[BlockHash],
        bodies: Vec<Option<Body>>,
    ) -> Result<(), Fault> {
        if bodies.is_empty() || bodies.len() > hashes.len() {
            self.bodies_failed(id, hashes, Reassignment::Wrong);
            self.penalise(id, Offence::Unasked);
            return self.ask_for_bodies();
        }
        let bytes: usize = bodies.iter().flatten().map(Body::block_bytes).sum();
        if let Some(peer) = self.net.peers.get_mut(&id) {
            peer.pace.in_flight -= hashes.len();
            peer.pace.requests -= 1;
            peer.given.0 += bodies.iter().flatten().count() as u64;
            peer.given.1 += bytes as u64;
            if bytes > 0 {
                peer.pace.measured(bodies.len(), bytes, self.now.saturating_sub(asked_at));
            }
        }
        let given = bodies.len();
        for (hash, body) in hashes.iter().zip(bodies) {
            match body {
                Some(body) => self.take_body(id, hash, body)?,
                None => {
                    if self.net.window.slot(hash).is_some_and(|slot| slot.lose(id, true)) {
                        self.reassigned(id, *hash, Reassignment::NotHeld);
                    }
                }
            }
        }
        for hash in &hashes[given..] {
            if let Some(slot) = self.net.window.slot(hash) {
                slot.lose(id, false);
            }
        }
        if bytes > 0 {
            self.was_useful(&id);
        }
        self.ask_for_bodies()
    }

    /// Has a body checked, unless another peer was faster.
    fn take_body(&mut self, id: PeerId, hash: &BlockHash, body: Body) -> Result<(), Fault> {
        let bytes = body.block_bytes();
        let window = &mut self.net.window;
        window.longest = bytes.max(window.longest - window.longest / 16);
        let Some(slot) = window.slot(hash).filter(|slot| matches!(slot.state, SlotState::Asked(..))) else {
            return Ok(());
        };
        slot.state = SlotState::Checking(bytes);
        let record = self.record(hash)?;
        let header =
            check_header(record.header, &self.params).expect("a stored header was checked, and its hash is its key");
        self.give_out(Job::CheckBlock { header, height: record.height, body }, Task::Body(*hash, id));
        Ok(())
    }

    /// A downloaded body was checked.
    pub(in crate::engine) fn body_checked(
        &mut self,
        hash: BlockHash,
        id: PeerId,
        result: Result<Box<CheckedBlock>, BlockError>,
    ) -> Result<(), Fault> {
        let slot = self.net.window.slot(&hash).filter(|slot| matches!(slot.state, SlotState::Checking(_)));
        match (slot, result) {
            (Some(slot), Ok(block)) => {
                let SlotState::Checking(bytes) = slot.state else { return Ok(()) };
                slot.state = SlotState::Ready(block, bytes);
            }
            (slot, Err(BlockError::TxRoot { .. })) => {
                if let Some(slot) = slot {
                    slot.state = SlotState::Missing;
                    slot.failed.push(id);
                }
                self.reassigned(id, hash, Reassignment::Wrong);
                self.penalise(id, Offence::WrongBody);
            }
            (Some(_), Err(error @ (BlockError::Transaction { .. } | BlockError::TooLarge { .. }))) => {
                self.waiting.push_back(Waiting::Invalid(hash, Refusal::Block(error)));
            }
            (None, _) => {}
        }
        self.ask_for_bodies()
    }

    /// A request for bodies came to nothing.
    ///
    /// One that missed its deadline rests, and its bodies may be longer than thought: it is asked for them once more. What else it
    /// was asked for before it rested is late for the same reason. One that refuses is only busy, unless it refuses all the time.
    pub(in crate::engine) fn bodies_failed(&mut self, id: PeerId, hashes: &[BlockHash], reason: Reassignment) {
        let refused = reason == Reassignment::Refused;
        let late = reason == Reassignment::Deadline;
        let (now, mut failed) = (self.now, !refused);
        if let Some(peer) = self.net.peers.get_mut(&id) {
            let first = late && peer.pace.missed == 0;
            let with_it = late && !first && peer.pace.rests(now);
            failed &= !first && !with_it;
            peer.pace.in_flight -= hashes.len();
            peer.pace.requests -= 1;
            if refused {
                peer.pace.refused += 1;
                failed = peer.pace.refused > REFUSALS;
                peer.pace.rests_until = now + REFUSED_REST_MS;
            } else if !with_it {
                peer.pace.missed(now);
            }
            let rested = peer.pace.rests_until;
            self.net.at(rested, Timer::Bodies);
        }
        if late {
            let most = self.params.max_block_bytes as usize;
            self.net.window.longest = (2 * self.net.window.expected_bytes(self.params.max_block_bytes)).min(most);
        }
        for hash in hashes {
            if self.net.window.slot(hash).is_some_and(|slot| slot.lose(id, failed)) {
                self.reassigned(id, *hash, reason);
            }
        }
        self.net.at(self.now, Timer::Bodies);
    }

    fn reassigned(&mut self, peer: PeerId, hash: BlockHash, reason: Reassignment) {
        self.outputs.push(Output::Net(NetEvent::Reassigned { peer, hash, reason }));
    }
}
