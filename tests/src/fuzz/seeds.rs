//! The inputs that fuzzing starts from: consensus vectors, the documented requests, and what real engines said to each other in
//! a simulated network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use drystone_core::encode::encode;
use drystone_core::light::{AncestorProof, TransactionProof};
use drystone_core::merkle::TRANSACTIONS;
use drystone_core::state::{StateKey, prove, prove_ancestor};
use drystone_core::{genesis, key::AccountId};
use drystone_node::engine::wire::Topic;
use drystone_wallet::chain::Chain;
use drystone_wallet::document::{Receipt, text};
use serde_json::Value;

use super::TARGETS;
use super::chain::{FIXTURE, Stage};
use super::engine::{JOBS_WAIT, Step, UNSETTLED};
use crate::random::Random;
use crate::sim::gossip::Frame;
use crate::sim::link::Packet;
use crate::sim::setup::params;
use crate::sim::{Faults, MINUTE, Setup, World};
use crate::vectors::Hex;

/// Messages of each kind that become seeds.
const EACH_KIND: usize = 6;
/// Longer messages make slow seeds and teach no more.
const LONGEST: usize = 4 << 10;

/// The folder of a target's inputs: `corpus` or `regressions`.
pub fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target)
}

/// Every target's inputs of one kind with their names, sorted.
///
/// # Panics
/// If what is there cannot be read.
pub fn inputs(kind: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder(kind, target);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.display().to_string(), fs::read(&path).expect("a readable file")))
        .collect();
    inputs.sort();
    inputs
}

/// Writes the seeds of every target anew, in place of all that its corpus has.
///
/// # Panics
/// If the folders cannot be written.
pub fn write() {
    let seeds = seeds();
    for target in TARGETS {
        let folder = folder("corpus", target.name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("the folder of the crate can be written");
        for (number, seed) in seeds[target.name].iter().enumerate() {
            fs::write(folder.join(format!("seed-{number:02}")), seed).expect("a file in it too");
        }
    }
}

/// The seeds of every target.
pub fn seeds() -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let mut seeds: BTreeMap<&'static str, Vec<Vec<u8>>> = TARGETS.iter().map(|target| (target.name, vec![])).collect();
    let mut add = |target: &str, inputs: Vec<Vec<u8>>| {
        let known = seeds.get_mut(target).expect("a target");
        inputs.into_iter().filter(|input| input.len() <= LONGEST).for_each(|input| {
            if !known.contains(&input) {
                known.push(input);
            }
        });
    };
    add("block", every(3, hexes("blocks.json", "block")));
    add("block", FIXTURE.stages.iter().skip(18).map(|stage| encode(&stage.block)).collect());
    add("transaction", hexes("transactions.json", "transaction").into_iter().take(16).collect());
    add("header", hexes("headers.json", "header"));
    add("header", FIXTURE.headers().iter().skip(19).map(encode).collect());
    let (taken, refused): (Vec<_>, Vec<_>) =
        cases("genesis.json").into_iter().partition(|case| case["error"].is_null());
    let file = |case: &Value| case["file"].to_string().into_bytes();
    add("genesis", taken.iter().map(file).collect());
    add("genesis", every(6, refused.iter().map(file).collect()));
    add("genesis", [genesis::main_params(), genesis::dev_params()].map(|params| params.to_json().into_bytes()).into());
    add("address", addresses());
    add("account_proof", account_proofs());
    add("history_proof", history_proofs());
    add("receipt", receipts());
    add("keystore", keystores());
    add("rpc", requests());
    add("engine", scripts());
    for (target, messages) in messages() {
        add(target, messages);
    }
    seeds
}

fn every(step: usize, inputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    inputs.into_iter().step_by(step).collect()
}

fn cases(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file);
    let text = fs::read_to_string(path).expect("the vectors are in the repository");
    let file: Value = serde_json::from_str(&text).expect("vectors are JSON");
    file["cases"].as_array().expect("a file has cases").clone()
}

fn hexes(file: &str, field: &str) -> Vec<Vec<u8>> {
    let hex = |case: &Value| serde_json::from_value::<Hex>(case[field].clone()).expect("hex").0;
    cases(file).iter().map(hex).collect()
}

