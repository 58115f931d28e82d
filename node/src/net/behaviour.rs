//! libp2p's behaviours, set up for a chain. Defaults that would break one are set, each with its reason.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use drystone_core::params::ChainParams;
use libp2p::core::{Transport, upgrade};
use libp2p::gossipsub::{
    self, DataTransform, IdentTopic, MessageAuthenticity, MessageId, PeerScoreParams, PeerScoreThresholds, RawMessage,
    TopicHash, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::request_response::{self, ProtocolSupport};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    StreamProtocol, connection_limits, identify, kad, mdns, memory_connection_limits, noise, ping, tcp, yamux,
};
use libp2p::{Swarm, SwarmBuilder};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::codec::Codec;
use super::gate::{Discovery, Gate};
use super::guard::Guarded;
use super::{NetConfig, NetError};
use crate::engine::limits::{BODIES_BYTES, BODIES_RATE, PEERS, SCORE_HALF_LIFE_MS};
use crate::engine::wire::Topic;

/// The stream protocol of requests and responses, the same on all chains: a peer of another chain is told so.
pub(super) const REQUESTS: StreamProtocol = StreamProtocol::new("/drystone/requests/1");

/// What a node says of itself in the identify protocol.
const AGENT: &str = concat!("drystone-node/", env!("CARGO_PKG_VERSION"));

/// Streams of a connection, and so requests under way on it in both directions. With 256 KiB of buffer each, whoever sends
/// and is not read from fills 16 MiB.
const STREAMS: usize = 64;

/// Connections that come in, and have come in, at most: some more than the engine keeps, so that it is the engine who
/// chooses.
const PENDING_INBOUND: u32 = 64;
/// See [`PENDING_INBOUND`].
const ESTABLISHED_INBOUND: u32 = PEERS as u32 + 16;

/// Two peers who dial each other at the same time have two connections.
const PER_PEER: u32 = 2;

/// No more connections are opened, either way, while the process holds more memory than this, in bytes.
const MEMORY_BYTES: usize = 3 << 30;

/// How long a request may take from its first byte to the last one of its answer, beyond the time that the longest answer
/// takes at the least rate. The engine's deadlines are shorter; this one frees what a peer that trickles or never reads
/// would hold.
const REQUEST_PATIENCE: Duration = Duration::from_secs(12);

/// How long an answer to a ping may take, twice in a row: it may wait behind a long response on a narrow link.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Peers outside the gossip mesh are silent for long and stay.
const IDLE_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Messages of gossip that wait for a slow reader. At 128 KiB each 8 MiB.
const GOSSIP_QUEUE: usize = 64;

/// How long one may wait there: 128 KiB at 16 KB/s.
const GOSSIP_PATIENCE: Duration = Duration::from_secs(8);

/// Ids in one message of control, and messages that are asked for at once: as many as fit into the queue of whoever is asked.
const GOSSIP_IDS: usize = GOSSIP_QUEUE;

/// The score, less the square of the rejected messages, below which nothing of a peer is heard. Ten such messages ban it, and whoever
/// is not heard sends no tenth: it would be let go because it does not answer, and be back at once.
const GRAYLIST: f64 = -400.0;

/// How long whoever told of a message may take to send it.
const GOSSIP_FOLLOWUP: Duration = Duration::from_secs(10);

/// Heartbeats, seconds, for which a message is kept: it may wait for its block's transactions twice for ten seconds before
/// it is forwarded.
pub(super) const GOSSIP_HISTORY: usize = 30;

/// A score far below that at which gossipsub drops everything from a peer, before it looks at it, but subscriptions.
const DEAF: f64 = -1_000.0;

/// The bytes of framing that come on top of a message where its length is checked: topic, lengths, and what was read ahead.
const GOSSIP_FRAMING: usize = 16 << 10;

/// Gossipsub on the topics of one chain and no others.
pub(super) type Gossipsub = gossipsub::Behaviour<OwnTopics, WhitelistSubscriptionFilter>;

/// Lets messages of the chain's topics pass. Gossipsub remembers a message before it looks whether anybody subscribed to its
/// topic, so messages on topics of their own would be a way to fill memory.
#[derive(Clone)]
pub(super) struct OwnTopics(Vec<TopicHash>);

impl DataTransform for OwnTopics {
    fn inbound_transform(&self, raw: RawMessage) -> io::Result<gossipsub::Message> {
        if !self.0.contains(&raw.topic) {
            return Err(io::Error::other("nobody here subscribed to its topic"));
        }
        let RawMessage { source, data, sequence_number, topic, .. } = raw;
        Ok(gossipsub::Message { source, data, sequence_number, topic })
    }

    fn outbound_transform(&self, _: &TopicHash, data: Vec<u8>) -> io::Result<Vec<u8>> {
        Ok(data)
    }
}

