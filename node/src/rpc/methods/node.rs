//! `node_info` and `node_backup`.

use std::path::Path;

use drystone_core::api::{BackupMade, ErrorCode, Moment, NodeInfo, Phase};

use super::mining::Mining;
use crate::engine::operator::Progress;
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::store::{BackupError, HeaderRecord, StoreError};

/// How far the node has come.
pub(in crate::rpc) fn phase(progress: &Progress) -> Phase {
    if progress.syncing { Phase::Syncing } else { Phase::Ready }
}

/// How much of the chain is connected, in percent with one decimal; nothing where nobody says how long the chain is.
pub(in crate::rpc) fn percent(progress: &Progress) -> Option<f64> {
    progress.per_mille().map(|part| part as f64 / 10.0)
}

/// What the engine says of itself.
struct View {
    progress: Progress,
    tip: HeaderRecord,
    peers: usize,
    mining: Mining,
    time: u64,
    repairing: bool,
    mempool: usize,
}

pub(super) fn backup(call: &mut Call) -> Result<BackupMade, RpcError> {
    let path: String = call.next()?;
    if !Path::new(&path).is_absolute() {
        return Err(call.refuse("not an absolute path: the node has a directory of its own"));
    }
    let made = call.rpc.store.backup(Path::new(&path), || call.is_cancelled());
    match made {
        Ok(bytes) => Ok(BackupMade { path, bytes }),
        // The copy's disk: nothing else is written.
        Err(BackupError::Store(StoreError::DiskFull)) => {
            let next = "name a file on a disk with more room";
            Err(RpcError::new(ErrorCode::InvalidParams, format_args!("there is no room for a copy at {path}"), next))
        }
        Err(BackupError::Store(error)) => Err(error.into()),
        Err(error @ (BackupError::Exists(_) | BackupError::File { .. })) => {
            Err(RpcError::new(ErrorCode::InvalidParams, error, "name a new file where the node may write"))
        }
        Err(BackupError::Cancelled) => {
            call.check_cancelled()?;
            Err(RpcError::stopping())
        }
    }
}

pub(super) fn info(call: &mut Call) -> Result<NodeInfo, RpcError> {
    let View { progress, tip, peers, mining, time, repairing, mempool } = call.engine(|engine, now| View {
        progress: engine.progress(),
        tip: *engine.tip(),
        peers: engine.peers().len(),
        mining: Mining::of(engine, now),
        time: now,
        repairing: engine.is_repairing(),
        mempool: engine.mempool().len(),
    })?;
    let params = &call.rpc.params;
    Ok(NodeInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        chain: params.name.clone(),
        kind: params.kind,
        chain_id: call.rpc.chain_id,
        address_prefix: params.address_prefix.clone(),
        account_reserve: params.account_reserve,
        maturity: params.maturity,
        interval: params.interval,
        max_block_bytes: params.max_block_bytes,
        phase: phase(&progress),
        height: tip.height,
        hash: tip.hash,
        headers: progress.headers,
        progress: percent(&progress),
        peers: peers as u64,
        mining: mining.status(&call.rpc),
        moment: Some(Moment {
            time,
            started: call.rpc.metrics.started(),
            tip_time: tip.header.time,
            bits: tip.header.bits,
            target_height: progress.target(),
            repairing,
            mempool: mempool as u64,
            scrub: call.rpc.metrics.scrub(),
        }),
    })
}
