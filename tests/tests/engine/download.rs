//! What goes on beside a download: blocks handed in, blocks from the future, forks far below.

use drystone_core::block::Header;
use drystone_core::hash::TxRoot;
use drystone_core::pow::Work;
use drystone_node::engine::limits::{
    BODIES_MS, HEADERS_AHEAD, HEADERS_MS, HEADERS_PER_RESPONSE, HEADERS_REST_MS, INDEX_WINDOW, REFUSALS,
    REFUSED_REST_MS, UNAVAILABLE_MS, WAITING_INPUTS,
};
use drystone_node::engine::message::{Direction, MessageId, NetEvent, PeerEvent, PeerId, RequestId};
use drystone_node::engine::wire::{Gossip, PROTOCOL_VERSION, Request, Response, Status, announce};
use drystone_tests::chain::cheap_fork;

use super::reconciliation::PEER;
use super::*;

/// Requests for bodies: of which blocks.
pub(super) type BodyRequests = Vec<(RequestId, Vec<BlockHash>)>;

pub(super) fn body_requests(outputs: Vec<Output>) -> BodyRequests {
    let bodies = outputs.into_iter().filter_map(|output| match output {
        Output::Request { id, request: Request::Bodies(hashes), .. } => Some((id, hashes)),
        _ => None,
    });
    bodies.collect()
}

/// Who is asked for headers.
fn header_requests(outputs: Vec<Output>) -> Vec<(PeerId, RequestId)> {
    let headers = outputs.into_iter().filter_map(|output| match output {
        Output::Request { peer, id, request: Request::Headers(_) } => Some((peer, id)),
        _ => None,
    });
    headers.collect()
}

impl Bench {
    /// A peer that has the chain of these headers, genesis first, which is the engine's tip, and gives them; which bodies it is
    /// asked for in the end.
    pub(super) fn meet_ahead(&mut self, peer: PeerId, headers: &[Header]) -> BodyRequests {
        let last = headers.last().expect("genesis is the first");
        let work_of = |header: &Header| header.bits.to_target().expect("the rule gave it").work();
        let height = headers.len() as u64 - 1;
        let status = Status {
            version: PROTOCOL_VERSION,
            chain_id: self.params.chain_id(),
            height,
            hash: last.hash(),
            work: headers[1..].iter().fold(self.engine.tip().work, |work, header| work.saturating_add(work_of(header))),
            state_root: last.state_root,
            held: vec![(0, height)],
        };
        let (address, direction) = (([192, 0, 2, peer.0[0]], 1).into(), Direction::Outbound);
        let mut said = self.peer_as(peer, PeerEvent::Connected { address, direction });
        while let Some((id, response)) = said.iter().find_map(|output| match output {
            Output::Request { peer: of, .. } if *of != peer => None,
            Output::Request { id, request: Request::Status(_), .. } => Some((*id, Response::Status(status.clone()))),
            Output::Request { id, request: Request::Headers(locator), .. } => {
                let next = headers.iter().rposition(|header| locator.contains(&header.hash())).map_or(0, |at| at + 1);
                Some((*id, Response::Headers(headers[next..].iter().take(HEADERS_PER_RESPONSE).copied().collect())))
            }
            _ => None,
        }) {
            said = self.peer_as(peer, PeerEvent::Response { id, response });
            said.extend(self.settle());
        }
        body_requests(said)
    }

    /// A peer shakes hands and claims so many times the tip's work more; who is asked for headers.
    pub(super) fn hear_claim(&mut self, peer: PeerId, direction: Direction, more: u8) -> Vec<(PeerId, RequestId)> {
        let address = ([192, 0, 2, peer.0[0]], 1).into();
        self.peer_as(peer, PeerEvent::Connected { address, direction });
        self.claim(peer, more)
    }

