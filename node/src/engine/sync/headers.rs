//! Headers from peers: checked page by page, and stored only once their chain is known to have enough work.
//!
//! *Specification.* A page that ends with enough work ([`Engine::kept_work`]) is stored. Otherwise the peer's chain is
//! counted: a first pass checks every header and keeps nothing but the hash that each full page ends with. Once it reaches
//! enough work, a second pass asks for the same pages again, holds each against its hash, and stores it. Else it is dropped.
//!
//! *Reason.* At the lowest difficulty a million headers cost an attacker seconds, and stored they would stay for ever. Since
//! headers name their parents, the last hash of a page vouches for the whole page, so the second pass can be no other
//! chain (Bitcoin Core's `headerssync.h` has the idea; it keeps a bit for each few hundred headers instead).

use drystone_core::block::Header;
use drystone_core::hash::BlockHash;
use drystone_core::pow::Work;
use drystone_core::validation::{CheckedHeader, ContextFailure, check_header, check_header_in_context};
use rand_chacha::rand_core::Rng;

use crate::engine::limits::{
    COUNTED_PAGE_MS, COUNTED_PAGES, COUNTING_PEERS, HEADER_PEERS, HEADERS_AHEAD, HEADERS_MS, HEADERS_PER_RESPONSE,
    HEADERS_REST_MS, KEPT_TIP_WORKS, LOCATOR_HASHES,
};
use crate::engine::message::{Direction, NetEvent, Output, PeerId};
use crate::engine::session::{Peer, Purpose, Timer};
use crate::engine::verdict::Offence;
use crate::engine::wire::Request;
use crate::engine::{Engine, Fault, Waiting};
use crate::store::{HeaderRecord, StoreError, Validity};

/// How far header synchronisation with one peer has come.
#[derive(Debug, Default)]
pub(in crate::engine) struct HeaderSync {
    phase: Phase,
    /// A request is under way, or its page waits to be stored.
    busy: bool,
    /// The last header of a page that more follow.
    more: Option<BlockHash>,
    /// How often it is still asked for what lies below a block whose parent is not known: who forwards a block may serve it
    /// only a moment later.
    unknown: u8,
    /// The work that it claimed when it was asked last. What it claims meanwhile is of a chain that is longer than the answer.
    claimed: Work,
    /// The claimed work of a chain that turned out to have less, or to be invalid; not asked for again before it claims more.
    refuted: Work,
    /// The page that waits to be stored is the last that it has.
    last: bool,
    /// It did not answer, or not what it claimed, and is left alone until then; how often so far, since it owed nothing any more.
    rests_until: u64,
    failures: u32,
}

#[derive(Debug, Default)]
enum Phase {
    /// Pages are stored as they come.
    #[default]
    Direct,
    /// The first pass.
    Counting(Box<Count>),
    /// The second pass.
    Storing(Again),
}

/// What a first pass remembers.
#[derive(Debug)]
struct Count {
    /// The block of this node's that the chain branches from.
    start: BlockHash,
    /// The last hash of each full page.
    pages: Vec<BlockHash>,
    /// The last two headers, by which the next is judged.
    below: HeaderRecord,
    top: HeaderRecord,
    headers: u64,
    since: u64,
}

/// What a second pass goes by.
#[derive(Debug)]
struct Again {
    /// The block after which the next page starts.
    last: BlockHash,
    /// The last hashes of the pages that are still to come.
    pages: std::vec::IntoIter<BlockHash>,
}

/// A checked page.
struct Page {
    start: BlockHash,
    records: Vec<HeaderRecord>,
    below: HeaderRecord,
    top: HeaderRecord,
    /// More follow.
    more: bool,
    /// It ends where the local clock does not allow more yet.
    cut: bool,
}

/// Why a page is not taken.
enum PageFailure {
    Peer(Offence),
    Ours(Fault),
}

