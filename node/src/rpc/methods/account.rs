//! `account_get` and `account_proof`.

use std::sync::Arc;

use drystone_core::amount::Amount;
use drystone_core::api::{AccountInfo, AccountProof, Hex};
use drystone_core::key::AccountId;
use drystone_core::state::{Account, Leaf, StateKey, StateView, prove};

use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::store::{Record, Snapshot, StoreError};

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

/// What the account holds; nothing where it is absent.
fn read(snapshot: &Snapshot, id: &AccountId) -> Result<Account, StoreError> {
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
