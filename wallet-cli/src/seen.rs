//! The payments that `history` has counted as confirmed, and what became of those whose block a reorganisation took away.
//!
//! They are remembered in a file beside the checked headers, one for each chain and account. It says only what to look for: where a
//! payment is now, the checked chain and the list that was added up say. Losing it loses marks, never money.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use drystone_core::api::{AccountEvent, AccountRole, ErrorCode, TransactionFields, TransactionInfo, TransactionStatus};
use drystone_core::hash::{BlockHash, Txid};
use drystone_core::key::AccountId;
use drystone_core::params::ChainKind;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::account;
use crate::chain::Chain;
use crate::error::Failure;
use crate::files;
use crate::headers::Headers;
use crate::rpc::{Client, RpcError};

/// Payments that are remembered of an account, the newest.
const MAX_SEEN: usize = 1_000;
/// One takes up to 1,150 bytes of JSON: 600 in names, addresses, hashes and numbers, 512 in the memo's hex; with room to spare.
const MAX_BYTES: usize = MAX_SEEN * 2_048;
/// A payment that no block has is told of for so long after its block was made: a day on the main chain.
const MAX_AGE: u64 = 2_880;

/// A payment, and the block that it was in when it was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) height: u64,
    pub(crate) block_hash: BlockHash,
    pub(crate) transaction: TransactionFields,
}

/// What became of a payment whose block is no longer on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Another block has it.
    Moved { height: u64, block_hash: BlockHash },
    /// It waits at a node.
    Waits,
    /// Another payment has its nonce: in a block, or waiting.
    Replaced { by: Txid },
    /// It is nowhere.
    Gone,
    /// It is in no list any more, and too deep to say why.
    Unlisted,
}

/// A payment that a reorganisation took out of its block.
#[derive(Debug)]
pub(crate) struct Mark {
    seen: Seen,
    /// Whether the account made it itself.
    paid: bool,
    fate: Fate,
}

/// What is remembered of an account.
pub(crate) struct Memory {
    path: PathBuf,
    kept: Kept,
}

/// The file.
#[derive(Default, Serialize, Deserialize)]
struct Kept {
    /// Block 1, if it was known.
    first: Option<BlockHash>,
    /// By height.
    payments: Vec<Seen>,
}

impl Memory {
    /// Reads what is kept in `directory`. A file that is missing, damaged or not of this chain remembers nothing; nor does one of a
    /// development chain with another block 1 than `first`: it was started again, as such chains are all the time.
    pub(crate) fn load(chain: &Chain, account: &AccountId, directory: &Path, first: Option<BlockHash>) -> Memory {
        let path = directory.join(format!("seen-{}-{}.json", chain.id, account::address(account, chain)));
        let bytes = files::read_checked(&path, MAX_BYTES);
        let mut kept: Kept = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let is_address = |text: &String| account::parse(text, chain).is_ok();
        let is_sound = |Seen { transaction: paid, .. }: &Seen| [&paid.from, &paid.to].into_iter().all(is_address);
        let was_restarted = chain.params.kind == ChainKind::Dev && kept.first != first;
        if was_restarted || !kept.payments.iter().all(is_sound) {
            kept = Kept::default();
        }
        kept.first = first;
        Memory { path, kept }
    }

