//! Real distance for real programs: each host is a network namespace, and a relay in this process carries what they send.
//!
//! Every namespace has one TUN device, through which everything leaves that is not for the host itself. The relay reads
//! the packets of all devices, asks the fabric what becomes of each, and writes it to the device of the host that it is for,
//! when its link says. Programs run in the namespaces unchanged, with the kernel's own TCP between them; what they see of
//! the network is latency, jitter, loss, rate and cuts, which a test may change at any time.
//!
//! ```no_run
//! use std::net::TcpStream;
//!
//! use drystone_tests::wan::{Link, MS, Wan};
//!
//! let wan = Wan::new(2, |_, _| Some(Link::after(50 * MS)))?;
//! let server = wan.command(0, "python3").args(["-m", "http.server", "8000"]).spawn();
//! let stream = wan.inside(1, || TcpStream::connect((wan.address(0), 8000)));
//! wan.set_both(0, 1, None);
//! # Ok::<(), drystone_tests::wan::Error>(())
//! ```

mod addresses;
mod fabric;
mod link;
mod netns;
mod relay;
pub mod topology;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use thiserror::Error;
use tun_tap::{Iface, Mode};

pub use self::addresses::{Addresses, HOSTS_MAX};
use self::fabric::Fabric;
pub use self::link::{Counters, Fate, Link, MS, Pipe, SECOND};
use self::netns::Namespace;
use self::relay::Relay;

/// The name of the device in each namespace.
const DEVICE: &str = "wan0";

/// Packets that the kernel keeps for the relay. Far more than what a busy machine lets pile up, as a packet dropped here is
/// no loss that any link asked for.
const DEVICE_QUEUE: usize = 10_000;

/// Why there is no network.
#[derive(Debug, Error)]
pub enum Error {
    /// Only root may make namespaces.
    #[error("network namespaces need root; next: run this with sudo")]
    NotRoot,
    /// Not from 1 to [`HOSTS_MAX`] hosts.
    #[error("a network has 1 to {HOSTS_MAX} hosts, not {0}")]
    Hosts(usize),
    /// An MTU that IPv4 does not have.
    #[error("an MTU is 576 to 65535 bytes, not {0}")]
    Mtu(u32),
    /// iproute2 refused.
    #[error("{command}: {said}")]
    Ip {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
    /// A namespace could not be entered, or a device not opened in it.
    #[error("opening a TUN device in a namespace: {0}")]
    Device(#[source] io::Error),
    /// A thread could not be started.
    #[error("starting the relay: {0}")]
    Thread(#[source] io::Error),
}

/// What a network is besides its hosts and links.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The addresses of its hosts.
    pub addresses: Addresses,
    /// Bytes of the largest packet, 576 to 65,535. Above 1,500 a link's loss and jitter strike larger pieces than in reality,
    /// and the relay carries more bytes a second.
    pub mtu: u32,
    /// What losses and jitter come from. Packets come as the kernel sends them, so the same seed is not the same run.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { addresses: Addresses::Groups, mtu: 1_500, seed: 1 }
    }
}

/// A network of namespaces. Dropping it kills what still runs in them and removes them.
pub struct Wan {
    relay: Relay,
    hosts: Vec<Namespace>,
    options: Options,
}

impl Wan {
    /// A network with the default [`Options`], where `links(from, to)` gives the link of each ordered pair of hosts, or nothing
    /// if there is none.
    ///
    /// # Errors
    /// If this is not root, if there are too few or too many hosts, or if the machine has no namespaces or TUN devices.
    pub fn new(hosts: usize, links: impl FnMut(usize, usize) -> Option<Link>) -> Result<Wan, Error> {
        Wan::with(hosts, Options::default(), links)
    }

    /// As [`Wan::new`], with options.
    ///
    /// # Errors
    /// As [`Wan::new`], and if the MTU is none.
    pub fn with(hosts: usize, options: Options, links: impl FnMut(usize, usize) -> Option<Link>) -> Result<Wan, Error> {
        if !is_root() {
            return Err(Error::NotRoot);
        }
        if hosts == 0 || hosts > HOSTS_MAX {
            return Err(Error::Hosts(hosts));
        }
        if !(576..=65_535).contains(&options.mtu) {
            return Err(Error::Mtu(options.mtu));
        }
        netns::sweep();
        let namespaces = (0..hosts).map(|_| Namespace::make()).collect::<Result<Vec<_>, _>>()?;
        let devices = (0..hosts).map(|host| open(&namespaces[host], host, &options)).collect::<Result<Vec<_>, _>>()?;
        let fabric = Fabric::new(hosts, options.seed, links);
        let relay = Relay::start(devices, options.addresses, fabric).map_err(Error::Thread)?;
        Ok(Wan { relay, hosts: namespaces, options })
    }

