//! A payment, from what was asked for to the nodes: checked against proved accounts, signed here, submitted to all of them.

use std::time::Instant;

use drystone_core::amount::Amount;
use drystone_core::api::{ErrorCode, Hex, MempoolInfo};
use drystone_core::hash::Txid;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::light::VerifiedHeader;
use drystone_core::params::ChainParams;
use drystone_core::state::{Account, Leaf, MemoryState, StateKey};
use drystone_core::transaction::{MAX_MEMO, Memo, Transaction, TransactionBody};
use drystone_core::validation::{Executor, Parent, TransferError};
use serde_json::{Value, json};

use crate::account;
use crate::chain::Chain;
use crate::commands::Report;
use crate::error::{ExitCode, Failure};
use crate::headers::Headers;
use crate::nodes::{self, Proved};
use crate::outcome::Inclusion;
use crate::rpc::{Client, NO_PARAMS, RpcError};
use crate::waiting::{self, Waiting};

/// The most that is paid without the user naming it, 0.01 stone: a node may ask for any fee.
const MAX_DEFAULT_FEE: Amount = Amount(1_000_000);
/// How often the tip may move while nodes are asked what waits.
const MAX_TRIES: u32 = 5;

/// Parses an amount of stones.
pub(crate) fn parse_amount(what: &str, text: &str) -> Result<Amount, Failure> {
    Amount::from_stones(text).map_err(|error| {
        Failure::new(
            ExitCode::BadInput,
            format!("cannot use the {what} {text:?}: {error}"),
            format!("give the {what} in stones, such as 12.5"),
        )
    })
}

/// Parses a transaction id.
pub(crate) fn parse_txid(text: &str) -> Result<Txid, Failure> {
    text.parse().map_err(|error| {
        Failure::new(
            ExitCode::BadInput,
            format!("{text:?} is no transaction id: {error}"),
            "copy the 64 hex digits again",
        )
    })
}

pub(crate) fn parse_memo(text: &str) -> Result<Memo, Failure> {
    if text.len() > MAX_MEMO {
        return Err(Failure::new(
            ExitCode::BadInput,
            format!("the memo has {} bytes, at most {MAX_MEMO} are allowed", text.len()),
            "shorten it, or leave out --memo",
        ));
    }
    Ok(Memo(text.as_bytes().to_vec()))
}

/// A conversation with one chain's nodes about an account, and what has been checked of it.
pub(crate) struct Session<'a, 'b> {
    client: &'a mut Client,
    pub(crate) chain: &'b Chain,
    pub(crate) headers: &'a mut Headers<'b>,
    pub(crate) account: AccountId,
    /// The account as it was proved last.
    pub(crate) proved: Proved,
    /// The nodes whose chains checked out then.
    pub(crate) nodes: Vec<Client>,
    /// What waits of the account, if it was asked.
    waiting: Waiting,
    /// What the user should know beside the outcome.
    notes: Vec<String>,
}

impl<'a, 'b> Session<'a, 'b> {
    /// Proves the account that pays, at every node.
    pub(crate) fn open(
        client: &'a mut Client,
        chain: &'b Chain,
        headers: &'a mut Headers<'b>,
        account: AccountId,
    ) -> Result<Session<'a, 'b>, Failure> {
        let proved = nodes::prove(client, headers, &account)?;
        let nodes = proved.sound(client);
        let (waiting, notes) = (Waiting::default(), Vec::new());
        Ok(Session { client, chain, headers, account, proved, nodes, waiting, notes })
    }

    /// Proves the account again.
    pub(crate) fn prove_again(&mut self) -> Result<(), Failure> {
        self.proved = nodes::prove(self.client, self.headers, &self.account)?;
        self.nodes = self.proved.sound(self.client);
        Ok(())
    }

    /// The signed payment, if it would be valid in the state that the nodes prove.
    pub(crate) fn prepare(
        &mut self,
        key: &SecretKey,
        to: AccountId,
        amount: Amount,
        fee: Option<Amount>,
        memo: Memo,
    ) -> Result<Transaction, Failure> {
        let nonce = self.next_nonce()?;
        let mut body = TransactionBody { from: self.account, to, amount, fee: fee.unwrap_or_default(), nonce, memo };
        if fee.is_none() {
            // The length does not depend on the fee.
            let length = body.clone().sign(&self.chain.id, key).encoded_len();
            body.fee = self.default_fee(length)?;
        }
        let transaction = body.sign(&self.chain.id, key);
        self.check(&transaction)?;
        Ok(transaction)
    }

