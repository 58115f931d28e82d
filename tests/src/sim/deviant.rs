//! Nodes that depart from the protocol in one respect each: the real engine, whose words and blocks are changed on their way out.
//!
//! Such a node syncs, validates and builds valid blocks as any other does, so what it says gets past every check that an
//! honest node's words get past. When the faults of a run end, it says what it has kept back and is honest from then on.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use drystone_core::amount::Amount;
use drystone_core::block::{Block, Header};
use drystone_core::hash::{BlockHash, StateRoot};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::params::ChainParams;
use drystone_core::pow::{CompactTarget, Work};
use drystone_core::transaction::{Memo, TransactionBody};
use drystone_core::validation::{CheckedTransaction, check_header, check_transaction};
use drystone_node::engine::mempool::AccountReader;
use drystone_node::engine::message::{Input, Origin, Output, PeerEvent, RequestId, Token};
use drystone_node::engine::wire::{Announcement, Gossip, Request, Response, Status, announce};
use drystone_node::store::HeaderRecord;

use super::MINUTE;
use super::host::{Node, number_of};
use crate::random::Random;

/// What a node says in the end.
pub enum Say {
    /// What an engine would.
    Output(Output),
    /// Gossip for one peer alone.
    To(usize, Gossip),
    /// Nothing to others, but something for its own engine.
    Input(Input),
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

    /// Whether to mine at this difficulty from a time on, in virtual microseconds.
    fn mines(&mut self, _bits: CompactTarget, _now: u64) -> bool {
        true
    }

    /// The time in Unix milliseconds of a block that is found `now`, on a parent with the time `parent`.
    fn date(&mut self, parent: u64, now: u64) -> u64 {
        now.max(parent + 1)
    }

    /// What is said at the end.
    fn end(&mut self, _node: &Node) -> Vec<Say> {
        Vec::new()
    }

    /// The name of what it is, and how often it was that.
    fn deeds(&self) -> Option<(&'static str, u64)> {
        None
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

/// The end of a chain.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    height: u64,
    work: Work,
}

/// What a selfish miner did, and how its races ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Races {
    /// Blocks that it kept back, each for a while at least.
    pub hidden: u64,
    /// Races: its branch and one of others are equally long, and both known. A block of its own that comes too late to be kept
    /// back begins one as well.
    pub begun: u64,
    /// Of those, won: six blocks later its block is on the main chain.
    pub won: u64,
    /// Of those, lost: another block stands there.
    pub lost: u64,
    /// Of those that were won, won because another miner found the next block on its block. Of this and the races that were lost, that
    /// is the part γ of the others' hash rate that its branch has in a race.
    pub helped: u64,
}

/// Selfish mining (Eyal and Sirer, "Majority is not Enough: Bitcoin Mining is Vulnerable", 2014): blocks are kept back and shown
/// when others find theirs, so that the others' work is lost.
///
/// *Specification.* Algorithm 1 of the paper, with the lead as the difference of two lengths: its own branch's, and the best
/// chain's that anybody else knows of. When it finds a block in a race it shows it; else it keeps it back. When others find one,
/// at a lead of 0 it goes over to them, at 1 it shows its block and races, at 2 it shows everything, and above that the first
/// block that is not shown. Others' blocks count from the header on: its engine keeps none with less work than its own branch.
/// Where the chain of others grows by several blocks at once, the lead that is left decides.
pub struct Selfish {
    own: AccountId,
    params: ChainParams,
    /// Blocks that nobody knows of, each the child of the one before.
    hidden: Vec<(Head, Announcement)>,
    /// The best chain that others know of; and its height when the node last acted on it.
    public: Head,
    seen: u64,
    /// The headers that it heard of, as far as they are near the best.
    heard: BTreeMap<BlockHash, Head>,
    /// Its branch and one of others are equally long, and both known.
    racing: bool,
    /// Its blocks of races that are not six blocks old.
    undecided: Vec<(u64, BlockHash)>,
    /// The blocks whose bodies it is asked for.
    asked: BTreeMap<RequestId, Vec<BlockHash>>,
    races: Rc<Cell<Races>>,
}

/// Blocks on top of a race's block after which the race counts as decided.
const DECIDED: u64 = 6;
/// How far below the best chain's end a header is remembered.
const NEAR: u64 = 100;

