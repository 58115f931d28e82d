//! Who keeps the outbound places.

use std::net::SocketAddr;

use drystone_node::engine::limits::{FEELER_INTERVAL_MS, OUTBOUND_PEERS};
use drystone_node::engine::message::{Direction, DisconnectReason, MessageId, PeerEvent, PeerId};
use drystone_node::engine::wire::{Gossip, Request, Response, Status};

use super::*;

impl Bench {
    /// Until the next feeler: every peer says that its tip is this node's and gives nothing, and whoever is dialled is left for the
    /// caller.
    fn until_feeler(&mut self) -> SocketAddr {
        for _ in 0..2 * FEELER_INTERVAL_MS / 1_000 {
            self.now += 1_000;
            let mut outputs = self.settle();
            while let Some(output) = outputs.pop() {
                match output {
                    Output::Dial(address) => return address,
                    Output::Request { peer, id, request } => {
                        let response = match request {
                            Request::Status(status) => Response::Status(status),
                            _ => Response::Refused,
                        };
                        outputs.extend(self.peer_as(peer, PeerEvent::Response { id, response }));
                    }
                    _ => {}
                }
            }
        }
        panic!("no feeler");
    }

    /// Somebody who was dialled answers, as `say` makes of this node's own status; what comes of it.
    fn answer(&mut self, address: SocketAddr, peer: PeerId, say: impl Fn(&mut Status)) -> Vec<Output> {
        let direction = Direction::Outbound;
        let mut outputs = self.peer_as(peer, PeerEvent::Connected { address, direction });
        let asked = outputs.iter().find_map(|output| match output {
            Output::Request { id, request: Request::Status(status), .. } => Some((*id, status.clone())),
            _ => None,
        });
        let (id, mut status) = asked.expect("the dialler speaks first");
        say(&mut status);
        outputs.extend(self.peer_as(peer, PeerEvent::Response { id, response: Response::Status(status) }));
        outputs
    }

    /// As many peers that this node dialled as it wants, of a network each, who gave a payment one after the other.
    fn meet_enough(&mut self) -> Vec<PeerId> {
        let chain = TestChain::new(&self.params);
        let peers: Vec<PeerId> = (1..=OUTBOUND_PEERS as u8).map(|number| PeerId([number; 32])).collect();
        for (nonce, peer) in (0..).zip(&peers) {
            self.answer(([192, peer.0[0], 2, 1], 1).into(), *peer, |_| {});
            self.be_useful(*peer, chain.pay(0, &OTHER_MINER, 1_000, nonce));
        }
        let strangers = (1..=4).map(|n| ([198, 51, 100, n], 1).into()).collect();
        self.engine.handle(self.now, Input::Discovered(strangers)).expect("store works");
        peers
    }

    fn be_useful(&mut self, peer: PeerId, payment: Transaction) {
        let gossip = Gossip::Transactions(vec![payment]);
        self.peer_as(peer, PeerEvent::Gossip { message: MessageId(peer.0[0].into()), gossip });
        self.settle();
    }
}

/// Who had to go for others.
fn gone(outputs: &[Output]) -> Option<PeerId> {
    outputs.iter().find_map(|output| match output {
        Output::Disconnect { peer, reason: DisconnectReason::Full } => Some(*peer),
        _ => None,
    })
}

/// Whoever runs nodes all over one network says of each that it is on a fork, and makes them useful.
#[test]
fn strangers_on_chains_of_their_own_take_one_place() {
    let mut bench = Bench::new();
    let chain = TestChain::new(&bench.params);
    let known = bench.meet_enough();
    let mut before = None;
    for (nonce, stranger) in (0..4).map(|number| (u64::from(number), PeerId([101 + number; 32]))) {
        let address = bench.until_feeler();
        let gone = gone(&bench.answer(address, stranger, |status| status.hash = BlockHash([stranger.0[0]; 32])));
        match before {
            None => assert!(known.contains(&gone.expect("there is no place"))),
            before => assert_eq!(gone, before),
        }
        bench.be_useful(stranger, chain.pay(1, &OTHER_MINER, 1_000, nonce));
        before = Some(stranger);
    }
}

/// A stranger's fork that turns out to be the better chain is no stranger's any more.
#[test]
fn who_shows_the_better_chain_keeps_its_place() {
    let mut bench = Bench::new();
    let mut chain = TestChain::new(&bench.params);
    let better = [(); 2].map(|()| grow(&mut chain, MINER, vec![]).header);
    let known = bench.meet_enough();
    let (address, honest) = (bench.until_feeler(), PeerId([101; 32]));
    let asked =
        bench.answer(address, honest, |status| (status.hash, status.work) = (chain.tip().hash, chain.tip().work));
    for output in asked {
        if let Output::Request { id, request: Request::Headers(_), .. } = output {
            bench.peer_as(honest, PeerEvent::Response { id, response: Response::Headers(better.to_vec()) });
        }
    }
    for stranger in [102, 103].map(|number| PeerId([number; 32])) {
        let address = bench.until_feeler();
        let gone = gone(&bench.answer(address, stranger, |status| status.hash = BlockHash([stranger.0[0]; 32])));
        assert!(gone.is_some_and(|gone| known.contains(&gone) || gone == PeerId([102; 32])), "{gone:?}");
    }
}
