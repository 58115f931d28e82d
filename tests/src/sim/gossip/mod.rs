//! Gossipsub v1.1 as one host runs it: a frame, a verdict or a heartbeat goes in, what to send and to deliver comes out.
//!
//! A message lives in three places, one after the other. *Pending*: delivered to the application, which has not judged it.
//! *Cached*: accepted, forwarded to the mesh, handed out to who asks. *Seen*: only its id, so that copies are dropped.
//! Along the few links of the mesh messages are pushed; to some of the other peers each heartbeat tells the ids alone
//! (IHAVE), and who misses one asks for it (IWANT). So a host whose mesh is broken or hostile still hears, one round later.
//!
//! Sources: libp2p's specification pubsub/gossipsub, v1.0 and v1.1, and where it is silent its Rust implementation. Left out
//! are what the program does not turn on: flood publishing, peer exchange and explicit peers. Of the scores only what rejected
//! messages cost is here, and only him who was first with one; slow readers lose nothing. The time that a peer spent in meshes is left out: there it makes up for one
//! rejected message at most, the four that spent most stay when a mesh is pruned, and once a minute up to two peers come into one
//! whose median spent less than they did in the other one (opportunistic grafting).

mod frame;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use drystone_node::engine::message::Direction;
use drystone_node::engine::verdict::Disposition;
use drystone_node::engine::wire::Topic;

pub use frame::{Frame, GossipId};

use crate::random::Random;

/// D: how many mesh peers a topic shall have.
pub const MESH: usize = 6;
/// D_low: with fewer, the heartbeat grafts up to D.
pub const MESH_LOW: usize = 5;
/// D_high: with so many, the heartbeat prunes down to D, and GRAFT is refused to whoever was not dialled by this host.
pub const MESH_HIGH: usize = 12;
/// D_out: how many peers that this host dialled are in each mesh, if it has so many: who dials it may be many and of one will.
pub const MESH_DIALLED: usize = 2;
/// D_lazy: how many peers outside of the mesh each heartbeat tells the ids of new messages, at least.
pub const LAZY: usize = 6;
/// The inverse of the gossip factor: of the peers outside of the mesh each heartbeat tells one in so many, if they are more.
pub const LAZY_PART: usize = 4;

/// Milliseconds between two heartbeats; the caller keeps them.
pub const HEARTBEAT_MS: u64 = 1_000;
/// For how many heartbeats from its arrival the id of a message is told, once it is accepted.
pub const GOSSIP_BEATS: u64 = 3;
/// For how many heartbeats from its arrival a message is kept, pending or in the cache.
pub const HISTORY_BEATS: u64 = 30;
/// How long an id is known as seen, in milliseconds: as long as a message can wait and be handed out.
pub const SEEN_MS: u64 = 60_000;
/// How long after a PRUNE neither side may GRAFT, in milliseconds.
pub const BACKOFF_MS: u64 = 60_000;
/// How much longer we wait ourselves, as the other side's time began when our PRUNE arrived: one heartbeat.
pub const BACKOFF_SLACK_MS: u64 = HEARTBEAT_MS;
/// How long an id that was asked for is not asked for again, in milliseconds.
pub const ASK_AGAIN_MS: u64 = 10_000;

/// One rejected message in the unit in which they are counted, as the count decays.
pub const REJECT: u64 = 1_000_000;
/// What each heartbeat takes from such a count, in millionths: half of it is gone after ten minutes.
pub const REJECT_DECAY: u64 = 1_155;
/// A count below this is none.
pub const REJECT_LEAST: u64 = REJECT / 10;
/// The penalty, the sum over topics of the squares of rejected messages, above which a peer's IHAVE and IWANT are not read and it
/// is told no ids: four messages. Above 0 already it is in no mesh.
pub const GOSSIP_PENALTY: u64 = 10;
/// The penalty above which nothing is published to a peer outside of the mesh: eight messages.
pub const PUBLISH_PENALTY: u64 = 50;
/// The penalty above which nothing of a peer is read: 21 messages, twice what bans it.
pub const GRAYLIST_PENALTY: u64 = 400;
/// How long the count of a peer that left is kept, in milliseconds.
pub const RETAIN_MS: u64 = 10_000;
/// How often one peer gets one message for the asking.
pub const ANSWERS: u32 = 3;
/// IHAVE frames read of one peer between two heartbeats.
pub const IHAVES_PER_BEAT: u32 = 10;
/// Ids in one IHAVE or IWANT, and asked of one peer between two heartbeats: 2 kB.
pub const IDS: usize = 64;

