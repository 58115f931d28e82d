//! The shapes of the JSON-RPC interface, shared by the node that answers and the wallet that asks.
//!
//! Amounts are decimal strings of chips, hashes print as everywhere else, times are Unix milliseconds, raw bytes are hex
//! ([`Hex`]), addresses bech32m under the chain's prefix. Readers ignore fields that they do not know.

use core::net::SocketAddr;
use std::fmt;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::encode_address;
use crate::amount::Amount;
use crate::block::{Block, Header};
use crate::encode::{Encodable, decode_hex, encode};
use crate::hash::{BlockHash, StateRoot, TxRoot, Txid, WireId};
use crate::light::TransactionProof;
use crate::params::{ChainKind, ChainParams};
use crate::pow::{CompactTarget, Work};
use crate::state::{Account, StateProof};
use crate::transaction::{Memo, Transaction};

/// A value as the hex of its canonical encoding: what other methods call raw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hex<T>(pub T);

impl<T: Serialize> Serialize for Hex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(encode(&self.0)))
    }
}

impl<'de, T: Encodable> Deserialize<'de> for Hex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode_hex(&String::deserialize(deserializer)?).map(Hex).map_err(D::Error::custom)
    }
}

/// A block of the main chain by its height, or any known block by its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum BlockId {
    /// A JSON number.
    Height(u64),
    /// A JSON string of 64 hex digits.
    Hash(BlockHash),
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockId::Height(height) => write!(f, "at height {height}"),
            BlockId::Hash(hash) => write!(f, "{hash}"),
        }
    }
}

/// Without the buffer of an untagged enum, which a hostile parameter could blow up.
impl<'de> Deserialize<'de> for BlockId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeightOrHash;
        impl Visitor<'_> for HeightOrHash {
            type Value = BlockId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a height (a number) or a block hash (a string of 64 hex digits)")
            }
            fn visit_u64<E: serde::de::Error>(self, height: u64) -> Result<BlockId, E> {
                Ok(BlockId::Height(height))
            }
            fn visit_str<E: serde::de::Error>(self, hash: &str) -> Result<BlockId, E> {
                hash.parse().map(BlockId::Hash).map_err(|_| E::invalid_value(Unexpected::Str(hash), &self))
            }
        }
        deserializer.deserialize_any(HeightOrHash)
    }
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// On its way to the heaviest chain that it knows of, or repairing its state.
    Syncing,
    /// On the heaviest chain that it knows of.
    Ready,
}

/// `node_info`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The program's version.
    pub version: String,
    /// The chain's name.
    pub chain: String,
    /// What the chain is for.
    pub kind: ChainKind,
    /// The genesis hash.
    pub chain_id: BlockHash,
    /// The prefix of the chain's addresses.
    pub address_prefix: String,
    /// The least balance that a transfer may leave with its sender or recipient.
    pub account_reserve: Amount,
    /// Blocks before a reward can be spent.
    pub maturity: u64,
    /// The time between blocks that difficulty steers toward, in milliseconds.
    pub interval: u64,
    /// The largest encoded block in bytes.
    pub max_block_bytes: u64,
    /// How far the node has come.
    pub phase: Phase,
    /// The tip's height.
    pub height: u64,
    /// The tip's hash.
    pub hash: BlockHash,
    /// The height up to which the best chain of headers is known.
    pub headers: u64,
    /// How much of the chain is connected, in percent; nothing where nobody says how long the chain is.
    pub progress: Option<f64>,
    /// How many peers are connected and have shaken hands.
    pub peers: u64,
    /// What the node's own miner does.
    pub mining: MiningStatus,
    /// What else is worth telling at a glance; nothing where an older node answers.
    #[serde(flatten)]
    pub moment: Option<Moment>,
}

