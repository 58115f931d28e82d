//! `chain_head`, `chain_header`, `chain_headers`, `chain_block`, `chain_tips`, `tx_get` and `tx_proof`: reads of one snapshot;
//! and `chain_reconsider`.

use drystone_core::amount::Amount;
use drystone_core::api::{
    BlockId, BlockInfo, BlockReply, ErrorCode, HeaderInfo, Hex, Reconsidered, TipInfo, TipStatus, TransactionFields,
    TransactionInfo, TransactionProofInfo, TransactionStatus,
};
use drystone_core::block::{Block, Body, Header};
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::light::{AncestorProof, TransactionProof};
use drystone_core::merkle;
use drystone_core::params::ChainParams;
use drystone_core::state::{StateKey, prove, prove_ancestor};
use drystone_core::subsidy::subsidy_at;

use super::submit::refuse;
use crate::engine::message::Accepted;
use crate::rpc::Rpc;
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::rpc::limits::{MAX_HEADERS, MAX_TIPS};
use crate::store::{HeaderRecord, Record, Snapshot, StoreError, Validity};

pub(super) fn head(call: &mut Call) -> Result<HeaderInfo, RpcError> {
    let snapshot = call.rpc.store.snapshot()?;
    describe(&snapshot, &snapshot.tip()?)
}

pub(super) fn header(call: &mut Call) -> Result<HeaderInfo, RpcError> {
    let id = call.next()?;
    let snapshot = call.rpc.store.snapshot()?;
    describe(&snapshot, &find(&snapshot, id)?)
}

pub(super) fn headers(call: &mut Call) -> Result<Vec<Hex<Header>>, RpcError> {
    let from: u64 = call.next()?;
    let count: u64 = call.next()?;
    if count > MAX_HEADERS {
        return Err(call.refuse(format_args!("at most {MAX_HEADERS} headers at a time, {count} were asked for")));
    }
    let snapshot = call.rpc.store.snapshot()?;
    find(&snapshot, BlockId::Height(from))?;
    let records = snapshot.headers_from(from, count as usize)?;
    Ok(records.into_iter().map(|record| Hex(record.header)).collect())
}

pub(super) fn block(call: &mut Call) -> Result<BlockReply, RpcError> {
    let id = call.next()?;
    let raw = call.optional()?.unwrap_or(false);
    let snapshot = call.rpc.store.snapshot()?;
    let record = find(&snapshot, id)?;
    let body = held_body(&snapshot, &record)?;
    if raw {
        return Ok(BlockReply::Raw(Hex(Block { header: record.header, body })));
    }
    let fields = block_info(&call.rpc, describe(&snapshot, &record)?, &body);
    Ok(BlockReply::Fields(Box::new(fields)))
}

pub(super) fn tips(call: &mut Call) -> Result<Vec<TipInfo>, RpcError> {
    let snapshot = call.rpc.store.snapshot()?;
    let active = snapshot.tip()?;
    let mut heads = snapshot.tips().take(MAX_TIPS).collect::<Result<Vec<_>, _>>()?;
    // An invalid block may stand on the active tip, which then is no head of the header tree.
    if !heads.contains(&(active.work, active.hash)) {
        heads.insert(0, (active.work, active.hash));
    }
    heads
        .into_iter()
        .map(|(work, hash)| {
            let record = snapshot.header(&hash)?.ok_or(StoreError::Rotten(Record::Header(hash)))?;
            Ok(TipInfo { hash, height: record.height, work, status: tip_status(&snapshot, &record)? })
        })
        .collect()
}

pub(super) fn reconsider(call: &mut Call) -> Result<Reconsidered, RpcError> {
    let hash: BlockHash = call.next()?;
    match call.reach(call.rpc.mailbox.reconsider(hash))? {
        Ok(Accepted::Reconsidered { blocks }) => Ok(Reconsidered { blocks }),
        Ok(_) => unreachable!("a block was to be judged again, nothing else"),
        Err(refusal) => Err(refuse(refusal)),
    }
}

pub(super) fn transaction(call: &mut Call) -> Result<TransactionInfo, RpcError> {
    let txid: Txid = call.next()?;
    // The mempool first: what a block takes out of it meanwhile is then in the snapshot.
    let pending = call.engine(move |engine, _| engine.mempool().get(&txid).cloned())?;
    if let Some(pending) = pending {
        let transaction = pending.transaction().clone();
        return Ok(describe_transaction(&call.rpc, transaction, TransactionStatus::Pending));
    }
    let snapshot = call.rpc.store.snapshot()?;
    let Confirmed { record, body, index } = confirmed(&snapshot, txid)?;
    let status = TransactionStatus::Confirmed {
        height: record.height,
        block_hash: record.hash,
        index: index as u64,
        confirmations: snapshot.tip()?.height - record.height + 1,
    };
    Ok(describe_transaction(&call.rpc, body.transactions[index].clone(), status))
}

