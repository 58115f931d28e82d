//! The scrub's rhythm: a little of the disk is read over each second, and what is damaged is logged and handed to the engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone_core::api::ScrubInfo;
use drystone_core::hash::BlockHash;
use drystone_node::engine::message::Input;
use drystone_node::mailbox::{Mailbox, MailboxError, Message};
use drystone_node::metrics::Metrics;
use drystone_node::store::{Damage, Scrub, Scrubbed, Snapshot, Store, StoreError};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::clock::now;

/// How often some of it is read.
const TICK: Duration = Duration::from_secs(1);
/// How long reading may take in a tick: a twentieth of one core and of the disk at most, also where that makes a pass longer
/// than was asked for. One step, of a block of 16 MiB, may take as long by itself.
const BUSY: Duration = Duration::from_millis(50);
/// Damaged bodies that are asked of peers until they are had again. At 40 bytes each 40 KB; further ones are found again in
/// the next pass.
const LOST_BODIES: usize = 1024;
/// How many of them are asked for in a tick.
const ASKED_AT_ONCE: usize = 4;
/// Ticks between two requests for the same lost bodies.
const ASK_EVERY: u64 = 10;

const SECONDS_A_DAY: f64 = 86_400.0;

/// Reads everything over once in so many `days`, again and again, until the engine ends. `begin` is any number: where the
/// first pass begins.
pub(crate) async fn run(store: Arc<Store>, mailbox: Mailbox, metrics: Arc<Metrics>, days: f64, begin: u64) {
    let Ok(first) = store.snapshot().and_then(|snapshot| snapshot.tip()).map(|tip| begin % (tip.height + 1)) else {
        return;
    };
    // What an earlier run, or a repair, left missing.
    let at_start = Arc::clone(&store);
    let missing = spawn_blocking(move || Scrub::missing_bodies(&at_start.snapshot()?, LOST_BODIES)).await;
    let lost: BTreeSet<_> = missing.ok().and_then(Result::ok).into_iter().flatten().collect();
    if !lost.is_empty() {
        warn!(bodies = lost.len(), "bodies of the main chain are missing and asked of peers");
    }
    let mut reader = Reader {
        scrub: Scrub::new(first),
        credit: 0.0,
        pass_seconds: days * SECONDS_A_DAY,
        lost,
        info: ScrubInfo::default(),
        ticks: 0,
    };
    metrics.scrubbed(reader.info);
    let mut seconds = interval(TICK);
    // After a pause the next look is a second later, not at once and many times.
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        match mailbox.call(|engine, _| engine.is_updating()).await {
            Ok(false) => {}
            // What is being written, or made anew, is read later.
            Ok(true) | Err(MailboxError::Busy) => continue,
            Err(MailboxError::Stopped) => return,
        }
        // The snapshot's life is the tick: an older one would keep the file from reusing its pages.
        let snapshot = store.snapshot();
        let Ok((back, found)) = spawn_blocking(move || reader.tick(snapshot)).await else { return };
        reader = back;
        metrics.scrubbed(reader.info);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                error!("the disk cannot be read over, and is not until the next start: {error}");
                return;
            }
        };
        for damage in found {
            // Where the queue is full the next pass finds it again.
            let _ = mailbox.post(Message::Input(Input::Damaged(damage)));
        }
    }
}

/// Reads, and remembers what was lost.
struct Reader {
    scrub: Scrub,
    /// Steps that are due.
    credit: f64,
    pass_seconds: f64,
    lost: BTreeSet<(u64, BlockHash)>,
    info: ScrubInfo,
    ticks: u64,
}

impl Reader {
    /// Reads for a tick; what the engine is to be told.
    fn tick(mut self, snapshot: Result<Snapshot, StoreError>) -> (Reader, Result<Vec<Damage>, StoreError>) {
        let found = snapshot.and_then(|snapshot| {
            let mut found = self.look_for_lost(&snapshot)?;
            self.read(&snapshot, &mut found)?;
            Ok(found)
        });
        self.info.missing_bodies = self.lost.len() as u64;
        (self, found)
    }

    /// Forgets bodies that are had again, or not wanted any more, and has some of the others asked for.
    fn look_for_lost(&mut self, snapshot: &Snapshot) -> Result<Vec<Damage>, StoreError> {
        self.ticks += 1;
        let mut had = Vec::new();
        for (height, hash) in &self.lost {
            if snapshot.has_body(hash)? || snapshot.main_hash(*height)? != Some(*hash) {
                had.push((*height, *hash));
            }
        }
        for body in had {
            self.lost.remove(&body);
        }
        if !self.ticks.is_multiple_of(ASK_EVERY) {
            return Ok(Vec::new());
        }
        // Others each time: what nobody has keeps nothing waiting.
        let first = (self.ticks / ASK_EVERY) as usize * ASKED_AT_ONCE % self.lost.len().max(1);
        let asked = self.lost.iter().cycle().skip(first).take(ASKED_AT_ONCE.min(self.lost.len()));
        Ok(asked.map(|(height, hash)| Damage::Body { height: *height, hash: *hash }).collect())
    }

    #[allow(clippy::disallowed_methods, reason = "the shell measures how long it reads")]
    fn read(&mut self, snapshot: &Snapshot, found: &mut Vec<Damage>) -> Result<(), StoreError> {
        let steps = Scrub::steps(snapshot)?;
        let due = steps as f64 * TICK.as_secs_f64() / self.pass_seconds;
        // What could not be read in time is not made up for.
        self.credit = (self.credit + due).min(due + 1.0);
        let start = Instant::now();
        while self.credit >= 1.0 && start.elapsed() < BUSY {
            self.credit -= 1.0;
            match self.scrub.step(snapshot)? {
                Scrubbed::Step(damages) if damages.is_empty() => {}
                Scrubbed::Step(damages) => {
                    damages.into_iter().for_each(|damage| self.take(damage, found));
                    // It is mended before more is read, or it would be found again and again.
                    break;
                }
                Scrubbed::PassEnded => {
                    self.info.last_pass = Some(now());
                    info!(damaged = self.info.damaged, "everything on disk was read over");
                }
            }
        }
        self.info.done = (1000.0 * self.scrub.done() as f64 / steps as f64).floor().min(1000.0) / 10.0;
        Ok(())
    }

    /// Says what was found, and what becomes of it.
    fn take(&mut self, damage: Damage, found: &mut Vec<Damage>) {
        let remedy = match &damage {
            Damage::Body { height, hash } => {
                if self.lost.contains(&(*height, *hash)) {
                    return;
                }
                if self.lost.len() < LOST_BODIES {
                    self.lost.insert((*height, *hash));
                }
                "it is asked of peers"
            }
            Damage::Index { .. } => "they are written again from the body",
            Damage::State(_) => "it is made anew",
            // A replay ends below the first body that is missing.
            Damage::Undo(_) if !self.lost.is_empty() => {
                self.info.damaged += 1;
                error!("damaged on disk: {damage}; it is made anew once the damaged bodies are had again");
                return;
            }
            Damage::Undo(_) => "the state is made anew with it, from the blocks",
            Damage::Foundation(_) => "stop the node and run: drystone-node verify --repair",
        };
        self.info.damaged += 1;
        error!("damaged on disk: {damage}; {remedy}");
        found.push(damage);
    }
}
