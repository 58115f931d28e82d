//! `bump`: pays more for a payment that waits, and `cancel`: pays nobody in its place.

use std::time::Instant;

use drystone_core::amount::Amount;
use drystone_core::key::SecretKey;
use drystone_core::transaction::{Memo, TransactionBody};

use super::Report;
use crate::account;
use crate::chain::Chain;
use crate::cli::{Options, Replace};
use crate::error::Failure;
use crate::headers::Headers;
use crate::payment::{Session, parse_amount, parse_txid};
use crate::rpc::Client;

/// What takes the place of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    /// The same payment.
    Itself,
    /// A payment of nothing to oneself.
    Nothing,
}

/// Replaces a payment that waits.
pub(crate) fn run(options: &Options, replace: &Replace, with: With) -> Result<Report, Failure> {
    let deadline = Instant::now() + options.timeout();
    let fee = replace.fee.as_deref().map(|fee| parse_amount("fee", fee)).transpose()?;
    let txid = parse_txid(&replace.txid)?;
    let mut client = Client::new(&options.nodes(), options.timeout())?;
    let chain = Chain::of_node(options, &mut client)?;
    let key = account::secret_key(options, &chain)?;
    let mut headers = Headers::load(&chain, &options.data_dir()?);
    let mut session = Session::open(&mut client, &chain, &mut headers, key.account())?;
    let old = session.pending(txid)?;
    let new = replacement(&old.body, with);
    let sign = |fee: Amount, key: &SecretKey| TransactionBody { fee, ..new.clone() }.sign(&chain.id, key);
    let fee = match fee {
        Some(fee) => fee,
        None => session.replacement_fee(&old, sign(Amount::ZERO, &key).encoded_len())?,
    };
    let transaction = sign(fee, &key);
    session.check(&transaction)?;
    session.make(&transaction, replace.wait.then_some(deadline), done(with, replace.wait))
}

/// What was done: without waiting, the payment that is to be replaced may still be made.
fn done(with: With, waited: bool) -> &'static str {
    match (with, waited) {
        (With::Itself, _) => "bumped:",
        (With::Nothing, true) => "cancelled:",
        (With::Nothing, false) => "asked to cancel, which holds once it is in a block:",
    }
}

