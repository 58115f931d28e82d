//! Cases of the state tree and of proofs: roots over leaves, what proofs show, and why a proof shows nothing.

use std::collections::BTreeMap;

use drystone_core::amount::Amount;
use drystone_core::block::Header;
use drystone_core::encode::encode;
use drystone_core::hash::{BlockHash, HistoryRoot, STATE_LEAF, StateRoot, TxRoot};
use drystone_core::key::AccountId;
use drystone_core::light::AncestorProof;
use drystone_core::merkle::TRANSACTIONS;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::state::{
    Account, HistoryProof, Leaf, MemoryState, Reward, StateChanges, StateKey, StateProof, prove, prove_ancestor, update,
};
use serde::{Deserialize, Serialize};

use super::chains::Branch;
use super::{Hex, VectorFile, account, genesis_value, params, transfer};

/// A leaf in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeafValue {
    /// An account.
    Account(Account),
    /// A reward.
    Reward(Reward),
    /// The history root.
    History(HistoryRoot),
}

impl From<Leaf> for LeafValue {
    fn from(leaf: Leaf) -> LeafValue {
        match leaf {
            Leaf::Account(account) => LeafValue::Account(account),
            Leaf::Reward(reward) => LeafValue::Reward(reward),
            Leaf::History(root) => LeafValue::History(root),
        }
    }
}

impl From<LeafValue> for Leaf {
    fn from(value: LeafValue) -> Leaf {
        match value {
            LeafValue::Account(account) => Leaf::Account(account),
            LeafValue::Reward(reward) => Leaf::Reward(reward),
            LeafValue::History(root) => Leaf::History(root),
        }
    }
}

/// A state proof in JSON: hashes in hex, null for an empty sibling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofValue {
    /// From the end of the walk upward.
    pub siblings: Vec<Option<Hex>>,
    /// The leaf where the walk ends.
    pub terminal: Option<(StateKey, LeafValue)>,
}

impl From<&StateProof> for ProofValue {
    fn from(proof: &StateProof) -> ProofValue {
        ProofValue {
            siblings: proof.siblings.iter().map(|sibling| sibling.map(Hex::from)).collect(),
            terminal: proof.terminal.map(|(key, leaf)| (key, leaf.into())),
        }
    }
}

/// A state: its leaves, its root, and proofs of some keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateCase {
    /// What the case is about.
    pub comment: String,
    /// The leaves by ascending key.
    pub leaves: Vec<(StateKey, LeafValue)>,
    /// The root.
    pub root: StateRoot,
    /// Proofs under the root.
    pub proofs: Vec<KeyProof>,
}

/// What a key holds, with its proof.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyProof {
    /// The key.
    pub key: StateKey,
    /// Its leaf, if any.
    pub leaf: Option<LeafValue>,
    /// The encoded proof.
    pub proof: Hex,
}

/// A state over these leaves, with its root.
pub fn state_of(leaves: impl IntoIterator<Item = (StateKey, Leaf)>) -> (MemoryState, StateRoot) {
    let leaves: BTreeMap<StateKey, Option<Leaf>> = leaves.into_iter().map(|(key, leaf)| (key, Some(leaf))).collect();
    let mut state = MemoryState::default();
    let Ok(tree) = update(&state, &leaves);
    state.apply(&StateChanges { leaves, pages: tree.pages, ..StateChanges::default() });
    (state, tree.root)
}

fn holding(n: u64) -> Leaf {
    Leaf::Account(Account { balance: Amount(n), nonce: 1 })
}

/// A key that starts like all-zero keys do for `shared` bits, then has a one, then is a hash.
fn key(shared: usize, n: u64) -> StateKey {
    let random = STATE_LEAF.hash(&[&n.to_le_bytes()]);
    StateKey(std::array::from_fn(|i| match (8 * i, 8 * i + 8) {
        (_, end) if end <= shared => 0,
        (start, _) if start > shared => random[i],
        (start, _) => 0x80 >> (shared - start) | random[i] & (0x7f >> (shared - start)),
    }))
}

