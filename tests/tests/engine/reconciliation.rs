//! How mempools come to be the same: after a reorganisation, page by page, and when two nodes fetch the same.

use drystone_core::transaction::Transaction;
use drystone_node::engine::limits::{
    BATCH_TRANSACTIONS, BATCH_WINDOW_MS, REBROADCAST_MS, RECONCILE_BACK_MS, RECONCILED_IDS, RECONCILED_PAGES,
    RETURNED_MS,
};
use drystone_node::engine::message::{Direction, JobId, MessageId, PeerEvent, PeerId, RequestId};
use drystone_node::engine::verdict::Disposition;
use drystone_node::engine::wire::{Gossip, IdPrefix, Request, Response, id_prefix};
use drystone_node::engine::work::{Job, Workshop};
use drystone_tests::far::{Payers, params};

use super::*;

pub(super) const PEER: PeerId = PeerId([7; 32]);

impl Bench {
    pub(super) fn peer(&mut self, event: PeerEvent) -> Vec<Output> {
        self.peer_as(PEER, event)
    }

    /// A peer's doing, and what comes of it; jobs are done at once, the last first, so that all blocks of a response are ready
    /// together.
    pub(super) fn peer_as(&mut self, peer: PeerId, event: PeerEvent) -> Vec<Output> {
        let mut outputs = self.engine.handle(self.now, Input::Peer { peer, event }).expect("store works");
        let (params, chain_id) = (Arc::clone(&self.params), self.params.chain_id());
        let workshop = Workshop { params, chain_id, batch_secret: [9; 32] };
        loop {
            let jobs: Vec<(JobId, Job)> = outputs
                .extract_if(.., |output| matches!(output, Output::Work { .. }))
                .filter_map(|output| if let Output::Work { id, job } = output { Some((id, job)) } else { None })
                .collect();
            if jobs.is_empty() {
                return outputs;
            }
            for (id, job) in jobs.into_iter().rev() {
                let done = workshop.run(job);
                outputs.extend(self.engine.handle(self.now, Input::Done { id, done }).expect("store works"));
            }
        }
    }

    fn meet(&mut self) {
        self.meet_as(PEER);
    }

    /// A peer that shook hands and compared mempools, and so long ago that nothing is under way.
    fn meet_as(&mut self, peer: PeerId) {
        let (address, direction) = (([192, 0, 2, peer.0[0]], 1).into(), Direction::Outbound);
        for output in self.peer_as(peer, PeerEvent::Connected { address, direction }) {
            if let Output::Request { id, request: Request::Status(status), .. } = output {
                let asked = self.peer_as(peer, PeerEvent::Response { id, response: Response::Status(status) });
                let (id, _) = comparison(&asked).expect("mempools are compared after the handshake");
                self.peer_as(peer, PeerEvent::Response { id, response: Response::Reconcile(Vec::new()) });
            }
        }
        assert!(self.engine.peers().contains(&peer));
    }

    /// The peer compares mempools.
    fn question(&mut self, id: u64, digests: &[u64]) -> Vec<Output> {
        let request = Request::Reconcile(digests.to_vec());
        self.peer(PeerEvent::Request { id: RequestId(id), request })
    }

    /// The peer answers a comparison: it has these, and gives them when it is asked.
    fn give(&mut self, id: RequestId, transactions: &[Transaction]) -> Vec<Output> {
        let prefixes = transactions.iter().map(|payment| id_prefix(&payment.wire_id())).collect();
        let asked = self.peer(PeerEvent::Response { id, response: Response::Reconcile(prefixes) });
        let (id, wanted) = wanted(&asked).expect("what is missing is asked for");
        assert_eq!(wanted.len(), transactions.len());
        self.peer(PeerEvent::Response { id, response: Response::Transactions(transactions.to_vec()) })
    }

    fn wait(&mut self, ms: u64) -> Vec<Output> {
        self.now += ms;
        self.settle()
    }

    fn set_back(&mut self, ms: u64) {
        self.now -= ms;
        self.engine.handle(self.now, Input::Tick).expect("store works");
    }
}

/// The comparison of mempools that a peer is asked for.
fn comparison(outputs: &[Output]) -> Option<(RequestId, Vec<u64>)> {
    outputs.iter().find_map(|output| match output {
        Output::Request { id, request: Request::Reconcile(digests), .. } => Some((*id, digests.clone())),
        _ => None,
    })
}

