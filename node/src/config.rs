//! What a node is to do: the flags, then the configuration file, then the defaults.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::num::NonZero;
use std::path::{Path, PathBuf, absolute};
use std::thread::available_parallelism;

use drystone_core::address::decode_address;
use drystone_core::amount::Amount;
use drystone_core::genesis::{dev_params, main_params};
use drystone_core::key::{AccountId, SecretKey};
use drystone_core::miner::Kernel;
use drystone_core::params::{ChainKind, ChainParams};
use drystone_node::engine::limits::{PEERS, PEERS_PER_ADDRESS};
use drystone_node::engine::operator::dialable;
use drystone_node::net::parse_address;
use drystone_node::rpc::{MAX_MINING_THREADS, host_address};
use drystone_node::store::StoreOptions;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::cli::{NodeOptions, RunOptions, check_days};
use crate::data::DataDir;
use crate::failure::Failure;
use crate::logging::Level;

/// The largest file that is read as a genesis or a configuration, in bytes: room for a hundred thousand allocations.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Where a node answers unless told otherwise.
pub(crate) const DEFAULT_RPC: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8645);

/// Where peers connect unless told otherwise.
pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8646);

/// In how many days everything on disk is read over: a disk that rots is found while others still have what it lost, and
/// a ledger of 100 GB is read at 0.2 MB a second.
const DEFAULT_SCRUB_DAYS: f64 = 7.0;

/// Where peers connect to a chain of one's own, on any free port.
const DEV_LISTEN: &str = "127.0.0.1:0";

/// Everything that a node needs to be told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The chain.
    pub(crate) params: ChainParams,
    /// Where everything is kept.
    pub(crate) data: DataDir,
    /// Where to answer JSON-RPC.
    pub(crate) rpc: SocketAddr,
    /// Names beside `localhost` and the address itself that RPC requests may call this node by.
    pub(crate) rpc_hosts: Vec<String>,
    /// Where peers connect.
    pub(crate) listen: Listen,
    /// Whom to connect to.
    pub(crate) peers: Vec<SocketAddr>,
    /// How many peers may come from one address.
    pub(crate) max_per_ip: usize,
    /// Whether at most one connection is opened into a network group.
    pub(crate) group_limits: bool,
    /// Whether to look for nodes on the local network.
    pub(crate) mdns: bool,
    /// Whom mining rewards.
    pub(crate) reward_to: Option<AccountId>,
    /// How many threads mine.
    pub(crate) threads: usize,
    /// How to hash when mining; nothing is as is fastest.
    pub(crate) kernel: Option<Kernel>,
    /// In how many days everything on disk is read over; 0 is never.
    pub(crate) scrub_days: f64,
    /// What whoever asks is paid, if anything.
    pub(crate) faucet: Option<Amount>,
    /// How much is logged.
    pub(crate) log: Level,
    /// Whether the log is JSON.
    pub(crate) log_json: bool,
    /// How to open the store.
    pub(crate) store: StoreOptions,
}

/// Where peers connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    /// The address.
    pub(crate) address: SocketAddr,
    /// Whether another port will do if this one is taken: nobody asked for it.
    pub(crate) any_port: bool,
}

/// The configuration file. Paths in it are relative to it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    genesis: Option<PathBuf>,
    data_dir: Option<PathBuf>,
    rpc: Option<SocketAddr>,
    #[serde(default, deserialize_with = "read_hosts")]
    rpc_hosts: Option<Vec<String>>,
    listen: Option<String>,
    peers: Option<Vec<String>>,
    net: Option<NetTable>,
    mine: Option<String>,
    #[serde(default, deserialize_with = "read_threads")]
    threads: Option<u16>,
    kernel: Option<String>,
    #[serde(default, deserialize_with = "read_days")]
    scrub_days: Option<f64>,
    faucet: Option<String>,
    log: Option<Level>,
    log_json: Option<bool>,
    index_transactions: Option<bool>,
    index_accounts: Option<bool>,
}

/// The table `[net]` of the configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetTable {
    max_per_ip: Option<NonZero<u16>>,
    group_limits: Option<bool>,
    mdns: Option<bool>,
}

