//! The shell: opens what a node is made of, ties it together and takes it down again. With the clock beside it, the only
//! reader of the operating system's time and randomness.

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZero;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use drystone_core::address::encode_address;
use drystone_core::genesis::{DEV_ACCOUNTS, dev_params};
use drystone_core::key::SecretKey;
use drystone_node::engine::limits::{OUTBOUND_PEERS, OUTBOUND_PER_GROUP};
use drystone_node::engine::message::{Input, Output};
use drystone_node::engine::{self, Engine};
use drystone_node::mailbox::{Mailbox, Message};
use drystone_node::metrics::Metrics;
use drystone_node::net::{Net, NetConfig, NetError, key_pair, name_of};
use drystone_node::rpc::{Cookie, Faucet, MAX_CONNECTIONS, Rpc, RpcParts, RpcServer};
use drystone_node::store::{Store, StoreError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{oneshot, watch};
use tokio::time::{interval, sleep};
use tracing::{error, info, warn};

use crate::clock::now;
use crate::config::Config;
use crate::data::{DataDir, NodeNote};
use crate::driver::{Driver, Hands, Inbox};
use crate::failure::Failure;
use crate::miner::{Meter, Miner, SPEED_WINDOW};
use crate::workers::Workers;
use crate::{banner, logging, print, progress, scrub, units};

/// Threads that serve sockets and timers; what computes or waits for the disk runs elsewhere.
const IO_THREADS: usize = 2;
/// Messages that wait between engine and network, in each direction. The largest is a response with 3 MiB of bodies, of
/// which the window's bound lets 64 MiB be under way.
const NETWORK_QUEUE: usize = 256;
/// What the workers have done and the engine has yet to take in.
const DONE_QUEUE: usize = 64;
/// How long calls that still compute may keep the program from ending, once nobody hears them.
const LAST_CALLS: Duration = Duration::from_millis(200);
/// How often the log says how fast the node mines, in seconds of mining.
const LOG_SPEED_EVERY: u64 = 3_600;
/// Files that are open beside the connections of the RPC: those of peers, being set up and in use, and of the ledger.
const OTHER_FILES: usize = 512;
/// Connections of the RPC where the system allows few files.
const FEWEST_CONNECTIONS: usize = 16;
/// The exit code of a program that a second Ctrl-C ended at once, as shells expect it.
const INTERRUPTED: i32 = 130;
/// Signals that come within this time of the first are the same wish.
const SIGNALS_TOGETHER: Duration = Duration::from_millis(500);

/// Runs a node until a signal ends it. `greets` prints what a newcomer to a development chain needs.
pub(crate) fn run(config: &Config, greets: bool) -> Result<(), Failure> {
    logging::start(config.log, config.log_json);
    let params = Arc::new(config.params.clone());
    info!(version = env!("CARGO_PKG_VERSION"), chain = params.name, data = %config.data.path().display(), "starting");
    let store = Arc::new(open_store(config)?);
    let batch_secret = random()?;
    let keys = key_pair(config.data.keep_identity(random()?)?);
    let identity = name_of(&keys).expect("its keys are ed25519");
    let engine_config = engine::Config {
        reward_to: config.reward_to,
        threads: config.threads,
        seed: random()?,
        identity,
        peers_per_address: config.max_per_ip,
        outbound_per_group: if config.group_limits { OUTBOUND_PER_GROUP } else { OUTBOUND_PEERS },
        ..engine::Config::new(batch_secret)
    };
    let mut engine = Engine::new(Arc::clone(&store), Arc::clone(&params), engine_config, now())?;
    let tip = engine.tip();
    info!(height = tip.height, hash = %tip.hash, "ledger opened");
    config.peers.iter().for_each(|address| engine.add_peer(*address));

    let (mailbox, messages) = Mailbox::new();
    let cookie = Cookie::create(config.data.path(), random()?)
        .map_err(|error| Failure::io("write the cookie to", config.data.path(), &error))?;
    let hash_rate = Arc::new(AtomicU64::new(0));
    let metrics = Arc::new(Metrics::new(now(), config.data.store()));
    let (tips, told) = watch::channel(engine.settled_tip());
    let rpc = Rpc::new(RpcParts {
        params: Arc::clone(&params),
        store: Arc::clone(&store),
        mailbox: mailbox.clone(),
        cookie,
        batch_secret,
        hash_rate: Arc::clone(&hash_rate),
        metrics: Arc::clone(&metrics),
        tips: told,
        faucet: faucet(config)?,
    });
    let runtime = start_runtime()?;
    let connections = raise_file_limit().saturating_sub(OTHER_FILES).clamp(FEWEST_CONNECTIONS, MAX_CONNECTIONS);
    let server = runtime
        .block_on(RpcServer::start(config.rpc, &config.rpc_hosts, connections, rpc))
        .map_err(|error| cannot_bind(config.rpc, &error))?;
    let address = server.address();
    if !address.ip().is_loopback() {
        warn!(%address, "the RPC answers other machines too, and the cookie travels unencrypted");
    }
    info!(%address, "RPC answers");
    let (to_engine, network) = channel(NETWORK_QUEUE);
    let (to_network, commands) = channel(NETWORK_QUEUE);
    let net_config = NetConfig {
        params: Arc::clone(&params),
        keys,
        listen: config.listen.address,
        peers_per_host: config.max_per_ip,
        mdns: config.mdns,
        metrics: Arc::clone(&metrics),
    };
    let (net, p2p) = runtime.block_on(listen(net_config, config.listen.any_port, to_engine, commands))?;
    info!(address = %p2p, peer = %identity, "peers can connect");
    config.data.write_note(&NodeNote {
        rpc: address.to_string(),
        p2p: Some(p2p.to_string()),
        pid: process::id(),
        peer_id: Some(identity.to_string()),
        chain_id: params.chain_id(),
    })?;
    let noted = Noted(&config.data);
    if greets {
        print(&banner::text(config, address, p2p, &store.snapshot()?)?)?;
    }
    let miner =
        Miner::start(mailbox.clone(), config.kernel).map_err(|error| cannot_start("the miner's thread", &error))?;
    runtime.spawn(measure(miner.meter(), hash_rate));
    runtime.spawn(progress::show(mailbox.clone(), config.log_json));
    if config.scrub_days > 0.0 {
        let begin = u64::from_le_bytes(random()?[..8].try_into().expect("8 of 32 bytes"));
        runtime.spawn(scrub::run(store, mailbox.clone(), Arc::clone(&metrics), config.scrub_days, begin));
    } else {
        drop(store);
    }
    let (end, mut ended) = oneshot::channel();
    let (to_done, done) = channel(DONE_QUEUE);
    let cores = available_parallelism().map_or(1, NonZero::get);
    let workers = Workers::start(engine.workshop(), cores, &to_done);
    let workers = workers.map_err(|error| cannot_start("the workers", &error))?;
    runtime.spawn(net.run());
    let inbox = Inbox { messages, network, done };
    let hands = Hands { miner, workers, network: to_network, tips };
    let driver = Driver::new(engine, inbox, hands, metrics, runtime.handle().clone());
    let drive = move || {
        let result = driver.run();
        // Nobody listens only where the program is ending already.
        let _ = end.send(());
        result
    };
    let thread = thread::Builder::new().name("engine".into()).spawn(drive);
    let thread = thread.map_err(|error| cannot_start("the engine's thread", &error))?;

    runtime.block_on(async {
        let mut signals = Signals::listen().map_err(|error| cannot_start("listening for signals", &error))?;
        tokio::select! {
            name = signals.next() => info!("stopping on {name}; another one, in a moment, ends at once"),
            _ = &mut ended => error!("stopping because the engine has ended"),
        }
        // What stops a program often signals it and then its group: that is one stop.
        tokio::spawn(async move {
            sleep(SIGNALS_TOGETHER).await;
            if let Ok(mut signals) = Signals::listen() {
                signals.next().await;
                process::exit(INTERRUPTED);
            }
        });
        server.stop().await;
        Ok::<_, Failure>(())
    })?;
    // Fails only where the engine has ended by itself.
    let _ = mailbox.post_waiting(Message::Stop);
    let result = thread.join().expect("a panic of any thread ends the program");
    runtime.shutdown_timeout(LAST_CALLS);
    drop(noted);
    result?;
    info!("stopped");
    Ok(())
}

/// The note that a node runs here, which goes when the node does; but for a kill and a second signal, after which the next start
/// takes it away.
struct Noted<'a>(&'a DataDir);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Err(failure) = self.0.remove_note() {
            warn!("{}", failure.to_string().replace('\n', "; "));
        }
    }
}

