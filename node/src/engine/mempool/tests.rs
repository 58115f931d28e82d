//! Each rule at its bound, then random histories against a naive recomputation.

use std::convert::Infallible;
use std::sync::LazyLock;

use drystone_core::genesis::dev_params;
use drystone_core::hash::BlockHash;
use drystone_core::key::{SecretKey, Signature};
use drystone_core::params::ChainParams;
use drystone_core::transaction::{MAX_MEMO, Memo, TransactionBody};
use drystone_core::validation::check_transaction;
use proptest::prelude::*;

use super::*;

const CHAIN: BlockHash = BlockHash([5; 32]);
const RESERVE: u64 = 1_000_000;
const FUNDS: u64 = 100 * RESERVE;
/// The relay minimum's fee for a transaction without memo: 160 bytes at 1,000 chips for each 1,000 bytes.
const MIN_FEE: u64 = 160;

static PARAMS: LazyLock<ChainParams> = LazyLock::new(dev_params);
static KEYS: LazyLock<Vec<SecretKey>> = LazyLock::new(|| (0..8).map(SecretKey::dev).collect());
static IDS: LazyLock<Vec<AccountId>> = LazyLock::new(|| KEYS.iter().map(SecretKey::account).collect());

/// A transfer of the reserve to an account of nobody, from one of the [`KEYS`].
#[derive(Clone, Copy, Debug)]
struct Transfer {
    from: usize,
    to: AccountId,
    amount: u64,
    fee: u64,
    nonce: u64,
    memo: usize,
}

fn transfer(from: usize, nonce: u64, fee: u64) -> Transfer {
    Transfer { from, to: AccountId([9; 32]), amount: RESERVE, fee, nonce, memo: 0 }
}

impl Transfer {
    fn transaction(self) -> Transaction {
        let body = TransactionBody {
            from: IDS[self.from],
            to: self.to,
            amount: Amount(self.amount),
            fee: Amount(self.fee),
            nonce: self.nonce,
            memo: Memo(vec![7; self.memo]),
        };
        body.sign(&CHAIN, &KEYS[self.from])
    }

    fn checked(self) -> CheckedTransaction {
        check_transaction(self.transaction(), PARAMS.rules_at(1), &CHAIN).expect("it is truly signed")
    }

    fn txid(self) -> Txid {
        self.transaction().txid()
    }
}

/// Confirmed accounts in memory.
#[derive(Clone, Debug, Default, PartialEq)]
struct Accounts(BTreeMap<AccountId, Account>);

impl AccountReader for Accounts {
    type Error = Infallible;

    fn account(&self, id: &AccountId) -> Result<Account, Infallible> {
        Ok(self.0.get(id).copied().unwrap_or_default())
    }
}

impl Accounts {
    /// The first `funded` keys have [`FUNDS`].
    fn funded(funded: usize) -> Accounts {
        let account = Account { balance: Amount(FUNDS), nonce: 0 };
        Accounts(IDS[..funded].iter().map(|id| (*id, account)).collect())
    }

    fn set(&mut self, index: usize, balance: u64, nonce: u64) {
        self.0.insert(IDS[index], Account { balance: Amount(balance), nonce });
    }

    /// Applies a transfer by the chain's rules, written down a second time.
    fn apply(&mut self, body: &TransactionBody) -> bool {
        let Ok(mut from) = self.account(&body.from);
        let (amount, fee) = (body.amount.0, body.fee.0);
        if from.nonce != body.nonce || from.balance.0 < amount + fee {
            return false;
        }
        let before = self.0.clone();
        from.nonce += 1;
        from.balance.0 -= amount + fee;
        self.0.insert(body.from, from);
        self.0.entry(body.to).or_default().balance.0 += amount;
        let valid = self.0[&body.from].balance.0 >= RESERVE && self.0[&body.to].balance.0 >= RESERVE;
        if !valid {
            self.0 = before;
        }
        valid
    }
}

struct World {
    accounts: Accounts,
    pool: Mempool,
    now: u64,
}

impl World {
    fn new(limits: Limits) -> World {
        World { accounts: Accounts::funded(4), pool: Mempool::new(limits, Amount(RESERVE)), now: 1_000_000 }
    }

    fn admit(&mut self, transfer: Transfer) -> Result<Admitted, AdmissionError> {
        self.admit_checked(transfer.checked())
    }

    fn admit_checked(&mut self, checked: CheckedTransaction) -> Result<Admitted, AdmissionError> {
        let before = self.listing();
        let Ok(result) = self.pool.admit(self.now, checked, &self.accounts);
        if result.is_err() {
            assert_eq!(self.listing(), before, "a refusal leaves no trace");
        }
        self.check();
        result
    }

    fn update(&mut self, confirmed: &[Transfer], returned: Vec<CheckedTransaction>) -> Updated {
        let confirmed: Vec<_> = confirmed.iter().map(|transfer| transfer.transaction()).collect();
        let Ok(updated) = self.pool.update(self.now, &confirmed, returned, &self.accounts);
        self.check();
        updated
    }

    /// Confirms transfers in the model and tells the mempool.
    fn confirm(&mut self, transfers: &[Transfer]) -> Updated {
        for transfer in transfers {
            assert!(self.accounts.apply(&transfer.transaction().body), "{transfer:?}");
        }
        self.update(transfers, Vec::new())
    }

