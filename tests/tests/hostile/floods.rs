//! Floods: of transactions good and bad, of gossip that costs its sender nothing, of what was said before.

use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drystone_core::encode::encode;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::transaction::Transaction;
use drystone_node::engine::wire::{Announcement, Gossip, Topic, announce};
use drystone_tests::network::Network;
use drystone_tests::peer::{Peer, Say, rpc};
use drystone_tests::program::eventually;
use libp2p::PeerId;

use super::{LITTLE, attacker, network, setting};

/// Development accounts that pay, and how many payments of one account wait at most.
const PAYERS: u8 = 8;
const WAITING: u64 = 64;

/// Payments that are valid next.
fn payments(network: &Network, payers: u8, each: u64) -> Vec<Transaction> {
    let to = SecretKey::dev(9).account();
    let of = |payer| (0..each).map(move |before| (payer, before));
    (0..payers).flat_map(of).map(|(payer, before)| network.chain.pay(payer, &to, 1_000_000, before)).collect()
}

fn waiting(network: &Network, node: usize) -> u64 {
    let info = network.nodes[node].call("mempool_info", serde_json::json!([])).expect("it answers");
    info["transactions"].as_u64().expect("a number")
}

/// Writes gossip for as long as a flood lasts, as fast as the node reads it, and prints what that did to its memory.
fn flood(
    network: &Network,
    name: &str,
    from: &Peer,
    to: PeerId,
    mut frame: impl FnMut(u64) -> Vec<u8> + Send + 'static,
) {
    let length = Duration::from_secs(setting("DRYSTONE_FLOOD_SECONDS", 3));
    let (sent, counted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (frames, bytes, end) = (Arc::clone(&sent), Arc::clone(&counted), Instant::now() + length);
    let pieces = iter::from_fn(move || {
        let frame = (Instant::now() < end).then(|| frame(frames.fetch_add(1, Ordering::Relaxed)))?;
        bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        Some(frame)
    });
    from.stream(to, Say::Flood(Box::new(pieces)));
    // It ends by itself, or with the connection.
    let (mut last, mut most) = (u64::MAX, 0);
    eventually("the flood ends", || {
        most = most.max(network.nodes[0].memory().0);
        let now = sent.load(Ordering::Relaxed);
        let over = Instant::now() > end && now == last || !from.notes().peers.contains(&to);
        last = now;
        std::thread::sleep(Duration::from_millis(100));
        over.then_some(())
    });
    let (frames, mib) = (sent.load(Ordering::Relaxed), counted.load(Ordering::Relaxed) >> 20);
    println!("{name}: {frames} frames, {mib} MiB written, {most} MiB held at most");
}

#[test]
fn invalid_transactions_ban_whoever_goes_on_with_them() {
    let (mut network, _root) = network("invalid");
    let (peer, node) = attacker(&network, 0);
    let good = payments(&network, 1, 1).remove(0);
    let mut salts = 1_u32..;
    eventually("the node hangs up", || {
        // What comes while others of the peer are being verified is ignored: a slow node takes more to see enough of them.
        for salt in salts.by_ref().take(20) {
            let mut bad = good.clone();
            bad.signature.0.iter_mut().zip(salt.to_le_bytes()).for_each(|(byte, salt)| *byte ^= salt);
            let gossip = Gossip::Transactions(vec![bad]);
            // Nobody hears it once the node has hung up.
            peer.try_publish(gossip.topic(), &gossip.to_bytes());
        }
        (!peer.notes().peers.contains(&node)).then_some(())
    });
    let counted = network.nodes[0].penalties(&peer.id).len();
    println!("invalid transactions: banned after {counted}");
    let said = network.nodes[0].lines(&[&peer.id.to_string()]);
    assert!(network.nodes[0].has_banned(&peer.id), "{said:#?}");
    assert!(network.nodes[1].penalties(&network.nodes[0].peer_id()).is_empty(), "nothing of it was passed on");
    // The good one is not held against anybody.
    let (peer, _) = attacker(&network, 1);
    peer.gossip(&Gossip::Transactions(vec![good]));
    eventually("it travels", || (waiting(&network, 1) == 1).then_some(()));
    network.is_well("invalid transactions", LITTLE);
}

#[test]
fn cheap_valid_transactions_fill_the_mempool_and_blame_nobody() {
    let (mut network, _root) = network("cheap");
    let (peer, node) = attacker(&network, 0);
    // Twice as many as may wait, in batches as nodes make them.
    let all = payments(&network, PAYERS, 2 * WAITING);
    all.chunks(128).for_each(|batch| peer.gossip(&Gossip::Transactions(batch.to_vec())));
    let most = u64::from(PAYERS) * WAITING;
    eventually("they spread", || ([0, 1].map(|node| waiting(&network, node)) == [most; 2]).then_some(()));
    network.is_well("cheap valid transactions", LITTLE);
    assert!(peer.notes().peers.contains(&node) && network.nodes[0].penalties(&peer.id).is_empty());
}

#[test]
fn mixtures_of_known_transactions_are_a_flood() {
    let (mut network, _root) = network("mixtures");
    let (peer, node) = attacker(&network, 0);
    let known = payments(&network, 1, 16);
    peer.gossip(&Gossip::Transactions(known.clone()));
    eventually("they spread", || (0..2).all(|node| waiting(&network, node) == 16).then_some(()));
    let topic = Topic::Transactions.name(&network.chain_id());
    flood(&network, "mixtures", &peer, node, move |number| {
        let batch = |salt: u64| {
            let mixture = (number * 16 + salt).to_le_bytes();
            let places = mixture[..5].iter().flat_map(|byte| [byte & 15, byte >> 4]);
            encode(&places.map(|place| known[usize::from(place)].clone()).collect::<Vec<_>>())
        };
        let batches: Vec<Vec<u8>> = (0..16).map(batch).collect();
        rpc::publish(batches.iter().map(|batch| (topic.as_str(), &batch[..])))
    });
    network.is_well("mixtures of known transactions", 2 * LITTLE);
}

#[test]
fn announcements_of_old_blocks_are_a_flood() {
    let (mut network, _root) = network("old");
    // So many that the first is no longer remembered as announced.
    for _ in 0..20 {
        let block = network.extend(Vec::new());
        network.submit(0, &block);
    }
    network.agree();
    let (peer, node) = attacker(&network, 0);
    let header = network.chain.headers()[1];
    let topic = Topic::Blocks.name(&network.chain_id());
    flood(&network, "old announcements", &peer, node, move |number| {
        let forge = |salt: u64| {
            let mut reward_to = AccountId([0; 32]);
            reward_to.0[..8].copy_from_slice(&(number * 64 + salt).to_le_bytes());
            encode(&Announcement { header, reward_to, ids: Vec::new() })
        };
        let forged: Vec<Vec<u8>> = (0..64).map(forge).collect();
        rpc::publish(forged.iter().map(|forged| (topic.as_str(), &forged[..])))
    });
    network.is_well("announcements of old blocks", 2 * LITTLE);
}

#[test]
fn gossip_on_topics_that_nobody_hears_is_not_kept() {
    let (mut network, _root) = network("topics");
    let (peer, node) = attacker(&network, 0);
    flood(&network, "large gossip on other topics", &peer, node, move |number| {
        let mut data = vec![0; 120_000];
        data[..8].copy_from_slice(&number.to_le_bytes());
        rpc::publish([("elsewhere", &data[..])])
    });
    let (peer, node) = attacker(&network, 1);
    flood(&network, "small gossip on other topics", &peer, node, move |number| {
        // Of more messages in a frame libp2p looks at none.
        let data: Vec<[u8; 8]> = (0..400).map(|salt| (number * 400 + salt).to_le_bytes()).collect();
        rpc::publish(data.iter().map(|data| ("elsewhere", &data[..])))
    });
    network.is_well("gossip on other topics", LITTLE);
}

#[test]
fn control_messages_without_end_fill_neither_memory_nor_log() {
    let (mut network, _root) = network("control");
    let (peer, node) = attacker(&network, 0);
    let names = |number: u64, count: u64| (0..count).map(move |salt| format!("{number}-{salt}"));
    flood(&network, "subscriptions", &peer, node, move |number| {
        let names: Vec<String> = names(number, 200).collect();
        rpc::subscribe(names.iter().map(String::as_str))
    });
    let (peer, node) = attacker(&network, 1);
    let topic = Topic::Blocks.name(&network.chain_id());
    flood(&network, "grafts", &peer, node, move |number| {
        let names: Vec<String> = names(number, 100).chain([topic.clone()]).collect();
        rpc::graft(names.iter().map(String::as_str))
    });
    let log = network.nodes[0].log().len();
    println!("control messages: {log} bytes of log");
    assert!(log < 100_000, "whoever likes fills the disk");
    network.is_well("control messages", LITTLE);
}

#[test]
fn what_was_said_before_is_heard_once() {
    let (mut network, _root) = network("replays");
    let block = network.extend(payments(&network, 2, 2));
    network.submit(0, &block);
    let batch = payments(&network, 1, 4);
    let (peer, node) = attacker(&network, 0);
    peer.gossip(&Gossip::Transactions(batch.clone()));
    eventually("it spreads", || (waiting(&network, 1) == 4).then_some(()));
    let topics = [Topic::Blocks, Topic::Transactions].map(|topic| topic.name(&network.chain_id()));
    let said = [encode(&announce(&block)), encode(&batch)];
    flood(&network, "replays", &peer, node, move |_| {
        let both = || topics.iter().map(String::as_str).zip(said.iter().map(Vec::as_slice));
        rpc::publish((0..8).flat_map(|_| both()))
    });
    network.is_well("replays", LITTLE);
    assert!(peer.notes().peers.contains(&node) && network.nodes[0].penalties(&peer.id).is_empty());
}
