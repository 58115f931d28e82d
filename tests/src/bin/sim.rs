//! `drystone-sim`: networks of real engines under virtual time, from a seed, from a scenario file, or as somebody plans one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use drystone_core::genesis::main_params;
use drystone_tests::results::advice::advise;
use drystone_tests::results::network::Plan;
use drystone_tests::sim::cost::{TRANSACTION, TRANSACTION_AMONG_FEW};
use drystone_tests::sim::link::{BUILDING, CLOUDS, SIMBLOCK};
use drystone_tests::sim::scenario::{explained, shrink};
use drystone_tests::sim::{Faults, MINUTE, MS, Outcome, Setup, World};

/// A deterministic simulator of Drystone networks.
#[derive(Parser)]
#[command(name = "drystone-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a network; the exit code is 0 only if everything held that must hold.
    Run(Run),
    /// Say what to expect of a network of one's own: how long blocks take, how many come to nothing, how many confirmations are
    /// enough.
    Advise(Advise),
}

#[derive(Args)]
struct Advise {
    /// How many nodes; up to 16 of them mine.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    nodes: u16,
    /// The interval of all blocks, stale ones too, in milliseconds.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    interval: u64,
    /// The transactions of a block in bytes; all blocks are full.
    #[arg(long, default_value_t = main_params().max_block_bytes, value_parser = clap::value_parser!(u64).range(1..=33_554_432))]
    block_bytes: u64,
    /// Where the nodes are: at homes all over the world (homes), in five data centres all over the world (clouds), or beside each
    /// other (building).
    #[arg(long, default_value = "homes")]
    regions: Where,
    /// How many accounts there are: more take longer to change.
    #[arg(long, default_value = "million")]
    accounts: Accounts,
    /// How slowly the difficulty follows the hash rate: the genesis file's response in intervals.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(60..=100_000))]
    response: u64,
    /// The risk that is taken that a payment is taken back.
    #[arg(long, default_value_t = 0.001)]
    risk: f64,
    /// How many blocks to mine, with each of two seeds.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(10..=10_000))]
    blocks: u16,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Where {
    Homes,
    Clouds,
    Building,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Accounts {
    Thousand,
    Million,
}

#[derive(Args, Clone)]
struct Run {
    /// How many nodes.
    #[arg(long, default_value_t = 20)]
    nodes: u16,
    /// For how many virtual hours faults happen; the liveness phase follows.
    #[arg(long, default_value_t = 6)]
    hours: u64,
    /// What everything random comes from, in hex.
    #[arg(long, default_value = "5eed", value_parser = hex_seed)]
    seed: u64,
    /// How many seeds to run, this one and those after it.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// all, none, or some of crash,partition,oneway,flap,loss,skew,churn,slow and of the adversaries
    /// hostile,selfish,withhold,equivocate,lie,misdate,hop,eclipse,headers,spam.
    #[arg(long, default_value = "all")]
    faults: Faults,
    /// Run what this file says instead: lines `seed`, `nodes`, `minutes`, `faults`, `payments`, and `at MS FAULT`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "hours", "seed", "seeds", "faults"])]
    scenario: Option<PathBuf>,
    /// Where a seed fails, look for the smallest scenario that still does, and write it to this file; of several seeds each to
    /// its own, FILE.SEED.
    #[arg(long, value_name = "FILE")]
    shrink: Option<PathBuf>,
    /// Stop at this virtual millisecond.
    #[arg(long, value_name = "MS")]
    until: Option<u64>,
    /// Print one JSON object for each seed, without wall times.
    #[arg(long)]
    json: bool,
}

fn hex_seed(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|_| "a seed is up to 16 hex digits".into())
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => run_all(&run),
        Command::Advise(advice) => say_what_to_expect(&advice),
    }
}

