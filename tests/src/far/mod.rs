//! Real node processes at a distance: started on the hosts of a [`Wan`](crate::wan::Wan) or on this machine's loopback,
//! connected as asked, given blocks and payments at chosen moments, and watched through their logs.
//!
//! All processes share one clock, so the time from a block's first connection to its last is a difference of two log lines.
//! Blocks are made by a [`TestChain`](crate::chain::TestChain) and handed to whichever node is to be their miner: when a
//! block appears is known, and no processor mines. What the commands of `drystone-far` do is one file each.

pub mod calibration;
mod chain;
pub mod clients;
pub mod figures;
pub mod join;
pub mod log;
pub mod mining;
pub mod network;
pub mod node;
pub mod propagation;
pub mod replay;
pub mod session;
pub mod soak;
pub mod topology;

pub use chain::{Payers, address, key, params};
pub use network::Network;
pub use node::{Machine, Node, Start};
pub use topology::Topology;

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long anything may take that is not measured.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Polls until there is a value.
///
/// # Panics
/// If there is none for long.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

/// Polls until there is a value, for as long as this.
///
/// # Panics
/// If there is none.
pub fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "it never happened: {what}");
        sleep(Duration::from_millis(20));
    }
}
