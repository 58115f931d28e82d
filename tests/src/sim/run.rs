//! A whole run: the faults, then the liveness phase, then the reckoning.

use drystone_core::hash::Txid;

use super::host::{Host, Node};
use super::report::{Fates, Outcome};
use super::setup::Setup;
use super::workload::Fate;
use super::world::World;
use super::{MINUTE, MS, SECOND};

/// How long after the last fault agreement is looked for at the earliest, so that the last payments were told to others: a
/// payment is relayed within a second, and what was missed is had when mempools are compared, once a minute.
const CALM: u64 = 90 * SECOND;

/// The shortest time of faults in which progress is measured: in less, chance and a single split decide.
const PROGRESS_FROM: u64 = 60 * MINUTE;
/// The part of the blocks that the running miners' hash rate promises which the best chain must have, as one in so many. The
/// worst split leaves half of the hash rate on one side, and the difficulty has adversaries' hashes in it: 1,000 of 1,280.
const BLOCKS_OF: u64 = 3;
/// The part of the payments that must be on some host's chain, as one in so many: others are replaced, conflict or wait.
const PAYMENTS_OF: usize = 2;
/// Payments made in the last so long are not asked for, and fewer than so many say nothing.
const PAYMENT_PATIENCE: u64 = 10 * MINUTE;
/// See [`PAYMENT_PATIENCE`].
const PAYMENTS: usize = 30;
/// Blocks by which a host among sybils may be behind the best one.
const ECLIPSED_BEHIND: u64 = 5;

impl World {
    /// Runs everything and reckons up; `until` ends it early.
    pub fn run(mut self, until: Option<u64>) -> Outcome {
        let end = self.setup.duration;
        let until_end = end.min(until.unwrap_or(u64::MAX));
        // What ends the faults happens at the end.
        self.run_until(until_end.min(end.saturating_sub(1)));
        if until.is_none_or(|until| until >= end) && self.now < end {
            self.check_progress();
        }
        self.run_until(until_end);
        if until.is_none_or(|until| until > end) {
            self.settle(until);
        }
        self.reckon()
    }

    /// *progress:* the network does its work while faults and adversaries are about, not only when they have gone.
    fn check_progress(&mut self) {
        if self.checkers.violation.is_some() || self.setup.duration < PROGRESS_FROM {
            return;
        }
        let progress =
            self.blocks_come().and_then(|()| self.payments_go_through()).and_then(|()| self.victim_keeps_up());
        if let Err((host, what)) = progress {
            self.violate("progress", host, what);
        }
    }

    /// The height of the best honest tip, or 0.
    fn best_height(&self) -> u64 {
        self.hosts.iter().filter_map(Host::honest_node).map(|node| node.engine.tip().height).max().unwrap_or(0)
    }

    /// The best chain has a fair part of the blocks that the hash rate of the hosts that were on promises.
    fn blocks_come(&self) -> Result<(), (usize, String)> {
        let height = self.best_height();
        let promised = self.promised_hashes * (MINUTE / MS) / self.params.interval / 1_000;
        if height * BLOCKS_OF >= promised {
            return Ok(());
        }
        Err((0, format!("the best height is {height} where the miners' hash rate promises {promised}")))
    }

    /// A fair part of the payments that hosts took is on some host's chain.
    fn payments_go_through(&self) -> Result<(), (usize, String)> {
        let by = self.now.saturating_sub(PAYMENT_PATIENCE);
        let due =
            self.workload.payments.iter().filter(|(_, payment)| payment.taken.is_some_and(|(_, time)| time <= by));
        let due: Vec<&Txid> = due.map(|(txid, _)| txid).collect();
        let on_chain = |node: &Node, txid: &Txid| matches!(node.engine.snapshot().transaction_place(txid), Ok(Some(_)));
        let confirmed =
            |txid: &&&Txid| self.hosts.iter().filter_map(Host::honest_node).any(|node| on_chain(node, txid));
        let confirmed = due.iter().filter(confirmed).count();
        if due.len() < PAYMENTS || confirmed * PAYMENTS_OF >= due.len() {
            return Ok(());
        }
        Err((0, format!("{confirmed} of {} payments are on anybody's chain", due.len())))
    }

    /// Whom sybils surround has nearly the best tip, if no fault has kept it from that for as long as agreement may take.
    fn victim_keeps_up(&self) -> Result<(), (usize, String)> {
        let Some((victim, _)) = &self.eclipsed else { return Ok(()) };
        let host = &self.hosts[*victim];
        let right_clock = host.skew_ms.unsigned_abs() <= self.params.max_future;
        let undisturbed = !self.split && self.disturbed_at + self.setup.liveness() <= self.now && right_clock;
        let Some(node) = host.honest_node().filter(|_| undisturbed) else { return Ok(()) };
        let (height, best) = (node.engine.tip().height, self.best_height());
        if height + ECLIPSED_BEHIND >= best {
            return Ok(());
        }
        Err((*victim, format!("among sybils it is at height {height} where the best is at {best}")))
    }

