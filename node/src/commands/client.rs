//! A running node, found and asked: where it answers, its cookie, one HTTP request for each call.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use drystone_core::api::{ErrorCode, ErrorData, NodeInfo};
use drystone_core::genesis::dev_params;
use drystone_node::rpc::COOKIE_FILE;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cli::{OwnNode, RunningNode};
use crate::config::read_genesis;
use crate::data::{DataDir, NodeNote};
use crate::failure::Failure;

/// How long a node may take to accept, and then to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest reply that is read: 4,096 bans of a hundred bytes are the longest real one.
const MAX_REPLY_BYTES: u64 = 1 << 20;

/// A node that answers.
pub(crate) struct Client {
    /// Where it answers.
    pub(crate) address: SocketAddr,
    /// What it says of itself.
    pub(crate) info: NodeInfo,
    /// Where its data lie and what it noted there, if it was found by that.
    pub(crate) found: Option<(DataDir, NodeNote)>,
    cookie: Option<PathBuf>,
}

impl Client {
    /// Finds a node for questions that need no cookie.
    pub(crate) fn to_ask(node: RunningNode) -> Result<Client, Failure> {
        Client::find(node.data_dir, node.rpc, None)
    }

    /// Finds a node to be told something, which needs its cookie.
    pub(crate) fn to_tell(node: OwnNode) -> Result<Client, Failure> {
        Client::find(node.data_dir, node.rpc, node.cookie)
    }

    /// The node at `rpc`, or the one that left a note in the data directory, or the only one that runs.
    fn find(data_dir: Option<PathBuf>, rpc: Option<SocketAddr>, cookie: Option<PathBuf>) -> Result<Client, Failure> {
        if let Some(address) = rpc {
            let info = node_info(address)?;
            let cookie = cookie.or_else(|| data_dir.map(|directory| directory.join(COOKIE_FILE)));
            return Ok(Client { address, info, found: None, cookie });
        }
        let data = match data_dir {
            Some(path) => DataDir::at(path),
            None => DataDir::only("data directory of a running node", |data| {
                data.read_note().is_ok_and(|note| note.is_some_and(|note| is_alive(note.pid)))
            })?,
        };
        let (address, note) = read_note(&data)?;
        let info = node_info(address)?;
        // Another program may have taken the port of one that was killed; it must not see the cookie.
        if info.chain_id != note.chain_id {
            let what = format_args!("a node of another chain ({}) answers at {address}", info.chain);
            return Err(not_running(&data, what));
        }
        let cookie = cookie.unwrap_or_else(|| data.path().join(COOKIE_FILE));
        Ok(Client { address, info, found: Some((data, note)), cookie: Some(cookie) })
    }

    /// Asks.
    pub(crate) fn ask<T: DeserializeOwned>(&self, method: &str, params: &Value) -> Result<T, Failure> {
        call(self.address, method, params, None).map_err(|error| self.failure(error))
    }

    /// Tells, with the cookie.
    pub(crate) fn tell<T: DeserializeOwned>(&self, method: &str, params: &Value) -> Result<T, Failure> {
        self.tell_within(TIMEOUT, method, params)
    }

    /// The same with a patience of its own.
    pub(crate) fn tell_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        method: &str,
        params: &Value,
    ) -> Result<T, Failure> {
        let secret = self.cookie.as_deref().map(read_cookie).transpose()?;
        let reply = exchange(self.address, method, params, secret.as_deref(), patience).map_err(CallError::Transport);
        reply.and_then(|reply| parse_reply(&reply)).map_err(|error| self.failure(error))
    }

    /// A node that said this of itself.
    #[cfg(test)]
    pub(super) fn of(address: SocketAddr, info: NodeInfo) -> Client {
        Client { address, info, found: None, cookie: None }
    }

    fn failure(&self, error: CallError) -> Failure {
        match error {
            CallError::Transport(error) => unreachable_at(self.address, &error),
            CallError::Refused(refusal) if refusal.code == ErrorCode::Unauthorized.number() => Failure::new(
                format_args!("the node at {} does not take this cookie", self.address),
                "name that node's own data directory with --data-dir, or its cookie file with --cookie",
            ),
            CallError::Refused(refusal) => Failure::new(refusal.message, refusal.data.next),
        }
    }
}

/// Where the node of a data directory answers, by the note that it left there.
fn read_note(data: &DataDir) -> Result<(SocketAddr, NodeNote), Failure> {
    let Some(note) = data.read_note()? else {
        return Err(not_running(data, format_args!("no node is running in {}", data.path().display())));
    };
    if !is_alive(note.pid) {
        let what = format_args!("the node of {} is not running: process {} is gone", data.path().display(), note.pid);
        return Err(not_running(data, what));
    }
    match note.rpc.parse() {
        Ok(address) => Ok((address, note)),
        Err(_) => Err(not_running(data, format_args!("{} names no address: {:?}", data.note().display(), note.rpc))),
    }
}

