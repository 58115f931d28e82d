//! Verification: everything that the store holds, recomputed from what it follows from, down to the last chip.

use drystone_core::amount::Amount;
use drystone_core::block::Body;
use drystone_core::difficulty::ParentTimes;
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::state::{
    self, HistoryNode, Leaf, MemoryState, PagePath, StateKey, StateView, history_leaf, history_root,
};
use drystone_core::subsidy::subsidies_through;
use drystone_core::validation::{
    BlockContext, BlockError, CheckedHeader, ConnectError, ConnectFailure, ContextFailure, HeaderContext, HeaderError,
    Parent, check_block, check_header, check_header_in_context, connect_block,
};
use redb::{ReadableTable, ReadableTableMetadata};

use super::error::StoreError;
use super::index::{account_entries, transaction_entries};
use super::snapshot::{Snapshot, decode_leaf};
use super::tables::{HeaderRecord, HistoryEntry, Validity, tip_from_key, tip_key};

/// How many headers of the main chain are read at a time.
const HEADER_BATCH: usize = 1024;

/// What was counted while everything agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The tip's height.
    pub height: u64,
    /// Known headers, of all branches.
    pub headers: u64,
    /// Bodies of the main chain that are held, genesis included.
    pub bodies: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Accounts in the state.
    pub accounts: u64,
    /// Rewards that have not matured.
    pub immature_rewards: u64,
    /// The sum of all balances.
    pub balances: Amount,
    /// The sum of the rewards that have not matured.
    pub immature: Amount,
    /// Stored pages of the state tree.
    pub pages: u64,
    /// Stored nodes of the history range.
    pub history_nodes: u64,
    /// Entries of both indexes.
    pub index_entries: u64,
}

/// The first thing that does not agree.
#[derive(Debug, thiserror::Error)]
pub enum VerifyFailure {
    /// The store cannot be read, or holds a record that is rotten by itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The main chain starts elsewhere.
    #[error("the main chain does not start with genesis block {expected}")]
    Genesis {
        /// The chain id.
        expected: BlockHash,
    },
    /// A header's parent is not known.
    #[error("the parent of header {0} is missing")]
    Parent(BlockHash),
    /// A header's height or work is not its parent's plus its own.
    #[error("header {0} has a height or a work that do not follow from its parent")]
    Place(BlockHash),
    /// A block of the main chain is not marked as one that was connected.
    #[error("the block at height {0} is on the main chain, but is not marked as connected")]
    Validity(u64),
    /// A header of the main chain breaks a rule by itself.
    #[error("the header at height {height}: {error}")]
    Header {
        /// Where.
        height: u64,
        /// The rule.
        error: HeaderError,
    },
    /// A header of the main chain breaks a rule in its place.
    #[error("the header at height {height}: {error}")]
    Context {
        /// Where.
        height: u64,
        /// The rule.
        error: ContextFailure,
    },
    /// A head of the header tree is missing, or has another work than its header.
    #[error("tip {0} is missing or does not agree with its header")]
    Tip(BlockHash),
    /// A block of the main chain cannot be taken back.
    #[error("the undo of the block at height {0} is missing")]
    Undo(u64),
    /// The leaves give another root than the tip's header carries.
    #[error("the leaves give state root {found}, the tip's header carries {required}")]
    StateRoot {
        /// In the header.
        required: StateRoot,
        /// From the leaves.
        found: StateRoot,
    },
    /// A page of the tree is not what the leaves give.
    #[error("state tree page {0:?} does not follow from the leaves")]
    Page(PagePath),
    /// Pages are stored that the tree does not have.
    #[error("{stored} state tree pages are stored, the tree has {expected}")]
    PageCount {
        /// How many are stored.
        stored: u64,
        /// How many the leaves give.
        expected: u64,
    },
    /// A node of the history range is not what the headers give.
    #[error("history node {} of level {} does not follow from the headers", .0.index, .0.level)]
    HistoryNode(HistoryNode),
    /// Nodes are stored that the history range does not have.
    #[error("{stored} history nodes are stored, the range has {expected}")]
    HistoryCount {
        /// How many are stored.
        stored: u64,
        /// How many the headers give.
        expected: u64,
    },
    /// The state's history leaf is not the range's root.
    #[error("the history root in the state does not follow from the headers")]
    HistoryRoot,
    /// The rewards in the state are not those of the last blocks.
    #[error("the state holds {found} rewards, the last {expected} blocks have theirs to mature")]
    Rewards {
        /// How many rewards there are.
        found: u64,
        /// How many there must be.
        expected: u64,
    },
    /// Money appeared or went away.
    #[error("balances and immature rewards add up to {found} chips, the schedule gives {expected}")]
    Supply {
        /// The sum over the state, in chips.
        found: u128,
        /// Allocations and subsidies, in chips.
        expected: u128,
    },
    /// An index lacks an entry of the block at this height, or has another.
    #[error("the indexes do not agree with the block at height {0}")]
    Index(u64),
    /// An index has entries that no block gives.
    #[error("the indexes have {found} entries, the blocks give {expected}")]
    IndexCount {
        /// How many there are.
        found: u64,
        /// How many the blocks give.
        expected: u64,
    },
    /// A replay needs every body.
    #[error("the body of the block at height {0} is not held, so the chain cannot be replayed")]
    NotHeld(u64),
    /// A stored block breaks a rule by itself.
    #[error("the block at height {height}: {error}")]
    Block {
        /// Where.
        height: u64,
        /// The rule.
        error: BlockError,
    },
    /// A stored block does not connect.
    #[error("the block at height {height}: {error}")]
    Connect {
        /// Where.
        height: u64,
        /// The rule.
        error: ConnectError,
    },
    /// A stored undo is not what connecting the block gives.
    #[error("the undo of the block at height {0} does not follow from the chain")]
    UndoDiffers(u64),
    /// The stored state is not what the blocks add up to.
    #[error("state leaf {0} does not follow from the chain")]
    Leaf(StateKey),
}

