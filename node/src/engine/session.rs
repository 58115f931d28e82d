//! Connections: the handshake, what is asked and answered within which time, penalties and bans.
//!
//! The dialler speaks first, with its status; the answer is the other's status. Before that nothing else is served and
//! nothing gossiped is looked at. Everything with a deadline is a [`Timer`]: one that fires after its cause is gone does
//! nothing, so only those that a peer sets far ahead have to be taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use core::net::{IpAddr, SocketAddr};

use drystone_core::block::Body;
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::AccountId;
use drystone_core::pow::Work;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::limits::{
    BAN_MS, BAN_SCORE, FEELER_INTERVAL_MS, HANDSHAKE_MS, RECONCILE_INTERVAL_MS, REQUEST_BLOCK_BYTES, REQUEST_MS,
    SERVING_PER_PEER, STATUS_INTERVAL_MS,
};
use super::message::{
    Direction, DisconnectReason, JobId, MessageId, NetEvent, Output, PeerEvent, PeerId, Reassignment, RequestId,
};
use super::peers::{AddressBook, Banned, Bans, BookRecord, Buckets, Host, Score};
use super::relay::Relay;
use super::sync::{HeaderSync, Pace, Window};
use super::verdict::{Offence, judge_offence};
use super::wire::{PROTOCOL_VERSION, Request, Response, Status};
use super::work::{Done, Job};
use super::{Engine, Fault};
use crate::store::StoreError;

/// What is known of a connected peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) direction: Direction,
    /// Of an inbound peer, the address that it was reached at as well.
    pub(super) listens: Option<SocketAddr>,
    pub(super) since: u64,
    pub(super) last_useful: u64,
    /// What it says of itself; nothing before the handshake.
    pub(super) status: Option<Status>,
    /// The height and work of the best block that it has shown to have since: announced, or given the header of.
    pub(super) shown: (u64, Work),
    pub(super) score: Score,
    /// Its requests whose answers have not left yet.
    serving: usize,
    /// Requests to it that it did not answer, one after the other.
    silent: u32,
    silent_at: u64,
    pub(super) feeler: bool,
    /// Whether it was only tried at first, and stays because it is on another chain.
    pub(super) kept: bool,
    /// When it is asked for its status next.
    poll_at: u64,
    /// When its comparison of mempools was last returned.
    pub(super) compared_back: Option<u64>,
    /// With whose transactions the last full page of ids ended that it was given; drawn at first, so that nobody is given the same
    /// pages by everyone.
    pub(super) listed: AccountId,
    pub(super) headers: HeaderSync,
    pub(super) pace: Pace,
    /// Bodies that it gave for the download, and their bytes.
    pub(super) given: (u64, u64),
}

impl Peer {
    /// Whether it seems to hold the body at this height.
    pub(super) fn holds(&self, height: u64) -> bool {
        let since = |status: &Status| height > status.height && height <= self.shown.0;
        self.status.as_ref().is_some_and(|status| status.holds(height) || since(status))
    }

    /// Whose doing is what it does, by this name.
    pub(super) fn whose(&self, id: &PeerId) -> Whose {
        whose(*id, self.address.ip())
    }

    /// The work of the best block that it seems to have.
    pub(super) fn work(&self) -> Work {
        self.status.as_ref().map_or(Work::ZERO, |status| status.work.max(self.shown.1))
    }
}

/// What a request to a peer was for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Status,
    Headers,
    /// Bodies for the download window.
    Bodies(Vec<BlockHash>),
    /// Missing transactions of an announced block, for the attempt of this number.
    Missing(BlockHash, u64),
    /// The whole body of an announced block, for the attempt of this number.
    Whole(BlockHash, u64),
    /// A body of the main chain that rotted.
    LostBody(BlockHash),
    /// A comparison of mempools.
    Reconcile(Comparison),
    /// The transactions that it showed to be missing here.
    Transactions(Comparison),
}