fn say_what_to_expect(advice: &Advise) -> ExitCode {
    if !(advice.risk >= 1e-9 && advice.risk < 1.0) {
        eprintln!("error: a risk is 1e-9 or more and below 1; next: drystone-sim advise --risk 0.001");
        return ExitCode::from(2);
    }
    let regions = match advice.regions {
        Where::Homes => &SIMBLOCK,
        Where::Clouds => &CLOUDS,
        Where::Building => &BUILDING,
    };
    let transaction_us = match advice.accounts {
        Accounts::Thousand => TRANSACTION_AMONG_FEW,
        Accounts::Million => TRANSACTION,
    };
    let (interval_ms, block_bytes) = (advice.interval, advice.block_bytes);
    let hosts = advice.nodes.into();
    let plan = Plan { interval_ms, block_bytes, regions, transaction_us, ..Plan::new(hosts) };
    for (name, value) in advise(&plan, advice.blocks.into(), &[1, 2], advice.risk, advice.response) {
        println!("{name:<17} {value}");
    }
    ExitCode::SUCCESS
}

fn run_all(run: &Run) -> ExitCode {
    if run.nodes < 2 || run.hours == 0 || run.seeds == 0 {
        eprintln!(
            "error: a network has at least 2 nodes, 1 hour and 1 seed; next: drystone-sim run --nodes 20 --hours 6"
        );
        return ExitCode::from(2);
    }
    let scenario = match run.scenario.as_deref().map(read).transpose() {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(0);
    let workers = thread::available_parallelism().map_or(1, |cores| cores.get() as u64).min(run.seeds);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= run.seeds {
                        return;
                    }
                    let setup = scenario.clone().unwrap_or_else(|| {
                        let seed = run.seed.wrapping_add(number);
                        Setup::new(seed, run.nodes.into(), run.hours * 60 * MINUTE, run.faults)
                    });
                    if !run_setup(run, &setup) {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    if run.seeds > 1 && !run.json {
        println!("{} seeds, {failed} with a violation", run.seeds);
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads a scenario file.
fn read(path: &Path) -> Result<Setup, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string());
    let setup = text.and_then(|text| text.parse());
    setup.map_err(|error| format!("cannot use the scenario {}: {error}; next: drystone-sim run --help", path.display()))
}

/// Where the shrunk scenario of a seed goes: seeds that run beside each other do not overwrite each other's.
fn shrunk_path(path: &Path, seeds: u64, seed: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if seeds > 1 {
        name.push(format!(".{seed:x}"));
    }
    name.into()
}

/// Shrinks a failing run and writes what is left.
fn shrink_to(path: &Path, setup: &Setup) {
    let mut runs = 0;
    let shrunk = shrink(setup.clone(), |candidate| {
        runs += 1;
        let violation = World::new(candidate.clone()).run(None).violation;
        eprint!("\rshrinking seed {:x}: {runs} runs", setup.seed);
        violation
    });
    match shrunk.map(|(setup, violation)| fs::write(path, explained(&setup, &violation))) {
        Some(Ok(())) => eprintln!("\nnext: drystone-sim run --scenario {}", path.display()),
        Some(Err(error)) => eprintln!("\nerror: cannot write {}: {error}", path.display()),
        None => eprintln!("\nerror: it does not fail again"),
    }
}

/// Runs one setup and prints what came of it; false if something did not hold.
fn run_setup(run: &Run, setup: &Setup) -> bool {
    let start = Instant::now();
    let outcome = World::new(setup.clone()).run(run.until.map(|ms| ms * MS));
    if run.json {
        println!("{}", serde_json::to_string(&outcome).expect("an outcome is plain data"));
    } else if run.seeds > 1 {
        println!("{}", line(&outcome, start.elapsed()));
    } else {
        print!("{}", summary(&outcome, start.elapsed()));
    }
    if let Some(violation) = &outcome.violation {
        let replay = match &run.scenario {
            Some(path) => format!("--scenario {}", path.display()),
            None => {
                format!("--nodes {} --hours {} --seed {} --faults {}", run.nodes, run.hours, outcome.seed, run.faults)
            }
        };
        eprintln!(
            "violation: {} at {} ms at node {}: {}\nreplay: drystone-sim run {replay} --until {}",
            violation.checker,
            violation.at_ms,
            violation.host,
            violation.what,
            violation.at_ms + 1,
        );
        if let Some(path) = &run.shrink {
            shrink_to(&shrunk_path(path, run.seeds, setup.seed), setup);
        }
    }
    outcome.violation.is_none()
}

fn verdict(outcome: &Outcome) -> &'static str {
    if outcome.violation.is_none() { "ok" } else { "VIOLATION" }
}

/// One seed of many.
fn line(outcome: &Outcome, wall: Duration) -> String {
    let counts = &outcome.counts;
    format!(
        "seed {} {} | {} nodes, {:.1} h | height {}, {} mined, {} reorganisations, deepest {} | {} payments, {} confirmed | \
         {} crashes, {} partitions | {} messages, {:.1} MB | agreed after {:.0} s | trace {} | {:.1} s",
        outcome.seed,
        verdict(outcome),
        outcome.hosts,
        outcome.virtual_ms as f64 / 3_600_000.0,
        counts.height,
        counts.mined,
        counts.reorganisations,
        counts.deepest,
        counts.payments,
        counts.confirmed,
        counts.crashes,
        counts.partitions,
        counts.messages,
        counts.bytes as f64 / 1e6,
        counts.agreed_after_ms as f64 / 1e3,
        &outcome.trace[..16],
        wall.as_secs_f64(),
    )
}

/// How often each adversary was what it is.
fn deeds(outcome: &Outcome) -> String {
    let deeds: Vec<String> = outcome.counts.deeds.iter().map(|(name, count)| format!("{name} {count}")).collect();
    if deeds.is_empty() { "none".into() } else { deeds.join(", ") }
}

/// One seed alone, at more length.
fn summary(outcome: &Outcome, wall: Duration) -> String {
    let counts = &outcome.counts;
    let rows = [
        ("seed", outcome.seed.clone()),
        (
            "network",
            format!("{} nodes for {:.2} virtual hours", outcome.hosts, outcome.virtual_ms as f64 / 3_600_000.0),
        ),
        ("chain", format!("height {}, {} blocks mined", counts.height, counts.mined)),
        ("reorganisations", format!("{}, the deepest {} blocks", counts.reorganisations, counts.deepest)),
        (
            "payments",
            format!(
                "{} taken: {} confirmed, {} waiting, {} replaced on purpose and {} by chance, {} lost with their host's power",
                counts.payments, counts.confirmed, counts.waiting, counts.superseded, counts.overtaken, counts.perished
            ),
        ),
        ("faults", format!("{} crashes, {} partitions", counts.crashes, counts.partitions)),
        ("adversaries", deeds(outcome)),
        ("traffic", format!("{} messages, {:.1} MB", counts.messages, counts.bytes as f64 / 1e6)),
        ("hostile hosts", format!("banned {} times; {} blocks found invalid", counts.bans, counts.invalidated)),
        ("honest penalties", format!("{} below a ban", counts.penalties)),
        ("memory", format!("one peer held at most {} bytes", counts.peer_bytes)),
        ("agreement", format!("{:.1} s after the last fault", counts.agreed_after_ms as f64 / 1e3)),
        ("trace", format!("{} over {} events", outcome.trace, outcome.events)),
        ("verdict", verdict(outcome).into()),
        ("wall time", format!("{:.1} s", wall.as_secs_f64())),
    ];
    rows.into_iter().map(|(name, value)| format!("{name:<17} {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_seeds_has_a_file_of_its_own() {
        let path = |seeds, seed| shrunk_path(Path::new("runs/small.txt"), seeds, seed);
        assert_eq!(path(1, 0x5eed), Path::new("runs/small.txt"));
        assert_eq!(path(2, 0x5eed), Path::new("runs/small.txt.5eed"));
        assert_ne!(path(2, 0x5eed), path(2, 0x5eee));
    }
}
