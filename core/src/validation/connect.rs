//! The rules that need the parent's state: nonces, balances, rewards and the state root.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::block::CheckedBlock;
use crate::amount::Amount;
use crate::block::{Block, Body};
use crate::hash::{BlockHash, StateRoot};
use crate::key::AccountId;
use crate::params::ChainParams;
use crate::pow::Work;
use crate::state::{self, Account, Leaf, Reward, StateChanges, StateKey, StateView, Undo};
use crate::subsidy::subsidy_at;
use crate::transaction::{Transaction, TransactionBody};

/// Past this many accounts a block's leaves are read on all cores.
const PARALLEL_READS: usize = 256;

/// What a block that connects needs to know of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: BlockHash,
    /// The cumulative work from genesis to it, both included.
    pub work: Work,
}

/// A block that every rule accepts, with what it does to its parent's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectedBlock {
    block: CheckedBlock,
    height: u64,
    work: Work,
    changes: StateChanges,
    undo: Undo,
}

impl ConnectedBlock {
    /// The block.
    pub fn block(&self) -> &Block {
        self.block.block()
    }

    /// Its hash.
    pub fn hash(&self) -> BlockHash {
        self.block.hash()
    }

    /// Its height.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The cumulative work from genesis to it.
    pub fn work(&self) -> Work {
        self.work
    }

    /// What it does to the state.
    pub fn changes(&self) -> &StateChanges {
        &self.changes
    }

    /// How to take that back.
    pub fn undo(&self) -> &Undo {
        &self.undo
    }

    /// Gives up the proof of having been connected for its parts: the changes to lay over a view.
    pub fn into_changes(self) -> StateChanges {
        self.changes
    }
}

/// The rules that a transfer breaks in the state it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// The nonce is not the account's next one.
    #[error("nonce {found}, the account's next is {required}")]
    Nonce {
        /// The account's nonce.
        required: u64,
        /// The transaction's.
        found: u64,
    },
    /// The sender has less than amount and fee.
    #[error("amount and fee are {required} chips, the balance is {balance}")]
    Overspend {
        /// The sender's balance.
        balance: Amount,
        /// Amount plus fee.
        required: Amount,
    },
    /// The transfer leaves its sender below the reserve.
    #[error("the sender would keep {left} chips, the account reserve is {reserve}")]
    SenderBelowReserve {
        /// What would be left.
        left: Amount,
        /// The chain's reserve.
        reserve: Amount,
    },
    /// The transfer leaves its recipient below the reserve.
    #[error("the recipient would have {left} chips, the account reserve is {reserve}")]
    RecipientBelowReserve {
        /// What the recipient would have.
        left: Amount,
        /// The chain's reserve.
        reserve: Amount,
    },
}

/// The rules that a block breaks in the state it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A transfer is refused.
    #[error("transaction {index}: {error}")]
    Transfer {
        /// Its place in the block, from 0.
        index: usize,
        /// The rule.
        error: TransferError,
    },
    /// The header's state root is not the state's.
    #[error("the state root is {found}, the header's {required}")]
    StateRoot {
        /// What the header carries.
        required: StateRoot,
        /// What the block gives.
        found: StateRoot,
    },
}

/// A block does not connect: its own fault, or ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure<E> {
    /// A rule is broken, if the state that said so is sound (see [`is_state_sound`]).
    #[error(transparent)]
    Invalid(#[from] ConnectError),
    /// The state could not be read.
    #[error("the state could not be read")]
    Ours(E),
}

/// Connects a checked block to its parent, whose state `view` shows.
///
/// Order matters (PROTOCOL, "Applying a block"): the parent enters the history; transactions apply in order, each seeing
/// its predecessors; the matured reward is credited and removed; the new reward is inserted; the root must be the header's.
pub fn connect_block<V: StateView>(
    block: CheckedBlock,
    parent: &Parent,
    params: &ChainParams,
    view: &V,
) -> Result<ConnectedBlock, ConnectFailure<V::Error>> {
    let body = &block.block().body;
    let mut executor = Executor::new(view, parent, params);
    executor.prefetch(body).map_err(ConnectFailure::Ours)?;
    for (index, transaction) in body.transactions.iter().enumerate() {
        executor
            .apply(transaction)
            .map_err(ConnectFailure::Ours)?
            .map_err(|error| ConnectError::Transfer { index, error })?;
    }
    let executed = executor.finish(&body.reward_to).map_err(ConnectFailure::Ours)?;
    let (required, found) = (block.block().header.state_root, executed.state_root);
    if required != found {
        return Err(ConnectError::StateRoot { required, found }.into());
    }
    let work = parent.work + block.header().work();
    let Executed { changes, undo, .. } = executed;
    Ok(ConnectedBlock { block, height: parent.height + 1, work, changes, undo })
}

