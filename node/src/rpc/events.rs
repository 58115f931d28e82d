//! `chain_events`: the way of a client's copy of the chain to the node's, step by step.
//!
//! A cursor is the last block that the client took in. From it the way to the tip is a function of the block tree:
//! back to the main chain, then up. Nothing is queued for a client and nothing can be missed: one that was away for a day, or
//! reads slowly, is told the way from where it is to where the chain is by then.

use std::sync::{Arc, Mutex, PoisonError};

use drystone_core::api::{BlockId, ChainStep, ErrorCode, StepKind};
use drystone_core::hash::BlockHash;

use super::call::Call;
use super::error::RpcError;
use super::limits::MAX_STEPS;
use super::methods::find;
use crate::store::{HeaderRecord, Record, Snapshot, StoreError};

/// Where the client of a WebSocket is, if it follows the chain. It travels with each of its requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Follower(Arc<Mutex<Subscription>>);

/// The subscription of a WebSocket: one at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    /// Its number, counted up from 1.
    pub(super) id: u64,
    /// The last block that the client took in; nothing when it has ended.
    pub(super) cursor: Option<BlockHash>,
}

impl Follower {
    /// The subscription as it is now.
    pub(super) fn get(&self) -> Subscription {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the client of the subscription `id` took a step, unless it has asked for something else meanwhile.
    pub(super) fn advance(&self, id: u64, cursor: BlockHash) {
        self.change(|subscription| {
            if subscription.id == id && subscription.cursor.is_some() {
                subscription.cursor = Some(cursor);
            }
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Subscription) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `chain_events`: follows the chain from a block on, in place of what was followed before.
pub(super) fn start(call: &mut Call) -> Result<u64, RpcError> {
    let from: Option<BlockId> = call.optional()?;
    let follower = call.follower()?;
    let snapshot = call.rpc.store.snapshot()?;
    let record = match from {
        Some(id) => find(&snapshot, id)?,
        None => snapshot.tip()?,
    };
    Ok(follower.change(|subscription| {
        *subscription = Subscription { id: subscription.id + 1, cursor: Some(record.hash) };
        subscription.id
    }))
}

/// `chain_events_stop`: says whether there was such a subscription.
pub(super) fn stop(call: &mut Call) -> Result<bool, RpcError> {
    let id: u64 = call.next()?;
    let follower = call.follower()?;
    Ok(follower.change(|subscription| subscription.id == id && subscription.cursor.take().is_some()))
}

/// The refusal of a subscription over plain HTTP.
pub(super) fn needs_a_websocket(method: &str) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidRequest,
        format_args!("{method} needs a connection that stays open"),
        "connect a WebSocket to the same address and path, ws://HOST:PORT/rpc, and send the request there",
    )
}

/// The first [`MAX_STEPS`] steps on the way from the block `cursor` to the tip.
pub(super) fn steps_from(snapshot: &Snapshot, cursor: &BlockHash) -> Result<Vec<ChainStep>, StoreError> {
    let known = |hash: &BlockHash| snapshot.header(hash)?.ok_or(StoreError::Rotten(Record::Header(*hash)));
    let mut at = known(cursor)?;
    let mut steps = Vec::new();
    while steps.len() < MAX_STEPS {
        if snapshot.main_hash(at.height)? != Some(at.hash) {
            steps.push(step(StepKind::Disconnected, &at));
            at = known(&at.header.prev_hash)?;
        } else if let Some(next) = snapshot.main_hash(at.height + 1)? {
            at = known(&next)?;
            steps.push(step(StepKind::Connected, &at));
        } else {
            break;
        }
    }
    Ok(steps)
}

fn step(event: StepKind, record: &HeaderRecord) -> ChainStep {
    let HeaderRecord { hash, height, header, .. } = *record;
    let cursor = match event {
        StepKind::Connected => hash,
        StepKind::Disconnected => header.prev_hash,
    };
    ChainStep { event, height, hash, prev_hash: header.prev_hash, time: header.time, cursor }
}
