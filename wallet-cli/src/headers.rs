//! The header chain that the wallet has checked itself, from genesis to a node's tip, and proofs of accounts under it.
//!
//! A node names its tip; the wallet fetches the headers up to it and checks each (proof of work, difficulty, time, parent),
//! so that whoever invents a state has to redo the work of the chain. The newest headers are kept in a file beside the
//! keystore, so that the next run goes on from there; a file that is damaged is dropped, and all are checked again.

use std::iter;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use drystone_core::address::encode_address;
use drystone_core::api::{AccountProof, ErrorCode, Hex};
use drystone_core::block::Header;
use drystone_core::encode::{Encodable, decode, encode};
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::light::{HeaderCache, HeaderChain, HeaderRefusal, LightError, VerifiedHeader, verify_account};
use drystone_core::params::ChainKind;
use drystone_core::pow::Work;
use drystone_core::state::Account;
use drystone_core::validation::ContextFailure;

use crate::chain::Chain;
use crate::error::{ExitCode, Failure};
use crate::files;
use crate::rpc::{Client, RpcError};

/// Headers asked for at once: 232 kB of hex.
const BATCH: u64 = 1000;
/// How often a node may move its tip or reorganise while we ask, before we stop believing that it means well.
const MAX_TRIES: u32 = 5;
/// A node whose chain has less work than we have checked may be late by this many blocks' work, and not by more.
const MAX_LAG: usize = 10;

/// The checked chain.
pub(crate) struct Headers<'a> {
    chain: &'a Chain,
    /// The chain that ends at the tip of the node that was followed last.
    verified: HeaderChain<'a>,
    /// The tip with the most work that was checked, then or earlier.
    best: VerifiedHeader,
    /// Where the newest headers are kept.
    cache: PathBuf,
    /// Whether this is one node's word only, which is neither kept nor held against what was checked before.
    apart: bool,
}

impl<'a> Headers<'a> {
    /// Reads what is kept in `directory` of the checked headers of `chain`.
    pub(crate) fn load(chain: &'a Chain, directory: &Path) -> Headers<'a> {
        let cache = directory.join(format!("headers-{}.bin", chain.id));
        let kept = read_cache(&cache).and_then(|kept| HeaderChain::from_cache(&chain.params, &kept).ok());
        let verified = kept.unwrap_or_else(|| HeaderChain::new(&chain.params));
        let best = *verified.tip();
        Headers { chain, verified, best, cache, apart: false }
    }

    /// A copy to hear one node with, whatever its chain's work.
    pub(crate) fn apart(&self) -> Headers<'a> {
        Headers {
            chain: self.chain,
            verified: self.verified.clone(),
            best: self.best,
            cache: self.cache.clone(),
            apart: true,
        }
    }

    /// Answers from now on from what was heard with a copy, unless it has less work than was checked before.
    pub(crate) fn adopt(&mut self, heard: Headers<'a>) -> Result<(), Failure> {
        self.accept(heard.verified)
    }

    /// The last checked block.
    pub(crate) fn tip(&self) -> &VerifiedHeader {
        self.verified.tip()
    }

    /// Whether the block `hash` stands at `height` in the checked chain, and not too deep to be remembered.
    pub(crate) fn contains(&self, height: u64, hash: BlockHash) -> bool {
        self.verified.header_at(height).is_some_and(|header| header.hash() == hash)
    }

    /// The block at `height` of the checked chain, if it is not too deep to be remembered.
    pub(crate) fn hash_at(&self, height: u64) -> Option<BlockHash> {
        self.verified.header_at(height).map(|header| header.hash())
    }

    /// The height of a chain with more work that was checked before, if there is one: on one with less, what is missing may just not
    /// have come yet.
    pub(crate) fn heavier(&self) -> Option<u64> {
        (self.tip().work() < self.best.work()).then(|| self.best.height())
    }

