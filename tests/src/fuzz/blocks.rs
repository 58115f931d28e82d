//! `block`, `transaction`: decoded, checked alone and in a batch, and applied to a state.

use drystone_core::amount::Amount;
use drystone_core::api::Hex;
use drystone_core::block::{Block, Body, Header};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::encode::{decode, decode_capped, encode};
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::merkle::TRANSACTIONS;
use drystone_core::state::{MemoryState, revert, root, root_of};
use drystone_core::subsidy::subsidy_at;
use drystone_core::transaction::{Memo, Transaction, TransactionBody};
use drystone_core::validation::{
    BlockContext, BlockError, ConnectError, ConnectFailure, Executor, check_block, check_header, check_transaction,
    check_transactions, connect_block,
};

use super::bytes::{Bytes, bend};
use super::chain::{FIXTURE, MINER, chips, work_on};
const SECRET: [u8; 32] = [5; 32];
/// Payments that a script makes for one block.
const PAYMENTS: usize = 12;

/// What decodes encodes to the very input. A batch of signatures finds what single checks find. A transaction that is signed
/// right is taken on its chain and on no other, and not with any bit changed.
pub(super) fn transaction(input: &[u8]) -> bool {
    let chain_id = FIXTURE.chain_id;
    let rules = FIXTURE.params.rules_at(1);
    let mut script = Bytes::new(input);
    let signed = signed(&mut script, 0);
    check_transaction(signed.clone(), rules, &chain_id).expect("it was signed");
    assert!(check_transaction(signed.clone(), rules, &BlockHash(script.array())).is_err(), "on another chain");
    let mut bent = encode(&signed);
    bend(&mut bent, &mut script);
    if let Ok(other) = decode::<Transaction>(&bent)
        && other != signed
    {
        assert!(check_transaction(other.clone(), rules, &chain_id).is_err(), "{other:?} of {signed:?}");
        assert_ne!(other.wire_id(), signed.wire_id());
    }

    let Ok(transaction) = decode::<Transaction>(input) else { return false };
    assert_eq!(encode(&transaction), input);
    assert_eq!(transaction.encoded_len(), input.len());
    let text = serde_json::to_string(&Hex(transaction.clone())).expect("text");
    assert_eq!(serde_json::from_str::<Hex<Transaction>>(&text).expect("reads back").0, transaction);
    let json = serde_json::to_string(&transaction).expect("text");
    assert_eq!(serde_json::from_str::<Transaction>(&json).expect("reads back"), transaction);
    let mut otherwise = transaction.clone();
    otherwise.signature.0[0] ^= 1;
    assert_eq!(otherwise.txid(), transaction.txid());
    assert_ne!(otherwise.wire_id(), transaction.wire_id());

    let alone = check_transaction(transaction.clone(), rules, &chain_id);
    let batch = check_transactions(vec![signed.clone(), transaction, signed], rules, &chain_id, &SECRET);
    match (alone, batch) {
        (Ok(alone), Ok(batch)) => assert_eq!(alone, batch[1]),
        (Err(alone), Err(batch)) => assert_eq!((1, alone), batch),
        (alone, batch) => panic!("alone {alone:?}, in a batch {batch:?}"),
    }
    true
}

/// A payment between funded accounts.
fn signed(script: &mut Bytes<'_>, nonce: u64) -> Transaction {
    let (key, from) = &FIXTURE.keys[script.below(FIXTURE.keys.len())];
    let to = match script.below(4) {
        0 => AccountId(script.array()),
        _ => FIXTURE.keys[script.below(FIXTURE.keys.len())].1,
    };
    let (amount, fee) = (Amount(u64::from(script.u32())), Amount(u64::from(script.u16())));
    let length = script.below(8);
    let memo = Memo(script.take(length).to_vec());
    TransactionBody { from: *from, to, amount, fee, nonce, memo }.sign(&FIXTURE.chain_id, key)
}

/// What decodes encodes to the very input, and its transactions are judged in a batch as they are alone. Whatever payments a
/// block has, executor, block check and connection agree on it, its state is that of its leaves from scratch, money is
/// neither lost nor made, and going back restores the state before.
pub(super) fn block(input: &[u8]) -> bool {
    connect(payments(&mut Bytes::new(input)));
    let params = &FIXTURE.params;
    let decoded = decode::<Block>(input);
    let capped = decode_capped::<Block>(input, params.max_block_bytes as usize);
    let Ok(block) = decoded else {
        assert!(capped.is_err());
        return false;
    };
    assert_eq!(capped.is_ok(), input.len() as u64 <= params.max_block_bytes);
    assert_eq!(encode(&block), input);
    assert_eq!(block.body.block_bytes(), input.len());
    assert_eq!(decode(&encode(&block.body)).as_ref(), Ok(&block.body));
    check_root(&block.body);

    // Its own header has no work, in all likelihood: another one is worked on for its body.
    let tx_root = block.body.tx_root();
    let header = work_on(Header { tx_root, bits: params.pow_limit, ..block.header }, params);
    let checked = check_header(header, params).expect("it was worked on");
    let chain_id = FIXTURE.chain_id;
    let context = BlockContext { params, chain_id: &chain_id, height: 22, batch_secret: &SECRET };
    let alone = block.body.transactions.iter().enumerate().find_map(|(index, transaction)| {
        let error = check_transaction(transaction.clone(), params.rules_at(22), &chain_id).err()?;
        Some(BlockError::Transaction { index, error })
    });
    match check_block(checked, block.body.clone(), &context) {
        Ok(_) => assert_eq!(alone, None),
        Err(BlockError::TooLarge { max, found }) => assert!(found > max && found == input.len() as u64),
        Err(error) => assert_eq!(Some(error), alone),
    }
    connect(block.body);
    true
}