/// What a node is like at the moment of `node_info`; its fields stand among the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// The node's clock.
    pub time: u64,
    /// When the program started.
    pub started: u64,
    /// When the tip was made, as its producer says.
    pub tip_time: u64,
    /// The target that the tip meets.
    pub bits: CompactTarget,
    /// The height of the chain as far as is known; nothing where nobody says how long it is.
    pub target_height: Option<u64>,
    /// Whether the state is being made anew, because it was found damaged.
    pub repairing: bool,
    /// Transactions that wait in the mempool.
    pub mempool: u64,
    /// What reading the disk over has found; nothing where that is off.
    pub scrub: Option<ScrubInfo>,
}

/// How far a node has read its disk over, and what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScrubInfo {
    /// How much of the current pass is done, in percent with one decimal.
    pub done: f64,
    /// When a pass ended last, since the start.
    pub last_pass: Option<u64>,
    /// Damaged records found since the start.
    pub damaged: u64,
    /// Bodies of the main chain that are not held because of that, and asked of peers.
    pub missing_bodies: u64,
}

/// What the node's own miner does; the reply of `mining_set`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MiningStatus {
    /// How many threads are set to mine; 0 is off.
    pub threads: u64,
    /// The speed just measured.
    pub hashes_per_second: u64,
    /// The address that is rewarded.
    pub reward_to: Option<String>,
    /// Why nothing is mined although threads are set.
    pub refusal: Option<String>,
    /// When it goes on, where that is a matter of time.
    #[serde(default)]
    pub until: Option<u64>,
}

/// `node_backup`: a copy of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupMade {
    /// The file.
    pub path: String,
    /// Its length.
    pub bytes: u64,
}

/// `faucet_pay`: a payment that waits in the mempool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaucetPaid {
    /// The transaction.
    pub txid: Txid,
    /// The address that paid.
    pub from: String,
    /// What was paid.
    pub amount: Amount,
    /// What the block's producer gets for it.
    pub fee: Amount,
}

/// `chain_head` and `chain_header`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderInfo {
    /// The block hash.
    pub hash: BlockHash,
    /// How many blocks it stands above genesis.
    pub height: u64,
    /// When it was made, as its producer says.
    pub time: u64,
    /// The target that the hash meets.
    pub bits: CompactTarget,
    /// The work of the chain up to and including this block.
    pub work: Work,
    /// The parent's hash.
    pub prev_hash: BlockHash,
    /// The root of the state after the block.
    pub state_root: StateRoot,
    /// The root over `reward_to` and the transactions.
    pub tx_root: TxRoot,
    /// The 116 bytes.
    pub raw: Hex<Header>,
    /// Blocks of the main chain from this one to the tip, both counted; nothing where this is not in the main chain.
    pub confirmations: Option<u64>,
}

impl HeaderInfo {
    /// Describes `header`, which stands at `height` with `work` behind it.
    pub fn new(header: Header, height: u64, work: Work, confirmations: Option<u64>) -> HeaderInfo {
        HeaderInfo {
            hash: header.hash(),
            height,
            time: header.time,
            bits: header.bits,
            work,
            prev_hash: header.prev_hash,
            state_root: header.state_root,
            tx_root: header.tx_root,
            raw: Hex(header),
            confirmations,
        }
    }
}

/// `chain_block` without `raw`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockInfo {
    /// The header's fields stand beside the following.
    #[serde(flatten)]
    pub header: HeaderInfo,
    /// The encoded length of the block.
    pub bytes: u64,
    /// The address that is rewarded.
    pub reward_to: String,
    /// The subsidy and the fees, which `reward_to` has once they mature.
    pub reward: Amount,
    /// The transfers in their order.
    pub transactions: Vec<TransactionFields>,
}

/// The reply of `chain_block`: an object, or the block's hex where `raw` was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum BlockReply {
    /// The whole encoded block.
    Raw(Hex<Block>),
    /// The block's fields.
    Fields(Box<BlockInfo>),
}

/// What a transaction says, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionFields {
    /// The hash of the body.
    pub txid: Txid,
    /// The hash of all bytes.
    pub wire_id: WireId,
    /// The address that pays.
    pub from: String,
    /// The address that receives.
    pub to: String,
    /// What `to` receives.
    pub amount: Amount,
    /// What the block's producer receives.
    pub fee: Amount,
    /// How many transactions `from` has sent before.
    pub nonce: u64,
    /// Free bytes, in hex.
    pub memo: Memo,
}