/// A comparison of mempools under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Whether what it brings is passed on: the peer had asked first.
    pub(super) pass_on: bool,
    /// How many pages came before this one.
    pub(super) page: usize,
    /// Whether the page is full, so that there may be another.
    pub(super) full: bool,
}

/// A request that waits for its response.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) peer: PeerId,
    pub(super) at: u64,
    request: Request,
    purpose: Purpose,
}

/// How a peer's transactions came.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// In a batch that awaits its verdict, with so many more that were known.
    Gossip { message: MessageId, known: usize },
    /// When they were asked for.
    Reconcile(Comparison),
}

/// What a job was for.
#[derive(Debug)]
pub(super) enum Task {
    Serve(PeerId, RequestId),
    Transactions(PeerId, Source),
    Assemble(BlockHash, u64),
    Complete(BlockHash, u64),
    Body(BlockHash, PeerId),
}

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Deadline(RequestId),
    Handshake(PeerId),
    Poll(PeerId),
    DialTimeout(SocketAddr),
    Dial,
    Feeler,
    Reconcile,
    Returned,
    Batch,
    Rebroadcast,
    Race(BlockHash),
    Announcement(BlockHash),
    Headers,
    Bodies,
}

/// Everything that the engine knows of the network.
pub(super) struct Net {
    pub(super) rng: ChaCha8Rng,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) book: AddressBook,
    pub(super) bans: Bans,
    pub(super) buckets: Buckets,
    /// The highest scores of those who left, by address: nobody is absolved by hanging up, or by what others did meanwhile.
    scores: BTreeMap<Whose, Score>,
    /// Addresses that whoever runs this node wants connections to, and when each may be dialled next.
    pub(super) wanted: Vec<(SocketAddr, u64)>,
    /// Addresses that are being dialled, and whether only to try them.
    pub(super) dialling: BTreeMap<SocketAddr, bool>,
    pub(super) asked: BTreeMap<RequestId, Asked>,
    tasks: BTreeMap<JobId, Task>,
    timers: BTreeSet<(u64, Timer)>,
    next_id: u64,
    /// The computed root of the state at this block.
    root: Option<(BlockHash, StateRoot)>,
    pub(super) relay: Relay,
    pub(super) window: Window,
}

impl Net {
    /// The network of a node that has not met anybody, or has what it knew saved.
    pub(super) fn new(seed: [u8; 32], saved: Option<&[u8]>, now: u64) -> Net {
        let record = saved.and_then(|bytes| BookRecord::from_bytes(bytes).ok()).unwrap_or_default();
        let (book, bans) = record.restore();
        let timers = BTreeSet::from([
            (now, Timer::Dial),
            (now + FEELER_INTERVAL_MS, Timer::Feeler),
            (now + RECONCILE_INTERVAL_MS, Timer::Reconcile),
        ]);
        Net {
            rng: ChaCha8Rng::from_seed(seed),
            peers: BTreeMap::new(),
            book,
            bans,
            buckets: Buckets::new(),
            scores: BTreeMap::new(),
            wanted: Vec::new(),
            dialling: BTreeMap::new(),
            asked: BTreeMap::new(),
            tasks: BTreeMap::new(),
            timers,
            next_id: 0,
            root: None,
            relay: Relay::default(),
            window: Window::new(),
        }
    }

    pub(super) fn at(&mut self, due: u64, timer: Timer) {
        self.timers.insert((due, timer));
    }

    pub(super) fn not_at(&mut self, due: u64, timer: Timer) {
        self.timers.remove(&(due, timer));
    }

    /// The clock was set back: what was to come keeps its distance.
    pub(super) fn set_back(&mut self, by: u64) {
        self.timers =
            std::mem::take(&mut self.timers).into_iter().map(|(due, timer)| (due.saturating_sub(by), timer)).collect();
        self.window.set_back(by);
        self.relay.set_back(by);
        self.wanted.iter_mut().for_each(|(_, due)| *due = due.saturating_sub(by));
        self.asked.values_mut().for_each(|asked| asked.at = asked.at.saturating_sub(by));
        for peer in self.peers.values_mut() {
            peer.poll_at = peer.poll_at.saturating_sub(by);
            peer.compared_back = peer.compared_back.map(|at| at.saturating_sub(by));
            peer.since = peer.since.saturating_sub(by);
            peer.silent_at = peer.silent_at.saturating_sub(by);
            peer.last_useful = peer.last_useful.saturating_sub(by);
            peer.headers.set_back(by);
            peer.pace.set_back(by);
        }
    }

