//! Attacks over real connections on real nodes, which go on agreeing, bounded in memory and on good terms with each other.
//!
//! Each test starts its own nodes on loopback and attacks them by hand-driven peers. `DRYSTONE_FLOOD_SECONDS` is how long a
//! flood lasts, 3 if it is not set; `DRYSTONE_HEADERS` is how many headers the long cheap chain has, 50,000 if it is
//! not set. Run with `--nocapture` to see what the attacks cost in memory.

mod blocks;
mod bytes;
mod claims;
mod connections;
mod floods;

use std::env;
use std::str::FromStr;

use drystone_core::block::{Block, Body, Header};
use drystone_core::params::ChainParams;
use drystone_core::validation::check_header;
use drystone_node::engine::wire::{Gossip, Request, Response, announce};
use drystone_tests::network::{CROWDED, Network};
use drystone_tests::peer::{Peer, Say};
use libp2p::PeerId;
use tempfile::TempDir;

/// What an attack may cost a node in memory, in MiB, where nothing of it is worth keeping.
const LITTLE: u64 = 60;

fn setting<T: FromStr>(name: &str, default: T) -> T {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Two honest nodes on a short chain, and the directory that they live in.
fn network(name: &str) -> (Network, TempDir) {
    network_of(&drystone_tests::network::params(name), CROWDED, 2)
}

fn network_of(params: &ChainParams, config: &str, nodes: usize) -> (Network, TempDir) {
    let root = tempfile::tempdir().expect("a writable directory");
    (Network::start(root.path(), params, config, nodes, 3), root)
}

/// A peer that has shaken hands with the first node, as an honest one would.
fn attacker(network: &Network, secret: u8) -> (Peer, PeerId) {
    let peer = Peer::start(&network.params, secret);
    let node = peer.shake(network.nodes[0].p2p(), &network.status()).expect("it lets honest peers in");
    (peer, node)
}

/// A request with everything right about it.
fn ask(request: &Request) -> Say {
    Say::Message(request.to_bytes())
}

fn respond(response: &Response) -> Say {
    Say::Message(response.to_bytes())
}

/// The same block with a header of its own that has work.
fn worked(params: &ChainParams, mut header: Header, body: Body) -> Block {
    header.tx_root = body.tx_root();
    while check_header(header, params).is_err() {
        header.nonce = header.nonce.wrapping_add(1);
    }
    Block { header, body }
}

/// The same header without work.
fn without_work(params: &ChainParams, mut header: Header) -> Header {
    while check_header(header, params).is_ok() {
        header.nonce = header.nonce.wrapping_add(1);
    }
    header
}

/// Has a peer answer for a block whatever is asked of it, honestly.
fn giving(peer: &Peer, block: &Block) {
    let (hash, body) = (block.header.hash(), block.body.clone());
    peer.answering(move |request| match request {
        Request::Bodies(hashes) => {
            respond(&Response::Bodies(hashes.iter().map(|asked| (*asked == hash).then(|| body.clone())).collect()))
        }
        Request::BlockTransactions(_, places) => {
            let given = places.iter().filter_map(|place| body.transactions.get(*place as usize)).cloned();
            respond(&Response::BlockTransactions(Some(given.collect())))
        }
        Request::Headers(_) => respond(&Response::Headers(Vec::new())),
        _ => Say::Nothing,
    });
}

fn announcement(block: &Block) -> Gossip {
    Gossip::Block(announce(block))
}
