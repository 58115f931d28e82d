//! The command line: what can be typed, and what each flag means.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use drystone_core::miner::Kernel;
use drystone_node::engine::message::PeerId;
use drystone_node::rpc::MAX_MINING_THREADS;

use crate::logging::Level;

/// A Drystone node: holds the ledger, mines it, and answers for it.
#[derive(Debug, Parser)]
#[command(name = "drystone-node", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a chain of your own with ten funded accounts, mining at once.
    Dev(NodeOptions),
    /// Run a node of the main chain, or of the chain of a genesis file.
    Run(RunOptions),
    /// Recompute everything from disk and compare; the node must not be running.
    Verify(VerifyOptions),
    /// Check, show or write genesis files, each of which starts a chain.
    #[command(subcommand)]
    Genesis(GenesisCommand),
    /// Ask a running node what it is doing, and what it waits for.
    Status(StatusOptions),
    /// List the peers of a running node, and whom it has banned.
    Peers(PeersOptions),
    /// Have a running node refuse an IP address or a peer for a while.
    Ban(BanOptions),
    /// Take a ban back.
    Unban(UnbanOptions),
    /// Have a running node copy its ledger, as it is at one moment, into a new file.
    Backup(BackupOptions),
    /// Measure how fast this machine mines, and what to expect of that.
    BenchMiner(BenchMinerOptions),
    /// Write manual pages, or print the main one.
    Man {
        /// A directory for a page of each command, created if missing [default: the main page to standard output].
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Print what a shell needs to complete command lines.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// What every running node understands.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct NodeOptions {
    /// Where the node keeps everything [default: ~/.drystone/<name of the chain>].
    #[arg(long, value_name = "DIR", env = "DRYSTONE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Where to answer JSON-RPC; port 0 takes a free one [default: 127.0.0.1:8645].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) rpc: Option<SocketAddr>,

    /// Where peers connect; port 0 takes a free one [default: 0.0.0.0:8646, or a free port if that is taken; in dev
    /// 127.0.0.1:0].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,

    /// Connect to this node, again and again while there is no connection; may be given several times.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) peer: Vec<String>,

    /// Mine, and reward this address [default in dev: funded account 0].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mine: Option<String>,

    /// How many threads mine [default: one for each core; in dev 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=i64::from(MAX_MINING_THREADS)))]
    pub(crate) threads: Option<u16>,

    /// How to hash when mining [default: as is fastest on this processor].
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(Kernel::ALL.iter().map(Kernel::name)))]
    pub(crate) kernel: Option<String>,

    /// Read everything on disk over once in so many days, and mend what is damaged; 0 turns that off [default: 7].
    #[arg(long, value_name = "N", value_parser = read_days)]
    pub(crate) scrub_days: Option<f64>,

    /// Pay so much to whoever asks by RPC (faucet_pay), an address once an hour; on test and dev chains alone.
    #[arg(long, value_name = "STONES")]
    pub(crate) faucet: Option<String>,

    /// How much to log [default: info].
    #[arg(long, value_name = "LEVEL", env = "DRYSTONE_LOG", value_enum, hide_possible_values = true)]
    pub(crate) log: Option<Level>,

    /// Log one JSON object a line.
    #[arg(long)]
    pub(crate) log_json: bool,
}

/// What `run` understands.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// The genesis file of the chain [default: the one kept in --data-dir, else the main chain].
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,

    /// A TOML file with any of: genesis, data_dir, rpc, rpc_hosts, listen, peers, mine, threads, kernel, scrub_days, faucet,
    /// log, log_json, and a table [net] with max_per_ip, group_limits, mdns. Flags override it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) node: NodeOptions,
}

/// What `verify` understands.
#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// The node's data directory [default: the only one in ~/.drystone].
    #[arg(long, value_name = "DIR", env = "DRYSTONE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// The genesis file of the chain [default: the one kept in the data directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,

    /// Make the state anew from the blocks on disk if it is found wrong.
    #[arg(long)]
    pub(crate) repair: bool,
}

/// Which node is asked.
#[derive(Debug, Args)]
pub(crate) struct RunningNode {
    /// The node's data directory [default: the only one in ~/.drystone with a running node].
    #[arg(long, value_name = "DIR", env = "DRYSTONE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Where the node answers, whatever the data directory [default: what it wrote to node.json there].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) rpc: Option<SocketAddr>,
}

/// Which node is told something, and where its cookie is.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("secret").args(["data_dir", "cookie"]).multiple(true))]
pub(crate) struct OwnNode {
    /// The node's data directory [default: the only one in ~/.drystone with a running node].
    #[arg(long, value_name = "DIR", env = "DRYSTONE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Where the node answers [default: what it wrote to node.json in its data directory].
    #[arg(long, value_name = "ADDRESS:PORT", requires = "secret")]
    pub(crate) rpc: Option<SocketAddr>,

