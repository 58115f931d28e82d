//! `drystone-far`: measures real node processes at a distance, and prints what it finds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use drystone_core::params::ChainParams;
use drystone_tests::far::join::{Archive, Share, nearby, over_links, replayed};
use drystone_tests::far::node::cpu_ms;
use drystone_tests::far::{Topology, calibration, clients, mining, propagation, replay, soak};

/// Measures real node processes at a distance. Needs root where distance is needed.
#[derive(Parser)]
#[command(name = "drystone-far", version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// The node's program [default: the drystone-node beside this one].
    #[arg(long, global = true, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Where nodes keep their data; what lies there is removed first [default: a directory in /tmp].
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// How a full block spreads over eight nodes.
    Propagation {
        /// Payments in a block.
        #[arg(long, default_value_t = 13_000)]
        payments: usize,
        /// Accounts that make them, of which each has at most 64 waiting.
        #[arg(long, default_value_t = 1_000)]
        accounts: usize,
        /// One-way latency of a link in milliseconds.
        #[arg(long, default_value_t = 50)]
        latency: u64,
        /// Blocks whose payments are in all mempools.
        #[arg(long, default_value_t = 6)]
        warm: usize,
        /// Blocks whose payments are in none.
        #[arg(long, default_value_t = 3)]
        cold: usize,
    },
    /// How a newcomer fetches a long chain from four servers behind unequal links, the busiest of which dies half-way.
    Join(Chain),
    /// How fast one fetches it without distance, on one core, against a replay from disk.
    Sync {
        #[command(flatten)]
        chain: Chain,
        /// How many servers, which share the other core.
        #[arg(long, default_value_t = 2)]
        servers: usize,
        /// How often both are measured.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Whether 16 processes on the relay and the simulator agree on how small blocks spread.
    Calibrate {
        /// How many blocks.
        #[arg(long, default_value_t = 60)]
        blocks: usize,
    },
    /// A network on this machine for a while: agreement, memory, descriptors, stale blocks.
    Soak(soak::Plan),
    /// Many clients of one node at once, while it rests, mines, and fetches a long chain.
    Clients {
        #[command(flatten)]
        plan: clients::Plan,
        #[command(flatten)]
        chain: Chain,
    },
    /// How soon a node answers and connects blocks while it mines on all cores, beside one that does not mine.
    Mining(mining::Plan),
    /// Connects the chain of one ledger file into a new one and prints the microseconds that it took, of the clock and of
    /// the processor.
    #[command(hide = true)]
    Replay { genesis: PathBuf, from: PathBuf, to: PathBuf },
}

#[derive(Args)]
struct Chain {
    /// Blocks of the chain.
    #[arg(long, default_value_t = 20_000)]
    blocks: u64,
    /// Payments in each.
    #[arg(long, default_value_t = 10)]
    payments: usize,
    /// Where the chain is kept between runs [default: a directory in /tmp].
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
}

/// The links of `join`: bytes a second, and milliseconds.
const LINKS: [(u64, u64); 4] = [(4_000_000, 20), (2_000_000, 50), (1_000_000, 100), (500_000, 150)];

fn main() -> ExitCode {
    let Cli { common, command } = Cli::parse();
    let beside = || std::env::current_exe().expect("a running program has a path").with_file_name("drystone-node");
    let program = common.node.unwrap_or_else(beside);
    if !program.exists() {
        eprintln!("error: there is no {}; next: cargo build --release -p drystone-node", program.display());
        return ExitCode::from(2);
    }
    let root = common.dir.unwrap_or_else(|| std::env::temp_dir().join(format!("drystone-far-{}", std::process::id())));
    let _ = fs::remove_dir_all(&root);
    let good = match command {
        Command::Propagation { payments, accounts, latency: latency_ms, warm, cold } => {
            let topology = Topology::ring(8, &[(0, 4), (2, 6)]);
            let plan = propagation::Plan { topology, latency_ms, payments, accounts, warm, cold };
            propagation::run(&plan, &program, &root).print();
            true
        }
        Command::Join(chain) => join(&chain, &program, &root),
        Command::Sync { chain, servers, rounds } => sync(&chain, servers, rounds, &program, &root),
        Command::Calibrate { blocks } => calibration::run(&calibration::Plan::of(blocks), &program, &root).print(),
        Command::Soak(plan) => soak::run(&plan, &program, &root),
        Command::Clients { plan, chain } => clients::run(&plan, || archive(&chain), &program, &root),
        Command::Mining(plan) => {
            mining::run(&plan, &program, &root);
            true
        }
        Command::Replay { genesis, from, to } => {
            let text = fs::read_to_string(genesis).expect("a genesis file");
            let params = ChainParams::from_json(&text).expect("a genesis file");
            let done = replay::replay(&params, &from, &to).expect("the ledger can be read");
            println!("{} {}", done.took.as_micros(), 1_000 * cpu_ms("self"));
            true
        }
    };
    let _ = fs::remove_dir_all(&root);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn archive(chain: &Chain) -> Archive {
    let directory = chain.archive.clone().unwrap_or_else(|| std::env::temp_dir().join("drystone-far-archive"));
    Archive::make(&directory, chain.blocks, chain.payments).expect("the chain can be made")
}

fn rates(archive: &Archive, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let (blocks, bytes) = (archive.height as f64 / seconds, archive.bytes as f64 / seconds / 1e6);
    format!("{seconds:.1} s, {blocks:.0} blocks/s, {bytes:.2} MB/s of bodies")
}

fn join(chain: &Chain, program: &Path, root: &Path) -> bool {
    let archive = archive(chain);
    let joined = over_links(&archive, &LINKS, program, root);
    println!("{} blocks of {} payments: {}", chain.blocks, chain.payments, rates(&archive, joined.took));
    let all: u64 = joined.shares.iter().map(|share| share.blocks).sum();
    for (server, (rate, latency)) in LINKS.iter().enumerate() {
        let Share { blocks, body_bytes, link_bytes } = joined.shares[server];
        let died = if joined.killed == Some(server) { ", killed half-way" } else { "" };
        let percent = 100.0 * blocks as f64 / all as f64;
        println!(
            "server {server}, {rate} bytes/s, {latency} ms: {blocks} blocks, {percent:.1} %, {body_bytes} bytes of bodies, \
             {link_bytes} on the link{died}"
        );
    }
    true
}

fn sync(chain: &Chain, servers: usize, rounds: usize, program: &Path, root: &Path) -> bool {
    let archive = archive(chain);
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let root = root.join(round.to_string());
        let replay = replayed(&archive, &root.join("replay"));
        let sync = nearby(&archive, servers, program, &root);
        ratios.push(replay.took.as_secs_f64() / sync.took.as_secs_f64());
        println!("replay {}; {:.1} s of its core", rates(&archive, replay.took), replay.cpu.as_secs_f64());
        println!("sync   {}; {:.1} s of its core", rates(&archive, sync.took), sync.cpu.as_secs_f64());
        let cpu = replay.cpu.as_secs_f64() / sync.cpu.as_secs_f64();
        println!(
            "sync at {:.0} % of the replay's rate, and {:.0} % for the same work of a core",
            100.0 * ratios[round],
            100.0 * cpu
        );
        let _ = fs::remove_dir_all(root);
    }
    ratios.iter().all(|ratio| *ratio >= 0.6)
}