    fn listing(&self) -> Vec<(WireId, Option<FeeRate>)> {
        let all = self.pool.list(None, usize::MAX);
        all.iter().map(|listed| (listed.transaction.wire_id(), listed.score)).collect()
    }

    fn queued(&self) -> Vec<Txid> {
        self.pool.by_score().map(|(_, checked)| checked.txid()).collect()
    }

    fn fees(&self) -> u64 {
        self.pool.by_score().map(|(_, checked)| checked.transaction().body.fee.0).sum()
    }

    /// Holds everything that the mempool maintains against a recomputation from its entries and the confirmed accounts.
    fn check(&self) {
        let pool = &self.pool;
        let mut order = Vec::new();
        let mut bytes = 0;
        for id in IDS.iter() {
            let Ok(account) = self.accounts.account(id);
            let mut alone = self.accounts.clone();
            let (mut next, mut score, mut rank, mut gapped) = (account.nonce, None::<FeeRate>, 0, 0);
            for ((_, nonce), entry) in pool.queue(id) {
                let transaction = entry.transaction.transaction();
                assert_eq!((transaction.body.from, transaction.body.nonce), (*id, *nonce));
                if entry.place.is_none() {
                    assert!(*nonce > next, "a gapped transaction that follows its queue is queued");
                    assert!(*nonce - account.nonce < pool.limits.per_account);
                    gapped += 1;
                    continue;
                }
                assert_eq!((*nonce, gapped), (next, 0), "a queue is contiguous and comes first");
                assert!(alone.apply(&transaction.body), "every prefix is affordable");
                let rate = FeeRate::of(transaction);
                score = Some(score.map_or(rate, |score| score.min(rate)));
                rank = entry.sequence.max(rank);
                order.push((std::cmp::Reverse(score), rank, *nonce, *id));
                bytes += transaction.encoded_len() as u64;
                next += 1;
            }
            assert!(gapped <= pool.limits.gapped_per_account);
            assert_eq!(pool.pending_nonce(id, account.nonce), next);
        }
        order.sort();
        let found = pool.order.iter().map(|(place, id)| {
            assert_eq!(pool.entries[&(*id, place.nonce())].place.as_ref(), Some(place));
            (place.nonce(), *id, Some(place.score()))
        });
        let expected = order.iter().map(|(score, _, nonce, id)| (*nonce, *id, score.0));
        assert!(found.eq(expected), "the order is by score, then by the latest arrival in the prefix, then by nonce");
        assert_eq!((pool.bytes(), pool.len()), (bytes, order.len()));
        assert!(pool.len() <= pool.limits.capacity() && pool.memory() <= pool.limits.memory.max(ENTRY_MEMORY));
        assert!(pool.gapped_len() <= pool.limits.gapped);

        let by_txid: BTreeMap<_, _> =
            pool.entries.iter().map(|(key, entry)| (entry.transaction.txid(), *key)).collect();
        let by_wire: BTreeMap<_, _> =
            pool.entries.iter().map(|(key, entry)| (entry.transaction.wire_id(), *key)).collect();
        assert_eq!((&by_txid, &by_wire), (&pool.by_txid, &pool.by_wire_id));

        let mut nonces = self.accounts.clone();
        let candidates = pool.candidates(usize::MAX);
        assert_eq!(candidates.len(), pool.len());
        for checked in &candidates {
            let body = &checked.transaction().body;
            let account = nonces.0.entry(body.from).or_default();
            assert_eq!(account.nonce, body.nonce, "each account's nonces ascend without a gap");
            account.nonce += 1;
        }
        let scores: Vec<_> = pool.by_score().map(|(score, _)| score).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b));
    }
}

fn small(transactions: usize) -> Limits {
    Limits {
        memory: transactions * ENTRY_MEMORY,
        per_account: 8,
        gapped: 3,
        gapped_per_account: 2,
        ..Limits::default()
    }
}

#[test]
fn a_transaction_is_taken_once() {
    let mut world = World::new(small(9));
    let body = TransactionBody { ..transfer(0, 0, 1000).transaction().body };
    let admitted = world.admit(transfer(0, 0, 1000)).expect("it is valid");
    assert_eq!(admitted, Admitted { txid: body.txid(), ..admitted.clone() });
    let txid = admitted.txid;
    assert_eq!(world.admit(transfer(0, 0, 1000)), Err(AdmissionError::AlreadyKnown { txid }));

    // The same body, signed with another R than ed25519's deterministic one.
    let signature = "7767a3242dc9b58bbc68488c1265cc6cc5f26c6f3c88a5d55e901b0734dca572\
                     ce895ae9840661e37bb03342d97a981d13495162377f5c5e01d9a580fe4ad00d";
    let signature: Signature = signature.parse().expect("128 hex digits");
    let other = check_transaction(Transaction { body, signature }, PARAMS.rules_at(1), &CHAIN).expect("it is valid");
    assert_ne!(other.wire_id(), transfer(0, 0, 1000).checked().wire_id());
    assert_eq!(world.admit_checked(other), Err(AdmissionError::OtherSignature { txid }));
    assert!(world.pool.contains(&txid) && world.pool.get(&txid).is_some());
    assert!(world.pool.get_by_wire_id(&transfer(0, 0, 1000).checked().wire_id()).is_some());
}