impl Config {
    /// What `run` is to do.
    pub(crate) fn run(options: RunOptions) -> Result<Config, Failure> {
        let file = options.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let flags = options.node;
        let data_dir = flags.data_dir.or(file.data_dir);
        // A directory that has been used says which chain it holds.
        let kept = data_dir.clone().map(|path| DataDir::at(path).genesis()).filter(|path| path.exists());
        let params = match options.genesis.or(file.genesis).or(kept) {
            Some(path) => read_genesis(&path)?,
            None => main_params(),
        };
        let node = NodeOptions {
            data_dir,
            rpc: flags.rpc.or(file.rpc),
            listen: flags.listen.or(file.listen),
            peer: if flags.peer.is_empty() { file.peers.unwrap_or_default() } else { flags.peer },
            mine: flags.mine.or(file.mine),
            threads: flags.threads.or(file.threads),
            kernel: flags.kernel.or(file.kernel),
            scrub_days: flags.scrub_days.or(file.scrub_days),
            faucet: flags.faucet.or(file.faucet),
            log: flags.log.or(file.log),
            log_json: flags.log_json || file.log_json.unwrap_or_default(),
        };
        let cores = available_parallelism().map_or(1, NonZero::get);
        let rpc_hosts = file.rpc_hosts.unwrap_or_default();
        let (index_transactions, index_accounts) = (file.index_transactions, file.index_accounts);
        let store = StoreOptions { index_transactions, index_accounts, ..StoreOptions::default() };
        let net = file.net.unwrap_or_default();
        let config = Config::new(params, node, None, cores)?;
        Ok(Config {
            rpc_hosts,
            store,
            max_per_ip: net.max_per_ip.map_or(PEERS_PER_ADDRESS, |peers| usize::from(peers.get())),
            group_limits: net.group_limits.unwrap_or(true),
            // Nobody else is on loopback's network.
            mdns: net.mdns.unwrap_or(config.params.kind != ChainKind::Main)
                && !config.listen.address.ip().is_loopback(),
            ..config
        })
    }

    /// What `dev` is to do.
    pub(crate) fn dev(options: NodeOptions) -> Result<Config, Failure> {
        // One thread is more than enough where half of all hashes meet the target.
        let listen = options.listen.or_else(|| Some(DEV_LISTEN.into()));
        let options = NodeOptions { listen, ..options };
        let config = Config::new(dev_params(), options, Some(SecretKey::dev(0).account()), 1)?;
        Ok(Config { max_per_ip: PEERS, group_limits: false, ..config })
    }

    fn new(
        params: ChainParams,
        options: NodeOptions,
        reward_to: Option<AccountId>,
        threads: usize,
    ) -> Result<Config, Failure> {
        let data = match options.data_dir {
            // Absolute, because messages and other programs repeat it.
            Some(path) => DataDir::at(absolute(&path).map_err(|error| Failure::io("find", &path, &error))?),
            None => DataDir::of_chain(&params.name)?,
        };
        let listen = match options.listen {
            Some(text) => Listen { address: read_listen(&text)?, any_port: false },
            None => Listen { address: DEFAULT_LISTEN, any_port: true },
        };
        let peers = options.peer.iter().map(|text| read_peer(text)).collect::<Result<_, _>>()?;
        let faucet = options.faucet.map(|stones| read_faucet(&params, &stones)).transpose()?;
        let mine = options.mine.map(|address| read_address(&params, &address)).transpose()?;
        Ok(Config {
            data,
            rpc: options.rpc.unwrap_or(DEFAULT_RPC),
            rpc_hosts: Vec::new(),
            listen,
            peers,
            max_per_ip: PEERS_PER_ADDRESS,
            group_limits: true,
            mdns: false,
            reward_to: mine.or(reward_to),
            threads: options.threads.map_or(threads, usize::from),
            kernel: options.kernel.map(|name| read_kernel(&name)).transpose()?,
            scrub_days: options.scrub_days.unwrap_or(DEFAULT_SCRUB_DAYS),
            faucet,
            log: options.log.unwrap_or_default(),
            log_json: options.log_json,
            store: StoreOptions::default(),
            params,
        })
    }
}

/// Reads and checks a genesis file.
pub(crate) fn read_genesis(path: &Path) -> Result<ChainParams, Failure> {
    let text = read_capped(path).map_err(|error| Failure::io("read the genesis file", path, &error))?;
    ChainParams::from_json(&text).map_err(|error| {
        Failure::new(
            format_args!("{} is not a genesis file: {error}", path.display()),
            "correct it, or write one with: drystone-node genesis new --name NAME --output FILE",
        )
    })
}