    /// How many hosts it has.
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// The address of a host.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        assert!(host < self.hosts(), "there are {} hosts", self.hosts());
        self.options.addresses.address(host)
    }

    /// The name of a host's namespace, for `ip netns`.
    pub fn namespace(&self, host: usize) -> &str {
        &self.hosts[host].name
    }

    /// A command that runs `program` in the namespace of a host, ready for its arguments. The child is the program itself:
    /// its process id, its pipes and its exit code are those of the command.
    pub fn command(&self, host: usize, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace(host)]).arg(program);
        command
    }

    /// `command` as it would run on a host: its program, arguments, environment and directory. Where it reads and writes is
    /// not taken over, as a [`Command`] does not tell.
    pub fn on(&self, host: usize, command: &Command) -> Command {
        let mut moved = self.command(host, command.get_program());
        moved.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => moved.env(name, value),
                None => moved.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            moved.current_dir(directory);
        }
        moved
    }

    /// Runs `code` in the namespace of a host, on a thread of its own, and gives what it gives. Sockets that it opens stay on
    /// that host, so a test can talk to the RPC of a node there, or be a host itself.
    ///
    /// # Panics
    /// If the namespace is gone, or `code` panics.
    pub fn inside<T: Send>(&self, host: usize, code: impl FnOnce() -> T + Send) -> T {
        self.hosts[host].inside(code).expect("its namespace lives as long as the network")
    }

    /// The present link of a direction; nothing if it is cut.
    pub fn link(&self, from: usize, to: usize) -> Option<Link> {
        self.relay.with(|fabric| fabric.link(from, to))
    }

    /// Changes the link of one direction. Nothing cuts it: what is sent is lost in silence, and so is what is under way.
    pub fn set_link(&self, from: usize, to: usize, link: Option<Link>) {
        self.relay.with(|fabric| fabric.set_link(from, to, link));
    }

    /// Changes the links of both directions at one moment.
    pub fn set_both(&self, one: usize, other: usize, link: Option<Link>) {
        self.relay.with(|fabric| {
            fabric.set_link(one, other, link);
            fabric.set_link(other, one, link);
        });
    }

    /// Changes all links at one moment, as at the start: a partition is one call.
    pub fn set_all(&self, mut links: impl FnMut(usize, usize) -> Option<Link>) {
        self.relay.with(|fabric| {
            for (from, to) in pairs(self.hosts()) {
                fabric.set_link(from, to, links(from, to));
            }
        });
    }

    /// What a direction carried and dropped so far.
    pub fn counters(&self, from: usize, to: usize) -> Counters {
        self.relay.with(|fabric| fabric.counters(from, to))
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        // The readers wait in the kernel for packets; without its device each read fails.
        let hosts = &self.hosts;
        self.relay.end(|| {
            // Fails only where somebody removed the namespace, and the device with it.
            hosts.iter().for_each(|host| drop(host.configure(&format!("link delete {DEVICE}"))));
        });
    }
}

/// Opens the device of a host in its namespace and gives it its address and its routes.
fn open(namespace: &Namespace, host: usize, options: &Options) -> Result<Iface, Error> {
    let opened = namespace.inside(|| Iface::without_packet_info(DEVICE, Mode::Tun));
    let device = opened.and_then(|device| device).map_err(Error::Device)?;
    let (address, mtu) = (options.addresses.address(host), options.mtu);
    namespace.configure(&format!(
        "link set lo up\n\
         address add {address}/32 dev {DEVICE}\n\
         link set {DEVICE} mtu {mtu} txqueuelen {DEVICE_QUEUE} addrgenmode none up\n\
         route add default dev {DEVICE}\n"
    ))?;
    Ok(device)
}

/// All ordered pairs of different hosts.
fn pairs(hosts: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..hosts).flat_map(move |from| (0..hosts).filter(move |to| *to != from).map(move |to| (from, to)))
}

/// True if this process may make namespaces, as far as its user says.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

/// True for root. Everybody else is told on stderr, past the capture of the test harness, that `test` is skipped.
pub fn may_run(test: &str) -> bool {
    let root = is_root();
    if !root {
        // Nobody is left to tell if stderr is closed.
        let _ = writeln!(io::stderr(), "note: {test} is skipped: network namespaces need root");
    }
    root
}
