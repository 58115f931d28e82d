//! The HTTP server: which connections are served, for how long, and what stands at which path.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{BoxError, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, UpgradeableConnection};
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::Rpc;
use super::endpoint::{Endpoint, call};
use super::guard::Guard;
use super::health::{health, ready};
use super::limits::{ACCEPT_PAUSE, CONNECTION_TIMEOUT, HEAD_TIMEOUT, MAX_HEAD_BYTES, STOP_TIMEOUT, max_request_bytes};
use super::scrape::metrics;

/// A running RPC server.
pub struct RpcServer {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl RpcServer {
    /// Listens on `address`, where port 0 takes a free one, and serves until it is stopped or dropped. `names` are the
    /// names beside `localhost` and the address itself that requests may call this node by; `connections` are served at
    /// once.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn start(address: SocketAddr, names: &[String], connections: usize, rpc: Rpc) -> io::Result<RpcServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let router = router(Guard::new(address.ip(), names), Arc::new(rpc));
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, router, connections, stopped));
        Ok(RpcServer { address, stop, serving })
    }

    /// The real address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, gives the ones under way a second to end, and closes every connection.
    pub async fn stop(self) {
        // Both fail only where the server has ended already.
        let _ = self.stop.send(());
        let _ = self.serving.await;
    }
}

/// A connection's place among those that are served, until it is dropped. It travels with each request.
#[derive(Clone)]
pub(super) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
    stopping: watch::Receiver<()>,
}

impl Place {
    /// Resolves when the server stops.
    pub(super) async fn vacated(&mut self) {
        // Nothing is ever sent: the other end goes.
        let _ = self.stopping.changed().await;
    }
}

/// Serves so many connections at once until `stopped` resolves.
async fn serve(listener: TcpListener, router: Router, max: usize, mut stopped: oneshot::Receiver<()>) {
    let mut http = Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(max));
    let (stop, stopping) = watch::channel(());
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => break,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let Ok(permit) = Arc::clone(&places).try_acquire_owned() else {
                    turn_away(stream, max);
                    continue;
                };
                let place = Place { _permit: Arc::new(permit), stopping: stopping.clone() };
                let last = place.clone();
                let tell_place = move |mut request: hyper::Request<_>| {
                    request.extensions_mut().insert(place.clone());
                    request
                };
                let service = TowerToHyperService::new(router.clone().map_request(tell_place));
                let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
                connections.spawn(timeout(CONNECTION_TIMEOUT, attend(connection, last)));
            }
            Err(error) => {
                tracing::warn!("the RPC server cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(stop);
    // WebSockets leave their connections and keep the places.
    if timeout(STOP_TIMEOUT, places.acquire_many(max as u32)).await.is_err() {
        tracing::info!("the RPC server closes {} connections that are still busy", max - places.available_permits());
    }
    connections.shutdown().await;
}

/// Serves a connection to its end, or to the end of its current request once the server stops. One that fails concerns nobody
/// but its client.
async fn attend<S>(connection: UpgradeableConnection<TokioIo<TcpStream>, S>, mut place: Place)
where
    S: HttpService<Incoming, ResBody = Body, Error: Into<BoxError>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = place.vacated() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Says why, as far as the client still listens, and closes.
fn turn_away(stream: TcpStream, max: usize) {
    let reason = format!("all {max} connections are in use; try again\n");
    let length = reason.len();
    let head = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nconnection: close";
    let _ = stream.into_std().and_then(|mut stream| {
        stream.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{reason}").as_bytes())
    });
}

/// What stands at which path.
fn router(guard: Guard, rpc: Arc<Rpc>) -> Router {
    let endpoint = Arc::new(Endpoint::new(rpc.clone()));
    let limit = DefaultBodyLimit::max(max_request_bytes(&rpc.params));
    Router::new()
        .route("/rpc", any(call).layer(limit).with_state(endpoint))
        .route("/ready", get(ready))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(rpc)
        .fallback(async || (StatusCode::NOT_FOUND, "here are /rpc, /ready, /health and /metrics\n"))
        .layer(from_fn_with_state(Arc::new(guard), keep_strangers_out))
}

async fn keep_strangers_out(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(stranger) => (StatusCode::FORBIDDEN, format!("{stranger}\n")).into_response(),
    }
}
