//! `history`: what an account paid, received and earned, with the balance after each, and what still waits.
//!
//! A node lists it and nothing proves a list complete. But what it adds up to is proved, and how many payments it must hold: the
//! balance and the nonce. Who paid, and pairs that cancel out, are the node's word; a receipt proves a single payment.

use std::collections::BTreeMap;

use drystone_core::amount::Amount;
use drystone_core::api::{AccountEvent, AccountHistory, AccountRole, MempoolEntry, TransactionFields};
use drystone_core::key::AccountId;
use serde_json::{Value, json};

use super::Report;
use crate::account;
use crate::chain::Chain;
use crate::cli::Options;
use crate::error::{ExitCode, Failure};
use crate::headers::Headers;
use crate::nodes;
use crate::rpc::Client;
use crate::seen::{self, Mark, Memory};
use crate::waiting;

/// How often the tip may move while the pages are read.
const MAX_TRIES: u32 = 5;
/// The longest history that is read, in pages.
const MAX_PAGES: usize = 1_000;
/// Entries of one page.
const PAGE: u64 = 100;

/// An entry, and the balance once it counts.
struct Line {
    event: AccountEvent,
    /// Nothing while a reward has not matured.
    balance: Option<Amount>,
}

/// Prints the newest `limit` entries of `address`, or of the account that the flags select.
pub(crate) fn run(options: &Options, address: Option<&str>, limit: usize) -> Result<Report, Failure> {
    let mut client = Client::new(&options.nodes(), options.timeout())?;
    let chain = Chain::of_node(options, &mut client)?;
    let account = account::named_or_own(options, address, &chain)?;
    let address = account::address(&account, &chain);
    let directory = options.data_dir()?;
    let mut headers = Headers::load(&chain, &directory);
    for _ in 0..MAX_TRIES {
        let proved = nodes::prove(&mut client, &mut headers, &account)?;
        let Some(events) = entries(&mut client, &address, &proved)? else { continue };
        let contradicts =
            |event: &&AccountEvent| headers.hash_at(event.height).is_some_and(|hash| hash != event.block_hash);
        if let Some(event) = events.iter().find(contradicts) {
            return Err(false_list(format!("at height {} the checked chain has another block", event.height)));
        }
        let lines = running(events, &account, &chain, proved.tip.height()).map_err(false_list)?;
        let last = lines.iter().rev().find_map(|line| line.balance).unwrap_or(allocation(&account, &chain));
        if last != proved.account.balance {
            let (last, balance) = (last.to_stones(), proved.account.balance.to_stones());
            return Err(false_list(format!("it comes to {last} stones, and {balance} are proved")));
        }
        let paid = lines.iter().filter(|line| matches!(line.event.role, AccountRole::Paid | AccountRole::PaidItself));
        let paid: Vec<&TransactionFields> = paid.filter_map(|line| line.event.transaction.as_ref()).collect();
        if paid.len() as u64 != proved.account.nonce {
            return Err(false_list(format!("it has {} payments, and {} are proved", paid.len(), proved.account.nonce)));
        }
        if let Some((nonce, _)) = (0..).zip(&paid).find(|(nonce, paid)| *nonce != paid.nonce) {
            return Err(false_list(format!("its payments are not in the order of their nonces, from {nonce} on")));
        }
        let waiting = waiting::shown(&mut client, &account, proved.account.nonce, &chain)?;
        let mut reorganised = (Vec::new(), 0);
        if headers.heavier().is_none() {
            let confirmed = seen::payments(lines.iter().map(|line| &line.event));
            let waiting: Vec<_> = waiting.iter().map(|entry| entry.transaction.clone()).collect();
            let memory = Memory::load(&chain, &account, &directory, headers.hash_at(1));
            reorganised = memory.marks(&mut client, &headers, &address, &confirmed, &waiting, limit)?;
            // What was not told stays as it was, to be told.
            if reorganised.1 == 0 {
                memory.keep(confirmed, &reorganised.0, proved.tip.height());
            }
        }
        return Ok(report(&address, &proved, &lines, &waiting, &reorganised, limit));
    }
    let what = format!("the node's chain changed {MAX_TRIES} times while it was read");
    Err(Failure::new(ExitCode::BadAnswer, what, "run the command again, or ask another node with --rpc URL"))
}

fn false_list(what: String) -> Failure {
    let what = format!("the node's list is incomplete or false: {what}");
    Failure::new(ExitCode::BadAnswer, what, "ask another node with --rpc URL")
}