impl TransactionFields {
    /// Describes `transaction` with the addresses of the chain of `params`.
    pub fn new(params: &ChainParams, transaction: &Transaction) -> TransactionFields {
        let body = &transaction.body;
        TransactionFields {
            txid: transaction.txid(),
            wire_id: transaction.wire_id(),
            from: encode_address(&params.address_prefix, &body.from),
            to: encode_address(&params.address_prefix, &body.to),
            amount: body.amount,
            fee: body.fee,
            nonce: body.nonce,
            memo: body.memo.clone(),
        }
    }
}

/// `tx_get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionInfo {
    /// The transaction's fields stand beside the following.
    #[serde(flatten)]
    pub transaction: TransactionFields,
    /// All bytes.
    pub raw: Hex<Transaction>,
    /// Where it stands.
    #[serde(flatten)]
    pub status: TransactionStatus,
}

/// Where a transaction stands; in JSON a `status` and the fields that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum TransactionStatus {
    /// It waits in the mempool of the node.
    Pending,
    /// It is in a block of the main chain.
    Confirmed {
        /// The block's height.
        height: u64,
        /// The block's hash.
        block_hash: BlockHash,
        /// Its place among the block's transactions, from 0.
        index: u64,
        /// Blocks from that one to the tip, both counted.
        confirmations: u64,
    },
}

/// `tx_proof`: that a transaction is in a block of the main chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionProofInfo {
    /// The transaction.
    pub txid: Txid,
    /// The height of its block.
    pub height: u64,
    /// The hash of its block.
    pub block_hash: BlockHash,
    /// The height of the tip, whose header the proof leads to.
    pub tip_height: u64,
    /// The hash of the tip.
    pub tip_hash: BlockHash,
    /// Everything that is needed to check it.
    pub proof: Hex<TransactionProof>,
}

/// `account_get`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountInfo {
    /// The account asked for.
    pub address: String,
    /// The block whose state this is.
    pub height: u64,
    /// That block's hash.
    pub hash: BlockHash,
    /// Spendable chips.
    pub balance: Amount,
    /// How many transactions of the account are in the chain.
    pub nonce: u64,
    /// The nonce that the next transaction must carry, after the ones that wait in the node's mempool.
    pub pending_nonce: u64,
    /// Rewards that have not matured.
    pub immature: Amount,
}

/// `account_proof`: an account under the state root of the tip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountProof {
    /// The account asked for.
    pub address: String,
    /// The tip's height.
    pub height: u64,
    /// The tip's hash.
    pub hash: BlockHash,
    /// The tip's header, whose state root the proof leads to.
    pub header: Hex<Header>,
    /// What the proof shows: the account, with nothing in it where it is absent.
    pub account: Account,
    /// The path in the state tree, of inclusion or of absence.
    pub proof: Hex<StateProof>,
}

/// `account_history`: one page, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountHistory {
    /// The account asked for.
    pub address: String,
    /// The height of the tip, as of which this is.
    pub height: u64,
    /// The tip's hash.
    pub hash: BlockHash,
    /// At most as many as asked for.
    pub entries: Vec<AccountEvent>,
    /// What to ask for next; nothing on the last page.
    pub next: Option<String>,
}

/// A transfer or a reward of an account, in a block of the main chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountEvent {
    /// The block's height.
    pub height: u64,
    /// The block's hash.
    pub block_hash: BlockHash,
    /// When the block was made.
    pub time: u64,
    /// Blocks from that one to the tip, both counted.
    pub confirmations: u64,
    /// What the account did.
    pub role: AccountRole,
    /// What it earned, of a reward: the subsidy and the fees; nothing of a transfer.
    pub reward: Option<Amount>,
    /// The height from which the reward is in the balance.
    pub matures: Option<u64>,
    /// The transfer; nothing of a reward.
    pub transaction: Option<TransactionFields>,
}

