//! The document that `rpc.discover` gives is true: of the methods and their parameters, of every exchange of docs/RPC.md, and of
//! what a real node answers where the page has only a refusal.

use std::collections::BTreeSet;
use std::fs;

use drystone_core::address::encode_address;
use drystone_core::api::ErrorCode;
use drystone_core::key::AccountId;
use drystone_tests::page::{exchanges, rpc_page, section};
use drystone_tests::program::{Node, eventually};
use drystone_tests::schema::{check, corrupted, resolve};
use serde_json::{Value, json};
use tungstenite::Message;

/// The method whose result is a document, which its schema does not describe in depth.
const DISCOVER: &str = "rpc.discover";

/// The document of a running node.
struct Document(Value);

impl Document {
    fn of(node: &Node) -> Document {
        Document(node.try_call(DISCOVER, json!([])).unwrap().unwrap())
    }

    fn methods(&self) -> &Vec<Value> {
        self.0["methods"].as_array().unwrap()
    }

    fn method(&self, name: &str) -> &Value {
        self.methods().iter().find(|method| method["name"] == name).unwrap_or_else(|| panic!("{name} is not in it"))
    }

    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        check(&self.0, schema, value)
    }

    /// Whether these are params of a method: as many as are required, and each as its schema says.
    fn check_params(&self, method: &str, params: &Value) -> Result<(), String> {
        let (described, given) = (self.method(method)["params"].as_array().unwrap(), params.as_array().unwrap());
        if given.len() > described.len() {
            return Err(format!("{params} are too many"));
        }
        described.iter().enumerate().try_for_each(|(index, param)| match given.get(index) {
            Some(value) => self.check(&param["schema"], value).map_err(|what| format!("{}: {what}", param["name"])),
            None if param["required"] == json!(true) => Err(format!("{} is missing", param["name"])),
            None => Ok(()),
        })
    }

    fn check_result(&self, method: &str, result: &Value) -> Result<(), String> {
        self.check(&self.method(method)["result"]["schema"], result)
    }

    /// The names of the errors in a list of references.
    fn errors(&self, references: &Value) -> BTreeSet<String> {
        let errors = references.as_array().unwrap().iter().map(|error| resolve(&self.0, &error["$ref"]).unwrap());
        errors.map(|error| error["data"]["name"].as_str().unwrap().to_owned()).collect()
    }

    fn general_errors(&self) -> BTreeSet<String> {
        self.errors(&self.0["x-errors"])
    }

    /// Whether a method can answer so.
    fn check_error(&self, method: &str, error: &Value) -> Result<(), String> {
        self.check(&json!({ "$ref": "#/components/schemas/ErrorData" }), &error["data"])?;
        let name = error["data"]["name"].as_str().unwrap();
        let known =
            ErrorCode::ALL.iter().any(|code| (code.name(), json!(code.number())) == (name, error["code"].clone()));
        let listed = self.errors(&self.method(method)["errors"]).contains(name) || self.general_errors().contains(name);
        if known && listed { Ok(()) } else { Err(format!("{method} answers {error}, which is not listed")) }
    }

    /// Calls a method and checks what goes there and what comes back.
    fn call(&self, node: &Node, method: &str, params: Value) -> Value {
        assert_eq!(self.check_params(method, &params), Ok(()), "{method} with {params}");
        let result = node.call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"));
        assert_eq!(self.check_result(method, &result), Ok(()), "{method}");
        result
    }
}

fn node(root: &tempfile::TempDir, more: &[&str]) -> Node {
    Node::start(root.path(), &[&["dev", "--threads", "0", "--log", "warn"], more].concat())
}

