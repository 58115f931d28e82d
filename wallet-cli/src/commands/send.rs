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

    let mut session = Session::open(&mut client, &chain, &mut headers, key.account())?;
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
    use drystone_core::hash::{BlockHash, Txid};
    use drystone_core::key::{AccountId, SecretKey};
    use drystone_core::transaction::{Memo, TransactionBody};
    use serde_json::{Value, json};
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
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

    /// One that ends just after its chain was checked, in the middle of a wait, is not waited for.
    #[test]
    fn waiting_ends_with_the_last_node() {
        let (ledger, dir) = setup();
        let stopping = AtomicBool::new(false);
        let node = FakeNode::start(move |method, params| match method {
            "tx_get" if !stopping.swap(true, Ordering::Relaxed) => Err((ErrorCode::NotFound, "forgotten".into())),
            "tx_get" | "node_info" if stopping.load(Ordering::Relaxed) => Err((ErrorCode::Stopping, "it stops".into())),
            _ => ledger.lock().unwrap().answer(method, params),
        });
        let failure = pay(&node, dir.path(), &format!("{} 5 --wait --timeout 20", bob())).unwrap_err();
        assert_eq!(failure.code, ExitCode::Unreachable, "{failure}");
        assert!(failure.message.contains("was sent, but"), "{failure}");
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
        let lies: [(&str, Lie); 2] = [("calls it 0101", txid), ("and it is not", confirmed)];
        for (words, lie) in lies {
            let (ledger, dir) = setup();
            let failure = pay(&node_with(&ledger, lie), dir.path(), &format!("{} 1 --wait", bob())).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadAnswer, "{failure}");
            assert!(failure.message.contains(words), "{failure}");
        }
    }

    /// Pays through several nodes.
    fn pay_at(nodes: &[&FakeNode], directory: &Path, line: &str) -> Result<Report, Failure> {
        let mut cli = command(nodes[0], directory, &format!("--dev 0 send {line}"));
        cli.options.rpc = nodes.iter().map(|node| node.url.clone()).collect();
        let Command::Send(send) = &cli.command else { panic!("{line}") };
        run(&cli.options, send)
    }

    /// Ledgers of nodes that have the same chain and have not exchanged what waits.
    fn apart(count: usize) -> Vec<Arc<Mutex<Ledger>>> {
        (0..count).map(|_| setup().0).collect()
    }

    fn nonces(ledger: &Arc<Mutex<Ledger>>) -> Vec<u64> {
        ledger.lock().unwrap().mempool.iter().map(|transaction| transaction.body.nonce).collect()
    }

    /// A payment that can only be made after others, which nobody has seen, would wait until whoever claims them lets it.
    #[test]
    fn a_nonce_that_nobody_can_back_is_ignored_and_its_node_named() {
        let (ledgers, dir) = (apart(2), setup().1);
        for claim in [1, 3, 1000, u64::MAX] {
            let liar = node_with(&ledgers[0], move |method, value| {
                if method == "account_get" {
                    value["pending_nonce"] = json!(claim);
                }
            });
            for nodes in [vec![&liar], vec![&liar, &node(&ledgers[1])]] {
                let report = pay_at(&nodes, dir.path(), &format!("{} 1", bob())).unwrap();
                assert_eq!(report.json["nonce"], 0);
                let named = format!("ignored: {}/rpc says that the next nonce is {claim}", liar.url);
                assert!(report.text.contains(&named), "{}", report.text);
                ledgers.iter().for_each(|ledger| ledger.lock().unwrap().mempool.clear());
            }
        }
        // Nor does what another account signed, or the account for another chain, back anything.
        for forged in [SecretKey::dev(1), SecretKey::dev(0)] {
            let chain =
                if forged.account() == SecretKey::dev(0).account() { [9; 32] } else { dev_params().chain_id().0 };
            let (to, fee) = (AccountId([5; 32]), Amount(1000));
            let from = SecretKey::dev(0).account();
            let body = TransactionBody { from, to, amount: Amount(1_000_000), fee, nonce: 0, memo: Memo::default() };
            ledgers[0].lock().unwrap().mempool.push(body.sign(&BlockHash(chain), &forged));
            let report = pay_at(&[&node(&ledgers[0])], dir.path(), &format!("{} 1", bob())).unwrap();
            assert_eq!(report.json["nonce"], 0, "{}", report.text);
            ledgers[0].lock().unwrap().mempool.clear();
        }
    }

    /// Whoever is told of a payment alone can neither keep it for later nor keep those after it waiting.
    #[test]
    fn no_single_node_holds_a_payment_back() {
        let (ledgers, dir) = (apart(3), setup().1);
        let nodes: Vec<FakeNode> = ledgers.iter().map(node).collect();
        let all: Vec<&FakeNode> = nodes.iter().collect();
        let first = pay_at(&all[..1], dir.path(), &format!("{} 1", bob())).unwrap();
        // It hides the payment: the next one takes the same nonce, so that only one of both can be made.
        let hiding = node_with(&ledgers[0], |method, value| match method {
            "mempool_list" => value["transactions"] = json!([]),
            "account_get" => value["pending_nonce"] = json!(0),
            _ => {}
        });
        let second = pay_at(&[&hiding, all[1]], dir.path(), &format!("{} 2", bob())).unwrap();
        assert_eq!((&first.json["nonce"], &second.json["nonce"]), (&json!(0), &json!(0)));
        // Seen at one node, it goes to all together with the one after it.
        ledgers[0].lock().unwrap().mempool.clear();
        let third = pay_at(&all, dir.path(), &format!("{} 3", bob())).unwrap();
        assert_eq!(third.json["nonce"], 1);
        assert_eq!(ledgers.iter().map(nonces).collect::<Vec<_>>(), [[0, 1]; 3]);
    }

    /// Its words reach the terminal without what could move the cursor.
    #[test]
    fn a_node_that_does_not_say_what_waits_is_named_and_must_not_be_the_only_one() {
        let (ledgers, dir) = (apart(2), setup().1);
        let ledger = Arc::clone(&ledgers[0]);
        let mute = FakeNode::start(move |method, params| match method {
            "mempool_list" => Err((ErrorCode::Busy, "\u{1b}[2Jlater\n".into())),
            _ => ledger.lock().unwrap().answer(method, params),
        });
        let report = pay_at(&[&mute, &node(&ledgers[1])], dir.path(), &format!("{} 1", bob())).unwrap();
        assert!(report.text.contains(&format!("ignored: {}/rpc does not say what waits", mute.url)), "{}", report.text);
        assert!(report.text.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", report.text);
        let failure = pay_at(&[&mute], dir.path(), &format!("{} 1", bob())).unwrap_err();
        assert_eq!(failure.code, ExitCode::Unreachable, "{failure}");
    }

    #[test]
    fn one_node_that_takes_it_is_enough_and_the_others_are_named() {
        let (ledgers, dir) = (apart(2), setup().1);
        let ledger = Arc::clone(&ledgers[0]);
        let refusing = FakeNode::start(move |method, params| match method {
            "tx_submit" => Err((ErrorCode::MempoolFull, "no room".into())),
            _ => ledger.lock().unwrap().answer(method, params),
        });
        let report = pay_at(&[&refusing, &node(&ledgers[1])], dir.path(), &format!("{} 1", bob())).unwrap();
        assert!(report.text.contains(&format!("not taken: {}/rpc", refusing.url)), "{}", report.text);
        assert_eq!((nonces(&ledgers[1]), &report.json["nodes"][0]["verdict"]), (vec![0], &json!("agrees")));
    }

    /// Where one may have it and says nothing, the other's refusal is no reason to pay again.
    #[test]
    fn a_refusal_does_not_hide_what_may_have_been_sent() {
        for answers in [[ErrorCode::TimedOut, ErrorCode::MempoolFull], [ErrorCode::MempoolFull, ErrorCode::TimedOut]] {
            let (ledgers, dir) = (apart(2), setup().1);
            let nodes = [0, 1].map(|index: usize| {
                let (ledger, code) = (Arc::clone(&ledgers[index]), answers[index]);
                FakeNode::start(move |method, params| match method {
                    "tx_submit" => Err((code, "no".into())),
                    _ => ledger.lock().unwrap().answer(method, params),
                })
            });
            let failure = pay_at(&nodes.each_ref(), dir.path(), &format!("{} 1", bob())).unwrap_err();
            assert_eq!(failure.code, ExitCode::Unreachable, "{failure}");
            assert!(
                failure.message.contains("may have been sent, but") && failure.message.contains("-32017"),
                "{failure}"
            );
        }
    }

    /// Nor is silence of one to which it was not even offered, because it answered no more to what has to come before.
    #[test]
    fn silence_does_not_hide_what_may_have_been_sent() {
        let (ledgers, dir) = (apart(2), setup().1);
        pay(&node(&ledgers[1]), dir.path(), &format!("{} 1", bob())).unwrap();
        let nodes = [0, 1].map(|index: usize| {
            let ledger = Arc::clone(&ledgers[index]);
            FakeNode::start(move |method, params| match method {
                "tx_submit" if index == 0 => {
                    thread::sleep(Duration::from_secs(60));
                    Err((ErrorCode::Stopping, "late".into()))
                }
                "tx_submit" => Err((ErrorCode::TimedOut, "no".into())),
                _ => ledger.lock().unwrap().answer(method, params),
            })
        });
        let failure = pay_at(&nodes.each_ref(), dir.path(), &format!("{} 2 --timeout 1", bob())).unwrap_err();
        assert_eq!(failure.code, ExitCode::Unreachable, "{failure}");
        assert!(failure.message.contains("may have been sent, but"), "{failure}");
    }

    /// A node that says once that it is busy is asked again.
    #[test]
    fn waiting_outlasts_a_busy_node() {
        let (ledger, dir) = setup();
        let (miner, asked) = (Arc::clone(&ledger), AtomicBool::new(false));
        let node = FakeNode::start(move |method, params| match method {
            "tx_get" if !asked.swap(true, Ordering::Relaxed) => {
                miner.lock().unwrap().mine(1, 1);
                Err((ErrorCode::Busy, "later".into()))
            }
            _ => miner.lock().unwrap().answer(method, params),
        });
        let report = pay(&node, dir.path(), &format!("{} 5 --wait --timeout 60", bob())).unwrap();
        assert_eq!(report.json["block"]["height"], json!(3));
    }

    #[test]
    fn the_fee_is_the_median_of_the_nodes() {
        for (rates, expected) in [
            (vec![1000, u64::MAX, 2000], 2000),
            (vec![0, 1000, 2000], 1000),
            (vec![1000, 3000], 3000),
            (vec![0, 0, 1000, 5000, 6000], 1000),
        ] {
            let (ledgers, dir) = (apart(rates.len()), setup().1);
            for (ledger, rate) in ledgers.iter().zip(&rates) {
                ledger.lock().unwrap().min_fee_rate = Amount(*rate);
            }
            let nodes: Vec<FakeNode> = ledgers.iter().map(node).collect();
            let report = pay_at(&nodes.iter().collect::<Vec<_>>(), dir.path(), &format!("{} 1", bob())).unwrap();
            assert_eq!(report.json["fee"], json!((expected * 160_u64 / 1000).to_string()), "{rates:?}");
        }
    }

    /// Else it would be waited for as often as it lists payments.
    #[test]
    fn a_node_that_falls_silent_is_waited_for_once() {
        let (ledgers, dir) = (apart(2), setup().1);
        pay(&node(&ledgers[0]), dir.path(), &format!("{} 1", bob())).unwrap();
        // One that answers until it is asked for what it listed, and no more from then on.
        let silent = || {
            let ledger = Arc::clone(&ledgers[0]);
            FakeNode::start(move |method, params| {
                if method == "tx_get" {
                    thread::sleep(Duration::from_secs(60));
                }
                let mut answer = ledger.lock().unwrap().answer(method, params)?;
                if method == "mempool_list" {
                    answer["transactions"] = vec![answer["transactions"][0].clone(); 30].into();
                }
                Ok(answer)
            })
        };
        let (alone, other, start) = (silent(), node(&ledgers[1]), Instant::now());
        let failure = pay(&alone, dir.path(), &format!("{} 2 --timeout 1", bob())).unwrap_err();
        assert_eq!(failure.code, ExitCode::Unreachable, "{failure}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        // Beside another it is named, with what it claims, and asked no more.
        let (beside, start) = (silent(), Instant::now());
        let report = pay_at(&[&beside, &other], dir.path(), &format!("{} 2 --timeout 1", bob())).unwrap();
        for what in ["does not say what waits", "says that the next nonce is 1"] {
            assert!(report.text.contains(&format!("ignored: {}/rpc {what}", beside.url)), "{}", report.text);
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }

    /// While one payment is waited for, another one with its nonce is made: which of both counts is proved.
    #[test]
    fn waiting_ends_once_another_payment_took_the_nonce() {
        let (ledgers, dir) = (apart(2), setup().1);
        let key = SecretKey::dev(0);
        let (from, to, fee) = (key.account(), SecretKey::dev(2).account(), Amount(9000));
        let body = TransactionBody { from, to, amount: Amount(700_000_000), fee, nonce: 0, memo: Memo::default() };
        let other = body.sign(&dev_params().chain_id(), &key);
        // One node goes on saying that the first one waits, and shows nothing else.
        for lies in [false, true] {
            ledgers.iter().for_each(|ledger| *ledger.lock().unwrap() = Ledger::new(dev_params()));
            let (shared, made) = (ledgers.clone(), other.clone());
            let mining = thread::spawn(move || {
                while shared.iter().any(|ledger| ledger.lock().unwrap().mempool.is_empty()) {
                    thread::sleep(Duration::from_millis(10));
                }
                for ledger in &shared {
                    let mut ledger = ledger.lock().unwrap();
                    ledger.mempool = vec![made.clone()];
                    ledger.mine(1, 1);
                }
            });
            let stubborn = Arc::clone(&ledgers[0]);
            let first = FakeNode::start(move |method, params| {
                let mut ledger = stubborn.lock().unwrap();
                match (method, lies && ledger.height() > 0) {
                    ("tx_get", true) => Err((ErrorCode::NotHeld, "no index".into())),
                    ("account_history", true) => Err((ErrorCode::NotHeld, "no index".into())),
                    // What is handed in again is refused, as a real node would.
                    ("tx_submit", _) if ledger.height() > 0 => Err((ErrorCode::NonceUsed, "used".into())),
                    _ => ledger.answer(method, params),
                }
            });
            let honest = Arc::clone(&ledgers[1]);
            let second = FakeNode::start(move |method, params| {
                let mut ledger = honest.lock().unwrap();
                match method {
                    "tx_submit" if ledger.height() > 0 => Err((ErrorCode::NonceUsed, "used".into())),
                    _ => ledger.answer(method, params),
                }
            });
            let line = format!("{} 5 --wait --timeout 60", bob());
            let failure = pay_at(&[&first, &second], dir.path(), &line).unwrap_err();
            mining.join().unwrap();
            assert_eq!(failure.code, ExitCode::Refused);
            assert!(failure.message.contains(&format!("by payment {} of 7 stones", other.txid())), "{failure}");
            assert!(failure.next.contains(&format!("receipt {}", other.txid())), "{failure}");
        }
    }

    /// A node that says for ever that a payment waits is not waited for beyond the time, and the truth is then looked for.
    #[test]
    fn giving_up_looks_at_the_nonce_first() {
        let (ledger, dir) = setup();
        let stubborn = node_with(&ledger, |method, value| {
            if method == "tx_get" {
                value["status"] = json!("pending");
            }
        });
        let miner = Arc::clone(&ledger);
        let mining = thread::spawn(move || {
            while miner.lock().unwrap().mempool.is_empty() {
                thread::sleep(Duration::from_millis(10));
            }
            miner.lock().unwrap().mine(1, 1);
        });
        let report = pay(&stubborn, dir.path(), &format!("{} 5 --wait --timeout 2", bob())).unwrap();
        mining.join().unwrap();
        assert_eq!(report.json["block"]["height"], 3);
    }

    #[test]
    fn the_nodes_refusal_is_passed_on() {
        for (code, exit, next) in [
            (ErrorCode::MempoolFull, ExitCode::Refused, "the node advises: the node's advice"),
            (ErrorCode::Busy, ExitCode::Refused, "the node advises: the node's advice"),
            (ErrorCode::FeeTooLow, ExitCode::Refused, "leave out --fee"),
            (ErrorCode::TimedOut, ExitCode::Unreachable, "to pay again, drystone-wallet sign --nonce 0"),
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
