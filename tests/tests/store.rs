//! The store through its public face: what updates write snapshots show, what goes back leaves no trace, and whatever is
//! changed behind its back `verify` finds.

use drystone_core::amount::{Amount, CHIPS_PER_STONE};
use drystone_core::encode::{decode, encode};
use drystone_core::genesis::dev_params;
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::pow::Work;
use drystone_core::state::{Account, Leaf, Overlay, StateKey, StateView, Undo, history_root, revert, root};
use drystone_core::validation::ConnectedBlock;
use drystone_node::store::{
    Damage, HeaderRecord, HistoryPlace, Record, Role, Scrub, Scrubbed, Snapshot, Store, StoreError, StoreOptions,
    TransactionPlace, Validity, VerifyFailure, VerifyReport, replay, verify,
};
use drystone_tests::chain::TestChain;
use drystone_tests::fault::FaultyDisk;
use redb::{Database, Key, ReadableTable, TableDefinition, Value, WriteTransaction};

const MINER: AccountId = AccountId([0xee; 32]);
const FRIEND: AccountId = AccountId([0xdd; 32]);

fn open(disk: &FaultyDisk, options: &StoreOptions) -> Store {
    Store::open_backend(disk.clone(), &dev_params(), options).expect("opens")
}

fn connect(store: &Store, blocks: &[ConnectedBlock]) {
    let mut update = store.begin().expect("begins");
    for block in blocks {
        update.connect(block).expect("connects");
    }
    update.commit().expect("commits");
}

fn disconnect_tip(store: &Store) {
    let snapshot = store.snapshot().expect("reads");
    let tip = snapshot.tip().expect("has a tip");
    let undo = snapshot.undo(&tip.hash).expect("reads").expect("is there");
    let (_, changes) = revert(&snapshot, &undo, tip.height).expect("reads");
    let mut update = store.begin().expect("begins");
    update.disconnect(&tip.hash, changes).expect("disconnects");
    update.commit().expect("commits");
}

/// A chain with payments: `blocks` blocks with two transactions each, past the maturity of the first rewards.
fn paying_chain(blocks: u8) -> (TestChain, Vec<ConnectedBlock>) {
    let mut chain = TestChain::new(&dev_params());
    let blocks = (0..blocks)
        .map(|i| {
            let stranger = AccountId([0x40 | i; 32]);
            let payments = vec![
                chain.pay(i % 10, &stranger, 1_000_000, 0),
                chain.pay((i + 1) % 10, &SecretKey::dev((i + 1) % 10).account(), 5, 0),
            ];
            chain.extend(&MINER, payments)
        })
        .collect();
    (chain, blocks)
}

fn check(store: &Store) -> Result<Snapshot, VerifyFailure> {
    let snapshot = store.snapshot()?;
    verify(&snapshot, &dev_params(), |_| {})?;
    Ok(snapshot)
}