impl From<Offence> for PageFailure {
    fn from(offence: Offence) -> PageFailure {
        PageFailure::Peer(offence)
    }
}

impl From<Fault> for PageFailure {
    fn from(fault: Fault) -> PageFailure {
        PageFailure::Ours(fault)
    }
}

impl From<StoreError> for PageFailure {
    fn from(error: StoreError) -> PageFailure {
        PageFailure::Ours(error.into())
    }
}

impl HeaderSync {
    /// Whether a page is on its way, or waits to be stored.
    pub(in crate::engine) fn is_busy(&self) -> bool {
        self.busy
    }

    /// The memory that it holds, in bytes.
    pub(in crate::engine) fn bytes(&self) -> usize {
        let page = if self.busy { HEADERS_PER_RESPONSE * size_of::<HeaderRecord>() } else { 0 };
        let hashes = match &self.phase {
            Phase::Direct => 0,
            Phase::Counting(count) => count.pages.capacity(),
            Phase::Storing(again) => again.pages.len(),
        };
        page + hashes * size_of::<BlockHash>()
    }

    /// Notes that the peer has a block whose parent is not known here.
    pub(in crate::engine) fn has_unknown(&mut self) {
        self.unknown = 3;
    }

    /// The clock was set back.
    pub(in crate::engine) fn set_back(&mut self, by: u64) {
        self.rests_until = self.rests_until.saturating_sub(by);
        if let Phase::Counting(count) = &mut self.phase {
            count.since = count.since.saturating_sub(by);
        }
    }

    fn is_counting(&self) -> bool {
        matches!(self.phase, Phase::Counting(_))
    }

    /// The header after which the next page is to start, where a chain is being followed.
    fn after(&self) -> Option<BlockHash> {
        match &self.phase {
            Phase::Direct => self.more,
            Phase::Counting(count) => Some(count.top.hash),
            Phase::Storing(again) => Some(again.last),
        }
    }
}

impl Engine {
    /// Asks peers again for chains that were found to be wrong.
    pub(in crate::engine) fn forget_refutations(&mut self) {
        for peer in self.net.peers.values_mut() {
            let sync = &mut peer.headers;
            (sync.refuted, sync.rests_until, sync.failures) = (Work::ZERO, 0, 0);
        }
        self.net.at(self.now, Timer::Headers);
    }

    /// The least work of a chain whose headers are kept: [`KEPT_TIP_WORKS`] blocks of the tip's own difficulty less than the
    /// tip, so that a fork near it is known before it overtakes, and never less than the configured minimum.
    pub(in crate::engine) fn kept_work(&self) -> Work {
        let own = self.tip.header.bits.to_target().expect("the tip was checked").work();
        self.minimum_work.max(self.tip.work.saturating_sub(own.saturating_mul(KEPT_TIP_WORKS)))
    }

    /// The head of the header tree with the most work that may be built on, or the tip.
    pub(in crate::engine) fn best_header(&mut self) -> Result<HeaderRecord, Fault> {
        for hash in self.index.heads_above(self.tip.work) {
            let record = self.record(&hash)?;
            if is_usable(&record) {
                return Ok(record);
            }
        }
        Ok(self.tip)
    }

