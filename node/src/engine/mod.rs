//! The engine: fork choice, chain updates, mempool, relay, synchronisation, peers and mining, without a socket, thread or clock.
//!
//! [`Engine::handle`] takes the time and one [`Input`] and gives back [`Output`]s; [`Engine::next_deadline`] says when it
//! wants to be called again. One thread owns it and with it the write side of the store. A call connects or disconnects
//! at most one block; what remains goes on at an immediate deadline. Everything is data, so a simulator drives the same
//! engine as the program does, and the same inputs give the same outputs.
//!
//! A block's journey: [`Input::Block`] -> context of its header -> on the tip: one update of header, body and state; else
//! header and body are kept and the heaviest branch is chosen anew -> [`Output::Event`]s, a mempool brought up to date, a
//! fresh mining job. From peers a block comes announced in brief (`relay/blocks.rs`) or is downloaded because its header
//! is on the best chain of headers (`sync/`); both end in the same place.
//!
//! Heavy work goes out as [`Output::Work`] and comes back as [`Input::Done`]; what writes to the store waits its turn while a
//! chain update holds it.

mod branches;
mod chain;
pub mod counters;
mod dialling;
mod index;
pub mod limits;
mod marks;
pub mod mempool;
pub mod message;
pub mod mining;
pub mod operator;
mod peers;
mod relay;
mod repair;
mod session;
mod sync;
pub mod template;
pub mod verdict;
pub mod wire;
pub mod work;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use drystone_core::block::Body;
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::state::{Account, Leaf, StateKey, StateView};
use drystone_core::transaction::Transaction;
use drystone_core::validation::{
    BlockContext, CheckedBlock, CheckedTransaction, ContextFailure, Parent, check_header, check_header_in_context,
    check_transaction,
};

use branches::Branches;
pub use branches::Ties;
use chain::{ChainUpdate, Submission};
use counters::Counters;
use index::Index;
use limits::{FUTURE_BLOCKS, SAVE_DELAY_MS, UPDATE_BYTES, WAITING_INPUTS};
use mempool::{AccountReader, Mempool};
use message::{Accepted, Input, Origin, Output, PeerId};
use mining::{Mining, MiningRefusal, Wish};
use session::Net;
use sync::child_record;
use template::TemplateParts;
use verdict::{Offence, Refusal};
use work::Workshop;

use crate::store::{Damage, HeaderRecord, Record, Snapshot, Store, StoreError, Validity};

/// What the shell decides for an engine.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who is paid for mined blocks; without it nothing is mined.
    pub reward_to: Option<AccountId>,
    /// How many threads mine.
    pub threads: usize,
    /// The mempool's bounds.
    pub mempool: mempool::Limits,
    /// What one chain update gathers in memory before it commits half-way, in bytes; [`UPDATE_BYTES`] outside tests.
    pub update_bytes: usize,
    /// 32 secret random bytes that seed signature batches.
    pub batch_secret: [u8; 32],
    /// What the engine's random choices are drawn from.
    pub seed: [u8; 32],
    /// This node's own name among peers.
    pub identity: PeerId,
    /// What decides between tips of equal work.
    pub ties: Ties,
    /// Chains with less work than this are counted and not kept, however little work the own tip has.
    pub minimum_work: Work,
    /// Connections from one address, at most; [`limits::PEERS_PER_ADDRESS`] outside local test networks.
    pub peers_per_address: usize,
    /// Connections that are opened into one network group, at most; [`limits::OUTBOUND_PER_GROUP`] outside local test
    /// networks.
    pub outbound_per_group: usize,
}

impl Config {
    /// A node that does not mine, with the bounds that every node has.
    pub fn new(batch_secret: [u8; 32]) -> Config {
        let (mempool, update_bytes) = (mempool::Limits::default(), UPDATE_BYTES);
        Config {
            reward_to: None,
            threads: 0,
            mempool,
            update_bytes,
            batch_secret,
            seed: batch_secret,
            identity: PeerId([0; 32]),
            ties: Ties::FirstSeen,
            minimum_work: Work::from_hashes(0),
            peers_per_address: limits::PEERS_PER_ADDRESS,
            outbound_per_group: limits::OUTBOUND_PER_GROUP,
        }
    }
}

