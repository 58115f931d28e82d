//! The methods: one table that names each with its parameters, and a file for each group.

mod account;
mod chain;
mod discover;
mod faucet;
mod mempool;
mod mining;
mod net;
mod node;
mod submit;

use std::time::Duration;

use serde::Serialize;

use super::call::{Call, Reply};
use super::error::RpcError;
use super::events;
use super::limits::BACKUP_TIMEOUT;

pub(super) use chain::find;
pub(super) use node::{percent, phase};

/// A method as callers see it, and the function that answers.
pub(super) struct Method {
    /// Its name.
    pub(super) name: &'static str,
    /// The names of its positional parameters.
    pub(super) parameters: &'static [&'static str],
    /// Whether it changes the node, which needs the cookie.
    pub(super) cookie: bool,
    /// How long it may take, where that is longer than others may.
    pub(super) patience: Option<Duration>,
    /// The parameter, if it is given, that names a tip: the call is answered once there is another, or after
    /// [`NEW_TIP_TIMEOUT`](super::limits::NEW_TIP_TIMEOUT).
    pub(super) awaits: Option<usize>,
    /// Reads the parameters and gives the serialised result. It may block.
    pub(super) run: fn(&mut Call) -> Result<Reply, RpcError>,
}

type Run = fn(&mut Call) -> Result<Reply, RpcError>;

/// What everybody may call who reaches the server.
const fn open(name: &'static str, parameters: &'static [&'static str], run: Run) -> Method {
    Method { name, parameters, cookie: false, patience: None, awaits: None, run }
}

/// What only a reader of the cookie may call.
const fn guarded(name: &'static str, parameters: &'static [&'static str], run: Run) -> Method {
    Method { name, parameters, cookie: true, patience: None, awaits: None, run }
}

fn reply<T: Serialize>(call: &mut Call, method: fn(&mut Call) -> Result<T, RpcError>) -> Result<Reply, RpcError> {
    let result = method(call)?;
    call.reply(&result)
}

/// Every method, in the order of docs/RPC.md.
pub(super) const METHODS: &[Method] = &[
    open("node_info", &[], |call| reply(call, node::info)),
    open("chain_head", &[], |call| reply(call, chain::head)),
    open("chain_header", &["height or hash"], |call| reply(call, chain::header)),
    open("chain_headers", &["from", "count"], |call| reply(call, chain::headers)),
    open("chain_block", &["height or hash", "raw"], |call| reply(call, chain::block)),
    open("chain_tips", &[], |call| reply(call, chain::tips)),
    open("chain_events", &["cursor"], |call| reply(call, events::start)),
    open("chain_events_stop", &["subscription"], |call| reply(call, events::stop)),
    guarded("chain_reconsider", &["hash"], |call| reply(call, chain::reconsider)),
    open("tx_submit", &["hex"], |call| reply(call, submit::transaction)),
    open("tx_get", &["txid"], |call| reply(call, chain::transaction)),
    open("account_get", &["address"], |call| reply(call, account::get)),
    open("account_proof", &["address"], |call| reply(call, account::proof)),
    open("mempool_info", &[], |call| reply(call, mempool::info)),
    open("mempool_list", &["cursor", "limit"], |call| reply(call, mempool::list)),
    open("fee_estimate", &["blocks"], |call| reply(call, mempool::fee_estimate)),
    Method { awaits: Some(1), ..open("mining_template", &["address", "tip"], |call| reply(call, mining::template)) },
    open("mining_submit", &["hex"], |call| reply(call, submit::block)),
    guarded("mining_set", &["threads"], |call| reply(call, mining::set)),
    guarded("mining_generate", &["count", "address"], |call| reply(call, mining::generate)),
    open("net_peers", &[], |call| reply(call, net::peers)),
    guarded("net_add_peer", &["address"], |call| reply(call, net::add_peer)),
    guarded("net_ban", &["target", "seconds"], |call| reply(call, net::ban)),
    guarded("net_unban", &["target"], |call| reply(call, net::unban)),
    open("net_bans", &[], |call| reply(call, net::bans)),
    Method { patience: Some(BACKUP_TIMEOUT), ..guarded("node_backup", &["path"], |call| reply(call, node::backup)) },
    open("tx_proof", &["txid"], |call| reply(call, chain::proof)),
    open("account_history", &["address", "cursor", "limit"], |call| reply(call, account::history)),
    open("faucet_pay", &["address"], |call| reply(call, faucet::pay)),
    open("rpc.discover", &[], discover::document),
];
