//! What waits of an account, over all nodes whose chain checks out.
//!
//! A mempool cannot be proved: a node may hide what waits, and may say that more waits than does. But whatever waits was signed
//! by the account's key, so a nonce counts as taken only where a node shows the transaction that takes it. A node that hides
//! one is outdone by any other that shows it; what nobody shows is ignored, and whoever claims it is named.

use std::collections::{BTreeMap, BTreeSet};

use drystone_core::address::encode_address;
use drystone_core::api::{AccountInfo, Hex, MempoolEntry, MempoolPage, TransactionFields, TransactionInfo};
use drystone_core::hash::Txid;
use drystone_core::key::AccountId;
use drystone_core::transaction::Transaction;

use crate::account;
use crate::chain::Chain;
use crate::error::Failure;
use crate::rpc::{Client, RpcError};

/// Transactions of one page of the mempool: more than the 64 that wait of an account.
const PAGE: u64 = 100;

/// The signed transactions of an account that wait at some node.
#[derive(Default)]
pub(crate) struct Waiting {
    /// By nonce. Of several with one nonce, which nodes that have not met hold, the one that pays most: it replaces the others.
    pub(crate) signed: BTreeMap<u64, Transaction>,
    /// The nonces that each node holds one of, by where it is.
    held: BTreeMap<String, BTreeSet<u64>>,
    /// The next nonce that each node claims, and where it is.
    claims: Vec<(String, u64)>,
    /// Why nodes did not say what waits there.
    failures: Vec<(String, Failure)>,
}

impl Waiting {
    /// Asks every node. One that falls silent is left out of `nodes`, as long as another answers.
    ///
    /// # Errors
    /// If none says what waits there.
    pub(crate) fn gather(nodes: &mut Vec<Client>, chain: &Chain, account: &AccountId) -> Result<Waiting, Failure> {
        let (mut waiting, mut silent) = (Waiting::default(), Vec::new());
        for node in nodes.iter_mut() {
            if let Err(error) = waiting.hear(node, chain, account) {
                silent.extend(matches!(error, RpcError::Unreachable(_)).then(|| node.name().to_owned()));
                waiting.failures.push((node.name().to_owned(), error.into()));
            }
        }
        match waiting.failures.pop() {
            Some((_, error)) if waiting.failures.len() + 1 == nodes.len() => Err(error),
            last => {
                waiting.failures.extend(last);
                nodes.retain(|node| !silent.iter().any(|silent| silent == node.name()));
                Ok(waiting)
            }
        }
    }

    fn hear(&mut self, node: &mut Client, chain: &Chain, account: &AccountId) -> Result<(), RpcError> {
        let listed = listed(node, account, chain)?;
        let claim = listed.last().map_or(0, |entry| entry.transaction.nonce.saturating_add(1));
        for entry in listed {
            let txid = entry.transaction.txid;
            let known = self.signed.values().find(|transaction| transaction.txid() == txid).cloned();
            let shown = match known {
                Some(known) => Some(known),
                None => signed(node, txid, account, chain).inspect_err(|_| {
                    // What it listed counts for a claim, though not for more.
                    self.claims.push((node.name().to_owned(), claim));
                })?,
            };
            let Some(transaction) = shown else { continue };
            let nonce = transaction.body.nonce;
            self.held.entry(node.name().to_owned()).or_default().insert(nonce);
            let best = self.signed.entry(nonce).or_insert_with(|| transaction.clone());
            if best.body.fee < transaction.body.fee {
                *best = transaction;
            }
        }
        let info: AccountInfo = node.call("account_get", [account::address(account, chain)])?;
        self.claims.push((node.name().to_owned(), info.pending_nonce));
        Ok(())
    }

    /// The first nonce from `proved` on that nothing signed takes.
    pub(crate) fn next_nonce(&self, proved: u64) -> u64 {
        (proved..).zip(self.signed.range(proved..)).take_while(|(nonce, (taken, _))| nonce == *taken).count() as u64
            + proved
    }

