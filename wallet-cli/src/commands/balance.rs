//! `balance`: an account's balance, proved against headers that were checked from genesis.

use serde_json::json;

use super::Report;
use crate::account;
use crate::chain::Chain;
use crate::cli::Options;
use crate::error::Failure;
use crate::headers::Headers;
use crate::nodes;
use crate::rpc::Client;

/// Proves and prints the balance of `address`, or of the account that the flags select.
pub(crate) fn run(options: &Options, address: Option<&str>) -> Result<Report, Failure> {
    let mut client = Client::new(&options.nodes(), options.timeout())?;
    let chain = Chain::of_node(options, &mut client)?;
    let account = account::named_or_own(options, address, &chain)?;
    let mut headers = Headers::load(&chain, &options.data_dir()?);
    let proved = nodes::prove(&mut client, &mut headers, &account)?;
    let (state, tip) = (proved.account, proved.tip);

    let address = account::address(&account, &chain);
    let text = format!(
        "{} stones at {address}\n\
         height {} of chain {}, block {}\n\
         proved under the state of that block, whose {} headers from genesis were checked: {} expected hashes of work\n\
         not proved: that no node elsewhere has a chain with more work{}",
        state.balance.to_stones(),
        tip.height(),
        chain.params.name,
        tip.hash(),
        tip.height(),
        tip.work().value(),
        proved.text(),
    );
    let json = json!({
        "address": address,
        "balance": state.balance,
        "nonce": state.nonce,
        "chain": chain.params.name,
        "chain_id": chain.id,
        "height": tip.height(),
        "hash": tip.hash(),
        "time": tip.header().time,
        "work": tip.work(),
        "verified": "account proof under the state root of a header chain checked from genesis (work, difficulty, time)",
        "heavier_height": proved.heavier,
        "nodes": proved.json(),
        "not_verified": "that no node elsewhere has a chain with more work",
    });
    Ok(Report { text, json })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ExitCode;
    use crate::testing::{Ledger, command, node, node_with};
    use drystone_core::genesis::dev_params;

    #[test]
    fn the_report_says_what_was_proved_and_what_was_not() {
        let ledger = Ledger::shared(dev_params());
        ledger.lock().unwrap().mine(3, 1);
        let dir = tempfile::tempdir().unwrap();
        let node = node(&ledger);
        let cli = command(&node, dir.path(), "--dev 2 balance");
        let report = run(&cli.options, None).unwrap();
        assert!(report.text.starts_with("10000 stones at tdry1"), "{}", report.text);
        assert!(report.text.contains("3 headers from genesis were checked: 8 expected hashes"), "{}", report.text);
        assert!(report.text.contains("not proved"));
        assert_eq!(report.json["balance"], "1000000000000");
        assert_eq!((&report.json["height"], &report.json["nonce"]), (&json!(3), &json!(0)));
        assert_eq!(report.json["hash"], json!(ledger.lock().unwrap().tip().hash()));

        let other = report.json["address"].as_str().unwrap();
        let named = run(&command(&node, dir.path(), "balance").options, Some(other)).unwrap();
        assert_eq!(named, report, "another's balance needs no key");
    }

    #[test]
    fn failures_have_their_codes() {
        let ledger = Ledger::shared(dev_params());
        let dir = tempfile::tempdir().unwrap();
        let options = |line| command(&node(&ledger), dir.path(), line).options;
        let code = |outcome: Result<Report, Failure>| outcome.unwrap_err().code;
        assert_eq!(code(run(&options("balance"), Some("tdry1nonsense"))), ExitCode::BadInput);
        assert_eq!(code(run(&options("balance"), None)), ExitCode::Keystore);

        let liar = node_with(&ledger, |method, value| {
            if method == "account_proof" {
                value["account"]["balance"] = json!("1");
            }
        });
        let lied_to = command(&liar, dir.path(), "--dev 0 balance").options;
        assert_eq!(code(run(&lied_to, None)), ExitCode::BadAnswer);

        let mut nobody = options("--dev 0 balance");
        nobody.rpc = vec!["127.0.0.1:1".into()];
        assert_eq!(code(run(&nobody, None)), ExitCode::Unreachable);
    }
}
