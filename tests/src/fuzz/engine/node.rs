//! The engine of one script on its disk, with everything that watches it.

use core::net::SocketAddr;
use std::collections::BTreeSet;
use std::sync::Arc;

use drystone_core::block::Block;
use drystone_core::params::ChainParams;
use drystone_core::state::{StateKey, StateView};
use drystone_core::validation::check_header;
use drystone_node::engine::message::{
    ChainEvent, Input, JobId, MessageId, Origin, Output, PeerEvent, PeerId, RequestId, Token,
};
use drystone_node::engine::mining::MiningJob;
use drystone_node::engine::verdict::Refusal;
use drystone_node::engine::wire::{Gossip, Request, Response};
use drystone_node::engine::work::{Job, Workshop};
use drystone_node::engine::{Config, Engine};
use drystone_node::store::{Store, StoreOptions, verify};

use crate::fault::{FaultyDisk, Unsynced};
use crate::fuzz::chain::MINER;
use crate::sim::checkers::{Checkers, Report};

/// Calls at one moment after which an engine rests: each takes one block, one input or one timer on.
const MOST_CALLS: usize = 10_000;
/// Addresses that the engine wants to dial and that a script can still answer for.
const DIALS: usize = 8;

/// An engine and what surrounds it.
pub(super) struct Node {
    pub(super) engine: Engine,
    workshop: Workshop,
    store: Arc<Store>,
    disk: FaultyDisk,
    params: Arc<ChainParams>,
    checkers: Checkers,
    /// The Unix time in milliseconds.
    pub(super) now: u64,
    steps: u64,
    /// The last name given out, of submissions, messages and requests.
    names: u64,
    /// Submissions without a verdict.
    tokens: BTreeSet<Token>,
    /// Gossip and requests of peers that were not judged and not answered.
    messages: BTreeSet<MessageId>,
    requests: BTreeSet<RequestId>,
    /// What the engine asked and nobody answered yet.
    pub(super) asked: Vec<(PeerId, RequestId, Request)>,
    /// Jobs that were not done yet.
    pub(super) jobs: Vec<(JobId, Job)>,
    pub(super) dials: Vec<SocketAddr>,
    pub(super) mining: Option<MiningJob>,
    /// Who is connected.
    pub(super) peers: BTreeSet<PeerId>,
    /// What the engine has said so far, by kind.
    pub(super) said: BTreeSet<&'static str>,
    /// What became of the last submission.
    pub(super) verdict: Option<Result<(), Refusal>>,
}

fn open(disk: &FaultyDisk, params: &Arc<ChainParams>, now: u64) -> (Engine, Arc<Store>) {
    let options = StoreOptions { cache_bytes: 1 << 20, ..StoreOptions::default() };
    let store = Arc::new(Store::open_backend(disk.clone(), params, &options).expect("the disk is sound"));
    let config = Config {
        reward_to: Some(MINER),
        threads: 1,
        seed: [4; 32],
        identity: PeerId([0xee; 32]),
        ..Config::new([3; 32])
    };
    (Engine::new(Arc::clone(&store), Arc::clone(params), config, now).expect("the disk is sound"), store)
}

impl Node {
    pub(super) fn new(params: &ChainParams) -> Node {
        let (params, disk) = (Arc::new(params.clone()), FaultyDisk::folding(Vec::new()));
        let now = params.time + 3_600_000;
        let (engine, store) = open(&disk, &params, now);
        Node {
            workshop: engine.workshop(),
            engine,
            store,
            disk,
            checkers: Checkers::new(&params),
            params,
            now,
            steps: 0,
            names: 0,
            tokens: BTreeSet::new(),
            messages: BTreeSet::new(),
            requests: BTreeSet::new(),
            asked: Vec::new(),
            jobs: Vec::new(),
            dials: Vec::new(),
            mining: None,
            peers: BTreeSet::new(),
            said: BTreeSet::new(),
            verdict: None,
        }
    }

    fn name(&mut self) -> u64 {
        self.names += 1;
        self.names
    }

    /// Ends the engine, in order or by a power cut, and starts another on what is on its disk.
    pub(super) fn restart(&mut self, cut: Option<Unsynced>) {
        let unsynced = cut.unwrap_or_else(|| {
            self.call(Input::Shutdown);
            Unsynced::Kept
        });
        self.disk = FaultyDisk::folding(self.disk.image(unsynced));
        let (engine, store) = open(&self.disk, &self.params, self.now);
        (self.workshop, self.engine, self.store, self.steps) = (engine.workshop(), engine, store, 0);
        self.tokens.clear();
        self.messages.clear();
        self.requests.clear();
        self.asked.clear();
        self.jobs.clear();
        self.dials.clear();
        self.mining = None;
        self.peers.clear();
        let (height, work) = (self.engine.tip().height, self.engine.tip().work);
        self.look(Report::Restarted { host: 0, height, work });
    }