/// Peers remembered, with those that left in backoff or blame. A host has about a hundred connections.
pub const PEERS: usize = 1_024;
/// Messages waiting for their verdict: in 30 s, 136 a second. One more, and the oldest is forgotten.
pub const PENDING: usize = 4_096;
/// Messages in the cache: in 30 s, 273 a second. One more, and the oldest is forgotten.
pub const CACHED: usize = 8_192;
/// Ids known as seen: in 60 s, 1,092 a second. One more, and the oldest is forgotten.
pub const SEEN: usize = 65_536;
/// Ids asked for in the last 10 s: all that 64 peers may be asked for between two heartbeats.
pub const ASKED: usize = 64 * IDS;

/// The topics that every host subscribes to.
const TOPICS: [Topic; 2] = [Topic::Blocks, Topic::Transactions];

/// What the caller shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a frame.
    Send {
        /// To this peer.
        to: usize,
        /// This one.
        frame: Frame,
    },
    /// Hand a message to the application, which shall [`Router::judge`] it.
    Deliver {
        /// Who sent it first.
        from: usize,
        /// Its topic.
        topic: Topic,
        /// Its id.
        id: GossipId,
        /// What was said.
        bytes: Arc<[u8]>,
    },
}

/// What is known of a peer, for a while also after it left: coming back at once clears neither a backoff nor blame.
#[derive(Clone, Debug, Default)]
struct Peer {
    connected: bool,
    /// Whether this host opened the connection.
    dialled: bool,
    /// When it left, if it is not connected.
    left_at: u64,
    /// By topic, messages of it that were rejected, in parts of [`REJECT`].
    rejects: [u64; TOPICS.len()],
    /// By topic, until when neither side may graft.
    backoff_until: [u64; TOPICS.len()],
    /// IHAVE frames of it since the last heartbeat.
    ihaves: u32,
    /// Ids asked of it since the last heartbeat.
    asked: usize,
}

impl Peer {
    /// The negative of its score, in parts of the square of [`REJECT`].
    fn penalty(&self) -> u128 {
        self.rejects.iter().map(|rejects| u128::from(*rejects).pow(2)).sum()
    }

    fn is_above(&self, penalty: u64) -> bool {
        self.penalty() > u128::from(penalty) * u128::from(REJECT).pow(2)
    }

    fn is_graylisted(&self) -> bool {
        self.is_above(GRAYLIST_PENALTY)
    }

    /// What it did counts less than a heartbeat ago.
    fn decay(&mut self) {
        for rejects in &mut self.rejects {
            *rejects -= *rejects * REJECT_DECAY / REJECT;
            if *rejects < REJECT_LEAST {
                *rejects = 0;
            }
        }
    }
}

/// A message that the application has or had.
#[derive(Clone, Debug)]
struct Message {
    topic: Topic,
    bytes: Arc<[u8]>,
    /// How many heartbeats had been when it came to where it is.
    beat: u64,
}

/// The state of gossip at one host.
#[derive(Clone, Debug, Default)]
pub struct Router {
    /// At most [`PEERS`].
    peers: BTreeMap<usize, Peer>,
    /// By topic, connected peers; of those that were not dialled at most [`MESH_HIGH`]. Who is to blame leaves at the next
    /// heartbeat.
    mesh: [BTreeSet<usize>; TOPICS.len()],
    /// Heartbeats so far.
    beat: u64,
    /// At most [`SEEN`].
    seen: BTreeSet<GossipId>,
    /// `seen` with the time of each, oldest first.
    seen_order: VecDeque<(u64, GossipId)>,
    /// Messages without a verdict, with their source; at most [`PENDING`].
    pending: BTreeMap<GossipId, (usize, Message)>,
    /// Accepted and own messages, with how often which peer got them for the asking; at most [`CACHED`].
    cache: BTreeMap<GossipId, (Message, BTreeMap<usize, u32>)>,
    /// When an id was asked for last; at most [`ASKED`].
    asked: BTreeMap<GossipId, u64>,
}

