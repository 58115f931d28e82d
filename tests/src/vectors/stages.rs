//! Cases of the four validation stages, each rule with a neighbour at the bound, and of single transactions.

use drystone_core::amount::Amount;
use drystone_core::block::{Block, Body, Header};
use drystone_core::encode::encode;
use drystone_core::hash::{BlockHash, StateRoot, Txid, WireId};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::pow::{CompactTarget, Work};
use drystone_core::state::{
    Account, HistoryNode, Leaf, MemoryState, Reward, StateChanges, StateKey, append, history_leaf, history_root, update,
};
use drystone_core::transaction::{MAX_MEMO, Memo, Transaction, TransactionBody};
use drystone_core::validation::{Executor, Parent};
use serde::{Deserialize, Serialize};

use super::proofs::LeafValue;
use super::{Hex, VectorFile, account, genesis_value, mined, missed, params, transfer, with_memo};

/// A header by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeaderCase {
    /// What the case is about.
    pub comment: String,
    /// The 116 bytes.
    pub header: Hex,
    /// Its hash.
    pub hash: BlockHash,
    /// The work that its target stands for, nothing where it is refused.
    pub work: Option<Work>,
    /// The name of the `HeaderError`.
    pub error: Option<String>,
}

fn first_header(params: &ChainParams) -> Header {
    let genesis = params.genesis_block().header;
    Header { prev_hash: genesis.hash(), time: genesis.time + params.interval, ..genesis }
}

/// `headers.json`.
pub fn headers() -> VectorFile<HeaderCase> {
    let params = params();
    let mut cases = Vec::new();
    let mut add = |comment: &str, header: Header, error: Option<&str>| {
        let work = header.bits.to_target().ok().filter(|_| error.is_none()).map(|target| target.work());
        let (header, hash) = (header.to_bytes().into(), header.hash());
        cases.push(HeaderCase { comment: comment.into(), header, hash, work, error: error.map(str::to_owned) });
    };
    let base = first_header(&params);
    let bits = |bits| Header { bits: CompactTarget(bits), ..base };
    add("the easiest target, met", mined(base, &params), None);
    add("the easiest target, missed", missed(base, &params), Some("Work"));
    add("a harder target, met", mined(bits(0x2000_7fff), &params), None);
    add("a harder target, missed", missed(bits(0x2000_7fff), &params), Some("Work"));
    add("one step over the limit", bits(0x2001_0000), Some("OverLimit"));
    add("the largest target", bits(0x2100_ffff), Some("OverLimit"));
    add("the same target not canonical: this stage reads its value", mined(bits(0x1f7f_ffff), &params), None);
    add("bits of zero", bits(0), Some("Bits.Zero"));
    add("bits shifted away", bits(0x0100_ffff), Some("Bits.Zero"));
    add("the sign bit", bits(0x2080_0001), Some("Bits.Negative"));
    add("over 256 bits", bits(0x2101_0000), Some("Bits.Overflow"));
    add("another version: judged in context", mined(Header { version: 7, ..base }, &params), None);
    add("a time of 0: judged in context", mined(Header { time: 0, ..base }, &params), None);
    let about = "By itself the header has this hash and claims this work; or it is refused for the named HeaderError.";
    VectorFile { about: about.into(), genesis: Some(genesis_value(&params)), cases }
}

/// A header in its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContextCase {
    /// What the case is about.
    pub comment: String,
    /// The 116 bytes; the header passes by itself.
    pub header: Hex,
    /// The parent's hash.
    pub parent_hash: BlockHash,
    /// The parent's height.
    pub parent_height: u64,
    /// The parent's bits.
    pub parent_bits: CompactTarget,
    /// The parent's time.
    pub parent_time: u64,
    /// The grandparent's time.
    pub grandparent_time: u64,
    /// The local clock, Unix milliseconds.
    pub now: u64,
    /// The name of the `ContextFailure`.
    pub error: Option<String>,
    /// For `NotYet`: when the header becomes acceptable.
    pub acceptable_at: Option<u64>,
}

