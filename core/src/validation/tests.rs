//! Properties of whole blocks: what they do to a state and how it is taken back, for any mix of good and bad transfers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::amount::Amount;
use crate::block::{Body, HEADER_BYTES, Header};
use crate::difficulty::{ParentTimes, next_bits};
use crate::encode::decode;
use crate::genesis::dev_params;
use crate::hash::{BlockHash, HistoryRoot, StateRoot};
use crate::key::{AccountId, SecretKey};
use crate::merkle;
use crate::params::{Allocation, ChainParams};
use crate::pow::CompactTarget;
use crate::state::{
    Account, Leaf, MemoryState, Reward, StateChanges, StateKey, history_leaf, history_root, rebuild, revert, root,
    root_of, update,
};
use crate::subsidy::{subsidies_through, subsidy_at};
use crate::transaction::{Memo, Transaction, TransactionBody};

/// Accounts that have money and keys; as many again have neither at first.
const FUNDED: u8 = 4;

/// A chain in which little happens often: small balances, a reserve, quick maturity and halvings.
fn params() -> ChainParams {
    let fund = |i| Allocation { account: SecretKey::dev(i).account(), amount: Amount(1_000 * (u64::from(i) + 1)) };
    let mut allocations: Vec<_> = (0..FUNDED).map(fund).collect();
    allocations.sort_unstable();
    let (subsidy, account_reserve) = (Amount(90), Amount(100));
    ChainParams { subsidy, halving_interval: 3, maturity: 2, account_reserve, allocations, ..dev_params() }
}

/// A transfer that may or may not be valid where it stands.
#[derive(Clone, Debug)]
struct Attempt {
    from: u8,
    to: u8,
    amount: u64,
    fee: u64,
    /// Added to the right nonce.
    skip: u64,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let amount = prop_oneof![Just(0), 90..110u64, 0..2_500u64];
    let fee = prop_oneof![Just(0), 1..60u64];
    let skip = prop_oneof![9 => Just(0), 1 => 1..3u64];
    (0..2 * FUNDED, 0..2 * FUNDED, amount, fee, skip).prop_map(|(from, to, amount, fee, skip)| Attempt {
        from,
        to,
        amount,
        fee,
        skip,
    })
}

/// The attempts of some blocks, and who is rewarded for each.
fn attempts() -> impl Strategy<Value = Vec<(u8, Vec<Attempt>)>> {
    prop::collection::vec((0..3 * FUNDED, prop::collection::vec(attempt(), 0..8)), 1..9)
}

struct Chain {
    params: ChainParams,
    chain_id: BlockHash,
    headers: Vec<Header>,
    parent: Parent,
    state: MemoryState,
}

impl Chain {
    fn new() -> Chain {
        Chain::with(params())
    }

    fn with(params: ChainParams) -> Chain {
        let header = params.genesis_block().header;
        let leaves = params.genesis_leaves().into_iter().map(|(key, leaf)| (key, Some(leaf))).collect();
        let Ok(tree) = update(&MemoryState::default(), &leaves);
        let mut state = MemoryState::default();
        state.apply(&StateChanges { leaves, pages: tree.pages, ..StateChanges::default() });
        let work = params.bits.to_target().expect("valid").work();
        let parent = Parent { height: 0, hash: header.hash(), work };
        Chain { params, chain_id: header.hash(), headers: vec![header], parent, state }
    }

    fn nonce(&self, executor: &mut Executor<'_, MemoryState>, id: &AccountId) -> u64 {
        let Ok(account) = executor.account(id);
        account.nonce
    }

    fn sign(&self, attempt: &Attempt, nonce: u64) -> Transaction {
        let key = SecretKey::dev(attempt.from);
        let body = TransactionBody {
            from: key.account(),
            to: SecretKey::dev(attempt.to).account(),
            amount: Amount(attempt.amount),
            fee: Amount(attempt.fee),
            nonce: nonce + attempt.skip,
            memo: Memo::default(),
        };
        body.sign(&self.chain_id, &key)
    }