/// Asks the system for as many open files as the node can use, and returns how many it allows.
fn raise_file_limit() -> usize {
    let useful = (MAX_CONNECTIONS + OTHER_FILES) as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.map_or(useful, |maximum| maximum.min(useful));
    // No limit at all is never less.
    if current.is_some_and(|current| current < allowed)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum })
    {
        warn!("the limit of open files stays where it is: {error}");
    }
    getrlimit(Resource::Nofile).current.map_or(useful, |current| current.min(useful)) as usize
}

/// The faucet, if one is wanted. The development chain's is its last funded account; elsewhere it has a key of its own.
fn faucet(config: &Config) -> Result<Option<Faucet>, Failure> {
    let Some(amount) = config.faucet else { return Ok(None) };
    let key = if config.params == dev_params() {
        SecretKey::dev(DEV_ACCOUNTS - 1)
    } else {
        SecretKey::from_seed(&config.data.keep_faucet(random()?)?)
    };
    let address = encode_address(&config.params.address_prefix, &key.account());
    info!(
        address,
        stones = amount.to_stones(),
        "the faucet pays whoever asks; fund it by paying or mining to its address"
    );
    Ok(Some(Faucet::new(key, amount)))
}

fn open_store(config: &Config) -> Result<Store, Failure> {
    config.data.create()?;
    let progress = |done: f64| info!("checking the ledger: {:.0} %", 100.0 * done);
    let store = config.data.open_store(&config.params, &config.store, progress);
    let store = store.map_err(|error| match error {
        StoreError::InUse => Failure::new(
            format_args!("a node is already running in {}", config.data.path().display()),
            "stop it, or start this one beside it with: --data-dir OTHER --rpc 127.0.0.1:0",
        ),
        error => error.into(),
    })?;
    // Of a node that was killed; the lock says that it runs no more.
    config.data.remove_note()?;
    config.data.keep_genesis(&config.params)?;
    Ok(store)
}

