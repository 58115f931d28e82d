//! The scrub's rhythm: a little of the disk is read over each second, and what is damaged is logged and handed to the engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use drystone_core::api::ScrubInfo;
use drystone_core::hash::BlockHash;
use drystone_node::engine::limits::KEPT_TIP_WORKS;
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

/// The depth below the tip to which a damaged undo is worth making the state anew: twice as deep as a fork may lie and
/// still be kept. Deeper nothing needs it, and `verify --repair` makes it anew when the operator has the time.
const UNDO_DEPTH: u64 = 2 * KEPT_TIP_WORKS;

const SECONDS_A_DAY: f64 = 86_400.0;

/// Reads everything over once in so many `days`, again and again, until the engine ends. `begin` is any number: where the
/// first pass begins.
pub(crate) async fn run(store: Arc<Store>, mailbox: Mailbox, metrics: Arc<Metrics>, days: f64, begin: u64) {
    // What cannot be read now is found by the first step.
    let height = store.snapshot().and_then(|snapshot| snapshot.height()).unwrap_or(0);
    // What an earlier run, or a repair, left missing.
    let at_start = Arc::clone(&store);
    let missing = spawn_blocking(move || Scrub::missing_bodies(&at_start.snapshot()?, LOST_BODIES)).await;
    let lost: BTreeSet<_> = missing.ok().and_then(Result::ok).into_iter().flatten().collect();
    if !lost.is_empty() {
        warn!(bodies = lost.len(), "bodies of the main chain are missing and asked of peers");
    }
    let mut reader = Reader {
        scrub: Scrub::new(begin % (height + 1)),
        credit: 0.0,
        pass_seconds: days * SECONDS_A_DAY,
        lost,
        pending: None,
        unreadable: None,
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
        for (damage, all_bodies) in found {
            // Where the queue is full the next pass finds it again.
            let _ = mailbox.post(Message::Input(Input::Damaged { damage, all_bodies }));
        }
    }
}

/// What the engine is to be told, and whether every body was found whole.
type Found = Vec<(Damage, bool)>;

/// Reads, and remembers what was lost.
struct Reader {
    scrub: Scrub,
    /// Steps that are due.
    credit: f64,
    pass_seconds: f64,
    lost: BTreeSet<(u64, BlockHash)>,
    /// What only the blocks make anew, while bodies of them are lost.
    pending: Option<Damage>,
    /// Why the last tick could not read at all, so that it is told once.
    unreadable: Option<String>,
    info: ScrubInfo,
    ticks: u64,
}

impl Reader {
    /// Reads for a tick; what the engine is to be told. What cannot be read ends nothing: the rest may be, or it later.
    fn tick(mut self, snapshot: Result<Snapshot, StoreError>) -> (Reader, Found) {
        let mut found = Vec::new();
        let read = snapshot.and_then(|snapshot| {
            self.look_for_lost(&snapshot, &mut found);
            self.read(&snapshot, &mut found)
        });
        self.info.missing_bodies = self.lost.len() as u64;
        let unreadable = read.err().map(|error| error.to_string());
        if let Some(error) = unreadable.as_ref().filter(|_| unreadable != self.unreadable) {
            self.info.damaged += 1;
            error!("the disk cannot be read over: {error}");
        }
        self.unreadable = unreadable;
        (self, found)
    }

    /// Forgets bodies that are had again, or not wanted any more, and has some of the others asked for.
    fn look_for_lost(&mut self, snapshot: &Snapshot, found: &mut Found) {
        self.ticks += 1;
        // One that rotted is there until the engine has dropped it.
        self.lost.retain(|(height, hash)| {
            let wanted = !matches!(snapshot.main_hash(*height), Ok(main) if main != Some(*hash));
            wanted && !matches!(snapshot.body(hash), Ok(Some(_)))
        });
        if self.lost.is_empty()
            && let Some(damage) = self.pending.take()
        {
            self.have_made_anew(damage, snapshot, found);
        }
        if !self.ticks.is_multiple_of(ASK_EVERY) {
            return;
        }
        // Others each time: what nobody has keeps nothing waiting.
        let first = (self.ticks / ASK_EVERY) as usize * ASKED_AT_ONCE % self.lost.len().max(1);
        let asked = self.lost.iter().cycle().skip(first).take(ASKED_AT_ONCE.min(self.lost.len()));
        found.extend(asked.map(|(height, hash)| (Damage::Body { height: *height, hash: *hash }, false)));
    }

    #[allow(clippy::disallowed_methods, reason = "the shell measures how long it reads")]
    fn read(&mut self, snapshot: &Snapshot, found: &mut Found) -> Result<(), StoreError> {
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
                    damages.into_iter().for_each(|damage| self.take(damage, snapshot, found));
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
    fn take(&mut self, damage: Damage, snapshot: &Snapshot, found: &mut Found) {
        let remedy = match &damage {
            Damage::Body { height, hash } => {
                if self.lost.contains(&(*height, *hash)) {
                    return;
                }
                self.lose(*height, *hash);
                "it is asked of peers"
            }
            Damage::Index { .. } => "they are written again from the body",
            Damage::State(_) => "it is made anew, from the leaves or the blocks",
            Damage::Undo { height, .. } if is_deep(*height, snapshot) => {
                "no reorganisation is expected to go so deep, and the node works without: \
                 to have it anew, stop the node and run: drystone-node verify --repair"
            }
            Damage::Undo { .. } => "the state is made anew with it, from the blocks",
            Damage::Foundation(_) => "stop the node and run: drystone-node verify --repair",
        };
        self.info.damaged += 1;
        error!("damaged on disk: {damage}; {remedy}");
        match damage {
            Damage::State(_) => self.have_made_anew(damage, snapshot, found),
            Damage::Undo { height, .. } if !is_deep(height, snapshot) => {
                self.have_made_anew(damage, snapshot, found);
            }
            Damage::Body { .. } | Damage::Index { .. } => found.push((damage, false)),
            Damage::Undo { .. } | Damage::Foundation(_) => {}
        }
    }

    /// Has the engine make anew what may need every block. A replay ends below the first body that is damaged, so all are
    /// read first, however long that takes; while one is lost the engine tries the state's leaves alone.
    fn have_made_anew(&mut self, damage: Damage, snapshot: &Snapshot, found: &mut Found) {
        if self.lost.is_empty() {
            match Scrub::damaged_bodies(snapshot, LOST_BODIES) {
                Ok(bodies) => {
                    // They are asked for as all that are lost.
                    for (height, hash) in bodies {
                        self.info.damaged += 1;
                        error!("damaged on disk: {}; it is asked of peers", Damage::Body { height, hash });
                        self.lose(height, hash);
                    }
                }
                Err(error) => {
                    self.info.damaged += 1;
                    error!("the blocks cannot be read, so nothing is made anew from them: {error}");
                    found.push((damage, false));
                    return;
                }
            }
        }
        let all_bodies = self.lost.is_empty();
        if !all_bodies {
            warn!(bodies = self.lost.len(), "no state is made anew from the blocks before these bodies are had again");
            // An undo asks for more.
            if !matches!(self.pending, Some(Damage::Undo { .. })) {
                self.pending = Some(damage.clone());
            }
        }
        found.push((damage, all_bodies));
    }

    fn lose(&mut self, height: u64, hash: BlockHash) {
        if self.lost.len() < LOST_BODIES {
            self.lost.insert((height, hash));
        }
    }
}

fn is_deep(height: u64, snapshot: &Snapshot) -> bool {
    snapshot.height().is_ok_and(|tip| height + UNDO_DEPTH < tip)
}
