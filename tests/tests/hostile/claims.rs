//! Chains and statuses that claim what is not so: cheap forks, absurd numbers, blocks from the future.

use drystone_core::block::{Body, Header};
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::pow::{CompactTarget, Work};
use drystone_node::engine::limits::HEADERS_PER_RESPONSE;
use drystone_node::engine::wire::{Request, Response, Status};
use drystone_tests::chain::cheap_headers;
use drystone_tests::network::{CROWDED, Network, params};
use drystone_tests::peer::Say;
use drystone_tests::program::eventually;

use super::{LITTLE, announcement, ask, attacker, network, respond, setting, worked};

/// The page of a chain that answers a locator.
fn page(headers: &[Header], locator: &[BlockHash]) -> Vec<Header> {
    let known = |hash: &BlockHash| headers.iter().position(|header| header.hash() == *hash);
    let after = locator.first().and_then(known).or_else(|| locator.iter().find_map(known)).unwrap_or(0);
    headers[after + 1..].iter().take(HEADERS_PER_RESPONSE).copied().collect()
}

#[test]
fn a_long_cheap_chain_is_counted_and_forgotten() {
    // 8,192 hashes a block at first: 400 blocks are worth more than any number of cheap ones here.
    let count: usize = setting("DRYSTONE_HEADERS", 50_000);
    let base = params("cheap");
    let age = (count as u64 + 4_000) * base.interval + 20 * 4 * base.response;
    let params = ChainParams { time: base.time - age, bits: CompactTarget(0x1f07_ffff), ..base };
    let root = tempfile::tempdir().expect("a writable directory");
    let mut network = Network::start(root.path(), &params, CROWDED, 2, 400);
    let headers = cheap_headers(&params, count);
    let (peer, node) = attacker(&network, 0);
    // Pages are made ahead, so that only the node takes time.
    let pages: Vec<(BlockHash, Vec<u8>)> = (0..headers.len() - 1)
        .step_by(HEADERS_PER_RESPONSE)
        .map(|at| {
            let page = headers[at + 1..].iter().take(HEADERS_PER_RESPONSE).copied().collect();
            (headers[at].hash(), Response::Headers(page).to_bytes())
        })
        .collect();
    let last = headers.last().expect("genesis").hash();
    peer.answering(move |request| match request {
        Request::Headers(locator) => {
            let page = locator.iter().find_map(|hash| pages.iter().find(|(first, _)| first == hash));
            match page {
                Some((_, bytes)) if locator.first() != Some(&last) => Say::Message(bytes.clone()),
                _ => respond(&Response::Headers(Vec::new())),
            }
        }
        Request::Bodies(hashes) => respond(&Response::Bodies(vec![None; hashes.len()])),
        _ => Say::Nothing,
    });
    let claim = Status { work: Work::from_hashes(1 << 60), hash: last, height: count as u64, ..network.status() };
    peer.say(node, ask(&Request::Status(claim)));
    let line = eventually("the chain is counted", || {
        network.nodes[0].lines(&["too little work ignored", &peer.id.to_string()]).pop()
    });
    assert!(line.contains(&format!("headers={count}")), "{line}");
    assert_eq!(network.nodes[0].penalties(&peer.id).len(), 1, "it claims more than it has");
    println!("{count} cheap headers: {line}");
    network.is_well("a long cheap chain", LITTLE);
}

#[test]
fn absurd_statuses_are_claims_like_any_other() {
    let (mut network, _root) = network("absurd");
    let most = Work::from_le_bytes([0xff; 32]);
    let mut peers = Vec::new();
    for (secret, height, held) in [
        (0, u64::MAX, vec![]),
        (1, u64::MAX, vec![(0, u64::MAX)]),
        (2, 0, vec![(u64::MAX, 0); 16]),
        (3, 1, vec![(0, 0), (1, u64::MAX - 1)]),
    ] {
        let (peer, node) = attacker(&network, secret);
        peer.answering(|_| respond(&Response::Refused));
        peer.say(node, ask(&Request::Status(Status { height, held, work: most, ..network.status() })));
        let unknown = Status { height, hash: BlockHash([7; 32]), work: most, ..network.status() };
        peer.ask(node, ask(&Request::Status(unknown))).expect("it answers");
        peers.push((peer, node));
    }
    network.is_well("absurd statuses", LITTLE);
    for (peer, node) in peers {
        assert!(peer.notes().peers.contains(&node), "it stays connected");
    }
}

#[test]
fn blocks_from_the_future_wait_and_blame_nobody() {
    const HOUR: u64 = 60 * 60 * 1000;
    let (mut network, _root) = network("clock");
    let (peer, node) = attacker(&network, 0);
    let next = network.chain.clone().extend(&AccountId([0x33; 32]), Vec::new()).block().clone();
    let mut headers = network.chain.headers().to_vec();
    // More than wait for their time.
    for hours in 2..40 {
        let body = Body { reward_to: AccountId([hours as u8; 32]), transactions: Vec::new() };
        let header = Header { time: next.header.time + hours * HOUR, ..next.header };
        let block = worked(&network.params, header, body);
        peer.gossip(&announcement(&block));
        headers.truncate(network.chain.headers().len());
        headers.push(block.header);
    }
    peer.answering(move |request| match request {
        Request::Headers(locator) => respond(&Response::Headers(page(&headers, locator))),
        Request::Bodies(hashes) => respond(&Response::Bodies(vec![None; hashes.len()])),
        _ => Say::Nothing,
    });
    let claim = Status { work: Work::from_hashes(1 << 40), height: 1000, ..network.status() };
    peer.ask(node, ask(&Request::Status(claim))).expect("it answers");
    eventually("headers are asked for", || {
        peer.notes().asked.iter().any(|(_, request)| matches!(request, Request::Headers(_))).then_some(())
    });
    network.is_well("blocks from the future", LITTLE);
    assert_eq!(network.nodes[0].penalties(&peer.id), Vec::<String>::new());
    assert!(peer.notes().peers.contains(&node));
}