/// `contexts.json`.
pub fn contexts() -> VectorFile<ContextCase> {
    let params = params();
    let (parent_hash, parent_time) = (BlockHash([0x11; 32]), params.time + 9_000);
    let mut cases = Vec::new();
    let mut add =
        |comment: &str, header: Header, height, grandparent_time, now, error: Option<&str>, at: Option<u64>| {
            cases.push(ContextCase {
                comment: comment.into(),
                header: mined(header, &params).to_bytes().into(),
                parent_hash,
                parent_height: height,
                parent_bits: CompactTarget(0x2000_8000),
                parent_time,
                grandparent_time,
                now,
                error: error.map(str::to_owned),
                acceptable_at: at,
            });
        };
    // The parent took T, so the bits stay.
    let (steady, late) = (parent_time - 1_000, parent_time - 1_001);
    let base = Header {
        prev_hash: parent_hash,
        time: parent_time + 1_000,
        bits: CompactTarget(0x2000_8000),
        ..first_header(&params)
    };
    let now = base.time;
    add("a child in its place", base, 5, steady, now, None, None);
    add(
        "of another parent",
        Header { prev_hash: BlockHash([0x12; 32]), ..base },
        5,
        steady,
        now,
        Some("Invalid.Parent"),
        None,
    );
    add("version 0", Header { version: 0, ..base }, 5, steady, now, Some("Invalid.Version"), None);
    add("version 2", Header { version: 2, ..base }, 5, steady, now, Some("Invalid.Version"), None);
    let bits = |bits| Header { bits: CompactTarget(bits), ..base };
    add("a step easier than required", bits(0x2000_8001), 5, steady, now, Some("Invalid.Difficulty"), None);
    add("a step harder than required", bits(0x1f7f_ffff), 5, steady, now, Some("Invalid.Difficulty"), None);
    add("the parent's bits where they must move", base, 5, parent_time - 2_000, now, Some("Invalid.Difficulty"), None);
    add("moved as required: t = 2T", bits(0x2000_8222), 5, parent_time - 2_000, now, None, None);
    add("t = T + 1 moves nothing that 23 bits show", base, 5, late, now, None, None);
    add("block 1 takes the genesis bits", bits(0x2000_ffff), 0, 0, now, None, None);
    add("block 1 with its parent's", base, 0, 0, now, Some("Invalid.Difficulty"), None);
    add("block 2 uses t = T", base, 1, parent_time - 5_000, now, None, None);
    let time = |time| Header { time, ..base };
    add("a millisecond after the parent", time(parent_time + 1), 5, steady, now, None, None);
    add("at the parent's time", time(parent_time), 5, steady, now, Some("Invalid.Time"), None);
    add("before the parent", time(parent_time - 1), 5, steady, now, Some("Invalid.Time"), None);
    add("at time 0", time(0), 5, steady, now, Some("Invalid.Time"), None);
    add("max_future ahead of the clock", base, 5, steady, now - 6_000, None, None);
    add("max_future and a millisecond ahead", base, 5, steady, now - 6_001, Some("NotYet"), Some(now - 6_000));
    add("far ahead", time(u64::MAX), 5, steady, now, Some("NotYet"), Some(u64::MAX - 6_000));
    add("a clock of 0", base, 5, steady, 0, Some("NotYet"), Some(now - 6_000));
    let early = Header { version: 2, time: u64::MAX, ..base };
    add("invalid comes before not yet", early, 5, steady, now, Some("Invalid.Version"), None);
    let about = "The header, child of a parent with this hash, height, bits and time, whose parent has this time, stands in its \
                 place when the clock shows now; or not, for the named ContextFailure.";
    VectorFile { about: about.into(), genesis: Some(genesis_value(&params)), cases }
}