#[test]
fn the_floor_counts_bytes_exactly() {
    let mut world = World::new(small(9));
    let with_memo = |fee| Transfer { memo: 41, ..transfer(0, 0, fee) };
    let refused = world.admit(with_memo(200));
    assert_eq!(refused, Err(AdmissionError::FeeTooLow { required: Amount(201), found: Amount(200) }));
    assert!(world.admit(with_memo(201)).is_ok());
    assert_eq!(world.pool.min_fee_rate(world.now), Amount(1000));
    assert_eq!(world.pool.bytes(), 201);
}

#[test]
fn a_used_nonce_is_refused() {
    let mut world = World::new(small(9));
    world.accounts.set(0, FUNDS, 5);
    let refused = world.admit(transfer(0, 4, 1000));
    assert_eq!(refused, Err(AdmissionError::NonceUsed { found: 4, next: 5 }));
    assert!(world.admit(transfer(0, 5, 1000)).is_ok());
    let refused = world.admit(transfer(0, 4, 1000));
    assert_eq!(refused, Err(AdmissionError::NonceUsed { found: 4, next: 6 }));
}

#[test]
fn an_account_has_a_bounded_number_pending() {
    let mut world = World::new(small(99));
    for nonce in 0..7 {
        assert!(world.admit(transfer(0, nonce, 1000)).is_ok());
    }
    let refused = world.admit(transfer(0, 8, 1000));
    assert_eq!(refused, Err(AdmissionError::TooManyPending { found: 8, confirmed: 0, limit: 8 }));
    assert!(world.admit(transfer(0, 7, 1000)).is_ok());
    world.confirm(&[transfer(0, 0, 1000)]);
    assert!(world.admit(transfer(0, 8, 1000)).is_ok());
    assert_eq!(Limits::default().per_account, 64);
}

#[test]
fn gapped_transactions_wait_and_are_promoted_together() {
    let mut world = World::new(small(9));
    for nonce in [2, 1] {
        let admitted = world.admit(transfer(0, nonce, 1000)).expect("there is room");
        assert!(admitted.gapped);
    }
    assert_eq!((world.pool.len(), world.pool.gapped_len(), world.pool.bytes()), (0, 2, 0));
    assert!(world.pool.candidates(usize::MAX).is_empty());
    assert_eq!(world.pool.pending_nonce(&IDS[0], 0), 0);
    let admitted = world.admit(transfer(0, 0, 1000)).expect("it closes the gap");
    assert_eq!(admitted.promoted, [transfer(0, 1, 1000).txid(), transfer(0, 2, 1000).txid()]);
    assert!(!admitted.gapped && admitted.dropped.is_empty());
    assert_eq!((world.pool.len(), world.pool.gapped_len()), (3, 0));
    assert_eq!(world.pool.pending_nonce(&IDS[0], 0), 3);
    assert_eq!(world.pool.pending_nonce(&IDS[0], 5), 5, "a reader may have seen a newer tip");
}

#[test]
fn gapped_transactions_are_bounded_and_evict_nobody() {
    let mut world = World::new(small(9));
    assert!(world.admit(transfer(0, 2, 1000)).is_ok());
    assert!(world.admit(transfer(0, 4, 1000)).is_ok());
    let refused = world.admit(transfer(0, 6, 1_000_000));
    assert_eq!(refused, Err(AdmissionError::GappedAccountFull { next: 0, limit: 2 }));
    assert!(world.admit(transfer(1, 1, 1000)).is_ok());
    let refused = world.admit(transfer(2, 1, 1_000_000));
    assert_eq!(refused, Err(AdmissionError::GappedPoolFull { next: 0 }));
    assert!(world.admit(transfer(1, 0, 1000)).is_ok(), "the gap closes and leaves room");
    assert!(world.admit(transfer(2, 1, 1000)).is_ok());
}

#[test]
fn a_gapped_transaction_that_cannot_be_paid_when_the_gap_closes_is_dropped() {
    let mut world = World::new(small(9));
    let large = |nonce, amount| Transfer { amount, ..transfer(0, nonce, 1000) };
    assert!(world.admit(large(1, FUNDS / 2)).is_ok());
    let admitted = world.admit(large(0, FUNDS / 2)).expect("it can be paid");
    assert_eq!(admitted.dropped, [large(1, FUNDS / 2).txid()]);
    assert_eq!((world.pool.len(), world.pool.gapped_len()), (1, 0));
}

#[test]
fn the_confirmed_balance_covers_everything_pending() {
    let mut world = World::new(small(9));
    let first = Transfer { amount: 50 * RESERVE, ..transfer(0, 0, 1000) };
    assert!(world.admit(first).is_ok());
    let left = FUNDS - 50 * RESERVE - 1000;
    let second = |amount| Transfer { amount, ..transfer(0, 1, 1000) };
    let refused = world.admit(second(left - 999));
    let overspend = AdmissionError::Overspend { available: Amount(left), required: Amount(left + 1) };
    assert_eq!(refused, Err(overspend));
    let refused = world.admit(second(left - 1000 - RESERVE + 1));
    let below = AdmissionError::SenderBelowReserve { left: Amount(RESERVE - 1), reserve: Amount(RESERVE) };
    assert_eq!(refused, Err(below));
    assert!(world.admit(second(left - 1000 - RESERVE)).is_ok());
    // What others have pending for the sender does not count.
    assert!(world.admit(Transfer { to: IDS[0], amount: 50 * RESERVE, ..transfer(1, 0, 1000) }).is_ok());
    let refused = world.admit(Transfer { amount: 0, ..transfer(0, 2, 1000) });
    assert!(matches!(refused, Err(AdmissionError::SenderBelowReserve { .. })));
    // A gapped transaction has to be payable too.
    let refused = world.admit(Transfer { amount: FUNDS, ..transfer(2, 1, 1000) });
    assert!(matches!(refused, Err(AdmissionError::Overspend { .. })));
}

