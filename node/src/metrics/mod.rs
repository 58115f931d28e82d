//! What a node counts and measures, for Prometheus and whoever reads its text format.
//!
//! [`Metrics`] gathers what happens: the driver tells it the engine's outputs and how long calls take, the RPC its requests,
//! the network its bytes. [`View`] is what the engine is like at the moment of a scrape. [`Metrics::page`] writes both;
//! docs/RPC.md lists the names.

mod instruments;
mod labels;
mod process;
mod view;

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use drystone_core::api::ScrubInfo;

use instruments::{Counter, Histogram, Page};

pub use labels::Traffic;
pub use view::View;

use crate::engine::message::{ChainEvent, NetEvent, Output};
use crate::engine::wire::Gossip;

/// The media type of [`Metrics::page`].
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds in seconds around the quarter of a second that an engine call may take.
const ENGINE_SECONDS: &[f64] = &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
/// Upper bounds in seconds up to the time that an RPC call may take.
const RPC_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];
/// Upper bounds in blocks: everyday forks are one or two deep, a payment is taken as final at six or more.
const DEPTH_BLOCKS: &[f64] = &[1.0, 2.0, 3.0, 6.0, 12.0, 24.0, 48.0, 100.0];

/// What has happened since the start. Shared by reference; every method takes a moment.
pub struct Metrics {
    started: u64,
    scrub: Mutex<Option<ScrubInfo>>,
    clock: Instant,
    ledger: PathBuf,

    blocks_connected: Counter<0>,
    blocks_disconnected: Counter<0>,
    blocks_mined: Counter<0>,
    blocks_invalid: Counter<0>,
    bodies_lost: Counter<0>,
    repairs: Counter<0>,
    reorganisations: Counter<0>,
    reorganisation_depth: Histogram<0>,

    announcements_published: Counter<0>,
    batches_published: Counter<0>,
    peers_joined: Counter<1>,
    penalties: Counter<1>,
    disconnects: Counter<1>,
    reassigned: Counter<1>,
    received: Counter<1>,
    sent: Counter<1>,

    calls: Histogram<0>,
    committing_calls: Histogram<0>,
    rpc_requests: Counter<2>,
    rpc_seconds: Histogram<1>,
}

impl Metrics {
    /// Nothing counted yet, of a program that started at the Unix time `started` in milliseconds and keeps its store in
    /// the file `ledger`.
    #[allow(clippy::disallowed_methods, reason = "the age of the program is told and decides nothing")]
    pub fn new(started: u64, ledger: PathBuf) -> Metrics {
        Metrics {
            started,
            scrub: Mutex::new(None),
            clock: Instant::now(),
            ledger,
            blocks_connected: Counter::new("drystone_blocks_connected_total", "Blocks that joined the main chain."),
            blocks_disconnected: Counter::new("drystone_blocks_disconnected_total", "Blocks that left the main chain."),
            blocks_mined: Counter::new(
                "drystone_blocks_mined_total",
                "Blocks of this node's own miner that joined the main chain.",
            ),
            blocks_invalid: Counter::new(
                "drystone_blocks_invalid_total",
                "Blocks with enough work that broke a rule and were marked.",
            ),
            bodies_lost: Counter::new(
                "drystone_bodies_lost_total",
                "Bodies of blocks that were found damaged on disk.",
            ),
            repairs: Counter::new("drystone_repairs_total", "Repairs of a state that was found damaged on disk."),
            reorganisations: Counter::new("drystone_reorganisations_total", "Changes to another branch."),
            reorganisation_depth: Histogram::new(
                "drystone_reorganisation_depth_blocks",
                "Blocks that left the main chain in one reorganisation.",
                DEPTH_BLOCKS,
            ),
            announcements_published: Counter::new(
                "drystone_announcements_published_total",
                "Blocks that this node announced first: its own, and those it had not heard of by gossip.",
            ),
            batches_published: Counter::new(
                "drystone_transaction_batches_published_total",
                "Batches of transactions that this node put together and published.",
            ),
            peers_joined: Counter::labelled(
                "drystone_peers_joined_total",
                "Peers that shook hands, by who opened the connection.",
                ["direction"],
                labels::DIRECTIONS,
            ),
            penalties: Counter::labelled(
                "drystone_peer_penalties_total",
                "Offences of peers that cost them points.",
                ["offence"],
                labels::OFFENCES,
            ),
            disconnects: Counter::labelled(
                "drystone_peer_disconnects_total",
                "Connections that this node closed or refused, by reason.",
                ["reason"],
                labels::DISCONNECTS,
            ),
            reassigned: Counter::labelled(
                "drystone_downloads_reassigned_total",
                "Bodies that were asked of one peer and then of another, by reason.",
                ["reason"],
                labels::REASSIGNMENTS,
            ),
            received: Counter::labelled(
                "drystone_network_received_bytes_total",
                "Bytes of messages that came from peers.",
                ["kind"],
                labels::TRAFFIC,
            ),
            sent: Counter::labelled(
                "drystone_network_sent_bytes_total",
                "Bytes of messages that went to peers.",
                ["kind"],
                labels::TRAFFIC,
            ),
            calls: Histogram::new(
                "drystone_engine_call_seconds",
                "Time of single calls of the engine, each of which handles one input.",
                ENGINE_SECONDS,
            ),
            committing_calls: Histogram::new(
                "drystone_engine_commit_call_seconds",
                "Time of those calls of the engine that committed to disk.",
                ENGINE_SECONDS,
            ),
            rpc_requests: Counter::labelled(
                "drystone_rpc_requests_total",
                "Calls of the RPC by method and outcome, which is ok or the name of the error.",
                ["method", "outcome"],
                &[],
            ),
            rpc_seconds: Histogram::labelled(
                "drystone_rpc_request_seconds",
                "Time from the request to its answer, by method.",
                ["method"],
                RPC_SECONDS,
            ),
        }
    }