    /// The node's cookie [default: .cookie in its data directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) cookie: Option<PathBuf>,
}

/// What `status` understands.
#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    pub(crate) node: RunningNode,

    /// Print JSON: what `node_info` answers.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `peers` understands.
#[derive(Debug, Args)]
pub(crate) struct PeersOptions {
    #[command(flatten)]
    pub(crate) node: RunningNode,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `backup` understands.
#[derive(Debug, Args)]
pub(crate) struct BackupOptions {
    /// The file, which must not exist yet; on the node's machine.
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) node: OwnNode,
}

/// What `ban` understands.
#[derive(Debug, Args)]
pub(crate) struct BanOptions {
    /// An IP address, of IPv6 with its whole /64, or the name of a peer.
    #[arg(value_parser = read_target)]
    pub(crate) target: String,

    /// For how long: 1d, 12h, 30m, or a number of seconds [default: 1d].
    #[arg(long = "for", value_name = "TIME", value_parser = read_seconds)]
    pub(crate) seconds: Option<u64>,

    #[command(flatten)]
    pub(crate) node: OwnNode,
}

/// What `unban` understands.
#[derive(Debug, Args)]
pub(crate) struct UnbanOptions {
    /// An IP address or the name of a peer, as `peers` lists it.
    #[arg(value_parser = read_target)]
    pub(crate) target: String,

    #[command(flatten)]
    pub(crate) node: OwnNode,
}

/// What `bench-miner` understands.
#[derive(Debug, Args)]
pub(crate) struct BenchMinerOptions {
    /// Measure each kernel on each number of threads for so many seconds in all.
    #[arg(long, value_name = "N", default_value = "2", value_parser = read_measuring_time)]
    pub(crate) seconds: f64,

    /// Measure on so many threads alone [default: 1, 2, 4 and so on, and one for each core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_MINING_THREADS)))]
    pub(crate) threads: Option<u16>,

    /// Take the first difficulty of this genesis file, and ask no node [default: the difficulty of the node's tip; where
    /// no node runs, of the genesis in --data-dir, else of the main chain's].
    #[arg(long, value_name = "FILE", conflicts_with = "rpc")]
    pub(crate) genesis: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) node: RunningNode,

    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

fn read_target(text: &str) -> Result<String, &'static str> {
    let known = text.parse::<IpAddr>().is_ok() || text.parse::<PeerId>().is_ok();
    if known { Ok(text.to_owned()) } else { Err("neither an IP address nor the name of a peer") }
}

fn read_days(text: &str) -> Result<f64, &'static str> {
    check_days(text.parse().map_err(|_| "not a number of days")?)
}

/// A pass takes so many days, or none is made.
pub(crate) fn check_days(days: f64) -> Result<f64, &'static str> {
    // Nothing is read faster than in the shortest time, which tests use.
    let known = days == 0.0 || (0.00001..=3650.0).contains(&days);
    if known { Ok(days) } else { Err("a number of days up to 3650, or 0 for never") }
}

fn read_measuring_time(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().map_err(|_| "not a number of seconds")?;
    if (0.01..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("a number of seconds from 0.01 to 3600") }
}

fn read_seconds(text: &str) -> Result<u64, &'static str> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match &text[digits.len()..] {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        "s" | "" => 1,
        _ => return Err("the units are d, h, m and s"),
    };
    let count: u64 = digits.parse().map_err(|_| "not a number of d, h, m or s, as in 12h")?;
    count.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or("at least a second, and at most ten years")
}

/// What to do with genesis files.
#[derive(Debug, Subcommand)]
pub(crate) enum GenesisCommand {
    /// Check a file and print the chain that it starts.
    Check {
        /// The genesis file.
        file: PathBuf,
    },
    /// Print the genesis file of a chain that is built in.
    Show {
        /// Which chain.
        chain: KnownChain,
    },
    /// Write the genesis file of a new chain.
    New(Box<NewGenesis>),
}

/// The chains whose genesis is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KnownChain {
    /// The main chain.
    Main,
    /// The chain that `drystone-node dev` runs.
    Dev,
}

/// What a new chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Money: nodes mine only with peers.
    Main,
    /// A test network: nodes mine alone.
    Test,
    /// A developer's own chain: nodes mine alone and generate blocks on request.
    Dev,
}

/// What a new genesis file says. Whatever is not given is chosen to fit the rest.
#[derive(Debug, Args)]
pub(crate) struct NewGenesis {
    /// What people call the chain.
    #[arg(long)]
    pub(crate) name: String,