/// A failure of this node itself, never of what was handed in.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// The store failed; the program cannot go on.
    #[error(transparent)]
    Store(StoreError),
    /// Data on disk contradict themselves; repair makes them anew.
    #[error("{reason}")]
    Rotten {
        /// What was found.
        reason: String,
        /// What makes it whole.
        remedy: Remedy,
    },
}

/// How much has to be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// Perhaps only the state tree, from its leaves; else the whole state.
    Tree,
    /// The whole state, from the blocks.
    Replay,
}

impl Fault {
    fn state(reason: String) -> Fault {
        Fault::Rotten { reason, remedy: Remedy::Tree }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        match error {
            StoreError::Rotten(record @ (Record::Leaf(_) | Record::Page(_) | Record::PageKey | Record::History(_))) => {
                Fault::state(record.to_string())
            }
            StoreError::Rotten(record @ (Record::Body(_) | Record::Undo(_) | Record::Main(_))) => {
                Fault::Rotten { reason: record.to_string(), remedy: Remedy::Replay }
            }
            // A header is needed for every replay, and nothing here makes one anew.
            error => Fault::Store(error),
        }
    }
}

/// The engine of one node.
pub struct Engine {
    store: Arc<Store>,
    params: Arc<ChainParams>,
    chain_id: BlockHash,
    update_bytes: usize,
    batch_secret: [u8; 32],
    /// The last commit, which all reads see until the next.
    snapshot: Arc<Snapshot>,
    tip: HeaderRecord,
    index: Index,
    update: Option<ChainUpdate>,
    /// The block that waits for the end of the update, or of what leads to one.
    submission: Option<Submission>,
    /// What writes to the store and came while an update held it, in order.
    waiting: VecDeque<Waiting>,
    /// The blocks beside the main chain that may be chosen.
    branches: Branches,
    /// They are to be looked for anew: a body came that others on disk may stand on.
    look_for_branches: bool,
    /// Blocks connected and disconnected so far.
    steps: u64,
    /// Blocks from the future by the time at which they become acceptable.
    future: BTreeMap<(u64, BlockHash), Box<CheckedBlock>>,
    mempool: Mempool,
    /// Whether what the last run saved was taken in; until then nothing else is, and nothing saved over it.
    mempool_loaded: bool,
    /// The work of the tip that the mempool on disk was saved on: a replay may stop below it for a while.
    mempool_work: Work,
    /// Counts the changes of the mempool, so that templates know when they are stale.
    mempool_revision: u64,
    /// How often it had changed when it was saved last.
    saved_revision: Option<u64>,
    /// The address book as it was saved last.
    saved_book: Option<Vec<u8>>,
    /// When the mempool is to be saved, if it has changed since the last time.
    save_at: Option<u64>,
    mining: Mining,
    /// Mining has to be looked at again, at the next deadline, because a call does one heavy thing.
    look_at_mining: bool,
    /// The time of the call under way.
    now: u64,
    /// How the state is being made anew, if it is.
    repairing: Option<Remedy>,
    net: Net,
    counters: Counters,
    identity: PeerId,
    minimum_work: Work,
    peers_per_address: usize,
    outbound_per_group: usize,
    outputs: Vec<Output>,
}

/// What waits for its turn to write to the store.
enum Waiting {
    /// A block that is right in everything but the state it meets.
    Block(Origin, Box<CheckedBlock>),
    /// Checked headers, each on top of the one before; whether they are a page that their peer was asked for.
    Headers { peer: PeerId, records: Vec<HeaderRecord>, page: bool },
    /// A block that breaks a rule whatever the state.
    Invalid(BlockHash, Refusal),
    /// A block that is to be judged again.
    Reconsider(Origin, BlockHash),
    /// Something rotten on disk; whether every body of the main chain was found whole since.
    Damage { damage: Damage, all_bodies: bool },
    /// A body of the main chain that had rotted, under its header's root.
    LostBody(BlockHash, Box<Body>),
}