    /// Has something happen at `due` in place of when it would have.
    pub(super) fn hasten(&mut self, due: u64, timer: Timer) {
        self.timers.retain(|(_, other)| *other != timer);
        self.at(due, timer);
    }

    pub(super) fn next_timer(&self) -> Option<u64> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// The peers that shook hands, in order.
    pub(super) fn ready(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter().filter(|(_, peer)| peer.status.is_some())
    }

    /// One of the peers that shook hands and that `which` picks, drawn at random.
    pub(super) fn draw(&mut self, which: impl Fn(&PeerId, &Peer) -> bool) -> Option<PeerId> {
        let picked: Vec<PeerId> = self.ready().filter(|(id, peer)| which(id, peer)).map(|(id, _)| *id).collect();
        let count = picked.len() as u64;
        (count > 0).then(|| picked[(self.rng.next_u64() % count) as usize])
    }

    pub(super) fn refuses(&self, now: u64, peer: PeerId, ip: IpAddr) -> bool {
        self.bans.is_banned(now, Banned::Peer(peer)) || self.bans.is_banned(now, Banned::Host(ip))
    }

    /// Whose doing is what a connected peer does.
    pub(super) fn whose(&self, id: &PeerId) -> Option<Whose> {
        self.peers.get(id).map(|peer| peer.whose(id))
    }

    /// How many of a peer's batches are being checked.
    pub(super) fn batches(&self, id: &PeerId) -> usize {
        let theirs = |task: &&Task| matches!(task, Task::Transactions(peer, _) if peer == id);
        self.tasks.values().filter(theirs).count()
    }

    /// Whether a comparison of mempools with a peer is under way.
    pub(super) fn is_comparing(&self, id: &PeerId) -> bool {
        let comparing = |purpose: &Purpose| matches!(purpose, Purpose::Reconcile(_) | Purpose::Transactions(_));
        self.asked.values().any(|asked| asked.peer == *id && comparing(&asked.purpose))
    }

    /// What a peer holds of this node's memory, by [`peer_bytes`](super::limits::peer_bytes)' count.
    pub(super) fn peer_bytes(&self, id: &PeerId) -> usize {
        let Some(peer) = self.peers.get(id) else { return 0 };
        let asked = self.asked.values().filter(|asked| asked.peer == *id).map(|asked| asked.request.bytes());
        4096 + peer.headers.bytes() + asked.sum::<usize>() + self.relay.announcement_bytes(id)
    }
}

/// Whose doing something is: an address's, or on this machine, where all share one, a name's.
type Whose = (IpAddr, Option<PeerId>);

fn whose(id: PeerId, ip: IpAddr) -> Whose {
    let ip = Host::of(ip).address();
    (ip, ip.is_loopback().then_some(id))
}

impl Engine {
    pub(super) fn take_peer_event(&mut self, peer: PeerId, event: PeerEvent) -> Result<(), Fault> {
        match event {
            PeerEvent::Connected { address, direction } => self.connected(peer, address, direction)?,
            PeerEvent::Disconnected => self.disconnected(&peer),
            PeerEvent::Gossip { message, gossip } => self.take_gossip(peer, message, gossip)?,
            PeerEvent::Request { id, request } => self.take_request(peer, id, request)?,
            PeerEvent::Response { id, response } => self.take_response(peer, id, response)?,
            PeerEvent::NoResponse { id } => self.take_silence(peer, id)?,
            PeerEvent::Sent { .. } => {
                if let Some(peer) = self.net.peers.get_mut(&peer) {
                    peer.serving = peer.serving.saturating_sub(1);
                }
            }
            PeerEvent::Offence(offence) => self.penalise(peer, offence),
            PeerEvent::Stranger => self.drop_stranger(peer, DisconnectReason::Stranger),
            PeerEvent::Listens(address) => self.listens_at(peer, address),
        }
        Ok(())
    }

