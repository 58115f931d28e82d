//! A miner outside the node: it gets templates over RPC, searches their nonces in a process of its own, and hands in what it finds.
//!
//! `cargo run --release --example miner -- http://127.0.0.1:8645 ADDRESS [THREADS]`

#![allow(clippy::disallowed_methods, reason = "a program of its own, which reads its clock itself")]

use std::convert::Infallible;
use std::env;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drystone_core::api::{BlockStatus, BlockSubmitted, ErrorCode, Hex, MiningTemplate};
use drystone_core::block::Block;
use drystone_core::miner::{Control, Job, Kernel, mine};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use ureq::Agent;

/// The node answers a question for a new template after 15 s at the latest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the miner rests where the node does not answer, or does not mine just now.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a call has no result.
#[derive(Debug)]
enum Failure {
    /// The node does not answer, or something else does.
    Silent(String),
    /// It says no.
    Refused(Option<ErrorCode>, String),
}

/// A node's RPC.
struct Node {
    agent: Agent,
    url: String,
}

impl Node {
    fn call<T: DeserializeOwned>(&self, method: &str, params: &Value) -> Result<T, Failure> {
        let silent = |error: ureq::Error| Failure::Silent(format!("{}: {error}", self.url));
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let post = self.agent.post(&self.url).content_type("application/json").send(request);
        let answer = post.map_err(silent)?.body_mut().with_config().limit(64 << 20).read_to_string().map_err(silent)?;
        let odd = |error: serde_json::Error| Failure::Silent(format!("{}: no answer to {method}: {error}", self.url));
        let mut answer: Value = serde_json::from_str(&answer).map_err(odd)?;
        match answer.get_mut("error") {
            Some(error) => {
                let code = error["code"].as_i64().and_then(|code| ErrorCode::from_number(code.try_into().ok()?));
                Err(Failure::Refused(code, error["message"].as_str().unwrap_or("for no reason").to_owned()))
            }
            None => {
                let result = answer.get_mut("result").map(Value::take).unwrap_or_default();
                serde_json::from_value(result).map_err(odd)
            }
        }
    }
}

/// The template to search, which one thread keeps fresh and others look at.
struct Work {
    newest: Mutex<MiningTemplate>,
    /// Goes up with each template.
    number: AtomicU64,
    arrived: Condvar,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, MiningTemplate> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest template and its number.
    fn take(&self) -> (MiningTemplate, u64) {
        let newest = self.lock();
        (newest.clone(), self.number.load(Ordering::Relaxed))
    }

    fn put(&self, template: MiningTemplate) {
        let mut newest = self.lock();
        if *newest == template {
            // What was searched of it is not searched again.
            return;
        }
        *newest = template;
        self.number.fetch_add(1, Ordering::Relaxed);
        self.arrived.notify_all();
    }

    /// Waits for a template after this one.
    fn await_after(&self, number: u64) {
        let mut newest = self.lock();
        while self.number.load(Ordering::Relaxed) == number {
            newest = self.arrived.wait(newest).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Asks for ever: the answer comes when there is another tip, or new transactions.
    fn keep_fresh(&self, node: &Node, address: &str) {
        loop {
            let tip = self.lock().prev_hash;
            match node.call("mining_template", &json!([address, tip])) {
                Ok(template) => self.put(template),
                Err(Failure::Silent(why) | Failure::Refused(_, why)) => {
                    eprintln!("no template: {why}");
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

fn main() -> ExitCode {
    let Err(why) = mine_for_ever();
    eprintln!("error: {why}");
    ExitCode::FAILURE
}

/// Mines until the process is ended; what comes back is why it cannot begin, or not go on.
fn mine_for_ever() -> Result<Infallible, String> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let usage = || "usage: miner http://127.0.0.1:8645 ADDRESS [THREADS]".to_owned();
    let [url, address, rest @ ..] = &arguments[..] else { return Err(usage()) };
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = match rest {
        [] => cores(),
        [threads] => threads.parse().ok().filter(|threads| *threads > 0).ok_or_else(usage)?,
        _ => return Err(usage()),
    };
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_TIMEOUT)).build();
    let node = Node { agent: config.into(), url: format!("{}/rpc", url.trim_end_matches('/')) };
    let first: MiningTemplate = match node.call("mining_template", &json!([address])) {
        Ok(template) => template,
        Err(Failure::Silent(why) | Failure::Refused(_, why)) => return Err(why),
    };
    let work = Work { newest: Mutex::new(first), number: AtomicU64::new(0), arrived: Condvar::new() };
    let shared = Arc::new((node, work, address.clone()));
    let keeper = Arc::clone(&shared);
    thread::spawn(move || keeper.1.keep_fresh(&keeper.0, &keeper.2));
    let (node, work, _) = &*shared;

    let (started, hashes) = (Instant::now(), AtomicU64::new(0));
    let (kernel, _) = Kernel::race(Kernel::available(), || started.elapsed());
    println!("mining for {address} with kernel {kernel} on {threads} threads");
    loop {
        let (template, number) = work.take();
        let job = Job::new(template.block.0.header)
            .map_err(|error| format!("the template of height {}: {error}", template.height))?;
        let cancelled = || work.number.load(Ordering::Relaxed) != number;
        let control = Control { cancelled: &cancelled, clock: &unix_ms, hashes: &hashes };
        let Some(header) = mine(&job, kernel, threads, &control) else { continue };
        let block = Block { header, body: template.block.0.body };
        let rate = hashes.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64() / 1e6;
        let block = json!([Hex(block)]);
        loop {
            match node.call("mining_submit", &block) {
                Ok(BlockSubmitted { hash, status: BlockStatus::Connected }) => {
                    println!("block {hash} at height {}; {rate:.1} MH/s so far", template.height);
                }
                // Somebody else was faster: the next template is on the way.
                Ok(BlockSubmitted { hash, status: BlockStatus::Beside }) => {
                    println!("too late at height {}: block {hash} stands beside the chain", template.height);
                }
                Err(Failure::Refused(Some(ErrorCode::StaleBlock), why)) => {
                    println!("too late at height {}: {why}", template.height);
                }
                // The answer to the time before was lost.
                Err(Failure::Refused(Some(ErrorCode::DuplicateBlock), _)) => {}
                // It is worth as much in a moment, unless there is another tip.
                Err(Failure::Silent(why) | Failure::Refused(Some(ErrorCode::Busy), why)) if !cancelled() => {
                    eprintln!("handing it in again: {why}");
                    thread::sleep(PAUSE);
                    continue;
                }
                Err(Failure::Silent(why) | Failure::Refused(_, why)) => eprintln!("not taken: {why}"),
            }
            break;
        }
        work.await_after(number);
    }
}
