//! The RPC of the real program: what it answers, and what it survives.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use std::{fs, thread};

use drystone_core::address::encode_address;
use drystone_core::amount::Amount;
use drystone_core::api::{
    AccountInfo, AccountProof, BanInfo, BlockReply, ErrorCode, HeaderInfo, Hex, MempoolPage, MiningTemplate, NodeInfo,
    TipInfo, TransactionInfo, TransactionStatus,
};
use drystone_core::block::{Block, Header};
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::hash::BlockHash;
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::miner::{Control, Job, Kernel, mine};
use drystone_core::state::{Leaf, StateKey};
use drystone_core::transaction::{Memo, Transaction, TransactionBody};
use drystone_node::engine::limits::KEPT_TIP_WORKS;
use drystone_tests::chain::TestChain;
use drystone_tests::program::{Node, Response, eventually, program, read_response, run};
use drystone_tests::scrape::Scrape;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json, to_value};
use tempfile::TempDir;

/// Connections that a node serves at once for which the system opens so many files: all but 512.
const FILES: usize = 576;
const CONNECTIONS: usize = FILES - 512;

/// A development node that mines only when it is told to.
fn node() -> (TempDir, Node) {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    (root, node)
}

fn get<T: DeserializeOwned>(node: &Node, method: &str, params: Value) -> T {
    let result = node.call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"));
    from_value(result).unwrap_or_else(|error| panic!("{method}: {error}"))
}

/// The code of the refusal, once it is certain that it is one line and says what to do next.
fn refusal(node: &Node, method: &str, params: Value) -> (ErrorCode, String) {
    let error = node.call(method, params.clone()).expect_err(&format!("{method} {params}"));
    refusal_of(&error)
}

fn refusal_of(error: &Value) -> (ErrorCode, String) {
    let code = ErrorCode::from_number(error["code"].as_i64().unwrap() as i32).expect("a documented code");
    assert_eq!(error["data"]["name"], code.name(), "{error}");
    for text in [&error["message"], &error["data"]["next"]] {
        let text = text.as_str().unwrap();
        assert!(!text.is_empty() && !text.contains(char::is_control) && text.len() < 400, "{error}");
    }
    let message = error["message"].as_str().unwrap().to_owned();
    assert!(!message.to_lowercase().contains("internal error"), "{error}");
    (code, message)
}

fn refusal_in(response: &Response) -> ErrorCode {
    let reply: Value = serde_json::from_str(&response.body).expect(&response.body);
    refusal_of(&reply["error"]).0
}

fn address(index: u8) -> String {
    encode_address("tdry", &SecretKey::dev(index).account())
}

fn payment(from: u8, to: &AccountId, amount: u64, fee: u64, nonce: u64) -> Transaction {
    let key = SecretKey::dev(from);
    let (from, amount, fee, memo) = (key.account(), Amount(amount), Amount(fee), Memo::default());
    TransactionBody { from, to: *to, amount, fee, nonce, memo }.sign(&dev_params().chain_id(), &key)
}

fn raw(transaction: &Transaction) -> Value {
    json!([hex::encode(encode(transaction))])
}

fn info_request() -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "node_info" }).to_string().into_bytes()
}

fn is_alive(node: &Node) -> bool {
    node.post(&[], &info_request()).status == 200
}

#[test]
fn a_payment_is_pending_then_confirmed_and_proved() {
    let (_root, node) = node();
    let to = AccountId([9; 32]);
    let transaction = payment(0, &to, 5_000_000, 1_000, 0);
    let txid = transaction.txid();
    assert_eq!(node.call("tx_submit", raw(&transaction)), Ok(json!(txid)));
    assert_eq!(node.call("tx_submit", raw(&transaction)), Ok(json!(txid)), "submitting again changes nothing");
    let pending: TransactionInfo = get(&node, "tx_get", json!([txid]));
    assert_eq!((pending.status, pending.raw), (TransactionStatus::Pending, Hex(transaction.clone())));
    let account: AccountInfo = get(&node, "account_get", json!([address(0)]));
    assert_eq!((account.nonce, account.pending_nonce), (0, 1));

    let hashes: Vec<BlockHash> = get(&node, "mining_generate", json!([3, address(1)]));
    assert_eq!(hashes.len(), 3);
    let confirmed: TransactionInfo = get(&node, "tx_get", json!([txid]));
    let expected = TransactionStatus::Confirmed { height: 1, block_hash: hashes[0], index: 0, confirmations: 3 };
    assert_eq!(confirmed.status, expected);
    let miner: AccountInfo = get(&node, "account_get", json!([address(1)]));
    assert_eq!(miner.immature, Amount(3 * 2_000_000_000 + 1_000));

    let proof: AccountProof = get(&node, "account_proof", json!([encode_address("tdry", &to)]));
    let header = proof.header.0;
    assert_eq!((header.hash(), proof.hash, proof.height), (hashes[2], hashes[2], 3));
    assert_eq!(proof.account.balance, Amount(5_000_000));
    let proved = proof.proof.0.verify(&header.state_root, &StateKey::account(&to));
    assert_eq!(proved, Ok(Some(Leaf::Account(proof.account))));
    let absent: AccountProof = get(&node, "account_proof", json!([encode_address("tdry", &AccountId([8; 32]))]));
    assert_eq!(absent.proof.0.verify(&header.state_root, &StateKey::account(&AccountId([8; 32]))), Ok(None));
}

