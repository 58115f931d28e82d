//! Networks of real node processes: a partition, nodes that go for good, and short runs of what `drystone-far` measures.
//!
//! What the long commands bound tightly is bounded here with tenfold slack, so that a busy machine fails no test.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use drystone_core::api::Hex;
use drystone_core::block::Block;
use drystone_core::hash::Txid;
use drystone_core::params::ChainParams;
use drystone_core::transaction::Transaction;
use drystone_tests::far::join::{Archive, over_links};
use drystone_tests::far::network::{links, write_genesis};
use drystone_tests::far::{
    Machine, Network, Node, PATIENCE, Payers, Start, Topology, address, calibration, eventually, key, params,
    propagation,
};
use drystone_tests::program::binary;
use drystone_tests::wan::{MS, Wan, may_run};
use serde_json::{Value, json};
use tempfile::tempdir;

/// A block that a node has on its main chain.
fn block_at(node: &Node<'_>, height: u64) -> Block {
    let block = node.call("chain_block", &json!([height, true])).expect("it is there");
    let raw: Hex<Block> = serde_json::from_value(block).expect("a block");
    raw.0
}

/// What an account has, and its next nonce.
fn account(node: &Node<'_>, params: &ChainParams, number: usize) -> (u64, u64) {
    let account = node.call("account_get", &json!([address(params, number)])).unwrap();
    (account["balance"].as_str().unwrap().parse().unwrap(), account["nonce"].as_u64().unwrap())
}

/// Payments by which a chain's accounts are reckoned up: who has what if exactly these happened.
fn balances(params: &ChainParams, accounts: usize, confirmed: &[Transaction]) -> Vec<(u64, u64)> {
    let mut balances: BTreeMap<_, (u64, u64)> =
        params.allocations.iter().map(|allocation| (allocation.account, (allocation.amount.0, 0))).collect();
    for payment in confirmed {
        let body = &payment.body;
        let from = balances.get_mut(&body.from).unwrap();
        *from = (from.0 - body.amount.0 - body.fee.0, from.1 + 1);
        balances.get_mut(&body.to).unwrap().0 += body.amount.0;
    }
    (0..accounts).map(|number| balances[&key(number).account()]).collect()
}

/// Two hosts and three are cut off from each other; both sides pay and mine, one account pays twice. Afterwards all have one
/// tip and one state, and each payment is confirmed or made impossible by one that is.
#[test]
fn a_partition_of_fifty_blocks_heals_and_every_payment_is_accounted_for() {
    if !may_run("a_partition_of_fifty_blocks_heals_and_every_payment_is_accounted_for") {
        return;
    }
    const ACCOUNTS: usize = 20;
    const MINER: usize = ACCOUNTS - 1;
    let directory = tempdir().unwrap();
    let params = ChainParams { response: 600_000, ..params(ACCOUNTS) };
    let topology = Topology::ring(5, &[(0, 2), (1, 3)]);
    let wan = Wan::new(5, links(&topology, |_, _| 5 * MS)).unwrap();
    let network = Network::start(&wan, &topology, &params, &binary("drystone-node"), directory.path());
    let (nodes, miner) = (&network.nodes, address(&params, MINER));
    let start = nodes[0].generate(1, &miner).pop().unwrap();
    network.await_tip(PATIENCE, &start);

    let side = |host: usize| usize::from(host >= 2);
    wan.set_all(|a, b| if side(a) == side(b) { links(&topology, |_, _| 5 * MS)(a, b) } else { None });
    let payers = Payers::new(&params);
    let mut paid: Vec<Transaction> = Vec::new();
    for block in 0..50_u64 {
        // Account 0 pays on both sides under the same nonces; the others pay on one side each.
        let twice = (0..2).map(|to| payers.sign(0, 5 + to, 1 + block, block));
        let here = [(0, 2), (2, 3)].map(|(host, from)| (host, payers.sign(from, 10, 7, block)));
        for (host, payment) in [0, 2].into_iter().zip(twice).chain(here) {
            nodes[host].pay(std::slice::from_ref(&payment));
            paid.push(payment);
        }
        nodes[(block % 2) as usize].generate(1, &miner);
        nodes[2 + (block % 3) as usize].generate(1, &miner);
        eventually("a side agrees", || {
            let tips: Vec<String> = nodes.iter().map(|node| node.tip().1).collect();
            (tips[0] == tips[1] && tips[2] == tips[3] && tips[3] == tips[4]).then_some(())
        });
    }
    assert_ne!(nodes[0].tip().1, nodes[2].tip().1, "the sides have gone apart");

    wan.set_all(links(&topology, |_, _| 5 * MS));
    // A block breaks the tie if there is one, and more come until nothing that can be paid waits.
    eventually("all agree and nothing waits", || {
        nodes[4].generate(1, &miner);
        eventually("all have one tip", || {
            let tips: Vec<(u64, String)> = nodes.iter().map(Node::tip).collect();
            tips.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
        });
        nodes.iter().all(|node| node.waiting() == 0).then_some(())
    });
    let (height, _) = nodes[0].tip();
    let heads: Vec<Value> = nodes.iter().map(|node| node.call("chain_head", &json!([])).unwrap()).collect();
    assert!(heads.windows(2).all(|pair| pair[0]["state_root"] == pair[1]["state_root"]), "{heads:?}");

    let confirmed: Vec<Transaction> =
        (1..=height).flat_map(|height| block_at(&nodes[3], height).body.transactions).collect();
    let spent: BTreeMap<_, Txid> =
        confirmed.iter().map(|payment| ((payment.body.from, payment.body.nonce), payment.txid())).collect();
    assert_eq!(spent.len(), confirmed.len());
    for payment in &paid {
        let by = spent.get(&(payment.body.from, payment.body.nonce));
        assert!(by.is_some(), "a payment is neither confirmed nor impossible: {payment:?}");
    }
    let twice = paid.iter().filter(|payment| payment.body.from == key(0).account());
    let won = twice.filter(|payment| spent.values().any(|txid| *txid == payment.txid())).count();
    assert_eq!(won, 50, "of each pair one is confirmed");
    let expected = balances(&params, MINER, &confirmed);
    for node in nodes {
        let found: Vec<(u64, u64)> = (0..MINER).map(|number| account(node, &params, number)).collect();
        assert_eq!(found, expected);
    }
}

