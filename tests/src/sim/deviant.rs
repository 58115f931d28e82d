//! Nodes that depart from the protocol in one respect each: the real engine, whose words and blocks are changed on their way out.
//!
//! Such a node syncs, validates and builds valid blocks as any other does, so what it says gets past every check that an
//! honest node's words get past. When the faults of a run end, it says what it has kept back and is honest from then on.

use drystone_core::block::{Block, Body, Header};
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::pow::CompactTarget;
use drystone_core::validation::check_header;
use drystone_node::engine::message::{Input, Output, PeerEvent};
use drystone_node::engine::wire::{Announcement, Gossip, Request, Response, Status, announce};
use drystone_node::store::HeaderRecord;

use super::host::{Node, number_of};
use crate::random::Random;

/// What a node says in the end.
pub enum Say {
    /// What an engine would.
    Output(Output),
    /// Gossip for one peer alone.
    To(usize, Gossip),
}

/// Where a node departs from its engine.
pub trait Deviant {
    /// Hears what the engine is about to hear.
    fn hear(&mut self, _node: &Node, _input: &Input) {}

    /// What is said in place of an output.
    fn say(&mut self, _node: &Node, output: Output) -> Vec<Say> {
        vec![Say::Output(output)]
    }

    /// What is said of one's own accord after a call.
    fn add(&mut self, _node: &Node) -> Vec<Say> {
        Vec::new()
    }

    /// Whether to mine at this difficulty.
    fn mines(&mut self, _bits: CompactTarget) -> bool {
        true
    }

    /// The time in Unix milliseconds of a block that is found `now` and may not be before `earliest`.
    fn date(&mut self, earliest: u64, now: u64) -> u64 {
        earliest.max(now)
    }

    /// What is said at the end.
    fn end(&mut self, _node: &Node) -> Vec<Say> {
        Vec::new()
    }
}

/// The most work-worthy block that others may know of: what a status names instead of the tip.
fn mask(status: &mut Status, shown: &HeaderRecord) {
    (status.height, status.hash, status.work) = (shown.height, shown.hash, shown.work);
    status.state_root = shown.header.state_root;
    status.held.retain(|(first, _)| *first <= shown.height);
    status.held.iter_mut().for_each(|(_, last)| *last = (*last).min(shown.height));
}

/// The status in an output, if it carries one.
fn status_in(output: &mut Output) -> Option<&mut Status> {
    match output {
        Output::Request { request: Request::Status(status), .. }
        | Output::Respond { response: Response::Status(status), .. } => Some(status),
        _ => None,
    }
}

fn record(node: &Node, hash: &BlockHash) -> Option<HeaderRecord> {
    node.engine.snapshot().header(hash).ok().flatten()
}

/// The announcement in an output, if it is of a block that rewards `own`.
fn own_block<'a>(output: &'a Output, own: &AccountId) -> Option<&'a Announcement> {
    match output {
        Output::Publish(Gossip::Block(announcement)) if announcement.reward_to == *own => Some(announcement),
        _ => None,
    }
}

/// Selfish mining (Eyal and Sirer, "Majority is not Enough: Bitcoin Mining is Vulnerable", 2014): blocks are kept back and shown
/// when others find theirs, so that the others' work is lost.
pub struct Selfish {
    own: AccountId,
    /// Blocks that nobody knows of, with their heights, each the child of the one before.
    hidden: Vec<(u64, Announcement)>,
    /// The height of the longest chain of others.
    public: u64,
    /// That height when the node last acted on it.
    seen: u64,
    /// Its branch and one of others are equally long, and both known.
    racing: bool,
    /// How often it came to a race.
    pub races: u64,
}

impl Selfish {
    /// A miner whose rewards go to `own`.
    pub fn new(own: AccountId) -> Selfish {
        Selfish { own, hidden: Vec::new(), public: 0, seen: 0, racing: false, races: 0 }
    }

    fn hides(&self, hash: &BlockHash) -> bool {
        self.hidden.iter().any(|(_, block)| block.header.hash() == *hash)
    }

    /// Shows hidden blocks up to a height.
    fn show(&mut self, height: u64) -> Vec<Say> {
        let shown = self.hidden.iter().take_while(|(at, _)| *at <= height).count();
        self.hidden.drain(..shown).map(|(_, block)| Say::Output(Output::Publish(Gossip::Block(block)))).collect()
    }
}