/// Listens for peers. Where the usual port is taken and nobody asked for it, on a free one.
async fn listen(
    config: NetConfig,
    any_port: bool,
    inputs: Sender<Input>,
    commands: Receiver<Output>,
) -> Result<(Net, SocketAddr), Failure> {
    let address = config.listen;
    let free = SocketAddr::new(address.ip(), 0);
    // libp2p shares a port with whoever else would.
    let config = match TcpListener::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse && any_port => {
            warn!(%address, "the usual port for peers is taken by another program; taking a free one");
            NetConfig { listen: free, ..config }
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            return Err(Failure::new(
                format_args!("the address {address} for peers is in use by another program, perhaps another node"),
                format_args!("stop that one, or take a free port with: --listen {free}"),
            ));
        }
        _ => config,
    };
    Net::start(&config, inputs, commands).await.map_err(|error| match error {
        NetError::Listen { .. } => {
            Failure::new(error, "give an address of this machine and a port above 1023, as in: --listen 0.0.0.0:8646")
        }
        NetError::Setup(_) => Failure::new(error, "raise the limits of this account (ulimit -a) and try again"),
    })
}

fn start_runtime() -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(IO_THREADS).thread_name("io").enable_all().build();
    runtime.map_err(|error| cannot_start("the threads for sockets", &error))
}

fn cannot_start(what: &str, error: &Error) -> Failure {
    Failure::new(
        format_args!("cannot start {what}: {error}"),
        "raise the limits of this account (ulimit -a) and try again",
    )
}

fn cannot_bind(address: SocketAddr, error: &Error) -> Failure {
    match error.kind() {
        ErrorKind::AddrInUse => Failure::new(
            format_args!("the RPC address {address} is in use by another program, perhaps another node"),
            format_args!("stop that one, or take a free port with: --rpc {}", SocketAddr::new(address.ip(), 0)),
        ),
        _ => Failure::new(
            format_args!("cannot answer RPC at {address}: {error}"),
            "give an address of this machine and a port above 1023, as in: --rpc 127.0.0.1:8645",
        ),
    }
}

/// 32 bytes that nobody else knows.
fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Failure::new(
            format_args!("the system gives no randomness: {error}"),
            "make /dev/urandom readable and try again",
        )),
    }
}

/// Writes the miner's speed once a second to where the RPC reads it, and once an hour, and soon after it begins, to the log.
async fn measure(mut meter: Meter, hash_rate: Arc<AtomicU64>) {
    let mut seconds = interval(Duration::from_secs(1));
    let mut mining_for = 0_u64;
    loop {
        seconds.tick().await;
        let speed = meter.sample();
        hash_rate.store(speed, Ordering::Relaxed);
        mining_for = if speed > 0 { mining_for + 1 } else { 0 };
        if mining_for % LOG_SPEED_EVERY == SPEED_WINDOW as u64 {
            info!(rate = units::hash_rate(speed), "hash rate");
        }
    }
}

/// The signals that ask the program to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for one and returns its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}
