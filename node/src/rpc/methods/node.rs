//! `node_info`.

use drystone_core::api::{NodeInfo, Phase};

use super::mining::Mining;
use crate::engine::Engine;
use crate::rpc::call::Call;
use crate::rpc::error::RpcError;

/// How far the node has come.
pub(in crate::rpc) fn phase(engine: &Engine) -> Phase {
    if engine.is_updating() { Phase::Syncing } else { Phase::Ready }
}

pub(super) fn info(call: &mut Call) -> Result<NodeInfo, RpcError> {
    let (phase, tip, mining) = call.engine(|engine, now| (phase(engine), *engine.tip(), Mining::of(engine, now)))?;
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
        phase,
        height: tip.height,
        hash: tip.hash,
        peers: 0,
        mining: mining.status(&call.rpc),
    })
}
