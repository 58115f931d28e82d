//! The log: one line for each event on standard error, as text for people or as JSON for programs.

use std::io::{IsTerminal, stderr};
use std::panic;
use std::process;
use std::thread;

use clap::ValueEnum;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::console::{self, Console};

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Failures of this node only.
    Error,
    /// Also what may need attention.
    Warn,
    /// Also each block, reorganisation and decision.
    #[default]
    Info,
    /// Also each refusal.
    Debug,
    /// Everything.
    Trace,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        }
    }
}

/// The exit code after a panic, as Rust's own.
const PANICKED: i32 = 101;

/// Starts the log. A panic on any thread from now on is logged and ends the program: half a node is worse than none, and
/// whatever was committed is on disk.
pub(crate) fn start(level: Level, json: bool) {
    // Libraries speak of their own concerns; from them only warnings, unless everything was asked for.
    let libraries = if level == Level::Trace { LevelFilter::DEBUG } else { level.filter().min(LevelFilter::WARN) };
    let filter = Targets::new()
        .with_default(libraries)
        // It speaks of what strangers do, which would let them fill the log, and the engine says it better.
        .with_target("libp2p", if level == Level::Trace { libraries } else { LevelFilter::OFF })
        .with_target("drystone_node", level.filter())
        .with_target("drystone_core", level.filter());
    let format = tracing_subscriber::fmt::layer().with_writer(|| Console).with_target(false);
    let layer = if json {
        format.json().flatten_event(true).boxed()
    } else {
        format.with_ansi(stderr().is_terminal()).compact().boxed()
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
    panic::set_hook(Box::new(|panic| {
        console::show(None);
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let what = panic.payload_as_str().unwrap_or("no message");
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        // Where a page of the ledger is damaged, redb panics. Whichever it was, the next step is the same.
        tracing::error!(
            %place, %thread,
            "a defect or a damaged ledger ends the node ({what}); what was committed is on disk: run drystone-node verify"
        );
        process::exit(PANICKED);
    }));
}
