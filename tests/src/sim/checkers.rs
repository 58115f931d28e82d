//! What must hold at all times, each a checker with a name. The first violation ends a run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use drystone_core::block::{Block, Body, Header};
use drystone_core::hash::BlockHash;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::state::{Leaf, StateKey};
use drystone_core::validation::ConnectedBlock;
use drystone_node::engine::limits::{BAN_SCORE, peer_bytes};
use drystone_node::engine::verdict::Offence;

use super::ledger::Ledger;
use super::report::Violation;

/// Something that the checkers are told of a host.
#[derive(Clone, Debug)]
pub enum Report {
    /// It connected a block.
    Connected {
        /// The host.
        host: usize,
        /// The height at which it says that the block stands.
        height: u64,
        /// The block's header, as its store has it.
        header: Header,
        /// The block's body, as its store has it.
        body: Body,
    },
    /// It connected a block with this time.
    Dated {
        /// The host.
        host: usize,
        /// The block's time.
        time: u64,
        /// The latest time that it may accept by its own clock, as far ahead as that ever was.
        latest: u64,
    },
    /// What it says that a chain is worth.
    Weighed {
        /// The host.
        host: usize,
        /// The chain's last block.
        hash: BlockHash,
        /// The chain's cumulative work.
        work: Work,
    },
    /// It found a block invalid.
    Refused {
        /// The host.
        host: usize,
        /// The block's height.
        height: u64,
        /// The block's hash.
        hash: BlockHash,
        /// The block, if it can still be read.
        block: Option<Block>,
        /// What it says is wrong.
        what: String,
    },
    /// Its tip is another than before, durably.
    Tip {
        /// The host.
        host: usize,
        /// The tip's cumulative work.
        work: Work,
    },
    /// It started.
    Restarted {
        /// The host.
        host: usize,
        /// The height of the tip on its disk.
        height: u64,
        /// The tip's cumulative work.
        work: Work,
    },
    /// Its engine was called.
    Called {
        /// The host.
        host: usize,
        /// How many blocks the call took forward or back.
        steps: u64,
    },
    /// Its whole state.
    State {
        /// The host.
        host: usize,
        /// The block whose state it is.
        tip: BlockHash,
        /// Every leaf by ascending key.
        leaves: Vec<(StateKey, Leaf)>,
    },
    /// What a peer holds of its memory.
    PeerBytes {
        /// The host.
        host: usize,
        /// The peer.
        peer: usize,
        /// How much it holds.
        bytes: usize,
    },
    /// It counted points against an honest host.
    Penalty {
        /// The host.
        host: usize,
        /// The other.
        other: usize,
        /// For what.
        offence: Offence,
        /// How many.
        points: u32,
    },
    /// It banned an honest host.
    Banned {
        /// The host.
        host: usize,
        /// The other.
        other: usize,
        /// For what.
        offence: Offence,
    },
}

impl Report {
    fn host(&self) -> usize {
        match self {
            Report::Connected { host, .. }
            | Report::Dated { host, .. }
            | Report::Weighed { host, .. }
            | Report::Refused { host, .. }
            | Report::Tip { host, .. }
            | Report::Restarted { host, .. }
            | Report::Called { host, .. }
            | Report::State { host, .. }
            | Report::PeerBytes { host, .. }
            | Report::Penalty { host, .. }
            | Report::Banned { host, .. } => *host,
        }
    }
}

/// Changes what the checkers are told, as a defect of a host would.
pub type Plant = Box<dyn FnMut(&mut Report)>;

/// Everything that watches a run.
pub struct Checkers {
    ledger: Ledger,
    /// Blocks that hosts found invalid, and that nobody may connect.
    refused: BTreeSet<BlockHash>,
    /// What one peer may hold of a host's memory.
    peer_bytes: usize,
    /// The work of the last tip that each host told of.
    tips: BTreeMap<usize, Work>,
    /// A defect that a test planted.
    pub plant: Option<Plant>,
    /// The first thing that did not hold.
    pub violation: Option<Violation>,
}

impl Checkers {
    /// Checkers for a run on this chain.
    pub fn new(params: &Arc<ChainParams>) -> Checkers {
        let (ledger, peer_bytes) = (Ledger::new(params), peer_bytes(params.max_block_bytes));
        Checkers { ledger, refused: BTreeSet::new(), peer_bytes, tips: BTreeMap::new(), plant: None, violation: None }
    }

    /// Whether a block was verified, because some host told that it had connected it.
    pub fn knows(&self, hash: &BlockHash) -> bool {
        self.ledger.knows(hash)
    }

    /// Verifies blocks that hosts have had from the start, parents first.
    pub fn know(&mut self, blocks: &[ConnectedBlock]) {
        for connected in blocks {
            let block = connected.block();
            self.ledger.add(connected.height(), block.header, block.body.clone()).expect("the test made it valid");
        }
    }

    /// Notes that something did not hold.
    pub fn violate(&mut self, checker: &'static str, at_ms: u64, host: usize, what: String) {
        self.violation.get_or_insert(Violation { checker, at_ms, host, what });
    }

