//! `faucet_pay`.

use std::sync::Arc;

use drystone_core::api::{ErrorCode, FaucetPaid};
use drystone_core::transaction::{MIN_TRANSACTION_BYTES, Memo, TransactionBody};
use drystone_core::validation::check_transaction;

use super::{account, submit};
use crate::engine::mempool::{AdmissionError, fee_at};
use crate::engine::verdict::Refusal;
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;

pub(super) fn pay(call: &mut Call) -> Result<FaucetPaid, RpcError> {
    let to = call.next_address()?;
    let Some(faucet) = &call.rpc.faucet else {
        let next = "start the node with --faucet STONES, on a chain of kind test or dev";
        return Err(RpcError::new(ErrorCode::FaucetOff, "this node has no faucet", next));
    };
    let from = faucet.account();
    if to == from {
        return Err(call.refuse("this is the faucet's own address"));
    }
    let too_soon = |wait: u64| {
        let message = "an address is paid once an hour, and only so many are paid in a minute";
        RpcError::new(ErrorCode::TooSoon, message, format_args!("ask again in {} s", wait.div_ceil(1000)))
    };
    // Whoever has to wait takes nobody's turn.
    let now = call.engine(|_, now| now)?;
    if let Some(wait) = faucet.book().wait(now, &to) {
        return Err(too_soon(wait));
    }
    let Some(_turn) = faucet.turn() else {
        return Err(RpcError::new(ErrorCode::Busy, "another payment is being made", "ask again in a moment"));
    };
    // The engine's own snapshot, so that the nonce after what waits and that of the state belong to one moment.
    let (snapshot, pending, rate, now) = call.engine(move |engine, now| {
        let mempool = engine.mempool();
        (Arc::clone(engine.snapshot()), mempool.pending_nonce(&from, 0), mempool.min_fee_rate(now), now)
    })?;
    if let Some(wait) = faucet.book().wait(now, &to) {
        return Err(too_soon(wait));
    }
    let nonce = pending.max(account::read(&snapshot, &from)?.nonce);
    let (amount, fee) = (faucet.amount(), fee_at(rate, MIN_TRANSACTION_BYTES as u64));
    let body = TransactionBody { from, to, amount, fee, nonce, memo: Memo::default() };
    let transaction = body.sign(&call.rpc.chain_id, faucet.key());
    let rules = call.rpc.params.rules_at(snapshot.tip()?.height + 1);
    let checked = check_transaction(transaction, rules, &call.rpc.chain_id).map_err(submit::refuse)?;
    let txid = checked.txid();
    match call.reach(call.rpc.mailbox.submit_transaction(checked))? {
        Ok(_) => {
            faucet.book().note(now, to);
            Ok(FaucetPaid { txid, from: call.rpc.address(&from), amount, fee })
        }
        Err(Refusal::Admission(AdmissionError::Overspend { .. } | AdmissionError::SenderBelowReserve { .. })) => {
            let next = format!("pay or mine to {}", call.rpc.address(&from));
            Err(RpcError::new(ErrorCode::InsufficientBalance, "the faucet is empty", next))
        }
        Err(Refusal::Admission(AdmissionError::TooManyPending { .. })) => {
            let message = "too many payments of the faucet wait for a block";
            Err(RpcError::new(ErrorCode::Busy, message, "ask again after the next block"))
        }
        Err(refusal) => Err(submit::refuse(refusal)),
    }
}