/// Whether everything that `body` reads at `parent`'s child is what `parent_root` commits to. Asked before a failure of
/// a state-dependent rule marks a block invalid: where this is false the fault is the local state's.
pub fn is_state_sound<V: StateView>(
    view: &V,
    parent_root: &StateRoot,
    parent: &Parent,
    params: &ChainParams,
    body: &Body,
) -> Result<bool, V::Error> {
    let height = parent.height + 1;
    let mut keys: Vec<StateKey> = accounts_of(body)
        .par_iter()
        .map(StateKey::account)
        .chain([StateKey::history(), StateKey::reward(height)])
        .collect();
    if let Some(matured) = matured_height(params, height) {
        let key = StateKey::reward(matured);
        keys.push(key);
        if let Some(Leaf::Reward(reward)) = view.leaf(&key)? {
            keys.push(StateKey::account(&reward.to));
        }
    }
    let sound = |key: &StateKey| Ok(state::prove(view, key)?.verify(parent_root, key).is_ok());
    for sound in keys.par_iter().map(sound).collect::<Result<Vec<bool>, V::Error>>()? {
        if !sound {
            return Ok(false);
        }
    }
    let history = state::history_root(view, parent.height)?;
    let leaf = view.leaf(&StateKey::history())?;
    Ok(if parent.height == 0 { leaf.is_none() } else { leaf == Some(Leaf::History(history)) })
}

/// The height whose reward matures in the block at `height`.
fn matured_height(params: &ChainParams, height: u64) -> Option<u64> {
    height.checked_sub(params.maturity).filter(|matured| *matured > 0)
}

/// Every account that a body touches, each once, ascending.
fn accounts_of(body: &Body) -> Vec<AccountId> {
    let mut accounts: Vec<AccountId> =
        body.transactions.iter().flat_map(|transaction| [transaction.body.from, transaction.body.to]).collect();
    accounts.par_sort_unstable();
    accounts.dedup();
    accounts
}

/// What executing a block's transactions gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// What it does to the state.
    pub changes: StateChanges,
    /// How to take that back.
    pub undo: Undo,
    /// The state root after the block.
    pub state_root: StateRoot,
    /// The fees that the block collects.
    pub fees: Amount,
}

/// An account as the block has left it so far.
#[derive(Clone, Copy, Debug)]
struct Slot {
    key: StateKey,
    before: Option<Leaf>,
    account: Account,
}

impl Slot {
    fn read<V: StateView>(view: &V, key: StateKey) -> Result<Slot, V::Error> {
        let before = view.leaf(&key)?;
        let account = match before {
            Some(Leaf::Account(account)) => account,
            // Another kind under an account's key is rot; the root that follows will not match and say so.
            _ => Account::default(),
        };
        Ok(Slot { key, before, account })
    }
}

/// Applies the transactions of one block, one after the other, over the parent's state. Used by validation, where the
/// first refusal ends it, and by templates, which leave refused transactions out.
pub struct Executor<'a, V> {
    view: &'a V,
    params: &'a ChainParams,
    parent: Parent,
    accounts: BTreeMap<AccountId, Slot>,
    fees: Amount,
}

impl<'a, V: StateView> Executor<'a, V> {
    /// An executor for the child of `parent`, whose state `view` shows.
    pub fn new(view: &'a V, parent: &Parent, params: &'a ChainParams) -> Self {
        Executor { view, params, parent: *parent, accounts: BTreeMap::new(), fees: Amount::ZERO }
    }

    /// Reads everything that `body` will touch, on all cores.
    pub fn prefetch(&mut self, body: &Body) -> Result<(), V::Error> {
        let ids = accounts_of(body);
        if ids.len() < PARALLEL_READS {
            return Ok(());
        }
        let view = self.view;
        // In the order of the keys, so that neighbours on disk are read together.
        let mut keys: Vec<(StateKey, AccountId)> = ids.par_iter().map(|id| (StateKey::account(id), *id)).collect();
        keys.par_sort_unstable();
        let read = |(key, id): &(StateKey, AccountId)| Ok((*id, Slot::read(view, *key)?));
        let mut slots: BTreeMap<AccountId, Slot> =
            keys.par_iter().map(read).collect::<Result<Vec<_>, V::Error>>()?.into_iter().collect();
        // What was read before may have changed since.
        slots.append(&mut self.accounts);
        self.accounts = slots;
        Ok(())
    }

