//! Every bound of the RPC server, with its arithmetic.

use std::time::Duration;

use drystone_core::params::ChainParams;

/// Connections at once, if the system lets the node open so many files; one more is answered 503 and closed. A connection
/// holds 16 KiB of head, and a request and a reply that are not large: 256 MiB for all of them at worst, and a few megabytes
/// with ordinary ones.
pub const MAX_CONNECTIONS: usize = 1_280;

/// The longest request or reply that counts as ordinary. Of the others there is a bounded number.
pub(crate) const ORDINARY_BYTES: usize = 64 << 10;

/// Longer requests at once: 64 MiB of them on the main chain. Others wait, unread.
pub(crate) const MAX_LONG_REQUESTS: usize = 16;

/// Batches at once, each of which gathers its replies: 144 MiB of them on the main chain. Others wait for their turn.
pub(crate) const MAX_BATCHES: usize = 16;

/// How long a request may wait for its turn among long ones or batches.
pub(crate) const TURN_TIMEOUT: Duration = Duration::from_secs(15);

/// Replies longer than ordinary that have not left yet, all together: 128 MiB, 14 of the largest. Beyond them a caller is told
/// that the node is busy, and clients that take their replies slowly hold up nobody else.
pub(crate) const REPLIES_BYTES: usize = 128 << 20;

/// Of the connections, those that may be WebSockets at once.
pub(crate) const MAX_WEBSOCKETS: usize = 256;

/// The longest message that a WebSocket takes: an ordinary request. A block is handed in by a POST.
pub(crate) const MAX_MESSAGE_BYTES: usize = ORDINARY_BYTES;

/// The longest reply over a WebSocket, whose buffer keeps the size of the longest: 256 MiB for all of them. What is longer is
/// asked for by a POST.
pub(crate) const MAX_WEBSOCKET_REPLY_BYTES: usize = 1 << 20;
/// What may wait beside the longest reply: pongs, and a frame's head.
pub(crate) const FRAME_ROOM_BYTES: usize = 64 << 10;

/// What a WebSocket reads at once.
pub(crate) const READ_BUFFER_BYTES: usize = 4 << 10;

/// A WebSocket from which nothing came between two pings is dead.
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long the client of a WebSocket may take to read one message.
pub(crate) const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// Steps of the chain that are read at once for a subscriber: 64 of 350 bytes are 22 kB.
pub(crate) const MAX_STEPS: usize = 64;

/// Calls that are worked on at once, each on a thread of its own; others wait for one of them within their own time.
pub(crate) const MAX_CALLS: usize = 8;

/// Calls in one batch.
pub(crate) const MAX_BATCH: usize = 32;

/// Parameters that are looked at; no method has more than three.
pub(crate) const MAX_PARAMS: usize = 8;

/// The longest request head: the request line and all header fields.
pub(crate) const MAX_HEAD_BYTES: usize = 16 << 10;

/// From the opening of a connection, or from the end of a reply, to the end of the next request's head. It ends
/// connections that dribble and those that idle.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// From the end of a request's head to the end of its body: 4 MiB at 2.3 Mbit/s.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// From a complete request to its reply, for a whole batch together. Below the 30 s that clients commonly wait.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a call waits for another tip than the one that its caller has; what it then answers has 5 s left.
pub(crate) const NEW_TIP_TIMEOUT: Duration = Duration::from_secs(15);

/// From the request for a backup to its end: below the life of a connection. At 100 MB/s 57 GB.
pub(crate) const BACKUP_TIMEOUT: Duration = Duration::from_secs(570);

/// The life of a connection, however it is used: a client that takes its replies slowly cannot keep its place for good.
pub(crate) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

/// How long connections may take to end their current request once the node stops.
pub(crate) const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// The wait after the system refuses a connection (no file descriptors left), so that refusals do not spin.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many requests for `/health`, `/ready` and `/metrics` may ask the engine at once. The others wait for a place.
pub(crate) const MAX_PAGES: usize = 16;

/// How long the engine may take to answer `/health` and `/ready`. It handles at most one block at a time, in a quarter
/// of a second; a long commit can add to that.
pub(crate) const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the engine may take to answer a scrape of `/metrics`, which is to be answered within a second whatever the
/// engine does.
pub(crate) const SCRAPE_TIMEOUT: Duration = Duration::from_millis(800);

