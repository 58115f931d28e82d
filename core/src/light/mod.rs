//! What a reader checks who trusts no node: headers from genesis, and short proofs against the newest of them.
//!
//! Forging an answer costs as much work as the headers carry: [`HeaderChain`] checks every rule that headers alone can
//! show, and each proof function follows hashes from a header down to one fact. What headers cannot show is whether the
//! blocks below them obey the rules of bodies, and whether another chain has more work: ask several nodes, and keep the
//! heaviest [branch](HeaderChain::branch_at).

mod transaction;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::block::{HEADER_BYTES, Header};
use crate::difficulty::ParentTimes;
use crate::encode::{Encodable, encode};
use crate::hash::{BlockHash, HistoryRoot, StateRoot, TxRoot};
use crate::key::AccountId;
use crate::merkle;
use crate::params::ChainParams;
use crate::pow::Work;
use crate::state::{Account, HistoryProof, Leaf, ProofError, StateKey, StateProof, history_leaf};
use crate::transaction::Transaction;
use crate::validation::{
    CheckedHeader, ContextFailure, HeaderContext, HeaderError, check_header, check_header_in_context,
};

pub use transaction::TransactionProof;

/// How many headers are kept, the tip's among them: 2,048 x 30 s are 17 hours of the main chain, in 0.5 MB. A deeper
/// reorganisation is verified from genesis again.
pub const WINDOW: usize = 2048;

/// A header whose whole ancestry has been verified down to genesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifiedHeader {
    header: Header,
    hash: BlockHash,
    height: u64,
    work: Work,
    parent_time: u64,
}

impl VerifiedHeader {
    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its hash.
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// Its height.
    pub fn height(&self) -> u64 {
        self.height
    }

    /// The cumulative work from genesis to it, both included.
    pub fn work(&self) -> Work {
        self.work
    }

    /// The genesis header, which is exempt from work.
    fn genesis(params: &ChainParams) -> VerifiedHeader {
        let header = params.genesis_block().header;
        let work = header.bits.to_target().expect("parameters were checked").work();
        VerifiedHeader { header, hash: header.hash(), height: 0, work, parent_time: 0 }
    }

    /// Checks that `header` is a child of this one.
    fn child(&self, header: Header, params: &ChainParams, now: u64) -> Result<VerifiedHeader, HeaderRefusal> {
        let Header { bits, time, .. } = self.header;
        let parent = ParentTimes { bits, height: self.height, time, grandparent_time: self.parent_time };
        let checked: CheckedHeader = check_header(header, params)?;
        check_header_in_context(&checked, &HeaderContext { parent_hash: self.hash, parent }, params, now)?;
        let (height, work) = (self.height + 1, self.work + checked.work());
        Ok(VerifiedHeader { header, hash: checked.hash(), height, work, parent_time: time })
    }
}

/// Why a header cannot follow its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefusal {
    /// It breaks a rule by itself.
    #[error(transparent)]
    Alone(#[from] HeaderError),
    /// It breaks a rule in its place, or its time has not come.
    #[error(transparent)]
    InContext(#[from] ContextFailure),
}

/// A header that a chain refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header {height}: {reason}")]
pub struct LightError {
    /// The height it would have.
    pub height: u64,
    /// What is wrong with it.
    pub reason: HeaderRefusal,
}

/// A chain of headers verified from genesis, of which the newest [`WINDOW`] are kept.
#[derive(Clone, Debug)]
pub struct HeaderChain<'a> {
    params: &'a ChainParams,
    /// Consecutive, ascending, never empty.
    kept: VecDeque<VerifiedHeader>,
}

