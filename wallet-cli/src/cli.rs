//! The command line: what can be typed, and what each flag means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use drystone_core::genesis::DEV_ACCOUNTS;
use serde::Deserialize;

use crate::config::{AddressBook, Config};
use crate::error::{ExitCode, Failure};
use crate::files;
use crate::mnemonic::MAX_ACCOUNT;
use crate::password::Source;
use crate::rpc::DEFAULT_URL;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  unexpected: no randomness, no output
  2  the command line is wrong
  3  an argument is wrong: address, amount, memo, genesis or configuration file
  4  keystore or password
  5  no node answered
  6  a node's answer is wrong, of another chain, or fails a proof
  7  the payment is refused: funds, reserve, nonce, fee
  8  --timeout ran out before the payment was in a block

With --json, each command prints one JSON object on standard output; a failure is {\"error\": {code, message, next}}.
Amounts on the command line are in stones; in JSON they are strings of chips, 100,000,000 to the stone.";

/// The longest `--timeout`, in seconds: a day.
pub(crate) const MAX_TIMEOUT: u64 = 86_400;
/// The `--timeout` where none is given, in seconds.
const DEFAULT_TIMEOUT: u64 = 600;

/// A Drystone wallet: keys, signing, and checks that trust no node.
#[derive(Debug, Parser)]
#[command(name = "drystone-wallet", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What all commands understand.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A node to ask; give several and the next answers when one does not [default: http://127.0.0.1:8645].
    #[arg(long, global = true, value_name = "URL", env = "DRYSTONE_RPC", value_delimiter = ',')]
    pub(crate) rpc: Vec<String>,

    /// Print one JSON object instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// What holds where no flag says otherwise, and names for addresses [default: ~/.drystone/wallet.toml].
    #[arg(long, global = true, value_name = "FILE", env = "DRYSTONE_WALLET_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// The names of the configuration.
    #[arg(skip)]
    pub(crate) book: AddressBook,

    /// The keystore [default: ~/.drystone/wallet.json].
    #[arg(long, global = true, value_name = "FILE", env = "DRYSTONE_KEYSTORE")]
    pub(crate) keystore: Option<PathBuf>,

    /// Read the keystore's password from this file instead of asking.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "password_fd")]
    pub(crate) password_file: Option<PathBuf>,

    /// Read the keystore's password from this open file descriptor instead of asking.
    #[arg(long, global = true, value_name = "N")]
    pub(crate) password_fd: Option<u32>,

    /// Which account of the keystore, from 0 [default: 0].
    #[arg(long, global = true, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_ACCOUNT)))]
    account: Option<u32>,

    /// Use funded account N of a development chain instead of a keystore; everyone knows its key.
    #[arg(long, global = true, value_name = "N", conflicts_with = "account")]
    #[arg(value_parser = clap::value_parser!(u8).range(..i64::from(DEV_ACCOUNTS)))]
    pub(crate) dev: Option<u8>,

    /// The chain, if it is one that the wallet knows [default: the node's; for new and address without --rpc, main].
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "genesis")]
    pub(crate) chain: Option<KnownChain>,

    /// The chain's genesis file, if it is not one that the wallet knows.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) genesis: Option<PathBuf>,

    /// Give up after this long: on an answer (at most 30 seconds each), and with --wait on the block [default: 600].
    #[arg(long, global = true, value_name = "SECONDS")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=MAX_TIMEOUT))]
    timeout: Option<u64>,
}

/// The chains whose genesis is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KnownChain {
    /// The main chain.
    Main,
    /// The development chain that `drystone-node dev` runs.
    Dev,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a keystore from fresh randomness and print the 24 words that can restore it.
    New {
        /// How many accounts to use.
        #[arg(long, value_name = "N", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ACCOUNT)))]
        accounts: u32,
    },
    /// Make a keystore from the 24 words that `new` printed, with the accounts that were used.
    Restore(Restore),
    /// Print the address of an account.
    Address {
        /// Also draw it as a QR code.
        #[arg(long)]
        qr: bool,
    },
    /// Print a balance that is proved against headers checked from genesis.
    Balance {
        /// Whose balance, an address or a name [default: the account's own].
        address: Option<String>,
    },
    /// Pay someone.
    Send(Send),
    /// Print what an account paid, received and earned, and what waits.
    History {
        /// Whose history, an address or a name [default: the account's own].
        address: Option<String>,
        /// How many entries, the newest.
        #[arg(long, value_name = "N", default_value_t = 20)]
        limit: usize,
    },
    /// Sign a payment on a machine without a network, for another one to broadcast.
    Sign(Sign),
    /// Check a signed payment and hand it in.
    Broadcast {
        /// The file that `sign` made.
        file: PathBuf,
        /// Return only when the payment is in a block.
        #[arg(long)]
        wait: bool,
    },
    /// Pay more for a payment that waits, so that miners take it sooner.
    Bump(Replace),
    /// Take a payment back that waits: one of nothing to yourself takes its place.
    Cancel(Replace),
    /// Prove that a payment is in the chain, in a file that needs no node to be checked.
    Receipt {
        /// The payment's transaction id.
        txid: String,
        /// Write the receipt to this new file instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print what a shell needs to complete command lines.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages, one for the program and one for each command.
    Man {
        /// Write the pages into this directory, made if need be, over older ones [default: print the program's own page].
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
    /// Check a receipt, without asking anybody.
    VerifyReceipt {
        /// The file that `receipt` made.
        file: PathBuf,
    },
}

/// What `restore` makes a keystore from.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// Read the words from this file instead of from standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) words_file: Option<PathBuf>,
    /// How many accounts to use [default: those that a node shows to have been used].
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_ACCOUNT)))]
    pub(crate) accounts: Option<u32>,
}