impl Selfish {
    /// A miner whose rewards go to `own`.
    pub fn new(own: AccountId, params: ChainParams) -> Selfish {
        Selfish {
            own,
            params,
            hidden: Vec::new(),
            public: Head::default(),
            seen: 0,
            heard: BTreeMap::new(),
            racing: false,
            undecided: Vec::new(),
            asked: BTreeMap::new(),
            races: Rc::default(),
        }
    }

    /// How its races went, to look at later.
    pub fn races(&self) -> Rc<Cell<Races>> {
        Rc::clone(&self.races)
    }

    fn hides(&self, hash: &BlockHash) -> bool {
        self.hidden.iter().any(|(_, block)| block.header.hash() == *hash)
    }

    /// The place of a header whose parent it knows, if there is work in it.
    fn place(&self, node: &Node, header: &Header) -> Option<Head> {
        let work = check_header(*header, &self.params).ok()?.work();
        let stored = || record(node, &header.prev_hash).map(|parent| Head { height: parent.height, work: parent.work });
        let parent = self.heard.get(&header.prev_hash).copied().or_else(stored)?;
        Some(Head { height: parent.height + 1, work: parent.work + work })
    }

    /// Hears of a header of others.
    fn learn(&mut self, node: &Node, header: &Header) {
        let Some(head) = self.place(node, header) else { return };
        self.heard.insert(header.hash(), head);
        if head.work > self.public.work {
            self.public = head;
            self.heard.retain(|_, other| other.height + NEAR > head.height);
        }
    }

    /// Finds a block, and shows it or not.
    fn find(&mut self, node: &Node, block: &Announcement) -> Vec<Say> {
        let Some(head) = self.place(node, &block.header) else { return Vec::new() };
        self.hidden.push((head, block.clone()));
        if self.racing {
            // It wins the race.
            self.racing = false;
            return self.show_all();
        }
        if head.height <= self.public.height {
            // Others were quicker.
            return self.race();
        }
        self.count(|races| races.hidden += 1);
        Vec::new()
    }

    /// Shows hidden blocks up to a height.
    fn show(&mut self, height: u64) -> Vec<Say> {
        let shown = self.hidden.iter().take_while(|(head, _)| head.height <= height).count();
        self.hidden.drain(..shown).map(|(_, block)| Say::Output(Output::Publish(Gossip::Block(block)))).collect()
    }

    /// Shows everything: from now on it is what others know of, too.
    fn show_all(&mut self) -> Vec<Say> {
        if let Some((head, _)) = self.hidden.last().filter(|(head, _)| head.work > self.public.work) {
            (self.public, self.seen) = (*head, head.height);
        }
        self.show(u64::MAX)
    }

    /// Shows everything beside a branch of others that is as long.
    fn race(&mut self) -> Vec<Say> {
        if let Some((head, block)) = self.hidden.last() {
            self.racing = true;
            self.undecided.push((head.height, block.header.hash()));
            self.count(|races| races.begun += 1);
        }
        self.show_all()
    }

    fn count(&self, count: impl FnOnce(&mut Races)) {
        let mut races = self.races.get();
        count(&mut races);
        self.races.set(races);
    }

    /// Counts the races that are over.
    fn decide(&mut self, node: &Node) {
        let (snapshot, tip) = (node.engine.snapshot(), node.engine.tip().height);
        let main = |height| snapshot.main_hash(height).ok().flatten();
        let decided: Vec<(u64, BlockHash)> =
            self.undecided.extract_if(.., |(height, _)| *height + DECIDED <= tip).collect();
        for (height, hash) in decided {
            if main(height) != Some(hash) {
                self.count(|races| races.lost += 1);
                continue;
            }
            let next = main(height + 1).and_then(|next| snapshot.body(&next).ok().flatten());
            let helped = next.is_some_and(|body| body.reward_to != self.own);
            self.count(|races| {
                races.won += 1;
                races.helped += u64::from(helped);
            });
        }
    }
}