    /// Checks a transaction, which may have been signed elsewhere or before, against the two accounts.
    pub(crate) fn check(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        let (recipient, _) = self.headers.prove(self.client, &transaction.body.to)?;
        if transaction.body.nonce < self.proved.account.nonce {
            return Err(self.used(transaction));
        }
        check_transfer(transaction, self.proved.account, recipient, &self.proved.tip, &self.chain.params)
    }

    /// An own transaction that waits at a node, whose word is not needed: the id holds for the whole of it, the signature says that
    /// the account wanted it, and the proved nonce whether it is in a block.
    pub(crate) fn pending(&mut self, txid: Txid) -> Result<Transaction, Failure> {
        let mut failures = Vec::new();
        let mut found = None;
        for node in &mut self.nodes {
            match waiting::get(node, txid, self.chain) {
                Ok(Some(transaction)) => {
                    found = Some(transaction);
                    break;
                }
                Ok(None) => failures.push(Failure::new(
                    ExitCode::BadAnswer,
                    format!("the node gave another transaction for {txid}, or one that nobody signed"),
                    "ask another node with --rpc URL",
                )),
                Err(error) if error.code() == Some(ErrorCode::NotFound) => failures.push(Failure::new(
                    ExitCode::Refused,
                    format!("no payment {txid} waits or is in a block: it was replaced or dropped, or never arrived"),
                    "see what waits and what was paid with: drystone-wallet history, before you pay again",
                )),
                Err(error) => failures.push(error.into()),
            }
        }
        let Some(transaction) = found else { return Err(weightiest(failures)) };
        if transaction.body.from != self.account {
            let from = account::address(&transaction.body.from, self.chain);
            return Err(Failure::new(
                ExitCode::BadInput,
                format!("payment {txid} is of {from}, not of this account"),
                "choose the account that made it with --account N",
            ));
        }
        match transaction.body.nonce < self.proved.account.nonce {
            true => Err(self.used(&transaction)),
            false => Ok(transaction),
        }
    }

    /// The least fee, in chips, for which a node replaces a transaction by one of `length` bytes: a tenth more, and the
    /// minimum for its bytes.
    pub(crate) fn replacement_fee(&mut self, old: &Transaction, length: usize) -> Result<Amount, Failure> {
        let least = self.default_fee(length)?;
        let old = old.body.fee.0;
        let fee = Amount(old.saturating_add(old.div_ceil(10)).saturating_add(least.0));
        if fee <= MAX_DEFAULT_FEE {
            return Ok(fee);
        }
        Err(Failure::new(
            ExitCode::Refused,
            format!("a replacement costs {} stones, more than is paid without asking", fee.to_stones()),
            "name what you agree to pay with --fee STONES",
        ))
    }

    /// The nonce after the account's waiting transactions, of which each is one that the account signed.
    fn next_nonce(&mut self) -> Result<u64, Failure> {
        for _ in 0..MAX_TRIES {
            self.waiting = Waiting::gather(&mut self.nodes, self.chain, &self.account)?;
            let (tip, next) = (self.proved.tip.hash(), self.waiting.next_nonce(self.proved.account.nonce));
            if !self.waiting.exceeds(next) {
                break;
            }
            // Either what waited is in a block since the proof, or the claim is false.
            self.prove_again()?;
            if self.proved.tip.hash() == tip {
                break;
            }
        }
        let next = self.waiting.next_nonce(self.proved.account.nonce);
        self.notes = self.waiting.notes(next);
        Ok(next)
    }

