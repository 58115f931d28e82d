//! `account_get`, `account_proof` and `account_history`.

use std::sync::Arc;

use drystone_core::amount::Amount;
use drystone_core::api::{
    AccountEvent, AccountHistory, AccountInfo, AccountProof, AccountRole, ErrorCode, Hex, TransactionFields,
};
use drystone_core::block::Body;
use drystone_core::key::AccountId;
use drystone_core::state::{Account, Leaf, StateKey, StateView, prove};

use super::chain::{main_block, reward};
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::rpc::limits::MAX_HISTORY_PAGE;
use crate::store::{HeaderRecord, HistoryEntry, HistoryPlace, Record, Role, Snapshot, StoreError};

pub(super) fn get(call: &mut Call) -> Result<AccountInfo, RpcError> {
    let id = call.next_address()?;
    // The engine's own snapshot, so that balance and pending nonce belong to one moment.
    let (snapshot, after_pending) =
        call.engine(move |engine, _| (Arc::clone(engine.snapshot()), engine.mempool().pending_nonce(&id, 0)))?;
    let tip = snapshot.tip()?;
    let account = read(&snapshot, &id)?;
    Ok(AccountInfo {
        address: call.rpc.address(&id),
        height: tip.height,
        hash: tip.hash,
        balance: account.balance,
        nonce: account.nonce,
        pending_nonce: after_pending.max(account.nonce),
        immature: immature(call, &snapshot, &id, tip.height)?,
    })
}

pub(super) fn proof(call: &mut Call) -> Result<AccountProof, RpcError> {
    let id = call.next_address()?;
    let snapshot = call.rpc.store.snapshot()?;
    let tip = snapshot.tip()?;
    Ok(AccountProof {
        address: call.rpc.address(&id),
        height: tip.height,
        hash: tip.hash,
        header: Hex(tip.header),
        account: read(&snapshot, &id)?,
        proof: Hex(prove(&snapshot, &StateKey::account(&id))?),
    })
}

pub(super) fn history(call: &mut Call) -> Result<AccountHistory, RpcError> {
    let id = call.next_address()?;
    let cursor: Option<String> = call.optional()?;
    let before = cursor.map(|text| parse_cursor(call, &text)).transpose()?;
    let limit = call.optional()?.unwrap_or(MAX_HISTORY_PAGE);
    if !(1..=MAX_HISTORY_PAGE).contains(&limit) {
        return Err(call.refuse(format_args!("between 1 and {MAX_HISTORY_PAGE} at a time, {limit} were asked for")));
    }
    let snapshot = call.rpc.store.snapshot()?;
    if !snapshot.indexes().accounts {
        let next = "ask a node that keeps it, as nodes do unless index_accounts is false in their configuration file";
        return Err(RpcError::new(ErrorCode::NotHeld, "this node keeps no index of accounts", next));
    }
    let tip = snapshot.tip()?;
    let places = snapshot.account_history(&id, before, limit as usize)?;
    // Entries of one block follow each other.
    let mut block: Option<(HeaderRecord, Body)> = None;
    let mut entries = Vec::with_capacity(places.len());
    for HistoryEntry { place, role } in &places {
        call.check_cancelled()?;
        let (record, body) = match block.take() {
            Some((record, body)) if record.height == place.height => block.insert((record, body)),
            _ => block.insert(main_block(&snapshot, place.height)?),
        };
        let reward = (place.leaf == 0).then(|| reward(&call.rpc.params, place.height, body));
        let transaction = match place.leaf.checked_sub(1) {
            None => None,
            Some(index) => {
                let found = body.transactions.get(index as usize);
                Some(found.ok_or(StoreError::Rotten(Record::AccountHistory(place.height)))?)
            }
        };
        entries.push(AccountEvent {
            height: record.height,
            block_hash: record.hash,
            time: record.header.time,
            confirmations: tip.height - record.height + 1,
            role: role_of(*role),
            reward,
            matures: reward.map(|_| record.height + call.rpc.params.maturity),
            transaction: transaction.map(|transaction| TransactionFields::new(&call.rpc.params, transaction)),
        });
    }
    let last = places.last().filter(|_| places.len() as u64 == limit);
    let next = last.map(|entry| format!("{}/{}", entry.place.height, entry.place.leaf));
    Ok(AccountHistory { address: call.rpc.address(&id), height: tip.height, hash: tip.hash, entries, next })
}

fn role_of(role: Role) -> AccountRole {
    match role {
        Role::Earned => AccountRole::Earned,
        Role::Paid => AccountRole::Paid,
        Role::Received => AccountRole::Received,
        Role::PaidItself => AccountRole::PaidItself,
    }
}

/// A cursor is the place of the last entry of a page: its block's height and the number of its leaf there, `HEIGHT/LEAF`.
fn parse_cursor(call: &Call, text: &str) -> Result<HistoryPlace, RpcError> {
    let place = text
        .split_once('/')
        .and_then(|(height, leaf)| Some(HistoryPlace { height: height.parse().ok()?, leaf: leaf.parse().ok()? }));
    place.ok_or_else(|| call.refuse("not a cursor: give the next of the page before, or null for the first page"))
}

/// What the account holds; nothing where it is absent.
pub(super) fn read(snapshot: &Snapshot, id: &AccountId) -> Result<Account, StoreError> {
    let key = StateKey::account(id);
    match snapshot.leaf(&key)? {
        None => Ok(Account::default()),
        Some(Leaf::Account(account)) => Ok(account),
        Some(_) => Err(StoreError::Rotten(Record::Leaf(key))),
    }
}

/// The account's share of the rewards that have not matured: at most `maturity` of them exist.
fn immature(call: &Call, snapshot: &Snapshot, id: &AccountId, tip: u64) -> Result<Amount, RpcError> {
    let first = (tip + 1).saturating_sub(call.rpc.params.maturity);
    let mut sum = Amount::ZERO;
    for height in first..=tip {
        if let Some(Leaf::Reward(reward)) = snapshot.leaf(&StateKey::reward(height))?
            && reward.to == *id
        {
            sum = Amount(sum.0.saturating_add(reward.amount.0));
        }
        call.check_cancelled()?;
    }
    Ok(sum)
}