    /// When the program started, in Unix milliseconds.
    pub fn started(&self) -> u64 {
        self.started
    }

    /// Notes how far the disk has been read over, and what was found.
    pub fn scrubbed(&self, scrub: ScrubInfo) {
        *self.scrub.lock().expect("nothing panics while it holds the lock") = Some(scrub);
    }

    /// What was noted last; nothing where the disk is not read over.
    pub fn scrub(&self) -> Option<ScrubInfo> {
        *self.scrub.lock().expect("nothing panics while it holds the lock")
    }

    /// Counts an output of the engine.
    pub fn observe(&self, output: &Output) {
        match output {
            Output::Event(event) => self.observe_event(event),
            Output::Publish(Gossip::Block(_)) => self.announcements_published.add([], 1),
            Output::Publish(Gossip::Transactions(_)) => self.batches_published.add([], 1),
            Output::Disconnect { reason, .. } => self.disconnects.add([labels::disconnect(reason)], 1),
            Output::Net(NetEvent::Joined { direction, .. }) => {
                self.peers_joined.add([labels::direction(*direction)], 1);
            }
            Output::Net(NetEvent::Penalty { offence, .. }) => self.penalties.add([labels::offence(offence)], 1),
            Output::Net(NetEvent::Reassigned { reason, .. }) => {
                self.reassigned.add([labels::reassignment(*reason)], 1);
            }
            _ => {}
        }
    }

    fn observe_event(&self, event: &ChainEvent) {
        match event {
            ChainEvent::Connected { own, .. } => {
                self.blocks_connected.add([], 1);
                self.blocks_mined.add([], u64::from(*own));
            }
            ChainEvent::Disconnected { .. } => self.blocks_disconnected.add([], 1),
            ChainEvent::Reorganised { depth, .. } => {
                self.reorganisations.add([], 1);
                self.reorganisation_depth.observe([], *depth as f64);
            }
            ChainEvent::Invalidated { .. } => self.blocks_invalid.add([], 1),
            ChainEvent::BodyLost { .. } => self.bodies_lost.add([], 1),
            ChainEvent::RepairStarted { .. } => self.repairs.add([], 1),
            ChainEvent::Reconsidered { .. } | ChainEvent::BodyRestored { .. } | ChainEvent::RepairEnded { .. } => {}
        }
    }

    /// Notes how long a call of the engine took, and whether it committed to disk.
    pub fn call(&self, took: Duration, committed: bool) {
        self.calls.observe([], took.as_secs_f64());
        if committed {
            self.committing_calls.observe([], took.as_secs_f64());
        }
    }

    /// Counts bytes of a message that came from a peer.
    pub fn received_bytes(&self, kind: Traffic, bytes: u64) {
        self.received.add([kind.label()], bytes);
    }

    /// Counts bytes of a message that went to a peer.
    pub fn sent_bytes(&self, kind: Traffic, bytes: u64) {
        self.sent.add([kind.label()], bytes);
    }

    /// Counts a call of the RPC with its outcome, `ok` or the name of the error, and its time.
    pub fn rpc(&self, method: &'static str, outcome: &'static str, took: Duration) {
        self.rpc_requests.add([method, outcome], 1);
        self.rpc_seconds.observe([method], took.as_secs_f64());
    }

