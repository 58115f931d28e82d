//! `balance` from three real nodes: one tells the truth, one is stale, and one lies. In every order the truth is printed, and the
//! others are named.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use drystone_core::address::encode_address;
use drystone_core::key::SecretKey;
use drystone_tests::program::{Node, program, read_response, run};
use serde_json::{Value, json};

/// What a liar does to the result of a method.
type Lie = fn(&str, &mut Value);

/// Serves what the node at `node` says, each result changed by `lie`, for as long as the test runs.
fn liar(node: SocketAddr, lie: Lie) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever hangs up early has heard enough.
            let _ = stream.and_then(|stream| pass(stream, node, lie));
        }
    });
    address
}

/// Passes one request on, and the reply back.
fn pass(mut client: TcpStream, node: SocketAddr, lie: Lie) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut request = vec![0; length];
    reader.read_exact(&mut request)?;
    let called: Value = serde_json::from_slice(&request)?;
    let mut upstream = TcpStream::connect(node)?;
    let head = format!(
        "POST /rpc HTTP/1.1\r\nhost: {node}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    upstream.write_all(&[head.as_bytes(), &request].concat())?;
    let mut reply: Value = serde_json::from_str(&read_response(&mut upstream)?.body)?;
    lie(called["method"].as_str().unwrap(), &mut reply["result"]);
    let body = reply.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
    client.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// Another balance, wherever one is told.
fn rich(_: &str, result: &mut Value) {
    for path in ["/balance", "/account/balance"] {
        if let Some(balance) = result.pointer_mut(path) {
            *balance = json!("99900000000");
        }
    }
}

/// One hex digit in the middle of the proof.
fn false_proof(method: &str, result: &mut Value) {
    if method == "account_proof" {
        let mut proof = result["proof"].as_str().unwrap().to_owned();
        let middle = proof.len() / 2;
        let other = if &proof[middle..=middle] == "0" { "1" } else { "0" };
        proof.replace_range(middle..=middle, other);
        result["proof"] = json!(proof);
    }
}

#[test]
fn one_honest_node_outdoes_a_stale_one_and_a_liar_in_every_order() {
    let roots = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [honest, stale] = [0, 1].map(|index| Node::start(roots[index].path(), &["dev", "--threads", "0"]));
    let address = |index: u8| encode_address("tdry", &SecretKey::dev(index).account());
    let mine = |count: u64| drop(honest.call("mining_generate", json!([count, address(9)])).unwrap());
    mine(3);
    for height in 1..=3 {
        let block = honest.call("chain_block", json!([height, true])).unwrap();
        stale.call("mining_submit", json!([block])).unwrap();
    }
    // What the stale one has not heard of.
    let sent = honest.wallet(&["--dev", "0", "send", &address(1), "12.5"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    mine(2);
    for (lie, words) in [(rich as Lie, "another balance"), (false_proof, "account proof is false")] {
        let liar = liar(honest.address, lie);
        let (honest, stale, liar) = (honest.address.to_string(), stale.address.to_string(), liar.to_string());
        let (h, s, l) = (&honest, &stale, &liar);
        for order in [[h, s, l], [h, l, s], [s, h, l], [s, l, h], [l, h, s], [l, s, h]] {
            // Each time by a wallet that has checked nothing before.
            let home = tempfile::tempdir().unwrap();
            let urls = order.map(|node| format!("http://{node}")).join(",");
            let shown = run(program("drystone-wallet", home.path()).args(["--rpc", &urls, "balance", &address(1)]));
            assert_eq!(shown.code, Some(0), "{shown:?}");
            assert!(shown.stdout.starts_with("10012.5 stones at tdry1"), "{shown:?}");
            assert!(shown.stdout.contains(&format!("agrees: http://{h}/rpc")), "{shown:?}");
            assert!(shown.stdout.contains(&format!("behind: http://{s}/rpc is at height 3")), "{shown:?}");
            let refuted = shown.stdout.lines().find(|line| line.starts_with(&format!("refuted: http://{l}/rpc: ")));
            assert!(refuted.is_some_and(|line| line.contains(words)), "{words}: {shown:?}");
        }
    }
}