    fn connected(&mut self, id: PeerId, address: SocketAddr, direction: Direction) -> Result<(), Fault> {
        let now = self.now;
        let feeler = match direction {
            Direction::Outbound => self.net.dialling.remove(&address).unwrap_or(false),
            Direction::Inbound => false,
        };
        if let Some(peer) = self.net.peers.get_mut(&id) {
            // It came in before; now its own address is known too, and needs no dial.
            if direction == Direction::Outbound {
                peer.listens = Some(address);
                self.net.book.reached(now, address);
            }
            return Ok(());
        }
        if let Err(reason) = self.place(id, address.ip(), direction) {
            if direction == Direction::Outbound {
                self.dialled_in_vain(address);
            }
            self.outputs.push(Output::Disconnect { peer: id, reason });
            return Ok(());
        }
        self.net.buckets.connected(now, id, address.ip());
        let mut listed = [0; 32];
        self.net.rng.fill_bytes(&mut listed);
        let peer = Peer {
            address,
            direction,
            listens: None,
            since: now,
            last_useful: 0,
            status: None,
            shown: (0, Work::ZERO),
            score: self.net.scores.get(&whose(id, address.ip())).copied().unwrap_or_default(),
            serving: 0,
            silent: 0,
            silent_at: 0,
            feeler,
            kept: false,
            poll_at: 0,
            compared_back: None,
            listed: AccountId(listed),
            headers: HeaderSync::default(),
            pace: Pace::default(),
            given: (0, 0),
        };
        self.net.peers.insert(id, peer);
        self.net.at(now + HANDSHAKE_MS, Timer::Handshake(id));
        if direction == Direction::Outbound {
            let status = self.own_status()?;
            self.ask(id, Request::Status(status), Purpose::Status, HANDSHAKE_MS);
        }
        Ok(())
    }

    /// Closes a peer's connections and forgets it.
    pub(super) fn drop_peer(&mut self, id: PeerId, reason: DisconnectReason) {
        self.outputs.push(Output::Disconnect { peer: id, reason });
        self.disconnected(&id);
    }

    /// Closes the connections of a peer that is no node of this chain. That is no offence, and its address is worth little.
    fn drop_stranger(&mut self, id: PeerId, reason: DisconnectReason) {
        let outbound = self.net.peers.get(&id).filter(|peer| peer.direction == Direction::Outbound);
        if let Some(address) = outbound.map(|peer| peer.address) {
            self.dialled_in_vain(address);
        }
        self.drop_peer(id, reason);
    }

    fn disconnected(&mut self, id: &PeerId) {
        let Some(peer) = self.net.peers.remove(id) else { return };
        let (now, key) = (self.now, peer.whose(id));
        let kept = self.net.scores.get(&key).map_or(0, |score| score.at(now));
        if peer.score.at(now) > kept {
            self.net.scores.insert(key, peer.score);
            if self.net.scores.len() > super::limits::BANS {
                let lowest = self.net.scores.iter().min_by_key(|(_, score)| score.at(now)).map(|(key, _)| *key);
                lowest.and_then(|key| self.net.scores.remove(&key));
            }
        }
        self.net.buckets.disconnected(self.now, id);
        let lost: Vec<RequestId> =
            self.net.asked.iter().filter(|(_, asked)| asked.peer == *id).map(|(id, _)| *id).collect();
        for request in lost {
            let asked = self.net.asked.remove(&request).expect("listed a moment ago");
            self.give_up(asked, Reassignment::Lost);
        }
        self.forget_announcements(id);
        self.forget_page(id);
        self.count_peers();
    }

