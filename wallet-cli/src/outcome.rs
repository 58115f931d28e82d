//! What became of a payment: the block that it is in, or the other payment that took its nonce, each proved.

use std::thread;
use std::time::{Duration, Instant};

use drystone_core::api::{
    AccountEvent, AccountHistory, AccountRole, BlockId, ErrorCode, Hex, TransactionInfo, TransactionStatus,
};
use drystone_core::block::Block;
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::transaction::Transaction;

use crate::account;
use crate::error::{ExitCode, Failure};
use crate::headers::Headers;
use crate::payment::{Session, after_sending};
use crate::rpc::{Client, RpcError};

/// How often `--wait` asks.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// After so many looks in a row at which no node gave an answer of use, nothing is waited for; a node may start again meanwhile.
const MAX_FAILED: u32 = 10;
/// How far back a used nonce is looked for: ten pages of a hundred entries, the newest.
const MAX_PAGES: u32 = 10;
/// Entries of one page.
const PAGE: u64 = 100;

/// The block that a payment is in, proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inclusion {
    pub(crate) height: u64,
    pub(crate) hash: BlockHash,
    pub(crate) confirmations: u64,
}

/// What the nodes say of a payment; nothing of it is believed.
#[derive(Default)]
struct Told {
    /// The blocks that it is said to be in, each with the node that says so.
    blocks: Vec<(String, u64, BlockHash)>,
    /// Whether a node did not know it. It was handed in again.
    unknown: bool,
    /// Whether it waits at a node.
    waits: bool,
    failures: Vec<Failure>,
}

impl Session<'_, '_> {
    /// Asks until the payment is in a block, and proves that it is; or that another one took its nonce.
    pub(crate) fn wait(&mut self, transaction: &Transaction, deadline: Instant) -> Result<Inclusion, Failure> {
        let txid = transaction.txid();
        let sent = |failure| after_sending(transaction, "was sent", failure);
        let mut failed = 0;
        loop {
            let last = Instant::now() + POLL_INTERVAL >= deadline;
            let mut told = self.ask(transaction);
            // As long as all say that it waits there is nothing to prove; but whoever gives up looks for himself.
            let looks = last || told.unknown || !told.blocks.is_empty();
            let failure = if looks { self.prove_again().err() } else { told.failures.pop().filter(|_| !told.waits) };
            failed = if failure.is_some() { failed + 1 } else { 0 };
            if let Some(failure) = failure {
                if last || failed == MAX_FAILED {
                    return Err(sent(failure));
                }
            } else if looks {
                if let Some(height) = self.proved.heavier {
                    // A chain that was outdone before proves nothing, neither a block nor a nonce: the node has yet to come after.
                    if last {
                        return Err(sent(late(height)));
                    }
                } else if let Some(inclusion) = self.included(transaction, &told).map_err(sent)? {
                    return Ok(inclusion);
                } else if self.proved.account.nonce > transaction.body.nonce {
                    match self.spent(transaction.body.nonce) {
                        Some((other, inclusion)) if other.txid() == txid => return Ok(inclusion),
                        Some((other, inclusion)) => return Err(replaced(txid, &other, &inclusion)),
                        // A node that has the block will soon show it; at the end it is at least known that it is over.
                        None if last => return Err(self.used(transaction)),
                        None => {}
                    }
                }
            }
            if last {
                return Err(still_waits(transaction, told.waits));
            }
            thread::sleep(POLL_INTERVAL);
        }
    }

    /// A nonce that is used cannot be used again: says by which payment it was, as far as a node shows it.
    pub(crate) fn used(&mut self, transaction: &Transaction) -> Failure {
        let (txid, nonce, next) = (transaction.txid(), transaction.body.nonce, self.proved.account.nonce);
        match self.spent(nonce) {
            Some((other, Inclusion { height, .. })) if other.txid() == txid => Failure::new(
                ExitCode::Refused,
                format!("nonce {nonce} is used: payment {txid} is in a block already, at height {height}"),
                format!("prove it with: drystone-wallet receipt {txid}; a further payment has --nonce {next}"),
            ),
            Some((other, inclusion)) => {
                let failure = replaced(txid, &other, &inclusion);
                Failure { next: format!("{}; a further payment has --nonce {next}", failure.next), ..failure }
            }
            None => Failure::new(
                ExitCode::Refused,
                format!("nonce {nonce} is used: the account's next is {next}"),
                format!("see what became of it with: drystone-wallet history, or sign it anew with --nonce {next}"),
            ),
        }
    }

