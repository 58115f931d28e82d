//! `drystone-node status`: asks a running node how it is, and says it in words.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use drystone_core::api::{NodeInfo, Phase};
use drystone_core::genesis::dev_params;
use drystone_core::params::ChainKind;
use serde::Deserialize;
use serde_json::json;

use crate::cli::StatusOptions;
use crate::config::read_genesis;
use crate::data::{DataDir, NodeNote};
use crate::failure::Failure;

/// How long a node may take to accept, and then to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest reply that is read; the real one has under a kilobyte.
const MAX_REPLY_BYTES: u64 = 64 << 10;

/// Asks and describes.
pub(crate) fn execute(options: StatusOptions) -> Result<String, Failure> {
    if let Some(address) = options.rpc {
        let info = node_info(address).map_err(|error| unreachable_at(address, &error))?;
        return Ok(describe(&info, address, None));
    }
    let data = match options.data_dir {
        Some(path) => DataDir::at(path),
        None => DataDir::only("data directory of a running node", |data| {
            data.read_note().is_ok_and(|note| note.is_some_and(|note| is_alive(note.pid)))
        })?,
    };
    let Some(note) = data.read_note()? else {
        return Err(not_running(&data, format_args!("no node is running in {}", data.path().display())));
    };
    if !is_alive(note.pid) {
        let what = format_args!("the node of {} is not running: process {} is gone", data.path().display(), note.pid);
        return Err(not_running(&data, what));
    }
    let address = note
        .rpc
        .parse()
        .map_err(|_| not_running(&data, format_args!("{} names no address: {:?}", data.note().display(), note.rpc)))?;
    match node_info(address) {
        Ok(info) if info.chain_id == note.chain_id => Ok(describe(&info, address, Some((&data, &note)))),
        Ok(info) => {
            let what = format_args!("a node of another chain ({}) answers at {address}", info.chain);
            Err(not_running(&data, what))
        }
        Err(error) => Err(unreachable_at(address, &error)),
    }
}

fn not_running(data: &DataDir, what: impl std::fmt::Display) -> Failure {
    let is_dev = read_genesis(&data.genesis()).is_ok_and(|params| params == dev_params());
    let command = if is_dev { "dev" } else { "run" };
    Failure::new(what, format_args!("start it with: drystone-node {command} --data-dir {}", data.path().display()))
}

fn unreachable_at(address: SocketAddr, error: &io::Error) -> Failure {
    Failure::new(
        format_args!("no node answers at {address}: {error}"),
        "start one with: drystone-node dev, or name another with --rpc or --data-dir",
    )
}

/// Whether a process exists, as far as this system tells; where it does not, the connection will.
fn is_alive(pid: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new(&format!("/proc/{pid}")).exists()
}

/// Calls `node_info`. HTTP/1.0, because its replies end where the connection does and come in one piece.
fn node_info(address: SocketAddr) -> io::Result<NodeInfo> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "node_info", "params": [] }).to_string();
    let length = call.len();
    let head = format!(
        "POST /rpc HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + &call).as_bytes())?;
    let mut reply = Vec::new();
    stream.take(MAX_REPLY_BYTES).read_to_end(&mut reply)?;
    parse_reply(&reply)
}

/// The result in a reply: status line, fields, an empty line, JSON.
fn parse_reply(reply: &[u8]) -> io::Result<NodeInfo> {
    #[derive(Deserialize)]
    struct Answer {
        result: NodeInfo,
    }
    let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let (head, body) = reply.split_at(end.ok_or_else(|| io::Error::other("not an HTTP reply"))? + 4);
    let status = head.split(|byte| byte.is_ascii_whitespace()).nth(1);
    if status != Some(b"200") {
        return Err(io::Error::other(format!("HTTP status {}", String::from_utf8_lossy(status.unwrap_or_default()))));
    }
    Ok(serde_json::from_slice::<Answer>(body)?.result)
}

fn describe(info: &NodeInfo, address: SocketAddr, found: Option<(&DataDir, &NodeNote)>) -> String {
    let kind = match info.kind {
        ChainKind::Main => "main",
        ChainKind::Test => "test",
        ChainKind::Dev => "dev",
    };
    let phase = match info.phase {
        Phase::Syncing => "syncing: on its way to the heaviest chain it knows of",
        Phase::Ready => "ready: on the heaviest chain it knows of",
    };
    let mining = &info.mining;
    let mut lines = vec![
        ("node", format!("version {}, answers at http://{address}/rpc", info.version)),
        ("chain", format!("{} ({kind}), {}", info.chain, info.chain_id)),
        ("tip", format!("height {}, {}", info.height, info.hash)),
        ("phase", phase.to_owned()),
        ("peers", info.peers.to_string()),
        (
            "mining",
            match &mining.refusal {
                _ if mining.threads == 0 => "off".to_owned(),
                Some(refusal) => format!("not now: {refusal}"),
                None => format!("{} hashes per second, threads: {}", mining.hashes_per_second, mining.threads),
            },
        ),
    ];
    lines.extend(mining.reward_to.as_ref().map(|address| ("rewards", format!("to {address}"))));
    if let Some((data, note)) = found {
        lines.push(("process", note.pid.to_string()));
        lines.push(("data", data.path().display().to_string()));
    }
    lines.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: &str, result: &serde_json::Value) -> Vec<u8> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "result": result });
        format!("HTTP/1.0 {status}\r\ncontent-type: application/json\r\n\r\n{body}").into_bytes()
    }

    fn info() -> serde_json::Value {
        json!({
            "version": "0.1.0", "chain": "drystone-dev", "kind": "dev", "chain_id": "11".repeat(32),
            "address_prefix": "tdry", "account_reserve": "100000", "maturity": 10, "interval": 1000,
            "max_block_bytes": 2097152, "phase": "ready", "height": 7, "hash": "22".repeat(32), "peers": 0,
            "mining": { "threads": 1, "hashes_per_second": 3, "reward_to": "tdry1x", "refusal": null }
        })
    }

    #[test]
    fn a_reply_becomes_words() {
        let info = parse_reply(&reply("200 OK", &info())).unwrap();
        let text = describe(&info, "127.0.0.1:9".parse().unwrap(), None);
        for part in ["http://127.0.0.1:9/rpc", "drystone-dev (dev)", "height 7", "ready", "3 hashes", "tdry1x"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn other_replies_are_errors() {
        for wrong in [reply("403 Forbidden", &info()), reply("200 OK", &json!(7)), b"nonsense".to_vec(), Vec::new()] {
            assert!(parse_reply(&wrong).is_err(), "{}", String::from_utf8_lossy(&wrong));
        }
    }

    #[test]
    fn a_node_that_is_gone_is_told_with_the_next_step() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Some(directory.path().to_owned());
        let ask = || execute(StatusOptions { data_dir: data_dir.clone(), rpc: None }).unwrap_err().to_string();
        assert!(ask().contains("no node is running"));

        let data = DataDir::at(directory.path().to_owned());
        let chain_id = drystone_core::hash::BlockHash([1; 32]);
        // Above the largest process id of any system.
        let note = NodeNote { rpc: "127.0.0.1:1".into(), p2p: None, pid: u32::MAX, peer_id: None, chain_id };
        data.write_note(&note).unwrap();
        assert!(ask().contains("process 4294967295 is gone\nnext: start it with: drystone-node run --data-dir"));
        data.keep_genesis(&dev_params()).unwrap();
        assert!(ask().contains("drystone-node dev --data-dir"));
        data.write_note(&NodeNote { pid: std::process::id(), ..note }).unwrap();
        assert!(ask().contains("no node answers at 127.0.0.1:1"));
    }
}