    /// Holds what a host did against all that must hold.
    pub fn look(&mut self, at_ms: u64, mut report: Report) {
        if let Some(plant) = &mut self.plant {
            plant(&mut report);
        }
        let host = report.host();
        let verdict = match report {
            Report::Connected { height, header, body, .. } => self.valid(height, header, body),
            Report::Dated { time, latest, .. } => not_too_early(time, latest),
            Report::Weighed { hash, work, .. } => self.same_work(&hash, work),
            Report::Refused { height, hash, block, what, .. } => self.not_refused(height, &hash, block, what),
            Report::Tip { work, .. } => self.no_less_work(host, work),
            Report::Restarted { height, work, .. } => self.durable(host, height, work),
            Report::Called { steps, .. } => one_step(steps),
            Report::State { tip, leaves, .. } => self.state_and_supply(&tip, &leaves),
            Report::PeerBytes { peer, bytes, .. } => bounded(peer, bytes, self.peer_bytes),
            Report::Penalty { points, other, offence, .. } => no_ban(points >= BAN_SCORE, other, &offence),
            Report::Banned { other, offence, .. } => no_ban(true, other, &offence),
        };
        if let Err((checker, what)) = verdict {
            self.violate(checker, at_ms, host, what);
        }
    }

    /// *validity:* every block that a host connects is valid by a verification of its own.
    fn valid(&mut self, height: u64, header: Header, body: Body) -> Verdict {
        let hash = header.hash();
        if self.refused.contains(&hash) {
            return Err(("validity", format!("block {hash} is connected here and was found invalid elsewhere")));
        }
        self.ledger.add(height, header, body).map_err(|what| ("validity", what))
    }

    /// *validity:* no block that is valid is refused.
    fn not_refused(&mut self, height: u64, hash: &BlockHash, block: Option<Block>, what: String) -> Verdict {
        // A block on parents that nobody ever connected is judged by nobody, until somebody connects it.
        let valid = self.ledger.knows(hash)
            || block.is_some_and(|block| self.ledger.add(height, block.header, block.body).is_ok());
        if valid {
            return Err(("validity", what));
        }
        self.refused.insert(*hash);
        Ok(())
    }

    /// *work:* a host counts a chain's work as the replay does.
    fn same_work(&self, hash: &BlockHash, work: Work) -> Verdict {
        match self.ledger.work(hash) {
            Some(replayed) if replayed != work => {
                Err(("work", format!("block {hash} has work {work} where a replay counts {replayed}")))
            }
            _ => Ok(()),
        }
    }

    /// *work:* no host goes to a tip with less work.
    fn no_less_work(&mut self, host: usize, work: Work) -> Verdict {
        match self.tips.insert(host, work) {
            Some(before) if before > work => Err(("work", format!("the tip's work fell from {before} to {work}"))),
            _ => Ok(()),
        }
    }

    /// *durability:* a host that starts again has at least the work that it told of before.
    fn durable(&mut self, host: usize, height: u64, work: Work) -> Verdict {
        match self.tips.insert(host, work) {
            Some(before) if before > work => {
                Err(("durability", format!("started at height {height} with work {work}, had told of {before}")))
            }
            _ => Ok(()),
        }
    }

    /// *state:* a host's leaves are those of a replay from genesis. *supply:* together they are what was ever issued.
    fn state_and_supply(&mut self, tip: &BlockHash, leaves: &[(StateKey, Leaf)]) -> Verdict {
        let replayed = self.ledger.state_at(tip).map_err(|what| ("state", what))?;
        let (height, issued) = (replayed.height, replayed.issued);
        let found: u128 = leaves.iter().map(|(_, leaf)| u128::from(chips(leaf))).sum();
        if found != issued {
            return Err(("supply", format!("at height {height} there are {found} chips of {issued} issued")));
        }
        if !replayed.state.leaves.iter().map(|(key, leaf)| (*key, *leaf)).eq(leaves.iter().copied()) {
            return Err(("state", format!("the state at height {height} is not that of a replay from genesis")));
        }
        Ok(())
    }
}

type Verdict = Result<(), (&'static str, String)>;

/// *validity:* no block is connected before its time.
fn not_too_early(time: u64, latest: u64) -> Verdict {
    if time <= latest { Ok(()) } else { Err(("validity", format!("a block's time is {time}, at most {latest} now"))) }
}

/// *steps:* a call takes at most one block forward or back.
fn one_step(steps: u64) -> Verdict {
    if steps <= 1 { Ok(()) } else { Err(("steps", format!("one call took {steps} blocks"))) }
}

/// *memory:* a peer holds no more than its bound.
fn bounded(peer: usize, bytes: usize, most: usize) -> Verdict {
    if bytes <= most { Ok(()) } else { Err(("memory", format!("peer {peer} holds {bytes} bytes of at most {most}"))) }
}

/// *bans:* no engine bans an honest host, whether or not its own words are changed on their way out.
fn no_ban(banned: bool, other: usize, offence: &Offence) -> Verdict {
    if banned { Err(("bans", format!("honest host {other} is banned: {offence}"))) } else { Ok(()) }
}

fn chips(leaf: &Leaf) -> u64 {
    match leaf {
        Leaf::Account(account) => account.balance.0,
        Leaf::Reward(reward) => reward.amount.0,
        Leaf::History(_) => 0,
    }
}
