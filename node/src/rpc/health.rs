//! `/ready` and `/health`: what supervisors and load balancers ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use drystone_core::api::Phase;
use drystone_core::hash::BlockHash;
use serde::Serialize;

use super::Rpc;
use super::limits::HEALTH_TIMEOUT;
use super::methods::{percent, phase};
use crate::engine::Engine;

/// The body of `/ready` and `/health`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Health {
    /// How far the node has come; nothing where the engine does not answer.
    phase: Option<Phase>,
    /// The tip's height.
    height: Option<u64>,
    /// The tip's hash.
    hash: Option<BlockHash>,
    /// The height up to which the best chain of headers is known.
    headers: Option<u64>,
    /// How much of the chain is connected, in percent; nothing where nobody says how long the chain is.
    progress: Option<f64>,
    /// Connected peers that have shaken hands.
    peers: Option<u64>,
}

/// 200 where the node can answer with a usable tip, else 503.
pub(super) async fn ready(rpc: State<Arc<Rpc>>) -> (StatusCode, Json<Health>) {
    let health = ask(&rpc).await;
    (status(health.phase == Some(Phase::Ready)), Json(health))
}

/// 200 where the engine answers in time, else 503.
pub(super) async fn health(rpc: State<Arc<Rpc>>) -> (StatusCode, Json<Health>) {
    let health = ask(&rpc).await;
    (status(health.phase.is_some()), Json(health))
}

/// Asks the engine, for a bounded time.
async fn ask(rpc: &Rpc) -> Health {
    let question = |engine: &mut Engine, _| (engine.progress(), engine.tip().hash, engine.peers().len());
    let Some((progress, hash, peers)) = rpc.ask_for_page(HEALTH_TIMEOUT, question).await else {
        return Health::default();
    };
    Health {
        phase: Some(phase(&progress)),
        height: Some(progress.height),
        hash: Some(hash),
        headers: Some(progress.headers),
        progress: percent(&progress),
        peers: Some(peers as u64),
    }
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