    /// Asks a peer for headers where it seems to have some that are new.
    pub(in crate::engine) fn consider_headers(&mut self, id: PeerId) -> Result<(), Fault> {
        let best = self.best_header()?;
        // Chains that are counted have places of their own.
        let busy = self.headers_under_way(id, |sync| sync.busy && !sync.is_counting());
        let Some(peer) = self.net.peers.get_mut(&id) else { return Ok(()) };
        let Some(claimed) = peer.status.as_ref().map(|status| status.work) else { return Ok(()) };
        let sync = &mut peer.headers;
        // A few peers at a time are enough, unless one has something of its own to show.
        let claims = claimed > best.work && claimed > sync.refuted && busy < HEADER_PEERS;
        let after = sync.after();
        if sync.busy || sync.rests_until > self.now || !(claims || sync.unknown > 0 || after.is_some()) {
            return Ok(());
        }
        // Far ahead of the tip, this one's chain goes on when the tip has come nearer; others are asked all the same, or
        // whoever comes first with cheap headers would be the last. A chain that has less work than the tip so far brings the
        // tip no nearer: it is followed to where it has more.
        if let Some(after) = after
            && let Some(record) = self.index.get(&self.snapshot, &after)?
            && record.height >= self.tip.height + HEADERS_AHEAD
            && record.work > self.tip.work
        {
            return Ok(());
        }
        (sync.busy, sync.claimed) = (true, claimed);
        sync.unknown = sync.unknown.saturating_sub(1);
        let mut locator = self.locator(best.hash)?;
        if let Some(after) = after {
            locator.insert(0, after);
        }
        locator.truncate(LOCATOR_HASHES);
        self.ask(id, Request::Headers(locator), Purpose::Headers, HEADERS_MS);
        Ok(())
    }

    /// With how many other peers headers are so far. Whom this node dialled waits for nobody who came in: those come as they
    /// like, and may claim whatever they like.
    fn headers_under_way(&self, id: PeerId, so_far: impl Fn(&HeaderSync) -> bool) -> usize {
        let dialled = |peer: &Peer| peer.direction == Direction::Outbound;
        let all = !self.net.peers.get(&id).is_some_and(dialled);
        let others = self.net.ready().filter(|(other, peer)| **other != id && (all || dialled(peer)));
        others.filter(|(_, peer)| so_far(&peer.headers)).count()
    }

    /// Considers every peer: after a page was stored, a peer failed, or the tip moved on. Who failed least comes first, and no
    /// name is a better one than another.
    pub(in crate::engine) fn consider_all_headers(&mut self) -> Result<(), Fault> {
        let peers = self.net.ready().map(|(id, peer)| (peer.headers.failures, *id));
        let mut peers: Vec<(u32, PeerId)> = peers.collect();
        peers.sort_by_cached_key(|(failures, _)| (*failures, self.net.rng.next_u64()));
        peers.into_iter().try_for_each(|(_, id)| self.consider_headers(id))
    }

    /// The best header, then hashes of the main chain from the tip down, ten one by one, then in doubling steps to genesis.
    fn locator(&mut self, best: BlockHash) -> Result<Vec<BlockHash>, Fault> {
        let mut locator = vec![best];
        let (mut height, mut step) = (self.tip.height, 1);
        loop {
            let hash = self.snapshot.main_hash(height)?;
            locator.extend(hash.filter(|hash| *hash != best));
            if height == 0 {
                return Ok(locator);
            }
            if locator.len() > 10 {
                step *= 2;
            }
            height = height.saturating_sub(step);
        }
    }

    /// A request for headers came to nothing; another peer may do better.
    pub(in crate::engine) fn headers_failed(&mut self, id: PeerId) {
        if let Some(peer) = self.net.peers.get_mut(&id) {
            let HeaderSync { refuted, unknown, failures, .. } = peer.headers;
            let failures = (failures + 1).min(5);
            let rests_until = self.now + (HEADERS_REST_MS << failures);
            peer.headers = HeaderSync { refuted, unknown, rests_until, failures, ..HeaderSync::default() };
            self.net.at(rests_until, Timer::Headers);
        }
        self.net.at(self.now, Timer::Headers);
        self.net.at(self.now, Timer::Bodies);
    }

    /// A peer has no more headers to give. Who claimed more than this node knows owes some, and gives up its place.
    fn headers_end(&mut self, id: PeerId) -> Result<(), Fault> {
        self.refute(id);
        let best = self.best_header()?;
        let Some(peer) = self.net.peers.get_mut(&id) else { return Ok(()) };
        if peer.headers.claimed > best.work {
            self.headers_failed(id);
        } else {
            peer.headers.failures = 0;
        }
        Ok(())
    }

