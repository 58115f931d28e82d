//! Mining: many threads search the nonces of one header for the lowest that meets the target.
//!
//! A [`Kernel`] searches one range of nonces on one core. Around it [`mine`] deals out ranges from one counter: no lock, no
//! allocation and no message in the search. What a miner needs from the world (the time, whether to stop, where to count)
//! comes in as a [`Control`].

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "calls what is compiled for AVX2, pins values")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "calls what is compiled for AVX-512, pins values")]
mod avx512;
mod kernel;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "parts that only the vector kernels need"))]
mod prepared;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "calls what is compiled for the SHA instructions")]
mod sha_ni;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::block::Header;
use crate::pow::{BitsError, Target};

pub use kernel::Kernel;
pub use prepared::Prepared;

/// How many nonces a header has.
pub const NONCES: u64 = 1 << 32;

/// How many nonces a thread takes at a time: 16,384, so that a core of 2 MH/s, a slow one, looks up every
/// 8 ms, and one of 50 MH/s still only three thousand times a second.
pub const CHUNK: u64 = 1 << 14;

/// What to search.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// The header; its nonce is of no effect.
    pub header: Header,
    /// What its hash must meet.
    pub target: Target,
}

impl Job {
    /// The search for the target that the header itself names.
    ///
    /// # Errors
    /// If its bits stand for no target.
    pub fn new(header: Header) -> Result<Job, BitsError> {
        Ok(Job { header, target: header.bits.to_target()? })
    }
}

/// The world around a search. Every thread calls in between chunks.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Whether to give up, for instance because the tip has changed.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
    /// The Unix time in milliseconds.
    pub clock: &'a (dyn Fn() -> u64 + Sync),
    /// Goes up by the number of hashes tried.
    pub hashes: &'a AtomicU64,
}

/// Searches with `kernel` on `threads` threads (the caller's among them; fewer if the system gives fewer) until a header
/// meets the target or the search is cancelled.
///
/// Of the nonces that meet the target the lowest wins, however many threads search. When all have been tried, the
/// header's time moves to the present, by at least a millisecond, and the nonces start again.
pub fn mine(job: &Job, kernel: Kernel, threads: usize, control: &Control) -> Option<Header> {
    mine_within(job, kernel, threads, control, NONCES)
}

/// How a search over all nonces of one header ended.
enum Outcome {
    Found(u32),
    Cancelled,
    Exhausted,
}

fn mine_within(job: &Job, kernel: Kernel, threads: usize, control: &Control, nonces: u64) -> Option<Header> {
    let mut header = job.header;
    loop {
        match search_all(&Prepared::new(&header, job.target), kernel, threads, control, nonces) {
            Outcome::Found(nonce) => return Some(Header { nonce, ..header }),
            Outcome::Cancelled => return None,
            Outcome::Exhausted => header.time = (control.clock)().max(header.time.saturating_add(1)),
        }
    }
}