    /// Tries each attempt on the tip's state; gives those that were applied and what they came to.
    fn execute(&self, reward_to: &AccountId, attempts: &[Attempt]) -> (Vec<Transaction>, Executed) {
        let mut executor = Executor::new(&self.state, &self.parent, &self.params);
        let mut applied = Vec::new();
        for attempt in attempts {
            let from = SecretKey::dev(attempt.from).account();
            let transaction = self.sign(attempt, self.nonce(&mut executor, &from));
            let Ok(verdict) = executor.apply(&transaction);
            if verdict.is_ok() {
                applied.push(transaction);
            }
        }
        let Ok(executed) = executor.finish(reward_to);
        (applied, executed)
    }

    fn check(&self, body: Body, state_root: StateRoot) -> CheckedBlock {
        let parent = self.headers[self.headers.len() - 1];
        let grandparent_time = self.headers[self.headers.len().saturating_sub(2)].time;
        let height = self.parent.height;
        let times = ParentTimes { bits: parent.bits, height, time: parent.time, grandparent_time };
        let header = Header {
            prev_hash: self.parent.hash,
            state_root,
            tx_root: body.tx_root(),
            time: parent.time + self.params.interval,
            bits: next_bits(&self.params, &times),
            ..parent
        };
        let mined = (0..).find_map(|nonce| check_header(Header { nonce, ..header }, &self.params).ok()).expect("easy");
        let (params, chain_id, height) = (&self.params, &self.chain_id, height + 1);
        let context = BlockContext { params, chain_id, height, batch_secret: &[1; 32] };
        check_block(mined, body, &context).expect("well formed and signed")
    }

    fn connect(&self, body: Body, state_root: StateRoot) -> Result<ConnectedBlock, ConnectError> {
        let block = self.check(body, state_root);
        connect_block(block, &self.parent, &self.params, &self.state).map_err(|failure| {
            let ConnectFailure::Invalid(error) = failure;
            error
        })
    }

    fn push(&mut self, block: &ConnectedBlock) {
        self.state.apply(block.changes());
        self.headers.push(block.block().header);
        self.parent = Parent { height: block.height(), hash: block.hash(), work: block.work() };
    }