impl Deviant for Selfish {
    fn hear(&mut self, node: &Node, input: &Input) {
        let Input::Peer { event, .. } = input else { return };
        match event {
            PeerEvent::Gossip { gossip: Gossip::Block(block), .. } if block.reward_to != self.own => {
                self.learn(node, &block.header);
            }
            PeerEvent::Response { response: Response::Headers(headers), .. } => {
                headers.iter().for_each(|header| self.learn(node, header));
            }
            PeerEvent::Request { id, request: Request::Bodies(hashes) } => {
                self.asked.insert(*id, hashes.clone());
            }
            _ => {}
        }
    }

    fn say(&mut self, node: &Node, mut output: Output) -> Vec<Say> {
        if let Some(block) = own_block(&output, &self.own) {
            return if self.hides(&block.header.hash()) { Vec::new() } else { self.find(node, block) };
        }
        let first = self.hidden.first().and_then(|(_, block)| record(node, &block.header.prev_hash));
        if let (Some(status), Some(shown)) = (status_in(&mut output), first)
            && status.height > shown.height
        {
            mask(status, &shown);
        }
        if let Output::Respond { id, response, .. } = &mut output {
            let asked = self.asked.remove(id).unwrap_or_default();
            match response {
                Response::Headers(headers) => {
                    let shown = headers.iter().take_while(|header| !self.hides(&header.hash())).count();
                    headers.truncate(shown);
                }
                Response::Bodies(bodies) => {
                    for (body, _) in bodies.iter_mut().zip(asked).filter(|(_, hash)| self.hides(hash)) {
                        *body = None;
                    }
                }
                _ => {}
            }
        }
        vec![Say::Output(output)]
    }

    fn add(&mut self, node: &Node) -> Vec<Say> {
        self.decide(node);
        let instead = |(head, block): &(Head, Announcement)| {
            let main = node.engine.snapshot().main_hash(head.height).ok().flatten();
            main.is_some_and(|main| main != block.header.hash())
        };
        if self.hidden.first().is_some_and(instead) {
            // The others' chain has more work, and the engine went over to it.
            self.hidden.clear();
        }
        let tip = node.engine.tip();
        if self.hidden.is_empty() && tip.work > self.public.work {
            self.public = Head { height: tip.height, work: tip.work };
        }
        if self.public.height <= self.seen {
            return Vec::new();
        }
        self.seen = self.public.height;
        self.racing = false;
        match self.hidden.last().map(|(own, _)| own.height.checked_sub(self.public.height)) {
            Some(Some(0)) => self.race(),
            Some(Some(1)) => self.show_all(),
            Some(Some(_)) => self.show(self.public.height),
            // Theirs is longer.
            Some(None) | None => Vec::new(),
        }
    }

    fn end(&mut self, _node: &Node) -> Vec<Say> {
        self.show_all()
    }

    fn deeds(&self) -> Option<(&'static str, u64)> {
        Some(("selfish", self.races.get().hidden))
    }
}

/// What a withholding miner did not give.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withheld {
    /// Requests for transactions of announced blocks that it answered with none.
    pub transactions: u64,
    /// Bodies that it did not give.
    pub bodies: u64,
}

/// A miner of blocks that nobody can check: it announces them, and gives no transaction of them and no body.
///
/// Its blocks hold a payment that nobody else ever sees, or others would put them together from what waits with them.
pub struct Withholding {
    own: AccountId,
    params: ChainParams,
    key: SecretKey,
    withheld: Rc<Cell<Withheld>>,
}

impl Withholding {
    /// A miner whose rewards go to `own`, and whose payments this key makes.
    pub fn new(own: AccountId, params: ChainParams, key: SecretKey) -> Withholding {
        Withholding { own, params, key, withheld: Rc::default() }
    }

    /// What it did not give, to look at later.
    pub fn withheld(&self) -> Rc<Cell<Withheld>> {
        Rc::clone(&self.withheld)
    }

    /// The next payment to itself.
    fn payment(&self, nonce: u64) -> CheckedTransaction {
        let own = self.key.account();
        let (amount, fee) = (Amount(1), Amount(10_000));
        let body = TransactionBody { from: own, to: own, amount, fee, nonce, memo: Memo::default() };
        let chain_id = self.params.chain_id();
        let transaction = body.sign(&chain_id, &self.key);
        check_transaction(transaction, self.params.rules_at(1), &chain_id).expect("it was signed just now")
    }
}

