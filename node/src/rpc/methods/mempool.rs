//! `mempool_info`, `mempool_list` and `fee_estimate`.

use drystone_core::address::decode_address;
use drystone_core::amount::Amount;
use drystone_core::api::{FeeEstimate, MempoolEntry, MempoolInfo, MempoolPage, TransactionFields};
use drystone_core::key::AccountId;

use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::rpc::limits::{MAX_FEE_BLOCKS, MAX_MEMPOOL_PAGE};

pub(super) fn info(call: &mut Call) -> Result<MempoolInfo, RpcError> {
    call.engine(|engine, now| {
        let mempool = engine.mempool();
        MempoolInfo {
            transactions: mempool.len() as u64,
            max_transactions: mempool.limits().capacity() as u64,
            bytes: mempool.bytes(),
            min_fee_rate: mempool.min_fee_rate(now),
            gapped: mempool.gapped_len() as u64,
        }
    })
}

pub(super) fn fee_estimate(call: &mut Call) -> Result<FeeEstimate, RpcError> {
    let blocks = call.optional::<u64>()?.unwrap_or(1).clamp(1, MAX_FEE_BLOCKS);
    let room = blocks * call.rpc.params.max_block_bytes;
    call.engine(move |engine, now| {
        let min_fee_rate = engine.mempool().min_fee_rate(now);
        let mut bytes_ahead = 0;
        for (score, transaction) in engine.mempool().by_score() {
            let bytes = transaction.transaction().encoded_len() as u64;
            if bytes_ahead + bytes > room {
                // What stands here waits longer; to stand before it takes a little more.
                let above = Amount(score.per_1000_bytes().0.saturating_add(1));
                return FeeEstimate { blocks, fee_rate: above.max(min_fee_rate), min_fee_rate, bytes_ahead };
            }
            bytes_ahead += bytes;
        }
        FeeEstimate { blocks, fee_rate: min_fee_rate, min_fee_rate, bytes_ahead }
    })
}

pub(super) fn list(call: &mut Call) -> Result<MempoolPage, RpcError> {
    let cursor: Option<String> = call.optional()?;
    let after = cursor.map(|text| parse_cursor(call, &text)).transpose()?;
    let limit = call.optional()?.unwrap_or(MAX_MEMPOOL_PAGE);
    if !(1..=MAX_MEMPOOL_PAGE).contains(&limit) {
        return Err(call.refuse(format_args!("between 1 and {MAX_MEMPOOL_PAGE} at a time, {limit} were asked for")));
    }
    let listed: Vec<_> = call.engine(move |engine, _| {
        let page = engine.mempool().list(after, limit as usize).into_iter();
        page.map(|listed| (listed.transaction.transaction().clone(), listed.score)).collect()
    })?;
    let last = listed.last().filter(|_| listed.len() as u64 == limit).map(|(transaction, _)| &transaction.body);
    let next = last.map(|body| format!("{}/{}", call.rpc.address(&body.from), body.nonce));
    let transactions = listed
        .iter()
        .map(|(transaction, score)| MempoolEntry {
            transaction: TransactionFields::new(&call.rpc.params, transaction),
            bytes: transaction.encoded_len() as u64,
            score: score.map(|rate| rate.per_1000_bytes()),
        })
        .collect();
    Ok(MempoolPage { transactions, next })
}

/// A cursor is the address and the nonce of the last transaction of a page, `ADDRESS/NONCE`. It holds also where that
/// transaction has left the mempool.
fn parse_cursor(call: &Call, text: &str) -> Result<(AccountId, u64), RpcError> {
    text.split_once('/')
        .and_then(|(address, nonce)| {
            Some((decode_address(&call.rpc.params.address_prefix, address).ok()?, nonce.parse().ok()?))
        })
        .ok_or_else(|| call.refuse("not a cursor: give the next of the page before, or null for the first page"))
}
