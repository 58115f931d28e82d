//! `send`: pays someone.

use std::time::Instant;

use super::Report;
use crate::account;
use crate::chain::Chain;
use crate::cli::{Options, Send};
use crate::error::Failure;
use crate::headers::Headers;
use crate::payment::{Session, parse_amount, parse_memo};
use crate::rpc::Client;

/// Makes the payment.
pub(crate) fn run(options: &Options, send: &Send) -> Result<Report, Failure> {
    let deadline = Instant::now() + options.timeout();
    let amount = parse_amount("amount", &send.amount)?;
    let fee = send.fee.as_deref().map(|fee| parse_amount("fee", fee)).transpose()?;
    let memo = parse_memo(&send.memo)?;
    let mut client = Client::new(&options.nodes(), options.timeout())?;
    let chain = Chain::of_node(options, &mut client)?;
    let to = account::parse(&send.to, &chain)?;
    let key = account::secret_key(options, &chain)?;
    let mut headers = Headers::load(&chain, &options.data_dir()?);

    let mut session = Session { client: &mut client, chain: &chain, headers: &mut headers };
    let transaction = session.prepare(&key, to, amount, fee, memo)?;
    session.make(&transaction, send.wait.then_some(deadline), "sent")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use crate::error::ExitCode;
    use crate::testing::{FakeNode, Ledger, Lie, command, node, node_with};
    use drystone_core::amount::Amount;
    use drystone_core::api::ErrorCode;
    use drystone_core::genesis::dev_params;
    use drystone_core::hash::Txid;
    use drystone_core::key::{AccountId, SecretKey};
    use serde_json::{Value, json};
    use std::path::Path;
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::Duration;

    fn pay(node: &FakeNode, directory: &Path, line: &str) -> Result<Report, Failure> {
        let cli = command(node, directory, &format!("--dev 0 send {line}"));
        let Command::Send(send) = &cli.command else { panic!("{line}") };
        run(&cli.options, send)
    }

    fn bob() -> String {
        account::address(&SecretKey::dev(1).account(), &Chain::from(dev_params()))
    }

    /// An address that holds nothing.
    fn nobody() -> String {
        account::address(&AccountId([0x55; 32]), &Chain::from(dev_params()))
    }

    fn setup() -> (Arc<Mutex<Ledger>>, tempfile::TempDir) {
        let ledger = Ledger::shared(dev_params());
        ledger.lock().unwrap().mine(2, 1);
        (ledger, tempfile::tempdir().unwrap())
    }

    #[test]
    fn a_payment_reaches_the_node_as_it_was_asked_for() {
        let (ledger, dir) = setup();
        let node = node(&ledger);
        let first = pay(&node, dir.path(), &format!("{} 12.5 --memo rent", bob())).unwrap();
        let second = pay(&node, dir.path(), &format!("{} 1 --fee 0.5", bob())).unwrap();
        assert_eq!((&first.json["nonce"], &second.json["nonce"]), (&json!(0), &json!(1)), "waiting ones are counted");
        assert!(first.text.starts_with("sent 12.5 stones to tdry1"), "{}", first.text);

        let mempool = ledger.lock().unwrap().mempool.clone();
        let body = &mempool[0].body;
        assert_eq!((body.amount, body.memo.0.as_slice()), (Amount(1_250_000_000), b"rent".as_slice()));
        assert_eq!(body.fee, Amount(164), "1,000 chips for 1,000 bytes, of which it has 164");
        assert_eq!(first.json["txid"], json!(mempool[0].txid()));
        assert_eq!(mempool[1].body.fee, Amount(50_000_000));
        assert_eq!(first.json["block"], Value::Null);
    }

    #[test]
    fn waiting_ends_with_a_proved_block() {
        let (ledger, dir) = setup();
        let miner = Arc::clone(&ledger);
        let mining = thread::spawn(move || {
            while miner.lock().unwrap().mempool.is_empty() {
                thread::sleep(Duration::from_millis(10));
            }
            miner.lock().unwrap().mine(3, 1);
        });
        let report = pay(&node(&ledger), dir.path(), &format!("{} 5 --wait", bob())).unwrap();
        mining.join().unwrap();
        let block = &report.json["block"];
        assert_eq!((&block["height"], &block["confirmations"]), (&json!(3), &json!(3)));
        assert_eq!(block["hash"], json!(ledger.lock().unwrap().blocks[3].header.hash()));
        assert!(report.text.contains("at height 3, 3 confirmation(s)"), "{}", report.text);
    }

    /// A node that was killed has lost its mempool; whoever waits for the payment hands it in again.
    #[test]
    fn waiting_tells_a_node_again_that_forgot() {
        let (ledger, dir) = setup();
        let miner = Arc::clone(&ledger);
        let mining = thread::spawn(move || {
            for forgets in [true, false] {
                while miner.lock().unwrap().mempool.is_empty() {
                    thread::sleep(Duration::from_millis(10));
                }
                let mut ledger = miner.lock().unwrap();
                if forgets { ledger.mempool.clear() } else { ledger.mine(1, 1) }
            }
        });
        let report = pay(&node(&ledger), dir.path(), &format!("{} 5 --wait --timeout 60", bob())).unwrap();
        mining.join().unwrap();
        assert_eq!(report.json["block"]["height"], json!(3));
    }

    #[test]
    fn waiting_gives_up_when_told_to() {
        let (ledger, dir) = setup();
        let failure = pay(&node(&ledger), dir.path(), &format!("{} 5 --wait --timeout 1", bob())).unwrap_err();
        assert_eq!(failure.code, ExitCode::TimedOut);
        let txid = ledger.lock().unwrap().mempool[0].txid();
        assert!(failure.message.contains(&txid.to_string()), "{failure}");
    }

    #[test]
    fn bad_input_leaves_no_payment() {
        let (ledger, dir) = setup();
        let node = node(&ledger);
        let (bob, nobody, long) = (bob(), nobody(), "x".repeat(257));
        let mistyped = bob.replace("tdry1", "tdry1q");
        let main = account::address(&AccountId([1; 32]), &Chain::known(crate::cli::KnownChain::Main));
        let cases = [
            (format!("{mistyped} 1"), ExitCode::BadInput, "checksum"),
            (format!("{main} 1"), ExitCode::BadInput, "another chain"),
            (format!("{bob} 1e3"), ExitCode::BadInput, "not a decimal"),
            (format!("{bob} -1"), ExitCode::BadInput, "not a decimal"),
            (format!("{bob} 0.000000001"), ExitCode::BadInput, "eight decimals"),
            (format!("{bob} 99999999999"), ExitCode::BadInput, "largest possible"),
            (format!("{bob} 1 --fee x"), ExitCode::BadInput, "the fee"),
            (format!("{bob} 1 --memo {long}"), ExitCode::BadInput, "257 bytes"),
            (format!("{bob} 10001"), ExitCode::Refused, "has 10000 stones"),
            (format!("{bob} 10000"), ExitCode::Refused, "has 10000 stones"),
            (format!("{bob} 1 --fee 90071992.54740991"), ExitCode::Refused, "has 10000 stones"),
            (format!("{bob} 9999.9995 --fee 0"), ExitCode::Refused, "leaves the account 0.0005 stones"),
            (format!("{nobody} 0.0009"), ExitCode::Refused, "recipient would have 0.0009"),
        ];
        for (line, code, words) in cases {
            let failure = pay(&node, dir.path(), &line).unwrap_err();
            assert_eq!(failure.code, code, "{line}: {failure}");
            assert!(failure.message.contains(words), "{line}: {failure}");
            assert!(!failure.next.is_empty());
        }
        assert!(ledger.lock().unwrap().mempool.is_empty());
    }

    /// The neighbours of what is refused.
    #[test]
    fn bounds_pass() {
        let (ledger, dir) = setup();
        let node = node(&ledger);
        let (bob, nobody, memo) = (bob(), nobody(), "x".repeat(256));
        pay(&node, dir.path(), &format!("{bob} 9999.999 --fee 0 --memo {memo}")).unwrap();
        ledger.lock().unwrap().mempool.clear();
        pay(&node, dir.path(), &format!("{nobody} 0.001")).unwrap();
        ledger.lock().unwrap().mempool.clear();
        pay(&node, dir.path(), &format!("{bob} 0")).unwrap();
        ledger.lock().unwrap().mempool.clear();
        let own = account::address(&SecretKey::dev(0).account(), &Chain::from(dev_params()));
        pay(&node, dir.path(), &format!("{own} 9999")).unwrap();
        ledger.lock().unwrap().mine(1, 1);
    }

    #[test]
    fn a_greedy_node_is_not_obeyed() {
        let (ledger, dir) = setup();
        let node = node(&ledger);
        // 160 bytes cost 0.01 stone at this rate.
        for (rate, allowed) in [(6_250_000, true), (6_250_001, false), (u64::MAX, false)] {
            ledger.lock().unwrap().min_fee_rate = Amount(rate);
            let outcome = pay(&node, dir.path(), &format!("{} 1", bob()));
            assert_eq!(outcome.is_ok(), allowed, "{rate}");
            if let Err(failure) = outcome {
                assert_eq!(failure.code, ExitCode::Refused);
                assert!(failure.next.contains("--fee"));
            }
        }
        pay(&node, dir.path(), &format!("{} 1 --fee 0.02", bob())).unwrap();
    }

    #[test]
    fn a_lying_node_is_found_out() {
        fn nonce(method: &str, value: &mut Value) {
            if method == "account_get" {
                value["pending_nonce"] = json!(1000);
            }
        }
        fn txid(method: &str, value: &mut Value) {
            if method == "tx_submit" {
                *value = json!(Txid([1; 32]));
            }
        }
        fn confirmed(method: &str, value: &mut Value) {
            if method == "tx_get" {
                value["status"] = json!("confirmed");
                value["height"] = json!(0);
                value["block_hash"] = json!(dev_params().chain_id());
                value["index"] = json!(0);
                value["confirmations"] = json!(3);
            }
        }
        let lies: [(&str, Lie); 3] =
            [("the next nonce is 1000", nonce), ("calls it 0101", txid), ("and it is not", confirmed)];
        for (words, lie) in lies {
            let (ledger, dir) = setup();
            let failure = pay(&node_with(&ledger, lie), dir.path(), &format!("{} 1 --wait", bob())).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadAnswer, "{failure}");
            assert!(failure.message.contains(words), "{failure}");
        }
    }

    #[test]
    fn the_nodes_refusal_is_passed_on() {
        for (code, exit, next) in [
            (ErrorCode::MempoolFull, ExitCode::Refused, "the node's advice"),
            (ErrorCode::FeeTooLow, ExitCode::Refused, "leave out --fee"),
            (ErrorCode::TimedOut, ExitCode::Unreachable, "before you pay again"),
        ] {
            let (ledger, dir) = setup();
            let refusing = FakeNode::start(move |method, params| {
                if method == "tx_submit" {
                    return Err((code, "no".into()));
                }
                ledger.lock().unwrap().answer(method, params)
            });
            let failure = pay(&refusing, dir.path(), &format!("{} 1", bob())).unwrap_err();
            assert_eq!(failure.code, exit);
            assert!(failure.next.contains(next), "{failure}");
        }
    }
}
