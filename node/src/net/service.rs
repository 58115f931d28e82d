//! The loop between libp2p and the engine: swarm event -> [`Input`], [`Output`] -> swarm command.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use drystone_core::encode::DecodeError;
use drystone_core::params::ChainParams;
use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::gossipsub::{self, MessageAcceptance, PublishError};
use libp2p::request_response::{self, InboundRequestId, Message, OutboundRequestId, ResponseChannel};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{PeerId as Libp2pId, Swarm, TransportError, identify, mdns, ping};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, trace, warn};

use super::address::{from_multiaddr, to_multiaddr};
use super::behaviour::{Behaviour, BehaviourEvent, GOSSIP_HISTORY, REQUESTS, listen, message_id, swarm, topic};
use super::codec::Received;
use super::identity::{from_engine, to_engine};
use super::{NetConfig, NetError};
use crate::engine::message::{Direction, Input, MessageId, NetEvent, Output, PeerEvent, PeerId, RequestId};
use crate::engine::verdict::{Disposition, Offence};
use crate::engine::wire::{Gossip, Request, Response, Topic};
use crate::metrics::{Metrics, Traffic};

/// How often what lingers is looked at.
const TICK: Duration = Duration::from_millis(500);

/// How many of these an answer to a peer that is being disconnected may still take to leave: it says why.
const LINGER_TICKS: u64 = 4;

/// After how many of these whoever has not shaken hands is in no mesh.
const STRANGE_TICKS: u64 = 4;

/// How many of these gossip may wait for its verdict: as long as gossipsub keeps it.
const JUDGING_TICKS: u64 = 2 * GOSSIP_HISTORY as u64;

/// Gossip messages of one peer in half a second, on average, and at once. A chain of full blocks carries 437 transactions a
/// second, together in fewer messages. Past it the peer is not listened to until it has fallen to half: each message is
/// remembered for minutes in some 400 bytes, 12 MB a peer at this rate.
const GOSSIP_A_TICK: u32 = 250;
/// See [`GOSSIP_A_TICK`].
const GOSSIP_BURST: u32 = 2_000;

/// A request of a peer that the engine has, or whose answer is on its way.
struct Serving {
    peer: PeerId,
    id: RequestId,
    /// Gone once it was used.
    channel: Option<ResponseChannel<Received<Response>>>,
}

/// A gossip message that waits for its verdict, which counts also after its peer has left.
struct Judging {
    peer: PeerId,
    id: gossipsub::MessageId,
    /// In which tick it came.
    since: u64,
}

/// A peer that the engine was told of.
struct Told {
    /// Where it is.
    address: SocketAddr,
    direction: Direction,
    /// Where it says that it can be dialled; what it says later is not heard.
    listens: Option<SocketAddr>,
    /// Whether it shook hands, and in which tick it came.
    joined: bool,
    since: u64,
    /// Its gossip of late, and whether it is too much.
    gossip: u32,
    mute: bool,
}

/// The network of a node.
pub struct Net {
    swarm: Swarm<Behaviour>,
    params: Arc<ChainParams>,
    metrics: Arc<Metrics>,
    /// Whether this node listens on loopback alone, and so may hear of nodes there.
    local: bool,
    inputs: mpsc::Sender<Input>,
    commands: mpsc::Receiver<Output>,
    /// What the engine has yet to be given; the swarm rests meanwhile.
    pending: VecDeque<Input>,
    /// Peers that the engine was told of.
    told: BTreeMap<PeerId, Told>,
    /// Peers that are to be disconnected once their answers have left, and at which tick in any case.
    lingering: BTreeMap<PeerId, u64>,
    asked: BTreeMap<OutboundRequestId, (PeerId, RequestId)>,
    serving: BTreeMap<InboundRequestId, Serving>,
    judging: BTreeMap<MessageId, Judging>,
    /// Counts what comes in and needs a name.
    named: u64,
    /// Counts the ticks.
    ticked: u64,
}

