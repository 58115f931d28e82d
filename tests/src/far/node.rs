//! One node process, on a host of a network of namespaces or on this machine's loopback.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use drystone_core::api::PeerInfo;
use drystone_core::block::Block;
use drystone_core::encode::encode;
use drystone_core::transaction::Transaction;
use serde_json::{Value, json};

use super::eventually;
use super::log::Log;
use super::session::Session;
use crate::wan::Wan;

/// Where nodes listen that have a host of their own.
const PORT: u16 = 8646;

/// Where a node runs.
#[derive(Clone, Copy)]
pub enum Machine<'a> {
    /// Here, on a free port of loopback.
    Here,
    /// On this host.
    Host(&'a Wan, usize),
}

/// How a node is started.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// The program.
    pub program: PathBuf,
    /// Where its data, its log and its configuration lie; made if it is not there.
    pub root: PathBuf,
    /// The genesis file.
    pub genesis: PathBuf,
    /// Whom it connects to.
    pub peers: Vec<SocketAddr>,
    /// The only core that it may use.
    pub core: Option<usize>,
    /// Further arguments.
    pub arguments: Vec<String>,
}

/// A running node. It is killed when dropped.
pub struct Node<'a> {
    child: Child,
    machine: Machine<'a>,
    root: PathBuf,
    rpc: SocketAddr,
    /// Where peers reach it.
    pub p2p: SocketAddr,
    /// Its name among peers.
    pub name: String,
    /// Its log.
    pub log: Log,
}

