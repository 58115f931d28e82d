//! The fastest way from blocks on disk to a ledger: read, check, connect, 256 blocks to a commit, on one thread.

use std::path::Path;
use std::time::{Duration, Instant};

use drystone_core::params::ChainParams;
use drystone_core::state::Overlay;
use drystone_core::validation::{BlockContext, Parent, check_block, check_header, connect_block};
use drystone_node::engine::limits::UPDATE_BLOCKS;
use drystone_node::store::{Store, StoreError, StoreOptions};

/// What a replay did.
#[derive(Clone, Copy, Debug)]
pub struct Replay {
    /// Blocks connected.
    pub blocks: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

/// Connects the main chain of the ledger in the file `from` into a new one in the file `to`.
///
/// # Errors
/// The store's.
///
/// # Panics
/// If a block on disk is not valid.
pub fn replay(params: &ChainParams, from: &Path, to: &Path) -> Result<Replay, StoreError> {
    let source = Store::open_file(from, params, &StoreOptions::default(), |_| {})?;
    let held = source.snapshot()?;
    let target = Store::open_file(to, params, &StoreOptions::default(), |_| {})?;
    let (started, chain_id, last) = (Instant::now(), params.chain_id(), held.tip()?.height);
    let (mut bytes, mut height) = (0, 0);
    let tip = target.snapshot()?.tip()?;
    let mut parent = Parent { height: tip.height, hash: tip.hash, work: tip.work };
    while height < last {
        let (snapshot, mut update) = (target.snapshot()?, target.begin()?);
        for record in held.headers_from(height + 1, UPDATE_BLOCKS)? {
            height = record.height;
            let body = held.body(&record.hash)?.expect("the ledger holds its bodies");
            bytes += body.block_bytes() as u64;
            let header = check_header(record.header, params).expect("a valid header");
            let context = BlockContext { params, chain_id: &chain_id, height, batch_secret: &[7; 32] };
            let block = check_block(header, body, &context).expect("a valid block");
            let view = Overlay { base: &snapshot, changes: update.changes() };
            let block = connect_block(block, &parent, params, &view).expect("a block that connects");
            update.connect(&block)?;
            parent = Parent { height, hash: block.hash(), work: block.work() };
        }
        update.commit()?;
    }
    Ok(Replay { blocks: height, bytes, took: started.elapsed() })
}
