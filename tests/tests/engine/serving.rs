//! What peers are given, and how much of it.

use drystone_core::transaction::MIN_TRANSACTION_BYTES;
use drystone_node::engine::limits::{BODIES_BYTES, RECENT_BLOCKS, REQUEST_BLOCK_BYTES, REQUEST_BURST};
use drystone_node::engine::message::{Direction, PeerEvent, PeerId, RequestId};
use drystone_node::engine::wire::{Request, Response};

use super::reconciliation::PEER;
use super::*;

/// How many requests for a block's transactions a peer that just came in has answered.
fn served(bench: &mut Bench, peer: PeerId, hash: BlockHash) -> u64 {
    bench.hear_claim(peer, Direction::Inbound, 0);
    bench.peer_as(peer, PeerEvent::Sent { id: RequestId(1) });
    for count in 0..1_000 {
        let (id, request) = (RequestId(1 + count), Request::BlockTransactions(hash, vec![]));
        for output in bench.peer_as(peer, PeerEvent::Request { id, request }) {
            match output {
                Output::Respond { response: Response::Refused, .. } => return count,
                Output::Respond { response, .. } => assert_eq!(response, Response::BlockTransactions(Some(vec![]))),
                _ => {}
            }
        }
        bench.peer_as(peer, PeerEvent::Sent { id });
    }
    panic!("never refused");
}

/// Little of a block on disk costs as much as all of it, and is charged so.
#[test]
fn transactions_of_blocks_on_disk_are_charged_by_the_block() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let blocks: Vec<Block> = (0..=RECENT_BLOCKS).map(|_| grow(&mut chain, MINER, vec![])).collect();
    // Somebody is behind, so the blocks are published.
    bench.hear_claim(PEER, Direction::Inbound, 0);
    blocks.iter().for_each(|block| assert!(bench.feed(block).result.is_ok()));
    let [oldest, .., latest] = &blocks[..] else { unreachable!() };
    let whole = bench.params.max_block_bytes.div_ceil(REQUEST_BLOCK_BYTES);
    assert!(whole > 1);
    // The handshake was one request.
    assert_eq!(served(&mut bench, PeerId([1; 32]), latest.header.hash()), REQUEST_BURST - 1);
    assert_eq!(served(&mut bench, PeerId([2; 32]), oldest.header.hash()), (REQUEST_BURST - 1) / whole);
}

/// Else a body of megabytes could be had read for an answer of a few bytes.
#[test]
fn a_body_that_was_read_is_sent() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let payments = (BODIES_BYTES / MIN_TRANSACTION_BYTES) as u64 + 1;
    let payments = (0..payments).map(|nonce| chain.pay(0, &OTHER_MINER, 1_000_000, nonce)).collect();
    let large = grow(&mut chain, MINER, payments);
    assert!(bench.feed(&large).result.is_ok());
    let peer = PeerId([1; 32]);
    bench.hear_claim(peer, Direction::Inbound, 0);
    let request = Request::Bodies(vec![BlockHash([0; 32]), large.header.hash(), large.header.hash()]);
    let outputs = bench.peer_as(peer, PeerEvent::Request { id: RequestId(2), request });
    let expected = Response::Bodies(vec![None, Some(large.body)]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Respond { response, .. } if *response == expected)));
}