pub(super) fn proof(call: &mut Call) -> Result<TransactionProofInfo, RpcError> {
    let txid: Txid = call.next()?;
    let pending = call.engine(move |engine, _| engine.mempool().contains(&txid))?;
    if pending {
        let what = format_args!("transaction {txid} is in no block yet");
        return Err(RpcError::new(ErrorCode::NotFound, what, "ask again when tx_get says that it is confirmed"));
    }
    let snapshot = call.rpc.store.snapshot()?;
    let Confirmed { record, body, index } = confirmed(&snapshot, txid)?;
    let tip = snapshot.tip()?;
    let ancestor = if record.hash == tip.hash {
        None
    } else {
        let history = prove(&snapshot, &StateKey::history())?;
        Some(AncestorProof { history, path: prove_ancestor(&snapshot, tip.height, record.height)? })
    };
    let proof = TransactionProof {
        transaction: body.transactions[index].clone(),
        header: record.header,
        height: record.height,
        work: record.work,
        index: index as u64,
        count: body.transactions.len() as u64,
        path: merkle::TRANSACTIONS.path(&body.leaves(), index + 1),
        tip: tip.header,
        tip_height: tip.height,
        ancestor,
    };
    Ok(TransactionProofInfo {
        txid,
        height: record.height,
        block_hash: record.hash,
        tip_height: tip.height,
        tip_hash: tip.hash,
        proof: Hex(proof),
    })
}

/// A confirmed transaction: its block, and its place there, from 0.
struct Confirmed {
    record: HeaderRecord,
    body: Body,
    index: usize,
}

/// Where a transaction is on the main chain.
fn confirmed(snapshot: &Snapshot, txid: Txid) -> Result<Confirmed, RpcError> {
    let Some(place) = snapshot.transaction_place(&txid)? else {
        return Err(unknown_transaction(snapshot, txid));
    };
    let (record, body) = main_block(snapshot, place.height)?;
    let index = place.index as usize;
    if index >= body.transactions.len() {
        return Err(StoreError::Rotten(Record::Transaction(txid)).into());
    }
    Ok(Confirmed { record, body, index })
}

/// The main chain's block at a height that an index names.
pub(super) fn main_block(snapshot: &Snapshot, height: u64) -> Result<(HeaderRecord, Body), RpcError> {
    let hash = snapshot.main_hash(height)?.ok_or(StoreError::Rotten(Record::Main(height)))?;
    let record = snapshot.header(&hash)?.ok_or(StoreError::Rotten(Record::Header(hash)))?;
    let body = held_body(snapshot, &record)?;
    Ok((record, body))
}

/// What the producer of a block earns: the subsidy and the fees.
pub(super) fn reward(params: &ChainParams, height: u64, body: &Body) -> Amount {
    let fees: u64 = body.transactions.iter().fold(0, |fees, transaction| fees.saturating_add(transaction.body.fee.0));
    Amount(subsidy_at(params, height).0.saturating_add(fees))
}

/// The block that `id` names.
pub(in crate::rpc) fn find(snapshot: &Snapshot, id: BlockId) -> Result<HeaderRecord, RpcError> {
    let hash = match id {
        BlockId::Hash(hash) => Some(hash),
        BlockId::Height(height) => snapshot.main_hash(height)?,
    };
    let record = match hash {
        Some(hash) => snapshot.header(&hash)?,
        None => None,
    };
    match record {
        Some(record) => Ok(record),
        None => {
            let tip = snapshot.tip()?.height;
            Err(RpcError::new(
                ErrorCode::NotFound,
                format_args!("there is no block {id}"),
                format_args!("the tip is at height {tip}; chain_head describes it"),
            ))
        }
    }
}

fn describe(snapshot: &Snapshot, record: &HeaderRecord) -> Result<HeaderInfo, RpcError> {
    let main = snapshot.main_hash(record.height)? == Some(record.hash);
    let confirmations = if main { Some(snapshot.tip()?.height - record.height + 1) } else { None };
    Ok(HeaderInfo::new(record.header, record.height, record.work, confirmations))
}

/// The body of a block whose header is known.
fn held_body(snapshot: &Snapshot, record: &HeaderRecord) -> Result<Body, RpcError> {
    snapshot.body(&record.hash)?.ok_or_else(|| {
        RpcError::new(
            ErrorCode::NotHeld,
            format_args!("this node holds only the header of block {}", record.hash),
            "ask a node that holds all blocks",
        )
    })
}

fn block_info(rpc: &Rpc, header: HeaderInfo, body: &Body) -> BlockInfo {
    BlockInfo {
        bytes: body.block_bytes() as u64,
        reward_to: rpc.address(&body.reward_to),
        reward: reward(&rpc.params, header.height, body),
        transactions: body.transactions.iter().map(|tx| TransactionFields::new(&rpc.params, tx)).collect(),
        header,
    }
}

fn tip_status(snapshot: &Snapshot, record: &HeaderRecord) -> Result<TipStatus, RpcError> {
    Ok(match record.validity {
        Validity::Invalid | Validity::InvalidAncestor => TipStatus::Invalid,
        _ if snapshot.main_hash(record.height)? == Some(record.hash) => TipStatus::Active,
        _ if snapshot.has_body(&record.hash)? => TipStatus::Bodies,
        _ => TipStatus::Headers,
    })
}

fn describe_transaction(
    rpc: &Rpc,
    transaction: drystone_core::transaction::Transaction,
    status: TransactionStatus,
) -> TransactionInfo {
    TransactionInfo { transaction: TransactionFields::new(&rpc.params, &transaction), raw: Hex(transaction), status }
}

fn unknown_transaction(snapshot: &Snapshot, txid: Txid) -> RpcError {
    if snapshot.indexes().transactions {
        let next = "check the id; a transaction that was dropped can be submitted again";
        RpcError::new(ErrorCode::NotFound, format_args!("no transaction {txid} is pending or confirmed"), next)
    } else {
        let what = format!("no transaction {txid} is pending, and this node keeps no index of confirmed ones");
        RpcError::new(ErrorCode::NotHeld, what, "ask a node that keeps the transaction index")
    }
}
