//! `sign`: makes a payment without any node, and `broadcast`: hands one in that was signed elsewhere.

use std::path::Path;
use std::time::Instant;

use drystone_core::transaction::TransactionBody;
use serde_json::json;

use super::{Report, address};
use crate::account;
use crate::chain::Chain;
use crate::cli::{Options, Sign};
use crate::document::{self, SignedPayment};
use crate::error::{ExitCode, Failure};
use crate::headers::Headers;
use crate::payment::{Session, parse_amount, parse_memo};
use crate::rpc::Client;

/// Signs a payment, and prints or writes the file that carries it.
pub(crate) fn run(options: &Options, sign: &Sign) -> Result<Report, Failure> {
    let amount = parse_amount("amount", &sign.amount)?;
    let fee = parse_amount("fee", &sign.fee)?;
    let memo = parse_memo(&sign.memo)?;
    let chain = address::chain(options)?;
    let to = account::parse(&sign.to, &chain)?;
    let key = account::secret_key(options, &chain)?;
    let body = TransactionBody { from: key.account(), to, amount, fee, nonce: sign.nonce, memo };
    let transaction = body.sign(&chain.id, &key);
    let signed = SignedPayment::of(&transaction, &chain);
    let json = json!(signed);
    let Some(path) = &sign.out else {
        return Ok(Report { text: document::text(&signed).trim_end().to_owned(), json });
    };
    document::write(path, &signed)?;
    let text = format!(
        "signed: {} stones to {}, fee {} stones, nonce {}, on chain {}\n\
         in {}\n\
         next, on a machine with a node: drystone-wallet broadcast {}",
        amount.to_stones(),
        sign.to,
        fee.to_stones(),
        sign.nonce,
        chain.params.name,
        path.display(),
        path.display(),
    );
    Ok(Report { text, json })
}

/// Checks a signed payment, hands it in, and waits for its block if told to.
pub(crate) fn broadcast(options: &Options, file: &Path, wait: bool) -> Result<Report, Failure> {
    let deadline = Instant::now() + options.timeout();
    let mut client = Client::new(&options.nodes(), options.timeout())?;
    let chain = Chain::of_node(options, &mut client)?;
    let of = chain.id;
    let (signed, chain) = document::read::<SignedPayment>(file, |id| match id == of {
        true => Ok(chain),
        false => Err(Failure::new(
            ExitCode::BadInput,
            format!("the payment is signed for chain {id}, and the node is on {of}"),
            "name a node of that chain with --rpc URL",
        )),
    })?;
    let transaction = signed.transaction(&chain)?;
    let mut headers = Headers::load(&chain, &options.data_dir()?);
    let mut session = Session::open(&mut client, &chain, &mut headers, transaction.body.from)?;
    session.check(&transaction)?;
    session.make(&transaction, wait.then_some(deadline), "sent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use crate::testing::{Ledger, command, node};
    use drystone_core::genesis::dev_params;
    use drystone_core::key::SecretKey;
    use serde_json::Value;
    use std::fs;

    fn bob() -> String {
        account::address(&SecretKey::dev(1).account(), &Chain::from(dev_params()))
    }

    #[test]
    fn what_is_signed_offline_is_paid_online_and_nothing_else_is() {
        let ledger = Ledger::shared(dev_params());
        ledger.lock().unwrap().mine(1, 1);
        let (node, dir) = (node(&ledger), tempfile::tempdir().unwrap());
        let nobody = crate::testing::FakeNode { url: "http://127.0.0.1:1".into() };
        let file = dir.path().join("payment.json");
        let sign = |line: String| {
            let cli = command(&nobody, dir.path(), &format!("--dev 0 --chain dev sign {line}"));
            let Command::Sign(sign) = &cli.command else { panic!("{line}") };
            run(&cli.options, sign)
        };
        let line = format!("{} 2.5 --fee 0.001 --nonce 0 --memo rent", bob());
        let printed = sign(line.clone()).unwrap();
        let report = sign(format!("{line} --out {}", file.display())).unwrap();
        assert!(report.text.contains("signed: 2.5 stones to tdry1"), "{}", report.text);
        assert_eq!(fs::read_to_string(&file).unwrap(), printed.text.clone() + "\n");
        assert!(sign(format!("{line} --out {}", file.display())).is_err(), "nothing is overwritten");
        let shown: Value = serde_json::from_str(&printed.text).unwrap();
        assert_eq!((&shown["amount_in_stones"], &shown["memo"]), (&json!("2.5"), &json!("rent")));

        let cli = command(&node, dir.path(), "--dev 0 balance");
        // Each field that is read by people, changed.
        for (field, value) in shown.as_object().unwrap() {
            let mut changed = shown.clone();
            changed[field] = match value {
                Value::Number(number) => json!(number.as_u64().unwrap() + 1),
                text => {
                    let text = text.as_str().unwrap();
                    json!(format!("{}{}", &text[..text.len() - 1], if text.ends_with('1') { "2" } else { "1" }))
                }
            };
            let other = dir.path().join("changed.json");
            fs::write(&other, changed.to_string()).unwrap();
            let failure = broadcast(&cli.options, &other, false).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadInput, "{field}: {failure}");
        }
        for text in ["", "{}", "[]", &printed.text[..printed.text.len() - 9]] {
            fs::write(dir.path().join("bad.json"), text).unwrap();
            let failure = broadcast(&cli.options, &dir.path().join("bad.json"), false).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadInput, "{failure}");
        }
        assert!(ledger.lock().unwrap().mempool.is_empty());

        let sent = broadcast(&cli.options, &file, false).unwrap();
        assert_eq!(sent.json["txid"], shown["txid"]);
        ledger.lock().unwrap().mine(1, 1);
        let used = broadcast(&cli.options, &file, false).unwrap_err();
        assert_eq!(used.code, ExitCode::Refused);
        assert!(used.message.contains("nonce 0 is used") && used.next.contains("--nonce 1"), "{used}");
    }
}