#[test]
fn a_transfer_to_oneself_costs_its_fee_but_has_to_be_covered() {
    let mut world = World::new(small(9));
    let to_self = |nonce, amount| Transfer { to: IDS[0], amount, ..transfer(0, nonce, 1000) };
    let refused = world.admit(to_self(0, FUNDS - 999));
    assert!(matches!(refused, Err(AdmissionError::Overspend { .. })));
    assert!(world.admit(to_self(0, FUNDS - 1000)).is_ok());
    assert!(world.admit(to_self(1, FUNDS - 2000)).is_ok());
    world.accounts.set(1, RESERVE + 999, 0);
    let refused = world.admit(Transfer { to: IDS[1], amount: 0, ..transfer(1, 0, 1000) });
    assert!(matches!(refused, Err(AdmissionError::SenderBelowReserve { .. })));
    world.accounts.set(1, RESERVE + 1000, 0);
    assert!(world.admit(Transfer { to: IDS[1], amount: 0, ..transfer(1, 0, 1000) }).is_ok());
}

#[test]
fn a_recipient_ends_with_the_reserve() {
    let mut world = World::new(small(9));
    let pay = |from, nonce, amount| Transfer { amount, ..transfer(from, nonce, 1000) };
    let below = AdmissionError::RecipientBelowReserve { left: Amount(RESERVE - 1), reserve: Amount(RESERVE) };
    assert_eq!(world.admit(pay(0, 0, RESERVE - 1)), Err(below));
    assert!(world.admit(pay(0, 0, RESERVE)).is_ok());
    assert!(world.admit(pay(0, 1, 1)).is_ok(), "the same queue has funded the recipient");
    assert!(world.admit(pay(1, 0, 1)).is_err(), "another queue's promise funds nobody");
    world.confirm(&[pay(0, 0, RESERVE)]);
    assert!(world.admit(pay(1, 0, 1)).is_ok());
    world.accounts.set(6, RESERVE - 2, 0);
    assert!(world.admit(Transfer { to: IDS[6], ..pay(1, 1, 1) }).is_err());
    assert!(world.admit(Transfer { to: IDS[6], ..pay(1, 1, 2) }).is_ok(), "confirmed and received together count");
    // A gapped transaction may pay a recipient that what is missing will fund.
    assert!(world.admit(Transfer { to: AccountId([8; 32]), ..pay(2, 1, 1) }).is_ok());
    let admitted = world.admit(Transfer { to: AccountId([8; 32]), ..pay(2, 0, RESERVE) }).expect("it is valid");
    assert_eq!(admitted.promoted.len(), 1);
}

#[test]
fn a_replacement_pays_for_itself() {
    let mut world = World::new(small(9));
    let old = transfer(0, 0, 1001).txid();
    assert!(world.admit(transfer(0, 0, 1001)).is_ok());
    assert!(world.admit(transfer(0, 1, 5000)).is_ok());
    // ceil(1.1 * 1001) + 160
    let new = |fee| Transfer { amount: 2 * RESERVE, ..transfer(0, 0, fee) };
    let too_cheap =
        AdmissionError::ReplacementTooCheap { nonce: 0, pending: old, required: Amount(1262), found: Amount(1261) };
    assert_eq!(world.admit(new(1261)), Err(too_cheap));
    let admitted = world.admit(new(1262)).expect("it pays enough");
    assert_eq!((admitted.replaced, admitted.dropped.len(), admitted.gapped), (Some(old), 0, false));
    assert_eq!(world.pool.len(), 2);

    assert!(world.admit(transfer(1, 3, 1000)).is_ok());
    assert!(world.admit(Transfer { amount: RESERVE + 1, ..transfer(1, 3, 1259) }).is_err());
    let admitted = world.admit(Transfer { amount: RESERVE + 1, ..transfer(1, 3, 1260) }).expect("it pays enough");
    assert!(admitted.gapped && admitted.replaced.is_some());
}

#[test]
fn a_replacement_pays_for_the_followers_that_it_costs() {
    let mut world = World::new(small(9));
    let half = Transfer { amount: FUNDS / 2 - 3 * RESERVE, ..transfer(0, 1, 7000) };
    assert!(world.admit(transfer(0, 0, 1000)).is_ok());
    assert!(world.admit(half).is_ok());
    assert!(world.admit(transfer(0, 2, 300)).is_ok());
    let greedy = |fee| Transfer { amount: FUNDS / 2 + 3 * RESERVE, ..transfer(0, 0, fee) };
    let required = Amount(1100 + 160 + 7000 + 300);
    let refused = world.admit(greedy(required.0 - 1));
    assert!(matches!(refused, Err(AdmissionError::ReplacementTooCheap { required: r, .. }) if r == required));
    let admitted = world.admit(greedy(required.0)).expect("it pays for everything");
    assert_eq!(admitted.dropped, [half.txid(), transfer(0, 2, 300).txid()]);
    assert_eq!(world.queued(), [greedy(required.0).txid()]);
}

