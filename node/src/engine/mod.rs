//! The engine: fork choice, chain updates, mempool, templates and mining control, without a socket, thread or clock.
//!
//! [`Engine::handle`] takes the time and one [`Input`] and gives back [`Output`]s; [`Engine::next_deadline`] says when it
//! wants to be called again. One thread owns it and with it the write side of the store. A call connects or disconnects
//! at most one block; what remains goes on at an immediate deadline. Everything is data, so a simulator drives the same
//! engine as the program does, and the same inputs give the same outputs.
//!
//! A block's journey: [`Input::Block`] -> context of its header -> on the tip: one update of header, body and state; else
//! header and body are kept and the heaviest branch is chosen anew -> [`Output::Event`]s, a mempool brought up to date, a
//! fresh mining job.

mod chain;
mod index;
pub mod limits;
pub mod mempool;
pub mod message;
pub mod mining;
mod repair;
pub mod template;
pub mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::state::{Account, Leaf, StateKey, StateView};
use drystone_core::transaction::Transaction;
use drystone_core::validation::{
    BlockContext, CheckedBlock, CheckedTransaction, ContextFailure, Parent, check_header, check_header_in_context,
    check_transaction,
};

use chain::{ChainUpdate, Submission};
use index::Index;
use limits::{FUTURE_BLOCKS, SAVE_DELAY_MS, UPDATE_BYTES, WAITING_INPUTS};
use mempool::{AccountReader, Mempool};
use message::{Accepted, Input, Origin, Output};
use mining::{Mining, MiningRefusal, Wish};
use template::TemplateParts;
use verdict::Refusal;

use crate::store::{HeaderRecord, Record, Snapshot, Store, StoreError, Validity};

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
}

