//! Cases of chains: blocks in the order in which they arrive, what becomes of each, and the tip that follows.

use drystone_core::block::{Block, Body, Header};
use drystone_core::encode::encode;
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::state::{Account, Leaf, MemoryState, StateKey};
use drystone_core::transaction::Transaction;
use drystone_core::validation::{BlockContext, Executor, Parent, check_block, check_header, connect_block};
use serde::{Deserialize, Serialize};

use super::proofs::state_of;
use super::{Hex, VectorFile, account, bits_after, genesis_value, mined, missed, params, transfer};

/// Blocks that arrive one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChainCase {
    /// What the case is about.
    pub comment: String,
    /// The blocks in the order of their arrival.
    pub blocks: Vec<Arrival>,
    /// Accounts of the state at the last tip; one that the state does not hold has balance 0 and nonce 0.
    pub accounts: Vec<(AccountId, Account)>,
    /// The root of that state.
    pub state_root: StateRoot,
}

/// A block arrives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Arrival {
    /// What it is.
    pub comment: String,
    /// The local clock, Unix milliseconds.
    pub now: u64,
    /// The encoded block.
    pub block: Hex,
    /// `accepted`, `missing parent`, `invalid parent`, or the stage and the broken rule: `header Work`,
    /// `context NotYet`, `block TxRoot`, `connect Transfer.Nonce`.
    pub verdict: String,
    /// The tip afterwards.
    pub tip: BlockHash,
    /// The tip's height.
    pub height: u64,
}

/// A branch that grows by valid blocks. A clone is a fork.
#[derive(Clone, Debug)]
pub(super) struct Branch<'a> {
    params: &'a ChainParams,
    chain_id: BlockHash,
    state: MemoryState,
    headers: Vec<Header>,
    parent: Parent,
}

impl<'a> Branch<'a> {
    /// Genesis alone.
    pub(super) fn new(params: &'a ChainParams) -> Branch<'a> {
        let header = params.genesis_block().header;
        let work = params.bits.to_target().expect("parameters were checked").work();
        let parent = Parent { height: 0, hash: header.hash(), work };
        let (state, _) = state_of(params.genesis_leaves());
        Branch { params, chain_id: header.hash(), state, headers: vec![header], parent }
    }

    pub(super) fn tip(&self) -> &Parent {
        &self.parent
    }

    pub(super) fn state(&self) -> &MemoryState {
        &self.state
    }

    pub(super) fn headers(&self) -> &[Header] {
        &self.headers
    }

    fn account(&self, id: &AccountId) -> Account {
        match self.state.leaves.get(&StateKey::account(id)) {
            Some(Leaf::Account(account)) => *account,
            _ => Account::default(),
        }
    }

    /// The next block, `gap` milliseconds after the last, changed before it is worked on. Transactions that the state
    /// refuses are in it, but not in its state root.
    fn block(
        &self,
        gap: u64,
        reward_to: AccountId,
        transactions: Vec<Transaction>,
        change: impl Fn(&mut Header),
    ) -> Block {
        let body = Body { reward_to, transactions };
        let mut executor = Executor::new(&self.state, &self.parent, self.params);
        for transaction in &body.transactions {
            let Ok(_) = executor.apply(transaction);
        }
        let Ok(executed) = executor.finish(&reward_to);
        let mut header = Header {
            version: 1,
            prev_hash: self.parent.hash,
            state_root: executed.state_root,
            tx_root: body.tx_root(),
            time: self.headers[self.headers.len() - 1].time + gap,
            bits: bits_after(self.params, &self.headers),
            nonce: 0,
        };
        change(&mut header);
        Block { header: mined(header, self.params), body }
    }

    /// Connects a valid block.
    fn connect(&mut self, block: &Block) {
        let height = self.parent.height + 1;
        let context = BlockContext { params: self.params, chain_id: &self.chain_id, height, batch_secret: &[0; 32] };
        let header = check_header(block.header, self.params).expect("mined");
        let checked = check_block(header, block.body.clone(), &context).expect("the case is built to be valid");
        let connected = connect_block(checked, &self.parent, self.params, &self.state).expect("built to connect");
        self.state.apply(connected.changes());
        self.headers.push(block.header);
        self.parent = Parent { height, hash: connected.hash(), work: connected.work() };
    }

    /// Adds the next block.
    pub(super) fn extend(&mut self, gap: u64, reward_to: AccountId, transactions: Vec<Transaction>) -> Block {
        let block = self.block(gap, reward_to, transactions, |_| ());
        self.connect(&block);
        block
    }
}

/// A case in the making. The author says which branch is the tip.
struct Story<'a> {
    params: &'a ChainParams,
    comment: &'static str,
    blocks: Vec<Arrival>,
}

