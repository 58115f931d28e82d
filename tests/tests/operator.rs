//! What whoever runs a node says to its engine: whom to connect to, whom to refuse, and what it is told in turn.

use std::net::SocketAddr;
use std::sync::Arc;

use drystone_core::genesis::dev_params;
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::pow::Work;
use drystone_node::engine::limits::{BAN_MS, OUTBOUND_PEERS, REDIAL_MAX_MS, WANTED_PEERS, WANTED_REDIAL_MS};
use drystone_node::engine::message::{Direction, DisconnectReason, Input, Output, PeerEvent, PeerId, RequestId};
use drystone_node::engine::operator::Banned;
use drystone_node::engine::wire::{PROTOCOL_VERSION, Request, Response, Status};
use drystone_node::engine::{Config, Engine};
use drystone_node::store::{Store, StoreOptions};
use redb::backends::InMemoryBackend;

const PEER: PeerId = PeerId([9; 32]);

/// An engine without peers, and the time it is told.
struct Bench {
    engine: Engine,
    now: u64,
    /// Whether dials fail only after a long time.
    silent: bool,
}

impl Bench {
    fn new() -> Bench {
        let params = dev_params();
        let store = Store::open_backend(InMemoryBackend::new(), &params, &StoreOptions::default()).expect("opens");
        let now = params.time + 1_000_000;
        let engine = Engine::new(Arc::new(store), Arc::new(params), Config::new([1; 32]), now).expect("opens");
        Bench { engine, now, silent: false }
    }

    fn handle(&mut self, input: Input) -> Vec<Output> {
        self.engine.handle(self.now, input).expect("the store works")
    }

    /// Lets time pass, each deadline at its time, and returns what was dialled when.
    fn dials(&mut self, milliseconds: u64) -> Vec<(u64, SocketAddr)> {
        let (start, end) = (self.now, self.now + milliseconds);
        let mut dials = Vec::new();
        loop {
            let due = self.engine.next_deadline(self.now).map_or(end, |due| due.clamp(self.now, end));
            self.now = due.max(self.now);
            for output in self.handle(Input::Tick) {
                if let Output::Dial(address) = output {
                    dials.push((self.now - start, address));
                    if !self.silent {
                        self.handle(Input::DialFailed(address));
                    }
                }
            }
            if self.now == end {
                return dials;
            }
        }
    }

    fn peer(&mut self, event: PeerEvent) -> Vec<Output> {
        self.handle(Input::Peer { peer: PEER, event })
    }

    /// The peer connects from `address` and, asked for its status, follows `chain`.
    fn connect(&mut self, address: SocketAddr, direction: Direction, chain: BlockHash) -> Vec<Output> {
        let genesis = dev_params().genesis_block().header.hash();
        self.connect_as(PEER, address, direction, chain, genesis)
    }

    /// A peer connects likewise, and is at the block `tip`.
    fn connect_as(
        &mut self,
        peer: PeerId,
        address: SocketAddr,
        direction: Direction,
        chain: BlockHash,
        tip: BlockHash,
    ) -> Vec<Output> {
        let mut outputs = self.handle(Input::Peer { peer, event: PeerEvent::Connected { address, direction } });
        let asked = outputs.iter().find_map(|output| match output {
            Output::Request { id, request: Request::Status(_), .. } => Some(*id),
            _ => None,
        });
        let status = Status {
            version: PROTOCOL_VERSION,
            chain_id: chain,
            height: 0,
            hash: tip,
            work: Work::ZERO,
            state_root: StateRoot([0; 32]),
            held: Vec::new(),
        };
        let event = match asked {
            Some(id) => PeerEvent::Response { id, response: Response::Status(status) },
            None => PeerEvent::Request { id: RequestId(1), request: Request::Status(status) },
        };
        outputs.extend(self.handle(Input::Peer { peer, event }));
        outputs
    }
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 8646))
}