#[test]
fn a_snapshot_shows_what_an_update_wrote_and_later_ones_do_not_touch_it() {
    let store = open(&FaultyDisk::default(), &StoreOptions::default());
    let (chain, blocks) = paying_chain(14);
    connect(&store, &blocks[..7]);
    let before = store.snapshot().expect("reads");
    connect(&store, &blocks[7..]);
    let after = check(&store).expect("agrees");

    assert_eq!(before.tip().expect("reads").hash, blocks[6].hash());
    let tip = after.tip().expect("reads");
    let (hash, header) = (blocks[13].hash(), blocks[13].block().header);
    assert_eq!(tip, HeaderRecord { hash, header, height: 14, work: blocks[13].work(), validity: Validity::Connected });
    assert_eq!(root(&after).expect("reads"), tip.header.state_root);
    for (key, leaf) in &chain.state().leaves {
        assert_eq!(after.leaf(key).expect("reads"), Some(*leaf));
    }
    let first_leaves: Vec<_> = chain.state().leaves.iter().take(5).map(|(key, leaf)| (*key, *leaf)).collect();
    assert_eq!(after.leaves(&StateKey::MIN, &StateKey::MAX, 5).expect("reads"), first_leaves);

    for (height, block) in (1..).zip(&blocks) {
        let hash = block.hash();
        assert_eq!(after.main_hash(height).expect("reads"), Some(hash));
        assert!(after.is_main(&hash).expect("reads"));
        assert_eq!(after.body(&hash).expect("reads").as_ref(), Some(&block.block().body));
        assert_eq!(after.undo(&hash).expect("reads").as_ref(), Some(block.undo()));
        for (index, transaction) in (0..).zip(&block.block().body.transactions) {
            let place = after.transaction_place(&transaction.txid()).expect("reads");
            assert_eq!(place, Some(TransactionPlace { height, index }));
        }
    }
    let headers = after.headers_from(3, 4).expect("reads");
    assert_eq!(headers.iter().map(|record| record.height).collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert_eq!(after.headers_from(13, 100).expect("reads").len(), 2);
    assert!(after.headers_from(15, 100).expect("reads").is_empty());
    assert_eq!(after.main_hash(15).expect("reads"), None);
    assert_eq!(after.header(&BlockHash([9; 32])).expect("reads"), None);
    replay(&after, &dev_params(), |_| {}).expect("replays");
}

#[test]
fn an_update_that_is_dropped_leaves_no_trace() {
    let store = open(&FaultyDisk::default(), &StoreOptions::default());
    let (_, blocks) = paying_chain(3);
    connect(&store, &blocks[..1]);
    let mut update = store.begin().expect("begins");
    update.connect(&blocks[1]).expect("connects");
    assert_eq!(update.tip().expect("reads"), (2, blocks[1].hash()));
    assert_eq!(update.main_hash(2).expect("reads"), Some(blocks[1].hash()));
    assert_eq!(update.undo(&blocks[1].hash()).expect("reads").as_ref(), Some(blocks[1].undo()));
    assert_eq!(update.body(&blocks[1].hash()).expect("reads").as_ref(), Some(&blocks[1].block().body));
    drop(update);
    let snapshot = check(&store).expect("agrees");
    assert_eq!(snapshot.tip().expect("reads").hash, blocks[0].hash());
    assert_eq!(snapshot.header(&blocks[1].hash()).expect("reads"), None);
}

#[test]
fn going_back_restores_the_state_and_the_indexes_and_keeps_the_bodies() {
    let store = open(&FaultyDisk::default(), &StoreOptions::default());
    let (_, blocks) = paying_chain(13);
    connect(&store, &blocks[..4]);
    let (pages, leaves) = contents(&store);
    connect(&store, &blocks[4..]);
    for _ in 4..13 {
        disconnect_tip(&store);
        check(&store).expect("agrees");
    }
    assert_eq!(contents(&store), (pages, leaves));
    let snapshot = store.snapshot().expect("reads");
    let gone = &blocks[12];
    assert_eq!(snapshot.undo(&gone.hash()).expect("reads"), None);
    assert_eq!(snapshot.transaction_place(&gone.block().body.transactions[0].txid()).expect("reads"), None);
    assert!(snapshot.has_body(&gone.hash()).expect("reads"));
    assert!(!snapshot.is_main(&gone.hash()).expect("reads"));
    // The header tree still knows the longer branch, which is how start-up knows to walk back up.
    let best = snapshot.tips().next().expect("has heads").expect("reads");
    assert_eq!(best, (gone.work(), gone.hash()));
    connect(&store, &blocks[4..]);
    check(&store).expect("agrees");
}

fn contents(store: &Store) -> (u64, Vec<(StateKey, Leaf)>) {
    let snapshot = store.snapshot().expect("reads");
    let report = verify(&snapshot, &dev_params(), |_| {}).expect("agrees");
    (report.pages + report.history_nodes, snapshot.leaves(&StateKey::MIN, &StateKey::MAX, usize::MAX).expect("reads"))
}

#[test]
fn a_reorganisation_in_one_update_reads_its_own_writes() {
    let store = open(&FaultyDisk::default(), &StoreOptions::default());
    let (fork, blocks) = paying_chain(4);
    let (mut losing, mut winning) = (fork.clone(), fork);
    let lost: Vec<_> = (0..3).map(|_| losing.extend(&MINER, vec![losing.pay(0, &FRIEND, 1_000_000, 0)])).collect();
    let won: Vec<_> = (0..4).map(|_| winning.extend(&FRIEND, vec![winning.pay(0, &MINER, 1_000_000, 0)])).collect();
    connect(&store, &blocks);
    connect(&store, &lost);

    let snapshot = store.snapshot().expect("reads");
    let mut update = store.begin().expect("begins");
    for block in lost.iter().rev() {
        let undo = update.undo(&block.hash()).expect("reads").expect("is there");
        let view = Overlay { base: &snapshot, changes: update.changes() };
        let (_, changes) = revert(&view, &undo, block.height()).expect("reads");
        update.disconnect(&block.hash(), changes).expect("disconnects");
    }
    for block in &won {
        update.connect(block).expect("connects");
    }
    update.commit().expect("commits");
    let snapshot = check(&store).expect("agrees");
    assert_eq!(snapshot.tip().expect("reads").hash, winning.tip().hash);
    let tips: Vec<Work> = snapshot.tips().map(|head| head.expect("reads").0).collect();
    assert_eq!(tips, [won[3].work(), lost[2].work()]);
}

#[test]
#[should_panic(expected = "connects to the tip")]
fn a_block_connects_to_the_tip_only() {
    let (_, blocks) = paying_chain(2);
    connect(&open(&FaultyDisk::default(), &StoreOptions::default()), &blocks[1..]);
}

#[test]
fn headers_grow_their_branches_and_validity_is_kept() {
    let disk = FaultyDisk::default();
    let store = open(&disk, &StoreOptions::default());
    let (_, blocks) = paying_chain(3);
    let mut update = store.begin().expect("begins");
    for block in &blocks {
        let (hash, header, height, work) = (block.hash(), block.block().header, block.height(), block.work());
        let record = HeaderRecord { hash, header, height, work, validity: Validity::Header };
        assert!(update.insert_header(&record).expect("inserts"));
        assert!(!update.insert_header(&record).expect("knows it"));
    }
    update.put_body(1, &blocks[0].hash(), &blocks[0].block().body).expect("puts");
    update.set_validity(&blocks[1].hash(), Validity::Invalid).expect("sets");
    update.set_validity(&blocks[2].hash(), Validity::InvalidAncestor).expect("sets");
    update.set_validity(&BlockHash([9; 32]), Validity::Invalid).expect("leaves the unknown alone");
    update.commit().expect("commits");
    drop(store);

    let store = open(&disk, &StoreOptions::default());
    let snapshot = check(&store).expect("agrees");
    assert_eq!(snapshot.tip().expect("reads").height, 0);
    assert_eq!(snapshot.tips().map(|head| head.expect("reads").1).collect::<Vec<_>>(), [blocks[2].hash()]);
    let validity = |block: &ConnectedBlock| snapshot.header(&block.hash()).expect("reads").expect("known").validity;
    assert_eq!(validity(&blocks[0]), Validity::Header);
    assert_eq!(validity(&blocks[1]), Validity::Invalid);
    assert_eq!(validity(&blocks[2]), Validity::InvalidAncestor);
    assert!(snapshot.has_body(&blocks[0].hash()).expect("reads"));
    assert!(!snapshot.has_body(&blocks[1].hash()).expect("reads"));
    assert_eq!(snapshot.body_bytes(&blocks[1].hash()).expect("reads"), None);
}

#[test]
fn account_history_pages_from_the_newest() {
    let store = open(&FaultyDisk::default(), &StoreOptions::default());
    let mut chain = TestChain::new(&dev_params());
    let payer = SecretKey::dev(0).account();
    for _ in 0..3 {
        let payments = vec![chain.pay(0, &FRIEND, 1_000_000, 0), chain.pay(0, &payer, 1, 1)];
        connect(&store, &[chain.extend(&FRIEND, payments)]);
    }
    let snapshot = store.snapshot().expect("reads");
    let mut found = Vec::new();
    loop {
        let before = found.last().map(|(place, _)| *place);
        let page = snapshot.account_history(&payer, before, 4).expect("reads");
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|entry| (entry.place, entry.role)));
    }
    let at = |height, leaf| HistoryPlace { height, leaf };
    let of_block = |height| [(at(height, 2), Role::PaidItself), (at(height, 1), Role::Paid)];
    assert_eq!(found, [of_block(3), of_block(2), of_block(1)].concat());
    let friend = snapshot.account_history(&FRIEND, None, 2).expect("reads");
    let friend: Vec<_> = friend.into_iter().map(|entry| (entry.place, entry.role)).collect();
    assert_eq!(friend, [(at(3, 1), Role::Received), (at(3, 0), Role::Earned)]);
}

