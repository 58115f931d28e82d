//! `/rpc`: from an HTTP request to a JSON-RPC service and back. What is wrong with the HTTP is answered here.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderValue, UPGRADE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use drystone_core::api::ErrorCode;
use jsonrpsee::core::BoxError;
use jsonrpsee::server::middleware::rpc::{RpcService, RpcServiceBuilder};
use jsonrpsee::server::{HttpResponse, Methods, ServerBuilder, ServerConfig, ServerHandle, stop_channel};
use jsonrpsee::types::Id;
use tokio::time::timeout;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

use super::Rpc;
use super::dispatch::{Deadline, Explained, check_envelope, error_reply, module};
use super::error::RpcError;
use super::limits::{BODY_TIMEOUT, MAX_CONNECTIONS, max_reply_bytes, max_request_bytes};

/// The media type of requests and replies.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// jsonrpsee's service and what requests are held against before they reach it.
pub(super) struct Endpoint {
    rpc: Arc<Rpc>,
    service: BoxCloneSyncService<Request, HttpResponse, BoxError>,
    // jsonrpsee's service stops when this is dropped.
    _running: ServerHandle,
}

impl Endpoint {
    /// The service of all methods.
    pub(super) fn new(rpc: Arc<Rpc>) -> Endpoint {
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
        Endpoint { rpc, service: BoxCloneSyncService::new(service), _running: running }
    }
}

/// Answers one HTTP request.
pub(super) async fn call(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    match endpoint.answer(request).await {
        Ok(response) => response,
        Err((status, error)) => {
            let reply = error_reply(Id::Null, error).into_json().get().to_owned();
            (status, [(CONTENT_TYPE, JSON)], reply).into_response()
        }
    }
}

/// An HTTP status and the JSON-RPC error that goes with it.
type Failure = (StatusCode, RpcError);

impl Endpoint {
    async fn answer(&self, request: Request) -> Result<Response, Failure> {
        check_method(request.method(), request.headers())?;
        check_content_type(request.headers())?;
        let access = self.rpc.cookie.access(request.headers());
        let body = self.read_body(request).await?;
        check_envelope(&body).map_err(|error| (StatusCode::BAD_REQUEST, error))?;
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        request.extensions_mut().insert(access);
        request.extensions_mut().insert(Deadline::from_now());
        let response = self.service.clone().oneshot(request).await.map_err(|error| {
            (StatusCode::INTERNAL_SERVER_ERROR, RpcError::node_failure(format_args!("the RPC service: {error}")))
        })?;
        Ok(response.map(Body::new))
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

fn check_method(method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    let next = "send a POST request with a JSON-RPC 2.0 body";
    if headers.contains_key(UPGRADE) {
        return Err(bad_request(StatusCode::BAD_REQUEST, "this node does not serve WebSockets", next));
    }
    if method == Method::POST {
        return Ok(());
    }
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