    /// A peer claims so many times the tip's work more; who is asked for headers.
    pub(super) fn claim(&mut self, peer: PeerId, more: u8) -> Vec<(PeerId, RequestId)> {
        let mut asked = self.claim_in_passing(peer, more);
        asked.extend(header_requests(self.settle()));
        asked
    }

    /// Like [`Bench::claim`], with nothing done beside.
    fn claim_in_passing(&mut self, peer: PeerId, more: u8) -> Vec<(PeerId, RequestId)> {
        let tip = *self.engine.tip();
        let status = Status {
            version: PROTOCOL_VERSION,
            chain_id: self.params.chain_id(),
            height: tip.height + u64::from(more),
            hash: BlockHash([more; 32]),
            work: (0..more).fold(tip.work, |work, _| work.saturating_add(tip.work)),
            state_root: StateRoot([0; 32]),
            held: vec![],
        };
        let request = Request::Status(status);
        header_requests(self.peer_as(peer, PeerEvent::Request { id: RequestId(1), request }))
    }

    /// The peer gives the bodies that it was asked for; which it is asked for then.
    pub(super) fn give_bodies(&mut self, asked: BodyRequests, blocks: &[Block]) -> BodyRequests {
        let mut next = BodyRequests::new();
        for (id, hashes) in asked {
            let wanted = blocks.iter().filter(|block| hashes.contains(&block.header.hash()));
            let bodies = wanted.map(|block| Some(block.body.clone())).collect();
            next.extend(body_requests(self.peer(PeerEvent::Response { id, response: Response::Bodies(bodies) })));
        }
        next
    }
}

/// What is downloaded is committed many blocks at a time; who hands one in does not wait for the others.
#[test]
fn a_block_handed_in_during_a_download_has_its_verdict_at_once() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let blocks: Vec<Block> = (0..64).map(|_| grow(&mut chain, MINER, vec![])).collect();
    bench.meet_ahead(PEER, chain.headers());
    assert_eq!(bench.engine.missing_blocks(), blocks.len());
    for (block, height) in blocks.iter().zip(1..=3) {
        assert_eq!(bench.feed(block).result, Ok(Accepted::Connected { height }));
        assert_eq!(bench.tip(), block.header.hash());
    }
}

/// The same where the next blocks have come and are ready.
#[test]
fn a_block_handed_in_among_downloaded_ones_has_its_verdict_before_they_are_connected() {
    let mut bench = Bench::new();
    let (mut chain, mut beside) = (TestChain::new(&bench.params), TestChain::new(&bench.params));
    let blocks: Vec<Block> = (0..200).map(|_| grow(&mut chain, MINER, vec![])).collect();
    let mut asked = bench.meet_ahead(PEER, chain.headers());
    let count = |asked: &BodyRequests| asked.iter().map(|(_, hashes)| hashes.len()).sum::<usize>();
    // Whoever answers is asked for more each time.
    for _ in 0..20 {
        if count(&asked) >= 8 {
            break;
        }
        bench.now += 100;
        asked = bench.give_bodies(asked, &blocks);
        asked.extend(body_requests(bench.settle()));
    }
    assert!(count(&asked) >= 8, "{asked:?}");
    bench.give_bodies(asked, &blocks);
    let block = Box::new(checked(&bench.params, &grow(&mut beside, OTHER_MINER, vec![])));
    let origin = Origin::Rpc(Token(1));
    let mut outputs = bench.engine.handle(bench.now, Input::Block { origin, block }).expect("store works");
    let mut calls = 1;
    while !outputs.iter().any(|output| matches!(output, Output::Verdict { .. })) {
        assert!(calls < 4, "no verdict after {calls} calls, of which each may connect a block");
        outputs = bench.engine.handle(bench.now, Input::Tick).expect("store works");
        calls += 1;
    }
    let left = bench.engine.missing_blocks();
    bench.settle();
    assert!(bench.engine.missing_blocks() + 4 < left, "others were ready");
}