fn replacement(old: &TransactionBody, with: With) -> TransactionBody {
    match with {
        With::Itself => old.clone(),
        With::Nothing => TransactionBody { to: old.from, amount: Amount::ZERO, memo: Memo::default(), ..old.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use crate::error::ExitCode;
    use crate::testing::{FakeNode, Ledger, command, node};
    use drystone_core::genesis::dev_params;
    use drystone_core::hash::Txid;
    use serde_json::json;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    fn replace(node: &FakeNode, directory: &Path, line: &str) -> Result<Report, Failure> {
        let cli = command(node, directory, line);
        match &cli.command {
            Command::Bump(replace) => run(&cli.options, replace, With::Itself),
            Command::Cancel(replace) => run(&cli.options, replace, With::Nothing),
            other => panic!("{other:?}"),
        }
    }

    fn sent(ledger: &Arc<Mutex<Ledger>>, node: &FakeNode, directory: &Path) -> Txid {
        let bob = account::address(&SecretKey::dev(1).account(), &Chain::from(dev_params()));
        let cli = command(node, directory, &format!("--dev 0 send {bob} 5"));
        let Command::Send(send) = &cli.command else { panic!() };
        crate::commands::send::run(&cli.options, send).unwrap();
        ledger.lock().unwrap().mempool[0].txid()
    }

    #[test]
    fn a_payment_that_waits_is_bumped_or_cancelled_and_no_other() {
        let ledger = Ledger::shared(dev_params());
        ledger.lock().unwrap().mine(1, 1);
        let (node, dir) = (node(&ledger), tempfile::tempdir().unwrap());
        let txid = sent(&ledger, &node, dir.path());
        replace(&node, dir.path(), &format!("--dev 0 bump {txid}")).unwrap();
        replace(&node, dir.path(), &format!("--dev 0 cancel {txid} --fee 0.5")).unwrap();
        let mempool = ledger.lock().unwrap().mempool.clone();
        let [old, bumped, cancelled] = mempool.as_slice() else { panic!("{mempool:?}") };
        // A tenth more and 1,000 chips for 1,000 bytes.
        assert_eq!((old.body.fee, bumped.body.fee), (Amount(160), Amount(160 + 16 + 160)));
        let TransactionBody { to, amount, nonce, .. } = bumped.body;
        assert_eq!((to, amount, nonce), (old.body.to, old.body.amount, old.body.nonce));
        let TransactionBody { to, amount, fee, nonce, .. } = cancelled.body;
        assert_eq!((to, amount, fee, nonce), (old.body.from, Amount::ZERO, Amount(50_000_000), old.body.nonce));

        let other = replace(&node, dir.path(), &format!("--dev 1 bump {txid}")).unwrap_err();
        assert_eq!(other.code, ExitCode::BadInput);
        assert!(other.next.contains("--account"), "{other}");
        let unknown = replace(&node, dir.path(), &format!("--dev 0 bump {}", Txid([1; 32]))).unwrap_err();
        assert_eq!(unknown.code, ExitCode::Refused);
        assert!(unknown.message.contains("dropped"), "{unknown}");
        assert_eq!(replace(&node, dir.path(), "--dev 0 bump 77").unwrap_err().code, ExitCode::BadInput);
        ledger.lock().unwrap().mempool.truncate(1);
        ledger.lock().unwrap().mine(1, 1);
        let late = replace(&node, dir.path(), &format!("--dev 0 cancel {txid}")).unwrap_err();
        assert_eq!(late.code, ExitCode::Refused);
        assert!(late.message.contains("height 2") && late.next.contains("receipt"), "{late}");
    }

    #[test]
    fn a_node_that_gives_another_transaction_is_found_out() {
        let ledger = Ledger::shared(dev_params());
        let honest = node(&ledger);
        let dir = tempfile::tempdir().unwrap();
        let txid = sent(&ledger, &honest, dir.path());
        let liar = {
            let ledger = Arc::clone(&ledger);
            FakeNode::start(move |method, params| {
                let mut asked = params.clone();
                if method == "tx_get" {
                    asked[0] = json!(txid);
                }
                ledger.lock().unwrap().answer(method, &asked)
            })
        };
        let failure = replace(&liar, dir.path(), &format!("--dev 0 cancel {}", Txid([1; 32]))).unwrap_err();
        assert_eq!(failure.code, ExitCode::BadAnswer);
    }

    /// Whoever makes up a payment to himself has its id, and lists it, but not the signature.
    #[test]
    fn a_payment_that_the_account_did_not_sign_is_neither_shown_nor_signed() {
        let ledger = Ledger::shared(dev_params());
        let (victim, thief) = (SecretKey::dev(0), SecretKey::dev(3));
        let (from, to) = (victim.account(), thief.account());
        let (amount, fee, memo) = (Amount(777_700_000_000), Amount(160), Memo::default());
        let body = TransactionBody { from, to, amount, fee, nonce: 0, memo };
        let forged = body.sign(&ledger.lock().unwrap().chain.id, &thief);
        let txid = forged.txid();
        ledger.lock().unwrap().mempool.push(forged);
        let (node, dir) = (node(&ledger), tempfile::tempdir().unwrap());
        for command in ["bump", "cancel"] {
            let failure = replace(&node, dir.path(), &format!("--dev 0 {command} {txid}")).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadAnswer, "{failure}");
        }
        assert_eq!(ledger.lock().unwrap().mempool.len(), 1, "nothing was signed");
        let history = command(&node, dir.path(), "--dev 0 history");
        let report = crate::commands::history::run(&history.options, None, 20).unwrap();
        assert_eq!(report.json["waiting"], json!([]), "{}", report.text);
    }
}