/// The payment that `sign` makes.
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The recipient's address, or its name in the configuration.
    pub(crate) to: String,
    /// How much, in stones, such as 12.5.
    #[arg(allow_hyphen_values = true)]
    pub(crate) amount: String,
    /// What the miner receives, in stones.
    #[arg(long, value_name = "STONES", allow_hyphen_values = true)]
    pub(crate) fee: String,
    /// How many payments the account has made before: the nonce that `balance --json` shows, and what waits.
    #[arg(long, value_name = "N")]
    pub(crate) nonce: u64,
    /// A public note that travels with the payment, at most 256 bytes.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) memo: String,
    /// Write the signed payment to this new file instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// The payment that `bump` and `cancel` replace.
#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// The payment's transaction id.
    pub(crate) txid: String,
    /// What the miner receives, in stones [default: what a replacement costs at least, up to 0.01].
    #[arg(long, value_name = "STONES", allow_hyphen_values = true)]
    pub(crate) fee: Option<String>,
    /// Return only when the replacement is in a block.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// The payment that `send` makes.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// The recipient's address, or its name in the configuration.
    pub(crate) to: String,
    /// How much, in stones, such as 12.5.
    #[arg(allow_hyphen_values = true)]
    pub(crate) amount: String,
    /// What the miner receives, in stones [default: the least that the node takes, up to 0.01].
    #[arg(long, value_name = "STONES", allow_hyphen_values = true)]
    pub(crate) fee: Option<String>,
    /// A public note that travels with the payment, at most 256 bytes.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) memo: String,
    /// Return only when the payment is in a block.
    #[arg(long)]
    pub(crate) wait: bool,
}

impl Cli {
    /// Takes from the configuration file what neither a flag nor the environment says, and puts addresses where names are.
    pub(crate) fn configure(&mut self) -> Result<(), Failure> {
        let standard = home().map(|home| home.join("wallet.toml"));
        let (config, book) = Config::read(self.options.config.as_deref(), standard)?;
        self.options.fill(config, book);
        let typed = match &mut self.command {
            Command::Balance { address } | Command::History { address, .. } => address.as_mut(),
            Command::Send(send) => Some(&mut send.to),
            Command::Sign(sign) => Some(&mut sign.to),
            _ => None,
        };
        if let Some(typed) = typed {
            *typed = self.options.book.resolve(typed)?;
        }
        Ok(())
    }
}

/// Where everything is kept unless told otherwise. Nowhere, if the user has no home.
fn home() -> Option<PathBuf> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty())?;
    Some(home.join(".drystone"))
}

impl Options {
    fn fill(&mut self, config: Config, book: AddressBook) {
        // Both say the same thing: which chain.
        if self.chain.is_none() && self.genesis.is_none() {
            (self.chain, self.genesis) = (config.chain, config.genesis);
        }
        if self.rpc.is_empty() {
            self.rpc = config.rpc;
        }
        self.keystore = self.keystore.take().or(config.keystore);
        self.account = self.account.or(config.account);
        self.timeout = self.timeout.or(config.timeout);
        self.book = book;
    }

    /// Which account of the keystore.
    pub(crate) fn account(&self) -> u32 {
        self.account.unwrap_or(0)
    }

    /// The nodes to ask, in order.
    pub(crate) fn nodes(&self) -> Vec<String> {
        if self.rpc.is_empty() { vec![DEFAULT_URL.to_owned()] } else { self.rpc.clone() }
    }