/// Whether gossip of a peer is looked at. What comes meanwhile is not remembered either, so that the same from others counts:
/// else whoever is not listened to could keep each block from this node by sending it first. Who is not listened to is in
/// no mesh, and for a second after it ends.
pub(super) fn listen(gossip: &mut Gossipsub, peer: &libp2p::PeerId, listens: bool) {
    gossip.set_application_score(peer, if listens { 0.0 } else { DEAF });
}

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) gate: Gate,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub(super) discovery: Discovery,
    pub(super) gossip: Gossipsub,
    pub(super) requests: request_response::Behaviour<Codec>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

/// A swarm of TCP, Noise and Yamux with every behaviour, not listening yet.
pub(super) fn swarm(config: &NetConfig) -> Result<Swarm<Behaviour>, NetError> {
    let mux = || {
        let mut mux = yamux::Config::default();
        mux.set_max_num_streams(STREAMS);
        mux
    };
    let setup = |error: String| NetError::Setup(error);
    let noise = noise::Config::new(&config.keys).map_err(|error| setup(error.to_string()))?;
    let transport = || {
        let tcp = tcp::tokio::Transport::new(tcp::Config::default()).map(|stream, _| Guarded::new(stream));
        tcp.upgrade(upgrade::Version::V1Lazy).authenticate(noise).multiplex(mux())
    };
    let builder = SwarmBuilder::with_existing_identity(config.keys.clone())
        .with_tokio()
        .with_other_transport(|_| transport())
        .map_err(|error| setup(error.to_string()))?
        .with_behaviour(|keys| behaviour(config, keys).map_err(Box::from))
        .map_err(|error| setup(error.to_string()))?;
    let configure = |swarm: libp2p::swarm::Config| {
        swarm
            .with_idle_connection_timeout(IDLE_TIMEOUT)
            .with_max_negotiating_inbound_streams(STREAMS)
            // A request follows the name of its protocol at once; waiting for the other side's consent to the name first
            // would make each cost two round trips. The bytes on the wire are the same.
            .with_substream_upgrade_protocol_override(upgrade::Version::V1Lazy)
    };
    Ok(builder.with_swarm_config(configure).build())
}

fn behaviour(config: &NetConfig, keys: &Keypair) -> io::Result<Behaviour> {
    let id = keys.public().to_peer_id();
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_INBOUND))
        .with_max_established_incoming(Some(ESTABLISHED_INBOUND))
        .with_max_established_per_peer(Some(PER_PEER));
    let codec = Codec { params: Arc::clone(&config.params), metrics: Arc::clone(&config.metrics) };
    let longest = BODIES_BYTES as u64 + config.params.max_block_bytes;
    let requests = request_response::Config::default()
        .with_request_timeout(REQUEST_PATIENCE + Duration::from_secs(longest / BODIES_RATE))
        .with_max_concurrent_streams(STREAMS);
    let identify =
        identify::Config::new(REQUESTS.to_string(), keys.public()).with_agent_version(AGENT.into()).with_cache_size(0);
    let mdns = config.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), id)).transpose();
    let mdns = mdns.unwrap_or_else(|error| {
        warn!("nodes of the local network are not looked for: {error}");
        None
    });
    Ok(Behaviour {
        gate: Gate::new(PER_PEER as usize * config.peers_per_host),
        limits: connection_limits::Behaviour::new(limits),
        memory: memory_connection_limits::Behaviour::with_max_bytes(MEMORY_BYTES),
        discovery: Discovery::new(table(config, id)),
        gossip: gossip(&config.params).map_err(io::Error::other)?,
        requests: request_response::Behaviour::with_codec(codec, [(REQUESTS, ProtocolSupport::Full)], requests),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new().with_timeout(PING_TIMEOUT)),
        mdns: mdns.into(),
    })
}

/// A table of peers that stores no records for anybody.
fn table(config: &NetConfig, id: libp2p::PeerId) -> kad::Behaviour<MemoryStore> {
    let nothing =
        MemoryStoreConfig { max_records: 0, max_value_bytes: 0, max_providers_per_key: 0, max_provided_keys: 0 };
    let name = format!("/drystone/{}/kad/1", config.params.chain_id());
    let mut table = kad::Config::new(StreamProtocol::try_from_owned(name).expect("it begins with a slash"));
    table
        // Whoever shook hands, and at the address that is believed: the loop says so.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(Some(Duration::from_secs(60)))
        .set_query_timeout(Duration::from_secs(20));
    let mut table = kad::Behaviour::with_config(id, MemoryStore::with_config(id, nothing), table);
    // A client would be in nobody's table.
    table.set_mode(Some(kad::Mode::Server));
    table
}

