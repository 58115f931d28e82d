//! Blocks whose header has its work, and of which something else is a lie.

use std::collections::BTreeSet;
use std::time::Duration;

use drystone_core::block::{Block, Body};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::transaction::Transaction;
use drystone_node::engine::wire::{Announcement, Gossip, Request, Response, Topic, announce};
use drystone_tests::network::Network;
use drystone_tests::peer::{Peer, Say, frame};
use drystone_tests::program::eventually;

use super::{LITTLE, announcement, ask, attacker, giving, network, respond, worked};

/// Payments that no node has.
fn payments(network: &Network, count: u64) -> Vec<Transaction> {
    let to = SecretKey::dev(1).account();
    (0..count).map(|before| network.chain.pay(0, &to, 1_000_000, before)).collect()
}

/// A valid block on the tip that is not the one that the chain goes on with.
fn rival(network: &Network, miner: u8, transactions: Vec<Transaction>) -> Block {
    network.chain.clone().extend(&AccountId([miner; 32]), transactions).block().clone()
}

/// The announcement with other ids, or for another reward, the further the variant is from 0 the more.
fn forge(block: &Block, variant: u8) -> Announcement {
    let mut forged = announce(block);
    let salt = 1 + variant;
    match variant % 4 {
        0 => forged.reward_to.0[0] ^= salt,
        1 => forged.ids[0][0] ^= salt,
        2 => forged.ids = vec![[salt; 6]; usize::from(salt)],
        _ => forged.ids.extend(vec![[salt; 6]; usize::from(salt)]),
    }
    forged
}

/// The different announcements of a block that a peer heard.
fn announcements(peer: &Peer, block: &Block) -> BTreeSet<Vec<u8>> {
    let header = drystone_core::encode::encode(&block.header);
    let notes = peer.notes();
    let blocks = notes.heard.iter().filter(|(_, topic, _)| *topic == Topic::Blocks);
    blocks.filter(|(.., bytes)| bytes.starts_with(&header)).map(|(.., bytes)| bytes.clone()).collect()
}

/// A peer that only listens to the last node.
fn listener(network: &Network, secret: u8) -> Peer {
    let peer = Peer::start(&network.params, secret);
    let last = network.nodes.last().expect("there are some").p2p();
    peer.shake(last, &network.status()).expect("it lets honest peers in");
    peer.answering(|_| Say::Nothing);
    peer
}

#[test]
fn of_many_announcements_of_a_block_the_network_carries_the_right_one() {
    let (mut network, _root) = network("forged");
    let block = network.extend(payments(&network, 3));
    let right = announce(&block);
    let listener = listener(&network, 90);
    // Each tells a lie of its own, and has no transaction for whoever asks.
    let forgers: Vec<_> = (0..12).map(|secret| attacker(&network, secret)).collect();
    for (variant, (forger, _)) in (0..).zip(&forgers) {
        forger.answering(|request| match request {
            Request::BlockTransactions(..) => respond(&Response::BlockTransactions(None)),
            Request::Bodies(hashes) => respond(&Response::Bodies(vec![None; hashes.len()])),
            _ => Say::Nothing,
        });
        forger.gossip(&Gossip::Block(forge(&block, variant)));
    }
    // The one who has the block comes last.
    let (honest, node) = attacker(&network, 60);
    giving(&honest, &block);
    honest.gossip(&announcement(&block));
    network.agree();
    eventually("the last of the network hears of it", || (!announcements(&listener, &block).is_empty()).then_some(()));
    // From here on a forgery is told at sight.
    for (variant, (forger, node)) in (12..).zip(&forgers) {
        forger.gossip(&Gossip::Block(forge(&block, variant)));
        forger.is_left_by(*node);
        assert!(network.nodes[0].has_banned(&forger.id));
    }
    network.is_well("forged announcements", LITTLE);
    assert_eq!(announcements(&listener, &block), BTreeSet::from([Gossip::Block(right).to_bytes()]));
    assert!(honest.notes().peers.contains(&node) && network.nodes[0].penalties(&honest.id).is_empty());
    println!("forged announcements: 24 variants published, 1 heard at the other end");
}