/// `state_tree.json`.
pub fn state_tree() -> VectorFile<StateCase> {
    let mut cases = Vec::new();
    let mut add = |comment: &str, leaves: Vec<(StateKey, Leaf)>, asked: &[StateKey]| {
        let (state, root) = state_of(leaves);
        let proof = |key: &StateKey| {
            let Ok(proof) = prove(&state, key);
            KeyProof { key: *key, leaf: state.leaves.get(key).map(|leaf| (*leaf).into()), proof: encode(&proof).into() }
        };
        let leaves = state.leaves.iter().map(|(key, leaf)| (*key, (*leaf).into())).collect();
        cases.push(StateCase { comment: comment.into(), leaves, root, proofs: asked.iter().map(proof).collect() });
    };
    let (low, high) = (StateKey::MIN, StateKey::MAX);
    let twin = StateKey(std::array::from_fn(|i| (i == 31).into()));
    let reward = Leaf::Reward(Reward { to: account(1), amount: Amount(2_000_000_000) });
    let history = Leaf::History(HistoryRoot([3; 32]));

    add("no leaf", vec![], &[low, high]);
    add("one leaf: its hash is the root", vec![(key(5, 0), holding(1))], &[key(5, 0), low, high]);
    add("two leaves that part at the first bit", vec![(low, holding(1)), (high, holding(2))], &[low, high, twin]);
    add("two leaves that part at the last bit", vec![(low, holding(1)), (twin, holding(2))], &[low, twin, high]);
    let three = vec![(low, holding(1)), (key(9, 0), reward), (key(2, 0), history)];
    add("an account, a reward, a history root", three, &[low, key(9, 0), key(2, 0), key(9, 1), key(20, 0), high]);
    let accounts = [account(0), account(1), account(2)].map(|id| StateKey::account(&id));
    add("the accounts of a genesis", params().genesis_leaves(), &[accounts[0], accounts[2], StateKey::history()]);
    add("equal leaves under different keys", vec![(low, holding(1)), (high, holding(1))], &[low, high]);
    let spread: Vec<(StateKey, Leaf)> = (0..100).map(|n| (key(0, n).flipped(n % 2 == 0), holding(n))).collect();
    let some = [spread[0].0, spread[1].0, spread[99].0, key(3, 0)];
    add("a hundred leaves", spread, &some);
    // One leaf stands alone to the left of nothing, the other to the right of nothing.
    let (left, right) = (low.flipped(true), high);
    let corner = (0..70).map(|n| (key(200, n), holding(n))).chain([(left, holding(8)), (right, holding(9))]).collect();
    let some = [key(200, 0), key(200, 69), key(199, 0), left, right, key(200, 70)];
    add("seventy leaves that share 200 bits, and two", corner, &some);
    let about = "The tree over the leaves has the root; each proof shows under it that the key has the leaf, or none.";
    VectorFile { about: about.into(), genesis: None, cases }
}

/// Flips keys to the other half of the tree.
trait Flipped {
    fn flipped(self, flip: bool) -> Self;
}

impl Flipped for StateKey {
    fn flipped(mut self, flip: bool) -> StateKey {
        self.0[0] ^= if flip { 0x80 } else { 0 };
        self
    }
}

/// A proof of one fact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProofCase {
    /// What the case is about.
    pub comment: String,
    /// The fact.
    pub fact: Fact,
    /// The name of the `ProofRefusal`, nothing where the fact is shown.
    pub error: Option<String>,
}