/// The transactions that a peer is asked for.
fn wanted(outputs: &[Output]) -> Option<(RequestId, Vec<IdPrefix>)> {
    outputs.iter().find_map(|output| match output {
        Output::Request { id, request: Request::Transactions(ids), .. } => Some((*id, ids.clone())),
        _ => None,
    })
}

/// All that is published.
fn published(outputs: &[Output]) -> Vec<Transaction> {
    let batches = outputs.iter().filter_map(|output| match output {
        Output::Publish(Gossip::Transactions(batch)) => Some(batch.clone()),
        _ => None,
    });
    batches.flatten().collect()
}

/// Payments of one account, in order.
fn payments(bench: &Bench, count: u64) -> Vec<Transaction> {
    let chain = TestChain::new(&bench.params);
    (0..count).map(|nonce| chain.pay(0, &SecretKey::dev(1).account(), 1000, nonce)).collect()
}

#[test]
fn what_a_reorganisation_gives_back_is_shown_to_peers_and_what_merely_loses_is_not() {
    for paid in [false, true] {
        let mut bench = Bench::new();
        bench.meet();
        let (mut ours, mut theirs) = (TestChain::new(&bench.params), TestChain::new(&bench.params));
        let payment = paid.then(|| ours.pay(0, &SecretKey::dev(1).account(), 1000, 0));
        bench.feed(&grow(&mut ours, MINER, payment.into_iter().collect()));
        bench.feed(&grow(&mut theirs, OTHER_MINER, vec![]));
        assert_eq!(bench.feed(&grow(&mut theirs, OTHER_MINER, vec![])).result, Ok(Accepted::Connected { height: 2 }));
        let asked = comparison(&bench.wait(2 * RETURNED_MS));
        assert_eq!(asked.is_some(), paid);
        assert_eq!(asked.is_some_and(|(_, digests)| digests == bench.engine.mempool().digests()), paid);
        assert_eq!(comparison(&bench.wait(2 * RETURNED_MS)), None, "once");
    }
}

#[test]
fn what_was_given_back_is_offered_to_one_peer_after_the_other() {
    let mut bench = Bench::new();
    let peers = [1, 2, 3].map(|n| PeerId([n; 32]));
    peers.into_iter().for_each(|peer| bench.meet_as(peer));
    let (mut ours, mut theirs) = (TestChain::new(&bench.params), TestChain::new(&bench.params));
    let payment = ours.pay(0, &SecretKey::dev(1).account(), 1000, 0);
    bench.feed(&grow(&mut ours, MINER, vec![payment]));
    bench.feed(&grow(&mut theirs, OTHER_MINER, vec![]));
    bench.feed(&grow(&mut theirs, OTHER_MINER, vec![]));
    let mut offered = Vec::new();
    for _ in 0..10 {
        let outputs = bench.wait(RETURNED_MS - 1);
        let asked = outputs.iter().filter_map(|output| match output {
            Output::Request { peer, request: Request::Reconcile(_), .. } => Some(*peer),
            _ => None,
        });
        let before = offered.len();
        offered.extend(asked);
        assert!(offered.len() <= before + 1, "one at a time");
    }
    offered.sort();
    assert_eq!(offered, peers);
}

#[test]
fn who_lists_without_end_is_not_asked_without_end() {
    let mut bench = Bench::new();
    bench.meet();
    let (mut id, _) = comparison(&bench.question(1, &[1; 256])).expect("it is asked back");
    let mut pages = 0;
    loop {
        pages += 1;
        assert!(pages <= RECONCILED_PAGES, "it never ends");
        // Ids of nothing, and nothing given: the same could be said for ever.
        let ids: Vec<IdPrefix> = (0..RECONCILED_IDS as u64).map(|n| (n << 8 | pages as u64).to_le_bytes()).collect();
        let asked = bench.peer(PeerEvent::Response { id, response: Response::Reconcile(ids) });
        let (wanted, _) = wanted(&asked).expect("what is not known is asked for");
        let next = bench.peer(PeerEvent::Response { id: wanted, response: Response::Transactions(Vec::new()) });
        match comparison(&next) {
            Some((next, _)) => id = next,
            None => break,
        }
    }
    assert_eq!(pages, RECONCILED_PAGES);
}