impl Net {
    /// Listens. What happens goes to `inputs`, and what the engine puts out is done from `commands` once [`Net::run`] runs.
    /// Returns where it listens, too.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn start(
        config: &NetConfig,
        inputs: mpsc::Sender<Input>,
        commands: mpsc::Receiver<Output>,
    ) -> Result<(Net, SocketAddr), NetError> {
        let mut net = Net {
            swarm: swarm(config)?,
            params: Arc::clone(&config.params),
            metrics: Arc::clone(&config.metrics),
            local: config.listen.ip().is_loopback(),
            inputs,
            commands,
            pending: VecDeque::new(),
            told: BTreeMap::new(),
            lingering: BTreeMap::new(),
            asked: BTreeMap::new(),
            serving: BTreeMap::new(),
            judging: BTreeMap::new(),
            named: 0,
            ticked: 0,
        };
        let address =
            net.listen(config.listen).await.map_err(|error| NetError::Listen { address: config.listen, error })?;
        Ok((net, address))
    }

    async fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.swarm.listen_on(to_multiaddr(address)).map_err(|error| match error {
            TransportError::Other(error) => error,
            error => io::Error::other(error.to_string()),
        })?;
        loop {
            match self.swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { address: real, .. } => {
                    let port = from_multiaddr(&real).map_or(address.port(), |real| real.port());
                    return Ok(SocketAddr::new(address.ip(), port));
                }
                SwarmEvent::ListenerClosed { reason: Err(error), .. } | SwarmEvent::ListenerError { error, .. } => {
                    return Err(error);
                }
                event => self.take(event),
            }
        }
    }

    /// Runs until the engine is gone.
    pub async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let inputs = self.inputs.clone();
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.execute(command),
                    None => return,
                },
                permit = inputs.reserve(), if !self.pending.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(input) = self.pending.pop_front() {
                            permit.send(input);
                        }
                    }
                    Err(_) => return,
                },
                event = self.swarm.select_next_some(), if self.pending.is_empty() => self.take(event),
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    fn tick(&mut self) {
        self.ticked += 1;
        let now = self.ticked;
        let late: Vec<PeerId> = self.lingering.iter().filter(|(_, due)| **due <= now).map(|(peer, _)| *peer).collect();
        late.iter().for_each(|peer| self.hang_up(peer));
        self.judging.retain(|_, judging| judging.since + JUDGING_TICKS > now);
        let (mut calmed, mut strange) = (Vec::new(), Vec::new());
        for (peer, told) in &mut self.told {
            told.gossip = told.gossip.saturating_sub(GOSSIP_A_TICK);
            if !told.joined && told.since + STRANGE_TICKS == now {
                strange.push(*peer);
            }
            if told.mute && told.gossip <= GOSSIP_BURST / 2 {
                told.mute = false;
                calmed.push(*peer);
            }
        }
        calmed.iter().for_each(|peer| self.listen_to(peer, true));
        strange.iter().for_each(|peer| self.listen_to(peer, false));
        let heard = self.swarm.behaviour_mut().discovery.take_heard();
        self.discovered(heard);
    }

    fn name(&mut self) -> u64 {
        self.named += 1;
        self.named
    }

    fn tell(&mut self, peer: PeerId, event: PeerEvent) {
        self.pending.push_back(Input::Peer { peer, event });
    }

    /// Hands on addresses that somebody told. Those of this machine mean another one's own, unless this node is there too.
    fn discovered(&mut self, mut addresses: Vec<SocketAddr>) {
        addresses.retain(|address| self.local || !address.ip().is_loopback());
        if !addresses.is_empty() {
            self.pending.push_back(Input::Discovered(addresses));
        }
    }
}

/// What the engine wants.
impl Net {
    fn execute(&mut self, command: Output) {
        match command {
            Output::Dial(address) => self.dial(address),
            Output::Disconnect { peer, .. } => self.disconnect(peer),
            Output::Request { peer, id, request } => self.request(peer, id, request),
            Output::Respond { peer, id, response } => self.respond(peer, id, response),
            Output::Publish(gossip) => self.publish(&gossip),
            Output::Judge { message, disposition, .. } => self.judge(message, disposition),
            Output::Net(NetEvent::Joined { peer, .. }) => self.joined(&peer),
            _ => {}
        }
    }

    fn dial(&mut self, address: SocketAddr) {
        let options = DialOpts::unknown_peer_id().address(to_multiaddr(address)).allocate_new_port().build();
        let id = options.connection_id();
        self.swarm.behaviour_mut().discovery.allow(id, address);
        if let Err(error) = self.swarm.dial(options) {
            debug!(%address, "dial failed: {error}");
            self.dial_failed(id);
        }
    }