    /// Leaves a peer alone for a while, and looks at others.
    fn rest(&mut self, id: PeerId, ms: u64) {
        if let Some(peer) = self.net.peers.get_mut(&id) {
            peer.headers.rests_until = self.now + ms;
            self.net.at(self.now + ms, Timer::Headers);
            self.net.at(self.now, Timer::Headers);
        }
    }

    pub(in crate::engine) fn take_headers(&mut self, id: PeerId, headers: Vec<Header>) -> Result<(), Fault> {
        let Some(peer) = self.net.peers.get_mut(&id) else { return Ok(()) };
        peer.headers.busy = false;
        let after = peer.headers.more.take();
        let phase = std::mem::take(&mut peer.headers.phase);
        match self.judge_page(id, phase, after, headers) {
            Ok(()) => {}
            Err(PageFailure::Peer(offence)) => {
                self.penalise(id, offence);
                self.consider_all_headers()?;
            }
            Err(PageFailure::Ours(fault)) => return Err(fault),
        }
        // Whoever gives headers no more may be asked for bodies.
        self.ask_for_bodies()
    }

    /// A peer is gone, and what it gave is not stored any more: names that come and go would make what waits long.
    pub(in crate::engine) fn forget_page(&mut self, id: &PeerId) {
        self.waiting.retain(|waiting| !matches!(waiting, Waiting::Headers { peer, page: true, .. } if peer == id));
        self.net.at(self.now, Timer::Headers);
    }

    /// Checks a page and decides what becomes of it.
    fn judge_page(
        &mut self,
        id: PeerId,
        phase: Phase,
        after: Option<BlockHash>,
        headers: Vec<Header>,
    ) -> Result<(), PageFailure> {
        if headers.is_empty() {
            return match phase {
                // Nothing follows what this node has: either it knows as much, or what it knows more of is invalid here, or
                // it has not connected yet what it announced.
                Phase::Direct => {
                    self.headers_end(id)?;
                    let awake = |peer: &Peer| peer.headers.rests_until <= self.now;
                    if self.net.peers.get(&id).is_some_and(|peer| peer.headers.unknown > 0 && awake(peer)) {
                        self.rest(id, HEADERS_REST_MS / 2);
                    }
                    Ok(())
                }
                Phase::Counting(count) => self.drop_chain(id, count.headers, count.top.work),
                Phase::Storing(_) => Err(Offence::ChangedHeaders.into()),
            };
        }
        let (below, top) = match &phase {
            Phase::Counting(count) => (count.below, count.top),
            Phase::Direct | Phase::Storing(_) => {
                let parent = self.index.get(&self.snapshot, &headers[0].prev_hash)?;
                let parent = parent.ok_or(Offence::BrokenHeaders)?;
                if !is_usable(&parent) {
                    // It cannot know that, if the fault is in the state alone.
                    return Ok(self.headers_end(id)?);
                }
                (self.index.parent(&self.snapshot, &parent)?.unwrap_or(parent), parent)
            }
        };
        if matches!(phase, Phase::Counting(_)) && headers[0].prev_hash != top.hash {
            return Err(Offence::ChangedHeaders.into());
        }
        let page = self.check_page(below, top, headers)?;
        if page.cut {
            // Either clock may be wrong.
            self.rest(id, HEADERS_REST_MS * 2);
        }
        match phase {
            Phase::Direct => self.judge_direct(id, after, page),
            Phase::Counting(count) => self.judge_counted(id, *count, page),
            Phase::Storing(again) => self.judge_again(id, again, page),
        }
    }