fn addresses() -> Vec<Vec<u8>> {
    let text = |case: &Value| {
        let prefix = u8::from(case["prefix"] == "tdry");
        [&[prefix], case["address"].as_str().expect("text").as_bytes()].concat()
    };
    cases("addresses.json").iter().map(text).collect()
}

/// Accounts with and without a leaf: as the honest proof, and as its bytes.
fn account_proofs() -> Vec<Vec<u8>> {
    let of = |account: u8, stage: u8| {
        let place = FIXTURE.stages.len() as u8 - 1 - stage;
        let account_id =
            FIXTURE.keys.get(usize::from(account)).map_or(AccountId([account; 32]), |(_, account)| *account);
        let key = StateKey::account(&account_id);
        let Ok(proof) = prove(&FIXTURE.stages[usize::from(place)].state, &key);
        [vec![1, account, 1, place], [&[1, account, 0, place][..], &encode(&proof)].concat()]
    };
    [(0, 0), (3, 0), (12, 5), (99, 0), (200, 20)].into_iter().flat_map(|(account, stage)| of(account, stage)).collect()
}

fn ancestor(tip: &Stage, height: usize, below: usize) -> AncestorProof {
    let Ok(history) = prove(&tip.state, &StateKey::history());
    let Ok(path) = prove_ancestor(&tip.state, height as u64, below as u64);
    AncestorProof { history, path }
}

fn history_proofs() -> Vec<Vec<u8>> {
    let of = |(tip, below): (usize, usize)| {
        let proof = ancestor(&FIXTURE.stages[tip], tip, below);
        let head = [tip as u8, below as u8];
        [[&head[..], &[1]].concat(), [&head[..], &[0], &encode(&proof)].concat()]
    };
    [(21, 0), (21, 20), (21, 7), (16, 15), (1, 0), (0, 0), (5, 9)].into_iter().flat_map(of).collect()
}

fn receipts() -> Vec<Vec<u8>> {
    let tip_height = FIXTURE.stages.len() - 1;
    let tip = &FIXTURE.stages[tip_height];
    let of = |(height, index): (usize, usize)| {
        let stage = &FIXTURE.stages[height];
        let body = &stage.block.body;
        let proof = TransactionProof {
            transaction: body.transactions[index].clone(),
            header: stage.block.header,
            height: height as u64,
            work: stage.work,
            index: index as u64,
            count: body.transactions.len() as u64,
            path: TRANSACTIONS.path(&body.leaves(), index + 1),
            tip: tip.block.header,
            tip_height: tip_height as u64,
            ancestor: (height < tip_height).then(|| ancestor(tip, tip_height, height)),
        };
        let file = text(&Receipt::of(proof.clone(), &Chain::from(FIXTURE.params.clone())));
        [[&[1], &encode(&proof)[..]].concat(), [&[0], file.as_bytes()].concat()]
    };
    [(21, 0), (19, 2), (3, 1), (1, 0)].into_iter().flat_map(of).collect()
}

/// A keystore that the wallet made with the password "right", at the least that Argon2 does, in the states that one can be in.
fn keystores() -> Vec<Vec<u8>> {
    let whole = include_str!("keystore.json");
    let files = [
        whole.to_owned(),
        whole.replace("\"version\": 1", "\"version\": 2"),
        whole.replace("\"memory_kib\": 8,", "\"memory_kib\": 1048576,"),
        whole.replace("\"checksum\"", "\"extra\": 1, \"checksum\""),
        whole[..whole.len() / 2].to_owned(),
        "{}".to_owned(),
        r#"{"format":"drystone-keystore"}"#.to_owned(),
    ];
    let files = files.into_iter().map(|file| [&[0], file.as_bytes()].concat());
    // Its fields with a right checksum: memory, passes, lanes, each as a small number.
    let forged = [[1, 8, 2, 1, 2, 1], [1, 8, 2, 255, 2, 1], [1, 8, 2, 2, 2, 17], [0, 255, 255, 255, 255, 2]];
    files.chain(forged.map(|fields| [&[1], &fields[..], &[7; 92]].concat())).collect()
}

