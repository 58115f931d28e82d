//! The figures of how blocks spread, and of how many are stale.

use super::network::{
    BYTES_PER_SECOND, GERVAIS, INTERVALS_MS, Plan, Propagation, Published, Relay, Size, Stale, propagation, stale_curve,
};
use super::plot::{Axis, Plot, Scale, Series, Style};

/// Hosts and blocks of the runs on stale blocks, and how many runs.
const HOSTS: usize = 50;
const BLOCKS: usize = 500;
const SEEDS: [u64; 2] = [1, 2];
/// Blocks that are followed through networks of each size.
const FOLLOWED: usize = 20;
/// Blocks of one megabyte.
const FULL: u64 = 1_000_000;

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
    let found = sizes.map(|hosts| propagation(&Plan::new(hosts), FOLLOWED, 1));
    let full =
        sizes[..4].iter().map(|hosts| propagation(&Plan { relay: Relay::Full, ..Plan::new(*hosts) }, FOLLOWED, 1));
    let of =
        |time: fn(&Propagation) -> u64| found.iter().map(|found| (found.hosts as f64, seconds(time(found)))).collect();
    Plot {
        file: "propagation",
        title: "How long a block of 1 MB takes to reach the nodes of a network",
        x: Axis::new("nodes", Scale::Log, &[10.0, 30.0, 100.0, 300.0, 1000.0]),
        y: Axis::new("seconds", Scale::Log, &[0.5, 1.0, 2.0, 5.0]),
        series: vec![
            Series::new("half of them", Style::Line, of(|found| found.p50)),
            Series::new("90 %", Style::Line, of(|found| found.p90)),
            Series::new("99 %", Style::Line, of(|found| found.p99)),
            Series::new(
                "half of them, if nobody had its payments before",
                Style::Dashed,
                full.map(|found| (found.hosts as f64, seconds(found.p50))).collect(),
            ),
        ],
    }
}

fn coming_to_nothing() -> Plot {
    let published = |of: fn(&Published) -> u64| {
        GERVAIS.iter().map(|published| (published.interval_ms as f64 / 1e3, percent(of(published)))).collect()
    };
    let stale = |relay, size| stale_curve(&Plan { relay, ..Plan::new(HOSTS) }, &INTERVALS_MS, size, BLOCKS, &SEEDS);
    let matched = Size::PerSecond(BYTES_PER_SECOND);
    let [whole, compact, full] =
        [stale(Relay::Full, matched), stale(Relay::Compact, matched), stale(Relay::Compact, Size::Fixed(FULL))];
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
            Series::new("blocks of 1 MB at any interval, relayed compact", Style::Line, expected(&full)),
            Series::new("the last, counted", Style::Dots, counted(&full)).like(4),
        ],
    }
}