/// What an account did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountRole {
    /// It earned the block's reward.
    Earned,
    /// It paid.
    Paid,
    /// It was paid.
    Received,
    /// It paid itself.
    PaidItself,
}

/// An entry of `chain_tips`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TipInfo {
    /// The last block of the branch.
    pub hash: BlockHash,
    /// Its height.
    pub height: u64,
    /// The work of the branch.
    pub work: Work,
    /// What is known of the branch.
    pub status: TipStatus,
}

/// `chain_reconsider`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconsidered {
    /// How many blocks were held to be invalid until now and may be chosen again.
    pub blocks: u64,
}

/// One step of the main chain, as the subscription `chain_events` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainStep {
    /// What happened to the block.
    pub event: StepKind,
    /// Its height.
    pub height: u64,
    /// Its hash; `chain_block` gives the block, also of one that was disconnected.
    pub hash: BlockHash,
    /// The block that it stands on.
    pub prev_hash: BlockHash,
    /// Its time.
    pub time: u64,
    /// The tip after this step: what a client that has taken it in gives to `chain_events` to go on.
    pub cursor: BlockHash,
}

/// What happened to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// It joined the main chain, on top of the tip.
    Connected,
    /// It was the tip and left the main chain.
    Disconnected,
}

/// What is known of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TipStatus {
    /// The main chain.
    Active,
    /// Beside the main chain; its last block's body is held.
    Bodies,
    /// Beside the main chain; its last block's body is not held.
    Headers,
    /// A block of it breaks a rule.
    Invalid,
}

/// `mempool_info`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MempoolInfo {
    /// Transactions that could be in the next blocks.
    pub transactions: u64,
    /// How many of them are held at most.
    pub max_transactions: u64,
    /// Their encoded length.
    pub bytes: u64,
    /// The fee that a new transaction must pay at least, in chips for each 1,000 bytes.
    pub min_fee_rate: Amount,
    /// Transactions that wait for one with a lower nonce.
    pub gapped: u64,
}

/// `fee_estimate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeeEstimate {
    /// Within how many blocks.
    pub blocks: u64,
    /// The fee that stands there now, in chips for each 1,000 bytes.
    pub fee_rate: Amount,
    /// The least that the mempool takes, likewise.
    pub min_fee_rate: Amount,
    /// The bytes that wait and pay at least `fee_rate`.
    pub bytes_ahead: u64,
}

/// `mempool_list`: one page, ordered by account id and nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MempoolPage {
    /// At most as many as asked for.
    pub transactions: Vec<MempoolEntry>,
    /// What to ask for next; nothing on the last page.
    pub next: Option<String>,
}

/// A waiting transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MempoolEntry {
    /// The transaction's fields stand beside the following.
    #[serde(flatten)]
    pub transaction: TransactionFields,
    /// The encoded length.
    pub bytes: u64,
    /// What a miner earns by it in chips for each 1,000 bytes: the least fee rate among the account's transactions up to
    /// this one. Nothing while it waits for one with a lower nonce.
    pub score: Option<Amount>,
}

/// `mining_template`: a block that lacks only its nonce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MiningTemplate {
    /// The height it would have.
    pub height: u64,
    /// The parent, which is the tip.
    pub prev_hash: BlockHash,
    /// The target in compact form.
    pub bits: CompactTarget,
    /// The largest block hash that meets the target.
    pub target: BlockHash,
    /// The block's time; it may be raised while mining, and the block must not be submitted before it.
    pub time: u64,
    /// The subsidy and the fees.
    pub reward: Amount,
    /// The whole encoded block. Its header is its first 116 bytes, the nonce the last four of them.
    pub block: Hex<Block>,
}

/// `mining_submit`: what became of a valid block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockSubmitted {
    /// The block's hash.
    pub hash: BlockHash,
    /// Where it stands.
    pub status: BlockStatus,
}

/// Where a block stands that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlockStatus {
    /// On the main chain.
    Connected,
    /// Valid so far, on a branch with less work than the main chain.
    Beside,
}