    /// An account as the node's tip has it, and that tip, checked from genesis.
    pub(crate) fn prove(
        &mut self,
        client: &mut Client,
        account: &AccountId,
    ) -> Result<(Account, VerifiedHeader), Failure> {
        let address = encode_address(&self.chain.params.address_prefix, account);
        for _ in 0..MAX_TRIES {
            let reply: AccountProof = client.call("account_proof", [&address])?;
            if !self.follow(client, reply.height, reply.hash)? {
                continue;
            }
            let tip = *self.tip();
            let proved = verify_account(&tip.header().state_root, account, &reply.proof.0)
                .map_err(|error| lie(format!("its account proof is false: {error}")))?;
            if proved != reply.account {
                return Err(lie("its account proof shows another balance or nonce than it says".into()));
            }
            return Ok((proved, tip));
        }
        Err(lie(format!("its chain changed {MAX_TRIES} times while it was read")))
    }

    /// Makes the block `hash` at `height`, which a node says is its tip, the last checked one. False where the node's
    /// main chain changed in the middle, so that asking again may help.
    pub(crate) fn follow(&mut self, client: &mut Client, height: u64, hash: BlockHash) -> Result<bool, Failure> {
        if self.tip().hash() == hash {
            return Ok(self.tip().height() == height);
        }
        let mut branch = self.branch(client, height)?;
        while branch.tip().height() < height {
            let from = branch.tip().height() + 1;
            let asked = BATCH.min(height - from + 1);
            let batch = fetch(client, from, asked)?;
            // One that gives less than was asked has another tip by now, or wants to take for ever.
            let is_whole = batch.len() as u64 == asked;
            if !is_whole || batch.first().is_none_or(|first| first.prev_hash != branch.tip().hash()) {
                return Ok(false);
            }
            branch.extend(&batch, now()).map_err(|error| bad_header(&error))?;
        }
        if branch.tip().hash() != hash {
            return Ok(false);
        }
        self.accept(branch)?;
        Ok(true)
    }

    /// Our chain up to a block that the node's chain has too, and that stands no higher than `height`.
    fn branch(&self, client: &mut Client, height: u64) -> Result<HeaderChain<'a>, RpcError> {
        for ours in self.verified.locator().filter(|ours| (1..=height).contains(&ours.height())) {
            if fetch(client, ours.height(), 1)?.first() == Some(ours.header()) {
                return Ok(self.verified.branch_at(ours.height()).expect("what a locator names is kept"));
            }
        }
        Ok(HeaderChain::new(&self.chain.params))
    }

    /// Takes `branch` as the chain to answer from.
    ///
    /// Work once checked is not given up for less: a node that is far behind, or hides the best chain, is refused.
    /// Only a development chain is thrown away and started again all the time, from the same genesis.
    fn accept(&mut self, branch: HeaderChain<'a>) -> Result<(), Failure> {
        let (tip, best) = (*branch.tip(), self.best);
        if self.apart {
            self.verified = branch;
            return Ok(());
        }
        if tip.work() >= best.work() || self.chain.params.kind == ChainKind::Dev {
            self.best = tip;
            write_cache(&self.cache, &branch);
        } else {
            let each = best.header().bits.to_target().expect("a checked header's bits stand for a target").work();
            let allowance: Work = iter::repeat_n(each, MAX_LAG).sum();
            if tip.work() + allowance < best.work() {
                return Err(self.too_light(&tip));
            }
        }
        self.verified = branch;
        Ok(())
    }

    fn too_light(&self, tip: &VerifiedHeader) -> Failure {
        Failure::new(
            ExitCode::BadAnswer,
            format!(
                "the node's chain (height {}) has less work than one that this wallet has checked (height {})",
                tip.height(),
                self.best.height()
            ),
            format!(
                "wait until the node has synced, ask another with --rpc URL, or if the chain was restarted remove {}",
                self.cache.display()
            ),
        )
    }
}

