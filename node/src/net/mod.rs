//! The network: libp2p on one side, the engine's inputs and outputs on the other. Events in, commands out, no policy.
//!
//! `service` is the loop between the two; `behaviour` sets libp2p up; `codec` frames requests and responses; `gate` counts
//! connections that come in and keeps dials the engine's; `guard` ends connections that are stuck; `identity` and `address` translate names. A queue that is full
//! holds the next event back, and with it libp2p's sockets: a node that cannot keep up reads more slowly.

mod address;
mod behaviour;
mod codec;
mod gate;
mod guard;
mod identity;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;

use drystone_core::params::ChainParams;
use libp2p::identity::Keypair;

use crate::metrics::Metrics;

pub use address::parse_address;
pub use codec::{frame, read_message};
pub use identity::{key_pair, name_of};
pub use service::Net;

/// What the network is to be.
#[derive(Clone)]
pub struct NetConfig {
    /// The chain.
    pub params: Arc<ChainParams>,
    /// The node's own keys, ed25519.
    pub keys: Keypair,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many peers may come from one host.
    pub peers_per_host: usize,
    /// Whether to look for nodes on the local network.
    pub mdns: bool,
    /// What counts the bytes.
    pub metrics: Arc<Metrics>,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// libp2p cannot be set up.
    #[error("cannot set up the network: {0}")]
    Setup(String),
}