    /// Mining and anchors depend on who is connected.
    fn count_peers(&mut self) {
        self.mining.peers = self.net.ready().count();
        self.look_at_mining = true;
        let mut outbound: Vec<(u64, SocketAddr)> = self
            .net
            .ready()
            .filter(|(_, peer)| peer.direction == Direction::Outbound && !peer.feeler)
            .map(|(_, peer)| (peer.since, peer.address))
            .collect();
        outbound.sort();
        // With nobody connected the last anchors stay: that is when they are needed.
        if !outbound.is_empty() {
            let anchors: Vec<SocketAddr> = outbound.into_iter().map(|(_, address)| address).collect();
            self.net.book.set_anchors(&anchors);
        }
    }

    /// Counts points against a peer for an offence, and bans it when they are too many.
    pub(super) fn penalise(&mut self, id: PeerId, offence: Offence) {
        let points = judge_offence(&offence);
        let now = self.now;
        let Some(peer) = self.net.peers.get_mut(&id) else { return };
        let total = peer.score.add(now, points);
        if points > 0 {
            self.outputs.push(Output::Net(NetEvent::Penalty { peer: id, offence: offence.clone(), points }));
        }
        if total < BAN_SCORE {
            return;
        }
        let ip = peer.address.ip().to_canonical();
        // Everybody on this machine has a loopback address.
        let whom = if ip.is_loopback() { Banned::Peer(id) } else { Banned::Host(ip) };
        self.drop_peer(id, DisconnectReason::Banned(offence));
        // With all that is connected from the same address.
        self.ban(whom, now + BAN_MS);
    }

    /// Notes that a peer was of use, which protects its place.
    pub(super) fn was_useful(&mut self, id: &PeerId) {
        let now = self.now;
        if let Some(peer) = self.net.peers.get_mut(id) {
            peer.last_useful = now;
            peer.silent = 0;
        }
    }

    /// Asks a peer; an answer after `patience` milliseconds is too late.
    pub(super) fn ask(&mut self, peer: PeerId, request: Request, purpose: Purpose, patience: u64) -> RequestId {
        let id = RequestId(self.next_id());
        let asked = Asked { peer, at: self.now, request: request.clone(), purpose };
        self.net.asked.insert(id, asked);
        self.net.at(self.now + patience, Timer::Deadline(id));
        self.outputs.push(Output::Request { peer, id, request });
        id
    }

    /// Gives work out.
    pub(super) fn give_out(&mut self, job: Job, task: Task) {
        let id = JobId(self.next_id());
        self.net.tasks.insert(id, task);
        self.outputs.push(Output::Work { id, job });
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.net.next_id += 1;
        self.net.next_id
    }

    pub(super) fn take_done(&mut self, id: JobId, done: Done) -> Result<(), Fault> {
        match (self.net.tasks.remove(&id), done) {
            (Some(Task::Serve(peer, id)), Done::Served(result)) => {
                let response = match result {
                    Ok(response) => response,
                    Err(error @ StoreError::Rotten(_)) => {
                        // Reading for a stranger starts no repair; the node finds it when it needs it itself.
                        self.outputs.push(Output::Net(NetEvent::Unserved { peer, reason: error.to_string() }));
                        Response::Refused
                    }
                    Err(error) => return Err(error.into()),
                };
                self.outputs.push(Output::Respond { peer, id, response });
            }
            (Some(Task::Transactions(peer, source)), Done::Transactions(result)) => {
                self.transactions_checked(peer, source, result)?;
            }
            (Some(Task::Assemble(hash, number)), Done::Assembled(assembled)) => {
                self.assembled(hash, number, assembled)?;
            }
            (Some(Task::Complete(hash, number)), Done::Block(result)) => self.completed(hash, number, result)?,
            (Some(Task::Body(hash, peer)), Done::Block(result)) => self.body_checked(hash, peer, result)?,
            // A job of an engine before a restart.
            _ => {}
        }
        Ok(())
    }