/// All entries of the main chain up to the proved tip, oldest first; nothing where the node has moved on meanwhile.
fn entries(client: &mut Client, address: &str, proved: &nodes::Proved) -> Result<Option<Vec<AccountEvent>>, Failure> {
    let (mut cursor, mut all): (Option<String>, Vec<AccountEvent>) = (None, Vec::new());
    for _ in 0..MAX_PAGES {
        let page: AccountHistory = client.call("account_history", (address, &cursor, PAGE))?;
        if page.hash != proved.tip.hash() {
            return Ok(None);
        }
        if page.entries.len() as u64 > PAGE {
            return Err(false_list(format!("a page has {} entries, not {PAGE}", page.entries.len())));
        }
        all.extend(page.entries);
        if page.next.is_none() {
            all.reverse();
            return Ok(Some(all));
        }
        cursor = page.next;
    }
    let what = format!("the history has more than {MAX_PAGES} pages of {PAGE} entries, more than this command reads");
    Err(Failure::new(ExitCode::BadAnswer, what, "read it page by page with the RPC method account_history"))
}

/// What genesis gave the account.
fn allocation(account: &AccountId, chain: &Chain) -> Amount {
    let own = chain.params.allocations.iter().find(|allocation| allocation.account == *account);
    own.map_or(Amount::ZERO, |allocation| allocation.amount)
}

/// The entries, oldest first, each with the balance after it. A reward counts when it matures, and stands there.
///
/// # Errors
/// What is wrong with an entry by itself.
fn running(events: Vec<AccountEvent>, account: &AccountId, chain: &Chain, tip: u64) -> Result<Vec<Line>, String> {
    // Within a block transfers come first, in their order, and then what matures.
    let mut ordered = BTreeMap::new();
    for (place, event) in events.into_iter().enumerate() {
        check(&event, account, chain, tip)?;
        let counts_at = event.matures.unwrap_or(event.height);
        ordered.insert((counts_at, event.matures.is_some(), place), event);
    }
    let mut balance = allocation(account, chain);
    let mut lines = Vec::with_capacity(ordered.len());
    for ((counts_at, ..), event) in ordered {
        if counts_at > tip {
            lines.push(Line { event, balance: None });
            continue;
        }
        let (amount, fee) = event.transaction.as_ref().map_or_else(Default::default, |paid| (paid.amount, paid.fee));
        let after = match event.role {
            AccountRole::Earned => balance.checked_add(event.reward.unwrap_or(Amount::ZERO)),
            AccountRole::Received => balance.checked_add(amount),
            AccountRole::Paid => amount.checked_add(fee).and_then(|spent| balance.checked_sub(spent)),
            AccountRole::PaidItself => balance.checked_sub(fee),
        };
        balance = after.ok_or_else(|| format!("at height {} it adds up to no balance", event.height))?;
        lines.push(Line { event, balance: Some(balance) });
    }
    Ok(lines)
}

/// Whether an entry is what its role says, of this account, and of a block that exists.
fn check(event: &AccountEvent, account: &AccountId, chain: &Chain, tip: u64) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("an entry at height {} {what}", event.height));
    if event.height > tip || event.confirmations != tip - event.height + 1 {
        return wrong("counts its confirmations wrongly");
    }
    let matures = (event.role == AccountRole::Earned).then(|| event.height + chain.params.maturity);
    if event.matures != matures || event.reward.is_some() != matures.is_some() {
        return wrong("is no reward, or matures at another time");
    }
    let parties = match (&event.transaction, event.role) {
        (None, AccountRole::Earned) => return Ok(()),
        (Some(paid), _) => [&paid.from, &paid.to].map(|text| account::parse(text, chain).ok()),
        (None, _) => [None, None],
    };
    let [Some(from), Some(to)] = parties else { return wrong("names no addresses of this chain") };
    let role = match (from == *account, to == *account) {
        (true, true) => Some(AccountRole::PaidItself),
        (true, false) => Some(AccountRole::Paid),
        (false, true) => Some(AccountRole::Received),
        (false, false) => None,
    };
    if role == Some(event.role) { Ok(()) } else { wrong("has another role than its addresses give it") }
}