#[test]
fn indexes_are_dropped_and_built_when_they_are_switched() {
    let disk = FaultyDisk::default();
    let unsaid = StoreOptions::default();
    let on = StoreOptions { index_transactions: Some(true), index_accounts: Some(true), ..unsaid };
    let off = StoreOptions { index_transactions: Some(false), index_accounts: Some(false), ..on };
    let (_, blocks) = paying_chain(12);
    connect(&open(&disk, &unsaid), &blocks[..6]);
    assert!(check(&open(&disk, &unsaid)).expect("agrees").indexes().accounts, "a new file has both");

    let store = open(&disk, &off);
    connect(&store, &blocks[6..]);
    let snapshot = check(&store).expect("agrees");
    let txid = blocks[2].block().body.transactions[0].txid();
    assert_eq!(snapshot.transaction_place(&txid).expect("reads"), None);
    assert!(snapshot.account_history(&MINER, None, 10).expect("reads").is_empty());
    drop((snapshot, store));

    assert!(!check(&open(&disk, &unsaid)).expect("agrees").indexes().transactions, "unsaid, the file keeps its choice");
    let store = open(&disk, &StoreOptions { index_transactions: Some(true), ..off });
    let snapshot = check(&store).expect("agrees");
    assert_eq!(snapshot.transaction_place(&txid).expect("reads"), Some(TransactionPlace { height: 3, index: 0 }));
    assert!(snapshot.account_history(&MINER, None, 10).expect("reads").is_empty());
    drop((snapshot, store));

    let store = open(&disk, &on);
    let snapshot = check(&store).expect("agrees");
    assert_eq!(snapshot.account_history(&MINER, None, 100).expect("reads").len(), 12);
}