    /// Balances and rewards together.
    fn supply(&self) -> u64 {
        let held = |leaf: &Leaf| match leaf {
            Leaf::Account(account) => account.balance.0,
            Leaf::Reward(reward) => reward.amount.0,
            Leaf::History(_) => 0,
        };
        self.state.leaves.values().map(held).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn blocks_conserve_supply_and_undo_takes_them_back(blocks in attempts()) {
        let mut chain = Chain::new();
        let mut way = Vec::new();
        for (reward_to, attempts) in &blocks {
            let reward_to = SecretKey::dev(*reward_to).account();
            let (transactions, executed) = chain.execute(&reward_to, attempts);
            let block = chain.connect(Body { reward_to, transactions }, executed.state_root).expect("it was executed before");
            prop_assert_eq!(block.changes(), &executed.changes);
            prop_assert_eq!(block.undo(), &executed.undo);
            way.push((chain.state.clone(), block.clone()));
            chain.push(&block);

            let height = block.height();
            let issued = chain.params.allocated().0 + subsidies_through(&chain.params, height).0;
            prop_assert_eq!(chain.supply(), issued);
            prop_assert!(!chain.state.leaves.values().any(|leaf| *leaf == Leaf::Account(Account::default())));
            let rewards = chain.state.leaves.values().filter(|leaf| matches!(leaf, Leaf::Reward(_))).count() as u64;
            prop_assert_eq!(rewards, height.min(chain.params.maturity));
            let history = history_root(&chain.state, height).map(Leaf::History);
            prop_assert_eq!(chain.state.leaves.get(&StateKey::history()).copied(), history.ok());
        }
        for (before, block) in way.into_iter().rev() {
            let Ok((parent_root, changes)) = revert(&chain.state, block.undo(), block.height());
            chain.state.apply(&changes);
            prop_assert_eq!(&chain.state, &before);
            prop_assert_eq!(Ok(parent_root), root(&before));
        }
    }

    #[test]
    fn the_root_is_a_function_of_the_leaves_whatever_led_to_them(blocks in attempts()) {
        let mut chain = Chain::new();
        for (reward_to, attempts) in &blocks {
            let reward_to = SecretKey::dev(*reward_to).account();
            let (transactions, executed) = chain.execute(&reward_to, attempts);
            let block = chain.connect(Body { reward_to, transactions }, executed.state_root).expect("executed before");
            chain.push(&block);
        }
        let leaves: Vec<(StateKey, Leaf)> = chain.state.leaves.iter().map(|(key, leaf)| (*key, *leaf)).collect();
        let header_root = chain.headers[blocks.len()].state_root;
        prop_assert_eq!(root_of(&leaves), header_root);
        prop_assert_eq!(root(&chain.state), Ok(header_root));
        let mut pages = BTreeMap::new();
        let Ok((rebuilt, count)) = rebuild(&chain.state, |path, page| _ = pages.insert(path, page));
        prop_assert_eq!((rebuilt, count as usize), (header_root, leaves.len()));
        prop_assert_eq!(pages, chain.state.pages);
    }

    #[test]
    fn a_refused_transaction_leaves_no_trace(blocks in attempts()) {
        let mut chain = Chain::new();
        for (reward_to, attempts) in &blocks {
            let reward_to = SecretKey::dev(*reward_to).account();
            let (transactions, with_refusals) = chain.execute(&reward_to, attempts);
            let mut executor = Executor::new(&chain.state, &chain.parent, &chain.params);
            for transaction in &transactions {
                let Ok(verdict) = executor.apply(transaction);
                prop_assert_eq!(verdict, Ok(()));
            }
            let Ok(without) = executor.finish(&reward_to);
            prop_assert_eq!(&with_refusals, &without);
            let block = chain.connect(Body { reward_to, transactions }, without.state_root).expect("executed before");
            chain.push(&block);
        }
    }

    #[test]
    fn a_block_with_a_refused_transaction_is_invalid_at_its_place_and_the_state_is_not_to_blame(
        good in prop::collection::vec(attempt(), 0..4),
        bad in attempt(),
    ) {
        let chain = Chain::new();
        let reward_to = SecretKey::dev(9).account();
        let (mut transactions, _) = chain.execute(&reward_to, &good);
        let mut executor = Executor::new(&chain.state, &chain.parent, &chain.params);
        for transaction in &transactions {
            let Ok(verdict) = executor.apply(transaction);
            prop_assert_eq!(verdict, Ok(()));
        }
        let index = transactions.len();
        let from = SecretKey::dev(bad.from).account();
        let last = chain.sign(&bad, chain.nonce(&mut executor, &from));
        let Ok(verdict) = executor.apply(&last);
        let Ok(executed) = executor.finish(&reward_to);
        transactions.push(last);
        let body = Body { reward_to, transactions };
        let connected = chain.connect(body.clone(), executed.state_root);
        match verdict {
            Ok(()) => prop_assert!(connected.is_ok()),
            Err(error) => prop_assert_eq!(connected, Err(ConnectError::Transfer { index, error })),
        }
        let genesis_root = chain.headers[0].state_root;
        let sound = |state| is_state_sound(state, &genesis_root, &chain.parent, &chain.params, &body);
        prop_assert_eq!(sound(&chain.state), Ok(true));
        // A chip more or less in an account that the block reads shows.
        let mut rotten = chain.state.clone();
        let key = StateKey::account(&body.transactions[index].body.from);
        let balance = match rotten.leaves.get(&key) {
            Some(Leaf::Account(account)) => account.balance.0 + 1,
            _ => 1,
        };
        rotten.leaves.insert(key, Leaf::Account(Account { balance: Amount(balance), nonce: 0 }));
        prop_assert_eq!(sound(&rotten), Ok(false));
    }
}

#[test]
fn reading_ahead_on_all_cores_changes_nothing() {
    let chain = Chain::new();
    let reward_to = SecretKey::dev(9).account();
    // As many fresh accounts as make it worth while, the reserve to each.
    let mut rich = chain.params.clone();
    rich.allocations[0].amount = Amount(1_000_000);
    let key =
        (0..FUNDED).map(SecretKey::dev).find(|key| key.account() == rich.allocations[0].account).expect("a dev key");
    let leaves = rich.genesis_leaves().into_iter().map(|(key, leaf)| (key, Some(leaf))).collect();
    let Ok(tree) = update(&MemoryState::default(), &leaves);
    let mut state = MemoryState::default();
    state.apply(&StateChanges { leaves, pages: tree.pages, ..StateChanges::default() });
    let pay = |nonce: u64| {
        let to = AccountId(std::array::from_fn(|i| if i < 8 { nonce.to_le_bytes()[i] } else { 7 }));
        let (amount, fee, memo) = (Amount(100), Amount(1), Memo::default());
        TransactionBody { from: key.account(), to, amount, fee, nonce, memo }.sign(&chain.chain_id, &key)
    };
    let body = Body { reward_to, transactions: (0..300).map(pay).collect() };
    let [one, other] = [false, true].map(|ahead| {
        let mut executor = Executor::new(&state, &chain.parent, &rich);
        if ahead {
            let Ok(()) = executor.prefetch(&body);
        }
        for transaction in &body.transactions {
            let Ok(verdict) = executor.apply(transaction);
            assert_eq!(verdict, Ok(()));
        }
        let Ok(executed) = executor.finish(&body.reward_to);
        executed
    });
    assert_eq!(one, other);
    assert_eq!(one.fees, Amount(300));

    let mut late = Executor::new(&state, &chain.parent, &rich);
    for (i, transaction) in body.transactions.iter().enumerate() {
        if i == 150 {
            let Ok(()) = late.prefetch(&body);
        }
        let Ok(verdict) = late.apply(transaction);
        assert_eq!(verdict, Ok(()), "what was applied before reading ahead is kept");
    }
    let Ok(executed) = late.finish(&body.reward_to);
    assert_eq!(executed, one);
}

#[test]
fn a_rotten_nonce_is_no_panic_and_shows_in_the_root() {
    let mut chain = Chain::new();
    let key = SecretKey::dev(0);
    let sound = chain.state.clone();
    let rotten = Account { balance: Amount(1_000), nonce: u64::MAX };
    chain.state.leaves.insert(StateKey::account(&key.account()), Leaf::Account(rotten));
    let attempt = Attempt { from: 0, to: 1, amount: 100, fee: 1, skip: 0 };
    let reward_to = SecretKey::dev(9).account();
    let (transactions, _) = chain.execute(&reward_to, &[attempt]);
    assert_eq!(transactions.len(), 1);
    let body = Body { reward_to, transactions };
    let genesis_root = chain.headers[0].state_root;
    let is_sound = |state| is_state_sound(state, &genesis_root, &chain.parent, &chain.params, &body);
    assert_eq!((is_sound(&chain.state), is_sound(&sound)), (Ok(false), Ok(true)));
}

/// The rules of PROTOCOL, "Applying a block", word for word over plain maps.
struct Model<'a> {
    params: &'a ChainParams,
    accounts: BTreeMap<AccountId, Account>,
    rewards: BTreeMap<u64, (AccountId, u64)>,
    ancestors: Vec<[u8; 32]>,
}

