//! A payment, from what was asked for to its block: checked against proved accounts, signed here, submitted, waited for.

use std::thread;
use std::time::{Duration, Instant};

use drystone_core::amount::Amount;
use drystone_core::api::{
    AccountInfo, BlockId, ErrorCode, HeaderInfo, Hex, MempoolInfo, TransactionInfo, TransactionStatus,
};
use drystone_core::block::Block;
use drystone_core::hash::{BlockHash, Txid};
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
use crate::rpc::{Client, NO_PARAMS, RpcError};

/// How often `--wait` asks.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The most that is paid without the user naming it, 0.01 stone: a node may ask for any fee.
const MAX_DEFAULT_FEE: Amount = Amount(1_000_000);
/// A node holds this many waiting transactions of an account; a nonce further ahead cannot be right.
const MAX_PENDING: u64 = 64;

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

/// A conversation with one chain's nodes, and what has been checked of it.
pub(crate) struct Session<'a, 'b> {
    pub(crate) client: &'a mut Client,
    pub(crate) chain: &'b Chain,
    pub(crate) headers: &'a mut Headers<'b>,
}

/// The block that a payment is in, proved.
struct Inclusion {
    height: u64,
    hash: BlockHash,
    confirmations: u64,
}

impl Session<'_, '_> {
    /// The signed payment, if it would be valid in the state that the node proves.
    pub(crate) fn prepare(
        &mut self,
        key: &SecretKey,
        to: AccountId,
        amount: Amount,
        fee: Option<Amount>,
        memo: Memo,
    ) -> Result<Transaction, Failure> {
        let from = key.account();
        let Proved { account: sender, tip, .. } = nodes::prove(self.client, self.headers, &from)?;
        let (recipient, _) = self.headers.prove(self.client, &to)?;
        let nonce = self.next_nonce(&from, &sender)?;
        let mut body = TransactionBody { from, to, amount, fee: fee.unwrap_or_default(), nonce, memo };
        if fee.is_none() {
            // The length does not depend on the fee.
            let length = body.clone().sign(&self.chain.id, key).encoded_len();
            body.fee = self.default_fee(length)?;
        }
        let transaction = body.sign(&self.chain.id, key);
        check_transfer(&transaction, sender, recipient, &tip, &self.chain.params)?;
        Ok(transaction)
    }

    /// Checks a transaction that was signed elsewhere or before as [`Session::prepare`] does.
    pub(crate) fn check(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        let Proved { account: sender, tip, .. } = nodes::prove(self.client, self.headers, &transaction.body.from)?;
        let (recipient, _) = self.headers.prove(self.client, &transaction.body.to)?;
        if transaction.body.nonce < sender.nonce {
            let (nonce, next) = (transaction.body.nonce, sender.nonce);
            return Err(Failure::new(
                ExitCode::Refused,
                format!("nonce {nonce} is used: the account's next is {next}"),
                format!("see what became of it with: drystone-wallet history, or sign it anew with --nonce {next}"),
            ));
        }
        check_transfer(transaction, sender, recipient, &tip, &self.chain.params)
    }

    /// An own transaction that waits at the node.
    pub(crate) fn pending(&mut self, txid: Txid, own: &AccountId) -> Result<Transaction, Failure> {
        let info: TransactionInfo = match self.client.call("tx_get", [txid]) {
            Ok(info) => info,
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                return Err(Failure::new(
                    ExitCode::Refused,
                    format!("no payment {txid} waits or is in a block: it was replaced or dropped, or never arrived"),
                    "see what waits and what was paid with: drystone-wallet history, before you pay again",
                ));
            }
            Err(error) => return Err(error.into()),
        };
        let Hex(transaction) = info.raw;
        if transaction.txid() != txid {
            return Err(Failure::new(
                ExitCode::BadAnswer,
                format!("the node gave another transaction for {txid}"),
                "ask another node with --rpc URL",
            ));
        }
        if let TransactionStatus::Confirmed { height, .. } = info.status {
            return Err(Failure::new(
                ExitCode::Refused,
                format!("payment {txid} is in a block already, at height {height}"),
                format!("prove it with: drystone-wallet receipt {txid}"),
            ));
        }
        if transaction.body.from == *own {
            return Ok(transaction);
        }
        let from = account::address(&transaction.body.from, self.chain);
        Err(Failure::new(
            ExitCode::BadInput,
            format!("payment {txid} is of {from}, not of this account"),
            "choose the account that made it with --account N",
        ))
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

    /// The nonce after the account's waiting transactions. The node alone knows those, within the bounds that make sense.
    fn next_nonce(&mut self, from: &AccountId, proved: &Account) -> Result<u64, Failure> {
        let info: AccountInfo = self.client.call("account_get", [account::address(from, self.chain)])?;
        // A block may have arrived since the proof, so the nonce may have moved on by as many as were waiting.
        let plausible = proved.nonce..=proved.nonce.saturating_add(2 * MAX_PENDING);
        if plausible.contains(&info.pending_nonce) {
            return Ok(info.pending_nonce);
        }
        Err(Failure::new(
            ExitCode::BadAnswer,
            format!("the node says the next nonce is {}, where {} is proved", info.pending_nonce, proved.nonce),
            "ask another node with --rpc URL",
        ))
    }