/// Everybody is told of the first node alone; then that one goes, and another.
#[test]
fn any_node_can_go_for_good_also_the_only_one_that_newcomers_were_told_of() {
    let directory = tempdir().unwrap();
    let params = params(1);
    let genesis = write_genesis(directory.path(), &params);
    let miner = address(&params, 0);
    let start = |number: usize, peers: Vec<_>| {
        let root = directory.path().join(number.to_string());
        let start =
            Start { program: binary("drystone-node"), root, genesis: genesis.clone(), peers, ..Start::default() };
        Node::start(Machine::Here, &start)
    };
    let first = start(0, Vec::new());
    let (told, name) = (first.p2p, first.name.clone());
    let mut nodes: Vec<Node<'_>> = (1..4).map(|number| start(number, vec![told])).collect();
    let others =
        |node: &Node<'_>, name: &str| node.peers().iter().filter(|peer| peer.ready && peer.peer_id != name).count();
    eventually("those who know only the first find each other", || {
        nodes.iter().all(|node| others(node, &name) >= 2).then_some(())
    });
    drop(first);
    let all_have = |nodes: &[Node<'_>], hash: &str| {
        eventually("all have the block", || nodes.iter().all(|node| node.tip().1 == hash).then_some(()));
    };
    let mut hash = nodes[1].generate(5, &miner).pop().unwrap();
    all_have(&nodes, &hash);

    // A newcomer joins through one of the rest, which then goes too.
    let door = nodes.remove(0);
    nodes.push(start(4, vec![door.p2p]));
    all_have(&nodes, &hash);
    eventually("the newcomer finds the others", || (others(&nodes[2], &door.name) >= 2).then_some(()));
    drop(door);
    for number in 0..nodes.len() {
        hash = nodes[number].generate(1, &miner).pop().unwrap();
        all_have(&nodes, &hash);
    }
}

fn far(test: &str, run: impl FnOnce(&Path)) {
    if may_run(test) {
        run(tempdir().unwrap().path());
    }
}

#[test]
fn a_large_block_costs_a_link_its_announcement_and_no_more() {
    far("a_large_block_costs_a_link_its_announcement_and_no_more", |root| {
        let topology = Topology::ring(4, &[]);
        let plan = propagation::Plan { topology, latency_ms: 20, payments: 3_000, accounts: 300, warm: 1, cold: 1 };
        let outcome = propagation::run(&plan, &binary("drystone-node"), root);
        outcome.print();
        let (warm, cold) = (&outcome.warm[0], &outcome.cold[0]);
        assert!(warm.announced_per_mille() <= 45, "{warm:?}");
        // A link may carry a copy each way, and heartbeats.
        let most = 2 * warm.announcement_bytes as u64 + 20_000;
        assert!(warm.link_bytes.iter().all(|bytes| *bytes <= most), "{warm:?}");
        assert!(cold.link_bytes.iter().sum::<u64>() >= 3 * cold.block_bytes as u64, "{cold:?}");
        assert!(warm.others().iter().chain(&cold.others()).all(|time| *time < 60_000 * MS));
    });
}

#[test]
fn a_newcomer_has_a_chain_from_unequal_servers_of_which_the_busiest_dies() {
    far("a_newcomer_has_a_chain_from_unequal_servers_of_which_the_busiest_dies", |root| {
        const LINKS: [(u64, u64); 3] = [(400_000, 20), (200_000, 50), (100_000, 100)];
        let archive = Archive::make(&root.join("archive"), 1_000, 10).unwrap();
        let joined = over_links(&archive, &LINKS, &binary("drystone-node"), root);
        eprintln!("{joined:?}");
        assert!(joined.killed.is_some(), "it died half-way");
        assert!(joined.shares.iter().all(|share| share.blocks > 0), "everybody serves: {joined:?}");
        // 1.6 MB over what is left of 0.7 MB/s.
        assert!(joined.took < Duration::from_secs(100), "{joined:?}");
    });
}

#[test]
fn the_simulator_and_the_relay_agree_roughly_on_how_blocks_spread() {
    far("the_simulator_and_the_relay_agree_roughly_on_how_blocks_spread", |root| {
        let outcome = calibration::run(&calibration::Plan::of(4), &binary("drystone-node"), root);
        outcome.print();
        for percent in [50, 95] {
            let (real, simulated) = outcome.pair(percent);
            // A busy machine makes the processes late, and never the simulator.
            assert!(simulated <= 2 * real && real <= 10 * simulated, "p{percent}: {real} and {simulated} µs");
        }
    });
}