impl Router {
    /// A host without peers.
    pub fn new() -> Router {
        Router::default()
    }

    /// The first connection to `peer`, which subscribes to both topics. The next heartbeat may graft it.
    ///
    /// Beyond [`PEERS`] of them at once it is not noticed; the caller's limit on connections is far below.
    pub fn joined(&mut self, now: u64, peer: usize, direction: Direction) {
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS {
            self.forget_departed(now);
        }
        if !self.peers.contains_key(&peer) && self.peers.len() >= PEERS {
            let departed = self.peers.iter().filter(|(_, known)| !known.connected);
            let Some(least_blamed) = departed.min_by_key(|(_, known)| known.penalty()).map(|(peer, _)| *peer) else {
                return;
            };
            self.peers.remove(&least_blamed);
        }
        let known = self.peers.entry(peer).or_default();
        (known.connected, known.dialled) = (true, direction == Direction::Outbound);
    }

    /// The connection to `peer` ended.
    pub fn left(&mut self, now: u64, peer: usize) {
        if let Some(known) = self.peers.get_mut(&peer) {
            (known.connected, known.left_at) = (false, now);
        }
        self.mesh.iter_mut().for_each(|mesh| {
            mesh.remove(&peer);
        });
    }

    /// A frame arrived. One of a peer that left or is graylisted is not read.
    pub fn receive(&mut self, now: u64, from: usize, frame: Frame, rng: &mut Random) -> Vec<Effect> {
        let Some(peer) = self.peers.get(&from).filter(|peer| peer.connected && !peer.is_graylisted()) else {
            return Vec::new();
        };
        match frame {
            Frame::IHave { .. } | Frame::IWant { .. } if peer.is_above(GOSSIP_PENALTY) => Vec::new(),
            Frame::Publish { topic, id, bytes } => self.take_message(now, from, topic, id, bytes),
            Frame::IHave { ids, .. } => self.ask_for_unseen(now, from, ids, rng),
            Frame::IWant { ids } => self.answer(from, &ids),
            Frame::Graft { topic } => self.take_graft(now, from, topic),
            Frame::Prune { topic } => {
                self.unlink(now, from, topic);
                Vec::new()
            }
        }
    }

    /// Says something to everybody: to the mesh, and where that is smaller than [`MESH`] to random peers as well. What was seen
    /// before is not said again.
    pub fn publish(&mut self, now: u64, topic: Topic, bytes: Arc<[u8]>, rng: &mut Random) -> Vec<Effect> {
        let id = GossipId::of(topic, &bytes);
        if !self.mark_seen(now, id) {
            return Vec::new();
        }
        let mesh = &self.mesh[topic as usize];
        let others = self.better_than(PUBLISH_PENALTY).filter(|peer| !mesh.contains(peer)).collect();
        let extra = sample(others, MESH.saturating_sub(mesh.len()), rng);
        let to: Vec<usize> = mesh.iter().copied().chain(extra).collect();
        let message = Message { topic, bytes, beat: self.beat };
        let effects = to.into_iter().map(|to| publish_to(to, id, &message)).collect();
        self.put_in_cache(id, message);
        effects
    }

    /// The application's verdict on a message that it got from `from`. One that comes after the message was forgotten, or
    /// for another delivery of it, does nothing.
    pub fn judge(&mut self, from: usize, id: GossipId, disposition: Disposition) -> Vec<Effect> {
        if self.pending.get(&id).is_none_or(|(source, _)| *source != from) {
            return Vec::new();
        }
        let (source, message) = self.pending.remove(&id).expect("it was found just now");
        match disposition {
            Disposition::Accept => {
                let to = self.mesh[message.topic as usize].iter().filter(|to| **to != source);
                let effects = to.map(|to| publish_to(*to, id, &message)).collect();
                self.put_in_cache(id, message);
                effects
            }
            Disposition::Ignore => Vec::new(),
            Disposition::Reject => {
                if let Some(peer) = self.peers.get_mut(&source) {
                    peer.rejects[message.topic as usize] += REJECT;
                }
                Vec::new()
            }
        }
    }