impl From<redb::StorageError> for VerifyFailure {
    fn from(error: redb::StorageError) -> VerifyFailure {
        StoreError::from(error).into()
    }
}

/// Recomputes from disk all that a snapshot shows: headers by every rule, bodies, undo, the state and its tree, the
/// history range, the money, the indexes. Holds no more than a batch in memory. `progress` hears the share done, 0 to 1.
pub fn verify(
    snapshot: &Snapshot,
    params: &ChainParams,
    progress: impl Fn(f64),
) -> Result<VerifyReport, VerifyFailure> {
    let tip = snapshot.tip()?;
    let mut report = VerifyReport { height: tip.height, ..VerifyReport::default() };
    verify_header_tree(snapshot, params, &mut report)?;
    progress(0.1);
    verify_main_chain(snapshot, params, &tip, &mut report, |done| progress(0.1 + 0.6 * done))?;
    verify_tree(snapshot, &tip, &mut report)?;
    progress(0.9);
    verify_money(snapshot, params, &tip, &mut report)?;
    progress(1.0);
    Ok(report)
}

/// Every header stands on a known parent, with height and work to match, down to the one genesis; the heads agree, and the
/// one with the most work is among them.
fn verify_header_tree(
    snapshot: &Snapshot,
    params: &ChainParams,
    report: &mut VerifyReport,
) -> Result<(), VerifyFailure> {
    let genesis = params.chain_id();
    if snapshot.main_hash(0)? != Some(genesis) {
        return Err(VerifyFailure::Genesis { expected: genesis });
    }
    let mut most = (Work::ZERO, genesis);
    for entry in snapshot.headers.iter()? {
        let (hash, bytes) = entry?;
        let hash = BlockHash(*hash.value());
        let record = HeaderRecord::from_bytes(&hash, bytes.value())?;
        let own = record.header.bits.to_target().map_err(|_| VerifyFailure::Place(hash))?.work();
        let stands = if hash == genesis {
            record.height == 0 && record.work == own
        } else {
            let parent = snapshot.header(&record.header.prev_hash)?.ok_or(VerifyFailure::Parent(hash))?;
            record.height == parent.height + 1 && record.work == parent.work + own
        };
        if !stands {
            return Err(VerifyFailure::Place(hash));
        }
        most = most.max((record.work, hash));
        report.headers += 1;
    }
    for entry in snapshot.tips.iter()? {
        let (work, hash) = tip_from_key(entry?.0.value());
        if snapshot.header(&hash)?.is_none_or(|record| record.work != work) {
            return Err(VerifyFailure::Tip(hash));
        }
    }
    if snapshot.tips.get(&tip_key(most.0, &most.1))?.is_none() {
        return Err(VerifyFailure::Tip(most.1));
    }
    Ok(())
}

