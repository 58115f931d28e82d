//! The subscription to the chain's steps: whoever follows it has the node's chain, whatever happens to either of them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use drystone_core::api::{AccountInfo, ChainStep, StepKind};
use drystone_core::encode::encode;
use drystone_core::genesis::dev_params;
use drystone_core::key::{AccountId, SecretKey};
use drystone_tests::chain::TestChain;
use drystone_tests::program::{Node, eventually};
use serde_json::{Value, from_value, json};
use tungstenite::{Error, Message, WebSocket};

/// WebSockets that a node serves at once.
const MAX_WEBSOCKETS: usize = 256;

fn node() -> (tempfile::TempDir, Node) {
    let root = tempfile::tempdir().unwrap();
    let node = Node::start(root.path(), &["dev", "--threads", "0", "--log", "warn"]);
    (root, node)
}

/// A client over one connection.
struct Client {
    socket: WebSocket<TcpStream>,
    /// What came between replies.
    steps: Vec<(u64, ChainStep)>,
}

impl Client {
    fn new(node: &Node) -> Client {
        Client { socket: node.websocket(&[]).unwrap(), steps: Vec::new() }
    }

    /// Sends a request and returns the reply, however many steps come before it.
    fn ask(&mut self, request: &Value) -> Value {
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let value = self.read();
            if value["method"].is_null() {
                return value;
            }
            self.steps.push(step_of(&value));
        }
    }

    fn call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        let mut reply = self.ask(&json!({ "jsonrpc": "2.0", "id": "x", "method": method, "params": params }));
        assert_eq!((&reply["jsonrpc"], &reply["id"]), (&json!("2.0"), &json!("x")));
        match reply.get_mut("error") {
            Some(error) => Err(error.take()),
            None => Ok(reply["result"].take()),
        }
    }

    /// The next step, with the number of its subscription.
    fn step(&mut self) -> (u64, ChainStep) {
        if self.steps.is_empty() { step_of(&self.read()) } else { self.steps.remove(0) }
    }

    fn read(&mut self) -> Value {
        loop {
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Whether nothing comes for a while.
    fn is_quiet(&mut self) -> bool {
        self.socket.get_ref().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let quiet = matches!(self.socket.read(), Err(Error::Io(error))
            if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.socket.get_ref().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        quiet && self.steps.is_empty()
    }
}

fn step_of(value: &Value) -> (u64, ChainStep) {
    assert_eq!((&value["jsonrpc"], &value["method"]), (&json!("2.0"), &json!("chain_events")), "{value}");
    let params = &value["params"];
    (params["subscription"].as_u64().unwrap(), from_value(params["result"].clone()).unwrap())
}

/// A copy of the chain and of all accounts, made of nothing but steps and the blocks that they name.
#[derive(Default)]
struct Replica {
    blocks: Vec<ChainStep>,
    /// What each address holds, what has not matured included, and how many payments it made.
    accounts: BTreeMap<String, (i128, i64)>,
}

impl Replica {
    fn take(&mut self, client: &mut Client, step: ChainStep) {
        let block = client.call("chain_block", json!([step.hash])).unwrap();
        let sign = match step.event {
            StepKind::Connected => {
                let tip = self.blocks.last().map_or(dev_params().chain_id(), |block| block.hash);
                assert_eq!((step.prev_hash, step.cursor), (tip, step.hash), "it stands on the tip");
                self.blocks.push(step);
                1
            }
            StepKind::Disconnected => {
                let tip = self.blocks.pop().expect("genesis is never disconnected");
                assert_eq!((tip.hash, step.cursor), (step.hash, step.prev_hash), "it was the tip");
                -1
            }
        };
        let chips = |value: &Value| sign * value.as_str().unwrap().parse::<i128>().unwrap();
        self.change(&block["reward_to"], chips(&block["reward"]), 0);
        for payment in block["transactions"].as_array().unwrap() {
            let (amount, fee) = (chips(&payment["amount"]), chips(&payment["fee"]));
            self.change(&payment["from"], -amount - fee, sign as i64);
            self.change(&payment["to"], amount, 0);
        }
    }

    fn change(&mut self, address: &Value, chips: i128, payments: i64) {
        let account = self.accounts.entry(address.as_str().unwrap().to_owned()).or_default();
        *account = (account.0 + chips, account.1 + payments);
    }

    fn cursor(&self) -> Value {
        json!(self.blocks.last().map_or(dev_params().chain_id(), |block| block.hash))
    }

    /// Compares with what the node says of every block and account.
    fn assert_is(&self, node: &Node) {
        let head = node.call("chain_head", json!([])).unwrap();
        assert_eq!(head["height"], json!(self.blocks.len()));
        for (height, block) in (1..).zip(&self.blocks) {
            let header = node.call("chain_header", json!([height])).unwrap();
            assert_eq!((&header["hash"], block.height), (&json!(block.hash), height));
            assert_eq!(header["time"], json!(block.time));
        }
        let start = dev_params().allocations[0].amount.0;
        for (address, (chips, payments)) in &self.accounts {
            let account: AccountInfo = from_value(node.call("account_get", json!([address])).unwrap()).unwrap();
            let before = if funded().contains(address) { i128::from(start) } else { 0 };
            let held = i128::from(account.balance.0) + i128::from(account.immature.0);
            assert_eq!((held, account.nonce as i64), (before + chips, *payments), "{address}");
        }
    }
}

fn funded() -> Vec<String> {
    let params = dev_params();
    let address = |account: &AccountId| drystone_core::address::encode_address(&params.address_prefix, account);
    (0..10).map(|number| address(&SecretKey::dev(number).account())).collect()
}

/// Extends a chain by blocks with a payment each.
fn grow(chain: &mut TestChain, blocks: u64, miner: u8, payer: u8) -> Vec<String> {
    let mut grown = Vec::new();
    for i in 0..blocks {
        let payment = chain.pay(payer, &AccountId([miner; 32]), 1_000_000 + i, 0);
        let block = chain.extend(&AccountId([miner; 32]), vec![payment]);
        grown.push(hex::encode(encode(block.block())));
    }
    grown
}

fn feed(node: &Node, blocks: &[String]) {
    for block in blocks {
        node.call("mining_submit", json!([block])).unwrap();
    }
}

#[test]
fn a_client_that_is_killed_and_resumed_across_a_reorganisation_has_the_nodes_chain() {
    let (_root, node) = node();
    let mut ours = TestChain::new(&dev_params());
    feed(&node, &grow(&mut ours, 5, 0x31, 0));
    let mut theirs = ours.clone();
    feed(&node, &grow(&mut ours, 20, 0x32, 1));

    let mut replica = Replica::default();
    // It resumes from what it took in last, takes so many steps, and is gone without a word.
    let follow = |replica: &mut Replica, steps: usize| {
        let mut client = Client::new(&node);
        client.call("chain_events", json!([replica.cursor()])).unwrap();
        for _ in 0..steps {
            let (_, step) = client.step();
            replica.take(&mut client, step);
        }
        client
    };
    follow(&mut replica, 9);
    let watching = follow(&mut replica, 16);
    replica.assert_is(&node);
    drop(watching);

    // The other branch gains the upper hand with its last block.
    feed(&node, &grow(&mut theirs, 21, 0x33, 2));
    assert_eq!(node.call("chain_head", json!([])).unwrap()["hash"], json!(theirs.tip().hash));
    follow(&mut replica, 7);
    follow(&mut replica, 15);
    assert!(replica.blocks.iter().any(|block| block.height == 6), "it has turned, and climbs");
    // Once more it was away while the chain turned round, in the middle of a climb.
    let longer = grow(&mut ours, 3, 0x34, 1);
    feed(&node, &longer);
    assert_eq!(node.call("chain_head", json!([])).unwrap()["hash"], json!(ours.tip().hash));
    let mut client = Client::new(&node);
    client.call("chain_events", json!([replica.cursor()])).unwrap();
    eventually("the replica reaches the tip", || {
        let (_, step) = client.step();
        replica.take(&mut client, step);
        (replica.cursor() == json!(ours.tip().hash)).then_some(())
    });
    replica.assert_is(&node);
    assert!(client.is_quiet());
}

#[test]
fn a_connected_client_is_told_each_step_as_it_happens() {
    let (_root, node) = node();
    let mut client = Client::new(&node);
    let first = client.call("chain_events", json!([])).unwrap();
    assert!(client.is_quiet(), "without a cursor it begins at the tip");
    let mut ours = TestChain::new(&dev_params());
    let mut theirs = ours.clone();
    feed(&node, &grow(&mut ours, 3, 0x31, 0));
    feed(&node, &grow(&mut theirs, 4, 0x32, 1));
    let mut replica = Replica::default();
    // With or without the detour: how much it is told of that depends on when it reads.
    while replica.cursor() != json!(theirs.tip().hash) {
        let (subscription, step) = client.step();
        assert_eq!(json!(subscription), first);
        replica.take(&mut client, step);
    }
    replica.assert_is(&node);

    // Asking again begins anew, and the old number is gone.
    let second = client.call("chain_events", json!([2])).unwrap();
    assert_eq!(client.call("chain_events_stop", json!([first])), Ok(json!(false)));
    assert_eq!(client.step().1.height, 3);
    let (subscription, step) = client.step();
    assert_eq!((json!(subscription), step.height), (second.clone(), 4));
    assert_eq!(client.call("chain_events_stop", json!([second])), Ok(json!(true)));
    feed(&node, &grow(&mut theirs, 1, 0x32, 1));
    assert!(client.is_quiet(), "it has been stopped");
    assert_eq!(client.call("chain_events_stop", json!([second])), Ok(json!(false)));
}

#[test]
fn a_websocket_answers_what_a_post_answers() {
    let (_root, node) = node();
    let mut client = Client::new(&node);
    for (method, params) in [
        ("chain_header", json!([0])),
        ("chain_header", json!([7])),
        ("no_such_method", json!([])),
        ("mining_set", json!([1])),
    ] {
        let over_http = node.try_call(method, params.clone()).unwrap();
        assert_eq!(client.call(method, params), over_http, "{method}");
    }
    let batch =
        json!([{"jsonrpc": "2.0", "id": 1, "method": "chain_head"}, {"jsonrpc": "2.0", "id": 2, "method": "x"}]);
    assert_eq!(client.ask(&batch).as_array().map(Vec::len), Some(2));
    // The cookie is shown when the connection is opened.
    let cookie = format!("Bearer {}", node.cookie());
    let mut own = Client { socket: node.websocket(&[("authorization", &cookie)]).unwrap(), steps: Vec::new() };
    assert_eq!(own.call("mining_set", json!([0])).unwrap()["threads"], json!(0));
    for (params, code) in [(json!(["00".repeat(32)]), -32002), (json!([9]), -32002), (json!([true]), -32602)] {
        assert_eq!(client.call("chain_events", params.clone()).unwrap_err()["code"], json!(code), "{params}");
    }
    let over_http = node.try_call("chain_events", json!([])).unwrap().unwrap_err();
    assert!(over_http["data"]["next"].as_str().unwrap().contains("ws://"), "{over_http}");
}

#[test]
fn bad_messages_get_an_error_and_long_ones_end_the_connection() {
    let (_root, node) = node();
    let mut client = Client::new(&node);
    for (message, code) in [("", -32600), ("{", -32700), ("[]", -32600), ("7", -32600), ("{\"id\":1}", -32600)] {
        client.socket.send(Message::text(message)).unwrap();
        assert_eq!(client.read()["error"]["code"], json!(code), "{message:?}");
    }
    client.socket.send(Message::binary(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"chain_head\"}".to_vec())).unwrap();
    assert_eq!(client.read()["result"]["height"], json!(0));
    let long = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{}\"}}", "x".repeat(64 << 10));
    client.socket.send(Message::text(long)).unwrap();
    let closed = loop {
        match client.socket.read() {
            Ok(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    assert!(matches!(closed, None | Some(1009)), "{closed:?}");
    assert_eq!(Client::new(&node).call("chain_head", json!([])).unwrap()["height"], json!(0));
    let not_one = node.request("GET", "/rpc", &[("upgrade", "websocket"), ("connection", "upgrade")], &[]).unwrap();
    assert_eq!(not_one.status, 400, "{}", not_one.body);
    let other_page = node.websocket(&[("origin", "http://evil.example")]).unwrap_err();
    assert!(other_page.contains("403"), "{other_page}");
}

/// Each ping has an answer; those of a client that does not read do not pile up.
#[test]
fn pings_of_a_client_that_does_not_read_take_no_memory() {
    let (_root, node) = node();
    let mut client = Client::new(&node);
    // A whole masked ping: 125 bytes, the longest, under a mask of zeros.
    let ping = [&[0x89, 0x80 | 125, 0, 0, 0, 0][..], &[7; 125]].concat();
    let many = ping.repeat(1_000);
    let (_, before) = node.memory();
    for _ in 0..500 {
        client.socket.get_mut().write_all(&many).unwrap();
    }
    let (_, most) = node.memory();
    assert!(most < before + 16, "62 MB of answers: {before} MiB before, {most} MiB at most");
    assert_eq!(Client::new(&node).call("chain_head", json!([])).unwrap()["height"], json!(0));
}

#[test]
fn there_are_so_many_websockets_and_a_stopping_node_says_goodbye() {
    let (_root, node) = node();
    let mut clients: Vec<Client> = (0..MAX_WEBSOCKETS).map(|_| Client::new(&node)).collect();
    for client in &mut clients {
        client.call("chain_events", json!([0])).unwrap();
    }
    let refused = node.websocket(&[]).unwrap_err();
    assert!(refused.contains("503"), "{refused}");
    let cookie = format!("Bearer {}", node.cookie());
    assert!(node.websocket(&[("authorization", &cookie)]).is_ok(), "whoever runs the node is not kept out");
    drop(clients.split_off(3));
    let mut late = eventually("a place is given away", || node.websocket(&[]).ok());
    feed(&node, &grow(&mut TestChain::new(&dev_params()), 1, 0x31, 0));
    for client in &mut clients {
        assert_eq!(client.step().1.height, 1);
    }
    let (status, took) = node.stop();
    assert!(status.success() && took < Duration::from_secs(2), "{status} {took:?}");
    let goodbye = late.read().unwrap();
    assert!(matches!(&goodbye, Message::Close(Some(frame)) if u16::from(frame.code) == 1001), "{goodbye:?}");
}
