//! `drystone-sim`: networks of real engines under virtual time, from a seed, from a scenario file, or as somebody plans one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use drystone_core::genesis::main_params;
use drystone_tests::results::advice::advise;
use drystone_tests::results::network::Plan;
use drystone_tests::sim::cost::{TRANSACTION, TRANSACTION_AMONG_FEW};
use drystone_tests::sim::link::{BUILDING, CLOUDS, SIMBLOCK};
use drystone_tests::sim::report::Counts;
use drystone_tests::sim::scenario::{self, explained, shrink};
use drystone_tests::sim::{Faults, MINUTE, MS, Outcome, Setup, World};

/// The longest scenario file that is read, in bytes: some hundred thousand events.
const LONGEST_FILE: u64 = 4 << 20;
/// More seeds than anybody runs at once.
const MANY: u64 = 100_000;

/// A deterministic simulator of Drystone networks.
#[derive(Parser)]
#[command(name = "drystone-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a network; the exit code is 0 only if everything held that was looked at.
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
    /// How many nodes; a thousand take some 2 GB of memory.
    #[arg(long, default_value_t = 20)]
    nodes: u16,
    /// For how many virtual hours faults happen; the liveness phase follows.
    #[arg(long, default_value_t = 6)]
    hours: u64,
    /// What everything random comes from, in hex.
    #[arg(long, default_value = "5eed", value_parser = scenario::seed)]
    seed: u64,
    /// How many seeds to run, this one and those after it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// all, none, or some of crash,partition,oneway,flap,loss,skew,churn,slow and of the adversaries
    /// hostile,selfish,withhold,equivocate,lie,misdate,hop,eclipse,headers,spam.
    #[arg(long, default_value = "all")]
    faults: Faults,
    /// Run what this file says instead: lines `seed`, `nodes`, `minutes`, `faults`, `payments`, and `at MS FAULT`, as
    /// docs/SIMULATION.md has them.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "hours", "seed", "seeds", "faults"])]
    scenario: Option<PathBuf>,
    /// Where a seed fails, look for the smallest scenario that still does, and write it to this new file; of several seeds each
    /// to its own, FILE.SEED.
    #[arg(long, value_name = "FILE")]
    shrink: Option<PathBuf>,
    /// Stop at this virtual millisecond.
    #[arg(long, value_name = "MS")]
    until: Option<u64>,
    /// Print one JSON object for each seed, without wall times.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => run_all(&run),
        Command::Advise(advice) => say_what_to_expect(&advice),
    }
}