#[test]
fn the_mempool_is_saved_in_order_and_replaced() {
    let disk = FaultyDisk::default();
    let chain = TestChain::new(&dev_params());
    let transactions: Vec<_> = (0..5).map(|i| chain.pay(i, &FRIEND, 1_000_000, 0)).collect();
    for saved in [&transactions[..], &transactions[3..], &[]] {
        let store = open(&disk, &StoreOptions::default());
        let mut update = store.begin().expect("begins");
        update.put_mempool(saved).expect("puts");
        update.commit().expect("commits");
        drop(store);
        let store = open(&disk, &StoreOptions::default());
        assert_eq!(store.snapshot().expect("reads").mempool().expect("decodes"), saved);
    }
}

#[test]
fn repair_makes_the_tree_and_the_state_anew() {
    let disk = FaultyDisk::default();
    let store = open(&disk, &StoreOptions::default());
    // Enough accounts for pages below the root.
    let mut chain = TestChain::new(&dev_params());
    let blocks: Vec<_> = (0..20u8)
        .map(|round| {
            let to = |number: u8| AccountId([[round, number]; 16].as_flattened().try_into().expect("32 bytes"));
            let pay = |number: u8| chain.pay(number % 10, &to(number), 1_000_000, u64::from(number / 10));
            let payments = (0..60).map(pay).collect();
            chain.extend(&MINER, payments)
        })
        .collect();
    connect(&store, &blocks);
    let tip = store.snapshot().expect("reads").tip().expect("has a tip");
    let report = verify(&store.snapshot().expect("reads"), &dev_params(), |_| {}).expect("agrees");
    assert!(report.pages > 1, "{report:?}");

    assert_eq!(store.rebuild_pages(&tip.header.state_root).expect("rebuilds"), tip.header.state_root);
    assert_eq!(store.rebuild_pages(&StateRoot([9; 32])).expect("rebuilds"), tip.header.state_root);
    assert_eq!(verify(&store.snapshot().expect("reads"), &dev_params(), |_| {}).expect("agrees"), report);

    store.reset_state(&dev_params()).expect("resets");
    let snapshot = check(&store).expect("agrees");
    assert_eq!(snapshot.tip().expect("has a tip").hash, dev_params().chain_id());
    assert_eq!(history_root(&snapshot, 0).expect("reads").0, [0; 32]);
    assert!(snapshot.has_body(&tip.hash).expect("reads"));
    connect(&store, &blocks);
    assert_eq!(verify(&store.snapshot().expect("reads"), &dev_params(), |_| {}).expect("agrees"), report);
}