/// Headers of the node's main chain; none where it ends below `from`.
fn fetch(client: &mut Client, from: u64, count: u64) -> Result<Vec<Header>, RpcError> {
    match client.call::<Vec<Hex<Header>>>("chain_headers", (from, count)) {
        Ok(headers) => Ok(headers.into_iter().map(|Hex(header)| header).collect()),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The headers that a file keeps, if it is there and whole.
fn read_cache(path: &Path) -> Option<HeaderCache> {
    decode(&files::read_checked(path, HeaderCache::MAX_BYTES)?).ok()
}

/// Keeps the newest headers. Losing them costs time only, so a full or read-only disk stops nobody.
fn write_cache(path: &Path, verified: &HeaderChain) {
    let _ = files::replace_checked(path, encode(&verified.to_cache()));
}

fn bad_header(error: &LightError) -> Failure {
    let next = match error.reason {
        HeaderRefusal::InContext(ContextFailure::NotYet { .. }) => {
            "check this computer's clock, or ask another node with --rpc URL"
        }
        HeaderRefusal::Alone(_) | HeaderRefusal::InContext(ContextFailure::Invalid(_)) => {
            "ask another node with --rpc URL"
        }
    };
    Failure::new(ExitCode::BadAnswer, format!("the node's header chain is false: {error}"), next)
}

fn lie(what: String) -> Failure {
    Failure::new(ExitCode::BadAnswer, format!("the node cannot be believed: {what}"), "ask another node with --rpc URL")
}

/// Unix milliseconds.
fn now() -> u64 {
    // A clock before 1970 makes every header one from the future, which is then said.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeNode, Ledger, Lie, node, node_with, work_on};
    use drystone_core::amount::Amount;
    use drystone_core::genesis::dev_params;
    use drystone_core::key::SecretKey;
    use drystone_core::params::ChainParams;
    use drystone_core::state::{Leaf, StateKey, StateProof};
    use serde_json::{Value, json};
    use std::fs;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// The development chain's parameters under another kind, so that lost work is not forgiven.
    fn test_params() -> ChainParams {
        ChainParams { kind: ChainKind::Test, ..dev_params() }
    }

    fn mined(params: ChainParams, count: usize) -> Arc<Mutex<Ledger>> {
        let ledger = Ledger::shared(params);
        ledger.lock().unwrap().mine(count, 1);
        ledger
    }

    fn client(node: &FakeNode) -> Client {
        Client::new(std::slice::from_ref(&node.url), Duration::from_secs(10)).unwrap()
    }

    fn chain_of(ledger: &Arc<Mutex<Ledger>>) -> Chain {
        ledger.lock().unwrap().chain.clone()
    }

    fn tip_of(ledger: &Arc<Mutex<Ledger>>) -> BlockHash {
        ledger.lock().unwrap().tip().hash()
    }

    fn alice() -> AccountId {
        SecretKey::dev(0).account()
    }

    #[test]
    fn a_balance_is_proved_under_the_tip() {
        let ledger = mined(dev_params(), 5);
        let (chain, dir) = (chain_of(&ledger), tempfile::tempdir().unwrap());
        let mut client = client(&node(&ledger));
        let mut headers = Headers::load(&chain, dir.path());
        let (account, tip) = headers.prove(&mut client, &alice()).unwrap();
        assert_eq!(account.balance, Amount::from_stones("10000").unwrap());
        assert_eq!((tip.height(), tip.hash()), (5, tip_of(&ledger)));
        let (nobody, _) = headers.prove(&mut client, &AccountId([0x77; 32])).unwrap();
        assert_eq!(nobody, Account::default(), "absence is proved too");
    }

    #[test]
    fn genesis_alone_is_a_chain() {
        let ledger = mined(dev_params(), 0);
        let (chain, dir) = (chain_of(&ledger), tempfile::tempdir().unwrap());
        let mut headers = Headers::load(&chain, dir.path());
        let (_, tip) = headers.prove(&mut client(&node(&ledger)), &alice()).unwrap();
        assert_eq!((tip.height(), tip.hash()), (0, chain.id));
    }

    #[test]
    fn checked_headers_are_kept_and_not_asked_for_again() {
        let ledger = mined(dev_params(), 20);
        let (chain, dir) = (chain_of(&ledger), tempfile::tempdir().unwrap());
        Headers::load(&chain, dir.path()).prove(&mut client(&node(&ledger)), &alice()).unwrap();
        ledger.lock().unwrap().mine(2, 1);
        let few = node_with(&ledger, |method, value| {
            assert!(method != "chain_headers" || value.as_array().unwrap().len() <= 2, "only what is new");
        });
        let mut headers = Headers::load(&chain, dir.path());
        assert_eq!(headers.tip().height(), 20);
        headers.prove(&mut client(&few), &alice()).unwrap();
        assert_eq!(Headers::load(&chain, dir.path()).tip().hash(), tip_of(&ledger));
    }

    /// Damage anywhere costs time, never an answer.
    #[test]
    fn a_damaged_cache_is_dropped_and_fetched_again() {
        let ledger = mined(dev_params(), 10);
        let (chain, dir) = (chain_of(&ledger), tempfile::tempdir().unwrap());
        let mut client = client(&node(&ledger));
        Headers::load(&chain, dir.path()).prove(&mut client, &alice()).unwrap();
        let path = dir.path().join(format!("headers-{}.bin", chain.id));
        let whole = fs::read(&path).unwrap();
        let flipped = |at: usize| [&whole[..at], &[whole[at] ^ 1], &whole[at + 1..]].concat();
        let damages = [
            flipped(33),
            flipped(45),
            flipped(whole.len() / 2),
            flipped(whole.len() - 1),
            whole[..whole.len() - 1].to_vec(),
            [&whole[..], &[0]].concat(),
            b"hello".to_vec(),
            vec![],
        ];
        for damaged in damages {
            fs::write(&path, damaged).unwrap();
            let mut headers = Headers::load(&chain, dir.path());
            assert_eq!(headers.tip().height(), 0);
            headers.prove(&mut client, &alice()).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    /// A payment goes on without a place to keep headers.
    #[test]
    fn a_directory_that_cannot_be_written_stops_nobody() {
        let ledger = mined(dev_params(), 1);
        let chain = chain_of(&ledger);
        let mut headers = Headers::load(&chain, Path::new("/proc/none"));
        headers.prove(&mut client(&node(&ledger)), &alice()).unwrap();
    }

    #[test]
    fn a_reorganisation_is_followed() {
        let ledger = mined(test_params(), 12);
        let (chain, dir) = (chain_of(&ledger), tempfile::tempdir().unwrap());
        let honest = node(&ledger);
        Headers::load(&chain, dir.path()).prove(&mut client(&honest), &alice()).unwrap();
        let mut other = Ledger::new(test_params());
        other.mine(5, 1);
        other.mine(10, 2);
        *ledger.lock().unwrap() = other;
        let mut headers = Headers::load(&chain, dir.path());
        let (_, tip) = headers.prove(&mut client(&honest), &alice()).unwrap();
        assert_eq!((tip.height(), tip.hash()), (15, tip_of(&ledger)));
        assert_eq!(*Headers::load(&chain, dir.path()).tip(), tip);
    }

    #[test]
    fn work_once_checked_is_not_given_up() {
        let long = mined(test_params(), 40);
        let (chain, dir) = (chain_of(&long), tempfile::tempdir().unwrap());
        let (_, best) = Headers::load(&chain, dir.path()).prove(&mut client(&node(&long)), &alice()).unwrap();

        let short = mined(test_params(), 20);
        let failure = Headers::load(&chain, dir.path()).prove(&mut client(&node(&short)), &alice()).unwrap_err();
        assert_eq!(failure.code, ExitCode::BadAnswer);
        assert!(failure.message.contains("less work"), "{failure}");

        let late = mined(test_params(), 35);
        let (_, tip) = Headers::load(&chain, dir.path()).prove(&mut client(&node(&late)), &alice()).unwrap();
        assert_eq!(tip.height(), 35, "a little late is allowed");
        let mut headers = Headers::load(&chain, dir.path());
        let proved = crate::nodes::prove(&mut client(&node(&late)), &mut headers, &alice()).unwrap();
        assert_eq!((proved.heavier, proved.tip.height()), (Some(40), 35));
        assert!(proved.text().contains("late: this wallet has checked"), "{}", proved.text());
        assert_eq!(*Headers::load(&chain, dir.path()).tip(), best, "and forgets nothing");
    }

    #[test]
    fn a_development_chain_may_start_again() {
        let (long, short) = (mined(dev_params(), 40), mined(dev_params(), 2));
        let (chain, dir) = (chain_of(&long), tempfile::tempdir().unwrap());
        Headers::load(&chain, dir.path()).prove(&mut client(&node(&long)), &alice()).unwrap();
        let (_, tip) = Headers::load(&chain, dir.path()).prove(&mut client(&node(&short)), &alice()).unwrap();
        assert_eq!((tip.height(), Headers::load(&chain, dir.path()).tip().height()), (2, 2));
    }

    /// What a liar can change in an answer, and that each change is noticed.
    #[test]
    fn lies_are_noticed() {
        fn rich(_: &str, value: &mut Value) {
            if let Some(account) = value.get_mut("account") {
                account["balance"] = json!("900000000000000");
            }
        }
        fn absent(method: &str, value: &mut Value) {
            if method == "account_proof" {
                let mut proof = serde_json::from_value::<Hex<StateProof>>(value["proof"].clone()).unwrap().0;
                proof.terminal = None;
                value["proof"] = json!(Hex(proof));
                value["account"] = json!(Account::default());
            }
        }
        fn no_work(method: &str, value: &mut Value) {
            if method == "chain_headers" {
                for raw in value.as_array_mut().unwrap() {
                    let mut header = serde_json::from_value::<Hex<Header>>(raw.clone()).unwrap().0;
                    while header.bits.to_target().unwrap().is_met_by(&header.hash()) {
                        header.nonce += 1;
                    }
                    *raw = json!(Hex(header));
                }
            }
        }
        fn future(method: &str, value: &mut Value) {
            if method == "chain_headers" {
                for raw in value.as_array_mut().unwrap() {
                    let mut header = serde_json::from_value::<Hex<Header>>(raw.clone()).unwrap().0;
                    header.time = now() + 1_000_000_000;
                    *raw = json!(Hex(work_on(header, &dev_params())));
                }
            }
        }
        fn high(method: &str, value: &mut Value) {
            if method == "account_proof" {
                value["height"] = json!(u64::MAX);
            }
        }
        fn truncated(method: &str, value: &mut Value) {
            if method == "chain_headers" {
                value[0] = json!("00");
            }
        }
        fn slow(method: &str, value: &mut Value) {
            if method == "chain_headers" {
                value.as_array_mut().unwrap().truncate(1);
            }
        }
        let lies: [(&str, Lie); 7] = [
            ("chain changed", slow),
            ("another balance", rich),
            ("account proof is false", absent),
            ("chain is false", no_work),
            ("future", future),
            ("chain changed", high),
            ("wrong answer", truncated),
        ];
        let ledger = mined(dev_params(), 3);
        let chain = chain_of(&ledger);
        for (words, lie) in lies {
            let dir = tempfile::tempdir().unwrap();
            let liar = node_with(&ledger, lie);
            let failure = Headers::load(&chain, dir.path()).prove(&mut client(&liar), &alice()).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadAnswer, "{failure}");
            assert!(failure.message.contains(words), "{words}: {failure}");
            assert!(!failure.next.is_empty());
        }
    }

    /// Without the state that the headers commit to, a well-formed proof of an invented state is worth nothing.
    #[test]
    fn an_invented_state_does_not_hang_under_the_chain() {
        let ledger = mined(dev_params(), 3);
        let (chain, dir) = (chain_of(&ledger), tempfile::tempdir().unwrap());
        let liar = node_with(&ledger, |method, value| {
            if method == "account_proof" {
                let account = Account { balance: Amount(1 << 50), nonce: 0 };
                let mut state = drystone_core::state::MemoryState::default();
                state.leaves.insert(StateKey::account(&alice()), Leaf::Account(account));
                let Ok(proof) = drystone_core::state::prove(&state, &StateKey::account(&alice()));
                value["proof"] = json!(Hex(proof));
                value["account"] = json!(account);
            }
        });
        let failure = Headers::load(&chain, dir.path()).prove(&mut client(&liar), &alice()).unwrap_err();
        assert_eq!(failure.code, ExitCode::BadAnswer);
    }
}