#[test]
fn a_block_from_the_future_is_not_kept_waiting_by_a_download() {
    let mut bench = Bench::new();
    let (mut chain, mut beside) = (TestChain::new(&bench.params), TestChain::new(&bench.params));
    let early = bench.now - bench.params.time + bench.params.max_future + 100;
    let future = beside.extend_after(early, &OTHER_MINER, vec![]).block().clone();
    assert_eq!(bench.feed(&future).result, Err(Refusal::FromFuture { acceptable_at: bench.now + 100 }));
    let blocks: Vec<Block> = (0..64).map(|_| grow(&mut chain, MINER, vec![])).collect();
    let asked = bench.meet_ahead(PEER, chain.headers());
    bench.give_bodies(asked, &blocks);
    bench.settle();
    assert!(bench.engine.is_updating(), "it waits for more");
    bench.now += 100;
    bench.settle();
    assert_eq!(bench.feed(&future).result, Err(Refusal::KnownBlock));
}

/// The window of the index is full of higher blocks, so that none of the fork's stays in it.
#[test]
fn a_fork_far_below_the_latest_headers_is_taken() {
    let mut bench = Bench::new();
    let main = cheap_fork(&bench.params, INDEX_WINDOW + 10, TxRoot([1; 32]));
    bench.meet_ahead(PEER, &main);
    assert_eq!(bench.engine.missing_blocks(), main.len() - 1);
    let fork = cheap_fork(&bench.params, INDEX_WINDOW + 20, TxRoot([2; 32]));
    bench.meet_ahead(PeerId([8; 32]), &fork);
    let snapshot = bench.store.snapshot().expect("reads");
    for header in &fork {
        assert!(snapshot.header(&header.hash()).expect("reads").is_some());
    }
    let mut chain = TestChain::new(&bench.params);
    for _ in 0..3 {
        let block = grow(&mut chain, MINER, vec![]);
        assert_eq!(bench.feed(&block).result, Ok(Accepted::Connected { height: chain.tip().height }));
    }
}

/// Cheap headers run ahead of a tip that much work went into: they count only once their own is more.
#[test]
fn a_heavier_chain_of_many_more_and_easier_blocks_is_followed_to_where_it_is_heavier() {
    let mut bench = Bench::new();
    let heavier = cheap_fork(&bench.params, 24_000, TxRoot([1; 32]));
    let work = |header: &Header| header.bits.to_target().expect("the rule gave it").work();
    let of = |count: usize| heavier[1..=count].iter().fold(Work::ZERO, |sum, header| sum.saturating_add(work(header)));
    let enough = of(20_000);
    let mut chain = TestChain::new(&bench.params);
    while chain.tip().work < enough {
        let block = chain.extend_after(1, &MINER, vec![]).block().clone();
        assert!(bench.feed(&block).result.is_ok());
    }
    let height = chain.tip().height as usize;
    let stops = (height + HEADERS_AHEAD as usize).next_multiple_of(HEADERS_PER_RESPONSE);
    assert!(of(stops) < chain.tip().work && chain.tip().work < of(24_000), "{height} own blocks");
    bench.meet_ahead(PEER, &heavier);
    let missing = bench.engine.missing_blocks();
    assert!(missing > 0 && of(missing) > chain.tip().work, "{missing} blocks are missing");
}

/// That a head is left alone shows in the path only when the update is over; until then nothing is to be done again and again.
#[test]
fn whoever_has_the_rest_may_leave_during_an_update() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let blocks: Vec<Block> = (0..64).map(|_| grow(&mut chain, MINER, vec![])).collect();
    bench.hear_claim(PeerId([1; 32]), Direction::Inbound, 0);
    let asked = bench.meet_ahead(PEER, chain.headers());
    bench.give_bodies(asked, &blocks);
    bench.settle();
    assert!(bench.engine.is_updating() && bench.engine.missing_blocks() > 0, "it waits for more");
    let mut outputs = bench.peer(PeerEvent::Disconnected);
    outputs.extend(bench.settle());
    assert_eq!(left_alone(&outputs), 1);
    bench.now += 60_000;
    bench.settle();
    assert!(!bench.engine.is_updating());
}