impl Engine {
    /// Takes over a store: reads the tip, the heads and the saved mempool, and resumes an update that a crash cut short
    /// at its next deadline. The cost does not grow with the length of the chain.
    pub fn new(store: Arc<Store>, params: Arc<ChainParams>, config: Config, now: u64) -> Result<Engine, StoreError> {
        let snapshot = Arc::new(store.snapshot()?);
        let tip = snapshot.tip()?;
        let heads = snapshot.tips().collect::<Result<Vec<_>, _>>()?;
        let mut engine = Engine {
            chain_id: params.chain_id(),
            update_bytes: config.update_bytes,
            batch_secret: config.batch_secret,
            tip,
            index: Index::new(heads),
            update: None,
            submission: None,
            waiting: VecDeque::new(),
            branches: Branches::new(config.ties),
            look_for_branches: false,
            steps: 0,
            future: BTreeMap::new(),
            mempool: Mempool::new(config.mempool, params.account_reserve),
            mempool_loaded: false,
            mempool_work: Work::ZERO,
            mempool_revision: 0,
            saved_revision: None,
            saved_book: snapshot.peers()?,
            save_at: None,
            mining: Mining::new(config.reward_to, config.threads),
            look_at_mining: true,
            now,
            repairing: None,
            net: Net::new(config.seed, snapshot.peers()?.as_deref(), now),
            counters: Counters::default(),
            identity: config.identity,
            minimum_work: config.minimum_work,
            peers_per_address: config.peers_per_address,
            outbound_per_group: config.outbound_per_group,
            outputs: Vec::new(),
            snapshot,
            store,
            params,
        };
        engine.guard(|engine| {
            engine.find_branches()?;
            engine.choose_chain()
        })?;
        Ok(engine)
    }

    /// Takes one input at the Unix time `now` in milliseconds.
    ///
    /// # Errors
    /// Only the store's: the program must end, and what was committed is safe.
    pub fn handle(&mut self, now: u64, input: Input) -> Result<Vec<Output>, StoreError> {
        if now < self.now {
            self.net.set_back(self.now - now);
            self.mempool.set_back(self.now - now);
        }
        self.now = now;
        match input {
            Input::Tick => {}
            Input::Block { origin, block } => self.enqueue(origin, Waiting::Block(origin, block)),
            Input::Reconsider { origin, hash } => self.enqueue(origin, Waiting::Reconsider(origin, hash)),
            Input::Transactions { origin, transactions } => self.guard(|engine| engine.admit(origin, transactions))?,
            Input::Mined { epoch, time, nonce } => self.take_solution(epoch, time, nonce),
            Input::Peer { peer, event } => self.guard(|engine| engine.take_peer_event(peer, event))?,
            Input::Done { id, done } => self.guard(|engine| engine.take_done(id, done))?,
            Input::Discovered(addresses) => self.discovered(&addresses),
            Input::DialFailed(address) => self.dial_failed(address),
            Input::Damaged { damage, all_bodies } => self.note_damage(damage, all_bodies),
            Input::Shutdown => {
                self.save()?;
                return Ok(std::mem::take(&mut self.outputs));
            }
        }
        self.guard(Engine::fire_timers)?;
        if self.has_work() {
            self.look_at_mining = true;
            self.guard(Engine::work)?;
            if self.is_updating() {
                // The miner rests meanwhile: what it works on is about to be abandoned.
                self.guard(Engine::look_after_mining)?;
            }
        } else if self.save_at.is_some_and(|due| due <= now) {
            self.save()?;
        } else {
            self.look_at_mining = false;
            self.guard(Engine::look_after_mining)?;
        }
        Ok(std::mem::take(&mut self.outputs))
    }

    /// The Unix time in milliseconds at which [`Engine::handle`] wants an [`Input::Tick`], at the latest; now or earlier
    /// where work waits.
    pub fn next_deadline(&self, now: u64) -> Option<u64> {
        if self.has_work() || self.look_at_mining {
            return Some(now);
        }
        let future = self.future.first_key_value().map(|((due, _), _)| *due);
        let refusal = self.mining_refusal(now);
        let mining = self.mining.deadline(refusal, self.mempool_revision);
        [future, mining, self.save_at, self.net.next_timer(), self.rests_until()].into_iter().flatten().min()
    }