    fn take_request(&mut self, peer: PeerId, id: RequestId, request: Request) -> Result<(), Fault> {
        let now = self.now;
        let Some(known) = self.net.peers.get_mut(&peer) else { return Ok(()) };
        let (ready, serving) = (known.status.is_some(), known.serving);
        known.serving += 1;
        let within = match &request {
            Request::Reconcile(_) => self.net.buckets.take_comparison(now, &peer),
            // The whole block is read and decoded, however little of it is asked for.
            Request::BlockTransactions(hash, _) if !self.net.relay.is_recent(hash) => {
                let whole = self.params.max_block_bytes.div_ceil(REQUEST_BLOCK_BYTES);
                self.net.buckets.take_requests(now, &peer, whole)
            }
            _ => self.net.buckets.take_requests(now, &peer, 1),
        };
        let response = match request {
            Request::Status(status) if within => {
                let response = Response::Status(self.own_status()?);
                // Before it has this, the peer serves nothing that hearing its own status makes this node ask.
                self.outputs.push(Output::Respond { peer, id, response });
                self.take_status(peer, status)?;
                return Ok(());
            }
            _ if !within || !ready || serving >= SERVING_PER_PEER => Response::Refused,
            Request::Reconcile(digests) => match self.waiting_ids(&peer, &digests) {
                Some(ids) => {
                    self.outputs.push(Output::Respond { peer, id, response: Response::Reconcile(ids) });
                    self.reconcile_back(peer, &digests);
                    return Ok(());
                }
                None => {
                    self.penalise(peer, Offence::Greedy);
                    return Ok(());
                }
            },
            Request::Transactions(ids) => Response::Transactions(self.waiting_transactions(&ids)),
            request => {
                let recent: Vec<(BlockHash, Arc<Body>)> = self.net.relay.recent().cloned().collect();
                let job = Job::Serve { snapshot: Arc::clone(&self.snapshot), recent, request };
                self.give_out(job, Task::Serve(peer, id));
                return Ok(());
            }
        };
        self.outputs.push(Output::Respond { peer, id, response });
        Ok(())
    }

    fn take_response(&mut self, peer: PeerId, id: RequestId, response: Response) -> Result<(), Fault> {
        // A response after its deadline finds nothing here, and is nobody's fault.
        let Some(asked) = self.net.asked.remove(&id).filter(|asked| asked.peer == peer) else { return Ok(()) };
        if !asked.request.is_answered_by(&response) {
            let refused = response == Response::Refused;
            self.give_up(asked, if refused { Reassignment::Refused } else { Reassignment::Wrong });
            if !refused {
                self.penalise(peer, Offence::Unasked);
            }
            return Ok(());
        }
        if let Some(peer) = self.net.peers.get_mut(&peer) {
            peer.silent = 0;
        }
        match (asked.purpose, response) {
            (Purpose::Status, Response::Status(status)) => self.take_status(peer, status)?,
            (Purpose::Headers, Response::Headers(headers)) => self.take_headers(peer, headers)?,
            (Purpose::Bodies(hashes), Response::Bodies(bodies)) => {
                self.take_bodies(peer, asked.at, &hashes, bodies)?;
            }
            (Purpose::Missing(hash, number), Response::BlockTransactions(transactions)) => {
                self.take_missing(peer, hash, number, transactions)?;
            }
            (Purpose::Whole(hash, number), Response::Bodies(bodies)) => {
                self.take_whole(peer, hash, number, bodies.into_iter().next().flatten())?;
            }
            (Purpose::LostBody(hash), Response::Bodies(bodies)) => {
                self.take_lost_body(peer, hash, bodies.into_iter().next().flatten())?;
            }
            (Purpose::Reconcile(comparison), Response::Reconcile(ids)) => self.take_ids(peer, ids, comparison),
            (Purpose::Transactions(comparison), Response::Transactions(transactions)) => {
                self.take_pulled(peer, transactions, comparison);
            }
            _ => unreachable!("a purpose goes with its request, and the response was held against that"),
        }
        Ok(())
    }

