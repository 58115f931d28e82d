//! The libp2p side of a hand-driven peer: a swarm on a thread of its own that does what it is told and notes what it hears.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use drystone_core::params::ChainParams;
use drystone_node::engine::wire::{Request, Topic};
use futures::StreamExt;
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::{self, Message, OutboundRequestId, ProtocolSupport, ResponseChannel};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::Receiver;

use super::say::{Raw, Say, Words};
use super::{Answers, Notes};

/// As in the node.
const REQUESTS: StreamProtocol = StreamProtocol::new("/drystone/requests/1");
/// The streams of gossip, to write on them by hand.
const GOSSIP: StreamProtocol = StreamProtocol::new("/meshsub/1.1.0");
/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(24 * 60 * 60);
/// The largest gossip that the peer sends: more than anybody takes.
const MAX_GOSSIP: usize = 4 << 20;

/// Where the outcome of a command goes.
pub(super) type Reply<T> = std::sync::mpsc::SyncSender<T>;

/// What a test has the peer do.
pub(super) enum Command {
    Dial(SocketAddr, Reply<Result<PeerId, String>>),
    Ask(PeerId, Say, Reply<Result<Vec<u8>, String>>),
    /// Writes on a stream of gossip.
    Stream(PeerId, Say),
    Publish(Topic, Vec<u8>, Reply<Result<(), String>>),
    Hang(PeerId),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    gossip: gossipsub::Behaviour,
    requests: request_response::Behaviour<Raw>,
    streams: request_response::Behaviour<Raw>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

fn topic(kind: Topic, params: &ChainParams) -> IdentTopic {
    IdentTopic::new(kind.name(&params.chain_id()))
}

fn behaviour(params: &ChainParams, keys: &Keypair) -> Behaviour {
    let mut config = gossipsub::ConfigBuilder::default();
    config
        // What it hears goes nowhere from here, unless a test says so.
        .validate_messages()
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message: &gossipsub::Message| {
            let id = Sha256::new().chain_update(message.topic.as_str()).chain_update(&message.data).finalize();
            MessageId::from(id[..20].to_vec())
        })
        .max_transmit_size(MAX_GOSSIP)
        // To everybody that it is connected to.
        .flood_publish(true)
        .heartbeat_initial_delay(Duration::from_millis(100));
    let config = config.build().expect("a fixed configuration");
    let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, config).expect("a fixed configuration");
    for kind in [Topic::Blocks, Topic::Transactions] {
        gossip.subscribe(&topic(kind, params)).expect("topics that anybody may hear");
    }
    let patient = || request_response::Config::default().with_request_timeout(FOREVER);
    Behaviour {
        gossip,
        requests: request_response::Behaviour::with_codec(Raw, [(REQUESTS, ProtocolSupport::Full)], patient()),
        streams: request_response::Behaviour::with_codec(Raw, [(GOSSIP, ProtocolSupport::Outbound)], patient()),
        identify: identify::Behaviour::new(identify::Config::new(REQUESTS.to_string(), keys.public())),
        ping: ping::Behaviour::default(),
    }
}

fn to_multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

fn port_of(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    })
}

/// A peer's swarm, and who waits for what.
pub(super) struct Driver {
    swarm: Swarm<Behaviour>,
    params: Arc<ChainParams>,
    notes: Arc<Mutex<Notes>>,
    answers: Answers,
    dials: Vec<(libp2p::swarm::ConnectionId, Reply<Result<PeerId, String>>)>,
    asked: BTreeMap<OutboundRequestId, Reply<Result<Vec<u8>, String>>>,
    /// Requests that are never answered.
    unanswered: Vec<ResponseChannel<Words>>,
}