#[test]
fn blocks_are_found_by_height_and_hash_and_come_whole() {
    let (_root, node) = node();
    let hashes: Vec<BlockHash> = get(&node, "mining_generate", json!([5, address(0)]));
    let genesis = dev_params().genesis_block();
    let first: HeaderInfo = get(&node, "chain_header", json!([0]));
    assert_eq!((first.hash, first.raw.0, first.confirmations), (dev_params().chain_id(), genesis.header, Some(6)));
    let head: HeaderInfo = get(&node, "chain_head", json!([]));
    assert_eq!((head.hash, head.height, head.confirmations), (hashes[4], 5, Some(1)));
    let headers: Vec<Hex<Header>> = get(&node, "chain_headers", json!([1, 2000]));
    assert_eq!(headers.iter().map(|header| header.0.hash()).collect::<Vec<_>>(), hashes);
    assert_eq!(get::<Vec<Value>>(&node, "chain_headers", json!([5, 0])).len(), 0);
    let BlockReply::Raw(block) = get(&node, "chain_block", json!([hashes[1], true])) else {
        panic!("raw was asked for")
    };
    assert_eq!(block.0.header.hash(), hashes[1]);
    let BlockReply::Fields(fields) = get(&node, "chain_block", json!([2])) else { panic!("raw was not asked for") };
    assert_eq!((fields.header.hash, fields.bytes), (hashes[1], encode(&block.0).len() as u64));
    let tips: Vec<TipInfo> = get(&node, "chain_tips", json!([]));
    assert_eq!(tips.iter().map(|tip| tip.hash).collect::<Vec<_>>(), [hashes[4]]);
}

#[test]
fn others_can_mine_from_a_template() {
    let (_root, node) = node();
    node.call("tx_submit", raw(&payment(0, &AccountId([9; 32]), 5_000_000, 1_000, 0))).unwrap();
    let template: MiningTemplate = get(&node, "mining_template", json!([address(3)]));
    assert_eq!((template.height, template.reward), (1, Amount(2_000_001_000)));
    let block = template.block.0;
    assert_eq!(block.body.transactions.len(), 1);
    let job = Job::new(block.header).unwrap();
    assert_eq!(template.target, BlockHash(job.target.value().to_le_bytes()));
    let control = Control { cancelled: &|| false, clock: &|| template.time, hashes: &AtomicU64::new(0) };
    let header = mine(&job, Kernel::PORTABLE, 1, &control).unwrap();
    let bad = (0..).map(|nonce| Header { nonce, ..header }).find(|header| !job.target.is_met_by(&header.hash()));
    let submit = |header: Header| json!([hex::encode(encode(&Block { header, body: block.body.clone() }))]);

    assert_eq!(refusal(&node, "mining_submit", submit(bad.unwrap())).0, ErrorCode::LowWork);
    let accepted = json!({ "hash": header.hash(), "status": "connected" });
    assert_eq!(node.call("mining_submit", submit(header)), Ok(accepted));
    assert_eq!(refusal(&node, "mining_submit", submit(header)).0, ErrorCode::DuplicateBlock);
}

#[test]
fn submitted_blocks_make_branches() {
    let (_root, node) = node();
    let mut main = TestChain::new(&dev_params());
    let mut other = main.clone();
    let submit = |node: &Node, block: &Block| node.call("mining_submit", json!([hex::encode(encode(block))]));
    let status = |reply: Result<Value, Value>| reply.unwrap()["status"].as_str().unwrap().to_owned();
    assert_eq!(status(submit(&node, main.extend(&AccountId([1; 32]), vec![]).block())), "connected");
    let beside = other.extend(&AccountId([2; 32]), vec![]);
    assert_eq!(status(submit(&node, beside.block())), "beside");
    let first: HeaderInfo = get(&node, "chain_header", json!([beside.hash()]));
    assert_eq!((first.height, first.confirmations), (1, None));
    assert_eq!(get::<Vec<TipInfo>>(&node, "chain_tips", json!([])).len(), 2);

    let second = other.extend(&AccountId([2; 32]), vec![]);
    let third = other.extend(&AccountId([2; 32]), vec![]);
    let error = submit(&node, third.block()).unwrap_err();
    assert_eq!(refusal_of(&error).0, ErrorCode::BlockNotYet, "its parent is missing");
    assert_eq!(status(submit(&node, second.block())), "connected", "the heavier branch wins");
    assert_eq!(get::<HeaderInfo>(&node, "chain_head", json!([])).hash, second.hash());
}