#[test]
fn a_replacement_that_unfunds_a_later_recipient_pays_for_that_too() {
    let mut world = World::new(small(9));
    assert!(world.admit(transfer(0, 0, 1000)).is_ok());
    assert!(world.admit(Transfer { amount: 1, ..transfer(0, 1, 400) }).is_ok());
    let elsewhere = |fee| Transfer { to: IDS[1], ..transfer(0, 0, fee) };
    assert!(world.admit(elsewhere(1659)).is_err());
    let admitted = world.admit(elsewhere(1660)).expect("1100 + 160 + 400");
    assert_eq!(admitted.dropped.len(), 1);
}

#[test]
fn a_full_mempool_evicts_the_lowest_score_and_raises_the_floor() {
    let mut world = World::new(small(3));
    // A queue scores its cheapest prefix: account 0's expensive second transaction is worth as little as its first.
    for transfer in [transfer(0, 0, 320), transfer(0, 1, 9000), transfer(1, 0, 640)] {
        assert!(world.admit(transfer).is_ok());
    }
    let refused = world.admit(transfer(2, 0, 320));
    assert_eq!(refused, Err(AdmissionError::PoolFull { required: Amount(321), found: Amount(320) }));
    let admitted = world.admit(transfer(2, 0, 321)).expect("it scores more");
    assert_eq!(admitted.evicted, [transfer(0, 1, 9000).txid()]);
    // 320 chips for 160 bytes are a rate of 2,000; one step above it are 3,000, or 480 chips for 160 bytes.
    assert_eq!(world.pool.min_fee_rate(world.now), Amount(3000));
    let refused = world.admit(transfer(3, 0, 479));
    assert_eq!(refused, Err(AdmissionError::FeeTooLow { required: Amount(480), found: Amount(479) }));
    let admitted = world.admit(transfer(3, 0, 480)).expect("it scores more");
    assert_eq!(admitted.evicted, [transfer(0, 0, 320).txid()]);
    world.now += world.pool.limits.floor_half_life;
    assert_eq!(world.pool.floor.at(world.now, &world.pool.limits), Amount(1500));
    world.now += 10 * world.pool.limits.floor_half_life;
    assert_eq!(world.pool.floor.at(world.now, &world.pool.limits), Amount(1000));
    // The floor is down again, but while the mempool is full more is asked than 321 chips for 160 bytes.
    assert_eq!(world.pool.min_fee_rate(world.now), Amount(2008));
    let Err(AdmissionError::PoolFull { required, .. }) = world.admit(transfer(3, 1, 321)) else { panic!("no room") };
    assert!(fee_at(world.pool.min_fee_rate(world.now), 160) >= required);
    assert!(world.admit(transfer(3, 1, 322)).is_ok());
}

#[test]
fn a_high_fee_behind_a_cheap_head_finds_no_room() {
    let mut world = World::new(small(2));
    assert!(world.admit(transfer(0, 0, MIN_FEE)).is_ok());
    assert!(world.admit(transfer(1, 0, MIN_FEE)).is_ok());
    let refused = world.admit(transfer(0, 1, 1_000_000));
    assert_eq!(refused, Err(AdmissionError::QueueTooCheap { nonce: 0 }));
    assert!(world.admit(transfer(0, 0, 1000)).is_ok(), "the head is replaced, and a replacement needs no room");
    let admitted = world.admit(transfer(0, 1, 1_000_000)).expect("the whole queue pays more now");
    assert_eq!(admitted.evicted, [transfer(1, 0, MIN_FEE).txid()]);
}

#[test]
fn candidates_are_the_best_that_fit() {
    let mut world = World::new(small(9));
    let cheap = transfer(0, 0, 200);
    let wide = Transfer { memo: MAX_MEMO, ..transfer(1, 0, 4160) };
    let behind = transfer(1, 1, 9000);
    let tied = transfer(2, 0, 200);
    for transfer in [cheap, wide, behind, tied] {
        assert!(world.admit(transfer).is_ok());
    }
    let ids = |candidates: Vec<CheckedTransaction>| candidates.iter().map(|c| c.txid()).collect::<Vec<_>>();
    let candidates = |bytes| ids(world.pool.candidates(bytes));
    assert_eq!(candidates(usize::MAX), [wide, behind, cheap, tied].map(Transfer::txid));
    assert_eq!(candidates(416 + 160), [wide, behind].map(Transfer::txid));
    assert_eq!(candidates(416 + 159), [wide].map(Transfer::txid));
    assert_eq!(candidates(415), [cheap, tied].map(Transfer::txid), "what does not fit takes its queue with it");
    assert_eq!(candidates(159), []);
}