    /// Whether a node claims a later nonce than `next`.
    pub(crate) fn exceeds(&self, next: u64) -> bool {
        self.claims.iter().any(|(_, claim)| *claim > next)
    }

    /// Of the nonces from `proved` to `next` those that the node at `url` holds none of.
    pub(crate) fn lacked<'a>(
        &'a self,
        url: &str,
        proved: u64,
        next: u64,
    ) -> impl Iterator<Item = &'a Transaction> + use<'a> {
        let held = self.held.get(url);
        let missing = self.signed.range(proved..next.max(proved));
        missing.filter(move |(nonce, _)| held.is_none_or(|held| !held.contains(nonce))).map(|(_, signed)| signed)
    }

    /// One line for each node whose word was not taken, or that gave none.
    pub(crate) fn notes(&self, next: u64) -> Vec<String> {
        let false_claims = self.claims.iter().filter(|(_, claim)| *claim > next).map(|(url, claim)| {
            format!("ignored: {url} says that the next nonce is {claim}, and no node shows signed payments up to that")
        });
        let silent = self
            .failures
            .iter()
            .map(|(url, error)| format!("ignored: {url} does not say what waits: {}", error.message));
        false_claims.chain(silent).collect()
    }
}

/// The transaction that a node has for an id; nothing where it gives another, or one that nobody signed for this chain: an id alone
/// can be made up, of a payment to anybody.
pub(crate) fn get(node: &mut Client, txid: Txid, chain: &Chain) -> Result<Option<Transaction>, RpcError> {
    let Hex(transaction) = node.call::<TransactionInfo>("tx_get", [txid])?.raw;
    let is_it = transaction.txid() == txid && transaction.signed_message(&chain.id).verify().is_ok();
    Ok(is_it.then_some(transaction))
}

/// A transaction of the account that waits at the node, if the node shows it.
fn signed(node: &mut Client, txid: Txid, account: &AccountId, chain: &Chain) -> Result<Option<Transaction>, RpcError> {
    match get(node, txid, chain) {
        Ok(found) => Ok(found.filter(|transaction| transaction.body.from == *account)),
        // Whoever is gone is not waited for again for each that it listed.
        Err(gone @ RpcError::Unreachable(_)) => Err(gone),
        Err(RpcError::Malformed { .. } | RpcError::Refused { .. }) => Ok(None),
    }
}

/// What the node lists of the account's transactions that wait, as far as it shows that the account signed them, and as they were
/// signed: what else it says of them could stand for anything. Those of nonces from `proved` on, one for each nonce: what has a
/// lower one is in a block.
pub(crate) fn shown(
    client: &mut Client,
    account: &AccountId,
    proved: u64,
    chain: &Chain,
) -> Result<Vec<MempoolEntry>, RpcError> {
    let (mut shown, mut least) = (Vec::new(), proved);
    for entry in listed(client, account, chain)? {
        let signed = signed(client, entry.transaction.txid, account, chain)?;
        if let Some(signed) = signed.filter(|signed| signed.body.nonce >= least) {
            least = signed.body.nonce.saturating_add(1);
            shown.push(MempoolEntry { transaction: TransactionFields::new(&chain.params, &signed), ..entry });
        }
    }
    Ok(shown)
}

/// What the node lists of the account's transactions that wait.
fn listed(client: &mut Client, account: &AccountId, chain: &Chain) -> Result<Vec<MempoolEntry>, RpcError> {
    // The list is by account and nonce, and a cursor names what came before.
    let mut before = *account;
    for byte in before.0.iter_mut().rev() {
        let (less, borrow) = byte.overflowing_sub(1);
        *byte = less;
        if !borrow {
            break;
        }
    }
    let cursor = format!("{}/{}", encode_address(&chain.params.address_prefix, &before), u64::MAX);
    let page: MempoolPage = client.call("mempool_list", (cursor, PAGE))?;
    let address = account::address(account, chain);
    Ok(page
        .transactions
        .into_iter()
        .take(PAGE as usize)
        .take_while(|entry| entry.transaction.from == address)
        .collect())
}
