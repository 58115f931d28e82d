//! What to expect of a network of one's own: how long blocks take, how many come to nothing, how many confirmations are enough.

use super::network::{Plan, Propagation, Stale, in_parallel, stale_rate};
use super::spend::{MOST_CONFIRMATIONS, enough};

/// Parts of 1,000 of the hash rate that somebody may have who wants a payment back.
const SHARES: [u64; 5] = [50, 100, 200, 300, 400];

/// An interval is long enough if it is so many times what 90 % of the nodes wait for a block: less than 3 % are stale then.
const SPREADS: u64 = 30;

/// Whether blocks every `interval_ms` milliseconds leave the time that they need to spread, and how long an interval would.
fn judge_interval(interval_ms: u64, spread: &Propagation) -> String {
    // Blocks wait for each other then, and take longer than they would at an interval that leaves them time.
    if spread.blocks == 0 || spread.p90 > interval_ms * 1_000 {
        return format!("too short by far: see what {} ms would give", 10 * interval_ms);
    }
    let enough_ms = (SPREADS * spread.p90).div_ceil(1_000);
    if interval_ms >= enough_ms {
        format!("long enough, as any from {enough_ms} ms on")
    } else {
        format!("too short: take {enough_ms} ms or more, {SPREADS} times what 90 % of the nodes wait for a block")
    }
}

/// The fewest confirmations after which `share` of the hash rate takes a payment back with a probability below `risk`, where the
/// part `stale` of the others' blocks comes to nothing; nothing where a thousand are too few.
pub fn confirmations(share: f64, stale: f64, risk: f64) -> Option<u32> {
    // Who mines alone has no stale blocks.
    enough(share / (share + (1.0 - share) * (1.0 - stale)), risk)
}

/// Lets a network mine, and says what came of it: a name and a value for each line.
///
/// # Panics
/// If a checker of the simulator finds something wrong.
pub fn advise(plan: &Plan, blocks: usize, seeds: &[u64], risk: f64) -> Vec<(String, String)> {
    let found = stale_rate(plan, blocks, seeds);
    let Stale { propagation, .. } = &found;
    let seconds = |us: u64| format!("{:.2} s", us as f64 / 1e6);
    let spread = match propagation.blocks {
        0 => "no block reached every node before the next".into(),
        blocks => {
            let times = [propagation.p50, propagation.p90, propagation.p99].map(seconds).join(", ");
            format!("{times} until 50, 90, 99 % of the nodes have a block, over the {blocks} that all had")
        }
    };
    let stale = found.expected_ppm as f64 / 1e6;
    let counted = format!("{:.2} % expected, {} of {} counted", 100.0 * stale, found.stale, found.found);
    let mut lines = vec![
        (
            "blocks".into(),
            format!("{} bytes every {} ms, stale ones too, {} nodes", plan.block_bytes, plan.interval_ms, plan.hosts),
        ),
        ("spread".into(), spread),
        ("stale".into(), counted),
        ("interval".into(), judge_interval(plan.interval_ms, propagation)),
        ("confirmations".into(), format!("for a risk below {risk} that a payment is taken back by")),
    ];
    let counts = in_parallel(&SHARES, |share| confirmations(*share as f64 / 1_000.0, stale, risk));
    for (share, enough) in SHARES.iter().zip(counts) {
        let after = |count: u32| (f64::from(count) * plan.interval_ms as f64 / 1e3 / (1.0 - stale)).ceil();
        let value = enough.map_or(format!("not even {MOST_CONFIRMATIONS} are enough"), |count| {
            format!("{count}, after {} s", after(count))
        });
        lines.push((format!("  {} % of hashes", share / 10), value));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_judged_by_how_blocks_spread() {
        let spread = |blocks, p90| Propagation { hosts: 20, blocks, p50: p90 / 2, p90, p99: 2 * p90 };
        assert_eq!(judge_interval(6_600, &spread(9, 220_000)), "long enough, as any from 6600 ms on");
        assert!(judge_interval(6_600, &spread(9, 220_001)).starts_with("too short: take 6601 ms or more"));
        for crowded in [spread(0, 0), spread(9, 300_001)] {
            assert_eq!(judge_interval(300, &crowded), "too short by far: see what 3000 ms would give");
        }
    }

    #[test]
    fn more_confirmations_are_asked_where_blocks_are_stale_and_where_less_risk_is_taken() {
        let of = |share, stale, risk| confirmations(share, stale, risk).expect("some are enough");
        assert_eq!(of(0.1, 0.0, 0.001), 7);
        assert!(of(0.3, 0.2, 0.01) > of(0.3, 0.0, 0.01) && of(0.2, 0.0, 0.001) > of(0.2, 0.0, 0.01));
        assert_eq!(confirmations(0.4, 0.5, 0.001), None, "more than half of the blocks that count");
    }
}
