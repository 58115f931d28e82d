//! The mining thread: works on the newest job until there is another, and counts its hashes.

use std::cell::LazyCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use drystone_core::miner::{Control, Job, Kernel, mine};
use drystone_node::engine::message::Input;
use drystone_node::engine::mining::MiningJob;
use drystone_node::mailbox::{Mailbox, Message};
use rustix::process::setpriority_process;
use tracing::{info, warn};

use crate::clock::{now, uptime};
use crate::units::hash_rate;

/// Seconds over which the speed is averaged.
pub(crate) const SPEED_WINDOW: usize = 10;

/// What mining threads say of their importance: the least that there is.
const NICENESS: i32 = 19;

/// The handle on the mining thread.
pub(crate) struct Miner {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// What the thread and its handle share. A new order takes the place of one that was not begun, so nothing queues up.
struct Shared {
    order: Mutex<Order>,
    ordered: Condvar,
    /// Counts the orders; a search that serves an older one ends at once.
    orders: AtomicU64,
    hashes: AtomicU64,
}

enum Order {
    Rest,
    Work(Box<MiningJob>),
    End,
}

impl Miner {
    /// Starts the thread, which rests at first. It mines with `kernel`, or else with the fastest. What it finds goes to
    /// `mailbox`.
    pub(crate) fn start(mailbox: Mailbox, kernel: Option<Kernel>) -> std::io::Result<Miner> {
        let shared = Arc::new(Shared {
            order: Mutex::new(Order::Rest),
            ordered: Condvar::new(),
            orders: AtomicU64::new(0),
            hashes: AtomicU64::new(0),
        });
        let worker = Arc::clone(&shared);
        let thread = thread::Builder::new().name("miner".into()).spawn(move || worker.work(&mailbox, kernel))?;
        Ok(Miner { shared, thread })
    }

    /// Works on `job` in place of whatever it worked on.
    pub(crate) fn work_on(&self, job: Box<MiningJob>) {
        self.shared.give(Order::Work(job));
    }

    /// Works on nothing.
    pub(crate) fn rest(&self) {
        self.shared.give(Order::Rest);
    }

    /// A meter of this miner's speed.
    pub(crate) fn meter(&self) -> Meter {
        Meter { shared: Arc::clone(&self.shared), samples: VecDeque::with_capacity(SPEED_WINDOW) }
    }

    /// Ends the thread.
    pub(crate) fn end(self) {
        self.shared.give(Order::End);
        // A panic of the thread has ended the program already.
        let _ = self.thread.join();
    }
}

impl Shared {
    fn give(&self, order: Order) {
        let mut current = self.lock();
        *current = order;
        self.orders.fetch_add(1, Ordering::Relaxed);
        self.ordered.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().expect("nothing panics while it holds the lock")
    }

    fn work(&self, mailbox: &Mailbox, kernel: Option<Kernel>) {
        give_way();
        // A node that never mines is spared the race.
        let kernel = LazyCell::new(|| choose(kernel));
        while let Some((job, serving)) = self.next_job() {
            let control = Control {
                cancelled: &|| self.orders.load(Ordering::Relaxed) != serving,
                clock: &now,
                hashes: &self.hashes,
            };
            let search = Job::new(job.header).expect("a template's target follows from its parent's");
            let Some(found) = mine(&search, *kernel, job.threads, &control) else { continue };
            let solution = Input::Mined { epoch: job.epoch, time: found.time, nonce: found.nonce };
            if mailbox.post_waiting(Message::Input(solution)).is_err() {
                return;
            }
        }
    }