// The tables as docs/STORAGE.md gives them: if they change, so must the format's number.
const HEADERS: TableDefinition<&[u8; 32], &[u8; 157]> = TableDefinition::new("headers");
const TIPS: TableDefinition<&[u8; 64], ()> = TableDefinition::new("tips");
const MAIN: TableDefinition<&[u8; 8], &[u8; 32]> = TableDefinition::new("main");
const BODIES: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("bodies");
const UNDO: TableDefinition<&[u8; 40], &[u8]> = TableDefinition::new("undo");
const LEAVES: TableDefinition<&[u8; 32], &[u8]> = TableDefinition::new("leaves");
const PAGES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("pages");
const HISTORY: TableDefinition<&[u8; 9], &[u8; 32]> = TableDefinition::new("history");
const TRANSACTIONS: TableDefinition<&[u8; 32], &[u8; 12]> = TableDefinition::new("transactions");
const ACCOUNTS: TableDefinition<&[u8; 44], &[u8; 1]> = TableDefinition::new("accounts");

/// Changes the file of a store with 14 blocks and 140 payments behind its back, and opens it again.
fn tamper(change: impl FnOnce(&WriteTransaction)) -> Store {
    let disk = FaultyDisk::default();
    let mut chain = TestChain::new(&dev_params());
    let store = open(&disk, &StoreOptions::default());
    for round in 0..14u8 {
        let to = |payer: u8| AccountId([round * 10 + payer; 32]);
        let payments = (0..10).map(|payer| chain.pay(payer, &to(payer), 1_000_000, 0)).collect();
        connect(&store, &[chain.extend(&MINER, payments)]);
    }
    drop(store);
    let database = Database::builder().create_with_backend(disk.clone()).expect("opens");
    let transaction = database.begin_write().expect("begins");
    change(&transaction);
    transaction.commit().expect("commits");
    drop(database);
    open(&disk, &StoreOptions::default())
}

fn verdict(change: impl FnOnce(&WriteTransaction)) -> Result<VerifyReport, VerifyFailure> {
    verify(&tamper(change).snapshot()?, &dev_params(), |_| {})
}

fn replayed(store: &Store) -> Result<(), VerifyFailure> {
    replay(&store.snapshot()?, &dev_params(), |_| {})
}

fn lose_last<K: Key + 'static, V: Value + 'static>(transaction: &WriteTransaction, table: TableDefinition<K, V>) {
    transaction.open_table(table).expect("opens").pop_last().expect("reads").expect("is there");
}

/// Rewrites the last value of `length` bytes.
fn change_last<const N: usize>(
    transaction: &WriteTransaction,
    table: TableDefinition<&'static [u8; N], &'static [u8]>,
    length: impl Fn(usize) -> bool,
    change: impl FnOnce(&mut Vec<u8>),
) {
    let mut table = transaction.open_table(table).expect("opens");
    let (key, mut value) = {
        let mut entries = table.iter().expect("reads").rev().map(|entry| entry.expect("reads"));
        let (key, value) = entries.find(|(_, value)| length(value.value().len())).expect("is there");
        (*key.value(), value.value().to_vec())
    };
    change(&mut value);
    table.insert(&key, value.as_slice()).expect("inserts");
}