    /// Applies one transaction, or refuses it and leaves no trace. The outer error is the view's.
    pub fn apply(&mut self, transaction: &Transaction) -> Result<Result<(), TransferError>, V::Error> {
        let body = &transaction.body;
        let sender = self.account(&body.from)?;
        let recipient = if body.to == body.from { None } else { Some(self.account(&body.to)?) };
        Ok(transfer(body, sender, recipient, self.params.account_reserve).map(|(sender, recipient)| {
            self.set(&body.from, sender);
            if let Some(recipient) = recipient {
                self.set(&body.to, recipient);
            }
            self.fees.0 = self.fees.0.saturating_add(body.fee.0);
        }))
    }

    /// The account as the transactions so far have left it.
    pub fn account(&mut self, id: &AccountId) -> Result<Account, V::Error> {
        if let Some(slot) = self.accounts.get(id) {
            return Ok(slot.account);
        }
        let slot = Slot::read(self.view, StateKey::account(id))?;
        self.accounts.insert(*id, slot);
        Ok(slot.account)
    }

    fn set(&mut self, id: &AccountId, account: Account) {
        self.accounts.get_mut(id).expect("an account is read before it is written").account = account;
    }

    /// Ends the block: history, matured reward, new reward, state root.
    pub fn finish(mut self, reward_to: &AccountId) -> Result<Executed, V::Error> {
        let height = self.parent.height + 1;
        let mut rest = BTreeMap::new();
        if let Some(matured) = matured_height(self.params, height) {
            let key = StateKey::reward(matured);
            if let Some(Leaf::Reward(reward)) = self.view.leaf(&key)? {
                let mut account = self.account(&reward.to)?;
                account.balance = credit(account.balance, reward.amount);
                self.set(&reward.to, account);
            }
            rest.insert(key, None);
        }
        let amount = credit(subsidy_at(self.params, height), self.fees);
        rest.insert(StateKey::reward(height), Some(Leaf::Reward(Reward { to: *reward_to, amount })));
        let leaf = state::history_leaf(&self.parent.hash, &self.parent.work);
        let (history_root, nodes) = state::append(self.view, self.parent.height, leaf)?;
        rest.insert(StateKey::history(), Some(Leaf::History(history_root)));

        let mut changed = Vec::with_capacity(self.accounts.len() + rest.len());
        for (key, leaf) in rest {
            changed.push((key, self.view.leaf(&key)?, leaf));
        }
        for slot in self.accounts.values() {
            let after = (slot.account != Account::default()).then_some(Leaf::Account(slot.account));
            if after != slot.before {
                changed.push((slot.key, slot.before, after));
            }
        }
        changed.par_sort_unstable_by_key(|(key, ..)| *key);
        let undo = changed.iter().map(|(key, before, _)| (*key, *before)).collect();
        // Sorted input builds the map in one pass.
        let leaves: BTreeMap<StateKey, Option<Leaf>> =
            changed.into_iter().map(|(key, _, after)| (key, after)).collect();
        let tree = state::update(self.view, &leaves)?;
        let history = nodes.into_iter().map(|(node, hash)| (node, Some(hash))).collect();
        let changes = StateChanges { leaves, pages: tree.pages, history };
        Ok(Executed { changes, undo: Undo { leaves: undo }, state_root: tree.root, fees: self.fees })
    }
}

/// All supply fits in 2^53 chips, so this saturates only over a rotten state, whose root will then not match.
fn credit(balance: Amount, amount: Amount) -> Amount {
    Amount(balance.0.saturating_add(amount.0))
}

/// One transfer between accounts as values. `recipient` is absent where the sender pays itself, which then changes
/// nothing but fee and nonce.
fn transfer(
    body: &TransactionBody,
    mut sender: Account,
    recipient: Option<Account>,
    reserve: Amount,
) -> Result<(Account, Option<Account>), TransferError> {
    if body.nonce != sender.nonce {
        return Err(TransferError::Nonce { required: sender.nonce, found: body.nonce });
    }
    let required = body.amount.checked_add(body.fee).unwrap_or(Amount(u64::MAX));
    let overspend = TransferError::Overspend { balance: sender.balance, required };
    sender.balance = sender.balance.checked_sub(required).ok_or(overspend)?;
    // It saturates only over a rotten state, whose root will then not match.
    sender.nonce = sender.nonce.saturating_add(1);
    let recipient = match recipient {
        Some(account) => Some(Account { balance: credit(account.balance, body.amount), ..account }),
        None => {
            sender.balance = credit(sender.balance, body.amount);
            None
        }
    };
    if sender.balance < reserve {
        return Err(TransferError::SenderBelowReserve { left: sender.balance, reserve });
    }
    if let Some(left) = recipient.map(|account| account.balance).filter(|left| *left < reserve) {
        return Err(TransferError::RecipientBelowReserve { left, reserve });
    }
    Ok((sender, recipient))
}