    /// What mempools ask at least for `length` bytes, rounded up: the median of the nodes, so that as long as most of them are
    /// honest, one that asks for more or less than all others decides nothing; of an even number the higher middle one, because
    /// too little keeps the payment with the one that asks for little.
    fn default_fee(&mut self, length: usize) -> Result<Amount, Failure> {
        let told = self.nodes.iter_mut().map(|node| node.call::<MempoolInfo>("mempool_info", NO_PARAMS));
        let (mut rates, mut failures) = (Vec::new(), Vec::new());
        for told in told {
            match told {
                Ok(info) => rates.push(info.min_fee_rate.0),
                Err(error) => failures.push(Failure::from(error)),
            }
        }
        rates.sort_unstable();
        let Some(rate) = rates.get(rates.len() / 2) else { return Err(weightiest(failures)) };
        let fee = (u128::from(*rate) * length as u128).div_ceil(1000);
        match u64::try_from(fee).map(Amount) {
            Ok(fee) if fee <= MAX_DEFAULT_FEE => Ok(fee),
            _ => Err(Failure::new(
                ExitCode::Refused,
                format!("the node asks for a fee of {fee} chips, more than is paid without asking"),
                "name what you agree to pay with --fee STONES, or ask another node with --rpc URL",
            )),
        }
    }

    /// Hands the payment in, waits for its block until `deadline` if there is one, and reports it under the word `done`.
    pub(crate) fn make(
        &mut self,
        transaction: &Transaction,
        deadline: Option<Instant>,
        done: &str,
    ) -> Result<Report, Failure> {
        self.submit(transaction)?;
        let inclusion = deadline.map(|deadline| self.wait(transaction, deadline)).transpose()?;
        Ok(self.report(transaction, done, inclusion))
    }

    /// Hands the payment to every node, so that none can hold it back, after those before it that a node lacks. One that takes it
    /// is enough.
    fn submit(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        let own = transaction.txid();
        let (mut refusals, mut uncertain) = (Vec::new(), None);
        for node in &mut self.nodes {
            // Should the node refuse one, then it refuses, or holds back, the payment too, and that is said.
            let (proved, nonce) = (self.proved.account.nonce, transaction.body.nonce);
            let mut before = self.waiting.lacked(node.name(), proved, nonce);
            let gone = before.find_map(|before| match node.call::<Txid>("tx_submit", [Hex(before.clone())]) {
                Err(gone @ RpcError::Unreachable(_)) => Some(gone),
                _ => None,
            });
            if let Some(gone) = gone {
                // The payment was not even offered.
                refusals.push((node.name().to_owned(), gone.into()));
                continue;
            }
            match node.call::<Txid>("tx_submit", [Hex(transaction.clone())]) {
                Ok(theirs) if theirs == own => {}
                Ok(theirs) => {
                    let failure = Failure::new(ExitCode::BadAnswer, format!("the node calls it {theirs}"), "");
                    let failure = after_sending(transaction, "may have been sent", failure);
                    uncertain.get_or_insert_with(|| failure.clone());
                    refusals.push((node.name().to_owned(), failure));
                }
                Err(error) => {
                    let failure = refusal(transaction, error);
                    if failure.code != ExitCode::Refused {
                        uncertain.get_or_insert_with(|| failure.clone());
                    }
                    refusals.push((node.name().to_owned(), failure));
                }
            }
        }
        if refusals.len() == self.nodes.len() {
            let weightiest = weightiest(refusals.into_iter().map(|(_, failure)| failure).collect());
            // Where one node may have it, the others' refusals and silence are not the end of it.
            return Err(match uncertain {
                Some(failure) if weightiest.code == ExitCode::Refused => {
                    let message = format!("{}; and {}", failure.message, weightiest.message);
                    Failure { message, ..failure }
                }
                Some(failure) => failure,
                None => weightiest,
            });
        }
        self.notes.extend(refusals.iter().map(|(url, failure)| format!("not taken: {url}: {}", failure.message)));
        Ok(())
    }

    /// What was done, and what came of it.
    fn report(&self, transaction: &Transaction, done: &str, inclusion: Option<Inclusion>) -> Report {
        let (body, txid) = (&transaction.body, transaction.txid());
        let (from, to) = (account::address(&body.from, self.chain), account::address(&body.to, self.chain));
        let mut text = format!(
            "{done} {} stones to {to}, fee {} stones, nonce {}\ntxid {txid}",
            body.amount.to_stones(),
            body.fee.to_stones(),
            body.nonce
        );
        let block = match &inclusion {
            Some(Inclusion { height, hash, confirmations }) => {
                text += &format!(
                    "\nin block {hash} at height {height}, {confirmations} confirmation(s), proved from genesis"
                );
                json!({ "height": height, "hash": hash, "confirmations": confirmations })
            }
            None => Value::Null,
        };
        text += &self.proved.text();
        for note in &self.notes {
            text += &format!("\n{note}");
        }
        let json = json!({
            "txid": txid,
            "from": from,
            "to": to,
            "amount": body.amount,
            "fee": body.fee,
            "nonce": body.nonce,
            "chain": self.chain.params.name,
            "chain_id": self.chain.id,
            "block": block,
            "heavier_height": self.proved.heavier,
            "nodes": self.proved.json(),
            "notes": self.notes,
        });
        Report { text, json }
    }
}

