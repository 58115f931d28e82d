//! Every bound of the engine, with its arithmetic.

/// Header records kept in memory. At 200 bytes each 0.8 MB; deeper reads go to the store.
pub const INDEX_WINDOW: usize = 4096;

/// Blocks from the future that wait for the clock. At the largest block of 16 MiB 256 MiB; of 2 MiB 32 MiB.
pub const FUTURE_BLOCKS: usize = 16;

/// Submissions that wait while a long chain update holds the store. Past it callers are told to try again.
pub const WAITING_INPUTS: usize = 64;

/// What one chain update gathers in memory before it commits, counted at 128 bytes a leaf, 640 a page, 64 a history node
/// and the transactions of its blocks: 64 MiB. A longer update is applied in several parts, each leaving a valid tip.
pub const UPDATE_BYTES: usize = 64 << 20;

/// The least number of tip's works by which a side branch may lag and still be kept: beyond it a fork would need more than an
/// hour of the whole network's work at a block every 30 s to come back.
pub const KEPT_TIP_WORKS: u64 = 144;

/// Blocks that one update gathers while a long chain is connected, so that one commit pays for many.
pub const UPDATE_BLOCKS: usize = 256;

/// How long an update stays open for the next block of a long download, in milliseconds from its start. A commit takes 10 ms
/// and more, as long as many small blocks: one for each that comes by itself would be most of the work.
pub const UPDATE_OPEN_MS: u64 = 500;

/// The least time between two templates on the same tip, in milliseconds: fresh fees against the cost of a template.
pub const TEMPLATE_REFRESH_MS: u64 = 5_000;

/// The least time from a change of the mempool to its being saved, in milliseconds. One more is added for each transaction:
/// a thousand small ones are on disk within two seconds, the largest mempool within a minute.
pub const SAVE_DELAY_MS: u64 = 1_000;

// Peers.

/// Points at which a peer is banned.
pub const BAN_SCORE: u32 = 100;

/// The time in which a score falls by half, in milliseconds: ten minutes.
pub const SCORE_HALF_LIFE_MS: u64 = 10 * 60 * 1000;

/// How long an address stays banned, in milliseconds: a day.
pub const BAN_MS: u64 = 24 * 60 * 60 * 1000;

/// Bans that are remembered; the one that ends first makes room. At 32 bytes each 128 KiB.
pub const BANS: usize = 4096;

/// Connections that this node opens and keeps. Eight, as Bitcoin Core has full-relay ones: enough that an eclipse needs
/// control of eight network groups.
pub const OUTBOUND_PEERS: usize = 8;

/// Connections in all; 56 more may come in. Their memory: 64 * [`peer_bytes`].
pub const PEERS: usize = 64;

/// Connections from one address.
pub const PEERS_PER_ADDRESS: usize = 4;

/// Inbound peers that are never evicted for being lately useful, and as many for being connected longest. Eight of 56.
pub const PROTECTED_PEERS: usize = 4;

/// Connections that this node opens into one network group (a /16 of IPv4, a /32 of IPv6).
pub const OUTBOUND_PER_GROUP: usize = 1;

/// Outbound peers that are remembered and dialled first after a restart, so that a restart does not hand all slots to
/// whoever has filled the address book.
pub const ANCHORS: usize = 2;

/// Addresses that the operator of this node wants connections to. At 32 bytes each 2 KiB.
pub const WANTED_PEERS: usize = 64;

/// The least time between two dials of one of them, in milliseconds.
pub const WANTED_REDIAL_MS: u64 = 5_000;

/// Addresses that the book holds. At about 100 bytes each 200 KB.
pub const BOOK_ADDRESSES: usize = 2048;

/// Addresses of one network group in the book: 32 groups are needed to fill it.
pub const BOOK_PER_GROUP: usize = 64;

/// Addresses of one telling that the book looks at: each may cost a walk over the whole book of 55 us, together
/// 14 ms.
pub const BOOK_TOLD: usize = 256;