fn read_days<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    check_days(f64::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn read_threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let threads = u16::deserialize(deserializer)?;
    if threads <= MAX_MINING_THREADS {
        Ok(Some(threads))
    } else {
        Err(D::Error::custom(format!("at most {MAX_MINING_THREADS} threads")))
    }
}

/// Names and addresses, an IPv6 one with or without its brackets.
fn read_hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let hosts = Vec::<String>::deserialize(deserializer)?;
    let is_name = |host: &str| !(host.is_empty() || host.contains([':', '/', '[', ']']));
    let is_host = |host: &&String| is_name(host) || host_address(host).is_some();
    match hosts.iter().find(|host| !is_host(host)) {
        Some(host) => Err(D::Error::custom(format!("{host:?} is no host name or address: leave out scheme and port"))),
        None => Ok(Some(hosts)),
    }
}

fn read_listen(text: &str) -> Result<SocketAddr, Failure> {
    parse_address(text).ok_or_else(|| {
        Failure::new(
            format_args!("cannot listen on {text:?}: it is no address of this machine with a port"),
            format_args!("give one, as in: --listen {DEFAULT_LISTEN}"),
        )
    })
}

/// Reads where a peer is. A name is looked up now, once.
fn read_peer(text: &str) -> Result<SocketAddr, Failure> {
    if let Some(address) = parse_address(text).filter(|address| dialable(*address)) {
        return Ok(address);
    }
    let found = text.to_socket_addrs().map(|mut addresses| addresses.next());
    let reason = match found {
        Ok(Some(address)) if dialable(address) => return Ok(address),
        Ok(Some(_)) => "nobody answers there".into(),
        Ok(None) => "it has no address".into(),
        Err(error) => error.to_string(),
    };
    let example = "give a host and a port, as in: --peer 192.0.2.1:8646 or --peer node.example:8646";
    Err(Failure::new(format_args!("cannot find the peer {text:?}: {reason}"), example))
}

/// Reads an address that must be of this chain.
fn read_address(params: &ChainParams, text: &str) -> Result<AccountId, Failure> {
    decode_address(&params.address_prefix, text).map_err(|error| {
        Failure::new(
            format_args!("cannot mine to {text:?}: {error}"),
            format_args!("give an address of {}, as drystone-wallet address prints", params.name),
        )
    })
}

/// Reads the name of a kernel that this processor can run.
fn read_kernel(name: &str) -> Result<Kernel, Failure> {
    Kernel::named(name).filter(Kernel::is_available).ok_or_else(|| {
        let names: Vec<&str> = Kernel::available().map(|kernel| kernel.name()).collect();
        let next = format!("leave it out, or name one that this processor can run: {}", names.join(", "));
        match Kernel::named(name) {
            Some(_) => Failure::new(format_args!("this processor cannot run the kernel {name:?}"), next),
            None => Failure::new(format_args!("there is no kernel {name:?}"), next),
        }
    })
}

/// Reads what a faucet pays: an amount that a new account may hold, of stones that are worth nothing.
fn read_faucet(params: &ChainParams, stones: &str) -> Result<Amount, Failure> {
    if params.kind == ChainKind::Main {
        return Err(Failure::new(
            format_args!("no faucet on {}: its stones are money", params.name),
            "leave --faucet out, or take a chain of kind test, as drystone-node genesis new makes one",
        ));
    }
    let example = "give stones, as in: --faucet 10";
    let amount = Amount::from_stones(stones)
        .map_err(|error| Failure::new(format_args!("a faucet cannot pay {stones:?}: {error}"), example))?;
    if amount < params.account_reserve.max(Amount(1)) {
        let least = params.account_reserve.max(Amount(1)).to_stones();
        let what = format_args!("a faucet cannot pay {stones:?}: a new account must hold {least} stones at least");
        return Err(Failure::new(what, example));
    }
    Ok(amount)
}

/// Reads a text file of at most [`MAX_FILE_BYTES`].
fn read_capped(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 16 MiB"));
    }
    Ok(text)
}

fn read_file(path: &Path) -> Result<File, Failure> {
    let text = read_capped(path).map_err(|error| Failure::io("read the configuration", path, &error))?;
    parse_file(path, &text)
}