    fn look(&mut self, report: Report) {
        self.checkers.look(self.now, report);
        assert!(self.checkers.violation.is_none(), "{:?}", self.checkers.violation);
    }

    /// Hands in what has one verdict.
    pub(super) fn submit(&mut self, input: impl FnOnce(Origin) -> Input) {
        let token = Token(self.name());
        self.tokens.insert(token);
        self.verdict = None;
        self.call(input(Origin::Rpc(token)));
    }

    /// A peer does something.
    pub(super) fn tell(&mut self, peer: PeerId, event: PeerEvent) {
        self.call(Input::Peer { peer, event });
        let bytes = self.engine.peer_bytes(&peer);
        self.look(Report::PeerBytes { host: 0, peer: usize::from(peer.0[0]), bytes });
    }

    pub(super) fn gossip(&mut self, peer: PeerId, gossip: Gossip) {
        let message = MessageId(self.name());
        self.messages.insert(message);
        self.tell(peer, PeerEvent::Gossip { message, gossip });
    }

    pub(super) fn request(&mut self, peer: PeerId, request: Request) {
        let id = RequestId(self.name());
        self.requests.insert(id);
        self.tell(peer, PeerEvent::Request { id, request });
    }

    /// Does a job that waits.
    pub(super) fn work(&mut self, place: usize) {
        let (id, job) = self.jobs.remove(place);
        let done = self.workshop.run(job);
        self.call(Input::Done { id, done });
    }

    /// Does all that is due at this moment: jobs, if they may be done, and deadlines.
    pub(super) fn settle(&mut self, with_jobs: bool) {
        for _ in 0..MOST_CALLS {
            if with_jobs && !self.jobs.is_empty() {
                self.work(0);
            } else if self.engine.next_deadline(self.now).is_some_and(|due| due <= self.now) {
                self.call(Input::Tick);
            } else {
                return;
            }
        }
        panic!("the engine never rests");
    }

    pub(super) fn call(&mut self, input: Input) {
        let before = self.engine.tip().hash;
        let outputs = self.engine.handle(self.now, input).expect("the disk works");
        let steps = self.engine.steps() - std::mem::replace(&mut self.steps, self.engine.steps());
        self.look(Report::Called { host: 0, steps });
        let (tip, work) = (self.engine.tip().hash, self.engine.tip().work);
        if tip != before {
            self.look(Report::Tip { host: 0, work });
        }
        outputs.into_iter().for_each(|output| self.take(output));
    }

    /// What comes out has a right to: a verdict for each submission, an answer for each request, bytes under their caps.
    fn take(&mut self, output: Output) {
        self.said.insert(kind(&output));
        match output {
            Output::Verdict { origin: Origin::Rpc(token), result } => {
                assert!(self.tokens.remove(&token), "a second verdict");
                self.verdict = Some(result.map(drop));
            }
            Output::Verdict { .. } | Output::Net(_) => {}
            Output::Mine(job) => self.mining = Some(*job),
            Output::StopMining(_) => self.mining = None,
            Output::Event(event) => self.take_event(event),
            Output::Dial(address) => {
                self.dials.push(address);
                if self.dials.len() > DIALS {
                    self.dials.remove(0);
                }
            }
            Output::Disconnect { peer, .. } => self.hang_up(peer),
            Output::Request { peer, id, request } => {
                assert_eq!(Request::from_bytes(&request.to_bytes(), &self.params).as_ref(), Ok(&request));
                if self.peers.contains(&peer) {
                    self.asked.push((peer, id, request));
                }
            }
            Output::Respond { id, response, .. } => {
                assert!(self.requests.remove(&id), "nobody waits for this answer");
                assert_eq!(Response::from_bytes(&response.to_bytes(), &self.params).as_ref(), Ok(&response));
            }
            Output::Publish(gossip) => {
                let again = Gossip::from_bytes(gossip.topic(), &gossip.to_bytes(), &self.params);
                assert_eq!(again.as_ref(), Ok(&gossip));
            }
            Output::Judge { message, .. } => assert!(self.messages.remove(&message), "a second judgement"),
            Output::Work { id, job } => self.jobs.push((id, job)),
        }
    }

    /// A connection is gone; the engine hears of it.
    pub(super) fn hang_up(&mut self, peer: PeerId) {
        if self.peers.remove(&peer) {
            self.asked.retain(|(asked, ..)| *asked != peer);
            self.tell(peer, PeerEvent::Disconnected);
        }
    }