impl<'a> Story<'a> {
    fn new(params: &'a ChainParams, comment: &'static str) -> Story<'a> {
        Story { params, comment, blocks: Vec::new() }
    }

    fn arrive_at(&mut self, now: u64, comment: &str, block: &Block, verdict: &str, tip: &Parent) {
        let (comment, block, verdict) = (comment.into(), encode(block).into(), verdict.into());
        self.blocks.push(Arrival { comment, now, block, verdict, tip: tip.hash, height: tip.height });
    }

    /// A block arrives in time.
    fn arrive(&mut self, comment: &str, block: &Block, verdict: &str, tip: &Parent) {
        self.arrive_at(block.header.time.max(self.params.time), comment, block, verdict, tip);
    }

    /// The branch grows by a block, which arrives and becomes the tip.
    fn grow(&mut self, branch: &mut Branch<'a>, comment: &str, reward_to: u8, transactions: Vec<Transaction>) {
        let block = branch.extend(1_000, account(reward_to), transactions);
        self.arrive(comment, &block, "accepted", branch.tip());
    }

    /// A block with one transaction arrives and is refused.
    fn refuse(&mut self, branch: &Branch<'a>, comment: &str, transaction: Transaction, verdict: &str) {
        let block = branch.block(1_000, account(3), vec![transaction], |_| ());
        self.arrive(comment, &block, verdict, branch.tip());
    }

    fn end(self, tip: &Branch<'a>) -> ChainCase {
        let (Story { comment, blocks, .. }, header) = (self, tip.headers[tip.headers.len() - 1]);
        let accounts = (0..8).map(|index| (account(index), tip.account(&account(index)))).collect();
        ChainCase { comment: comment.into(), blocks, accounts, state_root: header.state_root }
    }
}

/// `chains.json`.
pub fn cases() -> VectorFile<ChainCase> {
    let params = params();
    let cases = vec![
        payments(&params),
        maturity(&params),
        reorganisation(&params),
        more_work_at_equal_height(&params),
        invalid_branch(&params),
        refused_headers(&params),
        missing_and_early(&params),
        other_bodies(&params),
        halvings(&params),
    ];
    let about = "Blocks arrive in order at a node that starts with genesis; after each the tip is as given. Each block is judged \
                 on its parent's state; a node may judge the state rules of a side branch later, the tips are the same.";
    VectorFile { about: about.into(), genesis: Some(genesis_value(&params)), cases }
}

fn payments(params: &ChainParams) -> ChainCase {
    let (mut story, mut chain) = (Story::new(params, "payments"), Branch::new(params));
    let id = params.chain_id();
    let pay = |from, to: u8, amount, fee, nonce| transfer(&id, from, account(to), amount, fee, nonce);
    story.grow(&mut chain, "two payments of one sender", 3, vec![pay(0, 1, 500, 1, 0), pay(0, 2, 500, 1, 1)]);
    story.refuse(&chain, "the first once more", pay(0, 1, 500, 1, 0), "connect Transfer.Nonce");
    story.refuse(&chain, "a nonce too far", pay(0, 1, 500, 1, 3), "connect Transfer.Nonce");
    story.refuse(&chain, "99 chips to a fresh account", pay(0, 4, 99, 1, 2), "connect Transfer.RecipientBelowReserve");
    story.refuse(&chain, "nothing to a fresh account", pay(0, 4, 0, 1, 2), "connect Transfer.RecipientBelowReserve");
    story.grow(&mut chain, "100 chips to a fresh account: the reserve", 3, vec![pay(0, 4, 100, 1, 2)]);
    story.grow(&mut chain, "nothing to an account that is there, at no fee", 3, vec![pay(0, 4, 0, 0, 3)]);
    story.refuse(&chain, "a payment to itself over its balance", pay(2, 2, 1_500, 1, 0), "connect Transfer.Overspend");
    story.grow(&mut chain, "a payment of all it has to itself: it pays the fee", 3, vec![pay(2, 2, 1_400, 100, 0)]);
    story.refuse(&chain, "a chip more than it has", pay(2, 1, 1_400, 1, 1), "connect Transfer.Overspend");
    story.refuse(&chain, "it would keep 99 chips", pay(2, 1, 1_300, 1, 1), "connect Transfer.SenderBelowReserve");
    let forward = vec![pay(0, 5, 1_000, 1, 4), pay(5, 6, 800, 100, 0), pay(6, 0, 600, 100, 0)];
    story.grow(&mut chain, "fresh accounts pass on in the same block what they received", 3, forward);
    story.grow(&mut chain, "it keeps the reserve", 3, vec![pay(2, 1, 1_299, 1, 1)]);
    story.end(&chain)
}

