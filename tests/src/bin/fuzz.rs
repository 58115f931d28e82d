//! Fuzz targets by hand, without a fuzzer: replays files, lists the targets, writes the seeds of `tests/fuzz/corpus/` anew.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use drystone_tests::fuzz::{TARGETS, seeds};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Gives files to a target, one after the other; a crash is a panic that says what did not hold
    Run {
        /// The target
        target: String,
        /// The inputs
        files: Vec<PathBuf>,
    },
    /// Prints the names of all targets
    List,
    /// Writes the seeds of every target anew
    Seeds,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { target, files } => return run(&target, &files),
        Command::List => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        Command::Seeds => seeds::write(),
    }
    ExitCode::SUCCESS
}

fn run(name: &str, files: &[PathBuf]) -> ExitCode {
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        eprintln!("error: there is no target {name:?}\nnext: choose one of those that `fuzz list` prints");
        return ExitCode::from(2);
    };
    for file in files {
        let input = match fs::read(file) {
            Ok(input) => input,
            Err(error) => {
                eprintln!("error: cannot read {}: {error}\nnext: check its name", file.display());
                return ExitCode::from(2);
            }
        };
        let understood = (target.run)(&input);
        println!("{}: {}", file.display(), if understood { "understood" } else { "refused" });
    }
    ExitCode::SUCCESS
}
