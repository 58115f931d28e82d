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

/// Points at which a peer is banned.
pub const BAN_SCORE: u32 = 100;

/// The least time between two templates on the same tip, in milliseconds: fresh fees against the cost of a template.
pub const TEMPLATE_REFRESH_MS: u64 = 5_000;

/// The least time from a change of the mempool to its being saved, in milliseconds. One more is added for each transaction:
/// a thousand small ones are on disk within two seconds, the largest mempool within a minute.
pub const SAVE_DELAY_MS: u64 = 1_000;