    /// What became of the payments that `confirmed`, all those of the checked chain up to `tip`, do not have in the block where they
    /// were: the newest first, and `limit` of them at most, because a node is asked for each. Also how many more there are. Where
    /// that block still stands nothing was taken away: one of two lists is false, and a receipt says which.
    ///
    /// # Errors
    /// If a node does not answer.
    pub(crate) fn marks(
        &self,
        client: &mut Client,
        headers: &Headers<'_>,
        address: &str,
        confirmed: &[Seen],
        waiting: &[TransactionFields],
        limit: usize,
    ) -> Result<(Vec<Mark>, usize), Failure> {
        let now: BTreeMap<Txid, &Seen> = confirmed.iter().map(|seen| (seen.transaction.txid, seen)).collect();
        let moved = |seen: &&Seen| now.get(&seen.transaction.txid).is_none_or(|now| now.block_hash != seen.block_hash);
        let stands = |seen: &&Seen| headers.contains(seen.height, seen.block_hash);
        let displaced: Vec<&Seen> =
            self.kept.payments.iter().rev().filter(moved).filter(|seen| !stands(seen)).collect();
        let mut marks = Vec::new();
        for seen in displaced.iter().take(limit) {
            let (txid, nonce, paid) = (seen.transaction.txid, seen.transaction.nonce, seen.transaction.from == address);
            let successor = || {
                let others = confirmed.iter().map(|seen| &seen.transaction).chain(waiting);
                others.filter(|_| paid).find(|other| other.from == address && other.nonce == nonce)
            };
            let fate = if let Some(Seen { height, block_hash, .. }) = now.get(&txid) {
                Fate::Moved { height: *height, block_hash: *block_hash }
            } else if waits(client, txid)? {
                Fate::Waits
            } else if seen.height <= headers.tip().height() && headers.hash_at(seen.height).is_none() {
                // Its header is no longer kept.
                Fate::Unlisted
            } else if let Some(other) = successor() {
                Fate::Replaced { by: other.txid }
            } else {
                Fate::Gone
            };
            marks.push(Mark { seen: (*seen).clone(), paid, fate });
        }
        Ok((marks, displaced.len().saturating_sub(limit)))
    }

    /// Remembers what is confirmed now, and for a while what no longer is and was not `told` to be over. A disk that is full or
    /// cannot be written costs marks only.
    pub(crate) fn keep(mut self, confirmed: Vec<Seen>, told: &[Mark], tip: u64) {
        let is_over = |seen: &Seen| {
            let replaced = |mark: &Mark| matches!(mark.fate, Fate::Replaced { .. }) && mark.seen == *seen;
            seen.height.saturating_add(MAX_AGE) < tip || told.iter().any(replaced)
        };
        let before = std::mem::take(&mut self.kept.payments);
        let mut all: BTreeMap<Txid, Seen> =
            before.into_iter().filter(|seen| !is_over(seen)).map(|seen| (seen.transaction.txid, seen)).collect();
        all.extend(confirmed.into_iter().map(|seen| (seen.transaction.txid, seen)));
        let mut seen: Vec<Seen> = all.into_values().collect();
        seen.sort_by_key(|seen| (seen.height, seen.transaction.nonce));
        seen.drain(..seen.len().saturating_sub(MAX_SEEN));
        self.kept.payments = seen;
        if let Ok(bytes) = serde_json::to_vec(&self.kept) {
            let _ = files::replace_checked(&self.path, bytes);
        }
    }
}

/// The payments among the entries of a history.
pub(crate) fn payments<'a>(events: impl Iterator<Item = &'a AccountEvent>) -> Vec<Seen> {
    let transfers = events.filter(|event| event.role != AccountRole::Earned);
    let seen = transfers.filter_map(|event| {
        let (height, block_hash) = (event.height, event.block_hash);
        event.transaction.clone().map(|transaction| Seen { height, block_hash, transaction })
    });
    seen.collect()
}

