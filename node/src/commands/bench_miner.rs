//! `drystone-node bench-miner`: how fast each kernel searches on so many threads, which a node would take, and what that
//! means at the current difficulty.

use std::io::{IsTerminal, stderr};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use drystone_core::genesis::main_params;
use drystone_core::miner::{Control, Job, Kernel, mine};
use drystone_core::pow::{CompactTarget, Target};
use serde::Serialize;
use serde_json::json;

use super::client::Client;
use super::peers::table;
use crate::cli::BenchMinerOptions;
use crate::clock::{now, uptime};
use crate::config::read_genesis;
use crate::data::DataDir;
use crate::failure::Failure;
use crate::units::{block_time, duration, hash_rate, seconds_to_a_block};

/// How often each row has its turn. The median counts: whatever else the machine does slows some turns down.
const TURNS: usize = 5;

/// A measurement.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    kernel: &'static str,
    threads: usize,
    hashes_per_second: u64,
}

/// The difficulty that is mined for.
struct Difficulty {
    bits: CompactTarget,
    target: Target,
    /// Whose it is.
    of: String,
}

/// Measures and describes.
pub(crate) fn execute(options: BenchMinerOptions) -> Result<String, Failure> {
    let cores = available_parallelism().map_or(1, NonZero::get);
    let threads = options.threads.map_or_else(|| thread_counts(cores), |threads| vec![threads.into()]);
    let (seconds, json) = (options.seconds, options.json);
    let difficulty = Difficulty::find(options)?;
    let kernels: Vec<Kernel> = Kernel::available().collect();
    if stderr().is_terminal() {
        let all = (kernels.len() * threads.len()) as f64 * seconds;
        eprintln!("measuring for {}", duration(all.ceil() as u64));
    }
    let rows = measure(&kernels, &threads, Duration::from_secs_f64(seconds));
    // As a node does, which asks nobody how many threads there will be.
    let (chosen, _) = Kernel::race(kernels, uptime);
    let best = rows.iter().rfind(|row| row.kernel == chosen.name()).expect("each kernel has a row");
    if json {
        let value = json!({
            "rows": rows,
            "chosen": chosen.name(),
            "bits": difficulty.bits,
            "difficulty_of": difficulty.of,
            "expected_seconds_to_block": seconds_to_a_block(difficulty.target, best.hashes_per_second),
        });
        return Ok(serde_json::to_string_pretty(&value).expect("plain data serialises") + "\n");
    }
    Ok(describe(&rows, best, &difficulty))
}

/// One, two, four and so on, and all cores.
fn thread_counts(cores: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1), |count| Some(count * 2));
    powers.take_while(|count| *count < cores).chain([cores]).collect()
}

impl Difficulty {
    /// That of a node that runs, unless a genesis file is named; where none runs that of its genesis, or the main chain's.
    fn find(options: BenchMinerOptions) -> Result<Difficulty, Failure> {
        let kept = options.node.data_dir.clone().map(|path| DataDir::at(path).genesis()).filter(|path| path.exists());
        // Whoever names a node, or a directory with nothing in it, wants no other's difficulty.
        let named = options.node.rpc.is_some() || options.node.data_dir.is_some() && kept.is_none();
        if options.genesis.is_none() {
            match Client::to_ask(options.node) {
                Ok(Client { info, .. }) => {
                    let bits = info.moment.map(|moment| moment.bits);
                    if let Some((bits, target)) = bits.and_then(|bits| Some((bits, bits.to_target().ok()?))) {
                        return Ok(Difficulty { bits, target, of: format!("the tip of {}", info.chain) });
                    }
                }
                Err(failure) if named => return Err(failure),
                Err(_) => {}
            }
        }
        let params = options.genesis.or(kept).map_or_else(|| Ok(main_params()), |path| read_genesis(&path))?;
        let target = params.bits.to_target().expect("parameters are checked");
        Ok(Difficulty { bits: params.bits, target, of: format!("the genesis of {}", params.name) })
    }
}