    /// Holds headers against the rules, each in its place. From the first that is from the future on, none is taken.
    fn check_page(
        &self,
        mut below: HeaderRecord,
        mut top: HeaderRecord,
        headers: Vec<Header>,
    ) -> Result<Page, Offence> {
        let start = top.hash;
        let (mut more, mut cut) = (headers.len() >= HEADERS_PER_RESPONSE, false);
        let mut records = Vec::with_capacity(headers.len());
        for header in headers {
            let checked = check_header(header, &self.params).map_err(|error| Offence::Refused(error.into()))?;
            if header.prev_hash != top.hash {
                return Err(Offence::BrokenHeaders);
            }
            match check_header_in_context(&checked, &top.child_context(Some(&below)), &self.params, self.now) {
                Ok(()) => {}
                Err(ContextFailure::Invalid(error)) => return Err(Offence::Refused(error.into())),
                Err(ContextFailure::NotYet { .. }) => {
                    (more, cut) = (false, true);
                    break;
                }
            }
            (below, top) = (top, child_record(&checked, &top));
            records.push(top);
        }
        Ok(Page { start, records, below, top, more, cut })
    }

    fn judge_direct(&mut self, id: PeerId, after: Option<BlockHash>, page: Page) -> Result<(), PageFailure> {
        let known = self.index.get(&self.snapshot, &page.top.hash)?.is_some();
        if known && page.cut {
            return Ok(());
        }
        if known && (!page.more || after.is_some_and(|after| after != page.start)) {
            // Nothing is new, and nothing follows; or the same again.
            return Ok(self.headers_end(id)?);
        }
        if page.top.work >= self.kept_work() {
            self.keep_page(id, page);
            return Ok(());
        }
        let headers = page.records.len() as u64;
        if page.cut {
            return Ok(());
        }
        if !page.more {
            return self.drop_chain(id, headers, page.top.work);
        }
        if self.headers_under_way(id, HeaderSync::is_counting) < COUNTING_PEERS {
            let Page { start, below, top, .. } = page;
            let count = Count { start, pages: vec![top.hash], below, top, headers, since: self.now };
            self.go_on(id, Phase::Counting(Box::new(count)))?;
        } else {
            self.rest(id, HEADERS_REST_MS << 4);
        }
        Ok(())
    }

    fn judge_counted(&mut self, id: PeerId, mut count: Count, page: Page) -> Result<(), PageFailure> {
        count.headers += page.records.len() as u64;
        if page.top.work >= self.kept_work() {
            let again = Again { last: count.start, pages: count.pages.into_iter() };
            return Ok(self.go_on(id, Phase::Storing(again))?);
        }
        if page.cut {
            return Ok(());
        }
        if !page.more || count.pages.len() >= COUNTED_PAGES {
            return self.drop_chain(id, count.headers, page.top.work);
        }
        if self.now > count.since + 30_000 + COUNTED_PAGE_MS * count.pages.len() as u64 {
            self.headers_failed(id);
            return Ok(());
        }
        count.pages.push(page.top.hash);
        (count.below, count.top) = (page.below, page.top);
        Ok(self.go_on(id, Phase::Counting(Box::new(count)))?)
    }

    /// A page of the second pass is the one of the first.
    fn judge_again(&mut self, id: PeerId, mut again: Again, page: Page) -> Result<(), PageFailure> {
        if page.cut {
            // The clock was set back since the first pass.
            return Ok(());
        }
        if again.pages.next() != Some(page.top.hash) {
            return Err(Offence::ChangedHeaders.into());
        }
        let last = page.top.hash;
        self.keep_page(id, page);
        if let Some(peer) = self.net.peers.get_mut(&id).filter(|_| again.pages.len() > 0) {
            peer.headers.phase = Phase::Storing(Again { last, ..again });
        }
        Ok(())
    }

    /// Hands a page to be stored; the next is asked for after that.
    fn keep_page(&mut self, id: PeerId, page: Page) {
        let Page { records, top, more, cut, .. } = page;
        if let Some(peer) = self.net.peers.get_mut(&id) {
            peer.headers.busy = true;
            peer.headers.more = more.then_some(top.hash);
            peer.headers.last = !more && !cut;
        }
        self.peer_has(&id, top.height, top.work);
        self.waiting.push_back(Waiting::Headers { peer: id, records, page: true });
    }

