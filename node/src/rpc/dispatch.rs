//! From a JSON-RPC request to a method and back: what is no request, what is no method, who may call it, and how long
//! it may take. jsonrpsee reads and writes the envelopes; its bare errors are replaced by ones that say what to do.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Extensions;
use drystone_core::api::ErrorCode;
use drystone_core::hash::BlockHash;
use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, RpcServiceT};
use jsonrpsee::core::server::BatchResponseBuilder;
use jsonrpsee::server::middleware::rpc::RpcService;
use jsonrpsee::types::{ErrorObjectOwned, Id, Params, Request};
use jsonrpsee::{MethodResponse, RpcModule};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};

use super::Rpc;
use super::auth::Access;
use super::call::{AtMost, Call, Cancelled, Reply, too_large};
use super::error::RpcError;
use super::events::Follower;
use super::limits::{CALL_TIMEOUT, MAX_BATCH, MAX_PARAMS, NEW_TIP_TIMEOUT};
use super::methods::{METHODS, Method};
use crate::metrics::Metrics;

/// Until when a request must be answered; it travels with the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(pub(super) Instant);

impl Deadline {
    /// The deadline of a request that is complete now.
    pub(super) fn from_now() -> Deadline {
        Deadline::within(CALL_TIMEOUT)
    }

    #[allow(clippy::disallowed_methods, reason = "a socket's deadline is the runtime's, and decides nothing else")]
    fn within(patience: Duration) -> Deadline {
        Deadline(Instant::now() + patience)
    }
}

/// A request is part of a batch.
#[derive(Clone, Copy, Debug)]
struct InBatch;

/// The methods as jsonrpsee serves them.
pub(super) fn module(rpc: Arc<Rpc>) -> RpcModule<Rpc> {
    let mut module = RpcModule::from_arc(rpc);
    for method in METHODS {
        module
            .register_async_method(method.name, move |params, rpc, extensions| run(method, params, rpc, extensions))
            .expect("the names in the table are distinct");
    }
    module
}

#[allow(clippy::disallowed_methods, reason = "the time of a call is told and decides nothing")]
async fn run(
    method: &'static Method,
    params: Params<'static>,
    rpc: Arc<Rpc>,
    extensions: Extensions,
) -> Result<Reply, RpcError> {
    let (started, metrics) = (Instant::now(), Arc::clone(&rpc.metrics));
    let result = run_in_time(method, params, rpc, extensions).await;
    let outcome = result.as_ref().map_or_else(|error| error.code.name(), |_| "ok");
    metrics.rpc(method.name, outcome, started.elapsed());
    result
}

async fn run_in_time(
    method: &'static Method,
    params: Params<'static>,
    rpc: Arc<Rpc>,
    extensions: Extensions,
) -> Result<Reply, RpcError> {
    let access = extensions.get().copied().unwrap_or(Access::Anonymous);
    if method.cookie && access != Access::Full {
        return Err(rpc.cookie.refusal(method.name, access));
    }
    let deadline = match method.patience {
        Some(patience) => Deadline::within(patience),
        None => extensions.get().copied().unwrap_or_else(Deadline::from_now),
    };
    let (cancelled, follower) = (Cancelled::default(), extensions.get::<Follower>().cloned());
    if follower.is_some() && method.patience.is_some() {
        return Err(takes_long(method.name));
    }
    // A batch takes a place that others wait for, and a WebSocket is told of new tips anyhow: there nothing is waited for.
    let alone = follower.is_none() && extensions.get::<InBatch>().is_none();
    let old_tip = method.awaits.filter(|_| alone).and_then(|parameter| hash_at(params.as_str()?, parameter));
    let work = async {
        if let Some(tip) = old_tip {
            new_tip(&rpc, tip).await;
        }
        work(method, params, rpc, cancelled.clone(), follower).await
    };
    // Also where nobody waits any more, because the caller is gone or the node stops.
    let _given_up = GivenUp(&cancelled);
    timeout_at(deadline.0, work).await.unwrap_or_else(|_| Err(RpcError::timed_out(method.name, method.patience)))
}

/// Gives a call up when it is dropped. One that is done does not mind.
struct GivenUp<'a>(&'a Cancelled);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

/// What takes minutes would keep a WebSocket's other messages waiting.
fn takes_long(method: &str) -> RpcError {
    let what = format_args!("{method} may take minutes, and holds up what else goes over a WebSocket");
    RpcError::new(ErrorCode::InvalidRequest, what, "send this request by POST")
}

/// The hash that a parameter is, if it is one. What else it may be the method itself refuses, at once.
fn hash_at(params: &str, index: usize) -> Option<BlockHash> {
    let AtMost(values) = serde_json::from_str::<AtMost<MAX_PARAMS>>(params).ok()?;
    serde_json::from_str(values.get(index)?.get()).ok()
}