    fn take_event(&mut self, event: ChainEvent) {
        let snapshot = Arc::clone(self.engine.snapshot());
        let read = |hash| {
            let header = snapshot.header(hash).expect("the disk works").map(|record| record.header);
            header.zip(snapshot.body(hash).expect("the disk works"))
        };
        match event {
            ChainEvent::Connected { height, hash, .. } => {
                let (header, body) = read(&hash).expect("what is connected can be read");
                self.look(Report::Connected { host: 0, height, header, body });
            }
            ChainEvent::Invalidated { height, hash, reason } => {
                let block = read(&hash).map(|(header, body)| Block { header, body });
                let what = format!("valid block {hash} was found invalid: {reason}");
                self.look(Report::Refused { host: 0, height, hash, block, what });
            }
            ChainEvent::Disconnected { .. } | ChainEvent::Reorganised { .. } | ChainEvent::Reconsidered { .. } => {}
            ChainEvent::BodyLost { .. }
            | ChainEvent::BodyRestored { .. }
            | ChainEvent::RepairStarted { .. }
            | ChainEvent::RepairEnded { .. } => panic!("sound data were found rotten: {event:?}"),
        }
    }

    /// At rest: the state is that of a replay from genesis, with all the money there is; the disk agrees with itself; the
    /// mempool is within its bounds, and what it gives for a block is valid on the tip.
    pub(super) fn check(&mut self) {
        assert_eq!(self.tokens, BTreeSet::new(), "submissions without a verdict");
        let snapshot = Arc::clone(self.engine.snapshot());
        let leaves = snapshot.leaves(&StateKey::MIN, &StateKey::MAX, usize::MAX).expect("the disk works");
        let tip = *self.engine.tip();
        self.look(Report::State { host: 0, tip: tip.hash, leaves });
        verify(&snapshot, &self.params, |_| {}).expect("everything on disk agrees");

        let mempool = self.engine.mempool();
        let limits = mempool.limits();
        assert!(mempool.memory() <= limits.memory && mempool.gapped_len() <= limits.gapped);
        for entry in mempool.all() {
            let txid = entry.txid();
            assert_eq!(mempool.get(&txid).map(|found| found.wire_id()), Some(entry.wire_id()));
            assert_eq!(mempool.get_by_wire_id(&entry.wire_id()).map(|found| found.txid()), Some(txid));
            assert!(
                snapshot.transaction_place(&txid).expect("the disk works").is_none(),
                "{txid} is confirmed and waits"
            );
        }
        let parts = self.engine.template_parts().expect("the disk works");
        let template = parts.build(&self.params, MINER, self.now).expect("the disk works");
        let transactions = template.transactions.iter().map(|checked| checked.transaction().clone()).collect();
        let body = drystone_core::block::Body { reward_to: MINER, transactions };
        let mut header = template.header;
        while check_header(header, &self.params).is_err() {
            header.nonce += 1;
        }
        self.look(Report::Connected { host: 0, height: template.height, header, body });
    }
}

/// What an output is called.
fn kind(output: &Output) -> &'static str {
    match output {
        Output::Verdict { result: Ok(_), .. } => "accepted",
        Output::Verdict { result: Err(_), .. } => "refused",
        Output::Mine(_) => "mine",
        Output::StopMining(_) => "stop mining",
        Output::Event(ChainEvent::Connected { own: true, .. }) => "connected its own",
        Output::Event(ChainEvent::Connected { .. }) => "connected",
        Output::Event(ChainEvent::Disconnected { .. }) => "disconnected",
        Output::Event(ChainEvent::Reorganised { .. }) => "reorganised",
        Output::Event(ChainEvent::Invalidated { .. }) => "invalidated",
        Output::Event(ChainEvent::Reconsidered { .. }) => "reconsidered",
        Output::Event(_) => "repair",
        Output::Dial(_) => "dial",
        Output::Disconnect { .. } => "disconnect",
        Output::Request { request, .. } => match request {
            Request::Status(_) => "ask for status",
            Request::Headers(_) => "ask for headers",
            Request::Bodies(_) => "ask for bodies",
            Request::BlockTransactions(..) => "ask for a block's transactions",
            Request::Reconcile(_) => "ask for ids",
            Request::Transactions(_) => "ask for transactions",
        },
        Output::Respond { response, .. } => match response {
            Response::Refused => "refuse a peer",
            Response::Status(_) => "give status",
            Response::Headers(_) => "give headers",
            Response::Bodies(_) => "give bodies",
            Response::BlockTransactions(_) => "give a block's transactions",
            Response::Reconcile(_) => "give ids",
            Response::Transactions(_) => "give transactions",
        },
        Output::Publish(Gossip::Block(_)) => "publish a block",
        Output::Publish(Gossip::Transactions(_)) => "publish transactions",
        Output::Judge { .. } => "judge",
        Output::Work { .. } => "work",
        Output::Net(_) => "net",
    }
}