impl Config {
    /// A node that does not mine, with the bounds that every node has.
    pub fn new(batch_secret: [u8; 32]) -> Config {
        let (mempool, update_bytes) = (mempool::Limits::default(), UPDATE_BYTES);
        Config { reward_to: None, threads: 0, mempool, update_bytes, batch_secret }
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
    /// Blocks that came while an update was under way, in order.
    waiting: VecDeque<(Origin, Box<CheckedBlock>)>,
    /// Blocks from the future by the time at which they become acceptable.
    future: BTreeMap<(u64, BlockHash), Box<CheckedBlock>>,
    mempool: Mempool,
    /// Whether what the last run saved was taken in; until then nothing else is, and nothing saved over it.
    mempool_loaded: bool,
    /// Counts the changes of the mempool, so that templates know when they are stale.
    mempool_revision: u64,
    /// When the mempool is to be saved, if it has changed since the last time.
    save_at: Option<u64>,
    mining: Mining,
    /// Mining has to be looked at again, at the next deadline, because a call does one heavy thing.
    look_at_mining: bool,
    /// The time of the call under way.
    now: u64,
    /// How the state is being made anew, if it is.
    repairing: Option<Remedy>,
    outputs: Vec<Output>,
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
            future: BTreeMap::new(),
            mempool: Mempool::new(config.mempool, params.account_reserve),
            mempool_loaded: false,
            mempool_revision: 0,
            save_at: None,
            mining: Mining::new(config.reward_to, config.threads),
            look_at_mining: true,
            now,
            repairing: None,
            outputs: Vec::new(),
            snapshot,
            store,
            params,
        };
        engine.guard(Engine::choose_chain)?;
        Ok(engine)
    }

    /// Takes one input at the Unix time `now` in milliseconds.
    ///
    /// # Errors
    /// Only the store's: the program must end, and what was committed is safe.
    pub fn handle(&mut self, now: u64, input: Input) -> Result<Vec<Output>, StoreError> {
        self.now = now;
        match input {
            Input::Tick => {}
            Input::Block { origin, block } => self.enqueue(origin, block),
            Input::Transactions { origin, transactions } => self.guard(|engine| engine.admit(origin, transactions))?,
            Input::Mined { epoch, time, nonce } => self.take_solution(epoch, time, nonce),
            Input::Shutdown => {
                self.save_mempool()?;
                return Ok(std::mem::take(&mut self.outputs));
            }
        }
        if self.has_work() {
            self.look_at_mining = true;
            self.guard(Engine::work)?;
            if self.is_updating() {
                // The miner rests meanwhile: what it works on is about to be abandoned.
                self.guard(Engine::look_after_mining)?;
            }
        } else if self.save_at.is_some_and(|due| due <= now) {
            self.save_mempool()?;
        } else {
            self.look_at_mining = false;
            self.guard(Engine::look_after_mining)?;
        }
        Ok(std::mem::take(&mut self.outputs))
    }

    /// The Unix time in milliseconds at which [`Engine::handle`] wants an [`Input::Tick`], at the latest; now or earlier
    /// where work waits.
    pub fn next_deadline(&self, now: u64) -> Option<u64> {
        if self.update.is_some() || !self.waiting.is_empty() || self.look_at_mining {
            return Some(now);
        }
        let future = self.future.first_key_value().map(|((due, _), _)| *due);
        let refusal = self.mining_refusal(now);
        let mining = self.mining.deadline(refusal, self.mempool_revision);
        [future, mining, self.save_at].into_iter().flatten().min()
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

    /// How many threads shall mine, and for whom.
    pub fn mining(&self) -> (usize, Option<AccountId>) {
        (self.mining.threads, self.mining.reward_to)
    }

    /// Why nothing is mined at `now`.
    pub fn mining_refusal(&self, now: u64) -> Option<MiningRefusal> {
        self.mining.refusal(&self.params, &self.tip, self.is_updating(), now)
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
        let due = self.future.first_key_value().is_some_and(|((due, _), _)| *due <= self.now);
        self.update.is_some() || !self.waiting.is_empty() || due
    }

    /// One block's worth of work: a step of the update under way, or the next block that waits and its first step.
    fn work(&mut self) -> Result<(), Fault> {
        if self.update.is_none() {
            let now = self.now;
            let due = self.future.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove());
            if let Some(block) = due {
                self.waiting.push_back((Origin::Delayed, block));
            }
            if let Some((origin, block)) = self.waiting.pop_front() {
                self.take_block(origin, block)?;
            }
        }
        self.step_update()
    }

    fn enqueue(&mut self, origin: Origin, block: Box<CheckedBlock>) {
        if self.waiting.len() < WAITING_INPUTS {
            self.waiting.push_back((origin, block));
        } else {
            self.refuse(origin, Refusal::Busy);
        }
    }

    fn refuse(&mut self, origin: Origin, refusal: Refusal) {
        self.outputs.push(Output::Verdict { origin, result: Err(refusal) });
    }

    /// Finds a block's place and starts what follows from it.
    fn take_block(&mut self, origin: Origin, block: Box<CheckedBlock>) -> Result<(), Fault> {
        let (hash, prev_hash) = (block.hash(), block.block().header.prev_hash);
        let (record, parent) = match self.place_block(&block) {
            Ok(Ok(placed)) => placed,
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
        if parent.hash == self.tip.hash {
            return self.extend_chain(record, block);
        }
        let mut update = self.store.begin()?;
        let new = update.insert_header(&record)?;
        update.put_body(record.height, &hash, &block.block().body)?;
        update.commit()?;
        if new {
            self.index.grow(record, &parent);
        }
        self.refresh_snapshot()?;
        self.choose_chain()
    }

    /// The record that a block would have, with its parent's, or why it has no place.
    fn place_block(
        &mut self,
        block: &CheckedBlock,
    ) -> Result<Result<(HeaderRecord, HeaderRecord), Refusal>, StoreError> {
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
        let work = parent.work + block.header().work();
        let new = HeaderRecord { hash, header, height: parent.height + 1, work, validity: Validity::Header };
        Ok(Ok((known.unwrap_or(new), parent)))
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
            self.mempool.update(self.now, confirmed, returned, &*self.snapshot)?;
            self.mempool_changed();
        }
        Ok(())
    }

    /// Templates are stale now, and what is on disk too: it is saved within a time that grows with what has to be written.
    fn mempool_changed(&mut self) {
        self.mempool_revision += 1;
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

    fn save_mempool(&mut self) -> Result<(), StoreError> {
        // An update under way is abandoned: start-up chooses the same chain again.
        self.update = None;
        if !self.mempool_loaded {
            return Ok(());
        }
        let mut update = self.store.begin()?;
        update.put_mempool(&self.mempool.transactions_for_saving())?;
        self.save_at = None;
        update.commit()
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
            Ok(block) => self.enqueue(Origin::Own, Box::new(block)),
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
