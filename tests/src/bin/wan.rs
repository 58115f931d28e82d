//! `drystone-wan`: a network of namespaces with distance between them, to try programs in by hand.

use std::fs;
use std::io::{self, BufRead};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use clap::Parser;
use drystone_tests::wan::topology::{self, Change};
use drystone_tests::wan::{Addresses, Link, MS, Options, Wan};
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Makes network namespaces with latency, loss and a rate between them, and removes them when it ends.
///
/// It prints each host's number, namespace and address, and runs until Ctrl-C, SIGTERM or the end of its input. A line of
/// input changes links as a line of a links file does; an empty one prints what every direction carried and dropped.
#[derive(Parser)]
#[command(name = "drystone-wan", version)]
struct Cli {
    /// How many hosts.
    #[arg(long, default_value_t = 2)]
    hosts: usize,
    /// One-way latency in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3_600_000))]
    delay: u64,
    /// The most milliseconds beyond the latency; order is kept.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3_600_000))]
    jitter: u64,
    /// Lost packets of 10,000.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=10_000))]
    loss: u64,
    /// Bytes a second in each direction; 0 is without limit.
    #[arg(long, value_name = "BYTES", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1_000_000_000_000))]
    rate: u64,
    /// Bytes that may wait for the line.
    #[arg(long, value_name = "BYTES", default_value_t = Link::INSTANT.queue)]
    queue: u64,
    /// Links that differ, one a line: `0 <> 1 delay=50`, `* > 2 cut`.
    #[arg(long, value_name = "FILE")]
    links: Option<PathBuf>,
    /// Bytes of the largest packet.
    #[arg(long, value_name = "BYTES", default_value_t = 1_500)]
    mtu: u32,
    /// Put all hosts in one /16 instead of one each.
    #[arg(long)]
    one_group: bool,
    /// What losses and jitter come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Why it goes on.
enum Event {
    Line(String),
    End,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), String> {
    let default =
        Link { latency: cli.delay * MS, jitter: cli.jitter * MS, loss: cli.loss, rate: cli.rate, queue: cli.queue };
    let changes = match &cli.links {
        Some(path) => changes_of(path).map_err(|error| format!("{}: {error}", path.display()))?,
        None => Vec::new(),
    };
    let (sender, events) = channel();
    // Before there is anything to remove: no signal may end it in between.
    listen(sender.clone()).map_err(|error| format!("listening for signals: {error}"))?;
    let addresses = if cli.one_group { Addresses::OneGroup } else { Addresses::Groups };
    let options = Options { addresses, mtu: cli.mtu, seed: cli.seed };
    let wan = Wan::with(cli.hosts, options, |_, _| Some(default)).map_err(|error| error.to_string())?;
    for change in &changes {
        apply(&wan, change, default)?;
    }
    for host in 0..wan.hosts() {
        println!("{host}\t{}\t{}", wan.namespace(host), wan.address(host));
    }
    let last = wan.hosts() - 1;
    eprintln!("next: ip netns exec {} ping {}", wan.namespace(last.saturating_sub(1)), wan.address(last));
    thread::spawn(move || read_lines(&sender));
    for event in events {
        match event {
            Event::End => break,
            Event::Line(line) if line.trim().is_empty() => print_counters(&wan),
            Event::Line(line) => {
                if let Err(error) = line.parse().and_then(|change| apply(&wan, &change, default)) {
                    eprintln!("error: {error}");
                }
            }
        }
    }
    Ok(())
}

fn changes_of(path: &PathBuf) -> Result<Vec<Change>, String> {
    topology::parse(&fs::read_to_string(path).map_err(|error| error.to_string())?)
}

fn apply(wan: &Wan, change: &Change, default: Link) -> Result<(), String> {
    for (from, to, link) in change.links(wan.hosts(), default)? {
        wan.set_link(from, to, link);
    }
    Ok(())
}

fn print_counters(wan: &Wan) {
    for from in 0..wan.hosts() {
        for to in (0..wan.hosts()).filter(|to| *to != from) {
            let sum = wan.counters(from, to);
            let (packets, bytes) = (sum.packets, sum.bytes);
            let (lost, overflowed, cut) = (sum.lost, sum.overflowed, sum.cut);
            println!(
                "{from} > {to}\t{packets} packets\t{bytes} bytes\t{lost} lost, {overflowed} overflowed, {cut} cut"
            );
        }
    }
}

/// Sends on what is typed, and that no more will be.
fn read_lines(events: &Sender<Event>) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        // Nobody listens once it ends.
        let _ = events.send(Event::Line(line));
    }
    let _ = events.send(Event::End);
}

/// From here on Ctrl-C and SIGTERM are events.
fn listen(events: Sender<Event>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    let entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        let _ = events.send(Event::End);
    });
    Ok(())
}