/// What a proof is to show.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Fact {
    /// What an account holds under a state root.
    Account {
        /// The root.
        root: StateRoot,
        /// The account.
        account: AccountId,
        /// What it holds.
        holds: Account,
        /// An encoded state proof.
        proof: Hex,
    },
    /// That a block is an ancestor of the last of some headers, with this cumulative work.
    Ancestor {
        /// The headers from height 1 on.
        headers: Vec<Hex>,
        /// The ancestor's height.
        height: u64,
        /// Its hash.
        hash: BlockHash,
        /// The work through it.
        work: Work,
        /// An encoded state proof, then an encoded history proof.
        proof: Hex,
    },
    /// That a transaction has its place in a block.
    Transaction {
        /// The transaction root.
        root: TxRoot,
        /// The encoded transaction.
        transaction: Hex,
        /// Its index, from 0.
        index: u64,
        /// How many transactions the block has.
        count: u64,
        /// From the leaf's sibling upward.
        path: Vec<Hex>,
    },
}

/// `proofs.json`.
pub fn refusals() -> VectorFile<ProofCase> {
    let params = params();
    let mut cases = Vec::new();
    let mut add = |comment: &str, fact: Fact, error: Option<&str>| {
        cases.push(ProofCase { comment: comment.into(), fact, error: error.map(str::to_owned) });
    };
    account_facts(&mut add);
    ancestor_facts(&params, &mut add);
    transaction_facts(&params, &mut add);
    let about = "The proof shows the fact, or is refused for the named ProofRefusal.";
    VectorFile { about: about.into(), genesis: Some(genesis_value(&params)), cases }
}

type Add<'a> = &'a mut dyn FnMut(&str, Fact, Option<&str>);

fn account_facts(add: Add) {
    let (rich, poor) = (account(0), account(5));
    let holds = Account { balance: Amount(7), nonce: 2 };
    let near = |depth: usize, id: &AccountId| {
        let mut key = StateKey::account(id);
        key.0[depth / 8] ^= 0x80 >> (depth % 8);
        key
    };
    let leaves =
        [(StateKey::account(&rich), Leaf::Account(holds)), (near(0, &rich), holding(1)), (near(9, &rich), holding(2))];
    let (state, root) = state_of(leaves);
    let prove = |id: &AccountId| {
        let Ok(proof) = prove(&state, &StateKey::account(id));
        proof
    };
    let fact = |id: AccountId, holds: Account, proof: &StateProof| Fact::Account {
        root,
        account: id,
        holds,
        proof: encode(proof).into(),
    };
    let (good, absent) = (prove(&rich), prove(&poor));
    let changed = |change: &dyn Fn(&mut StateProof)| {
        let mut proof = good.clone();
        change(&mut proof);
        fact(rich, holds, &proof)
    };
    add("an account", fact(rich, holds, &good), None);
    add("an account that is not there", fact(poor, Account::default(), &absent), None);
    let longest = vec![Some([1; 32]); 256];
    let deepest = changed(&|proof| proof.siblings = longest.clone());
    add("256 siblings: a tree could be so deep", deepest, Some("State.WrongRoot"));
    add("257 siblings", changed(&|proof| proof.siblings = vec![None; 257]), Some("State.TooDeep"));
    let spelt = changed(&|proof| proof.siblings[3] = Some([0; 32]));
    add("an empty sibling as 32 zero bytes", spelt, Some("State.SpeltOutEmpty"));
    let lower = changed(&|proof| proof.siblings.insert(0, None));
    add("an empty sibling below all others", lower, Some("State.NotCompressed"));
    let stray = changed(&|proof| proof.terminal = Some((near(9, &rich), holding(2))));
    add("a leaf from beside the walk", stray, Some("State.StrayLeaf"));
    let gone = changed(&|proof| proof.terminal = None);
    add("the leaf left out", gone, Some("State.WrongRoot"));
    let rotten = changed(&|proof| proof.siblings[0] = Some([9; 32]));
    add("another sibling", rotten, Some("State.WrongRoot"));
    let short = changed(&|proof| proof.siblings.truncate(1));
    add("the upper siblings left out", short, Some("State.WrongRoot"));
    let richer = changed(&|proof| proof.terminal = Some((StateKey::account(&rich), holding(8))));
    add("a larger balance", richer, Some("State.WrongRoot"));

    let reward = Leaf::Reward(Reward { to: rich, amount: Amount(7) });
    let (state, root) = state_of([(StateKey::account(&rich), reward)]);
    let Ok(proof) = drystone_core::state::prove(&state, &StateKey::account(&rich));
    let proof = encode(&proof).into();
    let fact = Fact::Account { root, account: rich, holds, proof };
    add("a reward at an account's key, as no valid state has", fact, Some("LeafKind"));
}