    /// What runs the jobs that [`Output::Work`] gives out.
    pub fn workshop(&self) -> Workshop {
        let (params, chain_id) = (Arc::clone(&self.params), self.chain_id);
        Workshop { params, chain_id, batch_secret: self.batch_secret }
    }

    /// The peers that shook hands.
    pub fn peers(&self) -> Vec<PeerId> {
        self.net.ready().map(|(id, _)| *id).collect()
    }

    /// The memory that a peer holds, in bytes, bodies not counted; at most [`limits::peer_bytes`].
    pub fn peer_bytes(&self, peer: &PeerId) -> usize {
        self.net.peer_bytes(peer)
    }

    /// How many blocks were connected and disconnected since the start: a call does at most one.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many blocks of the best chain of headers are missing.
    pub fn missing_blocks(&self) -> usize {
        self.net.window.missing()
    }

    /// The tip of the main chain.
    pub fn tip(&self) -> &HeaderRecord {
        &self.tip
    }

    /// The state after the tip.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The mempool.
    pub fn mempool(&self) -> &Mempool {
        &self.mempool
    }

    /// Whether a chain update or a repair is under way.
    pub fn is_updating(&self) -> bool {
        self.update.is_some() || self.repairing.is_some()
    }

    /// Whether the state is being made anew, because it was found rotten.
    pub fn is_repairing(&self) -> bool {
        self.repairing.is_some()
    }

    /// The hash of the tip; nothing while the state is made anew, when the tip is on its way back to where it was.
    pub fn settled_tip(&self) -> Option<BlockHash> {
        self.repairing.is_none().then_some(self.tip.hash)
    }

    /// How many threads shall mine, and for whom.
    pub fn mining(&self) -> (usize, Option<AccountId>) {
        (self.mining.threads, self.mining.reward_to)
    }

    /// Why nothing is mined at `now`.
    pub fn mining_refusal(&self, now: u64) -> Option<MiningRefusal> {
        self.mining.refusal(&self.params, &self.tip, self.is_updating(), self.is_syncing(), now)
    }

    /// Sets how many threads mine; none stops mining. The outcome shows at the next call of [`Engine::handle`].
    pub fn set_mining_threads(&mut self, threads: usize) {
        self.mining.threads = threads;
        self.mining.restart();
        self.look_at_mining = true;
    }

    /// What a template on the tip is made of.
    pub fn template_parts(&mut self) -> Result<TemplateParts, StoreError> {
        let context = self.index.context(&self.snapshot, &self.tip)?;
        let parent = Parent { height: self.tip.height, hash: self.tip.hash, work: self.tip.work };
        let candidates = self.mempool.candidates(self.params.max_block_bytes as usize);
        let (state_root, snapshot) = (self.tip.header.state_root, Arc::clone(&self.snapshot));
        Ok(TemplateParts { parent, state_root, context, snapshot, candidates })
    }

    /// Runs a part of the engine; data that contradict themselves start repair instead of passing on.
    fn guard(&mut self, part: impl FnOnce(&mut Engine) -> Result<(), Fault>) -> Result<(), StoreError> {
        match part(self) {
            Ok(()) => Ok(()),
            Err(Fault::Store(error)) => Err(error),
            Err(Fault::Rotten { reason, remedy }) => self.repair(reason, remedy),
        }
    }

    fn has_work(&self) -> bool {
        let updating = self.update.is_some() && self.rests_until().is_none();
        updating || !self.waiting.is_empty() || self.is_future_due() || self.net.window.has_next()
    }

    /// Whether a block that came from the future may be looked at now.
    fn is_future_due(&self) -> bool {
        self.future.first_key_value().is_some_and(|((due, _), _)| *due <= self.now)
    }