impl Model<'_> {
    fn new(params: &ChainParams) -> Model<'_> {
        let account = |allocation: &Allocation| (allocation.account, Account { balance: allocation.amount, nonce: 0 });
        let accounts = params.allocations.iter().map(account).collect();
        Model { params, accounts, rewards: BTreeMap::new(), ancestors: Vec::new() }
    }

    fn balance(&mut self, id: &AccountId) -> &mut u64 {
        &mut self.accounts.entry(*id).or_default().balance.0
    }

    /// Whether the transfer was applied.
    fn transfer(&mut self, body: &TransactionBody) -> bool {
        let before = self.accounts.clone();
        let from = self.accounts.entry(body.from).or_default();
        let spent = u128::from(body.amount.0) + u128::from(body.fee.0);
        if from.nonce != body.nonce || u128::from(from.balance.0) < spent {
            return false;
        }
        from.nonce += 1;
        from.balance.0 -= body.amount.0 + body.fee.0;
        *self.balance(&body.to) += body.amount.0;
        let reserve = self.params.account_reserve.0;
        let applied = *self.balance(&body.from) >= reserve && *self.balance(&body.to) >= reserve;
        if !applied {
            self.accounts = before;
        }
        applied
    }

    /// Applies the child of `parent`; returns which transactions were applied.
    fn block(&mut self, parent: &Parent, reward_to: &AccountId, transactions: &[Transaction]) -> Vec<bool> {
        let height = parent.height + 1;
        self.ancestors.push(history_leaf(&parent.hash, &parent.work));
        let applied: Vec<bool> = transactions.iter().map(|transaction| self.transfer(&transaction.body)).collect();
        let fees = transactions.iter().zip(&applied).filter(|(_, applied)| **applied);
        let fees: u64 = fees.map(|(transaction, _)| transaction.body.fee.0).sum();
        if let Some((to, amount)) = height.checked_sub(self.params.maturity).and_then(|old| self.rewards.remove(&old)) {
            *self.balance(&to) += amount;
        }
        self.rewards.insert(height, (*reward_to, subsidy_at(self.params, height).0 + fees));
        applied
    }

    fn root(&self) -> StateRoot {
        let held = self.accounts.iter().filter(|(_, account)| **account != Account::default());
        let mut leaves: BTreeMap<_, _> =
            held.map(|(id, account)| (StateKey::account(id), Leaf::Account(*account))).collect();
        for (height, (to, amount)) in &self.rewards {
            leaves.insert(StateKey::reward(*height), Leaf::Reward(Reward { to: *to, amount: Amount(*amount) }));
        }
        leaves.insert(StateKey::history(), Leaf::History(HistoryRoot(merkle::HISTORY.root(&self.ancestors))));
        root_of(&leaves.into_iter().collect::<Vec<_>>())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn blocks_do_what_the_protocol_says_word_for_word(maturity in 1..4u64, blocks in attempts()) {
        let params = ChainParams { maturity, ..params() };
        let mut chain = Chain::with(params.clone());
        let mut model = Model::new(&params);
        for (reward_to, attempts) in &blocks {
            let reward_to = SecretKey::dev(*reward_to).account();
            let mut executor = Executor::new(&chain.state, &chain.parent, &chain.params);
            let mut transactions = Vec::new();
            let mut verdicts = Vec::new();
            for attempt in attempts {
                let from = SecretKey::dev(attempt.from).account();
                let transaction = chain.sign(attempt, chain.nonce(&mut executor, &from));
                let Ok(verdict) = executor.apply(&transaction);
                verdicts.push(verdict.is_ok());
                transactions.push(transaction);
            }
            let Ok(executed) = executor.finish(&reward_to);
            prop_assert_eq!(model.block(&chain.parent, &reward_to, &transactions), &verdicts[..]);
            prop_assert_eq!(model.root(), executed.state_root);
            let mut applied = verdicts.into_iter();
            transactions.retain(|_| applied.next() == Some(true));
            let block = chain.connect(Body { reward_to, transactions }, executed.state_root).expect("executed before");
            chain.push(&block);
        }
    }

    #[test]
    fn no_header_in_any_place_is_a_panic(
        bytes in prop::collection::vec(any::<u8>(), HEADER_BYTES),
        easy in any::<bool>(),
        (parent_bits, height) in (prop_oneof![any::<u32>(), Just(0x207f_ffff), Just(0x0101_0000)], any::<u64>()),
        times in any::<[u64; 2]>(),
        now in any::<u64>(),
    ) {
        let params = params();
        let mut header: Header = decode(&bytes).expect("any 116 bytes are a header");
        if easy {
            (header.version, header.bits) = (1, params.pow_limit);
        }
        let parent_bits = CompactTarget(parent_bits);
        if let (Ok(checked), Ok(_)) = (check_header(header, &params), parent_bits.to_target()) {
            let [time, grandparent_time] = times;
            let parent = ParentTimes { bits: parent_bits, height: height >> 1, time, grandparent_time };
            let context = HeaderContext { parent_hash: header.prev_hash, parent };
            let in_place = check_header_in_context(&checked, &context, &params, now);
            prop_assert!(in_place.is_err() || easy && header.time > time);
        }
    }
}
