//! What goes into the engine and what comes out: plain data, so that a simulator can drive it as a socket does.

use core::net::SocketAddr;
use std::fmt;
use std::str::FromStr;

use drystone_core::hash::{BlockHash, StateRoot, Txid};
use drystone_core::pow::Work;
use drystone_core::validation::{CheckedBlock, CheckedTransaction};

use serde::{Deserialize, Serialize};

use super::mempool::Admitted;
use super::mining::{MiningJob, MiningRefusal};
use super::verdict::{Disposition, Offence, Refusal};
use super::wire::{Gossip, Request, Response};
use super::work::{Done, Job};
use crate::store::Damage;

/// Names one submission, so that its verdict finds its way back. Chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(pub u64);

/// Names a peer: the ed25519 public key that its connection proved.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerId(pub [u8; 32]);

/// What stands before the key in the name of a peer: an identity multihash of 36 bytes, of a libp2p public key of type
/// ed25519 with 32 bytes of data.
const NAME_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl fmt::Display for PeerId {
    /// The name that libp2p gives a peer with this key (libp2p specification, "Peer Ids and Keys"): base58 of its multihash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode([&NAME_PREFIX[..], &self.0].concat()).into_string())
    }
}

impl FromStr for PeerId {
    type Err = NotAPeerId;

    fn from_str(text: &str) -> Result<PeerId, NotAPeerId> {
        let mut bytes = [0; NAME_PREFIX.len() + 32];
        let length = bs58::decode(text).onto(&mut bytes).map_err(|_| NotAPeerId)?;
        let key = bytes[..length].strip_prefix(&NAME_PREFIX).ok_or(NotAPeerId)?;
        Ok(PeerId(key.try_into().map_err(|_| NotAPeerId)?))
    }
}

/// A text that names no peer with an ed25519 key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a peer's name begins with 12D3KooW and has 52 characters")]
pub struct NotAPeerId;

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names a request between two peers. The engine chooses it for its own, the shell for those that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names a gossip message that waits for its verdict. Chosen by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId(pub u64);

/// Names a job that was given out. Chosen by the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The peer.
    Inbound,
    /// This node, on [`Output::Dial`].
    Outbound,
}

/// Something that a peer did.
#[derive(Debug)]
pub enum PeerEvent {
    /// It is connected. The first connection counts, further ones of the same peer are the shell's business.
    Connected {
        /// Where it is; of an outbound connection the address that was dialled.
        address: SocketAddr,
        /// Who opened the connection.
        direction: Direction,
    },
    /// Its last connection closed. What was asked of it will not be answered.
    Disconnected,
    /// It passed on a gossip message, which goes no further before [`Output::Judge`].
    Gossip {
        /// Names the message.
        message: MessageId,
        /// The message.
        gossip: Gossip,
    },
    /// It asks.
    Request {
        /// Names the request in [`Output::Respond`].
        id: RequestId,
        /// The request.
        request: Request,
    },
    /// It answers.
    Response {
        /// Names the request that it answers.
        id: RequestId,
        /// The response.
        response: Response,
    },
    /// The answer to a request of its has left, or never will.
    Sent {
        /// Names the request.
        id: RequestId,
    },
    /// It will not answer: the stream closed, or the response did not decode, which [`PeerEvent::Offence`] tells beside.
    NoResponse {
        /// Names the request.
        id: RequestId,
    },
    /// It sent bytes that are no message.
    Offence(Offence),
    /// It speaks none of this node's protocols.
    Stranger,
    /// It says where it can be dialled; the host is the one that it is seen at.
    Listens(SocketAddr),
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectReason {
    /// Its chain is another.
    #[error("it follows chain {0}")]
    OtherChain(BlockHash),
    /// It speaks another version.
    #[error("it speaks version {0} of the protocol")]
    OtherVersion(u32),
    /// It speaks other protocols.
    #[error("it speaks none of this node's protocols")]
    Stranger,
    /// It did not tell its status in time.
    #[error("it did not say its status in time")]
    NoHandshake,
    /// Its score is spent.
    #[error("banned: {0}")]
    Banned(Offence),
    /// It was banned before, here or by hand.
    #[error("it is banned")]
    AddressBanned,
    /// All places are taken.
    #[error("no place is free")]
    Full,
    /// It was only tried.
    #[error("its address is good; the connection was a trial")]
    Feeler,
    /// It is this node itself.
    #[error("it is this node itself")]
    Itself,
    /// It does not answer.
    #[error("it does not answer")]
    Unresponsive,
}

/// Who handed something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// This node itself: its miner, its saved mempool.
    Own,
    /// A block from the future whose time has come.
    Delayed,
    /// A caller of the RPC, who waits for a verdict.
    Rpc(Token),
    /// A peer, who announced it.
    Peer(PeerId),
    /// The download of a chain's bodies.
    Download,
}