/// An entry of `net_peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// The peer's name, which its connection proved.
    pub peer_id: String,
    /// Where it is; of an inbound connection with a port that it does not listen on.
    pub address: SocketAddr,
    /// Who opened the connection.
    pub direction: PeerDirection,
    /// Since when it is connected.
    pub connected_since: u64,
    /// Whether it has shaken hands.
    pub ready: bool,
    /// The height of the best block that it has said or shown to have.
    pub height: u64,
    /// Points against it; at 100 it is banned.
    pub score: u32,
    /// Blocks that it gave for the download.
    pub blocks_received: u64,
    /// The bytes of those blocks.
    pub block_bytes_received: u64,
    /// When it last gave something new, a block or a transaction; nothing if never.
    pub last_useful: Option<u64>,
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeerDirection {
    /// The peer.
    Inbound,
    /// This node.
    Outbound,
}

/// An entry of `net_bans`, and the reply of `net_ban`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanInfo {
    /// An IP address, of IPv6 the first of its /64, all of which is banned; or a peer's name.
    pub target: String,
    /// When it ends.
    pub until: u64,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $code:ident = $number:literal, $name:literal;)*) => {
        /// The kinds of errors that the interface answers with. Programs depend on numbers and names: neither ever
        /// changes its meaning. Numbers from -32768 to -32600 are those of JSON-RPC 2.0.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        pub enum ErrorCode {
            $($(#[$doc])* $code = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$code),*];

            /// The name that stands in the error's data.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$code => $name,)*
                }
            }
        }
    };
}

error_codes! {
    /// The request is not JSON.
    Parse = -32700, "parse_error";
    /// The request is not a JSON-RPC 2.0 request.
    InvalidRequest = -32600, "invalid_request";
    /// No method has this name.
    UnknownMethod = -32601, "unknown_method";
    /// Parameters are missing, too many, of the wrong type or out of bounds.
    InvalidParams = -32602, "invalid_params";
    /// The node failed: its disk, its database, a defect.
    NodeFailure = -32603, "node_failure";
    /// The method needs the cookie.
    Unauthorized = -32001, "unauthorized";
    /// The node does not know the block, the transaction or the height asked for.
    NotFound = -32002, "not_found";
    /// The node knows it and does not hold it: pruned, or an index that is switched off.
    NotHeld = -32003, "not_held";
    /// The method does not exist on a chain of this kind.
    WrongKind = -32004, "wrong_kind";
    /// More is waiting than the node can take; ask again.
    Busy = -32005, "busy";
    /// The answer took too long; ask again, or for less.
    TimedOut = -32006, "timed_out";
    /// The node is about to end.
    Stopping = -32007, "stopping";
    /// The answer is larger than an answer may be; ask for less.
    TooLarge = -32008, "too_large";
    /// An address is mistyped or of another chain.
    InvalidAddress = -32009, "invalid_address";
    /// The transaction is invalid in any context: its encoding, its signature, its memo.
    InvalidTransaction = -32010, "invalid_transaction";
    /// The transaction's nonce has been used by one that is in the chain.
    NonceUsed = -32011, "nonce_used";
    /// The transaction's nonce is too far ahead, or too many of the account are waiting.
    NonceTooFar = -32012, "nonce_too_far";
    /// The account cannot pay amount and fee after its waiting transactions.
    InsufficientBalance = -32013, "insufficient_balance";
    /// The transfer would leave sender or recipient below the chain's reserve.
    BelowReserve = -32014, "below_reserve";
    /// The fee is below what the mempool asks.
    FeeTooLow = -32015, "fee_too_low";
    /// A replacement must pay more than what it replaces.
    ReplacementTooCheap = -32016, "replacement_too_cheap";
    /// The mempool is full of transactions that pay more.
    MempoolFull = -32017, "mempool_full";
    /// The block breaks a rule.
    InvalidBlock = -32020, "invalid_block";
    /// The block cannot be judged yet: its parent is unknown, or its time is in the future.
    BlockNotYet = -32021, "block_not_yet";
    /// The node refuses to mine.
    MiningRefused = -32022, "mining_refused";
    /// The block's hash is above its target.
    LowWork = -32023, "low_work";
    /// The block comes too late: the chain has gone far beyond it.
    StaleBlock = -32024, "stale_block";
    /// The node has the block already.
    DuplicateBlock = -32025, "duplicate_block";
    /// The node has no faucet.
    FaucetOff = -32030, "faucet_off";
    /// The faucet pays, but not again so soon.
    TooSoon = -32031, "too_soon";
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The code of a number; nothing for one of a newer interface.
    pub fn from_number(number: i32) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.number() == number)
    }
}

