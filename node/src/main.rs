//! The program `drystone-node`: reads the command line and does what it says.

mod banner;
mod cli;
mod clock;
mod commands;
mod config;
mod console;
mod data;
mod driver;
mod failure;
mod logging;
mod miner;
mod node;
mod progress;
mod scrub;
mod units;
mod workers;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use clap::error::ErrorKind as Usage;
use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::failure::Failure;

/// The exit code of a command line that does not make sense, as shells and the wallet have it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), Usage::DisplayHelp | Usage::DisplayVersion) => error.exit(),
        Err(error) => {
            eprintln!("{}", misunderstood(&error));
            return ExitCode::from(USAGE);
        }
    };
    match execute(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    match command {
        Command::Dev(options) => node::run(&Config::dev(options)?, true),
        Command::Run(options) => node::run(&Config::run(options)?, false),
        Command::Verify(options) => print(&commands::verify::execute(&options)?),
        Command::Genesis(command) => print(&commands::genesis::execute(command)?),
        Command::Status(options) => print(&commands::status::execute(options)?),
        Command::Peers(options) => print(&commands::peers::execute(options)?),
        Command::Ban(options) => print(&commands::bans::ban(options)?),
        Command::Unban(options) => print(&commands::bans::unban(options)?),
        Command::Backup(options) => print(&commands::backup::execute(options)?),
        Command::BenchMiner(options) => print(&commands::bench_miner::execute(options)?),
        Command::Man { directory } => print(&commands::man::execute(directory.as_deref())?),
        Command::Completions { shell } => print(&completions(shell)),
    }
}

/// What a shell needs to complete command lines, from their definition.
fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "drystone-node", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The parser's first paragraph says what is wrong; after it comes the usage, which `--help` shows in full.
fn misunderstood(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let paragraph = lines.join(" ");
    let message = match error.kind() {
        Usage::DisplayHelpOnMissingArgumentOrSubcommand => "no command given",
        _ => paragraph.strip_prefix("error: ").unwrap_or(&paragraph),
    };
    Failure::new(message, "see: drystone-node --help")
}

/// Prints to standard output. A reader that has seen enough, as `head` has, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(format_args!("cannot print: {error}"), "check where the output goes"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_one_line() {
        for (line, words) in [
            ("n", "no command given"),
            ("n genesis", "no command given"),
            ("n nothing", "'nothing'"),
            ("n dev --rpc 8645", "invalid socket address"),
            ("n genesis new", "--name <NAME>"),
        ] {
            let failure = misunderstood(&Cli::try_parse_from(line.split(' ')).unwrap_err()).to_string();
            assert!(failure.contains(words), "{line}: {failure}");
            assert_eq!(failure.lines().count(), 2, "{line}: {failure}");
        }
    }
}