#[test]
fn the_mempool_is_listed_page_by_page() {
    let (_root, node) = node();
    let mut expected = Vec::new();
    for from in 0..4 {
        for nonce in [0, 1, 3] {
            let transaction = payment(from, &AccountId([9; 32]), 1_000_000, 1_000, nonce);
            node.call("tx_submit", raw(&transaction)).unwrap();
            expected.push((transaction.body.from, nonce, transaction.txid()));
        }
    }
    expected.sort_unstable_by_key(|(from, nonce, _)| (*from, *nonce));
    let mut listed = Vec::new();
    let mut cursor = None;
    loop {
        let page: MempoolPage = get(&node, "mempool_list", json!([cursor, 5]));
        assert!(page.transactions.len() <= 5);
        for entry in page.transactions {
            assert_eq!(entry.score.is_none(), entry.transaction.nonce == 3);
            listed.push(entry.transaction.txid);
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(listed, expected.into_iter().map(|(_, _, txid)| txid).collect::<Vec<_>>());
    let info = node.call("mempool_info", json!([])).unwrap();
    assert_eq!((&info["transactions"], &info["gapped"]), (&json!(8), &json!(4)));
}

#[test]
fn every_bad_parameter_has_its_own_answer() {
    let (_root, node) = node();
    node.call("mining_generate", json!([1, address(0)])).unwrap();
    let (a, other) = (address(0), encode_address("dry", &AccountId([1; 32])));
    let mistyped = a.replace("tdry1d", "tdry1q");
    let unknown = "ab".repeat(32);
    use ErrorCode::*;
    let cases = [
        ("node_info", json!([1]), InvalidParams),
        ("node_info", json!({ "a": 1 }), InvalidParams),
        ("node_info", json!("a"), InvalidParams),
        ("node_information", json!([]), UnknownMethod),
        ("", json!([]), UnknownMethod),
        ("chain_header", json!([]), InvalidParams),
        ("chain_header", json!([null]), InvalidParams),
        ("chain_header", json!([-1]), InvalidParams),
        ("chain_header", json!([1.5]), InvalidParams),
        ("chain_header", json!(["1"]), InvalidParams),
        ("chain_header", json!([unknown.clone() + "ab"]), InvalidParams),
        ("chain_header", json!([[0, 1]]), InvalidParams),
        ("chain_header", json!(["x".repeat(1 << 20)]), InvalidParams),
        ("chain_header", json!([2]), NotFound),
        ("chain_header", json!([u64::MAX]), NotFound),
        ("chain_header", json!([unknown]), NotFound),
        ("chain_headers", json!([0]), InvalidParams),
        ("chain_headers", json!([0, 2001]), InvalidParams),
        ("chain_headers", json!([0, "1"]), InvalidParams),
        ("chain_headers", json!([2, 1]), NotFound),
        ("chain_block", json!([0, "true"]), InvalidParams),
        ("chain_block", json!([0, true, 1]), InvalidParams),
        ("chain_block", json!([99]), NotFound),
        ("tx_get", json!(["00"]), InvalidParams),
        ("tx_get", json!([unknown]), NotFound),
        ("tx_submit", json!([]), InvalidParams),
        ("tx_submit", json!([5]), InvalidParams),
        ("tx_submit", json!([""]), InvalidTransaction),
        ("tx_submit", json!(["xyz"]), InvalidTransaction),
        ("tx_submit", json!(["00".repeat(160)]), InvalidTransaction),
        ("tx_submit", json!(["00".repeat(1_000_000)]), InvalidTransaction),
        ("account_get", json!([]), InvalidParams),
        ("account_get", json!([7]), InvalidParams),
        ("account_get", json!([""]), InvalidAddress),
        ("account_get", json!([mistyped]), InvalidAddress),
        ("account_get", json!([other]), InvalidAddress),
        ("account_proof", json!([other]), InvalidAddress),
        ("mempool_list", json!([5]), InvalidParams),
        ("mempool_list", json!(["x"]), InvalidParams),
        ("mempool_list", json!([format!("{a}/x")]), InvalidParams),
        ("mempool_list", json!([null, 0]), InvalidParams),
        ("mempool_list", json!([null, 501]), InvalidParams),
        ("mining_template", json!([other]), InvalidAddress),
        ("mining_submit", json!(["zz"]), InvalidBlock),
        ("mining_submit", json!(["00".repeat(200)]), InvalidBlock),
        ("mining_set", json!([-1]), InvalidParams),
        ("mining_set", json!([1025]), InvalidParams),
        ("mining_generate", json!([1001, a]), InvalidParams),
        ("mining_generate", json!([1]), InvalidParams),
        ("mining_generate", json!([1, other]), InvalidAddress),
        ("net_peers", json!([1]), InvalidParams),
        ("net_add_peer", json!([]), InvalidParams),
        ("net_add_peer", json!(["node.example:8646"]), InvalidParams),
        ("net_add_peer", json!(["10.0.0.1"]), InvalidParams),
        ("net_add_peer", json!(["/ip4/10.0.0.1/udp/1"]), InvalidParams),
        ("net_add_peer", json!(["x".repeat(1 << 20)]), InvalidParams),
        ("net_ban", json!([]), InvalidParams),
        ("net_ban", json!(["10.0.0.1:1"]), InvalidParams),
        ("net_ban", json!(["node.example"]), InvalidParams),
        ("net_ban", json!(["10.0.0.1", 0]), InvalidParams),
        ("net_ban", json!(["10.0.0.1", -1]), InvalidParams),
        ("net_ban", json!(["10.0.0.1", u64::MAX]), InvalidParams),
        ("net_unban", json!(["10.0.0.0/8"]), InvalidParams),
    ];
    for (method, params, expected) in cases {
        let (code, message) = refusal(&node, method, params.clone());
        let shown: String = params.to_string().chars().take(80).collect();
        assert_eq!(code, expected, "{method} {shown}: {message}");
    }
}

#[test]
fn every_bad_payment_has_its_own_answer() {
    let (_root, node) = node();
    let to = AccountId([9; 32]);
    let good = payment(0, &to, 1_000_000, 1_000, 0);
    node.call("tx_submit", raw(&good)).unwrap();
    let mut forged = good.clone();
    forged.signature.0[40] ^= 1;
    let elsewhere = {
        let key = SecretKey::dev(0);
        TransactionBody { nonce: 1, ..good.body.clone() }.sign(&BlockHash([1; 32]), &key)
    };
    use ErrorCode::*;
    let cases = [
        (forged, InvalidTransaction),
        (elsewhere, InvalidTransaction),
        (payment(0, &to, u64::MAX, 1_000, 1), InvalidTransaction),
        (payment(0, &to, 10_000 * 100_000_000, 1_000, 1), InsufficientBalance),
        (payment(0, &to, 10_000 * 100_000_000 - 1_100_000, 1_000, 1), BelowReserve),
        (payment(0, &AccountId([8; 32]), 1, 1_000, 1), BelowReserve),
        (payment(0, &to, 1_000_000, 1, 1), FeeTooLow),
        (payment(0, &to, 1_000_000, 1_001, 0), ReplacementTooCheap),
        (payment(0, &to, 1_000_000, 1_000, 64), NonceTooFar),
    ];
    for (transaction, expected) in cases {
        let (code, message) = refusal(&node, "tx_submit", raw(&transaction));
        assert_eq!(code, expected, "{message}");
    }
    node.call("mining_generate", json!([1, address(0)])).unwrap();
    assert_eq!(refusal(&node, "tx_submit", raw(&good)).0, NonceUsed);
}

#[test]
fn a_caller_that_leaves_takes_its_call_along() {
    let (_root, node) = node();
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "mining_generate", "params": [1_000, address(1)] }).to_string();
    let mut caller = node.connect().unwrap();
    let head = format!(
        "POST /rpc HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        node.address,
        node.cookie(),
        body.len()
    );
    caller.write_all((head + &body).as_bytes()).unwrap();
    let height = || get::<HeaderInfo>(&node, "chain_head", json!([])).height;
    let mut last = eventually("the first blocks", || Some(height()).filter(|height| *height > 2));
    drop(caller);
    eventually("an end of blocks", || {
        thread::sleep(Duration::from_millis(500));
        let before = std::mem::replace(&mut last, height());
        (before == last).then_some(())
    });
    assert!(last < 1_000, "all {last} blocks were made");
}

