//! A development chain with as many funded accounts as a full block needs, and who pays whom on it.

use drystone_core::address::encode_address;
use drystone_core::amount::Amount;
use drystone_core::genesis::dev_params;
use drystone_core::hash::BlockHash;
use drystone_core::key::SecretKey;
use drystone_core::params::{Allocation, ChainParams};
use drystone_core::transaction::{Memo, Transaction, TransactionBody};

/// What genesis gives each account, in chips: ten stones, so that a hundred thousand accounts are within all supply.
const ENDOWMENT: u64 = 1_000_000_000;
/// What a payment pays, far above the least fee of 160 chips.
const FEE: u64 = 1_000;

/// The development chain's rules with `accounts` funded accounts, whose keys are [`key`]`(0..accounts)`.
pub fn params(accounts: usize) -> ChainParams {
    let fund = |number| Allocation { account: key(number).account(), amount: Amount(ENDOWMENT) };
    let mut allocations: Vec<Allocation> = (0..accounts).map(fund).collect();
    allocations.sort_unstable();
    ChainParams { name: "drystone-far".into(), allocations, ..dev_params() }
}

/// The key of a funded account. It is no secret.
pub fn key(number: usize) -> SecretKey {
    let mut seed = [0xfa; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SecretKey::from_seed(&seed)
}

/// The address of a funded account.
pub fn address(params: &ChainParams, number: usize) -> String {
    encode_address(&params.address_prefix, &key(number).account())
}

/// Funded accounts that pay each other in turn, and the next nonce of each.
#[derive(Clone)]
pub struct Payers {
    chain_id: BlockHash,
    keys: Vec<SecretKey>,
    nonces: Vec<u64>,
    next: usize,
}

impl Payers {
    /// All funded accounts of a chain that has no block yet.
    pub fn new(params: &ChainParams) -> Payers {
        let accounts = params.allocations.len();
        let keys = (0..accounts).map(key).collect();
        Payers { chain_id: params.chain_id(), keys, nonces: vec![0; accounts], next: 0 }
    }

    /// The same accounts on a chain with these rules.
    #[must_use]
    pub fn on(self, params: &ChainParams) -> Payers {
        Payers { chain_id: params.chain_id(), ..self }
    }

    /// The next `count` payments, of 160 bytes each, valid in this order.
    pub fn payments(&mut self, count: usize) -> Vec<Transaction> {
        (0..count).map(|_| self.payment()).collect()
    }

    fn payment(&mut self) -> Transaction {
        let from = self.next;
        self.next = (from + 1) % self.keys.len();
        let nonce = self.nonces[from];
        self.nonces[from] += 1;
        self.sign(from, self.next, 1, nonce)
    }

    /// A payment of this amount between two accounts under a nonce of one's own choice.
    pub fn sign(&self, from: usize, to: usize, amount: u64, nonce: u64) -> Transaction {
        let (key, to) = (&self.keys[from], self.keys[to].account());
        let (amount, fee) = (Amount(amount), Amount(FEE));
        let body = TransactionBody { from: key.account(), to, amount, fee, nonce, memo: Memo::default() };
        body.sign(&self.chain_id, key)
    }

    /// How many accounts there are.
    #[allow(clippy::len_without_is_empty, reason = "a chain whose payers are nobody pays nothing")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The balance in chips and the nonce of an account once all payments of [`Payers::payments`] are confirmed, if it mined
    /// nothing.
    pub fn expected(&self, number: usize) -> (u64, u64) {
        let before = (number + self.keys.len() - 1) % self.keys.len();
        let (paid, received) = (self.nonces[number], self.nonces[before]);
        (ENDOWMENT - paid * (1 + FEE) + received, paid)
    }
}