impl<'a> Node<'a> {
    /// Starts a process, and does not wait for it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn spawn(machine: Machine<'a>, start: &Start) -> Node<'a> {
        let root = &start.root;
        fs::create_dir_all(root).expect("a writable directory");
        let config = root.join("config.toml");
        fs::write(&config, "[net]\nmax_per_ip = 64\ngroup_limits = false\nmdns = false\n")
            .expect("a writable directory");
        let listen = match machine {
            Machine::Here => "127.0.0.1:0".to_owned(),
            Machine::Host(..) => format!("0.0.0.0:{PORT}"),
        };
        let mut command = match start.core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(&start.program);
                command
            }
            None => Command::new(&start.program),
        };
        command.args(["run", "--log-json", "--rpc", "127.0.0.1:0", "--listen", &listen]);
        command.arg("--config").arg(config).arg("--genesis").arg(&start.genesis);
        command.arg("--data-dir").arg(root.join("data")).args(&start.arguments);
        for peer in &start.peers {
            command.args(["--peer", &peer.to_string()]);
        }
        for variable in ["DRYSTONE_DATA_DIR", "DRYSTONE_LOG"] {
            command.env_remove(variable);
        }
        let mut command = match machine {
            Machine::Here => command,
            Machine::Host(wan, host) => wan.on(host, &command),
        };
        let log = File::options().create(true).append(true).open(root.join("log")).expect("a writable directory");
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let log = Log::new(root.join("log"));
        Node { child, machine, root: root.clone(), rpc: nowhere, p2p: nowhere, name: String::new(), log }
    }

    /// Starts a process and waits until it answers.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(machine: Machine<'a>, start: &Start) -> Node<'a> {
        let mut node = Node::spawn(machine, start);
        node.ready();
        node
    }

    /// Waits until it has written where it answers.
    ///
    /// # Panics
    /// If it ends or never does.
    pub fn ready(&mut self) {
        let note = eventually("a node starts", || {
            if self.child.try_wait().expect("a child can be waited for").is_some() {
                panic!("a node ended: {}", fs::read_to_string(self.root.join("log")).unwrap_or_default());
            }
            let note: Value = serde_json::from_str(&fs::read_to_string(self.data().join("node.json")).ok()?).ok()?;
            (note["pid"] == json!(self.pid())).then_some(note)
        });
        let of = |name: &str| note[name].as_str().expect("it notes where it is").to_owned();
        self.rpc = of("rpc").parse().expect("an address");
        self.p2p = of("p2p").parse().expect("an address");
        if let Machine::Host(wan, host) = self.machine {
            self.p2p = SocketAddr::new(wan.address(host).into(), self.p2p.port());
        }
        self.name = of("peer_id");
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it answers.
    pub fn rpc(&self) -> SocketAddr {
        self.rpc
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// A connection to its RPC.
    ///
    /// # Panics
    /// If it does not accept one.
    pub fn session(&self) -> Session {
        self.try_session().expect("a running node answers")
    }

    fn try_session(&self) -> io::Result<Session> {
        let cookie = fs::read_to_string(self.data().join(".cookie"))?;
        let stream = match self.machine {
            Machine::Here => TcpStream::connect(self.rpc),
            Machine::Host(wan, host) => wan.inside(host, || TcpStream::connect(self.rpc)),
        };
        Ok(Session::new(stream?, cookie))
    }

    /// Calls a method: its result, or the error object.
    ///
    /// # Errors
    /// What the node says.
    pub fn call(&self, method: &str, params: &Value) -> Result<Value, Value> {
        self.session().call(method, params)
    }

    /// The height and the hash of its tip.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn tip(&self) -> (u64, String) {
        let head = self.call("chain_head", &json!([])).expect("there is a tip");
        (head["height"].as_u64().expect("a height"), head["hash"].as_str().expect("a hash").to_owned())
    }

    /// Its peers as they are now.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let peers = self.call("net_peers", &json!([])).expect("a list of peers");
        serde_json::from_value(peers).expect("a list of peers")
    }

    /// Whether it has shaken hands with a node, and still is connected.
    pub fn is_connected_to(&self, name: &str) -> bool {
        self.peers().iter().any(|peer| peer.ready && peer.peer_id == name)
    }

    /// How many transactions wait in its mempool.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn waiting(&self) -> u64 {
        let info = self.call("mempool_info", &json!([])).expect("there is a mempool");
        info["transactions"].as_u64().expect("a number")
    }

    /// Hands in payments, all of which must be taken.
    ///
    /// # Panics
    /// If one is not.
    pub fn pay(&self, payments: &[Transaction]) {
        let params: Vec<Value> = payments.iter().map(|payment| json!([hex::encode(encode(payment))])).collect();
        for outcome in self.session().calls("tx_submit", &params) {
            outcome.expect("a payment is taken");
        }
    }

    /// Hands in a block, which must become its tip.
    ///
    /// # Panics
    /// If it does not.
    pub fn give(&self, block: &Block) {
        let outcome = self.call("mining_submit", &json!([hex::encode(encode(block))])).expect("the block is valid");
        assert_eq!(outcome["status"], "connected", "{outcome}");
    }

    /// Mines blocks for an address: their hashes.
    ///
    /// # Panics
    /// If it does not mine.
    pub fn generate(&self, count: u64, address: &str) -> Vec<String> {
        let hashes = eventually("it mines", || match self.call("mining_generate", &json!([count, address])) {
            Ok(hashes) => Some(hashes),
            // While it changes to another branch.
            Err(error) if error["data"]["name"] == "mining_refused" => None,
            Err(error) => panic!("no development chain: {error}"),
        });
        serde_json::from_value(hashes).expect("a list of hashes")
    }

    /// Ends it without warning and waits until it is gone.
    pub fn kill(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Resident memory in bytes, and open descriptors.
    pub fn resources(&self) -> (u64, usize) {
        let process = Path::new("/proc").join(self.pid().to_string());
        let status = fs::read_to_string(process.join("status")).unwrap_or_default();
        let resident =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
        let open = fs::read_dir(process.join("fd")).map_or(0, Iterator::count);
        (resident.unwrap_or(0_u64) << 10, open)
    }

    /// Processor time that it has used, in milliseconds.
    pub fn cpu_ms(&self) -> u64 {
        cpu_ms(&self.pid().to_string())
    }
}

/// Processor time that a process has used, in milliseconds: ticks of a hundredth of a second. `self` is this one.
pub fn cpu_ms(process: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in parentheses may contain anything; user and system time are the 12th and 13th field after it.
    let after = stat.rsplit(')').next().unwrap_or_default();
    after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        self.kill();
    }
}
