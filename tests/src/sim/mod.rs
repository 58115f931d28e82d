//! A network of real engines under virtual time, in which every fault is one seed away.
//!
//! [`World`] is an event loop over (time, sequence). Each [`Host`](host::Host) runs the engine and the store that the program
//! runs, on a disk in memory that can be cut; links have latency, bandwidth, loss and partitions; gossip is modelled as
//! gossipsub behaves; mining is a Poisson process by share of the hash rate. [`Checkers`](checkers::Checkers) watch all the
//! time, and a liveness phase without faults ends each run. Nothing reads a clock, and everything random comes from one
//! seed through integers, so the same seed gives the same [`Trace`](trace::Trace) on every machine.

mod adversaries;
pub mod archive;
pub mod checkers;
pub mod cost;
pub mod deviant;
pub mod faults;
pub mod gossip;
pub mod host;
pub mod hostile;
mod ledger;
pub mod link;
mod network;
mod power;
pub mod report;
pub mod run;
pub mod scenario;
pub mod script;
pub mod setup;
mod shell;
pub mod sybil;
pub mod trace;
mod watch;
pub mod workload;
pub mod world;

pub use report::{Outcome, Violation};
pub use setup::{Faults, Setup};
pub use world::World;

/// A millisecond of virtual time, which is counted in microseconds.
pub const MS: u64 = 1_000;
/// A second of virtual time.
pub const SECOND: u64 = 1_000 * MS;
/// A minute of virtual time.
pub const MINUTE: u64 = 60 * SECOND;