#[test]
fn pages_follow_each_other() {
    let mut world = World::new(small(9));
    for transfer in [transfer(0, 0, 1000), transfer(0, 1, 1000), transfer(1, 0, 1000), transfer(2, 1, 1000)] {
        assert!(world.admit(transfer).is_ok());
    }
    let all = world.listing();
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = world.pool.list(after, 3);
        let Some(last) = page.last() else { break };
        let body = &last.transaction.transaction().body;
        after = Some((body.from, body.nonce));
        pages.extend(page.iter().map(|listed| (listed.transaction.wire_id(), listed.score)));
    }
    assert_eq!(pages, all);
    assert_eq!(all.iter().filter(|(_, score)| score.is_none()).count(), 1);
}

#[test]
fn what_is_saved_is_admitted_again() {
    let mut world = World::new(small(9));
    for transfer in [transfer(0, 0, 1000), transfer(0, 1, 300), transfer(1, 0, 500), transfer(2, 1, 700)] {
        assert!(world.admit(transfer).is_ok());
    }
    let mut restarted = World::new(small(9));
    for transaction in world.pool.transactions_for_saving() {
        let checked = check_transaction(transaction, PARAMS.rules_at(1), &CHAIN).expect("it was checked");
        assert!(restarted.admit_checked(checked).is_ok());
    }
    assert_eq!(restarted.listing(), world.listing());
}

#[test]
fn what_is_confirmed_leaves_and_its_followers_stay() {
    let mut world = World::new(small(9));
    for transfer in [transfer(0, 0, 200), transfer(0, 1, 1000), transfer(1, 0, 500)] {
        assert!(world.admit(transfer).is_ok());
    }
    let updated = world.confirm(&[transfer(0, 0, 200)]);
    assert_eq!(updated, Updated { used: vec![transfer(0, 0, 200).txid()], ..Updated::default() });
    assert_eq!(world.queued(), [transfer(0, 1, 1000), transfer(1, 0, 500)].map(Transfer::txid));
}

#[test]
fn another_transaction_with_the_nonce_displaces_what_it_makes_impossible() {
    let mut world = World::new(small(9));
    let large = Transfer { amount: FUNDS / 2, ..transfer(0, 1, 1000) };
    for transfer in [transfer(0, 0, 200), large, transfer(0, 2, 1000)] {
        assert!(world.admit(transfer).is_ok());
    }
    let updated = world.confirm(&[Transfer { amount: FUNDS / 2, ..transfer(0, 0, 5000) }]);
    assert_eq!(updated.used, [transfer(0, 0, 200).txid()]);
    assert_eq!(updated.dropped, [large.txid()]);
    assert_eq!((world.pool.len(), world.pool.gapped_len()), (0, 1), "what came after waits for another nonce 1");
}

#[test]
fn what_a_lost_place_leaves_behind_is_bounded_like_all_that_is_gapped() {
    let mut world = World::new(small(20));
    for from in 0..2 {
        let large = Transfer { amount: FUNDS / 2, ..transfer(from, 1, 1000) };
        assert!(world.admit(transfer(from, 0, 200)).is_ok());
        assert!(world.admit(large).is_ok());
        for nonce in 2..5 {
            assert!(world.admit(transfer(from, nonce, 1000)).is_ok());
        }
    }
    let foreign = |from| Transfer { amount: FUNDS / 2, ..transfer(from, 0, 5000) };
    let gapped = |world: &World| {
        let all = world.pool.list(None, usize::MAX);
        let gapped = all.iter().filter(|listed| listed.score.is_none());
        gapped.map(|listed| listed.transaction.txid()).collect::<Vec<_>>()
    };
    let updated = world.confirm(&[foreign(0)]);
    assert_eq!(gapped(&world), [transfer(0, 2, 1000).txid(), transfer(0, 3, 1000).txid()]);
    assert_eq!(updated.dropped.last(), Some(&transfer(0, 4, 1000).txid()));
    let updated = world.confirm(&[foreign(1)]);
    assert!(gapped(&world).contains(&transfer(1, 2, 1000).txid()));
    assert_eq!((updated.dropped.len(), world.pool.gapped_len()), (3, 3));
}

#[test]
fn a_confirmed_nonce_closes_a_gap() {
    let mut world = World::new(small(9));
    assert!(world.admit(transfer(0, 1, 1000)).is_ok());
    let updated = world.confirm(&[transfer(0, 0, 200)]);
    assert_eq!(updated.queued, [transfer(0, 1, 1000).txid()]);
}

#[test]
fn disconnected_transactions_return_below_the_floor_and_past_the_limit() {
    let mut world = World::new(small(20));
    let before = world.accounts.clone();
    let mined: Vec<Transfer> = (0..9).map(|nonce| transfer(0, nonce, 0)).collect();
    world.confirm(&mined);
    assert!(world.admit(transfer(0, 9, 1000)).is_ok());
    world.accounts = before;
    let updated = world.update(&[], mined.iter().map(|transfer| transfer.checked()).collect());
    assert_eq!(updated.queued, mined.iter().map(|transfer| transfer.txid()).collect::<Vec<_>>());
    assert_eq!((world.pool.len(), world.pool.gapped_len()), (10, 0));

    // On the way to the heavier branch some are confirmed again.
    let updated = world.confirm(&mined[..4]);
    assert_eq!((updated.used.len(), world.pool.len()), (4, 6));
}

