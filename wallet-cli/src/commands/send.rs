//! `send`: checks a payment against proved accounts, signs it here, submits it, and waits for its block if told to.

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

use super::Report;
use crate::account;
use crate::chain::Chain;
use crate::cli::{Options, Send};
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

/// Makes the payment.
pub(crate) fn run(options: &Options, send: &Send) -> Result<Report, Failure> {
    let deadline = Instant::now() + options.timeout();
    let amount = parse_amount("amount", &send.amount)?;
    let fee = send.fee.as_deref().map(|fee| parse_amount("fee", fee)).transpose()?;
    let memo = parse_memo(&send.memo)?;
    let mut client = Client::new(&options.nodes(), options.timeout())?;
    let chain = Chain::of_node(options, &mut client)?;
    let to = account::parse(&send.to, &chain)?;
    let key = account::secret_key(options, &chain)?;
    let mut headers = Headers::load(&chain, &options.data_dir()?);

    let mut session = Session { client: &mut client, chain: &chain, headers: &mut headers };
    let transaction = session.prepare(&key, to, amount, fee, memo)?;
    let txid = session.submit(&transaction)?;
    let inclusion = if send.wait { Some(session.wait(&transaction, deadline)?) } else { None };
    Ok(report(&chain, &transaction, txid, inclusion))
}

/// Parses an amount of stones.
fn parse_amount(what: &str, text: &str) -> Result<Amount, Failure> {
    Amount::from_stones(text).map_err(|error| {
        Failure::new(
            ExitCode::BadInput,
            format!("cannot use the {what} {text:?}: {error}"),
            format!("give the {what} in stones, such as 12.5"),
        )
    })
}

