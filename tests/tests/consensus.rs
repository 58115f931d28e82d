//! The consensus cases of `tests/vectors/`, run from the files through the core alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use drystone_core::address::{AddressError, decode_address, encode_address};
use drystone_core::amount::{Amount, AmountError};
use drystone_core::block::{Block, Body, Header};
use drystone_core::difficulty::{ParentTimes, next_bits};
use drystone_core::encode::{DecodeError, Encodable, decode, decode_capped, decode_hex, encode};
use drystone_core::genesis::GenesisError;
use drystone_core::hash::{BlockHash, TAGS, sha256d};
use drystone_core::light::{
    AncestorProof, HeaderChain, ProofRefusal, verify_account, verify_ancestor, verify_transaction,
};
use drystone_core::params::ChainParams;
use drystone_core::pow::{BitsError, CompactTarget, Target};
use drystone_core::state::{
    Account, HistoryProof, Leaf, MemoryState, Reward, StateKey, StateProof, history_root, revert, root, root_of,
};
use drystone_core::subsidy::{subsidies_through, subsidy_at};
use drystone_core::transaction::Transaction;
use drystone_core::validation::{
    BlockContext, BlockError, ConnectError, ConnectFailure, ContextFailure, HeaderContext, HeaderError, Parent,
    TransactionError, check_block, check_header, check_header_in_context, check_transaction, check_transactions,
    connect_block, is_state_sound,
};
use drystone_tests::vectors::chains::{Arrival, ChainCase};
use drystone_tests::vectors::difficulty::{SequenceCase, StepCase, SubsidyCase, TargetCase};
use drystone_tests::vectors::encodings::{AddressCase, AmountCase, EncodingCase, HashCase, TreeCase, ancestor_value};
use drystone_tests::vectors::parameters::GenesisCase;
use drystone_tests::vectors::proofs::{Fact, LeafValue, ProofCase, ProofValue, StateCase, state_of};
use drystone_tests::vectors::rules::Rule;
use drystone_tests::vectors::stages::{BlockCase, ConnectCase, ContextCase, HeaderCase, TransactionCase};
use drystone_tests::vectors::{Hex, VectorFile, files, genesis_value};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read<C: DeserializeOwned>(name: &str) -> VectorFile<C> {
    serde_json::from_str(&text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The chain of a file.
fn chain<C>(file: &VectorFile<C>) -> ChainParams {
    let genesis = file.genesis.as_ref().expect("the file names its chain");
    ChainParams::from_json(&genesis.to_string()).expect("the file's chain is valid")
}

/// The broken rule's name, nothing where all hold.
fn rule<T, E: Rule>(result: &Result<T, E>) -> Option<String> {
    result.as_ref().err().map(Rule::name)
}

fn bytes32(hex: &Hex) -> [u8; 32] {
    hex.0.as_slice().try_into().expect("32 bytes")
}

fn header(hex: &Hex) -> Header {
    decode(&hex.0).expect("116 bytes")
}

#[test]
fn the_files_are_what_the_generator_makes() {
    for (name, made) in files() {
        assert!(
            made == text(name),
            "{name} differs: run `cargo run -p drystone-tests --bin vectors` and look at the change"
        );
    }
}

/// The verifier that was written from PROTOCOL.md alone comes to the same verdicts.
#[test]
fn the_second_verifier_agrees() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/verify.py");
    match Command::new("python3").arg("-B").arg(script).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => println!("skipped: there is no python3"),
        Err(error) => panic!("{error}"),
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Every rule has a case that breaks it. The lists come with exhaustive matches, so a new rule fails here first.
#[test]
fn every_rule_has_a_case() {
    fn covers<E: Rule>(name: &str, except: &[&str]) {
        let errors: BTreeSet<String> = errors_of(name);
        let missing: Vec<String> =
            E::all().into_iter().filter(|rule| !errors.contains(rule) && !except.contains(&rule.as_str())).collect();
        assert!(missing.is_empty(), "{name} has no case for {missing:?}");
        let unknown: Vec<&String> = errors.iter().filter(|error| !E::all().contains(error)).collect();
        assert!(unknown.is_empty(), "{name} names no rule with {unknown:?}");
        let passing = read::<Value>(name).cases.iter().any(|case| case["error"].is_null());
        assert!(passing, "{name} has no case that passes");
    }
    // No type of the protocol has two encodings; see `a_second_encoding_is_refused`.
    covers::<DecodeError>("encodings.json", &["NotCanonical"]);
    covers::<AddressError>("addresses.json", &[]);
    covers::<AmountError>("amounts.json", &[]);
    covers::<BitsError>("targets.json", &[]);
    covers::<GenesisError>("genesis.json", &[]);
    covers::<HeaderError>("headers.json", &[]);
    covers::<ContextFailure>("contexts.json", &[]);
    covers::<TransactionError>("transactions.json", &[]);
    covers::<BlockError>("blocks.json", &[]);
    covers::<ConnectError>("connect.json", &[]);
    covers::<ProofRefusal>("proofs.json", &[]);
}

fn errors_of(name: &str) -> BTreeSet<String> {
    read::<Value>(name).cases.iter().filter_map(|case| case["error"].as_str().map(str::to_owned)).collect()
}

/// Runs a function with the type that a kind names.
macro_rules! with_type_of {
    ($kind:expr, $function:ident($($argument:expr),*)) => {
        match $kind {
            "header" => $function::<Header>($($argument),*),
            "body" => $function::<Body>($($argument),*),
            "block" => $function::<Block>($($argument),*),
            "transaction" => $function::<Transaction>($($argument),*),
            "params" => $function::<ChainParams>($($argument),*),
            "account" => $function::<Account>($($argument),*),
            "reward" => $function::<Reward>($($argument),*),
            "state-proof" => $function::<StateProof>($($argument),*),
            "history-proof" => $function::<HistoryProof>($($argument),*),
            "ancestor-proof" => $function::<AncestorProof>($($argument),*),
            kind => panic!("unknown kind {kind}"),
        }
    };
}

/// Whatever bytes are accepted are the encoding of what they decode to, and of nothing else.
#[test]
fn encodings_are_a_bijection_on_accepted_bytes() {
    fn check<T: Encodable + Debug>(bytes: &[u8]) -> bool {
        let decoded = decode::<T>(bytes);
        decoded.as_ref().is_ok_and(|value| {
            assert_eq!(encode(value), bytes, "{value:?}");
            true
        })
    }
    let (mut accepted, mut refused) = (0, 0);
    for case in read::<EncodingCase>("encodings.json").cases.iter().filter(|case| case.error.is_none()) {
        let original = hex::decode(&case.hex).expect("hex");
        // Every bit where that is quick, a spread of them in the longest.
        let step = (original.len() / 100).max(1);
        for at in (0..original.len()).step_by(step) {
            let mut shorter = original.clone();
            shorter.remove(at);
            let mut longer = original.clone();
            longer.insert(at, original[at]);
            let flipped = (0..8).map(|bit| {
                let mut flipped = original.clone();
                flipped[at] ^= 1 << bit;
                flipped
            });
            for bytes in flipped.chain([shorter, longer, original[..at].to_vec()]) {
                if with_type_of!(case.kind.as_str(), check(&bytes)) { accepted += 1 } else { refused += 1 }
            }
        }
    }
    assert!(accepted > 5_000 && refused > 5_000, "{accepted} accepted, {refused} refused");
}

#[test]
fn encodings() {
    for case in read::<EncodingCase>("encodings.json").cases {
        match case.kind.as_str() {
            "header" => check_encoding::<Header>(&case, json),
            "body" => check_encoding::<Body>(&case, json),
            "block" => check_encoding::<Block>(&case, json),
            "transaction" => check_encoding::<Transaction>(&case, json),
            "params" => check_encoding::<ChainParams>(&case, genesis_value),
            "account" => check_encoding::<Account>(&case, json),
            "reward" => check_encoding::<Reward>(&case, json),
            "state-proof" => check_encoding::<StateProof>(&case, |proof| json(&ProofValue::from(proof))),
            "history-proof" => check_encoding::<HistoryProof>(&case, |proof| {
                json(&proof.path.iter().map(|hash| Hex::from(*hash)).collect::<Vec<_>>())
            }),
            "ancestor-proof" => check_encoding::<AncestorProof>(&case, ancestor_value),
            kind => panic!("unknown kind {kind}"),
        }
    }
}

fn json<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("plain data serialises")
}

fn check_encoding<T: Encodable + Debug + PartialEq>(case: &EncodingCase, to_json: impl Fn(&T) -> Value) {
    let decoded = match case.zeros {
        0 => decode_hex::<T>(&case.hex),
        zeros => decode(&[hex::decode(&case.hex).expect("hex"), vec![0; zeros as usize]].concat()),
    };
    assert_eq!(rule(&decoded), case.error, "{}: {}", case.kind, case.comment);
    if let Ok(value) = decoded {
        assert_eq!(Some(to_json(&value)), case.value, "{}: {}", case.kind, case.comment);
        assert_eq!(hex::encode(encode(&value)), case.hex, "{}: {}", case.kind, case.comment);
    }
}

#[test]
fn a_second_encoding_is_refused() {
    /// Reads any byte as itself without its last bit: 2 and 3 are one value.
    #[derive(Debug, PartialEq, Serialize)]
    struct Even(u8);
    impl<'de> serde::Deserialize<'de> for Even {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            u8::deserialize(deserializer).map(|byte| Even(byte & !1))
        }
    }
    assert_eq!(decode_capped::<Even>(&[2], 1), Ok(Even(2)));
    assert_eq!(decode_capped::<Even>(&[3], 1), Err(DecodeError::NotCanonical));
}

