//! Bytes that are no message: before any handshake, on the streams of requests, on those of gossip.

use std::thread;

use drystone_core::encode::encode;
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::pow::Work;
use drystone_node::engine::wire::{Announcement, Request, Response, Status, Topic};
use drystone_tests::peer::{Peer, Say, frame, plain, rpc};
use drystone_tests::program::eventually;

use super::{LITTLE, ask, attacker, network, respond, without_work};

#[test]
fn garbage_on_a_socket_is_hung_up_on() {
    let (mut network, _root) = network("garbage");
    let node = network.nodes[0].p2p();
    let garbage: [&[u8]; 5] =
        [b"", b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &[0xff; 4096], b"\x13/multistream/1.0.0\n\xff\xff\xff\xff"];
    thread::scope(|scope| {
        garbage.iter().for_each(|bytes| drop(scope.spawn(|| plain::speak(node, bytes))));
    });
    network.is_well("garbage on a socket", LITTLE);
}

#[test]
fn garbage_in_requests_and_gossip_bans_whoever_sent_it() {
    let (mut network, _root) = network("garbage");
    let request: [&[u8]; 4] = [&[9, 0, 0, 0, 1, 2], &[1, 0, 0, 0, 0xff, 0xff], &[1; 3], &[0; 400]];
    for (secret, bytes) in (0..).zip(request) {
        let (peer, node) = attacker(&network, secret);
        assert!(peer.ask(node, Say::Message(bytes.to_vec())).is_err());
        peer.is_left_by(node);
        eventually("it is banned", || network.nodes[0].has_banned(&peer.id).then_some(()));
        assert!(peer.shake(network.nodes[0].p2p(), &network.status()).is_err(), "it comes in no more");
    }
    for (secret, topic, bytes) in [(10, Topic::Blocks, vec![7; 200]), (11, Topic::Transactions, vec![0; 8])] {
        let (peer, node) = attacker(&network, secret);
        peer.publish(topic, &bytes);
        peer.is_left_by(node);
        eventually("it is banned", || network.nodes[0].has_banned(&peer.id).then_some(()));
    }
    // Bytes that are not even gossip end the stream.
    let (peer, node) = attacker(&network, 12);
    for _ in 0..3 {
        peer.stream(node, Say::Bytes(vec![0xff; 1000]));
    }
    network.is_well("garbage in requests and gossip", LITTLE);
}

#[test]
fn a_frame_over_its_cap_is_not_read_to_its_end() {
    let (mut network, _root) = network("frames");
    // Four gigabytes of a locator are announced; what is sent is all that there ever is.
    let (peer, node) = attacker(&network, 0);
    assert!(peer.ask(node, Say::Half([u32::MAX.to_le_bytes(), 1_u32.to_le_bytes()].concat())).is_err());
    peer.is_left_by(node);
    assert_eq!(network.nodes[0].penalties(&peer.id).len(), 1);

    // The same as an answer, to whoever asks for headers because the peer claims to have better ones.
    let (peer, node) = attacker(&network, 1);
    peer.answering(|request| match request {
        Request::Headers(_) => Say::Half([100_000_000_u32.to_le_bytes(), 2_u32.to_le_bytes()].concat()),
        _ => Say::Nothing,
    });
    let claim = Status { work: Work::from_hashes(1 << 40), ..network.status() };
    peer.say(node, ask(&Request::Status(claim)));
    peer.is_left_by(node);
    assert!(network.nodes[0].has_banned(&peer.id));

    // Gossip over its topic's cap but not over what libp2p takes.
    let most = Topic::Blocks.max_bytes(&network.params);
    let (peer, node) = attacker(&network, 2);
    peer.publish(Topic::Blocks, &vec![0; most + 1]);
    peer.is_left_by(node);
    assert!(network.nodes[0].has_banned(&peer.id));
    // Over that: the stream ends.
    let (peer, node) = attacker(&network, 3);
    let topic = Topic::Transactions.name(&network.chain_id());
    peer.stream(node, Say::Bytes(rpc::publish([(topic.as_str(), &vec![0; 1 << 20][..])])));
    network.is_well("frames over their cap", LITTLE);
}

#[test]
fn half_a_request_holds_nobody_up() {
    let (mut network, _root) = network("halves");
    let peers: Vec<Peer> = (0..4)
        .map(|secret| {
            let (peer, node) = attacker(&network, secret);
            let request = frame(&Request::Headers(vec![BlockHash::ZERO; 64]).to_bytes());
            // More streams than one connection may have.
            (0..100).for_each(|_| peer.say(node, Say::Half(request[..request.len() / 2].to_vec())));
            peer
        })
        .collect();
    network.is_well("halves of requests", LITTLE);
    drop(peers);
}

#[test]
fn a_header_without_work_bans_whoever_sent_it() {
    let (mut network, _root) = network("no-work");
    let next = network.chain.clone().extend(&AccountId([1; 32]), Vec::new()).block().clone();
    let header = without_work(&network.params, next.header);
    let (peer, node) = attacker(&network, 0);
    let announcement = Announcement { header, reward_to: next.body.reward_to, ids: Vec::new() };
    peer.publish(Topic::Blocks, &encode(&announcement));
    peer.is_left_by(node);
    assert_eq!(network.nodes[0].penalties(&peer.id).len(), 1);

    let (peer, node) = attacker(&network, 1);
    peer.answering(move |request| match request {
        Request::Headers(_) => respond(&Response::Headers(vec![header])),
        _ => Say::Nothing,
    });
    let claim = Status { work: Work::from_hashes(1 << 40), ..network.status() };
    peer.say(node, ask(&Request::Status(claim)));
    peer.is_left_by(node);
    assert_eq!(network.nodes[0].penalties(&peer.id).len(), 1);
    network.is_well("headers without work", LITTLE);
}