    fn take_silence(&mut self, peer: PeerId, id: RequestId) -> Result<(), Fault> {
        if let Some(asked) = self.net.asked.remove(&id).filter(|asked| asked.peer == peer) {
            self.silent(asked);
        }
        Ok(())
    }

    /// A request came to nothing. Three in a row end a connection: who never answers only takes a place.
    fn silent(&mut self, asked: Asked) {
        const PATIENCE: u32 = 3;
        let (id, asked_at) = (asked.peer, asked.at);
        self.give_up(asked, Reassignment::Deadline);
        let now = self.now;
        let Some(peer) = self.net.peers.get_mut(&id) else { return };
        // Requests that were under way together are one silence.
        if asked_at < peer.silent_at {
            return;
        }
        peer.silent_at = now;
        peer.silent += 1;
        if peer.silent >= PATIENCE {
            self.drop_peer(id, DisconnectReason::Unresponsive);
        }
    }

    /// Does without an answer.
    fn give_up(&mut self, asked: Asked, reason: Reassignment) {
        match asked.purpose {
            // The next poll, timer or look at the disk asks again.
            Purpose::Status | Purpose::LostBody(_) | Purpose::Reconcile(_) | Purpose::Transactions(_) => {}
            Purpose::Headers => self.headers_failed(asked.peer),
            Purpose::Bodies(hashes) => self.bodies_failed(asked.peer, &hashes, reason),
            Purpose::Missing(hash, number) | Purpose::Whole(hash, number) => {
                self.fetch_failed(asked.peer, hash, number);
            }
        }
    }

    /// Hears what a peer says of itself.
    fn take_status(&mut self, id: PeerId, status: Status) -> Result<(), Fault> {
        let now = self.now;
        let Some(peer) = self.net.peers.get_mut(&id) else { return Ok(()) };
        let (address, outbound, feeler) = (peer.address, peer.direction == Direction::Outbound, peer.feeler);
        let foreign = if status.chain_id != self.chain_id {
            Some(DisconnectReason::OtherChain(status.chain_id))
        } else if status.version != PROTOCOL_VERSION {
            Some(DisconnectReason::OtherVersion(status.version))
        } else {
            None
        };
        if let Some(reason) = foreign {
            self.drop_stranger(id, reason);
            return Ok(());
        }
        let (first, height) = (peer.status.is_none(), status.height);
        let (hash, found) = (status.hash, status.state_root);
        peer.status = Some(status);
        peer.shown = (0, Work::ZERO);
        self.net.window.reconsider(&hash, &id, peer);
        if first && outbound {
            self.net.book.reached(now, address);
            if feeler && !self.keep_trial(&id)? {
                self.drop_peer(id, DisconnectReason::Feeler);
                return Ok(());
            }
        }
        if let Some(record) = self.index.get(&self.snapshot, &hash)? {
            let required = record.header.state_root;
            if required != found {
                let event = NetEvent::StateMismatch { peer: id, height: record.height, required, found };
                self.outputs.push(Output::Net(event));
                self.penalise(id, Offence::WrongState);
            }
        }
        if first {
            let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
            self.outputs.push(Output::Net(NetEvent::Joined { peer: id, direction, height }));
            self.count_peers();
            let due = now + STATUS_INTERVAL_MS / 2 + self.net.rng.next_u64() % STATUS_INTERVAL_MS;
            self.poll_at(id, due);
            self.reconcile_with(id);
        }
        self.consider_headers(id)?;
        self.ask_for_bodies()
    }

    fn poll_at(&mut self, id: PeerId, due: u64) {
        if let Some(peer) = self.net.peers.get_mut(&id) {
            peer.poll_at = due;
            self.net.at(due, Timer::Poll(id));
        }
    }

    /// A peer is to hear this node's status by then, in place of at its next poll.
    pub(super) fn poll_by(&mut self, id: PeerId, due: u64) {
        if self.net.peers.get(&id).is_some_and(|peer| peer.poll_at > due) {
            self.poll_at(id, due);
        }
    }