fn maturity(params: &ChainParams) -> ChainCase {
    let (mut story, mut chain) = (Story::new(params, "rewards mature"), Branch::new(params));
    let id = params.chain_id();
    let pay = |from, to: u8, amount, fee, nonce| transfer(&id, from, account(to), amount, fee, nonce);
    story.grow(&mut chain, "the reward of block 1: 1,000 and a fee of 50", 7, vec![pay(0, 1, 500, 50, 0)]);
    story.grow(&mut chain, "2", 3, vec![]);
    story.grow(&mut chain, "3", 3, vec![]);
    story.refuse(&chain, "block 4 spends what matures at its end", pay(7, 1, 900, 1, 0), "connect Transfer.Overspend");
    story.grow(&mut chain, "block 4: 1,050 chips mature into an account that was absent", 3, vec![]);
    story.refuse(&chain, "a chip too much", pay(7, 1, 950, 1, 0), "connect Transfer.SenderBelowReserve");
    story.grow(&mut chain, "block 5 spends them", 3, vec![pay(7, 1, 949, 1, 0)]);
    story.end(&chain)
}

fn reorganisation(params: &ChainParams) -> ChainCase {
    let (mut story, mut a) = (Story::new(params, "a reorganisation, and back"), Branch::new(params));
    let id = params.chain_id();
    let pay = |from, to: u8, amount, nonce| transfer(&id, from, account(to), amount, 1, nonce);
    story.grow(&mut a, "common", 3, vec![pay(0, 1, 1_000, 0)]);
    let mut b = a.clone();
    story.grow(&mut a, "a2", 4, vec![pay(0, 5, 2_000, 1)]);
    story.grow(&mut a, "a3", 4, vec![pay(5, 6, 500, 0)]);
    let b2 = b.extend(1_000, account(7), vec![pay(0, 6, 3_000, 1)]);
    story.arrive("b2: less work", &b2, "accepted", a.tip());
    let b3 = b.extend(1_000, account(7), vec![]);
    story.arrive("b3: as much work, but later", &b3, "accepted", a.tip());
    story.grow(&mut b, "b4: more work", 7, vec![pay(0, 5, 2_000, 2), pay(6, 5, 100, 0)]);
    let a4 = a.extend(1_000, account(4), vec![pay(5, 1, 100, 1)]);
    story.arrive("a4: as much work, but later", &a4, "accepted", b.tip());
    story.grow(&mut a, "a5: more work again; its first blocks are known", 4, vec![]);
    story.end(&a)
}

fn more_work_at_equal_height(params: &ChainParams) -> ChainCase {
    let mut story = Story::new(params, "more work at equal height");
    let (mut slow, mut quick) = (Branch::new(params), Branch::new(params));
    for comment in ["slow 1", "slow 2", "slow 3", "slow 4"] {
        story.grow(&mut slow, comment, 3, vec![]);
    }
    for comment in ["quick 1", "quick 2", "quick 3"] {
        let block = quick.extend(1, account(4), vec![]);
        story.arrive(comment, &block, "accepted", slow.tip());
    }
    let block = quick.extend(1, account(4), vec![]);
    story.arrive("quick 4: harder bits make more work", &block, "accepted", quick.tip());
    story.end(&quick)
}