impl Deviant for Withholding {
    fn say(&mut self, _node: &Node, mut output: Output) -> Vec<Say> {
        let own = self.key.account();
        let mut withheld = self.withheld.get();
        let silent = match &mut output {
            // An announcement of an empty block is the whole block.
            Output::Publish(Gossip::Block(block)) => block.reward_to == self.own && block.ids.is_empty(),
            Output::Publish(Gossip::Transactions(transactions)) => {
                transactions.retain(|transaction| transaction.body.from != own);
                transactions.is_empty()
            }
            Output::Respond { response, .. } => {
                match response {
                    Response::Bodies(bodies) => {
                        for body in bodies {
                            withheld.bodies += u64::from(body.take_if(|body| body.reward_to == self.own).is_some());
                        }
                    }
                    Response::BlockTransactions(transactions) => {
                        withheld.transactions += u64::from(transactions.take().is_some());
                    }
                    Response::Transactions(transactions) => {
                        transactions.retain(|transaction| transaction.body.from != own);
                    }
                    _ => {}
                }
                false
            }
            _ => false,
        };
        self.withheld.set(withheld);
        if silent { Vec::new() } else { vec![Say::Output(output)] }
    }

    fn add(&mut self, node: &Node) -> Vec<Say> {
        let engine = &node.engine;
        let Ok(account) = AccountReader::account(&**engine.snapshot(), &self.key.account()) else { return Vec::new() };
        let waits = engine.mempool().pending_nonce(&self.key.account(), account.nonce) > account.nonce;
        let handed = node.inbox.iter().any(|input| matches!(input, Input::Transactions { .. }));
        if waits || handed {
            return Vec::new();
        }
        let (origin, transactions) = (Origin::Rpc(Token(u64::MAX)), vec![self.payment(account.nonce)]);
        vec![Say::Input(Input::Transactions { origin, transactions })]
    }

    fn deeds(&self) -> Option<(&'static str, u64)> {
        let withheld = self.withheld.get();
        Some(("withhold", withheld.transactions + withheld.bodies))
    }
}

/// A miner that makes two blocks of each template, a millisecond apart, and tells half of its peers of one, half of the other.
pub struct Equivocating {
    own: AccountId,
    params: ChainParams,
    /// Blocks of which it made two.
    twins: u64,
}

impl Equivocating {
    /// A miner whose rewards go to `own`.
    pub fn new(own: AccountId, params: ChainParams) -> Equivocating {
        Equivocating { own, params, twins: 0 }
    }

    /// The twin of a block of its own that is on its chain already.
    fn twin(&self, node: &Node, block: &Announcement) -> Option<Announcement> {
        let body = node.engine.snapshot().body(&block.header.hash()).ok()??;
        let mut header = Header { time: block.header.time + 1, nonce: 0, ..block.header };
        while check_header(header, &self.params).is_err() {
            header.nonce += 1;
        }
        // Short ids depend on the block: the twin has others.
        Some(announce(&Block { header, body }))
    }
}

impl Deviant for Equivocating {
    fn say(&mut self, node: &Node, output: Output) -> Vec<Say> {
        let Some(block) = own_block(&output, &self.own) else { return vec![Say::Output(output)] };
        let Some(twin) = self.twin(node, block) else { return vec![Say::Output(output)] };
        self.twins += 1;
        let peers = node.engine.peers();
        let told = |(index, block): (usize, &Announcement)| {
            let to = peers.iter().map(|peer| number_of(&peer.0)).skip(index).step_by(2);
            to.map(|peer| Say::To(peer, Gossip::Block(block.clone()))).collect::<Vec<Say>>()
        };
        [block, &twin].into_iter().enumerate().flat_map(told).collect()
    }

    fn deeds(&self) -> Option<(&'static str, u64)> {
        Some(("equivocate", self.twins))
    }
}

/// A node that says that its state is another, and its tip an old one, and tells of old blocks as if they were new.
pub struct Lying {
    random: Random,
    told: Rc<Cell<u64>>,
}

impl Lying {
    /// A liar with chances of its own.
    pub fn new(random: Random) -> Lying {
        Lying { random, told: Rc::default() }
    }