#[test]
fn only_the_cookie_changes_the_node() {
    let (_root, node) = node();
    let cookie = node.data_dir.join(".cookie");
    assert_eq!(fs::metadata(&cookie).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(node.cookie().len(), 64);
    for (method, params) in [
        ("mining_set", json!([1])),
        ("mining_generate", json!([1, address(0)])),
        ("net_add_peer", json!(["10.0.0.1:1"])),
        ("net_ban", json!(["10.0.0.1"])),
        ("net_unban", json!(["10.0.0.1"])),
    ] {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        for headers in [vec![], vec![("authorization", "Bearer 00")], vec![("authorization", "Basic Og==")]] {
            let response = node.post(&headers, request.as_bytes());
            assert_eq!(refusal_in(&response), ErrorCode::Unauthorized);
            assert!(response.body.contains(cookie.to_str().unwrap()), "{}", response.body);
        }
        let batch = format!("[{request}]");
        assert!(node.post(&[], batch.as_bytes()).body.contains("unauthorized"));
    }
    let info: NodeInfo = get(&node, "node_info", json!([]));
    assert_eq!((info.height, info.mining.threads), (0, 0), "nothing changed");
    let bans = json!({ "jsonrpc": "2.0", "id": 1, "method": "net_bans" }).to_string();
    let bans: Value = serde_json::from_str(&node.post(&[], bans.as_bytes()).body).unwrap();
    assert_eq!(bans["result"], json!([]), "a list is read without it, and is empty");
    assert_eq!(node.call("mining_set", json!([2])).unwrap()["threads"], json!(2));
}

#[test]
fn pages_of_strangers_are_kept_out() {
    let (_root, node) = node();
    let own = node.address.to_string();
    let local = format!("localhost:{}", node.address.port());
    let request = info_request();
    for host in [own.as_str(), &local, "localhost", "127.0.0.1", "[::1]:1"] {
        assert_eq!(node.post(&[("host", host)], &request).status, 200, "{host}");
    }
    assert_eq!(node.post(&[("origin", &format!("http://{own}"))], &request).status, 200);
    for host in ["evil.example", "localhost.evil.example:8645", "10.1.2.3", "a@127.0.0.1"] {
        for path in ["/rpc", "/ready", "/health", "/", "/elsewhere"] {
            let response = node.request("POST", path, &[("host", host)], &request).unwrap();
            assert_eq!((response.status, response.body.lines().count()), (403, 1), "{host}{path}");
        }
    }
    for origin in ["http://evil.example", "null", "https://localhost"] {
        assert_eq!(node.post(&[("origin", origin)], &request).status, 403, "{origin}");
    }
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
        assert_eq!(node.post(&[("content-type", media_type)], &request).status, 415, "{media_type}");
    }
    assert_eq!(node.post(&[("content-type", "application/json; charset=utf-8")], &request).status, 200);
    for method in ["GET", "PUT", "OPTIONS", "DELETE"] {
        let response = node.request(method, "/rpc", &[("content-type", "application/json")], &request).unwrap();
        assert_eq!(response.status, 405, "{method}");
    }
}