#[test]
fn who_compares_mempools_and_has_more_is_asked_back_and_what_it_gives_is_passed_on() {
    let mut bench = Bench::new();
    bench.meet();
    let same = bench.engine.mempool().digests().to_vec();
    assert!(comparison(&bench.question(1, &same)).is_none(), "nothing differs");

    let mut theirs = same;
    theirs[3] = 5;
    let (id, _) = comparison(&bench.question(2, &theirs)).expect("it is asked back");
    assert!(comparison(&bench.question(3, &theirs)).is_none(), "not while an answer is awaited");

    // The last of one account first.
    let reversed: Vec<Transaction> = payments(&bench, 6).into_iter().rev().collect();
    bench.give(id, &reversed);
    let nonces: Vec<u64> = published(&bench.wait(BATCH_WINDOW_MS)).iter().map(|payment| payment.body.nonce).collect();
    assert_eq!(nonces, [0, 1, 2, 3, 4, 5], "passed on, in the order in which they can be taken");

    assert!(comparison(&bench.question(4, &theirs)).is_none(), "not so soon");
    bench.wait(RECONCILE_BACK_MS);
    let (id, _) = comparison(&bench.question(5, &theirs)).expect("later again");
    bench.peer(PeerEvent::Response { id, response: Response::Reconcile(Vec::new()) });
    bench.set_back(60_000);
    bench.wait(RECONCILE_BACK_MS);
    assert!(comparison(&bench.question(6, &theirs)).is_some(), "also where the clock was set back");
}

#[test]
fn two_nodes_that_fetched_the_same_do_not_keep_it_from_the_others() {
    let mut bench = Bench::new();
    bench.meet();
    let theirs = vec![1; 256];
    let (id, _) = comparison(&bench.question(1, &theirs)).expect("it is asked back");
    let payments = payments(&bench, 4);
    bench.give(id, &payments);
    let mut hear = |message: u64, batch: &[Transaction]| {
        let gossip = Gossip::Transactions(batch.to_vec());
        let outputs = bench.peer(PeerEvent::Gossip { message: MessageId(message), gossip });
        outputs.iter().find_map(|output| match output {
            Output::Judge { disposition, .. } => Some(*disposition),
            _ => None,
        })
    };
    // Another one had the same and was faster. What it sent goes on, once, however it is mixed.
    assert_eq!(hear(1, &[&payments[..1], &payments[..1]].concat()), Some(Disposition::Ignore));
    assert_eq!(hear(2, &payments[..3]), Some(Disposition::Accept));
    assert_eq!(hear(3, &payments[1..3]), Some(Disposition::Ignore));
    assert_eq!(hear(4, &payments[2..]), Some(Disposition::Ignore));
    assert_eq!(published(&bench.wait(BATCH_WINDOW_MS)), payments[3..], "what nobody else sent");
}

#[test]
fn mempools_of_several_pages_become_one_and_every_page_can_be_taken() {
    let params = params(1_000);
    let config = || Config::new([3; 32]);
    let (mut full, mut empty) = (Bench::on(&params, config()), Bench::on(&params, config()));
    let all = Payers::new(&params).payments(2 * RECONCILED_IDS + 1_000);
    let transactions = all.iter().map(|payment| full.check(payment.clone())).collect();
    full.engine.handle(full.now, Input::Transactions { origin: Origin::Own, transactions }).expect("store works");
    assert_eq!(full.engine.mempool().len(), all.len());
    full.meet();
    empty.meet();

    let theirs = full.engine.mempool().digests().to_vec();
    let mut asked = empty.question(0, &theirs);
    let mut passed_on = Vec::new();
    let mut pages = Vec::new();
    while let Some((id, digests)) = comparison(&asked) {
        let listed = full.question(2 * id.0 + 1, &digests);
        let ids = listed.into_iter().find_map(|output| match output {
            Output::Respond { response: Response::Reconcile(ids), .. } => Some(ids),
            _ => None,
        });
        let asked_for = empty.peer(PeerEvent::Response { id, response: Response::Reconcile(ids.expect("ids")) });
        let Some((id, ids)) = wanted(&asked_for) else {
            asked = asked_for;
            continue;
        };
        let request = Request::Transactions(ids);
        let given = full.peer(PeerEvent::Request { id: RequestId(2 * id.0), request });
        let response = given.into_iter().find_map(|output| match output {
            Output::Respond { response: response @ Response::Transactions(_), .. } => Some(response),
            _ => None,
        });
        full.peer(PeerEvent::Sent { id: RequestId(1) });
        full.peer(PeerEvent::Sent { id: RequestId(2) });
        let before = empty.engine.mempool().len();
        asked = empty.peer(PeerEvent::Response { id, response: response.expect("transactions") });
        pages.push(empty.engine.mempool().len() - before);
        passed_on.extend(published(&empty.wait(BATCH_WINDOW_MS)));
    }
    // The first page begins anywhere; nothing of a page is in vain but where it ends within an account's.
    assert!(pages.len() <= 4, "{pages:?}");
    assert_eq!(empty.engine.mempool().digests(), full.engine.mempool().digests());
    assert_eq!(passed_on.len(), all.len());
    assert!(passed_on.len() > BATCH_TRANSACTIONS);
}