#[test]
fn hashes() {
    for case in read::<HashCase>("hashes.json").cases {
        let found = match TAGS.iter().find(|tag| tag.name() == case.function) {
            Some(tag) => tag.hash(&[&case.input.0]),
            None => sha256d(&case.input.0),
        };
        assert_eq!(Hex::from(found), case.output, "{}: {}", case.function, case.comment);
    }
    let named: BTreeSet<String> = read::<HashCase>("hashes.json").cases.into_iter().map(|case| case.function).collect();
    assert!(TAGS.iter().all(|tag| named.contains(tag.name())));
}

#[test]
fn list_trees() {
    for case in read::<TreeCase>("merkle.json").cases {
        let leaves: Vec<[u8; 32]> = case.leaves.iter().map(|leaf| case.tree().leaf(&leaf.0)).collect();
        assert_eq!(Hex::from(case.tree().root(&leaves)), case.root);
        assert_eq!(case.paths.len(), leaves.len());
        for (index, path) in case.paths.iter().enumerate() {
            let path: Vec<[u8; 32]> = path.iter().map(bytes32).collect();
            assert_eq!(case.tree().path(&leaves, index), path);
            let found = case.tree().root_from_path(leaves[index], index as u64, leaves.len() as u64, &path);
            assert_eq!(found.map(Hex::from), Some(case.root.clone()));
        }
    }
}