fn report(
    address: &str,
    proved: &nodes::Proved,
    lines: &[Line],
    waiting: &[MempoolEntry],
    (marks, more): &(Vec<Mark>, usize),
    limit: usize,
) -> Report {
    let mut text = format!(
        "{} stones at {address}, height {}, {} entries, newest first\n",
        proved.account.balance.to_stones(),
        proved.tip.height(),
        lines.len()
    );
    for mark in marks {
        text += &mark.text();
        text.push('\n');
    }
    if *more > 0 {
        text += &format!("{more} more reorganised ones: see them with --limit {}\n", marks.len() + more);
    }
    for entry in waiting {
        let MempoolEntry { transaction, score, .. } = entry;
        let gap = if score.is_some() { "" } else { ", for one with a lower nonce" };
        text += &format!(
            "waits{gap}: pays {} to {}, fee {}, nonce {}, txid {}\n",
            transaction.amount.to_stones(),
            transaction.to,
            transaction.fee.to_stones(),
            transaction.nonce,
            transaction.txid
        );
    }
    for line in lines.iter().rev().take(limit) {
        text += &describe(line);
        text.push('\n');
    }
    if lines.len() > limit {
        text += &format!("{} older ones: see them with --limit {}\n", lines.len() - limit, lines.len());
    }
    if waiting.iter().any(|entry| entry.score.is_none()) {
        text += "a payment that waits for a lower nonce goes on once that is sent: drystone-wallet send\n";
    } else if !waiting.is_empty() {
        text += "what waits can be hastened or taken back: drystone-wallet bump TXID, drystone-wallet cancel TXID\n";
    }
    text += "checked: the list adds up to the proved balance, with as many payments as are proved\n\
             not checked: who paid, and what cancels out; drystone-wallet receipt TXID proves a payment";
    text += &proved.text();
    let entries: Vec<Value> = lines.iter().rev().take(limit).map(json_of).collect();
    let json = json!({
        "address": address,
        "balance": proved.account.balance,
        "height": proved.tip.height(),
        "hash": proved.tip.hash(),
        "reorganised": marks.iter().map(Mark::json).collect::<Vec<Value>>(),
        "waiting": waiting,
        "entries": entries,
        "older": lines.len().saturating_sub(limit),
        "heavier_height": proved.heavier,
        "nodes": proved.json(),
        "verified": "the entries add up to balance and nonce, which are proved under a header chain checked from genesis",
        "not_verified": "who paid, and entries that cancel each other out",
    });
    Report { text, json }
}

fn json_of(Line { event, balance }: &Line) -> Value {
    let mut value = json!(event);
    value["balance"] = json!(balance);
    value
}