    /// All of it in Prometheus' text format, with what the engine is like, unless it did not answer in time, and the
    /// hashes per second of the miner. It reads files.
    pub fn page(&self, view: Option<&View>, hash_rate: u64) -> String {
        let mut page = Page::default();
        page.labelled_gauge(
            "drystone_build_info",
            "The version of the program; always 1.",
            "version",
            &[(env!("CARGO_PKG_VERSION"), 1)],
        );
        let answers = u64::from(view.is_some());
        page.gauge("drystone_engine_answers", "Whether the engine answered this scrape in time.", answers);
        if let Some(view) = view {
            view.write(&mut page);
        }
        for counter in [
            &self.blocks_connected,
            &self.blocks_disconnected,
            &self.blocks_mined,
            &self.blocks_invalid,
            &self.bodies_lost,
            &self.repairs,
            &self.reorganisations,
            &self.announcements_published,
            &self.batches_published,
        ] {
            counter.write(&mut page);
        }
        self.reorganisation_depth.write(&mut page);
        for counter in
            [&self.peers_joined, &self.penalties, &self.disconnects, &self.reassigned, &self.received, &self.sent]
        {
            counter.write(&mut page);
        }
        self.calls.write(&mut page);
        self.committing_calls.write(&mut page);
        if let Ok(file) = fs::metadata(&self.ledger) {
            page.gauge("drystone_store_file_bytes", "The length of the ledger's file.", file.len());
        }
        if let Some(scrub) = self.scrub() {
            let help = "How much of the ledger has been read over in this pass, from 0 to 1.";
            page.gauge("drystone_scrub_progress_ratio", help, scrub.done / 100.0);
            // Before the first pass ends there is no such time.
            if let Some(last) = scrub.last_pass {
                let help = "When the whole ledger had been read over last, in Unix time.";
                page.gauge("drystone_scrub_last_pass_time_seconds", help, last as f64 / 1000.0);
            }
            let help = "Damaged records that reading the ledger over has found.";
            page.counter("drystone_scrub_damaged_total", help, scrub.damaged);
            let help = "Bodies of the main chain that were damaged on disk and are asked of peers.";
            page.gauge("drystone_scrub_missing_bodies", help, scrub.missing_bodies);
        }
        page.gauge("drystone_mining_hash_rate", "Hashes per second of this node's own miner.", hash_rate);
        self.rpc_requests.write(&mut page);
        self.rpc_seconds.write(&mut page);
        page.gauge(
            "drystone_uptime_seconds",
            "How long the program has been running.",
            self.clock.elapsed().as_secs_f64(),
        );
        process::write(&mut page, self.started);
        page.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::message::{Direction, DisconnectReason, PeerId};
    use crate::engine::verdict::Offence;
    use drystone_core::hash::BlockHash;

    #[test]
    fn outputs_become_counts() {
        let metrics = Metrics::new(1_500, PathBuf::from("/nowhere"));
        let (hash, peer) = (BlockHash([1; 32]), PeerId([1; 32]));
        for output in [
            Output::Event(ChainEvent::Connected { height: 1, hash, txids: Vec::new(), own: true }),
            Output::Event(ChainEvent::Connected { height: 2, hash, txids: Vec::new(), own: false }),
            Output::Event(ChainEvent::Disconnected { height: 2, hash }),
            Output::Event(ChainEvent::Reorganised { from: hash, to: hash, depth: 4 }),
            Output::Publish(Gossip::Transactions(Vec::new())),
            Output::Disconnect { peer, reason: DisconnectReason::Full },
            Output::Net(NetEvent::Joined { peer, direction: Direction::Inbound, height: 1 }),
            Output::Net(NetEvent::Penalty { peer, offence: Offence::Unasked, points: 20 }),
            Output::Dial(([10, 0, 0, 1], 1).into()),
        ] {
            metrics.observe(&output);
        }
        metrics.received_bytes(Traffic::Gossip, 70);
        metrics.sent_bytes(Traffic::Response, 8);
        metrics.rpc("node_info", "ok", Duration::from_millis(2));
        metrics.call(Duration::from_millis(20), true);
        metrics.call(Duration::from_micros(20), false);
        let page = metrics.page(None, 9);
        for line in [
            "drystone_engine_answers 0",
            "drystone_blocks_connected_total 2",
            "drystone_blocks_mined_total 1",
            "drystone_blocks_disconnected_total 1",
            "drystone_reorganisations_total 1",
            "drystone_reorganisation_depth_blocks_bucket{le=\"3\"} 0",
            "drystone_reorganisation_depth_blocks_bucket{le=\"6\"} 1",
            "drystone_reorganisation_depth_blocks_sum 4",
            "drystone_transaction_batches_published_total 1",
            "drystone_peer_disconnects_total{reason=\"full\"} 1",
            "drystone_peer_disconnects_total{reason=\"feeler\"} 0",
            "drystone_peers_joined_total{direction=\"inbound\"} 1",
            "drystone_peer_penalties_total{offence=\"unasked\"} 1",
            "drystone_network_received_bytes_total{kind=\"gossip\"} 70",
            "drystone_network_sent_bytes_total{kind=\"response\"} 8",
            "drystone_engine_call_seconds_count 2",
            "drystone_engine_commit_call_seconds_count 1",
            "drystone_mining_hash_rate 9",
            "drystone_rpc_requests_total{method=\"node_info\",outcome=\"ok\"} 1",
            "drystone_rpc_request_seconds_bucket{method=\"node_info\",le=\"0.005\"} 1",
            "process_start_time_seconds 1.5",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        }
        assert!(!page.contains("drystone_store_file_bytes"), "there is no file");
    }
}