#[test]
fn verify_counts_what_nobody_touched() {
    let report = verdict(|_| {}).expect("agrees");
    assert_eq!((report.height, report.headers, report.bodies, report.transactions), (14, 15, 15, 140));
    assert_eq!((report.immature_rewards, report.accounts), (10, 10 + 140 + 1));
    let issued = 10 * 10_000 + 14 * 20;
    assert_eq!(report.balances.0 + report.immature.0, issued * CHIPS_PER_STONE);
}

#[test]
fn verify_misses_nothing_that_was_lost() {
    use VerifyFailure as V;
    assert!(matches!(verdict(|file| lose_last(file, MAIN)), Err(V::IndexCount { .. })));
    assert!(matches!(verdict(|file| lose_last(file, UNDO)), Err(V::Undo(14))));
    assert!(matches!(verdict(|file| lose_last(file, TIPS)), Err(V::Tip(_))));
    assert!(matches!(verdict(|file| lose_last(file, LEAVES)), Err(V::Page(_))));
    assert!(matches!(verdict(|file| lose_last(file, PAGES)), Err(V::Page(_))));
    assert!(matches!(verdict(|file| lose_last(file, HISTORY)), Err(V::HistoryNode(_))));
    assert!(matches!(verdict(|file| lose_last(file, TRANSACTIONS)), Err(V::Index(_))));
    assert!(matches!(verdict(|file| lose_last(file, ACCOUNTS)), Err(V::Index(_))));
    let header = verdict(|file| lose_last(file, HEADERS));
    assert!(matches!(header, Err(V::Parent(_) | V::Store(StoreError::Rotten(Record::Header(_))))));
}

#[test]
fn verify_misses_nothing_that_was_added() {
    use VerifyFailure as V;
    let extra_leaf = |file: &WriteTransaction| {
        let rich = Leaf::Account(Account { balance: Amount(5), nonce: 0 });
        file.open_table(LEAVES).unwrap().insert(&[0xaa; 32], rich.to_bytes().as_slice()).unwrap();
    };
    assert!(matches!(verdict(extra_leaf), Err(V::Page(_) | V::StateRoot { .. })));
    let extra_page = |file: &WriteTransaction| {
        let page = file.open_table(PAGES).unwrap().last().unwrap().unwrap().1.value().to_vec();
        file.open_table(PAGES).unwrap().insert([15; 20].as_slice(), page.as_slice()).unwrap();
    };
    assert!(matches!(verdict(extra_page), Err(V::PageCount { stored: 2, expected: 1 })));
    let extra_node = |file: &WriteTransaction| {
        file.open_table(HISTORY).unwrap().insert(&[9; 9], &[9; 32]).unwrap();
    };
    assert!(matches!(verdict(extra_node), Err(V::HistoryCount { .. })));
    let extra_entry = |file: &WriteTransaction| {
        file.open_table(TRANSACTIONS).unwrap().insert(&[9; 32], &[9; 12]).unwrap();
    };
    assert!(matches!(verdict(extra_entry), Err(V::IndexCount { .. })));
    let extra_account_entry = |file: &WriteTransaction| {
        file.open_table(ACCOUNTS).unwrap().insert(&[9; 44], &[1]).unwrap();
    };
    assert!(matches!(verdict(extra_account_entry), Err(V::IndexCount { .. })));
}