#[test]
fn one_missed_deadline_of_the_only_peer_ends_no_download() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    (0..64).for_each(|_| drop(grow(&mut chain, MINER, vec![])));
    let asked = bench.meet_ahead(PEER, chain.headers());
    let (first, hashes) = asked.first().expect("it has them").clone();
    bench.now += 3 * BODIES_MS;
    bench.settle();
    assert_eq!(bench.engine.missing_blocks(), 64, "the node is as far behind as before");
    bench.now += 2 * BODIES_MS;
    let late = bench.peer(PeerEvent::NoResponse { id: first });
    assert!(body_requests(late).is_empty(), "it rests");
    bench.now += 3 * BODIES_MS;
    let again = body_requests(bench.settle());
    assert!(again.iter().any(|(_, again)| again.contains(&hashes[0])), "{again:?}");
    bench.now += 6 * BODIES_MS;
    bench.settle();
    assert_eq!(bench.engine.missing_blocks(), 0, "nobody is left who might have the first");
}

/// A link that fails for a while makes all requests late that were under way, and counts once.
#[test]
fn two_requests_late_for_one_reason_are_both_made_again() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let blocks: Vec<Block> = (0..400).map(|_| grow(&mut chain, MINER, vec![])).collect();
    let mut asked = bench.meet_ahead(PEER, chain.headers());
    for _ in 0..40 {
        if asked.len() > 1 {
            break;
        }
        bench.now += 100;
        asked = bench.give_bodies(asked, &blocks);
        asked.extend(body_requests(bench.settle()));
    }
    assert!(asked.len() > 1, "two are under way: {asked:?}");
    let left = bench.engine.missing_blocks();
    // The longer has as much time as its bodies may take.
    bench.now += 10 * BODIES_MS;
    bench.settle();
    assert_eq!(bench.engine.missing_blocks(), left, "nothing is given up");
    asked.clear();
    for _ in 0..400 {
        if bench.tip() == chain.tip().hash {
            return;
        }
        bench.now += 100;
        asked.extend(body_requests(bench.settle()));
        asked = bench.give_bodies(asked, &blocks);
    }
    panic!("{} are still missing", bench.engine.missing_blocks());
}

#[test]
fn who_claims_and_gives_nothing_keeps_nobody_from_giving_headers() {
    claim_and_give(|_| vec![]);
}

#[test]
fn who_claims_much_and_gives_little_keeps_nobody_from_giving_headers() {
    claim_and_give(|round| cheap_fork(&dev_params(), 1, TxRoot([round; 32])).split_off(1));
}

/// Two that come in take both places for headers, and take nearly all the time that they may, again and again.
fn claim_and_give(given: impl Fn(u8) -> Vec<Header>) {
    let [one, other, came] = [1, 2, 3].map(|number| PeerId([number; 32]));
    let mut bench = Bench::new();
    let mut asked = bench.hear_claim(one, Direction::Inbound, 10);
    asked.extend(bench.hear_claim(other, Direction::Inbound, 10));
    assert_eq!(asked.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [one, other]);
    assert!(bench.hear_claim(came, Direction::Inbound, 10).is_empty(), "two are enough");
    for round in 0..20 {
        bench.now += HEADERS_MS - 1;
        let mut next = header_requests(bench.settle());
        for (peer, id) in asked {
            let response = Response::Headers(given(2 * round + peer.0[0]));
            next.extend(header_requests(bench.peer_as(peer, PeerEvent::Response { id, response })));
            next.extend(header_requests(bench.settle()));
            next.extend(bench.claim(peer, 11 + round));
        }
        if next.iter().any(|(peer, _)| *peer == came) {
            assert!(round < 2, "asked only in round {round}");
            return;
        }
        asked = next;
    }
    panic!("never asked");
}