fn invalid_branch(params: &ChainParams) -> ChainCase {
    let mut story = Story::new(params, "an invalid block ends its branch, however much work follows");
    let mut good = Branch::new(params);
    story.grow(&mut good, "1", 3, vec![]);
    let mut bad = good.clone();
    let rich = transfer(&params.chain_id(), 4, account(1), 500, 1, 0);
    let broken = bad.block(1_000, account(4), vec![rich], |_| ());
    story.arrive("2: spends what is not there", &broken, "connect Transfer.Overspend", good.tip());
    let root = good.block(1_000, account(4), vec![], |header| header.state_root.0[31] ^= 1);
    story.arrive("2: another state root", &root, "connect StateRoot", good.tip());
    bad.headers.push(broken.header);
    for comment in ["3: on it", "4: on that"] {
        let parent = bad.headers[bad.headers.len() - 1].hash();
        let block = bad.block(1_000, account(4), vec![], |header| header.prev_hash = parent);
        bad.headers.push(block.header);
        story.arrive(comment, &block, "invalid parent", good.tip());
    }
    story.grow(&mut good, "2: a good one", 3, vec![]);
    story.end(&good)
}

fn refused_headers(params: &ChainParams) -> ChainCase {
    let mut story = Story::new(params, "refused headers");
    let mut chain = Branch::new(params);
    story.grow(&mut chain, "1", 3, vec![]);
    story.grow(&mut chain, "2", 3, vec![]);
    let with = |change: &dyn Fn(&mut Header)| chain.block(1_000, account(3), vec![], change);
    let good = with(&|_| ());
    let worked = missed(good.header, params);
    story.arrive("no work", &Block { header: worked, ..good.clone() }, "header Work", chain.tip());
    let version = with(&|header| header.version = 2);
    story.arrive("another version", &version, "context Invalid.Version", chain.tip());
    let bits = with(&|header| header.bits.0 -= 1);
    story.arrive("harder than required", &bits, "context Invalid.Difficulty", chain.tip());
    let time = with(&|header| header.time -= 1_000);
    story.arrive("the parent's time", &time, "context Invalid.Time", chain.tip());
    story.grow(&mut chain, "3", 3, vec![]);
    story.end(&chain)
}

fn missing_and_early(params: &ChainParams) -> ChainCase {
    let mut story = Story::new(params, "not yet: a missing parent, a time ahead of the clock");
    let mut chain = Branch::new(params);
    let genesis = *chain.tip();
    let one = chain.extend(1_000, account(3), vec![]);
    let first = *chain.tip();
    let two = chain.extend(50_000, account(3), vec![]);
    story.arrive("2 before 1", &two, "missing parent", &genesis);
    story.arrive("1", &one, "accepted", &first);
    let early = two.header.time - params.max_future;
    story.arrive_at(early - 1, "2, a millisecond too far ahead", &two, "context NotYet", &first);
    story.arrive_at(early, "2, as far ahead as may be", &two, "accepted", chain.tip());
    story.end(&chain)
}

fn other_bodies(params: &ChainParams) -> ChainCase {
    let mut story = Story::new(params, "a body that is not the header's says nothing about the header");
    let mut chain = Branch::new(params);
    let genesis = *chain.tip();
    let pay = |nonce| transfer(&params.chain_id(), 0, account(1), 500, 1, nonce);
    let good = chain.extend(1_000, account(3), vec![pay(0), pay(1)]);
    let body = |reward_to, transactions| Block { header: good.header, body: Body { reward_to, transactions } };
    let wrong = [
        ("another reward_to", body(account(4), good.body.transactions.clone())),
        ("a transaction is missing", body(account(3), vec![pay(0)])),
        ("in another order", body(account(3), vec![pay(1), pay(0)])),
        ("a transaction twice", body(account(3), vec![pay(0), pay(1), pay(1)])),
    ];
    for (comment, block) in wrong {
        story.arrive(comment, &block, "block TxRoot", &genesis);
    }
    story.arrive("the header's own", &good, "accepted", chain.tip());
    story.end(&chain)
}

fn halvings(params: &ChainParams) -> ChainCase {
    let (mut story, mut chain) = (Story::new(params, "the subsidy halves every six blocks"), Branch::new(params));
    for height in 1..=20 {
        story.grow(&mut chain, &height.to_string(), 3 + height % 2, vec![]);
    }
    story.end(&chain)
}