/// A copy that is made while blocks arrive is a ledger of its own, whole and sound.
#[test]
fn a_running_node_copies_its_ledger() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "1"]);
    eventually("a few blocks", || (get::<HeaderInfo>(&node, "chain_head", json!([])).height > 3).then_some(()));
    let data = root.path().join("copied");
    fs::create_dir(&data).unwrap();
    let file = data.join("ledger.redb");
    let command = |arguments: &[&str]| {
        let mut command = program("drystone-node", root.path());
        run(command.args(arguments).arg("--data-dir").arg(&node.data_dir))
    };
    let made = command(&["backup", file.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert!(made.stdout.contains("drystone-node verify"), "{made:?}");
    let again = command(&["backup", file.to_str().unwrap()]);
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("exists already") && again.stderr.contains("name a new file"), "{again:?}");
    let nowhere = command(&["backup", "/no/such/directory/file"]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "no draft is left");
    let (code, _) = refusal(&node, "node_backup", json!(["relative"]));
    assert_eq!(code, ErrorCode::InvalidParams);

    fs::copy(node.data_dir.join("genesis.json"), data.join("genesis.json")).unwrap();
    let mut verify = program("drystone-node", root.path());
    let verified = run(verify.args(["verify", "--data-dir"]).arg(&data));
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.stdout.contains("exactly"), "{verified:?}");
}

#[test]
fn ready_and_health_tell_the_tip() {
    let (_root, node) = node();
    for path in ["/ready", "/health"] {
        let response = node.request("GET", path, &[], &[]).unwrap();
        let body: Value = serde_json::from_str(&response.body).unwrap();
        let (hash, progress) = (dev_params().chain_id(), None::<f64>);
        let expected = json!({
            "phase": "ready", "height": 0, "hash": hash, "headers": 0, "progress": progress, "peers": 0
        });
        assert_eq!((response.status, body), (200, expected));
    }
    assert_eq!(node.request("GET", "/", &[], &[]).unwrap().status, 404);
}

