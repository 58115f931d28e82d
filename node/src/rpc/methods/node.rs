//! `node_info`.

use drystone_core::api::{NodeInfo, Phase};

use super::mining::Mining;
use crate::engine::operator::Progress;
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;
use crate::store::HeaderRecord;

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
}

pub(super) fn info(call: &mut Call) -> Result<NodeInfo, RpcError> {
    let View { progress, tip, peers, mining } = call.engine(|engine, now| View {
        progress: engine.progress(),
        tip: *engine.tip(),
        peers: engine.peers().len(),
        mining: Mining::of(engine, now),
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
    })
}
