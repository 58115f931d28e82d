//! A Drystone node: the engine that decides, the store that remembers, the RPC that answers, and the shell around them.
//!
//! A block's journey through this crate, from a miner's submission:
//!
//! ```text
//! rpc: bytes -> decode -> check_header, check_block -> CheckedBlock
//!   mailbox -> engine: header in context -> chain update: connect_block, one step a call
//!     store: one redb transaction -> commit
//!   <- outputs: verdict to the caller, events to the log, a new job to the miner
//! ```
//!
//! [`engine`] is sans-IO: it reads no clock and no socket, spawns nothing, and gives the same outputs for the same inputs.
//! [`store`] is redb with Drystone's tables. [`rpc`] answers reads from store snapshots on its own threads and asks the
//! engine for the rest. [`mailbox`] is the one way to the engine, [`metrics`] count what goes on. The program itself
//! (`main.rs`, `node.rs`) is the shell around them: the only reader of clocks and of the operating system's randomness.

pub mod engine;
pub mod mailbox;
pub mod metrics;
pub mod net;
pub mod rpc;
pub mod store;
