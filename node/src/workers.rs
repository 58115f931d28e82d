//! The pool that does the engine's heavy work, in any order, while the engine goes on.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use drystone_node::engine::message::{Input, JobId};
use drystone_node::engine::work::{Job, Workshop};
use tokio::sync::mpsc::Sender;

/// Jobs that wait for a worker. Of most of them the engine has less out at a time: for each peer 8 requests that it is being
/// served and 16 batches.
const JOBS: usize = 2048;

/// Threads that take jobs and hand in what they led to.
///
/// Workers wait while the engine has much to take in; the engine never waits for a worker, or both would stand still.
pub(crate) struct Workers {
    workshop: Workshop,
    jobs: SyncSender<(JobId, Job)>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` threads. What a job led to goes to `done`.
    pub(crate) fn start(workshop: Workshop, count: usize, done: &Sender<Input>) -> std::io::Result<Workers> {
        let (jobs, queue) = sync_channel(JOBS);
        let queue = Arc::new(Mutex::new(queue));
        let start = |number| {
            let (workshop, queue, done) = (workshop.clone(), Arc::clone(&queue), done.clone());
            thread::Builder::new().name(format!("worker {number}")).spawn(move || work(&workshop, &queue, &done))
        };
        let threads = (0..count).map(start).collect::<std::io::Result<_>>()?;
        Ok(Workers { workshop, jobs, threads })
    }

    /// Has a job done. Where too many wait it is done here and now, and what it led to is returned.
    pub(crate) fn give(&self, id: JobId, job: Job) -> Option<Input> {
        match self.jobs.try_send((id, job)) {
            Ok(()) => None,
            Err(TrySendError::Full((id, job)) | TrySendError::Disconnected((id, job))) => {
                Some(Input::Done { id, done: self.workshop.run(job) })
            }
        }
    }

    /// Ends the threads, each after the job that it is at.
    pub(crate) fn end(self) {
        drop(self.jobs);
        // A panic of a thread has ended the program already.
        self.threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

fn work(workshop: &Workshop, queue: &Mutex<Receiver<(JobId, Job)>>, done: &Sender<Input>) {
    loop {
        let next = queue.lock().expect("nothing panics while it holds the lock").recv();
        let Ok((id, job)) = next else { return };
        // Nobody listens where the engine has ended: what is left in the queue is then of no use.
        if done.blocking_send(Input::Done { id, done: workshop.run(job) }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_core::genesis::dev_params;
    use tokio::sync::mpsc::channel;

    fn workshop() -> Workshop {
        let params = Arc::new(dev_params());
        Workshop { chain_id: params.chain_id(), params, batch_secret: [1; 32] }
    }

    fn job() -> Job {
        Job::CheckTransactions { height: 1, transactions: Vec::new() }
    }

    #[test]
    fn every_job_leads_to_something_also_where_nobody_has_time_for_it() {
        let (to_done, mut done) = channel(1);
        // Nothing is taken from `done` meanwhile, so the worker soon waits.
        let workers = Workers::start(workshop(), 1, &to_done).unwrap();
        let jobs = JOBS as u64 + 10;
        let here = (0..jobs).filter_map(|id| workers.give(JobId(id), job())).count() as u64;
        assert!(here > 0, "the queue has a bound");
        for _ in here..jobs {
            assert!(matches!(done.blocking_recv(), Some(Input::Done { .. })));
        }
        workers.end();
    }

    #[test]
    fn workers_end_with_the_engine() {
        let (to_done, done) = channel(1);
        let workers = Workers::start(workshop(), 2, &to_done).unwrap();
        (0..100).for_each(|id| drop(workers.give(JobId(id), job())));
        drop(done);
        workers.end();
    }
}