impl Deviant for Selfish {
    fn hear(&mut self, node: &Node, input: &Input) {
        if let Input::Peer { event: PeerEvent::Gossip { gossip: Gossip::Block(block), .. }, .. } = input
            && block.reward_to != self.own
            && let Some(parent) = record(node, &block.header.prev_hash)
        {
            self.public = self.public.max(parent.height + 1);
        }
    }

    fn say(&mut self, node: &Node, mut output: Output) -> Vec<Say> {
        if let Some(block) = own_block(&output, &self.own) {
            let height = record(node, &block.header.prev_hash).map_or(0, |parent| parent.height + 1);
            if self.racing {
                // It wins the race.
                self.racing = false;
                (self.public, self.seen) = (height, height);
                return vec![Say::Output(output)];
            }
            self.hidden.push((height, block.clone()));
            return Vec::new();
        }
        let first = self.hidden.first().and_then(|(_, block)| record(node, &block.header.prev_hash));
        if let (Some(status), Some(shown)) = (status_in(&mut output), first)
            && status.height > shown.height
        {
            mask(status, &shown);
        }
        if let Output::Respond { response, .. } = &mut output {
            match response {
                Response::Headers(headers) => {
                    let shown = headers.iter().take_while(|header| !self.hides(&header.hash())).count();
                    headers.truncate(shown);
                }
                Response::Bodies(bodies) => {
                    let is_hidden = |body: &Body| {
                        let root = body.tx_root();
                        self.hidden.iter().any(|(_, block)| block.header.tx_root == root)
                    };
                    for body in bodies {
                        body.take_if(|body| is_hidden(body));
                    }
                }
                _ => {}
            }
        }
        vec![Say::Output(output)]
    }

    fn add(&mut self, node: &Node) -> Vec<Say> {
        let on_main = |(height, block): &(u64, Announcement)| {
            node.engine.snapshot().main_hash(*height).ok().flatten() == Some(block.header.hash())
        };
        if self.hidden.first().is_some_and(|first| !on_main(first)) {
            // The others' chain has more work, and the engine went over to it.
            self.hidden.clear();
        }
        let tip = node.engine.tip();
        if self.hidden.is_empty() && tip.height > self.public {
            self.public = tip.height;
        }
        if self.public <= self.seen {
            return Vec::new();
        }
        self.seen = self.public;
        self.racing = false;
        match self.hidden.last().map(|(height, _)| height.checked_sub(self.public)) {
            // As long as theirs: it races.
            Some(Some(0)) => {
                self.racing = true;
                self.races += 1;
                self.show(u64::MAX)
            }
            // One ahead: it takes everything.
            Some(Some(1)) => self.show(u64::MAX),
            Some(Some(_)) => self.show(self.public),
            Some(None) | None => Vec::new(),
        }
    }

    fn end(&mut self, _node: &Node) -> Vec<Say> {
        self.show(u64::MAX)
    }
}

/// A miner of blocks that nobody can check: their headers are told of, their bodies are not given.
pub struct Withholding {
    own: AccountId,
}

impl Withholding {
    /// A miner whose rewards go to `own`.
    pub fn new(own: AccountId) -> Withholding {
        Withholding { own }
    }
}

impl Deviant for Withholding {
    fn say(&mut self, _node: &Node, mut output: Output) -> Vec<Say> {
        // An announcement of an empty block is the whole block.
        if own_block(&output, &self.own).is_some() {
            return Vec::new();
        }
        if let Output::Respond { response, .. } = &mut output {
            match response {
                Response::Bodies(bodies) => {
                    for body in bodies {
                        body.take_if(|body| body.reward_to == self.own);
                    }
                }
                Response::BlockTransactions(transactions) => *transactions = None,
                _ => {}
            }
        }
        vec![Say::Output(output)]
    }
}

/// A miner that makes two blocks of each template, a millisecond apart, and tells half of its peers of one, half of the other.
pub struct Equivocating {
    own: AccountId,
    params: ChainParams,
}