    /// How many old blocks it told of, to look at later.
    pub fn told(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.told)
    }

    /// A block some way back on its chain; not genesis, which has no work and which nobody announces for long.
    fn old(&mut self, node: &Node) -> Option<HeaderRecord> {
        let back = 1 + self.random.below(20);
        let height = node.engine.tip().height.checked_sub(back).filter(|height| *height > 0)?;
        record(node, &node.engine.snapshot().main_hash(height).ok()??)
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
        self.told.set(self.told.get() + u64::from(block.is_some()));
        block.map(|block| Say::To(peer, Gossip::Block(block))).into_iter().collect()
    }

    fn deeds(&self) -> Option<(&'static str, u64)> {
        Some(("lie", self.told.get()))
    }
}

/// A miner that dates its blocks as far ahead as others bear, or as early as the rules allow: a millisecond after the parent.
pub struct Misdating {
    max_future: u64,
    random: Random,
    /// Blocks that it dated.
    dated: u64,
}

impl Misdating {
    /// A miner on a chain whose blocks may be `max_future` milliseconds ahead.
    pub fn new(max_future: u64, random: Random) -> Misdating {
        Misdating { max_future, random, dated: 0 }
    }
}

impl Deviant for Misdating {
    fn date(&mut self, parent: u64, now: u64) -> u64 {
        let earliest = parent + 1;
        self.dated += 1;
        if self.random.bit() { earliest.max(now + self.max_future * 3 / 4) } else { earliest }
    }

    fn deeds(&self) -> Option<(&'static str, u64)> {
        Some(("misdate", self.dated))
    }
}

/// The times that a hopping miner mined and could have mined, and the blocks that a constant hash rate finds in them: the
/// integral of the target, in a unit of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hops {
    /// Virtual microseconds in which it mined.
    pub on: u64,
    /// What its hash rate was worth in that time.
    pub on_worth: u128,
    /// Virtual microseconds in all.
    pub all: u64,
    /// What its hash rate would have been worth in all the time.
    pub all_worth: u128,
}

impl Hops {
    /// What a hash of its own finds, in thousandths of what a hash of those finds who mine all the time.
    pub fn gain(&self) -> u64 {
        let worth = self.on_worth * u128::from(self.all) * 1_000 / u128::from(self.on.max(1));
        (worth / self.all_worth.max(1)) as u64
    }
}

/// A miner that mines only while the target is at least its average: on-off mining, which takes the easy blocks of a
/// difficulty that follows the hash rate, and leaves the hard ones to others.
#[derive(Default)]
pub struct Hopping {
    /// The average of the targets of the last 64 blocks or so, by their highest 64 bits.
    average: u64,
    /// Since when there is this target, and whether it mines.
    last: Option<(u64, CompactTarget, bool)>,
    hops: Rc<Cell<Hops>>,
}

impl Hopping {
    /// When it mined, to look at later.
    pub fn hops(&self) -> Rc<Cell<Hops>> {
        Rc::clone(&self.hops)
    }

    fn count(&self, time: u64, bits: CompactTarget, on: bool) {
        let (mut hops, worth) = (self.hops.get(), u128::from(highest_bits(bits) >> 32) * u128::from(time));
        (hops.all, hops.all_worth) = (hops.all + time, hops.all_worth + worth);
        if on {
            (hops.on, hops.on_worth) = (hops.on + time, hops.on_worth + worth);
        }
        self.hops.set(hops);
    }
}

impl Deviant for Hopping {
    fn mines(&mut self, bits: CompactTarget, now: u64) -> bool {
        let target = highest_bits(bits);
        if let Some((since, last, on)) = self.last {
            self.count(now - since, last, on);
            if last != bits {
                self.average = self.average - self.average / 64 + target / 64;
            }
        } else {
            self.average = target;
        }
        let mines = target >= self.average;
        self.last = Some((now, bits, mines));
        mines
    }

    fn deeds(&self) -> Option<(&'static str, u64)> {
        let hops = self.hops.get();
        Some(("hop", (hops.all - hops.on) / MINUTE))
    }
}

/// The highest 64 bits of a target, at least 1.
pub(super) fn highest_bits(bits: CompactTarget) -> u64 {
    let target = bits.to_target().expect("bits of a template").value();
    (target >> 192_usize).wrapping_to::<u64>().max(1)
}