/// A transaction by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TransactionCase {
    /// What the case is about.
    pub comment: String,
    /// The encoded transaction; a memo over the longest is refused by the decoder too, and stands here as in a block.
    pub transaction: Hex,
    /// Its txid.
    pub txid: Txid,
    /// Its wire id.
    pub wire_id: WireId,
    /// The bytes that its signature must cover.
    pub signing_message: Hex,
    /// The name of the `TransactionError`.
    pub error: Option<String>,
}

/// Transactions with the rule that each breaks by itself.
fn transaction_list(chain_id: &BlockHash) -> Vec<(&'static str, Transaction, Option<&'static str>)> {
    let good = transfer(chain_id, 0, account(1), 500, 1, 0);
    let body = |change: &dyn Fn(&mut TransactionBody)| {
        let mut body = good.body.clone();
        change(&mut body);
        body.sign(chain_id, &SecretKey::dev(0))
    };
    let signature = |change: &dyn Fn(&mut [u8; 64])| {
        let mut changed = good.clone();
        change(&mut changed.signature.0);
        changed
    };
    let from = |point: [u8; 32]| {
        let mut changed = good.clone();
        changed.body.from = AccountId(point);
        changed
    };
    let r = |point: [u8; 32]| signature(&|signature| signature[..32].copy_from_slice(&point));
    // p and p + 1 where y must be below p = 2^255 - 19; 1 is the neutral point; 0 has order 4.
    let point = |low: u8, middle: u8, high: u8| -> [u8; 32] {
        std::array::from_fn(|i| {
            if i == 0 {
                low
            } else if i == 31 {
                high
            } else {
                middle
            }
        })
    };
    let mut unreduced = good.clone();
    add_group_order(&mut unreduced.signature.0);
    vec![
        ("a transfer", good.clone(), None),
        ("a memo of 256 bytes", with_memo(chain_id, 0, account(1), 500, 1, 0, MAX_MEMO), None),
        ("a memo of 257 bytes", with_memo(chain_id, 0, account(1), 500, 1, 0, MAX_MEMO + 1), Some("MemoTooLong")),
        ("amount and fee of 2^64 - 1 together", body(&|body| body.amount = Amount(u64::MAX - 1)), None),
        ("amount and fee of 2^64 together", body(&|body| body.amount = Amount(u64::MAX)), Some("AmountOverflow")),
        ("nothing at no fee", body(&|body| (body.amount, body.fee) = (Amount(0), Amount(0))), None),
        ("to a key that is no point", body(&|body| body.to = AccountId([0xff; 32])), None),
        ("to itself", body(&|body| body.to = body.from), None),
        ("the last nonce", body(&|body| body.nonce = u64::MAX), None),
        ("a key y = p", from(point(0xed, 0xff, 0x7f)), Some("Signature.NonCanonicalKey")),
        ("a key x = 0 with the sign bit", from(point(1, 0, 0x80)), Some("Signature.NonCanonicalKey")),
        ("the neutral point as key", from(point(1, 0, 0)), Some("Signature.SmallOrderKey")),
        ("a key of order 4", from(point(0, 0, 0x80)), Some("Signature.SmallOrderKey")),
        ("a key y = 2, which is no point", from(point(2, 0, 0)), Some("Signature.Mismatch")),
        ("R y = p + 1", r(point(0xee, 0xff, 0x7f)), Some("Signature.NonCanonicalR")),
        ("the neutral point as R", r(point(1, 0, 0)), Some("Signature.SmallOrderR")),
        ("an R of order 2", r(point(0xec, 0xff, 0x7f)), Some("Signature.SmallOrderR")),
        ("s + l", unreduced, Some("Signature.UnreducedS")),
        ("a bit of s", signature(&|signature| signature[32] ^= 1), Some("Signature.Mismatch")),
        ("a bit of R", signature(&|signature| signature[0] ^= 1), Some("Signature.Mismatch")),
        ("signed for another chain", transfer(&BlockHash::ZERO, 0, account(1), 500, 1, 0), Some("Signature.Mismatch")),
        ("signed by another key", good.body.clone().sign(chain_id, &SecretKey::dev(1)), Some("Signature.Mismatch")),
        (
            "an amount that was not signed",
            Transaction { body: TransactionBody { amount: Amount(501), ..good.body.clone() }, ..good.clone() },
            Some("Signature.Mismatch"),
        ),
        (
            "a memo that was not signed",
            Transaction { body: TransactionBody { memo: Memo(vec![0]), ..good.body }, ..good },
            Some("Signature.Mismatch"),
        ),
    ]
}