#[test]
fn addresses() {
    for case in read::<AddressCase>("addresses.json").cases {
        let found = decode_address(&case.prefix, &case.address);
        assert_eq!(rule(&found), case.error, "{}", case.comment);
        assert_eq!(found.as_ref().ok(), case.account.as_ref(), "{}", case.comment);
        if let Ok(account) = found {
            assert_eq!(encode_address(&case.prefix, &account), case.address.to_lowercase());
        }
    }
}

#[test]
fn amounts() {
    for case in read::<AmountCase>("amounts.json").cases {
        let found = if case.unit == "stones" { Amount::from_stones(&case.text) } else { case.text.parse() };
        assert_eq!(rule(&found), case.error, "{}", case.text);
        assert_eq!(found.ok(), case.chips, "{}", case.text);
    }
}

#[test]
fn targets() {
    for case in read::<TargetCase>("targets.json").cases {
        let found = case.bits.to_target();
        assert_eq!(rule(&found), case.error, "{}", case.bits);
        let number = |target: &Target| BlockHash(target.value().to_le_bytes());
        assert_eq!(found.as_ref().ok().map(number), case.target, "{}", case.bits);
        assert_eq!(found.ok().map(Target::to_compact), case.compact, "{}", case.bits);
        assert_eq!(found.ok().map(Target::work), case.work, "{}", case.bits);
        for (hash, met) in &case.hashes {
            assert_eq!(found.map(|target| target.is_met_by(hash)), Ok(*met), "{}", case.bits);
        }
    }
}