    /// *liveness:* once faults have stopped, all hosts agree within the stated bound, and still do when every payment has had
    /// the time to be confirmed.
    pub fn settle(&mut self, until: Option<u64>) {
        let end = self.setup.duration.max(self.now);
        let Some(agreed) = self.agreement(end + CALM, end + self.setup.liveness(), until) else { return };
        self.counts.agreed_after_ms = Some((agreed - end) / MS);
        let drained = agreed + self.setup.drain();
        self.settled = self.agreement(drained, drained + self.setup.liveness(), until).is_some();
    }

    /// Runs on until all hosts agree at some second after `from`, and says when; by `bound` they must.
    fn agreement(&mut self, from: u64, bound: u64, until: Option<u64>) -> Option<u64> {
        let stop = until.unwrap_or(u64::MAX);
        let mut time = from;
        while time <= bound {
            self.run_until(time.min(stop));
            if self.checkers.violation.is_some() || stop <= time {
                return None;
            }
            if self.agree() {
                return Some(time);
            }
            time += SECOND;
        }
        let tips: Vec<String> = self.hosts.iter().map(told).collect();
        self.violate("liveness", 0, format!("no agreement in time; tips: {}", tips.join(", ")));
        None
    }

    /// Whether all hosts that follow the protocol run and have one tip.
    pub fn agree(&self) -> bool {
        let tip = |host: &Host| host.node().map(|node| node.engine.tip().hash);
        let tips: Vec<_> = self.hosts.iter().filter(|host| host.follows()).map(tip).collect();
        tips[0].is_some() && tips.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// Holds every state against a replay and accounts for every payment.
    pub fn reckon(mut self) -> Outcome {
        for number in self.running() {
            if self.checkers.violation.is_none() {
                self.check_state(number);
            }
        }
        if self.checkers.violation.is_none() && self.settled {
            self.account_for_payments();
            self.look_for_bans();
        }
        self.counts.payments = self.workload.payments.values().filter(|payment| payment.taken.is_some()).count() as u64;
        for number in 0..self.hosts.len() {
            self.count_deeds(number);
        }
        self.counts.height =
            self.hosts.iter().filter_map(|host| host.node()).map(|node| node.engine.tip().height).max().unwrap_or(0);
        let (trace, events) = self.trace();
        Outcome {
            seed: format!("{:x}", self.setup.seed),
            hosts: self.hosts.len(),
            virtual_ms: self.now / MS,
            events,
            trace,
            counts: self.counts,
            violation: self.checkers.violation,
        }
    }

    /// *payments:* what became of each payment that a host took; one that is lost, stuck or overtaken may be a violation.
    fn account_for_payments(&mut self) {
        let (mut counts, mut overtaken) = (Fates::default(), None);
        for (txid, fate) in self.fates() {
            match fate {
                Fate::Confirmed => counts.confirmed += 1,
                Fate::Waiting => counts.waiting += 1,
                Fate::Impossible => counts.superseded += 1,
                Fate::Overtaken => {
                    counts.overtaken += 1;
                    overtaken = overtaken.or(Some(txid));
                }
                Fate::Perished => counts.perished += 1,
                Fate::Lost | Fate::Stuck => {
                    let payment = &self.workload.payments[&txid];
                    let place = if fate == Fate::Lost { "nowhere" } else { "payable and in no block" };
                    let what = format!("payment {txid} is {place}: {payment:?}");
                    let host = payment.taken.map_or(0, |(host, _)| host);
                    self.violate("payments", host, what);
                }
            }
        }
        self.counts.fates = Some(counts);
        self.nobody_overtaken(overtaken);
    }

    /// *payments:* where everybody is on and reaches everybody, each host knows which nonce of an account is next.
    fn nobody_overtaken(&mut self, overtaken: Option<Txid>) {
        let counts = &self.counts;
        let disturbed = counts.crashes + counts.stops + counts.partitions > 0;
        if let Some(txid) = overtaken.filter(|_| !disturbed) {
            let what = format!("a host gave its nonce to another: payment {txid}: {:?}", self.workload.payments[&txid]);
            self.violate("payments", 0, what);
        }
    }

    /// *bans:* at the end no honest host's address is banned anywhere, for whatever reason that was not told.
    fn look_for_bans(&mut self) {
        for host in self.running() {
            let now = self.clock_ms(host);
            for other in self.honest() {
                let address = self.hosts[other].address.ip();
                if self.hosts[host].node().is_some_and(|node| node.engine.is_banned(now, address)) {
                    self.violate("bans", host, format!("the address of honest host {other} is banned"));
                }
            }
        }
    }
}

/// The height and the hash of a host's tip.
fn told(host: &Host) -> String {
    let Some(node) = host.node() else { return "off".into() };
    let tip = node.engine.tip();
    format!("{} {}", tip.height, &tip.hash.to_string()[..12])
}

/// Runs a setup from its beginning to its end.
pub fn run(setup: Setup) -> Outcome {
    World::new(setup).run(None)
}