impl Origin {
    /// Whether somebody hears the verdict.
    pub fn hears_verdict(&self) -> bool {
        !matches!(self, Origin::Peer(_) | Origin::Download)
    }
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
    /// A block that was found invalid is to be judged again, with what stands on it.
    Reconsider {
        /// Who wants it.
        origin: Origin,
        /// The block.
        hash: BlockHash,
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
    /// A peer did something.
    Peer {
        /// The peer.
        peer: PeerId,
        /// What it did.
        event: PeerEvent,
    },
    /// Work that was given out is done.
    Done {
        /// Its name.
        id: JobId,
        /// What it led to.
        done: Done,
    },
    /// Addresses of nodes that somebody heard of.
    Discovered(Vec<SocketAddr>),
    /// An address that was dialled cannot be reached.
    DialFailed(SocketAddr),
    /// Something on disk was found damaged by whoever reads it over.
    Damaged {
        /// What.
        damage: Damage,
        /// Whether every body of the main chain was read since and is whole: the state may be made anew from the blocks.
        all_bodies: bool,
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
    /// Nothing is held against the block any more.
    Reconsidered {
        /// How many blocks were held to be invalid until now: it, what it stands on, and what stands on it.
        blocks: u64,
    },
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
    /// Open a connection.
    Dial(SocketAddr),
    /// Close all connections of a peer.
    Disconnect {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DisconnectReason,
    },
    /// Ask a peer.
    Request {
        /// The peer.
        peer: PeerId,
        /// Names the request.
        id: RequestId,
        /// The request.
        request: Request,
    },
    /// Answer a peer.
    Respond {
        /// The peer.
        peer: PeerId,
        /// Names its request.
        id: RequestId,
        /// The response.
        response: Response,
    },
    /// Tell everybody.
    Publish(Gossip),
    /// What shall become of a gossip message: forwarded if accepted.
    Judge {
        /// Who passed it on.
        peer: PeerId,
        /// Names the message.
        message: MessageId,
        /// What shall become of it.
        disposition: Disposition,
    },
    /// Have this done on a pool.
    Work {
        /// Names the work in [`Input::Done`].
        id: JobId,
        /// The work.
        job: Job,
    },
    /// Something about the network worth a line in the log.
    Net(NetEvent),
}

/// Something about the network worth a line in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetEvent {
    /// A peer shook hands.
    Joined {
        /// The peer.
        peer: PeerId,
        /// Who opened the connection.
        direction: Direction,
        /// The height that it says it has.
        height: u64,
    },
    /// A peer did what costs points.
    Penalty {
        /// The peer.
        peer: PeerId,
        /// What it did.
        offence: Offence,
        /// The points.
        points: u32,
    },
    /// A body was taken from a peer and asked of another.
    Reassigned {
        /// Who was too slow or had nothing.
        peer: PeerId,
        /// The block.
        hash: BlockHash,
        /// Why.
        reason: Reassignment,
    },
    /// Nobody gives the bodies of a branch; another is followed for a while.
    Unavailable {
        /// The head of the branch.
        head: BlockHash,
        /// The first block that is missing.
        missing: BlockHash,
    },
    /// A chain of headers with too little work was counted and dropped.
    LowWork {
        /// Who has it.
        peer: PeerId,
        /// How many headers were counted.
        headers: u64,
    },
    /// A peer was not served, because data on disk is damaged.
    Unserved {
        /// The peer.
        peer: PeerId,
        /// What was found.
        reason: String,
    },
    /// A peer's state root at a block is not what the block's header says: its state is rotten, or it lies.
    StateMismatch {
        /// The peer.
        peer: PeerId,
        /// The height.
        height: u64,
        /// What the header says.
        required: StateRoot,
        /// What the peer says.
        found: StateRoot,
    },
}

/// Why a body was asked of another peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reassignment {
    /// The deadline passed.
    Deadline,
    /// The connection closed, or the request failed.
    Lost,
    /// The peer answers nothing now.
    Refused,
    /// The peer does not hold it.
    NotHeld,
    /// What came is not the block's body.
    Wrong,
    /// Everything waits for it; the first peer may still win.
    Stalled,
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
    /// Blocks that were held to be invalid are to be judged again.
    Reconsidered {
        /// The height of the lowest.
        height: u64,
        /// The hash of the lowest.
        hash: BlockHash,
        /// How many there are.
        blocks: u64,
    },
    /// A body rotted on disk and was forgotten until it is had again; during a repair the chain ends below it.
    BodyLost {
        /// Its height.
        height: u64,
        /// Its hash.
        hash: BlockHash,
    },
    /// A body that had rotted is held again.
    BodyRestored {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_name_is_read_back() {
        let peer = PeerId(std::array::from_fn(|i| i as u8));
        let name = peer.to_string();
        assert!(name.starts_with("12D3KooW") && name.len() == 52, "{name}");
        assert_eq!(name.parse(), Ok(peer));
        // Another key type, another length, no base58.
        for wrong in ["QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", &name[..51], "", "0OIl", &format!("{name}1")] {
            assert_eq!(wrong.parse::<PeerId>(), Err(NotAPeerId), "{wrong}");
        }
    }
}
