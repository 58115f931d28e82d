//! `drystone-wallet`: keys, signing, and checks that trust no node.
//!
//! A command goes the same way each time: `cli` says what was typed, `config` what holds besides; `chain` decides which
//! genesis holds, from what the wallet has itself; `account` opens the `keystore` with a `password` and derives the key that `mnemonic`
//! words stand for; `rpc` asks nodes, `headers` believes only the work that it has checked from genesis, and `nodes`
//! the heaviest of all chains that were told. `payment` makes a payment of all that, after what is `waiting`, and `outcome`
//! says what came of it; `seen` remembers what a reorganisation may take away; `document` is what travels in files. `strength` warns of new passwords, `qr` draws addresses.
//! `commands` put these together, and either report or fail with a [`error::Failure`].
//!
//! The program is `main`. What else is public reads files of other people's making, so that fuzzing reaches it.

mod account;
pub mod chain;
mod cli;
mod commands;
mod config;
pub mod document;
pub mod error;
mod files;
mod headers;
pub mod keystore;
mod mnemonic;
mod nodes;
mod outcome;
mod password;
mod payment;
mod qr;
mod rpc;
mod seen;
mod strength;
#[cfg(test)]
mod testing;
mod waiting;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode as ProcessExit;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use serde_json::json;

use cli::{Cli, Command};
use commands::Report;
use commands::replace::With;
use error::{ExitCode, Failure};

/// Does what the command line says, prints the outcome, and gives the exit code.
pub fn main() -> ProcessExit {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Also a command line that cannot be parsed is answered in the form that it asks for.
    let wants_json = arguments.iter().any(|argument| argument == "--json");
    let mut cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => error.exit(),
        Err(error) => return finish(Err(usage_failure(&error)), wants_json, ""),
    };
    let outcome = run(&mut cli);
    finish(outcome, cli.options.json, unprinted(&cli.command))
}

/// What to do when all went well and the outcome could not be printed.
fn unprinted(command: &Command) -> &'static str {
    match command {
        Command::New { .. } => {
            "nobody has seen the 24 words: remove the keystore that was made, and run the command again"
        }
        _ => "see what was done with: drystone-wallet balance",
    }
}

fn run(cli: &mut Cli) -> Result<Report, Failure> {
    // A broken configuration keeps no shell from starting and no program from being installed.
    if !matches!(cli.command, Command::Completions { .. } | Command::Man { .. }) {
        cli.configure()?;
    }
    let mut report = obey(cli)?;
    if is_for_people(&cli.command) {
        report.text = cli.options.book.annotate(&report.text);
    }
    Ok(report)
}

/// Whether a command's text is read by people, who are shown names, and not by programs: an address, or a document.
fn is_for_people(command: &Command) -> bool {
    match command {
        Command::Address { .. } => false,
        Command::Sign(sign) => sign.out.is_some(),
        Command::Receipt { out, .. } => out.is_some(),
        _ => true,
    }
}

fn obey(cli: &Cli) -> Result<Report, Failure> {
    match &cli.command {
        Command::New { accounts } => commands::new::run(&cli.options, *accounts),
        Command::Restore(restore) => commands::restore::run(&cli.options, restore),
        Command::Address { qr } => commands::address::run(&cli.options, *qr),
        Command::Balance { address } => commands::balance::run(&cli.options, address.as_deref()),
        Command::Send(send) => commands::send::run(&cli.options, send),
        Command::History { address, limit } => commands::history::run(&cli.options, address.as_deref(), *limit),
        Command::Sign(sign) => commands::sign::run(&cli.options, sign),
        Command::Broadcast { file, wait } => commands::sign::broadcast(&cli.options, file, *wait),
        Command::Bump(replace) => commands::replace::run(&cli.options, replace, With::Itself),
        Command::Cancel(replace) => commands::replace::run(&cli.options, replace, With::Nothing),
        Command::Receipt { txid, out } => commands::receipt::run(&cli.options, txid, out.as_deref()),
        Command::VerifyReceipt { file } => commands::receipt::verify(&cli.options, file),
        Command::Completions { shell } => Ok(completions(*shell)),
        Command::Man { directory } => commands::man::run(directory.as_deref()),
    }
}

/// What a shell needs to complete command lines, from their definition.
fn completions(shell: Shell) -> Report {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "drystone-wallet", &mut script);
    let text = String::from_utf8_lossy(&script).trim_end().to_owned();
    Report { json: json!({ "shell": shell.to_string(), "script": text }), text }
}

/// The parser's first paragraph says what is wrong; after it comes the usage, which `--help` shows in full.
fn usage_failure(error: &clap::Error) -> Failure {
    let text = error.to_string();
    let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let paragraph = paragraph.join(" ");
    let message = match error.kind() {
        // The second one where an environment variable stands for a flag.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => "no command given",
        _ => paragraph.strip_prefix("error: ").unwrap_or(&paragraph),
    };
    Failure::new(ExitCode::Usage, message, "see: drystone-wallet --help")
}

/// Prints the outcome: JSON always on standard output, a failure's text on standard error.
fn finish(outcome: Result<Report, Failure>, json: bool, unprinted: &str) -> ProcessExit {
    let printed = match &outcome {
        Ok(report) if json => writeln!(io::stdout(), "{}", report.json),
        Ok(report) => writeln!(io::stdout(), "{}", report.text),
        Err(failure) if json => writeln!(io::stdout(), "{}", failure.to_json()),
        Err(failure) => writeln!(io::stderr(), "{failure}"),
    };
    match (outcome, printed) {
        (Err(failure), _) => ProcessExit::from(failure.code as u8),
        (Ok(_), Err(reason)) => {
            let failure = Failure::new(ExitCode::Unexpected, format!("cannot print the outcome: {reason}"), unprinted);
            // Standard error may be gone as well, and then there is nobody to tell.
            let _ = writeln!(io::stderr(), "{failure}");
            ProcessExit::from(ExitCode::Unexpected as u8)
        }
        (Ok(_), Ok(())) => ProcessExit::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_command_line_is_one_line() {
        for (line, words) in [
            ("w", "no command given"),
            ("w send", "<TO>"),
            ("w nothing", "nothing"),
            ("w --dev 10 address", "10"),
            ("w balance --colour", "--colour"),
        ] {
            let failure = usage_failure(&Cli::try_parse_from(line.split(' ')).unwrap_err());
            assert_eq!(failure.code, ExitCode::Usage);
            assert!(failure.message.contains(words), "{line}: {failure}");
            assert!(!failure.message.contains('\n'));
        }
    }
}