/// Each leaf of the transaction tree leads to its root.
fn check_root(body: &Body) {
    let (leaves, root) = (body.leaves(), body.tx_root().0);
    assert_eq!(leaves.len(), body.transactions.len() + 1);
    for place in [0, leaves.len() / 2, leaves.len() - 1] {
        let path = TRANSACTIONS.path(&leaves, place);
        let found = TRANSACTIONS.root_from_path(leaves[place], place as u64, leaves.len() as u64, &path);
        assert_eq!(found, Some(root));
    }
}

/// A body of payments, most of which the state takes.
fn payments(script: &mut Bytes<'_>) -> Body {
    let mut transactions = Vec::new();
    while !script.is_empty() && transactions.len() < PAYMENTS {
        let wrong = script.below(8) == 0;
        let mut transaction = signed(script, 0);
        let from = transaction.body.from;
        let before = transactions.iter().filter(|known: &&Transaction| known.body.from == from).count();
        transaction.body.nonce = FIXTURE.tip.account(&from).nonce + before as u64 + u64::from(wrong);
        let (key, _) = FIXTURE.keys.iter().find(|(_, account)| *account == from).expect("a funded account");
        transactions.push(transaction.body.sign(&FIXTURE.chain_id, key));
    }
    Body { reward_to: MINER, transactions }
}

/// Connects a block of this body on the tip, whose signatures may be false: then without those.
fn connect(mut body: Body) {
    let (params, state, parent) = (&FIXTURE.params, FIXTURE.tip.state(), FIXTURE.parent());
    let (chain_id, height) = (FIXTURE.chain_id, parent.height + 1);
    body.transactions
        .retain(|transaction| check_transaction(transaction.clone(), params.rules_at(height), &chain_id).is_ok());
    let mut executor = Executor::new(state, parent, params);
    let mut refused = None;
    for (index, transaction) in body.transactions.iter().enumerate() {
        let Ok(applied) = executor.apply(transaction);
        refused = refused.or(applied.err().map(|error| ConnectError::Transfer { index, error }));
    }
    let Ok(executed) = executor.finish(&body.reward_to);
    let header = mined(&body, executed.state_root);
    let context = BlockContext { params, chain_id: &chain_id, height, batch_secret: &SECRET };
    let check = |header| check_block(check_header(header, params).expect("worked on"), body.clone(), &context);
    let checked = match check(header) {
        Ok(checked) => checked,
        Err(BlockError::TooLarge { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let connected = match (connect_block(checked, parent, params, state), refused) {
        (Ok(connected), None) => connected,
        (Err(ConnectFailure::Invalid(found)), Some(refused)) => return assert_eq!(found, refused),
        (connected, refused) => panic!("connected {connected:?}, refused {refused:?}"),
    };
    let mut after = state.clone();
    after.apply(connected.changes());
    check_state(&after, header);
    let before = chips(state) + u128::from(subsidy_at(params, height).0);
    assert_eq!(chips(&after), before, "money was lost or made");
    let Ok((old_root, changes)) = revert(&after, connected.undo(), height);
    after.apply(&changes);
    assert_eq!(after, *state);
    assert_eq!(old_root, FIXTURE.headers()[FIXTURE.headers().len() - 1].state_root);

    let mut other = header;
    other.state_root.0[7] ^= 1;
    let other = check(work_on(other, params)).expect("its body is right");
    let found = connect_block(other, parent, params, state);
    assert!(matches!(found, Err(ConnectFailure::Invalid(ConnectError::StateRoot { .. }))));
}

fn check_state(state: &MemoryState, header: Header) {
    let leaves: Vec<_> = state.leaves.iter().map(|(key, leaf)| (*key, *leaf)).collect();
    assert_eq!(root_of(&leaves), header.state_root);
    let Ok(found) = root(state);
    assert_eq!(found, header.state_root);
}

fn mined(body: &Body, state_root: drystone_core::hash::StateRoot) -> Header {
    let (params, headers) = (&FIXTURE.params, FIXTURE.headers());
    let (parent, grandparent) = (headers[headers.len() - 1], headers[headers.len() - 2]);
    let height = headers.len() as u64 - 1;
    let times = ParentTimes { bits: parent.bits, height, time: parent.time, grandparent_time: grandparent.time };
    let header = Header {
        version: parent.version,
        prev_hash: parent.hash(),
        state_root,
        tx_root: body.tx_root(),
        time: parent.time + params.interval,
        bits: next_bits(params, &times),
        nonce: 0,
    };
    work_on(header, params)
}