#[test]
fn a_body_that_is_not_the_blocks_bans_whoever_gave_it() {
    let (mut network, _root) = network("bodies");
    let others = network.chain.pay(2, &AccountId([9; 32]), 1_000_000, 0);
    let lies = [vec![others.clone()], vec![others; 3]];
    // A block for each: of two that announce the same, gossip lets one through.
    let blocks = [3, 4].map(|miner| rival(&network, miner, payments(&network, 3)));
    for (secret, (given, block)) in (0..).zip(lies.into_iter().zip(&blocks)) {
        let (peer, node) = attacker(&network, secret);
        let (header, body) = (block.header, Body { transactions: given.clone(), ..block.body.clone() });
        peer.answering(move |request| match request {
            Request::BlockTransactions(..) => respond(&Response::BlockTransactions(Some(given.clone()))),
            Request::Bodies(hashes) => respond(&Response::Bodies(vec![Some(body.clone()); hashes.len()])),
            Request::Headers(_) => respond(&Response::Headers(vec![header])),
            _ => Say::Nothing,
        });
        peer.gossip(&announcement(block));
        peer.is_left_by(node);
        assert!(network.nodes[0].has_banned(&peer.id));
    }
    // Nobody holds the lies against the block: who says that it has it is asked for it.
    let block = &blocks[0];
    let (peer, node) = attacker(&network, 2);
    giving(&peer, block);
    network.chain.extend(&block.body.reward_to, block.body.transactions.clone());
    peer.ask(node, ask(&Request::Status(network.status()))).expect("it answers");
    network.agree();
    assert!(peer.notes().peers.contains(&node));
    network.is_well("bodies of other blocks", LITTLE);
}

#[test]
fn a_worked_block_with_a_bad_signature_costs_no_honest_node_its_score() {
    let (mut network, _root) = network("signature");
    let good = rival(&network, 2, payments(&network, 2));
    let mut body = good.body.clone();
    body.transactions[1].signature.0[40] ^= 1;
    let bad = worked(&network.params, good.header, body);
    let listener = listener(&network, 90);
    let (peer, node) = attacker(&network, 0);
    giving(&peer, &bad);
    peer.gossip(&announcement(&bad));
    let hash = bad.header.hash().to_string();
    for node in &network.nodes {
        eventually("everybody sees through it", || node.lines(&["block is invalid", &hash]).pop());
    }
    eventually("it was passed on all the same", || (!announcements(&listener, &bad).is_empty()).then_some(()));
    assert!(peer.notes().peers.contains(&node), "who passes it on need not have noticed");
    network.is_well("a bad signature under work", LITTLE);
    // A wrong state is found by connecting alone.
    let good = rival(&network, 2, payments(&network, 2));
    let mut header = good.header;
    header.state_root.0[0] ^= 1;
    let bad = worked(&network.params, header, good.body);
    giving(&peer, &bad);
    peer.gossip(&announcement(&bad));
    let hash = bad.header.hash().to_string();
    for node in &network.nodes {
        eventually("everybody sees through it", || node.lines(&["block is invalid", &hash]).pop());
    }
    network.is_well("a bad state under work", LITTLE);
}

#[test]
fn bodies_that_trickle_stop_nobody() {
    let (mut network, root) = network("loris");
    let block = rival(&network, 2, payments(&network, 40));
    let (peer, _) = attacker(&network, 0);
    let (hash, body) = (block.header.hash(), block.body.clone());
    let slow = move |response: Response| Say::Trickle(frame(&response.to_bytes()), 1, Duration::from_millis(200));
    peer.answering(move |request| match request {
        Request::BlockTransactions(..) => slow(Response::BlockTransactions(Some(body.transactions.clone()))),
        Request::Bodies(hashes) => {
            slow(Response::Bodies(hashes.iter().map(|asked| (*asked == hash).then(|| body.clone())).collect()))
        }
        Request::Headers(_) => respond(&Response::Headers(vec![block.header])),
        _ => Say::Nothing,
    });
    peer.gossip(&announcement(&block));
    eventually("the body is asked for", || {
        let notes = peer.notes();
        notes.asked.iter().any(|(_, request)| matches!(request, Request::BlockTransactions(..))).then_some(())
    });
    network.is_well("a body byte by byte", LITTLE);

    // A newcomer that meets the trickle first has the chain from somebody else.
    let newcomer = drystone_tests::network::start(
        &root.path().join("newcomer"),
        &network.params,
        drystone_tests::network::CROWDED,
        &[peer.address, network.nodes[1].p2p()],
    );
    network.nodes.push(newcomer);
    network.agree();
    network.nodes.pop();
    // Slowness is no lie.
    assert_eq!(network.nodes[0].penalties(&peer.id), Vec::<String>::new());
}