    /// Waits for a job. Returns it with the number of its order; nothing where the thread is to end.
    fn next_job(&self) -> Option<(Box<MiningJob>, u64)> {
        let mut order = self.lock();
        loop {
            match std::mem::replace(&mut *order, Order::Rest) {
                // Orders change together with their count under the lock, so this is the job's own number.
                Order::Work(job) => return Some((job, self.orders.load(Ordering::Relaxed))),
                Order::End => return None,
                Order::Rest => order = self.ordered.wait(order).expect("nothing panics while it holds the lock"),
            }
        }
    }
}

/// Lets whoever else wants the processor go first. The threads that this one starts inherit that on Linux; elsewhere it would
/// hold for the whole program, which is to stay awake.
fn give_way() {
    if cfg!(target_os = "linux")
        && let Err(error) = setpriority_process(None, NICENESS)
    {
        warn!("mining does not give way to other work: {error}");
    }
}

/// The kernel that was named, or else the fastest here and now.
fn choose(named: Option<Kernel>) -> Kernel {
    let (kernel, rate) = match named {
        Some(kernel) => Kernel::race([kernel], uptime),
        None => Kernel::race(Kernel::available(), uptime),
    };
    let why = if named.is_some() { "that was named" } else { "that was fastest in a trial" };
    info!(%kernel, rate_of_a_thread = hash_rate(rate), "mining with the kernel {why}");
    kernel
}

/// The speed of a miner over the last seconds.
pub(crate) struct Meter {
    shared: Arc<Shared>,
    /// Counts of hashes, one a second, oldest first.
    samples: VecDeque<u64>,
}

impl Meter {
    /// To be called once a second; returns hashes per second.
    pub(crate) fn sample(&mut self) -> u64 {
        let count = self.shared.hashes.load(Ordering::Relaxed);
        let speed = match self.samples.front() {
            Some(oldest) => (count - oldest) / self.samples.len() as u64,
            None => 0,
        };
        if self.samples.len() == SPEED_WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(count);
        speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use drystone_core::genesis::{dev_params, main_params};
    use drystone_core::params::ChainParams;
    use drystone_node::mailbox::CAPACITY;
    use tokio::sync::mpsc::Receiver;

    fn job(params: &ChainParams, epoch: u64) -> Box<MiningJob> {
        let header = params.genesis_block().header;
        Box::new(MiningJob { epoch, header, height: 1, threads: 2 })
    }

    fn solved(inbox: &mut Receiver<Message>) -> u64 {
        match inbox.blocking_recv() {
            Some(Message::Input(Input::Mined { epoch, time, nonce })) => {
                let header = drystone_core::block::Header { time, nonce, ..dev_params().genesis_block().header };
                assert!(header.bits.to_target().unwrap().is_met_by(&header.hash()));
                epoch
            }
            _ => panic!("nothing was mined"),
        }
    }

    #[test]
    fn a_new_job_takes_the_place_of_the_old_one() {
        let (mailbox, mut inbox) = Mailbox::new();
        let miner = Miner::start(mailbox, None).unwrap();
        let mut meter = miner.meter();
        assert_eq!(meter.sample(), 0);
        // One hash in 2^224 meets this target.
        let mut hard = job(&main_params(), 1);
        hard.header.bits = drystone_core::pow::CompactTarget(0x0300_ffff);
        miner.work_on(hard);
        while meter.sample() == 0 {
            thread::yield_now();
        }
        for epoch in 2..20 {
            miner.work_on(job(&dev_params(), epoch));
            assert_eq!(solved(&mut inbox), epoch);
        }
        miner.rest();
        miner.end();
    }

    #[test]
    fn a_miner_that_waits_for_room_ends_with_the_queue() {
        let (mailbox, inbox) = Mailbox::new();
        for _ in 0..CAPACITY {
            mailbox.post(Message::Input(Input::Tick)).unwrap();
        }
        let miner = Miner::start(mailbox, None).unwrap();
        miner.work_on(job(&dev_params(), 1));
        drop(inbox);
        miner.end();
    }

    #[test]
    fn the_speed_is_a_mean_over_the_window() {
        let (mailbox, _inbox) = Mailbox::new();
        let miner = Miner::start(mailbox, None).unwrap();
        let mut meter = miner.meter();
        let speeds: Vec<u64> = (0..2 * SPEED_WINDOW)
            .map(|_| {
                let speed = meter.sample();
                miner.shared.hashes.fetch_add(1000, Ordering::Relaxed);
                speed
            })
            .collect();
        assert_eq!(speeds[0], 0);
        assert!(speeds[1..].iter().all(|speed| *speed == 1000), "{speeds:?}");
        miner.end();
    }
}