#[test]
fn difficulty() {
    for case in read::<StepCase>("wtema.json").cases {
        let StepCase { bits, height, time, grandparent_time, .. } = case;
        let next = next_bits(&case.timing.params(), &ParentTimes { bits, height, time, grandparent_time });
        assert_eq!(next, case.next, "{}", case.comment);
        assert!(next <= case.timing.pow_limit);
    }
    for case in read::<SequenceCase>("wtema_sequences.json").cases {
        assert_eq!(case.times.len(), case.bits.len());
        let params = case.timing.params();
        for (height, bits) in case.bits.iter().enumerate() {
            assert_eq!(case.next_bits(&params, height), *bits, "{} at height {height}", case.comment);
        }
    }
}

#[test]
fn subsidies() {
    for case in read::<SubsidyCase>("subsidy.json").cases {
        assert_eq!(subsidy_at(&case.params(), case.height), case.subsidy, "height {}", case.height);
        assert_eq!(subsidies_through(&case.params(), case.height), case.through, "height {}", case.height);
    }
}

#[test]
fn genesis_files() {
    for case in read::<GenesisCase>("genesis.json").cases {
        let found = ChainParams::from_json(&case.file.to_string());
        assert_eq!(rule(&found), case.error, "{}", case.comment);
        let Ok(params) = found else { continue };
        let genesis = params.genesis_block().header;
        assert_eq!(Some(Hex(encode(&params))), case.encoded, "{}", case.comment);
        assert_eq!(Some(genesis.state_root), case.state_root, "{}", case.comment);
        assert_eq!(Some(Hex::from(genesis.to_bytes())), case.header, "{}", case.comment);
        assert_eq!(Some(genesis.hash()), case.chain_id, "{}", case.comment);
        assert_eq!(params.chain_id(), genesis.hash());
    }
}

#[test]
fn state_trees() {
    for case in read::<StateCase>("state_tree.json").cases {
        let leaves: Vec<(StateKey, Leaf)> = case.leaves.into_iter().map(|(key, leaf)| (key, leaf.into())).collect();
        assert_eq!(root_of(&leaves), case.root, "{}", case.comment);
        let (state, found) = state_of(leaves);
        assert_eq!(found, case.root, "{}", case.comment);
        for asked in case.proofs {
            let proof: StateProof = decode(&asked.proof.0).expect("a proof");
            let leaf = asked.leaf.map(Leaf::from);
            assert_eq!(proof.verify(&case.root, &asked.key), Ok(leaf), "{}", case.comment);
            assert_eq!(drystone_core::state::prove(&state, &asked.key), Ok(proof), "{}", case.comment);
        }
    }
}

