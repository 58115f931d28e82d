//! `rpc`: the body of a request, answered by all that stands behind the HTTP server: the methods, a store and an engine.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};
use std::thread::{self, JoinHandle};

use drystone_core::api::ErrorCode;
use drystone_node::engine::message::{Input, Origin, Output, Token};
use drystone_node::engine::{Config, Engine};
use drystone_node::mailbox::{Mailbox, Message, Submission, Verdict};
use drystone_node::metrics::Metrics;
use drystone_node::rpc::{Cookie, Endpoint, Rpc, RpcParts, max_reply_bytes, max_request_bytes};
use drystone_node::store::{Store, StoreOptions};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use super::chain::FIXTURE;
use crate::fault::FaultyDisk;

/// What changes the node, which then is used for one input only.
const CHANGES: [&str; 7] =
    ["tx_submit", "mining_submit", "chain_reconsider", "mining_set", "net_add_peer", "net_ban", "net_unban"];
/// What is asked without the cookie, and so refused: it writes to the machine's own disk, or mines for minutes.
const REFUSED: [&str; 2] = ["node_backup", "mining_generate"];

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime"));
static UNCHANGED: LazyLock<Node> = LazyLock::new(Node::start);
static COOKIE: LazyLock<Cookie> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("drystone-fuzz-{}", std::process::id()));
    fs::create_dir_all(&directory).expect("a directory for temporary files");
    let cookie = Cookie::create(&directory, [9; 32]).expect("a file in it");
    fs::remove_dir_all(&directory).expect("it is ours");
    cookie
});

/// Whatever the body is, the answer is JSON-RPC 2.0 within its bound: a result, or an error with a documented code, a line and
/// a next step, and never the node's own failure. The lowest bit of the first byte tells if the cookie comes with it.
pub(super) fn rpc(input: &[u8]) -> bool {
    let Some((first, body)) = input.split_first() else { return false };
    if body.len() > max_request_bytes(&FIXTURE.params) {
        return false;
    }
    let request = serde_json::from_slice::<Value>(body).ok();
    // What no JSON value holds, such as half a surrogate pair or a number past all bounds, the node still takes where it does not
    // look at it: then nothing is known of the request, and it has a node of its own.
    let opaque = request.is_none() && serde_json::from_slice::<&RawValue>(body).is_ok();
    let says = |words: &[&str]| request.as_ref().is_some_and(|request| holds(request, words));
    // As written and as read: escapes hide a name from the one, a name that comes twice from the other.
    let written = |word: &&str| body.windows(word.len()).any(|text| text == word.as_bytes());
    let cookie = first & 1 == 1 && request.is_some() && !says(&REFUSED) && !REFUSED.iter().any(written);
    let reply = if opaque || says(&CHANGES) { Node::start().ask(body, cookie) } else { UNCHANGED.ask(body, cookie) };
    assert!(reply.len() <= max_reply_bytes(&FIXTURE.params) + max_request_bytes(&FIXTURE.params));
    let read: Value = match serde_json::from_slice(&reply) {
        Ok(reply) => reply,
        Err(error) => {
            // Nothing but an id that came so.
            assert!(opaque && serde_json::from_slice::<&RawValue>(&reply).is_ok(), "an answer is JSON: {error}");
            return true;
        }
    };
    match (&read, serde_json::from_slice::<Vec<&RawValue>>(body)) {
        (Value::Array(replies), Ok(requests)) => {
            assert_eq!(replies.len(), requests.len(), "{read}");
            replies.iter().for_each(check);
            replies.iter().any(|reply| reply.get("result").is_some())
        }
        (Value::Array(_), Err(_)) => panic!("many answers to one request: {read}"),
        _ => {
            check(&read);
            let id = request.as_ref().and_then(|request| request.get("id")).unwrap_or(&Value::Null);
            assert!(opaque || read["id"] == *id || read["id"].is_null(), "{read}");
            read.get("result").is_some()
        }
    }
}

/// Whether a text is anywhere in a value.
fn holds(value: &Value, words: &[&str]) -> bool {
    match value {
        Value::String(text) => words.contains(&text.as_str()),
        Value::Array(values) => values.iter().any(|value| holds(value, words)),
        Value::Object(fields) => fields.values().any(|value| holds(value, words)),
        _ => false,
    }
}