/// Block by block: the header's rules, the body's root, the undo, the indexes, the history range.
fn verify_main_chain(
    snapshot: &Snapshot,
    params: &ChainParams,
    tip: &HeaderRecord,
    report: &mut VerifyReport,
    progress: impl Fn(f64),
) -> Result<(), VerifyFailure> {
    let mut chain = HeaderWalk::new(snapshot, params);
    let mut entries = 0;
    while let Some((record, _)) = chain.next()? {
        let height = record.height;
        if record.validity != Validity::Connected {
            return Err(VerifyFailure::Validity(height));
        }
        if height > 0 && snapshot.undo(&record.hash)?.is_none() {
            return Err(VerifyFailure::Undo(height));
        }
        if let Some(body) = snapshot.body(&record.hash)? {
            report.bodies += 1;
            report.transactions += body.transactions.len() as u64;
            entries += verify_index_entries(snapshot, height, &body)?;
        }
        if height < tip.height {
            verify_history_leaf(snapshot, &record, report)?;
        }
        progress(height as f64 / tip.height.max(1) as f64);
    }
    report.index_entries = snapshot.transactions.len()? + snapshot.accounts.len()?;
    let all_held = report.bodies == tip.height + 1;
    if all_held && report.index_entries != entries {
        return Err(VerifyFailure::IndexCount { found: report.index_entries, expected: entries });
    }
    verify_history_end(snapshot, tip, report)
}

/// The main chain's headers from genesis, each checked by every rule, with its proof of work where it has one.
struct HeaderWalk<'a> {
    snapshot: &'a Snapshot,
    params: &'a ChainParams,
    batch: std::vec::IntoIter<HeaderRecord>,
    next_height: u64,
    parent: Option<HeaderRecord>,
    grandparent_time: u64,
}

impl<'a> HeaderWalk<'a> {
    fn new(snapshot: &'a Snapshot, params: &'a ChainParams) -> HeaderWalk<'a> {
        HeaderWalk {
            snapshot,
            params,
            batch: Vec::new().into_iter(),
            next_height: 0,
            parent: None,
            grandparent_time: 0,
        }
    }

    /// The next header, and what its check gave: nothing for genesis, which is exempt.
    fn next(&mut self) -> Result<Option<(HeaderRecord, Option<CheckedHeader>)>, VerifyFailure> {
        if self.batch.as_slice().is_empty() {
            self.batch = self.snapshot.headers_from(self.next_height, HEADER_BATCH)?.into_iter();
        }
        let Some(record) = self.batch.next() else { return Ok(None) };
        let height = self.next_height;
        if record.height != height {
            return Err(VerifyFailure::Place(record.hash));
        }
        let checked = match self.parent {
            None => None,
            Some(parent) => Some(self.check(&record, &parent)?),
        };
        self.grandparent_time = self.parent.map_or(0, |parent| parent.header.time);
        self.parent = Some(record);
        self.next_height += 1;
        Ok(Some((record, checked)))
    }

    fn check(&self, record: &HeaderRecord, parent: &HeaderRecord) -> Result<CheckedHeader, VerifyFailure> {
        let height = record.height;
        let checked =
            check_header(record.header, self.params).map_err(|error| VerifyFailure::Header { height, error })?;
        let context = HeaderContext {
            parent_hash: parent.hash,
            parent: ParentTimes {
                bits: parent.header.bits,
                height: parent.height,
                time: parent.header.time,
                grandparent_time: self.grandparent_time,
            },
        };
        // Whatever is on the chain was no longer from the future when it was connected.
        check_header_in_context(&checked, &context, self.params, u64::MAX)
            .map_err(|error| VerifyFailure::Context { height, error })?;
        Ok(checked)
    }
}

