//! A chain with payments and matured rewards that targets stand on: headers, states and blocks from genesis to its tip.

use std::sync::LazyLock;

use drystone_core::block::{Block, Header};
use drystone_core::hash::BlockHash;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::state::{Leaf, MemoryState};
use drystone_core::validation::{Parent, check_header};

use crate::chain::TestChain;
use crate::sim::setup::{ACCOUNTS, params};

/// Past the maturity of rewards, and no power of two.
const HEIGHT: usize = 21;

/// What stands at one height.
pub(super) struct Stage {
    pub(super) block: Block,
    pub(super) hash: BlockHash,
    pub(super) work: Work,
    /// The state after it.
    pub(super) state: MemoryState,
}

/// The chain.
pub(super) struct Fixture {
    pub(super) params: ChainParams,
    pub(super) chain_id: BlockHash,
    /// The keys of the funded accounts, with those.
    pub(super) keys: Vec<(SecretKey, AccountId)>,
    /// By height.
    pub(super) stages: Vec<Stage>,
    pub(super) tip: TestChain,
    /// The disk of a node that has all of it.
    pub(super) image: Vec<u8>,
}

impl Fixture {
    pub(super) fn headers(&self) -> &[Header] {
        self.tip.headers()
    }

    pub(super) fn parent(&self) -> &Parent {
        self.tip.tip()
    }
}

/// Who is rewarded.
pub(super) const MINER: AccountId = AccountId([0x77; 32]);

/// The chain that all targets share; they only read it.
pub(super) static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let params = params();
    let mut tip = TestChain::new(&params);
    let genesis = params.genesis_block();
    let (hash, work, state) = (genesis.header.hash(), tip.tip().work, tip.state().clone());
    let (mut stages, mut blocks) = (vec![Stage { block: genesis, hash, work, state }], Vec::new());
    for height in 1..=HEIGHT {
        let payments = (0..height % 4).map(|number| {
            let to = SecretKey::dev(12 + number as u8).account();
            tip.pay(number as u8, &to, 1_000_000_000 + height as u64, 0)
        });
        let payments = payments.collect();
        let connected = tip.extend(&MINER, payments);
        let (block, hash, work) = (connected.block().clone(), connected.hash(), connected.work());
        stages.push(Stage { block, hash, work, state: tip.state().clone() });
        blocks.push(connected);
    }
    let image = TestChain::image(&params, &blocks);
    let keys = (0..ACCOUNTS).map(SecretKey::dev).map(|key| (key.clone(), key.account())).collect();
    Fixture { chain_id: params.chain_id(), params, keys, stages, tip, image }
});

/// Gives a header the first nonce with which it has enough work.
pub(super) fn work_on(mut header: Header, params: &ChainParams) -> Header {
    while check_header(header, params).is_err() {
        header.nonce = header.nonce.wrapping_add(1);
    }
    header
}

/// The chips of a state.
pub(super) fn chips(state: &MemoryState) -> u128 {
    let chips = |leaf: &Leaf| match leaf {
        Leaf::Account(account) => account.balance.0,
        Leaf::Reward(reward) => reward.amount.0,
        Leaf::History(_) => 0,
    };
    state.leaves.values().map(|leaf| u128::from(chips(leaf))).sum()
}