#[test]
fn metrics_follow_what_happens() {
    let (_root, node) = node();
    let scrape = || {
        let started = Instant::now();
        let response = node.request("GET", "/metrics", &[], &[]).unwrap();
        assert!(response.status == 200 && started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        Scrape::read(&response.body)
    };
    let before = scrape();
    assert_eq!((before.value("drystone_chain_height"), before.value("drystone_blocks_connected_total")), (0.0, 0.0));
    assert_eq!(before.value("drystone_engine_answers"), 1.0);
    assert!(before.value("drystone_store_file_bytes") > 0.0 && before.value("drystone_uptime_seconds") > 0.0);
    assert!(before.value("process_resident_memory_bytes") > 1e6 && before.value("process_open_fds") > 3.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - before.value("process_start_time_seconds")).abs() < 60.0);

    for nonce in [0, 2] {
        node.call("tx_submit", raw(&payment(0, &AccountId([9; 32]), 5_000_000, 1_000, nonce))).unwrap();
    }
    let waiting = scrape();
    assert_eq!(waiting.value("drystone_mempool_transactions"), 1.0);
    assert_eq!(waiting.value("drystone_mempool_gapped_transactions"), 1.0);
    assert!(waiting.value("drystone_mempool_bytes") > 100.0);

    node.call("mining_generate", json!([5, address(0)])).unwrap();
    refusal(&node, "chain_header", json!([99]));
    refusal(&node, "no_such_method", json!([]));
    node.call("net_ban", json!(["10.0.0.1"])).unwrap();
    let after = scrape();
    assert_eq!((after.value("drystone_chain_height"), after.value("drystone_blocks_connected_total")), (5.0, 5.0));
    assert!(after.value("drystone_chain_work_hashes") > before.value("drystone_chain_work_hashes"));
    assert!(after.value("drystone_store_commits_total") >= before.value("drystone_store_commits_total") + 5.0);
    let committing = "drystone_engine_commit_call_seconds_count";
    assert!(after.value(committing) >= before.value(committing) + 5.0);
    assert!(after.value("drystone_engine_call_seconds_count") > after.value(committing));
    assert_eq!((after.value("drystone_mempool_transactions"), after.value("drystone_bans")), (0.0, 1.0));
    let calls = |method: &str, outcome: &str| {
        after.labelled("drystone_rpc_requests_total", &[("method", method), ("outcome", outcome)])
    };
    assert_eq!((calls("mining_generate", "ok"), calls("chain_header", "not_found")), (1.0, 1.0));
    assert_eq!(calls("unknown", "unknown_method"), 1.0);
    assert_eq!(after.labelled("drystone_rpc_request_seconds_count", &[("method", "tx_submit")]), 2.0);
    // Another branch wins.
    let mut other = TestChain::new(&dev_params());
    for _ in 0..6 {
        let block = other.extend(&AccountId([2; 32]), vec![]);
        node.call("mining_submit", json!([hex::encode(encode(block.block()))])).unwrap();
    }
    let reorganised = scrape();
    assert_eq!(reorganised.value("drystone_reorganisations_total"), 1.0);
    assert_eq!(reorganised.value("drystone_reorganisation_depth_blocks_sum"), 5.0);
    assert_eq!(reorganised.value("drystone_blocks_disconnected_total"), 5.0);
    assert_eq!(reorganised.value("drystone_blocks_connected_total"), 11.0);
    assert_eq!(node.request("POST", "/metrics", &[], &[]).unwrap().status, 405);
}

#[test]
fn bans_are_made_listed_kept_and_taken_back() {
    let (root, node) = node();
    let drystone = |arguments: &[&str]| run(program("drystone-node", root.path()).args(arguments));
    let data = node.data_dir.to_str().unwrap().to_owned();
    let own = |arguments: &[&str]| drystone(&[arguments, &["--data-dir", &data]].concat());
    let peer = "12D3KooWGmMVvuvkNMovwMKAHVspQJUUYg8uFhwnN6EjkMp8LcKF";

    let banned = own(&["ban", "10.0.0.1", "--for", "12h"]);
    assert_eq!((banned.code, banned.stderr.as_str()), (Some(0), ""), "{banned:?}");
    assert!(banned.stdout.starts_with("banned 10.0.0.1 for 12 h"), "{banned:?}");
    let mapped: BanInfo = get(&node, "net_ban", json!(["::ffff:10.0.0.1", 60]));
    let bans: Vec<BanInfo> = get(&node, "net_bans", json!([]));
    assert_eq!((&mapped.target[..], &bans[..]), ("10.0.0.1", &[mapped.clone()][..]), "the longer ban stands");
    let by_default: BanInfo = get(&node, "net_ban", json!([peer]));
    assert!(by_default.until > mapped.until + 10 * 3_600_000, "a day is longer than twelve hours");
    let network: BanInfo = get(&node, "net_ban", json!(["2001:db8::9", 600,]));
    assert_eq!(network.target, "2001:db8::");
    let (code, message) = refusal(&node, "net_add_peer", json!(["10.0.0.1:8646"]));
    assert!(code == ErrorCode::InvalidParams && message.contains("10.0.0.1 is banned"), "{message}");
    assert_eq!(node.call("net_add_peer", json!(["10.0.0.2:8646"])), Ok(json!("10.0.0.2:8646")));

    let peers = own(&["peers"]);
    assert_eq!(peers.code, Some(0), "{peers:?}");
    for part in ["no peers are connected", "10.0.0.1 ", &format!("{peer}  1 d"), "2001:db8:: "] {
        assert!(peers.stdout.contains(part), "{part}: {peers:?}");
    }
    let listed: Value = serde_json::from_str(&own(&["peers", "--json"]).stdout).unwrap();
    assert_eq!((&listed["peers"], listed["bans"].as_array().unwrap().len()), (&json!([]), 3));

    // By its address, with the cookie from elsewhere.
    let rpc = node.address.to_string();
    let cookie = node.data_dir.join(".cookie");
    let unbanned = drystone(&["unban", peer, "--rpc", &rpc, "--cookie", cookie.to_str().unwrap()]);
    assert_eq!(
        (unbanned.code, unbanned.stdout),
        (
            Some(0),
            format!(
                "unbanned {peer}
"
            )
        )
    );
    let unbanned = drystone(&["unban", "2001:db8::1", "--rpc", &rpc, "--data-dir", &data]);
    assert_eq!(unbanned.code, Some(0), "{unbanned:?}");
    assert_eq!(node.call("net_unban", json!(["2001:db8::1"])), Ok(json!(false)));

    // What is wrong is said with the next step.
    let wrong = root.path().join("wrong");
    fs::write(&wrong, "00".repeat(32)).unwrap();
    let wrong = wrong.to_str().unwrap();
    for (arguments, code, words) in [
        (&["unban", peer, "--data-dir", &data][..], 1, "is not banned"),
        (&["ban", "10.0.0.3", "--rpc", &rpc, "--cookie", wrong], 1, "does not take this cookie"),
        (&["ban", "10.0.0.3", "--rpc", &rpc, "--cookie", "/nowhere"], 1, "cannot read the cookie"),
        (&["ban", "10.0.0.3", "--for", "4000d", "--data-dir", &data], 1, "between 1 and"),
        (&["ban", "10.0.0.3", "--data-dir", root.path().to_str().unwrap()], 1, "no node is running"),
        (&["peers", "--rpc", "127.0.0.1:1"], 1, "no node answers"),
        (&["ban", "10.0.0.3", "--rpc", &rpc], 2, "--cookie"),
        (&["ban", "node.example", "--data-dir", &data], 2, "neither an IP address nor"),
    ] {
        let ended = drystone(arguments);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{arguments:?}: {ended:?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines.len() == 2 && lines[0].contains(words) && lines[1].starts_with("next: "), "{ended:?}");
        assert!(lines[0].starts_with("error: "), "{ended:?}");
    }

    assert!(node.stop().0.success());
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    assert_eq!(get::<Vec<BanInfo>>(&node, "net_bans", json!([])), bans, "a ban survives a restart");
    assert_eq!(own(&["unban", "10.0.0.1"]).code, Some(0));
    assert_eq!(node.call("net_bans", json!([])), Ok(json!([])));
}

