//! Power: hosts start on what their disks hold, shut down in order, and are cut off in the middle of a write.

use std::sync::Arc;

use drystone_node::engine::message::Input;
use drystone_node::engine::{Config, Ties};

use super::checkers::Report;
use super::faults::Fault;
use super::gossip::Router;
use super::host::{Node, Program, reward_account};
use super::link::Uplink;
use super::trace::Kind;
use super::world::{Event, World};
use super::{MINUTE, MS, SECOND};
use crate::fault::{FaultyDisk, Unsynced};

/// How long a disk that is about to fail may go without a write before the power goes anyway.
const CUT_PATIENCE: u64 = 40 * SECOND;

impl World {
    /// Starts a host on what its disk holds.
    pub fn start_host(&mut self, number: usize) {
        let now_ms = self.clock_ms(number);
        let mut random = self.random.part("seed", (number as u64) << 32 | u64::from(self.hosts[number].starts));
        let host = &mut self.hosts[number];
        host.starts += 1;
        host.disk = FaultyDisk::folding(std::mem::take(&mut host.image));
        let mines = host.share > 0;
        let mut config = Config {
            reward_to: mines.then(|| reward_account(number)),
            threads: usize::from(mines),
            seed: random.bytes(),
            minimum_work: self.setup.minimum_work,
            ..Config::new([7; 32])
        };
        // Who departs from the engine decides for itself.
        if self.setup.ties_by_lot && host.honest {
            config.ties = Ties::Lot(random.bytes());
        }
        let node = Node::start(number, host.disk.clone(), &self.params, now_ms, config);
        let node = match node {
            Ok(node) => node,
            Err(error) => return self.violate("durability", number, format!("does not start again: {error}")),
        };
        let (height, work) = (node.engine.tip().height, node.engine.tip().work);
        host.program = Program::Node(Box::new(node));
        host.router = Router::new();
        host.uplink = Uplink::default();
        let start = host.starts;
        self.trace.note(self.now, number, Kind::Start, &work.to_le_bytes());
        self.report(Report::Restarted { host: number, height, work });
        self.report_untold(number);
        self.wake_at(number, self.now);
        self.at(self.now + random.below(SECOND), Event::Heartbeat { host: number, start });
        self.at(self.now + 100 * MS, Event::Discover { host: number, start });
    }

    /// Tells of blocks that a host has connected and could not tell of, because the power went when they were durable and the
    /// call that did it had not returned.
    fn report_untold(&mut self, number: usize) {
        let Some(node) = self.hosts[number].node() else { return };
        let snapshot = Arc::clone(node.engine.snapshot());
        let mut untold = Vec::new();
        let mut next = *node.engine.tip();
        while !self.checkers.knows(&next.hash) {
            let (body, parent) = (snapshot.body(&next.hash), snapshot.header(&next.header.prev_hash));
            let (Ok(Some(body)), Ok(Some(parent))) = (body, parent) else {
                return self.violate("durability", number, format!("block {} cannot be read after a start", next.hash));
            };
            untold.push((next.height, next.header, body));
            next = parent;
        }
        for (height, header, body) in untold.into_iter().rev() {
            self.report(Report::Connected { host: number, height, header, body });
        }
    }

    /// Has the power of a host go during one of its next writes.
    pub fn cut_soon(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if host.node().is_some() {
            host.disk.cut_after(self.random.below(60));
            let (start, cut_by) = (host.starts, self.now + CUT_PATIENCE);
            host.cut_by = Some(cut_by);
            self.at(cut_by, Event::Cut { host: number, start });
        }
    }

    /// A disk that has not been written to since the power was to go.
    pub(super) fn cut_if_due(&mut self, number: usize) {
        if self.hosts[number].cut_by.is_some_and(|cut_by| cut_by <= self.now) {
            self.crash(number);
        }
    }

    /// The power of a host goes: of the writes that were not synced some reached the disk.
    pub fn crash(&mut self, number: usize) {
        let unsynced = match self.random.below(3) {
            0 => Unsynced::Lost,
            1 => Unsynced::Kept,
            _ => Unsynced::Torn(self.random.next()),
        };
        let host = &mut self.hosts[number];
        if host.node().is_none() {
            return;
        }
        host.program = Program::Off;
        host.image = host.disk.image(unsynced);
        host.disk = FaultyDisk::default();
        host.crashed_at.push(self.now);
        host.cut_by = None;
        self.counts.crashes += 1;
        self.trace.note(self.now, number, Kind::Cut, &[]);
        self.disconnect_all(number);
        let delay = self.random.between(SECOND, 2 * MINUTE);
        if !self.hosts[number].is_on() {
            self.at(self.now + delay, Event::Fault(Fault::Start(number)));
        }
    }

    /// A host is shut down in order.
    pub fn stop_host(&mut self, number: usize) {
        let now_ms = self.clock_ms(number);
        let Some(node) = self.hosts[number].node_mut() else { return };
        if let Err(error) = node.engine.handle(now_ms, Input::Shutdown) {
            // The cut that was to come hit this.
            return self.failed(number, &error);
        }
        let host = &mut self.hosts[number];
        host.program = Program::Off;
        host.image = host.disk.image(Unsynced::Lost);
        host.disk = FaultyDisk::default();
        self.counts.stops += 1;
        self.trace.note(self.now, number, Kind::Stop, &[]);
        self.disconnect_all(number);
    }

    pub(super) fn disconnect_all(&mut self, number: usize) {
        for other in self.hosts[number].neighbours.clone() {
            self.close(number, other);
        }
    }
}
