//! The event loop: what happens next, and to whom.

use core::net::SocketAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use drystone_core::hash::BlockHash;
use drystone_core::key::AccountId;
use drystone_core::params::ChainParams;
use drystone_node::engine::message::{Input, JobId, NetEvent, PeerEvent, RequestId};
use drystone_node::engine::work::Done;

use super::checkers::Checkers;
use super::deviant::Deviant;
use super::faults::Fault;
use super::gossip::Router;
use super::host::{Host, Program, address_of, id_of, reward_account};
use super::link::{Access, Packet, Uplink};
use super::network::Connection;
use super::report::Counts;
use super::script::Script;
use super::setup::Setup;
use super::trace::Trace;
use super::workload::Workload;
use super::{MINUTE, MS, SECOND};
use crate::fault::FaultyDisk;
use crate::random::Random;

/// Something that happens at a time. What is meant for a host names the start of it that is meant: a host that lost power
/// since does not hear of it.
pub enum Event {
    /// The engine's inbox or deadline, or a script's wait.
    Wake {
        /// The host.
        host: usize,
        /// Which of its starts.
        start: u32,
    },
    /// A message arrives.
    Arrive {
        /// Who sent it.
        from: usize,
        /// Who receives it.
        to: usize,
        /// The connection that carries it; if it is gone, so is the message.
        connection: u64,
        /// The message.
        packet: Packet,
        /// Its length on the wire, by the run's weight.
        bytes: u64,
    },
    /// A job is done.
    Done {
        /// The host.
        host: usize,
        /// Which of its starts.
        start: u32,
        /// The job.
        id: JobId,
        /// What it led to.
        done: Done,
    },
    /// A response has left.
    Sent {
        /// The host that answered.
        host: usize,
        /// Which of its starts.
        start: u32,
        /// Whom it answered.
        peer: usize,
        /// The request, by the host's own name for it.
        id: RequestId,
    },
    /// A miner finds a nonce.
    Found {
        /// The host.
        host: usize,
        /// Which of its starts.
        start: u32,
        /// The mining job.
        epoch: u64,
    },
    /// A router's heartbeat.
    Heartbeat {
        /// The host.
        host: usize,
        /// Which of its starts.
        start: u32,
    },
    /// A dial ends, well or not.
    Dialled {
        /// The host that dialled.
        host: usize,
        /// Which of its starts.
        start: u32,
        /// What it dialled.
        address: SocketAddr,
    },
    /// A connection that was blocked may break.
    Break {
        /// One end, the lower number.
        a: usize,
        /// The other.
        b: usize,
        /// The connection.
        connection: u64,
    },
    /// A host hears of others.
    Discover {
        /// The host.
        host: usize,
        /// Which of its starts.
        start: u32,
    },
    /// A fault begins or ends.
    Fault(Fault),
    /// The power goes, if it has not gone yet.
    Cut {
        /// The host.
        host: usize,
        /// Which of its starts.
        start: u32,
    },
    /// Somebody pays.
    Pay,
    /// The checkers look at everything.
    Check,
}

/// The simulated network.
pub struct World {
    /// The run.
    pub setup: Setup,
    /// Virtual time in microseconds.
    pub now: u64,
    /// The hosts.
    pub hosts: Vec<Host>,
    /// What has been counted.
    pub counts: Counts,
    /// What watches.
    pub checkers: Checkers,
    /// The payments.
    pub workload: Workload,
    /// What the network said that is worth a line: (time in µs, host, event). Kept where a test asks for it.
    pub log: Option<Vec<(u64, usize, NetEvent)>>,
    /// Bytes of bodies that each host served to each: (server, asker) -> bytes.
    pub served: BTreeMap<(usize, usize), u64>,
    /// Whether one host can send to another: (from, to) pairs that cannot.
    pub blocked: BTreeSet<(usize, usize)>,
    /// Whether hosts that discover are told of others.
    pub discovery: bool,
    /// Who is told of these hosts, and of hardly any others.
    pub eclipsed: Option<(usize, Range<usize>)>,
    /// Whether a fault keeps some from others.
    pub(super) split: bool,
    /// When a fault last divided or healed the network, or hit the host that is eclipsed.
    pub(super) disturbed_at: u64,
    /// Whether all agreed when every payment had had its time.
    pub(super) settled: bool,
    /// The honest miners' parts of the hash rate that were on, added up once a minute.
    pub(super) promised_hashes: u64,
    /// One-way latencies in microseconds between hosts, the lower number first, where they are not their regions'.
    pub latencies: BTreeMap<(usize, usize), u64>,
    /// Which blocks hosts have mined: (time in µs, host, block). Kept where a test asks for it.
    pub found: Option<Vec<(u64, usize, BlockHash)>>,
    /// Which blocks hosts have connected: (time in µs, host, block). Kept where a test asks for it.
    pub connected: Option<Vec<(u64, usize, BlockHash)>>,
    /// What arrived anywhere. Kept where a test asks for it.
    pub arrived: Option<Vec<Packet>>,
    pub(super) params: Arc<ChainParams>,
    /// Boxed, as a map moves what it holds.
    events: BTreeMap<(u64, u64), Box<Event>>,
    pub(super) sequence: u64,
    pub(super) connections: BTreeMap<(usize, usize), Connection>,
    pub(super) trace: Trace,
    pub(super) random: Random,
    pub(super) links: Random,
}

