//! What work costs in virtual time, from counts. Microseconds of one core of the machine of docs/PERFORMANCE.md, rounded up;
//! only their proportions matter. Each transaction counts as many times as its weight says.

use drystone_core::block::Body;
use drystone_node::engine::message::{ChainEvent, Input, Output, PeerEvent};
use drystone_node::engine::wire::{Request, Response};
use drystone_node::engine::work::{Done, Job, Part};

/// Any call of the engine.
pub const CALL: u64 = 20;
/// A commit: copied pages and a sync.
pub const COMMIT: u64 = 2_000;
/// A transaction connected: two leaves and their share of the tree, in a ledger of a million accounts.
pub const TRANSACTION: u64 = 40;
/// The same in a ledger of a thousand: a block of 13,000 takes 64 ms.
pub const TRANSACTION_AMONG_FEW: u64 = 5;
/// A header checked and stored.
pub const HEADER: u64 = 5;
/// A transaction admitted.
pub const ADMISSION: u64 = 20;
/// A signature verified in a batch.
pub const SIGNATURE: u64 = 12;
/// A job, and a transaction's hashing in it.
pub const JOB: u64 = 20;
/// A transaction's hash and its share of a tree.
pub const HASH: u64 = 1;
/// A record read for a peer.
pub const READ: u64 = 10;

/// What an input costs the engine before it is seen what comes of it.
pub fn of_input(input: &Input, weight: u64) -> u64 {
    CALL + match input {
        Input::Peer { event: PeerEvent::Response { response: Response::Headers(headers), .. }, .. } => {
            HEADER * headers.len() as u64 + COMMIT
        }
        Input::Transactions { transactions, .. } => ADMISSION * weight * transactions.len() as u64,
        Input::Done { done: Done::Transactions(Ok(transactions)), .. } => {
            ADMISSION * weight * transactions.len() as u64
        }
        _ => 0,
    }
}

/// What outputs tell of the work that led to them, where a transaction takes so long.
pub fn of_outputs(outputs: &[Output], weight: u64, transaction: u64) -> u64 {
    let cost = |output: &Output| match output {
        Output::Event(ChainEvent::Connected { txids, .. }) => COMMIT + transaction * weight * txids.len() as u64,
        Output::Event(ChainEvent::Disconnected { .. }) => COMMIT,
        _ => 0,
    };
    outputs.iter().map(cost).sum()
}

/// What a job costs a worker.
pub fn of_job(job: &Job, weight: u64) -> u64 {
    let signatures = |body: &Body| (SIGNATURE + HASH) * weight * body.transactions.len() as u64;
    JOB + match job {
        Job::Assemble { parts, .. } => HASH * weight * parts.len() as u64,
        Job::Complete { parts, .. } => {
            let fetched = parts.iter().filter(|part| matches!(part, Part::Fetched(_))).count();
            (SIGNATURE * fetched as u64 + HASH * parts.len() as u64) * weight
        }
        Job::CheckBlock { body, .. } => signatures(body),
        Job::CheckTransactions { transactions, .. } => SIGNATURE * weight * transactions.len() as u64,
        Job::Serve { request: Request::Headers(_), .. } => READ * 100,
        Job::Serve { request: Request::Bodies(hashes), .. } => READ * hashes.len() as u64,
        Job::Serve { .. } => READ,
    }
}
