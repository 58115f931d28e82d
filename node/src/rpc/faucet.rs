//! The faucet: an account of the node's own that pays strangers a little, on chains whose stones are worth nothing.
//!
//! Whoever reaches the port can ask, so there are bounds: one payment an address in an hour, and so many a minute in all.
//! Within these it can be emptied; whoever opens one decides how much it holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, TryLockError};

use drystone_core::amount::Amount;
use drystone_core::key::{AccountId, SecretKey};

/// How long an address that was paid waits for the next payment, in milliseconds: an hour.
const PAUSE_MS: u64 = 60 * 60 * 1000;
/// How many payments there are in a minute: two transactions a second fill no block, and 30 of one account that wait fit
/// its 64 in the mempool while blocks come every minute or faster.
const A_MINUTE: usize = 30;
const MINUTE_MS: u64 = 60 * 1000;
/// Addresses that are remembered: those of an hour, 30 * 60. At 40 bytes each 72 KB.
const ADDRESSES: usize = A_MINUTE * 60;

/// A faucet.
pub struct Faucet {
    key: SecretKey,
    amount: Amount,
    paid: Mutex<Paid>,
    turn: Mutex<()>,
}

impl Faucet {
    /// A faucet that pays `amount` at a time from the account of `key`.
    pub fn new(key: SecretKey, amount: Amount) -> Faucet {
        Faucet { key, amount, paid: Mutex::default(), turn: Mutex::default() }
    }

    /// The account that pays.
    pub fn account(&self) -> AccountId {
        self.key.account()
    }

    pub(super) fn key(&self) -> &SecretKey {
        &self.key
    }

    pub(super) fn amount(&self) -> Amount {
        self.amount
    }

    /// The book of payments, for a moment.
    pub(super) fn book(&self) -> MutexGuard<'_, Paid> {
        self.paid.lock().expect("nothing panics while it holds the lock")
    }

    /// The right to make a payment, if nobody makes one: two at once would take the same nonce.
    pub(super) fn turn(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(_)) => panic!("nothing panics while it holds the lock"),
        }
    }
}

/// Whom the faucet paid, and when.
#[derive(Default)]
pub(super) struct Paid {
    /// By address; none is older than [`PAUSE_MS`].
    addresses: BTreeMap<AccountId, u64>,
    /// The times of the last minute's payments, oldest first.
    recent: VecDeque<u64>,
}

impl Paid {
    /// How many milliseconds `to` has to wait at the Unix time `now`; nothing where it can be paid.
    pub(super) fn wait(&mut self, now: u64, to: &AccountId) -> Option<u64> {
        let left = |since: u64, pause: u64| pause.checked_sub(now - since).filter(|left| *left > 0);
        // After a clock was set back everything was now: nobody waits longer than the whole time.
        self.addresses.retain(|_, since| {
            *since = now.min(*since);
            left(*since, PAUSE_MS).is_some()
        });
        self.recent.retain_mut(|since| {
            *since = now.min(*since);
            left(*since, MINUTE_MS).is_some()
        });
        if let Some(since) = self.addresses.get(to) {
            return left(*since, PAUSE_MS);
        }
        let full = self.recent.len() >= A_MINUTE || self.addresses.len() >= ADDRESSES;
        full.then(|| self.recent.front().and_then(|since| left(*since, MINUTE_MS)).unwrap_or(MINUTE_MS))
    }

    /// Notes a payment.
    pub(super) fn note(&mut self, now: u64, to: AccountId) {
        self.addresses.insert(to, now);
        self.recent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(number: u64) -> AccountId {
        AccountId([number.to_le_bytes(); 4].as_flattened().try_into().unwrap())
    }

    #[test]
    fn an_address_is_paid_once_an_hour() {
        let mut paid = Paid::default();
        assert_eq!(paid.wait(1_000, &account(1)), None);
        paid.note(1_000, account(1));
        assert_eq!(paid.wait(1_000 + MINUTE_MS, &account(1)), Some(PAUSE_MS - MINUTE_MS));
        assert_eq!(paid.wait(1_000, &account(2)), None);
        assert_eq!(paid.wait(1_000 + PAUSE_MS, &account(1)), None);
    }

    #[test]
    fn after_a_clock_was_set_back_whoever_waits_as_told_is_paid() {
        let mut paid = Paid::default();
        let (ahead, now) = (1_000_000_000, 1_000);
        for number in 0..A_MINUTE as u64 {
            paid.note(ahead, account(number));
        }
        let wait = paid.wait(now, &account(99)).expect("a minute is full");
        assert_eq!(wait, MINUTE_MS);
        assert_eq!(paid.wait(now + wait, &account(99)), None);
        assert_eq!(paid.wait(now + wait, &account(0)), Some(PAUSE_MS - MINUTE_MS));
        assert_eq!(paid.wait(now + PAUSE_MS, &account(0)), None);
    }

    #[test]
    fn there_are_so_many_a_minute_and_memory_is_bounded() {
        let mut paid = Paid::default();
        for number in 0..A_MINUTE as u64 {
            assert_eq!(paid.wait(number, &account(number)), None);
            paid.note(number, account(number));
        }
        assert_eq!(paid.wait(1_000, &account(99)), Some(MINUTE_MS - 1_000));
        let mut now = 0;
        for number in 0..10 * ADDRESSES as u64 {
            now += paid.wait(now, &account(number + 1_000)).unwrap_or(0);
            assert_eq!(paid.wait(now, &account(number + 1_000)), None);
            paid.note(now, account(number + 1_000));
            assert!(paid.addresses.len() <= ADDRESSES && paid.recent.len() <= A_MINUTE);
        }
    }
}