impl Equivocating {
    /// A miner whose rewards go to `own`.
    pub fn new(own: AccountId, params: ChainParams) -> Equivocating {
        Equivocating { own, params }
    }

    fn twin(&self, block: &Announcement) -> Announcement {
        let mut header = Header { time: block.header.time + 1, nonce: 0, ..block.header };
        while check_header(header, &self.params).is_err() {
            header.nonce += 1;
        }
        Announcement { header, ..block.clone() }
    }
}

impl Deviant for Equivocating {
    fn say(&mut self, node: &Node, output: Output) -> Vec<Say> {
        let Some(block) = own_block(&output, &self.own) else { return vec![Say::Output(output)] };
        let (twin, peers) = (self.twin(block), node.engine.peers());
        let told = |(index, block): (usize, &Announcement)| {
            let to = peers.iter().map(|peer| number_of(&peer.0)).skip(index).step_by(2);
            to.map(|peer| Say::To(peer, Gossip::Block(block.clone()))).collect::<Vec<Say>>()
        };
        [block, &twin].into_iter().enumerate().flat_map(told).collect()
    }
}

/// A node that says that its state is another, and its tip an old one, and tells of old blocks as if they were new.
pub struct Lying {
    random: Random,
}

impl Lying {
    /// A liar with chances of its own.
    pub fn new(random: Random) -> Lying {
        Lying { random }
    }

    /// A block some way back on its chain.
    fn old(&mut self, node: &Node) -> Option<HeaderRecord> {
        let back = 1 + self.random.below(20);
        let hash = node.engine.snapshot().main_hash(node.engine.tip().height.checked_sub(back)?).ok()??;
        record(node, &hash)
    }
}

impl Deviant for Lying {
    fn say(&mut self, node: &Node, mut output: Output) -> Vec<Say> {
        if let Some(status) = status_in(&mut output) {
            match self.random.below(3) {
                0 => status.state_root = StateRoot(self.random.bytes()),
                1 => {
                    if let Some(old) = self.old(node) {
                        mask(status, &old);
                    }
                }
                _ => {}
            }
        }
        vec![Say::Output(output)]
    }

    fn add(&mut self, node: &Node) -> Vec<Say> {
        let peers = node.engine.peers();
        if peers.is_empty() || !self.random.one_in(50) {
            return Vec::new();
        }
        let peer = number_of(&self.random.pick(&peers).0);
        let block = self.old(node).and_then(|old| {
            let body = node.engine.snapshot().body(&old.hash).ok()??;
            Some(announce(&Block { header: old.header, body }))
        });
        block.map(|block| Say::To(peer, Gossip::Block(block))).into_iter().collect()
    }
}

/// A miner that dates its blocks as far ahead as others bear, or as early as the rules allow.
pub struct Misdating {
    max_future: u64,
    random: Random,
}

impl Misdating {
    /// A miner on a chain whose blocks may be `max_future` milliseconds ahead.
    pub fn new(max_future: u64, random: Random) -> Misdating {
        Misdating { max_future, random }
    }
}

impl Deviant for Misdating {
    fn date(&mut self, earliest: u64, now: u64) -> u64 {
        // A template is dated now; what the rules allow is a millisecond after its parent, which its miner does not see.
        if self.random.bit() { earliest.max(now) + self.max_future * 3 / 4 } else { earliest }
    }
}

/// A miner that mines only while the target is at least its average: on-off mining, which takes the easy blocks of a
/// difficulty that follows the hash rate, and leaves the hard ones to others.
#[derive(Default)]
pub struct Hopping {
    /// The average of the targets of the last 64 blocks or so, by their highest 64 bits.
    average: u64,
    last: Option<CompactTarget>,
}

impl Deviant for Hopping {
    fn mines(&mut self, bits: CompactTarget) -> bool {
        let target = highest_bits(bits);
        match self.last.replace(bits) {
            None => self.average = target,
            Some(last) if last != bits => self.average = self.average - self.average / 64 + target / 64,
            Some(_) => {}
        }
        target >= self.average
    }
}

/// The highest 64 bits of a target, at least 1.
pub(super) fn highest_bits(bits: CompactTarget) -> u64 {
    let target = bits.to_target().expect("bits of a template").value();
    (target >> 192_usize).wrapping_to::<u64>().max(1)
}