/// Whether a node says that a payment waits. A block that it names instead came after the chain that was checked.
fn waits(client: &mut Client, txid: Txid) -> Result<bool, RpcError> {
    match client.call::<TransactionInfo>("tx_get", [txid]) {
        Ok(TransactionInfo { status, .. }) => Ok(status == TransactionStatus::Pending),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Mark {
    /// One line: what was shown before, how it is now, and what to do if anything is to be done.
    pub(crate) fn text(&self) -> String {
        let (fate, next) = (self.fate.describe(), self.next().map_or(String::new(), |next| format!("; {next}")));
        let Seen { height, transaction, .. } = &self.seen;
        let (txid, amount) = (transaction.txid, transaction.amount.to_stones());
        let (way, other) = if self.paid { ("-", &transaction.to) } else { ("+", &transaction.from) };
        let preposition = if self.paid { "to" } else { "from" };
        format!("reorganised: {way}{amount} {preposition} {other}, txid {txid}, was in block {height} and {fate}{next}")
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let Seen { height, block_hash, transaction } = &self.seen;
        let (now, block, by) = match self.fate {
            Fate::Moved { height, block_hash } => ("moved", json!({ "height": height, "hash": block_hash }), None),
            Fate::Waits => ("waits", Value::Null, None),
            Fate::Replaced { by } => ("replaced", Value::Null, Some(by)),
            Fate::Gone => ("gone", Value::Null, None),
            Fate::Unlisted => ("unlisted", Value::Null, None),
        };
        json!({
            "was": { "height": height, "hash": block_hash },
            "now": now,
            "block": block,
            "replaced_by": by,
            "next": self.next(),
            "transaction": transaction,
        })
    }

    fn next(&self) -> Option<String> {
        let nonce = self.seen.transaction.nonce;
        match (&self.fate, self.paid) {
            (Fate::Gone, true) => Some(format!(
                "sign it again with: drystone-wallet sign --nonce {nonce}, so that only one can be made, and broadcast it"
            )),
            (Fate::Gone, false) => Some("whoever paid must pay again".into()),
            (Fate::Unlisted, _) => Some("ask another node with --rpc URL, or for a receipt".into()),
            (Fate::Moved { .. } | Fate::Waits | Fate::Replaced { .. }, _) => None,
        }
    }
}

impl Fate {
    fn describe(&self) -> String {
        match self {
            Fate::Moved { height, .. } => format!("has moved to another block, {height}"),
            Fate::Waits => "waits again".into(),
            Fate::Replaced { by } => format!("is replaced: {by} has its nonce"),
            Fate::Gone => "is gone".into(),
            Fate::Unlisted => "is not listed any more: one of two lists is false, or its block was replaced".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{Report, history};
    use crate::testing::{Ledger, command, node};
    use drystone_core::amount::Amount;
    use drystone_core::genesis::dev_params;
    use drystone_core::key::SecretKey;
    use drystone_core::light::WINDOW;
    use drystone_core::params::ChainParams;
    use drystone_core::transaction::{Memo, TransactionBody};
    use std::fs;
    use std::sync::{Arc, Mutex};

    fn dev(index: u8) -> AccountId {
        SecretKey::dev(index).account()
    }

    fn pay(ledger: &mut Ledger, from: u8, to: u8, amount: u64, nonce: u64) -> Txid {
        let (amount, fee, key) = (Amount(amount), Amount(160), SecretKey::dev(from));
        let body = TransactionBody { from: key.account(), to: dev(to), amount, fee, nonce, memo: Memo::default() };
        let transaction = body.sign(&ledger.chain.id, &key);
        let txid = transaction.txid();
        ledger.mempool.push(transaction);
        txid
    }

    /// A chain that forgets no work by itself, with one block.
    fn start() -> Ledger {
        let mut ledger = Ledger::new(ChainParams { kind: ChainKind::Test, ..dev_params() });
        ledger.mine(1, 1);
        ledger
    }

    /// The history of account 0 at a node of `ledger`.
    fn look(ledger: &Ledger, directory: &Path, limit: usize) -> Report {
        let genesis = directory.join("genesis.json");
        fs::write(&genesis, ledger.chain.params.to_json()).unwrap();
        let node = node(&Arc::new(Mutex::new(ledger.clone())));
        let flags = format!("--genesis {} history", genesis.display());
        let address = account::address(&dev(0), &ledger.chain);
        history::run(&command(&node, directory, &flags).options, Some(&address), limit).unwrap()
    }

    fn fates(report: &Report) -> Vec<(Value, Value)> {
        let marks = report.json["reorganised"].as_array().unwrap();
        marks.iter().map(|mark| (mark["transaction"]["txid"].clone(), mark["now"].clone())).collect()
    }

    fn memory(directory: &Path) -> PathBuf {
        let own = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("seen-");
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).find(own).unwrap()
    }

    /// Five payments in block 2, and a longer branch on which each has another fate.
    #[test]
    fn what_a_reorganisation_took_out_of_its_block_is_marked() {
        let (common, dir) = (start(), tempfile::tempdir().unwrap());
        let mut ours = common.clone();
        let moved = pay(&mut ours, 0, 1, 5_000_000, 0);
        let replaced = pay(&mut ours, 0, 1, 6_000_000, 1);
        let waits = pay(&mut ours, 0, 1, 7_000_000, 2);
        let gone = pay(&mut ours, 0, 1, 8_000_000, 3);
        let received = pay(&mut ours, 2, 0, 9_000_000, 0);
        ours.mine(1, 1);
        assert_eq!(fates(&look(&ours, dir.path(), 20)), []);
        assert_eq!(fates(&look(&ours, dir.path(), 20)), [], "nothing has changed");

        let mut theirs = common;
        theirs.mine(1, 2);
        assert_eq!(pay(&mut theirs, 0, 1, 5_000_000, 0), moved);
        let by = pay(&mut theirs, 0, 1, 6_000_001, 1);
        theirs.mine(2, 2);
        assert_eq!(pay(&mut theirs, 0, 1, 7_000_000, 2), waits);
        let few = look(&theirs, dir.path(), 2);
        assert_eq!(few.json["reorganised"].as_array().unwrap().len(), 2);
        assert!(few.text.contains("3 more reorganised ones: see them with --limit 5"), "{}", few.text);
        let report = look(&theirs, dir.path(), 20);
        let mut told = fates(&report);
        let mut expected =
            [(moved, "moved"), (replaced, "replaced"), (waits, "waits"), (gone, "gone"), (received, "gone")]
                .map(|(txid, now)| (json!(txid), json!(now)));
        let key = |(txid, _): &(Value, Value)| txid.to_string();
        told.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(told, expected);
        for line in [
            format!("txid {moved}, was in block 2 and has moved to another block, 3"),
            format!("txid {waits}, was in block 2 and waits again"),
            format!("txid {replaced}, was in block 2 and is replaced: {by} has its nonce"),
            format!("txid {gone}, was in block 2 and is gone; sign it again with: drystone-wallet sign --nonce 3,"),
            format!("txid {received}, was in block 2 and is gone; whoever paid must pay again"),
        ] {
            assert!(report.text.contains(&line), "{line}: {}", report.text);
        }
        // What is settled is told once, what is not until it is.
        let again = look(&theirs, dir.path(), 20);
        assert_eq!(again.json["reorganised"].as_array().unwrap().len(), 3, "{}", again.text);
        assert_eq!(pay(&mut theirs, 0, 1, 8_000_000, 3), gone);
        theirs.mine(1, 2);
        let again = look(&theirs, dir.path(), 20);
        let told = again.json["reorganised"].as_array().unwrap().iter().filter(|mark| mark["now"] == "moved").count();
        assert_eq!((told, fates(&look(&theirs, dir.path(), 20))), (2, vec![(json!(received), json!("gone"))]));
    }

    /// What one node listed in a block and another does not, of a block that stands, no reorganisation took away.
    #[test]
    fn a_list_that_differs_about_a_block_that_stands_marks_nothing() {
        let (mut ledger, dir) = (start(), tempfile::tempdir().unwrap());
        pay(&mut ledger, 2, 0, 9_000_000, 0);
        ledger.mine(1, 1);
        let ledger = Arc::new(Mutex::new(ledger));
        let liar = crate::testing::node_with(&ledger, |method, value| {
            if method == "account_history" {
                value["entries"][0]["transaction"]["txid"] = json!(Txid([7; 32]));
            }
        });
        let genesis = dir.path().join("genesis.json");
        fs::write(&genesis, ledger.lock().unwrap().chain.params.to_json()).unwrap();
        let (flags, address) = (
            format!("--genesis {} history", genesis.display()),
            account::address(&dev(0), &ledger.lock().unwrap().chain),
        );
        for _ in 0..2 {
            let told = history::run(&command(&liar, dir.path(), &flags).options, Some(&address), 20).unwrap();
            assert_eq!(fates(&told), [], "{}", told.text);
            assert_eq!(fates(&look(&ledger.lock().unwrap(), dir.path(), 20)), []);
        }
        // Of one whose header is not kept that is not known.
        ledger.lock().unwrap().mine(WINDOW + 1, 1);
        let told = history::run(&command(&liar, dir.path(), &flags).options, Some(&address), 20).unwrap();
        assert_eq!(fates(&told).iter().map(|(_, now)| now).collect::<Vec<_>>(), ["unlisted"], "{}", told.text);
        assert!(
            told.text.contains("one of two lists is false, or its block was replaced; ask another"),
            "{}",
            told.text
        );
    }

    /// A node that lags behind what was checked before has not reorganised anything.
    #[test]
    fn a_late_node_marks_nothing_and_nothing_is_forgotten() {
        let (mut ledger, dir) = (start(), tempfile::tempdir().unwrap());
        let late = ledger.clone();
        pay(&mut ledger, 0, 1, 5_000_000, 0);
        ledger.mine(1, 1);
        look(&ledger, dir.path(), 20);
        let before = fs::read(memory(dir.path())).unwrap();
        assert_eq!(fates(&look(&late, dir.path(), 20)), []);
        assert_eq!(fs::read(memory(dir.path())).unwrap(), before);
    }

    #[test]
    fn a_damaged_memory_is_none() {
        let (mut ours, dir) = (start(), tempfile::tempdir().unwrap());
        let mut theirs = ours.clone();
        pay(&mut ours, 0, 1, 5_000_000, 0);
        ours.mine(1, 1);
        theirs.mine(2, 2);
        look(&ours, dir.path(), 20);
        let path = memory(dir.path());
        let whole = fs::read(&path).unwrap();
        let flipped = [&whole[..40], &[whole[40] ^ 1], &whole[41..]].concat();
        for damaged in [flipped, whole[..whole.len() - 1].to_vec(), vec![], b"[]".to_vec(), vec![b'['; MAX_BYTES + 33]]
        {
            fs::write(&path, damaged).unwrap();
            assert_eq!(fates(&look(&theirs, dir.path(), 20)), []);
        }
        fs::write(&path, whole).unwrap();
        assert_eq!(fates(&look(&theirs, dir.path(), 20)).len(), 1);
    }

    /// The longest memos in the newest thousand payments come back, and of those that no block has only what is not too old.
    #[test]
    fn memory_is_bounded() {
        let (ledger, dir) = (start(), tempfile::tempdir().unwrap());
        let key = SecretKey::dev(0);
        let seen = |nonce: u64| {
            let (amount, fee, memo) = (Amount(u64::MAX), Amount(u64::MAX), Memo(vec![7; 256]));
            let body = TransactionBody { from: key.account(), to: dev(1), amount, fee, nonce, memo };
            let transaction = TransactionFields::new(&ledger.chain.params, &body.sign(&ledger.chain.id, &key));
            Seen { height: nonce, block_hash: ledger.chain.id, transaction }
        };
        let load = || Memory::load(&ledger.chain, &key.account(), dir.path(), None);
        load().keep((0..1_100).map(seen).collect(), &[], 1_100);
        let nonces = |memory: Memory| memory.kept.payments.iter().map(|seen| seen.height).collect::<Vec<u64>>();
        assert_eq!(nonces(load()), (100..1_100).collect::<Vec<u64>>());
        load().keep(vec![seen(100)], &[], 1_000 + MAX_AGE);
        assert_eq!(nonces(load()), [100].into_iter().chain(1_000..1_100).collect::<Vec<u64>>());
    }

    #[test]
    fn a_development_chain_that_was_started_again_is_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut ours = Ledger::new(dev_params());
        pay(&mut ours, 0, 1, 5_000_000, 0);
        ours.mine(1, 1);
        look(&ours, dir.path(), 20);
        let mut again = Ledger::new(dev_params());
        again.mine(2, 2);
        assert_eq!(fates(&look(&again, dir.path(), 20)), []);
    }
}