#[test]
fn it_lists_the_methods_in_their_order_with_their_parameters() {
    let root = tempfile::tempdir().unwrap();
    let node = node(&root, &[]);
    let document = Document::of(&node);
    assert_eq!(document.0["info"]["version"], node.call("node_info", json!([])).unwrap()["version"]);
    let next_of = |error: Value| error["data"]["next"].as_str().unwrap().to_owned();
    let unknown = next_of(node.call("no_such_method", json!([])).unwrap_err());
    assert!(unknown.contains("rpc.discover"), "{unknown}");
    for method in document.methods() {
        let (name, params) = (method["name"].as_str().unwrap(), method["params"].as_array().unwrap());
        let parameters: Vec<_> = params.iter().map(|param| param["name"].as_str().unwrap()).collect();
        let too_many = json!(vec![0; params.len() + 1]);
        assert!(document.check_params(name, &too_many).is_err());
        let usage = next_of(node.call(name, too_many.clone()).unwrap_err());
        assert_eq!(usage, format!("call {name} with params [{}]", parameters.join(", ")));
        // And without the cookie.
        let refusal = node.try_call(name, too_many).unwrap().unwrap_err();
        let guarded = refusal["code"] == json!(ErrorCode::Unauthorized.number());
        assert_eq!(guarded, method["x-cookie"] == json!(true), "{name}");
        assert_eq!(guarded, document.errors(&method["errors"]).contains("unauthorized"), "{name}");
    }
}

#[test]
fn every_documented_exchange_is_as_it_says() {
    let root = tempfile::tempdir().unwrap();
    let document = Document::of(&node(&root, &[]));
    let exchanges = exchanges(&rpc_page());
    assert!(exchanges.len() >= document.methods().len());
    for (request, reply) in exchanges {
        let (method, params) = (request["method"].as_str().unwrap(), &request["params"]);
        assert_eq!(document.check_params(method, params), Ok(()), "{request}");
        match reply.get("error") {
            Some(error) => assert_eq!(document.check_error(method, error), Ok(()), "{request}"),
            None => assert_eq!(document.check_result(method, &reply["result"]), Ok(()), "{request}"),
        }
    }
}

/// The other half of what a schema says: it refuses the same results and params with anything missing, added or of another type.
#[test]
fn nothing_else_is_as_it_says() {
    let root = tempfile::tempdir().unwrap();
    let document = Document::of(&node(&root, &[]));
    for (request, reply) in exchanges(&rpc_page()) {
        let (method, params) = (request["method"].as_str().unwrap(), &request["params"]);
        for wrong in corrupted(params).iter().filter(|wrong| wrong.is_array()) {
            assert!(document.check_params(method, wrong).is_err(), "{method} takes {wrong}");
        }
        if let Some(result) = reply.get("result").filter(|_| method != DISCOVER) {
            for wrong in corrupted(result) {
                assert!(document.check_result(method, &wrong).is_err(), "{method} gives {wrong}");
            }
        }
        if let Some(error) = reply.get("error") {
            for wrong in corrupted(&error["data"]) {
                let schema = json!({ "$ref": "#/components/schemas/ErrorData" });
                assert!(document.check(&schema, &wrong).is_err(), "{wrong}");
            }
            let unlisted = json!({ "code": -32010, "data": { "name": "invalid_transaction", "next": "" } });
            assert!(document.check_error(method, &unlisted).is_err(), "{method}");
        }
    }
    for method in document.methods() {
        let (name, params) = (method["name"].as_str().unwrap(), method["params"].as_array().unwrap());
        if params.first().is_some_and(|param| param["required"] == json!(true)) {
            assert!(document.check_params(name, &json!([])).is_err(), "{name} takes nothing");
        }
    }
}

#[test]
fn every_object_is_described_in_full_and_every_schema_is_used() {
    let root = tempfile::tempdir().unwrap();
    let document = Document::of(&node(&root, &[]));
    let whole = document.0.to_string();
    for (name, schema) in document.0["components"]["schemas"].as_object().unwrap() {
        if let Some(fields) = schema.get("properties") {
            let required: BTreeSet<_> =
                schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let fields: BTreeSet<_> = fields.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(required, fields, "{name}");
            assert_eq!(schema["additionalProperties"], json!(false), "{name}");
        }
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") }).to_string();
        assert!(name == "ErrorData" || whole.contains(&reference), "nothing is a {name}");
    }
}