fn say_what_to_expect(advice: &Advise) -> ExitCode {
    if !(advice.risk >= 1e-9 && advice.risk < 1.0) {
        return refuse("a risk is 1e-9 or more and below 1", "drystone-sim advise --risk 0.001");
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
    let rows = advise(&plan, advice.blocks.into(), &[1, 2], advice.risk, advice.response);
    let text: String = rows.into_iter().map(|(name, value)| format!("{name:<17} {value}\n")).collect();
    if print(&text) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends the program before it has begun.
fn refuse(what: &str, next: &str) -> ExitCode {
    tell(&format!("error: {what}; next: {next}\n"));
    ExitCode::from(2)
}

/// Prints what was found; false if nobody reads it.
fn print(text: &str) -> bool {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => true,
        // A reader that has seen enough, as `head` has.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => false,
        Err(error) => {
            tell(&format!("error: cannot print: {error}; next: check where the output goes\n"));
            false
        }
    }
}

/// Says what is no result. Whether anybody reads it changes nothing.
fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn run_all(run: &Run) -> ExitCode {
    let scenario = match run.scenario.as_deref().map(read).transpose() {
        Ok(scenario) => scenario,
        Err(error) => return refuse(&error, "see \"Scenario files\" in docs/SIMULATION.md"),
    };
    if let Err(what) = check(run, scenario.as_ref()) {
        return refuse(&what, "drystone-sim run --help");
    }
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(0);
    let unread = AtomicBool::new(false);
    let workers = thread::available_parallelism().map_or(1, |cores| cores.get() as u64).min(run.seeds);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= run.seeds || unread.load(Ordering::Relaxed) {
                        return;
                    }
                    let (held, read) = run_setup(run, &setup_of(run, scenario.as_ref(), number));
                    if !held {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    if !read {
                        unread.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::Relaxed);
    let mut read = !unread.load(Ordering::Relaxed);
    if read && run.seeds > 1 && !run.json {
        read = print(&format!("{} seeds, {failed} with a violation\n", run.seeds));
    }
    if run.shrink.is_some() && failed == 0 && read {
        tell("nothing failed, so nothing was shrunk\n");
    }
    if failed == 0 && read { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What would end a long run badly is found before it.
fn check(run: &Run, scenario: Option<&Setup>) -> Result<(), String> {
    setup_of(run, scenario, 0).check()?;
    run.seed.checked_add(run.seeds - 1).ok_or("there are not so many seeds after this one")?;
    let Some(file) = &run.shrink else { return Ok(()) };
    let path = |number| shrunk_path(file, run.seeds, run.seed + number);
    if let Some(taken) = (0..run.seeds.min(MANY)).map(path).find(|path| path.symlink_metadata().is_ok()) {
        return Err(format!("{} is there already: --shrink writes a new file", taken.display()));
    }
    let probe = path(0);
    let made = File::create_new(&probe).and_then(|_| fs::remove_file(&probe));
    made.map_err(|error| format!("cannot write {}: {error}", probe.display()))
}

/// The run of one of the seeds.
fn setup_of(run: &Run, scenario: Option<&Setup>, number: u64) -> Setup {
    let drawn = || Setup::new(run.seed + number, run.nodes.into(), run.hours.saturating_mul(60 * MINUTE), run.faults);
    scenario.cloned().unwrap_or_else(drawn)
}

/// Reads a scenario file.
fn read(path: &Path) -> Result<Setup, String> {
    let mut text = String::new();
    let length = File::open(path).and_then(|file| file.take(LONGEST_FILE + 1).read_to_string(&mut text));
    let setup = match length {
        Ok(length) if length as u64 > LONGEST_FILE => Err(format!("it is longer than {LONGEST_FILE} bytes")),
        Ok(_) => text.parse(),
        Err(error) => Err(error.to_string()),
    };
    setup.map_err(|error| format!("cannot use the scenario {}: {error}", path.display()))
}

/// Where the shrunk scenario of a seed goes: seeds that run beside each other do not overwrite each other's.
fn shrunk_path(path: &Path, seeds: u64, seed: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if seeds > 1 {
        name.push(format!(".{seed:x}"));
    }
    name.into()
}

/// A path as a shell reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=,@%:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Shrinks a failing run and writes what is left.
fn shrink_to(path: &Path, setup: &Setup) {
    tell(&format!("shrinking seed {:x}\n", setup.seed));
    let (mut runs, watched) = (0, io::stderr().is_terminal());
    let shrunk = shrink(setup.clone(), |candidate| {
        runs += 1;
        if watched {
            tell(&format!("\rseed {:x}: run {runs} ", setup.seed));
        }
        World::new(candidate.clone()).run(None).violation
    });
    let line_end = if watched { "\n" } else { "" };
    let Some((setup, violation)) = shrunk else {
        return tell(&format!(
            "{line_end}error: it does not fail again; next: report it, the same run must be the same\n"
        ));
    };
    let text = explained(&setup, &violation);
    tell(&match write_new(path, &text) {
        Ok(()) => format!("{line_end}next: drystone-sim run --scenario {}\n", quoted(path)),
        Err(error) => {
            let path = path.display();
            format!(
                "{line_end}error: cannot write {path}: {error}; next: keep what it would hold, which follows\n{text}"
            )
        }
    });
}

/// Writes a new file, or nothing.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes()).inspect_err(|_| {
        let _ = fs::remove_file(path);
    })
}

/// Runs one setup and prints what came of it: whether everything held, and whether that was read.
fn run_setup(run: &Run, setup: &Setup) -> (bool, bool) {
    let start = Instant::now();
    let outcome = World::new(setup.clone()).run(run.until.map(|ms| ms.saturating_mul(MS)));
    let read = print(&if run.json {
        serde_json::to_string(&outcome).expect("an outcome is plain data") + "\n"
    } else if run.seeds > 1 {
        line(&outcome, start.elapsed())
    } else {
        summary(&outcome, start.elapsed())
    });
    if let Some(violation) = &outcome.violation {
        let replay = match &run.scenario {
            Some(path) => format!("--scenario {}", quoted(path)),
            None => {
                format!("--nodes {} --hours {} --seed {} --faults {}", run.nodes, run.hours, outcome.seed, run.faults)
            }
        };
        tell(&format!(
            "violation: {} at {} ms at node {}: {}\nreplay: drystone-sim run {replay} --until {}\n",
            violation.checker,
            violation.at_ms,
            violation.host,
            violation.what,
            violation.at_ms + 1,
        ));
        if let Some(path) = &run.shrink {
            shrink_to(&shrunk_path(path, run.seeds, setup.seed), setup);
        }
    }
    (outcome.violation.is_none(), read)
}

fn verdict(outcome: &Outcome) -> String {
    match (&outcome.violation, &outcome.counts.fates) {
        (Some(_), _) => "VIOLATION".into(),
        (None, Some(_)) => "ok".into(),
        (None, None) => format!("ok until {} ms, where it was ended", outcome.virtual_ms),
    }
}

/// One seed of many.
fn line(outcome: &Outcome, wall: Duration) -> String {
    let counts = &outcome.counts;
    format!(
        "seed {} {} | {} nodes, {:.1} h | height {}, {} mined, {} reorganisations, deepest {} | {} payments, {} | \
         {} crashes, {} partitions | {} messages, {:.1} MB | agreement {} | trace {} | {:.1} s\n",
        outcome.seed,
        verdict(outcome),
        outcome.hosts,
        outcome.virtual_ms as f64 / 3_600_000.0,
        counts.height,
        counts.mined,
        counts.reorganisations,
        counts.deepest,
        counts.payments,
        counts.fates.map_or("not looked at".into(), |fates| format!("{} confirmed", fates.confirmed)),
        counts.crashes,
        counts.partitions,
        counts.messages,
        counts.bytes as f64 / 1e6,
        agreement(outcome),
        &outcome.trace[..16],
        wall.as_secs_f64(),
    )
}

/// How soon all agreed.
fn agreement(outcome: &Outcome) -> String {
    let missed = outcome.violation.as_ref().is_some_and(|violation| violation.checker == "liveness");
    match outcome.counts.agreed_after_ms {
        Some(ms) => format!("{:.1} s after the last fault", ms as f64 / 1e3),
        None if missed => "none".into(),
        None => "not looked for".into(),
    }
}

/// What became of the payments.
fn payments(counts: &Counts) -> String {
    let fates = counts.fates.map(|fates| {
        format!(
            "{} confirmed, {} waiting, {} replaced on purpose and {} by chance, {} lost with their host's power",
            fates.confirmed, fates.waiting, fates.superseded, fates.overtaken, fates.perished
        )
    });
    format!("{} taken: {}", counts.payments, fates.as_deref().unwrap_or("what became of them was not looked at"))
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
        ("payments", payments(counts)),
        ("faults", format!("{} crashes, {} partitions", counts.crashes, counts.partitions)),
        ("adversaries", deeds(outcome)),
        ("traffic", format!("{} messages, {:.1} MB", counts.messages, counts.bytes as f64 / 1e6)),
        ("hostile hosts", format!("banned {} times; {} blocks found invalid", counts.bans, counts.invalidated)),
        ("honest penalties", format!("{} below a ban", counts.penalties)),
        ("memory", format!("one peer held at most {} bytes", counts.peer_bytes)),
        ("agreement", agreement(outcome)),
        ("trace", format!("{} over {} events", outcome.trace, outcome.events)),
        ("verdict", verdict(outcome)),
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

    #[test]
    fn a_shell_reads_a_path_as_it_is() {
        for (path, shown) in [("runs/small.txt", "runs/small.txt"), ("my runs", "'my runs'"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(Path::new(path)), shown);
        }
    }
}