    /// Asks every node for the payment. One that does not know it, because it restarted or lost it, is told again; should it
    /// refuse, because a block has just brought it or because its mempool is full, the next look says how things stand.
    fn ask(&mut self, transaction: &Transaction) -> Told {
        let mut told = Told::default();
        for node in &mut self.nodes {
            match node.call::<TransactionInfo>("tx_get", [transaction.txid()]) {
                Ok(TransactionInfo { status: TransactionStatus::Confirmed { height, block_hash, .. }, .. }) => {
                    told.blocks.push((node.name().to_owned(), height, block_hash));
                }
                Ok(_) => told.waits = true,
                Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                    told.unknown = true;
                    let again: Result<Txid, RpcError> = node.call("tx_submit", [Hex(transaction.clone())]);
                    told.waits |= again.is_ok();
                }
                Err(error) => told.failures.push(error.into()),
            }
        }
        told
    }

    /// The block that a node named, if the heaviest chain of all has it and the payment is in its body.
    fn included(&mut self, transaction: &Transaction, told: &Told) -> Result<Option<Inclusion>, Failure> {
        let mut lies = Vec::new();
        for (url, height, hash) in &told.blocks {
            let Some(node) = self.nodes.iter_mut().find(|node| node.name() == url) else { continue };
            match block(node, self.headers, *height, *hash) {
                Some(block) if block.body.transactions.contains(transaction) => {
                    return Ok(Some(inclusion(self.headers, *height, *hash)));
                }
                Some(_) => lies.push(Failure::new(
                    ExitCode::BadAnswer,
                    format!("the node at {} says the payment is in block {hash}, and it is not", node.name()),
                    "ask another node with --rpc URL",
                )),
                None => {}
            }
        }
        // One liar among several changes nothing.
        match lies.pop() {
            Some(lie) if lies.len() + 1 == self.nodes.len() => Err(lie),
            _ => Ok(None),
        }
    }

    /// The payment of the account that used a nonce, and its block, where a node shows both.
    fn spent(&mut self, nonce: u64) -> Option<(Transaction, Inclusion)> {
        let account = self.account;
        let address = account::address(&account, self.chain);
        for node in &mut self.nodes {
            let Some((height, hash)) = find(node, &address, nonce) else { continue };
            let Some(block) = block(node, self.headers, height, hash) else { continue };
            let own = |transaction: &Transaction| transaction.body.from == account && transaction.body.nonce == nonce;
            if let Some(spent) = block.body.transactions.into_iter().find(own) {
                return Some((spent, inclusion(self.headers, height, hash)));
            }
        }
        None
    }
}

/// Where a node's list of the account has the payment with this nonce.
fn find(node: &mut Client, address: &str, nonce: u64) -> Option<(u64, BlockHash)> {
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page: AccountHistory = node.call("account_history", (address, &cursor, PAGE)).ok()?;
        let paid = |role| matches!(role, AccountRole::Paid | AccountRole::PaidItself);
        let has_nonce = |entry: &&AccountEvent| entry.transaction.as_ref().is_some_and(|paid| paid.nonce == nonce);
        let found = page.entries.iter().filter(|entry| paid(entry.role)).find(has_nonce);
        if let Some(entry) = found {
            return Some((entry.height, entry.block_hash));
        }
        cursor = Some(page.next?);
    }
    None
}

/// A block of the checked chain, with the body that its header commits to.
fn block(node: &mut Client, headers: &Headers<'_>, height: u64, hash: BlockHash) -> Option<Block> {
    if !headers.contains(height, hash) {
        return None;
    }
    let Hex(block): Hex<Block> = node.call("chain_block", (BlockId::Hash(hash), true)).ok()?;
    (block.header.hash() == hash && block.body.tx_root() == block.header.tx_root).then_some(block)
}

