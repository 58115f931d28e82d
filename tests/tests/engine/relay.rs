//! How a block comes whose announcements lie.

use drystone_node::engine::limits::{ALTERNATIVES, FETCH_MS, FUTURE_ANNOUNCEMENTS, RACE_MS, RACE_RATE, TOLD_MS};
use drystone_node::engine::message::{MessageId, PeerEvent, PeerId, RequestId};
use drystone_node::engine::wire::{Announcement, Gossip, Request, Response, announce};

use super::download::body_requests;
use super::reconciliation::PEER;
use super::*;

impl Bench {
    fn hear(&mut self, peer: PeerId, announcement: Announcement) -> Vec<(PeerId, RequestId, usize)> {
        let message = MessageId(peer.0[0].into());
        let outputs = self.peer_as(peer, PeerEvent::Gossip { message, gossip: Gossip::Block(announcement) });
        missing_requests(outputs)
    }

    /// Moves on to just before a time at which nothing is to happen.
    fn assert_not_woken_at(&mut self, due: u64) {
        self.now = due - 1;
        self.settle();
        assert_ne!(self.engine.next_deadline(self.now), Some(due));
    }
}

/// Who hears this node's status, and its height.
fn told(outputs: Vec<Output>) -> Vec<(PeerId, u64)> {
    let told = outputs.into_iter().filter_map(|output| match output {
        Output::Request { peer, request: Request::Status(status), .. } => Some((peer, status.height)),
        _ => None,
    });
    told.collect()
}

/// Who is asked for how many transactions of a block.
fn missing_requests(outputs: Vec<Output>) -> Vec<(PeerId, RequestId, usize)> {
    let missing = outputs.into_iter().filter_map(|output| match output {
        Output::Request { peer, id, request: Request::BlockTransactions(_, places) } => Some((peer, id, places.len())),
        _ => None,
    });
    missing.collect()
}

/// All names of one address announce a block with too many ids, and give nothing of it: that costs the time of one answer.
#[test]
fn the_names_of_one_address_delay_a_block_but_once() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let payment = chain.pay(0, &SecretKey::dev(1).account(), 1000, 0);
    let block = grow(&mut chain, MINER, vec![payment.clone()]);
    let names: Vec<PeerId> = (1..=ALTERNATIVES as u8 + 1).map(|name| PeerId([name; 32])).collect();
    let honest = PeerId([99; 32]);
    for peer in names.iter().chain([&honest]) {
        let ip = if *peer == honest { [192, 0, 2, 2] } else { [192, 0, 2, 1] };
        bench.connect_from(ip, *peer);
        bench.claim(*peer, 0);
    }
    let mut forged = announce(&block);
    forged.ids.push([7; 6]);
    assert_eq!(bench.hear(names[0], forged.clone()).len(), 1);
    for name in &names[1..] {
        forged.ids[1][0] += 1;
        assert!(bench.hear(*name, forged.clone()).is_empty());
    }
    assert!(bench.hear(honest, announce(&block)).is_empty());
    bench.now += RACE_MS + 1_000_000 / RACE_RATE;
    let asked = missing_requests(bench.settle());
    assert!(matches!(asked[..], [(peer, _, 2)] if peer == honest), "one of another address: {asked:?}");
    bench.peer_as(honest, PeerEvent::Response { id: asked[0].1, response: Response::BlockTransactions(None) });
    bench.now += FETCH_MS;
    let asked = missing_requests(bench.settle());
    assert!(matches!(asked[..], [(peer, _, 1)] if peer == honest), "whose announcement waits: {asked:?}");
    let response = Response::BlockTransactions(Some(vec![payment]));
    bench.peer_as(honest, PeerEvent::Response { id: asked[0].1, response });
    bench.settle();
    assert_eq!(bench.tip(), block.header.hash());
}

/// A header's own time does not make it harder to find: what waits for the clock is bounded, and so is what wakes for it.
#[test]
fn announcements_from_far_ahead_leave_nothing_behind() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let mut low = grow(&mut chain.clone(), OTHER_MINER, vec![]);
    assert!(bench.feed(&grow(&mut chain, MINER, vec![])).result.is_ok());
    assert!(bench.feed(&grow(&mut chain, MINER, vec![])).result.is_ok());
    let mut block = grow(&mut chain, MINER, vec![]);
    bench.connect_from([192, 0, 2, 1], PEER);
    bench.claim(PEER, 0);
    let soon = bench.now + 1_000;
    low.header.time = soon + bench.params.max_future;
    rework(&bench.params, &mut low);
    bench.hear(PEER, announce(&low));
    let start = bench.now + 3_600_000;
    let dues: Vec<u64> = (0..=FUTURE_ANNOUNCEMENTS as u64).map(|number| start + number * 60_000).collect();
    for due in &dues {
        block.header.time = due + bench.params.max_future;
        rework(&bench.params, &mut block);
        bench.hear(PEER, announce(&block));
    }
    bench.assert_not_woken_at(soon);
    bench.peer(PeerEvent::Disconnected);
    dues.into_iter().for_each(|due| bench.assert_not_woken_at(due));
}

/// Gossip may bring it to nobody: who ignored an announcement once, as the blocks below were missing, drops its copies.
#[test]
fn whoever_is_behind_soon_hears_of_a_tip_that_was_downloaded() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let blocks: Vec<Block> = (0..3).map(|_| grow(&mut chain, MINER, vec![])).collect();
    let behind = PeerId([1; 32]);
    bench.connect_from([192, 0, 2, 1], behind);
    bench.claim(behind, 0);
    let mut asked = bench.meet_ahead(PEER, chain.headers());
    while !asked.is_empty() {
        asked = bench.give_bodies(asked, &blocks);
        asked.extend(body_requests(bench.settle()));
    }
    assert_eq!(bench.tip(), chain.tip().hash);
    bench.now += TOLD_MS;
    assert_eq!(told(bench.settle()), [(behind, 3)]);
}
