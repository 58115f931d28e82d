//! The shell around an engine: its inbox, its deadline, the cost of each call, and what is done with its outputs.
//!
//! One engine thread takes one input at a time and is busy for as long as the counts of [`cost`](super::cost) say; its jobs
//! run on [`WORKERS`](super::host::WORKERS) workers. What comes out of a call leaves when the call's cost is paid.

use std::sync::Arc;

use drystone_core::block::Block;
use drystone_core::pow::CompactTarget;
use drystone_core::validation::check_header;
use drystone_node::engine::message::{ChainEvent, Input, JobId, NetEvent, Output, PeerEvent};
use drystone_node::engine::wire::{Gossip, Request, Response};
use drystone_node::engine::work::Job;
use drystone_node::store::StoreError;

use super::MS;
use super::checkers::Report;
use super::deviant::{Deviant, Say, highest_bits};
use super::host::{INBOX, Node, Program, number_of};
use super::link::Packet;
use super::trace::Kind;
use super::world::{Event, World};

impl World {
    /// Puts something into a host's inbox.
    pub fn give(&mut self, number: usize, input: Input) {
        let now = self.now;
        let Some(node) = self.hosts[number].node_mut() else { return };
        if node.inbox.len() >= INBOX
            && matches!(
                input,
                Input::Peer { event: PeerEvent::Gossip { .. } | PeerEvent::Request { .. }, .. }
                    | Input::Transactions { .. }
            )
        {
            return;
        }
        node.inbox.push_back(input);
        let due = node.busy_until.max(now);
        self.wake_at(number, due);
    }

    /// Has the engine called at a time, unless it is called earlier.
    pub(super) fn wake_at(&mut self, number: usize, due: u64) {
        let start = self.hosts[number].starts;
        let Some(node) = self.hosts[number].node_mut() else { return };
        if due < node.wake_at {
            node.wake_at = due;
            self.at(due, Event::Wake { host: number, start });
        }
    }

    pub(super) fn wake(&mut self, number: usize) {
        let now_ms = self.clock_ms(number);
        match &mut self.hosts[number].program {
            Program::Node(node) => {
                if node.wake_at > self.now {
                    return;
                }
                node.wake_at = u64::MAX;
                let input = node.inbox.pop_front();
                let due = node.engine.next_deadline(now_ms).is_some_and(|due| due <= now_ms);
                if let Some(input) = input.or(due.then_some(Input::Tick)) {
                    self.call(number, now_ms, input);
                }
                self.plan(number);
            }
            Program::Script(_) => self.with_script(number, |script, now| script.wake(now)),
            Program::Off => {}
        }
    }

    /// Plans the next call of an engine.
    pub(super) fn plan(&mut self, number: usize) {
        let (now, now_ms) = (self.now, self.clock_ms(number));
        let Some(node) = self.hosts[number].node() else { return };
        let busy_until = node.busy_until.max(now);
        if !node.inbox.is_empty() {
            return self.wake_at(number, busy_until);
        }
        if let Some(due) = node.engine.next_deadline(now_ms) {
            let due = self.virtual_time(number, due).max(busy_until).max(now + 1);
            self.wake_at(number, due);
        }
    }

    pub(super) fn call(&mut self, number: usize, now_ms: u64, input: Input) {
        let cost = super::cost::of_input(&input, self.setup.weight);
        self.deviate(number, self.now, |deviant, node| {
            deviant.hear(node, &input);
            Vec::new()
        });
        self.trace.note(self.now, number, Kind::Call, input_name(&input).as_bytes());
        let peer = if let Input::Peer { peer, .. } = &input { Some(*peer) } else { None };
        let Some(node) = self.hosts[number].node_mut() else { return };
        let before = node.engine.tip().hash;
        let outputs = match node.engine.handle(now_ms, input) {
            Ok(outputs) => outputs,
            Err(error) => return self.failed(number, &error),
        };
        let Some(node) = self.hosts[number].node_mut() else { return };
        let steps = node.engine.steps() - std::mem::replace(&mut node.steps, node.engine.steps());
        let (tip, bytes) = (*node.engine.tip(), peer.map(|peer| (peer, node.engine.peer_bytes(&peer))));
        let cost = cost + super::cost::of_outputs(&outputs, self.setup.weight, self.setup.transaction_us);
        let done = self.now + cost;
        node.busy_until = done;
        self.report(Report::Called { host: number, steps });
        if tip.hash != before {
            self.report(Report::Tip { host: number, work: tip.work });
        }
        if let Some((peer, bytes)) = bytes {
            self.counts.peer_bytes = self.counts.peer_bytes.max(bytes as u64);
            self.report(Report::PeerBytes { host: number, peer: number_of(&peer.0), bytes });
        }
        for output in outputs {
            self.say(number, output, done);
        }
        self.deviate(number, done, |deviant, node| deviant.add(node));
    }