/// The `data` of every error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorData {
    /// [`ErrorCode::name`].
    pub name: String,
    /// What to do about it, one line.
    pub next: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::dev_params;
    use crate::hash::BlockHash;
    use crate::key::{AccountId, SecretKey};
    use crate::transaction::TransactionBody;
    use serde_json::{Value, from_value, json, to_value};

    fn transaction() -> Transaction {
        let key = SecretKey::dev(0);
        let body = TransactionBody {
            from: key.account(),
            to: AccountId([9; 32]),
            amount: Amount(u64::MAX),
            fee: Amount(2),
            nonce: 3,
            memo: Memo(vec![4, 5]),
        };
        body.sign(&BlockHash([5; 32]), &key)
    }

    #[test]
    fn amounts_are_strings_and_fields_stand_side_by_side() {
        let info = TransactionInfo {
            transaction: TransactionFields::new(&dev_params(), &transaction()),
            raw: Hex(transaction()),
            status: TransactionStatus::Confirmed {
                height: 1,
                block_hash: BlockHash([1; 32]),
                index: 0,
                confirmations: 2,
            },
        };
        let value = to_value(&info).unwrap();
        assert_eq!(value["amount"], json!("18446744073709551615"));
        assert_eq!(value["memo"], json!("0405"));
        assert_eq!(value["status"], json!("confirmed"));
        assert_eq!(value["confirmations"], json!(2));
        assert_eq!(value["raw"], json!(hex::encode(encode(&transaction()))));
        assert_eq!(from_value::<TransactionInfo>(value).unwrap(), info);

        let pending = TransactionInfo { status: TransactionStatus::Pending, ..info };
        let value = to_value(&pending).unwrap();
        assert_eq!((&value["status"], value.get("height")), (&json!("pending"), None));
        assert_eq!(from_value::<TransactionInfo>(value).unwrap(), pending);
    }

    #[test]
    fn hex_that_is_not_canonical_is_refused() {
        let good = to_value(Hex(transaction())).unwrap();
        let good = good.as_str().unwrap();
        for bad in [&good[2..], &good[1..], &format!("{good}00"), "zz", ""] {
            assert!(from_value::<Hex<Transaction>>(json!(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_block_is_named_by_height_or_hash() {
        assert_eq!(from_value::<BlockId>(json!(7)).unwrap(), BlockId::Height(7));
        let hash = BlockHash([3; 32]);
        assert_eq!(from_value::<BlockId>(json!(hash.to_string())).unwrap(), BlockId::Hash(hash));
        for bad in [json!("7"), json!(-1), json!(1.5), json!(null), json!([7])] {
            assert!(from_value::<BlockId>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn codes_and_names_are_distinct() {
        let mut numbers: Vec<_> = ErrorCode::ALL.iter().map(|code| code.number()).collect();
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        numbers.sort_unstable();
        names.sort_unstable();
        numbers.dedup();
        names.dedup();
        assert_eq!((numbers.len(), names.len()), (ErrorCode::ALL.len(), ErrorCode::ALL.len()));
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let data: ErrorData = from_value(json!({ "name": "busy", "next": "ask again", "more": [1] })).unwrap();
        assert_eq!(data, ErrorData { name: "busy".into(), next: "ask again".into() });
        assert!(from_value::<ErrorData>(Value::Null).is_err());
    }
}