    /// One block's worth of work: a step of the update under way, or what waits for the store next, and its first step.
    fn work(&mut self) -> Result<(), Fault> {
        if self.update.is_none() {
            let now = self.now;
            let due = self.future.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove());
            if let Some(block) = due {
                self.waiting.push_back(Waiting::Block(Origin::Delayed, block));
            }
            match self.waiting.pop_front() {
                Some(Waiting::Block(origin, block)) => self.take_block(origin, block)?,
                Some(Waiting::Headers { peer, records, page }) => return self.store_headers(peer, records, page),
                Some(Waiting::Reconsider(origin, hash)) => return self.reconsider(origin, hash),
                Some(Waiting::Invalid(hash, refusal)) => {
                    let Some(record) = self.index.get(&self.snapshot, &hash)? else { return Ok(()) };
                    return self.invalidate(record, refusal);
                }
                Some(Waiting::Damage { damage, all_bodies }) => return self.mend(damage, all_bodies),
                Some(Waiting::LostBody(hash, body)) => return self.restore_body(hash, &body),
                None => self.take_next()?,
            }
        }
        self.step_update()
    }

    fn enqueue(&mut self, origin: Origin, waiting: Waiting) {
        // A block of its own is out already, and there is one at a time.
        if self.waiting.len() < WAITING_INPUTS || origin == Origin::Own {
            self.waiting.push_back(waiting);
        } else {
            self.refuse(origin, Refusal::Busy);
        }
    }

    fn refuse(&mut self, origin: Origin, refusal: Refusal) {
        match origin {
            Origin::Peer(peer) => self.penalise(peer, Offence::Refused(refusal)),
            Origin::Download => {}
            origin => self.outputs.push(Output::Verdict { origin, result: Err(refusal) }),
        }
    }

    fn accept(&mut self, origin: Origin, accepted: Accepted) {
        if origin.hears_verdict() {
            self.outputs.push(Output::Verdict { origin, result: Ok(accepted) });
        }
    }

    /// Finds a block's place and starts what follows from it.
    fn take_block(&mut self, origin: Origin, block: Box<CheckedBlock>) -> Result<(), Fault> {
        let (hash, prev_hash) = (block.hash(), block.block().header.prev_hash);
        let (record, parent, known) = match self.place_block(origin, &block) {
            Ok(Ok(placed)) => placed,
            Ok(Err(Refusal::KnownBlock)) if origin == Origin::Download => {
                // It came another way, perhaps before what it stands on.
                if let Some(record) = self.index.get(&self.snapshot, &hash)? {
                    self.link(&record)?;
                }
                return self.choose_chain();
            }
            Ok(Err(refusal)) => {
                self.refuse(origin, refusal.clone());
                if let Refusal::FromFuture { acceptable_at } = refusal {
                    self.keep_for_later(acceptable_at, block);
                }
                return Ok(());
            }
            // Another branch is rotten; the main chain can do without it.
            Err(error @ StoreError::Rotten(_)) if prev_hash != self.tip.hash => {
                self.refuse(origin, Refusal::Ours(error.to_string()));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        self.submission = Some(Submission { origin, hash, height: record.height });
        // Where only the body was missing, others on disk may stand on it; a download goes through them in order.
        self.look_for_branches = known && origin != Origin::Download;
        if parent.hash == self.tip.hash {
            return self.extend_chain(record, block);
        }
        let mut update = self.store.begin()?;
        let new = update.insert_header(&record)?;
        update.put_body(record.height, &hash, &block.block().body)?;
        update.commit()?;
        self.refresh_snapshot()?;
        if new {
            self.index.grow(record, &parent);
        }
        self.link(&record)?;
        if std::mem::take(&mut self.look_for_branches) {
            self.find_branches()?;
        }
        self.choose_chain()
    }

    /// The record that a block has or would have, with its parent's and whether it is known; or why it has no place.
    fn place_block(
        &mut self,
        origin: Origin,
        block: &CheckedBlock,
    ) -> Result<Result<(HeaderRecord, HeaderRecord, bool), Refusal>, StoreError> {
        let (hash, header) = (block.hash(), block.block().header);
        let known = self.index.get(&self.snapshot, &hash)?;
        match known.map(|known| known.validity) {
            Some(Validity::Invalid | Validity::InvalidAncestor) => return Ok(Err(Refusal::KnownInvalid)),
            Some(_) if self.snapshot.has_body(&hash)? => return Ok(Err(Refusal::KnownBlock)),
            _ => {}
        }
        let Some(parent) = self.index.get(&self.snapshot, &header.prev_hash)? else {
            return Ok(Err(Refusal::MissingParent(header.prev_hash)));
        };
        let context = self.index.context(&self.snapshot, &parent)?;
        match check_header_in_context(block.header(), &context, &self.params, self.now) {
            Ok(()) => {}
            Err(ContextFailure::Invalid(error)) => return Ok(Err(error.into())),
            Err(ContextFailure::NotYet { acceptable_at }) => return Ok(Err(Refusal::FromFuture { acceptable_at })),
        }
        if matches!(parent.validity, Validity::Invalid | Validity::InvalidAncestor) {
            return Ok(Err(Refusal::InvalidAncestor(parent.hash)));
        }
        let record = known.unwrap_or(child_record(block.header(), &parent));
        // What is downloaded lies below a head with more work than the tip, however far below the tip it starts.
        if origin != Origin::Download && record.work < self.kept_work() {
            return Ok(Err(Refusal::TooLittleWork));
        }
        Ok(Ok((record, parent, known.is_some())))
    }

    /// Keeps a block from the future; where too many wait, the one furthest ahead goes.
    fn keep_for_later(&mut self, acceptable_at: u64, block: Box<CheckedBlock>) {
        self.future.insert((acceptable_at, block.hash()), block);
        if self.future.len() > FUTURE_BLOCKS {
            self.future.pop_last();
        }
    }

    fn admit(&mut self, origin: Origin, transactions: Vec<CheckedTransaction>) -> Result<(), Fault> {
        let mut transactions = transactions.into_iter();
        if self.repairing.is_some() || !self.mempool_loaded {
            // Accounts are not what they were and will be again.
            transactions.for_each(|_| self.refuse(origin, Refusal::Busy));
            return Ok(());
        }
        while let Some(transaction) = transactions.next() {
            let result = match self.mempool.admit(self.now, transaction, &*self.snapshot) {
                Ok(Ok(admitted)) => {
                    self.mempool_changed();
                    self.publish_own(&admitted);
                    Ok(Accepted::Admitted(admitted))
                }
                Ok(Err(error)) => Err(error.into()),
                Err(error) => {
                    let fault = Fault::from(error);
                    let ours = Refusal::Ours(fault.to_string());
                    (0..=transactions.len()).for_each(|_| self.refuse(origin, ours.clone()));
                    return Err(fault);
                }
            };
            self.outputs.push(Output::Verdict { origin, result });
        }
        Ok(())
    }

    fn update_mempool(&mut self, confirmed: &[Transaction], returned: Vec<CheckedTransaction>) -> Result<(), Fault> {
        if !confirmed.is_empty() || !returned.is_empty() {
            let reorganised = !returned.is_empty();
            let updated = self.mempool.update(self.now, confirmed, returned, &*self.snapshot)?;
            self.mempool_changed();
            if !reorganised {
                // A block closed their gaps, so others have not heard of them.
                updated.queued.iter().for_each(|txid| self.put_in_batch(txid));
            } else if !updated.queued.is_empty() {
                self.offer_returned_soon();
            }
        }
        Ok(())
    }

    /// Templates are stale now, and what is on disk too: it is saved within a time that grows with what has to be written.
    fn mempool_changed(&mut self) {
        self.mempool_revision += 1;
        self.save_later();
    }

    /// Has the address book, and the mempool if it changed, saved soon.
    fn save_later(&mut self) {
        let delay = SAVE_DELAY_MS + self.mempool.len() as u64;
        let due = self.now + delay;
        // The earlier of both, also where the clock went back since the first change.
        self.save_at = Some(self.save_at.map_or(due, |save_at| save_at.min(due)));
    }

    /// Revalidates what the last run saved, on the chain that it belongs to. What does not hold any more is dropped.
    fn load_mempool(&mut self) -> Result<(), Fault> {
        let saved = self.snapshot.mempool()?;
        let rules = self.params.rules_at(self.tip.height + 1);
        let check = |transaction| check_transaction(transaction, rules, &self.chain_id).ok();
        // They return as those of abandoned blocks do, of which an account may have more than it could hand in.
        let returned = saved.into_iter().filter_map(check).collect();
        drop(self.mempool.update(self.now, &[], returned, &*self.snapshot)?);
        self.mempool_loaded = true;
        self.mempool_revision += 1;
        Ok(())
    }

    /// Saves the mempool and the address book, each if it has changed.
    fn save(&mut self) -> Result<(), StoreError> {
        // An update under way is abandoned: start-up chooses the same chain again.
        self.update = None;
        self.save_at = None;
        let book = self.book_to_save();
        let new_book = self.saved_book.as_ref() != Some(&book);
        let new_mempool = self.mempool_loaded && self.saved_revision != Some(self.mempool_revision);
        if !new_book && !new_mempool {
            return Ok(());
        }
        let mut update = self.store.begin()?;
        if new_book {
            update.put_peers(&book)?;
            self.saved_book = Some(book);
        }
        if new_mempool {
            update.put_mempool(&self.mempool.transactions_for_saving())?;
            self.saved_revision = Some(self.mempool_revision);
        }
        update.commit()
    }

    /// Saves the mempool and empties it, for [`Engine::load_mempool`] to bring it back where the chain is again.
    fn put_mempool_away(&mut self) -> Result<(), StoreError> {
        if self.mempool_loaded {
            self.save()?;
            self.mempool.clear();
            (self.mempool_loaded, self.mempool_work) = (false, self.tip.work);
        }
        Ok(())
    }

    fn take_solution(&mut self, epoch: u64, time: u64, nonce: u32) {
        let Some(template) = self.mining.solved(epoch) else { return };
        let header = drystone_core::block::Header { time, nonce, ..template.header };
        let context = BlockContext {
            params: &self.params,
            chain_id: &self.chain_id,
            height: template.height,
            batch_secret: &self.batch_secret,
        };
        let block = check_header(header, &self.params).map_err(Refusal::from).and_then(|header| {
            CheckedBlock::assemble(header, template.reward_to, &template.transactions, &context).map_err(Refusal::from)
        });
        match block {
            Ok(block) => {
                self.publish_block(block.block());
                self.enqueue(Origin::Own, Waiting::Block(Origin::Own, Box::new(block)));
            }
            Err(refusal) => self.refuse(Origin::Own, refusal),
        }
    }

    fn look_after_mining(&mut self) -> Result<(), Fault> {
        let now = self.now;
        let refusal = self.mining_refusal(now);
        match self.mining.wish(refusal, &self.tip, self.mempool_revision, now) {
            Wish::Nothing => {}
            Wish::Stop(refusal) => self.outputs.push(Output::StopMining(refusal)),
            Wish::Template(reward_to) => {
                let template = self.template_parts()?.build(&self.params, reward_to, now)?;
                let job = self.mining.start(template, self.mempool_revision, now);
                self.outputs.push(Output::Mine(Box::new(job)));
            }
        }
        Ok(())
    }

    /// The record of a block that must be known.
    fn record(&mut self, hash: &BlockHash) -> Result<HeaderRecord, Fault> {
        Ok(self.index.known(&self.snapshot, hash)?)
    }

    fn refresh_snapshot(&mut self) -> Result<(), Fault> {
        self.snapshot = Arc::new(self.store.snapshot()?);
        Ok(())
    }
}

impl AccountReader for Snapshot {
    type Error = StoreError;

    fn account(&self, id: &AccountId) -> Result<Account, StoreError> {
        let key = StateKey::account(id);
        match self.leaf(&key)? {
            Some(Leaf::Account(account)) => Ok(account),
            None => Ok(Account::default()),
            Some(_) => Err(StoreError::Rotten(Record::Leaf(key))),
        }
    }
}