    /// What this node says of itself: the tip, and the root that its own tree has, not the one that the header claims.
    pub(super) fn own_status(&mut self) -> Result<Status, Fault> {
        let tip = self.tip;
        let root = match self.net.root {
            Some((hash, root)) if hash == tip.hash => root,
            _ => drystone_core::state::root(&*self.snapshot)?,
        };
        if root != tip.header.state_root && self.repairing.is_none() {
            return Err(Fault::state(format!(
                "the state's root is {root}, the tip's header says {}",
                tip.header.state_root
            )));
        }
        self.net.root = Some((tip.hash, root));
        Ok(Status {
            version: PROTOCOL_VERSION,
            chain_id: self.chain_id,
            height: tip.height,
            hash: tip.hash,
            work: tip.work,
            state_root: root,
            held: if tip.height > 0 { vec![(1, tip.height)] } else { Vec::new() },
        })
    }

    /// A peer has shown that it has a block: it may be asked for it. That is no claim of its own: who passes an announcement
    /// on vouches for its work and its root, not for what its block does to the state.
    pub(super) fn peer_has(&mut self, id: &PeerId, height: u64, work: Work) {
        if let Some(peer) = self.net.peers.get_mut(id).filter(|peer| work > peer.shown.1) {
            peer.shown = (height, work);
        }
    }

    /// Does everything whose time has come. What that sets for at once is for the next step: none is without an end.
    pub(super) fn fire_timers(&mut self) -> Result<(), Fault> {
        let all_due: Vec<(u64, Timer)> =
            self.net.timers.iter().take_while(|(due, _)| *due <= self.now).copied().collect();
        for (due, timer) in all_due {
            // One that fired before may have hastened this one.
            if self.net.timers.remove(&(due, timer)) {
                self.fire(due, timer)?;
            }
        }
        Ok(())
    }

    fn fire(&mut self, due: u64, timer: Timer) -> Result<(), Fault> {
        let now = self.now;
        match timer {
            Timer::Deadline(id) => {
                if let Some(asked) = self.net.asked.remove(&id) {
                    self.penalise(asked.peer, Offence::Slow);
                    self.silent(asked);
                }
            }
            Timer::Handshake(id) => {
                let known = self.net.peers.get(&id);
                if let Some(peer) = known.filter(|peer| peer.status.is_none() && now >= peer.since + HANDSHAKE_MS) {
                    if peer.direction == Direction::Outbound {
                        self.net.book.failed(now, peer.address);
                    }
                    self.drop_peer(id, DisconnectReason::NoHandshake);
                }
            }
            Timer::Poll(id) => {
                // One of an earlier connection of the peer is void.
                if self.net.peers.get(&id).is_some_and(|peer| peer.poll_at == due) {
                    self.poll_at(id, now + STATUS_INTERVAL_MS);
                    let status = self.own_status()?;
                    self.ask(id, Request::Status(status), Purpose::Status, REQUEST_MS);
                }
            }
            Timer::Headers => self.consider_all_headers()?,
            Timer::DialTimeout(address) => self.dial_failed(address),
            Timer::Dial => self.dial(),
            Timer::Feeler => self.try_address(),
            Timer::Reconcile => {
                self.net.at(now + RECONCILE_INTERVAL_MS, Timer::Reconcile);
                if let Some(peer) = self.net.draw(|_, _| true) {
                    self.reconcile_with(peer);
                }
            }
            Timer::Returned => self.offer_returned(),
            Timer::Batch => self.publish_batch(),
            Timer::Rebroadcast => self.rebroadcast(),
            Timer::Race(hash) => self.race(hash),
            Timer::Announcement(hash) => self.take_due_announcement(hash)?,
            Timer::Bodies => self.ask_for_bodies()?,
        }
        Ok(())
    }

    /// What is worth keeping over a restart.
    pub(super) fn book_to_save(&mut self) -> Vec<u8> {
        self.net.book.forget(self.now);
        BookRecord::of(self.now, &self.net.book, &self.net.bans).to_bytes()
    }
}