fn inclusion(headers: &Headers<'_>, height: u64, hash: BlockHash) -> Inclusion {
    Inclusion { height, hash, confirmations: headers.tip().height() + 1 - height }
}

/// Another payment counts.
fn replaced(txid: Txid, other: &Transaction, Inclusion { height, hash, .. }: &Inclusion) -> Failure {
    let (made, nonce) = (other.txid(), other.body.nonce);
    Failure::new(
        ExitCode::Refused,
        format!(
            "payment {txid} will not be made: nonce {nonce} is used by payment {made} of {} stones, in block {hash} at \
             height {height}, proved from genesis",
            other.body.amount.to_stones()
        ),
        format!("nothing, if that is the payment that you want; prove it with: drystone-wallet receipt {made}"),
    )
}

/// The time is over, and the nodes are on a chain that one up to `height` has outdone.
fn late(height: u64) -> Failure {
    Failure::new(
        ExitCode::BadAnswer,
        format!("no node shows the chain up to height {height} that this wallet has checked, or one with more work"),
        "",
    )
}

/// The time is over and the nonce is unused.
fn still_waits(transaction: &Transaction, waits: bool) -> Failure {
    let (txid, nonce) = (transaction.txid(), transaction.body.nonce);
    let (how, next) = if waits {
        (
            "and it waits at a node",
            format!("hasten it with: drystone-wallet bump {txid}, or give --wait more time with --timeout"),
        )
    } else {
        let next = format!("sign it again with: drystone-wallet sign --nonce {nonce}, so that only one can be made");
        ("and no node keeps it", next)
    };
    Failure::new(
        ExitCode::TimedOut,
        format!("payment {txid} was sent but is in no block yet: nonce {nonce} is unused {how}"),
        next,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeNode, Ledger, node};
    use drystone_core::amount::Amount;
    use drystone_core::genesis::dev_params;
    use drystone_core::key::SecretKey;
    use drystone_core::params::{ChainKind, ChainParams};
    use drystone_core::transaction::Memo;
    use std::sync::{Arc, Mutex};

    fn client(node: &FakeNode) -> Client {
        Client::new(std::slice::from_ref(&node.url), Duration::from_secs(10)).unwrap()
    }

    /// On a chain that was outdone before neither a block nor an unused nonce says anything.
    #[test]
    fn a_late_chain_proves_nothing_until_it_has_come_after() {
        // A chain that forgets no work by itself.
        let mut ledger = Ledger::new(ChainParams { kind: ChainKind::Test, ..dev_params() });
        ledger.mine(3, 1);
        let (chain, key, dir) = (ledger.chain.clone(), SecretKey::dev(0), tempfile::tempdir().unwrap());
        let mut heavy = ledger.clone();
        heavy.mine(3, 1);
        let mut headers = Headers::load(&chain, dir.path());
        headers.prove(&mut client(&node(&Arc::new(Mutex::new(heavy)))), &key.account()).unwrap();

        let ledger = Arc::new(Mutex::new(ledger));
        let miner = Arc::clone(&ledger);
        let mut late = client(&FakeNode::start(move |method, params| {
            let mut miner = miner.lock().unwrap();
            let answer = miner.answer(method, params);
            if method == "tx_submit" {
                miner.mine(1, 2);
            }
            answer
        }));
        let mut session = Session::open(&mut late, &chain, &mut headers, key.account()).unwrap();
        let payment = session.prepare(&key, SecretKey::dev(1).account(), Amount(5), None, Memo::default()).unwrap();
        let soon = || Instant::now() + Duration::from_secs(1);
        let failure = session.make(&payment, Some(soon()), "sent").unwrap_err();
        assert_eq!(failure.code, ExitCode::BadAnswer, "{failure}");
        assert!(failure.message.contains("was sent, but") && failure.message.contains("height 6"), "{failure}");
        ledger.lock().unwrap().mine(2, 2);
        assert_eq!(session.wait(&payment, soon()).unwrap().height, 4, "as much work will do");
    }
}