/// Gives each kernel on each number of threads its turns, so that each row takes `time` in all.
fn measure(kernels: &[Kernel], threads: &[usize], time: Duration) -> Vec<Row> {
    let pairs: Vec<(Kernel, usize)> =
        threads.iter().flat_map(|threads| kernels.iter().map(|kernel| (*kernel, *threads))).collect();
    let turns: Vec<Vec<u64>> = (0..TURNS)
        .map(|_| pairs.iter().map(|(kernel, threads)| speed(*kernel, *threads, time / TURNS as u32)).collect())
        .collect();
    let row = |(i, (kernel, threads)): (usize, &(Kernel, usize))| {
        let mut speeds: Vec<u64> = turns.iter().map(|turn| turn[i]).collect();
        speeds.sort_unstable();
        Row { kernel: kernel.name(), threads: *threads, hashes_per_second: speeds[TURNS / 2] }
    };
    pairs.iter().enumerate().map(row).collect()
}

/// Mines in vain for a while, at least until a chunk is done, and returns hashes a second.
fn speed(kernel: Kernel, threads: usize, time: Duration) -> u64 {
    let job = Job { header: main_params().genesis_block().header, target: Target::MIN };
    let hashes = AtomicU64::new(0);
    let start = uptime();
    let is_over = || uptime() - start >= time && hashes.load(Ordering::Relaxed) > 0;
    let found = mine(&job, kernel, threads, &Control { cancelled: &is_over, clock: &now, hashes: &hashes });
    assert_eq!(found, None, "one hash in 2^256 meets the target");
    (hashes.into_inner() as f64 / (uptime() - start).as_secs_f64()) as u64
}

fn describe(rows: &[Row], best: &Row, difficulty: &Difficulty) -> String {
    let portable = |threads| {
        let mut rows = rows.iter().filter(|row| row.threads == threads);
        let found = rows.find(|row| row.kernel == Kernel::PORTABLE.name()).expect("it runs everywhere");
        found.hashes_per_second as f64
    };
    let mut cells = vec![["kernel", "threads", "hash rate", "/ portable"].map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        [
            row.kernel.to_owned(),
            row.threads.to_string(),
            hash_rate(row.hashes_per_second),
            format!("{:.1}", row.hashes_per_second as f64 / portable(row.threads)),
        ]
    }));
    let (threads, plural) = (best.threads, if best.threads == 1 { "" } else { "s" });
    let expected = block_time(difficulty.target, best.hashes_per_second);
    format!(
        "{}\n\
         chosen      {}, as a node here would\n\
         difficulty  {}, of {}\n\
         expected    a block in about {expected}, with {threads} thread{plural}\n",
        table(&cells),
        best.kernel,
        difficulty.bits,
        difficulty.of,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_double_up_to_the_cores() {
        assert_eq!(thread_counts(1), [1]);
        assert_eq!(thread_counts(2), [1, 2]);
        assert_eq!(thread_counts(8), [1, 2, 4, 8]);
        assert_eq!(thread_counts(6), [1, 2, 4, 6]);
    }

    #[test]
    fn each_kernel_is_measured_on_each_number_of_threads() {
        let kernels: Vec<Kernel> = Kernel::available().collect();
        let rows = measure(&kernels, &[1, 3], Duration::ZERO);
        let found: Vec<_> = rows.iter().map(|row| (row.threads, row.kernel)).collect();
        let expected: Vec<_> = [1, 3].iter().flat_map(|n| kernels.iter().map(|kernel| (*n, kernel.name()))).collect();
        assert_eq!(found, expected);
        assert!(rows.iter().all(|row| row.hashes_per_second > 0), "{rows:?}");
    }

    #[test]
    fn it_is_told_in_columns() {
        let row = |kernel, threads, hashes_per_second| Row { kernel, threads, hashes_per_second };
        let rows = [
            row("portable", 1, 12_000_000),
            row("avx512", 1, 36_000_000),
            row("portable", 2, 20_000_000),
            row("avx512", 2, 70_000_000),
        ];
        let bits = CompactTarget(0x1d00_ffff);
        let difficulty = Difficulty { bits, target: bits.to_target().unwrap(), of: "the tip of x".into() };
        let expected = "\
kernel    threads  hash rate  / portable
portable  1        12.0 MH/s  1.0
avx512    1        36.0 MH/s  3.0
portable  2        20.0 MH/s  1.0
avx512    2        70.0 MH/s  3.5

chosen      avx512, as a node here would
difficulty  1d00ffff, of the tip of x
expected    a block in about 1 min 2 s, with 2 threads
";
        assert_eq!(describe(&rows, &rows[3], &difficulty), expected);
    }
}