/// The requests of docs/RPC.md, and a batch of some.
fn requests() -> Vec<Vec<u8>> {
    let page = include_str!("../../../docs/RPC.md");
    let blocks = page.split("\n```json\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    let requests: Vec<Value> = blocks
        .filter_map(|block| serde_json::from_str::<Value>(block).ok())
        .filter(|value| value["method"].is_string())
        .collect();
    let batch = Value::Array(requests.iter().take(4).cloned().collect());
    let raw = hex::encode(encode(&FIXTURE.stages[3].block.body.transactions[0]));
    let ours = [("tx_submit", raw), ("mining_submit", hex::encode(encode(&FIXTURE.stages[21].block)))]
        .map(|(method, raw)| serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": [raw]}));
    let mut seen: Vec<String> = Vec::new();
    let mut of_each_method: Vec<Value> = Vec::new();
    for request in requests {
        let method = request["method"].to_string();
        if !seen.contains(&method) {
            seen.push(method);
            of_each_method.push(request);
        }
    }
    let all = of_each_method.into_iter().chain([batch]).chain(ours);
    all.map(|request| [&[1], request.to_string().as_bytes()].concat()).collect()
}

/// What a network of four hosts said in two hours with faults, a few messages of each kind.
fn messages() -> BTreeMap<&'static str, Vec<Vec<u8>>> {
    let faults = Faults { partition: true, churn: true, ..Faults::NONE };
    let mut world = World::new(Setup { miners: 4, params: params(), ..Setup::new(0x5eed, 4, 120 * MINUTE, faults) });
    world.arrived = Some(Vec::new());
    world.run_until(120 * MINUTE);
    let mut kinds: BTreeMap<(&'static str, u32), Vec<Vec<u8>>> = BTreeMap::new();
    for packet in world.arrived.take().expect("it was asked for") {
        let kind = |bytes: &[u8]| bytes.first_chunk().map_or(0, |kind| u32::from_le_bytes(*kind));
        let (key, bytes) = match packet {
            Packet::Request(_, bytes) => (("request", kind(&bytes)), bytes.to_vec()),
            Packet::Response(_, bytes) => (("response", kind(&bytes)), bytes.to_vec()),
            Packet::Gossip(Frame::Publish { topic, bytes, .. }) => {
                let number = u8::from(topic == Topic::Transactions);
                (("gossip", u32::from(number)), [&[number], &bytes[..]].concat())
            }
            Packet::Gossip(_) => continue,
        };
        let known = kinds.entry(key).or_default();
        // Of each length one: messages of one kind differ in what they list.
        if bytes.len() <= LONGEST && known.iter().all(|other| other.len() != bytes.len()) {
            known.push(bytes);
        }
    }
    let mut messages: BTreeMap<&'static str, Vec<Vec<u8>>> = BTreeMap::new();
    for ((target, _), mut of_kind) in kinds {
        of_kind.sort_by_key(Vec::len);
        let step = of_kind.len().div_ceil(EACH_KIND).max(1);
        messages.entry(target).or_default().extend(of_kind.into_iter().step_by(step));
    }
    messages
}

/// Scenes that a node meets, and some that nobody thought of.
fn scripts() -> Vec<Vec<u8>> {
    let step = |step: Step, rest: &[u8]| [&[step as u8], rest].concat();
    let held = |step: Step, rest: &[u8]| [&[step as u8 | UNSETTLED], rest].concat();
    // On the last block but `back`, with this many payments; 0 to 7 break a rule.
    let mine = |back: u8, payments: u8, defect: u8| step(Step::Mine, &[back, 2, 60, payments, 1, defect, back + 1]);
    let good = |back: u8| mine(back, 2, 31);
    let submit = |back: u8| step(Step::Submit, &[back]);
    let hello = |peer: u8, head: u8| {
        [step(Step::Connect, &[peer, peer, 1]), step(Step::Status, &[peer, head, 0]), step(Step::Answer, &[0])].concat()
    };
    let answers = |count: usize| step(Step::Answer, &[0]).repeat(count);
    let clock = |kind: u8, amount: u8| step(Step::Clock, &[amount, kind]);
    let chain = |length: usize| good(0).repeat(length);
    let pay = |payer: u8| step(Step::Pay, &[0, payer, 0, 9, 1, 0, 0, 0, 5, 1, 0]);
    let batch = |peer: u8, payer: u8| step(Step::Batch, &[peer, 0, 0, payer, 0, 9, 1, 0, 0, 0, 5, 1, 0]);
    let one_by_one = [good(0), submit(0)].concat().repeat(6);
    let restart = |how: u8| step(Step::Restart, &[1, 2, 3, 4, 5, 6, 7, 8, how]);

    let reorganisation =
        [one_by_one.clone(), good(6), good(0).repeat(7), (0..8).rev().flat_map(submit).collect()].concat();
    let download = [chain(12), hello(0, 0), answers(12), hello(1, 3), answers(6), clock(4, 20), answers(6)].concat();
    let announced = [
        hello(0, 0),
        hello(1, 0),
        pay(1),
        batch(0, 2),
        good(0),
        step(Step::Announce, &[0, 0, 0]),
        answers(2),
        clock(5, 10),
        good(0),
        step(Step::Announce, &[1, 0, 4]),
        step(Step::Lie, &[0, 2]),
        answers(3),
    ];
    let invalid = (0..8).flat_map(|defect| {
        [mine(1, 2, defect), mine(0, 0, 31), submit(1), submit(0), step(Step::Reconsider, &[1]), good(2), submit(0)]
            .concat()
    });
    let restarts = [0, 1, 2, 3].map(|how| [good(0), submit(0), pay(how), restart(how)].concat()).concat();
    let liars = (0..7).flat_map(|lie| {
        [hello(lie % 4, 0), step(Step::Lie, &[0, lie, 1, 2, 3, 4]), step(Step::HangUp, &[lie % 4])].concat()
    });
    let mining = [clock(4, 30), step(Step::Solve, &[1, 0, 0])].concat().repeat(6);
    let withheld = [chain(6), hello(2, 0), step(Step::Withhold, &[0]), clock(4, 30), hello(3, 0), answers(8)].concat();
    let future =
        [step(Step::Mine, &[0, 0, 0, 0, 64, 0, 1, 1, 31, 4]), submit(0), good(0), submit(0), clock(1, 9)].concat();
    let raw: Vec<u8> =
        (0..6).flat_map(|kind| [hello(0, 0), step(Step::Raw, &[0, kind, 9, 0, 1, 2])].concat()).collect();
    let asked: Vec<u8> =
        [0, 1, 2, 4].into_iter().flat_map(|kind| step(Step::Ask, &[0, kind, 3, 0, 1, 2, 2, 0, 1, 0])).collect();
    let compared = step(Step::Ask, &[&[0, 3, 0], &[9; 256][..]].concat());
    let served = [one_by_one.clone(), hello(0, 0), pay(1), pay(2), compared, asked].concat();
    // Peer 3 is not connected: what it hears of the others have and the engine does not.
    let missed = [hello(0, 0), batch(3, 1), batch(3, 2), clock(0, 2), answers(6), clock(0, 2), answers(6)].concat();
    let dialled = [
        step(Step::Discover, &[5, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]),
        clock(4, 3),
        step(Step::Dial, &[1]),
        step(Step::Dial, &[0]),
        clock(0, 9),
    ];
    let jobs = [
        chain(4),
        [&[Step::Connect as u8 | JOBS_WAIT][..], &[0, 0, 1]].concat(),
        held(Step::Status, &[0, 0, 0]),
        [&[Step::Answer as u8 | JOBS_WAIT, 0][..]; 4].concat(),
        step(Step::Work, &[1]),
        answers(4),
    ];
    let mut scripts = vec![
        one_by_one,
        reorganisation,
        download,
        announced.concat(),
        invalid.collect(),
        restarts,
        liars.collect(),
        mining,
        withheld,
        future,
        raw,
        served,
        missed,
        dialled.concat(),
        jobs.concat(),
    ];
    let mut random = Random::new(0xd1ce);
    scripts.extend((0..10).map(|_| (0..300).map(|_| random.next() as u8).collect()));
    scripts
}