/// Adds the group order to s: the same scalar, encoded a second way.
fn add_group_order(signature: &mut [u8; 64]) {
    const ORDER: [u8; 16] =
        [0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14];
    let order = ORDER.into_iter().chain([0; 15]).chain([0x10]);
    let mut carry = 0;
    for (byte, term) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(term) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}

/// `transactions.json`.
pub fn transactions() -> VectorFile<TransactionCase> {
    let params = params();
    let chain_id = params.chain_id();
    let case = |(comment, transaction, error): (&str, Transaction, Option<&str>)| TransactionCase {
        comment: comment.into(),
        txid: transaction.txid(),
        wire_id: transaction.wire_id(),
        signing_message: transaction.body.signing_message(&chain_id).into(),
        transaction: encode(&transaction).into(),
        error: error.map(str::to_owned),
    };
    let cases = transaction_list(&chain_id).into_iter().map(case).collect();
    let about = "The transaction, well formed and signed for this chain, has this txid and wire id; or it is refused for the \
                 named TransactionError. The state is not asked.";
    VectorFile { about: about.into(), genesis: Some(genesis_value(&params)), cases }
}

/// A block by itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BlockCase {
    /// What the case is about.
    pub comment: String,
    /// The encoded block; its header passes by itself.
    pub block: Hex,
    /// Its height.
    pub height: u64,
    /// The name of the `BlockError`.
    pub error: Option<String>,
    /// For a transaction's error: the transaction's place.
    pub index: Option<usize>,
}

