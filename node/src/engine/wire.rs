//! What nodes say to each other: every message, its encoding and its cap. docs/PROTOCOL.md, section 20, tells the same.
//!
//! Two gossip topics carry what everybody shall hear; requests and their responses go between two peers. All of it is in
//! core's canonical encoding, so equal values are equal bytes. Nothing here is believed because it decoded: the caps bound
//! memory, the engine judges the rest.

use drystone_core::block::{Block, Body, HEADER_BYTES, Header, MAX_BLOCK_BYTES};
use drystone_core::encode::{DecodeError, decode_capped, encode};
use drystone_core::hash::{BlockHash, StateRoot, WireId};
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_core::pow::Work;
use drystone_core::transaction::{MIN_TRANSACTION_BYTES, Transaction};
use serde::{Deserialize, Serialize};

use super::limits::{
    BATCH_BYTES, BODIES_BYTES, BODIES_PER_REQUEST, HEADERS_PER_RESPONSE, HELD_RANGES, LOCATOR_HASHES, RECONCILED_IDS,
    RECONCILIATION_BUCKETS, TRANSACTIONS_BYTES,
};

/// The version of the messages below. Peers of another version are not talked to.
pub const PROTOCOL_VERSION: u32 = 1;

/// Names a transaction inside one announcement: SipHash-2-4 of its wire id under a key from the block hash, cut to six
/// bytes. Two waiting transactions share one by accident once in 2^48 pairs; then the body is fetched whole.
pub type ShortId = [u8; 6];

/// Names a transaction in reconciliation: the first eight bytes of its wire id.
pub type IdPrefix = [u8; 8];

/// The name of a wire id in reconciliation.
pub fn id_prefix(id: &WireId) -> IdPrefix {
    *id.0.first_chunk().expect("a wire id has 32 bytes")
}

/// A block in brief, for those who have its transactions: topic `blocks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The header.
    pub header: Header,
    /// Who is rewarded.
    pub reward_to: AccountId,
    /// Its transactions in order.
    pub ids: Vec<ShortId>,
}

/// What everybody shall hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gossip {
    /// A new block.
    Block(Announcement),
    /// New transactions, at least one.
    Transactions(Vec<Transaction>),
}

/// The topics of gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// [`Gossip::Block`].
    Blocks,
    /// [`Gossip::Transactions`].
    Transactions,
}

impl Topic {
    /// The topic's name on a chain; of other chains nobody hears.
    pub fn name(self, chain_id: &BlockHash) -> String {
        let kind = match self {
            Topic::Blocks => "blocks",
            Topic::Transactions => "transactions",
        };
        format!("/drystone/{chain_id}/{kind}/{PROTOCOL_VERSION}")
    }

    /// The most bytes that a message of the topic has.
    pub fn max_bytes(self, params: &ChainParams) -> usize {
        let transactions = params.max_block_bytes as usize / MIN_TRANSACTION_BYTES;
        match self {
            Topic::Blocks => HEADER_BYTES + 32 + 8 + size_of::<ShortId>() * transactions,
            Topic::Transactions => BATCH_BYTES,
        }
    }
}

impl Gossip {
    /// The topic that carries it.
    pub fn topic(&self) -> Topic {
        match self {
            Gossip::Block(_) => Topic::Blocks,
            Gossip::Transactions(_) => Topic::Transactions,
        }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Gossip::Block(announcement) => encode(announcement),
            Gossip::Transactions(transactions) => encode(transactions),
        }
    }

    /// Reads a message of `topic`.
    pub fn from_bytes(topic: Topic, bytes: &[u8], params: &ChainParams) -> Result<Gossip, DecodeError> {
        let max = topic.max_bytes(params);
        let gossip = match topic {
            Topic::Blocks => Gossip::Block(decode_capped(bytes, max)?),
            Topic::Transactions => Gossip::Transactions(decode_capped(bytes, max)?),
        };
        match &gossip {
            Gossip::Transactions(transactions) if transactions.is_empty() => {
                Err(DecodeError::Malformed("no transaction"))
            }
            _ => Ok(gossip),
        }
    }
}

/// What a node says of itself: the handshake, and from time to time after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// [`PROTOCOL_VERSION`].
    pub version: u32,
    /// The genesis hash.
    pub chain_id: BlockHash,
    /// The tip's height.
    pub height: u64,
    /// The tip's hash.
    pub hash: BlockHash,
    /// The tip's cumulative work.
    pub work: Work,
    /// The root of the state that the node has computed and holds.
    pub state_root: StateRoot,
    /// The heights, first and last, of the main-chain bodies that it holds, ascending and apart.
    pub held: Vec<(u64, u64)>,
}

impl Status {
    /// Whether it says that the body at `height` is held.
    pub fn holds(&self, height: u64) -> bool {
        self.held.iter().any(|(first, last)| (*first..=*last).contains(&height))
    }
}

/// What one peer asks of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// The first request on a connection, with the asker's own status.
    Status(Status),
    /// The headers that follow the first of these hashes that is on the main chain.
    Headers(Vec<BlockHash>),
    /// The bodies of these blocks.
    Bodies(Vec<BlockHash>),
    /// These transactions of a block, by their numbers in it.
    BlockTransactions(BlockHash, Vec<u32>),
    /// The ids of waiting transactions in the buckets whose digest is not this one.
    Reconcile(Vec<u64>),
    /// These waiting transactions.
    Transactions(Vec<IdPrefix>),
}