/// The gossip topic of a chain.
pub(super) fn topic(topic: Topic, params: &ChainParams) -> IdentTopic {
    IdentTopic::new(topic.name(&params.chain_id()))
}

/// What a gossip message is known by.
pub(super) fn message_id(topic: &TopicHash, data: &[u8]) -> MessageId {
    let id = Sha256::new().chain_update(topic.as_str()).chain_update(data).finalize();
    MessageId::from(id[..20].to_vec())
}

fn gossip(params: &ChainParams) -> Result<Gossipsub, String> {
    let topics = [Topic::Blocks, Topic::Transactions].map(|kind| (topic(kind, params), kind.max_bytes(params)));
    let largest = topics.iter().map(|(_, max)| *max).max().unwrap_or_default();
    let mut config = gossipsub::ConfigBuilder::default();
    config
        // Nothing is forwarded before the engine has looked at it.
        .validate_messages()
        .validation_mode(ValidationMode::Anonymous)
        // Of all bytes: were it the block's hash, a forged id list would keep the right one from spreading.
        .message_id_fn(|message: &gossipsub::Message| message_id(&message.topic, &message.data))
        .max_transmit_size(largest + 2 * GOSSIP_FRAMING)
        .history_length(GOSSIP_HISTORY)
        // Each peer would get a copy from the block's miner himself.
        .flood_publish(false)
        .heartbeat_initial_delay(Duration::from_secs(1))
        .connection_handler_queue_len(GOSSIP_QUEUE)
        .publish_queue_duration(GOSSIP_PATIENCE)
        .forward_queue_duration(GOSSIP_PATIENCE)
        // More would be over the receiver's limit, which ends gossip on the connection.
        .max_control_messages_sent(GOSSIP_IDS)
        .iwant_followup_time(GOSSIP_FOLLOWUP)
        .max_control_message_size(4 * GOSSIP_FRAMING)
        // Before a message is looked at, peers would be told that this node wants it from nobody else: a stranger's word for a
        // block would be the only one. Duplicates are the lesser evil.
        .idontwant_message_size_threshold(usize::MAX);
    for (topic, max) in &topics {
        // It is compared with the message and its framing, and the exact cap again where the message is decoded.
        config.max_transmit_size_for_topic(*max + GOSSIP_FRAMING, topic.hash());
    }
    let config = config.build().map_err(|error| error.to_string())?;
    let hashes: Vec<TopicHash> = topics.iter().map(|(topic, _)| topic.hash()).collect();
    let filter = WhitelistSubscriptionFilter(hashes.iter().cloned().collect());
    let transform = OwnTopics(hashes);
    let mut gossip = Gossipsub::new_with_subscription_filter_and_transform(
        MessageAuthenticity::Anonymous,
        config,
        filter,
        transform,
    )?;
    // The engine alone penalises and bans. Here a score steers whom the mesh prefers, hears the engine's verdicts, and says who is
    // not listened to for a while:
    // nothing for what others delivered first, which punishes long links, and nothing for sharing an address.
    let score = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.001,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 600.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.5_f64.powf(1000.0 / SCORE_HALF_LIFE_MS as f64),
        ..TopicScoreParams::default()
    };
    let scores = PeerScoreParams {
        topics: topics.iter().map(|(topic, _)| (topic.hash(), score.clone())).collect(),
        ip_colocation_factor_weight: 0.0,
        app_specific_weight: 1.0,
        // Promises that a narrow link breaks are nobody's fault.
        behaviour_penalty_weight: 0.0,
        // The engine remembers who misbehaved; this would remember every stranger.
        retain_score: Duration::from_secs(10),
        ..PeerScoreParams::default()
    };
    let thresholds = PeerScoreThresholds { graylist_threshold: GRAYLIST, ..PeerScoreThresholds::default() };
    gossip.with_peer_score(scores, thresholds)?;
    for (topic, _) in &topics {
        gossip.subscribe(topic).map_err(|error| error.to_string())?;
    }
    Ok(gossip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::limits::BAN_SCORE;
    use crate::engine::verdict::{Refusal, judge};
    use drystone_core::genesis::{dev_params, main_params};
    use drystone_core::validation::TransactionError;

    /// Points and scores fade alike.
    #[test]
    fn a_peer_is_banned_before_it_is_not_heard() {
        let cheapest = judge(&Refusal::Transaction(TransactionError::AmountOverflow)).penalty;
        assert!(f64::from(BAN_SCORE / cheapest + 1).powi(2) < -GRAYLIST);
    }

    #[test]
    fn gossip_can_be_set_up_for_every_chain() {
        for params in [main_params(), dev_params(), ChainParams { max_block_bytes: 16 << 20, ..dev_params() }] {
            assert_eq!(gossip(&params).map(|_| ()), Ok(()));
        }
    }
}