    /// Keeps the meshes at their size, tells the ids of new messages, and forgets what is old. To be called each
    /// [`HEARTBEAT_MS`].
    pub fn heartbeat(&mut self, now: u64, rng: &mut Random) -> Vec<Effect> {
        let mut effects = Vec::new();
        for topic in TOPICS {
            effects.extend(self.prune_the_blamed(now, topic));
            effects.extend(self.graft_up_to_d(now, topic, rng));
            effects.extend(self.prune_down_to_d(now, topic, rng));
            effects.extend(self.graft_dialled(now, topic, rng));
        }
        for topic in TOPICS {
            effects.extend(self.tell_new_ids(topic, rng));
        }
        self.beat += 1;
        self.forget_old(now);
        effects
    }

    /// The mesh peers of a topic, in order.
    pub fn mesh(&self, topic: Topic) -> impl Iterator<Item = usize> {
        self.mesh[topic as usize].iter().copied()
    }

    /// The messages that this host accepted lately and would give to others.
    pub fn cached(&self) -> impl Iterator<Item = (Topic, &Arc<[u8]>)> {
        self.cache.values().map(|(message, _)| (message.topic, &message.bytes))
    }

    /// Whether everything of `peer` is ignored: the graylist.
    pub fn ignores(&self, peer: usize) -> bool {
        self.peers.get(&peer).is_some_and(Peer::is_graylisted)
    }

    /// The connected peers whose penalty is at most this.
    fn better_than(&self, penalty: u64) -> impl Iterator<Item = usize> {
        self.peers.iter().filter(move |(_, peer)| peer.connected && !peer.is_above(penalty)).map(|(peer, _)| *peer)
    }

    fn take_message(&mut self, now: u64, from: usize, topic: Topic, id: GossipId, bytes: Arc<[u8]>) -> Vec<Effect> {
        if !self.mark_seen(now, id) {
            return Vec::new();
        }
        self.asked.remove(&id);
        if self.pending.len() >= PENDING {
            remove_oldest(&mut self.pending, |(_, message)| message.beat);
        }
        self.pending.insert(id, (from, Message { topic, bytes: bytes.clone(), beat: self.beat }));
        vec![Effect::Deliver { from, topic, id, bytes }]
    }

    /// IHAVE: asks for what is new and was not asked of anyone just now. Which ids are left out when they are too many is
    /// random, so that a peer cannot hide one behind others.
    fn ask_for_unseen(&mut self, now: u64, from: usize, mut ids: Vec<GossipId>, rng: &mut Random) -> Vec<Effect> {
        let peer = self.peers.get_mut(&from).expect("frames of unknown peers are not read");
        peer.ihaves += 1;
        if peer.ihaves > IHAVES_PER_BEAT {
            return Vec::new();
        }
        rng.shuffle(&mut ids);
        let allowed = (IDS - peer.asked).min(ASKED.saturating_sub(self.asked.len()));
        let mut wanted = Vec::new();
        for id in ids {
            if wanted.len() == allowed {
                break;
            }
            let asked_lately = self.asked.get(&id).is_some_and(|at| now < at + ASK_AGAIN_MS);
            if !asked_lately && !self.seen.contains(&id) {
                self.asked.insert(id, now);
                wanted.push(id);
            }
        }
        peer.asked += wanted.len();
        if wanted.is_empty() {
            return Vec::new();
        }
        vec![Effect::Send { to: from, frame: Frame::IWant { ids: wanted } }]
    }

    /// IWANT: hands out what the cache has, each message a few times to each peer.
    fn answer(&mut self, to: usize, ids: &[GossipId]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for id in ids.iter().take(IDS) {
            if let Some((message, answers)) = self.cache.get_mut(id) {
                let answers = answers.entry(to).or_default();
                if *answers < ANSWERS {
                    *answers += 1;
                    effects.push(publish_to(to, *id, message));
                }
            }
        }
        effects
    }