fn disconnected(outputs: &[Output]) -> Option<&DisconnectReason> {
    outputs.iter().find_map(|output| match output {
        Output::Disconnect { peer: PEER, reason } => Some(reason),
        _ => None,
    })
}

#[test]
fn a_wanted_peer_is_dialled_at_once_and_again_while_it_fails() {
    let mut bench = Bench::new();
    bench.dials(60_000);
    bench.engine.add_peer(address(1));
    bench.engine.add_peer(address(2));
    let dials = bench.dials(60_000);
    // Of one network group both, and neither waits for the other.
    for n in [1, 2] {
        let times: Vec<u64> = dials.iter().filter(|(_, dialled)| *dialled == address(n)).map(|(at, _)| *at).collect();
        assert!(times[0] < 1_000, "at once: {times:?}");
        assert!(times.len() > 5, "again and again: {times:?}");
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= WANTED_REDIAL_MS), "not too often: {times:?}");
    }
}

#[test]
fn a_wanted_peer_that_is_connected_is_not_dialled_whoever_connected() {
    let mut bench = Bench::new();
    let chain = dev_params().chain_id();
    let from = SocketAddr::from(([10, 0, 0, 1], 50_000));
    assert_eq!(disconnected(&bench.connect(from, Direction::Inbound, chain)), None);
    bench.peer(PeerEvent::Listens(address(1)));
    bench.engine.add_peer(address(1));
    assert_eq!(bench.dials(60_000), []);
    bench.peer(PeerEvent::Disconnected);
    assert_eq!(bench.dials(4_000).first().map(|(_, address)| *address), Some(address(1)));
}

#[test]
fn a_wanted_peer_of_another_chain_rests_long_and_is_not_banned() {
    let mut bench = Bench::new();
    bench.engine.add_peer(address(1));
    let dialled = bench.handle(Input::Tick).iter().any(|output| matches!(output, Output::Dial(_)));
    assert!(dialled);
    let other = BlockHash([7; 32]);
    let outputs = bench.connect(address(1), Direction::Outbound, other);
    assert_eq!(disconnected(&outputs), Some(&DisconnectReason::OtherChain(other)));
    assert_eq!(bench.engine.bans(bench.now), []);
    assert_eq!(bench.dials(REDIAL_MAX_MS - 1), []);
    assert_eq!(bench.dials(3_000).len(), 1, "it may follow this chain by then");
    // Who asks for it again means it.
    bench.engine.add_peer(address(1));
    assert_eq!(bench.dials(1_000).len(), 1);
}

#[test]
fn of_too_many_wanted_peers_the_first_is_let_go() {
    let mut bench = Bench::new();
    for n in 0..=WANTED_PEERS as u8 {
        bench.engine.add_peer(address(n + 1));
    }
    let dials = bench.dials(200_000);
    assert!(dials.iter().all(|(_, dialled)| *dialled != address(1)));
    assert!(dials.iter().any(|(_, dialled)| *dialled == address(2)));
}

#[test]
fn a_ban_ends_the_connection_and_keeps_others_out_until_it_is_taken_back() {
    let chain = dev_params().chain_id();
    for whom in [Banned::Host(address(1).ip()), Banned::Peer(PEER)] {
        let mut bench = Bench::new();
        bench.connect(address(1), Direction::Inbound, chain);
        assert_eq!(bench.engine.peer_views().len(), 1);
        bench.engine.ban(whom, bench.now + BAN_MS);
        let outputs = bench.handle(Input::Tick);
        assert_eq!(disconnected(&outputs), Some(&DisconnectReason::AddressBanned), "{whom:?}");
        assert_eq!(bench.engine.peer_views(), []);
        assert_eq!(bench.engine.bans(bench.now), [(whom, bench.now + BAN_MS)]);

        for direction in [Direction::Inbound, Direction::Outbound] {
            let outputs = bench.peer(PeerEvent::Connected { address: address(1), direction });
            assert_eq!(disconnected(&outputs), Some(&DisconnectReason::AddressBanned), "{whom:?} {direction:?}");
        }
        assert!(bench.engine.unban(bench.now, whom) && !bench.engine.unban(bench.now, whom));
        assert_eq!(disconnected(&bench.connect(address(1), Direction::Inbound, chain)), None);
        assert!(bench.engine.peer_views()[0].ready);
    }
}