#[test]
fn its_errors_are_those_of_the_page() {
    let root = tempfile::tempdir().unwrap();
    let (document, page) = (Document::of(&node(&root, &[])), rpc_page());
    for (name, error) in document.0["components"]["errors"].as_object().unwrap() {
        let row = format!("| {} | `{name}` | {} |", error["code"], error["message"].as_str().unwrap());
        assert!(page.contains(&row), "{row} is missing");
    }
    let general = document.general_errors();
    for method in document.methods() {
        let name = method["name"].as_str().unwrap();
        let section = section(&page, name);
        let named = |code: &&ErrorCode| match code {
            ErrorCode::Unauthorized => section.contains("Needs the cookie."),
            code => section.contains(&format!("`{}`", code.name())),
        };
        let said = ErrorCode::ALL.iter().filter(named).map(|code| code.name().to_owned());
        let said: BTreeSet<_> = said.filter(|name| !general.contains(name)).collect();
        let listed = document.errors(&method["errors"]);
        assert_eq!(listed.difference(&general).cloned().collect::<BTreeSet<_>>(), said, "{name}");
    }
}

#[test]
fn what_the_page_only_refuses_is_as_it_says_too() {
    let (root, other_root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (node, other) = (node(&root, &["--faucet", "1"]), node(&other_root, &[]));
    let document = Document::of(&node);
    let address = encode_address("tdry", &AccountId([7; 32]));

    let note: Value = serde_json::from_str(&fs::read_to_string(other.data_dir.join("node.json")).unwrap()).unwrap();
    document.call(&node, "net_add_peer", json!([note["p2p"]]));
    eventually("the peer is ready", || {
        let peers = document.call(&node, "net_peers", json!([]));
        (peers[0]["ready"] == json!(true)).then_some(())
    });
    document.call(&node, "mining_generate", json!([2, address]));
    assert!(document.call(&node, "node_info", json!([]))["progress"].is_number());

    let page = document.call(&node, "account_history", json!([address, null, 1]));
    assert!(page["entries"][0]["reward"].is_string() && page["entries"][0]["transaction"].is_null(), "{page}");
    document.call(&node, "account_history", json!([address, page["next"], 1]));
    let paid = document.call(&node, "faucet_pay", json!([address]));
    document.call(&node, "tx_get", json!([paid["txid"]]));
    assert!(document.call(&node, "mempool_list", json!([null, 1]))["next"].is_string());
    let copy = root.path().join("copy.redb");
    document.call(&node, "node_backup", json!([copy.to_str().unwrap()]));

    let mut socket = node.websocket(&[]).unwrap();
    let mut ask = |method: &str, params: Value| {
        assert_eq!(document.check_params(method, &params), Ok(()));
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        socket.send(Message::text(request.to_string())).unwrap();
        let mut steps = Vec::new();
        loop {
            let message: Value = serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap();
            match message.get("result") {
                Some(result) => {
                    assert_eq!(document.check_result(method, result), Ok(()), "{method}");
                    return (result.clone(), steps);
                }
                None => steps.push(message["params"].clone()),
            }
        }
    };
    let (subscription, _) = ask("chain_events", json!([0]));
    let steps = eventually("two steps", || {
        let (_, steps) = ask("chain_head", json!([]));
        (!steps.is_empty()).then_some(steps)
    });
    let notification = &document.method("chain_events")["x-notification"];
    for step in steps {
        assert_eq!(document.check(notification, &step), Ok(()));
        for wrong in corrupted(&step) {
            assert!(document.check(notification, &wrong).is_err(), "{wrong}");
        }
    }
    assert_eq!(ask("chain_events_stop", json!([subscription])).0, json!(true));
    // The document fits into a message.
    ask(DISCOVER, json!([]));
}