    /// GRAFT: taken unless in backoff, which then begins anew, or from who is to blame, or full. For whom this host chose to
    /// dial there is always room.
    fn take_graft(&mut self, now: u64, from: usize, topic: Topic) -> Vec<Effect> {
        let mesh = &mut self.mesh[topic as usize];
        if mesh.contains(&from) {
            return Vec::new();
        }
        let peer = &self.peers[&from];
        let full = mesh.len() >= MESH_HIGH && !peer.dialled;
        if now < peer.backoff_until[topic as usize] || peer.is_above(0) || full {
            self.unlink(now, from, topic);
            return vec![Effect::Send { to: from, frame: Frame::Prune { topic } }];
        }
        mesh.insert(from);
        Vec::new()
    }

    /// The link to `peer` ends, by its PRUNE or ours, and the backoff begins.
    fn unlink(&mut self, now: u64, peer: usize, topic: Topic) {
        self.mesh[topic as usize].remove(&peer);
        if let Some(known) = self.peers.get_mut(&peer) {
            known.backoff_until[topic as usize] = now + BACKOFF_MS;
        }
    }

    /// Who is to blame for a rejected message leaves the mesh.
    fn prune_the_blamed(&mut self, now: u64, topic: Topic) -> Vec<Effect> {
        let blamed = |peer: &usize| self.peers.get(peer).is_some_and(|peer| peer.is_above(0));
        let blamed: Vec<usize> = self.mesh(topic).filter(blamed).collect();
        blamed.iter().for_each(|peer| self.unlink(now, *peer, topic));
        blamed.into_iter().map(|to| Effect::Send { to, frame: Frame::Prune { topic } }).collect()
    }

    fn graft_up_to_d(&mut self, now: u64, topic: Topic, rng: &mut Random) -> Vec<Effect> {
        let count = self.mesh(topic).count();
        if count >= MESH_LOW {
            return Vec::new();
        }
        let candidates = self.candidates(now, topic).collect();
        self.graft(topic, sample(candidates, MESH - count, rng))
    }

    /// At D_high already, not only above: as GRAFT is refused from D_high on, a mesh would stay there for good
    /// (go-libp2p-pubsub, pull request 589). The last [`MESH_DIALLED`] that this host dialled stay.
    fn prune_down_to_d(&mut self, now: u64, topic: Topic, rng: &mut Random) -> Vec<Effect> {
        let mesh: Vec<usize> = self.mesh(topic).collect();
        if mesh.len() < MESH_HIGH {
            return Vec::new();
        }
        let (count, mut dialled, mut pruned) = (mesh.len(), self.dialled(topic), Vec::new());
        for peer in sample(mesh, count, rng) {
            if pruned.len() == count - MESH {
                break;
            }
            if self.peers[&peer].dialled {
                if dialled <= MESH_DIALLED {
                    continue;
                }
                dialled -= 1;
            }
            pruned.push(peer);
        }
        pruned.iter().for_each(|peer| self.unlink(now, *peer, topic));
        pruned.into_iter().map(|to| Effect::Send { to, frame: Frame::Prune { topic } }).collect()
    }

    /// Peers that this host dialled come into a mesh of others, beyond D, up to [`MESH_DIALLED`]. Into a mesh below D_low all that
    /// may have come already.
    fn graft_dialled(&mut self, now: u64, topic: Topic, rng: &mut Random) -> Vec<Effect> {
        let lacking = MESH_DIALLED.saturating_sub(self.dialled(topic));
        let candidates = self.candidates(now, topic).filter(|peer| self.peers[peer].dialled).collect();
        self.graft(topic, sample(candidates, lacking, rng))
    }

    /// How many of a mesh this host dialled.
    fn dialled(&self, topic: Topic) -> usize {
        self.mesh(topic).filter(|peer| self.peers[peer].dialled).count()
    }

    /// Whom the heartbeat may graft.
    fn candidates(&self, now: u64, topic: Topic) -> impl Iterator<Item = usize> {
        self.better_than(0).filter(move |peer| {
            let backoff_until = self.peers[peer].backoff_until[topic as usize];
            !self.mesh[topic as usize].contains(peer) && (backoff_until == 0 || now >= backoff_until + BACKOFF_SLACK_MS)
        })
    }