    fn go_on(&mut self, id: PeerId, phase: Phase) -> Result<(), Fault> {
        if let Some(peer) = self.net.peers.get_mut(&id) {
            peer.headers.phase = phase;
        }
        self.consider_headers(id)
    }

    /// All that a peer has is seen and is too little to be kept. If it claims more than it has shown, it has lied.
    fn drop_chain(&mut self, id: PeerId, headers: u64, shown: Work) -> Result<(), PageFailure> {
        self.outputs.push(Output::Net(NetEvent::LowWork { peer: id, headers }));
        self.refute(id);
        let claimed = self.net.peers.get(&id).map(|peer| peer.headers.claimed);
        if claimed.is_some_and(|claimed| claimed > shown) { Err(Offence::FalseClaim.into()) } else { Ok(()) }
    }

    /// Asks a peer for no headers before it claims more work than when it was asked.
    fn refute(&mut self, id: PeerId) {
        if let Some(peer) = self.net.peers.get_mut(&id) {
            peer.headers.refuted = peer.headers.refuted.max(peer.headers.claimed);
        }
    }

    /// Stores a page, the parents first, in one commit. An invalid block among them ends it.
    pub(in crate::engine) fn store_headers(
        &mut self,
        id: PeerId,
        records: Vec<HeaderRecord>,
        page: bool,
    ) -> Result<(), Fault> {
        let mut fresh = Vec::new();
        let parent = match records.first() {
            Some(first) => self.index.get(&self.snapshot, &first.header.prev_hash)?,
            None => None,
        };
        // Its parent may have been found invalid, or lost with an update, since it was checked.
        let mut invalid = parent.is_none_or(|parent| !is_usable(&parent));
        for record in records {
            match self.index.get(&self.snapshot, &record.hash)? {
                None => fresh.push(record),
                Some(known) => invalid |= !is_usable(&known),
            }
        }
        let is_new = !fresh.is_empty() && !invalid;
        if is_new {
            let mut update = self.store.begin()?;
            for record in &fresh {
                update.insert_header(record)?;
            }
            update.commit()?;
            self.refresh_snapshot()?;
            for record in &fresh {
                let parent = self.record(&record.header.prev_hash)?;
                self.index.grow(*record, &parent);
            }
            self.net.window.extend(&fresh);
            self.was_useful(&id);
        }
        if let Some(peer) = self.net.peers.get_mut(&id).filter(|_| page) {
            // A stranger's fork is a chain that this node will follow. One block more is anybody's, passed on.
            if is_new && fresh.len() > 1 && fresh.last().is_some_and(|last| last.work > self.tip.work) {
                peer.kept = false;
            }
            let sync = &mut peer.headers;
            sync.busy = false;
            if invalid {
                // It may not know better, if the fault shows only in the state.
                (sync.phase, sync.more, sync.last) = (Phase::Direct, None, true);
            }
            if sync.last {
                self.headers_end(id)?;
            } else if is_new {
                sync.failures = 0;
            }
        }
        self.consider_all_headers()?;
        self.ask_for_bodies()
    }
}

/// Whether a chain may be built on a block, as far as is known.
pub(in crate::engine) fn is_usable(record: &HeaderRecord) -> bool {
    matches!(record.validity, Validity::Header | Validity::Connected)
}

/// The record that a checked header has on top of its parent.
pub(in crate::engine) fn child_record(header: &CheckedHeader, parent: &HeaderRecord) -> HeaderRecord {
    HeaderRecord {
        hash: header.hash(),
        header: *header.header(),
        height: parent.height + 1,
        work: parent.work + header.work(),
        validity: Validity::Header,
    }
}
