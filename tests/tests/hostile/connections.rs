//! Who connects: too many, those of other chains and versions, and those who say nothing.

use std::net::IpAddr;

use drystone_node::engine::wire::{PROTOCOL_VERSION, Request, Response, Status};
use drystone_tests::network::{CROWDED, params, start};
use drystone_tests::peer::{Peer, plain};
use drystone_tests::program::eventually;

use super::{LITTLE, ask, network, network_of, respond};

#[test]
fn a_thousand_connections_of_one_host_leave_room_for_others() {
    let params = params("crowd");
    // As strict as any node on the internet.
    let (mut network, root) = network_of(&params, "", 2);
    let host: IpAddr = [127, 0, 0, 2].into();
    let crowd = plain::crowd(host, network.nodes[0].p2p(), 1000);
    crowd.iter().for_each(|stream| stream.set_nonblocking(true).expect("a socket"));
    let descriptors = || {
        let path = format!("/proc/{}/fd", network.nodes[0].pid());
        std::fs::read_dir(path).expect("it runs").count()
    };
    eventually("most are hung up on", || (plain::open(&crowd) <= 8).then_some(()));
    println!("a thousand connections: {} open, {} descriptors", plain::open(&crowd), descriptors());
    assert!(descriptors() < 200);
    // A newcomer from elsewhere comes in meanwhile.
    let newcomer = start(&root.path().join("newcomer"), &params, "", &[network.nodes[0].p2p()]);
    network.nodes.push(newcomer);
    network.agree();
    network.nodes.pop();
    network.is_well("a thousand connections", LITTLE);
}

#[test]
fn a_node_of_another_chain_is_told_so_and_not_banned() {
    let (mut network, root) = network("chain");
    let other = params("other-chain");
    let stranger = start(&root.path().join("stranger"), &other, CROWDED, &[network.nodes[0].p2p()]);
    let node = &network.nodes[0];
    let said = format!("it follows chain {}", other.chain_id());
    let name = stranger.peer_id().to_string();
    eventually("the node says why", || node.lines(&["WARN", "peer refused", &said, &name]).pop());
    let said = format!("it follows chain {}", network.chain_id());
    let name = node.peer_id().to_string();
    eventually("so does the stranger", || stranger.lines(&["WARN", "peer refused", &said, &name]).pop());
    assert!(!node.has_banned(&stranger.peer_id()) && !stranger.has_banned(&node.peer_id()));
    assert!(node.penalties(&stranger.peer_id()).is_empty() && stranger.penalties(&node.peer_id()).is_empty());
    network.is_well("another chain", LITTLE);
}

#[test]
fn a_peer_of_another_version_is_told_so_and_not_banned() {
    let (mut network, root) = network("version");
    let later = Status { version: PROTOCOL_VERSION + 1, ..network.status() };
    // It dials.
    let peer = Peer::start(&network.params, 0);
    let node = peer.dial(network.nodes[0].p2p()).expect("it is let in");
    // The answer may be overtaken by the end of the connection.
    let _ = peer.ask(node, ask(&Request::Status(later.clone())));
    peer.is_left_by(node);
    let said = format!("it speaks version {}", PROTOCOL_VERSION + 1);
    let name = peer.id.to_string();
    eventually("the node says why", || network.nodes[0].lines(&["WARN", "peer refused", &said, &name]).pop());
    assert!(!network.nodes[0].has_banned(&peer.id));
    // It is dialled.
    let peer = Peer::start(&network.params, 1);
    peer.answering(move |request| match request {
        Request::Status(_) => respond(&Response::Status(later.clone())),
        _ => respond(&Response::Refused),
    });
    let dialler =
        start(&root.path().join("dialler"), &network.params, CROWDED, &[peer.address, network.nodes[1].p2p()]);
    eventually("the node says why", || dialler.lines(&["WARN", "peer refused", &said, &peer.id.to_string()]).pop());
    assert!(!dialler.has_banned(&peer.id));
    network.nodes.push(dialler);
    network.agree();
    network.nodes.pop();
    network.is_well("another version", LITTLE);
}

/// It costs a stranger nothing to come again under another name, so lines of the log about it are few.
#[test]
fn who_comes_again_and_again_does_not_fill_the_log() {
    let (mut network, _root) = network("again");
    for secret in 0..100 {
        let peer = Peer::start(&network.params, secret);
        let node = peer.dial(network.nodes[0].p2p()).expect("it is let in");
        peer.ask(node, ask(&Request::Status(network.status()))).expect("it answers");
    }
    let lines = network.nodes[0].lines(&["peer connected", "Inbound"]).len();
    println!("a hundred strangers: {lines} lines");
    // Sixty at once, and one in ten seconds.
    assert!((50..90).contains(&lines), "{lines}");
    network.is_well("again and again", LITTLE);
}

#[test]
fn silence_takes_a_place_for_a_while_only() {
    let (mut network, _root) = network("silence");
    let silent: Vec<_> = (0..5)
        .map(|secret| {
            let peer = Peer::start(&network.params, secret);
            let node = peer.dial(network.nodes[0].p2p()).expect("it is let in");
            (peer, node)
        })
        .collect();
    network.is_well("silence", LITTLE);
    for (peer, node) in &silent {
        peer.is_left_by(*node);
        let name = peer.id.to_string();
        eventually("the node says why", || network.nodes[0].lines(&["did not say its status in time", &name]).pop());
        assert!(network.nodes[0].penalties(&peer.id).is_empty());
    }
}