#[test]
fn what_returns_outbids_or_yields() {
    for (fee, wins) in [(1000, false), (1001, true)] {
        let mut world = World::new(small(9));
        assert!(world.admit(transfer(0, 0, 1000)).is_ok());
        let returned = Transfer { amount: 2 * RESERVE, ..transfer(0, 0, fee) };
        let updated = world.update(&[], vec![returned.checked()]);
        assert_eq!(world.pool.contains(&returned.txid()), wins);
        assert_eq!(updated.dropped.len(), usize::from(wins));
    }
}

#[test]
fn a_reorganisation_takes_back_what_queues_counted_on() {
    let mut world = World::new(small(9));
    let before = world.accounts.clone();
    let fund = Transfer { to: IDS[4], amount: 5 * RESERVE, ..transfer(0, 0, 1000) };
    world.confirm(&[fund]);
    // Account 4 spends what it was given, and account 1 tops it up with less than the reserve.
    assert!(world.admit(transfer(4, 0, 1000)).is_ok());
    assert!(world.admit(Transfer { to: IDS[4], amount: 1, ..transfer(1, 0, 1000) }).is_ok());
    world.accounts = before;
    let updated = world.update(&[], vec![fund.checked()]);
    assert_eq!((updated.dropped.len(), updated.queued.as_slice()), (2, &[fund.txid()][..]));
}

#[test]
fn what_returns_evicts_the_lowest_scores() {
    let mut world = World::new(small(3));
    for account in 1..4 {
        assert!(world.admit(transfer(account, 0, 200 * account as u64)).is_ok());
    }
    let updated = world.update(&[], vec![transfer(0, 0, 300).checked(), transfer(0, 1, 0).checked()]);
    assert_eq!(updated.evicted, [transfer(0, 1, 0).txid(), transfer(1, 0, 200).txid()]);
    assert_eq!(world.pool.len(), 3);
}

#[test]
fn the_readers_error_passes_through() {
    struct Broken;
    impl AccountReader for Broken {
        type Error = &'static str;
        fn account(&self, _: &AccountId) -> Result<Account, &'static str> {
            Err("broken")
        }
    }
    let mut world = World::new(small(9));
    assert_eq!(world.pool.admit(0, transfer(0, 0, 1000).checked(), &Broken), Err("broken"));
    assert!(world.admit(transfer(0, 0, 1000)).is_ok());
    assert_eq!(world.pool.update(0, &[transfer(0, 0, 1000).transaction()], Vec::new(), &Broken), Err("broken"));
    world.check();
}

#[test]
fn an_update_reads_only_accounts_that_wait_and_were_touched() {
    struct Counting<'a>(&'a Accounts, std::cell::Cell<usize>);
    impl AccountReader for Counting<'_> {
        type Error = Infallible;
        fn account(&self, id: &AccountId) -> Result<Account, Infallible> {
            self.1.set(self.1.get() + 1);
            self.0.account(id)
        }
    }
    let mut world = World::new(small(9));
    for account in 0..3 {
        assert!(world.admit(transfer(account, 0, 1000)).is_ok());
    }
    let confirmed = [transfer(0, 0, 1000), transfer(3, 0, 1000)].map(Transfer::transaction);
    for transaction in &confirmed {
        assert!(world.accounts.apply(&transaction.body));
    }
    let counting = Counting(&world.accounts, std::cell::Cell::new(0));
    let Ok(_) = world.pool.update(world.now, &confirmed, Vec::new(), &counting);
    assert_eq!(counting.1.get(), 1, "account 3 has nothing here, accounts 1 and 2 are untouched");
    world.check();
}