/// Headers in one reply: 2,000 of 232 hex digits are 470 kB.
pub(crate) const MAX_HEADERS: u64 = 2_000;

/// Tips in one reply, those with the most work: 100 of 250 bytes are 25 kB.
pub(crate) const MAX_TIPS: usize = 100;

/// Transactions in one page of the mempool: 500 of at most 1,200 bytes are 600 kB.
pub(crate) const MAX_MEMPOOL_PAGE: u64 = 500;

/// Entries in one page of an account's history, each of which may be in a block of its own, read whole: 100 of 2 MiB take
/// about a second, and 120 kB in the reply.
pub(crate) const MAX_HISTORY_PAGE: u64 = 100;

/// How far a fee estimate looks: the mempool holds some five full blocks.
pub(crate) const MAX_FEE_BLOCKS: u64 = 6;

/// The most threads that mine: more than any machine has cores.
pub const MAX_MINING_THREADS: u16 = 1_024;

/// Blocks generated by one call.
pub(crate) const MAX_GENERATE: u64 = 1_000;

/// The longest ban in seconds: ten years, so that its end is a time that every reader can hold.
pub(crate) const MAX_BAN_SECONDS: u64 = 10 * 365 * 86_400;

/// A ban of which nobody says how long, in seconds: a day, as for offences.
pub(crate) const DEFAULT_BAN_SECONDS: u64 = 86_400;

/// The longest error message, and the longest advice, in characters: they quote input, and input can be long.
pub(crate) const MAX_MESSAGE: usize = 300;

/// The largest request: the hex of a block, and room for the rest of a request.
pub fn max_request_bytes(params: &ChainParams) -> usize {
    2 * params.max_block_bytes as usize + (64 << 10)
}

/// The largest reply. A block's fields in JSON take less than four times its bytes (the shortest transaction, 160 bytes,
/// becomes at most 640), its hex takes twice; the rest is room for headers and pages. A whole batch has to fit as well.
pub fn max_reply_bytes(params: &ChainParams) -> usize {
    4 * params.max_block_bytes as usize + (1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_core::amount::Amount;
    use drystone_core::api::{HeaderInfo, MempoolEntry, TransactionFields};
    use drystone_core::genesis::dev_params;
    use drystone_core::hash::BlockHash;
    use drystone_core::key::SecretKey;
    use drystone_core::pow::Work;
    use drystone_core::transaction::{MAX_MEMO, Memo, Transaction, TransactionBody};
    use serde::Serialize;

    fn length(value: &impl Serialize) -> usize {
        serde_json::to_string(value).unwrap().len()
    }

    /// The transaction with the longest text among those with a memo of `memo` bytes.
    fn longest(memo: usize) -> Transaction {
        let (key, most) = (SecretKey::dev(0), Amount(u64::MAX));
        let (from, memo) = (key.account(), Memo(vec![0; memo]));
        TransactionBody { from, to: from, amount: most, fee: most, nonce: u64::MAX, memo }.sign(&BlockHash::ZERO, &key)
    }

    #[test]
    fn a_block_in_json_takes_less_than_four_times_its_bytes() {
        let params = ChainParams { address_prefix: "x".repeat(16), ..dev_params() };
        for memo in [0, 1, MAX_MEMO] {
            let transaction = longest(memo);
            assert!(length(&TransactionFields::new(&params, &transaction)) < 4 * transaction.encoded_len(), "{memo}");
        }
    }

    #[test]
    fn headers_and_pages_fit_beside_a_block_of_no_size() {
        let params = ChainParams { address_prefix: "x".repeat(16), max_block_bytes: 0, ..dev_params() };
        let header = HeaderInfo::new(params.genesis_block().header, u64::MAX, Work::ZERO, Some(u64::MAX));
        assert!(MAX_HEADERS as usize * (length(&header.raw) + 1) < max_reply_bytes(&params));
        let transaction = longest(MAX_MEMO);
        let entry = MempoolEntry {
            transaction: TransactionFields::new(&params, &transaction),
            bytes: u64::MAX,
            score: Some(Amount(u64::MAX)),
        };
        assert!(MAX_MEMPOOL_PAGE as usize * (length(&entry) + 1) < max_reply_bytes(&params));
        let request = 2 * dev_params().max_block_bytes as usize + length(&(0, "mining_submit", "2.0"));
        assert!(request < max_request_bytes(&dev_params()));
    }
}
