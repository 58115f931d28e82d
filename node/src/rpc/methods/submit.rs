//! `tx_submit` and `mining_submit`: the checks that need no state run here, the engine judges the rest.

use drystone_core::api::{BlockStatus, BlockSubmitted, ErrorCode};
use drystone_core::block::Block;
use drystone_core::encode::decode_hex;
use drystone_core::hash::Txid;
use drystone_core::transaction::Transaction;
use drystone_core::validation::{
    BlockContext, CheckedBlock, ContextFailure, HeaderError, check_block, check_header, check_header_in_context,
    check_transaction,
};

use crate::engine::mempool::AdmissionError;
use crate::engine::message::Accepted;
use crate::engine::verdict::Refusal;
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::store::{Record, StoreError};

pub(super) fn transaction(call: &mut Call) -> Result<Txid, RpcError> {
    let transaction: Transaction = decode_hex(&call.next::<String>()?).map_err(|error| {
        let next = "send the hex of one whole encoded transaction";
        RpcError::new(ErrorCode::InvalidTransaction, format_args!("not a transaction: {error}"), next)
    })?;
    let height = call.rpc.store.snapshot()?.tip()?.height + 1;
    let rules = call.rpc.params.rules_at(height);
    let checked = check_transaction(transaction, rules, &call.rpc.chain_id).map_err(refuse)?;
    let txid = checked.txid();
    match call.reach(call.rpc.mailbox.submit_transaction(checked))? {
        Ok(_) => Ok(txid),
        // Whoever submits twice has what they want.
        Err(Refusal::Admission(AdmissionError::AlreadyKnown { .. } | AdmissionError::OtherSignature { .. })) => {
            Ok(txid)
        }
        Err(refusal) => Err(refuse(refusal)),
    }
}

pub(super) fn block(call: &mut Call) -> Result<BlockSubmitted, RpcError> {
    let block: Block = decode_hex(&call.next::<String>()?).map_err(|error| {
        let next = "send the hex of one whole encoded block";
        RpcError::new(ErrorCode::InvalidBlock, format_args!("not a block: {error}"), next)
    })?;
    let header = check_header(block.header, &call.rpc.params).map_err(refuse)?;
    let hash = header.hash();
    let snapshot = call.rpc.store.snapshot()?;
    let parent = block.header.prev_hash;
    let parent = snapshot.header(&parent)?.ok_or_else(|| refuse(Refusal::MissingParent(parent)))?;
    // Its place before its signatures, which cost a thousand times more. The clock is the engine's business.
    let grandparent = snapshot.header(&parent.header.prev_hash)?;
    if parent.height > 0 && grandparent.is_none() {
        return Err(StoreError::Rotten(Record::Header(parent.header.prev_hash)).into());
    }
    let place = parent.child_context(grandparent.as_ref());
    match check_header_in_context(&header, &place, &call.rpc.params, u64::MAX) {
        Err(ContextFailure::Invalid(error)) => return Err(refuse(error)),
        Ok(()) | Err(ContextFailure::NotYet { .. }) => {}
    }
    let context = BlockContext {
        params: &call.rpc.params,
        chain_id: &call.rpc.chain_id,
        height: parent.height + 1,
        batch_secret: &call.rpc.batch_secret,
    };
    let checked = check_block(header, block.body, &context).map_err(refuse)?;
    Ok(BlockSubmitted { hash, status: hand_in_block(call, checked)? })
}

/// Hands a block to the engine and waits for what becomes of it.
pub(super) fn hand_in_block(call: &Call, block: CheckedBlock) -> Result<BlockStatus, RpcError> {
    match call.reach(call.rpc.mailbox.submit_block(block))? {
        Ok(Accepted::Connected { .. }) => Ok(BlockStatus::Connected),
        Ok(_) => Ok(BlockStatus::Beside),
        Err(refusal) => Err(refuse(refusal)),
    }
}

/// The one place where refusals become error replies.
pub(super) fn refuse(refusal: impl Into<Refusal>) -> RpcError {
    let refusal = refusal.into();
    let (code, next) = match &refusal {
        Refusal::Header(HeaderError::Work) => (ErrorCode::LowWork, "go on with the nonces and times that are left"),
        Refusal::Header(_)
        | Refusal::Context(_)
        | Refusal::Block(_)
        | Refusal::Connect(_)
        | Refusal::InvalidAncestor(_)
        | Refusal::KnownInvalid => (ErrorCode::InvalidBlock, "build a new block from mining_template"),
        Refusal::Transaction(_) => (ErrorCode::InvalidTransaction, "build it anew and sign it for this chain"),
        Refusal::TooLittleWork => (ErrorCode::StaleBlock, "get a new mining_template, on the tip"),
        Refusal::MissingParent(_) => (ErrorCode::BlockNotYet, "submit the parent first"),
        Refusal::FromFuture { .. } => (ErrorCode::BlockNotYet, "it is kept and taken up when its time comes"),
        Refusal::Admission(error) => explain(error),
        Refusal::UnknownBlock(_) => (ErrorCode::NotFound, "chain_tips lists the ends of all branches that are known"),
        Refusal::KnownBlock => {
            (ErrorCode::DuplicateBlock, "chain_block tells where it stands; get a new mining_template")
        }
        Refusal::Busy => (ErrorCode::Busy, "submit again in a moment"),
        Refusal::Ours(what) => return RpcError::node_failure(what),
    };
    RpcError::new(code, refusal, next)
}

fn explain(error: &AdmissionError) -> (ErrorCode, &'static str) {
    match error {
        AdmissionError::AlreadyKnown { .. } | AdmissionError::OtherSignature { .. } => {
            (ErrorCode::NonceUsed, "tx_get tells where it stands")
        }
        AdmissionError::NonceUsed { .. } => (ErrorCode::NonceUsed, "account_get tells the next nonce as pending_nonce"),
        AdmissionError::TooManyPending { .. }
        | AdmissionError::GappedAccountFull { .. }
        | AdmissionError::GappedPoolFull { .. } => {
            (ErrorCode::NonceTooFar, "account_get tells the next nonce as pending_nonce")
        }
        AdmissionError::FeeTooLow { .. } => (ErrorCode::FeeTooLow, "mempool_info tells the least fee rate"),
        AdmissionError::Overspend { .. } => (ErrorCode::InsufficientBalance, "account_get tells the balance"),
        AdmissionError::SenderBelowReserve { .. } | AdmissionError::RecipientBelowReserve { .. } => {
            (ErrorCode::BelowReserve, "node_info tells the reserve")
        }
        AdmissionError::ReplacementTooCheap { .. } => (ErrorCode::ReplacementTooCheap, "sign again with a higher fee"),
        AdmissionError::PoolFull { .. } | AdmissionError::QueueTooCheap { .. } => {
            (ErrorCode::MempoolFull, "sign again with a higher fee, or wait")
        }
    }
}