/// `blocks.json`.
pub fn blocks() -> VectorFile<BlockCase> {
    let params = params();
    let chain_id = params.chain_id();
    let mut cases = Vec::new();
    let mut add = |comment: &str, header: Option<Header>, body: Body, error: Option<String>, index| {
        let own = || mined(Header { tx_root: body.tx_root(), ..first_header(&params) }, &params);
        let block = encode(&Block { header: header.unwrap_or_else(own), body: body.clone() }).into();
        cases.push(BlockCase { comment: comment.into(), block, height: 1, error, index });
    };
    let body = |transactions| Body { reward_to: account(3), transactions };
    let pay = |nonce| transfer(&chain_id, 0, account(1), 500, 1, nonce);
    add("no transactions", None, body(vec![]), None, None);
    add("two transactions", None, body(vec![pay(0), pay(1)]), None, None);
    add("nonces and balances are not asked", None, body(vec![pay(9), pay(9)]), None, None);

    // Header, reward_to and count are 156 bytes, a transaction without memo 160: five of them leave 44 of 1,000.
    let filled = |memo| {
        let last = with_memo(&chain_id, 0, account(1), 500, 1, 4, memo);
        body((0..4).map(pay).chain([last]).collect())
    };
    add("1,000 bytes", None, filled(44), None, None);
    add("1,001 bytes", None, filled(45), Some("TooLarge".into()), None);

    let two = body(vec![pay(0), pay(1)]);
    let header = Some(mined(Header { tx_root: two.tx_root(), ..first_header(&params) }, &params));
    let root = || Some("TxRoot".to_owned());
    add("the header's own body", header, two.clone(), None, None);
    add("another reward_to", header, Body { reward_to: account(4), ..two.clone() }, root(), None);
    add("another order", header, body(vec![pay(1), pay(0)]), root(), None);
    add("the last transaction missing", header, body(vec![pay(0)]), root(), None);
    add("the last transaction twice", header, body(vec![pay(0), pay(1), pay(1)]), root(), None);
    let mut resigned = two.clone();
    resigned.transactions[1].signature.0[40] ^= 1;
    add("another signature on the same transaction", header, resigned, root(), None);
    add("too large comes before the root", header, filled(45), Some("TooLarge".into()), None);

    let list = transaction_list(&chain_id);
    for (comment, transaction, error) in &list {
        let error = error.map(|error| format!("Transaction.{error}"));
        let index = error.is_some().then_some(1);
        add(&format!("after a good one: {comment}"), None, body(vec![pay(0), transaction.clone()]), error, index);
    }
    let find = |wanted| {
        let found = list.iter().find(|(_, _, error)| *error == Some(wanted)).expect("each rule has a case");
        found.1.clone()
    };
    let (form, signature) = (find("AmountOverflow"), find("Signature.Mismatch"));
    let first = |error: &str| Some(format!("Transaction.{error}"));
    add(
        "the first of two counts: signature",
        None,
        body(vec![signature.clone(), form.clone()]),
        first("Signature.Mismatch"),
        Some(0),
    );
    add("the first of two counts: form", None, body(vec![form, signature]), first("AmountOverflow"), Some(0));
    let about = "The block passes by itself, whatever its parent; or it is refused for the named BlockError, at that transaction.";
    VectorFile { about: about.into(), genesis: Some(genesis_value(&params)), cases }
}

/// A block on its parent's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectCase {
    /// What the case is about.
    pub comment: String,
    /// The parent's ancestors from genesis on, hash and work through each. As many as the parent is high.
    pub ancestors: Vec<(BlockHash, Work)>,
    /// The parent: its hash and the work through it.
    pub parent: (BlockHash, Work),
    /// The accounts of the parent's state.
    pub accounts: Vec<(AccountId, Account)>,
    /// Its rewards, by height. With the history root over the ancestors, if there are any, these are the whole state.
    pub rewards: Vec<(u64, Reward)>,
    /// The encoded block; it passes by itself.
    pub block: Hex,
    /// The name of the `ConnectError`.
    pub error: Option<String>,
    /// For a transfer's error: the transaction's place.
    pub index: Option<usize>,
    /// The leaves of the state after the block, ascending, nothing where it is refused.
    pub after: Option<Vec<(StateKey, LeafValue)>>,
}

impl ConnectCase {
    /// The parent and its state.
    pub fn scene(&self) -> (Parent, MemoryState) {
        let (hash, work) = self.parent;
        let mut state = MemoryState::default();
        for ((hash, work), count) in self.ancestors.iter().zip(0..) {
            let Ok((_, nodes)) = append(&state, count, history_leaf(hash, work));
            let history = nodes.into_iter().map(|(node, hash): (HistoryNode, _)| (node, Some(hash))).collect();
            state.apply(&StateChanges { history, ..StateChanges::default() });
        }
        let height = self.ancestors.len() as u64;
        let Ok(root) = history_root(&state, height);
        let history = (height > 0).then_some((StateKey::history(), Some(Leaf::History(root))));
        let accounts = self.accounts.iter().map(|(id, account)| (StateKey::account(id), Some(Leaf::Account(*account))));
        let rewards =
            self.rewards.iter().map(|(height, reward)| (StateKey::reward(*height), Some(Leaf::Reward(*reward))));
        let leaves = accounts.chain(rewards).chain(history).collect();
        let Ok(tree) = update(&state, &leaves);
        state.apply(&StateChanges { leaves, pages: tree.pages, ..StateChanges::default() });
        (Parent { height, hash, work }, state)
    }
}

