//! `/metrics`: what Prometheus asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tokio::task::spawn_blocking;

use super::Rpc;
use super::limits::SCRAPE_TIMEOUT;
use crate::metrics::{MEDIA_TYPE, View};

/// All metrics; without what the engine would say where it is busy for too long.
pub(super) async fn metrics(State(rpc): State<Arc<Rpc>>) -> Response {
    let view = rpc.ask_for_page(SCRAPE_TIMEOUT, |engine, now| View::of(engine, now)).await;
    let hash_rate = rpc.hash_rate.load(Ordering::Relaxed);
    match spawn_blocking(move || rpc.metrics.page(view.as_ref(), hash_rate)).await {
        Ok(page) => ([(CONTENT_TYPE, MEDIA_TYPE)], page).into_response(),
        // Only where the program ends.
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::time::Duration;

    use drystone_core::genesis::dev_params;
    use tokio::time::timeout;

    use crate::mailbox::{Mailbox, Message};
    use crate::metrics::Metrics;
    use crate::rpc::{Cookie, RpcParts};
    use crate::store::{Store, StoreOptions};

    #[tokio::test]
    async fn a_busy_engine_is_not_waited_for() {
        let params = Arc::new(dev_params());
        let backend = redb::backends::InMemoryBackend::new();
        let store = Arc::new(Store::open_backend(backend, &params, &StoreOptions::default()).unwrap());
        // Nobody empties it.
        let (mailbox, inbox) = Mailbox::new();
        let directory = tempfile::tempdir().unwrap();
        let cookie = Cookie::create(directory.path(), [1; 32]).unwrap();
        let metrics = Arc::new(Metrics::new(0, PathBuf::new()));
        let (_, tips) = tokio::sync::watch::channel(None);
        let parts = RpcParts {
            params,
            store,
            mailbox: mailbox.clone(),
            cookie,
            batch_secret: [1; 32],
            hash_rate: Arc::default(),
            metrics,
            tips,
            faucet: None,
        };
        let rpc = Arc::new(Rpc::new(parts));
        let scrape = async || {
            let response = timeout(Duration::from_secs(1), super::metrics(State(Arc::clone(&rpc)))).await.unwrap();
            let page = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
            String::from_utf8(page.to_vec()).unwrap()
        };
        let page = scrape().await;
        assert!(page.contains("\ndrystone_engine_answers 0\n") && !page.contains("drystone_chain_height"), "{page}");
        while mailbox.post(Message::Stop).is_ok() {}
        assert!(scrape().await.contains("drystone_engine_answers 0"), "the queue is full");
        drop(inbox);
        assert!(scrape().await.contains("drystone_engine_answers 0"), "the engine has ended");
    }
}