#[test]
fn proofs() {
    let file = read::<ProofCase>("proofs.json");
    let params = chain(&file);
    for case in &file.cases {
        let found = match &case.fact {
            Fact::Account { root, account, holds, proof } => {
                let proof: StateProof = decode(&proof.0).expect("a proof");
                verify_account(root, account, &proof).map(|shown| assert_eq!(shown, *holds, "{}", case.comment))
            }
            Fact::Ancestor { headers, height, hash, work, proof } => {
                let headers: Vec<Header> = headers.iter().map(header).collect();
                let mut chain = HeaderChain::new(&params);
                chain.extend(&headers, u64::MAX).expect("valid headers");
                let proof: AncestorProof = decode(&proof.0).expect("a proof");
                verify_ancestor(chain.tip(), *height, hash, work, &proof)
            }
            Fact::Transaction { root, transaction, index, count, path } => {
                let transaction: Transaction = decode(&transaction.0).expect("a transaction");
                let path: Vec<[u8; 32]> = path.iter().map(bytes32).collect();
                verify_transaction(root, &transaction, *index, *count, &path)
            }
        };
        assert_eq!(rule(&found), case.error, "{}", case.comment);
    }
}

#[test]
fn headers() {
    let file = read::<HeaderCase>("headers.json");
    let params = chain(&file);
    for case in &file.cases {
        let header = header(&case.header);
        assert_eq!(header.hash(), case.hash);
        let found = check_header(header, &params);
        assert_eq!(rule(&found), case.error, "{}", case.comment);
        assert_eq!(found.ok().map(|checked| checked.work()), case.work, "{}", case.comment);
    }
}

#[test]
fn headers_in_context() {
    let file = read::<ContextCase>("contexts.json");
    let params = chain(&file);
    for case in &file.cases {
        let checked = check_header(header(&case.header), &params).expect(&case.comment);
        let (bits, height, time) = (case.parent_bits, case.parent_height, case.parent_time);
        let parent = ParentTimes { bits, height, time, grandparent_time: case.grandparent_time };
        let context = HeaderContext { parent_hash: case.parent_hash, parent };
        let found = check_header_in_context(&checked, &context, &params, case.now);
        assert_eq!(rule(&found), case.error, "{}", case.comment);
        let at = match found {
            Err(ContextFailure::NotYet { acceptable_at }) => Some(acceptable_at),
            _ => None,
        };
        assert_eq!(at, case.acceptable_at, "{}", case.comment);
    }
}

#[test]
fn transactions() {
    let file = read::<TransactionCase>("transactions.json");
    let params = chain(&file);
    let (chain_id, rules) = (params.chain_id(), params.rules_at(1));
    for case in &file.cases {
        let transaction: Transaction = decode_capped(&case.transaction.0, 4096).expect(&case.comment);
        assert_eq!(transaction.txid(), case.txid);
        assert_eq!(transaction.wire_id(), case.wire_id);
        assert_eq!(transaction.body.signing_message(&chain_id), case.signing_message.0);
        let found = check_transaction(transaction.clone(), rules, &chain_id);
        assert_eq!(rule(&found), case.error, "{}", case.comment);
        let batched = check_transactions(vec![transaction.clone(), transaction], rules, &chain_id, &[3; 32]);
        assert_eq!(batched.map(|all| all[1].clone()), found.map_err(|error| (0, error)), "{}", case.comment);
    }
}

#[test]
fn blocks() {
    let file = read::<BlockCase>("blocks.json");
    let params = chain(&file);
    let chain_id = params.chain_id();
    for case in &file.cases {
        let block: Block = decode(&case.block.0).expect(&case.comment);
        let header = check_header(block.header, &params).expect(&case.comment);
        let context =
            BlockContext { params: &params, chain_id: &chain_id, height: case.height, batch_secret: &[3; 32] };
        let found = check_block(header, block.body, &context);
        assert_eq!(rule(&found), case.error, "{}", case.comment);
        let index = match found {
            Err(BlockError::Transaction { index, .. }) => Some(index),
            _ => None,
        };
        assert_eq!(index, case.index, "{}", case.comment);
    }
}

