//! The figures of how blocks spread, and of how many are stale.

use drystone_core::genesis::main_params;

use super::network::{
    BYTES_PER_SECOND, GERVAIS, GERVAIS_SHARES, INTERVALS_MS, Plan, Propagation, Published, Relay, Size, Stale,
    propagation, stale_curve,
};
use super::plot::{Axis, Plot, Scale, Series, Style};

/// Hosts and blocks of the runs on stale blocks, and how many runs.
const HOSTS: usize = 50;
const BLOCKS: usize = 500;
const SEEDS: [u64; 2] = [1, 2];
/// Blocks that are followed through each of some networks of each size.
const FOLLOWED: usize = 20;
const NETWORKS: [u64; 3] = [1, 2, 3];

fn percent(ppm: u64) -> f64 {
    ppm as f64 / 10_000.0
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// How blocks spread through networks of each size, and how many come to nothing.
pub fn plots() -> Vec<Plot> {
    vec![spreading(), coming_to_nothing()]
}

fn spreading() -> Plot {
    let sizes = [10, 30, 100, 300, 1_000];
    let whole = |hosts: &usize| Plan { relay: Relay::Full, ..Plan::new(*hosts) };
    let plans: Vec<Plan> = sizes.map(Plan::new).into_iter().chain(sizes[..4].iter().map(whole)).collect();
    let found = propagation(&plans, FOLLOWED, &NETWORKS);
    let (compact, whole) = found.split_at(sizes.len());
    let of = |found: &[Propagation], time: fn(&Propagation) -> u64| {
        found.iter().map(|found| (found.hosts as f64, seconds(time(found)))).collect()
    };
    Plot {
        file: "propagation",
        title: "How long a block of 1 MB takes to reach the nodes of a network",
        x: Axis::new("nodes", Scale::Log, &[10.0, 30.0, 100.0, 300.0, 1000.0]),
        y: Axis::new("seconds", Scale::Log, &[0.5, 1.0, 2.0, 5.0, 10.0]),
        series: vec![
            Series::new("half of them", Style::Line, of(compact, |found| found.p50)),
            Series::new("90 %", Style::Line, of(compact, |found| found.p90)),
            Series::new("99 %", Style::Line, of(compact, |found| found.p99)),
            Series::new("half of them, if nobody had its payments before", Style::Dashed, of(whole, |found| found.p50)),
        ],
    }
}

fn coming_to_nothing() -> Plot {
    let published = |of: fn(&Published) -> u64| {
        GERVAIS.iter().map(|published| (published.interval_ms as f64 / 1e3, percent(of(published)))).collect()
    };
    let stale = |relay, shares, size| {
        stale_curve(&Plan { relay, shares, ..Plan::new(HOSTS) }, &INTERVALS_MS, size, BLOCKS, &SEEDS)
    };
    let (matched, largest) = (Size::PerSecond(BYTES_PER_SECOND), Size::Fixed(main_params().max_block_bytes));
    let whole = stale(Relay::Full, &GERVAIS_SHARES, matched);
    let compact = stale(Relay::Compact, &GERVAIS_SHARES, matched);
    let full = stale(Relay::Compact, &[], largest);
    let expected = |found: &[Stale]| {
        found.iter().map(|stale| (stale.interval_ms as f64 / 1e3, percent(stale.expected_ppm))).collect()
    };
    let counted = |found: &[Stale]| {
        let enough = found.iter().filter(|stale| stale.stale >= 10);
        enough.map(|stale| (stale.interval_ms as f64 / 1e3, percent(stale.ppm()))).collect()
    };
    Plot {
        file: "stale",
        title: "Blocks that come to nothing",
        x: Axis::new("block interval, s", Scale::Log, &[1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 150.0, 600.0]),
        y: Axis::new("% of all blocks", Scale::Log, &[0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]),
        series: vec![
            Series::new("Gervais et al., Bitcoin's relay of 2016", Style::Dashed, published(|at| at.standard_ppm)),
            Series::new("Gervais et al., with a relay network", Style::Dashed, published(|at| at.relay_network_ppm)),
            Series::new("their blocks, announced and fetched whole", Style::Line, expected(&whole)),
            Series::new("their blocks, relayed compact", Style::Line, expected(&compact)),
            Series::new("blocks of 2 MiB at any interval, relayed compact", Style::Line, expected(&full)),
            Series::new("the last, counted", Style::Dots, counted(&full)).like(4),
        ],
    }
}