#[test]
fn every_refusal_fits_one_line_and_names_the_way_out() {
    let (txid, fee) = (Txid([1; 32]), Amount(7));
    let errors = [
        (AdmissionError::AlreadyKnown { txid }, "only has to confirm"),
        (AdmissionError::OtherSignature { txid }, "only has to confirm"),
        (AdmissionError::FeeTooLow { required: fee, found: fee }, "pay at least 7"),
        (AdmissionError::NonceUsed { found: 1, next: 7 }, "with nonce 7"),
        (AdmissionError::TooManyPending { found: 71, confirmed: 7, limit: 64 }, "wait until nonce 7"),
        (AdmissionError::GappedAccountFull { next: 7, limit: 4 }, "nonce 7; send that one first"),
        (AdmissionError::GappedPoolFull { next: 7 }, "send nonce 7"),
        (AdmissionError::Overspend { available: fee, required: fee }, "send less or wait"),
        (AdmissionError::SenderBelowReserve { left: fee, reserve: fee }, "send less"),
        (AdmissionError::RecipientBelowReserve { left: fee, reserve: fee }, "send more"),
        (
            AdmissionError::ReplacementTooCheap { nonce: 1, pending: txid, required: fee, found: fee },
            "pay a fee of at least 7",
        ),
        (AdmissionError::PoolFull { required: fee, found: fee }, "pay a fee of at least 7"),
        (AdmissionError::QueueTooCheap { nonce: 7 }, "nonce 7, which comes first"),
    ];
    for (error, way_out) in errors {
        let text = error.to_string();
        assert!(text.contains(way_out) && !text.contains('\n'), "{text}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Submits a transfer whose nonce is `ahead` of the confirmed one.
    Submit { transfer: Transfer, ahead: u64 },
    /// Mines the best so many candidates, with a foreign transfer of an account before them where one is given.
    Mine { count: usize, foreign: Option<Transfer> },
    /// Replaces the last so many blocks by one with a foreign transfer.
    Reorganise { depth: usize, foreign: Transfer },
    /// Lets time pass.
    Wait { ms: u64 },
}

fn any_transfer() -> impl Strategy<Value = Transfer> {
    // Accounts 4 and 5 have nothing at first; large amounts make the third transfer of an account fail.
    let amount = prop_oneof![Just(0), Just(1), Just(RESERVE), Just(FUNDS / 3), Just(FUNDS / 2)];
    let memo = prop_oneof![4 => Just(0), 1 => Just(100), 1 => Just(MAX_MEMO)];
    (0..6usize, 0..6usize, amount, 0..6u64, 0..40u64, memo).prop_map(|(from, to, amount, times, more, memo)| {
        let fee = 1 + times * 200 + times * times * more;
        Transfer { to: IDS[to], amount, memo, ..transfer(from, 0, fee) }
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (any_transfer(), 0..9u64).prop_map(|(transfer, ahead)| Step::Submit { transfer, ahead }),
        20 => (any_transfer(), 0..3u64).prop_map(|(transfer, ahead)| Step::Submit { transfer, ahead }),
        4 => (0..6usize, prop::option::of(any_transfer())).prop_map(|(count, foreign)| Step::Mine { count, foreign }),
        2 => (1..4usize, any_transfer()).prop_map(|(depth, foreign)| Step::Reorganise { depth, foreign }),
        2 => (0..900_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

impl World {
    fn submit(&mut self, transfer: Transfer) {
        let (fees, queued, last) =
            (self.fees(), self.queued(), self.pool.by_score().next_back().map(|(score, _)| score));
        let floor = self.pool.min_fee_rate(self.now);
        let Ok(admitted) = self.admit(transfer) else { return };
        if admitted.replaced.is_some() {
            assert!(self.fees() >= fees, "a replacement never lowers the fees in the mempool");
            assert!(admitted.evicted.is_empty());
        }
        assert_eq!(admitted.gapped, self.pool.entries[&self.pool.by_txid[&admitted.txid]].place.is_none());
        // Promotions may evict in turn; each takes from the end, as far as it was there before.
        let lasts: Vec<_> = queued.iter().rev().take(admitted.evicted.len()).copied().collect();
        assert_eq!(admitted.evicted, lasts, "the last in the order goes first");
        if !admitted.evicted.is_empty() {
            let score =
                self.pool.by_score().find(|(_, checked)| checked.txid() == admitted.txid).map(|(score, _)| score);
            assert!(score > last, "only a higher score finds room");
            assert!(self.pool.min_fee_rate(self.now) >= floor);
        }
    }

    /// Applies a block's transactions as far as they are valid, and gives those.
    fn mine(&mut self, transactions: Vec<CheckedTransaction>) -> Vec<CheckedTransaction> {
        transactions.into_iter().filter(|checked| self.accounts.apply(&checked.transaction().body)).collect()
    }

    /// The foreign transfer with the nonce that fits.
    fn foreign(&self, transfer: Transfer) -> CheckedTransaction {
        let Ok(account) = self.accounts.account(&IDS[transfer.from]);
        Transfer { nonce: account.nonce, ..transfer }.checked()
    }
}

proptest! {
    #[test]
    fn histories_keep_the_mempool_whole(steps in prop::collection::vec(step(), 1..60), capacity in 1..12usize) {
        let limits = Limits { gapped: 4, floor_half_life: 300_000, ..small(capacity) };
        let mut world = World::new(limits);
        // Each block's transactions, with the accounts before it.
        let mut chain: Vec<(Vec<CheckedTransaction>, Accounts)> = Vec::new();
        let plain = |block: &[CheckedTransaction]| block.iter().map(|c| c.transaction().clone()).collect::<Vec<_>>();
        for step in steps {
            match step {
                Step::Submit { transfer, ahead } => {
                    let Ok(account) = world.accounts.account(&IDS[transfer.from]);
                    world.submit(Transfer { nonce: account.nonce + ahead, ..transfer });
                }
                Step::Mine { count, foreign } => {
                    let before = world.accounts.clone();
                    let mut block: Vec<_> = foreign.into_iter().map(|transfer| world.foreign(transfer)).collect();
                    block.extend(world.pool.candidates(usize::MAX).into_iter().take(count));
                    let block = world.mine(block);
                    let Ok(_) = world.pool.update(world.now, &plain(&block), Vec::new(), &world.accounts);
                    chain.push((block, before));
                }
                Step::Reorganise { depth, foreign } => {
                    let gone = chain.split_off(chain.len().saturating_sub(depth));
                    if let Some((_, before)) = gone.first() {
                        world.accounts = before.clone();
                    }
                    let before = world.accounts.clone();
                    let block = world.mine(vec![world.foreign(foreign)]);
                    let returned: Vec<_> = gone.into_iter().flat_map(|(block, _)| block).collect();
                    let Ok(updated) = world.pool.update(world.now, &plain(&block), returned, &world.accounts);
                    for txid in &updated.queued {
                        prop_assert!(world.pool.contains(txid) || updated.evicted.contains(txid));
                    }
                    chain.push((block, before));
                }
                Step::Wait { ms } => world.now += ms,
            }
            world.check();
        }
    }
}