impl World {
    /// A network of hosts that have just started, each knowing one or two others, with the faults of its setup ahead.
    pub fn new(setup: Setup) -> World {
        let random = Random::new(setup.seed);
        let params = Arc::new(setup.params.clone());
        let mut world = World {
            now: 0,
            hosts: Vec::new(),
            counts: Counts::default(),
            checkers: Checkers::new(&params),
            workload: Workload::new(&params, random.part("workload", 0)),
            log: None,
            served: BTreeMap::new(),
            blocked: BTreeSet::new(),
            discovery: true,
            eclipsed: None,
            split: false,
            disturbed_at: 0,
            settled: false,
            promised_hashes: 0,
            latencies: BTreeMap::new(),
            found: None,
            connected: None,
            arrived: None,
            params,
            events: BTreeMap::new(),
            sequence: 0,
            connections: BTreeMap::new(),
            trace: Trace::default(),
            links: random.part("links", 0),
            random: random.part("world", 0),
            setup,
        };
        let mut access = random.part("access", 0);
        let miners = world.setup.miners;
        let mut shares: Vec<u64> = (0..miners).map(|_| access.between(1, 10)).collect();
        let all: u64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share = *share * 1_000 / all);
        for number in 0..world.setup.hosts {
            let access = world.setup.regions.draw(&mut access);
            let share = shares.get(number).copied().unwrap_or(0);
            world.add_host(share, access);
        }
        world.add_adversaries(&mut access, &random);
        let faults = super::faults::schedule(&world.setup, &random);
        let closing = super::faults::closing(&world.setup, &faults, &random);
        for (at, fault) in faults.into_iter().chain(closing) {
            world.at(at, Event::Fault(fault));
        }
        if world.setup.payment_every > 0 {
            world.at(MINUTE, Event::Pay);
        }
        world.at(MINUTE, Event::Check);
        world
    }

    /// Adds a host with this part of the hash rate, of 1,000, and starts its engine on an empty disk.
    pub fn add_host(&mut self, share: u64, access: Access) -> usize {
        self.add_host_on(share, access, Vec::new())
    }

    /// Adds a host whose disk holds something already.
    pub fn add_host_on(&mut self, share: u64, access: Access, image: Vec<u8>) -> usize {
        let number = self.place_host(share, access, Program::Off);
        self.hosts[number].image = image;
        self.start_host(number);
        number
    }

    /// Adds a miner whose engine is departed from, and which has this part, of 1,000, of all hashes where it is the only one
    /// beside the honest miners; `deviant` makes it from the account of its rewards.
    pub fn add_deviant_miner(&mut self, part: u64, deviant: impl FnOnce(AccountId) -> Box<dyn Deviant>) -> usize {
        let honest: u64 = self.hosts.iter().filter(|host| host.honest).map(|host| host.share).sum();
        let access = Access { region: 0, rate: 2_500_000, loss: 0 };
        let deviant = deviant(reward_account(self.hosts.len()));
        self.add_deviant(honest * part / (1_000 - part), access, deviant)
    }

    /// Adds a host with this part of the hash rate whose engine is departed from.
    pub fn add_deviant(&mut self, share: u64, access: Access, deviant: Box<dyn Deviant>) -> usize {
        let number = self.place_host(share, access, Program::Off);
        (self.hosts[number].deviant, self.hosts[number].honest) = (Some(deviant), false);
        self.start_host(number);
        number
    }

    /// Adds a host on which a script runs.
    pub fn add_script(&mut self, access: Access, script: Box<dyn Script>) -> usize {
        let number = self.place_host(0, access, Program::Script(Some(script)));
        let start = self.hosts[number].starts;
        self.at(self.now, Event::Wake { host: number, start });
        self.at(self.now, Event::Heartbeat { host: number, start });
        number
    }

    fn place_host(&mut self, share: u64, access: Access, program: Program) -> usize {
        let (number, honest) = (self.hosts.len(), matches!(program, Program::Off));
        self.hosts.push(Host {
            program,
            starts: 0,
            disk: FaultyDisk::default(),
            image: Vec::new(),
            address: address_of(number),
            id: id_of(number),
            skew_ms: 0,
            most_skew_ms: 0,
            share,
            access,
            uplink: Uplink::default(),
            neighbours: BTreeSet::new(),
            router: Router::new(),
            cut_by: None,
            crashed_at: Vec::new(),
            deviant: None,
            honest,
        });
        number
    }

    /// The local clock of a host in Unix milliseconds.
    pub fn clock_ms(&self, host: usize) -> u64 {
        self.true_ms().saturating_add_signed(self.hosts[host].skew_ms)
    }

    /// What a host's clock would show if it were as far ahead as it ever was: what was early then may be connected later.
    pub(super) fn latest_ms(&self, host: usize) -> u64 {
        self.true_ms().saturating_add_signed(self.hosts[host].most_skew_ms)
    }

    fn true_ms(&self) -> u64 {
        self.params.time + self.setup.age_ms + self.now / MS
    }

    /// The virtual time in microseconds at which a host's clock shows this.
    pub(super) fn virtual_time(&self, host: usize, clock_ms: u64) -> u64 {
        let ms = clock_ms.saturating_add_signed(-self.hosts[host].skew_ms);
        ms.saturating_sub(self.params.time + self.setup.age_ms).saturating_mul(MS)
    }

    /// Has something happen at a time.
    pub fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((time.max(self.now), self.sequence), Box::new(event));
    }

    /// The trace's hash so far, and its number of events.
    pub fn trace(&self) -> (String, u64) {
        (self.trace.hash(), self.trace.events())
    }

    /// Runs until a time, or until something does not hold.
    pub fn run_until(&mut self, time: u64) {
        while self.checkers.violation.is_none() {
            let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= time) else { break };
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(*event);
        }
        self.now = self.now.max(time.min(u64::MAX - 1));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { host, start } if self.is_current(host, start) => self.wake(host),
            Event::Arrive { from, to, connection, packet, bytes } => self.arrive(from, to, connection, packet, bytes),
            Event::Done { host, start, id, done } if self.is_current(host, start) => {
                self.give(host, Input::Done { id, done });
            }
            Event::Sent { host, start, peer, id } if self.is_current(host, start) => {
                self.tell(host, peer, PeerEvent::Sent { id });
            }
            Event::Found { host, start, epoch } if self.is_current(host, start) => self.found(host, epoch),
            Event::Heartbeat { host, start } if self.is_current(host, start) => {
                self.at(self.now + SECOND, Event::Heartbeat { host, start });
                let effects = self.hosts[host].router.heartbeat(self.now / MS, &mut self.links);
                self.effects(host, effects, self.now);
            }
            Event::Dialled { host, start, address } if self.is_current(host, start) => self.dialled(host, address),
            Event::Break { a, b, connection } => self.break_if_blocked(a, b, connection),
            Event::Discover { host, start } if self.is_current(host, start) => self.discover(host),
            Event::Fault(fault) => self.apply_fault(fault),
            Event::Cut { host, start } if self.is_current(host, start) => self.cut_if_due(host),
            Event::Pay => self.pay(),
            Event::Check => {
                self.at(self.now + MINUTE, Event::Check);
                self.check_all();
            }
            // Meant for a host that has lost its power since.
            _ => {}
        }
    }

    pub(super) fn is_current(&self, host: usize, start: u32) -> bool {
        self.hosts[host].starts == start && self.hosts[host].is_on()
    }
}
