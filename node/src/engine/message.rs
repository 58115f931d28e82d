//! What goes into the engine and what comes out: plain data, so that a simulator can drive it as a socket does.

use drystone_core::hash::{BlockHash, Txid};
use drystone_core::pow::Work;
use drystone_core::validation::{CheckedBlock, CheckedTransaction};

use super::mempool::Admitted;
use super::mining::{MiningJob, MiningRefusal};
use super::verdict::Refusal;

/// Names one submission, so that its verdict finds its way back. Chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Who handed something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// This node itself: its miner, its saved mempool.
    Own,
    /// A block from the future whose time has come.
    Delayed,
    /// A caller of the RPC, who waits for a verdict.
    Rpc(Token),
}

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A deadline passed.
    Tick,
    /// A block that is right in everything but the state it meets.
    Block {
        /// Who handed it in.
        origin: Origin,
        /// The block.
        block: Box<CheckedBlock>,
    },
    /// Transactions that are right by themselves.
    Transactions {
        /// Who handed them in.
        origin: Origin,
        /// The transactions, in the order in which they are tried.
        transactions: Vec<CheckedTransaction>,
    },
    /// The miner met its target.
    Mined {
        /// Which job it worked on.
        epoch: u64,
        /// The time that it ended with, in Unix milliseconds.
        time: u64,
        /// The nonce.
        nonce: u32,
    },
    /// The program is about to end: save what is worth saving.
    Shutdown,
}

/// What became of a submission that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// The block is on the chain with the most work.
    Connected {
        /// Its height.
        height: u64,
    },
    /// The block is valid so far but stands beside the chain with the most work.
    Beside {
        /// Its height.
        height: u64,
    },
    /// The transaction is in the mempool.
    Admitted(Admitted),
}

/// Something to do or to tell.
#[derive(Debug)]
pub enum Output {
    /// The answer to a submission: one for a block, one for each transaction in order.
    Verdict {
        /// Whose submission.
        origin: Origin,
        /// What became of it.
        result: Result<Accepted, Refusal>,
    },
    /// Mine this, in place of whatever was being mined.
    Mine(Box<MiningJob>),
    /// Mine nothing, and say why.
    StopMining(MiningRefusal),
    /// The chain changed; committed to disk.
    Event(ChainEvent),
}

/// A change of the main chain or a thing worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainEvent {
    /// A block joined the main chain.
    Connected {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: BlockHash,
        /// Its transactions' ids.
        txids: Vec<Txid>,
        /// Whether this node mined it.
        own: bool,
    },
    /// A block left the main chain.
    Disconnected {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: BlockHash,
    },
    /// A reorganisation ended; its single steps were told before.
    Reorganised {
        /// The tip that was left.
        from: BlockHash,
        /// The tip that was reached.
        to: BlockHash,
        /// How many blocks were disconnected.
        depth: u64,
    },
    /// A block that had enough work broke a rule when it met the state.
    Invalidated {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: BlockHash,
        /// The rule.
        reason: String,
    },
    /// A body rotted on disk and was forgotten; the chain ends below it until it is had again.
    BodyLost {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: BlockHash,
    },
    /// The local state was found rotten and is being made anew from blocks on disk.
    RepairStarted {
        /// What was found.
        reason: String,
    },
    /// The state is whole again.
    RepairEnded {
        /// The tip's height.
        height: u64,
        /// The tip's cumulative work.
        work: Work,
    },
}
