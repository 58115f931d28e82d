//! Replaying a sender's queue on its confirmed account: what the sender can still pay, and whom it has paid.

use std::collections::BTreeMap;

use drystone_core::amount::Amount;
use drystone_core::key::AccountId;
use drystone_core::state::Account;
use drystone_core::transaction::TransactionBody;

use super::AccountReader;
use super::admission::{AdmissionError, Refusal};

/// A sender's account after a prefix of its queue.
///
/// It counts confirmed balances only, with one exception: what this same queue pays a recipient counts toward the
/// recipient's reserve, because nothing else can come between. What other senders have pending counts for nothing: it can
/// be replaced or evicted.
pub(super) struct Replay<'a, R> {
    accounts: &'a R,
    reserve: Amount,
    balance: Amount,
    paid: BTreeMap<AccountId, Amount>,
}

impl<'a, R: AccountReader> Replay<'a, R> {
    /// Nothing replayed yet.
    pub(super) fn new(account: Account, reserve: Amount, accounts: &'a R) -> Replay<'a, R> {
        Replay { accounts, reserve, balance: account.balance, paid: BTreeMap::new() }
    }

    /// Applies a transfer that was found valid here before.
    pub(super) fn assume(&mut self, body: &TransactionBody) {
        let cost = if body.to == body.from { body.fee } else { cost(body) };
        self.balance = Amount(self.balance.0.saturating_sub(cost.0));
        if body.to != body.from {
            let paid = self.paid.entry(body.to).or_default();
            *paid = Amount(paid.0.saturating_add(body.amount.0));
        }
    }

    /// Applies a transfer if the chain's rules allow it after this prefix.
    pub(super) fn apply(&mut self, body: &TransactionBody) -> Result<(), Refusal<R::Error>> {
        self.check_sender(body)?;
        self.check_recipient(body)?;
        self.assume(body);
        Ok(())
    }

    /// Applies a transfer if the chain's rules allow it after this prefix, and says whether they do.
    pub(super) fn try_apply(&mut self, body: &TransactionBody) -> Result<bool, R::Error> {
        match self.apply(body) {
            Ok(()) => Ok(true),
            Err(Refusal::Rule(_)) => Ok(false),
            Err(Refusal::Reader(error)) => Err(error),
        }
    }

    /// The sender pays amount and fee and keeps at least the reserve.
    pub(super) fn check_sender(&self, body: &TransactionBody) -> Result<(), AdmissionError> {
        let required = cost(body);
        let Some(rest) = self.balance.checked_sub(required) else {
            return Err(AdmissionError::Overspend { available: self.balance, required });
        };
        let left = if body.to == body.from { Amount(rest.0.saturating_add(body.amount.0)) } else { rest };
        let reserve = self.reserve;
        if left < reserve { Err(AdmissionError::SenderBelowReserve { left, reserve }) } else { Ok(()) }
    }

    /// The recipient ends with at least the reserve. Its account is read only where this queue alone does not fund it.
    fn check_recipient(&self, body: &TransactionBody) -> Result<(), Refusal<R::Error>> {
        let reserve = self.reserve;
        let paid = self.paid.get(&body.to).map_or(0, |paid| paid.0).saturating_add(body.amount.0);
        if body.to == body.from || paid >= reserve.0 {
            return Ok(());
        }
        let confirmed = self.accounts.account(&body.to).map_err(Refusal::Reader)?;
        let left = Amount(confirmed.balance.0.saturating_add(paid));
        if left < reserve {
            return Err(AdmissionError::RecipientBelowReserve { left, reserve }.into());
        }
        Ok(())
    }
}

/// Amount and fee together.
fn cost(body: &TransactionBody) -> Amount {
    Amount(body.amount.0.saturating_add(body.fee.0))
}