/// What comes back. `Refused` answers everything that the node does not serve now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Not now: before the handshake, or over a limit.
    Refused,
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Headers`]: ascending, at most [`HEADERS_PER_RESPONSE`]; as many as that while more follow.
    Headers(Vec<Header>),
    /// To [`Request::Bodies`]: in the order asked, nothing for what is not held; cut short by size, never empty.
    Bodies(Vec<Option<Body>>),
    /// To [`Request::BlockTransactions`]: in the order asked; nothing where the block is not held or has no such number.
    BlockTransactions(Option<Vec<Transaction>>),
    /// To [`Request::Reconcile`].
    Reconcile(Vec<IdPrefix>),
    /// To [`Request::Transactions`]: those that wait here, cut short by size.
    Transactions(Vec<Transaction>),
}

/// The kinds of requests and responses, by the number that their encoding begins with, and their caps.
const KIND_BYTES: usize = 4;
const LENGTH_BYTES: usize = 8;
const STATUS_BYTES: usize = 4 + 32 + 8 + 32 + 32 + 32 + LENGTH_BYTES + 16 * HELD_RANGES;

impl Request {
    /// The most bytes of the request that begins with this kind number; nothing where there is no such kind.
    pub fn max_bytes(kind: u32, params: &ChainParams) -> Option<usize> {
        let transactions = params.max_block_bytes as usize / MIN_TRANSACTION_BYTES;
        let content = match kind {
            0 => STATUS_BYTES,
            1 => LENGTH_BYTES + 32 * LOCATOR_HASHES,
            2 => LENGTH_BYTES + 32 * BODIES_PER_REQUEST,
            3 => 32 + LENGTH_BYTES + 4 * transactions,
            4 => LENGTH_BYTES + 8 * RECONCILIATION_BUCKETS,
            5 => LENGTH_BYTES + size_of::<IdPrefix>() * RECONCILED_IDS,
            _ => return None,
        };
        Some(KIND_BYTES + content)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a request.
    pub fn from_bytes(bytes: &[u8], params: &ChainParams) -> Result<Request, DecodeError> {
        decode_capped(bytes, cap(bytes, |kind| Request::max_bytes(kind, params))?)
    }

    /// The memory of what it lists, in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Request::Status(status) => size_of_val(status.held.as_slice()),
            Request::Headers(hashes) | Request::Bodies(hashes) => size_of_val(hashes.as_slice()),
            Request::BlockTransactions(_, indexes) => size_of_val(indexes.as_slice()),
            Request::Reconcile(digests) => size_of_val(digests.as_slice()),
            Request::Transactions(ids) => size_of_val(ids.as_slice()),
        }
    }

    /// Whether a response is of the kind that answers it; [`Response::Refused`] answers none.
    pub fn is_answered_by(&self, response: &Response) -> bool {
        matches!(
            (self, response),
            (Request::Status(_), Response::Status(_))
                | (Request::Headers(_), Response::Headers(_))
                | (Request::Bodies(_), Response::Bodies(_))
                | (Request::BlockTransactions(..), Response::BlockTransactions(_))
                | (Request::Reconcile(_), Response::Reconcile(_))
                | (Request::Transactions(_), Response::Transactions(_))
        )
    }
}

impl Response {
    /// The most bytes of the response that begins with this kind number; nothing where there is no such kind.
    pub fn max_bytes(kind: u32, params: &ChainParams) -> Option<usize> {
        let block = (params.max_block_bytes as usize).min(MAX_BLOCK_BYTES);
        let content = match kind {
            0 => 0,
            1 => STATUS_BYTES,
            2 => LENGTH_BYTES + HEADER_BYTES * HEADERS_PER_RESPONSE,
            3 => LENGTH_BYTES + BODIES_PER_REQUEST + BODIES_BYTES + block,
            4 => 1 + LENGTH_BYTES + block,
            5 => LENGTH_BYTES + size_of::<IdPrefix>() * RECONCILED_IDS,
            6 => LENGTH_BYTES + TRANSACTIONS_BYTES,
            _ => return None,
        };
        Some(KIND_BYTES + content)
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a response.
    pub fn from_bytes(bytes: &[u8], params: &ChainParams) -> Result<Response, DecodeError> {
        decode_capped(bytes, cap(bytes, |kind| Response::max_bytes(kind, params))?)
    }
}

/// The cap of the kind that a message begins with.
fn cap(bytes: &[u8], max_bytes: impl Fn(u32) -> Option<usize>) -> Result<usize, DecodeError> {
    let kind = bytes.first_chunk().ok_or(DecodeError::Malformed("the bytes end early"))?;
    max_bytes(u32::from_le_bytes(*kind)).ok_or(DecodeError::Malformed("a field holds no possible value"))
}

/// The announcement of a block.
pub fn announce(block: &Block) -> Announcement {
    let key = super::relay::short_id_key(&block.header.hash());
    let ids = block.body.transactions.iter().map(|transaction| key.short_id(&transaction.wire_id())).collect();
    Announcement { header: block.header, reward_to: block.body.reward_to, ids }
}