/// Of several nodes' failures the one that says most: a refusal before a wrong answer before silence.
fn weightiest(failures: Vec<Failure>) -> Failure {
    let weight = |failure: &Failure| match failure.code {
        ExitCode::Refused => 0,
        ExitCode::Unreachable => 2,
        _ => 1,
    };
    let nobody = || Failure::new(ExitCode::Unreachable, "no node answered", "name one that does with --rpc URL");
    failures.into_iter().min_by_key(weight).unwrap_or_else(nobody)
}

/// What it means that a node did not take a payment. It has it now, whatever it says.
fn refusal(transaction: &Transaction, error: RpcError) -> Failure {
    let (txid, nonce) = (transaction.txid(), transaction.body.nonce);
    let advice = match error.code() {
        Some(ErrorCode::FeeTooLow) => Some("leave out --fee to pay what the node asks, or sign again with more"),
        Some(ErrorCode::ReplacementTooCheap) => Some("name more with --fee STONES"),
        _ => None,
    };
    match Failure::from(error) {
        failure if failure.code == ExitCode::Refused => Failure {
            message: format!("{}; if it lies, payment {txid} (nonce {nonce}) may still be made", failure.message),
            next: advice.map_or(failure.next, str::to_owned),
            ..failure
        },
        failure => after_sending(transaction, "may have been sent", failure),
    }
}

/// A failure after the payment left: what became of it is not known, and paying again could pay twice.
pub(crate) fn after_sending(transaction: &Transaction, how: &str, failure: Failure) -> Failure {
    let (txid, nonce) = (transaction.txid(), transaction.body.nonce);
    Failure::new(
        failure.code,
        format!("payment {txid} {how}, but: {}", failure.message),
        format_args!(
            "look for it with: drystone-wallet history; to pay again, drystone-wallet sign --nonce {nonce}, \
             so that only one can be made"
        ),
    )
}

/// Applies the payment to the two accounts by the very rule that blocks are checked with.
fn check_transfer(
    transaction: &Transaction,
    sender: Account,
    recipient: Account,
    tip: &VerifiedHeader,
    params: &ChainParams,
) -> Result<(), Failure> {
    let body = &transaction.body;
    let mut state = MemoryState::default();
    state.leaves.insert(StateKey::account(&body.to), Leaf::Account(recipient));
    // Waiting transactions stand between the proved nonce and this one; the node judges what they leave.
    let sender = Account { nonce: body.nonce, ..sender };
    state.leaves.insert(StateKey::account(&body.from), Leaf::Account(sender));
    let parent = Parent { height: tip.height(), hash: tip.hash(), work: tip.work() };
    let Ok(outcome) = Executor::new(&state, &parent, params).apply(transaction);
    let Err(error) = outcome else { return Ok(()) };

    let stones = Amount::to_stones;
    let (message, next) = match error {
        TransferError::Overspend { balance, required } => (
            format!(
                "the account has {} stones, and the payment with its fee takes {}",
                stones(balance),
                stones(required)
            ),
            "see it with: drystone-wallet balance, and send less".to_owned(),
        ),
        TransferError::SenderBelowReserve { left, reserve } => (
            format!("the payment leaves the account {} stones, and it must keep {}", stones(left), stones(reserve)),
            format!("send {} stones less", Amount(reserve.0.saturating_sub(left.0)).to_stones()),
        ),
        TransferError::RecipientBelowReserve { left, reserve } => (
            format!("the recipient would have {} stones, and an account must hold {}", stones(left), stones(reserve)),
            format!("send {} stones more", Amount(reserve.0.saturating_sub(left.0)).to_stones()),
        ),
        TransferError::Nonce { .. } => (error.to_string(), "run the command again".to_owned()),
    };
    Err(Failure::new(ExitCode::Refused, message, next))
}