#[test]
fn a_wanted_peer_is_dialled_again_as_soon_as_its_ban_is_taken_back() {
    let mut bench = Bench::new();
    bench.engine.ban(Banned::Peer(PEER), bench.now + BAN_MS);
    bench.engine.add_peer(address(1));
    bench.handle(Input::Tick);
    let outputs = bench.peer(PeerEvent::Connected { address: address(1), direction: Direction::Outbound });
    assert_eq!(disconnected(&outputs), Some(&DisconnectReason::AddressBanned));
    assert_eq!(bench.dials(60_000), []);
    bench.engine.unban(bench.now, Banned::Peer(PEER));
    assert_eq!(bench.dials(3_000).len(), 1);
}

#[test]
fn a_peer_that_speaks_none_of_the_protocols_is_let_go_without_a_ban() {
    let mut bench = Bench::new();
    bench.peer(PeerEvent::Connected { address: address(1), direction: Direction::Inbound });
    assert_eq!(disconnected(&bench.peer(PeerEvent::Stranger)), Some(&DisconnectReason::Stranger));
    assert_eq!(bench.engine.bans(bench.now), []);
}

#[test]
fn what_peers_that_came_in_say_of_themselves_takes_no_place_of_those_that_are_chosen() {
    let mut bench = Bench::new();
    let params = dev_params();
    let genesis = params.genesis_block().header.hash();
    let incoming: Vec<SocketAddr> =
        (1..=OUTBOUND_PEERS as u8).map(|n| SocketAddr::from(([10, n, 0, 1], 8646))).collect();
    for (n, address) in incoming.iter().enumerate() {
        let (peer, from) = (PeerId([n as u8 + 20; 32]), SocketAddr::new(address.ip(), 50_000));
        bench.connect_as(peer, from, Direction::Inbound, params.chain_id(), genesis);
        bench.handle(Input::Peer { peer, event: PeerEvent::Listens(*address) });
    }
    assert_eq!(bench.engine.peer_views().len(), OUTBOUND_PEERS);
    let others: Vec<SocketAddr> = (100..104).map(|n| SocketAddr::from(([10, n, 0, 1], 8646))).collect();
    bench.handle(Input::Discovered(others.clone()));
    let mut dialled: Vec<SocketAddr> = bench.dials(60_000).into_iter().map(|(_, address)| address).collect();
    dialled.sort();
    dialled.dedup();
    assert_eq!(dialled, others, "and nobody who is connected");
}

#[test]
fn wanted_peers_that_nobody_reaches_keep_neither_each_other_nor_the_book_waiting() {
    for silent in [false, true] {
        let mut bench = Bench { silent, ..Bench::new() };
        let params = dev_params();
        let genesis = params.genesis_block().header.hash();
        for n in 1..=OUTBOUND_PEERS as u8 / 2 {
            let address = SocketAddr::from(([10, n, 0, 1], 8646));
            bench.connect_as(PeerId([n + 20; 32]), address, Direction::Outbound, params.chain_id(), genesis);
        }
        let wanted: Vec<SocketAddr> = (1..=5).map(|n| SocketAddr::from(([10, 90, 0, n], 8646))).collect();
        wanted.iter().for_each(|address| bench.engine.add_peer(*address));
        let known = SocketAddr::from(([10, 100, 0, 1], 8646));
        bench.handle(Input::Discovered(vec![known]));
        let dials = bench.dials(60_000);
        for address in &wanted {
            let count = dials.iter().filter(|(_, dialled)| dialled == address).count();
            assert!(count >= 2, "{address}: {count} of {}", dials.len());
        }
        assert!(dials.iter().any(|(_, dialled)| *dialled == known), "{dials:?}");
    }
}