#[test]
fn verify_misses_nothing_that_was_changed() {
    use VerifyFailure as V;
    let money = |file: &WriteTransaction| change_last(file, LEAVES, |length| length == 16, |value| value[0] ^= 1);
    assert!(matches!(verdict(money), Err(V::Page(_))));
    let kind = |file: &WriteTransaction| change_last(file, LEAVES, |length| length == 40, |value| value.truncate(39));
    assert!(matches!(verdict(kind), Err(V::Store(StoreError::Rotten(Record::Leaf(_))))));
    let history = |file: &WriteTransaction| change_last(file, LEAVES, |length| length == 32, |value| value[0] ^= 1);
    assert!(matches!(verdict(history), Err(V::HistoryRoot)));
    for place in [0, 40, 60, 200] {
        let body = |file: &WriteTransaction| change_last(file, BODIES, |_| true, |value| value[place] ^= 0x10);
        assert!(matches!(verdict(body), Err(V::Store(StoreError::Rotten(Record::Body(_))))));
    }
    let undo = |file: &WriteTransaction| change_last(file, UNDO, |_| true, |value| value.truncate(9));
    assert!(matches!(verdict(undo), Err(V::Store(StoreError::Rotten(Record::Undo(_))))));
    for (place, hash_shows) in [(0, true), (115, true), (116, false), (124, false)] {
        let header = |file: &WriteTransaction| {
            let mut table = file.open_table(HEADERS).unwrap();
            let (key, mut value) = table.last().unwrap().map(|(key, value)| (*key.value(), *value.value())).unwrap();
            value[place] ^= 1;
            table.insert(&key, &value).unwrap();
        };
        match verdict(header) {
            Err(V::Store(StoreError::Rotten(Record::Header(_)))) => assert!(hash_shows, "byte {place}"),
            Err(V::Place(_)) => assert!(!hash_shows, "byte {place}"),
            other => panic!("byte {place}: {other:?}"),
        }
    }
}

/// Marks the tip as standing on an invalid block.
fn mark_tip(file: &WriteTransaction) {
    let tip = *file.open_table(MAIN).unwrap().last().unwrap().unwrap().1.value();
    let mut headers = file.open_table(HEADERS).unwrap();
    let mut record = *headers.get(&tip).unwrap().unwrap().value();
    record[156] = 3;
    headers.insert(&tip, &record).unwrap();
}

#[test]
fn a_mark_of_invalidity_on_the_main_chain_is_found_and_repair_takes_it_away() {
    let marked = tamper(|file| {
        mark_tip(file);
        file.delete_table(TIPS).unwrap();
        file.open_table(TIPS).unwrap();
    });
    let tip = marked.snapshot().unwrap().tip().unwrap();
    assert!(check(&marked).is_err());
    marked.reset_state(&dev_params()).unwrap();
    let repaired = marked.snapshot().unwrap();
    assert_eq!(repaired.header(&tip.hash).unwrap().unwrap().validity, Validity::Connected);
    assert_eq!(repaired.tips().collect::<Result<Vec<_>, _>>().unwrap(), [(tip.work, tip.hash)]);

    let only_marked = verdict(mark_tip);
    assert!(matches!(only_marked, Err(VerifyFailure::Validity(14))), "{only_marked:?}");
}

#[test]
fn a_replay_finds_an_undo_that_lies_and_needs_every_body() {
    // One old value is missing: it decodes, and only running the block shows it.
    let shorten = |bytes: &mut Vec<u8>| {
        let mut undo: Undo = decode(bytes).unwrap();
        undo.leaves.pop();
        *bytes = encode(&undo);
    };
    let undo = tamper(|file| change_last(file, UNDO, |_| true, shorten));
    assert!(matches!(replayed(&undo), Err(VerifyFailure::UndoDiffers(14))));
    let pruned = tamper(|file| lose_last(file, BODIES));
    let report = verify(&pruned.snapshot().expect("reads"), &dev_params(), |_| {});
    assert_eq!(report.expect("a body that is not held is no fault").bodies, 14);
    assert!(matches!(replayed(&pruned), Err(VerifyFailure::NotHeld(14))));
    let leaf = tamper(|file| change_last(file, LEAVES, |length| length == 16, |value| value[0] ^= 1));
    assert!(matches!(replayed(&leaf), Err(VerifyFailure::Leaf(_))));
}

/// What a whole pass that begins at height 5 finds in a file that was changed behind its back.
fn scrubbed(change: impl FnOnce(&WriteTransaction)) -> Vec<Damage> {
    let store = tamper(change);
    let snapshot = store.snapshot().expect("reads");
    let (mut scrub, mut found) = (Scrub::new(5), Vec::new());
    for _ in 0..=Scrub::steps(&snapshot).expect("reads") {
        match scrub.step(&snapshot).expect("reads") {
            Scrubbed::Step(damages) => found.extend(damages),
            Scrubbed::PassEnded => return found,
        }
    }
    panic!("a pass has so many steps and no more");
}

