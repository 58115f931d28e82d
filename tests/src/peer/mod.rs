//! A peer that a test drives by hand: a real libp2p swarm that says exactly what it is told, to real nodes.
//!
//! Calls block until there is an outcome. What the peer hears, is asked and loses it notes for the test to read. It passes
//! nothing on by itself and answers requests by a closure, in whatever bytes and at whatever speed.

pub mod plain;
pub mod rpc;
mod say;
mod swarm;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use drystone_core::params::ChainParams;
use drystone_node::engine::wire::{Gossip, Request, Response, Status, Topic};
use drystone_node::net::key_pair;
use libp2p::PeerId;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{Sender, channel};

pub use say::{Pieces, Say, frame};
use swarm::{Command, Driver, Reply};

use crate::program::eventually;

/// What a peer noted.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Whom it is connected to.
    pub peers: BTreeSet<PeerId>,
    /// Whom it was disconnected from, in order.
    pub gone: Vec<PeerId>,
    /// Gossip that it heard for the first time: from whom, on which topic, which bytes.
    pub heard: Vec<(PeerId, Topic, Vec<u8>)>,
    /// What it was asked, and by whom.
    pub asked: Vec<(PeerId, Request)>,
}

impl Notes {
    fn connected(&mut self, peer: PeerId) {
        self.peers.insert(peer);
    }

    fn disconnected(&mut self, peer: &PeerId) {
        if self.peers.remove(peer) {
            self.gone.push(*peer);
        }
    }
}

type Answer = Box<dyn FnMut(&Request) -> Say + Send>;
type Answers = Arc<Mutex<Answer>>;

/// A hand-driven peer. It ends, and with it its connections, when dropped.
pub struct Peer {
    /// Its name.
    pub id: PeerId,
    /// Where it listens.
    pub address: SocketAddr,
    params: Arc<ChainParams>,
    commands: Sender<Command>,
    notes: Arc<Mutex<Notes>>,
    answers: Answers,
}

impl Peer {
    /// A peer whose keys come from `secret`, which answers every request with silence.
    ///
    /// # Panics
    /// If it cannot listen on loopback.
    pub fn start(params: &ChainParams, secret: u8) -> Peer {
        let keys = key_pair([secret; 32]);
        let id = keys.public().to_peer_id();
        let params = Arc::new(params.clone());
        let notes: Arc<Mutex<Notes>> = Arc::default();
        let silence: Answer = Box::new(|_| Say::Nothing);
        let answers: Answers = Arc::new(Mutex::new(silence));
        let (commands, receiver) = channel(1024);
        let (told, address) = sync_channel(1);
        let (its_params, its_notes, its_answers) = (Arc::clone(&params), Arc::clone(&notes), Arc::clone(&answers));
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a thread can wait for sockets");
            runtime.block_on(async {
                let (driver, address) = Driver::start(its_params, keys, its_notes, its_answers).await;
                told.send(address).expect("the test waits");
                driver.run(receiver).await;
            });
        });
        let address = address.recv().expect("it listens");
        Peer { id, address, params, commands, notes, answers }
    }

    /// Has it answer requests from now on by this closure.
    pub fn answering(&self, answer: impl FnMut(&Request) -> Say + Send + 'static) {
        *self.answers.lock().expect("no answer panics") = Box::new(answer);
    }

    fn tell<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> T {
        let (reply, outcome) = sync_channel(1);
        self.commands.blocking_send(command(reply)).expect("it runs");
        outcome.recv().expect("every command has an outcome")
    }

    /// Connects.
    ///
    /// # Errors
    /// If that fails.
    pub fn dial(&self, address: SocketAddr) -> Result<PeerId, String> {
        self.tell(|reply| Command::Dial(address, reply))
    }

    /// Writes a request on a stream of its own and waits for the answer, a whole message.
    ///
    /// # Errors
    /// If none comes before the stream or the connection ends.
    pub fn ask(&self, node: PeerId, say: Say) -> Result<Response, String> {
        let bytes = self.tell(|reply| Command::Ask(node, say, reply))?;
        Response::from_bytes(&bytes, &self.params).map_err(|error| error.to_string())
    }

    /// Writes a request on a stream of its own and waits for nothing.
    ///
    /// # Panics
    /// If the peer has ended.
    pub fn say(&self, node: PeerId, say: Say) {
        let (reply, _) = sync_channel(1);
        self.commands.blocking_send(Command::Ask(node, say, reply)).expect("it runs");
    }

    /// Writes on a gossip stream of its own, which takes the place of the one before.
    ///
    /// # Panics
    /// If the peer has ended.
    pub fn stream(&self, node: PeerId, say: Say) {
        self.commands.blocking_send(Command::Stream(node, say)).expect("it runs");
    }

    /// Connects and tells a status.
    ///
    /// # Errors
    /// If there is no connection, or no status comes back.
    pub fn shake(&self, address: SocketAddr, status: &Status) -> Result<PeerId, String> {
        let node = self.dial(address)?;
        match self.ask(node, Say::Message(Request::Status(status.clone()).to_bytes()))? {
            Response::Status(_) => Ok(node),
            other => Err(format!("{other:?}")),
        }
    }

    /// Publishes bytes to everybody who is connected and listens to the topic, once there is somebody.
    ///
    /// # Panics
    /// If nobody ever listens.
    pub fn publish(&self, topic: Topic, bytes: &[u8]) {
        eventually("somebody hears gossip", || self.try_publish(topic, bytes).then_some(()));
    }

    /// Publishes bytes, now or before; false if nobody is there to hear them.
    pub fn try_publish(&self, topic: Topic, bytes: &[u8]) -> bool {
        let published = self.tell(|reply| Command::Publish(topic, bytes.to_vec(), reply));
        published.is_ok() || published.is_err_and(|error| error.contains("already"))
    }

    /// Publishes a message.
    ///
    /// # Panics
    /// If nobody ever listens.
    pub fn gossip(&self, gossip: &Gossip) {
        self.publish(gossip.topic(), &gossip.to_bytes());
    }

    /// Closes its connections to a node.
    ///
    /// # Panics
    /// If the peer has ended.
    pub fn hang_up(&self, node: PeerId) {
        self.commands.blocking_send(Command::Hang(node)).expect("it runs");
    }

    /// What it noted so far.
    ///
    /// # Panics
    /// If its thread did.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("its thread does not panic")
    }

    /// Waits until a node has closed the connection.
    ///
    /// # Panics
    /// If it never does.
    pub fn is_left_by(&self, node: PeerId) {
        eventually("the node hangs up", || (!self.notes().peers.contains(&node)).then_some(()));
    }
}
