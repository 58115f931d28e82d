//! The command line: what can be typed, and what each flag means.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Ask a running node how it is.
    Status(StatusOptions),
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

    /// Mine, and reward this address [default in dev: funded account 0].
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mine: Option<String>,

    /// How many threads mine [default: one for each core; in dev 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1024))]
    pub(crate) threads: Option<u16>,

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

    /// A TOML file with any of: genesis, data_dir, rpc, rpc_hosts, mine, threads, log, log_json. Flags override it.
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

/// What `status` understands.
#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// The node's data directory [default: the only one in ~/.drystone with a running node].
    #[arg(long, value_name = "DIR", env = "DRYSTONE_DATA_DIR", conflicts_with = "rpc")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Where the node answers [default: what it wrote to node.json in its data directory].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) rpc: Option<SocketAddr>,
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
            "n dev --log loud",
            "n dev --genesis g.json",
            "n run --colour grey",
            "n genesis",
            "n genesis show other",
            "n genesis new",
            "n genesis new --name x --interval soon",
            "n status --rpc 127.0.0.1:1 --data-dir d",
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