    /// What the node's mempool asks at least for `length` bytes, rounded up.
    fn default_fee(&mut self, length: usize) -> Result<Amount, Failure> {
        let info: MempoolInfo = self.client.call("mempool_info", NO_PARAMS)?;
        let fee = (u128::from(info.min_fee_rate.0) * length as u128).div_ceil(1000);
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
        let txid = self.submit(transaction)?;
        let inclusion = deadline.map(|deadline| self.wait(transaction, deadline)).transpose()?;
        Ok(report(self.chain, transaction, done, txid, inclusion))
    }

    fn submit(&mut self, transaction: &Transaction) -> Result<Txid, Failure> {
        let own = transaction.txid();
        let outcome: Result<Txid, RpcError> = self.client.call("tx_submit", [Hex(transaction.clone())]);
        let nonce = transaction.body.nonce;
        let theirs = outcome.map_err(|error| {
            let advice = match error.code() {
                Some(ErrorCode::FeeTooLow) => Some("leave out --fee to pay what the node asks"),
                Some(ErrorCode::ReplacementTooCheap) => Some("name more with --fee STONES"),
                _ => None,
            };
            match Failure::from(error) {
                // It has the payment now, whatever it says.
                failure if failure.code == ExitCode::Refused => Failure {
                    message: format!(
                        "{}; if it lies, payment {own} (nonce {nonce}) may still be made",
                        failure.message
                    ),
                    next: advice.map_or(failure.next, str::to_owned),
                    ..failure
                },
                failure => after_sending(own, "may have been sent", failure),
            }
        })?;
        if theirs == own {
            return Ok(own);
        }
        let failure = Failure::new(ExitCode::BadAnswer, format!("the node calls it {theirs}"), "");
        Err(after_sending(own, "may have been sent", failure))
    }

    /// Asks until the payment is in a block, and proves that it is.
    fn wait(&mut self, transaction: &Transaction, deadline: Instant) -> Result<Inclusion, Failure> {
        let txid = transaction.txid();
        loop {
            if let Some(inclusion) =
                self.inclusion(transaction).map_err(|failure| after_sending(txid, "was sent", failure))?
            {
                return Ok(inclusion);
            }
            if Instant::now() + POLL_INTERVAL >= deadline {
                return Err(Failure::new(
                    ExitCode::TimedOut,
                    format!("payment {txid} was sent but is in no block yet"),
                    "look at the nonce with: drystone-wallet --json balance, and give --wait more time with --timeout",
                ));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// The block that the payment is in, once there is one: its header in the checked chain, the payment in its body.
    fn inclusion(&mut self, transaction: &Transaction) -> Result<Option<Inclusion>, Failure> {
        let info: TransactionInfo = match self.client.call("tx_get", [transaction.txid()]) {
            Ok(info) => info,
            // A node that took over, or restarted, has not heard of it: it hears it again. Should it refuse, because a
            // block has just brought it or because its mempool is full, the next look says how things stand.
            Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                let _: Result<Txid, RpcError> = self.client.call("tx_submit", [Hex(transaction.clone())]);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let TransactionStatus::Confirmed { height, block_hash: hash, .. } = info.status else { return Ok(None) };
        let head: HeaderInfo = self.client.call("chain_head", NO_PARAMS)?;
        if !self.headers.follow(self.client, head.height, head.hash)? || !self.headers.contains(height, hash) {
            return Ok(None);
        }
        let Hex(block): Hex<Block> = self.client.call("chain_block", (BlockId::Hash(hash), true))?;
        let holds = block.header.hash() == hash
            && block.body.tx_root() == block.header.tx_root
            && block.body.transactions.contains(transaction);
        if !holds {
            return Err(Failure::new(
                ExitCode::BadAnswer,
                format!("the node says the payment is in block {hash}, and it is not"),
                "ask another node with --rpc URL",
            ));
        }
        let confirmations = self.headers.tip().height() + 1 - height;
        Ok(Some(Inclusion { height, hash, confirmations }))
    }
}

/// A failure after the payment left: what became of it is not known, and paying again could pay twice.
fn after_sending(txid: Txid, how: &str, failure: Failure) -> Failure {
    Failure::new(
        failure.code,
        format!("payment {txid} {how}, but: {}", failure.message),
        "look whether the nonce moved before you pay again: drystone-wallet --json balance",
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

/// What was done, and what came of it.
fn report(chain: &Chain, transaction: &Transaction, done: &str, txid: Txid, inclusion: Option<Inclusion>) -> Report {
    let body = &transaction.body;
    let (from, to) = (account::address(&body.from, chain), account::address(&body.to, chain));
    let mut text = format!(
        "{done} {} stones to {to}, fee {} stones, nonce {}\ntxid {txid}",
        body.amount.to_stones(),
        body.fee.to_stones(),
        body.nonce
    );
    let block = match &inclusion {
        Some(Inclusion { height, hash, confirmations }) => {
            text +=
                &format!("\nin block {hash} at height {height}, {confirmations} confirmation(s), proved from genesis");
            json!({ "height": height, "hash": hash, "confirmations": confirmations })
        }
        None => Value::Null,
    };
    let json = json!({
        "txid": txid,
        "from": from,
        "to": to,
        "amount": body.amount,
        "fee": body.fee,
        "nonce": body.nonce,
        "chain": chain.params.name,
        "chain_id": chain.id,
        "block": block,
    });
    Report { text, json }
}