fn check(reply: &Value) {
    assert_eq!(reply["jsonrpc"], "2.0", "{reply}");
    assert!(reply.get("id").is_some(), "{reply}");
    let error = match (reply.get("result"), reply.get("error")) {
        (Some(_), None) => return,
        (None, Some(error)) => error,
        _ => panic!("neither a result nor an error, or both: {reply}"),
    };
    let number = error["code"].as_i64().and_then(|code| i32::try_from(code).ok()).expect("a code");
    let code = ErrorCode::from_number(number).expect("a documented code");
    assert_ne!(code, ErrorCode::NodeFailure, "{reply}");
    assert_eq!(error["data"]["name"], code.name(), "{reply}");
    for words in [&error["message"], &error["data"]["next"]] {
        let words = words.as_str().expect("a text");
        assert!(!words.is_empty() && !words.contains(char::is_control), "{words:?}");
    }
}

/// The methods over a store and an engine in a thread of its own.
struct Node {
    endpoint: Endpoint,
    mailbox: Mailbox,
    engine: Option<JoinHandle<()>>,
}

impl Node {
    fn start() -> Node {
        let params = Arc::new(FIXTURE.params.clone());
        let disk = FaultyDisk::new(FIXTURE.image.clone());
        let options = StoreOptions { cache_bytes: 1 << 20, ..StoreOptions::default() };
        let store = Arc::new(Store::open_backend(disk, &params, &options).expect("opens"));
        let now = params.time + 3_600_000;
        let engine =
            Engine::new(Arc::clone(&store), Arc::clone(&params), Config::new([3; 32]), now).expect("the disk is sound");
        let (mailbox, inbox) = Mailbox::new();
        // Nobody tells of tips, so nothing waits for another one.
        let (_, tips) = watch::channel(None);
        let rpc = Rpc::new(RpcParts {
            params,
            store,
            mailbox: mailbox.clone(),
            cookie: COOKIE.clone(),
            batch_secret: [3; 32],
            hash_rate: Arc::new(AtomicU64::new(0)),
            metrics: Arc::new(Metrics::new(now, PathBuf::new())),
            tips,
            faucet: None,
        });
        let engine = thread::spawn(move || serve(engine, inbox, now));
        let _runtime = RUNTIME.enter();
        Node { endpoint: Endpoint::new(Arc::new(rpc)), mailbox, engine: Some(engine) }
    }

    fn ask(&self, body: &[u8], cookie: bool) -> Vec<u8> {
        RUNTIME.block_on(self.endpoint.answer_body(body.to_vec(), cookie))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only where the engine's thread has ended.
        let _ = self.mailbox.post(Message::Stop);
        let _ = self.engine.take().map(JoinHandle::join);
    }
}

/// Does what the node's own driver does, at one moment and without a network.
fn serve(mut engine: Engine, mut inbox: Receiver<Message>, now: u64) {
    let workshop = engine.workshop();
    let handle = |engine: &mut Engine, input| {
        let mut verdict: Option<Verdict> = None;
        let mut inputs = vec![input];
        loop {
            let due = engine.next_deadline(now).is_some_and(|due| due <= now);
            let Some(input) = inputs.pop().or(due.then_some(Input::Tick)) else { return verdict };
            for output in engine.handle(now, input).expect("the disk works") {
                match output {
                    Output::Verdict { origin: Origin::Rpc(_), result } => verdict = Some(result),
                    Output::Work { id, job } => inputs.push(Input::Done { id, done: workshop.run(job) }),
                    _ => {}
                }
            }
        }
    };
    handle(&mut engine, Input::Tick);
    let origin = Origin::Rpc(Token(1));
    while let Some(message) = inbox.blocking_recv() {
        match message {
            Message::Call(call) => {
                call(&mut engine, now);
                handle(&mut engine, Input::Tick);
            }
            Message::Submit(submission, caller) => {
                let input = match submission {
                    Submission::Block(block) => Input::Block { origin, block },
                    Submission::Reconsider(hash) => Input::Reconsider { origin, hash },
                    Submission::Transaction(transaction) => {
                        Input::Transactions { origin, transactions: vec![*transaction] }
                    }
                };
                if let Some(verdict) = handle(&mut engine, input) {
                    // The caller waits.
                    let _ = caller.send(verdict);
                }
            }
            Message::Input(input) => drop(handle(&mut engine, input)),
            Message::Stop => return,
        }
    }
}