/// While a peer gives headers another is preferred for bodies; this one alone has them and is asked when it is done.
#[test]
fn bodies_are_asked_for_as_soon_as_their_only_holder_has_no_more_headers() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let blocks: Vec<Block> = (0..2).map(|_| grow(&mut chain, MINER, vec![])).collect();
    bench.hear_claim(PeerId([1; 32]), Direction::Inbound, 0);
    bench.hear_claim(PEER, Direction::Inbound, 0);
    let gossip = Gossip::Block(announce(&blocks[1]));
    let mut outputs = bench.peer(PeerEvent::Gossip { message: MessageId(1), gossip });
    let mut given = chain.headers()[1..].to_vec();
    for _ in 0..10 {
        let of_bodies = |output: &Output| matches!(output, Output::Request { request: Request::Bodies(_), .. });
        let (bodies, rest) = outputs.into_iter().partition(of_bodies);
        let (bodies, asked) = (body_requests(bodies), header_requests(rest));
        if !bodies.is_empty() {
            assert!(
                given.is_empty() && bodies[0].1 == [blocks[0].header.hash(), blocks[1].header.hash()],
                "{bodies:?}"
            );
            return;
        }
        outputs = bench.settle();
        for (peer, id) in asked {
            assert_eq!(peer, PEER);
            let response = Response::Headers(std::mem::take(&mut given));
            outputs.extend(bench.peer(PeerEvent::Response { id, response }));
            outputs.extend(bench.settle());
        }
        bench.now += HEADERS_REST_MS / 2;
    }
    panic!("nobody is asked for the bodies");
}

/// How often a head is left alone.
fn left_alone(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Net(NetEvent::Unavailable { .. }))).count()
}

/// Who is over a limit is honest; who always is gives nothing.
#[test]
fn a_head_whose_only_holder_refuses_all_the_time_is_left_alone() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    grow(&mut chain, MINER, vec![]);
    let mut asked = bench.meet_ahead(PEER, chain.headers());
    let (mut refused, mut outputs) = (0, Vec::new());
    while left_alone(&outputs) == 0 {
        assert!(refused <= REFUSALS, "asked once more after {refused} refusals");
        for (id, _) in std::mem::take(&mut asked) {
            refused += 1;
            outputs.extend(bench.peer(PeerEvent::Response { id, response: Response::Refused }));
        }
        outputs.extend(bench.settle());
        bench.now += REFUSED_REST_MS;
        asked = body_requests(bench.settle());
    }
    assert_eq!(refused, REFUSALS + 1);
    // When it is tried again, one refusal is one.
    bench.now += UNAVAILABLE_MS;
    let asked = body_requests(bench.settle());
    assert!(!asked.is_empty(), "it is asked again");
    let mut outputs = bench.peer(PeerEvent::Response { id: asked[0].0, response: Response::Refused });
    outputs.extend(bench.settle());
    assert_eq!(left_alone(&outputs), 0);
}

/// To have heard of a block is not to have it.
#[test]
fn who_does_not_hold_a_block_has_nobody_asked_for_it_again() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    grow(&mut chain, MINER, vec![]);
    let asked = bench.meet_ahead(PEER, chain.headers());
    let response = Response::Bodies(vec![None]);
    let mut outputs = bench.peer(PeerEvent::Response { id: asked[0].0, response });
    outputs.extend(bench.settle());
    assert_eq!(left_alone(&outputs), 1);
    let heard = PeerId([1; 32]);
    bench.hear_claim(heard, Direction::Inbound, 0);
    for holds in [false, true] {
        let tip = chain.tip();
        let status = Status {
            version: PROTOCOL_VERSION,
            chain_id: bench.params.chain_id(),
            height: tip.height,
            hash: tip.hash,
            work: tip.work,
            state_root: chain.headers()[1].state_root,
            held: if holds { vec![(1, 1)] } else { vec![] },
        };
        let request = Request::Status(status);
        let mut outputs = bench.peer_as(heard, PeerEvent::Request { id: RequestId(2), request });
        outputs.extend(bench.settle());
        assert_eq!(body_requests(outputs).is_empty(), !holds);
    }
}