/// How often outbound slots are looked at, in milliseconds.
pub const DIAL_INTERVAL_MS: u64 = 2_000;

/// The least time between two dials of one address, in milliseconds; it doubles with each failure up to
/// eight minutes: what a split costs after it has healed.
pub const REDIAL_MS: u64 = 30_000;
/// See [`REDIAL_MS`].
pub const REDIAL_MAX_MS: u64 = 8 * 60 * 1000;

/// How long an address may fail before the book forgets it, in milliseconds: a week if it was never reached (some 170
/// trials an hour apart), four weeks if it once was.
pub const FORGET_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// See [`FORGET_MS`].
pub const FORGET_REACHED_MS: u64 = 4 * FORGET_MS;

/// How long a dial may take, in milliseconds, before its slot counts as free again.
pub const DIAL_TIMEOUT_MS: u64 = 20_000;

/// How often an address that was never reached is tried, and left again, in milliseconds.
pub const FEELER_INTERVAL_MS: u64 = 120_000;

/// How long a peer may take for its status after connecting, in milliseconds.
pub const HANDSHAKE_MS: u64 = 20_000;

/// How often each peer is asked for its status, in milliseconds.
pub const STATUS_INTERVAL_MS: u64 = 30_000;

/// How long after a tip that did not come by gossip those behind hear the status that says so, in milliseconds: gossip brings it
/// to most of them before.
pub const TOLD_MS: u64 = 1_000;

/// How long any other small request may take, in milliseconds.
pub const REQUEST_MS: u64 = 15_000;

/// Ranges of held bodies in a status.
pub const HELD_RANGES: usize = 16;

/// Requests of one peer whose answers have not left yet; a further one is refused. Their responses have at most
/// 8 * ([`BODIES_BYTES`] + a block) = 24 MiB at blocks of 2 MiB.
pub const SERVING_PER_PEER: usize = 8;

/// Requests that a peer may make at once and each second. One that syncs at full speed from one peer makes some twenty a
/// second.
pub const REQUEST_BURST: u64 = 400;
/// See [`REQUEST_BURST`].
pub const REQUEST_RATE: u64 = 200;
/// Who asks for transactions of a block that must be read from disk, whole, makes one request for each so many bytes that a block
/// may have: six such a second at blocks of 2 MiB.
pub const REQUEST_BLOCK_BYTES: u64 = 65_536;

/// Comparisons of mempools that a peer may ask for at once and each second. One may look at every waiting transaction, up to
/// 59,000; a chain of pages has up to [`RECONCILED_PAGES`].
pub const COMPARISON_BURST: u64 = 40;
/// See [`COMPARISON_BURST`].
pub const COMPARISON_RATE: u64 = 2;

/// Transactions whose signatures are verified for one peer, at once and each second. A full chain of 2 MiB blocks every 30 s
/// carries 437 a second; a core verifies 48,000.
pub const TRANSACTION_BURST: u64 = 20_000;
/// See [`TRANSACTION_BURST`].
pub const TRANSACTION_RATE: u64 = 1_000;

/// Batches of one peer that are being checked; a further one is ignored.
pub const BATCHES_PER_PEER: usize = 16;

/// How many times what one peer may, all peers of one address together may.
pub const ADDRESS_SHARE: u64 = 2;

/// Addresses without a connection whose rate limits are remembered until they are full again, 20 s at most; the fullest
/// makes room. At 100 bytes each 400 KiB.
pub const LEFT_ADDRESSES: usize = 4096;

// Relay.

/// Transactions in a gossip batch, and its bytes: 256 of the shortest are 40 KiB, of the longest 104 KiB.
pub const BATCH_TRANSACTIONS: usize = 256;
/// See [`BATCH_TRANSACTIONS`].
pub const BATCH_BYTES: usize = 128 << 10;

