//! Nonces tried a second by each kernel, on one thread and on two, beside two plain `sha2` digests of the header's 116
//! bytes. All take turns in one run and the best turn counts, so that the ratios hold on a busy machine.
//!
//! `cargo bench -p drystone-core --bench miner -- [rounds]`

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use drystone_core::block::HEADER_BYTES;
use drystone_core::genesis::main_params;
use drystone_core::hash::{BlockHash, sha256d};
use drystone_core::miner::{Kernel, Prepared};
use drystone_core::pow::Target;

/// Nonces of one turn: 0.4 to 3 ms, which others on the machine leave alone often enough.
const TURN: u64 = 1 << 14;

type Search<'a> = Box<dyn Fn() + Sync + 'a>;

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(400);
    let header = main_params().genesis_block().header;
    let prepared = Prepared::new(&header, Target::MIN);
    let two_digests: Search = Box::new(|| {
        let mut bytes = header.to_bytes();
        black_box((0..black_box(TURN) as u32).find(|nonce| {
            bytes[HEADER_BYTES - 4..].copy_from_slice(&nonce.to_le_bytes());
            Target::MIN.is_met_by(&BlockHash(sha256d(&bytes)))
        }));
    });
    let mut searches = vec![("two digests", two_digests)];
    for kernel in Kernel::available() {
        let search = move || _ = black_box(kernel.search(black_box(&prepared), 0..TURN));
        searches.push((kernel.name(), Box::new(search)));
    }
    let one = best_rates(&searches, 1, rounds);
    let two = best_rates(&searches, 2, rounds);

    println!("{:12} {:>8} {:>8} {:>10} {:>8}", "kernel", "MH/s", "ratio", "2 threads", "scaling");
    for (i, (name, _)) in searches.iter().enumerate() {
        let (ratio, scaling) = (one[i] / one[0], two[i] / one[i]);
        println!("{name:12} {:8.2} {ratio:8.2} {:10.2} {scaling:8.2}", one[i], two[i]);
    }
}

/// The most nonces, in millions a second, that `threads` threads together tried in one turn of each search.
fn best_rates(searches: &[(&str, Search)], threads: usize, rounds: usize) -> Vec<f64> {
    let barrier = Barrier::new(threads);
    let sums: Vec<AtomicU64> = (0..rounds * searches.len()).map(|_| AtomicU64::new(0)).collect();
    let take_turns = || {
        for (turn, sum) in sums.iter().enumerate() {
            barrier.wait();
            sum.fetch_add(rate(&searches[turn % searches.len()].1), Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        (1..threads).for_each(|_| _ = scope.spawn(take_turns));
        take_turns();
    });
    let best = |i| sums.iter().skip(i).step_by(searches.len()).map(|sum| sum.load(Ordering::Relaxed)).max();
    (0..searches.len()).map(|i| best(i).unwrap_or(0) as f64 / 1e6).collect()
}

/// Nonces a second of one turn.
#[allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock")]
fn rate(search: &Search) -> u64 {
    let start = std::time::Instant::now();
    search();
    (TURN as f64 / start.elapsed().as_secs_f64()) as u64
}