/// Connect cases in the making: one state at height 5, of which a case changes what it is about.
struct Scenes {
    params: ChainParams,
    cases: Vec<ConnectCase>,
}

/// Account 0 is rich, 1 holds 1,000 chips, 2 holds less than the reserve, 4 to 6 are absent; 7 has sent three.
fn scene_accounts() -> Vec<(AccountId, Account)> {
    let holds = |index, balance, nonce| (account(index), Account { balance: Amount(balance), nonce });
    vec![holds(0, 1_000_000, 0), holds(1, 1_000, 0), holds(2, 60, 0), holds(7, 5_000, 3)]
}

impl Scenes {
    /// An empty case at this height of the parent. Account 3 has the rewards that have not matured.
    fn scene(&self, parent_height: u64) -> ConnectCase {
        let ancestor = |height: u64| (BlockHash([height as u8 + 1; 32]), Work::from_hashes(256 * (height + 1)));
        let reward = |height| (height, Reward { to: account(3), amount: Amount(1_000 + height) });
        let oldest = (parent_height + 1).saturating_sub(self.params.maturity).max(1);
        ConnectCase {
            comment: String::new(),
            ancestors: (0..parent_height).map(ancestor).collect(),
            parent: ancestor(parent_height),
            accounts: scene_accounts(),
            rewards: (oldest..=parent_height).map(reward).collect(),
            block: Hex::default(),
            error: None,
            index: None,
            after: None,
        }
    }

    /// Fills a case with a block, whose state root is right but for `change`; says what must become of it.
    fn add(
        &mut self,
        comment: &str,
        mut case: ConnectCase,
        transactions: Vec<Transaction>,
        change: impl Fn(&mut StateRoot),
        verdict: Result<(), (&str, Option<usize>)>,
    ) {
        let body = Body { reward_to: account(3), transactions };
        let (parent, mut state) = case.scene();
        let mut executor = Executor::new(&state, &parent, &self.params);
        for transaction in &body.transactions {
            let Ok(_) = executor.apply(transaction);
        }
        let Ok(executed) = executor.finish(&body.reward_to);
        let mut state_root = executed.state_root;
        change(&mut state_root);
        let header =
            Header { prev_hash: parent.hash, state_root, tx_root: body.tx_root(), ..first_header(&self.params) };
        case.block = encode(&Block { header: mined(header, &self.params), body }).into();
        case.comment = comment.into();
        match verdict {
            Ok(()) => {
                state.apply(&executed.changes);
                case.after = Some(state.leaves.iter().map(|(key, leaf)| (*key, (*leaf).into())).collect());
            }
            Err((error, index)) => (case.error, case.index) = (Some(error.into()), index),
        }
        self.cases.push(case);
    }

    fn accept(&mut self, comment: &str, transactions: Vec<Transaction>) {
        self.add(comment, self.scene(5), transactions, |_| (), Ok(()));
    }

    fn refuse(&mut self, comment: &str, transactions: Vec<Transaction>, index: usize, error: &str) {
        let error = format!("Transfer.{error}");
        self.add(comment, self.scene(5), transactions, |_| (), Err((&error, Some(index))));
    }
}

/// `connect.json`.
pub fn connections() -> VectorFile<ConnectCase> {
    let mut scenes = Scenes { params: params(), cases: Vec::new() };
    let id = scenes.params.chain_id();
    let pay = |from, to: u8, amount, fee, nonce| transfer(&id, from, account(to), amount, fee, nonce);
    nonces(&mut scenes, &pay);
    balances(&mut scenes, &pay);
    reserves(&mut scenes, &pay);
    rewards(&mut scenes, &pay);
    state_roots(&mut scenes, &pay);
    let about = "On the state of accounts, rewards and history root, the block connects and leaves the leaves in after, whose \
                 root is its header's; or it is refused for the named ConnectError, at that transaction.";
    VectorFile { about: about.into(), genesis: Some(genesis_value(&scenes.params)), cases: scenes.cases }
}