fn describe(Line { event, balance }: &Line) -> String {
    let AccountEvent { height, confirmations, role, reward, matures, transaction, .. } = event;
    let what = match (role, transaction) {
        (AccountRole::Received, Some(paid)) => format!("+{} from {}", paid.amount.to_stones(), paid.from),
        (AccountRole::Paid, Some(paid)) => {
            format!("-{} to {}, fee {}", paid.amount.to_stones(), paid.to, paid.fee.to_stones())
        }
        (AccountRole::PaidItself, Some(paid)) => format!("paid itself, fee {}", paid.fee.to_stones()),
        _ => format!("+{} earned by mining", reward.unwrap_or(Amount::ZERO).to_stones()),
    };
    let after = match balance {
        Some(balance) => format!("balance {}", balance.to_stones()),
        None => format!("matures at height {}", matures.unwrap_or(*height)),
    };
    let txid = transaction.as_ref().map_or(String::new(), |paid| format!(", txid {}", paid.txid));
    format!("block {height}, {confirmations} confirmation(s): {what}; {after}{txid}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeNode, Ledger, command, node, node_with};
    use drystone_core::genesis::dev_params;
    use drystone_core::key::SecretKey;
    use drystone_core::transaction::{Memo, TransactionBody};
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    /// The account that `mine(_, 7)` rewards.
    const MINER: AccountId = AccountId([7; 32]);

    fn pay(ledger: &Arc<Mutex<Ledger>>, from: u8, to: AccountId, amount: u64, nonce: u64) {
        let (mut ledger, key) = (ledger.lock().unwrap(), SecretKey::dev(from));
        let (amount, fee) = (Amount(amount), Amount(160));
        let body = TransactionBody { from: key.account(), to, amount, fee, nonce, memo: Memo::default() };
        let transaction = body.sign(&ledger.chain.id, &key);
        ledger.mempool.push(transaction);
    }

    fn history(node: &FakeNode, directory: &Path, account: AccountId, limit: usize) -> Result<Report, Failure> {
        let options = command(node, directory, "history").options;
        run(&options, Some(&account::address(&account, &Chain::from(dev_params()))), limit)
    }

    /// Account 0 pays often enough for several pages, receives, pays itself, and earns.
    fn busy() -> (Arc<Mutex<Ledger>>, tempfile::TempDir) {
        let ledger = Ledger::shared(dev_params());
        for nonce in 0..130 {
            pay(&ledger, 0, if nonce % 9 == 0 { SecretKey::dev(0).account() } else { MINER }, 1_000_000 + nonce, nonce);
            ledger.lock().unwrap().mine(1, 7);
        }
        pay(&ledger, 1, SecretKey::dev(0).account(), 77_000_000, 0);
        ledger.lock().unwrap().mine(1, 7);
        pay(&ledger, 0, MINER, 5_000_000, 130);
        (ledger, tempfile::tempdir().unwrap())
    }

    #[test]
    fn what_is_listed_adds_up_to_what_is_proved() {
        let (ledger, dir) = busy();
        let node = node(&ledger);
        let report = history(&node, dir.path(), SecretKey::dev(0).account(), 3).unwrap();
        assert_eq!((report.json["entries"].as_array().unwrap().len(), &report.json["older"]), (3, &json!(128)));
        assert_eq!(report.json["entries"][0]["balance"], report.json["balance"]);
        assert_eq!(report.json["entries"][0]["role"], "received");
        let before: u64 = report.json["entries"][1]["balance"].as_str().unwrap().parse().unwrap();
        assert_eq!(report.json["balance"], json!((before + 77_000_000).to_string()));
        assert_eq!(report.json["waiting"][0]["nonce"], 130);
        assert!(report.text.contains("+0.77 from tdry1") && report.text.contains("bump TXID"), "{}", report.text);

        // Rewards count when they mature, and those to come are shown without a balance.
        let report = history(&node, dir.path(), MINER, 1000).unwrap();
        let entries = report.json["entries"].as_array().unwrap();
        let immature = entries.iter().filter(|entry| entry["balance"].is_null()).count() as u64;
        assert_eq!(immature, dev_params().maturity);
        assert!(report.text.contains("matures at height 141"), "{}", report.text);
        let stranger = history(&node, dir.path(), AccountId([9; 32]), 3).unwrap();
        assert_eq!((&stranger.json["balance"], &stranger.json["entries"]), (&json!("0"), &json!([])));
    }

    /// What is in a block does not wait, however truly it is signed, and nothing waits twice.
    #[test]
    fn what_is_made_already_or_listed_twice_is_not_shown_as_waiting() {
        let (ledger, dir) = busy();
        let made = ledger.lock().unwrap().blocks[130].body.transactions[0].txid();
        let liar = node_with(&ledger, move |method, value| {
            if method == "mempool_list" {
                let entries = value["transactions"].as_array_mut().unwrap();
                let waiting = entries[0].clone();
                entries[0]["txid"] = json!(made);
                entries.extend([waiting.clone(), waiting]);
            }
        });
        let report = history(&liar, dir.path(), SecretKey::dev(0).account(), 3).unwrap();
        let waiting = report.json["waiting"].as_array().unwrap();
        assert_eq!(waiting.iter().map(|entry| &entry["nonce"]).collect::<Vec<_>>(), [&json!(130)], "{}", report.text);
    }

    #[test]
    fn a_list_that_lacks_an_entry_or_has_another_amount_is_refused() {
        let (ledger, dir) = busy();
        let change: [fn(&mut Value); 10] = [
            |value| {
                let entries = value["entries"].as_array_mut().unwrap();
                let more = vec![entries[0].clone(); PAGE as usize];
                entries.extend(more);
            },
            |value| value["entries"][1]["transaction"]["nonce"] = json!(7),
            |value| {
                let entry = &mut value["entries"][0];
                (entry["transaction"], entry["reward"]) = (Value::Null, json!("77000000"));
            },
            |value| value["entries"][0]["confirmations"] = json!(90),
            |value| value["entries"][0]["transaction"]["from"] = json!("x\nblock 9: +1000"),
            |value| value["entries"][0]["transaction"]["from"] = value["address"].clone(),
            |value| {
                let mut twice = value["entries"][0].clone();
                twice["transaction"]["amount"] = json!("18446744073632551616");
                value["entries"].as_array_mut().unwrap().insert(0, twice);
            },
            |value| {
                value["entries"].as_array_mut().unwrap().remove(0);
            },
            |value| value["entries"][0]["transaction"]["amount"] = json!("77000001"),
            |value| value["entries"][0]["role"] = json!("paid"),
        ];
        for change in change {
            let liar = node_with(&ledger, move |method, value| {
                if method == "account_history" {
                    change(value);
                }
            });
            let failure = history(&liar, dir.path(), SecretKey::dev(0).account(), 3).unwrap_err();
            assert_eq!(failure.code, ExitCode::BadAnswer);
            assert!(failure.message.contains("incomplete or false"), "{failure}");
        }
    }
}
