//! Drystone's rules, without disk, socket, clock or randomness of its own.
//!
//! A ledger is a chain of blocks, each naming its parent by hash and carrying proof of work; the chain with the most
//! cumulative work is the ledger. State is what the blocks add up to: accounts with a balance and a nonce, and rewards that
//! wait to mature. Every header commits to the state after its block, so a reader who checked the headers can check any
//! balance with a short proof.
//!
//! A block's journey through this crate:
//!
//! ```text
//! bytes -- encode::decode --> Block
//!   header -- validation::check_header ------------> CheckedHeader     bits, proof of work
//!          -- validation::check_header_in_context -> its place: parent, version, difficulty, time
//!   body   -- validation::check_block -------------> CheckedBlock      size, transaction root, signatures
//!          -- validation::connect_block -----------> ConnectedBlock    nonces, balances, rewards, state root
//! ```
//!
//! Each type on the right can only be made by the check on its left. Rooms import downward only:
//! `hash amount encode pow key address` < `merkle transaction block` < `params genesis difficulty subsidy` < `state` <
//! `validation` < `miner light` < `api`. Times, seeds and cancellation come in as arguments.

pub mod address;
pub mod amount;
pub mod api;
pub mod block;
pub mod difficulty;
pub mod encode;
pub mod genesis;
pub mod hash;
pub mod key;
pub mod light;
pub mod merkle;
pub mod miner;
pub mod params;
pub mod pow;
pub mod state;
pub mod subsidy;
pub mod transaction;
pub mod validation;