/// How long transactions are collected before a batch is published, in milliseconds.
pub const BATCH_WINDOW_MS: u64 = 100;

/// Headers whose blocks are being put together from announcements. Each cost somebody a block's work.
pub const RECONSTRUCTIONS: usize = 8;

/// Other senders of the same header that wait for their turn, each with its announcement.
pub const ALTERNATIVES: usize = 3;

/// How long missing transactions are waited for before a second peer is asked as well, in milliseconds: a round trip
/// around the world is 300. Beyond it they have the time that they take themselves at a rate in bytes a second: a whole block
/// of 2 MiB a second, as a connection that was idle begins slowly, and a second copy of so much would come at its expense.
pub const RACE_MS: u64 = 400;
/// See [`RACE_MS`].
pub const RACE_RATE: u64 = 2 << 20;

/// How long missing transactions, or a whole body, are waited for before the sender counts as failed, in milliseconds.
pub const FETCH_MS: u64 = 10_000;

/// Bodies of announced blocks that are kept in memory for those who ask before the commit. At 2 MiB each 8 MiB.
pub const RECENT_BLOCKS: usize = 4;

/// Blocks whose right announcement is remembered, so that a forged one is told at once. At 80 KiB each 1.3 MiB.
pub const ANNOUNCED_BLOCKS: usize = 16;

/// Senders of announcements that gave nothing of the block, remembered for that block. At 64 bytes each 16 KiB.
pub const FAILED_SENDERS: usize = 256;

/// Announcements from the future that wait for the clock. At 80 KiB each 640 KiB.
pub const FUTURE_ANNOUNCEMENTS: usize = 8;

/// Buckets by which mempools are compared: 2 KiB tell what differs.
pub const RECONCILIATION_BUCKETS: usize = 256;

/// Ids in one answer of reconciliation, and in one request for transactions. At 8 bytes each 32 KiB.
pub const RECONCILED_IDS: usize = 4096;

/// Pages of ids that one comparison asks for at most: a whole mempool.
pub const RECONCILED_PAGES: usize = 16;

/// Bytes of transactions in one answer; the first is always sent.
pub const TRANSACTIONS_BYTES: usize = 2 << 20;

/// How often mempools are compared with a peer, in milliseconds.
pub const RECONCILE_INTERVAL_MS: u64 = 60_000;

/// The least time between two comparisons that answer comparisons of one peer, in milliseconds.
pub const RECONCILE_BACK_MS: u64 = 5_000;

/// How long after a reorganisation that gave transactions back mempools are compared, and how long between two of these
/// comparisons, at least, in milliseconds (up to twice this); and with how many peers: on all sides of a split, most likely.
pub const RETURNED_MS: u64 = 1_000;
/// See [`RETURNED_MS`].
pub const RETURNED_PEERS: usize = 8;

/// The least time after which an own transaction that is not confirmed is published again, in milliseconds; the wait is
/// drawn between this and twice this, so that its time does not tell whose it is.
pub const REBROADCAST_MS: u64 = 10 * 60 * 1000;

/// Own transactions that are remembered for that. At 40 bytes each 40 KB; more are not rebroadcast.
pub const OWN_TRANSACTIONS: usize = 1_000;

// Synchronisation.

/// Hashes in a locator: 10 one by one, then doubling, reach back 2^54 blocks.
pub const LOCATOR_HASHES: usize = 64;

/// Headers in one response: 232 KB.
pub const HEADERS_PER_RESPONSE: usize = 2000;

/// Peers that are asked for the same headers at once, and so many more of those that this node dialled: the second makes up for a
/// silent first.
pub const HEADER_PEERS: usize = 2;

/// How long a peer that could not give headers is left alone, in milliseconds.
pub const HEADERS_REST_MS: u64 = 2_000;

/// How long a peer that refused a request for bodies is left alone, in milliseconds: it is over a limit, and no less honest.
pub const REFUSED_REST_MS: u64 = 500;