impl Driver {
    /// Listens on a free port of loopback. Returns where.
    pub(super) async fn start(
        params: Arc<ChainParams>,
        keys: Keypair,
        notes: Arc<Mutex<Notes>>,
        answers: Answers,
    ) -> (Driver, SocketAddr) {
        let mut swarm = SwarmBuilder::with_existing_identity(keys)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .expect("noise needs nothing")
            .with_behaviour(|keys| behaviour(&params, keys))
            .expect("a fixed configuration")
            .with_swarm_config(|config| config.with_idle_connection_timeout(FOREVER))
            .build();
        swarm.listen_on(to_multiaddr(([127, 0, 0, 1], 0).into())).expect("loopback");
        let port = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break port_of(&address).expect("it listens on TCP");
            }
        };
        let (dials, asked, unanswered) = (Vec::new(), BTreeMap::new(), Vec::new());
        (Driver { swarm, params, notes, answers, dials, asked, unanswered }, ([127, 0, 0, 1], port).into())
    }

    /// Does what it is told until nobody is left to tell it something.
    pub(super) async fn run(mut self, mut commands: Receiver<Command>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.execute(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.take(event),
            }
        }
    }

    fn execute(&mut self, command: Command) {
        let swarm = self.swarm.behaviour_mut();
        match command {
            Command::Dial(address, reply) => {
                let options = DialOpts::unknown_peer_id().address(to_multiaddr(address)).allocate_new_port().build();
                self.dials.push((options.connection_id(), reply));
                if let Err(error) = self.swarm.dial(options) {
                    let (_, reply) = self.dials.pop().expect("pushed above");
                    let _ = reply.send(Err(error.to_string()));
                }
            }
            Command::Ask(peer, say, reply) => {
                self.asked.insert(swarm.requests.send_request(&peer, say), reply);
            }
            Command::Stream(peer, say) => drop(swarm.streams.send_request(&peer, say)),
            Command::Publish(kind, bytes, reply) => {
                let published = swarm.gossip.publish(topic(kind, &self.params), bytes);
                let _ = reply.send(published.map(|_| ()).map_err(|error| error.to_string()));
            }
            Command::Hang(peer) => drop(self.swarm.disconnect_peer_id(peer)),
        }
    }

    fn take(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } => {
                self.note(|notes| notes.connected(peer_id));
                self.dialled(connection_id, Ok(peer_id));
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.dialled(connection_id, Err(error.to_string()));
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.note(|notes| notes.disconnected(&peer_id));
            }
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source: from,
                message,
                ..
            })) => {
                let kinds = [Topic::Blocks, Topic::Transactions];
                let kind = kinds.into_iter().find(|kind| topic(*kind, &self.params).hash() == message.topic);
                if let Some(kind) = kind {
                    self.note(|notes| notes.heard.push((from, kind, message.data)));
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) => self.take_exchange(event),
            _ => {}
        }
    }

    fn take_exchange(&mut self, event: request_response::Event<Words, Words>) {
        use request_response::Event;
        match event {
            Event::Message { peer, message: Message::Request { request, channel, .. }, .. } => {
                let Say::Message(bytes) = request else { return };
                let Ok(request) = Request::from_bytes(&bytes, &self.params) else { return };
                self.note(|notes| notes.asked.push((peer, request.clone())));
                let say = self.answers.lock().expect("no test panics in an answer")(&request);
                match say {
                    Say::Nothing => self.unanswered.push(channel),
                    // Fails only where the asker has given up.
                    say => drop(self.swarm.behaviour_mut().requests.send_response(channel, say)),
                }
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                let Some(reply) = self.asked.remove(&request_id) else { return };
                let Say::Message(bytes) = response else { return };
                let _ = reply.send(Ok(bytes));
            }
            Event::OutboundFailure { request_id, error, .. } => {
                if let Some(reply) = self.asked.remove(&request_id) {
                    let _ = reply.send(Err(error.to_string()));
                }
            }
            _ => {}
        }
    }

    fn dialled(&mut self, id: libp2p::swarm::ConnectionId, outcome: Result<PeerId, String>) {
        if let Some(at) = self.dials.iter().position(|(dial, _)| *dial == id) {
            let (_, reply) = self.dials.remove(at);
            // A test that no longer waits misses nothing.
            let _ = reply.send(outcome);
        }
    }

    fn note(&self, note: impl FnOnce(&mut Notes)) {
        note(&mut self.notes.lock().expect("no test panics over its notes"));
    }
}