impl<'a> HeaderChain<'a> {
    /// The chain that has only its genesis.
    pub fn new(params: &'a ChainParams) -> HeaderChain<'a> {
        HeaderChain { params, kept: VecDeque::from([VerifiedHeader::genesis(params)]) }
    }

    /// The newest header.
    pub fn tip(&self) -> &VerifiedHeader {
        self.kept.back().expect("never empty")
    }

    /// The header at `height`, if it is kept.
    pub fn header_at(&self, height: u64) -> Option<&VerifiedHeader> {
        let place = height.checked_sub(self.base().height)?;
        self.kept.get(usize::try_from(place).ok()?)
    }

    /// Appends headers that follow the tip, oldest first; `now` is the Unix time in milliseconds.
    ///
    /// # Errors
    /// The first header that is refused. Those before it stay.
    pub fn extend(&mut self, headers: &[Header], now: u64) -> Result<(), LightError> {
        for header in headers {
            let tip = self.tip();
            let height = tip.height + 1;
            let next = tip.child(*header, self.params, now).map_err(|reason| LightError { height, reason })?;
            self.kept.push_back(next);
            if self.kept.len() > WINDOW {
                self.kept.pop_front();
            }
        }
        Ok(())
    }

    /// Kept headers from the tip backward, in steps that double, down to the oldest: where another chain agrees with one
    /// of them, it branches off there or later.
    pub fn locator(&self) -> impl Iterator<Item = &VerifiedHeader> {
        let last = self.kept.len() - 1;
        let steps = (0..usize::BITS).map(|n| (1usize << n) - 1).take_while(move |back| *back < last);
        steps.chain([last]).map(move |back| &self.kept[last - back])
    }

    /// A copy that ends at `height`, to be extended by another branch and kept if it comes to have more work. Nothing if
    /// the header at `height` is no longer kept: then start from genesis.
    pub fn branch_at(&self, height: u64) -> Option<HeaderChain<'a>> {
        self.header_at(height)?;
        let kept = self.kept.iter().take_while(|header| header.height <= height).copied().collect();
        Some(HeaderChain { params: self.params, kept })
    }

    /// What to store, so that the next run does not begin at genesis.
    pub fn to_cache(&self) -> HeaderCache {
        let base = self.base();
        HeaderCache {
            chain_id: self.params.chain_id(),
            height: base.height,
            work: base.work,
            parent_time: base.parent_time,
            headers: self.kept.iter().map(|kept| kept.header).collect(),
        }
    }

    /// The chain that was stored. The oldest header's ancestry is trusted, everything after it is verified again.
    pub fn from_cache(params: &'a ChainParams, cache: &HeaderCache) -> Result<HeaderChain<'a>, CacheError> {
        let genesis = VerifiedHeader::genesis(params);
        if cache.chain_id != genesis.hash {
            return Err(CacheError::OtherChain);
        }
        let (first, rest) = cache.headers.split_first().ok_or(CacheError::Empty)?;
        let base = VerifiedHeader {
            header: *first,
            hash: first.hash(),
            height: cache.height,
            work: cache.work,
            parent_time: cache.parent_time,
        };
        if base.height == 0 && base != genesis {
            return Err(CacheError::OtherChain);
        }
        if base.height > 0 {
            let refused = |error| LightError { height: base.height, reason: HeaderRefusal::Alone(error) };
            check_header(*first, params).map_err(refused)?;
            // Times strictly increase from genesis. Half of all numbers is room enough for what may follow.
            if base.height > first.time.saturating_sub(params.time).min(u64::MAX / 2) {
                return Err(CacheError::Height);
            }
        }
        let mut chain = HeaderChain { params, kept: VecDeque::from([base]) };
        // Their times were checked against the clock when they were new.
        chain.extend(rest, u64::MAX)?;
        Ok(chain)
    }

    fn base(&self) -> &VerifiedHeader {
        self.kept.front().expect("never empty")
    }
}

/// A stored [`HeaderChain`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderCache {
    /// The genesis hash.
    pub chain_id: BlockHash,
    /// The height of the oldest header.
    pub height: u64,
    /// The cumulative work up to and including the oldest header.
    pub work: Work,
    /// The time of the oldest header's parent, which difficulty needs; 0 for genesis.
    pub parent_time: u64,
    /// The headers, oldest first.
    pub headers: Vec<Header>,
}

impl Encodable for HeaderCache {
    const MAX_BYTES: usize = 32 + 8 + 32 + 8 + 8 + WINDOW * HEADER_BYTES;
}