/// How many requests for bodies a peer may refuse, one after the other, before it counts as one that does not give them.
pub const REFUSALS: u32 = 20;

/// How long a peer may take for a response with headers, in milliseconds: 232 KB at 16 KB/s.
pub const HEADERS_MS: u64 = 20_000;

/// Pages of headers that are counted in a first pass, each remembered by its last hash: 512 KiB a peer, 32 million headers,
/// 31 years at 30 s.
pub const COUNTED_PAGES: usize = 16_384;

/// The time in which a peer must give a page of a chain that is counted, on average, after the first half minute, in
/// milliseconds: who is slower gives its place to others.
pub const COUNTED_PAGE_MS: u64 = 2_000;

/// Peers whose chains are counted at once, and so many more of those that this node dialled.
pub const COUNTING_PEERS: usize = 4;

/// How far stored headers run ahead of the tip: past it no more are asked for. At about 100 bytes each 1.6 MiB; a walk over
/// them takes some 50 ms.
pub const HEADERS_AHEAD: u64 = 16_384;

/// Blocks beyond the first missing one that are asked for.
pub const BODY_WINDOW: usize = 1024;

/// Memory for bodies that were asked for or wait for their predecessors, in bytes; one body is always asked for.
pub const BODY_WINDOW_BYTES: usize = 64 << 20;

/// Bodies in one request, and in flight from one peer. Enough that small blocks fill a link: of 2 KB, and over a round trip of
/// 300 ms, 256 are 1.7 MB/s. Of large ones a request asks for no more than are expected to fit into [`BODIES_BYTES`].
pub const BODIES_PER_REQUEST: usize = 128;
/// See [`BODIES_PER_REQUEST`].
pub const BODIES_IN_FLIGHT: usize = 256;

/// Which part of the largest block a body is expected to have at least, whatever was seen of late: 8 KiB of 2 MiB, so that a
/// full request is expected to have 1 MiB.
pub const LEAST_BODY: u64 = 256;

/// Requests for bodies under way to one peer: one is being answered while the next is on its way.
pub const BODY_REQUESTS: usize = 2;

/// Bytes of bodies in one response; the first is always sent.
pub const BODIES_BYTES: usize = 1 << 20;

/// The time that a request for bodies has in any case, in milliseconds, and the least rate at which its bodies must come
/// beyond it, in bytes a second.
pub const BODIES_MS: u64 = 4_000;
/// See [`BODIES_MS`].
pub const BODIES_RATE: u64 = 64 << 10;

/// How long the first missing body, for which everything waits, is left to one peer, in milliseconds.
pub const STALL_MS: u64 = 2_000;

/// Missing blocks from which on a node counts as syncing: it does not mine, and looks at no gossiped transactions. A header
/// whose body is withheld costs its work, and must not stop anybody's miner for the price of one.
pub const SYNCING_BLOCKS: usize = 8;

/// How long a branch whose bodies nobody gives is left alone, in milliseconds.
pub const UNAVAILABLE_MS: u64 = 60_000;

/// What one peer may hold of this node's memory, in bytes, on a chain with blocks of at most `max_block_bytes`: a response
/// with headers that waits, the pages of a first pass, its announcements that wait for their turn or for the clock (one for each
/// block that is being put together, ids of 6 bytes for transactions of 160), what was asked of it (1,024 hashes), and 4 KiB
/// for itself. 2.2 MiB at 2 MiB. Bodies are counted in [`BODY_WINDOW_BYTES`], answers in [`SERVING_PER_PEER`].
pub const fn peer_bytes(max_block_bytes: u64) -> usize {
    let announcement = 156 + 6 * (max_block_bytes as usize / 160);
    let announcements = (RECONSTRUCTIONS + FUTURE_ANNOUNCEMENTS) * announcement;
    HEADERS_PER_RESPONSE * 200 + COUNTED_PAGES * 32 + announcements + 1024 * 32 + (4 << 10)
}
