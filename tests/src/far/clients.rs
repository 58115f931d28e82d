//! Many clients of one node at once, while it rests, mines on all cores, or fetches a long chain: is each call answered, how
//! soon, and what does the node hold meanwhile?

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use drystone_core::params::{ChainKind, ChainParams};
use drystone_core::pow::CompactTarget;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::{sleep, sleep_until, timeout};

use super::chain::{address, params};
use super::figures::{ms, percentile};
use super::join::Archive;
use super::network::write_genesis;
use super::node::{Machine, Node, Start};
use crate::random::Random;

/// Accounts that genesis funds.
const ACCOUNTS: usize = 100;

/// How long a reply may take before it counts as a failure.
const REPLY: Duration = Duration::from_secs(60);

/// How often memory and descriptors are looked at.
const SAMPLE: Duration = Duration::from_millis(500);

/// What memory may grow to under clients, in bytes: far below what the node's limits allow.
const MEMORY: u64 = 512 << 20;

/// What the node does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum During {
    /// Nothing.
    Rest,
    /// It mines on as many threads as there are cores, a block a second.
    Mining,
    /// It fetches a long chain from a peer.
    Syncing,
}

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct Plan {
    /// How many clients, each with a connection that it keeps.
    #[arg(long, default_value_t = 1_000)]
    pub clients: usize,
    /// For how many seconds each.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Milliseconds from a reply to the same client's next request, on average.
    #[arg(long, default_value_t = 500)]
    pub pause: u64,
    /// What the node does meanwhile; may be given several times.
    #[arg(long, default_values = ["rest", "mining", "syncing"])]
    pub during: Vec<During>,
    /// What chance comes from.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What a client saw.
#[derive(Debug, Default)]
struct Seen {
    /// Microseconds from each request to its reply.
    calls: Vec<u64>,
    failures: Vec<String>,
}

/// Runs a plan and prints what came of it: whether every call was answered and memory kept its bound. `archive` is the
/// chain that is fetched.
///
/// # Panics
/// If a node does not start.
pub fn run(plan: &Plan, archive: impl FnOnce() -> Archive, program: &Path, root: &Path) -> bool {
    let archive = plan.during.contains(&During::Syncing).then(archive);
    let mut good = true;
    for during in &plan.during {
        let root = root.join(format!("{during:?}"));
        // A server beside the node, on the other core, where it fetches from one.
        let server = archive
            .as_ref()
            .filter(|_| *during == During::Syncing)
            .map(|archive| (archive, archive.serve(Machine::Here, program, &root.join("server"), None)));
        let genesis = match &server {
            Some((archive, _)) => archive.genesis.clone(),
            None => write_genesis(&root, &mined()),
        };
        let peers = server.iter().map(|(_, server)| server.p2p).collect();
        let mut start =
            Start { program: program.to_owned(), root: root.join("node"), genesis, peers, ..Start::default() };
        if *during == During::Mining {
            let threads = available_parallelism().map_or(1, usize::from);
            start.arguments =
                ["--threads", &threads.to_string(), "--mine", &address(&mined(), 0)].map(str::to_owned).to_vec();
        }
        let mut node = Node::start(Machine::Here, &start);
        good &= measure(plan, *during, &mut node);
    }
    good
}

/// A chain with an amount of work that keeps miners busy, from its first block on: two cores need about a second.
fn mined() -> ChainParams {
    let bits = CompactTarget(0x1e00_ffff);
    ChainParams { kind: ChainKind::Test, interval: 1_000, response: 120_000, bits, pow_limit: bits, ..params(ACCOUNTS) }
}

fn measure(plan: &Plan, during: During, node: &mut Node<'_>) -> bool {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
    let rpc = node.rpc();
    let (before, _) = node.resources();
    let height = node.tip().0;
    let started = Instant::now();
    let end = started + Duration::from_secs(plan.seconds);
    let random = Random::new(plan.seed);
    let (seen, most) = runtime.block_on(async {
        let plan = Arc::new(plan.clone());
        let clients: Vec<_> = (0..plan.clients)
            .map(|number| tokio::spawn(client(rpc, Arc::clone(&plan), end, random.part("client", number as u64))))
            .collect();
        let mut most = (0, 0);
        while Instant::now() < end {
            let (memory, files) = node.resources();
            most = (most.0.max(memory), most.1.max(files));
            sleep(SAMPLE).await;
        }
        let mut seen = Seen::default();
        for client in clients {
            let mut one = client.await.expect("a client does not panic");
            seen.calls.append(&mut one.calls);
            seen.failures.append(&mut one.failures);
        }
        (seen, most)
    });
    let took = started.elapsed().as_secs_f64();
    let blocks = node.tip().0 - height;
    let connecting: Vec<u64> =
        node.log.connected().iter().filter(|line| line.height > height).map(|line| 1_000 * line.took_ms).collect();
    let of = |percent| percentile(&seen.calls, percent).map_or("-".into(), ms);
    println!(
        "{during:?}: {} clients, {} calls, {:.0} a second, {} failed; p50 {} ms, p95 {} ms, p99 {} ms, max {} ms",
        plan.clients,
        seen.calls.len(),
        seen.calls.len() as f64 / took,
        seen.failures.len(),
        of(50),
        of(95),
        of(99),
        of(100)
    );
    println!(
        "  memory {:.1} MB before, {:.1} MB at most; {} descriptors at most; {blocks} blocks connected, a block in p50 {} ms, \
         p99 {} ms",
        before as f64 / 1e6,
        most.0 as f64 / 1e6,
        most.1,
        percentile(&connecting, 50).map_or("-".into(), ms),
        percentile(&connecting, 99).map_or("-".into(), ms),
    );
    seen.failures.iter().take(5).for_each(|failure| println!("  failed: {failure}"));
    seen.failures.is_empty() && most.0 < MEMORY
}

/// One client: asks, waits for the reply, rests, asks again.
async fn client(rpc: SocketAddr, plan: Arc<Plan>, end: Instant, mut random: Random) -> Seen {
    let (mut seen, params) = (Seen::default(), mined());
    // They do not all come at the same moment.
    let mut next = Instant::now() + Duration::from_millis(random.below(plan.pause.max(1)));
    let mut stream = None;
    while next < end {
        sleep_until(next.into()).await;
        let request = request(&params, &mut random);
        let started = Instant::now();
        match timeout(REPLY, ask(&mut stream, rpc, &request)).await {
            Ok(Ok(())) => seen.calls.push(started.elapsed().as_micros() as u64),
            Ok(Err(error)) => {
                stream = None;
                seen.failures.push(format!("{request}: {error}"));
            }
            Err(_) => {
                stream = None;
                seen.failures.push(format!("{request}: no reply within {} s", REPLY.as_secs()));
            }
        }
        next = Instant::now() + Duration::from_millis(random.exponential(plan.pause));
    }
    seen
}

/// What clients commonly ask, mixed.
fn request(params: &ChainParams, random: &mut Random) -> Value {
    let account = address(params, random.below(ACCOUNTS as u64) as usize);
    let (method, params) = match random.below(8) {
        0 => ("node_info", json!([])),
        1 => ("chain_head", json!([])),
        2 => ("chain_header", json!([0])),
        3 => ("chain_block", json!([0])),
        4 => ("account_get", json!([account])),
        5 => ("account_proof", json!([account])),
        6 => ("mempool_info", json!([])),
        _ => ("fee_estimate", json!([])),
    };
    json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })
}

async fn ask(stream: &mut Option<TcpStream>, rpc: SocketAddr, request: &Value) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let kept = match stream {
        Some(stream) => stream,
        None => stream.insert(TcpStream::connect(rpc).await.map_err(failed)?),
    };
    let body = request.to_string();
    let head = format!(
        "POST /rpc HTTP/1.1\r\nhost: {rpc}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    kept.write_all((head + &body).as_bytes()).await.map_err(failed)?;
    let mut reply = Vec::new();
    loop {
        let mut chunk = [0; 4_096];
        let read = kept.read(&mut chunk).await.map_err(failed)?;
        if read == 0 {
            return Err("the connection ended".into());
        }
        reply.extend_from_slice(&chunk[..read]);
        if let Some(body) = whole(&reply) {
            let reply: Value = serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))?;
            return if reply["error"].is_null() { Ok(()) } else { Err(reply["error"].to_string()) };
        }
    }
}

/// The body of a response that has come whole.
fn whole(reply: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(reply).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    body.get(..length)
}
