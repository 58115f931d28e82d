//! One module for each command that does its work and ends. What each returns is printed. [`client`] asks a running node
//! for those that need one.

pub(crate) mod backup;
pub(crate) mod bans;
pub(crate) mod bench_miner;
mod client;
pub(crate) mod genesis;
pub(crate) mod man;
pub(crate) mod peers;
pub(crate) mod status;
pub(crate) mod verify;