    /// Has a host say something, or what it says instead.
    fn say(&mut self, number: usize, output: Output, time: u64) {
        if self.hosts[number].deviant.is_none() {
            return self.execute(number, output, time);
        }
        self.deviate(number, time, |deviant, node| deviant.say(node, output));
    }

    /// Lets whoever departs from a host's engine speak.
    pub(super) fn deviate(
        &mut self,
        number: usize,
        time: u64,
        speak: impl FnOnce(&mut dyn Deviant, &Node) -> Vec<Say>,
    ) {
        let host = &mut self.hosts[number];
        let (Some(deviant), Program::Node(node)) = (&mut host.deviant, &host.program) else { return };
        for said in speak(&mut **deviant, node) {
            match said {
                Say::Output(output) => self.execute(number, output, time),
                Say::To(peer, gossip) => self.gossip_to(number, peer, &gossip, time),
                Say::Input(input) => self.give(number, input),
            }
        }
    }

    /// The store failed: because the power was cut in the middle of a write, or else for no reason that the world gave it.
    pub(super) fn failed(&mut self, number: usize, error: &StoreError) {
        if self.hosts[number].disk.is_off() {
            self.crash(number);
        } else {
            self.violate("durability", number, format!("the store failed on a disk that works: {error}"));
        }
    }

    pub(super) fn execute(&mut self, number: usize, output: Output, time: u64) {
        match output {
            Output::Verdict { origin, result } => self.workload.verdict(number, time, origin, &result),
            Output::Mine(job) => {
                let start = self.hosts[number].starts;
                let deviant = self.hosts[number].deviant.as_mut();
                let mines = deviant.is_none_or(|deviant| deviant.mines(job.header.bits, time));
                if mines {
                    let time = time + self.time_to_block(number, job.header.bits);
                    self.at(time, Event::Found { host: number, start, epoch: job.epoch });
                }
                if let Some(node) = self.hosts[number].node_mut() {
                    node.job = Some(*job);
                }
            }
            Output::StopMining(_) => {
                if let Some(node) = self.hosts[number].node_mut() {
                    node.job = None;
                }
            }
            Output::Event(event) => {
                if let (Some(connected), ChainEvent::Connected { hash, .. }) = (&mut self.connected, &event) {
                    connected.push((time, number, *hash));
                }
                self.chain_event(number, event);
            }
            Output::Dial(address) => self.dial(number, address, time),
            Output::Disconnect { peer, reason } => self.hang_up(number, peer.0, &reason),
            Output::Publish(Gossip::Transactions(_)) if !self.setup.relays_payments => {}
            Output::Request { peer, id, request: Request::Reconcile(_) } if !self.setup.relays_payments => {
                let event = PeerEvent::Response { id, response: Response::Reconcile(Vec::new()) };
                self.give(number, Input::Peer { peer, event });
            }
            Output::Request { peer, id, request } => {
                let packet = Packet::Request(id, request.to_bytes().into());
                self.send(number, number_of(&peer.0), packet, time);
            }
            Output::Respond { peer, id, response } => {
                let Some(node) = self.hosts[number].node_mut() else { return };
                let Some((to, theirs)) = node.incoming.remove(&id) else { return };
                debug_assert_eq!(to, number_of(&peer.0));
                let bytes = response.to_bytes();
                if matches!(response, Response::Bodies(_)) {
                    *self.served.entry((number, to)).or_default() += bytes.len() as u64;
                }
                let start = self.hosts[number].starts;
                let left = self.send(number, to, Packet::Response(theirs, bytes.into()), time).unwrap_or(time);
                self.at(left, Event::Sent { host: number, start, peer: to, id });
            }
            Output::Publish(gossip) => {
                let (topic, bytes) = (gossip.topic(), gossip.to_bytes().into());
                let effects = self.hosts[number].router.publish(self.now / MS, topic, bytes, &mut self.links);
                self.effects(number, effects, time);
            }
            Output::Judge { message, disposition, .. } => self.judge(number, message, disposition, time),
            Output::Work { id, job } => self.work(number, id, job, time),
            Output::Net(event) => self.net_event(number, event),
        }
    }

    /// A worker takes a job up when it is free.
    pub(super) fn work(&mut self, number: usize, id: JobId, job: Job, time: u64) {
        let start = self.hosts[number].starts;
        let Some(node) = self.hosts[number].node_mut() else { return };
        let cost = super::cost::of_job(&job, self.setup.weight);
        let worker = node.workers.iter_mut().min().expect("there are workers");
        *worker = (*worker).max(time) + cost;
        let at = *worker;
        let done = node.workshop.run(job);
        self.at(at, Event::Done { host: number, start, id, done });
    }