    fn dial_failed(&mut self, id: ConnectionId) {
        if let Some(address) = self.swarm.behaviour_mut().discovery.dialled(id) {
            self.pending.push_back(Input::DialFailed(address));
        }
    }

    /// A peer shook hands: its gossip counts from now on, and others may hear where it is.
    fn joined(&mut self, peer: &PeerId) {
        let Some(told) = self.told.get_mut(peer) else { return };
        told.joined = true;
        let dialled = (told.direction == Direction::Outbound).then_some(told.address);
        let address = dialled.or(told.listens);
        self.accept(peer);
        self.listen_to(peer, true);
        self.list(peer, address);
    }

    /// Ends what began when the peer connected.
    fn accept(&mut self, peer: &PeerId) {
        if let Some(peer) = from_engine(peer) {
            self.swarm.behaviour_mut().gossip.remove_blacklisted_peer(&peer);
        }
    }

    fn listen_to(&mut self, peer: &PeerId, listens: bool) {
        if let Some(peer) = from_engine(peer) {
            listen(&mut self.swarm.behaviour_mut().gossip, &peer, listens);
        }
    }

    /// Puts a peer into the table under one address, in place of any that it was there with.
    fn list(&mut self, peer: &PeerId, address: Option<SocketAddr>) {
        if let (Some(peer), Some(address)) = (from_engine(peer), address) {
            let table = &mut self.swarm.behaviour_mut().discovery.table;
            table.remove_peer(&peer);
            table.add_address(&peer, to_multiaddr(address));
        }
    }

    /// Closes a peer's connections as soon as the answers that it has been given have left.
    fn disconnect(&mut self, peer: PeerId) {
        if self.told.contains_key(&peer) {
            // Of a connection that the engine has not heard of yet this is the end, too.
            self.tell(peer, PeerEvent::Disconnected);
        }
        self.listen_to(&peer, false);
        self.forget(&peer);
        if self.serving.values().any(|serving| serving.peer == peer) {
            self.lingering.insert(peer, self.ticked + LINGER_TICKS);
        } else {
            self.hang_up(&peer);
        }
    }