/// The block's entries are in the indexes that are kept. Returns how many there are.
pub(super) fn verify_index_entries(snapshot: &Snapshot, height: u64, body: &Body) -> Result<u64, VerifyFailure> {
    // Genesis moves nothing.
    if height == 0 {
        return Ok(0);
    }
    let mut entries = 0;
    if snapshot.indexes().transactions {
        for (txid, place) in transaction_entries(height, body) {
            if snapshot.transaction_place(&txid)? != Some(place) {
                return Err(VerifyFailure::Index(height));
            }
            entries += 1;
        }
    }
    if snapshot.indexes().accounts {
        for (key, role) in account_entries(height, body) {
            let value = snapshot.accounts.get(&key)?;
            let found = value.map(|value| HistoryEntry::from_bytes(&key, value.value())).transpose()?;
            if found.is_none_or(|found| found.role != role) {
                return Err(VerifyFailure::Index(height));
            }
            entries += 1;
        }
    }
    Ok(entries)
}

/// The nodes that an ancestor's leaf completes are what the nodes before them give: so all are, by induction.
pub(super) fn verify_history_leaf(
    snapshot: &Snapshot,
    record: &HeaderRecord,
    report: &mut VerifyReport,
) -> Result<(), VerifyFailure> {
    let leaf = history_leaf(&record.hash, &record.work);
    let (_, nodes) = state::append(snapshot, record.height, leaf)?;
    for (node, hash) in nodes {
        if snapshot.history_node(node)? != Some(hash) {
            return Err(VerifyFailure::HistoryNode(node));
        }
        report.history_nodes += 1;
    }
    Ok(())
}

/// No node is left over, and the state carries the root.
fn verify_history_end(snapshot: &Snapshot, tip: &HeaderRecord, report: &VerifyReport) -> Result<(), VerifyFailure> {
    let stored = snapshot.history.len()?;
    if stored != report.history_nodes {
        return Err(VerifyFailure::HistoryCount { stored, expected: report.history_nodes });
    }
    let expected = match tip.height {
        0 => None,
        height => Some(Leaf::History(history_root(snapshot, height)?)),
    };
    if snapshot.leaf(&StateKey::history())? != expected {
        return Err(VerifyFailure::HistoryRoot);
    }
    Ok(())
}

/// The leaves give the stored pages, no others, and the root in the tip's header.
fn verify_tree(snapshot: &Snapshot, tip: &HeaderRecord, report: &mut VerifyReport) -> Result<(), VerifyFailure> {
    let mut expected = 0;
    let mut verdict = Ok(());
    let (found, _) = state::rebuild(snapshot, |path, page| {
        expected += 1;
        if verdict.is_ok() {
            verdict = match snapshot.page(&path) {
                Ok(stored) if stored.as_ref() == Some(&page) => Ok(()),
                Ok(_) => Err(VerifyFailure::Page(path)),
                Err(error) => Err(error.into()),
            };
        }
    })?;
    verdict?;
    let required = tip.header.state_root;
    if found != required {
        return Err(VerifyFailure::StateRoot { required, found });
    }
    report.pages = snapshot.pages.len()?;
    if report.pages != expected {
        return Err(VerifyFailure::PageCount { stored: report.pages, expected });
    }
    Ok(())
}