    fn graft(&mut self, topic: Topic, peers: Vec<usize>) -> Vec<Effect> {
        self.mesh[topic as usize].extend(&peers);
        peers.into_iter().map(|to| Effect::Send { to, frame: Frame::Graft { topic } }).collect()
    }

    /// IHAVE to random peers outside of the mesh. Each gets its own choice when the ids are too many for one frame.
    fn tell_new_ids(&self, topic: Topic, rng: &mut Random) -> Vec<Effect> {
        let is_new = |message: &Message| message.topic == topic && self.beat - message.beat < GOSSIP_BEATS;
        let new = self.cache.iter().filter(|(_, (message, _))| is_new(message));
        let new: Vec<GossipId> = new.map(|(id, _)| *id).collect();
        if new.is_empty() {
            return Vec::new();
        }
        let others = self.better_than(GOSSIP_PENALTY).filter(|peer| !self.mesh[topic as usize].contains(peer));
        let others: Vec<usize> = others.collect();
        let (count, mut effects) = (LAZY.max(others.len() / LAZY_PART), Vec::new());
        for to in sample(others, count, rng) {
            let ids = if new.len() > IDS { sample(new.clone(), IDS, rng) } else { new.clone() };
            effects.push(Effect::Send { to, frame: Frame::IHave { topic, ids } });
        }
        effects
    }

    fn forget_old(&mut self, now: u64) {
        let beat = self.beat;
        self.pending.retain(|_, (_, message)| beat - message.beat < HISTORY_BEATS);
        self.cache.retain(|_, (message, _)| beat - message.beat < HISTORY_BEATS);
        self.asked.retain(|_, at| now < *at + ASK_AGAIN_MS);
        while self.seen_order.front().is_some_and(|(at, _)| now >= at + SEEN_MS) {
            self.forget_oldest_seen();
        }
        for peer in self.peers.values_mut() {
            peer.ihaves = 0;
            peer.asked = 0;
            if peer.connected {
                peer.decay();
            } else if now > peer.left_at + RETAIN_MS {
                peer.rejects = Default::default();
            }
        }
        self.forget_departed(now);
    }

    /// Forgets peers that left and of whom there is nothing to remember.
    fn forget_departed(&mut self, now: u64) {
        let in_backoff = |peer: &Peer| peer.backoff_until.iter().any(|until| now < until + BACKOFF_SLACK_MS);
        self.peers.retain(|_, peer| peer.connected || peer.is_above(0) || in_backoff(peer));
    }

    /// Remembers an id; false when it is known already.
    fn mark_seen(&mut self, now: u64, id: GossipId) -> bool {
        if !self.seen.insert(id) {
            return false;
        }
        self.seen_order.push_back((now, id));
        if self.seen.len() > SEEN {
            self.forget_oldest_seen();
        }
        true
    }

    fn forget_oldest_seen(&mut self) {
        if let Some((_, id)) = self.seen_order.pop_front() {
            self.seen.remove(&id);
        }
    }

    fn put_in_cache(&mut self, id: GossipId, message: Message) {
        if self.cache.len() >= CACHED {
            remove_oldest(&mut self.cache, |(message, _)| message.beat);
        }
        self.cache.insert(id, (message, BTreeMap::new()));
    }
}

fn publish_to(to: usize, id: GossipId, message: &Message) -> Effect {
    Effect::Send { to, frame: Frame::Publish { topic: message.topic, id, bytes: message.bytes.clone() } }
}

/// At most `count` of `from`, each choice equally likely.
fn sample<T>(mut from: Vec<T>, count: usize, rng: &mut Random) -> Vec<T> {
    rng.shuffle(&mut from);
    from.truncate(count);
    from
}

fn remove_oldest<T>(messages: &mut BTreeMap<GossipId, T>, beat: impl Fn(&T) -> u64) {
    if let Some(oldest) = messages.iter().min_by_key(|(_, message)| beat(message)).map(|(id, _)| *id) {
        messages.remove(&oldest);
    }
}