/// What waits for a long update has bounds: blocks by their number, pages of headers by their givers.
#[test]
fn what_waits_for_a_long_update_does_not_grow_with_what_peers_send() {
    let mut bench = Bench::new();
    let (mut ours, theirs) = fork(&mut bench, 140, 140);
    let siblings: Vec<Block> = (100..180)
        .map(|number| {
            let mut other = ours.clone();
            grow(&mut other, AccountId([number; 32]), vec![])
        })
        .collect();
    assert!(bench.feed(&grow(&mut ours, MINER, vec![])).result.is_ok());
    bench.hear_claim(PEER, Direction::Inbound, 0);
    let mut heavier = theirs;
    for _ in 0..2 {
        let block = grow(&mut heavier, OTHER_MINER, vec![]);
        let block = Box::new(checked(&bench.params, &block));
        bench.engine.handle(bench.now, Input::Block { origin: Origin::Own, block }).expect("store works");
    }
    bench.engine.handle(bench.now, Input::Tick).expect("store works");
    assert!(bench.engine.is_updating());
    for (number, block) in siblings.iter().enumerate() {
        let (message, gossip) = (MessageId(number as u64), Gossip::Block(announce(block)));
        bench.peer(PeerEvent::Gossip { message, gossip });
    }
    let gone = PeerId([1; 32]);
    let header = ours.extend_after(1, &MINER, vec![]).block().header;
    let (address, direction) = (([192, 0, 2, 1], 1).into(), Direction::Inbound);
    bench.peer_as(gone, PeerEvent::Connected { address, direction });
    let asked = bench.claim_in_passing(gone, 1);
    let response = Response::Headers(vec![header]);
    bench.peer_as(gone, PeerEvent::Response { id: asked[0].1, response });
    let mut outputs = bench.peer_as(gone, PeerEvent::Disconnected);
    assert!(bench.engine.is_updating(), "it took longer");
    outputs.extend(bench.settle());
    let asked_later = header_requests(outputs);
    bench.assert_at(&heavier);
    assert!(bench.engine.snapshot().header(&header.hash()).expect("reads").is_none());
    let kept = |block: &&Block| bench.engine.snapshot().has_body(&block.header.hash()).expect("reads");
    assert_eq!(siblings.iter().filter(kept).count(), WAITING_INPUTS);
    assert!(asked_later.iter().any(|(peer, _)| *peer == PEER), "for what found no room");
}

/// The same header with other ids costs no work.
#[test]
fn the_copies_of_a_header_take_one_place_where_blocks_wait_for_an_update() {
    let mut bench = Bench::new();
    let (mut ours, mut theirs) = fork(&mut bench, 100, 100);
    let sibling = grow(&mut ours.clone(), AccountId([100; 32]), vec![]);
    let withheld = grow(&mut ours, MINER, vec![]);
    let mut forged = announce(&grow(&mut ours, MINER, vec![]));
    let asked = bench.hear_claim(PEER, Direction::Inbound, 1);
    bench.peer(PeerEvent::Response { id: asked[0].1, response: Response::Headers(vec![withheld.header]) });
    bench.settle();
    let block = Box::new(checked(&bench.params, &grow(&mut theirs, OTHER_MINER, vec![])));
    bench.engine.handle(bench.now, Input::Block { origin: Origin::Own, block }).expect("store works");
    assert!(bench.engine.is_updating());
    for number in 0..=WAITING_INPUTS as u64 {
        forged.ids = vec![[number as u8; 6]];
        let gossip = Gossip::Block(forged.clone());
        bench.peer(PeerEvent::Gossip { message: MessageId(number), gossip });
    }
    let (message, gossip) = (MessageId(1_000), Gossip::Block(announce(&sibling)));
    bench.peer(PeerEvent::Gossip { message, gossip });
    assert!(bench.engine.is_updating(), "it took longer");
    bench.settle();
    assert!(bench.engine.snapshot().has_body(&sibling.header.hash()).expect("reads"));
}

