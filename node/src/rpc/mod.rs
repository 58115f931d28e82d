//! The JSON-RPC server: how wallets, miners and people ask a node and tell it things.
//!
//! A request's journey: `server` accepts the connection, `guard` refuses strangers' pages, `endpoint` reads the body and
//! `auth` looks at the cookie, `dispatch` finds the method, `call` reads its parameters on a thread that may block, and
//! `methods` answer: reads from a snapshot of the store, the rest from the engine through its mailbox. A `websocket` takes the
//! same way with each message, and `events` are what it tells unasked. Every bound is in
//! `limits`, every error has a code, a sentence and a next step (`error`).

mod auth;
mod call;
mod dispatch;
mod endpoint;
mod error;
mod events;
mod faucet;
mod guard;
mod health;
mod limits;
mod methods;
mod scrape;
mod server;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use drystone_core::address::encode_address;
use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

pub use auth::{COOKIE_FILE, Cookie};
pub use endpoint::Endpoint;
pub use faucet::Faucet;
pub use guard::host_address;
pub use limits::{MAX_CONNECTIONS, MAX_MINING_THREADS, max_reply_bytes, max_request_bytes};
pub use server::RpcServer;

use crate::engine::Engine;
use crate::mailbox::Mailbox;
use crate::metrics::Metrics;
use crate::store::Store;

/// What the methods answer from.
pub struct Rpc {
    params: Arc<ChainParams>,
    chain_id: BlockHash,
    store: Arc<Store>,
    mailbox: Mailbox,
    cookie: Cookie,
    batch_secret: [u8; 32],
    hash_rate: Arc<AtomicU64>,
    metrics: Arc<Metrics>,
    /// As in [`RpcParts`].
    tips: watch::Receiver<Option<BlockHash>>,
    faucet: Option<Faucet>,
    /// One for each call that may be worked on at once.
    places: Arc<Semaphore>,
    /// One for each page that may ask the engine at once, held until it has heard: supervisors' calls do not fill its mailbox.
    pages: Arc<Semaphore>,
}

/// The parts of a node that the methods answer from.
pub struct RpcParts {
    /// The chain.
    pub params: Arc<ChainParams>,
    /// What is read.
    pub store: Arc<Store>,
    /// The way to the engine.
    pub mailbox: Mailbox,
    /// What opens the methods that change the node.
    pub cookie: Cookie,
    /// 32 secret random bytes that seed signature batches.
    pub batch_secret: [u8; 32],
    /// Where the miner writes how many hashes a second it tries.
    pub hash_rate: Arc<AtomicU64>,
    /// What is told of every call, and served.
    pub metrics: Arc<Metrics>,
    /// The tip's hash, told when it changes; nothing while the state is made anew and the tip says nothing.
    pub tips: watch::Receiver<Option<BlockHash>>,
    /// What pays whoever asks, if there is one.
    pub faucet: Option<Faucet>,
}

impl Rpc {
    /// Methods over a node's parts.
    pub fn new(parts: RpcParts) -> Rpc {
        let RpcParts { params, store, mailbox, cookie, batch_secret, hash_rate, metrics, tips, faucet } = parts;
        let chain_id = params.chain_id();
        let [places, pages] = [limits::MAX_CALLS, limits::MAX_PAGES].map(|most| Arc::new(Semaphore::new(most)));
        Rpc { params, chain_id, store, mailbox, cookie, batch_secret, hash_rate, metrics, tips, faucet, places, pages }
    }

    /// What the engine says for a page, if it does within `patience`.
    async fn ask_for_page<T: Send + 'static>(
        &self,
        patience: Duration,
        question: impl FnOnce(&mut Engine, u64) -> T + Send + 'static,
    ) -> Option<T> {
        let ask = async {
            let page = Arc::clone(&self.pages).acquire_owned().await.ok()?;
            let question = move |engine: &mut Engine, now| {
                // Whoever asked may be gone: what lies in the mailbox counts.
                drop(page);
                question(engine, now)
            };
            self.mailbox.call(question).await.ok()
        };
        timeout(patience, ask).await.ok().flatten()
    }

    /// The address of an account on this chain.
    fn address(&self, account: &AccountId) -> String {
        encode_address(&self.params.address_prefix, account)
    }
}