#[test]
fn a_scrub_goes_round_and_finds_nothing_where_nothing_is_wrong() {
    let store = tamper(|_| {});
    let snapshot = store.snapshot().expect("reads");
    let steps = Scrub::steps(&snapshot).expect("reads");
    for first in [0, 5, 14, 99] {
        let mut scrub = Scrub::new(first);
        for pass in 0..2 {
            for done in 0..steps {
                assert_eq!(scrub.done(), done, "pass {pass} from {first}");
                assert_eq!(scrub.step(&snapshot).expect("reads"), Scrubbed::Step(Vec::new()));
            }
            assert_eq!(scrub.step(&snapshot).expect("reads"), Scrubbed::PassEnded);
        }
    }
}

#[test]
fn a_scrub_misses_nothing_that_an_update_could_stumble_on() {
    let state = |found: &[Damage]| matches!(found, [Damage::State(_), ..]);
    let undo = |found: &[Damage]| matches!(found, [Damage::Undo { .. }]);
    let body = |found: &[Damage]| matches!(found, [Damage::Body { height: 14, .. }]);
    // The last entries by key belong to blocks of any height.
    let index = |found: &[Damage]| matches!(found, [Damage::Index { .. }]);
    let foundation = |found: &[Damage]| found.iter().any(|damage| matches!(damage, Damage::Foundation(_)));
    let check = |name: &str, found: Vec<Damage>, right: &dyn Fn(&[Damage]) -> bool| {
        assert!(right(&found), "{name}: {found:?}");
    };
    check("lost undo", scrubbed(|file| lose_last(file, UNDO)), &undo);
    check("lost body", scrubbed(|file| lose_last(file, BODIES)), &body);
    check("lost leaf", scrubbed(|file| lose_last(file, LEAVES)), &state);
    check("lost page", scrubbed(|file| lose_last(file, PAGES)), &state);
    check("lost history", scrubbed(|file| lose_last(file, HISTORY)), &state);
    check("lost transaction", scrubbed(|file| lose_last(file, TRANSACTIONS)), &index);
    check("lost account entry", scrubbed(|file| lose_last(file, ACCOUNTS)), &index);
    check("lost header", scrubbed(|file| lose_last(file, HEADERS)), &foundation);
    for length in [16, 32, 40] {
        let leaf = |file: &WriteTransaction| change_last(file, LEAVES, |found| found == length, |value| value[0] ^= 1);
        check("leaf", scrubbed(leaf), &state);
    }
    let short = |file: &WriteTransaction| change_last(file, LEAVES, |length| length == 40, |value| value.truncate(39));
    check("no leaf", scrubbed(short), &state);
    for place in [0, 40, 200] {
        let changed = |file: &WriteTransaction| change_last(file, BODIES, |_| true, |value| value[place] ^= 0x10);
        check("body", scrubbed(changed), &body);
    }
    check("undo", scrubbed(|file| change_last(file, UNDO, |_| true, |value| value.truncate(9))), &undo);
    let extra_page = |file: &WriteTransaction| {
        let page = file.open_table(PAGES).unwrap().last().unwrap().unwrap().1.value().to_vec();
        file.open_table(PAGES).unwrap().insert([15; 20].as_slice(), page.as_slice()).unwrap();
    };
    check("extra page", scrubbed(extra_page), &state);
    let no_path = |file: &WriteTransaction| {
        file.open_table(PAGES).unwrap().insert([99; 2].as_slice(), [1; 2].as_slice()).unwrap();
    };
    check("no path", scrubbed(no_path), &state);
}

#[test]
fn the_history_range_is_made_anew_from_the_headers() {
    let lost = tamper(|file| {
        let first = *file.open_table(HISTORY).unwrap().first().unwrap().unwrap().0.value();
        file.open_table(HISTORY).unwrap().insert(&first, &[7; 32]).unwrap();
        file.open_table(HISTORY).unwrap().insert(&[9; 9], &[9; 32]).unwrap();
    });
    assert!(check(&lost).is_err());
    lost.rebuild_history().expect("writes");
    check(&lost).expect("agrees");
}