    fn hang_up(&mut self, peer: &PeerId) {
        self.lingering.remove(peer);
        if let Some(peer) = from_engine(peer) {
            // Fails only where it is gone already.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// The engine knows the peer no longer: what was asked of it, and what it asked without an answer yet, is void.
    fn forget(&mut self, peer: &PeerId) {
        self.told.remove(peer);
        self.asked.retain(|_, (asked, _)| asked != peer);
        self.serving.retain(|_, serving| serving.peer != *peer || serving.channel.is_none());
        let (gone, kept) =
            std::mem::take(&mut self.judging).into_iter().partition(|(_, judging)| judging.peer == *peer);
        self.judging = kept;
        let gone: BTreeMap<MessageId, Judging> = gone;
        gone.into_values().for_each(|judging| self.report(&judging, MessageAcceptance::Ignore));
    }

    fn request(&mut self, peer: PeerId, id: RequestId, request: Request) {
        match from_engine(&peer).filter(|to| self.told.contains_key(&peer) && self.swarm.is_connected(to)) {
            Some(to) => {
                let outbound = self.swarm.behaviour_mut().requests.send_request(&to, Ok(request));
                self.asked.insert(outbound, (peer, id));
            }
            // A request to a stranger would dial.
            None => self.tell(peer, PeerEvent::NoResponse { id }),
        }
    }

    fn respond(&mut self, peer: PeerId, id: RequestId, response: Response) {
        let serving = self.serving.values_mut().find(|serving| serving.id == id && serving.peer == peer);
        let Some(channel) = serving.and_then(|serving| serving.channel.take()) else { return };
        // Where it fails, libp2p tells of the stream's end as well.
        let _ = self.swarm.behaviour_mut().requests.send_response(channel, Ok(response));
    }

    fn publish(&mut self, gossip: &Gossip) {
        let (topic, bytes) = (topic(gossip.topic(), &self.params).hash(), gossip.to_bytes());
        let (length, id) = (bytes.len(), message_id(&topic, &bytes));
        match self.swarm.behaviour_mut().gossip.publish(topic, bytes) {
            Ok(_) => self.metrics.sent_bytes(Traffic::Gossip, length as u64),
            // A peer sent the same, and it waits for its verdict: this is the verdict.
            Err(PublishError::Duplicate) => {
                let waiting = self.judging.iter().find(|(_, judging)| judging.id == id).map(|(message, _)| *message);
                waiting.into_iter().for_each(|message| self.judge(message, Disposition::Accept));
            }
            // Alone, or every peer's queue is full: those who miss it ask for it.
            Err(error @ (PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_))) => {
                trace!("not published: {error}");
            }
            Err(error) => debug!("not published: {error}"),
        }
    }

    fn judge(&mut self, message: MessageId, disposition: Disposition) {
        if let Some(judging) = self.judging.remove(&message) {
            let acceptance = match disposition {
                Disposition::Accept => MessageAcceptance::Accept,
                Disposition::Ignore => MessageAcceptance::Ignore,
                Disposition::Reject => MessageAcceptance::Reject,
            };
            self.report(&judging, acceptance);
        }
    }

    fn report(&mut self, judging: &Judging, acceptance: MessageAcceptance) {
        if let Some(peer) = from_engine(&judging.peer) {
            self.swarm.behaviour_mut().gossip.report_message_validation_result(&judging.id, &peer, acceptance);
        }
    }
}

/// What happens on the network.
impl Net {
    fn take(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(&peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, cause, .. } => {
                let Some(peer) = to_engine(&peer_id) else { return };
                self.lingering.remove(&peer);
                if self.told.contains_key(&peer) {
                    debug!(%peer, cause = cause.map(|cause| cause.to_string()), "connection closed");
                    self.tell(peer, PeerEvent::Disconnected);
                }
                self.forget(&peer);
                self.accept(&peer);
                self.serving.retain(|_, serving| serving.peer != peer);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                trace!("connection failed: {error}");
                self.dial_failed(connection_id);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                debug!(address = %send_back_addr, "incoming connection failed: {error}");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Requests(event)) => self.take_exchange(event),
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => self.take_gossip(&propagation_source, message_id, &message),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                connection_id: _,
                peer_id,
                info,
            })) => {
                self.identified(&peer_id, &info);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { connection, result: Err(error), .. })) => {
                debug!("a connection is dead: {error}");
                self.swarm.close_connection(connection);
            }
            SwarmEvent::ListenerError { error, .. } => warn!("peers cannot connect for now: {error}"),
            SwarmEvent::ListenerClosed { reason: Err(error), .. } => error!("peers cannot connect any more: {error}"),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                self.discovered(found.iter().filter_map(|(_, address)| from_multiaddr(address)).collect());
            }
            _ => {}
        }
    }

    fn connected(&mut self, peer: &Libp2pId, id: ConnectionId, endpoint: &ConnectedPoint) {
        // The gate lets no others in.
        let Some(name) = to_engine(peer) else { return };
        let dialled = self.swarm.behaviour_mut().discovery.dialled(id);
        let (address, direction) = match (endpoint, dialled) {
            (ConnectedPoint::Dialer { .. }, Some(address)) => (address, Direction::Outbound),
            (endpoint, _) => match from_multiaddr(endpoint.get_remote_address()) {
                Some(address) => (address, Direction::Inbound),
                None => return,
            },
        };
        let told =
            Told { address, direction, listens: None, joined: false, since: self.ticked, gossip: 0, mute: false };
        match self.told.get_mut(&name) {
            None => {
                self.told.insert(name, told);
                // Nothing of it is looked at or remembered yet, but it may be put into the mesh.
                self.swarm.behaviour_mut().gossip.blacklist_peer(peer);
            }
            // Two that came in are one more than the peer needs.
            Some(known) if known.direction == Direction::Inbound && direction == Direction::Inbound => {
                self.swarm.close_connection(id);
                return;
            }
            // It shows at which address the peer can be dialled.
            Some(_) if direction == Direction::Outbound => {}
            Some(_) => return,
        }
        self.tell(name, PeerEvent::Connected { address, direction });
    }

    fn take_exchange(&mut self, event: request_response::Event<Received<Request>, Received<Response>>) {
        use request_response::Event;
        match event {
            Event::Message { peer, message: Message::Request { request_id, request, channel }, .. } => {
                self.take_request(&peer, request_id, request, channel);
            }
            Event::Message { message: Message::Response { request_id, response }, .. } => {
                let Some((peer, id)) = self.asked.remove(&request_id) else { return };
                match response {
                    Ok(response) => self.tell(peer, PeerEvent::Response { id, response }),
                    Err(error) => {
                        self.tell(peer, PeerEvent::NoResponse { id });
                        self.tell(peer, PeerEvent::Offence(Offence::Undecodable(error)));
                    }
                }
            }
            Event::OutboundFailure { request_id, error, .. } => {
                if let Some((peer, id)) = self.asked.remove(&request_id) {
                    debug!(%peer, "a request failed: {error}");
                    self.tell(peer, PeerEvent::NoResponse { id });
                }
            }
            Event::ResponseSent { request_id, .. } | Event::InboundFailure { request_id, .. } => {
                let Some(Serving { peer, id, .. }) = self.serving.remove(&request_id) else { return };
                if self.told.contains_key(&peer) {
                    self.tell(peer, PeerEvent::Sent { id });
                }
                let more = self.serving.values().any(|serving| serving.peer == peer);
                if !more && self.lingering.contains_key(&peer) {
                    self.hang_up(&peer);
                }
            }
        }
    }

    fn take_request(
        &mut self,
        peer: &Libp2pId,
        inbound: InboundRequestId,
        request: Received<Request>,
        channel: ResponseChannel<Received<Response>>,
    ) {
        let Some(peer) = to_engine(peer).filter(|peer| self.told.contains_key(peer)) else { return };
        match request {
            Ok(request) => {
                let id = RequestId(self.name());
                self.serving.insert(inbound, Serving { peer, id, channel: Some(channel) });
                self.tell(peer, PeerEvent::Request { id, request });
            }
            Err(error) => self.tell(peer, PeerEvent::Offence(Offence::Undecodable(error))),
        }
    }

    fn take_gossip(&mut self, from: &Libp2pId, id: gossipsub::MessageId, message: &gossipsub::Message) {
        self.metrics.received_bytes(Traffic::Gossip, message.data.len() as u64);
        let Some(peer) = to_engine(from) else { return };
        let judging = Judging { peer, id, since: self.ticked };
        let Some(told) = self.told.get_mut(&peer) else {
            return self.report(&judging, MessageAcceptance::Ignore);
        };
        told.gossip = told.gossip.saturating_add(1);
        if told.gossip > GOSSIP_BURST && !std::mem::replace(&mut told.mute, true) {
            debug!(%peer, "not listened to for a while: too much gossip");
            // From the next frame on. What came already is remembered, so the same from others would not count: it is heard.
            self.listen_to(&peer, false);
        }
        match self.decode(message) {
            Ok(gossip) => {
                let name = MessageId(self.name());
                self.judging.insert(name, judging);
                self.tell(peer, PeerEvent::Gossip { message: name, gossip });
            }
            Err(error) => {
                self.report(&judging, MessageAcceptance::Reject);
                self.tell(peer, PeerEvent::Offence(Offence::Undecodable(error)));
            }
        }
    }

    fn decode(&self, message: &gossipsub::Message) -> Result<Gossip, DecodeError> {
        let kind = [Topic::Blocks, Topic::Transactions]
            .into_iter()
            .find(|kind| topic(*kind, &self.params).hash() == message.topic)
            .ok_or(DecodeError::Malformed("nobody subscribed to its topic"))?;
        Gossip::from_bytes(kind, &message.data, &self.params)
    }

    /// What a peer says of itself: whether it speaks this protocol at all, and at which port it listens. Of the hosts that it
    /// names only the one that it is seen at is believed, or it could have others dialled by everybody.
    fn identified(&mut self, id: &Libp2pId, info: &identify::Info) {
        let Some(peer) = to_engine(id) else { return };
        let Some(told) = self.told.get_mut(&peer) else { return };
        if !info.protocols.contains(&REQUESTS) {
            return self.tell(peer, PeerEvent::Stranger);
        }
        let listens = info.listen_addrs.iter().find_map(from_multiaddr);
        let (Some(listens), None) = (listens, told.listens) else { return };
        let address = SocketAddr::new(told.address.ip(), listens.port());
        told.listens = Some(address);
        let listed = told.joined && told.direction == Direction::Inbound;
        if listed {
            self.list(&peer, Some(address));
        }
        self.tell(peer, PeerEvent::Listens(address));
    }
}