#[test]
fn hostile_bodies_are_refused_and_the_node_lives_on() {
    let (_root, node) = node();
    let error = |body: &[u8]| {
        let response = node.post(&[], body);
        (response.status, refusal_in(&response))
    };
    use ErrorCode::*;
    assert_eq!(error(b""), (400, InvalidRequest));
    assert_eq!(error(b" \r\n"), (400, InvalidRequest));
    assert_eq!(error(b"{"), (400, Parse));
    assert_eq!(error(b"\xff\xfe"), (400, Parse));
    assert_eq!(error(b"17"), (400, InvalidRequest));
    assert_eq!(error(br#"{"jsonrpc":"2.0","method":"node_info"}"#), (400, InvalidRequest), "no id, so no reply");
    assert_eq!(error(br#"{"jsonrpc":"1.0","id":1,"method":"node_info"}"#), (400, InvalidRequest));
    assert_eq!(error(b"[]"), (400, InvalidRequest));

    // Deep: as a request, as parameters, as one parameter.
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    assert_eq!(error("[".repeat(4_000_000).as_bytes()).0, 400);
    assert_eq!(error("{\"a\":".repeat(800_000).as_bytes()).0, 400);
    for params in [deep.clone(), format!("[{deep}]"), "[0".to_owned() + &",0".repeat(2_000_000) + "]"] {
        let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"chain_header","params":{params}}}"#);
        assert_eq!(error(request.as_bytes()), (200, InvalidParams));
    }

    // Batches: too many requests, too many of anything, and a good one of the largest size.
    let one = String::from_utf8(info_request()).unwrap();
    let batch = |count: usize| format!("[{}]", vec![one.as_str(); count].join(","));
    assert_eq!(error(batch(33).as_bytes()), (400, InvalidRequest));
    assert_eq!(error(format!("[0{}]", ",0".repeat(2_000_000)).as_bytes()), (400, InvalidRequest));
    let replies: Vec<Value> = serde_json::from_str(&node.post(&[], batch(32).as_bytes()).body).unwrap();
    assert!(replies.len() == 32 && replies.iter().all(|reply| reply["result"]["height"] == json!(0)));
    let mixed = format!(r#"[{one},7,{{"jsonrpc":"2.0","id":2,"method":"no"}}]"#);
    let replies: Vec<Value> = serde_json::from_str(&node.post(&[], mixed.as_bytes()).body).unwrap();
    assert_eq!(refusal_of(&replies[1]["error"]).0, InvalidRequest);
    assert_eq!((refusal_of(&replies[2]["error"]).0, &replies[2]["id"]), (UnknownMethod, &json!(2)));

    // Too large: announced, and discovered while it comes.
    assert_eq!(error(&vec![b' '; 5 << 20]), (413, InvalidRequest));
    let mut stream = node.connect().unwrap();
    let head = format!("POST /rpc HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", node.address);
    stream.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    while stream.write_all(chunk.as_bytes()).is_ok() {}
    assert!(is_alive(&node));
}

#[test]
fn a_head_that_never_ends_is_refused() {
    let (_root, node) = node();
    let mut stream = node.connect().unwrap();
    stream.write_all(b"POST /rpc HTTP/1.1\r\n").unwrap();
    let line = format!("x: {}\r\n", "y".repeat(4096));
    while stream.write_all(line.as_bytes()).is_ok() {}
    assert!(is_alive(&node));
}

#[test]
fn slow_clients_lose_their_connection() {
    let (_root, node) = node();
    let ends_within_20_s = |mut stream: TcpStream, begin: String, status: Option<u16>| {
        let started = Instant::now();
        stream.write_all(begin.as_bytes()).unwrap();
        match status {
            Some(status) => assert_eq!(read_response(&mut stream).unwrap().status, status),
            // The node closes; whether it says so before is its own affair.
            None => drop(stream.read_to_end(&mut Vec::new())),
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{begin:?}");
    };
    let head = format!("POST /rpc HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n", node.address);
    thread::scope(|scope| {
        let node = &node;
        let silent = || ends_within_20_s(node.connect().unwrap(), String::new(), None);
        let half = || ends_within_20_s(node.connect().unwrap(), head.clone(), None);
        let no_body =
            || ends_within_20_s(node.connect().unwrap(), format!("{head}content-length: 9\r\n\r\n"), Some(408));
        let idle = || {
            let get = format!("GET /ready HTTP/1.1\r\nhost: {}\r\n\r\n", node.address);
            ends_within_20_s(node.connect().unwrap(), get, None);
        };
        scope.spawn(silent);
        scope.spawn(half);
        scope.spawn(no_body);
        scope.spawn(idle);
        assert!(is_alive(node), "they keep nobody else waiting");
    });
}

#[test]
fn too_many_connections_are_turned_away_and_none_delays_the_end() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start_with_files(root.path(), FILES, &["dev", "--threads", "0", "--log", "warn"]);
    let mut open: Vec<TcpStream> = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = node.connect().unwrap();
        // A reply shows that the connection has its place.
        stream.write_all(format!("GET /ready HTTP/1.1\r\nhost: {}\r\n\r\n", node.address).as_bytes()).unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200);
        open.push(stream);
    }
    let refused = read_response(&mut node.connect().unwrap()).unwrap();
    assert_eq!((refused.status, refused.body.lines().count()), (503, 1));
    open.truncate(CONNECTIONS - 8);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !node.request("GET", "/ready", &[], &[]).is_ok_and(|response| response.status == 200) {
        assert!(Instant::now() < deadline, "places that are given up are not given away");
    }
    let mut half = node.connect().unwrap();
    half.write_all(b"POST /rpc HTTP/1.1\r\n").unwrap();
    let (status, took) = node.stop();
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn many_at_once_all_get_their_answer() {
    let (_root, node) = node();
    let expected = to_value(dev_params().chain_id()).unwrap();
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let header = node.call("chain_header", json!([0])).unwrap();
                    assert_eq!(header["hash"], expected);
                    let account = node.call("account_get", json!([address(1)])).unwrap();
                    assert_eq!(account["nonce"], json!(0));
                }
            });
        }
    });
}