fn search_all(prepared: &Prepared, kernel: Kernel, threads: usize, control: &Control, nonces: u64) -> Outcome {
    /// Above every nonce.
    const NOTHING: u64 = u64::MAX;
    let cursor = AtomicU64::new(0);
    let found = AtomicU64::new(NOTHING);
    // Chunks are dealt in order and each that was dealt is searched, so no nonce below the lowest hit goes untried.
    let search = || {
        while found.load(Ordering::Relaxed) == NOTHING && !(control.cancelled)() {
            let start = cursor.fetch_add(CHUNK, Ordering::Relaxed);
            if start >= nonces {
                return;
            }
            let end = nonces.min(start + CHUNK);
            let hit = kernel.search(prepared, start..end).map(u64::from);
            control.hashes.fetch_add(hit.map_or(end, |nonce| nonce + 1) - start, Ordering::Relaxed);
            if let Some(nonce) = hit {
                found.fetch_min(nonce, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Where the system gives no more threads, those that it gave do.
            if thread::Builder::new().spawn_scoped(scope, search).is_err() {
                break;
            }
        }
        search();
    });
    match u32::try_from(found.into_inner()) {
        Ok(nonce) => Outcome::Found(nonce),
        Err(_) if cursor.into_inner() >= nonces => Outcome::Exhausted,
        Err(_) => Outcome::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{BlockHash, StateRoot, TxRoot};
    use crate::pow::CompactTarget;
    use ruint::aliases::U256;
    use std::ops::Range;
    use std::sync::atomic::AtomicBool;

    fn header(bits: u32) -> Header {
        Header {
            version: 1,
            prev_hash: BlockHash([2; 32]),
            state_root: StateRoot([3; 32]),
            tx_root: TxRoot([4; 32]),
            time: 1_000,
            bits: CompactTarget(bits),
            nonce: 77,
        }
    }

    fn unmeetable() -> Job {
        Job { header: header(0x207f_ffff), target: Target::MIN }
    }

    #[test]
    fn the_lowest_nonce_wins_on_any_number_of_threads() {
        // About one hash in 65,536 meets this target: several chunks are searched.
        let job = Job::new(header(0x1f00_ffff)).expect("a target");
        let with = |nonce| Header { nonce, ..job.header };
        let lowest = (0..=u32::MAX).map(with).find(|header| job.target.is_met_by(&header.hash()));
        for threads in 0..=4 {
            let hashes = AtomicU64::new(0);
            let control = Control { cancelled: &|| false, clock: &|| 0, hashes: &hashes };
            let found = mine(&job, Kernel::PORTABLE, threads, &control);
            assert_eq!(found, lowest, "{threads} threads");
            let tried = u64::from(found.expect("found").nonce) + 1;
            assert!(hashes.load(Ordering::Relaxed) >= tried);
            assert!(threads > 1 || hashes.load(Ordering::Relaxed) == tried);
        }
    }

    #[test]
    fn a_late_hit_of_a_higher_chunk_changes_nothing() {
        static HASHES: AtomicU64 = AtomicU64::new(0);
        static SECOND_STARTED: AtomicBool = AtomicBool::new(false);
        // Chunk 0 hits once chunk 1 is being searched; chunk 1 hits some time after chunk 0 was counted.
        fn search(_: &Prepared, nonces: Range<u64>) -> Option<u32> {
            let first = nonces.start == 0;
            SECOND_STARTED.fetch_or(!first, Ordering::Relaxed);
            while !SECOND_STARTED.load(Ordering::Relaxed) || !first && HASHES.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            if !first {
                (0..1_000).for_each(|_| thread::yield_now());
            }
            Some(nonces.start as u32 + 3)
        }
        let control = Control { cancelled: &|| false, clock: &|| 0, hashes: &HASHES };
        let kernel = Kernel { name: "late", is_available: || true, search };
        let found = mine_within(&unmeetable(), kernel, 2, &control, NONCES);
        assert_eq!(found.map(|header| header.nonce), Some(3));
    }

    #[test]
    fn cancelling_ends_the_search_and_keeps_the_count() {
        let hashes = AtomicU64::new(0);
        let cancelled = || hashes.load(Ordering::Relaxed) >= 10 * CHUNK;
        let control = Control { cancelled: &cancelled, clock: &|| 0, hashes: &hashes };
        assert_eq!(mine(&unmeetable(), Kernel::PORTABLE, 3, &control), None);
        // Whoever looked before the tenth chunk was counted was let through: at most one more chunk a thread.
        assert!((10 * CHUNK..=12 * CHUNK).contains(&hashes.load(Ordering::Relaxed)));
    }

    #[test]
    fn when_the_nonces_run_out_time_moves_to_the_clock_or_on_by_one() {
        let nonces = 100;
        // One hash in 1,024 meets this target, so about ten times are searched before one does.
        let job = Job { target: Target::new(U256::MAX >> 10), ..unmeetable() };
        for now in [0, 5_000] {
            let hashes = AtomicU64::new(0);
            let control = Control { cancelled: &|| false, clock: &|| now, hashes: &hashes };
            let found = mine_within(&job, Kernel::PORTABLE, 2, &control, nonces);

            let first = job.header.time;
            let times = std::iter::once(first).chain((first + 1).max(now)..);
            let with = |time| (0..nonces as u32).map(move |nonce| Header { time, nonce, ..job.header });
            let expected = times.flat_map(with).find(|header| job.target.is_met_by(&header.hash()));
            assert_eq!(found, expected);
            assert_ne!(found.map(|header| header.time), Some(first), "no roll was tested");
        }
    }
}