/// Why a stored chain cannot be used. Starting from genesis always can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// It is of another chain.
    #[error("the stored headers are of another chain")]
    OtherChain,
    /// It claims a height that no chain has: more blocks than milliseconds since genesis.
    #[error("the stored height is impossible")]
    Height,
    /// It has no header.
    #[error("no header is stored")]
    Empty,
    /// A header does not stand where it is stored.
    #[error(transparent)]
    Header(#[from] LightError),
}

/// Why a proof does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// The path in the state tree proves nothing.
    #[error("state proof: {0}")]
    State(#[from] ProofError),
    /// The state holds another kind of leaf there, as no valid state does.
    #[error("the state holds another kind of leaf at this key")]
    LeafKind,
    /// The path in the history range does not lead to its root.
    #[error("history proof: the path does not lead from the block to the history root")]
    History,
    /// The path in the transaction tree does not lead to its root.
    #[error("transaction proof: the path does not lead from the transaction to the transaction root")]
    Transaction,
}

/// What the account `id` holds under a state root; nothing at all where the state has no leaf for it.
pub fn verify_account(root: &StateRoot, id: &AccountId, proof: &StateProof) -> Result<Account, ProofRefusal> {
    match proof.verify(root, &StateKey::account(id))? {
        None => Ok(Account::default()),
        Some(Leaf::Account(account)) => Ok(account),
        Some(_) => Err(ProofRefusal::LeafKind),
    }
}

/// The proof that a block is an ancestor of another: the latter's history root, and the path to the former below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AncestorProof {
    /// The history leaf under the descendant's state root.
    pub history: StateProof,
    /// The path under the history root.
    pub path: HistoryProof,
}

impl Encodable for AncestorProof {
    const MAX_BYTES: usize = StateProof::MAX_BYTES + HistoryProof::MAX_BYTES;
}

/// Checks that the block at `height` below `tip` has this hash and this cumulative work.
pub fn verify_ancestor(
    tip: &VerifiedHeader,
    height: u64,
    hash: &BlockHash,
    work: &Work,
    proof: &AncestorProof,
) -> Result<(), ProofRefusal> {
    let root = verify_history(&tip.header.state_root, &proof.history)?;
    let shown = proof.path.verify(&root, tip.height, height, &history_leaf(hash, work));
    if shown { Ok(()) } else { Err(ProofRefusal::History) }
}

/// The history root under a state root. The state of genesis has none, and genesis has no ancestors.
fn verify_history(root: &StateRoot, proof: &StateProof) -> Result<HistoryRoot, ProofRefusal> {
    match proof.verify(root, &StateKey::history())? {
        Some(Leaf::History(history)) => Ok(history),
        None => Err(ProofRefusal::History),
        Some(_) => Err(ProofRefusal::LeafKind),
    }
}