#[test]
fn a_miner_that_has_the_tip_waits_for_another_and_keeps_nobody_waiting() {
    let (_root, node) = node();
    let genesis = to_value(dev_params().chain_id()).unwrap();
    let old = json!([address(1), BlockHash::ZERO]);
    assert_eq!(node.call("mining_template", old).unwrap()["prev_hash"], genesis, "it is another tip already");
    thread::scope(|scope| {
        // More of them than calls that are worked on at once.
        let waiting: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| node.call("mining_template", json!([address(1), genesis])).unwrap()))
            .collect();
        thread::sleep(Duration::from_millis(500));
        assert!(waiting.iter().all(|miner| !miner.is_finished()), "there is no other tip");
        let hashes = node.call("mining_generate", json!([1, address(2)])).unwrap();
        for miner in waiting {
            assert_eq!(miner.join().unwrap()["prev_hash"], hashes[0]);
        }
    });
}

#[test]
fn a_block_that_comes_far_too_late_is_stale() {
    let (_root, node) = node();
    let late = TestChain::new(&dev_params()).extend(&AccountId([3; 32]), vec![]).block().clone();
    let mut main = TestChain::new(&dev_params());
    for _ in 0..KEPT_TIP_WORKS + 8 {
        let block = main.extend(&AccountId([4; 32]), vec![]);
        node.call("mining_submit", json!([hex::encode(encode(block.block()))])).unwrap();
    }
    let (code, message) = refusal(&node, "mining_submit", json!([hex::encode(encode(&late))]));
    assert_eq!(code, ErrorCode::StaleBlock, "{message}");
}
