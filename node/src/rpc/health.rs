//! `/ready` and `/health`: what supervisors and load balancers ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use drystone_core::api::Phase;
use drystone_core::hash::BlockHash;
use serde::Serialize;
use tokio::time::timeout;

use super::Rpc;
use super::limits::HEALTH_TIMEOUT;
use super::methods::phase;

/// The body of `/ready` and `/health`.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    /// How far the node has come; nothing where the engine does not answer.
    phase: Option<Phase>,
    /// The tip's height.
    height: Option<u64>,
    /// The tip's hash.
    hash: Option<BlockHash>,
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
    let answer = rpc.mailbox.call(|engine, _| (phase(engine), engine.tip().height, engine.tip().hash));
    match timeout(HEALTH_TIMEOUT, answer).await {
        Ok(Ok((phase, height, hash))) => Health { phase: Some(phase), height: Some(height), hash: Some(hash) },
        _ => Health { phase: None, height: None, hash: None },
    }
}

fn status(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
