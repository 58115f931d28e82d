//! Who keeps the outbound places.

use drystone_node::engine::limits::{FEELER_INTERVAL_MS, OUTBOUND_PEERS};
use drystone_node::engine::message::{Direction, DisconnectReason, MessageId, PeerEvent, PeerId};
use drystone_node::engine::wire::{Gossip, Request, Response, Status};

use super::*;

impl Bench {
    /// Until the next feeler: every peer says that its tip is this node's, and whoever is dialled is left for the caller.
    fn until_feeler(&mut self) -> std::net::SocketAddr {
        for _ in 0..2 * FEELER_INTERVAL_MS / 1_000 {
            self.now += 1_000;
            let mut outputs = self.settle();
            while let Some(output) = outputs.pop() {
                match output {
                    Output::Dial(address) => return address,
                    Output::Request { peer, id, request: Request::Status(status) } => {
                        let response = Response::Status(status);
                        outputs.extend(self.peer_as(peer, PeerEvent::Response { id, response }));
                    }
                    _ => {}
                }
            }
        }
        panic!("no feeler");
    }

    /// Somebody who was dialled answers, as `say` makes of this node's own status; who is dropped for it.
    fn answer(&mut self, address: std::net::SocketAddr, peer: PeerId, say: impl Fn(&mut Status)) -> Vec<PeerId> {
        let direction = Direction::Outbound;
        let mut outputs = self.peer_as(peer, PeerEvent::Connected { address, direction });
        let asked = outputs.iter().find_map(|output| match output {
            Output::Request { id, request: Request::Status(status), .. } => Some((*id, status.clone())),
            _ => None,
        });
        let (id, mut status) = asked.expect("the dialler speaks first");
        say(&mut status);
        outputs.extend(self.peer_as(peer, PeerEvent::Response { id, response: Response::Status(status) }));
        let dropped = outputs.into_iter().filter_map(|output| match output {
            Output::Disconnect { peer, reason: DisconnectReason::Full } => Some(peer),
            _ => None,
        });
        dropped.collect()
    }

    fn be_useful(&mut self, peer: PeerId, payment: Transaction) {
        let gossip = Gossip::Transactions(vec![payment]);
        self.peer_as(peer, PeerEvent::Gossip { message: MessageId(peer.0[0].into()), gossip });
        self.settle();
    }
}

/// Whoever runs nodes all over one network says of each that it is on a fork, and makes them useful.
#[test]
fn strangers_on_chains_of_their_own_take_one_place() {
    let mut bench = Bench::new();
    let chain = TestChain::new(&bench.params);
    let honest: Vec<PeerId> = (1..=OUTBOUND_PEERS as u8).map(|number| PeerId([number; 32])).collect();
    for peer in &honest {
        assert!(bench.answer(([192, peer.0[0], 2, 1], 1).into(), *peer, |_| {}).is_empty());
    }
    for (nonce, peer) in (0..).zip(&honest) {
        bench.be_useful(*peer, chain.pay(0, &OTHER_MINER, 1_000, nonce));
    }
    let strangers: Vec<PeerId> = (101..=104).map(|number| PeerId([number; 32])).collect();
    bench
        .engine
        .handle(bench.now, Input::Discovered((1..=4).map(|n| ([198, 51, 100, n], 1).into()).collect()))
        .expect("store works");
    let mut gone = Vec::new();
    for (nonce, stranger) in (0..).zip(&strangers) {
        let address = bench.until_feeler();
        gone.extend(bench.answer(address, *stranger, |status| status.hash = BlockHash([stranger.0[0]; 32])));
        bench.be_useful(*stranger, chain.pay(1, &OTHER_MINER, 1_000, nonce));
    }
    assert_eq!(gone[1..], strangers[..3], "one after the other");
    assert!(honest.contains(&gone[0]));
}