/// The last blocks have their rewards to mature, and all that was ever issued is in the state.
fn verify_money(
    snapshot: &Snapshot,
    params: &ChainParams,
    tip: &HeaderRecord,
    report: &mut VerifyReport,
) -> Result<(), VerifyFailure> {
    let (mut balances, mut immature) = (0u128, 0u128);
    for entry in snapshot.leaves.iter()? {
        let (key, bytes) = entry?;
        match decode_leaf(&StateKey(*key.value()), bytes.value())? {
            Leaf::Account(account) => {
                report.accounts += 1;
                balances += u128::from(account.balance.0);
            }
            Leaf::Reward(reward) => {
                report.immature_rewards += 1;
                immature += u128::from(reward.amount.0);
            }
            Leaf::History(_) => {}
        }
    }
    let immature_heights = tip.height.saturating_sub(params.maturity) + 1..=tip.height;
    let expected = tip.height.min(params.maturity);
    let mut found = 0;
    for height in immature_heights {
        found += u64::from(snapshot.leaf(&StateKey::reward(height))?.is_some());
    }
    if found != expected || report.immature_rewards != expected {
        return Err(VerifyFailure::Rewards { found: report.immature_rewards, expected });
    }
    let issued = u128::from(params.allocated().0) + u128::from(subsidies_through(params, tip.height).0);
    if balances + immature != issued {
        return Err(VerifyFailure::Supply { found: balances + immature, expected: issued });
    }
    // Both are at most what was issued, which fits.
    (report.balances, report.immature) = (Amount(balances as u64), Amount(immature as u64));
    Ok(())
}

/// Runs the whole main chain from genesis through every rule of validation, in memory, and compares each undo on the
/// way and each leaf of the state at the end. Needs memory for the state: a few hundred bytes an account.
pub fn replay(snapshot: &Snapshot, params: &ChainParams, progress: impl Fn(f64)) -> Result<(), VerifyFailure> {
    let tip = snapshot.tip()?;
    let chain_id = params.chain_id();
    let mut memory = MemoryState::default();
    memory.apply(&super::open::genesis_changes(params));
    let mut chain = HeaderWalk::new(snapshot, params);
    let mut parent: Option<HeaderRecord> = None;
    while let Some((record, checked)) = chain.next()? {
        let height = record.height;
        if let (Some(parent), Some(header)) = (parent, checked) {
            let body = snapshot.body(&record.hash)?.ok_or(VerifyFailure::NotHeld(height))?;
            // The batch secret guards against peers who craft signatures while they watch; nobody watches here.
            let context = BlockContext { params, chain_id: &chain_id, height, batch_secret: &record.hash.0 };
            let block = check_block(header, body, &context).map_err(|error| VerifyFailure::Block { height, error })?;
            let parent = Parent { height: parent.height, hash: parent.hash, work: parent.work };
            let connected = match connect_block(block, &parent, params, &memory) {
                Ok(connected) => connected,
                Err(ConnectFailure::Invalid(error)) => return Err(VerifyFailure::Connect { height, error }),
                Err(ConnectFailure::Ours(never)) => match never {},
            };
            let undo = snapshot.undo(&record.hash)?.ok_or(VerifyFailure::Undo(height))?;
            if undo != *connected.undo() {
                return Err(VerifyFailure::UndoDiffers(height));
            }
            memory.apply(connected.changes());
        }
        parent = Some(record);
        progress(height as f64 / tip.height.max(1) as f64);
    }
    compare_leaves(snapshot, &memory)
}

/// The stored state is the one in memory, leaf by leaf.
fn compare_leaves(snapshot: &Snapshot, memory: &MemoryState) -> Result<(), VerifyFailure> {
    let mut expected = memory.leaves.iter();
    for entry in snapshot.leaves.iter()? {
        let (key, bytes) = entry?;
        let key = StateKey(*key.value());
        let leaf = decode_leaf(&key, bytes.value())?;
        match expected.next() {
            Some((other, other_leaf)) if (*other, *other_leaf) == (key, leaf) => {}
            // Whichever comes first is missing on the other side, or differs.
            other => return Err(VerifyFailure::Leaf(other.map_or(key, |(other, _)| key.min(*other)))),
        }
    }
    match expected.next() {
        Some((key, _)) => Err(VerifyFailure::Leaf(*key)),
        None => Ok(()),
    }
}