/// Of an account a peer takes no more than the account may hand in, so more of it would hide the next one.
#[test]
fn the_many_payments_of_one_account_hide_nobody_elses() {
    let mut bench = Bench::new();
    let (mut ours, mut theirs) = (TestChain::new(&bench.params), TestChain::new(&bench.params));
    let count = RECONCILED_IDS as u64 + 100;
    let mut returned: Vec<Transaction> =
        (0..count).map(|nonce| ours.pay(0, &SecretKey::dev(3).account(), 1000, nonce)).collect();
    let others = [1, 2].map(|payer| ours.pay(payer, &SecretKey::dev(3).account(), 1000, 0));
    returned.extend(others.iter().cloned());
    assert!(bench.feed(&grow(&mut ours, MINER, returned)).result.is_ok());
    bench.feed(&grow(&mut theirs, OTHER_MINER, vec![]));
    assert!(bench.feed(&grow(&mut theirs, OTHER_MINER, vec![])).result.is_ok());
    assert_eq!(bench.engine.mempool().len() as u64, count + 2);
    // To each the first page begins anywhere.
    for peer in (1..=8).map(|number| PeerId([number; 32])) {
        bench.meet_as(peer);
        let mut told = Vec::new();
        for id in (0..3).map(RequestId) {
            let request = Request::Reconcile(vec![0; 256]);
            for output in bench.peer_as(peer, PeerEvent::Request { id, request }) {
                if let Output::Respond { response: Response::Reconcile(ids), .. } = output {
                    told.extend(ids);
                }
            }
            bench.peer_as(peer, PeerEvent::Sent { id });
        }
        assert!(others.iter().all(|payment| told.contains(&id_prefix(&payment.wire_id()))));
    }
}

#[test]
fn a_payment_is_published_when_a_block_closes_its_gap() {
    let mut bench = Bench::new();
    bench.meet();
    let [first, second] = payments(&bench, 2).try_into().expect("two");
    assert!(bench.submit(second.clone()).is_ok());
    assert!(published(&bench.wait(BATCH_WINDOW_MS)).is_empty(), "it waits for the first");
    let mut chain = TestChain::new(&bench.params);
    let mut outputs = bench.feed(&grow(&mut chain, MINER, vec![first])).outputs;
    outputs.extend(bench.wait(BATCH_WINDOW_MS));
    assert_eq!(published(&outputs), [second]);
}

#[test]
fn own_transactions_are_published_again_also_where_the_clock_was_set_back() {
    for back in [0, 3_000_000] {
        let mut bench = Bench::new();
        bench.meet();
        let payment = payments(&bench, 1).remove(0);
        bench.submit(payment.clone()).expect("it is valid");
        assert_eq!(published(&bench.wait(BATCH_WINDOW_MS)), std::slice::from_ref(&payment));
        bench.set_back(back);
        let mut again = bench.wait(2 * REBROADCAST_MS);
        again.extend(bench.wait(BATCH_WINDOW_MS));
        assert_eq!(published(&again), [payment], "{back} ms back");
    }
}