#[test]
fn connections() {
    let file = read::<ConnectCase>("connect.json");
    let params = chain(&file);
    let chain_id = params.chain_id();
    for case in &file.cases {
        let (parent, state) = case.scene();
        let block: Block = decode(&case.block.0).expect(&case.comment);
        let context =
            BlockContext { params: &params, chain_id: &chain_id, height: parent.height + 1, batch_secret: &[3; 32] };
        let header = check_header(block.header, &params).expect(&case.comment);
        let checked = check_block(header, block.body.clone(), &context).expect(&case.comment);
        let found = connect_block(checked, &parent, &params, &state);
        match found {
            Ok(connected) => {
                let mut after = state.clone();
                after.apply(connected.changes());
                assert_eq!(root(&after), Ok(block.header.state_root), "{}", case.comment);
                let leaves = after.leaves.iter().map(|(key, leaf)| (*key, LeafValue::from(*leaf))).collect();
                assert_eq!(Some(leaves), case.after, "{}", case.comment);
                let Ok((before, changes)) = revert(&after, connected.undo(), parent.height + 1);
                assert_eq!(root(&state), Ok(before), "{}", case.comment);
                after.apply(&changes);
                assert_eq!(after, state, "{}", case.comment);
                assert_eq!(case.error, None, "{}", case.comment);
            }
            Err(ConnectFailure::Invalid(error)) => {
                assert_eq!(Some(error.name()), case.error, "{}", case.comment);
                let index = match error {
                    ConnectError::Transfer { index, .. } => Some(index),
                    ConnectError::StateRoot { .. } => None,
                };
                assert_eq!(index, case.index, "{}", case.comment);
                // The state is sound, so the verdict stands.
                let Ok(sound_root) = root(&state);
                assert_eq!(is_state_sound(&state, &sound_root, &parent, &params, &block.body), Ok(true));
            }
        }
    }
}

/// A block that was accepted, with the state after it and the way back.
struct Known {
    header: Header,
    parent: Parent,
    state: MemoryState,
}

/// A node of nothing but the rules: every block is judged on its parent's state; the tip has the most work, the first
/// to come wins a tie.
struct Judge<'a> {
    params: &'a ChainParams,
    chain_id: BlockHash,
    known: BTreeMap<BlockHash, Known>,
    invalid: BTreeSet<BlockHash>,
    tip: Parent,
}