    /// How long to wait for an answer or a block.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(DEFAULT_TIMEOUT))
    }

    /// Where the keystore is, or is to be.
    pub(crate) fn keystore_path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.keystore {
            return Ok(path.clone());
        }
        let home = home().ok_or_else(|| {
            Failure::new(
                ExitCode::Keystore,
                "there is no home directory to keep a keystore in",
                "name one with --keystore FILE",
            )
        })?;
        Ok(home.join("wallet.json"))
    }

    /// Where the checked headers are kept: beside the keystore.
    pub(crate) fn data_dir(&self) -> Result<PathBuf, Failure> {
        Ok(files::directory_of(&self.keystore_path()?).to_owned())
    }

    /// Where the keystore's password comes from.
    pub(crate) fn password_source(&self) -> Source {
        match (&self.password_file, self.password_fd) {
            (Some(path), _) => Source::File(path.clone()),
            (None, Some(fd)) => Source::Descriptor(fd),
            (None, None) => Source::Prompt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_on_both_sides() {
        let cli = parse("w --dev 3 send tdry1x 1.5 --fee 0.1 --wait --json --rpc a:1 --rpc b:2,c:3").unwrap();
        assert_eq!(cli.options.dev, Some(3));
        assert!(cli.options.json);
        assert_eq!(cli.options.nodes(), ["a:1", "b:2", "c:3"]);
        let Command::Send(send) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!((send.to.as_str(), send.amount.as_str(), send.wait), ("tdry1x", "1.5", true));
    }

    /// A negative amount is a wrong amount, which the wallet explains, and not an unknown flag.
    #[test]
    fn negative_amounts_reach_the_wallet() {
        let cli = parse("w send tdry1x -1 --fee -2").unwrap();
        let Command::Send(send) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!((send.amount.as_str(), send.fee.as_deref()), ("-1", Some("-2")));
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for line in [
            "w",
            "w nothing",
            "w send tdry1x",
            "w --dev 10 address",
            "w --dev 1 --account 1 address",
            "w --account 2147483648 address",
            "w --timeout 0 address",
            "w --password-file f --password-fd 3 address",
            "w --chain dev --genesis f address",
            "w new --accounts 0",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), ExitCode::Usage as i32, "{line}");
        }
    }

    #[test]
    fn the_password_source_follows_the_flags() {
        assert_eq!(parse("w address").unwrap().options.password_source(), Source::Prompt);
        let file = parse("w address --password-file f").unwrap().options.password_source();
        assert_eq!(file, Source::File("f".into()));
        let fd = parse("w address --password-fd 3").unwrap().options.password_source();
        assert_eq!(fd, Source::Descriptor(3));
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("w.toml");
        let own = "tdry1kzugen0fshxexsymk694fes67kz7pxtqpnj8ge878vnv085jfqxs3rkncw";
        let text = "chain = 'dev'\nrpc = ['a:1', 'b:2']\nkeystore = 'k'\naccount = 2\ntimeout = 3\n[addresses]\nbob = ";
        std::fs::write(&file, format!("{text}'{own}'")).unwrap();
        let configured = |line: &str| {
            let mut cli = parse(&format!("w --config {} {line}", file.display())).unwrap();
            cli.configure().unwrap();
            cli
        };
        let Cli { options, command } = configured("balance bob");
        assert_eq!(options.nodes(), ["a:1", "b:2"]);
        assert_eq!((options.chain, options.genesis.as_deref()), (Some(KnownChain::Dev), None));
        assert_eq!(options.keystore_path().unwrap(), dir.path().join("k"));
        assert_eq!((options.account(), options.timeout().as_secs()), (2, 3));
        assert!(matches!(command, Command::Balance { address: Some(address) } if address == own));

        let typed = "--genesis g --rpc c:3 --keystore l --account 4 --timeout 5";
        let Cli { options, command } = configured(&format!("{typed} send bob 1"));
        assert_eq!(options.nodes(), ["c:3"]);
        assert_eq!((options.chain, options.genesis.as_deref()), (None, Some("g".as_ref())));
        assert_eq!(options.keystore_path().unwrap(), PathBuf::from("l"));
        assert_eq!((options.account(), options.timeout().as_secs()), (4, 5));
        assert!(matches!(command, Command::Send(send) if send.to == own));
        for line in ["history bob", "sign bob 1 --fee 1 --nonce 0"] {
            assert!(format!("{:?}", configured(line).command).contains(own), "{line}");
        }
        let unknown = parse(&format!("w --config {} send carol 1", file.display())).unwrap().configure().unwrap_err();
        assert!(unknown.message.contains("\"carol\" is neither"), "{unknown}");
        // Without a file, the defaults.
        let options = parse("w address").unwrap().options;
        assert_eq!((options.account(), options.timeout().as_secs()), (0, 600));
    }

    /// The table that people read is the enum that the program uses.
    #[test]
    fn the_help_lists_every_exit_code() {
        for code in 0..=ExitCode::TimedOut as u8 {
            assert!(EXIT_CODES.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