/// Waits for another tip than this, for a while.
async fn new_tip(rpc: &Rpc, old: BlockHash) {
    // Without an engine there will be none, and the method says so.
    let _ = timeout(NEW_TIP_TIMEOUT, rpc.tips.clone().wait_for(|tip| *tip != Some(old))).await;
}

/// Runs the method on a thread that may block, when one of the places is free.
async fn work(
    method: &'static Method,
    params: Params<'static>,
    rpc: Arc<Rpc>,
    cancelled: Cancelled,
    follower: Option<Follower>,
) -> Result<Reply, RpcError> {
    let place = rpc.places.clone().acquire_owned().await.map_err(|_| RpcError::stopping())?;
    let runtime = Handle::current();
    let done = spawn_blocking(move || {
        // Held to the end of the work, even where nobody waits for it any more.
        let _place = place;
        Call::new(rpc, method, params.as_str(), cancelled, runtime, follower)
            .and_then(|mut call| (method.run)(&mut call))
    });
    done.await.unwrap_or_else(|error| Err(RpcError::node_failure(format_args!("a defect in {}: {error}", method.name))))
}

/// Whether the body of a request is a batch.
pub(super) fn is_batch(body: &[u8]) -> bool {
    first_byte(body) == Some(&b'[')
}

fn first_byte(body: &[u8]) -> Option<&u8> {
    body.iter().find(|byte| !byte.is_ascii_whitespace())
}

/// Refuses what is no JSON-RPC 2.0 request or batch, with the reason. The requests within a batch are judged singly.
pub(super) fn check_envelope(body: &[u8]) -> Result<(), RpcError> {
    // Of a member that nobody looks at serde_json takes any bytes, and JSON is UTF-8 (RFC 8259, 8.1).
    str::from_utf8(body).map_err(not_json)?;
    let result = match first_byte(body) {
        None => return Err(invalid_request("the request is empty")),
        Some(b'[') => match serde_json::from_slice::<AtMost<MAX_BATCH>>(body) {
            Ok(AtMost(requests)) if requests.is_empty() => return Err(invalid_request("the batch is empty")),
            other => other.map(drop),
        },
        Some(_) => serde_json::from_slice::<Request>(body).map(drop),
    };
    result.map_err(|error| match error.is_data() {
        true => invalid_request(format_args!("not a JSON-RPC 2.0 request: {error}")),
        false => not_json(error),
    })
}

fn not_json(error: impl std::fmt::Display) -> RpcError {
    RpcError::new(ErrorCode::Parse, format_args!("not JSON: {error}"), "send a JSON-RPC 2.0 request")
}

fn invalid_request(what: impl std::fmt::Display) -> RpcError {
    RpcError::new(
        ErrorCode::InvalidRequest,
        what,
        r#"send {"jsonrpc":"2.0","id":1,"method":"node_info","params":[]}, or an array of such requests"#,
    )
}

/// An error reply to the request `id`.
pub(super) fn error_reply(id: Id<'_>, error: RpcError) -> MethodResponse {
    MethodResponse::error(id, ErrorObjectOwned::from(error))
}

/// jsonrpsee's service, with our errors in place of its own.
#[derive(Clone)]
pub(super) struct Explained {
    /// What answers.
    pub(super) inner: RpcService,
    /// The bound of a batch's reply.
    pub(super) max_reply_bytes: usize,
    /// What counts the calls of methods that do not exist; the methods count their own.
    pub(super) metrics: Arc<Metrics>,
}

impl RpcServiceT for Explained {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        answer(self.clone(), request)
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = self.clone();
        async move {
            let mut replies = BatchResponseBuilder::new_with_limit(service.max_reply_bytes);
            for entry in batch {
                let reply = match entry {
                    Ok(BatchEntry::Call(mut request)) => {
                        request.extensions_mut().insert(InBatch);
                        answer(service.clone(), request).await
                    }
                    Ok(BatchEntry::Notification(_)) => error_reply(Id::Null, no_id()),
                    Err(invalid) => error_reply(invalid.into_parts().1, invalid_request("not a JSON-RPC 2.0 request")),
                };
                if replies.append(reply).is_err() {
                    return error_reply(Id::Null, too_large());
                }
            }
            MethodResponse::from_batch(replies.finish())
        }
    }

    fn notification<'a>(&self, _: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        ready(error_reply(Id::Null, no_id()))
    }
}

async fn answer(service: Explained, request: Request<'_>) -> MethodResponse {
    if METHODS.iter().any(|method| method.name == request.method) {
        return service.inner.call(request).await;
    }
    service.metrics.rpc("unknown", ErrorCode::UnknownMethod.name(), Duration::ZERO);
    let error = RpcError::new(
        ErrorCode::UnknownMethod,
        format_args!("there is no method {:?}", request.method),
        "call rpc.discover, which describes all methods",
    );
    error_reply(request.id, error)
}

/// Without an id there is no reply, and a caller who left it out by mistake would never learn what happened.
fn no_id() -> RpcError {
    invalid_request("the request has no id")
}