impl<'a> Judge<'a> {
    fn new(params: &'a ChainParams) -> Judge<'a> {
        let header = params.genesis_block().header;
        let (hash, work) = (header.hash(), params.bits.to_target().expect("valid").work());
        let tip = Parent { height: 0, hash, work };
        let (state, _) = state_of(params.genesis_leaves());
        let known = [(hash, Known { header, parent: tip, state })].into();
        Judge { params, chain_id: hash, known, invalid: BTreeSet::new(), tip }
    }

    fn arrive(&mut self, arrival: &Arrival) -> String {
        let block: Block = decode(&arrival.block.0).expect("a block");
        match self.judge(&block, arrival.now) {
            Ok(()) => "accepted".into(),
            Err(verdict) => verdict,
        }
    }

    fn judge(&mut self, block: &Block, now: u64) -> Result<(), String> {
        let header = check_header(block.header, self.params).map_err(|error| format!("header {}", error.name()))?;
        let hash = header.hash();
        if self.invalid.contains(&block.header.prev_hash) {
            self.invalid.insert(hash);
            return Err("invalid parent".into());
        }
        let Some(known) = self.known.get(&block.header.prev_hash) else {
            return Err("missing parent".into());
        };
        let (parent, state) = (known.parent, known.state.clone());
        let grandparent_time = self.known.get(&known.header.prev_hash).map_or(0, |known| known.header.time);
        let (bits, time) = (known.header.bits, known.header.time);
        let times = ParentTimes { bits, height: parent.height, time, grandparent_time };
        let context = HeaderContext { parent_hash: parent.hash, parent: times };
        check_header_in_context(&header, &context, self.params, now)
            .map_err(|error| format!("context {}", error.name()))?;
        let height = parent.height + 1;
        let context = BlockContext { params: self.params, chain_id: &self.chain_id, height, batch_secret: &[9; 32] };
        let checked = check_block(header, block.body.clone(), &context).map_err(|error| {
            if !matches!(error, BlockError::TxRoot { .. }) {
                self.invalid.insert(hash);
            }
            format!("block {}", error.name())
        })?;
        let connected = connect_block(checked, &parent, self.params, &state).map_err(|failure| {
            let ConnectFailure::Invalid(error) = failure;
            self.invalid.insert(hash);
            format!("connect {}", error.name())
        })?;
        self.connect(block.header, &parent, state, connected);
        Ok(())
    }

    fn connect(
        &mut self,
        header: Header,
        parent: &Parent,
        before: MemoryState,
        connected: drystone_core::validation::ConnectedBlock,
    ) {
        let mut state = before.clone();
        state.apply(connected.changes());
        // The way back ends where it began.
        let Ok((_, changes)) = revert(&state, connected.undo(), connected.height());
        let mut undone = state.clone();
        undone.apply(&changes);
        assert_eq!(undone, before);
        // Nothing is made or lost but by the schedule.
        let supply = state.leaves.values().map(|leaf| match leaf {
            Leaf::Account(account) => account.balance.0,
            Leaf::Reward(reward) => reward.amount.0,
            Leaf::History(_) => 0,
        });
        let issued = self.params.allocated().0 + subsidies_through(self.params, connected.height()).0;
        assert_eq!(supply.sum::<u64>(), issued);
        let Ok(history) = history_root(&state, connected.height());
        assert_eq!(state.leaves.get(&StateKey::history()), Some(&Leaf::History(history)));

        let own = Parent { height: parent.height + 1, hash: connected.hash(), work: connected.work() };
        self.known.insert(own.hash, Known { header, parent: own, state });
        if own.work > self.tip.work {
            self.tip = own;
        }
    }
}

#[test]
fn chains() {
    let file = read::<ChainCase>("chains.json");
    let params = chain(&file);
    for case in &file.cases {
        let mut judge = Judge::new(&params);
        for arrival in &case.blocks {
            let found = judge.arrive(arrival);
            assert_eq!(found, arrival.verdict, "{}: {}", case.comment, arrival.comment);
            let tip = (judge.tip.hash, judge.tip.height);
            assert_eq!(tip, (arrival.tip, arrival.height), "{}: {}", case.comment, arrival.comment);
        }
        let state = &judge.known[&judge.tip.hash].state;
        assert_eq!(root(state), Ok(case.state_root), "{}", case.comment);
        for (id, account) in &case.accounts {
            let leaf = (*account != Account::default()).then_some(Leaf::Account(*account));
            assert_eq!(state.leaves.get(&StateKey::account(id)), leaf.as_ref(), "{}", case.comment);
        }
    }
}

/// A weekend's sleep does not end in a burst: the figures of PROTOCOL, "Difficulty".
#[test]
fn a_sleeping_network_wakes_to_a_short_burst() {
    let file = read::<SequenceCase>("wtema_sequences.json");
    let case = file.cases.iter().find(|case| case.comment.contains("sleeps")).expect("the case is there");
    // Block 11 ends the sleep; the next ones are found at the old rate under an easier target.
    let (steady, asleep) = (case.bits[10], 11);
    let work = |bits: CompactTarget| u64::try_from(bits.to_target().expect("valid").work().value()).expect("small");
    let ease = |height: usize| work(steady) as f64 / work(case.bits[height]) as f64;
    let early = |blocks: usize| {
        let spent = case.times[asleep + blocks] - case.times[asleep];
        blocks as i64 - (spent / case.timing.interval) as i64
    };
    assert_eq!(case.times[asleep] - case.times[asleep - 1], 172_800_000);
    assert_eq!((ease(12) * 100.0).round(), 499.0);
    let settled = (12..case.bits.len()).find(|height| ease(*height) < 1.1).expect("it settles") - asleep;
    assert_eq!((settled, early(settled)), (442, 182));
    assert_eq!((early(60), early(120), early(240)), (46, 85, 142));
}