    /// Write to this file, which must not exist [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// What the chain is for.
    #[arg(long, value_enum, default_value = "test")]
    pub(crate) kind: Kind,

    /// The prefix of addresses.
    #[arg(long, default_value = "tdry")]
    pub(crate) prefix: String,

    /// When the chain starts, in Unix milliseconds [default: now].
    #[arg(long, value_name = "MS")]
    pub(crate) time: Option<u64>,

    /// The time between blocks, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub(crate) interval: u64,

    /// The response time of difficulty, in milliseconds [default: 120 intervals].
    #[arg(long, value_name = "MS")]
    pub(crate) response: Option<u64>,

    /// How far ahead of the clock a block may be, in milliseconds [default: 2 intervals].
    #[arg(long, value_name = "MS")]
    pub(crate) max_future: Option<u64>,

    /// The target of the first block in compact form: one hash in 65,536 meets the default.
    #[arg(long, value_name = "HEX", default_value = "1f00ffff")]
    pub(crate) bits: String,

    /// The easiest target that difficulty may fall back to [default: as --bits].
    #[arg(long, value_name = "HEX")]
    pub(crate) pow_limit: Option<String>,

    /// What a block creates at first, in stones.
    #[arg(long, value_name = "STONES", default_value = "20")]
    pub(crate) subsidy: String,

    /// Blocks between halvings of the subsidy.
    #[arg(long, value_name = "BLOCKS", default_value_t = 2_102_400)]
    pub(crate) halving_interval: u64,

    /// Blocks before a reward can be spent.
    #[arg(long, value_name = "BLOCKS", default_value_t = 100)]
    pub(crate) maturity: u64,

    /// The largest encoded block.
    #[arg(long, value_name = "BYTES", default_value_t = 2 << 20)]
    pub(crate) max_block_bytes: u64,

    /// The least balance that a transfer may leave, in stones.
    #[arg(long, value_name = "STONES", default_value = "0.001")]
    pub(crate) reserve: String,

    /// Stones that someone holds from the start; may be given several times.
    #[arg(long, value_name = "ADDRESS=STONES")]
    pub(crate) allocate: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for line in [
            "n",
            "n nothing",
            "n dev --rpc nowhere",
            "n dev --rpc 127.0.0.1",
            "n dev --threads -1",
            "n dev --threads 1025",
            "n dev --kernel cuda",
            "n dev --scrub-days often",
            "n dev --scrub-days -1",
            "n dev --scrub-days nan",
            "n dev --scrub-days 4000",
            "n dev --log loud",
            "n dev --genesis g.json",
            "n run --colour grey",
            "n genesis",
            "n genesis show other",
            "n genesis new",
            "n genesis new --name x --interval soon",
            "n peers 10.0.0.1",
            "n ban",
            "n ban node.example",
            "n ban 10.0.0.1:8646",
            "n ban 10.0.0.1 --for soon",
            "n ban 10.0.0.1 --for 0",
            "n ban 10.0.0.1 --for -1",
            "n ban 10.0.0.1 --for 1w",
            "n ban 10.0.0.1 --for 99999999999999999d",
            "n ban 10.0.0.1 --rpc 127.0.0.1:1",
            "n unban 10.0.0.1 --rpc 127.0.0.1:1",
            "n unban 10.0.0.1 --for 1d",
            "n bench-miner --seconds 0",
            "n bench-miner --seconds nan",
            "n bench-miner --seconds 3601",
            "n bench-miner --seconds long",
            "n bench-miner --threads 0",
            "n bench-miner --threads 1025",
            "n bench-miner --rpc 127.0.0.1:1 --genesis g.json",
            "n bench-miner 5",
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_ban_has_a_target_a_time_and_a_cookie() {
        for (line, expected) in [
            ("n ban 10.0.0.1", None),
            ("n ban 2001:db8::1 --for 90", Some(90)),
            ("n ban 10.0.0.1 --for 30m", Some(1_800)),
            ("n ban 10.0.0.1 --for 12h --data-dir d", Some(43_200)),
            ("n ban 10.0.0.1 --for 1d --rpc 127.0.0.1:1 --data-dir d", Some(86_400)),
            ("n ban 10.0.0.1 --for 5s --rpc 127.0.0.1:1 --cookie c", Some(5)),
            ("n ban 10.0.0.1 --rpc 127.0.0.1:1 --cookie c --data-dir d", None),
        ] {
            let Command::Ban(options) = Cli::try_parse_from(line.split(' ')).expect(line).command else {
                panic!("{line}")
            };
            assert_eq!(options.seconds, expected, "{line}");
        }
    }
}