/// Checks that `transaction` is among those under a transaction root. `path` leads from its leaf upward, for transaction
/// `index`, from 0, of `count`; the leaf of `reward_to` stands before all transactions.
///
/// The root binds the list and not its length, so a liar can name another `index` with another `count`: both help to
/// follow the path and are not shown by it.
pub fn verify_transaction(
    root: &TxRoot,
    transaction: &Transaction,
    index: u64,
    count: u64,
    path: &[[u8; 32]],
) -> Result<(), ProofRefusal> {
    let leaf = merkle::TRANSACTIONS.leaf(&encode(transaction));
    let places = index.checked_add(1).zip(count.checked_add(1));
    let found = places.and_then(|(place, size)| merkle::TRANSACTIONS.root_from_path(leaf, place, size, path));
    if found == Some(root.0) { Ok(()) } else { Err(ProofRefusal::Transaction) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount::Amount;
    use crate::block::Body;
    use crate::difficulty::next_bits;
    use crate::encode::decode;
    use crate::genesis::dev_params;
    use crate::key::SecretKey;
    use crate::pow::CompactTarget;
    use crate::state::{MemoryState, prove, prove_ancestor};
    use crate::transaction::{Memo, TransactionBody};
    use crate::validation::{ContextError, Executor, Parent};

    const NOW: u64 = u64::MAX;

    /// A header that follows the tip by every rule, with some freedom for the caller before it is worked on.
    fn child(chain: &HeaderChain, change: impl Fn(&mut Header)) -> Header {
        let (params, tip) = (chain.params, chain.tip());
        let grandparent = tip.height.checked_sub(1).and_then(|height| chain.header_at(height));
        let grandparent_time = grandparent.map_or(0, |grandparent| grandparent.header.time);
        let Header { bits, time, .. } = tip.header;
        let parent = ParentTimes { bits, height: tip.height, time, grandparent_time };
        let mut header = Header {
            prev_hash: tip.hash,
            time: time + params.interval,
            bits: next_bits(params, &parent),
            ..tip.header
        };
        change(&mut header);
        let with = |nonce| Header { nonce, ..header };
        (0..=u32::MAX).map(with).find(|header| check_header(*header, params).is_ok()).expect("easy to find")
    }

    fn grow(chain: &mut HeaderChain, blocks: usize, change: impl Fn(&mut Header)) {
        for _ in 0..blocks {
            let header = child(chain, &change);
            chain.extend(&[header], NOW).expect("a valid header");
        }
    }

    #[test]
    fn each_rule_is_checked_and_what_came_before_stays() {
        let params = dev_params();
        let mut chain = HeaderChain::new(&params);
        grow(&mut chain, 5, |_| ());
        let good = child(&chain, |_| ());
        let mut nonces = (0..).map(|nonce| Header { nonce, ..good });
        let no_work = nonces.find(|header| check_header(*header, &params).is_err()).expect("half of all");
        let parent_time = chain.tip().header.time;

        let bad = |change: fn(&mut Header)| child(&chain, change);
        let context = |error| HeaderRefusal::InContext(ContextFailure::Invalid(error));
        let required = params.bits;
        let cases = [
            (no_work, HeaderRefusal::Alone(HeaderError::Work)),
            (Header { bits: CompactTarget(0x2100_ffff), ..good }, HeaderRefusal::Alone(HeaderError::OverLimit)),
            (bad(|header| header.prev_hash.0[0] ^= 1), context(ContextError::Parent)),
            (bad(|header| header.version = 2), context(ContextError::Version { required: 1, found: 2 })),
            (
                bad(|header| header.bits = CompactTarget(0x207f_fffe)),
                context(ContextError::Difficulty { required, found: CompactTarget(0x207f_fffe) }),
            ),
            (
                bad(|header| header.time -= 1_000),
                context(ContextError::Time { parent: parent_time, found: parent_time }),
            ),
        ];
        for (header, reason) in cases {
            let mut chain = chain.clone();
            assert_eq!(chain.extend(&[header], NOW), Err(LightError { height: 6, reason }));
            assert_eq!(chain.tip().height, 5);
            let next = child(&chain, |_| ());
            assert_eq!(chain.extend(&[next, header], NOW).map_err(|error| error.height), Err(7));
            assert_eq!(chain.tip().header, next);
        }
    }

    #[test]
    fn headers_from_the_future_wait() {
        let params = dev_params();
        let mut chain = HeaderChain::new(&params);
        let header = child(&chain, |_| ());
        let acceptable_at = header.time - params.max_future;
        let reason = HeaderRefusal::InContext(ContextFailure::NotYet { acceptable_at });
        assert_eq!(chain.extend(&[header], acceptable_at - 1), Err(LightError { height: 1, reason }));
        assert_eq!(chain.extend(&[header], acceptable_at), Ok(()));
    }

    #[test]
    fn work_adds_up_from_genesis() {
        let params = dev_params();
        let mut chain = HeaderChain::new(&params);
        let each = params.bits.to_target().expect("a target").work();
        assert_eq!(chain.tip().work(), each);
        grow(&mut chain, 3, |_| ());
        assert_eq!(chain.tip().work(), each + each + each + each);
    }

    #[test]
    fn a_heavier_branch_is_found_and_taken() {
        let params = dev_params();
        let mut ours = HeaderChain::new(&params);
        grow(&mut ours, 20, |_| ());
        let mut theirs = ours.branch_at(13).expect("kept");
        grow(&mut theirs, 9, |header| header.state_root.0[0] = 1);

        let heights: Vec<u64> = ours.locator().map(VerifiedHeader::height).collect();
        assert_eq!(heights, [20, 19, 17, 13, 5, 0]);
        let fork =
            ours.locator().find(|header| theirs.header_at(header.height()) == Some(header)).expect("genesis at least");
        assert_eq!(fork.height(), 13);
        let mut branch = ours.branch_at(fork.height()).expect("kept");
        let headers: Vec<Header> =
            (14..=22).filter_map(|height| theirs.header_at(height)).map(|kept| kept.header).collect();
        assert_eq!(branch.extend(&headers, NOW), Ok(()));
        assert!(branch.tip().work() > ours.tip().work());
        assert_eq!(branch.tip(), theirs.tip());
        assert!(ours.branch_at(21).is_none());
    }

    #[test]
    fn old_headers_are_let_go_and_the_cache_brings_back_the_rest() {
        let params = dev_params();
        let mut chain = HeaderChain::new(&params);
        let at_genesis = HeaderChain::from_cache(&params, &chain.to_cache()).expect("usable");
        assert_eq!(at_genesis.kept, chain.kept);
        // Uneven times, so that difficulty moves and the time before the oldest header matters.
        grow(&mut chain, WINDOW - 1, |header| header.time -= header.time % 7);
        assert!(chain.header_at(0).is_some());
        grow(&mut chain, 10, |_| ());
        assert!(chain.header_at(9).is_none() && chain.branch_at(9).is_none());
        assert_eq!(chain.header_at(10).map(VerifiedHeader::height), Some(10));
        assert_eq!(chain.locator().last().map(VerifiedHeader::height), Some(10));

        let bytes = encode(&chain.to_cache());
        assert_eq!(bytes.len(), HeaderCache::MAX_BYTES);
        let cache: HeaderCache = decode(&bytes).expect("just encoded");
        let mut back = HeaderChain::from_cache(&params, &cache).expect("usable");
        assert_eq!(back.kept, chain.kept);
        grow(&mut back, 1, |_| ());

        let mut shortest = chain.clone();
        shortest.kept.drain(..WINDOW - 1);
        let mut shortest = HeaderChain::from_cache(&params, &shortest.to_cache()).expect("usable");
        assert_eq!(shortest.extend(&[back.tip().header], NOW), Ok(()));
    }

    #[test]
    fn a_wrong_cache_is_refused() {
        let params = dev_params();
        let mut chain = HeaderChain::new(&params);
        grow(&mut chain, 4, |_| ());
        let cache = chain.to_cache();
        let refused = |change: &dyn Fn(&mut HeaderCache)| {
            let mut cache = cache.clone();
            change(&mut cache);
            HeaderChain::from_cache(&params, &cache).map(|chain| *chain.tip())
        };
        assert_eq!(refused(&|cache| cache.chain_id.0[0] ^= 1), Err(CacheError::OtherChain));
        assert_eq!(refused(&|cache| cache.headers.clear()), Err(CacheError::Empty));
        assert_eq!(refused(&|cache| cache.work = Work::ZERO), Err(CacheError::OtherChain));
        assert_eq!(refused(&|cache| cache.headers[0].nonce ^= 1), Err(CacheError::OtherChain));
        let reason = HeaderRefusal::InContext(ContextFailure::Invalid(ContextError::Parent));
        for height in [1_000_000, u64::MAX - 1, u64::MAX] {
            let lift = |cache: &mut HeaderCache| _ = (cache.headers.remove(0), cache.height = height);
            assert_eq!(refused(&lift), Err(CacheError::Height));
        }
        let missing = CacheError::Header(LightError { height: 2, reason });
        let remove = |cache: &mut HeaderCache| _ = cache.headers.remove(2);
        assert_eq!(refused(&remove), Err(missing));
        let bent = |cache: &mut HeaderCache| {
            (cache.height, cache.headers[0].bits) = (1, CompactTarget(0x0101_0000));
        };
        let reason = HeaderRefusal::Alone(HeaderError::Work);
        assert_eq!(refused(&bent), Err(CacheError::Header(LightError { height: 1, reason })));
    }

    /// A chain of real blocks: what a node would serve.
    struct Ledger<'a> {
        state: MemoryState,
        chain: HeaderChain<'a>,
        bodies: Vec<Body>,
    }

    impl Ledger<'_> {
        fn new(params: &ChainParams) -> Ledger<'_> {
            let state = MemoryState { leaves: params.genesis_leaves().into_iter().collect(), ..MemoryState::default() };
            Ledger { state, chain: HeaderChain::new(params), bodies: vec![params.genesis_block().body] }
        }

        fn mine(&mut self, transactions: Vec<Transaction>) {
            let params = self.chain.params;
            let tip = *self.chain.tip();
            let parent = Parent { height: tip.height, hash: tip.hash, work: tip.work };
            let mut executor = Executor::new(&self.state, &parent, params);
            for transaction in &transactions {
                assert_eq!(executor.apply(transaction), Ok(Ok(())));
            }
            let body = Body { reward_to: AccountId([1; 32]), transactions };
            let Ok(executed) = executor.finish(&body.reward_to);
            let header = child(&self.chain, |header| {
                header.tx_root = body.tx_root();
                header.state_root = executed.state_root;
            });
            self.state.apply(&executed.changes);
            self.chain.extend(&[header], NOW).expect("a valid header");
            self.bodies.push(body);
        }
    }

    fn payment(params: &ChainParams, nonce: u64) -> Transaction {
        let key = SecretKey::dev(0);
        let (amount, fee) = (Amount(params.account_reserve.0 * 2), Amount(5));
        let body =
            TransactionBody { from: key.account(), to: AccountId([9; 32]), amount, fee, nonce, memo: Memo::default() };
        body.sign(&params.chain_id(), &key)
    }

    #[test]
    fn accounts_present_and_absent_are_proved_and_no_changed_proof_is_accepted() {
        let params = dev_params();
        let mut ledger = Ledger::new(&params);
        ledger.mine(vec![payment(&params, 0)]);
        let root = ledger.chain.tip().header().state_root;
        let of = |id: AccountId| {
            let Ok(proof) = prove(&ledger.state, &StateKey::account(&id));
            (id, proof)
        };
        let paid = Account { balance: Amount(params.account_reserve.0 * 2), nonce: 0 };
        for ((id, proof), expected) in [(of(AccountId([9; 32])), paid), (of(AccountId([8; 32])), Account::default())] {
            assert_eq!(verify_account(&root, &id, &proof), Ok(expected));
            assert!(verify_account(&StateRoot([0; 32]), &id, &proof).is_err());
            assert!(verify_account(&root, &SecretKey::dev(0).account(), &proof).is_err());
            let bytes = encode(&proof);
            for bit in 0..8 * bytes.len() {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let changed = decode::<StateProof>(&bytes);
                assert!(!changed.is_ok_and(|proof| verify_account(&root, &id, &proof).is_ok()), "bit {bit}");
            }
        }
    }

    #[test]
    fn every_ancestor_is_proved_against_the_tip() {
        let params = dev_params();
        let mut ledger = Ledger::new(&params);
        for _ in 0..12 {
            ledger.mine(vec![]);
        }
        let tip = *ledger.chain.tip();
        let Ok(history) = prove(&ledger.state, &StateKey::history());
        for height in 0..tip.height {
            let Ok(path) = prove_ancestor(&ledger.state, tip.height, height);
            let proof = AncestorProof { history: history.clone(), path };
            let block = ledger.chain.header_at(height).expect("kept");
            assert_eq!(verify_ancestor(&tip, height, &block.hash, &block.work, &proof), Ok(()));
            assert_eq!(decode(&encode(&proof)), Ok(proof.clone()));

            let wrong = Err(ProofRefusal::History);
            assert_eq!(verify_ancestor(&tip, height + 1, &block.hash, &block.work, &proof), wrong);
            assert_eq!(verify_ancestor(&tip, height, &tip.hash, &block.work, &proof), wrong);
            assert_eq!(verify_ancestor(&tip, height, &block.hash, &tip.work, &proof), wrong);
            let parent = ledger.chain.header_at(tip.height - 1).expect("kept");
            assert!(verify_ancestor(parent, height, &block.hash, &block.work, &proof).is_err());
        }
        let genesis = ledger.chain.header_at(0).expect("kept");
        let Ok(none) = prove(&Ledger::new(&params).state, &StateKey::history());
        let proof = AncestorProof { history: none, path: HistoryProof { path: vec![] } };
        assert_eq!(verify_ancestor(genesis, 0, &genesis.hash, &genesis.work, &proof), Err(ProofRefusal::History));
    }

    #[test]
    fn every_transaction_is_proved_against_its_header() {
        let params = dev_params();
        let mut ledger = Ledger::new(&params);
        ledger.mine((0..5).map(|nonce| payment(&params, nonce)).collect());
        let root = ledger.chain.tip().header().tx_root;
        let body = &ledger.bodies[1];
        let leaves = body.leaves();
        for (i, transaction) in body.transactions.iter().enumerate() {
            let path = merkle::TRANSACTIONS.path(&leaves, i + 1);
            let verify = |index, count| verify_transaction(&root, transaction, index, count, &path);
            assert_eq!(verify(i as u64, 5), Ok(()));
            let refused = Err(ProofRefusal::Transaction);
            assert_eq!(verify(i as u64 + 1, 5), refused);
            assert_eq!(verify(u64::MAX, u64::MAX), refused);
            let other = &body.transactions[(i + 1) % 5];
            assert_eq!(verify_transaction(&root, other, i as u64, 5, &path), refused);
        }
    }

    /// Why nobody may believe a place that the prover names: the root does not bind the number of leaves.
    #[test]
    fn one_path_fits_several_places_in_lists_of_several_lengths() {
        let params = dev_params();
        let mut ledger = Ledger::new(&params);
        ledger.mine((0..3).map(|nonce| payment(&params, nonce)).collect());
        let root = ledger.chain.tip().header().tx_root;
        let body = &ledger.bodies[1];
        let path = merkle::TRANSACTIONS.path(&body.leaves(), 3);
        for (index, count) in [(2, 3), (4, 5)] {
            assert_eq!(verify_transaction(&root, &body.transactions[2], index, count, &path), Ok(()));
        }
    }

    #[test]
    fn a_transaction_is_proved_under_every_later_header_and_no_changed_proof_is_accepted() {
        let params = dev_params();
        let mut ledger = Ledger::new(&params);
        ledger.mine(vec![]);
        ledger.mine((0..3).map(|nonce| payment(&params, nonce)).collect());
        let block = *ledger.chain.tip();
        let body = ledger.bodies[2].clone();
        for later in 0..4 {
            let tip = *ledger.chain.tip();
            let ancestor = (later > 0).then(|| {
                let Ok(history) = prove(&ledger.state, &StateKey::history());
                let Ok(path) = prove_ancestor(&ledger.state, tip.height, block.height);
                AncestorProof { history, path }
            });
            let proof = TransactionProof {
                transaction: body.transactions[1].clone(),
                header: block.header,
                height: block.height,
                work: block.work,
                index: 1,
                count: 3,
                path: merkle::TRANSACTIONS.path(&body.leaves(), 2),
                tip: tip.header,
                tip_height: tip.height,
                ancestor,
            };
            assert_eq!((proof.verify(), proof.verify_under(&tip)), (Ok(()), Ok(())));
            let bytes = encode(&proof);
            for bit in 0..8 * bytes.len() {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let Ok(changed) = decode::<TransactionProof>(&bytes) else { continue };
                // A place among the transactions helps to follow the path, and is not shown by it.
                let place = TransactionProof { index: proof.index, count: proof.count, ..changed.clone() };
                assert!(place == proof || changed.verify_under(&tip).is_err(), "bit {bit}");
                // Nor, to whoever does not know the tip's, are heights, and the work where the block is the tip.
                let work = if later == 0 { proof.work } else { place.work };
                let known = TransactionProof { height: proof.height, tip_height: proof.tip_height, work, ..place };
                assert!(known == proof || changed.verify().is_err() || changed.tip != proof.tip, "bit {bit}");
            }
            ledger.mine(vec![]);
        }
    }
}
