//! Mining control: whether to mine, on what, and why not.

use drystone_core::block::Header;
use drystone_core::key::AccountId;
use drystone_core::params::{ChainKind, ChainParams};

use super::limits::TEMPLATE_REFRESH_MS;
use super::template::Template;
use crate::store::HeaderRecord;

/// What the miner works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiningJob {
    /// Counts the jobs; a solution names the job that it solves.
    pub epoch: u64,
    /// The header to work on. Its time may be moved forward, its nonce freely.
    pub header: Header,
    /// The block's height.
    pub height: u64,
    /// How many threads shall work.
    pub threads: usize,
}

/// Why nothing is mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MiningRefusal {
    /// Nobody said to whom rewards go.
    #[error("no reward address: start with --mine ADDRESS")]
    NoRewardAddress,
    /// Mining is switched off.
    #[error("mining is off: no threads")]
    NoThreads,
    /// On the main chain a node without peers would mine a fork of its own.
    #[error("no peers: a block mined alone on the main chain would be lost")]
    NoPeers,
    /// The chain is being updated or repaired.
    #[error("the chain is being updated")]
    Updating,
    /// So much of the best chain is missing that a block of its own would come late.
    #[error("blocks that others have are still missing")]
    Syncing,
    /// The clock is so far behind the chain that a block would come from the future.
    #[error("the clock is wrong, or the chain ahead of it: a block would come from the future")]
    ClockBehind {
        /// When mining goes on, in Unix milliseconds.
        until: u64,
    },
    /// A development chain keeps its block interval.
    #[error("the block interval of this development chain is not over yet")]
    Interval {
        /// When mining goes on, in Unix milliseconds.
        until: u64,
    },
}

impl MiningRefusal {
    /// When mining goes on, in Unix milliseconds, where that is a matter of time.
    pub fn until(self) -> Option<u64> {
        match self {
            MiningRefusal::ClockBehind { until } | MiningRefusal::Interval { until } => Some(until),
            _ => None,
        }
    }
}

/// What people want mined, and what is being mined.
#[derive(Debug)]
pub(super) struct Mining {
    pub(super) reward_to: Option<AccountId>,
    pub(super) threads: usize,
    pub(super) peers: usize,
    epoch: u64,
    current: Option<Current>,
    told: Option<MiningRefusal>,
}

#[derive(Debug)]
struct Current {
    template: Template,
    built_at: u64,
    mempool_revision: u64,
}

/// What mining asks of the engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing new.
    Nothing,
    /// A fresh template for this account.
    Template(AccountId),
    /// Tell the miner to stop.
    Stop(MiningRefusal),
}

impl Mining {
    pub(super) fn new(reward_to: Option<AccountId>, threads: usize) -> Mining {
        Mining { reward_to, threads, peers: 0, epoch: 0, current: None, told: None }
    }

    /// Why nothing may be mined on `tip` at `now`.
    pub(super) fn refusal(
        &self,
        params: &ChainParams,
        tip: &HeaderRecord,
        updating: bool,
        syncing: bool,
        now: u64,
    ) -> Option<MiningRefusal> {
        let due = tip.header.time + params.interval;
        let acceptable = (tip.header.time + 1).saturating_sub(params.max_future);
        match params.kind {
            _ if self.reward_to.is_none() => Some(MiningRefusal::NoRewardAddress),
            _ if self.threads == 0 => Some(MiningRefusal::NoThreads),
            ChainKind::Main if self.peers == 0 => Some(MiningRefusal::NoPeers),
            _ if updating => Some(MiningRefusal::Updating),
            _ if syncing => Some(MiningRefusal::Syncing),
            _ if now < acceptable => Some(MiningRefusal::ClockBehind { until: acceptable }),
            ChainKind::Dev if tip.height > 0 && now < due => Some(MiningRefusal::Interval { until: due }),
            _ => None,
        }
    }

    /// What to do now, given the refusal, the tip and how often the mempool has changed.
    pub(super) fn wish(&mut self, refusal: Option<MiningRefusal>, tip: &HeaderRecord, revision: u64, now: u64) -> Wish {
        match (refusal, self.reward_to) {
            (Some(refusal), _) => {
                self.current = None;
                if self.told.replace(refusal) == Some(refusal) { Wish::Nothing } else { Wish::Stop(refusal) }
            }
            (None, Some(reward_to)) if self.is_stale(tip, revision, now) => Wish::Template(reward_to),
            (None, _) => Wish::Nothing,
        }
    }

    /// Also where the clock was set back: what is found would be from the future.
    fn is_stale(&self, tip: &HeaderRecord, revision: u64, now: u64) -> bool {
        self.current.as_ref().is_none_or(|current| {
            current.template.header.prev_hash != tip.hash
                || now < current.built_at
                || (current.mempool_revision != revision && now >= current.built_at + TEMPLATE_REFRESH_MS)
        })
    }

    /// Takes up a template and makes a job of it.
    pub(super) fn start(&mut self, template: Template, revision: u64, now: u64) -> MiningJob {
        self.epoch += 1;
        self.told = None;
        let job =
            MiningJob { epoch: self.epoch, header: template.header, height: template.height, threads: self.threads };
        self.current = Some(Current { template, built_at: now, mempool_revision: revision });
        job
    }

    /// Forgets the current job, so that the next look makes a new one.
    pub(super) fn restart(&mut self) {
        self.current = None;
        self.told = None;
    }

    /// The template that job `epoch` worked on, if it is still the current one.
    pub(super) fn solved(&mut self, epoch: u64) -> Option<Template> {
        if epoch == self.epoch { self.current.take().map(|current| current.template) } else { None }
    }

    /// When [`Mining::wish`] may change its mind without an input.
    pub(super) fn deadline(&self, refusal: Option<MiningRefusal>, revision: u64) -> Option<u64> {
        match (refusal, &self.current) {
            (Some(refusal), _) => refusal.until(),
            (None, Some(current)) if current.mempool_revision != revision => {
                Some(current.built_at + TEMPLATE_REFRESH_MS)
            }
            (None, Some(_)) => None,
            (None, None) => Some(0),
        }
    }
}
