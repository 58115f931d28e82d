//! The rules that a transaction obeys by itself, whatever the state.

use rayon::prelude::*;

use crate::hash::{BlockHash, Txid, WireId};
use crate::key::{SignatureError, SignedMessage, verify_batch};
use crate::params::Rules;
use crate::transaction::Transaction;

/// A transaction that is well formed and truly signed for one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTransaction {
    transaction: Transaction,
    txid: Txid,
    wire_id: WireId,
}

impl CheckedTransaction {
    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    /// Its id for people.
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// Its id on the wire.
    pub fn wire_id(&self) -> WireId {
        self.wire_id
    }

    fn new(transaction: Transaction) -> CheckedTransaction {
        let (txid, wire_id) = (transaction.txid(), transaction.wire_id());
        CheckedTransaction { transaction, txid, wire_id }
    }
}

/// The rules that a transaction breaks by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The memo is too long.
    #[error("the memo has {found} bytes, at most {max} are allowed")]
    MemoTooLong {
        /// The longest memo in bytes.
        max: usize,
        /// This memo's bytes.
        found: usize,
    },
    /// Amount and fee together exceed 64 bits.
    #[error("amount and fee together overflow")]
    AmountOverflow,
    /// The signature rule refuses it.
    #[error("signature: {0}")]
    Signature(#[from] SignatureError),
}

/// Checks one transaction for the chain `chain_id`.
pub fn check_transaction(
    transaction: Transaction,
    rules: &Rules,
    chain_id: &BlockHash,
) -> Result<CheckedTransaction, TransactionError> {
    check_form(&transaction, rules)?;
    transaction.signed_message(chain_id).verify()?;
    Ok(CheckedTransaction::new(transaction))
}

/// Checks many transactions with batched signatures; `secret` seeds the batch (see [`verify_batch`]).
///
/// # Errors
/// The lowest index that breaks a rule, and the rule.
pub fn check_transactions(
    transactions: Vec<Transaction>,
    rules: &Rules,
    chain_id: &BlockHash,
    secret: &[u8; 32],
) -> Result<Vec<CheckedTransaction>, (usize, TransactionError)> {
    verify_transactions(&transactions, rules, chain_id, secret)?;
    Ok(transactions.into_par_iter().map(CheckedTransaction::new).collect())
}

/// The checks of [`check_transactions`] without its proof of having been checked.
pub(super) fn verify_transactions(
    transactions: &[Transaction],
    rules: &Rules,
    chain_id: &BlockHash,
    secret: &[u8; 32],
) -> Result<(), (usize, TransactionError)> {
    let malformed = transactions
        .iter()
        .enumerate()
        .find_map(|(i, transaction)| check_form(transaction, rules).err().map(|error| (i, error)));
    let well_formed = &transactions[..malformed.map_or(transactions.len(), |(i, _)| i)];
    let messages: Vec<SignedMessage> =
        well_formed.par_iter().map(|transaction| transaction.signed_message(chain_id)).collect();
    verify_batch(&messages, secret).map_err(|(i, error)| (i, error.into()))?;
    malformed.map_or(Ok(()), Err)
}

fn check_form(transaction: &Transaction, rules: &Rules) -> Result<(), TransactionError> {
    let body = &transaction.body;
    let found = body.memo.0.len();
    if found > rules.max_memo {
        return Err(TransactionError::MemoTooLong { max: rules.max_memo, found });
    }
    body.amount.checked_add(body.fee).ok_or(TransactionError::AmountOverflow)?;
    Ok(())
}