fn ancestor_facts(params: &ChainParams, add: Add) {
    let mut branch = Branch::new(params);
    let genesis = branch.tip().work;
    let mut works = vec![genesis];
    for n in 0..5 {
        branch.extend(500 + 300 * n, account(3), vec![]);
        works.push(branch.tip().work);
    }
    let headers: Vec<Hex> = branch.headers()[1..].iter().map(|header| header.to_bytes().into()).collect();
    let Ok(history) = prove(branch.state(), &StateKey::history());
    let proof = |height: u64| {
        let Ok(path) = prove_ancestor(branch.state(), 5, height);
        AncestorProof { history: history.clone(), path }
    };
    let fact = |height: u64, header: &Header, proof: &AncestorProof| Fact::Ancestor {
        headers: headers.clone(),
        height,
        hash: header.hash(),
        work: works[height as usize],
        proof: encode(proof).into(),
    };
    let blocks = branch.headers();
    for height in 0..5 {
        add(&format!("height {height} of 5"), fact(height, &blocks[height as usize], &proof(height)), None);
    }
    add("the tip is not its own ancestor", fact(5, &blocks[5], &proof(4)), Some("History"));
    add("a block at another height", fact(2, &blocks[1], &proof(2)), Some("History"));
    add("the path of another height", fact(2, &blocks[2], &proof(1)), Some("History"));
    let more = Fact::Ancestor {
        headers: headers.clone(),
        height: 2,
        hash: blocks[2].hash(),
        work: works[2] + Work::from_hashes(1),
        proof: encode(&proof(2)).into(),
    };
    add("more work than was done", more, Some("History"));
    let mut empty = proof(2);
    empty.path = HistoryProof { path: vec![] };
    add("no path", fact(2, &blocks[2], &empty), Some("History"));
    let mut elsewhere = proof(2);
    elsewhere.history.siblings[0] = Some([9; 32]);
    add("a history root that the state does not hold", fact(2, &blocks[2], &elsewhere), Some("State.WrongRoot"));
}

fn transaction_facts(params: &ChainParams, add: Add) {
    let chain_id = params.chain_id();
    let body = drystone_core::block::Body {
        reward_to: account(3),
        transactions: (0..4).map(|nonce| transfer(&chain_id, 0, account(1), 1, 1, nonce)).collect(),
    };
    let (root, leaves) = (body.tx_root(), body.leaves());
    let fact = |transaction: usize, index: u64, count: u64, leaf: usize| Fact::Transaction {
        root,
        transaction: encode(&body.transactions[transaction]).into(),
        index,
        count,
        path: TRANSACTIONS.path(&leaves, leaf).into_iter().map(Hex::from).collect(),
    };
    for index in 0..4 {
        add(&format!("transaction {index} of 4"), fact(index, index as u64, 4, index + 1), None);
    }
    add("at another index", fact(1, 2, 4, 2), Some("Transaction"));
    add("another transaction", fact(2, 1, 4, 2), Some("Transaction"));
    add("the path of another leaf", fact(1, 1, 4, 3), Some("Transaction"));
    add("beyond the last", fact(1, 4, 4, 4), Some("Transaction"));
    add("one of a block with fewer", fact(3, 3, 3, 4), Some("Transaction"));
    add("an absurd count", fact(1, 1, u64::MAX, 2), Some("Transaction"));
}