type Pay<'a> = &'a dyn Fn(u8, u8, u64, u64, u64) -> Transaction;

fn nonces(scenes: &mut Scenes, pay: Pay) {
    scenes.accept("no transactions", vec![]);
    scenes.accept("the next nonce", vec![pay(7, 0, 500, 1, 3)]);
    scenes.refuse("one too high", vec![pay(7, 0, 500, 1, 4)], 0, "Nonce");
    scenes.refuse("one too low: a replay", vec![pay(7, 0, 500, 1, 2)], 0, "Nonce");
    scenes.accept("two in order", vec![pay(7, 0, 500, 1, 3), pay(7, 0, 500, 1, 4)]);
    scenes.refuse("two out of order", vec![pay(7, 0, 500, 1, 4), pay(7, 0, 500, 1, 3)], 0, "Nonce");
    scenes.refuse("the same nonce twice", vec![pay(7, 0, 500, 1, 3), pay(7, 1, 500, 1, 3)], 1, "Nonce");
    scenes.accept("receiving does not count", vec![pay(0, 7, 500, 1, 0), pay(7, 0, 500, 1, 3)]);
    scenes.refuse("the nonce is checked before the balance", vec![pay(1, 0, 5_000, 1, 1)], 0, "Nonce");
}

fn balances(scenes: &mut Scenes, pay: Pay) {
    scenes.refuse("a chip more than there is", vec![pay(1, 0, 1_000, 1, 0)], 0, "Overspend");
    scenes.refuse("a fee of a chip more than there is", vec![pay(1, 0, 0, 1_001, 0)], 0, "Overspend");
    scenes.refuse("exactly what there is: nothing is left", vec![pay(1, 0, 999, 1, 0)], 0, "SenderBelowReserve");
    scenes.refuse("from an account that is absent", vec![pay(4, 0, 1, 0, 0)], 0, "Overspend");
    scenes.accept("to itself, exactly what there is", vec![pay(1, 1, 999, 1, 0)]);
    scenes.refuse("to itself, a chip more", vec![pay(1, 1, 1_000, 1, 0)], 0, "Overspend");
    scenes.accept("received before in the block", vec![pay(0, 4, 700, 1, 0), pay(4, 1, 500, 100, 0)]);
    scenes.refuse("received later in the block", vec![pay(4, 1, 500, 100, 0), pay(0, 4, 700, 1, 0)], 0, "Overspend");
    scenes.refuse("a chip short in the middle", vec![pay(0, 4, 700, 1, 0), pay(4, 1, 700, 1, 0)], 1, "Overspend");
    scenes.accept("a fee alone", vec![pay(1, 0, 0, 900, 0)]);
    scenes.accept("nothing, at no fee", vec![pay(1, 0, 0, 0, 0)]);
    scenes.accept("nothing, at no fee, to itself: only the nonce moves", vec![pay(1, 1, 0, 0, 0)]);
}

fn reserves(scenes: &mut Scenes, pay: Pay) {
    scenes.accept("the sender keeps the reserve", vec![pay(1, 0, 899, 1, 0)]);
    scenes.refuse("the sender keeps a chip less", vec![pay(1, 0, 900, 1, 0)], 0, "SenderBelowReserve");
    scenes.refuse("paying itself, it keeps a chip less", vec![pay(1, 1, 0, 901, 0)], 0, "SenderBelowReserve");
    scenes.accept("paying itself, it keeps the reserve", vec![pay(1, 1, 0, 900, 0)]);
    scenes.accept("a fresh account gets the reserve", vec![pay(0, 4, 100, 1, 0)]);
    scenes.refuse("a fresh account gets a chip less", vec![pay(0, 4, 99, 1, 0)], 0, "RecipientBelowReserve");
    scenes.refuse("a fresh account gets nothing", vec![pay(0, 4, 0, 1, 0)], 0, "RecipientBelowReserve");
    scenes.accept("60 chips and 40 are the reserve", vec![pay(0, 2, 40, 1, 0)]);
    scenes.refuse("60 chips and 39 are not", vec![pay(0, 2, 39, 1, 0)], 0, "RecipientBelowReserve");
    scenes.refuse("an account below the reserve cannot send", vec![pay(2, 0, 0, 0, 0)], 0, "SenderBelowReserve");
    scenes.refuse("nor can one that is absent", vec![pay(4, 0, 0, 0, 0)], 0, "SenderBelowReserve");
    scenes.refuse("the sender is checked first", vec![pay(2, 4, 1, 0, 0)], 0, "SenderBelowReserve");
}