fn parse_file(path: &Path, text: &str) -> Result<File, Failure> {
    let mut file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Failure::new(
            format_args!("{} line {line}: {}", path.display(), error.message().replace('\n', "; ")),
            "correct the file; drystone-node run --help explains each key under the flag of its name",
        )
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    for path in [&mut file.genesis, &mut file.data_dir].into_iter().flatten() {
        *path = directory.join(&*path);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use drystone_core::address::encode_address;

    fn options(directory: &Path, config: &str, node: NodeOptions) -> RunOptions {
        let path = directory.join("drystone.toml");
        fs::write(&path, config).unwrap();
        RunOptions { genesis: None, config: Some(path), node }
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_defaults() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("g.json"), dev_params().to_json()).unwrap();
        let address = encode_address("tdry", &AccountId([5; 32]));
        let text = format!(
            "genesis = 'g.json'\ndata_dir = 'd'\nrpc = '127.0.0.1:1'\nrpc_hosts = ['node.example', '[::1]', '::1']\n\
             listen = '127.0.0.1:7'\npeers = ['10.0.0.1:1', '/ip4/10.0.0.2/tcp/2']\nmine = '{address}'\nthreads = 3\nkernel = 'portable'\nscrub_days = 30\nlog = 'warn'\nlog_json = true\n\
             [net]\nmax_per_ip = 9\ngroup_limits = false\n"
        );
        let config = Config::run(options(directory.path(), &text, NodeOptions::default())).unwrap();
        assert_eq!(config.params, dev_params());
        assert_eq!(config.data.path(), directory.path().join("d"));
        assert_eq!(config.rpc.to_string(), "127.0.0.1:1");
        assert_eq!(config.rpc_hosts, ["node.example", "[::1]", "::1"]);
        assert_eq!(config.listen, Listen { address: "127.0.0.1:7".parse().unwrap(), any_port: false });
        assert_eq!(config.peers, ["10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap()]);
        assert_eq!((config.max_per_ip, config.group_limits, config.mdns), (9, false, false));
        assert_eq!(config.reward_to, Some(AccountId([5; 32])));
        assert_eq!((config.threads, config.log, config.log_json), (3, Level::Warn, true));
        assert_eq!((config.kernel, config.scrub_days), (Some(Kernel::PORTABLE), 30.0));

        let rpc = "127.0.0.1:2".parse().ok();
        let peer = vec!["10.0.0.3:3".into()];
        let flags = NodeOptions { rpc, peer, threads: Some(1), log: Some(Level::Debug), ..NodeOptions::default() };
        let config = Config::run(options(directory.path(), &text, flags)).unwrap();
        assert_eq!((config.rpc.port(), config.threads, config.log), (2, 1, Level::Debug));
        assert_eq!(config.peers, ["10.0.0.3:3".parse().unwrap()]);

        let data_dir = Some(directory.path().join("d"));
        DataDir::at(data_dir.clone().unwrap()).create().unwrap();
        fs::write(directory.path().join("d/genesis.json"), dev_params().to_json()).unwrap();
        let flags = NodeOptions { data_dir, ..NodeOptions::default() };
        let config = Config::run(options(directory.path(), "", flags)).unwrap();
        assert_eq!(config.params, dev_params(), "a used directory says which chain it holds");

        let config = Config::run(options(directory.path(), "", NodeOptions::default())).unwrap();
        assert_eq!((config.params.kind, config.rpc, config.reward_to), (ChainKind::Main, DEFAULT_RPC, None));
        assert_eq!(config.kernel, None);
        assert_eq!(config.listen, Listen { address: DEFAULT_LISTEN, any_port: true });
        assert_eq!((config.max_per_ip, config.group_limits, config.mdns), (PEERS_PER_ADDRESS, true, false));
        assert!(config.data.path().ends_with(".drystone/drystone"));
    }

    #[test]
    fn mistakes_in_the_file_name_their_line_and_the_valid_keys() {
        let text = parse_file(Path::new("x.toml"), "threads = 1\ncolour = 'grey'\n").unwrap_err().to_string();
        assert!(text.contains("x.toml line 2: unknown field `colour`"), "{text}");
        for key in [
            "genesis",
            "data_dir",
            "rpc",
            "rpc_hosts",
            "listen",
            "peers",
            "net",
            "mine",
            "threads",
            "kernel",
            "scrub_days",
            "faucet",
            "log",
            "log_json",
        ] {
            assert!(text.contains(&format!("`{key}`")), "{key}: {text}");
        }
        for wrong in [
            "threads = -1",
            "threads = 1025",
            "threads = 70000",
            "rpc_hosts = ['node.example:8645']",
            "rpc_hosts = ['http://node.example']",
            "rpc_hosts = ['[2001:db8::7]:8645']",
            "rpc_hosts = ['[node.example]']",
            "net.max_per_ip = 0",
            "kernel = 5",
            "rpc = 'nowhere'",
            "log = 'loud'",
            "scrub_days = -1",
            "scrub_days = 'x'",
            "log_json = 1",
            "= 1",
            "mine = 1",
        ] {
            let text = parse_file(Path::new("x.toml"), wrong).unwrap_err().to_string();
            assert!(text.contains("x.toml line 1: ") && text.lines().count() == 2, "{wrong}: {text}");
        }
    }

    #[test]
    fn where_peers_are_is_read_or_refused() {
        let options = |listen: &str, peer: &str| NodeOptions {
            listen: Some(listen.into()),
            peer: vec![peer.into()],
            ..NodeOptions::default()
        };
        assert_eq!(Config::dev(options("0.0.0.0:1", "localhost:2")).unwrap().peers[0].port(), 2);
        for (listen, peer, words) in [
            ("8646", "10.0.0.1:1", "cannot listen on \"8646\""),
            ("127.0.0.1:0", "10.0.0.1", "cannot find the peer \"10.0.0.1\""),
            ("127.0.0.1:0", "10.0.0.1:0", "nobody answers there"),
            ("127.0.0.1:0", "224.0.0.1:1", "nobody answers there"),
            ("127.0.0.1:0", "no.such.host.invalid:1", "cannot find the peer"),
        ] {
            let text = Config::dev(options(listen, peer)).unwrap_err().to_string();
            assert!(text.contains(words) && text.lines().count() == 2, "{text}");
        }
    }

    #[test]
    fn a_kernel_is_one_that_this_processor_can_run() {
        let dev = |name: &str| {
            let options = NodeOptions { kernel: Some(name.into()), ..NodeOptions::default() };
            Config::dev(options).map(|config| config.kernel)
        };
        for kernel in Kernel::ALL.iter().filter(|kernel| kernel.is_available()) {
            assert_eq!(dev(kernel.name()), Ok(Some(*kernel)));
        }
        for kernel in Kernel::ALL.iter().map(Kernel::name).filter(|name| dev(name).is_err()).chain(["cuda", ""]) {
            let text = dev(kernel).unwrap_err().to_string();
            let known = Kernel::named(kernel).is_some();
            let what = if known { "this processor cannot run the kernel" } else { "there is no kernel" };
            let expected = format!(
                "error: {what} \"{kernel}\"\nnext: leave it out, or name one that this processor can run: portable"
            );
            assert!(text.starts_with(&expected) && text.lines().count() == 2, "{text}");
        }
    }

    #[test]
    fn a_faucet_pays_what_is_worth_nothing_and_can_be_held() {
        let dev = |stones: &str| {
            let options = NodeOptions { faucet: Some(stones.into()), ..NodeOptions::default() };
            Config::dev(options).map(|config| config.faucet)
        };
        assert_eq!(dev("1.5"), Ok(Some(Amount(150_000_000))));
        for (stones, words) in [("0", "at least"), ("0.0009", "0.001 stones at least"), ("-1", "not a"), ("", "not a")]
        {
            let text = dev(stones).unwrap_err().to_string();
            assert!(text.contains(words) && text.lines().count() == 2, "{stones}: {text}");
        }
        let node = NodeOptions { faucet: Some("1".into()), ..NodeOptions::default() };
        let text = Config::run(RunOptions { genesis: None, config: None, node }).unwrap_err().to_string();
        assert!(text.contains("no faucet on drystone: its stones are money"), "{text}");
    }

    #[test]
    fn dev_mines_to_its_first_account() {
        let config = Config::dev(NodeOptions::default()).unwrap();
        assert_eq!(config.reward_to, Some(SecretKey::dev(0).account()));
        assert_eq!((config.params, config.threads), (dev_params(), 1));
    }

    #[test]
    fn rewards_go_only_to_addresses_of_the_chain() {
        for address in [encode_address("dry", &AccountId([5; 32])), "tdry1qqq".into(), String::new()] {
            let options = NodeOptions { mine: Some(address), ..NodeOptions::default() };
            let text = Config::dev(options).unwrap_err().to_string();
            assert!(text.contains("cannot mine to"), "{text}");
        }
    }
}
