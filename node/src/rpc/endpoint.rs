//! `/rpc`: from an HTTP request or a WebSocket's message to a JSON-RPC service and back. What is wrong with the HTTP is
//! answered here, and what is large is counted.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue, UPGRADE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use drystone_core::api::ErrorCode;
use jsonrpsee::core::BoxError;
use jsonrpsee::server::middleware::rpc::{RpcService, RpcServiceBuilder};
use jsonrpsee::server::{HttpResponse, Methods, ServerBuilder, ServerConfig, ServerHandle, stop_channel};
use jsonrpsee::types::Id;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::Rpc;
use super::auth::Access;
use super::dispatch::{Deadline, Explained, check_envelope, error_reply, is_batch, module};
use super::error::RpcError;
use super::events::Follower;
use super::limits::{
    BODY_TIMEOUT, MAX_BATCHES, MAX_CONNECTIONS, MAX_LONG_REQUESTS, MAX_WEBSOCKET_REPLY_BYTES, MAX_WEBSOCKETS,
    ORDINARY_BYTES, REPLIES_BYTES, TURN_TIMEOUT, max_reply_bytes, max_request_bytes,
};
use super::server::Place;
use super::websocket;

/// The media type of requests and replies.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// jsonrpsee's service and what requests are held against before they reach it.
pub struct Endpoint {
    pub(super) rpc: Arc<Rpc>,
    service: BoxCloneSyncService<Request, HttpResponse, BoxError>,
    /// One for each of [`MAX_LONG_REQUESTS`].
    long_requests: Arc<Semaphore>,
    /// One for each of [`MAX_BATCHES`].
    batches: Arc<Semaphore>,
    /// One for each [`ORDINARY_BYTES`] of [`REPLIES_BYTES`].
    replies: Arc<Semaphore>,
    /// One for each of [`MAX_WEBSOCKETS`].
    websockets: Arc<Semaphore>,
    // jsonrpsee's service stops when this is dropped.
    _running: ServerHandle,
}

impl Endpoint {
    /// The service of all methods.
    pub fn new(rpc: Arc<Rpc>) -> Endpoint {
        let (max_request_bytes, max_reply_bytes) = (max_request_bytes(&rpc.params), max_reply_bytes(&rpc.params));
        let config = ServerConfig::builder()
            .http_only()
            .max_request_body_size(max_request_bytes as u32)
            // Results are bounded before; around them stand the envelope and the request's own id.
            .max_response_body_size((max_reply_bytes + max_request_bytes) as u32)
            .max_connections(MAX_CONNECTIONS as u32)
            .build();
        let metrics = Arc::clone(&rpc.metrics);
        let explained = RpcServiceBuilder::new().layer_fn(move |inner: RpcService| Explained {
            inner,
            max_reply_bytes,
            metrics: Arc::clone(&metrics),
        });
        let (stopped, running) = stop_channel();
        let service = ServerBuilder::with_config(config)
            .set_rpc_middleware(explained)
            .to_service_builder()
            .build(Methods::from(module(rpc.clone())), stopped);
        let of = |places| Arc::new(Semaphore::new(places));
        Endpoint {
            rpc,
            service: BoxCloneSyncService::new(service),
            long_requests: of(MAX_LONG_REQUESTS),
            batches: of(MAX_BATCHES),
            replies: of(REPLIES_BYTES / ORDINARY_BYTES),
            websockets: of(MAX_WEBSOCKETS),
            _running: running,
        }
    }
}

