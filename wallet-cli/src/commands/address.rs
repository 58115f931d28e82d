//! `address`: the address of an account, without a node unless one is named.

use serde_json::json;

use super::Report;
use crate::account;
use crate::chain::Chain;
use crate::cli::{KnownChain, Options};
use crate::error::{ExitCode, Failure};
use crate::qr;
use crate::rpc::Client;

/// Prints the address that the flags select, and draws it if asked to.
pub(crate) fn run(options: &Options, draw: bool) -> Result<Report, Failure> {
    if draw && options.json {
        return Err(Failure::new(
            ExitCode::Usage,
            "--qr draws for people, --json prints for programs",
            "leave out --qr or --json",
        ));
    }
    let chain = chain(options)?;
    let account = account::secret_key(options, &chain)?.account();
    let address = account::address(&account, &chain);
    let json = json!({
        "address": address,
        "account_id": account,
        "chain": chain.params.name,
        "chain_id": chain.id,
    });
    // All upper case is the same address (BIP-173), and in a QR code takes 5.5 bits a letter instead of 8.
    let text = if draw { format!("{address}\n\n{}", qr::draw(&address.to_uppercase())) } else { address };
    Ok(Report { text, json })
}

/// The chain whose prefix addresses carry: the named one, that of a node that the user named, that of `--dev`, or main.
pub(super) fn chain(options: &Options) -> Result<Chain, Failure> {
    if let Some(chain) = Chain::named(options)? {
        return Ok(chain);
    }
    if !options.rpc.is_empty() {
        return Chain::of_node(options, &mut Client::new(&options.nodes(), options.timeout())?);
    }
    Ok(Chain::known(if options.dev.is_some() { KnownChain::Dev } else { KnownChain::Main }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::testing::{Ledger, command, node};
    use clap::Parser;
    use drystone_core::genesis::{dev_params, main_params};

    fn offline(flags: &str) -> Result<Report, Failure> {
        run(&Cli::parse_from(format!("drystone-wallet {flags} address").split_whitespace()).options, false)
    }

    #[test]
    fn dev_addresses_need_no_node() {
        let report = offline("--dev 0").unwrap();
        assert!(report.text.starts_with("tdry1"), "{}", report.text);
        assert_eq!(report.json["address"], report.text.as_str());
        assert_ne!(offline("--dev 1").unwrap().text, report.text);
        assert_eq!(offline("--dev 0 --chain dev").unwrap(), report);
    }

    /// The keys of development accounts are in the source: money sent to them on another chain is anyone's.
    #[test]
    fn dev_accounts_are_refused_on_other_chains() {
        let dir = tempfile::tempdir().unwrap();
        let on_main = node(&Ledger::shared(main_params()));
        let by_node = run(&command(&on_main, dir.path(), "--dev 0 address").options, false);
        for outcome in [offline("--dev 0 --chain main"), by_node] {
            let failure = outcome.unwrap_err();
            assert_eq!(failure.code, ExitCode::BadInput);
            assert!(failure.message.contains("--dev"), "{failure}");
        }
    }

    #[test]
    fn a_named_node_decides_the_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let on_dev = node(&Ledger::shared(dev_params()));
        let report = run(&command(&on_dev, dir.path(), "--dev 3 address").options, false).unwrap();
        assert_eq!(report, offline("--dev 3").unwrap());
    }

    #[test]
    fn without_a_keystore_the_next_command_makes_one() {
        let failure = offline("--keystore /nonexistent/wallet.json").unwrap_err();
        assert_eq!(failure.code, ExitCode::Keystore);
        assert_eq!(failure.next, "make one with: drystone-wallet --keystore /nonexistent/wallet.json new");
    }
}