fn parse_memo(text: &str) -> Result<Memo, Failure> {
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
struct Session<'a, 'b> {
    client: &'a mut Client,
    chain: &'b Chain,
    headers: &'a mut Headers<'b>,
}

/// The block that a payment is in, proved.
struct Inclusion {
    height: u64,
    hash: BlockHash,
    confirmations: u64,
}

impl Session<'_, '_> {
    /// The signed payment, if it would be valid in the state that the node proves.
    fn prepare(
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

    fn submit(&mut self, transaction: &Transaction) -> Result<Txid, Failure> {
        let own = transaction.txid();
        let outcome: Result<Txid, RpcError> = self.client.call("tx_submit", [Hex(transaction.clone())]);
        let theirs = outcome.map_err(|error| {
            let fee_too_low = error.code() == Some(ErrorCode::FeeTooLow);
            match Failure::from(error) {
                failure if fee_too_low => {
                    Failure { next: "leave out --fee to pay what the node asks".into(), ..failure }
                }
                failure if failure.code == ExitCode::Refused => failure,
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

fn report(chain: &Chain, transaction: &Transaction, txid: Txid, inclusion: Option<Inclusion>) -> Report {
    let body = &transaction.body;
    let (from, to) = (account::address(&body.from, chain), account::address(&body.to, chain));
    let mut text = format!(
        "sent {} stones to {to}, fee {} stones, nonce {}\ntxid {txid}",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use crate::testing::{FakeNode, Ledger, Lie, command, node, node_with};
    use drystone_core::genesis::dev_params;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    fn pay(node: &FakeNode, directory: &Path, line: &str) -> Result<Report, Failure> {
        let cli = command(node, directory, &format!("--dev 0 send {line}"));
        let Command::Send(send) = &cli.command else { panic!("{line}") };
        run(&cli.options, send)
    }

    fn bob() -> String {
        account::address(&SecretKey::dev(1).account(), &Chain::from(dev_params()))
    }

    /// An address that holds nothing.
    fn nobody() -> String {
        account::address(&AccountId([0x55; 32]), &Chain::from(dev_params()))
    }

    fn setup() -> (Arc<Mutex<Ledger>>, tempfile::TempDir) {
        let ledger = Ledger::shared(dev_params());
        ledger.lock().unwrap().mine(2, 1);
        (ledger, tempfile::tempdir().unwrap())
    }

    #[test]
    fn a_payment_reaches_the_node_as_it_was_asked_for() {
        let (ledger, dir) = setup();
        let node = node(&ledger);
        let first = pay(&node, dir.path(), &format!("{} 12.5 --memo rent", bob())).unwrap();
        let second = pay(&node, dir.path(), &format!("{} 1 --fee 0.5", bob())).unwrap();
        assert_eq!((&first.json["nonce"], &second.json["nonce"]), (&json!(0), &json!(1)), "waiting ones are counted");
        assert!(first.text.starts_with("sent 12.5 stones to tdry1"), "{}", first.text);

        let mempool = ledger.lock().unwrap().mempool.clone();
        let body = &mempool[0].body;
        assert_eq!((body.amount, body.memo.0.as_slice()), (Amount(1_250_000_000), b"rent".as_slice()));
        assert_eq!(body.fee, Amount(164), "1,000 chips for 1,000 bytes, of which it has 164");
        assert_eq!(first.json["txid"], json!(mempool[0].txid()));
        assert_eq!(mempool[1].body.fee, Amount(50_000_000));
        assert_eq!(first.json["block"], Value::Null);
    }

    #[test]
    fn waiting_ends_with_a_proved_block() {
        let (ledger, dir) = setup();
        let miner = Arc::clone(&ledger);
        let mining = thread::spawn(move || {
            while miner.lock().unwrap().mempool.is_empty() {
                thread::sleep(Duration::from_millis(10));
            }
            miner.lock().unwrap().mine(3, 1);
        });
        let report = pay(&node(&ledger), dir.path(), &format!("{} 5 --wait", bob())).unwrap();
        mining.join().unwrap();
        let block = &report.json["block"];
        assert_eq!((&block["height"], &block["confirmations"]), (&json!(3), &json!(3)));
        assert_eq!(block["hash"], json!(ledger.lock().unwrap().blocks[3].header.hash()));
        assert!(report.text.contains("at height 3, 3 confirmation(s)"), "{}", report.text);
    }

    /// A node that was killed has lost its mempool; whoever waits for the payment hands it in again.
    #[test]
    fn waiting_tells_a_node_again_that_forgot() {
        let (ledger, dir) = setup();
        let miner = Arc::clone(&ledger);
        let mining = thread::spawn(move || {
            for forgets in [true, false] {
                while miner.lock().unwrap().mempool.is_empty() {
                    thread::sleep(Duration::from_millis(10));
                }
                let mut ledger = miner.lock().unwrap();
                if forgets { ledger.mempool.clear() } else { ledger.mine(1, 1) }
            }
        });
        let report = pay(&node(&ledger), dir.path(), &format!("{} 5 --wait --timeout 60", bob())).unwrap();
        mining.join().unwrap();
        assert_eq!(report.json["block"]["height"], json!(3));
    }

    #[test]
    fn waiting_gives_up_when_told_to() {
        let (ledger, dir) = setup();
        let failure = pay(&node(&ledger), dir.path(), &format!("{} 5 --wait --timeout 1", bob())).unwrap_err();
        assert_eq!(failure.code, ExitCode::TimedOut);
        let txid = ledger.lock().unwrap().mempool[0].txid();
        assert!(failure.message.contains(&txid.to_string()), "{failure}");
    }

    #[test]
    fn bad_input_leaves_no_payment() {
        let (ledger, dir) = setup();
        let node = node(&ledger);
        let (bob, nobody, long) = (bob(), nobody(), "x".repeat(257));
        let mistyped = bob.replace("tdry1", "tdry1q");
        let main = account::address(&AccountId([1; 32]), &Chain::known(crate::cli::KnownChain::Main));
        let cases = [
            (format!("{mistyped} 1"), ExitCode::BadInput, "checksum"),
            (format!("{main} 1"), ExitCode::BadInput, "another chain"),
            (format!("{bob} 1e3"), ExitCode::BadInput, "not a decimal"),
            (format!("{bob} -1"), ExitCode::BadInput, "not a decimal"),
            (format!("{bob} 0.000000001"), ExitCode::BadInput, "eight decimals"),
            (format!("{bob} 99999999999"), ExitCode::BadInput, "largest possible"),
            (format!("{bob} 1 --fee x"), ExitCode::BadInput, "the fee"),
            (format!("{bob} 1 --memo {long}"), ExitCode::BadInput, "257 bytes"),
            (format!("{bob} 10001"), ExitCode::Refused, "has 10000 stones"),
            (format!("{bob} 10000"), ExitCode::Refused, "has 10000 stones"),
            (format!("{bob} 1 --fee 90071992.54740991"), ExitCode::Refused, "has 10000 stones"),
            (format!("{bob} 9999.9995 --fee 0"), ExitCode::Refused, "leaves the account 0.0005 stones"),
            (format!("{nobody} 0.0009"), ExitCode::Refused, "recipient would have 0.0009"),
        ];
        for (line, code, words) in cases {
            let failure = pay(&node, dir.path(), &line).unwrap_err();
            assert_eq!(failure.code, code, "{line}: {failure}");
            assert!(failure.message.contains(words), "{line}: {failure}");
            assert!(!failure.next.is_empty());
        }
        assert!(ledger.lock().unwrap().mempool.is_empty());
    }

    /// The neighbours of what is refused.
    #[test]
    fn bounds_pass() {
        let (ledger, dir) = setup();
        let node = node(&ledger);
        let (bob, nobody, memo) = (bob(), nobody(), "x".repeat(256));
        pay(&node, dir.path(), &format!("{bob} 9999.999 --fee 0 --memo {memo}")).unwrap();
        ledger.lock().unwrap().mempool.clear();
        pay(&node, dir.path(), &format!("{nobody} 0.001")).unwrap();
        ledger.lock().unwrap().mempool.clear();
        pay(&node, dir.path(), &format!("{bob} 0")).unwrap();
        ledger.lock().unwrap().mempool.clear();
        let own = account::address(&SecretKey::dev(0).account(), &Chain::from(dev_params()));
        pay(&node, dir.path(), &format!("{own} 9999")).unwrap();
        ledger.lock().unwrap().mine(1, 1);
    }

    #[test]
    fn a_greedy_node_is_not_obeyed() {
        let (ledger, dir) = setup();
        let node = node(&ledger);
        // 160 bytes cost 0.01 stone at this rate.
        for (rate, allowed) in [(6_250_000, true), (6_250_001, false), (u64::MAX, false)] {
            ledger.lock().unwrap().min_fee_rate = Amount(rate);
            let outcome = pay(&node, dir.path(), &format!("{} 1", bob()));
            assert_eq!(outcome.is_ok(), allowed, "{rate}");
            if let Err(failure) = outcome {
                assert_eq!(failure.code, ExitCode::Refused);
                assert!(failure.next.contains("--fee"));
            }
        }
        pay(&node, dir.path(), &format!("{} 1 --fee 0.02", bob())).unwrap();
    }

    #[test]
    fn a_lying_node_is_found_out() {
        fn nonce(method: &str, value: &mut Value) {
            if method == "account_get" {
                value["pending_nonce"] = json!(1000);
            }
        }
        fn txid(method: &str, value: &mut Value) {
            if method == "tx_submit" {
                *value = json!(Txid([1; 32]));
            }
        }
        fn confirmed(method: &str, value: &mut Value) {
            if method == "tx_get" {
                value["status"] = json!("confirmed");
                value["height"] = json!(0);
                value["block_hash"] = json!(dev_params().chain_id());
                value["index"] = json!(0);
                value["confirmations"] = json!(3);
            }
        }
        let lies: [(&str, Lie); 3] =
            [("the next nonce is 1000", nonce), ("calls it 0101", txid), ("and it is not", confirmed)];
        for (words, lie) in lies {
            let (ledger, dir) = setup();
            let failure = pay(&node_with(&ledger, lie), dir.path(), &format!("{} 1 --wait", bob())).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadAnswer, "{failure}");
            assert!(failure.message.contains(words), "{failure}");
        }
    }

    #[test]
    fn the_nodes_refusal_is_passed_on() {
        for (code, exit, next) in [
            (ErrorCode::MempoolFull, ExitCode::Refused, "the node's advice"),
            (ErrorCode::FeeTooLow, ExitCode::Refused, "leave out --fee"),
            (ErrorCode::TimedOut, ExitCode::Unreachable, "before you pay again"),
        ] {
            let (ledger, dir) = setup();
            let refusing = FakeNode::start(move |method, params| {
                if method == "tx_submit" {
                    return Err((code, "no".into()));
                }
                ledger.lock().unwrap().answer(method, params)
            });
            let failure = pay(&refusing, dir.path(), &format!("{} 1", bob())).unwrap_err();
            assert_eq!(failure.code, exit);
            assert!(failure.next.contains(next), "{failure}");
        }
    }
}