/// Answers one HTTP request, or makes its connection a WebSocket.
pub(super) async fn call(
    State(endpoint): State<Arc<Endpoint>>,
    Extension(place): Extension<Place>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Response {
    let answer = match upgrade {
        Ok(upgrade) => open_websocket(endpoint, place, upgrade, request.headers()),
        Err(rejection) if request.headers().contains_key(UPGRADE) => {
            let next = "open it as RFC 6455 says, or send a POST request";
            Err(bad_request(rejection.status(), format_args!("this opens no WebSocket: {rejection}"), next))
        }
        Err(_) => endpoint.answer(request).await,
    };
    match answer {
        Ok(response) => response,
        Err((status, error)) => (status, [(CONTENT_TYPE, JSON)], envelope(error)).into_response(),
    }
}

/// An HTTP status and the JSON-RPC error that goes with it.
type Failure = (StatusCode, RpcError);

fn envelope(error: RpcError) -> String {
    error_reply(Id::Null, error).into_json().get().to_owned()
}

fn open_websocket(
    endpoint: Arc<Endpoint>,
    place: Place,
    upgrade: WebSocketUpgrade,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let busy = |_| {
        let what = format_args!("all {MAX_WEBSOCKETS} WebSockets are in use");
        let error = RpcError::new(ErrorCode::Busy, what, "try again, or send POST requests");
        (StatusCode::SERVICE_UNAVAILABLE, error)
    };
    let access = endpoint.rpc.cookie.access(headers);
    let permit = match access {
        // Whoever runs the node is not kept out by others.
        Access::Full => None,
        Access::Anonymous | Access::Stale => Some(Arc::clone(&endpoint.websockets).try_acquire_owned().map_err(busy)?),
    };
    Ok(websocket::open(endpoint, access, (place, permit), upgrade))
}

/// The bytes of a large reply, which count until they have left.
struct Counted {
    bytes: Bytes,
    _count: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Endpoint {
    async fn answer(&self, request: Request) -> Result<Response, Failure> {
        check_method(request.method())?;
        check_content_type(request.headers())?;
        let access = self.rpc.cookie.access(request.headers());
        let ordinary = request.body().size_hint().upper().is_some_and(|bytes| bytes <= ORDINARY_BYTES as u64);
        let _turn = if ordinary { None } else { turn(&self.long_requests, access).await? };
        let body = self.read_body(request).await?;
        let (status, reply) = self.reply(body, access, None).await?;
        let reply = self.count(reply).map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error))?;
        Ok((status, [(CONTENT_TYPE, JSON)], reply).into_response())
    }

    /// Answers a body as a POST of it is answered once it has been read; `with_cookie` says whether the node's cookie came
    /// with it.
    pub async fn answer_body(&self, body: Vec<u8>, with_cookie: bool) -> Vec<u8> {
        let access = if with_cookie { Access::Full } else { Access::Anonymous };
        match self.reply(body.into(), access, None).await {
            Ok((_, reply)) => reply.into(),
            Err((_, error)) => envelope(error).into_bytes(),
        }
    }

    /// Answers one message of a WebSocket, whose client is where `follower` says.
    pub(super) async fn reply_over(&self, message: Bytes, access: Access, follower: &Follower) -> Bytes {
        match self.reply(message, access, Some(follower.clone())).await {
            Ok((_, reply)) if reply.len() <= MAX_WEBSOCKET_REPLY_BYTES => reply,
            Ok(_) => {
                let what =
                    format_args!("the reply is longer than a WebSocket carries, {MAX_WEBSOCKET_REPLY_BYTES} bytes");
                envelope(RpcError::new(ErrorCode::TooLarge, what, "send this request by POST")).into()
            }
            Err((_, error)) => envelope(error).into(),
        }
    }

    /// Answers a request or a batch.
    async fn reply(
        &self,
        body: Bytes,
        access: Access,
        follower: Option<Follower>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        check_envelope(&body).map_err(|error| (StatusCode::BAD_REQUEST, error))?;
        let deadline = Deadline::from_now();
        let _turn = if is_batch(&body) { turn(&self.batches, access).await? } else { None };
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        request.extensions_mut().insert(access);
        request.extensions_mut().insert(deadline);
        if let Some(follower) = follower {
            request.extensions_mut().insert(follower);
        }
        let failed = |error: &dyn std::fmt::Display| {
            let error = RpcError::node_failure(format_args!("the RPC service: {error}"));
            (StatusCode::INTERNAL_SERVER_ERROR, error)
        };
        let response = self.service.clone().oneshot(request).await.map_err(|error| failed(&error))?;
        let (status, body) = (response.status(), Body::new(response.into_body()));
        let reply = to_bytes(body, usize::MAX).await.map_err(|error| failed(&error))?;
        Ok((status, reply))
    }

    /// Counts a reply among those that have not left, if it is large and there is room.
    fn count(&self, bytes: Bytes) -> Result<Bytes, RpcError> {
        if bytes.len() <= ORDINARY_BYTES {
            return Ok(bytes);
        }
        let parts = bytes.len().div_ceil(ORDINARY_BYTES) as u32;
        let busy = |_| {
            let what = "too many large replies have not been read yet";
            RpcError::new(ErrorCode::Busy, what, "ask again in a moment, or for less")
        };
        let count = Arc::clone(&self.replies).try_acquire_many_owned(parts).map_err(busy)?;
        Ok(Bytes::from_owner(Counted { bytes, _count: count }))
    }

    async fn read_body(&self, request: Request) -> Result<Bytes, Failure> {
        let max = max_request_bytes(&self.rpc.params);
        let too_large = || {
            let next = format_args!("send at most {max} bytes");
            let error = RpcError::new(ErrorCode::InvalidRequest, format_args!("the request is over {max} bytes"), next);
            (StatusCode::PAYLOAD_TOO_LARGE, error)
        };
        // What is announced as too large is not read at all.
        if request.body().size_hint().lower() > max as u64 {
            return Err(too_large());
        }
        match timeout(BODY_TIMEOUT, Bytes::from_request(request, &())).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
            Ok(Err(rejection)) => Err(bad_request(rejection.status(), rejection, "send the whole body")),
            Err(_) => {
                let what = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
                Err(bad_request(StatusCode::REQUEST_TIMEOUT, what, "send it faster, or on a new connection"))
            }
        }
    }
}

/// Waits for a turn among those that are long or many. Whoever runs the node waits for nobody.
async fn turn(turns: &Arc<Semaphore>, access: Access) -> Result<Option<OwnedSemaphorePermit>, Failure> {
    if access == Access::Full {
        return Ok(None);
    }
    match timeout(TURN_TIMEOUT, Arc::clone(turns).acquire_owned()).await {
        Ok(Ok(turn)) => Ok(Some(turn)),
        Ok(Err(_)) => Err((StatusCode::SERVICE_UNAVAILABLE, RpcError::stopping())),
        Err(_) => {
            let what = "too many long requests or batches at once";
            let error = RpcError::new(ErrorCode::Busy, what, "ask again in a moment, in shorter requests");
            Err((StatusCode::SERVICE_UNAVAILABLE, error))
        }
    }
}

fn check_method(method: &Method) -> Result<(), Failure> {
    if method == Method::POST {
        return Ok(());
    }
    let next = "send a POST request with a JSON-RPC 2.0 body, or open a WebSocket";
    Err(bad_request(StatusCode::METHOD_NOT_ALLOWED, format_args!("{method} is not for /rpc"), next))
}

/// A page of another origin can send a form's media types without asking the browser first, this one not.
fn check_content_type(headers: &HeaderMap) -> Result<(), Failure> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let what = format!("the content type {given:?} is not application/json");
    Err(bad_request(StatusCode::UNSUPPORTED_MEDIA_TYPE, what, "send the header Content-Type: application/json"))
}

fn bad_request(status: StatusCode, what: impl std::fmt::Display, next: &str) -> Failure {
    (status, RpcError::new(ErrorCode::InvalidRequest, what, next))
}