/// The answer is of its chain as it was; what it claims now is asked for in its turn.
#[test]
fn what_a_peer_claims_while_it_is_asked_is_not_held_against_its_answer() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    grow(&mut chain, MINER, vec![]);
    let asked = bench.hear_claim(PEER, Direction::Outbound, 1);
    assert!(bench.claim(PEER, 2).is_empty(), "one request is under way");
    let response = Response::Headers(chain.headers()[1..].to_vec());
    let mut outputs = bench.peer(PeerEvent::Response { id: asked[0].1, response });
    outputs.extend(bench.settle());
    assert_eq!(header_requests(outputs).len(), 1);
}

#[test]
fn a_peer_that_was_dialled_waits_for_none_that_came() {
    let [one, other, dialled] = [1, 2, 3].map(|number| PeerId([number; 32]));
    let mut bench = Bench::new();
    assert_eq!(bench.hear_claim(one, Direction::Inbound, 1).len(), 1);
    assert_eq!(bench.hear_claim(other, Direction::Inbound, 1).len(), 1);
    assert_eq!(bench.hear_claim(dialled, Direction::Outbound, 1).len(), 1);
}

/// So that a peer is not left alone for what it could not know.
#[test]
fn a_header_from_the_future_keeps_nobody_waiting_once_its_time_has_come() {
    for known in [0, 1] {
        future_header_after(known);
    }
}

fn future_header_after(known: usize) {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    (0..known).for_each(|_| drop(grow(&mut chain, MINER, vec![])));
    bench.meet_ahead(PeerId([8; 32]), chain.headers());
    let early = bench.now - chain.headers()[known].time + bench.params.max_future + 9 * HEADERS_REST_MS;
    chain.extend_after(early, &MINER, vec![]);
    bench.meet_ahead(PEER, chain.headers());
    for missing in [0, 0, 0, 0, 1] {
        assert_eq!(bench.engine.missing_blocks(), known);
        bench.now += 2 * HEADERS_REST_MS;
        let asked = header_requests(bench.settle());
        assert!(matches!(asked[..], [(PEER, _)]), "{asked:?}");
        let response = Response::Headers(chain.headers()[1..].to_vec());
        bench.peer(PeerEvent::Response { id: asked[0].1, response });
        bench.settle();
        assert_eq!(bench.engine.missing_blocks(), known + missing);
    }
}

#[test]
fn a_chain_that_is_judged_again_is_asked_for_at_once() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let mut wrong = grow(&mut chain, MINER, vec![]);
    wrong.header.state_root = StateRoot([9; 32]);
    rework(&bench.params, &mut wrong);
    assert!(bench.feed(&wrong).result.is_err());
    let hash = wrong.header.hash();
    let on_it = vec![Header { prev_hash: hash, ..wrong.header }];
    let mut asked = bench.hear_claim(PEER, Direction::Outbound, 10);
    for more in 11..16 {
        assert!(matches!(asked[..], [(PEER, _)]), "{asked:?}");
        let response = Response::Headers(on_it.clone());
        bench.peer(PeerEvent::Response { id: asked[0].1, response });
        assert!(bench.claim(PEER, more).is_empty(), "it is left alone");
        bench.now += HEADERS_REST_MS << 5;
        asked = header_requests(bench.settle());
    }
    let response = Response::Headers(on_it.clone());
    bench.peer(PeerEvent::Response { id: asked[0].1, response });
    let again = bench.ask(|origin| Input::Reconsider { origin, hash });
    assert!(again.result.is_ok());
    assert_eq!(header_requests(again.outputs).len(), 1);
}
