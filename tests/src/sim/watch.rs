//! Where the checkers look: what is told to them as it happens, and what they are shown once a minute.

use std::collections::BTreeMap;
use std::sync::Arc;

use drystone_core::key::AccountId;
use drystone_core::state::{StateKey, StateView};

use super::MS;
use super::checkers::Report;
use super::host::{Program, number_of};
use super::world::World;

impl World {
    /// Tells the checkers of something.
    pub fn report(&mut self, report: Report) {
        self.checkers.look(self.now / MS, report);
    }

    /// Ends the run with a violation.
    pub fn violate(&mut self, checker: &'static str, host: usize, what: String) {
        self.checkers.violate(checker, self.now / MS, host, what);
    }

    /// The hosts on which an engine runs.
    pub fn running(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|number| self.hosts[*number].node().is_some()).collect()
    }

    /// The hosts on which an engine runs that nobody departs from.
    pub fn honest(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|number| self.hosts[*number].honest_node().is_some()).collect()
    }

    /// How many blocks of a host's main chain reward whom.
    pub fn rewards(&self, number: usize) -> BTreeMap<AccountId, u64> {
        let mut rewards = BTreeMap::new();
        let Some(node) = self.hosts[number].node() else { return rewards };
        let snapshot = node.engine.snapshot();
        for height in 1..=node.engine.tip().height {
            let hash = snapshot.main_hash(height).ok().flatten();
            if let Some(body) = hash.and_then(|hash| snapshot.body(&hash).ok().flatten()) {
                *rewards.entry(body.reward_to).or_default() += 1;
            }
        }
        rewards
    }

    /// Counts what an adversary did so far.
    pub(super) fn count_deeds(&mut self, number: usize) {
        let host = &self.hosts[number];
        let scripted = match &host.program {
            Program::Script(Some(script)) => script.deeds(),
            _ => None,
        };
        if let Some((name, deeds)) = host.deviant.as_ref().and_then(|deviant| deviant.deeds()).or(scripted) {
            *self.counts.deeds.entry(name).or_default() += deeds;
        }
    }

    pub(super) fn check_all(&mut self) {
        self.promised_hashes += self.honest().into_iter().map(|number| self.hosts[number].share).sum::<u64>();
        for number in self.running() {
            let Some(node) = self.hosts[number].node() else { continue };
            let held: Vec<(usize, usize)> =
                node.engine.peers().iter().map(|peer| (number_of(&peer.0), node.engine.peer_bytes(peer))).collect();
            for (peer, bytes) in held {
                self.counts.peer_bytes = self.counts.peer_bytes.max(bytes as u64);
                self.report(Report::PeerBytes { host: number, peer, bytes });
            }
        }
        // One host's whole state is held against a replay each minute.
        let running = self.running();
        if !running.is_empty() {
            self.check_state(*self.random.clone().pick(&running));
        }
    }

    /// Holds a host's whole state against a replay from genesis.
    pub fn check_state(&mut self, number: usize) {
        let Some(node) = self.hosts[number].node() else { return };
        let snapshot = Arc::clone(node.engine.snapshot());
        let tip = *node.engine.tip();
        match snapshot.leaves(&StateKey::MIN, &StateKey::MAX, usize::MAX) {
            Ok(leaves) => {
                self.report(Report::Weighed { host: number, hash: tip.hash, work: tip.work });
                self.report(Report::State { host: number, tip: tip.hash, leaves });
            }
            Err(error) => self.violate("state", number, format!("the state cannot be read: {error}")),
        }
    }
}
