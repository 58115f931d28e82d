//! Nonsense for the RPC, from one seed: the node answers all of it in order, grows by nothing, and does its work as before.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use drystone_core::api::ErrorCode;
use drystone_tests::program::Node;
use drystone_tests::random::Random;
use serde_json::{Value, json};
use tungstenite::Message;

/// Set to repeat a run, or to fuzz for longer.
const SEED: &str = "DRYSTONE_FUZZ_SEED";
const ROUNDS: &str = "DRYSTONE_FUZZ_ROUNDS";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The requests of docs/RPC.md, as seeds of nonsense.
fn documented() -> Vec<Value> {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/RPC.md")).unwrap();
    let blocks = page.split("\n```json\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let values = blocks.map(|block| serde_json::from_str::<Value>(block).unwrap());
    let requests: Vec<Value> = values.filter(|value| value["method"].is_string()).collect();
    assert!(requests.len() > 20, "the page has requests");
    requests
}

/// A value that somebody might send in the place of another.
fn odd_value(random: &mut Random) -> Value {
    match random.below(14) {
        0 => Value::Null,
        1 => json!(random.bit()),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(u64::MAX),
        5 => json!(1e300),
        6 => json!(""),
        7 => json!("\u{0}\u{1b}[2J\u{202e}"),
        8 => json!("f".repeat(64)),
        9 => json!("00".repeat(random.below(400) as usize)),
        10 => json!([[[[[[]]]]]]),
        11 => json!({"a": {"b": [1, 2, {}]}}),
        12 => json!(random.next()),
        _ => json!("tdry1dyj5sk0u89d9mtvr5fw7e3zkt0ak0et79vzmgl50v2zwh4u9zhss4v0dnm"),
    }
}

/// Changes a request somewhere.
fn bend(random: &mut Random, request: &mut Value) {
    match random.below(6) {
        0 => request["params"] = odd_value(random),
        1 => request["id"] = odd_value(random),
        2 => request["method"] = odd_value(random),
        3 => request["jsonrpc"] = odd_value(random),
        4 => {
            if let Some(params) = request["params"].as_array_mut() {
                params.push(odd_value(random));
                let last = params.len() as u64 - 1;
                params.swap(random.below(last + 1) as usize, last as usize);
            }
        }
        _ => {
            if let Some(params) = request["params"].as_array_mut().filter(|params| !params.is_empty()) {
                let place = random.below(params.len() as u64) as usize;
                params[place] = odd_value(random);
            }
        }
    }
}

/// Flips, removes, repeats and inserts bytes.
fn break_bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.between(1, 8) {
        let place = random.below(bytes.len() as u64 + 1) as usize;
        match random.below(4) {
            0 if place < bytes.len() => bytes[place] ^= 1 << random.below(8),
            1 if place < bytes.len() => drop(bytes.remove(place)),
            2 => bytes.truncate(place),
            _ => bytes.insert(place, random.next() as u8),
        }
    }
}

/// Whether a reply is one: of JSON-RPC 2.0, with a result or an error of a documented code that says what to do.
fn assert_reply(reply: &Value, to: &[u8]) {
    let shown = String::from_utf8_lossy(to);
    if let Some(replies) = reply.as_array() {
        assert!(!replies.is_empty(), "{shown}");
        return replies.iter().for_each(|reply| assert_reply(reply, to));
    }
    assert_eq!(reply["jsonrpc"], "2.0", "{shown}: {reply}");
    let Some(error) = reply.get("error") else {
        assert!(reply.get("result").is_some(), "{shown}: {reply}");
        return;
    };
    let code = error["code"].as_i64().and_then(|code| ErrorCode::from_number(code as i32)).expect("a documented code");
    assert_ne!(code, ErrorCode::NodeFailure, "{shown}: {reply}");
    let (message, next) = (error["message"].as_str().unwrap(), error["data"]["next"].as_str().unwrap());
    assert!(!message.is_empty() && !next.is_empty(), "{reply}");
    assert!(!message.contains(char::is_control) && !next.contains(char::is_control), "{reply:?}");
}

#[test]
fn nonsense_is_answered_and_leaves_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    let seed = setting(SEED, u64::from(std::process::id()));
    println!("repeat with {SEED}={seed}");
    let random = Random::new(seed);
    let documented = documented();
    let mut bent = random.part("bent", 0);
    let pick = |random: &mut Random| {
        let mut request = random.pick(&documented).clone();
        // A copy of the ledger is no nonsense, and these end what the test compares with.
        while ["node_backup", "mining_generate"].iter().any(|name| request["method"] == *name) {
            request = random.pick(&documented).clone();
        }
        request
    };
    let cookie = format!("Bearer {}", node.cookie());
    let before = {
        node.call("node_info", json!([])).unwrap();
        node.memory().0
    };
    let mut socket = node.websocket(&[("authorization", &cookie)]).unwrap();
    for _ in 0..setting(ROUNDS, 1_500) {
        let mut request = pick(&mut bent);
        for _ in 0..bent.below(3) {
            bend(&mut bent, &mut request);
        }
        let mut bytes = match bent.below(8) {
            0 => json!([request, pick(&mut bent), odd_value(&mut bent)]).to_string().into_bytes(),
            _ => request.to_string().into_bytes(),
        };
        if bent.one_in(3) {
            break_bytes(&mut bent, &mut bytes);
        }
        if bent.bit() {
            let response = node.post(&[("authorization", &cookie)], &bytes);
            let reply = serde_json::from_str(&response.body);
            assert_reply(&reply.unwrap_or_else(|error| panic!("{error}: {}", response.body)), &bytes);
        } else {
            socket.send(Message::binary(bytes.clone())).unwrap();
            loop {
                let Message::Text(text) = socket.read().unwrap() else { continue };
                let reply: Value = serde_json::from_str(&text).unwrap();
                if reply.get("method").is_none() {
                    break assert_reply(&reply, &bytes);
                }
            }
        }
    }
    // What is no HTTP: it may be answered or cut off, and must end.
    let mut raw = random.part("raw", 0);
    for _ in 0..300 {
        let request = pick(&mut raw).to_string();
        let head = ["POST /rpc HTTP/1.1", "GET /rpc HTTP/1.1", "GET /metrics HTTP/1.1", "PRI * HTTP/2.0"];
        let text = format!(
            "{}\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{request}",
            raw.pick(&head),
            node.address,
            request.len()
        );
        let mut bytes = text.into_bytes();
        break_bytes(&mut raw, &mut bytes);
        let mut stream = node.connect().unwrap();
        // It may close before it has read everything.
        let _ = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let timed_out = ended
            .is_err_and(|error| matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
        assert!(!timed_out, "{}", String::from_utf8_lossy(&bytes));
    }
    let grown = node.memory().0.saturating_sub(before);
    assert!(grown < 64, "it grew by {grown} MiB");
    let log = fs::read_to_string(root.path().join("log")).unwrap();
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    assert_eq!(node.call("chain_header", json!([0])).unwrap()["height"], json!(0));
    let (status, _) = node.stop();
    assert!(status.success(), "{status}");
}