    pub(super) fn chain_event(&mut self, number: usize, event: ChainEvent) {
        match &event {
            ChainEvent::Connected { height, hash, .. } => {
                self.trace.note(self.now, number, Kind::Connected, &hash.0);
                let Some(node) = self.hosts[number].node() else { return };
                let snapshot = Arc::clone(node.engine.snapshot());
                let record = snapshot.header(hash).ok().flatten();
                let body = snapshot.body(hash).ok().flatten();
                let (Some(record), Some(body)) = (record, body) else {
                    return self.violate("validity", number, format!("block {hash} is connected and cannot be read"));
                };
                let (header, latest) = (record.header, self.latest_ms(number) + self.params.max_future);
                self.report(Report::Connected { host: number, height: *height, header, body });
                self.report(Report::Dated { host: number, time: header.time, latest });
                self.report(Report::Weighed { host: number, hash: *hash, work: record.work });
            }
            ChainEvent::Disconnected { hash, .. } => self.trace.note(self.now, number, Kind::Disconnected, &hash.0),
            ChainEvent::Reorganised { depth, .. } => {
                self.counts.reorganisations += 1;
                self.counts.deepest = self.counts.deepest.max(*depth);
            }
            ChainEvent::Invalidated { height, hash, reason } => {
                self.counts.invalidated += 1;
                let Some(node) = self.hosts[number].node() else { return };
                let snapshot = node.engine.snapshot();
                let header = snapshot.header(hash).ok().flatten().map(|record| record.header);
                let body = snapshot.body(hash).ok().flatten();
                let block = header.zip(body).map(|(header, body)| Block { header, body });
                let what = format!("valid block {hash} was found invalid: {reason}");
                self.report(Report::Refused { host: number, height: *height, hash: *hash, block, what });
            }
            // Nobody here is an operator.
            ChainEvent::Reconsidered { .. } => {}
            ChainEvent::BodyLost { .. }
            | ChainEvent::BodyRestored { .. }
            | ChainEvent::RepairStarted { .. }
            | ChainEvent::RepairEnded { .. } => {
                self.violate("durability", number, format!("data on disk were found rotten: {event:?}"));
            }
        }
    }

    pub(super) fn net_event(&mut self, number: usize, event: NetEvent) {
        if let NetEvent::Penalty { peer, offence, points } = &event {
            let other = number_of(&peer.0);
            if self.hosts[other].honest {
                self.counts.penalties += 1;
                let (offence, points) = (offence.clone(), *points);
                self.report(Report::Penalty { host: number, other, offence, points });
            }
        }
        if let Some(log) = &mut self.log {
            log.push((self.now, number, event));
        }
    }

    /// A waiting time without memory: 1,000 of the hash rate take a block interval, on average, at the difficulty at which the
    /// chain begins.
    pub(super) fn time_to_block(&mut self, number: usize, bits: CompactTarget) -> u64 {
        let [first, target] = [self.params.bits, bits].map(|bits| u128::from(highest_bits(bits)));
        let mean =
            u128::from(self.params.interval * MS) * first * 1_000 / target / u128::from(self.hosts[number].share);
        self.random.exponential(mean as u64)
    }

    pub(super) fn found(&mut self, number: usize, epoch: u64) {
        let now_ms = self.clock_ms(number);
        let Some(node) = self.hosts[number].node_mut() else { return };
        let Some(job) = node.job.take_if(|job| job.epoch == epoch) else { return };
        let mut header = job.header;
        let parent = node.engine.snapshot().header(&header.prev_hash).ok().flatten();
        header.time = match (&mut self.hosts[number].deviant, parent) {
            (Some(deviant), Some(parent)) => deviant.date(parent.header.time, now_ms),
            _ => header.time.max(now_ms),
        };
        while check_header(header, &self.params).is_err() {
            header.nonce = header.nonce.wrapping_add(1);
        }
        self.counts.mined += 1;
        if let Some(found) = &mut self.found {
            found.push((self.now, number, header.hash()));
        }
        self.give(number, Input::Mined { epoch, time: header.time, nonce: header.nonce });
    }
}

/// What an input is called in the trace.
fn input_name(input: &Input) -> &'static str {
    match input {
        Input::Tick => "tick",
        Input::Block { .. } => "block",
        Input::Reconsider { .. } => "reconsider",
        Input::Transactions { .. } => "transactions",
        Input::Mined { .. } => "mined",
        Input::Peer { event, .. } => match event {
            PeerEvent::Connected { .. } => "connected",
            PeerEvent::Disconnected => "disconnected",
            PeerEvent::Gossip { .. } => "gossip",
            PeerEvent::Request { .. } => "request",
            PeerEvent::Response { .. } => "response",
            PeerEvent::Sent { .. } => "sent",
            PeerEvent::NoResponse { .. } => "no response",
            PeerEvent::Offence(_) => "offence",
            PeerEvent::Stranger => "stranger",
            PeerEvent::Listens(_) => "listens",
        },
        Input::Done { .. } => "done",
        Input::Discovered(_) => "discovered",
        Input::DialFailed(_) => "dial failed",
        Input::Damaged { .. } => "damaged",
        Input::Shutdown => "shutdown",
    }
}
