//! docs/RPC.md is true: every documented request, sent to a real node in the order of the page, gets the documented reply.

use drystone_core::amount::Amount;
use drystone_core::api::ErrorCode;
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::key::SecretKey;
use drystone_core::transaction::{Memo, Transaction, TransactionBody};
use drystone_tests::chain::TestChain;
use drystone_tests::page::{exchanges, rpc_page, section};
use drystone_tests::program::Node;
use drystone_tests::scrape::Scrape;
use serde_json::{Value, json};

/// What differs from run to run, or is too long for the page, by method and JSON pointer into the result: there only the type
/// is compared.
const VARYING: &[(&str, &str)] = &[
    ("node_info", "/version"),
    ("node_info", "/time"),
    ("node_info", "/started"),
    ("node_info", "/scrub/done"),
    ("mining_template", "/time"),
    ("mining_template", "/block"),
    ("mining_generate", "/0"),
    ("tx_proof", "/tip_hash"),
    ("tx_proof", "/proof"),
    ("account_history", "/hash"),
    ("net_ban", "/until"),
    ("net_bans", "/0/until"),
    ("rpc.discover", "/info/version"),
    ("rpc.discover", "/x-errors"),
    ("rpc.discover", "/methods"),
    ("rpc.discover", "/components"),
];

/// The payment of the page: account 0 pays account 1 12.5 stones.
fn payment() -> Transaction {
    let (from, to) = (SecretKey::dev(0), SecretKey::dev(1).account());
    let (amount, fee, memo) = (Amount(1_250_000_000), Amount(1_000), Memo(b"rent".to_vec()));
    let body = TransactionBody { from: from.account(), to, amount, fee, nonce: 0, memo };
    body.sign(&dev_params().chain_id(), &from)
}

fn type_of(value: &Value) -> Value {
    json!(match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    })
}

/// Puts types in the place of what varies.
fn mask(method: &str, mut reply: Value) -> Value {
    for (_, pointer) in VARYING.iter().filter(|(name, _)| *name == method) {
        if let Some(value) = reply.pointer_mut(&format!("/result{pointer}")) {
            *value = type_of(value);
        }
    }
    reply
}

#[test]
fn every_documented_request_gets_the_documented_reply() {
    let page = rpc_page();
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    let authorization = format!("Bearer {}", node.cookie());
    for (request, documented) in exchanges(&page) {
        let method = request["method"].as_str().unwrap_or_default();
        // The page shows one call without the cookie, which it says.
        let refused = documented["error"]["code"] == json!(ErrorCode::Unauthorized.number());
        let headers = if refused { vec![] } else { vec![("authorization", authorization.as_str())] };
        let reply = node.post(&headers, request.to_string().as_bytes()).body;
        let reply = reply.replace(node.data_dir.to_str().unwrap(), "DATA-DIR");
        let reply: Value = serde_json::from_str(&reply).unwrap();
        assert_eq!(mask(method, reply.clone()), mask(method, documented), "{request}\nreally gives\n{reply:#}");
    }
}

#[test]
fn the_documented_payment_and_block_are_what_the_page_says() {
    let page = rpc_page();
    let params_of = |method: &str| {
        let exchange = exchanges(&page).into_iter().find(|(request, _)| request["method"] == method);
        exchange.expect("documented").0["params"].clone()
    };
    let payment = payment();
    assert_eq!(params_of("tx_submit"), json!([hex::encode(encode(&payment))]));
    let block = TestChain::new(&dev_params()).extend(&SecretKey::dev(2).account(), vec![payment]);
    assert_eq!(params_of("mining_submit"), json!([hex::encode(encode(block.block()))]));
}

#[test]
fn every_method_and_field_and_error_is_documented() {
    let page = rpc_page();
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    let described = node.call("rpc.discover", json!([])).unwrap();
    let exchanges = exchanges(&page);
    let mut from = 0;
    for name in described["methods"].as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap()) {
        let heading = format!("\n### {name}\n");
        let start = page.find(&heading).unwrap_or_else(|| panic!("{name} has no section"));
        assert!(start > from, "{name} is out of order");
        from = start;
        let section = section(&page, name);
        let (_, reply) = exchanges.iter().find(|(request, _)| request["method"] == name).expect(name);
        for key in keys(&reply["result"]) {
            assert!(section.contains(&format!("`{key}`")) || page.contains(&format!("| `{key}` |")), "{name}: {key}");
        }
    }
    for code in ErrorCode::ALL {
        let row = format!("| {} | `{}` |", code.number(), code.name());
        assert!(page.contains(&row), "{row} is missing");
    }
}

#[test]
fn every_metric_is_documented_with_its_type_and_labels() {
    let page = rpc_page();
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    node.call("node_info", json!([])).unwrap();
    let scrape = Scrape::read(&node.request("GET", "/metrics", &[], &[]).unwrap().body);
    for (name, family) in &scrape.families {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}`")));
        let row = row.unwrap_or_else(|| panic!("{name} is not documented"));
        assert!(row.contains(&format!("| {} |", family.kind)), "{name} is a {}", family.kind);
        for (label, _) in family.samples.iter().flat_map(|sample| &sample.labels).filter(|(label, _)| label != "le") {
            assert!(row.contains(&format!("`{label}`")), "{name} has the label {label}");
        }
    }
    let unknown =
        ["drystone_sync_claimed_height", "drystone_sync_progress_ratio", "drystone_scrub_last_pass_time_seconds"];
    for name in page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()) {
        let is_metric = name.starts_with("drystone_") || name.starts_with("process_");
        assert!(!is_metric || unknown.contains(&name) || scrape.families.contains_key(name), "there is no {name}");
    }
}

/// The names of all fields within a result.
fn keys(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            fields.iter().flat_map(|(key, value)| [vec![key.clone()], keys(value)].concat()).collect()
        }
        Value::Array(elements) => elements.iter().flat_map(keys).collect(),
        _ => Vec::new(),
    }
}