fn not_running(data: &DataDir, what: impl fmt::Display) -> Failure {
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

fn read_cookie(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::io("read the cookie", path, &error))?;
    let secret = text.trim();
    // It goes into a header, where a line break would begin another.
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let what = format_args!("{} is not a node's cookie", path.display());
        return Err(Failure::new(what, format_args!("name the file {COOKIE_FILE} in the node's data directory")));
    }
    Ok(secret.to_owned())
}

/// Why there is no result.
#[derive(Debug)]
enum CallError {
    /// No answer, or none that can be read.
    Transport(io::Error),
    /// The node says no.
    Refused(Refusal),
}

/// The `error` member of a reply.
#[derive(Debug, Deserialize)]
struct Refusal {
    code: i32,
    message: String,
    data: ErrorData,
}

fn node_info(address: SocketAddr) -> Result<NodeInfo, Failure> {
    call(address, "node_info", &json!([]), None).map_err(|error| match error {
        CallError::Transport(error) => unreachable_at(address, &error),
        CallError::Refused(refusal) => Failure::new(refusal.message, refusal.data.next),
    })
}

/// Calls a method. HTTP/1.0, because its replies end where the connection does and come in one piece.
fn call<T: DeserializeOwned>(
    address: SocketAddr,
    method: &str,
    params: &Value,
    cookie: Option<&str>,
) -> Result<T, CallError> {
    let reply = exchange(address, method, params, cookie, TIMEOUT).map_err(CallError::Transport)?;
    parse_reply(&reply)
}

fn exchange(
    address: SocketAddr,
    method: &str,
    params: &Value,
    cookie: Option<&str>,
    patience: Duration,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let length = call.len();
    let authorization = cookie.map(|secret| format!("Authorization: Bearer {secret}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /rpc HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\n{authorization}\
         Content-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + &call).as_bytes())?;
    let mut reply = Vec::new();
    stream.take(MAX_REPLY_BYTES).read_to_end(&mut reply)?;
    Ok(reply)
}

/// The result in a reply: status line, fields, an empty line, JSON.
fn parse_reply<T: DeserializeOwned>(reply: &[u8]) -> Result<T, CallError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Outcome<T> {
        Result(T),
        Error(Refusal),
    }
    #[derive(Deserialize)]
    struct Answer<T> {
        #[serde(flatten)]
        outcome: Outcome<T>,
    }
    let other = |what: &str| CallError::Transport(io::Error::other(what.to_owned()));
    let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(|| other("not an HTTP reply"))?;
    let (head, body) = reply.split_at(end + 4);
    let status = head.split(|byte| byte.is_ascii_whitespace()).nth(1).unwrap_or_default();
    if status != b"200" {
        return Err(other(&format!("HTTP status {}", String::from_utf8_lossy(status))));
    }
    match serde_json::from_slice(body) {
        Ok(Answer { outcome: Outcome::Result(result) }) => Ok(result),
        Ok(Answer { outcome: Outcome::Error(refusal) }) => Err(CallError::Refused(refusal)),
        Err(error) => Err(CallError::Transport(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: &str, member: &str, value: &Value) -> Vec<u8> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, member: value });
        format!("HTTP/1.0 {status}\r\ncontent-type: application/json\r\n\r\n{body}").into_bytes()
    }

    #[test]
    fn a_reply_has_a_result_or_a_refusal() {
        assert!(parse_reply::<bool>(&reply("200 OK", "result", &json!(true))).unwrap());
        let error = json!({ "code": -32602, "message": "no", "data": { "name": "invalid_params", "next": "ask" } });
        let Err(CallError::Refused(refusal)) = parse_reply::<bool>(&reply("200 OK", "error", &error)) else {
            panic!("a refusal")
        };
        assert_eq!((refusal.code, refusal.message.as_str(), refusal.data.next.as_str()), (-32602, "no", "ask"));
    }

    #[test]
    fn other_replies_are_errors() {
        let (good, bad) = (json!(true), json!(7));
        for wrong in [
            reply("403 Forbidden", "result", &good),
            reply("200 OK", "result", &bad),
            reply("200 OK", "error", &bad),
            reply("200 OK", "other", &good),
            b"nonsense".to_vec(),
            Vec::new(),
        ] {
            let text = String::from_utf8_lossy(&wrong).into_owned();
            assert!(matches!(parse_reply::<bool>(&wrong), Err(CallError::Transport(_))), "{text}");
        }
    }

    #[test]
    fn a_node_that_is_gone_is_told_with_the_next_step() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Some(directory.path().to_owned());
        let ask = || match Client::to_ask(RunningNode { data_dir: data_dir.clone(), rpc: None }) {
            Ok(_) => panic!("no node runs"),
            Err(failure) => failure.to_string(),
        };
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

    #[test]
    fn a_cookie_is_hex_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(COOKIE_FILE);
        assert!(read_cookie(&path).unwrap_err().to_string().contains("cannot read the cookie"));
        for (content, good) in [("00ff\n", true), ("", false), ("00\r\nx: y", false), ("secret", false)] {
            fs::write(&path, content).unwrap();
            assert_eq!(read_cookie(&path).is_ok(), good, "{content:?}");
        }
    }
}