fn rewards(scenes: &mut Scenes, pay: Pay) {
    let with = |scenes: &Scenes, reward: Reward| {
        let mut case = scenes.scene(5);
        case.rewards[0].1 = reward;
        case
    };
    let to = |index, amount| Reward { to: account(index), amount: Amount(amount) };
    scenes.add("block 1: no ancestor, nothing matures", scenes.scene(0), vec![], |_| (), Ok(()));
    scenes.add("block 3: genesis has no reward to mature", scenes.scene(2), vec![], |_| (), Ok(()));
    scenes.add("block 4: the reward of block 1 matures", scenes.scene(3), vec![], |_| (), Ok(()));
    let case = with(scenes, to(4, 1_003));
    scenes.add("into an account that was absent", case, vec![], |_| (), Ok(()));
    let case = with(scenes, to(4, 1));
    scenes.add("below the reserve: rewards are exempt", case, vec![], |_| (), Ok(()));
    let case = with(scenes, to(4, 0));
    scenes.add("a reward of nothing leaves no account", case, vec![], |_| (), Ok(()));
    let case = with(scenes, to(1, 1_003));
    scenes.add("into an account that is there", case, vec![], |_| (), Ok(()));
    let case = with(scenes, to(1, 1_003));
    scenes.add("into one that sends and pays in the block", case, vec![pay(1, 0, 500, 7, 0)], |_| (), Ok(()));
    let case = with(scenes, to(1, 1_003));
    let error = Err(("Transfer.Overspend", Some(0)));
    scenes.add("it matures after the transactions", case, vec![pay(1, 0, 1_500, 7, 0)], |_| (), error);
    let case = with(scenes, to(4, 5_000));
    scenes.add("also for an account that it makes", case, vec![pay(4, 0, 1_500, 7, 0)], |_| (), error);
    let fees = vec![pay(0, 1, 500, 11, 0), pay(0, 7, 500, 13, 1)];
    scenes.accept("fees add to the new reward", fees);
    // The subsidy halves after block 6.
    scenes.add("block 6 has the first subsidy", scenes.scene(5), vec![], |_| (), Ok(()));
    scenes.add("block 7 has half", scenes.scene(6), vec![], |_| (), Ok(()));
}

fn state_roots(scenes: &mut Scenes, pay: Pay) {
    let refused = Err(("StateRoot", None));
    scenes.add("the last bit of the root", scenes.scene(5), vec![], |root| root.0[31] ^= 1, refused);
    scenes.add("a root of zeros", scenes.scene(5), vec![], |root| root.0 = [0; 32], refused);
    let (_, state) = scenes.scene(5).scene();
    let Ok(before) = drystone_core::state::root(&state);
    scenes.add("the parent's root", scenes.scene(5), vec![pay(0, 1, 500, 1, 0)], |root| *root = before, refused);
    scenes.add(
        "transfers are checked first",
        scenes.scene(5),
        vec![pay(0, 1, 500, 1, 1)],
        |root| root.0 = [0; 32],
        Err(("Transfer.Nonce", Some(0))),
    );
}
